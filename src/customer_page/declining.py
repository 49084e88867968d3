"""Decline reminders: a mail program does so for the customer by one click (RFC 8058), or the customer on a page.

A GET shows what may be declined, and changes nothing: scanners follow links. A POST with List-Unsubscribe=One-Click
declines. The link may do nothing else, so that its form needs neither a session nor a token of its own: whoever has the
link can stop some reminders, and let the reminders come again. Each change goes through the Register.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from customer_page import pages
from customer_page.answers import OVERVIEW, Done, see_done
from customer_page.visits import LOOKS, full_visit, is_of_session, register, visit_of
from renewals.domain import reminders
from renewals.domain.changes import CUSTOMER, ChangeKind
from renewals.domain.errors import Collision, repeat_while_outdated
from renewals.ledger import limits
from renewals.ledger.account_links import Purpose
from renewals.ledger.asked_by import AskedBy
from renewals.runtime import aws
from renewals.runtime.settings import setting

if TYPE_CHECKING:
    from customer_page.answers import PageAnswer
    from customer_page.request import Request
    from customer_page.visits import Visit

_ONE_CLICK = ("List-Unsubscribe", "One-Click")


def answer(request: Request, token: str) -> PageAnswer:
    """Answer a request to the link for reminders in a mail. A redirection would not be followed by mail programs."""

    def looked_at() -> PageAnswer:
        visit = visit_of(Purpose.REMINDERS, token)
        if request.form.get(_ONE_CLICK[0]) == _ONE_CLICK[1]:
            _choose(visit, reminders.REQUIRED)
            return visit.pages.reminders(token, has_declined=True)
        if request.form.get(reminders.CHOICE) == reminders.ALL:
            if not _take_up(visit):
                return visit.pages.notice(pages.REMINDERS_LIMIT)
            return visit.pages.notice(pages.REMINDERS_TAKEN_UP)
        return visit.pages.reminders(token, has_declined=reminders.has_declined(visit.row))

    return repeat_while_outdated(looked_at, tries=LOOKS, otherwise=Collision("the subscription"))


def take_up(request: Request) -> PageAnswer:
    """Let all reminders come again, by the button of the overview."""

    def looked_at() -> PageAnswer:
        visit = full_visit(request)
        if not is_of_session(request):
            return visit.pages.notice(pages.STALE, back=OVERVIEW)
        if not _take_up(visit):
            return visit.pages.notice(pages.REMINDERS_LIMIT, back=OVERVIEW)
        return see_done(Done.REMINDERS)

    return repeat_while_outdated(looked_at, tries=LOOKS, otherwise=Collision("the subscription"))


def _take_up(visit: Visit) -> bool:
    """Let all reminders come again. Returns False if the customer has done so too often today. To decline has no limit:
    each further time needs such a change before."""
    if not reminders.has_declined(visit.row):
        return True
    if not limits.count(aws.dynamodb(), setting("DYNAMODB_TABLE"), visit.row, limits.REMINDERS, visit.moment.wall):
        return False
    _choose(visit, reminders.ALL)
    return True


def _choose(visit: Visit, choice: str) -> None:
    """Record the choice. A choice that stands already writes nothing."""
    if visit.row.get(reminders.CHOICE, reminders.ALL) != choice:
        asked = AskedBy(CUSTOMER, visit.moment.now)
        register().edit(visit.row, {reminders.CHOICE: choice}, ChangeKind.EDITED, asked)
