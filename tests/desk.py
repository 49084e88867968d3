"""A desk at which declarations come in: the public forms of a deployment, and DeclarationWorker behind the forms."""

from datetime import timedelta
from functools import cache
from typing import Any

import pytest

import send_email.app
from declaration_worker import app as worker
from renewals.domain import confirmations
from renewals.domain.item_values import Item
from renewals.ledger.receipt_links import LinkKey
from renewals.runtime import clock
from renewals.runtime.clock import Moment
from tests import fakes
from tests.fakes import LATER
from tests.streams import record
from tests.visitor import ANN, SETTINGS, Page, Visitor

SECOND = timedelta(seconds=1)
FORM = {"name": "Ann Lee", "contract": "sub_1", "address": ANN, "way": "ordinary", "reason": "", "wished": ""}


class Desk:
    """Both forms of a deployment, and DeclarationWorker behind them."""

    def __init__(self, visitor: Visitor, patch: pytest.MonkeyPatch) -> None:
        self.visitor, self.shop = visitor, visitor.shop
        self.heard = set[str]()
        for name in ("CANCELLATION_FORM", "WITHDRAWAL_FORM"):
            patch.setenv(name, "on")
        patch.setenv("MAIL_ADDRESS_INDEX", "present")
        patch.setitem(fakes.SETTINGS, "CUSTOMER_PAGE_URL", "")
        patch.setitem(fakes.SETTINGS, "ACCOUNT_URL", SETTINGS["ACCOUNT_URL"])
        client: Any = visitor
        patch.setattr(send_email.app, "_account_secret", lambda: LinkKey(client, "account key"))
        patch.setenv("CONFIRMATIONS", ",".join(confirmations.CONFIRMATIONS))
        for name in ("_deciding", "_declarations"):
            patch.setattr(worker, name, cache(getattr(worker, name).__wrapped__))

        def of_row(row: Item) -> Moment:
            return clock.moment(visitor.now, "prod", self.shop.zone)

        patch.setattr(clock, "of_row", of_row)

    def declare(self, kind: str = "cancellation", **typed: str) -> Page:
        """Open a form, fill it and press its button a second later."""
        opened = self.visitor.get(kind)
        assert opened.status == 200
        self.visitor.now += SECOND
        return self.visitor.post(kind, opened.fields | FORM | typed)

    @property
    def records(self) -> list[dict[str, Any]]:
        """The declarations in the table, in their order."""
        return sorted(self.shop.dynamodb.items("declarations").values(), key=lambda each: str(each["declared_at"]))

    def work(self) -> None:
        """Deliver the records of the table's stream, each once."""
        new = [each for each in self.records if each["declaration"] not in self.heard]
        self.heard |= {each["declaration"] for each in new}
        self.deliver(*new)

    def deliver(self, *items: dict[str, Any]) -> None:
        told = [record("declarations", None, each, self.visitor.now) for each in items]
        for each, item in zip(told, items, strict=True):
            each["dynamodb"]["Keys"] = {"declaration": {"S": item["declaration"]}}
        worker.handler({"Records": told}, None)

    def declared(self, kind: str = "cancellation", **typed: str) -> dict[str, Any]:
        """Declare, have the worker look at the declaration, and return the declaration's record."""
        assert self.declare(kind, **typed).status == 200
        self.work()
        return self.records[-1]

    def mail(self) -> list[str]:
        """Have the workflow mail what is owed, and return the subjects of all mails."""
        self.visitor.now += LATER
        self.shop.confirm(f"run-{self.visitor.now}", self.visitor.now)
        return [str(mail["Subject"]) for mail in self.shop.mails()]
