"""Links to the customer page: what opens, what does not, and that nobody can tell two wrong links apart."""

import base64
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renewals.domain.errors import BadSecret
from renewals.ledger import account_links
from renewals.ledger.account_links import Account, Keys, Power, Purpose

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
KEYS = Keys("a key")
ROW = {"subscription_id": "sub_1", "customer_id": "cus_1", "customer_email": "ann@customer.example"}
LATER = NOW + timedelta(days=60)


def link(row: dict[str, Any] = ROW, power: Power = Power.FULL, key: str = "a key", expires: datetime = LATER) -> str:
    return account_links.token(key, Purpose.LINK, Account.of_row(row), power, expires)


def opens(token: str, row: dict[str, Any] | None = ROW, keys: Keys = KEYS, now: datetime = NOW) -> bool:
    return account_links.granted(keys, Purpose.LINK, token, row, now) is not None


@pytest.mark.parametrize("power", Power)
def test_a_link_opens_its_subscription_with_its_power_until_it_expires(power: Power) -> None:
    """A link grants its own power over its own subscription, and nothing from its last moment on."""
    token = link(power=power)
    grant = account_links.granted(KEYS, Purpose.LINK, token, ROW, NOW)
    assert grant == account_links.Grant(power, "sub_1", LATER)
    assert account_links.subscription_in(token) == "sub_1"
    assert opens(token, now=LATER - timedelta(seconds=1))
    assert not opens(token, now=LATER)


def test_a_link_with_any_bit_changed_opens_nothing() -> None:
    """Each single changed bit of a token closes the token, the unused bits of base64 included."""
    token = link().encode()
    for place in range(len(token) * 8):
        changed = bytearray(token)
        changed[place // 8] ^= 1 << place % 8
        assert not opens(changed.decode("utf-8", "replace"))


def test_a_link_is_bound_to_the_customer_the_address_and_the_counter() -> None:
    """A different customer, a changed address, and "sign out everywhere" close a link; other changes of the row do
    not."""
    token = link()
    for changed in ({"customer_id": "cus_2"}, {"customer_email": "eve@else.example"}, {"account_links": Decimal(1)}):
        assert not opens(token, ROW | changed), changed
    assert not opens(token, ROW | {"subscription_id": "sub_2"})
    assert not opens(token, None)
    assert opens(token, ROW | {"status": "canceled", "plan": "Basic", "version": Decimal(7)})
    counted = ROW | {"account_links": account_links.counted_up(ROW)}
    assert opens(link(counted), counted)
    assert account_links.counted_up(counted) == 2
    assert account_links.counted_up(ROW | {"account_links": "by hand"}) == 1


def test_the_parts_of_a_link_cannot_change_places() -> None:
    """Two rows whose facts read alike when they are put one behind the other have different links."""
    one = ROW | {"customer_id": "cus_1", "customer_email": "2"}
    other = ROW | {"customer_id": "cus_12", "customer_email": ""}
    assert not opens(link(one), other)
    assert not opens(link(other), one)


def test_a_rotated_key_is_good_while_it_is_the_previous_one() -> None:
    """During a rotation, links of the previous key and of the current key open; afterwards only the current key's."""
    old, new = link(key="old"), link(key="new")
    during = Keys("new", "old")
    assert opens(old, keys=during)
    assert opens(new, keys=during)
    assert not opens(old, keys=Keys("new"))
    assert opens(new, keys=Keys("new"))


def test_a_link_is_no_session_and_a_session_no_link() -> None:
    """A token made for one purpose opens nothing for the other."""
    session = account_links.token("a key", Purpose.SESSION, Account.of_row(ROW), Power.FULL, LATER)
    assert not opens(session)
    assert account_links.granted(KEYS, Purpose.SESSION, session, ROW, NOW) is not None
    assert account_links.granted(KEYS, Purpose.SESSION, link(), ROW, NOW) is None


def test_a_lesser_power_cannot_be_raised() -> None:
    """The power is covered by the proof: the words "full" in front of the proof of "see" open nothing."""
    seen, full = link(power=Power.SEE), link(power=Power.FULL)
    assert not opens(f"{full.partition('.')[0]}.{seen.partition('.')[2]}")


@given(st.text(min_size=1, max_size=60), st.text(max_size=30), st.sampled_from(Power))
def test_any_id_of_a_row_has_a_working_link(subscription_id: str, customer_id: str, power: Power) -> None:
    """Ids of any form, slashes and dots included, have links, and the link of one id opens no other."""
    row = ROW | {"subscription_id": subscription_id, "customer_id": customer_id}
    token = link(row, power)
    assert account_links.subscription_in(token) == subscription_id
    assert opens(token, row)
    assert all(c.isalnum() or c in "-_." for c in token)
    assert token.isascii()


@given(st.one_of(st.text(), st.binary().map(lambda data: base64.urlsafe_b64encode(data).decode() + ".x")))
def test_nothing_that_a_stranger_makes_up_opens_or_raises(given_token: str) -> None:
    """A made-up token is read without an error, names a possible id, and opens nothing."""
    assert 0 < len(account_links.subscription_in(given_token).encode()) <= 1024
    assert not opens(given_token)


@pytest.mark.parametrize(
    "words",
    [
        "full/9999999999999/sub_1",
        "full/-1/sub_1",
        "full/\u0661/sub_1",
        "full/1/",
        "root/1/sub_1",
        "full/1",
        "",
        "full/1/" + "x" * 1025,
    ],
)
def test_words_of_another_form_name_nobody(words: str) -> None:
    """Impossible moments, powers and ids are no token, and are looked up as nobody."""
    token = base64.urlsafe_b64encode(words.encode()).decode().rstrip("=") + ".mac"
    assert account_links.subscription_in(token) == account_links.NOBODY
    assert not opens(token, None)


def test_a_form_belongs_to_its_session() -> None:
    """A form token is accepted with its own session and either key of a rotation, and with no other session."""
    made = account_links.form_token("old", "session 1")
    assert account_links.is_form_token(Keys("new", "old"), "session 1", made)
    assert not account_links.is_form_token(Keys("new", "old"), "session 2", made)
    assert not account_links.is_form_token(Keys("new"), "session 1", made)
    assert not account_links.is_form_token(Keys("new"), "session 1", "\ud800")


def test_the_secret_holds_one_or_two_keys() -> None:
    """The secret is JSON with the current key and perhaps the previous key; anything else is refused by name."""
    assert Keys.of_secret('{"current": "a"}') == Keys("a")
    assert Keys.of_secret('{"current": "a", "previous": "b"}') == Keys("a", "b")
    assert Keys.of_secret('{"current": "a", "previous": ""}') == Keys("a")
    for secret in ("a", "[]", "{}", '{"current": ""}', '{"current": 1}', '{"current": "\\ud800"}'):
        with pytest.raises(BadSecret, match="account links"):
            Keys.of_secret(secret)
