"""The questions asked of a subscription's billing periods, answered from periods that differ in a single fact."""

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from process_payment.claims import due_claim
from renewals.domain.owed import is_of_refund
from renewals.domain.reasons import Reason
from renewals.domain.renewal import Renewal, Status
from renewals.domain.renewal_history import History
from renewals.domain.stored import RefundRecord
from renewals.domain.subscription import parse
from tests.fakes import NOON, SELLER, World

FEBRUARY, MARCH, APRIL = date(2026, 2, 28), date(2026, 3, 31), date(2026, 4, 30)


@pytest.fixture
def claimed(shop: World) -> Renewal:
    """A claim of the period from 31 January on, as the charge makes the claim."""
    shop.subscribe()
    moment = shop.moment(NOON)
    none = History()
    return due_claim(parse(shop.row()), None, none, none, execution="run-1", seller=SELLER, moment=moment).renewal


@pytest.fixture
def paid(claimed: Renewal) -> Renewal:
    return replace(claimed, status=Status.DONE, payment_id="pi_1", paid_at=NOON)


@pytest.fixture
def failed(claimed: Renewal) -> Renewal:
    return replace(claimed, status=Status.FAILED, payment_id="pi_1", reason="gateway: some_error")


@pytest.mark.parametrize(
    ("status", "unsettled"),
    [(status, status in ("claimed", "declined", "action_required")) for status in Status],
)
def test_what_is_neither_paid_nor_given_up_is_unsettled(claimed: Renewal, status: Status, unsettled: bool) -> None:
    """Exactly the claimed, declined and action_required periods are unsettled."""
    renewal = replace(claimed, status=status)
    assert (History([renewal]).unsettled is renewal) is unsettled


def test_a_failed_payment_is_undecided_until_somebody_stops_it(failed: Renewal, paid: Renewal) -> None:
    """A failed period with a payment is undecided, and without a payment nothing can become of the period. A payment
    canceled at the gateway is decided, but still open, since a new card may bring the period back."""
    unpaid = replace(failed, payment_id=None)
    stopped = replace(failed, reason=Reason.CANCELED_AT_THE_GATEWAY)
    history = History([failed, unpaid, stopped, paid])
    assert history.undecided == (failed,)
    assert [History([each]).has_open_charge for each in history] == [True, False, True, False]
    assert History([replace(unpaid, status=Status.DECLINED)]).has_open_charge


def test_a_period_that_was_refunded_whole_is_paid_no_more(paid: Renewal) -> None:
    """A period refunded whole was paid once but is not paid now, and its days may be billed anew."""
    refund: RefundRecord = {
        "amount": Decimal("29.99"), "state": "refunded", "at": NOON.isoformat(), "by": "ann", "request": "request-1",
    }  # fmt: skip
    refunded = replace(paid, refunds={"refund_1": refund}, renewal_date=MARCH, row_date=MARCH, period_end=APRIL)
    history = History([refunded, paid])
    assert (history.ever_paid, history.paid, history.paid_until) == ((refunded, paid), (paid,), FEBRUARY)
    assert (History([refunded]).paid_until, History().paid_until) == (None, None)
    assert history.paid_within(date(2026, 2, 27), APRIL) is paid
    assert history.paid_within(FEBRUARY, APRIL) is None
    assert history.paid_within(date(2026, 1, 1), paid.renewal_date) is None


def test_a_claim_is_of_its_own_date_and_of_those_that_it_passed_over(paid: Renewal) -> None:
    """A claim on 31 March for a row at 31 January covers both days and the renewal dates in between."""
    late = replace(paid, renewal_date=MARCH)
    history = History([late])
    assert [history.claimed_for(day) is late for day in (paid.renewal_date, FEBRUARY, MARCH)] == [True] * 3
    assert [history.claimed_for(day) for day in (date(2026, 1, 30), APRIL)] == [None, None]


def test_a_customer_s_history_is_none_of_another_s(paid: Renewal) -> None:
    """The history of a customer has no periods of a former customer of the subscription."""
    before = replace(paid, customer_id="cus_0")
    assert History.of_customer([paid, before], "cus_0") == (before,)


@pytest.mark.parametrize(
    ("notice", "is_about_a_refund"),
    [("refunded_1", True), ("refund_pending_1", True), ("refund_failed_1", True), ("copy_of_receipt_1", False)],
)
def test_a_notice_is_about_a_refund_by_its_kind(paid: Renewal, notice: str, *, is_about_a_refund: bool) -> None:
    """A paid period may be owed a notice of a kind that is no refund's, for example of a newer version."""
    assert is_of_refund(replace(paid, status=Status.DONE, notice=notice)) is is_about_a_refund
