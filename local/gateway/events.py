"""Events: records of changes at the gateway. An event holds a copy of the object, made right after the change.

Sources: Stripe API reference, "Events" (docs.stripe.com/api/events) and "Types of events"
(docs.stripe.com/api/events/types). The sandbox records the types about payments, refunds, disputes, cards and early
fraud warnings. `deliveries.py` sends the events.
"""

import copy
from fnmatch import fnmatchcase

from local.gateway import params
from local.gateway.errors import bad_parameter, missing
from local.gateway.world import Call, Object, World

API_VERSION = "2026-10-28.endive"
"""The version of Stripe's API in events. The form of the objects in events follows the account's version, even if the
request that caused the event names a different version.
"""

_LISTED_FOR = 30 * 86400
"""Seconds for which Stripe answers questions about an event."""

_MOST_TYPES = 20

LIST: params.Spec = {
    **params.PAGE,
    "created": params.time_range,
    "delivery_success": params.boolean,
    "type": params.given,
    "types": params.list_of(params.given),
}


def tell(world: World, type_: str, about: Object, before: Object | None = None) -> None:
    """Record an event about an object, and hand the event over for delivery.

    Args:
        world: the gateway's state.
        type_: the event's type, such as payment_intent.succeeded.
        about: the object; the event keeps a copy.
        before: the earlier values of the changed attributes, for events about an update.
    """
    data = {"object": copy.deepcopy(about)}
    if before is not None:
        data["previous_attributes"] = copy.deepcopy(before)
    world.send(
        world.add(
            "event", api_version=API_VERSION, type=type_, data=data, pending_webhooks=0, request=dict(world.request)
        )
    )


def retrieve(world: World, call: Call) -> Object:
    event = world.at_path("event", call.path_id)
    if not _is_listed(world, event):
        raise missing("event", call.path_id, "id", in_path=True)
    return event


def list_all(world: World, call: Call) -> Object:
    """List the events of the last 30 days. An event that no webhook takes counts as delivered."""
    given = call.params
    if "type" in given and "types" in given:
        raise bad_parameter("You may only specify one of these parameters: type, types.", "type")
    if len(given.get("types", ())) > _MOST_TYPES:
        raise bad_parameter(f"Invalid array: types can have at most {_MOST_TYPES} entries", "types")
    patterns = [given["type"]] if "type" in given else given.get("types", ["*"])

    def wanted(event: Object) -> bool:
        delivered = event["pending_webhooks"] == 0
        return (
            _is_listed(world, event)
            and any(fnmatchcase(event["type"], pattern) for pattern in patterns)
            and given.get("delivery_success", delivered) == delivered
        )

    return world.page("event", "/v1/events", given, wanted)


def _is_listed(world: World, event: Object) -> bool:
    """Tell whether the event is listed now. After the clock was set back, an event may lie in the future."""
    return bool(world.now() - _LISTED_FOR < event["created"] <= world.now())
