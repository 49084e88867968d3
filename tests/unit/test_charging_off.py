"""Charging turned off for days: nothing is charged, and nobody is worse off. test_crashes.py turns charging off in the
middle of a run."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner, Result
from moto import mock_aws

from renewals.domain.request import RenewalRequest
from renewals.ledger import charging
from renewals.ledger.charging import Switch
from scripts.oncall import charging as oncall_charging
from scripts.oncall.__main__ import main
from scripts.oncall.charging import state, turn_off, turn_on
from tests.fakes import DUE, LATER, NOON, World
from tests.shares import share
from tests.unit.test_subscriptions_command import Account

DAY = timedelta(days=1)


@pytest.fixture
def shop() -> World:
    return World()


def _item(shop: World) -> dict[str, Any]:
    return shop.items()[DUE.isoformat()]


def test_nothing_is_claimed_and_all_is_charged_when_it_is_on_again(shop: World) -> None:
    """With charging off, three days of sweeps and webhooks leave no trace in ledger and gateway; with charging on
    again, the period is charged once."""
    shop.subscribe()
    shop.turn_charging_off()
    for n in range(3):
        assert shop.run(f"off-{n}", NOON + n * DAY, period=DUE.isoformat()) == "Success"
        assert shop.renew(f"webhook-{n}", NOON + n * DAY).reason == "charging_is_off"
    assert (shop.items(), shop.gateway.payments, shop.mails()) == ({}, {}, [])
    shop.turn_charging_on()
    assert shop.run("on", NOON + 3 * DAY, period=DUE.isoformat()) == "Success"
    assert (len(shop.gateway.charges), _item(shop)["status"], len(shop.mails())) == (1, "done", 1)


def test_a_price_that_was_mended_meanwhile_is_what_is_charged(shop: World) -> None:
    """A price mended while charging is off is the price charged later, since nothing was claimed at the old price."""
    shop.subscribe()
    shop.turn_charging_off()
    shop.run("off")
    shop.edit(amount=19)
    shop.turn_charging_on()
    shop.run("on", amount="19")
    assert [amount for _, amount, _ in shop.gateway.charges] == [1900]


@pytest.mark.parametrize("card", ["pm_declined", "pm_3ds"])
def test_dunning_stands_still_and_nobody_is_canceled(shop: World, card: str) -> None:
    """With charging off for three weeks after a decline, past the last dunning date, dunning makes no attempt, moves no
    date and sends no mail. With charging on again, the missed dates follow day by day before the subscription is
    canceled."""
    shop.subscribe(payment_method=card)
    shop.run("refused")
    stood, attempts = dict(_item(shop)), list(shop.gateway.attempts)
    shop.turn_charging_off()
    for n in range(1, 22):
        assert shop.run(f"off-{n}", NOON + n * DAY) == "PaymentDeclined"
    assert (_item(shop), shop.gateway.attempts, len(shop.mails())) == (stood, attempts, 1)
    assert shop.row()["status"] == "past_due"
    shop.turn_charging_on()
    statuses = []
    for n in range(22, 26):
        shop.run(f"on-{n}", NOON + n * DAY)
        statuses.append(shop.row()["status"])
    assert statuses == ["past_due", "past_due", "past_due", "canceled"]
    assert [mail.partition("_")[0] for mail in shop.mail_kinds()][-2:] == ["final", "canceled"]


def test_another_card_waits_too(shop: World) -> None:
    """A new card given while charging is off is charged as soon as charging is on again."""
    shop.subscribe(payment_method="pm_declined")
    shop.run("refused")
    shop.turn_charging_off()
    shop.edit(payment_method="pm_ok")
    shop.run("off", NOON + LATER)
    assert not shop.gateway.charges
    shop.turn_charging_on()
    shop.run("on", NOON + 2 * LATER)
    assert (len(shop.gateway.charges), shop.row()["status"]) == (1, "active")


def test_what_was_confirmed_before_is_recorded_receipted_and_mailed(shop: World) -> None:
    """A payment that the gateway was still processing when charging was turned off is recorded, receipted and
    mailed."""
    shop.subscribe()
    shop.gateway.trouble.append(("confirm", "processing"))
    shop.run("first")
    shop.turn_charging_off()
    assert shop.run("asked", NOON + LATER) == "Success"
    assert (_item(shop)["status"], shop.mails()) == ("claimed", [])
    shop.gateway.succeed("pi_1")
    assert shop.run("told", NOON + 2 * LATER) == "Success"
    assert (_item(shop)["status"], len(shop.receipts()), len(shop.mails())) == ("done", 1, 1)


def test_what_the_customer_confirmed_at_the_bank_is_recorded(shop: World) -> None:
    """A payment that the customer confirms at the bank while charging is off is recorded: the customer acted, and the
    money has moved."""
    shop.subscribe(payment_method="pm_3ds")
    shop.run("refused")
    shop.turn_charging_off()
    shop.gateway.succeed("pi_1")
    assert shop.run("told", NOON + LATER) == "Success"
    assert (_item(shop)["status"], shop.row()["status"]) == ("done", "active")


def test_a_failed_renewal_is_not_taken_up(shop: World) -> None:
    """A failed renewal asked for again while charging is off stays failed; with charging on again, the renewal is
    charged once."""
    shop.subscribe()
    shop.gateway.trouble += [("confirm", "before")] * 12
    for n in range(12):
        shop.run(f"hung-up-{n}", NOON + n * LATER)
    assert _item(shop)["status"] == "failed"
    shop.gateway.trouble.clear()
    shop.turn_charging_off()
    assert shop.run("off", NOON + DAY) == "Success"
    assert (_item(shop)["status"], shop.gateway.charges) == ("failed", [])
    shop.turn_charging_on()
    shop.run("on", NOON + DAY + LATER)
    assert (_item(shop)["status"], len(shop.gateway.charges)) == ("done", 1)


def test_a_subscription_that_is_paused_is_still_moved_past_today(shop: World) -> None:
    """While charging is off the sweep still moves a paused subscription past today, so that a later resumption by hand
    bills no part of the pause."""
    shop.subscribe(status="paused")
    shop.turn_charging_off()
    shop.run("off", period=DUE.isoformat())
    assert shop.row()["renewal_date"] == "2026-02-28"


class _Unreadable:
    def batch_get_item(self, **_asked: Any) -> Any:
        raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "BatchGetItem")


def test_a_switch_that_cannot_be_read_is_no_leave_to_charge() -> None:
    """An error in reading the charging switch ends the attempt."""
    switch: Any = _Unreadable()
    with pytest.raises(ClientError):
        Switch(switch, "changes").is_off("sub_1")


@pytest.fixture(scope="module")
def moto() -> Iterator[Any]:
    """Start moto once for all tests: starting moto and making a client take longer than a test."""
    with mock_aws():
        yield boto3.client("dynamodb", region_name="us-west-2")


@pytest.fixture
def changes(moto: Any) -> Iterator[Any]:
    """A DynamoDB client with an empty changes table."""
    moto.create_table(
        TableName="changes",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in charging.EARLIER],
        KeySchema=[
            {"AttributeName": "subscription_id", "KeyType": "HASH"},
            {"AttributeName": "change", "KeyType": "RANGE"},
        ],
    )
    yield moto
    moto.delete_table(TableName="changes")


def _switch_items(table: Any) -> list[str]:
    return sorted(item["subscription_id"]["S"] for item in table.scan(TableName="changes")["Items"])


def test_claims_of_two_shards_do_not_meet_at_the_switch(shop: World) -> None:
    """A renewal does not conflict with transactions at the switches of foreign shards or at an earlier version's
    switch. At the switch of its own shard the renewal waits for the transaction, and goes on."""
    shop.subscribe()
    own = shop.switch.keys("sub_1")[0]
    others = {("changes", (key["subscription_id"], key["change"])): 99 for key in charging.KEYS if key != own}
    shop.dynamodb.busy |= others
    assert shop.run() == "Success"
    assert shop.dynamodb.busy == others
    shop.edit(renewal_date="2026-02-27")
    shop.dynamodb.items("renewals").clear()
    shop.dynamodb.busy = {("changes", (own["subscription_id"], own["change"])): 1}
    assert shop.run("again", NOON + 27 * DAY) == "Success"
    assert (len(shop.gateway.charges), shop.dynamodb.busy) == (2, {})


@pytest.mark.parametrize("number", share(range(len(charging.KEYS)), of=4))
def test_each_shard_is_turned_off_for_its_own_subscriptions(shop: World, number: int) -> None:
    """A switch turned off for one shard stops the subscriptions of that shard. A process starting meanwhile heeds the
    earlier version's item for all subscriptions, since the deployment may have no newer item yet."""
    key = charging.KEYS[number]
    shop.dynamodb.put("changes", key)
    client: Any = shop.dynamodb
    switch = Switch.of_process(client, "changes")
    for n in range(40):
        name = f"sub_{n}"
        shop.subscribe(subscription_id=name)
        charge = replace(shop.charge("run", NOON), switch=switch)
        outcome = charge.renew(RenewalRequest(name, "cus_1", Decimal("29.99")))
        off = key == charging.EARLIER or key == switch.keys(name)[0]
        assert (outcome.name, outcome.reason) == (("nothing_to_do", "charging_is_off") if off else ("paid", ""))


def test_the_version_before_stops_too(changes: Any) -> None:
    """The command writes and deletes the earlier version's item together with the items of all shards, so that in a
    deployment of both versions charging is off or on for both."""
    turn_off(changes, "changes", by="ann", why="wrong prices")
    assert _switch_items(changes) == sorted(["*", *(f"*{n}" for n in range(16))])
    turn_on(changes, "changes")
    assert _switch_items(changes) == []


@pytest.mark.parametrize("cut", [1, 5, 16])
@pytest.mark.parametrize("turn", ["off", "on"])
def test_a_turn_that_was_cut_off_counts_as_off_and_is_finished_by_another(changes: Any, turn: str, cut: int) -> None:
    """A turn of the switch that was cut off counts as off, and the command tells for how many parts. A second turn
    completes the first, and the record keeps the person who turned charging off first."""
    told = {"at": {"S": "2026-01-31T12:00:00+00:00"}, "by": {"S": "ann"}, "why": {"S": "wrong prices"}}
    for key in charging.KEYS[:cut]:
        changes.put_item(TableName="changes", Item={name: {"S": value} for name, value in key.items()} | told)
    assert state(changes, "changes").splitlines() == [
        "charging has been off since 2026-01-31T12:00:00+00:00, by ann: wrong prices",
        f"only {cut} of 17 parts of the switch are off: the command was interrupted, or a different version of the "
        "project turned charging off. Run `charging off` or `charging on` again to finish.",
    ]
    if turn == "on":
        turn_on(changes, "changes")
        assert state(changes, "changes") == "charging is on"
    else:
        turn_off(changes, "changes", by="bob", why="me too")
        assert (
            state(changes, "changes") == "charging has been off since 2026-01-31T12:00:00+00:00, by ann: wrong prices"
        )


def test_the_switch_is_thrown_between_charges(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a charge's transaction holds an item of the switch, the command writes the item after the transaction."""
    monkeypatch.setattr(oncall_charging, "time", SimpleNamespace(sleep=lambda _seconds: None))
    client: Any = shop.dynamodb
    writes: list[str] = []

    class Conflicts(Exception):  # noqa: N818
        pass

    class Busy:
        """A client whose first write of every item meets a transaction."""

        exceptions = SimpleNamespace(TransactionConflictException=Conflicts, ConditionalCheckFailedException=KeyError)
        batch_get_item = client.batch_get_item

        def put_item(self, **q: Any) -> None:
            self._meet(q["Item"])
            client.put("changes", {name: value["S"] for name, value in q["Item"].items()})

        def delete_item(self, **q: Any) -> None:
            self._meet(q["Key"])

        def _meet(self, item: dict[str, Any]) -> None:
            name = item["subscription_id"]["S"]
            writes.append(name)
            if writes.count(name) % 2:
                raise Conflicts

    busy = Busy()
    turn_off(busy, "changes", by="ann", why="wrong prices")
    assert len(shop.dynamodb.items("changes")) == 17
    turn_on(busy, "changes")
    assert len(writes) == 4 * 17


def test_the_command_throws_the_switch_that_the_functions_ask(changes: Any) -> None:
    """The command turns off the very switch that the functions read, keeps the first person and reason, and turns the
    switch on again."""
    switch = Switch(changes, "changes")
    assert (switch.is_off("sub_1"), state(changes, "changes")) == (False, "charging is on")
    turn_off(changes, "changes", by="ann", why="wrong prices")
    turn_off(changes, "changes", by="bob", why="me too")
    assert switch.is_off("sub_1")
    assert state(changes, "changes").endswith("by ann: wrong prices")
    turn_on(changes, "changes")
    assert (switch.is_off("sub_1"), state(changes, "changes")) == (False, "charging is on")


@pytest.fixture
def account(shop: World, changes: Any, monkeypatch: pytest.MonkeyPatch) -> Account:
    """The AWS account reached by the profile in the environment."""
    shop.dynamodb = changes
    made = Account(shop)
    monkeypatch.setattr(boto3, "Session", lambda: made)
    return made


def _charging(*words: str) -> Result:
    return CliRunner().invoke(main, ["charging", *words])


def test_charging_is_turned_off_with_a_reason_or_not_at_all(account: Account) -> None:
    """Without a reason, or with a blank reason, nothing changes, and the command asks for the reason."""
    for words in ([], ["--why", " "]):
        refused = _charging("off", *words)
        assert refused.exit_code == 2
        assert 'off needs --why "…"' in refused.output
    assert (_charging("status").output, account.invoked) == ("charging is on\n", [])
    assert _charging("off", "--why", "wrong prices").output.endswith("zoe: wrong prices\n")


def test_each_turn_of_the_switch_starts_a_sweep(account: Account) -> None:
    """Every turn of the switch starts a sweep, which tells the alarm the state of the switch and renews waiting
    subscriptions; asking for the state starts nothing."""
    _charging("off", "--why", "wrong prices")
    _charging("status")
    _charging("on")
    assert account.invoked == [("sweep", '{"sweep": "due"}')] * 2
