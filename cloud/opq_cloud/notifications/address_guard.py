"""Connects to the host of a webhook's URL, but never to this machine or its private network (SSRF).

The name is resolved once, each address is checked, and the connection goes to an address that was checked.
A name that points elsewhere a moment later (DNS rebinding) has no effect. Names and addresses in
`[notifications] private_hosts` may be private. Source: OWASP SSRF Prevention Cheat Sheet.
"""

import http.client
import ipaddress
import socket
import ssl
from collections.abc import Callable, Sequence

from opq_cloud.webhook_address import checked_url
from opq_proto.errors import OpqError

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Sequence[str]]
"""Resolves host and port to addresses; raises OSError where there are none."""
NAT64 = ipaddress.ip_network("64:ff9b::/32")
"""IPv6 addresses that contain an IPv4 address (RFC 6052 and RFC 8215)."""


class DeliveryRefusedError(OpqError):
    """The notification cannot be delivered; another try would fail too."""


def public_address(text: str) -> bool:
    """Whether an address belongs to the public Internet; an embedded IPv4 address is checked instead."""
    address: IpAddress = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        teredo = address.teredo
        inner = address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)
        if inner is not None:
            return public_address(str(inner))
        if address in NAT64 or address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def resolved(host: str, port: int) -> list[str]:
    """Returns all addresses of a host name, in the system's order."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


class AddressGuard:
    """Opens connections to public addresses; may be used from any thread."""

    def __init__(self, private_hosts: Sequence[str] = (), resolve: Resolve = resolved) -> None:
        self._private = frozenset(each.lower() for each in private_hosts)
        self._resolve = resolve

    def connection(self, url: str, timeout_s: float) -> http.client.HTTPConnection:
        """Returns an open connection for one request; for https, the certificate is checked for the name.

        Raises:
            DeliveryRefusedError: the URL is invalid, or leads only to addresses that are not public.
            OSError: the name cannot be resolved, or no address accepts the connection.
        """
        try:
            parts = checked_url(url)
        except ValueError as error:
            raise DeliveryRefusedError(str(error)) from error
        host = parts.hostname or ""
        secure = parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        made = http.client.HTTPConnection(host, port, timeout=timeout_s)
        plain = self._connected(host, port, timeout_s)
        try:
            context = ssl.create_default_context()
            made.sock = context.wrap_socket(plain, server_hostname=host) if secure else plain
        except BaseException:
            plain.close()
            raise
        return made

    def _connected(self, host: str, port: int, timeout_s: float) -> socket.socket:
        found = self._resolve(host, port)
        allowed = [each for each in found if host.lower() in self._private or public_address(each)]
        if not allowed:
            raise DeliveryRefusedError(
                f"{host} is on this machine or in a private network; an administrator may allow it by name "
                "in [notifications] private_hosts"
            )
        failure: OSError | None = None
        for address in allowed[:4]:
            try:
                return socket.create_connection((address, port), timeout_s)
            except OSError as error:
                failure = error
        assert failure is not None
        raise failure
