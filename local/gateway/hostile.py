"""Hostile modes: failures of a payment gateway, on demand.

    429           too many requests: refused before all checks, nothing done, nothing stored
    503           unavailable: like 429
    403           our key lacks a permission: like 429
    other_mode    our key is a test-mode key, and the requested object belongs to live mode: like 429
    500           nothing done; the answer is stored under the idempotency key
    500_after     done (charged), then answered with 500; the answer is stored
    slow          `seconds` pass before the work is done; meanwhile the idempotency key is in use and the intent locked
    drop_before   the connection is closed without an answer, nothing done
    drop_after    done (charged) and the answer stored; the connection is closed without an answer
    bare          done; for a declined card, the payment shows nothing but the error's type
    processing    the payment stays in `processing`, until a control call settles the payment or `seconds` have passed
                  on the sandbox's clock (`outcome` says how the payment ends)

A rule acts on the next `calls` matching calls, or on every matching call with a `probability`. The draws come from
`seed`: equal calls in equal order meet equal failures. Rules are tried in the order of their creation.
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
    """A rule that makes matching calls meet a hostile mode.

    `operation` is a pattern for names such as payment_intents.confirm. `customer` restricts the rule to calls of a
    single customer. Exactly one of `calls` and `probability` decides when the rule acts.
    """

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
        self._random = Random(self.seed)  # noqa: S311 - must be repeatable, need not be secret

    def takes(self, operation: str, customer: str | None, *, confirms: bool) -> bool:
        """Tell whether the rule acts on this call, and count the call if so. Only confirmations can stay in
        processing.
        """
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
        """Add a rule. `wanted` has the fields of a Rule; without a probability, `calls` is 1. Raises ValueError,
        TypeError.
        """
        defaults = {} if "probability" in wanted else {"calls": 1}
        self._rules.append(Rule(**{**defaults, **wanted}))

    def clear(self) -> None:
        self._rules.clear()

    def shown(self) -> list[dict[str, Any]]:
        """Return the rules that may still act."""
        return [rule.shown() for rule in self._rules if rule.calls != 0]

    def take(self, operation: str, customer: str | None, *, confirms: bool) -> Rule | None:
        """Return the first rule that acts on this call, or None."""
        for rule in self._rules:
            if rule.takes(operation, customer, confirms=confirms):
                return rule
        return None
