"""Decide about a refused period of a subscription that is still live and due on the period's date.

The rules are asked in the order of `DUNNING`, and the first rule that applies decides. process_payment.rules has the
rules for all other periods.
"""

from collections.abc import Callable
from datetime import timedelta

from process_payment import dunning_decisions
from process_payment.decisions import (
    AT_THE_BANK,
    Answer,
    Decision,
    GiveUp,
    NextAttempt,
    Note,
    Outcome,
    PassDate,
    RecordPaid,
)
from process_payment.snapshot import Snapshot
from renewals.domain.attempts import is_exhausted
from renewals.domain.mail_faults import address_of, is_in_vain
from renewals.domain.outcomes import PaymentOutcome
from renewals.domain.payment import PaymentState
from renewals.domain.reasons import Reason
from renewals.domain.renewal import MailKind, Renewal, Status
from renewals.ledger import dunning_steps


def _nothing_new(seen: Snapshot) -> Decision | None:
    """A declined card is not retried before the dunning date, unless the customer has updated the payment method and
    the period has had few attempts. The gateway is not asked either, unless an event of the gateway says that the
    payment has changed."""
    declined = _of(seen).status is Status.DECLINED and seen.asked.gateway_event is None
    return _stays_refused(seen) if declined and not _is_tried_again(seen) else None


def _paid_elsewhere(seen: Snapshot) -> Decision | None:
    """The customer has paid meanwhile, or a bank is deciding."""
    payment = seen.payment(_of(seen))
    if payment.state is PaymentState.PAID:
        return RecordPaid(_of(seen), payment)
    return Answer(AT_THE_BANK) if payment.state is PaymentState.PROCESSING else None


def _closed_at_the_gateway(seen: Snapshot) -> Decision | None:
    """The gateway says by an event that the payment that the customer should confirm is canceled. The customer can
    confirm nothing any more; the dunning date decides what follows."""
    renewal, now = _of(seen), seen.around.now
    waits = renewal.status is Status.ACTION_REQUIRED and renewal.closed_at is None
    if seen.asked.gateway_event is None or not waits or seen.payment(renewal).state is not PaymentState.CANCELED:
        return None
    return Note(dunning_steps.payment_closed(renewal, now), lambda: _stays_refused(seen))


def _not_confirmed_yet(seen: Snapshot) -> Decision | None:
    """A payment that was refused and is not paid meanwhile waits until the dunning date. An event of the gateway causes
    no attempt and moves no dunning date: a request without an event does so, such as the request of the sweep."""
    tried_again = seen.asked.gateway_event is None and _is_tried_again(seen)
    return None if tried_again else _stays_refused(seen)


def _dunning_while_off(seen: Snapshot) -> Decision | None:
    """While charging is off, no dunning date passes."""
    if not seen.around.is_off(_of(seen)):
        return None
    return Answer(Outcome(PaymentOutcome(_of(seen).status), Reason.CHARGING_IS_OFF, _of(seen)))


def _at_the_banks_page(seen: Snapshot) -> Decision | None:
    """For an hour after the customer was sent to the bank's page, no dunning date passes, and the period is not given
    up, unless the payment method was updated meanwhile."""
    renewal, now = _of(seen), seen.around.now
    if seen.has_new_card or not dunning_decisions.may_be_confirming(renewal, seen.payment(renewal), now):
        return None
    return _stays_refused(seen)


def _held(seen: Snapshot) -> Decision | None:
    """The last dunning date, and the end of dunning, wait until the customer was told the day of the end.

    If the customer's address can be mailed, the customer is told now by the final notice, and gets the usual time to
    react. Otherwise the period is looked at again tomorrow. A final notice is untrue once the payment method was
    updated: with a new card nothing waits for the notice, even if the new card is not tried any more.
    """
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
    """After its last dunning date, the period is given up."""
    if _has_card_to_try(seen) or not _is_behind_all(seen):
        return None
    ends_as = seen.around.dunning.ends_as
    return GiveUp(_of(seen), seen.subscription.row, Reason.DUNNING_OVER, ends_as)


def _canceled_at_the_gateway(seen: Snapshot) -> Decision | None:
    """A period whose payment was canceled by a person is given up. If the gateway itself canceled the payment, the next
    attempt creates a new payment."""
    payment = seen.payment(_of(seen))
    if payment.state is not PaymentState.CANCELED or payment.lapsed:
        return None
    return GiveUp(_of(seen), seen.subscription.row, Reason.CANCELED_AT_THE_GATEWAY)


def _pointless(seen: Snapshot) -> Decision | None:
    """If a retry with the present card cannot help, or the period has had the most attempts, the dunning date passes
    without a retry. Before the last dunning date, the customer gets the final notice."""
    renewal, around = _of(seen), seen.around
    pointless = not seen.has_new_card and dunning_decisions.is_pointless(renewal, seen.payment(renewal))
    if not pointless and not is_exhausted(renewal, around.today):
        return None
    behind = _behind(seen)
    next_date = around.dunning.next_date(renewal.first_tried_on, behind, around.today)
    notice = MailKind.FINAL_NOTICE if around.dunning.is_last(behind) else None
    return PassDate(renewal, behind, next_date, notice, Outcome(PaymentOutcome(renewal.status)))


def _tried_again(seen: Snapshot) -> Decision:
    """The payment is retried."""
    return NextAttempt(_of(seen), seen.subscription, seen.payment(_of(seen)), _behind(seen))


DUNNING: tuple[Callable[[Snapshot], Decision | None], ...] = (
    _nothing_new,
    _paid_elsewhere,
    _closed_at_the_gateway,
    _not_confirmed_yet,
    _dunning_while_off,
    _at_the_banks_page,
    _held,
    _over,
    _canceled_at_the_gateway,
    _pointless,
    _tried_again,
)


def _of(seen: Snapshot) -> Renewal:
    """Return the refused period."""
    if seen.refused is None:
        raise ValueError("no period is refused")
    return seen.refused


def _has_card_to_try(seen: Snapshot) -> bool:
    """Whether the payment method was updated since the last attempt, and may be tried today."""
    return seen.has_new_card and not is_exhausted(_of(seen), seen.around.today)


def _is_tried_again(seen: Snapshot) -> bool:
    renewal, dunning, today = _of(seen), seen.around.dunning, seen.around.today
    at_once = seen.has_new_card and dunning.tries_new_card(renewal, today)
    return at_once or dunning_decisions.is_dunning_date(renewal, dunning, today)


def _is_behind_all(seen: Snapshot) -> bool:
    return _of(seen).dunned >= len(seen.around.dunning.days)


def _behind(seen: Snapshot) -> int:
    """Return the number of dunning dates that the period has passed, including today's."""
    today = dunning_decisions.is_dunning_date(_of(seen), seen.around.dunning, seen.around.today)
    return _of(seen).dunned + (1 if today and not _is_behind_all(seen) else 0)


def _stays_refused(seen: Snapshot) -> Decision:
    """Retry nothing now. The mail that the customer is owed is sent, unless the customer's address has refused the
    mail."""
    renewal = _of(seen)
    if is_in_vain(renewal.mails.get(str(renewal.notice)), address_of(seen.subscription.row)):
        return Answer(Outcome(PaymentOutcome.NOTHING_TO_DO, Reason.ADDRESS_AT_FAULT, renewal))
    return Answer(Outcome(PaymentOutcome(renewal.status), "", renewal))
