"""Records every unit test, and compares the calls with the kept recording. The unit tests' conftest imports this
module."""

import json
import os
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.recordings import kept, recorder

LEFT_OUT: dict[str, str] = {
    "test_audit::test_memory_stays_flat_and_calls_are_few": "the test measures memory, and a recording takes some",
    "test_clock": "only the first test in a process reads the charging switch of an earlier version",
    "test_earlier_versions": "for the reason of test_clock",
    "test_odd_orders::test_a_refused_period_is_paid_by_another_customer_at_the_gateway": "random ids of the sandbox",
    "test_over_the_sandbox": "random ids of the sandbox",
    "test_recordings": "these tests make recordings of their own",
    "test_stripe_gateway": "random ids of the sandbox",
}
"""Tests without a recording, with the reason: the name of a file, or of a file and a test. Tests drawn by Hypothesis,
tests with calls from several threads, and the cases that only `make proof` runs, are not recorded either."""

WITHOUT_DAYS = frozenset(
    (
        "test_anchors test_clear_mail_fault test_console test_ended test_entry test_mail_feedback"
        " test_oncall test_receipts test_refunds test_restore test_spans test_status_changes"
        " test_subscriptions_api test_subscriptions_command test_webhook test_webhook_handler"
    ).split()
)
"""Files with tests that look at the real clock: recordings of these files leave out dates and times."""

recorder.install()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    recorder.begin(listens=_is_recorded(item))
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    result = yield
    if _is_recorded(item) and recorder.are_in_order():
        module, name, parameters = kept.place(item.nodeid)
        told = recorder.told(without_days=module in WITHOUT_DAYS)
        if os.environ.get(kept.RECORD_TO):
            _record(item.nodeid, told)
        else:
            _compare(kept.recordings(module).get(name), parameters, told)
    return result


def _is_recorded(item: pytest.Item) -> bool:
    module, name, _ = kept.place(item.nodeid)
    drawn = getattr(getattr(item, "obj", None), "is_hypothesis_test", False)
    wanted = os.environ.get(kept.RECORD_TO) or name in kept.recordings(module)
    is_proof = item.get_closest_marker("proof") is not None
    return bool(wanted) and not drawn and not is_proof and LEFT_OUT.keys().isdisjoint({module, f"{module}::{name}"})


def _record(test: str, told: recorder.Told) -> None:
    if told.lines:
        kinds = {which: sorted(each) for which, each in told.kinds.items()}
        line = json.dumps({"test": test, "digest": told.digest, "kinds": kinds, "lines": told.lines})
        with Path(os.environ[kept.RECORD_TO], f"{os.getpid()}.jsonl").open("a") as file:
            file.write(f"{line}\n")


def _compare(recording: kept.Recording | None, parameters: str, told: recorder.Told) -> None:
    if recording is None or recording.digests.get(parameters, told.digest) == told.digest:
        return
    does = {kept.short(words): words for each in told.kinds.values() for words in each}
    new = [words for name, words in does.items() if name not in recording.kinds]
    gone = kept.words_of(recording.kinds - does.keys()) if len(recording.digests) == 1 else []
    differs = [f"new:  {words}" for words in sorted(new)] + [f"gone: {words}" for words in gone]
    pytest.fail(
        "The calls of this test differ from the test's recording (tests/recordings).\n"
        + ("\n".join(differs) or "The kinds of calls agree, but their values, number or order differ.")
        + "\n`python -m tests.recordings compare <test>` shows each call; `... accept <test>` keeps the present calls",
        pytrace=False,
    )
