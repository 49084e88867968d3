"""The commands of the person on call, over AWS in memory: who waits, the dead letters, and the logs."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, ClassVar

import boto3
import pytest
from click.testing import CliRunner, Result

from renewals.domain.request import Asks
from scripts.deployment import Deployment
from scripts.oncall import dead_letters
from scripts.oncall.__main__ import main
from tests.fakes import Cut, World
from tests.unit.test_subscriptions_command import DEAD, QUEUE, Account, on


class _NoSuchLogError(Exception):
    pass


@dataclass
class _Account(Account):
    """An account with logs: the events of every log group."""

    exceptions: ClassVar[Any] = SimpleNamespace(ResourceNotFoundException=_NoSuchLogError)
    logs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def get_paginator(self, operation: str) -> Any:
        assert operation == "filter_log_events"
        return self

    def paginate(self, *, logGroupName: str, **_: Any) -> Iterator[Any]:  # noqa: N803  (boto3's name)
        """Return all events of a log group, as the local stack does whatever the filter."""
        if logGroupName not in self.logs:
            raise _NoSuchLogError
        for event in self.logs[logGroupName]:
            yield {"events": [event]}


@pytest.fixture
def account(shop: World, monkeypatch: pytest.MonkeyPatch) -> _Account:
    """The account that the environment's profile reaches."""
    made = _Account(shop)
    monkeypatch.setattr(boto3, "Session", lambda: made)
    return made


@pytest.fixture
def oncall(account: _Account) -> Callable[..., Result]:
    """A function that types a command and returns output and exit status."""
    return lambda *words: CliRunner().invoke(main, list(words))


# --- who waits -------------------------------------------------------------------------------------------------------


def test_nobody_waits(shop: World, account: _Account, oncall: Any) -> None:
    """With a renewed subscription and a subscription that is not due yet, nobody waits, though a message is still in
    the queue."""
    on(shop)
    shop.run()
    on(shop, subscription_id="sub_2", customer_id="cus_2", renewal_date="2026-02-28")
    account.queues[QUEUE] = ["{}"]
    ended = oncall("waiting")
    assert ended.output.splitlines()[-1] == "Over: nothing waits."
    assert "1 message in the queue: waiting, being processed or to be retried" in ended.output
    assert ended.exit_code == 0


def test_a_refused_period_waits_for_its_date_and_not_for_the_operator(shop: World, oncall: Any) -> None:
    """A declined period waits for the next attempt tomorrow, not for a person, once the customer was told."""
    on(shop, payment_method="pm_declined")
    shop.run()
    assert oncall("waiting").exit_code == 0


def test_who_is_due_is_named(shop: World, oncall: Any) -> None:
    """A due and uncharged subscription is named with the billing period, and the exit status is 1."""
    on(shop)
    ended = oncall("waiting")
    assert "1 due and not renewed\n    sub_1, period 2026-01-31\n" in ended.output
    assert (ended.output.splitlines()[-1], ended.exit_code) == ("Not over.", 1)


def test_who_cannot_be_charged_is_named_with_the_fault(shop: World, oncall: Any) -> None:
    """A bad row is named with the fault: no sweep would ever renew the row."""
    on(shop, amount=Decimal("29.999"))
    ended = oncall("waiting")
    assert "1 due and cannot be charged\n    sub_1: amount" in ended.output
    assert ended.exit_code == 1


def test_what_was_begun_and_not_finished_is_named(shop: World, oncall: Any) -> None:
    """A renewal that was charged and cut off while being mailed is named with the state in words and the seconds since
    the start."""
    on(shop)
    shop.ses.trouble = [Cut("in the middle of its sending")]
    shop.run()
    ended = oncall("waiting")
    stands = r"sub_1, period 2026-01-31, for \d+ s: charged and receipted; its mail is on its way"
    assert re.search(rf"1 begun and not finished\n    {stands}\n", ended.output)
    assert ended.exit_code == 1


ODD = ["", "x", "2026-01-31", b"x", True, None, Decimal(0), Decimal("1E+40"), [], ["x"], {}, {"x": None}, {"x"}]


@pytest.mark.parametrize(
    ("odd", "declined", "each"),
    [
        *((odd, n % 2 == 0, slice(n % 3, None, 3)) for n, odd in enumerate(ODD)),
        *(
            pytest.param(odd, declined, slice(None), marks=pytest.mark.proof)
            for odd in ODD
            for declined in (True, False)
        ),
    ],
)
def test_whatever_was_written_by_hand_everybody_who_waits_is_named(
    shop: World, oncall: Any, odd: Any, each: slice, *, declined: bool
) -> None:
    """A value of any type in an unfinished period's attributes does not hide the remaining waiting subscriptions. In
    `make test` each value stands in every third attribute, in turn; in `make proof` each stands in all."""
    on(shop, payment_method="pm_declined" if declined else "pm_ok")
    shop.ses.trouble = [Cut("in the middle of its sending")]
    shop.run()
    on(shop, subscription_id="sub_2", customer_id="cus_2")
    [item] = shop.items().values()
    keys = ("subscription_id", "renewal_date", "unfinished")
    names = [name for name in (*item, "notice", "refunds", "refunds_due", "parked") if name not in keys]
    for name in names[each]:
        shop.dynamodb.put("renewals", item | {name: odd})
        ended = oncall("waiting")
        assert "sub_2, period 2026-01-31\n" in ended.output, (name, ended.exception)


@pytest.mark.parametrize("clock", ["2026-01-31", "2099-01-31"])
def test_what_was_begun_is_named_whatever_the_day(shop: World, oncall: Any, clock: str) -> None:
    """An unfinished renewal is named also on a test clock ahead of the machine's clock."""
    shop.environment = "dev"
    shop.subscribe(test_clock=clock, renewal_date=clock)
    shop.gateway.trouble = [("create", "before")]
    shop.run()
    assert "1 begun and not finished" in oncall("waiting").output


def test_a_bad_test_clock_is_named(shop: World, oncall: Any) -> None:
    """A subscription with an invalid test clock is named: nobody would ever charge the subscription."""
    on(shop)
    shop.edit(test_clock="tomorrow")
    assert "sub_1: test_clock" in oncall("waiting").output


def test_a_refused_payment_of_a_deleted_subscription_is_named(shop: World, account: _Account, oncall: Any) -> None:
    """A declined payment of a deleted subscription is named after its dunning date, until the sweep cancels the
    payment."""
    account.parameters["Environment"] = "prod"
    shop.subscribe(payment_method="pm_3ds")
    shop.run()
    shop.delete_row()
    ended = oncall("waiting")
    assert ("1 due and not renewed\n    sub_1, period 2026-01-31" in ended.output, ended.exit_code) == (True, 1)


def test_a_dead_letter_is_not_over(account: _Account, oncall: Any) -> None:
    """A dead letter counts as a waiting renewal."""
    account.queues[DEAD] = ["{}"]
    ended = oncall("waiting")
    assert ("1 message in the dead-letter queue" in ended.output, ended.exit_code) == (True, 1)


def test_many_are_counted_and_the_first_ones_named(shop: World, oncall: Any) -> None:
    """Of many waiting subscriptions the number comes first, and only the first twenty are named."""
    for number in range(30):
        on(shop, subscription_id=f"sub_{number:02}")
    said = oncall("waiting").output
    assert said.startswith("30 due and not renewed\n    sub_")
    assert "    and 10 more\n" in said


# --- dead letters ----------------------------------------------------------------------------------------------------


def _letter(**fields: Any) -> str:
    return json.dumps({"subscription_id": "sub_1", "customer_id": "cus_1", "amount": "29.99"} | fields)


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (_letter(renewal_date="2026-01-31"), "a request to renew sub_1, period 2026-01-31"),
        (_letter(), "a request to renew sub_1, the due period"),
        (
            _letter(event_type="subscription.reminder", renewal_date="2026-01-31"),
            "a request to remind of sub_1, period 2026-01-31",
        ),
        (
            _letter(event_type="subscription.refunds", renewal_date="2026-01-31"),
            "a request to look at the refunds of sub_1, period 2026-01-31",
        ),
        (
            _letter(event_type="subscription.confirmation"),
            "a request to mail the confirmations owed for changes of sub_1",
        ),
        (
            '{"subscription_id": "sub_1", "customer',
            "not a request, no attempt can succeed: the message is not a JSON object",
        ),
        (_letter(subscription_id="sub_9"), "not a request, no attempt can succeed: the subscription does not exist"),
        (_letter(subscription_id="a/b"), "not a request, no attempt can succeed: the subscription does not exist"),
        (_letter(subscription_id=4), "not a request, no attempt can succeed: subscription_id is not a string"),
        ('{"subscription_id": "sub_1"}', "not a request, no attempt can succeed: customer_id is missing"),
    ],
)
def test_a_dead_letter_is_shown_whole_with_what_it_is(
    shop: World, account: _Account, oncall: Any, body: str, what: str
) -> None:
    """A dead letter is shown with sender and time, with the chance of a retry, and with the whole text in quotes."""
    on(shop)
    account.queues[DEAD] = [body]
    assert oncall("dead-letters").output.splitlines() == [
        f"{body[-6:]}  sent 2026-01-31 12:00 UTC by AROA1:zoe",
        f"    {what}",
        f"    {json.dumps(body)}",
    ]


def test_each_kind_of_request_has_words() -> None:
    """A dead letter of every kind of request is shown in words."""
    assert set(dead_letters._ASKS) == set(Asks)


def test_the_one_dead_letter_that_is_named_is_deleted(account: _Account, oncall: Any) -> None:
    """Only the named dead letter is deleted."""
    account.queues[DEAD] = ["first one", "second one"]
    assert oncall("delete-dead-letter", "nd one").output == "deleted: second one\n"
    assert account.let_go == ["first one"]
    assert account.queues[DEAD] == ["first one"]
    assert oncall("delete-dead-letter", "nd one").exit_code == 1


# --- logs ------------------------------------------------------------------------------------------------------------


def test_a_log_is_one_line_a_record(account: _Account, oncall: Any) -> None:
    """A log shows a line for every record of ours with the record's fields, leaves metrics out, and of the platform's
    lines shows only a function's timeout."""
    ours = {"level": "INFO", "message": "payment", "location": "app:1", "subscription_id": "sub_1", "outcome": "paid"}
    texts = ["START RequestId: 1", json.dumps({"_aws": {}}), json.dumps(ours), "1 Task timed out after 3.00 seconds\n"]
    account.logs["/aws/lambda/shop-process-payment-dev"] = [{"message": t, "timestamp": 1769860800000} for t in texts]
    assert oncall("log", "process-payment").output.splitlines() == [
        "2026-01-31 12:00:00 INFO payment: subscription_id=sub_1 outcome=paid",
        "2026-01-31 12:00:00 1 Task timed out after 3.00 seconds",
    ]
    assert oncall("log", "process-payment", "sub_2").output == ""
    assert "There is no log of nonsense" in oncall("log", "nonsense").output


# --- a sweep's report ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (0, "The sweep runs in 0 parts, in the background"),
        (1, "The sweep runs in 1 part, in the background"),
        (2, "The sweep runs in 2 parts, in the background"),
    ],
)
def test_a_sweep_tells_of_one_part_and_of_many(
    oncall: Any, monkeypatch: pytest.MonkeyPatch, parts: int, said: str
) -> None:
    """The number of parts read by further runs is told in the right singular or plural."""
    monkeypatch.setattr(Deployment, "run", lambda *_: {"backlog": 0, "sent": 0, "parts": parts})
    assert said in oncall("sweep").output


# --- impossible arguments --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("audit", "2026-02-01", "2026-01-31"),
        ("audit", "2026-02-30", "2026-03-01"),
        ("sweep", "--day", "2026-02-01", "--all"),
        ("restore-receipt", "cus_1/sub_1/pi_1.pdf"),
        ("restore-receipt", "receipts/cus_1/sub_1/pi_1.pdf"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_called(oncall: Any, words: tuple[str, ...]) -> None:
    """Impossible arguments are refused before a function is called: a failing function would raise an alarm."""
    ended = oncall(*words)
    assert ended.exit_code in (1, 2)
    assert "Error: " in ended.output
