"""The common parts of the routes: parameters, the subscription of the request, and the caller."""

import json
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Header, Path, Query
from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEvent
from botocore.exceptions import BotoCoreError, ClientError

from renewals.domain.callers import caller_of, name_of
from renewals.domain.errors import Collision, repeat_while_outdated
from renewals.domain.renewal import Renewal
from renewals.domain.request import RenewalRequest
from renewals.domain.subscription import renewal_date_of
from renewals.ledger import forecast
from renewals.ledger.asked_by import AskedBy, Repeatable
from renewals.ledger.entity_tags import etag
from renewals.ledger.register import Register
from renewals.ledger.steps import Row
from renewals.runtime import aws, clock, request_path, telemetry
from renewals.runtime.settings import setting
from subscriptions_api import forms, showing
from subscriptions_api.answer_models import SubscriptionOut
from subscriptions_api.problems import Missing, Nobody

if TYPE_CHECKING:
    from renewals.domain.stored import Answer

_LOOKS = 4
"""How many times a change is tried if other changes keep coming first."""

SubscriptionId = Annotated[str, Path(pattern=forms.ID, description="The subscription.")]
Cursor = Annotated[str | None, Query(max_length=2048, description="The `next_cursor` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=100, description="The largest number of items.")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=forms.IDEMPOTENCY_KEY,
        description="For seven days, the same request of the same user or role with the same key gets the same answer.",
    ),
]
IfMatch = Annotated[
    str,
    Header(
        alias="If-Match",
        pattern=forms.IF_MATCH,
        description="The `ETag` of the subscription as the caller read it.",
    ),
]


def again_while_outdated[T](step: Callable[[], T], what: str) -> T:
    """Run a step that reads `what` and changes `what`. If another change came in between, the step is run again. Raises
    Collision if other changes keep coming in between."""
    return repeat_while_outdated(step, tries=_LOOKS, otherwise=Collision(what))


def row(subscription_id: str) -> Row:
    """Read the row of the subscription. Raises Missing without a row."""
    found: Row | None = register().row(subscription_id)
    if found is None:
        raise Missing(subscription_id)
    return found


def asked(event: APIGatewayProxyEvent, row: Row, again: Repeatable | None = None) -> AskedBy:
    """Return the caller and the moment. Raises Nobody for an unsigned request."""
    at = clock.of_row(row)
    return AskedBy(name_of(_signer(event)), at.now, again, at.wall)


def _signer(event: APIGatewayProxyEvent) -> str:
    """Return the ARN of the caller. Raises Nobody for an unsigned request."""
    arn = str(request_path.part(request_path.part(event.raw_event, "requestContext"), "identity").get("userArn") or "")
    if not arn.startswith("arn:"):
        raise Nobody
    return arn


def repeatable(event: APIGatewayProxyEvent, key: str, status: int) -> Repeatable:
    """Return the request with its idempotency key, so that a repeated request gets the first answer again. status: the
    HTTP status of the answer. Raises Nobody for an unsigned request."""
    asked = [event.http_method, event.path, event.json_body]
    fingerprint = sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    caller = caller_of(_signer(event))
    return Repeatable(
        caller,
        key,
        fingerprint,
        lambda row: {"status": status, "etag": etag(row), "subscription": shown(row)},
    )


def repeated(answered: "Answer") -> Response[SubscriptionOut]:
    """Return the answer that the request got the first time."""
    given = SubscriptionOut.model_validate(answered["subscription"])
    return Response(answered["status"], "application/json", given, headers={"ETag": answered["etag"]})


def answer(status: int, row: Row) -> Response[SubscriptionOut]:
    """Answer with the present state of a subscription."""
    return Response(
        status,
        "application/json",
        SubscriptionOut.model_validate(shown(row)),
        headers={"ETag": etag(row)},
    )


def shown(row: Row, *, of_many: bool = False) -> dict[str, object]:
    """Show a row as SubscriptionOut. of_many: as in forecast.fault."""
    today = clock.of_row(row).today
    return showing.shown(row, today, forecast.fault(register().ledger, row, today, of_many=of_many))


def start(row: Row, renewal: Renewal | None = None) -> None:
    """Start the workflow for the renewal due, or for the given period."""
    request = RenewalRequest.of_row(row, renewal.renewal_date if renewal else renewal_date_of(row))
    try:
        workflow = setting("STATE_MACHINE_ARN")
        started = aws.step_functions().start_execution(stateMachineArn=workflow, input=request.to_json())
        telemetry.correlate(request.fields(), execution=started["executionArn"])
    except (BotoCoreError, ClientError) as error:  # the change is made, and the next sweep finds the work
        told = {"subscription_id": row["subscription_id"], "error": str(error)}
        telemetry.logger().warning("the workflow was not started", extra=told)


@cache
def register() -> Register:
    """Return the tables."""
    return Register(
        aws.dynamodb(),
        subscriptions=setting("DYNAMODB_TABLE"),
        renewals=setting("RENEWALS_TABLE"),
        changes=setting("CHANGES_TABLE"),
    )
