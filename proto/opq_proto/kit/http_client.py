"""One HTTP request with an end: no redirects, a limit of time in all and of size.

A server may be another program than the one that is meant, so it can neither hold the caller nor send what
the request carries to another place.
"""

import base64
import http.client
import socket
import threading
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from opq_proto.errors import OpqError

MAX_BYTES = 1 << 20


class HttpClientError(OpqError, OSError):
    """No answer, or one that is not HTTP, too long, or too late."""


class HttpLateError(HttpClientError, TimeoutError):
    """No whole answer in time."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """The answer of a server; `kind` is its Content-Type."""

    status: int
    kind: str
    content: bytes


def send_request(
    url: str,
    wait_s: float,
    *,
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    most_bytes: int = MAX_BYTES,
    by_proxy: bool = False,
    silent_s: float | None = None,
) -> HttpAnswer:
    """Sends one request; a redirect is an answer like any other.

    Args:
        wait_s: limit from the connection to the answer's last byte.
        silent_s: limit of the wait for the next bytes; None: `wait_s`.
        by_proxy: whether the proxy of the environment (HTTPS_PROXY, NO_PROXY) is used, for the Internet.
    Raises:
        HttpClientError: no whole answer within these limits; it names the proxy that was asked.
    """
    over = threading.Event()
    try:
        place = urlsplit(url)
        kind = http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
        proxy = _proxy_of(place) if by_proxy else None
        way = place if proxy is None else proxy
        connection = kind(way.hostname or "", way.port, timeout=silent_s or wait_s)
        if proxy is not None and place.scheme == "https":
            connection.set_tunnel(place.hostname or "", place.port, _proxy_login(proxy))
    except (ValueError, http.client.HTTPException) as error:
        raise HttpClientError(f"{url[:200]} is not an address: {error}") from error

    lines: list[socket.socket] = []  # the connection forgets its socket when an answer has no length

    def end() -> None:
        over.set()
        for line in lines:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(wait_s, end)
    timer.daemon = True
    timer.start()
    with closing(connection):
        try:
            connection.connect()
            lines.append(connection.sock)
            if over.is_set():  # it had no socket to shut down then
                raise TimeoutError
            path = place.path or "/"
            target = f"{path}?{place.query}" if place.query else path
            shown = dict(headers or {})
            if proxy is not None and place.scheme != "https":
                target, shown = f"http://{place.netloc}{target}", {**shown, **_proxy_login(proxy)}
            connection.request(method, target, body, shown)
            answer = connection.getresponse()
            content = answer.read(most_bytes + 1)
            if over.is_set():
                raise TimeoutError
        except (OSError, http.client.HTTPException, ValueError) as error:
            by = "" if proxy is None else f"by the proxy {connection.host}:{connection.port}: "
            if over.is_set() or isinstance(error, TimeoutError):
                raise HttpLateError(f"{by}no whole answer within {wait_s:g} s") from error
            raise HttpClientError(f"{by}{error}") from error
        finally:
            timer.cancel()
    if len(content) > most_bytes:
        raise HttpClientError(f"the answer has more than {most_bytes} bytes")
    return HttpAnswer(answer.status, answer.headers.get("Content-Type", ""), content)


def fetch(
    url: str,
    wait_s: float,
    most_bytes: int = MAX_BYTES,
    headers: Mapping[str, str] | None = None,
    by_proxy: bool = False,
) -> bytes:
    """The content of a URL. Raises HttpClientError, also where the status is not of success."""
    answer = send_request(url, wait_s, headers=headers, most_bytes=most_bytes, by_proxy=by_proxy)
    if not HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
        raise HttpClientError(f"HTTP status {answer.status}")
    return answer.content


def _proxy_of(place: SplitResult) -> SplitResult | None:
    """The proxy that the environment names for a URL; None: it goes there itself."""
    named = getproxies().get(place.scheme)
    if not named or proxy_bypass(place.hostname or ""):
        return None
    return urlsplit(named if "//" in named else f"http://{named}")


def _proxy_login(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    login = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
    return {"Proxy-Authorization": f"Basic {base64.b64encode(login).decode()}"}
