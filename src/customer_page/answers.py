"""The answers of the pages: the status, the HTML, and the headers that keep other sites and caches away."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus

from customer_page.request import COOKIE, DONE
from renewals.runtime.telemetry import Reply

SESSION_SECONDS = 30 * 60
OVERVIEW = "overview"

_COOKIE_ATTRIBUTES = "Path=/; Secure; HttpOnly; SameSite=Lax"
# SameSite=Strict would leave the cookie out on the way from a mail, and on the way back from a bank's page.


class Done(StrEnum):
    """What the customer has just done, as the address of the overview says."""

    CANCELED = "canceled"
    RESUMED = "resumed"
    REMINDERS = "reminders"


@dataclass(frozen=True, slots=True)
class PageAnswer:
    """An answer to a browser.

    Attributes:
        html: the page; empty for a redirection.
        language: the language of the page.
        location: where a redirection leads, relative to the request's own address; empty for a page.
        session: the session's cookie to set; an empty text ends the session, and None leaves the cookie as it is.
    """

    status: HTTPStatus
    html: str = ""
    language: str = "en"
    location: str = ""
    session: str | None = None

    def reply(self, style_hash: str, hosted: Iterable[str]) -> Reply:
        """Return the answer as a proxy reply.

        Args:
            style_hash: the hash of the pages' only style sheet.
            hosted: the origins of the gateway's pages, to which a form may lead.
        """
        headers = {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Language": self.language,
            "Cache-Control": "no-store",
            # No script, image, font or frame is ever loaded, and no page can frame ours. Forms stay on our own host,
            # and may lead on to the gateway's pages.
            "Content-Security-Policy": f"default-src 'none'; style-src '{style_hash}'; base-uri 'none'; "
            f"frame-ancestors 'none'; form-action {' '.join(("'self'", *hosted))}",
            "X-Frame-Options": "DENY",
            "X-Content-Type-Options": "nosniff",
            # Other sites never see our addresses, which may hold a token. With "no-referrer" browsers would hide the
            # origin of our own forms, too.
            "Referrer-Policy": "same-origin",
            "Strict-Transport-Security": "max-age=31536000",
            "Cross-Origin-Opener-Policy": "same-origin",
            "X-Robots-Tag": "noindex, nofollow",
        }
        if self.location:
            headers["Location"] = self.location
        if self.session is not None:
            lasts = SESSION_SECONDS if self.session else 0
            headers["Set-Cookie"] = f"{COOKIE}={self.session}; Max-Age={lasts}; {_COOKIE_ATTRIBUTES}"
        several = {name: [value] for name, value in headers.items()}
        return {"statusCode": int(self.status), "multiValueHeaders": several, "body": self.html}


def see_other(location: str, session: str | None = None) -> PageAnswer:
    """Lead the browser to another page by a GET."""
    return PageAnswer(HTTPStatus.SEE_OTHER, location=location, session=session)


def see_done(done: Done) -> PageAnswer:
    """Lead the browser to the overview, which says what the customer has just done."""
    return see_other(f"{OVERVIEW}?{DONE}={done}")
