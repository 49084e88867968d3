"""The HTTP pages of the console. Ids and file names are passed in the query, where any text is allowed, even ".."."""

from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any
from urllib.parse import quote

from botocore.exceptions import BotoCoreError, ClientError
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from local.console.gallery import Gallery, GalleryError, Kind
from local.console.look import BAD, STATUSES, Look, money
from local.console.mails import Mail
from local.stack import StackError
from renewals.language.tags import ENGLISH, LANGUAGES

_FOLDER = Path(__file__).parent
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
# For a mail's HTML: no scripts, no requests, not the console's origin. A clicked link opens in a new tab.
_OF_A_MAIL = {
    "Content-Security-Policy": "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; "
    "style-src 'unsafe-inline'; img-src data:; form-action 'none'; frame-ancestors 'self'"
}
# For a sample: as a mail's, and no link leads anywhere.
_OF_A_SAMPLE = {
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "form-action 'none'; frame-ancestors 'self'"
}


def application(look: Callable[[], Look], port: int) -> Starlette:
    """Return the console as an ASGI application.

    Args:
        look: reads the stack's present state; raises StackError or botocore's errors without a stack.
        port: the stack's port.
    """
    templates = FileSystemLoader(_FOLDER / "templates")
    environment = Environment(loader=templates, autoescape=True, undefined=StrictUndefined)
    environment.filters |= {"day": _day, "clock": _clock, "words": _words, "plain": _plain, "money": money}
    environment.globals |= {"port": port, "statuses": STATUSES, "bad": BAD}
    pages = _Pages(look, Jinja2Templates(env=environment))
    return Starlette(
        routes=[
            Route("/", pages.start),
            Route("/live", pages.live),
            Route("/subscriptions", pages.subscriptions),
            Route("/subscription", pages.subscription),
            Route("/receipt", pages.receipt),
            Route("/mails", pages.mails),
            Route("/mail", pages.mail),
            Route("/mail/html", pages.mail_html),
            Route("/mail/attachment", pages.attachment),
            Route("/gallery", pages.gallery),
            Route("/gallery/sample", pages.sample),
            Route("/favicon.ico", pages.icon),  # requested by browsers with a PDF, since a PDF cannot name an icon
            Mount("/static", StaticFiles(directory=_FOLDER / "static")),
        ],
        middleware=[Middleware(_Headers), Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])],
        exception_handlers={
            HTTPException: pages.refused,
            GalleryError: pages.unmade,
            StackError: pages.gone,
            BotoCoreError: pages.gone,
            ClientError: pages.gone,
            Exception: pages.broken,
        },
    )


class _Pages:
    def __init__(self, look: Callable[[], Look], templates: Jinja2Templates) -> None:
        self._look = look
        self._templates = templates
        self._gallery = Gallery()

    def start(self, request: Request) -> Response:
        return self._shown(request, "start.html", **self._now())

    def live(self, request: Request) -> Response:
        """Return the changing part of the start page."""
        return self._shown(request, "live.html", **self._now())

    def subscriptions(self, request: Request) -> Response:
        status, after = request.query_params.get("status") or None, request.query_params.get("after")
        if status is not None and status not in (*STATUSES, BAD):
            raise HTTPException(404)
        place = (after, request.query_params.get("customer", "")) if after else None
        listed, more = self._look().subscriptions(status, place)
        return self._shown(request, "subscriptions.html", status=status, listed=listed, more=more)

    def subscription(self, request: Request) -> Response:
        subscription_id, look = request.query_params.get("id", ""), self._look()
        shown = look.subscription(subscription_id, datetime.now(UTC))
        if shown is None:
            raise HTTPException(404)
        return self._shown(
            request, "subscription.html", subscription_id=subscription_id, shown=shown, zone=look.zone,
            now=datetime.now(UTC),
        )  # fmt: skip

    def receipt(self, request: Request) -> Response:
        subscription_id, day, refund = (request.query_params.get(name, "") for name in ("id", "period", "refund"))
        found = self._look().receipt(subscription_id, day, refund)
        if found is None:
            raise HTTPException(404)
        number, pdf = found
        return _file(pdf, "application/pdf", f"receipt-{number}.pdf")

    def mails(self, request: Request) -> Response:
        listed, more = self._look().all_mails(request.query_params.get("before"))
        return self._shown(request, "mails.html", mails=listed, more=more)

    def mail(self, request: Request) -> Response:
        return self._shown(request, "mail.html", mail=self._mail(request))

    def mail_html(self, request: Request) -> Response:
        return HTMLResponse(f'<!doctype html><base target="_blank">{self._mail(request).html}', headers=_OF_A_MAIL)

    def attachment(self, request: Request) -> Response:
        attachments, number = self._mail(request).attachments, request.query_params.get("number", "")
        if number not in map(str, range(len(attachments))):
            raise HTTPException(404)
        attached = attachments[int(number)]
        return _file(attached.content, attached.kind, attached.name)

    def gallery(self, request: Request) -> Response:
        locale, kind = _locale(request), request.query_params.get("kind", Kind.PAGE)
        if kind not in Kind:
            raise HTTPException(404)
        shown = [each for each in self._gallery.look(locale) if each.kind == kind]
        return self._shown(
            request, "gallery.html", locale=locale, kind=kind, kinds=list(Kind), languages=LANGUAGES, shown=shown
        )

    def sample(self, request: Request) -> Response:
        found = self._gallery.sample(_locale(request), request.query_params.get("name", ""))
        if found is None:
            raise HTTPException(404)
        if found.kind is Kind.RECEIPT:
            return _file(found.pdf, "application/pdf", f"{found.name}.pdf")
        return HTMLResponse(found.content, headers=_OF_A_SAMPLE)

    def icon(self, _request: Request) -> Response:
        return FileResponse(_FOLDER / "static/icon.svg")

    def refused(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        told = "There is no such page." if status == 404 else "The console is read-only."
        return self._problem(request, status, told)

    def gone(self, request: Request, error: Exception) -> Response:
        why = error.response["Error"]["Code"] if isinstance(error, ClientError) else str(error)
        return self._problem(request, 503, "The local stack does not answer, or is being deployed.", why)

    def unmade(self, request: Request, error: Exception) -> Response:
        return self._problem(request, 500, "The samples cannot be made. Mend the fault, and reload.", str(error))

    def broken(self, request: Request, _error: Exception) -> Response:
        return self._problem(request, 500, "The console has failed.", "The log shows the error: logs/console.log")

    def _now(self) -> dict[str, Any]:
        look, now = self._look(), datetime.now(UTC)
        return {"counted": look.counted(), "today": look.today(now), "zone": look.zone}

    def _mail(self, request: Request) -> Mail:
        mail = self._look().mail(request.query_params.get("name", ""))
        if mail is None:
            raise HTTPException(404)
        return mail

    def _shown(self, request: Request, template: str, **values: Any) -> Response:
        return self._templates.TemplateResponse(request, template, values)

    def _problem(self, request: Request, status: int, told: str, why: str = "") -> Response:
        values = {"told": told, "why": why, "status": status}
        return self._templates.TemplateResponse(request, "problem.html", values, status_code=status)


class _Headers:
    """Adds security headers to every answer, unless the answer already has such headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers)


def _file(content: bytes, kind: str, name: str) -> Response:
    place = "inline" if kind == "application/pdf" else "attachment"
    return Response(content, 200, {"Content-Disposition": f"{place}; filename*=utf-8''{quote(name, safe='')}"}, kind)


def _locale(request: Request) -> str:
    locale = request.query_params.get("locale", ENGLISH)
    if locale not in LANGUAGES:
        raise HTTPException(404)
    return locale


def _day(at: datetime, zone: tzinfo) -> str:
    at = at.astimezone(zone)
    return f"{at:%a} {at.day} {at:%b %Y}"


def _clock(at: datetime, zone: tzinfo) -> str:
    return f"{at.astimezone(zone):%H:%M:%S}"


def _words(name: str) -> str:
    """Return a name such as past_due in words, "past due"."""
    return name.replace("_", " ")


def _plain(value: Any) -> str:
    """Return an attribute's value in readable form. Maps become lists of names and values; other values stay as
    written.
    """
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_plain(each)}" for name, each in value.items())
    return str(value)
