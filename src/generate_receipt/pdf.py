"""The receipt as a PDF of one A4 page. The same payment always gives the same bytes."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple

from generate_receipt.typesetting import Sheet, Style
from renewals.language import words
from renewals.language.catalogues import catalogue
from renewals.language.tags import ENGLISH

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
# The width of the badge by the number of its letters.
BADGES = ((6, 20), (10, 28))
WIDEST_BADGE = 38


class Seller(NamedTuple):
    """The seller. `address` may hold newlines or commas; `tax_id` may be empty."""

    name: str
    address: str
    tax_id: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """The content of a receipt. `paid_at` has an offset, and the receipt prints the time at this offset; `period_end`
    is the first day after the paid period; `amount` has the decimals of the currency; `of` is payment or refund;
    `locale` is the customer's language tag."""

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
    locale: str = ENGLISH


class RenderedReceipt(NamedTuple):
    """The PDF file, and in `missing` the characters that no font has, sorted. Each was drawn as U+FFFD."""

    pdf: bytes
    missing: str


def render(receipt: Receipt) -> RenderedReceipt:
    """Draw `receipt`. All texts are accepted: a name, address or id that is too long for its place ends in an ellipsis.
    Our own words, dates and amounts are never cut."""
    page = _Page(receipt)
    bottom = page.draw()
    if bottom > FOOTER_Y:  # very long texts in a script with tall lines reach the footer: set the lines closer
        page.sheet.discard()
        page = _Page(receipt, roomy=False)
        page.draw()
    sheet = page.sheet
    sheet.pdf.set_title(sheet.drawable(f"{page.said(f'receipts.title_{receipt.of}')} {receipt.number}"))
    sheet.pdf.set_author(sheet.drawable(receipt.seller.name))
    sheet.pdf.set_subject(sheet.drawable(f"{receipt.plan}, {page.period}"))
    sheet.pdf.set_lang(page.words.tag)
    return RenderedReceipt(pdf=bytes(sheet.pdf.output()), missing=sheet.missing)


class _Page:
    """The page of a receipt. roomy: whether lines of a tall script are set further apart."""

    def __init__(self, receipt: Receipt, *, roomy: bool = True) -> None:
        self.receipt = receipt
        self.words = words(receipt.locale)
        self.day = self.words.day(receipt.paid_at)
        self.period = self.words.short_days(receipt.period_start, receipt.period_end)
        self.card = self.words.card(receipt.payment_method or "")
        self.money = f"{receipt.amount} {receipt.currency}"
        if self.words.tag != ENGLISH:
            self.money = self.words.plain(self.words.money(Decimal(receipt.amount), receipt.currency))
        self.sheet = Sheet(
            self._texts(),
            currency=receipt.currency,
            language=self.words.tag,
            mirrored=self.words.direction == "rtl",
            made_at=receipt.paid_at,
            roomy=roomy,
        )

    def draw(self) -> float:
        """Draw the page. Return how far down the content reaches, in millimetres and without the footer."""
        y = self._draw_head()
        y = self._draw_parties(y + 9)
        y = self._draw_line_item(y + 12)
        bottom = self._draw_payment(y + 14)
        self._draw_footer()
        return bottom

    def said(self, area_and_key: str, **values: str) -> str:
        """Return a text of the catalogue."""
        return self.words.plain(self.words.say(area_and_key, **values))

    def _texts(self) -> Iterator[str]:
        """Yield all texts of the page; of our own English texts none, since every PDF reader can draw them."""
        receipt, seller = self.receipt, self.receipt.seller
        yield from (receipt.number, seller.name, *_address_lines(seller.address), seller.tax_id)
        yield from (receipt.customer_name, receipt.customer_id, receipt.plan, receipt.subscription_id)
        yield from (receipt.transaction_id, receipt.payment_method or "", self.money)
        if self.words.tag != ENGLISH:
            yield from (*catalogue("receipts", self.words.tag).values(), self.card, self.day, self.period)

    def _draw_head(self) -> float:
        sheet, receipt = self.sheet, self.receipt
        sheet.box(0, 0, PAGE_WIDTH, 2.5, GREEN)
        word = self.said(f"receipts.badge_{receipt.of}")
        badge = next((width for letters, width in BADGES if len(word) < letters), WIDEST_BADGE)
        sheet.write(self.said(f"receipts.title_{receipt.of}"), LEFT, 20, WIDTH, TITLE)
        sheet.box(LEFT + WIDTH - badge, 22.5, badge, 8, PALE_GREEN, radius=2)
        sheet.write_whole(word, LEFT + WIDTH - badge, 24.4, badge, PAID, align="C")
        y = sheet.write_whole(self.said(f"receipts.number_{receipt.of}"), LEFT, 40, THIRD - GUTTER, LABEL)
        sheet.write_whole(self.said(f"receipts.day_{receipt.of}"), LEFT + THIRD, 40, THIRD - GUTTER, LABEL)
        sheet.write_whole(self.said(f"receipts.amount_{receipt.of}"), LEFT + 2 * THIRD, 40, THIRD, LABEL)
        y += 1
        bottom = sheet.write_whole(receipt.number, LEFT, y, THIRD - GUTTER, VALUE)
        sheet.write_whole(self.day, LEFT + THIRD, y, THIRD - GUTTER, VALUE)
        sheet.write_whole(self.money, LEFT + 2 * THIRD, y, THIRD, VALUE)
        return max(bottom, y + VALUE.line_height)

    def _draw_parties(self, y: float) -> float:
        sheet, receipt = self.sheet, self.receipt
        sheet.rule(LEFT, y, WIDTH, HAIRLINE)
        y += 8
        column = HALF - GUTTER
        sheet.write_whole(self.said("receipts.seller"), LEFT, y, column, LABEL)
        top = sheet.write_whole(self.said("receipts.customer"), LEFT + HALF, y, column, LABEL) + 1

        seller = sheet.write(receipt.seller.name, LEFT, top, column, NAME, lines=3) + 0.5
        address = _address_lines(receipt.seller.address)
        for line in address:
            seller = sheet.write(line, LEFT, seller, column, SMALL, lines=min(8, ADDRESS_LINES // len(address)))
        if receipt.seller.tax_id:
            tax_id = self.said("receipts.tax_id", tax_id=receipt.seller.tax_id)
            seller = sheet.write(tax_id, LEFT, seller, column, SMALL, lines=2)

        customer = sheet.write(receipt.customer_name, LEFT + HALF, top, column, NAME, lines=4) + 0.5
        customer_id = self.said("receipts.customer_id", customer=receipt.customer_id)
        customer = sheet.write(customer_id, LEFT + HALF, customer, column, SMALL, lines=3)
        return max(seller, customer)

    def _draw_line_item(self, y: float) -> float:
        sheet, receipt = self.sheet, self.receipt
        sheet.box(LEFT, y, WIDTH, 8, TINT, radius=1.5)
        plan_width, period_width = PERIOD_X - LEFT - 4 - GUTTER, AMOUNT_X - PERIOD_X - 2
        sheet.write_whole(self.said("receipts.plan"), LEFT + 4, y + 2, plan_width, LABEL)
        sheet.write_whole(self.said("receipts.period"), PERIOD_X, y + 2, period_width, LABEL)
        sheet.write_whole(self.said("receipts.amount"), AMOUNT_X, y + 2, AMOUNT_WIDTH - 4, LABEL, align="R")
        y += 12
        plan = receipt.plan or self.said("receipts.no_plan")
        bottom = sheet.write(plan, LEFT + 4, y, plan_width, PLAN, lines=4) + 0.5
        subscription_id = self.said("receipts.subscription_id", subscription=receipt.subscription_id)
        bottom = sheet.write(subscription_id, LEFT + 4, bottom, plan_width, SMALL, lines=3)
        sheet.write_whole(self.period, PERIOD_X, y, period_width, VALUE)
        sheet.write_whole(self.money, AMOUNT_X, y, AMOUNT_WIDTH - 4, VALUE, align="R")
        y = bottom + 5
        sheet.rule(LEFT, y, WIDTH, HAIRLINE)
        y += 5
        sheet.write_whole(self.said(f"receipts.total_{receipt.of}"), LEFT + 4, y + 0.8, HALF - GUTTER - 6, PLAN)
        sheet.write_whole(self.money, LEFT + HALF - GUTTER, y, HALF + GUTTER - 4, TOTAL, align="R")
        return y + TOTAL.line_height

    def _draw_payment(self, y: float) -> float:
        sheet, receipt = self.sheet, self.receipt
        y = sheet.write(self.said("receipts.details"), LEFT, y, WIDTH, PLAN) + 2
        sheet.rule(LEFT, y, WIDTH, HAIRLINE)
        y += 3.5
        rows = [(self.said("receipts.transaction"), receipt.transaction_id)]
        if receipt.payment_method:
            rows.append((self.said("receipts.method"), self.card))
        rows.append((self.said(f"receipts.at_{receipt.of}"), self._moment()))
        for label, value in rows:
            sheet.write_whole(label, LEFT, y + 0.2, THIRD - 2, SMALL)
            y = sheet.write(value, LEFT + THIRD, y, WIDTH - THIRD, DETAIL, lines=3) + 1.8
        return y

    def _draw_footer(self) -> None:
        sheet, receipt = self.sheet, self.receipt
        sheet.rule(LEFT, FOOTER_Y, WIDTH, HAIRLINE)
        sheet.write(receipt.seller.name, LEFT, FOOTER_Y + 3, THIRD - GUTTER, FOOTNOTE, lines=3)
        footer = self.said(f"receipts.footer_{receipt.of}")
        sheet.write_whole(footer, LEFT + THIRD, FOOTER_Y + 3, 2 * THIRD, FOOTNOTE, align="R")

    def _moment(self) -> str:
        """31 March 2026, 00:30 UTC+02:00"""
        at = self.receipt.paid_at
        offset = f"{at:%:z}".removesuffix("+00:00")
        return self.said("receipts.moment", day=self.day, time=f"{at:%H:%M}", offset=offset)


def _address_lines(address: str) -> list[str]:
    """Split the address into lines. An address without line breaks is split at its commas, except at a comma after a
    number (12, High Street). More than five lines are joined into one line."""
    lines = address.splitlines()
    if len(lines) < 2:
        lines = re.split(r"(?<!\d),", address)
    lines = [line.strip() for line in lines if line.strip()]
    return lines if len(lines) <= 5 else [", ".join(lines)]
