"""The nouns that travel between rooms, as plain frozen values.

sample > window > measurement > trigger > event > finding > incident. Times are int64
nanoseconds since the Unix epoch (UTC), spans are half open, `uncertainty_ns` and `source`
travel with the time they belong to. The wire forms are in `opq_proto.wire.frames`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opq_proto.history import BoxHistory as BoxHistory
from opq_proto.history import Course as Course
from opq_proto.history import History as History
from opq_proto.history import HistoryRequest as HistoryRequest
from opq_proto.history import Phenomenon as Phenomenon
from opq_proto.trend_histogram import TrendHistogram

UNKNOWN_UNCERTAINTY_NS = 0xFFFF_FFFF
"""The largest value of the 32-bit wire fields: saturated, or not known."""


def known_uncertainty_ns(uncertainty_ns: int | None) -> int | None:
    """Returns None where it is saturated or not known: what people and scripts read has null there."""
    if uncertainty_ns is None or uncertainty_ns >= UNKNOWN_UNCERTAINTY_NS:
        return None
    return uncertainty_ns


DISCIPLINED_NS = 10_000_000
"""Half a cycle: with a worse clock the order of arrivals is unknown."""

NOMINAL_V = (1.0, 1e6)
"""Limits of declared volts that are accepted: a generator on a bench up to the largest lines."""
NOMINAL_HZ = (10.0, 400.0)
"""Limits of declared hertz that are accepted, which include railways' 16.7 Hz and aircraft's 400 Hz."""
GAIN_V = (1e-12, 1e3)
"""Limits of volts per count that are accepted: at the upper end full scale is 33 MV, and sums of
squares are far from overflow."""


class TimeSource(IntEnum):
    """Source of a time stamp; the numbers are those of the wire."""

    FREE = 0
    NTP = 1
    HOLDOVER = 2
    GPS = 3


SOURCE_WORDS = tuple(each.name.lower() for each in TimeSource)
"""The word of each TimeSource by its number: what people and scripts read."""


@dataclass(frozen=True, slots=True)
class Metric:
    """Minimum, maximum and mean of one quantity over a measurement window."""

    min: float
    max: float
    average: float


AT_INSTANTS = ("angles_deg", "phasors_v")
"""Quantities of ten minutes with a value for each instant of `opq_measure.aggregation.instants`, where NaN is
"not known". The angle is that of a cosine against UTC, of a synchrophasor (IEEE C37.118.1)."""


@dataclass(frozen=True, slots=True)
class Interval:
    """One interval of class A, as a Measurement without metrics carries it; that has its Box and times."""

    length_ms: int
    """One of `measurement.intervals.LENGTHS_MS`."""
    flagged: bool
    coverage: float | None
    """Share of its time that was measured, 0 .. 1; None: unknown, as for flicker, which says it by `pst`."""
    values: Mapping[str, float | tuple[float, ...]]
    """Quantity -> value, or one for each order; unknown ones are absent."""
    place: str = ""
    """Name of the place whose three phases it is of; one of their Boxes sends it. Empty: it is of the Box."""


@dataclass(frozen=True, slots=True)
class Disturbance:
    """A dip, swell or interruption at one Box (IEC 61000-4-30, 5.4 and 5.5)."""

    box_id: str
    kind: str
    """One of dip, swell and interruption."""
    start_ns: int
    end_ns: int | None
    """None: it has not ended, or its end is unknown."""
    uncertainty_ns: int
    residual_v: float
    """Least Urms(1/2) of a dip or interruption, most of a swell."""
    polyphase_group: int = 0
    """Number of the polyphase disturbance to which it belongs; 0: none."""


@dataclass(frozen=True, slots=True)
class LostValues:
    """Intervals or disturbances that a gateway could not store, for good; their span is the Measurement's."""

    kind: str
    """A length of intervals, such as `10min`, or dip, swell or interruption."""
    rows: int
    place: str = ""
    """As of an Interval."""


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
    """Nominal voltage of the Box, volts; within NOMINAL_V or None."""
    nominal_hz: float | None = None
    clock_id: int | None = None
    """The clock of the time stamps, where that is not GPS: Measurements with one number share its error."""
    gateway_id: int | None = None
    """The gateway that sends it; in a Box's first Measurement after the gateway's start, and once an hour."""
    first_sample: int | None = None
    """Index of the sample that is taken at `start_ns`, from one start of the Box to the next."""
    samples: int | None = None
    """Number of samples from `start_ns` to `end_ns`: the next Measurement's index where none is missing."""
    start_id: int | None = None
    """The start of the Box in which `first_sample` counts (docs/identity.md); None where not named."""
    interval: Interval | None = None
    disturbance: Disturbance | None = None
    lost: LostValues | None = None
    """With one of these three it has no metrics, and no reader takes it for a window of the signal."""

    @property
    def is_window(self) -> bool:
        """Whether it says what was measured in a window, and not an interval, a disturbance or a loss."""
        return self.interval is None and self.disturbance is None and self.lost is None


TREND_MS = 60_000
"""Length of the shortest trend, one minute; longer ones are levels of the pyramid in the store."""
TREND_LEVELS = {"1m": TREND_MS, "10m": 600_000, "1h": 3_600_000, "1d": 86_400_000}
"""Level as options and addresses name it -> length in ms, the shortest first."""


@dataclass(frozen=True, slots=True)
class Trend:
    """Minimum, maximum and mean of a Box's metrics over one whole minute, or 10, an hour, a day (UTC)."""

    box_id: str
    start_ms: int
    metrics: dict[str, tuple[float, float, float]]
    """Wire key (`rms`, `f`, `thd`, `trans`) -> min, max, average weighted by time."""
    length_ms: int = TREND_MS
    covered_ms: int | None = None
    """Time that its Measurements cover; above `length_ms` where one began before it; None where unknown."""
    histograms: dict[str, TrendHistogram] = field(default_factory=dict)
    """Histograms of its one-minute means, by wire key; a minute has none."""

    @property
    def coverage(self) -> float:
        """Share of the time that is covered, 0 to 1."""
        return min(1.0, self.time_ms / self.length_ms)

    @property
    def time_ms(self) -> int:
        """Time that it covers; `length_ms` where that is unknown."""
        return self.length_ms if self.covered_ms is None else self.covered_ms


def nominal_or_none(value: float, limits: tuple[float, float]) -> float | None:
    """Returns `value` where it is within `limits` (NOMINAL_V or NOMINAL_HZ); else, and for NaN, None."""
    least, most = limits
    return value if least <= value <= most else None


@dataclass(frozen=True, slots=True)
class Trigger:
    """A span of time that is worth an event, and the Boxes to ask for it."""

    token: str
    start_ns: int
    end_ns: int
    box_ids: tuple[str, ...]
    opened_by: str
    """Box whose Measurement caused the trigger."""
    because: str
    """One sentence: plug-in, metric, value, limit."""
    completes: int | None = None
    """The event with the beginning of the same disturbance; None for an onset."""
    asked_as: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """(reason, Boxes that are asked for it); the reasons are those of `requested_boxes.REASONS`."""
    not_asked: tuple[tuple[str, int], ...] = ()
    """(reason, number of Boxes with recent data that are not asked)."""
    onset_ns: tuple[int, int] | None = None
    """[start, end) of the Measurement on which the trigger decided."""
    onset_sample: int | None = None
    """Index of its first sample, where the Box sends that."""
    decided_ns: int | None = None
    """When (UTC) the trigger decided."""
    half_cycles_ns: tuple[int, int] | None = None
    """[start, end) of a long dip or swell whose Urms(1/2) is requested; samples cover only its end."""
    starts: tuple[tuple[str, int], ...] = ()
    """(Box that is asked, its start then), where that is known (docs/identity.md)."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Samples that a waveform does not have."""

    first_sample: int
    samples: int
    reason: str


@dataclass(frozen=True, slots=True)
class Waveform:
    """Raw samples of one Box, with their time and gain.

    `counts` has every received sample, in order. Where `gaps` lists missing ones, the samples on both
    sides are NOT neighbours in time: work on `runs()`.
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
    gain_known: bool = True
    """False: the gain is not stated; `v_per_lsb` is assumed, and nothing may be judged by volts."""
    numbered: bool = True
    """False: a Box of the original sent it, which does not number its samples; `first_sample` is then a
    place in this waveform only."""
    start_id: int | None = None
    """The start of the Box in which `first_sample` counts; None where not named."""
    nominal_v: float | None = None
    """Nominal voltage of the Box in that start, volts; within NOMINAL_V, or None where not stated."""
    nominal_hz: float | None = None
    """Nominal frequency in that start; within NOMINAL_HZ or None."""
    gain_stated: bool = True
    """False: the samples came without their gain; it is the one that is stated of the Box for then."""

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
        """Returns UTC of a (fractional) sample position counted from `first_sample`, gaps included."""
        whole = int(position // 1)
        part = position - whole
        return self.start_ns + whole * 10**12 // self.rate_millihz + round(part * 1e12 / self.rate_millihz)

    def runs(self) -> Iterator["Waveform"]:
        """Yields its contiguous parts, in time order, each without gaps."""
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
    """Where a Box is plugged in, from the registry; None where unknown."""

    place: str | None = None
    """Its location."""
    feeder: str | None = None
    phase: str | None = None
    """Any name that people use."""


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
    """box id -> where it is plugged in; set where the event is analysed."""


END_WITHIN_S = "end_within_s"
"""Figure of a finding: it ended at `end_ns` or up to so much later, because nothing was measured there."""


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
    """Figures behind the reasons: (name with its unit, value), such as ("deviation_hz", -0.62)."""
    clock_id: int | None = None
    """The clock of the waveform (`Measurement.clock_id`); None where unknown."""
    analysis: str | None = None
    """The analysis that found it, its version and settings; None where the original stored it."""
    analysis_version: str | None = None
    settings_hash: str | None = None
    severity: float | None = field(default=None, compare=False, repr=False)
    """0 to 10 (`opq_measure.classification.severity`), from the store. It follows from the fields above, so
    comparisons of findings ignore it."""
    alignment: "WaveformAlignment | None" = None
    """Offset of the Box's clock from another's, by their waveforms; None where they were not compared."""
    onset_seen: bool = True
    """False where it was present already when its waveform began; `start_ns` is then that moment."""
    beside: tuple[str, ...] = ()
    """Other Boxes that `because` and `figures` concern; only people who see all of them see these two."""
    samples_began_ns: int | None = None
    """Time of the Box's sample 0 by the clock of `start_ns`: another one after the clock was set, or the Box
    started again; None where the Box does not number its samples."""
    start_id: int | None = None
    """The start of the Box whose samples show it; None where the sender names none."""

    @property
    def latest_end_ns(self) -> int:
        """The latest moment at which it may have ended; `end_ns` where its end is known."""
        return self.end_ns + round(dict(self.figures).get(END_WITHIN_S, 0.0) * 1e9)


@dataclass(frozen=True, slots=True)
class Message:
    """What an analysis publishes on Mauka's bus; it is not stored.

    Attributes:
        values: name -> what JSON has.
        box_id: the Box that it is about; None: several, or none.
    """

    values: Mapping[str, Any]
    box_id: str | None = None


@dataclass(frozen=True, slots=True)
class WaveformAlignment:
    """Offset of a Box's clock from another Box's, from a comparison of both waveforms.

    Attributes:
        box_id: the reference.
        offset_ns: to be added to the Box's time stamps to get those of the reference's clock.
        uncertainty_ns: standard uncertainty of the offset.
        reference_ns: uncertainty of the reference's own clock.
        common_id: the same for all that were compared with that reference.
        because: a sentence with the reason.
    """

    box_id: str
    offset_ns: int
    uncertainty_ns: int
    reference_ns: int
    common_id: int
    because: str = ""


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """A request of an analysis for more samples than its event has: of these Boxes, or of neighbours.

    Attributes:
        box_ids: Boxes to ask, of the event or not.
        beside: instead of them, Boxes whose neighbours are asked: up to `most_boxes` that were not asked yet.
        start_ns, end_ns: [start, end); None for the event's own. Stored samples are not requested again.
        because: a clause with the reason.
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
    """The incident that it belongs to; `group_id` in the store."""
    event_id: int
    finding: Finding


@dataclass(frozen=True, slots=True)
class BoxArrival:
    """When a disturbance arrived at one Box.

    Where waveforms were compared, `aligned_to` is the Box whose clock gives `start_ns`, and `uncertainty_ns`
    has that of the comparison; otherwise it has that of the Box's own clock. Either includes the time by
    which the waveform may hide the beginning, where that is known.
    """

    box_id: str
    start_ns: int
    uncertainty_ns: int
    aligned_to: str | None = None

    @property
    def disciplined(self) -> bool:
        """Whether the Box's clock is good enough for the order of arrivals."""
        return self.uncertainty_ns <= DISCIPLINED_NS


@dataclass(frozen=True, slots=True)
class BoxSide:
    """The side of a disturbance's place on which a Box is."""

    box_id: str
    side: str
    """`downstream` where the Box is fed through the place, or at it; else `upstream`."""
    probability: float


@dataclass(frozen=True, slots=True)
class CauseEvidence:
    """One item of evidence for a cause or against it."""

    name: str
    words: str
    """A clause such as "the voltage came back within 0.6 cycles"."""
    value: float | None = None
    unit: str = ""
    weight: float = 0.0
    """Natural logarithm of the factor by which it makes the cause likelier; below 0 it is against it."""


@dataclass(frozen=True, slots=True)
class CauseHypothesis:
    """A possible cause of an incident."""

    cause: str
    """A cause of docs/mauka.md, "Why"; `unknown` is one."""
    probability: float
    evidence: tuple[CauseEvidence, ...] = ()
    """The evidence with the largest weight first."""
    details: tuple[tuple[str, str | float], ...] = ()
    """Facts of this cause only, such as ("dip_type", "D") and ("clearing_ms", 120.0)."""


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
    """local, feeder, region or wide_area; None where too little is known of its Boxes."""
    severity: float | None = None
    """0 to 10; None where it was not judged."""
    follows: int | None = None
    """The incident before it at the same Box, at most 60 s earlier."""
    arrivals: tuple[BoxArrival, ...] = ()
    """The first Boxes at which it arrived, in the order of time."""
    centre: tuple[float, float] | None = None
    """(latitude, longitude) in degrees: the mean of its Boxes' places, weighted by their findings."""
    hypotheses: tuple[CauseHypothesis, ...] = ()
    """Possible causes, the likeliest first; empty where it was not judged."""
    sides: tuple[BoxSide, ...] = ()
    """The side of the disturbance on which a Box is, for each Box whose voltages show it."""
    machine_kind: str | None = None
    """The class that the analyses found, where a person gave it another class, which is then `kind`."""

    @property
    def latest_end_ns(self) -> int:
        """The latest moment at which it may have ended; `end_ns` where its end is known."""
        return max([self.end_ns, *(item.finding.latest_end_ns for item in self.findings)])
