"""Sequence numbers of Measurements: those that each Box made and still holds, and those in the store.

A process of a fleet writes `numbers.json` next to the Measurements that it holds: Box -> [next, lowest held].
At a start with a new folder both are the first number.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from opq_cloud.store.embedded.parcel_slots import LIVE
from opq_cloud.store.embedded.parcels import rows_by_box
from opq_cloud.store.embedded.sequence_runs import SequenceRuns
from opq_sim.faults.parts.held_numbers import HeldNumbers
from opq_sim.faults.rules.data_lost import held_or_stored
from opq_sim.fleet.held_log import NUMBERS


def numbers_of(folders: Iterable[Path]) -> dict[str, tuple[int, int]]:
    """Box -> (next number, lowest held), from the processes that have written theirs."""
    found: dict[str, tuple[int, int]] = {}
    for folder in folders:
        path = folder / NUMBERS
        if path.exists():
            numbers = json.loads(path.read_text(encoding="utf-8"))
            found |= {box_id: (int(following), int(floor)) for box_id, (following, floor) in numbers.items()}
    return found


def held_of(begun: dict[str, tuple[int, int]], ended: dict[str, tuple[int, int]]) -> dict[str, HeldNumbers]:
    """The numbers that each Box made and holds at the end of a run.

    Args:
        begun: `numbers_of` at the start, before any acknowledgement.
    """
    return {
        box_id: HeldNumbers(begun[box_id][1], floor, following)
        for box_id, (following, floor) in ended.items()
    }


@dataclass(frozen=True, slots=True)
class MeasurementAccount:
    """Where the Measurements of all Boxes are."""

    made: int
    stored: int
    waiting: int
    """Number held by Boxes, not acknowledged and not in the store."""
    problems: tuple[str, ...]
    """Lines for Boxes with Measurements that are lost, stored twice or were never made."""


def account_of(held: Mapping[str, HeldNumbers], stored: Mapping[str, SequenceRuns]) -> MeasurementAccount:
    """Accounts for every Measurement."""
    made = in_store = waiting = 0
    problems: list[str] = []
    for box_id, numbers in held.items():
        runs = stored.get(box_id)
        own = [] if runs is None else list(runs.between(0, 1 << 62))
        made += numbers.next - numbers.first
        in_store += len(own)
        waiting += numbers.next - numbers.floor - sum(number >= numbers.floor for number in own)
        problems += held_or_stored(box_id, numbers, own)
    return MeasurementAccount(made, in_store, waiting, tuple(problems))


def stored_runs(database: Path) -> dict[str, SequenceRuns]:
    """Box -> the numbers in an embedded store that nothing writes any more."""
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
