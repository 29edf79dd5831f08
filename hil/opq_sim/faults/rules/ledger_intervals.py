"""Intervals and disturbances: each row of a gateway's ledger is in the store once, or was not acknowledged.

What was measured in one part is stored bit for bit. Of what a restart made in two parts the store has one
interval, with at least the coverage of the better part.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from opq_gateway.measuring.feed import DISTURBANCES, Values
from opq_gateway.measuring.ledger_rows import COVERAGE
from opq_sim.faults.evidence import Evidence
from opq_sim.faults.rules.data_lost import shown

ORDERED: Mapping[str, tuple[str, int]] = {"harmonics_v": ("h", 1), "interharmonics_v": ("i", 0)}
"""Quantity with a value for each order -> letter of its columns in an export, and the first order."""
AT_INSTANTS: Mapping[str, str] = {"angles_deg": "angle_{}_deg", "phasors_v": "phasor_{}_v"}
"""Quantity with a value for each instant of UTC -> its columns in an export."""
COVERAGE_ROUNDING = 1e-6
"""A coverage that is summed of two parts is rounded."""


def intervals(box_id: str, evidence: Evidence) -> list[str]:
    """Problems of a Box's intervals and disturbances."""
    ledger, unsent = evidence.ledger[box_id], evidence.unsent[box_id]
    by_kind: dict[str, list[Values]] = defaultdict(list)
    for row in ledger:
        by_kind[row.kind].append(row)
    found = []
    for kind, stored in evidence.intervals.items():
        rows = [row for row in stored if row["box_id"] == box_id]
        found += _of_length(f"Box {box_id}, {kind}", by_kind.pop(kind, []), rows, unsent)
    written = {row.start_ns for kind in DISTURBANCES for row in by_kind.get(kind, ())}
    waiting = {start_ns for kind, start_ns in unsent if kind in DISTURBANCES}
    starts = Counter(
        (row["class"], row["start_ns"]) for row in evidence.disturbances if row["box_id"] == box_id
    )
    there = {start_ns for _, start_ns in starts}
    doubled = [start_ns for (_, start_ns), count in starts.items() if count > 1]
    what = f"Box {box_id}, disturbances"
    return [*found, *_problems(what, written - waiting - there, there - written, doubled)]


def _of_length(
    what: str, ledger: Sequence[Values], stored: Sequence[dict[str, Any]], unsent: Counter[tuple[str, int]]
) -> list[str]:
    parts: dict[int, list[Values]] = defaultdict(list)
    for each in ledger:
        parts[each.start_ns].append(each)
    counts = Counter(int(row["start_ns"]) for row in stored)
    waiting = {each.start_ns for each in ledger if unsent[each.kind, each.start_ns]}
    doubled = [start_ns for start_ns, count in counts.items() if count > 1]
    found = _problems(what, set(parts) - waiting - set(counts), set(counts) - set(parts), doubled)
    whole = [row for row in stored if row["start_ns"] in parts and row["start_ns"] not in waiting]
    other = [str(row["start_ns"]) for row in whole if not _agrees(row, parts[row["start_ns"]])]
    if other:
        found.append(f"{what}: {len(other)} differ from the ledger: {shown(other)}")
    return found


def _problems(what: str, lost: Collection[int], made: Collection[int], doubled: Collection[int]) -> list[str]:
    return [
        f"{what}: {len(starts)} {words}: {shown(map(str, sorted(starts)))}"
        for starts, words in (
            (lost, "are in the ledger and not in the store"),
            (made, "are in the store and not in the ledger"),
            (doubled, "are stored twice"),
        )
        if starts
    ]


def _agrees(row: Mapping[str, Any], parts: Sequence[Values]) -> bool:
    windows = [each for each in parts if COVERAGE in each.values]
    if len(windows) > 1:
        covered = max(_single(each.values[COVERAGE]) for each in windows)
        return bool(row["coverage"] >= covered - COVERAGE_ROUNDING)
    if len(parts) - len(windows) > 1:
        return True  # the flickermeter was started within it
    wanted: dict[str, Any] = {}
    for each in parts:
        wanted |= _columns(each)
    if windows:
        wanted |= {"end_ns": windows[0].end_ns, "flagged": windows[0].flagged}
    return bool(all(_single(row.get(name)) == value for name, value in wanted.items()))


def _columns(row: Values) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in row.values.items():
        if isinstance(value, tuple) and name in AT_INSTANTS:
            known = ((at, each) for at, each in enumerate(value, 1) if not math.isnan(each))
            found |= {AT_INSTANTS[name].format(at): _single(each) for at, each in known}
        elif isinstance(value, tuple):
            letter, first = ORDERED[name]
            found |= {f"{letter}{first + at}_v": _single(each) for at, each in enumerate(value)}
        elif not math.isnan(value):
            found["coverage" if name == COVERAGE else name] = _single(value)
    return found


def _single(value: Any) -> Any:
    """A number in the precision of the wire; what is not a number as it is."""
    return float(np.float32(value)) if isinstance(value, float) else value
