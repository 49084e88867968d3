"""The command as a person types it, over AWS in memory."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError, NoCredentialsError, ProfileNotFound, ReadTimeoutError
from click.testing import CliRunner, Result

from renewals.domain.request import RenewalRequest
from renewals.gateway import stripe_gateway
from renewals.gateway.port import GatewayUnauthorized
from scripts import ROOT
from scripts.subscriptions import verified
from scripts.subscriptions.__main__ import main
from tests.fake_aws import error
from tests.fakes import DUE, LATER, NOON, World

DEAD, QUEUE = "https://sqs/dead-letters", "https://sqs/renewals"
OUTPUTS = {
    "SubscriptionsTableName": "subscriptions",
    "RenewalsTableName": "renewals",
    "ChangesTableName": "changes",
    "DeclarationsTableName": "declarations",
    "RenewalWorkflowArn": "arn:aws:states:us-west-2:123456789012:stateMachine:renewal",
    "RenewalQueueUrl": QUEUE,
    "RenewalDeadLetterQueueUrl": DEAD,
    "SweepFunctionName": "sweep",
    "ReceiptsBucketName": "receipts",
    "PaymentGatewaySecretArn": "arn:aws:secretsmanager:us-west-2:123456789012:secret:gateway",
}
PARAMETERS = {"ProjectName": "shop", "Environment": "dev", "BusinessTimeZone": "UTC"}


@dataclass
class Account:
    """An AWS account with a single stack, as boto3's session reaches the account. trouble: the error that every call
    raises.

    asked: the inputs with which the workflow was started. queues: the bodies in every queue. let_go: the messages made
    visible again. invoked: functions invoked asynchronously, with their events.
    """

    shop: World
    region_name: str = "us-west-2"
    trouble: Exception | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    queues: dict[str, list[str]] = field(default_factory=lambda: {DEAD: [], QUEUE: []})
    let_go: list[str] = field(default_factory=list)
    invoked: list[tuple[str, str]] = field(default_factory=list)
    parameters: dict[str, str] = field(default_factory=lambda: dict(PARAMETERS))
    hides_the_key: bool = False

    def client(self, service: str, **_: Any) -> Any:
        if self.trouble is not None:
            raise self.trouble
        return {"dynamodb": self.shop.dynamodb, "s3": self.shop.s3}.get(service, self)

    def describe_stacks(self, *, StackName: str) -> Any:  # noqa: N803  (boto3's name)
        if StackName != "subscription-mgmt":
            raise error("ValidationError", "DescribeStacks")
        outputs = [{"OutputKey": name, "OutputValue": value} for name, value in OUTPUTS.items()]
        parameters = [{"ParameterKey": name, "ParameterValue": value} for name, value in self.parameters.items()]
        return {"Stacks": [{"Outputs": outputs, "Parameters": parameters}]}

    def invoke(self, *, FunctionName: str, InvocationType: str, Payload: str) -> Any:  # noqa: N803  (boto3's names)
        assert InvocationType == "Event"
        self.invoked.append((FunctionName, Payload))

    def get_secret_value(self, *, SecretId: str) -> Any:  # noqa: N803
        if self.hides_the_key:
            raise error("AccessDeniedException", "GetSecretValue")
        assert SecretId == OUTPUTS["PaymentGatewaySecretArn"]
        return {"SecretString": json.dumps({"api_key": "key", "endpoint": "https://gateway"})}

    def get_caller_identity(self) -> Any:
        return {"Arn": "arn:aws:sts::123456789012:assumed-role/Operators/zoe"}

    def start_sync_execution(self, *, stateMachineArn: str, input: str) -> Any:  # noqa: A002, N803  (boto3's names)
        assert stateMachineArn == OUTPUTS["RenewalWorkflowArn"]
        self.asked.append(json.loads(input))
        work, execution = self.asked[-1], f"run-{len(self.asked) + 1}"
        now = NOON + len(self.asked) * LATER
        outcome = self.shop.charge(execution, now).renew(RenewalRequest.from_json(input))
        if outcome.name in ("nothing_to_do", "in_progress"):
            return {
                "status": "SUCCEEDED",
                "output": json.dumps({"outcome": outcome.name, "reason": outcome.reason}),
            }
        state = self.shop.run(execution, now, work["amount"], period=work.get("renewal_date"))
        if state.endswith("Failed"):
            names = {"PaymentFailed": "PaymentProcessingFailed", "EmailFailed": "EmailSendingFailed"}
            return {"status": "FAILED", "error": names[state]}
        return {"status": "SUCCEEDED", "output": json.dumps({"outcome": "mailed"})}

    def get_queue_attributes(self, *, QueueUrl: str, AttributeNames: list[str]) -> Any:  # noqa: N803  (boto3's names)
        waiting = {"ApproximateNumberOfMessages": str(len(self.queues[QueueUrl]))}
        return {"Attributes": dict.fromkeys(AttributeNames, "0") | waiting}

    def receive_message(self, *, QueueUrl: str, MaxNumberOfMessages: int, **_: Any) -> Any:  # noqa: N803
        bodies = self.queues[QueueUrl][:MaxNumberOfMessages]
        told = {"Attributes": {"SentTimestamp": "1769860800000", "SenderId": "AROA1:zoe"}}
        return {"Messages": [{"Body": body, "ReceiptHandle": body, "MessageId": body[-6:]} | told for body in bodies]}

    def change_message_visibility(self, *, ReceiptHandle: str, VisibilityTimeout: int, **_: Any) -> None:  # noqa: N803
        assert VisibilityTimeout == 0
        self.let_go.append(ReceiptHandle)

    def send_message(self, *, QueueUrl: str, MessageBody: str) -> None:  # noqa: N803
        self.queues[QueueUrl].append(MessageBody)

    def delete_message(self, *, QueueUrl: str, ReceiptHandle: str) -> None:  # noqa: N803
        self.queues[QueueUrl].remove(ReceiptHandle)


@pytest.fixture
def account(shop: World, monkeypatch: pytest.MonkeyPatch) -> Account:
    """The account that the environment's profile reaches."""
    made = Account(shop)
    monkeypatch.setattr(boto3, "Session", lambda: made)
    return made


@pytest.fixture
def command(account: Account, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """A function that types a command and returns output and exit status. An import asks the shop's gateway."""
    monkeypatch.setattr(stripe_gateway, "StripeGateway", lambda *_: account.shop.gateway)
    monkeypatch.setattr(verified, "_WAITS", ())
    for name, value in {"POWERTOOLS_METRICS_DISABLED": "false", "POWERTOOLS_LOG_LEVEL": "INFO"}.items():
        monkeypatch.setenv(name, value)  # the command sets both variables if unset, and would change later tests
    return lambda *words: CliRunner().invoke(main, [str(word) for word in words])


def squeezed(result: Result) -> str:
    """Return the command's output without the spaces and lines of a table."""
    return " ".join(result.output.split())


def on(shop: World, **attributes: Any) -> None:
    """Make the only subscription, with a test clock on its due date."""
    shop.subscribe(test_clock=DUE.isoformat(), **attributes)


def test_renew_now_charges_what_is_due_and_tells_it(shop: World, account: Account, command: Any) -> None:
    """`renew-now` asks for the same renewal as a webhook, tells the outcome and records who asked; a second call finds
    nothing due."""
    on(shop)
    first, second = command("renew-now", "sub_1"), command("renew-now", "sub_1")
    assert account.asked[0] == {"subscription_id": "sub_1", "customer_id": "cus_1", "amount": "29.99"}
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert "29.99 USD for Pro was charged to Visa ending in 4242" in squeezed(first)
    assert "Mailed the receipt to a***@c***.example." in squeezed(first)
    assert second.output == "Nothing was charged: the period is renewed already.\n"
    assert len(shop.gateway.charges) == len(shop.mails()) == 1
    told = squeezed(command("why", "sub_1"))
    assert told.count("Operators/zoe asked for a renewal at once.") == 2


@pytest.mark.parametrize(
    ("attributes", "said", "status"),
    [
        ({"renewal_date": "2026-02-01"}, "Nothing was charged: the subscription is not due.", 0),
        ({"status": "paused"}, "Nothing was charged: the subscription was paused.", 0),
        ({"status": "canceled"}, "Nothing was charged: the subscription was canceled.", 0),
        ({"cancel_at": "2026-01-31"}, "Nothing was charged: the subscription ends before this period.", 0),
        ({"renewal_date": "2025-11-30", "catch_up": "each"}, "the sweep bills them one at a time.", 0),
        ({"currency": "XYZ"}, "currency: is not a currency that the payment gateway charges in.", 1),
        ({"amount": "29.99"}, "amount: is not a number.", 1),
    ],
)
def test_what_is_not_due_is_said_and_not_charged(
    shop: World, command: Any, attributes: dict[str, Any], said: str, status: int
) -> None:
    """`renew-now` charges neither a subscription that is not due, nor an ended or paused subscription, nor a bad row,
    and says why."""
    on(shop, **attributes)
    ended = command("renew-now", "sub_1")
    assert (said in squeezed(ended), ended.exit_code) == (True, status), ended.output
    assert shop.gateway.charges == []
    assert shop.row()["renewal_date"] == attributes.get("renewal_date", DUE.isoformat())


def test_a_refusal_is_told_with_its_reason(shop: World, command: Any) -> None:
    """`renew-now` tells of a declined card with the reason in words, and a decline is no failure of the command."""
    on(shop, payment_method="pm_declined")
    ended = command("renew-now", "sub_1")
    assert ended.exit_code == 0
    assert "was declined: the card has insufficient funds" in squeezed(ended)
    assert "Mailed the notice that the payment did not go through" in squeezed(ended)


def test_a_mail_of_unknown_fate_is_sent_again_once(shop: World, account: Account, command: Any) -> None:
    """`resend-mail` sends the receipt once and records who decided; nothing else is charged, though a later period is
    due."""
    on(shop)
    shop.ses.trouble = [ReadTimeoutError(endpoint_url="https://ses")]
    assert shop.run() == "EmailFailed"
    shop.edit(test_clock="2026-02-28")
    sent, again = (command("resend-mail", "sub_1", DUE) for _ in range(2))
    assert "Mailed the receipt to a***@c***.example." in squeezed(sent)
    assert (sent.exit_code, again.exit_code) == (0, 1)
    assert "The renewal's status: charged, receipted and mailed. A mail is sent again only if" in again.output
    assert len(shop.mails()) == len(shop.gateway.charges) == 1
    told = "Operators/zoe asked for the mail of the receipt to be sent again, of the period from 31 January 2026 on."
    assert told in squeezed(command("why", "sub_1"))


def test_a_mail_that_waited_for_another_address_is_sent_however_old(shop: World, command: Any) -> None:
    """`resend-mail` sends a waiting mail of a period older than the latest ten, unless the row still has the address at
    fault."""
    on(shop, customer_email="nobody", interval="day")
    shop.run()
    shop.edit(customer_email="ann@customer.example")
    for day in range(1, 13):
        shop.edit(test_clock=(DUE + timedelta(days=day)).isoformat())
        shop.run(f"day-{day}", NOON + timedelta(days=day), period=(DUE + timedelta(days=day)).isoformat())
    mailed = len(shop.mails())
    shop.edit(customer_email="nobody")
    assert "The address is still the faulty address" in command("resend-mail", "sub_1", DUE).output
    shop.edit(customer_email="ann@customer.example")
    assert command("resend-mail", "sub_1", DUE).exit_code == 0
    assert (len(shop.mails()), shop.items()[DUE.isoformat()]["status"]) == (mailed + 1, "done")


def test_the_mail_of_the_period_that_is_named_is_sent(shop: World, command: Any) -> None:
    """`resend-mail` sends the mail of the named period and no older waiting mail."""
    on(shop, customer_email="nobody", interval="day")
    shop.environment = "dev"
    for day in range(2):
        date = (DUE + timedelta(days=day)).isoformat()
        shop.edit(test_clock=date, customer_email=f"nobody {day}")
        shop.run(f"day-{day}", NOON + timedelta(days=day), period=date)
    shop.edit(customer_email="ann@customer.example")
    command("resend-mail", "sub_1", DUE + timedelta(days=1))
    assert {day: item["status"] for day, item in shop.items().items()} == {
        "2026-01-31": "mail_failed",
        "2026-02-01": "done",
    }


def test_no_other_mail_is_sent_again(shop: World, account: Account, command: Any) -> None:
    """For an unclaimed period, and for a period whose mail was sent, `resend-mail` says so and starts nothing."""
    on(shop)
    assert "sub_1 has no claimed period from 2026-01-31 on." in command("resend-mail", "sub_1", DUE).output
    shop.run()
    assert command("resend-mail", "sub_1", DUE).exit_code == 1
    assert account.asked == []


def test_dead_letters_come_back_with_who_brought_them(shop: World, account: Account, command: Any) -> None:
    """`redrive` moves every dead letter back unchanged; where a letter is about a subscription, the timeline tells who
    moved it."""
    on(shop)
    letter = {"subscription_id": "sub_1", "customer_id": "cus_1", "amount": "29.99"}
    bodies = [json.dumps(letter | {"n": n}) for n in range(11)] + ["nonsense", "[]", '{"a": 1}']
    account.queues[DEAD] = list(bodies)
    assert command("redrive").output == "14 messages moved back to the queue\n"
    assert account.queues == {DEAD: [], QUEUE: bodies}
    told = squeezed(command("why", "sub_1"))
    assert told.count("Operators/zoe moved a renewal from the dead-letter queue back to the queue.") == 11


def test_showing_a_subscription(shop: World, command: Any) -> None:
    """`show` prints the row and the next charge with its reason, or why the subscription cannot be charged."""
    on(shop, customer_name="[bold]Ann[/bold]")
    told = squeezed(command("show", "sub_1"))
    assert "amount 29.99 USD" in told
    assert "customer_name [bold]Ann[/bold]" in told
    assert "Next charge: 29.99 USD on 31 January 2026: every month, on day 31; due today." in told
    on(shop, currency="XYZ")
    assert "The subscription cannot be charged as it stands: currency: is not a currency" in squeezed(
        command("show", "sub_1")
    )
    on(shop, status="paused")
    assert "Nothing is charged until the subscription is resumed" in squeezed(command("show", "sub_1"))


def test_the_next_charges(shop: World, command: Any) -> None:
    """`preview` lists as many charges as asked for, with the reason for every day, or says why a row cannot be
    charged."""
    on(shop)
    told = command("preview", "sub_1", "--count", 3)
    assert [line.split()[0] for line in told.output.splitlines()[1:]] == ["2026-01-31", "2026-02-28", "2026-03-31"]
    assert "February 2026 ends with day 28" in told.output
    on(shop, amount="29.99")
    refused = command("preview", "sub_1")
    assert (refused.exit_code, refused.output) == (
        1,
        "Error: The subscription cannot be charged as it stands: amount: is not a number.\n",
    )


def test_lists_are_narrowed_and_come_in_pages(shop: World, command: Any) -> None:
    """`list` narrows by status, customer and day of the next charge; a page names the start of the next page, and no
    row is lost."""
    for n in range(7):
        changes: dict[str, Any] = {"customer_id": f"cus_{n % 2}", "status": "paused" if n == 6 else "active"}
        on(shop, subscription_id=f"sub_{n}", renewal_date=f"2026-03-0{n + 1}", **changes)

    def listed(*words: str) -> list[str]:
        return [word for word in command("list", *words).output.split() if word.startswith("sub_")]

    assert listed() == [f"sub_{n}" for n in range(7)]
    assert listed("--status", "paused") == ["sub_6"]
    assert listed("--customer", "cus_1") == ["sub_1", "sub_3", "sub_5"]
    assert listed("--due-before", "2026-03-03") == ["sub_0", "sub_1"]
    first = command("list", "--limit", "3")
    assert "There may be more: continue with --after sub_2/cus_0" in first.output
    assert listed("--limit", "4", "--after", "sub_2/cus_0") == ["sub_3", "sub_4", "sub_5", "sub_6"]
    assert command("list", "--after", "sub_2").exit_code == 2


_UNVERIFIED = """subscription_id,customer_id,renewal_date,amount,currency,gateway_customer,payment_method
sub_2,cus_2,2126-03-01,29.99,USD,cus_gw,pm_ok
sub_3,cus_3,2126-03-01,29.99,USD,cus_gone,pm_ok
sub_4,cus_4,2126-03-01,29.99,USD,cus_gw,pm_detached
"""


@pytest.mark.parametrize("apply", [(), ("--apply",)])
def test_an_import_takes_only_what_the_gateway_knows(
    shop: World, command: Any, tmp_path: Path, apply: tuple[str, ...]
) -> None:
    """With and without `--apply`, an import names every line with a customer or card unknown to the gateway, and the
    field; `--no-verify` imports such lines all the same."""
    (file := tmp_path / "new.csv").write_text(_UNVERIFIED)
    told = command("import", *apply, file)
    assert told.exit_code == 1
    assert "line 3: gateway_customer is not known to the gateway" in told.output
    assert "payment_method is saved for another customer" in told.output
    assert "line 4: payment_method is saved for no customer" in told.output
    assert [key[0] for key in shop.dynamodb.items("subscriptions")] == (["sub_2"] if apply else [])
    assert command("import", "--apply", "--no-verify", file).exit_code == 0
    assert len(shop.dynamodb.items("subscriptions")) == 3


def test_an_import_while_the_gateway_is_down(shop: World, command: Any, tmp_path: Path) -> None:
    """A line without an answer of the gateway is counted as not imported, and the command run again later imports the
    line."""
    (file := tmp_path / "new.csv").write_text("\n".join(_UNVERIFIED.splitlines()[:2]))
    shop.gateway.trouble = [("has_customer", "before")]
    told = command("import", "--apply", file)
    assert told.exit_code == 1
    assert "line 2: the gateway gave no answer about customer and card: import the file again" in told.output
    assert "1 not imported: the gateway gave no answer" in squeezed(told)
    assert shop.dynamodb.items("subscriptions") == {}
    assert command("import", "--apply", file).exit_code == 0


def test_an_import_by_somebody_who_may_not_read_the_gateway_s_key(
    shop: World, account: Account, command: Any, tmp_path: Path
) -> None:
    """Without permission to read the gateway's key, the import names the missing permission and the alternative, and
    writes nothing."""
    (file := tmp_path / "new.csv").write_text(_UNVERIFIED)
    account.hides_the_key = True
    told = command("import", "--apply", file)
    assert told.exit_code == 1
    assert "secretsmanager:GetSecretValue" in told.output
    assert "--no-verify" in told.output
    assert shop.dynamodb.items("subscriptions") == {}
    assert command("import", "--apply", "--no-verify", file).exit_code == 0


def test_many_looks_at_the_gateway_leave_the_terminal_alone() -> None:
    """The gateway adapter's metrics and logs, meant for functions, are neither printed nor kept, however many lines a
    file has."""
    asked = """
import scripts, sys
from types import SimpleNamespace
from scripts.subscriptions.verified import lookup
stack = SimpleNamespace(client=lambda _: SimpleNamespace(get_secret_value=lambda **_: {
    "SecretString": '{"api_key": "sk_test", "endpoint": "http://127.0.0.1:9"}'}), output=lambda name: name)
look = lookup(stack)
row = SimpleNamespace(gateway_customer="cus_1", payment_method="pm_1")
object.__setattr__(look, "wait", lambda _: None)
assert [look.faults(row) for _ in range(60)] == [None] * 60
"""
    told = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")


def test_a_key_that_the_gateway_turns_away_ends_an_import(
    shop: World, command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway key that is turned away ends the import as the account's fault, not as the fault of a line."""

    def refuses(*_: str) -> bool:
        raise GatewayUnauthorized("invalid_api_key")

    monkeypatch.setattr(shop.gateway, "has_customer", refuses)
    (file := tmp_path / "new.csv").write_text(_UNVERIFIED)
    told = command("import", "--apply", file)
    assert (told.exit_code, "does not let us look customers and cards up (invalid_api_key" in told.output) == (1, True)


def test_an_import_says_what_it_does_and_its_exit_status_too(shop: World, command: Any, tmp_path: Path) -> None:
    """An import first only looks, writes with `--apply`, and has nothing to do the third time; its exit status is 1
    where a line was left out."""
    file = tmp_path / "new.csv"
    header = "subscription_id,customer_id,renewal_date,amount,currency,gateway_customer,payment_method\n"
    good = "sub_2,cus_2,2126-03-01,29.99,USD,cus_gw,pm_ok\n"
    file.write_text(header + good)
    looked, applied, again = command("import", file), command("import", "--apply", file), command("import", file)
    assert [each.exit_code for each in (looked, applied, again)] == [0, 0, 0]
    assert "1 would be created Nothing was written." in squeezed(looked)
    assert "1 created" in squeezed(applied)
    assert "0 would be created 1 existed already" in squeezed(again)
    file.write_text(header + good.replace("29.99", "9.99") + good.replace("sub_2", "sub_3").replace("USD", "") +
                    good.replace("sub_2", "sub_4").replace("2126", "2026"))  # fmt: skip
    bad = command("import", "--apply", file)
    assert bad.exit_code == 1
    assert "line 2: the existing subscription differs in amount" in bad.output
    assert "line 3: currency is missing" in bad.output
    assert "1 held back: already due, would be charged at once" in squeezed(bad)
    assert "Due at once: 1 subscription, 1 charge, 29.99 USD." in bad.output
    assert "More than one period missed: 1 of these; the oldest has been due since 2026-03-01." in bad.output
    assert len(shop.dynamodb.items("subscriptions")) == 1


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.xlsx", "PK", "a.xlsx is neither .csv nor .jsonl."),
        ("a.csv", "", "There are no subscriptions in the file."),
        ("a.jsonl", "\n\n", "There are no subscriptions in the file."),
        ("a.csv", "sub_1,cus_1\n", "The first line is not a header that can be read"),
    ],
)
def test_files_that_are_none(command: Any, tmp_path: Path, name: str, content: str, said: str) -> None:
    """A file without readable subscriptions is refused in a sentence."""
    (tmp_path / name).write_text(content)
    refused = command("import", tmp_path / name)
    assert (refused.exit_code, said in refused.output) == (1, True), refused.output


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (NoCredentialsError(), "There are no AWS credentials"),
        (ProfileNotFound(profile="ops"), "There is no AWS profile ops: set AWS_PROFILE."),
        (EndpointConnectionError(endpoint_url="http://127.0.0.1:4566"), "Nothing answers at http://127.0.0.1:4566"),
        (error("ExpiredTokenException", "Query"), "The AWS credentials have expired: sign in again."),
        (error("UnrecognizedClientException", "Query"), "AWS does not know these credentials"),
        (error("AccessDeniedException", "Query"), "AWS does not permit the call"),
        (error("ProvisionedThroughputExceededException", "Query"), "AWS refuses Query"),
    ],
)
def test_trouble_with_aws_is_a_sentence(account: Account, command: Any, trouble: Exception, said: str) -> None:
    """Common trouble with AWS is told in a sentence without a traceback, and the exit status is 1."""
    account.trouble = trouble
    refused = command("show", "sub_1")
    assert (refused.exit_code, refused.output.startswith(f"Error: {said}")) == (1, True), refused.output


@pytest.mark.parametrize(
    ("words", "said", "status"),
    [
        (("show", "sub_9"), "Error: There is no subscription sub_9.\n", 1),
        (("why", "sub_9"), "Error: There is no subscription sub_9.\n", 1),
        (("renew-now", "sub_9"), "Error: There is no subscription sub_9.\n", 1),
        (("--stack-name", "other", "list"), "Error: There is no stack other in us-west-2: name your stack", 1),
        (("show", "a b"), "is not an id", 2),
        (("import", "no-such-file.csv"), "does not exist", 2),
        (("resend-mail", "sub_1", "31.1.2026"), "is not a date", 2),
    ],
)  # fmt: skip
def test_what_is_not_there_is_said(command: Any, words: tuple[str, ...], said: str, status: int) -> None:
    """An unknown subscription, stack or file and an invalid date are told in a sentence."""
    refused = command(*words)
    assert (said in refused.output, refused.exit_code) == (True, status), refused.output
