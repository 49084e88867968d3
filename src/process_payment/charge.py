"""The charge, step by step. Two rules carry it: the ledger is asked first, and money moves only by confirming the one
payment whose id the ledger already holds.

1. Ask the ledger. A result ends the attempt; a claim without a result is resolved before anything else.
2. Claim the period, if the subscription is due, live and costs what was asked.
3. Create the payment, unconfirmed, and write its id into the claim. No money has moved.
4. Confirm it. A payment succeeds only once, however often and by however many this is run.
5. Record the result; the subscription moves on in the same transaction.

What is to be done is decided by process_payment.rules, of what was read. Here it is done, and the money is moved. What
was read may not stand any more when something is written: then everything is read again, and decided again.

The last call before each confirmation is a look at the subscription. Where it has ended, was moved to another date or
to another customer, the claim is given up and its payment cancelled; the amount and the card are those of the claim.
What was confirmed before the end stands, and is receipted.

A refused period is dunned: asked about on each dunning date and with each new card, until it is paid or given up.

While charging is turned off nothing is claimed, dunned or confirmed: whatever it stands at, it is left there, and what
was confirmed before is still asked about and recorded; what has ended is given up all the same. The switch is asked
again with each look before a confirmation.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta

from process_payment import dunning_decisions
from process_payment.attempt_metrics import count_paid, count_refused
from process_payment.claims import stands_at
from process_payment.decisions import (
    AT_THE_BANK,
    WHILE_OFF,
    Answer,
    ClaimPeriod,
    Decision,
    Fail,
    GiveUp,
    LookAgain,
    Move,
    NextAttempt,
    Note,
    Outcome,
    PassDate,
    RecordPaid,
    TakeOver,
)
from process_payment.payments import (
    REFUSED,
    StillProcessing,
    another_account,
    can_be_confirmed,
    failure_id,
    reason_of,
)
from process_payment.rules import decide, told_elsewhere
from process_payment.snapshot import Around, take_snapshot
from renewals.domain import currencies, spans
from renewals.domain.errors import Outdated, Overtaken, PaymentError, repeat_while_outdated
from renewals.domain.item_values import Item
from renewals.domain.outcomes import PaymentOutcome
from renewals.domain.payment import Failure, Payment, PaymentState
from renewals.domain.reasons import Reason
from renewals.domain.renewal import Renewal, Status
from renewals.domain.request import RenewalRequest
from renewals.domain.subscription import has_ended
from renewals.gateway.port import GatewayRefused, GatewayUnauthorized, GatewayUnavailable
from renewals.ledger import dunning_steps, payment_steps
from renewals.ledger.payment_steps import why_withdrawn
from renewals.ledger.table import GuardRefused

_RACES = 4
_LOOKED_UP_WHEN_LATE_BY = timedelta(days=1)
_ASKED_AGAIN_WITHIN = timedelta(hours=2)
"""By the next hourly sweep, or the one after it."""


@dataclass(frozen=True, slots=True)
class Charge(Around):
    """One execution's run at one subscription.

    execution: who owns what is claimed here. seller: name, address, tax_id as the receipt prints them. moment: when the
    subscription is looked at. dunning: when what is refused is tried again. switch: whether charging is on.
    """

    def renew(self, asked: RenewalRequest) -> Outcome:
        """Bring the subscription's due period to a result. Raises PaymentError where it must be tried again."""
        busy = PaymentError("others keep working on this subscription")
        try:
            return repeat_while_outdated(
                lambda: self._done(decide(take_snapshot(asked, self))), tries=_RACES, otherwise=busy
            )
        except GatewayUnavailable as error:
            raise PaymentError(str(error)) from error
        except StillProcessing:
            return AT_THE_BANK

    def _done(self, decided: Decision) -> Outcome:
        """Do what was decided; what came of it. Raises Outdated where everything is to be looked at again: where
        another execution was faster, and where this one has moved the period or its row on."""
        match decided:
            case Answer(outcome):
                return outcome
            case Note(step, then):
                with suppress(Overtaken):  # somebody changed what was read: what they wrote stands
                    self.ledger.apply(step)
                return self._done(then())
            case Move(step, outcome):
                self.ledger.apply(step)
                return outcome
            case LookAgain(step, why, asked):
                with suppress(Overtaken):  # the row changed since it was read: it is read again in any case
                    self.ledger.apply(step)
                if asked is None:
                    raise Outdated(why)
                return self.renew(asked)
        return self._worked(decided)

    def _worked(self, decided: ClaimPeriod | TakeOver | RecordPaid | NextAttempt | PassDate | GiveUp | Fail) -> Outcome:
        """As _done, for what is done to a period."""
        match decided:
            case ClaimPeriod():
                return self._claim(decided)
            case TakeOver(renewal):
                return self._take_over(renewal)
            case RecordPaid(renewal, payment):
                return self._paid(renewal, payment)
            case NextAttempt():
                return self._try_again(decided)
            case PassDate():
                return self._pass_date(decided)
            case GiveUp():
                return self._give_up(decided)
            case Fail(renewal, reason):
                return self._fail(renewal, reason)

    def _claim(self, decided: ClaimPeriod) -> Outcome:
        """Step 2."""
        new, subscription = decided.claim, decided.subscription
        guards = self.switch.guards(subscription.subscription_id)
        step = payment_steps.claim(
            new.renewal,
            new.skipped,
            subscription,
            new.instead_of,
            claimed_before=new.claimed_before,
            guards=guards,
        )
        try:
            claimed = self.ledger.apply(step)
        except GuardRefused:
            return WHILE_OFF
        except Overtaken as overtaken:
            if not payment_steps.overlaps(step, overtaken):
                raise
            return told_elsewhere(spans.in_the_ledger(), by_sweep=decided.by_sweep)
        return self._collect(claimed, subscription.row)

    def _take_over(self, renewal: Renewal) -> Outcome:
        taken = self.ledger.apply(payment_steps.take(renewal, stands_at(renewal), self.execution, self.now))
        if taken.status is Status.CLAIMED:
            return self._collect(taken)
        return Outcome(PaymentOutcome(taken.status), "", taken)

    def _try_again(self, decided: NextAttempt) -> Outcome:
        """The next attempt at a payment that was not paid."""
        renewal = decided.renewal
        step = dunning_steps.next_attempt(
            renewal,
            decided.subscription,
            failure_id(decided.payment),
            dunned=decided.dunned,
            execution=self.execution,
            now=self.now,
            guards=self.switch.guards(renewal.subscription_id),
        )
        try:
            begun = self.ledger.apply(step)
        except GuardRefused:
            return Outcome(PaymentOutcome(renewal.status), Reason.CHARGING_IS_OFF, renewal)
        return self._settle(begun, decided.payment, looked=True)

    def _pass_date(self, decided: PassDate) -> Outcome:
        renewal = decided.renewal
        recorded = self.ledger.settle(
            renewal,
            lambda row: dunning_steps.dunning_date(
                renewal,
                row,
                dunned=decided.dunned,
                next_attempt=decided.next_date or self.today,
                notice=decided.notice,
                now=self.now,
                held=decided.held,
            ),
        )
        if decided.next_date is None:
            raise Outdated("the last dunning date was recorded: the period is to be given up")
        return replace(decided.outcome, renewal=recorded)

    def _give_up(self, decided: GiveUp) -> Outcome:
        """The period is over: its payment is cancelled first, so that nobody can complete it later.

        A payment that the gateway does not know (another account's key?) is given up only where nothing is billed
        instead.
        """
        renewal, row, reason, ends_as = decided.renewal, decided.row, decided.reason, decided.ends_as
        if renewal.status not in REFUSED.values():
            renewal = self.ledger.apply(payment_steps.withdraw(renewal, reason, self.execution, self.now))
        try:
            with self._not_at_fault(renewal):
                payment = self.payments.cancel(self._payment_to_end(renewal))
        except GatewayRefused as refused:
            if renewal.payment_id is not None and row is not None and not has_ended(row):
                raise another_account(refused) from refused
            reason = f"{reason}, {refused.code} at the gateway"
        else:
            if renewal.payment_id is None:
                renewal = self.ledger.apply(payment_steps.keep_payment_to_end(renewal, payment.id, self.now))
            if payment.state is PaymentState.PAID:
                return self._paid(renewal, payment)
        given_up = self.ledger.apply(dunning_steps.give_up(renewal, reason, row, ends_as=ends_as, now=self.now))
        if ends_as is None and row is not None:
            raise Outdated("the period was given up: its subscription may be due anew")
        name = PaymentOutcome.GIVEN_UP if ends_as else PaymentOutcome.NOTHING_TO_DO
        return Outcome(name, reason, given_up)

    def _payment_to_end(self, renewal: Renewal) -> Payment:
        """The period's payment; under its key, that of a creation whose answer may have been lost."""
        return self._payment(renewal) if renewal.payment_id is None else self.payments.retrieve(renewal)

    # The money

    def _collect(self, renewal: Renewal, row: Item | None = None) -> Outcome:
        """Steps 3 to 5 for a period that this execution owns. row: the subscription, where it was just read."""
        with self._not_at_fault(renewal):
            return self._collected(renewal, row)

    @contextmanager
    def _not_at_fault(self, renewal: Renewal) -> Iterator[None]:
        """Where the gateway turns our account away, or a bank takes its time, a claim waits: it could do nothing
        better."""
        try:
            yield
        except (GatewayUnauthorized, StillProcessing):
            if renewal.status is Status.CLAIMED:
                with suppress(Overtaken):  # another has taken the claim up: it waits there
                    self.ledger.apply(payment_steps.wait(renewal, self.now, until=self.now + _ASKED_AGAIN_WITHIN))
            raise

    def _collected(self, renewal: Renewal, row: Item | None) -> Outcome:
        if renewal.payment_id is not None:
            return self._settle(renewal, self.payments.retrieve_known(renewal))
        try:
            payment = self._payment(renewal)
        except GatewayRefused as refused:
            return self._fail(renewal, reason_of(refused), refused.request_id)
        guards = self.switch.guards(renewal.subscription_id)
        try:
            kept = self.ledger.apply(payment_steps.keep_payment_id(renewal, payment.id, self.now, guards=guards))
        except GuardRefused:
            return WHILE_OFF
        return self._settle(kept, payment, row, looked=True)

    def _fail(self, renewal: Renewal, reason: str, request_id: str | None = None) -> Outcome:
        failed = self.ledger.apply(payment_steps.failed(renewal, reason, self.now, gateway_request_id=request_id))
        return Outcome(PaymentOutcome.FAILED, reason, failed)

    def _payment(self, renewal: Renewal) -> Payment:
        """The period's payment: found at the gateway where history may be gone, else created, unconfirmed."""
        if self.today - renewal.row_date >= _LOOKED_UP_WHEN_LATE_BY or renewal.intent_tries:
            found = self.payments.find(renewal, self.moment.wall.date())
            if found is not None:
                return found
        try:
            return self.payments.create(renewal)
        except GatewayUnavailable as error:
            if error.answered:
                with suppress(Overtaken):  # another has counted this try, or has made the payment
                    self.ledger.apply(payment_steps.count_intent_try(renewal, self.now))
            raise

    def _settle(self, renewal: Renewal, payment: Payment, row: Item | None = None, *, looked: bool = False) -> Outcome:
        """Step 4, and what came of it. payment: as the gateway has it before. looked: the last call was the look at the
        switch and the subscription."""
        if can_be_confirmed(renewal, payment):
            confirmed = self._confirm(renewal, payment, looked=looked)
            if not isinstance(confirmed, Payment):
                return confirmed
            payment = confirmed
        match payment.state:
            case PaymentState.PAID:
                return self._paid(renewal, payment, row)
            case PaymentState.DECLINED | PaymentState.ACTION_REQUIRED:
                return self._refused(renewal, REFUSED[payment.state], payment)
            case PaymentState.CANCELED:
                return self._canceled(renewal, payment)
            case PaymentState.PROCESSING:
                waits = self.ledger.apply(payment_steps.wait(renewal, self.now, until=payment.settles_at))
                return Outcome(PaymentOutcome.IN_PROGRESS, Reason.PROCESSING, waits)
        raise PaymentError("the payment has a state that is not known here")

    def _confirm(self, renewal: Renewal, payment: Payment, *, looked: bool) -> Payment | Outcome:
        """The payment as it is after its confirmation; or why it was not confirmed."""
        asked = currencies.exact_minor_units(renewal.amount, renewal.currency), renewal.currency
        if (payment.amount, payment.currency) != asked:
            return self._fail(renewal, Reason.AMOUNT_DIFFERS)
        if not looked:
            row, off = self.look(renewal)
            over = why_withdrawn(renewal, row)
            if over:
                raise Outdated(f"the claim is to be given up: {over}")
            if off:
                return WHILE_OFF
        try:
            return self.payments.confirm(renewal, payment)
        except GatewayRefused as refused:
            return self._fail(renewal, reason_of(refused), refused.request_id)

    def _canceled(self, renewal: Renewal, payment: Payment) -> Outcome:
        """Somebody stopped the payment, which is theirs to say; or the gateway did by itself, after too many attempts:
        then the last of them is this one's refusal, and another payment follows on the next dunning date."""
        if not payment.lapsed:
            return self._fail(renewal, Reason.CANCELED_AT_THE_GATEWAY)
        if payment.failure is not None and payment.failure.id != renewal.failure_id:
            return self._refused(renewal, Status.DECLINED, payment)
        return self._collect(self.ledger.apply(payment_steps.forget_payment(renewal, self.now)))

    def _paid(self, renewal: Renewal, payment: Payment, row: Item | None = None) -> Outcome:
        amount = currencies.major_units(payment.amount, payment.currency)
        charged_at = payment.paid_at or self.moment.wall
        payment = replace(payment, paid_at=self.moment.paid_at(payment.paid_at))
        recorded = self.ledger.settle(
            renewal,
            lambda row: payment_steps.paid(
                renewal, payment, amount, row, charged_at=charged_at, execution=self.execution, now=self.now
            ),
            row,
        )
        count_paid(renewal, amount, payment.currency)
        return Outcome(PaymentOutcome.PAID, "", recorded)

    def _refused(self, renewal: Renewal, status: Status, payment: Payment) -> Outcome:
        failure = payment.failure or Failure(failure_id(payment), status.value, None, None)
        next_date = dunning_decisions.next_attempt(renewal, self.dunning, self.today)
        notice = dunning_decisions.notice_of(renewal, status, self.dunning) if next_date else None
        recorded = self.ledger.settle(
            renewal,
            lambda row: dunning_steps.refused(
                renewal, status, failure, row, next_attempt=next_date or self.today, notice=notice, now=self.now
            ),
        )
        count_refused(renewal, status, failure)
        if next_date is None:
            raise Outdated("the last dunning date was refused: the period is to be given up")
        return Outcome(PaymentOutcome(status), "", recorded)
