"""The mails: what they say, in HTML and plain text. Pure."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from html import escape

from renewals import currencies
from renewals.errors import RenewalError
from renewals.renewal import Renewal

# Eight-bit mail is not relayed everywhere; this way the PDF arrives to the byte.
_POLICY = SMTP.clone(cte_type="7bit")

# https://html.spec.whatwg.org/multipage/input.html#valid-e-mail-address, of a domain with at least one dot, and with
# RFC 5321's lengths. SES takes no address with a local part outside ASCII.
_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*", re.ASCII)
_DOMAIN = re.compile(
    r"([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?", re.ASCII
)

# IDNA 2008 reads them as they stand, IDNA 2003 (Python's) as other letters: two domains, perhaps of two owners.
_READ_OTHERWISE = frozenset("ßς\u200c\u200d")

# What a customer is told of a decline. Of a lost or stolen card, of fraud, or of a reason not named here, only that
# it was declined: https://docs.stripe.com/declines/codes
_DECLINES = {
    "card_velocity_exceeded": "the card's limit is used up",
    "expired_card": "the card has expired",
    "incorrect_cvc": "the card's security code was not right",
    "incorrect_number": "the card's number was not right",
    "insufficient_funds": "the card has insufficient funds",
    "invalid_account": "the card, or the account behind it, is not valid",
    "processing_error": "an error happened while the card was processed",
    "withdrawal_count_limit_exceeded": "the card's limit is used up",
}


class BadAddress(RenewalError):  # noqa: N818
    """Nothing can be sent to this address. The message says why and does not quote it."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A PDF to go with a mail."""

    name: str
    pdf: bytes


def deliverable(address: str) -> str:
    """The address as it can be sent to, its domain in ASCII. Raises BadAddress."""
    if not address:
        raise BadAddress("the subscription has no customer_email")
    local, at, domain = address.rpartition("@")
    if _READ_OTHERWISE.intersection(domain):
        raise BadAddress("customer_email has a domain that is read in two ways")
    if not at or len(local) > 64 or not _LOCAL.fullmatch(local):
        raise BadAddress("customer_email is not a mail address")
    try:
        domain = domain.encode("idna").decode("ascii")
    except UnicodeError:
        raise BadAddress("customer_email has a domain that cannot be") from None
    if len(domain) > 253 or not _DOMAIN.fullmatch(domain):
        raise BadAddress("customer_email has a domain that cannot be")
    return f"{local}@{domain}"


def compose(kind: str, renewal: Renewal, *, sender: str, to: str, attachment: Attachment | None) -> EmailMessage:
    """The mail of a kind: receipt, payment_failed or action_required. sender, to: deliverable addresses."""
    subject, paragraphs = _TEXTS[kind](renewal)
    facts = _facts(renewal)
    seller = _line(renewal.seller["name"])
    message = EmailMessage(policy=_POLICY)
    message["Subject"] = subject
    message["From"] = Address(_display_name(seller), addr_spec=sender)
    message["To"] = Address(_display_name(renewal.customer_name), addr_spec=to)
    message.set_content(_text(renewal, paragraphs, facts, seller))
    message.add_alternative(_html(renewal, subject, paragraphs, facts, seller), subtype="html")
    if attachment:
        message.add_attachment(attachment.pdf, maintype="application", subtype="pdf", filename=attachment.name)
    return message


def _receipt(renewal: Renewal) -> tuple[str, list[str]]:
    return f"Receipt for {_line(renewal.plan)}: {_amount(renewal)}", [
        f"Thank you: we have charged {_amount(renewal)} for {_line(renewal.plan)}, {_period(renewal)}.",
        "Your receipt is attached to this mail as a PDF.",
    ]


def _payment_failed(renewal: Renewal) -> tuple[str, list[str]]:
    why = _DECLINES.get(renewal.decline_code or "", "the card was declined")
    return f"Your payment for {_line(renewal.plan)} did not go through", [
        f"We tried to charge {_amount(renewal)} for {_line(renewal.plan)}, {_period(renewal)}, but {why}. "
        "You have not been charged.",
        "Your subscription is past due. What happens next: once you give us another card, we try the payment again "
        "with it. Until then this card is not charged.",
    ]


def _action_required(renewal: Renewal) -> tuple[str, list[str]]:
    return f"Your payment for {_line(renewal.plan)} waits for your confirmation", [
        f"We tried to charge {_amount(renewal)} for {_line(renewal.plan)}, {_period(renewal)}, but your bank asks you "
        "to confirm the payment yourself (3-D Secure). You have not been charged.",
        "Your subscription is past due. What happens next: the payment goes through when you confirm it, or when you "
        "give us a card that needs no confirmation.",
    ]


_TEXTS: dict[str, Callable[[Renewal], tuple[str, list[str]]]] = {
    "receipt": _receipt,
    "payment_failed": _payment_failed,
    "action_required": _action_required,
}


def _facts(renewal: Renewal) -> list[tuple[str, str]]:
    facts = [
        ("Plan", _line(renewal.plan)),
        ("Period", _days(renewal)),
        ("Amount", _amount(renewal)),
        ("Subscription", renewal.subscription_id),
    ]
    if renewal.paid_at is not None:
        facts += [("Receipt number", renewal.receipt_number), ("Transaction", str(renewal.payment_id))]
        facts += [("Paid with", renewal.card)] if renewal.card else []
    return facts


def _text(renewal: Renewal, paragraphs: list[str], facts: list[tuple[str, str]], seller: str) -> str:
    listed = "\n".join(f"  {name}: {value}" for name, value in facts)
    return "\n\n".join([_greeting(renewal), *paragraphs, listed, seller]) + "\n"


def _html(renewal: Renewal, subject: str, paragraphs: list[str], facts: list[tuple[str, str]], seller: str) -> str:
    said = "".join(f'<p style="margin:0 0 16px">{escape(text)}</p>' for text in [_greeting(renewal), *paragraphs])
    rows = "".join(
        f'<tr><td style="padding:6px 16px 6px 0;color:#6b7280">{escape(name)}</td>'
        f'<td style="padding:6px 0">{escape(value)}</td></tr>'
        for name, value in facts
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(subject)}</title></head>'
        '<body style="margin:0;padding:24px;background:#f4f6f8;font:16px/1.5 Helvetica,Arial,sans-serif;color:#181d27">'
        '<div style="max-width:560px;margin:0 auto;padding:32px;background:#fff;border:1px solid #dde0e5">'
        f'<h1 style="margin:0 0 24px;font-size:20px">{escape(subject)}</h1>{said}'
        f'<table style="border-collapse:collapse;font-size:14px">{rows}</table>'
        f'<p style="margin:24px 0 0;color:#6b7280">{escape(seller)}</p></div></body></html>'
    )


def _greeting(renewal: Renewal) -> str:
    name = _line(renewal.customer_name)
    return f"Hello {name}," if name else "Hello,"


def _amount(renewal: Renewal) -> str:
    return f"{currencies.written(renewal.amount, renewal.currency)} {renewal.currency}"


def _period(renewal: Renewal) -> str:
    return f"for the period {_days(renewal)}"


def _days(renewal: Renewal) -> str:
    """The period with its last day, as people count it."""
    return f"{_day(renewal.renewal_date)} to {_day(renewal.period_end - timedelta(days=1))}"


def _day(day: date) -> str:
    return f"{day.day} {day:%B} {day.year}"


def _display_name(text: str) -> str:
    """A name as it may stand before an address: without the characters that mean something there, on one line.

    Python's header folding drops the quotes of a long name, and with them a comma would begin another address.
    """
    return " ".join(_line(text).translate(_SPECIALS).split())[:60]


_SPECIALS = str.maketrans(dict.fromkeys('()<>[]:;@\\,."', " "))


def _line(text: str) -> str:
    """One line of what a user wrote: no control characters, so that no header or line can be forged with it."""
    cleaned = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(cleaned.split())[:200]
