"""The searches of a catch-up: the types of events, and the time since when. Pure.

Each renewal causes an event about a payment. Of the events about payments, only the undelivered events are searched: a
night may have millions of payments, and dunning, the sweep and the audit find payments anyway. Events of the other
types are few, and all of them are searched, because the gateway calls an event delivered even if no endpoint was
enabled for its type. An event is undelivered as long as at least one endpoint of the account has not taken the event,
also an endpoint of another system.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import batched
from typing import TYPE_CHECKING

from renewals.domain.gateway_event import GatewayEventType
from renewals.domain.item_values import moment, several, text_or
from renewals.gateway.port import MOST_EVENT_TYPES, EventSearch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from renewals.gateway.port import FoundEvents

OVERLAP = timedelta(hours=1)
"""A search begins this much before the last complete catch-up, because the clocks of the gateway and of this system
differ, and because the gateway may list an event late."""


@dataclass(frozen=True, slots=True)
class Search:
    """A search over one or more pages.

    Attributes:
        since: the search finds events created at this moment or later.
        caught_up: the mark of the types after a complete search.
        until: the search finds events created at this moment or earlier. None on the first page: the search begins with
            the newest event.
        after: the id of the last event on the page before; empty for the first page.
    """

    types: tuple[GatewayEventType, ...]
    since: datetime
    caught_up: datetime
    until: datetime | None = None
    after: str = ""

    @classmethod
    def from_json(cls, given: object) -> Search:
        """Read a search from the event of a further run. Raises KeyError, TypeError, ValueError."""
        if not isinstance(given, dict):
            raise TypeError("a search must be an object")
        types = tuple(GatewayEventType(str(each)) for each in several(given, "types"))
        until = moment(given, "until") if "until" in given else None
        return cls(types, moment(given, "since"), moment(given, "caught_up"), until, text_or(given, "after", ""))

    def to_json(self) -> dict[str, object]:
        """Return the search for the event of a further run."""
        moments = {"since": self.since, "caught_up": self.caught_up, "until": self.until}
        told = {name: at.isoformat() for name, at in moments.items() if at is not None}
        return {"types": [*self.types], "after": self.after, **told}

    def asked(self) -> EventSearch:
        """Return the question to the gateway for the next page."""
        undelivered = all(each.is_of_each_renewal for each in self.types)
        return EventSearch(self.types, self.since, self.until, undelivered=undelivered, after=self.after or None)

    def following(self, page: FoundEvents) -> Search | None:
        """Return the search for the page after the given page; None if the search is complete."""
        if page.after is not None:
            return replace(self, until=page.until, after=page.after)
        if self.after and page.until is None:
            # A search goes from the newest event back in time. The page is empty, but the search may be incomplete: if
            # an endpoint has meanwhile taken the event with the id `after`, a search for undelivered events no longer
            # finds the event, and cannot continue after the event. The next search therefore has no `after`, and goes
            # back in time from `until`, the moment at which the event with the id `after` was created.
            return replace(self, after="")
        return None


def plan(caught_up: Mapping[GatewayEventType, datetime], now: datetime) -> list[Search]:
    """Return the searches of a catch-up. caught_up: the mark of each type.

    Each kind of object (refunds, disputes, ...) has a search of its own: a key without the permission to read one kind
    of object leaves the searches for the other kinds alone.
    """
    alike: defaultdict[tuple[bool, datetime, str], list[GatewayEventType]] = defaultdict(list)
    for type_, until in caught_up.items():
        alike[type_.is_of_each_renewal, until - OVERLAP, type_.of_object].append(type_)
    return [
        Search(types, since, now)
        for (_, since, _), together in sorted(alike.items())
        for types in _few_enough(together)
    ]


def _few_enough(types: Iterable[GatewayEventType]) -> Iterable[tuple[GatewayEventType, ...]]:
    return batched(types, MOST_EVENT_TYPES, strict=False)
