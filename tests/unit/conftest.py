"""Fixtures of the unit tests: no network, no emulator, no credentials of anyone's."""

import gc
import os
from functools import cache

import botocore.loaders
import pytest
from hypothesis import HealthCheck, settings

from generate_receipt import app, pdf
from renewals.runtime import telemetry
from tests.fakes import World
from tests.recordings.plugin import pytest_runtest_call, pytest_runtest_setup

__all__ = ["pytest_runtest_call", "pytest_runtest_setup"]

# How fast a machine is, and how busy, proves nothing about the product.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
gc.disable()  # until all tests are collected: nothing of them is garbage
# Equal clients are described once: to read the description takes longer than most tests.
botocore.loaders.create_loader = cache(botocore.loaders.create_loader)
# Some modules run renewals when they are imported, before any fixture.
os.environ["POWERTOOLS_METRICS_NAMESPACE"] = os.environ["POWERTOOLS_SERVICE_NAME"] = "test"
# Equal receipts are equal bytes, which the receipts' own tests prove: thousands of them need not be typeset.
pytest.MonkeyPatch().setattr(app, "render", cache(pdf.render))
telemetry.logger()  # writes to what is stdout now: in a test, that may be closed when the test is over


def pytest_collection_finish() -> None:
    """What was collected stays: it is not looked through again for garbage."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def _nobodys_account(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-west-2",
        "POWERTOOLS_SERVICE_NAME": "test",
        "POWERTOOLS_METRICS_NAMESPACE": "test",
        "POWERTOOLS_DEV": "false",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def shop() -> World:
    """A world with nothing in it."""
    return World()
