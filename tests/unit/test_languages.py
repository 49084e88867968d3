"""The language of a customer, and the dates and amounts in each language."""

import re
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layers.language.prune_babel import LOCALES
from renewals.domain import currencies, wording
from renewals.language import by_babel, catalogues, marks, words
from renewals.language.tags import ENGLISH, LANGUAGES, serving

START, END = date(2026, 1, 31), date(2026, 2, 28)

SERVED = {
    "de": "de", "de-AT": "de", "de_AT": "de", "de_AT.UTF-8": "de", "DE-1996": "de", "de-CH-1996": "de", "deu": "de",
    "pt": "pt", "pt-BR": "pt", "pt_PT": "pt", "fr-CA": "fr", "es-419": "es", "nl-BE": "nl", "it-CH": "it",
    "zh": "zh", "zh-CN": "zh", "zh-Hans": "zh", "zh-Hans-CN": "zh", "zh_SG": "zh", "zh-Hans-HK": "zh", "cmn-Hans": "zh",
    "zh-cmn-Hans-HK": "zh",
    "ja": "ja", "ja-JP": "ja", "ja-JP-u-ca-japanese": "ja", "ja-Jpan-JP": "ja", "ar": "ar", "ar-EG": "ar", "arb": "ar",
    "ar-Arab-MA": "ar", "pl-PL": "pl", "de-x-simple": "de", " fr ": "fr", "de-Latn-AT": "de", "es_ES@euro": "es",
    # English for readers of traditional Chinese, of other scripts, and of other languages
    "zh-Hant": "en", "zh-TW": "en", "zh-HK": "en", "zh_MO": "en", "zh-Hant-CN": "en", "zh-yue-HK": "en",
    "ar-Latn": "en", "ja-Latn": "en", "de-Cyrl": "en", "sr-Latn": "en", "sr": "en", "xx": "en", "den": "en",
    "EN-us": "en", "en-GB-oed": "en", "x-klingon": "en", "x-de": "en", "i-klingon": "en", "art-lojban": "en",
    "": "en", "-": "en", "_": "en", "de-": "de", "-de": "en", "C": "en", "POSIX": "en", "日本": "en", "\ud800": "en",
}  # fmt: skip


@pytest.mark.parametrize(("locale", "tag"), SERVED.items())
def test_a_tag_leads_to_the_nearest_language(locale: str, tag: str) -> None:
    """A tag leads to its own language, and to English if no catalogue is in a language and a script of the reader."""
    assert serving(locale) == tag


@given(st.text(max_size=60) | st.from_regex(r"[A-Za-z]{2,3}([_-][A-Za-z0-9]{1,8}){0,12}", fullmatch=True))
def test_every_text_leads_to_a_language(locale: str) -> None:
    """Every locale that a row can hold leads to a language, and to the same language in any case of its letters."""
    assert serving(locale) in LANGUAGES
    if locale.isascii():
        assert serving(locale.upper()) == serving(locale.lower()) == serving(locale)


@pytest.mark.parametrize(
    ("tag", "price", "money", "day", "days", "month"),
    [
        ("en", "$1,029.90", "1029.90 USD", "31 January 2026", "31 January 2026 to 27 February 2026", "January 2026"),
        ("de", "1.029,90_$", "1.029,90_USD", "31. Januar 2026", "31. Januar 2026 – 27. Februar 2026", "Januar 2026"),
        ("fr", "1_029,90_$US", "1_029,90_USD", "31 janvier 2026", "31 janvier 2026 – 27 février 2026", "janvier 2026"),
        ("es", "1.029,90_US$", "1.029,90_USD", "31 de enero de 2026", "31 de enero de 2026 – 27 de febrero de 2026",
         "enero de 2026"),
        ("it", "1.029,90_USD", "1.029,90_USD", "31 gennaio 2026", "31 gennaio 2026 – 27 febbraio 2026", "gennaio 2026"),
        ("nl", "US$_1.029,90", "1.029,90_USD", "31 januari 2026", "31 januari 2026 – 27 februari 2026", "januari 2026"),
        ("pt", "US$_1.029,90", "1.029,90_USD", "31 de janeiro de 2026",
         "31 de janeiro de 2026 – 27 de fevereiro de 2026", "janeiro de 2026"),
        ("pl", "1_029,90_USD", "1_029,90_USD", "31 stycznia 2026", "31 stycznia 2026 – 27 lutego 2026",
         "stycznia 2026"),
        ("ja", "$1,029.90", "1,029.90_USD", "2026年1月31日", "2026年1月31日～2026年2月27日", "2026年1月"),
        ("zh", "US$1,029.90", "1,029.90_USD", "2026年1月31日", "2026年1月31日至2026年2月27日", "2026年1月"),
        ("ar", "1,029.90_US$", "1,029.90_USD", "31 يناير 2026", "31 يناير 2026 – 27 فبراير 2026", "يناير 2026"),
    ],
)  # fmt: skip
def test_dates_and_amounts_are_written_as_readers_expect(
    tag: str, price: str, money: str, day: str, days: str, month: str
) -> None:
    """Each language writes dates and amounts in its own form. A low line stands for a space at which no line breaks."""
    spoken = words(tag)
    assert spoken.tag == tag
    assert marks.without(spoken.price(Decimal("1029.9"), "USD")) == price.replace("_", "\u00a0")
    assert marks.without(spoken.money(Decimal("1029.9"), "USD")) == money.replace("_", "\u00a0")
    assert spoken.day(START) == day
    assert spoken.days(START, END) == days
    assert spoken.days(START, date(2026, 2, 1)) == day
    assert spoken.month("2026-01") == month


def test_the_first_of_a_month_is_an_ordinal_where_readers_expect_an_ordinal() -> None:
    """French and Portuguese write the first day of a month as an ordinal, and no other day."""
    days = [(words(tag).day(date(2026, 5, day))) for tag in ("fr", "pt", "es") for day in (1, 11)]
    assert days == ["1er mai 2026", "11 mai 2026", "1º de maio de 2026", "11 de maio de 2026", "1 de mayo de 2026",
                    "11 de mayo de 2026"]  # fmt: skip


@pytest.mark.parametrize("tag", LANGUAGES)
def test_amounts_have_the_decimals_that_are_charged_and_no_place_to_break(tag: str) -> None:
    """In each language, an amount of each currency has the decimals that the gateway charges; the amount is marked, and
    holds no ordinary space, no narrow space and no mark of direction within. English keeps the space of its amounts."""
    for currency in sorted(currencies.TWO_DECIMAL | currencies.ZERO_DECIMAL | {"KWD", "ISK", "UGX", "BGN"}):
        for written in (words(tag).price, words(tag).money):
            amount = written(Decimal(1234567), currency)
            assert marks.is_amount(amount)
            inside = amount[1:-1]
            assert not re.search("[\u2000-\u206f\u061c]", inside), (currency, ascii(inside))
            assert tag == ENGLISH or " " not in inside
            digits = re.sub(r"\D", "", inside)
            assert digits == "1234567" + "0" * currencies.decimals(currency), (currency, inside)


def test_english_amounts_and_dates_are_those_of_the_operators() -> None:
    """English has the formats of renewals.domain.wording, unchanged."""
    english = words("en")
    assert english.plain(english.price(Decimal("29.9"), "CHF")) == wording.price(Decimal("29.9"), "CHF") == "29.90 CHF"
    assert english.short_days(START, END) == "31 Jan 2026 – 27 Feb 2026"


def test_an_amount_in_html_keeps_its_line_and_its_direction() -> None:
    """In HTML an amount is an element of its own, which does not break and has a direction, also within a text from
    right to left; what a customer or a team typed cannot make an element."""
    amount = words("ar").price(Decimal("29.9"), "AED")
    kept = '<bdi dir="rtl" style="white-space:nowrap">29.90\u00a0د.إ.</bdi>'
    assert marks.in_html(amount) == kept
    assert (
        marks.in_html(words("en").price(Decimal("29.9"), "USD"), 'class="kept"')
        == '<bdi dir="ltr" class="kept">$29.90</bdi>'
    )
    assert marks.in_html(marks.isolated("<b>")) == "<bdi>&lt;b&gt;</bdi>"


@pytest.mark.parametrize("word", ["E-Mail", "E-mail", "e-mail"])
def test_the_word_for_mail_does_not_break_after_its_hyphen(word: str) -> None:
    """In HTML no line ends with "E-": the word is kept on one line, and a longer word may break at a later hyphen.
    Plain text has the plain hyphen."""
    assert marks.in_html(f"per {word}-x", 'class="whole"') == f'per <span class="whole">{word}</span>-x'
    assert words("de").plain(f"per {word}") == f"per {word}"


def test_babel_is_pruned_to_the_languages() -> None:
    """The layer keeps Babel's data for exactly the languages that have catalogues, and the data that these inherit."""
    assert set(LANGUAGES) | {"root"} == LOCALES


@pytest.fixture
def edited(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], dict[str, str]]:
    """The texts of an area that a team has edited."""
    texts = {
        ("page", "en"): {"title": "Pay {amount} for {plan}"},
        ("page", "de"): {"title": "Zahlen Sie {amout}"},
        ("page", "ar"): {"title": "ادفع {amount} مقابل {plan}"},
    }
    monkeypatch.setattr("renewals.language.spoken.catalogue", lambda area, tag: texts.get((area, tag), {}))
    return texts


def test_a_slip_in_a_catalogue_costs_the_translation_and_no_mail(edited: dict[tuple[str, str], dict[str, str]]) -> None:
    """A text with an unknown placeholder, and a missing text, are said in English."""
    for tag in ("de", "fr"):
        assert words(tag).say("page.title", amount="1", plan="Pro") == "Pay 1 for Pro"
    edited["page", "de"]["title"] = "{plan.real.x}{amount"
    assert words("de").say("page.title", amount="1", plan="Pro") == "Pay 1 for Pro"


def test_values_keep_their_direction_in_arabic(edited: dict[tuple[str, str], dict[str, str]]) -> None:
    """In a text from right to left, each value is isolated once; marks that a customer typed are dropped; plain text
    keeps the marks, and a text from left to right has none in plain text."""
    arabic, english = words("ar"), words("en")
    price = arabic.price(Decimal("29.9"), "USD")
    said = arabic.say("page.title", amount=price, plan="P\u2069ro")
    assert said == "ادفع \u206629.90\u00a0US$\u2069 مقابل \u2068Pro\u2069"
    assert arabic.plain(said) == said
    assert (arabic.direction, english.direction) == ("rtl", "ltr")
    english_price = english.price(Decimal("29.9"), "USD")
    assert english.plain(english.say("page.title", amount=english_price, plan="Pro")) == "Pay $29.90 for Pro"


def test_catalogues_are_read_once() -> None:
    """A catalogue is read from its file once for each start of a function."""
    assert catalogues.catalogue("receipts", "en") is catalogues.catalogue("receipts", "en")
    assert catalogues.catalogue("receipts", "xx") == {}
    assert by_babel.formats("de") is by_babel.formats("de")


def test_a_card_within_an_arabic_sentence_keeps_the_direction_of_the_sentence() -> None:
    """The name of a card is a text of its own within a sentence, and is read from right to left although the brand
    stands first in Latin letters: the brand and the digits are marked within the marked name."""
    arabic = words("ar")
    said = arabic.say("mails.card_detached", plan="Pro", card=arabic.card("Visa ending in 4242"), day="1")
    assert "\u2068\u2068Visa\u2069 تنتهي بالأرقام \u20684242\u2069\u2069" in said
    assert words("de").card("Visa ending in 4242") == "Visa mit den Endziffern 4242"
    assert words("de").card("Link") == "Link"
    assert words("en").card("Unknown ending in 4242") == "Card ending in 4242"
    assert words("ja").card("Unknown ending in 4242") == "カード（末尾4242）"
