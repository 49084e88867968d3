"""Search the gateway's events page by page, and send a hint for each found event, as the gateway's door does.

Memory never holds more than a page. A run hands the rest on after MOST_PAGES pages, or if little time is left. The
marks move only at the end of a complete search. An interrupted search therefore begins anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from renewals.gateway import access as gateway_access
from renewals.gateway.port import GatewayForbidden, GatewayRefused, GatewayUnavailable, is_of_deployment
from renewals.runtime import telemetry

if TYPE_CHECKING:
    from gateway_catch_up.marks import Marks
    from gateway_catch_up.searches import Search
    from renewals.gateway.port import Gateway

MOST_PAGES = 100
"""A run that has read this many pages, of a hundred events each, hands the rest on."""

ENOUGH_SECONDS = 120
"""A run with less time left than this hands the rest on. A page takes at most 80 seconds, with all retries of the
gateway and of the queue."""


FEW_WAITING = 20
"""The next page is not sent while more messages than this wait in the queue. New events share the queue and two
executions of the worker with the hints of the catch-up. A new event therefore waits behind at most this many messages
and a page: even if each hint causes a run of the workflow of about four seconds, for about four minutes."""

_PAUSES = 300
"""Before a page, at most this many pauses of a second are made, five minutes together. The page is then sent in
any case: a worker that stands still does not stop the catch-up."""


@dataclass(slots=True)
class CatchUp:
    """A run of the catch-up.

    Attributes:
        deployment: the name of this deployment. The catch-up leaves out events with the name of a different deployment.
        waiting: returns about how many messages wait in the queue of events.
        pause: sleeps for a number of seconds.
        send: puts messages on the queue of events.
        hand_on: starts a further run with the given searches.
        seconds_left: returns the time left before this run is stopped.
        found: the number of events sent so far.
        fault: the last error of a search that the gateway did not answer; None without such an error.
    """

    gateway: Gateway
    deployment: str
    marks: Marks
    waiting: Callable[[], int]
    pause: Callable[[float], None]
    send: Callable[[Iterable[str]], None]
    hand_on: Callable[[Sequence[Search]], None]
    seconds_left: Callable[[], float]
    found: int = 0
    fault: GatewayRefused | GatewayUnavailable | None = None

    def run(self, searches: Sequence[Search]) -> bool:
        """Read at least one page, and further pages until the searches are complete, MOST_PAGES are read, or little
        time is left. Return whether the searches are complete; False if a further run continues, if the key may not
        search for some of the types, or if the gateway did not answer a search.

        A search that the key may not make, and a search that the gateway does not answer, are told and left for the
        next night. The other searches go on. `fault` then has the error of the gateway, unless a further run meets the
        error again.

        Raises GatewayUnauthorized, NotHandedOver, and botocore's errors.
        """
        left = [*searches]
        forbidden: list[Search] = []
        failed: list[Search] = []
        has_read = False
        for _ in range(MOST_PAGES):
            if not left:
                break
            self._let_new_events_pass()
            search = left.pop(0)
            try:
                left = self._search(search) + left
                has_read = True
            except GatewayForbidden as fault:
                gateway_access.tell(fault)
                forbidden.append(search)
                continue
            except GatewayRefused as fault:
                self._note(fault, search)
                failed.append(search)
                continue
            except GatewayUnavailable as fault:
                self._note(fault, search)
                failed.append(search)
            if self.seconds_left() < ENOUGH_SECONDS:
                break
        if left and (has_read or self.fault is None):  # without a single page, Lambda tries this run again
            # The further run tries the other searches again, and so knows that the catch-up is not complete.
            self.hand_on(left + forbidden + failed)
            self.fault = None
        return not left and not forbidden and not failed

    def _note(self, fault: GatewayRefused | GatewayUnavailable, search: Search) -> None:
        told = {"types": [*search.types], "error": str(fault), "gateway_request_id": fault.request_id}
        telemetry.logger().error("a search failed", extra=told)
        self.fault = fault

    def _let_new_events_pass(self) -> None:
        """Wait until few messages are in the queue, or for as long as the time of the run and _PAUSES allow."""
        for _ in range(_PAUSES):
            if self.waiting() <= FEW_WAITING or self.seconds_left() < ENOUGH_SECONDS:
                return
            self.pause(1)

    def _search(self, search: Search) -> list[Search]:
        """Send the events of the next page. Return the rest of the search; empty if the search is complete."""
        page = self.gateway.find_events(search.asked())
        ours = [each.to_json() for each in page.events if is_of_deployment(each.metadata, self.deployment)]
        self.send(ours)
        self.found += len(ours)
        following = search.following(page)
        if following is not None:
            return [following]
        self.marks.move(search.types, search.caught_up)
        telemetry.logger().info("searched", extra={"types": [*search.types], "since": search.since.isoformat()})
        return []
