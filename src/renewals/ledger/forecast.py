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


def next_charges(ledger: Ledger, row: Row, today: date, count: int) -> Preview:
    """Return the next `count` charges, as far as the charges can be told today. Raises BadRow."""
    checked = subscription.parse(row)
    history = ledger.history(checked.subscription_id, checked.customer_id)
    checked = spans.past_what_is_paid(checked, history)
    refused = history.unsettled
    failed = _failed_with(checked, history)
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

    A charge is rejected if a day of its period is paid, or if its claim would write a date that was billed before.
    `due` is the subscription, if the first charge bills from the date of the row.
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

    The ledger tells whether the next period has a day of a paid period, unless the row rules the overlap out by the end
    of the last paid period. Of a subscription that is due, the ledger also tells whether the renewal failed.

    The fault is the fault for a webhook, whose execution knows the latest ten periods. The execution of the sweep knows
    the period of the row's own date too, however old. If that period is paid, the sweep moves the row past the period
    in spite of the fault. If nothing came of that period, the sweep bills the row.

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
    """Return the failed renewal from the row's date on, unless the customer or the card was changed since."""
    for each in history:
        charged = each.customer_id, each.gateway_customer, each.payment_method
        same = charged == (checked.customer_id, checked.gateway_customer, checked.payment_method)
        if each.status is Status.FAILED and same and each.was_claimed_for(checked.renewal_date):
            return each if each.paid_at is None else None
    return None
