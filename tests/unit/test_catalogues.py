"""The texts that customers read, in every area (mails, receipts, page, notices) and in every language."""

import json
import re
from functools import cache
from pathlib import Path
from string import Formatter

import pytest

from renewals.language.catalogues import FOLDER
from renewals.language.tags import ENGLISH, LANGUAGES
from scripts import language_sheet

SOURCES = Path(__file__).parents[2] / "src"
AREAS = sorted(folder.name for folder in FOLDER.iterdir())
OTHERS = [tag for tag in LANGUAGES if tag != ENGLISH]
ENGLISH_ALONE = set[str]()
"""The areas that are not translated yet."""
CASES = [pytest.param(area, tag, id=f"{area}-{tag}") for area in AREAS if area not in ENGLISH_ALONE for tag in OTHERS]
# English words that are no words of the other languages here, in any of their forms that the catalogues use.
ENGLISH_WORDS = frozenset(
    """the your you please have been and with our this that payment subscription receipt charged refund update
    cancel card until before""".split()
)
EQUAL = {
    "mails.fact_plan": "es pl",
    "receipts.moment": "de fr es it nl pt pl",
    "page.status": "de nl",
    "page.plan": "es pl",
}
"""Texts that are the same as in English: the area and key, and the languages."""
LATIN_IN_OTHER_SCRIPTS = frozenset({"PDF", "UTC", "Secure", "D", "ID"})
"""Latin words that texts in other scripts use as well."""


@cache
def texts(area: str, tag: str) -> dict[str, str]:
    """Return the texts of a file. A key that is there twice would hide a text."""
    pairs: list[tuple[str, str]] = json.loads((FOLDER / area / f"{tag}.json").read_text(), object_pairs_hook=list)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def placeholders(text: str) -> set[str]:
    """Return the names of the placeholders, which are plain names without formats."""
    parts = [part[1:] for part in Formatter().parse(text) if part[1] is not None]
    assert all(form == "" and conversion is None for _, form, conversion in parts), text
    return {name or "" for name, _, _ in parts}


@cache
def sources() -> str:
    """Return all program text and page templates of the functions, without the ledger, whose attribute `mails` is no
    area."""
    files = [file for kind in ("*.py", "*.html") for file in sorted(SOURCES.rglob(kind))]
    return "\n".join(file.read_text(encoding="utf-8") for file in files if file.parent.name != "ledger")


@pytest.mark.parametrize("area", AREAS)
def test_no_text_is_missing_or_unused(area: str) -> None:
    """Each key that the sources name is in the English file, and each key of the file is named: as area.key, or by a
    beginning that a value completes, as f"area.why_{reason}"."""
    named = set(re.findall(rf"""["']{area}\.([a-z0-9_]+)["']""", sources()))
    begun = set(re.findall(rf"""["']{area}\.([a-z0-9_]*)\{{""", sources()))
    keys = texts(area, ENGLISH).keys()
    assert "" not in begun
    assert named - keys == set()
    assert {key for key in keys if key not in named and not key.startswith(tuple(begun))} == set()
    assert {beginning for beginning in begun if not any(key.startswith(beginning) for key in keys)} == set()


@pytest.mark.parametrize("area", AREAS)
def test_keys_and_placeholders_are_plain(area: str) -> None:
    """Keys are lower case words, texts are lines without spare spaces, and placeholders are plain names."""
    for key, text in texts(area, ENGLISH).items():
        assert re.fullmatch("[a-z0-9_]+", key)
        assert text == " ".join(text.split())
        assert text
        assert all(re.fullmatch("[a-z_]+", name) for name in placeholders(text))


@pytest.mark.parametrize(("area", "tag"), CASES)
def test_each_language_has_each_text_with_its_placeholders(area: str, tag: str) -> None:
    """Each language has exactly the keys of the English, in the same order, and each text has the English placeholders;
    no file has a spare space, or a character that stands for a lost character."""
    english, theirs = texts(area, ENGLISH), texts(area, tag)
    assert list(theirs) == list(english)
    assert {key for key, text in theirs.items() if placeholders(text) != placeholders(english[key])} == set()
    assert {key for key, text in theirs.items() if text != " ".join(text.split(" ")).strip() or not text} == set()
    assert not re.search("[\ufffd\u200e\u200f\u2066-\u2069]", "".join(theirs.values()))


@pytest.mark.parametrize(("area", "tag"), CASES)
def test_no_english_is_left_in_another_language(area: str, tag: str) -> None:
    """No text is the English text, unless the word is the same in both languages; no text has an English word; texts in
    other scripts have no Latin word but the few that are used in all scripts."""
    english = texts(area, ENGLISH)
    same, left = set(), {}
    for key, text in texts(area, tag).items():
        bare = re.sub(r"\{[a-z_]+\}", " ", text)
        if text == english[key] and re.search("[A-Za-z]{2}", bare):
            same.add(key)
        spoken = set(re.findall("[A-Za-z]+", bare))
        bad = {word for word in spoken if word.lower() in ENGLISH_WORDS}
        if tag in ("ja", "zh", "ar"):
            bad |= spoken - LATIN_IN_OTHER_SCRIPTS
        if bad:
            left[key] = bad
    assert same == {key.partition(".")[2] for key, tags in EQUAL.items() if f"{area}." in key and tag in tags.split()}
    assert left == {}


def test_each_area_has_a_file_for_each_language() -> None:
    """An area has the files of all languages, and no file of another language."""
    found = {area: {file.stem for file in (FOLDER / area).iterdir()} for area in AREAS}
    assert {area: tags for area, tags in found.items() if area not in ENGLISH_ALONE and tags != set(LANGUAGES)} == {}
    assert all(tags <= set(LANGUAGES) for tags in found.values())


def test_the_review_sheet_has_each_text_in_each_language() -> None:
    """The review sheet for native readers has a line for every text, with the text of each language."""
    heading, *lines = language_sheet.lines()
    assert heading == ["text", *LANGUAGES]
    assert len(lines) == sum(len(texts(area, ENGLISH)) for area in AREAS)
    assert ["shared.card", *(texts("shared", tag)["card"] for tag in LANGUAGES)] in lines


def test_the_mail_with_a_link_promises_no_change_that_a_state_lacks() -> None:
    """The mail with a link is the same in each state of a subscription. The mail therefore promises neither a
    cancellation nor a change of the card, which a canceled subscription lacks."""
    told = texts("notices", ENGLISH)["account_link_told"]
    assert "see and manage your subscription" in told
    assert not re.search("cancel|payment method|resume", told)


@pytest.mark.parametrize("tag", LANGUAGES)
def test_the_form_calls_the_contract_what_the_mails_call_it(tag: str) -> None:
    """Whoever fills in the public form finds the asked number and plan in a mail: the hint and the error of the field
    use the words that stand before the number and the plan in the mails."""
    forms, mails = texts("forms", tag), texts("mails", tag)
    for said in (forms["contract_hint"].lower(), forms["fault_contract_missing"].lower()):
        assert mails["fact_subscription"].lower() in said
        assert mails["fact_plan"].lower() in said


@pytest.mark.parametrize("tag", LANGUAGES)
@pytest.mark.parametrize("area", ["mails", "notices"])
def test_each_subject_names_the_plan(area: str, tag: str) -> None:
    """Whoever has two subscriptions at one address can tell the mails apart: each subject names the plan."""
    subjects = {key: text for key, text in texts(area, tag).items() if key.startswith("subject_")}
    assert subjects
    assert [key for key, text in subjects.items() if "{plan}" not in text] == []
