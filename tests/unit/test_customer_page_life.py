"""A customer's life with the customer page at random: windows, cards, the bank, the seller, sweeps, the gateway's
events and time in any order, while any call out of any function may fail, end the process, or let something else happen
at that moment.

After every step the promises hold, and once the trouble is over everything that was due has come to its end, and the
page says what the ledger says.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cache
from itertools import pairwise
from random import Random
from traceback import format_exc
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError, ReadTimeoutError

from renewals.domain import confirmations, currencies, mail_tags
from renewals.domain.changes import ChangeKind, change_from
from renewals.domain.disputes import DisputeStatus
from renewals.domain.payment import GatewayRefundState, PaymentState
from renewals.domain.request import Asks
from renewals.domain.subscription import is_live
from renewals.gateway import access as gateway_access
from renewals.gateway.card_setup import CardSession, SavedCard, SessionState
from renewals.gateway.port import GatewayRefused, GatewayUnavailable
from renewals.language import words
from renewals.ledger.account_links import Power
from renewals.runtime import aws
from subscriptions_api import shared
from tests.cuts import Cut
from tests.door import Door, backwards, doubled, forget_secrets, in_order
from tests.fake_aws import FakeDynamoDB, FakeSQS
from tests.fakes import NOON, World
from tests.unit.test_subscriptions_api import Api
from tests.unit.test_sweep import Sweeper
from tests.visitor import HOST, SETTINGS, Page, Visitor, visiting

SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
BACK = f"https://{HOST}/prod/account/"
API = {"STATE_MACHINE_ARN": "workflow", "GRACE_DAYS": "7"}
CARDS = ("pm_ok", "pm_declined", "pm_3ds", "pm_3ds_asks_nobody")
ENDED = (Cut, ClientError, BotoCoreError, GatewayUnavailable)
"""The errors by which a function ends on Lambda. Any other error is a mistake of the product, and fails the test."""
SHORT = 8
QUIET = 8
"""The rounds of sweeps after which everything that is due has come to its end."""

type Item = dict[str, Any]


class Writes(list[tuple[str, Item | None, Item | None]]):
    """Judges each write at its moment: a charge begins only as the subscription stands at that moment, and a change is
    confirmed only if the change is true at that moment.

    wrong: what was wrong, in words. charged, amounts: the periods with the cards and with the amounts of their charges,
    as the ledger began the charges. chosen: the cards, each with the second in which it was chosen.
    """

    def __init__(self, tables: FakeDynamoDB, today: Callable[[], date]) -> None:
        super().__init__()
        self.tables, self.today = tables, today
        self.wrong: list[str] = []
        self.charged: set[tuple[str, str]] = set()
        self.amounts: set[tuple[str, int]] = set()
        self.chosen: dict[str, datetime] = {}

    def append(self, write: tuple[str, Item | None, Item | None]) -> None:
        table, old, new = write
        if table == "renewals" and new is not None and new["status"] in ("claimed", "action_required"):
            self._judge_charge(old or {}, new)
        if table == "subscriptions" and old is not None and new is not None:
            self._judge_card(old["payment_method"], new["payment_method"])
        if table == "changes" and new is not None and new.get("confirmation", {}).get("state") == "sending":
            self._judge_confirmation(new)

    def _judge_charge(self, old: Item, new: Item) -> None:
        """Judge a claim, a further attempt, the first knowledge of the payment, or a question of the bank."""
        row = self.tables.items("subscriptions")["sub_1", "cus_1"]
        named, period = f"{new['renewal_date']}, attempt {new['attempt']}: ", new["renewal_date"]
        is_claim = new["claim"] != old.get("claim")
        is_attempt = is_claim or new["attempt"] != old.get("attempt")
        is_asked = new.get("challenged_at") != old.get("challenged_at")
        is_created = new.get("payment_id") not in (None, old.get("payment_id")) and "withdrawn" not in new
        if not (is_attempt or is_asked or is_created):
            return
        if not is_live(row) or row.get("cancel_at", "9999") <= period:
            self.wrong.append(f"{named}a charge begins after the end of the subscription")
        if (is_attempt or is_asked) and row["payment_method"] != new["payment_method"]:
            self.wrong.append(f"{named}a charge begins with a card that was replaced before")
        if is_claim and (row["amount"], row["currency"]) != (new["amount"], new["currency"]):
            self.wrong.append(f"{named}{new['amount']} is claimed instead of {row['amount']}")
        if is_claim and period > self.today().isoformat():
            self.wrong.append(f"{named}the charge begins before the period")
        self.charged.add((period, new["payment_method"]))
        self.amounts.add((period, currencies.minor_units(new["amount"], new["currency"])))

    def _judge_card(self, old: str, new: str) -> None:
        if new != old and new not in self.chosen:
            self.wrong.append(f"{new} is a card of somebody else")
        elif new != old and old in self.chosen and self.chosen[new] < self.chosen[old]:
            self.wrong.append(f"{new} replaces {old}, which was chosen later")

    def _judge_confirmation(self, change: Item) -> None:
        row = self.tables.items("subscriptions")["sub_1", "cus_1"]
        ends = row["status"] == "canceled" or "cancel_at" in row
        if change["what"] in (ChangeKind.CANCELED, ChangeKind.ENDING) and not ends:
            self.wrong.append("a cancellation is confirmed that does not stand")
        if change["what"] == ChangeKind.RESUMED and not is_live(row):
            self.wrong.append("a resumption is confirmed that does not stand")


def _fails(point: str) -> None:
    """Let a call fail as a client reports the failure after its own tries: before the call has taken effect, or
    after."""
    when, _, name = point.partition(" ")
    if name.startswith("gateway."):
        raise GatewayUnavailable(point)
    raise (EndpointConnectionError if when == "before" else ReadTimeoutError)(endpoint_url=name)


def _ends(point: str) -> None:
    raise Cut(point)


@dataclass(frozen=True)
class Trouble:
    """Something happens before or after the call with a number, counted from now: the call fails, the process ends, or
    somebody else acts meanwhile. what: "fails", "ends", or the name of an act."""

    call: int
    after: bool
    what: str


@dataclass(frozen=True)
class Step:
    """An act, with the number from which the act draws its choices."""

    act: str
    number: int = 0
    trouble: Trouble | None = None


ACTS = {
    # the functions
    "sweep": 8,
    "work": 8,
    "work_twice": 2,
    "webhook": 1,
    "night": 2,
    "confirm_changes": 3,
    "post_events": 4,
    "old_event": 1,
    # time
    "hours_pass": 4,
    "days_pass": 2,
    "next_charge_is_due": 7,
    # the customer
    "cancel_on_the_page": 3,
    "resume_on_the_page": 5,
    "save_a_card": 4,
    "come_back_with_a_card": 4,
    "confirm_on_the_page": 3,
    "confirm_and_answer": 6,
    "answer_at_the_bank": 2,
    "come_back_from_the_bank": 3,
    "come_back_anyhow": 2,
    "open_a_link": 2,
    "open_a_page": 4,
    "press_an_old_button": 6,
    "sign_out_everywhere": 1,
    # the seller and the gateway
    "pause_by_the_api": 2,
    "resume_by_the_api": 2,
    "cancel_by_the_api": 0.3,
    "end_by_the_api": 1,
    "card_by_the_api": 2,
    "price_by_the_api": 2,
    "address_by_the_api": 1,
    "dispute": 0.3,
    "decide_a_dispute": 1,
    "refund": 1,
    "refund_fails_later": 0.5,
    "falter": 1,
    "settle": 1,
}
"""The acts, each with its weight. Every act is a method of PageLife."""

_LATEST_CALL = 25


def drawn(seed: int, steps: int) -> list[Step]:
    """Draw a life. In half of the steps there is no trouble."""
    pick = Random(seed)  # noqa: S311  (no secret)

    def trouble() -> Trouble | None:
        kind = pick.choice(["none", "none", "fails", "ends", "act", "act"])
        what = pick.choices([*ACTS], [*ACTS.values()])[0] if kind == "act" else kind
        return None if kind == "none" else Trouble(pick.randrange(_LATEST_CALL), pick.random() < 0.5, what)

    begins = Step("subscribe", pick.randrange(1 << 30))
    acts = pick.choices([*ACTS], [*ACTS.values()], k=steps)
    return [begins, *(Step(act, pick.randrange(1 << 30), trouble()) for act in acts)]


@dataclass(frozen=True)
class Ticket:
    """What a session is good for: the power of its link, and the row's counter and address at the sign-in."""

    power: Power
    counter: Decimal
    address: str
    ends: datetime


@dataclass(frozen=True)
class Form:
    """A form of a page, with the session of its window and the text that the customer has read."""

    path: str
    session: str
    fields: dict[str, str]
    text: str


class PageLife:
    """The life of one customer's subscription. The test counts from its own notes, the gateway and the tables."""

    def __init__(self) -> None:
        self.open = ExitStack()
        self.shop, self.now = World(), NOON
        self.shop.gateway.bank = SETTINGS["PAYMENT_GATEWAY_ENDPOINT"]
        self.writes = Writes(self.shop.dynamodb, lambda: self.now.date())
        self.shop.dynamodb.stream = self.writes
        self.visitor: Visitor = self.open.enter_context(visiting(self.shop))
        self.door = Door(self.shop, queue=FakeSQS(self.shop.cuts.around))
        self.api = Api(self.shop)
        patch = self.open.enter_context(pytest.MonkeyPatch.context())
        for name, value in API.items():
            patch.setenv(name, value)
        patch.setattr(aws, "step_functions", lambda: self.api)
        patch.setattr(gateway_access, "gateway", cache(lambda: self.shop.gateway))
        for forget in (shared.register.cache_clear, forget_secrets):
            forget()
            self.open.callback(forget)
        self.runs = self.cards = self.posted = 0
        self.links = dict[str, Power]()
        self.sessions = dict[str, Ticket]()
        self.forms = list[Form]()
        self.used = set[str]()  # the digests of the forms by which something was changed
        self.banks = list[str]()  # the bank's pages that were opened
        self.ways_back = list[str]()

    def live(self, steps: list[Step]) -> None:
        """Live a life to its end. The promises are checked after every step."""
        with self.open:
            for step in steps:
                self._move(SECOND)
                with self._trouble(step):
                    self._act(step.act, step.number)
                self._expect_the_promises()
            self._expect_a_good_end()

    def _act(self, act: str, number: int) -> None:
        getattr(self, act)(Random(number))  # noqa: S311  (no secret)

    @contextmanager
    def _trouble(self, step: Step) -> Iterator[None]:
        """Let the trouble of a step happen. A function that ends by an error ends only itself."""
        cuts, trouble = self.shop.cuts, step.trouble
        if trouble is not None:
            cuts.at = 2 * (len(cuts.calls) + trouble.call) + trouble.after
            other = trouble.what
            ways = {"fails": _fails, "ends": _ends}
            cuts.happens = ways.get(other, lambda _point: self._act(other, step.number))
        try:
            with suppress(*ENDED):
                yield
        finally:
            cuts.at = None

    def subscribe(self, pick: Random) -> None:
        self.shop.subscribe(
            payment_method=pick.choice(["pm_ok", "pm_ok", "pm_declined", "pm_3ds", "pm_3ds"]),
            status=pick.choice(["active"] * 6 + ["paused", "unpaid"]),
            interval=pick.choice(["month", "month", "week", "day"]),
            renewal_date=(self.now.date() + pick.randint(-1, 3) * DAY).isoformat(),
            catch_up=pick.choice(["latest", "each"]),
        )
        self.door.catch_up()  # the first night of the deployment
        theirs = SavedCard("seti_foreign", "pm_stranger", NOON)
        foreign = CardSession("cs_foreign", SessionState.COMPLETE, "cus_gw", {"subscription_id": "sub_2"}, theirs)
        self.shop.gateway.sessions[foreign.id] = foreign

    # Time

    def hours_pass(self, pick: Random) -> None:
        self._move(pick.choice([1, 1, 5, 12]) * HOUR)

    def days_pass(self, pick: Random) -> None:
        self._let_days_pass(pick.choice([1, 2, 7]))

    def next_charge_is_due(self, pick: Random) -> None:
        """The day of the next charge, or of the next attempt, has come, perhaps long ago."""
        row = self.shop.row()
        day = date.fromisoformat(row.get("next_attempt", row["renewal_date"])) + pick.choice([0, 0, 0, 1, 3, 40]) * DAY
        if self.now.date() < day:
            self._let_days_pass((day - self.now.date()).days)

    def _let_days_pass(self, days: int) -> None:
        """The queue of renewals and EventPublisher try again within the days, and the catch-up within a week."""
        self._work()
        self._confirm()
        if days > 7:
            self._be_there_at_night()
        self._move(days * DAY)

    def _move(self, time: timedelta) -> None:
        self.now += time
        self.visitor.now = self.door.now = self.shop.gateway.now = self.now
        self.door.queue.move_clock((self.now - NOON).total_seconds())

    # The functions

    def sweep(self, _pick: Random) -> None:
        """Sweep; the messages wait for `work`, whose calls the trouble then reaches."""
        self._sweep("due")

    def work(self, _pick: Random) -> None:
        self._work()

    def work_twice(self, _pick: Random) -> None:
        """A standard queue delivers a message at least once."""
        self._work([*self.visitor.queued, *self.api.started] * 2)

    def webhook(self, _pick: Random) -> None:
        self._run({"amount": f"{self.shop.row()['amount']}"})

    def night(self, _pick: Random) -> None:
        """The catch-up finds the events that never arrived, and the sweep finds everything that is open."""
        self._be_there_at_night()

    def confirm_changes(self, pick: Random) -> None:
        for _ in range(pick.randint(1, 2)):
            self._confirm()

    def post_events(self, pick: Random) -> None:
        """The new events arrive in order, in another order, or doubled."""
        new = self.shop.gateway.events[self.posted :]
        self.posted += len(new)
        for event in pick.choice([in_order, in_order, doubled, backwards])(new):
            with suppress(*ENDED):
                self.door.post(event)
        self.door.work()

    def old_event(self, pick: Random) -> None:
        if self.shop.gateway.events:
            self.door.post(pick.choice(self.shop.gateway.events))
            self.door.work()

    # The customer

    def cancel_on_the_page(self, _pick: Random) -> None:
        self._press_on("cancel")

    def resume_on_the_page(self, _pick: Random) -> None:
        self._press_on("resume")

    def save_a_card(self, _pick: Random) -> None:
        """Save a card at the gateway's page; the customer may come back later, or never."""
        opened = self._press_on("overview", "new-card")
        if opened is not None and opened.status == 303:
            self._save_cards()

    def come_back_with_a_card(self, pick: Random) -> None:
        self._press_on("overview", "new-card")
        self._save_cards()
        self._come_back("new-card", pick)

    def confirm_on_the_page(self, _pick: Random) -> None:
        self._press_on("overview", "confirm")

    def confirm_and_answer(self, pick: Random) -> None:
        """A refused payment is confirmed at once, as far as the bank asks for a confirmation."""
        self._sweep("due")
        self._work()
        self.confirm_on_the_page(pick)
        self.answer_at_the_bank(pick)

    def answer_at_the_bank(self, pick: Random) -> None:
        """Accept or refuse at the bank's pages, also at one of an earlier question."""
        for url in self.banks[-3:]:
            if self.shop.gateway.at_the_bank(url, accepts=pick.random() < 0.6):
                self.ways_back.append(self.shop.gateway.ways_back[url])

    def come_back_from_the_bank(self, pick: Random) -> None:
        self._come_back("confirm", pick)

    def come_back_anyhow(self, pick: Random) -> None:
        """Come back to an old address, perhaps with the session of somebody else."""
        if self.ways_back:
            address = pick.choice(self.ways_back)
            address = pick.choice([address, f"{address.partition('?')[0]}?session=cs_foreign"])
            self._get(address.removeprefix(BACK), pick.choice(["", *self.sessions]))

    def open_a_link(self, pick: Random) -> None:
        """Open a link of a mail, perhaps of an old mail to an earlier address, and leave the overview open."""
        link = pick.choice(["", "", *self.links])
        self._open("overview", self._sign_in(pick.choice([Power.FULL, Power.SEE]), link))

    def open_a_page(self, pick: Random) -> None:
        """Open a page in a window, and leave the page open."""
        self._open(pick.choice(["cancel", "resume", "overview"]), pick.choice([self._sign_in(), *self.sessions]))

    def press_an_old_button(self, pick: Random) -> None:
        """Send a form, new or old, once or twice, in its window or with the session of another window."""
        if not self.forms:
            return
        form = pick.choice([*self.forms, *self.forms[-3:] * 3])
        button = pick.choice([form.path, form.path, "new-card", "confirm", "mail-link", "sign-out-everywhere"])
        session = pick.choice([form.session, form.session, *self.sessions])
        for _ in range(pick.randint(1, 2)):
            self._press("new-card" if button == "overview" else button, replace(form, session=session))

    def sign_out_everywhere(self, _pick: Random) -> None:
        self._press_on("overview", "sign-out-everywhere")

    # The seller and the gateway

    def pause_by_the_api(self, _pick: Random) -> None:
        self._ask_api("POST", "/pause")

    def resume_by_the_api(self, _pick: Random) -> None:
        self._ask_api("POST", "/resume")

    def cancel_by_the_api(self, _pick: Random) -> None:
        self._ask_api("POST", "/cancel", {"when": "now"})

    def end_by_the_api(self, _pick: Random) -> None:
        self._ask_api("POST", "/cancel", {"when": "period_end"})

    def card_by_the_api(self, _pick: Random) -> None:
        self._ask_api("PUT", "/payment-method", {"payment_method": self._new_card()})

    def price_by_the_api(self, pick: Random) -> None:
        price = pick.choice(["29.99", "39.99", "5.00"])
        self._ask_api("PATCH", "", {"amount": {"amount": price, "currency": "USD"}})

    def address_by_the_api(self, pick: Random) -> None:
        self._ask_api("PATCH", "", {"customer_email": f"ann{pick.randrange(9)}@customer.example"})

    def dispute(self, _pick: Random) -> None:
        gateway = self.shop.gateway
        if gateway.charges and not gateway.disputes and not gateway.refunds:
            gateway.contest(gateway.charges[-1][0])

    def decide_a_dispute(self, pick: Random) -> None:
        decided = (DisputeStatus.WON, DisputeStatus.LOST)
        for known, dispute in list(self.shop.gateway.disputes.items()):
            if dispute.status not in decided:
                self.shop.gateway.dispute_becomes(known, pick.choice(decided))

    def refund(self, _pick: Random) -> None:
        """Refund a part of the latest payment in the gateway's dashboard."""
        if self.shop.gateway.charges:
            with suppress(GatewayRefused):
                self.shop.gateway.refund_elsewhere(self.shop.gateway.charges[-1][0], 200)

    def refund_fails_later(self, _pick: Random) -> None:
        for known, refund in list(self.shop.gateway.refunds.items())[-1:]:
            if refund.state is GatewayRefundState.SUCCEEDED:
                self.shop.gateway.refund_becomes(known, GatewayRefundState.FAILED)

    def falter(self, pick: Random) -> None:
        """The gateway's next answer to a confirmation is lost, or the bank takes its time."""
        self.shop.gateway.trouble.append(("confirm", pick.choice(["before", "after", "processing"])))

    def settle(self, _pick: Random) -> None:
        self._settle()

    def _settle(self) -> None:
        for payment in list(self.shop.gateway.payments.values()):
            if payment.state is PaymentState.PROCESSING:
                self.shop.gateway.succeed(payment.id)

    # Promises that hold after every step

    def _expect_the_promises(self) -> None:
        self._nothing_wrong_was_written()
        self._no_period_is_charged_twice()
        self._each_charge_has_the_card_and_the_amount_of_the_ledger()
        self._each_mail_is_recorded_and_goes_out_once()

    def _nothing_wrong_was_written(self) -> None:
        assert self.writes.wrong == []

    def _no_period_is_charged_twice(self) -> None:
        periods = Counter(self._period(payment) for payment, _, _ in self.shop.gateway.charges)
        assert not [period for period, charges in periods.items() if charges > 1]
        paid = [item for item in self.shop.items().values() if item.get("paid_at")]
        spans = sorted((str(item["renewal_date"]), str(item["period_end"])) for item in paid)
        assert all(end <= start for (_, end), (start, _) in pairwise(spans)), "a day is paid twice"

    def _each_charge_has_the_card_and_the_amount_of_the_ledger(self) -> None:
        gateway = self.shop.gateway
        assert {(self._period(payment), card) for payment, card in gateway.attempts} <= self.writes.charged
        assert {(self._period(payment), amount) for payment, amount, _ in gateway.charges} <= self.writes.amounts

    def _each_mail_is_recorded_and_goes_out_once(self) -> None:
        sent = Counter(str(mail_tags.read(_told(each)).token) for each in self.shop.ses.sent)  # type: ignore[union-attr]
        states = {mail["token"]: mail["state"] for mail in self._recorded_mails()}
        assert sent.keys() <= states.keys(), "a mail without a record"
        for token, state in states.items():
            assert sent[token] == 1 if state == "sent" else sent[token] <= 1, (
                f"{sent[token]} mails, recorded as {state}"
            )

    # How it ends

    def _expect_a_good_end(self) -> None:
        self._be_quiet()
        self._expect_the_promises()
        self._expect_everything_told()
        self._expect_no_renewal_lost()
        self._expect_a_true_page()
        self._expect_what_the_page_says_of_the_next_charge()

    def _be_quiet(self) -> None:
        """Let every function run without trouble, hour by hour, until late periods are caught up with."""
        self.shop.gateway.trouble.clear()
        self._settle()
        rounds, stood = 0, ""
        while rounds < QUIET or self.shop.row()["renewal_date"] != stood:
            rounds, stood = rounds + 1, self.shop.row()["renewal_date"]
            self._let_an_hour_pass()

    def _let_an_hour_pass(self) -> None:
        self._move(HOUR)
        with self.door.deployed():
            self.door.catch_up()
            self.door.later(timedelta(minutes=40))
        self._move(self.door.now - self.now)
        for kind in ("due", "all"):
            self._sweep(kind)
            self._work()
        self._confirm()
        if any(item["status"] == "failed" for item in self.shop.items().values()):
            self._run({"amount": f"{self.shop.row()['amount']}"})  # a person has looked

    def _expect_everything_told(self) -> None:
        """Each charge is recorded, receipted and mailed, each refusal too, and each change that stands is confirmed."""
        gateway, items = self.shop.gateway, self._items()
        paid = {item["payment_id"]: item for item in items if "paid_at" in item}
        assert {known: currencies.minor_units(item["amount"], "USD") for known, item in paid.items()} == {
            payment: amount for payment, amount, _ in gateway.charges
        }
        assert {item["status"] for item in paid.values()} <= {"done", "mail_unknown"}
        for item in items:
            mails = {name: mail["state"] for name, mail in item["mails"].items()}
            # The mail of a refusal that was interrupted stays recorded as being sent if a further attempt, or the end
            # of the subscription, makes the mail outdated before anybody looks again.
            stands = item["status"] in ("declined", "action_required")
            told = [name for name in mails if name.endswith(f"_{item['attempt']}") if stands or "receipt" in name]
            assert {mails[name] for name in told} <= {"sent", "unknown"}
            assert "notice" not in item, "a customer is still owed a mail about a refusal"
            if "paid_at" in item:
                assert any(name.startswith("receipt_") for name in mails)
        for payment in paid:
            refunds = (paid[payment].get("refunds") or {}).values()
            made = [each["amount"] for each in refunds if each["state"] == "refunded"]
            assert sum(currencies.minor_units(each, "USD") for each in made) == gateway.refunded(payment)
        row, changes = self.shop.row(), [change_from(each) for each in self._changes()]
        kinds = confirmations.CONFIRMATIONS
        assert confirmations.owed(row, changes, kinds, self.now, tested=False) == []

    def _expect_no_renewal_lost(self) -> None:
        row, items = self.shop.row(), self._items()
        standing = {item["status"] for item in items}
        assert standing <= {"done", "mail_unknown", "given_up", "declined", "action_required"}
        refused = standing & {"declined", "action_required"}
        assert bool(refused) == ("next_attempt" in row)
        if row["status"] == "active" and row.get("cancel_at", "9999") > row["renewal_date"]:
            assert row["renewal_date"] > self.now.date().isoformat(), "a renewal is lost"
        assert not refused or is_live(row), "a refused payment of an ended subscription stays open"
        for payment in self.shop.gateway.payments.values():
            is_open = payment.state in (PaymentState.DECLINED, PaymentState.ACTION_REQUIRED)
            assert not is_open or is_live(row), "a payment of an ended subscription can still be completed"

    def _expect_a_true_page(self) -> None:
        """The page says what the ledger says."""
        page = self._fresh("overview")
        row, items, today = self.shop.row(), self._items(), self.now.date().isoformat()
        # A period that began before the end is still collected after the end.
        collects = is_live(row) and row["renewal_date"] < row.get("cancel_at", "9999")
        has_ended = row["status"] == "canceled" or (row.get("cancel_at", "9999") <= today and not collects)
        assert ("Nothing is charged any more." in page.text) is has_ended
        if not has_ended:
            said = {"paused": "Paused.", "unpaid": "Suspended,", "past_due": "Past due."}.get(row["status"], "ctive")
            ends = row["status"] == "active" and row.get("cancel_at", "9999") <= row["renewal_date"]
            assert ("Canceled. Your last day is" if ends else said) in page.text
        asks = row["status"] == "past_due" and any(
            item["status"] == "action_required" and "closed_at" not in item for item in items
        )
        assert ('action="confirm"' in page.html) is (asks and not has_ended)
        assert "being settled" not in page.text
        latest = sorted(items, key=lambda item: str(item["renewal_date"]))[-24:]
        assert page.text.count("Receipt of ") == sum("receipt_key" in item for item in latest)
        refunds = [each for item in latest for each in (item.get("refunds") or {}).values()]
        shown = sum("receipt_key" in each and each["state"] != "failed" for each in refunds)
        assert page.text.count("Refund of ") == shown

    def _expect_what_the_page_says_of_the_next_charge(self) -> None:
        """On the day that the page names, the customer is charged the amount for the days that the page names; and
        never, if the page names none."""
        said = re.search(r"Next charge (.*?) Payment method", self._fresh("overview").text)
        assert said is not None
        row, before = self.shop.row(), len(self.shop.gateway.charges)
        day = date.fromisoformat(row["renewal_date"])
        if said[1] == "None":
            self._move(45 * DAY)
        elif said[1].endswith("because your subscription renews then"):
            assert f"on {words('en').day(day)}, for " in said[1]
            self._move((day - self.now.date()) * 1)
        else:  # a refused payment is tried again on the days of dunning, which have tests of their own
            return
        self._be_quiet()
        new = self.shop.gateway.charges[before:]
        if said[1] == "None":
            assert new == []
        elif row["payment_method"].startswith(("pm_ok", "pm_new")):
            [(payment, amount, currency), *_] = new
            item = self.shop.items()[self._period(payment)]
            days = words("en").days(*(date.fromisoformat(item[name]) for name in ("renewal_date", "period_end")))
            price = words("en").price(Decimal(amount) / 100, currency).strip("\u2066\u2069")
            assert said[1].startswith(f"{price} on {words('en').day(day)}, for {days},")

    # How it is done

    def _be_there_at_night(self) -> None:
        self.door.catch_up()
        self.door.work()
        self._sweep("all")
        self._work()

    def _sweep(self, kind: str) -> None:
        sweeper = Sweeper(self.shop, FakeSQS(self.shop.cuts.around))
        with suppress(*ENDED):
            sweeper.sweep(kind, now=self.now)
        self.visitor.queued += sweeper.sent()

    def _work(self, messages: list[Item] | None = None) -> None:
        """Run the workflow for the messages in the queue, and for the executions that the API has started."""
        if messages is None:
            messages = [*self.visitor.queued, *self.api.started]
        self.visitor.queued, self.api.started = [], []
        for message in messages:
            self._run(message)

    def _run(self, message: Item) -> None:
        self.runs += 1
        self._move(SECOND)
        self.shop.execute(message, f"run-{self.runs}", self.now)

    def _confirm(self) -> None:
        """Do as EventPublisher asks after each change."""
        self._run({"event_type": Asks.CONFIRM})

    @contextmanager
    def _at_the_page(self) -> Iterator[None]:
        """The page has its own queue and secrets, also while the gateway's door is at work."""
        with pytest.MonkeyPatch.context() as patch:
            for name in ("sqs", "secrets_manager", "patient_functions"):
                patch.setattr(aws, name, lambda: self.visitor)
            yield

    def _get(self, path: str, session: str) -> Page | None:
        at, before = self.now, self.shop.row()
        page = self._sent(lambda: self.visitor.get(path), session)
        if path in ("overview", "cancel", "resume") and page is not None and page.status == 200:
            self._expect_signed_in(session, at, before)
        return page

    def _sent(self, send: Callable[[], Page], session: str) -> Page | None:
        """Send a request with a session, and return the page; None if the process has ended."""
        self._move(timedelta(milliseconds=1))
        self.visitor.session = session
        with self._at_the_page(), suppress(Cut):
            page = send()
            assert page.status != 500
            return page
        return None

    def _expect_signed_in(self, session: str, at: datetime, row: Item, power: Power = Power.SEE) -> None:
        """Expect that a session, which was good for something, was good as time and row stood before. power: the least
        power that was needed."""
        ticket = self.sessions[session]
        stood = row.get("account_links", Decimal(0)), row["customer_email"]
        assert (ticket.counter, ticket.address) == stood, "a session that is closed was good for something"
        assert at < ticket.ends, "a session that has ended was good for something"
        assert power in (Power.SEE, ticket.power), "a session that can only look has changed something"

    def _sign_in(self, power: Power = Power.FULL, link: str = "") -> str:
        link = link or self.visitor.link(power, now=self.now)
        power = self.links.setdefault(link, power)
        row = self.shop.row()
        page = self._sent(lambda: self.visitor.post("session", {"token": link}), "")
        if page is None or not page.cookie:
            return ""
        ends = self.now + timedelta(minutes=30)
        self.sessions[page.cookie] = Ticket(power, row.get("account_links", Decimal(0)), row["customer_email"], ends)
        return page.cookie

    def _open(self, path: str, session: str) -> Form | None:
        """Open a page, and keep its form, which may be sent now, later or never."""
        page = self._get(path, session)
        if page is None or page.status != 200 or "form" not in page.fields:
            return None
        self.forms.append(Form(path, session, page.fields, page.text))
        return self.forms[-1]

    def _fresh(self, path: str) -> Page:
        page = self._get(path, self._sign_in())
        assert page is not None
        assert page.status == 200
        return page

    def _press_on(self, path: str, button: str = "") -> Page | None:
        """Sign in, open a page, and press its button."""
        form = self._open(path, self._sign_in())
        return None if form is None else self._press(button or path, form)

    def _press(self, path: str, form: Form) -> Page | None:
        at, before, known = self.now, self.shop.row(), len(self._changes())
        page = self._sent(lambda: self.visitor.post(path, form.fields), form.session)
        if page is None or page.status != 303:
            return page
        self._expect_signed_in(form.session, at, before, Power.SEE if path == "mail-link" else Power.FULL)
        if path == "confirm":
            self.banks.append(page.header("Location"))
        if path in ("cancel", "resume"):
            assert form.fields["expected"] not in self.used, "a form has changed something twice"
            self.used.add(form.fields["expected"])
            made = [change for change in self._changes()[known:] if change["by"] == "customer"]
            self._expect_as_said(path, form, made[-1], before)
        return page

    def _expect_as_said(self, path: str, form: Form, made: Item, before: Item) -> None:
        """Expect that a change does what its page had said."""
        ends = made["details"].get("cancel_at", [None, None])[1]
        if path == "cancel":
            if ends is None or ends <= made["at"][:10]:
                said = "our subscription ends today"
            else:
                said = f"our last day is {words('en').day(date.fromisoformat(ends) - DAY)}"
            assert said in form.text
        elif "We charge" in form.text and made["what"] == ChangeKind.RESUMED:
            # A claim keeps its amount. A price that was changed later holds for the periods after the claimed period.
            claimed = [item["amount"] for item in self._items() if item["status"] == "claimed"]
            amount = Decimal(claimed[0]) if claimed else before["amount"]
            price = words("en").price(amount, before["currency"]).strip("\u2066\u2069")
            assert f"We charge {price} " in form.text

    def _save_cards(self) -> None:
        """Save a card at every open page of the gateway."""
        gateway = self.shop.gateway
        for known, session in list(gateway.sessions.items()):
            if session.state is SessionState.OPEN and self.now < gateway.pages[known].expires_at:
                self.ways_back.append(gateway.give_card(known, self._new_card()))

    def _new_card(self) -> str:
        """Return the id of a card that the customer chooses now."""
        self.cards += 1
        card = f"pm_{('new', '3ds', 'declined', '3ds')[self.cards % 4]}_{self.cards}"
        self.writes.chosen[card] = self.now.replace(microsecond=0)
        return card

    def _come_back(self, page: str, pick: Random) -> None:
        """Come back from the latest page of the gateway, with a cookie or without, once or twice."""
        backs = [each for each in self.ways_back if each.startswith(f"{BACK}{page}/")]
        if backs:
            for _ in range(pick.randint(1, 2)):
                self._get(backs[-1].removeprefix(BACK), pick.choice(["", *[*self.sessions][-1:]]))

    def _ask_api(self, method: str, path: str, body: Item | None = None) -> None:
        headers: Item = {"If_Match": "*"} if method == "PATCH" else {}
        with suppress(Cut):
            reply = self.api(method, f"/subscriptions/sub_1{path}", body, **headers)
            assert reply.status != 500, reply.body

    def _items(self) -> list[Item]:
        return [item for item in self.shop.items().values() if item["status"] != "skipped"]

    def _changes(self) -> list[Item]:
        changes = self.shop.dynamodb.items("changes").values()
        return [each for each in changes if "what" in each]

    def _recorded_mails(self) -> Iterator[Item]:
        for item in self._items():
            yield from item["mails"].values()
            yield from (mail for mails in item.get("earlier_mails", {}).values() for mail in mails)
        for change in self._changes():
            if "confirmation" in change:
                yield change["confirmation"]
                yield from change.get("earlier_confirmations", [])

    def _period(self, payment: str) -> str:
        return self.shop.gateway.requests[payment].renewal_date.isoformat()


def _told(sent: Item) -> dict[str, list[str]]:
    """Return the tags of a mail as SES tells them in its events."""
    return {tag["Name"]: [tag["Value"]] for tag in sent["Tags"]}


def _live(seed: int, steps: int) -> None:
    """Live a life. The message of a failure names the steps without which the life does not fail."""
    life = drawn(seed, steps)
    if _fault(life) is None:
        return
    for n in reversed(range(1, len(life))):
        shorter = life[:n] + life[n + 1 :]
        life = shorter if _fault(shorter) is not None else life
    told = "\n".join(map(str, life))
    pytest.fail(f"seed {seed}:\n{told}\n{_fault(life)}", pytrace=False)


def _fault(steps: list[Step]) -> str | None:
    try:
        PageLife().live(steps)
    except Exception:  # noqa: BLE001  (whatever fails is shown)
        return format_exc(limit=-3)
    return None


@pytest.mark.parametrize("seed", range(SHORT))
def test_any_life_keeps_the_promises(seed: int) -> None:
    """The promises hold over a few lives; `make proof` lives more."""
    _live(seed, 40)


@pytest.mark.proof
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("first", range(1000, 1800, 100))
def test_forty_thousand_steps_with_the_page(first: int) -> None:
    """The promises hold over 800 lives of 50 steps."""
    for seed in range(first, first + 100):
        _live(seed, 50)
