"""Edits by users, operators and the gateway between two runs of a renewal."""

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from renewals.domain.payment import PaymentState
from renewals.ledger.payment_steps import MOST_PICK_UPS
from tests.fakes import LATER, NOON, World

DAY = timedelta(days=1)


def _noon(month: int, day: int) -> datetime:
    return NOON.replace(month=month, day=day)


def _call(shop: World, name: str, since: int = 0) -> int:
    """Return the moment before the first call of that name."""
    return 2 * shop.cuts.calls.index(name, since)


CHANGES: dict[str, Callable[[World], None]] = {
    "canceled": lambda shop: shop.edit(status="canceled"),
    "deleted": lambda shop: shop.delete_row(),
    "moved": lambda shop: shop.edit(renewal_date="2026-06-15"),
}


@pytest.mark.parametrize("row", [{"gateway_customer": "cus_gone"}, {"payment_method": "pm_declined"}])
def test_a_late_period_is_not_charged_once_the_subscription_ends_before_it(shop: World, row: dict[str, str]) -> None:
    """March was claimed at the end of April and refused; once the subscription is set to end on 15 March, March is not
    charged."""
    shop.subscribe(**row)
    shop.run(now=_noon(4, 29))
    shop.edit(gateway_customer="cus_gw", payment_method="pm_ok", cancel_at="2026-03-15")
    shop.run("again", _noon(4, 30))
    assert not shop.gateway.charges


@pytest.mark.parametrize("change", CHANGES)
def test_money_that_was_taken_after_all_is_recorded_and_receipted(shop: World, change: str) -> None:
    """A renewal failed while the gateway answered with a state unknown to us, and the payment succeeded later: the
    payment is recorded and receipted, whatever the row says by then."""
    shop.subscribe()
    shop.gateway.trouble.append(("confirm", "unknown"))
    for n in range(MOST_PICK_UPS + 2):
        shop.run(f"run-{n}", NOON + n * LATER)
    assert shop.items()["2026-01-31"]["status"] == "failed"
    CHANGES[change](shop)
    shop.gateway.succeed("pi_1")
    shop.run("last", NOON + DAY)
    assert shop.items()["2026-01-31"]["status"] == "done"
    assert len(shop.receipts()) == len(shop.gateway.charges) == 1


def test_a_period_given_up_and_moved_back_to_is_billed(shop: World) -> None:
    """Late March was declined, and the row is put on the date of March itself: the old payment is canceled, and March
    is billed by a new payment."""
    shop.subscribe(payment_method="pm_declined")
    shop.run(now=_noon(4, 29))
    shop.edit(renewal_date="2026-03-31", payment_method="pm_ok")
    assert shop.run("again", _noon(4, 29) + LATER) == "Success"
    assert shop.gateway.payments["pi_1"].state is PaymentState.CANCELED
    assert [payment for payment, _, _ in shop.gateway.charges] != ["pi_1"]
    assert len(shop.gateway.charges) == 1


def test_a_row_put_back_by_many_periods_moves_on_and_charges_nothing(shop: World) -> None:
    """After an old import over seven paid months, the workflow's retries move the row past all paid months, and nothing
    is charged."""
    shop.subscribe()
    for month, day in ((1, 31), (2, 28), (3, 31), (4, 30), (5, 31), (6, 30), (7, 31)):
        assert shop.run(f"month-{month}", _noon(month, day)) == "Success"
    shop.edit(renewal_date="2026-01-31")
    assert shop.run("again", _noon(8, 1), tries=4) == "Success"
    assert shop.row()["renewal_date"] == "2026-08-31"
    assert len(shop.gateway.charges) == 7


def test_an_earlier_payment_of_another_price_is_canceled_before_a_new_one_is_made(shop: World) -> None:
    """After a restore from a backup and a new price, a payment of the lost ledger that still waits for the customer's
    bank is canceled before the new payment is made."""
    shop.subscribe(payment_method="pm_3ds")
    shop.run()
    shop.dynamodb.items("renewals").clear()
    shop.gateway.by_key.clear()
    shop.edit(amount=Decimal("39.99"), payment_method="pm_ok", status="active")
    shop.run("again", NOON + 2 * DAY, amount="39.99")
    assert [amount for _, amount, _ in shop.gateway.charges] == [3999]
    assert shop.gateway.payments["pi_1"].state is PaymentState.CANCELED


def test_an_address_put_back_to_the_bad_one_is_parked_again(shop: World) -> None:
    """An address corrected, taken up, and spoiled again before the mail ends as `mail_failed` again, and is not picked
    up for ever."""
    shop.subscribe(customer_email="bad")
    shop.run()
    shop.edit(customer_email="good@customer.example")
    shop.renew("taken-up", NOON + DAY)
    shop.edit(customer_email="bad")
    for n in range(MOST_PICK_UPS + 2):
        shop.run(f"run-{n}", NOON + DAY + (n + 1) * LATER)
    assert shop.items()["2026-01-31"]["status"] == "mail_failed"


def test_two_at_once_at_a_gateway_that_refuses_are_both_told_so(shop: World) -> None:
    """Of two runs at once, the loser of the race is told of the gateway's refusal, not of a period already in the
    ledger."""
    rehearsal = World()
    rehearsal.subscribe(gateway_customer="cus_gone")
    rehearsal.renew()
    shop.subscribe(gateway_customer="cus_gone")
    shop.cuts.at = _call(rehearsal, "dynamodb.TransactWriteItems")
    shop.cuts.happens = lambda _: _ignore(shop.renew("second"))
    assert shop.renew("first").name == "failed"


def test_a_refused_claim_mended_months_later_bills_one_period(shop: World) -> None:
    """A claim refused in January and mended in May bills the latest period, like any late renewal, and passes over the
    rest."""
    shop.subscribe(gateway_customer="cus_gone")
    shop.renew()
    shop.edit(gateway_customer="cus_gw")
    for n in range(3):
        shop.run(f"run-{n}", _noon(5, 15) + n * LATER)
    assert len(shop.gateway.charges) == 1
    assert {day: item["status"] for day, item in shop.items().items()} == {
        "2026-01-31": "skipped",
        "2026-02-28": "skipped",
        "2026-03-31": "skipped",
        "2026-04-30": "done",
    }
    assert shop.row()["renewal_date"] == "2026-05-31"


def test_a_lost_race_for_what_is_owed_is_looked_at_again(shop: World) -> None:
    """Of two runs at once for an owed receipt of a row to be rejected, the loser ends as in progress."""
    shop.subscribe()
    shop.renew()
    shop.edit(amount=Decimal(49))
    later = _noon(3, 2)
    shop.cuts.at = 2 * (len(shop.cuts.calls) + 2)  # before the renewal is taken over
    shop.cuts.happens = lambda _: _ignore(shop.renew("second", later))
    assert shop.renew("first", later).name == "in_progress"


def test_a_payment_that_the_gateway_no_longer_knows_blocks_nothing(shop: World) -> None:
    """A period failed at a gateway account no longer in use does not keep the next period from being billed."""
    shop.subscribe()
    shop.gateway.trouble.append(("confirm", "unknown"))
    for n in range(MOST_PICK_UPS + 2):
        shop.run(f"run-{n}", NOON + n * LATER)
    shop.edit(renewal_date="2026-02-01")
    assert shop.run("february", _noon(2, 1)) == "PaymentFailed"  # the failed payment may still be paid
    del shop.gateway.payments["pi_1"], shop.gateway.requests["pi_1"]
    assert shop.run("again", _noon(2, 2)) == "Success"
    assert shop.renew("third", _noon(2, 2)).name == "nothing_to_do"
    assert len(shop.gateway.charges) == 1


def _ignore(_outcome: object) -> None:
    return None
