"""Cursors: where the next page of a list begins, opaque to callers, and good for the list that gave it only."""

import base64
import binascii
import json
import re

from subscriptions_api.problems import BadRequest

_PLACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:-]{0,127}", re.ASCII)


def write(of: str, *place: str) -> str:
    """A cursor. of: which list, with its filters. place: the key after which the next page begins."""
    return base64.urlsafe_b64encode(json.dumps([of, *place]).encode()).decode()


def read(cursor: str | None, of: str, parts: int) -> tuple[str, ...] | None:
    """The place, None without a cursor. parts: how many a key of this list has. Raises BadRequest."""
    if cursor is None:
        return None
    try:
        decoded = json.loads(base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        decoded = None
    place = decoded[1:] if isinstance(decoded, list) and decoded[:1] == [of] else []
    if len(place) != parts or not all(isinstance(part, str) and _PLACE.fullmatch(part) for part in place):
        raise BadRequest([{"field": "query.cursor", "reason": "is none that this list has given"}])
    return tuple(place)
