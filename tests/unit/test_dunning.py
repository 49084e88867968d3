"""Dunning: when a refused renewal is tried again, what the customer is told, and how it ends."""

from datetime import date, timedelta
from typing import Any

import pytest

from renewals.domain.declines import is_hard
from renewals.domain.dunning import Dunning
from renewals.domain.errors import BadSetting
from renewals.domain.payment import Failure, PaymentState
from renewals.domain.subscription import SubscriptionStatus
from tests.fakes import DUE, DUNNING, LATER, NOON, PAGE, World

DAY = timedelta(days=1)


def _live(shop: World, days: range) -> None:
    """An execution a day, as the sweep starts it where it finds the subscription to be asked about, and one more."""
    for day in days:
        for n in range(2):
            shop.run(f"day-{day}-{n}", NOON + day * DAY + n * LATER)


def _attempts_on(shop: World, days: range) -> list[int]:
    """The days on which the card was asked."""
    asked = []
    for day in days:
        before = len(shop.gateway.attempts)
        _live(shop, range(day, day + 1))
        asked += [day] * (len(shop.gateway.attempts) - before)
    return asked


def _hard(shop: World, code: str, advice: str | None = None) -> None:
    """From now on the card that declines does so for this reason."""
    shop.gateway.declines["pm_declined"] = Failure("", "card_declined", code, advice)


# --- which declines are hard ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("decline_code", "advice_code", "hard"),
    [
        ("lost_card", None, True),
        ("stolen_card", None, True),
        ("expired_card", None, True),
        ("invalid_account", None, True),
        ("pickup_card", None, True),
        ("payment_method_unactivated", None, True),
        ("do_not_honor", None, False),
        ("insufficient_funds", None, False),
        ("a_code_of_next_year", None, False),
        (None, None, False),
        ("do_not_honor", "do_not_try_again", True),
        ("generic_decline", "confirm_card_data", True),
        ("lost_card", "try_again_later", False),
        ("lost_card", "an_advice_of_next_year", True),
    ],
)
def test_the_banks_advice_comes_before_the_decline_code(
    decline_code: str | None, advice_code: str | None, hard: bool
) -> None:
    """Advice where there is one that is known, else the code's row in the table; what is unknown is soft."""
    assert is_hard(decline_code, advice_code) is hard


# --- the schedule ---------------------------------------------------------------------------------------------------


def test_a_soft_decline_is_tried_again_on_the_days_of_the_schedule_and_then_ends(shop: World) -> None:
    """Day 0, 1, 3, 5 and 7, each once however often it is run, on one payment, which is cancelled in the end."""
    shop.subscribe(payment_method="pm_declined")
    assert _attempts_on(shop, range(12)) == [0, 1, 3, 5, 7]
    assert {payment for payment, _ in shop.gateway.attempts} == {"pi_1"}
    assert shop.gateway.payments["pi_1"].state is PaymentState.CANCELED
    item, row = shop.items()[DUE.isoformat()], shop.row()
    assert (item["status"], item["reason"], row["status"]) == ("given_up", "dunning_over", "canceled")
    assert (row["renewal_date"], row["payment_status"]) == (DUE.isoformat(), "given_up")
    assert not {"next_attempt", "refused_payment_method"} & set(row)
    assert shop.mail_kinds() == ["payment_failed"] * 3 + ["final_notice", "canceled"]


def test_while_it_goes_on_the_row_says_when_it_is_tried_again(shop: World) -> None:
    """Past due, the next date, the card that was refused: what the sweep goes by, and an operator reads."""
    shop.subscribe(payment_method="pm_declined")
    seen = {}
    for day in (0, 1, 3, 5):
        _live(shop, range(day, day + 1))
        seen[day] = (shop.row()["status"], shop.row()["next_attempt"], shop.row()["refused_payment_method"])
    dates = ["2026-02-01", "2026-02-03", "2026-02-05", "2026-02-07"]
    assert seen == {day: ("past_due", then, "pm_declined") for day, then in zip((0, 1, 3, 5), dates, strict=True)}


def test_dates_that_were_missed_follow_day_by_day_and_none_is_left_out(shop: World) -> None:
    """Nobody ran for ten days: the customer gets as many tries as promised, and never two a day."""
    shop.subscribe(payment_method="pm_declined")
    _live(shop, range(1))
    assert _attempts_on(shop, range(10, 20)) == [10, 11, 12, 13]
    assert shop.row()["status"] == "canceled"


def test_a_late_first_attempt_begins_the_schedule(shop: World) -> None:
    """Due in January, first tried in March: the days count from then."""
    shop.subscribe(payment_method="pm_declined", interval="year")
    assert _attempts_on(shop, range(40, 60)) == [40, 41, 43, 45, 47]


def test_a_hard_decline_is_not_tried_again_and_ends_on_the_same_day(shop: World) -> None:
    """One attempt, a mail, the final notice before the last day, the end."""
    _hard(shop, "stolen_card")
    shop.subscribe(payment_method="pm_declined")
    assert _attempts_on(shop, range(7)) == [0]
    assert shop.mail_kinds() == ["payment_failed", "final_notice"]
    assert shop.row()["status"] == "past_due"
    assert _attempts_on(shop, range(7, 10)) == []
    assert shop.mail_kinds() == ["payment_failed", "final_notice", "canceled"]
    assert shop.row()["status"] == "canceled"


def test_a_new_card_is_tried_at_once_and_costs_no_date_of_the_schedule(shop: World) -> None:
    """Three bad cards in an evening do not use up the days."""
    shop.subscribe(payment_method="pm_declined")
    _live(shop, range(1))
    for n in range(3):
        shop.edit(payment_method=f"pm_declined_{n}")
        shop.run(f"card-{n}", NOON + (n + 2) * LATER)
    assert len(shop.gateway.attempts) == 4
    assert _attempts_on(shop, range(1, 10)) == [1, 3, 5, 7]


def test_a_new_card_pays_and_the_anchor_day_stays(shop: World) -> None:
    """Refused on 31 January, paid on 4 February: the next renewal is on 28 February, then on 31 March."""
    shop.subscribe(payment_method="pm_declined")
    _live(shop, range(4))
    shop.edit(payment_method="pm_ok")
    _live(shop, range(4, 6))
    row = shop.row()
    assert (row["status"], row["renewal_date"], row["anchor_day"]) == ("active", "2026-02-28", 31)
    assert not {"next_attempt", "refused_payment_method"} & set(row)
    assert len(shop.gateway.charges) == 1


def test_the_attempts_stay_on_record(shop: World) -> None:
    """Each refusal with its moment, card and code, for whoever asks why."""
    shop.subscribe(payment_method="pm_declined")
    _live(shop, range(2))
    refusals = shop.items()[DUE.isoformat()]["refusals"]
    assert {name: (r["payment_method"], r["decline_code"], r["at"][:10]) for name, r in refusals.items()} == {
        "attempt_1": ("pm_declined", "insufficient_funds", "2026-01-31"),
        "attempt_2": ("pm_declined", "insufficient_funds", "2026-02-01"),
    }


def test_the_subscription_can_become_unpaid_instead(shop: World) -> None:
    """What dunning ends as is the operator's to choose; the one mail says so."""
    shop.dunning = Dunning((2,), SubscriptionStatus.UNPAID)
    shop.subscribe(payment_method="pm_declined")
    assert _attempts_on(shop, range(5)) == [0, 2]
    assert shop.row()["status"] == "unpaid"
    assert shop.mail_kinds() == ["final_notice", "unpaid"]


def test_who_is_made_active_again_is_billed_anew(shop: World) -> None:
    """Cancelled by dunning, then back with another card: the period is claimed again, on a payment of its own."""
    shop.subscribe(payment_method="pm_declined")
    _live(shop, range(8))
    shop.edit(status="active", payment_method="pm_ok")
    _live(shop, range(9, 10))
    [(payment, _, _)] = shop.gateway.charges
    assert payment != "pi_1"
    assert (shop.items()[DUE.isoformat()]["status"], shop.row()["status"]) == ("done", "active")


def test_a_period_billed_anew_keeps_its_story(shop: World) -> None:
    """What was tried and told before stays on record, and no mail of the new attempts has the name of an old one."""
    shop.subscribe(payment_method="pm_declined")
    _live(shop, range(8))
    shop.edit(status="active", payment_method="pm_declined_too")
    _live(shop, range(9, 10))
    item = shop.items()[DUE.isoformat()]
    assert (item["attempt"], sorted(item["refusals"])) == (6, [f"attempt_{n}" for n in range(1, 7)])
    assert shop.mail_kinds() == ["payment_failed"] * 3 + ["final_notice", "canceled", "payment_failed"]
    assert len(shop.mails()) == 6


def test_a_period_given_up_and_passed_over_says_what_was_billed_instead(shop: World) -> None:
    """Made active again when a later period is due: that one is billed, and the story of the first stays."""
    shop.subscribe(payment_method="pm_declined")
    _live(shop, range(8))
    shop.edit(status="active", payment_method="pm_ok")
    _live(shop, range(30, 31))
    items = shop.items()
    assert {day: item["status"] for day, item in items.items()} == {DUE.isoformat(): "given_up", "2026-02-28": "done"}
    assert items[DUE.isoformat()]["billed_instead"] == "2026-02-28"


# --- 3-D Secure -----------------------------------------------------------------------------------------------------


def test_the_customer_who_confirms_late_has_paid(shop: World) -> None:
    """Asked again on a dunning date: paid meanwhile is paid, and the card was never asked a second time."""
    shop.subscribe(payment_method="pm_3ds")
    _live(shop, range(2))
    shop.gateway.succeed("pi_1")
    _live(shop, range(3, 4))
    assert shop.items()[DUE.isoformat()]["status"] == "done"
    assert shop.mail_kinds() == ["action_required", "receipt"]
    assert len(shop.gateway.attempts) == 1


def test_the_customer_who_never_confirms_is_told_in_time(shop: World) -> None:
    """The link at once, the final notice before the last day, then the end; no card is asked in between."""
    shop.subscribe(payment_method="pm_3ds")
    assert _attempts_on(shop, range(10)) == [0]
    assert shop.mail_kinds() == ["action_required", "final_notice", "canceled"]
    assert all(PAGE in mail.as_string() for mail in shop.mails()[:2])
    assert shop.gateway.payments["pi_1"].state is PaymentState.CANCELED


def test_the_customer_who_failed_at_the_bank_gets_another_link(shop: World) -> None:
    """The bank did not believe it was the customer: on the next date the card is asked again."""
    shop.subscribe(payment_method="pm_3ds")
    _live(shop, range(1))
    shop.gateway.fail_authentication("pi_1")
    assert _attempts_on(shop, range(1, 3)) == [1]
    assert shop.mail_kinds() == ["action_required"] * 2


# --- what else may happen to the subscription -----------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"status": "canceled"}, {"status": "unpaid"}, {"cancel_at": DUE.isoformat()}])
@pytest.mark.parametrize("card", ["pm_declined", "pm_3ds"])
def test_a_refused_period_ends_with_its_subscription(shop: World, card: str, change: dict[str, Any]) -> None:
    """Cancelled while past due: the payment can no longer be completed, and nobody is mailed about it any more."""
    shop.subscribe(payment_method=card)
    _live(shop, range(1))
    shop.edit(**change)
    _live(shop, range(1, 9))
    assert shop.gateway.payments["pi_1"].state is PaymentState.CANCELED
    assert (shop.items()[DUE.isoformat()]["status"], len(shop.gateway.attempts)) == ("given_up", 1)
    assert len(shop.mails()) == 1
    assert "next_attempt" not in shop.row()


def test_a_payment_that_went_through_as_dunning_ended_is_a_payment(shop: World) -> None:
    """The customer confirms in the very moment: the gateway refuses to cancel, and the receipt goes out."""
    shop.subscribe(payment_method="pm_3ds")
    _live(shop, range(6))
    shop.gateway.succeed("pi_1")
    _live(shop, range(7, 8))
    assert (shop.items()[DUE.isoformat()]["status"], shop.row()["status"]) == ("done", "active")


def test_an_address_that_cannot_be_does_not_stop_dunning(shop: World) -> None:
    """Nobody can be told; the attempts go on, and the address, once mended, gets what is true then."""
    shop.subscribe(payment_method="pm_declined", customer_email="nowhere")
    assert _attempts_on(shop, range(4)) == [0, 1, 3]
    assert not shop.mails()
    shop.edit(customer_email="ann@customer.example")
    _live(shop, range(4, 8))
    assert shop.mail_kinds() == ["payment_failed", "final_notice", "canceled"]


# --- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("days", ["", "1,2,2", "3,1", "0,1", "1;3", "1,31", "x", "1,2,3,4,5,6,7,8,9"])
def test_days_that_make_no_schedule_are_refused_by_name(days: str) -> None:
    """They rise, from 1 to 30, and are eight at most: the gateway takes some ten confirmations of one payment."""
    with pytest.raises(BadSetting, match="DUNNING_DAYS"):
        Dunning.of(days, "canceled")


def test_an_end_that_is_none_is_refused_by_name() -> None:
    """canceled or unpaid."""
    with pytest.raises(BadSetting, match="DUNNING_ENDS_AS"):
        Dunning.of("1", "active")


def test_the_day_it_ends_is_the_last_one_or_as_late_as_the_tries_need() -> None:
    """What the mails promise: on schedule day 7; ten days late, a day for each try that is left."""
    zero = date(2026, 1, 31)
    assert DUNNING.ends_on(zero, 0, date(2026, 2, 1)) == date(2026, 2, 7)
    assert DUNNING.ends_on(zero, 1, date(2026, 2, 11)) == date(2026, 2, 13)
    assert DUNNING.next_date(zero, 4, date(2026, 2, 7)) is None
