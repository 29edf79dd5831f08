"""The nouns that travel between rooms, as plain frozen values.

sample > window > measurement > trigger > event > finding > incident. Times are int64
nanoseconds since the Unix epoch (UTC), spans are half open, `uncertainty_ns` and `source`
travel with the time they belong to. The wire forms are in `opq_proto.wire`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

UNKNOWN_UNCERTAINTY_NS = 0xFFFF_FFFF
"""The largest value of the 32-bit wire fields: saturated, or not known."""

DISCIPLINED_NS = 10_000_000
"""Half a cycle: a worse clock says nothing of who was first."""

NOMINAL_V = (1.0, 1e6)
"""Least and most declared volts that are believed: a generator on a bench up to the largest lines."""
NOMINAL_HZ = (10.0, 400.0)
"""Least and most declared hertz that are believed: railways' 16.7 Hz to aircraft's 400 Hz."""
GAIN_V = (1e-12, 1e3)
"""Least and most volts per count that are believed: at the upper end full scale is 33 MV, and sums of
squares are far from overflow."""


class TimeSource(IntEnum):
    """What a time stamp rests on; the numbers are those of the wire."""

    FREE = 0
    NTP = 1
    HOLDOVER = 2
    GPS = 3


@dataclass(frozen=True, slots=True)
class Metric:
    """Minimum, maximum and mean of one quantity over a measurement window."""

    min: float
    max: float
    average: float


@dataclass(frozen=True, slots=True)
class Measurement:
    """A few numbers of one window of one Box.

    `metrics` has the wire's keys: `f` Hz, `rms` V, `thd` ratio, `trans` V; a key is absent
    when unknown. `start_ns` and what follows are None or default from an original Box.
    """

    box_id: str
    timestamp_ms: int
    metrics: Mapping[str, Metric]
    start_ns: int | None = None
    end_ns: int | None = None
    uncertainty_ns: int | None = None
    source: TimeSource = TimeSource.FREE
    sequence: int | None = None
    oldest_sequence: int | None = None
    backfilled: bool = False
    crossing: bool = False
    nominal_v: float | None = None
    """What the Box is meant to measure, volts; within NOMINAL_V or None."""
    nominal_hz: float | None = None
    clock_id: int | None = None
    """The clock that stamped, where that is not GPS: two Measurements with one number share its error."""


def nominal_or_none(value: float, limits: tuple[float, float]) -> float | None:
    """`value` when it lies within NOMINAL_V or NOMINAL_HZ; None when it does not or is NaN: not known."""
    least, most = limits
    return value if least <= value <= most else None


@dataclass(frozen=True, slots=True)
class Trigger:
    """Worth looking at: a span of time and the Boxes to ask for it."""

    token: str
    start_ns: int
    end_ns: int
    box_ids: tuple[str, ...]
    opened_by: str
    """Box whose Measurement tripped the trigger."""
    because: str
    """One sentence: plug-in, metric, value, limit."""
    completes: int | None = None
    """The event that has the beginning of the same disturbance; None for an onset."""
    asked_as: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Why each Box is asked: (reason, Boxes); the reasons are those of `asked_boxes.REASONS`."""
    not_asked: tuple[tuple[str, int], ...] = ()
    """How many Boxes that were heard lately are not asked, by reason."""
    onset_ns: tuple[int, int] | None = None
    """[start, end) of the Measurement that was decided on."""
    decided_ns: int | None = None
    """When (UTC) that was."""
    half_cycles_ns: tuple[int, int] | None = None
    """[start, end) of a long dip or swell whose Urms(1/2) is asked for: samples are of its end alone."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Samples that a waveform does not have."""

    first_sample: int
    samples: int
    reason: str


@dataclass(frozen=True, slots=True)
class Waveform:
    """Raw samples of one Box, with their time and gain.

    `counts` holds every sample that was had, in order; where `gaps` says that some are missing
    the samples on both sides are NOT neighbours in time: work on `runs()`.
    """

    box_id: str
    start_ns: int
    uncertainty_ns: int
    source: TimeSource
    rate_millihz: int
    v_per_lsb: float
    first_sample: int
    counts: NDArray[np.int16]
    gaps: tuple[Gap, ...] = ()

    @property
    def rate_hz(self) -> float:
        return self.rate_millihz / 1000.0

    @property
    def volts(self) -> NDArray[np.float64]:
        """(n,) float64, volts at the terminals."""
        return self.counts.astype(np.float64) * self.v_per_lsb

    @property
    def end_ns(self) -> int:
        return self.time_ns(len(self.counts) + sum(gap.samples for gap in self.gaps))

    def time_ns(self, position: float) -> int:
        """UTC of a (fractional) sample position counted from `first_sample`, gaps included."""
        whole = int(position // 1)
        part = position - whole
        return self.start_ns + whole * 10**12 // self.rate_millihz + round(part * 1e12 / self.rate_millihz)

    def runs(self) -> Iterator["Waveform"]:
        """Its contiguous parts, in time order, each without gaps."""
        taken = 0
        position = self.first_sample
        for gap in sorted(self.gaps, key=lambda gap: gap.first_sample):
            length = gap.first_sample - position
            if length > 0:
                yield self._run(position, self.counts[taken : taken + length])
                taken += length
            position = gap.first_sample + gap.samples
        if taken < len(self.counts):
            yield self._run(position, self.counts[taken:])

    def _run(self, first_sample: int, counts: NDArray[np.int16]) -> "Waveform":
        start_ns = self.time_ns(first_sample - self.first_sample)
        return replace(self, start_ns=start_ns, first_sample=first_sample, counts=counts, gaps=())


@dataclass(frozen=True, slots=True)
class BoxWiring:
    """Where a Box is plugged in, as the registry has it; None: nobody said."""

    place: str | None = None
    """Its location."""
    feeder: str | None = None
    phase: str | None = None
    """Whatever people call it."""


@dataclass(frozen=True, slots=True)
class Event:
    """The answer to a trigger: waveforms, and which Box did not answer and why."""

    event_id: int
    start_ns: int
    end_ns: int
    waveforms: tuple[Waveform, ...]
    missing: Mapping[str, str] = field(default_factory=dict)
    """box id -> why it has no waveform here."""
    wiring: Mapping[str, BoxWiring] = field(default_factory=dict)
    """box id -> where it is plugged in; filled in where the event is analysed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A named disturbance at one Box, with the reasons for the name.

    `residual_v`, `residual_percent`, `itic`, `semi_f47`, `ieee1159` as in the analyze contract;
    None for classes without an rms verdict. `closed` is False when still open at the end.
    """

    kind: str
    box_id: str
    start_ns: int
    end_ns: int
    uncertainty_ns: int
    closed: bool = True
    residual_v: float | None = None
    residual_percent: float | None = None
    duration_cycles: float | None = None
    ieee1159: str | None = None
    itic: str | None = None
    semi_f47: str | None = None
    confidence: float | None = None
    because: str = ""
    measurement_type: str = "VOLTAGE"
    """VOLTAGE, FREQUENCY, THD, TRANSIENT or HEALTH: the original's field."""
    figures: tuple[tuple[str, float], ...] = ()
    """What the reasons rest on: (name with its unit, value), such as ("deviation_hz", -0.62)."""
    clock_id: int | None = None
    """The clock that stamped the waveform (`Measurement.clock_id`); None: not known."""
    analysis: str | None = None
    """Which analysis gave it, in which version, with which settings; None: stored before that was noted."""
    analysis_version: str | None = None
    settings_hash: str | None = None
    severity: float | None = field(default=None, compare=False, repr=False)
    """0 to 10 (`opq_measure.classification.severity`), as the store has it; it follows from the fields above,
    so that findings which are the same without it are the same."""
    alignment: "WaveformAlignment | None" = None
    """How far the Box's clock was off another's, by their waveforms; None: that was not looked at."""
    onset_seen: bool = True
    """False: it was there already where its waveform began, so `start_ns` is that moment."""
    beside: tuple[str, ...] = ()
    """Other Boxes of which `because` and `figures` say something: who does not see them all, sees neither."""
    also_at: tuple[str, ...] = ()
    """Of a steady state: other Boxes that showed the same, as many as say how far it reaches."""


@dataclass(frozen=True, slots=True)
class WaveformAlignment:
    """How far a Box's clock was from that of another Box, by what both waveforms show.

    Attributes:
        box_id: the reference.
        offset_ns: to be added to the Box's stamps, to have them as the reference's clock.
        uncertainty_ns: a standard one, of the offset.
        reference_ns: the uncertainty of the reference's own clock.
        common_id: the same for all that were compared with that reference in that event.
        because: a sentence.
    """

    box_id: str
    offset_ns: int
    uncertainty_ns: int
    reference_ns: int
    common_id: int
    because: str = ""


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """What an analysis asks for beyond the event that it looked at: these Boxes, or the neighbours of some.

    Attributes:
        box_ids: Boxes to ask, of the event or not.
        beside: instead of them, Boxes whose neighbours are asked: `most_boxes` that were not asked yet.
        start_ns, end_ns: [start, end); None: the event's own. What is here of a Box is not asked for again.
        because: a clause that says what for.
    """

    box_ids: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    most_boxes: int = 4
    start_ns: int | None = None
    end_ns: int | None = None
    because: str = ""


@dataclass(frozen=True, slots=True)
class StoredFinding:
    """A finding with the numbers the store gave it."""

    finding_id: int
    """The original's `incident_id`."""
    incident_id: int
    """Ours: `group_id`, the incident it belongs to."""
    event_id: int
    finding: Finding


@dataclass(frozen=True, slots=True)
class BoxArrival:
    """When a disturbance came to one Box.

    `aligned_to` is the Box whose clock `start_ns` is by, where waveforms were compared; `uncertainty_ns` is
    that of the comparison then, else the Box's own clock's.
    """

    box_id: str
    start_ns: int
    uncertainty_ns: int
    aligned_to: str | None = None

    @property
    def disciplined(self) -> bool:
        """Whether the Box's clock is good enough for its place in the order to mean anything."""
        return self.uncertainty_ns <= DISCIPLINED_NS


@dataclass(frozen=True, slots=True)
class BoxSide:
    """On which side of the place of a disturbance a Box is."""

    box_id: str
    side: str
    """downstream: fed through it, or at it; upstream."""
    probability: float


@dataclass(frozen=True, slots=True)
class CauseEvidence:
    """One thing that speaks for a cause, or against it."""

    name: str
    words: str
    """As a clause: "the voltage came back within 0.6 cycles"."""
    value: float | None = None
    unit: str = ""
    weight: float = 0.0
    """Natural logarithm of how much likelier it makes the cause; below 0 it speaks against it."""


@dataclass(frozen=True, slots=True)
class CauseHypothesis:
    """What may have made an incident."""

    cause: str
    """A word of docs/mauka.md, "Why"; `unknown` is one."""
    probability: float
    evidence: tuple[CauseEvidence, ...] = ()
    """The weightiest first."""
    details: tuple[tuple[str, str | float], ...] = ()
    """What is known of this cause alone, such as ("dip_type", "D") and ("clearing_ms", 120.0)."""


@dataclass(frozen=True, slots=True)
class Incident:
    """Findings that belong together: one disturbance of the grid."""

    incident_id: int
    kind: str
    """Class of its worst finding: the furthest from nominal, then the longest."""
    box_ids: tuple[str, ...]
    event_ids: tuple[int, ...]
    start_ns: int
    end_ns: int
    closed: bool
    residual_percent: float | None
    """The worst of its findings (the furthest from 100)."""
    findings: tuple[StoredFinding, ...]
    scope: str | None = None
    """local, feeder, region or wide_area; None: what is known of its Boxes does not say."""
    severity: float | None = None
    """0 to 10; None: nobody has judged it."""
    follows: int | None = None
    """The incident before it at the same Box, at most 60 s earlier."""
    arrivals: tuple[BoxArrival, ...] = ()
    """The first Boxes that it came to, in the order of time."""
    centre: tuple[float, float] | None = None
    """(latitude, longitude) in degrees: the mean of its Boxes' places, weighted by what each saw."""
    hypotheses: tuple[CauseHypothesis, ...] = ()
    """What may have made it, the likeliest first; empty: nobody has judged it."""
    sides: tuple[BoxSide, ...] = ()
    """On which side of a Box it lies, for each Box whose voltages show it."""
    machine_kind: str | None = None
    """What the analyses say, where a person gave it another class: that is `kind` then."""
