"""Whether a customer may use a subscription, for each state that a subscription can be in."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from process_payment.claims import due_claim
from renewals.domain.disputes import DisputeStatus, is_chargeback
from renewals.domain.entitlement import Entitlement, EntitlementReason, entitlement
from renewals.domain.renewal import _DECIDED, _FOR_THE_CUSTOMER, _UNDECIDED, Renewal, Status
from renewals.domain.renewal_history import History
from renewals.domain.stored import DisputeRecord, RefundRecord, RefusalRecord
from renewals.domain.subscription import parse
from renewals.domain.transitions import Action, NotAllowed
from renewals.ledger.asked_by import AskedBy
from tests.fakes import NOON, SELLER, World

JANUARY, FEBRUARY, MARCH = date(2026, 1, 31), date(2026, 2, 28), date(2026, 3, 31)
GRACE = timedelta(days=7)
DAY = timedelta(days=1)
REFUSAL: RefusalRecord = {"at": NOON.isoformat(), "payment_method": "pm_declined"}


@pytest.fixture
def period(shop: World) -> Renewal:
    """A paid period from 31 January until before 28 February."""
    shop.subscribe()
    none = History()
    claim = due_claim(parse(shop.row()), None, none, none, execution="run-1", seller=SELLER, moment=shop.moment(NOON))
    return replace(claim.renewal, status=Status.DONE, payment_id="pi_1", paid_at=NOON)


def row(shop: World, **attributes: Any) -> dict[str, Any]:
    """The row of the subscription, with other attributes."""
    return {name: value for name, value in (shop.row() | attributes).items() if value is not None}


def refunded(period: Renewal, amount: str) -> Renewal:
    refund: RefundRecord = {
        "amount": Decimal(amount), "state": "refunded", "at": NOON.isoformat(), "by": "ann", "request": "request-1",
    }  # fmt: skip
    return replace(period, refunds={"refund_1": refund})


def disputed(period: Renewal, status: str, withdrawn: str, reinstated: str = "0") -> Renewal:
    dispute: DisputeRecord = {
        "amount": period.amount, "currency": "USD", "reason": "fraudulent", "at": NOON.isoformat(),
        "steps": [
            {"at": NOON.isoformat(), "status": "needs_response"},
            {"at": NOON.isoformat(), "status": status, "withdrawn": Decimal(withdrawn),
             "reinstated": Decimal(reinstated)},
        ],
    }  # fmt: skip
    return replace(period, disputes={"dp_1": dispute})


def declined(period: Renewal, status: Status = Status.DECLINED) -> Renewal:
    """The period after the paid one, refused on its first day."""
    start, end = period.period_end, period.period_end + timedelta(days=31)
    late = replace(period, status=status, paid_at=None, first_tried_on=start)
    return replace(late, renewal_date=start, row_date=start, period_end=end)


def _periods(period: Renewal) -> dict[str, Renewal]:
    """The paid period and the period after the paid one, in each of their states, by the names of the tables below."""
    late = declined(period)
    return {
        "paid": period,
        "claimed": declined(period, Status.CLAIMED),
        "failed": declined(period, Status.FAILED),
        "declined": late,
        "tried late": replace(late, first_tried_on=date(2026, 3, 5)),
        "failed late": replace(
            late, status=Status.FAILED, first_tried_on=date(2026, 3, 5), refusals={"attempt_1": REFUSAL}
        ),
        "tried again": replace(late, status=Status.CLAIMED, refusals={"attempt_1": REFUSAL}),
        "action_required": declined(period, Status.ACTION_REQUIRED),
        "refunded whole": refunded(period, "29.99"),
        "refunded in part": refunded(period, "29.98"),
        "disputed": disputed(period, "under_review", "29.99"),
        "appealed": disputed(period, "appeal_under_review", "29.99"),
        "lost": disputed(period, "lost", "29.99"),
        "prevented": disputed(period, "prevented", "29.99"),
        "lost in part": disputed(period, "lost", "29.99", "0.01"),
        "lost, the rest refunded": disputed(refunded(period, "10.00"), "lost", "19.99"),
        "won": disputed(period, "won", "29.99", "29.99"),
        "won, nothing returned": disputed(period, "won", "29.99"),
        "status of the future": disputed(period, "unknown", "29.99"),
        "inquiry": disputed(period, "warning_needs_response", "0"),
        "suspected": disputed(period, "fraud_warning", "0"),
    }


RENEWED = {"renewal_date": "2026-02-28"}
ENDS = {"cancel_at": "2026-02-14"}


@pytest.mark.parametrize(
    ("today", "attributes", "history", "expected"),
    [
        ("2026-02-27", RENEWED, ["paid"], (True, "paid", "2026-02-28", "2026-03-07")),
        ("2026-02-10", RENEWED | ENDS, ["paid"], (True, "paid", "2026-02-14", None)),
        ("2026-02-14", RENEWED | ENDS, ["paid"], (False, "ended", "2026-02-14", None)),
        ("2026-02-10", RENEWED | {"cancel_at": "2026-02-28"}, ["paid"], (True, "paid", "2026-02-28", None)),
        ("2026-02-10", RENEWED | {"status": "paused"}, ["paid"], (True, "paid", "2026-02-28", None)),
        ("2026-02-28", RENEWED | {"status": "paused"}, ["paid"], (False, "paused", None, None)),
        ("2026-02-10", RENEWED | {"status": "canceled"}, ["paid"], (False, "ended", None, None)),
        ("2026-03-10", RENEWED | {"status": "canceled", "ended_on": "2026-02-28"}, ["paid"],
         (False, "ended", "2026-02-28", None)),
        ("2026-02-10", RENEWED | {"status": "unpaid"}, [], (False, "unpaid", None, None)),
        ("2026-02-10", RENEWED | {"status": "unpaid"}, ["paid"], (True, "paid", "2026-02-28", None)),
        ("2026-02-28", RENEWED | {"status": "unpaid"}, ["paid"], (False, "unpaid", None, None)),
        ("2026-02-10", RENEWED | {"status": "unpaid"}, ["refunded whole"], (False, "unpaid", None, None)),
        ("2026-02-10", RENEWED | {"status": "unpaid"}, ["lost"], (False, "unpaid", None, None)),
        ("2026-01-30", {}, [], (True, "not_billed_yet", "2026-01-31", "2026-02-07")),
        ("2026-01-30", {"cancel_at": "2026-01-31"}, [], (True, "not_billed_yet", "2026-01-31", None)),
        ("2026-01-30", {"renewal_date": "9999-12-31"}, [], (True, "not_billed_yet", "9999-12-31", "9999-12-31")),
        ("2026-01-31", {}, [], (True, "due", None, None)),
        ("2026-12-31", {}, [], (True, "due", None, None)),
        ("2026-02-28", RENEWED, ["paid"], (True, "due", None, None)),
        ("2026-06-01", RENEWED | {"amount": "no number"}, ["paid"], (True, "due", None, None)),
        ("2026-06-01", {"renewal_date": "no date"}, [], (True, "due", None, None)),
        ("2026-06-01", {"status": "odd"}, [], (True, "due", None, None)),
        ("2026-03-01", RENEWED, ["claimed", "paid"], (True, "due", None, None)),
        ("2026-06-01", RENEWED, ["failed", "paid"], (True, "due", None, None)),
        ("2026-03-06", RENEWED, ["declined", "paid"], (True, "past_due", "2026-02-28", "2026-03-07")),
        ("2026-03-07", RENEWED, ["declined", "paid"], (False, "past_due", "2026-02-28", "2026-03-07")),
        ("2026-03-08", RENEWED, ["tried late", "paid"], (True, "past_due", "2026-02-28", "2026-03-12")),
        ("2026-03-07", RENEWED, ["tried again", "paid"], (False, "past_due", "2026-02-28", "2026-03-07")),
        ("2026-03-01", RENEWED | {"cancel_at": "2026-03-03"}, ["declined", "paid"],
         (True, "past_due", "2026-02-28", "2026-03-03")),
        ("2026-03-06", RENEWED, ["action_required", "paid"], (True, "action_required", "2026-02-28", "2026-03-07")),
        ("2026-03-07", RENEWED, ["action_required", "paid"], (False, "action_required", "2026-02-28", "2026-03-07")),
        ("2026-02-07", {"status": "past_due"}, [], (False, "past_due", "2026-01-31", "2026-02-07")),
        ("2026-02-06", {"status": "past_due"}, [], (True, "past_due", "2026-01-31", "2026-02-07")),
        ("2026-03-11", RENEWED | {"status": "past_due"}, ["failed late", "paid"],
         (True, "past_due", "2026-02-28", "2026-03-12")),
        ("2026-03-12", RENEWED | {"status": "past_due"}, ["failed late", "paid"],
         (False, "past_due", "2026-02-28", "2026-03-12")),
        ("2026-02-10", RENEWED, ["refunded whole"], (False, "refunded", None, None)),
        ("2026-02-10", RENEWED, ["refunded in part"], (True, "paid", "2026-02-28", "2026-03-07")),
        ("2026-02-10", RENEWED, ["disputed"], (True, "disputed", "2026-02-28", "2026-03-07")),
        ("2026-02-10", RENEWED | {"cancel_at": "2026-02-28"}, ["disputed"], (True, "disputed", "2026-02-28", None)),
        ("2026-02-28", RENEWED | {"cancel_at": "2026-02-28"}, ["disputed"], (False, "ended", "2026-02-28", None)),
        ("2026-02-10", RENEWED | {"status": "canceled"}, ["disputed"], (False, "ended", None, None)),
        ("2026-02-10", RENEWED, ["appealed"], (True, "disputed", "2026-02-28", "2026-03-07")),
        ("2026-02-10", RENEWED, ["lost"], (False, "disputed", None, None)),
        ("2026-02-28", RENEWED, ["lost"], (True, "due", None, None)),
        ("2026-02-10", RENEWED | {"status": "paused"}, ["lost"], (False, "paused", None, None)),
        ("2026-02-10", RENEWED, ["prevented"], (False, "disputed", None, None)),
        ("2026-02-10", RENEWED, ["lost in part"], (True, "paid", "2026-02-28", "2026-03-07")),
        ("2026-02-10", RENEWED, ["lost, the rest refunded"], (False, "disputed", None, None)),
        ("2026-02-10", RENEWED, ["won"], (True, "paid", "2026-02-28", "2026-03-07")),
        ("2026-02-10", RENEWED, ["won, nothing returned"], (True, "paid", "2026-02-28", "2026-03-07")),
        ("2026-02-10", RENEWED, ["status of the future"], (True, "paid", "2026-02-28", "2026-03-07")),
        ("2026-02-10", RENEWED, ["inquiry"], (True, "paid", "2026-02-28", "2026-03-07")),
        ("2026-02-10", RENEWED, ["suspected"], (True, "paid", "2026-02-28", "2026-03-07")),
    ],
)  # fmt: skip
def test_each_state_of_a_subscription_has_its_answer(
    shop: World,
    period: Renewal,
    today: str,
    attributes: dict[str, Any],
    history: list[str],
    expected: tuple[bool, str, str | None, str | None],
) -> None:
    """The table of docs/connect.md, with the days before and after each limit."""
    found = entitlement(
        row(shop, **attributes), History(_periods(period)[each] for each in history), date.fromisoformat(today), GRACE
    )
    told = tuple(None if day is None else day.isoformat() for day in (found.until, found.grace_until))
    assert (found.entitled, found.reason, *told) == expected


PAST_DUE = RENEWED | {"status": "past_due"}
END_OF_GRACE = {"cancel_at": "2026-03-03"}
LATE = date(2026, 3, 5)
"""The day of a first attempt that the sweep made five days late."""

STATES: dict[str, tuple[dict[str, Any], list[str], Callable[[date, timedelta], bool]]] = {
    "paid, then due": (RENEWED, ["paid"], lambda _day, _grace: True),
    "not billed yet, then due": ({"renewal_date": "2026-03-10"}, [], lambda _day, _grace: True),
    "claimed": (RENEWED, ["claimed", "paid"], lambda _day, _grace: True),
    "failed": (RENEWED, ["failed", "paid"], lambda _day, _grace: True),
    "declined": (PAST_DUE, ["declined", "paid"], lambda day, grace: day < FEBRUARY + grace),
    "declined late": (PAST_DUE, ["tried late", "paid"], lambda day, grace: day < LATE + grace),
    "tried again": (PAST_DUE, ["tried again", "paid"], lambda day, grace: day < FEBRUARY + grace),
    "failed after a refusal": (PAST_DUE, ["failed late", "paid"], lambda day, grace: day < LATE + grace),
    "past due by hand": (PAST_DUE, ["paid"], lambda day, grace: day < FEBRUARY + grace),
    "asked to confirm": (PAST_DUE, ["action_required", "paid"], lambda day, grace: day < FEBRUARY + grace),
    "declined, ends": (PAST_DUE | END_OF_GRACE, ["declined", "paid"],
                       lambda day, grace: day < min(FEBRUARY + grace, date(2026, 3, 3))),
    "paid, ends": (RENEWED | ENDS, ["paid"], lambda day, _grace: day < date(2026, 2, 14)),
    "paid, paused": (RENEWED | {"status": "paused"}, ["paid"], lambda day, _grace: day < FEBRUARY),
    "paid, unpaid": (RENEWED | {"status": "unpaid"}, ["paid"], lambda day, _grace: day < FEBRUARY),
    "paid, canceled": (RENEWED | {"status": "canceled"}, ["paid"], lambda _day, _grace: False),
    "refunded": (RENEWED, ["refunded whole"], lambda day, _grace: day >= FEBRUARY),
    "refunded, then declined": (PAST_DUE, ["declined", "refunded whole"],
                                lambda day, grace: FEBRUARY <= day < FEBRUARY + grace),
    "refunded in part": (RENEWED | {"status": "paused"}, ["refunded in part"], lambda day, _grace: day < FEBRUARY),
    "refunded, paused": (RENEWED | {"status": "paused"}, ["refunded whole"], lambda _day, _grace: False),
    "disputed, unpaid": (RENEWED | {"status": "unpaid"}, ["disputed"], lambda day, _grace: day < FEBRUARY),
    "lost": (RENEWED, ["lost"], lambda day, _grace: day >= FEBRUARY),
    "lost, then declined": (PAST_DUE, ["declined", "lost"], lambda day, grace: FEBRUARY <= day < FEBRUARY + grace),
    "lost, paused": (RENEWED | {"status": "paused"}, ["lost"], lambda _day, _grace: False),
    "won, paused": (RENEWED | {"status": "paused"}, ["won"], lambda day, _grace: day < FEBRUARY),
}  # fmt: skip
"""Each state with its row, its periods, and whether its customer is entitled on a day, for a length of grace."""


@pytest.mark.parametrize("days", [0, 1, 7, 30, 90])
@pytest.mark.parametrize("state", STATES)
def test_each_state_is_entitled_by_grace_and_clock(shop: World, period: Renewal, state: str, days: int) -> None:
    """Every state, on each day of four months, for every length of grace: grace lengthens a refused charge alone, and
    nothing else. The day is the business's day, or outside production the day of the test clock."""
    attributes, names, is_entitled = STATES[state]
    history, grace = History(_periods(period)[each] for each in names), timedelta(days=days)
    for n in range(120):
        day = date(2026, 2, 1) + n * DAY
        shop.dynamodb.put("subscriptions", row(shop, **attributes) | {"test_clock": day.isoformat()})
        for environment, now, today in [
            ("prod", NOON + (day - JANUARY), day),
            ("prod", NOON + DAY, JANUARY + DAY),
            ("dev", NOON + DAY, day),
        ]:
            shop.environment = environment
            found = entitlement(shop.row(), history, shop.moment(now).today, grace)
            assert found.entitled is is_entitled(today, grace), (today, environment)


def test_a_planned_end_is_told_before_it_comes() -> None:
    """`ends` is the day that an event names: the end of the grace, the end of the paid time, or no day."""
    both = Entitlement(EntitlementReason.PAID, entitled=True, until=FEBRUARY, grace_until=MARCH)
    late = Entitlement(EntitlementReason.DUE, entitled=True)
    assert (both.ends, replace(both, grace_until=None).ends, late.ends) == (MARCH, FEBRUARY, None)


def test_a_payment_that_is_recorded_late_gives_its_days_to_a_suspended_customer(shop: World) -> None:
    """The bank has taken the money, the record of the payment was delayed, and the subscription was suspended as unpaid
    meanwhile. Once the payment is recorded, the paid days are the customer's, and no day after the paid days."""
    shop.subscribe(payment_method="pm_3ds")
    shop.run()
    shop.edit(status="unpaid")
    _as_the_ledger_says(shop, NOON.date(), GRACE)
    shop.gateway.succeed("pi_1")
    shop.run("run-2", NOON + DAY)
    row, history = shop.row(), shop.ledger.history("sub_1", "cus_1")
    assert row["status"] == "unpaid"
    told = [entitlement(row, history, day, GRACE) for day in (JANUARY + DAY, FEBRUARY - DAY, FEBRUARY)]
    assert [each.entitled for each in told] == [True, True, False]


_CARDS = {"pays": "pm_ok", "declines": "pm_declined", "is asked": "pm_3ds"}
_REQUESTS = {
    "pauses": Action.PAUSE,
    "resumes": Action.RESUME,
    "cancels": Action.CANCEL_AT_PERIOD_END,
    "cancels at once": Action.CANCEL_NOW,
}
_TAKEN_BACK = ("is refunded", "is refunded in part", "disputes", "loses", "wins")
_ACTS = (*["pays"] * 5, *_CARDS, *_REQUESTS, *_TAKEN_BACK, "is suspended", "does nothing")
"""A payment comes more often than any other act, since most acts need a payment before them."""
_LIVES = (st.lists(st.sampled_from(_ACTS), max_size=9), st.sampled_from([0, 1, 7, 11, 30, 90]), st.booleans())


@settings(max_examples=40)
@given(*_LIVES)
def test_a_life_is_never_locked_out_for_what_it_paid(acts: list[str], days: int, by_test_clock: bool) -> None:
    """Through renewals that are paid, refused or late, refunds, disputes, pauses and ends, by the real clock or by a
    test clock: whoever paid for today and was not paid back is entitled, whoever is refused is entitled for the days of
    grace and no longer, and nobody is entitled after the end."""
    _live(acts, days, by_test_clock=by_test_clock)


@pytest.mark.proof
@settings(max_examples=2_000)
@given(*_LIVES)
def test_two_thousand_lives_are_never_locked_out_for_what_they_paid(
    acts: list[str], days: int, by_test_clock: bool
) -> None:
    """The same holds for two thousand lives at random."""
    _live(acts, days, by_test_clock=by_test_clock)


def _live(acts: list[str], days: int, *, by_test_clock: bool) -> None:
    shop, grace = World(), timedelta(days=days)
    shop.environment = "dev"
    shop.subscribe()
    for n, act in enumerate(acts):
        day = n * timedelta(days=11)
        if by_test_clock:
            shop.edit(test_clock=(JANUARY + day).isoformat())
        now = NOON if by_test_clock else NOON + day
        _act(shop, act, f"run-{n}", now)
        today = shop.moment(now).today
        assert today == JANUARY + day
        for later in (0, 1, 5, 10):
            _as_the_ledger_says(shop, today + later * DAY, grace)


def _act(shop: World, act: str, execution: str, now: datetime) -> None:
    moment = shop.moment(now)
    if act in _CARDS:
        shop.edit(payment_method=_CARDS[act])
        shop.run(execution, now)
    elif act in _REQUESTS:
        with suppress(NotAllowed):
            shop.register.act(shop.row(), _REQUESTS[act], moment.today, AskedBy("ann", moment.now, at=moment.wall))
    elif act in _TAKEN_BACK:
        paid = [renewal for renewal in shop.ledger.history("sub_1", "cus_1") if renewal.paid_at is not None]
        if paid:
            _take_back(shop, act, paid[0])
    elif act == "is suspended":
        shop.edit(status="unpaid")


def _take_back(shop: World, act: str, paid: Renewal) -> None:
    """Write what happened to the payment of the latest paid period into the ledger."""
    if act.startswith("is refunded"):
        made = refunded(paid, "29.99" if act == "is refunded" else "10.00")
        kept: dict[str, Any] = {"refunds": made.refunds}
    else:
        status = {"disputes": "under_review", "loses": "lost", "wins": "won"}[act]
        kept = {"disputes": disputed(paid, status, "29.99", "29.99" if act == "wins" else "0").disputes}
    item = shop.items()[paid.renewal_date.isoformat()]
    shop.dynamodb.put("renewals", {**item, **kept})


def _is_kept(period: Renewal) -> bool:
    """Whether the seller still has money of the payment, or may still have it after an open dispute."""
    statuses = [each["steps"][-1]["status"] for each in (period.disputes or {}).values()]
    given_back = sum((each["amount"] for each in period.refunds.values()), Decimal(0))
    return given_back < period.amount and statuses != ["lost"]


def _as_the_ledger_says(shop: World, today: date, grace: timedelta) -> None:
    row = shop.row()
    history = shop.ledger.history(row["subscription_id"], row["customer_id"])
    found = entitlement(row, history, today, grace)
    of_today = [each for each in history if each.paid_at is not None and each.renewal_date <= today < each.period_end]
    refused = history.unsettled
    if row["status"] == "canceled" or row.get("cancel_at", "9999") <= today.isoformat():
        assert (found.entitled, found.reason) == (False, EntitlementReason.ENDED)
    elif any(map(_is_kept, of_today)):
        assert found.entitled
        assert found.reason in (EntitlementReason.PAID, EntitlementReason.DISPUTED)
    elif row["status"] in ("unpaid", "paused") or of_today:
        assert not found.entitled
    elif refused is not None and (refused.refusals or refused.status in (Status.DECLINED, Status.ACTION_REQUIRED)):
        assert found.entitled is (today < max(refused.first_tried_on, refused.renewal_date) + grace)
    else:
        assert found.entitled


def test_every_state_of_a_chargeback_has_an_answer() -> None:
    """The states that a period calls decided are those after the bank's decision, by the spellings of disputes, the
    undecided states are the other states of a chargeback, and every decision but "won" is for the customer."""
    decided = {DisputeStatus.WON, DisputeStatus.LOST, DisputeStatus.PREVENTED}
    chargebacks = {each for each in DisputeStatus if is_chargeback({"at": "", "status": each.value})}
    assert (set(_DECIDED), set(_UNDECIDED)) == (decided, chargebacks - decided)
    assert set(_FOR_THE_CUSTOMER) == decided - {DisputeStatus.WON}
