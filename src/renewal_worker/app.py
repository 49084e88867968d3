"""RenewalWorker: takes requests to renew from the queue and runs the workflow for each, in order, to its end.

Event: a batch of SQS. Reply: {"batchItemFailures": [...]}, the messages whose workflow did not succeed. They are tried
again after 1, 2, 4 and 8 minutes; the fifth failure takes a message to the dead-letter queue, and what is no request at
all goes there without a wait. It waits for the end of a workflow, so that the bound on its own concurrency is one on
the renewals at work, and on the calls to the gateway.
"""

from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from renewals import aws, telemetry
from renewals.settings import setting
from renewals.strict_json import NotAnObject, read_object

_IDS = ("subscription_id", "customer_id", "renewal_date")
_FIRST_WAIT_SECONDS = 60
"""Longer than the lease of 40 seconds that a failed run may leave: a try within it would end as in_progress."""

MOST_TRIES = 5
"""The queue's maxReceiveCount."""


@telemetry.observed
def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Renew what the messages ask for; see the module."""
    failed = [record for record in event["Records"] if not _succeeds(record)]
    for record in failed:
        _try_later(record)
    return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in failed]}


def _succeeds(record: dict[str, Any]) -> bool:
    """Run the workflow. An execution that fails is answered with HTTP 200 too: its status says so."""
    telemetry.forget()
    telemetry.correlate({}, message_id=record["messageId"])
    asked = _asked(record)
    if asked is None:
        telemetry.logger().error("not run", extra={"error": "the message is not a JSON object"})
        return False
    ids = {name: telemetry.shown_id(asked[name]) for name in _IDS if name in asked}
    telemetry.correlate(ids)
    try:
        ended = aws.synchronous_workflows().start_sync_execution(
            stateMachineArn=setting("STATE_MACHINE_ARN"), input=record["body"]
        )
    except (BotoCoreError, ClientError) as error:
        telemetry.logger().error("not run", extra={"outcome": "not run", "error": str(error)} | ids)
        return False
    telemetry.correlate({}, execution=ended["executionArn"])
    telemetry.renewal_event("run", ids | {"outcome": ended["status"].lower()}, error=ended.get("error"))
    return ended["status"] == "SUCCEEDED"


def _asked(record: dict[str, Any]) -> dict[str, Any] | None:
    """What the message asks for; None where it is no JSON object."""
    try:
        return read_object(record["body"])
    except NotAnObject:
        return None


def _try_later(record: dict[str, Any]) -> None:
    """Where this cannot be said, the message comes back after the queue's own visibility timeout."""
    tries = int(record["attributes"]["ApproximateReceiveCount"])
    hopeless = tries >= MOST_TRIES or _asked(record) is None
    wait = 0 if hopeless else _FIRST_WAIT_SECONDS * 2 ** (tries - 1)
    try:
        aws.sqs().change_message_visibility(
            QueueUrl=setting("RENEWAL_QUEUE_URL"), ReceiptHandle=record["receiptHandle"], VisibilityTimeout=wait
        )
    except (BotoCoreError, ClientError) as error:
        telemetry.logger().warning("no earlier try", extra={"message_id": record["messageId"], "error": str(error)})
