"""Predictor: predicts stretches of mains, each a little under a cycle, from twelve cycles before them.

All stretches of a group are predicted at once from the samples before the group, so that a chunk is decoded
in ten steps of NumPy per second and not in 12,000 of Python. The encoder measures how far frequency and
amplitude have moved, and stores a delay and a gain per half or whole stretch, each with its slope. The stored
delays also steer the period (`PredictorState`), so that they stay small.

Exact everywhere: every value is a whole number below 2**53 or such a number times a power of two, so float64
holds each one, and sums of them, in whatever order BLAS adds or a processor fuses, are the same on every
machine. Rounding is by `floor` of exact values only. No other arithmetic is allowed here.

    cycles    = sum over lags k of weight[k] * x(n - (ahead + k) * period)                              Q12
                by 4-point Lagrange at 1/256 sample; `ahead` stretches of the group lie before
    predicted = cycles + (delay * slope of cycles >> delay_shift) + (gain * cycles >> gain_shift)       Q12
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

LAG_CYCLES: Final = 12
"""Number of cycles. With the weights of `taps` their noise adds 0.07 bit; with more, a dip has an effect for
longer."""
UNIT: Final = 4096
"""A sample in Q12."""
MIN_PERIOD = 32.0
"""Fewest samples of a period that is searched."""
MAX_PERIOD = 2000.0
"""Most samples of a period that is searched."""
_PHASES = 256
"""Places of the interpolation in a sample."""
_POINTS = 4
"""Samples from which one value is interpolated."""
_DRIFT_SAMPLES: Final = 3
"""Most samples that the period may move within a chunk: 1.5 % of 200."""
_LEAD_SAMPLES: Final = 2
"""The cycles of a stretch begin this many samples before it."""
_MAX_DRIFT: Final = (_DRIFT_SAMPLES << 16) - 1
_STEER: Final = (1 << 14, 13)
"""At most 1/4 sample of period per stretch, and 13/16 of the change that the delay suggests."""
RAMP_SAMPLES: Final = 64
GROUP_STRETCHES: Final = 6
"""Most stretches in a group. Without groups a chunk would be 0.2 % shorter (10 % with 8 bits) and take twice
the time."""
_MULTIPLES: Final = np.add.outer(np.arange(GROUP_STRETCHES), np.arange(1, LAG_CYCLES + 1))[:, None, :]
"""How many periods back each lag lies, by the number of the group's stretches in between."""
_ROWS: Final = np.arange(LAG_CYCLES, dtype=np.int64) * _PHASES


@dataclass(frozen=True, slots=True)
class PredictorSetup:
    """Parameters of a chunk's predictor. `period` in 1/65536 sample; `parts` of a stretch: 1 or 2."""

    period: int
    parts: int
    delay_shift: int
    gain_shift: int

    @property
    def stretch_samples(self) -> int:
        return (self.period >> 16) - 2 * _DRIFT_SAMPLES

    @property
    def opening_samples(self) -> int:
        """Samples before the first stretch: one cycle, and the reach of the interpolation beyond it."""
        return (self.period >> 16) + _DRIFT_SAMPLES + _POINTS

    def stretches(self, samples: int) -> int:
        """Number of stretches of a chunk, or of its front, with this many samples."""
        return max(0, -(-(samples - self.opening_samples) // self.stretch_samples))

    def begins(self, stretches: int) -> Integers:
        """First sample of each of this many stretches."""
        return self.opening_samples + self.stretch_samples * np.arange(stretches, dtype=np.int64)


def groups(stretches: int) -> list[tuple[int, int]]:
    """Stretches predicted together, [first, end): at most GROUP_STRETCHES, not more than there are cycles
    before."""
    found = []
    first = 0
    while first < stretches:
        end = min(stretches, first + min(first + 1, GROUP_STRETCHES))
        found.append((first, end))
        first = end
    return found


class PredictorState:
    """Period and number of lags of each stretch of a chunk, steered by the coded delays of earlier
    stretches."""

    def __init__(self, setup: PredictorSetup) -> None:
        self._setup = setup
        self._ahead = 0
        self._size = 1
        self.periods = [setup.period]
        """The period of each stretch, up to the next one."""
        self.lags = [1]

    @property
    def ahead(self) -> int:
        """Stretches of the group before the next one."""
        return self._ahead

    def advance(self, delay: int) -> None:
        """Advances by a stretch with this coded delay, the sum of its parts."""
        most, gain = _STEER
        setup = self._setup
        # a delay of 1 is 2 * RAMP_SAMPLES / 2**delay_shift samples: the slope is taken over two; the cycles
        # lie `far` / 2 periods back on average
        far = 2 * self._ahead + self.lags[-1] + 1
        delay_steps = (delay * (2 * RAMP_SAMPLES * 65536 * gain // 16)) >> setup.delay_shift
        delay_steps = delay_steps * 2 // (far * setup.parts)
        period = self.periods[-1] - max(-most, min(most, delay_steps))
        period = max(setup.period - _MAX_DRIFT, min(setup.period + _MAX_DRIFT, period))
        stretches = len(self.periods)
        self._ahead += 1
        if self._ahead == self._size:
            self._ahead, self._size = 0, min(stretches + 1, GROUP_STRETCHES)
        before = setup.opening_samples - _LEAD_SAMPLES + stretches * setup.stretch_samples
        self.periods.append(period)
        self.lags.append(min(LAG_CYCLES, (before << 16) // period - self._ahead))


class Predictor:
    """Lays earlier cycles over stretches of several chunks together, because a step of NumPy costs little
    more for twelve chunks than for one. The owner fills `history` up to the group being predicted.

    Rows belong to chunks, in the order of `setups`; a call for fewer chunks gets the first ones.
    """

    def __init__(self, setups: Sequence[PredictorSetup], stretches: int) -> None:
        """`stretches`: the largest number of stretches of a chunk."""
        self._width = max(setup.stretch_samples for setup in setups) + 2
        window = self._width + _POINTS - 1
        room = max(setup.opening_samples + stretches * setup.stretch_samples for setup in setups)
        padded = np.zeros((len(setups), room + window))  # windows may reach into the part that is cut off
        self.history: Floats = padded[:, :room]
        """(chunks, samples and some more)."""
        self._windows = np.lib.stride_tricks.sliding_window_view(padded.reshape(-1), window)
        begins = np.array([setup.begins(stretches) for setup in setups], np.int64).T - _LEAD_SAMPLES
        self._starts = ((begins + np.arange(len(setups)) * (room + window)) << 16)[:, :, None]

    def cycles(self, first: int, periods: Integers, lags: Integers, ahead: int = 0) -> Floats:
        """Earlier cycles laid over stretches from `first` on, with one more sample on each side.

        Args:
            periods: (stretches, chunks) as in `PredictorState`; `lags` too, 0 where a chunk has ended.
            ahead: stretches of their group that lie before `first`.
        Returns:
            (stretches, chunks, longest stretch + 2) Q12; values after a chunk's stretch are undefined.
        """
        stretches, chunks = periods.shape
        back = _MULTIPLES[ahead : ahead + stretches] * periods[:, :, None]
        np.subtract(self._starts[first : first + stretches, :chunks], back, out=back)
        at = ((back >> 8) & (_PHASES - 1)) + _ROWS
        if lags.min() < LAG_CYCLES:
            at += lags[:, :, None] * (LAG_CYCLES * _PHASES)
            shares = all_taps().take(at, axis=0)
            np.maximum(back, 0, out=back)  # absent cycles have a share of 0
        else:
            shares = taps(LAG_CYCLES).take(at, axis=0)
        back >>= 16
        points = shares.swapaxes(2, 3) @ self._windows[back]
        total = points[:, :, 0, : self._width] + points[:, :, 1, 1 : 1 + self._width]
        for point in range(2, _POINTS):
            total += points[:, :, point, point : point + self._width]
        total *= UNIT / 2**24
        cycles: Floats = np.floor(total, out=total)
        return cycles


def corrected(cycles: Floats, delay: Floats, gain: Floats) -> Floats:
    """The prediction, (..., samples) Q12, from cycles (..., samples + 2), and delay and gain of each
    sample."""
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


@lru_cache(maxsize=LAG_CYCLES)
def taps(lags: int) -> Floats:
    """Interpolation of each lag at each 1/256 sample, (lags * 256, 4) whole numbers; their sum over lags is
    2**24.

    The latest cycles count a little more.
    """
    shares = [4096 * 7**k // 8**k for k in range(lags)]
    whole = [share * 4096 // sum(shares) for share in shares]
    whole[0] += 4096 - sum(whole)
    return np.concatenate([share * lagrange() for share in whole])


@cache
def all_taps() -> Floats:
    """`taps` of 0 .. LAG_CYCLES lags one after the other, (13 * LAG_CYCLES * 256, 4); absent lags have 0."""
    table = np.zeros((LAG_CYCLES + 1, LAG_CYCLES * _PHASES, _POINTS))
    for lags in range(1, LAG_CYCLES + 1):
        table[lags, : lags * _PHASES] = taps(lags)
    return table.reshape(-1, _POINTS)


@lru_cache(maxsize=8)
def ramps(samples: int, parts: int) -> Floats:
    """Effect of each coded number on the samples, (2 * parts, samples): level and slope by part."""
    out = np.zeros((2 * parts, samples))
    for part in range(parts):
        first, end = samples * part // parts, samples * (part + 1) // parts
        out[2 * part, first:end] = RAMP_SAMPLES
        if end > first:
            out[2 * part + 1, first:end] = np.floor(
                (2 * np.arange(end - first) - (end - first - 1)) * RAMP_SAMPLES / (end - first)
            )
    return out


_EXAMINED = 1 << 14
_NEAR_BEST = 0.9
"""Two and three periods match as well as one, within noise, so the first match that reaches this share of the
best counts."""
_MIN_CORRELATION = 0.2
"""Correlation below which the past adds more noise than it predicts."""


def period_samples(values: NDArray[np.int64], least: float, most: float) -> float | None:
    """Samples per period, to about 0.01; None for a signal that does not repeat (too short, noise,
    constant)."""
    part = values[:_EXAMINED].astype(np.float64)
    part -= part.mean() if len(part) else 0.0
    top = min(int(most), len(part) // 2)
    if top <= least:
        return None
    size = 1 << (2 * len(part) - 1).bit_length()
    spectrum = np.fft.rfft(part, size)
    alike = np.fft.irfft(spectrum.real**2 + spectrum.imag**2, size)[: len(part)]
    alike /= np.arange(len(part), 0, -1)
    if alike[0] <= 0:
        return None
    below = np.flatnonzero(alike[:top] < 0)
    first = max(int(least), int(below[0]) if len(below) else top)
    if first >= top:
        return None
    most_alike = float(alike[first:top].max())
    if most_alike < _MIN_CORRELATION * alike[0]:
        return None
    best = first + int(np.flatnonzero(alike[first:top] >= _NEAR_BEST * most_alike)[0])
    while best + 1 < top and alike[best + 1] > alike[best]:
        best += 1
    period = _peak(alike, best)
    for cycles in (2, 4, 8):
        if round(period * cycles) + 3 < len(part) * 3 // 4:
            period = _peak(alike, round(period * cycles)) / cycles
    return period if least <= period <= most else None


def _peak(alike: NDArray[np.float64], near: int) -> float:
    """Position of the top of the parabola through the highest of five neighbours."""
    at = near - 2 + int(np.argmax(alike[near - 2 : near + 3]))
    left, middle, right = alike[at - 1 : at + 2].tolist()
    bend = left - 2 * middle + right
    return at + (max(-1.0, min(1.0, 0.5 * (left - right) / bend)) if bend < 0 else 0.0)
