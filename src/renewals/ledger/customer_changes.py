"""What customers change: shared by the customer page and DeclarationWorker, so that both cancel in the same way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from renewals.domain import subscription, transitions
from renewals.domain.errors import BadRow, NotHandedOver, Throttled
from renewals.domain.item_values import text
from renewals.domain.request import RenewalRequest
from renewals.domain.subscription import renewal_date_of
from renewals.domain.transitions import Action, Standing
from renewals.runtime import aws, telemetry
from renewals.runtime.renewal_queue import RenewalQueue
from renewals.runtime.settings import setting

if TYPE_CHECKING:
    from datetime import date

    from renewals.domain.renewal_history import History
    from renewals.ledger.asked_by import AskedBy
    from renewals.ledger.register import Register
    from renewals.ledger.steps import Row
    from renewals.runtime.attribute_values import TransactAction

UNREADABLE = (KeyError, TypeError, ValueError)
"""The errors of an item of the ledger, or of a record, that somebody wrote by hand."""

type Reader = Callable[[], History]
"""Returns the periods of the row's customer. Raises BadRow if an item of the ledger cannot be read."""


def reading[**P, T](look: Callable[P, T]) -> Callable[P, T]:
    """Have a function raise BadRow if an item of the ledger cannot be read."""

    @wraps(look)
    def looked(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return look(*args, **kwargs)
        except UNREADABLE as error:
            raise BadRow("ledger", "an item cannot be read") from error

    return looked


@reading
def history_of(register: Register, row: Row) -> History:
    """Return the periods of the row's customer. Raises BadRow."""
    return register.ledger.history(text(row, "subscription_id"), text(row, "customer_id"))


def cancellation_of(register: Register, row: Row, today: date) -> tuple[Action, date] | None:
    """Return the way in which a customer cancels, and the day on which the subscription then ends; None if there is
    nothing to cancel. Raises BadRow.

    An active subscription ends with its period, also if a later end is set already; every other subscription ends now.
    If the charge of a period has begun and the days of the period are over, the subscription ends now too: an end in
    the past would leave the begun charge to dunning.
    """
    return cancellation(register, row, today, lambda: history_of(register, row))


@reading
def cancellation(register: Register, row: Row, today: date, read: Reader) -> tuple[Action, date] | None:
    """Return the same as `cancellation_of`, from periods that are read only if the answer needs them."""
    standing = transitions.state(row, today)
    if standing in (None, Standing.CANCELED, Standing.ENDED):
        return None
    renews_on = subscription.renewal_date_of(row)
    if standing not in (Standing.ACTIVE, Standing.ENDING) or renews_on is None:
        return Action.CANCEL_NOW, today
    ends_on = subscription.day({"cancel_at": register.end_of_period(row, today, read())}, "cancel_at")
    if standing is Standing.ENDING and str(row["cancel_at"]) <= ends_on.isoformat():
        return None
    if renews_on < ends_on <= today:
        return Action.CANCEL_NOW, today
    return Action.CANCEL_AT_PERIOD_END, ends_on


def act(
    register: Register,
    row: Row,
    action: Action,
    today: date,
    asked: AskedBy,
    given: Mapping[str, str] | None = None,
    beside: Sequence[TransactAction] = (),
) -> None:
    """Change the status as Register.act does, and hand over the work that becomes due. Raises as Register.act, and
    BadRow if an item of the ledger cannot be read.

    No trouble after the change raises, because the change stands: the next sweep finds the work.
    """
    changed = reading(register.act)(row, action, today, asked, given, beside)
    try:
        hand_over_work(register, changed, today)
    except (BotoCoreError, ClientError) as error:
        _warn(row, str(error))
    except (BadRow, Throttled, *UNREADABLE) as error:
        _warn(row, telemetry.named(error))


def hand_over_work(register: Register, row: Row, today: date) -> bool:
    """Send the row's work, if any, to the queue of renewals. Returns whether the row has work."""
    has_work = register.has_work(row, today)
    if has_work:
        _hand_over(row)
    return has_work


def _hand_over(row: Row) -> None:
    """Send the row's work to the queue of renewals. If the queue fails, the next sweep finds the work."""
    try:
        queue = RenewalQueue(aws.sqs(), setting("RENEWAL_QUEUE_URL"))
        queue.send([RenewalRequest.of_row(row, renewal_date_of(row))])
    except (BotoCoreError, ClientError, NotHandedOver) as error:
        _warn(row, str(error))


def _warn(row: Row, error: str) -> None:
    told = {"subscription_id": telemetry.shown_id(row["subscription_id"]), "error": error}
    telemetry.logger().warning("the renewal was not handed over", extra=told)
