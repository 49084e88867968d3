"""Mail addresses: check whether SES can deliver mail to an address, list the spellings of an address that a customer
typed, and mask an address for strangers. Pure."""

import re
import unicodedata

from renewals.domain.errors import RenewalError

# The grammar is https://html.spec.whatwg.org/multipage/input.html#valid-e-mail-address. In addition, the domain must
# hold at least one dot, and the lengths of RFC 5321 apply. SES accepts only local parts in ASCII.
_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*", re.ASCII)
_DOMAIN = re.compile(
    r"([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?", re.ASCII
)

# IDNA 2008 keeps these characters. IDNA 2003, which Python implements, replaces or drops them. One address can
# therefore lead to two domains, and the domains may belong to different owners.
_READ_OTHERWISE = frozenset("ßς\u200c\u200d")

LONGEST = 320
"""In characters: 64 before the @, and 255 behind."""

_WITHIN_TEXT = re.compile(r"[^\s<>(),:;]+@[^\s<>(),:;]+")


class BadAddress(RenewalError):  # noqa: N818
    """No mail can be sent to the address. The message gives the reason and does not quote the address."""


def deliverable(address: str) -> str:
    """Return the address in the form that SES accepts, with the domain in ASCII. Raises BadAddress."""
    if not address:
        raise BadAddress("the subscription has no customer_email")
    local, at, domain = address.rpartition("@")
    if _READ_OTHERWISE.intersection(domain) or not domain.isprintable():  # IDNA drops invisible characters
        raise BadAddress("customer_email has a domain that mail systems may read as two different domains")
    if not at or len(local) > 64 or not _LOCAL.fullmatch(local):
        raise BadAddress("customer_email is not a mail address")
    try:
        domain = domain.encode("idna").decode("ascii")
    except UnicodeError:
        raise BadAddress("customer_email has an invalid domain") from None
    if len(domain) > 253 or not _DOMAIN.fullmatch(domain):
        raise BadAddress("customer_email has an invalid domain")
    return f"{local}@{domain}"


def spellings(typed: str) -> tuple[str, ...]:
    """Return the spellings under which a typed address may stand on file, at most twelve; none if the text is no
    address that SES delivers to.

    Telephones begin an address with a capital letter and end the address with a blank, and a text that was copied may
    hold invisible characters. Mail systems take the domain in any case, in letters or in ASCII (IDNA), and nearly all
    mail systems take the part before the @ in any case.
    """
    plain = "".join(each for each in unicodedata.normalize("NFC", typed.strip()) if each.isprintable())
    if len(plain) > LONGEST:
        return ()
    try:
        in_ascii = deliverable(plain).rpartition("@")[2].lower()
    except BadAddress:
        return ()
    local, _, domain = plain.rpartition("@")
    locals_ = (local, local.lower(), local[:1].upper() + local[1:].lower())
    domains = (domain, domain.lower(), in_ascii, _in_letters(in_ascii))
    return tuple(dict.fromkeys(f"{name}@{of}" for of in domains for name in locals_))


def _in_letters(domain: str) -> str:
    """Return a domain in ASCII with the letters that its labels stand for; unchanged if a label stands for none."""
    try:
        return domain.encode("ascii").decode("idna")
    except UnicodeError:
        return domain


def masked(address: str) -> str:
    """Mask an address so that only readers who already know the address recognize the result: a***@e***.org."""
    local, at, domain = address.rpartition("@")
    name, dot, ending = domain.rpartition(".")
    if not at or not dot:
        return "***"
    return f"{local[:1]}***@{name[:1]}***.{ending}"


def masked_within(text: str) -> str:
    """Mask each address that stands in a text, such as the reason of a bounce. The rest of the text stays."""
    return _WITHIN_TEXT.sub(lambda found: masked(found[0]), text)
