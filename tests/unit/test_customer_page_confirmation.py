"""A customer confirms a payment at the bank's page."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from renewals.domain.payment import PaymentState
from renewals.ledger import account_links
from renewals.ledger.account_links import Account, Power, Purpose
from tests.fakes import LATER, NOON, World
from tests.visitor import DAY, Page, Visitor


def _asked_to_confirm(visitor: Visitor, shop: World) -> Page:
    """Sign in after the bank has asked for a confirmation, and press the button; return the answer."""
    shop.edit(renewal_date="2026-01-31", payment_method="pm_3ds")
    shop.run()
    visitor.now = NOON + LATER
    page = visitor.sign_in()
    assert "Your bank asks you to confirm your last payment." in page.text
    return visitor.post("confirm", {"form": page.fields["form"]})


def test_a_payment_is_confirmed_at_the_bank_and_recorded_by_the_workflow(
    visitor: Visitor, shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The button leads to the bank's page. On the way back the workflow asks the gateway: what the browser brings back
    is not believed, and the payment is charged once."""
    monkeypatch.setenv("PAYMENT_GATEWAY_ENDPOINT", "https://bank.example")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Page, "__init__", _unchecked)
        opened = _asked_to_confirm(visitor, shop)
        assert opened.status == 303
        assert opened.header("Location").startswith("https://bank.example/")
        token = account_links.token(
            "a key", Purpose.RETURN, Account.of_row(shop.row()), Power.FULL, visitor.now + timedelta(hours=1)
        )
        back = visitor.get(f"confirm/{token}?redirect_status=succeeded&payment_intent=pi_else")
        assert "We are asking the bank about your payment. If the payment went through, you get a receipt" in back.text
        [queued] = visitor.queued
        work = {name: queued[name] for name in ("amount", "renewal_date")}
        shop.execute(work, "run-2", NOON + 2 * LATER)
        assert shop.gateway.charges == []
        assert shop.gateway.at_the_bank(opened.header("Location"))
        for n in (3, 4):
            shop.execute(work, f"run-{n}", NOON + n * LATER)
        assert (shop.row()["status"], len(shop.gateway.charges)) == ("active", 1)
        assert visitor.get(f"confirm/{token}").text.startswith("Example Shop No payment waits for you")
        assert visitor.get(f"confirm/{token}x").status == 404


def test_the_bank_is_asked_for_a_confirmation_five_times_a_day(
    visitor: Visitor, shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever presses the button and refuses at the bank's page, again and again, causes five questions of the bank a
    day; the sixth press asks nobody, and the next day has five again."""
    monkeypatch.setenv("PAYMENT_GATEWAY_ENDPOINT", "https://bank.example")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Page, "__init__", _unchecked)
        opened = [_asked_to_confirm(visitor, shop)]
        form = {"form": account_links.form_token("a key", visitor.session)}
        for _ in range(4):
            assert shop.gateway.at_the_bank(opened[-1].header("Location"), accepts=False)
            visitor.now += timedelta(seconds=1)
            opened.append(visitor.post("confirm", form))
        assert [page.status for page in opened] == [303] * 5
        visitor.trouble = AssertionError("the bank is asked beyond the limit")
        refused = visitor.post("confirm", form)
        assert (refused.status, "five times a day" in refused.text) == (429, True)
        visitor.trouble, visitor.now = None, visitor.now + DAY
        visitor.sign_in()
        visitor.post("confirm", {"form": account_links.form_token("a key", visitor.session)})
        assert shop.row()["confirmations"] == "2026-02-01/1"


def test_a_payment_that_the_bank_may_have_made_is_not_called_uncollected(
    visitor: Visitor, shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A customer who has just confirmed the payment at the bank opens the page for a cancellation: the page says that
    a payment that the bank has made is receipted. A form of a page from before says that the payment is not collected,
    and cancels nothing."""
    monkeypatch.setenv("PAYMENT_GATEWAY_ENDPOINT", "https://bank.example")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Page, "__init__", _unchecked)
        shop.edit(renewal_date="2026-01-31", payment_method="pm_3ds")
        shop.run()
        visitor.sign_in()
        before = visitor.get("cancel")
        assert "The open payment of $29.99 is not collected" in before.text
        opened = visitor.post("confirm", {"form": before.fields["form"]})
        assert shop.gateway.at_the_bank(opened.header("Location"))
        asked = visitor.get("cancel")
        assert "If your bank has made the payment by now, you get a receipt by mail." in asked.text
        assert "not collected" not in asked.text
        assert visitor.post("cancel", before.fields).status == 409
        assert visitor.post("cancel", asked.fields).status == 303


def test_a_customer_who_never_answered_the_bank_reads_what_a_cancellation_does(visitor: Visitor, shop: World) -> None:
    """A customer was sent to the bank's page two days ago, and gave no answer. The page for a cancellation says that
    the bank has asked for a confirmation, and not that a payment is being settled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAYMENT_GATEWAY_ENDPOINT", "https://bank.example")
        patch.setattr(Page, "__init__", _unchecked)
        assert _asked_to_confirm(visitor, shop).status == 303
    visitor.now += 2 * DAY
    visitor.sign_in()
    asked = visitor.get("cancel")
    assert "Your bank has asked you to confirm a payment of $29.99" in asked.text
    assert "Otherwise we no longer collect the payment." in asked.text
    assert "settled" not in asked.text
    assert visitor.post("cancel", asked.fields).status == 303
    [queued] = visitor.queued
    shop.execute({name: queued[name] for name in ("amount", "renewal_date")}, "given up", visitor.now + LATER)
    assert (shop.row()["status"], shop.gateway.charges) == ("canceled", [])


def test_a_payment_that_the_gateway_has_canceled_is_no_longer_asked_for(visitor: Visitor, shop: World) -> None:
    """The gateway has canceled the payment that the customer should confirm, and its event has not come. The customer
    presses the button, and reads that nothing can be confirmed; the overview then says so, too, and offers another
    card."""
    shop.edit(renewal_date="2026-01-31", payment_method="pm_3ds")
    shop.run()
    visitor.now = NOON + LATER
    page = visitor.sign_in()
    payment = shop.gateway.payments["pi_1"]
    shop.gateway.payments["pi_1"] = replace(payment, state=PaymentState.CANCELED, lapsed=True)
    assert "No payment waits for you" in visitor.post("confirm", page.fields).text
    page = visitor.get("overview")
    assert "Past due. We could not collect your last payment." in page.text
    assert "bank asks" not in page.text
    assert 'action="confirm"' not in page.html
    assert 'action="new-card"' in page.html
    assert "being settled" not in visitor.get("cancel").text
    assert "The open payment of $29.99 is not collected" in visitor.get("cancel").text


def test_a_card_that_waits_is_not_said_to_be_tried_by_the_button_of_an_old_page(visitor: Visitor, shop: World) -> None:
    """The payment has had so many attempts that a new card waits for the next dunning date. The customer saves a new
    card, and then presses the button in a tab from before: the answer says that the card is saved, and not that the
    payment is being collected. With few attempts, the answer says so."""
    shop.edit(renewal_date="2026-01-31", payment_method="pm_3ds")
    for n in range(12):
        shop.run(f"card-{n}", NOON + n * LATER)
        visitor.now = NOON + n * LATER
        page = visitor.sign_in() if n in (0, 11) else None
        shop.edit(payment_method=f"pm_3ds_{n}")
        if page is not None:
            said = visitor.post("confirm", {"form": page.fields["form"]}).text
            assert ("trying to collect" in said) is (n == 0)
            assert "We charge this card from now on" in said
    shop.run("waits", visitor.now + LATER)
    assert len(shop.gateway.attempts) == 11


def _unchecked(page: Page, reply: dict[str, Any]) -> None:
    page.status, page.headers, page.html = reply["statusCode"], reply["multiValueHeaders"], reply["body"]


def test_there_is_nothing_to_confirm_without_a_refused_payment(visitor: Visitor, shop: World) -> None:
    """An active subscription offers no confirmation, and a made-up form opens no page of a bank."""
    page = visitor.sign_in()
    assert 'action="confirm"' not in page.html
    form = account_links.form_token("a key", visitor.session)
    assert "No payment waits for you" in visitor.post("confirm", {"form": form}).text
    assert visitor.post("confirm", {"form": "x"}).status == 409
