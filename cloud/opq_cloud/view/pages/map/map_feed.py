"""The state of open maps: the map's part of `/live`, and the answers of `/map/state`.

Maps of one window that belong to the same audience (`GridReader.audience`) share one feed: its text is made
once a second, and each of them gets the same bytes, compressed once (`live/compression.py`). `/map/state`
answers with the same state. All of this runs on the event loop, except making the state, which reads the
store.
"""

import asyncio
import gzip
import json
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs

import anyio.to_thread
from fastapi import HTTPException, Request, Response

from opq_cloud.core.service import ServiceCounters
from opq_cloud.view.live.compression import accepts_gzip
from opq_cloud.view.live.feed_messages import LiveMessage
from opq_cloud.view.pages.map.grid_reader import Audience, GridReader
from opq_cloud.view.pages.map.map_drawing import live_state
from opq_cloud.view.pages.map.map_frame import MapFrame, parse_frame
from opq_cloud.view.web.shares import ClientGoneError, in_thread
from opq_cloud.view.web.single_maker import SingleMaker
from opq_cloud.view.web.visitors import Visitor
from opq_proto.errors import StoreError

EVERY_S = 1.0
MAPS_OF_A_PAGE = 4
WINDOW_CHARACTERS = 64
MAX_FEEDS = 64
"""The most different maps at once; a page with a further one requests its state each second."""
COMPRESSION_LEVEL = 5
"""The level of compression of a requested state."""
IDLE_S = 5.0
"""A feed that was unused for this long is removed when another begins."""
Windows = Mapping[str, MapFrame | None]
"""Address of a window as it was requested -> the window."""


@dataclass(slots=True)
class StateText:
    """A whole state as JSON; compressed once, when the first client requests it."""

    body: bytes
    etag: str = field(init=False)
    _packed: bytes = b""

    def __post_init__(self) -> None:
        self.etag = f'W/"{zlib.crc32(self.body):08x}-{len(self.body)}"'

    def answer(self, request: Request) -> Response:
        """The answer to a client; an unchanged state is not sent again."""
        headers = {"ETag": self.etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
        if self.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        body = self.body
        if accepts_gzip(request.headers.get("accept-encoding", "")):
            headers["Content-Encoding"] = "gzip"
            body = self._packed = self._packed or gzip.compress(body, COMPRESSION_LEVEL)
        return Response(body, media_type="application/json", headers=headers)


@dataclass(frozen=True, slots=True)
class MapPosition:
    """How much of which feed a map has received."""

    feed: "MapFeed"
    number: int


class MapFeed:
    """One window of one audience: its newest state."""

    def __init__(self, window: str, next_s: float) -> None:
        """`window`: its address, which its messages repeat."""
        self._window = window
        self.next_s = next_s
        self.used_s = next_s
        self.making: asyncio.Task[None] | None = None
        self.number = 0
        """The number of the newest second."""
        self.text: StateText | None = None
        """The newest state."""
        self.first: tuple[StateText, float] | None = None
        """The first one, and when it was made, from its thread on until it is `text`."""
        self.failure: StoreError | None = None
        """Why there is no state."""
        self._message = b""

    def add_second(self, text: StateText) -> None:
        """Adds the next second."""
        self.number += 1
        self.text, self.first, self.failure, self._message = text, None, None, b""

    def lose(self, failure: StoreError) -> None:
        """Drops the state: maps are sent nothing until the next one."""
        self.text, self.first, self.failure, self._message = None, None, failure, b""

    def since(self, position: int | None) -> tuple[bytes, int]:
        """The text for a map that has received `position` (None: a new map), and how many seconds it lost."""
        if self.text is None or position == self.number:
            return b"", 0
        if not self._message:
            window, state = json.dumps(self._window), self.text.body.decode()
            self._message = LiveMessage("map", f'{{"map":{window},"state":{state}}}').wire
        return self._message, 0 if position is None else self.number - position - 1


class MapFeeds:
    """All live maps; every method is called on the event loop."""

    def __init__(
        self, reader: GridReader, counters: ServiceCounters, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._reader = reader
        self._counters = counters
        self._monotonic_s = monotonic_s
        self._feeds: dict[tuple[Audience, str], MapFeed] = {}
        self._first = SingleMaker()

    @staticmethod
    def read_windows(addresses: Iterable[str]) -> Windows:
        """The maps that a page shows: `map=` for the whole one, `map=at=21.3,-157.8&km=120` for a part.

        Args:
            addresses: each the query of a map's own address.
        Raises:
            ValueError: in words for people, where a value is not allowed.
        """
        found: dict[str, MapFrame | None] = {}
        for address in addresses:
            if len(address) > WINDOW_CHARACTERS:
                raise ValueError(f"map has {len(address)} characters; want at most {WINDOW_CHARACTERS}")
            parts = parse_qs(address, max_num_fields=8)
            unknown = sorted(set(parts) - {"at", "km"})
            if unknown or (address and not parts):
                raise ValueError(
                    f"map={address[:30]} is not a window; write at and km, or nothing for the whole map"
                )
            found[address] = parse_frame(parts.get("at", [""])[-1], parts.get("km", [""])[-1])
        if len(found) > MAPS_OF_A_PAGE:
            raise ValueError(f"map is given {len(found)} times; want at most {MAPS_OF_A_PAGE}")
        return found

    async def read_after(
        self, visitor: Visitor, window: str, frame: MapFrame | None, position: MapPosition | None
    ) -> tuple[bytes, MapPosition | None, float]:
        """What to send to a visitor's map now, its new position, and the seconds until there is more.

        Nothing is sent while the store cannot be read, or where MAX_FEEDS others exist: the map then requests
        its state.
        """
        feed = self._feed((self._reader.audience_of(visitor), window))
        if feed is None:
            self._counters.add("maps_refused")
            return b"", None, EVERY_S
        try:
            await self._advance(feed, visitor, frame)
        except (ClientGoneError, HTTPException):  # too many pages of this visitor wait
            return b"", position, EVERY_S
        text, lost = feed.since(position.number if position is not None and position.feed is feed else None)
        if lost:
            self._counters.add("live_dropped", lost, label="map")
        now_taken = None if feed.text is None else MapPosition(feed, feed.number)
        return text, now_taken, max(0.0, feed.next_s - self._monotonic_s())

    async def state_text(self, visitor: Visitor, frame: MapFrame | None) -> StateText:
        """The present state, for a visitor's map that requests it. Raises StoreError, and as `in_thread`.

        Where MAX_FEEDS others exist, it is made for this one request.
        """
        feed = self._feed((self._reader.audience_of(visitor), "" if frame is None else frame.query))
        if feed is None:
            return await in_thread(self._state, visitor, frame)
        await self._advance(feed, visitor, frame, late_s=EVERY_S)
        if feed.text is None:
            raise feed.failure or StoreError("the state of the map could not be made")
        return feed.text

    async def _advance(
        self, feed: MapFeed, visitor: Visitor, frame: MapFrame | None, late_s: float = 0.0
    ) -> None:
        """Makes the next second where it is due.

        While another caller makes it, a state that is late by less than `late_s` is enough.
        """
        feed.used_s = now_s = self._monotonic_s()
        if now_s < feed.next_s:
            return
        making = feed.making
        if feed.text is None:
            await self._make_first(feed, visitor, frame)
        elif making is None:
            feed.making = asyncio.ensure_future(self._make_second(feed, visitor, frame))
            await asyncio.shield(feed.making)
        elif now_s - feed.next_s >= late_s:
            await asyncio.shield(making)

    def _feed(self, key: tuple[Audience, str]) -> MapFeed | None:
        found = self._feeds.get(key)
        if found is None:
            now_s = self._monotonic_s()
            for idle in [key for key, each in self._feeds.items() if now_s - each.used_s >= IDLE_S]:
                del self._feeds[idle]
            if len(self._feeds) >= MAX_FEEDS:
                return None
            found = self._feeds[key] = MapFeed(key[1], now_s)
        return found

    async def _make_first(self, feed: MapFeed, visitor: Visitor, frame: MapFrame | None) -> None:
        """Makes the first state in the turn and by the CPU time of this visitor.

        Other visitors do not wait for that turn. Raises as `in_thread` does.
        """
        try:
            text = await in_thread(self._first_state, feed, visitor, frame)
        except StoreError as error:
            feed.lose(error)
        else:
            is_due = feed.text is None or self._monotonic_s() >= feed.next_s
            if text is feed.text or not is_due:  # another visitor's came before
                return
            feed.add_second(text)
        self._set_next(feed)

    def _first_state(self, feed: MapFeed, visitor: Visitor, frame: MapFrame | None) -> StateText:
        """The first state; a thread that needs it too waits for the one that makes it."""
        with self._first.made_here(feed):
            text, first, now_s = feed.text, feed.first, self._monotonic_s()
            if text is not None and now_s < feed.next_s:
                return text
            if first is None or now_s - first[1] >= EVERY_S:  # its request may have been cancelled long ago
                first = feed.first = self._state(visitor, frame), self._monotonic_s()
            return first[0]

    async def _make_second(self, feed: MapFeed, visitor: Visitor, frame: MapFrame | None) -> None:
        """Makes a further state, whose CPU time is not counted."""
        try:
            feed.add_second(await anyio.to_thread.run_sync(self._state, visitor, frame))
        except StoreError as error:
            feed.lose(error)
        finally:
            self._set_next(feed)
            feed.making = None

    def _set_next(self, feed: MapFeed) -> None:
        late_s = self._monotonic_s() - feed.next_s
        if late_s >= 0.0:
            feed.next_s += EVERY_S * (1 + int(late_s / EVERY_S))

    def _state(self, visitor: Visitor, frame: MapFrame | None) -> StateText:
        with self._reader.seen_by(visitor):
            state = live_state(self._reader, frame)
        return StateText(json.dumps(state, separators=(",", ":")).encode())
