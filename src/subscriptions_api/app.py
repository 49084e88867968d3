"""SubscriptionsApi: the API of subscriptions, renewals and history, for operators and the team's own backend.

The function takes an API Gateway proxy event and returns a proxy reply. API Gateway checks the caller's signature and
permissions (AWS IAM); every change is recorded with the caller. scripts/openapi.py makes docs/openapi.json of the
routes.
"""

from collections.abc import Callable
from typing import Any

from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.event_handler.api_gateway import Route
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.event_handler.openapi.exceptions import RequestValidationError
from botocore.exceptions import ClientError

from renewals.domain import texts
from renewals.domain.errors import BadRow, Collision, TryAgain
from renewals.domain.refunds import NotRefundable
from renewals.domain.strict_json import Json, NotAnObject, read_object
from renewals.domain.transitions import NotAllowed
from renewals.ledger.register import Taken
from renewals.ledger.remembered_answers import KeyUsed
from renewals.runtime import request_path, telemetry
from renewals.runtime.aws_errors import transient_aws_errors_as
from renewals.runtime.telemetry import Event, Reply
from subscriptions_api import changing, entitlements, forms, problems, reading, receipts, refunding
from subscriptions_api.problems import BadRequest, Missing, Nobody, NotVerified, Proxied, Stale

_LARGEST_BODY = 64 * 1024
_LONGEST_NAME = 100
_JSON = "application/json"


def _read_json(text: str) -> dict[str, Json]:
    """Parse the body of a request. Raises RequestValidationError unless it is a JSON object without repeated fields."""
    try:
        return read_object(text)
    except NotAnObject as problem:
        fault = {"type": "json", "loc": ("body",), "msg": f"{problem}", "input": {}}
        raise RequestValidationError([fault]) from None


app = APIGatewayRestResolver(enable_validation=True, json_body_deserializer=_read_json)
for _routes in (reading, entitlements, receipts, changing, refunding):
    app.include_router(_routes.router)


def _routes_of(resolver: APIGatewayRestResolver) -> list[Route]:
    return [*resolver._static_routes, *resolver._dynamic_routes]


def _refuse_queries(
    resolver: APIGatewayRestResolver, answer: Callable[[APIGatewayRestResolver], Response[str]]
) -> Response[str]:
    """Refuse unknown parameters: a filter with a misspelt name would list everything."""
    faults = _query_faults()
    if faults:
        raise BadRequest(faults)
    return answer(resolver)


def _query_faults() -> list[dict[str, str]]:
    """Return the faults of the query: parameters unknown to the route, and parameters given more than once."""
    event: Event = app.current_event.raw_event
    route: Route = app.context["_route"]
    several = request_path.part(event, "multiValueQueryStringParameters")
    given = {name: len(values) for name, values in several.items() if isinstance(values, list)}
    given = given or dict.fromkeys(request_path.part(event, "queryStringParameters"), 1)
    if not any(route is each for each in _routes_of(app)):  # no route has this path
        return []
    known = sorted(param.alias for param in route.dependant.query_params)
    unknown = f"is no parameter of this call, which takes {', '.join(known) or 'none'}"
    reasons = {name: "is given more than once" if name in known else unknown for name in given}
    return [
        {"field": f"query.{texts.printable(name)[:_LONGEST_NAME]}", "reason": reasons[name]}
        for name, times in given.items()
        if name not in known or times > 1
    ]


app.use(middlewares=[_refuse_queries])


@telemetry.observed
def handler(event: Event, context: Any) -> Reply:
    """Answer a request; see the module."""
    reply = _answer(event, context)
    # No proxy may keep names, addresses and amounts, and no browser may guess the type of a body.
    kept_by_nobody = {"Cache-Control": ["no-store"], "X-Content-Type-Options": ["nosniff"]}
    return {**reply, "multiValueHeaders": {**reply["multiValueHeaders"], **kept_by_nobody}}


def _answer(event: Event, context: Any) -> Proxied:
    telemetry.correlate(_subscription(event))
    try:
        with transient_aws_errors_as(TryAgain):
            reply = _refused_unread(event) or _resolved(event, context)
        told = {"resource": event.get("resource"), "method": event["httpMethod"], "status": reply["statusCode"]}
        telemetry.logger().info("answered", extra=told)
        telemetry.annotate(**_subscription(event), outcome=reply["statusCode"])
        return reply
    except TryAgain as error:
        telemetry.logger().error("not answered", extra={"error": str(error)})
        return problems.reply(503)
    except ClientError as error:  # the error names the permission or the table at fault; a stack trace would not help
        telemetry.logger().error("not answered", extra={"error": str(error)})
        return problems.reply(500)
    except Exception:  # noqa: BLE001  (every error goes to the log, and no detail to the caller)
        telemetry.logger().exception("not answered")
        return problems.reply(500)


def _subscription(event: Event) -> dict[str, str]:
    """Return the id of the subscription in the request's path, for the log; empty if the path names no subscription."""
    named = request_path.part(event, "pathParameters").get("subscription_id")
    return {"subscription_id": telemetry.shown_id(named)} if named else {}


def _refused_unread(event: Event) -> Proxied | None:
    """Return the refusal of a request with an unusual spelling of the path, or with a body that is too large or not
    plain JSON: the resolver would accept the request, or misread the body. None for every other request."""
    if request_path.plain(event) is None:
        return problems.reply(404, "There is nothing at this path: no slash at its end, nothing percent-encoded.")
    body = str(event.get("body") or "")
    if not body or event["httpMethod"] in ("GET", "HEAD"):
        return None
    if len(body) > _LARGEST_BODY:
        return problems.reply(413)
    kind = _header(event, "content-type").partition(";")[0].strip().lower() or _JSON
    return None if kind == _JSON and not event.get("isBase64Encoded") else problems.reply(415)


def _resolved(event: Event, context: Any) -> Proxied:
    answered: Any = app.resolve(_plainly_put(event), context)
    reply: Proxied = answered
    return reply


def _plainly_put(event: Event) -> dict[str, object]:
    """Return the request in the form that the resolver expects: the resolver compares a Content-Type letter by letter,
    and does not know the base path of a custom domain."""
    headers = {
        name: value for name, value in request_path.part(event, "headers").items() if name.lower() != "content-type"
    }
    return {**event, "path": request_path.plain(event), "headers": {**headers, "Content-Type": _JSON}}


def _header(event: Event, name: str) -> str:
    """Return a header of the request, by its name in lower case; empty without the header."""
    return request_path.headers(event).get(name, "")


def _refuse_fields(error: RequestValidationError) -> Response[str]:
    faults = [
        {
            "field": ".".join(str(part) for part in each["loc"]),
            "reason": forms.SENTENCES.get(each.get("ctx", {}).get("pattern"), str(each["msg"])),
        }
        for each in error.errors()
    ]
    queries = _query_faults()
    told = {fault["field"] for fault in queries}
    return problems.response(400, errors=[fault for fault in faults if fault["field"] not in told] + queries)


def _ask_again(_error: Collision) -> Response[str]:
    return problems.response(429, "Others keep changing this subscription: wait a second.", Retry_After="1")


def _ask_unverified(error: NotVerified) -> Response[str]:
    return problems.response(503, f"{error}, so that nothing was taken. Try again, or with `verify=false`.")


def _nothing_there(_error: NotFoundError) -> Response[str]:
    """Answer a request for an unknown path, or with an unknown method."""
    path = app.current_event.path
    methods = sorted({route.method for route in _routes_of(app) if route.rule.match(path)})
    if methods:
        return problems.response(405, f"It takes {', '.join(methods)}.", Allow=", ".join(methods))
    return problems.response(404, "There is nothing at this path.")


_PROBLEMS: dict[type[Exception], Callable[[Any], Response[str]]] = {
    RequestValidationError: _refuse_fields,
    BadRequest: lambda error: problems.response(400, errors=error.errors),
    Nobody: lambda _: problems.response(403),
    NotFoundError: _nothing_there,
    Missing: lambda _: problems.response(404),
    NotRefundable: lambda error: problems.response(409, str(error)),
    NotAllowed: lambda error: problems.response(409, str(error)),
    Taken: lambda _: problems.response(409, "There is, or was, a subscription of this id."),
    BadRow: lambda bad: problems.response(409, f"The subscription cannot be charged as it stands: {bad}."),
    Stale: lambda _: problems.response(412),
    NotVerified: _ask_unverified,
    KeyUsed: lambda _: problems.response(422),
    Collision: _ask_again,
}
for _error, _answered in _PROBLEMS.items():
    app.exception_handler(_error)(_answered)
