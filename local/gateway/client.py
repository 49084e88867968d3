"""A client of the control endpoints, for tests and the demo. Payments go through the official SDK."""

import json
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import stripe

_TIMEOUT = 10.0


def official_client(url: str, api_key: str, **options: Any) -> stripe.StripeClient:
    """Return the official SDK's client for the gateway at `url`.

    Telemetry is off, because the SDK's telemetry writes an id into the home folder.
    """
    stripe.enable_telemetry = False
    return stripe.StripeClient(api_key, base_addresses={"api": url}, **options)


class SandboxError(Exception):
    """The gateway refused a control call; the message says why."""


class Sandbox:
    """Controls the gateway at `url`.

    Every method makes a single call. A method raises SandboxError if the gateway refuses the call, and OSError if the
    gateway is unreachable.
    """

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url).netloc

    def hostile(self, mode: str, operation: str = "*", **rule: Any) -> None:
        """Make matching calls meet `mode` from now on.

        Args:
            mode: a hostile mode, see `local.gateway.hostile`.
            operation: a pattern for the names of operations.
            rule: `calls`=n (default: the next call) or `probability`=p with `seed`; also `customer`, `seconds`,
                `outcome`.
        """
        self._call("POST", "/hostile", {"mode": mode, "operation": operation, **rule})

    def hostile_rules(self) -> list[dict[str, Any]]:
        """Return the rules that may still act, with the number of calls left."""
        rules: list[dict[str, Any]] = self._call("GET", "/hostile")["rules"]
        return rules

    def peaceful(self) -> None:
        """Remove all hostile modes."""
        self._call("DELETE", "/hostile")

    def authenticate(self, payment_intent: str, outcome: str = "succeeded") -> dict[str, Any]:
        """Play the customer at 3-D Secure. Returns the changed intent."""
        return self._call("POST", f"/payment_intents/{payment_intent}/authenticate", {"outcome": outcome})

    def give_card(self, session: str, card: str = "pm_card_visa") -> dict[str, Any]:
        """Play the customer who saves a test card at the page of a session. Returns the changed session."""
        return self._call("POST", f"/checkout/sessions/{session}/give_card", {"card": card})

    def settle(self, payment_intent: str, outcome: str = "succeeded") -> dict[str, Any]:
        """End `processing`. Returns the changed intent."""
        return self._call("POST", f"/payment_intents/{payment_intent}/settle", {"outcome": outcome})

    def settle_refund(self, refund: str, outcome: str = "succeeded") -> dict[str, Any]:
        """Give a refund its final result, `succeeded`, `failed` or `canceled`. Returns the changed refund."""
        return self._call("POST", f"/refunds/{refund}/settle", {"outcome": outcome})

    def refund_in_dashboard(self, payment_intent: str, amount: int | None = None, **more: Any) -> dict[str, Any]:
        """Refund a payment, or `amount` of the payment, as the dashboard does: without metadata. `more`: `reason`.
        Returns the refund.
        """
        asked = more if amount is None else {"amount": amount, **more}
        return self._call("POST", f"/payment_intents/{payment_intent}/refund", asked)

    def dispute(self, payment_intent: str, reason: str = "fraudulent", **more: Any) -> dict[str, Any]:
        """Play a customer who disputes a payment at the bank. Returns the dispute.

        Args:
            payment_intent: the payment.
            reason: the reason, in Stripe's words.
            more: `amount` for a part of the payment; `withdrawn`=False, and the bank takes the money later;
                `inquiry`=True, and the bank only asks.
        """
        return self._call("POST", f"/payment_intents/{payment_intent}/dispute", {"reason": reason, **more})

    def change_dispute(self, dispute: str, step: str) -> dict[str, Any]:
        """Take the next step of a dispute: `withdraw`, `respond`, `won`, `lost` or `warning_closed`. Returns the
        dispute.
        """
        return self._call("POST", f"/disputes/{dispute}", {"step": step})

    def warn(self, payment_intent: str, fraud_type: str = "misc") -> dict[str, Any]:
        """Play a card issuer that suspects fraud. Returns the early fraud warning."""
        return self._call("POST", f"/payment_intents/{payment_intent}/warn", {"fraud_type": fraud_type})

    def update_card_automatically(self, payment_method: str, **card: Any) -> dict[str, Any]:
        """Play the card network that renews a saved card: `exp_month`, `exp_year`, `last4`. Returns the card."""
        return self._call("POST", f"/payment_methods/{payment_method}/update_automatically", card)

    def send_events(self, url: str, secret: str, *modes: str, **more: Any) -> None:
        """Send all events to a webhook from now on.

        Args:
            url: the webhook's address, http:// on this machine.
            secret: the signing secret, whsec_...
            modes: the ways of delivery (see `local.gateway.deliveries`), by default in_order; with several, every event
                draws one.
            more: `seconds`, `seed`, `previous`, `enabled_events`.
        """
        self._call("POST", "/webhook", {"url": url, "secret": secret, "modes": modes or ("in_order",), **more})

    def send_no_events(self) -> None:
        """Remove the webhook."""
        self._call("DELETE", "/webhook")

    def send_event(self, event: str, seconds: float = 0) -> dict[str, Any]:
        """Send an event once more, after so many seconds on the sandbox's clock. Returns the event."""
        return self._call("POST", f"/events/{event}/send", {"seconds": seconds})

    def deliveries(self) -> dict[str, Any]:
        """Return the webhook and the numbers of the deliveries, as `local.gateway.deliveries.Deliveries.shown` does."""
        return self._call("GET", "/webhook")

    def pay_elsewhere(self, customer: str, amount: int, currency: str = "usd", kind: str = "link") -> dict[str, Any]:
        """Play a customer who pays a different system, without a card. Returns the intent."""
        asked = {"amount": amount, "currency": currency, "type": kind}
        return self._call("POST", f"/customers/{customer}/pay_elsewhere", asked)

    def change_card(self, payment_method: str, behaves_like: str) -> None:
        """Make a saved card behave like a test card, named by number or test id."""
        self._call("POST", f"/payment_methods/{payment_method}/card", {"behaves_like": behaves_like})

    def expire_idempotency_keys(self) -> int:
        """Forget all stored answers, as if 24 hours had passed. Returns the number of forgotten answers."""
        return int(self._call("POST", "/idempotency_keys/expire")["expired"])

    def set_clock(self, now: float | None) -> int:
        """Set the sandbox's clock to `now` (seconds since 1970); the clock then runs on. None restores the machine's
        time.
        """
        return int(self._call("POST", "/clock", {"now": now})["now"])

    def clock(self) -> int:
        return int(self._call("GET", "/clock")["now"])

    def charges(self, **equal: Any) -> list[dict[str, Any]]:
        """Return every attempted charge, oldest first. `equal` filters: charges(customer=..., status="succeeded")."""
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
