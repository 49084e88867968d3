"""Read what a browser sends: the path below /account, the session's cookie, and the fields of a form.

A stranger may send anything. Every request that is no request of a browser to these pages is refused by its status.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

from renewals.domain import printable
from renewals.domain.customer_request import SESSION
from renewals.domain.errors import RenewalError
from renewals.ledger.account_links import Purpose
from renewals.runtime import request_path
from renewals.runtime.telemetry import Event

COOKIE = "__Host-account"
"""The cookie of a session. Browsers take a cookie of this prefix only over a secure connection, for this host alone."""

LARGEST_FORM = 16 * 1024
"""In bytes. The longest form carries a token, of at most 1,500 characters."""

DONE = "done"
"""The parameter of the overview's address that names what the customer has just done."""

_ROOT = "/account"
_FORM, _MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data"
_FROM_ANYWHERE = f"{_ROOT}/{Purpose.REMINDERS}/"
"""The pages whose forms may come from anywhere. A mail program declines reminders for a customer by such a form,
without a cookie and without an origin (RFC 8058). The token in the address is enough, and permits nothing else."""
_MOST_FIELDS = 10
_LONGEST_LANGUAGE = 35  # the longest language tag that RFC 5646 asks programs to take


class Refused(RenewalError):  # noqa: N818
    """The request is answered with an error. status: the status of the answer."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(f"refused with {status}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Request:
    """A request of a browser.

    Attributes:
        method: GET or POST.
        path: the path below /account, without a slash at its begin: "link/TOKEN".
        session: the value of the session's cookie; empty without a cookie.
        form: the fields of the form; empty for GET.
        gateway_session: the parameter `session` of the address, which the gateway adds on the way back.
        done: the parameter `done` of the address, which our answer to a form adds.
        address: the address of the pages: https://.../account.
        language: the first language that the browser asks for; empty if the browser names no language.
        source: the address on the internet that API Gateway saw; empty if API Gateway names none.
    """

    method: str
    path: str
    session: str
    form: Mapping[str, str]
    gateway_session: str
    done: str
    address: str
    language: str
    source: str


def language_of(event: Event) -> str:
    """Return the first language that the browser asks for. A tag of another form counts as no language."""
    asked = _headers(event).get("accept-language", "").partition(",")[0].partition(";")[0].strip()
    plain = asked.isascii() and asked.replace("-", "").isalnum()
    return asked if plain and len(asked) <= _LONGEST_LANGUAGE else ""


def read(event: Event, own_address: str) -> Request:
    """Read a request.

    Args:
        event: of an API Gateway proxy.
        own_address: the address of the pages on a domain of the team's own; empty for the API's own address.

    Raises:
        Refused: the request does not come from one of the pages, or is no request of a browser.
    """
    path = request_path.plain(event)
    if path is None or not f"{path}/".startswith(f"{_ROOT}/"):
        raise Refused(HTTPStatus.NOT_FOUND)
    headers, method, is_open = _headers(event), str(event.get("httpMethod")), path.startswith(_FROM_ANYWHERE)
    form: Mapping[str, str] = {}
    if method == "POST":
        if not is_open and not _is_from_own_page(headers, urlsplit(own_address).netloc):
            raise Refused(HTTPStatus.FORBIDDEN)
        form = _form(event, headers, (_FORM, _MULTIPART) if is_open else (_FORM,))
    elif method != "GET":
        raise Refused(HTTPStatus.METHOD_NOT_ALLOWED)
    session = _cookies(event).get(COOKIE, "")
    host = str(request_path.part(event, "requestContext").get("domainName") or headers.get("host", ""))
    address = own_address or f"https://{host}{request_path.base(event, path)}{_ROOT}"
    given = request_path.part(event, "queryStringParameters")
    below = path.removeprefix(_ROOT).removeprefix("/")
    return Request(
        method=method,
        path=below,
        session=session,
        form=form,
        gateway_session=str(given.get(SESSION, "")),
        done=str(given.get(DONE, "")),
        address=address,
        language=language_of(event),
        source=_source(event),
    )


def home(event: Event) -> str:
    """Return the path of the pages on the host of the request, such as /prod/account; empty if the request's own path
    is not plain."""
    path = request_path.plain(event)
    return f"{request_path.base(event, path)}{_ROOT}" if path is not None else ""


def _source(event: Event) -> str:
    """Return where the request comes from. The client chooses the headers, and the context is API Gateway's alone."""
    identity = request_path.part(event, "requestContext").get("identity")
    return str(identity.get("sourceIp") or "") if isinstance(identity, Mapping) else ""


def _headers(event: Event) -> dict[str, str]:
    return request_path.headers(event)


def _is_from_own_page(headers: Mapping[str, str], own_host: str) -> bool:
    """Whether a form was sent from one of our pages. A foreign page could otherwise give a customer's browser a session
    of the foreigner's own subscription, and the customer would put a card into the foreigner's account (login CSRF).

    Browsers name the origin of every POST, and newer browsers say in addition whether the origin is the same.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    try:
        origin = urlsplit(headers.get("origin", "")).netloc
    except ValueError:
        return False
    return bool(origin) and origin in (headers.get("host"), own_host)


def _form(event: Event, headers: Mapping[str, str], taken: Collection[str]) -> dict[str, str]:
    content_type = headers.get("content-type", "")
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in taken:
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
    body = request_path.body(event)
    if body is None:
        raise Refused(HTTPStatus.BAD_REQUEST)
    if len(body) > LARGEST_FORM:
        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    try:
        if kind == _MULTIPART:
            fields = _parts(content_type, body)
        else:
            fields = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except (ValueError, TypeError, LookupError, AttributeError):  # hostile headers of parts, too
        raise Refused(HTTPStatus.BAD_REQUEST) from None
    form = dict(fields)
    if len(form) != len(fields):
        raise Refused(HTTPStatus.BAD_REQUEST)
    return form


def _parts(content_type: str, body: bytes) -> list[tuple[str, str]]:
    """Return the fields of a form in parts. Raises ValueError for a form that is none."""
    from email.message import Message
    from email.parser import BytesParser

    head = f"Content-Type: {printable.line(content_type, 200)}\r\n\r\n".encode()
    parts = BytesParser().parsebytes(head + body).get_payload()
    if not isinstance(parts, list) or len(parts) > _MOST_FIELDS:
        raise ValueError("no form")
    fields = []
    for part in parts:
        value = part.get_payload(decode=True) if isinstance(part, Message) else None
        if not isinstance(part, Message) or not isinstance(value, bytes):
            raise ValueError("a part of a form in parts")  # noqa: TRY004  (what a stranger sent is no type of ours)
        fields.append((str(part.get_param("name", "", "content-disposition")), value.decode().strip()))
    return fields


def _cookies(event: Event) -> dict[str, str]:
    """Return the cookies. Of several cookies with one name the first counts, as browsers send the most specific
    first."""
    several = request_path.part(event, "multiValueHeaders")
    lines = [
        str(line)
        for name, sent in several.items()
        if name.lower() == "cookie" and isinstance(sent, list)
        for line in sent
    ]
    pairs = [each.partition("=") for line in lines or [_headers(event).get("cookie", "")] for each in line.split(";")]
    return {name.strip(): value.strip() for name, _, value in reversed(pairs)}
