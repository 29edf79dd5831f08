"""What `opq_measure` says of an event's waveforms, measured once and shared by all analyses.

An analysis is pure and asks for itself; the first one that asks has the waveform measured, the others find
the result here. Results are known by the samples, not by the event: the same waveform in another
event, or in a re-analysis, is not measured again while it is here.
"""

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import chain

from opq_measure.analysis.analysed import Analysis
from opq_measure.analysis.analyser import analyze
from opq_measure.analysis.occurrence import Occurrence
from opq_measure.events.limits import Limits
from opq_measure.signal import FloatArray
from opq_proto.messages import Event, Finding, Waveform

MOST_RESULTS = 256
"""Kept: some 0.1 MB each for 10 s. An event of more Boxes is measured again by each analysis."""
DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class NominalConfig:
    """What each analysis knows of the grid; its own settings follow."""

    nominal_v: float = field(default=120.0, metadata={"minimum": 1.0, "maximum": 1e6})
    nominal_hz: float = field(default=60.0, metadata={"minimum": 10.0, "maximum": 400.0})


@dataclass(frozen=True, slots=True)
class MeasuredRun:
    """A piece of a waveform without gaps, and what the measurement core says of it."""

    run: Waveform
    analysis: Analysis

    @property
    def volts(self) -> FloatArray:
        """(n,) float64."""
        return self.run.volts

    def suddenly(self, *kinds: str) -> list[Occurrence]:
        """What happened of these classes, also what came with a dip or a swell."""
        every = chain(self.analysis.occurrences, *self.analysis.details)
        return sorted((each for each in every if each.kind in kinds), key=lambda each: each.start_sample)


_Key = tuple[bytes, int, float, float, float, Limits]


class MeasuredResults:
    """The newest results by what they were made of, for any thread; `measured` counts what was computed."""

    def __init__(self, most: int = MOST_RESULTS) -> None:
        self.measured = 0
        self._most = most
        self._results: OrderedDict[_Key, Analysis] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, run: Waveform, nominal_v: float, nominal_hz: float, limits: Limits) -> Analysis:
        """The analysis of a waveform without gaps. Raises ValueError when it cannot be measured."""
        digest = blake2b(run.counts.tobytes(), digest_size=16).digest()
        key = (digest, run.rate_millihz, run.v_per_lsb, nominal_v, nominal_hz, limits)
        with self._lock:
            known = self._results.get(key)
            if known is not None:
                self._results.move_to_end(key)
                return known
            self.measured += 1
        found = analyze(run.volts, run.rate_hz, nominal_v, nominal_hz, limits)
        with self._lock:
            self._results[key] = found
            while len(self._results) > self._most:
                self._results.popitem(last=False)
        return found


RESULTS = MeasuredResults()
"""Of this process."""


def measured_runs(event: Event, config: NominalConfig, limits: Limits = DEFAULT_LIMITS) -> list[MeasuredRun]:
    """Each piece of each Box's waveform, measured; a gap ends a piece."""
    return [
        MeasuredRun(run, RESULTS.of(run, config.nominal_v, config.nominal_hz, limits))
        for wave in event.waveforms
        for run in wave.runs()
    ]


def findings_of(
    event: Event,
    config: NominalConfig,
    found: Callable[[MeasuredRun], Iterable[Occurrence]],
    measurement_type: str = "VOLTAGE",
) -> tuple[Finding, ...]:
    """The findings of one analysis, of all Boxes in time order; `found` says what is in one piece."""
    findings = [
        finding_of(each, piece.run, measurement_type)
        for piece in measured_runs(event, config)
        for each in found(piece)
    ]
    return tuple(sorted(findings, key=lambda finding: finding.start_ns))


def finding_of(each: Occurrence, run: Waveform, measurement_type: str = "VOLTAGE") -> Finding:
    """An occurrence as a finding: no residual and no verdict, but its figures."""
    because = f"{each.because}; it had begun before this waveform" if each.open_at_start else each.because
    return Finding(
        kind=each.kind,
        box_id=run.box_id,
        start_ns=run.time_ns(each.start_sample),
        end_ns=run.end_ns if each.open else run.time_ns(each.end_sample),
        uncertainty_ns=run.uncertainty_ns,
        closed=not each.open,
        duration_cycles=each.duration_s * each.nominal_hz,
        confidence=each.confidence,
        because=because,
        measurement_type=measurement_type,
        figures=tuple((name, float(value)) for name, value in each.figures.items() if math.isfinite(value)),
    )
