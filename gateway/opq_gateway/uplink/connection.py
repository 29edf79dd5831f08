"""UplinkConnection: the three CURVE sockets of one Box towards Makai, and their monitors.

    XPUB -> triggering broker (9880)      measurements
    SUB  <- acquisition broker (8194)     commands, topic = the unpadded id
    PUSH -> acquisition broker (8196)     answers

An original Box publishes with PUB. XPUB is the same on the wire, and shows whether there is a subscriber, so
that unreceived messages are counted. Everything belongs to the uplink's thread.

They go to the configured cloud, or to one that the Box was moved to: `opq-tools box move` sends the plug-in
command `opq-uplink` with the new place and the administrator's proof. The uplink tries it; once the new cloud
has admitted the Box, the place is stored in D/gateway/BOX/uplink.json, before anything is sent there. If it
is not admitted within TRIAL_S, the Box stays at its former cloud. A change of the configured uplink overrides
a stored place.
"""

import json
import random
import re
import socket as tcp
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import zmq

from opq_proto.errors import FrameError
from opq_proto.keys.key_files import KeyPair
from opq_proto.kit import log
from opq_proto.kit.whole_file import PRIVATE_MODE, write_whole_file
from opq_proto.kit.zmq_addresses import connect_endpoint
from opq_proto.kit.zmq_inbox import MONITORED, try_send, waiting_messages

ANSWER_QUEUE = 4
"""Most answers in libzmq's queue; an answer of 120 s has 9 MB."""
HEARTBEAT_S = 5.0
"""Period of ZeroMQ's heartbeat."""
IDLE_HEARTBEAT_S = 60.0
"""The same in the idle mode, where each byte costs money."""
RECONNECT_S = (0.1, 0.5)
"""Range of the first wait. The longest wait lies between half and all of `reconnect_most_s`; libzmq doubles
the wait from one to the other. Its own jitter is one first wait, however long the wait has become
(stream_connecter_base.cpp). With 0.1 s and 5 s for all, 300 sockets returned within the same quarter of a
second, 2 s and 20 s after the broker went away. With random waits for each socket 51 and 37 of 300 return in
one quarter of a second (mean of 50 runs of libzmq's rule; 51 and 23 with a longest wait of 8 s)."""
TRIAL_S = 60.0
"""Time for the new cloud to admit the Box."""
KEY_LETTERS = 40
ADMINISTRATOR = re.compile(r"([0-9a-f]{64})?")
MAX_TEXT = 2_000
COMMAND_QUEUE = 1000
"""Most commands in libzmq's queue."""
REFUSED = zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
WATCHED = zmq.EVENT_CONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | REFUSED
NOT_ADMITTED_S = 5.0
"""A broker that answered the beginning of a handshake, and not its end for this time, does not admit the
key. It does not refuse it either, because libzmq would never try again."""
ENDED_HANDSHAKES, ENDED_WITHIN_S = 3, 20.0
"""A broker that ends so many handshakes of one socket within this time does not admit the key, or has another
server key. One that stands still ends none; libzmq gives up after 30 s."""
WELCOME_BYTES = 64 + 2 + 168
"""Bytes that a broker has sent once it knows its own key to be the right one: greeting and WELCOME. One that
stands still, or has another key, has sent less. Source: RFC 23, RFC 26."""
BYTES_RECEIVED_AT = 128
"""Offset of tcpi_bytes_received (u64) in struct tcp_info, Linux 4.1 and later (include/uapi/linux/tcp.h)."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Addresses at which Makai listens."""

    trigger: str
    command: str
    response: str


@dataclass(frozen=True, slots=True)
class UplinkPlace:
    """A cloud: its addresses, and its server's public key (Z85)."""

    endpoints: Endpoints
    server_key: bytes
    administrator: str = field(default="", compare=False)
    """The public key (Ed25519, hex) of its administrator; empty: the one in the gateway's key folder."""


def place_to_text(place: UplinkPlace) -> str:
    """The message of `opq-uplink`, and a part of the kept file."""
    keys = {"server_key": place.server_key.decode("ascii"), "administrator": place.administrator}
    return json.dumps({**asdict(place.endpoints), **keys})


def place_from_text(text: str) -> UplinkPlace:
    """The place in a text of `place_to_text`. Raises FrameError."""
    try:
        facts = json.loads(text[:MAX_TEXT])
        endpoints = Endpoints(*(str(facts[name]) for name in ("trigger", "command", "response")))
        key = str(facts["server_key"]).encode("ascii")
        administrator = str(facts.get("administrator", ""))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FrameError(f"an uplink has trigger, command, response and server_key ({error!r})") from error
    for endpoint in (endpoints.trigger, endpoints.command, endpoints.response):
        if not endpoint.startswith("tcp://") or not endpoint.rpartition(":")[2].isdecimal():
            raise FrameError(f"{endpoint[:80]!r} is not an address; want e.g. tcp://makai.example:9880")
    if len(key) != KEY_LETTERS:
        raise FrameError(f"server_key has {len(key)} letters; want {KEY_LETTERS}")
    if not ADMINISTRATOR.fullmatch(administrator):
        raise FrameError(f"administrator is {administrator[:80]!r}; want 64 hexadecimal digits")
    return UplinkPlace(endpoints, key, administrator)


class UplinkPlaces:
    """The places of all Boxes, of one configuration."""

    def __init__(self, configured: UplinkPlace, folder_of: Callable[[str], Path] | None = None) -> None:
        """`folder_of`: folder of a Box's files; None keeps nothing."""
        self.configured = configured
        self._folder_of = folder_of

    def of(self, box_id: str) -> UplinkPlace:
        """The cloud of a Box's uplink at the start."""
        if self._folder_of is None:
            return self.configured
        path = self._path(box_id)
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            place, former = place_from_text(kept["place"]), place_from_text(kept["configured"])
        except FileNotFoundError:
            return self.configured
        except (OSError, ValueError, KeyError, TypeError, FrameError) as error:
            log.get(service="gateway").error("uplink.place_unreadable", box_id=box_id, reason=str(error))
            return self.configured
        if former != self.configured:
            log.get(service="gateway").warning("uplink.place_overridden", box_id=box_id, file=str(path))
            return self.configured
        return place

    def keep(self, box_id: str, place: UplinkPlace) -> None:
        """Keeps a place for the next starts. Raises OSError."""
        if self._folder_of is None:
            return
        if place == self.configured:
            self._path(box_id).unlink(missing_ok=True)
            return
        kept = json.dumps({"place": place_to_text(place), "configured": place_to_text(self.configured)})
        write_whole_file(self._path(box_id), [kept.encode()], PRIVATE_MODE)

    def _path(self, box_id: str) -> Path:
        assert self._folder_of is not None
        return self._folder_of(box_id) / "uplink.json"


@dataclass(frozen=True, slots=True)
class Timing:
    """How long the connection may be silent."""

    heartbeat_s: float = HEARTBEAT_S
    dead_s: float = 3 * HEARTBEAT_S
    """A peer that is silent for this long counts as gone (cable pulled, no FIN)."""

    reconnect_most_s: float = 4.0
    """Longest wait between tries to reach an absent broker. Once both brokers listened again, all of 30 Boxes
    were connected within 2.6 to 3.5 s (docs/security.md)."""

    @classmethod
    def of(cls, heartbeat_s: float | None, idle: bool) -> "Timing":
        """The timing for a heartbeat; three heartbeats without an answer end a connection. They are rare
        where traffic is paid by the byte."""
        every_s = heartbeat_s or (IDLE_HEARTBEAT_S if idle else HEARTBEAT_S)
        return cls(every_s, 3 * every_s)


class UplinkConnection:
    """Sockets of one Box; open until `close`.

    Attributes:
        stands: all three connections are up and the triggering broker listens.
        refused: the broker refused the handshake; libzmq does not try again, so the owner closes this
            connection and makes a new one.
    """

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        box_id: str,
        pair: KeyPair,
        place: UplinkPlace,
        queue_messages: int,
        timing: Timing,
    ) -> None:
        self.box_id = box_id
        self.refused = False
        self._subscribed = False
        self._up: dict[str, bool] = {"trigger": False, "command": False, "response": False}
        self._in_handshake: dict[str, tuple[int, float]] = {}
        """Socket -> descriptor of its connection, and since when (monotonic), until the handshake ends."""
        self._ended: dict[str, deque[float]] = {}
        """Socket -> when its last handshakes were ended by the other side (monotonic)."""
        self.sockets: dict[str, zmq.Socket[bytes]] = {}
        self.monitors: dict[str, zmq.Socket[bytes]] = {}
        endpoints = place.endpoints
        for name, kind, endpoint in (
            ("trigger", zmq.XPUB, endpoints.trigger),
            ("command", zmq.SUB, endpoints.command),
            ("response", zmq.PUSH, endpoints.response),
        ):
            socket = context.socket(kind)
            self.sockets[name] = socket
            socket.linger = 500 if kind == zmq.PUSH else 200
            pair.secure(socket, place.server_key)
            socket.setsockopt(zmq.RECONNECT_IVL, round(random.uniform(*RECONNECT_S) * 1000))
            most_s = timing.reconnect_most_s * random.uniform(0.5, 1.0)
            socket.setsockopt(zmq.RECONNECT_IVL_MAX, round(most_s * 1000))
            socket.setsockopt(zmq.HEARTBEAT_IVL, round(timing.heartbeat_s * 1000))
            socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, round(timing.dead_s * 1000))
            if kind == zmq.XPUB:
                socket.sndhwm = queue_messages
                socket.setsockopt(zmq.XPUB_VERBOSE, 1)  # the same subscription again, after a reconnect
                socket.setsockopt(zmq.XPUB_NODROP, 1)  # a full queue is an error here, not a silent drop
            elif kind == zmq.PUSH:
                socket.sndhwm = ANSWER_QUEUE
                # never queue answers for a broker that has forgotten the request
                socket.setsockopt(zmq.IMMEDIATE, 1)
            else:
                socket.rcvhwm = COMMAND_QUEUE
                socket.subscribe(box_id.encode())  # a prefix: the command handler compares the id itself
            self.monitors[name] = socket.get_monitor_socket(WATCHED)
            connect_endpoint(socket, endpoint)

    @property
    def stands(self) -> bool:
        return self._subscribed and all(self._up.values())

    def is_left_out(self, now_s: float) -> bool:
        """Whether the broker runs, and does not admit this Box's key, or has another one itself."""
        return any(
            len(times_s) == ENDED_HANDSHAKES and now_s - times_s[0] <= ENDED_WITHIN_S
            for times_s in self._ended.values()
        ) or any(
            now_s - since_s >= NOT_ADMITTED_S and _bytes_received(number) >= WELCOME_BYTES
            for number, since_s in self._in_handshake.values()
        )

    def files(self) -> list[int]:
        """Descriptors to wait for; one is readable when `service` may have data to read."""
        read = (self.sockets["trigger"], self.sockets["command"], *self.monitors.values())
        return [int(socket.getsockopt(zmq.FD)) for socket in read]

    def service(self, on_command: Callable[[bytes], None], on_malformed: Callable[[], None]) -> None:
        """Reads all commands, subscriptions and monitor events, because a descriptor signals them only
        once."""
        for name, monitor in self.monitors.items():
            for frames in waiting_messages(monitor):
                self._happened(name, *MONITORED.unpack(frames[0]))
        for frames in waiting_messages(self.sockets["trigger"]):
            self._subscribed = frames[0][:1] == b"\x01"
        for frames in waiting_messages(self.sockets["command"]):
            if len(frames) == 2:
                on_command(frames[1])
            else:
                on_malformed()

    def publish(self, frames: list[bytes]) -> str:
        """Sends a Measurement; returns "sent", "unheard" (no subscriber) or "delayed" (the peer is too
        slow)."""
        if not self._subscribed:
            return "unheard"
        return "sent" if try_send(self.sockets["trigger"], frames) else "delayed"

    def respond(self, frames: list[bytes]) -> bool:
        """Sends an answer; False if the broker is absent, or has not read the ones before."""
        return try_send(self.sockets["response"], frames)

    def close(self) -> None:
        """Closes all sockets; sent messages have half a second to leave."""
        for name, socket in self.sockets.items():
            socket.disable_monitor()
            self.monitors[name].close(linger=0)
            socket.close()

    def _happened(self, name: str, event: int, value: int) -> None:
        self._up[name] = event == zmq.EVENT_HANDSHAKE_SUCCEEDED
        if self._in_handshake.pop(name, None) is not None and event == zmq.EVENT_DISCONNECTED:
            self._ended.setdefault(name, deque(maxlen=ENDED_HANDSHAKES)).append(time.monotonic())
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._ended.pop(name, None)
        if event == zmq.EVENT_CONNECTED:
            self._in_handshake[name] = value, time.monotonic()
        if not self._up[name] and name == "trigger":
            self._subscribed = False
        if event & REFUSED:
            self.refused = True


def _bytes_received(number: int) -> int:
    """Bytes that came on the connection of this descriptor; 0 where it has ended."""
    try:
        # borrowed, not duplicated: a file may have the number by now, and to close a duplicate ends its locks
        borrowed = tcp.SocketType(tcp.AF_INET, tcp.SOCK_STREAM, 0, number)
        try:
            info = borrowed.getsockopt(tcp.IPPROTO_TCP, tcp.TCP_INFO, BYTES_RECEIVED_AT + 8)
        finally:
            borrowed.detach()
    except OSError:
        return 0
    found = info[BYTES_RECEIVED_AT:]
    return int.from_bytes(found, sys.byteorder) if len(found) == 8 else 0
