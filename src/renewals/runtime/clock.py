"""What day it is: the business's own, and for a subscription under test the day that its row names.

A function asks once, at its edge, and hands the moment down; nothing below it looks at a clock.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from renewals.domain.errors import BadRow, BadSetting
from renewals.runtime.settings import setting

_PRODUCTION = "prod"


@dataclass(frozen=True, slots=True)
class Moment:
    """When one subscription is looked at.

    today: the business's day. now: the moment, UTC. wall: the real moment, UTC, which is the gateway's too. tested:
    whether today and now are those of a test clock. zone: the business's.
    """

    today: date
    now: datetime
    wall: datetime
    tested: bool = False
    zone: tzinfo = UTC

    def paid_at(self, charged_at: datetime | None) -> datetime:
        """When a payment was made, as the ledger keeps it: with the business's offset of that day, so that its receipt
        prints the same day for ever. charged_at: the gateway's own time of it, which says nothing of a test clock's."""
        at = self.now if self.tested or charged_at is None else charged_at
        return at.astimezone(self.zone)


def current(test_clock: object = None) -> Moment:
    """This moment, by the function's settings. Raises BadRow, BadSetting."""
    return moment(datetime.now(UTC), setting("ENVIRONMENT"), zone_named(setting("TIME_ZONE")), test_clock)


def heeds_test_clocks(environment: str) -> bool:
    """Whether a subscription may live on a day of its own: never where real customers are charged."""
    return environment != _PRODUCTION


def moment(wall: datetime, environment: str, zone: tzinfo, test_clock: object = None) -> Moment:
    """The moment of a subscription.

    wall: the real moment, aware. test_clock: the attribute of its row as it stands there, None without one. It moves
    the day, and leaves the time of day as it is in the zone. Raises BadRow for one that is not a date.
    """
    wall = wall.astimezone(UTC)
    local = wall.astimezone(zone)
    if test_clock is None or not heeds_test_clocks(environment):
        return Moment(local.date(), wall, wall, zone=zone)
    from renewals.domain import subscription  # only where there is a test clock: a receipt's function is to start fast

    day = subscription.day({"test_clock": test_clock}, "test_clock")
    # fold=0: the first of two equal times, and a time that the clocks skip on that day counts as one later on that day.
    at = datetime.combine(day, local.time().replace(fold=0), zone)
    try:
        return Moment(day, at.astimezone(UTC), wall, tested=True, zone=zone)
    except OverflowError:
        raise BadRow("test_clock", "is the end of time") from None


def zone_named(name: str) -> ZoneInfo:
    """The zone of an IANA name, such as Europe/Berlin. Raises BadSetting for one that is not known."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: the name of a folder of zones
        raise BadSetting("TIME_ZONE", "is not the name of a time zone, such as Europe/Berlin") from None
