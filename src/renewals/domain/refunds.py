"""Refunds of paid periods, whole or in part: never two for one request, and never more than was paid. Pure.

A refund is claimed in the ledger, under its period, before the gateway is asked, and what the gateway said is recorded
after it. It stands in the item's `refunds`, as refund_1, refund_2. Its state only goes forward:

    claimed ──► refunded ──► failed     the gateway says weeks later, too, that the money did not arrive
       └────────────────────────▲

    claimed   asked for. With a `refund_id` the gateway has the refund, and the money is on its way; without one nobody
              has heard what became of it, and the sweep has the gateway asked
    refunded  the gateway says that it succeeded
    failed    the gateway refused it, or it failed later: the money is the seller's, and the refund counts no more

Refunds that others made at the gateway, in its dashboard for one, are recorded when they are seen, `by` ELSEWHERE.

Attributes of a refund: amount (exact decimal, major units), state, at, by (who asked), request (hash of the caller and
the idempotency key; the refund's id where it was made elsewhere); tries, where the gateway remembers a failed one;
refund_id, gateway_status; reason and failed_at where it failed; receipt_key and receipt_sha256.

The customer is told each of these once, by the `notice` of the item: kind and number, as refund_pending_1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from renewals.domain import currencies, item_values, wording
from renewals.domain.callers import is_of
from renewals.domain.errors import RenewalError
from renewals.domain.renewal import MailKind, MailState, RefundState, Renewal, Status, mail_name

if TYPE_CHECKING:  # what only writes receipts or mails does not load the gateway
    from renewals.domain.item_values import Item, Value
    from renewals.domain.payment import GatewayRefund
    from renewals.domain.stored import RefundRecord

_NAME = re.compile(r"refund_\d+", re.ASCII)
NOTICES = (MailKind.REFUND_PENDING, MailKind.REFUNDED, MailKind.REFUND_FAILED)
ELSEWHERE = "the gateway"
"""Who asked for a refund that was not made through this system."""
LOST = "this system, whose own record of it was lost"
"""Who asked for a refund that carries a request of ours which the ledger does not know: its table was restored."""

ASKED_AGAIN = timedelta(minutes=45)
"""So long after a look a refund that is on its way is asked about again: by the next hourly sweep."""

WATCHED = timedelta(days=30)
"""So long a refund that succeeded may still fail (https://docs.stripe.com/refunds#failed-refunds), and so long one that
failed stands among what waits for a person."""

_SETTLED = frozenset({Status.DONE, Status.MAIL_FAILED, Status.MAIL_UNKNOWN})
_STATES = {"pending": RefundState.CLAIMED, "succeeded": RefundState.REFUNDED, "failed": RefundState.FAILED}


class NotRefundable(RenewalError):  # noqa: N818
    """The refund cannot be made. The message says why, in words."""


class Owed(NamedTuple):
    """The refund that the customer is to be told of. kind: one of NOTICES. name: as refund_1."""

    kind: MailKind
    name: str
    refund: RefundRecord


def left(renewal: Renewal) -> Decimal:
    """What of a paid period has not been refunded, nor been asked to be."""
    return renewal.amount - in_state(renewal, RefundState.CLAIMED, RefundState.REFUNDED)


def in_state(renewal: Renewal, *states: RefundState) -> Decimal:
    """The sum of the refunds in these states."""
    return sum((refund["amount"] for refund in renewal.refunds.values() if refund["state"] in states), Decimal(0))


def of_request(renewal: Renewal, key: str, caller: str) -> str | None:
    """The refund that this caller's request with this idempotency key has made. An earlier version kept a hash of the
    key alone: of those, one that the caller has asked for."""
    for name, refund in renewal.refunds.items():
        if refund["request"] == hashed(key, caller):
            return name
        if refund["request"] == sha256(key.encode()).hexdigest() and is_of(refund["by"], caller):
            return name
    return None


def check(renewal: Renewal) -> None:
    """Raises NotRefundable where no refund of the period can be made now, whatever its amount."""
    if renewal.paid_at is None or renewal.payment_id is None:
        raise NotRefundable("The period is not paid.")
    if renewal.status not in _SETTLED or (renewal.notice is not None and not renewal.notice_is_parked):
        raise NotRefundable("A receipt of this period is still on its way: try again in a minute.")
    if any(is_unanswered(refund) for refund in renewal.refunds.values()):
        raise NotRefundable("A refund of this period has no result yet: send its request again, with its key.")


def new(
    renewal: Renewal, amount: Decimal | None, currency: str, *, by: str, key: str, caller: str, at: datetime
) -> tuple[str, RefundRecord]:
    """The claim of a refund, and its name. amount: None refunds all that is left. at: aware, and printed in its own
    offset. Raises NotRefundable, and BadRow for an amount that would need rounding."""
    check(renewal)
    if amount is not None and currency != renewal.currency:
        raise NotRefundable(f"The period was paid in {renewal.currency}.")
    wanted = left(renewal) if amount is None else amount
    if not 0 < wanted <= left(renewal):
        rest = wording.money(max(left(renewal), Decimal(0)), renewal.currency)
        raise NotRefundable(f"Of this period {rest} are left to be refunded.")
    currencies.exact_minor_units(wanted, renewal.currency)
    claim: RefundRecord = {
        "amount": wanted,
        "state": RefundState.CLAIMED,
        "at": at.isoformat(timespec="microseconds"),
        "by": by,
        "request": hashed(key, caller),
    }
    return next_name(renewal.refunds), claim


def kept(item: Item) -> Mapping[str, RefundRecord]:
    """The refunds of a period as its item keeps them, whatever else is wrong with the item. What somebody wrote among
    them that is none is left out."""
    known = item.get("refunds")
    found: Any = {name: each for name, each in known.items() if _is_one(name, each)} if isinstance(known, dict) else {}
    refunds: Mapping[str, RefundRecord] = found
    return refunds


def _is_one(name: str, kept: Value) -> bool:
    """Whether this is the name of a refund, and what is kept under it has what each reader of a refund relies on."""
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
    """By their numbers: a table keeps no order."""
    return sorted(refunds.items(), key=lambda each: int(each[0].rpartition("_")[2]))


def is_unanswered(refund: RefundRecord) -> bool:
    """Whether nobody knows what became of it: the gateway was not asked, or its answer was lost."""
    return refund["state"] == RefundState.CLAIMED and "refund_id" not in refund


def request_of(deployment: str, renewal: Renewal, name: str) -> str:
    """What the gateway knows our refund by, for ever: the same for the same claim, always."""
    parts = (deployment, renewal.customer_id, renewal.subscription_id, str(renewal.payment_id), name)
    return sha256("/".join(parts).encode()).hexdigest()


def idempotency_key(request: str, tries: int) -> str:
    """The key of one call. tries: how often the gateway answered with an error that it repeats for the same key."""
    return f"{request}/{tries}" if tries else request


def number(renewal: Renewal, name: str) -> str:
    """The number of a refund's receipt."""
    return f"{renewal.receipt_number}-R{name.rpartition('_')[2]}"


# What the gateway has, against what the ledger has


def seen(
    renewal: Renewal, listed: Iterable[GatewayRefund], requests: Mapping[str, str], at: datetime
) -> dict[str, RefundRecord]:
    """What is to be recorded of the refunds that the gateway lists: the name of each that goes on, or is new, to all of
    its attributes as they are then.

    requests: what the gateway knows ours by, to its name. at: now, in the business's zone. Ours are known by their id
    or by the request that they carry, so that none is counted twice. What others made and failed is left out.
    """
    by_id = {refund["refund_id"]: name for name, refund in renewal.refunds.items() if "refund_id" in refund}
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
    """The refund as the gateway has it; None where that is no step forward. One that we took for refused, and that the
    gateway has all the same, was made."""
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
    """The refund with what the gateway says of it now, and nothing of what the gateway said of it before."""
    after = refund.copy()
    after.pop("reason", None)
    after["state"], after["refund_id"], after["gateway_status"] = _STATES[made.state], made.id, made.state.value
    if made.reason:
        after["reason"] = made.reason
    return after


def refused(refund: RefundRecord, code: str) -> RefundRecord:
    """The refund, which the gateway would not make."""
    return {**refund, "state": RefundState.FAILED, "reason": code}


def look_at(renewal: Renewal, now: datetime) -> datetime | None:
    """When the period's refunds are to be looked at next, as they stand now; None: not by the sweep. now: the real
    moment, which is the gateway's too."""
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
    """The refunds of a period that wait, in plain words, as whoever is on call needs them: those without a result, and
    those that failed after the gateway had taken them, as long as no later one was asked for."""
    told, refunds = [], kept(item)
    for n, (name, refund) in enumerate(in_order(refunds), start=1):
        if is_unanswered(refund):
            told.append(f"{name} without an answer")
        elif refund["state"] == RefundState.CLAIMED:
            told.append(f"{name} on its way")
        elif "failed_at" in refund and n == len(refunds):
            told.append(f"{name} failed: {wording.refund_failure(refund.get('reason'))}")
    return told


# What the customer is told


def owed(renewal: Renewal) -> Owed | None:
    """What the customer is to be told of a refund, by the notice of the period."""
    notice = renewal.notice or ""
    kind, name = MailKind.of(notice), f"refund_{notice.rpartition('_')[2]}"
    if kind not in NOTICES or name not in renewal.refunds:
        return None
    return Owed(MailKind(kind), name, renewal.refunds[name])


def is_news(renewal: Renewal, notice: str) -> bool:
    """Whether a mail about a refund still says how the refund stands."""
    return notice == _notice(renewal, f"refund_{notice.rpartition('_')[2]}")


def untold(renewal: Renewal) -> list[str]:
    """The notices of the refunds that the customer has not been told of as they stand, the latest refund first."""
    notices = [_notice(renewal, name) for name, _ in reversed(in_order(renewal.refunds))]
    return [notice for notice in notices if notice is not None and notice not in renewal.mails]


def next_notice(renewal: Renewal, *, tells: bool) -> str | None:
    """The mail that is owed once the refunds stand as they do: the one that is owed already, while it is true, and else
    the latest that the customer was not told. tells: whether a new one may begin to be owed."""
    about = owed(renewal)
    if renewal.notice is not None and (about is None or is_news(renewal, renewal.notice)):
        waits = [renewal.notice] if not (tells and renewal.notice_is_parked) else [*untold(renewal), renewal.notice]
        return waits[0]
    return next(iter(untold(renewal)), None) if tells else None


def _notice(renewal: Renewal, name: str) -> str | None:
    """The mail that says how the refund stands. Of one that failed the customer hears where they had heard of it."""
    if name not in renewal.refunds:
        return None
    refund, count = renewal.refunds[name], name.rpartition("_")[2]
    match refund["state"]:
        case RefundState.CLAIMED if "refund_id" in refund:
            return mail_name(MailKind.REFUND_PENDING, count)
        case RefundState.REFUNDED:
            return mail_name(MailKind.REFUNDED, count)
        case RefundState.FAILED if _was_announced(renewal, count):
            return mail_name(MailKind.REFUND_FAILED, count)
    return None


def _was_announced(renewal: Renewal, count: str) -> bool:
    told = (renewal.mails.get(mail_name(kind, count)) for kind in (MailKind.REFUND_PENDING, MailKind.REFUNDED))
    return any(mail is not None and mail.state is not MailState.FAILED for mail in told)


def _stored(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")


def hashed(key: str, caller: str) -> str:
    """An idempotency key as the ledger keeps it: another caller's is another key."""
    return sha256(f"{caller} {key}".encode()).hexdigest()
