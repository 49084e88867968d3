"""Whatever a customer does on the page, in any order, twice, or beside a renewal: nothing is charged twice, nothing
canceled is charged, and no renewal is lost."""

from contextlib import ExitStack
from datetime import date, timedelta
from itertools import pairwise

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.fakes import LATER, NOON, World
from tests.visitor import Page, Visitor, visiting

DAY = timedelta(days=1)
LIVE = ("active", "past_due")


class Customer(RuleBasedStateMachine):
    """A customer with several windows, beside the sweep and the queue of renewals."""

    def __init__(self) -> None:
        super().__init__()
        self.open = ExitStack()
        self.shop = World()
        self.visitor: Visitor = self.open.enter_context(visiting(self.shop))
        self.now = NOON
        self.runs = 0
        self.forms: list[tuple[str, dict[str, str]]] = []
        self.ends: str | None = None

    def teardown(self) -> None:
        self.open.close()

    @initialize(
        card=st.sampled_from(["pm_ok", "pm_declined", "pm_3ds"]),
        status=st.sampled_from(["active", "paused"]),
        ends=st.sampled_from([None, "2026-02-28", "2026-05-15"]),
    )
    def subscribe(self, card: str, status: str, ends: str | None) -> None:
        """Subscribe the customer, perhaps with an end that the seller has set."""
        self.ends = ends
        self.shop.subscribe(payment_method=card, status=status, cancel_at=ends)
        self._sign_in()

    def _sign_in(self) -> None:
        self.visitor.now = self.now
        assert self.visitor.post("session", {"token": self.visitor.link(now=self.now)}).status == 303

    @property
    def today(self) -> date:
        return self.now.date()

    @rule(days=st.integers(1, 40))
    def days_pass(self, days: int) -> None:
        self.now += days * DAY

    @rule(times=st.integers(1, 2))
    def renew(self, times: int) -> None:
        """Renew as the sweep asks."""
        for _ in range(times):
            self._run(str(self.shop.row()["renewal_date"]))

    @rule()
    def work_the_queue(self) -> None:
        queued, self.visitor.queued = self.visitor.queued, []
        for request in queued:
            self._run(request["renewal_date"])

    def _run(self, period: str) -> None:
        before, charged = dict(self.shop.row()), len(self.shop.gateway.charges)
        self.runs += 1
        self.now += LATER
        self.shop.run(f"run-{self.runs}", self.now, period=period)
        if len(self.shop.gateway.charges) > charged:
            assert before["status"] in LIVE, "charged what is canceled or paused"
            assert before["renewal_date"] <= self.today.isoformat(), "charged before its day"
            assert before.get("cancel_at", "9999") > before["renewal_date"], "charged after its end"

    @rule(path=st.sampled_from(["cancel", "resume"]))
    def open_a_window(self, path: str) -> None:
        """Open the page of a change and leave it open: its form may be sent now, later, or never."""
        self._sign_in()
        page = self.visitor.get(path)
        if page.status == 200:
            self.forms.append((path, page.fields))

    @precondition(lambda self: self.forms)
    @rule(window=st.integers(0, 5), times=st.integers(1, 2), again=st.booleans())
    def press_the_button(self, window: int, times: int, again: bool) -> None:
        """Send the form of a window, perhaps twice, perhaps in a new session of another window."""
        path, form = self.forms[window % len(self.forms)]
        if again:
            self._sign_in()
            path_now = self.visitor.get(path)
            form = form | {"form": path_now.fields["form"]} if path_now.status == 200 else form
        self.visitor.now = self.now
        answers: list[Page] = []
        for _ in range(times):
            before = dict(self.shop.row())
            answers.append(self.visitor.post(path, form))
            if answers[-1].status != 303:
                assert self.shop.row() == before
            elif path == "cancel":
                assert self.shop.row()["status"] == "canceled" or "cancel_at" in self.shop.row()
            else:
                assert self.shop.row()["status"] == "active"
                assert self.shop.row().get("cancel_at") == self.ends, "the seller's end was changed"
        assert [each.status for each in answers].count(303) <= 1, "a doubled form acted twice"

    @rule()
    def give_a_good_card(self) -> None:
        self.shop.edit(payment_method="pm_ok")

    @invariant()
    def the_sellers_end_is_never_put_off(self) -> None:
        assert self.ends is None or self.shop.row()["cancel_at"] <= self.ends

    @invariant()
    def each_day_is_charged_once(self) -> None:
        paid = [item for item in self.shop.items().values() if item.get("paid_at")]
        spans = sorted((str(item["renewal_date"]), str(item["period_end"])) for item in paid)
        assert all(end <= start for (_, end), (start, _) in pairwise(spans)), "a day is paid twice"
        assert len(self.shop.gateway.charges) == len(paid)

    @invariant()
    def no_renewal_is_lost(self) -> None:
        """A live subscription with a good card that is due is charged by the next runs."""
        row = self.shop.row()
        if row["status"] != "active" or row["payment_method"] != "pm_ok" or "cancel_at" in row:
            return
        if str(row["renewal_date"]) > self.today.isoformat():
            return
        charged = len(self.shop.gateway.charges)
        for _ in range(3):
            self._run(str(self.shop.row()["renewal_date"]))
        assert len(self.shop.gateway.charges) > charged, "a due renewal was not made"


Customer.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestCustomer = Customer.TestCase
