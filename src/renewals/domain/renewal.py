"""One renewal as the ledger holds it: its states, its values, and how they stand in an item."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from renewals.domain import item_values
from renewals.domain.item_values import Item, Value, storable
from renewals.domain.worded import Unknown, Worded, member

if TYPE_CHECKING:
    from renewals.domain.stored import EndingRecord, RefundRecord, RefusalRecord

INDEX_SHARDS = 16
"""Over so many hash keys, "0" to "15", what is unfinished is spread in its index."""


class Status(Worded):
    """Where a renewal stands; the picture is in renewals.ledger.table."""

    CLAIMED = "claimed", "is being charged"
    DECLINED = "declined", "the card was declined"
    ACTION_REQUIRED = "action_required", "the bank asks the customer to confirm the payment"
    PAID = "paid", "charged; its receipt is on its way"
    RECEIPTED = "receipted", "charged and receipted; its mail is on its way"
    DONE = "done", "charged, receipted and mailed"
    MAIL_FAILED = "mail_failed", "charged and receipted; the mail could not be sent"
    MAIL_UNKNOWN = "mail_unknown", "charged and receipted; whether the mail went out, nobody can tell"
    SKIPPED = "skipped", "is not billed"
    GIVEN_UP = "given_up", "given up, nothing was charged"
    FAILED = "failed", "waits for a person to look at it"


UNSETTLED = frozenset({Status.CLAIMED, Status.DECLINED, Status.ACTION_REQUIRED})
"""Neither paid nor given up: such a period comes to its end before another is claimed."""

CUT_OFF = frozenset({Status.CLAIMED, Status.PAID, Status.RECEIPTED})
"""On its way: where it is quiet, it was interrupted, and is to be taken up again."""

UNFINISHED = UNSETTLED | CUT_OFF
"""What stands in the index of unfinished work."""


class MailState(StrEnum):
    """What is known of one mail."""

    SENDING = "sending"
    SENT = "sent"
    UNKNOWN = "unknown"
    """The mail was sent or not: nobody can tell."""
    FAILED = "failed"
    """The address is at fault."""

    @property
    def is_out(self) -> bool:
        """Whether the mail is with the customer, as far as anybody knows."""
        return self in (MailState.SENT, MailState.UNKNOWN)


class MailKind(Worded):
    """What a mail tells the customer. The words complete "Mailed ...".

    A mail of a renewal is named by its kind and a number (mail_name), a reminder by its kind alone.
    """

    RECEIPT = "receipt", "the receipt"
    PAYMENT_FAILED = "payment_failed", "that the payment did not go through"
    ACTION_REQUIRED = "action_required", "that the payment waits for a confirmation"
    FINAL_NOTICE = "final_notice", "the final notice"
    CANCELED = "canceled", "that the subscription is canceled"
    UNPAID = "unpaid", "that the subscription is suspended as unpaid"
    REFUND_PENDING = "refund_pending", "that the refund is on its way"
    REFUNDED = "refunded", "the receipt of the refund"
    REFUND_FAILED = "refund_failed", "that the refund failed"
    UPCOMING = "upcoming", "the reminder of the next renewal"
    CARD_EXPIRES = "card_expires", "that the card expires before the next charge"

    @classmethod
    def of(cls, name: object) -> MailKind | Unknown:
        """The kind in the name of a renewal's mail. A name that is no text names no kind that is known."""
        return member(cls, name.rpartition("_")[0] if isinstance(name, str) else name)


def mail_name(kind: MailKind, number: int | str) -> str:
    """The name of a renewal's mail, as payment_failed_1. number: of the attempt, or of the refund."""
    return f"{kind}_{number}"


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail of a renewal, claimed before it is sent.

    token, owner: who claimed it, until when. to: the address. at: when it was sent, or found to be unknown or failed.
    The token ends with the number of times that the faults of the customer's addresses had been cleared, where they
    had: a version before reads no record of a mail that has further attributes.
    """

    state: MailState
    token: str
    owner: str
    claimed_until: datetime
    to: str
    at: datetime | None = None
    message_id: str | None = None
    reason: str | None = None

    @property
    def cleared(self) -> int | None:
        """How often the faults of the customer's addresses had been cleared when the mail was claimed
        (renewals.domain.mail_faults); None: never."""
        number = self.token.partition(".")[2]
        return int(number) if number.isdecimal() else None


def mail_token(cleared: int | None) -> str:
    """A new token, for the claim of one mail."""
    return uuid4().hex + (f".{cleared}" if cleared is not None else "")


_MOST_ENDINGS = 20


class RefundState(StrEnum):
    """Where a refund stands in the ledger; the picture is in renewals.domain.refunds."""

    CLAIMED = "claimed"
    REFUNDED = "refunded"
    FAILED = "failed"


RETURNED = "returned_"
"""An item has what SES said of a mail under this and the mail's name."""


class Flag(StrEnum):
    """What is unusual about a paid renewal, for a person to see."""

    SUBSCRIPTION_CHANGED = "subscription_changed"
    AMOUNT_DIFFERS = "amount_differs"


@dataclass(frozen=True, slots=True)
class Renewal:
    """A ledger item. What the gateway is asked and the receipt prints is fixed when the period is claimed.

    The period is [renewal_date, period_end). row_date: the subscription's own renewal_date at that moment, which is
    earlier where periods were passed over. amount: exact decimal, major units. claim: names this claim of the period.

    Dunning: first_tried_on is day zero, dunned the number of dunning dates behind it, next_attempt the next one;
    held_at: since when the last one waits for the customer to be told.
    refusals: each refused attempt, as {"attempt_1": {"at", "payment_method", "decline_code", "advice_code",
    "gateway_request_id"}}.
    gateway_request_id: the gateway's own name of the call for whose refusal the period failed.
    endings: each time that the work ended without a payment, as {"at", "status", "reason"}, oldest first: a later try
    writes over status and reason, and these stay.
    earlier_mails: the records of mails that were not sent, or nobody knows, and that were tried again since; each with
    its `name`.
    returned: what SES said of each mail after it was sent, by the mail's name; in the item under returned_<name>.
    refunds: what was refunded, as {"refund_1": {"amount", "state", "at", ...}}, see renewals.domain.refunds.
    refunds_due: when the gateway is to be asked about them, the real moment; None: the sweep has nothing to ask.
    withdrawn: why a claim that was not confirmed is being given up, from before its payment is cancelled.
    notice: the name of the mail that the customer is owed about it, kind and attempt, as payment_failed_1.
    """

    subscription_id: str
    renewal_date: date
    customer_id: str
    claim: str
    owner: str
    lease_until: datetime
    claimed_at: datetime
    row_date: date
    first_tried_on: date
    period_end: date
    amount: Decimal
    currency: str
    plan: str
    customer_name: str
    customer_email: str
    locale: str
    gateway_customer: str
    payment_method: str
    seller: Mapping[str, str]
    receipt_number: str
    anchor_day: int | None = None
    status: Status = Status.CLAIMED
    attempt: int = 1
    pickups: int = 0
    intent_tries: int = 0
    dunned: int = 0
    next_attempt: date | None = None
    refusals: Mapping[str, RefusalRecord] = field(default_factory=dict)
    refunds: Mapping[str, RefundRecord] = field(default_factory=dict)
    refunds_due: datetime | None = None
    notice: str | None = None
    mails: Mapping[str, Mail] = field(default_factory=dict)
    payment_id: str | None = None
    failure_id: str | None = None
    decline_code: str | None = None
    advice_code: str | None = None
    declined_at: datetime | None = None
    held_at: datetime | None = None
    card: str | None = None
    paid_at: datetime | None = None
    receipt_key: str | None = None
    receipt_sha256: str | None = None
    reason: str | None = None
    gateway_request_id: str | None = None
    endings: Sequence[EndingRecord] | None = None
    earlier_mails: Sequence[Item] | None = None
    returned: Mapping[str, Value] = field(default_factory=dict)
    flag: str | None = None
    withdrawn: str | None = None

    def ending(self, status: Status, reason: str, at: datetime) -> list[EndingRecord]:
        """`endings` with one more: now the work ends. Beyond twenty the oldest go."""
        now: EndingRecord = {"at": storable(at), "status": status.value, "reason": reason}
        return [*(self.endings or ()), now][-_MOST_ENDINGS:]

    def with_earlier(self, name: str) -> dict[str, object]:
        """The change that keeps the record of a mail which another is to take the place of."""
        kept: list[Item] = [*(self.earlier_mails or ()), {"name": name, **item_of(self.mails[name])}]
        return {"earlier_mails": kept[-_MOST_ENDINGS:]}

    def owned_by_another(self, execution: str, now: datetime) -> bool:
        """Whether another execution is at work on it at this moment."""
        return self.owner != execution and now < self.lease_until

    def was_claimed_for(self, day: date) -> bool:
        """Whether the period was claimed when the subscription's renewal date was this day, or passed over this day."""
        return self.row_date <= day <= self.renewal_date

    @property
    def is_paid(self) -> bool:
        """Whether the period is paid, and was not refunded whole. A refund without a result yet refunds nothing."""
        refunded = (each["amount"] for each in self.refunds.values() if each["state"] == RefundState.REFUNDED)
        return self.paid_at is not None and sum(refunded, Decimal(0)) < self.amount

    @property
    def notice_is_parked(self) -> bool:
        """Whether the mail that is owed waits for another address."""
        mail = self.mails.get(self.notice or "")
        return mail is not None and mail.state is MailState.FAILED


def item_of(of: Renewal | Mail) -> dict[str, Value]:
    """The attributes of a new item: those that have a value."""
    values: dict[str, Value] = {f.name: getattr(of, f.name) for f in fields(of)}
    item = {name: storable(value) for name, value in values.items() if value is not None}
    if isinstance(of, Renewal):
        del item["returned"]
        item |= {f"{RETURNED}{name}": said for name, said in of.returned.items()}
        item["mails"] = {name: item_of(mail) for name, mail in of.mails.items()}
        claimed_at = storable(of.claimed_at)
        item |= {"touched_at": claimed_at, "begun_at": claimed_at, "unfinished": shard(of.subscription_id)}
    return item


_DATES = ("renewal_date", "row_date", "first_tried_on", "period_end", "next_attempt")
_TIMES = ("lease_until", "claimed_at", "declined_at", "held_at", "paid_at", "refunds_due")
_WHOLE = ("anchor_day", "attempt", "pickups", "intent_tries", "dunned")


def renewal_from(item: Item) -> Renewal:
    """The period that an item holds. Raises KeyError, TypeError and ValueError where the item is none of ours.

    What cannot be read of earlier mails, and of those that came back, is left out: no renewal ends for that.
    """
    known: dict[str, Any] = {f.name: item[f.name] for f in fields(Renewal) if f.name in item}
    known |= {name: item_values.day(item, name) for name in _DATES if name in item}
    known |= {name: item_values.moment(item, name) for name in _TIMES if name in item}
    known |= {name: item_values.whole(item, name) for name in _WHOLE if name in item}
    mails = item_values.fields(item, "mails")
    known["mails"] = {name: mail_from(item_values.fields(mails, name)) for name in mails}
    said = (name for name in item if name.startswith(RETURNED) and _is_told(item, name))
    known["returned"] = {name.removeprefix(RETURNED): item[name] for name in said}
    if "earlier_mails" in item and not _is_told(item, "earlier_mails"):
        del known["earlier_mails"]
    known["status"] = Status(str(item["status"]))
    return Renewal(**known)


_OF_A_MAIL = frozenset(each.name for each in fields(Mail))


def mail_from(values: Item) -> Mail:
    """The mail that a record tells of, whatever else stands in the record. Raises as `renewal_from`."""
    known: dict[str, Any] = {name: value for name, value in values.items() if name in _OF_A_MAIL}
    known |= {name: item_values.moment(values, name) for name in ("claimed_until", "at") if name in values}
    known["state"] = MailState(item_values.text(values, "state"))
    return Mail(**known)


def passed_over_from(item: Item) -> Renewal:
    """The claim of a period that was passed over. What cannot be read of its story, since somebody wrote it by hand, is
    left out. Raises as `renewal_from`."""
    odd = {name for name in _STORY if name in item and not _is_told(item, name)}
    return renewal_from({"mails": {}, **{name: value for name, value in item.items() if name not in odd}})


def _is_told(item: Item, name: str) -> bool:
    """Whether an attribute of a story is what this system writes: records that can be read."""
    try:
        for record in _records(item, name):
            if not isinstance(record, dict):
                return False
            _STORY.get(name, _read_returned)(record)
    except (KeyError, TypeError, ValueError):
        return False
    return True


def _records(item: Item, name: str) -> Iterable[Value]:
    if name.startswith(RETURNED):
        return (item[name],)
    return item_values.several(item, name) if name in _LISTED else item_values.fields(item, name).values()


def _read_refusal(record: Item) -> None:
    item_values.moment(record, "at")


def _read_ending(record: Item) -> None:
    item_values.moment(record, "at")
    item_values.text(record, "status")
    _read_reason(record)


def _read_earlier_mail(record: Item) -> None:
    item_values.text(record, "name")
    _read_mail(record)


def _read_mail(record: Item) -> None:
    mail = mail_from(record)
    for name in ("token", "owner", "to"):
        item_values.text(record, name)
    if not isinstance(mail.reason, str | None):
        raise TypeError("reason is no text")


def _read_reason(record: Item) -> None:
    if record["reason"] is not None:
        item_values.text(record, "reason")


def _read_returned(record: Item) -> None:
    item_values.moment(record, "at")
    item_values.text(record, "kind")
    item_values.text(record, "to")
    _read_reason(record)


_STORY: Mapping[str, Callable[[Item], object]] = {
    "refusals": _read_refusal,
    "mails": _read_mail,
    "endings": _read_ending,
    "earlier_mails": _read_earlier_mail,
}
"""What was tried and told of a period, which a further claim of the period takes on, with what SES said of each mail;
and how a record in it is read."""

_LISTED = frozenset({"endings", "earlier_mails"})


def replaced(renewal: Renewal, changes: Mapping[str, object]) -> Renewal:
    names = {f.name for f in fields(Renewal)}
    known: dict[str, Any] = {name: value for name, value in changes.items() if name in names}
    return replace(renewal, **known)


def shard(subscription_id: str) -> str:
    return str(sha256(subscription_id.encode()).digest()[0] % INDEX_SHARDS)
