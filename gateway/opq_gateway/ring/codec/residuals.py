"""Residuals: samples minus predictions, in runs of one kind each.

There are two ways. Where the noise is below a count, residuals are coded by class: the distance of the
prediction from a whole number. A prediction of 7.1, for example, hardly ever meets a 6. Where a prediction
lies below its whole number the residual's sign is turned, which halves the classes. Otherwise
there is a single class, whose residuals may be their first or second differences: a tone that is not a
harmonic (ripple control, an inverter) is not in earlier cycles, but is smooth.

Runs are also separated by level, from quiet to loud stretches, because a dip would widen the table of all
others. Everything is modulo 2**16, so that a residual of 16 bits fits for every prediction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from opq_gateway.ring.codec.predictor import UNIT, Floats, Integers
from opq_gateway.ring.codec.shapes import CENTRE_UNIT

Counts = NDArray[np.int16]

MAX_CLASSES = 6
"""Most classes of residuals by the distance of the prediction from a whole number."""
MAX_LEVELS = 3
"""Most levels of stretches, from quiet to loud."""
MAX_ORDER = 2
"""Highest order of differences of residuals."""
_LEVELS_FROM_BIT: Final = 0.02
_ORDER_FROM: Final = 0.7
"""Differences are taken where they are this much smaller; for white noise they are 1.4 times as large."""


@dataclass(frozen=True, slots=True)
class Kinds:
    """There is a run for each level and class; `order` of differences is 0 where there are classes."""

    classes: int
    levels: int
    order: int

    def centres(self) -> list[int]:
        """Expected position of the values of each run, in 1/64: for a class, the middle of its share."""
        middles = [(2 * kind + 1) * CENTRE_UNIT // (4 * self.classes) for kind in range(self.classes)]
        return (middles if self.classes > 1 else [0]) * self.levels


def laid_out(
    values: Integers, predicted: Floats, stretch: int, fine: bool
) -> tuple[Kinds, Integers, list[Integers]]:
    """Kinds, the level of each stretch, and the runs.

    Args:
        values: (n,) in the range of int16; `predicted`: (n,) Q12.
        stretch: samples of each but the last.
        fine: the noise is below a count.
    """
    plain = values.astype(np.int16) - nearest_counts(predicted)
    order = _order(plain)
    if fine and not order:
        _, turned, places = _split(predicted, MAX_CLASSES)
        residuals, classes = (plain * turned).astype(np.int64), MAX_CLASSES
    else:
        padded = np.concatenate((np.zeros(order, np.int16), plain))
        residuals, classes = np.diff(padded, n=order).astype(np.int64), 1
        places = np.zeros(len(plain), np.uint8)
    level_of = _levels(residuals, stretch)
    kinds = Kinds(classes, int(level_of.max()) + 1, order)
    keys = np.repeat(level_of, stretch)[: len(residuals)] * classes + places
    return kinds, level_of, [residuals[keys == key] for key in range(kinds.levels * classes)]


class Residuals:
    """The runs of one chunk, put in the order of its samples."""

    def __init__(self, runs: list[Integers], level_of: Integers, kinds: Kinds) -> None:
        self.runs = np.concatenate(runs).astype(np.int16)
        self.ends = np.cumsum([len(run) for run in runs])
        self.level_of = level_of
        self.kinds = kinds

    def in_order(self, stretch: int) -> Counts:
        """All residuals in order, where there is only one class.

        Raises:
            ValueError: the levels do not fit the runs.
        """
        levels = np.repeat(self.level_of, stretch)[: len(self.runs)]
        if (np.bincount(levels, minlength=self.kinds.levels) != np.diff(self.ends, prepend=0)).any():
            raise ValueError("chunk is damaged: a run of residuals ends early")
        found = np.empty_like(self.runs)
        found[np.argsort(levels, kind="stable")] = self.runs
        for _ in range(self.kinds.order):
            found = np.cumsum(found, dtype=np.int16)
        return found


class Classified:
    """Residuals of several chunks, read from the front of each run as predictions give the classes."""

    def __init__(self, chunks: Sequence[Residuals], classes: int, sizes: Integers) -> None:
        """`sizes` of the stretches, (stretches, chunks), in samples."""
        self._classes = classes
        self._runs = np.concatenate([chunk.runs for chunk in chunks])
        before = np.cumsum([0] + [len(chunk.runs) for chunk in chunks])
        self._ends = np.concatenate([at + chunk.ends for at, chunk in zip(before, chunks, strict=False)])
        self._at = np.append(np.concatenate(([0], self._ends[:-1])), 0)
        keys = np.cumsum([0] + [len(chunk.ends) for chunk in chunks])
        self._no_run = int(keys[-1])
        self._sizes = sizes[:, :, None]
        self._keys = np.zeros((len(sizes), len(chunks), 1), np.min_scalar_type(self._no_run))
        for row, (key, chunk) in enumerate(zip(keys, chunks, strict=False)):
            self._keys[: len(chunk.level_of), row, 0] = key + chunk.level_of[: len(sizes)] * classes

    def added(self, predicted: Floats, first: int) -> Counts:
        """The values of stretches from `first` on of the first chunks, (stretches, chunks, samples), from
        their predictions; after a stretch's end they are undefined."""
        stretches, chunks, samples = predicted.shape
        nearest, turned, kinds = _split(predicted, self._classes)
        keys = kinds + self._keys[first : first + stretches, :chunks]
        sizes = self._sizes[first : first + stretches, :chunks]
        if sizes.min() < samples:
            keys[np.arange(samples) >= sizes] = self._no_run
        keys = keys.reshape(-1)
        counts = np.bincount(keys, minlength=self._no_run + 1)
        begin = np.cumsum(counts) - counts
        at = np.arange(keys.size)
        at += np.repeat(self._at - begin, counts)
        self._at += counts
        found = np.empty_like(nearest)
        found.reshape(-1)[keys.argsort(kind="stable")] = self._runs.take(at, mode="clip")
        found *= turned
        found += nearest
        return found

    def check(self) -> None:
        """
        Raises:
            ValueError: more was read of a run than it has.
        """
        if (self._at[:-1] > self._ends).any():
            raise ValueError("chunk is damaged: a run of residuals ends early")


def nearest_counts(predicted: Floats) -> Counts:
    """The whole number nearest to each Q12 prediction."""
    rounded = predicted.astype(np.int64)
    rounded += UNIT // 2
    rounded >>= 12
    return rounded.astype(np.int16)


def _split(predicted: Floats, classes: int) -> tuple[Counts, NDArray[np.int8], NDArray[np.uint8]]:
    """The nearest counts; a sign, -1 where the prediction lies below; and the class."""
    place = predicted.astype(np.int64)
    place += UNIT // 2
    nearest = (place >> 12).astype(np.int16)
    place &= UNIT - 1
    turned, kinds = _by_place(classes)
    return nearest, turned.take(place), kinds.take(place)


@cache
def _by_place(classes: int) -> tuple[NDArray[np.int8], NDArray[np.uint8]]:
    """Sign and class of each place in a whole number, (UNIT,) from 1/2 below it to 1/2 above."""
    off = np.arange(UNIT) - UNIT // 2
    kinds = np.abs(off) * classes // (UNIT // 2 + 1)
    return np.where(off < 0, -1, 1).astype(np.int8), kinds.astype(np.uint8)


def _order(plain: Counts) -> int:
    """The order of differences whose values are smallest."""
    wide = plain.astype(np.float64)
    sizes = [
        float(np.mean(np.minimum(np.abs(np.diff(wide, n=order)), 4000))) for order in range(MAX_ORDER + 1)
    ]
    best = 0
    for order in range(1, MAX_ORDER + 1):
        if sizes[order] < _ORDER_FROM * sizes[best]:
            best = order
    return best


def _levels(residuals: Integers, stretch: int) -> Integers:
    """Level 0 .. 2 of each stretch by the size of its residuals; all 0 where the sizes are alike."""
    starts = np.arange(0, len(residuals), stretch)
    sizes = np.diff(np.append(starts, len(residuals)))
    power = np.add.reduceat(residuals.astype(np.float64) ** 2, starts) / sizes + 0.02
    gain_bits = 0.5 * (np.log2(np.average(power, weights=sizes)) - np.average(np.log2(power), weights=sizes))
    if gain_bits < _LEVELS_FROM_BIT:
        return np.zeros(len(power), np.int64)
    return np.digitize(power, np.quantile(power, [0.5, 0.85])).astype(np.int64)
