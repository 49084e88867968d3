"""The team's application in the simulated year: the application hears events, and is down on some days."""

import json
from collections.abc import Callable
from typing import Any

from local.receiver import Receiver
from local.stack import Stack

_TRIES_A_DAY = 4
"""The waits of 30 minutes, 2, 5 and 10 hours pass within a day."""

_LAST_FAILED = 7
"""After so many failed tries, an event waits for a day until the last try."""


class Application:
    """A receiver of the events, and the later tries of the events that the receiver did not take.

    A delivery that must wait for more than 15 minutes stands in a table until its time, by the real clock. In the
    simulation a day lasts a second, and nobody waits for the real clock: `later_tries` makes the table's items due.

    Args:
        stack: the deployed stack, whose parameter `EventsUrl` is the receiver's address.
        receiver: hears the events.
        until_all_is_done: lets the stack work, and returns when the stack has no work left.
    """

    def __init__(self, stack: Stack, receiver: Receiver, until_all_is_done: Callable[[], None]) -> None:
        self.receiver = receiver
        self._until_all_is_done = until_all_is_done
        self._dynamodb, self._sqs, self._functions = (stack.client(name) for name in ("dynamodb", "sqs", "lambda"))
        self._function = stack.outputs["SweepFunctionName"].replace("renewal-sweep", "event-deliverer")
        configured = self._functions.get_function_configuration(FunctionName=self._function)
        settings = configured["Environment"]["Variables"]
        self._table = settings["DELIVERIES_TABLE"]
        self._queue, self._dead_letters = settings["DELIVERIES_QUEUE_URL"], settings["EVENTS_DEAD_LETTERS_URL"]
        receiver.listen_to(stack)

    def later_tries(self) -> None:
        """Make the later tries of a day. A receiver that works gets the dead letters too, as the runbook says."""
        for n in range(_TRIES_A_DAY):
            waiting = [item for item in self._waiting() if n == 0 or _failed(item) < _LAST_FAILED]
            if not waiting:
                break
            for item in waiting:
                self._becomes_due(item)
            self._functions.invoke(FunctionName=self._function, Payload=json.dumps({"deliveries": "due"}))
            self._until_all_is_done()
        if not self.receiver.is_down:
            self._move_dead_letters_back()

    def left(self) -> int:
        """Return the number of events that wait for a later try, or are dead letters."""
        counted = self._sqs.get_queue_attributes(
            QueueUrl=self._dead_letters, AttributeNames=["ApproximateNumberOfMessages"]
        )
        return len(self._waiting()) + int(counted["Attributes"]["ApproximateNumberOfMessages"])

    def _waiting(self) -> list[dict[str, Any]]:
        pages = self._dynamodb.get_paginator("scan").paginate(TableName=self._table, ConsistentRead=True)
        return [item for page in pages for item in page["Items"]]

    def _becomes_due(self, item: dict[str, Any]) -> None:
        past = {"S": f"2000-01-01/{item['due']['S']}"}
        self._dynamodb.put_item(TableName=self._table, Item=item | {"due": past})
        self._dynamodb.delete_item(TableName=self._table, Key={name: item[name] for name in ("shard", "due")})

    def _move_dead_letters_back(self) -> None:
        received = {"QueueUrl": self._dead_letters, "MaxNumberOfMessages": 10}
        while messages := self._sqs.receive_message(**received).get("Messages"):
            for message in messages:
                self._sqs.send_message(QueueUrl=self._queue, MessageBody=message["Body"])
                self._sqs.delete_message(QueueUrl=self._dead_letters, ReceiptHandle=message["ReceiptHandle"])
        self._until_all_is_done()


def _failed(item: dict[str, Any]) -> int:
    return int(json.loads(item["message"]["S"])["failed"])
