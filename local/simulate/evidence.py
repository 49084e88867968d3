"""What the simulated year left behind, held against what was expected: charges, ledger, receipts, mails and rows."""

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

from local.simulate.expected import Charged, Expected, Fault, expected
from local.simulate.shop import Shop
from local.simulate.story import Killed, Story, Subscriber


@dataclass(frozen=True)
class _Mail:
    """digest: of what it says. pdf: the attached receipt."""

    subject: str
    text: str
    pdf: bytes | None


@dataclass(frozen=True)
class Verdict:
    """results: by subscription. receipted, mailed: how many charges have their receipt, and their mail. unknown: how
    many mails were cut off so that nobody can say whether they went out."""

    results: dict[str, Expected]
    faults: list[Fault]
    receipted: int
    mailed: int
    unknown: int


def verdict(story: Story, shop: Shop) -> Verdict:
    """Reads everything, and names every difference."""
    charges = _charges(shop)
    results = {s.id: expected(s, story, charges[s.id]) for s in story.subscribers}
    faults = [fault for result in results.values() for fault in result.faults]
    ledger, receipts, mails, rows = _ledger(shop, story), _receipts(shop), _mails(shop), _rows(shop, story)
    counts: Counter[str] = Counter()
    for subscriber in story.subscribers:
        result, items = results[subscriber.id], ledger[subscriber.id]
        faults += _row_faults(subscriber, result, rows[subscriber.id])
        faults += _ledger_faults(subscriber, result, items)
        got = mails[subscriber.email]
        faults += _doubled_mails(subscriber, got)
        faults += _missing_notices(subscriber, result, got)
        for period, charged in result.charged.items():
            for charge in charged:
                key = f"receipts/{subscriber.customer_id}/{subscriber.id}/{charge.payment}.pdf"
                if key not in receipts:
                    faults.append(Fault("no_receipt", subscriber.id, period, f"no receipt of {charge.payment}"))
                    continue
                counts["receipted"] += 1
                item = items.get(period, {})
                faults += _receipt_faults(subscriber, charge, item, receipts[key], got, counts)
    faults += _audit_faults(story, shop)
    return Verdict(results, faults, counts["receipted"], counts["mailed"], counts["unknown"])


def _audit_faults(story: Story, shop: Shop) -> Iterator[Fault]:
    """What the product's own audit has to say of this run; it must have nothing."""
    for difference in shop.audited(story.calendar[0], story.calendar[-1]):
        if difference.get("subscription_id", "").startswith(f"{story.run}-"):
            period = date.fromisoformat(difference["renewal_date"])
            what = f"the audit says {difference['kind']}: {difference['detail']}"
            yield Fault("audit", difference["subscription_id"], period, what)


def _receipt_faults(
    subscriber: Subscriber, charge: Charged, item: dict[str, Any], etag: str, got: list[_Mail], counts: Counter[str]
) -> Iterator[Fault]:
    sent = [mail for mail in got if mail.pdf and f'"{md5(mail.pdf, usedforsecurity=False).hexdigest()}"' == etag]
    if sent:
        counts["mailed"] += 1
        if sha256(sent[0].pdf or b"").hexdigest() != item.get("receipt_sha256"):
            yield Fault("wrong", subscriber.id, charge.period, "the ledger's hash is not the receipt's")
    elif _may_be_unknown(subscriber, item):
        counts["unknown"] += 1
    else:
        yield Fault("no_mail", subscriber.id, charge.period, f"no mail with the receipt of {charge.payment}")


def _may_be_unknown(subscriber: Subscriber, item: dict[str, Any]) -> bool:
    """Whether the ledger says that nobody knows, and the story killed the function that sends the mail."""
    killed = (action for actions in subscriber.actions.values() for action in actions if isinstance(action, Killed))
    return item.get("status") == "mail_unknown" and any(cut.function == "send-email" for cut in killed)


def _ledger_faults(subscriber: Subscriber, result: Expected, items: dict[date, dict[str, Any]]) -> Iterator[Fault]:
    for period, charges in result.charged.items():
        item = items.get(period, {})
        if item.get("payment_id") not in [charge.payment for charge in charges]:
            yield Fault("wrong", subscriber.id, period, f"charged, and the ledger says {item.get('status')}")
        elif item["status"] != "done" and not _may_be_unknown(subscriber, item):
            yield Fault("wrong", subscriber.id, period, f"charged, and left as {item['status']}")
    for period, item in items.items():
        if "paid_at" in item and period not in result.charged:
            yield Fault("wrong", subscriber.id, period, "the ledger has a payment that the gateway has not")


def _row_faults(subscriber: Subscriber, result: Expected, row: dict[str, Any]) -> Iterator[Fault]:
    if row["status"] != result.status:
        yield Fault("wrong", subscriber.id, None, f"the subscription is {row['status']} instead of {result.status}")


def _doubled_mails(subscriber: Subscriber, got: list[_Mail]) -> Iterator[Fault]:
    for (subject, _), count in Counter((mail.subject, mail.text) for mail in got).items():
        if count > 1:
            yield Fault("doubled_mail", subscriber.id, None, f"{count} times: {subject}")


def _missing_notices(subscriber: Subscriber, result: Expected, got: list[_Mail]) -> Iterator[Fault]:
    """A refusal is told: in a mail that says so and names the first day of the period."""
    for period, day in result.refused.items():
        written = f"{period.day} {period:%B} {period.year}"
        told = any("You have not been charged" in mail.text and written in mail.text for mail in got)
        ended_at_once = result.recovered.get(period) == day
        if not told and not ended_at_once:
            yield Fault("no_mail", subscriber.id, period, f"refused on {day}, and no mail says so")


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
    """Key to ETag, which is the MD5 of what is stored."""
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
        found[mail["To"].addresses[0].addr_spec].append(
            _Mail(str(mail["Subject"]), body.get_content() if body else "", pdf)
        )
    return found
