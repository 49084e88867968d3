"""Decides about permissions of roles, and about resource policies that admit a service of AWS."""

from collections.abc import Mapping
from typing import Any


def allows(role_arn: str, action: str, resource: str) -> bool:
    """Tell whether the policies of a role allow the action on the resource."""
    from ministack.core import iam_evaluator

    account, role = role_arn.split(":")[4], role_arn.rsplit("/", 1)[-1]
    request = _request(f"arn:aws:sts::{account}:assumed-role/{role}/service", "AssumedRole", account, action, resource)
    policies = iam_evaluator._gather_role_policies(role, account)
    return bool(iam_evaluator.evaluate(request, policies).decision == "Allow")


def lets_in(policy: str | Mapping[str, Any], service: str, action: str, resource: str, source: str) -> bool:
    """Tell whether a resource's policy allows an action by a service.

    Args:
        policy: the resource's policy.
        service: the service's principal, such as events.amazonaws.com.
        action: the action, such as sqs:SendMessage.
        resource: the ARN of the resource.
        source: the ARN on whose behalf the service acts, such as the ARN of a rule.
    """
    from ministack.core import iam_evaluator

    account = source.split(":")[4]
    request = _request("*", "Service", "", action, resource, {"aws:sourcearn": source, "aws:sourceaccount": account})
    return bool(iam_evaluator.evaluate_resource_policy(policy, request, service=service).decision == "Allow")


def _request(
    principal: str, kind: str, account: str, action: str, resource: str, more: Mapping[str, str] | None = None
) -> Any:
    from ministack.core import iam_evaluator, responses

    return iam_evaluator.EvalContext(
        principal_arn=principal,
        principal_type=kind,
        principal_account=account,
        action=action,
        resource_arn=resource,
        region=responses.get_region(),
        service_context=dict(more or {}),
    )
