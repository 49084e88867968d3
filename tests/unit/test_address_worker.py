"""AddressWorker: from an address that somebody typed to the mail with the link, over AWS in memory."""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import address_worker.app
from renewals.domain.address_request import AddressRequest
from renewals.ledger import account_links
from renewals.ledger.account_links import Keys, Power, Purpose
from renewals.ledger.source_limits import SourceLimit
from renewals.runtime import aws, clock
from renewals.runtime.clock import Moment
from tests import fakes
from tests.fake_aws import error
from tests.fakes import NOON, World

ANN = "ann@customer.example"
OURS = "https://abcd.execute-api.eu-west-1.amazonaws.com/prod/account"


class Worker:
    """The function over a shop, at a moment, with the queue's messages."""

    def __init__(self, shop: World) -> None:
        self.shop = shop
        self.now = NOON
        self.messages = 0

    def record(self, body: str, message_id: str | None = None) -> dict[str, Any]:
        self.messages += 1
        return {
            "messageId": message_id or f"message-{self.messages}",
            "body": body,
            "attributes": {"SentTimestamp": str(int(self.now.timestamp() * 1000))},
        }

    def take(self, *records: dict[str, Any]) -> list[str]:
        """Hand messages to the function, and return the ids of the failed messages."""
        reply: Any = address_worker.app.handler({"Records": [*records]}, None)
        return [each["itemIdentifier"] for each in reply["batchItemFailures"]]

    def typed(self, address: str = ANN) -> list[str]:
        return self.take(self.record(AddressRequest(address).to_json()))

    def asked(self) -> list[str]:
        """Return the subscriptions with a request for a link, one for each request."""
        changes = self.shop.dynamodb.items("changes").values()
        return sorted(each["subscription_id"] for each in changes if each["what"] == "link_asked")


@pytest.fixture
def worker(shop: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    """The function over a shop with a subscription of 29.99 USD due on 28 February 2026."""
    made = Worker(shop)

    def current(test_clock: object = None) -> Moment:
        return clock.moment(made.now, shop.environment, shop.zone, test_clock)

    for name, value in {
        "DYNAMODB_TABLE": "subscriptions",
        "CHANGES_TABLE": "changes",
        "COUNTERS_TABLE": "counters",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(aws, "dynamodb", lambda: shop.dynamodb)
    monkeypatch.setattr(clock, "current", current)
    shop.subscribe(renewal_date="2026-02-28", test_clock=None)
    address_worker.app._links.cache_clear()
    yield made
    address_worker.app._links.cache_clear()


def add(shop: World, subscription_id: str, **attributes: Any) -> None:
    """Put in a further subscription; None leaves an attribute out."""
    row = shop.row() | {"subscription_id": subscription_id} | attributes
    shop.dynamodb.put("subscriptions", {name: value for name, value in row.items() if value is not None})


def test_the_address_gets_one_mail_with_a_full_link(
    worker: Worker, shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the typed address, in other capitals, to the mail: the link has the full power, is mailed once to the
    address on file, and nothing is charged or changed."""
    monkeypatch.setitem(fakes.SETTINGS, "CUSTOMER_PAGE_URL", "")
    monkeypatch.setitem(fakes.SETTINGS, "ACCOUNT_URL", OURS)
    monkeypatch.setattr("send_email.app._account_secret", lambda: _Secret())
    before = dict(shop.row())
    assert worker.typed(" Ann@Customer.example ") == []
    for run in ("run-1", "run-2"):
        shop.confirm(run, NOON)
    [mail] = shop.mails()
    assert (mail["To"], mail["Subject"]) == (f"Ann Lee <{ANN}>", "Your link to your subscription to Pro")
    text = mail.get_body(("plain",))
    assert text is not None
    token = text.get_content().partition(f"{OURS}/link/")[2].split()[0]
    grant = account_links.granted(Keys("a key"), Purpose.LINK, token, shop.row(), NOON)
    assert grant is not None
    assert grant.power is Power.FULL
    assert {name: value for name, value in shop.row().items() if not name.startswith("links_in_")} == before
    assert shop.items() == {}
    [change] = shop.dynamodb.items("changes").values()
    assert (change["what"], change["by"]) == ("link_asked", "somebody who typed the mail address")


class _Secret:
    def value(self) -> str:
        return json.dumps({"current": "a key"})


def test_an_unknown_address_leaves_nothing(worker: Worker, shop: World) -> None:
    """An unknown address, and a text that is no address, are done, and neither is stored."""
    for text in ("nobody@customer.example", "ann", "", "\x00", "a" * 400):
        assert worker.typed(text) == []
    assert (worker.asked(), shop.dynamodb.items("changes"), shop.dynamodb.items("counters")) == ([], {}, {})


def test_an_address_gets_three_links_an_hour_and_ten_a_day(worker: Worker) -> None:
    """Beyond the limits nothing is recorded, and nobody is told."""
    for hour, mailed in ((0, 3), (1, 6), (2, 9), (3, 10), (24, 13)):
        worker.now = NOON + timedelta(hours=hour)
        for _ in range(5):
            worker.now += timedelta(seconds=1)
            assert worker.typed() == []
        assert len(worker.asked()) == mailed, hour


def test_every_live_subscription_of_the_address_gets_its_link(worker: Worker, shop: World) -> None:
    """Active, past due, paused and suspended subscriptions get a link, whoever of two customers has them. Subscriptions
    that have ended get none, and nor does a row of an unknown status, or a subscription at another address. A row with
    another fault gets one: the page has such a subscription canceled."""
    add(shop, "sub_past_due", status="past_due", customer_id="cus_2")
    add(shop, "sub_paused", status="paused")
    add(shop, "sub_unpaid", status="unpaid", customer_email="Ann@customer.example")
    add(shop, "sub_canceled", status="canceled")
    add(shop, "sub_ended", cancel_at="2026-01-31")
    add(shop, "sub_unknown", status="by hand")
    add(shop, "sub_unread", amount="by hand")
    add(shop, "sub_elsewhere", customer_email="ann@work.example")
    assert worker.typed() == []
    assert worker.asked() == ["sub_1", "sub_past_due", "sub_paused", "sub_unpaid", "sub_unread"]


def test_a_subscription_that_fails_keeps_no_other_link_back(
    worker: Worker, shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link cannot be counted in one row, for example because of a value that somebody wrote by hand: the other
    subscriptions of the address get their links, once, and the message comes back."""
    add(shop, "sub_0", renewal_date="2026-02-01")
    writes = shop.dynamodb.transact_write_items

    def fails_for_one_row(**q: Any) -> None:
        if "sub_0" in str(q):
            raise TypeError("a value by hand")
        writes(**q)

    monkeypatch.setattr(shop.dynamodb, "transact_write_items", fails_for_one_row)
    for _ in range(2):
        assert worker.take(worker.record(AddressRequest(ANN).to_json(), "message-1")) == ["message-1"]
        assert worker.asked() == ["sub_1"]


def test_of_very_many_subscriptions_five_get_a_link(worker: Worker, shop: World) -> None:
    """The five with the earliest renewal dates, among them what is past due, get a link each; the others wait, also at
    the next request."""
    for number in range(30):
        add(shop, f"sub_9{number:02}", renewal_date=f"2026-03-{number + 1:02}")
    add(shop, "sub_99", status="past_due", renewal_date="2026-01-05")
    first = ["sub_1", "sub_900", "sub_901", "sub_902", "sub_99"]
    assert worker.typed() == []
    assert worker.asked() == first
    worker.now += timedelta(seconds=1)
    worker.typed()
    assert worker.asked() == sorted(first * 2)


@pytest.mark.parametrize(
    "fault",
    [
        {"mail_fault": {"address": ANN, "kind": "bounced", "at": "2026-01-01", "reason": "x"}},
        {"mail_fault": {"address": ANN, "kind": "complained", "at": "2026-01-01", "reason": "x"}},
        {"mail_complaint": {"address": ANN, "kind": "complained", "at": "2026-01-01", "reason": "x"}},
        {"mail_fault": {"address": ANN, "kind": "a later kind", "at": "2026-01-01", "reason": "x"}},
    ],
)
def test_an_address_with_a_fault_is_not_mailed_more(worker: Worker, shop: World, fault: dict[str, Any]) -> None:
    """An address to which mail came back, or that has reported a mail as spam, gets no link, and the limits stand as
    before."""
    shop.edit(**fault)
    before = dict(shop.row())
    assert worker.typed() == []
    assert (worker.asked(), shop.row()) == ([], before)


def test_all_addresses_together_cause_a_bounded_number_of_mails(
    worker: Worker, shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood from very many sources with very many known addresses fills neither the queue of renewals nor mailboxes:
    beyond the limit of all links, messages come back later, and the next hour they are done. A request beyond the
    address's own limit uses nothing up."""
    monkeypatch.setattr("renewals.ledger.source_limits.ALL_LINKS", SourceLimit("all-links", 4))
    add(shop, "sub_2", customer_email="bob@customer.example")
    for _ in range(6):
        assert worker.typed() == []
    assert worker.typed("bob@customer.example") == []
    late = worker.record(AddressRequest("bob@customer.example").to_json())
    before = dict(shop.dynamodb.items("subscriptions"))
    assert worker.take(late) == [late["messageId"]]
    assert worker.asked() == ["sub_1"] * 3 + ["sub_2"]
    assert shop.dynamodb.items("subscriptions") == before
    worker.now += timedelta(hours=1)
    assert worker.take(late) == []
    assert worker.asked() == ["sub_1"] * 3 + ["sub_2"] * 2


def test_a_message_that_comes_twice_is_recorded_once(worker: Worker, shop: World) -> None:
    """A queue may deliver a message twice: the second delivery records nothing and counts nothing. Another message of
    the same moment is recorded."""
    message = worker.record(AddressRequest(ANN).to_json())
    assert worker.take(message, message) == []
    before = dict(shop.row())
    assert worker.take(message) == []
    assert (worker.asked(), shop.row()) == (["sub_1"], before)
    assert [int(each["times"]) for each in shop.dynamodb.items("counters").values()] == [1]
    assert worker.typed() == []
    assert worker.asked() == ["sub_1", "sub_1"]


def test_a_cut_between_two_subscriptions_is_made_good_by_the_next_delivery(worker: Worker, shop: World) -> None:
    """If the second subscription cannot be written, the message comes back, and only the second is still recorded."""
    add(shop, "sub_2", renewal_date="2026-03-31")
    message = worker.record(AddressRequest(ANN).to_json())
    writes = shop.dynamodb.transact_write_items

    def second_fails(**q: Any) -> None:
        if worker.asked():
            raise error("InternalServerError", "TransactWriteItems", 500)
        writes(**q)

    shop.dynamodb.transact_write_items = second_fails  # type: ignore[method-assign]
    assert worker.take(message) == ["message-1"]
    shop.dynamodb.transact_write_items = writes  # type: ignore[method-assign]
    assert worker.take(message) == []
    assert worker.asked() == ["sub_1", "sub_2"]


def test_a_row_that_changes_meanwhile_is_looked_at_again(
    worker: Worker, shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the record, somebody else has counted a link, and the limit is met; or the address has
    changed, and nobody is mailed."""
    writes = shop.dynamodb.transact_write_items
    change: dict[str, Any] = {"links_in_hour": f"{NOON:%Y-%m-%dT%H}/3"}

    def overtaken(**q: Any) -> None:
        if change:
            shop.edit(**change)
            change.clear()
        writes(**q)

    monkeypatch.setattr(shop.dynamodb, "transact_write_items", overtaken)
    assert worker.typed() == []
    assert worker.asked() == []
    worker.now += timedelta(hours=1)
    change |= {"customer_email": "new@customer.example", "links_in_hour": "by hand"}
    assert worker.typed() == []
    assert worker.asked() == []


def test_a_request_is_forgotten_after_two_weeks_and_hides_no_change(worker: Worker, shop: World) -> None:
    """Strangers may cause ten records a day. Each is deleted after two weeks, so that the changes among the latest 250
    records are never out of sight."""
    worker.typed()
    [record] = shop.dynamodb.items("changes").values()
    assert datetime.fromtimestamp(int(record["expires_at"]), UTC) == NOON + timedelta(days=14)


def test_a_test_clock_keeps_the_limits_of_the_real_hour(worker: Worker, shop: World) -> None:
    """A row with a test clock is dated by the test clock, is counted and forgotten by the real time, and a message that
    comes twice is recorded once."""
    shop.environment = "dev"
    shop.edit(test_clock="2027-06-30", renewal_date="2027-07-31")
    message = worker.record(AddressRequest(ANN).to_json())
    assert worker.take(message) == []
    worker.now += timedelta(minutes=1)
    assert worker.take(message) == []
    [record] = shop.dynamodb.items("changes").values()
    assert record["at"].startswith("2027-06-30")
    assert datetime.fromtimestamp(int(record["expires_at"]), UTC) == NOON + timedelta(days=14)
    assert shop.row()["links_in_day"] == "2026-01-31/1"


@pytest.mark.parametrize("body", ["", "null", "[]", "{}", '{"address": 5}', '{"address": null}', "x" * 300])
def test_a_message_that_is_no_request_fails_alone(worker: Worker, body: str) -> None:
    """A message that this version cannot read comes back, and the other messages of the batch are done."""
    good = worker.record(AddressRequest(ANN).to_json())
    assert worker.take(worker.record(body), good) == ["message-2"]
    assert worker.asked() == ["sub_1"]


def test_no_log_holds_a_typed_address(worker: Worker, shop: World, caplog: pytest.LogCaptureFixture) -> None:
    """Neither a known nor an unknown address is in any line of the log, not even after an error."""
    caplog.set_level(logging.DEBUG)
    worker.typed()
    worker.typed("someone.private@customer.example")
    shop.dynamodb.trouble.append(error("InternalServerError", "TransactWriteItems", 500))
    assert worker.typed() == ["message-3"]
    text = caplog.text + "".join(str(record.__dict__) for record in caplog.records)
    assert ANN not in text
    assert "someone.private" not in text
