"""Read the data that every decision of the charge needs, and look up further data for the rules that ask."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from process_payment.payments import Payments
from renewals.domain.dunning import Dunning
from renewals.domain.errors import BadRow
from renewals.domain.mail_faults import address_of, is_in_vain
from renewals.domain.owed import is_parked, owed_mail
from renewals.domain.payment import Payment
from renewals.domain.renewal import UNSETTLED, Renewal, Status
from renewals.domain.renewal_history import History
from renewals.domain.request import RenewalRequest
from renewals.domain.subscription import Subscription, parse
from renewals.ledger.charging import Switch
from renewals.ledger.steps import Row
from renewals.ledger.table import RECENT, Ledger
from renewals.runtime.clock import Moment


@dataclass(frozen=True, slots=True)
class Around:
    """The ledger, gateway and settings that the rules use.

    Attributes:
        execution, seller, moment, dunning, switch: as for the charge.
    """

    ledger: Ledger
    payments: Payments
    switch: Switch
    execution: str
    seller: Mapping[str, str]
    moment: Moment
    dunning: Dunning

    @property
    def today(self) -> date:
        """The business's current day."""
        return self.moment.today

    @property
    def now(self) -> datetime:
        """The current moment, UTC."""
        return self.moment.now

    def look(self, renewal: Renewal) -> tuple[Row | None, bool]:
        """Return, by one call, the subscription's current row (None if deleted), and whether charging is off."""
        return self.ledger.row_beside(renewal, self.switch.changes, self.switch.keys(renewal.subscription_id))

    def is_off(self, renewal: Renewal) -> bool:
        """Whether charging is off for the renewal's subscription."""
        return self.switch.is_off(renewal.subscription_id)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A subscription and its periods at the moment of reading.

    Attributes:
        read: the subscription, or the fault of its row or of the request.
        history: the customer's latest periods, newest first, and the requested period.
        passed_over: the customer's claims that were later passed over for a different period. Claims older than the
            latest periods are left out.
        owed: the period about which the customer must be told first, if the mail can be sent; None if no mail is owed.
    """

    asked: RenewalRequest
    around: Around
    read: Subscription | BadRow
    history: History
    passed_over: History
    owed: Renewal | None
    _payments: dict[str, Payment] = field(default_factory=dict)

    @property
    def by_sweep(self) -> bool:
        """Whether the sweep made the request: only the sweep names a period."""
        return self.asked.renewal_date is not None

    @property
    def subscription(self) -> Subscription:
        """The subscription. Rules ask for the subscription only after an earlier rule has dealt with an unreadable
        row."""
        if isinstance(self.read, BadRow):
            raise self.read
        return self.read

    @property
    def unsettled(self) -> Renewal | None:
        """The claimed or refused period."""
        return self.history.unsettled

    @property
    def refused(self) -> Renewal | None:
        """The unsettled period, if its last attempt was refused."""
        unsettled = self.unsettled
        return unsettled if unsettled is not None and unsettled.status is not Status.CLAIMED else None

    @property
    def claimed(self) -> Renewal | None:
        """The period that was claimed for the subscription's date, or that has passed the date over."""
        return self.history.claimed_for(self.subscription.renewal_date)

    @property
    def undecided(self) -> History:
        """The failed periods whose payments the gateway may still have taken."""
        return self.history.undecided

    @property
    def has_new_card(self) -> bool:
        """Whether the payment method was updated since the last attempt at the refused period."""
        return self.refused is not None and self.subscription.payment_method != self.refused.payment_method

    def payment(self, renewal: Renewal) -> Payment:
        """Return the period's payment, read from the gateway once: all rules see the payment in one state.

        Raises:
            GatewayUnauthorized: the gateway does not know the payment.
        """
        known = str(renewal.payment_id)
        if known not in self._payments:
            self._payments[known] = self.around.payments.retrieve_known(renewal)
        return self._payments[known]


def take_snapshot(asked: RenewalRequest, around: Around) -> Snapshot:
    """Read the data for every decision."""
    ledger = around.ledger
    # The rows are read before the history: if a claim has moved the date of a row, the history holds the claim.
    rows = ledger.rows(asked.subscription_id)
    recent, passed_over = ledger.recent_claims(asked.subscription_id)
    if asked.renewal_date and len(recent) == RECENT and asked.renewal_date < recent[-1].renewal_date:
        recent += ledger.named(asked.subscription_id, asked.renewal_date)
    history, over = (History.of_customer(each, asked.customer_id) for each in (recent, passed_over))
    return Snapshot(asked, around, _subscription(asked, rows), history, over, _owed(asked, ledger, history))


def _subscription(asked: RenewalRequest, rows: Sequence[Row]) -> Subscription | BadRow:
    """Return the subscription after checking its row. rows: all rows under the subscription's id."""
    if not any(row["customer_id"] == asked.customer_id for row in rows):
        return BadRow("subscription_id", "no such subscription of this customer")
    if len(rows) > 1:
        return BadRow("customer_id", "the subscription has more than one customer")
    try:
        return parse(rows[0])
    except BadRow as bad:
        return bad


def _owed(asked: RenewalRequest, ledger: Ledger, history: History) -> Renewal | None:
    """Return the period about which the customer must still be told: the requested period if possible, else the oldest.

    The period is paid and lacks its receipt or a mail, or was given up or refunded without a mail. While a period is
    claimed or refused, only the requested period counts.
    """
    oldest_first = sorted(history, key=lambda r: (r.renewal_date != asked.renewal_date, r.renewal_date))
    if history.unsettled is not None:
        named = (r for r in history if r.renewal_date == asked.renewal_date)
        oldest_first = [r for r in named if r.status not in UNSETTLED]
    return next((r for r in oldest_first if _can_be_told(r, asked, ledger)), None)


def _can_be_told(renewal: Renewal, asked: RenewalRequest, ledger: Ledger) -> bool:
    """Whether the customer is owed a mail about the renewal, and the mail is not parked for the customer's current
    address.

    The subscription is read only for a parked mail.
    """
    name = owed_mail(renewal)
    if name is None or not is_parked(renewal):
        return name is not None
    rows = ledger.rows(asked.subscription_id)
    address = next((address_of(row) for row in rows if row["customer_id"] == asked.customer_id), None)
    return address is not None and not is_in_vain(renewal.mails.get(name), address)
