"""Evidence: what a schedule left in the gateways' rings and queues, in the cloud's store and in Mauka's log.

All of it is read from outside; a killed gateway's files stay unchanged for the next gateway.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from opq_gateway.blocks import SampleBlock
from opq_gateway.measuring.feed import Values
from opq_proto.measurement.intervals import LENGTH_NAMES
from opq_proto.messages import Measurement, Metric
from opq_sim.faults.parts.gateway_disk import RingContents
from opq_sim.faults.parts.held_numbers import HeldNumbers
from opq_sim.faults.parts.store_reader import StoreReader
from opq_sim.faults.parts.view_reader import ViewReader
from opq_sim.foreign.host import COUNTS_PER_VOLT
from opq_sim.score.records import TrueDisturbance

NOMINAL_V: Final = 120.0
CYCLE_SAMPLES: Final = 200
"""Samples of a cycle of 60 Hz."""
DIP_PERCENT: Final = 90.0
SILENCE: Final = " silence: "
"""In the reason of an event that was opened for what came before a loss of supply."""
AFTER_LOSS_NS: Final = 10**9
"""What came before a loss of supply is asked for up to this long after it, where nothing was sampled."""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One event, and the result for each requested Box."""

    event_id: int
    start_ns: int
    end_ns: int
    received: tuple[str, ...]
    missing: Mapping[str, str]
    """Box -> why it has no waveform, or one that does not cover the span."""
    opened_by: str = ""
    because: str = ""
    finished: bool = True
    analysed: bool = True


@dataclass(frozen=True, slots=True)
class StoredFinding:
    """A finding, with its incident and its events."""

    box_id: str
    incident: int
    kind: str
    residual_percent: float | None
    event_ids: tuple[int, ...]
    because: str
    start_ns: int
    end_ns: int
    uncertainty_ns: int | None = None


@dataclass(frozen=True, slots=True)
class StoredWaveform:
    """A Box's waveform in an event."""

    asked: int
    """Samples in the span that the event asks for, without the time after a loss of supply."""
    samples: int
    missing: int
    """Samples in gaps."""
    dips_percent: tuple[float, ...]
    """The lowest rms of one cycle in each dip, of nominal."""


@dataclass(slots=True)
class Evidence:
    """Everything that a schedule left; what a layout does not have is empty."""

    begun_ns: int = 0
    sent: dict[str, int] = field(default_factory=dict)
    """By Box on a cable, number of samples that it sent."""
    ring: dict[str, RingContents] = field(default_factory=dict)
    early: dict[str, list[SampleBlock]] = field(default_factory=dict)
    """Blocks that the ring held at the first kill."""
    recovery_s: dict[str, float] = field(default_factory=dict)
    """Longest time from a kill of the gateway until it received samples of the Box again."""
    starts: dict[str, int] = field(default_factory=dict)
    """By Box on a cable, how often its gateway was started."""
    queued: set[tuple[str, int]] = field(default_factory=set)
    """(Box, sequence) of Measurements that were seen on a gateway's disk."""
    held: dict[str, HeldNumbers] = field(default_factory=dict)
    """What each Box of a fleet holds."""
    received: Mapping[tuple[str, int], Measurement] = field(default_factory=dict)
    """(Box, sequence) -> what the triggering broker passed on."""
    contradicted: list[str] = field(default_factory=list)
    """Measurements whose copies differ."""
    stored: list[Measurement] = field(default_factory=list)
    ledger: dict[str, list[Values]] = field(default_factory=dict)
    """By Box on a cable, the intervals and disturbances that its gateway wrote."""
    unsent: dict[str, Counter[tuple[str, int]]] = field(default_factory=dict)
    """By Box on a cable, kind and start of those that no cloud had acknowledged at the end."""
    numbered: dict[str, int] = field(default_factory=dict)
    """By Box on a cable, how many of them have a number, of the same row as Measurements."""
    intervals: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """By kind, the stored intervals, as `export intervals` writes them."""
    disturbances: list[dict[str, Any]] = field(default_factory=list)
    elsewhere: list[Measurement] = field(default_factory=list)
    """Measurements in the store of the other Makai."""
    events: list[StoredEvent] = field(default_factory=list)
    findings: list[StoredFinding] = field(default_factory=list)
    waveforms: dict[tuple[int, str], StoredWaveform] = field(default_factory=dict)
    """Waveforms by (event, Box)."""
    withdrawn: list[str] = field(default_factory=list)
    """Boxes of outages that were reported and then withdrawn."""
    truth: list[TrueDisturbance] = field(default_factory=list)
    """The dips that a fleet saw."""
    dark_ns: dict[str, tuple[int, int]] = field(default_factory=dict)
    skipped_s: dict[str, float] = field(default_factory=dict)
    """By Box, seconds of samples that it did not take, because it stopped for too long."""
    unread_s: dict[str, float] = field(default_factory=dict)
    """By Box on a cable, most seconds of samples that were not read in time, by the Box's own count."""
    held_s: float = 0.0
    """The longest time for which this machine kept the Boxes on cables from sending."""
    not_sampled: set[tuple[str, float]] = field(default_factory=set)
    """(Box, `at_s` of a dip) where this machine was too busy for the Box to sample all of it, or for the
    dip to come before or after the loss of supply as it should."""
    not_shown: set[tuple[str, float]] = field(default_factory=set)
    """(Box, `at_s` of a dip) where no figure that an original Box sends falls below the limit."""
    shares: dict[str, tuple[float, int]] = field(default_factory=dict)
    """By Box, the measured share of an hour that View shows, 0 to 1, and when that hour ends, ns, by its
    own stamps."""
    incident_events: dict[int, tuple[int, ...]] = field(default_factory=dict)
    measured: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """By Box, the span of each Measurement, by its own stamps."""
    problems: list[str] = field(default_factory=list)
    figures: dict[str, float | int | str] = field(default_factory=dict)

    def read_view(self, view: ViewReader, box_ids: Sequence[str]) -> None:
        """Reads what View says; raises OSError where it does not answer."""
        self.findings = list(map(_finding, view.findings()))
        self.events = [
            StoredEvent(
                int(row["id"]),
                int(row["start_ns"]),
                int(row["end_ns"]),
                tuple(map(str, row["received"])),
                {str(box_id): str(why) for box_id, why in row["missing"].items()},
                str(row["opened_by"]),
                str(row["because"]),
                bool(row["finished"]),
                bool(row["analysed"]),
            )
            for row in view.events()
        ]
        self.incident_events = {int(row["id"]): tuple(map(int, row["event_ids"])) for row in view.incidents()}
        self.measured = {box_id: [] for box_id in box_ids}
        for row in view.measurements(box_ids):
            if not row["crossing"] and row["start_ns"] is not None and row["end_ns"] is not None:
                self.measured[str(row["box_id"])].append((int(row["start_ns"]), int(row["end_ns"])))

    def read_store(self, store: StoreReader, other: StoreReader, waves: bool) -> None:
        """Reads what the cloud stored.

        Args:
            waves: whether the waveforms of the findings' events are read.
        Raises:
            ServiceError: it cannot be read.
        """
        self.stored = list(map(_measurement, store.measurements()))
        self.elsewhere = list(map(_measurement, other.measurements()))
        self.events = list(map(_event, store.events()))
        self.findings = list(map(_finding, store.findings()))
        if waves:
            by_id = {event.event_id: event for event in self.events}
            numbers = {number for each in self.findings for number in each.event_ids}
            for event_id in sorted(number for number in numbers if number >= 0):  # -1 is that of an outage
                self.waveforms |= _waveforms(store.waveforms(event_id), by_id[event_id])

    def read_intervals(self, store: StoreReader) -> None:
        """Reads the stored intervals and disturbances. Raises ServiceError: they cannot be read."""
        self.intervals = {kind: store.intervals(kind) for kind in LENGTH_NAMES}
        self.disturbances = store.disturbances()


def withdrawn_outages(mauka_log: Path) -> list[str]:
    """Boxes whose outage was reported and then withdrawn."""
    if not mauka_log.exists():
        return []
    lines = mauka_log.read_text(encoding="utf-8").splitlines()
    return [str(json.loads(line)["box_id"]) for line in lines if '"outage.withdrawn"' in line]


def dips_percent(volts: NDArray[np.float64]) -> tuple[float, ...]:
    """The lowest rms of one cycle in each dip below 90 % of nominal, percent."""
    if len(volts) <= CYCLE_SAMPLES:
        return ()
    sums = np.concatenate(([0.0], np.cumsum(np.square(volts))))
    percent = 100.0 * np.sqrt((sums[CYCLE_SAMPLES:] - sums[:-CYCLE_SAMPLES]) / CYCLE_SAMPLES) / NOMINAL_V
    return tuple(float(np.min(percent[begin:end])) for begin, end in runs(percent < DIP_PERCENT))


def runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """[first, end) of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    return [(int(first), int(end)) for first, end in edges.reshape(-1, 2)]


def _measurement(row: dict[str, Any]) -> Measurement:
    metrics = {} if row["crossing"] else row.get("metrics") or {}
    return Measurement(
        box_id=str(row["box_id"]),
        timestamp_ms=int(row["timestamp_ms"]),
        metrics={
            name: Metric(*3 * (float(metric["average"]),))
            for name, metric in metrics.items()
            if name.startswith(("missing_", "clock_set"))
        },
        start_ns=row["start_ns"],
        end_ns=row["end_ns"],
        sequence=row["sequence"],
        crossing=row["crossing"],
    )


def _event(row: dict[str, Any]) -> StoredEvent:
    return StoredEvent(
        int(row["event_id"]),
        round(row["start_ms"] * 1e6),
        round(row["end_ms"] * 1e6),
        tuple(map(str, row["boxes_received"])),
        {str(box_id): str(why) for box_id, why in row["missing"].items()},
        str(row["opened_by"] or ""),
        str(row["because"]),
        bool(row["finished"]),
        bool(row["analysed"]),
    )


def _finding(row: dict[str, Any]) -> StoredFinding:
    return StoredFinding(
        str(row["box_id"]),
        int(row["incident_id"]),
        str(row["class"]),
        row["residual_percent"],
        (int(row["event_id"]),),
        str(row["because"]),
        int(row["start_ns"]),
        int(row["end_ns"]),
        row["uncertainty_ns"],
    )


def _waveforms(rows: Sequence[dict[str, Any]], event: StoredEvent) -> dict[tuple[int, str], StoredWaveform]:
    found = {}
    for wave in rows:
        volts = np.array(wave["counts"]) * float(wave["volts_per_lsb"] or 1 / COUNTS_PER_VOLT)
        asked_ns = event.end_ns - event.start_ns - AFTER_LOSS_NS * (SILENCE in event.because)
        found[event.event_id, str(wave["box_id"])] = StoredWaveform(
            asked_ns * int(wave["rate_millihz"]) // 10**12,
            len(volts),
            sum(int(gap["samples"]) for gap in wave["gaps"]),
            dips_percent(volts),
        )
    return found
