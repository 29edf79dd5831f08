"""The client without asyncio, made of the one with it.

Its transport answers before it returns. So nothing in a call waits for an event loop: a coroutine runs to its
end at once, and no loop is needed, also where one runs already (in a notebook).
"""

import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import httpx

from opq_tools.client.clients import AsyncOpqClient

P = ParamSpec("P")
T = TypeVar("T")


class _Pieces(httpx.AsyncByteStream):
    """The body of an answer, as it comes."""

    def __init__(self, answer: httpx.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._answer.iter_raw():
            yield piece

    async def aclose(self) -> None:
        self._answer.close()


class _BlockingTransport(httpx.AsyncBaseTransport):
    """A client without asyncio, as a transport of one with it."""

    def __init__(self) -> None:
        self._client = httpx.Client()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = self._client.send(request, stream=True, follow_redirects=False)
        return httpx.Response(
            answer.status_code, headers=answer.headers, stream=_Pieces(answer), extensions=answer.extensions
        )

    async def aclose(self) -> None:
        self._client.close()


def _finished(call: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine that waits for nothing, and returns its result."""
    try:
        call.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise RuntimeError("a call of the client without asyncio waits for an event loop")


def _blocking(
    method: Callable[Concatenate[AsyncOpqClient, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate["OpqClient", P], T]:
    @wraps(method)
    def call(self: "OpqClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return _finished(method(self._client, *args, **kwargs))

    return call


def _iterating(
    method: Callable[Concatenate[AsyncOpqClient, P], AsyncIterator[T]],
) -> Callable[Concatenate["OpqClient", P], Iterator[T]]:
    @wraps(method)
    def call(self: "OpqClient", /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        items: Any = method(self._client, *args, **kwargs)
        try:
            while True:
                try:
                    item: T = _finished(items.__anext__())
                except StopAsyncIteration:
                    return
                yield item
        finally:
            _finished(items.aclose())

    return call


class OpqClient:
    """`AsyncOpqClient` without asyncio: the same methods, with the same answers and errors."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8888",
        token: str | None = None,
        timeout_s: float = 30.0,
        sleep_s: Callable[[float], object] = time.sleep,
    ) -> None:
        """`token`: from the page Account (`opq_…`); None where View is open."""

        async def pause(seconds: float) -> None:
            sleep_s(seconds)

        self._client = AsyncOpqClient(url, token, timeout_s, pause, _BlockingTransport())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    close = _blocking(AsyncOpqClient.close)
    boxes = _blocking(AsyncOpqClient.boxes)
    incidents = _iterating(AsyncOpqClient.incidents)
    incident = _blocking(AsyncOpqClient.incident)
    findings = _iterating(AsyncOpqClient.findings)
    events = _iterating(AsyncOpqClient.events)
    waveform = _blocking(AsyncOpqClient.waveform)
    measurements = _iterating(AsyncOpqClient.measurements)
    intervals = _iterating(AsyncOpqClient.intervals)
    disturbances = _iterating(AsyncOpqClient.disturbances)
    trend = _blocking(AsyncOpqClient.trend)
    save = _blocking(AsyncOpqClient.save)
    live = _iterating(AsyncOpqClient.live)
