"""A client of the control endpoints, for tests and the demo. The payments themselves go through the official SDK."""

import json
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import stripe

_TIMEOUT = 10.0


def official_client(url: str, api_key: str, **options: Any) -> stripe.StripeClient:
    """The official SDK's client of the gateway at `url`. Its telemetry is off: it writes an id into the home folder."""
    stripe.enable_telemetry = False
    return stripe.StripeClient(api_key, base_addresses={"api": url}, **options)


class SandboxError(Exception):
    """The gateway refused a control call; the message says why."""


class Sandbox:
    """Controls the gateway at `url`. Every method is one call, and raises SandboxError if it is refused and OSError if
    the gateway is not there."""

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url).netloc

    def hostile(self, mode: str, operation: str = "*", **rule: Any) -> None:
        """From now on calls that match meet `mode`: the next one, or `calls`=n, or with `probability`=p and `seed`;
        also `customer`, `seconds`, `outcome` (see `local.gateway.hostile`)."""
        self._call("POST", "/hostile", {"mode": mode, "operation": operation, **rule})

    def hostile_rules(self) -> list[dict[str, Any]]:
        """The rules that may still act, with the calls they have left."""
        rules: list[dict[str, Any]] = self._call("GET", "/hostile")["rules"]
        return rules

    def peaceful(self) -> None:
        """Takes back all hostile modes."""
        self._call("DELETE", "/hostile")

    def authenticate(self, payment_intent: str, outcome: str = "succeeded") -> dict[str, Any]:
        """Plays the customer at 3-D Secure; the intent as it is then."""
        return self._call("POST", f"/payment_intents/{payment_intent}/authenticate", {"outcome": outcome})

    def settle(self, payment_intent: str, outcome: str = "succeeded") -> dict[str, Any]:
        """Ends `processing`; the intent as it is then."""
        return self._call("POST", f"/payment_intents/{payment_intent}/settle", {"outcome": outcome})

    def settle_refund(self, refund: str, outcome: str = "succeeded") -> dict[str, Any]:
        """What becomes of a refund later, `succeeded` or `failed`; the refund as it is then."""
        return self._call("POST", f"/refunds/{refund}/settle", {"outcome": outcome})

    def pay_elsewhere(self, customer: str, amount: int, currency: str = "usd", kind: str = "link") -> dict[str, Any]:
        """The customer pays another system, otherwise than by card; the intent."""
        asked = {"amount": amount, "currency": currency, "type": kind}
        return self._call("POST", f"/customers/{customer}/pay_elsewhere", asked)

    def change_card(self, payment_method: str, behaves_like: str) -> None:
        """Makes a saved card behave like another test card, named by number or test id."""
        self._call("POST", f"/payment_methods/{payment_method}/card", {"behaves_like": behaves_like})

    def expire_idempotency_keys(self) -> int:
        """Forgets all stored answers, as if 24 hours had passed; how many there were."""
        return int(self._call("POST", "/idempotency_keys/expire")["expired"])

    def set_clock(self, now: float | None) -> int:
        """The sandbox's clock goes on from `now` (seconds since 1970), or with None is the machine's again."""
        return int(self._call("POST", "/clock", {"now": now})["now"])

    def clock(self) -> int:
        return int(self._call("GET", "/clock")["now"])

    def charges(self, **equal: Any) -> list[dict[str, Any]]:
        """Every charge ever attempted, oldest first; `equal` narrows: charges(customer=..., status="succeeded")."""
        everything: list[dict[str, Any]] = self._call("GET", "/charges")["charges"]
        return [charge for charge in everything if equal.items() <= charge.items()]

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        connection = HTTPConnection(self._address, timeout=_TIMEOUT)
        try:
            connection.request(method, f"/_sandbox{path}", json.dumps(body) if body is not None else None)
            response = connection.getresponse()
            answer: dict[str, Any] = json.loads(response.read())
        finally:
            connection.close()
        if response.status != 200:
            raise SandboxError(answer["error"])
        return answer
