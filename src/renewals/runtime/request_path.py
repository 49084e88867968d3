"""Read a request of API Gateway: its path, headers and body.

The path is compared with the route that API Gateway chose for the request.

IAM and resource policies decide by the path as sent. API Gateway finds the route even by other spellings of the path:
with a slash at the end, or with characters percent-encoded. A different spelling would slip past a policy that denies
the path. Therefore only the plain spelling is answered.

Decision: D74 (DECISIONS.md).
"""

import base64
import re
from collections.abc import Mapping

from renewals.domain.item_values import Value, fields, text

_PARAMETER = re.compile(r"\{([^{}+]+)\+?\}")
# A plain path has no empty part, no part of dots alone, and no percent-encoded character.
_PLAIN = re.compile(r"(/(?!\.{1,2}(/|$))[^/%]+)+")


def plain(event: Mapping[str, object]) -> str | None:
    """Return the route's path with the parameters filled in. The stage, or the base path of a custom domain, is left
    out.

    Args:
        event: of an API Gateway proxy.

    Returns:
        None if the request spells the path differently.
    """
    sent, given = text(event, "path"), part(event, "pathParameters")
    path = _PARAMETER.sub(lambda found: str(given.get(found[1])), str(event.get("resource") or sent))
    spellings = (sent, _whole(event))
    return path if all(_PLAIN.fullmatch(each) and each.endswith(path) for each in spellings) else None


def base(event: Mapping[str, object], path: str) -> str:
    """Return the part of the caller's address before the plain path: the stage, or a custom domain's base path."""
    return _whole(event).removesuffix(path)


def _whole(event: Mapping[str, object]) -> str:
    """Return the path with the stage or the base path in front. The event's own `path` has a base path in front, but no
    stage."""
    return str(part(event, "requestContext").get("path") or event["path"])


def part(event: Mapping[str, object], name: str) -> dict[str, Value]:
    """Return the value under a name in an event of an API Gateway proxy; empty if the event has nothing there."""
    return fields(event, name) if event.get(name) else {}


def headers(event: Mapping[str, object]) -> dict[str, str]:
    """Return the headers of a request, by their names in lower case."""
    return {name.lower(): str(value) for name, value in part(event, "headers").items()}


def body(event: Mapping[str, object]) -> bytes | None:
    """Return the bytes of a request's body as received; None if the event calls the body base64 and the body is not."""
    sent = str(event.get("body") or "")
    if not event.get("isBase64Encoded"):
        return sent.encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(sent, validate=True)
    except ValueError:
        return None
