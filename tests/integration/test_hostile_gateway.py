"""The whole workflow against a gateway that fails in every way: the money moves once, or visibly not at all."""

from dataclasses import dataclass
from typing import Any

import pytest

from tests.integration.shop import FAILED, SUCCEEDED, Shop, Subscriber, assert_renewed_once


@dataclass(frozen=True)
class Trouble:
    """The trouble that a customer's calls to the gateway meet."""

    mode: str
    operation: str
    calls: int = 1
    seconds: float | None = None

    def __str__(self) -> str:
        times = f"-{self.calls}_times" if self.calls > 1 else ""
        return f"{self.mode}-{self.operation.removeprefix('payment_intents.')}{times}"


TROUBLES = [
    *(Trouble(mode, "payment_intents.create") for mode in ("429", "500", "503", "drop_before", "drop_after")),
    *(Trouble(mode, "payment_intents.confirm") for mode in ("429", "500", "500_after", "drop_before", "drop_after")),
    Trouble("500", "payment_intents.create", calls=3),
    Trouble("drop_after", "payment_intents.*", calls=3),
    # The client waits four seconds for an answer.
    Trouble("slow", "payment_intents.create", seconds=4.5),
    Trouble("slow", "payment_intents.confirm", seconds=4.5),
]

PROCESSING = Trouble("processing", "payment_intents.confirm")
AWAY = Trouble("503", "*", calls=4)


@pytest.fixture(scope="module")
def bad_day(shop: Shop) -> dict[Trouble, Subscriber]:
    """A subscriber for every trouble, all renewed at the same time, since most of a run is waiting."""
    subscribers = {}
    for trouble in [*TROUBLES, PROCESSING, AWAY]:
        subscriber = subscribers[trouble] = shop.subscribe()
        rule: dict[str, Any] = {"customer": subscriber.gateway_customer, "calls": trouble.calls}
        if trouble.seconds:
            rule["seconds"] = trouble.seconds
        shop.sandbox.hostile(trouble.mode, trouble.operation, **rule)
    for subscriber in subscribers.values():
        assert shop.deliver(subscriber).status == 202
    return subscribers


@pytest.mark.parametrize("trouble", TROUBLES, ids=str)
def test_trouble_at_the_gateway_ends_in_one_charge(
    shop: Shop, bad_day: dict[Trouble, Subscriber], trouble: Trouble
) -> None:
    """Whether a call is refused, dropped or slow, before or after the money moved, the workflow retries and charges
    once."""
    subscriber = bad_day[trouble]
    [end] = shop.ends(subscriber, 1)
    assert (end.status, end.state) == (SUCCEEDED, "Success")
    assert_renewed_once(shop, subscriber)
    assert len(shop.charges(subscriber)) == 1
    met = [rule for rule in shop.sandbox.hostile_rules() if rule.get("customer") == subscriber.gateway_customer]
    assert met == [], "some of the trouble did not happen"


def test_a_payment_in_processing_is_waited_for(shop: Shop, bad_day: dict[Trouble, Subscriber]) -> None:
    """A payment in processing makes no receipt, mail or second attempt; settled later, the payment is found and
    finished by a repeated webhook."""
    subscriber = bad_day[PROCESSING]
    [end] = shop.ends(subscriber, 1)
    assert (end.status, end.state) == (SUCCEEDED, "Success")
    [item] = shop.ledger(subscriber)
    assert item["status"] == "claimed"
    assert shop.receipts(subscriber) == {}
    assert shop.mails(subscriber) == []

    shop.sandbox.settle(item["payment_id"])
    shop.end_lease(subscriber)
    end = shop.renew(subscriber)
    assert (end.status, end.state) == (SUCCEEDED, "Success")
    assert_renewed_once(shop, subscriber)
    assert len(shop.charges(subscriber)) == 1


def test_a_gateway_that_stays_away_loses_nothing(shop: Shop, bad_day: dict[Trouble, Subscriber]) -> None:
    """With the gateway unavailable at every try the execution fails without a charge; a repeated webhook later charges
    once."""
    subscriber = bad_day[AWAY]
    [end] = shop.ends(subscriber, 1)
    assert (end.status, end.error) == (FAILED, "PaymentProcessingFailed")
    assert shop.charges(subscriber) == []

    shop.end_lease(subscriber)
    assert shop.renew(subscriber).status == SUCCEEDED
    assert_renewed_once(shop, subscriber)
