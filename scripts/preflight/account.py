"""The permissions, limits and existing resources of the AWS account. Reads only."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from scripts.preflight.findings import Finding, each, mind, ok, unknown, wrong
from scripts.transformed import written

_SPARE = 4
"""Concurrent executions of Lambda for webhooks, the API and the sweep, in addition to two for every running renewal."""
_NEW_ACCOUNT = 10
_LEAST_UNRESERVED = 100
"""The executions that Lambda leaves to functions without a reservation: a reservation that leaves fewer is refused."""
BY_STRANGERS = (
    "CustomerPageConcurrency",
    "GatewayEventsConcurrency",
    "ReceiptLinksConcurrency",
    "WebhookHandlerConcurrency",
)
"""The parameters that reserve executions for the functions that anybody can call."""
_RESERVING = (*BY_STRANGERS, "EventPublisherConcurrency")
_MISSING = frozenset(
    {"NotFoundException", "ResourceNotFoundException", "NoSuchEntity", "404", "NoSuchBucket", "ValidationError"}
)
_UNFINISHED = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED", "REVIEW_IN_PROGRESS")


class Account:
    """The account and region that the environment's profile reaches. values: the deployment's parameters."""

    def __init__(
        self, session: Any, account_id: str, stack: Mapping[str, Any] | None, values: Mapping[str, str]
    ) -> None:
        self._session = session
        self._id = account_id
        self._stack = stack
        self._values = values

    def look(self) -> Iterator[Finding]:
        """Yield the findings about all parts of the account, in order."""
        yield from each("stack", self._stack_itself)
        yield from each("concurrency", self._concurrency)
        yield from each("mail", self._mail)
        yield from each("sender", self._sender)
        yield from each("API Gateway", self._logging_role)
        if self._stack is None:
            yield from each("names", self._names)

    def _stack_itself(self) -> Iterator[Finding]:
        if self._stack is None:
            yield ok("stack", f"There is no stack of this name in {self._session.region_name} yet.")
        elif self._stack["StackStatus"] in _UNFINISHED:
            yield wrong(
                "stack", f"The stack is in {self._stack['StackStatus']} and cannot be updated: run `sam delete` first."
            )
        elif self._stack["StackStatus"].endswith("_IN_PROGRESS"):
            yield mind("stack", f"The stack is in {self._stack['StackStatus']}: wait for the end.")
        else:
            yield ok(
                "stack", "The stack exists, and would be updated. Parameters that are not given keep their values."
            )

    def _concurrency(self) -> Iterator[Finding]:
        limit = self._client("lambda").get_account_settings()["AccountLimit"]
        unreserved = limit.get("UnreservedConcurrentExecutions", limit["ConcurrentExecutions"])
        reserved = self._reserved_anew()
        if reserved > 0 and unreserved - reserved < _LEAST_UNRESERVED:
            yield wrong(
                "concurrency",
                f"{' + '.join(_RESERVING)} reserve {reserved} more of {unreserved} executions, and Lambda refuses a "
                f"reservation that leaves fewer than {_LEAST_UNRESERVED} to the other functions. Deploy with 0, and "
                "ask AWS for more (Service Quotas, Lambda, Concurrent executions).",
            )
            return
        unreserved -= reserved
        wanted, most = int(self._values["RenewalConcurrency"]), (unreserved - _SPARE) // 2
        if wanted > most:
            yield wrong(
                "concurrency",
                f"Lambda runs {unreserved} functions at once here, and RenewalConcurrency={wanted} needs {2 * wanted}: "
                f"renewals would starve their own workflow. Deploy with RenewalConcurrency={max(2, most)}, and ask AWS "
                "for more (Service Quotas, Lambda, Concurrent executions).",
            )
        elif unreserved <= _NEW_ACCOUNT:
            yield mind(
                "concurrency", f"Lambda runs {unreserved} functions at once, as in a new account: ask AWS for 1,000."
            )
        else:
            yield ok("concurrency", f"Lambda runs {unreserved} functions at once, and renewals need {2 * wanted}.")
        yield from self._unbounded(unreserved)

    def _unbounded(self, unreserved: int) -> Iterator[Finding]:
        """Yield a finding about functions without a reservation, if Lambda would take a reservation."""
        missing = [name for name in BY_STRANGERS if self._values[name] == "0"]
        if missing and unreserved > _LEAST_UNRESERVED:
            yield mind(
                "reservations",
                f"{', '.join(missing)}: 0 reserves nothing, and a flood at a function that anybody can call takes "
                "executions from payments. Reserve 20 each before real customers come (docs/deploy.md).",
            )

    def _reserved_anew(self) -> int:
        """Return how many executions the deployment reserves beyond those that the stack has reserved."""
        told = (self._stack or {}).get("Parameters", [])
        now = {each["ParameterKey"]: each.get("ParameterValue", "0") for each in told}
        return sum(int(self._values[name]) - int(now.get(name, 0)) for name in _RESERVING)

    def _mail(self) -> Iterator[Finding]:
        told = self._client("sesv2").get_account()
        if not told.get("ProductionAccessEnabled"):
            yield mind(
                "mail",
                "SES is in its sandbox, and sends mail only to verified addresses. Ask for production access (SES "
                "console, Account dashboard) before real customers subscribe.",
            )
        else:
            quota = told.get("SendQuota", {})
            yield ok("mail", f"SES is out of its sandbox, with {quota.get('Max24HourSend', 0):,.0f} mails a day.")
        if told.get("SendingEnabled") is False:
            yield wrong("mail", "SES has stopped this account's sending: the SES console says why.")
        plan = told.get("PricingAttributes", {}).get("CurrentPlan")
        if plan is None:
            yield unknown("mail price", "SES does not say which plan the account is on.")
        elif plan == "NONE":
            yield ok("mail price", "$0.10 for a thousand mails: the account is on no plan.")
        else:
            yield mind(
                "mail price",
                f"The account is on plan {plan} ($0.16 for a thousand mails on Essentials, $0.10 without a plan). "
                "`aws sesv2 put-account-pricing-attributes --plan NONE` ends the plan.",
            )

    def _sender(self) -> Iterator[Finding]:
        address = self._values["SenderEmail"]
        domain = address.rpartition("@")[2]
        known = {name: self._identity(name) for name in (address, domain)}
        creates = self._values["SenderIdentity"] == "create"
        verified = [name for name, each in known.items() if each and each.get("VerifiedForSendingStatus")]
        if creates and self._stack is None and (known[address] is not None or domain in verified):
            yield wrong("sender", f"SES knows {address} or its domain already: deploy with SenderIdentity=existing.")
        elif verified:
            yield ok("sender", f"SES has verified {verified[-1]}.")
        elif creates:
            yield mind(
                "sender",
                f"SES mails {address} a link that somebody must open: an address that nobody reads cannot be "
                f"confirmed. Better: verify the domain {domain} in SES, and deploy with SenderIdentity=existing.",
            )
        else:
            yield wrong("sender", f"SenderIdentity=existing, and SES has verified neither {address} nor {domain} here.")
        yield from self._signatures(domain, known[domain])

    def _signatures(self, domain: str, identity: Mapping[str, Any] | None) -> Iterator[Finding]:
        if identity and identity.get("DkimAttributes", {}).get("Status") == "SUCCESS":
            yield ok("DKIM", f"Mail is signed for {domain}.")
        else:
            yield mind(
                "DKIM",
                f"Mail is not signed for {domain}: large mailbox providers refuse or hide it under DMARC. Verify the "
                "domain in SES with Easy DKIM.",
            )
        yield unknown(
            "DMARC",
            f'SES does not report DMARC. `dig +short TXT _dmarc.{domain}` should answer "v=DMARC1...". Without an '
            'answer, publish "v=DMARC1; p=none; rua=mailto:...", and choose a stricter policy later.',
        )

    def _identity(self, name: str) -> Mapping[str, Any] | None:
        found: Mapping[str, Any] | None = self._found(
            lambda: self._client("sesv2").get_email_identity(EmailIdentity=name)
        )
        return found

    def _logging_role(self) -> Iterator[Finding]:
        arn = self._client("apigateway").get_account().get("cloudwatchRoleArn")
        owns = self._values["ApiGatewayAccountRole"] == "create"
        stands = arn and self._found(lambda: self._client("iam").get_role(RoleName=arn.rpartition("/")[2]))
        ours = f"{self._values['ProjectName']}-apigateway-cloudwatch-{self._values['Environment']}"
        if not owns and not stands:
            yield wrong(
                "API Gateway",
                "ApiGatewayAccountRole=existing, and the account has no role to log with here"
                f"{', since ' + arn + ' is gone' if arn else ''}: deploy with ApiGatewayAccountRole=create.",
            )
        elif owns and stands and not arn.endswith(f"/{ours}"):
            yield wrong(
                "API Gateway",
                f"All APIs of this account and region log with {arn}, and this stack would replace it: deploy with "
                "ApiGatewayAccountRole=existing.",
            )
        elif arn and not stands:
            yield mind(
                "API Gateway",
                f"API Gateway logs with {arn}, which no longer exists. This deployment replaces the role.",
            )
        else:
            yield ok(
                "API Gateway",
                "This stack creates the account's logging role." if owns else f"API Gateway logs with {arn}.",
            )

    def _names(self) -> Iterator[Finding]:
        taken = 0
        for kind, prop, where, ask in self._kinds():
            for resource in written()["Resources"].values():
                if resource["Type"] != kind or not self._is_made(resource):
                    continue
                name = self._name(resource["Properties"][prop])
                if self._found(partial(ask, name)) is not None:
                    taken += 1
                    yield wrong("names", f"{name} {where}")
        if not taken:
            yield ok("names", "The names of tables, bucket, secrets and roles are free.")

    def _kinds(self) -> Iterator[tuple[str, str, str, Callable[[str], Any]]]:
        outlived = (
            "exists already: left over from an earlier stack, or part of a different stack. Import or remove the "
            "resource, or choose a different Environment."
        )
        role = (
            "exists already: names of roles are shared by all regions of the account. A stack in a different region "
            "uses the name: choose a different Environment."
        )
        dynamodb, s3, secrets, iam = (self._client(name) for name in ("dynamodb", "s3", "secretsmanager", "iam"))
        yield "AWS::DynamoDB::Table", "TableName", outlived, lambda name: dynamodb.describe_table(TableName=name)
        yield "AWS::S3::Bucket", "BucketName", outlived, lambda name: s3.head_bucket(Bucket=name)
        yield "AWS::SecretsManager::Secret", "Name", outlived, lambda name: secrets.describe_secret(SecretId=name)
        yield "AWS::IAM::Role", "RoleName", role, lambda name: iam.get_role(RoleName=name)

    def _is_made(self, resource: Mapping[str, Any]) -> bool:
        owned = resource.get("Condition") == "OwnsApiGatewayAccount"
        return not owned or self._values["ApiGatewayAccountRole"] == "create"

    def _name(self, named: Mapping[str, str]) -> str:
        name = named["Fn::Sub"].replace("${AWS::AccountId}", self._id)
        for parameter in ("ProjectName", "Environment"):
            name = name.replace(f"${{{parameter}}}", self._values[parameter])
        return name

    def _found(self, ask: Callable[[], Any]) -> Any:
        """Return the answer of AWS; None if AWS has nothing with the name."""
        try:
            return ask()
        except ClientError as error:
            if error.response["Error"]["Code"] in _MISSING:
                return None
            raise

    def _client(self, service: str) -> Any:
        return self._session.client(service)
