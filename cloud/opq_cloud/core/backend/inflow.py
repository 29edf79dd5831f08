"""Bytes that connections have sent and that the service has not received: bounded per connection, and in all.

libzmq keeps the frames of a message until its last one has come. Its own limits count messages (HWM) or bound
one frame (MAXMSGSIZE), so a message that never ends would fill the memory, and no reader would see it. The
kernel counts the bytes that came (TCP_INFO), and readers those of the messages that they received: the
difference waits in libzmq. A connection with more of it than the limit of its socket is ended, and so is
one that sent a larger message, or one of more frames.

One thread of the process watches all sockets, while there is a connection of which the kernel counts bytes.
It reads the size of the process's own memory, and examines connections when that has grown.
"""

import math
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import zmq

from opq_cloud.core.backend.tcp_connections import (
    BYTES_RECEIVED_AT,
    bytes_at,
    bytes_sent,
    shut_down,
    tcp_info,
)
from opq_cloud.core.service import ServiceCounters
from opq_proto.kit import log
from opq_proto.kit.own_thread import OwnThread
from opq_proto.kit.rate_limit import RateLimitedLog

FRAME_BYTES = 35
"""Of a short frame on the wire besides its contents: header, command name, nonce, MAC and flags (RFC 26)."""
BEFORE_READY_BYTES = 64 + 170
"""Greeting and WELCOME; READY, or ERROR, comes after them (RFC 26)."""
HANDSHAKE_BYTES = 16 * 1024
"""Limit of a connection without a finished handshake; a client sends some 600 bytes."""
LARGE_SHARE = 2
"""A connection with more than this part of its limit is large."""
LARGE_ONES = 16
"""Limit of all large connections of a socket together, in limits of one."""
ANSWERED = 1.5
"""Bytes of a heartbeat for each byte of its answer: PING has 9 (NULL) or 42 (CURVE), PONG 7 or 40."""
WATCH_S = 0.1
GROWTH_BYTES = 8 * 2**20
"""Connections are examined when the memory has grown by this much: 3 us each."""
EXAMINE_S = 10.0
"""The longest time between two examinations, for memory that was in use before."""
_SOURCE = int(zmq.SRCFD)
"""As int: an Enum would cost three times as much."""
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class MessageLimits:
    """What one connection may send."""

    waiting_bytes: int
    """Of a message, and of all that was sent and not received."""
    frames: int
    """Of a message."""


@dataclass(slots=True)
class Inflowing:
    """One connection."""

    address: object
    delivered: int = 0
    """Bytes of its messages; written by the socket's thread alone."""
    explained: int = 0
    """Bytes that were neither delivered nor wait: heartbeats and handshake. The rest by the watch alone."""
    delivered_before: int = 0
    sent_before: int = 0


class Inflow:
    """Connections of one socket. Its thread calls all but `examine`, which is the watch's."""

    def __init__(
        self,
        name: str,
        counters: ServiceCounters,
        limits: MessageLimits,
        sender: Callable[[int], str | None],
        curve: bool,
    ) -> None:
        """`name`: key of the configuration. `sender`: whose connection it is, if that is known; from any
        thread."""
        self.curve = curve
        """Whether connections begin with a handshake of CURVE."""
        self._name, self._counters = name, counters
        self._limits, self._sender = limits, sender
        self._connections: dict[int, Inflowing] = {}
        self._log = RateLimitedLog(log.get())
        WATCH.add(self)

    def close(self) -> None:
        WATCH.remove(self)

    def open(self, number: int, address: object) -> None:
        """Notes a new connection."""
        self._connections[number] = Inflowing(address)
        WATCH.opened.set()

    def remove(self, number: int) -> None:
        """Notes that it has ended."""
        self._connections.pop(number, None)

    def deliver(self, first: zmq.Frame, size_bytes: int, frames: int) -> None:
        """Notes a message that was received: its first frame, the bytes of all, and their number."""
        try:
            number = int(first.get(_SOURCE))
        except (zmq.ZMQError, ValueError, TypeError):
            return  # its connection is gone
        connection = self._connections.get(number)
        if connection is not None:
            size_bytes += frames * FRAME_BYTES
            connection.delivered += size_bytes
            if size_bytes > self._limits.waiting_bytes or frames > self._limits.frames:
                self._end(number, connection, size_bytes)

    def examine(self) -> bool:
        """Ends connections beyond the limits; returns whether the kernel counts the bytes of any."""
        counted = False
        large: list[tuple[int, int, Inflowing]] = []
        most = self._limits.waiting_bytes
        for number, connection in list(self._connections.items()):
            delivered = connection.delivered  # before the kernel's count, which only grows
            info = tcp_info(number)
            received, sent = bytes_at(info, BYTES_RECEIVED_AT), bytes_sent(info)
            if received is None or sent is None:
                continue
            counted = True
            waiting = received - delivered - connection.explained
            limit = HANDSHAKE_BYTES if self.curve and sent <= BEFORE_READY_BYTES else most
            if waiting > limit:
                self._end(number, connection, waiting)
                continue
            if waiting > most // LARGE_SHARE:
                large.append((waiting, number, connection))
            if delivered != connection.delivered_before or waiting < 0:
                connection.explained += waiting  # a message cannot end and still wait
            else:
                answered = max(0, sent - connection.sent_before)
                connection.explained += min(waiting, round(ANSWERED * answered))
            connection.delivered_before, connection.sent_before = delivered, sent
        left = sum(waiting for waiting, *_ in large)
        for waiting, number, connection in sorted(large, key=lambda each: each[0], reverse=True):
            if left <= LARGE_ONES * most:
                break
            left -= waiting
            self._end(number, connection, waiting)
        return counted

    def _end(self, number: int, connection: Inflowing, waiting_bytes: int) -> None:
        if self._connections.pop(number, None) is None or not shut_down(number, connection.address):
            return
        sender = self._sender(number)
        self._counters.add("message_too_large", label=sender or "")
        facts = {"address": self._name, "peer": str(connection.address), "sender": sender}
        self._log.warning("message.too_large", key=(self._name, sender), **facts, waiting_bytes=waiting_bytes)


class InflowWatch(OwnThread):
    """The process's watch over all of its `Inflow`s; runs while there are any."""

    def __init__(self) -> None:
        super().__init__("inflow")
        self._lock = threading.Lock()
        self._inflows: list[Inflow] = []
        self.opened = threading.Event()
        """There is a new connection, or an inflow less."""

    def add(self, inflow: Inflow) -> None:
        with self._lock:
            self._inflows = [*self._inflows, inflow]
            if self._thread is None:
                self.start()

    def remove(self, inflow: Inflow) -> None:
        with self._lock:
            self._inflows = [each for each in self._inflows if each is not inflow]
        self.opened.set()

    def _run(self) -> None:
        # kept open: there may be no descriptor left when the size is needed
        with Path("/proc/self/statm").open("rb", buffering=0) as own:
            least_bytes, examine_s = math.inf, 0.0
            while not self._stop.is_set():
                time.sleep(WATCH_S)  # waiting for `_stop` costs 20 us more each time: a third
                now_bytes, now_s = _private_bytes(os.pread(own.fileno(), 200, 0)), time.monotonic()
                least_bytes = min(least_bytes, now_bytes)
                if now_bytes < least_bytes + GROWTH_BYTES and now_s < examine_s:
                    continue
                least_bytes, examine_s = now_bytes, now_s + EXAMINE_S
                self.opened.clear()
                counted = [inflow.examine() for inflow in self._inflows]
                with self._lock:
                    if not self._inflows:
                        self._thread = None
                        return
                if not any(counted):
                    self.opened.wait(EXAMINE_S)
                    examine_s = 0.0


def _private_bytes(statm: bytes) -> int:
    """Returns the resident memory without that of files and shared memory (proc_pid_statm(5))."""
    _, resident, shared, *_ = statm.split()
    return (int(resident) - int(shared)) * _PAGE_BYTES


WATCH = InflowWatch()
