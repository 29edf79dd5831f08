"""The URLs that a webhook may have: View checks one when it is entered, notifications when it is called.

The address behind the name is checked when the connection is made (`opq_proto.kit.address_guard`).
"""

from urllib.parse import SplitResult, urlsplit

OPEN_PORTS = (80, 443)
MIN_OTHER_PORT = 1024
"""Ports below this belong to other services, such as mail, which would misread our request."""


def checked_url(text: str) -> SplitResult:
    """Parses a webhook's URL; raises ValueError with the reason where it is not allowed."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("write an address such as https://example.org/hook")
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            "an address with a password would be shown in logs; leave it out, the signature shows the sender"
        )
    if any(not 33 <= ord(character) < 127 for character in text):
        raise ValueError("an address has ASCII letters only, without spaces")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if port not in OPEN_PORTS and port < MIN_OTHER_PORT:
        raise ValueError(f"port {port} is of another service; use 80, 443, or 1024 and above")
    return parts
