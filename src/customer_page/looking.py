"""What the pages show of a subscription: its state, the next charge, and what the customer may change.

A row with a fault is shown as far as it can be read, and can be canceled in spite of the fault.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from functools import cache
from itertools import islice

from renewals.domain import disputes, pauses, refunds, reminders, subscription, transitions
from renewals.domain.attempts import is_exhausted
from renewals.domain.changes import CUSTOMER, ChangeKind, may_lack, may_tell
from renewals.domain.declines import is_hard
from renewals.domain.dunning import Dunning
from renewals.domain.errors import BadRow
from renewals.domain.item_values import Item, text
from renewals.domain.payment import GatewayCard
from renewals.domain.preview import NextCharge
from renewals.domain.renewal import RefundState, Renewal, Status
from renewals.domain.renewal_history import History
from renewals.domain.renewal_items import renewal_from
from renewals.domain.subscription import Subscription, SubscriptionStatus
from renewals.domain.transitions import Standing
from renewals.ledger import forecast
from renewals.ledger.customer_changes import UNREADABLE, Reader, cancellation, history_of, reading
from renewals.ledger.register import Register
from renewals.ledger.steps import Row

_RECEIPTS_FROM_PERIODS = 24
_MOST_PAGES_OF_RECEIPTS = 10
"""The most pages of the ledger that are read. Periods that were passed over have no receipt, and may fill whole pages:
a daily subscription that stood still for a month has 30 such periods."""
_PAGE = 200
_OWES = (Standing.ACTIVE, Standing.ENDING, Standing.PAST_DUE)
"""The states of a row whose refused payment is tried again. The row is active if somebody has resumed the subscription
since the refusal, or has written the status by hand."""


class State(StrEnum):
    """The state of a subscription, as customers read it; each state has words."""

    ACTIVE = "active"
    ENDING = "ending"
    ENDS_LATER = "ends_later"
    """Active until an end that is set already; before this end, at least one more period is charged."""
    PAST_DUE = "past_due"
    ACTION_REQUIRED = "action_required"
    CARD_REFUSED = "card_refused"
    PAUSED = "paused"
    UNPAID = "unpaid"
    CANCELED = "canceled"
    ENDED = "ended"
    UNKNOWN = "unknown"


class OpenPayment(StrEnum):
    """What is open of the latest payment, as far as a cancellation is concerned."""

    NONE = "none"
    SETTLING = "settling"
    """The payment has no result yet."""
    AT_THE_BANK = "at_the_bank"
    """The customer was sent to the bank's page, and the ledger does not know the answer."""
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class ListedReceipt:
    """A receipt of a payment, or of a refund. name: as in receipt_links; empty for a payment."""

    period: Item
    name: str
    number: str
    on: date
    amount: Decimal
    currency: str


@dataclass(frozen=True, slots=True)
class Seen:
    """A subscription as its customer sees it.

    Attributes:
        checked: the checked row; None for a row with a fault.
        charge: the next charge; None if no charge follows, or if the row has a fault.
        settling: the period whose payment has no result yet.
        refused: the period whose payment was refused and will be given up.
        tries_new_card: whether the payment method was updated since the refusal, and the new card is tried at once.
        open_payment: what is open of the latest payment.
        retry_on: the next day on which a card may be tried for the refused payment; None without such a day.
        gives_up_on: the day on which the refused payment is given up.
        ends_as: what the subscription becomes on that day.
        card: the card, as far as it is known.
        paid_until: the first day after the paid days; None without a paid day.
        can_cancel: whether the customer may cancel the subscription.
        can_resume: whether the customer may resume the subscription.
    """

    row: Row
    today: date
    state: State
    checked: Subscription | None
    charge: NextCharge | None
    settling: Renewal | None
    refused: Renewal | None
    tries_new_card: bool
    open_payment: OpenPayment
    retry_on: date | None
    gives_up_on: date | None
    ends_as: SubscriptionStatus
    card: GatewayCard | None
    paid_until: date | None
    can_cancel: bool
    can_resume: bool

    @property
    def ends_on(self) -> date | None:
        """The day on which the subscription ends, or has ended; None if no day is known."""
        for name in ("cancel_at", subscription.ENDED_ON):
            try:
                return subscription.day(self.row, name)
            except BadRow:
                continue
        return None

    @property
    def being_charged(self) -> Renewal | None:
        """The period whose payment is being made: the payment has no result yet, or the new card is tried at once."""
        return self.settling or (self.refused if self.tries_new_card else None)

    @property
    def can_change_card(self) -> bool:
        """Whether the subscription can have another card."""
        standing = transitions.state(self.row, self.today)
        return standing not in (None, Standing.CANCELED, Standing.ENDED)

    @property
    def card_fails(self) -> bool:
        """Whether the known card cannot be charged on the day of the next charge."""
        return bool(self.card and self.charge and reminders.must_be_updated(self.card, self.charge.on))


def look(register: Register, row: Row, today: date, dunning: Dunning) -> Seen:
    """Look at a subscription. The history is read once."""
    read = cache(lambda: history_of(register, row))
    try:
        history = read()
    except BadRow:
        history = History()
    settling = _settling(history)
    owes = transitions.state(row, today) in _OWES
    refused = history.unsettled if settling is None and owes else None
    checked = _checked(row)
    has_new_card = bool(refused and checked and refused.payment_method != checked.payment_method)
    can_cancel = _can_cancel(register, row, today, read)
    return Seen(
        row=row,
        today=today,
        state=_state(row, today, refused, has_new_card=has_new_card, can_cancel=can_cancel),
        checked=checked,
        charge=_next_charge(register, row, today, read) if checked else None,
        settling=settling,
        refused=refused,
        tries_new_card=has_new_card and refused is not None and _is_tried(refused, today, dunning),
        open_payment=_open_payment(history),
        retry_on=dunning.retry_on(refused, today) if refused is not None else None,
        gives_up_on=_gives_up_on(refused, dunning),
        ends_as=dunning.ends_as,
        card=reminders.known_card(checked) if checked else None,
        paid_until=history.paid_until,
        can_cancel=can_cancel,
        can_resume=_resumption(register, row, today, read) is not None,
    )


def receipts(register: Register, row: Row) -> Iterator[ListedReceipt]:
    """Return the receipts of the latest periods of the row's customer, newest first. The subscription may have had a
    different customer before, whose receipts are not shown."""
    for item in islice(_claimed_periods(register, row), _RECEIPTS_FROM_PERIODS):
        if item.get("customer_id") != row["customer_id"]:
            continue
        with suppress(*UNREADABLE):  # the receipts of the other periods are shown
            yield from list(_receipts_of(item))


def _claimed_periods(register: Register, row: Row) -> Iterator[Item]:
    """Return the latest periods that were not passed over, newest first."""
    before: str | None = None
    for _ in range(_MOST_PAGES_OF_RECEIPTS):
        items, before = register.ledger.page(text(row, "subscription_id"), limit=_RECEIPTS_FROM_PERIODS, before=before)
        yield from (item for item in items if item.get("status") != Status.SKIPPED)
        if before is None:
            return


def _receipts_of(item: Item) -> Iterator[ListedReceipt]:
    renewal = renewal_from(item)
    for name, refund in reversed(refunds.in_order(renewal.refunds)):
        if "receipt_key" in refund and refund["state"] != RefundState.FAILED:
            on = date.fromisoformat(refund["at"][:10])
            number = refunds.number(renewal, name)
            yield ListedReceipt(item, name, number, on, refund["amount"], renewal.currency)
    if renewal.receipt_key is not None and renewal.paid_at is not None:
        number, on = str(renewal.receipt_number), renewal.paid_at.date()
        yield ListedReceipt(item, "", number, on, renewal.amount, renewal.currency)


def tries_new_card(register: Register, row: Row, today: date, dunning: Dunning) -> bool:
    """Whether a card that the customer has just saved is tried at once, if a payment is due or past due."""
    try:
        unsettled = history_of(register, row).unsettled
    except BadRow:
        return False
    return unsettled is None or unsettled.status is Status.CLAIMED or _is_tried(unsettled, today, dunning)


def _is_tried(refused: Renewal, today: date, dunning: Dunning) -> bool:
    """Whether a new card is tried today. After many refusals, the new card waits for the next dunning date."""
    is_date = refused.next_attempt is None or refused.next_attempt <= today
    return dunning.tries_new_card(refused, today) or (is_date and not is_exhausted(refused, today))


def open_payment(register: Register, row: Row) -> OpenPayment:
    """Return what is open of the latest payment. Raises BadRow."""
    return _open_payment(history_of(register, row))


def resumption_of(register: Register, row: Row, today: date) -> Mapping[str, str] | None:
    """Return the attributes that a resumption by the customer sets beside the status; None if the customer may not
    resume the subscription.

    Of the ends that are set, customers take back only their own: an end that the seller or a dispute has set stands. A
    customer's own end stands too if a chargeback came later: the chargeback has set no end, because one was set. If
    the customer's cancellation has brought an earlier set end forward, the resumption sets that end again.
    """
    return _resumption(register, row, today, lambda: history_of(register, row))


def _resumption(register: Register, row: Row, today: date, read: Reader) -> Mapping[str, str] | None:
    standing = transitions.state(row, today)
    if standing is Standing.ENDING:
        return _end_before_cancellation(register, row, read)
    return {} if standing in (Standing.PAUSED, Standing.UNPAID) else None


def _end_before_cancellation(register: Register, row: Row, read: Reader) -> Mapping[str, str] | None:
    """Return the `cancel_at` that the customer's own cancellation has replaced, empty without one; None if the row's
    end was set by somebody else, or nobody knows by whom, or a payment was charged back since."""
    changes, unreadable, complete = register.changes.readable(text(row, "subscription_id"))
    if unreadable:
        return None
    last = max((each for each in changes if "cancel_at" in each.details), key=lambda each: each.at, default=None)
    if last is None or (last.by, last.what) != (CUSTOMER, ChangeKind.ENDING):
        return None
    if not complete and may_lack(changes, unreadable, last.at):
        return None
    before, end = last.details["cancel_at"]
    if end != row["cancel_at"] or _is_charged_back(read, last.at):
        return None
    return {"cancel_at": before} if isinstance(before, str) else {}


def _is_charged_back(read: Reader, since: datetime) -> bool:
    """Whether a bank has charged a payment back since a moment. A ledger that cannot be read counts as such."""
    try:
        records = [record for period in read() for record in (period.disputes or {}).values()]
        return any(disputes.is_charged_back_since(record, since) for record in records)
    except (BadRow, *UNREADABLE):
        return True


def resumed_since(register: Register, row: Row, since: datetime) -> int:
    """Return how often the customer may have resumed the subscription since a moment.

    A record that was written by hand and cannot be read counts as a resumption, unless the record names a different
    change or the key tells an earlier time. If the list of the latest changes may lack a change since the moment, every
    change in the list counts as a resumption.
    """
    changes, unreadable, complete = register.changes.readable(text(row, "subscription_id"))
    if not complete and may_lack(changes, unreadable, since):
        return len(changes)
    resumed = (each for each in changes if (each.by, each.what) == (CUSTOMER, ChangeKind.RESUMED))
    return sum(each.at > since for each in resumed) + sum(
        may_tell(each, ChangeKind.RESUMED, since) for each in unreadable
    )


def _can_cancel(register: Register, row: Row, today: date, read: Reader) -> bool:
    try:
        return cancellation(register, row, today, read) is not None
    except BadRow:  # the page of the cancellation asks the customer to write to the seller
        return True


@reading
def charge_if_resumed(register: Register, row: Row, today: date, given: Mapping[str, str]) -> NextCharge | None:
    """Return the next charge if the customer resumed now; None if no charge would follow. Raises BadRow.

    given: the attributes that the resumption sets, as resumption_of returns them.
    """
    standing = transitions.state(row, today)
    resumed: dict[str, object] = {**row, "status": SubscriptionStatus.ACTIVE}
    if standing is Standing.ENDING:
        resumed |= {"cancel_at": None, **given}
    elif standing is Standing.PAUSED:
        checked = subscription.parse(row)
        history = register.ledger.history(checked.subscription_id, checked.customer_id)
        items, _ = register.ledger.page(checked.subscription_id, limit=_PAGE)
        until = pauses.resumption(checked, today, history, items).until
        anchor = subscription.anchor_change(row, until)
        resumed |= {"renewal_date": until.isoformat(), **anchor, pauses.NOTE: None}
    known = {name: value for name, value in resumed.items() if value is not None}
    return next(iter(forecast.next_charges(register.ledger, known, today, 1).charges), None)  # type: ignore[arg-type]


def end_if_resumed(row: Row, today: date, given: Mapping[str, str]) -> date | None:
    """Return the end that stays set if the customer resumes now, with `given` as in charge_if_resumed. Raises
    BadRow."""
    stays = given if transitions.state(row, today) is Standing.ENDING else row
    return subscription.day(stays, "cancel_at") if "cancel_at" in stays else None


def _settling(history: History) -> Renewal | None:
    unsettled = history.unsettled
    return unsettled if unsettled is not None and unsettled.status is Status.CLAIMED else None


def _open_payment(history: History) -> OpenPayment:
    unsettled = history.unsettled
    if unsettled is None:
        return OpenPayment.NONE
    if unsettled.status is Status.CLAIMED:
        return OpenPayment.SETTLING
    asks = unsettled.status is Status.ACTION_REQUIRED and unsettled.closed_at is None
    is_asked = asks and unsettled.challenged_at is not None
    return OpenPayment.AT_THE_BANK if is_asked else OpenPayment.REFUSED


def _checked(row: Row) -> Subscription | None:
    try:
        return subscription.parse(row)
    except BadRow:
        return None


@reading
def _first_charge(register: Register, row: Row, today: date, read: Reader) -> NextCharge | None:
    return next(iter(forecast.next_charges(register.ledger, row, today, 1, read()).charges), None)


def _next_charge(register: Register, row: Row, today: date, read: Reader) -> NextCharge | None:
    try:
        return _first_charge(register, row, today, read)
    except BadRow:
        return None


def _state(row: Row, today: date, refused: Renewal | None, *, has_new_card: bool, can_cancel: bool) -> State:
    standing = transitions.state(row, today)
    if standing is None:
        return State.UNKNOWN
    if refused is None:
        return State.ENDS_LATER if standing is Standing.ENDING and can_cancel else State(standing)
    if has_new_card:  # the new card will be tried, and nothing of the old refusal counts
        return State.PAST_DUE
    if refused.status is Status.ACTION_REQUIRED:
        return State.PAST_DUE if refused.closed_at is not None else State.ACTION_REQUIRED
    return State.CARD_REFUSED if is_hard(refused.decline_code, refused.advice_code) else State.PAST_DUE


def _gives_up_on(refused: Renewal | None, dunning: Dunning) -> date | None:
    if refused is None or refused.next_attempt is None:
        return None
    return dunning.ends_on(refused.first_tried_on, refused.dunned, refused.next_attempt)
