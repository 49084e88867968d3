"""A renewal that is cut anywhere and run again ends with one charge of the claimed amount, one receipt and one mail.

The points are enumerated, not sampled: before and after every call that leaves the process. What stands between a
mail's sending and its record cannot be told apart by anybody; there, and only there, a renewal may end as
mail_unknown, and never with two mails.
"""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest

from tests.fakes import DUE, LATER, NOON, World


def _points() -> list[str]:
    shop = World()
    shop.subscribe()
    assert shop.run() == "Success"
    return shop.cuts.calls


CALLS = _points()
MOMENTS = [pytest.param(2 * n + after, id=f"{'after' if after else 'before'}-{n}-{call}")
           for n, call in enumerate(CALLS) for after in (0, 1)]  # fmt: skip
MONEY_CLAIMED = 2 * CALLS.index("dynamodb.TransactWriteItems") + 1
SENDING = 2 * CALLS.index("ses.SendRawEmail")

CHANGES: dict[str, Callable[[World], None]] = {
    "nothing": lambda _shop: None,
    "canceled": lambda shop: shop.edit(status="canceled"),
    "paused": lambda shop: shop.edit(status="paused"),
    "card": lambda shop: shop.edit(payment_method="pm_other"),
    "price": lambda shop: shop.edit(amount=Decimal("49.99")),
    "moved": lambda shop: shop.edit(renewal_date="2026-06-15"),
    "deleted": lambda shop: shop.delete_row(),
}


def _expect_one_of_everything(shop: World, moment: int) -> None:
    assert [(amount, currency) for _, amount, currency in shop.gateway.charges] == [(2999, "USD")]
    assert list(shop.receipts()) == [f"receipts/cus_1/sub_1/{shop.gateway.charges[0][0]}.pdf"]
    item = shop.items()[DUE.isoformat()]
    if item["status"] == "mail_unknown":
        assert SENDING <= moment <= SENDING + 2 or moment == SENDING - 1
        assert len(shop.mails()) <= 1
    else:
        assert item["status"] == "done"
        assert len(shop.mails()) == 1


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_task_that_ends_anywhere_is_run_again_at_once_by_its_own_workflow(moment: int) -> None:
    """The workflow's own retry finishes what was cut, and the subscription moves on one period."""
    shop = World()
    shop.subscribe()
    shop.cuts.at = moment
    shop.run(tries=2)
    _expect_one_of_everything(shop, moment)
    assert shop.row()["renewal_date"] == "2026-02-28"


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("wait", [LATER, timedelta(days=1)], ids=["minutes", "a-day"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_that_ends_anywhere_is_taken_up_by_a_later_one(moment: int, wait: timedelta, change: str) -> None:
    """Whatever happened to the subscription meanwhile: what was claimed is charged as claimed, receipted and mailed;
    what was not claimed is charged only if the subscription still says so."""
    shop = World()
    shop.subscribe()
    shop.cuts.at = moment
    shop.run("first")
    claimed = bool(shop.items())
    CHANGES[change](shop)
    for n in range(3):  # a mail whose lease has run out is looked at again
        shop.run(f"later-{n}", NOON + wait + n * LATER)
    if claimed or change in ("nothing", "card"):
        _expect_one_of_everything(shop, moment)
    else:
        assert moment < MONEY_CLAIMED
        assert not shop.gateway.charges
        assert not shop.items()


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_change_in_the_very_middle_charges_what_was_claimed_or_nothing(moment: int, change: str) -> None:
    """The row is edited between any two calls of a run that goes on: no charge but of the claimed amount."""
    shop = World()
    shop.subscribe()
    shop.cuts.at, shop.cuts.happens = moment, lambda _point: CHANGES[change](shop)
    shop.run()
    if shop.gateway.charges:
        _expect_one_of_everything(shop, moment)
    else:
        assert moment < MONEY_CLAIMED
        assert not shop.items()


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_second_execution_in_the_very_middle_of_the_first_changes_nothing(moment: int) -> None:
    """Two executions at once, the second run whole between any two calls of the first: still one of everything."""
    shop = World()
    shop.subscribe()
    shop.cuts.at, shop.cuts.happens = moment, lambda _point: _ignore(shop.run("second"))
    shop.run("first")
    shop.run("third", NOON + LATER)
    _expect_one_of_everything(shop, moment)
    assert shop.items()[DUE.isoformat()]["status"] == "done"
    assert shop.row()["renewal_date"] == "2026-02-28"


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_same_execution_run_twice_at_the_same_time_charges_once(moment: int) -> None:
    """Express workflows run at least once: the twin shares its name and its lease, and money still moves once."""
    shop = World()
    shop.subscribe()
    shop.cuts.at, shop.cuts.happens = moment, lambda _point: _ignore(shop.run("same"))
    shop.run("same")
    shop.run("later", NOON + LATER)
    _expect_one_of_everything(shop, moment)


@pytest.mark.parametrize("kind", ["before", "after", "answered"])
@pytest.mark.parametrize("operation", ["create", "confirm", "retrieve"])
def test_a_gateway_that_answers_nothing_clear_is_asked_again(operation: str, kind: str) -> None:
    """A call lost before or after it was done, or answered with a 5xx: one charge once the workflow has retried."""
    shop = World()
    shop.subscribe()
    shop.gateway.trouble.append((operation, kind))
    assert shop.run(tries=3) == "Success"
    assert len(shop.gateway.charges) == len(shop.mails()) == 1


def _ignore(_ended: str) -> None:
    return None
