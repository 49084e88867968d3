"""The customer page in each of its states, with sample data, in any language. Nothing is read, charged or mailed.

The pages come from the function's own code. The console's gallery, the pictures of docs/account.md and the tests in a
browser show these samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from http import HTTPStatus
from typing import Any

from customer_page import declaring, pages
from customer_page.answers import Done, PageAnswer
from customer_page.looking import ListedReceipt, OpenPayment, Seen, State
from customer_page.pages import ChangeForm, Notice, Pages
from renewals.domain.declarations import DeclarationKind, Fault, Way, filled, recorded
from renewals.domain.payment import GatewayCard
from renewals.domain.preview import NextCharge
from renewals.domain.renewal import Renewal, Status
from renewals.domain.subscription import SubscriptionStatus, parse
from renewals.domain.transitions import Action
from renewals.language import words
from renewals.runtime.clock import Moment
from scripts.ledger_page import sample, sample_row

SELLER = "Example Ltd"
_BACK = "overview"
_NOON = datetime(2026, 1, 10, 12, tzinfo=UTC)
_WITHOUT_SESSION = frozenset(
    {"home", "gone", "refused", "trouble", "closed", "signed_out", "link_asked", "address_limit"}
)
"""The notices that no session leads to, and that therefore have no way back."""
_TODAY, _END, _GIVES_UP = date(2026, 1, 10), date(2026, 2, 28), date(2026, 2, 7)
_CARD = GatewayCard("pm_ok", "Visa ending in 4242", "2030-12")
_RECEIPTS = "https://example.com/receipts/"


@dataclass(frozen=True, slots=True)
class Sample:
    """A page of the customer page. title: what the page shows, in English, for people who edit texts."""

    name: str
    title: str
    answer: PageAnswer

    @property
    def html(self) -> str:
        return self.answer.html


def samples(locale: str, **changed: Any) -> Iterator[Sample]:
    """Yield each page in the language of a locale. changed: attributes of the sample row that differ."""
    shown = Pages(words(locale), SELLER, "/account")
    row = sample_row() | {"locale": locale} | changed
    yield Sample("address", "The form for customers without a link", shown.address_form("ask-for-link"))
    yield Sample("link", "The page of a mailed link", shown.link(row, "token"))
    for name, title, seen in _seen(row):
        yield Sample(name, title, shown.overview(seen, _receipts() if name == "active" else [], "form", is_full=True))
    for done, state in ((Done.CANCELED, State.ENDING), (Done.RESUMED, State.ACTIVE), (Done.REMINDERS, State.ACTIVE)):
        after = shown.overview(_overview(row, state), [], "form", is_full=True, done=done)
        yield Sample(f"done_{done}", f"The overview, right after: {done}", after)
    looked_at = shown.overview(_overview(row, State.ACTIVE), _receipts(), "form", is_full=False)
    yield Sample("see_only", "The overview, opened from a receipt", looked_at)
    declined = _overview(row | {"reminders": "required"}, State.ACTIVE)
    yield Sample(
        "few_reminders",
        "The overview, after the customer has declined reminders",
        shown.overview(declined, [], "form", is_full=True),
    )
    yield Sample(
        "reminders", "The page of the link that declines reminders", shown.reminders("token", has_declined=False)
    )
    yield Sample("reminders_declined", "The same page, after that", shown.reminders("token", has_declined=True))
    yield from _cancellations(shown, row)
    yield from _resumptions(shown)
    yield from _notices(shown)
    yield from _declarations(shown)


def _declarations(shown: Pages) -> Iterator[Sample]:
    """Yield the public forms, empty and with every fault, and their answers."""
    offered = replace(shown, forms=tuple((kind.value, f"forms.link_{kind}") for kind in DeclarationKind))
    yield Sample("home_with_forms", "The start page with the public forms", offered.notice(pages.HOME))
    typed = {"name": "Ann Lee", "contract": "sub_sample", "address": "ann@customer.example", "reason": "Moved abroad"}
    for kind in DeclarationKind:
        yield Sample(f"{kind}_form", f"The form of a {kind}", declaring.form_page(kind, shown, {}, ()))
        faulty = declaring.form_page(kind, shown, typed, tuple(Fault))
        yield Sample(f"{kind}_faults", f"The form of a {kind} with faults", faulty)
        is_cancellation = kind is DeclarationKind.CANCELLATION
        given, _ = filled(kind, typed | {"way": "extraordinary", "wished": "2026-02-28"} if is_cancellation else typed)
        if given is not None:
            record, moment = recorded(given, "4f7a2c91" * 8, _NOON), Moment(_TODAY, _NOON, _NOON)
            answer = declaring.declared_page(record, shown, moment)
            yield Sample(f"{kind}_declared", f"The confirmation of a {kind}", answer)
            simple = replace(record, declaration=replace(given, way=given.way and Way.ORDINARY, reason="", wished=None))
            answer = declaring.declared_page(simple, shown, moment)
            yield Sample(f"{kind}_declared_simply", f"The confirmation of a {kind} as early as possible", answer)
    beyond = declaring.form_page(DeclarationKind.CANCELLATION, shown, typed, (), is_beyond_limit=True)
    yield Sample("declarations_limit", "Too many declarations from one source", beyond)


def _notices(shown: Pages) -> Iterator[Sample]:
    found = {name.lower(): each for name, each in vars(pages).items() if isinstance(each, Notice)}
    found["refused"] = pages.refused(HTTPStatus.FORBIDDEN)
    found["trouble"] = pages.trouble(HTTPStatus.INTERNAL_SERVER_ERROR)
    for name, each in found.items():
        back = "" if name in _WITHOUT_SESSION else _BACK
        yield Sample(name, f"A notice: {name.replace('_', ' ')}", shown.notice(each, back=back))


def _seen(row: dict[str, Any]) -> Iterator[tuple[str, str, Seen]]:
    """Yield the overview in each state, each with its name and title."""
    for state in State:
        yield state.value, f"The overview: {state.value.replace('_', ' ')}", _overview(row, state)
    active = _overview(row, State.ACTIVE)
    settling = replace(active, settling=_renewal(), open_payment=OpenPayment.SETTLING)
    yield "settling", "The overview while a payment has no result yet", settling
    ending = replace(_overview(row, State.ENDING), can_resume=False)
    yield "ending_for_good", "The overview after the seller has set an end", ending
    past_due = _overview(row, State.PAST_DUE)
    again = replace(past_due, refused=None, settling=_renewal(), open_payment=OpenPayment.SETTLING, gives_up_on=None)
    yield "past_due_settling", "The overview: past due, while a further payment has no result yet", again
    yield "past_due_new_card", "The overview: past due, with a new card", replace(past_due, tries_new_card=True)
    unpaid = replace(past_due, ends_as=SubscriptionStatus.UNPAID)
    yield "past_due_unpaid", "The overview: past due, with DunningEndsAs=unpaid", unpaid
    cards = {
        "card_unknown": None,
        "card_detached": replace(_CARD, is_detached=True),
        "card_expires_first": replace(_CARD, expires="2025-12"),
    }
    for name, card in cards.items():
        yield name, f"The overview: {name.replace('_', ' ')}", replace(active, card=card)
    for interval in ("day", "week", "month", "year"):
        for count in (1, 2):
            every = parse(row | {"interval": interval, "interval_count": Decimal(count)})
            title = f"The overview: charged every {count} {interval}"
            yield f"every_{count}_{interval}", title, replace(active, checked=every)


def _overview(row: dict[str, Any], state: State) -> Seen:
    """Return the subscription in a state."""
    active = Seen(
        row=row,
        today=_TODAY,
        state=state,
        checked=parse(row),
        charge=_charge(date(2026, 1, 31)),
        settling=None,
        refused=None,
        tries_new_card=False,
        open_payment=OpenPayment.NONE,
        retry_on=None,
        gives_up_on=None,
        ends_as=SubscriptionStatus.CANCELED,
        card=_CARD,
        paid_until=date(2026, 1, 31),
        can_cancel=True,
        can_resume=False,
    )
    refused = _renewal(Status.DECLINED)
    past_due = {
        "refused": refused,
        "open_payment": OpenPayment.REFUSED,
        "retry_on": date(2026, 2, 3),
        "gives_up_on": _GIVES_UP,
        "charge": _charge(date(2026, 2, 3)),
        "paid_until": None,
    }
    quiet = {"charge": None, "paid_until": None}
    over = quiet | {"can_cancel": False}
    ends = row | {"cancel_at": _END.isoformat()}
    changed: dict[State, dict[str, Any]] = {
        State.ENDING: over | {"row": ends, "can_resume": True},
        State.ENDS_LATER: {"row": ends},
        State.PAST_DUE: past_due,
        State.ACTION_REQUIRED: past_due,
        State.CARD_REFUSED: past_due,
        State.PAUSED: quiet | {"row": row | {"status": "paused"}, "can_resume": True},
        State.UNPAID: quiet | {"row": row | {"status": "unpaid"}, "can_resume": True},
        State.CANCELED: over | {"row": row | {"status": "canceled"}},
        State.ENDED: over | {"row": row | {"status": "canceled", "cancel_at": "2026-01-09"}},
        State.UNKNOWN: quiet | {"row": row | {"status": "?"}, "checked": None, "card": None},
    }
    return replace(active, **changed.get(state, {}))


def _cancellations(shown: Pages, row: dict[str, Any]) -> Iterator[Sample]:
    active, past_due = _overview(row, State.ACTIVE), _overview(row, State.PAST_DUE)
    settling = replace(active, settling=_renewal(), open_payment=OpenPayment.SETTLING)
    at_bank = replace(past_due, open_payment=OpenPayment.AT_THE_BANK)
    cases = (
        ("cancel", "at the end of the period", active, Action.CANCEL_AT_PERIOD_END, _END),
        ("cancel_settling", "while a payment has no result yet", settling, Action.CANCEL_AT_PERIOD_END, _END),
        ("cancel_settling_now", "at once, while a payment has no result yet", settling, Action.CANCEL_NOW, _TODAY),
        ("cancel_past_due", "past due", past_due, Action.CANCEL_NOW, _TODAY),
        ("cancel_challenged", "sent to the bank", at_bank, Action.CANCEL_NOW, _TODAY),
        ("cancel_paused", "paused, with paid days left", active, Action.CANCEL_NOW, _TODAY),
    )
    for name, title, seen, action, ends_on in cases:
        said = shown.cancel_words(seen, action, ends_on)
        button = "page.cancel_end_button" if action is Action.CANCEL_AT_PERIOD_END else "page.cancel_button"
        change = ChangeForm("cancel", "", "page.cancel_title", button, "page.keep", said)
        yield Sample(name, f"The cancellation: {title}", shown.confirm(change, "form"))


def _resumptions(shown: Pages) -> Iterator[Sample]:
    cases: tuple[tuple[str, str, NextCharge | None, date | None], ...] = (
        ("resume", "charged later", _charge(date(2026, 1, 31)), None),
        ("resume_charge_now", "charged at once", _charge(_TODAY), None),
        ("resume_until_an_end", "until an end that is set", _charge(date(2026, 1, 31)), _END),
        ("resume_no_charge", "without a further charge", None, None),
    )
    for name, title, charge, ends_on in cases:
        said = shown.resume_words(charge, _TODAY, ends_on)
        change = ChangeForm("resume", "", "page.resume_title", "page.resume_button", "page.back", said)
        yield Sample(name, f"The resumption: {title}", shown.confirm(change, "form"))


def _renewal(status: Status = Status.CLAIMED) -> Renewal:
    return replace(sample(), status=status)


def _charge(on: date) -> NextCharge:
    return NextCharge(on, date(2026, 1, 31), _END, Decimal("29.99"), "USD", "")


def _receipts() -> list[tuple[ListedReceipt, str]]:
    paid = ListedReceipt({}, "", "20251231-RMP6-B7AQ-NAX3", date(2025, 12, 31), Decimal("29.99"), "USD")
    refund = replace(paid, name="refund_1", number=f"{paid.number}-R1", on=date(2026, 1, 5), amount=Decimal("10.00"))
    return [(refund, f"{_RECEIPTS}R1"), (paid, f"{_RECEIPTS}1")]
