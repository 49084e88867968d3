"""Charging turned off for days: nothing is charged and nobody is worse off for it. What happens where it is thrown in
the middle of a run is told in test_crashes.py."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner, Result
from moto import mock_aws

from renewals import charging
from renewals.charging import Switch
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
    def get_item(self, **_asked: Any) -> Any:
        raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "GetItem")


def test_a_switch_that_cannot_be_read_is_no_leave_to_charge() -> None:
    """The error ends the attempt."""
    switch: Any = _Unreadable()
    with pytest.raises(ClientError):
        Switch(switch, "changes").is_off()


@pytest.fixture
def changes() -> Iterator[Any]:
    """A client of DynamoDB, and in it the changes table."""
    with mock_aws():
        client = boto3.client("dynamodb", region_name="us-west-2")
        client.create_table(
            TableName="changes",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in charging.KEY],
            KeySchema=[
                {"AttributeName": "subscription_id", "KeyType": "HASH"},
                {"AttributeName": "change", "KeyType": "RANGE"},
            ],
        )
        yield client


def test_the_command_throws_the_switch_that_the_functions_ask(changes: Any) -> None:
    """Off, said once by whom and why; on again."""
    switch = Switch(changes, "changes")
    assert (switch.is_off(), state(changes, "changes")) == (False, "charging is on")
    turn_off(changes, "changes", by="ann", why="wrong prices")
    turn_off(changes, "changes", by="bob", why="me too")
    assert switch.is_off()
    assert state(changes, "changes").endswith("by ann: wrong prices")
    turn_on(changes, "changes")
    assert (switch.is_off(), state(changes, "changes")) == (False, "charging is on")


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
