"""The path that a request was sent to, held against the route that API Gateway chose for it.

IAM and resource policies decide by the path as it was sent. API Gateway finds the same route for other spellings of it:
with a slash at the end, or with characters percent-encoded. Such a spelling would pass a policy that denies the path,
so only the plain one is answered.
"""

import re
from collections.abc import Mapping

from renewals.domain.item_values import Value, fields, text

_PARAMETER = re.compile(r"\{([^{}+]+)\+?\}")
# No empty part, no part of dots alone, and nothing percent-encoded.
_PLAIN = re.compile(r"(/(?!\.{1,2}(/|$))[^/%]+)+")


def plain(event: Mapping[str, object]) -> str | None:
    """The route's path with its parameters filled in, without the stage or a custom domain's base path before it.

    event: of an API Gateway proxy. None where the request spells the path in another way.
    """
    sent, given = text(event, "path"), part(event, "pathParameters")
    path = _PARAMETER.sub(lambda found: str(given.get(found[1])), str(event.get("resource") or sent))
    spellings = (sent, _whole(event))
    return path if all(_PLAIN.fullmatch(each) and each.endswith(path) for each in spellings) else None


def base(event: Mapping[str, object], path: str) -> str:
    """What stands before the plain path in the caller's address: the stage, or a custom domain's base path."""
    return _whole(event).removesuffix(path)


def _whole(event: Mapping[str, object]) -> str:
    """The path with all that stands before it. In `path` alone the stage is missing, and a base path is not."""
    return str(part(event, "requestContext").get("path") or event["path"])


def part(event: Mapping[str, object], name: str) -> dict[str, Value]:
    """What an event of an API Gateway proxy has under a name; empty where it has nothing there."""
    return fields(event, name) if event.get(name) else {}


def headers(event: Mapping[str, object]) -> dict[str, str]:
    """The headers of a request, each under its name in lower case."""
    return {name.lower(): str(value) for name, value in part(event, "headers").items()}
