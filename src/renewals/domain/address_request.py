"""A request of the customer page's form: somebody typed a mail address, and the customer of the address is to get a
link. The page writes the request as a message of a queue, and AddressWorker reads the message. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass

from renewals.domain.errors import BadEvent
from renewals.domain.strict_json import NotAnObject, read_object


@dataclass(frozen=True, slots=True)
class AddressRequest:
    """A request for links. address: the text that somebody typed, of any form."""

    address: str

    def to_json(self) -> str:
        """Return the request as the body of a message."""
        return json.dumps({"address": self.address})

    @classmethod
    def from_json(cls, message: str) -> AddressRequest:
        """Read a request. Fields unknown to this version are ignored. Raises BadEvent, which quotes nothing."""
        try:
            address = read_object(message).get("address")
        except NotAnObject:
            raise BadEvent("the message is not a JSON object") from None
        if not isinstance(address, str):
            raise BadEvent("the message has no address")
        return cls(address)
