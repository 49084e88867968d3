"""Every stored or answered reason has words, and no raw code reaches a person."""

import re
from datetime import UTC, datetime
from itertools import product
from typing import Any

import pytest

from local.console import look
from process_payment.payments import reason_of
from renewal_audit.ledger_items import standing_in_words
from renewals.domain import mail_faults, preview, wording
from renewals.domain.changes import Change, ChangeKind
from renewals.domain.errors import BadRow
from renewals.domain.reasons import Reason, in_words
from renewals.domain.renewal import MailKind, Status
from renewals.domain.subscription import SubscriptionStatus
from renewals.domain.timeline import timeline
from renewals.domain.worded import Unknown, Worded
from renewals.gateway.port import GatewayRefused
from scripts.oncall import waiting
from scripts.subscriptions import renewing, shown
from tests.fakes import DUE, NOON, World
from tests.shares import share

_CODE = re.compile(r"(?<![\w\"(])[a-z0-9]+(?:_[a-z0-9]+)+(?![\w\")])")
"""A code as a program spells it, outside quotes and outside the brackets after its words."""
_NAMES = {"gateway_customer", "customer_email", "payment_method", "pi_1"}
"""Names of attributes and transactions, which a person who mends a row needs unchanged."""

WORDED = Worded.__subclasses__()
STORED = [
    *Reason,
    reason_of(GatewayRefused("resource_missing", "create", param="customer")),
    reason_of(GatewayRefused("amount_too_large", "create")),
    reason_of(GatewayRefused("some_code", "create")),
    *(f"{reason}, resource_missing at the gateway" for reason in ("paused", "another_card", "unheard_of")),
    "ses: MessageRejected",
    "ReadTimeoutError",
    "interrupted while sending",
    "it came back (Permanent, General)",
    "mail to customer_email came back",
    "unheard_of",
    "gateway: unheard_of: payment_method",
    "written by another version",
]


def _codes(said: str) -> set[str]:
    return {code for code in _CODE.findall(said) if code not in _NAMES}


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_words(reason: Reason) -> None:
    """Every reason has words; a new reason without words fails here."""
    assert " " in reason.words
    assert not _codes(reason.words)
    assert in_words(reason.value) == reason.words


@pytest.mark.parametrize(("stored", "status"), share(product(STORED, ["failed", "given_up", "mail_failed"]), of=2))
def test_the_timeline_and_the_console_tell_a_reason_in_words(shop: World, stored: str, status: str) -> None:
    """Timeline and console tell a stored reason in words, also for an item without a list of its ends."""
    shop.subscribe()
    shop.run()
    item = shop.items()[DUE.isoformat()] | {"status": status, "reason": stored, "ended_at": NOON.isoformat()}
    item["mails"] = {
        name: mail | {"state": "failed", "reason": stored} for name, mail in item["mails"].items()
    }  # the mail's own record says the same
    told = [entry.text for entry in timeline(shop.row(), [item], [])]
    told.append(look.step_from(item).said)
    assert not set().union(*map(_codes, told))
    assert any(in_words(stored) in said for said in told)


@pytest.mark.parametrize("stored", STORED)
def test_the_command_tells_a_reason_in_words(stored: str) -> None:
    """`renew-now` prints a reason in words."""
    output = f'{{"outcome": "nothing_to_do", "reason": "{stored}"}}'
    said, well = renewing._told({"status": "SUCCEEDED", "output": output}, {})
    assert well
    assert not _codes(said)
    assert in_words(stored) in said


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        ("picked_up_too_often", "ten tries in a row were interrupted"),
        ("gateway: canceled", "somebody canceled the payment at the gateway"),
        ("gateway: resource_missing", "gateway_customer is not known to the gateway, or was deleted there"),
        ("gateway: amount_too_large", "amount is more than the gateway takes"),
        ("gateway: some_code", "the gateway refused the payment (some_code)"),
        ("gateway: some_code: plan", "the gateway refused the payment (some_code), for the subscription's plan"),
        (
            "paused, resource_missing at the gateway",
            "the subscription was paused; the gateway did not know the payment (resource_missing)",
        ),
        ("ses: MessageRejected", "the mail service refused the mail (MessageRejected)"),
        ("ReadTimeoutError", "the connection to the mail service broke (ReadTimeoutError)"),
        ("unheard_of", 'the reason "unheard_of", which this version does not know'),
        ("written by another version", "written by another version"),
        ("", "no reason was recorded"),
        (None, "no reason was recorded"),
    ],
)
def test_a_stored_reason_is_read_with_its_detail(stored: str | None, said: str) -> None:
    """A code stands in brackets after its words, and an unknown reason is quoted and called unknown."""
    assert in_words(stored) == said


@pytest.mark.parametrize("attribute", ["flag", "mail", "returned", "refund", "change", "mark"])
def test_what_another_version_wrote_is_quoted_and_said_to_be_unknown(shop: World, attribute: str) -> None:
    """An unknown flag, mail, return, refund reason, change or fault of a different version is quoted and called
    unknown, never told raw."""
    shop.subscribe()
    shop.run()
    item: dict[str, Any] = dict(shop.items()[DUE.isoformat()])
    changes: list[Change] = []
    row = shop.row()
    match attribute:
        case "flag":
            item["flag"] = "un_heard"
        case "mail":
            item["mails"] = {"un_heard_1": next(iter(item["mails"].values()))}
        case "returned":
            said = {"kind": "un_heard", "at": NOON.isoformat(), "to": "ann@customer.example", "reason": ""}
            item["returned_receipt_1"] = said
        case "refund":
            refund = {"amount": item["amount"], "state": "failed", "at": NOON.isoformat(), "by": "zoe"}
            item["refunds"] = {"refund_1": refund | {"reason": "un_heard"}}
        case "change":
            changes = [Change(datetime(2026, 1, 31, tzinfo=UTC), "zoe", Unknown("un_heard"), {})]
        case "mark":
            mark = {"address": row["customer_email"], "kind": "un_heard", "at": NOON.isoformat()}
            row = row | {mail_faults.FIELD: mark}
    told = [entry.text for entry in timeline(row, [item], changes)]
    assert any('"un_heard"' in said for said in told)
    assert not set().union(*map(_codes, told))


@pytest.mark.parametrize("kind", WORDED)
def test_each_member_has_words_without_a_code(kind: type[Worded]) -> None:
    """Every member of a worded enumeration has words without a code; a new member without words fails here."""
    assert not set().union(*(_codes(member.words) for member in kind))
    assert all(member.words for member in kind)
    assert kind.words_of("un_heard") is None


def test_each_failure_of_a_refund_has_words() -> None:
    """Every failure of a refund is told in words, and an unknown failure of the gateway is quoted."""
    assert not set().union(*(_codes(wording.refund_failure(code)) for code in [*wording._REFUND_FAILURES, "un_heard"]))


def test_a_preview_says_in_words_what_stands_against_a_charge() -> None:
    """The preview names the end of a subscription in words."""
    assert not set().union(*map(_codes, preview._NEVER.values()))


@pytest.mark.parametrize("kind", [*MailKind, "un_heard_of"])
@pytest.mark.parametrize("status", [*Status, "un_heard"])
def test_who_waits_is_told_where_the_renewal_stands_in_words(status: str, kind: str) -> None:
    """The person on call reads no raw status, also for a renewal with an owed mail."""
    for item in ({"status": status}, {"status": status, "notice": f"{kind}_1"}):
        assert not _codes(waiting._stands(item))


@pytest.mark.parametrize("item", [*({"status": status} for status in [*Status, "un_heard"]), {}])
def test_the_audit_says_what_the_ledger_has_in_words(item: dict[str, str]) -> None:
    """A difference's detail is in words for people; only its kind is a code for programs."""
    assert not _codes(standing_in_words(item))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("past_due", "canceled", "status from past due to canceled"),
        ("on_hold", "past_due", 'status from "on_hold" to past due'),
        (None, "past_due", "status set to past due"),
    ],
)
def test_the_timeline_tells_a_changed_status_in_words(old: str | None, new: str, said: str) -> None:
    """The timeline tells old and new status in words, and quotes an unknown status."""
    change = Change(datetime(2026, 1, 31, tzinfo=UTC), "ann", ChangeKind.EDITED, {"status": (old, new)})
    assert [entry.text for entry in timeline({}, [], [change])] == [f"ann changed the subscription: {said}."]


@pytest.mark.parametrize("status", [*SubscriptionStatus, "on_hold"])
def test_the_commands_show_the_status_of_a_subscription_in_words(shop: World, status: str) -> None:
    """The list and the page of a subscription show the status in words."""
    shop.subscribe(status=status)
    with shown.console.capture() as printed:
        shown.rows([(shop.row(), DUE, None)])
        shown.row(shop.row(), DUE, BadRow("status", "is at fault"))
    said = printed.get()
    for before in ("sub_1", "status"):  # the list's line, and the attribute's
        assert re.search(rf'{before}\s+(cus_1\s+)?(active|past due|paused|canceled|unpaid|"on_hold")\s', said)
