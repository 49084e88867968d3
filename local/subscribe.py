"""Creates a subscription on the local stack, and shows the subscription's first renewal.

    python -m local.subscribe --name "Ann Lee" --amount 9.99 --currency EUR

The command creates a customer and a card at the sandbox gateway and creates the subscription through the API, like an
application. The command then waits until the first renewal has ended, and prints the timeline and some commands to try
next. The environment variable PORT selects the stack. `--help` lists the options.
"""

import argparse
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import stripe

from local.commands import escape, run, say
from local.gateway import official_client
from local.progress import console, step
from local.signed import call
from local.stack import ROOT, Stack, StackError
from renewals.language.tags import ENGLISH, LANGUAGES

CARDS = {
    "visa": "pm_card_visa",
    "declined": "pm_card_chargeCustomerFail",
    "3ds": "pm_card_authenticationRequired",
}
"""The names for --card, with the ids of Stripe's test cards (https://docs.stripe.com/testing): the first card is
charged, the second is declined at every renewal, and the third makes the bank ask the customer for confirmation.
"""

_SETTLED = frozenset({"done", "declined", "action_required", "failed", "mail_failed", "mail_unknown"})
_WAIT_SECONDS, _LOOK_SECONDS = 60, 0.3


def customer_with_card(stack: Stack, name: str, email: str, card: str) -> tuple[str, str]:
    """Create a customer with a saved card at the sandbox gateway.

    Args:
        stack: the stack that the sandbox gateway belongs to.
        name: the customer's name.
        email: the customer's address.
        card: the id of a test card, such as pm_card_visa.

    Returns:
        The ids of the customer (cus_...) and of the saved card (pm_...).

    Raises:
        StackError: the gateway refuses the card.
    """
    gateway = official_client(stack.gateway_url, stack.gateway_key)
    try:
        customer = gateway.v1.customers.create({"name": name, "email": email}).id
        return customer, gateway.v1.payment_methods.attach(card, {"customer": customer}).id
    except stripe.StripeError as error:
        raise StackError(f"the sandbox gateway refuses the card {card}: {error.user_message}") from error


class _Api:
    """The subscriptions API of the local stack. Each call is signed with AWS credentials, like an application's."""

    def __init__(self, stack: Stack) -> None:
        self._url = stack.outputs["LocalApiUrl"]
        self._credentials = stack.session.get_credentials()

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        """Return the body of the answer. Raises StackError with the API's reasons if the API refuses the request."""
        answer = call(f"{self._url}{path}", method, self._credentials, body)
        if answer.status >= 400:
            wrong = [f"{error['field']}: {error['reason']}" for error in answer.body.get("errors", [])]
            raise StackError("\n".join(wrong) or str(answer.body.get("detail") or answer.body))
        return answer.body


def _settled(api: _Api, subscription_id: str) -> bool:
    """Wait up to a minute for the first renewal, and tell whether the renewal has ended."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < deadline:
        if any(period["status"] in _SETTLED for period in _periods(api, subscription_id)):
            return True
        time.sleep(_LOOK_SECONDS)
    return False


def _subscribe(stack: Stack, given: argparse.Namespace) -> None:
    api, subscription_id = _Api(stack), given.subscription_id or f"sub_{uuid.uuid4().hex[:8]}"
    with step("create a customer and a card at the sandbox gateway"):
        card = CARDS.get(given.card, given.card)
        customer, payment_method = customer_with_card(stack, given.name, given.email, card)
    wanted = {
        "subscription_id": subscription_id,
        "customer_id": f"cus-{subscription_id}",
        "amount": {"amount": given.amount, "currency": given.currency},
        "interval": given.interval,
        "plan": given.plan,
        "customer_name": given.name,
        "customer_email": given.email,
        "locale": given.locale,
        "gateway_customer": customer,
        "payment_method": payment_method,
    } | ({"renewal_date": given.renewal_date} if given.renewal_date else {})
    with step("create the subscription: POST /subscriptions"):
        created = api("POST", "/subscriptions", wanted)
    if created["renewal_date"] <= datetime.now(UTC).date().isoformat():
        with step("wait for the first renewal"):
            if not _settled(api, subscription_id):
                console.print(f"No result after {_WAIT_SECONDS} seconds. The logs are in .local/{stack.port}/logs/")
    tell(api, subscription_id)
    row, periods = api("GET", f"/subscriptions/{subscription_id}"), _periods(api, subscription_id)
    tried_again = periods[0].get("next_attempt") if periods else None
    _say_what_next(stack, subscription_id, tried_again or row["renewal_date"])


def tell(api: Callable[[str, str], Any], subscription_id: str) -> None:
    """Print the subscription's timeline. api: a function that returns the API's answer for a method and a path."""
    console.print(f"\nWhat happened to [bold]{escape(subscription_id)}[/bold]:")
    for entry in api("GET", f"/subscriptions/{subscription_id}/timeline")["items"]:
        say(f"  {entry['at'][:19].replace('T', ' ')}  {entry['text']}")


def _periods(api: _Api, subscription_id: str) -> list[dict[str, Any]]:
    """Return the periods in the ledger, newest first."""
    found: list[dict[str, Any]] = api("GET", f"/subscriptions/{subscription_id}/renewals")["items"]
    return found


def _say_what_next(stack: Stack, subscription_id: str, day: str) -> None:
    """Print commands to try next. day: the date of the next charge or attempt, YYYY-MM-DD."""
    port = "" if stack.port == 4566 else f"PORT={stack.port} "
    folder, python = stack.folder.relative_to(ROOT), ".venv/bin/python"
    subscription_id, day = escape(subscription_id), escape(day)
    served_at = escape(stack.outputs.get("ConsoleUrl", "`make up` starts the console"))
    console.print(
        f"""
Mails with their receipts are in {folder}/mail/. The console: {served_at}

The next charge is due on {day}. To set the subscription's test clock to that day, and renew now:
  {port}{python} -m local.test_clock {subscription_id} {day}

To look at the subscription, as an operator does:
  export AWS_CONFIG_FILE={folder}/aws-config AWS_PROFILE=local
  {python} -m scripts.subscriptions show {subscription_id}
  {python} -m scripts.subscriptions why {subscription_id}
  {python} -m scripts.subscriptions preview {subscription_id}

To see a card declined, or a payment that the customer must confirm:
  {port}{python} -m local.subscribe --card declined
  {port}{python} -m local.subscribe --card 3ds

To play the bank and the gateway's dashboard (confirm the payment, dispute it, refund it):
  {port}{python} -m local.bank --help""",
        soft_wrap=True,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m local.subscribe",
        description="Creates a subscription on the local stack, and shows the first renewal. "
        "The environment variable PORT selects the stack (default: 4566).",
    )
    parser.add_argument("--name", default="Ann Lee", help="the customer's name (%(default)s)")
    parser.add_argument("--email", default="ann.lee@example.com", help="the customer's mail address (%(default)s)")
    parser.add_argument(
        "--locale",
        default=ENGLISH,
        choices=LANGUAGES,
        help="the language of the customer's mails, receipts and page: %(choices)s (%(default)s)",
        metavar="TAG",
    )
    parser.add_argument("--plan", default="Pro", help="the name of the plan on the receipt (%(default)s)")
    parser.add_argument("--amount", default="29.99", help="the price of a billing period, in major units (%(default)s)")
    parser.add_argument("--currency", default="USD", help="the ISO 4217 code of the currency (%(default)s)")
    parser.add_argument(
        "--interval",
        default="month",
        choices=("day", "week", "month", "year"),
        help="the length of a billing period (%(default)s)",
    )
    parser.add_argument("--renewal-date", metavar="YYYY-MM-DD", help="the day of the first charge (today)")
    parser.add_argument(
        "--card",
        default="visa",
        help=f"the customer's card: {', '.join(CARDS)}, or the id of a test card that can be saved (%(default)s)",
    )
    parser.add_argument("--subscription-id", help="the subscription's id (a new id)")
    return parser.parse_args()


def main() -> None:
    given = _arguments()
    run(lambda stack: _subscribe(stack, given))


if __name__ == "__main__":
    main()
