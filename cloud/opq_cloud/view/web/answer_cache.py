"""A short cache of answers, so that an answer for 500 pages is made once.

Pages of a day, feeds, and what visitors may see are cached in the same way.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from opq_cloud.view.web.single_maker import SingleMaker

T = TypeVar("T")


class AnswerCache(Generic[T]):
    """`of` may be called from any thread; a caller waits only for its own answer (`single_maker.py`)."""

    def __init__(
        self, seconds: float, most: int = 64, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        """`most`: above this number, the answer that was unused for longest is dropped."""
        self._seconds = seconds
        self._most = most
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._found: OrderedDict[Hashable, tuple[float, T]] = OrderedDict()
        self._maker = SingleMaker()

    def known(self, key: Hashable) -> T | None:
        """The answer that is kept; None where there is none."""
        with self._lock:
            kept = self._fresh(key)
        return None if kept is None else kept[1]

    def of(self, key: Hashable, make: Callable[[], T]) -> T:
        """The answer that `make` gave less than `seconds` ago, or gives now; exceptions are not cached."""
        with self._lock:
            kept = self._fresh(key)
        if kept is not None:
            return kept[1]
        with self._maker.made_here(key):
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

    def _first_is_old(self) -> bool:
        """An outdated answer is dropped at once, not only when its place is needed."""
        made_s, _ = next(iter(self._found.values()))
        return self._monotonic_s() - made_s >= self._seconds and len(self._found) > 1

    def _fresh(self, key: Hashable) -> tuple[float, T] | None:
        kept = self._found.get(key)
        if kept is None or self._monotonic_s() - kept[0] >= self._seconds:
            return None
        self._found.move_to_end(key)
        return kept
