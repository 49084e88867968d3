"""DeclarationWorker: decides what follows from a declaration on the public forms.

Event: a batch of records of the stream of the declarations table. Reply: {"looked_at": n}. A run that fails is started
again by Lambda until the stream forgets the record after a day.

Once a day, the schedule sends {"declarations": "open"}. The function then looks at the declarations that nobody has
looked at for an hour, because the stream may have forgotten their records. The declarations that wait for a person are
counted again, so that the alarm comes on every day while one waits.

A declaration has one effect, however often the declaration is looked at: the declaration's state and the record of the
change name what was done already.

A cancellation that fits takes effect as on the customer page, and the customer is told. Every other declaration waits
for a person. deciding.py has the rules. The metric DeclarationsLookedAt counts all declarations, and the metric
DeclarationsForPerson those that wait for a person.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from functools import cache

from botocore.exceptions import BotoCoreError, ClientError

from declaration_worker.deciding import Deciding, Decision
from renewals.domain.confirmations import wanted
from renewals.domain.declarations import DeclarationState, Doubt, Recorded
from renewals.domain.errors import (
    BadSetting,
    Collision,
    MissingSetting,
    NotHandedOver,
    Overtaken,
    Throttled,
    TryAgain,
)
from renewals.domain.item_values import fields, text
from renewals.ledger import address_search, limits
from renewals.ledger.customer_changes import UNREADABLE
from renewals.ledger.declarations import Declarations
from renewals.ledger.register import Register
from renewals.ledger.steps import Row
from renewals.runtime import aws, clock, telemetry
from renewals.runtime.settings import setting
from renewals.runtime.telemetry import Event, Reply, records

_CURABLE = (BotoCoreError, ClientError, Collision, NotHandedOver, Throttled, TryAgain, MissingSetting, BadSetting)
"""The errors against which a further run may help, at once or after a person has mended the deployment."""

_LATE = timedelta(hours=1)


@telemetry.observed
def handler(event: Event, _context: object) -> Reply:
    """Look at the declarations of the batch, or at the open declarations; see the module."""
    keys = [_key(each) for each in records(event)] if "Records" in event else _late_ones()
    for key in keys:
        _look_at(key)
    return {"looked_at": len(keys)}


def _late_ones() -> list[str]:
    """Count the declarations that wait for a person, and return the keys of those that nobody has looked at for an
    hour."""
    found = list(_declarations().open())
    readable = [each for each in found if isinstance(each, Recorded)]
    waiting = len(found) - sum(each.state is DeclarationState.NEW for each in readable)
    if waiting:
        telemetry.count("DeclarationsForPerson", waiting)
        telemetry.flush()
    now = clock.current().wall
    late = (each for each in readable if each.state is DeclarationState.NEW and now - each.declared_at > _LATE)
    return [each.key for each in sorted(late, key=lambda each: each.declared_at)]


def _key(record: Event) -> str:
    return text(fields(fields(fields(record, "dynamodb"), "Keys"), "declaration"), "S")


def _look_at(key: str) -> None:
    try:
        record = _declarations().get(key)
    except UNREADABLE as error:
        telemetry.count("DeclarationsForPerson")
        telemetry.logger().error("not readable", extra={"declaration": key, "error": telemetry.named(error)})
        return
    if record is None or record.state is not DeclarationState.NEW:
        return
    telemetry.count("DeclarationsLookedAt")
    try:
        decision = _decided(record)
    except Collision:
        again = _declarations().get(key)
        if again is not None and again.state is DeclarationState.NEW:
            raise
        return  # a person, or another run, was faster
    if decision.state is DeclarationState.FOR_A_PERSON:
        telemetry.count("DeclarationsForPerson")
    telemetry.flush()  # before the mark: if the run is killed now, the declaration is counted again, and never lost
    told = {"number": record.number, "state": decision.state.value, "why": decision.why}
    telemetry.logger().info("declaration", extra=told)
    with suppress(Overtaken):  # a person, or another run, was faster
        _declarations().mark(record, decision.state, decision.why, decision.subscription_id)


def _decided(record: Recorded) -> Decision:
    """Decide, and act. An error that a further run cannot help against leaves the declaration to a person: the
    declaration must not hold up later declarations."""
    try:
        return _deciding().decide(record)
    except _CURABLE:
        raise
    except Exception as error:  # noqa: BLE001  (see above)
        telemetry.logger().error("not decided", extra={"number": record.number, "error": telemetry.named(error)})
        return Decision(DeclarationState.FOR_A_PERSON, Doubt.UNREADABLE)


def _rows_at(address: str) -> list[Row]:
    """Return the rows with a mail address. Without the index, a declaration must name the subscription's id."""
    if setting("MAIL_ADDRESS_INDEX") != "present":
        return []
    return address_search.rows_of(aws.dynamodb(), setting("DYNAMODB_TABLE"), address)


def _may_mail(row: Row) -> bool:
    table = setting("DYNAMODB_TABLE")
    return limits.count(aws.dynamodb(), table, row, limits.RECEIPTS_OF_DECLARATIONS, clock.current().wall)


@cache
def _deciding() -> Deciding:
    register = Register(
        aws.dynamodb(),
        subscriptions=setting("DYNAMODB_TABLE"),
        renewals=setting("RENEWALS_TABLE"),
        changes=setting("CHANGES_TABLE"),
    )
    return Deciding(
        register, _rows_at, clock.of_row, _may_mail, wanted(setting("CONFIRMATIONS")), _declarations().still
    )


@cache
def _declarations() -> Declarations:
    return Declarations(aws.dynamodb(), setting("DECLARATIONS_TABLE"))
