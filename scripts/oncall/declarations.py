"""The open declarations of the public forms: `python -m scripts.oncall declarations`, and `declaration-done`.

A declaration is open until DeclarationWorker has found that it takes effect by itself, or until a person marks it as
done. The commands read the whole table.
"""

from collections.abc import Iterator

from renewals.domain.declarations import DeclarationState, Doubt, Recorded
from renewals.domain.errors import Overtaken
from renewals.ledger.declarations import Declarations
from scripts.deployment import Deployment
from scripts.plainly import Trouble


def waiting(deployment: Deployment) -> tuple[list[Recorded], list[str]]:
    """Return the open declarations, oldest first, and the keys of the items that cannot be read."""
    found = list(_table(deployment).open())
    readable = sorted((each for each in found if isinstance(each, Recorded)), key=lambda each: each.number[1:])
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


def _table(deployment: Deployment) -> Declarations:
    return Declarations(deployment.client("dynamodb"), deployment.output("DeclarationsTableName"))
