"""The money that a bank took by a dispute, and returned: no exchange rate and no repeated movement changes what is
left to refund."""

from decimal import Decimal
from typing import Any

import pytest
import stripe

from renewals.gateway import stripe_answers


def _dispute(moved: list[int], status: str) -> stripe.Dispute:
    movements = [
        {"object": "balance_transaction", "amount": amount, "created": 1_770_000_000 + n}
        for n, amount in enumerate(moved)
    ]
    body: dict[str, Any] = {
        "id": "dp_1",
        "object": "dispute",
        "amount": 2999,
        "currency": "usd",
        "status": status,
        "created": 1_769_000_000,
        "reason": "general",
        "payment_intent": {"id": "pi_1", "object": "payment_intent", "metadata": {}},
        "balance_transactions": movements,
    }
    return stripe.Dispute.construct_from(body, "sk_test_1")


@pytest.mark.parametrize(
    ("moved", "status", "withdrawn", "reinstated"),
    [
        ([], "needs_response", 0, 0),
        ([-2999], "needs_response", 2999, 0),
        ([-2700], "under_review", 2999, 0),
        ([-2700, 2650], "won", 2999, 2999),
        ([-2700, 2750], "won", 2999, 2999),
        ([-2700, 1350], "lost", 2999, 1499),
        ([-2700, 2700], "under_review", 2999, 2999),
        ([-2700, 2650, -2680], "lost", 5998, 2999),
        ([-2700, 2650, -2680, 2690], "won", 5998, 5998),
        ([-2700, 2650, -2680, 1340], "lost", 5998, 4498),
    ],
    ids=str,
)
def test_the_sums_of_a_dispute(moved: list[int], status: str, withdrawn: int, reinstated: int) -> None:
    """The movements stand in the currency of the account, and each is converted at a rate of its own: a dispute that is
    won has returned the whole sum, and money that is taken again counts as taken again."""
    found = stripe_answers.dispute(_dispute(moved, status))
    assert (found.withdrawn, found.reinstated) == (withdrawn, reinstated)


def test_the_order_of_the_movements_does_not_matter() -> None:
    """Stripe may list the newest movement first: the moments of the movements tell the order."""
    made = _dispute([-2700, 2650, -2680], "lost")
    made.balance_transactions.reverse()
    found = stripe_answers.dispute(made)
    assert (found.withdrawn, found.reinstated) == (5998, 2999)
    assert found.withdrawn_at is not None
    assert found.withdrawn_at.timestamp() == Decimal(1_770_000_000)
