"""Runs and pieces of the original's series of cycles, as its plug-ins find them. Source:
docs/reference/opq-interop.md E.3."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from opq_measure.events.curves import IticVerdict
from opq_measure.original.curves import BANDS, original_ieee1159, original_itic, original_semi_f47
from opq_measure.signal import FloatArray

NOMINAL_V: Final = 120.0
JUMP_CYCLES = 5
"""Setting of PELT: change points lie at multiples of this many cycles."""
MIN_PIECE_CYCLES = 2
"""Setting of PELT: least cycles of a piece."""
PENALTY_V2 = 1.0
"""Setting of PELT: cost of each piece, volts squared."""


@dataclass(frozen=True, slots=True)
class CycleRun:
    """Cycles [start, stop) and the original's name for them."""

    start: int
    stop: int
    name: str

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class ConstantPiece:
    """Cycles [start, stop) of a constant rms, and the verdicts of the two curves on them."""

    start: int
    stop: int
    mean_v: float
    itic: IticVerdict
    semi_f47: bool
    """Whether it is a violation."""


def runs_within(values: FloatArray, low: float, high: float) -> Iterator[tuple[int, int]]:
    """[start, stop) of consecutive values in [low, high], both inclusive; NaN is in none."""
    inside = np.concatenate(([False], (values >= low) & (values <= high), [False]))
    edges = np.flatnonzero(inside[1:] != inside[:-1])
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def ieee1159_runs(rms_v: FloatArray) -> list[CycleRun]:
    """Each run of each band under the name that the band gives it, in the order of the bands.

    Bands overlap: 30 cycles of swell have two names.
    """
    found = []
    for (low, high), _ in BANDS:
        most = high if low > 0 else math.nextafter(high, 0)  # an interruption is below a tenth
        for start, stop in runs_within(rms_v / NOMINAL_V, low, most):
            middle = (low + most) / 2
            names = original_ieee1159(middle, stop - start)
            wanted = _of_band(low, high)
            found += [CycleRun(start, stop, name) for name in names if name in wanted]
    return found


def _of_band(low: float, high: float) -> frozenset[str]:
    rows = next(rows for band, rows in BANDS if band == (low, high))
    return frozenset(name for _, _, name in rows)


def constant_pieces(rms_v: FloatArray) -> list[ConstantPiece]:
    """The pieces between change points, judged as IticPlugin and SemiF47Plugin do."""
    ends = change_points(rms_v)
    found = []
    for start, stop in zip([0, *ends[:-1]], ends, strict=True):
        mean_v = float(np.mean(rms_v[start:stop]))
        percent = mean_v / NOMINAL_V * 100
        found.append(
            ConstantPiece(
                start,
                stop,
                mean_v,
                original_itic(percent, stop - start),
                original_semi_f47(percent, stop - start),
            )
        )
    return found


def change_points(values: FloatArray) -> list[int]:
    """Ends of pieces of constant mean with the least sum of squares plus PENALTY_V2 per piece; the last is n.

    Source: R. Killick, P. Fearnhead, I. A. Eckley, J. Am. Stat. Assoc. 107 (2012), PELT; with the grid of
    `ruptures` 1.1 (jump, min_size), which the original uses. Without pruning the optimum is the same.
    """
    count = len(values)
    if count < MIN_PIECE_CYCLES:
        return [count] if count else []
    sums = np.concatenate(([0.0], np.cumsum(values)))
    squares = np.concatenate(([0.0], np.cumsum(values * values)))
    places = [*range(0, count, JUMP_CYCLES), count]
    places = [place for place in places if place in (0, count) or place >= MIN_PIECE_CYCLES]
    best = np.full(len(places), np.inf)
    best[0] = 0.0
    came = np.zeros(len(places), np.int64)
    for at in range(1, len(places)):
        begin = np.array(places[:at])
        length = places[at] - begin
        total = sums[places[at]] - sums[begin]
        cost = squares[places[at]] - squares[begin] - total * total / length
        cost = best[:at] + np.where(length >= MIN_PIECE_CYCLES, cost, np.inf) + PENALTY_V2
        came[at] = int(np.argmin(cost))
        best[at] = float(cost[came[at]])
    ends, at = [], len(places) - 1
    while at > 0:
        ends.append(places[at])
        at = int(came[at])
    return ends[::-1]
