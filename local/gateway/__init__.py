"""A sandbox payment gateway: Stripe's v1 API over HTTP, on loopback, in memory. The official SDK drives the gateway.

    python -m local.gateway --port 0 --api-key sk_test_...      prints first {"url": "http://127.0.0.1:..."} on stdout
    with serving() as gateway:                                  in a thread of this process, on a free port
        official_client(gateway.url, gateway.api_key).v1.customers.create({"name": "Ann"})
        gateway.sandbox.hostile("drop_after", "payment_intents.confirm")

The gateway keeps Stripe's rules (every module names the documents that the module follows): test cards, declines, 3-D
Secure, idempotency keys, strict parameters, error bodies. `operations.py` lists the supported operations; anything else
is an unrecognized URL or parameter.

Deliberate differences from Stripe: the gateway accepts card numbers without further ado (an ordinary account must ask
Stripe for the permission). Parameters that the gateway does not act on are unknown parameters, for example manual
capture. payment_method_types is refused in every API version. A card can be told to behave like a different card. A
card issued in India (pm_card_in) is accepted without a mandate; an off-session payment with the card stays in
processing for 26 hours. The gateway limits rates only on demand. A Checkout Session has the mode `setup` alone. Events
exist for payments, refunds, disputes, cards, sessions for a new card, and early fraud warnings only; events of other
objects, and `charge.*` events about anything but disputes, are missing. All balances are in US dollars, so that a
dispute in another currency shows an exchange rate.

Customers act at two pages of HTML (`pages.py`): a session's `url` leads to the page for a new card, and the
`next_action` of a payment that waits for the customer leads to the bank's page.

The control endpoints (JSON, without a key; the class `Sandbox` is their client) do not exist at Stripe:

    POST   /_sandbox/hostile            {"mode", "operation"?, "customer"?, "calls"? | "probability"?, "seed"?,
                                        "seconds"?, "outcome"?}: `hostile.py` explains the modes
    GET    /_sandbox/hostile            -> {"rules": [...]}: the rules that may still act
    DELETE /_sandbox/hostile            removes all rules
    POST   /_sandbox/payment_intents/{id}/authenticate   {"outcome"?: "succeeded" | "failed"}: plays the customer at
                                        3-D Secure -> the intent
    POST   /_sandbox/payment_intents/{id}/settle         {"outcome"?}: ends `processing` -> the intent
    POST   /_sandbox/payment_intents/{id}/refund         {"amount"?, "reason"?}: refunds in the dashboard, without
                                        metadata -> the refund
    POST   /_sandbox/payment_intents/{id}/dispute        {"reason"?, "amount"?, "withdrawn"?: true, "inquiry"?: false}:
                                        the customer contests the payment at the bank -> the dispute
    POST   /_sandbox/disputes/{id}      {"step": "withdraw" | "respond" | "won" | "lost" | "warning_closed"}
                                        -> the dispute; `disputes.py` explains the steps
    POST   /_sandbox/payment_intents/{id}/warn           {"fraud_type"?}: the card issuer suspects fraud -> the early
                                        fraud warning
    POST   /_sandbox/refunds/{id}/settle                 {"outcome"?, also "canceled"}: gives a refund its final result
                                        -> the refund
    POST   /_sandbox/checkout/sessions/{id}/give_card    {"card"?: test id}: the customer saves a card at the session's
                                        page, and confirms at the bank if the bank asks -> the session
    POST   /_sandbox/customers/{id}/pay_elsewhere        {"amount", "currency", "type"?}: the customer pays a different
                                        system, by Link or another type that is not a card -> the intent
    POST   /_sandbox/payment_methods/{id}/card           {"behaves_like": number or test id}: the saved card is lost,
                                        has money again, ...
    POST   /_sandbox/payment_methods/{id}/update_automatically   {"exp_month"?, "exp_year"?, "last4"?}: the card network
                                        renews a saved card -> the payment method
    POST   /_sandbox/webhook            {"url", "secret", "previous"?, "modes"?, "seconds"?, "seed"?,
                                        "enabled_events"?}: sends events from now on; `deliveries.py` explains the modes
    GET    /_sandbox/webhook            -> {"webhook", "open", "due", "drawn", "tried", "tries"}: `deliveries.py`
                                        explains the numbers
    DELETE /_sandbox/webhook            sends events no more
    POST   /_sandbox/events/{id}/send   {"seconds"?}: sends an event once more -> the event
    POST   /_sandbox/idempotency_keys/expire             as if 24 hours had passed -> {"expired": number of keys}
    POST   /_sandbox/clock              {"now": seconds since 1970 | null}: the clock continues from the given time;
                                        null: from the real time
    GET    /_sandbox/clock              -> {"now"}
    GET    /_sandbox/charges            -> {"charges": [...]}: all attempts, oldest first: id, payment_intent, customer,
                                        payment_method, amount and amount_refunded (minor units), currency, status
                                        (succeeded, pending, failed), paid, captured, failure_code, created, metadata
"""

from local.gateway.client import Sandbox, SandboxError, official_client
from local.gateway.server import DEFAULT_API_KEY, Gateway, serving

__all__ = ["DEFAULT_API_KEY", "Gateway", "Sandbox", "SandboxError", "official_client", "serving"]
