"""The requests to confirm changes by mail: the stream of the changes table leads to the queue of renewals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from event_publisher.stream import Unreadable
from renewals.domain import confirmations
from renewals.domain.changes import change_from
from renewals.domain.request import Asks, RenewalRequest

if TYPE_CHECKING:
    from collections.abc import Collection

    from event_publisher.stream import Reader, Record
    from renewals.ledger.table import Ledger


def asked_by(record: Record, reader: Reader, kinds: Collection[str], ledger: Ledger) -> RenewalRequest | None:
    """Return the request that the record of a change causes; None if no customer may be owed a mail because of it.

    The request names the subscription alone: ProcessPayment decides which confirmations are owed and true. The record
    of a change that was put back from a backup causes no request.

    Raises:
        Unreadable: the record was not written by this system.
    """
    item = record.new
    if record.table != reader.changes or record.old is not None or item is None or "what" not in item:
        return None
    try:
        change = change_from(item)
    except (KeyError, TypeError, ValueError) as error:
        raise Unreadable(f"the record of a change: {type(error).__name__}") from None
    if not confirmations.may_owe_mail(change, kinds) or reader.was_put_back(record, change.at):
        return None
    rows = ledger.rows(str(item["subscription_id"]))
    return RenewalRequest.of_row(rows[0], None, Asks.CONFIRM) if len(rows) == 1 else None
