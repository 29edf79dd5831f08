"""A signal with its analysis: the input of a classification."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from opq_measure.analysis.analysed import SignalAnalysis
from opq_measure.analysis.occurrence import Occurrence
from opq_measure.events.disturbance import Disturbance
from opq_measure.events.limits import Limits
from opq_measure.signal import BoolArray, FloatArray

DEFAULT_LIMITS = Limits()
TRANSIENTS = ("impulsive_transient", "oscillatory_transient")
SHORT_CYCLES = 2.0
"""A dip of fewer cycles may be due to noise alone; a longer one is judged by its mean."""
NOISE_SIGMAS = 3.0
"""It may be due to noise if it is beyond its limit by less than this many times the scatter of the rms."""
AVERAGED_VALUES = 5
"""Number of Urms(1/2) values in three cycles."""
BESIDE_CYCLES = 1.5
"""Cycles around a dip, a step or a jump that are left out of the mean cycle and of the envelope."""


@dataclass(frozen=True, slots=True)
class MeasuredSignal:
    """A signal without gaps and its analysis. `volts` (n,)."""

    volts: FloatArray
    analysis: SignalAnalysis
    rms_limits: Limits = DEFAULT_LIMITS
    """The limits that the analysis was made with."""

    @property
    def cycle(self) -> float:
        """Samples of a nominal cycle."""
        return self.analysis.rate_hz / self.analysis.nominal_hz

    @property
    def dead_peak_v(self) -> float:
        """Largest peak of a wave that is an interruption."""
        return math.sqrt(2) * self.rms_limits.interruption_percent / 100 * self.analysis.nominal_v

    @property
    def usual_rms_v(self) -> float:
        """Median of the cycles that have more than an interruption and the noise leave; NaN with none.

        If an interruption fills most of the signal, a median of all cycles would be its noise, and everything
        is large against that.
        """
        noise_v = self.analysis.noise_v if math.isfinite(self.analysis.noise_v) else 0.0
        least_v = math.hypot(self.rms_limits.interruption_percent / 100 * self.analysis.nominal_v, noise_v)
        alive = self.analysis.rms_v[self.analysis.rms_v >= least_v]
        return float(np.median(alive)) if len(alive) else math.nan

    def sudden(self) -> list[Occurrence]:
        """Jumps, transients and steps, including those that came with a dip."""
        kinds = (*TRANSIENTS, "phase_jump", "rapid_voltage_change")
        every = chain(self.analysis.occurrences, *self.analysis.details)
        return sorted((each for each in every if each.kind in kinds), key=lambda each: each.start_sample)

    def by_noise(self, level: Disturbance) -> bool:
        """Whether noise alone can move the rms of a cycle as far beyond the limit as this dip or swell is.

        The rms of a cycle of n samples scatters by noise / sqrt(n). Where a signal is near the limit, one of
        its many cycles is soon beyond it; so for a longer dip the mean counts.
        """
        sigma_percent = self._sigma_percent
        limit = self.rms_limits.threshold_percent(1 if level.residual_percent > 100 else -1)
        if abs(level.residual_percent - limit) >= NOISE_SIGMAS * sigma_percent:
            return False
        return level.duration_cycles < SHORT_CYCLES or not self._beyond(level, limit)

    def is_change_by_noise(self, change: Occurrence, limit_percent: float) -> bool:
        """The same for a rapid voltage change that came back; there the mean of three cycles counts."""
        if change.kind != "rapid_voltage_change":
            return False
        largest = abs(change.figures["largest_change_percent"])
        if abs(change.figures["steady_change_percent"]) >= limit_percent:
            return False
        if largest - limit_percent >= NOISE_SIGMAS * self._sigma_percent:
            return False
        starts, half_rms_v = self.analysis.half_starts, self.analysis.half_rms_v
        first = int(np.searchsorted(starts, change.start_sample - self.cycle))
        last = int(np.searchsorted(starts, change.end_sample + self.cycle))
        before_v = half_rms_v[max(0, first - round(2 * self.analysis.nominal_hz)) : first]
        during_v = half_rms_v[first:last]
        if len(before_v) < AVERAGED_VALUES or len(during_v) < AVERAGED_VALUES:
            return False
        means_v = np.convolve(during_v, np.ones(AVERAGED_VALUES) / AVERAGED_VALUES, "valid")
        off_v = np.nanmax(np.abs(means_v - np.nanmedian(before_v)))
        return bool(100 * off_v < limit_percent * self.analysis.nominal_v)

    @property
    def _sigma_percent(self) -> float:
        """Scatter of the rms of a cycle by noise, percent of nominal; 0 where the noise is not known."""
        noise_v = self.analysis.noise_v
        known = math.isfinite(noise_v)
        return 100 * noise_v / self.analysis.nominal_v / math.sqrt(self.cycle) if known else 0.0

    def left_percent(self, level: Disturbance) -> float:
        """The least mean of some cycles of a dip, without the noise, percent of nominal.

        The least single value of many is too low because of the noise. NaN where values or noise are not
        known.
        """
        series = self.analysis.series.noise
        known = series[np.isfinite(series)]
        noise_v = float(np.mean(known)) * self.usual_rms_v if len(known) else self.analysis.noise_v
        square_v2 = self._inside_v(level) ** 2
        if not (len(square_v2) and math.isfinite(noise_v)):
            return math.nan
        # in a short dip, some values contain part of the wave beside it or of a ringing at its start
        together = min(AVERAGED_VALUES, max(1, len(square_v2) // 3))
        least_v2 = float(np.convolve(square_v2, np.ones(together) / together, "valid").min())
        return 100 * math.sqrt(max(0.0, least_v2 - noise_v**2)) / self.analysis.nominal_v

    def _inside_v(self, level: Disturbance) -> FloatArray:
        """The known Urms(1/2) values while a dip or swell lasts."""
        starts, half_rms_v = self.analysis.half_starts, self.analysis.half_rms_v
        return half_rms_v[
            (starts >= level.start_sample) & (starts < level.end_sample) & np.isfinite(half_rms_v)
        ]

    def _beyond(self, level: Disturbance, limit_percent: float) -> bool:
        """Whether the mean of a dip or swell, without the noise, is beyond the limit."""
        inside_v = self._inside_v(level)
        if not len(inside_v):
            return True
        square = float(np.mean(inside_v**2)) - self.analysis.noise_v**2
        percent = 100 * math.sqrt(max(0.0, square)) / self.analysis.nominal_v
        return percent > limit_percent if level.residual_percent > 100 else percent < limit_percent

    def clear_of(self, starts: FloatArray, also: Sequence[Occurrence] = ()) -> BoolArray:
        """(k,) whether the cycle at each of `starts` (k,) is clear of dips, steps, jumps and transients.

        `also`: further ones that were found, such as those in the end of a signal that no window contains.
        """
        clear = np.ones(len(starts), dtype=np.bool_)
        beside = BESIDE_CYCLES * self.cycle
        for begin, end in chain(
            (
                (each.start_sample, each.end_sample)
                for each in self.analysis.disturbances
                if not self.by_noise(each)
            ),
            ((each.start_sample, each.end_sample) for each in (*self.sudden(), *also)),
        ):
            clear &= (starts + beside < begin) | (starts > end + beside)
        return clear

    def windows_without(self, kinds: Collection[str]) -> BoolArray:
        """(w,) whether each window of the course is clear of sudden occurrences of these classes."""
        series = self.analysis.series
        clear = np.ones(len(series.starts), dtype=np.bool_)
        for each in self.sudden():
            if each.kind in kinds:
                clear &= (series.stops <= each.start_sample) | (series.starts >= each.end_sample)
        return clear

    def throughout(self, kind: str, confidence: float, because: str, figures: dict[str, float]) -> Occurrence:
        """An occurrence that fills the signal."""
        return Occurrence(
            kind=kind,
            start_sample=0.0,
            end_sample=float(self.analysis.samples),
            rate_hz=self.analysis.rate_hz,
            nominal_hz=self.analysis.nominal_hz,
            confidence=confidence,
            because=because,
            figures=figures,
            open=True,
            open_at_start=True,
        )
