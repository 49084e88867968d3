"""An import against the table: what it creates, what it leaves alone, and what an interruption costs."""

from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import UTC, date
from decimal import Decimal
from typing import Any, cast

import pytest

from renewals.domain.subscription import parse
from renewals.ledger import register as registers
from renewals.ledger.register import AskedBy, Register
from scripts.subscriptions import importing as imports
from scripts.subscriptions.importing import LEFT_OUT, Import, Judged, Tally, Verdict
from scripts.subscriptions.rows import COLUMNS, Line, from_csv
from tests.fakes import NOON, Cut, World

HEADER = "subscription_id,customer_id,renewal_date,amount,currency,gateway_customer,payment_method,catch_up"
TODAY = date(2026, 1, 31)


@pytest.fixture
def worker() -> Iterator[Executor]:
    """One, since the tables in memory are not for several."""
    with ThreadPoolExecutor(1) as one:
        yield one


@pytest.fixture
def run(shop: World, worker: Executor) -> Any:
    """Runs an import over the shop's tables; what became of each line, by its number."""

    def run(lines: list[Line], *, apply: bool = True, charge_due: bool = False) -> dict[int, Judged]:
        asked = AskedBy("ann", NOON) if apply else None
        importing = Import(register(shop), lambda _: TODAY, asked, charge_due, worker)
        return {judged.line.number: judged for judged in importing.run(lines)}

    return run


def register(shop: World) -> Register:
    client = cast("Any", shop.dynamodb)
    return Register(client, subscriptions="subscriptions", renewals="renewals", changes="changes")


def lines(*days: str, catch_up: str = "latest") -> list[Line]:
    """One subscription for each of the days, sub_2 on the first line after the header, and so on."""
    cells = [f"sub_{n},cus_{n},{day},29.99,USD,cus_gw,pm_ok,{catch_up}" for n, day in enumerate(days, 2)]
    return list(from_csv([HEADER, *cells]))


def verdicts(judged: Mapping[int, Judged]) -> list[Verdict]:
    return [judged[number].verdict for number in sorted(judged)]


def created(shop: World) -> list[str]:
    return sorted(item["subscription_id"] for item in shop.dynamodb.items("changes").values())


def test_looking_writes_nothing_and_says_what_applying_does(shop: World, run: Any) -> None:
    """The dry run tells of each line what the run after it then does."""
    file = [*lines("2026-03-01", "2026-03-02"), Line(9, None, ("amount is missing",))]
    assert verdicts(run(file, apply=False)) == [Verdict.NEW, Verdict.NEW, Verdict.BAD]
    assert shop.dynamodb.items("subscriptions") == {}
    assert created(shop) == []
    assert verdicts(run(file)) == [Verdict.CREATED, Verdict.CREATED, Verdict.BAD]
    assert len(shop.dynamodb.items("subscriptions")) == 2


def test_what_is_created_is_recorded_with_who_did_it(shop: World, run: Any) -> None:
    """The row is what the API would have written, and its history begins with its importer."""
    run(lines("2026-03-01"))
    row = shop.dynamodb.items("subscriptions")["sub_2", "cus_2"]
    assert (row["amount"], row["status"], row["version"]) == (Decimal("29.99"), "active", Decimal(1))
    [entry], complete = register(shop).history(row, UTC)
    assert (entry.text, complete) == ("ann created the subscription.", True)


def test_the_same_file_again_is_nothing_to_do(shop: World, run: Any) -> None:
    """Also where a subscription was renewed in between: its date has moved on, and stays."""
    file = lines("2026-03-01", "2026-03-02")
    run(file)
    row = shop.dynamodb.items("subscriptions")["sub_3", "cus_3"]
    shop.dynamodb.put("subscriptions", row | {"renewal_date": "2026-04-02", "anchor_day": Decimal(2)})
    assert verdicts(run(file)) == [Verdict.THERE, Verdict.RENEWED]
    assert shop.dynamodb.items("subscriptions")["sub_3", "cus_3"]["renewal_date"] == "2026-04-02"
    assert len(created(shop)) == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"amount": Decimal("19.99")}, "what is there has another amount"),
        ({"renewal_date": "2026-02-01"}, "what is there has another renewal_date"),
        ({"status": "paused", "plan": "Pro"}, "what is there has another status, plan"),
        ({"cancel_at": "2026-03-01"}, "what is there has another cancel_at"),
        ({"amount": "19.99"}, "what is there cannot be read: amount: is not a number"),
        ({"customer_id": "cus_other"}, "what is there has another customer_id"),
    ],
)
def test_what_is_there_otherwise_is_named_and_left_alone(
    shop: World, run: Any, changes: dict[str, Any], said: str
) -> None:
    """A row that differs from its line, or that nobody can read, is never overwritten."""
    file = lines("2026-03-01")
    assert file[0].subscription is not None
    shop.dynamodb.put("subscriptions", dict(file[0].subscription.row) | changes)
    before = dict(shop.dynamodb.items("subscriptions"))
    for apply in (False, True):
        judged = run(file, apply=apply)[2]
        assert (judged.verdict, judged.why) == (Verdict.DIFFERENT, (said,))
    assert shop.dynamodb.items("subscriptions") == before


def test_two_customers_of_one_subscription_are_left_alone(shop: World, run: Any) -> None:
    """A bad row in the table stays what it is."""
    file = lines("2026-03-01")
    assert file[0].subscription is not None
    for customer in ("cus_8", "cus_9"):
        shop.dynamodb.put("subscriptions", dict(file[0].subscription.row) | {"customer_id": customer})
    assert run(file)[2].why == ("there are two customers of this subscription",)


def test_what_was_deleted_is_not_created_again(shop: World, run: Any) -> None:
    """An id whose history is known is not given to another subscription, and the dry run says so too."""
    file = lines("2026-03-01")
    run(file)
    shop.dynamodb.delete("subscriptions", ("sub_2", "cus_2"))
    for apply in (False, True):
        judged = run(file, apply=apply)[2]
        assert judged.why == ("there was a subscription of this id, which has been deleted",)
    assert shop.dynamodb.items("subscriptions") == {}


def test_what_is_due_is_held_back_unless_that_is_meant(shop: World, run: Any) -> None:
    """Nothing that would be charged at once is taken in by accident; how many, how much and how late is counted."""
    file = lines("2026-02-01", "2026-01-31", "2025-11-30")
    looked = run(file, apply=False)
    assert verdicts(looked) == [Verdict.NEW, Verdict.HELD_BACK, Verdict.HELD_BACK]
    tally = Tally()
    for judged in looked.values():
        tally.add(judged)
    assert (tally.due, tally.charges, tally.money) == (2, 2, {"USD": Decimal("59.98")})
    assert (tally.late, tally.oldest) == (1, date(2025, 11, 30))
    assert verdicts(run(file)) == [Verdict.CREATED, Verdict.HELD_BACK, Verdict.HELD_BACK]
    assert verdicts(run(file, charge_due=True)) == [Verdict.THERE, Verdict.CREATED, Verdict.CREATED]


def test_periods_that_are_each_billed_are_each_counted(run: Any) -> None:
    """catch_up = each: of two years missed twelve charges are announced, as many as would be made."""
    judged = run(lines("2024-01-15", catch_up="each"), apply=False)[2]
    assert (judged.verdict, len(judged.at_once)) == (Verdict.HELD_BACK, 12)


def test_somebody_else_creates_it_meanwhile(shop: World, run: Any) -> None:
    """Between the look and the write another import, or the API, was faster: the line is held against what is there."""
    file = lines("2026-03-01", "2026-03-02")
    rows = [line.subscription.row for line in file if line.subscription is not None]

    def meanwhile(point: str) -> None:
        for row, plan in zip(rows, ("Subscription", "Other"), strict=True):
            register(shop).create({**row, "plan": plan}, AskedBy("bob", NOON))

    shop.cuts.at, shop.cuts.happens = 2 * 2, meanwhile  # after a look at the rows and at the history
    assert verdicts(run(file)) == [Verdict.THERE, Verdict.DIFFERENT]
    assert {row["plan"] for row in shop.dynamodb.items("subscriptions").values()} == {"Subscription", "Other"}


def test_an_import_that_is_cut_off_anywhere_is_run_again(shop: World, run: Any) -> None:
    """Ended before and after each of its calls, the same import then completes: each row and its record once."""
    file = lines("2026-03-01", "2026-03-02", "2026-03-03")
    run(file)
    moments = 2 * len(shop.cuts.calls)
    whole = dict(shop.dynamodb.items("subscriptions"))
    for moment in range(moments):
        shop.dynamodb.tables.clear()
        shop.cuts.calls.clear()
        shop.cuts.at = moment
        with pytest.raises(Cut):
            run(file)
        assert shop.dynamodb.items("subscriptions").keys() == {
            (item["subscription_id"], f"cus_{item['subscription_id'][4:]}")
            for item in shop.dynamodb.items("changes").values()
        }
        assert not LEFT_OUT.intersection(verdicts(run(file)))
        assert shop.dynamodb.items("subscriptions") == whole
        assert created(shop) == ["sub_2", "sub_3", "sub_4"]


def test_a_further_attribute_is_compared_and_covered_by_the_entity_tag(shop: World) -> None:
    """The lists of attributes hang together: an import compares each column with what is there, and the entity tag
    covers each that only people change."""
    shop.subscribe()
    assert {"subscription_id", *imports._facts(parse(shop.row()))} == set(COLUMNS)
    moved_by_renewals = {"renewal_date", "anchor_day", "status"}
    assert {"subscription_id", "test_clock", *registers._COVERED} | moved_by_renewals == set(COLUMNS)
