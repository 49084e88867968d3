"""Tell that the gateway does not list a kind of object: the audit goes on with everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from renewals.gateway import access as gateway_access
from renewals.gateway.port import GatewayForbidden, GatewayRefused
from renewals.runtime import telemetry

if TYPE_CHECKING:
    from renewal_audit.findings import Difference, Found


def not_read(fault: GatewayForbidden | GatewayRefused, kind: Difference, objects: str, found: Found) -> None:
    """Tell as a difference that a restricted key may not read a kind of object, or that the gateway refuses to list the
    objects."""
    if isinstance(fault, GatewayForbidden):
        gateway_access.tell(fault)
        why = f"the gateway's key may not read {objects}"
    else:
        told = {"objects": objects, "error": str(fault), "gateway_request_id": fault.request_id}
        telemetry.logger().error("a list was refused", extra=told)
        why = f"the gateway refuses to list {objects}: {fault.code}"
    found.differs(kind, ("", ""), "", why)
