"""Send confirmations of changes, once for each change. The record of the change also records the mail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from renewals.domain import confirmations, mail_faults
from renewals.domain.addresses import BadAddress
from renewals.domain.errors import BadRow, MailError, repeat_while_outdated
from renewals.domain.mail_tags import Tagged
from renewals.domain.outcomes import MailOutcome
from renewals.domain.renewal import Mail, MailKind, MailState
from renewals.ledger.account_links import Power
from renewals.ledger.forecast import next_charges
from send_email.confirmation_mail import Ahead, MailSeller, confirmation_mail
from send_email.letter import PLAIN, Brand

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from email.message import EmailMessage

    from renewals.domain.confirmations import Confirmation
    from renewals.domain.item_values import Item
    from renewals.ledger.confirmation_records import ConfirmationRecords
    from renewals.ledger.table import Ledger
    from renewals.runtime.clock import Moment
    from send_email.post import Post

_LOOKS = 3


@dataclass(frozen=True, slots=True)
class Confirming:
    """The confirmations that an execution sends to the customer of a subscription.

    Attributes:
        kinds: the kinds of mails that the deployment sends.
        seller: the name of the seller.
        page_link: returns the link to the customer page for the customer of a row; empty without a page.
        moment: the moment of the subscription.
        brand: the look of the mails.
    """

    records: ConfirmationRecords
    ledger: Ledger
    post: Post
    kinds: Collection[str]
    seller: str
    page_link: Callable[[Item | None, Power], str]
    moment: Moment
    brand: Brand = PLAIN

    def deliver(self, subscription_id: str, customer_id: str, changes: Sequence[str]) -> MailOutcome:
        """Send the confirmations that are still true and were not sent yet.

        Args:
            subscription_id, customer_id: the subscription.
            changes: the keys of the changes.

        Returns:
            The worst outcome of the mails, by the order of MailOutcome.

        Raises:
            MailError: a confirmation was certainly not sent, and can be tried again, or another execution is sending a
                confirmation, and nobody knows yet how that ends.
        """
        came = {self._one(subscription_id, customer_id, key) for key in changes}
        if MailOutcome.IN_PROGRESS in came:
            # Nobody looks again at the mail of a run that was aborted, unless the queue brings this message again.
            raise MailError("another execution is sending this confirmation, or was aborted")
        return next(outcome for outcome in MailOutcome if outcome in came)

    def _one(self, subscription_id: str, customer_id: str, key: str) -> MailOutcome:
        def looked_at() -> MailOutcome:
            return self._looked_at(subscription_id, customer_id, key)

        busy = MailError("other executions keep changing this confirmation")
        return repeat_while_outdated(looked_at, tries=_LOOKS, otherwise=busy)

    def _looked_at(self, subscription_id: str, customer_id: str, key: str) -> MailOutcome:
        row, changes = self.records.standing(subscription_id, customer_id)
        if row is None:
            return MailOutcome.DROPPED
        owed = confirmations.owed(row, changes, self.kinds, self.moment.now, tested=self.moment.tested)
        confirmation = next((each for each in owed if each.change.key == key), None)
        return self._send(row, confirmation) if confirmation else MailOutcome.DROPPED

    def _send(self, row: Item, confirmation: Confirmation) -> MailOutcome:
        def composed(deliverable: str) -> EmailMessage:
            mail_faults.refuse(row, required=True)
            if confirmation.is_late:
                raise BadAddress("the change was made more than seven days ago")
            if confirmation.unreadable:
                raise BadAddress(f"{confirmation.unreadable} in the row cannot be read")
            page = self.page_link(row, Power.FULL)
            if confirmation.kind is MailKind.ACCOUNT_LINK and not page:
                raise MailError("there is no link to mail")
            return confirmation_mail(
                confirmation,
                self._ahead(row),
                seller=MailSeller(self.seller, page, self.brand),
                sender=self.post.sender,
                to=deliverable,
            )

        earlier = confirmation.change.mail
        if earlier is not None and earlier.state is MailState.FAILED:
            earlier = None  # the customer has a new address, or the faults of the address were cleared
        place = _WithChange(self.records, row, confirmation)
        return self.post.send(place, earlier, mail_faults.address_of(row), composed)

    def _ahead(self, row: Item) -> Ahead:
        is_open = self.ledger.history(str(row["subscription_id"]), str(row["customer_id"])).has_open_charge
        today, zone = self.moment.today, self.moment.zone
        try:
            return Ahead(next_charges(self.ledger, row, today, 2).charges, is_open, today, zone)
        except BadRow:  # the next period cannot be charged as the row stands: the sweep reports the row
            return Ahead((), is_open, today, zone, are_known=False)


@dataclass(frozen=True, slots=True)
class _WithChange:
    """The record of a change, as the place where the confirmation of the change is claimed and recorded."""

    records: ConfirmationRecords
    row: Item
    confirmation: Confirmation

    def tagged(self, token: str) -> Tagged:
        kind, key = self.confirmation.kind, self.confirmation.change.key
        return Tagged(self._id, str(self.row["customer_id"]), "", kind, token, key)

    def claim(self, mail: Mail) -> None:
        self.records.claim(self.row, self.confirmation.change, mail)

    def park(self, mail: Mail) -> None:
        self.records.claim(self.row, self.confirmation.change, mail)

    def record(self, mail: Mail) -> None:
        self.records.record(self._id, self.confirmation.change, mail)

    def release(self, token: str) -> None:
        self.records.release(self._id, self.confirmation.change, token)

    @property
    def _id(self) -> str:
        return str(self.row["subscription_id"])
