"""Decide whether a row or an item that the sweep has read needs a request. Pure."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from renewal_sweep.parts import PartKind, SweepPart
from renewals.domain import pauses, subscription
from renewals.domain.errors import BadRow
from renewals.domain.item_values import moment
from renewals.domain.reasons import Reason
from renewals.domain.renewal import CUT_OFF
from renewals.domain.request import Asks, RenewalRequest
from renewals.domain.subscription import Subscription
from renewals.ledger.steps import Row

DAYS = 40
"""The hourly sweep looks back this many days, today included. The nightly sweep finds older renewal dates."""


def needs_renewal(part: SweepPart, checked: Subscription, today: date) -> bool:
    """Whether the row must be renewed, and the part is responsible for the request."""
    if subscription.is_over(checked.row, today):  # the workflow must write the end into the row's status
        return True
    if pauses.was_resumed_by_hand(checked):  # the workflow must move the renewal date, to bill from now on
        return True
    refused = "next_attempt" in checked.row
    reason = checked.why_not_due(today)
    if refused and reason is not None:
        return True
    if reason is not None and not (reason is Reason.PAUSED and checked.renewal_date <= today):
        return False
    if refused and not _is_asked_again(checked.row, today):
        return False
    return part.kind is not PartKind.SEGMENT or checked.renewal_date <= today - timedelta(days=DAYS)


def _is_asked_again(row: Row, today: date) -> bool:
    """Whether a refused period is retried now: the dunning date has come, or the card was replaced."""
    another_card = row.get("payment_method") != row.get("refused_payment_method")
    try:
        return another_card or subscription.day(row, "next_attempt") <= today
    except BadRow:
        return True


def is_unfinished(row: Row) -> bool:
    """Whether the renewal has work to continue now."""
    status = row.get("status")
    return (isinstance(status, str) and status in CUT_OFF) or ("notice" in row and "parked" not in row)


def unfinished_seconds(row: Row, now: datetime) -> float:
    """Return how long a renewal in unfinished-index has been unfinished, or how long its refunds have been overdue for
    a look.

    A renewal waiting for its next dunning date, for a new address, or for a refund on its way counts as zero.
    """
    begins = ("begun_at" if "begun_at" in row else "touched_at") if is_unfinished(row) else "refunds_due"
    try:
        return max((now - moment(row, begins)).total_seconds(), 0.0)
    except (KeyError, TypeError, ValueError):  # no refund needs a look, or somebody wrote a value that is no moment
        return 0.0


def request_for(row: Row, asks: Asks = Asks.RENEW) -> RenewalRequest:
    """Build a request from a subscription's row or a renewal's item.

    The request names the period by its renewal date. The row of an ended subscription may lack the date: its refused
    period is closed without a date.
    """
    return RenewalRequest.of_row(row, subscription.renewal_date_of(row), asks)
