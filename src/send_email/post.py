"""Send a mail: claim the mail, hand it to SES, record the result.

SES takes no idempotency key. Therefore the claim is written before the mail is sent. When a run ends between the claim
and the record, nobody can tell whether the mail went out. The next run records the mail as unknown, adds one to the
metric MailUnknown, and does not send the mail again.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, EndpointConnectionError

from renewals.domain import mail_tags
from renewals.domain.addresses import BadAddress, deliverable
from renewals.domain.errors import MailError, Overtaken, RenewalError
from renewals.domain.mail_faults import Address, is_in_vain
from renewals.domain.mail_tags import Tagged
from renewals.domain.outcomes import MailOutcome
from renewals.domain.renewal import Mail, MailState, mail_token
from renewals.ledger.steps import LEASE
from renewals.runtime import telemetry

if TYPE_CHECKING:
    from email.message import EmailMessage

    from mypy_boto3_ses import SESClient

# SES refuses an address by these codes, even an address that `deliverable` accepts:
# https://docs.aws.amazon.com/ses/latest/APIReference
_ADDRESS_REFUSED = frozenset({"InvalidParameterValue"})
_NOT_NOW = frozenset({"Throttling", "ThrottlingException", "ServiceUnavailable", "TooManyRequestsException"})


class MailRefused(RenewalError):  # noqa: N818
    """SES refuses the mail for a fault of the deployment, such as an unverified sender. The message is SES's code."""


class Place(Protocol):
    """The place where a mail is claimed and recorded. Writing methods raise Overtaken if a different run was faster."""

    def tagged(self, token: str) -> Tagged:
        """Return the tags that identify the mail. token: the token of the claim."""
        ...

    def claim(self, mail: Mail) -> None:
        """Claim a mail that nobody has claimed, or that failed and may be tried again."""
        ...

    def park(self, mail: Mail) -> None:
        """Record that the mail cannot be sent to the address. The conditions of `claim` apply."""
        ...

    def record(self, mail: Mail) -> None:
        """Record the result of the mail that mail.token claimed. A mail recorded as sent stays sent."""
        ...

    def release(self, token: str) -> None:
        """Release the claim of a mail that was certainly not sent."""
        ...


@dataclass(frozen=True, slots=True)
class Post:
    """The sending of an execution's mails by SES. sender: the verified address that sends. configuration_set: the name
    of the configuration set in SES."""

    ses: SESClient
    sender: str
    configuration_set: str
    execution: str
    now: datetime

    def send(
        self, place: Place, earlier: Mail | None, address: Address, compose: Callable[[str], EmailMessage]
    ) -> MailOutcome:
        """Send a mail once.

        Args:
            place: the place of the mail's record.
            earlier: the record that earlier runs left of the same mail; None if no run has claimed the mail.
            address: the present address of the customer.
            compose: makes the mail, given the address in the form that SES can deliver to.

        Raises:
            Overtaken: another run was faster.
            MailError: the mail was certainly not sent, and can be tried again.
        """
        if earlier is not None and (earlier.state is not MailState.FAILED or is_in_vain(earlier, address)):
            return self._earlier(place, earlier)
        token = mail_token(address.cleared)
        mail = Mail(MailState.SENDING, token, self.execution, self.now + LEASE, address.to)
        try:
            message = compose(deliverable(address.to))
            message["Date"] = self.now  # SES replaces the date: docs.aws.amazon.com/ses/latest/dg/header-fields.html
        except BadAddress as bad:
            return self._park(place, replace(mail, reason=str(bad)))
        place.claim(mail)
        return self._send(place, mail, message.as_bytes())

    def _earlier(self, place: Place, mail: Mail) -> MailOutcome:
        """Handle a mail that was claimed before. If the earlier run ended without a result, the mail is recorded as
        unknown."""
        if mail.state is MailState.FAILED:
            return self._park(place, mail)  # the customer still has the address that failed
        if mail.state is not MailState.SENDING:
            return {MailState.SENT: MailOutcome.MAILED, MailState.UNKNOWN: MailOutcome.MAIL_UNKNOWN}[mail.state]
        if mail.owner != self.execution and self.now < mail.claimed_until:
            return MailOutcome.IN_PROGRESS
        return self._unknown(place, mail, "interrupted while sending")

    def _send(self, place: Place, mail: Mail, raw: bytes) -> MailOutcome:
        try:
            sent = self.ses.send_raw_email(
                Source=self.sender,
                Destinations=[deliverable(mail.to)],
                RawMessage={"Data": raw},
                ConfigurationSetName=self.configuration_set,
                Tags=mail_tags.tags(place.tagged(mail.token)),
            )
        except (ConnectTimeoutError, EndpointConnectionError) as error:
            _release(place, mail.token)
            raise MailError(type(error).__name__) from error
        except ClientError as error:
            return self._refused(place, mail, error)
        except BotoCoreError as error:  # the connection broke: the mail may have gone out
            return self._unknown(place, mail, type(error).__name__)
        with suppress(Overtaken):  # meanwhile, another run recorded unknown, or mail_feedback recorded a bounce
            self._record(place, replace(mail, state=MailState.SENT, message_id=sent["MessageId"]))
        return MailOutcome.MAILED

    def _refused(self, place: Place, mail: Mail, error: ClientError) -> MailOutcome:
        code = error.response["Error"]["Code"]
        if code not in _NOT_NOW and error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500:
            return self._unknown(place, mail, f"ses: {code}")
        _release(place, mail.token)
        if code in _ADDRESS_REFUSED:
            return self._park(place, replace(mail, reason=f"ses: {code}"))
        if code in _NOT_NOW:
            raise MailError(code) from error
        raise MailRefused(f"ses:SendRawEmail: {code}") from None  # the message of SES names addresses

    def _park(self, place: Place, mail: Mail) -> MailOutcome:
        telemetry.count("MailFailed")
        place.park(replace(mail, state=MailState.FAILED, at=self.now))
        return MailOutcome.MAIL_FAILED

    def _unknown(self, place: Place, mail: Mail, reason: str) -> MailOutcome:
        telemetry.count("MailUnknown")
        self._record(place, replace(mail, state=MailState.UNKNOWN, reason=reason))
        return MailOutcome.MAIL_UNKNOWN

    def _record(self, place: Place, mail: Mail) -> None:
        place.record(replace(mail, at=self.now))


def _release(place: Place, token: str) -> None:
    with suppress(Overtaken):  # another run found the claim abandoned, and recorded the mail as unknown
        place.release(token)
