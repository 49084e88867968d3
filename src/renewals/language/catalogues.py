"""The texts of an area in a language, from src/renewals/language/catalogues/AREA/TAG.json. A team edits these files."""

import json
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).with_name("catalogues")


@cache
def catalogue(area: str, tag: str) -> dict[str, str]:
    """Return the texts by their keys. An area that a language does not have yet has no texts."""
    try:
        texts: dict[str, str] = json.loads((FOLDER / area / f"{tag}.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return texts
