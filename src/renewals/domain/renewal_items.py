"""The form of a renewal in an item of the ledger: written as attributes, and read from attributes. Pure.

People may have written an item by hand. The readers raise KeyError, TypeError or ValueError for an item that this
system did not write. Unreadable records of attempts and mails are left out instead, as long as no decision about money
depends on the records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from hashlib import sha256
from typing import Any

from renewals.domain import item_values
from renewals.domain.item_values import Item, Value, storable
from renewals.domain.renewal import Mail, MailState, Renewal, Status

INDEX_SHARDS = 16
"""The index of unfinished renewals spreads its items over this many hash keys, "0" to "15"."""

RETURNED = "returned_"
"""The prefix of the attributes with SES's news of a mail; the mail's name follows the prefix."""


def item_of(of: Renewal | Mail) -> dict[str, Value]:
    """Return the attributes of a new item, without empty values."""
    values: dict[str, Value] = {f.name: getattr(of, f.name) for f in fields(of)}
    item = {name: storable(value) for name, value in values.items() if value is not None}
    if isinstance(of, Renewal):
        del item["returned"]
        item |= {f"{RETURNED}{name}": said for name, said in of.returned.items()}
        item["mails"] = {name: item_of(mail) for name, mail in of.mails.items()}
        claimed_at = storable(of.claimed_at)
        item |= {"touched_at": claimed_at, "begun_at": claimed_at, "unfinished": shard(of.subscription_id)}
    return item


_DATES = ("renewal_date", "row_date", "first_tried_on", "period_end", "next_attempt")
_TIMES = ("lease_until", "claimed_at", "declined_at", "held_at", "challenged_at", "closed_at", "paid_at", "refunds_due")
_WHOLE = ("anchor_day", "attempt", "pickups", "intent_tries", "dunned")
_OF_A_RENEWAL = frozenset(each.name for each in fields(Renewal))


def renewal_from(item: Item) -> Renewal:
    """Read a period from an item of the ledger.

    Unreadable records of earlier mails, and of returned mails, are left out: no renewal fails because of such a record.

    Raises:
        KeyError, TypeError, ValueError: the item was not written by this system.
    """
    known: dict[str, Any] = {name: value for name, value in item.items() if name in _OF_A_RENEWAL}
    known |= {name: item_values.day(item, name) for name in _DATES if name in item}
    known |= {name: item_values.moment(item, name) for name in _TIMES if name in item}
    known |= {name: item_values.whole(item, name) for name in _WHOLE if name in item}
    mails = item_values.fields(item, "mails")
    known["mails"] = {name: mail_from(item_values.fields(mails, name)) for name in mails}
    said = (name for name in item if name.startswith(RETURNED) and _is_told(item, name))
    known["returned"] = {name.removeprefix(RETURNED): item[name] for name in said}
    if "earlier_mails" in item and not _is_told(item, "earlier_mails"):
        del known["earlier_mails"]
    known["status"] = Status(str(item["status"]))
    return Renewal(**known)


_OF_A_MAIL = frozenset(each.name for each in fields(Mail))


def mail_from(values: Item) -> Mail:
    """Read a mail from its record and ignore all further values of the record. Raises the errors of `renewal_from`."""
    known: dict[str, Any] = {name: value for name, value in values.items() if name in _OF_A_MAIL}
    known |= {name: item_values.moment(values, name) for name in ("claimed_until", "at") if name in values}
    known["state"] = MailState(item_values.text(values, "state"))
    return Mail(**known)


def passed_over_from(item: Item) -> Renewal:
    """Read the claim of a passed-over period. Unreadable records of attempts and mails, written by hand, are left out.
    Raises the errors of `renewal_from`."""
    odd = {name for name in _STORY if name in item and not _is_told(item, name)}
    return renewal_from({"mails": {}, **{name: value for name, value in item.items() if name not in odd}})


def _is_told(item: Item, name: str) -> bool:
    """Whether an attribute of _STORY holds readable records, in the form that this system writes."""
    try:
        for record in _records(item, name):
            if not isinstance(record, dict):
                return False
            _STORY.get(name, _read_returned)(record)
    except (KeyError, TypeError, ValueError):
        return False
    return True


def _records(item: Item, name: str) -> Iterable[Value]:
    if name.startswith(RETURNED):
        return (item[name],)
    return item_values.several(item, name) if name in _LISTED else item_values.fields(item, name).values()


def _read_refusal(record: Item) -> None:
    item_values.moment(record, "at")


def _read_ending(record: Item) -> None:
    item_values.moment(record, "at")
    item_values.text(record, "status")
    _read_reason(record)


def _read_earlier_mail(record: Item) -> None:
    item_values.text(record, "name")
    _read_mail(record)


def _read_mail(record: Item) -> None:
    mail = mail_from(record)
    for name in ("token", "owner", "to"):
        item_values.text(record, name)
    if not isinstance(mail.reason, str | None):
        raise TypeError("reason is no text")


def _read_reason(record: Item) -> None:
    if record["reason"] is not None:
        item_values.text(record, "reason")


def _read_returned(record: Item) -> None:
    item_values.moment(record, "at")
    item_values.text(record, "kind")
    item_values.text(record, "to")
    _read_reason(record)


_STORY: Mapping[str, Callable[[Item], object]] = {
    "refusals": _read_refusal,
    "mails": _read_mail,
    "endings": _read_ending,
    "earlier_mails": _read_earlier_mail,
}
"""The attributes with the attempts and mails of a period, and the reader of a record for each attribute. If the period
is claimed again, the new claim takes over these attributes and SES's news of each mail."""

_LISTED = frozenset({"endings", "earlier_mails"})


def replaced(renewal: Renewal, changes: Mapping[str, object]) -> Renewal:
    """Return the renewal after these changes of its item. Attributes that a renewal lacks are ignored."""
    names = {f.name for f in fields(Renewal)}
    known: dict[str, Any] = {name: value for name, value in changes.items() if name in names}
    return replace(renewal, **known)


def shard(subscription_id: str) -> str:
    """Return the hash key of the subscription's renewals in the index of unfinished renewals."""
    return str(sha256(subscription_id.encode()).digest()[0] % INDEX_SHARDS)
