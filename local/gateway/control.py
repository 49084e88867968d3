"""The control endpoints under /_sandbox/ (described in the package's docstring): JSON in, JSON out, without a key.

A wrong call is answered with 400 or 404 and {"error": "..."}.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.gateway import cards, charges, checkout, disputes, fraud_warnings, intent_outcomes, wallet
from local.gateway.api import Api
from local.gateway.deliveries import Webhook
from local.gateway.errors import GatewayError, refused
from local.gateway.world import Call, Object

_Given = Mapping[str, Any]
_Handler = Callable[[Api, str, _Given], dict[str, Any]]
_SHOWN = (
    "id", "payment_intent", "customer", "payment_method", "amount", "amount_refunded", "currency", "status", "paid",
    "captured", "failure_code", "created", "metadata",
)  # fmt: skip


def _add_rule(api: Api, _id: str, given: _Given) -> dict[str, Any]:
    api.rules.add(given)
    return {"rules": api.rules.shown()}


def _show_rules(api: Api, _id: str, _given: _Given) -> dict[str, Any]:
    return {"rules": api.rules.shown()}


def _clear_rules(api: Api, _id: str, _given: _Given) -> dict[str, Any]:
    api.rules.clear()
    return {"rules": []}


def _authenticate(api: Api, identity: str, given: _Given) -> dict[str, Any]:
    return intent_outcomes.authenticate(api.world, identity, succeeds=_succeeds(given))


def _settle(api: Api, identity: str, given: _Given) -> dict[str, Any]:
    return intent_outcomes.settle(api.world, identity, succeeds=_succeeds(given))


def _settle_refund(api: Api, identity: str, given: _Given) -> dict[str, Any]:
    return charges.settle_refund(api.world, identity, _one_of(given, "outcome", "succeeded", "failed", "canceled"))


def _refund(api: Api, identity: str, given: _Given) -> dict[str, Any]:
    named = {name: given[name] for name in ("amount", "reason") if name in given}
    return charges.refund(api.world, Call("", {"payment_intent": identity, **named}))


def _dispute(api: Api, identity: str, given: _Given) -> dict[str, Any]:
    inquiry, withdrawn = given.get("inquiry", False), given.get("withdrawn", True)
    made = disputes.create(
        api.world, _charge_of(api, identity), given.get("reason", "fraudulent"), amount=given.get("amount"),
        inquiry=inquiry,
    )  # fmt: skip
    return disputes.withdraw(api.world, made["id"]) if withdrawn and not inquiry else made


def _change_dispute(api: Api, identity: str, given: _Given) -> dict[str, Any]:
    match _one_of(given, "step", "withdraw", "respond", "won", "lost", "warning_closed"):
        case "withdraw":
            return disputes.withdraw(api.world, identity)
        case "respond":
            return disputes.respond(api.world, identity)
        case status:
            return disputes.close(api.world, identity, status)


def _warn(api: Api, identity: str, given: _Given) -> dict[str, Any]:
    return fraud_warnings.create(api.world, _charge_of(api, identity), given.get("fraud_type", "misc"))


def _charge_of(api: Api, identity: str) -> Object:
    """Return the latest charge of a payment. Raises 400, 404."""
    charge = api.world.at_path("payment_intent", identity)["latest_charge"]
    if charge is None:
        raise refused(f"PaymentIntent {identity} has no charge.")
    return api.world.kinds["charge"][charge]


def _update_automatically(api: Api, identity: str, given: _Given) -> dict[str, Any]:
    return wallet.update_automatically(api.world, identity, given)


def _set_webhook(api: Api, _id: str, given: _Given) -> dict[str, Any]:
    api.deliveries.set_webhook(Webhook.of(given))
    return api.deliveries.shown()


def _show_webhook(api: Api, _id: str, _given: _Given) -> dict[str, Any]:
    return api.deliveries.shown()


def _remove_webhook(api: Api, _id: str, _given: _Given) -> dict[str, Any]:
    api.deliveries.set_webhook(None)
    return api.deliveries.shown()


def _send_event(api: Api, identity: str, given: _Given) -> dict[str, Any]:
    event = api.world.at_path("event", identity)
    api.deliveries.send(event, float(given.get("seconds", 0)))
    return event


def _pay_elsewhere(api: Api, identity: str, given: _Given) -> dict[str, Any]:
    return intent_outcomes.paid_elsewhere(
        api.world, identity, int(given["amount"]), given["currency"], given.get("type", "link")
    )


def _succeeds(given: _Given) -> bool:
    return _one_of(given, "outcome", "succeeded", "failed") == "succeeded"


def _one_of(given: _Given, name: str, *choices: str) -> str:
    """Return a choice, whose default is the first. Raises ValueError."""
    chosen = str(given.get(name, choices[0]))
    if chosen not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}")
    return chosen


def _change_card(api: Api, identity: str, given: _Given) -> dict[str, Any]:
    named = given["behaves_like"]
    api.world.at_path("payment_method", identity)
    api.world.cards[identity] = cards.by_test_id(named) or cards.by_number(named)
    return {"payment_method": identity, "behaves_like": named}


def _give_card(api: Api, identity: str, given: _Given) -> dict[str, Any]:
    method = wallet.find_method(api.world, given.get("card", "pm_card_visa"))
    return checkout.give_card(api.world, identity, method, authenticated=True)


def _expire_keys(api: Api, _id: str, _given: _Given) -> dict[str, Any]:
    return {"expired": api.keys.expire()}


def _set_clock(api: Api, _id: str, given: _Given) -> dict[str, Any]:
    api.world.set_clock(None if given["now"] is None else float(given["now"]))
    api.deliveries.wake()
    return {"now": api.world.now()}


def _show_clock(api: Api, _id: str, _given: _Given) -> dict[str, Any]:
    return {"now": api.world.now()}


def _show_charges(api: Api, _id: str, _given: _Given) -> dict[str, Any]:
    api.pass_time()
    charges = api.world.kinds["charge"].values()
    return {"charges": [{name: charge[name] for name in _SHOWN} for charge in charges]}


_ENDPOINTS: tuple[tuple[str, str, _Handler], ...] = (
    ("POST", "/hostile", _add_rule),
    ("GET", "/hostile", _show_rules),
    ("DELETE", "/hostile", _clear_rules),
    ("POST", "/payment_intents/{id}/authenticate", _authenticate),
    ("POST", "/payment_intents/{id}/settle", _settle),
    ("POST", "/payment_intents/{id}/refund", _refund),
    ("POST", "/payment_intents/{id}/dispute", _dispute),
    ("POST", "/payment_intents/{id}/warn", _warn),
    ("POST", "/refunds/{id}/settle", _settle_refund),
    ("POST", "/disputes/{id}", _change_dispute),
    ("POST", "/checkout/sessions/{id}/give_card", _give_card),
    ("POST", "/customers/{id}/pay_elsewhere", _pay_elsewhere),
    ("POST", "/payment_methods/{id}/card", _change_card),
    ("POST", "/payment_methods/{id}/update_automatically", _update_automatically),
    ("POST", "/webhook", _set_webhook),
    ("GET", "/webhook", _show_webhook),
    ("DELETE", "/webhook", _remove_webhook),
    ("POST", "/events/{id}/send", _send_event),
    ("POST", "/idempotency_keys/expire", _expire_keys),
    ("POST", "/clock", _set_clock),
    ("GET", "/clock", _show_clock),
    ("GET", "/charges", _show_charges),
)


def routes(api: Api) -> list[Route]:
    return [Route(f"/_sandbox{path}", _endpoint(api, handle), methods=[method]) for method, path, handle in _ENDPOINTS]


def _endpoint(api: Api, handle: _Handler) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        try:
            body = await request.body()
            answer = handle(api, request.path_params.get("id", ""), json.loads(body) if body else {})
        except GatewayError as error:
            return JSONResponse({"error": str(error)}, error.status)
        except KeyError as error:
            return JSONResponse({"error": f"{error.args[0]} is missing"}, 400)
        except (TypeError, ValueError) as error:
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse(answer)

    return serve
