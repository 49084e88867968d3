#!/usr/bin/env python3
"""Writes docs/ledger.md from the steps of a renewal: `.venv/bin/python -m scripts.ledger_page`."""

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import Any

from renewals.domain import subscription
from renewals.domain.payment import Failure, Payment, PaymentState
from renewals.domain.renewal import Mail, MailKind, MailState, Renewal, Status
from renewals.domain.stored import DisputeRecord, RefundRecord
from renewals.domain.subscription import SubscriptionStatus
from renewals.ledger import (
    claim_steps,
    dispute_steps,
    dunning_steps,
    mail_steps,
    payment_steps,
    receipt_steps,
    refund_steps,
    row_steps,
)
from renewals.ledger import table as ledger
from renewals.ledger.steps import Action, Check, Put, Row, Step, Table, Term, Update

PAGE = Path(__file__).parents[1] / "docs/ledger.md"
_DAY, _NEXT = date(2026, 1, 31), date(2026, 2, 28)
_NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
_ABOUT = """# The ledger, step by step

This page lists the steps of a renewal in the ledger. `python -m scripts.ledger_page` generates the page from the code
in `src/renewals/ledger/*_steps.py`.

A step is a single call to DynamoDB. The call makes all changes of the step if all conditions hold at that moment, and
otherwise makes no change. If two executions try a step at the same time, only the first execution succeeds; the second
execution is refused, and reads the ledger again. A step with an "otherwise" tries the second variant after a refusal of
the first.

"From" lists the states in which a period may take the step. ~~Crossed-out~~ attributes are removed. `<name>` stands for
a value that was read before, or that was given to the step.
"""


@dataclass(frozen=True, slots=True)
class Told:
    """A step of the page, and the data read before the step.

    Attributes:
        function: the function that makes the step.
        step: an example of the step.
        period: the period read before the step, or None.
        row: the subscription's row.
        states: the states of a period in which the step is possible; empty if no period is read.
        case: the special case that the step shows, if the page shows a function's step twice.
    """

    function: Callable[..., Step[Any]]
    step: Step[Any]
    period: Renewal | None
    row: Row
    states: tuple[Status, ...]
    case: str = ""

    @property
    def name(self) -> str:
        """The step's name, followed by the special case."""
        return f"{self.function.__name__}{self.case and ', '}{self.case}"


def sample_row() -> dict[str, Any]:
    """Return the raw attributes of a due subscription."""
    return {
        "subscription_id": "sub_1",
        "customer_id": "cus_1",
        "status": "active",
        "renewal_date": _DAY.isoformat(),
        "amount": Decimal("29.99"),
        "currency": "USD",
        "plan": "Pro",
        "customer_name": "Ann Lee",
        "customer_email": "ann@customer.example",
        "gateway_customer": "cus_gw",
        "payment_method": "pm_ok",
    }


def sample() -> Renewal:
    """Return the subscription's claimed period."""
    row = sample_row()
    return Renewal(
        subscription_id=row["subscription_id"],
        renewal_date=_DAY,
        customer_id=row["customer_id"],
        claim="claim-1",
        owner="run-1",
        lease_until=_NOW,
        claimed_at=_NOW,
        row_date=_DAY,
        first_tried_on=_DAY,
        period_end=_NEXT,
        amount=row["amount"],
        currency=row["currency"],
        plan=row["plan"],
        customer_name=row["customer_name"],
        customer_email=row["customer_email"],
        locale="en",
        gateway_customer=row["gateway_customer"],
        payment_method=row["payment_method"],
        seller={},
        receipt_number="20260131-0000-0000-0000",
    )


def told() -> Iterator[Told]:
    """Yield every step, in the order of the modules."""
    row, of, new, raw = subscription.parse(sample_row()), sample(), sample(), sample_row()
    payment = Payment("pi_1", PaymentState.PAID, 2999, "USD")
    paid = replace(of, status=Status.PAID, payment_id="pi_1", paid_at=_NOW)
    receipted = replace(paid, status=Status.RECEIPTED, receipt_key="receipts/1")
    declined = replace(of, status=Status.DECLINED, payment_id="pi_1", notice="payment_failed_1")
    mail = Mail(MailState.SENDING, "token-1", "run-1", _NOW, raw["customer_email"])
    mailing = replace(receipted, mails={"receipt_1": mail})
    refund: RefundRecord = {
        "amount": Decimal("9.99"),
        "state": "claimed",
        "at": _NOW.isoformat(),
        "by": "ann",
        "request": "request-1",
    }
    refunding = replace(paid, status=Status.DONE, refunds={"refund_1": refund}, refunds_due=_NOW)
    unpaid = (Status.CLAIMED, Status.DECLINED, Status.ACTION_REQUIRED, Status.FAILED)
    cut_off = (Status.CLAIMED, Status.FAILED, Status.PAID, Status.RECEIPTED, Status.MAIL_FAILED)
    refused = (Status.DECLINED, Status.ACTION_REQUIRED)
    settled = (Status.DONE, Status.MAIL_FAILED, Status.MAIL_UNKNOWN, Status.FAILED)

    def each(function: Callable[..., Step[Any]], states: tuple[Status, ...], *given: Any, **named: Any) -> Told:
        periods = [each for each in given if isinstance(each, Renewal) and each is not new]
        rows = [each for each in given if isinstance(each, dict) and "renewal_date" in each]
        step, row = function(*given, **named), rows[0] if rows else raw
        return Told(function, step, periods[0] if periods else None, row, states)

    claims, money, dunning, mails = claim_steps, payment_steps, dunning_steps, mail_steps
    yield each(claims.claim, (Status.SKIPPED,), new, (), row, (), guards=())
    stopped = replace(of, status=Status.FAILED, claim="claim-0")
    ended = (Status.FAILED, Status.GIVEN_UP)
    again = claims.claim(new, (), row, (stopped,), guards=())
    yield Told(claims.claim, again, stopped, raw, ended, "after an unsuccessful claim of the date")
    later_one = replace(stopped, renewal_date=_NEXT)
    instead = claims.claim(new, (), row, (later_one,), guards=())
    yield Told(claims.claim, instead, later_one, raw, ended, "after an unsuccessful claim of a later date")
    yield each(money.take, cut_off, of, of.status, "run-2", _NOW)
    yield each(money.keep_payment_id, (Status.CLAIMED,), of, "pi_1", _NOW, guards=())
    yield each(money.keep_payment_to_end, (Status.CLAIMED, Status.FAILED), of, "pi_1", _NOW)
    yield each(money.withdraw, (Status.CLAIMED, Status.FAILED), of, "canceled", "run-1", _NOW)
    yield each(money.count_intent_try, (Status.CLAIMED,), of, _NOW)
    yield each(money.forget_payment, (Status.CLAIMED,), replace(of, payment_id="pi_1"), _NOW)
    yield each(money.wait, (Status.CLAIMED,), of, _NOW)
    when = {"charged_at": _NOW, "execution": "run-1", "now": _NOW}
    yield each(money.paid, unpaid, replace(of, payment_id="pi_1"), payment, of.amount, raw, **when)
    yield each(money.failed, (Status.CLAIMED, Status.PAID, Status.RECEIPTED), of, "gateway: resource_missing", _NOW)
    failed = replace(of, status=Status.FAILED, payment_id="pi_1")
    yield each(money.ask_daily, (Status.FAILED,), failed, _NOW)
    failure = Failure("ch_1", "card_declined", "insufficient_funds", None)
    later = {"next_attempt": _NEXT, "notice": MailKind.PAYMENT_FAILED, "now": _NOW}
    yield each(dunning.refused, (Status.CLAIMED,), of, Status.DECLINED, failure, raw, **later)
    begins = {"dunned": 1, "execution": "run-1", "now": _NOW, "guards": ()}
    yield each(dunning.next_attempt, (*refused, Status.FAILED), declined, row, "ch_1", **begins)
    asks, asked = (Status.ACTION_REQUIRED,), replace(declined, status=Status.ACTION_REQUIRED)
    yield each(dunning.begin_challenge, asks, asked, "customer/1", _NOW, guards=())
    yield each(dunning.challenge_begun, asks, asked, _NOW)
    yield each(dunning.payment_closed, asks, asked, _NOW)
    yield each(dunning.dunning_date, refused, declined, raw, dunned=1, **later)
    yield each(dunning.give_up, unpaid, declined, "dunning_over", raw, ends_as=SubscriptionStatus.CANCELED, now=_NOW)
    yield each(receipt_steps.receipted, (Status.PAID,), paid, "receipts/1", "0" * 64, _NOW)
    yield each(receipt_steps.refund_receipted, settled, refunding, "refund_1", "receipts/2", "0" * 64, _NOW)
    any_state = tuple(each for each in Status if each is not Status.SKIPPED)
    told_of = (Status.RECEIPTED, *refused, Status.GIVEN_UP, *settled)
    yield each(mails.claim_mail, told_of, receipted, "receipt_1", mail, _NOW)
    to_claim = mails.claim_mail(declined, "payment_failed_1", mail, _NOW)
    others = (*refused, Status.GIVEN_UP, *settled)
    yield Told(mails.claim_mail, to_claim, declined, raw, others, "for a mail that is not the receipt")
    yield each(mails.park_mail, told_of, receipted, "receipt_1", replace(mail, state=MailState.FAILED), _NOW)
    yield each(mails.mailed, told_of, mailing, "receipt_1", replace(mail, state=MailState.SENT), _NOW)
    refusal = replace(declined, mails={"payment_failed_1": mail})
    sent = mails.mailed(refusal, "payment_failed_1", replace(mail, state=MailState.SENT), _NOW)
    yield Told(mails.mailed, sent, refusal, raw, others, "for a mail that is not the receipt")
    yield each(mails.release_mail, told_of, mailing, "receipt_1", mail.token, _NOW)
    yield each(mails.drop_notice, others, declined, "payment_failed_1", _NOW)
    unknown = replace(mailing, status=Status.MAIL_UNKNOWN)
    yield each(mails.reopen_mail, (Status.MAIL_UNKNOWN,), unknown, (), _NOW)
    came_back = {"kind": "bounced", "at": _NOW.isoformat(), "to": mail.to, "reason": "General"}
    done = replace(mailing, status=Status.DONE)
    yield each(mails.returned, any_state, done, "receipt_1", replace(mail, state=MailState.FAILED), came_back,
               owed=False, now=_NOW)  # fmt: skip
    yield each(mails.note_returned, any_state, done, "receipt_1", mail.token, came_back, _NOW)
    claimed = replace(refunding, refunds={}, refunds_due=None)
    yield each(refund_steps.claim_refund, settled, claimed, "refund_1", refund, (), _NOW, due=_NOW)
    yield each(refund_steps.count_refund_try, settled, refunding, "refund_1", _NOW)
    yield each(refund_steps.refunds_looked_at, settled, refunding, {"refund_1": refund | {"state": "refunded"}},
               notice="refunded_1", due=None, now=_NOW)  # fmt: skip
    dispute: DisputeRecord = {
        "amount": Decimal("29.99"),
        "currency": "USD",
        "reason": "fraudulent",
        "at": _NOW.isoformat(),
        "steps": [{"at": _NOW.isoformat(), "status": "needs_response"}],
    }
    contested = replace(paid, status=Status.DONE, disputes={"dp_1": dispute})
    yield each(dispute_steps.record_dispute, any_state, contested, "dp_2", dispute)
    yield each(row_steps.move_on, (), replace(paid, status=Status.DONE), raw, _NOW)
    yield each(row_steps.forget_refusal, (), raw | {"next_attempt": _NEXT.isoformat()})
    yield each(row_steps.end, (), raw | {"cancel_at": _NEXT.isoformat()})
    yield each(row_steps.resume, (), row, _NEXT, _NOW)
    yield each(row_steps.pass_over, (), row, (_DAY,), _NEXT, _NOW)


def page() -> str:
    """Return the page."""
    lines, module = [_ABOUT, inspect.cleandoc(str(ledger.__doc__)).split("\n\n")[2].join(("```\n", "\n```\n"))], None
    for each in told():
        of = inspect.getmodule(each.function)
        if of is not module:
            module = of
            lines.append(f"## {_subject(of)}\n")
        first = [] if each.case else [f"{_first(each.function)}\n"]
        lines += [f"### {each.name}\n", *first, *_told(each), ""]
    return "\n".join(lines).rstrip() + "\n"


def _subject(module: ModuleType | None) -> str:
    return inspect.cleandoc(str(module and module.__doc__)).partition(":")[0].partition(". ")[0].partition(";")[0]


def _first(function: Callable[..., Any]) -> str:
    """Return the first paragraph of the function's docstring, without the words about parameters."""
    paragraph = " ".join(inspect.cleandoc(str(function.__doc__)).split("\n\n")[0].split())
    return re.split(r"(?<=\.) (?=[a-z_]+(?:, [a-z_]+)*: )", paragraph)[0]


def _told(each: Told) -> Iterator[str]:
    if each.states:
        yield f"- From: {', '.join(each.states)}{', or no period yet' if Status.SKIPPED in each.states else ''}"
    for step in filter(None, (each.step, each.step.otherwise)):
        otherwise = "Otherwise: " if step is each.step.otherwise else ""
        for action in step.actions:
            yield f"- {otherwise}{_what(action)}"
            yield f"  - under the condition: {' **and** '.join(f'`{_in_words(term)}`' for term in action.condition)}"


def _what(action: Action) -> str:
    of = "the period" if action.table is Table.RENEWALS else "the subscription"
    match action:
        case Update():
            names = [name if value is not None else f"~~{name}~~" for name, value in action.changes.items()]
            status = action.changes.get("status")
            to = f", to **{status}**" if isinstance(status, StrEnum) else ""
            return f"Changes {of}{to}: {', '.join(names)}"
        case Put():
            return f"Creates {of}, as **{action.item['status']}**"
        case Check():
            return f"Only checks {of}"


def _in_words(term: Term) -> str:
    """Return the text of a term. States replace their placeholders; other values appear as <name>."""

    def value(mark: re.Match[str]) -> str:
        known = term.values[mark[0]]
        return (
            str(known) if isinstance(known, StrEnum) and mark[1] not in ("was", "refused", "status") else f"<{mark[1]}>"
        )

    return re.sub(r":(\w+)", value, term.text).replace("#", "")


if __name__ == "__main__":
    PAGE.write_text(page())
