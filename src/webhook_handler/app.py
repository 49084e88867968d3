"""WebhookHandler: turns a signed request to renew into an execution of the renewal workflow.

Event: an API Gateway proxy event. Reply: a proxy reply with 202 (accepted), 400 (names the field at fault), 401 (no
valid signature), 404 (wrong path), 413 (too large), 503 (AWS faltered, the sender should retry) or 500 (every other
error). Replies hold no stored data: a reply has a short message, and repeats ids from the request.
"""

import json
from dataclasses import replace
from functools import cache

from renewals.domain.errors import TryAgain
from renewals.domain.request import Asks, RenewalRequest
from renewals.runtime import aws, request_path, telemetry
from renewals.runtime.aws_errors import transient_aws_errors_as
from renewals.runtime.kept_secret import KeptSecret
from renewals.runtime.settings import setting
from renewals.runtime.telemetry import Event, Reply
from webhook_handler import signing_secrets
from webhook_handler.webhook import LARGEST_BODY, BadBody, RequestOutcome, parse, signed


@telemetry.observed
def handler(event: Event, _context: object) -> Reply:
    """Check the request and start the workflow; see the module."""
    try:
        with transient_aws_errors_as(TryAgain):
            return _receive(event)
    except TryAgain as error:
        telemetry.logger().error("not accepted", extra={"error": str(error)})
        return _reply(503, "try again later")
    except Exception:  # noqa: BLE001  (every error goes to the log, and no detail to a stranger)
        telemetry.logger().exception("not accepted")
        return _reply(500, "something is wrong on our side")


def _receive(event: Event) -> Reply:
    headers = request_path.headers(event)
    webhook_id = _webhook_id(headers)
    telemetry.correlate({"webhook_id": webhook_id})
    if "path" in event and request_path.plain(event) is None:  # an event without a path was made by hand
        return _refuse(404, "there is nothing at this path")
    body = request_path.body(event)
    if body is None:
        return _refuse(400, "the body is marked as base64 but is not base64")
    if len(body) > LARGEST_BODY:
        return _refuse(413, f"the body is larger than {LARGEST_BODY} bytes")
    if not _secret().passes(lambda secrets: signed(body, headers, secrets)):
        return _refuse(401, "the signature is missing, wrong or too old")
    try:
        request = parse(body)
    except BadBody as error:
        return _refuse(400, str(error))
    if request is None:
        return _reply(202, f"ignored: only the event_type {Asks.RENEW} starts a renewal")
    telemetry.correlate({"subscription_id": request.subscription_id})
    telemetry.correlate({}, execution=_start(replace(request, webhook_id=webhook_id)))
    told = {
        "outcome": RequestOutcome.ACCEPTED,
        "subscription_id": request.subscription_id,
        "customer_id": request.customer_id,
    }
    telemetry.renewal_event("accepted", told)
    return _reply(202, "accepted", subscription_id=request.subscription_id, customer_id=request.customer_id)


@cache
def _secret() -> KeptSecret[tuple[str, ...]]:
    return KeptSecret(lambda: signing_secrets.read(aws.secrets_manager(), setting("WEBHOOK_SECRET_ARN")))


def _start(request: RenewalRequest) -> str:
    """Start the workflow and return the execution's ARN. The execution needs no name: the only use of a name would be
    to prevent a second execution for the same webhook, and the ledger makes a second execution harmless."""
    workflow = setting("STATE_MACHINE_ARN")
    return aws.step_functions().start_execution(stateMachineArn=workflow, input=request.to_json())["executionArn"]


def _refuse(status: int, message: str) -> Reply:
    telemetry.logger().info("refused", extra={"status": status})
    telemetry.annotate(outcome=RequestOutcome.REFUSED)
    return _reply(status, message)


def _webhook_id(headers: dict[str, str]) -> str:
    """Return the sender's id of the webhook, for the log. The header comes from a stranger: only characters of an id
    are kept, and only enough characters to find the webhook."""
    return "".join(c for c in headers.get("webhook-id", "")[:64] if c.isascii() and (c.isalnum() or c in "._-"))


def _reply(status: int, message: str, **ids: str) -> Reply:
    body = {"message": message} | ids
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return {"statusCode": status, "headers": headers, "body": json.dumps(body)}
