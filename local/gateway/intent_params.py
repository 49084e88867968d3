"""The parameters of the calls about a PaymentIntent. All other parameters are unknown."""

from typing import Any

from local.gateway import params
from local.gateway.errors import bad_parameter


def _no_longer(_value: Any, name: str) -> None:
    """Refuse a parameter that Stripe has removed (docs.stripe.com/changelog/endive/2026-09-30)."""
    message = f"{name} is no longer supported. Use allowed_payment_method_types instead."
    raise bad_parameter(message, name, "payment_method_types_no_longer_supported")


TYPES: params.Spec = {
    "allowed_payment_method_types": params.list_of(params.one_of("card")),
    "payment_method_types": _no_longer,
}
_OPTIONS: params.Spec = {
    "payment_method_options": params.fields(
        {
            "card": params.fields(
                {
                    "request_three_d_secure": params.one_of("automatic", "any", "challenge"),
                    "stored_credential_usage": params.one_of("installment", "recurring", "unscheduled"),
                }
            )
        }
    )
}


_DESCRIBING: params.Spec = {
    **params.EXPAND,
    **TYPES,
    **_OPTIONS,
    "description": params.text,
    "metadata": params.metadata,
    "payment_method": params.given,
    "receipt_email": params.text,
    "setup_future_usage": params.one_of("off_session", "on_session"),
    "statement_descriptor": params.text,
    "statement_descriptor_suffix": params.text,
}


def _off_session(value: Any, name: str) -> bool:
    """Accept true, false, or one of the two values that also say why the customer is absent."""
    return value in ("one_off", "recurring") or params.boolean(value, name)


CREATE: params.Spec = {
    **_DESCRIBING,
    "amount": params.integer,
    "currency": params.given,
    "customer": params.given,
    "automatic_payment_methods": params.fields(
        {"enabled": params.boolean, "allow_redirects": params.one_of("always", "never")}, needed=("enabled",)
    ),
    "confirm": params.boolean,
    "off_session": _off_session,
    "return_url": params.given,
}
UPDATE: params.Spec = {
    **_DESCRIBING,
    "amount": params.integer,
    "currency": params.given,
    "customer": params.given,
}
CONFIRM: params.Spec = {
    **params.EXPAND,
    **TYPES,
    **_OPTIONS,
    "off_session": _off_session,
    "payment_method": params.given,
    "receipt_email": params.text,
    "return_url": params.given,
    "setup_future_usage": params.one_of("off_session", "on_session"),
}
CANCEL: params.Spec = {
    **params.EXPAND,
    "cancellation_reason": params.one_of("duplicate", "fraudulent", "requested_by_customer", "abandoned"),
}
LIST: params.Spec = {**params.PAGE, "created": params.time_range, "customer": params.given}
