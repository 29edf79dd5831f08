"""Numbers of polyphase events after a kill: as if there had been none."""

import os
import signal
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from test_measuring_places import HOUSE, dip, ledger_at
from test_measuring_restart import WAIT_S, written
from waiting import wait_for

from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.measuring.feed import MeasuredFeed, Values
from opq_gateway.measuring.ledger import Ledger
from opq_gateway.measuring.measured_disturbances import UNDER_WAY
from opq_gateway.measuring.measuring import Measuring
from opq_gateway.measuring.measuring_plan import MeasuringPlan
from opq_gateway.measuring.polyphase import NUMBER, PolyphaseNumbers
from opq_sim.box.box import Box
from opq_sim.box.box_host import BoxHost
from opq_sim.mains.grid_events import GridEvent
from opq_sim.mains.on_demand import numbers_for, on_demand

BOXES = ("1", "2", "10")
"""Those for which the tests have keys."""
spans = st.tuples(
    st.sampled_from("123"), st.integers(0, 60), st.integers(1, 15), st.sampled_from(["dip", "swell"])
)


def events_of(rows: dict[str, list[Values]]) -> set[frozenset[tuple[str, int, bool]]]:
    """The disturbances that have one number, by the last row of each."""
    last = {
        (each.box_id, each.start_ns, each.kind == "swell"): each.values[NUMBER]
        for own in rows.values()
        for each in own
    }
    found: dict[Any, set[tuple[str, int, bool]]] = defaultdict(set)
    for place, number in last.items():
        found[number].add(place)
    return {frozenset(each) for each in found.values()}


@settings(max_examples=150, deadline=None)
@given(st.lists(spans, min_size=2, max_size=12), st.integers(0, 12), st.tuples(*[st.integers(0, 3)] * 3))
def test_a_kill_changes_no_event(
    drawn: list[tuple[str, int, int, str]], killed_at: int, lost: tuple[int, ...]
) -> None:
    """Each Box's ledger has lost its own last rows, also some that were numbered again for another Box."""
    given_ = [dip(box, 100 * at, 100 * (at + length), kind) for box, at, length, kind in drawn]
    once = {(each.box_id, each.start_ns, each.kind): each for each in given_}
    whole, disk = PolyphaseNumbers((HOUSE,)), defaultdict[str, list[Values]](list)
    for each in once.values():
        for row in whole.number(each):
            disk[row.box_id].append(row)
    wanted = events_of(disk)

    numbers, disk = PolyphaseNumbers((HOUSE,)), defaultdict(list)
    for each in list(once.values())[:killed_at]:
        for row in numbers.number(each):
            disk[row.box_id].append(row)
    kept = {box: disk[box][: len(disk[box]) - count] for box, count in zip("123", lost, strict=True)}
    again = PolyphaseNumbers((HOUSE,))
    for row in again.restore([row for own in kept.values() for row in own]):
        kept[row.box_id].append(row)
    there = {(each.box_id, each.start_ns, each.kind) for own in kept.values() for each in own}
    for place, each in once.items():
        if place not in there:
            for row in again.number(each):
                kept[row.box_id].append(row)
    assert events_of(kept) == wanted
    third = PolyphaseNumbers((HOUSE,))
    assert third.restore([row for own in kept.values() for row in own]) == []


def test_rows_parted_by_a_kill_are_numbered(tmp_path: Path) -> None:
    """Box 2's row with the event's number was lost: the start writes it again."""
    rows = [dip("1", 0, 300), dip("2", 200, 500)]
    for each, number in zip(rows, (8.0, 4.0), strict=True):
        ledger = ledger_at(tmp_path, each.box_id)
        ledger.append(replace(each, values={**each.values, NUMBER: number}))
        ledger.flush()
    measuring = Measuring(lambda *_: None, lambda *_: None, MeasuredFeed(), groups=(HOUSE,))
    for box_id in "123":
        plan = MeasuringPlan(box_id, 120.0, 60.0)
        measuring.add(plan, BoxCounters(), BoxStatus(box_id, 60), ledger_at(tmp_path, box_id))
    measuring.restore_numbers()
    measuring.ledgers.write()
    assert numbers_in(ledger_at(tmp_path, "1")) == [8.0]
    assert numbers_in(ledger_at(tmp_path, "2")) == [4.0, 8.0]
    assert numbers_in(ledger_at(tmp_path, "3")) == []


def test_a_gateway_starts_without_a_ledger(tmp_path: Path) -> None:
    """The disk cannot read Box 1's ledger: the other Boxes have their numbers, and nothing is raised."""
    ledger = ledger_at(tmp_path, "2")
    for number in (4.0, 8.0):
        row = dip("2", 200, 500)
        ledger.append(replace(row, values={**row.values, NUMBER: number}))
    ledger.flush()
    measuring = Measuring(lambda *_: None, lambda *_: None, MeasuredFeed(), groups=(HOUSE,))
    for box_id in "123":
        plan = MeasuringPlan(box_id, 120.0, 60.0)
        measuring.add(plan, BoxCounters(), BoxStatus(box_id, 60), ledger_at(tmp_path, box_id))
    (tmp_path / "1" / "v-1.led").mkdir()  # root may read every file, but not a folder
    with capture_logs() as lines:
        measuring.restore_numbers()
    assert [line["box_id"] for line in lines if line["event"] == "measuring.failed"] == ["1"]
    assert numbers_in(ledger_at(tmp_path, "2")) == [4.0, 8.0]


def numbers_in(ledger: Ledger) -> list[Any]:
    return [each.values[NUMBER] for each in ledger.disturbances_after(0)]


@pytest.mark.slow  # test_measuring_restart.py always kills one
def test_a_real_kill_leaves_one_event(tmp_path: Path, makai: Any) -> None:
    """A dip of Box 1 has ended, and one of Box 2 that began within it has not, when the gateway is killed."""
    with BoxHost([Box(box_id) for box_id in BOXES]) as host:
        path = written(tmp_path, makai, host.ports["1"])
        more = [f'[[box]]\nid = "{box_id}"\nport = "{host.ports[box_id]}"' for box_id in BOXES[1:]]
        group = '[[group]]\nname = "house"\nboxes = ["1", "2", "10"]'
        path.write_text("\n".join([path.read_text(), *more, group]))
        folder = tmp_path / "gateway"
        for box_id in BOXES:
            (folder / f"box{box_id}").mkdir(parents=True)
        first, second, _ = (Ledger(folder / f"box{each}" / "ledger", each, 24.0, 30.0) for each in BOXES)
        command = [sys.executable, "-m", "opq_gateway", "run", "--config", str(path)]
        for begins in (True, False):
            with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
                try:
                    if begins:
                        wait_for(lambda: all(each.newest_ns() for each in (first, second)), WAIT_S)
                        placed = host.add_event("1", dip_of(240))
                        assert isinstance(placed, GridEvent)
                        host.add_event("2", replace(dip_of(1800), start_cycles=placed.start_cycles + 30))
                        wait_for(lambda: ended(first) and second.disturbances_after(0), WAIT_S)
                    else:
                        wait_for(lambda: ended(second), WAIT_S)
                finally:
                    os.kill(process.pid, signal.SIGKILL)
                    process.wait(240)
    # where the start took longer than a Box holds samples, what lasts is another disturbance after the hole
    began_ns = min(row.start_ns for row in second.disturbances_after(0))
    one, two = newest(first), newest(second, began_ns)
    assert one.values[NUMBER] == two.values[NUMBER]
    assert two.start_ns // 1_000_000 > one.start_ns // 1_000_000 and two.end_ns > one.end_ns


def dip_of(cycles: int) -> GridEvent:
    found = on_demand("sag", numbers_for("sag", {"depth": 0.4, "cycles": cycles}), 120.0, 60.0)
    assert isinstance(found, GridEvent)
    return found


def newest(ledger: Ledger, began_ns: int | None = None) -> Values:
    """The newest row, of the disturbance that began then."""
    rows = [row for row in ledger.disturbances_after(0) if began_ns in (None, row.start_ns)]
    return max(rows, key=lambda row: row.end_ns)


def ended(ledger: Ledger) -> bool:
    """Whether it has a disturbance that is not under way."""
    return bool(ledger.disturbances_after(0)) and not newest(ledger).values.get(UNDER_WAY)
