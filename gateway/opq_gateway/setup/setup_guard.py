"""Decides which requests the set-up page serves: by host name, origin, password and rate. Pure, except for a
clock handed in.

- The Host must be an address, localhost or this machine's name: otherwise a foreign page whose name
  resolves to us (DNS rebinding) could use a browser in this network.
- A request that changes something is JSON from our own page, or from no page at all (CSRF).
- The access point has its own key. Others need the password, or, on this machine, the key of a link
  (`setup_links`): every user and plug-in of the machine reaches the port.
- Wrong passwords and changes are limited in rate per address. Only allowed requests count as changes, because
  other users of this machine have the same address. A link cannot be guessed, so its exchange has no limit.
"""

import base64
import binascii
import hmac
import ipaddress
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from opq_gateway.commands.setup_links import SetupLinks
from opq_gateway.setup.networks import Secret
from opq_gateway.setup.nmcli import ADDRESS
from opq_proto.kit.origin_guard import ip_address, is_own_host, page_refusal
from opq_proto.kit.rate_limit import TokenBuckets

USER = "opq"
KEY_HEADER = "opq-setup"
"""The header with the key of a link, in lower case."""
PAGE = ("/", "/index.html", "/opq.ico", "/favicon.ico")
"""Paths that this machine gets without a key, because they show nothing."""
SESSION = "/session"
"""Path at which a link is exchanged for a key."""
BY_LINK = "open the link that this prints, as the gateway's user or root: opq-gateway setup-link"
NO_PASSWORD = "setup.password_file is not configured; the page answers only this machine"
MAX_BODY_BYTES = 65_536
ACCESS_POINT = ipaddress.ip_address(ADDRESS)
ACCESS_POINT_NET = ipaddress.ip_network(f"{ADDRESS}/24", strict=False)
PASSWORD_BURST = 5
"""Wrong passwords allowed at once, per address."""
GUESS_S = 10.0
"""One more wrong password is allowed after this time: 8,640 a day per address."""
CHANGE_BURST = 10
"""Changes allowed at once, per address."""
CHANGE_S = 1.0
"""One more change is allowed after this time."""
ADDRESSES_REMEMBERED = 256
"""Most addresses that are remembered; the one unseen for longest is forgotten."""


@dataclass(frozen=True, slots=True)
class SetupRequest:
    """The facts about a request that the guard checks."""

    method: str
    target: str
    """The path, and what follows it."""
    headers: Mapping[str, str]
    """Headers by name in lower case."""
    peer: str
    """The client's address."""
    here: str
    """Our address that the client used."""


@dataclass(frozen=True, slots=True)
class SetupRefusal:
    """The answer sent instead of the page."""

    status: int
    text: str
    wait_s: int = 0


class SetupGuard:
    """Decides on each request; used under the server's lock."""

    def __init__(
        self, password: Secret | None, links: SetupLinks, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._password = password
        self._links = links
        self._guesses = TokenBuckets(PASSWORD_BURST, 1 / GUESS_S, ADDRESSES_REMEMBERED, monotonic_s)
        self._changes = TokenBuckets(CHANGE_BURST, 1 / CHANGE_S, ADDRESSES_REMEMBERED, monotonic_s)

    def refusal(self, request: SetupRequest, access_point: bool) -> SetupRefusal | None:
        """Why this request is refused; None: it is served. `access_point`: whether this machine is one
        now."""
        if not is_own_host(request.headers.get("host", "")):
            return SetupRefusal(400, "this page answers only under its address or this machine's name")
        if not (_by_access_point(request, access_point) or self._by_link(request)):
            refused = self._password_refusal(request)
            if refused is not None:
                return refused
        if request.method != "POST":
            return None
        return self._form_refusal(request) or self._pace_refusal(request)

    def _by_link(self, request: SetupRequest) -> bool:
        """Whether the request has the key of a link, or needs none."""
        if not _is_local(request):
            return False
        without_key = (SESSION,) if request.method == "POST" else PAGE
        return _path_of(request) in without_key or self._links.knows(request.headers.get(KEY_HEADER, ""))

    def _password_refusal(self, request: SetupRequest) -> SetupRefusal | None:
        if self._password is None:
            return SetupRefusal(403, BY_LINK if _is_local(request) else NO_PASSWORD)
        if self._guesses.left(request.peer) < 1:
            return SetupRefusal(429, "too many wrong passwords; wait", round(GUESS_S))
        header = request.headers.get("authorization")
        if header is not None and _is_right(header, self._password):
            return None
        if header is not None:
            self._guesses.spend(request.peer)
        return SetupRefusal(401, f"want user {USER} and the set-up password")

    def _pace_refusal(self, request: SetupRequest) -> SetupRefusal | None:
        if _path_of(request) == SESSION or self._changes.spend(request.peer):
            return None
        return SetupRefusal(429, "too many changes; wait", round(CHANGE_S))

    def _form_refusal(self, request: SetupRequest) -> SetupRefusal | None:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            return SetupRefusal(415, "want Content-Type: application/json")
        if (foreign := page_refusal(request.headers, on_loopback=False)) is not None:
            return SetupRefusal(403, foreign)
        length = request.headers.get("content-length", "")
        if not length.isdecimal():
            return SetupRefusal(411, "want a Content-Length")
        if len(length) > 9 or int(length) > MAX_BODY_BYTES:
            return SetupRefusal(413, f"longer than {MAX_BODY_BYTES} bytes")
        return None


def _path_of(request: SetupRequest) -> str:
    return request.target.partition("?")[0]


def _is_local(request: SetupRequest) -> bool:
    """Whether a program of this machine asks, and not through a proxy that passes on another's request."""
    peer = ip_address(request.peer)
    if peer is None or _is_handed_on(request):
        return False
    return peer.is_loopback or peer == ip_address(request.here)


def _is_handed_on(request: SetupRequest) -> bool:
    """Whether a proxy passes on another client's request."""
    return bool({"x-forwarded-for", "forwarded", "x-real-ip"} & request.headers.keys())


def _by_access_point(request: SetupRequest, access_point: bool) -> bool:
    """Whether a device asks that knows the key of the access point; programs of this machine have no need to.

    Checks both ends, because Linux answers for 10.42.0.1 on its other interfaces, too.
    """
    peer = ip_address(request.peer)
    inside = peer is not None and peer != ACCESS_POINT and peer in ACCESS_POINT_NET
    return access_point and inside and not _is_handed_on(request) and ip_address(request.here) == ACCESS_POINT


def _is_right(header: str, password: Secret) -> bool:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic" or len(encoded) > 1000:
        return False
    try:
        user, _, given = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return False
    right_user = hmac.compare_digest(user, USER.encode())
    return hmac.compare_digest(given, password.encoded()) and right_user
