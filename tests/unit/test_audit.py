"""The audit over tables, a bucket and a gateway in memory: every kind of difference is found, and agreement is never
reported as a difference."""

import base64
import json
import tracemalloc
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any, cast

import pytest

from renewal_audit import app, audit
from renewal_audit.audit import Audit
from renewal_audit.findings import Difference
from renewal_audit.ledger_items import passed_over
from renewal_audit.report import ReportPart, latest, whole
from renewals.domain import disputes
from renewals.domain.disputes import DisputeStatus
from renewals.domain.errors import BadEvent, Throttled
from renewals.domain.item_values import storable
from renewals.domain.payment import GatewayRefundState, Payment, PaymentState
from renewals.domain.request import RenewalRequest
from renewals.gateway.port import Charged
from renewals.ledger.dispute_steps import record_dispute
from renewals.runtime import clock
from tests.fakes import NOON, Cut, World
from tests.shares import share

NIGHT = datetime(2026, 2, 1, 4, 30, tzinfo=UTC)
PLENTY = 900.0
type Found = list[tuple[str, str, str]]


@dataclass
class Auditor:
    """Runs audits as Lambda does: a part handed on starts a new run.

    seconds: the answers, in order, when a run asks how many seconds are left; after the last answer a run has plenty.
    """

    world: World = field(default_factory=World)
    now: datetime = NIGHT
    seconds: list[float] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    unsettled: dict[tuple[str, str], str] = field(default_factory=dict)
    runs: int = 0

    def renew(self, name: str, now: datetime = NOON, **attributes: Any) -> str:
        """Create a subscription that is due on 31 January unless `attributes` say otherwise, renew the subscription to
        the end, and return its id."""
        subscription_id = f"sub_{name}"
        self.world.subscribe(subscription_id=subscription_id, **attributes)
        self.renew_again(subscription_id, now)
        return subscription_id

    def renew_again(self, subscription_id: str, now: datetime) -> None:
        outcome = self.world.charge("run", now).renew(RenewalRequest(subscription_id, "cus_1", Decimal("29.99")))
        renewal = outcome.renewal
        if outcome.name == "paid" and renewal is not None:
            self.world.receipt(renewal, now)
            key = renewal.subscription_id, renewal.customer_id, renewal.renewal_date.isoformat()
            self.world.delivery("run", now).deliver(*key, "receipted", renewal.attempt)

    def tell_of_refusal(self, subscription_id: str, renewal_date: str, now: datetime) -> None:
        attempt = int(self.item(subscription_id, renewal_date)["attempt"])
        self.world.delivery("run", now).deliver(subscription_id, "cus_1", renewal_date, "declined", attempt)

    def audit(self, part: ReportPart | None = None) -> dict[str, Any]:
        """Run a whole audit with all parts handed on, and return its report."""
        first = part or latest(self.now.date())
        self.events.append(asdict(first))
        report: dict[str, Any] | None = None
        while self.events:
            report = self.run(ReportPart(**self.events.pop(0)))
        assert report is not None
        assert report == json.loads(self.world.s3.objects[f"audits/{first.first}_{first.last}/report.json"]["Body"])
        return report

    def run(self, part: ReportPart) -> Any:
        self.runs += 1
        one = Audit(
            client=cast("Any", self.world.dynamodb),
            subscriptions="subscriptions",
            renewals="renewals",
            gateway=self.world.gateway,
            deployment=self.world.deployment,
            s3=cast("Any", self.world.s3),
            bucket="receipts",
            hand_on=self._hand_on,
            settle=self.unsettled.update,
            seconds_left=lambda: self.seconds.pop(0) if self.seconds else PLENTY,
            now=self.now,
            moment_of=lambda row: clock.moment(self.now, "test", UTC, row.get("test_clock")),
        )
        report: Any = one.run(part)
        return report

    def _hand_on(self, part: ReportPart) -> None:
        with self.world.cuts.around("lambda.Invoke"):
            self.events.append(json.loads(json.dumps(asdict(part))))

    def item(self, subscription_id: str, renewal_date: str = "2026-01-31") -> dict[str, Any]:
        return self.world.dynamodb.items("renewals")[subscription_id, renewal_date]

    def change(self, subscription_id: str, **attributes: Any) -> None:
        """Change the ledger's item by hand, as nobody should; None removes an attribute."""
        item = self.item(subscription_id) | attributes
        self.world.dynamodb.put("renewals", {name: value for name, value in item.items() if value is not None})

    def change_at(self, subscription_id: str, renewal_date: str, **attributes: Any) -> None:
        """Change the ledger's item of the period of `renewal_date`, as `change` does with the item of 31 January."""
        item = self.item(subscription_id, renewal_date) | attributes
        self.world.dynamodb.put("renewals", {name: value for name, value in item.items() if value is not None})

    def charge(self, subscription_id: str, payment_id: str, at: datetime = NOON, amount: int = 2999) -> None:
        """Have the gateway take money that the ledger knows nothing of."""
        metadata = {"subscription_id": subscription_id, "renewal_date": "2026-01-31"}
        self.world.gateway.charged.append(Charged(payment_id, True, amount, "USD", at, metadata))
        self.world.gateway.payments[payment_id] = Payment(payment_id, PaymentState.PAID, amount, "USD", paid_at=at)


@pytest.fixture
def auditor() -> Auditor:
    return Auditor()


def named(report: dict[str, Any]) -> Found:
    listed = [(each["kind"], each["subscription_id"], each["renewal_date"]) for each in report["listed"]]
    assert Counter(kind for kind, _, _ in listed) == Counter(report["differences"])
    return listed


# --- each kind ---------------------------------------------------------------------------------------------------


def _overdue(auditor: Auditor) -> None:
    auditor.world.subscribe(subscription_id="sub_planted", renewal_date="2026-01-30")


def _claimed_and_left(auditor: Auditor) -> None:
    auditor.renew("planted", payment_method="pm_declined")
    auditor.world.dynamodb.put(
        "subscriptions", auditor.world.dynamodb.items("subscriptions")["sub_planted", "cus_1"] | {"status": "active"}
    )
    auditor.change("sub_planted", status="claimed", touched_at=storable(NOON - timedelta(days=2)))


def _dunning_forgotten(auditor: Auditor) -> None:
    auditor.renew("planted", payment_method="pm_declined")
    auditor.change("sub_planted", next_attempt="2026-01-31")


def _put_back(auditor: Auditor) -> None:
    auditor.renew("planted")
    auditor.world.subscribe(subscription_id="sub_planted")


def _passed_over_without_a_trace(auditor: Auditor) -> None:
    auditor.renew("planted", renewal_date="2025-11-30", anchor_day=31)
    auditor.world.dynamodb.delete("renewals", ("sub_planted", "2025-12-31"))


def _doubled(auditor: Auditor) -> None:
    auditor.renew("planted")
    auditor.charge("sub_planted", "pi_second", NOON + timedelta(minutes=5))


def _doubled_the_ledger_took_the_second(auditor: Auditor) -> None:
    auditor.renew("planted")
    auditor.charge("sub_planted", "pi_second")
    auditor.change("sub_planted", payment_id="pi_second")


def _beside(auditor: Auditor, start: str, end: str, charged_at: datetime, **attributes: Any) -> None:
    """Copy the planted period's item to different days, as after a restore of the ledger or the failure of a guard."""
    item = auditor.item("sub_planted") | {"renewal_date": start, "row_date": start, "period_end": end}
    moment = {
        "charged_on": charged_at.date().isoformat(),
        "charged_at": storable(charged_at),
        "payment_id": "pi_beside",
    }
    auditor.world.dynamodb.put("renewals", item | moment | attributes)
    payment = Payment("pi_beside", PaymentState.PAID, 2999, "USD", paid_at=charged_at)
    auditor.world.gateway.payments["pi_beside"] = payment


def _reached_into(auditor: Auditor) -> None:
    auditor.renew("planted")
    _beside(auditor, "2026-01-20", "2026-02-20", NOON - timedelta(days=11))


def _due_for_days_that_are_paid(auditor: Auditor) -> None:
    """The renewal date is moved back by hand: the next period would reach into a paid period, so the row cannot be
    charged."""
    auditor.renew("planted")
    row = auditor.world.dynamodb.items("subscriptions")["sub_planted", "cus_1"]
    auditor.world.dynamodb.put("subscriptions", row | {"renewal_date": "2026-01-29"})


def _reaches_into_what_was_paid_weeks_before(auditor: Auditor) -> None:
    """The renewal date is moved back by hand to a day before a period that was paid ahead. Twenty unpaid periods lie
    behind the paid period."""
    auditor.renew("planted", renewal_date="2026-01-29", anchor_day=Decimal(29))
    item = auditor.item("sub_planted", "2026-01-29")
    auditor.world.dynamodb.put("renewals", item | {"renewal_date": "2026-01-31"})
    _beside(auditor, "2026-01-30", "2026-02-28", NOON - timedelta(days=9))
    for n in range(1, 21):
        auditor.world.dynamodb.put("renewals", item | {"renewal_date": f"2026-02-{n:02}", "status": "skipped"})
        auditor.change_at("sub_planted", f"2026-02-{n:02}", paid_at=None, charged_on=None)
    auditor.world.dynamodb.items("renewals").pop(("sub_planted", "2026-01-31"))


def _another_amount_in_the_ledger(auditor: Auditor) -> None:
    auditor.renew("planted")
    auditor.change("sub_planted", amount=Decimal("19.99"))


def _another_currency(auditor: Auditor) -> None:
    auditor.renew("planted")
    auditor.change("sub_planted", currency="EUR")


def _another_amount_than_claimed(auditor: Auditor) -> None:
    auditor.renew("planted")
    auditor.change("sub_planted", flag="amount_differs")


def _charge_of_nothing(auditor: Auditor) -> None:
    auditor.charge("sub_planted", "pi_stray")


def _charge_of_a_deleted_item(auditor: Auditor) -> None:
    auditor.renew("planted")
    auditor.world.dynamodb.delete("renewals", ("sub_planted", "2026-01-31"))


def _charge_of_what_was_given_up(auditor: Auditor) -> None:
    auditor.renew("planted", payment_method="pm_declined")
    auditor.world.subscribe(subscription_id="sub_planted", status="canceled")
    auditor.change("sub_planted", status="given_up", next_attempt=None)
    auditor.world.gateway.succeed(auditor.item("sub_planted")["payment_id"])


def _paid_by_nobody(auditor: Auditor) -> None:
    auditor.renew("planted", payment_method="pm_declined")
    auditor.world.dynamodb.put(
        "subscriptions",
        auditor.world.dynamodb.items("subscriptions")["sub_planted", "cus_1"] | {"renewal_date": "2026-02-28"},
    )
    paid = {"status": "done", "paid_at": storable(NOON), "charged_on": "2026-01-31", "charged_at": storable(NOON)}
    auditor.change("sub_planted", **paid)


def _copied(auditor: Auditor) -> None:
    auditor.renew("original")
    auditor.world.dynamodb.put("renewals", auditor.item("sub_original") | {"subscription_id": "sub_planted"})


def _receipt_gone(auditor: Auditor) -> None:
    auditor.renew("planted")
    del auditor.world.s3.objects[auditor.item("sub_planted")["receipt_key"]]


def _receipt_replaced(auditor: Auditor) -> None:
    auditor.renew("planted")
    checksum = base64.b64encode(sha256(b"another").digest()).decode()
    auditor.world.s3.objects[auditor.item("sub_planted")["receipt_key"]] |= {"ChecksumSHA256": checksum}


def _receipt_stored_by_somebody(auditor: Auditor) -> None:
    auditor.renew("planted")
    del auditor.world.s3.objects[auditor.item("sub_planted")["receipt_key"]]["ChecksumSHA256"]


def _hash_changed(auditor: Auditor) -> None:
    auditor.renew("planted")
    auditor.change("sub_planted", receipt_sha256="0" * 64)


def _never_receipted(auditor: Auditor) -> None:
    auditor.renew("planted")
    auditor.change("sub_planted", status="paid", receipt_key=None, mails={})


def _mail_not_recorded(auditor: Auditor) -> None:
    auditor.renew("planted")
    auditor.change("sub_planted", mails={})


def _mail_still_sending(auditor: Auditor) -> None:
    auditor.renew("planted")
    auditor.change("sub_planted", status="receipted", mails={"receipt_1": {"state": "sending"}})


def _refusal_not_told(auditor: Auditor) -> None:
    auditor.renew("planted", payment_method="pm_declined")
    auditor.change("sub_planted", touched_at=storable(NIGHT - timedelta(days=1)))


def _refund(auditor: Auditor, **attributes: Any) -> dict[str, Any]:
    """Plant a refund of a charged period in the ledger."""
    auditor.renew("planted")
    claim = {"amount": Decimal("5.00"), "at": storable(NOON), "by": "ann", "request": "hash", **attributes}
    auditor.item("sub_planted")["refunds"]["refund_1"] = claim
    return claim


def _refunded_elsewhere(auditor: Auditor) -> None:
    auditor.renew("planted")
    auditor.world.gateway.refund_elsewhere(auditor.item("sub_planted")["payment_id"], 500)


def _refunded_elsewhere_weeks_after(auditor: Auditor) -> None:
    auditor.renew("planted", now=NOON - timedelta(days=28), renewal_date="2026-01-03")
    auditor.world.gateway.now = NOON - timedelta(days=20)
    auditor.world.gateway.refund_elsewhere(auditor.item("sub_planted", "2026-01-03")["payment_id"], 500)


def _refunded_though_the_ledger_says_failed(auditor: Auditor) -> None:
    _refund(auditor, state="failed", reason="api_error")
    auditor.world.gateway.refund_elsewhere(auditor.item("sub_planted")["payment_id"], 500)


def _refund_that_failed(auditor: Auditor) -> None:
    claim = _refund(auditor, state="refunded")
    claim["refund_id"] = auditor.world.gateway.refund_elsewhere(auditor.item("sub_planted")["payment_id"], 500)
    auditor.world.gateway.refund_becomes(claim["refund_id"], GatewayRefundState.FAILED)


def _refund_of_nobody(auditor: Auditor) -> None:
    _refund(auditor, state="refunded", refund_id="re_of_nobody")


def _refund_of_the_version_before(auditor: Auditor) -> None:
    _refund(auditor, state="claimed")
    auditor.change("sub_planted", touched_at=storable(NIGHT - timedelta(days=1)))


def _dispute_that_nobody_heard_of(auditor: Auditor) -> None:
    auditor.renew("planted")
    auditor.world.gateway.contest(auditor.item("sub_planted")["payment_id"])


def _dispute_of_a_payment_of_months_ago(auditor: Auditor) -> None:
    auditor.renew("planted", now=NOON - timedelta(days=100), renewal_date="2025-10-23", interval="year")
    auditor.world.gateway.now = NOON - timedelta(days=90)
    auditor.world.gateway.contest(auditor.item("sub_planted", "2025-10-23")["payment_id"])


def _record_dispute(auditor: Auditor, name: str) -> None:
    period = auditor.world.ledger.get("sub_planted", "2026-01-31")
    assert period is not None
    record = disputes.with_new_step(period, auditor.world.gateway.disputes[name], auditor.now)
    assert record is not None
    auditor.world.ledger.apply(record_dispute(period, name, record))


def _dispute_that_was_lost_unheard(auditor: Auditor) -> None:
    _dispute_that_nobody_heard_of(auditor)
    _record_dispute(auditor, "dp_1")
    auditor.world.gateway.dispute_becomes("dp_1", DisputeStatus.LOST)


def _dispute_whose_money_was_taken_unheard(auditor: Auditor) -> None:
    _dispute_that_nobody_heard_of(auditor)
    _record_dispute(auditor, "dp_1")
    auditor.world.gateway.withdraw("dp_1")


def _dispute_of_a_second_payment(auditor: Auditor) -> None:
    _dispute_that_nobody_heard_of(auditor)
    found = auditor.world.gateway.disputes["dp_1"]
    auditor.world.gateway.disputes["dp_1"] = replace(found, payment_id="pi_9")


def _dispute_of_an_item_written_by_hand(auditor: Auditor) -> None:
    _dispute_that_nobody_heard_of(auditor)
    auditor.change("sub_planted", disputes={"dp_1": "contested"})


PLANTED: dict[Callable[[Auditor], None], list[tuple[str, str]]] = {
    _overdue: [("missed", "2026-01-30")],
    _claimed_and_left: [("missed", "2026-01-31")],
    _dunning_forgotten: [("missed", "2026-01-31")],
    _put_back: [("missed", "2026-01-31")],
    _passed_over_without_a_trace: [("missed", "2025-12-31")],
    _doubled: [("doubled", "2026-01-31")],
    _doubled_the_ledger_took_the_second: [("doubled", "2026-01-31")],
    _reached_into: [("overlapping", "2026-01-31")],
    _due_for_days_that_are_paid: [("overlapping", "2026-01-29")],
    _reaches_into_what_was_paid_weeks_before: [("overlapping", "2026-01-29")],
    _another_amount_in_the_ledger: [("wrong_amount", "2026-01-31")],
    _another_currency: [("wrong_amount", "2026-01-31")],
    _another_amount_than_claimed: [("wrong_amount", "2026-01-31")],
    _charge_of_nothing: [("charge_without_ledger", "2026-01-31")],
    _charge_of_a_deleted_item: [("charge_without_ledger", "2026-01-31")],
    _charge_of_what_was_given_up: [("charge_without_ledger", "2026-01-31")],
    _paid_by_nobody: [("ledger_without_charge", "2026-01-31")],
    _copied: [("ledger_without_charge", "2026-01-31")],
    _refunded_elsewhere: [("refund_unknown", "2026-01-31")],
    _refunded_elsewhere_weeks_after: [("refund_unknown", "2026-01-03")],
    _refunded_though_the_ledger_says_failed: [("refund_unknown", "2026-01-31")],
    _refund_that_failed: [("refund_failed", "2026-01-31")],
    _refund_of_nobody: [("refund_failed", "2026-01-31")],
    _refund_of_the_version_before: [("refund_unanswered", "2026-01-31")],
    _dispute_that_nobody_heard_of: [("dispute_unknown", "2026-01-31")],
    _dispute_of_a_payment_of_months_ago: [("dispute_unknown", "2025-10-23")],
    _dispute_that_was_lost_unheard: [("dispute_unknown", "2026-01-31")],
    _dispute_whose_money_was_taken_unheard: [("dispute_unknown", "2026-01-31")],
    _dispute_of_a_second_payment: [("dispute_unknown", "2026-01-31")],
    _dispute_of_an_item_written_by_hand: [("dispute_unknown", "2026-01-31")],
    _receipt_gone: [("receipt_missing", "2026-01-31")],
    _receipt_replaced: [("receipt_altered", "2026-01-31")],
    _receipt_stored_by_somebody: [("receipt_altered", "2026-01-31")],
    _hash_changed: [("receipt_altered", "2026-01-31")],
    _never_receipted: [("receipt_missing", "2026-01-31"), ("mail_missing", "2026-01-31")],
    _mail_not_recorded: [("mail_missing", "2026-01-31")],
    _mail_still_sending: [("mail_missing", "2026-01-31")],
    _refusal_not_told: [("mail_missing", "2026-01-31")],
}


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__.strip("_"))
def test_a_planted_difference_is_found_and_nothing_else(auditor: Auditor, plant: Callable[[Auditor], None]) -> None:
    """Among healthy renewals a planted difference is named once, with the difference's kind, subscription and billing
    period."""
    for n in range(3):
        auditor.renew(f"healthy_{n}")
    plant(auditor)
    assert named(auditor.audit()) == [(kind, "sub_planted", period) for kind, period in PLANTED[plant]]


@pytest.mark.parametrize("plant", [p for p in PLANTED if PLANTED[p][0][0].startswith("refund")])
def test_what_differs_in_refunds_is_looked_at(auditor: Auditor, plant: Callable[[Auditor], None]) -> None:
    """For a difference in refunds the audit asks the workflow to look at the refunds of that period and of no healthy
    period, and leaves the ledger unchanged."""
    auditor.renew("healthy")
    plant(auditor)
    before = deepcopy(auditor.world.dynamodb.items("renewals"))
    auditor.audit()
    [(_, period)] = PLANTED[plant]
    assert auditor.unsettled == {("sub_planted", period): "cus_1"}
    assert auditor.world.dynamodb.items("renewals") == before


def test_refunds_that_agree_are_no_difference(auditor: Auditor) -> None:
    """A refund held by ledger and gateway alike as refunded, pending or failed is no difference. Neither is a refund of
    a payment unknown to the ledger."""
    gateway = auditor.world.gateway
    for state in GatewayRefundState:
        subscription_id = auditor.renew(state.value)
        gateway.refunds_begin = state
        refund_id = gateway.refund_elsewhere(auditor.item(subscription_id)["payment_id"], 500)
        stands = {
            GatewayRefundState.PENDING: "claimed",
            GatewayRefundState.SUCCEEDED: "refunded",
            GatewayRefundState.FAILED: "failed",
        }
        claim = {"amount": Decimal("5.00"), "at": storable(NOON), "by": "ann", "request": "hash"}
        refund = claim | {"state": stands[state], "refund_id": refund_id}
        auditor.item(subscription_id)["refunds"]["refund_1"] = refund
    gateway.payments["pi_other"] = Payment("pi_other", PaymentState.PAID, 2999, "USD")
    gateway.refunds_begin = GatewayRefundState.SUCCEEDED
    gateway.refund_elsewhere("pi_other", 500)
    report = auditor.audit()
    assert (named(report), report["counts"]["refunded"], auditor.unsettled) == ([], 2, {})


def test_refunds_are_read_by_parts_too(auditor: Auditor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that ends after every few refunds hands on the rest, and every refund is compared exactly once."""
    monkeypatch.setattr(audit, "_TOGETHER", 2)
    for n in range(7):
        subscription_id = auditor.renew(str(n))
        auditor.world.gateway.now = NOON + timedelta(minutes=n)
        auditor.world.gateway.refund_elsewhere(auditor.item(subscription_id)["payment_id"], 500)
    auditor.seconds = [0.0] * 20
    report = auditor.audit()
    assert (report["differences"]["refund_unknown"], len(auditor.unsettled)) == (7, 7)
    assert auditor.runs > 4


@pytest.mark.parametrize("days", [2, 20])
def test_what_was_billed_of_a_period_while_it_was_refunded_is_named_once_its_refund_failed(
    auditor: Auditor, days: int
) -> None:
    """A year is refunded whole and billed by the day instead. Once the refund fails, the year is paid as well, and
    every paid day of the year is named once, although newer paid days lie between the latest periods and the year.
    Once the year is refunded anew, no day is named."""
    world = auditor.world
    auditor.renew("planted", interval="year")
    year = auditor.item("sub_planted")
    refund_id = world.gateway.refund_elsewhere(year["payment_id"], 2999)
    claim = {"amount": Decimal("29.99"), "at": storable(NOON), "by": "ann", "request": "hash", "state": "refunded"}
    year["refunds"]["refund_1"] = claim | {"refund_id": refund_id}
    row = world.dynamodb.items("subscriptions")["sub_planted", "cus_1"]
    world.dynamodb.put("subscriptions", row | {"interval": "day", "renewal_date": "2026-02-01"})
    due = [NOON + timedelta(days=n) for n in range(1, days + 1)]
    for moment in due:
        world.gateway.now = moment
        auditor.renew_again("sub_planted", moment)
    auditor.now = NIGHT + timedelta(days=days)
    assert named(auditor.audit()) == []

    world.gateway.refund_becomes(refund_id, GatewayRefundState.FAILED)
    year["refunds"]["refund_1"]["state"] = "failed"
    expected = sorted(("overlapping", "sub_planted", str(moment.date())) for moment in due)
    assert sorted(named(auditor.audit())) == expected
    auditor.seconds = [0.0] * 50  # time for one step in a run: charges and refunds fall into different parts
    assert sorted(named(auditor.audit())) == expected
    assert auditor.seconds != [0.0] * 50
    auditor.seconds = []
    year["refunds"]["refund_2"] = claim | {
        "refund_id": world.gateway.refund_elsewhere(year["payment_id"], 2999), "at": storable(auditor.now)
    }  # fmt: skip
    assert named(auditor.audit()) == []


def test_every_kind_is_planted() -> None:
    """Every kind of difference has a test that finds it."""
    assert {kind for found in PLANTED.values() for kind, _ in found} == set(Difference)


def test_a_payment_that_is_not_the_ledgers_is_named_on_both_sides(auditor: Auditor) -> None:
    """The ledger holds the id of a payment that the gateway never charged: the audit names a charge without a ledger
    item and a paid period without a charge, but no doubled payment, since the period was paid once."""
    name = auditor.renew("1")
    auditor.change(name, payment_id="pi_nobodys")
    period = (name, "2026-01-31")
    assert named(auditor.audit()) == [("charge_without_ledger", *period), ("ledger_without_charge", *period)]


def test_an_item_that_is_none_of_ours_is_named_and_stops_nothing(auditor: Auditor) -> None:
    """An item written by hand with hardly an attribute is audited like the rest: everything missing from a charged or
    due item is named as a difference, and healthy renewals are still counted."""
    name = auditor.renew("healthy")
    auditor.charge("sub_bare", "pi_bare")
    bare = {"renewal_date": "2026-01-31", "payment_id": "pi_bare", "paid_at": "x", "amount": Decimal("29.99")}
    auditor.world.dynamodb.put("renewals", {"subscription_id": "sub_bare", "currency": "USD"} | bare)
    auditor.charge("sub_barer", "pi_barer", NOON - timedelta(hours=1))
    told = {"paid_at": "x", "charged_on": "2026-01-31", "charged_at": storable(NOON)}
    auditor.world.dynamodb.put("renewals", {"subscription_id": "sub_barer", "renewal_date": "2026-01-31"} | told)
    auditor.world.subscribe(subscription_id="sub_due")
    auditor.world.dynamodb.put("renewals", {"subscription_id": "sub_due", "renewal_date": "2026-01-31"})
    report = auditor.audit()
    assert named(report) == [
        ("receipt_missing", "sub_bare", "2026-01-31"),
        ("mail_missing", "sub_bare", "2026-01-31"),
        ("charge_without_ledger", "sub_barer", "2026-01-31"),
        ("ledger_without_charge", "sub_barer", "2026-01-31"),
        ("missed", "sub_due", "2026-01-31"),
    ]
    assert (report["counts"]["mailed"], name) == (1, "sub_healthy")


ODD: list[Any] = [
    *("", "x", "9999-12-31", b"x", True, None, Decimal(0), Decimal("1E+40"), [], ["x"], {}, {"x"}),
    *({"x": None}, {"refund_1": "x"}, {"refund_1": {"state": "claimed"}}, {"receipt_1": "x"}),
]
"""What somebody may have written into an attribute by hand, of every type that DynamoDB has."""


@pytest.mark.parametrize("together", share([True, False], of=2), ids=["all-periods", "each-period"])
@pytest.mark.parametrize(
    "name",
    [
        *("status", "row_date", "period_end", "anchor_day", "refunds", "mails", "notice", "touched_at", "payment_id"),
        *("billed_instead", "customer_id", "receipt_key", "amount", "currency", "paid_at", "next_attempt", "flag"),
    ],
)
def test_no_attribute_of_the_ledger_ends_the_audit(auditor: Auditor, name: str, *, together: bool) -> None:
    """With any value in any attribute of a paid, a refunded or a declined period the audit runs to its end, and still
    names the missed renewal of a healthy row."""
    auditor.renew("late", renewal_date="2025-11-30", anchor_day=31)
    auditor.renew("declined", payment_method="pm_declined")
    auditor.renew("refunded")
    item = auditor.item("sub_refunded")
    refund_id = auditor.world.gateway.refund_elsewhere(item["payment_id"], 100)
    claim = {"amount": Decimal(1), "at": storable(NOON), "by": "ann", "request": "hash", "state": "refunded"}
    item["refunds"] = {"refund_1": claim | {"refund_id": refund_id}}
    auditor.world.subscribe(subscription_id="sub_planted")
    auditor.now += timedelta(days=1)
    kept = deepcopy(auditor.world.dynamodb.items("renewals"))
    for items in [list(kept.values())] if together else [[item] for item in kept.values()]:
        for odd in ODD:
            for item in items:
                auditor.world.dynamodb.put("renewals", item | {name: odd})
            assert ("missed", "sub_planted", "2026-01-31") in named(auditor.audit()), (items, odd)
        for item in items:
            auditor.world.dynamodb.put("renewals", {each: item[each] for each in item if each != name})
        assert ("missed", "sub_planted", "2026-01-31") in named(auditor.audit()), items
        for item in items:
            auditor.world.dynamodb.put("renewals", item)


def test_a_moment_of_the_charge_that_is_none_does_not_end_the_audit(auditor: Auditor) -> None:
    """A `charged_at` that is no moment does not end the audit: the charge is still compared with the ledger's item
    under the charge's key."""
    name = auditor.renew("1")
    for odd in ("x", "2026-01-31", "2026-01-31T12:00:00"):
        auditor.change(name, charged_at=odd)
        assert (named(report := auditor.audit()), report["counts"]["charged"]) == ([], 1)


def test_a_month_that_ends_where_it_begins_does_not_keep_the_audit_for_ever() -> None:
    """An anchored period written by hand within a single month has no schedule: no date is passed over, and the audit
    does not loop for ever."""
    assert passed_over({"row_date": "2026-01-02", "renewal_date": "2026-01-20", "period_end": "2026-01-30",
                        "anchor_day": Decimal(1)}) == []  # fmt: skip


# --- what is no difference ---------------------------------------------------------------------------------------


def test_a_healthy_world_has_no_difference(auditor: Auditor) -> None:
    """Renewals that are paid, late, declined, waiting for the bank, failed, undeliverable, of an unknown mail, at rest
    or of a bad row are counted where they belong, and none is named as a difference."""
    auditor.renew("paid")
    auditor.renew("late", renewal_date="2025-11-30", anchor_day=31)
    auditor.renew("weekly", renewal_date="2026-01-12", interval="week", catch_up="latest")
    auditor.renew("declined", payment_method="pm_declined")
    auditor.renew("late_and_declined", payment_method="pm_declined", renewal_date="2025-11-30", anchor_day=31)
    auditor.renew("confirming", payment_method="pm_3ds")
    auditor.change("sub_confirming", next_attempt="2026-02-03")
    auditor.renew("given_up", NOON - timedelta(days=11), payment_method="pm_declined", renewal_date="2026-01-20")
    for day in (21, 23, 25, 27, 28):
        auditor.renew_again("sub_given_up", datetime(2026, 1, day, 12, tzinfo=UTC))
        if day == 25:
            auditor.tell_of_refusal("sub_given_up", "2026-01-20", datetime(2026, 1, day, 12, tzinfo=UTC))
    assert auditor.item("sub_given_up", "2026-01-20")["status"] == "given_up"
    auditor.renew("refused", gateway_customer="cus_gone")
    auditor.renew("undeliverable", customer_email="nobody")
    auditor.renew("deleted")
    auditor.renew("unknown")
    auditor.change("sub_unknown", status="mail_unknown", mails={"receipt_1": {"state": "unknown"}})
    auditor.world.dynamodb.delete("subscriptions", ("sub_deleted", "cus_1"))
    others: dict[str, dict[str, Any]] = {
        "today": {"renewal_date": "2026-02-01"},
        "paused": {"status": "paused"},
        "canceled": {"status": "canceled"},
        "ending": {"cancel_at": "2026-01-31"},
        "bad": {"amount": None},
        "tested": {"renewal_date": "2026-01-20", "test_clock": "2026-01-20"},
    }
    for name, attributes in others.items():
        auditor.world.subscribe(subscription_id=f"sub_{name}", **attributes)
    report = auditor.audit()
    assert named(report) == []
    counts = {name: number for name, number in report["counts"].items() if number}
    assert counts == {
        "due": 6 + 4 + 3 + 1,  # charged, passed over for one of these, in dunning, failed
        "charged": 6,
        "skipped": 4,
        "receipted": 6,
        "mailed": 4,
        "declined": 2,
        "dunning": 3,
        "failed": 1,
        "mail_failed": 1,
        "mail_unknown": 1,
        "bad_rows": 1,
    }


@pytest.mark.parametrize(("minutes", "stands"), [(59, "under_way"), (61, "difference")])
@pytest.mark.parametrize("call", ["gateway.confirm", "s3.PutObject", "ses.SendRawEmail"])
def test_what_was_just_charged_has_an_hour_to_be_finished(
    auditor: Auditor, call: str, minutes: int, stands: str
) -> None:
    """A renewal cut off after the charge, the receipt or the mail counts as under way for the hour that the sweep may
    need, and is a difference after that hour."""
    try_out = Auditor()
    try_out.renew("1")
    world = auditor.world
    world.cuts.at = 2 * try_out.world.cuts.calls.index(call) + 1
    with pytest.raises(Cut):
        auditor.renew("1")
    auditor.now = NOON + timedelta(minutes=minutes)
    report = auditor.audit(whole("2026-01-31", "2026-01-31"))
    assert (report["counts"]["under_way"], bool(named(report))) == (stands == "under_way", stands == "difference")


def test_paid_at_the_bank_is_under_way_until_its_dunning_date_has_gone_by(auditor: Auditor) -> None:
    """A payment that the customer confirms hours later is found paid on the next dunning date. Until that date the
    period is no difference; once the date has gone by, the period is missed."""
    name = auditor.renew("1", payment_method="pm_3ds")
    auditor.change(name, next_attempt="2026-02-03")
    auditor.world.gateway.succeed(auditor.item(name)["payment_id"])
    report = auditor.audit()
    assert (named(report), report["counts"]["under_way"]) == ([], 1)
    auditor.now = NIGHT + timedelta(days=3)
    assert named(auditor.audit()) == [("missed", name, "2026-01-31")]


def test_payments_of_others_are_not_ours_to_audit(auditor: Auditor) -> None:
    """Payments of the account without our metadata, or with the metadata of a foreign system, are passed over, even a
    whole page of such payments."""
    auditor.renew("1")
    stray = Charged("pi_x", True, 500, "EUR", NOON, {})
    auditor.world.gateway.charged += [replace(stray, payment_id=f"pi_x{n}") for n in range(1000)]
    auditor.world.gateway.charged.append(replace(stray, metadata={"subscription_id": "another's"}))
    report = auditor.audit()
    assert (named(report), report["counts"]["charged"]) == ([], 1)


def test_charges_and_refunds_of_another_deployment_are_not_ours_to_audit(auditor: Auditor) -> None:
    """Two deployments have equal subscription ids on one account of the gateway. The audit of one deployment passes
    over the charges and refunds of the other, and audits the charges of earlier versions, which name no deployment."""
    name = auditor.renew("1")
    gateway = auditor.world.gateway
    theirs = {"subscription_id": name, "renewal_date": "2026-01-31", "deployment": "copy-test"}
    gateway.charged.append(Charged("pi_theirs", True, 2999, "USD", NOON, theirs))
    paid = auditor.item(name)["payment_id"]
    refunded = gateway.refund_elsewhere(paid, 100)
    gateway.refunds[refunded] = replace(gateway.refunds[refunded], payment_metadata=theirs)
    report = auditor.audit()
    assert (named(report), report["counts"]["charged"]) == ([], 1)
    auditor.charge(name, "pi_earlier")
    assert named(auditor.audit()) == [("doubled", name, "2026-01-31")]


def test_a_test_clock_moves_what_is_due_and_nothing_else(auditor: Auditor) -> None:
    """The gateway charges in real time whatever day a subscription's test clock shows; whether a subscription is
    overdue goes by the test clock."""
    auditor.world.environment = "dev"
    name = auditor.renew("1", renewal_date="2031-05-05", test_clock="2031-05-05")
    assert auditor.item(name, "2031-05-05")["paid_at"][:10] == "2031-05-05"
    auditor.world.subscribe(subscription_id="sub_future", renewal_date="2031-05-05", test_clock="2031-05-07")
    report = auditor.audit()
    overdue = ("missed", "sub_future", "2031-05-05")
    assert (named(report), report["counts"]["receipted"]) == ([overdue], 1)
    auditor.world.gateway.charged.clear()
    auditor.world.gateway.payments.clear()
    assert named(auditor.audit()) == [("ledger_without_charge", name, "2031-05-05"), overdue]


# --- windows -----------------------------------------------------------------------------------------------------


def test_each_charge_is_in_one_window(auditor: Auditor) -> None:
    """Charges in the last second of a day, in the first second of the next day, and a week after the due date: the
    audit of a day has only that day's charges, and all days together have every charge once."""
    midnight = datetime(2026, 2, 1, tzinfo=UTC)
    for n, at in enumerate([midnight - timedelta(seconds=1), midnight, midnight + timedelta(days=6, hours=3)]):
        auditor.renew(str(n), at)
    auditor.now = midnight + timedelta(days=20)
    days = [f"2026-02-{n:02}" for n in range(1, 9)]
    counted = {day: auditor.audit(whole(day, day))["counts"]["charged"] for day in ["2026-01-31", *days]}
    assert {day: number for day, number in counted.items() if number} == {
        "2026-01-31": 1,
        "2026-02-01": 1,
        "2026-02-07": 1,
    }


def test_the_nightly_audit_is_of_the_last_three_complete_days() -> None:
    """The nightly audit leaves out today, which is not over, and takes the three days before; days are days of UTC, as
    the gateway's clock is."""
    before = "2026-03-01T00:00:00+00:00"
    assert latest(date(2026, 3, 1)) == ReportPart(
        "2026-02-26", "2026-02-28", before, refunds_before=before, disputes_before=before
    )


def test_a_year_with_one_charge_is_read_in_few_calls(auditor: Auditor) -> None:
    """An empty day costs one query, so that whole years can be audited by hand."""
    auditor.renew("1")
    auditor.world.cuts.calls.clear()
    auditor.now = NOON + timedelta(days=300)
    report = auditor.audit(whole("2025-06-01", "2026-05-31"))
    assert report["counts"]["charged"] == 1
    calls = Counter(auditor.world.cuts.calls)
    assert calls["dynamodb.Query"] == 365 + 1  # and one query for the periods beside the charge
    assert calls.total() < 380


# --- ended and gone on -------------------------------------------------------------------------------------------


def _busy(count: int = 23) -> Auditor:
    """An auditor over many renewals, two in a second, some of the renewals with differences."""
    auditor = Auditor()
    for n in range(count):
        auditor.renew(f"{n:02}", NOON - timedelta(minutes=50 * (n // 2)), renewal_date="2026-01-20")
    for n in range(0, count, 5):
        item = auditor.item(f"sub_{n:02}", "2026-01-20")
        auditor.world.dynamodb.put("renewals", item | {"mails": {}})
        auditor.world.subscribe(subscription_id=f"sub_overdue_{n:02}", renewal_date="2026-01-25")
    return auditor


def test_out_of_time_a_run_hands_on_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """With no time left after every step, the report equals the report of a single run: no charge and no row is counted
    twice or left out."""
    expected = _busy().audit()
    assert expected["differences"]["mail_missing"] == expected["differences"]["missed"] == 5
    monkeypatch.setattr(audit, "_TOGETHER", 6)
    monkeypatch.setattr(audit, "_PAGE", 4)
    auditor = _busy()
    auditor.seconds = [audit.ENOUGH_SECONDS - 1.0] * 200
    report = auditor.audit()
    assert auditor.runs > 12
    assert len(report["parts"]) == auditor.runs
    assert report | {"parts": []} == expected | {"parts": []}


@pytest.mark.parametrize("each", share([5, 1], of=2))
def test_a_run_that_is_killed_anywhere_changes_nothing(each: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that ends at any call and is started again by Lambda, even where its part now ends sooner, comes to the
    report of an undisturbed audit."""
    expected = _busy().audit()
    monkeypatch.setattr(audit, "_TOGETHER", 12)
    cuts = moment = calls = 0
    auditor = _busy()
    world = auditor.world
    while moment <= 2 * calls:
        for key in [key for key in world.s3.objects if key.startswith("audits/")]:
            del world.s3.objects[key]
        world.cuts.calls.clear()
        world.cuts.at = moment
        events: list[dict[str, Any]] = [asdict(latest(NIGHT.date()))]
        auditor.seconds = [PLENTY, 1.0] * 20
        report = None
        while events:
            try:
                report = auditor.run(ReportPart(**events[0]))
                events.pop(0)
                assert report is None or report | {"parts": []} == expected | {"parts": []}
            except Cut:
                cuts += 1
                auditor.seconds = [1.0] * 50  # the part now ends sooner than before
            events += auditor.events  # a part that was handed on runs on beside the run that is started again
            auditor.events.clear()
        stored = json.loads(world.s3.objects["audits/2026-01-29_2026-01-31/report.json"]["Body"])
        assert stored | {"parts": []} == expected | {"parts": []}
        calls = len(world.cuts.calls)
        moment += each
    assert cuts > 30 / each


def test_a_part_that_is_full_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many differences exist, no run holds more of them than fit; the report counts all differences and lists
    the first."""
    monkeypatch.setattr(audit, "FULL", 2)
    monkeypatch.setattr(audit, "_TOGETHER", 2)
    monkeypatch.setattr("renewal_audit.report.LISTED", 7)
    auditor = _busy()
    auditor.events.append(asdict(latest(NIGHT.date())))
    report = None
    while auditor.events:
        report = auditor.run(ReportPart(**auditor.events.pop(0)))
    assert report is not None
    assert (sum(report["differences"].values()), len(report["listed"])) == (10, 7)
    parts = [json.loads(auditor.world.s3.objects[key]["Body"]) for key in report["parts"]]
    assert sum(len(part["differences"]) for part in parts) == 10
    assert len(parts) > 2


@pytest.mark.usefixtures("without_waits")
def test_what_dynamodb_leaves_out_is_asked_for_again(auditor: Auditor) -> None:
    """DynamoDB answers a throttled batch in part: the audit asks for the rest again, and fails if DynamoDB never
    answers the rest."""
    for n in range(5):
        auditor.renew(str(n))
    auditor.world.dynamodb.unanswered = [3, 1]
    assert named(auditor.audit()) == []
    auditor.world.dynamodb.unanswered = [1] * 99
    with pytest.raises(Throttled, match="renewals"):
        auditor.audit()


# --- the event ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "event",
    [
        {"from": "2026-02-01", "to": "2026-01-31"},
        {"from": "2026-2-1", "to": "2026-02-02"},
        {"from": 1, "to": 2},
        {"from": "2026-02-01"},
        {"to": "2026-02-01"},
    ],
)
def test_days_that_are_none_are_refused(event: dict[str, Any]) -> None:
    """An event without two real dates in their order is refused, so that no days are audited by mistake."""
    with pytest.raises(BadEvent):
        app._part(event, date(2026, 2, 1))


# --- growth ------------------------------------------------------------------------------------------------------


def audited_day(renewals: int) -> Auditor:
    """An auditor over `renewals` renewals of one day, all of them in order."""
    auditor = Auditor()
    auditor.renew("0")
    world, item = auditor.world, auditor.item("sub_0")
    row, [charge] = world.dynamodb.items("subscriptions")["sub_0", "cus_1"], world.gateway.charged
    [stored] = world.s3.objects.values()
    world.gateway.charged.clear()
    for n in range(renewals):
        name, at = f"sub_{n}", NOON + timedelta(seconds=n // 10)
        own = {"subscription_id": name, "payment_id": f"pi_{n}", "receipt_key": name, "charged_at": storable(at)}
        world.dynamodb.put("renewals", item | own)
        world.dynamodb.put("subscriptions", row | {"subscription_id": name})
        metadata = {"subscription_id": name, "renewal_date": "2026-01-31"}
        world.gateway.charged.append(replace(charge, payment_id=f"pi_{n}", at=at, metadata=metadata))
        world.s3.objects[name] = stored
    world.gateway.charged.reverse()
    world.gateway.charged_between = lambda since, until: iter(world.gateway.charged)  # type: ignore[method-assign]
    world.dynamodb._in_index("renewals", "charged-on-index")
    return auditor


def measured(renewals: int) -> tuple[int, int, int]:
    """Audit `renewals` renewals of one day.

    Returns: the receipts looked at, the calls beside those to S3, and the peak of memory in bytes.
    """
    auditor = audited_day(renewals)
    world = auditor.world
    world.cuts.calls.clear()
    tracemalloc.start()
    report = auditor.audit()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert named(report) == []
    return report["counts"]["receipted"], len(world.cuts.calls), peak


@pytest.mark.parametrize(("least", "most"), share([(100, 300), (300, 1_500)], of=2))
def test_memory_stays_flat_and_calls_are_few(least: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many more renewals need hardly more memory. Beside the calls to S3, a renewal takes one call, for the periods not
    to be overlapped, and 25 renewals together take at most three more."""
    monkeypatch.setattr(audit, "_PAGE", 50)
    monkeypatch.setattr(audit, "_TOGETHER", 50)  # so that the fewer renewals, too, are compared in several steps
    (few, _, little), (many, calls, much) = measured(least), measured(most)
    assert (few, many) == (least, most)
    assert calls / many < 1 + 3 / 25
    assert much < 1.2 * little


# --- disputes -------------------------------------------------------------------------------------------------------


def test_a_dispute_that_the_ledger_has_is_no_difference(auditor: Auditor) -> None:
    """A recorded dispute is counted, and named again only after a further step at the gateway. A warning of fraud, and
    the dispute of a payment of another deployment or system, are no difference."""
    _dispute_that_nobody_heard_of(auditor)
    _record_dispute(auditor, "dp_1")
    gateway = auditor.world.gateway
    gateway.warn_of_fraud("pi_1")
    gateway.contest("pi_1")
    foreign = dict(gateway.disputes["dp_3"].payment_metadata) | {"deployment": "copy-prod"}
    gateway.disputes["dp_3"] = replace(gateway.disputes["dp_3"], payment_metadata=foreign)
    gateway.contest("pi_1")
    gateway.disputes["dp_4"] = replace(gateway.disputes["dp_4"], payment_metadata={})
    report = auditor.audit()
    assert (report["counts"]["disputed"], sum(report["differences"].values())) == (1, 0)


def test_a_dispute_of_a_second_payment_says_so(auditor: Auditor) -> None:
    """The disputed payment is not the ledger's payment of the period: the difference says that the ledger has no such
    payment."""
    _dispute_of_a_second_payment(auditor)
    (told,) = auditor.audit()["listed"]
    assert told["detail"] == "dp_1 is needs_response: the ledger has no such payment"


def test_a_key_that_may_not_read_disputes_stops_no_audit(auditor: Auditor, caplog: pytest.LogCaptureFixture) -> None:
    """A restricted key of an earlier version has no permission to read disputes: the audit names the lack, and compares
    everything else."""
    _refunded_elsewhere(auditor)
    auditor.world.gateway.forbidden.add("disputed_between")
    report = auditor.audit()
    assert {kind: n for kind, n in report["differences"].items() if n} == {"refund_unknown": 1, "dispute_unknown": 1}
    assert {"kind": "dispute_unknown", "detail": "the gateway's key may not read disputes"} in report["listed"]
    assert "gateway permission" in caplog.messages


@pytest.mark.parametrize("objects", ["refunds", "disputes"])
def test_a_list_that_the_gateway_refuses_stops_no_audit(
    auditor: Auditor, caplog: pytest.LogCaptureFixture, objects: str
) -> None:
    """The gateway answers the list of refunds, or of disputes, with 400: the audit names the refusal, and compares
    everything else."""
    _refunded_elsewhere(auditor)
    auditor.world.gateway.contest("pi_1")
    auditor.world.gateway.refused.add("refunded_between" if objects == "refunds" else "disputed_between")
    report = auditor.audit()
    assert {kind: n for kind, n in report["differences"].items() if n} == {"refund_unknown": 1, "dispute_unknown": 1}
    said = {"detail": f"the gateway refuses to list {objects}: parameter_invalid"}
    assert {"kind": f"{objects[:-1]}_unknown"} | said in report["listed"]
    assert "a list was refused" in caplog.messages


def test_a_key_that_may_not_read_refunds_stops_no_audit(auditor: Auditor, caplog: pytest.LogCaptureFixture) -> None:
    """A key without the permission to read refunds: the audit names the lack, calls no refund in the ledger unknown to
    the gateway, and compares the disputes and everything else."""
    _refund(auditor, state="refunded")["refund_id"] = "re_1"
    auditor.world.gateway.contest("pi_1")
    auditor.world.gateway.forbidden |= {"refunded_between", "refunds_of"}
    report = auditor.audit()
    assert {kind: n for kind, n in report["differences"].items() if n} == {"refund_unknown": 1, "dispute_unknown": 1}
    assert {"kind": "refund_unknown", "detail": "the gateway's key may not read refunds"} in report["listed"]
    assert "gateway permission" in caplog.messages


def test_a_thousand_disputes_are_compared_in_parts(auditor: Auditor) -> None:
    """Disputes are compared in parts as time allows, and none is named twice or left out."""
    auditor.renew("planted")
    for second in range(900):
        auditor.world.gateway.now = NOON + timedelta(seconds=second)
        auditor.world.gateway.contest("pi_1")
    auditor.seconds = [PLENTY, PLENTY, 1.0, 1.0, 1.0]
    report = auditor.audit()
    assert (report["differences"]["dispute_unknown"], report["counts"]["disputed"]) == (900, 900)
    assert auditor.runs > 1
