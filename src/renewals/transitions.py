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

from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from typing import Any

from renewals import subscription
from renewals.errors import RenewalError


class NotAllowed(RenewalError):  # noqa: N818
    """The change may not follow the status that the subscription has. The message says why, in words."""


class Action(StrEnum):
    """What can be asked for. The value completes "it cannot be ...": for people."""

    CANCEL_NOW = "canceled"
    CANCEL_AT_PERIOD_END = "canceled at the end of its period"
    PAUSE = "paused"
    RESUME = "resumed"
    GIVE_CARD = "given another card"


_FROM = {
    Action.CANCEL_NOW: {"active", "ending", "past_due", "paused", "unpaid"},
    Action.CANCEL_AT_PERIOD_END: {"active"},
    Action.PAUSE: {"active"},
    Action.RESUME: {"ending", "paused", "unpaid"},
    Action.GIVE_CARD: {"active", "ending", "past_due", "paused", "unpaid"},
}
_WORDS = {
    "active": "it is active",
    "ending": "it is to be canceled at the end of its period already",
    "past_due": "a payment is past due",
    "paused": "it is paused",
    "unpaid": "it is suspended as unpaid",
    "canceled": "it is canceled",
    "ended": "it has ended",
}


def state(row: Mapping[str, Any], today: date) -> str:
    """The row's status as the table above names it; as the row has it, where it is unknown or missing."""
    if subscription.is_over(row, today):
        return "ended"
    status = str(row.get("status", ""))
    return "ending" if status == "active" and isinstance(row.get("cancel_at"), str) else status


def changes(row: Mapping[str, Any], action: Action, today: date) -> dict[str, Any]:
    """The attributes that the action changes, None for one that goes. Raises NotAllowed.

    row: the raw attributes. Resuming a paused subscription also moves its date: see renewals.pauses.
    """
    stands = state(row, today)
    if stands not in _FROM[action]:
        raise NotAllowed(f"The subscription cannot be {action}: {_WORDS.get(stands, 'its status is unknown')}.")
    match action:
        case Action.CANCEL_NOW:
            return {"status": "canceled"}
        case Action.CANCEL_AT_PERIOD_END:
            return {"cancel_at": row.get("renewal_date")}
        case Action.PAUSE:
            return {"status": "paused"}
        case Action.RESUME if stands == "ending":
            return {"cancel_at": None}
        case Action.RESUME:
            return {"status": "active"}
        case Action.GIVE_CARD:
            return {}
