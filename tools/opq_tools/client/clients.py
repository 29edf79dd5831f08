"""The client with asyncio; that without is made of it (`blocking.py`)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Self, TypeVar
from urllib.parse import quote

import httpx

from opq_proto.kit.whole_file import whole_file
from opq_tools.client import calls
from opq_tools.client.calls import NewsReader, RestCall, ViewUnreachableError
from opq_tools.client.remote_records import (
    LiveNews,
    RemoteBox,
    RemoteDisturbance,
    RemoteEvent,
    RemoteFinding,
    RemoteIncident,
    RemoteInterval,
    RemoteMeasurement,
    RemoteTrendRow,
    RemoteWaveform,
)

T = TypeVar("T")


class AsyncOpqClient:
    """A View's `/api/v1`. All methods raise ViewUnreachableError, ApiRefusedError or AnswerNotReadError.

    Lists are read page by page during iteration. Requests are repeated while View is overloaded (429, 503).
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8888",
        token: str | None = None,
        timeout_s: float = 30.0,
        sleep_s: Callable[[float], Awaitable[object]] = asyncio.sleep,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`token`: from the page Account (`opq_…`); None where View is open."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        base = url.rstrip("/").removesuffix(calls.PREFIX) + calls.PREFIX
        self._http = httpx.AsyncClient(
            base_url=base, headers=headers, timeout=timeout_s, follow_redirects=True, transport=transport
        )
        self._sleep_s = sleep_s

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def boxes(self) -> list[RemoteBox]:
        """All Boxes that you may see."""
        return list((await self._answer(calls.list_call("/boxes", RemoteBox))).items)

    def incidents(self, box: str | None = None, kind: str | None = None) -> AsyncIterator[RemoteIncident]:
        """Incidents, newest first; only of one Box or class (such as `sag`) where given."""
        return self._pages("/incidents", RemoteIncident, box=box, class_=kind)

    async def incident(self, incident_id: int) -> RemoteIncident:
        return await self._answer(calls.one_call(f"/incidents/{incident_id}", RemoteIncident))

    def findings(self, box: str | None = None, kind: str | None = None) -> AsyncIterator[RemoteFinding]:
        """Findings, those of the newest incidents first."""
        return self._pages("/findings", RemoteFinding, box=box, class_=kind)

    def events(self) -> AsyncIterator[RemoteEvent]:
        """Events, newest first, without samples."""
        return self._pages("/events", RemoteEvent)

    async def waveform(self, event_id: int, box_id: str) -> RemoteWaveform:
        """Raw samples; needs a token with the scope `waveforms` where View is not open."""
        path = f"/events/{event_id}/waveforms/{quote(box_id, safe='')}"
        return await self._answer(calls.one_call(path, RemoteWaveform))

    def measurements(
        self, box_id: str, start: str = "now-1h", end: str = "now"
    ) -> AsyncIterator[RemoteMeasurement]:
        """Measurements of a Box, oldest first."""
        path = f"/boxes/{quote(box_id, safe='')}/measurements"
        return self._pages(path, RemoteMeasurement, from_=start, to=end, limit=1000)

    def intervals(
        self, box_id: str, start: str = "now-24h", end: str = "now", length: str = "10min"
    ) -> AsyncIterator[RemoteInterval]:
        """Class A intervals of a Box of 3s, 10s, 10min or 2h, oldest first."""
        path = f"/boxes/{quote(box_id, safe='')}/intervals"
        return self._pages(path, RemoteInterval, from_=start, to=end, length=length, limit=1000)

    def disturbances(
        self, box_id: str, start: str = "now-30d", end: str = "now"
    ) -> AsyncIterator[RemoteDisturbance]:
        """Dips, swells and interruptions of a Box, oldest first."""
        path = f"/boxes/{quote(box_id, safe='')}/disturbances"
        return self._pages(path, RemoteDisturbance, from_=start, to=end, limit=1000)

    async def trend(
        self, box_id: str, start: str = "now-24h", end: str = "now", level: str = "auto"
    ) -> tuple[RemoteTrendRow, ...]:
        """Trend of a Box in rows of 1m, 10m, 1h or 1d."""
        return await self._answer(calls.trend_call(box_id, start, end, level))

    async def save(self, /, path: str, out: str | Path, **values: str | int | None) -> int:
        """Saves an export, such as `/incidents/3/export` with `format="cff"`, and returns its size in bytes.

        The file appears whole or not at all.
        """
        call: RestCall[object] = RestCall(path, lambda answer: answer, values)
        try:
            async with self._http.stream("GET", call.path, params=call.params()) as answer:
                if not answer.is_success:
                    await answer.aread()
                calls.check_answer(answer)
                with whole_file(Path(out)) as file:
                    return sum([file.write(each) async for each in answer.aiter_bytes()])
        except httpx.TransportError as error:
            raise self._nobody(error) from error

    async def live(
        self,
        boxes: Iterable[str] = (),
        region: str | None = None,
        rate: float | None = None,
        after: str | None = None,
    ) -> AsyncIterator[LiveNews]:
        """Yields live events until View ends the feed; `rate`: most Measurements a second of each Box."""
        reader = NewsReader()
        values = calls.live_values(boxes, region, rate, after)
        try:
            async with self._http.stream("GET", "/live", params=values) as answer:
                if not answer.is_success:
                    await answer.aread()
                calls.check_answer(answer)
                async for line in answer.aiter_lines():
                    for news in reader.accept_line(line):
                        yield news
        except httpx.TransportError as error:
            raise self._nobody(error) from error

    async def _pages(self, path: str, kind: type[T], **values: str | int | None) -> AsyncIterator[T]:
        cursor: str | None = None
        while True:
            page = await self._answer(calls.list_call(path, kind, **values, cursor=cursor))
            for each in page.items:
                yield each
            cursor = page.next
            if cursor is None:
                return

    async def _answer(self, call: RestCall[T]) -> T:
        tries = 1
        while True:
            try:
                answer = await self._http.get(call.path, params=call.params())
            except httpx.TransportError as error:
                raise self._nobody(error) from error
            wait_s = calls.wait_of(answer, tries)
            if wait_s is None:
                return calls.read_answer(answer, call)
            await self._sleep_s(wait_s)
            tries += 1

    def _nobody(self, error: httpx.TransportError) -> ViewUnreachableError:
        return ViewUnreachableError(f"{self._http.base_url}: no answer ({error or type(error).__name__})")
