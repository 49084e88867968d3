"""The look before a first deployment: each obstacle is named with its remedy, and nothing is changed."""

import json
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError
from click.testing import CliRunner, Result

from local.gateway import Gateway
from scripts.preflight.__main__ import main
from scripts.preflight.account import BY_STRANGERS
from scripts.preflight.values import stored
from tests.fake_aws import error
from tests.sandbox import serving
from tests.strangers import open_functions

ROOT = Path(__file__).parents[2]
SENDER = "billing@shop.example"
ROLE = "arn:aws:iam::123456789012:role/subscription-mgmt-apigateway-cloudwatch-prod"
GOOD = (
    "Environment=prod",
    f"SenderEmail={SENDER}",
    "SenderIdentity=existing",
    'SellerName="Your Company"',
    'SellerAddress="1 Main Street, 12345 City"',
)
RESERVES_15 = {
    "StackStatus": "UPDATE_COMPLETE",
    "Parameters": [{"ParameterKey": "CustomerPageConcurrency", "ParameterValue": "15"}],
}
PENDING = {"VerifiedForSendingStatus": True, "DkimAttributes": {"Status": "PENDING"}}


@dataclass
class Account:
    """An AWS account as boto3's session reaches the account. A call that the class lacks would change something.

    executions: Lambda's concurrency limit. stack: as CloudFormation describes the stack. identities: of SES, with their
    attributes. names: of tables, buckets, secrets and roles. denied: an operation forbidden to the caller.
    """

    region_name: str = "eu-south-1"
    executions: int = 1000
    production: bool = True
    plan: str = "NONE"
    stack: dict[str, Any] | None = None
    identities: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {
            "shop.example": {"VerifiedForSendingStatus": True, "DkimAttributes": {"Status": "SUCCESS"}}
        }
    )
    logging_role: str | None = None
    names: set[str] = field(default_factory=set)
    denied: str = ""
    unreached: str = ""

    def client(self, _service: str) -> Any:
        return self

    def _asked(self, operation: str) -> None:
        if operation == self.denied:
            raise error("AccessDeniedException", operation, 403)
        if operation == self.unreached:
            raise EndpointConnectionError(endpoint_url="https://aws.example")

    def get_caller_identity(self) -> Any:
        return {"Account": "123456789012"}

    def describe_stacks(self, **_: str) -> Any:
        if self.stack is None:
            raise error("ValidationError", "DescribeStacks", 400)
        return {"Stacks": [self.stack]}

    def get_account_settings(self) -> Any:
        self._asked("GetAccountSettings")
        limit = {"ConcurrentExecutions": self.executions, "UnreservedConcurrentExecutions": self.executions}
        return {"AccountLimit": limit}

    def get_account(self) -> Any:
        """Answer GetAccount for SES and for API Gateway, which have an operation of this name in common."""
        self._asked("GetAccount")
        told = {"ProductionAccessEnabled": self.production, "SendQuota": {"Max24HourSend": 50000.0}}
        told |= {"PricingAttributes": {"CurrentPlan": self.plan}}
        return told | ({"cloudwatchRoleArn": self.logging_role} if self.logging_role else {})

    def get_email_identity(self, **q: str) -> Any:
        if q["EmailIdentity"] not in self.identities:
            raise error("NotFoundException", "GetEmailIdentity", 404)
        return self.identities[q["EmailIdentity"]]

    def get_role(self, **q: str) -> Any:
        return self._named(q["RoleName"], "NoSuchEntity", "GetRole")

    def describe_table(self, **q: str) -> Any:
        return self._named(q["TableName"], "ResourceNotFoundException", "DescribeTable")

    def head_bucket(self, **q: str) -> Any:
        return self._named(q["Bucket"], "404", "HeadBucket")

    def describe_secret(self, **q: str) -> Any:
        return self._named(q["SecretId"], "ResourceNotFoundException", "DescribeSecret")

    def _named(self, name: str, missing: str, operation: str) -> Any:
        self._asked(operation)
        if name not in self.names:
            raise error(missing, operation, 404)
        return {"Name": name}


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Account:
    """An account ready for the deployment."""
    made = Account()
    monkeypatch.setattr(boto3, "Session", lambda: made)
    monkeypatch.delenv("STRIPE_API_KEY", raising=False)
    return made


@pytest.fixture
def preflight(account: Account) -> Callable[..., Result]:
    """A function that types the command and returns output, line by line, and exit status."""
    return lambda *words: CliRunner().invoke(main, list(words or GOOD))


def _told(result: Result, verdict: str) -> str:
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return "\n".join(line for line in result.output.splitlines() if line.startswith(verdict))


def test_a_good_account_is_let_go(preflight: Any) -> None:
    """For a good account the exit status is 0; a fact that the command cannot find out is called unknown, with a place
    to look."""
    result = preflight()
    assert (result.exit_code, _told(result, "wrong")) == (0, "")
    assert "dig +short TXT _dmarc.shop.example" in _told(result, "unknown")
    assert "No key was given" in _told(result, "unknown")
    assert "'Your Company', '1 Main Street, 12345 City'" in _told(result, "ok")


@pytest.mark.parametrize(
    ("change", "words", "verdict", "told"),
    [
        ({"executions": 10}, (), "mind", "10 functions at once, as in a new account"),
        ({"executions": 10}, ("RenewalConcurrency=20",), "wrong", "Deploy with RenewalConcurrency=3"),
        ({"executions": 4}, (), "wrong", "Deploy with RenewalConcurrency=2"),
        ({"executions": 110}, ("CustomerPageConcurrency=20",), "wrong", "leaves fewer than 100"),
        (
            {"executions": 120},
            ("CustomerPageConcurrency=20", "RenewalConcurrency=50"),
            "wrong",
            "RenewalConcurrency=48",
        ),
        (
            {"executions": 110, "stack": RESERVES_15},
            ("CustomerPageConcurrency=20",),
            "ok",
            "Lambda runs 105 functions at once",
        ),
        ({}, (), "mind", "CustomerPageConcurrency, GatewayEventsConcurrency, ReceiptLinksConcurrency, WebhookHandler"),
        ({}, ("WebhookHandlerConcurrency=5",), "mind", "GatewayEventsConcurrency, ReceiptLinksConcurrency: 0 reserves"),
        ({"executions": 110}, ("ReceiptLinksConcurrency=11",), "wrong", "leaves fewer than 100"),
        ({"production": False}, (), "mind", "SES is in its sandbox"),
        ({"plan": "ESSENTIALS"}, (), "mind", "put-account-pricing-attributes --plan NONE"),
        ({"identities": {}}, (), "wrong", "SES has verified neither billing@shop.example nor shop.example"),
        ({"identities": {SENDER: {}}}, ("SenderIdentity=create",), "wrong", "deploy with SenderIdentity=existing"),
        ({}, ("SenderIdentity=create",), "wrong", "or its domain already: deploy with SenderIdentity=existing"),
        ({"identities": {}}, ("SenderIdentity=create",), "mind", "verify the domain shop.example in SES"),
        ({"identities": {SENDER: {"VerifiedForSendingStatus": True}}}, (), "mind", "not signed for shop.example"),
        ({"identities": {"shop.example": PENDING}}, (), "mind", "not signed for shop.example"),
        (
            {"logging_role": "arn:aws:iam::1:role/other", "names": {"other"}},
            (),
            "wrong",
            "deploy with ApiGatewayAccountRole=existing",
        ),
        (
            {"logging_role": "arn:aws:iam::1:role/gone"},
            (),
            "mind",
            "which no longer exists. This deployment replaces the role",
        ),
        (
            {"logging_role": "arn:aws:iam::1:role/gone"},
            ("ApiGatewayAccountRole=existing",),
            "wrong",
            "deploy with ApiGatewayAccountRole=create",
        ),
        ({"names": {"subscription-mgmt-renewals-prod"}}, (), "wrong", "left over from an earlier stack"),
        ({"names": {"subscription-mgmt-receipts-prod-123456789012"}}, (), "wrong", "left over from an earlier stack"),
        ({"names": {"subscription-mgmt-receipt-link-key-prod"}}, (), "wrong", "left over from an earlier stack"),
        (
            {"names": {"subscription-mgmt-api-execution-prod"}},
            (),
            "wrong",
            "A stack in a different region uses the name",
        ),
        ({"stack": {"StackStatus": "ROLLBACK_COMPLETE"}}, (), "wrong", "run `sam delete` first"),
        ({"stack": {"StackStatus": "UPDATE_IN_PROGRESS"}}, (), "mind", "wait for the end"),
        (
            {"denied": "GetAccountSettings"},
            (),
            "unknown",
            "concurrency: your AWS profile lacks the permission (GetAccountSettings)",
        ),
        ({"denied": "DescribeTable"}, (), "unknown", "names: your AWS profile lacks the permission (DescribeTable)"),
        ({"unreached": "GetAccountSettings"}, (), "unknown", "The call to AWS failed: EndpointConnectionError"),
        ({}, ("SellerName=Your Company",), "wrong", "SAM would store SellerName as 'Your'"),
        ({}, ("SellerAddress=1",), "wrong", "SellerAddress '1' is refused: a postal address, which has blanks"),
        ({}, ("SellerNmae=x",), "wrong", "has no parameter SellerNmae"),
        ({}, ("DunningDays=0",), "wrong", "DunningDays '0' is refused"),
    ],
)
def test_what_would_go_wrong_is_named(
    account: Account, preflight: Any, change: dict[str, Any], words: tuple[str, ...], verdict: str, told: str
) -> None:
    """Every obstacle is named with its remedy. The exit status is 1 for a `wrong` verdict and 0 for a `mind`
    verdict."""
    for name, value in change.items():
        setattr(account, name, value)
    result = preflight(*GOOD, *words)
    assert told in _told(result, verdict)
    assert result.exit_code == (1 if verdict == "wrong" else 0)


def test_examples_left_as_they_are_are_named(preflight: Any) -> None:
    """A seller's name left at the example is named: every receipt would come from Example Ltd."""
    assert "SellerName is still the example" in _told(preflight("Environment=prod"), "mind")


@pytest.mark.parametrize(
    ("given", "is_named"),
    [((), True), (("SupportUrl=https://shop.example/help",), False), (("ReplyToEmail=help@shop.example",), False)],
)
def test_a_seller_whom_customers_cannot_reach_is_named(preflight: Any, given: tuple[str, ...], is_named: bool) -> None:
    """Mails and pages say "contact us". Without an address for help and without an address for answers, the command
    says where answers go, and asks for one of the two parameters."""
    told = _told(preflight(*GOOD, *given), "mind")
    assert ("Neither SupportUrl nor ReplyToEmail is set" in told) is is_named
    assert (f"answers to mails go to {SENDER}" in told) is is_named


def test_a_reservation_for_each_function_that_strangers_reach_is_enough(preflight: Any) -> None:
    """Nothing is said about missing reservations if each function that strangers reach has a reservation."""
    words = [f"{name}=20" for name in BY_STRANGERS]
    assert "reservations" not in preflight(*GOOD, *words).output


def test_a_new_account_is_not_asked_for_reservations(account: Account, preflight: Any) -> None:
    """Lambda refuses any reservation in a new account, and the command asks for none."""
    account.executions = 10
    assert "reservations" not in preflight().output


def test_each_function_that_strangers_reach_is_asked_about() -> None:
    """The command knows every function behind a path that needs no signature of AWS."""
    assert set(BY_STRANGERS) == {f"{name}Concurrency" for name in open_functions()}


def test_a_stack_that_is_there_keeps_what_is_not_given(account: Account, preflight: Any) -> None:
    """For an existing stack, the command checks the stack's own value of every parameter not given, and the stack's
    names do not count as taken."""
    parameters = [
        {"ParameterKey": "SenderEmail", "ParameterValue": SENDER},
        {"ParameterKey": "SenderIdentity", "ParameterValue": "existing"},
        {"ParameterKey": "RenewalConcurrency", "ParameterValue": "600"},
        {"ParameterKey": "PaymentGatewayApiKey", "ParameterValue": "****"},
    ]
    account.stack = {"StackStatus": "UPDATE_COMPLETE", "Parameters": parameters}
    account.names = {"subscription-mgmt-renewals-prod"}
    result = preflight("Environment=prod")
    assert _told(result, "wrong").count("\n") == 0
    assert "RenewalConcurrency=600 needs 1200" in _told(result, "wrong")


# --- Stripe's key ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with serving(api_key="sk_test_51Qw7e9zXk") as running:
        yield running


def _ask(preflight: Any, gateway: Gateway, key: str, *words: str) -> Result:
    result: Result = preflight(*GOOD, *words, f"PaymentGatewayApiKey={key}", f"PaymentGatewayEndpoint={gateway.url}")
    assert key not in result.output
    assert key[-4:] not in result.output
    return result


def test_a_key_that_may_everything(preflight: Any, gateway: Gateway) -> None:
    """A key with all permissions passes; a test key in production is mentioned; asking makes no object at the
    gateway."""
    result = _ask(preflight, gateway, gateway.api_key)
    assert "The key may make every call" in _told(result, "ok")
    assert "A test key for Environment=prod" in _told(result, "mind")
    assert gateway.sandbox.charges() == []
    assert "A test key for Environment=staging" in _told(
        _ask(preflight, gateway, gateway.api_key, "Environment=staging"), "ok"
    )


@pytest.mark.parametrize(
    ("operation", "lacks"),
    [
        ("payment_intents.create", "PaymentIntents, write"),
        ("payment_intents.list", "PaymentIntents, read"),
        ("refunds.create", "Refunds, write"),
        ("refunds.retrieve", "Refunds, read"),
        ("disputes.retrieve", "Disputes, read"),
        ("radar.early_fraud_warnings.retrieve", "Radar early fraud warnings, read"),
        ("charges.list", "Charges, read"),
        ("payment_methods.retrieve", "PaymentMethods, read"),
        ("customers.retrieve", "Customers, read"),
    ],
)
def test_a_restricted_key_that_lacks_a_permission(preflight: Any, gateway: Gateway, operation: str, lacks: str) -> None:
    """A missing permission of the key is named as in Stripe's dashboard, before the first renewal fails for lack of the
    permission."""
    gateway.sandbox.hostile("403", operation, calls=1)
    result = _ask(preflight, gateway, gateway.api_key)
    assert f"The key lacks permissions: {lacks}." in _told(result, "wrong")
    assert result.exit_code == 1


@pytest.mark.parametrize(
    ("key", "verdict", "told"),
    [
        ("sk_test_51NotOfOurs9xZ", "wrong", "Stripe does not know this key"),
        ("pk_live_51AbCdEfGh", "wrong", "publishable key"),
        ("placeholder-api-key", "wrong", "not a key of Stripe"),
    ],
)
def test_a_key_that_charges_nobody(preflight: Any, gateway: Gateway, key: str, verdict: str, told: str) -> None:
    """A mistyped key, a publishable key and the template's placeholder are named as wrong."""
    assert told in _told(_ask(preflight, gateway, key), verdict)


def test_a_gateway_that_does_not_answer(preflight: Any, gateway: Gateway) -> None:
    """Where the gateway does not answer, the key is called neither good nor wrong."""
    gateway.sandbox.hostile("503", "charges.list", calls=1)
    assert "gave no clear answer" in _told(_ask(preflight, gateway, gateway.api_key), "unknown")


def test_the_key_may_come_by_a_variable(preflight: Any, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key can be given in an environment variable, out of the shell's history."""
    monkeypatch.setenv("STRIPE_API_KEY", gateway.api_key)
    result = preflight(*GOOD, f"PaymentGatewayEndpoint={gateway.url}")
    assert "The key may make every call" in _told(result, "ok")
    assert gateway.api_key not in result.output


# --- the values ------------------------------------------------------------------------------------------------------

SAM = ROOT / ".venv/bin/python"
READ_BY_SAM = (
    "import json, sys; from samcli.cli.types import CfnParameterOverridesType as T; "
    "print(json.dumps([T().convert(word, None, None) for word in sys.argv[1:]]))"
)


DEPLOY = "sam deploy --parameter-overrides "


def _documented(command: str) -> list[str]:
    """Return the words after a command of the first deployment in docs/deploy.md, as the shell passes the words on."""
    text = (ROOT / "docs/deploy.md").read_text()
    return shlex.split(text.partition(command)[2].partition("\n```")[0].replace("\\\n", " "))


@pytest.mark.parametrize("command", [DEPLOY, "python -m scripts.preflight "])
def test_the_documented_command_deploys_what_the_page_shows(command: str) -> None:
    """The documented command stores names and addresses whole; SAM cuts a value not quoted twice at the first blank."""
    values = stored(_documented(command))
    assert (values["SellerName"], values["SellerAddress"]) == ("Your Company", "1 Main Street, 12345 City")


def test_names_and_addresses_are_quoted_twice_wherever_they_are_shown() -> None:
    """Names and addresses are quoted twice in every document and settings file, since people copy a command from
    anywhere."""
    shown = {
        path.name: re.findall(r"(.)Seller(?:Name|Address)=(.)", path.read_text())
        for path in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "samconfig.toml", ROOT / "template.yaml")
    }
    assert {quotes for found in shown.values() for quotes in found} == {("'", '"')}
    assert all(shown[name] for name in ("deploy.md", "samconfig.toml", "template.yaml"))


@pytest.mark.parametrize("meant", ["Your Company", "Joe's Shop", 'The "Best" Shop', "$HOME & `id`"])
def test_what_the_command_says_to_type_is_stored_as_it_is_meant(preflight: Any, meant: str) -> None:
    """Typed into a shell as the command says, a name is stored as meant, whatever its characters."""
    told = _told(preflight(*GOOD[:-2], f"SellerName={meant}"), "wrong")
    typed = told.partition("Type ")[2].removesuffix(".")
    assert stored(shlex.split(typed))["SellerName"] == meant


WORDS = [*_documented(DEPLOY), "SellerName=Your Company", 'SellerName="a \\"b\\" c"', "SellerTaxId=DE1"]


@cache
def _read_by_sam() -> dict[str, Any]:
    """Return every word as SAM reads it; a single process reads all, because its start takes a second."""
    command = [str(SAM), "-c", READ_BY_SAM, *WORDS]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return dict(zip(WORDS, json.loads(told), strict=True))


@pytest.mark.skipif(not SAM.exists(), reason="SAM's environment is not made")
@pytest.mark.parametrize("word", WORDS)
def test_values_are_read_as_sam_reads_them(word: str) -> None:
    """The command reads values exactly as SAM does: the warnings are true."""
    assert stored([word]) == _read_by_sam()[word]
