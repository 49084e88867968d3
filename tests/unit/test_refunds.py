"""Refunds: a request is refunded once, never beyond the amount paid, and the customer is told of every outcome once."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from itertools import count
from types import SimpleNamespace
from typing import Any, cast

import pytest

import receipt_links.app
from renewal_sweep.needs import unfinished_seconds
from renewal_sweep.parts import PartKind, SweepPart
from renewal_sweep.sweep import Sweep
from renewals.domain.currencies import exact_minor_units
from renewals.domain.errors import BadRow
from renewals.domain.payment import GatewayRefundState
from renewals.domain.refunds import waiting
from renewals.domain.reminder_rules import Rules
from renewals.domain.renewal_items import INDEX_SHARDS
from renewals.domain.request import Asks, RenewalRequest
from renewals.gateway.port import GatewayUnavailable
from renewals.ledger import mail_steps
from renewals.runtime import aws, clock, telemetry
from renewals.runtime.clock import Moment
from subscriptions_api import receipts
from tests.fake_aws import error
from tests.fakes import LATER, LINKS, NOON, Cut
from tests.unit.test_mail_feedback import bounce
from tests.unit.test_receipt_pdf import text_of
from tests.unit.test_subscriptions_api import Api, Reply, api

__all__ = ["api"]
DAY = timedelta(days=1)
ASKED_AT = datetime.combine(datetime.now(UTC).date(), time(12, 1), UTC)
"""The moment of the first request, a minute after the time of day of the payment; each look at the clock is a moment
later. So the order of events is the same at every hour at which the tests run."""
PERIOD = "2026-01-31"
RECEIPTS = "/subscriptions/sub_1/receipts"
LINKS_BEGIN = LINKS.removesuffix("/receipts")

type Counted = Callable[[str], float]


@pytest.fixture
def paid(api: Api, monkeypatch: pytest.MonkeyPatch) -> Api:
    """A shop where 29.99 USD were paid and the receipt was mailed."""
    monkeypatch.setenv("PROJECT_NAME", "shop")
    monkeypatch.setattr(receipts, "_link_key", lambda: SimpleNamespace(value=lambda: "key"))
    monkeypatch.setenv("RECEIPT_LINKS_URL", LINKS)
    ticks = count()

    def current(test_clock: object = None) -> Moment:
        return clock.moment(ASKED_AT + next(ticks) * timedelta(milliseconds=1), "dev", api.shop.zone, test_clock)

    monkeypatch.setattr(clock, "current", current)
    api.shop.environment = "dev"
    api.shop.subscribe(test_clock="2026-02-10")
    api.shop.run()
    return api


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """Return how often a metric was counted."""
    counts: dict[str, float] = {}

    def count(name: str, number: float = 1, **_more: Any) -> None:
        counts[name] = counts.get(name, 0) + number

    monkeypatch.setattr(telemetry, "count", count)
    return lambda name: counts.get(name, 0)


def _refund(api: Api, amount: str | None = None, key: str = "k-1", currency: str = "USD", **more: Any) -> Reply:
    body: dict[str, Any] = {"renewal_date": PERIOD}
    if amount is not None:
        body["amount"] = {"amount": amount, "currency": currency}
    return api("POST", "/subscriptions/sub_1/refund", body | more, Idempotency_Key=key)


def _given(api: Api) -> list[int]:
    return [each.amount for each in api.shop.gateway.refunds.values() if each.state is not GatewayRefundState.FAILED]


def test_all_of_it(paid: Api) -> None:
    """A request without an amount refunds everything, and gateway, ledger, receipt, mail and timeline all say so."""
    reply = _refund(paid)
    assert reply.status == 201
    assert reply.body["amount"] == {"amount": "29.99", "currency": "USD"}
    assert reply.body["left"] == {"amount": "0.00", "currency": "USD"}
    assert _given(paid) == [2999]
    assert [work["renewal_date"] for work in paid.started] == [PERIOD]
    assert paid.shop.run("run-2", NOON + LATER) == "Success"
    mail = paid.shop.mails()[-1]
    (pdf,) = [part.get_content() for part in mail.iter_attachments()]
    assert mail["Subject"] == "Refund for Pro: $29.99"
    plain = mail.get_body(("plain",))
    assert plain is not None
    assert "We have refunded $29.99 for Pro" in plain.get_content().replace("\n", " ")
    words = text_of(pdf)
    for word in ("Refund", "REFUNDED", "29.99 USD", "re_1", f"{reply.body['refund_number']}"):
        assert word in words
    assert "PAID" not in words
    texts = [entry["text"] for entry in paid("GET", "/subscriptions/sub_1/timeline").body["items"]]
    assert "29.99 USD were refunded to the customer by ann (transaction re_1)." in texts
    assert "Mailed the receipt of the refund to a***@c***.example." in texts
    assert "ann asked for a refund of 29.99 USD, of the period from 31 January 2026 on." in texts
    (period,) = paid("GET", "/subscriptions/sub_1/renewals").body["items"]
    assert (period["status"], period["refunded"]["amount"]) == ("done", "29.99")


def test_an_account_that_is_turned_away_gives_nothing_back_yet(paid: Api) -> None:
    """While the gateway turns the account away, a refund stays claimed and is not marked as failed; the repeated
    request makes the refund once the account is in order."""
    paid.shop.gateway.turned_away.add("refund")
    assert _refund(paid).status == 503
    assert paid.shop.items()[PERIOD]["refunds"]["refund_1"]["state"] == "claimed"
    paid.shop.gateway.turned_away.clear()
    assert _refund(paid).status == 201
    assert _given(paid) == [2999]


def test_in_parts_and_never_more_than_was_paid(paid: Api) -> None:
    """Partial refunds add up to the amount paid at most: a request for more than is left is refused, and so is any
    request after everything was refunded."""
    assert _refund(paid, "10.00", "k-1").body["left"]["amount"] == "19.99"
    paid.shop.run("run-2", NOON + LATER)
    refused = _refund(paid, "20.00", "k-2")
    assert (refused.status, refused.body["detail"]) == (409, "At most 19.99 USD of this period can be refunded.")
    assert _refund(paid, None, "k-3").body["left"]["amount"] == "0.00"
    paid.shop.run("run-3", NOON + LATER)
    assert _refund(paid, "0.01", "k-4").status == 409
    assert _given(paid) == [1000, 1999]
    assert paid.shop.mail_kinds() == ["receipt", "refunded", "refunded"]
    assert len(paid.shop.receipts()) == 3


def test_a_small_part_has_no_minimum(paid: Api) -> None:
    """A single cent can be refunded, though a cent is too little for a charge."""
    assert _refund(paid, "0.01").status == 201


@pytest.mark.parametrize("days", [0, 3])
def test_the_same_request_is_one_refund(paid: Api, days: int) -> None:
    """A request sent again, days later too, gets the first answer: nothing more is refunded, and nobody is told
    again."""
    first = _refund(paid, "10.00")
    paid.shop.run("run-2", NOON + LATER)
    again = _refund(paid, "10.00")
    paid.shop.run("run-3", NOON + LATER + days * DAY)
    assert (again.status, again.body) == (201, first.body)
    assert _given(paid) == [1000]
    assert paid.shop.mail_kinds() == ["receipt", "refunded"]


def test_another_request_under_its_key_is_refused(paid: Api) -> None:
    """A different request under a used idempotency key is refused with 422."""
    assert _refund(paid, "10.00").status == 201
    assert _refund(paid, "11.00").status == 422
    assert paid("POST", "/subscriptions/sub_1/pause", Idempotency_Key="k-1").status == 422
    assert _given(paid) == [1000]


@pytest.mark.parametrize("at", range(18))
def test_cut_off_anywhere_it_is_one_refund(paid: Api, at: int) -> None:
    """The process ends before or after any of its calls, and the request is sent again under its idempotency key: a
    single refund is made."""
    cuts = paid.shop.cuts
    cuts.calls.clear()
    cuts.at = at
    try:
        _refund(paid, "10.00")
    except Cut:
        reply = _refund(paid, "10.00")
        assert (reply.status, reply.body["left"]["amount"]) == (201, "19.99")
    assert cuts.at is None, "the process was not cut"
    paid.shop.run("run-2", NOON + LATER)
    assert _given(paid) == [1000]
    assert paid.shop.mail_kinds() == ["receipt", "refunded"]


@pytest.mark.parametrize("trouble", ["before", "after"])
def test_without_a_clear_answer_it_is_asked_again(paid: Api, trouble: str) -> None:
    """The gateway hangs up before or after refunding: the caller is asked to try again, a second refund is refused
    meanwhile, and the repeated request refunds once."""
    paid.shop.gateway.trouble.append(("refund", trouble))
    assert _refund(paid, "10.00").status == 503
    assert _refund(paid, "5.00", "k-2").status == 409
    assert _refund(paid, "10.00").status == 201
    assert _given(paid) == [1000]


def test_what_the_gateway_cannot_give_back_is_said(paid: Api) -> None:
    """The timeline tells of a failed refund and its reason; no mail is owed, and the amount can be refunded again."""
    paid.shop.gateway.refunds_begin = GatewayRefundState.FAILED
    for _ in range(2):
        assert _refund(paid, "10.00").status == 409
    paid.shop.gateway.refunds_begin = GatewayRefundState.SUCCEEDED
    assert _refund(paid, None, "k-2").body["amount"]["amount"] == "29.99"
    texts = [entry["text"] for entry in paid("GET", "/subscriptions/sub_1/timeline").body["items"]]
    failed = "The refund of 10.00 USD failed, and the customer did not get it: the customer's card has expired or was "
    assert f"{failed}canceled (transaction re_1)." in texts


def test_what_cannot_be_refunded(paid: Api) -> None:
    """A refund is refused in a wrong currency, for an unknown period, with too many decimals, without an idempotency
    key, and for a declined period."""
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
    """While the receipt of the first refund is on its way, a second refund is refused: the customer hears of every
    refund."""
    assert _refund(paid, "10.00", "k-1").status == 201
    assert _refund(paid, "5.00", "k-2").status == 409
    paid.shop.run("run-2", NOON + LATER)
    assert _refund(paid, "5.00", "k-2").status == 201
    paid.shop.run("run-3", NOON + LATER)
    assert [str(mail["Subject"]) for mail in paid.shop.mails()[1:]] == [
        "Refund for Pro: $10.00",
        "Refund for Pro: $5.00",
    ]


def test_a_refund_that_was_not_told_is_taken_up(paid: Api) -> None:
    """Where the workflow was never started, the item stays in the index of unfinished renewals until the customer is
    told."""
    paid.trouble = error("ServiceUnavailable", "StartExecution", 503)
    assert _refund(paid, "10.00").status == 201
    assert "unfinished" in paid.shop.items()[PERIOD]
    paid.shop.run("run-2", NOON + DAY, period=PERIOD)
    assert "unfinished" not in paid.shop.items()[PERIOD]
    assert paid.shop.mail_kinds() == ["receipt", "refunded"]


def test_a_mail_of_a_refund_that_cannot_be_sent_is_parked(paid: Api) -> None:
    """The mail about a refund is not sent to an invalid address, and goes out once the address is corrected."""
    paid.shop.edit(customer_email="nobody")
    _refund(paid, "10.00")
    assert paid.shop.run("run-2", NOON + LATER) == "EmailFailed"
    paid.shop.edit(customer_email="new@customer.example")
    assert paid.shop.run("run-3", NOON + LATER) == "Success"
    assert paid.shop.mails()[-1]["To"] == "Ann Lee <new@customer.example>"


@pytest.mark.parametrize("corrected", [False, True])
def test_a_mail_that_came_back_does_not_hold_up_another_refund(paid: Api, corrected: bool) -> None:
    """After the mail of a first refund came back, a second refund is made and told once the address works; the first
    mail stays returned and is owed no more."""
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
        ("Refund for Pro: $5.00", "Ann Lee <new@customer.example>")
    ]
    assert _given(paid) == [1000, 500]
    assert {"notice", "unfinished", "parked"}.isdisjoint(shop.items()[PERIOD])
    texts = [entry["text"] for entry in paid("GET", "/subscriptions/sub_1/timeline").body["items"]]
    assert any("with the receipt of the refund came back" in text for text in texts)


def test_a_mail_to_the_corrected_address_is_not_overtaken_by_another_refund(paid: Api) -> None:
    """While the first refund's mail is on its way to the corrected address, a second refund is refused."""
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
    """A second refund is made between the first refund's receipt and the first refund's mail, just after the address
    was corrected: the first refund's execution does not mail the second refund, whose mail waits for its own
    receipt."""
    shop = paid.shop
    assert _refund(paid, "10.00", "k-1").status == 201
    shop.run("run-2", NOON + LATER)
    bounce(shop)
    shop.edit(customer_email="new@customer.example")
    assert _refund(paid, "5.00", "k-2").status == 201
    delivered = shop.delivery("run-3", NOON + 2 * LATER).deliver("sub_1", "cus_1", PERIOD, "refunded", 1)
    assert (delivered, len(shop.mails())) == ("in_progress", 2)
    shop.run("run-4", NOON + 3 * LATER)
    assert shop.mails()[-1]["Subject"] == "Refund for Pro: $5.00"


def test_a_refund_and_then_its_receipt_that_come_back_are_parked(paid: Api) -> None:
    """The refund's mail comes back, and the receipt's mail after it: no sweep looks for the period until the address
    changes, and then both mails go out once."""
    shop = paid.shop
    assert _refund(paid, "10.00", "k-1").status == 201
    shop.run("run-2", NOON + LATER)
    bounce(shop, 1)
    bounce(shop, 0)
    assert (shop.items()[PERIOD]["status"], "unfinished" in shop.items()[PERIOD]) == ("mail_failed", False)
    shop.edit(customer_email="new@customer.example")
    for n in range(3):
        shop.run(f"run-{3 + n}", NOON + (2 + n) * LATER)
    assert [mail["Subject"] for mail in shop.mails()[2:]] == ["Refund for Pro: $10.00", shop.mails()[0]["Subject"]]
    assert {"notice", "unfinished", "parked"}.isdisjoint(shop.items()[PERIOD])


def test_a_refund_of_a_bad_amount_is_named() -> None:
    """An amount that would need rounding is refused, whoever asks."""
    with pytest.raises(BadRow):
        exact_minor_units(Decimal("0.001"), "USD")


def test_a_mail_that_waited_for_an_address_is_no_old_work(paid: Api) -> None:
    """The address is corrected ten days later, and SES throttles: the alarm on the oldest unfinished renewal counts
    from the correction."""
    shop, later = paid.shop, NOON + 10 * DAY
    assert _refund(paid, "10.00").status == 201
    shop.run("run-2", NOON + LATER)
    bounce(shop)
    shop.edit(customer_email="new@customer.example")
    shop.ses.trouble = [error("Throttling", "SendRawEmail", 400)]
    assert shop.run("run-3", later) == "EmailFailed"
    assert unfinished_seconds(shop.items()[PERIOD], later) == 0


def test_a_receipt_that_is_sent_again_goes_out_though_a_refunds_mail_comes_back(paid: Api) -> None:
    """A receipt to be mailed again goes out although the refund's mail came back and waits for a new address."""
    shop = paid.shop
    shop.items()[PERIOD] |= {"status": "mail_unknown"}
    shop.items()[PERIOD]["mails"]["receipt_1"]["state"] = "unknown"
    assert _refund(paid, "10.00").status == 201
    shop.run("run-2", NOON + LATER)
    renewal = shop.ledger.get("sub_1", PERIOD)
    assert renewal is not None
    shop.ledger.apply(mail_steps.reopen_mail(renewal, [], NOON + LATER))
    bounce(shop, 1)
    assert "unfinished" in shop.items()[PERIOD]
    del shop.row()["mail_fault"]
    shop.run("run-3", NOON + DAY, period=PERIOD)
    assert (shop.items()[PERIOD]["status"], "unfinished" in shop.items()[PERIOD]) == ("done", False)
    first, refund, again = (mail["Subject"] for mail in shop.mails())
    assert (again == first, refund) == (True, "Refund for Pro: $10.00")


def test_a_refund_that_is_recorded_while_the_receipt_is_mailed_is_told_of(paid: Api) -> None:
    """A refund is recorded while the receipt is being mailed. The mail ends the renewal, and the item stays in the
    index of unfinished renewals for the refund's mail, because the refund's own execution may be lost."""
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


# --- refunds made in the dashboard, pending refunds, late failures, refunds that were cut off --------------------


def _sweep(api: Api, now: datetime | None = None) -> list[dict[str, str]]:
    """Return the requests that the hourly sweep sends for unfinished renewals, by default a day from now."""
    kept: list[RenewalRequest] = []
    at = now or ASKED_AT + DAY
    sweep = Sweep(
        client=cast("Any", api.shop.dynamodb),
        subscriptions="subscriptions",
        renewals="renewals",
        queue=cast("Any", SimpleNamespace(send=kept.extend)),
        hand_on=lambda _event: None,
        name=lambda _row, _bad: None,
        seconds_left=lambda: 900.0,
        today=at.date(),
        now=at,
        reminder_rules=Rules(0, 32),
        concurrency=1,
    )
    for shard in range(INDEX_SHARDS):
        sweep.read(SweepPart(PartKind.SHARD, str(shard)))
    return [each.fields() for each in kept]


def _swept(api: Api, execution: str, now: datetime) -> None:
    """Run the hourly sweep and the executions of its requests."""
    for request in _sweep(api):
        if request.get("event_type") == Asks.SETTLE_REFUNDS:
            api.shop.settle_refunds(execution, now, request["renewal_date"])
        else:
            api.shop.run(execution, now, period=request["renewal_date"])


def _texts(api: Api) -> list[str]:
    return [entry["text"] for entry in api("GET", "/subscriptions/sub_1/timeline").body["items"]]


def _last_mail(api: Api) -> str:
    plain = api.shop.mails()[-1].get_body(("plain",))
    assert plain is not None
    return " ".join(plain.get_content().split())


def _payment(api: Api) -> str:
    return str(api.shop.items()[PERIOD]["payment_id"])


def test_what_others_refunded_counts(paid: Api) -> None:
    """10.00 USD were refunded in the gateway's dashboard: the API refunds only the other 19.99 USD and says that
    nothing is left."""
    paid.shop.gateway.refund_elsewhere(_payment(paid), 1000)
    too_much = _refund(paid, "20.00", "k-0")
    assert (too_much.status, too_much.body["detail"]) == (409, "At most 19.99 USD of this period can be refunded.")
    reply = _refund(paid, "19.99")
    assert (reply.status, reply.body["left"]["amount"]) == (201, "0.00")
    paid.shop.run("run-2", NOON + LATER)
    assert paid.shop.mails()[-1]["Subject"] == "Refund for Pro: $19.99"
    assert "After refunds" not in _last_mail(paid)
    for n in range(3):
        _swept(paid, f"run-{3 + n}", NOON + (2 + n) * LATER)
    assert [mail["Subject"] for mail in paid.shop.mails()[2:]] == ["Refund for Pro: $10.00"]
    told = "10.00 USD were refunded to the customer at the gateway, not through this system (transaction re_1)."
    assert told in _texts(paid)
    assert "unfinished" not in paid.shop.items()[PERIOD]
    assert len({receipt["receipt_number"] for receipt in paid("GET", RECEIPTS).body["items"]}) == 3


def test_all_of_it_refunded_elsewhere_leaves_nothing(paid: Api) -> None:
    """After everything was refunded in the dashboard, a request is refused with the reason, and nothing more is
    refunded."""
    paid.shop.gateway.refund_elsewhere(_payment(paid), 2999)
    refused = _refund(paid)
    assert (refused.status, refused.body["detail"]) == (409, "At most 0.00 USD of this period can be refunded.")
    (period,) = paid("GET", "/subscriptions/sub_1/renewals").body["items"]
    assert period["refunded"]["amount"] == "29.99"
    assert _given(paid) == [2999]


def test_a_failed_refund_of_others_counts_for_nothing(paid: Api) -> None:
    """A refund that failed in the dashboard moved no money: everything can be refunded, and the failed refund is
    not recorded."""
    shop = paid.shop
    shop.gateway.refund_becomes(shop.gateway.refund_elsewhere(_payment(paid), 1000), GatewayRefundState.FAILED)
    assert _refund(paid).body["amount"]["amount"] == "29.99"
    assert len(shop.items()[PERIOD]["refunds"]) == 1


def test_ours_are_counted_once(paid: Api) -> None:
    """The system finds its own refund by the request in the refund's metadata after the answer was lost, and counts the
    refund once when a further refund is asked for."""
    paid.shop.gateway.trouble.append(("refund", "after"))
    assert _refund(paid, "10.00").status == 503
    assert _refund(paid, "10.00").body["left"]["amount"] == "19.99"
    paid.shop.run("run-2", NOON + LATER)
    assert _refund(paid, "5.00", "k-2").body["left"]["amount"] == "14.99"
    assert _given(paid) == [1000, 500]


def test_without_the_gateways_list_nothing_is_refunded(paid: Api) -> None:
    """Where the gateway does not list the payment's refunds, nobody knows what is left: the caller is asked to try
    again, and nothing is claimed."""
    paid.shop.gateway.trouble.append(("refunds_of", "before"))
    assert _refund(paid, "10.00").status == 503
    assert not paid.shop.items()[PERIOD]["refunds"]


def test_a_refund_that_is_on_its_way_is_told_as_that(paid: Api) -> None:
    """For a pending refund neither answer, mail nor timeline says that the refund is done, and no receipt is made; the
    customer gets the receipt once the refund has succeeded."""
    shop = paid.shop
    shop.gateway.refunds_begin = GatewayRefundState.PENDING
    reply = _refund(paid, "10.00")
    assert (reply.status, reply.body["state"], reply.body["left"]["amount"]) == (201, "pending", "19.99")
    shop.run("run-2", NOON + LATER)
    mail = shop.mails()[-1]
    assert mail["Subject"] == "Your refund for Pro is on its way: $10.00"
    assert not list(mail.iter_attachments())
    assert "We have refunded" not in _last_mail(paid)
    assert "A refund of 10.00 USD to the customer was begun by ann and is on its way (transaction re_1)." in _texts(
        paid
    )
    assert [receipt["kind"] for receipt in paid("GET", RECEIPTS).body["items"]] == ["payment"]
    (period,) = paid("GET", "/subscriptions/sub_1/renewals").body["items"]
    assert (period["refunded"]["amount"], period["refund_pending"]["amount"]) == ("0.00", "10.00")
    _swept(paid, "run-3", NOON + DAY)
    assert len(shop.mails()) == 2
    shop.gateway.refund_becomes("re_1", GatewayRefundState.SUCCEEDED)
    _swept(paid, "run-4", NOON + 2 * DAY)
    _swept(paid, "run-5", NOON + 3 * DAY)
    assert [mail["Subject"] for mail in shop.mails()[2:]] == ["Refund for Pro: $10.00"]
    assert _refund(paid, "10.00").body["state"] == "refunded"
    assert {"unfinished", "refunds_due"}.isdisjoint(shop.items()[PERIOD])


def test_refunds_of_another_accounts_payment_are_left_as_they_stand(paid: Api) -> None:
    """The gateway does not know the payment: the refund is not marked as failed and stays visibly unfinished."""
    shop = paid.shop
    shop.gateway.trouble.append(("refund", "before"))
    assert _refund(paid, "10.00").status == 503
    payment = shop.gateway.payments.pop(_payment(paid))
    assert shop.settle_refunds("run-2", NOON + DAY) == "Success"
    assert waiting(shop.items()[PERIOD]) == ["refund_1 without an answer"]
    refused = _refund(paid, "10.00")
    told = "The gateway refused to say what was refunded of this payment (resource_missing)."
    assert (refused.status, refused.body["detail"]) == (409, told)
    shop.gateway.payments[payment.id] = payment
    _swept(paid, "run-3", NOON + 2 * DAY)
    assert _given(paid) == [1000]


@pytest.mark.parametrize("begins", [GatewayRefundState.PENDING, GatewayRefundState.SUCCEEDED])
def test_a_refund_that_fails_later_is_named(paid: Api, begins: GatewayRefundState, counted: Counted) -> None:
    """A customer who was told of a refund is told once that the refund failed. The timeline and the on-call list show
    the failure, the alarm's metric counts it, and the amount can be refunded again."""
    shop = paid.shop
    shop.gateway.refunds_begin = begins
    assert _refund(paid, "10.00").status == 201
    shop.run("run-2", NOON + LATER)
    shop.gateway.refund_becomes("re_1", GatewayRefundState.FAILED)
    for n in range(3):
        shop.settle_refunds(f"run-{3 + n}", NOON + (1 + n) * DAY)
    assert [mail["Subject"] for mail in shop.mails()[2:]] == ["Your refund for Pro did not arrive: $10.00"]
    assert "Without this refund, your payment for this period is $29.99." in _last_mail(paid)
    why = "the customer's card has expired or was canceled (transaction re_1)."
    assert f"The refund of 10.00 USD failed, and the customer did not get it: {why}" in _texts(paid)
    assert waiting(shop.items()[PERIOD]) == ["refund_1 failed: the customer's card has expired or was canceled"]
    assert "unfinished" in shop.items()[PERIOD]
    assert counted("RefundFailed") == 1
    assert _refund(paid, "10.00").status == 409
    assert _refund(paid, None, "k-2").body["amount"]["amount"] == "29.99"
    assert waiting(shop.items()[PERIOD]) == (["refund_2 on its way"] if begins is GatewayRefundState.PENDING else [])
    receipts = paid("GET", RECEIPTS).body["items"]
    assert [each["void"] for each in receipts if each["kind"] == "refund"] == [True][: len(receipts) - 1]


def test_one_that_failed_before_its_mail_is_told_of_by_none(paid: Api) -> None:
    """A refund failed before the customer heard of it: no mail is owed, and no false mail goes out."""
    shop = paid.shop
    shop.gateway.refunds_begin = GatewayRefundState.PENDING
    assert _refund(paid, "10.00").status == 201
    shop.gateway.refund_becomes("re_1", GatewayRefundState.FAILED)
    shop.settle_refunds("run-2", NOON + LATER)
    shop.run("run-3", NOON + DAY)
    assert len(shop.mails()) == 1
    assert "notice" not in shop.items()[PERIOD]


def test_a_state_never_goes_back(paid: Api) -> None:
    """A refund that was seen to fail or to succeed keeps its state, whatever an older answer of the gateway says."""
    shop = paid.shop
    assert _refund(paid, "10.00").status == 201
    shop.gateway.refund_becomes("re_1", GatewayRefundState.PENDING)
    shop.settle_refunds("run-2", NOON + LATER)
    assert shop.items()[PERIOD]["refunds"]["refund_1"]["state"] == "refunded"
    shop.gateway.refund_becomes("re_1", GatewayRefundState.FAILED)
    shop.settle_refunds("run-3", NOON + LATER)
    shop.gateway.refund_becomes("re_1", GatewayRefundState.SUCCEEDED)
    shop.settle_refunds("run-4", NOON + LATER)
    assert shop.items()[PERIOD]["refunds"]["refund_1"]["state"] == "failed"


def test_a_stored_error_is_not_asked_for_again(paid: Api) -> None:
    """The gateway repeats a stored 500 for as long as it remembers the idempotency key: the next attempt uses a new
    key, and the period is refunded once."""
    shop = paid.shop
    shop.gateway.trouble += [("refund", "answered")] * 2
    assert [_refund(paid, "10.00").status for _ in range(3)] == [503, 503, 201]
    assert len(shop.gateway.errors_by_key) == 2
    assert _given(paid) == [1000]


def test_a_refund_that_was_made_behind_a_500_is_not_made_again(paid: Api) -> None:
    """The gateway refunded and answered 500: the refund is found by its metadata before the gateway is asked under a
    new key."""
    shop, refund = paid.shop, paid.shop.gateway.refund

    def broken(*args: Any, **more: Any) -> Any:
        shop.gateway.refund = refund  # type: ignore[method-assign]
        refund(*args, **more)
        raise GatewayUnavailable("500", answered=True)

    shop.gateway.refund = broken  # type: ignore[method-assign]
    assert _refund(paid, "10.00").status == 503
    assert _refund(paid, "10.00").status == 201
    assert _given(paid) == [1000]


@pytest.mark.parametrize("at", range(18))
def test_a_refund_that_was_cut_off_is_finished_by_the_sweep(paid: Api, at: int) -> None:
    """The process ends before or after any of its calls, and its caller never comes back: a claimed refund is made once
    and told once, and further refunds of the period are accepted."""
    shop = paid.shop
    shop.cuts.calls.clear()
    shop.cuts.at = at
    with suppress(Cut):
        _refund(paid, "10.00")
    assert shop.cuts.at is None, "the process was not cut"
    asked_for = bool(shop.items()[PERIOD]["refunds"])
    for n in range(3):
        _swept(paid, f"run-{2 + n}", NOON + (1 + n) * DAY)
    assert _given(paid) == [1000] * asked_for
    assert shop.mail_kinds() == ["receipt", *["refunded"] * asked_for]
    assert {"unfinished", "refunds_due", "notice"}.isdisjoint(shop.items()[PERIOD])
    assert _refund(paid, "5.00", "k-2").status == 201


@pytest.mark.parametrize("at", range(16))
def test_a_sweep_that_is_cut_off_is_finished_by_the_next(paid: Api, at: int) -> None:
    """The gateway's answer was lost, and the execution finishing the refund is cut off at any of its calls: the next
    sweeps still refund once and tell once."""
    shop = paid.shop
    shop.gateway.trouble.append(("refund", "after" if at % 2 else "before"))
    assert _refund(paid, "10.00").status == 503
    shop.cuts.calls.clear()
    shop.cuts.at = at
    with suppress(Cut):
        _swept(paid, "run-2", NOON + DAY)
    shop.cuts.at = None
    for n in range(4):
        _swept(paid, f"run-{3 + n}", NOON + (2 + n) * DAY)
    assert _given(paid) == [1000]
    assert shop.mail_kinds() == ["receipt", "refunded"]
    assert {"unfinished", "refunds_due", "notice"}.isdisjoint(shop.items()[PERIOD])


def test_a_refund_without_an_answer_counts_as_old_work(paid: Api) -> None:
    """The alarm on the oldest unfinished renewal counts an unanswered refund until the gateway answers, and no
    longer."""
    shop = paid.shop
    shop.gateway.trouble.append(("refund", "before"))
    assert _refund(paid, "10.00").status == 503
    now = ASKED_AT
    assert unfinished_seconds(shop.items()[PERIOD], now + 2 * timedelta(hours=1)) == pytest.approx(7200, abs=1)
    assert waiting(shop.items()[PERIOD]) == ["refund_1 without an answer"]
    shop.gateway.refunds_begin = GatewayRefundState.PENDING
    shop.settle_refunds("run-2", now)
    assert unfinished_seconds(shop.items()[PERIOD], now + timedelta(minutes=30)) == 0


def test_a_refund_of_the_version_before_is_finished_when_it_is_looked_at(paid: Api) -> None:
    """The earlier version claimed a refund without entering the item in the index of unfinished renewals: a look at the
    period's refunds, as the audit asks for, finishes the refund."""
    shop = paid.shop
    claim = {"amount": Decimal("10.00"), "state": "claimed", "at": NOON.isoformat(), "by": "ann", "request": "hash"}
    shop.items()[PERIOD]["refunds"]["refund_1"] = claim
    shop.settle_refunds("run-2", NOON + DAY)
    assert _given(paid) == [1000]
    assert shop.mail_kinds() == ["receipt", "refunded"]


def test_what_the_version_before_recorded_is_left_as_it_is(paid: Api) -> None:
    """For a refund recorded by the earlier version as mailed or as failed nothing more is sent, and the amount left is
    unchanged."""
    shop = paid.shop
    assert _refund(paid, "10.00").status == 201
    shop.run("run-2", NOON + LATER)
    del shop.items()[PERIOD]["refunds"]["refund_1"]["gateway_status"]
    failed = {"amount": Decimal("5.00"), "state": "failed", "at": NOON.isoformat(), "by": "ann", "request": "hash"}
    shop.items()[PERIOD]["refunds"]["refund_2"] = failed | {"reason": "charge_already_refunded"}
    shop.settle_refunds("run-3", NOON + DAY)
    assert len(shop.mails()) == 2
    assert "5.00 USD could not be refunded: the payment was refunded already." in _texts(paid)
    assert _refund(paid, None, "k-2").body["amount"]["amount"] == "19.99"


def test_the_mail_has_the_refunds_own_facts(paid: Api) -> None:
    """The mail states the refund's amount, receipt number and transaction, and names the payment's own facts as the
    payment's."""
    number = _refund(paid, "10.00").body["refund_number"]
    paid.shop.run("run-2", NOON + LATER)
    said = _last_mail(paid)
    paid_by = paid.shop.items()[PERIOD]
    for fact in (
        "Amount refunded: 10.00 USD",
        "Amount paid: 29.99 USD",
        f"Refund number: {number}",
        "Refund transaction: re_1",
        f"Payment receipt: {paid_by['receipt_number']}",
        "After refunds, your payment for this period is $19.99.",
    ):
        assert fact in said
    assert f"Transaction: {paid_by['payment_id']}" not in said
    assert f"Amount: {'29.99'}" not in said


def test_the_pdf_of_a_part_has_the_refunds_own_facts(paid: Api) -> None:
    """The receipt of a partial refund prints the refund's amount, number and transaction, and nothing of the
    payment's."""
    number = _refund(paid, "10.00").body["refund_number"]
    paid.shop.run("run-2", NOON + LATER)
    words = text_of(paid.shop.receipts()["receipts/cus_1/sub_1/re_1.pdf"])
    assert all(fact in words for fact in ("REFUNDED", "Total refunded", "10.00 USD", number, "re_1"))
    assert not any(fact in words for fact in ("29.99", "19.99", str(paid.shop.items()[PERIOD]["payment_id"])))


def test_receipts_of_refunds_are_listed_and_open(paid: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refund's receipt is listed beside the payment's receipt, with a number, amount, transaction and link of its
    own, and both links open."""
    monkeypatch.setattr(aws, "s3", lambda: paid.shop.s3)
    monkeypatch.setenv("S3_BUCKET", "receipts")
    monkeypatch.setattr(receipt_links.app, "_link_key", receipts._link_key)
    monkeypatch.setattr(receipt_links.app, "_ledger", lambda: paid.shop.ledger)
    number = _refund(paid, "10.00").body["refund_number"]
    paid.shop.run("run-2", NOON + LATER)
    of_refund, of_payment = paid("GET", RECEIPTS).body["items"]
    assert (of_refund["kind"], of_refund["receipt_number"], of_refund["transaction_id"]) == ("refund", number, "re_1")
    assert of_refund["amount"] == {"amount": "10.00", "currency": "USD"}
    assert (of_payment["kind"], of_payment["void"]) == ("payment", False)
    event = {"httpMethod": "GET", "requestContext": {}, "headers": {}}
    for each, stored in ((of_refund, "re_1.pdf"), (of_payment, f"{of_payment['transaction_id']}.pdf")):
        path = each["link"].removeprefix(LINKS_BEGIN)
        opened: dict[str, Any] = receipt_links.app.handler({**event, "path": path}, None)
        assert opened["statusCode"] == 302
        assert stored in opened["headers"]["Location"]
    mailed = of_refund["link"].removeprefix(f"{LINKS}/")
    assert mailed in _last_mail(paid)


# --- disputes -------------------------------------------------------------------------------------------------------


def _disputed(api: Api, withdrawn: str, reinstated: str = "0", status: str = "needs_response") -> None:
    """Write a dispute of the payment into the ledger, as the worker of events does."""
    at = "2026-02-09T12:00:00.000000+00:00"
    money = {"withdrawn": Decimal(withdrawn), "reinstated": Decimal(reinstated)}
    dispute = {"amount": Decimal(withdrawn), "currency": "USD", "reason": "fraudulent", "at": at}
    steps = [{"at": at, "status": status, **{name: sum_ for name, sum_ in money.items() if sum_}}]
    item = api.shop.items()[PERIOD]
    known = item.get("disputes", {})
    api.shop.dynamodb.put("renewals", item | {"disputes": known | {f"dp_{len(known) + 1}": dispute | {"steps": steps}}})


@pytest.mark.parametrize(
    ("disputes", "refunded", "left"),
    [
        ([("10.00", "0")], "0", "19.99"),
        ([("10.00", "10.00")], "0", "29.99"),
        ([("10.00", "4.00")], "0", "23.99"),
        ([("10.00", "0"), ("5.00", "0")], "0", "14.99"),
        ([("10.00", "0")], "5.00", "14.99"),
        ([("29.99", "0")], "5.00", "0.00"),
    ],
)
def test_never_more_than_disputes_have_left(
    paid: Api, disputes: list[tuple[str, str]], refunded: str, left: str
) -> None:
    """What is left to refund is the payment minus refunds and minus the money that banks took back and kept, and never
    negative: a request for a cent more is refused, before the gateway is asked for money."""
    if Decimal(refunded):
        assert _refund(paid, refunded, "k-0").status == 201
        paid.shop.run("run-2", NOON + LATER)
    for withdrawn, reinstated in disputes:
        _disputed(paid, withdrawn, reinstated)
    given = _given(paid)
    refused = _refund(paid, f"{Decimal(left) + Decimal('0.01')}", "k-1")
    assert refused.status == 409
    assert refused.body["detail"].startswith(f"At most {left} USD of this period can be refunded")
    assert _given(paid) == given
    assert "refund_2" not in paid.shop.items()[PERIOD]["refunds"]
    if Decimal(left):
        assert _refund(paid, None, "k-2").body["amount"]["amount"] == left


def test_a_refund_names_the_dispute_that_forbids_the_refund(paid: Api) -> None:
    """After a dispute took the whole payment, the answer says so."""
    _disputed(paid, "29.99")
    refused = _refund(paid, None, "k-1")
    assert refused.body["detail"] == (
        "At most 0.00 USD of this period can be refunded: 29.99 USD were taken back by a dispute."
    )


def test_a_refund_of_a_dispute_that_nobody_heard_of(paid: Api) -> None:
    """The event of a dispute has not come yet: the gateway refuses the refund of a disputed payment, nothing is
    refunded, and the customer is not mailed."""
    paid.shop.gateway.contest("pi_1")
    refused = _refund(paid, None, "k-1")
    assert (refused.status, _given(paid)) == (409, [])
    assert "the customer disputed the payment" in refused.body["detail"]
    paid.shop.run("run-2", NOON + LATER)
    assert paid.shop.mail_kinds() == ["receipt"]


@pytest.mark.parametrize("reason", ["charge_for_pending_refund_disputed", "expired_or_canceled_card"])
def test_a_refund_that_fails_by_a_dispute_promises_no_further_money(paid: Api, reason: str) -> None:
    """The customer disputes a payment whose refund is on its way, and the refund fails: the mail does not promise the
    money a second time, because the bank decides about the money."""
    paid.shop.gateway.refunds_begin = GatewayRefundState.PENDING
    _refund(paid, None, "k-1")
    paid.shop.run("run-2", NOON + LATER)
    gateway = paid.shop.gateway
    gateway.refund_becomes("re_1", GatewayRefundState.FAILED)
    gateway.refunds["re_1"] = replace(gateway.refunds["re_1"], reason=reason)
    paid.shop.settle_refunds("sweep-2", NOON + DAY)
    mail = paid.shop.mails()[-1].get_body(("plain",))
    assert mail is not None
    told = mail.get_content().replace("\n", " ")
    assert ("We still owe you $29.99" in told) is (reason == "expired_or_canceled_card")
    assert ("Your bank now decides about the money." in told) is (reason != "expired_or_canceled_card")


_BANK_DECIDES = "Your bank now decides about the money."
_BY_DISPUTE, _BY_CARD = "charge_disputed", "expired_or_canceled_card"


@pytest.mark.parametrize(
    ("reason", "status", "withdrawn", "refund", "said"),
    [
        (_BY_CARD, "lost", "29.99", "29.99", "Your bank has returned the payment to you."),
        (_BY_DISPUTE, "lost", "29.99", "29.99", "Your bank has returned the payment to you."),
        (_BY_CARD, "prevented", "29.99", "5.00", "Your bank has returned the payment to you."),
        (_BY_CARD, "lost", "10.00", "5.00", "We still owe you $5.00"),
        (_BY_CARD, "lost", "10.00", "25.00", "Your bank has returned $10.00 of the payment to you."),
        (_BY_DISPUTE, "lost", "10.00", "5.00", "We still owe you $5.00"),
        (_BY_DISPUTE, "won", "0", "29.99", "We still owe you $29.99"),
        (_BY_DISPUTE, "won", "29.99", "29.99", "We still owe you $29.99"),
        (_BY_CARD, "needs_response", "10.00", "5.00", "We still owe you $5.00"),
        (_BY_CARD, "under_review", "29.99", "29.99", _BANK_DECIDES),
        (_BY_CARD, "unknown", "29.99", "29.99", _BANK_DECIDES),
        (_BY_DISPUTE, "needs_response", "10.00", "5.00", _BANK_DECIDES),
        (_BY_DISPUTE, "appeal_under_review", "29.99", "29.99", _BANK_DECIDES),
        (_BY_DISPUTE, "fraud_warning", "0", "29.99", _BANK_DECIDES),
    ],
)
def test_the_mail_of_a_failed_refund_is_true_of_the_dispute(
    paid: Api, reason: str, status: str, withdrawn: str, refund: str, said: str
) -> None:
    """A refund fails, and a dispute of the payment is known: the mail says that the bank decides only while the bank
    decides about the refunded money, that the bank has returned money only after the bank's decision, and otherwise
    that the seller still owes the refund. The seller gets the money of a won dispute back, possibly a while later."""
    told = _told_of_failure(paid, reason, refund, lambda: _disputed(paid, withdrawn, status=status))
    sentences = ("We still owe you", "Your bank now decides", "Your bank has returned")
    assert [each for each in sentences if each in told] == [each for each in sentences if said.startswith(each)]
    assert said in told


def test_a_failed_refund_that_was_made_again_is_not_owed(paid: Api) -> None:
    """A refund fails, and the payment is refunded again before the customer hears of the failure: the mail of the
    failure does not promise the money a second time."""

    def again() -> None:
        item = paid.shop.items()[PERIOD]
        first = item["refunds"]["refund_1"]
        second = first | {"state": "refunded", "refund_id": "re_2", "request": "another"}
        paid.shop.dynamodb.put("renewals", item | {"refunds": {"refund_1": first, "refund_2": second}})

    told = _told_of_failure(paid, _BY_CARD, "29.99", again)
    assert "We still owe you" not in told
    assert "We have made another refund of this payment since." in told


def _told_of_failure(paid: Api, reason: str, amount: str, before: Callable[[], None]) -> str:
    """Have a refund on its way fail, and return the text of the mail. before: what happens just before the failure."""
    paid.shop.gateway.refunds_begin = GatewayRefundState.PENDING
    _refund(paid, amount, "k-1")
    paid.shop.run("run-2", NOON + LATER)
    gateway = paid.shop.gateway
    gateway.refund_becomes("re_1", GatewayRefundState.FAILED)
    gateway.refunds["re_1"] = replace(gateway.refunds["re_1"], reason=reason)
    before()
    for n in (1, 2, 3):  # a sweep mails one refund of a period
        paid.shop.settle_refunds(f"sweep-{n}", NOON + n * DAY)
    failed = [mail for mail in paid.shop.mails() if "did not arrive" in str(mail["Subject"])]
    mail = failed[-1].get_body(("plain",))
    assert mail is not None
    return str(mail.get_content()).replace("\n", " ")
