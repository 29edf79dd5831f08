"""The waveforms of an incident by Box: contiguous runs on one axis, measured once for all visitors.

Several events may hold a Box: a long disturbance is stored as its two ends, and events in sequence overlap.
Samples that two of them hold are drawn once.
"""

import math
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from opq_cloud.store.event_record import NO_EVENT, EventRecord
from opq_cloud.store.judged_nominal import stated_nominals
from opq_cloud.store.store import CloudStore
from opq_cloud.store.waveform_parts import shown_part
from opq_cloud.view.pages.drawing.charts import MIN_SAMPLES_PER_CYCLE, FloatArray
from opq_measure.cycle_starts import urms_half_v
from opq_measure.timebase.cycles import Track, track
from opq_proto.messages import Event, Gap, Incident, Waveform

MAX_BYTES = 64_000_000
"""Samples and their measures; 10^6 samples are 2 MB, held twice, and 0.6 MB of measures."""


@dataclass(frozen=True, slots=True, eq=False)
class SignalRun:
    """Contiguous samples of one Box, and the course of their fundamental.

    `edges` (m,) are its half cycles, in samples; `rms_v` (m - 2,) is Urms(1/2) in volts. They are empty, and
    `tracked` is None, where nothing can be measured: a rate too low, a gain that is not finite, below two
    cycles.
    """

    event_id: int
    wave: Waveform
    nominal_hz: float
    tracked: Track | None
    edges: FloatArray
    rms_v: FloatArray

    @property
    def rms_at(self) -> FloatArray:
        """(len(rms_v),) the middle of each cycle, in samples."""
        return self.edges[1 : 1 + len(self.rms_v)]

    def position(self, t_ms: float, origin_ns: int) -> float:
        """The place of a moment, in samples; below 0 or above the length outside of the run."""
        return (t_ms * 1e6 - (self.wave.start_ns - origin_ns)) * self.wave.rate_millihz / 1e12

    def t_ms(self, positions: FloatArray, origin_ns: int) -> FloatArray:
        """Milliseconds from the origin of positions in samples."""
        return positions * np.float64(1e6 / self.wave.rate_millihz) + (self.wave.start_ns - origin_ns) / 1e6

    def first_ms(self, origin_ns: int) -> float:
        return (self.wave.start_ns - origin_ns) / 1e6

    def last_ms(self, origin_ns: int) -> float:
        return (self.wave.end_ns - origin_ns) / 1e6

    def within(self, start_ms: float, end_ms: float, origin_ns: int) -> tuple[int, int]:
        """[first, last) samples between two moments."""
        first = max(0, math.ceil(self.position(start_ms, origin_ns) - 1e-6))
        last = min(len(self.wave.counts), math.floor(self.position(end_ms, origin_ns) + 1e-6) + 1)
        return first, max(first, last)

    def volts(self, first: int, last: int) -> FloatArray:
        """(last - first,) volts."""
        return self.wave.counts[first:last].astype(np.float64) * self.wave.v_per_lsb


@dataclass(frozen=True, slots=True)
class BoxSignal:
    """All runs of one Box, in time order."""

    box_id: str
    runs: tuple[SignalRun, ...]
    gaps: tuple[Gap, ...] = ()
    """The samples that its gateway states as missing, with the reason."""

    def gaps_ms(self, start_ms: float, end_ms: float, origin_ns: int) -> list[tuple[float, float]]:
        """The stretches of a span without a stored sample."""
        found, since = [], start_ms
        for run in self.runs:
            first, last = run.first_ms(origin_ns), run.last_ms(origin_ns)
            if first > since + 2e6 / run.wave.rate_millihz and first > start_ms:  # more than two samples
                found.append((since, min(first, end_ms)))
            since = max(since, last)
            if since >= end_ms:
                return found
        found.append((since, end_ms))
        return found

    def run_at(self, t_ms: float, origin_ns: int) -> SignalRun | None:
        """The run that holds a moment."""
        for run in self.runs:
            if -0.5 <= run.position(t_ms, origin_ns) <= len(run.wave.counts) - 0.5:
                return run
        return None


def measured_run(event_id: int, wave: Waveform, nominal_hz: float) -> SignalRun:
    """A run with the measures of `opq_measure`: the tracked fundamental and Urms(1/2)."""
    nothing = np.empty(0)
    low_rate = not wave.rate_hz >= MIN_SAMPLES_PER_CYCLE * nominal_hz
    if low_rate or not math.isfinite(wave.v_per_lsb) or not len(wave.counts):
        return SignalRun(event_id, wave, nominal_hz, None, nothing, nothing)
    volts = wave.volts
    try:
        tracked = track(volts, wave.rate_hz, nominal_hz)
        edges = tracked.edges(2)
        rms_v = urms_half_v(volts, edges) if len(edges) > 2 else nothing
    except ValueError:  # the stored gain is impossible, so nothing can be measured
        return SignalRun(event_id, wave, nominal_hz, None, nothing, nothing)
    measured = tracked if len(tracked.positions) else None
    return SignalRun(event_id, wave, nominal_hz, measured, edges, rms_v)


def without_overlap(waves: Iterable[tuple[int, Waveform]]) -> list[tuple[int, Waveform]]:
    """(event id, contiguous waveform) in time order, with each sample of a Box once.

    A waveform that begins inside another loses the samples of that one; of two that begin together the longer
    one stays.
    """
    runs = [(event_id, run) for event_id, wave in waves for run in wave.runs()]
    kept: list[tuple[int, Waveform]] = []
    end_ns = -(2**63)
    for event_id, run in sorted(runs, key=lambda each: (each[1].start_ns, -each[1].end_ns)):
        held = max(0, -(-(end_ns - run.start_ns) * run.rate_millihz // 10**12))
        if held >= len(run.counts):
            continue
        if held:
            start_ns, first = run.time_ns(held), run.first_sample + held
            run = replace(run, start_ns=start_ns, first_sample=first, counts=run.counts[held:])
        kept.append((event_id, run))
        end_ns = run.end_ns
    return kept


def copied_signals(waves: Iterable[Waveform], nominal_hz: Mapping[str, float]) -> dict[str, BoxSignal]:
    """Signals of the Boxes that `nominal_hz` names, from the samples kept with an incident."""
    of_box: dict[str, list[tuple[int, Waveform]]] = {}
    for wave in waves:
        if wave.box_id in nominal_hz:
            of_box.setdefault(wave.box_id, []).append((NO_EVENT, wave))
    return {
        box_id: BoxSignal(
            box_id,
            tuple(measured_run(number, run, nominal_hz[box_id]) for number, run in without_overlap(found)),
        )
        for box_id, found in of_box.items()
    }


class SignalCache:
    """The events used last and their measures; may be called from any thread.

    It reads the whole store, so the caller passes only Boxes that the visitor may see.
    """

    def __init__(self, store: CloudStore, most_bytes: int = MAX_BYTES) -> None:
        self._store = store
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._cached: OrderedDict[tuple[object, ...], tuple[int, Event | SignalRun]] = OrderedDict()
        self._bytes = 0

    def signals(self, records: Sequence[EventRecord], nominal_hz: dict[str, float]) -> dict[str, BoxSignal]:
        """Signals of the Boxes that `nominal_hz` names and that these events hold."""
        waves: dict[str, list[tuple[int, Waveform]]] = {}
        revisions = {record.event_id: (record.revision, len(record.boxes_received)) for record in records}
        for event_id, record in {record.event_id: record for record in records}.items():
            for wave in shown_part(record, self._waveforms(event_id, revisions[event_id])):
                if wave.box_id in nominal_hz:
                    waves.setdefault(wave.box_id, []).append((event_id, wave))
        return {
            box_id: BoxSignal(
                box_id,
                tuple(
                    self._run(event_id, revisions[event_id], run, nominal_hz[box_id])
                    for event_id, run in without_overlap(found)
                ),
                tuple(dict.fromkeys(gap for _, wave in found for gap in wave.gaps)),
            )
            for box_id, found in waves.items()
        }

    def copies(self, incident: Incident) -> list[Waveform]:
        """The samples that are kept with an incident, whose events may have expired."""
        return self._store.copied_samples(incident)

    def nominal_volts(self, records: Sequence[EventRecord]) -> dict[str, float]:
        """Box -> nominal voltage that the start of its samples stated, of the Boxes in these events."""
        found: dict[str, float] = {}
        for record in records:
            found |= stated_nominals(
                self._waveforms(record.event_id, (record.revision, len(record.boxes_received)))
            )
        return found

    def _waveforms(self, event_id: int, revision: tuple[int, int]) -> Sequence[Waveform]:
        key = ("event", event_id, revision)
        found = self._get(key)
        if not isinstance(found, Event):
            found = self._store.event(event_id)
            if found is None:
                return ()
            self._insert(key, found, sum(wave.counts.nbytes for wave in found.waveforms) + 1000)
        return found.waveforms

    def _run(self, event_id: int, revision: tuple[int, int], run: Waveform, nominal_hz: float) -> SignalRun:
        key = ("run", event_id, revision, run.box_id, run.start_ns, len(run.counts), nominal_hz)
        found = self._get(key)
        if not isinstance(found, SignalRun):
            found = measured_run(event_id, run, nominal_hz)
            hops = 0 if found.tracked is None else len(found.tracked.positions)
            self._insert(key, found, run.counts.nbytes + 16 * len(found.rms_v) + 25 * hops + 1000)
        return found

    def _get(self, key: tuple[object, ...]) -> Event | SignalRun | None:
        with self._lock:
            found = self._cached.get(key)
            if found is None:
                return None
            self._cached.move_to_end(key)
            return found[1]

    def _insert(self, key: tuple[object, ...], what: Event | SignalRun, size: int) -> None:
        with self._lock:
            before = self._cached.pop(key, None)
            self._bytes += size - (0 if before is None else before[0])
            self._cached[key] = size, what
            while self._bytes > self._most_bytes and len(self._cached) > 1:
                self._bytes -= self._cached.popitem(last=False)[1][0]
