"""Odd orders of edits, crashes and answers around a declined or failed renewal.

A search for trouble once found each of these orders.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from local.gateway import official_client
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
from tests.sandbox import serving
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
    """Run an execution as the sweep asks for: the request names the renewal date of the row."""
    return shop.run(f"asked-{now:%m-%dT%H:%M}", now, period=shop.row()["renewal_date"])


def _ask_each(shop: World, moments: Iterable[datetime]) -> list[str]:
    return [_ask(shop, now) for now in moments]


def _ask_often(shop: World, now: datetime, times: int = 8) -> None:
    _ask_each(shop, [now + n * LATER for n in range(times)])


def _live(shop: World, days: range) -> None:
    """Run two executions a day, in quick succession."""
    for day in days:
        _ask_often(shop, NOON + day * DAY, times=2)


def _swept(shop: World, moments: Iterable[datetime], kinds: Iterable[str] = ("due",)) -> list[str]:
    """Sweep at these moments, run the workflow for every message, and return the end state of every execution."""
    sweeper, ends = Sweeper(shop), []
    for now in moments:
        for kind in kinds:
            sweeper.sweep(kind, now=now)
        for n, message in enumerate(sweeper.sent()):
            name = f"swept-{now:%m-%dT%H:%M}-{n}"
            ends.append(shop.run(name, now, amount=message["amount"], period=message.get("renewal_date")))
    return ends


def _call(begin: Callable[[World], object], run: Callable[[World], object], name: str) -> int:
    """Return the number of the first call of that name, counted in a rehearsal in a fresh world."""
    rehearsal = World()
    begin(rehearsal)
    earlier = len(rehearsal.cuts.calls)
    run(rehearsal)
    return rehearsal.cuts.calls.index(name, earlier)


def _declined(shop: World) -> None:
    shop.subscribe(payment_method="pm_declined")
    shop.run()


def _expect_billed_once_anew(shop: World) -> None:
    """Expect January paid once, by a new payment; the first payment is canceled and can never be completed."""
    assert shop.gateway.payments["pi_1"].state is PaymentState.CANCELED
    [(payment, _, _)] = shop.gateway.charges
    assert payment != "pi_1"
    assert len(shop.receipts()) == 1
    assert shop.items()[JANUARY]["status"] == "done"


# --- a payment that is canceled, and a period that is not closed yet -----------------------------------------------


def _dunned(shop: World) -> None:
    """Decline the payment on every dunning date but the last."""
    shop.subscribe(payment_method="pm_declined")
    _live(shop, range(LAST_DAY))


def _end_of_dunning(shop: World) -> None:
    _ask(shop, NOON + LAST_DAY * DAY)


def test_a_card_that_comes_as_dunning_cancels_the_payment_is_charged(shop: World) -> None:
    """The customer updates the payment method between the payment's cancellation and its record: the subscription does
    not end, and the new card pays."""
    _dunned(shop)
    shop.cuts.at = 2 * _call(_dunned, _end_of_dunning, "gateway.cancel") + 1
    shop.cuts.happens = lambda _point: shop.edit(payment_method="pm_ok")
    _end_of_dunning(shop)
    _ask_each(shop, _hours(1, 29, NOON + LAST_DAY * DAY))
    _expect_billed_once_anew(shop)


def test_a_card_that_comes_after_a_crash_at_the_end_of_dunning_is_charged(shop: World) -> None:
    """The execution is cut off right after canceling the payment: the period is billed anew, and nobody keeps asking
    the canceled payment."""
    _dunned(shop)
    shop.cuts.at = 2 * _call(_dunned, _end_of_dunning, "gateway.cancel") + 1
    _end_of_dunning(shop)
    shop.edit(payment_method="pm_ok")
    _ask_each(shop, _hours(1, 29, NOON + LAST_DAY * DAY))
    _expect_billed_once_anew(shop)


def test_a_pause_that_was_cut_off_and_taken_back_leaves_the_period_billable(shop: World) -> None:
    """The execution is cut off after the pause had the payment canceled; the subscription is then resumed with a new
    card, and the card pays."""

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


def test_a_declined_payment_canceled_by_hand_does_not_keep_another_card_from_paying(shop: World) -> None:
    """A declined payment is canceled in the gateway's dashboard during dunning: a new card pays through a new
    payment."""
    _declined(shop)
    shop.gateway.cancel("pi_1")
    shop.edit(payment_method="pm_ok")
    _ask_each(shop, _hours(1, 29, NOON + LAST_DAY * DAY))
    _expect_billed_once_anew(shop)


def _renew(shop: World) -> None:
    shop.run("cut")


def test_a_claimed_payment_canceled_by_hand_is_replaced_only_for_another_card(shop: World) -> None:
    """Somebody canceled the payment on purpose: neither the sweep nor a webhook charges the card again for the period;
    a new card is charged."""
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


# --- a bad row among good rows --------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [["active"], {"is": "active"}])
def test_a_status_that_is_no_word_stops_no_sweep(status: Any) -> None:
    """The sweep names a row whose status is not a text, and enqueues the good row beside the bad row."""
    sweeper = Sweeper()
    bad = sweeper.add("bad", status=status)
    good = sweeper.add("good")
    sweeper.sweep()
    assert sweeper.sent_ids() == [good]
    assert [name for name, _ in sweeper.named] == [bad]


def test_a_status_that_is_no_word_stops_no_audit() -> None:
    """The audit counts a row whose status is not a text as a bad row."""
    auditor = Auditor()
    auditor.world.subscribe(status=["active"])
    assert auditor.audit()["counts"]["bad_rows"] == 1


# --- rows moved, paused, deleted or overwritten ---------------------------------------------------------------------


def test_a_moved_row_is_not_billed_over_a_period_that_may_still_be_paid(shop: World) -> None:
    """The gateway's answer stays unclear until the period counts as failed, the row is moved by a day, and the payment
    succeeds after all: the customer is charged once."""
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
    """January failed without a payment, and February to May were paused: after January only the period that begins on
    the day of the resumption is billed."""
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
    "overwritten": lambda shop: shop.subscribe(payment_method="pm_3ds", status="canceled"),  # as by an import
}


@pytest.mark.parametrize("loss", ROW_LOSSES)
def test_a_late_confirmation_is_known_whatever_became_of_the_row(loss: str) -> None:
    """The customer confirms the payment at the bank a day after the row was deleted or overwritten: the payment is
    recorded and receipted, and the audit finds no difference."""
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


def test_a_refused_payment_of_a_deleted_row_is_canceled_after_its_dunning_date(shop: World) -> None:
    """A declined payment whose row was deleted is found in the ledger by the sweep of the day after the dunning date;
    the payment is canceled, and nobody can complete it any more."""
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
    """The payment of a canceled row without a payment method is canceled within hours, although no such row could be
    charged."""
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
    """The row gets a different gateway customer (merged accounts): a payment belongs to its customer and takes no other
    customer's card, so a new payment is made."""
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
    """A row put back to December, before a declined or paid January, moves on and does not block the subscription for
    ever."""
    shop.subscribe(payment_method=card)
    shop.run()
    shop.edit(renewal_date="2025-12-31", payment_method="pm_ok", status=status)
    assert "Success" in _ask_each(shop, _hours(1, 5))
    assert shop.row()["renewal_date"] == "2026-02-28"


def test_months_without_a_subscription_are_not_billed(shop: World) -> None:
    """A subscription canceled by dunning in February and active again in June is billed for a single period, even with
    `catch_up` set to `each`."""
    shop.subscribe(payment_method="pm_declined", catch_up="each")
    _live(shop, range(LAST_DAY + 2))
    assert shop.row()["status"] == "canceled"
    shop.edit(status="active", payment_method="pm_ok")
    _ask_often(shop, _noon(6, 5))
    assert len(shop.gateway.charges) == 1


# --- a row that still tells of a settled decline --------------------------------------------------------------------


def test_a_refusal_settled_at_another_date_does_not_hold_up_the_next_period(shop: World) -> None:
    """A declined row is moved, and the payment is then confirmed at the bank: the row is swept on its new date, not on
    the far dunning date of the old period."""
    shop.dunning = Dunning((1, 30), SubscriptionStatus.CANCELED)
    shop.subscribe(payment_method="pm_3ds")
    _live(shop, range(2))
    shop.edit(renewal_date="2026-02-05")
    shop.gateway.succeed("pi_1")
    _ask(shop, NOON + 2 * DAY)
    assert _swept(shop, [_noon(2, 5)]) == ["Success"]  # swept and not charged: the date falls into the paid period


def test_a_row_moved_past_its_refused_period_is_reminded_again(shop: World) -> None:
    """A row is moved past its declined yearly period, the period is given up, and nothing is past due any more: the
    next year's reminder is sent."""
    shop.subscribe(payment_method="pm_declined", interval="year")
    shop.run()
    shop.edit(renewal_date="2027-01-31", payment_method="pm_ok")
    _ask(shop, NOON + DAY)
    assert shop.row()["status"] == "active"
    shop.remind(now=NOON.replace(year=2027, day=26))
    assert len(shop.mails()) == 2


@pytest.mark.parametrize("status", ["past_due", "canceled"])
def test_a_row_restored_from_before_its_payment_is_soon_left_alone(shop: World, status: str) -> None:
    """A restored row calls a paid period declined: the sweep enqueues the row once and then leaves the row alone."""
    _declined(shop)
    backup = dict(shop.row())
    shop.edit(payment_method="pm_ok")
    _ask(shop, NOON + LATER)
    shop.dynamodb.put("subscriptions", backup | {"status": status})
    assert _swept(shop, _days(1, 19), NIGHTLY) == ["Success"]
    assert len(shop.gateway.charges) == 1


@pytest.mark.parametrize("value", [None, Decimal(5), "soon"])
def test_a_next_attempt_that_is_no_date_does_not_end_dunning(shop: World, value: Any) -> None:
    """Somebody wrote an invalid `next_attempt` by hand: the sweep still enqueues the period on the dunning date, and
    the card is tried as often as promised."""
    _declined(shop)
    shop.edit(next_attempt=value)
    assert _swept(shop, [NOON + DAY]) == ["PaymentDeclined"]
    _swept(shop, _days(2, LAST_DAY + 4), NIGHTLY)
    assert len(shop.gateway.attempts) == 1 + len(DUNNING.days)
    assert shop.row()["status"] == "canceled"


def test_a_canceled_row_whose_payment_the_gateway_does_not_know_is_closed(shop: World) -> None:
    """The gateway does not know the payment of a canceled row (the account was changed): the period is given up once,
    nothing is billed, and no alarm comes every hour."""
    _declined(shop)
    shop.gateway.payments.clear()
    shop.edit(status="canceled")
    assert _swept(shop, _hours(1, 49)) == ["Success"]
    assert shop.items()[JANUARY]["status"] == "given_up"


# --- notices --------------------------------------------------------------------------------------------------------


def _refuse(shop: World) -> None:
    """Decline the payment without telling the customer."""
    shop.subscribe(payment_method="pm_declined")
    assert shop.renew().name == "declined"


def _tell(shop: World) -> str:
    return shop.delivery("run-1", NOON).deliver("sub_1", "cus_1", JANUARY, "declined", 1)


@pytest.mark.parametrize("edit", [{"cancel_at": JANUARY}, {"payment_method": "pm_ok"}])
def test_a_notice_that_is_no_longer_true_is_not_sent(shop: World, edit: dict[str, str]) -> None:
    """A notice of a decline is not sent after the subscription got an end before the period, or a new card."""
    _refuse(shop)
    shop.edit(**edit)
    assert _tell(shop) == "dropped"
    assert not shop.mails()


def test_a_notice_of_the_attempt_before_is_not_sent(shop: World) -> None:
    """A new card is declined at the very moment of claiming the mail about the old card: the outdated mail is not
    sent."""
    _refuse(shop)

    def another_card(_point: str) -> None:
        shop.edit(payment_method="pm_declined_too")
        shop.renew("another-card", NOON + LATER)

    shop.cuts.at = 2 * _call(_refuse, _tell, "dynamodb.UpdateItem")  # the claim of the mail
    shop.cuts.happens = another_card
    assert _tell(shop) == "dropped"
    assert not shop.mails()


def test_a_final_notice_under_a_longer_schedule_is_owed_but_once(shop: World) -> None:
    """Dunning days were added after the final notice: the sweep does not look every hour for a notice that was sent
    already."""
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
    """The message has the old price: its execution has nothing to do, however often the message comes, and the next
    sweep's message has the new price."""
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
    """March was declined in April, and the subscription's end is then set to 15 March: the period is given up, the
    subscription ends, no sweep enqueues the row for ever, and the audit does not call the period missed."""
    shop.subscribe(payment_method="pm_declined")
    _ask(shop, _noon(4, 1))
    shop.edit(cancel_at="2026-03-15")
    assert _swept(shop, _days(0, 26, _noon(4, 2)), NIGHTLY) == ["Success", "Success"]
    assert (shop.row()["status"], shop.row()["ended_on"]) == ("canceled", "2026-03-15")
    auditor = Auditor(shop)
    auditor.now = _noon(4, 29)
    assert auditor.audit()["differences"]["missed"] == 0


def _stopped_and_passed_over(shop: World) -> None:
    """Put a row back to 31 January with a new card, after the payment of 31 January was canceled by hand and 10
    January was billed instead and refunded whole."""
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
    """The payment of 31 January was canceled by hand, and 10 January was billed instead and refunded whole; the row is
    put back to 31 January with a new card. Under the first idempotency key the gateway would answer with the canceled
    payment, and the period would fail as canceled by hand though nobody did. A new key charges, and the period keeps
    its history."""
    _stopped_and_passed_over(shop)
    assert _ask(shop, NOON + 2 * HOUR) == "Success"
    assert (len(shop.gateway.charges), len(set(shop.gateway.payments))) == (2, 3)
    anew = shop.items()[JANUARY]
    assert (anew["status"], anew["intent_tries"], len(anew["endings"])) == ("done", 1, 1)


def test_a_stopped_claim_that_was_passed_over_is_not_charged_to_the_card_that_it_was_stopped_for(shop: World) -> None:
    """The row is put back to 31 January with the very card whose payment somebody canceled on purpose: that card is
    not charged, and a new card is."""
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
    """The sweep meets a paused subscription on the date of a claim that was passed over: the claim stays unchanged, so
    that the date is billed under a new key once the subscription is active again."""
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
    """The date of a claim that was passed over is passed over again, for a later period: attempts and notices of the
    date are kept, and the item names the later period."""
    _stopped_and_passed_over(shop)
    before = shop.items()[JANUARY]
    assert _ask(shop, _noon(2, 28)) == "Success"
    after = shop.items()[JANUARY]
    assert (shop.items()["2026-02-28"]["status"], after["billed_instead"]) == ("done", "2026-02-28")
    changed = {"billed_instead", "periods_passed_over", "touched_at"}
    assert {name for name in before | after if before.get(name) != after.get(name)} == changed


def test_a_claim_that_was_passed_over_for_a_later_period_stands_in_the_way_of_another_claim(shop: World) -> None:
    """A claim that was passed over for a later period refuses the claim of a period after it with a reason, as every
    passed-over date does: the row is not read again, because no faster execution was at work."""
    _stopped_and_passed_over(shop)
    shop.dynamodb.put("renewals", shop.items()[JANUARY] | {"billed_instead": "2026-02-10"})
    outcome = shop.renew("again", _noon(2, 28))
    assert (outcome.name, outcome.reason) == (
        "rejected",
        "renewal_date: the ledger already has a period from this date on",
    )


@pytest.mark.parametrize("stands", [{}, {"status": "given_up"}])
def test_a_period_that_is_claimed_anew_keeps_what_became_of_its_mails(shop: World, stands: dict[str, str]) -> None:
    """A first mail failed and was sent again, and a mail was reported as spam. A new claim of the period, passed over
    or given up before, keeps both records: the timeline tells of the mails, and the complaint still counts."""
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
    assert any(text.startswith("Could not mail the notice that the payment did not go through") for text in texts)


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
    """Somebody wrote into the history of a claim that was passed over: unreadable parts of the history are left out,
    the idempotency key of the canceled payment still counts as used, and the timeline can be told."""
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
    """Somebody wrote into the record of a mail of a period that was given up: the period is billed all the same, and
    the unreadable record is not copied."""
    _stopped_and_passed_over(shop)
    shop.dynamodb.put("renewals", shop.items()[JANUARY] | {"status": "given_up", name: value})
    assert _ask(shop, NOON + 2 * HOUR) == "Success"
    anew = shop.items()[JANUARY]
    assert (anew["status"], anew.get(name)) == ("done", None)


@pytest.mark.parametrize("said", ["soon", {}, {"kind": "complained"}, {"to": "ann@example.com"}])
def test_an_odd_record_of_a_mail_that_came_back_is_no_complaint_and_hides_none(shop: World, said: Any) -> None:
    """An unreadable record of SES's feedback, written by hand, neither counts as a complaint nor hides a complaint in
    the remaining records."""
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
    """A skipped period with an almost unreadable claim counts as a period without a claim, both for the charge and for
    all readers of the latest periods."""
    shop.subscribe()
    key = {"subscription_id": "sub_1", "renewal_date": "2025-12-31"}
    shop.dynamodb.put("renewals", key | {"status": "skipped", "reason": "paused"} | item)
    assert shop.run() == "Success"
    assert (len(shop.gateway.charges), len(shop.ledger.recent("sub_1"))) == (1, 1)


def test_a_canceled_subscription_whose_payment_was_canceled_before_is_soon_left_alone(shop: World) -> None:
    """Somebody canceled first the payment and then the subscription: the sweep enqueues the row once and then leaves
    the row alone."""
    _declined(shop)
    shop.gateway.cancel("pi_1")
    _ask(shop, NOON + DAY)
    shop.edit(status="canceled")
    assert _swept(shop, _hours(1, 99, NOON + DAY)) == ["Success"]


def test_an_end_between_two_reads_of_a_mail_is_told_all_the_same(shop: World) -> None:
    """A late mail's run read the row before dunning ended the subscription, and the ledger after: the mail about the
    end is still sent."""
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
    """A period older than the latest ten, put back to be mailed again, is found, because the request names the
    period."""
    shop.subscribe(interval="day", renewal_date="2026-01-31")
    for day in range(13):
        shop.run(f"day-{day}", NOON + timedelta(days=day))
    item, mailed = shop.items()["2026-01-31"], len(shop.mails())
    shop.dynamodb.put("renewals", item | {"status": "receipted", "mails": {}})
    assert shop.run("resend", NOON + timedelta(days=13), period="2026-01-31") == "Success"
    assert (len(shop.mails()), shop.items()["2026-01-31"]["status"]) == (mailed + 1, "done")


@pytest.mark.parametrize("moved", [True, False])
def test_a_dunning_date_of_a_row_that_changes_at_this_moment_is_recorded(shop: World, moved: bool) -> None:
    """The row is moved, or loses its status, while the gateway is asked: the ledger alone records the dunning date, and
    the execution comes to its end."""
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


def test_a_receipt_is_mailed_while_a_later_period_is_in_dunning(shop: World) -> None:
    """The work on January ended before the mail with the receipt, and February was declined before any sweep. The next
    hourly sweep has the receipt of January mailed: the customer does not wait for the end of the dunning."""
    shop.subscribe()
    shop.cuts.at = 2 * _call(World.subscribe, _renew, "ses.SendRawEmail") - 2  # before the claim of the mail
    _renew(shop)
    shop.edit(payment_method="pm_declined")
    february = _noon(2, 28)
    _ask(shop, february)
    assert [each["status"] for each in shop.items().values()] == ["receipted", "declined"]

    _swept(shop, [february + HOUR])

    assert [each["status"] for each in shop.items().values()] == ["done", "declined"]
    assert [mail["Subject"] for mail in shop.mails()] == [
        "Your payment for Pro did not go through",
        "Receipt for Pro: $29.99",
    ]
