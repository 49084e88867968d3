"""The entity tag of a subscription's row: an edit with an older tag is refused, since somebody else changed the row.

The tag covers `version`, which counts the changes on request, and all attributes that only people change. The tag does
not cover the attributes that a renewal changes: the renewal date, the last payment, and whether the status is active or
past due. A renewal during an edit therefore does not refuse the edit. Nor does the edit overwrite the renewal, since
every write is made on the condition that the row is still as read.
"""

import json
from decimal import Decimal
from hashlib import sha256

from renewals.domain.row_attributes import IN_ENTITY_TAG
from renewals.domain.subscription import is_live
from renewals.ledger.steps import Row

_LIVE = "live"
"""The status of a live subscription in the entity tag: active and past due are alike in the tag."""


def etag(row: Row) -> str:
    """Return the entity tag of a row, in quotes."""
    covered = {name: _plain(row[name]) for name in IN_ENTITY_TAG if name in row}
    covered["status"] = _LIVE if is_live(row) else _plain(row.get("status"))
    digest = sha256(json.dumps(covered, sort_keys=True).encode()).hexdigest()[:16]
    return f'"{version(row)}-{digest}"'


def version(row: Row) -> int:
    """Return the number of changes on request; 0 for a row without a number, for example a row written by hand."""
    number = row.get("version")
    return int(number) if isinstance(number, Decimal) and number.is_finite() else 0


def _plain(value: object) -> str:
    """Return a value of any type as text, and equal amounts as equal texts."""
    return f"{value.normalize():f}" if isinstance(value, Decimal) else repr(value)
