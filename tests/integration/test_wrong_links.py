"""Wrong links to the deployed customer page, by HTTP: one answer for all, after the same time, whatever is wrong."""

import json
import secrets
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from random import Random
from statistics import median
from typing import Any
from urllib.parse import urlencode

import pytest
import urllib3

from renewals.ledger.account_links import Account, Power, Purpose, token
from tests.integration.shop import Shop

PAGE = "subscription-mgmt-customer-page-prod"
MEASUREMENTS, ROUNDS = 4, 50
SAME_TIME = 0.002
"""In seconds. Seen with 15 busy processes on two cores: right kinds lie 0.4 ms apart at most, with half of the rounds
1.5 ms. A pause of 5 ms in the answer to one kind is seen as 4.5 ms or more."""
OF_A_REQUEST = {"date", "x-amzn-requestid", "x-amz-apigw-id", "x-amz-request-id", "x-amz-id-2"}
"""The headers that differ between two requests that are answered alike."""


@pytest.fixture(scope="module")
def kinds(shop: Shop) -> Iterator[dict[str, str]]:
    """Every kind of wrong link by its name, after the key of the links was rotated; at the end the key is put back."""
    arn = shop.stack.outputs["AccountLinkKeyArn"]
    before = shop.secrets.get_secret_value(SecretId=arn)["SecretString"]
    old, new = json.loads(before)["current"], secrets.token_hex(32)
    row, other = (shop.row(shop.subscribe()) for _ in range(2))
    now = datetime.now(UTC)

    def link(key: str, expires: datetime = now + timedelta(days=60), **facts: Any) -> str:
        return token(key, Purpose.LINK, Account.of_row(row | facts), Power.FULL, expires)

    good = link(new)
    words, _, proof = good.partition(".")
    others = link(new, subscription_id=other["subscription_id"]).partition(".")[2]
    first = "A" if proof[0] != "A" else "B"
    made = {
        "a bit of the proof changed": f"{words}.{first}{proof[1:]}",
        "a bit of the words changed": f"{words[:12]}{'A' if words[12] != 'A' else 'B'}{words[13:]}.{proof}",
        "no proof": f"{words}.{'A' * len(proof)}",
        "expired": link(new, now - timedelta(days=1)),
        "of the key before the rotation": link(old),
        "another customer's": link(new, customer_id=other["customer_id"]),
        "an earlier address": link(new, customer_email="before@example.org"),
        "signed out everywhere": link(new, account_links=7),
        "no such subscription": link(new, subscription_id="sub_nobody"),
        "another subscription's proof": f"{words}.{others}",
        "garbage": "x" * len(good),
    }
    _give_key(shop, arn, json.dumps({"current": new}))
    assert _opened(shop, urllib3.PoolManager(), good)[0].status == 200
    yield made
    _give_key(shop, arn, before)


def _give_key(shop: Shop, arn: str, secret: str) -> None:
    """Change the key of the links, and end the warm processes of the page, which read the key once a minute."""
    shop.secrets.put_secret_value(SecretId=arn, SecretString=secret)
    timeout = shop.functions.get_function_configuration(FunctionName=PAGE)["Timeout"]
    shop.functions.update_function_configuration(FunctionName=PAGE, Timeout=timeout)


def _opened(shop: Shop, http: urllib3.PoolManager, link: str) -> tuple[urllib3.BaseHTTPResponse, float]:
    """Open a link, and return the answer with its time in seconds."""
    return _asked(http, "GET", f"{shop.account_api}/account/link/{link}")


def _asked(
    http: urllib3.PoolManager, method: str, url: str, body: str | None = None
) -> tuple[urllib3.BaseHTTPResponse, float]:
    """Send a request, and return the answer with its time in seconds. The API lets in twenty requests a second."""
    headers = {"Sec-Fetch-Site": "same-origin", "Content-Type": "application/x-www-form-urlencoded"}
    while True:
        time.sleep(0.05)
        begun = time.perf_counter()
        answer = http.request(method, url, body=body, headers=headers, retries=False, timeout=30)
        took = time.perf_counter() - begun
        if answer.status != HTTPStatus.TOO_MANY_REQUESTS:
            return answer, took


def test_every_wrong_link_gets_the_same_answer(shop: Shop, kinds: dict[str, str]) -> None:
    """Whatever is wrong with a link, the deployed page answers with the same status, the same headers and the same
    words, to a link that is opened and to a token that is posted."""
    http, session = urllib3.PoolManager(), f"{shop.account_api}/account/session"
    answers = [_opened(shop, http, link)[0] for link in kinds.values()]
    answers += [_asked(http, "POST", session, urlencode({"token": link}))[0] for link in kinds.values()]
    assert {answer.status for answer in answers} == {HTTPStatus.NOT_FOUND}
    assert len({_told(answer) for answer in answers}) == 1


def _told(answer: urllib3.BaseHTTPResponse) -> tuple[Any, ...]:
    headers = sorted(
        (name.lower(), value) for name, value in answer.headers.items() if name.lower() not in OF_A_REQUEST
    )
    return answer.status, tuple(headers), answer.data


@pytest.mark.proof
@pytest.mark.timeout(1800)
def test_every_wrong_link_is_answered_after_the_same_time(shop: Shop, kinds: dict[str, str]) -> None:
    """Over many rounds, in which all kinds take turns in a new order, no kind of wrong link is answered earlier or
    later than the others."""
    http = urllib3.PoolManager(maxsize=1)
    measured = [fastest(lambda link: _opened(shop, http, link)[1], kinds) for _ in range(MEASUREMENTS)]
    assert apart(measured) == {}


def fastest(time_of: Callable[[str], float], kinds: dict[str, str]) -> dict[str, float]:
    """Return the time of the fastest answer to each kind, over all rounds: a slower answer tells of the machine."""
    order, chance = [*kinds], Random(1)  # noqa: S311  (no secret)
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(ROUNDS):
        chance.shuffle(order)
        for name in order:
            times[name].append(time_of(kinds[name]))
    return {name: min(each) for name, each in times.items()}


def apart(measured: list[dict[str, float]]) -> dict[str, float]:
    """Return the kinds that differ from the middle of all kinds by more than is the machine's, each with the difference
    in seconds, which is the middle of the differences in the measurements."""
    differences = [{name: took - median(each.values()) for name, took in each.items()} for each in measured]
    middles = {name: median(each[name] for each in differences) for name in measured[0]}
    return {name: middle for name, middle in middles.items() if abs(middle) > SAME_TIME}
