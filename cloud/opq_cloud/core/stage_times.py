"""Durations of each processing stage, as Prometheus histograms; separate from counters, which are sums.

    opq_stage_seconds{service, stage}

Stages, with the beginning and end of each: docs/makai-figures.md, "Latency of each stage".
"""

import threading
from bisect import bisect_left
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

BOUNDS_S = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
)
"""Upper ends of the buckets; longer times are in one more."""


class StageTimes:
    """The stage times of one service, noted from any thread.

    A negative time counts as 0: the Box's clock is ahead of ours.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, list[int]] = {}
        self._sums_s: dict[str, float] = {}

    def add(self, stage: str, *seconds: float) -> None:
        """Adds one time, or several at once for the cost of one lock."""
        self.add_all(stage, seconds)

    def add_all(self, stage: str, seconds: Iterable[float]) -> None:
        """Adds each of these times."""
        with self._lock:
            counts = self._counts.setdefault(stage, [0] * (len(BOUNDS_S) + 1))
            total_s = 0.0
            for each_s in seconds:
                counts[bisect_left(BOUNDS_S, each_s)] += 1
                if each_s > 0:
                    total_s += each_s
            self._sums_s[stage] = self._sums_s.get(stage, 0.0) + total_s

    def add_array(self, stage: str, seconds: NDArray[np.float64]) -> None:
        """Adds an array of times."""
        buckets = np.bincount(np.searchsorted(BOUNDS_S, seconds), minlength=len(BOUNDS_S) + 1).tolist()
        total_s = float(np.maximum(seconds, 0.0).sum())
        with self._lock:
            counts = self._counts.setdefault(stage, [0] * (len(BOUNDS_S) + 1))
            self._counts[stage] = [count + more for count, more in zip(counts, buckets, strict=True)]
            self._sums_s[stage] = self._sums_s.get(stage, 0.0) + total_s

    def snapshot(self) -> dict[str, tuple[list[int], float]]:
        """Returns stage -> counts up to each of BOUNDS_S and beyond, cumulative; and the sum in seconds."""
        with self._lock:
            found = {stage: (list(counts), self._sums_s[stage]) for stage, counts in self._counts.items()}
        for counts, _ in found.values():
            for at in range(1, len(counts)):
                counts[at] += counts[at - 1]
        return found


def quantile_s(cumulative: list[int], share: float) -> float:
    """The upper end of the bucket with the quantile `share`; infinity beyond the last, NaN for none."""
    wanted = share * cumulative[-1]
    if not cumulative[-1]:
        return float("nan")
    at = next(place for place, count in enumerate(cumulative) if count >= wanted)
    return BOUNDS_S[at] if at < len(BOUNDS_S) else float("inf")
