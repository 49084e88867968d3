"""AddressWorker: has links to the customer page mailed to the customers of addresses that somebody typed.

Event: a batch of SQS; renewals.domain.address_request describes the messages. Reply: {"batchItemFailures": [...]}, the
messages to be delivered again.

Nobody has shown that a typed address is their own. The function therefore records requests for links and does nothing
else: the stream of the records leads to the mail, which goes to the address on file. Nothing is charged, renewed or
changed, and the log names no address.

Decisions: D297, D298 (DECISIONS.md).
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from address_worker.links import Links
from renewals.domain.address_request import AddressRequest
from renewals.domain.item_values import fields, text
from renewals.runtime import aws, telemetry
from renewals.runtime.settings import setting
from renewals.runtime.telemetry import Event, Reply, records


@telemetry.observed
def handler(event: Event, _context: Any) -> Reply:
    """Act on the messages; see the module."""
    failed = [record["messageId"] for record in records(event) if not _is_done(record)]
    return {"batchItemFailures": [{"itemIdentifier": each} for each in failed]}


def _is_done(record: Event) -> bool:
    """Act on a message, and return whether the message is done. An error fails the one message, not the batch."""
    telemetry.forget()
    telemetry.correlate({}, message_id=record["messageId"])
    try:
        request = AddressRequest.from_json(text(record, "body"))
        sent = int(text(fields(record, "attributes"), "SentTimestamp"))
        asked = _links().ask(request.address, text(record, "messageId"), datetime.fromtimestamp(sent / 1000, UTC))
    except Exception as error:  # noqa: BLE001  (whatever fails, the message comes back, and the batch goes on)
        # The message of an AWS error is logged whole: the message names a missing permission, and no address.
        told = str(error) if isinstance(error, (BotoCoreError, ClientError)) else telemetry.named(error)
        telemetry.logger().error("not handled", extra={"error": told})
        return False
    telemetry.logger().info("links asked for", extra={"links": asked})
    return True


@cache
def _links() -> Links:
    return Links(
        aws.dynamodb(),
        subscriptions=setting("DYNAMODB_TABLE"),
        changes=setting("CHANGES_TABLE"),
        counters=setting("COUNTERS_TABLE"),
    )
