"""One truthful mail for each outcome: claimed, sent, recorded, under its period, kind and attempt.

SES takes no idempotency key. So the claim is written before the mail is sent, and where a run ends between that and
the record, nobody can tell whether the mail went out: it is recorded as unknown, counted, and not sent again by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, EndpointConnectionError

from renewals import telemetry
from renewals.dunning import Dunning, is_hard
from renewals.errors import MailError, RenewalError
from renewals.ledger import LEASE, Ledger, Lost
from renewals.renewal import Mail, Renewal, Status
from renewals.subscription import LIVE, mail_address
from send_email.message import Attachment, BadAddress, Prospects, compose, deliverable

if TYPE_CHECKING:
    from mypy_boto3_ses import SESClient

_LOOKS = 3
# What SES says of an address, beyond what `deliverable` sees: https://docs.aws.amazon.com/ses/latest/APIReference
_ADDRESS_REFUSED = frozenset({"InvalidParameterValue"})
_NOT_NOW = frozenset({"Throttling", "ThrottlingException", "ServiceUnavailable", "TooManyRequestsException"})


class MailRefused(RenewalError):  # noqa: N818
    """SES refuses the mail for a fault of the deployment: an unverified sender, a missing permission. SES's code."""


class ReceiptAltered(RenewalError):  # noqa: N818
    """What is stored is not what the ledger's hash was made of: it is not mailed."""


_ENDED = {
    Status.DONE: "mailed",
    Status.MAIL_FAILED: "mail_failed",
    Status.MAIL_UNKNOWN: "mail_unknown",
}


def _is_true(renewal: Renewal, row: Mapping[str, Any] | None) -> bool:
    """Whether the notice of a refusal or of the end of dunning still says how things stand."""
    status = row.get("status") if row else None
    if renewal.status is Status.GIVEN_UP:
        return status == str(renewal.notice).rpartition("_")[0]  # canceled, unpaid
    refused = renewal.status in (Status.DECLINED, Status.ACTION_REQUIRED)
    return refused and status in LIVE and row is not None and row.get("renewal_date") == renewal.row_date.isoformat()


@dataclass(frozen=True, slots=True)
class Delivery:
    """One execution's mail of one renewal.

    read_receipt: an S3 key to the bytes under it. sender: the verified address. configuration_set: SES's. dunning:
    what is still to come after a refusal. customer_page: where customers give another card; empty where there is none.
    """

    ledger: Ledger
    ses: SESClient
    read_receipt: Callable[[str], bytes]
    sender: str
    configuration_set: str
    execution: str
    now: datetime
    dunning: Dunning
    customer_page: str = ""

    def deliver(self, subscription_id: str, renewal_date: str, outcome: str, attempt: int) -> str:
        """Send the receipt of a receipted renewal, or for any other outcome the notice that the customer is owed about
        this attempt; if it is still true.

        Returns what came of it: mailed, dropped, in_progress, mail_failed or mail_unknown. Raises MailError where it
        was certainly not sent and can be tried again.
        """
        for _ in range(_LOOKS):
            renewal = self.ledger.get(subscription_id, renewal_date)
            done = self._deliver(renewal, outcome, attempt) if renewal else "dropped"
            if done is not None:
                return done
        raise MailError("others keep working on this mail")

    def _deliver(self, renewal: Renewal, outcome: str, attempt: int) -> str | None:
        if renewal.attempt != attempt:
            return "dropped"
        row = self.ledger.row(renewal)
        if outcome == "receipted":
            if renewal.status is not Status.RECEIPTED:
                return _ENDED.get(renewal.status, "dropped")
            name = f"receipt_{attempt}"
        else:
            if renewal.notice is None:
                return "dropped"
            name = renewal.notice
            if not _is_true(renewal, row):
                self.ledger.drop_notice(renewal, name, self.now)
                return "dropped"
        return self._mail(renewal, name, mail_address(row) if row else renewal.customer_email)

    def _mail(self, renewal: Renewal, name: str, to: str) -> str | None:
        kind = name.rpartition("_")[0]
        earlier = renewal.mails.get(name)
        if earlier is not None and not (earlier.state == "failed" and earlier.to != to):
            return self._earlier(renewal, name, earlier)
        mail = Mail("sending", uuid4().hex, self.execution, self.now + LEASE, to)
        try:
            message = compose(
                kind,
                renewal,
                sender=self.sender,
                to=deliverable(to),
                prospects=self._prospects(renewal),
                attachment=self._attachment(renewal, kind),
            )
        except BadAddress as bad:
            return self._park(renewal, name, replace(mail, reason=str(bad)))
        claimed = self.ledger.claim_mail(renewal, name, mail, self.now)
        return None if isinstance(claimed, Lost) else self._send(claimed, name, mail, message.as_bytes())

    def _earlier(self, renewal: Renewal, name: str, mail: Mail) -> str | None:
        """Somebody claimed it before. Only a claim that nobody is at work on is unknown."""
        if mail.state == "failed":
            return self._park(renewal, name, mail)  # the address is what it was
        if mail.state != "sending":
            return {"sent": "mailed", "unknown": "mail_unknown"}[mail.state]
        if mail.owner != self.execution and self.now < mail.claimed_until:
            return "in_progress"
        return self._unknown(renewal, name, mail, "interrupted while sending")

    def _send(self, renewal: Renewal, name: str, mail: Mail, raw: bytes) -> str | None:
        try:
            sent = self.ses.send_raw_email(
                Source=self.sender,
                Destinations=[deliverable(mail.to)],
                RawMessage={"Data": raw},
                ConfigurationSetName=self.configuration_set,
            )
        except (ConnectTimeoutError, EndpointConnectionError) as error:
            self.ledger.release_mail(renewal, name, mail.token, self.now)
            raise MailError(type(error).__name__) from error
        except ClientError as error:
            return self._refused(renewal, name, mail, error)
        except BotoCoreError as error:  # the connection broke: the mail may have gone out
            return self._unknown(renewal, name, mail, type(error).__name__)
        self._record(renewal, name, replace(mail, state="sent", message_id=sent["MessageId"]))
        return "mailed"

    def _refused(self, renewal: Renewal, name: str, mail: Mail, error: ClientError) -> str | None:
        code = error.response["Error"]["Code"]
        if code not in _NOT_NOW and error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500:
            return self._unknown(renewal, name, mail, f"ses: {code}")
        self.ledger.release_mail(renewal, name, mail.token, self.now)
        if code in _ADDRESS_REFUSED:
            return self._park(renewal, name, replace(mail, reason=f"ses: {code}"))
        if code in _NOT_NOW:
            raise MailError(code) from error
        raise MailRefused(f"ses:SendRawEmail: {code}") from None  # SES's own message names the addresses

    def _park(self, renewal: Renewal, name: str, mail: Mail) -> str | None:
        telemetry.count("MailFailed")
        parked = self.ledger.park_mail(renewal, name, replace(mail, state="failed", at=self.now), self.now)
        return None if isinstance(parked, Lost) else "mail_failed"

    def _unknown(self, renewal: Renewal, name: str, mail: Mail, reason: str) -> str | None:
        telemetry.count("MailUnknown")
        recorded = self._record(renewal, name, replace(mail, state="unknown", reason=reason))
        return "mail_unknown" if recorded else None

    def _record(self, renewal: Renewal, name: str, mail: Mail) -> bool:
        return not isinstance(self.ledger.record_mail(renewal, name, replace(mail, at=self.now), self.now), Lost)

    def _prospects(self, renewal: Renewal) -> Prospects | None:
        if renewal.next_attempt is None:
            return None
        tried_again = renewal.status is Status.DECLINED and not is_hard(renewal.decline_code, renewal.advice_code)
        return Prospects(
            retry_on=renewal.next_attempt if tried_again else None,
            ends_on=self.dunning.ends_on(renewal.first_tried_on, renewal.dunned, renewal.next_attempt),
            ends_as=self.dunning.ends_as,
            page=self.customer_page,
        )

    def _attachment(self, renewal: Renewal, kind: str) -> Attachment | None:
        if kind != "receipt":
            return None
        pdf = self.read_receipt(str(renewal.receipt_key))
        if sha256(pdf).hexdigest() != renewal.receipt_sha256:
            raise ReceiptAltered(f"the receipt under {renewal.receipt_key} is not what the ledger has")
        return Attachment(f"receipt-{renewal.receipt_number}.pdf", pdf)
