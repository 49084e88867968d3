"""SendEmail and SendDeclineEmail: tell the customer once about an outcome of a renewal, remind the customer, or confirm
a change.

Event: {"execution": ARN, "renewal": {"outcome", "subscription_id", "customer_id", "renewal_date", ...}}. The outcome is
receipted, declined, action_required, given_up, refunded, remind or confirm. If the outcome is remind, the renewal has
the "reminders", a list of "upcoming" and "card_expires". If the outcome is confirm, the renewal has no "renewal_date",
and has the "changes", a list of the keys of changes. With every other outcome, the renewal has the "attempt". Reply:
the renewal with a new outcome: mailed, dropped (the mail would no longer be true), in_progress, mail_failed (the
address is at fault) or mail_unknown. A MailError asks the workflow to try again.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from renewals.domain.dunning import Dunning
from renewals.domain.errors import BadEvent, MailError
from renewals.domain.item_values import fields, several, text, whole
from renewals.domain.outcomes import MailOutcome, PaymentOutcome
from renewals.domain.renewal import MailKind, Renewal
from renewals.ledger import account_links, receipt_links
from renewals.ledger.table import Ledger
from renewals.runtime import aws, clock, telemetry
from renewals.runtime.aws_errors import transient_aws_errors_as
from renewals.runtime.settings import setting
from renewals.runtime.telemetry import Event, Reply
from send_email.customer_page import CustomerPage
from send_email.delivery import Delivery
from send_email.letter import Brand
from send_email.post import Post

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from renewals.runtime.clock import Moment

_OUTCOMES = (
    PaymentOutcome.RECEIPTED,
    PaymentOutcome.DECLINED,
    PaymentOutcome.ACTION_REQUIRED,
    PaymentOutcome.GIVEN_UP,
    PaymentOutcome.REMIND,
    PaymentOutcome.CONFIRM,
    PaymentOutcome.REFUNDED,
)

_KEYS_HELD_SECONDS = 120
"""How long the two keys of links are held: together they are read once a minute, as often as the single key was read
before mails led to the customer page. Functions that check links read a key after a minute."""


@telemetry.observed
def handler(event: Event, _context: object) -> Reply:
    """Send the mail or the reminders that the event asks for; see the module."""
    renewal, execution = fields(event, "renewal"), text(event, "execution")
    telemetry.correlate(renewal, execution=execution)
    if renewal.get("outcome") not in _OUTCOMES:
        raise BadEvent(f"SendEmail: outcome is none of {', '.join(_OUTCOMES)}")
    moment = clock.current(renewal.get("test_clock"))
    post = Post(
        ses=aws.ses(),
        sender=setting("SENDER_EMAIL"),
        configuration_set=setting("SES_CONFIGURATION_SET"),
        execution=execution,
        now=moment.now,
    )
    with transient_aws_errors_as(MailError):
        page = CustomerPage(setting("CUSTOMER_PAGE_URL"), setting("ACCOUNT_URL"), _account_key, moment.wall)
        match renewal["outcome"]:
            case PaymentOutcome.REMIND:
                outcome = _reminded(renewal, post, page, moment.today)
            case PaymentOutcome.CONFIRM:
                outcome = _confirmed(renewal, post, page, moment)
            case _:
                outcome = _delivered(renewal, post, page, moment.today)
    reply: Reply = {**renewal, "outcome": outcome}
    telemetry.renewal_event("mail", reply)
    return reply


def _delivered(renewal: Mapping[str, object], post: Post, page: CustomerPage, today: date) -> MailOutcome:
    delivery = Delivery(
        ledger=_ledger(),
        post=post,
        today=today,
        read_receipt=_read_receipt,
        receipt_link=_receipt_link,
        dunning=Dunning.of(setting("DUNNING_DAYS"), setting("DUNNING_ENDS_AS")),
        page_link=page.link,
        brand=_brand(),
    )
    return delivery.deliver(
        text(renewal, "subscription_id"),
        text(renewal, "customer_id"),
        text(renewal, "renewal_date"),
        text(renewal, "outcome"),
        whole(renewal, "attempt"),
    )


def _reminded(renewal: Mapping[str, object], post: Post, page: CustomerPage, today: date) -> MailOutcome:
    from renewals.domain.reminder_rules import Rules
    from renewals.ledger import reminder_records
    from send_email.reminding import Reminding

    reminding = Reminding(
        records=reminder_records.Records(aws.dynamodb(), setting("DYNAMODB_TABLE")),
        post=post,
        seller=setting("SELLER_NAME"),
        page_link=page.link,
        reminders_link=page.reminders_link,
        today=today,
        rules=Rules.of(setting("REMINDER_DAYS"), setting("REMINDED_PERIOD_DAYS")),
        brand=_brand(),
    )
    kinds = [MailKind(str(kind)) for kind in several(renewal, "reminders")]
    whose = text(renewal, "subscription_id"), text(renewal, "customer_id")
    return reminding.deliver(*whose, text(renewal, "renewal_date"), kinds)


def _confirmed(renewal: Mapping[str, object], post: Post, page: CustomerPage, moment: Moment) -> MailOutcome:
    from renewals.domain.confirmations import wanted
    from renewals.ledger.confirmation_records import ConfirmationRecords
    from send_email.confirming import Confirming

    tables = {"subscriptions": setting("DYNAMODB_TABLE"), "changes": setting("CHANGES_TABLE")}
    confirming = Confirming(
        records=ConfirmationRecords(aws.dynamodb(), **tables),
        ledger=_ledger(),
        post=post,
        kinds=wanted(setting("CONFIRMATIONS")),
        seller=setting("SELLER_NAME"),
        page_link=page.link,
        brand=_brand(),
        moment=moment,
    )
    keys = [str(key) for key in several(renewal, "changes")]
    return confirming.deliver(text(renewal, "subscription_id"), text(renewal, "customer_id"), keys)


def _brand() -> Brand:
    return Brand(
        colour=setting("BRAND_COLOR"),
        logo=setting("BRAND_LOGO_URL"),
        reply_to=setting("REPLY_TO_EMAIL"),
        support=setting("SUPPORT_URL"),
    )


def _read_receipt(key: str) -> bytes:
    return aws.s3().get_object(Bucket=setting("S3_BUCKET"), Key=key)["Body"].read()


def _receipt_link(renewal: Renewal, refund: str) -> str:
    of = renewal.subscription_id, renewal.renewal_date.isoformat(), refund
    token = receipt_links.token(_link_key().value(), *of)
    return f"{setting('RECEIPT_LINKS_URL')}/{token}"


def _account_key() -> str:
    return account_links.Keys.of_secret(_account_secret().value()).current


@cache
def _account_secret() -> receipt_links.LinkKey:
    return receipt_links.LinkKey(aws.secrets_manager(), setting("ACCOUNT_LINK_KEY_ARN"), _KEYS_HELD_SECONDS)


@cache
def _link_key() -> receipt_links.LinkKey:
    return receipt_links.LinkKey(aws.secrets_manager(), setting("RECEIPT_LINK_KEY_ARN"), _KEYS_HELD_SECONDS)


@cache
def _ledger() -> Ledger:
    return Ledger(aws.dynamodb(), renewals=setting("RENEWALS_TABLE"), subscriptions=setting("DYNAMODB_TABLE"))
