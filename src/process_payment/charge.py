"""The charge, step by step. Two rules carry it: the ledger is asked first, and money moves only by confirming the one
payment whose id the ledger already holds.

1. Ask the ledger. A result ends the attempt; a claim without a result is resolved before anything else, whatever the
   subscription says by now.
2. Claim the period, if the subscription is due, live and costs what was asked.
3. Create the payment, unconfirmed, and write its id into the claim. No money has moved.
4. Confirm it. A payment succeeds only once, however often and by however many this is run.
5. Record the result; the subscription moves on in the same transaction.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from hashlib import sha256
from uuid import uuid4

from renewals import currencies, subscription
from renewals.errors import BadRow, PaymentError
from renewals.gateway import Failure, Gateway, GatewayRefused, GatewayUnavailable, Payment, PaymentRequest, PaymentState
from renewals.ledger import LEASE, MOST_PICK_UPS, Ledger, Lost
from renewals.periods import latest_due
from renewals.renewal import UNSETTLED, Renewal, Status
from renewals.subscription import Subscription

_RACES = 4
_LONGEST_KEY = 255  # https://docs.stripe.com/api/idempotent_requests
_LOOKED_UP_WHEN_LATE_BY = timedelta(days=1)
_REFUSED = {PaymentState.DECLINED: Status.DECLINED, PaymentState.ACTION_REQUIRED: Status.ACTION_REQUIRED}


@dataclass(frozen=True, slots=True)
class Asked:
    """What an execution was asked to renew. amount: major units; a claim to check, never an instruction."""

    subscription_id: str
    customer_id: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a Choice state reads. name: paid, receipted, declined, action_required, nothing_to_do, in_progress,
    rejected or failed. reason: why, as a short name, where the name alone does not say."""

    name: str
    reason: str = ""
    renewal: Renewal | None = None


@dataclass(frozen=True, slots=True)
class Charge:
    """One execution's run at one subscription.

    execution: who owns what is claimed here. deployment: project and environment, the first part of idempotency keys.
    seller: name, address, tax_id as the receipt prints them. today: the business's day. now: the moment, UTC.
    """

    ledger: Ledger
    gateway: Gateway
    execution: str
    deployment: str
    seller: Mapping[str, str]
    today: date
    now: datetime

    def renew(self, asked: Asked) -> Outcome:
        """Bring the subscription's due period to a result. Raises PaymentError where it must be tried again."""
        try:
            for _ in range(_RACES):
                history = [r for r in self.ledger.recent(asked.subscription_id) if r.customer_id == asked.customer_id]
                unsettled = next((r for r in history if r.status in UNSETTLED), None)
                outcome = self._resolve(unsettled) if unsettled else self._begin(asked, history)
                if outcome is not None:
                    return outcome
        except GatewayUnavailable as error:
            raise PaymentError(str(error)) from error
        raise PaymentError("others keep working on this subscription")

    # Before the money: each step gives None where another execution was faster, and all is looked at again.

    def _begin(self, asked: Asked, history: list[Renewal]) -> Outcome | None:
        try:
            row = self._row(asked)
        except BadRow as bad:
            return self._continue(history, asked) or Outcome("rejected", str(bad))
        reason = row.why_not_due(self.today)
        if reason is not None:
            return self._continue(history, asked) or Outcome("nothing_to_do", _why_nothing(reason, row, history))
        stuck = next((r for r in history if r.status is Status.FAILED and r.row_date == row.renewal_date), None)
        if stuck is not None and stuck.payment_id is not None:
            return Outcome("failed", stuck.reason or "", stuck)
        if asked.amount != row.amount:
            return Outcome("rejected", "amount: is not what the subscription costs")
        billing = latest_due(row.schedule, row.renewal_date, self.today)
        if row.catch_up == "each" and billing.skipped:
            return Outcome("rejected", "catch_up: each missed period is billed by the sweep, not on request")
        tries = stuck.intent_tries + 1 if stuck else 0
        new = self._new_claim(row, billing.start, billing.end, tries)
        claimed = self.ledger.claim(new, billing.skipped, row)
        return self._collect(claimed) if claimed else None

    def _row(self, asked: Asked) -> Subscription:
        rows = self.ledger.rows(asked.subscription_id)
        if not any(row["customer_id"] == asked.customer_id for row in rows):
            raise BadRow("subscription_id", "no such subscription of this customer")
        if len(rows) > 1:
            raise BadRow("customer_id", "the subscription has more than one customer")
        return subscription.parse(rows[0])

    def _new_claim(self, row: Subscription, start: date, end: date, intent_tries: int) -> Renewal:
        return Renewal(
            subscription_id=row.subscription_id,
            renewal_date=start,
            customer_id=row.customer_id,
            claim=uuid4().hex,
            owner=self.execution,
            lease_until=self.now + LEASE,
            claimed_at=self.now,
            row_date=row.renewal_date,
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
            intent_tries=intent_tries,
        )

    def _continue(self, history: list[Renewal], asked: Asked) -> Outcome | None:
        """With nothing to charge: the oldest period that lacks its receipt or its mail."""
        for renewal in reversed(history):
            if renewal.status in (Status.PAID, Status.RECEIPTED):
                return self._take_on(renewal, renewal.status.value)
            if renewal.status is Status.MAIL_FAILED and self._new_address(renewal, asked):
                return self._take_on(renewal, "receipted")
        return None

    def _new_address(self, renewal: Renewal, asked: Asked) -> bool:
        rows = self.ledger.rows(asked.subscription_id)
        now_at = next((row.get("customer_email") for row in rows if row["customer_id"] == asked.customer_id), None)
        return now_at is not None and all(
            mail.to != now_at for mail in renewal.mails.values() if mail.state == "failed"
        )

    def _take_on(self, renewal: Renewal, outcome: str) -> Outcome | None:
        if renewal.owned_by_another(self.execution, self.now):
            return Outcome("in_progress", "", renewal)
        if renewal.owner != self.execution and renewal.pickups >= MOST_PICK_UPS:
            return self._give_up(renewal, "picked_up_too_often")
        taken = self.ledger.take(renewal, self.execution, self.now)
        return None if isinstance(taken, Lost) else Outcome(outcome, "", taken)

    def _resolve(self, renewal: Renewal) -> Outcome | None:
        """A claim without a result, or a refusal, which stands until the card changes or the customer has acted."""
        if renewal.status is Status.DECLINED:
            return self._try_new_card(renewal) or Outcome("declined", "", renewal)
        if renewal.status is Status.ACTION_REQUIRED:
            return self._completed(renewal) or self._try_new_card(renewal) or Outcome("action_required", "", renewal)
        taken = self._take_on(renewal, "")
        if taken is None or taken.name:
            return taken
        return self._collect(taken.renewal or renewal)

    def _try_new_card(self, renewal: Renewal) -> Outcome | None:
        rows = [row for row in self.ledger.rows(renewal.subscription_id) if row["customer_id"] == renewal.customer_id]
        card = rows[0].get("payment_method") if rows and rows[0].get("status") in subscription.LIVE else None
        if not isinstance(card, str) or not card or card == renewal.payment_method:
            return None
        begun = self.ledger.next_attempt(renewal, card, self.execution, self.now)
        return None if isinstance(begun, Lost) else self._collect(begun)

    # The money

    def _collect(self, renewal: Renewal) -> Outcome | None:
        """Steps 3 to 5 for a period that this execution owns."""
        try:
            if renewal.payment_id is None:
                payment = self._payment(renewal)
                kept = self.ledger.keep_payment_id(renewal, payment.id, self.now)
                return None if isinstance(kept, Lost) else self._settle(kept, payment)
            return self._settle(renewal, self.gateway.retrieve(renewal.payment_id))
        except GatewayRefused as refused:
            return self._give_up(renewal, f"gateway: {refused.code}")

    def _completed(self, renewal: Renewal) -> Outcome | None:
        """Whether the customer has confirmed with the bank meanwhile: that is the payment."""
        try:
            payment = self.gateway.retrieve(str(renewal.payment_id))
        except GatewayRefused as refused:
            return self._give_up(renewal, f"gateway: {refused.code}")
        return self._paid(renewal, payment) if payment.state is PaymentState.PAID else None

    def _give_up(self, renewal: Renewal, reason: str) -> Outcome | None:
        failed = self.ledger.record_failed(renewal, reason, self.now)
        return None if isinstance(failed, Lost) else Outcome("failed", reason, failed)

    def _payment(self, renewal: Renewal) -> Payment:
        """The period's payment: found at the gateway where history may be gone, else created, unconfirmed."""
        amount = currencies.minor_units(renewal.amount, renewal.currency)
        if self.today - renewal.row_date > _LOOKED_UP_WHEN_LATE_BY:
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
            created = self.gateway.create(request)
        except GatewayUnavailable as error:
            if error.answered:
                self.ledger.count_intent_try(renewal, self.now)
            raise
        if (created.amount, created.currency) != (amount, renewal.currency):
            raise GatewayRefused("amount_differs", "the payment is not of the amount that was claimed")
        return created

    def _find_payment(self, renewal: Renewal, amount: int) -> Payment | None:
        """A payment of this very period: a paid one before any other, and else one that can still be paid."""
        since = datetime.combine(renewal.row_date, time(), UTC) - timedelta(days=1)
        period = {"subscription_id": renewal.subscription_id, "renewal_date": renewal.renewal_date.isoformat()}
        listed = self.gateway.list(renewal.gateway_customer, since)
        ours = [payment for metadata, payment in listed if period.items() <= metadata.items()]
        paid = [payment for payment in ours if payment.state is PaymentState.PAID]
        alive = [
            p
            for p in ours
            if p.state is not PaymentState.CANCELED and (p.amount, p.currency) == (amount, renewal.currency)
        ]
        return next(iter(paid + alive), None)

    def _settle(self, renewal: Renewal, payment: Payment) -> Outcome | None:
        if self._can_be_confirmed(renewal, payment):
            payment = self.gateway.confirm(payment.id, renewal.payment_method)
            if self._can_be_confirmed(renewal, payment):
                raise PaymentError("the gateway did not take the confirmation")
        if payment.state is PaymentState.PAID:
            return self._paid(renewal, payment)
        if payment.state in _REFUSED:
            return self._refused(renewal, _REFUSED[payment.state], payment)
        if payment.state is PaymentState.CANCELED:
            raise GatewayRefused("canceled", "the payment was canceled at the gateway")
        raise PaymentError("the payment is still being processed")

    def _can_be_confirmed(self, renewal: Renewal, payment: Payment) -> bool:
        """Never tried, or tried no further than the attempts that the ledger knows."""
        if payment.state is PaymentState.OPEN:
            return True
        return payment.state in _REFUSED and payment.failure is not None and payment.failure.id == renewal.failure_id

    def _paid(self, renewal: Renewal, payment: Payment) -> Outcome | None:
        amount = currencies.major_units(payment.amount, payment.currency)
        recorded = self.ledger.record_paid(renewal, payment, amount, self.now)
        return None if isinstance(recorded, Lost) else Outcome("paid", "", recorded)

    def _refused(self, renewal: Renewal, status: Status, payment: Payment) -> Outcome | None:
        failure = payment.failure or Failure(f"{payment.id}/{renewal.attempt}", status.value, None, None)
        recorded = self.ledger.record_refused(renewal, status, failure, self.now)
        return None if isinstance(recorded, Lost) else Outcome(status.value, "", recorded)


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
