"""SendEmail and SendDeclineEmail: tell the customer what happened, once.

Event: {"execution": ARN, "renewal": {"outcome", "subscription_id", "renewal_date", "attempt", ...}}; outcome says what
happened: receipted, declined, action_required or given_up. Reply: that renewal with outcome replaced by mailed, dropped
(no longer true), in_progress, mail_failed (the address is at fault) or mail_unknown. MailError means: try again.
"""

from functools import cache
from typing import Any

from renewals import aws, clock, telemetry
from renewals.dunning import Dunning
from renewals.errors import BadEvent, MailError, transient_aws_errors_as
from renewals.ledger import Ledger
from renewals.settings import setting
from send_email.delivery import Delivery

_OUTCOMES = ("receipted", "declined", "action_required", "given_up")


@telemetry.observed
def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Send what the event calls for; see the module."""
    renewal = event["renewal"]
    if renewal.get("outcome") not in _OUTCOMES:
        raise BadEvent(f"SendEmail: outcome is none of {', '.join(_OUTCOMES)}")
    delivery = Delivery(
        ledger=_ledger(),
        ses=aws.ses(),
        read_receipt=_read_receipt,
        sender=setting("SENDER_EMAIL"),
        configuration_set=setting("SES_CONFIGURATION_SET"),
        execution=event["execution"],
        now=clock.current(renewal.get("test_clock")).now,
        dunning=Dunning.of(setting("DUNNING_DAYS"), setting("DUNNING_ENDS_AS")),
        customer_page=setting("CUSTOMER_PAGE_URL"),
    )
    with transient_aws_errors_as(MailError):
        outcome = delivery.deliver(
            renewal["subscription_id"], renewal["renewal_date"], renewal["outcome"], int(renewal["attempt"])
        )
    reply = {**renewal, "outcome": outcome}
    telemetry.renewal_event("mail", reply)
    return reply


def _read_receipt(key: str) -> bytes:
    return aws.s3().get_object(Bucket=setting("S3_BUCKET"), Key=key)["Body"].read()


@cache
def _ledger() -> Ledger:
    return Ledger(aws.dynamodb(), renewals=setting("RENEWALS_TABLE"), subscriptions=setting("DYNAMODB_TABLE"))
