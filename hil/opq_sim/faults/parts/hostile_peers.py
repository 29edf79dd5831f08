"""Hostile peers: garbage, strangers, borrowed ids, and a second connection that repeats and reorders.

    triggering broker's backend --> HostilePeers --CURVE, its own or another's key--> brokers

They note what the broker passes on, and send to the brokers directly. A copy of a Box's frames comes under
the Box's own key, so the cloud cannot distinguish it from the Box: it must store each number once. It must
refuse all else.
"""

import random
import time
from dataclasses import dataclass, field, replace
from typing import Final

import zmq

from opq_gateway.uplink.connection import Endpoints
from opq_proto.errors import FrameError
from opq_proto.keys.key_files import KeyPair
from opq_proto.kit.own_thread import OwnThread
from opq_proto.measurement.wire import measurement_from_wire, measurement_to_wire
from opq_proto.messages import Measurement, Metric
from opq_proto.wire.frames import topic
from opq_proto.wire.leg import LEG_TOPIC

HOSTILE_ID: Final = "90"
"""An admitted Box that sends only bad messages."""
POLL_MS: Final = 20
FRAMES_REORDERED: Final = 6
"""Number of frames that are held back and sent in another order."""
BAD_MESSAGES_PER_TURN: Final = 4
"""Bad messages of each kind per turn: some two hundred a second."""
FORGED_AHEAD: Final = 500
"""A forged number is this far above the newest, so that no real Box uses it."""
LONGEST_BYTES: Final = 3000

Socket = zmq.Socket[bytes]


@dataclass(slots=True)
class PeerSockets:
    """One peer's three connections, like a Box's; it subscribes to all Boxes' commands."""

    measurements: Socket
    command: Socket
    answers: Socket

    def close(self) -> None:
        for socket in (self.measurements, self.command, self.answers):
            socket.close(0)


@dataclass(slots=True)
class HostileTraffic:
    """The peers that are active now; set from any thread."""

    garbage: bool = False
    unknown_key: bool = False
    borrowed_id: str | None = None
    repeated: tuple[str, KeyPair] | None = None
    """The Box whose frames are sent again."""
    held_back: int = 1
    """Number of those frames that are held back and sent in another order."""


@dataclass(slots=True)
class _Role:
    """Sockets of one kind of peer, open while it is active."""

    own_id: str
    """The Box whose key it has."""
    key: KeyPair | None = None
    sockets: PeerSockets | None = None
    held_back: list[list[bytes]] = field(default_factory=list)


class HostilePeers(OwnThread):
    """The hostile peers for the `with` block, in its own thread.

    Attributes:
        received: (Box, sequence) -> the first copy that the broker passed on.
        contradicted: sequences whose copies differ in what was measured.
        copies: all Measurements that passed, the repeated ones too.
        unnumbered: those without a sequence.
        sent: bad messages and copies, by kind of peer.
        overheard: commands that reached a peer and were for another Box. Commands to Boxes whose id begins
            with the peer's own do not count, because ZeroMQ's subscriptions cannot separate them
            (`acquisition_broker`), nor those to Boxes of the C++ generation, which share one topic.
    """

    def __init__(self, backend: str, brokers: Endpoints, server_key: bytes, own: KeyPair, seed: int) -> None:
        """`own`: the key of HOSTILE_ID."""
        super().__init__("hostile")
        self.traffic = HostileTraffic()
        self.sent = {"garbage": 0, "unknown_key": 0, "borrowed_id": 0, "repeated": 0}
        self.overheard = self.copies = self.unnumbered = 0
        self.received: dict[tuple[str, int], Measurement] = {}
        self.contradicted: list[str] = []
        self._backend, self._brokers, self._server_key = backend, brokers, server_key
        self._own = own
        self._stranger = KeyPair(*zmq.curve_keypair())
        self._chance = random.Random(seed)
        self._newest: dict[str, Measurement] = {}

    def _run(self) -> None:
        self._context: zmq.Context[Socket] = zmq.Context()
        listener = self._context.socket(zmq.SUB)
        listener.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
        listener.subscribe(b"")
        listener.connect(self._backend)
        roles = {name: _Role(HOSTILE_ID) for name in self.sent}
        turn_s = 0.0
        while not self._stop.is_set():
            traffic = replace(self.traffic)
            wanted = {
                "garbage": (HOSTILE_ID, self._own if traffic.garbage else None),
                "unknown_key": (HOSTILE_ID, self._stranger if traffic.unknown_key else None),
                "borrowed_id": (HOSTILE_ID, self._own if traffic.borrowed_id else None),
                "repeated": traffic.repeated or (HOSTILE_ID, None),
            }
            for name, role in roles.items():
                self._connect(name, role, *wanted[name])
            if listener.poll(POLL_MS):
                self._note(listener.recv_multipart(), roles["repeated"], traffic.held_back)
            if time.monotonic() - turn_s >= POLL_MS / 1000:
                turn_s = time.monotonic()
                self._volleys(roles, traffic)
        for role in roles.values():
            if role.sockets is not None:
                role.sockets.close()
        listener.close(0)
        self._context.term()

    def _connect(self, name: str, role: _Role, own_id: str, key: KeyPair | None) -> None:
        if role.key is key:
            return
        if role.sockets is not None:
            role.sockets.close()
            role.held_back.clear()
        role.own_id, role.key = own_id, key
        role.sockets = None if key is None else self._opened(key)
        if role.sockets is not None and name == "garbage":
            self._send(name, role.sockets, [topic(HOSTILE_ID), self._lie()])

    def _opened(self, pair: KeyPair) -> PeerSockets:
        brokers, made = self._brokers, []
        for kind, endpoint in (
            (zmq.PUB, brokers.trigger),
            (zmq.SUB, brokers.command),
            (zmq.PUSH, brokers.response),
        ):
            socket = self._context.socket(kind)
            pair.secure(socket, self._server_key)
            if kind == zmq.SUB:
                socket.subscribe(b"")
            socket.connect(endpoint)
            made.append(socket)
        return PeerSockets(*made)

    def _note(self, frames: list[bytes], role: _Role, held_back: int) -> None:
        """Notes a Measurement; one of a repeated Box is sent again, with others in another order."""
        try:
            measurement = measurement_from_wire(frames[-1])
        except FrameError:
            return
        if not measurement.is_window:
            return
        self.copies += 1
        box_id, sequence = measurement.box_id, measurement.sequence
        if sequence is None:
            self.unnumbered += 1
            return
        first = self.received.setdefault((box_id, sequence), measurement)
        if first is not measurement:  # it may be our own copy
            if _measured(first) != _measured(measurement):
                self.contradicted.append(f"Box {box_id}, sequence {sequence}")
            return
        newest = self._newest.setdefault(box_id, measurement)
        if sequence > (newest.sequence or 0):
            self._newest[box_id] = measurement
        if role.sockets is None or box_id != role.own_id:
            return
        role.held_back.append(frames)
        if len(role.held_back) >= held_back:
            self._chance.shuffle(role.held_back)
            for each in role.held_back:
                self._send("repeated", role.sockets, each)
            role.held_back.clear()

    def _volleys(self, roles: dict[str, _Role], traffic: HostileTraffic) -> None:
        for name, role in roles.items():
            sockets = role.sockets
            if sockets is None:
                continue
            while sockets.command.poll(0):
                message = sockets.command.recv_multipart()
                self.overheard += not message[0].startswith((role.own_id.encode(), LEG_TOPIC))
            if name == "repeated":
                continue
            for _ in range(BAD_MESSAGES_PER_TURN):
                if name == "garbage":
                    self._send(name, sockets, self._garbage())
                    self._answer(name, sockets, self._garbage())
                else:
                    whose = traffic.borrowed_id if name == "borrowed_id" else None
                    for frames in self._forged(whose):
                        self._send(name, sockets, frames)

    def _garbage(self) -> list[bytes]:
        """Noise, too few frames, a Measurement cut in half, another topic, or an invalid identity."""
        chance = self._chance
        noise = chance.randbytes(chance.randint(0, LONGEST_BYTES))
        half = self._lie()[: chance.randint(0, 20)]
        return chance.choice(
            (
                [noise],
                [topic(HOSTILE_ID)],
                [topic(HOSTILE_ID), noise],
                [topic(HOSTILE_ID), half],
                [noise, self._lie()],
                [b"data_%s_" % noise[:8].hex().encode(), noise],
                [b"data_a_b", half, noise, b""],
                [b"\xff\xfe", b""],
            )
        )

    def _lie(self) -> bytes:
        """A dip that no other Box sees."""
        now_ms = time.time_ns() // 1_000_000
        return measurement_to_wire(
            Measurement(HOSTILE_ID, now_ms, {"rms": Metric(0.0, 0.0, 0.0)}, sequence=now_ms)
        )

    def _forged(self, whose: str | None) -> list[list[bytes]]:
        """Measurements under the ids of other Boxes, with numbers above their newest: a dip to nothing."""
        found = []
        for box_id, newest in list(self._newest.items()):
            if whose in (None, box_id) and newest.sequence is not None:
                forged = Measurement(
                    box_id,
                    newest.timestamp_ms,
                    {"rms": Metric(1.0, 1.0, 1.0)},
                    newest.start_ns,
                    newest.end_ns,
                    sequence=newest.sequence + FORGED_AHEAD,
                )
                found.append([topic(box_id), measurement_to_wire(forged)])
        return found

    def _send(self, name: str, sockets: PeerSockets, frames: list[bytes]) -> None:
        sockets.measurements.send_multipart(frames)  # a PUB never waits
        self.sent[name] += 1

    def _answer(self, name: str, sockets: PeerSockets, frames: list[bytes]) -> None:
        try:
            sockets.answers.send_multipart(frames, zmq.NOBLOCK)
            self.sent[name] += 1
        except zmq.Again:
            pass  # the broker is away


def _measured(measurement: Measurement) -> tuple[object, ...]:
    """The values that no copy may change; `backfilled` and `oldest_sequence` may change."""
    return (
        measurement.timestamp_ms,
        measurement.start_ns,
        measurement.end_ns,
        measurement.uncertainty_ns,
        measurement.source,
        dict(measurement.metrics),
    )
