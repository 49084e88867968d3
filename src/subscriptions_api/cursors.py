"""Cursors mark where the next page of a list begins. A cursor is opaque, and valid only for its own list."""

import base64
import binascii
import json
import re

from subscriptions_api.problems import BadRequest

_PLACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:-]{0,127}", re.ASCII)


def write(of: str, *place: str) -> str:
    """Return a cursor. of: the list and its filters. place: the key of the last item before the next page."""
    return base64.urlsafe_b64encode(json.dumps([of, *place]).encode()).decode()


def read(cursor: str | None, of: str, parts: int) -> tuple[str, ...] | None:
    """Return the place that `write` put into the cursor; None without a cursor. parts: the number of parts of a key of
    this list.

    Raises:
        BadRequest: the cursor is not a cursor of this list.
    """
    if cursor is None:
        return None
    try:
        decoded = json.loads(base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        decoded = None
    place = decoded[1:] if isinstance(decoded, list) and decoded[:1] == [of] else []
    if len(place) != parts or not all(isinstance(part, str) and _PLACE.fullmatch(part) for part in place):
        raise BadRequest([{"field": "query.cursor", "reason": "is not a next_cursor of this list"}])
    return tuple(place)
