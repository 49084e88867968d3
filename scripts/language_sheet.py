"""Print the review sheet for native readers: `PYTHONPATH=src .venv/bin/python -m scripts.language_sheet > sheet.csv`.

The sheet has a line for each text that customers read: the area and key, the English, and every other language.
"""

import csv
import sys
from collections.abc import Iterator

from renewals.language.catalogues import FOLDER, catalogue
from renewals.language.tags import LANGUAGES


def lines() -> Iterator[list[str]]:
    """Yield the heading, and a line for each text. A text that a language does not have yet is empty."""
    yield ["text", *LANGUAGES]
    for area in sorted(folder.name for folder in FOLDER.iterdir()):
        for key in catalogue(area, LANGUAGES[0]):
            yield [f"{area}.{key}", *(catalogue(area, tag).get(key, "") for tag in LANGUAGES)]


if __name__ == "__main__":
    csv.writer(sys.stdout).writerows(lines())
