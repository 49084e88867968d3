"""Changing: create and edit a subscription, and change its status.

A change is complete as soon as its transaction is written. The workflow for the change is started afterwards; if the
start is lost, the next sweep finds the work.
"""

from collections.abc import Mapping
from datetime import date
from uuid import uuid4

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.router import APIGatewayRouter

from renewals.domain import pauses, subscription
from renewals.domain.changes import ChangeKind
from renewals.domain.errors import BadRow
from renewals.domain.item_values import Value, text, whole
from renewals.domain.owed import has_parked
from renewals.domain.schedule import next_on
from renewals.domain.subscription import SubscriptionStatus
from renewals.domain.transitions import Action, NotAllowed
from renewals.ledger.asked_by import Repeatable
from renewals.ledger.entity_tags import etag
from renewals.ledger.steps import Row
from renewals.runtime import clock
from subscriptions_api import shared, verifying
from subscriptions_api.answer_models import SubscriptionOut
from subscriptions_api.problems import BadRequest, Stale, documented
from subscriptions_api.request_models import Cancel, Card, Edit, NewSubscription
from subscriptions_api.shared import IdempotencyKey, IfMatch, SubscriptionId
from subscriptions_api.verifying import Verify

router = APIGatewayRouter()

_ID_FIELD = "body.subscription_id"


@router.post(
    "/subscriptions",
    summary="Create a subscription",
    description="Without `renewal_date` the first charge is made now. The request needs a `subscription_id` or an "
    "Idempotency-Key, so that a request that is sent twice creates one subscription.",
    tags=["Subscriptions"],
    operation_id="createSubscription",
    status_code=201,
    responses={201: {"description": "Created."}} | documented(409, 413, 415, 422),
)
def create_subscription(
    new: NewSubscription, idempotency_key: IdempotencyKey = None, *, verify: Verify = True
) -> Response[SubscriptionOut]:
    again = _if_repeatable(idempotency_key, 201)
    asked = shared.asked(router.current_event, {}, again)
    if again is None and new.subscription_id is None:
        needed = "is missing: give a subscription_id or an Idempotency-Key, or a repeated request would create a copy"
        raise BadRequest([{"field": each, "reason": needed} for each in ("header.idempotency-key", _ID_FIELD)])

    def looked_at() -> Response[SubscriptionOut]:
        nonlocal verify
        answered = shared.register().answers.of(again) if again else None
        if answered is not None:
            return shared.repeated(answered)
        today = clock.of_row({}).today
        row = new.row(new.subscription_id or f"sub_{uuid4().hex}", today)
        _refuse_faults(row, None, today)
        if verify:
            verifying.refuse_unknown(new.gateway_customer, new.payment_method)
            verify = False  # if this function runs again, the gateway is not asked again
        created = shared.register().create(row, asked)
        _renew_if_due(created)
        return shared.answer(201, created)

    return shared.again_while_outdated(looked_at, "the idempotency key")


@router.patch(
    "/subscriptions/<subscription_id>",
    summary="Change a subscription",
    description="Changes count from the next period on. If a reminder has named the amount of the next period, that "
    "amount stays, unless there is time to tell the customer again; `preview` shows the amount. If-Match keeps two "
    "editors from overwriting each other. A new `customer_email` gets the mail that could not be sent to the previous "
    "address. A new `interval` counts from `renewal_date`. After a change from days or weeks to months or years, "
    "renewals fall on the day of the month of `renewal_date`. A new `anchor_day` moves `renewal_date` to the next such "
    "day; the days until then are not charged. A new `gateway_customer` needs a `payment_method` of that customer; an "
    "unfinished payment of the previous customer is given up, and the period is billed anew.",
    tags=["Subscriptions"],
    operation_id="editSubscription",
    responses={200: {"description": "Changed. `ETag` is the new entity tag."}} | documented(404, 409, 412, 413, 415),
)
def edit_subscription(
    subscription_id: SubscriptionId, edit: Edit, if_match: IfMatch, *, verify: Verify = True
) -> Response[SubscriptionOut]:
    def looked_at() -> Response[SubscriptionOut]:
        nonlocal verify
        row = shared.row(subscription_id)
        if if_match != "*" and etag(row) not in if_match.replace(" ", "").split(","):
            raise Stale(subscription_id)
        today = clock.of_row(row).today
        changes = _anchored(row, edit.changes(), today)
        edited_row = {name: value for name, value in {**row, **changes}.items() if value is not None}
        _refuse_faults(edited_row, changes, today)
        if verify and edit.gateway_customer:
            verifying.refuse_unknown(edit.gateway_customer, edit.payment_method)
            verify = False  # if this function runs again, the gateway is not asked again
        edited = shared.register().edit(row, changes, ChangeKind.EDITED, shared.asked(router.current_event, row))
        if "customer_email" in changes:
            _mail_what_waited(edited)
        if "gateway_customer" in changes:
            _renew_if_due(edited)
        return shared.answer(200, edited)

    return shared.again_while_outdated(looked_at, subscription_id)


_ACTED = {200: {"description": "Done. `ETag` is the new entity tag."}}


@router.post(
    "/subscriptions/<subscription_id>/cancel",
    summary="Cancel a subscription",
    description="The subscription ends now, or at the end of the paid period. An unfinished payment is canceled.",
    tags=["Status"],
    operation_id="cancelSubscription",
    responses=_ACTED | documented(404, 409, 413, 415, 422),
)
def cancel_subscription(
    subscription_id: SubscriptionId, cancel: Cancel, idempotency_key: IdempotencyKey = None
) -> Response[SubscriptionOut]:
    action = Action.CANCEL_NOW if cancel.when == "now" else Action.CANCEL_AT_PERIOD_END
    return _act(subscription_id, action, idempotency_key)


@router.post(
    "/subscriptions/<subscription_id>/pause",
    summary="Pause a subscription",
    description="The time of the pause is never billed.",
    tags=["Status"],
    operation_id="pauseSubscription",
    responses=_ACTED | documented(404, 409, 413, 415, 422),
)
def pause_subscription(
    subscription_id: SubscriptionId, idempotency_key: IdempotencyKey = None
) -> Response[SubscriptionOut]:
    return _act(subscription_id, Action.PAUSE, idempotency_key)


@router.post(
    "/subscriptions/<subscription_id>/resume",
    summary="Resume a subscription",
    description="A paused subscription is billed from today on, or from the end of the paid time if the paid time "
    "ends later. An unpaid subscription is billed anew. A cancellation at the end of the period is withdrawn.",
    tags=["Status"],
    operation_id="resumeSubscription",
    responses=_ACTED | documented(404, 409, 413, 415, 422),
)
def resume_subscription(
    subscription_id: SubscriptionId, idempotency_key: IdempotencyKey = None
) -> Response[SubscriptionOut]:
    return _act(subscription_id, Action.RESUME, idempotency_key)


@router.put(
    "/subscriptions/<subscription_id>/payment-method",
    summary="Update the payment method",
    description="The gateway must have saved the card for the subscription's `gateway_customer`. A past due payment is "
    "tried with the new card at once, unless the period has had many attempts already.",
    tags=["Status"],
    operation_id="setPaymentMethod",
    responses=_ACTED | documented(404, 409, 413, 415),
)
def set_payment_method(
    subscription_id: SubscriptionId, card: Card, *, verify: Verify = True
) -> Response[SubscriptionOut]:
    if verify:
        verifying.refuse_card(str(shared.row(subscription_id).get("gateway_customer")), card.payment_method)
    return _act(subscription_id, Action.GIVE_CARD, None, {"payment_method": card.payment_method})


def _act(
    subscription_id: str, action: Action, idempotency_key: str | None, given: Mapping[str, str] | None = None
) -> Response[SubscriptionOut]:
    again = _if_repeatable(idempotency_key, 200)

    def looked_at() -> Response[SubscriptionOut]:
        answered = shared.register().answers.of(again) if again else None
        if answered is not None:
            return shared.repeated(answered)
        row = shared.row(subscription_id)
        asked = shared.asked(router.current_event, row, again)
        done = shared.register().act(row, action, clock.of_row(row).today, asked, given or {})
        _renew_if_due(done)
        return shared.answer(200, done)

    return shared.again_while_outdated(looked_at, subscription_id)


def _if_repeatable(key: str | None, status: int) -> Repeatable | None:
    return None if key is None else shared.repeatable(router.current_event, key, status)


def _refuse_faults(row: Row, changed: Mapping[str, object] | None, today: date) -> None:
    """Refuse a row if a value from the caller makes the row impossible to charge. Faults that the row had before are
    not the caller's, and are not refused.

    changed: the attributes that the caller changes; None for a new row, with all values from the caller.

    Raises:
        BadRequest: names the field at fault.
    """
    try:
        checked = subscription.parse(row)
    except BadRow as bad:
        if changed is None or bad.field in changed:
            raise BadRequest([{"field": f"body.{bad.field}", "reason": bad.reason}]) from None
        return
    if changed is not None:
        return
    try:
        subscription.check_anchor(checked)
    except BadRow as bad:
        raise BadRequest([{"field": f"body.{bad.field}", "reason": bad.reason}]) from None
    if checked.renewal_date < today:
        raise BadRequest([{"field": "body.renewal_date", "reason": "is before today"}])


def _anchored(row: Row, changes: Mapping[str, Value], today: date) -> dict[str, Value]:
    """Return the changes, with their consequences for the renewal day.

    The anchor day is removed if the interval before or after the change is days or weeks. Without an anchor day, an
    interval of months or years renews on the day of the month of the renewal date. A new anchor day moves the renewal
    date to the next such day, unless the renewal date already falls on the anchor day.

    Raises:
        BadRequest: the anchor day does not fit the interval or the calendar.
        NotAllowed: the renewal date cannot move: the subscription is not active, or a charge is due. A row that was
            made active by hand after a pause is due at once, whatever its renewal date.
    """
    if "anchor_day" not in changes:
        return {**changes, **subscription.anchor_of_interval(row, changes)}
    try:
        checked = subscription.parse({**row, **changes})
    except BadRow:
        return dict(changes)  # _refuse_faults answers a fault of the caller, and ignores older faults
    if not checked.schedule.is_anchored:
        raise BadRequest(
            [{"field": "body.anchor_day", "reason": "is allowed only with an interval of months or years"}]
        )
    try:
        moved = next_on(whole(changes, "anchor_day"), checked.renewal_date)
    except OverflowError:
        raise BadRequest([{"field": "body.anchor_day", "reason": "moves renewal_date past the year 9999"}]) from None
    if moved == checked.renewal_date:
        return dict(changes)
    is_active = checked.status is SubscriptionStatus.ACTIVE and not pauses.was_resumed_by_hand(checked)
    if not is_active or checked.renewal_date <= today:
        raise NotAllowed("The renewal day cannot be changed while a charge is due or the subscription is not active.")
    return {**changes, "renewal_date": moved.isoformat()}


def _renew_if_due(row: Row) -> None:
    """Start the workflow if the row has work for the workflow."""
    if shared.register().has_work(row, clock.of_row(row).today):
        shared.start(row)


def _mail_what_waited(row: Row) -> None:
    """Start an execution for every period whose mail waits for a new address, the oldest period first. If the function
    is interrupted half-way, making the same change again starts the missing executions."""
    periods = shared.register().ledger.periods(text(row, "subscription_id"))
    waited = [each for each in periods if has_parked(each)]
    for renewal in reversed(waited):
        shared.start(row, renewal)
