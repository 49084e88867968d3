"""What a refused period calls for: whether it is over, asked about today, and what the customer is told. Pure.

renewals.domain.dunning has the dates, and which declines are hard.
"""

from datetime import date

from renewals.domain import mail_faults
from renewals.domain.declines import is_hard
from renewals.domain.dunning import Dunning
from renewals.domain.payment import Payment, PaymentState
from renewals.domain.renewal import Mail, MailKind, Renewal, Status
from renewals.domain.subscription import Subscription

_WARNINGS = (MailKind.FINAL_NOTICE, MailKind.ACTION_REQUIRED)


def waits(renewal: Renewal, dunning: Dunning) -> bool:
    """Whether the last step waits until the customer was told of it."""
    return dunning.is_ending(renewal.dunned) and not _was_warned(renewal)


def is_dunning_date(renewal: Renewal, dunning: Dunning, today: date) -> bool:
    """Whether it is asked about today, whatever its card. What is held is asked about every day."""
    held = waits(renewal, dunning) and renewal.held_at is not None
    return held or renewal.next_attempt is None or renewal.next_attempt <= today


def is_pointless(renewal: Renewal, payment: Payment) -> bool:
    """Whether confirming the payment with the same card cannot help: only the customer can."""
    if renewal.status is Status.DECLINED:
        return is_hard(renewal.decline_code, renewal.advice_code)
    return payment.state is PaymentState.ACTION_REQUIRED


def is_told_in_vain(renewal: Renewal, subscription: Subscription) -> bool:
    """Whether the address that the customer has now is at fault."""
    address = mail_faults.address_of(subscription.row)
    refused = any(mail_faults.is_in_vain(mail, address) for mail in _warnings(renewal))
    return refused or mail_faults.kind(subscription.row) is mail_faults.FaultKind.BOUNCED


def next_attempt(renewal: Renewal, dunning: Dunning, today: date) -> date | None:
    """The dunning date after the attempt that was refused today; None where there is none left."""
    next_date = dunning.next_date(renewal.first_tried_on, renewal.dunned, today)
    if next_date and renewal.held_at and renewal.next_attempt:  # not before the day that was told
        next_date = max(next_date, renewal.next_attempt)
    return next_date


def notice_of(renewal: Renewal, status: Status, dunning: Dunning) -> MailKind:
    """The kind of mail that tells of a refusal."""
    if status is Status.ACTION_REQUIRED:
        return MailKind.ACTION_REQUIRED
    return MailKind.FINAL_NOTICE if dunning.is_last(renewal.dunned) else MailKind.PAYMENT_FAILED


def _warnings(renewal: Renewal) -> list[Mail]:
    """The mails of this claim that say when the payment is given up, oldest first."""
    said = [mail for name, mail in renewal.mails.items() if MailKind.of(name) in _WARNINGS]
    return sorted((m for m in said if m.claimed_until > renewal.claimed_at), key=lambda m: m.claimed_until)


def _was_warned(renewal: Renewal) -> bool:
    """Whether the last mail that says when the payment is given up went out and, as far as is known, arrived."""
    return [mail.state.is_out for mail in _warnings(renewal)][-1:] == [True]
