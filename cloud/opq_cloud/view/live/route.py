"""`/live`, as server-sent events (WHATWG HTML, 9.2).

The events are `measurement`, `incident` (with an id for `Last-Event-ID`) and `incident_gone`; our own pages
(`?values=`) also get `reporting` and, with `&map=`, `map` (`pages/map/map_feed.py`). `ended` is a page's last
event, when its visitor has changed, sees less, or is not the one of `&feed=`. The page then loads again or
leads to the sign-in. `full` is the last event of a stream whose place went to another visitor
(`feed_places`); a browser connects again after AGAIN_S.

A comment every 15 s keeps proxies and clients from giving up. Visitors get what they may see; that is checked
again every other second.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import anyio.to_thread
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import PlainTextResponse, Response, StreamingResponse

from opq_cloud.view.live.compression import GZIP_HEAD, SharedFrames, accepts_gzip
from opq_cloud.view.live.feed_messages import LiveMessage
from opq_cloud.view.live.feed_streams import INCIDENTS_WAITING, FeedHolder, Subscriber, loop_wake
from opq_cloud.view.live.filter import LiveFilter, read_live_filter, read_page_boxes
from opq_cloud.view.live.hub import LiveHub, number_after
from opq_cloud.view.live.page_feed import Boxes
from opq_cloud.view.live.seen_live import SeenFeed
from opq_cloud.view.web.answer_cache import AnswerCache
from opq_cloud.view.web.gate import ENDED, current_visitor, request_facts
from opq_cloud.view.web.shares import charge_stream, pause_refusal, share_key
from opq_cloud.view.web.visitors import PROXY_HEADERS, WHO, RequestFacts, Visitor, Visitors
from opq_proto.errors import StoreError

HEARTBEAT_S = 15.0
CHECKED_EVERY_S = 2.0
"""How often a live feed checks whether its visitor may still see what it shows."""
VISITORS_KEPT = 1024
RETRY_MS = 1000
"""A browser tries again after this time."""
AGAIN_S = 10
"""Refused clients are asked to try again after this time."""
NOTHING_NEW = b": nothing new\n\n"
GAVE_UP_WHY = "All live feeds are taken; your oldest made room for a visitor who has fewer, or signed in."
GAVE_UP = f'retry: {AGAIN_S * 1000}\nevent: full\ndata: {{"reason": "{GAVE_UP_WHY}"}}\n\n'.encode()
"""The last event of a stream that gave up its place; an event source then waits before it connects again."""
PART_BYTES = 32_768
"""A slow reader holds about twice as much of the sent bytes."""


class MapTexts(Protocol):
    """The maps of a page (`pages/map/map_feed.py`)."""

    def read_windows(self, addresses: Iterable[str]) -> Mapping[str, Any]:
        """Address of a map's window -> the window. Raises ValueError, in words for people."""

    async def read_after(
        self, visitor: Visitor, window: str, frame: Any, position: Any
    ) -> tuple[bytes, Any, float]:
        """What to send now, the position after it, and the seconds until there is more."""


class LiveRoute:
    """`/live` of one hub; visitors get what they may see."""

    def __init__(
        self,
        hub: LiveHub,
        visitors: Visitors,
        region_boxes: Callable[[str], Iterable[str]],
        maps: MapTexts,
        newest_incidents: Callable[[int], Iterable[LiveMessage]],
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        """`region_boxes`: the Boxes of a region that the visitor may see; `newest_incidents` likewise."""
        self._hub = hub
        self._visitors = visitors
        self._region_boxes = region_boxes
        self._maps = maps
        self._newest_incidents = newest_incidents
        self._heartbeat_s = heartbeat_s
        self._frames = SharedFrames()
        self._checked: AnswerCache[Visitor] = AnswerCache(CHECKED_EVERY_S / 2, VISITORS_KEPT)

    def router(self) -> APIRouter:
        router = APIRouter(include_in_schema=False)
        router.add_api_route("/live", self.live)
        return router

    async def live(self, request: Request) -> Response:
        charge_stream()
        facts, feed = request_facts(request.scope), SeenFeed(current_visitor())
        holder = _holder(feed.visitor)
        if self._hub.full_of(holder):
            who, most = "account" if holder.account else "address", self._hub.streams_of_holder
            text = (
                f"Your {who} has {most} live feeds open, the most that one {who} may have ([view] "
                "live_streams); close one and try again.\n"
            )
            await pause_refusal()
            return PlainTextResponse(text, 429, {"Retry-After": str(AGAIN_S)})
        if self._hub.full(holder):
            text = f"All {self._hub.streams} live feeds are taken ([view] live_streams); try again.\n"
            return PlainTextResponse(text, 503, {"Retry-After": str(AGAIN_S)})
        query = request.query_params
        after = request.headers.get("last-event-id") or query.get("after")
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        older, after = await self._older(after)
        try:
            if "values" in query:
                windows = self._maps.read_windows(query.getlist("map"))
                headers["Vary"] = "Accept-Encoding"
                frames = self._frames if accepts_gzip(request.headers.get("accept-encoding", "")) else None
                if frames is not None:
                    headers["Content-Encoding"] = "gzip"
                shown, made_for = read_page_boxes(query), query.get("feed")
                stream = self._page(after, older, facts, feed, shown, windows, frames, made_for)
            else:
                wanted = read_live_filter(query, self._region_boxes)
                older = [each for each in older if wanted.passes(each)]
                stream = self._events(after, older, facts, feed, wanted)
        except ValueError as error:
            raise HTTPException(400, f"The address has a value that cannot be used: {error}.") from None
        return StreamingResponse(stream, media_type="text/event-stream", headers=headers)

    async def _older(self, after: str | None) -> tuple[list[LiveMessage], str | None]:
        """The incidents above `after` that the hub does not know any more, as the visitor sees them; and the
        Last-Event-ID after which the hub's follow.

        The hub keeps the newest of all Boxes, among which hidden ones may leave no room for visible ones.
        """
        number, lowest = number_after(after), self._hub.lowest_incident()
        if number is None or (lowest is not None and lowest <= number + 1):
            return [], after
        try:
            newest = await anyio.to_thread.run_sync(self._newest_incidents, INCIDENTS_WAITING)
        except StoreError:
            return [], after
        numbered = {each.incident.incident_id: each for each in newest if each.incident is not None}
        older = [numbered[k] for k in sorted(numbered) if number < k and (lowest is None or k < lowest)]
        return older, older[-1].event_id if older and lowest is None else after

    async def _events(
        self,
        after: str | None,
        older: Sequence[LiveMessage],
        facts: RequestFacts,
        feed: SeenFeed,
        wanted: LiveFilter,
    ) -> AsyncIterator[bytes]:
        """Yields each Measurement at once: for programs."""
        news = asyncio.Event()
        loop = asyncio.get_running_loop()
        boxes = _seen_of(feed.visitor, wanted.boxes)
        subscriber = self._hub.subscribe(
            loop_wake(loop, news), after, wanted.after(feed.shown), boxes, _holder(feed.visitor)
        )
        if subscriber is None:
            return
        sent_s = checked_s = loop.time()
        try:
            yield f"retry: {RETRY_MS}\n\n".encode() + b"".join(each.wire for each in older)
            while not subscriber.closed:
                if loop.time() - checked_s >= CHECKED_EVERY_S:
                    if not await self._still_may(facts, feed, subscriber, wanted.boxes):
                        return  # the client connects again, as its present visitor
                    checked_s = loop.time()
                news.clear()
                messages = self._hub.waiting_messages(subscriber)
                if messages:
                    yield b"".join(message.wire for message in messages)
                    sent_s = loop.time()
                    continue
                await _wait(news, min(self._heartbeat_s, CHECKED_EVERY_S))
                if not news.is_set() and loop.time() - sent_s >= self._heartbeat_s:
                    yield NOTHING_NEW
                    sent_s = loop.time()
            if subscriber.gave_up:
                yield GAVE_UP
        finally:
            self._hub.unsubscribe(subscriber)

    async def _page(
        self,
        after: str | None,
        older: Sequence[LiveMessage],
        facts: RequestFacts,
        feed: SeenFeed,
        shown: Boxes,
        windows: Mapping[str, Any],
        frames: SharedFrames | None,
        made_for: str | None,
    ) -> AsyncIterator[bytes]:
        """Yields what a page shows, at most once a second; compressed where `frames` is given.

        `made_for`: the `feed_name` of the visitor whom the page was made for; None where the page gives none.
        """
        taken: dict[str, Any] = dict.fromkeys(windows)
        news = asyncio.Event()
        loop = asyncio.get_running_loop()
        boxes, seen = _seen_of(feed.visitor, shown), _seen_of(feed.visitor, None)
        holder = _holder(feed.visitor)
        page = self._hub.open_page(loop_wake(loop, news), after, feed.shown, boxes, seen, holder)
        if page is None:
            return
        sent_s = checked_s = loop.time()
        try:
            retry = f"retry: {RETRY_MS}\n\n".encode()
            yield retry if frames is None else GZIP_HEAD + frames.of(retry)
            for data in _pieces([each.wire for each in older], frames):
                yield data
            begun = feed.visitor
            may = made_for in (None, begun.feed_name)
            while not page.closed:
                if loop.time() - checked_s >= CHECKED_EVERY_S:
                    may = await self._still_may(facts, feed, page, shown) and feed.visitor.sees_all_of(begun)
                    checked_s = loop.time()
                if not may:
                    yield ENDED if frames is None else frames.of(ENDED)
                    return
                news.clear()
                parts, next_s = self._hub.page_parts(page)
                for data in _pieces(parts, frames):  # sent before the wait for a map that is being made
                    yield data
                    sent_s = loop.time()
                if windows and page.boxes is not None and not page.boxes:
                    next_s = CHECKED_EVERY_S  # it only waits for its maps
                for window, frame in windows.items():
                    text, taken[window], more_s = await self._maps.read_after(
                        feed.visitor, window, frame, taken[window]
                    )
                    next_s = min(next_s, more_s)
                    for data in _pieces([text] if text else [], frames):
                        yield data
                        sent_s = loop.time()
                await _wait(news, max(0.0, min(next_s, self._heartbeat_s, CHECKED_EVERY_S)))
                if not news.is_set() and loop.time() - sent_s >= self._heartbeat_s:
                    yield NOTHING_NEW if frames is None else frames.of(NOTHING_NEW)
                    sent_s = loop.time()
            if page.gave_up:
                yield GAVE_UP if frames is None else frames.of(GAVE_UP)
        finally:
            self._hub.unsubscribe(page)

    async def _still_may(
        self, facts: RequestFacts, feed: SeenFeed, stream: Subscriber, wanted: Boxes
    ) -> bool:
        """Checks the visitor again: a session may have ended, a Box may have another owner now."""
        try:
            now = self._visitors.at_once(facts)
            if now is None:
                now = await anyio.to_thread.run_sync(self._visitor, facts)
        except StoreError:
            return True  # like the pages, the feed continues with what is known
        before = feed.visitor
        feed.visitor = now
        if (now.full, now.public) != (before.full, before.public):
            self._hub.show(stream, _seen_of(now, wanted), _seen_of(now, None))
        return now.is_still(before) and now.sees_something

    def _visitor(self, facts: RequestFacts) -> Visitor:
        """Streams of one browser share one query."""
        who = tuple(facts.headers.get(name) for name in ("host", *WHO, *PROXY_HEADERS))
        return self._checked.of((facts.peer, who), lambda: self._visitors.of(facts))


def _holder(visitor: Visitor) -> FeedHolder:
    return FeedHolder(share_key(visitor), visitor.account is not None)


def _seen_of(visitor: Visitor, boxes: Boxes) -> Boxes:
    """Those of `boxes` (None: of all) that a visitor sees; None means all that there are."""
    if visitor.everything:
        return boxes
    return visitor.full | visitor.public if boxes is None else frozenset(filter(visitor.sees, boxes))


def _pieces(parts: Iterable[bytes], frames: SharedFrames | None) -> Iterator[bytes]:
    for part in parts:
        data = part if frames is None else frames.of(part)
        for first in range(0, len(data), PART_BYTES):
            yield data[first : first + PART_BYTES]


async def _wait(news: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await news.wait()
    except TimeoutError:
        pass
