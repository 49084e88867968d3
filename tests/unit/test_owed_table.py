"""For every state of a renewal and of its customer's address, all places of the code agree on the mail that is owed and
on whether the mail may be sent. owed_table.txt holds the answers of all places side by side.

A line of the table is a renewal: its status, the owed notice, and the state of the mail that is owed or was sent last.
A column is a place in the code. A cell with slashes holds an answer for four addresses in turn: the mailed address, a
new address, the mailed address marked as bounced, and the mailed address marked as complained. A cell without slashes
holds for all four.

The columns:

sweep    the request that the sweep sends: a renewal, a look at the refunds, or nothing (-).
charge   the mail that an execution naming this period is to send, or the execution's answer instead.
mail     the result of sending the mail, where an execution is to send a mail.
edit     whether a new address, given by the API, starts an execution for this period.
refund   whether a refund may be asked for.
refunds  the mail that a look at the refunds is to send.
resend   whether `resend-mail` accepts the period.
bounce   after a sent mail came back: the status, and the notice.
in vain  whether dunning takes the address to be at fault.
audit    whether the audit misses a mail (of a renewal due, or charged, two days ago).

The last lines are reminders: whether a reminder is owed, by the state of the reminder before, for the four addresses.

After an intended change of the code, write the table anew and read the difference line by line:
`OWED_TABLE=write .venv/bin/python -m pytest tests/unit/test_owed_table.py`.
"""

import os
from collections.abc import Callable, Iterator
from copy import copy, deepcopy
from dataclasses import dataclass, field, fields
from datetime import timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Never, cast

import pytest

from mail_feedback.event import Word
from mail_feedback.feedback import Feedback
from process_payment import dunning_decisions, refunding
from renewal_audit.compare import Compared
from renewal_audit.findings import Found
from renewal_audit.keys import is_of
from renewal_audit.overdue import compare_due
from renewal_sweep.parts import PartKind, SweepPart
from renewal_sweep.sweep import Sweep
from renewals.domain import reminders, subscription
from renewals.domain.errors import MailError, PaymentError
from renewals.domain.mail_faults import FaultKind
from renewals.domain.mail_tags import Tagged
from renewals.domain.refunds import NotRefundable, check
from renewals.domain.reminder_rules import Rules
from renewals.domain.renewal import Renewal, Status
from renewals.domain.renewal_items import renewal_from, shard
from renewals.domain.request import Asks, RenewalRequest
from renewals.domain.subscription import Subscription
from renewals.gateway.port import Charged
from renewals.gateway.refund_settlement import Settlement
from renewals.ledger import reminder_records
from renewals.ledger.asked_by import AskedBy
from renewals.ledger.register import Register
from renewals.runtime.renewal_queue import RenewalQueue
from scripts.plainly import Trouble
from scripts.subscriptions import renewing
from subscriptions_api import changing, shared
from tests.fake_gateway import FakeGateway
from tests.fakes import DUE, NOON, REMINDER_RULES, World
from tests.recordings.recorder import unheard

DAY = DUE.isoformat()
MAILED, OTHER = "ann@customer.example", "ann@new.example"
LATER = NOON + timedelta(hours=2)
TABLE = Path(__file__).with_name("owed_table.txt")
ADDRESSES: dict[str, dict[str, Any]] = {
    "mailed": {},
    "other": {"customer_email": OTHER},
    "bounced": {"mail_fault": {"address": MAILED, "kind": "bounced", "at": NOON.isoformat(), "reason": "Permanent"}},
    "complained": {"mail_fault": {"address": MAILED, "kind": "complained", "at": NOON.isoformat(), "reason": "abuse"}},
}
MAILS = ("none", "sending", "sent", "unknown", "failed")
REFUNDED, REFUSED, FINAL, GIVEN_UP = "refunded_1", "payment_failed_1", "final_notice_1", "canceled_1"
"""The names of the notices' mails."""
TOKEN = "b" * 32
"""The token of the mail in a line."""
ASKED = RenewalRequest("sub_1", "cus_1", Decimal("29.99"), DUE)


@dataclass(frozen=True)
class State:
    """A line of the table: the status, whether the period is paid, the owed notice, and the state of the notice's mail,
    or of the receipt's mail where no notice is owed."""

    status: Status
    paid: bool
    notice: str | None
    mail: str

    @property
    def name(self) -> str:
        return self.notice or ("receipt_1" if self.paid else GIVEN_UP if self.status is Status.GIVEN_UP else REFUSED)


def _states() -> Iterator[State]:
    yield State(Status.CLAIMED, False, None, "none")
    for status in (Status.DECLINED, Status.ACTION_REQUIRED):
        yield State(status, False, None, "sent")
        for notice in (REFUSED, FINAL) if status is Status.DECLINED else (FINAL,):
            yield from (State(status, False, notice, mail) for mail in MAILS)
    yield State(Status.GIVEN_UP, False, None, "none")
    yield State(Status.GIVEN_UP, False, None, "sent")
    yield from (State(Status.GIVEN_UP, False, GIVEN_UP, mail) for mail in MAILS)
    yield State(Status.FAILED, False, None, "none")
    own = {
        Status.PAID: ("none",),
        Status.RECEIPTED: ("none", "sending"),
        Status.DONE: ("sent",),
        Status.MAIL_FAILED: ("failed",),
        Status.MAIL_UNKNOWN: ("unknown",),
        Status.FAILED: ("none",),
    }
    for status, mails in own.items():
        yield from (State(status, True, None, mail) for mail in mails)
        yield from (State(status, True, REFUNDED, mail) for mail in MAILS)


@cache
@unheard
def _lived(*, paid: bool, given_up: bool) -> World:
    """Return a shop with a single renewal: paid and refunded in part, declined, or given up."""
    shop = World()
    shop.subscribe(payment_method="pm_ok" if paid else "pm_declined")
    shop.run()
    if paid:
        shop.gateway.refund("pi_1", 1000, request="", idempotency_key="k")
        shop.settle_refunds(now=NOON)
    for day in range(1, 20) if given_up else ():
        shop.run(f"day-{day}", NOON + timedelta(days=day))
    return shop


def _shop(state: State, address: str) -> World:
    """Return a fresh shop in the state of this line."""
    shop, lived = World(), _lived(paid=state.paid, given_up=state.status is Status.GIVEN_UP)
    row, item = _stored(state, address)
    shop.dynamodb.items("subscriptions")["sub_1", "cus_1"] = deepcopy(row)
    shop.dynamodb.items("renewals")["sub_1", DAY] = deepcopy(item)
    shop.s3.objects = dict(lived.s3.objects)
    for each in fields(FakeGateway):
        if each.name not in ("cuts", "numbers"):
            setattr(shop.gateway, each.name, copy(getattr(lived.gateway, each.name)))
    return shop


@cache
def _stored(state: State, address: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the subscription's row and the ledger's item in this line."""
    lived = _lived(paid=state.paid, given_up=state.status is Status.GIVEN_UP)
    row, item = lived.row() | ADDRESSES[address], dict(lived.items()[DAY])
    if state.status is Status.CLAIMED:
        row = {name: value for name, value in row.items() if name != "next_attempt"} | {"status": "active"}
    item |= {"status": str(state.status), "notice": state.notice, "attempt": Decimal(1)}
    item |= {"lease_until": item["claimed_at"], "touched_at": item["claimed_at"]}
    known = next(iter(item["mails"].values()))
    told = {REFUNDED: known} if state.notice is None else {}
    receipted = {"receipt_1": known} if state.status in (Status.DONE, Status.MAIL_UNKNOWN) else {}
    if state.status is Status.MAIL_FAILED and state.notice:
        receipted = {"receipt_1": known | {"state": "failed", "token": "c" * 32, "to": MAILED}}
    item["mails"] = receipted | told if state.paid else {}
    if state.mail != "none":
        item["mails"][state.name] = known | {"state": state.mail, "token": TOKEN, "owner": "other", "to": MAILED}
    if state.status is Status.PAID or not state.paid:
        item |= {"receipt_key": None, "receipt_sha256": None}
    if state.status is Status.CLAIMED or (state.status is Status.FAILED and not state.paid):
        item |= {"payment_id": None, "next_attempt": None}
    if state.status is Status.FAILED:
        item["reason"] = "picked_up_too_often"
    item |= _indexed(state, item)
    return row, {name: value for name, value in item.items() if value is not None}


def _indexed(state: State, item: dict[str, Any]) -> dict[str, Any]:
    """Return the index attributes of such a renewal in the ledger: among the unfinished, and whether parked."""
    parked = state.notice is not None and state.mail == "failed"
    open_still = state.status in ("claimed", "declined", "action_required", "paid", "receipted")
    waits = open_still or (state.notice is not None and not parked)
    return {"unfinished": shard(item["subscription_id"]) if waits else None, "parked": parked or None}


def _renewal(shop: World) -> Renewal:
    return renewal_from(shop.items()[DAY])


def _row(shop: World) -> Subscription:
    return subscription.parse(shop.row())


# --- the places in the code ------------------------------------------------------------------------------------------


@dataclass
class _Queue:
    bodies: list[str] = field(default_factory=list)

    def send(self, requests: list[RenewalRequest]) -> None:
        self.bodies += ["renew" if each.asks is Asks.RENEW else "refunds" for each in requests]


def _sweep(shop: World) -> str:
    queue = _Queue()
    Sweep(
        client=cast("Any", shop.dynamodb),
        subscriptions="subscriptions",
        renewals="renewals",
        queue=cast("RenewalQueue", queue),
        hand_on=lambda _: None,
        name=lambda *_: None,
        seconds_left=lambda: 900.0,
        today=LATER.date(),
        now=LATER,
        reminder_rules=Rules(0, 32),
        concurrency=3,
    ).read(SweepPart(PartKind.SHARD, shard("sub_1")))
    return ",".join(queue.bodies) or "-"


def _charge(shop: World) -> str:
    try:
        outcome = shop.charge("run-9", LATER).renew(ASKED)
    except PaymentError:
        return "again"
    return outcome.reason or outcome.name


def _mail(shop: World) -> str:
    renewal = _renewal(shop)
    kind = "receipted" if renewal.notice is None else "refunded" if renewal.paid_at else str(renewal.status)
    try:
        came = shop.delivery("run-9", LATER).deliver("sub_1", "cus_1", DAY, kind, renewal.attempt)
    except MailError:
        return "again"
    return came if not shop.ses.sent else f"{came}, sent" if came != "mailed" else "sent"


def _edit(shop: World) -> str:
    started: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared, "register", lambda: _register(shop))
        patch.setattr(shared, "start", lambda _row, renewal: started.append(str(renewal.renewal_date)))
        changing._mail_what_waited(shop.row())
    return "starts" if started else "-"


def _register(shop: World) -> Register:
    client: Any = shop.dynamodb
    return Register(client, subscriptions="subscriptions", renewals="renewals", changes="changes")


def _refund(shop: World) -> str:
    try:
        check(_renewal(shop))
    except NotRefundable as error:
        return "later" if "on its way" in str(error) else "no"
    return "yes"


def _refunds(shop: World) -> str:
    settlement = Settlement(shop.ledger, shop.gateway, "shop-dev")
    outcome = refunding.settle(ASKED, settlement, shop.moment(LATER))
    return outcome.name if outcome.name == "refunded" else "-"


class _Deployed:
    """The parts of a deployment that `resend-mail` uses before it runs the workflow."""

    def __init__(self, shop: World) -> None:
        self.register = _register(shop)

    def asked(self, _row: object) -> AskedBy:
        return AskedBy("ann", LATER)

    def moment(self, _row: object) -> Any:
        raise _Started


class _Started(Exception):  # noqa: N818
    """Raised at the moment when the workflow would be started."""


def _resend(shop: World) -> str:
    try:
        renewing.resend_mail(cast("Any", _Deployed(shop)), "sub_1", DAY)
    except _Started:
        return "yes"
    except Trouble as trouble:
        return "correct it" if "address" in str(trouble) else "no"
    raise AssertionError("resend-mail ended without starting the workflow")


def _no_confirmations() -> Never:
    raise AssertionError("the mail belongs to a renewal")


def _bounce(shop: World) -> str:
    renewal = _renewal(shop)
    name = next((name for name, mail in renewal.mails.items() if mail.token == TOKEN and mail.state != "failed"), None)
    if name is None:
        return ""
    tagged = Tagged("sub_1", "cus_1", DAY, name, renewal.mails[name].token)
    word = Word(FaultKind.BOUNCED, LATER, "Permanent", tagged)
    client: Any = shop.dynamodb
    Feedback(shop.ledger, reminder_records.Records(client, "subscriptions"), _no_confirmations, LATER).take(word)
    after = shop.items()[DAY]
    where = "parked" if "parked" in after else "open" if "unfinished" in after else "shut"
    return f"{after['status']} {after.get('notice', '-')} {where}"


def _in_vain(shop: World) -> str:
    return "yes" if dunning_decisions.is_told_in_vain(_renewal(shop), _row(shop)) else "no"


def _audit(shop: World) -> str:
    found, item = Found(), shop.items()[DAY]
    later = shop.moment(LATER + timedelta(days=2))
    if "paid_at" not in item:
        compare_due(_row(shop), item | {"next_attempt": "2027-01-01"}, later, found)
    else:
        metadata = {"subscription_id": "sub_1", "renewal_date": DAY}
        charge = Charged("pi_1", succeeded=True, amount=2999, currency="USD", at=NOON, metadata=metadata)
        assert is_of(item, charge)
        stored = {item["receipt_key"]: item["receipt_sha256"]} if "receipt_key" in item else {}
        Compared({("sub_1", DAY): item}, stored, lambda _: True, lambda _: [], later.now, found).charge(charge)
    return "misses" if any(each["kind"] == "mail_missing" for each in found.differences) else "-"


PLACES: dict[str, Callable[[World], str]] = {
    "sweep": _sweep,
    "charge": _charge,
    "mail": _mail,
    "edit": _edit,
    "refund": _refund,
    "refunds": _refunds,
    "resend": _resend,
    "bounce": _bounce,
    "in vain": _in_vain,
    "audit": _audit,
}
FOR_PAID = ("refund", "refunds", "resend")
FOR_REFUSED = ("in vain",)


def _cell(state: State, place: str) -> str:
    if (place in FOR_PAID and not state.paid) or (place in FOR_REFUSED and "_required" not in state.status
                                                  and state.status is not Status.DECLINED):  # fmt: skip
        return ""
    answers = [PLACES[place](_shop(state, address)) for address in ADDRESSES]
    return answers[0] if len(set(answers)) == 1 else " / ".join(answers)


def _reminded(mail: str, address: str) -> str:
    shop = World()
    shop.subscribe(interval="year", **ADDRESSES[address])
    if mail != "none":
        kept = {"state": mail, "token": "a", "owner": "other", "claimed_until": NOON.isoformat(), "to": MAILED}
        shop.edit(reminder_upcoming={"period": DAY, **kept})
    today = DUE - timedelta(days=3)
    owed = reminders.owed(_row(shop), today, REMINDER_RULES)
    moment = NOON - timedelta(days=3)
    came = shop.remind("run-9", moment)
    return f"{'owed' if owed else '-'}: {'sent' if shop.ses.sent else came}"


def table() -> str:
    """Return the whole table."""
    states = list(_states())
    head = ["renewal", "notice", "mail", *PLACES]
    lines = [[f"{each.status}{', paid' if each.paid else ''}", each.notice or "-", each.mail,
              *(_cell(each, place) for place in PLACES)] for each in states]  # fmt: skip
    reminded = [["reminder", "upcoming", mail, " / ".join(_reminded(mail, address) for address in ADDRESSES)]
                for mail in MAILS]  # fmt: skip
    widths = [max(len(line[n]) for line in [head, *lines]) for n in range(len(head))]
    return "".join(
        " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=False)).rstrip() + "\n"
        for line in [head, *lines, *reminded]
    )


def test_each_place_answers_as_the_table_says() -> None:
    """The answer of no place changes unseen: any changed answer changes the table."""
    answers = table()
    if os.environ.get("OWED_TABLE") == "write":
        TABLE.write_text(answers)
    assert answers == TABLE.read_text()
