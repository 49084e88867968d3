"""The words of the mails, in HTML and plain text. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from email.headerregistry import Address, BaseHeader, HeaderRegistry
from email.message import EmailMessage
from email.policy import SMTP
from functools import cache
from html import escape
from typing import TYPE_CHECKING

from renewals.domain import declines, printable, refund_notices, refunds, wording
from renewals.domain.renewal import MailKind, RefundState, Status
from renewals.domain.subscription import SubscriptionStatus

if TYPE_CHECKING:
    from datetime import date

    from renewals.domain.payment import GatewayCard
    from renewals.domain.renewal import Renewal
    from renewals.domain.subscription import Subscription


class _Headers(HeaderRegistry):
    """Python's registry of header classes, with a cache. Without the cache, Python makes a new class for every header,
    and spends a tenth of the time of composing a mail on the classes."""

    @cache  # noqa: B019  (there is one registry)
    def __getitem__(self, name: str) -> type[BaseHeader]:
        made: type[BaseHeader] = super().__getitem__(name)
        return made


# Some servers do not relay mail with eight-bit characters. A mail encoded in seven bits passes through every server.
_POLICY = SMTP.clone(cte_type="7bit", header_factory=_Headers())

_SUBJECTS = {
    MailKind.RECEIPT: "Receipt for {plan}: {amount}",
    MailKind.PAYMENT_FAILED: "Your payment for {plan} did not go through",
    MailKind.ACTION_REQUIRED: "Please confirm your payment for {plan}",
    MailKind.FINAL_NOTICE: "Final notice: your payment for {plan} is past due",
    MailKind.CANCELED: "Your subscription to {plan} is canceled",
    MailKind.UNPAID: "Your subscription to {plan} is suspended",
    MailKind.REFUNDED: "Refund for {plan}: {amount}",
    MailKind.REFUND_PENDING: "Your refund for {plan} is on its way: {amount}",
    MailKind.REFUND_FAILED: "Your refund for {plan} did not arrive: {amount}",
}
_UPDATE = "Update your payment method"
_ENDS = {SubscriptionStatus.CANCELED: "canceled", SubscriptionStatus.UNPAID: "suspended"}


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
    ends_as: the status of the subscription afterwards, canceled or unpaid. page: the URL of the customer page; empty
    without a page.
    """

    retry_on: date | None
    ends_on: date
    ends_as: SubscriptionStatus
    page: str = ""


def compose(
    kind: MailKind,
    renewal: Renewal,
    *,
    sender: str,
    to: str,
    prospects: Prospects | None = None,
    attachment: Attachment | None = None,
) -> EmailMessage:
    """Compose a mail about a renewal. Reminders are composed by `remind`.

    sender, to: deliverable addresses. prospects: None if nothing follows, neither a further attempt nor the end of the
    subscription, for example after a payment.
    """
    # A renewal may owe its receipt and a mail about a refund at the same time. The mail of the receipt names the paid
    # amount, so only a mail about a refund looks at the refund.
    owed = refund_notices.owed(renewal) if kind in refund_notices.NOTICES else None
    amount = wording.price(owed.refund["amount"] if owed else renewal.amount, renewal.currency)
    subject = _SUBJECTS[kind].format(plan=_line(renewal.plan), amount=amount)
    if kind is MailKind.RECEIPT:
        paragraphs = [
            f"Thank you. We have received your payment of {_what(renewal)}.",
            *_attached("receipt", attachment),
        ]
    elif owed is not None:
        paragraphs = _refund(renewal, owed, attachment)
    elif kind in (MailKind.CANCELED, MailKind.UNPAID):
        ended = _ENDS[SubscriptionStatus(kind)]
        paragraphs = [
            f"Your payment of {_what(renewal)} did not go through. Your subscription is now {ended}.",
            "You have not been charged for this period. We have canceled the payment: it can no longer be charged.",
        ]
    else:
        paragraphs = _past_due(renewal, prospects)
    link = ("Open the receipt", attachment.link) if attachment and attachment.link else _link(renewal, prospects)
    facts = _refund_facts(renewal, owed) if owed else _facts(renewal)
    letter = _Letter(subject, renewal.customer_name, paragraphs, link, facts, _line(renewal.seller["name"]))
    message = _message(letter, sender, to)
    if attachment:
        message.add_attachment(attachment.pdf, maintype="application", subtype="pdf", filename=attachment.name)
    return message


_PLEASE_UPDATE = "Please update your payment method before that day, so that the payment can go through."


def remind(
    subscription: Subscription, expiring: GatewayCard | None, *, seller: str, page: str, sender: str, to: str
) -> EmailMessage:
    """Compose a reminder of the next renewal, or of a card that expires or was detached.

    expiring: the card; None for a reminder of the renewal. page: the URL of the customer page, or empty.
    """
    plan, day = _line(subscription.plan), wording.day(subscription.renewal_date)
    facts = [
        ("Plan", plan),
        ("Renewal", day),
        ("Amount", _amount(subscription)),
        ("Subscription", subscription.subscription_id),
    ]
    price = wording.price(subscription.amount, subscription.currency)
    subject = f"Your subscription to {plan} renews on {day}"
    paragraphs = [
        f"Your subscription to {plan} renews on {day}. On that day we will charge {price} for the period "
        f"{wording.days(subscription.renewal_date, subscription.schedule.after(subscription.renewal_date))}.",
        "You do not need to do anything, as long as your payment method is up to date.",
    ]
    if expiring is not None:
        subject = f"Please update your card for {plan} before {day}"
    if expiring is not None and not expiring.is_detached:
        paragraphs = [
            f"The card for your subscription to {plan}, {_line(expiring.name)}, is valid until the end of "
            f"{wording.month(expiring.expires)}. Your next payment is due after that: {price} on {day}.",
            _PLEASE_UPDATE,
        ]
    elif expiring is not None:
        paragraphs = [
            f"The card for your subscription to {plan}, {_line(expiring.name)}, is not saved for your account any "
            f"more, so we cannot charge this card. Your next payment is due on {day}.",
            _PLEASE_UPDATE,
        ]
        facts.remove(("Amount", _amount(subscription)))  # the mail promises no price
    linked = (_UPDATE, page) if page else None
    return _message(_Letter(subject, subscription.customer_name, paragraphs, linked, facts, _line(seller)), sender, to)


@dataclass(frozen=True, slots=True)
class _Letter:
    """The content of a mail. name: the customer's name. link: the label and the URL. facts: names and values."""

    subject: str
    name: str
    paragraphs: list[str]
    link: tuple[str, str] | None
    facts: list[tuple[str, str]]
    seller: str


def _message(letter: _Letter, sender: str, to: str) -> EmailMessage:
    message = EmailMessage(policy=_POLICY)
    message["Subject"] = _subject(letter.subject)
    message["From"] = Address(_display_name(letter.seller), addr_spec=sender)
    message["To"] = Address(_display_name(letter.name), addr_spec=to)
    message.set_content(_text(letter))
    message.add_alternative(_html(letter), subtype="html")
    return message


def _refund(renewal: Renewal, owed: refund_notices.Owed, attachment: Attachment | None) -> list[str]:
    """Say how much is refunded, how far the refund has come, and how much of the payment remains."""
    amount, rest = owed.refund["amount"], refunds.left(renewal)
    refunded, paid = (wording.price(each, renewal.currency) for each in (amount, renewal.amount))
    of = f" of the {paid} that you paid" if amount != renewal.amount else ""
    what = f"{refunded}{of} for {_for_period(renewal)}"
    remains = f"After refunds, your payment for this period is {wording.price(rest, renewal.currency)}."
    match owed.kind:
        case MailKind.REFUND_PENDING:
            told = [
                f"We are refunding {what}. The refund is on its way to the payment method that you paid with, and may "
                "take several days to arrive.",
                "We will email you again when the refund is complete, with a receipt, or if the refund fails.",
            ]
        case MailKind.REFUND_FAILED:
            told = [
                f"Our refund of {what} has failed. The money did not reach the payment method that you paid with.",
                _still_owed(renewal, owed, refunded),
            ]
            remains = f"Without this refund, your payment for this period is {wording.price(rest, renewal.currency)}."
        case _:
            told = [
                f"We have refunded {what}. The money goes to the payment method that you paid with, and may take "
                "several days to appear there.",
                *_attached("receipt for the refund", attachment),
            ]
    if rest and (amount != renewal.amount or owed.kind is MailKind.REFUND_FAILED):
        told.insert(1, remains)
    return told


def _still_owed(renewal: Renewal, owed: refund_notices.Owed, refunded: str) -> str:
    """Say what becomes of a failed refund. The seller still owes the refund if the rest of the payment, after other
    refunds and disputes, covers the whole amount of the failed refund."""
    decided = renewal.bank_has_decided
    taken = renewal.lost_to_disputes if decided else renewal.charged_back
    others = refunds.in_state(renewal, RefundState.CLAIMED, RefundState.REFUNDED)
    is_owed = owed.refund["amount"] <= renewal.amount - others - taken
    failed_by_dispute = owed.refund.get("reason") in wording.REFUND_FAILED_BY_DISPUTE
    if not decided and (failed_by_dispute or (taken and not is_owed)):
        return "You have disputed this payment with your bank. Your bank now decides about the money."
    if is_owed:
        return f"We still owe you {refunded}, and will arrange another way to refund you."
    if not taken:
        return "We have made another refund of this payment since."
    part = "" if taken >= renewal.amount else f"{wording.price(taken, renewal.currency)} of "
    return f"Your bank has returned {part}the payment to you."


def _attached(name: str, attachment: Attachment | None) -> list[str]:
    """Say how to open the receipt of the mail; nothing without a receipt."""
    if attachment is None:
        return []
    online = " You can also open it online." if attachment.link else ""
    return [f"Your {name} is attached to this email as a PDF.{online}"]


def _refund_facts(renewal: Renewal, owed: refund_notices.Owed) -> list[tuple[str, str]]:
    """List the amount, number and transaction of the refund, and the facts of the refunded payment. Each name says
    whether the fact belongs to the refund or to the payment, for example "Amount refunded" and "Amount paid"."""
    amount = wording.money(owed.refund["amount"], renewal.currency)
    names = {MailKind.REFUND_PENDING: "Refund on its way", MailKind.REFUND_FAILED: "Failed refund"}
    facts = [
        ("Plan", _line(renewal.plan)),
        ("Period", wording.days(renewal.renewal_date, renewal.period_end)),
        (names.get(owed.kind, "Amount refunded"), amount),
        ("Amount paid", _amount(renewal)),
        ("Subscription", renewal.subscription_id),
    ]
    if owed.kind is not MailKind.REFUND_PENDING:  # the refund has no receipt yet
        facts.append(("Refund number", refunds.number(renewal, owed.name)))
    facts.append(("Refund transaction", str(owed.refund["refund_id"])))
    facts.append(("Payment receipt", renewal.receipt_number))
    return facts + ([("Refunded to", renewal.card)] if renewal.card and owed.kind is MailKind.REFUNDED else [])


def _past_due(renewal: Renewal, prospects: Prospects | None) -> list[str]:
    """Say which payment was tried, why the payment failed, and the next step."""
    why = declines.in_words(renewal.decline_code)
    if renewal.status is Status.ACTION_REQUIRED:
        why = "your bank asks you to confirm the payment yourself (3-D Secure)"
    return [
        f"We tried to charge {_what(renewal)}, but {why}. You have not been charged.",
        f"Your subscription is past due. {_next(renewal, prospects)}",
    ]


def _next(renewal: Renewal, prospects: Prospects | None) -> str:
    """Say the next step, the options of the customer, and the last day for the customer to act."""
    before = f" before {wording.day(prospects.ends_on)}" if prospects else ""
    ends = f"your subscription will be {_ENDS[prospects.ends_as]}" if prospects else ""
    otherwise = f" Otherwise, {ends} on that day." if prospects else ""
    if renewal.status is Status.ACTION_REQUIRED:
        return (
            f"Please confirm the payment{before}, or update your payment method to a card that needs no confirmation."
            f"{otherwise}"
        )
    if prospects is None or prospects.retry_on is None:
        return (
            f"We will not try this card again. Please update your payment method{before}: we will then try the payment "
            f"with the new card.{otherwise}"
        )
    instead = "If you update your payment method, we will try the new card instead."
    retry = wording.day(prospects.retry_on)
    if prospects.retry_on < prospects.ends_on:
        return f"We will try the same card again on {retry}. {instead}"
    return f"We will try the same card one last time on {retry}. If that payment fails too, {ends}. {instead}"


def _link(renewal: Renewal, prospects: Prospects | None) -> tuple[str, str] | None:
    """Return the label and the URL of the customer page for a refused payment; None without a page."""
    if prospects is None or not prospects.page:
        return None
    if renewal.status is Status.ACTION_REQUIRED:
        return "Confirm the payment", prospects.page
    return (_UPDATE, prospects.page) if renewal.status is Status.DECLINED else None


def _facts(renewal: Renewal) -> list[tuple[str, str]]:
    facts = [
        ("Plan", _line(renewal.plan)),
        ("Period", wording.days(renewal.renewal_date, renewal.period_end)),
        ("Amount", _amount(renewal)),
        ("Subscription", renewal.subscription_id),
    ]
    if renewal.paid_at is not None:
        facts += [("Receipt number", renewal.receipt_number), ("Transaction", str(renewal.payment_id))]
        facts += [("Paid with", renewal.card)] if renewal.card else []
    return facts


def _text(letter: _Letter) -> str:
    linked = [f"{letter.link[0]}: {letter.link[1]}"] if letter.link else []
    listed = "\n".join(f"  {name}: {value}" for name, value in letter.facts)
    return "\n\n".join([_greeting(letter.name), *letter.paragraphs, *linked, listed, letter.seller]) + "\n"


def _html(letter: _Letter) -> str:
    title, paragraphs = escape(letter.subject), [_greeting(letter.name), *letter.paragraphs]
    said = "".join(f'<p style="margin:0 0 16px">{escape(text)}</p>' for text in paragraphs)
    if letter.link:
        name, url = letter.link
        said += f'<p style="margin:0 0 16px"><a href="{escape(url)}">{escape(name)}</a></p>'
    rows = "".join(
        '<tr style="vertical-align:top"><td style="padding:6px 16px 6px 0;color:#6b7280;white-space:nowrap">'
        f'{escape(name)}</td><td style="padding:6px 0">{escape(value)}</td></tr>'
        for name, value in letter.facts
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><title>{title}</title></head>'
        '<body style="margin:0;padding:16px;background:#f4f6f8;font:16px/1.5 Helvetica,Arial,sans-serif;color:#181d27">'
        # A word that is wider than a phone, such as the id of a transaction, continues in the next line.
        '<div style="max-width:560px;margin:0 auto;padding:24px;background:#fff;border:1px solid #dde0e5;'
        'word-break:break-word">'
        f'<h1 style="margin:0 0 24px;font-size:20px;line-height:1.3">{title}</h1>{said}'
        f'<table style="border-collapse:collapse;font-size:14px">{rows}</table>'
        f'<p style="margin:24px 0 0;color:#6b7280">{escape(letter.seller)}</p></div></body></html>'
    )


def _greeting(customer: str) -> str:
    name = _line(customer)
    return f"Hello {name}," if name else "Hello,"


def _amount(of: Renewal | Subscription) -> str:
    return wording.money(of.amount, of.currency)


def _what(renewal: Renewal) -> str:
    return f"{wording.price(renewal.amount, renewal.currency)} for {_for_period(renewal)}"


def _for_period(renewal: Renewal) -> str:
    return f"{_line(renewal.plan)} ({wording.days(renewal.renewal_date, renewal.period_end)})"


def _display_name(text: str) -> str:
    """Return a name that can safely stand before an address in a header. The name is a single line, and has no special
    characters of a header.

    Quotes do not protect a comma in a name: Python's header folding drops the quotes of a long name, and the comma
    would then begin a further address. Encoding does not protect a comma either: some mail programs first decode an
    encoded word (=?utf-8?q?Lee=2C_eve=40evil=2Eexample?=), and then look for commas. The equals signs and question
    marks of encoded words are therefore removed, too.
    """
    return printable.line(text.translate(_SPECIALS), 60)


_SPECIALS = str.maketrans(dict.fromkeys('()<>[]:;@\\,."=?', " "))


def _subject(text: str) -> str:
    """Return a subject with a space inside every "=?". The signs "=?" begin an encoded word; after the change, no mail
    program decodes a part of the subject."""
    return text.replace("=?", "= ?")


def _line(text: str) -> str:
    """Return a user's text as a single line. Without line breaks, the text cannot forge a header or a line of the
    mail."""
    return printable.line(text, 200)
