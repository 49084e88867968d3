"""Refunds of paid periods, whole or in part: never two refunds for one request, and never more than was paid. Pure.

A refund is claimed in the ledger, under its period, before the gateway is asked, and the gateway's answer is recorded
afterwards. The item keeps its refunds in `refunds`, as refund_1, refund_2. The state of a refund only moves forward:

    claimed ──► refunded ──► failed     even weeks later, the gateway may report that the money did not arrive
       └────────────────────────▲

    claimed   requested. With a `refund_id`, the gateway has the refund, and the money is on its way. Without a
              `refund_id`, nobody knows the result of the request: the sweep sends the period to a worker, and the
              worker asks the gateway
    refunded  the gateway reports success
    failed    the gateway refused the refund, or the refund failed later: the seller has the money, and the refund
              does not count any more

A refund that somebody makes at the gateway without this system, for example in the gateway's dashboard, is recorded as
soon as the gateway lists the refund. The attribute `by` of such a refund is ELSEWHERE.

Attributes of a refund: amount (exact decimal, major units), state, at, by (who asked for the refund), request (hash of
the caller and the idempotency key; for a refund made elsewhere, the refund's id); tries (the number of calls that the
gateway answered with an error; absent without an error); refund_id, gateway_status; reason and failed_at of a failed
refund; receipt_key and receipt_sha256.

renewals.domain.refund_notices says what the customer is told.

Decisions: D83, D85, D86 (DECISIONS.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from renewals.domain import currencies, item_values, wording
from renewals.domain.callers import is_of
from renewals.domain.errors import RenewalError
from renewals.domain.renewal import RefundState, Renewal, Status

if TYPE_CHECKING:  # functions that only write receipts or mails must not load the gateway
    from renewals.domain.item_values import Item, Value
    from renewals.domain.payment import GatewayRefund
    from renewals.domain.stored import RefundRecord

_NAME = re.compile(r"refund_\d+", re.ASCII)
ELSEWHERE = "the gateway"
"""The `by` of a refund that was not made through this system."""
LOST = "this system, whose own record of it was lost"
"""The `by` of a refund whose request is ours but is missing in the ledger: the table was restored from a backup."""

ASKED_AGAIN = timedelta(minutes=45)
"""While a refund is on its way, the gateway is asked again this long after each answer. The time is shorter than an
hour, so that every hourly sweep asks again."""

WATCHED = timedelta(days=30)
"""For this long, a successful refund may still fail (https://docs.stripe.com/refunds#failed-refunds), and a failed
refund is listed among the work that waits for a person."""

_SETTLED = frozenset({Status.DONE, Status.MAIL_FAILED, Status.MAIL_UNKNOWN})
_STATES = {"pending": RefundState.CLAIMED, "succeeded": RefundState.REFUNDED, "failed": RefundState.FAILED}


class NotRefundable(RenewalError):  # noqa: N818
    """The refund cannot be made. The message gives the reason in words."""


def left(renewal: Renewal) -> Decimal:
    """Return the amount that can still be refunded: the period's amount minus the refunds made and requested, and minus
    the money that banks have taken back by disputes and not returned. A bank may take back money that was refunded
    before: nothing is left in that case."""
    given_back = in_state(renewal, RefundState.CLAIMED, RefundState.REFUNDED)
    return max(renewal.amount - given_back - renewal.charged_back, Decimal(0))


def in_state(renewal: Renewal, *states: RefundState) -> Decimal:
    """Return the sum of the refunds in the given states."""
    return sum((refund["amount"] for refund in renewal.refunds.values() if refund["state"] in states), Decimal(0))


def of_request(renewal: Renewal, key: str, caller: str) -> str | None:
    """Return the name of the refund made by the caller's request with the idempotency key; None without a match.

    An earlier version kept a hash of the key alone. An old refund matches by the key's hash if its `by` is the caller.
    """
    for name, refund in renewal.refunds.items():
        if refund["request"] == hashed(key, caller):
            return name
        if refund["request"] == sha256(key.encode()).hexdigest() and is_of(refund["by"], caller):
            return name
    return None


def check(renewal: Renewal) -> None:
    """Raise NotRefundable if no refund of the period can be made now, whatever the amount."""
    if renewal.paid_at is None or renewal.payment_id is None:
        raise NotRefundable("The period is not paid.")
    if renewal.status not in _SETTLED or (renewal.notice is not None and not renewal.notice_is_parked):
        raise NotRefundable("A receipt of this period is still on its way: try again in a minute.")
    if any(is_unanswered(refund) for refund in renewal.refunds.values()):
        raise NotRefundable("A refund of this period has no result yet: repeat its request with the same key.")


def new(
    renewal: Renewal, amount: Decimal | None, currency: str, *, by: str, key: str, caller: str, at: datetime
) -> tuple[str, RefundRecord]:
    """Return the name and the claim of a new refund.

    Args:
        renewal: the period to refund.
        amount: in major units; None refunds everything that is left.
        currency: the currency of the amount.
        by: who asks for the refund, in words for people.
        key: the idempotency key of the request.
        caller: the caller's ARN, without a role's session.
        at: the moment, with an offset; receipts print the moment in its own offset.

    Raises:
        NotRefundable: the period cannot be refunded by the amount.
        BadRow: the amount would need rounding.
    """
    check(renewal)
    if amount is not None and currency != renewal.currency:
        raise NotRefundable(f"The period was paid in {renewal.currency}.")
    wanted = left(renewal) if amount is None else amount
    if not 0 < wanted <= left(renewal):
        rest = wording.money(left(renewal), renewal.currency)
        raise NotRefundable(f"At most {rest} of this period can be refunded{_because_of_disputes(renewal)}.")
    currencies.exact_minor_units(wanted, renewal.currency)
    claim: RefundRecord = {
        "amount": wanted,
        "state": RefundState.CLAIMED,
        "at": at.isoformat(timespec="microseconds"),
        "by": by,
        "request": hashed(key, caller),
    }
    return next_name(renewal.refunds), claim


def _because_of_disputes(renewal: Renewal) -> str:
    taken = renewal.charged_back
    return f": {wording.money(taken, renewal.currency)} were taken back by a dispute" if taken else ""


def kept(item: Item) -> Mapping[str, RefundRecord]:
    """Return the refunds in an item, whatever else is wrong with the item. Values written by hand that are no refunds
    are left out."""
    known = item.get("refunds")
    found: Any = {name: each for name, each in known.items() if _is_one(name, each)} if isinstance(known, dict) else {}
    refunds: Mapping[str, RefundRecord] = found
    return refunds


def _is_one(name: str, kept: Value) -> bool:
    """Whether the name is a refund's name, and the value has everything on which readers of a refund rely."""
    if not _NAME.fullmatch(name) or not isinstance(kept, dict):
        return False
    try:
        moments = [item_values.moment(kept, each) for each in ("at", "failed_at") if each == "at" or each in kept]
    except (TypeError, KeyError, ValueError):
        return False
    texts = (kept.get(each, "") for each in ("state", "refund_id", "reason"))
    return all(each.tzinfo for each in moments) and "state" in kept and all(isinstance(each, str) for each in texts)


def next_name(known: Mapping[str, RefundRecord]) -> str:
    return f"refund_{len(known) + 1}"


def in_order(refunds: Mapping[str, RefundRecord]) -> list[tuple[str, RefundRecord]]:
    """Return the refunds in the order of their numbers, since a table keeps no order."""
    return sorted(refunds.items(), key=lambda each: int(each[0].rpartition("_")[2]))


def is_unanswered(refund: RefundRecord) -> bool:
    """Whether nobody knows the refund's result: the gateway was not asked, or the gateway's answer was lost."""
    return refund["state"] == RefundState.CLAIMED and "refund_id" not in refund


def request_of(deployment: str, renewal: Renewal, name: str) -> str:
    """Return the request id under which the gateway knows our refund. Every call for the same refund computes the same
    id, because the parts of the id never change after the refund was claimed."""
    parts = (deployment, renewal.customer_id, renewal.subscription_id, str(renewal.payment_id), name)
    return sha256("/".join(parts).encode()).hexdigest()


def idempotency_key(request: str, tries: int) -> str:
    """Return the idempotency key of a call. tries: the number of earlier calls that the gateway answered with an error.
    The gateway repeats such an error for the same key."""
    return f"{request}/{tries}" if tries else request


def number(renewal: Renewal, name: str) -> str:
    """Return the number of the refund's receipt."""
    return f"{renewal.receipt_number}-R{name.rpartition('_')[2]}"


# Comparing the gateway's refunds with the ledger's


def ids(renewal: Renewal) -> dict[str, str]:
    """Return the names of the refunds that the gateway has answered, keyed by the gateway's ids."""
    return {refund["refund_id"]: name for name, refund in renewal.refunds.items() if "refund_id" in refund}


def holds(renewal: Renewal, made: GatewayRefund) -> bool:
    """Whether the ledger already holds the state that the gateway reports of a refund, or a later state. A failed
    refund without a record counts as held, because no money has moved."""
    name = ids(renewal).get(made.id)
    if name is None:
        return _STATES[made.state] is RefundState.FAILED
    return _advanced(renewal.refunds[name], made, made.at) is None


def seen(
    renewal: Renewal, listed: Iterable[GatewayRefund], requests: Mapping[str, str], at: datetime
) -> dict[str, RefundRecord]:
    """Return the changes to record after the gateway listed the refunds of the period.

    Our own refunds are recognized by their id or by the request in their metadata, and never counted twice. A failed
    refund made elsewhere is left out.

    Args:
        renewal: the period.
        listed: the gateway's list of refunds.
        requests: the names of our refunds, keyed by the request id that the gateway knows.
        at: now, in the business's zone.

    Returns:
        A mapping from a refund's name to all attributes that the refund has after the change. The mapping holds the
            new refunds and the refunds that have moved forward, and leaves out the unchanged refunds.
    """
    by_id = ids(renewal)
    known: dict[str, RefundRecord] = dict(renewal.refunds)
    changed: dict[str, RefundRecord] = {}
    for made in sorted(listed, key=lambda each: each.at):
        name = by_id.get(made.id) or requests.get(made.request or "")
        if name is None and _STATES[made.state] is RefundState.FAILED:
            continue
        name = name or next_name(known)
        after = _advanced(known[name], made, at) if name in known else _made_elsewhere(made, at.tzinfo)
        if after is not None:
            known[name] = changed[name] = after
    return changed


def _advanced(refund: RefundRecord, made: GatewayRefund, at: datetime) -> RefundRecord | None:
    """Return the refund with the gateway's report, or None if the report is no step forward.

    A refund recorded as refused counts as made if the gateway lists the refund after all.
    """
    ranks: dict[str, int] = {RefundState.CLAIMED: 1, RefundState.REFUNDED: 2, RefundState.FAILED: 3}
    stands = ranks[refund["state"]] if "refund_id" in refund else 0
    if ranks[_STATES[made.state]] <= stands:
        return None
    after = _as_made(refund, made)
    if _STATES[made.state] is RefundState.FAILED:
        after["failed_at"] = _stored(at)
    return after


def _made_elsewhere(made: GatewayRefund, zone: tzinfo | None) -> RefundRecord:
    whose: RefundRecord = {
        "amount": currencies.major_units(made.amount, made.currency),
        "state": _STATES[made.state],
        "at": _stored(made.at.astimezone(zone)),
        "by": LOST if made.request else ELSEWHERE,
        "request": made.id,
    }
    return _as_made(whose, made)


def _as_made(refund: RefundRecord, made: GatewayRefund) -> RefundRecord:
    """Return the refund with the gateway's present report in place of the earlier report."""
    after = refund.copy()
    after.pop("reason", None)
    after["state"], after["refund_id"], after["gateway_status"] = _STATES[made.state], made.id, made.state.value
    if made.reason:
        after["reason"] = made.reason
    return after


def refused(refund: RefundRecord, code: str) -> RefundRecord:
    """Return the refund as refused by the gateway."""
    return {**refund, "state": RefundState.FAILED, "reason": code}


def look_at(renewal: Renewal, now: datetime) -> datetime | None:
    """Return the next moment at which the sweep should have the period's refunds checked; None if never.

    now: the real time, even for a subscription with a test clock, because the gateway handles refunds in real time.
    """
    due = [_look_at(refund, now) for refund in renewal.refunds.values()]
    if any(map(is_unanswered, renewal.refunds.values())):
        due.append(renewal.refunds_due)
    return min((moment for moment in due if moment is not None), default=None)


def _look_at(refund: RefundRecord, now: datetime) -> datetime | None:
    if is_unanswered(refund):
        return now
    if refund["state"] == RefundState.CLAIMED:
        return now + ASKED_AGAIN
    forgotten = datetime.fromisoformat(refund["failed_at"]).astimezone(UTC) + WATCHED if "failed_at" in refund else now
    return forgotten if forgotten > now else None


def waiting(item: Item) -> list[str]:
    """Return the period's waiting refunds in plain words, for operators on call.

    Refunds without a result wait. A refund that failed after the gateway had accepted the request waits until a later
    refund is requested.
    """
    told, refunds = [], kept(item)
    for n, (name, refund) in enumerate(in_order(refunds), start=1):
        if is_unanswered(refund):
            told.append(f"{name} without an answer")
        elif refund["state"] == RefundState.CLAIMED:
            told.append(f"{name} on its way")
        elif "failed_at" in refund and n == len(refunds):
            told.append(f"{name} failed: {wording.refund_failure(refund.get('reason'))}")
    return told


def _stored(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")


def hashed(key: str, caller: str) -> str:
    """Return an idempotency key as the ledger keeps the key. The same key of a different caller gives a different
    hash."""
    return sha256(f"{caller} {key}".encode()).hexdigest()
