"""GatewayEvents: takes events that the gateway sends, checks the signature, and puts a short hint on a queue.

Event: an API Gateway proxy event. Reply: a proxy reply with 200 (the hint is safely on the queue, or this system does
not act on the event), 400 (no valid signature), 404 (wrong path), 413 (too large), 503 (AWS faltered, the gateway
should send the event again) or 500 (every other error).

After every reply other than 2xx the gateway sends the event again for days, and finally closes the endpoint. 400 is
therefore kept for a missing or wrong signature. A signed event of a different account or deployment, a signed event of
an unknown type, and a signed body that is no event get 200 and are counted, because a repetition would not help. The
function may read the signing secret of the endpoint and send to the queue, and holds no API key of the gateway.
"""

import json
from functools import cache

from gateway_events import event_secrets
from gateway_events.signature import is_signed
from renewals.domain.errors import TryAgain
from renewals.domain.gateway_event import GatewayEvent, NotTaken
from renewals.domain.strict_json import NotAnObject, read_object
from renewals.gateway.port import is_of_deployment
from renewals.runtime import aws, request_path, telemetry
from renewals.runtime.aws_errors import transient_aws_errors_as
from renewals.runtime.kept_secret import KeptSecret
from renewals.runtime.settings import setting
from renewals.runtime.telemetry import Event, Reply

LARGEST_BODY = 512 * 1024
"""In bytes. The limit leaves room for every event of the gateway, acted on or not: the evidence of a dispute alone may
have 150,000 characters."""


@telemetry.observed
def handler(event: Event, _context: object) -> Reply:
    """Check the event's signature and queue the event; see the module."""
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
    if "path" in event and request_path.plain(event) is None:  # events made by hand may lack a path
        return _refuse(404, "there is nothing at this path")
    body = request_path.body(event)
    if body is not None and len(body) > LARGEST_BODY:
        return _refuse(413, f"the body is larger than {LARGEST_BODY} bytes")
    header = request_path.headers(event).get("stripe-signature", "")
    if body is None or not _secret().passes(lambda secrets: is_signed(body, header, secrets)):
        return _refuse(400, "the signature is missing, wrong or too old")
    try:
        told = _read(body)
    except NotTaken as why:
        telemetry.logger().info("passed over", extra={"reason": str(why)})
        telemetry.count("GatewayEventsPassedOver")
        return _reply(200, "passed over")
    telemetry.correlate(told.metadata)
    aws.sqs().send_message(QueueUrl=setting("GATEWAY_EVENTS_QUEUE_URL"), MessageBody=told.to_json())
    telemetry.logger().info("queued", extra={"event": told.event, "type": told.type})
    telemetry.count("GatewayEventsTaken")
    return _reply(200, "taken")


def _read(body: bytes) -> GatewayEvent:
    """Read a signed body. Raises NotTaken."""
    try:
        told = GatewayEvent.of_gateway(read_object(body))
    except NotAnObject:
        raise NotTaken("no event") from None
    if not is_of_deployment(told.metadata, setting("DEPLOYMENT")):
        raise NotTaken("an event of a different deployment")
    return told


@cache
def _secret() -> KeptSecret[tuple[str, ...]]:
    return KeptSecret(lambda: event_secrets.read(aws.secrets_manager(), setting("GATEWAY_EVENTS_SECRET_ARN")))


def _refuse(status: int, message: str) -> Reply:
    telemetry.logger().info("refused", extra={"status": status})
    telemetry.count("GatewayEventsRefused")
    return _reply(status, message)


def _reply(status: int, message: str) -> Reply:
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return {"statusCode": status, "headers": headers, "body": json.dumps({"message": message})}
