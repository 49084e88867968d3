"""Processes a request to the v1 API, from the key to the answer.

The order of the checks is Stripe's (docs.stripe.com/error-low-level): key, rate limits, parameters, idempotency, object
lock, and finally the endpoint. The gateway does not store an answer for a failure before the endpoint.
"""

import asyncio
import base64
import json
import secrets
import sys
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from local.gateway import charges, checkout, errors, intent_outcomes, params
from local.gateway.deliveries import Deliveries
from local.gateway.errors import GatewayError
from local.gateway.hostile import Rule, Rules
from local.gateway.idempotency import Answer, IdempotencyKeys
from local.gateway.operations import Operation
from local.gateway.world import NO_REQUEST, Call, Settlement, World

_RATE_LIMITS = {"rate_limit": "global-rate", "lock_timeout": "resource-specific"}
"""Maps the code of a 429 to the header that names the exceeded limit (docs.stripe.com/rate-limits)."""

_WORTH_ANOTHER_TRY = (409, 429, 500, 503)

TRANSPORT = "local.gateway.transport"
"""The key in the ASGI scope under which the server stores the connection's transport."""


class Dropped(Response):
    """An answer that closes the connection without sending a single byte."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - nothing is sent
        scope[TRANSPORT].abort()
        while (await receive())["type"] != "http.disconnect":
            pass


class Api:
    def __init__(self, api_key: str) -> None:
        self._api_key = api_key
        self.world = World()
        self.keys = IdempotencyKeys()
        self.rules = Rules()
        self.deliveries = Deliveries(self.world, self.pass_time)
        self.world.send = self.deliveries.take

    def pass_time(self) -> None:
        """End the payments, the refunds and the sessions whose time has come."""
        intent_outcomes.settle_due(self.world)
        checkout.expire_due(self.world)
        charges.settle_refunds_due(self.world)

    async def serve(self, operation: Operation, request: Request) -> Response:
        request_id = f"req_{secrets.token_hex(7)}"
        headers = {"Request-Id": request_id}
        self.world.url = str(request.base_url).rstrip("/")
        limited = ""
        for echoed in ("Stripe-Version", "Idempotency-Key"):
            if echoed in request.headers:
                headers[echoed] = request.headers[echoed]
        try:
            answer, dropped = await self._answer(operation, request, request_id)
        except GatewayError as error:
            answer, dropped = Answer(error.status, _encoded(error.body), request_id), False
            limited = _RATE_LIMITS.get(str(error.error.get("code")), "")
        except Exception:  # noqa: BLE001 - our own fault is a 500, as at any gateway, and is shown on stderr
            traceback.print_exc(file=sys.stderr)
            answer, dropped = Answer(500, _encoded(errors.broken().body), request_id), False
        if dropped:
            return Dropped()
        if operation.method == "POST":  # docs.stripe.com/error-low-level
            headers["Stripe-Should-Retry"] = "true" if answer.status in _WORTH_ANOTHER_TRY else "false"
        if limited:
            headers["Stripe-Rate-Limited-Reason"] = limited
        if "Idempotency-Key" in headers:
            headers["Original-Request"] = answer.request_id
            if answer.request_id != request_id:
                headers["Idempotent-Replayed"] = "true"
        return Response(answer.body, answer.status, headers, "application/json")

    async def _answer(self, operation: Operation, request: Request, request_id: str) -> tuple[Answer, bool]:
        """Return the answer, and whether to drop the connection instead of sending the answer."""
        self._authorize(request)
        given = params.decode(await _encoded_params(request))
        path_id = request.path_params.get("id", "")
        rule = self._rule(operation, given, path_id)
        mode = rule.mode if rule else ""
        _refuse_by(mode, operation, given, path_id)
        if mode == "drop_before":
            return Answer(0, b"", request_id), True
        self.pass_time()
        checked = params.check(given, operation.takes, operation.needs)
        key = request.headers.get("Idempotency-Key") if operation.method == "POST" else None
        with ExitStack() as held:
            if key:
                fingerprint = json.dumps([request.url.path, given], sort_keys=True)
                stored = self.keys.begin(key, fingerprint, self.world.now())
                if stored:
                    return stored, mode == "drop_after"
                held.callback(self.keys.release, key)
            if operation.locks:
                held.enter_context(self._locked(path_id))
            if rule and mode == "slow":
                await asyncio.sleep(rule.seconds or 0)
            call = Call(path_id, checked, self._settlement(rule), bare=mode == "bare")
            self.world.request = {"id": request_id, "idempotency_key": key}
            try:
                answer = self._execute(operation, call, mode, request_id)
            finally:
                self.world.request = dict(NO_REQUEST)
            if key:
                self.keys.keep(key, answer)
        return answer, mode == "drop_after"

    def _execute(self, operation: Operation, call: Call, mode: str, request_id: str) -> Answer:
        """Run the endpoint. Raises only errors whose answer must not be stored under the idempotency key."""
        try:
            if mode == "500":
                raise errors.broken()
            made = operation.handle(self.world, call)
            expanded = self.world.expand(made, call.params.get("expand", ()))
            status, body = 200, _encoded(expanded)
        except GatewayError as error:
            if not error.kept:
                raise
            status, body = error.status, _encoded(error.body)
        if mode == "500_after":
            status, body = 500, _encoded(errors.broken().body)
        return Answer(status, body, request_id)

    def _authorize(self, request: Request) -> None:
        """Check the key: Bearer, or Basic with the key as user name (docs.stripe.com/api/authentication)."""
        scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic":
            try:
                credentials = base64.b64decode(credentials).decode().partition(":")[0]
            except ValueError:
                credentials = ""
        if scheme not in ("Bearer", "Basic") or not credentials:
            message = (
                "You did not provide an API key. You need to provide your API key in the Authorization header, using"
                " Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')."
            )
            raise errors.unauthorized(message)
        if not secrets.compare_digest(credentials.encode(), self._api_key.encode()):
            masked = "*" * max(len(credentials) - 4, 0) + credentials[-4:]
            raise errors.unauthorized(f"Invalid API Key provided: {masked}")

    def _rule(self, operation: Operation, given: dict[str, Any], path_id: str) -> Rule | None:
        intent = self.world.kinds["payment_intent"].get(path_id)
        customer = intent["customer"] if intent else given.get("customer")
        confirms = operation.name == "payment_intents.confirm" or given.get("confirm") == "true"
        return self.rules.take(operation.name, customer, confirms=confirms)

    def _settlement(self, rule: Rule | None) -> Settlement | None:
        if rule is None or rule.mode != "processing":
            return None
        due = None if rule.seconds is None else self.world.now() + rule.seconds
        return Settlement(succeeds=rule.outcome == "succeeded", due=due)

    @contextmanager
    def _locked(self, identity: str) -> Iterator[None]:
        if identity in self.world.busy:
            raise errors.locked()
        self.world.busy.add(identity)
        try:
            yield
        finally:
            self.world.busy.remove(identity)


def _refuse_by(mode: str, operation: Operation, given: dict[str, Any], path_id: str) -> None:
    """Raise the error of a hostile mode that refuses a request before all checks."""
    if mode == "403":
        raise errors.forbidden(_permission(operation))
    if mode == "429":
        raise errors.rate_limited()
    if mode == "503":
        raise errors.broken(503)
    if mode == "other_mode":
        label = operation.name.partition(".")[0].removesuffix("s")
        named = path_id or str(given.get("customer", "cus_live"))
        param = "id" if path_id else "customer"
        raise errors.other_mode(label if path_id else "customer", named, param, in_path=bool(path_id))


def _permission(operation: Operation) -> str:
    """Return the permission that a restricted key needs for an operation, such as rak_dispute_read."""
    objects = operation.name.rpartition(".")[0].replace(".", "_").removesuffix("s")
    return f"rak_{objects}_{'read' if operation.method == 'GET' else 'write'}"


async def _encoded_params(request: Request) -> str:
    body = (await request.body()).decode("utf-8", "replace")
    kind = request.headers.get("Content-Type", "application/x-www-form-urlencoded")
    if body and not kind.startswith("application/x-www-form-urlencoded"):
        message = (
            "Invalid request (check that your POST content type is application/x-www-form-urlencoded). If you have any"
            " questions, we can help at https://support.stripe.com/."
        )
        raise GatewayError(400, "invalid_request_error", message, kept=False)
    return "&".join(part for part in (request.url.query, body) if part)


def _encoded(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer, indent=2).encode()
