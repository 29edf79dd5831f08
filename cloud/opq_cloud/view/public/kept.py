"""Answers kept for a moment: what 500 pages ask for at once is made once.

Short, and of no reader's file: states, days and feeds keep theirs alike.
"""

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import anyio.to_thread

T = TypeVar("T")


class KeptAnswers(Generic[T]):
    """`of` may be called from any thread; who asks for what is being made waits for that alone."""

    def __init__(
        self, seconds: float, most: int = 64, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        """`most`: the one asked for longest ago goes first."""
        self._seconds = seconds
        self._most = most
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._found: OrderedDict[Hashable, tuple[float, T]] = OrderedDict()
        self._making: dict[Hashable, _Making] = {}
        self._tasks: dict[Hashable, asyncio.Future[T]] = {}

    def of(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` gave less than `seconds` ago, or gives now; an exception of it is not kept."""
        with self._lock:
            kept = self._fresh(key)
            if kept is not None:
                return kept[1]
            making = self._making.setdefault(key, _Making())
            making.waiting += 1
        try:
            with making.lock:
                with self._lock:
                    kept = self._fresh(key)
                if kept is not None:
                    return kept[1]
                began_s, made = self._monotonic_s(), make()
                with self._lock:
                    self._found[key] = began_s, made
                    self._found.move_to_end(key)
                    while len(self._found) > self._most or self._first_is_old():
                        self._found.popitem(last=False)
                return made
        finally:
            with self._lock:
                making.waiting -= 1
                if not making.waiting:
                    self._making.pop(key, None)

    async def of_all(self, key: Hashable, make: Callable[[], T]) -> T:
        """As `of`, on the event loop: made by one thread, for all who ask until it is there."""
        with self._lock:
            found = self._fresh(key)
        if found is not None:
            return found[1]
        task = self._tasks.get(key)
        if task is None:
            task = asyncio.ensure_future(anyio.to_thread.run_sync(self.of, key, make))
            self._tasks[key] = task
            task.add_done_callback(lambda _: self._tasks.pop(key, None))
        return await asyncio.shield(task)

    def _first_is_old(self) -> bool:
        """What nobody is answered with any more is not kept until others need its place."""
        made_s, _ = next(iter(self._found.values()))
        return self._monotonic_s() - made_s >= self._seconds and len(self._found) > 1

    def _fresh(self, key: Hashable) -> tuple[float, T] | None:
        kept = self._found.get(key)
        if kept is None or self._monotonic_s() - kept[0] >= self._seconds:
            return None
        self._found.move_to_end(key)
        return kept


@dataclass(slots=True)
class _Making:
    """One answer while somebody makes it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    waiting: int = 0
