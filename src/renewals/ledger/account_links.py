"""Links to the customer page, and the sessions that begin with such a link. Neither is stored: each is its own proof.

A token is base64url of "full/1767225600/sub_1" (the power, the moment of expiry in seconds, the subscription), a dot,
and base64url of an HMAC-SHA256. The HMAC covers the words of the token and, beside the words, facts of the
subscription's row: the customer, the mail address, and the counter `account_links`. A changed address therefore closes
all links to the earlier address, and a raised counter ("sign out everywhere") closes all links. Links and sessions have
different HMACs, so that no link passes for a session.

A wrong token gets one answer after the same work, whatever is wrong: for each token, the row is read once, and the
HMAC is computed with both keys.

Decisions: D268, D269 (DECISIONS.md).
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING

from renewals.domain.errors import BadSecret
from renewals.domain.strict_json import NotAnObject, read_object

if TYPE_CHECKING:
    from renewals.domain.item_values import Item

COUNTER = "account_links"
"""The attribute of a row that counts how often the customer has signed out everywhere; absent means never."""

NOBODY = "-"
"""The id that is looked up for a token that names no subscription, so that the look-up takes the same time."""

_LONGEST_ID = 1024  # in bytes; the longest range key of DynamoDB, and shorter than the longest partition key
_LAST_SECOND = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp())


class Power(StrEnum):
    """What the holder of a link may do."""

    FULL = "full"
    SEE = "see"
    """Look at the subscription and the receipts. A receipt, which customers forward, has a link of this power."""

    @property
    def lasts(self) -> timedelta:
        """How long a mailed link works. A link in a mail about a refused payment must outlast the dunning schedule of
        30 days. A link on a receipt must outlast a yearly period."""
        return timedelta(days=60) if self is Power.FULL else timedelta(days=400)


class Purpose(StrEnum):
    """What a token is for."""

    LINK = "link"
    SESSION = "session"
    RETURN = "return"
    """The way back from a page of the gateway, also without the cookie of a session."""
    REMINDERS = "reminders"
    """Decline the reminders that may be declined, and take them up again; nothing else."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of the links. previous: the key before a rotation, still accepted; None outside a rotation."""

    current: str
    previous: str | None = None

    @classmethod
    def of_secret(cls, secret: str) -> Keys:
        """Read {"current": "...", "previous": "..."}; "previous" may be absent. Raises BadSecret."""
        try:
            told = read_object(secret)
        except NotAnObject:
            raise BadSecret("the key of the account links is not a JSON object") from None
        current, previous = _key_in(told.get("current")), _key_in(told.get("previous"))
        if current is None:
            raise BadSecret("the secret of the account links has no key in `current`")
        return cls(current, previous)


def _key_in(value: object) -> str | None:
    """Return the key; None if the value is no text that can be encoded: JSON can name half of a surrogate pair."""
    return value if isinstance(value, str) and value and value.encode(errors="ignore").decode() == value else None


@dataclass(frozen=True, slots=True)
class Account:
    """The facts of a row that a token is bound to."""

    subscription_id: str
    customer_id: str
    address: str
    counter: str

    @classmethod
    def of_row(cls, row: Item) -> Account:
        """Return the facts of a row, whatever else is wrong with the row."""
        subscription, customer, address = (
            str(row.get(name) or "") for name in ("subscription_id", "customer_id", "customer_email")
        )
        return cls(subscription, customer, address, str(row.get(COUNTER, 0)))


_NO_ACCOUNT = Account(NOBODY, NOBODY, NOBODY, "0")


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token grants. expires: the first moment at which the token no longer works."""

    power: Power
    subscription_id: str
    expires: datetime


def counted_up(row: Item) -> Decimal:
    """Return the next value of the row's counter."""
    stood = row.get(COUNTER)
    return Decimal(int(stood) + 1) if isinstance(stood, Decimal) and stood.is_finite() else Decimal(1)


def token(key: str, purpose: Purpose, account: Account, power: Power, expires: datetime) -> str:
    """Return a token with the power for the account, until the moment `expires`."""
    words = f"{power}/{int(expires.timestamp())}/{account.subscription_id}"
    return f"{_encoded(words.encode())}.{_mac(key, purpose, words, account)}"


def form_token(key: str, session: str) -> str:
    """Return the token that each form of a session carries."""
    return _encoded(hmac.digest(key.encode(), f"form/{session}".encode(), sha256))


def is_form_token(keys: Keys, session: str, given: str) -> bool:
    """Whether a form was made for the session."""
    made = [form_token(key, session) for key in (keys.current, keys.previous or keys.current)]
    return sum(hmac.compare_digest(each.encode(), _bytes(given)) for each in made) > 0


def subscription_in(given: str) -> str:
    """Return the subscription named by a token, before anything is checked; NOBODY for a token without a possible
    id."""
    named = _read(given)
    return named.subscription_id if named is not None else NOBODY


def granted(keys: Keys, purpose: Purpose, given: str, row: Item | None, now: datetime) -> Grant | None:
    """Return what a token grants; None for a token that was not made for this purpose and this row, or has expired.

    row: the row of the subscription that `subscription_in` names; None without such a row.
    """
    named = _read(given)
    account = Account.of_row(row) if row is not None else _NO_ACCOUNT
    grant = named or Grant(Power.SEE, NOBODY, now)
    made = [
        token(key, purpose, account, grant.power, grant.expires)
        for key in (keys.current, keys.previous or keys.current)
    ]
    # A sum: both comparisons are made, whatever the first comparison says.
    genuine = sum(hmac.compare_digest(each.encode(), _bytes(given)) for each in made) > 0
    holds = genuine and named is not None and row is not None and now < grant.expires
    return grant if holds else None


def _read(given: str) -> Grant | None:
    """Return what the words of a token say; None if the words have another form."""
    words = given.partition(".")[0]
    try:
        text = base64.b64decode(_bytes(words) + b"=" * (-len(words) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    power, _, rest = text.partition("/")
    expires, _, subscription_id = rest.partition("/")
    if power not in Power or not (expires.isascii() and expires.isdigit() and len(expires) <= len(str(_LAST_SECOND))):
        return None
    if not 0 < len(subscription_id.encode()) <= _LONGEST_ID or int(expires) > _LAST_SECOND:
        return None
    return Grant(Power(power), subscription_id, datetime.fromtimestamp(int(expires), UTC))


def _mac(key: str, purpose: Purpose, words: str, account: Account) -> str:
    covered = [purpose, words, account.subscription_id, account.customer_id, account.address, account.counter]
    return _encoded(hmac.digest(key.encode(), json.dumps(covered).encode(), sha256))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
