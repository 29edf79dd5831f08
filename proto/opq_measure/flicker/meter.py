"""Flickermeter: Pst of every ten minutes and Plt of every two hours of a stream of samples.

Blocks 1 to 4 are in `sensation`, lamp and eye in `lamps`, the statistics of block 5 in `severity`. This
module adds what a stream needs: ten minutes by UTC, gaps, and a clock that may be set while it runs.

Source: IEC 61000-4-15:2010; IEC 61000-4-30:2015, 5.3 (class A: aligned to UTC).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from opq_measure.flicker.lamps import Lamp
from opq_measure.flicker.sensation import SETTLE_S, Sensation
from opq_measure.signal import BLOCK_SAMPLES, FloatArray, SignalArray, SignalPiece, check_samples

MIN_S = 5.0
"""Shorter signals have no value, because too little is left after the 2 s that the filters need."""
MIN_SHARE = 0.95
"""Share of ten minutes that Pst needs. The two seconds after a gap do not count."""
PST_S = 600.0
"""Observation time of Pst; IEC 61000-4-15:2010, 5.7.1."""
PSTS_PER_PLT = 12
"""Two hours; IEC 61000-4-15:2010, 5.8."""
WEIGHTS = (0.0314, 0.0525, 0.0657, 0.28, 0.08)
"""Weights of P0.1, P1s, P3s, P10s, P50s."""
EXCEEDED_PERCENT = (
    (0.1,),
    (0.7, 1.0, 1.5),
    (2.2, 3.0, 4.0),
    (6.0, 8.0, 10.0, 13.0, 17.0),
    (30.0, 50.0, 80.0),
)
"""Percent of the time that each level is exceeded for; the levels of a group are averaged ("s", smoothed)."""
KEPT_HZ = 300.0
"""Rate at which Pinst is classified; after 300 ms of smoothing little is left above 20 Hz."""
PST_NS = round(PST_S * 1e9)
SLACK_NS = 1_000_000
"""Ten minutes begin 1 ms early, so that a block that begins on their start, apart from rounding, begins the
new ten minutes; Pinst smooths over three hundred times as long."""
ON_SAMPLE_TOLERANCE = 0.01
"""A start this many samples after a sample is on it, because nanoseconds are rounded block by block."""
MIN_RATE = 20.0
"""Samples per cycle of the lamp's mains; see `signal.check_signal`."""
MAX_PPM = 1000.0
"""A larger change of the rate begins a new run."""


def severity(pinst: FloatArray) -> float:
    """Pst from Pinst, (n,) evenly spaced over ten minutes; NaN without values.

    The percentiles are exact, of the values themselves: there are no classes, so no value is out of range.

    Source: IEC 61000-4-15:2010, 5.7.2.
    """
    if len(pinst) == 0:
        return float("nan")
    percents = [percent for group in EXCEEDED_PERCENT for percent in group]
    levels = iter(np.percentile(pinst, [100.0 - percent for percent in percents]).tolist())
    means = (float(np.mean([next(levels) for _ in group])) for group in EXCEEDED_PERCENT)
    return float(np.sqrt(sum(weight * mean for weight, mean in zip(WEIGHTS, means, strict=True))))


def long_term_severity(psts: FloatArray) -> float:
    """Plt: the cube root of the mean cube of the (12,) Pst of two hours; NaN when one of them is unknown.

    Raises:
        ValueError: not 12 of them.
    Source: IEC 61000-4-15:2010, 5.8.
    """
    if len(psts) != PSTS_PER_PLT:
        raise ValueError(f"{len(psts)} values of Pst, want {PSTS_PER_PLT}: Plt is that of two hours")
    return float(np.cbrt(np.mean(np.asarray(psts, dtype=np.float64) ** 3)))


@dataclass(frozen=True, slots=True)
class FlickerInterval:
    """Ten minutes, or as much of them as there was.

    `first_sample`, `end_sample`: absolute, half open, what was pushed in it; accurate to a value of Pinst
    (some 3 ms). `start_ns`, `end_ns`: the ten minutes' own UTC; None when the samples came without time,
    then they count from the start of the run. `pst` NaN when less than 95 % of the ten minutes were seen,
    `pinst_max` NaN when nothing was. `plt`: of the two hours that end here (even hours UTC), else NaN.
    `seen_s`: seconds with a valid Pinst.
    """

    first_sample: int
    end_sample: int
    start_ns: int | None
    end_ns: int | None
    pst: float
    pinst_max: float
    plt: float
    seen_s: float


@dataclass(slots=True)
class _Open:
    """Ten minutes that are not over: `number` counts them from 1970 or from the run's start."""

    number: int
    timed: bool
    first_sample: int
    pinst: list[NDArray[np.float32]] = field(default_factory=list)
    pinst_max: float = float("nan")
    seen: Counter[float] = field(default_factory=Counter)
    """Rate of Pinst -> count of values; sums of seconds would depend on how the blocks are cut."""

    @property
    def seen_s(self) -> float:
        return sum(values / work_hz for work_hz, values in sorted(self.seen.items()))


class Flickermeter:
    """Blocks 1 to 5, streaming; pieces of any size give the same numbers as one call, bit for bit.

    A run ends where `first_sample` jumps or the rate (by more than 1000 ppm) or the gain changes: the
    filters restart, Pinst of the first two seconds is left out, the ten minutes continue.

    Raises:
        ValueError: from `push_samples`, see `signal.check_signal`.

    Error: Pst within 0.5 % of table 5, all four lamps (test_measure_flicker_tables.py);
    noise of 60 dB alone has Pst 0.04. Some 0.3 ms CPU per second of signal at 12 kS/s, and 0.8 MB: Pinst
    is kept in single precision, 6e-8 of itself.
    """

    def __init__(self, lamp: Lamp) -> None:
        self.lamp = lamp
        self._sensation: Sensation | None = None
        self._run: tuple[int, float, float] = (0, 0.0, 1.0)  # first sample, rate, gain
        self._last_time: tuple[int, int] | None = (
            None  # sample and UTC of the last piece of the run that had it
        )
        self._next_sample = 0
        self._values = 0
        self._marks: list[tuple[int, int, bool]] = []  # (value of the run, number, timed), rising
        self._number: int | None = None  # of the newest mark
        self._open: _Open | None = None
        self._psts: list[tuple[int, float]] = []
        self._restored: int | None = None  # up to this number Pst is known from before

    def restore_psts(self, psts: Sequence[tuple[int, float]]) -> None:
        """Takes (start_ns, Pst) of ten minutes that were measured before, in time order, for Plt; call it
        before the first samples."""
        self._psts = [(start_ns // PST_NS, pst) for start_ns, pst in psts]
        self._restored = self._psts[-1][0] if self._psts else None

    def push_samples(self, samples: SignalPiece) -> list[FlickerInterval]:
        """The intervals that are over now; Pinst is up to two seconds behind the samples."""
        found = []
        if self._sensation is None or not self._goes_on(samples):
            found += self._end_run(samples.start_ns is not None)
            self._sensation = Sensation(samples.rate_hz, self.lamp)
            self._run = (samples.first_sample, samples.rate_hz, samples.v_per_lsb)
            self._values = 0
            self._last_time = None
        self._mark(samples, self._sensation)
        pinst = self._sensation.push_volts(samples.volts)
        self._next_sample = samples.first_sample + len(samples.volts)
        return found + list(self._classified(pinst, self._sensation))

    def end(self) -> list[FlickerInterval]:
        """Ends the stream and returns the intervals left, with the one that is still open."""
        return self._end_run(False)

    def _goes_on(self, samples: SignalPiece) -> bool:
        _, rate_hz, v_per_lsb = self._run
        same_rate = abs(samples.rate_hz / rate_hz - 1) <= MAX_PPM * 1e-6
        return samples.first_sample == self._next_sample and same_rate and samples.v_per_lsb == v_per_lsb

    def _end_run(self, timed: bool) -> list[FlickerInterval]:
        """Ends the run, and its last ten minutes unless both they and the next samples have UTC."""
        if self._sensation is None:
            return []
        found = list(self._classified(self._sensation.end(), self._sensation))
        self._marks.clear()
        if not (timed and self._open is not None and self._open.timed):
            found += self._closed(self._next_sample)
        self._number = None if self._open is None else self._open.number
        self._sensation = None
        return found

    def _mark(self, samples: SignalPiece, sensation: Sensation) -> None:
        """Records, for all ten minutes that begin in these samples, at which value of the run they begin."""
        run_first = self._run[0]
        if samples.start_ns is not None:
            self._last_time = (samples.first_sample, samples.start_ns)
        timed = self._last_time is not None  # a piece without a time continues that of the last
        since, last_ns = self._last_time or (run_first, 0)
        start_ns = last_ns + round((samples.first_sample - since) / samples.rate_hz * 1e9) + SLACK_NS
        end_ns = start_ns + round(len(samples.volts) / samples.rate_hz * 1e9)
        number = start_ns // PST_NS
        at = samples.first_sample - run_first
        if number != self._number and not self._jitters(number, start_ns):
            self._add_mark(at, number, timed, sensation)
        for later in range(number + 1, (end_ns - 1) // PST_NS + 1):
            if later != self._number:
                position = at + (later * PST_NS - start_ns) * samples.rate_hz / 1e9
                self._add_mark(position, later, timed, sensation)

    def _jitters(self, number: int, start_ns: int) -> bool:
        """Whether the clock was set back by less than a second, so that the ten minutes begun go on."""
        return self._number == number + 1 and (number + 1) * PST_NS - start_ns < 1_000_000_000

    def _add_mark(self, position: float, number: int, timed: bool, sensation: Sensation) -> None:
        self._marks.append((int(np.ceil((position - ON_SAMPLE_TOLERANCE) / sensation.group)), number, timed))
        self._number = number

    def _classified(self, pinst: FloatArray, sensation: Sensation) -> Iterator[FlickerInterval]:
        """Assigns the values to their ten minutes and yields those that are over."""
        first, last = self._values, self._values + len(pinst)
        while first < last:
            if self._marks and self._marks[0][0] <= first:
                _, number, timed = self._marks.pop(0)
                sample = self._run[0] + first * sensation.group
                if self._open is None or self._open.number != number or self._open.timed != timed:
                    yield from self._closed(sample)
                    self._open = _Open(number, timed, sample)
                continue
            until = min(last, self._marks[0][0]) if self._marks else last
            self._collect(pinst[first - self._values : until - self._values], first, sensation)
            first = until
        self._values = last

    def _collect(self, pinst: FloatArray, first: int, sensation: Sensation) -> None:
        """Keeps each `step`-th value, counted in the run, so that it does not matter how blocks were cut."""
        settling = max(0, round(SETTLE_S * sensation.work_hz) - first)
        pinst, first = pinst[settling:], first + settling
        if len(pinst) == 0 or self._open is None:
            return
        step = max(1, round(sensation.work_hz / KEPT_HZ))
        self._open.pinst.append(pinst[-first % step :: step].astype(np.float32))  # 0.7 MB in ten minutes
        self._open.pinst_max = float(np.fmax(self._open.pinst_max, pinst.max()))
        self._open.seen[sensation.work_hz] += len(pinst)

    def _closed(self, sample: int) -> Iterator[FlickerInterval]:
        done, self._open = self._open, None
        if done is None:
            return
        pinst = np.concatenate(done.pinst).astype(np.float64) if done.pinst else np.empty(0)
        pst = severity(pinst) if done.seen_s >= MIN_SHARE * PST_S else float("nan")
        yield FlickerInterval(
            first_sample=done.first_sample,
            end_sample=sample,
            start_ns=done.number * PST_NS if done.timed else None,
            end_ns=(done.number + 1) * PST_NS if done.timed else None,
            pst=pst,
            pinst_max=done.pinst_max,
            plt=self._long_term(done.number, pst),
            seen_s=done.seen_s,
        )

    def _long_term(self, number: int, pst: float) -> float:
        """Plt, when these ten minutes end at an even hour and the eleven before are known; else NaN."""
        if self._restored is not None and number <= self._restored:
            return float("nan")  # a part of it was measured again, after a restart
        self._restored = None
        self._psts = [*self._psts[-(PSTS_PER_PLT - 1) :], (number, pst)]
        numbers = [known for known, _ in self._psts]
        if (number + 1) % PSTS_PER_PLT or numbers != list(range(number - PSTS_PER_PLT + 1, number + 1)):
            return float("nan")
        return long_term_severity(np.array([value for _, value in self._psts]))


@dataclass(frozen=True, slots=True)
class Flicker:
    """`pinst_max` after settling; `pst`, the largest of the ten-minute spans. None if too short for it."""

    pinst_max: float | None
    pst: float | None


def flicker(volts: SignalArray, rate_hz: float, lamp: Lamp) -> Flicker:
    """Flicker severity of a signal: a `Flickermeter` over all of it, its ten minutes from the start on.

    Args:
        volts: (n,) counts or volts; the level does not matter. Memory-mapped arrays are read by blocks.
            Shorter than 5 s, or of less than 20 samples per cycle of the lamp's mains, it has no value.
    Raises:
        ValueError: see `signal.check_signal`.
    """
    if not 0 < rate_hz < np.inf:
        raise ValueError(f"rate_hz is {rate_hz:g}, want a positive number")
    if len(volts) < MIN_S * rate_hz or rate_hz < MIN_RATE * lamp.nominal_hz:
        check_samples(volts)
        return Flicker(None, None)
    meter = Flickermeter(lamp)
    found = []
    for first in range(0, len(volts), BLOCK_SAMPLES):
        found += meter.push_samples(SignalPiece(volts[first : first + BLOCK_SAMPLES], first, rate_hz, None))
    found += meter.end()
    psts = [interval.pst for interval in found if np.isfinite(interval.pst)]
    return Flicker(float(np.nanmax([interval.pinst_max for interval in found])), max(psts) if psts else None)
