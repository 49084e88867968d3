"""The open declarations of the public forms: `python -m scripts.oncall declarations`, `declaration-done` and
`declarations-done`.

A declaration is open until DeclarationWorker has found that it takes effect by itself, or until a person marks it as
done. The commands read the whole table.
"""

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date

from renewals.domain.declarations import DeclarationState, Doubt, Recorded
from renewals.domain.errors import Overtaken
from renewals.ledger.declarations import Declarations
from scripts.deployment import Deployment
from scripts.plainly import Trouble


def waiting(deployment: Deployment) -> tuple[list[Recorded], list[str]]:
    """Return the open declarations, and the keys of the items that cannot be read.

    The oldest declaration comes first. The declarations that fit no subscription come last, since anybody can send any
    number of such declarations.
    """
    found = list(_table(deployment).open())
    readable = [each for each in found if isinstance(each, Recorded)]
    readable.sort(key=lambda each: (_fits_nothing(each), each.number[1:]))
    return readable, [each for each in found if isinstance(each, str)]


def lines(record: Recorded) -> Iterator[str]:
    """Yield a declaration in words."""
    declared, way = record.declaration, record.declaration.way
    yield f"{record.number}, {declared.kind}, received {record.declared_at:%Y-%m-%d %H:%M:%S} UTC"
    yield f"    {declared.name} <{declared.address}>, contract: {declared.contract}"
    if way is not None:
        reason = f", because: {declared.reason}" if declared.reason else ""
        yield f"    {way}, to end {declared.wished or 'as early as possible'}{reason}"
    waits = Doubt.words_of(record.why) or record.why
    fits = f" (fits {record.subscription_id})" if record.subscription_id else ""
    yield "    not looked at yet" if record.state is DeclarationState.NEW else f"    waits for a person: {waits}{fits}"


def done(deployment: Deployment, number: str) -> None:
    """Mark an open declaration as done. Raises Trouble if no open declaration has the number."""
    found = next((each for each in waiting(deployment)[0] if each.number == number), None)
    if found is None:
        raise Trouble(f"There is no open declaration {number}.")
    try:
        _table(deployment).mark(found, DeclarationState.DONE, found.why, found.subscription_id)
    except Overtaken:
        raise Trouble("The declaration was looked at in the meantime: list the open declarations again.") from None


def done_without_fit(deployment: Deployment, day: date) -> int:
    """Mark the declarations of a day in UTC that wait because they fit no subscription as done, and return their
    number. A declaration that somebody marks meanwhile is left out."""
    table, marked = _table(deployment), 0
    for each in waiting(deployment)[0]:
        if _fits_nothing(each) and each.declared_at.astimezone(UTC).date() == day:
            with suppress(Overtaken):
                table.mark(each, DeclarationState.DONE, each.why)
                marked += 1
    return marked


def _fits_nothing(record: Recorded) -> bool:
    return record.state is DeclarationState.FOR_A_PERSON and record.why == Doubt.NO_FIT


def _table(deployment: Deployment) -> Declarations:
    return Declarations(deployment.client("dynamodb"), deployment.output("DeclarationsTableName"))
