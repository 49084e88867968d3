"""Take the pictures of docs/account.md: `.venv/bin/python -m scripts.page_pictures`.

A picture keeps a digest of the page, so that a test notices a picture of earlier words or layout.
"""

from collections.abc import Iterator

from scripts.mails_page import ROOT, Example, take_all
from scripts.page_samples import samples

PICTURES = ROOT / "docs/account"
_SHOWN = (("en", "active"), ("en", "cancel"), ("en", "card_saved"), ("ar", "active"))


def examples() -> Iterator[Example]:
    """Yield the pages that docs/account.md shows."""
    for locale, name in _SHOWN:
        page = next(each for each in samples(locale) if each.name == name)
        yield Example(f"{name}_{locale}", page.title, "", page.html, "", PICTURES)


def main() -> None:
    """Take the pictures whose page has changed."""
    take_all(list(examples()), PICTURES)


if __name__ == "__main__":
    main()
