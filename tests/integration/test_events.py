"""The sample events, run against the deployed functions as docs/local.md says; in `make proof` all by SAM's own
command."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local.sample import AMOUNT, CUSTOMER_ID, SUBSCRIPTION_ID, add_sample
from local.stack import ROOT, STACK_NAME
from tests.integration.shop import Shop

SAM = ROOT / ".venv/bin/sam"


type Invoke = Callable[[str, str], dict[str, Any]]
"""Runs a function, named as in the template, with events/NAME.json, and returns the function's reply."""


@pytest.fixture
def by_sam(shop: Shop, tmp_path: Path) -> Invoke:
    """Runs `sam remote invoke FUNCTION --event-file events/NAME.json`."""
    # SAM asks the package index for a newer SAM once a week; a fresh date of the last check prevents the question.
    (tmp_path / "metadata.json").write_text(json.dumps({"lastVersionCheck": time.time()}))
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "AWS_CONFIG_FILE": str(shop.stack.aws_config_file),
        "AWS_PROFILE": "local",
        "SAM_CLI_TELEMETRY": "0",
        "__SAM_CLI_APP_DIR": str(tmp_path),
    }

    def invoke(function: str, event: str) -> dict[str, Any]:
        options = ("--config-env", "local", "--event-file", f"events/{event}.json")
        command = [str(SAM), "remote", "invoke", function, *options]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr.decode()
        reply: dict[str, Any] = json.loads(done.stdout)
        return reply

    return invoke


def by_client(shop: Shop) -> Invoke:
    """Runs a function as SAM's command does, without SAM, whose start takes longer than the function."""

    def invoke(function: str, event: str) -> dict[str, Any]:
        found = shop.stack.client("cloudformation").describe_stack_resource(
            StackName=STACK_NAME, LogicalResourceId=function
        )
        answer = shop.functions.invoke(
            FunctionName=found["StackResourceDetail"]["PhysicalResourceId"],
            Payload=(ROOT / f"events/{event}.json").read_bytes(),
        )
        assert "FunctionError" not in answer
        reply: dict[str, Any] = json.load(answer["Payload"])
        return reply

    return invoke


@pytest.fixture(params=["by the client", pytest.param("by SAM", marks=pytest.mark.proof)])
def remote_invoke(request: pytest.FixtureRequest, shop: Shop, by_sam: Invoke) -> Invoke:
    return by_sam if request.param == "by SAM" else by_client(shop)


def test_sams_own_command_runs_a_sample_event(by_sam: Invoke) -> None:
    """The command in docs/local.md finds the function by its name in the template, and prints the reply."""
    assert by_sam("WebhookHandler", "webhook_handler")["statusCode"] == 401


def test_the_sample_events_make_one_renewal(shop: Shop, remote_invoke: Invoke) -> None:
    """In order: the webhook's old signature is refused, the payment is made, the receipt is stored, and the mail is
    sent."""
    add_sample(shop.stack)
    webhook = remote_invoke("WebhookHandler", "webhook_handler")
    assert webhook["statusCode"] == 401

    paid = remote_invoke("ProcessPayment", "process_payment")
    assert (paid["outcome"], paid["amount"], paid["currency"]) == ("paid", AMOUNT, "USD")
    key = {"subscription_id": SUBSCRIPTION_ID, "customer_id": CUSTOMER_ID}
    row = shop.subscriptions.get_item(Key=key, ConsistentRead=True)["Item"]
    assert (row["transaction_id"], row["renewal_date"]) == (paid["transaction_id"], "2036-01-31")

    receipted = remote_invoke("GenerateReceipt", "generate_receipt")
    assert receipted["outcome"] == "receipted"
    assert receipted["receipt_key"] == f"receipts/{CUSTOMER_ID}/{SUBSCRIPTION_ID}/{paid['transaction_id']}.pdf"
    assert shop.s3.get_object(Bucket=shop.bucket, Key=receipted["receipt_key"])["Body"].read().startswith(b"%PDF-")

    mailed = remote_invoke("SendEmail", "send_email")
    assert mailed["outcome"] == "mailed"
    [mail] = shop.mails_to(str(row["customer_email"]))
    assert len(list(mail.iter_attachments())) == 1

    # The signature is old; the ledger holds no such payment under the event's name, and the gateway no such dispute: a
    # dispute that the gateway does not know is asked about again.
    assert remote_invoke("GatewayEvents", "gateway_events")["statusCode"] == 400
    dispute = json.loads((ROOT / "events/gateway_worker.json").read_text())["Records"][1]["messageId"]
    again = {"batchItemFailures": [{"itemIdentifier": dispute}]}
    assert remote_invoke("GatewayWorker", "gateway_worker") == again

    # The links of the next two events are signed by nobody.
    assert remote_invoke("ReceiptLinks", "receipt_links")["statusCode"] == 404
    assert remote_invoke("CustomerPage", "customer_page")["statusCode"] == 404

    # The event names the address of the sample subscription, whose customer gets a link by mail.
    assert remote_invoke("AddressWorker", "address_worker") == {"batchItemFailures": []}

    assert remote_invoke("GatewayCatchUp", "gateway_catch_up")["finished"]

    # The event's token belongs to no mail: the function does not believe the event.
    assert remote_invoke("MailFeedback", "mail_feedback") == {"outcomes": ["unknown"]}

    # Without EventsUrl nothing is posted: the try fails, and the next try waits in the queue.
    assert remote_invoke("EventDeliverer", "event_deliverer") == {"batchItemFailures": []}

    assert remote_invoke("EventPublisher", "event_publisher") == {"batchItemFailures": []}

    # Nobody has declared what the event names: the declaration may have been erased meanwhile.
    assert remote_invoke("DeclarationWorker", "declaration_worker") == {"looked_at": 1}
