"""Renewals end to end on the local stack: a signed webhook, the workflow started by the webhook, the receipt and the
mail.

Each of `in_flight` clients sends a webhook, waits until the mail is in the folder and the ledger says done, and sends
the next webhook. Clients look for mails in the folder, since requests to the emulator would distort the measurement.
The time of a workflow runs from the beginning of the first task to the end, by the execution's own history. The
functions' processor time is the time of their processes, from /proc. Every renewal is checked: charged, receipted and
mailed, once.
"""

import json
import os
import queue
import re
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection
from itertools import batched
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from local.cuts import Cuts
from local.gateway import Sandbox, official_client
from local.mailbox import slug
from local.stack import REGION, STACK_NAME, Stack
from local.time_passes import TimePasses
from local.webhook import signed_headers, signing_secret

AMOUNT = "29.99"
FUNCTIONS = ("webhook_handler", "process_payment", "generate_receipt", "send_email")
_ONCE_A_PROCESS = "secretsmanager:GetSecretValue"
_LOG_EVENT_BYTES = 26  # https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html
_TASKS = ("ProcessPayment", "GenerateReceipt", "SendEmail")
_ADDRESSEE = re.compile(r"^To:.*?(\w+)@example\.org", re.MULTILINE)
_LOOKS_EVERY, _WAITS = 0.005, 60.0
_CLOCK_TICKS_NS = 100_000_000  # two changes of a folder in so short a time may bear the same time
_TICKS = os.sysconf("SC_CLK_TCK")


class NotRenewedError(Exception):
    """A renewal did not come to its end. The message names the renewal and its state."""


@dataclass(frozen=True)
class Load:
    """A number of renewals, and how many of these renewals are in flight at once."""

    renewals: int
    in_flight: int


class Shop:
    """The deployed system as seen by a sender of webhooks; all subscriptions belong to a single customer of the
    gateway."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.dynamodb = stack.client("dynamodb")
        self.workflows = stack.client("stepfunctions")
        self.subscriptions, self.ledger = (stack.outputs[f"{name}TableName"] for name in ("Subscriptions", "Renewals"))
        self.secret = signing_secret(stack)
        self.today = datetime.now(UTC).date().isoformat()
        gateway = official_client(stack.gateway_url, stack.gateway_key).v1
        self.customer = gateway.customers.create({"name": "Ann Lee", "email": "ann@example.org"}).id
        self.card = gateway.payment_methods.attach("pm_card_visa", {"customer": self.customer}).id

    def subscribe(self, count: int) -> list[str]:
        """Create `count` monthly subscriptions due today, and return their ids."""
        ids = [f"sub_{uuid4().hex[:12]}" for _ in range(count)]
        for some in batched(ids, 25, strict=False):
            rows = [{"PutRequest": {"Item": self._row(subscription_id)}} for subscription_id in some]
            self.dynamodb.batch_write_item(RequestItems={self.subscriptions: rows})
        return ids

    def _row(self, subscription_id: str) -> dict[str, dict[str, str]]:
        words = {
            "subscription_id": subscription_id,
            "customer_id": f"cus_{subscription_id}",
            "renewal_date": self.today,
            "status": "active",
            "currency": "USD",
            "interval": "month",
            "plan": "Team plan, monthly",
            "customer_name": "Ann Lee",
            "customer_email": _address(subscription_id),
            "gateway_customer": self.customer,
            "payment_method": self.card,
        }
        return {name: {"S": value} for name, value in words.items()} | {"amount": {"N": AMOUNT}}

    def executions_since(self, moment: datetime) -> list[str]:
        """Return the ARNs of the executions started since the moment."""
        arns = []
        for page in self.workflows.get_paginator("list_executions").paginate(
            stateMachineArn=self.stack.outputs["RenewalWorkflowArn"]
        ):
            arns += [each["executionArn"] for each in page["executions"] if each["startDate"] >= moment]
        return arns

    def last_executions(self, count: int) -> list[str]:
        """Return the ARNs of the latest executions."""
        listed = self.workflows.list_executions(
            stateMachineArn=self.stack.outputs["RenewalWorkflowArn"], maxResults=count
        )
        return [each["executionArn"] for each in listed["executions"]]

    def receipts(self) -> Iterator[dict[str, Any]]:
        """Yield the stored receipts as S3 lists them."""
        pages = self.stack.client("s3").get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self.stack.outputs["ReceiptsBucketName"], Prefix="receipts/"):
            yield from page["Contents"]

    def history(self, execution: str) -> list[dict[str, Any]]:
        """Return the events of an execution."""
        events: list[dict[str, Any]] = self.workflows.get_execution_history(executionArn=execution, maxResults=1000)[
            "events"
        ]
        return events


def _address(subscription_id: str) -> str:
    return f"{subscription_id}@example.org"


class _Sender:
    """A client with a single connection."""

    def __init__(self, shop: Shop, looks_every: float = _LOOKS_EVERY) -> None:
        self._shop = shop
        self._looks_every = looks_every
        self._path = urlsplit(shop.stack.outputs["LocalWebhookUrl"]).path
        self._connection = HTTPConnection("127.0.0.1", shop.stack.port, timeout=_WAITS)
        self._ask = {
            "Content-Type": "application/x-amz-json-1.0",
            "X-Amz-Target": "DynamoDB_20120810.GetItem",
            "Authorization": f"AWS4-HMAC-SHA256 Credential=test/20260101/{REGION}/dynamodb/aws4_request, "
            "SignedHeaders=host, Signature=0",
        }

    def renew(self, subscription_id: str) -> float:
        """Bring a renewal from webhook to mail, and return the seconds until the answer to the webhook."""
        asked = {"subscription_id": subscription_id, "customer_id": f"cus_{subscription_id}", "amount": AMOUNT}
        body = json.dumps(asked).encode()
        headers = signed_headers(self._shop.secret, body, message_id=f"msg_{uuid4().hex}", at=datetime.now(UTC))
        began = time.perf_counter()
        status, answer = self._post(self._path, body, headers)
        seconds = time.perf_counter() - began
        if status != 202:
            raise NotRenewedError(f"the webhook for {subscription_id} was answered {status}: {answer!r}")
        self._wait_for_the_end(subscription_id)
        return seconds

    def _wait_for_the_end(self, subscription_id: str) -> None:
        key = {"subscription_id": {"S": subscription_id}, "renewal_date": {"S": self._shop.today}}
        body = json.dumps({"TableName": self._shop.ledger, "Key": key, "ConsistentRead": True}).encode()
        folder, mail, stands = self._shop.stack.mail_folder, f"*-{slug(_address(subscription_id))}.eml", "nothing"
        deadline, looked_at, there = time.monotonic() + _WAITS, 0, False
        while stands != "done":
            if time.monotonic() > deadline:
                raise NotRenewedError(f"{subscription_id}: {stands} after {_WAITS:.0f} s")
            time.sleep(self._looks_every)
            # The folder is listed only after a change: to list a large folder all the time would be a load of its own.
            changed_at = folder.stat().st_mtime_ns
            if not there and (changed_at != looked_at or time.time_ns() - changed_at < _CLOCK_TICKS_NS):
                looked_at, there = changed_at, any(folder.glob(mail))
            if not there:
                continue
            _, answer = self._post("/", body, self._ask)
            stands = json.loads(answer).get("Item", {}).get("status", {}).get("S", "nothing")

    def _post(self, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        self._connection.request("POST", path, body, dict(headers))
        response = self._connection.getresponse()
        return response.status, response.read()

    def close(self) -> None:
        self._connection.close()


def calls(shop: Shop) -> dict[str, dict[str, int]]:
    """Return the functions' calls of AWS for one renewal, by package and IAM action, as the emulator sees the calls.
    Reading the secrets is left out, since a process reads secrets once."""
    cuts, (subscription_id,) = Cuts(shop.stack.endpoint_url), shop.subscribe(1)
    names = {name: f"{STACK_NAME}-{name.replace('_', '-')}-prod" for name in FUNCTIONS}
    for name in names.values():
        cuts.watch(name, subscription_id)
    sender = _Sender(shop)
    sender.renew(subscription_id)
    sender.close()
    seen = {package: Counter(cuts.calls(name, subscription_id)) for package, name in names.items()}
    for made in seen.values():
        del made[_ONCE_A_PROCESS]
    return {package: dict(made) for package, made in seen.items()}


def sizes(shop: Shop, renewals: int) -> dict[str, float]:
    """Return averages over the last renewals: bytes of a receipt, of the functions' log lines (with CloudWatch's
    addition to every line) and of the workflow's log, which is its history; and the number of states entered, with the
    start."""
    histories = [shop.history(execution) for execution in shop.last_executions(renewals)]
    entered = [event for event in histories[0] if "stateEnteredEventDetails" in event]
    logs = shop.stack.client("logs")
    written = 0
    for name in FUNCTIONS:
        group = f"/aws/lambda/{STACK_NAME}-{name.replace('_', '-')}-prod"
        for page in logs.get_paginator("filter_log_events").paginate(logGroupName=group):
            written += sum(len(event["message"].encode()) + _LOG_EVENT_BYTES for event in page["events"])
    receipts = [found["Size"] for found in shop.receipts()]
    return {
        "receipt_bytes": statistics.mean(receipts),
        "function_log_bytes": written / len(receipts),
        "workflow_log_bytes": statistics.mean(len(json.dumps(history, default=str)) for history in histories),
        "transitions": len(entered) + 1,
    }


def run(shop: Shop, load: Load, meanwhile: AbstractContextManager[object] | None = None) -> dict[str, float]:
    """Renew under a load. Times are in ms; processor times are in ms for a renewal.

    meanwhile: is entered before the first webhook, and left after the last renewal.
    """
    ids = shop.subscribe(load.renewals)
    began, clock = datetime.now(UTC), time.perf_counter()
    before = _processor_time(shop.stack.emulator_pid)
    with meanwhile or nullcontext():
        webhooks = list(_send_all(shop, ids, load.in_flight))
    seconds = time.perf_counter() - clock
    after = _processor_time(shop.stack.emulator_pid)
    TimePasses(shop.stack.endpoint_url).until_all_is_done(_WAITS)  # the ledger is done before the workflow
    _check(shop, ids)
    histories = [shop.history(execution) for execution in shop.executions_since(began)]
    workflows = [_seconds_of(history) for history in histories]
    used = {name: (after[name] - before.get(name, 0)) / load.renewals for name in after}
    emulator = used.pop("")
    return {
        "renewals_per_s": load.renewals / seconds,
        **_percentiles("webhook", webhooks),
        **_percentiles("workflow", [times["workflow"] for times in workflows]),
        **{f"{task}_p50_ms": 1000 * statistics.median(times[task] for times in workflows) for task in _TASKS},
        "handlers_cpu_ms": 1000 * sum(used.values()),
        **{f"{name}_cpu_ms": 1000 * value for name, value in sorted(used.items())},
        "emulator_cpu_ms": 1000 * emulator,
    }


def median_of(runs: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the median of every figure."""
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def _send_all(shop: Shop, ids: Iterable[str], in_flight: int) -> Iterator[float]:
    todo: queue.SimpleQueue[str] = queue.SimpleQueue()
    for subscription_id in ids:
        todo.put(subscription_id)

    def send(_: int) -> list[float]:
        sender, seconds = _Sender(shop, in_flight * _LOOKS_EVERY), []
        try:
            while not todo.empty():
                seconds.append(sender.renew(todo.get_nowait()))
        except queue.Empty:
            pass
        finally:
            sender.close()
        return seconds

    with ThreadPoolExecutor(in_flight) as senders:
        for seconds in senders.map(send, range(in_flight)):
            yield from seconds


def _processor_time(emulator: int) -> dict[str, float]:
    """Return the seconds of user and system time by function; the emulator's own time has the name ""."""
    used: dict[str, float] = defaultdict(float)
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            if emulator not in (int(folder.name), int(stat[1])):
                continue
            name = "" if int(folder.name) == emulator else _function_of(folder)
        except (FileNotFoundError, ProcessLookupError):
            continue
        used[name] += (int(stat[11]) + int(stat[12])) / _TICKS
    return used


def _function_of(folder: Path) -> str:
    """Return the package of a function, such as webhook_handler, from the environment of the function's process."""
    variables = (folder / "environ").read_bytes().split(b"\0")
    named = [v.partition(b"=")[2].decode() for v in variables if v.startswith(b"AWS_LAMBDA_FUNCTION_NAME=")]
    return named[0].removeprefix(f"{STACK_NAME}-").removesuffix("-prod").replace("-", "_") if named else ""


def _seconds_of(history: list[dict[str, Any]]) -> dict[str, float]:
    """Return the seconds of the workflow from its first task on, and the seconds of every task."""
    if history[-1]["type"] != "ExecutionSucceeded":
        raise NotRenewedError(f"a workflow ended with {history[-1]}")
    entered, left = (
        {event[kind]["name"]: event["timestamp"] for event in history if kind in event}
        for kind in ("stateEnteredEventDetails", "stateExitedEventDetails")
    )
    whole = history[-1]["timestamp"] - entered[_TASKS[0]]
    return {"workflow": whole.total_seconds()} | {task: (left[task] - entered[task]).total_seconds() for task in _TASKS}


def _check(shop: Shop, ids: list[str]) -> None:
    """Check that every renewal was charged, receipted and mailed, once."""
    wanted = set(ids)
    charged = Counter(
        charge["metadata"]["subscription_id"]
        for charge in Sandbox(shop.stack.gateway_url).charges(customer=shop.customer, status="succeeded")
    )
    receipts = Counter(found["Key"].split("/")[2] for found in shop.receipts())
    mails = Counter(_ADDRESSEE.findall(file.read_text())[0] for file in shop.stack.mail_folder.glob("*.eml"))
    for what, count in {"charges": charged, "receipts": receipts, "mails": mails}.items():
        odd = {subscription_id: count[subscription_id] for subscription_id in wanted if count[subscription_id] != 1}
        if odd:
            raise NotRenewedError(f"{what}, where there should be one of each: {odd}")


def _percentiles(name: str, seconds: Sequence[float]) -> dict[str, float]:
    cuts = statistics.quantiles(seconds, n=20, method="inclusive")
    return {f"{name}_p50_ms": 1000 * cuts[9], f"{name}_p95_ms": 1000 * cuts[18]}
