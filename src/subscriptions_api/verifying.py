"""Look up customers and cards at the gateway before accepting them, unless the caller asks to skip the check."""

from collections.abc import Callable, Iterable
from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Query

from renewals.domain.errors import BadRow
from renewals.gateway import access as gateway_access
from renewals.gateway import verifying
from renewals.gateway.port import Gateway, GatewayRefused, GatewayUnauthorized, GatewayUnavailable
from subscriptions_api.problems import BadRequest, NotVerified

Verify = Annotated[
    bool,
    Query(
        description="Whether customer and card are looked up at the gateway first. `false` takes them as they are, and "
        "is for when the gateway cannot be asked."
    ),
]


def refuse_unknown(gateway_customer: str, payment_method: str) -> None:
    """Refuse a customer unknown to the gateway, or a card of a different customer. Raises BadRequest, NotVerified."""
    _refuse(lambda gateway: verifying.faults(gateway, gateway_customer, payment_method))


def refuse_card(gateway_customer: str, payment_method: str) -> None:
    """Refuse a card of a different customer. Raises BadRequest, NotVerified."""
    _refuse(lambda gateway: verifying.of_card(gateway, gateway_customer, payment_method))


def _refuse(faults: Callable[[Gateway], Iterable[BadRow]]) -> None:
    try:
        found = gateway_access.with_current_key(lambda: list(faults(gateway_access.gateway())))
    except GatewayUnavailable as error:
        raise NotVerified("The gateway does not answer") from error
    except (GatewayUnauthorized, GatewayRefused) as error:
        raise NotVerified("The gateway does not let us look customers and cards up") from error
    if found:
        raise BadRequest([{"field": f"body.{bad.field}", "reason": bad.reason} for bad in found])
