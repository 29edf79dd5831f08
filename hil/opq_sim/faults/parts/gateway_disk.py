"""What a gateway has on its disk: rings, ledgers, and the queue of what no cloud has acknowledged."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from opq_gateway.blocks import SampleBlock
from opq_gateway.measuring.feed import DISTURBANCES, Values
from opq_gateway.measuring.ledger import Ledger
from opq_gateway.ring.ring import Ring
from opq_gateway.ring.segment import Segment
from opq_gateway.uplink.queue_file import QueueReader
from opq_proto.measurement.intervals import LENGTH_NAMES
from opq_proto.measurement.wire import measurement_from_wire
from opq_proto.messages import Gap, Measurement

HOURS: Final = 24.0
DAYS: Final = 30.0
ALL_NS: Final = (0, int(np.iinfo(np.int64).max))
SENT: Final = (*LENGTH_NAMES, *DISTURBANCES)
"""Kinds of rows of the ledger that a world's gateways send."""
KIND_OF: Final = {length_ms: kind for kind, length_ms in LENGTH_NAMES.items()}


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
    try:
        return _queue(data_dir).sequences()
    except sqlite3.Error:
        return None


def queued_windows(data_dir: Path) -> set[tuple[str, int]]:
    """(Box, sequence) of the Measurements of windows in the queue; empty where it cannot be read now."""
    held = _held(data_dir)
    return {(box_id, sequence) for box_id, sequence, each in held if each.is_window}


def unnumbered_rows(data_dir: Path, box_id: str) -> Counter[tuple[str, int]]:
    """Kind and start of the rows of a Box's ledger that are not in the queue yet, of a gateway that has
    ended."""
    places: dict[int, int] = {}
    with suppress(sqlite3.Error):
        places = _queue(data_dir).places(box_id)
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
    try:
        rows = _queue(data_dir).bodies()
    except sqlite3.Error:
        return []
    return [(box_id, sequence, measurement_from_wire(body)) for box_id, sequence, body in rows]


def queued_to_ns(data_dir: Path, box_id: str) -> int:
    """UTC until which the Box's Measurements were queued; 0: none, or the file cannot be read now."""
    try:
        return _queue(data_dir).last_end_ns(box_id) or 0
    except sqlite3.Error:
        return 0


def _queue(data_dir: Path) -> QueueReader:
    return QueueReader(data_dir / "gateway" / "queue.sqlite")
