"""The bank and the dashboard of the gateway in the simulated year: refunds made outside this system, refunds that fail
later, disputes, and warnings of fraud.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from itertools import groupby
from typing import Any

from local.gateway import Sandbox
from local.simulate.happenings import (
    FIRST_DAY,
    BankDecides,
    Contest,
    Contested,
    RefundElsewhere,
    RefundFails,
)

_NEXT: Mapping[str, tuple[str, ...]] = {
    "warning_needs_response": ("withdraw", "warning_closed"),
    "needs_response": ("respond", "won", "lost"),
    "under_review": ("won", "lost"),
}
"""The next steps of a dispute, by the dispute's status at the gateway."""


@dataclass(frozen=True)
class Refunded:
    """A refund made in the gateway's dashboard. payment, refund: the gateway's ids. amount: minor units."""

    payment: str
    refund: str
    amount: int
    failed: bool = False


@dataclass
class Disputed:
    """A payment that a bank contests.

    payment, dispute: the gateway's ids. days: the dispute at the end of each day on which the
    dispute changed, oldest first.
    """

    payment: str
    dispute: str
    by: Contest
    days: dict[date, "Standing"]

    @property
    def steps(self) -> list["Standing"]:
        """The different ways in which the dispute stood at the end of a day, oldest first."""
        return [standing for standing, _ in groupby(self.days.values())]


@dataclass(frozen=True)
class Standing:
    """How a dispute stands. withdrawn, reinstated: the money that the bank has taken and returned, in minor units."""

    status: str
    withdrawn: int = 0
    reinstated: int = 0


class Bank:
    """Acts on the latest payment of a customer, and remembers what happened.

    Attributes:
        refunds: the refunds of every subscription, oldest first.
        disputes: the disputes and the warnings of fraud of every subscription, oldest first.
        today: the day of the story.
    """

    def __init__(self, sandbox: Sandbox, gateway: Any) -> None:
        self.refunds: dict[str, list[Refunded]] = {}
        self.disputes: dict[str, list[Disputed]] = {}
        self.today = FIRST_DAY
        self._sandbox, self._gateway = sandbox, gateway

    def act(
        self,
        subscription_id: str,
        customer: str,
        action: RefundElsewhere | RefundFails | Contested | BankDecides,
    ) -> None:
        """Carry out an action of the story. customer: the gateway's id of the customer."""
        match action:
            case RefundElsewhere():
                self._refund(subscription_id, customer)
            case RefundFails():
                self._fail_refund(subscription_id)
            case Contested(by):
                self._contest(subscription_id, customer, by)
            case BankDecides(step):
                self._decide(subscription_id, step)

    def _refund(self, subscription_id: str, customer: str) -> None:
        """Refund like somebody in the gateway's dashboard: this system is not told. Only a successful payment is
        refunded, unless the payment is disputed, or refunded already.
        """
        latest = self._gateway.payment_intents.list({"customer": customer, "limit": 1}).data
        left_out = {each.payment for each in self.disputes.get(subscription_id, ()) if each.by is not Contest.WARNING}
        left_out |= {each.payment for each in self.refunds.get(subscription_id, ()) if not each.failed}
        if latest and latest[0].status == "succeeded" and latest[0].id not in left_out:
            half = max(latest[0].amount // 20 * 10, 10)
            made = self._gateway.refunds.create({"payment_intent": latest[0].id, "amount": half})
            self.refunds.setdefault(subscription_id, []).append(Refunded(latest[0].id, made.id, half))

    def _fail_refund(self, subscription_id: str) -> None:
        made = self.refunds.get(subscription_id, [])
        if made and not made[-1].failed:
            self._sandbox.settle_refund(made[-1].refund, "failed")
            made[-1] = replace(made[-1], failed=True)

    def _contest(self, subscription_id: str, customer: str, by: Contest) -> None:
        """Let a bank contest the customer's latest payment: what is left of the payment after refunds. A payment is
        disputed once.
        """
        known = self.disputes.get(subscription_id, [])
        listed = self._gateway.payment_intents.list({"customer": customer, "limit": 10}).data
        payment = next((each.id for each in listed if each.status == "succeeded"), None)
        if payment is None or payment in {each.payment for each in known if each.by is not Contest.WARNING}:
            return
        if by is Contest.WARNING:
            made, standing = self._sandbox.warn(payment), Standing("fraud_warning")
        else:
            [charge] = self._sandbox.charges(payment_intent=payment, status="succeeded")
            amount = charge["amount"] - charge["amount_refunded"]
            made = self._sandbox.dispute(payment, amount=amount, inquiry=by is Contest.INQUIRY)
            standing = _standing(made, made["amount"])
        self.disputes[subscription_id] = [*known, Disputed(payment, made["id"], by, {self.today: standing})]

    def _decide(self, subscription_id: str, step: str) -> None:
        """Let the customer's latest dispute take a step, unless the dispute is over, or has taken the step already."""
        disputes = [each for each in self.disputes.get(subscription_id, ()) if each.by is not Contest.WARNING]
        if disputes and step in _NEXT.get(disputes[-1].steps[-1].status, ()):
            made = self._sandbox.change_dispute(disputes[-1].dispute, step)
            disputes[-1].days[self.today] = _standing(made, made["amount"])


def _standing(dispute: Mapping[str, Any], amount: int) -> Standing:
    """Read a dispute of the sandbox. amount: the contested minor units."""
    moved = [transaction["amount"] for transaction in dispute["balance_transactions"]]
    taken, returned = any(each < 0 for each in moved), any(each > 0 for each in moved)
    return Standing(dispute["status"], amount * taken, amount * returned)
