"""Bring the dead letters back: `python scripts/redrive.py [--stack-name NAME]`, or `make redrive`.

Moves what lies in the dead-letter queue now, and not what comes to it meanwhile, to the queue of renewals. Reaches AWS,
or the local stack, by the AWS profile of the environment. Each message is sent before it is deleted: cut off between
the two it is there twice, which does no harm, since a renewal is made once.
"""

import argparse
from typing import Any

import boto3

STACK_NAME = "subscription-mgmt"


def redrive(sqs: Any, dead_letters: str, queue: str) -> int:
    """Move the messages from one queue's URL to the other's; how many."""
    counted = sqs.get_queue_attributes(QueueUrl=dead_letters, AttributeNames=["ApproximateNumberOfMessages"])
    lie = int(counted["Attributes"]["ApproximateNumberOfMessages"])
    moved = 0
    while moved < lie:
        most = min(10, lie - moved)
        received = sqs.receive_message(QueueUrl=dead_letters, MaxNumberOfMessages=most, WaitTimeSeconds=1)
        if not received.get("Messages"):
            break
        for message in received["Messages"]:
            sqs.send_message(QueueUrl=queue, MessageBody=message["Body"])
            sqs.delete_message(QueueUrl=dead_letters, ReceiptHandle=message["ReceiptHandle"])
            moved += 1
    return moved


def main() -> None:
    parser = argparse.ArgumentParser(description="Brings the dead letters back to the queue of renewals.")
    parser.add_argument("--stack-name", default=STACK_NAME)
    stack_name = parser.parse_args().stack_name
    [stack] = boto3.client("cloudformation").describe_stacks(StackName=stack_name)["Stacks"]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
    moved = redrive(boto3.client("sqs"), outputs["RenewalDeadLetterQueueUrl"], outputs["RenewalQueueUrl"])
    print(f"{moved} brought back")


if __name__ == "__main__":
    main()
