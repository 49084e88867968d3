"""ProcessPayment: charge the due period of one subscription exactly once.

The event of the workflow is {"execution": ARN, "request": {...}}; renewals.domain.request defines the fields of the
request. A request asks for a charge, for a reminder to the customer, or for the settlement of refunds. Only a request
for a charge moves money from the customer.

The event of the customer's page is {"customer_request": {...}}; renewals.domain.customer_request defines the fields and
the reply.

The reply to the workflow is {"outcome", "reason", "subscription_id", "customer_id"}, and holds in addition:

- "renewal_date", "attempt", "amount", "currency" and "transaction_id", if the outcome is about a renewal;
- "renewal_date" and "reminders", the kinds of mails to send, if the outcome is remind;
- "changes", the keys of the changes to confirm by mail, if the outcome is confirm;
- "webhook_id", if the request has a webhook_id;
- "test_clock", YYYY-MM-DD, if a test clock sets the day of the subscription.

A PaymentError asks the workflow to try again.
"""

from datetime import date
from functools import cache

from process_payment.charge import Charge
from process_payment.decisions import Outcome
from process_payment.payments import Payments
from process_payment.remind import Remind
from renewals.domain import currencies
from renewals.domain.dunning import Dunning
from renewals.domain.errors import BadEvent, BadRow, PaymentError
from renewals.domain.item_values import fields, text
from renewals.domain.outcomes import PaymentOutcome
from renewals.domain.reasons import Reason
from renewals.domain.reminder_rules import Rules
from renewals.domain.request import Asks, RenewalRequest
from renewals.gateway import access as gateway_access
from renewals.gateway.port import GatewayUnauthorized
from renewals.ledger import reminder_records
from renewals.ledger.charging import Switch
from renewals.ledger.table import Ledger
from renewals.runtime import aws, clock, telemetry
from renewals.runtime.aws_errors import transient_aws_errors_as
from renewals.runtime.clock import Moment
from renewals.runtime.settings import setting
from renewals.runtime.telemetry import Event, Reply

EVENT_OF_CUSTOMER = "customer_request"
"""As EVENT of renewals.domain.customer_request, which only a request of the customer's page imports."""


@telemetry.observed
def handler(event: Event, _context: object) -> Reply:
    """Charge, remind or settle refunds as the event asks, or serve the customer's page; the module describes the events
    and the replies."""
    if EVENT_OF_CUSTOMER in event:
        from process_payment import customers

        return customers.reply_to(event)
    asked, execution = _asked(event)
    request = fields(event, "request")
    telemetry.correlate(request, execution=execution)
    try:
        with transient_aws_errors_as(PaymentError):
            reply = gateway_access.with_current_key(lambda: _answered(asked, execution))
    except GatewayUnauthorized:  # our key or account is at fault, not the renewal
        reply = _reply(asked, Outcome(PaymentOutcome.NOTHING_TO_DO, Reason.GATEWAY_ACCOUNT))
    if asked.webhook_id is not None:
        reply["webhook_id"] = asked.webhook_id
    telemetry.renewal_event("payment", reply)
    if reply["outcome"] is PaymentOutcome.FAILED:
        telemetry.count("RenewalFailed")
    if reply["reason"] == Reason.CUSTOMER_NOT_TOLD:
        telemetry.count("DunningHeld")
    return reply


def _answered(asked: RenewalRequest, execution: str) -> Reply:
    try:
        moment = _moment(asked)
    except BadRow as bad:
        return _reply(asked, Outcome(PaymentOutcome.REJECTED, str(bad)))
    match asked.asks:
        case Asks.RENEW:
            reply = _renewed(asked, execution, moment)
        case Asks.REMIND:
            reply = _to_remind_of(asked, moment.today)
        case Asks.CONFIRM:
            reply = _to_confirm(asked, moment)
        case Asks.SETTLE_REFUNDS:
            reply = _reply(asked, _refunds_settled(asked, moment))
        case Asks.OPEN_CARD_PAGE | Asks.TAKE_CARD | Asks.CONFIRM_ON_SESSION:
            reply = _reply(asked, Outcome(PaymentOutcome.NOTHING_TO_DO, Reason.ONLY_BY_THE_PAGE))
    return reply | {"test_clock": moment.today.isoformat()} if moment.tested else reply


def _renewed(asked: RenewalRequest, execution: str, moment: Moment) -> Reply:
    charge = Charge(
        ledger=_ledger(),
        payments=Payments(gateway_access.gateway(), setting("DEPLOYMENT")),
        switch=_switch(),
        execution=execution,
        seller={name: setting(f"SELLER_{name.upper()}") for name in ("name", "address", "tax_id")},
        moment=moment,
        dunning=Dunning.of(setting("DUNNING_DAYS"), setting("DUNNING_ENDS_AS")),
    )
    return _reply(asked, charge.renew(asked))


def _refunds_settled(asked: RenewalRequest, moment: Moment) -> Outcome:
    from process_payment import refunding
    from renewals.gateway.refund_settlement import Settlement

    ledger = Ledger(aws.dynamodb(), renewals=setting("RENEWALS_TABLE"))
    deployment = f"{setting('PROJECT_NAME')}-{setting('ENVIRONMENT')}"
    return refunding.settle(asked, Settlement(ledger, gateway_access.gateway(), deployment), moment)


def _moment(asked: RenewalRequest) -> Moment:
    """Return the moment that counts as now for the subscription; outside production, its row may name a test clock.
    Raises BadRow."""
    if not clock.heeds_test_clocks(setting("ENVIRONMENT")):
        return clock.current()
    rows = _ledger().rows(asked.subscription_id)
    row = next((row for row in rows if row["customer_id"] == asked.customer_id), None)
    return clock.current(row.get("test_clock") if row else None)


def _to_remind_of(asked: RenewalRequest, today: date) -> Reply:
    remind = Remind(
        ledger=_ledger(),
        records=reminder_records.Records(aws.dynamodb(), setting("DYNAMODB_TABLE")),
        gateway=gateway_access.gateway(),
        today=today,
        rules=Rules.of(setting("REMINDER_DAYS"), setting("REMINDED_PERIOD_DAYS")),
    )
    kinds = remind.still_owed(asked)
    nothing = Outcome(PaymentOutcome.NOTHING_TO_DO, Reason.NOTHING_TO_REMIND_OF)
    outcome = Outcome(PaymentOutcome.REMIND) if kinds else nothing
    return _reply(asked, outcome) | {"renewal_date": str(asked.renewal_date), "reminders": kinds}


def _to_confirm(asked: RenewalRequest, moment: Moment) -> Reply:
    from process_payment import confirm
    from renewals.domain.confirmations import wanted
    from renewals.ledger.confirmation_records import ConfirmationRecords

    tables = {"subscriptions": setting("DYNAMODB_TABLE"), "changes": setting("CHANGES_TABLE")}
    records = ConfirmationRecords(aws.dynamodb(), **tables)
    changes = confirm.still_owed(asked, records, wanted(setting("CONFIRMATIONS")), moment)
    nothing = Outcome(PaymentOutcome.NOTHING_TO_DO, Reason.NOTHING_TO_CONFIRM)
    return _reply(asked, Outcome(PaymentOutcome.CONFIRM) if changes else nothing) | {"changes": changes}


def _asked(event: Event) -> tuple[RenewalRequest, str]:
    try:
        request, execution = fields(event, "request"), text(event, "execution")
    except KeyError as error:
        raise BadEvent(f"ProcessPayment: {error} is missing") from None
    except TypeError as error:
        raise BadEvent(f"ProcessPayment: {error}") from None
    return RenewalRequest.from_fields(request), execution


def _reply(asked: RenewalRequest, outcome: Outcome) -> Reply:
    reply: Reply = {
        "outcome": outcome.name,
        "reason": outcome.reason,
        "subscription_id": asked.subscription_id,
        "customer_id": asked.customer_id,
    }
    renewal = outcome.renewal
    if renewal is not None:
        reply |= {
            "renewal_date": renewal.renewal_date.isoformat(),
            "attempt": renewal.attempt,
            "amount": currencies.written(renewal.amount, renewal.currency),
            "currency": renewal.currency,
            "transaction_id": renewal.payment_id,
        }
    return reply


@cache
def _switch() -> Switch:
    return Switch.of_process(aws.dynamodb(), setting("CHANGES_TABLE"))


@cache
def _ledger() -> Ledger:
    return Ledger(aws.dynamodb(), renewals=setting("RENEWALS_TABLE"), subscriptions=setting("DYNAMODB_TABLE"))
