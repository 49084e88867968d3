"""The links from mails to the customer page: the stack's own page by a signed link, or a page of the team's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from renewals.domain.errors import BadSecret, MailError
from renewals.ledger.account_links import Account, Power, Purpose, token
from renewals.runtime import telemetry
from renewals.runtime.aws_errors import transient_aws_errors_as

if TYPE_CHECKING:
    from renewals.domain.item_values import Item


@dataclass(frozen=True, slots=True)
class CustomerPage:
    """The customer page that mails link to.

    Attributes:
        team_url: a page of the team's own; empty without such a page. The address gets no token: the team's login
            decides who comes in.
        account_url: the address of the stack's page; empty if the page is off.
        key: returns the key that links are signed with.
        now: the real moment, from which links expire.
    """

    team_url: str
    account_url: str
    key: Callable[[], str]
    now: datetime

    def link(self, row: Item | None, power: Power) -> str:
        """Return the link for the customer of a row; empty without a page, or without a row to sign for."""
        if self.team_url or not self.account_url or row is None:
            return self.team_url
        return self._signed(row, Purpose.LINK, power)

    def reminders_link(self, row: Item) -> str:
        """Return the link by which the customer of a row declines reminders; empty without a page of the stack's own.

        The link works as long as the link of a receipt: mail programs keep old mails, and offer to unsubscribe in each.
        """
        if self.team_url or not self.account_url:
            return ""
        return self._signed(row, Purpose.REMINDERS, Power.SEE)

    def _signed(self, row: Item, purpose: Purpose, power: Power) -> str:
        """Return a link with a signed token.

        A key that cannot be read, or is no key, holds no mail back, because dunning waits for its mails: the mail goes
        out without the link, and the metric MailsWithoutLink counts the mail. A failure of the moment raises MailError,
        and the workflow tries again.
        """
        try:
            with transient_aws_errors_as(MailError):
                key = self.key()
        except (BadSecret, ClientError) as error:
            telemetry.count("MailsWithoutLink")
            # The error names the secret or the permission at fault, and nobody's address.
            telemetry.logger().error("a mail without a link", extra={"error": str(error)})
            return ""
        signed = token(key, purpose, Account.of_row(row), power, self.now + power.lasts)
        return f"{self.account_url}/{purpose}/{signed}"
