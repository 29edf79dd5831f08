"""HTTP for rules: the client of sources and sinks, and the meaning of answers."""

from collections.abc import Mapping
from typing import Any

import httpx

_AGAIN = frozenset({408, 425, 429})


def check_url(url: str) -> None:
    """Raises ValueError where it is no HTTP address."""
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"url  is {url!r}; want http://... or https://...")


def http_client(timeout_s: float, headers: Mapping[str, object], insecure: bool = False) -> httpx.Client:
    """A client that ignores proxies and other settings of the service's environment."""
    shown = {name: str(value) for name, value in headers.items()}
    return httpx.Client(timeout=timeout_s, verify=not insecure, headers=shown, trust_env=False)


def answered(client: httpx.Client, method: str, url: str, **request: Any) -> httpx.Response:
    """Returns the answer, whatever its status. Raises ConnectionError if no answer comes."""
    try:
        return client.request(method, url, **request)
    except httpx.TransportError as error:
        raise ConnectionError(f"{url}: {type(error).__name__}: {error}") from error


def check_accepted(answer: httpx.Response, url: str) -> None:
    """Raises ConnectionError: try again (408, 425, 429, 5xx); ValueError: a refusal."""
    if answer.status_code in _AGAIN or answer.status_code >= 500:
        raise ConnectionError(f"{url} answered {answer.status_code}")
    if answer.status_code >= 300:
        raise ValueError(f"{url} answered {answer.status_code}: {answer.text[:200]}")
