"""Statuses, outcomes, reasons, states and kinds are members of enumerations: a misspelt member is an error and not a
new word."""

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from renewals.domain.renewal import Renewal
from tests import sources

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
KEYS = frozenset(
    {"status", "payment_status", "outcome", "reason", "state", "flag", "withdrawn", "kind", "what", "notice", "fault"}
)
_ENUMERATION = frozenset({"StrEnum", "Worded"})
_CODE = re.compile(r"[a-z]+(_[a-z]+)*(: [a-z_]+)?")
"""A text for programs; a sentence for people has further characters."""


def _values(tree: ast.AST) -> Iterator[str]:
    """Yield the spellings of the members of every enumeration."""
    for each in sources.walked(tree):
        if isinstance(each, ast.ClassDef) and _ENUMERATION.intersection(map(ast.unparse, each.bases)):
            for made in (line.value for line in each.body if isinstance(line, ast.Assign)):
                spelling = made.elts[0] if isinstance(made, ast.Tuple) else made
                if isinstance(spelling, ast.Constant):
                    yield str(spelling.value)


ATTRIBUTES = {field.name for field in fields(Renewal)}
WORDS = {word for path in SOURCES for word in _values(sources.tree(path))}


def _texts(node: ast.expr | None) -> Iterator[ast.Constant]:
    """Yield the literal texts that an expression may evaluate to or contains."""
    match node:
        case ast.Constant(value=str()):
            yield node
        case ast.IfExp(body=body, orelse=otherwise):
            yield from (text for each in (body, otherwise) for text in _texts(each))
        case ast.BoolOp(values=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts) | ast.List(elts=parts):
            yield from (text for each in parts for text in _texts(each))


def _name(target: ast.expr) -> str | None:
    """Return the target of an assignment: a key, an attribute or a variable."""
    match target:
        case ast.Subscript(slice=ast.Constant(value=str(name))) | ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return None


def _given(node: ast.AST) -> Iterator[ast.Constant]:
    """Yield the literal texts assigned to a status, an outcome, a reason or a state."""
    match node:
        case ast.Dict(keys=keys, values=values):
            for key, value in zip(keys, values, strict=True):
                if isinstance(key, ast.Constant) and key.value in KEYS:
                    yield from _texts(value)
        case ast.keyword(arg=name, value=value) if name in KEYS:
            yield from _texts(value)
        case ast.Assign(targets=targets, value=value) if KEYS.intersection(map(_name, targets)):
            yield from _texts(value)


def _compared(node: ast.AST) -> Iterator[ast.Constant]:
    """Yield the literal texts in comparisons."""
    match node:
        case ast.Compare(left=left, ops=[ast.In() | ast.NotIn()], comparators=[ast.Name() | ast.Attribute()]):
            # The test whether a row or an item has an attribute; some attributes are spelled like a kind.
            yield from (text for text in _texts(left) if text.value not in ATTRIBUTES)
        case ast.Compare(left=left, comparators=others):
            yield from (text for each in (left, *others) for text in _texts(each))
        case ast.MatchValue(value=value):
            yield from _texts(value)


def bare(tree: ast.Module) -> list[str]:
    """Return the literal texts in places of an enumeration's members, with their lines."""
    found = []
    for node in sources.walked(tree):
        found += [text for text in _given(node) if _CODE.fullmatch(str(text.value))]
        found += [text for text in _compared(node) if text.value in WORDS]
    return [f"{text.lineno}: {text.value!r}" for text in found]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_no_status_outcome_or_reason_is_a_bare_text(path: Path) -> None:
    """Comparisons, `match` and assignments name members of enumerations, so that mypy reports a misspelling."""
    assert bare(sources.tree(path)) == []


@pytest.mark.parametrize(
    "planted",
    [
        'if row.get("status") == "active": pass',
        'paused = "paused" != status',
        'out = mail.state in ("sent", MailState.UNKNOWN)',
        'match state:\n    case "claimed": pass',
        'changes = {"status": "past_due"}',
        'changes = {"reason": "anything_new"}',
        'changes["flag"] = "amount_differs" if differs else None',
        'replace(mail, state="failed")',
        'reason = given or "not_due"',
        'told = {"outcome": outcome, "reason": "gateway: canceled"}',
        'attached = link if kind == "receipt" else None',
        'match kind:\n    case "final_notice": pass',
        'renewal.mails = {"kind": "refund_pending"}',
        'entry = Entry(at, kind="next_attempt", text=text)',
        'if "resent" in asked: pass',
        'record = {"what": "mail_cleared"}',
        'ledger.record(renewal, notice="payment_failed")',
        'details["fault"] = "bounced"',
    ],
)
def test_a_bare_text_is_found_wherever_it_stands(planted: str) -> None:
    """A bare text is found on either side of a comparison, in a pattern, and as the value of a key, an argument or a
    variable."""
    assert len(bare(ast.parse(planted))) == 1


@pytest.mark.parametrize(
    "fine",
    [
        "if status is SubscriptionStatus.ACTIVE: pass",
        'fault = {"field": name, "reason": "is before today"}',
        'kind = row.get("interval") == "month"',
        'changes = {"status": SubscriptionStatus.PAST_DUE}',
        'refused = "next_attempt" in row',
        'record = {"what": ChangeKind.RESENT, "kind": MailKind.RECEIPT}',
    ],
)
def test_members_and_sentences_are_no_bare_text(fine: str) -> None:
    """A member of an enumeration, a sentence for people, and a text of a different vocabulary are allowed."""
    assert bare(ast.parse(fine)) == []
