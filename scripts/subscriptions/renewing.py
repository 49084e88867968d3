"""Requests of a person: renew a subscription now, resend the mail of a receipt, or move the dead letters back."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from renewals.domain import reasons, subscription
from renewals.domain.addresses import masked
from renewals.domain.changes import ChangeKind
from renewals.domain.errors import BadRow, Overtaken
from renewals.domain.mail_faults import address_of, is_in_vain
from renewals.domain.outcomes import MailOutcome, PaymentOutcome
from renewals.domain.owed import receipt_mail
from renewals.domain.renewal import Status
from renewals.domain.request import NoRequest, RenewalRequest
from renewals.domain.timeline_entries import Entry
from scripts.deployment import Deployment
from scripts.plainly import Trouble

_FAILED = {
    "PaymentProcessingFailed": "The subscription was not renewed; `oncall log process-payment` shows why",
    "ReceiptGenerationFailed": "The receipt could not be created; the sweep tries again",
    "EmailSendingFailed": "The mail did not go out, or nobody knows whether it did",
}


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a workflow run.

    told: the result in words. new: the new events of the timeline. well: False if a person must look into the result.
    """

    told: str
    new: tuple[Entry, ...]
    well: bool


def renew_now(deployment: Deployment, subscription_id: str) -> Ended:
    """Request the due renewal, like a webhook, and wait for the end. A subscription that is not due is not charged."""
    row = deployment.row(subscription_id)
    deployment.register.changes.note(subscription_id, ChangeKind.RENEWING, deployment.asked(row))
    return run_workflow(deployment, row)


def resend_mail(deployment: Deployment, subscription_id: str, renewal_date: str) -> Ended:
    """Resend the mail of a receipt.

    Only a mail that may have gone out before, or that failed because of the address, can be resent. Raises Trouble
    otherwise.
    """
    register = deployment.register
    renewal = register.ledger.get(subscription_id, renewal_date)
    if renewal is None:
        raise Trouble(f"{subscription_id} has no claimed period from {renewal_date} on.")
    if renewal.status not in (Status.MAIL_UNKNOWN, Status.MAIL_FAILED):
        stands = f"The renewal's status: {renewal.status.words}"
        raise Trouble(f"{stands}. A mail is sent again only if the mail failed, or may not have gone out.")
    row = register.ledger.row(renewal) or {"subscription_id": subscription_id, "customer_id": renewal.customer_id}
    if renewal.status is Status.MAIL_FAILED:  # the workflow resends a failed mail to a changed address
        if is_in_vain(renewal.mails.get(receipt_mail(renewal)), address_of(row)):
            raise Trouble("The address is still the faulty address: correct customer_email first.")
    else:
        try:
            register.resend_mail(renewal, deployment.asked(row))
        except Overtaken:
            seen_to = "Somebody else has resent the mail, or the mail of a refund comes first: look again in a minute."
            raise Trouble(seen_to) from None
    return run_workflow(deployment, row, renewal.renewal_date)  # names this period, so that no other period is charged


def redrive(deployment: Deployment) -> int:
    """Move the dead letters of this moment back to the queue. Returns the number of moved messages.

    Messages that arrive meanwhile stay. Every message is sent before being deleted. An interruption in between leaves
    the message in both queues, without harm: a renewal is charged only once.
    """
    sqs = deployment.client("sqs")
    dead_letters, queue = deployment.output("RenewalDeadLetterQueueUrl"), deployment.output("RenewalQueueUrl")
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
            _note_redriven(deployment, message["Body"])
            sqs.delete_message(QueueUrl=dead_letters, ReceiptHandle=message["ReceiptHandle"])
            moved += 1
    return moved


def _note_redriven(deployment: Deployment, body: str) -> None:
    """Record the redrive with the subscription of the message, if the message names a subscription."""
    try:
        named = RenewalRequest.from_json(body).subscription_id
    except NoRequest:
        return
    if subscription.ID.fullmatch(named):
        deployment.register.changes.note(named, ChangeKind.REDRIVEN, deployment.asked({}))


def run_workflow(deployment: Deployment, row: Mapping[str, Any], renewal_date: date | None = None) -> Ended:
    """Run an execution of the workflow to the end, at most 225 seconds. renewal_date: the period to renew."""
    moment = deployment.moment(row)
    zone = moment.zone
    before = set(deployment.register.timeline(row, zone, moment.today)[0])
    work = RenewalRequest.of_row(row, renewal_date).to_json()
    arn = deployment.output("RenewalWorkflowArn")
    ended = deployment.workflows.start_sync_execution(stateMachineArn=arn, input=work)
    after = deployment.register.row(row["subscription_id"]) or row
    new = tuple(entry for entry in deployment.register.timeline(after, zone, moment.today)[0] if entry not in before)
    told, well = _told(ended, after)
    return Ended(told, new, well)


def _told(ended: Mapping[str, Any], row: Mapping[str, Any]) -> tuple[str, bool]:
    if ended["status"] != "SUCCEEDED":
        told = _FAILED.get(ended.get("error", ""), "The workflow did not finish; the sweep tries again")
        return f"{told}{_why_not(row)}.", False
    outcome = json.loads(ended["output"])
    match outcome["outcome"]:
        case PaymentOutcome.NOTHING_TO_DO:
            return f"Nothing was charged: {reasons.in_words(outcome['reason'])}.", True
        case PaymentOutcome.IN_PROGRESS | MailOutcome.IN_PROGRESS:
            return "Another execution is working on the renewal at this moment.", True
        case MailOutcome.DROPPED:
            return "The customer was told already, or the mail is no longer needed.", True
    return f"The customer was mailed, at {masked(address_of(row).to)}.", True


def _why_not(row: Mapping[str, Any]) -> str:
    try:
        subscription.parse(row)
    except BadRow as bad:
        return f": {bad}"
    return ""
