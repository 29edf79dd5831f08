"""A signal with its analysis: what a classification is made of."""

from dataclasses import dataclass
from itertools import chain

import numpy as np

from opq_measure.analysis.analysed import Analysis
from opq_measure.analysis.occurrence import Occurrence
from opq_measure.signal import BoolArray, FloatArray

TRANSIENTS = ("impulsive_transient", "oscillatory_transient")
BESIDE_CYCLES = 1.5
"""Around a dip, a step or a jump no cycle counts for the mean one, nor for the envelope."""


@dataclass(frozen=True, slots=True)
class MeasuredSignal:
    """A signal without gaps and what was measured of it. `volts` (n,)."""

    volts: FloatArray
    analysis: Analysis

    @property
    def cycle(self) -> float:
        """Samples of a nominal cycle."""
        return self.analysis.rate_hz / self.analysis.nominal_hz

    def sudden(self) -> list[Occurrence]:
        """Jumps, transients and steps, also those that came with a dip."""
        kinds = (*TRANSIENTS, "phase_jump", "rapid_voltage_change")
        every = chain(self.analysis.occurrences, *self.analysis.details)
        return sorted((each for each in every if each.kind in kinds), key=lambda each: each.start_sample)

    def clear_of(self, starts: FloatArray) -> BoolArray:
        """(k,) which cycles that begin at `starts` (k,) no dip, step, jump or transient touches."""
        clear = np.ones(len(starts), dtype=np.bool_)
        beside = BESIDE_CYCLES * self.cycle
        for begin, end in chain(
            ((each.start_sample, each.end_sample) for each in self.analysis.disturbances),
            ((each.start_sample, each.end_sample) for each in self.sudden()),
        ):
            clear &= (starts + beside < begin) | (starts > end + beside)
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
