"""The documents of `make bench` say what the figures say, and a bill is the sum of counted units."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from benchmarks import cost, page, report, seed
from benchmarks.units import MeteredDynamoDB
from renewals.runtime import dynamodb
from tests.fakes import DUE, World

ROOT = Path(__file__).parents[2]
FUNCTION = cost.Function(memory=1769, cpu_ms=100, waits_ms=900, start_ms=0)
DESIGN = cost.Design(
    functions={"webhook_handler": replace(FUNCTION, cpu_ms=10, waits_ms=0), "process_payment": FUNCTION},
    reads=4,
    writes=8,
    item_bytes=2_000,
    receipt_bytes=3_000,
    attachment_bytes=3_000,
    gets=1,
    function_log_bytes=1_000,
    workflow_log_bytes=5_000,
    transitions=7,
)


@pytest.fixture(scope="module")
def results() -> Any:
    return json.loads((ROOT / "benchmarks/results.json").read_text())


@pytest.fixture(scope="module")
def before(results: Any) -> dict[str, Any]:
    return seed.measured(results["measured"]["machine"])


def test_the_documents_say_what_was_measured(results: Any, before: dict[str, Any]) -> None:
    """docs/performance.md and docs/cost.md are made from the committed results.json and the seed's committed figures,
    without an edit by hand."""
    assert (ROOT / "docs/performance.md").read_text() == report.text(results, before)
    assert (ROOT / "docs/cost.md").read_text() == cost.text(results, before)


def test_a_visit_of_the_customer_page_is_counted(results: Any) -> None:
    """A counted visit has the committed number of requests; only a visit that changes something writes, and only the
    visit for a new card asks the gateway."""
    counted = page.measured()
    assert {name: each["requests"] for name, each in counted.items()} == {
        name: each["requests"] for name, each in results["page"].items()
    }
    assert [each["writes"] > 0 for each in counted.values()] == [False, True, True]
    assert [each["gateway"] for each in counted.values()] == [0, 0, 3]


def test_a_visit_of_the_customer_page_costs_what_a_calculator_says() -> None:
    """Six requests, 17 reads, 8 writes and 18 calls agree with a calculation by hand for a million customers: 21.00
    and 1.20 dollars for requests, 2.40 for time, 2.13 for reads and 5.00 for writes."""
    counted = {"requests": 6, "reads": 17, "writes": 8, "dynamodb": 18, "payment_runs": 0, "gateway": 0, "messages": 0}
    assert 1e6 * cost.visiting(counted) == pytest.approx(21 + 1.2 + 2.4 + 2.125 + 5, abs=0.01)


def test_what_is_missed_is_known(results: Any, before: dict[str, Any]) -> None:
    """No figure of the last `make bench` is beyond its limit, apart from the two that the document explains."""
    missed = [line for line in report.text(results, before).splitlines() if "**missed**" in line]
    assert [line.split(" | ")[0] for line in missed] == [
        "| workflow, p50, one in flight, × the seed's",
        "| processor time of the functions for one renewal, one in flight, × the seed's",
    ]


def test_a_later_measurement_of_the_seed_takes_the_place_of_the_recorded_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, before: dict[str, Any]
) -> None:
    """A later measurement of the seed replaces the recorded figures and versions, and leaves the description of the
    seed's design unchanged."""
    figures = {
        "webhook_p50_ms": 1, "webhook_p95_ms": 2, "workflow_p50_ms": 3, "workflow_p95_ms": 4, "renewals_per_s": 5,
        "handlers_cpu_ms_per_renewal": 6,
    }  # fmt: skip
    file = tmp_path / "result.json"
    file.write_text(
        json.dumps({"node": "v1", "ministack": "2", "medians": {"closed_c1": figures, "closed_c8": figures}})
    )
    monkeypatch.setenv("SEED_RESULT", str(file))
    later = seed.measured("a machine")
    assert later["in_flight"]["8"]["handlers_cpu_ms"] == 6
    assert (later["measured"]["node"], later["measured"]["machine"]) == ("v1", "a machine")
    assert later["calls"] == before["calls"]


def test_the_events_of_renewals_cost_what_a_calculator_says() -> None:
    """The events of a million renewals with seven records each agree with a calculation by hand: a dollar for the bus,
    1.40 and 0.58 dollars for requests and time of the publisher, 0.25 for reads; 1.20 for SQS, 0.20 and 0.42 for the
    deliverer."""
    told = {name: round(1e6 * dollars, 2) for name, dollars in cost.telling(7).items()}
    assert told == {"bus": 1.0, "publisher": 1.98, "reads": 0.25}
    assert round(1e6 * cost.posting(), 2) == 1.82


def test_a_bill_is_what_a_calculator_says() -> None:
    """The bill for a million renewals of a made-up design agrees with a calculation by hand, item by item."""
    assert {name: round(dollars, 4) for name, dollars in cost.bill(DESIGN).items() if name != "X-Ray"} == {
        "API Gateway": 3.5,
        "Lambda, requests": 0.4,
        "Lambda, duration": round(1.01 * 1769 / 1024 * 16.6667, 4),
        "Step Functions": round(1 + 0.0625 * 1.0 * 16.67, 4),
        "DynamoDB, reads": 0.5,
        "DynamoDB, writes": 5.0,
        "S3, requests": 5.4,
        "storage, a month": 0.5 + 0.069,
        "SES": 100.36,
        "CloudWatch Logs": 3.0,
    }


def test_each_choice_changes_its_own_item() -> None:
    """Arm costs four fifths of the duration, Standard goes by its transitions, and an HTTP API by its requests. Half
    the memory doubles the processor's time and not the waiting."""
    bills = {name: cost.bill(choose(DESIGN)) for name, choose in cost.CHOICES.items()}
    plain = cost.bill(DESIGN)
    assert bills["arm64 instead of x86"]["Lambda, duration"] == pytest.approx(0.8 * plain["Lambda, duration"], rel=1e-4)
    assert bills["a Standard workflow instead of Express"]["Step Functions"] == pytest.approx(175)
    assert bills["an HTTP API instead of REST"]["API Gateway"] == 1
    assert bills["the workflow logs errors only"]["CloudWatch Logs"] == pytest.approx(0.5)
    assert replace(FUNCTION, memory=1769 // 2).seconds == pytest.approx(0.9 + 0.2, rel=0.01)
    assert replace(FUNCTION, memory=2 * 1769).seconds == FUNCTION.seconds


def test_a_renewal_makes_no_call_too_many() -> None:
    """An ordinary renewal makes exactly these calls in this order: every call serves a promise, and nothing is read
    twice in a run."""
    shop = World()
    shop.subscribe()
    shop.run()
    assert [call.removeprefix("dynamodb.") for call in shop.cuts.calls] == [
        *("Query", "Query", "TransactWriteItems"),  # ledger and row; then the claim, if charging is on
        *("gateway.create", "TransactWriteItems", "gateway.confirm", "TransactWriteItems"),  # if charging still is on
        *("GetItem", "s3.PutObject", "UpdateItem"),
        *("BatchGetItem", "s3.GetObject", "UpdateItem", "ses.SendRawEmail", "UpdateItem"),
    ]


def test_a_long_history_is_not_read() -> None:
    """Of a hundred periods a renewal reads the latest ten; past skipped periods the ledger reads on, in larger
    pages."""
    reads = []
    for status in ("done", "skipped"):
        shop = World()
        shop.subscribe()
        shop.run()
        done = shop.items()["2026-01-31"]
        shop.edit(renewal_date="2026-01-31")
        shop.dynamodb.items("renewals").clear()
        for n in range(1, 101):
            day = (DUE - timedelta(days=31 * n)).isoformat()
            shop.dynamodb.put("renewals", done | {"renewal_date": day, "status": status})
        earlier = len(shop.cuts.calls)
        assert len(shop.ledger.recent("sub_1")) == (10 if status == "done" else 0)
        reads.append(len(shop.cuts.calls) - earlier)
    assert reads == [1, 2]


KEY = {"subscription_id": "s", "renewal_date": "2026-01-31"}


@pytest.mark.parametrize(
    ("changes", "writes"),
    [
        ({"note": "x"}, 2 + 2),  # two kilobytes, in the table and under its index
        ({"touched_at": "2026-02-02"}, 2 + 2 + 2),  # the index entry moves: the old entry goes, a new entry comes
        ({"unfinished": None}, 2 + 2),  # the index entry goes
    ],
)
def test_writes_are_counted_by_dynamodbs_rules(changes: dict[str, Any], writes: int) -> None:
    """An update counts once, and twice in a transaction, where the index costs no more; a check costs as much as a
    write."""
    alone, together = (MeteredDynamoDB({"renewals": "renewal_date"}) for _ in range(2))
    for tables in (alone, together):
        tables.put("renewals", KEY | {"filling": "x" * 1500, "unfinished": "1", "touched_at": "2026-02-01"})
    update = dynamodb.change("renewals", KEY, {**changes, "word": "new"}, "attribute_exists(unfinished)", {})
    client: Any = alone
    dynamodb.update(client, update)
    assert alone.writes == writes
    client = together
    dynamodb.transact(client, [{"Update": update}])
    assert together.writes == writes + 2


def test_reads_are_counted_by_dynamodbs_rules() -> None:
    """A consistent read costs a unit for every four kilobytes begun, a missing item costs a unit too, and a page is
    rounded up as a whole."""
    tables = MeteredDynamoDB({"renewals": "renewal_date"})
    for day in ("2026-01-30", "2026-01-31"):
        tables.put("renewals", {"subscription_id": "s", "renewal_date": day, "filling": "x" * 3000})
    client: Any = tables
    found = dynamodb.get_all(client, "renewals", [KEY, {"subscription_id": "s", "renewal_date": "2027-01-01"}])
    assert len(list(found)) == 1
    assert tables.reads == 2
    client.query(
        TableName="renewals",
        KeyConditionExpression="subscription_id = :id",
        ExpressionAttributeValues={":id": {"S": "s"}},
        ScanIndexForward=True,
        Limit=5,
        ConsistentRead=True,
    )
    assert tables.reads == 2 + 2
