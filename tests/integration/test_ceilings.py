"""What the deployed functions may take to start, and how large they may be. docs/performance.md says what they take."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks import built, start_up
from local.stack import Stack

# Millions of instructions up to the first call of AWS. They repeat to within a thousandth, on any machine.
INSTRUCTIONS = {
    "webhook_handler": 900,
    "process_payment": 1350,
    "generate_receipt": 1600,
    "send_email": 950,
    "mail_feedback": 920,
}


@pytest.fixture(scope="module")
def functions(stack: Stack) -> dict[str, built.Function]:
    """The functions as they are deployed."""
    return built.functions(stack.artifacts_folder)


@pytest.mark.skipif(start_up.VALGRIND is None, reason="valgrind, which counts instructions, is not on PATH")
def test_functions_start_fast(functions: dict[str, built.Function]) -> None:
    """Each function reaches its first call of AWS, tracing on, within its ceiling."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        counted = list(pool.map(start_up.instructions_of, (functions[name] for name in INSTRUCTIONS)))
    millions = {name: round((count or 0) / 1e6) for name, count in zip(INSTRUCTIONS, counted, strict=True)}
    assert all(millions.values())
    assert {name: count for name, count in millions.items() if count > INSTRUCTIONS[name]} == {}


def test_artifacts_are_small(functions: dict[str, built.Function], tmp_path: Path) -> None:
    """What a cold start has to fetch: the webhook's archives together, and the receipt's files unpacked."""
    webhook, receipt = functions["webhook_handler"], functions["generate_receipt"]
    assert sum(built.zipped(part, tmp_path / "zip") for part in (webhook.code, *webhook.layers)) < 4e6
    assert sum(built.unzipped(part) for part in (receipt.code, *receipt.layers)) < 40e6
