"""One thread at a time makes what a key names; who needs it too waits without a thread of the pages.

A page that is read (GET) leaves its thread by BeingMadeError, waits on the event loop, and begins again when
the other thread is done (`shares.in_thread`). Any other thread waits where it is.
"""

import threading
from collections.abc import Hashable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar

LEAVES_THREAD: ContextVar[bool] = ContextVar("leaves_thread", default=False)
"""Whether the work of this thread may be broken off and begun again."""


class BeingMadeError(BaseException):
    """Another thread makes it now; `made` ends when it is done.

    A BaseException, because it is not a failure: a part of a page that catches each Exception passes it on.
    """

    def __init__(self, made: "Future[None]") -> None:
        super().__init__("another thread makes this now")
        self.made = made


class SingleMaker:
    """What is being made at this moment; may be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._making: dict[Hashable, Future[None]] = {}

    def is_making(self, key: Hashable) -> bool:
        with self._lock:
            return key in self._making

    @contextmanager
    def made_here(self, key: Hashable) -> Iterator[None]:
        """Only this thread makes it within. Raises BeingMadeError where it need not wait in its thread."""
        mine: Future[None] = Future()
        while True:
            with self._lock:
                other = self._making.setdefault(key, mine)
            if other is mine:
                break
            if LEAVES_THREAD.get():
                raise BeingMadeError(other)
            other.result()
        try:
            yield
        finally:
            with self._lock:
                del self._making[key]
            mine.set_result(None)
