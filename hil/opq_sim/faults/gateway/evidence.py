"""The result of a schedule: in the gateway's ring, in its queue on disk and in the cloud's store.

All of it is read from outside; a killed gateway's files stay unchanged for the next gateway.
"""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from opq_gateway.blocks import SampleBlock
from opq_gateway.ring.ring import Ring
from opq_proto.messages import Gap, Measurement
from opq_sim.faults.gateway.service import ServiceError

HOURS = 24.0
ALL_NS = (0, int(np.iinfo(np.int64).max))


@dataclass(frozen=True, slots=True)
class RingContents:
    """Blocks in the order in which they were written, and the losses that are recorded between them."""

    blocks: list[SampleBlock]
    gaps: list[Gap]


def newest_ns(data_dir: Path, box_id: str) -> int:
    """UTC of the ring's end; 0: the ring is empty."""
    newest = _ring(data_dir, box_id).newest()
    return 0 if newest is None else newest.end_ns


def newest_sample(data_dir: Path, box_id: str) -> int:
    """The sample at the ring's end, by the Box's own index; 0: the ring is empty."""
    newest = _ring(data_dir, box_id).newest()
    return 0 if newest is None else newest.end_sample


def ring_contents(data_dir: Path, box_id: str) -> RingContents:
    """Reads the whole ring; its writer, if there is one, is not disturbed."""
    ring = _ring(data_dir, box_id)
    blocks = ring.read_blocks(*ALL_NS)
    gaps = [Gap(lost.first_sample, lost.samples, lost.reason) for lost in ring.read_lost(*ALL_NS)]
    return RingContents(blocks, gaps)


def _ring(data_dir: Path, box_id: str) -> Ring:
    return Ring(data_dir / "gateway" / f"box{box_id}" / "ring", box_id, HOURS)


@dataclass(slots=True)
class Evidence:
    """Everything that a schedule left."""

    sent: dict[str, int] = field(default_factory=dict)
    ring: dict[str, RingContents] = field(default_factory=dict)
    early: dict[str, list[SampleBlock]] = field(default_factory=dict)
    """Blocks that the ring held at the first kill."""
    recovery_s: dict[str, float] = field(default_factory=dict)
    """Longest time from a kill of the gateway until it received samples of the Box again."""
    queued: set[tuple[str, int]] = field(default_factory=set)
    """(Box, sequence) of Measurements that were seen on the gateway's disk."""
    stored: list[Measurement] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    figures: dict[str, float | int | str] = field(default_factory=dict)


def exported(data_dir: Path) -> list[Measurement]:
    """Every Measurement in the cloud's store, read by a command in a process of its own.

    Raises:
        ServiceError: the command failed.
    """
    command = [sys.executable, "-m", "opq_tools.cli", "export", "measurements", "--format", "json"]
    done = subprocess.run(
        [*command, "--data-dir", str(data_dir)], check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise ServiceError(f"export of measurements: {done.stderr.strip()}")
    return [
        Measurement(
            box_id=row["box_id"],
            timestamp_ms=row["timestamp_ms"],
            metrics={},
            start_ns=row["start_ns"],
            end_ns=row["end_ns"],
            sequence=row["sequence"],
            crossing=row["crossing"],
        )
        for row in json.loads(done.stdout)
    ]


TIMEOUT_S = 2.0
QUERY = "SELECT box_id, sequence FROM measurements JOIN boxes USING (box)"
LAST_END = "SELECT last_end_ns FROM boxes WHERE box_id = ?"


def backlog(data_dir: Path) -> set[tuple[str, int]] | None:
    """(Box, sequence) of every Measurement that is not acknowledged; None: the file cannot be read now."""
    rows = _queue_rows(data_dir, QUERY)
    return None if rows is None else {(str(box_id), int(sequence)) for box_id, sequence in rows}


def queued_to_ns(data_dir: Path, box_id: str) -> int:
    """UTC until which the Box's Measurements were queued; 0: none, or the file cannot be read now."""
    rows = _queue_rows(data_dir, LAST_END, box_id)
    return int(rows[0][0] or 0) if rows else 0


def _queue_rows(data_dir: Path, query: str, *values: str) -> list[tuple[Any, ...]] | None:
    """Reads only: a killed gateway's file stays unchanged for the next one."""
    try:
        place = f"file:{data_dir / 'gateway' / 'queue.sqlite'}?mode=ro"
        with closing(sqlite3.connect(place, uri=True, timeout=TIMEOUT_S)) as file:
            return file.execute(query, values).fetchall()
    except sqlite3.Error:
        return None
