"""Each mail and each receipt, composed in each language."""

import re
import unicodedata
from functools import cache
from html import unescape

import pytest

from generate_receipt.pdf import render
from renewals.language import words
from renewals.language.tags import ENGLISH, LANGUAGES
from scripts import mails_page
from scripts.mails_page import Example
from tests.unit.test_catalogues import ENGLISH_WORDS

USERS = ("Ann Lee", "Pro", "Visa", "Example Ltd", "12345 Example City", "1 Example Street", "Secure")
AMOUNT = re.compile(r"\d[\d.,\u00a0]*[.,]\d\d(?!\d)")


@cache
def composed(tag: str) -> list[Example]:
    return list(mails_page.spoken(tag))


MAILS = [example.name for example in composed(ENGLISH) if isinstance(example.shown, str)]


def html_of(tag: str, name: str) -> str:
    shown = next(each.shown for each in composed(tag) if each.name == name)
    assert isinstance(shown, str)
    return shown


@pytest.mark.parametrize("tag", LANGUAGES)
def test_nothing_is_left_over_in_a_mail(tag: str) -> None:
    """No mail has a brace, a dollar sign of the layout, a lost character, or a word of English in another language;
    text and HTML say the same. The page says its language and its direction."""
    for name in MAILS:
        plain = next(each.words for each in composed(tag) if each.name == name)
        html = html_of(tag, name)
        body = html.partition("<body")[2]
        seen = " ".join(unescape(re.sub("<[^>]+>", " ", re.sub(r"</?(bdi|span)[^>]*>", "", body))).split())
        assert not re.search(r"[{}\ufffd]|\$[a-z]", plain + body), name
        left = {word.lower() for word in re.findall("[A-Za-z]+", re.sub(r"https?://\S+", "", plain))} & ENGLISH_WORDS
        assert tag == ENGLISH or left == set(), name
        assert f'<html lang="{tag}" dir="{words(tag).direction}">' in html
        for paragraph in [line for line in plain.splitlines() if line.strip()][1:4]:
            without = re.sub("[\u2066-\u2069]", "", " ".join(paragraph.split()))
            assert without in seen, (name, without)


WITHOUT_AMOUNTS = ("card_detached", "cancellation_declared", "withdrawal_declared")


@pytest.mark.parametrize("tag", LANGUAGES)
def test_no_amount_breaks_or_turns_around(tag: str) -> None:
    """In HTML each amount is an element that keeps its line and its direction. In plain text no amount has an ordinary
    space within (English keeps the space before a code), and marks of direction stand in pairs in a text from right to
    left, and nowhere else."""
    for name in MAILS:
        plain = next(each.words for each in composed(tag) if each.name == name)
        html = html_of(tag, name).partition("</title>")[2]
        kept = re.findall(r'<bdi dir="(?:ltr|rtl)" style="white-space:nowrap">[^<]+</bdi>', html)
        bare = re.sub(r'<bdi dir="(?:ltr|rtl)" style="white-space:nowrap">[^<]+</bdi>', "", html)
        assert kept or name in WITHOUT_AMOUNTS
        assert AMOUNT.search(re.sub(r"<[^>]*>|<style.*?</style>", "", bare, flags=re.DOTALL)) is None, name
        assert tag == ENGLISH or not re.search(r"\d (?:USD|US\$|\$)|(?:USD|US\$|\$) \d", plain), name
        opened, closed = (len(re.findall(marks, plain)) for marks in ("[\u2066-\u2068]", "\u2069"))
        assert opened == closed
        assert (opened > 0) == (words(tag).direction == "rtl")
        assert not re.search("[\u200e\u200f\u202a-\u202e]", plain + html)


def test_ids_keep_their_order_in_arabic() -> None:
    """In HTML from right to left, each value beside a label, and the seller's name, have a direction of their own: the
    parts of a receipt number such as 20260131-RMP6-B7AQ-NAX3, and of UTC+00, stay in their order."""
    for name in MAILS:
        html = html_of("ar", name)
        values = re.findall(r'<tr class="fact">.*?</td><td[^>]*>(.*?)</td>', html)
        assert values, name
        assert [each for each in values if not re.fullmatch("<bdi.*</bdi>", each)] == [], name
        assert "<bdi>Example Ltd</bdi>" in html
    assert "<bdi>20260131-RMP6-B7AQ-NAX3</bdi>" in html_of("ar", "receipt")
    assert "(<bdi>UTC+00</bdi>)" in html_of("ar", "cancellation")


@pytest.mark.parametrize("tag", [tag for tag in LANGUAGES if tag != ENGLISH])
def test_no_mail_is_in_english(tag: str) -> None:
    """Every line of every mail differs from the English line, but for ids and for lines of users' texts."""
    for name in MAILS:
        lines, english = (
            next(each.words for each in composed(of) if each.name == name).splitlines() for of in (tag, ENGLISH)
        )
        same = {line for line in lines if line.strip() and line in english}
        assert all(line.strip() in ("Example Ltd", "Plan: Pro") for line in same), (name, same)


@pytest.mark.parametrize("tag", LANGUAGES)
def test_a_mail_has_at_most_one_button(tag: str) -> None:
    """A mail has at most one button, 44 pixels high or more, in every language."""
    for name in MAILS:
        html = html_of(tag, name)
        buttons = re.findall(r'<a href="[^"]+" style="([^"]+)">', re.sub(r'<a class="link".*?</a>', "", html))
        assert len(buttons) <= 1
        assert all("padding:12px 24px" in style and "font:bold 16px/20px" in style for style in buttons)


@pytest.mark.parametrize("tag", LANGUAGES)
def test_a_receipt_has_all_letters_and_no_english(tag: str) -> None:
    """The receipts of a payment and of a refund have every letter of their language, and no word of English."""
    for example in composed(tag)[len(MAILS) :]:
        assert isinstance(example.shown, bytes)
        text = unicodedata.normalize("NFKC", example.words)
        assert "\ufffd" not in text
        spoken = {word.lower() for word in re.findall("[A-Za-z]+", text)} & ENGLISH_WORDS
        assert tag == ENGLISH or spoken == set()
    assert [render(receipt).missing for receipt in mails_page.receipts(tag)] == ["", ""]
