"""HTTP for rules: the client of sources and sinks, and the meaning of answers.

Each connection goes to an address that the AddressGuard has checked.
"""

import ssl
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import httpcore
import httpx

from opq_proto.kit.address_guard import AddressGuard, AddressRefusedError
from opq_proto.kit.port_owner import check_port_owner

_SECRET = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key"})
"""Headers that carry a secret, in lower case."""
_AGAIN = frozenset({408, 425, 429})


def check_url(url: str, hosts: AddressGuard | None = None) -> None:
    """Raises ValueError if it is not an HTTP address or its host is refused by `hosts`."""
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"url  is {url!r}; want http://... or https://...")
    if hosts is None:
        return
    try:
        hosts.check_literal(urlsplit(url).hostname or "")
    except AddressRefusedError as error:
        raise ValueError(f"url  {error}") from error


def http_client(
    timeout_s: float, headers: Mapping[str, object], hosts: AddressGuard, insecure: bool = False
) -> httpx.Client:
    """A client that ignores proxies and other settings of the service's environment.

    What needs a secret of these headers gets it only where `port_owner` accepts the program at the port.
    """
    shown = {name: str(value) for name, value in headers.items()}
    secret = any(name.lower() in _SECRET for name in shown)
    transport = _GuardedTransport(hosts, insecure, secret)
    return httpx.Client(timeout=timeout_s, transport=transport, headers=shown, trust_env=False)


@cache
def _tls(insecure: bool) -> ssl.SSLContext:
    """One for all sources and sinks: the certificates that it trusts take 20 ms to read."""
    return httpx.create_ssl_context(verify=not insecure, trust_env=False)


class _GuardedTransport(httpx.HTTPTransport):
    def __init__(self, hosts: AddressGuard, insecure: bool, secret: bool) -> None:
        context, network = _tls(insecure), _GuardedNetwork(hosts, secret)
        super().__init__(verify=context)
        self._pool = httpcore.ConnectionPool(ssl_context=context, network_backend=network)


class _GuardedNetwork(httpcore.SyncBackend):
    def __init__(self, hosts: AddressGuard, secret: bool) -> None:
        self._hosts, self._secret = hosts, secret

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            addresses = self._hosts.addresses(host, port)
            if self._secret:
                for address in addresses:
                    check_port_owner(address, port)
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        for address in addresses[:-1]:
            try:
                return super().connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return super().connect_tcp(addresses[-1], port, timeout, local_address, socket_options)


def answered(client: httpx.Client, method: str, url: str, **request: Any) -> httpx.Response:
    """Returns the answer, whatever its status. Raises ConnectionError if no answer comes."""
    try:
        return client.request(method, url, **request)
    except httpx.TransportError as error:
        raise ConnectionError(f"{url}: {type(error).__name__}: {error}") from error


def check_accepted(answer: httpx.Response, url: str) -> None:
    """Raises ConnectionError if another attempt may succeed (408, 425, 429, 5xx), ValueError for a
    refusal."""
    if answer.status_code in _AGAIN or answer.status_code >= 500:
        raise ConnectionError(f"{url} answered {answer.status_code}")
    if answer.status_code >= 300:
        raise ValueError(f"{url} answered {answer.status_code}: {answer.text[:200]}")
