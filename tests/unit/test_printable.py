"""The visible characters of a receipt, as known to functions without fonts."""

from itertools import chain

import pytest
import receipt_fonts
from hypothesis import given, settings
from hypothesis import strategies as st

from generate_receipt.pdf import render
from renewals.domain.printable import unprintable
from renewals.domain.printable_ranges import RANGES
from scripts.subset_fonts import ranges_module
from tests.unit.test_receipt_pdf import named


def test_the_table_is_what_the_fonts_can_draw() -> None:
    """The ranges hold exactly the characters covered by all fonts together."""
    covered = chain.from_iterable(receipt_fonts.coverage().values())
    assert f'"""{RANGES}"""' in ranges_module(set(covered))


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("Ada Lovelace", ""),
        ("Zoe\u0308 Œuvrard – 5 €\tII\n", ""),
        ("สมชาย ใจดี", ""),
        ("ශ්\u200dරී ලංකා", ""),
        ("김민준", ""),
        ("\ufa19", ""),
        ("Ada 😀🎉😀 Lovelace", "😀🎉"),
        ("👩\u200d💻 ❤\ufe0f", "👩💻❤"),
        ("བོད་ཡིག", "བོད\u0f0bཡིག"),
        ("a\x00b\x1b", "\x00\x1b"),
        ("\ud83d", "\ud83d"),
    ],
)
def test_what_cannot_be_drawn_is_named(text: str, missing: str) -> None:
    """Every undrawable character is named once, in the order of the text; composed and invisible characters and spaces
    are not named."""
    assert unprintable(text) == "".join(dict.fromkeys(missing))


_ANY = st.text(st.characters() | st.sampled_from("é\u0301\u200dක්ෂกำ김ᄀ山\ufa19😀\u202e\x7f\xad"), max_size=12)


@settings(max_examples=20, deadline=None)
@given(_ANY)
def test_it_names_what_the_receipt_misses(text: str) -> None:
    """The named characters are exactly the characters for which the rendered receipt finds no font."""
    _names_what_is_missing(text)


@pytest.mark.proof
@settings(max_examples=1_000, deadline=None)
@given(_ANY)
def test_it_names_what_a_thousand_receipts_miss(text: str) -> None:
    """The same holds for a thousand texts at random."""
    _names_what_is_missing(text)


def _names_what_is_missing(text: str) -> None:
    surrogate = "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in unprintable(text))
    assert render(named(text)).missing == "".join(sorted(set(surrogate)))
