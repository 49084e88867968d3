"""Whole renewals over the adapter, the official SDK and the sandbox gateway, which is as strict as Stripe: the
gateway's answers on bad days, and the end of the renewal."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

import pytest
from stripe import StripeClient

from local.gateway import Gateway, official_client
from renewals.domain.customer_request import CustomerRequest
from renewals.domain.dunning import Dunning
from renewals.domain.request import Asks
from renewals.domain.subscription import SubscriptionStatus
from renewals.gateway.port import GatewayUnauthorized
from renewals.gateway.stripe_gateway import StripeGateway
from tests.fakes import World
from tests.sandbox import serving, visit

DAY = timedelta(days=1)
MINUTES = timedelta(minutes=20)
ACCOUNT = "https://shop.example/account"


@dataclass
class Shop:
    """A world whose gateway is the adapter over a sandbox with the world's clock. client: acts as the merchant's
    dashboard and as other systems of the merchant."""

    world: World
    sandbox: Gateway
    client: StripeClient
    now: datetime

    def run(self, execution: str, after: timedelta = timedelta()) -> str:
        self.now += after
        self.sandbox.sandbox.set_clock(self.now.timestamp())
        return self.world.run(execution, self.now)

    def item(self) -> dict[str, Any]:
        return next(iter(self.world.items().values()))

    def customer(self) -> str:
        return self.client.v1.customers.create({"name": "Ann"}).id

    def card(self, number: str, customer: str | None = None) -> str:
        owner = customer or self.world.row()["gateway_customer"]
        return self.client.v1.payment_methods.attach(f"pm_card_{number}", {"customer": owner}).id

    def charges(self) -> list[dict[str, Any]]:
        return self.sandbox.sandbox.charges(status="succeeded")


@pytest.fixture
def shop() -> Iterator[Shop]:
    with serving() as sandbox:
        world = World()
        world.gateway = cast("Any", StripeGateway(sandbox.api_key, sandbox.url))
        now = datetime.combine(datetime.now(UTC).date(), datetime.min.time(), UTC) + timedelta(hours=12)
        shop = Shop(world, sandbox, official_client(sandbox.url, sandbox.api_key), now)
        customer = shop.customer()
        world.subscribe(gateway_customer=customer, renewal_date=now.date().isoformat())
        world.edit(payment_method=shop.card("visa"))
        yield shop


def _detach(shop: Shop) -> None:
    shop.client.v1.payment_methods.detach(shop.world.row()["payment_method"])


def _mistype(shop: Shop) -> None:
    shop.world.edit(payment_method="pm_typo")


def _take_anothers(shop: Shop) -> None:
    shop.world.edit(payment_method=shop.card("visa", shop.customer()))


def _expire(shop: Shop) -> None:
    shop.sandbox.sandbox.change_card(shop.world.row()["payment_method"], "pm_card_chargeDeclinedExpiredCard")


GONE = {"detached": _detach, "mistyped": _mistype, "another customer's": _take_anothers, "expired": _expire}


@pytest.mark.parametrize("gone", GONE)
def test_a_card_that_is_gone_at_the_first_attempt_is_a_hard_decline(shop: Shop, gone: str) -> None:
    """A card that is gone makes the subscription past due, a mail is sent, and the dunning dates pass without further
    attempts; a new card pays the same period."""
    GONE[gone](shop)
    assert shop.run("first") == "PaymentDeclined"
    assert (shop.world.row()["status"], shop.item()["status"]) == ("past_due", "declined")
    assert shop.world.mail_kinds() == ["payment_failed"]
    tried = len(shop.sandbox.sandbox.charges())
    for n in range(3):
        shop.run(f"dunned-{n}", 2 * DAY)
    assert len(shop.sandbox.sandbox.charges()) == tried
    shop.world.edit(payment_method=shop.card("mastercard"))
    assert shop.run("new card", MINUTES) == "Success"
    assert shop.world.row()["status"] == "active"
    assert len(shop.charges()) == 1


@pytest.mark.parametrize("gone", ["detached", "mistyped", "another customer's"])
def test_a_card_that_is_gone_in_dunning_is_a_hard_decline(shop: Shop, gone: str) -> None:
    """A card declined for insufficient funds and then removed is declined on the next dunning date, and a new card
    pays."""
    shop.sandbox.sandbox.change_card(shop.world.row()["payment_method"], "pm_card_chargeDeclinedInsufficientFunds")
    shop.run("first")
    GONE[gone](shop)
    assert shop.run("dunned", DAY) == "PaymentDeclined"
    assert shop.item()["status"] == "declined"
    assert shop.item()["refusals"]["attempt_2"]["gateway_request_id"].startswith("req_")
    shop.world.edit(payment_method=shop.card("visa"))
    assert shop.run("new card", MINUTES) == "Success"
    assert len(shop.charges()) == 1


def test_a_card_that_is_gone_ends_the_subscription_with_its_notice(shop: Shop) -> None:
    """Where the customer does not update the payment method, the dunning dates pass, the final notice is sent, and the
    subscription is canceled."""
    _detach(shop)
    for n in range(9):
        shop.run(f"run-{n}", DAY if n else timedelta())
    assert shop.world.row()["status"] == "canceled"
    assert shop.world.mail_kinds() == ["payment_failed", "final_notice", "canceled"]


def test_a_customer_that_is_gone_is_the_rows_fault_in_words(shop: Shop) -> None:
    """An unknown gateway customer is neither a decline nor mailed: the reason names the row's attribute, and the ledger
    has the gateway's request id."""
    shop.world.edit(gateway_customer="cus_typo")
    assert shop.run("first") == "PaymentFailed"
    item = shop.item()
    assert (item["status"], item["reason"]) == ("failed", "gateway: resource_missing: gateway_customer")
    assert item["gateway_request_id"].startswith("req_")
    assert shop.world.mails() == []


def test_what_the_customer_pays_elsewhere_disturbs_no_late_renewal(shop: Shop) -> None:
    """A Link payment of the customer at a second system of the same account, without a card in the charge, does not
    disturb a renewal a day late."""
    shop.sandbox.sandbox.set_clock(shop.now.timestamp())
    shop.sandbox.sandbox.pay_elsewhere(shop.world.row()["gateway_customer"], 500)
    assert shop.run("late", 2 * DAY) == "Success"
    assert len(shop.charges()) == 2


def test_a_decline_that_tells_nothing_is_a_decline(shop: Shop) -> None:
    """A decline whose last error has nothing but a type counts as a decline: the execution does not crash, and no
    execution asks about the payment for ever."""
    shop.sandbox.sandbox.change_card(shop.world.row()["payment_method"], "pm_card_chargeDeclined")
    shop.sandbox.sandbox.hostile("bare", "payment_intents.confirm")
    assert shop.run("first") == "PaymentDeclined"
    assert shop.item()["decline_code"] == "card_error"
    assert shop.world.mail_kinds() == ["payment_failed"]


def _decline_daily(shop: Shop, days: int) -> None:
    """Have the period declined once a day, with a new card every day."""
    cards = [shop.card("visa"), shop.card("visa")]
    for card in cards:
        shop.sandbox.sandbox.change_card(card, "pm_card_chargeDeclinedInsufficientFunds")
    for n in range(days):
        shop.world.edit(payment_method=cards[n % 2])
        assert shop.run(f"run-{n}", DAY if n else timedelta()) == "PaymentDeclined"


def test_a_payment_confirmed_too_often_is_followed_by_another(shop: Shop) -> None:
    """After ten declines the gateway cancels the first payment by itself; dunning continues with a second payment, and
    a good card pays."""
    shop.world.dunning = Dunning((20, 30), SubscriptionStatus.CANCELED)
    _decline_daily(shop, 12)
    first, second = {charge["payment_intent"] for charge in shop.sandbox.sandbox.charges()}
    reasons = {shop.client.v1.payment_intents.retrieve(each).cancellation_reason for each in (first, second)}
    assert reasons == {"automatic", None}
    assert len(shop.sandbox.sandbox.charges()) == 12
    shop.world.edit(payment_method=shop.card("visa"))
    assert shop.run("paid", DAY) == "Success"
    assert (shop.world.row()["status"], len(shop.charges())) == ("active", 1)


def test_a_payment_confirmed_too_often_ends_with_its_notice(shop: Shop) -> None:
    """Dunning continues over the payment that the gateway canceled, to the last date, and tells the customer."""
    shop.world.dunning = Dunning((12, 14, 16), SubscriptionStatus.CANCELED)
    _decline_daily(shop, 12)
    for n in range(12, 20):
        shop.run(f"run-{n}", DAY)
    assert shop.world.row()["status"] == "canceled"
    assert shop.world.mail_kinds()[-2:] == ["final_notice", "canceled"]


def test_a_payment_that_somebody_stopped_stays_stopped(shop: Shop) -> None:
    """A payment canceled in the dashboard before its confirmation is not replaced by a new payment."""
    shop.sandbox.sandbox.hostile("503", "payment_intents.confirm")
    shop.run("first")
    shop.client.v1.payment_intents.cancel(shop.item()["payment_id"], {"cancellation_reason": "requested_by_customer"})
    assert shop.run("second", MINUTES) == "PaymentFailed"
    assert (shop.item()["status"], shop.item()["reason"]) == ("failed", "gateway: canceled")
    assert shop.sandbox.sandbox.charges() == []


def test_a_card_in_processing_for_a_day_is_waited_for(shop: Shop) -> None:
    """A card in processing for 26 hours, as in India, is asked about every hour: nothing fails, is counted or becomes
    overdue; then the period is paid and mailed."""
    shop.world.edit(payment_method=shop.card("in"))
    assert shop.run("first") == "Success"
    for n in range(25):
        assert shop.run(f"hour-{n}", timedelta(hours=1)) == "Success"
    item = shop.item()
    assert (item["status"], item["pickups"], shop.world.mails()) == ("claimed", 0, [])
    assert datetime.fromisoformat(item["begun_at"]) >= shop.now
    assert shop.run("settled", timedelta(hours=2)) == "Success"
    assert (shop.item()["status"], len(shop.charges()), len(shop.world.receipts())) == ("done", 1, 1)


@pytest.mark.parametrize("change", [{"status": "canceled"}, {"status": "paused"}, {"renewal_date": "2031-01-31"}])
def test_a_row_that_ends_while_its_payment_is_processing_waits_for_it(shop: Shop, change: dict[str, Any]) -> None:
    """A row that ends, pauses or moves while its payment is processing fails no workflow: the bank decides the
    confirmed payment, and the decision is recorded."""
    shop.world.edit(payment_method=shop.card("in"))
    shop.run("first")
    shop.world.edit(**change)
    for n in range(12):
        assert shop.run(f"hour-{n}", timedelta(hours=1)) == "Success"
    shop.run("settled", DAY)
    assert (len(shop.charges()), len(shop.world.receipts())) == (1, 1)


@pytest.mark.parametrize("mode", ["403", "other_mode"])
@pytest.mark.parametrize("operation", ["payment_intents.create", "payment_intents.confirm", "payment_intents.retrieve"])
def test_the_accounts_fault_marks_no_renewal(shop: Shop, mode: str, operation: str) -> None:
    """A key without a permission, or of the wrong mode, is reported as the account's fault; the renewal is not failed,
    dunned, counted or overdue, and is paid once the key is mended."""
    if operation == "payment_intents.retrieve":
        shop.sandbox.sandbox.hostile("503", "payment_intents.confirm")
        shop.run("before")
    row = dict(shop.world.row())
    shop.sandbox.sandbox.hostile(mode, operation, calls=1000)
    for n in range(12):
        shop.now += timedelta(hours=1)
        with pytest.raises(GatewayUnauthorized):
            shop.world.charge(f"run-{n}", shop.now).renew(_asked())
    assert shop.world.row() == row
    item = shop.item()
    assert (item["status"], item["pickups"], item.get("reason")) == ("claimed", 0, None)
    assert datetime.fromisoformat(item["begun_at"]) > shop.now
    shop.sandbox.sandbox.peaceful()
    assert shop.run("mended", timedelta(hours=1)) == "Success"
    assert len(shop.charges()) == 1


@pytest.mark.parametrize("operation", ["payment_intents.retrieve", "payment_intents.cancel"])
def test_the_accounts_fault_marks_no_renewal_that_is_given_up(shop: Shop, operation: str) -> None:
    """A claim canceled while the gateway turns the account away waits and is not overdue; once the account is mended,
    the payment is canceled and not charged."""
    shop.sandbox.sandbox.hostile("503", "payment_intents.confirm")
    shop.run("before")
    shop.world.edit(status="canceled")
    shop.sandbox.sandbox.hostile("403", operation, calls=1000)
    for n in range(12):
        shop.now += timedelta(hours=1)
        with pytest.raises(GatewayUnauthorized):
            shop.world.charge(f"run-{n}", shop.now).renew(_asked())
    item = shop.item()
    assert (item["status"], item["pickups"]) == ("claimed", 0)
    assert datetime.fromisoformat(item["begun_at"]) > shop.now
    shop.sandbox.sandbox.peaceful()
    shop.run("mended", timedelta(hours=1))
    assert (shop.item()["status"], shop.charges()) == ("given_up", [])
    assert shop.client.v1.payment_intents.retrieve(shop.item()["payment_id"]).cancellation_reason == "abandoned"


def test_a_payment_of_the_version_before_is_no_collision(shop: Shop) -> None:
    """The earlier version named the card when creating the payment, under the period's old key: the new version uses a
    different key and charges once."""
    row, today = shop.world.row(), date.today().isoformat()  # noqa: DTZ011 - the row's own day
    shop.client.v1.payment_intents.create(
        {
            "amount": 2999,
            "currency": "usd",
            "customer": row["gateway_customer"],
            "payment_method": row["payment_method"],
            "allowed_payment_method_types": ["card"],
        },
        {"idempotency_key": f"shop-prod/cus_1/sub_1/{row['renewal_date'] or today}"},
    )
    assert shop.run("first") == "Success"
    assert len(shop.charges()) == 1


def test_a_key_that_is_spent_on_another_request_fails_no_renewal(shop: Shop) -> None:
    """An idempotency key already used for a different request does not fail the renewal: the next attempt uses a new
    key."""
    row = shop.world.row()
    key = f"{shop.world.deployment}/cus_1/sub_1/{row['renewal_date']}/v2"
    other: Any = {"amount": 100, "currency": "usd", "customer": row["gateway_customer"]}
    shop.client.v1.payment_intents.create(other, {"idempotency_key": key})
    assert shop.run("first") == "PaymentFailed"
    assert shop.item()["status"] == "claimed"
    assert shop.run("again", MINUTES) == "Success"
    assert len(shop.charges()) == 1


@pytest.fixture
def copied(shop: Shop) -> World:
    """A second deployment on the same account of the gateway, with the same subscription of the same customer: a copy
    of the shop's data, in a different region."""
    copied = World()
    copied.stack = "copy"
    copied.gateway = shop.world.gateway
    same = ("renewal_date", "gateway_customer", "payment_method")
    copied.subscribe(**{name: shop.world.row()[name] for name in same})
    return copied


def test_two_deployments_on_one_account_charge_each_for_itself(shop: Shop, copied: World) -> None:
    """Two deployments with equal subscriptions on one account of the gateway never share a payment: each payment names
    its deployment."""
    assert shop.run("first") == "Success"
    assert copied.run("first", shop.now) == "Success"
    payments = {each["payment_intent"]: each["metadata"]["deployment"] for each in shop.charges()}
    ids = (next(iter(world.items().values()))["payment_id"] for world in (shop.world, copied))
    assert payments == dict(zip(ids, (shop.world.deployment, copied.deployment), strict=True))


@pytest.mark.parametrize("stands", ["paid", "declined"])
def test_a_payment_of_another_deployment_is_left_alone(shop: Shop, copied: World, stands: str) -> None:
    """A deployment that looks for the payment of a late period neither takes a paid payment of another deployment for
    its own, nor cancels an open one."""
    number = "visa" if stands == "paid" else "chargeCustomerFail"
    copied.edit(payment_method=shop.card(number))
    copied.run("first", shop.now)
    theirs = next(iter(copied.items().values()))["payment_id"]
    before = shop.client.v1.payment_intents.retrieve(theirs).status
    assert shop.run("late", 2 * DAY) == "Success"
    assert shop.item()["payment_id"] != theirs
    assert shop.client.v1.payment_intents.retrieve(theirs).status == before


def test_a_payment_of_an_earlier_version_is_found_after_a_restore(shop: Shop) -> None:
    """A paid payment without a deployment was made by an earlier version: after a restore of the ledger, the payment is
    found, and the customer is not charged again."""
    assert shop.run("first") == "Success"
    paid = shop.item()["payment_id"]
    shop.client.v1.payment_intents.update(paid, {"metadata": {"deployment": ""}})
    row = shop.world.row() | {"renewal_date": shop.item()["renewal_date"]}
    shop.world.dynamodb.items("renewals").clear()
    shop.world.edit(**row)
    assert shop.run("restored", 2 * DAY) == "Success"
    assert (shop.item()["payment_id"], len(shop.charges())) == (paid, 1)


def test_a_charge_of_a_saved_card_says_that_it_recurs(shop: Shop) -> None:
    """Every confirmation tells the card networks that the charge of the saved card is recurring."""
    shop.run("first")
    intent = shop.client.v1.payment_intents.retrieve(shop.item()["payment_id"])
    assert intent.payment_method_options is not None
    assert intent.payment_method_options.card is not None
    assert intent.payment_method_options.card.stored_credential_usage == "recurring"


def _asked() -> Any:
    from renewals.domain.request import RenewalRequest

    return RenewalRequest("sub_1", "cus_1", Decimal("29.99"))


def _ask(shop: Shop, asks: Asks, **more: str) -> dict[str, Any]:
    asked = {"subscription_id": "sub_1", "customer_id": "cus_1"} | more
    return shop.world.ask(CustomerRequest(asks=asks, **asked), shop.now)


def _challenge(shop: Shop) -> str:
    """Return the address of the bank's page to which the customer is sent."""
    return str(_ask(shop, Asks.CONFIRM_ON_SESSION, return_url=ACCOUNT)["url"])


def test_a_declined_customer_saves_a_new_card_at_the_gateways_page(shop: Shop) -> None:
    """A customer whose card was declined saves a new card at the gateway's page: the card is set, pays the past due
    period at once, and pays once, although the customer comes back twice."""
    shop.sandbox.sandbox.change_card(shop.world.row()["payment_method"], "pm_card_chargeDeclinedInsufficientFunds")
    assert shop.run("first") == "PaymentDeclined"
    page = str(_ask(shop, Asks.OPEN_CARD_PAGE, return_url=ACCOUNT)["url"])
    session = visit(page, "save", card="pm_card_mastercard").to.rpartition("session=")[2]
    outcomes = [_ask(shop, Asks.TAKE_CARD, session=session)["outcome"] for _ in range(2)]
    assert outcomes == ["card_taken", "nothing_to_do"]
    assert shop.run("queue", timedelta(seconds=1)) == "Success"
    assert (shop.item()["status"], shop.item()["card"], len(shop.charges())) == ("done", "Mastercard ending in 4444", 1)


@pytest.mark.parametrize("refusals", [0, 2])
def test_a_customer_confirms_at_the_banks_page(shop: Shop, refusals: int) -> None:
    """A payment that asks for the customer is confirmed at the bank's page, also after the customer has refused there:
    one payment, charged once, receipted once."""
    shop.sandbox.sandbox.change_card(shop.world.row()["payment_method"], "pm_card_authenticationRequired")
    assert shop.run("first") == "PaymentDeclined"

    for _ in range(refusals):
        assert "redirect_status=failed" in visit(_challenge(shop), "refuse").to
        assert shop.run("asked", timedelta(seconds=1)) == "PaymentDeclined"
    assert _challenge(shop) == _challenge(shop), "an open challenge goes on"
    assert "redirect_status=succeeded" in visit(_challenge(shop), "accept").to
    assert _ask(shop, Asks.CONFIRM_ON_SESSION, return_url="https://shop.example")["reason"] == "paid_already"
    assert shop.run("queue", timedelta(seconds=1)) == "Success"
    assert (shop.item()["status"], len(shop.charges())) == ("done", 1)
    assert len(shop.client.v1.payment_intents.list().data) == 1


def test_a_customer_who_refused_too_often_at_the_bank_can_confirm_a_further_payment(shop: Shop) -> None:
    """After too many refusals at the bank's page, the gateway cancels the payment by itself. The customer is told that
    nothing is to be confirmed; the next dunning date asks again, with a second payment, which is charged once."""
    shop.sandbox.sandbox.change_card(shop.world.row()["payment_method"], "pm_card_authenticationRequired")
    assert shop.run("first") == "PaymentDeclined"
    for n in range(9):
        visit(_challenge(shop), "refuse")
        shop.run(f"event-{n}", timedelta(seconds=1))
    (first,) = shop.client.v1.payment_intents.list().data
    assert (first.status, first.cancellation_reason) == ("canceled", "automatic")
    assert _ask(shop, Asks.CONFIRM_ON_SESSION, return_url=ACCOUNT)["reason"] == "nothing_to_confirm"
    for n in range(3):
        shop.run(f"dunned-{n}", DAY)
    assert shop.item()["status"] == "action_required"
    assert "redirect_status=succeeded" in visit(_challenge(shop), "accept").to
    assert shop.run("queue", timedelta(seconds=1)) == "Success"
    assert (shop.item()["status"], shop.world.row()["status"], len(shop.charges())) == ("done", "active", 1)
    assert shop.charges()[0]["payment_intent"] != first.id


def test_a_challenge_whose_time_is_over_is_begun_anew(shop: Shop) -> None:
    """The bank's page asks for an hour. Afterwards the customer gets a page that asks, and pays once."""
    shop.sandbox.sandbox.change_card(shop.world.row()["payment_method"], "pm_card_authenticationRequired")
    shop.run("first")
    over = _challenge(shop)
    shop.run("later", timedelta(hours=1, seconds=1))
    assert visit(over, "accept").to == ""
    assert "redirect_status=succeeded" in visit(_challenge(shop), "accept").to
    assert shop.run("queue", timedelta(seconds=1)) == "Success"
    assert (shop.item()["status"], len(shop.charges())) == ("done", 1)


def test_an_abandoned_challenge_a_new_card_and_the_last_day(shop: Shop) -> None:
    """A customer abandons the bank's page, and later gives a card that the bank declines: the dunning runs to its end,
    the payment is canceled, and the abandoned page takes no answer."""
    shop.sandbox.sandbox.change_card(shop.world.row()["payment_method"], "pm_card_authenticationRequired")
    shop.run("first")
    url = _challenge(shop)
    visit(url, "abandon")
    shop.world.edit(payment_method=shop.card("chargeCustomerFail"))
    shop.run("new card", MINUTES)
    assert visit(url, "accept").to == ""
    for n in range(9):
        shop.run(f"dunned-{n}", DAY)
    assert (shop.world.row()["status"], shop.charges()) == ("canceled", [])
    assert visit(url, "accept").to == ""
