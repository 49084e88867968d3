"""SubscriptionsApi: subscriptions, their renewals and their history, for operators and the team's own backend.

An API Gateway proxy event in, a proxy reply out. API Gateway checks the caller's signature and permissions (AWS IAM);
who it was is recorded with each change. docs/openapi.json is generated from the routes by scripts/openapi.py.
"""

from collections.abc import Callable, Mapping
from typing import Any

from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.event_handler.openapi.exceptions import RequestValidationError
from botocore.exceptions import ClientError

from renewals import telemetry
from renewals.errors import BadRow, Collision, TryAgain, transient_aws_errors_as
from renewals.refunds import NotRefundable
from renewals.register import KeyUsed, Taken
from renewals.strict_json import NotAnObject, read_object
from renewals.transitions import NotAllowed
from subscriptions_api import changing, problems, reading, receipts, refunding
from subscriptions_api.problems import BadRequest, Missing, Nobody, NoReceipt, Stale

_LARGEST_BODY = 64 * 1024


def _read_json(text: str) -> dict[str, Any]:
    """A request's body. Raises RequestValidationError for what is no JSON object, or names a field twice."""
    try:
        return read_object(text)
    except NotAnObject as problem:
        fault = {"type": "json", "loc": ("body",), "msg": f"{problem}", "input": {}}
        raise RequestValidationError([fault]) from None


app = APIGatewayRestResolver(enable_validation=True, json_body_deserializer=_read_json)
for _routes in (reading, receipts, changing, refunding):
    app.include_router(_routes.router)


@telemetry.observed
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer one request; see the module."""
    telemetry.correlate(_subscription(event))
    try:
        with transient_aws_errors_as(TryAgain):
            reply = _without_body_of_another_kind(event) or app.resolve(event, context)
        told = {"resource": event.get("resource"), "method": event["httpMethod"], "status": reply["statusCode"]}
        telemetry.logger().info("answered", extra=told)
        telemetry.annotate(**_subscription(event), outcome=reply["statusCode"])
        return reply | {"body": reply["body"] or ""}  # a redirection has none, which not every proxy takes
    except TryAgain as error:
        telemetry.logger().error("not answered", extra={"error": str(error)})
        return problems.reply(503)
    except ClientError as error:  # a permission, a table: its name says more than where we asked for it
        telemetry.logger().error("not answered", extra={"error": str(error)})
        return problems.reply(500)
    except Exception:  # noqa: BLE001  (whatever it is, the caller is told nothing of it; the log is)
        telemetry.logger().exception("not answered")
        return problems.reply(500)


def _subscription(event: Mapping[str, Any]) -> dict[str, str]:
    """Whose request it is, for the log."""
    named = (event.get("pathParameters") or {}).get("subscription_id")
    return {"subscription_id": telemetry.shown_id(named)} if named else {}


def _without_body_of_another_kind(event: Mapping[str, Any]) -> dict[str, Any] | None:
    """The reply to a body that is not JSON, which the resolver would read in its own way, or is too large to be one."""
    body = event.get("body") or ""
    if not body or event["httpMethod"] in ("GET", "HEAD"):
        return None
    if len(body) > _LARGEST_BODY:
        return problems.reply(413)
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    kind = str(headers.get("content-type", "application/json")).partition(";")[0].strip().lower()
    return None if kind == "application/json" and not event.get("isBase64Encoded") else problems.reply(415)


def _refuse_fields(error: RequestValidationError) -> Response[str]:
    faults = [
        {"field": ".".join(str(part) for part in each["loc"]), "reason": str(each["msg"])} for each in error.errors()
    ]
    return problems.response(400, errors=faults)


def _ask_again(_error: Collision) -> Response[str]:
    return problems.response(429, "Others keep changing this subscription: wait a second.", Retry_After="1")


def _nothing_there(_error: NotFoundError) -> Response[str]:
    """No such path, or a method that it does not have."""
    path = app.current_event.path
    methods = sorted({route.method for route in (*app._static_routes, *app._dynamic_routes) if route.rule.match(path)})
    if methods:
        return problems.response(405, f"It takes {', '.join(methods)}.", Allow=", ".join(methods))
    return problems.response(404, "There is nothing at this path.")


_PROBLEMS: dict[type[Exception], Callable[[Any], Response[str]]] = {
    RequestValidationError: _refuse_fields,
    BadRequest: lambda error: problems.response(400, errors=error.errors),
    Nobody: lambda _: problems.response(403),
    NotFoundError: _nothing_there,
    Missing: lambda _: problems.response(404),
    NoReceipt: lambda _: problems.response(404, "This link opens no receipt. Please ask for the receipt."),
    NotRefundable: lambda error: problems.response(409, str(error)),
    NotAllowed: lambda error: problems.response(409, str(error)),
    Taken: lambda _: problems.response(409, "There is, or was, a subscription of this id."),
    BadRow: lambda bad: problems.response(409, f"The subscription cannot be charged as it stands: {bad}."),
    Stale: lambda _: problems.response(412),
    KeyUsed: lambda _: problems.response(422),
    Collision: _ask_again,
}
for _error, _answered in _PROBLEMS.items():
    app.exception_handler(_error)(_answered)
