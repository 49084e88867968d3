"""The pages: templates with the words of the customer's language. Each text comes from the catalogues "page"."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from customer_page.answers import Done, PageAnswer
from customer_page.looking import ListedReceipt, OpenPayment, Seen, State
from renewals.domain import reminders, texts
from renewals.domain.addresses import masked
from renewals.domain.transitions import Action
from renewals.language import Words, marks

if TYPE_CHECKING:
    from datetime import date

    from jinja2 import Environment

    from renewals.domain.preview import NextCharge
    from renewals.ledger.steps import Row

_FOLDER = Path(__file__).with_name("templates")

_STATES = {
    State.ACTIVE: "page.state_active",
    State.ENDING: "page.state_ending",
    State.ENDS_LATER: "page.state_ends_later",
    State.PAST_DUE: "page.state_past_due",
    State.ACTION_REQUIRED: "page.state_action_required",
    State.CARD_REFUSED: "page.state_card_refused",
    State.PAUSED: "page.state_paused",
    State.UNPAID: "page.state_unpaid",
    State.CANCELED: "page.state_canceled",
    State.ENDED: "page.state_ended",
    State.UNKNOWN: "page.state_unknown",
}
_UNLESS_CHARGED = {
    State.PAST_DUE: "page.not_collected",
    State.PAUSED: "page.nothing_until_resumed",
    State.CANCELED: "page.nothing_more",
    State.ENDED: "page.nothing_more",
}
"""A second sentence about a state, which is said unless a payment is being made right now."""
_PRICES = {
    ("day", True): "page.price_day",
    ("week", True): "page.price_week",
    ("month", True): "page.price_month",
    ("year", True): "page.price_year",
    ("day", False): "page.price_days",
    ("week", False): "page.price_weeks",
    ("month", False): "page.price_months",
    ("year", False): "page.price_years",
}
_CANCELS_NOW = {
    OpenPayment.SETTLING: "page.cancel_now_settling",
    OpenPayment.AT_THE_BANK: "page.cancel_now_at_bank",
    OpenPayment.REFUSED: "page.cancel_now_open",
}
_GIVES_UP = {"canceled": "page.gives_up_canceled", "unpaid": "page.gives_up_unpaid"}


@dataclass(frozen=True, slots=True)
class Notice:
    """A page that says something and offers no change. title, text: keys of the catalogue. offers_link: whether the
    page leads to the form by which customers without a link get in."""

    status: HTTPStatus
    title: str
    text: str
    offers_link: bool = False


HOME = Notice(HTTPStatus.OK, "page.home_title", "page.home_text")
GONE = Notice(HTTPStatus.NOT_FOUND, "page.gone_title", "page.gone_text", offers_link=True)
STALE = Notice(HTTPStatus.CONFLICT, "page.stale_title", "page.stale_text")
NOT_NOW = Notice(HTTPStatus.CONFLICT, "page.not_now_title", "page.not_now_text")
CARD_SAVED = Notice(HTTPStatus.OK, "page.card_saved_title", "page.card_saved_text")
CARD_SAVED_RETRIED = Notice(HTTPStatus.OK, "page.card_saved_title", "page.card_saved_retried_text")
CARD_NOT_SAVED = Notice(HTTPStatus.OK, "page.card_not_saved_title", "page.card_not_saved_text")
CARD_UNUSABLE = Notice(HTTPStatus.CONFLICT, "page.card_not_saved_title", "page.card_unusable_text")
CARD_OLDER = Notice(HTTPStatus.CONFLICT, "page.card_not_saved_title", "page.card_older_text")
CARD_LIMIT = Notice(HTTPStatus.TOO_MANY_REQUESTS, "page.card_not_saved_title", "page.card_limit_text")
AT_THE_BANK = Notice(HTTPStatus.OK, "page.bank_title", "page.bank_text")
NOTHING_OPEN = Notice(HTTPStatus.OK, "page.nothing_open_title", "page.nothing_open_text")
BANK_DECLINED = Notice(HTTPStatus.CONFLICT, "page.bank_declined_title", "page.bank_declined_text")
CONFIRM_LIMIT = Notice(HTTPStatus.TOO_MANY_REQUESTS, "page.stale_title", "page.confirm_limit_text")
RESUME_LIMIT = Notice(HTTPStatus.TOO_MANY_REQUESTS, "page.stale_title", "page.resume_limit_text")
REMINDERS_TAKEN_UP = Notice(HTTPStatus.OK, "page.reminders_title", "page.reminders_all_text")
REMINDERS_LIMIT = Notice(HTTPStatus.TOO_MANY_REQUESTS, "page.stale_title", "page.reminders_limit_text")
LINK_MAILED = Notice(HTTPStatus.OK, "page.link_mailed_title", "page.link_mailed_text")
LINK_ASKED = Notice(HTTPStatus.OK, "page.link_mailed_title", "page.link_asked_text", offers_link=True)
ADDRESS_LIMIT = Notice(
    HTTPStatus.TOO_MANY_REQUESTS, "page.address_limit_title", "page.address_limit_text", offers_link=True
)
CLOSED = Notice(HTTPStatus.OK, "page.closed_title", "page.closed_text", offers_link=True)
SIGNED_OUT = Notice(HTTPStatus.OK, "page.signed_out_title", "page.signed_out_text", offers_link=True)


def refused(status: HTTPStatus) -> Notice:
    """Return the page for a request that does not come from one of our pages."""
    return Notice(status, "page.refused_title", "page.refused_text", offers_link=True)


def trouble(status: HTTPStatus) -> Notice:
    """Return the page for a failure on our side."""
    return Notice(status, "page.trouble_title", "page.trouble_text")


@dataclass(frozen=True, slots=True)
class ChangeForm:
    """A change that the customer is asked to confirm.

    Attributes:
        path: where the form is sent.
        expected: the digest of what the page says; see acting.
        title, button, stay: keys of the catalogue; `stay` is the way back without the change.
        said: what the change does, in sentences.
    """

    path: str
    expected: str
    title: str
    button: str
    stay: str
    said: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pages:
    """The pages in a language.

    Attributes:
        seller: the name of the seller, on top of each page.
        way_in: the path of the form by which customers without a link get in; empty without such a form.
        forms: the public forms that the start page and the 404 page offer: the address and the key of the label.
    """

    words: Words
    seller: str
    way_in: str = ""
    forms: tuple[tuple[str, str], ...] = ()

    def notice(self, notice: Notice, back: str = "") -> PageAnswer:
        """Show a notice. back: the way back to the subscription; empty without a session."""
        more = {
            "back": back,
            "way_in": self.way_in if notice.offers_link else "",
            "forms": self.forms if notice in (HOME, GONE) else (),
        }
        return self.page("notice.html", notice.status, title=notice.title, text=notice.text, **more)

    def address_form(self, action: str) -> PageAnswer:
        """Show the form for a mail address. action: the name of the form's target, below the pages' own address."""
        target = f"{self.way_in}/{action}"
        return self.page("address.html", HTTPStatus.OK, title="page.home_title", action=target, forms=self.forms)

    def link(self, row: Row, token: str) -> PageAnswer:
        """Show whom a mailed link leads to, so that only people who know the customer learn something."""
        said = self.words.say(
            "page.link_text",
            plan=_plan(row),
            name=_masked_name(str(row.get("customer_name", ""))),
            address=masked(str(row.get("customer_email", ""))),
        )
        return self.page("link.html", HTTPStatus.OK, title="page.link_title", said=said, token=token)

    def reminders(self, token: str, *, has_declined: bool) -> PageAnswer:
        """Offer to decline reminders, or, after that, to let them come again."""
        text = "page.reminders_declined_text" if has_declined else "page.reminders_text"
        shown = {"text": text, "token": token, "has_declined": has_declined}
        return self.page("reminders.html", HTTPStatus.OK, title="page.reminders_title", **shown)

    def overview(
        self, seen: Seen, receipts: list[tuple[ListedReceipt, str]], form: str, *, is_full: bool, done: str = ""
    ) -> PageAnswer:
        """Show a subscription.

        Args:
            seen: the subscription.
            receipts: each with its link.
            form: the form token.
            is_full: whether the customer may change the subscription.
            done: what the customer has just done, a member of Done. Any link may say so: the page says so only if the
                subscription looks like it.
        """
        facts = [
            ("page.plan", [self.words.value(_plan(seen.row))]),
            ("page.price", self._price(seen)),
            ("page.status", self._status(seen)),
            ("page.next_charge", [self._next_charge(seen)]),
            ("page.payment_method", [self._card(seen)]),
        ]
        listed = [(self._receipt(each), link) for each, link in receipts]
        return self.page(
            "overview.html",
            HTTPStatus.OK,
            title="page.overview_title",
            facts=[(name, said) for name, said in facts if said],
            receipts=listed,
            form=form,
            is_full=is_full,
            can_cancel=seen.can_cancel,
            can_resume=seen.can_resume,
            can_change_card=seen.can_change_card,
            can_confirm=seen.state is State.ACTION_REQUIRED,
            has_declined=reminders.has_declined(seen.row),
            done=_done(done, seen),
        )

    def confirm(self, change: ChangeForm, form: str) -> PageAnswer:
        """Ask whether a change is meant."""
        return self.page("confirm.html", HTTPStatus.OK, title=change.title, change=change, form=form)

    def cancel_words(self, seen: Seen, action: Action, ends_on: date) -> tuple[str, ...]:
        """Return what a cancellation does, in sentences."""
        settling, unpaid = seen.settling, seen.settling or seen.refused
        if action is Action.CANCEL_AT_PERIOD_END and ends_on > seen.today:
            day = self._last_day(ends_on)
            if settling is None:
                return (self.words.say("page.cancel_period_end", day=day),)
            days = self.words.days(settling.renewal_date, settling.period_end)
            return (self.words.say("page.cancel_settling", days=days, day=day),)
        said = [self.words.say("page.cancel_now")]
        if unpaid is not None:
            price = self.words.price(unpaid.amount, unpaid.currency)
            said = [self.words.say(_CANCELS_NOW[seen.open_payment], price=price)]
        if seen.paid_until is not None and seen.paid_until > seen.today:
            said.append(self.words.say("page.cancel_paid", day=self._last_day(seen.paid_until)))
        return tuple(said)

    def resume_words(self, charge: NextCharge | None, today: date, ends_on: date | None) -> tuple[str, ...]:
        """Return what a resumption does, in sentences. ends_on: the end that stays set, if any."""
        end = (self.words.say("page.resume_ends", day=self._last_day(ends_on)),) if ends_on else ()
        return (self._resumed(charge, today), *end)

    def _last_day(self, end: date) -> str:
        """Return the last day before an end, as the mails name the end too."""
        return self.words.day(end - timedelta(days=1))

    def _resumed(self, charge: NextCharge | None, today: date) -> str:
        if charge is None:
            return self.words.say("page.resume_no_charge")
        said = {
            "price": self.words.price(charge.amount, charge.currency),
            "days": self.words.days(charge.start, charge.end),
        }
        if charge.on <= today:
            return self.words.say("page.resume_charge_now", **said)
        return self.words.say("page.resume_charge", day=self.words.day(charge.on), **said)

    def _price(self, seen: Seen) -> list[str]:
        if seen.checked is None:
            return []
        schedule = seen.checked.schedule
        price = self.words.price(seen.checked.amount, seen.checked.currency)
        key = _PRICES[schedule.interval, schedule.count == 1]
        return [self.words.say(key, price=price, **({} if schedule.count == 1 else {"count": str(schedule.count)}))]

    def _status(self, seen: Seen) -> list[str]:
        named = seen.state in (State.ENDING, State.ENDS_LATER, State.ENDED)
        day = {"day": self._last_day(seen.ends_on)} if named and seen.ends_on else {}
        without_day = State.UNKNOWN if seen.state is State.ENDS_LATER else State.CANCELED
        state = without_day if named and not day else seen.state
        said = [self.words.say(_STATES[state], **day)]
        if seen.being_charged is None and state in _UNLESS_CHARGED:
            said = [self.words.joined(*said, self.words.say(_UNLESS_CHARGED[state]))]
        if seen.settling is not None:
            days = self.words.days(seen.settling.renewal_date, seen.settling.period_end)
            said.append(self.words.say("page.settling", days=days))
        elif seen.tries_new_card:
            said.append(self.words.say("page.charging_new_card"))
        if seen.gives_up_on is not None:
            said.append(self.words.say(_GIVES_UP[seen.ends_as], day=self.words.day(seen.gives_up_on)))
        if seen.state is State.ENDING and not seen.can_resume:
            said.append(self.words.say("page.ask_to_go_on"))
        return said

    def _next_charge(self, seen: Seen) -> str:
        charge, now = seen.charge, seen.being_charged
        if now is not None:
            price, days = self.words.price(now.amount, now.currency), self.words.days(now.renewal_date, now.period_end)
            return self.words.say("page.charge_settling", price=price, days=days)
        if charge is None:
            faulty = seen.checked is None or (seen.checked.status.is_live and seen.state is not State.ENDING)
            return self.words.say(
                "page.charge_unknown" if faulty and seen.state is not State.ENDED else "page.charge_none"
            )
        said = {
            "price": self.words.price(charge.amount, charge.currency),
            "days": self.words.days(charge.start, charge.end),
        }
        closed = seen.refused is not None and (seen.refused.closed_at is not None or seen.retry_on is None)
        if closed or seen.state in (State.ACTION_REQUIRED, State.CARD_REFUSED) or charge.on <= seen.today:
            return self.words.say("page.charge_due", **said)
        key = "page.charge_regular" if seen.open_payment is OpenPayment.NONE else "page.charge_retry"
        return self.words.say(key, day=self.words.day(seen.retry_on or charge.on), **said)

    def _card(self, seen: Seen) -> str:
        card = seen.card
        if card is None:
            return self.words.say("page.card_unknown")
        if card.is_detached:
            return self.words.say("page.card_detached")
        name = self.words.card(card.name)
        if not card.expires:
            return name
        key = "page.card_expires_first" if seen.card_fails else "page.card_known"
        return self.words.say(key, card=name, month=self.words.month(card.expires))

    def _receipt(self, receipt: ListedReceipt) -> str:
        key = "page.receipt_refund" if receipt.name else "page.receipt"
        price = self.words.price(receipt.amount, receipt.currency)
        return self.words.say(key, day=self.words.day(receipt.on), price=price)

    def page(self, template: str, status: HTTPStatus, *, title: str, **shown: object) -> PageAnswer:
        """Show a page of a template. title: a key of the catalogue."""
        from markupsafe import Markup

        def marked(text: str) -> Markup:
            return Markup(marks.in_html(text, 'class="whole"'))  # noqa: S704  (in_html escapes the text)

        def say(key: str) -> Markup:
            return marked(self.words.say(key))

        html = (
            _environment()
            .select_template([template])  # get_template has the name of a call of SES, which no function may make
            .render(
                title=title,
                named=self.words.plain(self.words.say(title)),
                say=say,
                marked=marked,
                tag=self.words.tag,
                direction=self.words.direction,
                seller=self.seller,
                style=Markup(style()),  # noqa: S704  (our own file)
                **shown,
            )
        )
        return PageAnswer(status, html, self.words.tag)


@cache
def style() -> str:
    """Return the style sheet of the pages, without its comments."""
    return re.sub(r"/\*.*?\*/\n?", "", (_FOLDER / "style.css").read_text(encoding="utf-8"), flags=re.DOTALL)


@cache
def style_hash() -> str:
    """Return the hash by which the pages' policy knows the style sheet."""
    return f"sha256-{base64.b64encode(sha256(style().encode()).digest()).decode()}"


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _done(done: str, seen: Seen) -> str:
    """Return the key of the sentence about what the customer has just done; empty unless the sentence is true."""
    if done == Done.CANCELED and seen.state in (State.ENDING, State.CANCELED):
        return "page.done_canceled"
    if done == Done.RESUMED and seen.state in (State.ACTIVE, State.ENDS_LATER):
        return "page.resume_no_charge"
    if done == Done.REMINDERS and not reminders.has_declined(seen.row):
        return "page.reminders_all_text"
    return ""


def _plan(row: Row) -> str:
    return texts.presentable(str(row.get("plan", "Subscription")), texts.LONGEST_PLAN)


def _masked_name(name: str) -> str:
    """Return the first letter of each part of a name: "A*** L***"."""
    return " ".join(f"{part[0]}***" for part in texts.presentable_name(name).split()[:4]) or "***"
