"""An import into the table: what is created, what is left alone, and how an interrupted import is completed."""

from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import UTC, date
from decimal import Decimal
from typing import Any, cast

import pytest

from renewals.domain import confirmations
from renewals.domain.changes import change_from
from renewals.domain.row_attributes import ROW_ATTRIBUTES
from renewals.ledger.asked_by import AskedBy
from renewals.ledger.register import Register
from scripts.subscriptions.importing import LEFT_OUT, Import, Judged, Tally, Verdict
from scripts.subscriptions.rows import COLUMNS, Line, from_csv
from tests.fakes import NOON, Cut, World

HEADER = "subscription_id,customer_id,renewal_date,amount,currency,gateway_customer,payment_method,catch_up"
TODAY = date(2026, 1, 31)


@pytest.fixture
def worker() -> Iterator[Executor]:
    """An executor with a single thread, since the tables in memory do not serve several threads."""
    with ThreadPoolExecutor(1) as one:
        yield one


@pytest.fixture
def run(shop: World, worker: Executor) -> Any:
    """Return a function that imports lines into the shop's tables, and returns the verdict on every line by its
    number."""

    def run(lines: list[Line], *, apply: bool = True, charge_due: bool = False) -> dict[int, Judged]:
        asked = AskedBy("ann", NOON) if apply else None
        importing = Import(register(shop), lambda _: TODAY, asked, charge_due, worker)
        return {judged.line.number: judged for judged in importing.run(lines)}

    return run


def register(shop: World) -> Register:
    client = cast("Any", shop.dynamodb)
    return Register(client, subscriptions="subscriptions", renewals="renewals", changes="changes")


def lines(*days: str, catch_up: str = "latest") -> list[Line]:
    """Return a line with a subscription for every day of `days`: sub_2 on the first line after the header, and so
    on."""
    cells = [f"sub_{n},cus_{n},{day},29.99,USD,cus_gw,pm_ok,{catch_up}" for n, day in enumerate(days, 2)]
    return list(from_csv([HEADER, *cells]))


def verdicts(judged: Mapping[int, Judged]) -> list[Verdict]:
    return [judged[number].verdict for number in sorted(judged)]


def created(shop: World) -> list[str]:
    return sorted(item["subscription_id"] for item in shop.dynamodb.items("changes").values())


def test_looking_writes_nothing_and_says_what_applying_does(shop: World, run: Any) -> None:
    """A dry run writes nothing and announces for every line what the real run then does."""
    file = [*lines("2026-03-01", "2026-03-02"), Line(9, None, ("amount is missing",))]
    assert verdicts(run(file, apply=False)) == [Verdict.NEW, Verdict.NEW, Verdict.BAD]
    assert shop.dynamodb.items("subscriptions") == {}
    assert created(shop) == []
    assert verdicts(run(file)) == [Verdict.CREATED, Verdict.CREATED, Verdict.BAD]
    assert len(shop.dynamodb.items("subscriptions")) == 2


def test_what_is_created_is_recorded_with_who_did_it(shop: World, run: Any) -> None:
    """An import creates the row that the API would create, and the row's history begins with the name of the
    importer."""
    run(lines("2026-03-01"))
    row = shop.dynamodb.items("subscriptions")["sub_2", "cus_2"]
    assert (row["amount"], row["status"], row["version"]) == (Decimal("29.99"), "active", Decimal(1))
    [entry], complete = register(shop).timeline(row, UTC)
    assert (entry.text, complete) == ("ann created the subscription.", True)


def test_an_import_of_many_rows_mails_nobody(shop: World, run: Any) -> None:
    """The records of an import ask for no confirmation, and a look at an imported subscription finds none owed."""
    run(lines(*["2026-03-01"] * 30))
    records = [change_from(item) for item in shop.dynamodb.items("changes").values()]
    assert len(records) == 30
    assert not any(confirmations.may_owe_mail(each, confirmations.CONFIRMATIONS) for each in records)


def test_the_same_file_again_is_nothing_to_do(shop: World, run: Any) -> None:
    """Importing a file again changes nothing, even where a renewal moved a subscription's date in between."""
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
        ({"amount": Decimal("19.99")}, "the existing subscription differs in amount"),
        ({"renewal_date": "2026-02-01"}, "the existing subscription differs in renewal_date"),
        ({"status": "paused", "plan": "Pro"}, "the existing subscription differs in status, plan"),
        ({"cancel_at": "2026-03-01"}, "the existing subscription differs in cancel_at"),
        ({"amount": "19.99"}, "the existing subscription cannot be read: amount: is not a number"),
        ({"customer_id": "cus_other"}, "the existing subscription differs in customer_id"),
    ],
)
def test_what_is_there_otherwise_is_named_and_left_alone(
    shop: World, run: Any, changes: dict[str, Any], said: str
) -> None:
    """A row unlike its line, or unreadable, is named and never overwritten."""
    file = lines("2026-03-01")
    assert file[0].subscription is not None
    shop.dynamodb.put("subscriptions", dict(file[0].subscription.row) | changes)
    before = dict(shop.dynamodb.items("subscriptions"))
    for apply in (False, True):
        judged = run(file, apply=apply)[2]
        assert (judged.verdict, judged.why) == (Verdict.DIFFERENT, (said,))
    assert shop.dynamodb.items("subscriptions") == before


def test_two_customers_of_one_subscription_are_left_alone(shop: World, run: Any) -> None:
    """Two rows of one subscription id are named as a fault, and stay as they are."""
    file = lines("2026-03-01")
    assert file[0].subscription is not None
    for customer in ("cus_8", "cus_9"):
        shop.dynamodb.put("subscriptions", dict(file[0].subscription.row) | {"customer_id": customer})
    assert run(file)[2].why == ("two customers have a subscription with this id",)


def test_what_was_deleted_is_not_created_again(shop: World, run: Any) -> None:
    """The id of a deleted subscription is not given to a new subscription, and the dry run already says so."""
    file = lines("2026-03-01")
    run(file)
    shop.dynamodb.delete("subscriptions", ("sub_2", "cus_2"))
    for apply in (False, True):
        judged = run(file, apply=apply)[2]
        assert judged.why == ("a subscription with this id existed and was deleted",)
    assert shop.dynamodb.items("subscriptions") == {}


def test_what_is_due_is_held_back_unless_that_is_meant(shop: World, run: Any) -> None:
    """Lines that would be charged at once are held back, and counted with their money and lateness, unless `charge_due`
    is given."""
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
    """With `catch_up` = `each` and two years missed, the import announces the twelve charges that would be made."""
    judged = run(lines("2024-01-15", catch_up="each"), apply=False)[2]
    assert (judged.verdict, len(judged.at_once)) == (Verdict.HELD_BACK, 12)


def test_somebody_else_creates_it_meanwhile(shop: World, run: Any) -> None:
    """A row created by somebody else between the import's look and write is compared with the line like any existing
    row."""
    file = lines("2026-03-01", "2026-03-02")
    rows = [line.subscription.row for line in file if line.subscription is not None]

    def meanwhile(point: str) -> None:
        for row, plan in zip(rows, ("Subscription", "Other"), strict=True):
            register(shop).create({**row, "plan": plan}, AskedBy("bob", NOON))

    shop.cuts.at, shop.cuts.happens = 2 * 2, meanwhile  # after a look at the rows and at the history
    assert verdicts(run(file)) == [Verdict.THERE, Verdict.DIFFERENT]
    assert {row["plan"] for row in shop.dynamodb.items("subscriptions").values()} == {"Subscription", "Other"}


def test_an_import_that_is_cut_off_anywhere_is_run_again(shop: World, run: Any) -> None:
    """An import cut before or after any of its calls is completed by a second run, with every row and its record
    once."""
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


def test_each_column_is_in_the_list_of_row_attributes() -> None:
    """The API's model of a new subscription has the attributes of the one list by which the import compares rows, the
    entity tag is made and personal data is masked."""
    assert {"subscription_id", *ROW_ATTRIBUTES} == set(COLUMNS)
