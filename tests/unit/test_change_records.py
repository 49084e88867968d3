"""The latest records of changes: strangers cannot push them out, and a list that is not complete is known as such."""

from datetime import datetime, timedelta
from itertools import count

from renewals.domain.changes import BY_ADDRESS, SOMEBODY, ChangeKind
from renewals.ledger.asked_by import AskedBy
from tests.fakes import NOON, World

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)


def flood(shop: World, since: datetime, days: int = 14, each_day: int = 10) -> None:
    """Let strangers ask for as many links, and send as many declarations that wait, as the limits permit in days."""
    numbers = count(1)
    for at in (since + DAY * day + SECOND * second for day in range(days) for second in range(each_day)):
        shop.register.changes.note("sub_1", ChangeKind.LINK_ASKED, AskedBy(BY_ADDRESS, at))
        declared = AskedBy(SOMEBODY, at, cause=f"DEC-{next(numbers):06}")
        shop.register.changes.note("sub_1", ChangeKind.CANCELLATION_DECLARED, declared)


def _edited(shop: World, n: int) -> None:
    for second in range(n):
        shop.register.changes.note("sub_1", ChangeKind.EDITED, AskedBy("ann", NOON + SECOND * second))


def test_strangers_push_no_change_out_of_the_latest(shop: World) -> None:
    """Two weeks of links and declarations, as many as the limits permit, leave a change before them in the list, and
    the list is complete."""
    shop.register.changes.note("sub_1", ChangeKind.RESUMED, AskedBy("ann", NOON))
    flood(shop, NOON + SECOND)
    changes, unreadable, complete = shop.register.changes.readable("sub_1")
    assert [each.what for each in changes][-1] is ChangeKind.RESUMED
    assert (len(changes), unreadable, complete) == (281, [], True)


def test_the_latest_250_changes_are_told_beside_the_requests_of_strangers(shop: World) -> None:
    """Of 300 changes and many requests, the latest 250 changes are told, and the list is known not to be complete."""
    _edited(shop, 300)
    flood(shop, NOON + DAY)
    changes, _, complete = shop.register.changes.readable("sub_1")
    own = [each.at for each in changes if each.what is ChangeKind.EDITED]
    assert (own, complete) == ([NOON + SECOND * n for n in range(299, 49, -1)], False)


def test_the_reads_of_the_records_are_bounded(shop: World) -> None:
    """However many requests of strangers lie in the table, at most four pages are read, and the list is known not to be
    complete."""
    shop.register.changes.note("sub_1", ChangeKind.RESUMED, AskedBy("ann", NOON))
    flood(shop, NOON + SECOND, days=55)
    shop.cuts.calls.clear()
    changes, _, complete = shop.register.changes.readable("sub_1")
    assert (len(shop.cuts.calls), len(changes), complete) == (4, 1000, False)
