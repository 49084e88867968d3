"""Ceilings for the start and the size of the deployed functions; docs/performance.md has the measured values."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks import built, start_up
from local.stack import Stack

# Millions of instructions up to the first call of AWS; the numbers repeat to within a thousandth, on any machine.
INSTRUCTIONS = {
    "webhook_handler": 900,
    "gateway_events": 950,
    "customer_page": 1100,
    "declaration_worker": 1020,
    "gateway_worker": 1080,
    "gateway_catch_up": 1080,
    "event_publisher": 950,
    "event_deliverer": 850,
    "process_payment": 1350,
    "generate_receipt": 1600,
    "send_email": 1000,
    "mail_feedback": 920,
    "renewal_audit": 1350,
    "receipt_links": 850,
    "subscriptions_api": 1620,
}
ANY_OTHER = 950
"""The ceiling for functions that need only the shared code."""


@pytest.fixture(scope="module")
def functions(stack: Stack) -> dict[str, built.Function]:
    """The functions as deployed."""
    return built.functions(stack.artifacts_folder)


@pytest.mark.skipif(start_up.VALGRIND is None, reason="valgrind, which counts instructions, is not on PATH")
@pytest.mark.timeout(1200)
def test_functions_start_fast(functions: dict[str, built.Function]) -> None:
    """Every deployed function reaches its first call of AWS, tracing on, within its ceiling."""
    assert INSTRUCTIONS.keys() <= functions.keys()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        counted = list(pool.map(start_up.instructions_of, functions.values()))
    millions = {name: round((count or 0) / 1e6) for name, count in zip(functions, counted, strict=True)}
    assert all(millions.values())
    assert {name: count for name, count in millions.items() if count > INSTRUCTIONS.get(name, ANY_OTHER)} == {}


def test_artifacts_are_small(functions: dict[str, built.Function], tmp_path: Path) -> None:
    """The webhook's archives together, and the unpacked files of every function, are small enough for a cold start; the
    receipt function's files are the largest."""
    webhook = functions["webhook_handler"]
    assert sum(built.zipped(part, tmp_path / "zip") for part in (webhook.code, *webhook.layers)) < 4e6
    unzipped = {
        name: sum(built.unzipped(part) for part in (each.code, *each.layers)) for name, each in functions.items()
    }
    assert {name: size for name, size in unzipped.items() if size >= 40e6} == {}
