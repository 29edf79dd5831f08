"""Connects to what a webhook's URL names, but never to this machine or its network (SSRF).

The name is resolved once, each address is judged, and the connection goes to the very address that was
judged: a name that points elsewhere a moment later (DNS rebinding) leads nowhere. Names and addresses of
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
"""Host and port to addresses; OSError where there are none."""
NAT64 = ipaddress.ip_network("64:ff9b::/32")
"""RFC 6052 and RFC 8215: an IPv4 address in an IPv6 one."""


class DeliveryRefusedError(OpqError):
    """It will not be delivered, however often it is tried."""


def public_address(text: str) -> bool:
    """Whether an address is one of the public Internet; an embedded one counts too."""
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
    """All addresses of a name, in the system's order."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


class AddressGuard:
    """Opens connections; from any thread."""

    def __init__(self, private_hosts: Sequence[str] = (), resolve: Resolve = resolved) -> None:
        self._private = frozenset(each.lower() for each in private_hosts)
        self._resolve = resolve

    def connection(self, url: str, timeout_s: float) -> http.client.HTTPConnection:
        """Connected, for one request; its TLS certificate is checked for the name.

        Raises:
            DeliveryRefusedError: the URL is none, or leads to an address that is not public.
            OSError: nobody answers there.
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
                f"{host} leads to this machine or a private network; an administrator allows it by name "
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
