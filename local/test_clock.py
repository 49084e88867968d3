"""Sets the test clock of a subscription on the local stack, and renews the subscription if due on the new day.

    python -m local.test_clock sub_1 2027-01-31

The command sets the row's attribute `test_clock`, sends a signed webhook, waits for the renewal and prints the ledger's
periods. docs/subscriptions.md explains test clocks ("Test without waiting"). The environment variable PORT selects the
stack.
"""

import argparse
import time
import uuid
from datetime import UTC, date, datetime
from json import dumps
from typing import Any

from boto3.dynamodb.conditions import Key

from local.commands import escape, run, say
from local.progress import step
from local.stack import Stack, StackError
from local.webhook import send, signed_headers, signing_secret

_WAIT_SECONDS, _LOOK_SECONDS = 30, 0.3
_UNDER_WAY = frozenset({"claimed", "paid", "receipted"})


def _live_on(stack: Stack, subscription_id: str, day: date) -> None:
    tables = stack.session.resource("dynamodb", endpoint_url=stack.endpoint_url)
    subscriptions, renewals = (
        tables.Table(stack.outputs[f"{name}TableName"]) for name in ("Subscriptions", "Renewals")
    )
    rows = subscriptions.query(KeyConditionExpression=Key("subscription_id").eq(subscription_id))["Items"]
    if not rows:
        raise StackError(
            f"there is no subscription {subscription_id}: `python -m local.subscribe` creates a subscription"
        )
    key = {name: rows[0][name] for name in ("subscription_id", "customer_id")}
    subscriptions.update_item(
        Key=key,
        UpdateExpression="SET test_clock = :day",
        ExpressionAttributeValues={":day": day.isoformat()},
    )
    with step(f"set the test clock of {escape(subscription_id)} to {day}, and send a webhook"):
        body = dumps(key | {"amount": str(rows[0]["amount"])}).encode()
        headers = signed_headers(
            signing_secret(stack), body, message_id=f"msg_{uuid.uuid4().hex}", at=datetime.now(UTC)
        )
        reply = send(stack.outputs["LocalWebhookUrl"], body, headers)
        if reply.status != 202:
            raise StackError(f"the webhook was answered with {reply.status}: {reply.body}")
        periods = _at_rest(renewals, subscription_id, str(rows[0]["renewal_date"]) if _is_due(rows[0], day) else None)
    tell(periods)


def tell(periods: list[dict[str, Any]]) -> None:
    """Print the periods of the ledger, oldest first. periods: newest first."""
    for period in reversed(periods):
        until = f" to {period['period_end']}" if "period_end" in period else ""
        say(f"  {period['renewal_date']}{until}  {period['status'].replace('_', ' ')}")


def _is_due(row: dict[str, Any], day: date) -> bool:
    return str(row["renewal_date"]) <= day.isoformat() and row["status"] in ("active", "past_due")


def _at_rest(renewals: Any, subscription_id: str, expected: str | None) -> list[dict[str, Any]]:
    """Wait until no period is under way, and return the latest periods. expected: a period that must exist by then, if
    given.
    """
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:
        found: list[dict[str, Any]] = renewals.query(
            KeyConditionExpression=Key("subscription_id").eq(subscription_id), ScanIndexForward=False, Limit=12
        )["Items"]
        there = expected is None or any(str(period["renewal_date"]) >= expected for period in found)
        if (there and not any(p["status"] in _UNDER_WAY for p in found)) or time.monotonic() > deadline:
            return found
        time.sleep(_LOOK_SECONDS)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date, such as 2027-01-31") from None


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m local.test_clock",
        description="Sets the test clock of a subscription on the local stack, and renews the subscription if due. "
        "The environment variable PORT selects the stack (default: 4566).",
    )
    parser.add_argument("subscription_id", help="the subscription's id, such as sub_1")
    parser.add_argument("day", type=_day, metavar="YYYY-MM-DD", help="the day of the test clock")
    given = parser.parse_args()
    run(lambda stack: _live_on(stack, given.subscription_id, given.day))


if __name__ == "__main__":
    main()
