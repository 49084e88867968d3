"""A checked row of the subscriptions table. People write rows by hand, by API and by import: nothing is assumed."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import cast, get_args

from renewals.domain import currencies, texts
from renewals.domain.errors import BadRow
from renewals.domain.item_values import Item, Value
from renewals.domain.reasons import Reason
from renewals.domain.schedule import Interval, Schedule, falls_on

ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:-]{0,127}", re.ASCII)
"""An id that is safe in a webhook, in a key of S3 and in S3's metadata: the id cannot escape from its place in a
path."""

ID_FORM = "1 to 128 letters A-Z a-z, digits, . _ : -; the first is a letter, a digit or _"
"""The form of an ID in words, for messages."""

GATEWAY_ID = re.compile(r"[A-Za-z0-9_]{1,255}", re.ASCII)
"""The gateway's id of a customer or of a card."""

GATEWAY_ID_FORM = "1 to 255 letters A-Z a-z, digits and _"
"""The form of a GATEWAY_ID in words, for messages."""

ENDED_ON = "ended_on"
"""The attribute of a row with the day on which the subscription ended: the day that `cancel_at` named."""

CARD_CHANGED_AT = "card_changed_at"
"""The attribute of a row with the moment at which the payment method was last changed on request, by the real clock."""

CREATED_AT = "created_at"
"""The attribute of a row with the moment at which a request created the row. Rows that were imported, that a person
wrote into the table, or that an earlier version created lack the attribute."""

MOVED_ON_AT = "moved_on_at"
"""The attribute of a row with the moment at which this system last moved the row past a finished period."""

PAID_UNTIL = "paid_until"
"""The attribute of a row that holds the first day after all paid time, ordinarily the renewal date. A refund does not
lower the value, since the refund can fail weeks later."""

SAID_IN_MAILS = (
    "version",
    "status",
    "renewal_date",
    "cancel_at",
    "amount",
    "currency",
    "plan",
    "interval",
    "interval_count",
    "payment_method",
    "customer_name",
    "customer_email",
    "locale",
    "reminders",
)
"""The attributes of a row that reminders and confirmations say or go by. Such a mail is claimed only while these
attributes are as they were when the mail was written."""

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_MOST_INTERVALS = 1000
_FIRST_YEAR = 2000
_LONGEST_TEXT = 1000
_COUNTED = ("day", "week")
"""The intervals that are counted from date to date, without an anchor."""


class SubscriptionStatus(StrEnum):
    """The status of a subscription."""

    ACTIVE = "active"
    PAST_DUE = "past_due"
    PAUSED = "paused"
    CANCELED = "canceled"
    UNPAID = "unpaid"

    @property
    def is_live(self) -> bool:
        """Whether the subscription is charged on its renewal dates."""
        return self in (SubscriptionStatus.ACTIVE, SubscriptionStatus.PAST_DUE)

    @property
    def has_ended(self) -> bool:
        """Whether charging has ended: for good (canceled), or until the subscription is resumed (paused, unpaid)."""
        return not self.is_live


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription as stored in the table. amount: exact decimal, in major units. row: the raw attributes."""

    subscription_id: str
    customer_id: str
    status: SubscriptionStatus
    renewal_date: date
    cancel_at: date | None
    amount: Decimal
    currency: str
    schedule: Schedule
    catch_up: str
    plan: str
    customer_name: str
    customer_email: str
    locale: str
    gateway_customer: str
    payment_method: str
    row: Item

    def why_not_due(self, today: date) -> Reason | None:
        """Return the reason why nothing must be charged today; None if the subscription is due."""
        if self.status.has_ended:
            return Reason(self.status)
        if self.ends_by(self.renewal_date):
            return Reason.ENDS_BEFORE
        if self.renewal_date > today:
            return Reason.NOT_DUE
        return None

    def ends_by(self, day: date) -> bool:
        """Whether the subscription ends on `day` or earlier. A period beginning on `day` is not billed in that case."""
        return self.cancel_at is not None and self.cancel_at <= day

    def last_day(self, today: date) -> date:
        """Return the last day, up to today, on which a period may begin: today, or the day before the end."""
        return today if self.cancel_at is None else min(today, self.cancel_at - timedelta(days=1))


def anchor_change(row: Item, until: date, claimed: int | None = None) -> dict[str, Decimal | None]:
    """Return the change of the row's `anchor_day` when the renewal date moves to `until`; empty for no change.

    The new anchor is the first of four days of the month that suits a renewal on `until`: the row's own anchor, the
    anchor of the claimed period, the day of the old renewal date, the day of `until`. The row's own anchor is left out
    if the old renewal date does not fall on the anchor, since such an anchor cannot be trusted. A row with an interval
    of days or weeks keeps no anchor.

    Args:
        row: the raw attributes before the move.
        until: the new renewal date.
        claimed: the anchor with which the period before `until` was claimed, if a period was claimed.
    """
    new: Decimal | None = None
    if row.get("interval", "month") not in _COUNTED:
        was = renewal_date_of(row)
        known = (_own_anchor(row), claimed, None if was is None else was.day)
        new = Decimal(next((each for each in known if each is not None and falls_on(each, until)), until.day))
    return {} if row.get("anchor_day") == new else {"anchor_day": new}


def anchor_of_interval(row: Item, changes: Mapping[str, object]) -> dict[str, None]:
    """Return the change of `anchor_day` that an edit of the interval needs; empty for no change. The anchor is removed
    if the interval before or after the edit is days or weeks."""
    before = row.get("interval", "month")
    counted = before in _COUNTED or changes.get("interval", before) in _COUNTED
    return {"anchor_day": None} if "interval" in changes and counted and "anchor_day" in row else {}


def _own_anchor(row: Item) -> int | None:
    """Return the row's anchor if the anchor is valid and suits the row's renewal date."""
    try:
        named, current = _whole(row, "anchor_day", 1, 31, default=0), day(row, "renewal_date")
    except BadRow:
        return None
    return named if named and falls_on(named, current) else None


def renewal_date_of(row: Item) -> date | None:
    """Return the row's renewal date, whatever else is wrong with the row; None if the row has no valid date."""
    try:
        return day(row, "renewal_date")
    except BadRow:
        return None


def check_anchor(subscription: Subscription) -> None:
    """Refuse an anchor that does not suit the renewal date, because the first period would not be whole.

    Raises:
        BadRow: names `anchor_day`.
    """
    if not subscription.schedule.is_anchored or "anchor_day" not in subscription.row:
        return
    if subscription.row["anchor_day"] != subscription.schedule.anchor_day:
        raise BadRow("anchor_day", f"does not fit renewal_date, which falls on day {subscription.renewal_date.day}")


def parse(row: Item) -> Subscription:
    """Check a row, with values as boto3's deserializer gives them (str, Decimal, ...), and return the Subscription.

    Raises:
        BadRow: names the first attribute that is missing or wrong.
    """
    renewal_date = day(row, "renewal_date")
    amount, currency = _number(row, "amount"), _text(row, "currency").upper()
    currencies.minor_units(amount, currency)
    schedule = _schedule(row, renewal_date)
    return Subscription(
        subscription_id=_id(row, "subscription_id"),
        customer_id=_id(row, "customer_id"),
        status=SubscriptionStatus(_one_of(row, "status", frozenset(SubscriptionStatus))),
        renewal_date=renewal_date,
        cancel_at=day(row, "cancel_at") if "cancel_at" in row else None,
        amount=amount,
        currency=currency,
        schedule=schedule,
        catch_up=_one_of(row, "catch_up", frozenset({"latest", "each"}), default="latest"),
        plan=texts.presentable(_text(row, "plan", default="Subscription"), texts.LONGEST_PLAN),
        customer_name=texts.presentable_name(_text(row, "customer_name", default="")),
        customer_email=_text(row, "customer_email", default=""),
        locale=_text(row, "locale", default="en"),
        gateway_customer=_gateway_id(row, "gateway_customer"),
        payment_method=_gateway_id(row, "payment_method"),
        row=row,
    )


def status_of(row: Item) -> SubscriptionStatus | None:
    """Return the row's status, whatever else is wrong with the row; None if the status is missing or unknown."""
    return next((status for status in SubscriptionStatus if row.get("status") == status), None)


def status_words(stored: object) -> str:
    """Return a stored status as people read it, as "past due". A status unknown to this version is quoted."""
    known = isinstance(stored, str) and stored in SubscriptionStatus
    return str(stored).replace("_", " ") if known else f'"{stored}"'


def is_live(row: Item) -> bool:
    """Whether the row's status is active or past due, whatever else is wrong with the row."""
    status = status_of(row)
    return status is not None and status.is_live


def has_ended(row: Item) -> bool:
    """Whether the row's status is paused, canceled or unpaid, whatever else is wrong with the row."""
    status = status_of(row)
    return status is not None and status.has_ended


def is_over(row: Item, today: date) -> bool:
    """Whether the subscription has reached the end named by `cancel_at`, whatever else is wrong with the row.

    The subscription ends on the day in `cancel_at`, even if that day lies within a paid period. An active or past due
    subscription with a `renewal_date` before the end is not over yet: the periods that begin before the end are billed
    first. The row's status changes later, when the sweep handles the end.
    """
    status, end = status_of(row), str(row.get("cancel_at"))
    if not _DAY.fullmatch(end) or not ends_by(row, today):
        return False
    if status is None or status is SubscriptionStatus.CANCELED:
        return False
    # The comparison uses texts, since renewal_date may be no date. Whenever the text of renewal_date sorts before the
    # text of cancel_at, the subscription is not over, even if the text of renewal_date is no date.
    return status.has_ended or end <= str(row.get("renewal_date"))


def status_on(row: Item, today: date) -> Value:
    """Return the status to show: `canceled` for a subscription past its end, else the row's own status."""
    return SubscriptionStatus.CANCELED if is_over(row, today) else row.get("status")


def ends_by(row: Item, day: date, *, if_unreadable: bool = False) -> bool:
    """Like Subscription.ends_by, whatever else is wrong with the row.

    Texts are compared, as DynamoDB compares texts in the condition for making a payment
    (renewals.ledger.payment_steps.stands_by). With an end that is no text, DynamoDB's condition fails, as if the
    subscription ended by `day`. A caller that must agree with the condition therefore passes `if_unreadable=True`.

    if_unreadable: the answer for an end that is no text.
    """
    if "cancel_at" not in row:
        return False
    end = row["cancel_at"]
    return end <= day.isoformat() if isinstance(end, str) else if_unreadable


def _schedule(row: Item, renewal_date: date) -> Schedule:
    interval = _one_of(row, "interval", frozenset(get_args(Interval)), default="month")
    count = _whole(row, "interval_count", 1, _MOST_INTERVALS, default=1)
    anchor = _whole(row, "anchor_day", 1, 31, default=renewal_date.day)
    if not falls_on(anchor, renewal_date):  # the date was moved after the anchor was written: the date counts
        anchor = renewal_date.day
    schedule = Schedule(cast("Interval", interval), count, anchor)
    try:
        schedule.after(renewal_date)
    except OverflowError as error:
        raise BadRow("renewal_date", str(error)) from None
    return schedule


def _text(row: Mapping[str, object], field: str, *, default: str | None = None) -> str:
    value = row.get(field, default)
    if value is None:
        raise BadRow(field, "is missing")
    if not isinstance(value, str):
        raise BadRow(field, "is not a string")
    if len(value) > _LONGEST_TEXT:
        raise BadRow(field, f"is longer than {_LONGEST_TEXT} characters")
    if default is None and not value:
        raise BadRow(field, "is empty")
    return value


def _id(row: Item, field: str) -> str:
    value = _text(row, field)
    if not ID.fullmatch(value):
        raise BadRow(field, f"is not an id: {ID_FORM}")
    return value


def _gateway_id(row: Item, field: str) -> str:
    value = _text(row, field)
    if not GATEWAY_ID.fullmatch(value):
        raise BadRow(field, f"is not an id of the gateway's: {GATEWAY_ID_FORM}")
    return value


def _one_of(row: Item, field: str, allowed: frozenset[str], *, default: str | None = None) -> str:
    value = _text(row, field, default=default)
    if value not in allowed:
        raise BadRow(field, f"is none of {', '.join(sorted(allowed))}")
    return value


def day(row: Mapping[str, object], field: str) -> date:
    """Return the date of an attribute. Raises BadRow."""
    value = _text(row, field)
    try:
        found = date.fromisoformat(value) if _DAY.fullmatch(value) else None
    except ValueError:
        found = None
    if found is None or found.year < _FIRST_YEAR:
        raise BadRow(field, f"is not a date of the form YYYY-MM-DD from {_FIRST_YEAR} on")
    return found


def _number(row: Item, field: str) -> Decimal:
    value = row.get(field)
    if value is None:
        raise BadRow(field, "is missing")
    if not isinstance(value, Decimal):
        raise BadRow(field, "is not a number")
    return value


def _whole(row: Item, field: str, least: int, most: int, *, default: int) -> int:
    value = _number({field: row.get(field, Decimal(default))}, field)
    if not least <= value <= most or value % 1:  # range first: % fails for a huge Decimal
        raise BadRow(field, f"is not a whole number from {least} to {most}")
    return int(value)
