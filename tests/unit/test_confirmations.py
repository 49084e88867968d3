"""A change is confirmed by one truthful mail, whoever asked for the change, and never beside the workflow."""

import json
import random
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from email.message import EmailMessage
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from renewals.domain import confirmations
from renewals.domain.changes import Change, ChangeKind, of_dispute
from renewals.domain.renewal import Mail, MailKind, MailState
from renewals.domain.timeline import timeline
from renewals.domain.transitions import Action, NotAllowed
from renewals.language import words
from renewals.language.catalogues import catalogue
from renewals.language.tags import LANGUAGES
from renewals.ledger.asked_by import AskedBy
from renewals.runtime import renewal_queue
from tests.fake_aws import error
from tests.fake_events import deliver
from tests.fakes import LATER, NOON
from tests.streams import record
from tests.unit.test_customer_page_cancel import STATES
from tests.unit.test_event_publisher import Publisher
from tests.unit.test_mail_feedback import bounce
from tests.visitor import visiting

DAY, SECOND = timedelta(days=1), timedelta(seconds=1)
SIGN_UP, CANCELED = "Your subscription to Pro", "Your subscription to Pro is canceled"
CONTINUES, CHANGED = "Your subscription to Pro continues", "Your subscription to Pro has changed"
ENDED = "The end of your subscription to Pro"
CARD = "Your payment method for Pro was updated"

type Json = dict[str, Any]


class Stack:
    """EventPublisher, the queue of renewals and the workflow, over one world."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.publisher = Publisher(patch)
        self.shop = self.publisher.shop
        self.queue = self.publisher.unreadable
        self.runs = 0
        self.configure(self.shop.confirmations, patch)

    def configure(self, confirmations: str, patch: pytest.MonkeyPatch) -> None:
        self.shop.confirmations = confirmations
        patch.setenv("CONFIRMATIONS", confirmations)

    def sign_up(
        self, now: datetime = NOON, *, by: str = "arn:aws:iam::1:role/app", imports: bool = False, **row: Any
    ) -> None:
        """Create a subscription through the register, as the API does, or as an import does."""
        self.shop.subscribe(**row)
        new = self.shop.row()
        self.shop.delete_row()
        self.shop.streams.records(now)
        self.shop.register.create(new, AskedBy(by, now, imports=imports))

    def act(self, action: Action, now: datetime, by: str = "ann") -> None:
        self.shop.register.act(self.shop.row(), action, now.date(), AskedBy(by, now))

    def edit(self, now: datetime, by: str = "ann", **changes: Any) -> None:
        self.shop.register.edit(self.shop.row(), changes, ChangeKind.EDITED, AskedBy(by, now))

    def give_card(self, now: datetime, card: str = "pm_new", by: str = "customer") -> None:
        given = {"payment_method": card}
        self.shop.register.act(self.shop.row(), Action.GIVE_CARD, now.date(), AskedBy(by, now), given)

    def publish(self, now: datetime) -> None:
        """Let Lambda deliver the streams to EventPublisher."""
        deliver(self.shop.streams.records(now), self.publisher.handle)

    def work(self, now: datetime) -> list[str]:
        """Run the workflow for every message in the queue, until no message is left; return the final states."""
        states = []
        while received := self.queue.receive_message().get("Messages"):
            request = json.loads(received[0]["Body"])
            for _ in range(5):
                self.runs += 1
                now += LATER
                state = self.shop.execute(request, f"run-{self.runs}", now)
                states.append(state)
                if state == "Success":
                    break
            self.queue.delete_message(ReceiptHandle=received[0]["ReceiptHandle"])
        return states

    def settle(self, now: datetime) -> list[str]:
        """Publish, and run the workflow; return the subjects of the new mails."""
        before = len(self.shop.mails())
        self.publish(now)
        self.work(now)
        return [mail["Subject"] for mail in self.shop.mails()[before:]]

    def told(self) -> list[str]:
        """Return the timeline, in words."""
        changes, *_ = self.shop.register.changes.readable("sub_1")
        return [entry.text for entry in timeline(self.shop.row(), self.shop.items().values(), changes, UTC)]


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Stack:
    return Stack(monkeypatch)


def _text(mail: EmailMessage, kind: str = "plain") -> str:
    part = mail.get_body((kind,))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


def _last(stack: Stack) -> str:
    return _text(stack.shop.mails()[-1])


# --- each change once ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["arn:aws:sts::1:assumed-role/app/ann", "Ops/zoe", "customer"])
def test_each_change_is_confirmed_once_whoever_asked(stack: Stack, by: str) -> None:
    """A sign-up, a cancellation at the period's end and at once, a resumption, a new price and a new payment method are
    confirmed by one mail each, whether the application, a person at a terminal or the customer asked; another look
    mails nobody."""
    stack.sign_up(NOON, by=by, renewal_date="2026-02-28")
    told = [stack.settle(NOON)]
    changes: list[Callable[[datetime], None]] = [
        lambda now: stack.act(Action.CANCEL_AT_PERIOD_END, now, by),
        lambda now: stack.act(Action.RESUME, now, by),
        lambda now: stack.edit(now, by, amount=Decimal("39.99")),
        lambda now: stack.give_card(now, by=by),
        lambda now: stack.act(Action.CANCEL_NOW, now, by),
    ]
    for day, change in enumerate(changes, 1):
        change(NOON + day * DAY)
        told.append(stack.settle(NOON + day * DAY))
    assert told == [[SIGN_UP], [CANCELED], [CONTINUES], [CHANGED], [CARD], [CANCELED]]
    assert stack.shop.confirm("again", NOON + 6 * DAY) == "Success"
    assert len(stack.shop.mails()) == 6


def test_a_record_that_is_delivered_twice_mails_once(stack: Stack) -> None:
    """A stream delivers at least once, and so does the queue: doubled records and messages change nothing."""
    stack.sign_up(NOON)
    records = stack.shop.streams.records(NOON)
    for _ in range(2):
        deliver([each for each in records for _ in range(2)], stack.publisher.handle)
    assert len(stack.queue.bodies) >= 2
    stack.work(NOON)
    assert [mail["Subject"] for mail in stack.shop.mails()] == [SIGN_UP]


def test_a_first_charge_at_once_has_a_confirmation_and_a_receipt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sign-up whose first payment is made at once gets two mails, in either order, and both are true: the
    confirmation names the payment that comes next when the mail is written."""
    for charge_first in (True, False):
        one = Stack(monkeypatch)
        one.sign_up(NOON)
        if charge_first:
            one.shop.run("charge", NOON)
        one.settle(NOON + SECOND)
        if not charge_first:
            one.shop.run("charge", NOON + DAY)
        subjects = [mail["Subject"] for mail in one.shop.mails()]
        assert sorted(subjects) == sorted([SIGN_UP, "Receipt for Pro: $29.99"])
        confirmation = next(_text(mail) for mail in one.shop.mails() if mail["Subject"] == SIGN_UP)
        day = "28 February 2026" if charge_first else "31 January 2026"
        assert f"We charge $29.99 on {day}" in confirmation


@pytest.mark.parametrize(
    "kind", ["sign_up", "cancellation", "resumption", "changed_terms", "new_card", "ended_by_dispute"]
)
def test_each_kind_is_switched_off_by_itself(stack: Stack, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """The parameter Confirmations names the kinds that are mailed; a kind that it leaves out is never mailed."""
    stack.configure(",".join(each for each in stack.shop.confirmations.split(",") if each != kind), monkeypatch)
    stack.sign_up(NOON, renewal_date="2026-02-28")
    told = {"sign_up": stack.settle(NOON)}
    stack.act(Action.CANCEL_AT_PERIOD_END, NOON + DAY)
    told["cancellation"] = stack.settle(NOON + DAY)
    stack.act(Action.RESUME, NOON + 2 * DAY)
    told["resumption"] = stack.settle(NOON + 2 * DAY)
    stack.edit(NOON + 3 * DAY, plan="Max")
    told["changed_terms"] = stack.settle(NOON + 3 * DAY)
    stack.give_card(NOON + 3 * DAY + LATER)
    told["new_card"] = stack.settle(NOON + 3 * DAY + LATER)
    stack.act(Action.CANCEL_NOW, NOON + 4 * DAY, of_dispute("dp_1"))
    told["ended_by_dispute"] = stack.settle(NOON + 4 * DAY)
    assert {name: len(mails) for name, mails in told.items()} == {name: int(name != kind) for name in told}


def test_no_kind_at_all_runs_no_workflow(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an empty parameter, a change puts nothing into the queue."""
    stack.configure("", monkeypatch)
    stack.sign_up(NOON)
    stack.edit(NOON + SECOND, customer_email="ann@new.example")
    stack.publish(NOON + SECOND)
    assert stack.queue.bodies == []


# --- who is not mailed -----------------------------------------------------------------------------------------------


def test_an_import_mails_nobody(stack: Stack) -> None:
    """The subscriptions of an import are recorded as created, and none of their customers is mailed."""
    for n in range(20):
        stack.shop.subscribe(subscription_id=f"sub_{n}")
        new = stack.shop.dynamodb.items("subscriptions")[f"sub_{n}", "cus_1"]
        stack.shop.dynamodb.delete("subscriptions", (f"sub_{n}", "cus_1"))
        stack.shop.register.create(new, AskedBy("ops", NOON, imports=True))
    stack.publish(NOON)
    assert stack.queue.bodies == []
    stack.shop.subscription_id = "sub_3"
    assert stack.shop.confirm() == "Success"
    assert stack.shop.mails() == []


def test_rows_by_hand_and_rows_of_a_backup_mail_nobody(stack: Stack) -> None:
    """A row that somebody writes or edits by hand is no change on request, and the record of a change that somebody
    puts back from a backup is an old record: neither puts anything into the queue."""
    stack.shop.subscribe()
    stack.shop.edit(status="canceled")
    stack.shop.edit(amount=Decimal(5), status="active")
    stack.publish(NOON)
    item = {"subscription_id": "sub_1", "change": "created", "at": NOON.isoformat(), "by": "ann", "what": "created"}
    put_back = record("changes", None, item | {"details": {}, "confirmable": True}, NOON + 2 * DAY)
    deliver([put_back], stack.publisher.handle)
    assert stack.queue.bodies == []


@pytest.mark.parametrize("fault", [{"at": "soon"}, {"at": "2026-01-31T12:00:00"}, {"details": None}])
def test_a_record_that_cannot_be_read_keeps_no_confirmation_back(stack: Stack, fault: dict[str, Any]) -> None:
    """The record of a change that somebody wrote by hand, and that cannot be read, is left out: a cancellation is
    confirmed all the same."""
    stack.shop.subscribe()
    record = {
        "subscription_id": "sub_1",
        "change": "by hand",
        "at": str(NOON),
        "by": "ann",
        "what": "edited",
        "details": {},
    }
    stack.shop.dynamodb.put("changes", record | fault)
    stack.act(Action.CANCEL_AT_PERIOD_END, NOON)
    assert stack.settle(NOON + LATER) == ["Your subscription to Pro is canceled"]


def _as_an_earlier_version_wrote(stack: Stack) -> None:
    """Take the marks out of the records of changes, which earlier versions did not write."""
    for key, item in list(stack.shop.dynamodb.items("changes").items()):
        stack.shop.dynamodb.put("changes", {name: each for name, each in item.items() if name != "confirmable"})
        assert "confirmable" in item, key


def test_changes_from_before_the_upgrade_are_not_confirmed(stack: Stack) -> None:
    """A sign-up, a new price and a cancellation that an earlier version recorded a moment ago mail nobody, neither by
    themselves nor with a later change, and the mail about a later price names the price just before it."""
    stack.sign_up(NOON, renewal_date="2026-02-28")
    stack.edit(NOON + SECOND, amount=Decimal("31.99"))
    stack.act(Action.CANCEL_AT_PERIOD_END, NOON + 2 * SECOND)
    _as_an_earlier_version_wrote(stack)
    assert stack.settle(NOON + LATER) == []
    assert stack.shop.confirm("again", NOON + LATER) == "Success"
    assert stack.shop.mails() == []
    stack.edit(NOON + 2 * LATER, amount=Decimal("35.50"))
    assert stack.settle(NOON + 2 * LATER) == [CHANGED]
    assert "29.99" not in _last(stack)
    stack.act(Action.RESUME, NOON + 3 * LATER)
    assert stack.settle(NOON + 3 * LATER) == [CONTINUES]


def test_an_outage_of_days_loses_no_confirmation(stack: Stack) -> None:
    """A message that lay in the dead-letter queue for six days is still mailed. A confirmation of more than seven days
    ago is not mailed any more: it is recorded as failed, which is counted, and told in the timeline, once."""
    stack.sign_up(NOON, renewal_date="2026-02-28")
    stack.act(Action.CANCEL_AT_PERIOD_END, NOON + SECOND)
    assert stack.shop.confirm("late", NOON + 6 * DAY) == "Success"
    assert [mail["Subject"] for mail in stack.shop.mails()] == [CANCELED]
    stack.act(Action.RESUME, NOON + 7 * DAY)
    assert stack.shop.confirm("too late", NOON + 14 * DAY) == "EmailFailed"
    assert len(stack.shop.mails()) == 1
    told = [text for text in stack.told() if text.startswith("Could not mail the confirmation of the resumption")]
    assert len(told) == 1
    assert stack.shop.confirm("again", NOON + 15 * DAY) == "Success"


def test_a_change_of_long_ago_is_passed_over(stack: Stack) -> None:
    """A change of more than forty days ago is no news: a look mails nobody and records nothing."""
    stack.sign_up(NOON, renewal_date="2026-02-28")
    assert stack.shop.confirm("late", NOON + 40 * DAY) == "Success"
    assert stack.shop.mails() == []
    assert not any("confirmation" in text for text in stack.told())


def test_the_end_by_a_dispute_is_not_confirmed_as_a_wish(stack: Stack) -> None:
    """A customer who disputed a payment asked the bank and not the seller: the end of the subscription is not confirmed
    as a cancellation, but by a mail of its own, and an earlier resumption is not confirmed."""
    stack.sign_up(NOON, renewal_date="2026-02-28")
    stack.settle(NOON)
    stack.act(Action.CANCEL_AT_PERIOD_END, NOON + DAY)
    stack.act(Action.RESUME, NOON + DAY + SECOND)
    stack.act(Action.CANCEL_NOW, NOON + DAY + LATER, of_dispute("dp_1"))
    assert stack.settle(NOON + DAY + LATER) == [ENDED]


# --- the truth -------------------------------------------------------------------------------------------------------


def test_a_withdrawn_cancellation_is_not_confirmed(stack: Stack) -> None:
    """A cancellation that was withdrawn before its mail went out is not confirmed; the customer is told what is true
    now."""
    stack.sign_up(NOON, renewal_date="2026-02-28")
    stack.settle(NOON)
    stack.act(Action.CANCEL_AT_PERIOD_END, NOON + DAY)
    stack.act(Action.RESUME, NOON + DAY + SECOND)
    assert stack.settle(NOON + DAY + LATER) == [CONTINUES]


def test_a_cancellation_that_a_hand_took_back_is_not_confirmed(stack: Stack) -> None:
    """The row decides: somebody took the end of the subscription out of the row by hand before the mail went out."""
    stack.sign_up(NOON, renewal_date="2026-02-28")
    stack.settle(NOON)
    stack.act(Action.CANCEL_AT_PERIOD_END, NOON + DAY)
    row = {name: value for name, value in stack.shop.row().items() if name != "cancel_at"}
    stack.shop.dynamodb.put("subscriptions", row)
    assert stack.settle(NOON + DAY) == []


def test_two_new_prices_in_a_row_are_told_as_one(stack: Stack) -> None:
    """Of two changes in a row the second mail names the price that the customer knew, and the price of now."""
    stack.sign_up(NOON, renewal_date="2026-02-28")
    stack.settle(NOON)
    stack.edit(NOON + DAY, amount=Decimal("31.99"))
    stack.edit(NOON + DAY + SECOND, amount=Decimal("35.50"))
    assert stack.settle(NOON + DAY + LATER) == [CHANGED]
    assert "From 28 February 2026 on, the price is $35.50 instead of $29.99." in _last(stack)
    stack.edit(NOON + 2 * DAY, amount=Decimal("40.00"))
    stack.settle(NOON + 2 * DAY)
    assert "the price is $40.00 instead of $35.50." in _last(stack)


def test_a_price_that_was_changed_back_is_not_told(stack: Stack) -> None:
    """A price that is the same again before the mail went out is no news."""
    stack.sign_up(NOON, renewal_date="2026-02-28")
    stack.settle(NOON)
    stack.edit(NOON + DAY, amount=Decimal("31.99"))
    stack.edit(NOON + DAY + SECOND, amount=Decimal("29.99"))
    assert stack.settle(NOON + DAY + LATER) == []


def test_other_edits_are_not_confirmed(stack: Stack) -> None:
    """An edit of the customer's name or language is no change of the terms."""
    stack.sign_up(NOON, renewal_date="2026-02-28")
    stack.settle(NOON)
    stack.edit(NOON + DAY, customer_name="Ann Bee", locale="en-GB")
    stack.publish(NOON + DAY)
    assert stack.queue.bodies == []


def test_a_sign_up_that_was_canceled_at_once_is_told_as_canceled(stack: Stack) -> None:
    """A sign-up and its cancellation within the same moment are told by one mail, which says what is true."""
    stack.sign_up(NOON, renewal_date="2026-02-28")
    stack.act(Action.CANCEL_NOW, NOON + SECOND)
    assert stack.settle(NOON + LATER) == [CANCELED]
    assert "Your subscription has ended." in _last(stack)


def test_a_new_price_of_a_subscription_that_ended_is_not_told(stack: Stack) -> None:
    """A price that was changed before the cancellation no longer matters."""
    stack.sign_up(NOON, renewal_date="2026-02-28")
    stack.settle(NOON)
    stack.edit(NOON + DAY, amount=Decimal("31.99"))
    stack.act(Action.CANCEL_NOW, NOON + DAY + SECOND)
    assert stack.settle(NOON + DAY + LATER) == [CANCELED]


def test_a_row_that_changes_between_the_look_and_the_claim_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mail is claimed on the condition that the row is as read. A resumption at any call of the run leads to the
    confirmation of the cancellation if the mail was claimed before, and else never."""
    for at in range(60):
        one = Stack(monkeypatch)
        one.sign_up(NOON, renewal_date="2026-02-28", imports=True)
        one.act(Action.CANCEL_AT_PERIOD_END, NOON + DAY)
        one.publish(NOON + DAY)
        cuts, calls, claimed = one.shop.cuts, len(one.shop.cuts.calls), list[bool]()
        cuts.at, cuts.happens = 2 * calls + at, _resume(one, claimed)
        one.work(NOON + DAY)
        if cuts.at is not None:  # the run was over before
            assert at > 8
            break
        told = [mail["Subject"] for mail in one.shop.mails()]
        assert told == [CANCELED] if claimed[0] else told in ([], [CONTINUES])
    else:
        raise AssertionError("the run does not end")


def _resume(stack: Stack, claimed: list[bool]) -> Callable[[str], None]:
    """Return what happens at a call: the subscription is resumed. claimed: filled with whether the mail was claimed."""

    def happens(_point: str) -> None:
        changes, *_ = stack.shop.register.changes.readable("sub_1")
        claimed.append(any(each.mail for each in changes if each.what is ChangeKind.ENDING))
        stack.act(Action.RESUME, NOON + DAY + SECOND)

    return happens


# --- what the mails say ----------------------------------------------------------------------------------------------


def test_the_sign_up_says_what_was_bought_and_how_to_cancel(stack: Stack) -> None:
    """The confirmation of a sign-up names plan, price, period, next payment and the way to cancel."""
    stack.sign_up(NOON, renewal_date="2026-02-28", interval="month", interval_count=Decimal(3))
    stack.settle(NOON)
    told = _last(stack)
    assert "Thank you for subscribing to Pro." in told
    assert "We charge $29.99 on 28 February 2026, and again for each further period until you cancel." in told
    assert "You can cancel your subscription at any time on your account page." in told
    assert "See your subscription: https://shop.example/account" in told
    for fact in ("Plan: Pro", "Price: 29.99 USD", "Billing period in months: 3", "Next payment: 28 February 2026"):
        assert f"  {fact}\n" in told


def test_a_cancellation_names_the_last_day_and_when_it_was_received(stack: Stack) -> None:
    """The confirmation names the last day of the subscription and the moment of the cancellation, and promises that
    nothing more is charged only if no payment is under way."""
    stack.sign_up(NOON, renewal_date="2026-02-28")
    stack.settle(NOON)
    stack.act(Action.CANCEL_AT_PERIOD_END, NOON + DAY)
    stack.settle(NOON + DAY)
    told = _last(stack)
    assert "We have canceled your subscription to Pro. Your last day is 27 February 2026." in told
    assert "Nothing more will be charged." in told
    assert "  Canceled at: 1 February 2026, 12:00 UTC+00\n" in told


@pytest.mark.parametrize("tag", LANGUAGES)
def test_the_customer_page_and_the_mail_name_the_same_last_day(stack: Stack, tag: str) -> None:
    """A customer who cancels reads the same last day, and never the day after it, on the page that asks, on the page
    that follows, and in the mail; once the day is over, the page still names that day."""
    stack.sign_up(NOON, renewal_date="2026-02-28", locale=tag)
    stack.settle(NOON)
    last, after = (words(tag).day(date(2026, 2, day)) for day in (27, 28))
    with visiting(stack.shop) as visitor:
        visitor.sign_in()
        asked = visitor.get("cancel").text
        assert visitor.press("cancel").status == 303
        canceled = visitor.get("overview").text
        resumed = visitor.get("resume").text
        visitor.now += 28 * DAY
        ended = visitor.sign_in().text
    assert len(stack.settle(NOON + LATER)) == 1
    for text in (asked, canceled, _last(stack), ended):
        assert last in text
        assert after not in text
    assert after in resumed  # the next payment is due on the day after the last day


@pytest.mark.parametrize("tag", LANGUAGES)
def test_the_page_says_the_last_day_in_the_words_of_the_mail(tag: str) -> None:
    """Each text of the page about a coming end names the end as the last day, in the sentence of the mail."""
    told = re.split("[.。] ?", catalogue("notices", tag)["cancellation_told"])[-2].casefold()
    assert "{day}" in told
    for key in ("state_ending", "state_ends_later", "cancel_period_end", "resume_ends"):
        assert told in catalogue("page", tag)[key].casefold(), key


def test_a_cancellation_on_the_day_of_the_renewal_names_no_day_before_the_cancellation(stack: Stack) -> None:
    """A subscription that is canceled on the day on which the paid days are over has ended: the page says that the
    subscription ends today, and the mail does not tell the customer of a last day to come."""
    stack.sign_up(NOON, renewal_date="2026-01-31")
    stack.act(Action.CANCEL_AT_PERIOD_END, NOON + SECOND)
    assert stack.settle(NOON + LATER) == [CANCELED]
    assert "We have canceled your subscription to Pro. Your subscription has ended." in _last(stack)


def test_a_cancellation_at_once_names_no_later_day(stack: Stack) -> None:
    """A subscription that was canceled at once, after a cancellation for a later day, has ended: the confirmation names
    no day to come."""
    stack.sign_up(NOON, renewal_date="2026-02-28")
    stack.act(Action.CANCEL_AT_PERIOD_END, NOON + SECOND)
    stack.act(Action.CANCEL_NOW, NOON + 2 * SECOND)
    assert stack.settle(NOON + LATER) == [CANCELED]
    told = _last(stack)
    assert "We have canceled your subscription to Pro. Your subscription has ended." in told
    assert "27 February" not in told
    assert "Last day" not in told


def test_a_cancellation_during_a_payment_says_so(stack: Stack) -> None:
    """While a payment is open, the confirmation does not promise that nothing is charged."""
    stack.sign_up(NOON, payment_method="pm_declined")
    stack.shop.run("charge", NOON)
    stack.settle(NOON)
    stack.act(Action.CANCEL_NOW, NOON + DAY)
    stack.settle(NOON + DAY)
    assert "Nothing more will be charged." not in _last(stack)
    assert "A payment that began before the cancellation may still be completed." in _last(stack)


def test_a_new_price_counts_from_the_payment_that_has_it(stack: Stack) -> None:
    """A price that a reminder named holds for its renewal: the confirmation names the later date, and the payment that
    still has the earlier price."""
    stack.sign_up(NOON - 10 * DAY, interval="year")
    stack.settle(NOON - 10 * DAY)
    stack.shop.remind("reminder", NOON - 5 * DAY)
    stack.edit(NOON - DAY, amount=Decimal("49.99"))
    stack.settle(NOON - DAY)
    told = _last(stack)
    assert "From 31 January 2027 on, the price is $49.99 instead of $29.99." in told
    assert "The payment on 31 January 2026 is still $29.99." in told


@pytest.mark.parametrize("tag", LANGUAGES)
def test_each_kind_speaks_the_customers_language(stack: Stack, tag: str) -> None:
    """Each kind of confirmation is written in the customer's language as a whole, with its values: in another language
    no sentence and no label is the English one."""
    stack.sign_up(NOON, renewal_date="2026-02-28", interval_count=Decimal(2), locale=tag)
    stack.settle(NOON)
    stack.act(Action.CANCEL_AT_PERIOD_END, NOON + DAY)
    stack.settle(NOON + DAY)
    stack.act(Action.RESUME, NOON + 2 * DAY)
    stack.settle(NOON + 2 * DAY)
    stack.edit(NOON + 3 * DAY, amount=Decimal("39.99"), plan="Max", interval="year", interval_count=Decimal(1))
    stack.settle(NOON + 3 * DAY)
    stack.give_card(NOON + 3 * DAY + LATER)
    stack.settle(NOON + 3 * DAY + LATER)
    stack.act(Action.CANCEL_NOW, NOON + 4 * DAY, of_dispute("dp_1"))
    stack.settle(NOON + 4 * DAY)
    mails = stack.shop.mails()
    assert len(mails) == len({mail["Subject"] for mail in mails}) == 6
    english = [text.split("{")[0].strip() for text in catalogue("notices", "en").values()]
    for mail in mails:
        text = _text(mail)
        assert "{" not in text + mail["Subject"]
        said = [part for part in english if len(part) > 8 and part in text]
        assert said if tag == "en" else not said
    assert "Pro" in _text(mails[0])
    assert "Max" in _text(mails[3])


def test_a_new_payment_method_warns_a_customer_who_did_not_ask(stack: Stack) -> None:
    """The mail about a new payment method says when it was updated, when it is charged next, and what to do if somebody
    else has used the customer's link; the button leads to the page."""
    stack.sign_up(NOON, renewal_date="2026-02-28")
    stack.settle(NOON)
    stack.give_card(NOON + DAY)
    assert stack.settle(NOON + DAY) == [CARD]
    told = _last(stack)
    assert "On 1 February 2026, 12:00 UTC+00, the payment method for your subscription to Pro was updated." in told
    assert "We charge $29.99 on 28 February 2026, and again for each further period until you cancel." in told
    assert "If this was not you, please update the payment method again on your account page, and contact us." in told
    assert "See your subscription: https://shop.example/account" in told
    assert "Payment method:" not in told
    assert any("Mailed the confirmation of the new payment method to a" in text for text in stack.told())


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"status": "paused"}, "Nothing is charged until the subscription is resumed."),
        ({"status": "unpaid"}, "Nothing is charged until the subscription is resumed."),
        ({"cancel_at": "2026-02-28"}, "The subscription ends after 27 February 2026."),
        ({"status": "canceled"}, "Nothing more will be charged."),
        ({"status": "?"}, "the payment method for your subscription to Pro was updated."),
    ],
)
def test_a_new_payment_method_promises_no_charge_that_does_not_come(stack: Stack, row: Json, said: str) -> None:
    """The mail about a new payment method names a charge only if one comes, and asks the customer of a subscription
    that has ended since, or whose status is unknown, to contact the seller, because the page takes no payment method
    then."""
    stack.sign_up(NOON, renewal_date="2026-02-28", imports=True)
    stack.give_card(NOON + DAY)
    stack.shop.edit(**row)
    assert stack.settle(NOON + DAY) == [CARD]
    told = _last(stack)
    assert said in told
    assert "We charge" not in told
    assert ("If this was not you, please contact us." in told) == (row.get("status") in ("canceled", "?"))


@pytest.mark.parametrize("charge_first", [True, False])
@pytest.mark.parametrize("card", ["pm_new", "pm_declined_too"])
def test_a_new_card_for_a_refused_payment_has_its_mail_and_the_payments_mail(
    monkeypatch: pytest.MonkeyPatch, card: str, charge_first: bool
) -> None:
    """A customer whose payment was refused saves a new card: the mail about the card and the receipt or the next mail
    about the refusal come in either order, and both are true. The mail names the card once the card was charged, and
    the page loaded twice mails nothing twice."""
    stack = Stack(monkeypatch)
    stack.sign_up(NOON, payment_method="pm_declined", imports=True)
    stack.shop.run("declined", NOON)
    stack.publish(NOON)
    before, now = len(stack.shop.mails()), NOON + DAY
    with visiting(stack.shop) as visitor:
        visitor.now = now
        visitor.sign_in()
        opened = visitor.post("new-card", visitor.get("overview").fields).header("Location").rpartition("/")[2]
        back = stack.shop.gateway.give_card(opened, card, now).partition("/account/")[2]
        for _ in range(2):
            assert visitor.get(back).status == 200
    if charge_first:
        stack.shop.run("retried", now + LATER)
    stack.settle(now + LATER)
    if not charge_first:
        stack.shop.run("retried", now + 9 * LATER)
    mails = {mail["Subject"]: _text(mail) for mail in stack.shop.mails()[before:]}
    assert len(mails) == len(stack.shop.mails()[before:]) == 2
    is_paid_before = charge_first and card == "pm_new"
    past_due = "A payment is past due. A separate email tells you about that payment."
    assert (past_due in mails[CARD]) != is_paid_before
    assert ("We charge $29.99 on 28 February 2026" in mails[CARD]) == is_paid_before
    assert ("Payment method: Visa ending in" in mails[CARD]) == is_paid_before


def test_a_move_to_another_customer_at_the_gateway_is_not_told(stack: Stack) -> None:
    """A team that moves its subscriptions to another account of the gateway gives each a new customer and payment
    method of the gateway by an edit: the card stays the same, and nobody is mailed."""
    stack.sign_up(NOON, renewal_date="2026-02-28", imports=True)
    stack.edit(NOON, gateway_customer="cus_moved", payment_method="pm_moved")
    assert stack.settle(NOON + LATER) == []


def test_of_two_new_payment_methods_the_latest_is_told_while_it_stands(stack: Stack) -> None:
    """Two payment methods in a row are one mail; a payment method that a hand has replaced since is not told; the same
    payment method given again is no news."""
    stack.sign_up(NOON, renewal_date="2026-02-28", imports=True)
    stack.give_card(NOON, "pm_new")
    stack.give_card(NOON + SECOND, "pm_newer")
    assert stack.settle(NOON + LATER) == [CARD]
    stack.give_card(NOON + DAY, "pm_newer")
    assert stack.settle(NOON + DAY) == []
    stack.give_card(NOON + 2 * DAY, "pm_newest")
    stack.shop.edit(payment_method="pm_hand")
    assert stack.settle(NOON + 2 * DAY) == []


def test_a_payment_method_that_is_given_twice_before_the_mail_is_told(stack: Stack) -> None:
    """A client repeats the request with the same payment method before the mail goes out: the second record changes
    nothing, and the customer is still told of the first, once."""
    stack.sign_up(NOON, renewal_date="2026-02-28", imports=True)
    stack.give_card(NOON)
    stack.give_card(NOON + SECOND)
    assert stack.settle(NOON + LATER) == [CARD]
    assert stack.settle(NOON + DAY) == []


# --- rows with a fault -----------------------------------------------------------------------------------------------

FAULTS: list[Json] = [
    {"amount": "by hand"},
    {"amount": Decimal("29.999")},
    {"currency": "QQQ"},
    {"renewal_date": "not a day"},
    {"interval": "fortnight"},
    {"interval_count": Decimal(0)},
    {"catch_up": "?"},
    {"gateway_customer": "by hand"},
    {"plan": Decimal(5)},
    {"customer_name": Decimal(5)},
    {"locale": Decimal(5)},
    {"cancel_at": {"soon"}},
    {"cancel_at": b"soon"},
]


@pytest.mark.parametrize("row", [row for row, *_ in STATES] + FAULTS)
def test_each_cancellation_on_the_page_is_confirmed(stack: Stack, row: Json) -> None:
    """A customer cancels in each state of the page, and of a row with any fault: the mail says so once, with the last
    day if the page named one, and says nothing that cannot be read."""
    stack.sign_up(NOON, renewal_date="2026-02-28", imports=True)
    stack.shop.edit(**row)
    with visiting(stack.shop) as visitor:
        visitor.sign_in()
        asked = visitor.get("cancel").text
        assert visitor.press("cancel").status == 303
    plan = "Subscription" if "plan" in row else "Pro"
    assert stack.settle(NOON + LATER) == [f"Your subscription to {plan} is canceled"]
    told = _last(stack)
    assert ("Your last day is 27 February 2026." in told) == ("Your last day is 27 February 2026" in asked)
    assert ("Your subscription has ended." in told) == ("ends today" in asked)
    assert "Nothing more will be charged." in told
    assert f"  Plan: {plan}\n" in told
    assert "by hand" not in told
    assert stack.shop.confirm("again", NOON + DAY) == "Success"
    assert len(stack.shop.mails()) == 1


@pytest.mark.parametrize("row", [*FAULTS, {"status": "?"}, {"payment_method": ""}])
def test_a_link_is_mailed_of_a_row_with_a_fault(stack: Stack, row: Json) -> None:
    """The page answers that it sends a link: the link goes out, whatever is wrong with the row."""
    stack.sign_up(NOON, renewal_date="2026-02-28", imports=True)
    stack.shop.edit(**row)
    stack.shop.register.changes.note("sub_1", ChangeKind.LINK_ASKED, AskedBy("customer", NOON))
    [subject] = stack.settle(NOON + LATER)
    assert subject.startswith("Your link to your subscription to ")
    assert "https://shop.example/account" in _last(stack)


def test_of_two_requests_for_a_link_at_the_same_moment_one_is_answered(stack: Stack) -> None:
    """Two windows ask for a link at the same moment. One link is mailed, and no link is owed any more, in whatever
    order the records are read."""
    mail = Mail(MailState.SENT, "token", "run-1", NOON, "ann@customer.example")
    asked = [Change(NOON, "customer", ChangeKind.LINK_ASKED, {}, key, True, mail) for key in ("a", "b")]
    stack.sign_up(NOON)
    row = stack.shop.row()
    for latest in (asked, asked[::-1]):
        unsent = [replace(each, mail=None) if each.key == "a" else each for each in latest]
        assert confirmations.owed(row, unsent, (), NOON, tested=False) == []


@pytest.mark.parametrize("row", [{"amount": "by hand"}, {"interval": "fortnight"}, {"plan": Decimal(5)}])
def test_each_change_of_a_row_with_a_fault_is_told_as_far_as_it_can_be_read(stack: Stack, row: Json) -> None:
    """A sign-up and a new payment method are confirmed without what cannot be read. A new price that cannot be read is
    not: the failure is recorded, which turns on the alarm, and stands in the timeline. Once the row is mended and the
    fault is cleared, the new price is confirmed."""
    stack.sign_up(NOON, renewal_date="2026-02-28")
    stack.give_card(NOON)
    stack.edit(NOON + SECOND, amount=Decimal("39.99"))
    stack.shop.edit(**row)
    stack.publish(NOON + LATER)
    assert "EmailFailed" in stack.work(NOON + LATER)
    assert len(stack.shop.mails()) == 2  # of the sign-up and of the payment method
    failed = [text for text in stack.told() if text.startswith("Could not mail the confirmation of the new price")]
    assert len(failed) == 1
    assert failed[0].endswith("the new terms in the row cannot be read.")
    good = {"amount": Decimal("39.99"), "interval": "month", "plan": "Pro"}
    stack.shop.edit(**{name: good[name] for name in row})
    stack.shop.register.clear_mail_fault(stack.shop.row(), "the row is mended", AskedBy("zoe", NOON + DAY))
    assert stack.settle(NOON + DAY) == [CHANGED]


OTHER_FAULTS: list[Json] = [
    {"renewal_date": "not a day"},
    {"catch_up": "?"},
    {"payment_method": ""},
    {"gateway_customer": "by hand"},
    {"cancel_at": "31.02.2026"},
]
"""The faults of a row whose terms can be read."""


@pytest.mark.parametrize("row", OTHER_FAULTS)
def test_a_new_price_is_told_whatever_else_is_wrong_with_the_row(stack: Stack, row: Json) -> None:
    """A fault of the row beside its terms keeps no new price back. The mail names both prices, and names no payment
    from which on the new price counts, because the payments ahead are not known."""
    stack.sign_up(NOON, renewal_date="2026-02-28", imports=True)
    stack.edit(NOON, amount=Decimal("39.99"))
    stack.shop.edit(**row)
    assert stack.settle(NOON + LATER) == [CHANGED]
    told = _last(stack)
    assert "  Price: 39.99 USD\n" in told
    assert "  Earlier price: 29.99 USD\n" in told
    assert "the price is" not in told


@pytest.mark.parametrize("row", [*OTHER_FAULTS, {"interval": "fortnight"}])
def test_a_price_that_was_changed_back_turns_on_no_alarm(stack: Stack, row: Json) -> None:
    """A price that was changed and changed back is no news, and no failure, whatever is wrong with the row."""
    stack.sign_up(NOON, renewal_date="2026-02-28", imports=True)
    stack.edit(NOON, amount=Decimal("39.99"))
    stack.edit(NOON + SECOND, amount=Decimal("29.99"))
    stack.shop.edit(**row)
    stack.publish(NOON + LATER)
    assert set(stack.work(NOON + LATER)) == {"Success"}
    assert stack.shop.mails() == []
    assert not any("mail" in text for text in stack.told())


@pytest.mark.parametrize("end", ["28.2.2026", b"soon", ""])
@pytest.mark.parametrize("by", ["customer", of_dispute("dp_1")])
def test_a_coming_end_that_cannot_be_read_is_recorded_as_failed(stack: Stack, by: str, end: Any) -> None:
    """Somebody overwrites the end that a cancellation, or a dispute, has set: nobody can tell the customer the last
    day. The failure is recorded once, which turns on the alarm. Once the row is mended and the fault is cleared, the
    customer is told."""
    stack.sign_up(NOON, renewal_date="2026-02-28", imports=True)
    stack.act(Action.CANCEL_AT_PERIOD_END, NOON, by)
    stack.shop.edit(cancel_at=end)
    stack.publish(NOON + LATER)
    assert "EmailFailed" in stack.work(NOON + LATER)
    assert stack.shop.confirm("again", NOON + DAY) == "Success"
    assert stack.shop.mails() == []
    failed = [text for text in stack.told() if text.startswith("Could not mail")]
    assert len(failed) == 1
    assert failed[0].endswith("the end of the subscription in the row cannot be read.")
    stack.shop.edit(cancel_at="2026-02-28")
    stack.shop.register.clear_mail_fault(stack.shop.row(), "the row is mended", AskedBy("zoe", NOON + DAY))
    assert stack.settle(NOON + DAY) == [CANCELED if by == "customer" else ENDED]


def test_a_resumption_of_a_row_with_a_fault_is_confirmed(stack: Stack) -> None:
    """A cancellation of a row whose price cannot be read is taken back: the mail says so, and names no price."""
    stack.sign_up(NOON, renewal_date="2026-02-28", imports=True)
    stack.act(Action.CANCEL_AT_PERIOD_END, NOON)
    stack.shop.edit(amount="by hand")
    stack.act(Action.RESUME, NOON + SECOND)
    assert stack.settle(NOON + LATER) == [CONTINUES]
    assert "Price" not in _last(stack)


def test_a_change_whose_events_cannot_be_made_is_confirmed(stack: Stack) -> None:
    """The record of a new price is too large for an event: the record lies in the queue of unreadable records, and the
    customer is told all the same."""
    stack.sign_up(NOON, renewal_date="2026-02-28", imports=True)
    changes: Json = {"amount": Decimal("39.99"), "x" * 25_000: "by hand"}
    stack.edit(NOON, **changes)
    stack.publish(NOON)
    assert stack.publisher.counted["EventsUnreadable"] == 1
    assert sum('"subscription.confirmation"' in body and '"Records"' not in body for body in stack.queue.bodies) == 1


def test_an_unknown_charge_ahead_is_not_denied(stack: Stack) -> None:
    """The price of a subscription that ends after two further periods cannot be read: the mail about its end does not
    promise that nothing more is charged."""
    stack.sign_up(NOON, renewal_date="2026-02-28", imports=True)
    stack.act(Action.CANCEL_AT_PERIOD_END, NOON)
    stack.shop.edit(cancel_at="2026-04-30", amount="by hand")
    assert stack.settle(NOON + LATER) == [CANCELED]
    assert "Your last day is 29 April 2026." in _last(stack)
    assert "Nothing more will be charged." not in _last(stack)


# --- faults ----------------------------------------------------------------------------------------------------------


def test_a_bad_address_is_parked_and_mailed_after_the_correction(stack: Stack) -> None:
    """A confirmation to a bad address is recorded as failed and told in the timeline; after the address is corrected
    through the API the mail goes out, once."""
    stack.sign_up(NOON, renewal_date="2026-02-28", customer_email="nobody")
    assert stack.settle(NOON) == []
    assert any(text.startswith("Could not mail the confirmation of the sign-up") for text in stack.told())
    assert stack.shop.confirm("again", NOON + LATER) == "Success"
    stack.edit(NOON + 3 * DAY, customer_email="ann@new.example")
    assert stack.settle(NOON + 3 * DAY) == [SIGN_UP]
    assert any("Mailed the confirmation of the sign-up to a" in text for text in stack.told())
    assert any(text.startswith("Could not mail the confirmation of the sign-up") for text in stack.told())
    stack.edit(NOON + 4 * DAY, customer_email="ann@newer.example")
    assert stack.settle(NOON + 4 * DAY) == []


def test_nobody_is_mailed_without_an_address(stack: Stack) -> None:
    """A subscription without an address, as of an application that mails by itself, fails no execution and raises no
    alarm; an address that is given within the day is mailed."""
    stack.sign_up(NOON, renewal_date="2026-02-28", customer_email=None)
    stack.publish(NOON)
    assert stack.work(NOON) == ["Success"]
    stack.edit(NOON + LATER, customer_email="ann@customer.example")
    assert stack.settle(NOON + LATER) == [SIGN_UP]


def test_a_bounce_marks_the_address_and_a_cleared_fault_mails_again(stack: Stack) -> None:
    """The bounce of a confirmation is found by the mail's tags: the address is marked, the mail counts as failed, and
    the command that clears the fault has the mail sent again."""
    stack.sign_up(NOON, renewal_date="2026-02-28")
    stack.settle(NOON)
    assert bounce(stack.shop, now=NOON + LATER) == "marked"
    assert bounce(stack.shop, now=NOON + LATER) == "known"
    assert stack.shop.row()["mail_fault"]["kind"] == "bounced"
    assert any("the confirmation of the sign-up" in text and "came back" in text for text in stack.told())
    stack.shop.register.clear_mail_fault(stack.shop.row(), "the mailbox was full", AskedBy("zoe", NOON + DAY))
    assert stack.settle(NOON + DAY) == [SIGN_UP]


def test_an_interrupted_mail_stands_as_unknown_and_is_not_sent_again(stack: Stack) -> None:
    """A connection that breaks while SES takes the mail leaves the mail as unknown; nobody sends the mail again."""
    stack.sign_up(NOON, renewal_date="2026-02-28")
    stack.shop.ses.trouble = [ReadTimeoutError(endpoint_url="ses")]
    stack.publish(NOON)
    assert stack.work(NOON) == ["EmailFailed", "Success"]
    assert any(text.startswith("It is unknown whether the confirmation of the sign-up") for text in stack.told())
    assert stack.settle(NOON + LATER) == []


@pytest.mark.parametrize("change", ["sign_up", "cancellation", "new_card"])
def test_a_cut_at_any_call_sends_once_or_stands_as_unknown(monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    """The process ends before or after any call of the confirmation's run. The run that comes after finishes the work:
    the mail is sent once, or stands as unknown; no mail is sent twice, and none is lost."""

    def begun() -> Stack:
        one = Stack(monkeypatch)
        one.sign_up(NOON + DAY - LATER, renewal_date="2026-02-28", imports=change != "sign_up")
        if change == "cancellation":
            one.act(Action.CANCEL_AT_PERIOD_END, NOON + DAY)
        if change == "new_card":
            one.give_card(NOON + DAY)
        return one

    calm = begun()
    earlier = len(calm.shop.cuts.calls)
    calm.settle(NOON + DAY)
    most = len(calm.shop.cuts.calls) - earlier
    assert most > 5
    for at in range(2 * most):
        one = begun()
        sent = len(one.shop.mails())
        one.shop.cuts.at = 2 * len(one.shop.cuts.calls) + at
        one.publish(NOON + DAY)
        one.work(NOON + DAY)
        now = len(one.shop.mails()) - sent
        unknown = any(text.startswith("It is unknown") for text in one.told())
        assert now == 1 or (now == 0 and unknown), at
        assert one.shop.confirm("later", NOON + DAY + 9 * LATER) == "Success"
        assert len(one.shop.mails()) - sent == now


def test_an_interrupted_mail_that_is_no_longer_true_stands_as_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run ends at any call, and the cancellation is withdrawn before the next run. No mail is left as being sent: a
    claimed mail stands as sent or as unknown, and the customer is told that the subscription continues."""
    for at in range(60):
        one = Stack(monkeypatch)
        one.sign_up(NOON, renewal_date="2026-02-28", imports=True)
        one.act(Action.CANCEL_AT_PERIOD_END, NOON + DAY)
        one.publish(NOON + DAY)
        one.shop.cuts.at = 2 * len(one.shop.cuts.calls) + at
        one.shop.confirm("cut", NOON + DAY)
        if one.shop.cuts.at is not None:  # the run was over before
            assert at > 8
            break
        one.act(Action.RESUME, NOON + DAY + SECOND)
        one.settle(NOON + DAY + LATER)
        states = {each.mail.state for each in one.shop.register.changes.readable("sub_1")[0] if each.mail is not None}
        assert states <= {MailState.SENT, MailState.UNKNOWN}
        assert [mail["Subject"] for mail in one.shop.mails()] in ([CONTINUES], [CANCELED, CONTINUES])
    else:
        raise AssertionError("the run does not end")


def test_a_refused_message_is_sent_again_with_its_record(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the queue of renewals refuses messages, the stream waits at the record; no confirmation is lost, and the
    events of the record are published."""
    stack.sign_up(NOON, renewal_date="2026-02-28")
    records = stack.shop.streams.records(NOON)
    stack.queue.trouble = [1] * 5
    monkeypatch.setattr(renewal_queue, "random", SimpleNamespace(uniform=lambda *_: 0))  # no wait between tries
    [reply] = [stack.publisher.handle({"Records": [each]}) for each in records if "changes" in each["eventSourceARN"]]
    assert len(reply["batchItemFailures"]) == 1
    assert [event["type"] for event in stack.publisher.bus.events] == ["subscription.created"]
    deliver(records, stack.publisher.handle)
    stack.work(NOON)
    assert [mail["Subject"] for mail in stack.shop.mails()] == [SIGN_UP]


@pytest.mark.parametrize("seed", range(5))
def test_no_order_of_changes_and_looks_tells_a_lie(stack: Stack, seed: int) -> None:
    """Changes and looks in any order: each mail is true in the moment of its claim, each change has one mail at most,
    and after the last look the newest change of each kind is told, unless a still newer change made the mail untrue."""
    draw = random.Random(seed)  # noqa: S311
    stack.sign_up(NOON, renewal_date="2026-02-28")
    actions = (Action.CANCEL_AT_PERIOD_END, Action.RESUME, Action.PAUSE, Action.RESUME)
    for n in range(14):
        now = NOON + n * LATER
        try:
            if draw.random() < 0.7:
                stack.act(draw.choice(actions), now)
            else:
                stack.edit(now, amount=Decimal(draw.choice(("29.99", "31.99", "35.00"))))
        except NotAllowed:
            continue
        if draw.random() < 0.5:
            before = len(stack.shop.mails())
            stack.settle(now)
            _are_true(stack, stack.shop.mails()[before:])
    before = len(stack.shop.mails())
    stack.settle(NOON + 15 * LATER)
    _are_true(stack, stack.shop.mails()[before:])
    tokens = [tag["Value"] for mail in stack.shop.ses.sent for tag in mail["Tags"] if tag["Name"] == "change"]
    assert len(tokens) == len(set(tokens)) == len(stack.shop.mails())


def _are_true(stack: Stack, mails: list[EmailMessage]) -> None:
    row = stack.shop.row()
    for mail in mails:
        subject, text = mail["Subject"], _text(mail)
        assert (subject == CANCELED) <= ("cancel_at" in row or row["status"] == "canceled")
        assert (subject in (CONTINUES, SIGN_UP)) <= (row["status"] == "active" and "cancel_at" not in row)
        assert f"  Price: {row['amount']:.2f} USD\n" in text
    assert len({mail["Subject"] for mail in mails}) == len(mails)


def test_a_throttled_mail_is_tried_again(stack: Stack) -> None:
    """SES that is busy refuses clearly: the claim is released, and the next try sends."""
    stack.sign_up(NOON, renewal_date="2026-02-28")
    stack.shop.ses.trouble = [error("Throttling", "SendRawEmail")]
    stack.publish(NOON)
    stack.work(NOON)
    assert [mail["Subject"] for mail in stack.shop.mails()] == [SIGN_UP]


def test_a_throttled_mail_at_a_corrected_address_is_tried_again(stack: Stack) -> None:
    """A confirmation that failed at the earlier address, and that SES throttles at the corrected address, goes out with
    the next try, however long ago the change was; the timeline still tells the failure, once."""
    stack.sign_up(NOON, renewal_date="2026-02-28", customer_email="nobody")
    stack.settle(NOON)
    late = NOON + 20 * DAY
    stack.edit(late, customer_email="ann@new.example")
    stack.shop.ses.trouble = [error("Throttling", "SendRawEmail"), error("Throttling", "SendRawEmail")]
    assert stack.settle(late) == [SIGN_UP]
    assert sum(text.startswith("Could not mail the confirmation of the sign-up") for text in stack.told()) == 1


def test_an_aborted_run_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run is aborted at any call and never comes back, and at once a second message asks for the same confirmation.
    The second run does not end as if all was well while the first run may be sending: the queue brings the message
    again, and the mail stands as sent or as unknown."""
    for at in range(60):
        one = Stack(monkeypatch)
        one.sign_up(NOON, renewal_date="2026-02-28")
        one.shop.cuts.at = 2 * len(one.shop.cuts.calls) + at
        one.shop.confirm("aborted", NOON)
        if one.shop.cuts.at is not None:  # the run was over before
            assert at > 8
            break
        for n in range(3):
            if one.shop.confirm(f"second-{n}", NOON + SECOND + n * LATER) == "Success":
                break
        [mail] = [each.mail for each in one.shop.register.changes.readable("sub_1")[0]]
        assert mail is not None
        assert mail.state in {MailState.SENT, MailState.UNKNOWN}
        assert len(one.shop.mails()) == 1 or (mail.state is MailState.UNKNOWN and not one.shop.mails())
    else:
        raise AssertionError("the run does not end")


def test_a_test_clock_confirms_by_its_own_day(stack: Stack) -> None:
    """A subscription on a test clock is confirmed, although its moments cannot be compared with the real time."""
    stack.shop.environment = "dev"
    stack.sign_up(NOON, renewal_date="2031-02-28", test_clock="2031-02-01")
    stack.settle(NOON)
    assert "on 28 February 2031" in _last(stack)


def test_kinds_are_names_of_mails() -> None:
    """Each name that the parameter Confirmations allows is a kind of mail with words for the timeline."""
    for name in ("sign_up", "cancellation", "resumption", "changed_terms", "new_card"):
        assert MailKind(name).words.startswith("the confirmation of the ")
    assert MailKind("ended_by_dispute").words == "the notice that the subscription ends because of a chargeback"
