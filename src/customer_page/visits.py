"""Visits: customers with a link or a session that holds, and what every page needs to look at their subscription."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from customer_page import looking
from customer_page.pages import Pages
from customer_page.request import Request
from renewals.domain.dunning import Dunning
from renewals.domain.errors import BadRow
from renewals.domain.item_values import text
from renewals.language import words
from renewals.ledger import account_links, limits, receipt_links
from renewals.ledger.account_links import Grant, Keys, Power, Purpose
from renewals.ledger.limits import Limit
from renewals.ledger.receipt_links import LinkKey
from renewals.ledger.register import Register
from renewals.ledger.steps import Row
from renewals.runtime import aws, clock, dynamodb, telemetry
from renewals.runtime.clock import Moment
from renewals.runtime.settings import setting

LOOKS = 4
"""How many times a change is tried if other changes keep coming first."""

_NOBODYS_ROW = dynamodb.attributes({f"attribute_{n}": f"a text of the length {n}" for n in range(18)})
"""A row of the usual size, in the form in which DynamoDB returns rows."""


class Gone(Exception):  # noqa: N818
    """The link or the session does not hold. without_token: whether the request had no link and no session at all, like
    an old bookmark."""

    def __init__(self, *, without_token: bool = False) -> None:
        super().__init__()
        self.without_token = without_token


@dataclass(frozen=True, slots=True)
class Visit:
    """A customer with a link or a session that holds. token: the link's token, or the session."""

    grant: Grant
    row: Row
    moment: Moment
    token: str

    @property
    def pages(self) -> Pages:
        return pages_in(str(self.row.get("locale", "")))

    @property
    def form(self) -> str:
        """The token of the forms of this session."""
        return account_links.form_token(keys().current, self.token)


def visit_of(purpose: Purpose, token: str) -> Visit:
    """Check a link or a session. Raises Gone if it does not hold."""
    row = row_of(account_links.subscription_in(token))
    if row is None:
        dynamodb.plain(_NOBODYS_ROW)  # takes as long as a row that exists, so that the time tells nobody of a row
    grant = account_links.granted(keys(), purpose, token, row, clock.current().wall)
    if grant is None or row is None:
        raise Gone(without_token=not token)
    telemetry.correlate({"subscription_id": row["subscription_id"]})
    return Visit(grant, row, clock.of_row(row), token)


def session_of(request: Request) -> Visit | None:
    """Return the visit of the browser's session; None without a session that holds."""
    try:
        return visit_of(Purpose.SESSION, request.session) if request.session else None
    except Gone:
        return None


def full_visit(request: Request) -> Visit:
    visit = visit_of(Purpose.SESSION, request.session)
    if visit.grant.power is not Power.FULL:
        raise Gone
    return visit


def row_of(subscription_id: str) -> Row | None:
    try:
        return register().row(subscription_id)
    except BadRow:  # two customers share the id, and nobody can tell whose the link is
        return None


def is_of_session(request: Request) -> bool:
    return account_links.is_form_token(keys(), request.session, request.form.get("form", ""))


def is_within_limit(limit: Sequence[Limit], visit: Visit) -> bool:
    """Count the visit, and tell whether the limit permits that the customer goes on."""
    return limits.count(aws.dynamodb(), setting("DYNAMODB_TABLE"), visit.row, limit, visit.moment.wall)


def receipt_link(receipt: looking.ListedReceipt) -> str:
    of = text(receipt.period, "subscription_id"), text(receipt.period, "renewal_date"), receipt.name
    return f"{setting('RECEIPT_LINKS_URL')}/{receipt_links.token(_receipt_key().value(), *of)}"


def pages_in(locale: str, way_in: str = "") -> Pages:
    return Pages(words(locale), setting("SELLER_NAME"), way_in)


def dunning() -> Dunning:
    return Dunning.of(setting("DUNNING_DAYS"), setting("DUNNING_ENDS_AS"))


def keys() -> Keys:
    return Keys.of_secret(_account_key().value())


@cache
def _account_key() -> LinkKey:
    return LinkKey(aws.secrets_manager(), setting("ACCOUNT_LINK_KEY_ARN"))


@cache
def _receipt_key() -> LinkKey:
    return LinkKey(aws.secrets_manager(), setting("RECEIPT_LINK_KEY_ARN"))


@cache
def register() -> Register:
    return Register(
        aws.dynamodb(),
        subscriptions=setting("DYNAMODB_TABLE"),
        renewals=setting("RENEWALS_TABLE"),
        changes=setting("CHANGES_TABLE"),
    )
