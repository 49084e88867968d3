"""The charge, step by step. Two rules carry it: the ledger is asked first, and money moves only by confirming the one
payment whose id the ledger already holds.

1. Ask the ledger. A result ends the attempt; a claim without a result is resolved before anything else, whatever the
   subscription says by now.
2. Claim the period, if the subscription is due, live and costs what was asked.
3. Create the payment, unconfirmed, and write its id into the claim. No money has moved.
4. Confirm it. A payment succeeds only once, however often and by however many this is run.
5. Record the result; the subscription moves on in the same transaction.

A refused period is dunned: asked about on each dunning date and with each new card, until it is paid or given up.

While charging is turned off nothing is claimed, dunned or confirmed: whatever it stands at, it is left there, and what
was confirmed before is still asked about and recorded. The switch is asked again just before each confirmation.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any
from uuid import uuid4

from renewals import currencies, mail_faults, subscription, telemetry
from renewals.charging import Switch
from renewals.clock import Moment
from renewals.dunning import Dunning, is_hard
from renewals.dunning_ledger import DunningLedger
from renewals.errors import BadRow, PaymentError
from renewals.gateway import Failure, Gateway, GatewayRefused, GatewayUnavailable, Payment, PaymentRequest, PaymentState
from renewals.ledger import LEASE, RECENT, Lost
from renewals.payment_ledger import CANCELED_AT_THE_GATEWAY, MOST_PICK_UPS
from renewals.periods import Billing, latest_due, oldest_due
from renewals.renewal import UNSETTLED, Mail, Renewal, Status
from renewals.subscription import ENDED, LIVE, Subscription

_RACES = 4
_LONGEST_KEY = 255  # https://docs.stripe.com/api/idempotent_requests
_LOOKED_UP_WHEN_LATE_BY = timedelta(days=1)
_DUNNING_OVER = "dunning_over"
NOT_TOLD = "customer_not_told"
"""Why dunning does not end: the customer's address is at fault."""
_WARNINGS = ("final_notice_", "action_required_")
CHARGING_IS_OFF = "charging_is_off"
_ENDED_BY = frozenset({_DUNNING_OVER, "canceled", "unpaid"})
_OWING = frozenset({Status.PAID, Status.RECEIPTED, Status.FAILED, Status.MAIL_FAILED})
_REFUSED = {PaymentState.DECLINED: Status.DECLINED, PaymentState.ACTION_REQUIRED: Status.ACTION_REQUIRED}


@dataclass(frozen=True, slots=True)
class Asked:
    """What an execution was asked to renew. amount: major units; a claim to check, never an instruction.

    renewal_date: the one period that is meant, as the subscription's own renewal_date names it; None: whatever is due.
    """

    subscription_id: str
    customer_id: str
    amount: Decimal
    renewal_date: date | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a Choice state reads. name: paid, receipted, declined, action_required, given_up, nothing_to_do,
    in_progress, rejected or failed; refunded or remind, where nothing was to be charged. reason: why, as a short name,
    where the name alone does not say."""

    name: str
    reason: str = ""
    renewal: Renewal | None = None


@dataclass(frozen=True, slots=True)
class Charge:
    """One execution's run at one subscription.

    execution: who owns what is claimed here. deployment: project and environment, the first part of idempotency keys.
    seller: name, address, tax_id as the receipt prints them. moment: when the subscription is looked at.
    dunning: when what is refused is tried again. switch: whether charging is on.
    """

    ledger: DunningLedger
    gateway: Gateway
    switch: Switch
    execution: str
    deployment: str
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

    def renew(self, asked: Asked) -> Outcome:
        """Bring the subscription's due period to a result. Raises PaymentError where it must be tried again."""
        try:
            for _ in range(_RACES):
                history = self._history(asked)
                unsettled = next((r for r in history if r.status in UNSETTLED), None)
                outcome = self._resolve(unsettled, asked) if unsettled else self._begin(asked, history)
                if outcome is not None:
                    return outcome
        except GatewayUnavailable as error:
            raise PaymentError(str(error)) from error
        raise PaymentError("others keep working on this subscription")

    def _history(self, asked: Asked) -> list[Renewal]:
        """The latest periods, and the one that is asked for, however old it is."""
        recent = self.ledger.recent(asked.subscription_id)
        if asked.renewal_date and len(recent) == RECENT and asked.renewal_date < recent[-1].renewal_date:
            recent += self.ledger.named(asked.subscription_id, asked.renewal_date)
        return [r for r in recent if r.customer_id == asked.customer_id]

    # Before the money: each step gives None where another execution was faster, and all is looked at again.

    def _begin(self, asked: Asked, history: list[Renewal]) -> Outcome | None:
        """Nothing is unsettled: claim the due period, or say why there is none to claim."""
        owed = self._owed(asked, history)
        try:
            row = self._row(asked)
        except BadRow as bad:
            return self._finish(owed, history, Outcome("rejected", str(bad)))
        claimed = next((r for r in history if r.row_date <= row.renewal_date <= r.renewal_date), None)
        reason = row.why_not_due(self.today)
        if reason == "paused" and asked.renewal_date == row.renewal_date <= self.today and owed is None:
            return self._pass_over(row, claimed, history)
        if reason is None and asked.renewal_date not in (None, row.renewal_date):
            reason = "another_period"
        elif reason is not None and row.status in ENDED and not any(_is_undecided(r) for r in history):
            self.ledger.forget_refusal(row.row)  # of a period that was settled otherwise
        if reason is not None:
            return self._finish(owed, history, Outcome("nothing_to_do", _why_nothing(reason, row, history)))
        if claimed is not None and claimed.paid_at is not None:
            self.ledger.move_on(claimed, row.row)  # somebody put the row back; the period is paid
            return None
        if claimed is not None and _is_undecided(claimed) and not _begins_after_the_end(claimed, row):
            return self._take_on(claimed)
        refusal = self._refusal(asked, row, claimed, history)
        if refusal is not None:
            return self._finish(owed, history, refusal)
        undecided = next((r for r in history if _is_undecided(r) and self._is_known(r)), None)
        if undecided is not None:
            return _HELD if self.switch.is_off() else self._give_up_period(undecided, row.row, "moved")
        return self._claim(row, claimed, history)

    def _refusal(
        self, asked: Asked, row: Subscription, claimed: Renewal | None, history: list[Renewal]
    ) -> Outcome | None:
        """Why a row that is due is not billed: what is wrong with it or with the request, or whose it is to bill it.

        asked.renewal_date is named by the sweep alone.
        """
        by_sweep = asked.renewal_date is not None
        if claimed is not None and _begins_after_the_end(claimed, row):
            if not _is_undecided(claimed):
                self.ledger.move_on(claimed, row.row)
            return Outcome("nothing_to_do", "cancels_at_period_end")
        if claimed is not None and _was_stopped(claimed) and claimed.payment_method == row.payment_method:
            return Outcome("nothing_to_do" if by_sweep else "failed", CANCELED_AT_THE_GATEWAY, claimed)
        if any(r.paid_at and r.renewal_date < row.renewal_date < r.period_end for r in history):
            return Outcome("rejected", "renewal_date: falls into a period that is paid")
        if asked.amount != row.amount and by_sweep:  # changed while the message waited; the next has the new one
            return Outcome("nothing_to_do", "amount_changed")
        if asked.amount != row.amount:
            return Outcome("rejected", "amount: is not what the subscription costs")
        if row.catch_up == "each" and not by_sweep and row.schedule.after(row.renewal_date) <= self.today:
            # A webhook that comes again would bill the next period; the sweep's message names the one it means.
            return Outcome("nothing_to_do", "caught_up_by_the_sweep")
        return None

    def _billing(self, row: Subscription, failed: Renewal | None) -> Billing:
        """The period that is due, by the subscription's way to catch up; none that begins when it has ended.

        failed: an earlier claim, which has passed over what lies before it. Where the subscription ended with it, the
        time since then is nobody's, and `each` bills none of it but the latest period.
        """
        last = self.today if row.cancel_at is None else min(self.today, row.cancel_at - timedelta(days=1))
        if row.catch_up == "each" and not (failed and failed.reason in _ENDED_BY):
            first = failed.renewal_date if failed and failed.renewal_date <= last else row.renewal_date
            return oldest_due(row.schedule, first, last)
        return latest_due(row.schedule, row.renewal_date, last)

    def _pass_over(self, row: Subscription, claimed: Renewal | None, history: list[Renewal]) -> Outcome | None:
        """Paused time is never billed: the subscription moves past today, and its periods are left as skipped."""
        if claimed is not None and claimed.paid_at is not None:
            self.ledger.move_on(claimed, row.row)
            return None
        if claimed is not None and _is_undecided(claimed):
            return self._give_up_period(claimed, row.row, "paused")
        due = tuple(row.schedule.due(row.renewal_date, self.today))
        held = {r.renewal_date for r in history}
        skipped = tuple(d for d in due if d not in held and (claimed is None or d > claimed.renewal_date))
        lost = self.ledger.pass_over(row, skipped, row.schedule.after(due[-1]), self.now)
        return Outcome("nothing_to_do", "paused") if lost is None else None

    def _claim(self, row: Subscription, failed: Renewal | None, history: list[Renewal]) -> Outcome | None:
        """Step 2. failed: an earlier claim from this date on that has moved no money and never will."""
        billing = self._billing(row, failed)
        new = self._new_claim(row, billing.start, billing.end)
        given_up = {r.renewal_date: r for r in history if r.status is Status.GIVEN_UP}
        failed = failed or given_up.get(billing.start)
        skipped = tuple(day for day in billing.skipped if day not in given_up)
        if failed is not None:  # what it passed over is passed over already
            skipped = tuple(day for day in skipped if day > failed.renewal_date or day < failed.row_date)
            new = replace(new, intent_tries=failed.intent_tries + 1)
            if failed.renewal_date == new.renewal_date:  # what was tried and told of this period stays on record
                attempt = failed.attempt + (failed.status is Status.GIVEN_UP)
                new = replace(new, attempt=attempt, refusals=failed.refusals, mails=failed.mails)
        claimed = self.ledger.claim(new, skipped, row, instead_of=failed, guard=self.switch.is_on)
        if isinstance(claimed, Lost):
            if claimed.guarded:
                return _HELD
            known = "renewal_date: a period from here on is in the ledger already"
            return Outcome("rejected", known) if claimed.overlaps else None
        return self._collect(claimed, row.row)

    def _row(self, asked: Asked) -> Subscription:
        """The subscription, checked. Raises BadRow."""
        rows = self.ledger.rows(asked.subscription_id)
        if not any(row["customer_id"] == asked.customer_id for row in rows):
            raise BadRow("subscription_id", "no such subscription of this customer")
        if len(rows) > 1:
            raise BadRow("customer_id", "the subscription has more than one customer")
        return subscription.parse(rows[0])

    def _new_claim(self, row: Subscription, start: date, end: date) -> Renewal:
        return Renewal(
            subscription_id=row.subscription_id,
            renewal_date=start,
            customer_id=row.customer_id,
            claim=uuid4().hex,
            owner=self.execution,
            lease_until=self.now + LEASE,
            claimed_at=self.now,
            row_date=row.renewal_date,
            first_tried_on=self.today,
            period_end=end,
            anchor_day=row.schedule.anchor_day if row.schedule.interval in ("month", "year") else None,
            amount=row.amount,
            currency=row.currency,
            plan=row.plan,
            customer_name=row.customer_name,
            customer_email=row.customer_email,
            locale=row.locale,
            gateway_customer=row.gateway_customer,
            payment_method=row.payment_method,
            seller=self.seller,
            receipt_number=_receipt_number(row.subscription_id, start),
        )

    def _finish(self, owed: Renewal | None, history: list[Renewal], otherwise: Outcome) -> Outcome | None:
        """With nothing to claim: what is owed to the customer, or a failed payment that went through after all."""
        if owed is not None and owed.status is Status.GIVEN_UP:
            return Outcome("given_up", "", owed)
        if owed is not None and _refund_is_owed(owed):
            return Outcome("refunded", "", owed)
        if owed is not None:
            return self._take_on(owed)
        for failed in filter(_is_undecided, history):
            try:
                payment = self.gateway.retrieve(str(failed.payment_id))
            except GatewayRefused:
                continue  # another account's key? Nothing here depends on it
            if payment.state is PaymentState.PAID:
                return self._paid(failed, payment)
        return otherwise

    def _is_known(self, renewal: Renewal) -> bool:
        """Whether the gateway knows the payment: one of another account's key stands in nobody's way."""
        try:
            self.gateway.retrieve(str(renewal.payment_id))
        except GatewayRefused:
            return False
        return True

    def _owed(self, asked: Asked, history: list[Renewal]) -> Renewal | None:
        """The oldest period that is paid and lacks its receipt or a mail, or was given up or back without a word."""
        return next((r for r in reversed(history) if self._is_owed(r, asked)), None)

    def _is_owed(self, renewal: Renewal, asked: Asked) -> bool:
        if renewal.status is Status.GIVEN_UP or _refund_is_owed(renewal):
            owed, parked = renewal.notice is not None, renewal.notice_is_parked
        else:
            parked = renewal.status is Status.MAIL_FAILED
            owed = renewal.paid_at is not None and renewal.status in _OWING
        if not (owed and parked):
            return owed
        rows = self.ledger.rows(asked.subscription_id)
        to = next((subscription.mail_address(row) for row in rows if row["customer_id"] == asked.customer_id), None)
        return to is not None and all(mail.to != to for mail in renewal.mails.values() if mail.state == "failed")

    def _take_on(self, renewal: Renewal) -> Outcome | None:
        """Own an interrupted, parked or failed renewal and go on where it stood."""
        if renewal.owned_by_another(self.execution, self.now):
            return Outcome("in_progress", "", renewal)
        stands = _stands(renewal)
        if stands is Status.CLAIMED and self.switch.is_off():
            return self._only_ask(renewal)
        interrupted = stands is renewal.status
        if interrupted and renewal.owner != self.execution and renewal.pickups >= MOST_PICK_UPS:
            return self._give_up(renewal, "picked_up_too_often")
        taken = self.ledger.take(renewal, stands, self.execution, self.now)
        if isinstance(taken, Lost):
            return None
        return self._collect(taken) if taken.status is Status.CLAIMED else Outcome(taken.status.value, "", taken)

    def _only_ask(self, renewal: Renewal) -> Outcome | None:
        """While charging is off: record a payment that went through before, and leave any other as it stands."""
        if renewal.payment_id is not None:
            payment = self._retrieve(renewal)
            if payment.state is PaymentState.PAID:
                return self._paid(renewal, payment)
        return _HELD

    def _resolve(self, renewal: Renewal, asked: Asked) -> Outcome | None:
        """A claim without a result; or a refusal, which stands until the next dunning date or another card."""
        if renewal.status is Status.CLAIMED:
            return self._take_on(renewal)
        try:
            row = self._row(asked)
        except BadRow as bad:
            raw = self.ledger.row(renewal)
            if raw is None:
                return self._give_up_period(renewal, None, "deleted")
            if subscription.has_ended(raw):  # whatever else it lacks
                return self._give_up_period(renewal, raw, raw["status"])
            return Outcome("rejected", str(bad), renewal)
        over = _why_over(renewal, row)
        return self._give_up_period(renewal, row.row, over) if over else self._dun(renewal, row)

    def _dun(self, renewal: Renewal, row: Subscription) -> Outcome | None:
        """Ask about a refused payment, try it again, or give it up: as the day and the card say."""
        new_card = row.payment_method != renewal.payment_method
        waits = self.dunning.is_ending(renewal.dunned) and not _was_warned(renewal)
        held = waits and renewal.held_at is not None
        dunning_date = held or renewal.next_attempt is None or renewal.next_attempt <= self.today
        tried_again = new_card or dunning_date
        if renewal.status is Status.DECLINED and not tried_again:
            return _stays_refused(renewal, row)
        payment = self._retrieve(renewal)
        if payment.state is PaymentState.PAID:
            return self._paid(renewal, payment)
        if not tried_again:
            return _stays_refused(renewal, row)
        if self.switch.is_off():  # no date of its dunning passes meanwhile
            return Outcome(renewal.status.value, CHARGING_IS_OFF, renewal)
        if waits and not new_card:
            return self._hold(renewal, row)
        over = renewal.dunned >= len(self.dunning.days)
        if over and not new_card:
            return self._give_up_period(renewal, row.row, _DUNNING_OVER, ends_as=self.dunning.ends_as)
        if payment.state is PaymentState.CANCELED:
            return self._give_up_period(renewal, row.row, CANCELED_AT_THE_GATEWAY)
        behind = renewal.dunned + (1 if dunning_date and not over else 0)
        if not new_card and _is_pointless(renewal, payment):
            return self._dunning_date(renewal, behind)
        begun = self.ledger.next_attempt(
            renewal, row, _failure_id(payment), dunned=behind, execution=self.execution, now=self.now
        )
        return None if isinstance(begun, Lost) else self._settle(begun, payment)

    def _dunning_date(self, renewal: Renewal, behind: int) -> Outcome | None:
        """Nothing can be tried with this card; the customer is told before it is too late."""
        next_date = self.dunning.next_date(renewal.first_tried_on, behind, self.today)
        notice = "final_notice" if self.dunning.is_last(behind) else None
        recorded = self.ledger.record_dunning_date(
            renewal, dunned=behind, next_attempt=next_date or self.today, notice=notice, now=self.now
        )
        if isinstance(recorded, Lost) or next_date is None:
            return None  # looked at again: it is over
        return Outcome(recorded.status.value, "", recorded)

    def _hold(self, renewal: Renewal, row: Subscription) -> Outcome | None:
        """The last step waits until the customer was told of it. Where their address can be mailed to, they are told
        now, and have as long as anybody; where it cannot, it is looked at again tomorrow."""
        to = row.customer_email
        refused = any(mail.to == to and mail.state == "failed" for mail in _warnings(renewal))
        in_vain = refused or mail_faults.kind(row.row) == mail_faults.BOUNCED
        recorded = self.ledger.record_dunning_date(
            renewal,
            dunned=len(self.dunning.days) - 1,
            next_attempt=self.today + (timedelta(days=1) if in_vain else self.dunning.last_step),
            notice=None if in_vain else "final_notice",
            now=self.now,
            held=True,
        )
        if isinstance(recorded, Lost):
            return None
        return Outcome("nothing_to_do", NOT_TOLD, recorded) if in_vain else Outcome(renewal.status.value, "", recorded)

    def _give_up_period(
        self, renewal: Renewal, row: Mapping[str, Any] | None, reason: str, *, ends_as: str | None = None
    ) -> Outcome | None:
        """The period is over: its payment is cancelled first, so that nobody can complete it later.

        ends_as: what the subscription becomes with it, where dunning ends it. A payment that the gateway does not know
        (another account's key?) is given up only where nothing is billed instead.
        """
        try:
            payment = self._cancel(self.gateway.retrieve(str(renewal.payment_id)))
        except GatewayRefused as refused:
            if row is not None and not subscription.has_ended(row):
                raise PaymentError(f"the gateway does not know the payment: {refused.code}") from refused
            reason = f"{reason}, {refused.code} at the gateway"
        else:
            if payment.state is PaymentState.PAID:
                return self._paid(renewal, payment)
        given_up = self.ledger.give_up(renewal, reason, row, ends_as=ends_as, now=self.now)
        if isinstance(given_up, Lost) or (ends_as is None and row is not None):
            return None
        return Outcome("given_up" if ends_as else "nothing_to_do", reason, given_up)

    # The money

    def _collect(self, renewal: Renewal, row: Mapping[str, Any] | None = None) -> Outcome | None:
        """Steps 3 to 5 for a period that this execution owns. row: the subscription, where it was just read."""
        if renewal.payment_id is not None:
            return self._settle(renewal, self._retrieve(renewal))
        try:
            payment = self._payment(renewal)
        except GatewayRefused as refused:
            return self._give_up(renewal, f"gateway: {refused.code}")
        kept = self.ledger.keep_payment_id(renewal, payment.id, self.now, guard=self.switch.is_on)
        if isinstance(kept, Lost):
            return _HELD if kept.guarded else None
        return self._settle(kept, payment, row, is_on=True)

    def _retrieve(self, renewal: Renewal) -> Payment:
        """The payment that the ledger holds. Where the gateway does not know it (another account's key?), no answer."""
        try:
            return self.gateway.retrieve(str(renewal.payment_id))
        except GatewayRefused as refused:
            raise PaymentError(f"the gateway does not know the payment: {refused.code}") from refused

    def _give_up(self, renewal: Renewal, reason: str) -> Outcome | None:
        failed = self.ledger.record_failed(renewal, reason, self.now)
        return None if isinstance(failed, Lost) else Outcome("failed", reason, failed)

    def _payment(self, renewal: Renewal) -> Payment:
        """The period's payment: found at the gateway where history may be gone, else created, unconfirmed."""
        amount = currencies.minor_units(renewal.amount, renewal.currency)
        if self.today - renewal.row_date >= _LOOKED_UP_WHEN_LATE_BY or renewal.intent_tries:
            found = self._find_payment(renewal, amount)
            if found is not None:
                return found
        request = PaymentRequest(
            subscription_id=renewal.subscription_id,
            renewal_date=renewal.renewal_date,
            attempt=renewal.attempt,
            amount=amount,
            currency=renewal.currency,
            gateway_customer=renewal.gateway_customer,
            payment_method=renewal.payment_method,
            idempotency_key=idempotency_key(self.deployment, renewal),
        )
        try:
            return self.gateway.create(request)
        except GatewayUnavailable as error:
            if error.answered:
                self.ledger.count_intent_try(renewal, self.now)
            raise

    def _find_payment(self, renewal: Renewal, amount: int) -> Payment | None:
        """A payment of this very period: a paid one before any other, and else one that can still be paid."""
        day = min(renewal.row_date, self.moment.wall.date())  # the gateway knows no test clock
        since = datetime.combine(day, time(), UTC) - timedelta(days=1)
        period = {"subscription_id": renewal.subscription_id, "renewal_date": renewal.renewal_date.isoformat()}
        listed = self.gateway.list(renewal.gateway_customer, since)
        ours = [payment for metadata, payment in listed if period.items() <= metadata.items()]
        paid = [payment for payment in ours if payment.state is PaymentState.PAID]
        if paid:
            return paid[0]
        alive = [payment for payment in ours if payment.state is not PaymentState.CANCELED]
        fitting = [p for p in alive if (p.amount, p.currency) == (amount, renewal.currency)][:1]
        for payment in alive:
            if payment not in fitting:  # the customer could still complete it, beside ours
                ended = self._cancel(payment)
                if ended.state is PaymentState.PAID:
                    return ended
        return next(iter(fitting), None)

    def _cancel(self, payment: Payment) -> Payment:
        """The payment, cancelled, or paid meanwhile. Raises PaymentError where it is neither yet."""
        if payment.state is not PaymentState.CANCELED:
            with suppress(GatewayRefused):
                self.gateway.cancel(payment.id)
            payment = self.gateway.retrieve(payment.id)
        if payment.state not in (PaymentState.CANCELED, PaymentState.PAID):
            raise PaymentError("an earlier payment of this period cannot be cancelled yet")
        return payment

    def _settle(
        self, renewal: Renewal, payment: Payment, row: Mapping[str, Any] | None = None, *, is_on: bool = False
    ) -> Outcome | None:
        """Step 4, and what came of it. payment: as the gateway has it before. is_on: charging, by the last call."""
        if self._can_be_confirmed(renewal, payment):
            asked = currencies.minor_units(renewal.amount, renewal.currency), renewal.currency
            if (payment.amount, payment.currency) != asked:
                return self._give_up(renewal, "amount_differs: the payment is not of the amount that was claimed")
            if not is_on and self.switch.is_off():
                return _HELD
            try:
                answer = self.gateway.confirm(payment.id, renewal.payment_method)
            except GatewayRefused as refused:
                return self._give_up(renewal, f"gateway: {refused.code}")
            payment = answer or self._retrieve(renewal)
            if answer is None and self._can_be_confirmed(renewal, payment):
                raise PaymentError("the gateway did not take the confirmation")
        if payment.state is PaymentState.PAID:
            return self._paid(renewal, payment, row)
        if payment.state in _REFUSED:
            return self._refused(renewal, _REFUSED[payment.state], payment)
        if payment.state is PaymentState.CANCELED:
            return self._give_up(renewal, CANCELED_AT_THE_GATEWAY)
        raise PaymentError("the payment is still being processed")

    def _can_be_confirmed(self, renewal: Renewal, payment: Payment) -> bool:
        """Never tried, or tried no further than before this attempt began."""
        refused_before = payment.state in _REFUSED and _failure_id(payment) == renewal.failure_id
        return payment.state is PaymentState.OPEN or refused_before

    def _paid(self, renewal: Renewal, payment: Payment, row: Mapping[str, Any] | None = None) -> Outcome | None:
        amount = currencies.major_units(payment.amount, payment.currency)
        charged_at = payment.paid_at or self.moment.wall
        payment = replace(payment, paid_at=self.moment.paid_at(payment.paid_at))
        recorded = self.ledger.record_paid(
            renewal, payment, amount, charged_at=charged_at, execution=self.execution, now=self.now, row=row
        )
        if isinstance(recorded, Lost):
            return None
        _tell_attempt(renewal)
        telemetry.count("RenewalsCharged")
        telemetry.amount("AmountCharged", float(amount), payment.currency)
        return Outcome("paid", "", recorded)

    def _refused(self, renewal: Renewal, status: Status, payment: Payment) -> Outcome | None:
        failure = payment.failure or Failure(_failure_id(payment), status.value, None, None)
        next_date = self.dunning.next_date(renewal.first_tried_on, renewal.dunned, self.today)
        if next_date and renewal.held_at and renewal.next_attempt:  # not before the day that was told
            next_date = max(next_date, renewal.next_attempt)
        recorded = self.ledger.record_refused(
            renewal,
            status,
            failure,
            next_attempt=next_date or self.today,
            notice=self._notice_of(renewal, status) if next_date else None,
            now=self.now,
        )
        if isinstance(recorded, Lost):
            return None
        _tell_attempt(renewal, refused=_kind(status, failure))
        return Outcome(status.value, "", recorded) if next_date else None  # looked at again: it is over

    def _notice_of(self, renewal: Renewal, status: Status) -> str:
        """The kind of mail that tells of a refusal."""
        if status is Status.ACTION_REQUIRED:
            return "action_required"
        return "final_notice" if self.dunning.is_last(renewal.dunned) else "payment_failed"


_HELD = Outcome("nothing_to_do", CHARGING_IS_OFF)


def _tell_attempt(renewal: Renewal, *, refused: str | None = None) -> None:
    """Count an attempt whose result was just recorded, by `renewal` as it stood before. refused: the kind of refusal.

    The first attempts are counted by themselves too: of dunning's, most are refused on the best of days.
    """
    first = not renewal.refusals
    if first:
        telemetry.count("FirstAttempts")
    if refused is not None:
        telemetry.count(refused)
        if first:
            telemetry.count("FirstAttemptsRefused")


def _kind(status: Status, failure: Failure) -> str:
    """The counter of a refusal: a soft one may pass by itself, a hard one needs another card."""
    if status is Status.ACTION_REQUIRED:
        return "RenewalsActionRequired"
    hard = is_hard(failure.decline_code or failure.code, failure.advice_code)
    return "RenewalsDeclinedHard" if hard else "RenewalsDeclinedSoft"


def _is_pointless(renewal: Renewal, payment: Payment) -> bool:
    """Whether confirming the payment with the same card cannot help: only the customer can."""
    if renewal.status is Status.DECLINED:
        return is_hard(renewal.decline_code, renewal.advice_code)
    return payment.state is PaymentState.ACTION_REQUIRED


def _stays_refused(renewal: Renewal, row: Subscription) -> Outcome:
    """Nothing is to be tried now. What the customer is owed of it is mailed, unless their address has refused it."""
    if renewal.notice_is_parked and renewal.mails[str(renewal.notice)].to == row.customer_email:
        return Outcome("nothing_to_do", "address_at_fault", renewal)
    return Outcome(renewal.status.value, "", renewal)


def _warnings(renewal: Renewal) -> list[Mail]:
    """The mails of this claim that say when the payment is given up, oldest first."""
    said = [mail for name, mail in renewal.mails.items() if name.startswith(_WARNINGS)]
    return sorted((m for m in said if m.claimed_until > renewal.claimed_at), key=lambda m: m.claimed_until)


def _was_warned(renewal: Renewal) -> bool:
    """Whether the last mail that says when the payment is given up went out and, as far as is known, arrived."""
    return [mail.state in ("sent", "unknown") for mail in _warnings(renewal)][-1:] == [True]


def _why_over(renewal: Renewal, row: Subscription) -> str | None:
    """Why a refused period is not asked about any more, as a short name; None where dunning goes on."""
    if row.status not in LIVE:
        return row.status
    if _begins_after_the_end(renewal, row):
        return "cancels_at_period_end"
    if row.renewal_date != renewal.row_date:
        return "moved"
    return "another_customer" if row.gateway_customer != renewal.gateway_customer else None


def _was_stopped(renewal: Renewal) -> bool:
    """Failed, because somebody cancelled its payment at the gateway."""
    return renewal.status is Status.FAILED and renewal.reason == CANCELED_AT_THE_GATEWAY


def _is_undecided(renewal: Renewal) -> bool:
    """Failed, with a payment that the gateway may still have taken."""
    failed = renewal.status is Status.FAILED and renewal.paid_at is None
    return failed and renewal.payment_id is not None and not _was_stopped(renewal)


def _refund_is_owed(renewal: Renewal) -> bool:
    """Whether money of it was given back, and the customer was not told: a paid period has no other notice."""
    return renewal.paid_at is not None and renewal.notice is not None


def _begins_after_the_end(renewal: Renewal, row: Subscription) -> bool:
    """Whether the subscription ends before this period begins: the period is not to be charged, claimed or not."""
    return row.cancel_at is not None and row.cancel_at <= renewal.renewal_date


def _stands(renewal: Renewal) -> Status:
    """Where the work on a renewal is taken up, however it ended."""
    if renewal.paid_at is None:
        return Status.CLAIMED
    return Status.PAID if renewal.receipt_key is None else Status.RECEIPTED


def _failure_id(payment: Payment) -> str:
    """The last failure that the payment shows."""
    return payment.failure.id if payment.failure else "none"


def idempotency_key(deployment: str, renewal: Renewal) -> str:
    """deployment/customer/subscription/date, and the number of the try where the gateway remembers a failed one.

    Hashed where it is longer than the gateway takes, or not ASCII.
    """
    parts = [deployment, renewal.customer_id, renewal.subscription_id, renewal.renewal_date.isoformat()]
    key = "/".join(parts + ([str(renewal.intent_tries)] if renewal.intent_tries else []))
    return key if key.isascii() and len(key) <= _LONGEST_KEY else sha256(key.encode()).hexdigest()


def _receipt_number(subscription_id: str, renewal_date: date) -> str:
    """The same for the same period, always; short enough to read out."""
    return f"{renewal_date:%Y%m%d}-{sha256(f'{subscription_id}/{renewal_date}'.encode()).hexdigest()[:8].upper()}"


def _why_nothing(reason: str, row: Subscription, history: list[Renewal]) -> str:
    renewed = any(r.period_end == row.renewal_date for r in history)
    return "renewed_already" if reason == "not_due" and renewed else reason
