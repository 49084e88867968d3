"""CustomerPage: the pages on which a customer looks at a subscription, cancels it, and resumes it.

The function takes an API Gateway proxy event and returns a proxy reply with HTML. A signed link in a mail leads to the
page of the link, which a GET only shows: mail scanners follow links. A POST from that page begins a session of half an
hour. A link or a session that does not hold, for whatever reason, gets one answer: 404.

The function holds no key of the payment gateway, and starts no workflow: a renewal that a change makes due goes to the
queue of renewals, as from the sweep.

Decisions: D268 to D273 (DECISIONS.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

from botocore.exceptions import ClientError

from customer_page import acting, at_gateway, by_address, declaring, declining, hosted, looking, pages
from customer_page.answers import OVERVIEW, SESSION_SECONDS, Done, PageAnswer, see_done, see_other
from customer_page.pages import ChangeForm, Pages
from customer_page.request import Refused, Request, language_of, read
from customer_page.visits import (
    LOOKS,
    Gone,
    dunning,
    full_visit,
    is_of_session,
    is_within_limit,
    keys,
    pages_in,
    receipt_link,
    register,
    session_of,
    visit_of,
)
from renewals.domain.errors import BadRow, Collision, NotHandedOver, TryAgain, repeat_while_outdated
from renewals.domain.transitions import Action, NotAllowed
from renewals.ledger import account_links, limits
from renewals.ledger.account_links import Account, Power, Purpose
from renewals.ledger.customer_changes import cancellation_of
from renewals.ledger.register import Register
from renewals.ledger.steps import Row
from renewals.runtime import telemetry
from renewals.runtime.aws_errors import transient_aws_errors_as
from renewals.runtime.settings import setting
from renewals.runtime.telemetry import Event, Reply


@telemetry.observed
def handler(event: Event, _context: Any) -> Reply:
    """Answer a request; see the module."""
    answer = _answer(event)
    told = {"method": event.get("httpMethod"), "route": _route(event), "status": int(answer.status)}
    telemetry.logger().info("answered", extra=told)
    return answer.reply(pages.style_hash(), hosted.origins())


def _answer(event: Event) -> PageAnswer:
    stranger = pages_in(language_of(event), by_address.way_in(event))
    try:
        with transient_aws_errors_as(TryAgain):
            stranger = replace(stranger, forms=declaring.links(event))
            request = read(event, setting("ACCOUNT_URL"))
            return _answered(request, stranger)
    except Refused as refusal:
        gone = refusal.status is HTTPStatus.NOT_FOUND
        return stranger.notice(pages.GONE if gone else pages.refused(refusal.status))
    except Gone as gone:
        if not gone.without_token:
            telemetry.count("AccountLinksRefused")
        return stranger.notice(pages.GONE)
    except (TryAgain, Collision, NotHandedOver) as error:
        telemetry.logger().error("not answered", extra={"error": str(error)})
        return stranger.notice(pages.trouble(HTTPStatus.SERVICE_UNAVAILABLE))
    except ClientError as error:  # the error names the permission or the table at fault
        telemetry.logger().error("not answered", extra={"error": str(error)})
        return stranger.notice(pages.trouble(HTTPStatus.INTERNAL_SERVER_ERROR))
    except Exception as error:  # noqa: BLE001  (every error goes to the log, and no detail to a stranger)
        # No stack trace: the lines of a trace can quote the request, which may hold a token.
        telemetry.logger().error("not answered", extra={"error": telemetry.named(error)})
        return stranger.notice(pages.trouble(HTTPStatus.INTERNAL_SERVER_ERROR))


def _answered(request: Request, stranger: Pages) -> PageAnswer:
    name, _, token = request.path.partition("/")
    notice = _NOTICES.get(request.path) if request.method == "GET" else None
    if notice is not None:
        return _told(request, stranger, notice)
    for_anybody = _FOR_ANYBODY.get((request.method, request.path))
    if for_anybody is not None:
        return for_anybody(request, stranger)
    if name == Purpose.REMINDERS and token:
        return declining.answer(request, token)
    if (request.method, name) == ("GET", Purpose.LINK):
        return _link(token)
    if (request.method, name) == ("GET", at_gateway.NEW_CARD):
        return at_gateway.back_with_card(request, token)
    if (request.method, name) == ("GET", at_gateway.CONFIRM):
        return at_gateway.back_from_bank(request, token)
    route = _ROUTES.get((request.method, request.path))
    if route is None:
        raise Refused(HTTPStatus.NOT_FOUND)
    return route(request)


def _told(request: Request, stranger: Pages, notice: pages.Notice) -> PageAnswer:
    """Say what was done. Any link may lead to the address of a notice: whoever has a session that holds is not told to
    be signed out, and nobody without a session is told of a mail that a session has asked for."""
    if notice is pages.LINK_MAILED:
        return visit_of(Purpose.SESSION, request.session).pages.notice(notice, back=OVERVIEW)
    if notice in (pages.CLOSED, pages.SIGNED_OUT) and session_of(request) is not None:
        return see_other(OVERVIEW)
    return stranger.notice(notice)


def _link(token: str) -> PageAnswer:
    visit = visit_of(Purpose.LINK, token)
    return visit.pages.link(visit.row, token)


def _begin_session(request: Request) -> PageAnswer:
    visit = visit_of(Purpose.LINK, request.form.get("token", ""))
    expires = min(visit.moment.wall + timedelta(seconds=SESSION_SECONDS), visit.grant.expires)
    account = Account.of_row(visit.row)
    session = account_links.token(keys().current, Purpose.SESSION, account, visit.grant.power, expires)
    return see_other(OVERVIEW, session)


def _overview(request: Request) -> PageAnswer:
    visit = visit_of(Purpose.SESSION, request.session)
    seen = looking.look(register(), visit.row, visit.moment.today, dunning())
    receipts = [(each, receipt_link(each)) for each in looking.receipts(register(), visit.row)]
    is_full = visit.grant.power is Power.FULL
    return visit.pages.overview(seen, receipts, visit.form, is_full=is_full, done=request.done)


def _ask_to_cancel(request: Request) -> PageAnswer:
    visit = full_visit(request)
    row, today = visit.row, visit.moment.today
    try:
        cancellation = cancellation_of(register(), row, today)
    except BadRow:
        return visit.pages.notice(pages.NOT_NOW, back=OVERVIEW)
    if cancellation is None:
        return see_other(OVERVIEW)
    action, ends_on = cancellation
    seen = looking.look(register(), row, today, dunning())
    expected = acting.expected_of_cancellation(row, action, ends_on, seen.open_payment)
    at_end = action is Action.CANCEL_AT_PERIOD_END and ends_on > today
    button = "page.cancel_end_button" if at_end else "page.cancel_button"
    said = visit.pages.cancel_words(seen, action, ends_on)
    return visit.pages.confirm(
        ChangeForm("cancel", expected, "page.cancel_title", button, "page.keep", said), visit.form
    )


def _ask_to_resume(request: Request) -> PageAnswer:
    visit = full_visit(request)
    row, today = visit.row, visit.moment.today
    given = looking.resumption_of(register(), row, today)
    if given is None:
        return see_other(OVERVIEW)
    try:
        charge = looking.charge_if_resumed(register(), row, today, given)
        ends_on = looking.end_if_resumed(row, today, given)
    except BadRow:
        return visit.pages.notice(pages.NOT_NOW, back=OVERVIEW)
    expected, said = acting.expected_of_resumption(row, charge), visit.pages.resume_words(charge, today, ends_on)
    change = ChangeForm("resume", expected, "page.resume_title", "page.resume_button", "page.back", said)
    return visit.pages.confirm(change, visit.form)


def _cancel(request: Request) -> PageAnswer:
    return _changed(request, acting.cancel, Done.CANCELED)


def _resume(request: Request) -> PageAnswer:
    return _changed(request, acting.resume, Done.RESUMED)


def _changed(request: Request, change: Callable[[Register, Row, Any, datetime, str], None], done: Done) -> PageAnswer:
    """Make a change as the form's page said, and show the subscription as it is then."""

    def looked_at() -> PageAnswer:
        visit = full_visit(request)  # anew at each look: the links may have been closed meanwhile
        if not is_of_session(request):
            return visit.pages.notice(pages.STALE, back=OVERVIEW)
        try:
            expected = request.form.get("expected", "")
            change(register(), visit.row, visit.moment.today, visit.moment.now, expected)
        except acting.TooOften:
            return visit.pages.notice(pages.RESUME_LIMIT, back=OVERVIEW)
        except acting.PageOutdated:
            return visit.pages.notice(pages.STALE, back=OVERVIEW)
        except (NotAllowed, BadRow) as error:
            telemetry.logger().info("not changed", extra={"reason": str(error)})
            return visit.pages.notice(pages.NOT_NOW, back=OVERVIEW)
        return see_done(done)

    return repeat_while_outdated(looked_at, tries=LOOKS, otherwise=Collision("the subscription"))


def _sign_out_everywhere(request: Request) -> PageAnswer:
    def looked_at() -> PageAnswer:
        visit = full_visit(request)
        if not is_of_session(request):
            return visit.pages.notice(pages.STALE, back=OVERVIEW)
        acting.close_links(register(), visit.row, visit.moment.now)
        return see_other("closed", session="")

    return repeat_while_outdated(looked_at, tries=LOOKS, otherwise=Collision("the subscription"))


def _mail_link(request: Request) -> PageAnswer:
    """Have a link with the full power mailed to the address on file. Beyond the limit nothing is mailed, and the answer
    is the same."""

    def looked_at() -> PageAnswer:
        visit = visit_of(Purpose.SESSION, request.session)
        if not is_of_session(request):
            return visit.pages.notice(pages.STALE, back=OVERVIEW)
        if is_within_limit(limits.MAILED_LINKS, visit):
            acting.ask_for_link(register(), visit.row, visit.moment)
        return see_other("link-mailed")

    return repeat_while_outdated(looked_at, tries=LOOKS, otherwise=Collision("the subscription"))


def _sign_out(_request: Request) -> PageAnswer:
    return see_other("signed-out", session="")


_NOTICES = {
    "link-mailed": pages.LINK_MAILED,
    "closed": pages.CLOSED,
    "signed-out": pages.SIGNED_OUT,
    by_address.ASKED: pages.LINK_ASKED,
}

_FOR_ANYBODY: dict[tuple[str, str], Callable[[Request, Pages], PageAnswer]] = {
    ("GET", ""): by_address.show,
    ("POST", by_address.ASK): by_address.ask,
    **{(method, path): declaring.answer for path in declaring.PATHS for method in ("GET", "POST")},
}
"""The routes that need neither a link nor a session, by method and path."""

_ROUTES: dict[tuple[str, str], Callable[[Request], PageAnswer]] = {
    ("POST", "session"): _begin_session,
    ("GET", OVERVIEW): _overview,
    ("POST", at_gateway.NEW_CARD): at_gateway.new_card,
    ("POST", at_gateway.CONFIRM): at_gateway.confirm,
    ("POST", "mail-link"): _mail_link,
    ("GET", "cancel"): _ask_to_cancel,
    ("POST", "cancel"): _cancel,
    ("GET", "resume"): _ask_to_resume,
    ("POST", "resume"): _resume,
    ("POST", Purpose.REMINDERS): declining.take_up,
    ("POST", "sign-out"): _sign_out,
    ("POST", "sign-out-everywhere"): _sign_out_everywhere,
}
"""The routes beside the link's, by method and path."""


def _route(event: Event) -> str:
    """Return the name of the request's route for the log, without the token of a link."""
    path = str(event.get("path")).partition("/account/")[2]
    name = path.partition("/")[0]
    return name if name in {Purpose.LINK, *_NOTICES, *(known for _, known in (*_FOR_ANYBODY, *_ROUTES))} else "unknown"
