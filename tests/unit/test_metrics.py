"""Metrics for alarms and dashboard count every event as often as the event happens, without personal data."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import urllib3
from botocore.exceptions import ConnectTimeoutError

import local.gateway
from renewal_sweep import app as sweep_app
from renewal_sweep.sweep import Swept
from renewals.domain.errors import RenewalError
from renewals.domain.payment import Failure
from renewals.gateway.stripe_gateway import StripeGateway
from renewals.ledger.payment_steps import MOST_PICK_UPS
from renewals.runtime import aws, telemetry
from tests.fakes import LATER, NOON, World
from tests.sandbox import serving
from tests.unit.test_sweep import Sweeper

HOUR = timedelta(hours=1)


@dataclass
class Metrics:
    """The metrics written by a call.

    told: from metric and dimensions (except the service) to values, in order.
    """

    told: dict[str, list[float]] = field(default_factory=dict)
    dimensions: set[tuple[str, ...]] = field(default_factory=set)
    text: str = ""

    def totals(self) -> dict[str, float]:
        return {name: sum(values) for name, values in self.told.items()}


@pytest.fixture
def measured(capsys: pytest.CaptureFixture[str]) -> Callable[[Callable[[], object]], Metrics]:
    """A function that calls its argument as Lambda calls a handler, and returns the metrics written in the embedded
    metric format."""

    def call(what: Callable[[], object]) -> Metrics:
        telemetry.observed(lambda _event, _context: {})({}, None)  # drops the metrics left by earlier tests
        capsys.readouterr()
        telemetry.observed(lambda _event, _context: {"done": what()})({}, None)
        metrics = Metrics(text=capsys.readouterr().out)
        for line in metrics.text.splitlines():
            document = json.loads(line) if '"_aws"' in line else {"_aws": {"CloudWatchMetrics": []}}
            for directive in document["_aws"]["CloudWatchMetrics"]:
                assert (directive["Namespace"], document["service"]) == ("test", "test")
                [names] = directive["Dimensions"]
                metrics.dimensions.add(tuple(names))
                for metric in directive["Metrics"]:
                    others = [document[name] for name in names if name != "service"]
                    metrics.told.setdefault(" ".join([metric["Name"], *others]), []).extend(document[metric["Name"]])
        return metrics

    return call


type Measured = Callable[[Callable[[], object]], Metrics]


def test_a_charge(shop: World, measured: Measured) -> None:
    """A charge counts an attempt, a charge, and its amount under its currency. A later run for the period counts
    nothing."""
    shop.subscribe(amount=Decimal("29.99"))
    metrics = measured(shop.run)
    assert metrics.totals() == {"FirstAttempts": 1, "RenewalsCharged": 1, "AmountCharged USD": 29.99}
    assert metrics.dimensions == {("service",), ("currency", "service")}
    assert measured(lambda: shop.run("again", NOON + LATER)).told == {}


def test_currencies_are_added_up_apart(measured: Measured) -> None:
    """Amounts of different currencies are never added up."""

    def charge() -> None:
        for currency, amount in (("EUR", "10"), ("EUR", "5.50"), ("JPY", "980")):
            world = World()
            world.subscribe(currency=currency, amount=Decimal(amount))
            world.renew(amount=amount)

    totals = measured(charge).totals()
    assert (totals["AmountCharged EUR"], totals["AmountCharged JPY"]) == (15.5, 980)


@pytest.mark.parametrize(
    ("card", "code", "counted"),
    [
        ("pm_declined", "insufficient_funds", "RenewalsDeclinedSoft"),
        ("pm_declined", "stolen_card", "RenewalsDeclinedHard"),
        ("pm_3ds", None, "RenewalsActionRequired"),
    ],
)
def test_a_refusal_by_its_kind(shop: World, measured: Measured, card: str, code: str | None, counted: str) -> None:
    """A declined payment counts as soft, as hard, or as waiting for the customer. A run before the next attempt counts
    nothing."""
    shop.gateway.declines["pm_declined"] = Failure("", "card_declined", code, None)
    shop.subscribe(payment_method=card)
    assert measured(shop.run).totals() == {"FirstAttempts": 1, "FirstAttemptsRefused": 1, counted: 1}
    assert measured(lambda: shop.run("again", NOON + LATER)).told == {}


def test_dunning_is_no_first_attempt(shop: World, measured: Measured) -> None:
    """Attempts of dunning or with a new card are counted by their kind, but not as first attempts, so that they do not
    enter the share watched by the alarm."""
    shop.subscribe(payment_method="pm_declined")
    shop.run()
    declined = measured(lambda: shop.run("next", NOON + timedelta(days=1)))
    assert declined.totals() == {"RenewalsDeclinedSoft": 1}
    shop.edit(payment_method="pm_ok")
    paid = measured(lambda: shop.run("card", NOON + timedelta(days=1) + LATER))
    assert paid.totals() == {"RenewalsCharged": 1, "AmountCharged USD": 29.99}


def test_the_last_attempt_is_counted_too(shop: World, measured: Measured) -> None:
    """The decline with which dunning ends is counted as a decline."""
    shop.subscribe(payment_method="pm_declined")
    days = (0, 1, 3, 5, 7)
    metrics = measured(lambda: [shop.run(f"day-{day}", NOON + timedelta(days=day)) for day in days])
    assert shop.row()["status"] == "canceled"
    assert metrics.totals()["RenewalsDeclinedSoft"] == len(days)


def test_no_customer_is_in_a_metric(shop: World, measured: Measured) -> None:
    """Metrics name neither the customer nor the subscription."""
    shop.subscribe(customer_name="Ann Lee", customer_email="ann@customer.example")
    text = measured(shop.run).text
    assert text
    assert [told for told in ("Ann", "ann@", "sub_1", "cus_1", "pm_ok") if told in text] == []


@pytest.mark.parametrize(("mode", "unavailable"), [(None, 0), ("500", 1), ("429", 1), ("drop_before", 1)])
def test_the_gateways_answers(measured: Measured, mode: str | None, unavailable: int) -> None:
    """Every call of the gateway tells its duration in milliseconds, however the call ended; calls without a clear
    answer are counted."""
    with serving() as sandbox:
        gateway = StripeGateway(sandbox.api_key, sandbox.url)
        gateway.card("pm_none")
        if mode:
            sandbox.sandbox.hostile(mode)

        def ask() -> None:
            try:
                gateway.card("pm_none")
            except RenewalError:
                assert mode

        metrics = measured(ask)
    [milliseconds] = metrics.told["GatewayLatency"]
    assert 0 < milliseconds < 4000
    assert metrics.totals().get("GatewayUnavailable", 0) == unavailable


def test_a_gateway_that_cannot_be_reached(measured: Measured) -> None:
    """A failed connection counts as a call without an answer."""
    with local.gateway.serving() as sandbox:  # which has ended when the block ends
        gone = StripeGateway(sandbox.api_key, sandbox.url)
    with pytest.raises(urllib3.exceptions.HTTPError):
        urllib3.request("GET", sandbox.url, retries=False, timeout=1)

    def ask() -> None:
        with pytest.raises(RenewalError):
            gone.card("pm_none")

    assert measured(ask).totals()["GatewayUnavailable"] == 1


# --- the sweep --------------------------------------------------------------------------------------------------


@pytest.fixture
def sweeper() -> Sweeper:
    return Sweeper()


def _oldest(sweeper: Sweeper, now: Any) -> float:
    """Run a whole sweep, and return the age of the oldest unfinished renewal met by any of the sweep's runs."""
    met: list[float | None] = []
    sweeper.events.append({"sweep": "due"})
    while sweeper.events:
        met.append(sweeper.run(sweeper.events.pop(0), now).oldest)
    return max(seconds for seconds in met if seconds is not None)


def _claimed(sweeper: Sweeper) -> None:
    """Plant a renewal claimed at noon and cut off."""
    world = sweeper.world
    world.subscribe()
    world.gateway.trouble = [("create", "before")] * 100
    assert world.run() == "PaymentFailed"


def test_nothing_is_unfinished(sweeper: Sweeper) -> None:
    """A sweep that finds nothing unfinished says so, with an age of 0. A renewal done, declined and told, or not begun
    is not unfinished."""
    assert _oldest(sweeper, NOON) == 0
    sweeper.world.subscribe(payment_method="pm_declined")
    sweeper.world.run()
    sweeper.add(2)
    assert _oldest(sweeper, NOON + 12 * HOUR) == 0


def test_the_oldest_unfinished_renewal(sweeper: Sweeper) -> None:
    """The age of an unfinished renewal counts from the claim, however often the renewal was taken up since, and even
    while a run is at work."""
    _claimed(sweeper)
    assert _oldest(sweeper, NOON + timedelta(seconds=10)) == 10
    for hours in range(1, MOST_PICK_UPS // 2):
        assert sweeper.world.run(f"hour-{hours}", NOON + hours * HOUR) == "PaymentFailed"
        assert _oldest(sweeper, NOON + hours * HOUR) == 3600 * hours
    sweeper.world.gateway.trouble = []
    sweeper.world.run("mended", NOON + 6 * HOUR)
    assert _oldest(sweeper, NOON + 6 * HOUR) == 0


def test_a_further_attempt_begins_anew(sweeper: Sweeper) -> None:
    """The age of a further attempt counts from that attempt: the day of waiting for the dunning date does not count."""
    world = sweeper.world
    world.subscribe(payment_method="pm_declined")
    world.run()
    world.edit(payment_method="pm_other")
    tomorrow = NOON + 24 * HOUR
    world.gateway.trouble = [("confirm", "before")] * 9
    assert world.run("tomorrow", tomorrow) == "PaymentFailed"
    assert [item["status"] for item in world.items().values()] == ["claimed"]
    assert _oldest(sweeper, tomorrow + HOUR) == 3600


def test_a_refusal_that_was_not_told_is_unfinished(sweeper: Sweeper) -> None:
    """A decline not yet told to the customer is unfinished since the decline."""
    world = sweeper.world
    world.subscribe(payment_method="pm_declined")
    try_out = World()
    try_out.subscribe(payment_method="pm_declined")
    try_out.run()
    world.cuts.at = 2 * try_out.cuts.calls.index("ses.SendRawEmail")
    world.run()
    assert "notice" in next(iter(world.items().values()))
    assert _oldest(sweeper, NOON + 2 * HOUR) == 7200


def test_an_end_that_was_not_told_is_unfinished_since_the_end(sweeper: Sweeper) -> None:
    """An end not yet told to the customer is unfinished since the end, not since the attempt days before."""
    world, last = sweeper.world, NOON + timedelta(days=7)
    world.gateway.declines["pm_declined"] = Failure("", "card_declined", "stolen_card", None)  # tried only once
    world.subscribe(payment_method="pm_declined")
    for days in (0, 1, 3, 5):
        world.run(f"day-{days}", NOON + timedelta(days=days))
    world.ses.trouble = [ConnectTimeoutError(endpoint_url="ses")]
    assert world.run("last", last) == "EmailFailed"
    assert [item["status"] for item in world.items().values()] == ["given_up"]
    assert _oldest(sweeper, last + HOUR) == 3600


def test_what_was_parked_begins_anew_when_it_is_taken_up(sweeper: Sweeper) -> None:
    """A mail that waits for a corrected address is not unfinished; once the mail is taken up again its age starts
    anew."""
    world, next_day = sweeper.world, NOON + timedelta(days=1)
    world.subscribe(customer_email="nobody")
    assert world.run() == "EmailFailed"
    assert _oldest(sweeper, NOON + 2 * HOUR) == 0
    world.edit(customer_email="ann@customer.example")
    world.ses.trouble = [ConnectTimeoutError(endpoint_url="ses")]
    assert world.run("next day", next_day) == "EmailFailed"
    assert [item["status"] for item in world.items().values()] == ["receipted"]
    assert _oldest(sweeper, next_day + HOUR) == 3600


def test_an_item_of_an_earlier_version_counts_from_its_last_touch(sweeper: Sweeper) -> None:
    """The age of an earlier version's item counts from its last change, since the item has no other moment."""
    _claimed(sweeper)
    [item] = sweeper.world.items().values()
    del item["begun_at"]
    assert _oldest(sweeper, NOON + 2 * HOUR) == 7200


def test_what_is_unfinished_is_measured_by_a_sweep_that_is_put_off_too(sweeper: Sweeper) -> None:
    """A sweep that is put off sends nothing, but still measures the oldest unfinished renewal: somebody has to know
    when nothing moves."""
    _claimed(sweeper)
    sweeper.concurrency, sweeper.sqs.bodies = 0, ["{}"]
    sweeper.add(2)
    assert _oldest(sweeper, NOON + 2 * HOUR) == 7200
    assert sweeper.sent() == [{}]


def test_the_sweeps_own_metrics(shop: World, measured: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planning run counts the sweep, once, and tells whether charging is on. The runs that find due, sent and bad
    rows count these rows."""
    for name, value in {
        "DYNAMODB_TABLE": "s", "RENEWALS_TABLE": "r", "CHANGES_TABLE": "changes", "RENEWAL_QUEUE_URL": "q",
        "REMINDER_DAYS": "7", "REMINDED_PERIOD_DAYS": "32", "RENEWAL_CONCURRENCY": "20", "ENVIRONMENT": "prod",
        "TIME_ZONE": "UTC",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(aws, "dynamodb", lambda: shop.dynamodb)

    def told(event: dict[str, Any], swept: Swept) -> dict[str, float]:
        monkeypatch.setattr(sweep_app, "_swept", lambda _sweep, _event: swept)
        return measured(lambda: sweep_app.handler(event, None)).totals()

    assert told({"sweep": "due"}, Swept(oldest=0.0)) == {
        "Sweeps": 1,
        "SweepPostponed": 0,
        "ChargingIsOff": 0,
        "OldestUnfinished": 0,
    }
    shop.turn_charging_off()
    assert told({"sweep": "due"}, Swept(backlog=3)) == {"Sweeps": 1, "SweepPostponed": 1, "ChargingIsOff": 1}
    assert told({"sweep": "due", "from": {}}, Swept(parts=1)) == {}
    assert told({"sweep": "all"}, Swept(parts=1)) == {"SweepPostponed": 0, "ChargingIsOff": 1}
    assert told({"part": {}}, Swept(rows=9, due=4, sent=5, bad=2)) == {
        "RenewalsDue": 4,
        "RenewalsEnqueued": 5,
        "BadRows": 2,
    }
