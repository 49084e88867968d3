"""`make demo`: from nothing to receipts and mails.

The demo starts a stack on the port that the environment variable PORT names, plays renewals that succeed, fail or meet
trouble (a repeated webhook, a dropped connection), prints the events that an application hears, checks that gateway,
ledger, receipts, mails and events agree, copies the PDFs and mails to demo-output/<PORT>/, and stops the stack. The
exit status is 1 if a promise was broken.
"""

import shutil
import sys
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from functools import cache
from hashlib import sha256
from json import dumps
from pathlib import Path
from typing import Any

from boto3.dynamodb.conditions import Key
from rich.box import SIMPLE_HEAD
from rich.live import Live
from rich.table import Table

from local.commands import say_wrong
from local.gateway import Sandbox, official_client
from local.gateway_events import send_events
from local.progress import console
from local.receiver import Event, Receiver
from local.stack import ROOT, Stack, StackError, free_port, port_from_environment
from local.webhook import Reply, send, signed_headers, signing_secret

_WAIT_SECONDS = 60
_SETTLED = frozenset({"done", "declined", "action_required", "failed", "mail_failed", "mail_unknown"})


@dataclass(frozen=True)
class Story:
    """A renewal of the demo.

    Attributes:
        card: a test card of Stripe.
        deliveries: the number of times that the same webhook is sent, with a new message id each time.
        forged: whether the webhook is signed with a wrong key.
        hostile: the fault of the gateway at the confirmation of the payment; local.gateway.hostile lists the faults.
        confirmed: whether the customer confirms the payment at the bank when the ledger says action_required.
        disputed: whether the customer contests the payment at the bank as soon as the receipt was mailed.
        ends: the status that the ledger must show at the end; None if the story must cause no renewal.
    """

    title: str
    customer: str
    price: str
    currency: str
    plan: str = "Pro, monthly"
    card: str = "pm_card_visa"
    deliveries: int = 1
    forged: bool = False
    hostile: str | None = None
    confirmed: bool = False
    disputed: bool = False
    ends: str | None = "done"

    @property
    def id(self) -> str:
        return "demo-" + "-".join(self.title.lower().replace(",", "").split())

    @property
    def told(self) -> set[str]:
        """The types of the events that the application must hear."""
        told = {"subscription.created"}
        if self.ends == "action_required" or self.confirmed:
            told |= {"renewal.action_required", "subscription.past_due"}
        if self.ends == "declined":
            told |= {"renewal.failed", "subscription.past_due"}
        if self.ends == "done":
            told |= {"renewal.paid"} | ({"subscription.recovered"} if self.confirmed else set())
        if self.disputed:
            told |= {"renewal.disputed", "subscription.cancel_scheduled"}
        return told

    @property
    def mails(self) -> int:
        """The number of the customer's mails: about the payment, about a confirmation that the bank asks for, and about
        the end by a chargeback."""
        return 1 + self.confirmed + self.disputed

    @property
    def email(self) -> str:
        return f"{self.id}@customers.example"


STORIES = [
    Story("a plain renewal", "Ann Lee", "29.99", "USD"),
    Story("in euro", "Zoë Ångström", "49.90", "EUR", plan="Größe L, jährlich"),
    Story("in yen", "山田太郎", "1980", "JPY", plan="スタンダードプラン"),
    Story(
        "a declined card", "Ben Low", "29.99", "USD",
        card="pm_card_visa_chargeDeclinedInsufficientFunds", ends="declined",
    ),
    Story(
        "3-D Secure asked", "Eva Bank", "29.99", "EUR",
        card="pm_card_authenticationRequired", ends="action_required",
    ),
    Story("confirmed at bank", "Uwe Pin", "39.00", "EUR", card="pm_card_authenticationRequired", confirmed=True),
    Story("a dispute", "Dora Back", "24.00", "EUR", disputed=True),
    Story("delivered 5 times", "Max Repeat", "99.00", "USD", deliveries=5),
    Story("a forged webhook", "Mallory Forge", "0.01", "USD", forged=True, ends=None),
    Story("charged, hung up", "Ida Drop", "19.00", "GBP", hostile="drop_after"),
]  # fmt: skip


class Shop:
    """A merchant with the deployed stack: the shop writes subscriptions, sends webhooks, hears events, and reads the
    results.
    """

    def __init__(self, stack: Stack, application: Receiver) -> None:
        self.stack = stack
        self.application = application
        self.sandbox = Sandbox(stack.gateway_url)
        self.bucket = stack.outputs["ReceiptsBucketName"]
        self._gateway = official_client(stack.gateway_url, stack.gateway_key)
        self._dynamodb = stack.session.resource("dynamodb", endpoint_url=stack.endpoint_url)
        self._secret = signing_secret(stack)
        self.customers: dict[str, str] = {}
        self.confirmed_at: dict[str, float] = {}
        self.settled_at: dict[str, float] = {}
        self._disputed: set[str] = set()

    @cache  # noqa: B019  (a run has a single shop)
    def _s3(self) -> Any:
        return self.stack.client("s3")

    def subscribe(self, story: Story) -> None:
        """Create a customer with a card at the gateway, and a subscription that is due today."""
        customer = self._gateway.v1.customers.create({"name": story.customer, "email": story.email}).id
        card = story.card
        if card == "pm_card_visa":
            card = self._gateway.v1.payment_methods.attach(card, {"customer": customer}).id
        self.customers[story.id] = customer
        self._table("SubscriptionsTableName").put_item(
            Item={
                "subscription_id": story.id,
                "customer_id": f"cus-{story.id}",
                "renewal_date": datetime.now(UTC).date().isoformat(),
                "status": "active",
                "amount": Decimal(story.price),
                "currency": story.currency,
                "interval": "month",
                "plan": story.plan,
                "customer_name": story.customer,
                "customer_email": story.email,
                "gateway_customer": customer,
                "payment_method": card,
            }
        )
        if story.hostile:
            self.sandbox.hostile(story.hostile, "payment_intents.confirm", customer=customer)

    def deliver(self, story: Story) -> Reply:
        """Send a signed webhook. A forged webhook is signed with a wrong key."""
        asked = {"subscription_id": story.id, "customer_id": f"cus-{story.id}", "amount": story.price}
        body = dumps(asked).encode()
        secret = "whsec_" + "Zm9yZ2VkIGtleSBvZiBzb21lYm9keSBlbHNl" if story.forged else self._secret
        headers = signed_headers(secret, body, message_id=f"msg_{uuid.uuid4().hex}", at=datetime.now(UTC))
        return send(self.stack.outputs["LocalWebhookUrl"], body, headers)

    def row(self, story: Story) -> dict[str, Any]:
        key = {"subscription_id": story.id, "customer_id": f"cus-{story.id}"}
        return dict(self._table("SubscriptionsTableName").get_item(Key=key, ConsistentRead=True)["Item"])

    def renewal(self, story: Story) -> dict[str, Any]:
        """Return the latest ledger item of the subscription, or an empty dict."""
        found = self._table("RenewalsTableName").query(
            KeyConditionExpression=Key("subscription_id").eq(story.id),
            ConsistentRead=True,
            ScanIndexForward=False,
        )["Items"]
        return dict(found[0]) if found else {}

    def confirm(self, story: Story) -> None:
        """Play the customer of a story with `confirmed`: confirm the payment at the bank, once, as soon as the ledger
        says action_required.

        An event of the gateway then tells the stack that the payment is paid. The shop notes the time of the
        confirmation. With or without a confirmation, the shop also notes when the story's renewal first had the status
        done.
        """
        renewal = self.renewal(story)
        if story.confirmed and story.id not in self.confirmed_at and renewal.get("status") == "action_required":
            self.confirmed_at[story.id] = time.monotonic()
            self.sandbox.authenticate(renewal["payment_id"])
        if renewal.get("status") == "done":
            self.settled_at.setdefault(story.id, time.monotonic())
            self._contest(story, renewal["payment_id"])

    def _contest(self, story: Story, payment: str) -> None:
        """Let the customer contest the payment at the bank, once."""
        if story.disputed and story.id not in self._disputed:
            self._disputed.add(story.id)
            self.sandbox.dispute(payment)

    def charges(self, story: Story) -> list[dict[str, Any]]:
        return self.sandbox.charges(customer=self.customers[story.id], status="succeeded")

    def receipts(self, story: Story) -> dict[str, bytes]:
        prefix = f"receipts/cus-{story.id}/{story.id}/"
        found = self._s3().list_objects_v2(Bucket=self.bucket, Prefix=prefix).get("Contents", [])
        return {o["Key"]: self._s3().get_object(Bucket=self.bucket, Key=o["Key"])["Body"].read() for o in found}

    def events(self, story: Story) -> list[Event]:
        """Return the events that the application heard about the subscription, each once."""
        return self.application.heard[story.id].events if story.id in self.application.heard else []

    def mails(self, story: Story) -> list[tuple[Path, EmailMessage]]:
        parse = BytesParser(EmailMessage, policy=default).parsebytes
        all_mails = [(file, parse(file.read_bytes())) for file in sorted(self.stack.mail_folder.glob("*.eml"))]
        return [(file, mail) for file, mail in all_mails if story.email in str(mail["To"])]

    def _table(self, output: str) -> Any:
        return self._dynamodb.Table(self.stack.outputs[output])


def disagreements(shop: Shop, story: Story) -> list[str]:
    """Return the faults of a renewal: facts about gateway, ledger, receipts and mails that differ from the story."""
    renewal, charges, receipts, mails = (
        shop.renewal(story),
        shop.charges(story),
        shop.receipts(story),
        shop.mails(story),
    )
    if story.ends is None:
        return ["a forged webhook had an effect"] if renewal or charges or receipts or mails else []
    paid = story.ends == "done"
    heard = [event["type"] for event in shop.events(story)]
    expectations = {
        # A dispute tells each of its steps.
        f"the application heard {', '.join(heard)}": set(heard) == story.told
        and (story.disputed or len(heard) == len(story.told)),
        f"the ledger says {str(renewal.get('status')).replace('_', ' ')}": renewal.get("status") == story.ends,
        f"{len(charges)} charges": len(charges) == int(paid),
        f"{len(receipts)} receipts": len(receipts) == int(paid),
        f"{len(mails)} mails": len(mails) == story.mails,
    }
    if paid and charges and receipts:
        [(key, pdf)] = list(receipts.items())[:1]
        places = 0 if story.currency == "JPY" else 2
        attached = [part.get_content() for _, mail in mails for part in mail.iter_attachments()]
        expectations |= {
            "a wrong amount was charged": charges[0]["amount"] == int(Decimal(story.price).scaleb(places)),
            "the ledger records a different payment": charges[0]["payment_intent"] == renewal.get("payment_id"),
            "the receipt differs from the ledger's receipt": (renewal.get("receipt_key"), renewal.get("receipt_sha256"))
            == (key, sha256(pdf).hexdigest()),
            "the attached receipt is a different file": attached == [pdf],
            "the subscription did not move on": shop.row(story)["renewal_date"] == renewal.get("period_end"),
        }
    return [f"{fault}" for fault, holds in expectations.items() if not holds]


def _play(shop: Shop, draw: Callable[[dict[str, list[int]]], Table]) -> dict[str, list[int]]:
    """Send every webhook, and wait for the end of every renewal and its mails, at most a minute.

    Returns the status codes of the answers, by story.
    """
    replies: dict[str, list[int]] = {story.id: [] for story in STORIES}
    with Live(draw(replies), console=console, refresh_per_second=4, transient=not console.is_terminal) as live:
        with ThreadPoolExecutor(5) as senders:
            for story in STORIES:
                for reply in senders.map(shop.deliver, [story] * story.deliveries):
                    replies[story.id].append(reply.status)
                live.update(draw(replies))
        deadline = time.monotonic() + _WAIT_SECONDS
        while time.monotonic() < deadline:
            at_rest = all(_at_rest(shop, story) for story in STORIES)
            for story in STORIES:
                shop.confirm(story)
            if at_rest:
                break
            live.update(draw(replies))
            time.sleep(0.3)
        live.update(draw(replies))
    return replies


def _at_rest(shop: Shop, story: Story) -> bool:
    if story.ends is None:
        return True
    renewal = shop.renewal(story)
    told = all(mail["state"] != "sending" for mail in renewal.get("mails", {}).values()) and renewal.get("mails")
    settled = _SETTLED - {"action_required"} if story.confirmed else _SETTLED
    is_told = bool(told) and len(shop.mails(story)) >= story.mails and _types(shop, story) >= story.told
    return renewal.get("status") in settled and is_told


def _types(shop: Shop, story: Story) -> set[str]:
    return {event["type"] for event in shop.events(story)}


_MAILS = {"receipt": "receipt", "payment": "payment failed", "action": "please confirm"}


def _table(shop: Shop, replies: dict[str, list[int]]) -> Table:
    table = Table(title="Renewals as they happen", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("", "customer", "webhook", "charged", "receipt", "mail", "next date"):
        table.add_column(heading, no_wrap=True)
    for story in STORIES:
        receipts, codes = shop.receipts(story), replies[story.id]
        charged = [f"{_major(charge)} {story.currency}" for charge in shop.charges(story)]
        mailed = [_MAILS[name.partition("_")[0]] for name in shop.renewal(story).get("mails", {})]
        table.add_row(
            story.title,
            story.customer,
            f"{len(codes)} × {codes[0]}" if len(codes) > 1 else "".join(map(str, codes)),
            ", ".join(charged) or "–",
            f"{sum(map(len, receipts.values())) / 1000:.1f} kB" if receipts else "–",
            ", ".join(mailed) if shop.mails(story) else "–",
            shop.row(story)["renewal_date"],
        )
    return table


def _heard(event: Event) -> None:
    """Print an event that the application heard, in plain words."""
    data = event["data"]
    told = [f"{data[name]}" for name in ("amount", "currency", "reason", "status") if data.get(name)]
    until = event["entitled_until"]
    told += [f"entitled until {until}"] if until and event["type"] == "renewal.paid" else []
    line = f"  your application heard {event['type']:<29} {event['subscription_id']:<23} {' '.join(told)}"
    console.print(line, soft_wrap=True)


def _major(charge: dict[str, Any]) -> str:
    return str(charge["amount"]) if charge["currency"] == "jpy" else f"{Decimal(charge['amount']).scaleb(-2):f}"


def _keep(shop: Shop, folder: Path) -> None:
    """Copy the receipt and the last mail of every story into the folder, under the story's id."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for story in STORIES:
        for pdf in shop.receipts(story).values():
            (folder / f"{story.id}.pdf").write_bytes(pdf)
        for file, _ in shop.mails(story):
            shutil.copy(file, folder / f"{story.id}.eml")


def run(stack: Stack, application: Receiver) -> int:
    """Play all stories on a fresh stack. Returns the number of broken promises."""
    shop = Shop(stack, application)
    for story in STORIES:
        shop.subscribe(story)
    replies = _play(shop, lambda seen: _table(shop, seen))
    if not console.is_terminal:
        console.print(_table(shop, replies))
    faults = [f"{story.title}: {fault}" for story in STORIES for fault in disagreements(shop, story)]
    faults += [f"{story.title}: answered {replies[story.id]}" for story in STORIES
               if set(replies[story.id]) != {401 if story.forged else 202}]  # fmt: skip
    folder = ROOT / "demo-output" / str(stack.port)
    _keep(shop, folder)
    for fault in faults:
        say_wrong(fault)
    for story_id, confirmed_at in shop.confirmed_at.items():
        if story_id in shop.settled_at:
            seconds = shop.settled_at[story_id] - confirmed_at
            console.print(f"{story_id}: receipted and mailed {seconds:.1f} s after the customer confirmed at the bank")
    for story in (each for each in STORIES if each.disputed):
        end = shop.row(story).get("cancel_at", "no day")
        console.print(f"{story.id}: the customer contested the payment at the bank, and the subscription ends on {end}")
    if not faults:
        console.print(
            f"[green]✓[/green] gateway, ledger, receipts and mails agree: {sum(len(shop.charges(s)) for s in STORIES)} "
            "charges, each with exactly one receipt and one receipt mail; the application heard each fact"
        )
    console.print(f"Receipts and mails to open: {folder.relative_to(ROOT)}/")
    return len(faults)


def main() -> None:
    try:
        application = Receiver(free_port(), says=_heard)
        stack = Stack(port_from_environment(), EventsUrl=application.url)
        if stack.runs:
            raise StackError(
                f"a stack runs on port {stack.port}: run `make down PORT={stack.port}`, or choose a different PORT"
            )
        with application, stack:
            application.listen_to(stack)
            send_events(stack)
            faults = run(stack, application)
    except StackError as problem:
        sys.exit(f"{problem}")
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(min(faults, 1))


if __name__ == "__main__":
    main()
