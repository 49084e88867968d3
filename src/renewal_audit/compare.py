"""The charges and refunds of the gateway, compared with the ledger, the receipts and the mails. Pure."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from renewal_audit.findings import Count, Difference, Found
from renewal_audit.keys import Key, is_of, key_of
from renewal_audit.ledger_items import LATELY, amount_in, is_quiet, mails_in, passed_over, standing_in_words
from renewals.domain import refunds, wording
from renewals.domain.item_values import Item
from renewals.domain.payment import GatewayRefund, GatewayRefundState
from renewals.domain.renewal import Flag, MailKind, MailState, RefundState, Status
from renewals.gateway.port import Charged

_COUNTED_BY_STATUS: dict[str, Count] = {
    Status.MAIL_FAILED: Count.MAIL_FAILED,
    Status.MAIL_UNKNOWN: Count.MAIL_UNKNOWN,
    Status.FAILED: Count.FAILED,
}

JUST_CHARGED = timedelta(hours=1)
"""For this long after a charge, a missing receipt or mail is no difference: meanwhile the sweep continues an
interrupted renewal."""


@dataclass(frozen=True, slots=True)
class Compared:
    """Charges and refunds beside the ledger and the bucket.

    Attributes:
        items: The items of the ledger by key, also the items of passed-over periods.
        stored: The hexadecimal SHA-256 of each receipt in the bucket by the receipt's key; "" if S3 knows no SHA-256.
        is_paid: Asks the gateway whether a payment is paid.
        refunds_of: Asks the gateway for the ids of a payment's refunds; None if the key may not read refunds.
        now: The moment, UTC.
        found: The findings.
    """

    items: Mapping[Key, Item]
    stored: Mapping[str, str]
    is_paid: Callable[[str], bool]
    refunds_of: Callable[[str], Collection[str] | None]
    now: datetime
    found: Found

    def charge(self, charge: Charged) -> None:
        """Compare one attempt to charge."""
        if not charge.succeeded:
            self.found.counts[Count.DECLINED] += 1
            return
        self.found.counts[Count.CHARGED] += 1
        key = key_of(charge)
        item = self.items.get(key, {})
        if is_of(item, charge):
            self._renewal(key, item, charge)
            return
        says = standing_in_words(item)
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
        """Compare one refund of a payment of ours.

        The ledger may lack the payment: the second of two payments of the same period, for example. A refund of such a
        payment is no difference.
        """
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
        """Compare the refunds of a period in the ledger: the gateway must know the refunds, and must have answered."""
        for name, refund in refunds.in_order(refunds.kept(item)):
            refund_id = refund.get("refund_id")
            if refunds.is_unanswered(refund) and is_quiet(item, self.now):
                self._refund_differs(Difference.REFUND_UNANSWERED, key, item, f"{name} was asked for at {refund['at']}")
            elif refund["state"] == RefundState.REFUNDED:
                known = self.refunds_of(str(item["payment_id"]))
                if known is not None and refund_id not in known:
                    self._refund_differs(Difference.REFUND_FAILED, key, item, f"the gateway has no refund {refund_id}")

    def _refund_differs(self, kind: Difference, key: Key, item: Item, detail: str) -> None:
        self.found.differs(kind, key, str(item["payment_id"]), detail)
        if "customer_id" in item:
            self.found.unsettled[key] = str(item["customer_id"])

    def entry(self, key: Key, charges: Mapping[str, Key]) -> None:
        """Compare one charged period of the ledger. `charges` names the period of every successful payment, by the
        payment's id."""
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
        """Compare a charge that the ledger has: the amount, the passed-over periods, the receipt and the mail."""
        counts = self.found.counts
        counts[Count.DUE] += 1
        taken = f"{charge.amount} {charge.currency}, minor units, were taken"
        if item.get("flag") == Flag.AMOUNT_DIFFERS:
            self.found.differs(Difference.WRONG_AMOUNT, key, charge.payment_id, f"{taken}: not what was claimed")
        elif (charge.amount, charge.currency) != amount_in(item):
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
                self.found.differs(kind, key, charge.payment_id, standing_in_words(item))

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
        receipts = [mail for name, mail in mails_in(item).items() if MailKind.of(name) is MailKind.RECEIPT]
        if any(mail.get("state") == MailState.SENT for mail in receipts):
            counts[Count.MAILED] += 1
        elif status in _COUNTED_BY_STATUS:
            counts[_COUNTED_BY_STATUS[status]] += 1
        elif status == Status.RECEIPTED and self._just_charged(charge):
            counts[Count.UNDER_WAY] += 1
        else:
            self.found.differs(Difference.MAIL_MISSING, key, charge.payment_id, standing_in_words(item))

    def _to_be_recorded(self, item: Item, charge: Charged) -> bool:
        """Whether a later execution will record the payment as paid."""
        status = item.get("status")
        if status in (Status.DECLINED, Status.ACTION_REQUIRED) and "next_attempt" in item:
            # ProcessPayment asks the gateway about the payment on the next dunning date.
            return str(item["next_attempt"]) >= (self.now - LATELY).date().isoformat()
        return status == Status.CLAIMED and self._just_charged(charge)

    def _just_charged(self, charge: Charged) -> bool:
        return timedelta() <= self.now - charge.at < JUST_CHARGED
