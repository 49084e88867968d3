"""Clears the faults of a customer's address, on the word of a person who knows that the address works again."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from shlex import quote
from typing import Any

from renewals.domain import mail_faults, reminders, subscription
from renewals.domain.addresses import BadAddress, deliverable, masked
from renewals.domain.errors import BadRow, Overtaken
from renewals.domain.mail_faults import Address, address_of, is_in_vain
from renewals.domain.offers import REMINDERS
from renewals.domain.owed import has_parked, owed_mail
from renewals.domain.renewal import Mail, Renewal
from renewals.domain.timeline_entries import Entry
from scripts.deployment import Deployment
from scripts.plainly import Trouble
from scripts.subscriptions.renewing import Ended, run_workflow

_SUPPRESSED = "OnAccountSuppressionList"
_MOST_RUNS = 3
"""The largest number of runs of the workflow for a period. A run sends a single mail, and a period seldom has more than
three waiting mails: the receipt, the mail that the `notice` of the renewal names, and a mail about a refund that was
requested while the other two mails waited.
"""


def clear_mail_fault(deployment: Deployment, subscription_id: str, why: str, *, customer_agrees: bool) -> Ended:
    """Clear the faults of the subscription's address, and send the waiting mails, oldest first.

    Args:
        deployment: the deployed stack.
        subscription_id: the subscription.
        why: the reason why the address works again, in words, for the timeline.
        customer_agrees: whether a customer who reported our mail as spam has agreed to further mails.

    Raises:
        Trouble: the address cannot receive mail at all; no fault is known and no mail waits; a customer who may have
            reported spam has not agreed to mail; or somebody else changed the subscription meanwhile.
    """
    row = deployment.row(subscription_id)
    address = address_of(row)
    try:
        deliverable(address.to)
    except BadAddress as bad:
        raise Trouble(f"No mail can be sent to this address: {bad}. Correct customer_email.") from None
    waiting = _waiting(deployment, row)
    failed = any(is_in_vain(mail, address) for mail in _mails(deployment, row, waiting))
    if mail_faults.kind(row) is None and not failed:
        if not waiting:
            raise Trouble(f"The address of {subscription_id} has no fault, and no mail waits.")
    else:
        if _was_complained_of(deployment, row, address) and not customer_agrees:
            raise Trouble(
                "The customer reported our mail as spam, or may have: SES had the address on its suppression list. "
                "Mail the customer again only with the customer's consent: then add --customer-agrees."
            )
        try:
            deployment.register.clear_mail_fault(row, why, deployment.asked(row))
        except Overtaken:
            raise Trouble("The subscription was changed meanwhile: look at the subscription, and try again.") from None
    return _mailed(deployment, subscription_id, waiting)


def about_suppression(address: str) -> tuple[str, str]:
    """Return an explanation of SES's own suppression list, and the command that removes the address from the list."""
    return (
        "SES keeps its own suppression list for the whole account, and sends no mail to an address on the list. If the "
        "mail bounces at once, remove the address from the list as follows, and clear the fault again.",
        f"aws sesv2 delete-suppressed-destination --email-address {quote(address)}",
    )


def _waiting(deployment: Deployment, row: Mapping[str, Any]) -> list[Renewal]:
    """Return the periods with a mail that waits until the customer can be mailed, oldest first."""
    periods = deployment.register.ledger.periods(row["subscription_id"])
    return [each for each in periods if has_parked(each) and each.customer_id == row["customer_id"]][::-1]


def _mails(deployment: Deployment, row: Mapping[str, Any], waiting: list[Renewal]) -> Iterator[Mail]:
    """Yield the records of the mails that may have failed at the address: all mails of the waiting periods, the
    reminders, and the confirmations of changes. A cleared fault has EventPublisher ask for the confirmations again.
    """
    for renewal in waiting:
        yield from renewal.mails.values()
    with suppress(BadRow):
        parsed = subscription.parse(row)
        yield from (mail for kind in REMINDERS if (mail := reminders.record(parsed, kind)))
    changes, *_ = deployment.register.changes.readable(row["subscription_id"])
    yield from (change.mail for change in changes if change.mail is not None)


def _was_complained_of(deployment: Deployment, row: Mapping[str, Any], address: Address) -> bool:
    """Tell whether the customer reported a mail to this address as spam, as far as known.

    SES suppresses an address after a complaint as well as after a bounce. If a later mail to the address bounces, SES
    does not say why the address was suppressed. A suppressed address therefore counts as a complaint.
    """
    if mail_faults.has_complained(row):
        return True
    if mail_faults.kind(row) is not None and _SUPPRESSED in str(row[mail_faults.FIELD].get("reason")):
        return True
    return deployment.register.was_complained_of(row["subscription_id"], address.to)


def _mailed(deployment: Deployment, subscription_id: str, waiting: list[Renewal]) -> Ended:
    """Run the workflow for each waiting period until the period owes no mail, at most three times, and return the
    result.
    """
    new: list[Entry] = []
    left = 0
    for renewal in waiting:
        for _ in range(_MOST_RUNS):
            row = deployment.row(subscription_id)
            ended = run_workflow(deployment, row, renewal.renewal_date)
            new += ended.new
            stands = deployment.register.ledger.get(subscription_id, renewal.renewal_date.isoformat())
            if stands is None or owed_mail(stands) is None:
                left += not ended.well
                break
        else:
            left += 1
    to = masked(address_of(deployment.row(subscription_id)).to)
    if left:
        missing = f"For {left} of {len(waiting)} periods, a mail to {to} may still be missing"
        told = f"{missing}: `why {subscription_id}` shows more."
        return Ended(told, tuple(new), well=False)
    told = f"The waiting mails were sent to {to}." if waiting else f"{to} can be mailed again. No mail was waiting."
    return Ended(told, tuple(new), well=True)
