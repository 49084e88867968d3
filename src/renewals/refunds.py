"""Money given back, whole or in part: never twice for one request, and never more than was paid.

A refund is claimed in the ledger, under its period, before the gateway is asked, and what the gateway said is recorded
after it. The gateway is asked under a key that is made of the claim, so that asking again gives the same refund. It
stands in the item's `refunds`, as refund_1, refund_2:

    claimed ──► refunded    the customer is owed a receipt of it and a mail: `notice`, as refunded_1
       └──────► failed      the gateway could not: it counts no more

Its attributes: amount (exact decimal, major units), state, at, by (who asked), request (hash of the idempotency key);
refund_id, and reason where it failed; receipt_key and receipt_sha256.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any

from renewals import currencies, wording
from renewals.errors import RenewalError
from renewals.renewal import Renewal, Status

NOTICE = "refunded"
_SETTLED = frozenset({Status.DONE, Status.MAIL_FAILED, Status.MAIL_UNKNOWN})


class NotRefundable(RenewalError):  # noqa: N818
    """The refund cannot be made. The message says why, in words."""


def left(renewal: Renewal) -> Decimal:
    """What of a paid period has not been given back, nor been claimed to be."""
    return renewal.amount - sum(
        (refund["amount"] for refund in renewal.refunds.values() if refund["state"] != "failed"), Decimal(0)
    )


def of_request(renewal: Renewal, key: str) -> str | None:
    """The refund that a request with this idempotency key has made."""
    return next((name for name, refund in renewal.refunds.items() if refund["request"] == hashed(key)), None)


def new(
    renewal: Renewal, amount: Decimal | None, currency: str, *, by: str, key: str, at: datetime
) -> tuple[str, dict[str, Any]]:
    """The claim of a refund, and its name. amount: None gives back all that is left. at: aware, and printed in its own
    offset. Raises NotRefundable, and BadRow for an amount that would need rounding."""
    if renewal.paid_at is None or renewal.payment_id is None:
        raise NotRefundable("The period is not paid.")
    if renewal.status not in _SETTLED or (renewal.notice is not None and not renewal.notice_is_parked):
        raise NotRefundable("A receipt of this period is still on its way: try again in a minute.")
    if any(refund["state"] == "claimed" for refund in renewal.refunds.values()):
        raise NotRefundable("A refund of this period has no result yet: send its request again, with its key.")
    if amount is not None and currency != renewal.currency:
        raise NotRefundable(f"The period was paid in {renewal.currency}.")
    wanted = left(renewal) if amount is None else amount
    if not 0 < wanted <= left(renewal):
        rest = wording.money(left(renewal), renewal.currency)
        raise NotRefundable(f"Of this period {rest} are left to be given back.")
    currencies.exact_minor_units(wanted, renewal.currency)
    claim = {
        "amount": wanted,
        "state": "claimed",
        "at": at.isoformat(timespec="microseconds"),
        "by": by,
        "request": hashed(key),
    }
    return f"refund_{len(renewal.refunds) + 1}", claim


def gateway_key(deployment: str, renewal: Renewal, name: str) -> str:
    """The idempotency key that the gateway is asked under: the same for the same claim, always."""
    parts = (deployment, renewal.customer_id, renewal.subscription_id, str(renewal.payment_id), name)
    return sha256("/".join(parts).encode()).hexdigest()


def number(renewal: Renewal, name: str) -> str:
    """The number of a refund's receipt."""
    return f"{renewal.receipt_number}-R{name.rpartition('_')[2]}"


def owed(renewal: Renewal) -> tuple[str, Mapping[str, Any]] | None:
    """The refund that the customer is to be told of."""
    kind, _, count = (renewal.notice or "").rpartition("_")
    name = f"refund_{count}"
    return (name, renewal.refunds[name]) if kind == NOTICE and name in renewal.refunds else None


def hashed(key: str) -> str:
    return sha256(key.encode()).hexdigest()
