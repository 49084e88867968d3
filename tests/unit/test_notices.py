"""Each rule about notices to customers stands in docs/notices.md with the setting and the test that serve the rule."""

import re
from pathlib import Path

import pytest

from tests.template import template

ROOT = Path(__file__).resolve().parents[2]
_ROW = re.compile(r"^\| (?!rule |---)(.*?) \| (.*?) \| (.*?) \| (.*?) ?\|$", re.MULTILINE)
RULES = [match.groups() for match in _ROW.finditer((ROOT / "docs/notices.md").read_text())]
SELLERS_RULES = (
    "Mastercard", "Visa", "Visa, retries", "Mastercard, retries", 'Visa, a refusal that says "never approve"',
    "California ARL", "California AB 2863", "New York 527-a", "Massachusetts 940 CMR 38",
    "UK DMCC s. 258", "Germany § 312k BGB", "EU 2023/2673", "India RBI",
)  # fmt: skip


@pytest.mark.parametrize("rule", SELLERS_RULES)
def test_each_rule_has_a_line(rule: str) -> None:
    """Each rule that a seller can be under has a line on the page."""
    assert any(rule in " ".join(row) for row in RULES)


@pytest.mark.parametrize("row", RULES, ids=[row[0] for row in RULES])
def test_each_rule_is_served_by_a_setting_and_a_test_or_says_why_not(row: tuple[str, str, str, str]) -> None:
    """A line names settings that the template has and a test that exists, or says that nothing serves the rule."""
    _, _, served, named = row
    parameters = set(re.findall(r"`([A-Z]\w+)`", served))
    assert parameters <= template()["Parameters"].keys()
    tests = re.findall(r"`(\w+\.py)::(test_\w+)`", named)
    assert tests or "not served" in served
    for file, test in tests:
        assert f"def {test}(" in next(ROOT.glob(f"tests/*/{file}")).read_text()
