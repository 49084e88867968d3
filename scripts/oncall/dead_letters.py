"""The dead letters of renewals: messages that failed five times, valid requests or not."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from renewals.domain.request import Asks, NoRequest, RenewalRequest
from renewals.domain.subscription import ID
from scripts.deployment import Deployment
from scripts.plainly import Trouble

type Letter = Mapping[str, Any]

_ASKS = {
    Asks.RENEW: "renew",
    Asks.REMIND: "remind of",
    Asks.SETTLE_REFUNDS: "look at the refunds of",
    Asks.CONFIRM: "mail the confirmations owed for changes of",
    Asks.OPEN_CARD_PAGE: "open the card page for",
    Asks.TAKE_CARD: "take a new card for",
    Asks.CONFIRM_ON_SESSION: "confirm the payment of",
}
_MOST = 1000
_HIDDEN_SECONDS = 60


class DeadLetters:
    """The messages in the stack's dead-letter queue."""

    def __init__(self, deployment: Deployment) -> None:
        self._sqs = deployment.client("sqs")
        self._queue = deployment.output("RenewalDeadLetterQueueUrl")
        self._register = deployment.register

    def show(self) -> Iterator[str]:
        """Yield the lines about every message: id, time, sender, meaning, and the whole text in quotes."""
        letters = list(self._all())
        for letter in letters:
            self._let_go(letter)
            sent = datetime.fromtimestamp(int(letter["Attributes"]["SentTimestamp"]) / 1000, UTC)
            sender = letter["Attributes"].get("SenderId", "an unknown sender")
            yield f"{letter['MessageId']}  sent {sent:%Y-%m-%d %H:%M} UTC by {sender}"
            yield f"    {self._what(letter['Body'])}"
            yield f"    {json.dumps(letter['Body'], ensure_ascii=False)}"
        if not letters:
            yield "there are no dead letters"

    def delete(self, message_id: str) -> str:
        """Delete a message for good, and return the text. Raises Trouble for an unknown id."""
        letters = list(self._all())
        found = next((letter for letter in letters if letter["MessageId"] == message_id), None)
        if found is not None:
            self._sqs.delete_message(QueueUrl=self._queue, ReceiptHandle=found["ReceiptHandle"])
        for letter in letters:
            if letter is not found:
                self._let_go(letter)
        if found is None:
            raise Trouble("There is no such dead letter.")
        return str(found["Body"])

    def _what(self, body: str) -> str:
        try:
            asked = RenewalRequest.from_json(body)
        except NoRequest as bad:
            return f"not a request, no attempt can succeed: {bad}"
        named = asked.subscription_id
        if not (ID.fullmatch(named) and self._register.row(named)):
            return "not a request, no attempt can succeed: the subscription does not exist"
        if asked.asks is Asks.CONFIRM:  # names no period
            return f"a request to {_ASKS[asked.asks]} {named}"
        period = f"period {asked.renewal_date}" if asked.renewal_date else "the due period"
        return f"a request to {_ASKS[asked.asks]} {named}, {period}"

    def _all(self) -> Iterator[Letter]:
        """Yield every message, hidden for some seconds. The loop ends when only messages already seen are received."""
        seen: set[str] = set()
        while len(seen) < _MOST:
            got = self._sqs.receive_message(
                QueueUrl=self._queue,
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

    def _let_go(self, letter: Letter) -> None:
        """Make the message visible again for the next command."""
        with suppress(ClientError):  # with many messages, the first have become visible by themselves
            self._sqs.change_message_visibility(
                QueueUrl=self._queue, ReceiptHandle=letter["ReceiptHandle"], VisibilityTimeout=0
            )
