"""The mail that tells a customer of the end that a chargeback has set: once for each dispute, true, and never lost."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from email.message import EmailMessage
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from renewals.domain.disputes import DisputeStatus
from renewals.domain.renewal import MailState
from renewals.domain.transitions import Action
from renewals.ledger.asked_by import AskedBy
from tests.door import Door, forget_secrets
from tests.fake_aws import error
from tests.fakes import LATER, NOON
from tests.unit.test_confirmations import Stack

DAY, SECOND = timedelta(days=1), timedelta(seconds=1)
ENDS = "The end of your subscription to Pro"


class Disputed:
    """A stack whose subscription has paid its first period, and the events of whose gateway are heard."""

    def __init__(self, patch: pytest.MonkeyPatch, **row: Any) -> None:
        self.stack = Stack(patch)
        self.shop = self.stack.shop
        self.shop.subscribe(**row)
        assert self.shop.run("first", NOON) == "Success"
        self.stack.settle(NOON)
        self.door = Door(self.shop, NOON + DAY)
        self._forget_events()

    def contest(self, status: DisputeStatus = DisputeStatus.NEEDS_RESPONSE, payment: str = "pi_1") -> str:
        """Contest a payment at the bank; return the id of the dispute."""
        self.shop.gateway.now = self.now
        return self.shop.gateway.contest(payment, status)

    def hear(self) -> None:
        """Deliver the events of the gateway, and end the subscription if the events say so."""
        for event in self.shop.gateway.events:
            assert self.door.post(event) == 200
        self.door.work()
        self._forget_events()

    def told(self, later: timedelta = SECOND) -> list[str]:
        """Let the streams be read and the queue be worked off; return the subjects of the new mails."""
        return self.stack.settle(self.now + later)

    def act(self, action: Action, by: str = "ann") -> None:
        moment = self.shop.moment(self.now)
        self.shop.register.act(self.shop.row(), action, moment.today, AskedBy(by, moment.now))

    @property
    def now(self) -> datetime:
        return self.door.now

    def _forget_events(self) -> None:
        self.shop.gateway.events.clear()


@pytest.fixture(autouse=True)
def _secrets() -> Iterator[None]:
    forget_secrets()
    yield
    forget_secrets()


@pytest.fixture
def disputed(monkeypatch: pytest.MonkeyPatch) -> Disputed:
    return Disputed(monkeypatch)


def _text(mail: EmailMessage) -> str:
    part = mail.get_body(("plain",))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


def test_the_customer_is_told_of_the_end_by_a_chargeback(disputed: Disputed) -> None:
    """A chargeback that ends the subscription with its paid days is told by one mail, which says when the subscription
    ends, that nothing more is charged, and whom to contact, and accuses nobody."""
    disputed.contest()
    disputed.hear()
    assert disputed.told() == [ENDS]
    told = _text(disputed.shop.mails()[-1])
    assert "A payment for your subscription to Pro was disputed at the bank. The subscription therefore ends." in told
    assert "Your last day is 27 February 2026." in told
    assert "Nothing more will be charged." in told
    assert "please contact Example Shop." in told
    assert "  Last day: 27 February 2026\n" in told
    assert "Canceled at" not in told
    assert not any(word in told.lower() for word in ("you have disputed", "you disputed", "fraud", "cancel"))


def test_further_steps_of_the_dispute_tell_nothing(disputed: Disputed) -> None:
    """The money that is withdrawn, the decision of the bank and events that come twice mail the customer nothing more:
    the end by a dispute is told once."""
    dispute = disputed.contest()
    disputed.hear()
    assert disputed.told() == [ENDS]
    for is_decided in (False, True):
        if is_decided:
            disputed.shop.gateway.dispute_becomes(dispute, DisputeStatus.LOST)
        else:
            disputed.shop.gateway.withdraw(dispute)
        disputed.shop.gateway.events.extend(list(disputed.shop.gateway.events))
        disputed.hear()
        assert disputed.told(LATER) == []
    assert disputed.shop.confirm("again", disputed.now + DAY) == "Success"
    assert [mail["Subject"] for mail in disputed.shop.mails()].count(ENDS) == 1


def test_each_dispute_that_ends_the_subscription_is_told(disputed: Disputed) -> None:
    """A subscription that the seller has resumed after a chargeback, and that a second chargeback ends again, is told
    twice: once for each dispute."""
    disputed.contest()
    disputed.hear()
    assert disputed.told() == [ENDS]
    disputed.door.later(timedelta(hours=1))
    disputed.act(Action.RESUME)
    assert disputed.told() == ["Your subscription to Pro continues"]
    disputed.door.later(timedelta(hours=1))
    disputed.contest()
    disputed.hear()
    assert disputed.told() == [ENDS]


@pytest.mark.parametrize("why", ["an inquiry", "kept", "ends already", "resumed before the mail", "off"])
def test_an_end_that_no_dispute_has_set_is_not_told(monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    """Nobody is told of an end if the dispute is an inquiry, if the deployment keeps disputed subscriptions, if the
    customer has canceled before, if the seller has resumed the subscription before the mail, or if the parameter leaves
    the mail out."""
    disputed = Disputed(monkeypatch)
    if why == "kept":
        disputed.door.disputed = "keep"
    if why == "off":
        disputed.stack.configure("sign_up,cancellation,resumption,changed_terms", monkeypatch)
    if why == "ends already":
        disputed.act(Action.CANCEL_AT_PERIOD_END, "customer")
        assert disputed.told() == ["Your subscription to Pro is canceled"]
    disputed.contest(DisputeStatus.WARNING_NEEDS_RESPONSE if why == "an inquiry" else DisputeStatus.NEEDS_RESPONSE)
    disputed.hear()
    if why == "resumed before the mail":
        disputed.door.later(timedelta(hours=1))
        disputed.act(Action.RESUME)
    assert ENDS not in disputed.told()


def test_a_subscription_that_ended_at_once_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A paused subscription without paid days is canceled at once by a chargeback: the mail says that the subscription
    has ended, and names no last day to come."""
    disputed = Disputed(monkeypatch)
    disputed.act(Action.PAUSE)
    disputed.door.later(timedelta(hours=1))
    disputed.contest()
    disputed.hear()
    assert disputed.shop.row()["status"] == "canceled"
    assert disputed.told() == [ENDS]
    told = _text(disputed.shop.mails()[-1])
    assert "The subscription has therefore ended." in told
    assert "Last day" not in told


def _contested_while(monkeypatch: pytest.MonkeyPatch, status: str) -> Disputed:
    """Return a subscription with two paid periods that is paused or unpaid, and whose first payment is disputed."""
    disputed = Disputed(monkeypatch)
    disputed.door.later(timedelta(days=28))
    assert disputed.shop.run("second", disputed.now) == "Success"
    disputed.shop.gateway.events.clear()
    if status == "paused":
        disputed.act(Action.PAUSE)
    else:
        disputed.shop.edit(status=status)
    disputed.door.later(timedelta(hours=1))
    disputed.contest()
    disputed.hear()
    return disputed


@pytest.mark.parametrize("status", ["paused", "unpaid"])
def test_a_stopped_subscription_with_paid_days_is_told(monkeypatch: pytest.MonkeyPatch, status: str) -> None:
    """A paused or unpaid subscription that a chargeback ends with the days of another payment is told of the end, with
    the last of these days."""
    disputed = _contested_while(monkeypatch, status)
    assert (disputed.shop.row()["status"], disputed.shop.row()["cancel_at"]) == (status, "2026-03-31")
    assert disputed.told() == [ENDS]
    assert "Your last day is 30 March 2026." in _text(disputed.shop.mails()[-1])


def test_an_end_by_a_dispute_that_nobody_was_told_of_for_a_week_is_left_out(disputed: Disputed) -> None:
    """A stack of an earlier version recorded the end by a dispute and mailed nobody: a change of the address after a
    week mails nothing about the end, records nothing as failed, and parks nothing for a person."""
    disputed.contest()
    disputed.hear()
    disputed.stack.edit(disputed.now + LATER, customer_email="ann@new.example")
    assert disputed.told(timedelta(days=7)) == []
    assert all(each.mail is None for each in disputed.shop.register.changes.readable("sub_1")[0])


def test_an_open_payment_is_not_promised_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a refused payment of the next period may still be taken, the mail does not promise that nothing is charged.
    The mail says that the customer keeps the days of such a payment."""
    disputed = Disputed(monkeypatch)
    disputed.door.later(timedelta(days=28))
    disputed.shop.edit(payment_method="pm_declined")
    disputed.shop.run("second", disputed.now)
    before = len(disputed.shop.mails())
    disputed.shop.gateway.events.clear()
    disputed.contest()
    disputed.door.trouble = ["TIMED_OUT"] * 9  # the workflow that gives up the open payment does not come to its end
    disputed.hear()
    assert disputed.shop.row()["cancel_at"] <= f"{disputed.now:%Y-%m-%d}"
    assert disputed.told() == [ENDS]
    told = _text(disputed.shop.mails()[before])
    assert "The subscription has therefore ended." in told
    assert "Nothing more will be charged." not in told
    assert "the subscription ends with the days that this payment covers" in told


def test_the_earlier_cancellation_for_a_later_day_gives_way(disputed: Disputed) -> None:
    """A subscription that was to end later, and that a chargeback ends sooner, is told with the sooner day."""
    later = {"cancel_at": "2026-06-30"}
    disputed.shop.edit(**later)
    disputed.contest()
    disputed.hear()
    assert disputed.told() == [ENDS]
    assert "Your last day is 27 February 2026." in _text(disputed.shop.mails()[-1])


def test_the_timeline_tells_the_mail(disputed: Disputed) -> None:
    """The timeline names the mail by its own words, with a masked address."""
    disputed.contest()
    disputed.hear()
    disputed.told()
    assert any(
        text.startswith("Mailed the notice that the subscription ends because of a chargeback to a")
        for text in disputed.stack.told()
    )


def test_a_bad_address_is_mended_and_told(disputed: Disputed) -> None:
    """The mail to an address that cannot be mailed stands as failed, and goes out once the address is corrected."""
    disputed.shop.edit(customer_email="nobody")
    disputed.contest()
    disputed.hear()
    assert disputed.told() == []
    disputed.stack.edit(disputed.now + LATER, customer_email="ann@new.example")
    assert disputed.told(LATER) == [ENDS]


@pytest.mark.parametrize(
    "trouble", [error("Throttling", "SendRawEmail"), error("AccessDenied", "SendRawEmail")], ids=["throttled", "denied"]
)
def test_a_mail_that_ses_refuses_is_not_lost(disputed: Disputed, trouble: Exception) -> None:
    """SES refuses the mail for a moment, or the function may not send: the claim is released, and the next try mails
    the customer once."""
    disputed.contest()
    disputed.hear()
    disputed.shop.ses.trouble = [trouble]
    told = disputed.told()
    if not told:
        assert disputed.shop.confirm("again", disputed.now + 2 * LATER) == "Success"
    assert [mail["Subject"] for mail in disputed.shop.mails()].count(ENDS) == 1


def test_a_broken_connection_leaves_the_mail_as_unknown(disputed: Disputed) -> None:
    """A connection that breaks while SES takes the mail leaves the mail as unknown, and nobody sends the mail again."""
    disputed.contest()
    disputed.hear()
    disputed.shop.ses.trouble = [ReadTimeoutError(endpoint_url="ses")]
    assert disputed.told() == []
    assert disputed.told(9 * LATER) == []
    assert any(text.startswith("It is unknown whether the notice that the sub") for text in disputed.stack.told())


def test_a_cut_at_any_call_mails_once_or_stands_as_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process ends before or after any call between the dispute and the mail. The run that comes after finishes the
    work: the mail is sent once, or stands as unknown; no mail is sent twice, and none is lost."""

    def begun() -> Disputed:
        one = Disputed(monkeypatch)
        one.contest()
        one.hear()
        return one

    calm = begun()
    earlier = len(calm.shop.cuts.calls)
    assert calm.told() == [ENDS]
    most = len(calm.shop.cuts.calls) - earlier
    assert most > 5
    for at in range(2 * most):
        one = begun()
        one.shop.cuts.at = 2 * len(one.shop.cuts.calls) + at
        one.told()
        [mail] = [each.mail for each in one.shop.register.changes.readable("sub_1")[0] if each.is_confirmable]
        assert mail is not None
        sent = [each["Subject"] for each in one.shop.mails()].count(ENDS)
        assert (mail.state, sent) in ((MailState.SENT, 1), (MailState.UNKNOWN, 0), (MailState.UNKNOWN, 1)), at
        assert one.shop.confirm("later", one.now + 9 * LATER) == "Success"
        assert [each["Subject"] for each in one.shop.mails()].count(ENDS) == sent
