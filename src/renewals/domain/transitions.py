"""Status changes on request: the changes that a subscription's status allows. Pure.

                         active     ending      past due    paused     unpaid     canceled, ended
    cancel now           canceled   canceled    canceled    canceled   canceled   -
    cancel at period end ending     earlier     -           -          -          -
    pause                paused     -           -           -          -          -
    resume               -          active      -           active     active     -
    new payment method   yes        yes         yes         yes        yes        -

Ending: active, with a `cancel_at` at the end of the paid period. Ended: the day of `cancel_at` has come, whatever the
row's status still says. Earlier: a `cancel_at` after the end of the period is brought forward to the end of the
period. A past due subscription cannot be paused, since a pause would drop a payment that is owed. An
ended subscription stays ended: a returning customer subscribes anew.
"""

from datetime import date
from enum import StrEnum

from renewals.domain import subscription
from renewals.domain.errors import RenewalError
from renewals.domain.item_values import Item, Value
from renewals.domain.subscription import SubscriptionStatus


class NotAllowed(RenewalError):  # noqa: N818
    """The subscription's status does not allow the change. The message gives the reason in words."""


class Standing(StrEnum):
    """The columns of the table above."""

    ACTIVE = "active"
    ENDING = "ending"
    PAST_DUE = "past_due"
    PAUSED = "paused"
    UNPAID = "unpaid"
    CANCELED = "canceled"
    ENDED = "ended"


class Action(StrEnum):
    """A change on request. The value completes the sentence "The subscription cannot be ..." for people."""

    CANCEL_NOW = "canceled"
    CANCEL_AT_PERIOD_END = "canceled at the end of its period"
    PAUSE = "paused"
    RESUME = "resumed"
    GIVE_CARD = "given a new payment method"


_FROM = {
    Action.CANCEL_NOW: set(Standing) - {Standing.CANCELED, Standing.ENDED},
    Action.CANCEL_AT_PERIOD_END: {Standing.ACTIVE, Standing.ENDING},
    Action.PAUSE: {Standing.ACTIVE},
    Action.RESUME: {Standing.ENDING, Standing.PAUSED, Standing.UNPAID},
    Action.GIVE_CARD: set(Standing) - {Standing.CANCELED, Standing.ENDED},
}
_WORDS = {
    Standing.ACTIVE: "it is active",
    Standing.ENDING: "it will already be canceled at the end of its period",
    Standing.PAST_DUE: "a payment is past due",
    Standing.PAUSED: "it is paused",
    Standing.UNPAID: "it is suspended as unpaid",
    Standing.CANCELED: "it is canceled",
    Standing.ENDED: "it has ended",
}


def state(row: Item, today: date) -> Standing | None:
    """Return the row's column in the table above; None if the row's status is unknown."""
    if subscription.is_over(row, today):
        return Standing.ENDED
    status = subscription.status_of(row)
    if status is SubscriptionStatus.ACTIVE and isinstance(row.get("cancel_at"), str):
        return Standing.ENDING
    return Standing(status) if status else None


def not_allowed(action: Action, stands: Standing | None) -> NotAllowed:
    """Return the refusal of an action."""
    why = _WORDS[stands] if stands else "its status is unknown"
    return NotAllowed(f"The subscription cannot be {action}: {why}.")


def changes(row: Item, action: Action, today: date) -> dict[str, Value]:
    """Return the action's changes of the row's attributes; the value None removes an attribute. Raises NotAllowed.

    Resuming a paused subscription also moves its renewal date: see renewals.domain.pauses.

    row: the raw attributes.
    """
    stands = state(row, today)
    too_late = action is Action.CANCEL_AT_PERIOD_END and str(row.get("cancel_at", "9999")) <= str(
        row.get("renewal_date")
    )
    if stands not in _FROM[action] or (stands is Standing.ENDING and too_late):
        raise not_allowed(action, stands)
    match action:
        case Action.CANCEL_NOW:
            return {"status": SubscriptionStatus.CANCELED}
        case Action.CANCEL_AT_PERIOD_END:
            return {"cancel_at": row.get("renewal_date")}
        case Action.PAUSE:
            return {"status": SubscriptionStatus.PAUSED}
        case Action.RESUME if stands is Standing.ENDING:
            return {"cancel_at": None}
        case Action.RESUME:
            return {"status": SubscriptionStatus.ACTIVE}
        case Action.GIVE_CARD:
            return {}
