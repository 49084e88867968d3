"""The content of the mails: which texts of the catalogue a mail says, with which values. Pure.

The texts stand in src/renewals/language/catalogues/mails, and the layout in `send_email.letter`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from renewals.domain import declines, refund_notices, refunds, wording
from renewals.domain.renewal import MailKind, RefundState, Status
from renewals.language import words
from send_email.letter import PLAIN, Brand, Letter, Link, line, message

if TYPE_CHECKING:
    from datetime import date
    from decimal import Decimal
    from email.message import EmailMessage

    from renewals.domain.payment import GatewayCard
    from renewals.domain.renewal import Renewal
    from renewals.domain.subscription import Subscription, SubscriptionStatus
    from renewals.language import Words

TELL_HOW_TO_CANCEL = (
    MailKind.RECEIPT,
    MailKind.PAYMENT_FAILED,
    MailKind.ACTION_REQUIRED,
    MailKind.FINAL_NOTICE,
    MailKind.UNPAID,
)
"""The mails about renewals that link to the customer page. Reminders link to the page, too."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A PDF attached to a mail. link: the address of the same PDF online; empty without an address."""

    name: str
    pdf: bytes
    link: str = ""


@dataclass(frozen=True, slots=True)
class Prospects:
    """What follows a refused payment, as the mails tell the customer.

    retry_on: the day on which the same card is tried again; None after a hard decline, or if the customer must confirm.
    ends_on: the day on which the payment is given up. The customer must act before the day, since giving up happens
    early in the morning.
    ends_as: the status of the subscription afterwards, canceled or unpaid.
    tries_new_card: whether a new card is tried at once; otherwise a new card is tried on the next dunning date.
    tries_nothing: whether no card is tried any more, because the payment has had the most attempts.
    """

    retry_on: date | None
    ends_on: date
    ends_as: SubscriptionStatus
    tries_new_card: bool = True
    tries_nothing: bool = False


def compose(
    kind: MailKind,
    renewal: Renewal,
    *,
    sender: str,
    to: str,
    prospects: Prospects | None = None,
    attachment: Attachment | None = None,
    page: str = "",
    brand: Brand = PLAIN,
) -> EmailMessage:
    """Compose a mail about a renewal. Reminders are composed by `remind`.

    Args:
        kind: the kind of the mail.
        renewal: the billing period that the mail is about.
        sender: the deliverable address that sends.
        to: the deliverable address of the customer.
        prospects: None if nothing follows, neither a further attempt nor the end of the subscription, for example after
            a payment.
        attachment: the receipt.
        page: the URL of the customer page; empty without a page.
        brand: the look of the mail.
    """
    # A renewal may owe its receipt and a mail about a refund at the same time. The mail of the receipt names the paid
    # amount, so only a mail about a refund looks at the refund.
    owed = refund_notices.owed(renewal) if kind in refund_notices.NOTICES else None
    told = _About(renewal, words(renewal.locale))
    amount = told.price(owed.refund["amount"] if owed else renewal.amount)
    letter = Letter(
        words=told.words,
        subject=told.said(f"mails.subject_{kind}", amount=amount),
        name=renewal.customer_name,
        paragraphs=told.refund(owed, attachment) if owed else told.paragraphs(kind, prospects, attachment, page),
        action=told.action(kind, prospects, attachment, page),
        facts=told.refund_facts(owed) if owed else told.facts(),
        seller=line(renewal.seller["name"]),
        notes=_how_to_cancel(told.words, page) if kind in TELL_HOW_TO_CANCEL else (),
        brand=brand,
    )
    mail = message(letter, sender, to)
    if attachment:
        mail.add_attachment(attachment.pdf, maintype="application", subtype="pdf", filename=attachment.name)
    return mail


def remind(
    subscription: Subscription,
    expiring: GatewayCard | None,
    *,
    seller: str,
    page: str,
    sender: str,
    to: str,
    brand: Brand = PLAIN,
    decline: str = "",
    may_end_trial: bool = False,
) -> EmailMessage:
    """Compose a reminder of the next renewal, or of a card that expires or was detached.

    expiring: the card; None for a reminder of the renewal. page: the URL of the customer page, or empty. decline: the
    URL by which the customer declines such reminders; empty for a reminder that cannot be declined. may_end_trial:
    whether the row looks like the row of a trial that ends with this charge.
    """
    spoken = words(subscription.locale)
    say, plan, day = spoken.say, line(subscription.plan), spoken.day(subscription.renewal_date)
    facts = [
        (say("mails.fact_plan"), plan),
        (say("mails.fact_renewal"), day),
        (say("mails.fact_amount"), spoken.money(subscription.amount, subscription.currency)),
        (say("mails.fact_subscription"), subscription.subscription_id),
    ]
    price = spoken.price(subscription.amount, subscription.currency)
    if expiring is None:
        period = spoken.days(subscription.renewal_date, subscription.schedule.after(subscription.renewal_date))
        subject = say("mails.subject_upcoming", plan=plan, day=day)
        first = say("mails.renews", plan=plan, day=day, price=price, period=period)
        paragraphs = [first, *([say("mails.trial_ends")] if may_end_trial else []), say("mails.nothing_to_do")]
    else:
        subject, card = say("mails.subject_card_expires", plan=plan, day=day), spoken.card(line(expiring.name))
        if expiring.is_detached:
            first = say("mails.card_detached", plan=plan, card=card, day=day)
            del facts[2]  # the mail promises no price
        else:
            month = spoken.month(expiring.expires)
            first = say("mails.card_expires", plan=plan, card=card, month=month, price=price, day=day)
        paragraphs = [first, say("mails.please_update")]
    letter = Letter(
        words=spoken,
        subject=subject,
        name=subscription.customer_name,
        paragraphs=paragraphs,
        action=Link(say("mails.action_update"), page) if page else None,
        facts=facts,
        seller=line(seller),
        notes=_how_to_cancel(spoken, page)
        + ((Link(say("mails.decline_link"), decline, say("mails.decline")),) * bool(decline)),
        brand=brand,
        one_click=decline,
    )
    return message(letter, sender, to)


def _how_to_cancel(spoken: Words, page: str) -> tuple[Link, ...]:
    """Say how to cancel, as card networks and laws ask of receipts, reminders and mails about failed payments."""
    return (Link(spoken.say("mails.cancel_link"), page, spoken.say("mails.cancel")),) if page else ()


class _About:
    """A renewal in the words of its customer's language."""

    def __init__(self, renewal: Renewal, spoken: Words) -> None:
        self.renewal = renewal
        self.words = spoken
        self._known = {
            "plan": line(renewal.plan),
            "price": self.price(renewal.amount),
            "paid": self.price(renewal.amount),
            "period": spoken.days(renewal.renewal_date, renewal.period_end),
        }

    def price(self, amount: Decimal) -> str:
        """Format an amount of the renewal's currency, with the currency's sign."""
        return self.words.price(amount, self.renewal.currency)

    def said(self, area_and_key: str, **values: str) -> str:
        """Return a text of the catalogue. The plan, the price and the period are known to every text."""
        return self.words.say(area_and_key, **self._known, **values)

    def paragraphs(
        self, kind: MailKind, prospects: Prospects | None, attachment: Attachment | None, page: str
    ) -> list[str]:
        """Return the text of a mail that is not about a refund."""
        match kind:
            case MailKind.RECEIPT:
                return [self.said("mails.received"), *self._attached("mails.attached_receipt", attachment)]
            case MailKind.CANCELED:
                return [self.said("mails.ended_canceled"), self.said("mails.ended_not_charged")]
            case MailKind.UNPAID:
                resume = self.said("mails.resume_page" if page else "mails.resume_contact")
                return [self.said("mails.ended_unpaid"), self.said("mails.ended_not_charged"), resume]
        return self._past_due(prospects)

    def refund(self, owed: refund_notices.Owed, attachment: Attachment | None) -> list[str]:
        """Say how much is refunded, how far the refund has come, and how much of the payment remains."""
        amount, rest = owed.refund["amount"], refunds.left(self.renewal)
        size = "whole" if amount == self.renewal.amount else "part"
        refunded, remains = self.price(amount), "mails.rest"
        match owed.kind:
            case MailKind.REFUND_PENDING:
                first = self.said(f"mails.refund_pending_{size}", refunded=refunded)
                told = [first, self.said("mails.refund_pending_then")]
            case MailKind.REFUND_FAILED:
                first = self.said(f"mails.refund_failed_{size}", refunded=refunded)
                told = [first, self._still_owed(owed, refunded)]
                remains = "mails.rest_without"
            case _:
                first = self.said(f"mails.refunded_{size}", refunded=refunded)
                told = [first, *self._attached("mails.attached_refund", attachment)]
        if rest and (size == "part" or owed.kind is MailKind.REFUND_FAILED):
            told.insert(1, self.said(remains, rest=self.price(rest)))
        return told

    def _still_owed(self, owed: refund_notices.Owed, refunded: str) -> str:
        """Say what becomes of a failed refund. The seller still owes the refund if the rest of the payment, after other
        refunds and disputes, covers the whole amount of the failed refund."""
        renewal = self.renewal
        decided = renewal.bank_has_decided
        taken = renewal.lost_to_disputes if decided else renewal.charged_back
        others = refunds.in_state(renewal, RefundState.CLAIMED, RefundState.REFUNDED)
        is_owed = owed.refund["amount"] <= renewal.amount - others - taken
        failed_by_dispute = owed.refund.get("reason") in wording.REFUND_FAILED_BY_DISPUTE
        if not decided and (failed_by_dispute or (taken and not is_owed)):
            return self.said("mails.still_disputed")
        if is_owed:
            return self.said("mails.still_owed", refunded=refunded)
        if not taken:
            return self.said("mails.still_other")
        if taken >= renewal.amount:
            return self.said("mails.still_returned")
        return self.said("mails.still_returned_part", taken=self.price(taken))

    def _attached(self, area_and_key: str, attachment: Attachment | None) -> list[str]:
        """Say how to open the receipt of the mail; nothing without a receipt."""
        if attachment is None:
            return []
        attached = self.said(area_and_key)
        return [self.words.joined(attached, self.said("mails.online")) if attachment.link else attached]

    def _past_due(self, prospects: Prospects | None) -> list[str]:
        """Say which payment was tried, why the payment failed, and the next step."""
        why = self.said(f"mails.why_{declines.why(self.renewal.decline_code)}")
        if self.renewal.status is Status.ACTION_REQUIRED:
            why = self.said("mails.why_confirm")
        return [
            self.said("mails.tried", why=why),
            self.words.joined(self.said("mails.past_due"), *self._next(prospects)),
        ]

    def _next(self, prospects: Prospects | None) -> list[str]:
        """Say the next step, the options of the customer, and the last day for the customer to act."""
        confirms = self.renewal.status is Status.ACTION_REQUIRED
        if prospects is None:
            if confirms:
                return [self.said("mails.confirm_open")]
            return [self.said("mails.not_again"), self.said("mails.update_open")]
        last, otherwise = self.words.day(prospects.ends_on), self.said(f"mails.otherwise_{prospects.ends_as}")
        ends = self.said(f"mails.ends_{prospects.ends_as}", day=last)
        if prospects.tries_nothing:
            return [ends] if confirms else [self.said("mails.not_again"), ends]
        if confirms:
            return [self.said("mails.confirm_before", day=last), otherwise, *self._instead(prospects)]
        if prospects.retry_on is None:
            if not prospects.tries_new_card:
                return [self.said("mails.not_again"), self.said("mails.update_open"), ends]
            return [self.said("mails.not_again"), self.said("mails.update_before", day=last), otherwise]
        retry, instead = self.words.day(prospects.retry_on), self._instead(prospects)
        if prospects.retry_on < prospects.ends_on:
            return [self.said("mails.again", day=retry), *instead, ends]
        return [self.said(f"mails.last_{prospects.ends_as}", day=retry), *instead]

    def _instead(self, prospects: Prospects) -> list[str]:
        """Say that a new card is tried at once; nothing if the new card waits for the next dunning date."""
        return [self.said("mails.instead")] if prospects.tries_new_card else []

    def action(
        self, kind: MailKind, prospects: Prospects | None, attachment: Attachment | None, page: str
    ) -> Link | None:
        """Return the one link that helps: to the receipt, or to the customer page after a refused payment or a
        suspension."""
        if attachment and attachment.link:
            return Link(self.said("mails.action_open"), attachment.link)
        if kind is MailKind.UNPAID and page:
            return Link(self.said("mails.action_resume"), page)
        if prospects is None or not page:
            return None
        if self.renewal.status is Status.ACTION_REQUIRED:
            return Link(self.said("mails.action_confirm"), page)
        helps = self.renewal.status is Status.DECLINED and not prospects.tries_nothing
        return Link(self.said("mails.action_update"), page) if helps else None

    def facts(self) -> list[tuple[str, str]]:
        """List the plan, the period, the amount and the ids; after a payment also its receipt and its card."""
        renewal, facts = self.renewal, self._what_for()
        facts += [self._amount("mails.fact_amount", renewal.amount), self._subscription()]
        if renewal.paid_at is not None:
            facts.append((self.said("mails.fact_receipt_number"), renewal.receipt_number))
            facts.append((self.said("mails.fact_transaction"), str(renewal.payment_id)))
            facts += [(self.said("mails.fact_paid_with"), self.words.card(renewal.card))] if renewal.card else []
        return facts

    def refund_facts(self, owed: refund_notices.Owed) -> list[tuple[str, str]]:
        """List the amount, number and transaction of the refund, and the facts of the refunded payment. Each label says
        whether the fact belongs to the refund or to the payment, for example "Amount refunded" and "Amount paid"."""
        renewal, facts = self.renewal, self._what_for()
        facts.append(self._amount(f"mails.fact_{owed.kind}", owed.refund["amount"]))
        facts += [self._amount("mails.fact_paid", renewal.amount), self._subscription()]
        if owed.kind is not MailKind.REFUND_PENDING:  # the refund has no receipt yet
            facts.append((self.said("mails.fact_refund_number"), refunds.number(renewal, owed.name)))
        facts.append((self.said("mails.fact_refund_transaction"), str(owed.refund["refund_id"])))
        facts.append((self.said("mails.fact_payment_receipt"), renewal.receipt_number))
        if renewal.card and owed.kind is MailKind.REFUNDED:
            facts.append((self.said("mails.fact_refunded_to"), self.words.card(renewal.card)))
        return facts

    def _what_for(self) -> list[tuple[str, str]]:
        return [
            (self.said("mails.fact_plan"), self._known["plan"]),
            (self.said("mails.fact_period"), self._known["period"]),
        ]

    def _amount(self, area_and_key: str, amount: Decimal) -> tuple[str, str]:
        return self.said(area_and_key), self.words.money(amount, self.renewal.currency)

    def _subscription(self) -> tuple[str, str]:
        return self.said("mails.fact_subscription"), self.renewal.subscription_id
