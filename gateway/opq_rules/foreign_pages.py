"""Foreign pages: what a browser asks for on behalf of a web page that is not ours.

A page may send a POST anywhere without being asked whether it may; the browser says whose page it is. A
request with a foreign Origin (an image has none, but Sec-Fetch-Site) is refused, and so is one for a Host
that is no name of this machine's loopback, where only that is listened at (DNS rebinding).
"""

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

_LOOPBACK = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?")


def is_loopback(address: str) -> bool:
    """Of `host` or `host:port`, whether it names this machine's loopback and nothing else."""
    return _LOOPBACK.fullmatch(address) is not None


def page_refusal(headers: Mapping[str, str], on_loopback: bool) -> str | None:
    """Why a request is refused; None: it is no foreign page's. `headers`: names in lower case."""
    host = headers.get("host", "localhost")
    if on_loopback and not is_loopback(host):
        return "Host is no name of loopback; use 127.0.0.1"
    origin = headers.get("origin")
    if origin is not None:
        asking = _host_of(origin)
        if not (is_loopback(asking) if on_loopback else asking == host):
            return f"a page of {origin[:100]} may not ask here"
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return "a page of another site may not ask here"
    return None


def _host_of(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:  # `http://[`
        return ""
