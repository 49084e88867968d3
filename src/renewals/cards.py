"""A card, as far as anything here knows it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GatewayCard:
    """A card. payment_method: the gateway's id of it. name: "Visa ending in 4242". expires: its last month, YYYY-MM."""

    payment_method: str
    name: str
    expires: str
