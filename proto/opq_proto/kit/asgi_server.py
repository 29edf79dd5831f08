"""uvicorn's server beside other threads: ended by a call, and asleep while nothing is requested.

uvicorn limits neither the time in which a request arrives nor the connections that wait. Once a second the
server closes those whose request has not arrived in time, and the oldest of the address with most where too
many wait.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import uvicorn

from opq_proto.kit.origin_guard import client_network

HEAD_S = 20.0
"""Time for the head of a request; an idle connection ends sooner (uvicorn's `timeout_keep_alive`)."""
BODY_S = 300.0
"""Time for the body of a request, after its head."""
LAST_ANSWERS_S = 1
"""Requests that are being answered when the server ends have this long."""
MOST_WAITING = 256
"""Most connections of which no request has arrived."""


class _HeadAsGet:
    """An application that answers HEAD as GET (RFC 9110, 9.3.2); uvicorn sends no body then.

    A stream ends as soon as its head is sent.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        started = asyncio.Event()

        async def received() -> Any:
            return {"type": "http.disconnect"} if started.is_set() else await receive()

        async def send_head(message: Any) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body", "body": b""})
                started.set()

        await self._app({**scope, "method": "GET"}, received, send_head)


class AsgiServer(uvicorn.Server):
    """It leaves signals to the program that runs it; `end` may come from any thread."""

    def __init__(self, app: Any, **settings: Any) -> None:
        """`settings`: of uvicorn, beside those that all servers share."""
        super().__init__(
            uvicorn.Config(
                _HeadAsGet(app),
                lifespan="off",
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=LAST_ANSWERS_S,
                **settings,
            )
        )
        self._ending = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stages: dict[Any, tuple[object, str, float]] = {}
        """Connection -> its newest request, what it waits for, and since when (monotonic s)."""

    def end(self) -> None:
        """Ends serving, also before it began."""
        self.should_exit = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended already
                self._loop.call_soon_threadsafe(self._ending.set)

    async def main_loop(self) -> None:
        """As uvicorn's, which wakes ten times a second; the date in answers is renewed once a second."""
        self._loop = asyncio.get_running_loop()
        while not await self.on_tick(0):
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._ending.wait(), 1.0)
            self._close_late(time.monotonic())

    def _close_late(self, now_s: float) -> None:
        """Closes connections that wait too long, or are too many."""
        stages: dict[Any, tuple[object, str, float]] = {}
        connections: Iterable[Any] = self.server_state.connections
        for connection in connections:
            request = connection.cycle
            stage = "head" if request is None or request.response_complete else "body"
            if stage == "body" and not request.more_body:
                continue  # it is being answered
            former = self._stages.get(connection)
            same = former is not None and former[0] is request and former[1] == stage
            stages[connection] = former if same and former is not None else (request, stage, now_s)
        self._stages = stages
        late = [
            connection
            for connection, (_, stage, since_s) in stages.items()
            if now_s - since_s >= (HEAD_S if stage == "head" else BODY_S)
        ]
        waiting = [each for each, (_, stage, _) in stages.items() if stage == "head"]
        late += _beyond_limit(sorted(waiting, key=lambda each: stages[each][2], reverse=True))
        for connection in late:
            connection.transport.abort()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _beyond_limit(waiting: Sequence[Any]) -> list[Any]:
    """Those of the connections, newest first, that are too many; of each address as many stay."""
    counts: Counter[str] = Counter()
    places = []
    for connection in waiting:
        address = client_network(str((connection.client or ("",))[0]))
        places.append((counts[address], connection))
        counts[address] += 1
    places.sort(key=lambda each: each[0])  # stable: newest first within a place
    return [connection for _, connection in places[MOST_WAITING:]]
