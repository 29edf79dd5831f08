"""Limits of connections to View: how slowly a request may come and an answer be read, and how many may wait.

uvicorn itself waits without limit for the rest of a request and for a reader that has stopped. Here a request
that is not whole in time, and an answer that is not read for a minute, end their connection. The number of
connections that wait for a request is limited: those that have waited longest are closed, so that a new
visitor is answered while others hold connections open. Every closed connection is counted.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from opq_cloud.service import ServiceCounters

BODY_BYTES_PER_S = 16_384
"""A body gets one more second for this many of its bytes."""
CHECKED_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits of the connections of one View, each and all together."""

    request_s: float = 20.0
    """For a request's head and body together; the body's bytes add time by BODY_BYTES_PER_S."""
    unread_s: float = 60.0
    """An answer that is not read for this long ends its connection."""
    most_waiting: int = 256
    """Connections without a first whole request; beyond this, the one that has waited longest is closed."""
    most_between: int = 512
    """Answered connections that wait for the next request; beyond this, the longest waiting one is closed."""
    most_beside_streams: int = 1000
    """Connections in addition to the live feeds; a further one is closed unread."""


class ViewConnections:
    """All connections of one View; every method is called on its event loop."""

    def __init__(self, counters: ServiceCounters, streams: int, limits: ConnectionLimits) -> None:
        """`streams`: live feeds that may be open at once."""
        self.counters = counters
        self._limits = limits
        self._most_open = streams + limits.most_beside_streams
        self._open: set[ViewProtocol] = set()
        self._waiting: dict[ViewProtocol, None] = {}
        self._between: dict[ViewProtocol, None] = {}
        self._next_check_s = time.monotonic()

    def protocol(self, *args: Any, **named: Any) -> "ViewProtocol":
        """Makes the protocol object of a connection, for uvicorn."""
        return ViewProtocol(self, *args, **named)

    def enter(self, connection: "ViewProtocol") -> None:
        """Registers a new connection, which waits for its first request."""
        if len(self._open) >= self._most_open:
            self._end(connection, "connections_refused")
            return
        self._open.add(connection)
        self.wait(connection)

    def wait(self, connection: "ViewProtocol") -> None:
        """Puts a connection without a whole request at the end of those that wait."""
        if connection not in self._open:
            return
        connection.since_s, connection.received = time.monotonic(), 0
        self.answered(connection)
        new = self._waiting, self._limits.most_waiting
        waiting, most = (self._between, self._limits.most_between) if connection.served else new
        waiting[connection] = None
        while len(waiting) > most:
            oldest = next(iter(waiting))
            del waiting[oldest]
            self._end(oldest, "connections_waiting_dropped")

    def answered(self, connection: "ViewProtocol") -> None:
        """Takes a connection whose request is whole out of those that wait."""
        self._waiting.pop(connection, None)
        self._between.pop(connection, None)

    def leave(self, connection: "ViewProtocol") -> None:
        self._open.discard(connection)
        self.answered(connection)

    def check(self) -> None:
        """Ends what takes too long; runs once in CHECKED_EVERY_S, however often it is called."""
        now_s = time.monotonic()
        if now_s < self._next_check_s:
            return
        self._next_check_s = now_s + CHECKED_EVERY_S
        for connection in (*self._waiting, *self._between):
            allowed_s = self._limits.request_s
            if connection.conn.their_state is h11.SEND_BODY:
                allowed_s += connection.received / BODY_BYTES_PER_S
            if now_s - connection.since_s > allowed_s:
                self._end(connection, "requests_late")
        for connection in list(self._open):
            if connection.unread_for_s(now_s) > self._limits.unread_s:
                self._end(connection, "answers_unread")

    def _end(self, connection: "ViewProtocol", counter: str) -> None:
        self.counters.add(counter)
        connection.transport.abort()


class ViewProtocol(H11Protocol):
    """One connection of uvicorn that reports to ViewConnections."""

    def __init__(self, connections: ViewConnections, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._view_connections = connections
        self.since_s = 0.0
        """When it began to wait for its request; monotonic."""
        self.received = 0
        """Bytes of that request."""
        self.served = False
        """Whether it was answered before."""
        self._unread_bytes = 0
        self._unread_since_s = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._view_connections.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._view_connections.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        super().data_received(data)

    def handle_events(self) -> None:
        super().handle_events()
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._view_connections.answered(self)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self.served = True
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            self._view_connections.wait(self)

    def send_400_response(self, msg: str) -> None:
        """Counts a malformed request head, or one larger than 16 kB."""
        self._view_connections.counters.add("requests_malformed")
        super().send_400_response(msg)

    def unread_for_s(self, now_s: float) -> float:
        """How long the peer has read nothing of the waiting bytes, as far as these calls show."""
        unread = self.transport.get_write_buffer_size()
        if not unread or unread < self._unread_bytes or not self._unread_since_s:
            self._unread_since_s = now_s
        self._unread_bytes = unread
        return now_s - self._unread_since_s
