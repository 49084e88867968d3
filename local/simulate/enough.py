"""Tells whether a full year had enough happenings of each kind: a year without late refunds would prove nothing about
late refunds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.simulate.evidence import Verdict
    from local.simulate.story import Story

LEAST = 20
"""At least this many of each kind must happen in a full year."""


@dataclass(frozen=True)
class _Size:
    """The size of a story."""

    days: int
    subscriptions: int


FULL_YEAR = _Size(days=365, subscriptions=40)
"""The size of a story that `make simulate` tells by default. A smaller story need not have enough of each kind."""

_WAYS = {"never": "lost on the way", "doubled": "doubled", "shuffled": "shuffled", "late": "late"}
"""The ways of the gateway's events to the stack, and their words."""


def too_few(story: Story, found: Verdict, ways: Mapping[str, int]) -> list[str]:
    """Return a sentence for each kind of which fewer than LEAST happened; empty for a story smaller than a full year.

    Args:
        ways: the number of the gateway's events, by the way to the stack.
    """
    if story.days < FULL_YEAR.days or story.subscriptions < FULL_YEAR.subscriptions:
        return []
    happened = {
        "refunds in the dashboard": found.refunded,
        "refunds that failed later": found.refunds_failed,
        "disputes": found.disputed,
        "days on which the application was down": len(story.silent),
        **{f"events of the gateway that were {words}": ways.get(way, 0) for way, words in _WAYS.items()},
    }
    return [
        f"too few: {count} {what}, at least {LEAST} must happen" for what, count in happened.items() if count < LEAST
    ]
