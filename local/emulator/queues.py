"""Queues.

- A batch of messages needs the permission for a single message, as in SQS.
- The emulator publishes the number of waiting dead letters immediately after every new dead letter.
- The maximum concurrency of an event source may come from a template parameter, as text.
"""

import json
from typing import Any

from local.emulator.patching import replace


def apply() -> None:
    from ministack.core import iam_actions
    from ministack.services import cloudwatch, lambda_svc, sqs

    bound = '(esm.get("ScalingConfig") or {}).get("MaximumConcurrency") or _ESM_SQS_DEFAULT_CONCURRENCY'
    replace(lambda_svc, "_sqs_esm_concurrency", {bound: f"int({bound})"})
    action, sweep = iam_actions.extract_iam_action, sqs._dlq_sweep

    def single_action(service: str, *request: Any) -> str | None:
        found: str | None = action(service, *request)
        return found.removesuffix("Batch") if found and service == "sqs" else found

    def sweep_and_publish(queue: dict[str, Any]) -> None:
        target = json.loads(queue["attributes"].get("RedrivePolicy") or "{}").get("deadLetterTargetArn", "")
        dead_letters = sqs._queue_by_arn(target) if target else None
        before = len(dead_letters["messages"]) if dead_letters else 0
        sweep(queue)
        if dead_letters and len(dead_letters["messages"]) > before:
            cloudwatch.record_metric(
                "AWS/SQS",
                "ApproximateNumberOfMessagesVisible",
                len(dead_letters["messages"]),
                "Count",
                {"QueueName": target.rpartition(":")[2]},
            )

    iam_actions.extract_iam_action = single_action
    sqs._dlq_sweep = sweep_and_publish
