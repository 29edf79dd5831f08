"""Answers kept for a moment: what 500 pages ask for at once is made once.

Short, and of no reader's file: states, days and feeds keep theirs alike.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class KeptAnswers(Generic[T]):
    """`of` may be called from any thread; who asks while one is being made waits for it."""

    def __init__(
        self, seconds: float, most: int = 64, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        """`most`: the one asked for longest ago goes first."""
        self._seconds = seconds
        self._most = most
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._found: OrderedDict[Hashable, tuple[float, T]] = OrderedDict()

    def of(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` gave less than `seconds` ago, or gives now; an exception of it is not kept."""
        with self._lock:
            kept = self._found.get(key)
            if kept is None or self._monotonic_s() - kept[0] >= self._seconds:
                kept = self._monotonic_s(), make()
                self._found[key] = kept
            self._found.move_to_end(key)
            while len(self._found) > self._most:
                self._found.popitem(last=False)
            return kept[1]
