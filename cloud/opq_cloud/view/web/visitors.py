"""Identifies visitors by the session or token of a request; their rights are those of `accounts/rights`.

A View on loopback that has no account yet is open to its machine. Once there is an account, or beyond
loopback, visitors who are not signed in see what the owners of Boxes show to the public.
"""

import contextvars
import functools
import hashlib
import hmac
import re
import secrets
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from http.cookies import CookieError, SimpleCookie

from opq_cloud.core.settings.view import ViewSection
from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.reading_spans import ALWAYS, BoxSpans, Spans, has_moment, has_whole, merged
from opq_cloud.store.records.accounts.account_records import Account, AccountRecords, BoxAccess
from opq_cloud.store.records.accounts.rights import OPEN as OPEN_ROLE
from opq_cloud.store.records.accounts.rights import Action, Relation, Standing, Way, may
from opq_cloud.store.stated_facts import LAST_NS, NS_PER_MS
from opq_cloud.view.web.passwords import secret_hash
from opq_proto.kit.origin_guard import LOOPBACK_NAMES, client_network, host_name, ip_address

SESSION_COOKIE = "opq_session"
FORM_COOKIE = "opq_form"
"""The cookie that binds the forms of a browser that is not signed in."""
DEVICE_COOKIE = "opq_device"
"""The cookie of a browser that signed in before: its tries are counted apart from those of strangers."""
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
STRANGERS = Standing()
NO_SPANS = BoxSpans()


@dataclass(frozen=True, slots=True)
class Visitor:
    """A visitor, and the Boxes that they may see."""

    account: Account | None = None
    standing: Standing = STRANGERS
    """What the visitor is at this moment, for every question about rights."""
    session_hash: str = ""
    form_secret: str = ""
    address: str = ""
    everything: bool = False
    """Whether the visitor sees every Box."""
    accounts_in_use: bool = True
    """False while the page is open, and then pages show nothing about accounts."""
    own: frozenset[str] = frozenset()
    full: frozenset[str] = frozenset()
    """The visitor's own Boxes and those shared with them."""
    public: frozenset[str] = frozenset()
    public_waveforms: frozenset[str] = frozenset()
    regional: frozenset[str] = frozenset()
    """Boxes that count in the figures of their region."""
    since: BoxSpans = NO_SPANS
    """When those Boxes that had other owners before have had their present one: what is visible of them."""
    former: BoxSpans = NO_SPANS
    """When the visitor owned Boxes that they own no more, and of which they read what was measured then."""

    @property
    def identified(self) -> bool:
        """Whether the visitor is known, or need not be (`sign_in = "never"`)."""
        return self.account is not None or (self.everything and not self.on_this_machine)

    @property
    def voltage_unit(self) -> str:
        """The unit of voltages where an address names none."""
        return self.account.voltage_unit if self.account else "V"

    def may(self, action: Action, *box_ids: str) -> bool:
        """Whether the visitor may do this, to all of these Boxes where some are given."""
        return may(self.standing, action, min(map(self.relation_to, box_ids), default=Relation.NONE))

    def relation_to(self, box_id: str, t_ns: int | None = None) -> Relation:
        """What the Box is to the visitor now, or for what was measured at `t_ns`: the same as
        `BoxAccess.relation_to`."""
        had = t_ns is not None and has_moment(self.former.of_box.get(box_id, ()), t_ns)
        if t_ns is not None and not has_moment(self.since.of_box.get(box_id, ALWAYS), t_ns):
            return Relation.SHARED if had else Relation.NONE
        if box_id in self.full:
            return Relation.OWN if box_id in self.own else Relation.SHARED
        if had:
            return Relation.SHARED
        if box_id in self.public:
            return Relation.PUBLIC_WAVEFORMS if box_id in self.public_waveforms else Relation.PUBLIC
        return Relation.NONE

    @property
    def sight(self) -> Hashable:
        """The same for visitors who see the same of the same Boxes."""
        return self.everything or (self.full, self.public, self.public_waveforms, self.since, self.former)

    @property
    def has_spans(self) -> bool:
        """Whether some Box is visible for a part of its time."""
        return bool(self.since.items or self.former.items)

    def spans(self, box_id: str) -> Spans:
        """When what was measured of the Box is visible."""
        return ALWAYS if self.everything else self._spans(box_id, self.sees(box_id))

    def place_spans(self, box_id: str) -> Spans:
        """When its site, feeder and exact place are visible, too."""
        return ALWAYS if self.everything else self._spans(box_id, box_id in self.full)

    def _spans(self, box_id: str, sees_now: bool) -> Spans:
        had = self.former.of_box.get(box_id, ())
        has = self.since.of_box.get(box_id, ALWAYS) if sees_now else ()
        return merged((*had, *has)) if had and has else had or has

    def reads(self, box_id: str) -> bool:
        """Whether something of the Box is visible, of now or of a time that is over."""
        return self.sees(box_id) or box_id in self.former.of_box

    def record_seen(self, box: BoxRecord) -> BoxRecord:
        """The record of a Box that the visitor reads, with the facts of that time alone; of who may not know
        any place of it, the caller decides what they see."""
        spans = self.spans(box.box_id)
        return box if spans == ALWAYS else box.within(spans, self.place_spans(box.box_id) or spans)

    @property
    def unlimited(self) -> bool:
        """Whether nothing is hidden, so that the store can be read directly."""
        return self.everything and not self.without_waveforms

    @property
    def without_waveforms(self) -> bool:
        """Whether the request has a token without the scope `waveforms`."""
        return not may(self.standing, Action.SEE_WAVEFORMS, Relation.OWN)

    @property
    def administers(self) -> bool:
        """Whether the visitor may change what is for administrators."""
        return self.may(Action.ADMINISTER)

    @property
    def sees_administration(self) -> bool:
        return self.may(Action.READ_ADMINISTRATION)

    @property
    def on_this_machine(self) -> bool:
        """Whether the page is open to this machine, because no account exists yet."""
        return self.standing.way is Way.MACHINE

    @property
    def sees_something(self) -> bool:
        """Whether a page has something to show."""
        return bool(self.everything or self.account or self.public)

    def sees(self, box_id: str, t_ns: int | None = None) -> bool:
        """Whether the Box is visible now, or what was measured of it at `t_ns`."""
        if t_ns is None:
            return self.everything or box_id in self.full or box_id in self.public
        return self.everything or self.relation_to(box_id, t_ns) >= Relation.PUBLIC

    def sees_whole(self, box_id: str, start_ns: int, end_ns: int) -> bool:
        """Whether all that was measured in [start_ns, end_ns) is visible."""
        spans = self.spans(box_id)
        return spans == ALWAYS or has_whole(spans, start_ns, end_ns)

    def sees_whole_ms(self, box_id: str, start_ms: int, end_ms: int) -> bool:
        """The same in ms."""
        return self.sees_whole(box_id, start_ms * NS_PER_MS, end_ms * NS_PER_MS)

    def sees_all_of(self, before: "Visitor") -> bool:
        """Whether each Box that `before` saw is visible; called every other second for each open page."""
        if self.everything or before.everything:
            return self.everything
        if self.sight == before.sight:  # mostly the same sets, compared at once
            return True
        changed = (self.since.items ^ before.since.items) | (self.former.items ^ before.former.items)
        return not ((before.full | before.public) - self.full - self.public) and all(
            has_whole(self.spans(box_id), *span) for box_id, _ in changed for span in before.spans(box_id)
        )

    def is_still(self, before: "Visitor") -> bool:
        """Whether this is the same person with the same role, session or token as `before`."""
        same = (self.session_hash, self.standing) == (before.session_hash, before.standing)
        ids = [each.account and each.account.account_id for each in (self, before)]
        return same and ids[0] == ids[1] and self.everything == before.everything

    def sees_waveform(self, box_id: str, t_ns: int | None = None) -> bool:
        """Whether raw waveforms are visible, those of now or of what began at `t_ns`."""
        if self.without_waveforms:
            return False
        return self.everything or self.relation_to(box_id, t_ns) >= Relation.PUBLIC_WAVEFORMS

    def sees_place(self, box_id: str, t_ns: int | None = None) -> bool:
        """Whether the Box's exact place is visible, that of now or of then; the public sees a place near it
        (`public.fuzz`)."""
        return self.everything or self.relation_to(box_id, t_ns) >= Relation.SHARED

    def knows_place(self, box_id: str) -> bool:
        """Whether the Box's exact place is visible, of now or of a time that is over."""
        return bool(self.place_spans(box_id))

    @property
    def own_to_join(self) -> frozenset[str]:
        """Own Boxes with which the visitor may ask to join another owner's site."""
        return self.own if may(self.standing, Action.JOIN_SITE, Relation.OWN) else frozenset()

    @property
    def own_to_change(self) -> frozenset[str]:
        """The own Boxes, where the present role may change them; a former owner only reads them."""
        return self.own if may(self.standing, Action.CHANGE_BOX, Relation.OWN) else frozenset()

    def may_change(self, box_id: str) -> bool:
        return self.may(Action.CHANGE_BOX, box_id)

    @property
    def may_claim(self) -> bool:
        return self.may(Action.CLAIM_BOX)

    def may_request(self, box_id: str) -> bool:
        return self.may(Action.ORDER_SAMPLES, box_id)

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
        """A name for the live feed that differs by session, and by what the session sees.

        A hidden Box that changes hands does not change it.
        """
        since = sorted(each for each in self.since.items if self.sees(each[0]))
        times = f"{since}{sorted(self.former.items)}"
        boxes = f"{_public_digest(self.public)}{sorted(self.full)}"
        seen = "all" if self.everything else _digest(boxes + times)
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
OPEN = Visitor(standing=Standing(OPEN_ROLE), everything=True, accounts_in_use=False)
VISITOR: contextvars.ContextVar[Visitor] = contextvars.ContextVar("asking", default=NOBODY)
"""The visitor of the request that this thread or task answers; a task that sets none sees nothing."""


def visitor_network(address: str) -> str:
    """The network under which an address is counted (`client_network`).

    Empty for this machine: a proxy here that names no visitor passes on everybody's requests.
    """
    known = ip_address(address)
    return "" if known is not None and known.is_loopback else client_network(address)


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
    since: BoxSpans
    former: Mapping[str, BoxSpans]
    """By account."""


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
            everybody = replace(OPEN, address=request.address)
            return self._signed_in(request, known, everybody) or everybody
        is_open = not known.any_account and self.config.sign_in != "always" and request.from_this_machine
        public = Visitor(
            form_secret=request.cookie(FORM_COOKIE),
            address=request.address,
            public=known.boxes.public,
            public_waveforms=known.boxes.public_waveforms,
            regional=known.boxes.regional,
            since=known.boxes.since,
        )
        if is_open:
            return self._by_token(request, known, public) or Visitor(
                standing=Standing(OPEN_ROLE, Way.MACHINE),
                form_secret=public.form_secret,
                address=public.address,
                everything=True,
                accounts_in_use=False,
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
        if account is None or not account.in_force:
            return None
        if now_ms - session.seen_ms > SEEN_EVERY_MS:
            self.people.touch_session(session.token_hash, now_ms)
        found = _visitor(account, account.standing(Way.SESSION), known, public)
        return replace(found, session_hash=session.token_hash, form_secret=secret)

    def _by_token(self, request: RequestFacts, known: _Known, public: Visitor) -> Visitor | None:
        """The visitor of `Authorization: Bearer opq_…`."""
        secret = request.bearer_token
        if not secret.startswith("opq_"):
            return None
        ticket = self.people.ticket(secret_hash(secret), "token")
        if ticket is None:
            return None
        scopes = ticket.scopes or ("read", "waveforms")
        if not ticket.account_id:  # made by a user who may write the store's files: `opq-tools up`
            standing = Standing(OPEN_ROLE, Way.TOKEN, scopes)
            return Visitor(standing=standing, everything=True, address=request.address)
        account = self.people.account(ticket.account_id)
        if account is None:
            return None
        return _visitor(account, account.standing(Way.TOKEN, scopes), known, public)

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
        for account_id in access.owner_ids:
            owned.setdefault(account_id, set()).add(box_id)
        for account_id in access.shared_ids:
            shared.setdefault(account_id, set()).add(box_id)
    former: dict[str, dict[str, Spans]] = {}
    for box_id, access in accesses.items():
        for account_id in {each.account_id for each in access.former}:
            former.setdefault(account_id, {})[box_id] = access.former_spans(account_id)
    since = {box_id: ((access.since_ns, LAST_NS),) for box_id, access in accesses.items() if access.since_ns}
    shown = {box_id: access for box_id, access in accesses.items() if access.privacy == "all"}
    return _BoxAccesses(
        revision,
        accesses,
        {account_id: frozenset(boxes) for account_id, boxes in owned.items() if account_id},
        {account_id: frozenset(boxes) for account_id, boxes in shared.items()},
        public=frozenset(shown),
        public_waveforms=frozenset(b for b, a in shown.items() if a.public_waveforms),
        regional=frozenset(b for b, a in accesses.items() if a.privacy in ("region", "all")),
        since=BoxSpans.of(since),
        former={account_id: BoxSpans.of(spans) for account_id, spans in former.items()},
    )


def _visitor(account: Account, standing: Standing, known: _Known, public: Visitor) -> Visitor:
    own = known.boxes.owned.get(account.account_id, frozenset())
    return replace(
        public,
        account=account,
        standing=standing,
        form_secret="",
        accounts_in_use=True,
        everything=public.everything or may(standing, Action.SEE),
        own=own,
        full=own | known.boxes.shared.get(account.account_id, frozenset()),
        former=known.boxes.former.get(account.account_id, NO_SPANS),
    )
