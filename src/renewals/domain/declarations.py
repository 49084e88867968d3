"""Declarations: what somebody declares on the public forms, without a link and without a session. Pure.

The form of a cancellation is the form that § 312k BGB asks for in Germany. The form of a withdrawal is the function
that Directive (EU) 2023/2673 asks for (Article 11a of Directive 2011/83/EU, § 356a BGB). Anybody can declare anything
in anybody's name: a declaration is recorded whoever sends the form, and what follows from a declaration is decided
later (declaration_worker).

Decisions: D301 to D305 (DECISIONS.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING

from renewals.domain import declaration_numbers, printable
from renewals.domain.addresses import BadAddress, deliverable
from renewals.domain.item_values import moment, text
from renewals.domain.worded import Worded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from renewals.domain.item_values import Item

LONGEST_NAME = LONGEST_CONTRACT = 200
LONGEST_ADDRESS = 254
LONGEST_REASON = 1000
_LONGEST = {
    "name": LONGEST_NAME,
    "contract": LONGEST_CONTRACT,
    "address": LONGEST_ADDRESS,
    "reason": LONGEST_REASON,
    "wished": 10,
}
_KEPT_YEARS = 3
_AROUND = ".,;:()[]\"'#„“”"


class DeclarationKind(StrEnum):
    """What is declared."""

    CANCELLATION = "cancellation"
    WITHDRAWAL = "withdrawal"


class Way(StrEnum):
    """The two ways to cancel a contract."""

    ORDINARY = "ordinary"
    EXTRAORDINARY = "extraordinary"
    """For an important reason, and at once."""


class DeclarationState(StrEnum):
    """What has become of a declaration."""

    NEW = "new"
    EFFECTIVE = "effective"
    """The subscription ends because of the declaration."""
    FOR_A_PERSON = "for_a_person"
    DONE = "done"
    """A person has looked at the declaration, and has answered."""


class Doubt(Worded):
    """Why a person must look at a declaration. The words complete "It waits for a person: ..."."""

    WITHDRAWAL = "withdrawal", "a person decides about every withdrawal"
    NO_FIT = "no_fit", "no subscription, or more than one, fits the mail address and the contract"
    EXTRAORDINARY = "extraordinary", "the subscription ends, and a person decides about the important reason"
    ENDS_ALREADY = "ends_already", "the subscription ends already, and stays as it is"
    LATER_DAY = "later_day", "the contract shall end on a later day than the paid period"
    NO_WAY_BACK = "no_way_back", "the customer could not take the end back, or would have less than three days for that"
    TAKEN_BACK = "taken_back", "the customer has taken such an end back in the last 30 days, or nobody can tell"
    NEWER = "newer", "the subscription was created or resumed, or its end was changed, after the declaration"
    CHARGED = "charged", "the subscription ends, and a renewal was charged after the declaration"
    CANNOT_TELL = "cannot_tell", "the customer cannot be told by mail"
    CUT_OFF = "cut_off", "an earlier look at it was cut off, after the customer was told that a person looks at it"
    UNREADABLE = "unreadable", "the subscription's data cannot be read, or do not allow the end"


class Fault(StrEnum):
    """What is wrong with a filled form."""

    NAME_MISSING = "name_missing"
    CONTRACT_MISSING = "contract_missing"
    ADDRESS_WRONG = "address_wrong"
    REASON_MISSING = "reason_missing"
    DATE_WRONG = "date_wrong"
    TOO_LONG = "too_long"


@dataclass(frozen=True, slots=True)
class Declaration:
    """A declaration, as the form was filled.

    Attributes:
        name: the name of the customer, as typed.
        contract: the contract, as typed: the subscription's id, the plan, or any other words.
        address: the mail address, as typed.
        way: the way to cancel; None for a withdrawal.
        reason: why the contract is canceled for an important reason; empty for any other declaration.
        wished: the day on which the contract shall end; None for the earliest possible day, and for a withdrawal.
    """

    kind: DeclarationKind
    name: str
    contract: str
    address: str
    way: Way | None = None
    reason: str = ""
    wished: date | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """A declaration in the table.

    Attributes:
        key: the declaration's key in the table; see `key_of`.
        number: the number that the page and the mails name.
        declared_at: the moment at which the form was sent, to the second.
        state: what has become of the declaration.
        why: a member of Doubt if a person must look at the declaration; empty in every other state.
        subscription_id: the subscription that the declaration fits; empty without such a subscription.
    """

    declaration: Declaration
    key: str
    number: str
    declared_at: datetime
    state: DeclarationState = DeclarationState.NEW
    why: str = ""
    subscription_id: str = ""


def filled(kind: DeclarationKind, form: Mapping[str, str]) -> tuple[Declaration | None, list[Fault]]:
    """Read a filled form: the declaration, or None and the faults of the form.

    The form asks for what the law names, and refuses no declaration that names a customer, a contract and an address.
    """
    typed = {name: printable.line(form.get(name, ""), most + 1) for name, most in _LONGEST.items()}
    is_cancellation = kind is DeclarationKind.CANCELLATION
    way = _way(form) if is_cancellation else None
    faults = []
    if not typed["name"]:
        faults.append(Fault.NAME_MISSING)
    if not typed["contract"]:
        faults.append(Fault.CONTRACT_MISSING)
    if not _is_address(typed["address"]):
        faults.append(Fault.ADDRESS_WRONG)
    if way is Way.EXTRAORDINARY and not typed["reason"]:
        faults.append(Fault.REASON_MISSING)
    wished, is_day = _day(typed["wished"]) if is_cancellation else (None, True)
    if not is_day:
        faults.append(Fault.DATE_WRONG)
    if any(len(typed[name]) > most for name, most in _LONGEST.items() if name != "wished"):
        faults.append(Fault.TOO_LONG)
    if faults:
        return None, faults
    reason = typed["reason"] if way is Way.EXTRAORDINARY else ""
    return Declaration(kind, typed["name"], typed["contract"], typed["address"], way, reason, wished), []


def key_of(declaration: Declaration, form_id: str, again: datetime | None = None) -> str:
    """Return the key of a declaration, the same whenever the same form is sent again with the same words.

    Args:
        declaration: as the form was filled.
        form_id: the random id that the page has put into the form.
        again: the moment at which the form was sent again as a new declaration: the key is then the same within the
            hour. None for the first declaration by the form.
    """
    said = [form_id, *(str(value) for value in _words(declaration).values())]
    if again is not None:
        said.append(f"{again.astimezone(UTC):%Y-%m-%dT%H}")
    return sha256("\0".join(said).encode("utf-8", "surrogatepass")).hexdigest()


def recorded(declaration: Declaration, key: str, at: datetime) -> Recorded:
    """Return the record of a declaration that was sent at the moment `at`."""
    at = at.astimezone(UTC).replace(microsecond=0)
    letter = {DeclarationKind.CANCELLATION: "C", DeclarationKind.WITHDRAWAL: "W"}[declaration.kind]
    return Recorded(declaration, key, declaration_numbers.made(letter, at, key), at)


def fitting(declaration: Declaration, rows: Iterable[Item], is_over: Callable[[Item], bool]) -> Item | None:
    """Return the subscription that a declaration fits exactly; None if none fits, or more than one.

    The typed address must be the address on file. The typed contract must name the subscription's id, or consist of the
    plan of a subscription that is not over; of several subscriptions with this plan, none fits. A named id tells which
    subscription is meant, and proves nothing: receipts and links show the id, too.

    Args:
        rows: rows of subscriptions, each at most once.
        is_over: whether a subscription has ended.
    """
    own = [row for row in rows if _is_same(str(row.get("customer_email", "")), declaration.address)]
    named_ids = names_in(declaration.contract)
    named = [row for row in own if row["subscription_id"] in named_ids]
    if named:
        return named[0] if len(named) == 1 else None
    of_plan = [row for row in own if _is_same(str(row.get("plan", "")), declaration.contract) and not is_over(row)]
    return of_plan[0] if len(of_plan) == 1 else None


def names_in(contract: str) -> list[str]:
    """Return what may be the subscription's id in a typed contract: the whole text, and the only word with a digit.

    Several words with digits may be a list of guessed ids, of which none counts.
    """
    words = (word.strip(_AROUND) for word in contract.split())
    numbered = [word for word in words if any(map(str.isdigit, word))]
    return list(dict.fromkeys([contract.strip(_AROUND), *(numbered if len(numbered) == 1 else [])]))


def _is_same(first: str, second: str) -> bool:
    return bool(first) and printable.line(first, len(first)).casefold() == second.casefold()


def item_of(record: Recorded) -> dict[str, object]:
    """Return the item of a new declaration.

    The item is kept until the end of the third year after the year of the declaration, when claims lapse in Germany
    (§§ 195 and 199 BGB); DynamoDB then deletes the item.
    """
    expires = datetime(record.declared_at.year + _KEPT_YEARS + 1, 1, 1, tzinfo=UTC)
    return _words(record.declaration) | {
        "declaration": record.key,
        "number": record.number,
        "declared_at": record.declared_at,
        "state": record.state,
        "expires_at": int(expires.timestamp()),
    }


def recorded_from(item: Item) -> Recorded:
    """Read an item of the table. Raises KeyError, TypeError or ValueError for an item that somebody wrote by hand."""
    declaration = Declaration(
        DeclarationKind(text(item, "kind")),
        text(item, "name"),
        text(item, "contract"),
        text(item, "address"),
        Way(text(item, "way")) if "way" in item else None,
        str(item.get("reason", "")),
        date.fromisoformat(text(item, "wished")) if "wished" in item else None,
    )
    return Recorded(
        declaration,
        text(item, "declaration"),
        text(item, "number"),
        moment(item, "declared_at"),
        DeclarationState(text(item, "state")),
        str(item.get("why", "")),
        str(item.get("subscription_id", "")),
    )


def _words(declaration: Declaration) -> dict[str, object]:
    words: dict[str, object] = {
        "kind": declaration.kind,
        "name": declaration.name,
        "contract": declaration.contract,
        "address": declaration.address,
        "way": declaration.way,
        "reason": declaration.reason or None,
        "wished": declaration.wished.isoformat() if declaration.wished else None,
    }
    return {name: value for name, value in words.items() if value is not None}


def _way(form: Mapping[str, str]) -> Way:
    """Return the chosen way. A form without a choice cancels in the ordinary way."""
    return Way.EXTRAORDINARY if form.get("way") == Way.EXTRAORDINARY else Way.ORDINARY


def _is_address(typed: str) -> bool:
    try:
        deliverable(typed)
    except BadAddress:
        return False
    return True


def _day(typed: str) -> tuple[date | None, bool]:
    """Return the wished day, None for the earliest, and whether the typed text is a day or empty."""
    if not typed:
        return None, True
    try:
        return date.fromisoformat(typed), True
    except ValueError:
        return None, False
