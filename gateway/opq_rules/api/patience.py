"""Patience: how long REST waits for what a sender has begun to send, and for how many of them at a time.

uvicorn limits neither. A header that is not whole after 10 s, or a body that comes slower than 16 KiB/s after
30 s, is answered with 408 and cut. With too many connections the one that is waited for longest goes, those
without a header first, so that whoever asks properly has an answer also then.
"""

import asyncio
from dataclasses import dataclass
from typing import Any, Literal

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_S = 10.0
BODY_S = 30.0
BODY_BYTES_PER_S = 16 << 10
MOST_CONNECTIONS = 400
"""Below the 1024 files that a process may have open unless it is told otherwise."""
AT_ONCE = 100
"""New ones that are taken before any of them is looked at."""
_CUT = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


@dataclass(slots=True)
class Edge:
    """What REST counts at its edge. One thread writes."""

    refused: int = 0
    """Requests without a token, of foreign pages, too long."""
    cut: int = 0
    """Connections whose sender was too slow."""
    pushed_out: int = 0
    """Connections that were one too many."""


def patient(edge: Edge) -> type[asyncio.Protocol]:
    """The protocol class that uvicorn is to use."""

    class Counting(Patient):
        counts = edge

    return Counting


class Patient(H11Protocol):
    """uvicorn's own, with a clock beside it."""

    counts: Edge
    _waits: Literal["header", "body"] | None = None
    _timer: asyncio.TimerHandle | None = None
    _since_s = 0.0
    _bytes = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            self.counts.pushed_out += 1
            others: list[Any] = [each for each in self.connections if each is not self]
            waiting = [each for each in others if isinstance(each, Patient) and each._waits is not None]
            longest = min(waiting, key=lambda each: (each._waits == "body", each._since_s), default=self)
            longest._wait(None)  # it is among the connections until the loop's next turn
            longest.transport.abort()
            if longest is self:
                return
        self._wait("header")

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._look(len(data))

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._look(0)

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait(None)
        super().connection_lost(exc)

    def _look(self, more: int) -> None:
        state = self.conn.their_state
        if state is h11.SEND_BODY:
            self._wait("body", more)
        elif state is h11.IDLE and self.conn.trailing_data[0]:
            self._wait("header")
        else:
            self._wait(None)  # the request is whole; or, between two, uvicorn's own limit holds

    def _wait(self, what: Literal["header", "body"] | None, more: int = 0) -> None:
        if what == self._waits == "header":
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now_s = self.loop.time()
        if what != self._waits:
            self._since_s, self._bytes = now_s, 0
        self._waits = what
        self._bytes += more
        if what == "header":
            self._timer = self.loop.call_later(HEADER_S, self._cut)
        elif what == "body":
            until_s = self._since_s + BODY_S + self._bytes / BODY_BYTES_PER_S
            self._timer = self.loop.call_at(until_s, self._cut)

    def _cut(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        self.counts.cut += 1
        if self.cycle is None or self._waits == "header" or not self.cycle.response_started:
            self.transport.write(_CUT)
        self.transport.close()
