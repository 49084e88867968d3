"""Texts: the characters that every entry accepts, and the display of a forbidden character at every exit."""

import unicodedata
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from renewals.domain import subscription, texts
from renewals.domain.addresses import BadAddress, deliverable
from scripts.oncall.__main__ import main as oncall
from scripts.subscriptions.__main__ import main as subscriptions
from scripts.subscriptions.rows import judge
from subscriptions_api.request_models import Edit, NewSubscription
from tests.fakes import NOON, World
from tests.unit.test_import_rows import GOOD
from tests.unit.test_subscriptions_api import NEW, Api, api
from tests.unit.test_subscriptions_command import Account, account

__all__ = ["account", "api"]

HOSTILE = {
    "clipboard": "\x1b]52;c;cm0gLXJmIH4=\x07",
    "escape": "\x1b[2J",
    "nul": "a\x00b",
    "newline": "a\r\nBcc: eve@evil.example",
    "delete": "a\x7fb",
    "c1": "a\x9b31mb",
    "next line": "a\x85b",
    "override": "a\u202egnp.exe",
    "isolate": "a\u2066b\u2069",
    "mark": "a\u200fb",
    "line separator": "a\u2028b",
    "paragraph separator": "a\u2029b",
    "soft hyphen": "a\u00adb",
    "zero width space": "a\u200bb",
    "byte order mark": "a\ufeffb",
    "tag": "a\U000e0041b",
    "private use": "a\ue000b",
    "no character": "a\ufffeb",
    "lone joiner": "\u200da",
    "joiner after a blank": "a \u200db",
}
SOUND = [
    "Ann Lee",
    'O\'Brien-Ñandú, Jr. (2.) & Söhne "GmbH"',
    "山田\u3000太郎",
    "神田 福",
    "محمد عبد الله",
    "گل\u200cمحمدی",
    "ක්\u200dෂ",
    "สมชาย ใจดี",
    "გიორგი",
    "Jose\u0301",
    "12\u00a0000 km",
    "Booking.com B.V.",
    "\ufa19",
]


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_what_commands_a_terminal_or_cannot_be_seen_is_refused_at_every_entry(api: Api, text: str) -> None:
    """POST, PATCH, import and mail address refuse control and invisible characters in words that name the field and do
    not quote the text."""
    name, plan = api("POST", "/subscriptions", NEW | {"customer_name": text}), NEW | {"plan": text}
    assert (name.status, name.faults) == (400, ["body.customer_name"])
    assert api("POST", "/subscriptions", plan).faults == ["body.plan"]
    api.shop.subscribe()
    assert api("PATCH", "/subscriptions/sub_1", {"plan": text}, If_Match="*").faults == ["body.plan"]
    assert "version" not in api.shop.row()
    judged = judge(GOOD | {"customer_name": text, "plan": text})
    assert isinstance(judged, tuple)
    assert {fault.split(" ")[0] for fault in judged} == {"customer_name", "plan"}
    assert all(each.isprintable() for each in (*judged, str(name.body)))
    with pytest.raises(BadAddress):
        deliverable(f"ann@{text}.example")


@pytest.mark.parametrize("text", SOUND)
def test_people_s_names_are_taken_as_they_are_given(text: str) -> None:
    """A name in any script, with joiners and combining marks, is accepted, kept code point for code point, and shown
    unchanged."""
    new = NewSubscription.model_validate(NEW | {"customer_name": text, "plan": text})
    assert (new.customer_name, new.plan) == (text, text)
    assert texts.printable(text) == texts.presentable_name(text) == text


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("x" * 101, "is longer than 100 characters"),
        ("Ann, claim your prize at https://evil.example", "has a link in it"),
        ("WWW.evil.example", "has a link in it"),
        ("   ", "is blank"),
    ],
)
def test_a_name_is_no_place_for_a_letter(name: str, reason: str) -> None:
    """Long names and links in names are refused, since the seller signs the mails that begin with the name."""
    assert texts.name_fault(name) == reason
    judged = judge(GOOD | {"customer_name": name})
    assert judged == (f"customer_name {reason}",)
    with pytest.raises(ValueError, match="customer_name"):
        Edit.model_validate({"customer_name": name})


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Ann \U0001f680", "U+1F680"),
        ("\U0001f469\u200d\U0001f4bb", "U+1F469, U+1F4BB"),
        ("བོད", "U+0F56, U+0F7C, U+0F51"),
        ("".join(map(chr, range(0x1F600, 0x1F610))), "U+1F600, U+1F601, U+1F602, U+1F603, U+1F604, …"),
    ],
)
def test_what_no_receipt_can_show_is_named_when_it_is_entered(api: Api, text: str, named: str) -> None:
    """A character missing from all of the receipt's fonts is refused in a name and in a plan, by its code point. In the
    table it is no fault: the receipt shows U+FFFD instead."""
    reason = f"has characters that no receipt can show ({named})"
    for field in ("customer_name", "plan"):
        refused = api("POST", "/subscriptions", NEW | {field: text})
        assert (refused.status, refused.body["errors"]) == (400, [{"field": f"body.{field}", "reason": reason}])
        assert judge(GOOD | {field: text}) == (f"{field} {reason}",)
    assert texts.presentable_name(text) == text


def test_a_plan_may_name_an_address() -> None:
    """A plan may name a web address, since plans are the seller's words: `Hosting of www.example.org`."""
    assert texts.plan_fault("Hosting of www.example.org") is None
    assert texts.plan_fault("x" * 101) == "is longer than 100 characters"


@pytest.mark.parametrize(
    ("name", "greeted"),
    [
        ("Ann\x1b]52;c;x\x07 Lee\u202e", "Ann]52;c;x Lee"),
        ("Ann\nLee", "Ann Lee"),
        ("Win at https://evil.example " * 30, None),
        ("Ann " * 200, "Ann " * 24 + "Ann…"),
    ],
)
def test_a_row_that_was_written_past_the_rule_is_renewed_and_shown_safely(
    shop: World, name: str, greeted: str | None
) -> None:
    """A forbidden text, written by hand or before the rule existed, does not stop the renewal, and no mail carries the
    forbidden part."""
    shop.subscribe(customer_name=name)
    assert shop.run() == "Success"
    [mail] = shop.mails()
    plain = mail.get_body(("plain",))
    assert plain is not None
    assert "evil.example" not in str(mail)
    assert " ".join(plain.get_content().split()).startswith(f"Hello {greeted}," if greeted else "Hello,")
    assert shop.items()["2026-01-31"]["customer_name"] == (greeted or "")


@pytest.mark.parametrize("words", [("list",), ("show", "sub_1"), ("why", "sub_1"), ("preview", "sub_1")])
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_no_row_commands_the_operator_s_terminal(
    shop: World, account: Account, text: str, words: tuple[str, ...]
) -> None:
    """The command shows any text in any attribute escaped."""
    attributes = dict.fromkeys(("plan", "customer_name", "customer_email", "locale", "cancel_at"), text)
    shop.subscribe(**attributes)
    shop.dynamodb.put("changes", {"subscription_id": "sub_1", "change": "2026-01-01/x", "at": NOON.isoformat()}
                      | {"by": text, "what": text, "details": {text: [None, text]}})  # fmt: skip
    shown = CliRunner().invoke(subscriptions, list(words))
    assert shown.output
    assert all(c.isprintable() or c == "\n" for c in shown.output), shown.output


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_the_switch_s_reason_is_a_text_too(shop: World, account: Account, text: str) -> None:
    """`charging off --why` refuses forbidden texts and writes nothing."""
    refused = CliRunner().invoke(oncall, ["charging", "off", "--why", text])
    assert refused.exit_code == 2, refused.output
    assert shop.dynamodb.items("changes") == {}


@given(st.text())
def test_every_text_has_a_fault_or_is_shown_as_it_is(text: str) -> None:
    """Every text either has a fault or is shown unchanged, and no shown text has a control character."""
    shown, presented = texts.printable(text), texts.presentable(text, 100)
    bad = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    left = {c for c in shown + presented if unicodedata.category(c) in bad}
    assert left <= {"\u200c", "\u200d"}
    assert len(presented) <= 100
    if texts.fault(text, 100) is None:
        assert shown == presented == text


@given(st.text(max_size=300), st.sampled_from(["plan", "customer_name"]))
def test_no_text_in_a_row_keeps_it_from_being_charged(text: str, field: str) -> None:
    """No text in a plan or a name is a reason not to renew."""
    row: dict[str, Any] = dict(GOOD) | {"amount": Decimal("29.99"), "status": "active", field: text}
    assert subscription.parse(row).why_not_due(NOON.date() + timedelta(days=60)) is None
