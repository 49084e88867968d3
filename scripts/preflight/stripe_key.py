"""Checks Stripe's key: the key's mode, and the permissions for our calls. No call changes anything.

A write is requested without the required parameters: the answer 400 means that the key has the permission, 403 that the
permission is missing (https://docs.stripe.com/keys/restricted-api-keys). The check never prints the key, nor Stripe's
messages, which quote a part of the key.
"""

from collections.abc import Iterator

import urllib3

from scripts.preflight.findings import Finding, mind, ok, unknown, wrong

_SECONDS = 10
_CALLS = (
    ("PaymentIntents, write", "POST", "/v1/payment_intents"),
    ("PaymentIntents, read", "GET", "/v1/payment_intents?limit=1"),
    ("Refunds, write", "POST", "/v1/refunds"),
    ("Refunds, read", "GET", "/v1/refunds/re_preflight"),
    ("Charges, read", "GET", "/v1/charges?limit=1"),
    ("PaymentMethods, read", "GET", "/v1/payment_methods/pm_preflight"),
    ("Customers, read", "GET", "/v1/customers/cus_preflight"),
    ("Disputes, read", "GET", "/v1/disputes/dp_preflight"),
    ("Radar early fraud warnings, read", "GET", "/v1/radar/early_fraud_warnings/issfr_preflight"),
    ("Checkout Sessions, write", "POST", "/v1/checkout/sessions"),
    ("Checkout Sessions, read", "GET", "/v1/checkout/sessions/cs_preflight"),
    ("SetupIntents, read", "GET", "/v1/setup_intents/seti_preflight"),
    ("Events, read", "GET", "/v1/events?limit=1"),
)


def look(key: str, endpoint: str, environment: str) -> Iterator[Finding]:
    """Yield the findings about the key. endpoint: the gateway's base address. environment: the parameter
    Environment.
    """
    kind, _, rest = key.partition("_")
    mode = rest.partition("_")[0]
    if kind == "pk":
        yield wrong("Stripe", "This is a publishable key, which cannot charge: give a secret key or a restricted key.")
        return
    if kind not in ("sk", "rk") or mode not in ("test", "live"):
        yield wrong("Stripe", "This is not a key of Stripe (sk_live_..., rk_live_..., sk_test_..., rk_test_...).")
        return
    answers = {needed: _status(key, endpoint, method, path) for needed, method, path in _CALLS}
    if 401 in answers.values():
        yield wrong("Stripe", "Stripe does not know this key: the key is mistyped, or was rolled or deleted.")
        return
    if None in answers.values():
        yield unknown("Stripe", f"{endpoint} gave no clear answer: try again, and see <https://status.stripe.com>.")
        return
    yield from _mode(mode, environment)
    refused = [needed for needed, status in answers.items() if status == 403]
    if refused:
        yield wrong(
            "Stripe key", f"The key lacks permissions: {'; '.join(refused)}. Add them in Stripe's dashboard, API keys."
        )
    else:
        yield ok("Stripe key", "The key may make every call that renewals, refunds, new cards and audits need.")
    if kind == "sk":
        yield mind(
            "Stripe key", "The key may do everything in Stripe. A restricted key needs only " + "; ".join(answers) + "."
        )


def _mode(mode: str, environment: str) -> Iterator[Finding]:
    if (mode == "live") == (environment == "prod"):
        yield ok("Stripe", f"A {mode} key for Environment={environment}.")
    elif mode == "live":
        yield wrong(
            "Stripe",
            f"A live key for Environment={environment}, where test clocks are allowed: real cards would be charged.",
        )
    else:
        yield mind(
            "Stripe", "A test key for Environment=prod: nobody is really charged, and Stripe does not find live ids."
        )


def _status(key: str, endpoint: str, method: str, path: str) -> int | None:
    """Return the answer's status; None if the answer tells nothing about the key (no answer, 429, or a fault of
    Stripe).
    """
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/x-www-form-urlencoded"}
    try:
        answer = urllib3.request(
            method, f"{endpoint}{path}", headers=headers, timeout=_SECONDS, retries=False, redirect=False
        )
    except urllib3.exceptions.HTTPError:
        return None
    return None if answer.status == 429 or answer.status >= 500 else answer.status
