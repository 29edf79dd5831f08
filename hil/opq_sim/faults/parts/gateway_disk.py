"""What a gateway has on its disk: rings, ledgers, and the queue of what no cloud has acknowledged."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from opq_gateway.blocks import SampleBlock
from opq_gateway.measuring.feed import DISTURBANCES, Values
from opq_gateway.measuring.ledger import Ledger
from opq_gateway.measuring.ledger_rows import LENGTHS_MS
from opq_gateway.ring.ring import Ring
from opq_gateway.ring.segment import Segment
from opq_proto.measurement.wire import measurement_from_wire
from opq_proto.messages import Gap, Measurement

TIMEOUT_S: Final = 5.0
HOURS: Final = 24.0
DAYS: Final = 30.0
ALL_NS: Final = (0, int(np.iinfo(np.int64).max))
SENT: Final = (*LENGTHS_MS, *DISTURBANCES)
"""Kinds of rows of the ledger that a world's gateways send."""
KIND_OF: Final = {length_ms: kind for kind, length_ms in LENGTHS_MS.items()}
_PLACES: Final = "SELECT file, place FROM ledger_places JOIN boxes USING (box) WHERE box_id = ?"
_BODIES: Final = """
    SELECT box_id, sequence, body FROM measurements JOIN boxes ON boxes.box = abs(measurements.box)"""
"""Rows of a negative number are laid aside, until a cloud takes intervals."""


@dataclass(frozen=True, slots=True)
class RingContents:
    """Blocks in the order in which they were written, and the losses that are recorded between them."""

    blocks: list[SampleBlock]
    gaps: list[Gap]


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
    """(Box, sequence) of all that a gateway's queue holds; None: it cannot be read now."""
    rows = _queue_rows(data_dir, "SELECT box_id, sequence FROM measurements JOIN boxes USING (box)")
    return None if rows is None else {(str(box_id), int(sequence)) for box_id, sequence in rows}


def queued_windows(data_dir: Path) -> set[tuple[str, int]]:
    """(Box, sequence) of the Measurements of windows in the queue; empty where it cannot be read now."""
    held = _held(data_dir)
    return {(box_id, sequence) for box_id, sequence, each in held if each.is_window}


def unnumbered_rows(data_dir: Path, box_id: str) -> Counter[tuple[str, int]]:
    """Kind and start of the rows of a Box's ledger that are not in the queue yet, of a gateway that has
    ended."""
    places = dict(_queue_rows(data_dir, _PLACES, box_id) or ())
    records = _ledger(data_dir, box_id).records_after(places, frozenset(SENT))
    return Counter((row.kind, row.start_ns) for _, _, rows in records for row in rows)


def unsent_rows(data_dir: Path, box_id: str) -> Counter[tuple[str, int]]:
    """The same of those that no cloud has acknowledged: they are in the queue, or not yet."""
    found = unnumbered_rows(data_dir, box_id)
    for name, _, each in _held(data_dir):
        if name == box_id and each.interval is not None:
            found[KIND_OF[each.interval.length_ms], each.start_ns or 0] += 1
        elif name == box_id and each.disturbance is not None:
            found[each.disturbance.kind, each.disturbance.start_ns] += 1
    return found


def ledger_rows(data_dir: Path, box_id: str) -> list[Values]:
    """The intervals and disturbances of a Box's ledger that go up, in the order of writing by kind."""
    ledger = _ledger(data_dir, box_id)
    return [row for kind in SENT for row in ledger.read(kind, *ALL_NS)]


def _ledger(data_dir: Path, box_id: str) -> Ledger:
    return Ledger(data_dir / "gateway" / f"box{box_id}" / "ledger", box_id, HOURS, DAYS)


def _held(data_dir: Path) -> list[tuple[str, int, Measurement]]:
    rows = _queue_rows(data_dir, _BODIES) or ()
    return [(str(box_id), int(sequence), measurement_from_wire(body)) for box_id, sequence, body in rows]


def queued_to_ns(data_dir: Path, box_id: str) -> int:
    """UTC until which the Box's Measurements were queued; 0: none, or the file cannot be read now."""
    rows = _queue_rows(data_dir, "SELECT last_end_ns FROM boxes WHERE box_id = ?", box_id)
    return int(rows[0][0] or 0) if rows else 0


def _queue_rows(data_dir: Path, query: str, *values: str) -> list[tuple[Any, ...]] | None:
    """None: the file cannot be read now."""
    path = data_dir / "gateway" / "queue.sqlite"
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=TIMEOUT_S)) as file:
            return file.execute(query, values).fetchall()
    except sqlite3.Error:
        return None
