"""Hostile modes: the bad days of a payment gateway, on demand.

    429           too many requests: before everything else, nothing is done, nothing is stored
    503           unavailable: the same
    403           our key lacks a permission: the same
    other_mode    our key is of test mode, and what is asked for is of live mode: the same
    500           nothing is done; the answer is stored under the idempotency key
    500_after     done (charged), and then the answer is 500, which is stored
    slow          `seconds` pass before it is done; meanwhile the idempotency key is in use and the intent locked
    drop_before   the connection is closed without an answer, nothing is done
    drop_after    done (charged), the answer is stored, and the connection is closed without it
    bare          done; where the card is declined, the payment tells of it by nothing but the error's type
    processing    the payment stays in `processing`, until it is settled by a control call, or `seconds` have passed
                  on the sandbox's clock (`outcome` says how it ends)

A rule takes the next `calls` calls that match, or each with a `probability` (drawn from `seed`, so that the same
calls in the same order meet the same fate). Rules are tried in the order in which they were made.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from random import Random
from typing import Any

MODES = (
    "403",
    "429",
    "other_mode",
    "bare",
    "500",
    "500_after",
    "503",
    "slow",
    "drop_before",
    "drop_after",
    "processing",
)


@dataclass
class Rule:
    """`operation` is a pattern over names such as payment_intents.confirm; `customer` narrows it to one customer's
    calls. Exactly one of `calls` and `probability` decides when it acts."""

    mode: str
    operation: str = "*"
    customer: str | None = None
    calls: int | None = None
    probability: float | None = None
    seed: int = 0
    seconds: float | None = None
    outcome: str = "succeeded"
    _random: Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}")
        if (self.calls is None) == (self.probability is None):
            raise ValueError("give one of calls and probability")
        if self.outcome not in ("succeeded", "failed"):
            raise ValueError("outcome must be succeeded or failed")
        if self.mode == "slow" and self.seconds is None:
            raise ValueError("slow needs seconds")
        self._random = Random(self.seed)  # noqa: S311 - it is to be repeatable, not secret

    def takes(self, operation: str, customer: str | None, *, confirms: bool) -> bool:
        """Whether this call meets the rule's fate; counts it if so. Only a confirmation can stay in processing."""
        if not fnmatchcase(operation, self.operation) or (self.mode in ("processing", "bare") and not confirms):
            return False
        if self.customer not in (None, customer):
            return False
        if self.probability is not None:
            return self._random.random() < self.probability
        if not self.calls:
            return False
        self.calls -= 1
        return True

    def shown(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if not name.startswith("_") and value is not None}


class Rules:
    def __init__(self) -> None:
        self._rules: list[Rule] = []

    def add(self, wanted: Mapping[str, Any]) -> None:
        """`wanted` has the fields of a Rule; `calls` is 1 without a probability. Raises ValueError, TypeError."""
        defaults = {} if "probability" in wanted else {"calls": 1}
        self._rules.append(Rule(**{**defaults, **wanted}))

    def clear(self) -> None:
        self._rules.clear()

    def shown(self) -> list[dict[str, Any]]:
        """The rules that may still act."""
        return [rule.shown() for rule in self._rules if rule.calls != 0]

    def take(self, operation: str, customer: str | None, *, confirms: bool) -> Rule | None:
        """The rule for this call, if one applies."""
        for rule in self._rules:
            if rule.takes(operation, customer, confirms=confirms):
                return rule
        return None
