"""The last windows of a foreign Box with the times at which it read them: docs/reference/opq-interop.md G.1,
G.5.

Its own file because both generations, their meter and their answers read it.
"""

import numpy as np
from numpy.typing import NDArray

WINDOW = 200
"""Samples of a frame, and of a window."""


class WindowBuffer:
    """A ring of `limit` windows; the oldest is overwritten.

    Attributes:
        newest: number of the last window, from 1; 0 before the first.
    """

    def __init__(self, limit: int) -> None:
        self.newest = 0
        self._limit = limit
        self._counts = np.zeros((limit, WINDOW), dtype=np.int16)
        self._read_ms = np.zeros(limit, dtype=np.int64)

    def add(self, counts: NDArray[np.int16], read_ms: int) -> None:
        """Adds a window, (200,) counts.

        Raises:
            ValueError: another number of samples.
        """
        if counts.shape != (WINDOW,):
            raise ValueError(f"a window of {counts.shape}; want {WINDOW} samples")
        at = self.newest % self._limit
        self._counts[at], self._read_ms[at] = counts, read_ms
        self.newest += 1

    def counts(self, windows: int) -> NDArray[np.int16]:
        """(windows, 200) of the newest ones, oldest first; zeros before the very first one."""
        return self._counts[np.arange(self.newest - windows, self.newest) % self._limit]

    def between(self, start_ms: int, end_ms: int) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
        """Windows read at start < t < end, both strict, oldest first: (n, 200) counts and (n,) ms."""
        held = min(self.newest, self._limit)
        at = np.arange(self.newest - held, self.newest) % self._limit
        read_ms = self._read_ms[at]
        chosen = at[(read_ms > start_ms) & (read_ms < end_ms)]
        return self._counts[chosen], self._read_ms[chosen]
