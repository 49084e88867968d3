"""Early fraud warnings: a card issuer suspects fraud, often before a dispute.

Source: Stripe API reference, "Early fraud warnings" (docs.stripe.com/api/radar/early_fraud_warnings).
"""

from local.gateway import params
from local.gateway.errors import refused
from local.gateway.events import tell
from local.gateway.world import Call, Object, World

_KIND = "radar.early_fraud_warning"
_TYPES = (
    "card_never_received", "fraudulent_card_application", "made_with_counterfeit_card", "made_with_lost_card",
    "made_with_stolen_card", "misc", "unauthorized_use_of_card",
)  # fmt: skip

LIST: params.Spec = {
    **params.PAGE,
    "created": params.time_range,
    "charge": params.given,
    "payment_intent": params.given,
}


def create(world: World, charge: Object, fraud_type: str) -> Object:
    """Add a warning, which moves no money. Raises 400 for an unknown type."""
    if fraud_type not in _TYPES:
        raise refused(f"fraud_type must be one of {', '.join(_TYPES)}")
    made = world.add(
        _KIND,
        actionable=_is_actionable(charge),
        charge=charge["id"],
        fraud_type=fraud_type,
        payment_intent=charge["payment_intent"],
    )
    tell(world, f"{_KIND}.created", made)
    return made


def settle(world: World, charge: Object) -> None:
    """Record in the charge's warnings that a refund can no longer prevent a dispute, if so."""
    for warning in world.kinds[_KIND].values():
        if warning["charge"] == charge["id"] and warning["actionable"] and not _is_actionable(charge):
            warning["actionable"] = False
            tell(world, f"{_KIND}.updated", warning, {"actionable": True})


def _is_actionable(charge: Object) -> bool:
    return not charge["disputed"] and not charge["refunded"]


def retrieve(world: World, call: Call) -> Object:
    return world.at_path(_KIND, call.path_id)


def list_all(world: World, call: Call) -> Object:
    return world.page(_KIND, "/v1/radar/early_fraud_warnings", call.params, **world.named(call.params))
