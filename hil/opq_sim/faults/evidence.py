"""Evidence: what a schedule left in the gateways' rings and queues, in the cloud's store and in Mauka's log.

All of it is read from outside; a killed gateway's files stay unchanged for the next gateway.
"""

import json
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from opq_gateway.blocks import SampleBlock
from opq_gateway.ring.ring import Ring
from opq_gateway.ring.segment import Segment
from opq_proto.messages import Gap, Measurement, Metric
from opq_sim.faults.parts.held_numbers import HeldNumbers
from opq_sim.faults.parts.service import ServiceError
from opq_sim.faults.parts.view_reader import ViewReader
from opq_sim.score.records import TrueDisturbance

FILE_NAME: Final = "opq.db"
TIMEOUT_S: Final = 5.0
HOURS: Final = 24.0
ALL_NS: Final = (0, int(np.iinfo(np.int64).max))
NOMINAL_V: Final = 120.0
CYCLE: Final = 200
"""Samples of a cycle of 60 Hz."""
DIP_PERCENT: Final = 90.0
SILENCE: Final = " silence: "
"""In the reason of an event that was opened for what came before a loss of supply."""
AFTER_LOSS_NS: Final = 10**9
"""What came before a loss of supply is asked for up to this long after it, where nothing was sampled."""
_NEWEST: Final = "SELECT box, max(id) FROM measurements GROUP BY box"
_MARKS: Final = "SELECT box, box_id FROM box_marks"
_PARCELS: Final = "SELECT parcel, boxes FROM parcels WHERE boxes IS NOT NULL ORDER BY parcel DESC LIMIT 2000"
_PARCEL_HEAD, _STRETCH_ROWS = struct.Struct("<BII"), 200
"""As `opq_cloud.store.embedded.parcels`, which a world outside of the cloud does not import."""
_EVENTS: Final = "SELECT document, finished, analysed FROM events ORDER BY event_id"
_FINDINGS: Final = "SELECT document FROM incidents ORDER BY incident_id"
_FILE: Final = "SELECT data FROM chunks JOIN files USING (file) WHERE filename = ? ORDER BY n"
_PROGRESS: Final = """
    SELECT (SELECT count(*) FROM events WHERE finished = 0),
           (SELECT count(*) FROM events WHERE finished = 1 AND analysed = 0),
           (SELECT count(*) FROM events), (SELECT count(*) FROM incidents)"""
_QUEUED: Final = "SELECT box_id, sequence FROM measurements JOIN boxes USING (box)"
_QUEUED_TO: Final = "SELECT last_end_ns FROM boxes WHERE box_id = ?"


@dataclass(frozen=True, slots=True)
class RingContents:
    """Blocks in the order in which they were written, and the losses that are recorded between them."""

    blocks: list[SampleBlock]
    gaps: list[Gap]


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
    """In gaps."""
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
    """By Box of a fleet."""
    received: Mapping[tuple[str, int], Measurement] = field(default_factory=dict)
    """(Box, sequence) -> what the triggering broker passed on."""
    contradicted: list[str] = field(default_factory=list)
    """Measurements whose copies differ."""
    stored: list[Measurement] = field(default_factory=list)
    elsewhere: list[Measurement] = field(default_factory=list)
    """Measurements in the store of the other Makai."""
    events: list[StoredEvent] = field(default_factory=list)
    findings: list[StoredFinding] = field(default_factory=list)
    waveforms: dict[tuple[int, str], StoredWaveform] = field(default_factory=dict)
    """By (event, Box)."""
    withdrawn: list[str] = field(default_factory=list)
    """Boxes of outages that were reported and then withdrawn."""
    truth: list[TrueDisturbance] = field(default_factory=list)
    """The dips that a fleet saw."""
    dark_ns: dict[str, tuple[int, int]] = field(default_factory=dict)
    skipped_s: dict[str, float] = field(default_factory=dict)
    """By Box, seconds of samples that it did not take, because it stopped for too long."""
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
        self.findings = [
            StoredFinding(
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
            for row in view.findings()
        ]
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

    def read_store(self, data_dir: Path, other_dir: Path) -> None:
        """Reads what the cloud stored.

        Raises:
            ServiceError, sqlite3.Error: it cannot be read.
        """
        self.stored, self.elsewhere = stored_measurements(data_dir), stored_measurements(other_dir)
        with closing(_opened(data_dir / FILE_NAME)) as file:
            self.events = [_event(json.loads(text), *flags) for text, *flags in file.execute(_EVENTS)]
            self.findings = [_finding(json.loads(text)) for (text,) in file.execute(_FINDINGS)]
            self.waveforms = _waveforms(file, {event.event_id: event for event in self.events})


def ring_of(data_dir: Path, box_id: str) -> Ring:
    """The ring of a gateway's Box; its writer, if there is one, is not disturbed."""
    return Ring(data_dir / "gateway" / f"box{box_id}" / "ring", box_id, HOURS)


def newest_in(folders: Mapping[str, Path]) -> Callable[[str], Segment | None]:
    """Returns what reads the newest segment of a Box's ring, in the data folder of its gateway."""

    def newest(box_id: str) -> Segment | None:
        return ring_of(folders[box_id], box_id).newest()

    return newest


def ring_contents(data_dir: Path, box_id: str) -> RingContents:
    """Reads the whole ring."""
    ring = ring_of(data_dir, box_id)
    gaps = [Gap(lost.first_sample, lost.samples, lost.reason) for lost in ring.read_lost(*ALL_NS)]
    return RingContents(ring.read_blocks(*ALL_NS), gaps)


def newest_sample(data_dir: Path, box_id: str) -> int:
    """The sample at the ring's end, by the Box's own index; 0: the ring is empty."""
    newest = ring_of(data_dir, box_id).newest()
    return 0 if newest is None else newest.end_sample


def newest_ns(data_dir: Path, box_id: str) -> int:
    """UTC of the ring's end; 0: the ring is empty."""
    newest = ring_of(data_dir, box_id).newest()
    return 0 if newest is None else newest.end_ns


def backlog(data_dir: Path) -> set[tuple[str, int]] | None:
    """(Box, sequence) of every Measurement that a gateway's queue holds; None: it cannot be read now."""
    rows = _rows(data_dir / "gateway" / "queue.sqlite", _QUEUED)
    return None if rows is None else {(str(box_id), int(sequence)) for box_id, sequence in rows}


def queued_to_ns(data_dir: Path, box_id: str) -> int:
    """UTC until which the Box's Measurements were queued; 0: none, or the file cannot be read now."""
    rows = _rows(data_dir / "gateway" / "queue.sqlite", _QUEUED_TO, box_id)
    return int(rows[0][0] or 0) if rows else 0


def newest_rows(data_dir: Path) -> dict[str, int]:
    """By Box, a number that rises with each of its rows; rows stand one by one or in parcels of many.

    Empty while the store cannot be read.
    """
    path = data_dir / FILE_NAME
    newest = dict(_rows(path, _NEWEST) or ())
    in_parcel: dict[int, int] = {}
    for parcel, boxes in _rows(path, _PARCELS) or ():
        for box in _boxes_of(boxes):
            in_parcel.setdefault(box, int(parcel))
    return {
        str(box_id): int(newest.get(box, 0)) + in_parcel.get(box, 0)
        for box, box_id in _rows(path, _MARKS) or ()
    }


def _boxes_of(packed: bytes) -> list[int]:
    """The numbers of the Boxes that have rows in a parcel."""
    wide, first, rows = _PARCEL_HEAD.unpack_from(packed)
    at = _PARCEL_HEAD.size + 4 * -(-rows // _STRETCH_ROWS)
    steps = np.frombuffer(packed, "<u4" if wide & 1 else "u1", rows - 1, at)
    return sorted({first, *(first + np.cumsum(steps, dtype=np.int64)).tolist()})


def store_progress(data_dir: Path) -> tuple[int, ...] | None:
    """Numbers of events that are not finished and not analysed, of events, and of findings; None: the store
    cannot be read now.
    """
    rows = _rows(data_dir / FILE_NAME, _PROGRESS)
    return rows[0] if rows else None


def stored_measurements(data_dir: Path) -> list[Measurement]:
    """Every Measurement in the store, as a command in its own process exports it, with the means of its
    gaps and of clocks that were set; empty where there is no store yet.

    Raises:
        ServiceError: the command failed.
    """
    if not (data_dir / FILE_NAME).exists():
        return []
    command = [sys.executable, "-m", "opq_tools.cli", "export", "measurements", "--format", "json"]
    done = subprocess.run(
        [*command, "--data-dir", str(data_dir)], check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise ServiceError(f"export of measurements: {done.stderr.strip()}")
    return [_measurement(row) for row in json.loads(done.stdout)]


def withdrawn_outages(mauka_log: Path) -> list[str]:
    """Boxes whose outage was reported and then withdrawn."""
    if not mauka_log.exists():
        return []
    lines = mauka_log.read_text(encoding="utf-8").splitlines()
    return [str(json.loads(line)["box_id"]) for line in lines if '"outage.withdrawn"' in line]


def dips_percent(volts: NDArray[np.float64]) -> tuple[float, ...]:
    """The lowest rms of one cycle in each dip below 90 % of nominal, percent."""
    if len(volts) <= CYCLE:
        return ()
    sums = np.concatenate(([0.0], np.cumsum(np.square(volts))))
    percent = 100.0 * np.sqrt((sums[CYCLE:] - sums[:-CYCLE]) / CYCLE) / NOMINAL_V
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


def _event(document: dict[str, Any], finished: int, analysed: int) -> StoredEvent:
    return StoredEvent(
        int(document["event_id"]),
        int(document["start_ns"]),
        int(document["end_ns"]),
        tuple(map(str, document["boxes_received"])),
        {str(box_id): str(why) for box_id, why in document["missing"].items()},
        str(document["opened_by"]),
        str(document["because"]),
        bool(finished),
        bool(analysed),
    )


def _finding(document: dict[str, Any]) -> StoredFinding:
    return StoredFinding(
        str(document["box_id"]),
        int(document["group_id"]),
        str(document["class"]),
        document["residual_percent"],
        tuple(document["event_ids"]),
        str(document["because"]),
        int(document["start_ns"]),
        int(document["end_ns"]),
    )


def _waveforms(
    file: sqlite3.Connection, events: Mapping[int, StoredEvent]
) -> dict[tuple[int, str], StoredWaveform]:
    found = {}
    for event_id, box_id, text in file.execute("SELECT event_id, box_id, document FROM box_events"):
        wave, event = json.loads(text), events[int(event_id)]
        data = b"".join(chunk for (chunk,) in file.execute(_FILE, (wave["data_fs_filename"],)))
        volts = np.frombuffer(data, "<i2") * float(wave["v_per_lsb"])
        asked_ns = event.end_ns - event.start_ns - AFTER_LOSS_NS * (SILENCE in event.because)
        found[int(event_id), str(box_id)] = StoredWaveform(
            asked_ns * int(wave["rate_millihz"]) // 10**12,
            len(volts),
            sum(int(gap["samples"]) for gap in wave["gaps"]),
            dips_percent(volts),
        )
    return found


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=TIMEOUT_S)


def _rows(path: Path, query: str, *values: str) -> list[tuple[Any, ...]] | None:
    """None: the file cannot be read now."""
    try:
        with closing(_opened(path)) as file:
            return file.execute(query, values).fetchall()
    except sqlite3.Error:
        return None
