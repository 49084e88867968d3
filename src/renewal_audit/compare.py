"""What must agree, and the name of each difference. Pure: whatever it compares was read by others."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from renewals.domain import currencies, refunds, wording
from renewals.domain.errors import BadRow
from renewals.domain.item_values import Item, Value, day, moment, number, text, whole
from renewals.domain.payment import GatewayRefund, GatewayRefundState
from renewals.domain.renewal import Flag, MailKind, MailState, RefundState, Status, renewal_from
from renewals.domain.schedule import Schedule
from renewals.domain.subscription import Subscription
from renewals.gateway.port import Charged
from renewals.ledger.row_steps import with_items
from renewals.runtime.clock import Moment


class Difference(StrEnum):
    """What does not agree."""

    MISSED = "missed"
    """A period that is due, and neither renewed nor standing visibly with its reason; or a period that a renewal passed
    over without a trace."""
    DOUBLED = "doubled"
    """A period that two payments have paid: named with the payment that the ledger does not hold."""
    OVERLAPPING = "overlapping"
    """A paid period that has a day of another paid period, of any day: named with the payment that was charged later;
    or a subscription that is due, and not charged since a day of its next period is paid, or a date of that claim was
    billed before."""
    WRONG_AMOUNT = "wrong_amount"
    """The gateway took another amount or currency than the ledger has, or than was claimed."""
    CHARGE_WITHOUT_LEDGER = "charge_without_ledger"
    """Money was taken, and the ledger does not hold that payment as paid."""
    LEDGER_WITHOUT_CHARGE = "ledger_without_charge"
    """The ledger says paid, and the gateway has no such charge of this period."""
    REFUND_UNKNOWN = "refund_unknown"
    """The gateway has refunded a payment of ours, and the ledger does not say so."""
    REFUND_FAILED = "refund_failed"
    """The ledger says refunded, and at the gateway that refund failed or is not there."""
    REFUND_UNANSWERED = "refund_unanswered"
    """A refund was asked for a day ago or longer, and nobody knows what the gateway made of it."""
    RECEIPT_MISSING = "receipt_missing"
    """The bucket has nothing under the ledger's key."""
    RECEIPT_ALTERED = "receipt_altered"
    """The bucket has another receipt under the ledger's key."""
    MAIL_MISSING = "mail_missing"
    """A period is finished, and no receipt's mail is recorded as sent; or a period is refused for a day, and the
    customer was not told."""


class Count(StrEnum):
    """What is counted. From UNDER_WAY on, what stands visibly and is somebody's to see to, which is no difference."""

    DUE = "due"
    """Periods that were charged or passed over, or stand due in the subscriptions."""
    CHARGED = "charged"
    REFUNDED = "refunded"
    RECEIPTED = "receipted"
    MAILED = "mailed"
    DECLINED = "declined"
    """Attempts."""
    SKIPPED = "skipped"
    UNDER_WAY = "under_way"
    """Charged within the last hour, claimed within the last day, or paid at the bank's page and to be found so at the
    next dunning date."""
    DUNNING = "dunning"
    """Refused, with the next dunning date to come."""
    FAILED = "failed"
    MAIL_FAILED = "mail_failed"
    MAIL_UNKNOWN = "mail_unknown"
    BAD_ROWS = "bad_rows"
    """Subscriptions that cannot be charged as they stand, which the sweep names."""


_COUNTED_BY_STATUS: dict[str, Count] = {
    Status.MAIL_FAILED: Count.MAIL_FAILED,
    Status.MAIL_UNKNOWN: Count.MAIL_UNKNOWN,
    Status.FAILED: Count.FAILED,
}

JUST_CHARGED = timedelta(hours=1)
"""So long after a charge its receipt and its mail may be to come: the sweep takes up what was cut off."""

LATELY = timedelta(days=1)
"""So long a claim may be without a result, and a customer without the notice of a refusal."""

type Key = tuple[str, str]
"""subscription_id and renewal_date, YYYY-MM-DD."""


@dataclass(slots=True)
class Found:
    """differences: kind, subscription_id, renewal_date, payment_id, detail. unsettled: the periods whose refunds
    differ, each with its customer, until somebody is asked to look at them. overlapping: what overlaps and was named.
    """

    counts: Counter[Count] = field(default_factory=Counter)
    differences: list[dict[str, str]] = field(default_factory=list)
    unsettled: dict[Key, str] = field(default_factory=dict)
    overlapping: set[tuple[Key, str]] = field(default_factory=set)

    def overlaps(self, item: Item, other: Item) -> None:
        """A paid period that has a day of another paid one, which was charged before. Two are named once."""
        detail = f"{other['renewal_date']!s} to {other['period_end']!s} is paid too, by {other.get('payment_id')!s}"
        key = key_in(item)
        if (key, detail) not in self.overlapping:
            self.overlapping.add((key, detail))
            self.differs(Difference.OVERLAPPING, key, str(item.get("payment_id", "")), detail)

    def differs(self, kind: Difference, key: Key, payment_id: str, detail: str) -> None:
        told = {"kind": kind, "subscription_id": key[0], "renewal_date": key[1], "payment_id": payment_id}
        self.differences.append({name: text for name, text in told.items() if text} | {"detail": detail})


@dataclass(frozen=True, slots=True)
class Compared:
    """Charges beside what the ledger and the bucket have of them.

    items: the ledger's, by key, those passed over included. stored: the SHA-256 of what lies under a receipt's key,
    hexadecimal, "" where S3 has none; without the key where nothing lies there. is_paid: asks the gateway, of a payment
    that none of these charges is of. refunds_of: asks the gateway for the ids of a payment's refunds. now: the moment,
    UTC.
    """

    items: Mapping[Key, Item]
    stored: Mapping[str, str]
    is_paid: Callable[[str], bool]
    refunds_of: Callable[[str], Collection[str]]
    now: datetime
    found: Found

    def charge(self, charge: Charged) -> None:
        """One attempt of ours to charge."""
        if not charge.succeeded:
            self.found.counts[Count.DECLINED] += 1
            return
        self.found.counts[Count.CHARGED] += 1
        key = key_of(charge)
        item = self.items.get(key, {})
        if is_of(item, charge):
            self._renewal(key, item, charge)
            return
        says = _says(item)
        if item.get("payment_id") == charge.payment_id:
            if self._to_be_recorded(item, charge):
                self.found.counts[Count.UNDER_WAY] += 1
            else:
                self.found.differs(Difference.CHARGE_WITHOUT_LEDGER, key, charge.payment_id, says)
        elif "paid_at" in item and "payment_id" in item and self.is_paid(str(item["payment_id"])):
            self.found.differs(Difference.DOUBLED, key, charge.payment_id, f"paid by {item['payment_id']!s} too")
        else:
            held = str(item.get("payment_id", "no payment"))
            self.found.differs(Difference.CHARGE_WITHOUT_LEDGER, key, charge.payment_id, f"{says}; {held}")

    def refund(self, made: GatewayRefund) -> None:
        """One refund that the gateway has of a payment of ours. One of a payment that is not the ledger's, as of the
        second of two, is nobody's difference."""
        key = key_of(made)
        item = self.items.get(key, {})
        if "paid_at" not in item or item.get("payment_id") != made.payment_id:
            return
        known = refunds.kept(item).values()
        stands = next((each.get("state") for each in known if each.get("refund_id") == made.id), None)
        if made.state is GatewayRefundState.FAILED:
            if stands in (RefundState.CLAIMED, RefundState.REFUNDED):
                self._refund_differs(
                    Difference.REFUND_FAILED, key, item, f"{made.id} failed: {wording.refund_failure(made.reason)}"
                )
            return
        self.found.counts[Count.REFUNDED] += 1
        if stands in (RefundState.CLAIMED, RefundState.REFUNDED):
            return
        if any(map(refunds.is_unanswered, known)) and timedelta() <= self.now - made.at < JUST_CHARGED:
            self.found.counts[Count.UNDER_WAY] += 1
            return
        money = f"{made.amount} {made.currency}, minor units, were refunded as {made.id}"
        has = "a refund that failed" if stands else "nothing of it"
        self._refund_differs(Difference.REFUND_UNKNOWN, key, item, f"{money}: the ledger has {has}")

    def _refunds(self, key: Key, item: Item) -> None:
        """The refunds that the ledger has of a period: whether the gateway knows them, and whether it was asked."""
        for name, refund in refunds.in_order(refunds.kept(item)):
            refund_id = refund.get("refund_id")
            if refunds.is_unanswered(refund) and _is_quiet(item, self.now):
                self._refund_differs(Difference.REFUND_UNANSWERED, key, item, f"{name} was asked for at {refund['at']}")
            elif refund["state"] == RefundState.REFUNDED and refund_id not in self.refunds_of(str(item["payment_id"])):
                self._refund_differs(Difference.REFUND_FAILED, key, item, f"the gateway has no refund {refund_id}")

    def _refund_differs(self, kind: Difference, key: Key, item: Item, detail: str) -> None:
        self.found.differs(kind, key, str(item["payment_id"]), detail)
        if "customer_id" in item:
            self.found.unsettled[key] = str(item["customer_id"])

    def entry(self, key: Key, charges: Mapping[str, Key]) -> None:
        """One period that the ledger says was charged. charges: those that succeeded, payment to its period."""
        item = self.items.get(key, {})
        if "paid_at" not in item:
            return
        payment_id = str(item.get("payment_id", ""))
        if payment_id in charges:
            if charges[payment_id] != key:
                detail = f"the payment is of {' '.join(charges[payment_id])}"
                self.found.differs(Difference.LEDGER_WITHOUT_CHARGE, key, payment_id, detail)
        elif not payment_id or not self.is_paid(payment_id):
            detail = "the gateway has no payment of this id that was paid"
            self.found.differs(Difference.LEDGER_WITHOUT_CHARGE, key, payment_id, detail)

    def _renewal(self, key: Key, item: Item, charge: Charged) -> None:
        """A charge that the ledger has: its amount, what it passed over, its receipt, its mail."""
        counts = self.found.counts
        counts[Count.DUE] += 1
        taken = f"{charge.amount} {charge.currency}, minor units, were taken"
        if item.get("flag") == Flag.AMOUNT_DIFFERS:
            self.found.differs(Difference.WRONG_AMOUNT, key, charge.payment_id, f"{taken}: not what was claimed")
        elif (charge.amount, charge.currency) != _amount(item):
            self.found.differs(Difference.WRONG_AMOUNT, key, charge.payment_id, f"{taken}: not what the ledger has")
        for passed in passed_over(item):
            counts[Count.DUE] += 1
            status = self.items.get((key[0], passed), {}).get("status")
            counts[Count.SKIPPED] += status == Status.SKIPPED
            if status in (None, Status.CLAIMED):
                self.found.differs(
                    Difference.MISSED, (key[0], passed), "", f"passed over for {key[1]}, without a trace"
                )
        self._refunds(key, item)
        if "receipt_key" in item:
            self._receipted(key, item, charge)
        elif item.get("status") == Status.FAILED:
            counts[Count.FAILED] += 1
        elif self._just_charged(charge):
            counts[Count.UNDER_WAY] += 1
        else:
            for kind in (Difference.RECEIPT_MISSING, Difference.MAIL_MISSING):
                self.found.differs(kind, key, charge.payment_id, _says(item))

    def _receipted(self, key: Key, item: Item, charge: Charged) -> None:
        counts = self.found.counts
        receipt_key = str(item["receipt_key"])
        stored = self.stored.get(receipt_key)
        if stored is None:
            self.found.differs(Difference.RECEIPT_MISSING, key, charge.payment_id, f"nothing under {receipt_key}")
        elif stored != item.get("receipt_sha256"):
            self.found.differs(
                Difference.RECEIPT_ALTERED, key, charge.payment_id, f"SHA-256 {stored or 'not known to S3'}"
            )
        else:
            counts[Count.RECEIPTED] += 1
        status = str(item.get("status"))
        receipts = [mail for name, mail in _mails(item).items() if MailKind.of(name) is MailKind.RECEIPT]
        if any(mail.get("state") == MailState.SENT for mail in receipts):
            counts[Count.MAILED] += 1
        elif status in _COUNTED_BY_STATUS:
            counts[_COUNTED_BY_STATUS[status]] += 1
        elif status == Status.RECEIPTED and self._just_charged(charge):
            counts[Count.UNDER_WAY] += 1
        else:
            self.found.differs(Difference.MAIL_MISSING, key, charge.payment_id, _says(item))

    def _to_be_recorded(self, item: Item, charge: Charged) -> bool:
        """Whether the ledger will learn by itself that this payment is paid."""
        status = item.get("status")
        if status in (Status.DECLINED, Status.ACTION_REQUIRED) and "next_attempt" in item:
            # On that date the payment is asked about.
            return str(item["next_attempt"]) >= (self.now - LATELY).date().isoformat()
        return status == Status.CLAIMED and self._just_charged(charge)

    def _just_charged(self, charge: Charged) -> bool:
        return timedelta() <= self.now - charge.at < JUST_CHARGED


def key_in(item: Item) -> Key:
    """The period that an item of the ledger is of."""
    return text(item, "subscription_id"), text(item, "renewal_date")


def key_of(of: Charged | GatewayRefund) -> Key:
    """The period that a charge of ours is of, or the payment that was refunded."""
    metadata = _metadata(of)
    return metadata["subscription_id"], metadata["renewal_date"]


def is_ours(of: Charged | GatewayRefund) -> bool:
    metadata = _metadata(of)
    return bool(metadata.get("subscription_id") and metadata.get("renewal_date"))


def _metadata(of: Charged | GatewayRefund) -> Mapping[str, str]:
    return of.payment_metadata if isinstance(of, GatewayRefund) else of.metadata


def is_of(item: Item, charge: Charged) -> bool:
    """Whether the ledger holds this very payment as paid."""
    return charge.succeeded and "paid_at" in item and item.get("payment_id") == charge.payment_id


def overlapping(item: Item, beside: Iterable[Item]) -> list[Item]:
    """Of what stands beside a period in the ledger, the paid periods that have a day of it and were charged before."""
    return [other for other in beside if _has_a_day_of(item, other) and _charged_before(other, item)]


def overlaps_within(item: Item, within: Iterable[Item]) -> list[tuple[Item, Item]]:
    """As overlapping, of what the ledger has within the days of a period: each of two that overlap, the one that was
    charged later first."""
    return [
        (item, other) if _charged_before(other, item) else (other, item)
        for other in within
        if _has_a_day_of(item, other)
    ]


def is_paid_again(made: GatewayRefund, item: Item) -> bool:
    """Whether a refund of this period has failed, so that its days are paid, though others may have been billed."""
    return made.state is GatewayRefundState.FAILED and made.payment_id == item.get("payment_id") and says_paid(item)


def reaches_no_further(item: Item, start: str) -> bool:
    """Whether no period that is older than this one can have a day from `start` on: it is paid, and begins before."""
    return says_paid(item) and text(item, "renewal_date") < start


def _has_a_day_of(one: Item, other: Item) -> bool:
    if not (says_paid(one) and says_paid(other)) or one["renewal_date"] == other["renewal_date"]:
        return False
    starts, ends = ([text(each, name) for each in (one, other)] for name in ("renewal_date", "period_end"))
    return starts[0] < ends[1] and starts[1] < ends[0]


def says_paid(item: Item) -> bool:
    """Whether the ledger says that a period is paid, and that it was not refunded whole."""
    try:
        return "period_end" in item and renewal_from(item).is_paid
    except (AttributeError, KeyError, ValueError, TypeError):  # an item that is no claim of ours
        return False


def _charged_before(one: Item, other: Item) -> bool:
    first, second = ((str(each.get("charged_at", "")), text(each, "renewal_date")) for each in (one, other))
    return first < second


def billed_instead(item: Item) -> str | None:
    """The period that was billed in place of one that was passed over; None where the item names none."""
    try:
        return day(item, "billed_instead").isoformat()
    except (KeyError, TypeError, ValueError):
        return None


def passed_over(item: Item) -> list[str]:
    """The dates of which a claim of ours left an item, because it passed them over: by the schedule it was made with,
    which its own period shows. None of an item that is no claim of ours."""
    try:
        first, start, end = (day(item, name) for name in ("row_date", "renewal_date", "period_end"))
        if not first < start < end:
            return []
        if "anchor_day" in item:
            months = (end.year - start.year) * 12 + end.month - start.month
            schedule = Schedule("month", months, whole(item, "anchor_day"))
        else:
            schedule = Schedule("day", (end - start).days, 1)
        if not schedule.count:
            return []
        dates = [each.isoformat() for each in schedule.due(first, start - timedelta(days=1))]
    except (KeyError, TypeError, ValueError, OverflowError):
        return []
    return list(with_items(dates))


def due(
    subscription: Subscription,
    item: Item | None,
    moment: Moment,
    found: Found,
    overlap: Callable[[], str | None] = lambda: None,
) -> None:
    """A subscription that has been due since yesterday or longer, and what the ledger has of that period. overlap: asks
    why it cannot be charged, where a day of its next period is paid."""
    found.counts[Count.DUE] += 1
    key = subscription.subscription_id, subscription.renewal_date.isoformat()
    standing = _standing(item or {}, moment)
    payment_id = str(item.get("payment_id", "")) if item else ""
    if item is None or standing is None:
        paid, stands = overlap(), "nothing in the ledger"
        if item is not None:
            stands = f"still due; since {item.get('touched_at')!s} {_says(item)}"
        found.differs(Difference.MISSED if paid is None else Difference.OVERLAPPING, key, payment_id, paid or stands)
    else:
        found.counts[standing] += 1
        if standing is Count.DUNNING and _is_untold(item, moment):
            owed = f"to be mailed since {item.get('touched_at')!s}: {wording.mail(MailKind.of(item['notice']))}"
            found.differs(Difference.MAIL_MISSING, key, payment_id, owed)


def _standing(item: Item, moment: Moment) -> Count | None:
    """The count that a period belongs to which is due and visibly seen to; None: nobody sees to it."""
    match item.get("status"):
        case Status.CLAIMED if not _is_quiet(item, moment.now):
            return Count.UNDER_WAY
        case Status.DECLINED | Status.ACTION_REQUIRED if (
            str(item.get("next_attempt", "9999")) >= moment.today.isoformat()
        ):
            return Count.DUNNING
        case Status.FAILED:
            return Count.FAILED
    return None


def _says(item: Item) -> str:
    """What the ledger has of a period, in words."""
    stands = wording.standing(item["status"]) if "status" in item else "nothing of this period"
    return f"the ledger says: {stands}"


def _is_untold(item: Item, moment: Moment) -> bool:
    """Whether a refusal's notice is owed, and nobody sees to it; one with a wrong address waits for another."""
    name = item.get("notice")
    told = isinstance(name, str) and name in _mails(item)
    return name is not None and not told and _is_quiet(item, moment.now)


def _mails(item: Item) -> dict[str, dict[str, Value]]:
    """The records of the mails of a period, without what somebody wrote among them that is none."""
    kept = item.get("mails")
    return {name: each for name, each in kept.items() if isinstance(each, dict)} if isinstance(kept, dict) else {}


def _is_quiet(item: Item, now: datetime) -> bool:
    """Whether nobody has been at work on a period for a day; of one whose moment cannot be read, nobody has."""
    touched_at = moment_in(item, "touched_at")
    return touched_at is None or now - touched_at >= LATELY


def moment_in(item: Item, name: str) -> datetime | None:
    """The moment of an attribute; None where somebody wrote what is none."""
    try:
        found = moment(item, name)
    except (KeyError, TypeError, ValueError):
        return None
    return found if found.tzinfo else None


def _amount(item: Item) -> tuple[int, str] | None:
    try:
        currency = text(item, "currency")
        return currencies.exact_minor_units(number(item, "amount"), currency), currency
    except (BadRow, KeyError, TypeError):
        return None
