"""Dunning: when a declined renewal is tried again, what the customer is told, and how dunning ends."""

from datetime import date, timedelta
from decimal import Decimal
from email.message import EmailMessage
from typing import Any

import pytest

from renewals.domain.declines import is_hard
from renewals.domain.dunning import Dunning
from renewals.domain.errors import BadSetting
from renewals.domain.payment import Failure, PaymentState
from renewals.domain.subscription import SubscriptionStatus
from renewals.ledger import forecast
from tests.fakes import DUE, DUNNING, LATER, NOON, PAGE, World
from tests.shares import rotating
from tests.visitor import visiting

DAY = timedelta(days=1)


def _live(shop: World, days: range) -> None:
    """Run two executions on every day of `days`: the sweep's daily execution, and one more."""
    for day in days:
        for n in range(2):
            shop.run(f"day-{day}-{n}", NOON + day * DAY + n * LATER)


def _attempts_on(shop: World, days: range) -> list[int]:
    """Live through `days`, and return the days on which the card was charged."""
    asked = []
    for day in days:
        before = len(shop.gateway.attempts)
        _live(shop, range(day, day + 1))
        asked += [day] * (len(shop.gateway.attempts) - before)
    return asked


def _hard(shop: World, code: str, advice: str | None = None) -> None:
    """Have the declining card decline with this code and advice from now on."""
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
    """A known advice decides whether a decline is hard, otherwise the decline code's row in the table decides; an
    unknown code is soft."""
    assert is_hard(decline_code, advice_code) is hard


# --- the schedule ---------------------------------------------------------------------------------------------------


def test_a_soft_decline_is_tried_again_on_the_days_of_the_schedule_and_then_ends(shop: World) -> None:
    """A soft decline is tried on days 0, 1, 3, 5 and 7, once a day however many executions run, always on the same
    payment. At the end the payment is canceled."""
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
    """During dunning the row is past due and names the next date and the declined card, for the sweep and for
    operators."""
    shop.subscribe(payment_method="pm_declined")
    seen = {}
    for day in (0, 1, 3, 5):
        _live(shop, range(day, day + 1))
        seen[day] = (shop.row()["status"], shop.row()["next_attempt"], shop.row()["refused_payment_method"])
    dates = ["2026-02-01", "2026-02-03", "2026-02-05", "2026-02-07"]
    assert seen == {day: ("past_due", then, "pm_declined") for day, then in zip((0, 1, 3, 5), dates, strict=True)}


def test_dates_that_were_missed_follow_day_by_day_and_none_is_left_out(shop: World) -> None:
    """After ten days without an execution the customer still gets every promised attempt, and never two attempts on a
    day."""
    shop.subscribe(payment_method="pm_declined")
    _live(shop, range(1))
    assert _attempts_on(shop, range(10, 20)) == [10, 11, 12, 13]
    assert shop.row()["status"] == "canceled"


def test_a_late_first_attempt_begins_the_schedule(shop: World) -> None:
    """When a renewal due in January is first tried in March, the days of the schedule count from the first attempt."""
    shop.subscribe(payment_method="pm_declined", interval="year")
    assert _attempts_on(shop, range(40, 60)) == [40, 41, 43, 45, 47]


def test_a_hard_decline_is_not_tried_again_and_ends_on_the_same_day(shop: World) -> None:
    """After a hard decline the card is never tried again: the customer gets a mail, the final notice before the last
    day, and the end on the usual day."""
    _hard(shop, "stolen_card")
    shop.subscribe(payment_method="pm_declined")
    assert _attempts_on(shop, range(7)) == [0]
    assert shop.mail_kinds() == ["payment_failed", "final_notice"]
    assert shop.row()["status"] == "past_due"
    assert _attempts_on(shop, range(7, 10)) == []
    assert shop.mail_kinds() == ["payment_failed", "final_notice", "canceled"]
    assert shop.row()["status"] == "canceled"


def test_a_new_card_is_tried_at_once_and_costs_no_date_of_the_schedule(shop: World) -> None:
    """A new card is tried at once, and three declined cards in an evening use up no day of the schedule."""
    shop.subscribe(payment_method="pm_declined")
    _live(shop, range(1))
    for n in range(3):
        shop.edit(payment_method=f"pm_declined_{n}")
        shop.run(f"card-{n}", NOON + (n + 2) * LATER)
    assert len(shop.gateway.attempts) == 4
    assert _attempts_on(shop, range(1, 10)) == [1, 3, 5, 7]


@pytest.mark.parametrize(
    ("refused", "days", "address"),
    rotating(
        ["soft", "hard", "asked to confirm"],
        [
            ("1,3,5,7", "ann@customer.example"),
            ("1,3,5,7", "nowhere"),
            ("1,2,3,5,8,13,21,30", "nowhere"),
            ("1,2,3,5,8,13,21,30", "ann@customer.example"),
        ],
        of=2,
    ),
)
def test_a_period_is_tried_at_most_fifteen_times_in_thirty_days(
    shop: World, refused: str, days: str, address: str
) -> None:
    """A customer saves five new cards a day, and each card is refused: in 30 days the period is tried fifteen times at
    most, and dunning ends as usual. The cards of the first evening are tried at once. If the customer's address is at
    fault, so that dunning does not end, the bound holds too."""
    shop.dunning = Dunning.of(days, "canceled")
    card = "pm_3ds" if refused == "asked to confirm" else "pm_declined"
    if refused == "hard":
        _hard(shop, "stolen_card")
    shop.subscribe(payment_method=card, customer_email=address)
    tried_on: list[int] = []
    for day in range(36):
        for n in range(6 if shop.row()["status"] == "past_due" or day == 0 else 1):
            before = len(shop.gateway.attempts)
            if n and shop.row()["status"] == "past_due":
                shop.edit(payment_method=f"{card}_{day}_{n}")
            shop.run(f"day-{day}-{n}", NOON + day * DAY + n * LATER)
            tried_on += [day] * (len(shop.gateway.attempts) - before)
        if day == 0:
            assert len(tried_on) == 6
    assert max(sum(day <= each < day + 30 for each in tried_on) for day in range(36)) <= 15
    if address != "nowhere":
        assert (shop.row()["status"], len(tried_on)) == ("canceled", 15)


def _exhausted(shop: World) -> int:
    """Let fifteen cards be refused until dunning is over, and return the day after."""
    shop.subscribe(payment_method="pm_declined")
    for day in range(8):
        for n in range(11 if day == 0 else 1):
            shop.edit(payment_method=f"pm_declined_{day}_{n}")
            shop.run(f"day-{day}-{n}", NOON + day * DAY + n * LATER)
    assert (len(shop.gateway.attempts), shop.items()[DUE.isoformat()]["status"]) == (15, "given_up")
    return 8


def test_a_period_billed_anew_after_fifteen_attempts_is_tried_once(shop: World) -> None:
    """Somebody makes the subscription active again after fifteen refused attempts: the period is tried once more, and
    its dunning dates pass without an attempt. After a month the period would be tried again."""
    shop.dunning = Dunning.of("1,3,5,7", "unpaid")
    day = _exhausted(shop)
    shop.edit(status="active")
    assert _attempts_on(shop, range(day, day + 9)) == [day]
    assert shop.row()["status"] == "unpaid"


@pytest.mark.parametrize("refused", ["soft", "asked to confirm"])
@pytest.mark.parametrize("saves_card", [False, True])
def test_after_the_most_attempts_no_word_promises_an_attempt(shop: World, refused: str, *, saves_card: bool) -> None:
    """Fifteen cards were refused, somebody makes the subscription active again, and the sixteenth attempt is refused,
    too. Neither a mail nor the customer page nor the forecast promises an attempt, since none is made; all name the day
    of the end. The subscription ends on the named day, also if the customer saves a good card meanwhile."""
    shop.dunning = Dunning.of("1,3,5,7", "unpaid")
    day = _exhausted(shop)
    told = len(shop.mails())
    shop.edit(status="active", **({"payment_method": "pm_3ds"} if refused == "asked to confirm" else {}))
    shop.run("resumed", NOON + day * DAY)
    with visiting(shop) as visitor:
        visitor.now = NOON + day * DAY
        overview = visitor.sign_in().text
    assert "If the payment has not gone through by 15 February 2026, your subscription is " in overview
    assert "try again" not in overview
    assert "due now" in overview
    [first, *_] = forecast.next_charges(shop.ledger, shop.row(), date(2026, 2, 8), 2).charges
    assert "the charge was refused, and is not retried on this day" in first.why
    if saves_card:
        shop.edit(payment_method="pm_ok")
    assert _attempts_on(shop, range(day, day + 7)) == []
    assert shop.row()["status"] == "past_due"
    _live(shop, range(day + 7, day + 8))
    assert (shop.row()["status"], shop.gateway.charges) == ("unpaid", [])
    mails = [_words(mail) for mail in shop.mails()[told:]]
    assert len(mails) == (2 if saves_card else 3)
    for words in mails[:-1]:
        assert "If the payment has not gone through by 15 February 2026, your subscription will be suspended." in words
        assert "We will try" not in words
        assert "will then try" not in words
        assert "we will try" not in words
        assert "Update your payment method" not in words


def test_a_mail_names_the_first_date_on_which_an_attempt_is_possible(shop: World) -> None:
    """Fifteen attempts have failed, and the dunning dates of the period, billed anew, last longer than the thirty days
    in which the attempts count: the mail names the first date on which the card is really tried."""
    shop.dunning = Dunning.of("1,3,5,7", "unpaid")
    day = _exhausted(shop)
    shop.dunning = Dunning.of("1,10,29", "unpaid")
    told = len(shop.mails())
    shop.edit(status="active")
    shop.run("resumed", NOON + day * DAY)
    words = _words(shop.mails()[told])
    assert "We will try the same card one last time on 9 March 2026." in words
    assert _attempts_on(shop, range(day, day + 31)) == [day + 29]


def _words(mail: EmailMessage) -> str:
    said = mail.get_body(("plain",))
    assert said is not None
    return " ".join(said.get_content().split())


def test_a_period_that_was_left_behind_all_dates_ends_in_spite_of_a_new_card(shop: World) -> None:
    """The customer has had the final notice, an execution ended between the last refusal and the end of dunning, and
    the customer has saved a further card since: after fifteen attempts, the further card is not tried, and the period
    is given up."""
    shop.subscribe(payment_method="pm_declined")
    _live(shop, range(1))
    refused = dict(shop.items()[DUE.isoformat()])
    [first] = refused["refusals"].values()
    many = {f"attempt_{n}": first for n in range(1, 16)}
    warned = {"mails": {"final_notice_1": refused["mails"]["payment_failed_1"]}}
    shop.dynamodb.put("renewals", refused | warned | {"refusals": many, "dunned": Decimal(4)})
    shop.edit(payment_method="pm_ok")
    _live(shop, range(7, 8))
    assert (shop.gateway.charges, shop.row()["status"]) == ([], "canceled")


def test_a_new_card_that_waits_for_the_dunning_date_pays_then(shop: World) -> None:
    """The period has had so many attempts that a further new card waits: the new card is tried on the next dunning date
    and pays. The last mail before does not say that a new card is tried at once."""
    shop.subscribe(payment_method="pm_declined")
    _live(shop, range(1))
    for n in range(12):
        shop.edit(payment_method=f"pm_declined_{n}")
        shop.run(f"card-{n}", NOON + (n + 2) * LATER)
    assert len(shop.gateway.attempts) == 11
    shop.edit(payment_method="pm_ok")
    shop.run("waits", NOON + 20 * LATER)
    assert shop.gateway.charges == []
    said = shop.mails()[-1].get_body(("plain",))
    assert said is not None
    assert "at once" not in said.get_content()
    assert _attempts_on(shop, range(1, 3)) == [1]
    assert (len(shop.gateway.charges), shop.row()["status"]) == (1, "active")


@pytest.mark.parametrize("refused", ["soft", "hard", "asked to confirm"])
def test_the_first_mail_names_the_day_of_the_end_and_what_a_new_card_does(shop: World, refused: str) -> None:
    """The first mail about a refusal says that a new card is tried at once, and names the day on which the subscription
    ends if nothing happens. Both hold: a new card is tried on the same day, and without a new card the subscription
    ends on the named day, not a day before."""
    for at_once in (True, False):
        world = World()
        if refused == "hard":
            _hard(world, "stolen_card")
        world.subscribe(payment_method="pm_3ds" if refused == "asked to confirm" else "pm_declined")
        _live(world, range(1))
        said = world.mails()[0].get_body(("plain",))
        assert said is not None
        told = " ".join(said.get_content().split())
        assert "the new card at once" in told or "the payment with the new card at once" in told
        assert "7 February 2026" in told
        assert "your subscription will be canceled" in told
        if at_once:
            world.edit(payment_method="pm_ok")
            world.run("new card", NOON + 3 * LATER)
            assert (len(world.gateway.charges), world.row()["status"]) == (1, "active")
            continue
        _live(world, range(1, 7))
        assert world.row()["status"] == "past_due"
        _live(world, range(7, 8))
        assert (world.row()["status"], world.gateway.charges) == ("canceled", [])


def test_a_new_card_pays_and_the_anchor_day_stays(shop: World) -> None:
    """A renewal declined on 31 January and paid on 4 February is next due on 28 February, and keeps its anchor day
    31."""
    shop.subscribe(payment_method="pm_declined")
    _live(shop, range(4))
    shop.edit(payment_method="pm_ok")
    _live(shop, range(4, 6))
    row = shop.row()
    assert (row["status"], row["renewal_date"], row["anchor_day"]) == ("active", "2026-02-28", 31)
    assert not {"next_attempt", "refused_payment_method"} & set(row)
    assert len(shop.gateway.charges) == 1


def test_the_attempts_stay_on_record(shop: World) -> None:
    """The ledger keeps every decline with its moment, card and code."""
    shop.subscribe(payment_method="pm_declined")
    _live(shop, range(2))
    refusals = shop.items()[DUE.isoformat()]["refusals"]
    assert {name: (r["payment_method"], r["decline_code"], r["at"][:10]) for name, r in refusals.items()} == {
        "attempt_1": ("pm_declined", "insufficient_funds", "2026-01-31"),
        "attempt_2": ("pm_declined", "insufficient_funds", "2026-02-01"),
    }


def test_the_subscription_can_become_unpaid_instead(shop: World) -> None:
    """The operator may let dunning end as `unpaid` instead of `canceled`, and the mail says so."""
    shop.dunning = Dunning((2,), SubscriptionStatus.UNPAID)
    shop.subscribe(payment_method="pm_declined")
    assert _attempts_on(shop, range(5)) == [0, 2]
    assert shop.row()["status"] == "unpaid"
    assert shop.mail_kinds() == ["final_notice", "unpaid"]


def test_who_is_made_active_again_is_billed_anew(shop: World) -> None:
    """A subscription canceled by dunning and made active again with a new card is billed for the period on a new
    payment."""
    shop.subscribe(payment_method="pm_declined")
    _live(shop, range(8))
    shop.edit(status="active", payment_method="pm_ok")
    _live(shop, range(9, 10))
    [(payment, _, _)] = shop.gateway.charges
    assert payment != "pi_1"
    assert (shop.items()[DUE.isoformat()]["status"], shop.row()["status"]) == ("done", "active")


def test_a_period_billed_anew_keeps_its_story(shop: World) -> None:
    """A period billed anew keeps the record of earlier attempts and mails, and no mail of the new attempts reuses the
    name of an earlier mail."""
    shop.subscribe(payment_method="pm_declined")
    _live(shop, range(8))
    shop.edit(status="active", payment_method="pm_declined_too")
    _live(shop, range(9, 10))
    item = shop.items()[DUE.isoformat()]
    assert (item["attempt"], sorted(item["refusals"])) == (6, [f"attempt_{n}" for n in range(1, 7)])
    assert shop.mail_kinds() == ["payment_failed"] * 3 + ["final_notice", "canceled", "payment_failed"]
    assert len(shop.mails()) == 6


def test_a_period_given_up_and_passed_over_says_what_was_billed_instead(shop: World) -> None:
    """When a subscription becomes active again with a later period due, the later period is billed, and the given-up
    period keeps its record and names the later period."""
    shop.subscribe(payment_method="pm_declined")
    _live(shop, range(8))
    shop.edit(status="active", payment_method="pm_ok")
    _live(shop, range(30, 31))
    items = shop.items()
    assert {day: item["status"] for day, item in items.items()} == {DUE.isoformat(): "given_up", "2026-02-28": "done"}
    assert items[DUE.isoformat()]["billed_instead"] == "2026-02-28"


# --- 3-D Secure -----------------------------------------------------------------------------------------------------


def test_the_customer_who_confirms_late_has_paid(shop: World) -> None:
    """A payment confirmed by the customer is found paid on the next dunning date, and the card is not charged a second
    time."""
    shop.subscribe(payment_method="pm_3ds")
    _live(shop, range(2))
    shop.gateway.succeed("pi_1")
    _live(shop, range(3, 4))
    assert shop.items()[DUE.isoformat()]["status"] == "done"
    assert shop.mail_kinds() == ["action_required", "receipt"]
    assert len(shop.gateway.attempts) == 1


def test_the_customer_who_never_confirms_is_told_in_time(shop: World) -> None:
    """A customer who never confirms gets the link at once, the final notice before the last day, and the end; the card
    is not tried in between."""
    shop.subscribe(payment_method="pm_3ds")
    assert _attempts_on(shop, range(10)) == [0]
    assert shop.mail_kinds() == ["action_required", "final_notice", "canceled"]
    assert all(PAGE in mail.as_string() for mail in shop.mails()[:2])
    assert shop.gateway.payments["pi_1"].state is PaymentState.CANCELED


def test_the_customer_who_failed_at_the_bank_is_asked_and_not_charged(shop: World) -> None:
    """After a failed or refused confirmation at the bank the card is not tried off session: a bank might pay what the
    customer has just refused. The customer may confirm until the end, and gets the final notice."""
    shop.subscribe(payment_method="pm_3ds")
    _live(shop, range(1))
    shop.gateway.fail_authentication("pi_1")
    assert _attempts_on(shop, range(1, 9)) == []
    assert shop.mail_kinds() == ["action_required", "final_notice", "canceled"]


# --- what else may happen to the subscription -----------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"status": "canceled"}, {"status": "unpaid"}, {"cancel_at": DUE.isoformat()}])
@pytest.mark.parametrize("card", ["pm_declined", "pm_3ds"])
def test_a_refused_period_ends_with_its_subscription(shop: World, card: str, change: dict[str, Any]) -> None:
    """When a past-due subscription is canceled, its payment can no longer be completed, and the customer gets no
    further mail."""
    shop.subscribe(payment_method=card)
    _live(shop, range(1))
    shop.edit(**change)
    _live(shop, range(1, 9))
    assert shop.gateway.payments["pi_1"].state is PaymentState.CANCELED
    assert (shop.items()[DUE.isoformat()]["status"], len(shop.gateway.attempts)) == ("given_up", 1)
    assert len(shop.mails()) == 1
    assert "next_attempt" not in shop.row()


def test_a_payment_that_went_through_as_dunning_ended_is_a_payment(shop: World) -> None:
    """When the customer confirms in the very moment in which dunning ends, the gateway refuses the cancellation, and
    the receipt goes out."""
    shop.subscribe(payment_method="pm_3ds")
    _live(shop, range(6))
    shop.gateway.succeed("pi_1")
    _live(shop, range(7, 8))
    assert (shop.items()[DUE.isoformat()]["status"], shop.row()["status"]) == ("done", "active")


def test_an_address_that_cannot_be_does_not_stop_dunning(shop: World) -> None:
    """With an invalid address attempts go on without mails; once corrected, the address gets the mails that are true by
    then."""
    shop.subscribe(payment_method="pm_declined", customer_email="nowhere")
    assert _attempts_on(shop, range(4)) == [0, 1, 3]
    assert not shop.mails()
    shop.edit(customer_email="ann@customer.example")
    _live(shop, range(4, 8))
    assert shop.mail_kinds() == ["payment_failed", "final_notice", "canceled"]


# --- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("days", ["", "1,2,2", "3,1", "0,1", "1;3", "1,31", "x", "1,2,3,4,5,6,7,8,9"])
def test_days_that_make_no_schedule_are_refused_by_name(days: str) -> None:
    """Dunning days must rise from 1 to 30 and be at most eight, since the gateway takes some ten confirmations of a
    payment."""
    with pytest.raises(BadSetting, match="DUNNING_DAYS"):
        Dunning.of(days, "canceled")


def test_an_end_that_is_none_is_refused_by_name() -> None:
    """Dunning ends as `canceled` or `unpaid`; any other setting is refused by name."""
    with pytest.raises(BadSetting, match="DUNNING_ENDS_AS"):
        Dunning.of("1", "active")


def test_the_day_it_ends_is_the_last_one_or_as_late_as_the_tries_need() -> None:
    """Mails promise the end for day 7 of the schedule; ten days late, the end comes after a day for every attempt
    left."""
    zero = date(2026, 1, 31)
    assert DUNNING.ends_on(zero, 0, date(2026, 2, 1)) == date(2026, 2, 7)
    assert DUNNING.ends_on(zero, 1, date(2026, 2, 11)) == date(2026, 2, 13)
    assert DUNNING.next_date(zero, 4, date(2026, 2, 7)) is None
