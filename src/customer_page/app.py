"""CustomerPage: the pages on which a customer looks at a subscription, cancels it, and resumes it.

The function takes an API Gateway proxy event and returns a proxy reply with HTML. A signed link in a mail leads to the
page of the link, which a GET only shows: mail scanners follow links. A POST from that page begins a session of half an
hour. A link or a session that does not hold, for whatever reason, gets one answer: 404.

The function holds no key of the payment gateway, and starts no workflow: a renewal that a change makes due goes to the
queue of renewals, as from the sweep.

Decisions: D268 to D273 (DECISIONS.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

from botocore.exceptions import ClientError

from customer_page import acting, by_address, declaring, declining, hosted, looking, pages
from customer_page.answers import SESSION_SECONDS, PageAnswer, see_other
from customer_page.pages import ChangeForm, Pages
from customer_page.request import Refused, Request, language_of, read
from customer_page.visits import (
    Gone,
    Visit,
    dunning,
    full_visit,
    is_of_session,
    keys,
    pages_in,
    receipt_link,
    register,
    row_of,
    visit_of,
)
from renewals.domain.customer_request import RENEWS, CustomerOutcome, Refusal, is_session
from renewals.domain.errors import BadRow, Collision, NotHandedOver, TryAgain, repeat_while_outdated
from renewals.domain.request import Asks
from renewals.domain.transitions import Action, NotAllowed
from renewals.ledger import account_links, limits
from renewals.ledger.account_links import Account, Power, Purpose
from renewals.ledger.customer_changes import cancellation_of, hand_over_work
from renewals.ledger.limits import Limit
from renewals.ledger.register import Register
from renewals.ledger.steps import Row
from renewals.runtime import aws, telemetry
from renewals.runtime.aws_errors import transient_aws_errors_as
from renewals.runtime.settings import setting
from renewals.runtime.telemetry import Event, Reply

_LOOKS = 4
"""How many times a change is tried if other changes keep coming first."""

_OVERVIEW = "overview"
_NEW_CARD = "new-card"
_CONFIRM = "confirm"
_WAY_BACK = timedelta(hours=3)
"""For how long a customer may come back from a page of the gateway, which is open for an hour."""


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
        return stranger.notice(notice)
    for_anybody = _FOR_ANYBODY.get((request.method, request.path))
    if for_anybody is not None:
        return for_anybody(request, stranger)
    if name == Purpose.REMINDERS and token:
        return declining.answer(request, token)
    if (request.method, name) == ("GET", Purpose.LINK):
        return _link(token)
    if (request.method, name) == ("GET", _NEW_CARD):
        return _back_with_card(request, token)
    if (request.method, name) == ("GET", _CONFIRM):
        return _back_from_bank(request, token)
    route = _ROUTES.get((request.method, request.path))
    if route is None:
        raise Refused(HTTPStatus.NOT_FOUND)
    return route(request)


def _link(token: str) -> PageAnswer:
    visit = visit_of(Purpose.LINK, token)
    return visit.pages.link(visit.row, token)


def _begin_session(request: Request) -> PageAnswer:
    visit = visit_of(Purpose.LINK, request.form.get("token", ""))
    expires = min(visit.moment.wall + timedelta(seconds=SESSION_SECONDS), visit.grant.expires)
    account = Account.of_row(visit.row)
    session = account_links.token(keys().current, Purpose.SESSION, account, visit.grant.power, expires)
    return see_other(_OVERVIEW, session)


def _overview(request: Request) -> PageAnswer:
    visit = visit_of(Purpose.SESSION, request.session)
    seen = looking.look(register(), visit.row, visit.moment.today, dunning())
    receipts = [(each, receipt_link(each)) for each in looking.receipts(register(), visit.row)]
    return visit.pages.overview(seen, receipts, visit.form, is_full=visit.grant.power is Power.FULL)


def _ask_to_cancel(request: Request) -> PageAnswer:
    visit = full_visit(request)
    row, today = visit.row, visit.moment.today
    try:
        cancellation = cancellation_of(register(), row, today)
    except BadRow:
        return visit.pages.notice(pages.NOT_NOW, back=_OVERVIEW)
    if cancellation is None:
        return see_other(_OVERVIEW)
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
        return see_other(_OVERVIEW)
    try:
        charge = looking.charge_if_resumed(register(), row, today, given)
        ends_on = looking.end_if_resumed(row, today, given)
    except BadRow:
        return visit.pages.notice(pages.NOT_NOW, back=_OVERVIEW)
    expected, said = acting.expected_of_resumption(row, charge), visit.pages.resume_words(charge, today, ends_on)
    change = ChangeForm("resume", expected, "page.resume_title", "page.resume_button", "page.back", said)
    return visit.pages.confirm(change, visit.form)


def _cancel(request: Request) -> PageAnswer:
    return _changed(request, acting.cancel)


def _resume(request: Request) -> PageAnswer:
    return _changed(request, acting.resume)


def _changed(request: Request, change: Callable[[Register, Row, Any, datetime, str], None]) -> PageAnswer:
    """Make a change as the form's page said, and show the subscription as it is then."""

    def looked_at() -> PageAnswer:
        visit = full_visit(request)  # anew at each look: the links may have been closed meanwhile
        if not is_of_session(request):
            return visit.pages.notice(pages.STALE, back=_OVERVIEW)
        try:
            expected = request.form.get("expected", "")
            change(register(), visit.row, visit.moment.today, visit.moment.now, expected)
        except acting.TooOften:
            return visit.pages.notice(pages.RESUME_LIMIT, back=_OVERVIEW)
        except acting.PageOutdated:
            return visit.pages.notice(pages.STALE, back=_OVERVIEW)
        except (NotAllowed, BadRow) as error:
            telemetry.logger().info("not changed", extra={"reason": str(error)})
            return visit.pages.notice(pages.NOT_NOW, back=_OVERVIEW)
        return see_other(_OVERVIEW)

    return repeat_while_outdated(looked_at, tries=_LOOKS, otherwise=Collision("the subscription"))


def _sign_out_everywhere(request: Request) -> PageAnswer:
    def looked_at() -> PageAnswer:
        visit = full_visit(request)
        if not is_of_session(request):
            return visit.pages.notice(pages.STALE, back=_OVERVIEW)
        acting.close_links(register(), visit.row, visit.moment.now)
        return see_other("closed", session="")

    return repeat_while_outdated(looked_at, tries=_LOOKS, otherwise=Collision("the subscription"))


def _new_card(request: Request) -> PageAnswer:
    """Lead the customer to the gateway's page for a new card."""
    visit = full_visit(request)
    if not is_of_session(request):
        return visit.pages.notice(pages.STALE, back=_OVERVIEW)
    if not _permits(limits.CARD_PAGES, request):
        return visit.pages.notice(pages.CARD_LIMIT, back=_OVERVIEW)
    _, url = hosted.ask(visit.row, Asks.OPEN_CARD_PAGE, return_url=_way_back(request, _NEW_CARD, visit))
    return _led_to(url, visit)


def _confirm(request: Request) -> PageAnswer:
    """Lead the customer to the bank's page, to confirm the refused payment."""
    visit = full_visit(request)
    if not is_of_session(request):
        return visit.pages.notice(pages.STALE, back=_OVERVIEW)
    if not _permits(limits.CONFIRMATIONS, request):
        return visit.pages.notice(pages.CONFIRM_LIMIT, back=_OVERVIEW)
    outcome, url = hosted.ask(visit.row, Asks.CONFIRM_ON_SESSION, return_url=_way_back(request, _CONFIRM, visit))
    if outcome is CustomerOutcome.OPENED:
        return _led_to(url, visit)
    if outcome in RENEWS:
        hand_over_work(register(), visit.row, visit.moment.today)
    return visit.pages.notice(_CONFIRM_NOTICES.get(outcome, pages.NOT_NOW), back=_OVERVIEW)


def _back_from_bank(request: Request, token: str) -> PageAnswer:
    """Have the workflow ask the gateway about the payment. Nothing that the browser brings back is believed."""
    visit, is_within = _returned(token)
    look = hand_over_work if is_within else Register.has_work
    notice = pages.AT_THE_BANK if look(register(), visit.row, visit.moment.today) else pages.NOTHING_OPEN
    back = f"../{_OVERVIEW}" if _has_session(request, visit) else ""
    return visit.pages.notice(notice if is_within else replace(notice, status=HTTPStatus.TOO_MANY_REQUESTS), back)


def _returned(token: str) -> tuple[Visit, bool]:
    """Return the visit of a customer who comes back from a page of the gateway, and whether the limit permits further
    work: the token alone is enough for the way back, which could otherwise fill the queue of all renewals. Beyond the
    limit, the gateway's own event brings the result."""

    def looked_at() -> tuple[Visit, bool]:
        visit = visit_of(Purpose.RETURN, token)
        return visit, _is_within(limits.RETURNS, visit)

    return repeat_while_outdated(looked_at, tries=_LOOKS, otherwise=Collision("the subscription"))


def _way_back(request: Request, name: str, visit: Visit) -> str:
    """Return the address to which a page of the gateway sends the customer back."""
    expires = visit.moment.wall + _WAY_BACK
    token = account_links.token(keys().current, Purpose.RETURN, Account.of_row(visit.row), Power.FULL, expires)
    return f"{request.address}/{name}/{token}"


def _permits(limit: Sequence[Limit], request: Request) -> bool:
    """Whether a limit permits that the customer opens one more page of the gateway."""
    return repeat_while_outdated(
        lambda: _is_within(limit, full_visit(request)), tries=_LOOKS, otherwise=Collision("the subscription")
    )


def _is_within(limit: Sequence[Limit], visit: Visit) -> bool:
    return limits.count(aws.dynamodb(), setting("DYNAMODB_TABLE"), visit.row, limit, visit.moment.wall)


def _mail_link(request: Request) -> PageAnswer:
    """Have a link with the full power mailed to the address on file. Beyond the limit nothing is mailed, and the answer
    is the same."""

    def looked_at() -> PageAnswer:
        visit = visit_of(Purpose.SESSION, request.session)
        if not is_of_session(request):
            return visit.pages.notice(pages.STALE, back=_OVERVIEW)
        if _is_within(limits.MAILED_LINKS, visit):
            acting.ask_for_link(register(), visit.row, visit.moment)
        return see_other("link-mailed")

    return repeat_while_outdated(looked_at, tries=_LOOKS, otherwise=Collision("the subscription"))


def _led_to(url: str, visit: Visit) -> PageAnswer:
    if not url:
        return visit.pages.notice(pages.NOT_NOW, back=_OVERVIEW)
    if not hosted.is_hosted(url):
        telemetry.logger().error("the gateway's page has an unexpected host")
        return visit.pages.notice(pages.NOT_NOW, back=_OVERVIEW)
    return see_other(url)


def _back_with_card(request: Request, token: str) -> PageAnswer:
    """Take the card that the customer has saved at the gateway's page. The token only says whose the card is: the
    gateway says whether a card was saved, and for whom."""
    visit, is_within = _returned(token)
    back = f"../{_OVERVIEW}" if _has_session(request, visit) else ""
    session = request.gateway_session
    if not is_session(session):
        return visit.pages.notice(pages.CARD_NOT_SAVED, back)
    if not is_within:
        return visit.pages.notice(pages.trouble(HTTPStatus.TOO_MANY_REQUESTS), back)
    outcome, _ = hosted.ask(visit.row, Asks.TAKE_CARD, session=session)
    notice = _CARD_NOTICES.get(outcome, pages.NOT_NOW)
    if notice is pages.CARD_SAVED:
        row = row_of(visit.grant.subscription_id) or visit.row
        if hand_over_work(register(), row, visit.moment.today):
            notice = pages.CARD_SAVED_RETRIED
    return visit.pages.notice(notice, back)


def _has_session(request: Request, visit: Visit) -> bool:
    """Whether the browser has a session of the same subscription."""
    try:
        return visit_of(Purpose.SESSION, request.session).grant.subscription_id == visit.grant.subscription_id
    except Gone:
        return False


_CARD_NOTICES: dict[CustomerOutcome | Refusal, pages.Notice] = {
    CustomerOutcome.CARD_TAKEN: pages.CARD_SAVED,
    Refusal.SESSION_USED: pages.CARD_SAVED,  # the gateway's event came first, or the customer has reloaded the page
    Refusal.SESSION_OPEN: pages.CARD_NOT_SAVED,
    Refusal.SESSION_EXPIRED: pages.CARD_NOT_SAVED,
    Refusal.SESSION_UNKNOWN: pages.CARD_NOT_SAVED,
    Refusal.SESSION_FOREIGN: pages.CARD_NOT_SAVED,
    Refusal.SESSION_OLDER: pages.CARD_OLDER,
    Refusal.CARD_UNUSABLE: pages.CARD_UNUSABLE,
}


_CONFIRM_NOTICES: dict[CustomerOutcome | Refusal, pages.Notice] = {
    Refusal.PAID_ALREADY: pages.AT_THE_BANK,
    Refusal.PROCESSING: pages.AT_THE_BANK,
    Refusal.BEING_SETTLED: pages.AT_THE_BANK,
    Refusal.CARD_UPDATED: pages.CARD_SAVED_RETRIED,
    Refusal.CARD_DECLINED: pages.BANK_DECLINED,
    Refusal.NOTHING_TO_CONFIRM: pages.NOTHING_OPEN,
    Refusal.ENDED: pages.NOTHING_OPEN,
}


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
    ("GET", _OVERVIEW): _overview,
    ("POST", _NEW_CARD): _new_card,
    ("POST", _CONFIRM): _confirm,
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
