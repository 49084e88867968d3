"""The ways to the gateway's own pages, and back: for a new card, and to confirm a payment at the bank.

The address of a way back holds a token, which only says whose subscription is meant: the gateway says what happened
there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from http import HTTPStatus

from customer_page import hosted, looking, pages
from customer_page.answers import OVERVIEW, PageAnswer, see_other
from customer_page.request import Request
from customer_page.visits import (
    LOOKS,
    Visit,
    dunning,
    full_visit,
    is_of_session,
    is_within_limit,
    keys,
    register,
    row_of,
    session_of,
    visit_of,
)
from renewals.domain.customer_request import RENEWS, CustomerOutcome, Refusal, is_session
from renewals.domain.errors import Collision, repeat_while_outdated
from renewals.domain.request import Asks
from renewals.ledger import account_links, limits
from renewals.ledger.account_links import Account, Power, Purpose
from renewals.ledger.customer_changes import hand_over_work
from renewals.ledger.limits import Limit
from renewals.ledger.register import Register
from renewals.ledger.steps import Row
from renewals.runtime import telemetry

NEW_CARD = "new-card"
CONFIRM = "confirm"
_WAY_BACK = timedelta(hours=3)
"""For how long a customer may come back from a page of the gateway, which is open for an hour."""


def new_card(request: Request) -> PageAnswer:
    """Lead the customer to the gateway's page for a new card."""
    visit = full_visit(request)
    if not is_of_session(request):
        return visit.pages.notice(pages.STALE, back=OVERVIEW)
    if not _permits(limits.CARD_PAGES, request):
        return visit.pages.notice(pages.CARD_LIMIT, back=OVERVIEW)
    _, url = hosted.ask(visit.row, Asks.OPEN_CARD_PAGE, return_url=_way_back(request, NEW_CARD, visit))
    return _led_to(url, visit)


def confirm(request: Request) -> PageAnswer:
    """Lead the customer to the bank's page, to confirm the refused payment."""
    visit = full_visit(request)
    if not is_of_session(request):
        return visit.pages.notice(pages.STALE, back=OVERVIEW)
    if not _permits(limits.CONFIRMATIONS, request):
        return visit.pages.notice(pages.CONFIRM_LIMIT, back=OVERVIEW)
    outcome, url = hosted.ask(visit.row, Asks.CONFIRM_ON_SESSION, return_url=_way_back(request, CONFIRM, visit))
    if outcome is CustomerOutcome.OPENED:
        return _led_to(url, visit)
    if outcome in RENEWS:
        hand_over_work(register(), visit.row, visit.moment.today)
    notice = _CONFIRM_NOTICES.get(outcome, pages.NOT_NOW)
    if notice is pages.CARD_SAVED_RETRIED and not _tries_new_card(visit.row, visit):
        notice = pages.CARD_SAVED
    return visit.pages.notice(notice, back=OVERVIEW)


def back_from_bank(request: Request, token: str) -> PageAnswer:
    """Have the workflow ask the gateway about the payment. Nothing that the browser brings back is believed."""
    visit, is_within = _returned(token)
    look = hand_over_work if is_within else Register.has_work
    notice = pages.AT_THE_BANK if look(register(), visit.row, visit.moment.today) else pages.NOTHING_OPEN
    back = f"../{OVERVIEW}" if _has_session(request, visit) else ""
    return visit.pages.notice(notice if is_within else replace(notice, status=HTTPStatus.TOO_MANY_REQUESTS), back)


def _returned(token: str) -> tuple[Visit, bool]:
    """Return the visit of a customer who comes back from a page of the gateway, and whether the limit permits further
    work: the token alone is enough for the way back, which could otherwise fill the queue of all renewals. Beyond the
    limit, the gateway's own event brings the result."""

    def looked_at() -> tuple[Visit, bool]:
        visit = visit_of(Purpose.RETURN, token)
        return visit, is_within_limit(limits.RETURNS, visit)

    return repeat_while_outdated(looked_at, tries=LOOKS, otherwise=Collision("the subscription"))


def _way_back(request: Request, name: str, visit: Visit) -> str:
    """Return the address to which a page of the gateway sends the customer back."""
    expires = visit.moment.wall + _WAY_BACK
    token = account_links.token(keys().current, Purpose.RETURN, Account.of_row(visit.row), Power.FULL, expires)
    return f"{request.address}/{name}/{token}"


def _permits(limit: Sequence[Limit], request: Request) -> bool:
    """Whether a limit permits that the customer opens one more page of the gateway."""
    return repeat_while_outdated(
        lambda: is_within_limit(limit, full_visit(request)), tries=LOOKS, otherwise=Collision("the subscription")
    )


def _led_to(url: str, visit: Visit) -> PageAnswer:
    if not url:
        return visit.pages.notice(pages.NOT_NOW, back=OVERVIEW)
    if not hosted.is_hosted(url):
        telemetry.logger().error("the gateway's page has an unexpected host")
        return visit.pages.notice(pages.NOT_NOW, back=OVERVIEW)
    return see_other(url)


def back_with_card(request: Request, token: str) -> PageAnswer:
    """Take the card that the customer has saved at the gateway's page. The token only says whose the card is: the
    gateway says whether a card was saved, and for whom."""
    visit, is_within = _returned(token)
    back = f"../{OVERVIEW}" if _has_session(request, visit) else ""
    session = request.gateway_session
    if not is_session(session):
        return visit.pages.notice(pages.CARD_NOT_SAVED, back)
    if not is_within:
        return visit.pages.notice(pages.trouble(HTTPStatus.TOO_MANY_REQUESTS), back)
    outcome, _ = hosted.ask(visit.row, Asks.TAKE_CARD, session=session)
    notice = _CARD_NOTICES.get(outcome, pages.NOT_NOW)
    if notice is pages.CARD_SAVED:
        row = row_of(visit.grant.subscription_id) or visit.row
        if hand_over_work(register(), row, visit.moment.today) and _tries_new_card(row, visit):
            notice = pages.CARD_SAVED_RETRIED
    return visit.pages.notice(notice, back)


def _tries_new_card(row: Row, visit: Visit) -> bool:
    return looking.tries_new_card(register(), row, visit.moment.today, dunning())


def _has_session(request: Request, visit: Visit) -> bool:
    """Whether the browser has a session of the same subscription."""
    session = session_of(request)
    return session is not None and session.grant.subscription_id == visit.grant.subscription_id


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
