"""The form for customers without a working link: the customer types a mail address, and gets links by mail.

The page puts the typed text on a queue, and does nothing else with the text: AddressWorker looks the address up later.
The answer and its time are therefore the same for every text, and tell nobody whether an address is known.

The form begins no session and acts on no subscription. A hostile page that sent the form could cause no more than a
mail to the customer, within the limits of the address, as anybody may by typing the address. The form is nevertheless
refused from other pages, so that nobody uses up the limits of visitors' sources.

Decisions: D297, D298 (DECISIONS.md).
"""

from __future__ import annotations

from http import HTTPStatus

from customer_page import pages
from customer_page.answers import PageAnswer, see_other
from customer_page.pages import Pages
from customer_page.request import Refused, Request, home
from customer_page.visits import keys
from renewals.domain import addresses
from renewals.domain.address_request import AddressRequest
from renewals.ledger import source_limits
from renewals.runtime import aws, clock, telemetry
from renewals.runtime.renewal_queue import send_messages
from renewals.runtime.settings import setting
from renewals.runtime.telemetry import Event

ASK = "ask-for-link"
ASKED = "link-asked"


def way_in(event: Event) -> str:
    """Return the path of the form; empty if the deployment has no form, or the request has no plain path."""
    return home(event) if _is_offered() else ""


def show(_request: Request, stranger: Pages) -> PageAnswer:
    """Show the form; without the form, say how customers get in."""
    return stranger.address_form(ASK) if _is_offered() else stranger.notice(pages.HOME)


def ask(request: Request, stranger: Pages) -> PageAnswer:
    """Put the typed text on the queue, unless the source has reached its limit."""
    if not _is_offered():
        raise Refused(HTTPStatus.NOT_FOUND)
    telemetry.count("AddressesTyped")
    limit, now = source_limits.ADDRESS_FORM, clock.current().wall
    if not source_limits.count(aws.dynamodb(), setting("COUNTERS_TABLE"), keys().current, limit, request.source, now):
        return stranger.notice(pages.ADDRESS_LIMIT)
    # A longer text is no address, and stays none.
    typed = AddressRequest(request.form.get("address", "")[: addresses.LONGEST + 1])
    send_messages(aws.sqs(), setting("ADDRESS_QUEUE_URL"), [typed.to_json()])
    return see_other(ASKED)


def _is_offered() -> bool:
    return bool(setting("ADDRESS_QUEUE_URL"))
