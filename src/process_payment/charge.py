"""The charge, step by step. Two rules carry it: the ledger is asked first, and money moves only by confirming the one
payment whose id the ledger already holds.

1. Ask the ledger. A result ends the attempt; a claim without a result is resolved before anything else.
2. Claim the period, if the subscription is due, live and costs what was asked.
3. Create the payment, unconfirmed, and write its id into the claim. No money has moved.
4. Confirm it. A payment succeeds only once, however often and by however many this is run.
5. Record the result; the subscription moves on in the same transaction.

The last call before each confirmation is a look at the subscription. Where it has ended, was moved to another date or
to another customer, the claim is given up and its payment cancelled; the amount and the card are those of the claim.
What was confirmed before the end stands, and is receipted.

A refused period is dunned: asked about on each dunning date and with each new card, until it is paid or given up.

While charging is turned off nothing is claimed, dunned or confirmed: whatever it stands at, it is left there, and what
was confirmed before is still asked about and recorded; what has ended is given up all the same. The switch is asked
again with each look before a confirmation.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from process_payment import dunning_decisions
from process_payment.attempt_metrics import count_paid, count_refused
from process_payment.claims import (
    Claim,
    begins_after_the_end,
    due_as_promised,
    due_claim,
    is_undecided,
    stands_at,
    was_stopped,
)
from process_payment.payments import (
    REFUSED,
    Payments,
    StillProcessing,
    another_account,
    can_be_confirmed,
    failure_id,
    reason_of,
)
from renewals import currencies, dunning_steps, pauses, payment_steps, row_steps, spans
from renewals.charging import Switch
from renewals.clock import Moment
from renewals.dunning import Dunning
from renewals.errors import BadRow, Outdated, Overtaken, PaymentError, repeat_while_outdated
from renewals.gateway import Failure, GatewayRefused, GatewayUnauthorized, GatewayUnavailable, Payment, PaymentState
from renewals.ledger import RECENT, GuardRefused, Ledger
from renewals.mail_faults import address_of, is_in_vain
from renewals.outcomes import PaymentOutcome
from renewals.owed import has_parked, is_of_refund, is_parked, owed_mail
from renewals.payment_steps import MOST_PICK_UPS, why_withdrawn
from renewals.reasons import Reason
from renewals.renewal import UNSETTLED, MailKind, Renewal, Status
from renewals.subscription import Subscription, SubscriptionStatus, has_ended, is_over, parse

_RACES = 4
_LOOKED_UP_WHEN_LATE_BY = timedelta(days=1)
_ASKED_AGAIN_WITHIN = timedelta(hours=2)  # by the next hourly sweep, or the one after it


@dataclass(frozen=True, slots=True)
class RenewalRequest:
    """What an execution was asked to renew. amount: major units; a claim to check, never an instruction.

    renewal_date: the one period that is meant, as the subscription's own renewal_date names it; None: whatever is due.
    """

    subscription_id: str
    customer_id: str
    amount: Decimal
    renewal_date: date | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a Choice state reads. reason: why, as a short name, where the name alone does not say."""

    name: PaymentOutcome
    reason: str = ""
    renewal: Renewal | None = None


@dataclass(frozen=True, slots=True)
class Charge:
    """One execution's run at one subscription.

    execution: who owns what is claimed here. seller: name, address, tax_id as the receipt prints them. moment: when the
    subscription is looked at. dunning: when what is refused is tried again. switch: whether charging is on.
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
        """The business's day."""
        return self.moment.today

    @property
    def now(self) -> datetime:
        """The moment, UTC."""
        return self.moment.now

    def renew(self, asked: RenewalRequest) -> Outcome:
        """Bring the subscription's due period to a result. Raises PaymentError where it must be tried again."""
        busy = PaymentError("others keep working on this subscription")
        try:
            return repeat_while_outdated(lambda: self._renew(asked), tries=_RACES, otherwise=busy)
        except GatewayUnavailable as error:
            raise PaymentError(str(error)) from error
        except StillProcessing:
            return Outcome(PaymentOutcome.IN_PROGRESS, Reason.PROCESSING)

    def _renew(self, asked: RenewalRequest) -> Outcome:
        """One look at the subscription, and what follows from it. Raises Outdated where everything is to be looked at
        again: where another execution was faster, and where this one has moved the period or its row on."""
        # The rows first: what was claimed for another date of the row than this one is in the history then.
        rows = self.ledger.rows(asked.subscription_id)
        history, passed_over = self._history(asked)
        unsettled = next((r for r in history if r.status in UNSETTLED), None)
        if unsettled is None:
            return self._begin(asked, rows, history, passed_over)
        waits = self._waiting_for_address(asked, history)
        if waits is not None:
            return self._finish(waits, history, Outcome(PaymentOutcome.NOTHING_TO_DO))
        return self._resolve(unsettled, asked, rows)

    def _history(self, asked: RenewalRequest) -> tuple[list[Renewal], list[Renewal]]:
        """The latest periods, with the one that is asked for, however old it is; and the claims between them that were
        passed over."""
        recent, passed_over = self.ledger.recent_claims(asked.subscription_id)
        if asked.renewal_date and len(recent) == RECENT and asked.renewal_date < recent[-1].renewal_date:
            recent += self.ledger.named(asked.subscription_id, asked.renewal_date)
        history, over = ([r for r in each if r.customer_id == asked.customer_id] for each in (recent, passed_over))
        return history, over

    # Before the money. Each step raises Outdated as _renew.

    def _begin(
        self,
        asked: RenewalRequest,
        rows: list[dict[str, Any]],
        history: list[Renewal],
        passed_over: list[Renewal],
    ) -> Outcome:
        """Nothing is unsettled: claim the due period, or say why there is none to claim."""
        owed = self._owed(asked, history)
        try:
            subscription = _row(asked, rows)
        except BadRow as bad:
            return self._finish(owed, history, Outcome(PaymentOutcome.REJECTED, str(bad)))
        claimed = next((r for r in history if r.row_date <= subscription.renewal_date <= r.renewal_date), None)
        reason = subscription.why_not_due(self.today)
        if is_over(subscription.row, self.today):
            return self._end(subscription, owed, history)
        if pauses.was_resumed_by_hand(subscription):
            until = pauses.resumption(subscription, self.today, history).until
            with suppress(Overtaken):  # the row changed since it was read: it is read again in any case
                self.ledger.apply(row_steps.resume(subscription, until, self.now))
            if asked.renewal_date:
                return self.renew(replace(asked, renewal_date=until))
            raise Outdated("the subscription was moved past its pause")
        if reason is Reason.PAUSED and asked.renewal_date == subscription.renewal_date <= self.today and owed is None:
            return self._pass_over(subscription, claimed, history)
        if reason is None and asked.renewal_date not in (None, subscription.renewal_date):
            reason = Reason.ANOTHER_PERIOD
        elif reason is not None and subscription.status.has_ended and not any(is_undecided(r) for r in history):
            with suppress(Overtaken):  # the row changed since it was read: what somebody wrote there stands
                self.ledger.apply(row_steps.forget_refusal(subscription.row))  # of a period that was settled otherwise
        if reason is not None:
            why = _why_nothing(reason, subscription, history)
            return self._finish(owed, history, Outcome(PaymentOutcome.NOTHING_TO_DO, why))
        return self._bill(asked, subscription, claimed, history, passed_over, owed)

    def _end(self, subscription: Subscription, owed: Renewal | None, history: list[Renewal]) -> Outcome:
        """The subscription has come to its end. Where a bank may still take a failed payment, the end waits for the
        bank: once paid, the period stands, and the end comes with it."""
        ended, waits = Outcome(PaymentOutcome.NOTHING_TO_DO, Reason.ENDS_BEFORE), any(map(is_undecided, history))
        if not waits:
            self._write_end(subscription)
        settled = self._finish(owed, history, ended, at_the_bank=Outcome(PaymentOutcome.IN_PROGRESS, Reason.PROCESSING))
        if waits and settled is ended:
            self._write_end(subscription)
        return settled

    def _write_end(self, subscription: Subscription) -> None:
        with suppress(Overtaken):  # the row changed since it was read: the next sweep sees whether it has ended
            self.ledger.apply(row_steps.end(subscription.row))

    def _bill(
        self,
        asked: RenewalRequest,
        subscription: Subscription,
        claimed: Renewal | None,
        history: list[Renewal],
        passed_over: list[Renewal],
        owed: Renewal | None,
    ) -> Outcome:
        """The subscription is due: claim its period, or go on with the claim that stands."""
        if claimed is not None and claimed.paid_at is not None:
            self.ledger.apply(
                row_steps.move_on(claimed, subscription.row)
            )  # somebody put the row back; the period is paid
            raise Outdated("the subscription was moved past a paid period")
        if claimed is not None and is_undecided(claimed) and not begins_after_the_end(claimed, subscription):
            return self._take_up_failed(claimed, subscription)
        refusal = self._refusal(asked, subscription, claimed, history)
        if refusal is not None:
            return self._finish(owed, history, refusal)
        undecided = next((r for r in history if is_undecided(r) and self.payments.is_known(r)), None)
        if undecided is not None:
            if self._is_off(undecided):
                return _WHILE_OFF
            return self._give_up_period(undecided, subscription.row, Reason.MOVED)
        new = due_claim(
            subscription,
            claimed,
            history,
            passed_over,
            execution=self.execution,
            seller=self.seller,
            moment=self.moment,
        )
        return self._claim(new, subscription, by_sweep=asked.renewal_date is not None)

    def _take_up_failed(self, failed: Renewal, subscription: Subscription) -> Outcome:
        """A failed period whose payment can still be paid, of a subscription that is due. It goes on where it stood;
        another card is another attempt at the payment, and a mended customer or date another payment."""
        if failed.owned_by_another(self.execution, self.now):
            return Outcome(PaymentOutcome.IN_PROGRESS, "", failed)
        over = failed.withdrawn or why_withdrawn(failed, subscription.row)
        if over is None and subscription.payment_method == failed.payment_method:
            return self._take_on(failed)
        payment = self.payments.retrieve_known(failed)
        if payment.state is PaymentState.PAID:
            return self._paid(failed, payment)
        if payment.state not in _OPEN:
            return self._take_on(failed)
        if self._is_off(failed):
            return _WHILE_OFF
        asked = currencies.exact_minor_units(failed.amount, failed.currency), failed.currency
        if over is None and (payment.state is PaymentState.CANCELED or (payment.amount, payment.currency) != asked):
            over = Reason.ANOTHER_CARD
        if over is not None:
            return self._give_up_period(failed, subscription.row, over)
        return self._try_again(failed, subscription, payment, failed.dunned)

    def _refusal(
        self, asked: RenewalRequest, subscription: Subscription, claimed: Renewal | None, history: list[Renewal]
    ) -> Outcome | None:
        """Why a row that is due is not billed: what is wrong with it or with the request, or whose it is to bill it.

        asked.renewal_date is named by the sweep alone.
        """
        by_sweep = asked.renewal_date is not None
        if claimed is not None and begins_after_the_end(claimed, subscription):
            if not is_undecided(claimed):
                with suppress(Overtaken):  # the row changed since it was read: whoever looks next moves it, if need be
                    self.ledger.apply(row_steps.move_on(claimed, subscription.row))
            return Outcome(PaymentOutcome.NOTHING_TO_DO, Reason.ENDS_BEFORE)
        if claimed is not None and was_stopped(claimed) and claimed.payment_method == subscription.payment_method:
            name = PaymentOutcome.NOTHING_TO_DO if by_sweep else PaymentOutcome.FAILED
            return Outcome(name, Reason.CANCELED_AT_THE_GATEWAY, claimed)
        try:
            self._check_span(subscription, claimed, history)
        except BadRow as bad:
            return _told_elsewhere(str(bad), by_sweep=by_sweep)
        if asked.amount != subscription.amount and by_sweep:
            # Changed while the message waited: the next message has the new one.
            return Outcome(PaymentOutcome.NOTHING_TO_DO, Reason.AMOUNT_CHANGED)
        if asked.amount != subscription.amount:
            return Outcome(PaymentOutcome.REJECTED, "amount: is not what the subscription costs")
        each = subscription.catch_up == "each" and not by_sweep
        if each and subscription.schedule.after(subscription.renewal_date) <= self.today:
            # A webhook that comes again would bill the next period; the sweep's message names the one it means.
            return Outcome(PaymentOutcome.NOTHING_TO_DO, Reason.CAUGHT_UP_BY_THE_SWEEP)
        return None

    def _check_span(self, subscription: Subscription, claimed: Renewal | None, history: list[Renewal]) -> None:
        """Raises BadRow where the period to be claimed has a day that is paid."""
        _, billing = due_as_promised(subscription, claimed, self.today)
        reaches = spans.may_overlap(subscription, unless_told=False)
        known = self.ledger.reaching(billing.start, billing.end, history, all_of_it=reaches)
        spans.check(billing.start, billing.end, known)

    def _pass_over(self, subscription: Subscription, claimed: Renewal | None, history: list[Renewal]) -> Outcome:
        """Paused time is never billed: the subscription moves past today, and its periods are left as skipped."""
        if claimed is not None and claimed.paid_at is not None:
            self.ledger.apply(row_steps.move_on(claimed, subscription.row))
            raise Outdated("the subscription was moved past a paid period")
        if claimed is not None and is_undecided(claimed):
            return self._give_up_period(claimed, subscription.row, Reason.PAUSED)
        due = tuple(subscription.schedule.due(subscription.renewal_date, self.today))
        held = {r.renewal_date for r in history}
        skipped = tuple(d for d in due if d not in held and (claimed is None or d > claimed.renewal_date))
        until = subscription.schedule.after(due[-1])
        self.ledger.apply(row_steps.pass_over(subscription, skipped, until, self.now))
        return Outcome(PaymentOutcome.NOTHING_TO_DO, Reason.PAUSED)

    def _claim(self, new: Claim, subscription: Subscription, *, by_sweep: bool) -> Outcome:
        """Step 2."""
        guards = self.switch.guards(subscription.subscription_id)
        step = payment_steps.claim(new.renewal, new.skipped, subscription, new.instead_of, guards=guards)
        try:
            claimed = self.ledger.apply(step)
        except GuardRefused:
            return _WHILE_OFF
        except Overtaken as overtaken:
            if not payment_steps.overlaps(step, overtaken):
                raise
            return _told_elsewhere(str(spans.in_the_ledger()), by_sweep=by_sweep)
        return self._collect(claimed, subscription.row)

    def _finish(
        self,
        owed: Renewal | None,
        history: list[Renewal],
        otherwise: Outcome,
        *,
        at_the_bank: Outcome | None = None,
    ) -> Outcome:
        """With nothing to claim: what is owed to the customer, or a failed payment that went through after all.
        at_the_bank: the outcome where one may still do so; None: there is none of its own."""
        if owed is not None and owed.status is Status.GIVEN_UP:
            return Outcome(PaymentOutcome.GIVEN_UP, "", owed)
        if owed is not None and is_of_refund(owed):
            return Outcome(PaymentOutcome.REFUNDED, "", owed)
        if owed is not None:
            return self._take_on(owed)
        for failed in filter(is_undecided, history):
            if failed.owned_by_another(self.execution, self.now):
                otherwise = at_the_bank or otherwise
                continue
            row = self.ledger.row(failed)
            over = failed.withdrawn or why_withdrawn(failed, row)
            try:
                payment = self.payments.retrieve(failed)
            except GatewayRefused:  # another account's key? Nothing here depends on it
                if over and (row is None or has_ended(row)):
                    return self._give_up_period(failed, row, over)
                continue
            if payment.state is PaymentState.PAID:
                return self._paid(failed, payment)
            if over and payment.state in _OPEN:  # so that nobody can complete it later
                return self._give_up_period(failed, row, over)
            otherwise = at_the_bank or otherwise
            with suppress(Overtaken):  # somebody is at work on it: they ask about its payment themselves
                self.ledger.apply(payment_steps.ask_daily(failed, self.now))
        return otherwise

    def _waiting_for_address(self, asked: RenewalRequest, history: list[Renewal]) -> Renewal | None:
        """The very period that is asked for, where its mail waited for another address: it goes out, though another
        period stands refused."""
        named = (r for r in history if r.renewal_date == asked.renewal_date and r.status not in UNSETTLED)
        return next((r for r in named if has_parked(r) and self._can_be_told(r, asked)), None)

    def _owed(self, asked: RenewalRequest, history: list[Renewal]) -> Renewal | None:
        """What is paid and lacks its receipt or a mail, or was given up or back without a word: the period that is
        asked for, or else the oldest."""
        oldest_first = sorted(history, key=lambda r: (r.renewal_date != asked.renewal_date, r.renewal_date))
        return next((r for r in oldest_first if self._can_be_told(r, asked)), None)

    def _can_be_told(self, renewal: Renewal, asked: RenewalRequest) -> bool:
        """Whether the customer is owed a mail about the renewal, and the mail is not parked for the address that they
        have. The subscription is read only for a parked mail."""
        name = owed_mail(renewal)
        if name is None or not is_parked(renewal):
            return name is not None
        rows = self.ledger.rows(asked.subscription_id)
        address = next((address_of(row) for row in rows if row["customer_id"] == asked.customer_id), None)
        return address is not None and not is_in_vain(renewal.mails.get(name), address)

    def _take_on(self, renewal: Renewal) -> Outcome:
        """Own an interrupted, parked or failed renewal and go on where it stood."""
        if renewal.owned_by_another(self.execution, self.now):
            return Outcome(PaymentOutcome.IN_PROGRESS, "", renewal)
        stands = stands_at(renewal)
        if stands is Status.CLAIMED:
            row, off = self._look(renewal)
            over = renewal.withdrawn or why_withdrawn(renewal, row)
            if over:
                return self._give_up_period(renewal, row, over)
            if off:
                return self._only_ask(renewal)
        interrupted = stands is renewal.status
        if interrupted and renewal.owner != self.execution and renewal.pickups >= MOST_PICK_UPS:
            return self._fail(renewal, Reason.PICKED_UP_TOO_OFTEN)
        taken = self.ledger.apply(payment_steps.take(renewal, stands, self.execution, self.now))
        if taken.status is Status.CLAIMED:
            return self._collect(taken)
        return Outcome(PaymentOutcome(taken.status), "", taken)

    def _look(self, renewal: Renewal) -> tuple[dict[str, Any] | None, bool]:
        """The subscription as it is now, None where it is gone, and whether charging is off, in one call."""
        keys = self.switch.keys(renewal.subscription_id)
        return self.ledger.row_beside(renewal, self.switch.changes, keys)

    def _is_off(self, renewal: Renewal) -> bool:
        return self.switch.is_off(renewal.subscription_id)

    def _only_ask(self, renewal: Renewal) -> Outcome:
        """While charging is off: record a payment that went through before, and leave any other as it stands."""
        if renewal.payment_id is not None:
            payment = self.payments.retrieve_known(renewal)
            if payment.state is PaymentState.PAID:
                return self._paid(renewal, payment)
        return _WHILE_OFF

    def _resolve(self, renewal: Renewal, asked: RenewalRequest, rows: list[dict[str, Any]]) -> Outcome:
        """A claim without a result; or a refusal, which stands until the next dunning date or another card."""
        if renewal.status is Status.CLAIMED:
            return self._take_on(renewal)
        try:
            subscription = _row(asked, rows)
        except BadRow as bad:
            raw = self.ledger.row(renewal)
            if raw is None:
                return self._give_up_period(renewal, None, Reason.DELETED)
            if has_ended(raw):  # whatever else it lacks
                return self._give_up_period(renewal, raw, str(raw["status"]))
            return Outcome(PaymentOutcome.REJECTED, str(bad), renewal)
        over = why_withdrawn(renewal, subscription.row)
        return self._give_up_period(renewal, subscription.row, over) if over else self._dun(renewal, subscription)

    def _dun(self, renewal: Renewal, subscription: Subscription) -> Outcome:
        """Ask about a refused payment, try it again, or give it up: as the day and the card say."""
        new_card = subscription.payment_method != renewal.payment_method
        waits = dunning_decisions.waits(renewal, self.dunning)
        dunning_date = dunning_decisions.is_dunning_date(renewal, self.dunning, self.today)
        tried_again = new_card or dunning_date
        if renewal.status is Status.DECLINED and not tried_again:
            return _stays_refused(renewal, subscription)
        payment = self.payments.retrieve_known(renewal)
        if payment.state is PaymentState.PAID:
            return self._paid(renewal, payment)
        if payment.state is PaymentState.PROCESSING:  # the customer was at the bank
            raise StillProcessing
        if not tried_again:
            return _stays_refused(renewal, subscription)
        if self._is_off(renewal):  # no date of its dunning passes meanwhile
            return Outcome(PaymentOutcome(renewal.status), Reason.CHARGING_IS_OFF, renewal)
        if waits and not new_card:
            return self._hold(renewal, subscription)
        over = renewal.dunned >= len(self.dunning.days)
        if over and not new_card:
            return self._give_up_period(renewal, subscription.row, Reason.DUNNING_OVER, ends_as=self.dunning.ends_as)
        if payment.state is PaymentState.CANCELED and not payment.lapsed:
            return self._give_up_period(renewal, subscription.row, Reason.CANCELED_AT_THE_GATEWAY)
        behind = renewal.dunned + (1 if dunning_date and not over else 0)
        if not new_card and dunning_decisions.is_pointless(renewal, payment):
            return self._dunning_date(renewal, behind)
        return self._try_again(renewal, subscription, payment, behind)

    def _try_again(self, renewal: Renewal, subscription: Subscription, payment: Payment, behind: int) -> Outcome:
        """The next attempt at a payment that was not paid, with the subscription's card. behind: as for dunned."""
        try:
            begun = self.ledger.apply(
                dunning_steps.next_attempt(
                    renewal,
                    subscription,
                    failure_id(payment),
                    dunned=behind,
                    execution=self.execution,
                    now=self.now,
                    guards=self.switch.guards(subscription.subscription_id),
                )
            )
        except GuardRefused:
            return Outcome(PaymentOutcome(renewal.status), Reason.CHARGING_IS_OFF, renewal)
        return self._settle(begun, payment, looked=True)

    def _dunning_date(self, renewal: Renewal, behind: int) -> Outcome:
        """Nothing can be tried with this card; the customer is told before it is too late."""
        next_date = self.dunning.next_date(renewal.first_tried_on, behind, self.today)
        notice = MailKind.FINAL_NOTICE if self.dunning.is_last(behind) else None
        recorded = self.ledger.settle(
            renewal,
            lambda row: dunning_steps.dunning_date(
                renewal, row, dunned=behind, next_attempt=next_date or self.today, notice=notice, now=self.now
            ),
        )
        if next_date is None:
            raise Outdated("the last dunning date was recorded: the period is to be given up")
        return Outcome(PaymentOutcome(recorded.status), "", recorded)

    def _hold(self, renewal: Renewal, subscription: Subscription) -> Outcome:
        """The last step waits until the customer was told of it. Where their address can be mailed to, they are told
        now, and have as long as anybody; where it cannot, it is looked at again tomorrow."""
        in_vain = dunning_decisions.is_told_in_vain(renewal, subscription)
        recorded = self.ledger.settle(
            renewal,
            lambda row: dunning_steps.dunning_date(
                renewal,
                row,
                dunned=len(self.dunning.days) - 1,
                next_attempt=self.today + (timedelta(days=1) if in_vain else self.dunning.last_step),
                notice=None if in_vain else MailKind.FINAL_NOTICE,
                now=self.now,
                held=True,
            ),
        )
        if in_vain:
            return Outcome(PaymentOutcome.NOTHING_TO_DO, Reason.CUSTOMER_NOT_TOLD, recorded)
        return Outcome(PaymentOutcome(renewal.status), "", recorded)

    def _give_up_period(
        self, renewal: Renewal, row: Mapping[str, Any] | None, reason: str, *, ends_as: SubscriptionStatus | None = None
    ) -> Outcome:
        """The period is over: its payment is cancelled first, so that nobody can complete it later.

        ends_as: what the subscription becomes with it, where dunning ends it. A payment that the gateway does not know
        (another account's key?) is given up only where nothing is billed instead.
        """
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

    def _collect(self, renewal: Renewal, row: Mapping[str, Any] | None = None) -> Outcome:
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

    def _collected(self, renewal: Renewal, row: Mapping[str, Any] | None) -> Outcome:
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
            return _WHILE_OFF
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

    def _settle(
        self, renewal: Renewal, payment: Payment, row: Mapping[str, Any] | None = None, *, looked: bool = False
    ) -> Outcome:
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
            row, off = self._look(renewal)
            over = why_withdrawn(renewal, row)
            if over:
                raise Outdated(f"the claim is to be given up: {over}")
            if off:
                return _WHILE_OFF
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

    def _paid(self, renewal: Renewal, payment: Payment, row: Mapping[str, Any] | None = None) -> Outcome:
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


_WHILE_OFF = Outcome(PaymentOutcome.NOTHING_TO_DO, Reason.CHARGING_IS_OFF)
_OPEN = frozenset({PaymentState.CANCELED, PaymentState.OPEN, *REFUSED})
"""A payment that its bank is not deciding about: it can be confirmed, or cancelled."""


def _row(asked: RenewalRequest, rows: list[dict[str, Any]]) -> Subscription:
    """The subscription, checked. rows: all under its id. Raises BadRow."""
    if not any(row["customer_id"] == asked.customer_id for row in rows):
        raise BadRow("subscription_id", "no such subscription of this customer")
    if len(rows) > 1:
        raise BadRow("customer_id", "the subscription has more than one customer")
    return parse(rows[0])


def _told_elsewhere(fault: str, *, by_sweep: bool) -> Outcome:
    """What becomes of a subscription whose date does not fit the ledger. The sweep's message would fail each time, and
    become a dead letter: the audit names the subscription instead, and its `fault` says why."""
    return Outcome(PaymentOutcome.NOTHING_TO_DO if by_sweep else PaymentOutcome.REJECTED, fault)


def _stays_refused(renewal: Renewal, subscription: Subscription) -> Outcome:
    """Nothing is to be tried now. What the customer is owed of it is mailed, unless their address has refused it."""
    if is_in_vain(renewal.mails.get(str(renewal.notice)), address_of(subscription.row)):
        return Outcome(PaymentOutcome.NOTHING_TO_DO, Reason.ADDRESS_AT_FAULT, renewal)
    return Outcome(PaymentOutcome(renewal.status), "", renewal)


def _why_nothing(reason: Reason, subscription: Subscription, history: list[Renewal]) -> Reason:
    renewed = any(r.period_end == subscription.renewal_date for r in history)
    return Reason.RENEWED_ALREADY if reason is Reason.NOT_DUE and renewed else reason
