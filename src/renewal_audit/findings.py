"""The findings of an audit: the counts, and the kinds of differences. Pure."""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from renewal_audit.keys import Key, key_in
from renewals.domain.item_values import Item


class Difference(StrEnum):
    """The kind of a difference."""

    MISSED = "missed"
    """A due period was not renewed, and the ledger gives no reason for the delay; or a renewal passed over a period
    without a trace."""
    DOUBLED = "doubled"
    """Two payments have paid a period. The difference names the payment that the ledger does not have."""
    OVERLAPPING = "overlapping"
    """Two paid periods have a day in common, no matter when the periods were paid: the difference names the later
    payment. Or a due subscription cannot be charged, because a day of its next period is paid already, or because the
    claim would overwrite the item of a date that was billed before."""
    WRONG_AMOUNT = "wrong_amount"
    """The gateway took an amount or a currency that the ledger does not have, or that was not claimed."""
    CHARGE_WITHOUT_LEDGER = "charge_without_ledger"
    """Money was taken, and the ledger does not have the payment as paid."""
    LEDGER_WITHOUT_CHARGE = "ledger_without_charge"
    """The ledger has a period as paid, and the gateway has no such charge of the period."""
    REFUND_UNKNOWN = "refund_unknown"
    """The gateway has refunded a payment of ours, and the ledger has no such refund. Or the gateway's key may not read
    refunds."""
    REFUND_FAILED = "refund_failed"
    """The ledger has a refund as made, and the refund failed at the gateway or does not exist there."""
    REFUND_UNANSWERED = "refund_unanswered"
    """A refund was requested a day ago or earlier, and the gateway's answer is unknown."""
    DISPUTE_UNKNOWN = "dispute_unknown"
    """The gateway has a dispute of a payment of ours, and the ledger lacks the dispute or the dispute's latest step. Or
    the gateway's key may not read disputes."""
    RECEIPT_MISSING = "receipt_missing"
    """The bucket has no receipt under the key in the ledger."""
    RECEIPT_ALTERED = "receipt_altered"
    """The receipt in the bucket is not the receipt of the ledger: its SHA-256 differs."""
    MAIL_MISSING = "mail_missing"
    """A period is finished, and the ledger has no sent mail with the receipt; or a payment was refused a day ago, and
    the customer was not told."""


class Count(StrEnum):
    """The name of a count. The counts from UNDER_WAY on are no differences: a function or a person will see to each."""

    DUE = "due"
    """Periods that were charged, were passed over, or are due by the row of the subscription."""
    CHARGED = "charged"
    REFUNDED = "refunded"
    DISPUTED = "disputed"
    RECEIPTED = "receipted"
    MAILED = "mailed"
    DECLINED = "declined"
    """Declined attempts, not periods."""
    SKIPPED = "skipped"
    UNDER_WAY = "under_way"
    """Periods charged within the last hour, claimed within the last day, or paid at the bank's page. ProcessPayment
    records a payment made at the bank's page on the next dunning date."""
    DUNNING = "dunning"
    """Refused periods whose next dunning date is still to come."""
    FAILED = "failed"
    MAIL_FAILED = "mail_failed"
    MAIL_UNKNOWN = "mail_unknown"
    BAD_ROWS = "bad_rows"
    """Subscriptions that cannot be charged as the row stands. The sweep names them."""


@dataclass(slots=True)
class Found:
    """The findings of one run.

    Attributes:
        counts: The counts.
        differences: Each difference with kind, subscription_id, renewal_date, payment_id and detail.
        unsettled: The periods whose refunds differ, each with its customer. A period is removed once the workflow was
            asked to look at the refunds.
        overlapping: The overlaps that were named already.
    """

    counts: Counter[Count] = field(default_factory=Counter)
    differences: list[dict[str, str]] = field(default_factory=list)
    unsettled: dict[Key, str] = field(default_factory=dict)
    overlapping: set[tuple[Key, str]] = field(default_factory=set)

    def overlaps(self, item: Item, other: Item) -> None:
        """Add a paid period that shares a day with a period charged before. The pair of periods is added only once."""
        detail = f"{other['renewal_date']!s} to {other['period_end']!s} is paid too, by {other.get('payment_id')!s}"
        key = key_in(item)
        if (key, detail) not in self.overlapping:
            self.overlapping.add((key, detail))
            self.differs(Difference.OVERLAPPING, key, str(item.get("payment_id", "")), detail)

    def differs(self, kind: Difference, key: Key, payment_id: str, detail: str) -> None:
        """Add a difference."""
        told = {"kind": kind, "subscription_id": key[0], "renewal_date": key[1], "payment_id": payment_id}
        self.differences.append({name: text for name, text in told.items() if text} | {"detail": detail})
