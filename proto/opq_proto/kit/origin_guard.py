"""Which web pages may send a request: the Host, Origin and Sec-Fetch-Site of a browser's request.

A page may send a POST to any address; the browser then adds the page's origin. And a page whose own name
resolves to this machine (DNS rebinding) reaches a server that listens on loopback; the browser then sends
that name as Host. Headers are a mapping with names in lower case. Addresses of clients are read here too.
"""

import ipaddress
import re
import socket
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import urlsplit

LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
_LOOPBACK = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?")


def host_name(header: str) -> str:
    """The name in a Host header, without port and brackets, in lower case; empty when it is malformed."""
    text = header.strip().lower()
    if text.startswith("["):
        name, bracket, rest = text[1:].partition("]")
        return name if bracket and (not rest or rest.startswith(":")) else ""
    name, _, port = text.partition(":")
    return name if not port or port.isdigit() else ""


def named_host(text: str) -> str:
    """The name of a host as a person writes it in a setting: with or without port, an IPv6 with or without
    brackets."""
    return host_name(f"[{text.strip()}]" if text.count(":") > 1 and "[" not in text else text)


def is_loopback(address: str) -> bool:
    """Whether `host` or `host:port` names this machine's loopback and nothing else."""
    return _LOOPBACK.fullmatch(address) is not None


def is_own_host(header: str) -> bool:
    """Whether a Host header is an address, localhost or this machine's name: no page can rebind these."""
    name = host_name(header)
    own = socket.gethostname().lower()
    return name in ("localhost", own, f"{own.partition('.')[0]}.local") or ip_address(name) is not None


@lru_cache(256)
def ip_address(text: str) -> "ipaddress.IPv4Address | ipaddress.IPv6Address | None":
    """An address with or without zone; IPv4 where it is mapped into IPv6; None for other texts."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped if mapped is not None else address


CLIENT_PREFIX = 56
"""Bits of an IPv6 address that are counted together: what a provider gives to one customer (RIPE-690, 4.2;
RFC 6177). By /64, one customer would be 256."""


def client_network(address: str) -> str:
    """The network under which a client is counted, where a limit is for each address of the Internet.

    IPv4 stays as it is, IPv6 has its first CLIENT_PREFIX bits, and what is not an address stays.
    """
    known = ip_address(address)
    if known is None:
        return address
    prefix = CLIENT_PREFIX if known.version == 6 and not known.is_loopback else known.max_prefixlen
    return str(ipaddress.ip_network((known, prefix), strict=False)) if known.version == 6 else str(known)


def page_refusal(headers: Mapping[str, str], on_loopback: bool) -> str | None:
    """Returns why a request is refused as a foreign page's; None for own pages and other clients.

    With `on_loopback` the server listens only on loopback, so every page of this machine may send requests,
    from any port. Otherwise only pages that came from the requested Host may.
    """
    host = headers.get("host", "localhost")
    if on_loopback and not is_loopback(host):
        return "Host is not a name of loopback; use 127.0.0.1"
    origin = headers.get("origin")
    if origin is not None:
        page = _host_of_origin(origin)
        if not (is_loopback(page) if on_loopback else page == host):
            return f"requests of a page of {origin[:100]} are refused"
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return "requests of a page of another site are refused"
    return None


def _host_of_origin(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:  # `http://[`
        return ""
