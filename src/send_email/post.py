"""How every mail goes out: claimed, sent, recorded.

SES takes no idempotency key. So the claim is written before the mail is sent, and where a run ends between that and
the record, nobody can tell whether the mail went out: it is recorded as unknown, counted, and not sent again by itself.
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

# What SES says of an address, beyond what `deliverable` sees: https://docs.aws.amazon.com/ses/latest/APIReference
_ADDRESS_REFUSED = frozenset({"InvalidParameterValue"})
_NOT_NOW = frozenset({"Throttling", "ThrottlingException", "ServiceUnavailable", "TooManyRequestsException"})


class MailRefused(RenewalError):  # noqa: N818
    """SES refuses the mail for a fault of the deployment: an unverified sender, a missing permission. SES's code."""


class Place(Protocol):
    """Where one mail is claimed and recorded. What writes raises Overtaken where another was faster."""

    def tagged(self, token: str) -> Tagged:
        """Which mail it is. token: of its claim."""
        ...

    def claim(self, mail: Mail) -> None:
        """Nobody has claimed it, or it failed, and may be tried again."""
        ...

    def park(self, mail: Mail) -> None:
        """It cannot be sent to this address; otherwise as `claim`."""
        ...

    def record(self, mail: Mail) -> None:
        """What became of the mail that mail.token claimed. One that is known as sent stays so."""
        ...

    def release(self, token: str) -> None:
        """The mail was certainly not sent, and can be claimed again."""
        ...


@dataclass(frozen=True, slots=True)
class Post:
    """One execution's way to the post. sender: the verified address. configuration_set: SES's."""

    ses: SESClient
    sender: str
    configuration_set: str
    execution: str
    now: datetime

    def send(
        self, place: Place, earlier: Mail | None, address: Address, compose: Callable[[str], EmailMessage]
    ) -> MailOutcome:
        """Send a mail once.

        earlier: its record as it stands. address: that of the day. compose: makes the mail for that address as it
        can be sent to. Raises Overtaken where another was faster, and MailError where the mail
        was certainly not sent and can be tried again.
        """
        if earlier is not None and (earlier.state is not MailState.FAILED or is_in_vain(earlier, address)):
            return self._earlier(place, earlier)
        token = mail_token(address.cleared)
        mail = Mail(MailState.SENDING, token, self.execution, self.now + LEASE, address.to)
        try:
            message = compose(deliverable(address.to))
            message["Date"] = self.now  # SES replaces it: docs.aws.amazon.com/ses/latest/dg/header-fields.html
        except BadAddress as bad:
            return self._park(place, replace(mail, reason=str(bad)))
        place.claim(mail)
        return self._send(place, mail, message.as_bytes())

    def _earlier(self, place: Place, mail: Mail) -> MailOutcome:
        """Somebody claimed it before. Only a claim that nobody is at work on is unknown."""
        if mail.state is MailState.FAILED:
            return self._park(place, mail)  # the address is what it was
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
        with suppress(Overtaken):  # it was recorded already: as unknown since, or as one that came back
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
        raise MailRefused(f"ses:SendRawEmail: {code}") from None  # SES's own message names the addresses

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
    with suppress(Overtaken):  # another has found the claim abandoned, and has recorded the mail as unknown
        place.release(token)
