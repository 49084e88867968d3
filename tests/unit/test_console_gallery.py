"""The console's gallery shows each page, mail and receipt of customers in each language."""

import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest

from local.console import gallery
from local.console.gallery import Gallery, GalleryError, Kind, Shown
from renewals.domain.renewal import MailKind
from renewals.language.tags import LANGUAGES
from tests.unit.test_console import Browser, browser, look, shop

__all__ = ["browser", "look", "shop"]


@pytest.fixture
def making(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have the new process print a sample with these words, or fail with them."""
    said = ""

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        assert command[-3:-1] == ["-m", "local.console.gallery"]
        samples = json.dumps([asdict(Shown(Kind.PAGE, "page_link", "A page", f"<p>{said} {command[-1]}</p>"))])
        return subprocess.CompletedProcess(command, said.startswith("Error"), samples, f"a line\n{said}")

    def words(text: str) -> None:
        nonlocal said
        said = text

    monkeypatch.setattr(subprocess, "run", run)
    return words


def test_the_gallery_shows_everything_in_a_language() -> None:
    """The samples are all kinds of mail, both receipts and the pages, in the language asked for."""
    made = list(gallery.samples("de"))
    assert {each.value for each in MailKind} <= {each.name for each in made if each.kind is Kind.MAIL}
    assert [each.pdf[:5] for each in made if each.kind is Kind.RECEIPT] == [b"%PDF-"] * 2
    assert all('lang="de"' in each.content for each in made if each.kind is not Kind.RECEIPT)
    assert len({each.name for each in made}) == len(made)


def test_an_edited_text_shows_at_the_next_look(browser: Browser, making: Callable[[str], None]) -> None:
    """Each look at the gallery makes the samples anew, so that an edited text shows without a restart."""
    for text in ("before", "after"):
        making(text)
        assert browser("/gallery?locale=ja").status == 200
        assert browser("/gallery/sample?locale=ja&name=page_link").text == f"<p>{text} ja</p>"


def test_a_fault_in_a_template_is_told(browser: Browser, making: Callable[[str], None]) -> None:
    """If the samples cannot be made, the page says so, with the last lines of the error."""
    making("Error: template.html line 3 &")
    answer = browser("/gallery")
    assert (answer.status, "template.html line 3 &amp;" in answer.text) == (500, True)
    with pytest.raises(GalleryError, match="line 3"):
        Gallery().look("en")


@pytest.mark.parametrize("query", ["locale=xx", "kind=xx", "locale=../de"])
def test_what_the_gallery_does_not_have_is_not_found(browser: Browser, query: str) -> None:
    """An unknown language or kind is answered by 404, and starts no process."""
    assert browser(f"/gallery?{query}").status == 404


def test_the_gallery_leads_to_every_language_and_kind(browser: Browser, making: Callable[[str], None]) -> None:
    """The page links to each language and each kind, and every page of the console links to the gallery."""
    making("text")
    found = set(re.findall(r"/gallery\?locale=(\w+)&amp;kind=(\w+)", browser("/gallery").text))
    assert found == {(tag, "pages") for tag in LANGUAGES} | {("en", kind.value) for kind in gallery.Kind}
    assert 'href="/gallery"' in browser("/mails").text
    assert browser("/gallery/sample?name=page_nobody").status == 404
