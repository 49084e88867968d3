"""Status changes on request: what may follow what. Pure.

            active     ending      past due    paused     unpaid     canceled, ended
cancel now  canceled   canceled    canceled    canceled   canceled   -
cancel then ending     -           -           -          -          -
pause       paused     -           -           -          -          -
resume      -          active      -           active     active     -
new card    yes        yes         yes         yes        yes        -

Ending: active, to be canceled when the period that is paid ends (cancel_at). Ended: that day has come, whatever the
status of the row says still. Past due is not paused, which would let go of a payment that is owed. What ended stays so:
a customer who comes back subscribes anew.
"""

from datetime import date
from enum import StrEnum

from renewals.domain import subscription
from renewals.domain.errors import RenewalError
from renewals.domain.item_values import Item, Value
from renewals.domain.subscription import SubscriptionStatus


class NotAllowed(RenewalError):  # noqa: N818
    """The change may not follow the status that the subscription has. The message says why, in words."""


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
    """What can be asked for. The value completes "it cannot be ...": for people."""

    CANCEL_NOW = "canceled"
    CANCEL_AT_PERIOD_END = "canceled at the end of its period"
    PAUSE = "paused"
    RESUME = "resumed"
    GIVE_CARD = "given another card"


_FROM = {
    Action.CANCEL_NOW: set(Standing) - {Standing.CANCELED, Standing.ENDED},
    Action.CANCEL_AT_PERIOD_END: {Standing.ACTIVE},
    Action.PAUSE: {Standing.ACTIVE},
    Action.RESUME: {Standing.ENDING, Standing.PAUSED, Standing.UNPAID},
    Action.GIVE_CARD: set(Standing) - {Standing.CANCELED, Standing.ENDED},
}
_WORDS = {
    Standing.ACTIVE: "it is active",
    Standing.ENDING: "it is to be canceled at the end of its period already",
    Standing.PAST_DUE: "a payment is past due",
    Standing.PAUSED: "it is paused",
    Standing.UNPAID: "it is suspended as unpaid",
    Standing.CANCELED: "it is canceled",
    Standing.ENDED: "it has ended",
}


def state(row: Item, today: date) -> Standing | None:
    """The row's status as the table above names it; None where the row has none that is known."""
    if subscription.is_over(row, today):
        return Standing.ENDED
    status = subscription.status_of(row)
    if status is SubscriptionStatus.ACTIVE and isinstance(row.get("cancel_at"), str):
        return Standing.ENDING
    return Standing(status) if status else None


def changes(row: Item, action: Action, today: date) -> dict[str, Value]:
    """The attributes that the action changes, None for one that goes. Raises NotAllowed.

    row: the raw attributes. Resuming a paused subscription also moves its date: see renewals.domain.pauses.
    """
    stands = state(row, today)
    if stands not in _FROM[action]:
        why = _WORDS[stands] if stands else "its status is unknown"
        raise NotAllowed(f"The subscription cannot be {action}: {why}.")
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
