"""For whoever is on call: `python -m scripts.oncall COMMAND`, as docs/runbook.md says. Reaches AWS, or the local stack,
by the AWS profile of the environment.

    alarms                        what is wrong now, since when, and where the runbook speaks of it
    sweep                         look for what is due now, instead of within the hour
    audit FROM TO                 compare everything of these days, YYYY-MM-DD, both included
    dead-letters                  the messages that failed five times, with their ids
    delete-dead-letter ID         take one away for good
    restore-receipt KEY           bring a receipt back that was deleted, or replaced: its first version
"""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import boto3
from botocore.config import Config

STACK_NAME = "subscription-mgmt"
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "alarms": (),
    "sweep": (),
    "audit": ("FROM", "TO"),
    "dead-letters": (),
    "delete-dead-letter": ("ID",),
    "restore-receipt": ("KEY",),
}
"""Each with what it takes."""

_MOST_LETTERS = 1000
_HIDDEN_SECONDS = 60


class Trouble(Exception):  # noqa: N818
    """What was asked for cannot be done. The message says why."""


class OnCall:
    """A deployed stack, by its outputs."""

    def __init__(self, session: boto3.Session, stack_name: str) -> None:
        self._session = session
        [stack] = self._client("cloudformation").describe_stacks(StackName=stack_name)["Stacks"]
        self._outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}

    def alarms(self) -> Iterator[str]:
        pages = self._client("cloudwatch").get_paginator("describe_alarms").paginate(StateValue="ALARM")
        ours = [
            alarm
            for page in pages
            for alarm in page["MetricAlarms"]
            if self._outputs["AlarmTopicArn"] in alarm["AlarmActions"]
        ]
        for alarm in sorted(ours, key=lambda alarm: alarm["StateUpdatedTimestamp"]):
            yield f"{alarm['AlarmName']}, since {alarm['StateUpdatedTimestamp']:%Y-%m-%d %H:%M} UTC"
            yield f"    {alarm['AlarmDescription']}"
        if not ours:
            yield "no alarm is on"

    def sweep(self) -> Iterator[str]:
        told = self._invoked("SweepFunctionName", {"sweep": "due"})
        yield json.dumps(told, indent=2)
        if told["backlog"]:
            yield f"Put off: the queue still holds {told['backlog']}. What is due is looked for when it has drained."

    def audit(self, first: str, last: str) -> Iterator[str]:
        told = self._invoked("AuditFunctionName", {"from": first, "to": last})
        yield json.dumps(told, indent=2)
        if not told["finished"]:
            yield "Other runs go on with it; the report is at its key once the last one has written it."
            return
        body = self._client("s3").get_object(Bucket=self._outputs["ReceiptsBucketName"], Key=told["report"])["Body"]
        for difference in json.loads(body.read())["listed"]:
            yield json.dumps(difference)

    def dead_letters(self) -> Iterator[str]:
        letters = list(self._letters())
        for letter in letters:
            self._let_go(letter)
            yield f"{letter['MessageId']}  {letter['Body']}"
        if not letters:
            yield "there are no dead letters"

    def delete_dead_letter(self, message_id: str) -> Iterator[str]:
        found = None
        for letter in list(self._letters()):
            if letter["MessageId"] == message_id:
                found = letter
            else:
                self._let_go(letter)
        if found is None:
            raise Trouble("there is no such dead letter")
        queue = self._outputs["RenewalDeadLetterQueueUrl"]
        self._client("sqs").delete_message(QueueUrl=queue, ReceiptHandle=found["ReceiptHandle"])
        yield f"deleted: {found['Body']}"

    def restore_receipt(self, key: str) -> Iterator[str]:
        s3, bucket = self._client("s3"), self._outputs["ReceiptsBucketName"]
        pages = s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=key)
        versions = [each for page in pages for each in page.get("Versions", []) if each["Key"] == key]
        if not versions:
            raise Trouble("the bucket has no version of it any more")
        first = min(versions, key=lambda version: version["LastModified"])
        source = {"Bucket": bucket, "Key": key, "VersionId": first["VersionId"]}
        receipt = s3.get_object(**source)["Body"].read()
        s3.put_object(Bucket=bucket, Key=key, Body=receipt, ContentType="application/pdf", ChecksumAlgorithm="SHA256")
        yield f"restored as it was on {first['LastModified']:%Y-%m-%d %H:%M} UTC; the audit says whether it is the one"

    def _invoked(self, function: str, event: Mapping[str, str]) -> dict[str, Any]:
        answer = self._client("lambda").invoke(FunctionName=self._outputs[function], Payload=json.dumps(event))
        told: dict[str, Any] = json.loads(answer["Payload"].read())
        if "FunctionError" in answer:
            raise Trouble(f"the function failed: {told.get('errorType')}: {told.get('errorMessage')}")
        return told

    def _letters(self) -> Iterator[Mapping[str, Any]]:
        """All dead letters, each hidden for some seconds; those that are met again meanwhile end it."""
        seen: set[str] = set()
        while len(seen) < _MOST_LETTERS:
            got = self._client("sqs").receive_message(
                QueueUrl=self._outputs["RenewalDeadLetterQueueUrl"],
                MaxNumberOfMessages=10,
                VisibilityTimeout=_HIDDEN_SECONDS,
                WaitTimeSeconds=1,
            )
            letters = [letter for letter in got.get("Messages", []) if letter["MessageId"] not in seen]
            if not letters:
                return
            seen.update(letter["MessageId"] for letter in letters)
            yield from letters

    def _let_go(self, letter: Mapping[str, Any]) -> None:
        """It was looked at, and is there for the next command."""
        self._client("sqs").change_message_visibility(
            QueueUrl=self._outputs["RenewalDeadLetterQueueUrl"],
            ReceiptHandle=letter["ReceiptHandle"],
            VisibilityTimeout=0,
        )

    def _client(self, service: str) -> Any:
        # An audit may take all of its 15 minutes, and must not be started again meanwhile.
        config = Config(read_timeout=910, retries={"total_max_attempts": 1}) if service == "lambda" else None
        return self._session.client(service, config=config)  # type: ignore[call-overload]


def main() -> None:
    parser = argparse.ArgumentParser(description="For whoever is on call; docs/runbook.md says when to use what.")
    parser.add_argument("--stack-name", default=STACK_NAME)
    commands = parser.add_subparsers(dest="command", required=True)
    for command, arguments in COMMANDS.items():
        taker = commands.add_parser(command)
        for argument in arguments:
            taker.add_argument(argument)
    asked = parser.parse_args()
    try:
        on_call = OnCall(boto3.Session(), asked.stack_name)
        does: Callable[..., Iterator[str]] = getattr(on_call, asked.command.replace("-", "_"))
        for line in does(*(getattr(asked, argument) for argument in COMMANDS[asked.command])):
            print(line)
    except Trouble as trouble:
        parser.exit(1, f"{trouble}\n")


if __name__ == "__main__":
    main()
