"""The samples of the customer page show every state and every text."""

import re

import pytest

from renewals.language import Words
from renewals.language.catalogues import FOLDER
from renewals.language.tags import LANGUAGES
from scripts import page_pictures
from scripts.mails_page import digest_of
from scripts.page_samples import samples
from tests.unit.test_catalogues import ENGLISH_WORDS, OTHERS, texts


def test_the_samples_show_every_text_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each text of the page's catalogue is shown by a sample, so that whoever edits a text can look at the text."""
    shown: set[str] = set()
    say = Words.say

    def noted(words: Words, key: str, **values: str) -> str:
        shown.add(key)
        return say(words, key, **values)

    monkeypatch.setattr(Words, "say", noted)
    names = [each.name for each in samples("en")]
    assert len(set(names)) == len(names)
    assert {f"{area}.{key}" for area in ("page", "forms") for key in texts(area, "en")} - shown == set()


def test_the_samples_use_every_template() -> None:
    """No template of the page is without a sample: each form of the templates is in a sample."""
    templates = (FOLDER.parents[2] / "customer_page/templates").glob("*.html")
    forms = {
        each
        for file in templates
        for each in file.read_text().split()
        if each.startswith('action="') and "{" not in each
    }
    everything = "".join(each.html for each in samples("en"))
    assert {each.rstrip(">") for each in forms if each.rstrip(">") not in everything} == set()


@pytest.mark.parametrize("tag", OTHERS)
def test_no_english_is_left_in_another_language(tag: str) -> None:
    """No page in another language holds an English word, not even in the name of the card."""
    english = ENGLISH_WORDS | {"ending"}
    left = {}
    for each in samples(tag):
        text = re.sub(r"<(style|head)>.*?</\1>|<[^>]+>", " ", each.html, flags=re.DOTALL)
        found = set(re.findall("[a-z]+", text.lower())) & english
        if found:
            left[each.name] = found
    assert left == {}


@pytest.mark.parametrize("tag", LANGUAGES)
def test_the_title_is_plain_and_the_word_for_mail_is_kept_whole(tag: str) -> None:
    """The title of each page has no elements, which a browser would show as they stand; and on each page, no line can
    end after the hyphen of "E-Mail"."""
    for each in samples(tag):
        head, _, body = each.html.partition("</title>")
        title = head.partition("<title>")[2]
        assert title
        assert not re.search("[<>&]", title), each.name
        shown = re.sub(r'<span class="whole">e-mail</span>|<[^>]+>', "", body, flags=re.IGNORECASE)
        assert "e-mail" not in shown.lower(), each.name


def test_each_page_has_at_most_one_main_button() -> None:
    """Of the buttons of a page, one at most stands out; every other button is plain. In each state that allows several
    changes, one of the changes stands out."""
    main = {each.name: len(re.findall(r'<button>|class="button"', each.html)) for each in samples("en")}
    assert {name: count for name, count in main.items() if count > 1} == {}
    changed = {each.name for each in samples("en") if 'action="new-card"' in each.html}
    assert {name for name in changed if main[name] != 1} == set()


def test_each_notice_leads_on() -> None:
    """A page that only says something has a link to the subscription, or, without a session, to the form for a link. A
    failure on our side is the exception: the page asks the customer to try again later. What was done, or not done, is
    a status, which screen readers say."""
    notices = [each for each in samples("en") if each.title.startswith("A notice: ")]
    assert {each.name for each in notices if "<a " not in each.html} == {"home", "trouble"}
    assert [each.name for each in notices if '<p role="status">' not in each.html] == []


def test_a_plan_keeps_its_order_in_arabic() -> None:
    """In a page from right to left, the name of a plan has a direction of its own: "2 users (EU)" keeps its order."""
    shown = {each.name: each.html for each in samples("ar", plan="2 users (EU)")}
    assert "<bdi>2 users (EU)</bdi>" in shown["active"]
    assert "<bdi>2 users (EU)</bdi>" in shown["link"]


def test_the_pictures_of_the_page_are_of_today() -> None:
    """docs/account.md shows each picture; each picture was taken of the page as the code makes the page now, and all
    pictures together have less than 200 kB: `python -m scripts.page_pictures` has been run."""
    found = list(page_pictures.examples())
    shown = page_pictures.PICTURES.with_suffix(".md").read_text()
    assert [each.name for each in found if digest_of(each.picture) != each.digest] == []
    assert [each.name for each in found if f'src="account/{each.picture.name}"' not in shown] == []
    assert {each.picture for each in found} == set(page_pictures.PICTURES.iterdir())
    assert sum(each.picture.stat().st_size for each in found) < 200_000
