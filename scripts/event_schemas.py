#!/usr/bin/env python3
"""Writes docs/events/, a JSON Schema for each event: `.venv/bin/python -m scripts.event_schemas`."""

import json
from pathlib import Path
from typing import Any

from renewals.domain.disputes import DisputeStatus
from renewals.domain.news import By, EventType
from renewals.domain.subscription import SubscriptionStatus

FOLDER = Path(__file__).parents[1] / "docs/events"

type Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
_DAY: Schema = {"type": "string", "format": "date"}
_WHOLE: Schema = {"type": "integer", "minimum": 1}
_AMOUNT: Schema = {"type": "string", "description": "Exact, in major units, for example 29.99"}
_PERIOD: Schema = {"period": _DAY | {"description": "The first day of the billing period"}}
_OF_PERIOD: Schema = _PERIOD | {"period_end": _DAY | {"description": "The first day after the billing period"}}
_CURRENCY: Schema = {"type": "string", "pattern": "^[A-Z]{3}$"}
_PRICED: Schema = _OF_PERIOD | {"amount": _AMOUNT, "currency": _CURRENCY}
_ATTEMPTED: Schema = _PRICED | {"attempt": _WHOLE, "reason": _TEXT_OR_NULL | {"description": "A code, for programs"}}
_REFUND: Schema = _PRICED | {"refund": _TEXT, "refund_id": _TEXT_OR_NULL | {"description": "The gateway's id"}}
_DISPUTE: Schema = {
    "dispute_id": _TEXT | {"description": "The gateway's id: dp_... of a dispute, issfr_... of a warning of fraud"},
    "status": {"enum": [each.value for each in DisputeStatus]},
    "reason": _TEXT,
    "due_by": {"type": ["string", "null"], "format": "date-time", "description": "The deadline for evidence"},
    "payment_currency": _CURRENCY | {"description": "The currency of withdrawn and reinstated"},
    "withdrawn": _AMOUNT | {"description": "All money that the bank took until now, in the currency of the payment"},
    "reinstated": _AMOUNT | {"description": "The part of withdrawn that the bank returned"},
}
_STATUS: Schema = {
    "status": {
        "type": ["string", "null"],
        "enum": [*map(str, SubscriptionStatus), None],
        "description": "The status when the event was made; null if the subscription's row is gone or has no status",
    },
}


def _caused(*by: By) -> Schema:
    return {"by": {"enum": [str(each) for each in by]}}


_DATA: dict[EventType, Schema] = {
    EventType.CREATED: _caused(By.REQUEST, By.TABLE) | _STATUS,
    EventType.UPDATED: _caused(By.REQUEST, By.TABLE, By.RENEWAL)
    | _STATUS
    | {"changed": {"type": "array", "items": _TEXT, "description": "The names of the changed attributes"}},
    EventType.PAUSED: _caused(By.REQUEST, By.TABLE) | _STATUS,
    EventType.RESUMED: _caused(By.REQUEST, By.TABLE) | _STATUS,
    EventType.CANCEL_SCHEDULED: _caused(By.REQUEST, By.DISPUTE, By.TABLE) | _STATUS | {"cancel_at": _TEXT},
    EventType.ENDED: _caused(*By) | _STATUS,
    EventType.PAST_DUE: _caused(By.RENEWAL, By.TABLE) | _STATUS,
    EventType.RECOVERED: _caused(By.RENEWAL, By.TABLE) | _STATUS,
    EventType.PAID: _PRICED | {"transaction_id": _TEXT_OR_NULL, "receipt_number": _TEXT},
    EventType.FAILED: _ATTEMPTED | {"outcome": {"enum": ["declined", "failed", "given_up"]}},
    EventType.ACTION_REQUIRED: _ATTEMPTED,
    EventType.REFUNDED: _REFUND,
    EventType.REFUND_FAILED: _REFUND | {"reason": _TEXT_OR_NULL},
    EventType.DISPUTED: _PRICED | _DISPUTE,
    EventType.UPCOMING: _PERIOD | {"amount": _AMOUNT, "currency": _TEXT_OR_NULL},
}
_FROM_A_PERIOD: dict[EventType, Schema] = dict.fromkeys(
    (EventType.UPDATED, EventType.ENDED, EventType.PAST_DUE, EventType.RECOVERED), _OF_PERIOD
)
"""The data that an event about a subscription has in addition if the cause is a renewal."""


def schema(kind: EventType) -> Schema:
    """Return the JSON Schema of an event."""
    data = _DATA[kind]
    envelope: Schema = {
        "id": {"type": "string", "pattern": "^evt_[0-9a-f]{40}$"},
        "type": {"const": kind.value},
        "occurred_at": {"type": "string", "format": "date-time"},
        "sequence": {"type": "integer", "minimum": 0, "description": "Rises within a subscription"},
        "subscription_id": _TEXT,
        "customer_id": _TEXT_OR_NULL,
        "entitled_until": {
            "type": ["string", "null"],
            "format": "date",
            "description": "The first day on which the customer is not entitled; null if no such day is known",
        },
        "data": {
            "type": "object",
            "properties": data | _FROM_A_PERIOD.get(kind, {}),
            "required": sorted(data),
        },
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": kind.value,
        "type": "object",
        "properties": envelope,
        "required": sorted(envelope),
    }


def files() -> dict[str, str]:
    """Return the text of each schema, by the name of the file."""
    return {f"{kind}.json": json.dumps(schema(kind), indent=2) + "\n" for kind in EventType}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in files().items():
        (FOLDER / name).write_text(text)
