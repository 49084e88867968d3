"""The person or the program behind a change, and whether the same request may come again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from renewals.ledger.steps import Row


@dataclass(frozen=True, slots=True)
class Repeatable:
    """A request with an idempotency key. A repeated request gets the answer of the first time.

    Attributes:
        caller: The caller. The same key sent by two callers counts as two different keys.
        key: The idempotency key as the caller sent it.
        fingerprint: A digest of the whole request.
        answer: Makes the answer from the row after the change; makes None if the ledger keeps the answer, as for a
            refund.
    """

    caller: str
    key: str
    fingerprint: str
    answer: Callable[[Row], Mapping[str, object] | None]


@dataclass(frozen=True, slots=True)
class AskedBy:
    """The origin of a change.

    Attributes:
        by: The person or the program that asks for the change.
        now: The moment by the clock of the subscription.
        again: The request, if the request has an idempotency key.
        at: The moment of the request by the real clock; None if `now` is the real moment. A test clock changes `now`.
        cause: The gateway's id of the object that causes the change, such as seti_..., or the number of the
            declaration: a cause has at most one change of a subscription. None without such a cause.
        imports: Whether the change belongs to an import, of which no customer is told.
    """

    by: str
    now: datetime
    again: Repeatable | None = None
    at: datetime | None = None
    cause: str | None = None
    imports: bool = False
