"""RenewalWorker: takes requests to renew from the queue and runs the workflow for each, in order, to its end.

Event: a batch of SQS. Reply: {"batchItemFailures": [...]}, the messages whose workflow did not succeed. They are tried
again after 1, 2, 4 and 8 minutes; the fifth failure takes a message to the dead-letter queue, and what is no request at
all goes there without a wait. It waits for the end of a workflow, so that the bound on its own concurrency is one on
the renewals at work, and on the calls to the gateway.
"""

from botocore.exceptions import BotoCoreError, ClientError

from renewals.domain.item_values import fields, text, whole
from renewals.domain.request import NoRequest, RenewalRequest
from renewals.runtime import aws, telemetry
from renewals.runtime.settings import setting
from renewals.runtime.telemetry import Event, Reply, records

_FIRST_WAIT_SECONDS = 60
"""Longer than the lease that a failed run may leave, also where a function outlived its task: a try within that lease
would end as in_progress."""

MOST_TRIES = 5
"""The queue's maxReceiveCount."""


@telemetry.observed
def handler(event: Event, _context: object) -> Reply:
    """Renew what the messages ask for; see the module."""
    waits = [(record, _tried_after(record)) for record in records(event)]
    failed = [(record, seconds) for record, seconds in waits if seconds is not None]
    for record, seconds in failed:
        _come_back(record, after=seconds)
    return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record, _ in failed]}


def _tried_after(record: Event) -> int | None:
    """Run the workflow for a message. The seconds until its next try, none where no try can help; None: it is done."""
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
    """Run the workflow with the message as it came: a field that a younger version has added is not lost. An execution
    that fails is answered with HTTP 200 too: its status says so."""
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
    """The message is seen again after so many seconds; where this cannot be said, after the queue's own visibility
    timeout."""
    try:
        aws.sqs().change_message_visibility(
            QueueUrl=setting("RENEWAL_QUEUE_URL"), ReceiptHandle=text(record, "receiptHandle"), VisibilityTimeout=after
        )
    except (BotoCoreError, ClientError) as error:
        telemetry.logger().warning("no earlier try", extra={"message_id": record["messageId"], "error": str(error)})
