"""Numbers of Measurements on both sides: what each Box made and still holds, and what the store has.

A process of a fleet keeps `numbers.json` beside what it holds: Box -> [next, lowest that is held]. At a start
with a new folder both are the first one.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from opq_cloud.store.parcel_slots import LIVE
from opq_cloud.store.parcels import rows_by_box
from opq_cloud.store.sequence_runs import SequenceRuns
from opq_hil.cloud_faults.accounts import HeldNumbers, measurements
from opq_hil.fleet.held_log import NUMBERS


def numbers_of(folders: Iterable[Path]) -> dict[str, tuple[int, int]]:
    """Box -> its next number and the lowest that it holds; of those processes that have said so."""
    found: dict[str, tuple[int, int]] = {}
    for folder in folders:
        path = folder / NUMBERS
        if path.exists():
            told = json.loads(path.read_text(encoding="utf-8"))
            found |= {box_id: (int(following), int(floor)) for box_id, (following, floor) in told.items()}
    return found


def held_of(begun: dict[str, tuple[int, int]], ended: dict[str, tuple[int, int]]) -> dict[str, HeldNumbers]:
    """What each Box made and holds at the end of a run.

    Args:
        begun: `numbers_of` its start, before anything could be acknowledged.
    """
    return {
        box_id: HeldNumbers(begun[box_id][1], floor, following)
        for box_id, (following, floor) in ended.items()
    }


@dataclass(frozen=True, slots=True)
class MeasurementAccount:
    """Where the Measurements of all Boxes together are."""

    made: int
    stored: int
    waiting: int
    """Held by their Boxes, not acknowledged and not in the store."""
    problems: tuple[str, ...]
    """A line for each Box of which something is lost, stored twice or was never made."""


def account_of(held: Mapping[str, HeldNumbers], stored: Mapping[str, SequenceRuns]) -> MeasurementAccount:
    """Where every Measurement is."""
    made = in_store = waiting = 0
    problems: list[str] = []
    for box_id, numbers in held.items():
        runs = stored.get(box_id)
        own = [] if runs is None else list(runs.between(0, 1 << 62))
        made += numbers.next - numbers.first
        in_store += len(own)
        waiting += numbers.next - numbers.floor - sum(number >= numbers.floor for number in own)
        problems += measurements(box_id, numbers, own)
    return MeasurementAccount(made, in_store, waiting, tuple(problems))


def stored_runs(database: Path) -> dict[str, SequenceRuns]:
    """Box -> the numbers that an embedded store has, which nobody writes any more."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as file:
        names: dict[int, str] = {}
        found: dict[str, SequenceRuns] = {}
        for number, box_id, spans in file.execute("SELECT box, box_id, spans FROM box_marks"):
            names[number], found[box_id] = box_id, SequenceRuns(spans)
        for number, sequence in file.execute(
            "SELECT box, sequence FROM measurements WHERE sequence IS NOT NULL"
        ):
            found[names[number]].add(sequence)
        parcels = file.execute(f"SELECT boxes, packed FROM parcels WHERE {LIVE} ORDER BY parcel").fetchall()
    for number, rows in rows_by_box(parcels).items():
        runs = found[names[number]]
        for sequence in rows["row"]["sequence"].tolist():
            runs.add(sequence)
    return found
