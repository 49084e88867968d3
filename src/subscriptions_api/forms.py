"""The forms of the texts in a request: each pattern of the API document, with a sentence for the caller."""

from renewals.domain import subscription
from renewals.domain.subscription import GATEWAY_ID_FORM, ID_FORM

ID = f"^{subscription.ID.pattern}$"
GATEWAY_ID = f"^{subscription.GATEWAY_ID.pattern}$"
DAY = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
LOCALE = r"^[A-Za-z]{2,3}([_-][A-Za-z0-9]{2,8}){0,3}$"
AMOUNT = r"^(0|[1-9][0-9]{0,11})(\.[0-9]{1,3})?$"
CURRENCY = r"^[A-Z]{3}$"
IDEMPOTENCY_KEY = r"^[\x21-\x7e]{1,255}$"
IF_MATCH = r"^(\*|\"[\x21\x23-\x7e]{1,100}\"(, ?\"[\x21\x23-\x7e]{1,100}\"){0,9})$"

SENTENCES = {
    ID: f"is not an id: {ID_FORM}",
    GATEWAY_ID: f"is not an id of the gateway: {GATEWAY_ID_FORM}",
    DAY: "is not a date of the form YYYY-MM-DD",
    LOCALE: "is not a language tag such as en or pt-BR",
    AMOUNT: "is not an amount such as 29.99: digits, with a point before the decimals",
    CURRENCY: "is not a code of three capital letters such as USD",
    IDEMPOTENCY_KEY: "is not 1 to 255 visible ASCII characters without a space",
    IF_MATCH: "is neither * nor an ETag in double quotes, as a reading returned it",
}
"""A sentence for each pattern, after the name of the field."""
