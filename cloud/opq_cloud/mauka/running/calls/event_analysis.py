"""One event through pure analyses: the same call live, in bulk and for re-analysis."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import numpy as np

from opq_cloud.mauka.measuring.clock_alignment import Alignments, clock_alignments, stamped
from opq_cloud.mauka.measuring.unknown_gain import at_nominal, judged
from opq_cloud.mauka.running.calls.earlier_times import at_first_times
from opq_cloud.mauka.running.known.provenance import Provenance, provenance_of
from opq_cloud.store.box_place import BoxPlace, box_place
from opq_cloud.store.store import CloudStore
from opq_plugins.sdk.modules import Analysis
from opq_proto.decision import Nominal
from opq_proto.messages import BoxWiring, Event, Finding, Waveform

FEW_BOXES = 3
"""Up to this many are analysed before anything is stored; for a larger event one Box is stored first."""
DEVIATION_S = 0.02
"""The rms of pieces of this length shows which Box to analyse first."""


@dataclass(frozen=True, slots=True)
class EventResult:
    """The results of the analyses for one event.

    Attributes:
        box_ids: Boxes whose samples were there.
        failed: analysis -> its error; then `findings` are not complete.
        order: as `analysis_order` returns it; empty where it was not requested.
    """

    event_id: int
    findings: tuple[Finding, ...]
    box_ids: tuple[str, ...]
    failed: Mapping[str, str] = field(default_factory=dict)
    order: tuple[str, ...] = ()


@dataclass(slots=True)
class AnalysisResult:
    """Findings of analyses in one event, errors of those that failed, seconds of each."""

    findings: list[Finding] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    spent_s: dict[str, float] = field(default_factory=dict)
    unjudged: dict[str, str] = field(default_factory=dict)
    """Analysis -> why it could find nothing."""


@dataclass(slots=True)
class EventOutcome:
    """The result of the analysis of one event.

    `failed`: an analysis failed. `rest_s`: how long one rests. `lacking`: one cannot run.
    """

    failed: bool = False
    rest_s: float = 0.0
    lacking: bool = False

    @property
    def complete(self) -> bool:
        """Whether every analysis has seen the whole event."""
        return not (self.failed or self.rest_s or self.lacking)

    def add(self, other: "EventOutcome") -> None:
        """Adds that of further analyses."""
        self.failed |= other.failed
        self.rest_s = max(self.rest_s, other.rest_s)
        self.lacking |= other.lacking


def nominal_of_box(store: CloudStore, box_id: str, otherwise: Nominal, t_ns: int | None = None) -> Nominal:
    """The nominal values of a Box from the store, those of a moment or of now; `otherwise` for those that the
    store does not have."""
    box = store.box(box_id)
    if box is None:
        return otherwise
    if t_ns is not None:
        box = box.at(t_ns)
    return Nominal(box.nominal_v or otherwise.volts, box.nominal_hz or otherwise.hz)


def nominal_of_wave(store: CloudStore, wave: Waveform, otherwise: Nominal, present: bool = False) -> Nominal:
    """Returns the nominal values by which a waveform is judged: those that the start of its samples stated.

    What it did not state is the Box's of then, from the store. `present`: those that the Box has now come
    first, because a person corrected them for the past, too.
    """
    stated = Nominal(wave.nominal_v or otherwise.volts, wave.nominal_hz or otherwise.hz)
    if present or not (wave.nominal_v and wave.nominal_hz):
        known = nominal_of_box(store, wave.box_id, stated, None if present else wave.start_ns)
        return known if present else Nominal(wave.nominal_v or known.volts, wave.nominal_hz or known.hz)
    return stated


def place_of_box(store: CloudStore, box_id: str, t_ns: int) -> BoxPlace:
    """Returns the place of a Box at a moment, from its own record in the registry."""
    box = store.box(box_id)
    return BoxPlace() if box is None else box_place(box.at(t_ns), {}, {})


def with_wiring(event: Event, place_of: Callable[[str, int], BoxPlace]) -> Event:
    """Returns the event with the registry's facts about where its Boxes were plugged in then."""
    places = {wave.box_id: place_of(wave.box_id, event.start_ns) for wave in event.waveforms}
    return replace(
        event,
        wiring={box_id: BoxWiring(each.place, each.feeder, each.phase) for box_id, each in places.items()},
    )


NominalOf = Callable[[Waveform], Nominal]
"""Waveform -> the nominal values by which it is judged."""


def by_nominal(event: Event, nominal_of: NominalOf) -> dict[Nominal, Event]:
    """Returns the event in parts of Boxes with the same nominal volts and hertz: usually one part."""
    waves: dict[Nominal, list[Waveform]] = {}
    for wave in event.waveforms:
        waves.setdefault(nominal_of(wave), []).append(wave)
    return {nominal: replace(event, waveforms=tuple(some)) for nominal, some in waves.items()}


class InstalledOne(Protocol):
    """The interface of an installed analysis needed here; processes that only analyse import no host."""

    name: str

    @property
    def alone(self) -> bool: ...

    @property
    def provenance(self) -> Provenance: ...

    def findings_in(self, event: Event, nominal: Nominal, states: dict[Any, Any]) -> tuple[Finding, ...]: ...


def findings_in(
    analysis: Analysis | InstalledOne, event: Event, nominal: Nominal, states: dict[Any, Any]
) -> tuple[Finding, ...]:
    """Returns the findings of one analysis, without those that rest on an unknown gain; raises as it does."""
    return judged(event, analysis.findings_in(at_nominal(event, nominal.volts), nominal, states))


def analyse_parts(
    analysis: Analysis | InstalledOne, parts: Iterable[tuple[Nominal, Event]], states: dict[Any, Any]
) -> tuple[list[Finding], Exception | None]:
    """Returns the findings of one analysis in an event, and the last error it raised.

    After an error each Box is tried alone, too.
    """
    found: list[Finding] = []
    failed: Exception | None = None
    for nominal, part in parts:
        try:
            found += findings_in(analysis, part, nominal, states)
            continue
        except Exception as error:  # an analysis may be third-party code and raise anything
            failed = error
        if len(part.waveforms) > 1 and analysis.alone:
            for wave in part.waveforms:
                try:
                    found += findings_in(analysis, replace(part, waveforms=(wave,)), nominal, states)
                except Exception as error:  # as above
                    failed = error
    return found, failed


def unjudged_by(analysis: Analysis | InstalledOne, parts: Iterable[tuple[Nominal, Event]]) -> str:
    """Returns why an analysis that found nothing could find nothing.

    Empty: there was nothing to find, or the analysis gives no reason.
    """
    if not isinstance(analysis, Analysis) or analysis.unjudged is None:
        return ""
    return "; ".join(
        why for nominal, part in parts if (why := analysis.unjudged(part, analysis.for_nominal(nominal)))
    )


def run_analyses(
    analyses: Iterable[Analysis | InstalledOne],
    parts: Collection[tuple[Nominal, Event]],
    states: dict[Any, Any],
    note_analysis: Callable[[str], object] = lambda name: None,
) -> AnalysisResult:
    """Runs each analysis over the parts of an event; the findings of the others remain where one fails.

    Args:
        states: of analyses with memory; kept between the events of one run.
        note_analysis: is called with each analysis before it begins.
    Raises:
        MemoryError: an analysis used up the memory.
    """
    result = AnalysisResult()
    for analysis in analyses:
        note_analysis(analysis.name)
        began_s = time.perf_counter()
        found, error = analyse_parts(analysis, parts, states)
        if isinstance(error, MemoryError):
            raise error
        source = provenance_of(analysis) if isinstance(analysis, Analysis) else analysis.provenance
        result.findings += source.stamped(found)
        if error is not None:
            result.failed[analysis.name] = f"{type(error).__name__}: {error}"
        elif not found and (why := unjudged_by(analysis, parts)):
            result.unjudged[analysis.name] = why
        result.spent_s[analysis.name] = time.perf_counter() - began_s
    return result


def analyse_event(
    event: Event,
    analyses: Sequence[Analysis | InstalledOne],
    nominal_of: NominalOf,
    states: dict[Any, Any],
) -> EventResult:
    """Runs each analysis over an event; `states` as in `run_analyses`."""
    done = run_analyses(analyses, by_nominal(event, nominal_of).items(), states)
    box_ids = tuple(wave.box_id for wave in event.waveforms)
    return EventResult(event.event_id, tuple(done.findings), box_ids, done.failed)


def alignments_of(event: Event, findings: Sequence[Finding], nominal_of: NominalOf) -> Alignments:
    """Returns how far each Box's clock is off, where the waveforms show it better than the clock does."""
    phases = {box_id: wiring.phase for box_id, wiring in event.wiring.items()}
    return clock_alignments(event, findings, phases.get, nominal_of)


def analysis_order(event: Event, opened_by: str) -> tuple[str, ...]:
    """Returns the Boxes of a large event: the one that opened it, then those whose rms varies most.

    Empty for `FEW_BOXES` and fewer, which are not worth a separate step.
    """
    if len(event.waveforms) <= FEW_BOXES:
        return ()
    far = {wave.box_id: -_deviation(wave) for wave in event.waveforms}
    return tuple(sorted(far, key=lambda box_id: (box_id != opened_by, far[box_id], len(box_id), box_id)))


def _deviation(wave: Waveform) -> float:
    """The range of the rms of pieces of `DEVIATION_S` (highest less lowest), divided by the median."""
    many = max(1, round(DEVIATION_S * wave.rate_hz))
    whole = len(wave.counts) // many * many
    pieces = wave.counts[:whole].reshape(-1, many).astype(np.float32)
    rms = np.sqrt(np.einsum("ij,ij->i", pieces, pieces))
    middle = float(np.median(rms)) if len(rms) else 0.0
    return float(np.ptp(rms)) / middle if middle > 0 else 0.0


def first_findings(
    parts: Iterable[tuple[Nominal, Event]],
    order: Sequence[str],
    analyses: Sequence[Analysis],
    note_analysis: Callable[[str], object] = lambda name: None,
) -> list[Finding]:
    """Returns the findings of the first Box of `order` that shows any when analysed alone.

    Nothing is measured twice: the results are reused when the whole event is analysed. Errors of an analysis
    are left to that analysis, except MemoryError. Frequencies of other Boxes and alignments are not included.

    Args:
        note_analysis: is called with each analysis before it begins.
    """
    alone = {
        wave.box_id: (nominal, replace(part, waveforms=(wave,)))
        for nominal, part in parts
        for wave in part.waveforms
    }
    for box_id in order:
        findings: list[Finding] = []
        for analysis in analyses:
            if not analysis.alone:
                continue
            note_analysis(analysis.name)
            found, error = analyse_parts(analysis, [alone[box_id]], {})
            if isinstance(error, MemoryError):
                raise error
            findings += provenance_of(analysis).stamped(found)
        if findings:
            return findings
    return []


def analyse_stored(
    store: CloudStore,
    event_ids: Iterable[int],
    analyses: Sequence[Analysis | InstalledOne],
    otherwise: Nominal,
    ordered: bool = False,
    present_nominal: bool = False,
) -> Iterator[EventResult]:
    """Analyses stored events one after the other.

    Args:
        otherwise: nominal values of Boxes for which the store has none.
        ordered: with the `order` of each event, which is needed only where new findings are stored.
        present_nominal: `present` of `nominal_of_wave`.
    """
    states: dict[Any, Any] = {}

    def nominal_of(wave: Waveform) -> Nominal:
        return nominal_of_wave(store, wave, otherwise, present_nominal)

    for event_id in event_ids:
        event = store.event(event_id)
        if event is None or not event.waveforms:
            yield EventResult(event_id, (), (), {"store": "its waveforms are not stored any more"})
            continue
        record = store.event_record(event_id)
        event = with_wiring(event, partial(place_of_box, store))
        result = analyse_event(event, analyses, nominal_of, states)
        by = alignments_of(event, result.findings, nominal_of)
        order = () if record is None or not ordered else analysis_order(event, record.opened_by)
        found = at_first_times(store, event, stamped(result.findings, by))
        yield replace(result, findings=tuple(found), order=order)
