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


class Predictor:
    """Walks over one chunk; `history` is filled by the owner up to the stretch being predicted."""

    def __init__(self, setup: Setup, samples: int) -> None:
        width = setup.stretch_samples + 2 + _POINTS - 1
        padded = np.zeros(samples + width)  # the last window may reach beyond, into what is cut off
        self.history: Floats = padded[:samples]
        self._windows = np.lib.stride_tricks.sliding_window_view(padded, width)
        self._setup = setup
        self._period = setup.period

    def cycles(self, at: int, samples: int) -> Floats:
        """Earlier cycles laid over [at - 1, at + samples + 1), (samples + 2,) Q12."""
        lags = self._lags(at)
        back = ((at - 2) << 16) - _MULTIPLES[:lags] * self._period
        shares = taps(lags).take(((back >> 8) & (_PHASES - 1)) + _ROWS[:lags], axis=0)
        points = shares.T @ self._windows[back >> 16]
        total = points[0, : samples + 2]
        for point in range(1, _POINTS):
            total = total + points[point, point : point + samples + 2]
        total *= UNIT / 2**24
        cycles: Floats = np.floor(total, out=total)
        return cycles

    def corrected(self, cycles: Floats, delay: Floats, gain: Floats) -> Floats:
        """The prediction, (samples,) Q12; `delay` and `gain` as `spread` gives them."""
        moved = cycles[2:] - cycles[:-2]
        moved *= delay
        np.floor(moved, out=moved)
        body = cycles[1:-1]
        grown = body * gain
        np.floor(grown, out=grown)
        moved += grown
        moved += body
        return moved

    def steer(self, at: int, delay: int) -> None:
        """Move the period by what the delays of the stretch at `at` told, the sum of its parts."""
        most, gain = _STEER
        # a delay of 1 is 2 * RAMP / 2**delay_shift samples, for the slope is taken over two; the cycles
        # lie (lags + 1) / 2 periods back on average
        asked = (delay * 2 * RAMP * 65536 * gain // 16) >> self._setup.delay_shift
        asked = asked * 2 // ((self._lags(at) + 1) * self._setup.parts)
        drift = (_DRIFT << 16) - 1
        period = self._period - max(-most, min(most, asked))
        self._period = max(self._setup.period - drift, min(self._setup.period + drift, period))

    def _lags(self, at: int) -> int:
        return min(LAGS, ((at - 2) << 16) // self._period)


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
