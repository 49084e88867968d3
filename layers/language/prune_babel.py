"""Leave of Babel what the functions use: `python prune_babel.py BABEL_FOLDER`.

Babel holds the formats of a thousand locales, and tools for translators. The functions need the formats of dates and
amounts in the languages that have catalogues (src/renewals/language/tags.py), and the locale that all others inherit
from. A test compares the list.

Decision: D260 (DECISIONS.md).
"""

import shutil
import sys
from pathlib import Path

LOCALES = {"root", "en", "de", "fr", "es", "it", "nl", "pt", "pl", "ja", "zh", "ar"}
MODULES = {"__init__.py", "core.py", "dates.py", "localedata.py", "localtime", "numbers.py", "plural.py"}
DATA = {"locale-data", "global.dat"}


def main(folder: Path) -> None:
    for part in folder.iterdir():
        if part.name not in MODULES | DATA:
            shutil.rmtree(part) if part.is_dir() else part.unlink()
    for file in (folder / "locale-data").iterdir():
        if file.stem not in LOCALES:
            file.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
