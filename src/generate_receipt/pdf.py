"""The receipt as a PDF of one A4 page. The same payment always gives the same bytes."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from generate_receipt.typesetting import Sheet, Style

INK = (24, 29, 39)
GREY = (107, 114, 128)
HAIRLINE = (221, 224, 229)
TINT = (244, 246, 248)
GREEN = (12, 122, 85)
PALE_GREEN = (222, 244, 234)

TITLE = Style(27, INK, bold=True)
LABEL = Style(8, GREY)
VALUE = Style(10, INK)
NAME = Style(11, INK, bold=True)
PLAN = Style(10, INK, bold=True)
DETAIL = Style(9, INK)
SMALL = Style(9, GREY)
TOTAL = Style(15, INK, bold=True)
PAID = Style(9, GREEN, bold=True)
FOOTNOTE = Style(7.5, GREY)

# Millimetres
PAGE_WIDTH = 210
LEFT = 22
WIDTH = PAGE_WIDTH - 2 * LEFT
THIRD = WIDTH / 3
HALF = WIDTH / 2
GUTTER = 8
PERIOD_X = LEFT + 78
AMOUNT_X = LEFT + 128
AMOUNT_WIDTH = LEFT + WIDTH - AMOUNT_X
FOOTER_Y = 276
ADDRESS_LINES = 10


@dataclass(frozen=True, slots=True)
class Seller:
    """The seller. `address` may hold newlines or commas; `tax_id` may be empty."""

    name: str
    address: str
    tax_id: str


# The words in which the receipts of a payment and of a refund differ.
_LABELS = {
    "payment": {
        "title": "Receipt",
        "badge": "PAID",
        "day": "Date paid",
        "amount": "Amount paid",
        "total": "Total paid",
        "at": "Paid at",
        "footer": "Paid in full. Please keep this receipt for your records.",
    },
    "refund": {
        "title": "Refund",
        "badge": "REFUNDED",
        "day": "Date refunded",
        "amount": "Amount refunded",
        "total": "Total refunded",
        "at": "Refunded at",
        "footer": "Refunded to the payment method above. Please keep this receipt for your records.",
    },
}


@dataclass(frozen=True, slots=True)
class Receipt:
    """The content of a receipt. `paid_at` has an offset, and the receipt prints the time at this offset; `period_end`
    is the first day after the paid period; `amount` has the decimals of the currency; `of` is payment or refund."""

    number: str
    paid_at: datetime
    seller: Seller
    customer_name: str
    customer_id: str
    subscription_id: str
    plan: str
    period_start: date
    period_end: date
    transaction_id: str
    payment_method: str | None
    amount: str
    currency: str
    of: str = "payment"


@dataclass(frozen=True, slots=True)
class RenderedReceipt:
    """The PDF file, and in `missing` the characters that no font has, sorted. Each was drawn as U+FFFD."""

    pdf: bytes
    missing: str


def render(receipt: Receipt) -> RenderedReceipt:
    """Draw `receipt`. All texts are accepted: a name, address or id that is too long for its place ends in an ellipsis.
    Our own words, dates and amounts are never cut."""
    sheet, bottom = _drawn(receipt, roomy=True)
    if bottom > FOOTER_Y:  # very long texts in a script with tall lines reach the footer: set the lines closer
        sheet.discard()
        sheet, _ = _drawn(receipt, roomy=False)
    sheet.pdf.set_title(sheet.drawable(f"{_label(receipt, 'title')} {receipt.number}"))
    sheet.pdf.set_author(sheet.drawable(receipt.seller.name))
    sheet.pdf.set_subject(sheet.drawable(f"{receipt.plan}, {_period(receipt)}"))
    sheet.pdf.set_lang("en")
    return RenderedReceipt(pdf=bytes(sheet.pdf.output()), missing=sheet.missing)


def _drawn(receipt: Receipt, *, roomy: bool) -> tuple[Sheet, float]:
    """Draw the page. Return the page, and how far down the content reaches, in millimetres and without the footer.

    roomy: whether lines of a tall script are set further apart.
    """
    sheet = Sheet(_texts(receipt), currency=receipt.currency, made_at=receipt.paid_at, roomy=roomy)
    y = _draw_head(sheet, receipt)
    y = _draw_parties(sheet, receipt, y + 9)
    y = _draw_line_item(sheet, receipt, y + 12)
    bottom = _draw_payment(sheet, receipt, y + 14)
    _draw_footer(sheet, receipt)
    return sheet, bottom


def _texts(receipt: Receipt) -> Iterator[str]:
    yield from (receipt.number, receipt.seller.name, *_address_lines(receipt.seller.address), _tax_id(receipt))
    yield from (receipt.customer_name, _customer(receipt), receipt.plan, _subscription(receipt))
    yield from (receipt.transaction_id, receipt.payment_method or "", _money(receipt))


def _draw_head(sheet: Sheet, receipt: Receipt) -> float:
    sheet.box(0, 0, PAGE_WIDTH, 2.5, GREEN)
    badge = 20 if len(_label(receipt, "badge")) < 6 else 28
    sheet.write(_label(receipt, "title"), LEFT, 20, WIDTH, TITLE)
    sheet.box(LEFT + WIDTH - badge, 22.5, badge, 8, PALE_GREEN, radius=2)
    sheet.write(_label(receipt, "badge"), LEFT + WIDTH - badge, 24.4, badge, PAID, align="C")
    y = sheet.write("Receipt number", LEFT, 40, THIRD, LABEL)
    sheet.write(_label(receipt, "day"), LEFT + THIRD, 40, THIRD, LABEL)
    sheet.write(_label(receipt, "amount"), LEFT + 2 * THIRD, 40, THIRD, LABEL)
    y += 1
    bottom = sheet.write_whole(receipt.number, LEFT, y, THIRD - GUTTER, VALUE)
    sheet.write_whole(_day(receipt.paid_at), LEFT + THIRD, y, THIRD - GUTTER, VALUE)
    sheet.write_whole(_money(receipt), LEFT + 2 * THIRD, y, THIRD, VALUE)
    return max(bottom, y + VALUE.line_height)


def _draw_parties(sheet: Sheet, receipt: Receipt, y: float) -> float:
    sheet.rule(LEFT, y, WIDTH, HAIRLINE)
    y += 8
    column = HALF - GUTTER
    sheet.write("From", LEFT, y, column, LABEL)
    top = sheet.write("Billed to", LEFT + HALF, y, column, LABEL) + 1

    seller = sheet.write(receipt.seller.name, LEFT, top, column, NAME, lines=3) + 0.5
    address = _address_lines(receipt.seller.address)
    for line in address:
        seller = sheet.write(line, LEFT, seller, column, SMALL, lines=min(8, ADDRESS_LINES // len(address)))
    if receipt.seller.tax_id:
        seller = sheet.write(_tax_id(receipt), LEFT, seller, column, SMALL, lines=2)

    customer = sheet.write(receipt.customer_name, LEFT + HALF, top, column, NAME, lines=4) + 0.5
    customer = sheet.write(_customer(receipt), LEFT + HALF, customer, column, SMALL, lines=3)
    return max(seller, customer)


def _draw_line_item(sheet: Sheet, receipt: Receipt, y: float) -> float:
    sheet.box(LEFT, y, WIDTH, 8, TINT, radius=1.5)
    for label, x in (("Description", LEFT + 4), ("Period", PERIOD_X)):
        sheet.write(label, x, y + 2, HALF, LABEL)
    sheet.write("Amount", AMOUNT_X, y + 2, AMOUNT_WIDTH - 4, LABEL, align="R")
    y += 12
    plan_width = PERIOD_X - LEFT - 4 - GUTTER
    bottom = sheet.write(receipt.plan or "Subscription", LEFT + 4, y, plan_width, PLAN, lines=4) + 0.5
    bottom = sheet.write(_subscription(receipt), LEFT + 4, bottom, plan_width, SMALL, lines=3)
    sheet.write_whole(_period(receipt), PERIOD_X, y, AMOUNT_X - PERIOD_X - 2, VALUE)
    sheet.write_whole(_money(receipt), AMOUNT_X, y, AMOUNT_WIDTH - 4, VALUE, align="R")
    y = bottom + 5
    sheet.rule(LEFT, y, WIDTH, HAIRLINE)
    y += 5
    sheet.write(_label(receipt, "total"), LEFT + 4, y + 0.8, HALF, PLAN)
    sheet.write_whole(_money(receipt), LEFT + HALF - GUTTER, y, HALF + GUTTER - 4, TOTAL, align="R")
    return y + TOTAL.line_height


def _draw_payment(sheet: Sheet, receipt: Receipt, y: float) -> float:
    y = sheet.write("Payment details", LEFT, y, WIDTH, PLAN) + 2
    sheet.rule(LEFT, y, WIDTH, HAIRLINE)
    y += 3.5
    rows = [("Transaction ID", receipt.transaction_id)]
    if receipt.payment_method:
        rows.append(("Payment method", receipt.payment_method))
    rows.append((_label(receipt, "at"), _time(receipt.paid_at)))
    for label, value in rows:
        sheet.write(label, LEFT, y + 0.2, THIRD, SMALL)
        y = sheet.write(value, LEFT + THIRD, y, WIDTH - THIRD, DETAIL, lines=3) + 1.8
    return y


def _draw_footer(sheet: Sheet, receipt: Receipt) -> None:
    sheet.rule(LEFT, FOOTER_Y, WIDTH, HAIRLINE)
    sheet.write(receipt.seller.name, LEFT, FOOTER_Y + 3, THIRD - GUTTER, FOOTNOTE, lines=3)
    sheet.write_whole(_label(receipt, "footer"), LEFT + THIRD, FOOTER_Y + 3, 2 * THIRD, FOOTNOTE, align="R")


def _address_lines(address: str) -> list[str]:
    """Split the address into lines. An address without line breaks is split at its commas, except at a comma after a
    number (12, High Street). More than five lines are joined into one line."""
    lines = address.splitlines()
    if len(lines) < 2:
        lines = re.split(r"(?<!\d),", address)
    lines = [line.strip() for line in lines if line.strip()]
    return lines if len(lines) <= 5 else [", ".join(lines)]


def _tax_id(receipt: Receipt) -> str:
    return f"Tax ID: {receipt.seller.tax_id}"


def _customer(receipt: Receipt) -> str:
    return f"Customer {receipt.customer_id}"


def _subscription(receipt: Receipt) -> str:
    return f"Subscription {receipt.subscription_id}"


def _label(receipt: Receipt, name: str) -> str:
    return _LABELS[receipt.of][name]


def _money(receipt: Receipt) -> str:
    return f"{receipt.amount} {receipt.currency}"


def _day(day: date) -> str:
    return f"{day.day} {day:%B} {day.year}"


def _time(at: datetime) -> str:
    """31 March 2026, 00:30 UTC+02:00"""
    return f"{_day(at)}, {at:%H:%M} UTC{at:%:z}".removesuffix("+00:00")


def _period(receipt: Receipt) -> str:
    last = receipt.period_end - timedelta(days=1)
    days = dict.fromkeys((receipt.period_start, last))  # a single day if the period is a day long
    return " – ".join(f"{day.day} {day:%b} {day.year}" for day in days)
