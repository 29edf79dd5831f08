"""FleetConnections: three CURVE sockets for each Box of a process, under its own key; one poller for all.

    XPUB -> triggering broker (9880)   SUB <- acquisition broker (8194)   PUSH -> acquisition broker (8196)

Like the gateway's UplinkConnection, without what would cost too much ten thousand times: it has no monitors
(six sockets instead of three) and no heartbeats of its own. Received messages are copied out of libzmq's
buffers, of which each waiting command would hold 8 kB. A Box counts as connected while the triggering broker
subscribes; libzmq removes the subscription when the connection is lost, and connects again by itself. Sockets
that have not been connected for REMAKE_S are made again, because libzmq does not retry a refused key.
"""

import random
import resource
import select
from collections.abc import Callable, Sequence

import numpy as np
import zmq
from zmq.backend import Socket as PlainSocket

from opq_gateway.uplink.connection import Endpoints, Timing
from opq_proto.errors import ConfigError
from opq_proto.keys.key_files import KeyPair
from opq_proto.kit.zmq_inbox import copy_received, try_send, waiting_messages

FILES_PER_BOX = 6
"""For each of the three sockets: a descriptor to wait on, and a connection."""
SPARE_FILES = 200
SOCKETS = 3
SEND_QUEUE = 1000
"""Measurements in libzmq's own queue."""
COMMAND_QUEUE = 1000
"""Commands in libzmq's own queue."""
ANSWER_QUEUE = 4
"""Answers in libzmq's own queue; an answer of 120 s is 9 MB."""
RECONNECT_MS = (100, 500)
MAX_RECONNECT_MS = round(1000 * Timing().reconnect_most_s)
HANDSHAKES_AT_ONCE = 48
"""Limit of handshakes under way at once in a process: a broker handles some hundred a second."""
OPENING_S = 3.0
REMAKE_S = 90.0
SWEEP_S = 20.0
"""Every socket is served at least this often, in case its descriptor showed nothing."""
_FIRST = zmq.NOBLOCK | zmq.SNDMORE
_send = PlainSocket.send  # the Python layer would double the cost


def allow_files(boxes: int, files_per_box: int = FILES_PER_BOX) -> None:
    """Raises the limit of open files to what this many Boxes in one process need.

    Raises:
        ConfigError: the system does not allow it.
    """
    wanted = SPARE_FILES + files_per_box * boxes
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        fit = max(1, (hard - SPARE_FILES) // files_per_box)
        raise ConfigError(
            f"{boxes} Boxes in one process need {wanted} open files, the limit is {hard} ({fit} Boxes); "
            "use more --processes, or raise `ulimit -Hn`"
        )
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class BoxSockets:
    """The three sockets of one Box."""

    __slots__ = ("command", "measurements", "responses")

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        box_id: str,
        pair: KeyPair,
        server_key: bytes,
        endpoints: Endpoints,
        reconnect_most_ms: int = MAX_RECONNECT_MS,
    ) -> None:
        made = []
        for kind, endpoint in (
            (zmq.XPUB, endpoints.trigger),
            (zmq.SUB, endpoints.command),
            (zmq.PUSH, endpoints.response),
        ):
            socket = context.socket(kind)
            socket.linger = 300
            pair.secure(socket, server_key)
            socket.setsockopt(zmq.RECONNECT_IVL, random.randint(*RECONNECT_MS))
            longest_ms = random.randint(reconnect_most_ms // 2, reconnect_most_ms)
            socket.setsockopt(zmq.RECONNECT_IVL_MAX, longest_ms)
            if kind == zmq.XPUB:
                socket.sndhwm = SEND_QUEUE
                socket.setsockopt(zmq.XPUB_VERBOSE, 1)  # after a reconnect the same subscription again
                socket.setsockopt(zmq.XPUB_NODROP, 1)  # a full queue is an error here, not a silent drop
                socket.setsockopt(zmq.IMMEDIATE, 1)  # else the subscription outlives its connection
            elif kind == zmq.SUB:
                socket.rcvhwm = COMMAND_QUEUE
                socket.subscribe(box_id.encode())  # a prefix: receivers compare the whole id
            else:
                socket.sndhwm = ANSWER_QUEUE
                socket.setsockopt(zmq.IMMEDIATE, 1)  # no answers for a broker that forgot the question
            socket.connect(endpoint)
            made.append(socket)
        self.measurements, self.command, self.responses = made

    def close(self) -> None:
        """Closes the sockets; sent messages have 0.3 s to leave."""
        for socket in (self.measurements, self.command, self.responses):
            socket.close()


class FleetConnections:
    """The sockets of all Boxes, by index; for one thread.

    Attributes:
        stands: (n,) True while the triggering broker subscribes to a Box.
        connected, lost, remade: how often such a subscription began and ended, and sockets were made again.
        malformed: commands that do not have two frames.
        foreign: commands for another Box, received because a subscription is a prefix.
    """

    def __init__(
        self,
        box_ids: Sequence[str],
        pairs: Sequence[KeyPair],
        server_key: bytes,
        endpoints: Endpoints,
        on_command: Callable[[int, bytes], None],
        reconnect_most_ms: int = MAX_RECONNECT_MS,
    ) -> None:
        """`on_command` gets the commands whose topic is the Box's own id.

        Raises:
            ConfigError: one process cannot have so many sockets or files.
        """
        allow_files(len(box_ids))
        self.stands = np.zeros(len(box_ids), np.bool_)
        self.connected = self.lost = self.remade = self.malformed = self.foreign = 0
        self._box_ids, self._pairs, self._server_key, self._endpoints = box_ids, pairs, server_key, endpoints
        self._reconnect_most_ms = reconnect_most_ms
        self._names = [box_id.encode() for box_id in box_ids]
        self._on_command = on_command
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        wanted, most = (
            SOCKETS * (len(box_ids) + min(HANDSHAKES_AT_ONCE, len(box_ids))) + 16,
            int(self._context.get(zmq.SOCKET_LIMIT)),
        )
        if wanted > most:
            raise ConfigError(f"{len(box_ids)} Boxes in one process need {wanted} sockets, libzmq has {most}")
        self._context.set(zmq.MAX_SOCKETS, wanted)
        copy_received(self._context)
        self._poll = select.epoll()
        self._sockets: list[BoxSockets | None] = [None] * len(box_ids)
        self._boxes: dict[int, int] = {}  # descriptor -> Box
        self._wanted = np.ones(len(box_ids), np.bool_)
        self._opened_s = np.full(len(box_ids), -np.inf)
        self._waits_s = np.full(len(box_ids), np.inf)
        """Since when a Box with sockets waits for its broker: since their opening, or the last connection."""
        self._swept_s = 0.0
        self._all_open = False

    @property
    def opened(self) -> int:
        """Boxes that have sockets."""
        return sum(each is not None for each in self._sockets)

    def cut(self, box: int) -> None:
        """Closes the sockets of a Box whose network is lost."""
        self._wanted[box] = False
        self._close(box)

    def join(self, box: int) -> None:
        """Lets the Box connect again."""
        self._wanted[box] = True
        self._all_open = False

    def open_more(self, now_s: float) -> None:
        """Opens sockets of Boxes that have none, at most HANDSHAKES_AT_ONCE at a time (`now_s` monotonic)."""
        if self._all_open:
            return
        down = self._wanted & ~self.stands
        opening = int((down & (now_s - self._opened_s < OPENING_S)).sum())
        left = [box for box in np.flatnonzero(down).tolist() if self._sockets[box] is None]
        for box in left[: max(0, HANDSHAKES_AT_ONCE - opening)]:
            self._open(box, now_s)
        self._all_open = len(left) <= HANDSHAKES_AT_ONCE - opening

    def tick(self, now_s: float) -> None:
        """Makes late sockets again, and serves every socket now and then (`now_s` monotonic)."""
        self._waits_s[self.stands] = now_s
        late = ~self.stands & (now_s - self._waits_s > REMAKE_S)
        for box in np.flatnonzero(late)[:HANDSHAKES_AT_ONCE].tolist():
            self._close(box)
            self.remade += 1
        self._all_open = self._all_open and not late.any()
        if now_s - self._swept_s >= SWEEP_S:
            self._swept_s = now_s
            for box in range(len(self._sockets)):
                self._serve(box)

    def wait(self, timeout_s: float) -> bool:
        """Handles arriving commands and subscriptions; False if none arrived within `timeout_s`."""
        found = self._poll.poll(timeout_s)
        for file, _ in found:
            self._serve(self._boxes[file])
        return bool(found)

    def publish(self, box: int, topic: bytes, body: bytes) -> bool:
        """Sends a Measurement; False if there is no subscriber, or the queue is full."""
        sockets = self._sockets[box]
        if sockets is None or not self.stands[box]:
            return False
        try:
            _send(sockets.measurements, topic, _FIRST)
            _send(sockets.measurements, body, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def respond(self, box: int, frames: list[bytes]) -> bool:
        """Sends an answer; False if there is no broker, or the queue is full."""
        sockets = self._sockets[box]
        return sockets is not None and try_send(sockets.responses, frames)

    def close(self) -> None:
        """Closes all; sent messages have 0.3 s to leave."""
        for box in range(len(self._sockets)):
            self._close(box)
        self._poll.close()
        self._context.term()

    def _open(self, box: int, now_s: float) -> None:
        sockets = BoxSockets(
            self._context,
            self._box_ids[box],
            self._pairs[box],
            self._server_key,
            self._endpoints,
            self._reconnect_most_ms,
        )
        self._sockets[box] = sockets
        self._opened_s[box] = self._waits_s[box] = now_s
        for file in _files(sockets):
            self._boxes[file] = box
            self._poll.register(file, select.EPOLLIN)

    def _close(self, box: int) -> None:
        sockets = self._sockets[box]
        if sockets is None:
            return
        for file in _files(sockets):
            self._poll.unregister(file)
            del self._boxes[file]
        sockets.close()
        self._sockets[box] = None
        self._waits_s[box] = np.inf
        self._set_stands(box, False)

    def _serve(self, box: int) -> None:
        """Handles all waiting messages, because a descriptor signals them only once."""
        sockets = self._sockets[box]
        if sockets is None:
            return
        for frames in waiting_messages(sockets.measurements):
            self._set_stands(box, frames[0][:1] == b"\x01")
        for frames in waiting_messages(sockets.command):
            if len(frames) == 2 and frames[0].rstrip(b"\0") == self._names[box]:  # a broker may end an id
                self._on_command(box, frames[1])
            elif len(frames) == 2:
                self.foreign += 1
            else:
                self.malformed += 1

    def _set_stands(self, box: int, stands: bool) -> None:
        if bool(self.stands[box]) != stands:
            self.stands[box] = stands
            self.connected += stands
            self.lost += not stands


def _files(sockets: BoxSockets) -> tuple[int, int]:
    return int(sockets.measurements.getsockopt(zmq.FD)), int(sockets.command.getsockopt(zmq.FD))
