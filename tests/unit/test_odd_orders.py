"""Odd orders of edits, crashes and answers around a refused or failed renewal.

Each was found once by looking for trouble.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from local.gateway import official_client, serving
from process_payment.charge import Charge
from process_payment.decisions import Outcome
from process_payment.payments import Payments
from renewals.domain.dunning import Dunning
from renewals.domain.payment import Failure, Payment, PaymentState
from renewals.domain.reasons import Reason
from renewals.domain.request import RenewalRequest
from renewals.domain.subscription import SubscriptionStatus
from renewals.domain.timeline import timeline
from renewals.gateway.stripe_gateway import StripeGateway
from renewals.ledger.payment_steps import MOST_PICK_UPS
from renewals.ledger.register import Register
from renewals.runtime import dynamodb
from tests.fakes import DUE, DUNNING, LATER, NOON, SELLER, World
from tests.unit.test_audit import Auditor
from tests.unit.test_sweep import Sweeper

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
JANUARY = DUE.isoformat()
LAST_DAY = DUNNING.days[-1]
NIGHTLY = ("due", "all")


def _noon(month: int, day: int) -> datetime:
    return NOON.replace(month=month, day=day)


def _hours(first: int, last: int, since: datetime = NOON) -> list[datetime]:
    return [since + hour * HOUR for hour in range(first, last + 1)]


def _days(first: int, last: int, since: datetime = NOON) -> list[datetime]:
    return [since + day * DAY for day in range(first, last + 1)]


def _ask(shop: World, now: datetime) -> str:
    """An execution that the sweep asked for: it names the period that the row is at."""
    return shop.run(f"asked-{now:%m-%dT%H:%M}", now, period=shop.row()["renewal_date"])


def _ask_each(shop: World, moments: Iterable[datetime]) -> list[str]:
    return [_ask(shop, now) for now in moments]


def _ask_often(shop: World, now: datetime, times: int = 8) -> None:
    _ask_each(shop, [now + n * LATER for n in range(times)])


def _live(shop: World, days: range) -> None:
    """Two executions a day, one right after the other."""
    for day in days:
        _ask_often(shop, NOON + day * DAY, times=2)


def _swept(shop: World, moments: Iterable[datetime], kinds: Iterable[str] = ("due",)) -> list[str]:
    """Real sweeps at these moments, and the workflow for each of their messages: where each of these ended."""
    sweeper, ends = Sweeper(shop), []
    for now in moments:
        for kind in kinds:
            sweeper.sweep(kind, now=now)
        for n, message in enumerate(sweeper.sent()):
            name = f"swept-{now:%m-%dT%H:%M}-{n}"
            ends.append(shop.run(name, now, amount=message["amount"], period=message.get("renewal_date")))
    return ends


def _call(begin: Callable[[World], object], run: Callable[[World], object], name: str) -> int:
    """The number of the first call of that name in a run, in a world that begins like this."""
    rehearsal = World()
    begin(rehearsal)
    earlier = len(rehearsal.cuts.calls)
    run(rehearsal)
    return rehearsal.cuts.calls.index(name, earlier)


def _declined(shop: World) -> None:
    shop.subscribe(payment_method="pm_declined")
    shop.run()


def _expect_billed_once_anew(shop: World) -> None:
    """January is paid, once, by another payment than its first, which nobody can complete any more."""
    assert shop.gateway.payments["pi_1"].state is PaymentState.CANCELED
    [(payment, _, _)] = shop.gateway.charges
    assert payment != "pi_1"
    assert len(shop.receipts()) == 1
    assert shop.items()[JANUARY]["status"] == "done"


# --- a payment that is cancelled, and a period that is not closed yet -----------------------------------------------


def _dunned(shop: World) -> None:
    """Declined on every date but the last."""
    shop.subscribe(payment_method="pm_declined")
    _live(shop, range(LAST_DAY))


def _end_of_dunning(shop: World) -> None:
    _ask(shop, NOON + LAST_DAY * DAY)


def test_a_card_that_comes_as_dunning_cancels_the_payment_is_charged(shop: World) -> None:
    """Given between the cancellation and its record: the subscription is not ended over it, and the card pays."""
    _dunned(shop)
    shop.cuts.at = 2 * _call(_dunned, _end_of_dunning, "gateway.cancel") + 1
    shop.cuts.happens = lambda _point: shop.edit(payment_method="pm_ok")
    _end_of_dunning(shop)
    _ask_each(shop, _hours(1, 29, NOON + LAST_DAY * DAY))
    _expect_billed_once_anew(shop)


def test_a_card_that_comes_after_a_crash_at_the_end_of_dunning_is_charged(shop: World) -> None:
    """Cut off right after the cancellation: the period is billed anew instead of asking a dead payment for ever."""
    _dunned(shop)
    shop.cuts.at = 2 * _call(_dunned, _end_of_dunning, "gateway.cancel") + 1
    _end_of_dunning(shop)
    shop.edit(payment_method="pm_ok")
    _ask_each(shop, _hours(1, 29, NOON + LAST_DAY * DAY))
    _expect_billed_once_anew(shop)


def test_a_pause_that_was_cut_off_and_taken_back_leaves_the_period_billable(shop: World) -> None:
    """Cut off when the pause had cancelled the payment, then resumed with another card: it pays."""

    def paused(world: World) -> None:
        _declined(world)
        world.edit(status="paused")

    def ask(world: World) -> None:
        _ask(world, NOON + LATER)

    paused(shop)
    shop.cuts.at = 2 * _call(paused, ask, "gateway.cancel") + 1
    ask(shop)
    shop.edit(status="active", payment_method="pm_ok")
    _ask_each(shop, _hours(1, 29, NOON + LAST_DAY * DAY))
    _expect_billed_once_anew(shop)


def test_a_declined_payment_cancelled_by_hand_does_not_keep_another_card_from_paying(shop: World) -> None:
    """Cancelled in the gateway's dashboard while it is dunned: another card pays on another payment."""
    _declined(shop)
    shop.gateway.cancel("pi_1")
    shop.edit(payment_method="pm_ok")
    _ask_each(shop, _hours(1, 29, NOON + LAST_DAY * DAY))
    _expect_billed_once_anew(shop)


def _renew(shop: World) -> None:
    shop.run("cut")


def test_a_claimed_payment_cancelled_by_hand_is_replaced_only_for_another_card(shop: World) -> None:
    """Somebody meant it: neither the sweep nor a webhook charges this card for the period; another card is billed."""
    shop.subscribe()
    shop.cuts.at = 2 * _call(World.subscribe, _renew, "gateway.confirm")
    _renew(shop)
    assert shop.items()[JANUARY]["status"] == "claimed"
    shop.gateway.cancel("pi_1")
    assert _ask(shop, NOON + LATER) == "PaymentFailed"
    item = shop.items()[JANUARY]
    assert (item["status"], item["reason"]) == ("failed", Reason.CANCELED_AT_THE_GATEWAY)

    by_sweep = RenewalRequest("sub_1", "cus_1", Decimal("29.99"), DUE)
    swept = shop.charge("sweep", NOON + HOUR).renew(by_sweep)
    assert (swept.name, swept.reason) == ("nothing_to_do", Reason.CANCELED_AT_THE_GATEWAY)
    assert shop.renew("webhook", NOON + HOUR).name == "failed"
    assert set(_swept(shop, _days(1, 3), NIGHTLY)) == {"Success"}
    assert (list(shop.gateway.payments), shop.gateway.attempts, shop.mails()) == (["pi_1"], [], [])

    shop.edit(payment_method="pm_other")
    assert _swept(shop, [NOON + 4 * DAY]) == ["Success"]
    _expect_billed_once_anew(shop)


# --- one row among many ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [["active"], {"is": "active"}])
def test_a_status_that_is_no_word_stops_no_sweep(status: Any) -> None:
    """The row is named, and the good one beside it is handed over."""
    sweeper = Sweeper()
    bad = sweeper.add("bad", status=status)
    good = sweeper.add("good")
    sweeper.sweep()
    assert sweeper.sent_ids() == [good]
    assert [name for name, _ in sweeper.named] == [bad]


def test_a_status_that_is_no_word_stops_no_audit() -> None:
    """The row is counted as bad."""
    auditor = Auditor()
    auditor.world.subscribe(status=["active"])
    assert auditor.audit()["counts"]["bad_rows"] == 1


# --- rows moved, paused, deleted or overwritten ---------------------------------------------------------------------


def test_a_moved_row_is_not_billed_over_a_period_that_may_still_be_paid(shop: World) -> None:
    """Unclear for so long that it failed; then the row is moved by a day, and the money is taken after all: once."""
    shop.subscribe()
    shop.gateway.trouble.append(("confirm", "unknown"))
    _ask_often(shop, NOON, times=MOST_PICK_UPS + 2)
    assert shop.items()[JANUARY]["status"] == "failed"
    shop.edit(renewal_date="2026-02-01")
    _ask(shop, NOON + DAY)
    shop.gateway.succeed("pi_1")
    _ask(shop, NOON + 2 * DAY)
    assert len(shop.gateway.charges) == 1


@pytest.mark.parametrize("catch_up", ["latest", "each"])
def test_a_pause_after_a_refused_claim_is_free(shop: World, catch_up: str) -> None:
    """January failed without a payment, and February to May were paused: after January nothing is billed but what
    begins on the day on which the subscription is active again."""
    shop.subscribe(gateway_customer="cus_gone", catch_up=catch_up)
    _ask(shop, NOON)
    shop.edit(status="paused", gateway_customer="cus_gw")
    _ask_each(shop, [_noon(2, 28), _noon(3, 31), _noon(4, 30), _noon(5, 31)])
    shop.edit(status="active")
    _ask_often(shop, _noon(6, 5))
    assert [day for day, item in shop.items().items() if "paid_at" in item and day > JANUARY] == ["2026-06-05"]
    assert shop.row()["renewal_date"] == "2026-07-05"


ROW_LOSSES: dict[str, Callable[[World], None]] = {
    "deleted": lambda shop: shop.delete_row(),
    "overwritten": lambda shop: shop.subscribe(payment_method="pm_3ds", status="canceled"),  # an import, row by row
}


@pytest.mark.parametrize("loss", ROW_LOSSES)
def test_a_late_confirmation_is_known_whatever_became_of_the_row(loss: str) -> None:
    """The customer confirms at the bank a day after the row was lost: recorded and receipted, and the books agree."""
    auditor = Auditor()
    shop = auditor.world
    shop.subscribe(payment_method="pm_3ds")
    shop.run()
    ROW_LOSSES[loss](shop)
    _swept(shop, _hours(1, 23), NIGHTLY)
    shop.gateway.now = NOON + DAY
    shop.gateway.succeed("pi_1")
    _swept(shop, _days(2, 39), NIGHTLY)
    auditor.now = NOON + 4 * DAY
    assert shop.items()[JANUARY]["status"] == "done"
    assert len(shop.receipts()) == len(shop.gateway.charges) == 1
    assert sum(auditor.audit()["differences"].values()) == 0


def test_a_refused_payment_of_a_deleted_row_is_cancelled_after_its_dunning_date(shop: World) -> None:
    """No row leads to it any more: the day after, the sweep finds it in the ledger, and nobody can complete it."""
    _declined(shop)
    shop.delete_row()
    dunning_date = DUNNING.days[0]
    assert _swept(shop, _days(0, dunning_date), NIGHTLY) == []
    assert len(_swept(shop, _days(dunning_date + 1, dunning_date + 1))) == 1
    assert shop.gateway.payments["pi_1"].state is PaymentState.CANCELED
    item = shop.items()[JANUARY]
    assert item["status"] == "given_up"
    assert item["reason"].startswith("deleted")
    assert _swept(shop, _days(dunning_date + 2, 10), NIGHTLY) == []
    assert len(shop.gateway.attempts) == 1


def test_a_refused_period_ends_with_a_row_that_has_lost_its_card(shop: World) -> None:
    """Cancelled, and no longer a row that could be charged: its payment is cancelled within hours all the same."""
    shop.subscribe(payment_method="pm_3ds")
    shop.run()
    without_card = {name: value for name, value in shop.row().items() if name != "payment_method"}
    shop.dynamodb.put("subscriptions", without_card | {"status": "canceled"})
    _swept(shop, _hours(1, 8))
    assert shop.gateway.payments["pi_1"].state is PaymentState.CANCELED


def _renew_at_the_sandbox(shop: World, gateway: StripeGateway, execution: str, now: datetime) -> Outcome:
    payments = Payments(gateway, "shop-test")
    charge = Charge(shop.ledger, payments, shop.switch, execution, SELLER, shop.moment(now), DUNNING)
    return charge.renew(RenewalRequest("sub_1", "cus_1", Decimal("29.99")))


def test_a_refused_period_is_paid_by_another_customer_at_the_gateway(shop: World) -> None:
    """Merged accounts: a payment belongs to its customer and takes no other's card, so that a new one is made."""
    with serving() as sandbox:
        v1 = official_client(sandbox.url, sandbox.api_key).v1
        gateway = StripeGateway(sandbox.api_key, sandbox.url)
        old, new = (v1.customers.create({"name": name}).id for name in ("Ann", "Ann Lee"))
        declined = v1.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": old}).id
        good = v1.payment_methods.attach("pm_card_visa", {"customer": new}).id
        shop.subscribe(gateway_customer=old, payment_method=declined)
        assert _renew_at_the_sandbox(shop, gateway, "first", NOON).name == "declined"
        shop.edit(gateway_customer=new, payment_method=good)
        assert _renew_at_the_sandbox(shop, gateway, "second", NOON + LATER).name == "paid"


@pytest.mark.parametrize(("card", "status"), [("pm_declined", "active"), ("pm_ok", "paused")])
def test_a_row_put_back_before_a_period_of_the_ledger_moves_on(shop: World, card: str, status: str) -> None:
    """December, before a January that was declined or paid: it is not in the way for ever."""
    shop.subscribe(payment_method=card)
    shop.run()
    shop.edit(renewal_date="2025-12-31", payment_method="pm_ok", status=status)
    assert "Success" in _ask_each(shop, _hours(1, 5))
    assert shop.row()["renewal_date"] == "2026-02-28"


def test_months_without_a_subscription_are_not_billed(shop: World) -> None:
    """Cancelled by dunning in February, active again in June: one period is billed, even where each is caught up."""
    shop.subscribe(payment_method="pm_declined", catch_up="each")
    _live(shop, range(LAST_DAY + 2))
    assert shop.row()["status"] == "canceled"
    shop.edit(status="active", payment_method="pm_ok")
    _ask_often(shop, _noon(6, 5))
    assert len(shop.gateway.charges) == 1


# --- what the row says of a refusal that is settled -----------------------------------------------------------------


def test_a_refusal_settled_at_another_date_does_not_hold_up_the_next_period(shop: World) -> None:
    """Moved, then paid at the bank: the row is swept on its new date, not on the far dunning date of the old one."""
    shop.dunning = Dunning((1, 30), SubscriptionStatus.CANCELED)
    shop.subscribe(payment_method="pm_3ds")
    _live(shop, range(2))
    shop.edit(renewal_date="2026-02-05")
    shop.gateway.succeed("pi_1")
    _ask(shop, NOON + 2 * DAY)
    assert _swept(shop, [_noon(2, 5)]) == ["Success"]  # asked for, and not charged: it falls into the paid period


def test_a_row_moved_past_its_refused_period_is_reminded_again(shop: World) -> None:
    """The year's period was given up with the move, so that nothing is past due: next year's reminder is sent."""
    shop.subscribe(payment_method="pm_declined", interval="year")
    shop.run()
    shop.edit(renewal_date="2027-01-31", payment_method="pm_ok")
    _ask(shop, NOON + DAY)
    assert shop.row()["status"] == "active"
    shop.remind(now=NOON.replace(year=2027, day=26))
    assert len(shop.mails()) == 2


@pytest.mark.parametrize("status", ["past_due", "canceled"])
def test_a_row_restored_from_before_its_payment_is_soon_left_alone(shop: World, status: str) -> None:
    """A backup that says refused, of a period that is paid: the sweep is not kept busy by it."""
    _declined(shop)
    backup = dict(shop.row())
    shop.edit(payment_method="pm_ok")
    _ask(shop, NOON + LATER)
    shop.dynamodb.put("subscriptions", backup | {"status": status})
    assert _swept(shop, _days(1, 19), NIGHTLY) == ["Success"]
    assert len(shop.gateway.charges) == 1


@pytest.mark.parametrize("value", [None, Decimal(5), "soon"])
def test_a_next_attempt_that_is_no_date_does_not_end_dunning(shop: World, value: Any) -> None:
    """Edited by hand: the sweep hands the period over on its date, and the card is asked as often as promised."""
    _declined(shop)
    shop.edit(next_attempt=value)
    assert _swept(shop, [NOON + DAY]) == ["PaymentDeclined"]
    _swept(shop, _days(2, LAST_DAY + 4), NIGHTLY)
    assert len(shop.gateway.attempts) == 1 + len(DUNNING.days)
    assert shop.row()["status"] == "canceled"


def test_a_canceled_row_whose_payment_the_gateway_does_not_know_is_closed(shop: World) -> None:
    """Another account's by now: nothing is billed instead, so that nobody is alarmed every hour."""
    _declined(shop)
    shop.gateway.payments.clear()
    shop.edit(status="canceled")
    assert _swept(shop, _hours(1, 49)) == ["Success"]
    assert shop.items()[JANUARY]["status"] == "given_up"


# --- notices --------------------------------------------------------------------------------------------------------


def _refuse(shop: World) -> None:
    """Declined, and nobody told of it yet."""
    shop.subscribe(payment_method="pm_declined")
    assert shop.renew().name == "declined"


def _tell(shop: World) -> str:
    return shop.delivery("run-1", NOON).deliver("sub_1", "cus_1", JANUARY, "declined", 1)


@pytest.mark.parametrize("edit", [{"cancel_at": JANUARY}, {"payment_method": "pm_ok"}])
def test_a_notice_that_is_no_longer_true_is_not_sent(shop: World, edit: dict[str, str]) -> None:
    """The subscription ends before the period, or has another card, by the time of the mail."""
    _refuse(shop)
    shop.edit(**edit)
    assert _tell(shop) == "dropped"
    assert not shop.mails()


def test_a_notice_of_the_attempt_before_is_not_sent(shop: World) -> None:
    """Another card is refused at the very moment of claiming the mail: the old card's refusal is no news."""
    _refuse(shop)

    def another_card(_point: str) -> None:
        shop.edit(payment_method="pm_declined_too")
        shop.renew("another-card", NOON + LATER)

    shop.cuts.at = 2 * _call(_refuse, _tell, "dynamodb.UpdateItem")  # the claim of the mail
    shop.cuts.happens = another_card
    assert _tell(shop) == "dropped"
    assert not shop.mails()


def test_a_final_notice_under_a_longer_schedule_is_owed_but_once(shop: World) -> None:
    """Days were added after the final notice: what was said already is not looked for every hour."""
    shop.gateway.declines["pm_declined"] = Failure("", "card_declined", "stolen_card", None)
    shop.dunning = Dunning((1, 3), SubscriptionStatus.CANCELED)
    shop.subscribe(payment_method="pm_declined")
    _live(shop, range(2))
    shop.dunning = Dunning((1, 3, 20), SubscriptionStatus.CANCELED)
    _live(shop, range(2, 4))
    assert _swept(shop, _hours(1, 47, NOON + 3 * DAY)) == []
    assert shop.mail_kinds().count("final_notice") == 1


# --- between the sweep and the charge -------------------------------------------------------------------------------


def test_a_price_changed_while_the_message_waits_alarms_nobody(shop: World) -> None:
    """The message has the old price: nothing to do, however often it comes; the next sweep's has the new one."""
    shop.subscribe()
    sweeper = Sweeper(shop)
    sweeper.sweep()
    [message] = sweeper.sent()
    shop.edit(amount=Decimal("39.99"))
    for n in range(5):
        ended = shop.run(f"again-{n}", NOON + n * LATER, message["amount"], period=message["renewal_date"])
        assert ended == "Success"
    assert not shop.gateway.charges
    assert _swept(shop, [NOON + HOUR]) == ["Success"]
    assert [amount for _, amount, _ in shop.gateway.charges] == [3999]


def test_a_subscription_that_ends_before_what_was_refused_is_soon_left_alone(shop: World) -> None:
    """March was refused in April, and the end is put on 15 March: given up, ended, and neither swept for ever nor
    missed by the audit."""
    shop.subscribe(payment_method="pm_declined")
    _ask(shop, _noon(4, 1))
    shop.edit(cancel_at="2026-03-15")
    assert _swept(shop, _days(0, 26, _noon(4, 2)), NIGHTLY) == ["Success", "Success"]
    assert (shop.row()["status"], shop.row()["ended_on"]) == ("canceled", "2026-03-15")
    auditor = Auditor(shop)
    auditor.now = _noon(4, 29)
    assert auditor.audit()["differences"]["missed"] == 0


def _stopped_and_passed_over(shop: World) -> None:
    """The payment of 31 January was stopped by hand, and 10 January billed instead, which was refunded whole since. The
    row is put back to 31 January with another card."""
    shop.subscribe()
    shop.cuts.at = 2 * _call(World.subscribe, _renew, "gateway.confirm")
    _renew(shop)
    shop.gateway.cancel("pi_1")
    _ask(shop, NOON + LATER)
    shop.edit(renewal_date="2026-01-10", anchor_day=Decimal(10), payment_method="pm_other")
    assert _ask(shop, NOON + HOUR) == "Success"
    item = shop.items()["2026-01-10"]
    assert (shop.items()[JANUARY]["billed_instead"], len(shop.gateway.charges)) == ("2026-01-10", 1)
    refund = {"amount": item["amount"], "state": "refunded", "at": NOON.isoformat(), "by": "ann", "request": "r"}
    shop.dynamodb.put("renewals", item | {"refunds": {"refund_1": refund | {"refund_id": "re_1"}}})
    shop.edit(renewal_date=JANUARY, anchor_day=Decimal(31))


def test_a_stopped_claim_that_was_passed_over_is_billed_anew_on_another_payment(shop: World) -> None:
    """A payment of 31 January was stopped by hand, and 10 January billed instead, which is refunded whole. The row is
    put back to 31 January with another card: under the first key the gateway would answer with the stopped payment,
    and the period would fail as stopped though nobody stopped it. Another key pays, and the period keeps its story."""
    _stopped_and_passed_over(shop)
    assert _ask(shop, NOON + 2 * HOUR) == "Success"
    assert (len(shop.gateway.charges), len(set(shop.gateway.payments))) == (2, 3)
    anew = shop.items()[JANUARY]
    assert (anew["status"], anew["intent_tries"], len(anew["endings"])) == ("done", 1, 1)


def test_a_stopped_claim_that_was_passed_over_is_not_charged_to_the_card_that_it_was_stopped_for(shop: World) -> None:
    """The row is put back to 31 January, and the card is the one whose payment somebody stopped: whoever stopped the
    payment meant to. Another card is another word."""
    _stopped_and_passed_over(shop)
    shop.edit(payment_method="pm_ok")
    before = shop.items()[JANUARY]
    for n in range(3):
        _ask(shop, NOON + (2 + n) * HOUR)
    assert len(shop.gateway.charges) == 1
    assert shop.renew("asked", NOON + 6 * HOUR).reason == "gateway: canceled"
    assert shop.items()[JANUARY] == before
    shop.edit(payment_method="pm_third")
    assert _ask(shop, NOON + 8 * HOUR) == "Success"
    assert len(shop.gateway.charges) == 2


def test_a_stopped_claim_that_was_passed_over_keeps_its_story_over_a_pause(shop: World) -> None:
    """The sweep comes while the subscription is paused on the date of a claim that was passed over: the claim stands as
    it stood, so that the date is billed under another key once the subscription is active again."""
    _stopped_and_passed_over(shop)
    before = shop.items()[JANUARY]
    shop.edit(status="paused")
    assert _ask(shop, NOON + 2 * HOUR) == "Success"
    assert shop.row()["renewal_date"] == "2026-02-28"
    assert shop.items()[JANUARY] == before
    shop.edit(status="active", renewal_date=JANUARY, anchor_day=Decimal(31))
    assert _ask(shop, NOON + 3 * HOUR) == "Success"
    anew = shop.items()[JANUARY]
    assert (anew["status"], anew["intent_tries"], len(anew["endings"]), len(shop.gateway.charges)) == ("done", 1, 1, 2)


def test_a_stopped_claim_that_is_passed_over_once_more_keeps_its_story(shop: World) -> None:
    """The date of a claim that was passed over is passed over again, for a later period: what was tried and told of the
    date stays, and the item names the later period."""
    _stopped_and_passed_over(shop)
    before = shop.items()[JANUARY]
    assert _ask(shop, _noon(2, 28)) == "Success"
    after = shop.items()[JANUARY]
    assert (shop.items()["2026-02-28"]["status"], after["billed_instead"]) == ("done", "2026-02-28")
    changed = {"billed_instead", "periods_passed_over", "touched_at"}
    assert {name for name in before | after if before.get(name) != after.get(name)} == changed


def test_a_claim_that_was_passed_over_for_a_later_period_stands_in_the_way_of_another_claim(shop: World) -> None:
    """As any date that was passed over for a later period, the date of such a claim refuses the claim of a period after
    it in words: nobody was faster, so that nothing is looked at again."""
    _stopped_and_passed_over(shop)
    shop.dynamodb.put("renewals", shop.items()[JANUARY] | {"billed_instead": "2026-02-10"})
    outcome = shop.renew("again", _noon(2, 28))
    assert (outcome.name, outcome.reason) == (
        "rejected",
        "renewal_date: a period from here on is in the ledger already",
    )


@pytest.mark.parametrize("stands", [{}, {"status": "given_up"}])
def test_a_period_that_is_claimed_anew_keeps_what_became_of_its_mails(shop: World, stands: dict[str, str]) -> None:
    """A mail was not sent and was tried again, and another was reported as spam. A further claim of the period, which
    was passed over or given up before, keeps both: the timeline tells of them, and the complaint still counts."""
    _stopped_and_passed_over(shop)
    mail = {"state": "failed", "token": "t", "owner": "o", "claimed_until": NOON.isoformat(), "to": "ann@example.com"}
    told = {
        "earlier_mails": [{"name": "payment_failed_1", **mail}],
        "returned_payment_failed_1": {
            "kind": "complained",
            "at": NOON.isoformat(),
            "to": "ann@example.com",
            "reason": None,
            "sent_at": NOON.isoformat(),
        },
    }
    shop.dynamodb.put("renewals", shop.items()[JANUARY] | told | stands)
    assert _ask(shop, NOON + 2 * HOUR) == "Success"
    anew = shop.items()[JANUARY]
    assert (anew["status"], {name: anew.get(name) for name in told}) == ("done", told)
    client: Any = shop.dynamodb
    register = Register(client, subscriptions="subscriptions", renewals="renewals", changes="changes")
    assert register.was_complained_of("sub_1", "ann@example.com")
    texts = [entry.text for entry in timeline(shop.row(), list(shop.items().values()), [], UTC)]
    assert any("was reported as spam" in text for text in texts)
    assert any(text.startswith("Could not mail that the payment did not go through") for text in texts)


BY_HAND: list[tuple[str, Any]] = [
    ("mails", "soon"),
    ("mails", {"payment_failed_1": {"state": "sent"}}),
    ("mails", {"payment_failed_1": {"state": {"sent"}}}),
    ("refusals", ["one"]),
    ("refusals", {"attempt_1": {"at": "soon"}}),
    ("endings", Decimal(1)),
    ("endings", [{"at": "2026-01-31T12:00:00+00:00", "status": "failed", "reason": {"a set"}}]),
    ("endings", [{"at": None}]),
    ("earlier_mails", [{"name": "payment_failed_1"}]),
    ("earlier_mails", Decimal(1)),
    ("returned_payment_failed_1", "soon"),
    ("returned_payment_failed_1", {"kind": "complained", "at": "2026-01-31T12:00:00+00:00", "to": {"a set"}}),
]


@pytest.mark.parametrize(("name", "value"), BY_HAND)
def test_an_odd_attribute_in_the_story_of_a_claim_that_was_passed_over_ends_no_renewal(
    shop: World, name: str, value: Any
) -> None:
    """Somebody wrote into the story of a claim that was passed over. What cannot be read of the story is left out; the
    key of its stopped payment stays spent all the same, and the timeline of the period is told."""
    _stopped_and_passed_over(shop)
    shop.dynamodb.put("renewals", shop.items()[JANUARY] | {name: value})
    assert _ask(shop, NOON + 2 * HOUR) == "Success"
    anew = shop.items()[JANUARY]
    assert (anew["status"], anew["intent_tries"], len(shop.gateway.charges)) == ("done", 1, 2)
    assert timeline(shop.row(), list(shop.items().values()), [], UTC)
    assert name in ("mails", "refusals") or anew.get(name) != value


@pytest.mark.parametrize(
    ("name", "value"), [each for each in BY_HAND if each[0] in ("earlier_mails", "returned_payment_failed_1")]
)
def test_an_odd_record_of_a_mail_does_not_keep_a_period_that_was_given_up_from_being_claimed_anew(
    shop: World, name: str, value: Any
) -> None:
    """Somebody wrote into what became of the mails of a period that was given up: the period is billed all the same,
    and what cannot be read is not taken on."""
    _stopped_and_passed_over(shop)
    shop.dynamodb.put("renewals", shop.items()[JANUARY] | {"status": "given_up", name: value})
    assert _ask(shop, NOON + 2 * HOUR) == "Success"
    anew = shop.items()[JANUARY]
    assert (anew["status"], anew.get(name)) == ("done", None)


@pytest.mark.parametrize("said", ["soon", {}, {"kind": "complained"}, {"to": "ann@example.com"}])
def test_an_odd_record_of_a_mail_that_came_back_is_no_complaint_and_hides_none(shop: World, said: Any) -> None:
    """Somebody wrote what SES said of a mail by hand: whether there was a complaint is told by the other records."""
    shop.subscribe()
    assert shop.run() == "Success"
    known = {"kind": "complained", "to": "ann@example.com", "at": NOON.isoformat(), "reason": None}
    client: Any = shop.dynamodb
    register = Register(client, subscriptions="subscriptions", renewals="renewals", changes="changes")
    shop.dynamodb.put("renewals", shop.items()[JANUARY] | {"returned_payment_failed_1": said})
    assert not register.was_complained_of("sub_1", "ann@example.com")
    shop.dynamodb.put("renewals", shop.items()[JANUARY] | {"returned_receipt_1": known})
    assert register.was_complained_of("sub_1", "ann@example.com")


@pytest.mark.parametrize(
    "item",
    [
        {"claim": "x"},
        {"claim": "x", "mails": {}},
        {"claim": None, "mails": {}, "intent_tries": "many"},
    ],
)
def test_a_passed_over_claim_that_somebody_wrote_by_hand_ends_no_renewal(shop: World, item: dict[str, Any]) -> None:
    """A skipped period with a claim of which hardly anything can be read counts as one without a claim: for the charge
    and for all who read the latest periods."""
    shop.subscribe()
    key = {"subscription_id": "sub_1", "renewal_date": "2025-12-31"}
    shop.dynamodb.put("renewals", key | {"status": "skipped", "reason": "paused"} | item)
    assert shop.run() == "Success"
    assert (len(shop.gateway.charges), len(shop.ledger.recent("sub_1"))) == (1, 1)


def test_a_canceled_subscription_whose_payment_was_cancelled_before_is_soon_left_alone(shop: World) -> None:
    """Both by hand, first the payment and then the row: the sweep is not kept busy by it."""
    _declined(shop)
    shop.gateway.cancel("pi_1")
    _ask(shop, NOON + DAY)
    shop.edit(status="canceled")
    assert _swept(shop, _hours(1, 99, NOON + DAY)) == ["Success"]


def test_an_end_between_two_reads_of_a_mail_is_told_all_the_same(shop: World) -> None:
    """A late mail's run read the row before dunning ended it, and the ledger after: the mail of the end stays owed."""
    shop.subscribe(payment_method="pm_3ds")
    for day in range(7):
        shop.run(f"day-{day}", NOON + timedelta(days=day))
    before, read, ended = dict(shop.row()), shop.dynamodb.batch_get_item, []

    def reads_the_row_first(**asked: Any) -> Any:
        shop.dynamodb.batch_get_item = read  # type: ignore[method-assign]
        ended.append(shop.renew("end", NOON + timedelta(days=7)))
        answer = read(**asked)
        answer["Responses"]["subscriptions"] = [dynamodb.attributes(before)]
        return answer

    shop.dynamodb.batch_get_item = reads_the_row_first  # type: ignore[method-assign]
    late = shop.delivery("late", NOON + timedelta(days=7))
    late.deliver("sub_1", "cus_1", DUE.isoformat(), "action_required", 1)
    shop.delivery("end", NOON + timedelta(days=7)).deliver("sub_1", "cus_1", DUE.isoformat(), "given_up", 1)
    assert ended[0].name == "given_up"
    assert shop.mail_kinds()[-1] == "canceled"


def test_a_period_older_than_the_latest_ten_is_mailed_when_it_is_asked_for(shop: World) -> None:
    """Put back to be mailed again, or refunded: the request names the period, and it is found."""
    shop.subscribe(interval="day", renewal_date="2026-01-31")
    for day in range(13):
        shop.run(f"day-{day}", NOON + timedelta(days=day))
    item, mailed = shop.items()["2026-01-31"], len(shop.mails())
    shop.dynamodb.put("renewals", item | {"status": "receipted", "mails": {}})
    assert shop.run("resend", NOON + timedelta(days=13), period="2026-01-31") == "Success"
    assert (len(shop.mails()), shop.items()["2026-01-31"]["status"]) == (mailed + 1, "done")


@pytest.mark.parametrize("moved", [True, False])
def test_a_dunning_date_of_a_row_that_changes_at_this_moment_is_recorded(shop: World, moved: bool) -> None:
    """Moved to another date, or without its status: the ledger alone has it, and the execution comes to its end."""
    shop.subscribe(payment_method="pm_3ds")
    shop.run()
    retrieve = shop.gateway.retrieve

    def changed_meanwhile(payment_id: str) -> Payment:
        if moved:
            shop.edit(renewal_date="2026-03-01")
        else:
            shop.row().pop("status", None)
        return retrieve(payment_id)

    shop.gateway.retrieve = changed_meanwhile  # type: ignore[method-assign]
    shop.run("run-2", NOON + timedelta(days=1))
    item = shop.items()[DUE.isoformat()]
    assert (item["dunned"], item["flag"]) == (1, "subscription_changed")
