"""Limits and rules of AWS that MiniStack does not enforce.

- SQS hides a message for at most 12 hours, delays a message for at most 15 minutes, and allows 120,000 hidden messages
  in a queue (https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html).
- CloudFormation creates or removes only a single index of a table in an update
  (https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-dynamodb-table.html).
- API Gateway tells a function the real source address of a request, never the address claimed in X-Forwarded-For. API
  Gateway throttles a path that the template writes with ~1, answers 502 if a header's value is a list, and sends a
  header from `headers` in addition to headers of equal name from `multiValueHeaders`
  (https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html). API Gateway
  answers 500 if Lambda refuses the call, because the executions of the function or of the account are all at work
  (https://docs.aws.amazon.com/lambda/latest/dg/services-apigateway-errors.html). The errors of API Gateway itself have
  the words that the template gives these errors.
"""

import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from local.emulator.patching import replace

_MOST_SECONDS_HIDDEN = 43_200
_MOST_SECONDS_DELAYED = 900
MOST_HIDDEN_MESSAGES = 120_000

type _Action = Callable[[dict[str, Any], str], Any]


def apply() -> None:
    _limit_queues()
    _limit_indexes()
    _limit_requests()
    _answer_as_the_template_says()


def _limit_queues() -> None:
    from ministack.services import sqs

    def refuse(name: str, value: Any, most: int) -> None:
        if value is not None and not 0 <= int(value) <= most:
            reason = (
                f"Value {value} for parameter {name} is invalid. Reason: Must be between 0 and {most}, if provided."
            )
            raise sqs._Err("InvalidParameterValue", reason)

    def within(name: str, most: int, action: _Action) -> _Action:
        def checked(data: dict[str, Any], url: str) -> Any:
            refuse(name, data.get(name), most)
            return action(data, url)

        return checked

    def received(data: dict[str, Any], url: str) -> Any:
        refuse("VisibilityTimeout", data.get("VisibilityTimeout"), _MOST_SECONDS_HIDDEN)
        now, queue = time.time(), sqs._get_q(data.get("QueueUrl", url), "sqs:ReceiveMessage")
        hidden = sum(message["receive_count"] > 0 and message["visible_at"] > now for message in queue["messages"])
        if hidden >= MOST_HIDDEN_MESSAGES and not queue["is_fifo"]:
            raise sqs._Err("OverLimit", "Too many messages in flight")
        return receive(data, url)

    def changed_by_batch(data: dict[str, Any], url: str) -> Any:
        entries = data.get("Entries", [])
        good = [e for e in entries if 0 <= int(e.get("VisibilityTimeout", 30)) <= _MOST_SECONDS_HIDDEN]
        answer = (
            change_batch(data | {"Entries": good}, url) if good or not entries else {"Successful": [], "Failed": []}
        )
        why = {"Code": "InvalidParameterValue", "Message": "VisibilityTimeout is over 43200", "SenderFault": True}
        refused = [{"Id": entry.get("Id", ""), **why} for entry in entries if entry not in good]
        return answer | {"Failed": answer["Failed"] + refused}

    handlers = sqs._HANDLERS
    receive, change_batch = handlers["ReceiveMessage"], handlers["ChangeMessageVisibilityBatch"]
    handlers["ReceiveMessage"] = received
    handlers["ChangeMessageVisibilityBatch"] = changed_by_batch
    change = within("VisibilityTimeout", _MOST_SECONDS_HIDDEN, handlers["ChangeMessageVisibility"])
    handlers["ChangeMessageVisibility"] = change
    # The batch action calls the single action, looked up in the module by name.
    sqs._act_send_message = within("DelaySeconds", _MOST_SECONDS_DELAYED, sqs._act_send_message)
    handlers["SendMessage"] = sqs._act_send_message


def _limit_indexes() -> None:
    from ministack.services.cloudformation import provisioners

    table = provisioners._RESOURCE_HANDLERS["AWS::DynamoDB::Table"]
    update = table["update"]

    def update_one_index(
        physical_id: str, old: Mapping[str, Any], new: Mapping[str, Any], *more: Any, **named: Any
    ) -> Any:
        had, has = ({index["IndexName"] for index in of.get("GlobalSecondaryIndexes", [])} for of in (old, new))
        if len(had ^ has) > 1:
            raise ValueError("Cannot perform more than one GSI creation or deletion in a single update")
        return update(physical_id, old, new, *more, **named)

    table["update"] = update_one_index


def _limit_requests() -> None:
    from ministack.services import apigateway_v1

    replace(
        apigateway_v1,
        "_build_lambda_event_v1",
        {
            'headers.get("x-forwarded-for", "127.0.0.1").split(",")[0].strip()\n'
            '                if isinstance(headers.get("x-forwarded-for", ""), str)\n'
            '                else "127.0.0.1"': '"127.0.0.1"',
            # Python warns at each call of utcnow, and the warning costs more than the rest of the event.
            "datetime.datetime.utcnow()": "datetime.datetime.now(datetime.UTC)",
        },
    )
    replace(
        apigateway_v1,
        "_method_throttle_settings",
        {
            '    for key in (f"/{stripped}/{http_method}", ': """\
    escaped = stripped.replace("/", "~1")
    for key in (f"/~1{escaped}/{http_method}", f"/{stripped}/{http_method}", \
"""
        },
    )
    replace(
        apigateway_v1,
        "_invoke_lambda_proxy_v1",
        {
            "    lambda_response, err = _lambda_proxy_response(result)\n": """\
    if result.get("throttle"):
        return _gw_error("DEFAULT_5XX", "Internal server error")
    lambda_response, err = _lambda_proxy_response(result)
""",
            '    status = lambda_response.get("statusCode", 200)\n': """\
    if any(isinstance(v, (list, dict)) for v in (lambda_response.get("headers") or {}).values()):
        return 502, {"Content-Type": "application/json"}, b'{"message": "Internal server error"}'
    status = lambda_response.get("statusCode", 200)
""",
            "        resp_headers[k] = list(v)\n": "        resp_headers[k] = beside(lambda_response, k, v)\n",
        },
        beside=_beside,
    )


def _beside(response: Mapping[str, Any], name: str, values: list[str]) -> list[str]:
    """Return a header's values under `multiValueHeaders`, preceded by a different value under `headers`."""
    single = [value for key, value in (response.get("headers") or {}).items() if key.lower() == name.lower()]
    return [value for value in single if value not in values] + list(values)


def _answer_as_the_template_says() -> None:
    """Take over the words for errors of API Gateway itself: MiniStack drops these words."""
    from ministack.services import apigateway_v1

    take_over = apigateway_v1._import_rest_api

    def taken_over(document: Mapping[str, Any], *more: Any) -> str:
        api: str = take_over(document, *more)
        for name, answer in document.get("x-amazon-apigateway-gateway-responses", {}).items():
            status, _, body = apigateway_v1._put_gateway_response(api, name, answer)
            if status != HTTPStatus.CREATED:
                raise ValueError(f"the answer {name} is refused: {body!r}")
        return api

    apigateway_v1._import_rest_api = taken_over
