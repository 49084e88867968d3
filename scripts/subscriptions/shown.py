"""The output for people: tables and lines."""

import sys
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from rich import markup
from rich.console import Console
from rich.table import Table

from renewals.domain import texts, wording
from renewals.domain.errors import BadRow
from renewals.domain.preview import Preview
from renewals.domain.subscription import status_words
from renewals.domain.timeline_entries import Entry
from scripts.subscriptions.importing import Judged, Tally, Verdict
from subscriptions_api import showing

_WIDTH = 160  # for output that is not a terminal
console = Console(highlight=False, soft_wrap=False, width=None if sys.stdout.isatty() else _WIDTH)


def escape(text: str) -> str:
    """Return a text from a table or a file in printable form: markup and control characters are escaped."""
    return markup.escape(texts.printable(text))


def say(text: str, style: str = "") -> None:
    """Print the text on a single line, however long, without interpreting markup."""
    console.print(escape(text), style=style, soft_wrap=True)


def rows(found: Iterable[tuple[Mapping[str, Any], date, BadRow | None]]) -> None:
    """Print subscriptions, a line each, with status and fault.

    found: each subscription's row, the present date for the subscription (which a test clock may set), and the row's
    fault.
    """
    table = _table("subscription", "customer", "status", "next charge", "amount", "plan", "fault")
    for row, today, wrong in found:
        shown = _for_people(showing.shown(row, today, wrong))
        fault = shown["fault"]
        table.add_row(
            *_texts(shown, "subscription_id", "customer_id", "status", "renewal_date", "amount", "plan"),
            f"[red]{escape(fault['field'])} {escape(fault['reason'])}[/red]" if fault else "",
        )
    console.print(table)


def row(row: Mapping[str, Any], today: date, coming: Preview | BadRow) -> None:
    """Print a subscription: all attributes, the fault, and the next charge."""
    shown = _for_people(showing.shown(row, today))
    table = _table("attribute", "value")
    for name, value in shown.items():
        if value is not None and name != "fault":
            table.add_row(name, escape(str(value)))
    console.print(table)
    if isinstance(coming, BadRow):
        say(f"The subscription cannot be charged as it stands: {coming}.", "red")
    elif coming.charges:
        charge = coming.charges[0]
        say(f"Next charge: {wording.money(charge.amount, charge.currency)} on {wording.day(charge.on)}: {charge.why}.")
    else:
        say(coming.then)


def charges(coming: Preview) -> None:
    """Print the next charges."""
    table = _table("date", "period", "amount", "reason for the date")
    for charge in coming.charges:
        period = wording.days(charge.start, charge.end)
        table.add_row(str(charge.on), period, wording.money(charge.amount, charge.currency), escape(charge.why))
    if coming.charges:
        console.print(table)
    if coming.then:
        say(coming.then)


def entries(told: Iterable[Entry]) -> None:
    """Print events, oldest first."""
    table = _table("when", "what happened")
    for entry in told:
        table.add_row(f"{entry.at:%Y-%m-%d %H:%M:%S%z}", escape(entry.text))
    if table.rows:
        console.print(table)


def left_out(judged: Judged) -> None:
    """Print a line that is not imported, with all reasons."""
    if judged.why:
        say(f"line {judged.line.number}: {'; '.join(judged.why)}", "red" if judged.verdict is Verdict.BAD else "yellow")


def tally(counted: Tally, *, applied: bool) -> None:
    """Print the results of a file's lines, and the charges due at once."""
    table = _table("lines", "")
    table.columns[0].justify = "right"
    said = {
        Verdict.NEW: "would be created",
        Verdict.CREATED: "created",
        Verdict.THERE: "existed already",
        Verdict.RENEWED: "existed already, renewed since",
        Verdict.HELD_BACK: "held back: already due, would be charged at once",
        Verdict.DIFFERENT: "left alone: the existing subscription differs",
        Verdict.UNVERIFIED: "not imported: the gateway gave no answer about customer and card",
        Verdict.BAD: "bad: cannot be imported",
    }
    for verdict, text in said.items():
        always = verdict is (Verdict.CREATED if applied else Verdict.NEW)
        if counted.lines[verdict] or always:
            table.add_row(f"{counted.lines[verdict]:,}", text)
    console.print(table)
    if counted.due:
        money = ", ".join(wording.money(amount, currency) for currency, amount in sorted(counted.money.items()))
        due = f"{_many(counted.due, 'subscription')}, {_many(counted.charges, 'charge')}, {money}"
        say(f"Due at once: {due}.", "bold yellow")
    if counted.late:
        say(f"More than one period missed: {counted.late:,} of these; the oldest has been due since {counted.oldest}.")


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _texts(shown: Mapping[str, Any], *names: str) -> list[str]:
    return [escape(str(shown[name])) if shown[name] is not None else "" for name in names]


def _for_people(shown: Mapping[str, Any]) -> dict[str, Any]:
    """Return a subscription as the API shows it, with the amount as a text and the status in words."""
    amount, status = shown["amount"], shown["status"]
    return {
        **shown,
        "amount": f"{amount['amount']} {amount['currency']}" if amount else None,
        "status": None if status is None else status_words(status),
    }
