"""Requests of strangers to every public path of the deployed stack, by HTTP: no error of ours, and no subscription
changed."""

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest
import urllib3

from tests.integration.shop import Shop, Subscriber, assert_untouched
from tests.strangers import Sent, examples, numbers, oddity, public_paths, sent

REFUSED_BY_API_GATEWAY = "x-amzn-errortype"
answers: Counter[str] = Counter()


@pytest.fixture(scope="module")
def victim(shop: Shop) -> Iterator[Subscriber]:
    """A due subscription, which the requests of strangers leave as it is: no execution starts, and nothing is charged,
    recorded or mailed."""
    subscriber = shop.subscribe()
    shop.time.until_all_is_done(60)
    row, executions = shop.row(subscriber), shop.all_executions()
    yield subscriber
    shop.time.until_all_is_done(60)
    assert shop.row(subscriber) == row
    assert shop.all_executions() == executions
    assert_untouched(shop, subscriber)


@pytest.mark.usefixtures("victim")
@public_paths.given(number=numbers)
@public_paths.parametrize()
@examples(4)
def test_no_request_of_a_stranger_is_an_error_of_ours(case: Any, number: int, shop: Shop) -> None:
    """Whatever a stranger sends to a public path, the answer is below 500, and the victim stays untouched."""
    ask(case, number, shop)


@pytest.mark.proof
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("victim")
@public_paths.given(number=numbers)
@public_paths.parametrize()
@examples(60)
def test_none_of_very_many_requests_is_an_error_of_ours(case: Any, number: int, shop: Shop) -> None:
    """The same holds for two thousand requests."""
    ask(case, number, shop)


def test_most_requests_came_through() -> None:
    """Most requests reached a function: few were refused by API Gateway itself, for their spelling."""
    assert answers["refused by API Gateway"] < sum(answers.values()) / 4
    assert {"200", "400", "401", "404"} <= set(answers)


def ask(case: Any, number: int, shop: Shop) -> None:
    api = shop.account_api if case.operation.path.startswith("/account") else shop.stack.outputs["LocalApiUrl"]
    request = sent(case, oddity(case, number), urlsplit(api).netloc)
    answer = _answer(api, request)
    while answer.status == 429 and _is_of_api_gateway(answer):  # twenty requests a second are let in
        time.sleep(0.2)
        answer = _answer(api, request)
    answers["refused by API Gateway" if _is_of_api_gateway(answer) else str(answer.status)] += 1
    assert answer.status < 500, request


def _is_of_api_gateway(answer: urllib3.BaseHTTPResponse) -> bool:
    return REFUSED_BY_API_GATEWAY in answer.headers


def _answer(api: str, request: Sent) -> urllib3.BaseHTTPResponse:
    headers = urllib3.HTTPHeaderDict()
    for name in request.headers.keys() - {"Content-Length"}:  # a wrong length would cut the request short
        for value in request.headers[name]:
            headers.add(name, value)
    url = f"{api}{quote(request.path, safe='/%')}?{urlencode(request.queries, doseq=True)}"
    return urllib3.request(
        request.way[0], url, headers=headers, body=request.body, redirect=False, retries=False, timeout=30
    )
