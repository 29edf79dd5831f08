"""Predictor: a stretch of mains, a little under a cycle, from the twelve cycles before it.

Reaching back whole cycles only, all samples of a stretch are predicted at once: a chunk is decoded in some
60 steps of NumPy per second, not in 12,000 of Python. What short lags would have told, how far frequency
and amplitude have moved on, the encoder measures and stores: per half or whole stretch a delay and a gain,
each with its slope. Told delays also steer the period, so that they stay small.

Exact everywhere: every value is a whole number below 2**53 or such a number times a power of two, so
float64 holds each one, and sums of them, in whatever order BLAS adds or a processor fuses, are the same on
every machine. Rounding is by `floor` of exact values only. Nothing else may enter here.

    cycles   = sum over lags k of weight[k] * x(n - k * period), 4-point Lagrange at 1/256 sample    Q12
    predicted = cycles + (delay * slope of cycles >> delay_shift) + (gain * cycles >> gain_shift)    Q12
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

LAGS: Final = 12
"""With the weights of `taps` their noise adds 0.07 bit; more of them are slower to forget a dip."""
UNIT: Final = 4096
"""A sample in Q12."""
LEAST_PERIOD, MOST_PERIOD = 32.0, 2000.0
_PHASES, _POINTS = 256, 4
_DRIFT: Final = 3
"""Samples that the period may move within a chunk: 1.5 % of 200."""
_MOST_DRIFT: Final = (_DRIFT << 16) - 1
_STEER: Final = (1 << 14, 13)
"""At most 1/4 sample of period per stretch, and 13/16 of what the delay asks for."""
RAMP: Final = 64
_MULTIPLES: Final = np.arange(1, LAGS + 1, dtype=np.int64)
_ROWS: Final = np.arange(LAGS, dtype=np.int64) * _PHASES


@dataclass(frozen=True, slots=True)
class Setup:
    """What a chunk's predictor is made from. `period` in 1/65536 sample; `parts` of a stretch: 1 or 2."""

    period: int
    parts: int
    delay_shift: int
    gain_shift: int

    @property
    def stretch_samples(self) -> int:
        return (self.period >> 16) - 2 * _DRIFT

    @property
    def opening_samples(self) -> int:
        """Before the first stretch: one cycle, and what interpolation reaches beyond it."""
        return (self.period >> 16) + _DRIFT + _POINTS

    def begins(self, stretches: int) -> Integers:
        """Where each of so many stretches begins."""
        return self.opening_samples + self.stretch_samples * np.arange(stretches, dtype=np.int64)


class Predictor:
    """Walks over chunks side by side, a stretch of each at a time: one step of NumPy costs little more for
    eight of them than for one. `history` is filled by the owner up to the stretches being predicted.

    Rows belong to chunks, in the order of `setups`; who is asked for fewer, is asked for the first of them.
    """

    def __init__(self, setups: Sequence[Setup], samples: int) -> None:
        """`samples` of the longest."""
        self._width = max(setup.stretch_samples for setup in setups) + 2
        window = self._width + _POINTS - 1
        padded = np.zeros((len(setups), samples + window))  # windows may reach beyond, into what is cut off
        self.history: Floats = padded[:, :samples]
        """(chunks, samples)."""
        self._windows = np.lib.stride_tricks.sliding_window_view(padded.reshape(-1), window)
        bases = np.arange(len(setups)) * padded.shape[1]
        count = -(-samples // min(setup.stretch_samples for setup in setups))
        begins = np.array([setup.begins(count) for setup in setups], np.int64).T - 2
        self._before = begins << 16
        self._starts = ((begins + bases) << 16)[:, :, None]
        self._shifts = np.array([setup.delay_shift for setup in setups], np.int64)
        self._parts = np.array([setup.parts for setup in setups], np.int64)
        self._now = [setup.period for setup in setups]
        self._periods = np.array(self._now, np.int64)[:, None]
        self._bounds = [(period - _MOST_DRIFT, period + _MOST_DRIFT) for period in self._now]
        all_lags = self._before >= LAGS * (self._periods[:, 0] + _MOST_DRIFT)
        self._all_lags_from = int(np.searchsorted(all_lags.all(axis=1), True))

    def cycles(self, index: int, chunks: int) -> Floats:
        """Earlier cycles laid over stretch `index` of the first chunks, a sample more on each side.

        Returns:
            (chunks, longest stretch + 2) Q12; what lies behind a chunk's own stretch means nothing.
        """
        back = self._starts[index, :chunks] - _MULTIPLES * self._periods[:chunks]
        at = ((back >> 8) & (_PHASES - 1)) + _ROWS
        if index < self._all_lags_from:
            at += self._lags(index, chunks) * (LAGS * _PHASES)
            shares = all_taps().take(at, axis=0)
            np.maximum(back, 0, out=back)  # of what is not there a share of 0
        else:
            shares = taps(LAGS).take(at, axis=0)
        back >>= 16
        points = shares.transpose(0, 2, 1) @ self._windows[back]
        total = points[:, 0, : self._width] + points[:, 1, 1 : 1 + self._width]
        for point in range(2, _POINTS):
            total += points[:, point, point : point + self._width]
        total *= UNIT / 2**24
        cycles: Floats = np.floor(total, out=total)
        return cycles

    def pushes(self, delays: Integers) -> list[list[int]]:
        """What `steer` makes of the delays of all stretches, (stretches, chunks), once all lags are there."""
        found: list[list[int]] = self._pushes(delays, LAGS).tolist()
        return found

    def steer(self, index: int, delays: Integers, pushes: Sequence[int] | None = None) -> None:
        """Move the periods of the first chunks by what stretch `index` told.

        Args:
            delays: (chunks,), the sum of the stretch's parts; `pushes` of them, where they are known.
        """
        if index < self._all_lags_from or pushes is None:
            pushes = self._pushes(delays, self._lags(index, len(delays))[:, 0]).tolist()
        for row, push in enumerate(pushes):
            if push:
                low, high = self._bounds[row]
                self._now[row] = self._periods[row] = max(low, min(high, self._now[row] - push))

    def _pushes(self, delays: Integers, lags: Integers | int) -> Integers:
        most, gain = _STEER
        # a delay of 1 is 2 * RAMP / 2**delay_shift samples, for the slope is taken over two; the cycles
        # lie (lags + 1) / 2 periods back on average
        chunks = delays.shape[-1]
        asked = (delays * (2 * RAMP * 65536 * gain // 16)) >> self._shifts[:chunks]
        asked = asked * 2 // ((lags + 1) * self._parts[:chunks])
        return np.asarray(np.minimum(np.maximum(asked, -most), most), np.int64)

    def _lags(self, index: int, chunks: int) -> Integers:
        reach = self._before[index, :chunks, None] // self._periods[:chunks]
        return np.asarray(np.minimum(LAGS, reach), np.int64)


def corrected(cycles: Floats, delay: Floats, gain: Floats) -> Floats:
    """The prediction, (..., samples) Q12, from cycles (..., samples + 2); delay and gain of each sample."""
    moved = cycles[..., 2:] - cycles[..., :-2]
    moved *= delay
    np.floor(moved, out=moved)
    body = cycles[..., 1:-1]
    grown = body * gain
    np.floor(grown, out=grown)
    moved += grown
    moved += body
    return moved


@cache
def lagrange() -> Floats:
    """4-point interpolation for every 1/256 sample, (256, 4) whole numbers of sum 2**12."""
    rows = []
    for phase in range(_PHASES):
        at = Fraction(phase, _PHASES)
        row = [-at * (at - 1) * (at - 2) / 6, (at + 1) * (at - 1) * (at - 2) / 2]
        row += [-(at + 1) * at * (at - 2) / 2, (at + 1) * at * (at - 1) / 6]
        whole = [round(share * 4096) for share in row]
        whole[1 if phase < _PHASES // 2 else 2] += 4096 - sum(whole)
        rows.append(whole)
    return np.array(rows, dtype=np.float64)


@lru_cache(maxsize=LAGS)
def taps(lags: int) -> Floats:
    """Interpolation of each lag at each 1/256 sample, (lags * 256, 4) whole numbers of sum 2**24 over lags.

    The latest cycles count a little more.
    """
    shares = [4096 * 7**k // 8**k for k in range(lags)]
    whole = [share * 4096 // sum(shares) for share in shares]
    whole[0] += 4096 - sum(whole)
    return np.concatenate([share * lagrange() for share in whole])


@cache
def all_taps() -> Floats:
    """`taps` of 0 .. LAGS lags one behind the other, (13 * LAGS * 256, 4), of absent lags 0."""
    table = np.zeros((LAGS + 1, LAGS * _PHASES, _POINTS))
    for lags in range(1, LAGS + 1):
        table[lags, : lags * _PHASES] = taps(lags)
    return table.reshape(-1, _POINTS)


@lru_cache(maxsize=8)
def ramps(samples: int, parts: int) -> Floats:
    """What each told number does to the samples, (2 * parts, samples): level and slope by part."""
    out = np.zeros((2 * parts, samples))
    for part in range(parts):
        first, end = samples * part // parts, samples * (part + 1) // parts
        out[2 * part, first:end] = RAMP
        if end > first:
            out[2 * part + 1, first:end] = np.floor(
                (2 * np.arange(end - first) - (end - first - 1)) * RAMP / (end - first)
            )
    return out
