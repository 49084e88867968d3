"""Plays the bank, the customer and the gateway's dashboard on the local stack.

    python -m local.bank dispute sub_1 --reason subscription_canceled
    python -m local.bank lost sub_1
    python -m local.bank refund

The command acts on the latest payment of the subscription or, if no subscription is named, on the latest payment of any
subscription. The command prints the payment and the events that the sandbox gateway recorded. The environment variable
PORT selects the stack. `--help` lists the acts.
"""

import argparse
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import stripe

from local.commands import run, say
from local.gateway import Sandbox, SandboxError, official_client
from local.stack import Stack, StackError
from renewals.domain.currencies import exact_minor_units
from renewals.domain.errors import BadRow

_LOOKED_THROUGH = 1000
"""The number of payments, latest first, that the command looks through to find a payment of the subscription."""


class _Bank:
    """Acts on a payment at the sandbox gateway, by Stripe's API and by the control endpoints of `local.gateway`.

    payment: the PaymentIntent to act on.
    """

    def __init__(self, stack: Stack, subscription_id: str | None) -> None:
        self._sandbox = Sandbox(stack.gateway_url)
        self._v1: Any = official_client(stack.gateway_url, stack.gateway_key).v1
        self.payment = self._latest(subscription_id)

    def _latest(self, subscription_id: str | None) -> Any:
        listed = self._v1.payment_intents.list({"limit": 100}).auto_paging_iter()
        for _, payment in zip(range(_LOOKED_THROUGH), listed, strict=False):
            whose = payment.metadata.to_dict().get("subscription_id")
            if whose and subscription_id in (None, whose):
                return payment
        of_it = f" of {subscription_id}" if subscription_id else ""
        raise StackError(f"the gateway knows no payment{of_it}: `python -m local.subscribe` makes one")

    def dispute(self, given: argparse.Namespace) -> None:
        more = {} if given.amount is None else {"amount": self._minor_units(given.amount)}
        self._sandbox.dispute(self.payment.id, given.reason, inquiry=given.inquiry, **more)

    def step(self, step: str) -> None:
        """Move the payment's latest dispute on by the named step. Raises StackError if the payment has no dispute."""
        self._sandbox.change_dispute(self._newest(self._v1.disputes, "dispute"), step)

    def refund(self, given: argparse.Namespace) -> None:
        part = None if given.amount is None else self._minor_units(given.amount)
        self._sandbox.refund_in_dashboard(self.payment.id, part)

    def fail_refund(self) -> None:
        """Let the payment's latest refund fail. Raises StackError if the payment has no refund."""
        self._sandbox.settle_refund(self._newest(self._v1.refunds, "refund"), "failed")

    def warn(self) -> None:
        self._sandbox.warn(self.payment.id)

    def authenticate(self, outcome: str) -> None:
        self._sandbox.authenticate(self.payment.id, outcome)

    def detach(self) -> None:
        """Remove the cards of the payment's customer."""
        for method in self._v1.customers.payment_methods.list(self.payment.customer).data:
            self._v1.payment_methods.detach(method.id)

    def _minor_units(self, amount: Decimal) -> int:
        """Return an amount in the payment's currency as a number of minor units. Raises StackError."""
        try:
            return exact_minor_units(amount, self.payment.currency.upper())
        except BadRow as bad:
            raise StackError(f"--amount {bad.reason}") from bad

    def _newest(self, kind: Any, name: str) -> str:
        found = kind.list({"payment_intent": self.payment.id, "limit": 1}).data
        if not found:
            raise StackError(f"the payment {self.payment.id} has no {name}: `python -m local.bank {name}` makes one")
        return str(found[0].id)

    def events_since(self, act: Callable[[], None]) -> list[tuple[str, str]]:
        """Act, and return the events that the act caused, oldest first: the type and the object's id."""
        before = {event.id for event in self._v1.events.list({"limit": 100}).data}
        act()
        after = [event for event in self._v1.events.list({"limit": 100}).data if event.id not in before]
        return [(event.type, event.data.object.id) for event in reversed(after)]


ACTS: dict[str, tuple[Callable[[_Bank, argparse.Namespace], None], str]] = {
    "dispute": (_Bank.dispute, "the customer contests the payment, and the bank takes the money (--reason, --inquiry)"),
    "withdraw": (lambda bank, _: bank.step("withdraw"), "an inquiry becomes a dispute, and the bank takes the money"),
    "respond": (lambda bank, _: bank.step("respond"), "evidence against the dispute is submitted"),
    "won": (lambda bank, _: bank.step("won"), "the dispute is won, and the bank returns the money"),
    "lost": (lambda bank, _: bank.step("lost"), "the dispute is lost"),
    "close-inquiry": (lambda bank, _: bank.step("warning_closed"), "the bank closes its inquiry"),
    "refund": (_Bank.refund, "somebody refunds the payment in the dashboard (--amount for a part)"),
    "fail-refund": (lambda bank, _: bank.fail_refund(), "the latest refund fails, and the seller has the money"),
    "warn": (lambda bank, _: bank.warn(), "the card issuer suspects fraud"),
    "confirm": (lambda bank, _: bank.authenticate("succeeded"), "the customer confirms the payment (3-D Secure)"),
    "refuse": (lambda bank, _: bank.authenticate("failed"), "the customer fails to confirm the payment"),
    "detach": (lambda bank, _: bank.detach(), "the customer's cards are removed at the gateway"),
}


def play(stack: Stack, given: argparse.Namespace) -> None:
    """Act once, and print the payment and the events. Raises StackError for an act that the gateway refuses."""
    act, meaning = ACTS[given.act]
    try:
        bank = _Bank(stack, given.subscription_id)
        events = bank.events_since(lambda: act(bank, given))
    except (SandboxError, stripe.StripeError, OSError) as problem:
        raise StackError(f"the sandbox gateway refused: {problem}") from problem
    metadata = bank.payment.metadata.to_dict()
    say(f"{bank.payment.id} of {metadata['subscription_id']}: {meaning.partition(' (')[0]}")
    for type_, about in events:
        say(f"  {type_}  {about}")


def _amount(text: str) -> Decimal:
    if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,3})?", text):
        raise argparse.ArgumentTypeError(f"must be an amount with a point, such as 5.00, not {text!r}")
    return Decimal(text)


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    width = max(map(len, ACTS))
    parser = argparse.ArgumentParser(
        prog="python -m local.bank",
        description="Plays the bank, the customer and the gateway's dashboard on a local stack. "
        "PORT in the environment selects the stack (4566).",
        epilog="\n".join(["acts:", *(f"  {act.ljust(width)}  {meaning}" for act, (_, meaning) in ACTS.items())]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("act", choices=ACTS, metavar="act", help="one of the acts below")
    parser.add_argument("subscription_id", nargs="?", help="(the subscription of the latest payment)")
    parser.add_argument("--reason", default="fraudulent", help="a dispute's reason in Stripe's words (%(default)s)")
    parser.add_argument("--inquiry", action="store_true", help="the bank only asks, and takes no money")
    parser.add_argument("--amount", type=_amount, help="a part of the payment, such as 5.00 (all of the payment)")
    return parser.parse_args(given)


def main() -> None:
    given = arguments()
    run(lambda stack: play(stack, given))


if __name__ == "__main__":
    main()
