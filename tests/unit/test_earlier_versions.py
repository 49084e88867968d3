"""This version reads everything that an earlier version wrote: events in flight, messages in the queue, items in
tables.

tests/unit/earlier/ has a file for every version with a changed shape of events, messages or items, made by that version
with `PYTHONPATH=src:layers/receipt python -m tests.unit.test_earlier_versions <day>`. A file holds tasks about to run:
the event, everything in tables, bucket and gateway, and the reply.
"""

import base64
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import generate_receipt.app
import process_payment.app
import renewal_sweep.app
import send_email.app
from generate_receipt.pdf import RenderedReceipt
from renewals.domain import refunds
from renewals.domain.payment import Payment, PaymentState
from renewals.domain.renewal import MailKind, mail_name
from renewals.domain.request import RenewalRequest
from renewals.gateway import access as gateway_access
from renewals.gateway.port import PaymentRequest
from renewals.ledger import refund_steps
from renewals.runtime import aws
from renewals.runtime.attribute_values import plain, wire
from tests.fake_aws import FakeSQS
from tests.fakes import LINKS, SENDER, Cut, World

FILES = sorted((Path(__file__).parent / "earlier").glob("*.json"))
DAY, NEXT = "2031-03-31", "2031-04-02"
"""A renewal date, and a later day, on which no lease of the renewal date is held any more."""

_TASKS: dict[str, Callable[[dict[str, Any], Any], dict[str, Any]]] = {
    "ProcessPayment": process_payment.app.handler,
    "GenerateReceipt": generate_receipt.app.handler,
    "SendEmail": send_email.app.handler,
    "RenewalSweep": renewal_sweep.app.handler,
}
_CACHES = (
    process_payment.app._ledger,
    generate_receipt.app._ledger,
    send_email.app._ledger,
    send_email.app._link_key,
)
_SETTINGS = {
    "ENVIRONMENT": "dev",
    "POWERTOOLS_METRICS_NAMESPACE": "acme",
    "POWERTOOLS_SERVICE_NAME": "acme",
    "TIME_ZONE": "Europe/Berlin",
    "DYNAMODB_TABLE": "subscriptions",
    "RENEWALS_TABLE": "renewals",
    "CHANGES_TABLE": "changes",
    "S3_BUCKET": "receipts",
    "SENDER_EMAIL": SENDER,
    "RENEWAL_QUEUE_URL": "queue",
    "AWS_LAMBDA_FUNCTION_NAME": "sweep",
    "DUNNING_DAYS": "1,3",
    "DUNNING_ENDS_AS": "canceled",
    "CUSTOMER_PAGE_URL": "",
    "ACCOUNT_URL": "",
    **dict.fromkeys(("BRAND_COLOR", "BRAND_LOGO_URL", "REPLY_TO_EMAIL", "SUPPORT_URL"), ""),
    "RECEIPT_LINK_KEY_ARN": "arn",
    "RECEIPT_LINKS_URL": LINKS,
    "REMINDER_DAYS": "7",
    "REMINDED_PERIOD_DAYS": "32",
    "RENEWAL_CONCURRENCY": "20",
} | dict.fromkeys(
    ("PROJECT_NAME", "DEPLOYMENT", "SELLER_NAME", "SELLER_ADDRESS", "SELLER_TAX_ID", "SES_CONFIGURATION_SET"), "acme"
)

type Case = dict[str, Any]


class _Deployed:
    """The functions over a shop, and everything sent by the functions to the queue and to themselves."""

    def __init__(self, shop: World) -> None:
        self.shop = shop
        self.queue = FakeSQS()
        self.handed_on: list[dict[str, Any]] = []

    def call(self, task: str, event: dict[str, Any]) -> dict[str, Any]:
        context = SimpleNamespace(aws_request_id="request-1", get_remaining_time_in_millis=lambda: 900_000)
        reply = _TASKS[task](event, context)
        return {name: value for name, value in reply.items() if name != "bad"}


@contextmanager
def _deployed(shop: World) -> Iterator[_Deployed]:
    deployed = _Deployed(shop)
    secrets = SimpleNamespace(get_secret_value=lambda **_: {"SecretString": "key"})
    invoke = SimpleNamespace(invoke=lambda **q: deployed.handed_on.append(json.loads(q["Payload"])))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _SETTINGS.items():
            patch.setenv(name, value)
        for name, client in {
            "dynamodb": shop.dynamodb, "s3": shop.s3, "ses": shop.ses, "secrets_manager": secrets,
            "sqs": deployed.queue, "functions": invoke,
        }.items():  # fmt: skip
            patch.setattr(aws, name, lambda client=client: client)
        patch.setattr(gateway_access, "gateway", cache(lambda: shop.gateway))
        patch.setattr(generate_receipt.app, "render", lambda receipt: RenderedReceipt(receipt.number.encode(), ""))
        for kept in _CACHES:
            kept.cache_clear()
        yield deployed
        for kept in _CACHES:
            kept.cache_clear()


# --- what this version writes -----------------------------------------------------------------------------------


def recorded() -> list[Case]:
    """Return a case for every kind of event, message and item, on the way through the tasks of the workflow."""
    cases: list[Case] = []
    for name, begin in {
        "paid": _subscribed(),
        "declined": _subscribed(payment_method="pm_declined"),
        "action_required": _subscribed(payment_method="pm_3ds"),
        "dunned": _dunned,
        "given_up": _given_up,
        "cut off before the payment": _cut_off("gateway.create"),
        "cut off before the confirmation": _cut_off("gateway.confirm"),
        "cut off before the receipt": _cut_off("s3.PutObject"),
        "cut off before the mail": _cut_off("ses.SendRawEmail"),
        "refunded": _refunded,
        "reminder": _subscribed(renewal_date="2031-04-03", interval="year", test_clock=DAY),
    }.items():
        shop = World()
        with _deployed(shop) as deployed:
            begin(deployed)
            cases += _run(name, deployed)
    return cases


def _run(name: str, deployed: _Deployed) -> Iterator[Case]:
    """Run the sweep's message through the workflow, as far as the workflow goes."""
    deployed.queue.bodies = []
    part = {"kind": "clocks", "of": "all"}
    yield _case(name, deployed, "RenewalSweep", {"part": part | {"start": None, "rows": None, "sends": True}})
    if not deployed.queue.bodies:
        deployed.call("RenewalSweep", {"part": {"kind": "shard", "of": deployed.shop.items()[DAY]["unfinished"]}})
    [message] = deployed.queue.bodies
    case = _case(name, deployed, "ProcessPayment", {"execution": "run-2", "request": json.loads(message)})
    yield case
    if case["reply"]["outcome"] in ("paid", "refunded"):
        case = _case(name, deployed, "GenerateReceipt", {"execution": "run-2", "renewal": case["reply"]})
        yield case
    yield _case(name, deployed, "SendEmail", {"execution": "run-2", "renewal": case["reply"]})


def _case(name: str, deployed: _Deployed, task: str, event: dict[str, Any]) -> Case:
    shop = deployed.shop
    before = {
        "tables": {table: [_wired(item) for item in items.values()] for table, items in shop.dynamodb.tables.items()},
        "objects": {key: base64.b64encode(body).decode() for key, body in shop.receipts().items()},
        "payments": [
            {"id": payment.id, "state": payment.state, "amount": payment.amount, "currency": payment.currency}
            | {"request": asdict(shop.gateway.requests[payment.id])}
            for payment in shop.gateway.payments.values()
        ],
    }
    standing: dict[str, Any] = json.loads(json.dumps({"before": before, "event": event}, default=str))
    return {"name": f"{task}: {name}", "task": task} | standing | {"reply": deployed.call(task, event)}


def _wired(item: dict[str, Any]) -> dict[str, Any]:
    return {name: wire(value) for name, value in item.items()}


def _subscribed(**attributes: Any) -> Callable[[_Deployed], None]:
    row = {"renewal_date": DAY, "test_clock": NEXT} | attributes
    return lambda deployed: deployed.shop.subscribe(**row)


def _dunned(deployed: _Deployed) -> None:
    _subscribed(payment_method="pm_declined", test_clock=DAY)(deployed)
    _finish(deployed)
    deployed.shop.edit(test_clock=NEXT)


def _given_up(deployed: _Deployed) -> None:
    _dunned(deployed)
    _finish(deployed)
    deployed.shop.edit(test_clock="2031-04-05")


def _refunded(deployed: _Deployed) -> None:
    _subscribed(test_clock=DAY)(deployed)
    _finish(deployed)
    shop, now = deployed.shop, datetime(2031, 3, 31, 12, tzinfo=UTC)
    paid = shop.ledger.get("sub_1", DAY)
    assert paid is not None
    name, claim = refunds.new(paid, Decimal("9.99"), "USD", by="ann", key="request-1", caller="ann", at=now)
    claimed = shop.ledger.apply(refund_steps.claim_refund(paid, name, claim, [], now, due=now))
    done = {name: claim | {"state": "refunded", "refund_id": "re_1"}}
    step = refund_steps.refunds_looked_at(claimed, done, notice=mail_name(MailKind.REFUNDED, 1), due=None, now=now)
    shop.ledger.apply(step)
    shop.edit(test_clock=NEXT)


def _cut_off(call: str) -> Callable[[_Deployed], None]:
    """Plant a process that ended two days ago, right before the call."""

    def begin(deployed: _Deployed) -> None:
        _subscribed(test_clock=DAY)(deployed)
        with _deployed(World()) as undisturbed:
            _subscribed(test_clock=DAY)(undisturbed)
            _finish(undisturbed)
        deployed.shop.cuts.at = 2 * undisturbed.shop.cuts.calls.index(call)
        with suppress(Cut):
            _finish(deployed)
        deployed.shop.edit(test_clock=NEXT)

    return begin


def _finish(deployed: _Deployed) -> None:
    """Run an execution to its end."""
    request = {"subscription_id": "sub_1", "customer_id": "cus_1", "amount": "29.99"}
    reply = deployed.call("ProcessPayment", {"execution": "run-1", "request": request})
    if reply["outcome"] == "paid":
        reply = deployed.call("GenerateReceipt", {"execution": "run-1", "renewal": reply})
    deployed.call("SendEmail", {"execution": "run-1", "renewal": reply})


# --- what is read -----------------------------------------------------------------------------------------------


def _cases() -> list[Any]:
    return [
        pytest.param(case, id=f"{file.stem}-{case['name']}") for file in FILES for case in json.loads(file.read_text())
    ]


def _restored(before: dict[str, Any]) -> World:
    shop = World()
    for table, items in before["tables"].items():
        for item in items:
            shop.dynamodb.put(table, {name: plain(value) for name, value in item.items()})
    for key, body in before["objects"].items():
        shop.s3.put_object(Bucket="receipts", Key=key, Body=base64.b64decode(body))
    for payment in before["payments"]:
        state, request = PaymentState(payment["state"]), payment["request"]
        shop.gateway.payments[payment["id"]] = Payment(payment["id"], state, payment["amount"], payment["currency"])
        request.pop("payment_method", None)  # early versions named the card at the payment's creation
        request.setdefault("deployment", "")  # and no deployment
        asked = PaymentRequest(**request | {"renewal_date": date.fromisoformat(request["renewal_date"])})
        shop.gateway.requests[payment["id"]] = asked
    return shop


@pytest.mark.parametrize("case", _cases())
def test_what_an_earlier_version_wrote_is_read_by_this_one(case: Case) -> None:
    """An event, a message or an item of an earlier version leads to the reply that the earlier version gave."""
    with _deployed(_restored(case["before"])) as deployed:
        reply = deployed.call(case["task"], case["event"])
    assert case["reply"].items() <= reply.items()


@pytest.mark.parametrize("case", [case for case in _cases() if case.values[0]["task"] == "ProcessPayment"])
def test_a_request_that_is_queued_is_written_as_an_earlier_version_wrote_it(case: Case) -> None:
    """A queued request has the same fields and values as in the earlier version, so that after a rollback the earlier
    version reads our messages."""
    request = case["event"]["request"]
    assert RenewalRequest.from_json(json.dumps(request)).fields() == request


def _shape(value: Any) -> Any:
    """Return the names within an event, with the values' types instead of the values."""
    return {name: _shape(each) for name, each in value.items()} if isinstance(value, dict) else type(value).__name__


def test_the_latest_version_on_record_is_this_one() -> None:
    """The latest recorded version has the shapes of this version, so that a change of an event or a message must be
    recorded, and later versions are held to the record."""
    on_record = {case["name"]: case for case in json.loads(FILES[-1].read_text())}
    today = {case["name"]: case for case in json.loads(json.dumps(recorded(), default=str))}
    assert on_record.keys() == today.keys()
    for name, case in today.items():
        for part in ("event", "reply"):
            assert _shape(case[part]) == _shape(on_record[name][part]), name


if __name__ == "__main__":
    lines = ",\n".join(json.dumps(case, default=str) for case in recorded())
    Path(__file__).with_name("earlier").joinpath(f"{sys.argv[1]}.json").write_text(f"[\n{lines}\n]\n")
