"""The course of Urms(1/2) over a signal of any length, in flat memory: its envelope and its statistics."""

import numpy as np

from opq_measure.signal import FloatArray

MAX_ENTRIES = 1 << 13
"""Entries of an envelope, four for each dot of a wide picture; before pairs are joined there are up to twice
as many."""
VALUES_GATHERED = 1 << 12
"""Values that are gathered before they are added, which keeps the work per value small."""
HISTOGRAM_BINS = 1 << 18
"""Steps of the histogram, 15 ppm of nominal each."""
REACH_RATIO = 4.0
"""The histogram goes from 0 to this many times nominal."""


class Course:
    """The least and the most of a stream of values over time, in memory that does not grow.

    Up to `MAX_ENTRIES` values every value is its own entry; later, entries are joined in pairs.
    """

    def __init__(self) -> None:
        self._each = 1  # values in an entry
        self._entries = np.empty((3, 0))
        self._gathered: list[FloatArray] = []
        self._count = 0
        self._pending = np.empty((2, 0))

    def add(self, starts: FloatArray, values: FloatArray) -> None:
        """Accepts the next values and the samples at which they begin."""
        self._gathered.append(np.array((starts, values)))
        self._count += len(values)
        if self._count >= VALUES_GATHERED:
            self._accept_gathered()

    def entries(self) -> FloatArray:
        """(3, m) where each entry begins (samples), its least and its most value."""
        self._accept_gathered()
        if not self._pending.shape[1]:
            return self._entries
        starts, values = self._pending
        last = np.array([[starts[0]], [np.fmin.reduce(values)], [np.fmax.reduce(values)]])
        return np.concatenate((self._entries, last), axis=1)

    def _accept_gathered(self) -> None:
        if not self._gathered:
            return
        new = np.concatenate(self._gathered, axis=1)
        self._gathered, self._count = [], 0
        self._pending = np.concatenate((self._pending, new), axis=1)
        whole = self._pending.shape[1] // self._each
        used = whole * self._each
        rows = self._pending[1, :used].reshape(whole, self._each)
        begun = self._pending[0, : used : self._each]
        added = np.array((begun, np.fmin.reduce(rows, axis=1), np.fmax.reduce(rows, axis=1)))
        self._entries = np.concatenate((self._entries, added), axis=1)
        self._pending = self._pending[:, used:]
        while self._entries.shape[1] >= 2 * MAX_ENTRIES and self._entries.shape[1] % 2 == 0:
            starts, low, high = self._entries
            self._entries = np.array(
                (starts[::2], np.fmin(low[::2], low[1::2]), np.fmax(high[::2], high[1::2]))
            )
            self._each *= 2


class RunningStatistics:
    """Mean, least, median and most of a stream of values; the median to 15 ppm of `nominal`."""

    def __init__(self, nominal: float) -> None:
        self._step = REACH_RATIO * nominal / HISTOGRAM_BINS
        self._histogram = np.zeros(HISTOGRAM_BINS, dtype=np.int64)
        self._sum, self._low, self._high = 0.0, np.inf, -np.inf
        self._gathered: list[FloatArray] = []
        self._count = 0

    def add(self, values: FloatArray) -> None:
        self._gathered.append(values.copy())
        self._count += len(values)
        if self._count >= VALUES_GATHERED:
            self._accept_gathered()

    def _accept_gathered(self) -> None:
        values = np.concatenate((np.empty(0), *self._gathered))
        self._gathered, self._count = [], 0
        known = values[np.isfinite(values)]
        if not len(known):
            return
        self._sum += float(known.sum())
        self._low, self._high = min(self._low, float(known.min())), max(self._high, float(known.max()))
        bins = np.minimum(known / self._step, HISTOGRAM_BINS - 1).astype(np.int64)
        np.add.at(self._histogram, bins, 1)

    def found(self) -> dict[str, float | None]:
        """The contract's keys; None without a value."""
        self._accept_gathered()
        count = int(self._histogram.sum())
        if not count:
            return dict.fromkeys(("mean", "min", "median", "max"))
        middle = int(np.searchsorted(np.cumsum(self._histogram), (count + 1) // 2))
        median = min(max((middle + 0.5) * self._step, self._low), self._high)
        return {"mean": self._sum / count, "min": self._low, "median": median, "max": self._high}


def statistics_of(values: FloatArray, *names: str) -> dict[str, float | None]:
    """The same statistics of an array (n,), exactly, or those of the named NumPy functions; unknown values
    are left out."""
    names = names or ("mean", "min", "median", "max")
    values = values[np.isfinite(values)]
    if len(values) == 0:
        return dict.fromkeys(names)
    found = {name: float(getattr(np, name)(values)) for name in names}
    return {name: value if np.isfinite(value) else None for name, value in found.items()}
