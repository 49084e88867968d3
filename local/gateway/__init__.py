"""A sandbox payment gateway: Stripe's v1 API over HTTP, on loopback, in memory, driven by the official SDK unchanged.

    python -m local.gateway --port 0 --api-key sk_test_...      its first line on stdout: {"url": "http://127.0.0.1:..."}
    with serving() as gateway:                                  in a thread of this process, on a free port
        official_client(gateway.url, gateway.api_key).v1.customers.create({"name": "Ann"})
        gateway.sandbox.hostile("drop_after", "payment_intents.confirm")

It keeps Stripe's rules (each module names the document it follows): test cards, declines, 3-D Secure, idempotency keys,
strict parameters, error bodies. `operations.py` lists what it speaks; all else is an unrecognized URL or parameter.

Where it differs from Stripe, on purpose: card numbers are taken as they are (an ordinary account must ask for that);
parameters that it does not act on are unknown to it, captures by hand among them; payment_method_types is refused in
every API version; a card can be made to behave like another one; an India-issued card (pm_card_in) is taken without a
mandate, and off session it is in processing for 26 hours; no webhooks are sent, and no rate limit holds but the one
asked for.

Control endpoints (JSON, no key; `Sandbox` is their client), which Stripe does not have:

    POST   /_sandbox/hostile            {"mode", "operation"?, "customer"?, "calls"? | "probability"?, "seed"?,
                                        "seconds"?, "outcome"?}: modes and meanings in `hostile.py`
    GET    /_sandbox/hostile            -> {"rules": [...]}: those that may still act
    DELETE /_sandbox/hostile            takes all of them back
    POST   /_sandbox/payment_intents/{id}/authenticate   {"outcome"?: "succeeded" | "failed"}: plays the customer at
                                        3-D Secure -> the intent
    POST   /_sandbox/payment_intents/{id}/settle         {"outcome"?}: ends `processing` -> the intent
    POST   /_sandbox/refunds/{id}/settle                 {"outcome"?}: what becomes of a refund later -> the refund
    POST   /_sandbox/customers/{id}/pay_elsewhere        {"amount", "currency", "type"?}: the customer pays another
                                        system, by Link or another type that is no card -> the intent
    POST   /_sandbox/payment_methods/{id}/card           {"behaves_like": number or test id}: the saved card was lost,
                                        has money again, ...
    POST   /_sandbox/idempotency_keys/expire             as if 24 hours had passed -> {"expired": how many}
    POST   /_sandbox/clock              {"now": seconds since 1970 | null}: goes on from there; null: the real time
    GET    /_sandbox/clock              -> {"now"}
    GET    /_sandbox/charges            -> {"charges": [...]}: all attempts, oldest first: id, payment_intent, customer,
                                        payment_method, amount and amount_refunded (minor units), currency, status
                                        (succeeded, pending, failed), paid, captured, failure_code, created, metadata
"""

from local.gateway.client import Sandbox, SandboxError, official_client
from local.gateway.server import DEFAULT_API_KEY, Gateway, serving

__all__ = ["DEFAULT_API_KEY", "Gateway", "Sandbox", "SandboxError", "official_client", "serving"]
