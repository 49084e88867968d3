"""The gallery: each mail, receipt and page of customers in each language, with sample data. Nothing is sent or charged.

    python -m local.console.gallery de      prints the samples of a language as JSON

The console asks a new process for the samples at each look, so that an edited text, template or program shows at once.
"""

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum

from local.stack import ROOT

_SECONDS = 60
_LINES_OF_ERROR = 5


class GalleryError(Exception):
    """The samples cannot be made: the code or a template has a fault. The message is the end of the error."""


class Kind(StrEnum):
    """The kinds of samples, in the order of the gallery."""

    PAGE = "pages"
    MAIL = "mails"
    RECEIPT = "receipts"


@dataclass(frozen=True, slots=True)
class Shown:
    """A sample. title: what the sample is, in English. content: HTML, or the PDF of a receipt in Base64."""

    kind: Kind
    name: str
    title: str
    content: str

    @property
    def pdf(self) -> bytes:
        return base64.b64decode(self.content)


class Gallery:
    """The samples in each language, as they were at the latest look."""

    def __init__(self) -> None:
        self._latest: dict[str, list[Shown]] = {}

    def look(self, locale: str) -> list[Shown]:
        """Make the samples of a language anew. Raises GalleryError."""
        command = [sys.executable, "-m", "local.console.gallery", locale]
        made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_SECONDS, check=False)
        if made.returncode:
            raise GalleryError("\n".join(made.stderr.splitlines()[-_LINES_OF_ERROR:]))
        self._latest[locale] = [Shown(**each | {"kind": Kind(each["kind"])}) for each in json.loads(made.stdout)]
        return self._latest[locale]

    def sample(self, locale: str, name: str) -> Shown | None:
        """Return a sample as it was at the latest look at the language."""
        samples = self._latest.get(locale) or self.look(locale)
        return next((each for each in samples if each.name == name), None)


def samples(locale: str) -> Iterator[Shown]:
    """Make the samples of a language."""
    from scripts import mails_page, page_samples

    for page in page_samples.samples(locale):
        yield Shown(Kind.PAGE, f"page_{page.name}", page.title, page.html)
    for each in mails_page.spoken(locale):
        if isinstance(each.shown, str):
            yield Shown(Kind.MAIL, each.name, f"{each.title}. {each.when}", each.shown)
        else:
            yield Shown(Kind.RECEIPT, each.name, each.title, base64.b64encode(each.shown).decode())


if __name__ == "__main__":
    sys.stdout.write(json.dumps([asdict(each) for each in samples(sys.argv[1])]))
