"""Decide when a refused period is retried, whether a retry can help, and which mail the customer gets. Pure functions.

renewals.domain.dunning knows the dunning dates; renewals.domain.declines knows the hard declines.

Decisions: D29, D30, D36 (DECISIONS.md).
"""

from datetime import date, datetime, timedelta

from process_payment.payments import asks_customer
from renewals.domain import mail_faults
from renewals.domain.attempts import is_exhausted
from renewals.domain.declines import is_hard
from renewals.domain.dunning import Dunning
from renewals.domain.payment import Payment
from renewals.domain.renewal import Mail, MailKind, Renewal, Status
from renewals.domain.subscription import Subscription

_AT_THE_BANKS_PAGE = timedelta(hours=1)
_WARNINGS = (MailKind.FINAL_NOTICE, MailKind.ACTION_REQUIRED)


def waits(renewal: Renewal, dunning: Dunning) -> bool:
    """Whether the last dunning date or the end of dunning waits, because no mail has told the customer yet on which day
    the period is given up."""
    return dunning.is_ending(renewal.dunned) and not _was_warned(renewal)


def is_dunning_date(renewal: Renewal, dunning: Dunning, today: date) -> bool:
    """Whether the period is due for a retry today, even if the payment method was not updated. A held period is due
    every day, unless no card is tried any more."""
    held = renewal.held_at is not None and waits(renewal, dunning) and not is_exhausted(renewal, today)
    return held or renewal.next_attempt is None or renewal.next_attempt <= today


def is_pointless(renewal: Renewal, payment: Payment) -> bool:
    """Whether a retry with the unchanged card is pointless: the customer must update the payment method or confirm the
    payment. While the payment stands, and without a word of the customer, nobody charges a payment that the customer
    has refused at the bank's page, or a card that was declined for good there. If the gateway itself has canceled the
    payment, the retry is a new payment, which the customer can confirm: a retry is then not pointless."""
    if renewal.status is Status.DECLINED:
        return is_hard(renewal.decline_code, renewal.advice_code)
    declined = payment.failure
    return asks_customer(payment) or (declined is not None and is_hard(declined.decline_code, declined.advice_code))


def may_be_confirming(renewal: Renewal, payment: Payment, now: datetime) -> bool:
    """Whether the customer may still be at the bank's page: the bank's question is open, and was asked within the last
    hour."""
    asked_at = renewal.challenged_at
    return payment.challenge is not None and asked_at is not None and now < asked_at + _AT_THE_BANKS_PAGE


def is_told_in_vain(renewal: Renewal, subscription: Subscription) -> bool:
    """Whether the customer's current address is at fault."""
    address = mail_faults.address_of(subscription.row)
    refused = any(mail_faults.is_in_vain(mail, address) for mail in _warnings(renewal))
    return refused or mail_faults.kind(subscription.row) is mail_faults.FaultKind.BOUNCED


def next_attempt(renewal: Renewal, dunning: Dunning, today: date) -> date | None:
    """Return the dunning date after today's refused attempt; None after the last dunning date."""
    next_date = dunning.next_date(renewal.first_tried_on, renewal.dunned, today)
    if next_date and renewal.held_at and renewal.next_attempt:  # the final notice may have named a later day
        next_date = max(next_date, renewal.next_attempt)
    return next_date


def notice_of(renewal: Renewal, status: Status, dunning: Dunning) -> MailKind:
    """Return the kind of mail that tells the customer about a refusal."""
    if status is Status.ACTION_REQUIRED:
        return MailKind.ACTION_REQUIRED
    return MailKind.FINAL_NOTICE if dunning.is_last(renewal.dunned) else MailKind.PAYMENT_FAILED


def _warnings(renewal: Renewal) -> list[Mail]:
    """Return the claim's mails that name the day on which the period is given up, oldest first."""
    said = [mail for name, mail in renewal.mails.items() if MailKind.of(name) in _WARNINGS]
    return sorted((m for m in said if m.claimed_until > renewal.claimed_at), key=lambda m: m.claimed_until)


def _was_warned(renewal: Renewal) -> bool:
    """Whether the last mail that names the day of giving up was sent and, as far as known, arrived."""
    return [mail.state.is_out for mail in _warnings(renewal)][-1:] == [True]
