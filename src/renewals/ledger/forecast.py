"""The next charges of a subscription, by the row and the ledger, and the fault in the way of a charge."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from renewals.domain import pauses, reminders, spans, subscription, wording
from renewals.domain.errors import BadRow
from renewals.domain.preview import Preview, preview
from renewals.domain.renewal import Renewal, Status
from renewals.domain.renewal_history import History
from renewals.domain.subscription import Subscription, SubscriptionStatus
from renewals.ledger.steps import Row
from renewals.ledger.table import Ledger

_PAGE = 200


def next_charges(ledger: Ledger, row: Row, today: date, count: int, history: History | None = None) -> Preview:
    """Return the next `count` charges, as far as the charges can be told today. Raises BadRow.

    history: the periods of the row's customer, if they were read already.
    """
    checked = subscription.parse(row)
    if history is None:
        history = ledger.history(checked.subscription_id, checked.customer_id)
    checked = spans.past_what_is_paid(checked, history)
    refused = history.unsettled
    failed = _failed_with(checked, history)
    claimed = history.claimed_for(checked.renewal_date)
    reaches = spans.may_overlap(checked, unless_told=False)
    resumed: date | None = None
    if checked.status is SubscriptionStatus.PAUSED or pauses.was_resumed_by_hand(checked):
        items, _ = ledger.page(checked.subscription_id, limit=_PAGE)
        resumed = pauses.resumption(checked, today, history, items).until
    shown = preview(
        checked,
        today=today,
        count=count,
        refused=refused,
        failed=failed,
        unpaid=claimed if claimed is not None and claimed.paid_at is None else None,
        card=reminders.known_card(checked),
        resumed=resumed,
        paid_until=history.paid_until,
    )
    due = checked if resumed is None else None
    return _until_rejected(ledger, shown, due, history, refused, all_of_it=reaches)


def _until_rejected(
    ledger: Ledger,
    shown: Preview,
    due: Subscription | None,
    history: History,
    refused: Renewal | None,
    *,
    all_of_it: bool,
) -> Preview:
    """Return the charges before the first rejected charge. Raises BadRow if the very first charge is rejected.

    A charge is rejected if a day of its period is already paid, or if its claim would replace an item of the ledger
    that must stay. `due` is the subscription; None if the first charge does not bill from the row's renewal date but
    from a resumption.
    """
    for n, charge in enumerate(shown.charges):
        if refused is not None and charge.start == refused.renewal_date:
            continue
        first = due.renewal_date if due and n == 0 else charge.start
        known = ledger.reaching(min(first, charge.start), charge.end, history, all_of_it=all_of_it)
        try:
            spans.check(charge.start, charge.end, known)
            if due and n == 0:
                spans.check_free(charge.start, list(due.schedule.due(first, charge.start)), known, history)
        except BadRow as bad:
            if n == 0:
                raise
            return Preview(shown.charges[:n], f"The next charge is rejected: {bad}.")
    return shown


def fault(ledger: Ledger, row: Row, today: date, *, of_many: bool = False) -> BadRow | None:
    """Return the fault because of which the subscription cannot be charged as the row stands; None without a fault.

    The ledger is read to find out whether the next period overlaps a paid period, unless the row names the end of the
    last paid period and that end rules the overlap out. If the subscription is due, the ledger is also read to find out
    whether the renewal has failed.

    The fault is told as an execution started by a webhook would meet the fault: such an execution knows the latest ten
    periods. An execution started by the sweep also knows the period of the row's own date, however old. If the old
    period is paid, the sweep moves the row past the period in spite of the fault. If the old period was never paid and
    never will be, the sweep bills the row.

    If the row is one of many in a list (`of_many`), the ledger is read only for a row that names the end of the last
    paid period.
    """
    try:
        checked = subscription.parse(row)
        if checked.status.is_live and spans.may_overlap(checked, unless_told=not of_many):
            next_charges(ledger, row, today, 1)
    except BadRow as bad:
        return bad
    if of_many or checked.status.has_ended or checked.renewal_date > today:
        return None
    failed = _failed_with(checked, ledger.recent(checked.subscription_id))
    found = wording.fault_of(failed.reason) if failed else None
    return BadRow(*found) if found else None


def _failed_with(checked: Subscription, history: Iterable[Renewal]) -> Renewal | None:
    """Return the failed renewal that was claimed for the row's renewal date, unless the customer or the card was
    changed since."""
    for each in history:
        charged = each.customer_id, each.gateway_customer, each.payment_method
        same = charged == (checked.customer_id, checked.gateway_customer, checked.payment_method)
        if each.status is Status.FAILED and same and each.was_claimed_for(checked.renewal_date):
            return each if each.paid_at is None else None
    return None
