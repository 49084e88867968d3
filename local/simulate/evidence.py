"""Compares the results of the simulated year (charges, ledger, receipts, mails and rows) with the expected results."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from hashlib import md5, sha256
from typing import Any

from boto3.dynamodb.types import TypeDeserializer

from local.simulate.bank import Refunded
from local.simulate.disputes import counted, disputes_in_the_ledger, disputes_in_the_timeline, ends_mistold
from local.simulate.expected import Charged, Expected, Fault, expected
from local.simulate.happenings import Killed, Subscriber, Vanished
from local.simulate.news import misheard
from local.simulate.shop import Shop
from local.simulate.story import Story


@dataclass(frozen=True)
class _Mail:
    """A mail that SES accepted.

    to: the address. pdf: the attached receipt. returned: the day of the bounce; None if the mail arrived.
    """

    to: str
    subject: str
    text: str
    pdf: bytes | None
    returned: date | None


@dataclass(frozen=True)
class Verdict:
    """The result of the comparison.

    Attributes:
        results: the expected results, by subscription.
        faults: all differences.
        receipted: the number of charges with a receipt.
        mailed: the number of charges whose receipt arrived by mail.
        unknown: the number of mails interrupted so that nobody can tell whether the mail went out.
        returned: the number of bounced mails.
        corrected: the number of mailed charges whose mailbox was missing at first, and whose mail went to a corrected
            address.
        unmailed: the number of receipts with status mail_failed, because the address was never corrected.
        refunded: the number of refunds made in the gateway's dashboard.
        refunds_failed: the number of such refunds that failed later.
        disputed: the number of disputes, inquiries included.
        won, lost: the numbers of disputes that were won and lost.
        warned: the number of early warnings of fraud.
        caught_up: the number of events that the nightly catch-up searched out, also events known already.
        heard: the number of events that the application heard.
        heard_again: the number of events that the application heard more than once.
        in_vain: the number of posts while the application was down.
    """

    results: dict[str, Expected]
    faults: list[Fault]
    receipted: int
    mailed: int
    unknown: int
    returned: int
    corrected: int
    unmailed: int
    refunded: int
    refunds_failed: int
    disputed: int
    won: int
    lost: int
    warned: int
    caught_up: int
    heard: int
    heard_again: int
    in_vain: int


def verdict(story: Story, shop: Shop) -> Verdict:
    """Read all results, and name every difference."""
    charges = _charges(shop)
    results = {s.id: expected(s, story, charges[s.id]) for s in story.subscribers}
    faults = [fault for result in results.values() for fault in result.faults]
    ledger, receipts, mails, rows = _ledger(shop, story), _receipts(shop), _mails(shop), _rows(shop, story)
    counts: Counter[str] = Counter()
    for subscriber in story.subscribers:
        result, items = results[subscriber.id], ledger[subscriber.id]
        faults += _row_faults(subscriber, result, rows[subscriber.id])
        faults += _ledger_faults(subscriber, story, result, items)
        taken = [mail for address in story.addresses(subscriber) for mail in mails[address]]
        got = [mail for mail in taken if mail.returned is None]
        counts["returned"] += len(taken) - len(got)
        faults += _doubled_mails(subscriber, got)
        faults += _vain_mails(subscriber, taken)
        faults += _missing_notices(subscriber, story, result, got)
        faults += _unwarned(subscriber, result, got)
        disputes = shop.bank.disputes.get(subscriber.id, [])
        faults += disputes_in_the_ledger(subscriber, result, disputes, items)
        if disputes:
            faults += disputes_in_the_timeline(subscriber, disputes, shop.timeline(subscriber.id))
        faults += ends_mistold(
            subscriber,
            result,
            [mail.text for mail in got if mail.subject.startswith("The end of your subscription")],
            reached=sum(story.has_mailbox(subscriber, day) for day in result.ended_on),
            may_be_unknown=_kills_send_email(subscriber),
        )
        counts.update(counted(disputes))
        faults += _refund_faults(subscriber, shop.bank.refunds.get(subscriber.id, []), items, got)
        counts["refunded"] += len(shop.bank.refunds.get(subscriber.id, []))
        counts["refunds_failed"] += sum(made.failed for made in shop.bank.refunds.get(subscriber.id, []))
        for period, charged in result.charged.items():
            for charge in charged:
                key = f"receipts/{subscriber.customer_id}/{subscriber.id}/{charge.payment}.pdf"
                if key not in receipts:
                    faults.append(Fault("no_receipt", subscriber.id, period, f"no receipt of {charge.payment}"))
                    continue
                counts["receipted"] += 1
                faults += _receipt_faults(subscriber, story, charge, items.get(period, {}), receipts[key], got, counts)
    faults += _audit_faults(story, shop)
    if left := shop.left_of_the_gateway():
        faults.append(Fault("event_lost", "every subscription", None, f"{left} events of the gateway are not acted on"))
    counts["caught_up"] = shop.caught_up
    if shop.application:
        faults += _application_faults(story, shop, results)
        receiver = shop.application.receiver
        counts["heard"], counts["heard_again"] = len(receiver.times), sum(each > 1 for each in receiver.times.values())
        counts["in_vain"] = receiver.refused
    named = (
        *("receipted", "mailed", "unknown", "returned", "corrected", "unmailed"),
        *("refunded", "refunds_failed", "disputed", "won", "lost", "warned", "caught_up"),
        *("heard", "heard_again", "in_vain"),
    )
    return Verdict(results, faults, **{name: counts[name] for name in named})


def _application_faults(story: Story, shop: Shop, results: dict[str, Expected]) -> Iterator[Fault]:
    """Yield a fault for everything that the application heard wrongly, or has not heard though it works again."""
    if shop.application is None:
        return
    heard = shop.application.receiver.heard
    for subscriber in story.subscribers:
        yield from misheard(
            subscriber,
            results[subscriber.id],
            shop.bank.refunds.get(subscriber.id, []),
            shop.bank.disputes.get(subscriber.id, []),
            heard.get(subscriber.id),
        )
    if left := shop.application.left():
        yield Fault("not_told", "every subscription", None, f"{left} events wait for the application at the end")


def _audit_faults(story: Story, shop: Shop) -> Iterator[Fault]:
    """Yield a fault for everything that the product's own audit reports about this run. The audit must report
    nothing.
    """
    for difference in shop.audited(story.calendar[0], story.calendar[-1]):
        if difference.get("subscription_id", "").startswith(f"{story.run}-"):
            period = date.fromisoformat(difference["renewal_date"])
            what = f"the audit says {difference['kind']}: {difference['detail']}"
            yield Fault("audit", difference["subscription_id"], period, what)


def _receipt_faults(
    subscriber: Subscriber,
    story: Story,
    charge: Charged,
    item: dict[str, Any],
    etag: str,
    got: list[_Mail],
    counts: Counter[str],
) -> Iterator[Fault]:
    """Yield the faults of a charge's receipt and mail. got: the subscriber's mails that arrived."""
    gone = _missing_mailbox(story, subscriber, charge.day)
    sent = [mail for mail in got if mail.pdf and f'"{md5(mail.pdf, usedforsecurity=False).hexdigest()}"' == etag]
    if sent:
        counts["mailed"] += 1
        counts["corrected"] += gone is not None
        if len(sent) > 1:
            what = f"{len(sent)} mails with the receipt of {charge.payment} have arrived"
            yield Fault("doubled_mail", subscriber.id, charge.period, what)
        if sha256(sent[0].pdf or b"").hexdigest() != item.get("receipt_sha256"):
            yield Fault("wrong", subscriber.id, charge.period, "the ledger's hash differs from the receipt's hash")
    elif _may_be_unknown(subscriber, item):
        counts["unknown"] += 1
    elif gone and gone.corrected is None and item.get("status") == "mail_failed":
        counts["unmailed"] += 1
    else:
        yield Fault("no_mail", subscriber.id, charge.period, f"no mail with the receipt of {charge.payment}")


def _missing_mailbox(story: Story, subscriber: Subscriber, day: date) -> Vanished | None:
    """Return the missing mailbox named by the row on the given day, or None."""
    return next((gone for gone in story.vanished[subscriber.id] if gone.is_missed_on(day)), None)


def _may_be_unknown(subscriber: Subscriber, item: dict[str, Any]) -> bool:
    """Tell whether the ledger may say mail_unknown."""
    return item.get("status") == "mail_unknown" and _kills_send_email(subscriber)


def _kills_send_email(subscriber: Subscriber) -> bool:
    """Tell whether the story has killed the function that sends the mail."""
    killed = (action for actions in subscriber.actions.values() for action in actions if isinstance(action, Killed))
    return any(cut.function == "send-email" for cut in killed)


def _ledger_faults(
    subscriber: Subscriber, story: Story, result: Expected, items: dict[date, dict[str, Any]]
) -> Iterator[Fault]:
    for period, charges in result.charged.items():
        item = items.get(period, {})
        gone = _missing_mailbox(story, subscriber, charges[0].day)
        ends = "mail_failed" if gone and gone.corrected is None else "done"
        if item.get("payment_id") not in [charge.payment for charge in charges]:
            yield Fault("wrong", subscriber.id, period, f"charged, but the ledger says {item.get('status')}")
        elif item["status"] != ends and not _may_be_unknown(subscriber, item):
            yield Fault("wrong", subscriber.id, period, f"charged, but left as {item['status']}")
    for period, item in items.items():
        if "paid_at" in item and period not in result.charged:
            yield Fault("wrong", subscriber.id, period, "the ledger has a payment that the gateway does not have")


def _row_faults(subscriber: Subscriber, result: Expected, row: dict[str, Any]) -> Iterator[Fault]:
    if row["status"] != result.status:
        yield Fault("wrong", subscriber.id, None, f"the subscription is {row['status']} instead of {result.status}")
    ends = str(result.ends) if result.ends else None
    if result.status == "active" and row.get("cancel_at") != ends:
        yield Fault("wrong", subscriber.id, None, f"the subscription ends on {row.get('cancel_at')} instead of {ends}")


def _doubled_mails(subscriber: Subscriber, got: list[_Mail]) -> Iterator[Fault]:
    for (subject, _), count in Counter((mail.subject, mail.text) for mail in got).items():
        if count > 1:
            yield Fault("doubled_mail", subscriber.id, None, f"{count} equal mails: {subject}")


def _vain_mails(subscriber: Subscriber, taken: list[_Mail]) -> Iterator[Fault]:
    """Yield a fault for every mail to an address whose earlier mail had already bounced."""
    for mail in taken:
        known = min((other.returned for other in taken if other.to == mail.to and other.returned), default=None)
        if mail.returned and known and mail.returned > known:
            what = f"mailed on {mail.returned}, although mail to the address had bounced on {known}: {mail.subject}"
            yield Fault("vain_mail", subscriber.id, None, what)


def _missing_notices(subscriber: Subscriber, story: Story, result: Expected, got: list[_Mail]) -> Iterator[Fault]:
    """Yield a fault for every refusal without a mail.

    The mail must tell of the refusal and name the first day of the period. If the mailbox was missing on the day of the
    refusal, the mail is due when the address is corrected, provided that the period is still refused.
    """
    for period, day in result.refused.items():
        told = any("You have not been charged" in mail.text and _written(period) in mail.text for mail in got)
        gone = _missing_mailbox(story, subscriber, day)
        news_on = gone.corrected if gone else day
        recovered = result.recovered.get(period)
        stands = period in result.given_up if recovered is None else news_on and recovered > news_on
        if not told and (stands or (gone is None and recovered != day)):
            yield Fault("no_mail", subscriber.id, period, f"refused on {day}, but no mail says so")


def _unwarned(subscriber: Subscriber, result: Expected, got: list[_Mail]) -> Iterator[Fault]:
    """Yield a fault for every abandoned period without a final notice that arrived and named the last day."""
    for period in result.given_up:
        day = result.warned.get(period)
        if day and not any("Final notice" in mail.subject and _written(day) in mail.text for mail in got):
            yield Fault("no_mail", subscriber.id, period, f"given up, but no final notice of {day} has arrived")


def _refund_faults(
    subscriber: Subscriber, refunds: list[Refunded], items: dict[date, dict[str, Any]], got: list[_Mail]
) -> Iterator[Fault]:
    """Yield a fault unless the ledger holds the final state of every outside refund, and the customer was told."""
    for made in refunds:
        period, item = next(each for each in items.items() if each[1].get("payment_id") == made.payment)
        held = [known for known in item.get("refunds", {}).values() if known.get("refund_id") == made.refund]
        if [known["state"] for known in held] != ["failed" if made.failed else "refunded"]:
            yield Fault("wrong", subscriber.id, period, f"{made} is in the ledger as {held}")
        if not any(made.refund in mail.text for mail in got):
            yield Fault("no_mail", subscriber.id, period, f"no mail of {made.refund}")


def _written(day: date) -> str:
    return f"{day.day} {day:%B} {day.year}"


def _charges(shop: Shop) -> defaultdict[str, list[Charged]]:
    found: defaultdict[str, list[Charged]] = defaultdict(list)
    for charge in shop.sandbox.charges(status="succeeded"):
        if charge["customer"] in shop.customers:
            day = datetime.fromtimestamp(charge["created"], UTC).date()
            period = date.fromisoformat(charge["metadata"]["renewal_date"])
            found[shop.customers[charge["customer"]]].append(
                Charged(day, period, charge["amount"], charge["currency"].upper(), charge["payment_intent"])
            )
    return found


def _ledger(shop: Shop, story: Story) -> defaultdict[str, dict[date, dict[str, Any]]]:
    found: defaultdict[str, dict[date, dict[str, Any]]] = defaultdict(dict)
    for item in _scan(shop, "RenewalsTableName", story):
        found[item["subscription_id"]][date.fromisoformat(item["renewal_date"])] = item
    return found


def _rows(shop: Shop, story: Story) -> dict[str, dict[str, Any]]:
    return {row["subscription_id"]: row for row in _scan(shop, "SubscriptionsTableName", story)}


def _scan(shop: Shop, table: str, story: Story) -> Iterator[dict[str, Any]]:
    read = TypeDeserializer().deserialize
    pages = shop.stack.client("dynamodb").get_paginator("scan").paginate(TableName=shop.stack.outputs[table])
    for page in pages:
        for item in page["Items"]:
            if item["subscription_id"]["S"].startswith(f"{story.run}-"):
                yield {name: read(value) for name, value in item.items()}


def _receipts(shop: Shop) -> dict[str, str]:
    """Return the ETag of every receipt by key. The ETag is the MD5 of the stored receipt."""
    pages = shop.stack.client("s3").get_paginator("list_objects_v2")
    listed = pages.paginate(Bucket=shop.stack.outputs["ReceiptsBucketName"], Prefix="receipts/")
    return {found["Key"]: found["ETag"] for page in listed for found in page.get("Contents", [])}


def _mails(shop: Shop) -> defaultdict[str, list[_Mail]]:
    found: defaultdict[str, list[_Mail]] = defaultdict(list)
    parse = BytesParser(EmailMessage, policy=default).parsebytes
    for file in sorted(shop.stack.mail_folder.glob("[!.]*.eml")):
        mail = parse(file.read_bytes())
        pdf = next((part.get_content() for part in mail.iter_attachments()), None)
        body = mail.get_body(("plain",))
        to, sent_as = mail["To"].addresses[0].addr_spec, str(mail["Message-ID"]).strip("<>")
        text = body.get_content() if body else ""
        found[to].append(_Mail(to, str(mail["Subject"]), text, pdf, shop.returned.get(sent_as)))
    return found
