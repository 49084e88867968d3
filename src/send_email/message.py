"""The mails: what they say, in HTML and plain text. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from email.headerregistry import Address, BaseHeader, HeaderRegistry
from email.message import EmailMessage
from email.policy import SMTP
from functools import cache
from html import escape
from typing import TYPE_CHECKING

from renewals.domain import declines, printable, refunds, wording
from renewals.domain.renewal import MailKind, Status
from renewals.domain.subscription import SubscriptionStatus

if TYPE_CHECKING:
    from datetime import date

    from renewals.domain.payment import GatewayCard
    from renewals.domain.renewal import Renewal
    from renewals.domain.subscription import Subscription


class _Headers(HeaderRegistry):
    """Python's, which makes a new class for every single header, a tenth of what a mail takes."""

    @cache  # noqa: B019  (there is one registry)
    def __getitem__(self, name: str) -> type[BaseHeader]:
        made: type[BaseHeader] = super().__getitem__(name)
        return made


# Eight-bit mail is not relayed everywhere; this way the PDF arrives to the byte.
_POLICY = SMTP.clone(cte_type="7bit", header_factory=_Headers())

_SUBJECTS = {
    MailKind.RECEIPT: "Receipt for {plan}: {amount}",
    MailKind.PAYMENT_FAILED: "Your payment for {plan} did not go through",
    MailKind.ACTION_REQUIRED: "Your payment for {plan} waits for your confirmation",
    MailKind.FINAL_NOTICE: "Final notice: your payment for {plan}",
    MailKind.CANCELED: "Your subscription to {plan} is cancelled",
    MailKind.UNPAID: "Your subscription to {plan} is suspended as unpaid",
    MailKind.REFUNDED: "Refund for {plan}: {amount}",
    MailKind.REFUND_PENDING: "Your refund for {plan} is on its way: {amount}",
    MailKind.REFUND_FAILED: "Your refund for {plan} did not arrive: {amount}",
}
_ENDS = {SubscriptionStatus.CANCELED: "cancelled", SubscriptionStatus.UNPAID: "suspended as unpaid"}


@dataclass(frozen=True, slots=True)
class Attachment:
    """A PDF to go with a mail. link: where it can be opened, too; empty where it cannot."""

    name: str
    pdf: bytes
    link: str = ""


@dataclass(frozen=True, slots=True)
class Prospects:
    """What a refusal leads to, as far as the texts need it.

    retry_on: the day on which the same card is tried again; None: it is not, for the decline is hard or the customer
    must confirm. ends_on: the day on which the payment is given up, early in the morning, so that the customer has to
    act before it. ends_as: what the subscription becomes then, canceled or unpaid. page: the URL of the customer
    page; empty: there is none.
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
    """The mail of a kind, which is no reminder.

    sender, to: deliverable addresses. prospects: None where nothing more is to come, as for a receipt.
    """
    owed = refunds.owed(renewal) if kind in refunds.NOTICES else None  # a receipt may go out beside it
    amount = wording.money(owed.refund["amount"], renewal.currency) if owed else _amount(renewal)
    subject = _SUBJECTS[kind].format(plan=_line(renewal.plan), amount=amount)
    if kind is MailKind.RECEIPT:
        paragraphs = [
            f"Thank you: we have charged {_what(renewal)}.",
            "Your receipt is attached to this mail as a PDF, and can be opened here at any time.",
        ]
    elif owed is not None:
        paragraphs = _refund(renewal, owed)
    elif kind in (MailKind.CANCELED, MailKind.UNPAID):
        ended = _ENDS[SubscriptionStatus(kind)]
        paragraphs = [
            f"The payment of {_what(renewal)}, did not go through. Your subscription is {ended}.",
            "You have not been charged for this period. The payment is called off: it can no longer be charged.",
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


def remind(
    subscription: Subscription, expiring: GatewayCard | None, *, seller: str, page: str, sender: str, to: str
) -> EmailMessage:
    """A reminder of the next renewal, or of the card that expires before it. page: the customer page's URL or empty."""
    plan, day = _line(subscription.plan), wording.day(subscription.renewal_date)
    facts = [
        ("Plan", plan),
        ("Renewal", day),
        ("Amount", _amount(subscription)),
        ("Subscription", subscription.subscription_id),
    ]
    subject = f"Your subscription to {plan} renews on {day}"
    paragraphs = [
        f"Your subscription to {plan} renews on {day}: we then charge {_amount(subscription)} for the period "
        f"{wording.days(subscription.renewal_date, subscription.schedule.after(subscription.renewal_date))}.",
    ]
    link = "Your customer page"
    if expiring is not None:
        year, month = expiring.expires.split("-")
        subject = f"Your card for {plan} expires before the next charge"
        paragraphs = [
            f"The card that your subscription to {plan} is charged to, {_line(expiring.name)}, is valid until the end "
            f"of {month}/{year}. The next charge is after that: {_amount(subscription)} on {day}.",
            "Please give us a new card before that day.",
        ]
        link = "Give us a new card"
    linked = (link, page) if page else None
    return _message(_Letter(subject, subscription.customer_name, paragraphs, linked, facts, _line(seller)), sender, to)


@dataclass(frozen=True, slots=True)
class _Letter:
    """What a mail says. name: the customer's. link: what it is called, and its URL. facts: names and values."""

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


def _refund(renewal: Renewal, owed: refunds.Owed) -> list[str]:
    """What is refunded of what, how far it has come, and what stays paid."""
    amount, rest = owed.refund["amount"], refunds.left(renewal)
    of = f" of the {_amount(renewal)} that you paid" if amount != renewal.amount else ""
    period = wording.days(renewal.renewal_date, renewal.period_end)
    what = f"{wording.money(amount, renewal.currency)}{of} for {_line(renewal.plan)}, for the period {period}"
    stays = f"{wording.money(rest, renewal.currency)} stay paid."
    match owed.kind:
        case MailKind.REFUND_PENDING:
            told = [
                f"We are refunding {what}. The refund is on its way to the payment method that was charged. It has not "
                "arrived yet, and may take some days.",
                "We will write to you again once it is done, with your receipt of the refund, or if it fails.",
            ]
        case MailKind.REFUND_FAILED:
            told = [
                f"Our refund of {what}, has failed: the money did not reach the payment method that was charged.",
                "We still owe you this money, and will arrange another way to refund it.",
            ]
            stays = f"Without that refund {stays}"
        case _:
            told = [
                f"We have refunded {what}. The money goes to the payment method that was charged, and may take some "
                "days to show there.",
                "Your receipt of the refund is attached to this mail as a PDF, and can be opened here at any time.",
            ]
    if rest and (amount != renewal.amount or owed.kind is MailKind.REFUND_FAILED):
        told.insert(1, stays)
    return told


def _refund_facts(renewal: Renewal, owed: refunds.Owed) -> list[tuple[str, str]]:
    """The refund's own amount, number and transaction; and those of the payment, named as such."""
    amount = wording.money(owed.refund["amount"], renewal.currency)
    names = {MailKind.REFUND_PENDING: "Refund on its way", MailKind.REFUND_FAILED: "Refund that failed"}
    facts = [
        ("Plan", _line(renewal.plan)),
        ("Period", wording.days(renewal.renewal_date, renewal.period_end)),
        (names.get(owed.kind, "Amount refunded"), amount),
        ("Amount paid", _amount(renewal)),
        ("Subscription", renewal.subscription_id),
    ]
    if owed.kind is not MailKind.REFUND_PENDING:  # it has no receipt yet
        facts.append(("Receipt number of the refund", refunds.number(renewal, owed.name)))
    facts.append(("Transaction of the refund", str(owed.refund["refund_id"])))
    facts.append(("Receipt number of the payment", renewal.receipt_number))
    return facts + ([("Refunded to", renewal.card)] if renewal.card and owed.kind is MailKind.REFUNDED else [])


def _past_due(renewal: Renewal, prospects: Prospects | None) -> list[str]:
    """What was tried, why it came to nothing, and what happens next."""
    why = declines.in_words(renewal.decline_code)
    if renewal.status is Status.ACTION_REQUIRED:
        why = "your bank asks you to confirm the payment yourself (3-D Secure)"
    return [
        f"We tried to charge {_what(renewal)}, but {why}. You have not been charged.",
        f"Your subscription is past due. What happens next: {_next(renewal, prospects)}",
    ]


def _next(renewal: Renewal, prospects: Prospects | None) -> str:
    if renewal.status is Status.ACTION_REQUIRED:
        then = "the payment goes through when you confirm it, or when you give us a card that needs no confirmation."
        return f"{then} Please do so before {_end(prospects)}" if prospects else then
    another = "Once you give us another card, we try the payment with that one."
    if prospects is None or prospects.retry_on is None:
        then = f"this card is not tried again. {another}"
        return f"{then} Please do so before {_end(prospects)}" if prospects else then
    if prospects.retry_on < prospects.ends_on:
        return f"we try the same card again on {wording.day(prospects.retry_on)}. {another}"
    ends = f"If that fails too, your subscription is {_ENDS[prospects.ends_as]}."
    return f"we try the same card for the last time on {wording.day(prospects.retry_on)}. {ends} {another}"


def _end(prospects: Prospects) -> str:
    return f"{wording.day(prospects.ends_on)}: on that day your subscription is otherwise {_ENDS[prospects.ends_as]}."


def _link(renewal: Renewal, prospects: Prospects | None) -> tuple[str, str] | None:
    """What the customer can do on the customer page while the payment stands refused, and the page's URL."""
    if prospects is None or not prospects.page:
        return None
    if renewal.status is Status.ACTION_REQUIRED:
        return "Confirm the payment", prospects.page
    return ("Give us another card", prospects.page) if renewal.status is Status.DECLINED else None


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
        # A word that is longer than a phone is wide, such as a transaction's id, goes on in the next line.
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
    period = wording.days(renewal.renewal_date, renewal.period_end)
    return f"{_amount(renewal)} for {_line(renewal.plan)}, for the period {period}"


def _display_name(text: str) -> str:
    """A name as it may stand before an address: without the characters that mean something there, on one line.

    Python's header folding drops the quotes of a long name, and with them a comma would begin another address. A name
    that is written as an encoded word (=?utf-8?q?Lee=2C_eve=40evil=2Eexample?=) would be decoded on arrival, by some
    programs before they look for commas: so the two characters that every encoded word begins and ends with go, too.
    """
    return printable.line(text.translate(_SPECIALS), 60)


_SPECIALS = str.maketrans(dict.fromkeys('()<>[]:;@\\,."=?', " "))


def _subject(text: str) -> str:
    """A subject as it may stand in its header: what looks like an encoded word is not decoded on arrival."""
    return text.replace("=?", "= ?")


def _line(text: str) -> str:
    """One line of what a user wrote, so that no header or line can be forged with it."""
    return printable.line(text, 200)
