"""Record requests for links on behalf of an address that somebody typed.

A customer with an ended subscription gets no link: nothing is left to change. An address to which mail came back, or
from which a mail was reported as spam, gets none either.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING

from renewals.domain import mail_faults, transitions
from renewals.domain.changes import BY_ADDRESS, ChangeKind
from renewals.domain.errors import Collision, Overtaken, RenewalError, repeat_while_outdated
from renewals.domain.item_values import text
from renewals.domain.transitions import Standing
from renewals.ledger import address_search, limits, source_limits
from renewals.ledger.asked_by import AskedBy
from renewals.ledger.change_records import ChangeRecords
from renewals.runtime import clock, dynamodb, telemetry

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from renewals.domain.item_values import Item
    from renewals.runtime.attribute_values import TransactAction

MOST = 5
"""The subscriptions of one address that get a link. A row holds no moment of its creation: the subscriptions with the
earliest renewal dates come first, so that a payment that is past due never misses."""

_LOOKS = 4
_RECORD, _TOTAL = 1, 2
"""The places of the record and of the count of all links in the transaction, behind the count of the row."""


class TooManyLinks(RenewalError):  # noqa: N818
    """All typed addresses together have caused as many links in this hour as may be mailed."""


class Links:
    """Records requests for links."""

    def __init__(self, client: DynamoDBClient, *, subscriptions: str, changes: str, counters: str) -> None:
        self._client = client
        self._subscriptions = subscriptions
        self._counters = counters
        self._changes = ChangeRecords(client, changes)

    def ask(self, typed: str, message_id: str, sent: datetime) -> int:
        """Record a request for each live subscription of the address, as far as the limits permit. Returns the number
        of requests. A subscription whose request fails keeps no other subscription's link back: the error is raised
        after all subscriptions had their turn, so that the message comes back for the failed subscription.

        Args:
            typed: The text that somebody typed.
            message_id: The id of the message. A message that is delivered twice is recorded once.
            sent: The moment at which the message was sent.

        Raises:
            TooManyLinks: Too many links were asked for in this hour. The message may be tried again later.
        """
        rows = address_search.rows_of(self._client, self._subscriptions, typed)
        first = sorted(filter(_gets_link, rows), key=_renewal_date)[:MOST]
        asked, failed = 0, list[Exception]()
        for row in first:
            try:
                asked += self._ask_for(row, message_id, sent)
            except TooManyLinks:
                raise
            except Exception as error:  # noqa: BLE001  (whatever is wrong with the row, or with the call)
                failed.append(error)
        if failed:
            raise failed[0]
        return asked

    def _ask_for(self, row: Item, message_id: str, sent: datetime) -> bool:
        key = {name: text(row, name) for name in ("subscription_id", "customer_id")}
        telemetry.correlate(key)

        def looked_at() -> bool:
            [*stands] = dynamodb.get_all(self._client, self._subscriptions, [key])
            same = [each for each in stands if each.get("customer_email") == row["customer_email"]]
            return any(self._recorded(each, message_id, sent) for each in same if _gets_link(each))

        return repeat_while_outdated(looked_at, tries=_LOOKS, otherwise=Collision("the subscription"))

    def _recorded(self, row: Item, message_id: str, sent: datetime) -> bool:
        """Record the request together with its counts. Returns False, and records nothing, if the limit of the row is
        reached or the request is recorded already. Raises TooManyLinks."""
        moment = clock.of_row(row)
        asked = AskedBy(BY_ADDRESS, moment.now, at=moment.wall)
        record = self._changes.request_of(text(row, "subscription_id"), ChangeKind.LINK_ASKED, asked, message_id, sent)
        everybody = source_limits.EVERYBODY
        total = source_limits.one_more(self._counters, everybody, source_limits.ALL_LINKS, everybody, moment.wall)
        beside: list[TransactAction] = [record, {"Update": total}]
        try:
            return limits.count(self._client, self._subscriptions, row, limits.MAILED_LINKS, moment.wall, beside)
        except Overtaken as overtaken:
            if _RECORD in overtaken.failed:  # the record stands
                return False
            if _TOTAL in overtaken.failed:
                raise TooManyLinks("too many links were asked for in this hour") from None
            raise


def _gets_link(row: Item) -> bool:
    """Whether the row's customer may get a link by mail. A row with a fault in other attributes than its status gets a
    link, too: on the page, its customer can cancel."""
    if transitions.state(row, clock.of_row(row).today) in (None, Standing.CANCELED, Standing.ENDED):
        return False
    return mail_faults.kind(row) is None and not mail_faults.has_complained(row)


def _renewal_date(row: Item) -> str:
    return str(row.get("renewal_date", date.max.isoformat()))
