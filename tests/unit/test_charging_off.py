"""Charging turned off for days: nothing is charged and nobody is worse off for it. What happens where it is thrown in
the middle of a run is told in test_crashes.py."""

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
from scripts.oncall.__main__ import main
from scripts.oncall.charging import state, turn_off, turn_on
from tests.fakes import DUE, LATER, NOON, World
from tests.unit.test_subscriptions_command import Account

DAY = timedelta(days=1)


@pytest.fixture
def shop() -> World:
    return World()


def _item(shop: World) -> dict[str, Any]:
    return shop.items()[DUE.isoformat()]


def test_nothing_is_claimed_and_all_is_charged_when_it_is_on_again(shop: World) -> None:
    """Three days of sweeps and webhooks leave no trace in ledger and gateway; then the period is charged once."""
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
    """Nothing was claimed at the old one."""
    shop.subscribe()
    shop.turn_charging_off()
    shop.run("off")
    shop.edit(amount=19)
    shop.turn_charging_on()
    shop.run("on", amount="19")
    assert [amount for _, amount, _ in shop.gateway.charges] == [1900]


@pytest.mark.parametrize("card", ["pm_declined", "pm_3ds"])
def test_dunning_stands_still_and_nobody_is_cancelled(shop: World, card: str) -> None:
    """Off from the day after the refusal for three weeks, past the last dunning date: no attempt, no date, no mail.
    On again, the dates that were missed follow day by day, and only then is it given up."""
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
    """It is tried as soon as charging is on again."""
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
    """The gateway was still at it when charging was turned off: its answer is heard, and the customer told."""
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
    """It is the customer's own act, and the money has moved."""
    shop.subscribe(payment_method="pm_3ds")
    shop.run("refused")
    shop.turn_charging_off()
    shop.gateway.succeed("pi_1")
    assert shop.run("told", NOON + LATER) == "Success"
    assert (_item(shop)["status"], shop.row()["status"]) == ("done", "active")


def test_a_failed_renewal_is_not_taken_up(shop: World) -> None:
    """Asked for again while charging is off, it stays as it failed; on again, it is charged once."""
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
    """So that it owes nothing for its pause when it is resumed by hand."""
    shop.subscribe(status="paused")
    shop.turn_charging_off()
    shop.run("off", period=DUE.isoformat())
    assert shop.row()["renewal_date"] == "2026-02-28"


class _Unreadable:
    def batch_get_item(self, **_asked: Any) -> Any:
        raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "BatchGetItem")


def test_a_switch_that_cannot_be_read_is_no_leave_to_charge() -> None:
    """The error ends the attempt."""
    switch: Any = _Unreadable()
    with pytest.raises(ClientError):
        Switch(switch, "changes").is_off("sub_1")


@pytest.fixture
def changes() -> Iterator[Any]:
    """A client of DynamoDB, and in it the changes table."""
    with mock_aws():
        client = boto3.client("dynamodb", region_name="us-west-2")
        client.create_table(
            TableName="changes",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in charging.EARLIER],
            KeySchema=[
                {"AttributeName": "subscription_id", "KeyType": "HASH"},
                {"AttributeName": "change", "KeyType": "RANGE"},
            ],
        )
        yield client


def _switch_items(table: Any) -> list[str]:
    return sorted(item["subscription_id"]["S"] for item in table.scan(TableName="changes")["Items"])


def test_claims_of_two_shards_do_not_meet_at_the_switch(shop: World) -> None:
    """Another transaction is at the switch of every shard but this subscription's, and at the version before's: the
    renewal meets none of them. At its own, it waits and goes on."""
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


@pytest.mark.parametrize("number", range(len(charging.KEYS)))
def test_each_shard_is_turned_off_for_its_own_subscriptions(shop: World, number: int) -> None:
    """A switch that is thrown in part stops the part; a process of this version that begins meanwhile heeds the item of
    the version before for all, since nothing else may be there yet."""
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
    """Its one item is among what the command writes, and goes with the rest: a deployment of both is off, or on."""
    turn_off(changes, "changes", by="ann", why="wrong prices")
    assert _switch_items(changes) == sorted(["*", *(f"*{n}" for n in range(16))])
    turn_on(changes, "changes")
    assert _switch_items(changes) == []


@pytest.mark.parametrize("cut", [1, 5, 16])
@pytest.mark.parametrize("turn", ["off", "on"])
def test_a_turn_that_was_cut_off_counts_as_off_and_is_finished_by_another(changes: Any, turn: str, cut: int) -> None:
    """The command says that it is so in part; turned once more, it is as asked, and who threw it first is known."""
    told = {"at": {"S": "2026-01-31T12:00:00+00:00"}, "by": {"S": "ann"}, "why": {"S": "wrong prices"}}
    for key in charging.KEYS[:cut]:
        changes.put_item(TableName="changes", Item={name: {"S": value} for name, value in key.items()} | told)
    assert state(changes, "changes").splitlines() == [
        "charging is off since 2026-01-31T12:00:00+00:00, by ann: wrong prices",
        f"for {cut} of 17 parts only: turning it was cut off, or another version turned it off. Turn it off once more, "
        "or on, and it is so for all.",
    ]
    if turn == "on":
        turn_on(changes, "changes")
        assert state(changes, "changes") == "charging is on"
    else:
        turn_off(changes, "changes", by="bob", why="me too")
        assert state(changes, "changes") == "charging is off since 2026-01-31T12:00:00+00:00, by ann: wrong prices"


def test_the_switch_is_thrown_between_charges(shop: World) -> None:
    """Each of its items is held by a charge's transaction when it is written: it is written after it."""
    client: Any = shop.dynamodb
    writes: list[str] = []

    class Conflicts(Exception):  # noqa: N818
        pass

    class Busy:
        """A client whose every first write of an item meets a transaction."""

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
    """Off, said once by whom and why; on again."""
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
    """The account that the environment's profile reaches."""
    shop.dynamodb = changes
    made = Account(shop)
    monkeypatch.setattr(boto3, "Session", lambda: made)
    return made


def _charging(*words: str) -> Result:
    return CliRunner().invoke(main, ["charging", *words])


def test_charging_is_turned_off_with_a_reason_or_not_at_all(account: Account) -> None:
    """Without one, or with blanks, nothing changes, and the command says what it lacks."""
    for words in ([], ["--why", " "]):
        refused = _charging("off", *words)
        assert refused.exit_code == 2
        assert 'off needs --why "…"' in refused.output
    assert (_charging("status").output, account.invoked) == ("charging is on\n", [])
    assert _charging("off", "--why", "wrong prices").output.endswith("zoe: wrong prices\n")


def test_each_turn_of_the_switch_starts_a_sweep(account: Account) -> None:
    """Which tells the alarm how the switch stands, and renews what waited; a mere look starts nothing."""
    _charging("off", "--why", "wrong prices")
    _charging("status")
    _charging("on")
    assert account.invoked == [("sweep", '{"sweep": "due"}')] * 2
