"""Acts on the deployed system for the simulation: rows, customers, webhooks, clocks, the sweep, and failures."""

import json
import time as clock
import uuid
from collections.abc import Iterable, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, date, datetime, time
from decimal import Decimal
from itertools import batched
from typing import Any

import urllib3

from local.cuts import Cuts, Moment
from local.gateway import Sandbox, official_client
from local.receiver import Receiver
from local.signed import call
from local.simulate.application import Application
from local.simulate.bank import Bank
from local.simulate.happenings import (
    Action,
    BankDecides,
    Cancel,
    CardBehaves,
    ChangeInterval,
    Confirm,
    Contested,
    EndRevoked,
    GatewayTrouble,
    Killed,
    Moved,
    NewCard,
    Pause,
    Price,
    RefundElsewhere,
    RefundFails,
    Reprice,
    Resume,
    Subscriber,
    Webhooks,
    gateway_rule,
)
from local.stack import ROOT, Stack
from local.time_passes import TimePasses
from local.webhook import signed_headers, signing_secret
from scripts.oncall import charging

ENVIRONMENT = "sim"
"""Any environment except prod: only there may a subscription have a test clock."""

_WORK_SECONDS = 300
_TRANSACTION = 100  # https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
_CARDS = {
    "good": "pm_card_visa",
    "no_money": "pm_card_visa_chargeDeclinedInsufficientFunds",
    "declined": "pm_card_visa_chargeDeclined",
    "lost": "pm_card_visa_chargeDeclinedLostCard",
    "expired": "pm_card_visa_chargeDeclinedExpiredCard",
    "asks": "pm_card_authenticationRequired",
}
_FEEDBACK = ROOT / "events" / "mail_feedback.json"
_STATUS = {Pause: "paused", Resume: "active", Cancel: "canceled"}


class Shop:
    """The deployed system; see the module.

    Attributes:
        customers: the subscription's id, by the gateway's id of the customer.
        returned: the day of the bounce, by the message id from SES.
        bank: acts on the customers' latest payments, and remembers refunds and disputes.
        caught_up: the number of hints that the nightly catch-up put on the queue.
        application: hears the events; None if the stack posts events nowhere.
    """

    def __init__(self, stack: Stack, receiver: Receiver | None = None) -> None:
        self.stack = stack
        self.customers: dict[str, str] = {}
        self.returned: dict[str, date] = {}
        self.caught_up = 0
        self.sandbox = Sandbox(stack.gateway_url)
        self._gateway = official_client(stack.gateway_url, stack.gateway_key).v1
        self.bank = Bank(self.sandbox, self._gateway)
        self._cuts = Cuts(stack.endpoint_url)
        self._time = TimePasses(stack.endpoint_url)
        self._functions = stack.client("lambda")
        self._dynamodb = stack.client("dynamodb")
        self._sns = stack.client("sns")
        self._queues = stack.client("sqs")
        self._queue = stack.outputs["RenewalQueueUrl"]
        self._table = stack.outputs["SubscriptionsTableName"]
        self._rows = stack.session.resource("dynamodb", endpoint_url=stack.endpoint_url).Table(self._table)
        self._sweep_function = stack.outputs["SweepFunctionName"]
        self._http = urllib3.PoolManager(timeout=30, retries=False, maxsize=4)
        self._secret = signing_secret(stack)
        self._cards: dict[str, str] = {}
        self._prices: dict[str, Price] = {}
        self._gateway_ids: dict[str, str] = {}
        self._slow = 0.0
        self._taken = 0  # the number of mails accepted by SES until the end of the last day
        # The simulation replaces the schedule: nothing may run on real time in addition.
        scheduler = stack.client("scheduler")
        for schedule in scheduler.list_schedules()["Schedules"]:
            scheduler.delete_schedule(Name=schedule["Name"])
        self._time.scale_waits_of_workflows(0.01)
        self.application = Application(stack, receiver, self.until_all_is_done) if receiver else None

    # Time

    def begin(self, day: date, *, application_is_down: bool = False) -> None:
        """Start a day at the gateway and for every subscription, and run the pending retries."""
        self.bank.today = day
        if self.application:
            self.application.receiver.is_down = application_is_down
        self.sandbox.set_clock(datetime.combine(day, time(12), UTC).timestamp())
        updates = [self._lives_on(identity, day) for identity in self._gateway_ids]
        for some in batched(updates, _TRANSACTION, strict=False):
            self._dynamodb.transact_write_items(TransactItems=list(some))
        self.later_tries()
        if self.application:
            self.application.later_tries()

    def later_tries(self) -> None:
        """Run the retries that wait in the queue. A sweep adds no message for a renewal with a waiting retry."""
        self._time.hidden_messages_appear()
        self.until_all_is_done()

    def function(self, name: str) -> str:
        """Return the deployed name of a function, given for example process-payment."""
        return self._sweep_function.replace("renewal-sweep", name)

    def until_all_is_done(self) -> None:
        """Wait until the stack has no work left, and the gateway no event to send today."""
        deadline = clock.monotonic() + _WORK_SECONDS
        tried = -1
        while True:
            sent = self.sandbox.deliveries()
            if not sent["due"] and sent["tried"] == tried:
                return
            if clock.monotonic() > deadline:
                raise TimeoutError(f"events are left after {_WORK_SECONDS:.0f} s")
            tried = sent["tried"] if not sent["due"] else -1
            self._time.until_all_is_done(_WORK_SECONDS)

    def end_of_trouble(self) -> None:
        """End the day's failures. A slow call of the gateway must end before the next day begins."""
        clock.sleep(self._slow)
        self._slow = 0.0
        self.sandbox.peaceful()
        self._cuts.forget()

    def leave(self) -> None:
        """Delete every subscription of this run before the next run on the stack."""
        for identity in self._gateway_ids:
            key = {"subscription_id": identity, "customer_id": f"cus-{identity}"}
            self._rows.delete_item(Key=key)

    def _lives_on(self, identity: str, day: date) -> dict[str, Any]:
        return {
            "Update": {
                "TableName": self._table,
                "Key": {"subscription_id": {"S": identity}, "customer_id": {"S": f"cus-{identity}"}},
                "UpdateExpression": "SET test_clock = :day",
                "ExpressionAttributeValues": {":day": {"S": day.isoformat()}},
            }
        }

    # The schedule

    def start_sweep(self) -> None:
        """Start the sweep as the hourly schedule does, without waiting. The nightly sweep finds nothing under test
        clocks.
        """
        event = json.dumps({"sweep": "due"})
        self._functions.invoke(FunctionName=self._sweep_function, InvocationType="Event", Payload=event)

    def kill_sweep(self, call: int, moment: Moment) -> None:
        """Kill the next part of a sweep at AWS call number `call`."""
        self._cuts.cut(self._sweep_function, '"part"', call, moment)

    def audited(self, first: date, last: date) -> list[dict[str, str]]:
        """Run the product's own audit over these days, and return the reported differences."""
        event = json.dumps({"from": first.isoformat(), "to": last.isoformat()})
        function = self.stack.outputs["AuditFunctionName"]
        answer = json.loads(self._functions.invoke(FunctionName=function, Payload=event)["Payload"].read())
        if not answer.get("finished"):
            raise RuntimeError(f"the audit did not finish: {answer}")
        bucket = self.stack.outputs["ReceiptsBucketName"]
        report = self.stack.client("s3").get_object(Bucket=bucket, Key=answer["report"])["Body"].read()
        differences: list[dict[str, str]] = json.loads(report)["listed"]
        return differences

    def catch_up(self, day: date) -> None:
        """Run the nightly catch-up for the events of the day, and wait until the stack has acted on the events.

        The catch-up knows the real time only, and would search for the events of the last real night: the day is named,
        as a person names the day after a restore.
        """
        function, event = self.stack.outputs["CatchUpFunctionName"], json.dumps({"from": day.isoformat()})
        answer = json.loads(self._functions.invoke(FunctionName=function, Payload=event)["Payload"].read())
        if not answer.get("finished"):
            raise RuntimeError(f"the catch-up did not finish: {answer}")
        self.caught_up += answer["found"]
        if answer["found"]:
            self.until_all_is_done()

    def left_of_the_gateway(self) -> int:
        """Return the number of the gateway's events that the stack has not acted on: events that wait, and dead
        letters.
        """
        named = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        counted = [
            self._queues.get_queue_attributes(QueueUrl=self.stack.outputs[queue], AttributeNames=list(named))
            for queue in ("GatewayEventsQueueUrl", "GatewayDeadLetterQueueUrl")
        ]
        return sum(int(each["Attributes"][name]) for each in counted for name in named)

    def timeline(self, subscription_id: str) -> list[str]:
        """Return the sentences of a subscription's timeline, as the API tells the timeline."""
        url = f"{self.stack.outputs['LocalApiUrl']}/subscriptions/{subscription_id}/timeline"
        answer = call(url, "GET", self.stack.session.get_credentials())
        if answer.status != 200:
            raise RuntimeError(f"the timeline of {subscription_id} was answered with {answer.status}: {answer.body}")
        return [entry["text"] for entry in answer.body["items"]]

    def turn_charging_off(self, after: float) -> None:
        """Turn charging off like the operator's command, after some seconds. Returns when the work under way is
        done.
        """
        clock.sleep(after)
        changes = self.stack.outputs["ChangesTableName"]
        charging.turn_off(self._dynamodb, changes, by="the simulation", why="it is in the story")
        self.until_all_is_done()

    def turn_charging_on(self, after: float) -> None:
        """Turn charging on, after some seconds. Starting the sweep is up to the story."""
        clock.sleep(after)
        charging.turn_on(self._dynamodb, self.stack.outputs["ChangesTableName"])
        self.until_all_is_done()

    def send_what_nobody_can_read(self) -> None:
        """Send a message that fails at every attempt, and is hidden between the attempts."""
        self._queues.send_message(QueueUrl=self._queue, MessageBody="what is this?")
        self.until_all_is_done()

    # The customers

    def subscribe(self, subscriber: Subscriber, day: date) -> None:
        """Create a customer with a saved card at the gateway, and a row."""
        customer = self._gateway.customers.create({"name": subscriber.name, "email": subscriber.email}).id
        self.customers[customer] = subscriber.id
        self._gateway_ids[subscriber.id] = customer
        self._prices[subscriber.id] = subscriber.price
        self._cards[subscriber.id] = self._save_card(subscriber)
        anchor = {"anchor_day": subscriber.anchor} if subscriber.names_anchor else {}
        self._rows.put_item(
            Item={
                "subscription_id": subscriber.id,
                "customer_id": subscriber.customer_id,
                "renewal_date": subscriber.first.isoformat(),
                "status": "active",
                "amount": Decimal(subscriber.price.amount),
                "currency": subscriber.price.currency,
                "interval": subscriber.interval,
                "interval_count": subscriber.count,
                "catch_up": subscriber.catch_up,
                "plan": subscriber.plan,
                "customer_name": subscriber.name,
                "customer_email": subscriber.email,
                "gateway_customer": customer,
                "payment_method": self._cards[subscriber.id],
                "test_clock": day.isoformat(),
                **anchor,
            }
        )

    def act(self, subscriber: Subscriber, action: Action) -> None:
        """Carry out an action of the story, except webhooks."""
        match action:
            case CardBehaves("detached"):
                self._gateway.payment_methods.detach(self._cards[subscriber.id])
            case CardBehaves(behaviour):
                self.sandbox.change_card(self._cards[subscriber.id], _CARDS[behaviour])
            case NewCard():
                self._cards[subscriber.id] = self._save_card(subscriber)
                self._change(subscriber, payment_method=self._cards[subscriber.id])
            case Confirm():
                self._confirm(subscriber)
            case RefundElsewhere() | RefundFails() | Contested() | BankDecides():
                self.bank.act(subscriber.id, self._gateway_ids[subscriber.id], action)
            case GatewayTrouble(mode, operation):
                customer = self._gateway_ids[subscriber.id]
                self.sandbox.hostile(mode, operation, customer=customer, **gateway_rule(action))
                if mode == "slow":
                    self._slow = max(self._slow, action.seconds or 0.0)
            case Killed(function, call, moment):
                self._cuts.cut(self.function(function), subscriber.id, call, moment)
            case _:
                self._edit(subscriber, action)

    def _edit(self, subscriber: Subscriber, action: Action) -> None:
        """Edit the row by hand, as somebody at the merchant would."""
        match action:
            case Pause() | Resume() | Cancel(None):
                self._change(subscriber, unless_canceled=True, status=_STATUS[type(action)])
            case Cancel(at):
                self._change(subscriber, cancel_at=str(at))
            case EndRevoked():
                self._rows.update_item(Key=_key(subscriber), UpdateExpression="REMOVE cancel_at")
            case Reprice(price):
                self._prices[subscriber.id] = price
                self._change(subscriber, amount=Decimal(price.amount), currency=price.currency)
            case Moved(to):
                self._change(subscriber, renewal_date=str(to))
            case ChangeInterval(interval, count):
                self._change(subscriber, interval=interval, interval_count=count)

    def send(self, asked: Iterable[tuple[Subscriber, Webhooks]]) -> None:
        """Send the webhooks, several at a time, with fresh signatures. Every webhook must be accepted."""
        bodies = [
            self._body(subscriber, webhooks.price) for subscriber, webhooks in asked for _ in range(webhooks.copies)
        ]
        with ThreadPoolExecutor(4) as senders:
            for status in senders.map(self._post, bodies):
                if status != 202:
                    raise RuntimeError(f"a webhook was answered with {status}")

    # The mails

    def correct_address(self, subscriber: Subscriber, address: str) -> None:
        """Write a new address into the row."""
        self._change(subscriber, customer_email=address)

    def ask_for_mails(self, subscriber: Subscriber, periods: int) -> None:
        """Send a webhook for every period with a possibly waiting mail, in sequence, as the runbook says."""
        for _ in range(periods):
            self.send([(subscriber, Webhooks(1))])
            self.until_all_is_done()

    def return_mails(self, day: date, addresses: Set[str]) -> None:
        """Let the mails that SES accepted today for these addresses bounce.

        SES's events go to the topic, two events for every third mail. Returns when all events are processed.
        """
        taken = self._http.request("GET", f"{self.stack.endpoint_url}/_local/mails").json()
        today, self._taken = taken[self._taken :], len(taken)
        for mail in today:
            if not addresses.isdisjoint(mail["to"]):
                self.returned[mail["id"]] = day
                message = json.dumps(_bounce(mail))
                for _ in range(2 if len(self.returned) % 3 == 0 else 1):
                    self._sns.publish(TopicArn=self.stack.outputs["MailEventsTopicArn"], Message=message)
        self.until_all_is_done()

    def _body(self, subscriber: Subscriber, price: Price | None) -> bytes:
        amount = (price or self._prices[subscriber.id]).amount
        ids = {"subscription_id": subscriber.id, "customer_id": subscriber.customer_id}
        return json.dumps(ids | {"amount": amount}).encode()

    def _post(self, body: bytes) -> int:
        headers = signed_headers(self._secret, body, message_id=f"msg_{uuid.uuid4().hex}", at=datetime.now(UTC))
        return self._http.request("POST", self.stack.outputs["LocalWebhookUrl"], body=body, headers=headers).status

    def _save_card(self, subscriber: Subscriber) -> str:
        customer = self._gateway_ids[subscriber.id]
        return str(self._gateway.payment_methods.attach("pm_card_visa", {"customer": customer}).id)

    def _confirm(self, subscriber: Subscriber) -> None:
        """Confirm a payment that waits for the customer, as if the customer followed the mail's link."""
        payments = self._gateway.payment_intents.list({"customer": self._gateway_ids[subscriber.id], "limit": 1}).data
        error = payments[0].last_payment_error if payments else None
        if error is not None and error.code == "authentication_required" and payments[0].status != "canceled":
            self.sandbox.authenticate(payments[0].id)

    def _change(self, subscriber: Subscriber, *, unless_canceled: bool = False, **attributes: Any) -> None:
        """Change attributes of the row. unless_canceled: skip the change if dunning has already canceled the
        subscription.
        """
        values = {f":{name}": value for name, value in attributes.items()}
        condition = "attribute_exists(subscription_id)"
        if unless_canceled:
            condition, values[":canceled"] = "#status <> :canceled", "canceled"
        with suppress(self._rows.meta.client.exceptions.ConditionalCheckFailedException):
            self._rows.update_item(
                Key=_key(subscriber),
                UpdateExpression="SET " + ", ".join(f"#{name} = :{name}" for name in attributes),
                ExpressionAttributeNames={f"#{name}": name for name in attributes},
                ExpressionAttributeValues=values,
                ConditionExpression=condition,
            )


def _key(subscriber: Subscriber) -> dict[str, str]:
    return {"subscription_id": subscriber.id, "customer_id": subscriber.customer_id}


def _bounce(mail: dict[str, Any]) -> dict[str, Any]:
    """Return the event that SES publishes for a permanent bounce. mail: the mail as the emulator recorded it.

    https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-examples.html
    """
    event: dict[str, Any] = json.loads(json.loads(_FEEDBACK.read_text())["Records"][0]["Sns"]["Message"])
    event["bounce"]["bouncedRecipients"] = [{"emailAddress": address} for address in mail["to"]]
    event["mail"] |= {"messageId": mail["id"], "destination": mail["to"], "tags": mail["tags"]}
    return event
