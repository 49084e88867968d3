"""A renewal: a claimed billing period with its states, its values and its mails. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import uuid4

from renewals.domain.item_values import Item, Value, storable
from renewals.domain.worded import Unknown, Worded, member

if TYPE_CHECKING:
    from renewals.domain.stored import DisputeRecord, DisputeStep, EndingRecord, RefundRecord, RefusalRecord


class Status(Worded):
    """The state of a renewal; renewals.ledger.table draws the transitions."""

    CLAIMED = "claimed", "is being charged"
    DECLINED = "declined", "the card was declined"
    ACTION_REQUIRED = "action_required", "the bank asks the customer to confirm the payment"
    PAID = "paid", "charged; its receipt is on its way"
    RECEIPTED = "receipted", "charged and receipted; its mail is on its way"
    DONE = "done", "charged, receipted and mailed"
    MAIL_FAILED = "mail_failed", "charged and receipted; the mail could not be sent"
    MAIL_UNKNOWN = "mail_unknown", "charged and receipted; nobody can tell whether the mail went out"
    SKIPPED = "skipped", "is not billed"
    GIVEN_UP = "given_up", "given up, nothing was charged"
    FAILED = "failed", "waits for a person to look at it"


UNSETTLED = frozenset({Status.CLAIMED, Status.DECLINED, Status.ACTION_REQUIRED})
"""States of a period that is neither paid nor given up. No further period is claimed while a period is in such a
state."""

_UNDECIDED = frozenset({"needs_response", "under_review", "appeal_needs_response", "appeal_under_review"})
_FOR_THE_CUSTOMER = frozenset({"lost", "prevented"})
_DECIDED = _FOR_THE_CUSTOMER | {"won"}
"""The states of a dispute: before the bank's decision; after a decision for the customer; after any decision.
renewals.domain.disputes has the spellings."""

CUT_OFF = frozenset({Status.CLAIMED, Status.PAID, Status.RECEIPTED})
"""States of work in progress. A renewal that rests in such a state was interrupted, and must be resumed."""

UNFINISHED = UNSETTLED | CUT_OFF
"""Renewals in these states are listed in the index of unfinished renewals."""


class MailState(StrEnum):
    """The known state of a mail."""

    SENDING = "sending"
    SENT = "sent"
    UNKNOWN = "unknown"
    """Nobody can tell whether the mail was sent."""
    FAILED = "failed"
    """The address is at fault."""

    @property
    def is_out(self) -> bool:
        """Whether the mail is with the customer, as far as anybody knows."""
        return self in (MailState.SENT, MailState.UNKNOWN)


class MailKind(Worded):
    """The message of a mail to the customer. The words complete "Mailed ...".

    The mail of a renewal is named by its kind and a number (mail_name), a reminder and the confirmation of a change by
    their kinds alone.
    """

    RECEIPT = "receipt", "the receipt"
    PAYMENT_FAILED = "payment_failed", "the notice that the payment did not go through"
    ACTION_REQUIRED = "action_required", "the request to confirm the payment"
    FINAL_NOTICE = "final_notice", "the final notice"
    CANCELED = "canceled", "the notice that the subscription is canceled"
    UNPAID = "unpaid", "the notice that the subscription is suspended as unpaid"
    REFUND_PENDING = "refund_pending", "the notice that the refund is on its way"
    REFUNDED = "refunded", "the receipt of the refund"
    REFUND_FAILED = "refund_failed", "the notice that the refund failed"
    UPCOMING = "upcoming", "the reminder of the next renewal"
    CARD_EXPIRES = "card_expires", "the request to update the card before the next charge"
    SIGN_UP = "sign_up", "the confirmation of the sign-up"
    CANCELLATION = "cancellation", "the confirmation of the cancellation"
    RESUMPTION = "resumption", "the confirmation of the resumption"
    CHANGED_TERMS = "changed_terms", "the confirmation of the new price, plan or interval"
    NEW_CARD = "new_card", "the confirmation of the new payment method"
    ENDED_BY_DISPUTE = "ended_by_dispute", "the notice that the subscription ends because of a chargeback"
    ACCOUNT_LINK = "account_link", "the link to the customer page"
    CANCELLATION_DECLARED = "cancellation_declared", "the receipt of a cancellation that a person must look at"
    WITHDRAWAL_DECLARED = "withdrawal_declared", "the receipt of a withdrawal"

    @classmethod
    def of(cls, name: object) -> MailKind | Unknown:
        """Return the kind in the name of a renewal's mail. A name that is no text yields an unknown kind."""
        return member(cls, name.rpartition("_")[0] if isinstance(name, str) else name)


def mail_name(kind: MailKind, number: int | str) -> str:
    """Return the name of a renewal's mail, as payment_failed_1. number: of the attempt, or of the refund."""
    return f"{kind}_{number}"


# Without a repr, a function starts faster, and no message can show the personal data by accident.
@dataclass(frozen=True, slots=True, repr=False)
class Mail:
    """The record of a renewal's mail, claimed before the mail is sent.

    Attributes:
        token: the claim's token. Once faults of the customer's addresses have been cleared, the token ends with the
            number of clearings. The number has no attribute of its own, because an earlier version cannot read a record
            with further attributes.
        owner: the execution that claimed the mail.
        claimed_until: the end of the claim.
        to: the address.
        at: when the mail was sent, or found to be unknown or failed.
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
        """How often the faults of the customer's addresses had been cleared before the mail was claimed
        (renewals.domain.mail_faults); None if never."""
        number = self.token.partition(".")[2]
        return int(number) if number.isdecimal() else None


def mail_token(cleared: int | None) -> str:
    """Return a new token for the claim of a mail."""
    return uuid4().hex + (f".{cleared}" if cleared is not None else "")


_MOST_ENDINGS = 20


class RefundState(StrEnum):
    """The state of a refund in the ledger; renewals.domain.refunds draws the transitions."""

    CLAIMED = "claimed"
    REFUNDED = "refunded"
    FAILED = "failed"


class Flag(StrEnum):
    """An unusual fact about a paid renewal, for a person to look at."""

    SUBSCRIPTION_CHANGED = "subscription_changed"
    AMOUNT_DIFFERS = "amount_differs"


@dataclass(frozen=True, slots=True, repr=False)  # as for Mail
class Renewal:
    """An item of the ledger: a claimed billing period, [renewal_date, period_end).

    The values sent to the gateway and printed on the receipt are fixed when the period is claimed.

    Attributes:
        claim: the id of this claim of the period.
        row_date: the subscription's own renewal date at the claim, earlier than renewal_date if periods were passed
            over.
        amount: exact decimal, in major units.
        first_tried_on: day zero of dunning.
        dunned: the number of dunning dates that have passed.
        next_attempt: the next dunning date.
        held_at: since when the last dunning date waits, because the customer has not been told yet that dunning ends.
        challenged_at: when the customer was last sent to the bank's page to confirm the payment.
        closed_at: when the payment that the customer should confirm was seen to be canceled at the gateway: the
            customer can confirm nothing any more. None again from the next attempt on.
        refusals: the refused attempts, as {"attempt_1": {"at", "payment_method", "decline_code", "advice_code",
            "gateway_request_id"}}.
        gateway_request_id: the gateway's own id of the call whose refusal made the period fail.
        endings: each time that the renewal failed or was given up, as {"at", "status", "reason"}, oldest first. A later
            try overwrites status and reason; the endings stay.
        earlier_mails: the records, with `name`, of mails that failed or have an unknown result, and were tried again.
        returned: SES's news of a mail after sending, by the mail's name; the item uses the attributes returned_<name>.
        refunds: the refunds, as {"refund_1": {"amount", "state", "at", ...}}; see renewals.domain.refunds.
        refunds_due: when to ask the gateway about the refunds, in real time even for a subscription on a test clock;
            None if the sweep need not ask.
        disputes: the disputes of the payment, by the gateway's id; see renewals.domain.disputes. None without any.
        withdrawn: why the period must no longer be charged; set before the payment of the claim is canceled at the
            gateway.
        notice: the name of the mail owed to the customer, made of kind and number, as payment_failed_1.
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
    challenged_at: datetime | None = None
    closed_at: datetime | None = None
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
    disputes: Mapping[str, DisputeRecord] | None = None

    def ending(self, status: Status, reason: str, at: datetime) -> list[EndingRecord]:
        """Return `endings` with an ending at the moment `at` added. Only the latest twenty endings are kept."""
        now: EndingRecord = {"at": storable(at), "status": status.value, "reason": reason}
        return [*(self.endings or ()), now][-_MOST_ENDINGS:]

    def owned_by_another(self, execution: str, now: datetime) -> bool:
        """Whether a different execution is working on the renewal now."""
        return self.owner != execution and now < self.lease_until

    def was_claimed_for(self, day: date) -> bool:
        """Whether the period was claimed while the subscription's renewal date was `day`, or passed over `day`."""
        return self.row_date <= day <= self.renewal_date

    @property
    def is_paid(self) -> bool:
        """Whether the period is paid and not fully refunded. A refund without a result does not count."""
        refunded = (each["amount"] for each in self.refunds.values() if each["state"] == RefundState.REFUNDED)
        return self.paid_at is not None and sum(refunded, Decimal(0)) < self.amount

    @property
    def charged_back(self) -> Decimal:
        """The money that banks have taken back by disputes, and have not returned."""
        return sum(map(_kept_by_bank, self._disputes_now), Decimal(0))

    @property
    def lost_to_disputes(self) -> Decimal:
        """The part of `charged_back` that the customer keeps, by the bank's decision. The bank may still return the
        money of every other dispute, for example of a won dispute."""
        lost = (step for step in self._disputes_now if step["status"] in _FOR_THE_CUSTOMER)
        return sum(map(_kept_by_bank, lost), Decimal(0))

    @property
    def is_contested(self) -> bool:
        """Whether the bank has not decided yet about a dispute of the payment. An inquiry and a suspicion do not
        count."""
        return any(step["status"] in _UNDECIDED for step in self._disputes_now)

    @property
    def bank_has_decided(self) -> bool:
        """Whether the bank has decided about a dispute of the payment, and has no other dispute to decide about."""
        return any(step["status"] in _DECIDED for step in self._disputes_now) and not self.is_contested

    @property
    def _disputes_now(self) -> list[DisputeStep]:
        return [each["steps"][-1] for each in (self.disputes or {}).values()]

    @property
    def notice_is_parked(self) -> bool:
        """Whether the owed mail waits for a new address."""
        mail = self.mails.get(self.notice or "")
        return mail is not None and mail.state is MailState.FAILED


def _kept_by_bank(step: DisputeStep) -> Decimal:
    return step.get("withdrawn", Decimal(0)) - step.get("reinstated", Decimal(0))
