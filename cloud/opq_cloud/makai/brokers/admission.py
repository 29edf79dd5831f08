"""Admission to the CURVE sockets of one service: ZAP, the key folder, and the connected peers.

One REP loop on `inproc://zeromq.zap.01` in the service's own thread and context: a handshake costs it 0.1 to
0.2 ms (docs/makai.md). A stranger is answered 300, not 400: libzmq gives up for good after 400, and a Box
whose key comes a minute later must get in without a restart. Its connection stays open, to avoid a storm of
retries, and is ended when a key is admitted.

Source: ZeroMQ RFC 27 (ZAP 1.0).
"""

import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass

import zmq

from opq_cloud.core.backend.allow_list import ZAP_ENDPOINT, AllowList, requested_key
from opq_cloud.core.backend.inflow import MessageLimits
from opq_cloud.core.backend.sockets import (
    ZAP_DOMAIN,
    Context,
    Socket,
    bind,
    open_socket,
    receive,
)
from opq_cloud.core.service import REFUSED, UNKNOWN, HealthReport, ServiceCounters
from opq_cloud.makai.brokers.broker_peers import CANDIDATES_THAT_SEND, HANDSHAKES_EXAMINED, Peers
from opq_cloud.makai.brokers.registered_keys import RegisteredKeys
from opq_proto.errors import KeyFileError, OpqError
from opq_proto.keys.key_files import KeyFolder, read_secret_file
from opq_proto.keys.register import KeyRegister
from opq_proto.kit.log import BoundLogger
from opq_proto.kit.origin_guard import ip_address
from opq_proto.kit.rate_limit import RateLimitedLog
from opq_proto.kit.zmq_inbox import try_send, waiting_messages

ADDRESS_AT = 3
"""Place of the peer's address in a ZAP request."""
HANDSHAKES_S = 0.1
"""Longest time of answering handshakes in one turn, because a storm must not delay revoking a key."""
MEASUREMENTS = MessageLimits(waiting_bytes=2 * 2**20, frames=16)
"""Of a connection to 9880: its queue with Measurements of 10 kB, and what the kernel has. One has some
0.5 kB, with all harmonics 3 kB, and two frames."""
SUBSCRIPTIONS = MessageLimits(waiting_bytes=256 * 1024, frames=16)
"""Of a connection to 8194."""
ANSWERS = MessageLimits(waiting_bytes=16 * 2**20, frames=10_000)
"""Of a connection to 8196: two minutes of 12 kS/s have 7,201 frames and some 4 MB."""
UNPLACED_KEPT = 4
"""Handshakes remembered per key without a known connection: three sockets, and one new connection."""


@dataclass(frozen=True, slots=True)
class UnplacedHandshake:
    """A key was admitted while several connections were in handshake, so that its own one is not known."""

    address: str
    answered_s: float
    """Monotonic."""


KNOCKING_S = 300.0
"""A key that is not admitted is reported for this long after it came."""
MOST_KNOCKING = 100
"""Keys that are not admitted, and remembered."""


@dataclass(frozen=True, slots=True)
class KnockingKey:
    """A key (Z85) that is not admitted and came."""

    key: str
    address: str
    at_s: float
    """Monotonic, the last time."""


@dataclass(frozen=True, slots=True)
class AdmittedSocket:
    """A bound CURVE socket that accepts only admitted Boxes, and its connections."""

    socket: Socket
    peers: Peers
    handler: "ZapHandler"

    @property
    def admitted(self) -> frozenset[str]:
        """Box ids; a new object when they change."""
        return self.handler.admitted

    def sender(self, frame: zmq.Frame, claimed: bytes) -> str | None:
        """The Box whose key sent this frame; None when that key is not admitted any more (counted).

        claimed: the id that the message names; it decides where several Boxes have that key.
        """
        return self.handler.sender(frame, self.peers, claimed)

    def sharers(self, frame: zmq.Frame) -> tuple[str, ...]:
        """All Boxes whose key sent this frame, where several have it; else empty."""
        return self.handler.sharers(frame)

    def messages(self, limit: int) -> Iterator[tuple[zmq.Frame, list[bytes]]]:
        """Yields as `receive` does."""
        return receive(self.socket, limit, self.peers.inflow)


class ZapHandler:
    """Admits Boxes to the sockets it opened; used by one thread, between two polls."""

    def __init__(
        self,
        context: Context,
        folder: KeyFolder,
        counters: ServiceCounters,
        log: BoundLogger,
        registered: RegisteredKeys | None = None,
    ) -> None:
        """`registered`: keys that the store admits in addition to the folder; None: no others."""
        self.peers: list[Peers] = []
        self._context = context
        self._pair = read_secret_file(folder.server_secret)
        self._register = KeyRegister(folder)
        self._unplaced: dict[str, deque[UnplacedHandshake]] = {}
        self._counters = counters
        self._log = log
        self._limited = RateLimitedLog(log)
        self._sockets: list[Socket] = []
        self._failed = 0
        self._knocking: dict[str, KnockingKey] = {}
        """Keys that were not admitted lately."""
        self._zap = open_socket(context, zmq.REP)
        self._zap.bind(ZAP_ENDPOINT)
        self._allowed = AllowList(folder, counters, log, registered)
        self._allowed.start()

    def open(
        self, kind: int, endpoint: str, service: str, key: str, limits: MessageLimits, **options: int
    ) -> AdmittedSocket:
        """Opens and binds a socket, as `open_socket` and `bind` do."""
        socket = open_socket(self._context, kind, **options)
        self._sockets.append(socket)
        self._pair.serve(socket, f"{ZAP_DOMAIN}/{len(self.peers)}")
        candidates = HANDSHAKES_EXAMINED if kind == zmq.PULL else CANDIDATES_THAT_SEND
        peers = Peers(self._context, socket, key, self._counters, limits, candidates, self._boxes_of)
        self.peers.append(peers)
        bind(socket, endpoint, service, key)
        return AdmittedSocket(socket, peers, self)

    @property
    def keys_changed(self) -> bool:
        """Whether `handle_peers` has keys to admit or to revoke."""
        return self._allowed.changed

    def register(self, poller: zmq.Poller) -> None:
        poller.register(self._zap, zmq.POLLIN)
        for peers in self.peers:
            poller.register(peers.monitor, zmq.POLLIN)

    def close(self) -> None:
        self._allowed.close()
        peers, self.peers = self.peers, []
        for each in peers:
            each.close()
        for socket in self._sockets:
            socket.close()
        self._zap.close()

    def handle_peers(self) -> None:
        """Answers handshakes, notes new and ended connections, follows the key folder."""
        for peers in self.peers:
            peers.drain()
        self._answer_handshakes()
        for peers in self.peers:
            peers.remove_finished()
            peers.end_suspected()
        if self._unplaced and not any(peers.unknown or peers.unplaced for peers in self.peers):
            self._unplaced.clear()
        change = self._allowed.changes()
        if change is not None:
            for key, box_id in change.revoked.items():
                ended = sum(peers.end_connections(key) for peers in self.peers) + self._end_unplaced(key)
                self._counters.add("revoked")
                self._log.info("peer.revoked", public_key=key, box_id=box_id, connections_ended=ended)
            for key, box_id in change.admitted.items():
                self._log.info("peer.admitted", public_key=key, box_id=box_id)
            if change.admitted:
                for peers in self.peers:
                    peers.end_refused()
        self._counters.set("connections_now", sum(map(len, self.peers)))
        failed = sum(peers.failed for peers in self.peers)
        if failed > self._failed:
            self._counters.add("handshakes_failed", failed - self._failed)
            self._failed = failed
            self._limited.warning(
                "peer.handshake_failed", reason="ended without a CURVE handshake", total=failed
            )
        if not self._allowed.alive:
            raise OpqError(
                "the watcher of the key folder has ended, so no key can be revoked; start the service again"
            )

    @property
    def admitted(self) -> frozenset[str]:
        """The same as `AdmittedSocket.admitted`."""
        return self._allowed.ids

    def sharers(self, frame: zmq.Frame) -> tuple[str, ...]:
        """Returns the same as `AdmittedSocket.sharers`."""
        return self._allowed.sharers.get(_key_of(frame), ()) if self._allowed.sharers else ()

    def sender(self, frame: zmq.Frame, peers: Peers, claimed: bytes) -> str | None:
        """Returns the same as `AdmittedSocket.sender`."""
        key = _key_of(frame)
        if peers.unknown or peers.unplaced:
            self._note_connection(frame, peers, key)
        box_id = self._allowed.boxes.get(key)
        if key in self._allowed.incoming:
            self._complete_rotation(key)
        if box_id is None:
            self._note_connection(frame, peers, key)
            peers.end_connections(key)
            self.refuse(key, "key is not admitted any more")
        elif key in self._allowed.sharers:
            named = claimed.lstrip(b"0").decode("ascii", "replace")
            return named if named in self._allowed.sharers[key] else box_id
        return box_id

    def connections(self) -> dict[str, int]:
        """The number of connections of all sockets by Box, or under UNKNOWN or REFUSED; from any thread."""
        boxes, found, total = self._allowed.boxes, Counter[str](), 0
        for peers in self.peers:
            total += len(peers)
            found[REFUSED] += len(peers.refused)
            for key, count in peers.per_key().items():
                if key not in self._allowed.sharers:
                    found[boxes.get(key, REFUSED)] += count
        found[UNKNOWN] = total - found.total()
        return {box_id: count for box_id, count in found.items() if count > 0}

    def _boxes_of(self, key: str) -> tuple[str, ...]:
        """The Boxes of a key, or the key; from any thread."""
        return self._allowed.sharers.get(key) or (self._allowed.boxes.get(key, key),)

    def _complete_rotation(self, key: str) -> None:
        """Replaces a Box's key by its second key when the Box first uses that one."""
        box_id = self._allowed.incoming.pop(key)
        try:
            done = self._register.complete_rotation(box_id, key.encode("ascii"))
        except KeyFileError as error:
            self._counters.add("rotations_failed", label=box_id)
            self._limited.error("key.not_rotated", key=box_id, box_id=box_id, error=str(error))
            return
        if done:
            self._counters.add("rotations", label=box_id)
            self._log.info("key.rotated", box_id=box_id, public_key=key)

    def _end_unplaced(self, key: str) -> int:
        """Ends the connections that the revoked key may have opened but has not used yet; returns how many.

        A connection shows its key with its first frame. Until then every one of the same address that
        was admitted at the same moment is ended: in a storm from one address, Boxes with other keys may have
        to connect again. They lose nothing, because they had sent nothing.
        """
        return sum(
            peers.end_unplaced(handshake.address, handshake.answered_s)
            for handshake in self._unplaced.pop(key, ())
            for peers in self.peers
        )

    def health(self) -> list[HealthReport]:
        """Returns a note on each Box that comes with its revoked key, and one on all unknown keys."""
        since_s, folder = time.monotonic() - KNOCKING_S, self._allowed.folder
        lately = [each for each in list(self._knocking.values()) if each.at_s >= since_s]
        if not lately:
            return []
        found, unknown, owners = list[HealthReport](), list[KnockingKey](), folder.revoked_owners()
        for each in lately:
            if (box_id := owners.get(each.key)) is None:
                unknown.append(each)
                continue
            note = (
                f"Box {box_id} comes from {each.address or 'a gateway'} with its revoked key, and is not "
                f"admitted: take it out of its gateway, or opq-tools keys add {box_id} --again"
            )
            found.append(HealthReport(f"key of Box {box_id}", True, note=note))
        if unknown:
            newest = max(unknown, key=lambda each: each.at_s)
            count = "a key that is" if len(unknown) == 1 else f"{len(unknown)} keys that are"
            note = (
                f"{count} not admitted here came in the last {KNOCKING_S / 60:.0f} minutes, last "
                f"{newest.key} from {newest.address or 'a gateway'}: opq-tools keys add BOX --public-key "
                f"'{newest.key}', if it is that of a Box of yours"
            )
            found.append(HealthReport("keys that are not admitted", True, note=note))
        return found

    def refuse(self, key: str, reason: str, address: str = "") -> None:
        """Counts a refusal by key; logs at most every 10 s per key, with the number since the last line."""
        self._counters.add("refused", label=key)
        if key:
            known = self._knocking.pop(key, None)  # the newest is the last one
            if len(self._knocking) >= MOST_KNOCKING:
                del self._knocking[next(iter(self._knocking))]
            address = str(ip_address(address) or address) or ("" if known is None else known.address)
            self._knocking[key] = KnockingKey(key, address, time.monotonic())
        self._limited.warning("peer.refused", key=(key, reason), public_key=key, reason=reason)

    def _note_connection(self, frame: zmq.Frame, peers: Peers, key: str) -> None:
        try:
            if peers.note_key(int(frame.get(zmq.SRCFD)), key):
                self._report_second_connection(key)
        except (zmq.ZMQError, ValueError, TypeError):
            self._counters.add("peers_without_descriptor")

    def _report_second_connection(self, key: str) -> None:
        """Reports two connections with one key: two gateways, or the old one of a Box whose line was cut."""
        if key in self._allowed.sharers:
            return
        box_id = self._allowed.boxes.get(key)
        self._counters.add("connected_twice", label=box_id or key)
        self._limited.warning("peer.connected_twice", key=key, box_id=box_id, public_key=key)

    def _answer_handshakes(self) -> None:
        until_s = time.monotonic() + HANDSHAKES_S
        for request in waiting_messages(self._zap):
            self._counters.add("handshakes")
            key, box_id, reason = self._verdict(request)
            request_id = request[1] if len(request) > 1 else b""
            if box_id is None:
                answer = [b"1.0", request_id, b"300", reason.encode(), b"", b""]
                address = request[ADDRESS_AT].decode("ascii", "replace") if len(request) > ADDRESS_AT else ""
                self.refuse(key, reason, address)
            else:
                answer = [b"1.0", request_id, b"200", b"OK", key.encode(), b""]
            try_send(self._zap, answer)
            if len(request) > ADDRESS_AT:
                self._note_answer(request, key, box_id is not None)
            if time.monotonic() > until_s:
                return

    def _note_answer(self, request: list[bytes], key: str, admitted: bool) -> None:
        """Notes the connection that the answer went to, or that it is unknown."""
        place, address = request[2].rpartition(b"/")[2], request[ADDRESS_AT].decode("ascii", "replace")
        if not place.isdigit() or int(place) >= len(self.peers):
            return  # it has no domain of ours, so it was refused
        peers = self.peers[int(place)]
        peers.drain()
        if admitted:
            found = peers.admitted_connection(address)
        else:
            initiated = peers.in_handshake(address)
            found = initiated[0] if len(initiated) == 1 else None
        if found is not None:
            if peers.note_verdict(found, key if admitted else None):
                self._report_second_connection(key)
        elif admitted:
            handshakes = self._unplaced.setdefault(key, deque(maxlen=UNPLACED_KEPT))
            handshakes.append(UnplacedHandshake(address, time.monotonic()))

    def _verdict(self, request: list[bytes]) -> tuple[str, str | None, str]:
        """Returns the key in Z85 and the Box it admits, or None and the reason."""
        key, problem = requested_key(request, ZAP_DOMAIN)
        if problem:
            return key, None, problem
        box_id = self._allowed.boxes.get(key)
        return key, box_id, "" if box_id else "key is not in public_keys"


def _key_of(frame: zmq.Frame) -> str:
    try:
        return str(frame.get("User-Id"))
    except zmq.ZMQError:
        return ""
