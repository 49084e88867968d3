"""The path that a request was sent to, held against the route that API Gateway chose for it.

IAM and resource policies decide by the path as it was sent. API Gateway finds the same route for other spellings of it:
with a slash at the end, or with characters percent-encoded. Such a spelling would pass a policy that denies the path,
so only the plain one is answered.
"""

import re
from collections.abc import Mapping
from typing import Any

_PARAMETER = re.compile(r"\{([^{}+]+)\+?\}")
# No empty part, no part of dots alone, and nothing percent-encoded.
_PLAIN = re.compile(r"(/(?!\.{1,2}(/|$))[^/%]+)+")


def plain(event: Mapping[str, Any]) -> str | None:
    """The route's path with its parameters filled in, without the stage or a custom domain's base path before it.

    event: of an API Gateway proxy. None where the request spells the path in another way.
    """
    sent: str = event["path"]
    given = event.get("pathParameters") or {}
    path = _PARAMETER.sub(lambda found: str(given.get(found[1])), event.get("resource") or sent)
    spellings = (sent, _whole(event))
    return path if all(_PLAIN.fullmatch(each) and each.endswith(path) for each in spellings) else None


def base(event: Mapping[str, Any], path: str) -> str:
    """What stands before the plain path in the caller's address: the stage, or a custom domain's base path."""
    return _whole(event).removesuffix(path)


def _whole(event: Mapping[str, Any]) -> str:
    """The path with all that stands before it. In `path` alone the stage is missing, and a base path is not."""
    return str((event.get("requestContext") or {}).get("path") or event["path"])
