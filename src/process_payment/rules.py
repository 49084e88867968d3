"""Decide what to do for a subscription, by rules in a fixed order. The first rule that applies decides.

Rules write nothing. The snapshot holds the data that every decision needs. A rule looks up by itself the data that only
few decisions need: a payment at the gateway, the subscription's current row, the switch, older periods.

Decision: D201 (DECISIONS.md).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from process_payment.claims import (
    due_as_promised,
    due_claim,
)
from process_payment.continuing import OPEN, take_on
from process_payment.decisions import (
    AT_THE_BANK,
    WHILE_OFF,
    Answer,
    ClaimPeriod,
    Decision,
    GiveUp,
    LookAgain,
    Move,
    Note,
    Outcome,
    RecordPaid,
)
from process_payment.dunning_rules import DUNNING
from process_payment.failed_rules import FAILED
from process_payment.snapshot import Snapshot
from renewals.domain import pauses, spans
from renewals.domain.errors import BadRow
from renewals.domain.outcomes import PaymentOutcome
from renewals.domain.owed import is_of_refund
from renewals.domain.payment import PaymentState
from renewals.domain.reasons import Reason
from renewals.domain.renewal import Renewal, Status
from renewals.domain.renewal_history import is_undecided, was_stopped
from renewals.domain.subscription import has_ended, is_over
from renewals.gateway.port import GatewayRefused
from renewals.ledger import payment_steps, row_steps
from renewals.ledger.payment_steps import why_withdrawn

type Rule = Callable[[Snapshot], Decision | None]


def decide(seen: Snapshot) -> Decision:
    """Return the decision of the first rule that applies."""
    return _first(RULES, seen)


# The unsettled period: claimed or refused


def _mail_that_waited(seen: Snapshot) -> Decision | None:
    """The request names a settled period about which the customer is owed a mail: the work on the period was
    interrupted, or the mail was parked and the customer can be mailed again. The mail is sent, even while a different
    period is claimed or refused: dunning may take weeks."""
    if seen.unsettled is None or seen.owed is None:
        return None
    return _finish(seen, Outcome(PaymentOutcome.NOTHING_TO_DO))


def _interrupted_claim(seen: Snapshot) -> Decision | None:
    """A claim without a result is resolved before any other charge."""
    unsettled = seen.unsettled
    return take_on(seen, unsettled) if unsettled is not None and unsettled.status is Status.CLAIMED else None


def _refused_without_a_subscription(seen: Snapshot) -> Decision | None:
    """While the subscription's row is faulty, nothing is done about a refused period, and the request is rejected. If
    the row was deleted or the subscription has ended, the period is given up."""
    if seen.refused is None or not isinstance(seen.read, BadRow):
        return None
    row = seen.around.ledger.row(seen.refused)
    if row is None:
        return GiveUp(seen.refused, None, Reason.DELETED)
    if has_ended(row):  # even if other attributes of the row are faulty
        return GiveUp(seen.refused, row, str(row["status"]))
    return Answer(Outcome(PaymentOutcome.REJECTED, str(seen.read), seen.refused))


def _refused_and_over(seen: Snapshot) -> Decision | None:
    """A refused period is given up if its subscription has ended, was moved or was given to a different customer."""
    over = why_withdrawn(seen.refused, seen.subscription.row) if seen.refused is not None else None
    return GiveUp(seen.refused, seen.subscription.row, over) if seen.refused is not None and over else None


def _refused(seen: Snapshot) -> Decision | None:
    """Every other refused period is in dunning."""
    return _first(DUNNING, seen) if seen.refused is not None else None


# No period is unsettled


def _bad_row(seen: Snapshot) -> Decision | None:
    """An unreadable subscription, or a request about a subscription that the customer does not have, is rejected."""
    bad = seen.read
    return _finish(seen, Outcome(PaymentOutcome.REJECTED, str(bad))) if isinstance(bad, BadRow) else None


def _end(seen: Snapshot) -> Decision | None:
    """A subscription that has come to its end is marked as canceled in its row.

    If the payment of a failed period may still succeed, the gateway is asked about the payment before the row is
    marked. If the payment has succeeded, the period is recorded as paid, and the row is not marked yet. The same step
    moves `cancel_at` to the end of the paid period, unless somebody has changed the renewal date since the claim, or
    has canceled the subscription meanwhile.
    """
    if not is_over(seen.subscription.row, seen.around.today):
        return None
    ended, waits = Outcome(PaymentOutcome.NOTHING_TO_DO, Reason.ENDS_BEFORE), bool(seen.undecided)
    come = row_steps.end(seen.subscription.row)
    if not waits:
        return Note(come, lambda: _finish(seen, ended))
    decided = _finish(seen, ended, at_the_bank=AT_THE_BANK)
    return Note(come, lambda: decided) if decided == Answer(ended) else decided


def _resumed_by_hand(seen: Snapshot) -> Decision | None:
    """A subscription that somebody set to active after a pause is billed from the day of the resumption."""
    if not pauses.was_resumed_by_hand(seen.subscription):
        return None
    until = pauses.resumption(seen.subscription, seen.around.today, seen.history).until
    step = row_steps.resume(seen.subscription, until, seen.around.now)
    asked = replace(seen.asked, renewal_date=until) if seen.by_sweep else None
    return LookAgain(step, "the subscription was moved past its pause", asked)


def _paused(seen: Snapshot) -> Decision | None:
    """Paused time is never billed: the subscription moves past today, and its due periods are recorded as skipped."""
    due_on, today, claimed = seen.subscription.renewal_date, seen.around.today, seen.claimed
    paused = seen.subscription.why_not_due(today) is Reason.PAUSED
    if not paused or not seen.asked.renewal_date == due_on <= today or seen.owed is not None:
        return None
    if claimed is not None and claimed.paid_at is not None:
        return _past_what_is_paid(seen, claimed)
    if claimed is not None and is_undecided(claimed):
        return GiveUp(claimed, seen.subscription.row, Reason.PAUSED)
    due = tuple(seen.subscription.schedule.due(due_on, today))
    # A date that was claimed earlier has an item already. A skipped item would overwrite the history in that item.
    held = {r.renewal_date for r in (*seen.history, *seen.passed_over)}
    skipped = tuple(d for d in due if d not in held and (claimed is None or d > claimed.renewal_date))
    until = seen.subscription.schedule.after(due[-1])
    step = row_steps.pass_over(seen.subscription, skipped, until, seen.around.now)
    return Move(step, Outcome(PaymentOutcome.NOTHING_TO_DO, Reason.PAUSED))


def _not_due(seen: Snapshot) -> Decision | None:
    """A subscription that is not due is not billed. If the row of an ended subscription still says that a period is
    refused, the row's attributes of the refusal are removed."""
    reason = seen.subscription.why_not_due(seen.around.today)
    if reason is None:
        another = seen.asked.renewal_date not in (None, seen.subscription.renewal_date)
        return _finish(seen, Outcome(PaymentOutcome.NOTHING_TO_DO, Reason.ANOTHER_PERIOD)) if another else None
    renewed = any(r.period_end == seen.subscription.renewal_date for r in seen.history)
    why = Reason.RENEWED_ALREADY if reason is Reason.NOT_DUE and renewed else reason
    nothing = Outcome(PaymentOutcome.NOTHING_TO_DO, why)
    # The row may still hold the refusal of a period that was settled after the refusal.
    forgotten = row_steps.forget_refusal(seen.subscription.row)
    settled = seen.subscription.status.has_ended and not seen.undecided and forgotten.actions
    return Note(forgotten, lambda: _finish(seen, nothing)) if settled else _finish(seen, nothing)


# The subscription is due


def _paid_already(seen: Snapshot) -> Decision | None:
    """A subscription that somebody moved back to the date of a paid period is moved past the paid period."""
    claimed = seen.claimed
    return _past_what_is_paid(seen, claimed) if claimed is not None and claimed.paid_at is not None else None


def _failed(seen: Snapshot) -> Decision | None:
    """A failed period whose payment can still succeed is continued."""
    failed = seen.claimed
    if failed is None or not is_undecided(failed) or seen.subscription.ends_by(failed.renewal_date):
        return None
    return _first(FAILED, seen)


def _ends_before(seen: Snapshot) -> Decision | None:
    """A claimed period that begins after the end of the subscription is not billed."""
    claimed = seen.claimed
    if claimed is None or not seen.subscription.ends_by(claimed.renewal_date):
        return None
    ends = Outcome(PaymentOutcome.NOTHING_TO_DO, Reason.ENDS_BEFORE)
    if is_undecided(claimed):
        return _finish(seen, ends)
    return Note(row_steps.move_on(claimed, seen.subscription.row, seen.around.now), lambda: _finish(seen, ends))


def _stopped(seen: Snapshot) -> Decision | None:
    """A payment that somebody canceled at the gateway stays canceled until the customer updates the payment method.

    The canceled payment may belong to a claim that was later passed over, because a different period was claimed
    instead. If the passed-over period becomes due again, the payment still stays canceled: the rule also looks at
    passed-over claims of the due period.
    """
    _, billing = due_as_promised(seen.subscription, seen.claimed, seen.around.today)
    passed_over = [r for r in seen.passed_over if r.renewal_date == billing.start]
    claims = passed_over if seen.claimed is None else [seen.claimed, *passed_over]
    same_card = (r for r in claims if r.payment_method == seen.subscription.payment_method)
    stopped = next((r for r in same_card if was_stopped(r)), None)
    if stopped is None:
        return None
    name = PaymentOutcome.NOTHING_TO_DO if seen.by_sweep else PaymentOutcome.FAILED
    return _finish(seen, Outcome(name, Reason.CANCELED_AT_THE_GATEWAY, stopped))


def _overlap(seen: Snapshot) -> Decision | None:
    """No day is billed twice."""
    _, billing = due_as_promised(seen.subscription, seen.claimed, seen.around.today)
    reaches = spans.may_overlap(seen.subscription, unless_told=False)
    known = seen.around.ledger.reaching(billing.start, billing.end, seen.history, all_of_it=reaches)
    try:
        spans.check(billing.start, billing.end, known)
    except BadRow as bad:
        return _finish(seen, told_elsewhere(bad, by_sweep=seen.by_sweep))
    return None


def _another_amount(seen: Snapshot) -> Decision | None:
    """The request names a different amount than the subscription costs."""
    if seen.asked.amount == seen.subscription.amount:
        return None
    if seen.by_sweep:  # the amount changed while the message waited: the next message names the new amount
        return _finish(seen, Outcome(PaymentOutcome.NOTHING_TO_DO, Reason.AMOUNT_CHANGED))
    return _finish(seen, Outcome(PaymentOutcome.REJECTED, "amount: differs from the subscription's amount"))


def _one_at_a_time(seen: Snapshot) -> Decision | None:
    """If catch_up is `each` and several periods are due, only the sweep bills the periods. The sweep's message names a
    period, and a repeated message bills nothing more. A webhook names no period: each repetition of the same webhook
    would bill the next due period."""
    each = seen.subscription.catch_up == "each" and not seen.by_sweep
    if not each or seen.subscription.schedule.after(seen.subscription.renewal_date) > seen.around.today:
        return None
    return _finish(seen, Outcome(PaymentOutcome.NOTHING_TO_DO, Reason.CAUGHT_UP_BY_THE_SWEEP))


def _event_claims_nothing(seen: Snapshot) -> Decision | None:
    """An event of the gateway is about a payment that exists, and causes no new claim."""
    return _finish(seen, Outcome(PaymentOutcome.NOTHING_TO_DO)) if seen.asked.gateway_event is not None else None


def _moved_from_a_payment(seen: Snapshot) -> Decision | None:
    """The subscription was moved away from a failed period whose payment can still succeed. Before a new period is
    claimed, the failed period is given up and its payment is canceled, so that the customer never pays for both."""
    undecided = next((r for r in seen.undecided if seen.around.payments.is_known(r)), None)
    if undecided is None:
        return None
    off = seen.around.is_off(undecided)
    return Answer(WHILE_OFF) if off else GiveUp(undecided, seen.subscription.row, Reason.MOVED)


def _due(seen: Snapshot) -> Decision:
    """The due period is claimed."""
    around = seen.around
    claim = due_claim(
        seen.subscription,
        seen.claimed,
        seen.history,
        seen.passed_over,
        execution=around.execution,
        seller=around.seller,
        moment=around.moment,
    )
    return ClaimPeriod(claim, seen.subscription, seen.by_sweep)


RULES: tuple[Rule, ...] = (
    # A period is unsettled: claimed or refused.
    _mail_that_waited,
    _interrupted_claim,
    _refused_without_a_subscription,
    _refused_and_over,
    _refused,
    # No period is unsettled.
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
    _event_claims_nothing,
    _moved_from_a_payment,
    _due,
)


# Decisions that several rules share


def _first(rules: Sequence[Rule], seen: Snapshot) -> Decision:
    for rule in rules:
        decided = rule(seen)
        if decided is not None:
            return decided
    raise ValueError("no rule applies")


def _past_what_is_paid(seen: Snapshot, paid: Renewal) -> Decision:
    step = row_steps.move_on(paid, seen.subscription.row, seen.around.now)
    return LookAgain(step, "the subscription was moved past a paid period")


def _finish(seen: Snapshot, otherwise: Outcome, *, at_the_bank: Outcome | None = None) -> Decision:
    """Decide for a request that leads to no charge.

    If the customer is owed a mail, the mail is sent. Otherwise the gateway is asked about the payments of failed
    periods. If nothing else is to be done, the answer is `otherwise`.

    at_the_bank: the answer instead of `otherwise` if the payment of a failed period may still succeed; None for no
    special answer.
    """
    owed = seen.owed
    if owed is None:
        return _failed_payments(seen, seen.undecided, otherwise, at_the_bank)
    if owed.status is Status.GIVEN_UP:
        return Answer(Outcome(PaymentOutcome.GIVEN_UP, "", owed))
    if is_of_refund(owed):
        return Answer(Outcome(PaymentOutcome.REFUNDED, "", owed))
    return take_on(seen, owed)


def _failed_payments(
    seen: Snapshot, undecided: Sequence[Renewal], otherwise: Outcome, at_the_bank: Outcome | None
) -> Decision:
    """Ask the gateway about the payments of failed periods. If a payment has not succeeded, and the period is not given
    up, the gateway is asked again tomorrow."""
    if not undecided:
        return Answer(otherwise)
    (failed, *others), around = undecided, seen.around
    if failed.owned_by_another(around.execution, around.now):
        return _failed_payments(seen, others, at_the_bank or otherwise, at_the_bank)
    row = around.ledger.row(failed)
    over = failed.withdrawn or why_withdrawn(failed, row)
    try:
        payment = around.payments.retrieve(failed)
    except GatewayRefused:
        # The gateway does not know the payment, perhaps because our API key belongs to a different account. The payment
        # cannot be asked about, and the next failed period follows.
        if over and (row is None or has_ended(row)):
            return GiveUp(failed, row, over)
        return _failed_payments(seen, others, otherwise, at_the_bank)
    if payment.state is PaymentState.PAID:
        return RecordPaid(failed, payment)
    if over and payment.state in OPEN:  # so that nobody can complete the payment later
        return GiveUp(failed, row, over)
    # If the step is refused, another execution works on the failed period, and asks about the payment.
    tomorrow = payment_steps.ask_daily(failed, around.now)
    return Note(tomorrow, lambda: _failed_payments(seen, others, at_the_bank or otherwise, at_the_bank))


def told_elsewhere(bad: BadRow, *, by_sweep: bool) -> Outcome:
    """Return the outcome for a due period that cannot be claimed, because a day of the period is paid already, or
    because the claim would replace an item of the ledger that must stay.

    The sweep's message must not fail, because a failure would repeat and end in the dead-letter queue. The audit names
    the subscription instead, and the API shows the reason as the `fault` of the subscription.
    """
    return Outcome(PaymentOutcome.NOTHING_TO_DO if by_sweep else PaymentOutcome.REJECTED, str(bad))
