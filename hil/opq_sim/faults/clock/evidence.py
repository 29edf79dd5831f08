"""What schedules of set clocks left in the cloud's store, read from outside: findings, and the waveforms of
events."""

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from opq_sim.faults.cloud.stored_rows import FILE_NAME

TIMEOUT_S = 5.0
NOMINAL_V: Final = 120.0
CYCLE: Final = 200
"""Samples of a cycle of 60 Hz."""
DIP_PERCENT: Final = 90.0
SILENCE: Final = " silence: "
"""In the reason of an event that was opened for what came before a loss of supply."""
AFTER_LOSS_NS: Final = 10**9
"""What came before a loss of supply is asked for up to this long after it, where nothing was sampled."""
_NEWEST: Final = "SELECT box_id, max(id) FROM measurements JOIN box_marks USING (box) GROUP BY box_id"
_FILE: Final = "SELECT data FROM chunks JOIN files USING (file) WHERE filename = ? ORDER BY n"


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
class StoredEvents:
    """All findings, waveforms by (event, Box), and why each event was opened, with the Box that opened it."""

    findings: list[StoredFinding] = field(default_factory=list)
    waveforms: dict[tuple[int, str], StoredWaveform] = field(default_factory=dict)
    because: list[tuple[str, str]] = field(default_factory=list)
    """(Box that opened an event, why)."""
    not_sent: dict[tuple[int, str], str] = field(default_factory=dict)
    """By (event, Box), what the cloud says of samples that it asked for and that did not come."""


def newest_rows(data_dir: Path) -> dict[str, int]:
    """By Box, the number of its row that was stored last; it rises. Empty while the store cannot be read."""
    path = f"file:{data_dir / FILE_NAME}?mode=ro"
    try:
        with closing(sqlite3.connect(path, uri=True, timeout=TIMEOUT_S)) as file:
            return {str(box_id): int(number) for box_id, number in file.execute(_NEWEST)}
    except sqlite3.Error:
        return {}


def stored_events(data_dir: Path) -> StoredEvents:
    """Reads the store.

    Raises:
        sqlite3.Error: the file cannot be read.
    """
    found = StoredEvents()
    path = f"file:{data_dir / FILE_NAME}?mode=ro"
    with closing(sqlite3.connect(path, uri=True, timeout=TIMEOUT_S)) as file:
        for (text,) in file.execute("SELECT document FROM incidents ORDER BY incident_id"):
            one = json.loads(text)
            found.findings.append(
                StoredFinding(
                    str(one["box_id"]), int(one["group_id"]), str(one["class"]), one["residual_percent"],
                    tuple(one["event_ids"]), str(one["because"]), int(one["start_ns"]), int(one["end_ns"]),
                )
            )  # fmt: skip
        spans: dict[int, int] = {}
        for event_id, text in file.execute("SELECT event_id, document FROM events"):
            event = json.loads(text)
            of_loss = SILENCE in str(event["because"])
            spans[int(event_id)] = int(event["end_ns"]) - int(event["start_ns"]) - AFTER_LOSS_NS * of_loss
            found.because.append((str(event["opened_by"]), str(event["because"])))
            found.not_sent |= {(int(event_id), box_id): str(why) for box_id, why in event["missing"].items()}
        for event_id, box_id, text in file.execute("SELECT event_id, box_id, document FROM box_events"):
            wave = json.loads(text)
            data = b"".join(chunk for (chunk,) in file.execute(_FILE, (wave["data_fs_filename"],)))
            volts = np.frombuffer(data, "<i2") * float(wave["v_per_lsb"])
            found.waveforms[int(event_id), str(box_id)] = StoredWaveform(
                spans[int(event_id)] * int(wave["rate_millihz"]) // 10**12,
                len(volts),
                sum(int(gap["samples"]) for gap in wave["gaps"]),
                dips_percent(volts),
            )
    return found


def dips_percent(volts: np.ndarray) -> tuple[float, ...]:
    """The lowest rms of one cycle in each dip below 90 % of nominal, percent."""
    if len(volts) <= CYCLE:
        return ()
    sums = np.concatenate(([0.0], np.cumsum(np.square(volts))))
    percent = 100.0 * np.sqrt((sums[CYCLE:] - sums[:-CYCLE]) / CYCLE) / NOMINAL_V
    edges = np.flatnonzero(np.diff(np.concatenate(([False], percent < DIP_PERCENT, [False]))))
    return tuple(float(np.min(percent[begin:end])) for begin, end in edges.reshape(-1, 2))
