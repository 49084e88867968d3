"""The gateway's state, in memory: objects in the form of the wire, and the clock.

Objects refer to each other by id. `expand` replaces ids in an answer by objects
(docs.stripe.com/api/expanding_objects), and `page` makes Stripe's lists (docs.stripe.com/api/pagination).
"""

import copy
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from local.gateway.cards import Card
from local.gateway.errors import bad_parameter, missing

Object = dict[str, Any]

_PREFIXES = {"customer": "cus", "payment_method": "pm", "payment_intent": "pi", "charge": "ch", "refund": "re",
             "dispute": "du", "radar.early_fraud_warning": "issfr", "event": "evt", "checkout.session": "cs_test",
             "setup_intent": "seti", "setup_attempt": "setatt"}  # fmt: skip
_LABELS = {"payment_method": "PaymentMethod"}
_PATH_PARAMS = {"payment_intent": "intent", "payment_method": "payment_method"}
_REFERENCES = {
    "customer": (),
    "payment_method": ("customer",),
    "payment_intent": ("customer", "latest_charge", "payment_method"),
    "charge": ("customer", "payment_intent"),
    "refund": ("charge", "payment_intent"),
    "dispute": ("charge", "payment_intent"),
    "radar.early_fraud_warning": ("charge", "payment_intent"),
    "event": (),
    "checkout.session": ("customer", "setup_intent"),
    "setup_intent": ("customer", "latest_attempt", "payment_method"),
    "setup_attempt": ("customer", "payment_method", "setup_intent"),
}
_KIND_OF_REFERENCE = {"latest_charge": "charge", "latest_attempt": "setup_attempt"}


@dataclass(frozen=True)
class Settlement:
    """How and when a payment in `processing` ends. due: seconds since 1970; None: on a control call."""

    succeeds: bool
    due: float | None


@dataclass(frozen=True)
class Challenge:
    """A question of the bank to the customer. name: the end of the page's address. until: seconds since 1970."""

    name: str
    until: int


@dataclass(frozen=True)
class Call:
    """The input of a handler.

    Attributes:
        path_id: the id in the URL, or empty.
        params: the checked parameters.
        processing: the later settlement, if a payment confirmed by the call must stay in `processing`.
        bare: whether a decline shows nothing but its type.
    """

    path_id: str
    params: Mapping[str, Any]
    processing: Settlement | None = None
    bare: bool = False


NO_REQUEST: Mapping[str, str | None] = {"id": None, "idempotency_key": None}
"""The request that an event names where nobody's API request caused the change."""


@dataclass
class World:
    """The whole state of a gateway.

    Only the server's event loop touches the state, so threads need no locks. `busy` holds the intents that a slow
    request is working on. `request` is the API request that is being worked on, as events name the request; `send`
    takes every new event. `url` is the gateway's own address as the last API request named the address: the hosted
    pages stand there. `challenges` holds the latest challenge of each intent, and `confirmations` the number of the
    intent's confirmations.
    """

    kinds: dict[str, dict[str, Object]] = field(default_factory=lambda: {kind: {} for kind in _PREFIXES})
    cards: dict[str, Card] = field(default_factory=dict)
    used_up: set[str] = field(default_factory=set)
    set_up: set[str] = field(default_factory=set)
    deleted: dict[str, Object] = field(default_factory=dict)
    settlements: dict[str, Settlement] = field(default_factory=dict)
    refund_settlements: dict[str, Settlement] = field(default_factory=dict)
    challenges: dict[str, Challenge] = field(default_factory=dict)
    url: str = ""
    confirmations: Counter[str] = field(default_factory=Counter)
    busy: set[str] = field(default_factory=set)
    clock_offset: float = 0.0
    request: dict[str, str | None] = field(default_factory=lambda: dict(NO_REQUEST))
    send: Callable[[Object], None] = lambda _event: None

    def now(self) -> int:
        """Return the seconds since 1970 on the sandbox's clock."""
        return int(self.exactly_now())

    def exactly_now(self) -> float:
        """Return the seconds since 1970 on the sandbox's clock, with their fraction."""
        return time.time() + self.clock_offset

    def set_clock(self, now: float | None) -> None:
        """Set the clock to `now`; the clock then runs on. None restores the machine's time."""
        self.clock_offset = 0.0 if now is None else now - time.time()

    def due(self, settlements: Mapping[str, Settlement]) -> list[tuple[str, bool]]:
        """Return the settlements whose time has come: the object's id, and whether the end is success."""
        now = self.now()
        return [(identity, end.succeeds) for identity, end in settlements.items() if end.due and end.due <= now]

    def next_settlement(self) -> float | None:
        """Return the time of the next settlement on the sandbox's clock, if any."""
        ends = [*self.settlements.values(), *self.refund_settlements.values()]
        return min((end.due for end in ends if end.due), default=None)

    def add(self, kind: str, **attributes: Any) -> Object:
        identity = f"{_PREFIXES[kind]}_{secrets.token_hex(12)}"
        made = {"id": identity, "object": kind, "created": self.now(), "livemode": False, **attributes}
        self.kinds[kind][identity] = made
        return made

    def at_path(self, kind: str, identity: str) -> Object:
        """Return the object that the URL names. Raises 404."""
        found = self.kinds[kind].get(identity)
        if found is None:
            raise missing(_LABELS.get(kind, kind), identity, _PATH_PARAMS.get(kind, "id"), in_path=True)
        return found

    def referred(self, kind: str, identity: str, param: str) -> Object:
        """Return the object that a parameter names. Raises 400."""
        found = self.kinds[kind].get(identity)
        if found is None:
            raise missing(_LABELS.get(kind, kind), identity, param, in_path=False)
        return found

    def named(self, params: Mapping[str, Any]) -> dict[str, str]:
        """Return the charge, customer and payment that a list is filtered by. Raises 400 for an unknown id."""
        names = [name for name in ("charge", "customer", "payment_intent") if name in params]
        return {name: str(self.referred(name, params[name], name)["id"]) for name in names}

    def page(
        self,
        kind: str,
        url: str,
        params: Mapping[str, Any],
        where: Callable[[Object], bool] = lambda _item: True,
        /,
        **equal: str | None,
    ) -> Object:
        """Return a page, newest first, of the objects that `where` accepts and whose attributes have the values in
        `equal` (None: any value).
        """
        wanted = {name: value for name, value in equal.items() if value is not None}
        found = [
            item
            for item in reversed(self.kinds[kind].values())
            if all(item[name] == value for name, value in wanted.items())
            and _within(item["created"], params.get("created", {}))
            and where(item)
        ]
        size = params.get("limit", 10)
        if "ending_before" in params:
            before = found[: self._position(kind, found, params["ending_before"], "ending_before")]
            return _list(url, before[-size:], has_more=len(before) > size)
        if "starting_after" in params:
            found = found[self._position(kind, found, params["starting_after"], "starting_after") + 1 :]
        return _list(url, found[:size], has_more=len(found) > size)

    def _position(self, kind: str, found: list[Object], identity: str, param: str) -> int:
        """Return the cursor's position. A cursor removed by the filters counts as the end, so that paging ends."""
        cursor = self.referred(kind, identity, param)
        return found.index(cursor) if cursor in found else len(found)

    def expand(self, answer: Object, paths: Iterable[str]) -> Object:
        """Return a copy of `answer` with the objects that `paths` name. Raises 400 for a path that cannot be
        expanded.
        """
        expanded = copy.deepcopy(answer)
        for path in paths:
            names = path.split(".")
            items = [expanded]
            if expanded["object"] == "list":
                if names.pop(0) != "data" or not names:
                    raise _not_expandable(path)
                items = expanded["data"]
            for item in items:
                self._expand_one(item, names, path)
        return expanded

    def _expand_one(self, item: Object, names: list[str], path: str) -> None:
        name = names[0]
        if name not in _REFERENCES[item["object"]] or len(names) > 4:
            raise _not_expandable(path)
        if isinstance(item[name], str):
            item[name] = copy.deepcopy(self.kinds[_KIND_OF_REFERENCE.get(name, name)][item[name]])
        if len(names) > 1 and item[name] is not None:
            self._expand_one(item[name], names[1:], path)


def _within(created: int, bounds: Mapping[str, int]) -> bool:
    return (
        bounds.get("gte", created) <= created <= bounds.get("lte", created)
        and bounds.get("gt", created - 1) < created < bounds.get("lt", created + 1)
    )  # fmt: skip


def _list(url: str, items: list[Object], *, has_more: bool) -> Object:
    return {"object": "list", "url": url, "has_more": has_more, "data": items}


def _not_expandable(path: str) -> Exception:
    return bad_parameter(f"This property cannot be expanded ({path}).", "expand")
