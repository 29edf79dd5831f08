"""Open pages as View meets them: many streams of `/live`, many maps that ask again each second."""

import asyncio
import contextlib
import re
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

CONNECTED_AT_ONCE = 25
OPEN_LIMIT_S = 30.0
_TIME = re.compile(rb'"timestamp_ms": ?(\d+)')


@dataclass(slots=True)
class Watched:
    """What all pages together received during the measurement."""

    seconds: float = 0.0
    """Length of the measurement, which is longer on a busy machine."""
    streams: int = 0
    unopened: int = 0
    """Pages that were not connected when OPEN_LIMIT_S for all was over."""
    refused: int = 0
    ended: int = 0
    empty: int = 0
    """Pages that received nothing during the measurement."""
    wire_bytes: int = 0
    measurements: int = 0
    answers: int = 0
    """Answers to maps that poll; for a stream, the states and changes of its map."""
    late_ms: list[float] = field(default_factory=list)
    """Time from a Measurement to its arrival, for the first page; for maps, from request to answer."""
    cores: float = 0.0
    resident_bytes: int = 0
    grown_bytes_per_s: float = 0.0
    """Growth of the server's memory since before the first page was opened."""
    opened_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ViewCost:
    """Resources that a server has used so far."""

    at_s: float
    cpu_s: float
    resident_bytes: int


class _Stream(asyncio.Protocol):
    """One page that has `/live` open."""

    def __init__(self, watched: Watched, path: str, timed: bool) -> None:
        self._watched = watched
        self._path = path
        self._timed = timed
        self._begun = self._packed = False
        self.got_something = False
        """Whether an event came since the measurement began."""
        self._chunked = b""
        self._text = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        head = f"GET {self._path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept-Encoding: gzip\r\n\r\n"
        transport.write(head.encode())

    def data_received(self, data: bytes) -> None:
        watched = self._watched
        watched.wire_bytes += len(data)
        if not self._begun:
            self._begun = True
            if b" 200 " in data[:20]:
                watched.streams += 1
            else:
                watched.refused += 1
            head, _, data = data.partition(b"\r\n\r\n")
            self._packed = b"content-encoding: gzip" in head.lower()
            if b" 200 " not in head[:20]:
                return
        text = b"".join(self._chunks(data))
        if self._packed:
            text = self._text.decompress(text)
        self.got_something |= b"event: " in text
        watched.measurements += text.count(b"event: measurement")
        watched.answers += text.count(b"event: map\n")
        if self._timed:
            now_ms = time.time() * 1000
            watched.late_ms += [now_ms - int(each) for each in _TIME.findall(text)]

    def _chunks(self, data: bytes) -> Iterator[bytes]:
        """Bodies of the complete chunks received so far (RFC 9112, 7.1)."""
        self._chunked += data
        while True:
            length, ends, rest = self._chunked.partition(b"\r\n")
            if not ends or not length or len(rest) < int(length, 16) + 2:
                return
            yield rest[: int(length, 16)]
            self._chunked = rest[int(length, 16) + 2 :]

    def connection_lost(self, error: Exception | None) -> None:
        self._watched.ended += 1


class _Map(asyncio.Protocol):
    """One map, which requests the state again after each answer, `every_s` later.

    A connection that ended meanwhile is opened again, as a browser does.
    """

    def __init__(self, watched: Watched, port: int, path: str, every_s: float) -> None:
        self._watched = watched
        self._port = port
        self._path = path
        self._every_s = every_s
        self._etag = b""
        self._data = b""
        self._requested_s: float | None = None
        """Time of the request while its answer is due."""
        self._opening: asyncio.Task[object] | None = None
        self.got_something = False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        if self._opening is None:
            self._watched.streams += 1
        self.transport = transport
        self._data = b""
        self._request()

    def _request(self) -> None:
        if self.transport is None or self.transport.is_closing():
            loop = asyncio.get_running_loop()
            self._opening = loop.create_task(self._open_again())
            return
        held = b"If-None-Match: " + self._etag + b"\r\n" if self._etag else b""
        head = f"GET {self._path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept-Encoding: gzip\r\n".encode()
        self._requested_s = time.monotonic()
        self.transport.write(head + held + b"\r\n")

    def data_received(self, data: bytes) -> None:
        self._watched.wire_bytes += len(data)
        self._data += data
        head, ends, body = self._data.partition(b"\r\n\r\n")
        if not ends:
            return
        length = re.search(rb"content-length: (\d+)", head)
        if length is not None and len(body) < int(length[1]):
            return
        etag = re.search(rb"etag: ([^\r]+)", head)
        self._etag = etag[1] if etag else self._etag
        self._data = b""
        self.got_something = True
        self._watched.answers += 1
        if self._requested_s is not None:
            self._watched.late_ms.append((time.monotonic() - self._requested_s) * 1000)
        self._requested_s = None
        asyncio.get_running_loop().call_later(self._every_s, self._request)

    async def _open_again(self) -> None:
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self._port)

    def connection_lost(self, error: Exception | None) -> None:
        self._watched.ended += 1
        if self._requested_s is not None:
            asyncio.get_running_loop().call_later(self._every_s, self._request)


def watch(
    port: int,
    paths: Sequence[str],
    settle_s: float,
    seconds: float,
    figures: Callable[[], ViewCost],
    every_s: float = 0.0,
) -> Watched:
    """Opens a page for each path, and counts what comes in `seconds`.

    Args:
        settle_s: time that they are open before counting begins.
        figures: returns the server's figures.
        every_s: 0: streams; otherwise maps, with this time from an answer to the next request.
    """
    return asyncio.run(_watch(port, paths, settle_s, seconds, figures, every_s))


async def _watch(
    port: int,
    paths: Sequence[str],
    settle_s: float,
    seconds: float,
    figures: Callable[[], ViewCost],
    every_s: float,
) -> Watched:
    loop, watched, closed = asyncio.get_running_loop(), Watched(), figures()
    pages: list[tuple[asyncio.Transport, _Stream | _Map]] = []
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(OPEN_LIMIT_S):
            for number, path in enumerate(paths):

                def page(number: int = number, path: str = path) -> _Stream | _Map:
                    return (
                        _Map(watched, port, path, every_s) if every_s else _Stream(watched, path, number == 0)
                    )

                pages.append(await loop.create_connection(page, "127.0.0.1", port))
                if number % CONNECTED_AT_ONCE == 0:
                    await asyncio.sleep(0.1)
    await asyncio.sleep(settle_s)
    if not paths:
        closed = figures()
    watched.wire_bytes = watched.measurements = watched.answers = watched.ended = 0
    watched.late_ms.clear()
    for _, each in pages:
        each.got_something = False
    before = figures()
    await asyncio.sleep(seconds)
    after = figures()
    counted = replace(
        watched,
        seconds=after.at_s - before.at_s,
        unopened=len(paths) - len(pages),
        empty=sum(not each.got_something for _, each in pages),
        late_ms=sorted(watched.late_ms),
        cores=(after.cpu_s - before.cpu_s) / (after.at_s - before.at_s),
        resident_bytes=after.resident_bytes,
        grown_bytes_per_s=(after.resident_bytes - closed.resident_bytes) / (after.at_s - closed.at_s),
        opened_s=after.at_s - closed.at_s,
    )
    for _, each in pages:
        if each.transport is not None:
            each.transport.abort()
    await asyncio.sleep(0.2)
    return counted
