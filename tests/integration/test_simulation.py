"""A short simulation on a deployed stack, and simulations with the protocol broken, whose faults must be reported."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path

import pytest

from local.simulate.evidence import Verdict, verdict
from local.simulate.happenings import (
    FIRST_DAY,
    Action,
    BankDecides,
    CardBehaves,
    Contest,
    Contested,
    EndRevoked,
    Killed,
    Price,
    Subscriber,
    Vanished,
    Webhooks,
)
from local.simulate.life import live
from local.simulate.shop import Shop
from local.simulate.story import Story
from local.stack import Stack
from tests.integration.breakage import Breakage, Change, broken
from tests.shares import share

STORY = Story(seed=306, days=40, subscriptions=20)
"""A seed whose story has every trouble: webhooks at once, a payment cut off before its record, downtime, declines."""

WRITES_WHAT_WAS_PAID = 8
"""The call of AWS by which ProcessPayment records a payment that has succeeded."""


class FirstRenewals(Story):
    """A few days in which every subscription, numbered from 3 on, is renewed on the second day.

    webhooks: the number of concurrent webhooks for every renewal; without webhooks only the sweep finds the renewals.
    """

    webhooks = 0

    @cached_property
    def subscribers(self) -> tuple[Subscriber, ...]:
        due = FIRST_DAY + timedelta(days=1)
        asked = {due: (Webhooks(self.webhooks),)} if self.webhooks else {}
        return tuple(
            Subscriber(
                id=f"{self.run}-000{n}", name="Ann Lee", email=f"{self.run}-{n}@customers.example", plan="Pro",
                interval="month", count=1, anchor=due.day, names_anchor=False, first=due, created=FIRST_DAY,
                catch_up="latest", price=Price("29.99", "USD", 2999), actions=asked, refused_within=frozenset(),
            )
            for n in range(3, 3 + self.subscriptions)
        )  # fmt: skip


class TwoWebhooks(FirstRenewals):
    """First renewals with two webhooks at once for every renewal."""

    webhooks = 2


class Interrupted(FirstRenewals):
    """First renewals of which three are interrupted: the card is charged, and ProcessPayment ends before its record."""

    @cached_property
    def subscribers(self) -> tuple[Subscriber, ...]:
        due = FIRST_DAY + timedelta(days=1)
        killed = (Killed("process-payment", WRITES_WHAT_WAS_PAID, "before"),)
        return tuple(
            replace(each, actions={due: killed} if n < 3 else {}) for n, each in enumerate(super().subscribers)
        )


class Unreachable(FirstRenewals):
    """First renewals of two customers whose mailboxes are missing. The first customer's address is corrected on the
    fourth day. The second customer's card is declined, and the address is corrected after the last dunning date.
    """

    @cached_property
    def subscribers(self) -> tuple[Subscriber, ...]:
        paid, declined = super().subscribers
        return paid, replace(declined, actions={FIRST_DAY + timedelta(days=1): (CardBehaves("declined"),)})

    @cached_property
    def vanished(self) -> Mapping[str, tuple[Vanished, ...]]:
        return {
            each.id: (Vanished(each.email, FIRST_DAY, FIRST_DAY + timedelta(days=days), f"new-{each.email}"),)
            for each, days in zip(self.subscribers, (3, 10), strict=True)
        }


UNREACHABLE = Unreachable(seed=0, days=13, subscriptions=2, run="gone")


class Disputes(FirstRenewals):
    """First renewals whose payments are disputed three days later. One dispute is lost. The end of the other
    subscription is taken back by hand before that dispute is lost, too.
    """

    @cached_property
    def subscribers(self) -> tuple[Subscriber, ...]:
        first, second = super().subscribers
        disputed, revoked, lost = (FIRST_DAY + timedelta(days=n) for n in (3, 4, 5))
        actions: dict[date, tuple[Action, ...]] = {
            disputed: (Contested(Contest.CHARGEBACK),),
            lost: (BankDecides("lost"),),
        }
        return replace(first, actions=actions), replace(second, actions=actions | {revoked: (EndRevoked(),)})


POST = Story(seed=329, days=40, subscriptions=10, run="post")
"""A story in which mail comes back: of several charges before the address is corrected, and of a whole dunning."""

_ANOTHER_KEY = Change(
    "process_payment/payments.py",
    "idempotency_key=idempotency_key(self.deployment, renewal),",
    "idempotency_key=datetime.now(UTC).isoformat(),",
)
NEW_INTENT_FOR_EVERY_RUN = Breakage(
    "ProcessPayment",
    "process-payment",
    (
        _ANOTHER_KEY,
        Change(
            "process_payment/charge.py",
            "        if renewal.payment_id is not None:\n            return self._settle(",
            "        if False:\n            return self._settle(",
        ),
        Change(
            "renewals/ledger/payment_steps.py",
            'condition = (same_claim(renewal), no_payment(), Term("#status = :claimed"',
            'condition = (same_claim(renewal), Term("#status = :claimed"',
        ),
    ),
)
_CHARGE = "@dataclass(frozen=True, slots=True)\nclass Charge(Around):"
_CLAIM = "            claimed = self.ledger.apply(step)"
_CONFIRM = "        answer = self.gateway.confirm(payment.id, renewal.payment_method)"
_MEETS = '''
def meets(place, name):
    """Waits until two have come to this place, 20 seconds at most."""
    import pathlib, time
    arrived, until = pathlib.Path(place), time.monotonic() + 20
    arrived.mkdir(parents=True, exist_ok=True)
    (arrived / name.rpartition(":")[2]).touch()
    while len(list(arrived.iterdir())) < 2 and time.monotonic() < until:
        time.sleep(0.02)

'''


def two_meet(folder: Path) -> tuple[Change, ...]:
    """Make an execution wait for a second execution twice: after both executions have read and before a claim, and
    after both have read the subscription again and before a confirmation.

    folder: the place where the executions record their arrival.
    """

    def meeting(place: str, name: str) -> str:
        return f"meets({str(folder / place)!r}, {name})\n"

    claim, confirm = meeting("claim", "new.renewal.owner"), meeting("confirm", "payment.id")
    return (
        Change("process_payment/charge.py", _CHARGE, f"{_MEETS}\n{_CHARGE}"),
        Change("process_payment/charge.py", _CLAIM, f"            {claim}{_CLAIM}"),
        Change(
            "process_payment/payments.py",
            _CONFIRM,
            f"        from process_payment.charge import meets\n        {confirm}{_CONFIRM}",
        ),
    )


CLAIM_WITHOUT_CONDITION = (
    _ANOTHER_KEY,
    Change(
        "renewals/ledger/claim_steps.py",
        "Put(Table.RENEWALS, item_of(renewal), _unpaid(anew[0]) if anew else free)",
        'Put(Table.RENEWALS, item_of(renewal), (Term("attribute_not_exists(claim) OR attribute_exists(claim)", {}),))',
    ),
    Change(
        "renewals/ledger/payment_steps.py",
        "condition = (same_claim(renewal), no_payment(), Term(",
        'condition = (Term("(claim <> :claim OR #status = :claimed)", {":claim": renewal.claim}), Term(',
    ),
)
DISPUTES_THAT_END_AGAIN = Breakage(
    "GatewayWorker",
    "gateway-worker",
    (
        Change(
            "gateway_worker/disputes.py",
            "    if effect is None and disputes.is_chargeback(",
            "    if disputes.is_chargeback(",
        ),
    ),
)
RECEIPTS_DROPPED = Breakage(
    "GenerateReceipt",
    "generate-receipt",
    (Change("generate_receipt/app.py", "        s3.put_object(\n", "        dict(\n"),),
)
MAILS_DROPPED = Breakage(
    "SendEmail",
    "send-email",
    (
        Change(
            "send_email/post.py",
            "sent = self.ses.send_raw_email(",
            'sent = (lambda **mail: {"MessageId": "none"})(',
        ),
    ),
)
PARKED_MAILS_FORGOTTEN = Breakage(
    "ProcessPayment",
    "process-payment",
    (
        Change(
            "process_payment/snapshot.py",
            "return address is not None and not is_in_vain(renewal.mails.get(name), address)",
            "return False",
        ),
        Change(
            "process_payment/dunning_rules.py",
            "if seen.has_new_card or not dunning_decisions.waits(renewal, around.dunning):",
            "if True:",
        ),
    ),
)
MAILED_ON = Breakage(
    "SendEmail",
    "send-email",
    (
        Change(
            "send_email/delivery.py",
            "mail_faults.refuse(row, required=True)",
            "mail_faults.refuse(None, required=True)",
        ),
    ),
)
FORGETFUL_SWEEP = Breakage(
    "RenewalSweep",
    "renewal-sweep",
    (
        Change(
            "renewal_sweep/sweep.py",
            "        clock = self.test_clock(row) if self.test_clock else None\n",
            '        clock = self.test_clock(row) if row["subscription_id"][-1] not in "357" else None\n',
        ),
    ),
)


def lived(stack: Stack, story: Story, *breakages: Breakage) -> Verdict:
    """Live through a story with the product as it is, or broken, and return the verdict."""
    shop = Shop(stack)
    with broken(shop, *breakages):
        live(story, shop, lambda _: None)
        found = verdict(story, shop)
    shop.leave()
    return found


def named_by_the_audit(found: Verdict) -> str:
    return " ".join(fault.what for fault in found.faults if fault.kind == "audit")


def counted(found: Verdict) -> Counter[str]:
    return Counter(fault.kind for fault in found.faults)


@pytest.mark.timeout(600)
def test_forty_hostile_days(stack: Stack) -> None:
    """In forty days with downtime, declines, kills and a gateway that hangs up, every due renewal is charged, receipted
    and mailed once, or visibly declined and given up; nothing else is charged."""
    found = lived(stack, replace(STORY, run="good"))
    assert [str(fault) for fault in found.faults] == []
    results = found.results.values()
    charged = sum(len(result.charged) for result in results)
    assert charged == found.receipted == found.mailed + found.unknown + found.unmailed
    assert found.mailed > 20
    assert sum(len(result.refused) for result in results) > 2


@pytest.mark.timeout(600)
def test_new_intents_and_lost_mails_are_seen(stack: Stack) -> None:
    """Three interrupted periods are charged once. With a new payment for every run they are charged twice, and with
    mails dropped no mail arrives: both faults are reported."""
    story = Interrupted(seed=0, days=3, subscriptions=7, run="whole")
    assert [str(fault) for fault in lived(stack, story).faults] == []
    found = lived(stack, replace(story, run="bad"), NEW_INTENT_FOR_EVERY_RUN, MAILS_DROPPED)
    count = counted(found)
    assert (count["doubled"], count["no_mail"], found.mailed) == (3, 7, 0)
    assert "the audit says doubled" in named_by_the_audit(found)


@pytest.mark.timeout(600)
def test_what_a_sweep_forgets_is_missed(stack: Stack) -> None:
    """The sweep is the only finder of four renewals and forgets the third and the fifth subscription: exactly these two
    are reported, and the others are charged, receipted and mailed."""
    found = lived(stack, FirstRenewals(seed=0, days=3, subscriptions=4, run="forgets"), FORGETFUL_SWEEP)
    missed = {fault.subscription_id for fault in found.faults if fault.kind == "missed"}
    assert missed == {"forgets-0003", "forgets-0005"}
    assert (found.receipted, found.mailed) == (2, 2)


@pytest.mark.timeout(600)
def test_claims_without_a_condition_are_seen(stack: Stack, tmp_path: Path) -> None:
    """Without the claim's condition, two executions that meet between reading and claiming charge twice. (With the
    condition only the first execution claims, and goes on after waiting in vain for the second.)"""
    story = TwoWebhooks(seed=0, days=2, subscriptions=1, run="twice")
    breakage = Breakage(
        "ProcessPayment",
        "process-payment",
        (*two_meet(tmp_path), *CLAIM_WITHOUT_CONDITION),
    )
    assert counted(lived(stack, story, breakage))["doubled"] >= 1


@pytest.mark.timeout(600)
def test_lost_receipts_are_seen(stack: Stack) -> None:
    """Every receipt that is not stored is reported. (The story is short, because a lost receipt is tried ten times over
    days.)"""
    found = lived(stack, FirstRenewals(seed=0, days=3, subscriptions=5, run="worse"), RECEIPTS_DROPPED)
    assert (found.receipted, counted(found)["no_receipt"]) == (0, 5)
    assert "the audit says receipt_missing" in named_by_the_audit(found)


@pytest.mark.timeout(600)
def test_a_dispute_that_ends_a_subscription_twice_is_seen(stack: Stack) -> None:
    """No event of the gateway arrives, and the nightly catch-up finds two disputes. Each dispute ends its subscription
    once, and an end that was taken back stays taken back. With the ends repeated at each step of a dispute, the
    subscription that ends again is reported."""
    story = Disputes(seed=0, days=7, subscriptions=2, run="disputed")
    found = lived(stack, story)
    assert [str(fault) for fault in found.faults] == []
    assert (found.disputed, found.lost, found.caught_up >= 4) == (2, 2, True)
    again = lived(stack, replace(story, run="again"), DISPUTES_THAT_END_AGAIN)
    told = " ".join(fault.what for fault in again.faults if fault.subscription_id == "again-0004")
    assert "the subscription ends on 2024-03-21 instead of None" in told


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("story", "corrected", "returned"), share([(UNREACHABLE, 1, 2), (POST, 3, 3)], of=2), ids=["two-mailboxes", "drawn"]
)
def test_mail_that_comes_back(stack: Stack, story: Story, corrected: int, returned: int) -> None:
    """A mail that came back, or had no address, reaches the corrected address once; no mail goes to an address that
    bounced, and no dunning ends before a final notice has arrived."""
    found = lived(stack, story)
    assert [str(fault) for fault in found.faults] == []
    assert found.corrected >= corrected
    assert found.returned >= returned
    assert [period for result in found.results.values() for period in result.held if period in result.given_up]


@pytest.mark.timeout(600)
def test_forgotten_and_vain_mails_are_seen(stack: Stack) -> None:
    """With parked mails forgotten, the missing receipt of the corrected address is reported; mail to a bounced address
    is reported, and so is an end of dunning without a notice."""
    found = lived(stack, replace(UNREACHABLE, run="lost"), PARKED_MAILS_FORGOTTEN, MAILED_ON)
    told = " ".join(fault.what for fault in found.faults if fault.kind == "no_mail")
    assert (found.corrected, counted(found)["vain_mail"]) == (0, 4)
    assert "no mail with the receipt" in told
    assert "no final notice" in told


@pytest.mark.proof
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("story", "breakages", "kinds"),
    [
        (replace(STORY, run="drawn"), (NEW_INTENT_FOR_EVERY_RUN, MAILS_DROPPED), {"doubled", "no_mail"}),
        (Story(seed=219, days=14, subscriptions=6, run="unstored"), (RECEIPTS_DROPPED,), {"no_receipt"}),
        (Story(seed=490, days=26, subscriptions=12, run="vain"), (PARKED_MAILS_FORGOTTEN, MAILED_ON),
         {"vain_mail", "no_mail"}),
    ],
    ids=["new-intents-and-lost-mails", "lost-receipts", "forgotten-and-vain-mails"],
)  # fmt: skip
def test_the_faults_are_seen_amid_drawn_troubles(
    stack: Stack, story: Story, breakages: tuple[Breakage, ...], kinds: set[str]
) -> None:
    """The same faults are reported in drawn stories, with downtime, declines, kills and mail that comes back."""
    assert kinds <= counted(lived(stack, story, *breakages)).keys()
