"""Fixtures of the unit tests: without network, emulator or real credentials."""

import gc
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.headerregistry import HeaderRegistry
from functools import cache, lru_cache
from types import SimpleNamespace
from typing import Any

import botocore.loaders
import pytest
from hypothesis import HealthCheck, settings

from generate_receipt import app, pdf
from renewals.runtime import dynamodb, telemetry
from tests.desk import Desk
from tests.fakes import World
from tests.recordings.plugin import pytest_runtest_call, pytest_runtest_setup
from tests.visitor import Visitor, visiting

__all__ = ["pytest_runtest_call", "pytest_runtest_setup"]

# The speed and load of a machine prove nothing about the product.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=25)
settings.register_profile("proof", settings.get_profile("any machine"), max_examples=1_000)
settings.load_profile("any machine")
gc.disable()  # until all tests are collected: none of the collected objects is garbage
# Equal clients share a description: reading the description takes longer than most tests.
botocore.loaders.create_loader = cache(botocore.loaders.create_loader)
# The email package makes a new class for each header that is read or written; equal headers share a class.
_REGISTERED = HeaderRegistry.__getitem__
pytest.MonkeyPatch().setattr(HeaderRegistry, "__getitem__", cache(_REGISTERED))
# The package also parses a header at each reading and writing; equal texts are parsed once, since no header changes.
_read_header, _read_header_once = HeaderRegistry.__call__, lru_cache(4096)(HeaderRegistry.__call__)


def _header(registry: HeaderRegistry, name: str, value: Any) -> Any:
    return (_read_header_once if type(value) is str else _read_header)(registry, name, value)


pytest.MonkeyPatch().setattr(HeaderRegistry, "__call__", _header)
# Nobody's account, for all tests and for the modules that run renewals when they are imported.
os.environ |= {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-west-2",
    "POWERTOOLS_SERVICE_NAME": "test",
    "POWERTOOLS_METRICS_NAMESPACE": "test",
    "POWERTOOLS_DEV": "false",
}
# Equal receipts have equal bytes, as the receipts' own tests prove: thousands of receipts need not be typeset again.
pytest.MonkeyPatch().setattr(app, "render", cache(pdf.render))
telemetry.logger()  # writes to the present stdout: the stdout of a test may be closed after the test


def pytest_configure(config: pytest.Config) -> None:
    if _is_proof(config):
        settings.load_profile("proof")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let `make proof` run the drawn tests too, each with more examples unless the test names their number."""
    for item in items if _is_proof(config) else ():
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker(pytest.mark.proof)


def _is_proof(config: pytest.Config) -> bool:
    return bool(config.option.markexpr == "proof")


def pytest_collection_finish() -> None:
    """Exempt everything collected so far from garbage collection, and collect garbage less often than usual: a test
    leaves little."""
    gc.freeze()
    gc.set_threshold(20_000, 20)
    gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish() -> None:
    """Collect garbage once, before pytest does so twice when it ends. The objects that are left are exempt from then
    on."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def _no_worker_is_left() -> Iterator[None]:
    """A file of tests leaves no thread at work: beside a worker, each transaction of the tables in memory takes four
    milliseconds longer, in all files that follow."""
    with _ended(lambda thread: not thread.daemon):
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    """When the last test is over, no server of the tests runs on."""
    with _ended(lambda thread: True):
        yield


@contextmanager
def _ended(kind: Callable[[threading.Thread], bool]) -> Iterator[None]:
    """The threads of a kind that are started in the block end with the block, or some seconds later."""
    before = set(threading.enumerate())
    yield
    left = [thread for thread in threading.enumerate() if thread not in before and kind(thread)]
    for thread in left:
        thread.join(10)
    assert [thread.name for thread in left if thread.is_alive()] == []


@pytest.fixture
def shop() -> World:
    """An empty world."""
    return World()


@pytest.fixture
def visitor(shop: World) -> Iterator[Visitor]:
    """A browser in front of the page of a deployment, with a subscription of 29.99 USD due on 28 February 2026."""
    shop.subscribe(renewal_date="2026-02-28", test_clock=None)
    with visiting(shop) as made:
        yield made


@pytest.fixture
def desk(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Both public forms, with the worker behind the forms."""
    return Desk(visitor, monkeypatch)


@pytest.fixture
def without_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The functions do not wait before they try again at a table."""
    monkeypatch.setattr(dynamodb, "time", SimpleNamespace(sleep=lambda _seconds: None))
