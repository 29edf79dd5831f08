"""HTTP as rules speak it: the client of sources and sinks, and what an answer says of what was sent."""

from collections.abc import Mapping
from typing import Any

import httpx

_AGAIN = frozenset({408, 425, 429})


def check_url(url: str) -> None:
    """Raises ValueError: it is no address of HTTP."""
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"url  is {url!r}; want http://... or https://...")


def http_client(timeout_s: float, headers: Mapping[str, object], insecure: bool = False) -> httpx.Client:
    """What a rule reaches does not depend on the service's surroundings: no proxy of theirs is used."""
    shown = {name: str(value) for name, value in headers.items()}
    return httpx.Client(timeout=timeout_s, verify=not insecure, headers=shown, trust_env=False)


def answered(client: httpx.Client, method: str, url: str, **request: Any) -> httpx.Response:
    """The answer, whatever it is. Raises ConnectionError: there is none."""
    try:
        return client.request(method, url, **request)
    except httpx.TransportError as error:
        raise ConnectionError(f"{url}: {type(error).__name__}: {error}") from error


def check_accepted(answer: httpx.Response, url: str) -> None:
    """Raises ConnectionError: it may be sent again (408, 425, 429, 5xx); ValueError: it is refused."""
    if answer.status_code in _AGAIN or answer.status_code >= 500:
        raise ConnectionError(f"{url} answered {answer.status_code}")
    if answer.status_code >= 300:
        raise ValueError(f"{url} answered {answer.status_code}: {answer.text[:200]}")
