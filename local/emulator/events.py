"""EventBridge takes events and delivers them as AWS does.

- PutEvents refuses an entry without a source or a type, with a detail that is not a JSON object, or larger than 256 kB.
  The rest of the call's entries are accepted.
- PutPartnerEvents puts a partner's events on the bus with the name of their source, and PutEvents takes no source that
  begins with "aws.".
- A queue receives an event only if the queue's policy admits the rule, and a function only if the function's policy
  admits the rule.
- A schedule calls its target with the schedule's own role.
- A function is called asynchronously: Lambda calls a failed function two more times.
- EventBridge retries a failed delivery according to the target's retry policy. An undeliverable event goes to the
  target's dead-letter queue together with the reason if the queue's policy admits the rule; otherwise the event is
  lost.

POST /_local/events   {"refused_entries": 0, "failed_deliveries": 0}: throttles the given number of entries from now
                      on, and fails the given number of deliveries to targets. The answer tells the numbers left.

Sources: https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsResultEntry.html,
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html.
"""

import contextvars
import json
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from local.emulator import roles
from local.emulator.patching import replace
from local.emulator.paths import Answer, answer_at, answer_in_json

_MOST_BYTES = 262_144
_MOST_ATTEMPTS = 185
_LONGEST_SECONDS = 86_400
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0
"""Seconds between two attempts at a delivery."""
_SERVICE = "events.amazonaws.com"

type _Target = dict[str, Any]
type _Rule = dict[str, Any]


@dataclass
class _Trouble:
    """The failures to come: a number of entries to throttle, and a number of deliveries to fail."""

    refused_entries: int = 0
    failed_deliveries: int = 0

    def take(self, kind: str) -> bool:
        left = getattr(self, kind)
        setattr(self, kind, max(0, left - 1))
        return bool(left)


_trouble = _Trouble()
_retries = 0
_retries_lock = threading.Lock()


def apply() -> None:
    from ministack.services import eventbridge

    replace(
        eventbridge,
        "_put_events",
        {
            "        event_time = int(_now_ts())\n": """\
        refusal = refused(entry)
        if refusal:
            results.append(refusal)
            failed += 1
            continue
        event_time = int(_now_ts())
"""
        },
        refused=_refused,
    )
    replace(
        eventbridge,
        "_put_partner_events",
        {
            '    entries = data.get("Entries", [])\n': (
                '    entries = [entry | {"EventBusName": entry["Source"]} for entry in data["Entries"]]\n'
                '    return _put_events({"Entries": entries}, allow_aws_source=True)\n'
            )
        },
    )
    replace(
        eventbridge,
        "_invoke_target",
        {
            "            _dispatch_to_lambda(arn, event_payload)\n": (
                "            deliver(rule, target, event_payload, call_function)\n"
            ),
            '            _dispatch_to_sqs(spec, event_payload, target.get("SqsParameters") or {})\n': (
                "            deliver(rule, target, event_payload, send_message)\n"
            ),
        },
        deliver=_deliver,
        call_function=_call_function,
        send_message=_send_message,
    )
    answer_at("/_local/events", _control)


def at_work() -> int:
    """Return the number of deliveries that wait for their next attempt."""
    return _retries


async def _control(method: str, _path: str, body: bytes) -> Answer:
    if method == "POST":
        for name, value in json.loads(body).items():
            setattr(_trouble, name, int(value))
    return answer_in_json(asdict(_trouble))


def _refused(entry: dict[str, Any]) -> dict[str, str] | None:
    """Return the result of a refused entry; None if the entry is accepted."""
    for name in ("Source", "DetailType", "Detail"):
        if not entry.get(name):
            reason = f"Parameter {name} is not valid. Reason: {name} is a required argument."
            return {"ErrorCode": "InvalidArgument", "ErrorMessage": reason}
    try:
        detail = json.loads(entry["Detail"])
    except ValueError:
        detail = None
    if not isinstance(detail, dict):
        return {"ErrorCode": "MalformedDetail", "ErrorMessage": "Detail is malformed."}
    parts = [entry["Source"], entry["DetailType"], entry["Detail"], *entry.get("Resources", [])]
    if sum(len(part.encode()) for part in parts) > _MOST_BYTES:
        return {"ErrorCode": "InvalidArgument", "ErrorMessage": "The entry is larger than 256 KB."}
    if _trouble.take("refused_entries"):
        return {"ErrorCode": "ThrottlingException", "ErrorMessage": "Rate exceeded"}
    return None


def _deliver(rule: _Rule, target: _Target, payload: str, send: Callable[[_Rule, _Target, str], str | None]) -> None:
    """Deliver the event to the target, at once or after pauses. An undeliverable event goes to the dead-letter
    queue.
    """
    policy = target.get("RetryPolicy") or {}
    attempts = int(policy.get("MaximumRetryAttempts", _MOST_ATTEMPTS))
    until = time.monotonic() + int(policy.get("MaximumEventAgeInSeconds", _LONGEST_SECONDS))

    def attempt(number: int) -> bool:
        """Make an attempt. Returns whether a further attempt must follow."""
        if not _trouble.take("failed_deliveries"):
            if refusal := send(rule, target, payload):
                _give_up(rule, target, payload, refusal)
            return False
        if number >= attempts or time.monotonic() > until:
            _give_up(rule, target, payload, "SERVICE_UNAVAILABLE")
            return False
        return True

    def attempt_until_done() -> None:
        global _retries
        number = 1
        try:
            while True:
                time.sleep(min(_FIRST_PAUSE * 2 ** (number - 1), _LONGEST_PAUSE))
                if not attempt(number):
                    return
                number += 1
        finally:
            with _retries_lock:
                _retries -= 1

    if attempt(0):
        _in_background(attempt_until_done)


def _in_background(work: Callable[[], None]) -> None:
    global _retries
    with _retries_lock:
        _retries += 1
    threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True).start()


def _may(rule: _Rule, target: _Target, action: str, resource: str, policy: Any) -> bool:
    """Whether the delivery is allowed: a rule needs the policy of the resource, a schedule its own role."""
    if ":scheduler:" in rule["Arn"]:
        return roles.allows(target["RoleArn"], action, resource)
    return roles.lets_in(policy, _SERVICE, action, resource, rule["Arn"])


def _call_function(rule: _Rule, target: _Target, payload: str) -> str | None:
    """Call the function. Returns the reason if the function cannot be called."""
    from ministack.services import lambda_svc

    function, config, _ = lambda_svc._get_func_record_for_ref(target["Arn"])
    if not function or not config:
        return "NO_RESOURCE"
    if not _may(rule, target, "lambda:InvokeFunction", config["FunctionArn"], function["policy"]):
        return "NO_PERMISSIONS"
    lambda_svc.invoke_async_with_retry(lambda_svc._execution_record_for_config(function, config), json.loads(payload))
    return None


def _send_message(rule: _Rule, target: _Target, payload: str) -> str | None:
    """Put the event into the queue. Returns the reason if the queue refuses the event."""
    from ministack.core.arn import parse_arn
    from ministack.services import eventbridge, sqs

    queue = sqs._queue_by_arn(target["Arn"])
    if not queue:
        return "NO_RESOURCE"
    policy = queue["attributes"].get("Policy") or "{}"
    if not _may(rule, target, "sqs:SendMessage", target["Arn"], policy):
        return "NO_PERMISSIONS"
    eventbridge._dispatch_to_sqs(parse_arn(target["Arn"]), payload, target.get("SqsParameters") or {})
    return None


def _give_up(rule: _Rule, target: _Target, payload: str, reason: str) -> None:
    """Send the event to the target's dead-letter queue, with the reason as an attribute of the message."""
    from ministack.services import sqs

    arn = (target.get("DeadLetterConfig") or {}).get("Arn", "")
    if arn and _send_message(rule, target | {"Arn": arn}, payload) is None:
        told = {"ERROR_CODE": reason, "RULE_ARN": rule["Arn"], "TARGET_ARN": target["Arn"]}
        message = sqs._queue_by_arn(arn)["messages"][-1]
        message["message_attributes"] = {
            name: {"DataType": "String", "StringValue": value} for name, value in told.items()
        }
