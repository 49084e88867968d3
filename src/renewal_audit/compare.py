"""What must agree, and the name of each difference. Pure: whatever it compares was read by others.

    missed                  due, and neither renewed nor standing visibly with its reason; or a period that a renewal
                            passed over without a trace
    doubled                 a period that two payments have paid: named with the one that the ledger does not hold
    overlapping             a paid period that has a day of another paid one, of any day: named with the one that was
                            charged later; or a subscription that is due, and not charged since a day of its next period
                            is paid, or a date of that claim was billed before
    wrong_amount            the gateway took another amount or currency than the ledger has, or than was claimed
    charge_without_ledger   money was taken, and the ledger does not hold that payment as paid
    ledger_without_charge   the ledger says paid, and the gateway has no such charge of this period
    refund_unknown          the gateway has refunded a payment of ours, and the ledger does not say so
    refund_failed           the ledger says refunded, and at the gateway that refund failed or is not there
    refund_unanswered       asked for a day ago or longer, and nobody knows what the gateway made of it
    receipt_missing, receipt_altered    what the bucket has under the ledger's key
    mail_missing            finished, and no receipt's mail is recorded as sent; or refused for a day, and the
                            customer not told

No difference, but counted, is what stands visibly and is somebody's to see to: `under_way` (charged within the last
hour, claimed within the last day, or paid at the bank's page and to be found so at the next dunning date), `dunning`
(refused, its next date to come), `failed`, `mail_failed` and `mail_unknown`, and `bad_rows`, which the sweep names.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from renewals import currencies, refunds, wording
from renewals.clock import Moment
from renewals.errors import BadRow
from renewals.gateway import Charged, GatewayRefund, GatewayRefundState
from renewals.periods import Schedule
from renewals.renewal import Flag, MailKind, MailState, RefundState, Status, renewal_from
from renewals.row_steps import MOST_SKIPPED
from renewals.subscription import Subscription

KINDS = (
    "missed",
    "doubled",
    "overlapping",
    "wrong_amount",
    "charge_without_ledger",
    "ledger_without_charge",
    "refund_unknown",
    "refund_failed",
    "refund_unanswered",
    "receipt_missing",
    "receipt_altered",
    "mail_missing",
)
COUNTED = (
    "due",  # periods: charged, passed over, or standing due in the subscriptions
    "charged",
    "refunded",
    "receipted",
    "mailed",
    "declined",  # attempts
    "skipped",
    "under_way",
    "dunning",
    "failed",
    "mail_failed",
    "mail_unknown",
    "bad_rows",
)

JUST_CHARGED = timedelta(hours=1)
"""So long after a charge its receipt and its mail may be to come: the sweep takes up what was cut off."""

LATELY = timedelta(days=1)
"""So long a claim may be without a result, and a customer without the notice of a refusal."""

type Key = tuple[str, str]
"""subscription_id and renewal_date, YYYY-MM-DD."""
type Item = Mapping[str, Any]


@dataclass(slots=True)
class Found:
    """counts: by the names in COUNTED. differences: kind, subscription_id, renewal_date, payment_id, detail. unsettled:
    the periods whose refunds differ, each with its customer, until somebody is asked to look at them. overlapping: what
    overlaps and was named."""

    counts: Counter[str] = field(default_factory=Counter)
    differences: list[dict[str, str]] = field(default_factory=list)
    unsettled: dict[Key, str] = field(default_factory=dict)
    overlapping: set[tuple[Key, str]] = field(default_factory=set)

    def overlaps(self, item: Item, other: Item) -> None:
        """A paid period that has a day of another paid one, which was charged before. Two are named once."""
        detail = f"{other['renewal_date']} to {other['period_end']} is paid too, by {other.get('payment_id')}"
        key = item["subscription_id"], item["renewal_date"]
        if (key, detail) not in self.overlapping:
            self.overlapping.add((key, detail))
            self.differs("overlapping", key, str(item.get("payment_id", "")), detail)

    def differs(self, kind: str, key: Key, payment_id: str, detail: str) -> None:
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
            self.found.counts["declined"] += 1
            return
        self.found.counts["charged"] += 1
        key = key_of(charge)
        item = self.items.get(key, {})
        if is_of(item, charge):
            self._renewal(key, item, charge)
            return
        status = item.get("status", "nothing of this period")
        if item.get("payment_id") == charge.payment_id:
            if self._to_be_recorded(item, charge):
                self.found.counts["under_way"] += 1
            else:
                self.found.differs("charge_without_ledger", key, charge.payment_id, f"the ledger has {status}")
        elif "paid_at" in item and "payment_id" in item and self.is_paid(item["payment_id"]):
            self.found.differs("doubled", key, charge.payment_id, f"paid by {item['payment_id']} too")
        else:
            held = item.get("payment_id", "no payment")
            self.found.differs("charge_without_ledger", key, charge.payment_id, f"the ledger has {status}, {held}")

    def refund(self, made: GatewayRefund) -> None:
        """One refund that the gateway has of a payment of ours. One of a payment that is not the ledger's, as of the
        second of two, is nobody's difference."""
        key = key_of(made)
        item = self.items.get(key, {})
        if "paid_at" not in item or item.get("payment_id") != made.payment_id:
            return
        known = item.get("refunds", {}).values()
        held: Item = next((each for each in known if each.get("refund_id") == made.id), {})
        stands = held.get("state")
        if made.state is GatewayRefundState.FAILED:
            if stands in (RefundState.CLAIMED, RefundState.REFUNDED):
                self._refund_differs(
                    "refund_failed", key, item, f"{made.id} failed: {wording.refund_failure(made.reason)}"
                )
            return
        self.found.counts["refunded"] += 1
        if stands in (RefundState.CLAIMED, RefundState.REFUNDED):
            return
        if any(map(refunds.is_unanswered, known)) and timedelta() <= self.now - made.at < JUST_CHARGED:
            self.found.counts["under_way"] += 1
            return
        money = f"{made.amount} {made.currency}, minor units, were refunded as {made.id}"
        self._refund_differs("refund_unknown", key, item, f"{money}: the ledger has {stands or 'nothing of it'}")

    def _refunds(self, key: Key, item: Item) -> None:
        """The refunds that the ledger has of a period: whether the gateway knows them, and whether it was asked."""
        for name, refund in refunds.in_order(item.get("refunds", {})):
            refund_id = refund.get("refund_id")
            if refunds.is_unanswered(refund) and _is_quiet(item, self.now):
                self._refund_differs("refund_unanswered", key, item, f"{name} was asked for at {refund['at']}")
            elif refund["state"] == RefundState.REFUNDED and refund_id not in self.refunds_of(item["payment_id"]):
                self._refund_differs("refund_failed", key, item, f"the gateway has no refund {refund_id}")

    def _refund_differs(self, kind: str, key: Key, item: Item, detail: str) -> None:
        self.found.differs(kind, key, item["payment_id"], detail)
        self.found.unsettled[key] = item["customer_id"]

    def entry(self, key: Key, charges: Mapping[str, Key]) -> None:
        """One period that the ledger says was charged. charges: those that succeeded, payment to its period."""
        item = self.items.get(key, {})
        if "paid_at" not in item:
            return
        payment_id = item.get("payment_id", "")
        if payment_id in charges:
            if charges[payment_id] != key:
                detail = f"the payment is of {' '.join(charges[payment_id])}"
                self.found.differs("ledger_without_charge", key, payment_id, detail)
        elif not payment_id or not self.is_paid(payment_id):
            detail = "the gateway has no payment of this id that was paid"
            self.found.differs("ledger_without_charge", key, payment_id, detail)

    def _renewal(self, key: Key, item: Item, charge: Charged) -> None:
        """A charge that the ledger has: its amount, what it passed over, its receipt, its mail."""
        counts = self.found.counts
        counts["due"] += 1
        taken = f"{charge.amount} {charge.currency}, minor units, were taken"
        if item.get("flag") == Flag.AMOUNT_DIFFERS:
            self.found.differs("wrong_amount", key, charge.payment_id, f"{taken}: not what was claimed")
        elif (charge.amount, charge.currency) != _amount(item):
            self.found.differs("wrong_amount", key, charge.payment_id, f"{taken}: not what the ledger has")
        for day in passed_over(item):
            counts["due"] += 1
            status = self.items.get((key[0], day), {}).get("status")
            counts["skipped"] += status == Status.SKIPPED
            if status in (None, Status.CLAIMED):
                self.found.differs("missed", (key[0], day), "", f"passed over for {key[1]}, without a trace")
        self._refunds(key, item)
        if "receipt_key" in item:
            self._receipted(key, item, charge)
        elif item.get("status") == Status.FAILED:
            counts["failed"] += 1
        elif self._just_charged(charge):
            counts["under_way"] += 1
        else:
            for kind in ("receipt_missing", "mail_missing"):
                self.found.differs(kind, key, charge.payment_id, f"the ledger has {item.get('status')}")

    def _receipted(self, key: Key, item: Item, charge: Charged) -> None:
        counts = self.found.counts
        stored = self.stored.get(item["receipt_key"])
        if stored is None:
            self.found.differs("receipt_missing", key, charge.payment_id, f"nothing under {item['receipt_key']}")
        elif stored != item.get("receipt_sha256"):
            self.found.differs("receipt_altered", key, charge.payment_id, f"SHA-256 {stored or 'not known to S3'}")
        else:
            counts["receipted"] += 1
        mails, status = item.get("mails", {}), item.get("status")
        receipts = [mail for name, mail in mails.items() if MailKind.of(name) is MailKind.RECEIPT]
        if any(mail.get("state") == MailState.SENT for mail in receipts):
            counts["mailed"] += 1
        elif status in (Status.MAIL_FAILED, Status.MAIL_UNKNOWN, Status.FAILED):
            counts[status] += 1
        elif status == Status.RECEIPTED and self._just_charged(charge):
            counts["under_way"] += 1
        else:
            self.found.differs("mail_missing", key, charge.payment_id, f"the ledger has {status}")

    def _to_be_recorded(self, item: Item, charge: Charged) -> bool:
        """Whether the ledger will learn by itself that this payment is paid."""
        status = item.get("status")
        if status in (Status.DECLINED, Status.ACTION_REQUIRED) and "next_attempt" in item:
            # On that date the payment is asked about.
            return str(item["next_attempt"]) >= (self.now - LATELY).date().isoformat()
        return status == Status.CLAIMED and self._just_charged(charge)

    def _just_charged(self, charge: Charged) -> bool:
        return timedelta() <= self.now - charge.at < JUST_CHARGED


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
    return made.state is GatewayRefundState.FAILED and made.payment_id == item.get("payment_id") and _is_paid(item)


def reaches_no_further(item: Item, start: str) -> bool:
    """Whether no period that is older than this one can have a day from `start` on: it is paid, and begins before."""
    return _is_paid(item) and item["renewal_date"] < start


def _has_a_day_of(one: Item, other: Item) -> bool:
    if not (_is_paid(one) and _is_paid(other)) or one["renewal_date"] == other["renewal_date"]:
        return False
    return bool(one["renewal_date"] < other["period_end"] and other["renewal_date"] < one["period_end"])


def _is_paid(item: Item) -> bool:
    """Whether the ledger says so, and that it was not refunded whole."""
    try:
        return "period_end" in item and renewal_from(item).is_paid
    except (KeyError, ValueError, TypeError):  # an item that is no claim of ours
        return False


def _charged_before(one: Item, other: Item) -> bool:
    return (one.get("charged_at", ""), one["renewal_date"]) < (other.get("charged_at", ""), other["renewal_date"])


def passed_over(item: Item) -> list[str]:
    """The dates of which a claim of ours left an item, because it passed them over: by the schedule it was made with,
    which its own period shows. None of an item that is no claim of ours."""
    try:
        first, start, end = (date.fromisoformat(item[name]) for name in ("row_date", "renewal_date", "period_end"))
    except (KeyError, ValueError):
        return []
    if not first < start < end:
        return []
    if "anchor_day" in item:
        months = (end.year - start.year) * 12 + end.month - start.month
        schedule = Schedule("month", months, int(item["anchor_day"]))
    else:
        schedule = Schedule("day", (end - start).days, 1)
    dates = [day.isoformat() for day in schedule.due(first, start - timedelta(days=1))]
    return dates[:1] + dates[1:][-(MOST_SKIPPED - 1) :]


def due(
    subscription: Subscription,
    item: Item | None,
    moment: Moment,
    found: Found,
    overlap: Callable[[], str | None] = lambda: None,
) -> None:
    """A subscription that has been due since yesterday or longer, and what the ledger has of that period. overlap: asks
    why it cannot be charged, where a day of its next period is paid."""
    found.counts["due"] += 1
    key = subscription.subscription_id, subscription.renewal_date.isoformat()
    standing = _standing(item or {}, moment)
    payment_id = str(item.get("payment_id", "")) if item else ""
    if item is None or standing is None:
        paid, stands = overlap(), "nothing in the ledger"
        if item is not None:
            stands = f"still due, and the ledger has {item.get('status')} since {item.get('touched_at')}"
        found.differs("missed" if paid is None else "overlapping", key, payment_id, paid or stands)
    else:
        found.counts[standing] += 1
        if standing == "dunning" and _is_untold(item, moment):
            found.differs("mail_missing", key, payment_id, f"{item['notice']} is owed since {item.get('touched_at')}")


def _standing(item: Item, moment: Moment) -> str | None:
    """The count that a period belongs to which is due and visibly seen to; None: nobody sees to it."""
    match item.get("status"):
        case Status.CLAIMED if not _is_quiet(item, moment.now):
            return "under_way"
        case Status.DECLINED | Status.ACTION_REQUIRED if item.get("next_attempt", "9999") >= moment.today.isoformat():
            return "dunning"
        case Status.FAILED:
            return "failed"
    return None


def _is_untold(item: Item, moment: Moment) -> bool:
    """Whether a refusal's notice is owed, and nobody sees to it; one with a wrong address waits for another."""
    name = item.get("notice")
    return name is not None and name not in item.get("mails", {}) and _is_quiet(item, moment.now)


def _is_quiet(item: Item, now: datetime) -> bool:
    touched_at = item.get("touched_at")
    return touched_at is None or now - datetime.fromisoformat(touched_at) >= LATELY


def _amount(item: Item) -> tuple[int, str] | None:
    try:
        return currencies.exact_minor_units(item["amount"], item["currency"]), item["currency"]
    except (BadRow, KeyError):
        return None
