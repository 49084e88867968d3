"""Send reminders, once for each subscription, period and kind. The row of the subscription records the reminders."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from email.message import EmailMessage

from renewals.domain import mail_faults, offers, reminders
from renewals.domain.errors import MailError, repeat_while_outdated
from renewals.domain.item_values import Item
from renewals.domain.mail_tags import Tagged
from renewals.domain.outcomes import MailOutcome
from renewals.domain.reminder_rules import Rules
from renewals.domain.renewal import Mail, MailKind, MailState
from renewals.domain.subscription import Subscription
from renewals.ledger import reminder_records
from renewals.ledger.account_links import Power
from send_email.letter import PLAIN, Brand
from send_email.message import remind
from send_email.post import Post

_LOOKS = 3


@dataclass(frozen=True, slots=True)
class Reminding:
    """The reminders that an execution sends to the customer of a subscription.

    seller: the name at the end of the mails. page_link: returns the link to the customer page for the customer of a
    row; empty without a page. reminders_link: returns the link by which the customer declines reminders; empty without
    a page of the stack's own. rules: when the deployment reminds customers. brand: the look of the mails.
    """

    records: reminder_records.Records
    post: Post
    seller: str
    page_link: Callable[[Item | None, Power], str]
    reminders_link: Callable[[Item], str]
    today: date
    rules: Rules
    brand: Brand = PLAIN

    def deliver(
        self, subscription_id: str, customer_id: str, renewal_date: str, kinds: Sequence[MailKind]
    ) -> MailOutcome:
        """Send the reminders that are still true and were not sent yet.

        Returns:
            The worst outcome of the reminders, by the order of MailOutcome.

        Raises:
            MailError: a reminder was certainly not sent, and can be tried again.
        """
        asked = subscription_id, customer_id, date.fromisoformat(renewal_date)
        came = {self._one(asked, kind) for kind in kinds}
        return next(outcome for outcome in MailOutcome if outcome in came)

    def _one(self, asked: tuple[str, str, date], kind: MailKind) -> MailOutcome:
        subscription_id, customer_id, period = asked

        def looked_at() -> MailOutcome:
            found = self.records.row(subscription_id, customer_id)
            subscription = reminders.at_period([found], customer_id, period) if found else None
            return self._deliver(subscription, kind) if subscription else MailOutcome.DROPPED

        busy = MailError("other executions keep changing this reminder")
        return repeat_while_outdated(looked_at, tries=_LOOKS, otherwise=busy)

    def _deliver(self, subscription: Subscription, kind: MailKind) -> MailOutcome:
        earlier = reminders.record(subscription, kind)
        owed = kind in reminders.owed(subscription, self.today, self.rules)
        if owed and earlier is not None and earlier.state.is_out:
            earlier = None  # the facts have changed since the earlier reminder
        begun = earlier is not None and earlier.state is not MailState.FAILED
        if not begun and not owed:
            return MailOutcome.DROPPED

        def composed(deliverable: str) -> EmailMessage:
            mail_faults.refuse(subscription.row, required=kind is MailKind.UPCOMING)
            card = reminders.known_card(subscription) if kind is MailKind.CARD_EXPIRES else None
            told = offers.as_told(subscription, self.today)
            page = self.page_link(subscription.row, Power.FULL)
            declines = page and reminders.may_be_declined(subscription, kind)
            return remind(
                told,
                card,
                seller=self.seller,
                page=page,
                decline=self.reminders_link(subscription.row) if declines else "",
                sender=self.post.sender,
                to=deliverable,
                brand=self.brand,
                may_end_trial=reminders.ends_trial(subscription),
            )

        place = _OnRow(self.records, subscription, kind, self.today, self.post.now)
        return self.post.send(place, earlier, mail_faults.address_of(subscription.row), composed)


@dataclass(frozen=True, slots=True)
class _OnRow:
    """The subscription's row, as the place where a reminder is claimed and recorded. today, now: as in Reminding and
    Post."""

    records: reminder_records.Records
    subscription: Subscription
    kind: MailKind
    today: date
    now: datetime

    def tagged(self, token: str) -> Tagged:
        about = self.subscription
        period = about.renewal_date.isoformat()
        return Tagged(about.subscription_id, about.customer_id, period, self.kind, token)

    def claim(self, mail: Mail) -> None:
        self.records.claim(self.subscription, self.kind, mail, self.today, self.now)

    def park(self, mail: Mail) -> None:
        self.records.claim(self.subscription, self.kind, mail, self.today, self.now)

    def record(self, mail: Mail) -> None:
        self.records.record(self.subscription, self.kind, mail)

    def release(self, token: str) -> None:
        self.records.release(self.subscription, self.kind, token)
