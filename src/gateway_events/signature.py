"""Check the signature of an event of the gateway with the gateway's official SDK.

https://docs.stripe.com/webhooks/signature: HMAC-SHA256 of the time and the raw bytes, five minutes' tolerance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def is_signed(body: bytes, header: str, secrets: Iterable[str]) -> bool:
    """Whether a secret signed the bytes within the last five minutes.

    Args:
        header: the value of Stripe-Signature.
    """
    return any(_is_signed_by(secret, body, header) for secret in secrets)


def _is_signed_by(secret: str, body: bytes, header: str) -> bool:
    # Imported on the first event: a process without a valid secret never needs the SDK.
    import stripe

    try:
        stripe.WebhookSignature.verify_header(body, header, secret, tolerance=stripe.Webhook.DEFAULT_TOLERANCE)
    except stripe.SignatureVerificationError:
        return False
    except (ValueError, TypeError, OverflowError):  # no UTF-8 in the body, or no ASCII in the header
        return False
    return True
