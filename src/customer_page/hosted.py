"""The gateway's own pages: for a new card, and the bank's page for a payment. No card number comes near our pages.

The function holds no key of the gateway: ProcessPayment opens the pages and takes the card. The address to which the
gateway sends the customer back holds a token, since the customer may come back without a cookie. Nothing else in that
address is believed.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from renewals.domain.customer_request import CustomerOutcome, CustomerRequest, Refusal
from renewals.domain.item_values import text
from renewals.runtime import aws, telemetry
from renewals.runtime.settings import setting

if TYPE_CHECKING:
    from collections.abc import Mapping

    from renewals.domain.request import Asks
    from renewals.ledger.steps import Row

_STRIPE = "https://api.stripe.com"
_STRIPES_PAGES = ("https://checkout.stripe.com", "https://hooks.stripe.com")


def origins() -> tuple[str, ...]:
    """Return the origins of the gateway's pages. A page that leads there after a POST must name the origins in its
    policy: otherwise the browser stops after the function has acted.

    Stripe's Checkout may stand on a domain of the seller (https://docs.stripe.com/payments/checkout/custom-domains).
    """
    endpoint, own = setting("PAYMENT_GATEWAY_ENDPOINT"), setting("CHECKOUT_URL")
    pages = _STRIPES_PAGES if endpoint == _STRIPE else (endpoint,)
    return (*pages, own) if own else pages


def is_hosted(url: str) -> bool:
    """Whether an address is one of the gateway's pages that the policy of our pages names."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" in origins()


def ask(row: Row, asks: Asks, *, return_url: str = "", session: str = "") -> tuple[CustomerOutcome | Refusal, str]:
    """Ask ProcessPayment to do something for the customer of a row.

    Returns:
        The outcome, or the reason why nothing was done; and the address of the gateway's page, if a page was opened.
    """
    of = text(row, "subscription_id"), text(row, "customer_id")
    asked = CustomerRequest(*of, asks, return_url=return_url, session=session)
    try:
        answer = aws.patient_functions().invoke(
            FunctionName=setting("PROCESS_PAYMENT_FUNCTION"), Payload=json.dumps(asked.event())
        )
    except (BotoCoreError, ClientError) as error:
        telemetry.logger().error("the gateway was not asked", extra={"error": str(error)})
        return Refusal.TRY_AGAIN, ""
    reply: Mapping[str, str] = json.loads(answer["Payload"].read())
    if "FunctionError" in answer:
        telemetry.logger().error("the gateway was not asked", extra={"error": answer["FunctionError"]})
        return Refusal.TRY_AGAIN, ""
    outcome = CustomerOutcome(reply["outcome"])
    if outcome is CustomerOutcome.NOTHING_TO_DO:
        return Refusal(reply["reason"]), ""
    return outcome, reply.get("url", "")
