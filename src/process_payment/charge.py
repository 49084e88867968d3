"""Charge a subscription step by step.

Two rules protect the customer's money. First, the charge reads the ledger before every decision. Second, money moves
only when a payment is confirmed, and the charge confirms only the payment whose id is in the period's claim.

1. Read the ledger. A paid period is not charged again; a claim without a result is resolved before any other charge.
2. Claim the period if the subscription is live and due, and the request names the subscription's amount.
3. Create the payment unconfirmed, and write its id into the claim. No money has moved.
4. Confirm the payment. A payment succeeds only once, however many executions confirm it.
5. Record the result, and move the subscription to its next date in the same transaction.

process_payment.rules decides from a snapshot, and this module carries the decision out and moves the money. When
another execution changed the data between the snapshot and a write, the charge reads everything again and decides
again.

The last call to AWS before each confirmation checks that the subscription may still be charged. If the subscription has
ended, was moved to another date or belongs to another customer, the charge gives the claim up and cancels its payment.
A paused or unpaid subscription counts as ended, just as a canceled subscription does. The amount and the card come from
the claim. A payment that was confirmed before the subscription ended stands, and gets its receipt.

A refused period is in dunning: it is retried on each dunning date and after each update of the payment method, until
the period is paid or given up.

While charging is off, nothing is claimed, dunned or confirmed. Only two kinds of work go on. First, payments that were
confirmed earlier are looked up and recorded. Second, claimed and refused periods are given up if their subscription has
ended, was moved to another date or belongs to another customer. The last call to AWS before each confirmation checks
the switch, too.
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
from renewals.ledger import claim_steps, dunning_steps, payment_steps
from renewals.ledger.payment_steps import why_withdrawn
from renewals.ledger.table import GuardRefused

_RACES = 4
_LOOKED_UP_WHEN_LATE_BY = timedelta(days=1)
_ASKED_AGAIN_WITHIN = timedelta(hours=2)
"""If a claim waits for the gateway or for a bank, the alarm oldest-unfinished counts the claim's age only from the end
of this time, so that two hourly sweeps can continue the claim before the alarm."""


@dataclass(frozen=True, slots=True)
class Charge(Around):
    """The charge of one subscription by one execution of the workflow.

    Attributes:
        execution: the owner of every claim made here.
        seller: name, address and tax_id for the receipt.
        moment: the moment that counts as now for the subscription.
        dunning: the dates of the retries.
        switch: whether charging is on.
    """

    def renew(self, asked: RenewalRequest) -> Outcome:
        """Bring the subscription's due period to a result. Raises PaymentError if the workflow must try again."""
        busy = PaymentError("other executions keep changing this subscription")
        try:
            return repeat_while_outdated(
                lambda: self._done(decide(take_snapshot(asked, self))), tries=_RACES, otherwise=busy
            )
        except GatewayUnavailable as error:
            raise PaymentError(str(error)) from error
        except StillProcessing:
            return AT_THE_BANK

    def _done(self, decided: Decision) -> Outcome:
        """Carry the decision out, and return the outcome.

        Raises Outdated if everything must be read again and decided anew, because another execution was faster, or
        because this execution has changed the ledger or the row in a way that calls for a further decision.
        """
        match decided:
            case Answer(outcome):
                return outcome
            case Note(step, then):
                # If the step is refused, somebody changed the data since the snapshot: the newer data stands.
                with suppress(Overtaken):
                    self.ledger.apply(step)
                return self._done(then())
            case Move(step, outcome):
                self.ledger.apply(step)
                return outcome
            case LookAgain(step, why, asked):
                # If the step is refused, the row has changed since the snapshot. The row is read again in any case.
                with suppress(Overtaken):
                    self.ledger.apply(step)
                if asked is None:
                    raise Outdated(why)
                return self.renew(asked)
        return self._worked(decided)

    def _worked(self, decided: ClaimPeriod | TakeOver | RecordPaid | NextAttempt | PassDate | GiveUp | Fail) -> Outcome:
        """Carry out a decision about a period, and return the outcome. Raises Outdated, as _done."""
        match decided:
            case ClaimPeriod():
                return self._claim(decided)
            case TakeOver():
                return self._take_over(decided)
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
        """Take step 2: claim the period."""
        new, subscription = decided.claim, decided.subscription
        guards = self.switch.guards(subscription.subscription_id)
        step = claim_steps.claim(
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
            if not claim_steps.overlaps(step, overtaken):
                raise
            return told_elsewhere(spans.in_the_ledger(), by_sweep=decided.by_sweep)
        return self._collect(claimed, subscription.row)

    def _take_over(self, decided: TakeOver) -> Outcome:
        old, counts = decided.renewal, not decided.by_event
        taken = self.ledger.apply(payment_steps.take(old, stands_at(old), self.execution, self.now, counts=counts))
        if taken.status is Status.CLAIMED:
            return self._collect(taken)
        return Outcome(PaymentOutcome(taken.status), "", taken)

    def _try_again(self, decided: NextAttempt) -> Outcome:
        """Begin the next attempt at an unpaid payment."""
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
        """Cancel the payment and give the period up, in this order, so that nobody can complete the payment later.

        If the gateway does not know a payment from the ledger, our API key may belong to a different account than the
        payment. Our key then cannot cancel the payment, and the payment may still succeed. The period is therefore
        given up only if the subscription has ended or is deleted. If the period of any other subscription were given
        up, a further claim could bill the same days a second time.
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
        """Return the period's payment, in order to cancel the payment.

        If the ledger holds no id, a payment may exist all the same: an earlier call may have created a payment, and the
        gateway's answer was lost. _payment then repeats the call. For the same idempotency key, the gateway returns the
        existing payment. If no payment exists, the call creates a payment, only to be canceled.
        """
        return self._payment(renewal) if renewal.payment_id is None else self.payments.retrieve(renewal)

    # The money

    def _collect(self, renewal: Renewal, row: Item | None = None) -> Outcome:
        """Take steps 3 to 5 for a period that this execution owns.

        row: the subscription's row, if the caller has just read the row.
        """
        with self._not_at_fault(renewal):
            return self._collected(renewal, row)

    @contextmanager
    def _not_at_fault(self, renewal: Renewal) -> Iterator[None]:
        """Let the claim wait if the gateway refuses our API key, or if a bank has not decided yet. The wait is not the
        claim's fault, and counts as no pick-up: payment_steps.wait sets the count of pick-ups back to zero."""
        try:
            yield
        except (GatewayUnauthorized, StillProcessing):
            if renewal.status is Status.CLAIMED:
                # If the step is refused, another execution has taken the claim over, and continues the claim.
                with suppress(Overtaken):
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
        """Return the period's payment, unconfirmed if the payment is new.

        The idempotency key prevents a second payment, but the gateway forgets a key after a day, and a creation that
        failed is repeated with a new key. If the renewal is late by a day, or an earlier creation failed, the gateway
        is therefore searched first for a payment whose id the ledger does not hold. If the search finds nothing, the
        payment is created.
        """
        if self.today - renewal.row_date >= _LOOKED_UP_WHEN_LATE_BY or renewal.intent_tries:
            found = self.payments.find(renewal, self.moment.wall.date())
            if found is not None:
                return found
        try:
            return self.payments.create(renewal)
        except GatewayUnavailable as error:
            if error.answered:
                # If the step is refused, another execution has counted this try, or has created the payment.
                with suppress(Overtaken):
                    self.ledger.apply(payment_steps.count_intent_try(renewal, self.now))
            raise

    def _settle(self, renewal: Renewal, payment: Payment, row: Item | None = None, *, looked: bool = False) -> Outcome:
        """Take step 4, and record the result.

        payment: the payment before its confirmation. looked: whether the ledger's last step has checked the switch and
        the subscription.
        """
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
        raise PaymentError("the payment has an unknown state")

    def _confirm(self, renewal: Renewal, payment: Payment, *, looked: bool) -> Payment | Outcome:
        """Return the payment after its confirmation, or the outcome if the payment was not confirmed."""
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
        """Record a payment that was canceled at the gateway.

        A payment that a person canceled stays canceled, and the period fails. A payment that the gateway itself
        canceled, after too many attempts, is replaced by a new payment. If the canceled payment shows a failure that
        the ledger does not hold yet, the bank refused the latest attempt: the refusal is recorded, and the new payment
        is created on the next dunning date. Without a new failure, the new payment is created at once.
        """
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
