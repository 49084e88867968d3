"""Every text of a receipt keeps its place: no text runs into a neighbour or off the page, and none is cut by
mistake."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import combinations
from typing import Any

import pytest
from fpdf import FPDF
from fpdf.fonts import TTFFont

from generate_receipt.pdf import FOOTER_Y, LEFT, WIDTH, Receipt, Seller, render
from generate_receipt.typesetting import ELLIPSIS, Sheet, Style
from renewals.domain import currencies
from renewals.language.tags import LANGUAGES
from tests.shares import share
from tests.unit.test_receipt_pdf import LONG, RECEIPT

UNITS = LONG | {
    "burmese": "အောင်ဆန်းစုကြည် ",
    "thai": "สมชาย",
    "devanagari": "श्रीकृष्ण ",
    "sinhala": "ශ්\u200dරී",
    "mixed": "Ж က् ",
    "wide": "W ",
    "no_font": "😀",
}
CURRENCIES = currencies.TWO_DECIMAL | currencies.ZERO_DECIMAL | {"KWD", "ISK", "UGX"}
ROOM = 0.1
"""The millimetres by which two boxes may overlap: less than anybody sees."""


@dataclass(frozen=True)
class Drawn:
    """A line as drawn: its start, width and height, and the place meant for the line."""

    text: str
    x: float
    y: float
    width: float
    height: float
    place: tuple[float, float]
    asked: str


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Drawn]]:
    """Yield the lines drawn on the last page made."""
    drawn: list[Drawn] = []
    asked: list[tuple[str, float, float, str]] = []
    write, start, cell, text_at = Sheet.write, Sheet.__init__, FPDF.cell, FPDF.text

    def begun(self: Sheet, *given: Any, **named: Any) -> None:
        drawn.clear()
        start(self, *given, **named)

    def writing(
        self: Sheet, text: str, x: float, y: float, width: float, style: Style, *, lines: int = 1, align: str = "L"
    ) -> float:
        asked.append((text, x, width, align))
        return write(self, text, x, y, width, style, lines=lines, align=align)

    def note(page: FPDF, line: str, y: float, height: float) -> None:
        meant, x, width, align = asked[-1]
        needed = page.get_string_width(line)
        at = x + {"L": 0.0, "R": width - needed, "C": (width - needed) / 2}[align]
        drawn.append(Drawn(line, at, y, needed, height, (x, x + width), meant))

    def celled(page: FPDF, width: float, height: float, line: str, *, align: str) -> bool:
        note(page, line, page.get_y(), height)
        return bool(cell(page, width, height, line, align=align))

    def texted(page: FPDF, x: float, baseline: float, line: str) -> None:
        note(page, line, baseline - page.font_size, page.font_size)
        text_at(page, x, baseline, line)

    def closed(page: FPDF) -> bytes:
        """Close the fonts of a page that nobody reads: writing the file takes as long as drawing the page."""
        for font in page.fonts.values():
            if isinstance(font, TTFFont):
                font.ttfont.close()
        return b""

    with monkeypatch.context() as patch:
        patch.setattr(Sheet, "__init__", begun)
        patch.setattr(Sheet, "write", writing)
        patch.setattr(FPDF, "cell", celled)
        patch.setattr(FPDF, "text", texted)
        patch.setattr(FPDF, "output", closed)
        yield drawn


def _expect_in_place(drawn: list[Drawn], receipt: Receipt) -> None:
    theirs = {
        *(receipt.number, receipt.seller.name, receipt.seller.tax_id, receipt.customer_name, receipt.customer_id),
        *(receipt.subscription_id, receipt.plan, receipt.transaction_id, receipt.payment_method or "-"),
        *receipt.seller.address.splitlines(),
    }
    for each in drawn:
        left, right = each.place
        assert LEFT - ROOM <= left <= each.x + ROOM, each
        assert each.x + each.width <= right + ROOM <= LEFT + WIDTH + 2 * ROOM, each
        if each.text.endswith(ELLIPSIS):  # only a user's text may be cut, never ours
            assert any(text.strip() in each.asked for text in theirs), each
    above = [each for each in drawn if each.y < FOOTER_Y]
    assert max(each.y + each.height for each in above) <= FOOTER_Y + ROOM
    for one, other in combinations(drawn, 2):
        apart = (
            one.x + one.width <= other.x + ROOM
            or other.x + other.width <= one.x + ROOM
            or one.y + one.height <= other.y + ROOM
            or other.y + other.height <= one.y + ROOM
        )
        assert apart, (one, other)


def _texts(drawn: list[Drawn]) -> list[str]:
    return [each.text for each in drawn]


_CASES = [pytest.param(unit, of, id=f"{name}-{of}") for name, unit in UNITS.items() for of in ("payment", "refund")]


@pytest.mark.parametrize(("unit", "of"), [*share(_CASES[::2], of=4), *share(_CASES[1::2], of=6)])
def test_the_longest_texts_of_users_stay_apart(unit: str, of: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Far too long names, plans, addresses, tax ids and ids, in every kind of script, keep their places."""
    name, address = (unit * 200)[:200], "\n".join([(unit * 300)[:300]] * 5)
    receipt = replace(
        RECEIPT, number=name, seller=Seller(name, address, name), customer_name=name, customer_id=name,
        subscription_id=name, plan=name, transaction_id=name, payment_method=name, of=of,
    )  # fmt: skip
    with watched(monkeypatch) as drawn:
        render(receipt)
    _expect_in_place(drawn, receipt)


@pytest.mark.parametrize("currency", ["KWD", "ISK", "UGX", *share(sorted(CURRENCIES - {"KWD", "ISK", "UGX"}), of=8)])
def test_the_largest_amount_of_each_currency_is_whole(currency: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest amount of every currency stands three times on the page, uncut and in place, beside the longest month
    and offset."""
    amount = currencies.written(currencies.LARGEST - Decimal(1), currency)
    paid_at = datetime.fromisoformat("2026-09-30T23:59:00+05:45")
    receipt = replace(RECEIPT, amount=amount, currency=currency, paid_at=paid_at, of="refund")
    with watched(monkeypatch) as drawn:
        render(receipt)
    _expect_in_place(drawn, receipt)
    assert _texts(drawn).count(f"{amount} {currency}") == 3
    assert "30 September 2026" in _texts(drawn)


@pytest.mark.parametrize("of", ["payment", "refund"])
def test_nothing_of_an_ordinary_receipt_is_cut(of: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is cut with the longest seller that the template admits, a plan and a name of sensible lengths, and
    Stripe's ids."""
    seller = Seller(
        "Northwind Software and Consulting Services International Limited Liability Company of Bristol",
        "Suite 1200, The Old Custom House and Exchange Building, 12 Upper Harbourside Street, Bristol BS1 4QA, "
        "Gloucestershire, England, United Kingdom of Great Britain and Northern Ireland, registered there under "
        "the company number 01234567",
        "GB 123 4567 89, EU 372 0123 456, NO 123 456 789 MVA",
    )
    receipt = replace(
        RECEIPT, seller=seller, of=of, number="20260131-AK81-S5Y8-2HYK-R12",
        paid_at=datetime(2026, 9, 30, 9, 30, tzinfo=UTC),
        customer_name="Maximiliane-Alexandra Friederike von der Wiesenthal-Hohenstein und Partner, Rechtsanwälte",
        plan="Pro, for teams of up to twenty-five people, with support on weekdays", customer_id="c" * 128,
        subscription_id="s" * 60, transaction_id="pi_3QxJ2kLkdIwHu7ix0a1B2c3D",
    )  # fmt: skip
    with watched(monkeypatch) as drawn:
        render(receipt)
    _expect_in_place(drawn, receipt)
    assert [text for text in _texts(drawn) if ELLIPSIS in text] == []


@pytest.mark.parametrize("of", ["payment", "refund"])
@pytest.mark.parametrize("tag", LANGUAGES)
def test_no_language_overflows_a_place(tag: str, of: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In every language, each of our own texts keeps its place uncut, in letters of 6 points at the least, beside a
    large amount, a long number of the receipt and the longest months."""
    for month in (9, 12):
        receipt = replace(
            RECEIPT, of=of, locale=tag, amount="999999.99", currency="USD", number="20260131-AK81-S5Y8-2HYK-R12",
            paid_at=datetime(2026, month, 28, 23, 59, tzinfo=UTC), period_start=date(2026, month, 28),
            period_end=date(2027, month, 28), payment_method="American Express ending in 4242",
        )  # fmt: skip
        with watched(monkeypatch) as drawn:
            assert render(receipt).missing == ""
        _expect_in_place(drawn, receipt)
        assert [text for text in _texts(drawn) if ELLIPSIS in text] == []
        assert len(drawn) >= 30
