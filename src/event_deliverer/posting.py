"""Post bytes to the team's own address: by https alone, and only to public addresses of the internet. Every other
address is called "inside" here, such as an address of a private network or of this machine.

The host's addresses are looked up once and checked, and the connection goes to a checked address: a second look-up
could yield a different address (DNS rebinding). Redirects are not followed, since a redirect may lead inside.
"""

import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

SECONDS = 15
"""The time for a whole request, from the look-up of the host to the answer."""

MOST_READ = 1024
"""The most bytes of an answer's body that are read. The bytes are not used: reading lets a receiver finish sending."""

_TRANSLATED = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"), IPv6Network("2002::/16"))
"""Addresses of IPv6 that lead to an address of IPv4, which may be inside."""


class NotDelivered(Exception):  # noqa: N818
    """The receiver has not taken the event. The message is a short name of the reason."""


class CheckedAddress(NamedTuple):
    family: int
    host: str


def post(url: str, body: bytes, headers: Mapping[str, str], *, may_be_local: bool = False) -> None:
    """Post the body. Every answer of 2xx is a success.

    Args:
        url: the receiver's address.
        body: the bytes to send.
        headers: the headers to send.
        may_be_local: whether http and this machine's own addresses are allowed, as on the local stack.

    Raises:
        NotDelivered: for every other result.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" and not (may_be_local and parts.scheme == "http"):
        raise NotDelivered("not_https")
    end = time.monotonic() + SECONDS
    address = _checked(parts, end, may_be_local=may_be_local)
    status = _status(parts, address, body, headers, end)
    if not 200 <= status < 300:
        raise NotDelivered(f"status_{status}")


def _checked(parts: SplitResult, end: float, *, may_be_local: bool) -> CheckedAddress:
    """Return an address of the host. Raises NotDelivered if any address of the host is inside."""
    addresses = _looked_up(parts, end)
    if not addresses:
        raise NotDelivered("no_address")
    for each in addresses:
        address = ip_address(each.host.partition("%")[0])
        if not (is_outside(address) or (may_be_local and address.is_loopback)):
            raise NotDelivered("address_inside")
    return min(addresses, key=lambda each: each.family != socket.AF_INET)  # functions without a VPC have no IPv6


def _looked_up(parts: SplitResult, end: float) -> list[CheckedAddress]:
    """Return all addresses of the host. Raises NotDelivered if name servers do not answer in time.

    A look-up has no time-out of its own, and may take longer than the whole request. A thread of its own makes the
    look-up, and is left behind when the time is over.
    """
    found: list[CheckedAddress] = []

    def look_up() -> None:
        with suppress(OSError, UnicodeError, ValueError):  # the host has no address
            answers = socket.getaddrinfo(parts.hostname, _port(parts), type=socket.SOCK_STREAM)
            found.extend(CheckedAddress(family, str(where[0])) for family, _, _, _, where in answers)

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(_left(end))
    if thread.is_alive():
        raise NotDelivered("timed_out")
    return found


def _left(end: float) -> float:
    """Return the seconds until the end, and at least a millisecond: with 0 a socket would not wait at all, and a socket
    refuses a negative time."""
    return max(end - time.monotonic(), 0.001)


def is_outside(address: IPv4Address | IPv6Address) -> bool:
    """Whether the address is one of the internet's hosts."""
    if isinstance(address, IPv6Address):
        if any(address in network for network in _TRANSLATED):
            return False
        address = address.ipv4_mapped or address
    return address.is_global and not address.is_multicast


def connected(address: CheckedAddress, port: int, seconds: float) -> socket.socket:
    """Connect to the address within the given seconds, and return the connection. Raises OSError."""
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.settimeout(seconds)
        sock.connect((address.host, port))
    except OSError:
        sock.close()
        raise
    return sock


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


def _status(parts: SplitResult, address: CheckedAddress, body: bytes, headers: Mapping[str, str], end: float) -> int:
    """Return the status of the answer. Raises NotDelivered without an answer in time."""
    connection = _Connection(parts, address, end)
    timer = threading.Timer(_left(end), connection.end)
    timer.daemon = True
    timer.start()
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", path, body=body, headers=dict(headers))
        answer = connection.getresponse()
        with suppress(OSError, HTTPException):  # the status says everything
            answer.read(MOST_READ)
    except (OSError, HTTPException, ValueError) as error:
        raise NotDelivered("timed_out" if connection.has_ended else _reason(error)) from None
    else:
        return answer.status
    finally:
        timer.cancel()
        connection.close()


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return "certificate" if isinstance(error, ssl.SSLCertVerificationError) else "tls"
    return "timed_out" if isinstance(error, TimeoutError) else "no_answer"


class _Connection(HTTPConnection):
    """A connection to a checked address. The header Host and the check of the certificate still use the host's name."""

    def __init__(self, parts: SplitResult, address: CheckedAddress, end: float) -> None:
        super().__init__(parts.hostname or "", _port(parts))
        self._end = end
        self.has_ended = False
        self._checked = address
        self._is_safe = parts.scheme == "https"
        self.default_port = 443 if self._is_safe else 80  # such a port is not named in the header Host

    def connect(self) -> None:
        """Connect within the time for the whole request. Raises OSError."""
        self.sock = connected(self._checked, self.port, _left(self._end))
        # Before the handshake, wrap_socket moves the connection into a new socket. During the handshake self.sock is
        # still the old socket, and the timer therefore cannot shut down the connection: the new socket has the timeout
        # of the old socket, and the timeout ends the handshake.
        if self._is_safe:
            self.sock.settimeout(_left(self._end))
            self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self.host)
        if self.has_ended:
            raise TimeoutError
        self.sock.settimeout(_left(self._end))

    def end(self) -> None:
        """End the connection, whatever the connection waits for."""
        self.has_ended = True
        if self.sock is not None:
            with suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)
