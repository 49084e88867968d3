"""Tell which moment counts as now: the business's current day, or for a subscription with a test clock, the day in the
subscription's row.

A function reads the clock once, at its edge, and hands the moment down; no code below reads a clock.

Decisions: D38, D39 (DECISIONS.md).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from renewals.domain.errors import BadRow, BadSetting
from renewals.runtime.settings import setting

_PRODUCTION = "prod"


@dataclass(frozen=True, slots=True)
class Moment:
    """The moment that counts as now for one subscription.

    Attributes:
        today: the business's day.
        now: the moment, UTC.
        wall: the real moment, UTC, which is also the gateway's time.
        tested: whether today and now come from a test clock.
        zone: the business's time zone.
    """

    today: date
    now: datetime
    wall: datetime
    tested: bool = False
    zone: tzinfo = UTC

    def paid_at(self, charged_at: datetime | None) -> datetime:
        """Return the time of a payment for the ledger.

        The time keeps the offset that the business's time zone has on that day, so that the receipt always prints the
        same day.

        Args:
            charged_at: the gateway's own time of the charge, without regard to test clocks.
        """
        at = self.now if self.tested or charged_at is None else charged_at
        return at.astimezone(self.zone)


def current(test_clock: object = None) -> Moment:
    """Return the current moment, by the function's settings. Raises BadRow and BadSetting."""
    return moment(datetime.now(UTC), setting("ENVIRONMENT"), zone_named(setting("TIME_ZONE")), test_clock)


def of_row(row: Mapping[str, object]) -> Moment:
    """Return the moment that counts as now for a row whose faults are told and not charged: a wrong test clock counts
    as none."""
    try:
        return current(row.get("test_clock"))
    except BadRow:
        return current()


def heeds_test_clocks(environment: str) -> bool:
    """Whether a test clock may set the day of a subscription: never in production, among real customers."""
    return environment != _PRODUCTION


def moment(wall: datetime, environment: str, zone: tzinfo, test_clock: object = None) -> Moment:
    """Return the moment of a subscription.

    Args:
        wall: the real moment, aware.
        test_clock: the attribute as stored in the subscription's row, None if absent. A test clock changes the day, and
            keeps the time of day in the zone.

    Raises:
        BadRow: the test clock is not a date.
    """
    wall = wall.astimezone(UTC)
    local = wall.astimezone(zone)
    if test_clock is None or not heeds_test_clocks(environment):
        return Moment(local.date(), wall, wall, zone=zone)
    # Imported only for a test clock, because the function that makes receipts must start fast.
    from renewals.domain import subscription

    day = subscription.day({"test_clock": test_clock}, "test_clock")
    # fold=0: if the time comes twice on a day, because the clocks are set back, the first time is meant. A time that is
    # skipped, because the clocks are set forward, counts as a later time on the day.
    at = datetime.combine(day, local.time().replace(fold=0), zone)
    try:
        return Moment(day, at.astimezone(UTC), wall, tested=True, zone=zone)
    except OverflowError:
        raise BadRow("test_clock", "is too early or too late a date") from None


def zone_named(name: str) -> ZoneInfo:
    """Return the zone of an IANA name, such as Europe/Berlin. Raises BadSetting for an unknown name."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: the name is a folder of zones
        raise BadSetting("TIME_ZONE", "is not the name of a time zone, such as Europe/Berlin") from None
