"""The receipt's PDF: right in every script that has a font, honest about missing characters, and byte for byte
repeatable."""

import io
import logging
import os
import re
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import cache
from itertools import batched
from pathlib import Path
from typing import Any

import pikepdf
import pypdfium2
import pytest
import receipt_fonts
from fontTools.ttLib import TTFont
from fpdf import FPDF
from fpdf.fonts import TTFFont
from hypothesis import given, settings
from hypothesis import strategies as st

from generate_receipt.pdf import FOOTER_Y, Receipt, RenderedReceipt, Seller, render
from generate_receipt.typesetting import ALPHABETS, HAN, SHAPED, tidy
from renewals.language.catalogues import catalogue
from tests.shares import share

RECEIPT = Receipt(
    number="R-2026-01-31-8F3K2Q",
    paid_at=datetime(2026, 1, 31, 9, 30, tzinfo=UTC),
    seller=Seller("Northwind Software Ltd", "12 Harbour Street, Bristol, United Kingdom", "GB 123 4567 89"),
    customer_name="Ada Lovelace",
    customer_id="cus_1042",
    subscription_id="sub_77310",
    plan="Team plan, monthly",
    period_start=date(2026, 1, 31),
    period_end=date(2026, 2, 28),
    transaction_id="pi_3QxJ2kLkdIwHu7ix0a1B2c3D",
    payment_method="Visa ending in 4242",
    amount="29.99",
    currency="EUR",
)
NAMES = {
    "latin_1": "Zoë Ångström",
    "cp1252": "Šárka “Žofie” Œuvrard – 5 €",
    "latin": "Łukasz Đặng Şükrü Ġorġ",
    "greek": "Γιώργος Παπαδόπουλος",
    "cyrillic": "Дмитрий Щербаков",
    "japanese": "山田太郎",
    "japanese_kana": "たなか ハルキ",
    "japanese_beyond_jis": "髙橋 﨑山",
    "simplified": "王小明",
    "traditional": "陳大文",
    "rare_han": "王喆 赵珺",
    "korean": "김민준",
    "arabic": "محمد عبد الله الأحمد",
    "persian": "پژمان گل‌محمدی",
    "hebrew": "דוד בן־גוריון",
    "thai": "สมชาย ใจดี น้ำผึ้ง",
    "lao": "ສົມສັກ ແກ້ວມະນີ",
    "khmer": "សុខ សុភ័ក្ត្រ ស្រី",
    "burmese": "အောင်ဆန်းစုကြည် မြန်မာ",
    "devanagari": "श्रीकृष्ण त्रिपाठी क्\u200dष",
    "bengali": "রবীন্দ্রনাথ ঠাকুর র\u200d্যাপ",
    "gurmukhi": "ਗੁਰਪ੍ਰੀਤ ਸਿੰਘ",
    "gujarati": "મોહનદાસ ગાંધી શ્રી",
    "oriya": "ଶ୍ରୀ ଜଗନ୍ନାଥ",
    "tamil": "தமிழ்ச்செல்வன் கோபால்",
    "telugu": "శ్రీనివాస రామానుజన్",
    "kannada": "ಕುವೆಂಪು ಶ್ರೀ ರ\u200d್ಯಾಂಕ್",
    "malayalam": "രാജന്\u200d ശ്രീധരൻ ക്ഷ",
    "sinhala": "ශ්\u200dරී රාමචන්ද්\u200dර",
    "thaana": "މުޙައްމަދު ނަޝީދު",
    "armenian": "Արամ Խաչատրյան",
    "georgian": "ნინო ბერიძე ᲜᲘᲜᲝ",
    "ethiopic": "አበበ ቢቂላ",
    "cherokee": "ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ",
    "syllabics": "ᐃᓄᒃᑎᑐᑦ",
    "tifinagh": "ⵜⴰⵎⴰⵣⵉⵖⵜ",
    "mixed": "Łukasz Иванов 山田 김",
    "mixed_shaped": "Łukasz श्री ३ สมชาย 3 김 ශ්\u200dරී",
}
QPDF = shutil.which("qpdf")
PDFTOTEXT = shutil.which("pdftotext")
MARGIN = 20 * 72 / 25.4


def named(name: str) -> Receipt:
    return replace(RECEIPT, customer_name=name)


@cache
def printed(receipt: Receipt) -> RenderedReceipt:
    """Render a receipt once for several tests, and check that no glyph is left out."""
    with nothing_dropped():
        return render(receipt)


def text_of(pdf: bytes) -> str:
    """Return pdfium's text of the page, without the directional marks that pdfium adds."""
    with pypdfium2.PdfDocument(pdf) as document:
        assert len(document) == 1
        return str(document[0].get_textpage().get_text_range()).replace("\r\n", "\n")


def boxes_of(pdf: bytes) -> list[tuple[str, float, float, float, float]]:
    """Return every visible character with its left, bottom, right and top edge in points."""
    with pypdfium2.PdfDocument(pdf) as document:
        page = document[0].get_textpage()
        return [
            (character, *page.get_charbox(index))
            for index in range(page.count_chars())
            if (character := page.get_text_range(index, 1)).strip()
        ]


def embedded(pdf: bytes) -> dict[str, str]:
    """Return the characters drawn with every embedded font, by the font's name, read from the font's ToUnicode map."""
    with pikepdf.open(io.BytesIO(pdf)) as document:
        fonts: Any = document.pages[0].Resources.Font
        maps = {str(font.BaseFont): font.ToUnicode.read_bytes() for font in fonts.values() if "/ToUnicode" in font}
    return {
        name: "".join(
            bytes.fromhex(code.decode()).decode("utf-16-be")
            for code in re.findall(rb"^<[0-9A-F]{4}> <([0-9A-F]+)>$", cmap, re.MULTILINE)
        )
        for name, cmap in maps.items()
    }


@contextmanager
def nothing_dropped() -> Iterator[None]:
    """Fail if fpdf2 logs a glyph left out."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setLevel(logging.WARNING)
    logger = logging.getLogger("fpdf")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
    assert written.getvalue() == ""


def assert_valid(pdf: bytes) -> None:
    with pikepdf.open(io.BytesIO(pdf)) as document:
        assert document.check_pdf_syntax() == []
        assert len(document.pages) == 1


def _read(text: str) -> str:
    """Return the text for a comparison: without joiners, which are invisible, and without the directional marks of PDF
    readers."""
    return re.sub("[\u200c\u200d\u202a-\u202e]", "", text)


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_a_name_comes_back_from_the_page(name: str) -> None:
    """A name in any script that has a font is read from the PDF in logical order and without missing characters."""
    rendered = printed(named(name))
    assert _read(name) in _read(text_of(rendered.pdf))
    assert rendered.missing == ""
    assert_valid(rendered.pdf)


def test_it_says_everything_about_the_payment() -> None:
    """The page tells seller, customer, plan, the days covered, number, transaction, payment method, amount and time."""
    text = text_of(render(RECEIPT).pdf)
    for expected in (
        "Receipt number", "R-2026-01-31-8F3K2Q", "PAID", "31 January 2026, 09:30 UTC", "29.99 EUR",
        "Northwind Software Ltd", "12 Harbour Street\n", "Bristol\n", "United Kingdom\n", "Tax ID: GB 123 4567 89",
        "Ada Lovelace", "cus_1042", "sub_77310", "Team plan, monthly", "31 Jan 2026 – 27 Feb 2026",
        "pi_3QxJ2kLkdIwHu7ix0a1B2c3D", "Visa ending in 4242",
    ):  # fmt: skip
        assert expected in text


@pytest.mark.parametrize(
    ("locale", "number"), [("en", "Refund number"), ("de", "Erstattungsnummer"), ("ja", "返金番号")]
)
def test_the_number_of_a_refund_is_called_as_in_the_mail(locale: str, number: str) -> None:
    """The receipt of a refund calls its number by the words of the refund's mail, and not the number of a receipt."""
    assert catalogue("receipts", locale)["number_refund"] == catalogue("mails", locale)["fact_refund_number"] == number
    text = text_of(render(replace(RECEIPT, of="refund", locale=locale)).pdf)
    assert number in text
    assert catalogue("receipts", locale)["number_payment"] not in text


def test_what_is_unknown_is_left_out() -> None:
    """Without a payment method, tax id, name or plan the page has no label without a value."""
    seller = Seller("Northwind", "", "")
    text = text_of(render(replace(RECEIPT, payment_method=None, seller=seller, customer_name="", plan="")).pdf)
    assert "Payment method" not in text
    assert "Tax ID" not in text
    assert "Subscription\n" in text


def test_a_period_of_one_day_is_one_date() -> None:
    """A daily subscription's period is printed as a single date, not as a range."""
    text = text_of(render(replace(RECEIPT, period_end=date(2026, 2, 1))).pdf)
    assert "31 Jan 2026" in text
    assert "–" not in text


@pytest.mark.parametrize(
    ("address", "lines"),
    [
        ("1 Main St\nSpringfield, IL\n\nUSA", ["1 Main St", "Springfield, IL", "USA"]),
        ("12, Rue de Rivoli, Paris, France", ["12, Rue de Rivoli", "Paris", "France"]),
        ("a, b, c, d, e, f", ["a, b, c, d, e, f"]),
    ],
)
def test_an_address_is_set_in_lines(address: str, lines: list[str]) -> None:
    """An address keeps its lines; without lines the address is broken at commas, except after a number or into too many
    lines."""
    rendered = render(replace(RECEIPT, seller=Seller("Northwind", address, "")))
    assert "\n".join(lines) in re.sub(" *\n", "\n", text_of(rendered.pdf)).replace("Customer cus_1042\n", "")


@pytest.mark.parametrize("name", ["😀 unknown", *share(NAMES.values(), of=3)])
def test_the_same_receipt_has_the_same_bytes(name: str) -> None:
    """Rendering a receipt twice gives the same file."""
    assert render(named(name)) == printed(named(name))


@pytest.mark.parametrize("seed", share(["1", "2"], of=2))
def test_another_process_gives_the_same_bytes(tmp_path: Path, seed: str) -> None:
    """Neither the process nor its hash seed changes the file."""
    mixed = named(NAMES["mixed"] + " 😀 " + NAMES["arabic"])
    script = tmp_path / "again.py"
    script.write_text(
        "import sys, datetime\n"
        "from generate_receipt.pdf import Receipt, Seller, render\n"
        f"sys.stdout.buffer.write(render({mixed!r}).pdf)\n",
        encoding="utf-8",
    )
    environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path), "TZ": "Asia/Tokyo"}
    done = subprocess.run([sys.executable, script], capture_output=True, env=environment, timeout=60, check=True)
    assert done.stdout == render(mixed).pdf


def test_a_character_without_a_font_is_seen_and_named() -> None:
    """An emoji becomes U+FFFD on the page and is reported once for all its places; the remaining text is printed."""
    rendered = render(replace(RECEIPT, customer_name="Ada 😀🎉 Lovelace", plan="Plan 😀"))
    assert rendered.missing == "🎉😀"
    assert "Ada �� Lovelace" in text_of(rendered.pdf)
    assert "Plan �" in text_of(rendered.pdf)
    replaced = [box for box in boxes_of(rendered.pdf) if box[0] == "�"]
    assert len(replaced) == 3
    assert all(right > left and top > bottom for _, left, bottom, right, top in replaced)


@pytest.mark.parametrize(
    ("name", "seen", "missing"),
    [
        ("Ada\nKing\tLovelace\u3000II", "Ada King Lovelace II", ""),
        ("Ada\x00\x1b[31m", "Ada��[31m", "\x00\x1b"),
        ("Ada \ud83d", "Ada �", "\ufffd"),
        ("Ada \u202egnp.exe\u2066", "Ada gnp.exe", ""),
        ("A\u200bd\u200da\ufeff", "Ada", ""),
        ("Zoe\u0308 A\u030angstro\u0308m", "Zoë Ångström", ""),
        ("김민준", "김민준", ""),
        ("Ada {nb}", "Ada {nb}", ""),
        ("Иван {nb}", "Иван {nb}", ""),
        ("Ada **bold** (x) \\", "Ada **bold** (x) \\", ""),
        ("�", "�", ""),
    ],
)
def test_odd_characters(name: str, seen: str, missing: str) -> None:
    """Line breaks become spaces, invisible characters are dropped, letters are composed, and undrawable characters are
    replaced."""
    rendered = render(named(name))
    assert seen in text_of(rendered.pdf)
    assert rendered.missing == missing


def test_the_name_of_a_person_keeps_its_own_characters() -> None:
    """A compatibility Han character keeps its shape, though normalisation would replace the character."""
    assert tidy("\ufa19") == "\ufa19"
    assert tidy("か\u3099") == "が"


def test_a_latin_1_receipt_embeds_no_font() -> None:
    """A receipt within the core font's characters embeds no font."""
    assert embedded(render(named(NAMES["cp1252"])).pdf) == {}


def test_one_font_serves_the_whole_receipt_where_it_can() -> None:
    """Kana in the plan make the Han name Japanese: only the Japanese font is embedded, without a Chinese font beside
    it."""
    rendered = render(replace(RECEIPT, customer_name="山田太郎", plan="プラン Pro"))
    assert set(embedded(rendered.pdf)) == {"/MPDFAA+NotoSansCJKJP"}


@pytest.mark.parametrize(("currency", "language"), [("JPY", "JP"), ("TWD", "TC"), ("CNY", "SC"), ("USD", "SC")])
def test_han_alone_follows_the_currency(currency: str, language: str) -> None:
    """Where the characters do not tell the language, the currency picks the shapes."""
    rendered = render(replace(named("王小明"), currency=currency))
    assert set(embedded(rendered.pdf)) == {f"/MPDFAA+NotoSansCJK{language}"}


@pytest.mark.parametrize("part", share([0, 1, 2], of=3))
@pytest.mark.parametrize("font", sorted(receipt_fonts.coverage()))
def test_no_character_of_a_font_is_lost(font: str, part: int) -> None:
    """Characters from all over a font's repertoire, twenty in a line, are all drawn with an embedded font: a third of
    the sample in `make test`, the whole sample in `make proof`."""
    covered = sorted(receipt_fonts.coverage()[font])
    sample = covered[:: max(1, len(covered) // 100)]
    for together in batched(sample[part::3], 100, strict=False):
        texts = ["Ж " + " ".join(together[start : start + 20]) for start in range(0, 100, 20)]
        customer, plan, seller, *address = texts
        with nothing_dropped():
            rendered = render(
                replace(RECEIPT, customer_name=customer, plan=plan, seller=Seller(seller, "\n".join(address), ""))
            )
        drawn = set("".join(embedded(rendered.pdf).values()))
        assert set(tidy("".join(together))) - drawn - {"\u200c", "\u200d"} == set()
        assert rendered.missing == ""


def test_arabic_letters_join() -> None:
    """Three times the same Arabic letter in a word are drawn as three different shapes."""
    drawn = "".join(embedded(render(named("ببب")).pdf).values())
    assert drawn.count("ب") == 3


@pytest.mark.parametrize("name", ["محمد", "דניאל"])
def test_right_to_left_is_drawn_right_to_left(name: str) -> None:
    """The first letter of a right-to-left word stands to the right of the last letter."""
    lefts = {character: left for character, left, *_ in boxes_of(render(named(name)).pdf)}
    assert lefts[name[0]] != lefts[name[-1]]
    first_letter = max(left for character, left, *_ in boxes_of(render(named(name)).pdf) if character == name[0])
    assert first_letter > lefts[name[-1]]


LONG = {
    "words": "Wolfeschlegelstein hausenbergerdorff ",
    "one_word": "W",
    "cyrillic": "Великолепный ",
    "japanese": "東京都千代田区",
    "arabic": "الاحترافية ",
    "marks": "e\u0301\u0323\u0304",
}


@pytest.mark.parametrize("unit", LONG.values(), ids=LONG.keys())
def test_long_texts_stay_in_their_places(unit: str) -> None:
    """Names of 200 and addresses of 1000 characters stay on the page, above the footer, and end in an ellipsis."""
    name, address = (unit * 200)[:200], (unit * 1000)[:1000]
    rendered = render(
        replace(
            RECEIPT, number=name, seller=Seller(name, address, name), customer_name=name, customer_id=name,
            subscription_id=name, plan=name, transaction_id=name, payment_method=name,
        )
    )  # fmt: skip
    assert_valid(rendered.pdf)
    assert re.search("…|[.]{3}", text_of(rendered.pdf))  # beside Arabic pdfium reads the ellipsis as three points
    boxes = boxes_of(rendered.pdf)
    assert min(left for _, left, *_ in boxes) > MARGIN
    assert max(right for *_, right, _ in boxes) < 595.3 - MARGIN
    footer = 841.9 - FOOTER_Y * 72 / 25.4
    bottoms = [bottom for _, _, bottom, _, top in boxes if top > footer]
    assert min(bottoms) > footer


def test_a_text_of_any_length_is_cut() -> None:
    """A text of a million characters is cut as quickly and harmlessly as a long text."""
    rendered = render(replace(RECEIPT, customer_id="\u0635e\u0301" * 500_000, plan="\u0301" * 1_000_000))
    assert_valid(rendered.pdf)
    assert "…" in text_of(rendered.pdf)


def test_a_wrapped_text_is_whole() -> None:
    """A plan in two lines loses no character between the lines."""
    plan = "プレミアムプラン（月額）とすべての追加機能を含む特別な年間契約"
    assert plan in text_of(render(replace(RECEIPT, plan=plan)).pdf).replace("\n", "")


def test_a_big_amount_is_never_cut() -> None:
    """An amount too wide for its column is set in smaller type, not shortened."""
    text = text_of(render(replace(RECEIPT, amount="123456789012345678.99")).pdf)
    assert text.count("123456789012345678.99 EUR") == 3


@pytest.mark.parametrize(
    ("paid_at", "printed", "metadata"),
    [
        ("2026-03-31T00:30:00+02:00", "31 March 2026, 00:30 UTC+02:00", "D:20260331003000+02'00'"),
        ("2026-03-30T22:30:00-04:00", "30 March 2026, 22:30 UTC-04:00", "D:20260330223000-04'00'"),
        ("2026-03-31T04:00:00+05:30", "31 March 2026, 04:00 UTC+05:30", "D:20260331040000+05'30'"),
        ("2026-03-30T22:30:00+00:00", "30 March 2026, 22:30 UTC", "D:20260330223000Z"),
    ],
)
def test_the_time_of_payment_is_printed_in_the_offset_it_was_recorded_in(
    paid_at: str, printed: str, metadata: str
) -> None:
    """A single moment in four time zones: every receipt prints its local day twice, and is the same file when rendered
    again."""
    receipt = replace(RECEIPT, paid_at=datetime.fromisoformat(paid_at))
    pdf = render(receipt).pdf
    assert any(line.endswith(printed) for line in text_of(pdf).splitlines())
    assert text_of(pdf).count(printed.partition(",")[0]) == 2
    with pikepdf.open(io.BytesIO(pdf)) as document:
        assert str(document.docinfo["/CreationDate"]) == metadata
    assert render(receipt).pdf == pdf


def test_metadata() -> None:
    """The file's metadata has title, author, subject, language and the time of the payment."""
    with pikepdf.open(io.BytesIO(render(named("山田太郎")).pdf)) as document:
        assert str(document.docinfo["/Title"]) == "Receipt R-2026-01-31-8F3K2Q"
        assert str(document.docinfo["/Author"]) == "Northwind Software Ltd"
        assert str(document.docinfo["/Subject"]) == "Team plan, monthly, 31 Jan 2026 – 27 Feb 2026"
        assert str(document.docinfo["/CreationDate"]).startswith("D:20260131093000")
        assert str(document.Root.Lang) == "en"


anything = st.text(
    st.characters() | st.sampled_from("\u202e\u200d\ud800\x00{}()\\*_�ab \n山しمبעЖé\u0301김😀\u064b(١2)"), max_size=60
)


@settings(max_examples=15, deadline=None)
@given(texts=st.tuples(*[anything] * 8), method=st.none() | anything, amount=anything, currency=anything)
def test_any_text_gives_one_valid_page(texts: tuple[str, ...], method: str | None, amount: str, currency: str) -> None:
    """Any texts give a single valid page, no glyph is left out, and the missing characters can be logged."""
    _expect_one_valid_page(texts, method, amount, currency)


@pytest.mark.proof
@settings(max_examples=400, deadline=None)
@given(texts=st.tuples(*[anything] * 8), method=st.none() | anything, amount=anything, currency=anything)
def test_any_text_gives_one_valid_page_for_long(
    texts: tuple[str, ...], method: str | None, amount: str, currency: str
) -> None:
    """Four hundred random receipts give a single valid page, too."""
    _expect_one_valid_page(texts, method, amount, currency)


def _expect_one_valid_page(texts: tuple[str, ...], method: str | None, amount: str, currency: str) -> None:
    number, name, address, tax_id, customer, customer_id, subscription, plan = texts
    with nothing_dropped():
        rendered = render(
            replace(
                RECEIPT, number=number, seller=Seller(name, address, tax_id), customer_name=customer,
                customer_id=customer_id, subscription_id=subscription, plan=plan, payment_method=method,
                amount=amount, currency=currency,
            )
        )  # fmt: skip
    assert_valid(rendered.pdf)
    assert rendered.missing == "".join(sorted(set(rendered.missing)))
    rendered.missing.encode()


def test_the_coverage_is_that_of_the_fonts() -> None:
    """coverage.json, by which fonts are chosen, has exactly the characters of every font's own cmap."""
    assert set(receipt_fonts.coverage()) == {path.name for path in receipt_fonts.FOLDER.glob("*.[ot]tf")}
    for name, characters in receipt_fonts.coverage().items():
        with TTFont(receipt_fonts.FOLDER / name) as font:
            assert characters == set(map(chr, font.getBestCmap()))


def test_the_fonts_cover_what_they_promise() -> None:
    """The fonts have European letters with all of cp1252, JIS X 0208, GB 2312, all Hangul and the whole first Han
    block."""
    coverage = receipt_fonts.coverage()
    cp1252 = {bytes([byte]).decode("cp1252", "ignore") for byte in range(0x20, 0x100)} - {"", "\x7f", "\xa0", "\xad"}
    assert cp1252 <= coverage["latin.ttf"]
    assert "�" in coverage["latin.ttf"]
    assert set("ąčęłőřşůžạằễộữ") <= coverage["latin.ttf"]
    assert set("αωΆώἀῷ") <= coverage["greek.ttf"]
    assert set("абвяёїґқө") <= coverage["cyrillic.ttf"]
    assert set(map(chr, range(0xAC00, 0xD7A4))) <= coverage["korean.otf"]
    kanji = {
        bytes([first, second]).decode("euc_jp", "ignore") for first in range(0xB0, 0xF5) for second in range(0xA1, 0xFF)
    }
    assert {character for character in kanji if unicodedata.category(character or " ") == "Lo"} <= coverage[
        "japanese.otf"
    ]
    hanzi = {
        bytes([first, second]).decode("gb2312", "ignore") for first in range(0xB0, 0xF8) for second in range(0xA1, 0xFF)
    }
    assert hanzi - {""} <= coverage["simplified.otf"]
    assert set(map(chr, range(0x4E00, 0x9FA6))) <= frozenset().union(*coverage.values())


def test_what_needs_shaping_is_shaped() -> None:
    """Exactly the fonts with positioning rules (GPOS) are shaped on the receipt, and every font is used."""
    shaped = set()
    for name in receipt_fonts.coverage():
        with TTFont(receipt_fonts.FOLDER / name) as font:
            shaped |= {name} if "GPOS" in font else set()
    assert shaped == SHAPED
    assert {*ALPHABETS, *HAN} == set(receipt_fonts.coverage())


@pytest.mark.parametrize("name", ["thai", "devanagari", "armenian", "ethiopic", "sinhala", "khmer", "burmese"])
def test_a_font_is_loaded_only_where_its_script_is_needed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name in a single script opens only the script's own font."""
    opened: list[str] = []
    add = FPDF.add_font

    def watched(self: FPDF, family: str, *rest: Any) -> None:
        opened.append(family)
        add(self, family, *rest)

    monkeypatch.setattr(FPDF, "add_font", watched)
    render(named(NAMES[name]))
    assert opened == [f"{name}.ttf"]


@pytest.mark.parametrize(
    ("name", "piece"),
    [
        *(
            (NAMES[script], NAMES[script])
            for script in ("devanagari", "bengali", "malayalam", "sinhala", "khmer", "tamil")
        ),
        ("محمد श्री क्\u200dष Ann", "श्री क्\u200dष "),
        ("Ann ශ්\u200dරී 2", "ශ්\u200dරී "),
    ],
)
def test_letters_are_joined_as_their_script_wants(name: str, piece: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is passed to HarfBuzz in a single piece, with joiners and marks beside their letters: no letter is torn
    apart."""
    pieces: list[str] = []
    shape = TTFFont.shape_text

    def watched(self: TTFFont, text: str, *rest: Any) -> Any:
        pieces.append(text)
        return shape(self, text, *rest)

    monkeypatch.setattr(TTFFont, "shape_text", watched)
    render(named(name))
    assert piece in pieces


@pytest.mark.parametrize("font", sorted(receipt_fonts.coverage()))
def test_the_fonts_are_free(font: str) -> None:
    """Every font names the SIL Open Font License, and OFL.txt beside the fonts has the license and the font's copyright
    holder."""
    with TTFont(receipt_fonts.FOLDER / font) as opened:
        assert "SIL Open Font License, Version 1.1" in opened["name"].getDebugName(13)
        holder = opened["name"].getDebugName(0)
    assert holder in (receipt_fonts.FOLDER / "OFL.txt").read_text(encoding="utf-8")


@pytest.mark.skipif(QPDF is None, reason="qpdf is not installed")
@pytest.mark.parametrize("name", share((pytest.param(name, id=script) for script, name in NAMES.items()), of=3))
def test_qpdf_accepts_it(name: str, tmp_path: Path) -> None:
    """`qpdf --check` finds no fault in the file."""
    path = tmp_path / "receipt.pdf"
    path.write_bytes(printed(named(name)).pdf)
    done = subprocess.run([str(QPDF), "--check", path], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# Thaana is left out: poppler 22 parts its letters from their marks.
@pytest.mark.skipif(PDFTOTEXT is None, reason="pdftotext is not installed")
@pytest.mark.parametrize("script", share(sorted(NAMES.keys() - {"thaana"}), of=3))
def test_pdftotext_gives_the_name_back(script: str, tmp_path: Path) -> None:
    """`pdftotext` reads the name in logical order (with directional marks around right-to-left text)."""
    path = tmp_path / "receipt.pdf"
    path.write_bytes(printed(named(NAMES[script])).pdf)
    done = subprocess.run(
        [str(PDFTOTEXT), "-enc", "UTF-8", path, "-"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=30,
        check=True,
    )
    assert _read(NAMES[script]) in _read(done.stdout)
