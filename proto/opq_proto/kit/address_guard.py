"""Connects to hosts that others name, but never to this machine or its private network (SSRF).

A name is resolved once, each address is checked, and the connection goes to an address that was checked: a
name that points elsewhere a moment later (DNS rebinding) has no effect. Hosts and networks that an operator
names may be private. Source: OWASP SSRF Prevention Cheat Sheet.
"""

import ipaddress
import socket
from collections.abc import Callable, Collection, Sequence

from opq_proto.errors import OpqError

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Sequence[str]]
"""Resolves host and port to addresses; raises OSError where there are none."""
MOST_TRIES = 4
"""Addresses of one name that are tried."""

_EMBEDDING = (
    (ipaddress.IPv6Network("::/96"), (12,), 0),  # IPv4-compatible; RFC 4291, 2.5.5.1
    (ipaddress.IPv6Network("::ffff:0:0/96"), (12,), 0),  # IPv4-mapped; RFC 4291, 2.5.5.2
    (ipaddress.IPv6Network("::ffff:0:0:0/96"), (12,), 0),  # IPv4-translated; RFC 7915, 2.1
    (ipaddress.IPv6Network("64:ff9b::/96"), (12,), 0),  # NAT64; RFC 6052
    (ipaddress.IPv6Network("2002::/16"), (2,), 0),  # 6to4; RFC 3056
    (ipaddress.IPv6Network("2001::/32"), (12,), 0xFFFFFFFF),  # Teredo, the client's bits inverted; RFC 4380
    (ipaddress.IPv6Network("2001::/32"), (4,), 0),  # Teredo's server
)
"""IPv6 networks whose addresses lead to an IPv4 address, where its bytes are, and their XOR."""
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")
"""Each network chooses the place of the IPv4 address, so these addresses are not public. Source: RFC 8215."""
_ISATAP = (b"\x00\x00\x5e\xfe", b"\x02\x00\x5e\xfe")
"""Bytes 8 to 11 of an address that ends with the IPv4 address it leads to. Source: RFC 5214, 6.1."""


class AddressRefusedError(OpqError, OSError):
    """The host is on this machine or in a private network that is not allowed."""


def public_address(text: str) -> bool:
    """Whether an address belongs to the public Internet, and each IPv4 address that it leads to does too."""
    address: IpAddress = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = _embedded(address)
        if inner:
            return all(public_address(str(each)) for each in inner)
        if address.is_site_local or address in _LOCAL_NAT64:
            return False
    local = address.is_private or address.is_loopback or address.is_link_local or address.is_unspecified
    return address.is_global and not (local or address.is_multicast or address.is_reserved)


def _embedded(address: ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    found = [
        ipaddress.IPv4Address(int.from_bytes(address.packed[at : at + 4]) ^ mask)
        for network, places, mask in _EMBEDDING
        if address in network
        for at in places
    ]
    if address.packed[8:12] in _ISATAP:
        found.append(ipaddress.IPv4Address(address.packed[12:]))
    return found


def networks_of(texts: Sequence[str]) -> tuple[Network, ...]:
    """Networks such as 192.168.1.0/24, fd00::/8, or one address. ValueError: one is neither."""
    try:
        return tuple(ipaddress.ip_network(each) for each in texts)
    except ValueError as error:
        raise ValueError(f"{error}; want networks such as 192.168.1.0/24") from None


def resolved(host: str, port: int) -> list[str]:
    """Returns all addresses of a host name, in the system's order."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError(f"{host[:120]!r} is not a host name") from error
    return list(dict.fromkeys(str(each[4][0]) for each in found))


class AddressGuard:
    """Opens connections to allowed addresses; may be used from any thread."""

    def __init__(
        self,
        hosts: Collection[str] = (),
        networks: Sequence[Network] = (),
        advice: str = "",
        resolve: Resolve = resolved,
    ) -> None:
        """`hosts`, `networks`: allowed although they are private. `advice`: how an operator allows more."""
        self._hosts = frozenset(each.lower() for each in hosts)
        self._networks = tuple(networks)
        self._advice = advice
        self._resolve = resolve

    def allowing(self, hosts: Collection[str]) -> "AddressGuard":
        """A guard that also allows these hosts."""
        return AddressGuard(self._hosts | set(hosts), self._networks, self._advice, self._resolve)

    def check_literal(self, host: str) -> None:
        """Refuses an address that is written in a URL, and localhost. Raises AddressRefusedError."""
        try:
            address = str(ipaddress.ip_address(host.strip("[]").partition("%")[0]))
        except ValueError:
            if host.lower().rstrip(".") != "localhost" and not host.lower().endswith(".localhost"):
                return
            address = "127.0.0.1"
        if not self._allows(host, address):
            raise self._refusal(host)

    def addresses(self, host: str, port: int) -> list[str]:
        """The allowed addresses of a host, MOST_TRIES at most.

        Raises:
            AddressRefusedError: it has none that is allowed.
            OSError: the name cannot be resolved.
        """
        found = self._resolve(host, port)
        allowed = [each for each in found if self._allows(host, each)]
        if not allowed:
            raise self._refusal(host)
        return allowed[:MOST_TRIES]

    def connected(self, host: str, port: int, timeout_s: float) -> socket.socket:
        """A connection to one of `addresses`. Raises as it does; OSError: none accepts the connection."""
        failure: OSError | None = None
        for address in self.addresses(host, port):
            try:
                return socket.create_connection((address, port), timeout_s)
            except OSError as error:
                failure = error
        assert failure is not None
        raise failure

    def _allows(self, host: str, text: str) -> bool:
        if host.lower() in self._hosts or public_address(text):
            return True
        address: IpAddress = ipaddress.ip_address(text.partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None) or address
        return any(mapped in network for network in self._networks)

    def _refusal(self, host: str) -> AddressRefusedError:
        """It does not show the address: who may not connect there may not read the network's names either."""
        return AddressRefusedError(f"{host[:120]} is on this machine or in a private network{self._advice}")
