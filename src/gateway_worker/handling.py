"""The interface of the handlers of events: the arguments and the answer of a handler.

A handler is a function from a GatewayEvent and the `Seams` to a `Handled`. gateway_worker.handlers has the table from
the type of an event to the handler. A handler follows these rules:

- An event is a hint. The ledger and the gateway say what is true; the event only says where to look.
- Only the workflow charges and mails: a handler starts the workflow by `seams.run`. A handler ends a subscription
  without the workflow, by `seams.register`.
- If the ledger holds the effect of an event already, the handler answers KNOWN. For an event of a payment, the handler
  must do so without a call of the gateway: the charge of each ordinary renewal causes an event, and most events of
  payments are therefore known. An event of a refund or a dispute names no billing period: a call of the gateway leads
  to the period. An event of a card causes a call of the gateway only if a row with the card does not say yet that the
  card is detached, or if a customer with the card is still owed the mail about the card. An event of a session for a
  new card causes a call of the gateway if the session names a subscription of this deployment.
- If an execution holds the lease of the period, the handler answers `later`, and the queue delivers the event again
  after the lease.
- An event may arrive twice, or late, or before this system has recorded the cause of the event, or never. If a handler
  writes a record of its own to a table, the key of the record holds the id of the gateway's object, such as re_... for
  a refund, so that a second event about the object causes no second record.
- If a handler raises an exception, the queue delivers the event again. After the fifth time the event goes to the
  dead-letter queue.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from renewals.gateway import access as gateway_access

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from renewals.domain.reminder_rules import Rules
    from renewals.domain.renewal import Renewal
    from renewals.domain.request import RenewalRequest
    from renewals.domain.subscription import Subscription
    from renewals.gateway.port import Gateway
    from renewals.ledger.register import Register
    from renewals.ledger.steps import Row
    from renewals.ledger.table import Ledger
    from renewals.runtime.clock import Moment

_AFTER_THE_LEASE = timedelta(seconds=5)

UNTIL_A_PERSON_ACTS = timedelta(hours=1)
"""The wait before each further try if only a person can help. The person mends the account or the key at the gateway,
or the subscription's row, or deploys a version that knows the type of the event. The last try comes four hours after
the first."""


class EventOutcome(StrEnum):
    """The result of an event, for the log and the metrics."""

    DONE = "done"
    """The workflow ran, or the effect of the event was recorded."""
    KNOWN = "known"
    """The ledger holds the effect of the event already."""
    PASSED_OVER = "passed_over"
    """The event is about nothing of this deployment."""
    LATER = "later"
    """The event is delivered again."""


@dataclass(frozen=True, slots=True)
class Handled:
    """The answer of a handler.

    Attributes:
        reason: a short name of the reason, for the log.
        after: for LATER, how long the queue hides the event. If None, the wait grows with each try.
        may_be_dropped: for LATER, whether the event is passed over after the last try. Every other event goes to the
            dead-letter queue.
    """

    outcome: EventOutcome
    reason: str = ""
    after: timedelta | None = None
    may_be_dropped: bool = False


KNOWN = Handled(EventOutcome.KNOWN)


def passed_over(reason: str) -> Handled:
    return Handled(EventOutcome.PASSED_OVER, reason)


def later(reason: str, after: timedelta | None = None) -> Handled:
    return Handled(EventOutcome.LATER, reason, after)


@dataclass(frozen=True, slots=True)
class Seams:
    """The ledger, the gateway, the workflow and the clock, as a handler uses them.

    Attributes:
        deployment: the name of this deployment.
        gateway: opens the gateway, with the key of the gateway secret.
        run: runs the workflow for a request to its end, and returns whether the execution succeeded.
        moment_of: returns the moment that counts as now for the period's subscription.
        keeps_disputed: whether a disputed subscription goes on (the parameter DisputedSubscriptions).
        seconds_left: returns the time left before the function is stopped.
        today_of: returns the business's day that counts as today for the subscription.
        moment_of_row: returns the moment that counts as now for the row's subscription.
        reminder_rules: when the deployment reminds customers.
    """

    register: Register
    deployment: str
    gateway: Callable[[], Gateway]
    run: Callable[[RenewalRequest], bool]
    moment_of: Callable[[Renewal], Moment]
    keeps_disputed: bool
    seconds_left: Callable[[], float]
    today_of: Callable[[Subscription], date]
    moment_of_row: Callable[[Row], Moment]
    reminder_rules: Rules

    @property
    def ledger(self) -> Ledger:
        return self.register.ledger

    def ask[T](self, question: Callable[[Gateway], T]) -> T:
        """Return the gateway's answer to a question. If the gateway turns the key away, the key is read again. Raises
        the gateway's errors."""
        return gateway_access.with_current_key(lambda: question(self.gateway()))

    def period(self, metadata: Mapping[str, str]) -> Renewal | None:
        """Return the period that the metadata of a payment name, read consistently. Return None if the metadata name no
        period, or if the ledger holds no claim of the period."""
        subscription_id, renewal_date = (metadata.get(name) for name in ("subscription_id", "renewal_date"))
        return self.ledger.get(subscription_id, renewal_date) if subscription_id and renewal_date else None

    def period_of(self, earlier: Renewal) -> Renewal | None:
        """Return the period as the ledger has the period now, read consistently. earlier: the period as read before."""
        return self.ledger.get(earlier.subscription_id, earlier.renewal_date.isoformat())

    def lease_of_another(self, period: Renewal) -> Handled | None:
        """Return the answer `later` if an execution holds the lease of the period now; None if the lease is over."""
        left = period.lease_until - self.moment_of(period).now
        return later("another execution works on the period", left + _AFTER_THE_LEASE) if left > timedelta() else None
