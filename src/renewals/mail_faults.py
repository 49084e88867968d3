"""The mark on a subscription whose mail came back, or was reported as spam: `mail_fault` on its row. Pure.

It names the address that it is of, and so holds for that one only: another customer_email is free of it at once, and
what SES says late of an old address marks nothing. Attributes: address; kind, bounced or complained; at; reason, in
SES's own names.
"""

from collections.abc import Mapping
from typing import Any

from renewals.addresses import BadAddress

FIELD = "mail_fault"
BOUNCED = "bounced"
COMPLAINED = "complained"


def kind(row: Mapping[str, Any]) -> str | None:
    """What stands against the address that the row has now, bounced or complained; None: nothing."""
    mark = row.get(FIELD)
    if not isinstance(mark, Mapping) or mark.get("address") != row.get("customer_email"):
        return None
    return str(mark.get("kind"))


def refuse(row: Mapping[str, Any] | None, *, required: bool) -> None:
    """Raises BadAddress where a mail to the row's address would be in vain, or is not wanted.

    required: it tells of money or of the subscription's end, and goes to whoever complained too.
    """
    stands = kind(row) if row else None
    if stands == BOUNCED:
        raise BadAddress("mail to customer_email came back")
    if stands == COMPLAINED and not required:
        raise BadAddress("mail to customer_email was reported as spam")
