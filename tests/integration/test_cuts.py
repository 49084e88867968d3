"""A renewal whose function is killed at any call to AWS, on the built and deployed functions, ends exactly once.

An undisturbed renewal lists the points of a kill: before and after every call to AWS of every function. Calls to the
payment gateway lie between two calls to AWS: a kill around a payment is a kill after the preceding call to AWS or
before the next.
"""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from typing import Any

import pytest

from local.cuts import Cuts, Moment
from tests.integration.shop import (
    RUNNING,
    SUCCEEDED,
    Shop,
    Subscriber,
    a_month_later,
    assert_renewed_once,
    today,
    wait_until,
)

PROCESS_PAYMENT, GENERATE_RECEIPT, SEND_EMAIL = FUNCTIONS = (
    "subscription-mgmt-process-payment-prod",
    "subscription-mgmt-generate-receipt-prod",
    "subscription-mgmt-send-email-prod",
)
MOMENTS: tuple[Moment, ...] = ("before", "after")
AT_A_TIME = 4
LATER_RUNS = 3
LONG_AGO = "2026-01-01T00:00:00.000000+00:00"

CHANGES: dict[str, Callable[[Shop, Subscriber], object]] = {
    "canceled": lambda shop, subscriber: shop.edit(subscriber, status="canceled"),
    "repriced": lambda shop, subscriber: shop.edit(subscriber, amount=Decimal("49.99")),
    "another-card": lambda shop, subscriber: shop.give_card(subscriber, "pm_card_mastercard"),
    "deleted": lambda shop, subscriber: shop.subscriptions.delete_item(
        Key={"subscription_id": subscriber.subscription_id, "customer_id": subscriber.customer_id}
    ),
}


@dataclass(frozen=True)
class Point:
    """A moment in a renewal. number: of the function's call to AWS, from 1. action: the call's IAM action."""

    function: str
    number: int
    action: str
    moment: Moment

    def __str__(self) -> str:
        return f"{self.function} {self.moment} {self.number} {self.action}"


@dataclass
class Points:
    """All points, in the order in which a renewal passes them."""

    all: list[Point]

    def at(self, function: str, action: str, moment: Moment) -> list[Point]:
        """Return the points at the calls of an action."""
        return [
            point for point in self.all if (point.function, point.action, point.moment) == (function, action, moment)
        ]

    @property
    def decisive(self) -> dict[str, Point]:
        """The points where a change of the subscription between kill and later run matters most."""
        return {
            "claimed": self.at(PROCESS_PAYMENT, "dynamodb:TransactWriteItems", "after")[0],
            "confirmed": self.at(PROCESS_PAYMENT, "dynamodb:TransactWriteItems", "before")[-1],
            "receipt-stored": self.at(GENERATE_RECEIPT, "s3:PutObject", "after")[0],
        }

    @property
    def mail_in_doubt(self) -> list[Point]:
        """The points from the mail's claim to its record, where nobody can tell whether the mail was sent."""
        claimed = self.at(SEND_EMAIL, "dynamodb:UpdateItem", "after")[0]
        unrecorded = self.at(SEND_EMAIL, "dynamodb:UpdateItem", "before")[-1]
        return self.all[self.all.index(claimed) : self.all.index(unrecorded) + 1]


@dataclass
class Case:
    """A subscription whose renewal is killed at `point`; then the subscription is changed.

    error: the error that the caller was told. charged: the number of charges at the kill.
    """

    point: Point
    change: str | None
    subscriber: Subscriber
    error: str | None = None
    charged: int = 0


def invoke(shop: Shop, function: str, event: dict[str, Any]) -> dict[str, Any]:
    """Return the function's answer, or its error as AWS reports the error."""
    answer = shop.functions.invoke(FunctionName=function, Payload=json.dumps(event))
    parsed: dict[str, Any] = json.loads(answer["Payload"].read())
    return parsed


def run_once(shop: Shop, subscriber: Subscriber) -> str | None:
    """Run the workflow's tasks without retries; return the name of the error that ended the tasks, or None."""
    given = {"request": json.loads(subscriber.request())}
    for function in FUNCTIONS:
        answer = invoke(shop, function, {"execution": "killed"} | given)
        if "errorType" in answer:
            return str(answer["errorType"])
        given = {"renewal": answer}
    return None


def run(shop: Shop, subscriber: Subscriber) -> str:
    """Run an execution as the webhook starts it, and return its final status."""
    asked = subscriber.request(event_type="subscription.renewal").decode()
    execution = shop.workflows.start_execution(stateMachineArn=shop.workflow, input=asked)["executionArn"]

    def ended() -> str | None:
        status = str(shop.workflows.describe_execution(executionArn=execution)["status"])
        return status if status != RUNNING else None

    return str(wait_until(ended, seconds=60))


def end_leases(shop: Shop, subscriber: Subscriber) -> None:
    """End the execution's lease of the renewal and the claims of its mails, as if 40 seconds had passed."""
    for item in shop.ledger(subscriber):
        mails = {name: mail | {"claimed_until": LONG_AGO} for name, mail in item["mails"].items()}
        shop.renewals.put_item(Item=item | {"lease_until": LONG_AGO, "mails": mails})


@pytest.fixture(scope="module")
def cuts(shop: Shop) -> Cuts:
    return Cuts(shop.stack.endpoint_url)


@pytest.fixture(scope="module")
def points(shop: Shop, cuts: Cuts) -> Points:
    """The points that an undisturbed renewal passes, with every function in a fresh process."""
    subscriber = shop.subscribe()
    for function in FUNCTIONS:
        cuts.watch(function, subscriber.subscription_id)
    assert run(shop, subscriber) == SUCCEEDED
    calls = {function: cuts.calls(function, subscriber.subscription_id) for function in FUNCTIONS}
    return Points(
        [
            Point(function, number, action, moment)
            for function in FUNCTIONS
            for number, action in enumerate(calls[function], start=1)
            for moment in MOMENTS
        ]
    )


@pytest.fixture(scope="module")
def cases(shop: Shop, cuts: Cuts, points: Points) -> list[Case]:
    """Kill a renewal at every point, and at the decisive points with every change; then let later executions finish the
    renewals."""
    wanted: list[tuple[Point, str | None]] = [(point, None) for point in points.all]
    wanted += [(point, change) for point in points.decisive.values() for change in CHANGES]
    made = [Case(point, change, shop.subscribe()) for point, change in wanted]
    subscribers = [case.subscriber for case in made]
    for case in made:
        cuts.cut(case.point.function, case.subscriber.subscription_id, case.point.number, case.point.moment)
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        errors = list(pool.map(lambda subscriber: run_once(shop, subscriber), subscribers))
        for case, error in zip(made, errors, strict=True):
            case.error = error
            case.charged = len(shop.charges(case.subscriber))
            if case.change:
                CHANGES[case.change](shop, case.subscriber)
        for _ in range(LATER_RUNS):
            for subscriber in subscribers:
                end_leases(shop, subscriber)
            list(pool.map(lambda subscriber: run(shop, subscriber), subscribers))
    return made


def assert_one_of_everything(shop: Shop, case: Case, points: Points) -> None:
    """Assert a single charge of the claimed amount to the claimed card, with its receipt and its mail."""
    subscriber = case.subscriber
    [charge] = shop.charges(subscriber)
    assert (charge["status"], charge["amount"], charge["amount_refunded"]) == ("succeeded", 2999, 0)
    assert charge["payment_method"] == subscriber.payment_method
    [item] = shop.ledger(subscriber)
    assert (item["renewal_date"], item["payment_id"]) == (today().isoformat(), charge["payment_intent"])
    key = f"receipts/{subscriber.customer_id}/{subscriber.subscription_id}/{charge['payment_intent']}.pdf"
    [(stored_as, pdf)] = shop.receipts(subscriber).items()
    assert stored_as == item["receipt_key"] == key
    assert sha256(pdf).hexdigest() == item["receipt_sha256"]
    mails = shop.mails(subscriber)
    if item["status"] == "mail_unknown":
        assert case.point in points.mail_in_doubt
        assert len(mails) <= 1
    else:
        assert item["status"] == "done"
        [mail] = mails
        assert [part.get_content() for part in mail.iter_attachments()] == [pdf]


@pytest.mark.parametrize(("moment", "claims"), [("before", []), ("after", ["claimed"])], ids=MOMENTS)
def test_a_killed_function_starts_anew(
    shop: Shop, cuts: Cuts, points: Points, moment: Moment, claims: list[str]
) -> None:
    """A call before which the function was killed is not carried out, and a call after which it was killed is; the
    caller gets the error as on AWS, and the next call is answered."""
    subscriber = shop.subscribe()
    event = {"execution": "killed", "request": json.loads(subscriber.request())}
    claiming = points.at(PROCESS_PAYMENT, "dynamodb:TransactWriteItems", moment)[0]
    cuts.cut(PROCESS_PAYMENT, subscriber.subscription_id, claiming.number, moment)
    assert invoke(shop, PROCESS_PAYMENT, event)["errorType"] == "Runtime.ExitError"
    assert [item["status"] for item in shop.ledger(subscriber)] == claims
    assert shop.charges(subscriber) == []
    assert invoke(shop, PROCESS_PAYMENT, event)["outcome"] == "paid"


def test_a_workflow_survives_a_killed_function(shop: Shop, cuts: Cuts) -> None:
    """The workflow sees the kill by its error name, as a Retry would; whether the workflow retries or the next webhook
    comes, the renewal ends with a single charge, receipt and mail."""
    subscriber = shop.subscribe()
    cuts.cut(GENERATE_RECEIPT, subscriber.subscription_id, 1, "before")
    shop.renew(subscriber)
    [execution] = shop.executions(subscriber.subscription_id)
    failed = [event.get("taskFailedEventDetails", {}) for event in shop.history(execution["executionArn"])]
    assert [details["error"] for details in failed if details] == ["Runtime.ExitError"]
    end_leases(shop, subscriber)
    assert shop.renew(subscriber).status == SUCCEEDED
    assert_renewed_once(shop, subscriber)


def test_a_renewal_killed_anywhere_ends_with_one_of_everything(
    shop: Shop, points: Points, cases: list[Case], subtests: pytest.Subtests
) -> None:
    """Wherever the process was killed, later runs leave a single charge, a receipt, a mail and a single step of
    renewal_date."""
    for case in cases:
        if case.change is None:
            with subtests.test(str(case.point)):
                assert case.error == "Runtime.ExitError"
                assert_one_of_everything(shop, case, points)
                assert shop.row(case.subscriber)["renewal_date"] == a_month_later(today().isoformat())


ENDED = ("canceled", "deleted")


@pytest.mark.parametrize("change", ENDED)
def test_what_ended_before_its_payment_was_confirmed_is_not_charged(
    shop: Shop, points: Points, cases: list[Case], change: str
) -> None:
    """A subscription canceled or deleted after the claim is given up, and nothing is charged, receipted or mailed."""
    [case] = [case for case in cases if (case.point, case.change) == (points.decisive["claimed"], change)]
    assert (case.error, case.charged) == ("Runtime.ExitError", 0)
    assert shop.charges(case.subscriber) == []
    [item] = shop.ledger(case.subscriber)
    assert item["status"] == "given_up"
    assert (shop.receipts(case.subscriber), shop.mails(case.subscriber)) == ({}, [])


@pytest.mark.parametrize(
    ("place", "charged", "change"),
    [
        (place, charged, change)
        for place, charged in (("claimed", 0), ("confirmed", 1), ("receipt-stored", 1))
        for change in CHANGES
        if charged or change not in ENDED
    ],
)
def test_what_was_confirmed_or_goes_on_stands_as_it_was_claimed(
    shop: Shop, points: Points, cases: list[Case], place: str, charged: int, change: str
) -> None:
    """A subscription repriced or given a new card after the claim, or canceled or deleted after the confirmation, is
    charged as claimed, receipted and mailed; the user's change of the row stays."""
    [case] = [case for case in cases if (case.point, case.change) == (points.decisive[place], change)]
    assert (case.error, case.charged) == ("Runtime.ExitError", charged)
    assert_one_of_everything(shop, case, points)
    if change == "deleted":
        with pytest.raises(KeyError):
            shop.row(case.subscriber)
    else:
        row = shop.row(case.subscriber)
        assert row["renewal_date"] == a_month_later(today().isoformat())
        assert row["status"] == ("canceled" if change == "canceled" else "active")
        assert row["amount"] == Decimal("49.99" if change == "repriced" else "29.99")
