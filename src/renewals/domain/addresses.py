"""Mail addresses: whether one can be sent to, and how one is shown to whom it does not belong. Pure."""

import re

from renewals.domain.errors import RenewalError

# https://html.spec.whatwg.org/multipage/input.html#valid-e-mail-address, of a domain with at least one dot, and with
# RFC 5321's lengths. SES takes no address with a local part outside ASCII.
_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*", re.ASCII)
_DOMAIN = re.compile(
    r"([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?", re.ASCII
)

# IDNA 2008 reads them as they stand, IDNA 2003 (Python's) as other letters: two domains, perhaps of two owners.
_READ_OTHERWISE = frozenset("ßς\u200c\u200d")


class BadAddress(RenewalError):  # noqa: N818
    """Nothing can be sent to this address. The message says why and does not quote it."""


def deliverable(address: str) -> str:
    """The address as it can be sent to, its domain in ASCII. Raises BadAddress."""
    if not address:
        raise BadAddress("the subscription has no customer_email")
    local, at, domain = address.rpartition("@")
    if _READ_OTHERWISE.intersection(domain) or not domain.isprintable():  # IDNA leaves out what cannot be seen
        raise BadAddress("customer_email has a domain that is read in two ways")
    if not at or len(local) > 64 or not _LOCAL.fullmatch(local):
        raise BadAddress("customer_email is not a mail address")
    try:
        domain = domain.encode("idna").decode("ascii")
    except UnicodeError:
        raise BadAddress("customer_email has a domain that cannot be") from None
    if len(domain) > 253 or not _DOMAIN.fullmatch(domain):
        raise BadAddress("customer_email has a domain that cannot be")
    return f"{local}@{domain}"


def masked(address: str) -> str:
    """Enough to recognize an address by, for who knows it: a***@e***.org."""
    local, at, domain = address.rpartition("@")
    name, dot, ending = domain.rpartition(".")
    if not at or not dot:
        return "***"
    return f"{local[:1]}***@{name[:1]}***.{ending}"
