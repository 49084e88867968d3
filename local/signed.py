"""Calls the local stack's API like an AWS caller, with AWS Signature Version 4."""

import json
from dataclasses import dataclass
from typing import Any

import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from local.stack import REGION


@dataclass(frozen=True)
class Answer:
    """The answer to a request. The names of `headers` are in lower case; `body` is decoded JSON."""

    status: int
    headers: dict[str, str]
    body: Any


def call(
    url: str, method: str, credentials: Credentials | None, body: Any = None, headers: dict[str, str] | None = None
) -> Answer:
    """Send a request and return the answer, within 30 seconds. Without credentials the request is not signed."""
    data = b"" if body is None else json.dumps(body).encode()
    request = AWSRequest(method, url, data=data, headers={"Content-Type": "application/json"} | (headers or {}))
    if credentials is not None:
        SigV4Auth(credentials, "execute-api", REGION).add_auth(request)
    answer = urllib3.request(method, url, body=data, headers=dict(request.headers), timeout=30, retries=False)
    return Answer(answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.json())
