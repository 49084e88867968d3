"""Send one truthful mail for each outcome of a renewal. The ledger records a mail by period, kind and attempt.

Decisions: D98, D99 (DECISIONS.md).
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from email.message import EmailMessage
from hashlib import sha256

from renewals.domain import mail_faults, refund_notices, refunds
from renewals.domain.declines import is_hard
from renewals.domain.dunning import Dunning
from renewals.domain.errors import MailError, Overtaken, RenewalError, repeat_while_outdated
from renewals.domain.item_values import Item
from renewals.domain.mail_tags import Tagged
from renewals.domain.outcomes import MailOutcome, PaymentOutcome
from renewals.domain.owed import is_true, owed_mail, receipt_mail
from renewals.domain.renewal import Mail, MailKind, Renewal, Status
from renewals.ledger import mail_steps
from renewals.ledger.account_links import Power
from renewals.ledger.table import Ledger
from send_email.letter import PLAIN, Brand
from send_email.message import TELL_HOW_TO_CANCEL, Attachment, Prospects, compose
from send_email.post import Post

_LOOKS = 3


class ReceiptAltered(RenewalError):  # noqa: N818
    """The stored receipt no longer has the hash that the ledger recorded. The receipt is not mailed."""


_ENDED = {
    Status.DONE: MailOutcome.MAILED,
    Status.MAIL_FAILED: MailOutcome.MAIL_FAILED,
    Status.MAIL_UNKNOWN: MailOutcome.MAIL_UNKNOWN,
}


@dataclass(frozen=True, slots=True)
class Delivery:
    """The delivery of mails about renewals. Each execution of the workflow sends at most one mail.

    today: the current day on the subscription's clock. read_receipt: returns the bytes under a key of S3. receipt_link:
    returns the link to the receipt of a renewal, or to the receipt of the named refund. dunning: the dunning schedule,
    from which a mail about a refusal takes its dates. page_link: returns the link to the customer page for the customer
    of a row; empty without a page. brand: the look of the mails.
    """

    ledger: Ledger
    post: Post
    today: date
    read_receipt: Callable[[str], bytes]
    receipt_link: Callable[[Renewal, str], str]
    dunning: Dunning
    page_link: Callable[[Item | None, Power], str]
    brand: Brand = PLAIN

    def deliver(
        self, subscription_id: str, customer_id: str, renewal_date: str, outcome: str, attempt: int
    ) -> MailOutcome:
        """Send the mail that the outcome calls for: the receipt after the outcome `receipted`, and the owed notice
        after any other outcome. A notice that is no longer true is dropped, and not sent.

        Raises:
            MailError: the mail was certainly not sent, and can be tried again.
        """

        def looked_at() -> MailOutcome:
            renewal, row = self.ledger.with_row(subscription_id, renewal_date, customer_id)
            return self._deliver(renewal, row, outcome, attempt) if renewal else MailOutcome.DROPPED

        busy = MailError("other executions keep changing this mail")
        return repeat_while_outdated(looked_at, tries=_LOOKS, otherwise=busy)

    def _deliver(self, renewal: Renewal, row: Item | None, outcome: str, attempt: int) -> MailOutcome:
        if renewal.attempt != attempt:
            return MailOutcome.DROPPED
        if outcome == PaymentOutcome.RECEIPTED:
            if renewal.status is not Status.RECEIPTED:
                return _ENDED.get(renewal.status, MailOutcome.DROPPED)
            name = receipt_mail(renewal)
        else:
            if renewal.notice is None:
                return MailOutcome.DROPPED
            name = renewal.notice
            if owed_mail(renewal) != name:
                return MailOutcome.IN_PROGRESS  # the receipt goes out before any notice, by another execution
            refund = refund_notices.owed(renewal)
            if refund is not None and refund.kind is MailKind.REFUNDED and "receipt_key" not in refund.refund:
                return MailOutcome.IN_PROGRESS  # the execution that makes the refund's receipt sends this mail, too
            told = renewal.mails.get(name)
            settled = told is not None and told.state.is_out
            # One call read the row and the renewal, but DynamoDB may have read the row a moment before the renewal. A
            # notice that looks untrue is therefore compared with a fresh row before the notice is dropped.
            if settled or not (is_true(renewal, row) or is_true(renewal, self.ledger.row(renewal))):
                # If the step is refused, another execution has removed the notice already, or has put a newer notice in
                # its place. A different execution sends the newer notice.
                with suppress(Overtaken):
                    self.ledger.apply(mail_steps.drop_notice(renewal, name, self.post.now))
                return MailOutcome.DROPPED
        return self._mail(renewal, name, row)

    def _mail(self, renewal: Renewal, name: str, row: Item | None) -> MailOutcome:
        kind = MailKind(MailKind.of(name))
        address = mail_faults.address_of(row) if row else mail_faults.Address(renewal.customer_email)

        def composed(deliverable: str) -> EmailMessage:
            mail_faults.refuse(row, required=True)
            return compose(
                kind,
                renewal,
                sender=self.post.sender,
                to=deliverable,
                prospects=self._prospects(renewal),
                attachment=self._attachment(renewal, kind),
                page=self._page(kind, row),
                brand=self.brand,
            )

        place = _InLedger(self.ledger, renewal, name, self.post.now)
        return self.post.send(place, renewal.mails.get(name), address, composed)

    def _prospects(self, renewal: Renewal) -> Prospects | None:
        if renewal.next_attempt is None:
            return None
        tried_again = renewal.status is Status.DECLINED and not is_hard(renewal.decline_code, renewal.advice_code)
        retry_on = self.dunning.retry_on(renewal, self.today)
        return Prospects(
            retry_on=retry_on if tried_again else None,
            ends_on=self.dunning.ends_on(renewal.first_tried_on, renewal.dunned, renewal.next_attempt),
            ends_as=self.dunning.ends_as,
            tries_new_card=self.dunning.tries_new_card(renewal, self.today),
            tries_nothing=retry_on is None,
        )

    def _page(self, kind: MailKind, row: Item | None) -> str:
        """Return the link to the customer page, if the mail links there. Receipts are forwarded, to accountants for
        example: their link shows the subscription, and changes nothing."""
        if kind not in TELL_HOW_TO_CANCEL:
            return ""
        return self.page_link(row, Power.SEE if kind is MailKind.RECEIPT else Power.FULL)

    def _attachment(self, renewal: Renewal, kind: MailKind) -> Attachment | None:
        owed = refund_notices.owed(renewal)
        if kind is MailKind.REFUNDED and owed is not None:
            pdf = self._stored(owed.refund.get("receipt_key"), owed.refund.get("receipt_sha256"))
            link = self.receipt_link(renewal, owed.name)
            return Attachment(f"refund-{refunds.number(renewal, owed.name)}.pdf", pdf, link)
        if kind is not MailKind.RECEIPT:
            return None
        pdf = self._stored(renewal.receipt_key, renewal.receipt_sha256)
        return Attachment(f"receipt-{renewal.receipt_number}.pdf", pdf, self.receipt_link(renewal, ""))

    def _stored(self, key: str | None, digest: str | None) -> bytes:
        pdf = self.read_receipt(str(key))
        if sha256(pdf).hexdigest() != digest:
            raise ReceiptAltered(f"the receipt under {key} differs from the hash in the ledger")
        return pdf


@dataclass(frozen=True, slots=True)
class _InLedger:
    """The ledger as the place where the mail of a renewal is claimed and recorded."""

    ledger: Ledger
    renewal: Renewal
    name: str
    now: datetime

    def tagged(self, token: str) -> Tagged:
        renewal = self.renewal
        period = renewal.renewal_date.isoformat()
        return Tagged(renewal.subscription_id, renewal.customer_id, period, self.name, token)

    def claim(self, mail: Mail) -> None:
        self.ledger.apply(mail_steps.claim_mail(self.renewal, self.name, mail, self.now))

    def park(self, mail: Mail) -> None:
        self.ledger.apply(mail_steps.park_mail(self.renewal, self.name, mail, self.now))

    def record(self, mail: Mail) -> None:
        self.ledger.apply(mail_steps.mailed(self.renewal, self.name, mail, self.now))

    def release(self, token: str) -> None:
        self.ledger.apply(mail_steps.release_mail(self.renewal, self.name, token, self.now))
