"""Identifies visitors by the session or token of a request, and determines which Boxes they may see.

A View on loopback that has no account yet is open to its machine. Once there is an account, or beyond
loopback, visitors who are not signed in see what the owners of Boxes show to the public.
"""

import contextvars
import functools
import hashlib
import hmac
import ipaddress
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from http.cookies import CookieError, SimpleCookie

from opq_cloud.core.settings.view import ViewSection
from opq_cloud.store.records.accounts import Account, AccountRecords, BoxAccess
from opq_cloud.view.web.passwords import secret_hash
from opq_proto.kit.origin_guard import LOOPBACK_NAMES, host_name, ip_address

SESSION_COOKIE = "opq_session"
FORM_COOKIE = "opq_form"
"""The cookie that binds the forms of a browser that is not signed in."""
IDLE_S = 14 * 86_400
"""A session ends when it was not used for this time."""
SEEN_EVERY_MS = 300_000
"""The list of sessions states with this precision when each was last used."""
CACHED_S = 1.0
"""A change made by another process is seen after this time."""
EXPIRE_EVERY_S = 3600.0
"""Expired sessions, links and tokens are deleted this often."""
PROXY_HEADERS = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
_FORWARDED_FOR = re.compile(r'for="?\[?([^\s;,"\]]*)', re.IGNORECASE)
ADDRESS_CHARACTERS = 45
WHO = ("cookie", "authorization")
"""Headers that identify a visitor."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """A visitor, and the Boxes that they may see."""

    account: Account | None = None
    session_hash: str = ""
    """Empty without a session; then nothing can be changed."""
    form_secret: str = ""
    address: str = ""
    everything: bool = False
    """True for an admin, a researcher, or anybody while the page is open."""
    accounts_in_use: bool = True
    """False while the page is open, and then pages show nothing about accounts."""
    own: frozenset[str] = frozenset()
    full: frozenset[str] = frozenset()
    """The visitor's own Boxes and those shared with them."""
    public: frozenset[str] = frozenset()
    public_waveforms: frozenset[str] = frozenset()
    regional: frozenset[str] = frozenset()
    """Boxes that count in the figures of their region."""
    on_this_machine: bool = False
    """No account exists yet and the request comes from loopback: the page is open to this machine."""
    without_waveforms: bool = False
    """The request has a token without the scope `waveforms`."""
    writes: bool = False
    """The request has a token with the scope `write`."""

    @property
    def identified(self) -> bool:
        """Whether the visitor is known, or need not be (`sign_in = "never"`)."""
        return self.account is not None or (self.everything and not self.on_this_machine)

    @property
    def voltage_unit(self) -> str:
        """The unit of voltages where an address names none."""
        return self.account.voltage_unit if self.account else "V"

    @property
    def unlimited(self) -> bool:
        """Whether nothing is hidden, so that the store can be read directly."""
        return self.everything and not self.without_waveforms

    @property
    def admin(self) -> bool:
        return self.account is not None and self.account.role == "admin"

    @property
    def administers(self) -> bool:
        """Whether this is a signed-in admin, who may change what is for administrators."""
        return self.admin and bool(self.session_hash)

    @property
    def sees_administration(self) -> bool:
        return self.administers or self.on_this_machine

    @property
    def sees_something(self) -> bool:
        """Whether a page has something to show."""
        return bool(self.everything or self.account or self.public)

    def sees(self, box_id: str) -> bool:
        return self.everything or box_id in self.full or box_id in self.public

    def sees_all_of(self, before: "Visitor") -> bool:
        """Whether each Box that `before` saw is visible; called every other second for each open page."""
        if self.everything or before.everything:
            return self.everything
        if (self.full, self.public) == (before.full, before.public):  # mostly the same sets, compared at once
            return True
        return not ((before.full | before.public) - self.full - self.public)

    def sees_waveform(self, box_id: str) -> bool:
        if self.without_waveforms:
            return False
        return self.everything or box_id in self.full or box_id in self.public_waveforms

    def sees_place(self, box_id: str) -> bool:
        """Whether the Box's exact place is visible; the public sees a place near it (`public.fuzz`)."""
        return self.everything or box_id in self.full

    def may_change(self, box_id: str) -> bool:
        """Whether the visitor may change the Box: its owner or an admin, by a session."""
        return bool(self.session_hash) and (self.admin or box_id in self.own)

    def may_request(self, box_id: str) -> bool:
        """Whether the visitor may request raw samples: owner or admin, by session or a token that writes."""
        return (bool(self.session_hash) or self.writes) and (self.admin or box_id in self.own)

    def form_token(self) -> str:
        """A new token for each page: a constant one could be guessed from compressed answers (BREACH)."""
        salt = secrets.token_hex(8)
        return salt + _signed(self.form_secret, salt)

    def accepts_form(self, token: str) -> bool:
        """Whether we made this form for this browser."""
        salt, signature = token[:16], token[16:]
        return bool(self.form_secret) and hmac.compare_digest(
            signature.encode(), _signed(self.form_secret, salt).encode()
        )

    @property
    def feed_name(self) -> str:
        """A name for the live feed that differs by session, and by what the session sees."""
        seen = "all" if self.everything else _digest(f"{_public_digest(self.public)}{sorted(self.full)}")
        return f"{self.session_hash[:12]}-{seen}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@functools.lru_cache(maxsize=4)
def _public_digest(boxes: frozenset[str]) -> str:
    """The digest of the Boxes that all visitors see; cached, because ten thousand Boxes take 5 ms."""
    return _digest(",".join(sorted(boxes)))


NOBODY = Visitor()
UNKNOWN = Visitor(accounts_in_use=False)
"""The visitor where the store cannot be read: nothing is shown, not even about accounts."""
OPEN = Visitor(everything=True, accounts_in_use=False)
VISITOR: contextvars.ContextVar[Visitor] = contextvars.ContextVar("asking", default=NOBODY)
"""The visitor of the request that this thread or task answers; a task that sets none sees nothing."""


def visitor_network(address: str) -> str:
    """The network under which an address is counted: for IPv6 its /64, which is one household.

    Empty for this machine: a proxy here that names no visitor passes on everybody's requests.
    """
    known = ip_address(address)
    if known is None:
        return address
    if known.is_loopback:
        return ""
    return str(ipaddress.ip_network((known, 64), strict=False)) if known.version == 6 else str(known)


def _signed(secret: str, salt: str) -> str:
    return hashlib.sha256(f"form:{salt}:{secret}".encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """The facts of an HTTP request that identify its sender."""

    headers: Mapping[str, str]
    """Names in lower case."""
    peer: str

    def cookie(self, name: str) -> str:
        try:
            jar: SimpleCookie = SimpleCookie(self.headers.get("cookie", "")[:4096])
        except CookieError:
            return ""
        found = jar.get(name)
        return "" if found is None else found.value

    @property
    def bearer_token(self) -> str:
        """The bearer token of the request; empty if the request has no token."""
        kind, _, secret = self.headers.get("authorization", "").partition(" ")
        return secret.strip() if kind.lower() == "bearer" else ""

    @property
    def from_this_machine(self) -> bool:
        """Whether the request comes from loopback, under a loopback name, and not through a proxy."""
        peer = ip_address(self.peer)
        named = host_name(self.headers.get("host", "localhost")) in LOOPBACK_NAMES
        handed_on = any(name in self.headers for name in PROXY_HEADERS)
        return peer is not None and peer.is_loopback and named and not handed_on

    @property
    def is_local(self) -> bool:
        """Whether the peer is loopback, and no proxy says that it passes on another address's request."""
        peer = ip_address(self.peer)
        stated = [
            part
            for name in ("x-forwarded-for", "x-real-ip")
            if name in self.headers
            for part in self.headers[name].split(",")
        ]
        if "forwarded" in self.headers:
            stated += _FORWARDED_FOR.findall(self.headers["forwarded"]) or [""]
        ends = [peer, *(ip_address(each.strip()) for each in stated)]
        return all(end is not None and end.is_loopback for end in ends)

    @property
    def address(self) -> str:
        """The address of the client; that which a proxy on this machine states, if it made the connection."""
        peer = ip_address(self.peer)
        if peer is not None and peer.is_loopback:
            handed_on = self.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
            if ip_address(handed_on) is not None:
                return handed_on[:ADDRESS_CHARACTERS]
        return self.peer[:ADDRESS_CHARACTERS]


@dataclass(frozen=True, slots=True)
class _BoxAccesses:
    """Who owns and who may see the Boxes, as stored; read again when that changes."""

    revision: tuple[int, ...] | None
    of_box: Mapping[str, BoxAccess]
    owned: Mapping[str, frozenset[str]]
    """By account."""
    shared: Mapping[str, frozenset[str]]
    public: frozenset[str]
    public_waveforms: frozenset[str]
    regional: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Known:
    """What is read at most once a second: whether there is an account, and who may see the Boxes."""

    read_s: float
    any_account: bool
    boxes: _BoxAccesses


class Visitors:
    """Identifies visitors; `of` may be called from any thread."""

    def __init__(
        self, people: AccountRecords, config: ViewSection, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self.people = people
        self.config = config
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._known: _Known | None = None
        self._accesses: _BoxAccesses | None = None
        self._expire_s = monotonic_s() + EXPIRE_EVERY_S

    def of(self, request: RequestFacts) -> Visitor:
        """The visitor of a request. Raises StoreError when the store cannot be read."""
        known = self._read()
        if self.config.sign_in == "never":
            return self._signed_in(request, known, OPEN) or OPEN
        is_open = not known.any_account and self.config.sign_in != "always" and request.from_this_machine
        public = Visitor(
            form_secret=request.cookie(FORM_COOKIE),
            address=request.address,
            public=known.boxes.public,
            public_waveforms=known.boxes.public_waveforms,
            regional=known.boxes.regional,
        )
        if is_open:
            return self._by_token(request, known, public) or Visitor(
                form_secret=public.form_secret,
                address=public.address,
                everything=True,
                accounts_in_use=False,
                on_this_machine=True,
            )
        return self._signed_in(request, known, public) or self._by_token(request, known, public) or public

    def at_once(self, request: RequestFacts) -> Visitor | None:
        """Like `of`, but None where the store is needed; without session and token, cached facts may do."""
        with self._lock:
            known = self._known
        now_s = self._monotonic_s()
        fresh = known is not None and now_s - known.read_s < CACHED_S and now_s < self._expire_s
        return self.of(request) if fresh and not any(name in request.headers for name in WHO) else None

    def anonymous(self, request: RequestFacts) -> Visitor:
        """What the same request would see without session and token: what may be shared with everybody."""
        return self.of(RequestFacts({n: v for n, v in request.headers.items() if n not in WHO}, request.peer))

    def discard_cached(self) -> None:
        """Discards cached facts, because this process has changed something."""
        with self._lock:
            self._known = None

    def accesses(self) -> Mapping[str, BoxAccess]:
        """The accesses by Box, at most CACHED_S old."""
        return self._read().boxes.of_box

    def _signed_in(self, request: RequestFacts, known: _Known, public: Visitor) -> Visitor | None:
        secret = request.cookie(SESSION_COOKIE)
        if not secret:
            return None
        session = self.people.session(secret_hash(secret))
        now_ms = time.time_ns() // 1_000_000
        if session is None or now_ms >= session.expires_s * 1000:
            return None
        if now_ms - session.seen_ms > IDLE_S * 1000:
            return None
        account = self.people.account(session.account_id)
        if account is None or account.disabled:
            return None
        if now_ms - session.seen_ms > SEEN_EVERY_MS:
            self.people.touch_session(session.token_hash, now_ms)
        return _visitor(account, known, public, session.token_hash, secret)

    def _by_token(self, request: RequestFacts, known: _Known, public: Visitor) -> Visitor | None:
        """The visitor of `Authorization: Bearer opq_…`; the scope `write` allows to request waveforms."""
        secret = request.bearer_token
        if not secret.startswith("opq_"):
            return None
        ticket = self.people.ticket(secret_hash(secret), "token")
        if ticket is None:
            return None
        without = bool(ticket.scopes) and "waveforms" not in ticket.scopes
        if not ticket.account_id:  # made by a user who may write the store's files: `opq-tools up`
            return Visitor(everything=True, address=request.address, without_waveforms=without)
        account = self.people.account(ticket.account_id)
        if account is None or account.disabled:
            return None
        writes = "write" in ticket.scopes
        return replace(_visitor(account, known, public), without_waveforms=without, writes=writes)

    def _read(self) -> _Known:
        now_s = self._monotonic_s()
        with self._lock:
            known = self._known
        if known is not None and now_s - known.read_s < CACHED_S:
            return known
        if now_s >= self._expire_s:
            self._expire_s = now_s + EXPIRE_EVERY_S
            self.people.expire()
        fresh = _Known(now_s, self.people.any_account(), self._read_accesses())
        with self._lock:
            self._known = fresh
        return fresh

    def _read_accesses(self) -> _BoxAccesses:
        """The accesses; those that were read last, while they have not changed."""
        revision = self.people.accesses_revision()
        with self._lock:
            before = self._accesses
        if before is not None and revision is not None and before.revision == revision:
            return before
        fresh = _accesses(revision, self.people.accesses())
        with self._lock:
            self._accesses = fresh
        return fresh


def _accesses(revision: tuple[int, ...] | None, accesses: Mapping[str, BoxAccess]) -> _BoxAccesses:
    owned: dict[str, set[str]] = {}
    shared: dict[str, set[str]] = {}
    for box_id, access in accesses.items():
        owned.setdefault(access.owner_id, set()).add(box_id)
        for account_id in access.shared_ids:
            shared.setdefault(account_id, set()).add(box_id)
    shown = {box_id: access for box_id, access in accesses.items() if access.privacy == "all"}
    return _BoxAccesses(
        revision,
        accesses,
        {account_id: frozenset(boxes) for account_id, boxes in owned.items() if account_id},
        {account_id: frozenset(boxes) for account_id, boxes in shared.items()},
        public=frozenset(shown),
        public_waveforms=frozenset(b for b, a in shown.items() if a.public_waveforms),
        regional=frozenset(b for b, a in accesses.items() if a.privacy in ("region", "all")),
    )


def _visitor(
    account: Account, known: _Known, public: Visitor, session_hash: str = "", form_secret: str = ""
) -> Visitor:
    own = known.boxes.owned.get(account.account_id, frozenset())
    shared = known.boxes.shared.get(account.account_id, frozenset())
    return Visitor(
        account=account,
        session_hash=session_hash,
        form_secret=form_secret,
        address=public.address,
        everything=public.everything or account.role in ("admin", "researcher"),
        own=own,
        full=own | shared,
        public=public.public,
        public_waveforms=public.public_waveforms,
        regional=public.regional,
    )
