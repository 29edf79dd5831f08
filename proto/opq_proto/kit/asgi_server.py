"""uvicorn's server beside other threads: ended by a call, and asleep while nothing is requested."""

import asyncio
import contextlib
from collections.abc import Iterator

import uvicorn


class AsgiServer(uvicorn.Server):
    """It leaves signals to the program that runs it; `end` may come from any thread."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ending = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

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

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
