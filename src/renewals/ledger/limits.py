"""Limit how often a customer may ask for something. Whoever tries stolen cards, or fills a mailbox, needs many tries.

A count stands in an attribute of the row, as "2026-01-31/3": the hour or the day, and how often in it. Each count
is one conditional write: two windows cannot both be the last.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from renewals.runtime import dynamodb

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from renewals.ledger.steps import Row
    from renewals.runtime.attribute_values import TransactAction

_DAY, _HOUR = "%Y-%m-%d", "%Y-%m-%dT%H"


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit. attribute: the row's attribute with the count. time: the form of the counted hour or day."""

    attribute: str
    most: int
    time: str


CARD_PAGES = (Limit("card_pages", 5, _DAY),)
"""The pages for a new card that a customer may open."""

MAILED_LINKS = (Limit("links_in_hour", 3, _HOUR), Limit("links_in_day", 10, _DAY))
"""The links to the customer page that a customer may have mailed."""

CONFIRMATIONS = (Limit("confirmations", 5, _DAY),)
"""The times that a customer may have the bank ask for a confirmation of a payment."""

REMINDERS = (Limit("reminders_in_day", 5, _DAY),)
"""The times that a customer may let all reminders come again."""

RECEIPTS_OF_DECLARATIONS = (Limit("declared_in_hour", 3, _HOUR), Limit("declared_in_day", 10, _DAY))
"""The mails that confirm the receipt of declarations about a subscription: strangers can send declarations, too."""

RETURNS = (Limit("returns", 10, _HOUR),)
"""The times that a customer may come back from a page of the gateway, and have the gateway asked."""


def count(
    client: DynamoDBClient,
    table: str,
    row: Row,
    limits: Sequence[Limit],
    now: datetime,
    beside: Iterable[TransactAction] = (),
) -> bool:
    """Count one more time. Returns False, and counts nothing, if a limit is reached. Raises Overtaken if another time
    was counted since the row was read.

    beside: the actions of the transaction beside the count.
    """
    counted = {}
    for limit in limits:
        present = now.strftime(limit.time)
        then, _, times = str(row.get(limit.attribute, "")).partition("/")
        before = int(times) if then == present and times.isdecimal() else 0
        if before >= limit.most:
            return False
        counted[limit.attribute] = f"{present}/{before + 1}"
    key = {name: row[name] for name in ("subscription_id", "customer_id")}
    as_read, values = dynamodb.as_read(row, tuple(counted))
    condition = f"attribute_exists(subscription_id) AND {as_read}"
    dynamodb.transact(client, [{"Update": dynamodb.change(table, key, counted, condition, values)}, *beside])
    return True
