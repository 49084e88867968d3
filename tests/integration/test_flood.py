"""A flood of requests at the customer page, in an account whose executions are limited: who is turned away.

The page hangs, as over a table that does not answer, so that each accepted request keeps its execution.
"""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import urllib3

from tests.integration.cloud import Cloud
from tests.integration.shop import Shop, assert_renewed_once, wait_until
from tests.integration.stacks import RESERVED_FOR_THE_PAGE

PAGE = "subscription-mgmt-customer-page-prod"
OF_A_RENEWAL = [
    f"subscription-mgmt-{name}-prod"
    for name in ("webhook-handler", "renewal-worker", "process-payment", "generate-receipt", "send-email")
]
LEFT_TO_OTHERS = 100
"""The fewest executions that Lambda leaves to functions without a reservation."""
NEW_ACCOUNT = 10
"""The executions of a new account, in which none can be reserved."""
WAYS_IN = [("GET", "/account"), ("GET", "/account/overview"), ("POST", "/account/sign-out")]
LET_IN, A_SECOND = 40, 20
"""The requests that the page's API lets in at once, and those of each second, for each method and path. Forty for each
of the three are more than the account's executions."""
TRY_AGAIN = b"This page cannot be shown. Please open the link in your mail again."


def _control(shop: Shop, **asked: Any) -> None:
    address = f"{shop.stack.endpoint_url}/_local/concurrency"
    assert urllib3.request("POST", address, json=asked, timeout=10, retries=False).status == 200


@contextmanager
def account_of(shop: Shop, executions: int) -> Iterator[None]:
    """Limit the executions of the account. None of them is at work yet."""
    shop.time.until_all_is_done(60)
    _control(shop, executions=executions)
    yield
    _control(shop, executions=1000)


type Answers = list[Future[urllib3.BaseHTTPResponse]]


@contextmanager
def flood(shop: Shop, *, held: int) -> Iterator[Answers]:
    """Send as many requests as the page's API lets in while the page hangs, and wait until all but `held` are answered.
    Afterwards the page answers again."""

    def ask(method: str, path: str) -> urllib3.BaseHTTPResponse:
        headers = {"Sec-Fetch-Site": "same-origin", "Content-Type": "application/x-www-form-urlencoded"}
        url = f"{shop.account_api}{path}"
        return urllib3.request(method, url, headers=headers, timeout=90, retries=False, redirect=False)

    time.sleep(LET_IN / A_SECOND)  # earlier tests may have used up what the API lets in
    with ThreadPoolExecutor(LET_IN * len(WAYS_IN)) as pool:
        _control(shop, held=PAGE)
        try:
            sent = [pool.submit(ask, *way) for way in WAYS_IN for _ in range(LET_IN)]
            wait_until(lambda: sum(not each.done() for each in sent) == held, seconds=30)
            yield sent
        finally:
            _control(shop)


def throttled(cloud: Cloud) -> dict[str, float]:
    """Return how often Lambda has refused a call of each function of a renewal."""
    return {name: cloud.total("AWS/Lambda", "Throttles", "FunctionName", name) for name in OF_A_RENEWAL}


def test_a_flood_at_the_page_leaves_renewals_their_executions(shop: Shop, cloud: Cloud) -> None:
    """With CustomerPageConcurrency, a flood that would take every execution of the account gets the reserved executions
    and no more: all other requests are turned away at once. Meanwhile a webhook is accepted, and its renewal is
    charged, receipted and mailed, without a refused call."""
    shop.renew(shop.subscribe())
    subscriber, before = shop.subscribe(), throttled(cloud)
    with account_of(shop, LEFT_TO_OTHERS + RESERVED_FOR_THE_PAGE):
        with flood(shop, held=RESERVED_FOR_THE_PAGE) as requests:
            assert shop.renew(subscriber).state == "Success"
            assert_renewed_once(shop, subscriber)
            away = [each.result() for each in requests if each.done()]
        answers = [each.result() for each in requests]
    assert {(each.status, each.data) for each in away} == {(500, TRY_AGAIN)}
    assert len(away) == LET_IN * len(WAYS_IN) - RESERVED_FOR_THE_PAGE
    assert {each.status for each in answers if each not in away} <= {200, 303, 404}
    assert cloud.total("AWS/Lambda", "Throttles", "FunctionName", PAGE) >= len(away)
    assert throttled(cloud) == before


def test_without_a_reservation_a_flood_takes_the_executions_of_renewals(shop: Shop, cloud: Cloud) -> None:
    """Without a reservation, as in a new account, the flood takes every execution: a webhook is answered with an error.
    Once the flood is over, the webhook that its sender repeats renews the subscription, once."""
    subscriber = shop.subscribe()
    reserved = shop.functions.get_function_concurrency(FunctionName=PAGE)["ReservedConcurrentExecutions"]
    assert reserved == RESERVED_FOR_THE_PAGE
    shop.functions.delete_function_concurrency(FunctionName=PAGE)
    body = subscriber.request()
    try:
        with account_of(shop, NEW_ACCOUNT), flood(shop, held=NEW_ACCOUNT):
            assert shop.post(body, shop.signed(body)).status == 500
            assert shop.executions(subscriber.subscription_id) == []
        assert shop.renew(subscriber).state == "Success"
        assert_renewed_once(shop, subscriber)
        assert throttled(cloud)[OF_A_RENEWAL[0]] > 0
    finally:
        shop.functions.put_function_concurrency(FunctionName=PAGE, ReservedConcurrentExecutions=reserved)
