"""Results of `opq_measure` for an event's waveforms, measured and classified once for all analyses.

An analysis is pure and requests its own measurements; the first request has the waveform measured, later ones
find the result here. Results are keyed by the samples, not by the event: the same waveform in another
event, or in a re-analysis, is not measured again while its result is kept. The samples are hashed once.
"""

import math
import threading
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import chain
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from opq_cloud.mauka.measuring.onset_figures import Figures, hz_apart, onset_figures
from opq_cloud.store.incidents.box_events import is_steady
from opq_measure.analysis.analysed import SignalAnalysis
from opq_measure.analysis.analyser import analyze
from opq_measure.analysis.occurrence import Occurrence
from opq_measure.classification.class_limits import ClassLimits
from opq_measure.classification.classified_parts import ClassifiedPart
from opq_measure.classification.classifier import parts_in
from opq_measure.classification.measured_signal import MeasuredSignal
from opq_measure.events.disturbance import Disturbance
from opq_measure.events.limits import Limits
from opq_measure.signal import WAVEFORM_SAMPLES
from opq_proto.errors import OpqError
from opq_proto.messages import Event, Finding, Waveform

K = TypeVar("K")
V = TypeVar("V")
MAX_RESULTS = 256
"""Results kept: some 0.1 MB each for 10 s. An event of more Boxes is measured again by each analysis."""
MAX_ONSETS = 12
"""Largest number of onsets of one piece that are examined for their cause; 1 ms each."""
MAX_DIGESTS = 256
"""Waveforms in memory whose hash is kept."""
STEADY_S = 0.1
"""Shortest time in which a voltage can be steady."""
STEADY_PU = 0.02
"""A voltage that varies by this share of nominal at most is steady: the hysteresis."""
DEFAULT_LIMITS = Limits()
ONSET_CYCLES = 2.0
"""A waveform shows an onset if so much precedes it: what is normal before it is not measured in less."""
EVENT_LIMITS = ClassLimits(short_changes=False)
"""Limits of `classify`, but rapid voltage changes need the second of 61000-4-30, 5.11."""


class ClassificationError(OpqError):
    """A waveform is measured, but its classes cannot be computed."""


@dataclass(frozen=True, slots=True)
class NominalConfig:
    """Nominal values that each analysis needs; its own settings follow."""

    nominal_v: float = field(default=120.0, metadata={"minimum": 1.0, "maximum": 1e6})
    nominal_hz: float = field(default=60.0, metadata={"minimum": 10.0, "maximum": 400.0})


@dataclass(frozen=True, slots=True)
class MeasuredRun:
    """A piece of a waveform without gaps, and its results from the measurement core."""

    run: Waveform
    analysis: SignalAnalysis
    key: "_Key"

    def onsets(self) -> list[float]:
        """Returns the samples where something sudden begins, each once."""
        sudden = chain(self.analysis.occurrences, *self.analysis.details)
        starts = {each.start_sample for each in sudden if not is_steady(each.kind)}
        return sorted(starts | {each.start_sample for each in self.analysis.disturbances})


_Key = tuple[bytes, int, float, float, float, Limits]


class MeasuredResults:
    """Keeps the newest results by their inputs, for any thread; `measured` counts the analyses computed."""

    def __init__(self, most: int = MAX_RESULTS) -> None:
        self.measured = 0
        self._most = most
        self._results: OrderedDict[_Key, SignalAnalysis] = OrderedDict()
        self._parts: OrderedDict[tuple[_Key, ClassLimits], tuple[ClassifiedPart, ...]] = OrderedDict()
        self._onsets: OrderedDict[tuple[_Key, int], Figures] = OrderedDict()
        self._digests: OrderedDict[int, tuple[weakref.ref[NDArray[np.int16]], tuple[bytes, ...]]] = (
            OrderedDict()
        )
        self._lock = threading.Lock()

    def of(self, run: Waveform, nominal_v: float, nominal_hz: float, limits: Limits) -> SignalAnalysis:
        """Returns the analysis of a waveform without gaps. Raises ValueError when it cannot be measured."""
        return self._analysis(run, _key(run, _digest(run), nominal_v, nominal_hz, limits))

    def runs_of(self, wave: Waveform, config: "NominalConfig", limits: Limits) -> list[MeasuredRun]:
        """Measures each piece of a waveform without gaps. Raises ValueError when one cannot be measured."""
        runs = list(wave.runs())
        keys = [
            _key(run, digest, config.nominal_v, config.nominal_hz, limits)
            for run, digest in zip(runs, self._digests_of(wave, runs), strict=True)
        ]
        return [MeasuredRun(run, self._analysis(run, key), key) for run, key in zip(runs, keys, strict=True)]

    def against_before(self, piece: MeasuredRun) -> MeasuredRun:
        """Measures the piece against the voltage that it begins with, where that is steady beyond a limit.

        During minutes of overvoltage everything else would count as a part of it. In other cases it
        returns the same piece.
        """
        before_v = _standing_v(piece.analysis)
        if before_v is None:
            return piece
        key = (*piece.key[:3], before_v, *piece.key[4:])
        return MeasuredRun(piece.run, self._analysis(piece.run, key), key)

    def parts_of(self, piece: MeasuredRun, limits: ClassLimits) -> tuple[ClassifiedPart, ...]:
        """Returns the disturbances of a piece by these limits.

        Raises:
            ClassificationError: the piece cannot be classified.
        """
        key = (piece.key, limits)
        with self._lock:
            known = self._parts.get(key)
        if known is not None:
            return known
        try:
            found = parts_in(MeasuredSignal(piece.run.volts, piece.analysis, limits.rms), limits)
        except (ValueError, ArithmeticError, LookupError) as error:  # LinAlgError is a ValueError
            raise ClassificationError(
                f"the waveform of Box {piece.run.box_id} cannot be classified ({type(error).__name__})"
            ) from error
        with self._lock:
            _keep(self._parts, key, found, self._most)
        return found

    def onset_of(self, piece: MeasuredRun, start_sample: float) -> Figures:
        """Returns the figures of the onset at a sample; several findings that begin together share them.

        Empty where `MAX_ONSETS` began in this piece before, and where a cycle has too few samples for them.
        """
        if piece.run.rate_hz < WAVEFORM_SAMPLES * piece.analysis.nominal_hz:
            return ()
        key = (piece.key, round(start_sample))
        with self._lock:
            known = self._onsets.get(key)
        if known is not None:
            return known
        if sum(each < start_sample - 1 for each in piece.onsets()) >= MAX_ONSETS:
            return ()
        found = onset_figures(piece, start_sample)
        with self._lock:
            _keep(self._onsets, key, found, self._most * MAX_ONSETS)
        return found

    def _analysis(self, run: Waveform, key: _Key) -> SignalAnalysis:
        with self._lock:
            known = self._results.get(key)
            if known is not None:
                self._results.move_to_end(key)
                return known
            self.measured += 1
        found = analyze(run.volts, run.rate_hz, *key[3:])
        with self._lock:
            _keep(self._results, key, found, self._most)
        return found

    def _digests_of(self, wave: Waveform, runs: list[Waveform]) -> tuple[bytes, ...]:
        with self._lock:
            known = self._digests.get(id(wave.counts))
        if known is not None and known[0]() is wave.counts and len(known[1]) == len(runs):
            return known[1]
        found = tuple(map(_digest, runs))
        with self._lock:
            _keep(self._digests, id(wave.counts), (weakref.ref(wave.counts), found), MAX_DIGESTS)
        return found


def _digest(run: Waveform) -> bytes:
    return blake2b(run.counts.tobytes(), digest_size=16).digest()


def _key(run: Waveform, digest: bytes, nominal_v: float, nominal_hz: float, limits: Limits) -> _Key:
    return (digest, run.rate_millihz, run.v_per_lsb, nominal_v, nominal_hz, limits)


def _standing_v(analysis: SignalAnalysis) -> float | None:
    """Returns the rms with which a signal begins, where that is steady and beyond a limit; otherwise None.

    A sliding reference (IEC 61000-4-30:2015, 5.4.4) that is taken from before the event and held.
    """
    first = next(iter(analysis.disturbances), None)
    if first is None or not first.open_at_start or first.kind == "interruption":
        return None
    seen = analysis.half_rms_v[analysis.half_starts < STEADY_S * analysis.rate_hz]
    if len(seen) < STEADY_S * analysis.nominal_hz or not np.isfinite(seen).all():
        return None
    stands = float(np.ptp(seen)) <= STEADY_PU * analysis.nominal_v
    return round(float(np.median(seen)), 1) if stands else None


def _keep(known: OrderedDict[K, V], key: K, value: V, most: int) -> None:
    known[key] = value
    known.move_to_end(key)
    while len(known) > most:
        known.popitem(last=False)


RESULTS = MeasuredResults()
"""Results of this process."""


def measured_runs(event: Event, config: NominalConfig, limits: Limits = DEFAULT_LIMITS) -> list[MeasuredRun]:
    """Measures each piece of each Box's waveform; a gap ends a piece."""
    return [piece for wave in event.waveforms for piece in RESULTS.runs_of(wave, config, limits)]


def findings_of(
    event: Event,
    config: NominalConfig,
    kinds: tuple[str, ...],
    limits: ClassLimits = EVENT_LIMITS,
    measurement_type: str = "VOLTAGE",
) -> tuple[Finding, ...]:
    """Returns the disturbances of these classes in an event, by `classify`, in time order."""
    pieces = [RESULTS.against_before(piece) for piece in measured_runs(event, config, limits.rms)]
    findings = [
        with_onset(finding_of(part, piece.run, measurement_type), piece, part.found, pieces)
        for piece in pieces
        for part in RESULTS.parts_of(piece, limits)
        if part.kind in kinds
    ]
    return tuple(sorted(findings, key=lambda finding: finding.start_ns))


def with_onset(
    finding: Finding, piece: MeasuredRun, found: Disturbance | Occurrence, pieces: Sequence[MeasuredRun]
) -> Finding:
    """Returns the finding with the figures of its onset; `pieces` are all of the event."""
    if is_steady(finding.kind) or found.open_at_start:
        return finding
    shown = (*RESULTS.onset_of(piece, found.start_sample), *hz_apart(piece, finding.start_ns, pieces))
    return replace(finding, figures=(*finding.figures, *shown))


def shows_onset(found: Disturbance | Occurrence, run: Waveform, nominal_hz: float) -> bool:
    """Returns True if the waveform begins long enough before the disturbance to show where it begins."""
    before_s = found.start_sample / run.rate_hz
    return not found.open_at_start and before_s * nominal_hz >= ONSET_CYCLES


def finding_of(part: ClassifiedPart, run: Waveform, measurement_type: str = "VOLTAGE") -> Finding:
    """The finding of a part that is not a dip or swell: with figures, without residual and verdict."""
    each = part.found
    if isinstance(each, Disturbance):
        raise ValueError(f"{each.kind} is found by rms_voltage, not here")
    return Finding(
        kind=each.kind,
        box_id=run.box_id,
        start_ns=run.time_ns(each.start_sample),
        end_ns=run.end_ns if each.open else run.time_ns(each.end_sample),
        uncertainty_ns=run.uncertainty_ns,
        closed=not each.open,
        onset_seen=shows_onset(each, run, each.nominal_hz),
        duration_cycles=each.duration_s * each.nominal_hz,
        confidence=part.confidence,
        because=part.because,
        measurement_type=measurement_type,
        figures=tuple((name, float(value)) for name, value in each.figures.items() if math.isfinite(value)),
    )
