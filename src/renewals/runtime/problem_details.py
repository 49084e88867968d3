"""Problem details (RFC 9457): the form in which programs are told of a refusal."""

from http import HTTPStatus

CONTENT_TYPE = "application/problem+json"


def problem(status: int, detail: str) -> dict[str, object]:
    """Return a problem. detail: a sentence for people."""
    return {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
