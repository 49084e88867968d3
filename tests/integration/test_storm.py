"""A webhook delivered a hundred times: before its renewal is due, while the renewal runs, and afterwards."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from tests.integration.shop import SUCCEEDED, Shop, assert_renewed_once, assert_untouched, today

AT_A_TIME = 20


def test_a_storm_of_duplicates_is_one_renewal(shop: Shop) -> None:
    """100 deliveries, 20 at a time, half of them the same signed bytes and half signed anew under the same id, as
    senders do, make a single charge, a receipt, a mail and a single step of renewal_date."""
    subscriber = shop.subscribe(renewal_date=(today() + timedelta(days=1)).isoformat())
    body = subscriber.request()
    verbatim = shop.signed(body, message_id="msg_storm")

    def deliver(number: int) -> int:
        headers = shop.signed(body, message_id="msg_storm") if number % 2 else verbatim
        return shop.post(body, headers).status

    with ThreadPoolExecutor(AT_A_TIME) as senders:
        before = list(senders.map(deliver, range(30)))
        early = shop.ends(subscriber, 30)
        assert {end.payment["reason"] for end in early} == {"not_due"}
        assert_untouched(shop, subscriber)

        shop.edit(subscriber, renewal_date=today().isoformat())
        during = list(senders.map(deliver, range(40)))
        shop.ends(subscriber, 70)
        after = list(senders.map(deliver, range(30)))

    ends = shop.ends(subscriber, 100)
    assert Counter(before + during + after) == {202: 100}
    assert {end.status for end in ends} == {SUCCEEDED}
    assert {end.payment["reason"] for end in ends[70:]} == {"renewed_already"}
    assert_renewed_once(shop, subscriber)
    assert len(shop.charges(subscriber)) == 1
