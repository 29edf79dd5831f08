"""Who may use the set-up page: its host name, origin, password and pace. Pure, but for a clock handed in.

- The Host must be an address, localhost or this machine's name: else a stranger's page whose name
  resolves to us (DNS rebinding) could use the browser of somebody inside.
- What changes something is JSON from our own page, or from no page at all (CSRF).
- Beyond loopback and the access point, which has a key of its own, a password is wanted.
- Wrong passwords and changes have a pace per address.
"""

import base64
import binascii
import hmac
import ipaddress
import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from opq_gateway.setup.networks import Secret
from opq_gateway.setup.nmcli import ADDRESS

USER = "opq"
MOST_BODY_BYTES = 65_536
ACCESS_POINT = ipaddress.ip_address(ADDRESS)
ACCESS_POINT_NET = ipaddress.ip_network(f"{ADDRESS}/24", strict=False)
GUESSES, GUESS_S = 5, 10.0
"""Wrong passwords at once, and one more each 10 s: 8,640 a day per address."""
CHANGES, CHANGE_S = 10, 1.0
ADDRESSES = 256
"""Addresses that are remembered; the longest unseen is forgotten."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the guard looks at of one request."""

    method: str
    headers: Mapping[str, str]
    """By name in lower case."""
    peer: str
    """Address of who asks."""
    here: str
    """Our address that was asked."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer instead of the page."""

    status: int
    text: str
    wait_s: int = 0


class Pace:
    """A bucket of tokens per address."""

    def __init__(self, most: int, each_s: float, monotonic_s: Callable[[], float]) -> None:
        self._most = most
        self._each_s = each_s
        self._monotonic_s = monotonic_s
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def left(self, address: str) -> float:
        """Tokens that it has now."""
        now_s = self._monotonic_s()
        tokens, at_s = self._left.get(address, (float(self._most), now_s))
        return min(self._most, tokens + (now_s - at_s) / self._each_s)

    def spend(self, address: str) -> None:
        """Take one."""
        self._left[address] = (self.left(address) - 1, self._monotonic_s())
        self._left.move_to_end(address)
        while len(self._left) > ADDRESSES:
            self._left.popitem(last=False)


class Guard:
    """Decides on each request; used under the server's lock."""

    def __init__(self, password: Secret | None, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._password = password
        self._guesses = Pace(GUESSES, GUESS_S, monotonic_s)
        self._changes = Pace(CHANGES, CHANGE_S, monotonic_s)

    def refusal(self, asked: Asked, access_point: bool) -> Refusal | None:
        """Why this request is not served; None: it is. `access_point`: we are one now."""
        if not _host_is_ours(asked.headers.get("host", "")):
            return Refusal(400, "this page answers under its address or this machine's name only")
        if not self._trusted(asked, access_point):
            refused = self._password_refusal(asked)
            if refused is not None:
                return refused
        if asked.method != "POST":
            return None
        return self._change_refusal(asked)

    def _trusted(self, asked: Asked, access_point: bool) -> bool:
        peer = _address(asked.peer)
        if peer is None or {"x-forwarded-for", "forwarded", "x-real-ip"} & asked.headers.keys():
            return False  # a proxy on this machine asks for somebody else
        if peer.is_loopback:
            return True
        # both ends: Linux answers for 10.42.0.1 on its other interfaces, too
        return access_point and _address(asked.here) == ACCESS_POINT and peer in ACCESS_POINT_NET

    def _password_refusal(self, asked: Asked) -> Refusal | None:
        if self._password is None:
            return Refusal(403, "no setup.password_file is configured: only this machine itself may ask")
        if self._guesses.left(asked.peer) < 1:
            return Refusal(429, "too many wrong passwords; wait", round(GUESS_S))
        said = asked.headers.get("authorization")
        if said is not None and _is_right(said, self._password):
            return None
        if said is not None:
            self._guesses.spend(asked.peer)
        return Refusal(401, f"user {USER} and the set-up password, please")

    def _change_refusal(self, asked: Asked) -> Refusal | None:
        kind = asked.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            return Refusal(415, "want Content-Type: application/json")
        origin = asked.headers.get("origin")
        if origin is not None and origin.partition("://")[2] != asked.headers.get("host", ""):
            return Refusal(403, "asked by another page")
        if asked.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return Refusal(403, "asked by another page")
        length = asked.headers.get("content-length", "")
        if not length.isdecimal():
            return Refusal(411, "want a Content-Length")
        if len(length) > 9 or int(length) > MOST_BODY_BYTES:
            return Refusal(413, f"longer than {MOST_BODY_BYTES} bytes")
        if self._changes.left(asked.peer) < 1:
            return Refusal(429, "too many changes; wait", round(CHANGE_S))
        self._changes.spend(asked.peer)
        return None


def _is_right(header: str, password: Secret) -> bool:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic" or len(encoded) > 1000:
        return False
    try:
        user, _, said = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return False
    right_user = hmac.compare_digest(user, USER.encode())
    return hmac.compare_digest(said, password.encoded()) and right_user


def _host_is_ours(header: str) -> bool:
    name = header.strip().lower()
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    own = socket.gethostname().lower()
    return _address(name) is not None or name in ("localhost", own, f"{own.partition('.')[0]}.local")


def _address(text: str) -> "ipaddress.IPv4Address | ipaddress.IPv6Address | None":
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped if mapped is not None else address
