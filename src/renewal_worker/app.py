"""RenewalWorker: takes requests to renew from the queue, in order, and runs the workflow for every request to its end.

Event: a batch of SQS. Reply: {"batchItemFailures": [...]}, the messages whose workflow did not succeed. SQS delivers a
failed message again after 1, 2, 4 and 8 minutes; the fifth failure moves the message to the dead-letter queue. A
message without a valid request goes to the dead-letter queue at once. The worker waits for the end of each workflow.
The limit on the number of concurrent workers therefore also limits how many renewals run at once, and how many calls
the gateway gets.

Decisions: D43, D44, D45 (DECISIONS.md).
"""

from botocore.exceptions import BotoCoreError, ClientError

from renewals.domain.item_values import fields, text, whole
from renewals.domain.request import NoRequest, RenewalRequest
from renewals.runtime import aws, telemetry
from renewals.runtime.settings import setting
from renewals.runtime.telemetry import Event, Reply, records

_FIRST_WAIT_SECONDS = 60
"""Longer than a failed run can hold its lease on a renewal, even if a function ran on after the timeout of its task. A
retry during the lease would only end as in_progress."""

MOST_TRIES = 5
"""The queue's maxReceiveCount."""


@telemetry.observed
def handler(event: Event, _context: object) -> Reply:
    """Run the workflow for every message; see the module."""
    waits = [(record, _tried_after(record)) for record in records(event)]
    failed = [(record, seconds) for record, seconds in waits if seconds is not None]
    for record, seconds in failed:
        _come_back(record, after=seconds)
    return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record, _ in failed]}


def _tried_after(record: Event) -> int | None:
    """Run the workflow for a message.

    Returns:
        None after success, else the seconds until the next try; 0 if no retry can help.
    """
    telemetry.forget()
    telemetry.correlate({}, message_id=record["messageId"])
    try:
        asked = RenewalRequest.from_json(text(record, "body"))
    except NoRequest as bad:
        telemetry.logger().error("not run", extra={"error": str(bad)})
        return 0
    if _succeeds(asked, text(record, "body")):
        return None
    tries = whole(fields(record, "attributes"), "ApproximateReceiveCount")
    return 0 if tries >= MOST_TRIES else _FIRST_WAIT_SECONDS * 2 ** (tries - 1)


def _succeeds(asked: RenewalRequest, message: str) -> bool:
    """Run the workflow and return whether the execution succeeded.

    The workflow's input is the message exactly as received, to keep a field added by a newer version. AWS answers
    with HTTP 200 even if the execution fails: only the execution's status shows the failure.
    """
    named = ("subscription_id", asked.subscription_id), ("customer_id", asked.customer_id)
    ids = {name: telemetry.shown_id(value) for name, value in named}
    if asked.renewal_date is not None:
        ids["renewal_date"] = asked.renewal_date.isoformat()
    telemetry.correlate(ids)
    try:
        ended = aws.synchronous_workflows().start_sync_execution(
            stateMachineArn=setting("STATE_MACHINE_ARN"), input=message
        )
    except (BotoCoreError, ClientError) as error:
        telemetry.logger().error("not run", extra={"outcome": "not run", "error": str(error)} | ids)
        return False
    telemetry.correlate({}, execution=ended["executionArn"])
    telemetry.renewal_event("run", ids | {"outcome": ended["status"].lower()}, error=ended.get("error"))
    return ended["status"] == "SUCCEEDED"


def _come_back(record: Event, *, after: int) -> None:
    """Have SQS deliver the message again after `after` seconds. If the call fails, the queue's own visibility timeout
    applies."""
    try:
        aws.sqs().change_message_visibility(
            QueueUrl=setting("RENEWAL_QUEUE_URL"), ReceiptHandle=text(record, "receiptHandle"), VisibilityTimeout=after
        )
    except (BotoCoreError, ClientError) as error:
        telemetry.logger().warning("retry time not set", extra={"message_id": record["messageId"], "error": str(error)})
