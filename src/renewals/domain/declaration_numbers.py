"""The numbers of declarations, such as C20260131-121500-4F7A2C91: C for a cancellation or W for a withdrawal, the
second of the declaration in UTC, and a part of the declaration's key. Pure.

Decision: D302 (DECISIONS.md).
"""

import re
from datetime import UTC, datetime

CAUSE = "cause/"
"""The beginning of the key of a change's record that names the cause of the change: the id of an object of the gateway,
or the number of a declaration."""

_FORM = r"[CW]([0-9]{8}-[0-9]{6})-[0-9A-F]{8}"
_MOMENT = "%Y%m%d-%H%M%S"


def made(letter: str, at: datetime, key: str) -> str:
    """Return the number of a declaration. at: the moment in UTC. key: a hash in hexadecimal digits."""
    return f"{letter}{at:{_MOMENT}}-{key[:8].upper()}"


def number_of(change: str) -> str | None:
    """Return the number of the declaration that caused a change. change: the key of the change's record."""
    number = change.removeprefix(CAUSE)
    return number if change.startswith(CAUSE) and declared_at(number) is not None else None


def declared_at(number: str) -> datetime | None:
    """Return the moment in the number of a declaration; None for a text of another form."""
    found = re.fullmatch(_FORM, number, re.ASCII)
    try:
        return datetime.strptime(found[1], _MOMENT).replace(tzinfo=UTC) if found else None
    except ValueError:
        return None
