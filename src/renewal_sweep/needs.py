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
    """Whether the row must be renewed, and this part must send the request: a segment of the nightly sweep leaves the
    dates of the last 40 days to the hourly sweep."""
    if subscription.is_over(checked.row, today):  # the workflow must write the end into the row's status
        return True
    if pauses.was_resumed_by_hand(checked):  # the workflow must move the renewal date to the day of the resumption
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
    """Return for how many seconds a renewal in unfinished-index has been unfinished. If only its refunds need work,
    return for how many seconds the look at the refunds has been overdue.

    A renewal waiting for its next dunning date, for a new address, or for a refund on its way counts as zero.
    """
    begins = ("begun_at" if "begun_at" in row else "touched_at") if is_unfinished(row) else "refunds_due"
    try:
        return max((now - moment(row, begins)).total_seconds(), 0.0)
    except (KeyError, TypeError, ValueError):  # no look at refunds is due, or a person wrote an unreadable moment
        return 0.0


def request_for(row: Row, asks: Asks = Asks.RENEW) -> RenewalRequest:
    """Build a request from a subscription's row or a renewal's item.

    The request names the period by its renewal date. The row of an ended subscription may lack the date. The request
    then names no period, and the workflow closes the refused period all the same.
    """
    return RenewalRequest.of_row(row, subscription.renewal_date_of(row), asks)
