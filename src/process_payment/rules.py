"""What is to be done for a subscription: the rules, in the order in which they are asked. The first that applies
decides.

Nothing is written here. What every decision needs was read before; what few need is looked up by the rule that needs
it: a payment at the gateway, the subscription as it is at this moment, the switch, older periods.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta

from process_payment import dunning_decisions
from process_payment.claims import (
    begins_after_the_end,
    due_as_promised,
    due_claim,
    is_undecided,
    stands_at,
    was_stopped,
)
from process_payment.decisions import (
    WHILE_OFF,
    Answer,
    ClaimPeriod,
    Decision,
    Fail,
    GiveUp,
    LookAgain,
    Move,
    Note,
    Outcome,
    PassDate,
    RecordPaid,
    RenewalRequest,
    TakeOver,
    TryAgain,
)
from process_payment.payments import REFUSED, Payments
from renewals import currencies, pauses, payment_steps, row_steps, spans
from renewals.charging import Switch
from renewals.clock import Moment
from renewals.dunning import Dunning
from renewals.errors import BadRow
from renewals.gateway import GatewayRefused, Payment, PaymentState
from renewals.ledger import RECENT, Ledger
from renewals.mail_faults import address_of, is_in_vain
from renewals.outcomes import PaymentOutcome
from renewals.owed import has_parked, is_of_refund, is_parked, owed_mail
from renewals.payment_steps import MOST_PICK_UPS, why_withdrawn
from renewals.reasons import Reason
from renewals.renewal import UNSETTLED, MailKind, Renewal, Status
from renewals.steps import Row
from renewals.subscription import Subscription, has_ended, is_over, parse

_OPEN = frozenset({PaymentState.CANCELED, PaymentState.OPEN, *REFUSED})
"""A payment that its bank is not deciding about: it can be confirmed, or cancelled."""
_AT_THE_BANK = Outcome(PaymentOutcome.IN_PROGRESS, Reason.PROCESSING)


@dataclass(frozen=True, slots=True)
class Around:
    """What the rules look things up in, and what they go by. execution, seller, moment, dunning, switch: as for the
    charge."""

    ledger: Ledger
    payments: Payments
    switch: Switch
    execution: str
    seller: Mapping[str, str]
    moment: Moment
    dunning: Dunning

    @property
    def today(self) -> date:
        """The business's day."""
        return self.moment.today

    @property
    def now(self) -> datetime:
        """The moment, UTC."""
        return self.moment.now

    def look(self, renewal: Renewal) -> tuple[Row | None, bool]:
        """The subscription as it is now, None where it is gone, and whether charging is off, in one call."""
        return self.ledger.row_beside(renewal, self.switch.changes, self.switch.keys(renewal.subscription_id))

    def is_off(self, renewal: Renewal) -> bool:
        """Whether charging is off."""
        return self.switch.is_off(renewal.subscription_id)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A subscription and its periods, as they were read.

    read: the subscription; or what is wrong with its row, or with the request. history: the latest periods of this
    customer, newest first, and the one that is asked for. passed_over: the claims between them that were passed over.
    owed: the period whose mail goes first, where one can be sent.
    """

    asked: RenewalRequest
    around: Around
    read: Subscription | BadRow
    history: Sequence[Renewal]
    passed_over: Sequence[Renewal]
    owed: Renewal | None
    _payments: dict[str, Payment] = field(default_factory=dict)

    @property
    def by_sweep(self) -> bool:
        """Whether the sweep asks: it alone names a period."""
        return self.asked.renewal_date is not None

    @property
    def subscription(self) -> Subscription:
        """The subscription, once a rule has seen that it can be read."""
        if isinstance(self.read, BadRow):
            raise self.read
        return self.read

    @property
    def unsettled(self) -> Renewal | None:
        """The period that is neither paid nor given up."""
        return next((r for r in self.history if r.status in UNSETTLED), None)

    @property
    def refused(self) -> Renewal | None:
        """The unsettled period, where its last attempt was refused."""
        unsettled = self.unsettled
        return unsettled if unsettled is not None and unsettled.status is not Status.CLAIMED else None

    @property
    def claimed(self) -> Renewal | None:
        """The period that was claimed for the subscription's date, or over it."""
        on = self.subscription.renewal_date
        return next((r for r in self.history if r.row_date <= on <= r.renewal_date), None)

    @property
    def undecided(self) -> list[Renewal]:
        """The failed periods whose payments the gateway may still have taken."""
        return [r for r in self.history if is_undecided(r)]

    @property
    def has_new_card(self) -> bool:
        """Whether the payment method was updated since the last attempt at the refused period."""
        return self.refused is not None and self.subscription.payment_method != self.refused.payment_method

    def payment(self, renewal: Renewal) -> Payment:
        """The period's payment, as the gateway has it. The gateway is asked once. Raises GatewayUnauthorized where the
        gateway does not know the payment."""
        known = str(renewal.payment_id)
        if known not in self._payments:
            self._payments[known] = self.around.payments.retrieve_known(renewal)
        return self._payments[known]


type Rule = Callable[[Snapshot], Decision | None]


def look(asked: RenewalRequest, around: Around) -> Snapshot:
    """Read what every decision needs."""
    ledger = around.ledger
    # The rows first: what was claimed for another date of the row than this one is in the history then.
    rows = ledger.rows(asked.subscription_id)
    recent, passed_over = ledger.recent_claims(asked.subscription_id)
    if asked.renewal_date and len(recent) == RECENT and asked.renewal_date < recent[-1].renewal_date:
        recent += ledger.named(asked.subscription_id, asked.renewal_date)
    history, over = ([r for r in each if r.customer_id == asked.customer_id] for each in (recent, passed_over))
    return Snapshot(asked, around, _subscription(asked, rows), history, over, _owed(asked, ledger, history))


def decide(seen: Snapshot) -> Decision:
    """The decision of the first rule that applies."""
    return _first(RULES, seen)


# A period that is not settled: claimed, or refused


def _mail_that_waited(seen: Snapshot) -> Decision | None:
    """The very period that is asked for, whose mail waited for another address, is mailed, though another period stands
    refused."""
    if seen.unsettled is None or seen.owed is None:
        return None
    return _finish(seen, Outcome(PaymentOutcome.NOTHING_TO_DO))


def _interrupted_claim(seen: Snapshot) -> Decision | None:
    """A claim without a result is resolved before anything else."""
    unsettled = seen.unsettled
    return _take_on(seen, unsettled) if unsettled is not None and unsettled.status is Status.CLAIMED else None


def _refused_without_a_subscription(seen: Snapshot) -> Decision | None:
    """A refused period whose row cannot be read waits, unless its subscription is gone or has ended."""
    if seen.refused is None or not isinstance(seen.read, BadRow):
        return None
    row = seen.around.ledger.row(seen.refused)
    if row is None:
        return GiveUp(seen.refused, None, Reason.DELETED)
    if has_ended(row):  # whatever else it lacks
        return GiveUp(seen.refused, row, str(row["status"]))
    return Answer(Outcome(PaymentOutcome.REJECTED, str(seen.read), seen.refused))


def _refused_and_over(seen: Snapshot) -> Decision | None:
    """A refused period by which its subscription does not stand any more is given up."""
    over = why_withdrawn(seen.refused, seen.subscription.row) if seen.refused is not None else None
    return GiveUp(seen.refused, seen.subscription.row, over) if seen.refused is not None and over else None


def _refused(seen: Snapshot) -> Decision | None:
    """Any other refused period is dunned."""
    return _first(DUNNING, seen) if seen.refused is not None else None


# Nothing is unsettled


def _bad_row(seen: Snapshot) -> Decision | None:
    """A row that cannot be read, or a request that does not fit it, is rejected."""
    bad = seen.read
    return _finish(seen, Outcome(PaymentOutcome.REJECTED, str(bad))) if isinstance(bad, BadRow) else None


def _end(seen: Snapshot) -> Decision | None:
    """The subscription has come to its end. Where a bank may still take a failed payment, the end waits for the bank:
    once paid, the period stands, and the end comes with it."""
    if not is_over(seen.subscription.row, seen.around.today):
        return None
    ended, waits = Outcome(PaymentOutcome.NOTHING_TO_DO, Reason.ENDS_BEFORE), bool(seen.undecided)
    decided = _finish(seen, ended, at_the_bank=_AT_THE_BANK)
    return decided if waits and decided != Answer(ended) else Note(row_steps.end(seen.subscription.row), decided)


def _resumed_by_hand(seen: Snapshot) -> Decision | None:
    """What was made active again after its pause is billed from that day on."""
    if not pauses.was_resumed_by_hand(seen.subscription):
        return None
    until = pauses.resumption(seen.subscription, seen.around.today, seen.history).until
    step = row_steps.resume(seen.subscription, until, seen.around.now)
    asked = replace(seen.asked, renewal_date=until) if seen.by_sweep else None
    return LookAgain(step, "the subscription was moved past its pause", asked)


def _paused(seen: Snapshot) -> Decision | None:
    """Paused time is never billed: the subscription moves past today, and its periods are left as skipped."""
    due_on, today, claimed = seen.subscription.renewal_date, seen.around.today, seen.claimed
    paused = seen.subscription.why_not_due(today) is Reason.PAUSED
    if not paused or not seen.asked.renewal_date == due_on <= today or seen.owed is not None:
        return None
    if claimed is not None and claimed.paid_at is not None:
        return _past_what_is_paid(seen, claimed)
    if claimed is not None and is_undecided(claimed):
        return GiveUp(claimed, seen.subscription.row, Reason.PAUSED)
    due = tuple(seen.subscription.schedule.due(due_on, today))
    held = {r.renewal_date for r in seen.history}
    skipped = tuple(d for d in due if d not in held and (claimed is None or d > claimed.renewal_date))
    until = seen.subscription.schedule.after(due[-1])
    step = row_steps.pass_over(seen.subscription, skipped, until, seen.around.now)
    return Move(step, Outcome(PaymentOutcome.NOTHING_TO_DO, Reason.PAUSED))


def _not_due(seen: Snapshot) -> Decision | None:
    """What is not due is not billed; nothing that has ended stands refused."""
    reason = seen.subscription.why_not_due(seen.around.today)
    if reason is None:
        another = seen.asked.renewal_date not in (None, seen.subscription.renewal_date)
        return _finish(seen, Outcome(PaymentOutcome.NOTHING_TO_DO, Reason.ANOTHER_PERIOD)) if another else None
    renewed = any(r.period_end == seen.subscription.renewal_date for r in seen.history)
    why = Reason.RENEWED_ALREADY if reason is Reason.NOT_DUE and renewed else reason
    decided = _finish(seen, Outcome(PaymentOutcome.NOTHING_TO_DO, why))
    if seen.subscription.status.has_ended and not seen.undecided:  # the period was settled otherwise
        return Note(row_steps.forget_refusal(seen.subscription.row), decided)
    return decided


# The subscription is due


def _paid_already(seen: Snapshot) -> Decision | None:
    """Somebody put the row back; the period is paid."""
    claimed = seen.claimed
    return _past_what_is_paid(seen, claimed) if claimed is not None and claimed.paid_at is not None else None


def _failed(seen: Snapshot) -> Decision | None:
    """A failed period whose payment can still be paid goes on."""
    failed = seen.claimed
    if failed is None or not is_undecided(failed) or begins_after_the_end(failed, seen.subscription):
        return None
    return _take_up_failed(seen, failed)


def _ends_before(seen: Snapshot) -> Decision | None:
    """A claimed period that begins after the end of the subscription is not billed."""
    claimed = seen.claimed
    if claimed is None or not begins_after_the_end(claimed, seen.subscription):
        return None
    decided = _finish(seen, Outcome(PaymentOutcome.NOTHING_TO_DO, Reason.ENDS_BEFORE))
    return decided if is_undecided(claimed) else Note(row_steps.move_on(claimed, seen.subscription.row), decided)


def _stopped(seen: Snapshot) -> Decision | None:
    """A payment that somebody canceled at the gateway stays canceled, until another card is given."""
    claimed = seen.claimed
    if claimed is None or not was_stopped(claimed) or claimed.payment_method != seen.subscription.payment_method:
        return None
    name = PaymentOutcome.NOTHING_TO_DO if seen.by_sweep else PaymentOutcome.FAILED
    return _finish(seen, Outcome(name, Reason.CANCELED_AT_THE_GATEWAY, claimed))


def _overlap(seen: Snapshot) -> Decision | None:
    """No day is billed twice."""
    _, billing = due_as_promised(seen.subscription, seen.claimed, seen.around.today)
    reaches = spans.may_overlap(seen.subscription, unless_told=False)
    known = seen.around.ledger.reaching(billing.start, billing.end, list(seen.history), all_of_it=reaches)
    try:
        spans.check(billing.start, billing.end, known)
    except BadRow as bad:
        return _finish(seen, told_elsewhere(bad, by_sweep=seen.by_sweep))
    return None


def _another_amount(seen: Snapshot) -> Decision | None:
    """The subscription costs something else than was asked."""
    if seen.asked.amount == seen.subscription.amount:
        return None
    if seen.by_sweep:  # changed while the message waited: the next message has the new one
        return _finish(seen, Outcome(PaymentOutcome.NOTHING_TO_DO, Reason.AMOUNT_CHANGED))
    return _finish(seen, Outcome(PaymentOutcome.REJECTED, "amount: is not what the subscription costs"))


def _one_at_a_time(seen: Snapshot) -> Decision | None:
    """Of several periods that are owed, each is billed by the sweep, whose message names the one that it means: a
    webhook that comes again would bill the next."""
    each = seen.subscription.catch_up == "each" and not seen.by_sweep
    if not each or seen.subscription.schedule.after(seen.subscription.renewal_date) > seen.around.today:
        return None
    return _finish(seen, Outcome(PaymentOutcome.NOTHING_TO_DO, Reason.CAUGHT_UP_BY_THE_SWEEP))


def _moved_from_a_payment(seen: Snapshot) -> Decision | None:
    """Before another period is claimed, a failed one whose payment can be paid is given up."""
    undecided = next((r for r in seen.undecided if seen.around.payments.is_known(r)), None)
    if undecided is None:
        return None
    off = seen.around.is_off(undecided)
    return Answer(WHILE_OFF) if off else GiveUp(undecided, seen.subscription.row, Reason.MOVED)


def _due(seen: Snapshot) -> Decision:
    """The period that is due is claimed."""
    around = seen.around
    claim = due_claim(
        seen.subscription,
        seen.claimed,
        list(seen.history),
        list(seen.passed_over),
        execution=around.execution,
        seller=around.seller,
        moment=around.moment,
    )
    return ClaimPeriod(claim, seen.subscription, seen.by_sweep)


RULES: tuple[Rule, ...] = (
    # A period is not settled: it was claimed, or it was refused.
    _mail_that_waited,
    _interrupted_claim,
    _refused_without_a_subscription,
    _refused_and_over,
    _refused,
    # Nothing is unsettled.
    _bad_row,
    _end,
    _resumed_by_hand,
    _paused,
    _not_due,
    # The subscription is due.
    _paid_already,
    _failed,
    _ends_before,
    _stopped,
    _overlap,
    _another_amount,
    _one_at_a_time,
    _moved_from_a_payment,
    _due,
)


# Dunning: a refused period, of a subscription that stands by it


def _nothing_new(seen: Snapshot) -> Decision | None:
    """A declined card is not tried before its date, unless the payment method was updated."""
    declined = _of(seen).status is Status.DECLINED
    return _stays_refused(seen) if declined and not _is_tried_again(seen) else None


def _paid_elsewhere(seen: Snapshot) -> Decision | None:
    """The customer has paid meanwhile, or is at the bank."""
    payment = seen.payment(_of(seen))
    if payment.state is PaymentState.PAID:
        return RecordPaid(_of(seen), payment)
    return Answer(_AT_THE_BANK) if payment.state is PaymentState.PROCESSING else None


def _not_confirmed_yet(seen: Snapshot) -> Decision | None:
    """A payment that waits for the customer waits until its date."""
    return None if _is_tried_again(seen) else _stays_refused(seen)


def _dunning_while_off(seen: Snapshot) -> Decision | None:
    """While charging is off, no date of the dunning passes."""
    if not seen.around.is_off(_of(seen)):
        return None
    return Answer(Outcome(PaymentOutcome(_of(seen).status), Reason.CHARGING_IS_OFF, _of(seen)))


def _held(seen: Snapshot) -> Decision | None:
    """The last step waits until the customer was told of it. Where their address can be mailed to, they are told now,
    and have as long as anybody; where it cannot, it is looked at again tomorrow."""
    renewal, around = _of(seen), seen.around
    if seen.has_new_card or not dunning_decisions.waits(renewal, around.dunning):
        return None
    behind = len(around.dunning.days) - 1
    if dunning_decisions.is_told_in_vain(renewal, seen.subscription):
        not_told, tomorrow = Outcome(PaymentOutcome.NOTHING_TO_DO, Reason.CUSTOMER_NOT_TOLD), timedelta(days=1)
        return PassDate(renewal, behind, around.today + tomorrow, None, not_told, held=True)
    told, then = Outcome(PaymentOutcome(renewal.status)), around.today + around.dunning.last_step
    return PassDate(renewal, behind, then, MailKind.FINAL_NOTICE, told, held=True)


def _over(seen: Snapshot) -> Decision | None:
    """After its last date the period is given up."""
    if seen.has_new_card or not _is_behind_all(seen):
        return None
    ends_as = seen.around.dunning.ends_as
    return GiveUp(_of(seen), seen.subscription.row, Reason.DUNNING_OVER, ends_as)


def _canceled_at_the_gateway(seen: Snapshot) -> Decision | None:
    """Somebody canceled the payment, which is theirs to say. One that the gateway canceled by itself is followed by
    another."""
    payment = seen.payment(_of(seen))
    if payment.state is not PaymentState.CANCELED or payment.lapsed:
        return None
    return GiveUp(_of(seen), seen.subscription.row, Reason.CANCELED_AT_THE_GATEWAY)


def _pointless(seen: Snapshot) -> Decision | None:
    """Nothing can be tried with this card; the customer is told before it is too late."""
    renewal, around = _of(seen), seen.around
    if seen.has_new_card or not dunning_decisions.is_pointless(renewal, seen.payment(renewal)):
        return None
    behind = _behind(seen)
    next_date = around.dunning.next_date(renewal.first_tried_on, behind, around.today)
    notice = MailKind.FINAL_NOTICE if around.dunning.is_last(behind) else None
    return PassDate(renewal, behind, next_date, notice, Outcome(PaymentOutcome(renewal.status)))


def _tried_again(seen: Snapshot) -> Decision:
    """The payment is tried again."""
    return TryAgain(_of(seen), seen.subscription, seen.payment(_of(seen)), _behind(seen))


DUNNING: tuple[Rule, ...] = (
    _nothing_new,
    _paid_elsewhere,
    _not_confirmed_yet,
    _dunning_while_off,
    _held,
    _over,
    _canceled_at_the_gateway,
    _pointless,
    _tried_again,
)


def _of(seen: Snapshot) -> Renewal:
    """The refused period."""
    if seen.refused is None:
        raise ValueError("no period stands refused")
    return seen.refused


def _is_tried_again(seen: Snapshot) -> bool:
    return seen.has_new_card or dunning_decisions.is_dunning_date(_of(seen), seen.around.dunning, seen.around.today)


def _is_behind_all(seen: Snapshot) -> bool:
    return _of(seen).dunned >= len(seen.around.dunning.days)


def _behind(seen: Snapshot) -> int:
    """The dunning dates that are behind the period, with today's."""
    today = dunning_decisions.is_dunning_date(_of(seen), seen.around.dunning, seen.around.today)
    return _of(seen).dunned + (1 if today and not _is_behind_all(seen) else 0)


def _stays_refused(seen: Snapshot) -> Decision:
    """Nothing is to be tried now. What the customer is owed of it is mailed, unless their address has refused it."""
    renewal = _of(seen)
    if is_in_vain(renewal.mails.get(str(renewal.notice)), address_of(seen.subscription.row)):
        return Answer(Outcome(PaymentOutcome.NOTHING_TO_DO, Reason.ADDRESS_AT_FAULT, renewal))
    return Answer(Outcome(PaymentOutcome(renewal.status), "", renewal))


# What several rules say


def _first(rules: Sequence[Rule], seen: Snapshot) -> Decision:
    for rule in rules:
        decided = rule(seen)
        if decided is not None:
            return decided
    raise ValueError("no rule applies")


def _subscription(asked: RenewalRequest, rows: Sequence[Row]) -> Subscription | BadRow:
    """The subscription, checked. rows: all under its id."""
    if not any(row["customer_id"] == asked.customer_id for row in rows):
        return BadRow("subscription_id", "no such subscription of this customer")
    if len(rows) > 1:
        return BadRow("customer_id", "the subscription has more than one customer")
    try:
        return parse(rows[0])
    except BadRow as bad:
        return bad


def _owed(asked: RenewalRequest, ledger: Ledger, history: Sequence[Renewal]) -> Renewal | None:
    """What is paid and lacks its receipt or a mail, or was given up or refunded without a word: the period that is
    asked for, or else the oldest. While a period is unsettled, only the one that is asked for, whose mail waited."""
    oldest_first = sorted(history, key=lambda r: (r.renewal_date != asked.renewal_date, r.renewal_date))
    if any(r.status in UNSETTLED for r in history):
        named = (r for r in history if r.renewal_date == asked.renewal_date and r.status not in UNSETTLED)
        oldest_first = [r for r in named if has_parked(r)]
    return next((r for r in oldest_first if _can_be_told(r, asked, ledger)), None)


def _can_be_told(renewal: Renewal, asked: RenewalRequest, ledger: Ledger) -> bool:
    """Whether the customer is owed a mail about the renewal, and the mail is not parked for the address that they
    have. The subscription is read only for a parked mail."""
    name = owed_mail(renewal)
    if name is None or not is_parked(renewal):
        return name is not None
    rows = ledger.rows(asked.subscription_id)
    address = next((address_of(row) for row in rows if row["customer_id"] == asked.customer_id), None)
    return address is not None and not is_in_vain(renewal.mails.get(name), address)


def _past_what_is_paid(seen: Snapshot, paid: Renewal) -> Decision:
    step = row_steps.move_on(paid, seen.subscription.row)
    return LookAgain(step, "the subscription was moved past a paid period")


def _finish(seen: Snapshot, otherwise: Outcome, *, at_the_bank: Outcome | None = None) -> Decision:
    """With nothing to claim: what is owed to the customer, or a failed payment that went through after all.
    at_the_bank: the outcome where one may still do so; None: there is none of its own."""
    owed = seen.owed
    if owed is None:
        return _failed_payments(seen, seen.undecided, otherwise, at_the_bank)
    if owed.status is Status.GIVEN_UP:
        return Answer(Outcome(PaymentOutcome.GIVEN_UP, "", owed))
    if is_of_refund(owed):
        return Answer(Outcome(PaymentOutcome.REFUNDED, "", owed))
    return _take_on(seen, owed)


def _failed_payments(
    seen: Snapshot, undecided: Sequence[Renewal], otherwise: Outcome, at_the_bank: Outcome | None
) -> Decision:
    """What became of the payments of failed periods. Those that have no end yet are asked about again tomorrow."""
    if not undecided:
        return Answer(otherwise)
    (failed, *others), around = undecided, seen.around
    if failed.owned_by_another(around.execution, around.now):
        return _failed_payments(seen, others, at_the_bank or otherwise, at_the_bank)
    row = around.ledger.row(failed)
    over = failed.withdrawn or why_withdrawn(failed, row)
    try:
        payment = around.payments.retrieve(failed)
    except GatewayRefused:  # another account's key? Nothing here depends on it
        if over and (row is None or has_ended(row)):
            return GiveUp(failed, row, over)
        return _failed_payments(seen, others, otherwise, at_the_bank)
    if payment.state is PaymentState.PAID:
        return RecordPaid(failed, payment)
    if over and payment.state in _OPEN:  # so that nobody can complete it later
        return GiveUp(failed, row, over)
    # Where somebody is at work on it, they ask about its payment themselves.
    tomorrow = payment_steps.ask_daily(failed, around.now)
    return Note(tomorrow, _failed_payments(seen, others, at_the_bank or otherwise, at_the_bank))


def _take_on(seen: Snapshot, renewal: Renewal) -> Decision:
    """An interrupted, parked or failed renewal goes on where it stood, unless somebody is at work on it."""
    around = seen.around
    if renewal.owned_by_another(around.execution, around.now):
        return Answer(Outcome(PaymentOutcome.IN_PROGRESS, "", renewal))
    stands = stands_at(renewal)
    if stands is Status.CLAIMED:
        row, off = around.look(renewal)
        over = renewal.withdrawn or why_withdrawn(renewal, row)
        if over:
            return GiveUp(renewal, row, over)
        if off:
            return _only_ask(seen, renewal)
    interrupted = stands is renewal.status
    if interrupted and renewal.owner != around.execution and renewal.pickups >= MOST_PICK_UPS:
        return Fail(renewal, Reason.PICKED_UP_TOO_OFTEN)
    return TakeOver(renewal)


def _only_ask(seen: Snapshot, renewal: Renewal) -> Decision:
    """While charging is off: record a payment that went through before, and leave any other as it stands."""
    if renewal.payment_id is not None:
        payment = seen.payment(renewal)
        if payment.state is PaymentState.PAID:
            return RecordPaid(renewal, payment)
    return Answer(WHILE_OFF)


def _take_up_failed(seen: Snapshot, failed: Renewal) -> Decision:
    """A failed period whose payment can still be paid, of a subscription that is due. It goes on where it stood;
    another card is another attempt at the payment, and a mended customer or date another payment."""
    subscription, around = seen.subscription, seen.around
    if failed.owned_by_another(around.execution, around.now):
        return Answer(Outcome(PaymentOutcome.IN_PROGRESS, "", failed))
    over = failed.withdrawn or why_withdrawn(failed, subscription.row)
    if over is None and subscription.payment_method == failed.payment_method:
        return _take_on(seen, failed)
    payment = seen.payment(failed)
    if payment.state is PaymentState.PAID:
        return RecordPaid(failed, payment)
    if payment.state not in _OPEN:
        return _take_on(seen, failed)
    if around.is_off(failed):
        return Answer(WHILE_OFF)
    asked = currencies.exact_minor_units(failed.amount, failed.currency), failed.currency
    if over is None and (payment.state is PaymentState.CANCELED or (payment.amount, payment.currency) != asked):
        over = Reason.ANOTHER_CARD
    if over is not None:
        return GiveUp(failed, subscription.row, over)
    return TryAgain(failed, subscription, payment, failed.dunned)


def told_elsewhere(bad: BadRow, *, by_sweep: bool) -> Outcome:
    """What becomes of a subscription whose date does not fit the ledger. The sweep's message would fail each time, and
    become a dead letter: the audit names the subscription instead, and its `fault` says why."""
    return Outcome(PaymentOutcome.NOTHING_TO_DO if by_sweep else PaymentOutcome.REJECTED, str(bad))
