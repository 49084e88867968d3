"""The fonts that a receipt embeds, made by scripts/subset_fonts.py from the Noto fonts (licence: OFL.txt)."""

import json
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent


@cache
def coverage() -> dict[str, frozenset[str]]:
    """The characters that each font can draw, by the name of its file."""
    listed = json.loads((FOLDER / "coverage.json").read_text(encoding="utf-8"))
    return {name: frozenset(characters) for name, characters in listed.items()}
