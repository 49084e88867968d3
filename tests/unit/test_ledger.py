"""Every step of the ledger is taken once: a step based on a reading from before somebody else's step is refused."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from botocore.exceptions import ClientError

from renewals.domain import subscription
from renewals.domain.errors import Overtaken, PaymentError
from renewals.domain.payment import Failure, Payment
from renewals.domain.renewal import Mail, MailKind, MailState, Renewal, Status
from renewals.domain.subscription import SubscriptionStatus
from renewals.ledger import claim_steps, dunning_steps, mail_steps, payment_steps, receipt_steps
from renewals.ledger.steps import LEASE, Step
from renewals.runtime.aws_errors import transient_aws_errors_as
from tests.fake_aws import error
from tests.fakes import DUE, LATER, NOON, World

FAILURE = Failure("ch_9", "card_declined", None, None)
CANCELED = SubscriptionStatus.CANCELED
MAIL = Mail(MailState.SENDING, "token-1", "run-1", NOON + LEASE, "ann@customer.example")


def _read(shop: World) -> Renewal:
    renewal = shop.ledger.get("sub_1", DUE.isoformat())
    assert renewal is not None
    return renewal


def _cut(shop: World, call: str, nth: int = 0, **row: Any) -> Renewal:
    """Run a renewal that ends right after its `nth` call of that name, and return the renewal of that moment."""
    whole = World()
    whole.subscribe(**row)
    whole.run()
    at = [n for n, made in enumerate(whole.cuts.calls) if made == call][nth]
    shop.subscribe(**row)
    shop.cuts.at = 2 * at + 1
    shop.run()
    return _read(shop)


def _claimed(shop: World) -> Renewal:
    return _cut(shop, "dynamodb.TransactWriteItems")


def _refused(shop: World) -> Renewal:
    shop.subscribe(payment_method="pm_3ds")
    shop.run()
    return _read(shop)


def _receipted(shop: World) -> Renewal:
    shop.subscribe()
    renewal = shop.renew().renewal
    assert renewal is not None
    return shop.receipt(renewal, NOON)


def _mailing(shop: World) -> Renewal:
    return shop.ledger.apply(mail_steps.claim_mail(_receipted(shop), "receipt_1", MAIL, NOON))


def _next_attempt(shop: World, renewal: Renewal) -> Renewal:
    row = subscription.parse(shop.row())
    step = dunning_steps.next_attempt(renewal, row, "none", dunned=0, execution="run-2", now=NOON, guards=[])
    return shop.ledger.apply(step)


def _record_paid(shop: World, renewal: Renewal, payment: Payment) -> Renewal:
    price, when = Decimal("29.99"), {"charged_at": NOON, "now": NOON}
    return shop.ledger.settle(
        renewal, lambda row: payment_steps.paid(renewal, payment, price, row, execution="run-1", **when)
    )


def _pay(shop: World, renewal: Renewal) -> Renewal:
    """The customer pays, and the payment is recorded."""
    shop.gateway.succeed("pi_1")
    return _record_paid(shop, renewal, shop.gateway.payments["pi_1"])


def _pay_with_another(shop: World, renewal: Renewal) -> Renewal:
    shop.gateway.payments["pi_2"] = replace(shop.gateway.payments["pi_1"], id="pi_2")
    return _record_paid(shop, renewal, shop.gateway.payments["pi_2"])


def _sent(state: MailState) -> Callable[[World, Renewal], Renewal]:
    return lambda shop, r: shop.ledger.apply(
        mail_steps.mailed(r, "receipt_1", replace(MAIL, state=state, at=NOON), NOON)
    )


def _keep(shop: World, renewal: Renewal, payment_id: str) -> Renewal:
    guards = shop.switch.guards("sub_1")
    return shop.ledger.apply(payment_steps.keep_payment_id(renewal, payment_id, NOON, guards=guards))


def _refuse(shop: World, renewal: Renewal) -> Renewal:
    def step(row: Mapping[str, Any] | None) -> Step[Renewal]:
        declined = Status.DECLINED
        return dunning_steps.refused(renewal, declined, FAILURE, row, next_attempt=DUE, notice=None, now=NOON)

    return shop.ledger.settle(renewal, step)


def _dunning_date(shop: World, renewal: Renewal, notice: MailKind | None) -> Renewal:
    return shop.ledger.settle(
        renewal,
        lambda row: dunning_steps.dunning_date(renewal, row, dunned=1, next_attempt=DUE, notice=notice, now=NOON),
    )


def _nothing(_shop: World, _renewal: Renewal) -> None:
    return None


TOO_LATE: dict[str, tuple[Callable[[World], Renewal], Callable[[World, Renewal], Any], Callable[[World, Renewal], Any]]]
TOO_LATE = {
    "a twin took it a moment before": (
        _claimed,
        lambda shop, r: shop.ledger.apply(payment_steps.take(r, r.status, r.owner, NOON + timedelta(seconds=1))),
        lambda shop, r: shop.ledger.apply(payment_steps.take(r, r.status, r.owner, NOON + timedelta(seconds=2))),
    ),
    "another payment is in the claim already": (
        _claimed,
        lambda shop, r: shop.ledger.apply(
            payment_steps.keep_payment_id(r, "pi_1", NOON, guards=shop.switch.guards("sub_1"))
        ),
        lambda shop, r: shop.ledger.apply(
            payment_steps.keep_payment_id(r, "pi_2", NOON, guards=shop.switch.guards("sub_1"))
        ),
    ),
    "a failed creation is counted after another made the payment": (
        _claimed,
        lambda shop, r: shop.ledger.apply(
            payment_steps.keep_payment_id(r, "pi_1", NOON, guards=shop.switch.guards("sub_1"))
        ),
        lambda shop, r: shop.ledger.apply(payment_steps.count_intent_try(r, NOON)),
    ),
    "a failed creation is counted twice": (
        _claimed,
        lambda shop, r: shop.ledger.apply(payment_steps.count_intent_try(r, NOON)),
        lambda shop, r: shop.ledger.apply(payment_steps.count_intent_try(r, NOON)),
    ),
    "the claim was given up meanwhile": (
        _claimed,
        lambda shop, r: shop.ledger.apply(payment_steps.failed(r, "gateway: resource_missing", NOON)),
        lambda shop, r: shop.ledger.apply(
            payment_steps.keep_payment_id(r, "pi_1", NOON, guards=shop.switch.guards("sub_1"))
        ),
    ),
    "a new card after the customer has paid": (_refused, _pay, _next_attempt),
    "two new cards at once": (_refused, _next_attempt, _next_attempt),
    "a refusal of an attempt that is over": (_refused, _next_attempt, _refuse),
    "a payment that is not the claim's": (_refused, _nothing, _pay_with_another),
    "paid is recorded twice": (_refused, _pay, _pay),
    "given up after the customer has paid": (
        _refused,
        _pay,
        lambda shop, r: shop.ledger.apply(
            dunning_steps.give_up(r, "dunning_over", shop.row(), ends_as=CANCELED, now=NOON)
        ),
    ),
    "given up when another card comes": (
        _refused,
        lambda shop, _: shop.edit(payment_method="pm_ok"),
        lambda shop, r: shop.ledger.apply(
            dunning_steps.give_up(
                r, "dunning_over", shop.row() | {"payment_method": "pm_3ds"}, ends_as=CANCELED, now=NOON
            )
        ),
    ),
    "a dunning date that is over": (
        _refused,
        lambda shop, r: _dunning_date(shop, r, None),
        lambda shop, r: _dunning_date(shop, r, MailKind.FINAL_NOTICE),
    ),
    "a mail that somebody is sending": (
        _mailing,
        _nothing,
        lambda shop, r: shop.ledger.apply(mail_steps.claim_mail(r, "receipt_1", replace(MAIL, token="token-2"), NOON)),
    ),
    "a mail of a refusal that is over": (
        _refused,
        _next_attempt,
        lambda shop, r: shop.ledger.apply(mail_steps.claim_mail(r, "payment_failed_1", MAIL, NOON)),
    ),
    "a mail that is known as sent is called unknown": (_mailing, _sent(MailState.SENT), _sent(MailState.UNKNOWN)),
    "a refusal's mail that is known as sent is called unknown": (
        _refused,
        _nothing,
        lambda shop, r: shop.ledger.apply(
            mail_steps.mailed(
                r, "action_required_1", replace(r.mails["action_required_1"], state=MailState.UNKNOWN), NOON
            )
        ),
    ),
    "a mail that is known as sent is given back": (
        _mailing,
        _sent(MailState.SENT),
        lambda shop, r: shop.ledger.apply(mail_steps.release_mail(r, "receipt_1", MAIL.token, NOON)),
    ),
    "a mail that nobody knows of is given back": (
        _mailing,
        _sent(MailState.UNKNOWN),
        lambda shop, r: shop.ledger.apply(mail_steps.release_mail(r, "receipt_1", MAIL.token, NOON)),
    ),
    "another's mail is recorded": (
        _mailing,
        _nothing,
        lambda shop, r: shop.ledger.apply(
            mail_steps.mailed(r, "receipt_1", replace(MAIL, token="token-2", state=MailState.SENT), NOON)
        ),
    ),
    "a receipt of what is receipted": (
        _receipted,
        _nothing,
        lambda shop, r: shop.ledger.apply(receipt_steps.receipted(r, "receipts/another", "0" * 64, NOON)),
    ),
}


@pytest.mark.parametrize("case", TOO_LATE)
def test_who_comes_too_late_is_told_and_changes_nothing(shop: World, case: str) -> None:
    """A step based on a reading from before somebody else's step is refused as overtaken, and changes neither the
    ledger nor the subscription."""
    begin, first, late = TOO_LATE[case]
    renewal = begin(shop)
    first(shop, renewal)
    before = shop.items(), dict(shop.row())
    with pytest.raises(Overtaken):
        late(shop, renewal)
    assert (shop.items(), shop.row()) == before


@pytest.mark.parametrize("meanwhile", [{"payment_id": "pi_1"}, {"claim": "another"}, {"status": "claimed"}])
def test_a_failed_claim_is_claimed_anew_only_as_it_was_read(shop: World, meanwhile: dict[str, str]) -> None:
    """A failed claim that meanwhile has a payment's id, a new claim or an execution at work is not claimed a second
    time, since money may move."""
    shop.subscribe(gateway_customer="cus_gone")
    shop.renew()
    failed = _read(shop)
    assert failed.status is Status.FAILED
    item = shop.items()[DUE.isoformat()] | meanwhile
    shop.dynamodb.put("renewals", item)
    again = replace(failed, claim="new", status=Status.CLAIMED)
    with pytest.raises(Overtaken):
        shop.ledger.apply(
            claim_steps.claim(again, (), subscription.parse(shop.row()), [failed], guards=shop.switch.guards("sub_1"))
        )
    assert shop.items()[DUE.isoformat()] == item


def test_taking_over_is_counted_and_an_own_retry_is_not(shop: World) -> None:
    """A renewal taken over from its owner counts as a pick-up; the owner's own retry does not. Ten pick-ups without
    progress are too many."""
    renewal = _claimed(shop)
    own = shop.ledger.apply(payment_steps.take(renewal, renewal.status, renewal.owner, NOON + LATER))
    others = shop.ledger.apply(payment_steps.take(own, own.status, "run-2", NOON + 2 * LATER))
    assert (own.pickups, others.pickups) == (0, 1)


@pytest.mark.parametrize(
    "progress",
    [
        _next_attempt,
        _pay,
        lambda shop, r: shop.ledger.apply(
            payment_steps.take(
                shop.ledger.apply(payment_steps.failed(r, "given up", NOON)), Status.CLAIMED, "run-2", NOON
            )
        ),
    ],
    ids=["a new attempt", "a payment", "a request after the failure"],
)
def test_progress_begins_the_count_of_pick_ups_anew(shop: World, progress: Callable[[World, Renewal], Any]) -> None:
    """Progress starts the count of pick-ups anew: nine interruptions before the payment do not count against the
    receipt."""
    _refused(shop)
    shop.dynamodb.put("renewals", shop.items()[DUE.isoformat()] | {"pickups": 9})
    progress(shop, _read(shop))
    assert shop.items()[DUE.isoformat()]["pickups"] == 0


@pytest.mark.parametrize(("until", "begun"), [(LATER, NOON + LATER), (-LATER, NOON)])
def test_work_is_old_once_the_moment_that_the_gateway_names_has_passed(
    shop: World, until: timedelta, begun: datetime
) -> None:
    """The age of a payment in processing counts from the moment named by the gateway while the moment is still to come,
    and from the claim once the moment has passed."""
    shop.ledger.apply(payment_steps.wait(_claimed(shop), NOON, until=NOON + until))
    assert shop.items()[DUE.isoformat()]["begun_at"] == begun.isoformat(timespec="microseconds")


def test_a_refusal_and_a_receipt_are_progress_too(shop: World) -> None:
    """A decline and a receipt are progress, and start the count of pick-ups anew."""
    renewal = _cut(shop, "gateway.confirm", payment_method="pm_declined")
    shop.dynamodb.put("renewals", shop.items()[DUE.isoformat()] | {"pickups": 9})
    shop.renew("again", NOON + LATER)
    assert shop.items()[DUE.isoformat()]["pickups"] == 0
    other = World()
    other.subscribe()
    paid = other.renew().renewal
    assert paid is not None
    other.dynamodb.put("renewals", other.items()[DUE.isoformat()] | {"pickups": 9})
    assert other.receipt(paid, NOON).pickups == 0
    assert renewal.status is Status.CLAIMED


def test_what_was_failed_is_found_among_the_unfinished_once_it_is_taken_up(shop: World) -> None:
    """A failed renewal is not in the index of unfinished renewals; once taken up again, the renewal is in the index."""
    renewal = _claimed(shop)
    shop.ledger.apply(payment_steps.failed(renewal, "picked_up_too_often", NOON))
    assert "unfinished" not in shop.items()[DUE.isoformat()]
    shop.ledger.apply(payment_steps.take(_read(shop), Status.CLAIMED, "run-2", NOON))
    assert shop.items()[DUE.isoformat()]["unfinished"]


def _write(shop: World, renewal: Renewal, operation: str) -> Renewal:
    """Make a write of the kind `operation`: a single update, or a transaction."""
    if operation == "UpdateItem":
        return shop.ledger.apply(payment_steps.failed(renewal, "given_up", NOON))
    return _next_attempt(shop, renewal)


def _canceled(*codes: str) -> ClientError:
    reasons = [{"Code": code} for code in codes]
    return error("TransactionCanceledException", "TransactWriteItems", CancellationReasons=reasons)


PASSING = [
    _canceled("None", "ThrottlingError"),
    _canceled("None", "ProvisionedThroughputExceeded"),
    _canceled("TransactionConflict", "None"),
    error("TransactionConflictException", "UpdateItem"),
]


@pytest.mark.usefixtures("without_waits")
@pytest.mark.parametrize("passing", PASSING, ids=str)
def test_a_conflict_is_no_answer_and_is_tried_again(shop: World, passing: ClientError) -> None:
    """A write throttled or in conflict with a second writer is made again, and the renewal does not notice."""
    renewal = _refused(shop)
    shop.dynamodb.trouble = [passing] * 5
    _write(shop, renewal, passing.operation_name)
    assert not shop.dynamodb.trouble


@pytest.mark.usefixtures("without_waits")
@pytest.mark.parametrize("passing", PASSING, ids=str)
def test_a_conflict_without_end_is_the_tasks_to_try_again(shop: World, passing: ClientError) -> None:
    """After a bounded number of conflicts the task ends with an error that the workflow retries."""
    renewal = _refused(shop)
    shop.dynamodb.trouble = [passing] * 100
    with pytest.raises(PaymentError, match="Collision"), transient_aws_errors_as(PaymentError):
        _write(shop, renewal, passing.operation_name)


def test_a_condition_that_failed_beside_a_conflict_is_an_answer(shop: World) -> None:
    """When in a transaction one item's condition failed and a second writer holds a different item, the step was
    overtaken, and is not tried again."""
    renewal = _refused(shop)
    shop.dynamodb.trouble = [_canceled("ConditionalCheckFailed", "TransactionConflict")]
    with pytest.raises(Overtaken):
        _next_attempt(shop, renewal)


@pytest.mark.parametrize("broken", [_canceled("ValidationError", "None"), error("AccessDeniedException", "UpdateItem")],
                         ids=str)  # fmt: skip
def test_what_is_wrong_with_the_request_is_not_tried_again(shop: World, broken: ClientError) -> None:
    """A denied or malformed write is a fault that is raised as it is, without a retry."""
    renewal = _refused(shop)
    shop.dynamodb.trouble = [broken, broken]
    with pytest.raises(ClientError):
        _write(shop, renewal, broken.operation_name)
    assert len(shop.dynamodb.trouble) == 1


def test_what_lies_behind_hundreds_of_skipped_periods_is_found(shop: World) -> None:
    """After a pause of three years of a daily subscription, its paid periods are still found as the latest periods, and
    all paid periods are read."""
    shop.subscribe(interval="day", renewal_date="2022-01-01")
    for n in range(12):
        assert shop.run(f"day-{n}", NOON.replace(year=2022, month=1, day=1 + n)) == "Success"
    for n in range(1_100):
        day = (date(2022, 2, 1) + timedelta(days=n)).isoformat()
        shop.dynamodb.put("renewals", {"subscription_id": "sub_1", "renewal_date": day, "status": "skipped"})
    assert [renewal.renewal_date.day for renewal in shop.ledger.recent("sub_1")] == list(range(12, 2, -1))
    assert [renewal.renewal_date.day for renewal in shop.ledger.periods("sub_1")] == list(range(12, 0, -1))
