"""Refunds: never twice for one request, never more than was paid, and each told once."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from renewal_sweep.sweep import unfinished_seconds
from renewals.currencies import exact_minor_units
from renewals.errors import BadRow
from subscriptions_api import refunding
from tests.fake_aws import error
from tests.fakes import LATER, NOON, Cut
from tests.unit.test_mail_feedback import bounce
from tests.unit.test_receipt_pdf import text_of
from tests.unit.test_subscriptions_api import Api, Reply, api

__all__ = ["api"]
DAY = timedelta(days=1)
PERIOD = "2026-01-31"


@pytest.fixture
def paid(api: Api, monkeypatch: pytest.MonkeyPatch) -> Api:
    """29.99 USD were paid, and the receipt was mailed."""
    monkeypatch.setenv("PROJECT_NAME", "shop")
    monkeypatch.setattr(refunding, "_gateway", lambda: api.shop.gateway)
    api.shop.subscribe(test_clock="2026-02-10")
    api.shop.run()
    return api


def _refund(api: Api, amount: str | None = None, key: str = "k-1", currency: str = "USD", **more: Any) -> Reply:
    body: dict[str, Any] = {"renewal_date": PERIOD}
    if amount is not None:
        body["amount"] = {"amount": amount, "currency": currency}
    return api("POST", "/subscriptions/sub_1/refund", body | more, Idempotency_Key=key)


def _given(api: Api) -> list[int]:
    return [amount for _, amount in api.shop.gateway.refunds.values()]


def test_all_of_it(paid: Api) -> None:
    """Without an amount all is given back: gateway, ledger, receipt, mail and timeline say the same."""
    reply = _refund(paid)
    assert reply.status == 201
    assert reply.body["amount"] == {"amount": "29.99", "currency": "USD"}
    assert reply.body["left"] == {"amount": "0.00", "currency": "USD"}
    assert _given(paid) == [2999]
    assert [work["renewal_date"] for work in paid.started] == [PERIOD]
    assert paid.shop.run("run-2", NOON + LATER) == "Success"
    mail = paid.shop.mails()[-1]
    (pdf,) = [part.get_content() for part in mail.iter_attachments()]
    assert mail["Subject"] == "Refund for Pro: 29.99 USD"
    plain = mail.get_body(("plain",))
    assert plain is not None
    assert "We have given back 29.99 USD for Pro" in plain.get_content().replace("\n", " ")
    words = text_of(pdf)
    for word in ("Refund", "REFUNDED", "29.99 USD", "re_1", f"{reply.body['refund_number']}"):
        assert word in words
    assert "PAID" not in words
    texts = [entry["text"] for entry in paid("GET", "/subscriptions/sub_1/timeline").body["items"]]
    assert "29.99 USD were given back (transaction re_1)." in texts
    assert "Mailed the receipt of the refund to a***@c***.example." in texts
    assert any(text.startswith("ann asked for a refund: amount set to 29.99") for text in texts)
    (period,) = paid("GET", "/subscriptions/sub_1/renewals").body["items"]
    assert (period["status"], period["refunded"]["amount"]) == ("done", "29.99")


def test_in_parts_and_never_more_than_was_paid(paid: Api) -> None:
    """Parts add up to what was paid; one that would go beyond is refused, and so is one when nothing is left."""
    assert _refund(paid, "10.00", "k-1").body["left"]["amount"] == "19.99"
    paid.shop.run("run-2", NOON + LATER)
    refused = _refund(paid, "20.00", "k-2")
    assert (refused.status, refused.body["detail"]) == (409, "Of this period 19.99 USD are left to be given back.")
    assert _refund(paid, None, "k-3").body["left"]["amount"] == "0.00"
    paid.shop.run("run-3", NOON + LATER)
    assert _refund(paid, "0.01", "k-4").status == 409
    assert _given(paid) == [1000, 1999]
    assert paid.shop.mail_kinds() == ["receipt", "refunded", "refunded"]
    assert len(paid.shop.receipts()) == 3


def test_a_small_part_has_no_minimum(paid: Api) -> None:
    """A cent can be given back, though it could not be charged."""
    assert _refund(paid, "0.01").status == 201


@pytest.mark.parametrize("days", [0, 3])
def test_the_same_request_is_one_refund(paid: Api, days: int) -> None:
    """It comes again, days later too, and is answered the same; nothing more is given back, nobody told again."""
    first = _refund(paid, "10.00")
    paid.shop.run("run-2", NOON + LATER)
    again = _refund(paid, "10.00")
    paid.shop.run("run-3", NOON + LATER + days * DAY)
    assert (again.status, again.body) == (201, first.body)
    assert _given(paid) == [1000]
    assert paid.shop.mail_kinds() == ["receipt", "refunded"]


def test_another_request_under_its_key_is_refused(paid: Api) -> None:
    """A key says one thing."""
    assert _refund(paid, "10.00").status == 201
    assert _refund(paid, "11.00").status == 422
    assert paid("POST", "/subscriptions/sub_1/pause", Idempotency_Key="k-1").status == 422
    assert _given(paid) == [1000]


@pytest.mark.parametrize("at", range(12))
def test_cut_off_anywhere_it_is_one_refund(paid: Api, at: int) -> None:
    """The process ends before or after any of its calls; the request comes again under its key, and is one refund."""
    cuts = paid.shop.cuts
    cuts.calls.clear()
    cuts.at = at
    try:
        _refund(paid, "10.00")
    except Cut:
        reply = _refund(paid, "10.00")
        assert (reply.status, reply.body["left"]["amount"]) == (201, "19.99")
    assert cuts.at is None, "it was cut"
    paid.shop.run("run-2", NOON + LATER)
    assert _given(paid) == [1000]
    assert paid.shop.mail_kinds() == ["receipt", "refunded"]


@pytest.mark.parametrize("trouble", ["before", "after"])
def test_without_a_clear_answer_it_is_asked_again(paid: Api, trouble: str) -> None:
    """The gateway hangs up before or after it gave the money back: try again, and another refund waits meanwhile."""
    paid.shop.gateway.trouble.append(("refund", trouble))
    assert _refund(paid, "10.00").status == 503
    assert _refund(paid, "5.00", "k-2").status == 409
    assert _refund(paid, "10.00").status == 201
    assert _given(paid) == [1000]


def test_what_the_gateway_cannot_give_back_is_said(paid: Api) -> None:
    """A failed refund is told as such, owes no mail, and leaves the amount to be given back."""
    paid.shop.gateway.refunds_fail = True
    for _ in range(2):
        assert _refund(paid, "10.00").status == 409
    paid.shop.gateway.refunds_fail = False
    paid.shop.gateway.refunds.clear()
    assert _refund(paid, None, "k-2").body["amount"]["amount"] == "29.99"
    texts = [entry["text"] for entry in paid("GET", "/subscriptions/sub_1/timeline").body["items"]]
    assert "10.00 USD could not be given back: the gateway says that it failed." in texts


def test_what_cannot_be_refunded(paid: Api) -> None:
    """Not paid, not there, another currency, while its receipt is on the way, and without a key."""
    assert _refund(paid, "10.00", currency="EUR").status == 409
    assert _refund(paid, renewal_date="2026-02-28").status == 404
    assert _refund(paid, "10.001").status == 400
    body = {"renewal_date": PERIOD}
    assert paid("POST", "/subscriptions/sub_1/refund", body).faults == ["header.idempotency-key"]
    paid.shop.edit(renewal_date="2026-02-28", payment_method="pm_declined")
    paid.shop.run("run-2", NOON + 28 * DAY)
    assert _refund(paid, renewal_date="2026-02-28").status in (404, 409)
    assert _given(paid) == []


def test_two_refunds_are_told_one_after_the_other(paid: Api) -> None:
    """While the first one's receipt is on its way a second one waits, so that none goes untold."""
    assert _refund(paid, "10.00", "k-1").status == 201
    assert _refund(paid, "5.00", "k-2").status == 409
    paid.shop.run("run-2", NOON + LATER)
    assert _refund(paid, "5.00", "k-2").status == 201
    paid.shop.run("run-3", NOON + LATER)
    assert [str(mail["Subject"]) for mail in paid.shop.mails()[1:]] == [
        "Refund for Pro: 10.00 USD",
        "Refund for Pro: 5.00 USD",
    ]


def test_a_refund_that_was_not_told_is_taken_up(paid: Api) -> None:
    """Where the workflow was never started, the item stands in the index of what is unfinished, until it is told."""
    paid.trouble = error("ServiceUnavailable", "StartExecution", 503)
    assert _refund(paid, "10.00").status == 201
    assert "unfinished" in paid.shop.items()[PERIOD]
    paid.shop.run("run-2", NOON + DAY, period=PERIOD)
    assert "unfinished" not in paid.shop.items()[PERIOD]
    assert paid.shop.mail_kinds() == ["receipt", "refunded"]


def test_a_mail_of_a_refund_that_cannot_be_sent_is_parked(paid: Api) -> None:
    """To an address at fault nothing is sent, and a corrected one gets it."""
    paid.shop.edit(customer_email="nobody")
    _refund(paid, "10.00")
    assert paid.shop.run("run-2", NOON + LATER) == "EmailFailed"
    paid.shop.edit(customer_email="new@customer.example")
    assert paid.shop.run("run-3", NOON + LATER) == "Success"
    assert paid.shop.mails()[-1]["To"] == "Ann Lee <new@customer.example>"


@pytest.mark.parametrize("corrected", [False, True])
def test_a_mail_that_came_back_does_not_hold_up_another_refund(paid: Api, corrected: bool) -> None:
    """The second refund is made, and told once there is an address; the first stands as returned, owed no more."""
    shop = paid.shop
    assert _refund(paid, "10.00", "k-1").status == 201
    shop.run("run-2", NOON + LATER)
    bounce(shop)
    if corrected:
        shop.edit(customer_email="new@customer.example")
    assert _refund(paid, "5.00", "k-2").status == 201
    shop.run("run-3", NOON + 2 * LATER)
    assert len(shop.mails()) == 2 + corrected
    shop.edit(customer_email="new@customer.example")
    for n in range(2):
        shop.run(f"run-{4 + n}", NOON + (3 + n) * LATER)
    assert [(mail["Subject"], mail["To"]) for mail in shop.mails()[2:]] == [
        ("Refund for Pro: 5.00 USD", "Ann Lee <new@customer.example>")
    ]
    assert _given(paid) == [1000, 500]
    assert {"notice", "unfinished", "parked"}.isdisjoint(shop.items()[PERIOD])
    texts = [entry["text"] for entry in paid("GET", "/subscriptions/sub_1/timeline").body["items"]]
    assert any("about the receipt of the refund came back" in text for text in texts)


def test_a_mail_to_the_corrected_address_is_not_overtaken_by_another_refund(paid: Api) -> None:
    """While the first one's mail is on its way there, the second waits."""
    shop = paid.shop
    assert _refund(paid, "10.00", "k-1").status == 201
    shop.run("run-2", NOON + LATER)
    bounce(shop)
    shop.edit(customer_email="new@customer.example")
    shop.ses.trouble = [Cut("in the middle of its sending")]
    shop.run("run-3", NOON + 2 * LATER)
    assert _refund(paid, "5.00", "k-2").status == 409
    assert _given(paid) == [1000]


def test_an_execution_of_one_refund_tells_of_no_later_one(paid: Api) -> None:
    """The second is made between the first one's receipt and its mail, at an address that was just corrected: it waits
    for its own receipt."""
    shop = paid.shop
    assert _refund(paid, "10.00", "k-1").status == 201
    shop.run("run-2", NOON + LATER)
    bounce(shop)
    shop.edit(customer_email="new@customer.example")
    assert _refund(paid, "5.00", "k-2").status == 201
    delivered = shop.delivery("run-3", NOON + 2 * LATER).deliver("sub_1", "cus_1", PERIOD, "refunded", 1)
    assert (delivered, len(shop.mails())) == ("in_progress", 2)
    shop.run("run-4", NOON + 3 * LATER)
    assert shop.mails()[-1]["Subject"] == "Refund for Pro: 5.00 USD"


def test_a_refund_and_then_its_receipt_that_come_back_are_parked(paid: Api) -> None:
    """In this order too nobody looks for them until the address changes; then both go out, each once."""
    shop = paid.shop
    assert _refund(paid, "10.00", "k-1").status == 201
    shop.run("run-2", NOON + LATER)
    bounce(shop, 1)
    bounce(shop, 0)
    assert (shop.items()[PERIOD]["status"], "unfinished" in shop.items()[PERIOD]) == ("mail_failed", False)
    shop.edit(customer_email="new@customer.example")
    for n in range(3):
        shop.run(f"run-{3 + n}", NOON + (2 + n) * LATER)
    assert [mail["Subject"] for mail in shop.mails()[2:]] == ["Refund for Pro: 10.00 USD", shop.mails()[0]["Subject"]]
    assert {"notice", "unfinished", "parked"}.isdisjoint(shop.items()[PERIOD])


def test_a_refund_of_a_bad_amount_is_named() -> None:
    """What would need rounding is refused whatever asks for it."""
    with pytest.raises(BadRow):
        exact_minor_units(Decimal("0.001"), "USD")


def test_a_mail_that_waited_for_an_address_is_no_old_work(paid: Api) -> None:
    """Ten days later it is corrected, and SES throttles: the alarm on the oldest unfinished counts from then."""
    shop, later = paid.shop, NOON + 10 * DAY
    assert _refund(paid, "10.00").status == 201
    shop.run("run-2", NOON + LATER)
    bounce(shop)
    shop.edit(customer_email="new@customer.example")
    shop.ses.trouble = [error("Throttling", "SendRawEmail", 400)]
    assert shop.run("run-3", later) == "EmailFailed"
    assert unfinished_seconds(shop.items()[PERIOD], later) == 0


def test_a_receipt_that_is_sent_again_goes_out_though_a_refunds_mail_comes_back(paid: Api) -> None:
    """Its own mail comes first; the refund's waits for another address."""
    shop = paid.shop
    shop.items()[PERIOD] |= {"status": "mail_unknown"}
    shop.items()[PERIOD]["mails"]["receipt_1"]["state"] = "unknown"
    assert _refund(paid, "10.00").status == 201
    shop.run("run-2", NOON + LATER)
    renewal = shop.ledger.get("sub_1", PERIOD)
    assert renewal is not None
    shop.mail_ledger.reopen_mail(renewal, [], NOON + LATER)
    bounce(shop, 1)
    assert "unfinished" in shop.items()[PERIOD]
    del shop.row()["mail_fault"]
    shop.run("run-3", NOON + DAY, period=PERIOD)
    assert (shop.items()[PERIOD]["status"], "unfinished" in shop.items()[PERIOD]) == ("done", False)
    first, refund, again = (mail["Subject"] for mail in shop.mails())
    assert (again == first, refund) == (True, "Refund for Pro: 10.00 USD")


def test_a_refund_that_is_recorded_while_the_receipt_is_mailed_is_told_of(paid: Api) -> None:
    """The receipt's mail ends the renewal, and the refund is looked for still: its own execution may be lost."""
    shop = paid.shop
    bounce(shop)
    shop.edit(customer_email="new@customer.example")
    shop.gateway.trouble.append(("refund", "after"))
    assert _refund(paid, "10.00").status == 503
    send = shop.ses.send_raw_email

    def refunded_meanwhile(**mail: Any) -> Any:
        shop.ses.send_raw_email = send  # type: ignore[method-assign]
        assert _refund(paid, "10.00").status == 201
        return send(**mail)

    shop.ses.send_raw_email = refunded_meanwhile  # type: ignore[method-assign]
    shop.run("run-2", NOON + 2 * LATER)
    item = shop.items()[PERIOD]
    assert (item["status"], item["notice"], "unfinished" in item) == ("done", "refunded_1", True)
