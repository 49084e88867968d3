"""docs/mails.md shows the mails and receipts as customers get them."""

import pytest

from renewals.domain.renewal import MailKind
from scripts import mails_page
from scripts.mails_page import Example


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    return list(mails_page.examples())


def test_the_page_is_up_to_date(examples: list[Example]) -> None:
    """docs/mails.md holds the words that the code composes now: `python -m scripts.mails_page` has been run."""
    assert mails_page.PAGE.read_text(encoding="utf-8") == mails_page.page(examples)


def test_every_picture_shows_the_mail_of_today(examples: list[Example]) -> None:
    """Each picture was taken of the mail or receipt that the code makes now."""
    assert [each.name for each in examples if mails_page.digest_of(each.picture) != each.digest] == []


def test_every_kind_of_mail_is_on_the_page(examples: list[Example]) -> None:
    """The page shows all kinds of mail."""
    assert {kind.value for kind in MailKind} <= {each.name for each in examples}


def test_the_pictures_stay_small(examples: list[Example]) -> None:
    """No picture has 60 kB, all together have less than 1.15 MB, and the folder has no other file."""
    pictures = list(mails_page.PICTURES.iterdir())
    assert {each.picture for each in examples} == set(pictures)
    assert max(picture.stat().st_size for picture in pictures) < 60_000
    assert sum(picture.stat().st_size for picture in pictures) < 1_150_000
