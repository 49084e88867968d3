"""SubscriptionsApi: subscriptions, their renewals and their history, for operators and the team's own backend.

An API Gateway proxy event in, a proxy reply out. API Gateway checks the caller's signature and permissions (AWS IAM);
who it was is recorded with each change. docs/openapi.json is generated from this module by scripts/openapi.py.

A change is done when its transaction is; the workflow that it calls for is started after it. Where that start is
lost, the next sweep finds the work.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from hashlib import sha256
from typing import Annotated, Any
from uuid import uuid4

from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.event_handler.openapi.exceptions import RequestValidationError
from aws_lambda_powertools.event_handler.openapi.params import Header, Path, Query
from botocore.exceptions import BotoCoreError, ClientError

from renewals import aws, clock, currencies, receipt_links, refunds, subscription, telemetry
from renewals.clock import Moment
from renewals.errors import BadRow, Collision, TryAgain, transient_aws_errors_as
from renewals.gateway import Gateway, GatewayRefused, GatewayUnauthorized, GatewayUnavailable
from renewals.gateway_secret import GatewaySecret
from renewals.ledger import Lost
from renewals.refunds import NotRefundable
from renewals.register import Asked, KeyUsed, Register, Repeatable, Row, Taken, etag, name_of
from renewals.renewal import Renewal
from renewals.settings import setting
from renewals.strict_json import NotAnObject, read_object
from renewals.subscription import LIVE
from renewals.transitions import Action, NotAllowed
from subscriptions_api import cursors, models, problems
from subscriptions_api.models import (
    Cancel,
    Card,
    Edit,
    NewSubscription,
    PreviewOut,
    ReceiptPage,
    Refund,
    RefundOut,
    RenewalPage,
    StatusName,
    SubscriptionOut,
    SubscriptionPage,
    Timeline,
)
from subscriptions_api.problems import BadRequest, Missing, Nobody, NoReceipt, Stale, documented

_LOOKS = 4
_LARGEST_BODY = 64 * 1024
_OPEN_SECONDS = 300


def _read_json(text: str) -> dict[str, Any]:
    """A request's body. Raises RequestValidationError for what is no JSON object, or names a field twice."""
    try:
        return read_object(text)
    except NotAnObject as problem:
        fault = {"type": "json", "loc": ("body",), "msg": f"{problem}", "input": {}}
        raise RequestValidationError([fault]) from None


app = APIGatewayRestResolver(enable_validation=True, json_body_deserializer=_read_json)

SubscriptionId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._:-]{0,127}$", description="The subscription.")]
Cursor = Annotated[str | None, Query(max_length=2048, description="`next_cursor` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=100, description="At most so many items.")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[\x21-\x7e]{1,255}$",
        description="The same key with the same request is answered as it was the first time, for seven days.",
    ),
]
IfMatch = Annotated[
    str,
    Header(
        alias="If-Match",
        pattern=r"^(\*|\"[^\"\x00-\x20]{1,100}\"(, ?\"[^\"\x00-\x20]{1,100}\"){0,9})$",
        description="The `ETag` of the subscription as the caller has read it.",
    ),
]


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


# --- reading ------------------------------------------------------------------------------------------------------


@app.get(
    "/subscriptions",
    summary="List subscriptions",
    description="Of a customer, of a status, of both, or all.",
    tags=["Subscriptions"],
    operation_id="listSubscriptions",
    responses={200: {"description": "One page."}} | documented(),
)
def list_subscriptions(
    customer_id: Annotated[str | None, Query(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._:-]{0,127}$")] = None,
    status: Annotated[StatusName | None, Query()] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> SubscriptionPage:
    of = f"subscriptions/{customer_id or ''}/{status or ''}"
    place = cursors.read(cursor, of, 2)
    if place is not None and customer_id is not None and place[1] != customer_id:
        raise BadRequest([{"field": "query.cursor", "reason": "is none that this list has given"}])
    after = (place[0], place[1]) if place else None
    rows, last = _register().find(customer_id=customer_id, status=status, limit=limit, after=after)
    items = [SubscriptionOut.model_validate(models.shown(row)) for row in rows]
    return SubscriptionPage(items=items, next_cursor=cursors.write(of, *last) if last else None)


@app.get(
    "/subscriptions/<subscription_id>",
    summary="Read a subscription",
    tags=["Subscriptions"],
    operation_id="getSubscription",
    responses={200: {"description": "The subscription. `ETag` is what If-Match takes."}} | documented(404, 409),
)
def get_subscription(subscription_id: SubscriptionId) -> Response[SubscriptionOut]:
    return _answer(200, _row(subscription_id))


@app.get(
    "/subscriptions/<subscription_id>/renewals",
    summary="The ledger of a subscription",
    tags=["History"],
    operation_id="listRenewals",
    responses={200: {"description": "One page, newest period first."}} | documented(404, 409),
)
def list_renewals(subscription_id: SubscriptionId, cursor: Cursor = None, limit: Limit = 50) -> RenewalPage:
    _row(subscription_id)
    of = f"renewals/{subscription_id}"
    place = cursors.read(cursor, of, 1)
    items, last = _register().ledger.page(subscription_id, limit=limit, before=place[0] if place else None)
    periods = [models.RenewalOut.model_validate(models.shown_period(item)) for item in items]
    return RenewalPage(items=periods, next_cursor=cursors.write(of, last) if last else None)


@app.get(
    "/subscriptions/<subscription_id>/timeline",
    summary="Everything that happened, in plain words",
    description="Due, claimed, charged, declined and why, mailed what to whom (masked), changed by whom. Oldest first.",
    tags=["History"],
    operation_id="getTimeline",
    responses={200: {"description": "All of it, or of a long history the latest 250 periods."}} | documented(404, 409),
)
def get_timeline(subscription_id: SubscriptionId) -> Timeline:
    row = _row(subscription_id)
    told, complete = _register().history(row, _moment(row).zone)
    entries = [models.TimelineEntry.model_validate(models.shown_entry(entry)) for entry in told]
    return Timeline(items=entries, complete=complete)


@app.get(
    "/subscriptions/<subscription_id>/preview",
    summary="The next charges",
    description="Each with its amount and the reason for its date.",
    tags=["History"],
    operation_id="previewCharges",
    responses={200: {"description": "As they can be told today."}} | documented(404, 409),
)
def preview_charges(
    subscription_id: SubscriptionId, count: Annotated[int, Query(ge=1, le=100, description="How many.")] = 24
) -> PreviewOut:
    row = _row(subscription_id)
    shown = _register().next_charges(row, _moment(row).today, count)
    charges = [models.PlannedCharge.model_validate(models.shown_charge(charge)) for charge in shown.charges]
    return PreviewOut(items=charges, then=shown.then)


@app.get(
    "/subscriptions/<subscription_id>/receipts",
    summary="The receipts of a subscription",
    description="Each with the link that was mailed.",
    tags=["History"],
    operation_id="listReceipts",
    responses={200: {"description": "One page, newest first."}} | documented(404, 409),
)
def list_receipts(subscription_id: SubscriptionId, cursor: Cursor = None, limit: Limit = 50) -> ReceiptPage:
    _row(subscription_id)
    of = f"receipts/{subscription_id}"
    place = cursors.read(cursor, of, 1)
    items, last = _register().ledger.page(subscription_id, limit=limit, before=place[0] if place else None)
    receipts = [
        models.ReceiptOut.model_validate(models.shown_receipt(item, _receipt_link(item)))
        for item in items
        if "receipt_key" in item
    ]
    return ReceiptPage(items=receipts, next_cursor=cursors.write(of, last) if last else None)


@app.get(
    "/receipts/<token>",
    summary="Open a receipt",
    description="The link in a mail. It needs no signature; the token is proof enough.",
    tags=["Receipts"],
    operation_id="openReceipt",
    status_code=302,
    openapi_extensions={"security": []},
    responses={302: {"description": "To the PDF, for five minutes."}} | documented(404),
)
def open_receipt(token: Annotated[str, Path(description="As it was mailed.")]) -> Response[None]:
    named = receipt_links.period(_link_key().value(), token)
    renewal = _register().ledger.get(*named) if named else None
    if renewal is None or renewal.receipt_key is None:
        raise NoReceipt
    opened = aws.s3().generate_presigned_url(
        "get_object",
        Params={
            "Bucket": setting("S3_BUCKET"),
            "Key": renewal.receipt_key,
            "ResponseContentType": "application/pdf",
            "ResponseContentDisposition": f'inline; filename="receipt-{renewal.receipt_number}.pdf"',
        },
        ExpiresIn=_OPEN_SECONDS,
    )
    headers = {"Location": opened, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
    return Response(302, headers=headers)


# --- changing -----------------------------------------------------------------------------------------------------


@app.post(
    "/subscriptions",
    summary="Create a subscription",
    description="Without `renewal_date` the first charge is made now.",
    tags=["Subscriptions"],
    operation_id="createSubscription",
    status_code=201,
    responses={201: {"description": "Created."}} | documented(409, 413, 415, 422),
)
def create_subscription(new: NewSubscription, idempotency_key: IdempotencyKey = None) -> Response[SubscriptionOut]:
    again = _if_repeatable(idempotency_key, 201)
    asked = _asked({}, again)
    for _ in range(_LOOKS):
        answered = _register().answered(again) if again else None
        if answered is not None:
            return _repeated(answered)
        today = _moment({}).today
        row = new.row(new.subscription_id or f"sub_{uuid4().hex}", today)
        _refuse_faults(row, None, today)
        created = _register().create(row, asked)
        if created is not None:
            _renew_if_due(created)
            return _answer(201, created)
    raise Collision("the idempotency key")


@app.patch(
    "/subscriptions/<subscription_id>",
    summary="Change a subscription",
    description="From the next period on. With If-Match, so that two editors do not overwrite each other.",
    tags=["Subscriptions"],
    operation_id="editSubscription",
    responses={200: {"description": "Changed. `ETag` is the new one."}} | documented(404, 409, 412, 413, 415),
)
def edit_subscription(subscription_id: SubscriptionId, edit: Edit, if_match: IfMatch) -> Response[SubscriptionOut]:
    for _ in range(_LOOKS):
        row = _row(subscription_id)
        if if_match != "*" and etag(row) not in if_match.replace(" ", "").split(","):
            raise Stale(subscription_id)
        changes = edit.changes()
        _refuse_faults({**row, **changes}, changes, _moment(row).today)
        edited = _register().edit(row, changes, "edited", _asked(row))
        if not isinstance(edited, Lost):
            return _answer(200, edited)
    raise Collision(subscription_id)


_ACTED = {200: {"description": "Done. `ETag` is the new one."}}


@app.post(
    "/subscriptions/<subscription_id>/cancel",
    summary="Cancel a subscription",
    description="Now, or when the period that is paid ends. A payment that is tried again is called off.",
    tags=["Status"],
    operation_id="cancelSubscription",
    responses=_ACTED | documented(404, 409, 413, 415, 422),
)
def cancel_subscription(
    subscription_id: SubscriptionId, cancel: Cancel, idempotency_key: IdempotencyKey = None
) -> Response[SubscriptionOut]:
    action = Action.CANCEL_NOW if cancel.when == "now" else Action.CANCEL_AT_PERIOD_END
    return _act(subscription_id, action, idempotency_key)


@app.post(
    "/subscriptions/<subscription_id>/pause",
    summary="Pause a subscription",
    description="Paused time is never billed.",
    tags=["Status"],
    operation_id="pauseSubscription",
    responses=_ACTED | documented(404, 409, 413, 415, 422),
)
def pause_subscription(
    subscription_id: SubscriptionId, idempotency_key: IdempotencyKey = None
) -> Response[SubscriptionOut]:
    return _act(subscription_id, Action.PAUSE, idempotency_key)


@app.post(
    "/subscriptions/<subscription_id>/resume",
    summary="Resume a subscription",
    description="One that is paused, moved past the dates in its pause; one that is suspended as unpaid, which is then "
    "billed anew; or one that was to be canceled at the end of its period.",
    tags=["Status"],
    operation_id="resumeSubscription",
    responses=_ACTED | documented(404, 409, 413, 415, 422),
)
def resume_subscription(
    subscription_id: SubscriptionId, idempotency_key: IdempotencyKey = None
) -> Response[SubscriptionOut]:
    return _act(subscription_id, Action.RESUME, idempotency_key)


@app.put(
    "/subscriptions/<subscription_id>/payment-method",
    summary="Give another card",
    description="Where a payment is past due, it is tried with the new card at once.",
    tags=["Status"],
    operation_id="setPaymentMethod",
    responses=_ACTED | documented(404, 409, 413, 415),
)
def set_payment_method(subscription_id: SubscriptionId, card: Card) -> Response[SubscriptionOut]:
    return _act(subscription_id, Action.GIVE_CARD, None, card.model_dump())


@app.post(
    "/subscriptions/<subscription_id>/refund",
    summary="Give money back",
    description="Of a period that was paid: all, or a part of what is left. The customer gets a receipt of it by mail.",
    tags=["Refunds"],
    operation_id="refund",
    status_code=201,
    responses={201: {"description": "Given back."}} | documented(404, 409, 413, 415, 422),
)
def refund(
    subscription_id: SubscriptionId,
    wanted: Refund,
    idempotency_key: Annotated[
        str, Header(alias="Idempotency-Key", pattern=r"^[\x21-\x7e]{1,255}$", description="One for each refund.")
    ],
) -> Response[RefundOut]:
    again = replace(_repeatable(idempotency_key, 201), answer=lambda _: None)  # the ledger has it
    amount = Decimal(wanted.amount.amount) if wanted.amount else None
    for _ in range(_LOOKS):
        row = _row(subscription_id)
        _register().answered(again)
        renewal = _register().ledger.get(subscription_id, wanted.renewal_date)
        if renewal is None:
            raise Missing(wanted.renewal_date)
        name = refunds.of_request(renewal, idempotency_key)
        if name is None:
            asked = _asked(row, again)
            name, claim = refunds.new(
                renewal,
                amount,
                wanted.amount.currency if wanted.amount else renewal.currency,
                by=asked.by,
                key=idempotency_key,
                at=asked.now.astimezone(_moment(row).zone),
            )
            claimed = _register().claim_refund(renewal, name, claim, asked)
            if isinstance(claimed, Lost):
                continue
            renewal = claimed
        return _refunded(row, renewal, name)
    raise Collision(subscription_id)


def _refunded(row: Row, renewal: Renewal, name: str) -> Response[RefundOut]:
    """A claimed refund, brought to its result, or the result that it has."""
    if renewal.refunds[name]["state"] == "claimed":
        renewal = _given_back(renewal, name, _moment(row).now)
        _start(row, renewal)
    stands = renewal.refunds[name]
    if stands["state"] == "failed":
        raise NotRefundable(f"The gateway could not give it back: {stands['reason']}.")
    if stands["state"] == "claimed":
        raise Collision(renewal.subscription_id)
    body = RefundOut.model_validate(models.shown_refund(renewal, name))
    return Response(201, "application/json", body)


def _given_back(renewal: Renewal, name: str, now: datetime) -> Renewal:
    """The period after the gateway was asked. Raises TryAgain without a clear answer: the same request goes on."""
    amount = currencies.exact_minor_units(renewal.refunds[name]["amount"], renewal.currency)
    key = refunds.gateway_key(f"{setting('PROJECT_NAME')}-{setting('ENVIRONMENT')}", renewal, name)
    try:
        given = _gateway().refund(str(renewal.payment_id), amount, key)
        changes = {"refund_id": given.id} | ({} if given.done else {"reason": "the gateway says that it failed"})
        done = given.done
    except GatewayUnavailable as error:
        raise TryAgain(str(error)) from error
    except GatewayUnauthorized as error:
        _gateway.cache_clear()  # the key may have been rotated: the next request reads it again
        raise TryAgain("the gateway does not accept our key") from error
    except GatewayRefused as error:
        changes, done = {"reason": error.code}, False
    notice = f"{refunds.NOTICE}_{name.rpartition('_')[2]}" if done else None
    changes["state"] = "refunded" if done else "failed"
    recorded = _register().ledger.record_refund(renewal, name, changes, notice=notice, now=now)
    if not isinstance(recorded, Lost):
        return recorded
    stands = _register().ledger.get(renewal.subscription_id, renewal.renewal_date.isoformat())
    return stands or renewal


def _act(
    subscription_id: str, action: Action, idempotency_key: str | None, given: Mapping[str, Any] | None = None
) -> Response[SubscriptionOut]:
    again = _if_repeatable(idempotency_key, 200)
    for _ in range(_LOOKS):
        answered = _register().answered(again) if again else None
        if answered is not None:
            return _repeated(answered)
        row = _row(subscription_id)
        done = _register().act(row, action, _moment(row).today, _asked(row, again), given or {})
        if not isinstance(done, Lost):
            _renew_if_due(done)
            return _answer(200, done)
    raise Collision(subscription_id)


# --- what the routes share ------------------------------------------------------------------------------------------


def _row(subscription_id: str) -> dict[str, Any]:
    row = _register().row(subscription_id)
    if row is None:
        raise Missing(subscription_id)
    return row


def _moment(row: Row) -> Moment:
    """When the subscription is looked at: outside production its row may say."""
    try:
        return clock.current(row.get("test_clock"))
    except BadRow:  # the row's fault says so; it is charged on no day
        return clock.current()


def _asked(row: Row, again: Repeatable | None = None) -> Asked:
    return Asked(_caller(), _moment(row).now, again)


def _caller() -> str:
    """Who signed the request."""
    arn = str(app.current_event["requestContext"].get("identity", {}).get("userArn") or "")
    if not arn.startswith("arn:"):
        raise Nobody
    return name_of(arn)


def _if_repeatable(key: str | None, status: int) -> Repeatable | None:
    return None if key is None else _repeatable(key, status)


def _repeatable(key: str, status: int) -> Repeatable:
    event = app.current_event
    asked = [event.http_method, event.path, event.json_body]
    fingerprint = sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    return Repeatable(
        key, fingerprint, lambda row: {"status": status, "etag": etag(row), "subscription": models.shown(row)}
    )


def _repeated(answered: Mapping[str, Any]) -> Response[SubscriptionOut]:
    given = SubscriptionOut.model_validate(answered["subscription"])
    return Response(answered["status"], "application/json", given, headers={"ETag": answered["etag"]})


def _answer(status: int, row: Row) -> Response[SubscriptionOut]:
    return Response(
        status, "application/json", SubscriptionOut.model_validate(models.shown(row)), headers={"ETag": etag(row)}
    )


def _refuse_faults(row: Row, changed: Mapping[str, Any] | None, today: date) -> None:
    """Refuse a row that could not be charged for what the caller gave. changed: all of it where None."""
    try:
        checked = subscription.parse(row)
    except BadRow as bad:
        if changed is None or bad.field in changed:
            raise BadRequest([{"field": f"body.{bad.field}", "reason": bad.reason}]) from None
        return
    if changed is None and checked.renewal_date < today:
        raise BadRequest([{"field": "body.renewal_date", "reason": "is before today"}])


def _receipt_link(item: Mapping[str, Any]) -> str:
    context = app.current_event.request_context
    base = setting("RECEIPT_LINKS_URL") or f"https://{context.domain_name}/{context.stage}/receipts"
    return f"{base}/{receipt_links.token(_link_key().value(), item['subscription_id'], item['renewal_date'])}"


def _renew_if_due(row: Row) -> None:
    """Start the workflow where there is work for it: a payment that is due, or one that is refused and to be closed."""
    due = row.get("status") in LIVE and str(row.get("renewal_date")) <= _moment(row).today.isoformat()
    if due or "next_attempt" in row:
        _start(row)


def _start(row: Row, renewal: Renewal | None = None) -> None:
    """Start the workflow for what the row is due, or for what is owed of a period of it."""
    amount = row.get("amount")
    work = {
        "subscription_id": row["subscription_id"],
        "customer_id": row["customer_id"],
        "amount": f"{amount:f}" if isinstance(amount, Decimal) else "0",
        "renewal_date": renewal.renewal_date.isoformat() if renewal else row["renewal_date"],
    }
    try:
        workflow = setting("STATE_MACHINE_ARN")
        started = aws.step_functions().start_execution(stateMachineArn=workflow, input=json.dumps(work))
        telemetry.correlate(work, execution=started["executionArn"])
    except (BotoCoreError, ClientError) as error:  # the change is made; the next sweep finds the work
        told = {"subscription_id": row["subscription_id"], "error": str(error)}
        telemetry.logger().warning("the workflow was not started", extra=told)


@cache
def _gateway() -> Gateway:
    from renewals.stripe_gateway import StripeGateway

    secret = GatewaySecret.read(aws.secrets_manager(), setting("SECRETS_MANAGER_ARN"))
    return StripeGateway(secret.api_key, secret.endpoint)


@cache
def _link_key() -> receipt_links.LinkKey:
    return receipt_links.LinkKey(aws.secrets_manager(), setting("RECEIPT_LINK_KEY_ARN"))


@cache
def _register() -> Register:
    return Register(
        aws.dynamodb(),
        subscriptions=setting("DYNAMODB_TABLE"),
        renewals=setting("RENEWALS_TABLE"),
        changes=setting("CHANGES_TABLE"),
    )


# --- problems -------------------------------------------------------------------------------------------------------


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
