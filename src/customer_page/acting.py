"""The changes that a customer makes: cancel, resume, and close all links. Each change goes through the Register.

Between a page and its button, the subscription may change: a renewal may begin, or the customer may have changed the
subscription in another window. Each form therefore carries a digest of what its page said. If the page would say
something else by now, nothing is changed. A form that is sent twice changes nothing at the second time, since the first
time has changed what the page says.
"""

from __future__ import annotations

import json
from datetime import date, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

from customer_page import looking
from renewals.domain.changes import CUSTOMER, ChangeKind
from renewals.domain.errors import RenewalError
from renewals.domain.item_values import text
from renewals.domain.preview import NextCharge
from renewals.domain.transitions import Action
from renewals.ledger import account_links
from renewals.ledger.asked_by import AskedBy
from renewals.ledger.customer_changes import act, cancellation_of
from renewals.ledger.entity_tags import etag

if TYPE_CHECKING:
    from datetime import datetime

    from renewals.ledger.register import Register
    from renewals.ledger.steps import Row
    from renewals.runtime.clock import Moment


_DAY = timedelta(days=1)
_MOST_RESUMED = 5
"""How often a customer may resume a subscription within a day. Each change causes a mail and a record. Cancellations
have no limit of their own, because each needs a resumption before it."""


class TooOften(RenewalError):  # noqa: N818
    """The customer has resumed the subscription too often within a day."""


class PageOutdated(RenewalError):  # noqa: N818
    """The page with the form would say something else by now, so that the change is not made."""


def expected_of_cancellation(row: Row, action: Action, ends_on: date, open_payment: looking.OpenPayment) -> str:
    """Return the digest of what the page says about a cancellation."""
    return _digest(etag(row), action, ends_on.isoformat(), open_payment)


def expected_of_resumption(row: Row, charge: NextCharge | None) -> str:
    """Return the digest of what the page says about a resumption."""
    said = [charge.on.isoformat(), charge.end.isoformat(), f"{charge.amount}", charge.currency] if charge else []
    return _digest(etag(row), Action.RESUME, *said)


def cancel(register: Register, row: Row, today: date, now: datetime, expected: str) -> None:
    """Cancel the subscription as the page said.

    Raises:
        PageOutdated: the page would say something else by now.
        NotAllowed, BadRow, Outdated: as Register.act.
    """
    cancellation = cancellation_of(register, row, today)
    if cancellation is None:
        raise PageOutdated("there is nothing to cancel")
    action, ends_on = cancellation
    open_payment = looking.open_payment(register, row)
    if expected != expected_of_cancellation(row, action, ends_on, open_payment):
        raise PageOutdated("the cancellation would differ from the page")
    act(register, row, action, today, AskedBy(CUSTOMER, now))


def resume(register: Register, row: Row, today: date, now: datetime, expected: str) -> None:
    """Resume the subscription as the page said. Raises like `cancel`, and TooOften."""
    given = looking.resumption_of(register, row, today)
    if given is None:
        raise PageOutdated("there is nothing to resume")
    if expected != expected_of_resumption(row, looking.charge_if_resumed(register, row, today, given)):
        raise PageOutdated("the resumption would differ from the page")
    if looking.resumed_since(register, row, now - _DAY) >= _MOST_RESUMED:
        raise TooOften("the subscription was resumed too often today")
    act(register, row, Action.RESUME, today, AskedBy(CUSTOMER, now), given)


def close_links(register: Register, row: Row, now: datetime) -> None:
    """Close all links and sessions of the row. Raises Overtaken if the row is no longer as read."""
    changes = {account_links.COUNTER: account_links.counted_up(row)}
    register.edit(row, changes, ChangeKind.SIGNED_OUT, AskedBy(CUSTOMER, now))


def ask_for_link(register: Register, row: Row, moment: Moment) -> None:
    """Record that the customer asks for a link. The stream of the records leads to the mail."""
    asked = AskedBy(CUSTOMER, moment.now, at=moment.wall)
    register.changes.note(text(row, "subscription_id"), ChangeKind.LINK_ASKED, asked)


def _digest(*said: object) -> str:
    return sha256(json.dumps([str(each) for each in said]).encode()).hexdigest()[:32]
