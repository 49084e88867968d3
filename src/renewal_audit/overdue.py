"""Compare subscriptions that have been due since yesterday or longer with their periods in the ledger. Pure."""

from collections.abc import Callable

from renewal_audit.findings import Count, Difference, Found
from renewal_audit.ledger_items import is_quiet, mails_in, standing_in_words
from renewals.domain import wording
from renewals.domain.item_values import Item
from renewals.domain.renewal import MailKind, Status
from renewals.domain.subscription import Subscription
from renewals.runtime.clock import Moment


def compare_due(
    subscription: Subscription,
    item: Item | None,
    moment: Moment,
    found: Found,
    overlap: Callable[[], str | None] = lambda: None,
) -> None:
    """Compare a subscription that has been due since yesterday or longer with the period in the ledger.

    Args:
        subscription: The subscription.
        item: The period in the ledger; None if the ledger has no such period.
        moment: The moment at which the subscription is read.
        found: The findings.
        overlap: Returns why the subscription cannot be charged if a day of the next period is paid already, else None.
    """
    found.counts[Count.DUE] += 1
    key = subscription.subscription_id, subscription.renewal_date.isoformat()
    standing = _standing(item or {}, moment)
    payment_id = str(item.get("payment_id", "")) if item else ""
    if item is None or standing is None:
        paid, stands = overlap(), "nothing in the ledger"
        if item is not None:
            stands = f"still due; since {item.get('touched_at')!s} {standing_in_words(item)}"
        found.differs(Difference.MISSED if paid is None else Difference.OVERLAPPING, key, payment_id, paid or stands)
    else:
        found.counts[standing] += 1
        if standing is Count.DUNNING and _is_untold(item, moment):
            owed = f"to be mailed since {item.get('touched_at')!s}: {wording.mail(MailKind.of(item['notice']))}"
            found.differs(Difference.MAIL_MISSING, key, payment_id, owed)


def _standing(item: Item, moment: Moment) -> Count | None:
    """Return the count of a due period if a function or a person will see to the period; None if nobody will."""
    match item.get("status"):
        case Status.CLAIMED if not is_quiet(item, moment.now):
            return Count.UNDER_WAY
        case Status.DECLINED | Status.ACTION_REQUIRED if (
            str(item.get("next_attempt", "9999")) >= moment.today.isoformat()
        ):
            return Count.DUNNING
        case Status.FAILED:
            return Count.FAILED
    return None


def _is_untold(item: Item, moment: Moment) -> bool:
    """Whether the notice of a refusal is owed, and for a day nobody has tried to send the notice. A notice whose mail
    failed does not count, because the notice waits for a new address."""
    name = item.get("notice")
    told = isinstance(name, str) and name in mails_in(item)
    return name is not None and not told and is_quiet(item, moment.now)
