"""The dead letters of renewals: messages that failed five times, or are no requests at all."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from renewals.strict_json import NotAnObject, read_object
from renewals.subscription import ID
from scripts.deployment import Deployment
from scripts.plainly import Trouble

type Letter = Mapping[str, Any]

_MOST = 1000
_HIDDEN_SECONDS = 60


def show(deployment: Deployment) -> Iterator[str]:
    """Each with its id, when and by whom it was sent, what it is, and its whole text, in quotes."""
    letters = list(_letters(deployment))
    for letter in letters:
        _let_go(deployment, letter)
        sent = datetime.fromtimestamp(int(letter["Attributes"]["SentTimestamp"]) / 1000, UTC)
        sender = letter["Attributes"].get("SenderId", "nobody knows whom")
        yield f"{letter['MessageId']}  sent {sent:%Y-%m-%d %H:%M} UTC by {sender}"
        yield f"    {_what(deployment, letter['Body'])}"
        yield f"    {json.dumps(letter['Body'], ensure_ascii=False)}"
    if not letters:
        yield "there are no dead letters"


def delete(deployment: Deployment, message_id: str) -> str:
    """Take one away for good; its text. Raises Trouble where there is none of this id."""
    letters = list(_letters(deployment))
    found = next((letter for letter in letters if letter["MessageId"] == message_id), None)
    if found is not None:
        queue = deployment.output("RenewalDeadLetterQueueUrl")
        deployment.client("sqs").delete_message(QueueUrl=queue, ReceiptHandle=found["ReceiptHandle"])
    for letter in letters:
        if letter is not found:
            _let_go(deployment, letter)
    if found is None:
        raise Trouble("There is no such dead letter.")
    return str(found["Body"])


def _what(deployment: Deployment, body: str) -> str:
    try:
        asked = read_object(body)
    except NotAnObject:
        return "no request, no try can succeed: it is not a JSON object"
    subscription_id = asked.get("subscription_id")
    if (
        not isinstance(subscription_id, str)
        or not ID.fullmatch(subscription_id)
        or deployment.register.row(subscription_id) is None
    ):
        return "no request, no try can succeed: it names no subscription of ours"
    return f"a request to renew {subscription_id}, period {asked.get('renewal_date', 'that is due')}"


def _letters(deployment: Deployment) -> Iterator[Letter]:
    """All of them, each hidden for some seconds; those that are met again meanwhile end it."""
    seen: set[str] = set()
    while len(seen) < _MOST:
        got = deployment.client("sqs").receive_message(
            QueueUrl=deployment.output("RenewalDeadLetterQueueUrl"),
            MaxNumberOfMessages=10,
            VisibilityTimeout=_HIDDEN_SECONDS,
            WaitTimeSeconds=1,
            AttributeNames=["SentTimestamp", "SenderId"],
        )
        letters = [letter for letter in got.get("Messages", []) if letter["MessageId"] not in seen]
        if not letters:
            return
        seen.update(letter["MessageId"] for letter in letters)
        yield from letters


def _let_go(deployment: Deployment, letter: Letter) -> None:
    """It was looked at, and is there for the next command."""
    with suppress(ClientError):  # with many, the first ones are there again by themselves
        deployment.client("sqs").change_message_visibility(
            QueueUrl=deployment.output("RenewalDeadLetterQueueUrl"),
            ReceiptHandle=letter["ReceiptHandle"],
            VisibilityTimeout=0,
        )
