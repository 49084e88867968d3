"""The API on the deployed stack: who may call the API, and what its calls do to renewals."""

import json
import re
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import urllib3
from botocore.credentials import Credentials

from local.signed import Answer, call
from tests.integration.shop import Shop, Subscriber, assert_untouched, text_of, today, wait_until

ROOT = Credentials("test", "test")
type Json = Any


class Api:
    """The deployed API, as a single caller."""

    def __init__(self, shop: Shop, credentials: Credentials | None) -> None:
        self._base = shop.stack.outputs["LocalApiUrl"]
        self._credentials = credentials

    def __call__(self, method: str, path: str, body: Json = None, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return call(f"{self._base}{path}", method, self._credentials, body, named)


@pytest.fixture(scope="module")
def api(shop: Shop) -> Api:
    """The API, called by the account's root."""
    return Api(shop, ROOT)


@pytest.fixture
def user(shop: Shop) -> Iterator[tuple[str, Credentials]]:
    """An IAM user with a key and without permissions."""
    iam, name = shop.stack.client("iam"), f"user-{uuid.uuid4().hex[:8]}"
    iam.create_user(UserName=name)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    yield name, Credentials(key["AccessKeyId"], key["SecretAccessKey"])
    for policy in iam.list_user_policies(UserName=name)["PolicyNames"]:
        iam.delete_user_policy(UserName=name, PolicyName=policy)
    iam.delete_access_key(UserName=name, AccessKeyId=key["AccessKeyId"])
    iam.delete_user(UserName=name)


def new(subscriber: Subscriber, **changes: Json) -> Json:
    """Return a request to create a subscription for the subscriber's customer and card."""
    identity = uuid.uuid4().hex[:12]
    return {
        "subscription_id": f"sub_{identity}",
        "customer_id": f"cus_{identity}",
        "amount": {"amount": subscriber.amount, "currency": "USD"},
        "gateway_customer": subscriber.gateway_customer,
        "payment_method": subscriber.payment_method,
        "customer_name": subscriber.name,
        "customer_email": subscriber.email,
    } | changes


def test_only_signed_calls_of_whom_iam_allows_come_in(shop: Shop, user: tuple[str, Credentials]) -> None:
    """Unsigned, wrongly signed and unpermitted calls are refused; exactly the calls that a policy permits are answered.

    The template's tests assert that refusals are problem details: the emulator has its own words for refusals.
    """
    subscriber = shop.subscribe()
    path = f"/subscriptions/{subscriber.subscription_id}"
    name, key = user
    wrong = Credentials(key.access_key, "x" * 40)
    for credentials in (None, wrong, key):
        assert Api(shop, credentials)("GET", path).status == 403
    statement = {"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": "arn:aws:execute-api:*:*:*/prod/GET/*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    shop.stack.client("iam").put_user_policy(UserName=name, PolicyName="read", PolicyDocument=document)
    assert Api(shop, key)("GET", path).status == 200
    assert Api(shop, key)("POST", f"{path}/pause").status == 403
    assert shop.row(subscriber)["status"] == "active"


@pytest.mark.parametrize("spelled", ["refund/", "refund%2F", "refund//", "%72efund", "/refund", "./refund", "REFUND"])
def test_a_denied_path_has_no_other_spelling(shop: Shop, user: tuple[str, Credentials], spelled: str) -> None:
    """A caller who may do everything but refund refunds nothing, however the path is written."""
    subscriber = shop.subscribe()
    shop.renew(subscriber)
    name, key = user
    statements = [
        {"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": "arn:aws:execute-api:*:*:*/*"},
        {"Effect": "Deny", "Action": "execute-api:Invoke", "Resource": "arn:aws:execute-api:*:*:*/*/POST/*/refund"},
    ]
    document = json.dumps({"Version": "2012-10-17", "Statement": statements})
    shop.stack.client("iam").put_user_policy(UserName=name, PolicyName="all-but-refunds", PolicyDocument=document)
    (paid,) = shop.ledger(subscriber)
    path, body = f"/subscriptions/{subscriber.subscription_id}", {"renewal_date": paid["renewal_date"]}
    answer = Api(shop, key)("POST", f"{path}/{spelled}", body, Idempotency_Key=uuid.uuid4().hex)
    assert answer.status in (403, 404)
    assert shop.ledger(subscriber)[0]["refunds"] == {}
    assert Api(shop, key)("GET", f"{path}/renewals").status == 200


def test_changes_carry_the_callers_name(shop: Shop, user: tuple[str, Credentials]) -> None:
    """A change by an IAM user stands under the user's name in the timeline."""
    subscriber = shop.subscribe(renewal_date=(today() + timedelta(days=9)).isoformat())
    name, key = user
    statement = {"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    shop.stack.client("iam").put_user_policy(UserName=name, PolicyName="all", PolicyDocument=document)
    path = f"/subscriptions/{subscriber.subscription_id}"
    assert Api(shop, key)("POST", f"{path}/pause").status == 200
    (entry,) = Api(shop, key)("GET", f"{path}/timeline").body["items"]
    assert (entry["kind"], entry["by"]) == ("paused", name)
    assert_untouched(shop, subscriber)


def test_created_and_charged_at_once(shop: Shop, api: Api) -> None:
    """A new subscription without a date is charged, receipted and mailed, and the timeline says so in order. A mail of
    its own confirms the sign-up at any moment afterwards."""
    subscriber = shop.subscribe(renewal_date=(today() + timedelta(days=9)).isoformat())
    request = new(subscriber)
    created = api("POST", "/subscriptions", request, Idempotency_Key=uuid.uuid4().hex)
    assert created.status == 201
    path = f"/subscriptions/{request['subscription_id']}"
    kinds = ["created", "claimed", "charged", "mailed"]

    def told() -> tuple[list[str], int]:
        """Return the kinds of the renewal's entries in order, and the number of entries about the confirmation."""
        items = [each for each in api("GET", f"{path}/timeline").body["items"] if each["kind"] != "due"]
        of_sign_up = [each for each in items if "sign-up" in each["text"]]
        return [each["kind"] for each in items if each not in of_sign_up], len(of_sign_up)

    wait_until(lambda: told() == (kinds, 1))
    (renewal,) = api("GET", f"{path}/renewals").body["items"]
    assert (renewal["status"], renewal["amount"]) == ("done", {"amount": subscriber.amount, "currency": "USD"})
    assert len(shop.charges(subscriber, status="succeeded")) == 1


def test_another_card_pays_what_is_past_due(shop: Shop, api: Api) -> None:
    """After a decline the new card is charged at once, and the subscription is active again."""
    subscriber = shop.subscribe(card="pm_card_chargeCustomerFail")
    shop.renew(subscriber)
    path = f"/subscriptions/{subscriber.subscription_id}"
    assert api("GET", path).body["status"] == "past_due"
    row = shop.row(subscriber)
    saved = shop.give_card(subscriber, "pm_card_visa")
    shop.edit(subscriber, payment_method=row["payment_method"])
    assert api("PUT", f"{path}/payment-method", {"payment_method": saved}).status == 200
    wait_until(lambda: api("GET", path).body["status"] == "active")
    assert len(shop.charges(subscriber, status="succeeded")) == 1


def test_a_refund(shop: Shop, api: Api) -> None:
    """A part of a renewal is refunded by the gateway, and the customer gets a receipt; the repeated request is the same
    refund."""
    subscriber = shop.subscribe()
    shop.renew(subscriber)
    (item,) = shop.ledger(subscriber)
    path = f"/subscriptions/{subscriber.subscription_id}/refund"
    body = {"renewal_date": item["renewal_date"], "amount": {"amount": "10.00", "currency": "USD"}}
    for _ in range(2):
        given = api("POST", path, body, Idempotency_Key=subscriber.subscription_id)
        assert (given.status, given.body["left"]["amount"]) == (201, "19.99")
    (charge,) = shop.charges(subscriber, status="succeeded")
    assert charge["amount_refunded"] == 1000
    mail = wait_until(lambda: shop.mails(subscriber)[1:])[0]
    (pdf,) = [part.get_content() for part in mail.iter_attachments()]
    words = text_of(pdf)
    assert "REFUNDED" in words
    assert "10.00 USD" in words
    assert len(shop.mails(subscriber)) == 2


def test_the_link_in_the_mail_opens_the_receipt(shop: Shop, api: Api) -> None:
    """Followed without a signature, as by a browser, the link opens the mailed PDF; with a single bit changed the
    answer is 404."""
    subscriber = shop.subscribe()
    shop.renew(subscriber)
    (mail,) = shop.mails(subscriber)
    (attached,) = [part.get_content() for part in mail.iter_attachments()]
    page = mail.get_body(("html",))
    assert page is not None
    link = re.findall(r'href="([^"]+/receipts/[^"]+)"', page.get_content())[0]
    opened = urllib3.request("GET", link, timeout=10)
    assert (opened.status, opened.headers["Content-Type"]) == (200, "application/pdf")
    assert opened.data == attached
    altered = link[:-1] + chr(ord(link[-1]) ^ 1)
    assert urllib3.request("GET", altered, timeout=10).status == 404
    (listed,) = api("GET", f"/subscriptions/{subscriber.subscription_id}/receipts").body["items"]
    assert listed["link"] == link


@pytest.mark.parametrize("many", [150, pytest.param(1000, marks=pytest.mark.proof)])
def test_many_editors_lose_no_update(shop: Shop, api: Api, many: int) -> None:
    """Of PATCH calls with If-Match, eight at once and each after a fresh read, the row counts exactly the accepted
    edits; every other editor is told to read again or to wait."""
    subscriber = shop.subscribe(plan="0", renewal_date=(today() + timedelta(days=9)).isoformat())
    path = f"/subscriptions/{subscriber.subscription_id}"

    def edit(_: int) -> int:
        read = api("GET", path)
        counted = {"plan": str(int(read.body["plan"]) + 1)}
        return api("PATCH", path, counted, If_Match=read.headers["etag"]).status

    with ThreadPoolExecutor(8) as editors:
        statuses = Counter(editors.map(edit, range(many)))
    assert set(statuses) <= {200, 412, 429}
    assert statuses[200] >= 1
    assert (shop.row(subscriber)["plan"], shop.row(subscriber)["version"]) == (str(statuses[200]), statuses[200])


def test_every_list_is_found_by_its_index(shop: Shop, api: Api) -> None:
    """A customer's subscriptions are listed by the customer's index, and a paused subscription by its status."""
    subscriber = shop.subscribe(status="paused")
    listed = api("GET", f"/subscriptions?customer_id={subscriber.customer_id}").body["items"]
    assert [item["subscription_id"] for item in listed] == [subscriber.subscription_id]
    paused = api("GET", "/subscriptions?status=paused&limit=100").body["items"]
    assert subscriber.subscription_id in [item["subscription_id"] for item in paused]
