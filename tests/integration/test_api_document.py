"""The deployed API against its OpenAPI document: right and wrong requests, and only documented answers."""

from collections import Counter
from itertools import cycle
from typing import Any

import pytest
import requests
import schemathesis
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from local.stack import REGION
from scripts.openapi import document
from tests.integration.shop import Shop

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
SIGNER = SigV4Auth(Credentials("test", "test"), "execute-api", REGION)
answers: Counter[str] = Counter()
api = schemathesis.openapi.from_dict(document())


class Signed(requests.auth.AuthBase):
    """Signs a request of the account's root when it is sent."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        signed = AWSRequest(request.method, request.url, data=request.body, headers={})
        SIGNER.add_auth(signed)
        request.headers.update(dict(signed.headers))
        return request


@pytest.fixture(scope="module")
def subscriptions(shop: Shop) -> Any:
    """The ids of subscriptions in every state, and of an unknown subscription, in an endless cycle."""
    statuses = ("active", "past_due", "paused", "unpaid", "canceled")
    there = [shop.subscribe(status=status).subscription_id for status in statuses]
    renewed = shop.subscribe()
    shop.renew(renewed)
    return cycle([*there, renewed.subscription_id, "sub_nobody"])


def requests_of_each_path(many: int) -> settings:
    return settings(
        max_examples=many, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
    )


@api.parametrize()
@requests_of_each_path(25)
def test_no_answer_beside_the_document(case: Any, shop: Shop, subscriptions: Any) -> None:
    """No request causes a server error, and every answer has a documented status, type and shape."""
    ask(case, shop, subscriptions)


@pytest.mark.proof
@pytest.mark.timeout(900)
@api.parametrize()
@requests_of_each_path(500)
def test_no_answer_beside_the_document_to_very_many_requests(case: Any, shop: Shop, subscriptions: Any) -> None:
    """Five hundred requests to every path get only documented answers."""
    ask(case, shop, subscriptions)


def ask(case: Any, shop: Shop, subscriptions: Any) -> None:
    """Send the request and compare the answer with the document.

    The emulator's API Gateway refuses some requests before our code (an unknown path, a signature over a part that HTTP
    altered) in its own words; such answers are counted apart.
    """
    if "subscription_id" in case.path_parameters and case.method != "PUT":
        case.path_parameters["subscription_id"] = next(subscriptions)
    response = case.call(base_url=shop.stack.outputs["LocalApiUrl"], auth=Signed(), allow_redirects=False)
    ours = "x-amzn-errortype" not in {name.lower() for name in response.headers}
    answers[f"{response.status_code}" if ours else "refused before our code"] += 1
    if ours:
        case.validate_response(response, checks=CHECKS)


def test_most_requests_came_through() -> None:
    """Most requests reached the API and were answered in every documented way."""
    assert answers["refused before our code"] < sum(answers.values()) / 5
    assert {"200", "400", "404", "409"} <= set(answers)
