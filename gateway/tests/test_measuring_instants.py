"""Angles of Boxes without a common gateway: what each sends gives the unbalance that a group measures."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_measuring_places import HOUSE, kept, ledger_at
from test_measuring_thread import HELLO, blocks_of

from opq_cloud.operations.site_now import site_now
from opq_cloud.store import BoxRecord, CloudStore, open_store
from opq_cloud.store.intervals.phases_together import site_intervals
from opq_gateway.blocks import SampleBlock
from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.measuring.feed import MeasuredFeed, Values
from opq_gateway.measuring.ledger_rows import measurement_of
from opq_gateway.measuring.measuring import Measuring
from opq_gateway.measuring.measuring_plan import MeasuringPlan
from opq_gateway.mqtt.board import _payload
from opq_gateway.rules.gateway_streams import rows_of
from opq_measure.aggregation.instants import INSTANTS_PER_INTERVAL
from opq_proto.measurement.wire import measurement_from_wire, measurement_to_wire
from opq_proto.messages import TimeSource

RATE_HZ, SECOND_NS = 2400, 10**9
SLOW = replace(HELLO, rate_millihz=2_400_000)
TEN_NS = 600 * SECOND_NS
START_NS = 3_000_000 * TEN_NS
BEFORE_S, AFTER_S = 2, 4
LEVELS, TURNS_DEG = (1.0, 0.97, 1.02), (0.0, -121.5, 119.0)
GAP_S = (200, 290)
"""Box 2 sends nothing from 200 to 290 s: the instants at 210 and 270 s are in it."""


def blocks(phase: int, uncertainty_ns: int = 1000) -> list[SampleBlock]:
    """Ten minutes of one phase, and what lies around: 50 to 90 mHz below nominal, wandering."""
    at_s = np.arange((BEFORE_S + 600 + AFTER_S) * RATE_HZ) / RATE_HZ
    turn = 2 * np.pi * (59.93 * at_s - 0.6 * np.cos(2 * np.pi * at_s / 190)) + math.radians(TURNS_DEG[phase])
    volts = 120 * math.sqrt(2) * LEVELS[phase] * (np.cos(turn) + 0.03 * np.cos(5 * turn))
    found = blocks_of(volts, START_NS - BEFORE_S * SECOND_NS, rate_millihz=2_400_000)
    found = [replace(each, uncertainty_ns=uncertainty_ns) for each in found]
    first, end = (START_NS + second * SECOND_NS for second in GAP_S)
    return [each for each in found if phase != 1 or not first <= each.t_ns < end]


def measured(folder: Path, given: dict[str, list[SampleBlock]], group: bool) -> None:
    """Measures Boxes into ledgers."""
    places = {HOUSE.name: ledger_at(folder, HOUSE.name)} if group else {}
    measuring = Measuring(
        lambda *_: None,
        lambda *_: None,
        MeasuredFeed(),
        groups=(HOUSE,) if group else (),
        places=places,
        piece_s=0.0,
    )
    for box_id, own in given.items():
        plan = MeasuringPlan(box_id, 120.0, 60.0, flicker=False)
        measuring.add(plan, BoxCounters(), BoxStatus(box_id, 60), ledger_at(folder, box_id))
        measuring.restart(box_id, SLOW)
        for at in range(0, len(own), 120):
            measuring.accept_blocks(box_id, own[at : at + 120])
            measuring.round(everything=True)
    measuring.ledgers.write()


def tens(folder: Path, name: str) -> Values:
    (found,) = [each for each in kept(folder, name, "10min") if each.start_ns == START_NS]
    return found


def stored(folder: Path, rows: list[Values], settled: bool) -> CloudStore:
    """A cloud's store with Boxes 1, 2, 3 of a site, after the wire."""
    store = open_store(None, folder)
    for box_id in "123":
        store.put_box(BoxRecord(box_id, "", site="mill", phase=f"L{box_id}", nominal_v=120.0))
    sent = [measurement_to_wire(replace(measurement_of(row), sequence=5)) for row in rows]
    store.intervals.append([measurement_from_wire(each) for each in sent])
    while settled and store.roll_up((START_NS + 100 * TEN_NS) // 10**6):
        pass
    return store


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("instants")
    measured(found, {box_id: blocks(phase) for phase, box_id in enumerate("123")}, group=True)
    return found


@pytest.mark.parametrize("settled", [False, True])
def test_u2_without_a_group_is_the_groups(folder: Path, tmp_path: Path, settled: bool) -> None:
    rows, group = [tens(folder, box_id) for box_id in "123"], tens(folder, HOUSE.name)
    store = stored(tmp_path, rows, settled)
    found = site_intervals(store.intervals, "mill", store.boxes(), 0, 2**62)
    assert found.start_ns.tolist() == [START_NS] and found.flagged.all() and group.flagged
    assert found.coverage.tolist() == [pytest.approx((INSTANTS_PER_INTERVAL - 2) / INSTANTS_PER_INTERVAL)]
    for name, within in (("u2_ratio", 3e-5), ("u0_ratio", 3e-5), ("positive_v", 0.01), ("clock_ratio", 1e-6)):
        assert float(found.values[name][0]) == pytest.approx(group.values[name], abs=within), name
    assert float(found.values["u2_ratio"][0]) > 0.005
    for name, turned in (("angle_b_deg", TURNS_DEG[1]), ("angle_c_deg", TURNS_DEG[2])):
        angle_deg = float(found.values[name][0])
        assert angle_deg == pytest.approx(group.values[name], abs=0.01)
        assert angle_deg == pytest.approx(turned, abs=0.01)
    own = store.intervals.read("2", 600_000, 0, 2**62).values["angles_deg"][0]
    assert [at for at, known in enumerate(~np.isnan(own)) if not known] == [3, 4]
    site = site_now(store.intervals, "mill", store.boxes(), 120.0)
    assert [each.phase for each in site.phases] == ["a", "b", "c"] and not site.clocks_are_poor
    assert [each.angle_deg for each in site.phases] == pytest.approx(TURNS_DEG, abs=0.01)
    store.close()


def test_one_gateways_angles_need_its_clock(folder: Path, tmp_path: Path) -> None:
    """A Box that is measured alone has the same numbers; by NTP it has none, and the site says why."""
    measured(tmp_path / "alone", {"3": blocks(2)}, group=False)
    alone, together = tens(tmp_path / "alone", "3"), tens(folder, "3")
    assert alone.values["angles_deg"] == together.values["angles_deg"]
    measured(tmp_path / "ntp", {"3": blocks(2, 1_000_000)}, group=False)
    poor = tens(tmp_path / "ntp", "3")
    assert not {"angles_deg", "phasors_v"} & set(poor.values) and poor.uncertainty_ns == 1_000_000
    store = stored(tmp_path, [tens(folder, "1"), tens(folder, "2"), poor], True)
    found = site_now(store.intervals, "mill", store.boxes(), 120.0)
    assert found.clocks_are_poor and math.isnan(found.u2_ratio)
    assert found.clock_ratio == pytest.approx(2 * np.pi * 59.93 * 1e-3 / 3, rel=1e-3)
    assert all(each.tip is None and math.isnan(each.angle_deg) for each in found.phases)
    store.close()


def test_a_row_states_the_worst_clock(tmp_path: Path) -> None:
    """A clock that is poor for a while makes two instants unknown; one that is fair counts for the row."""
    own = blocks(0)
    first, end = (START_NS + second * SECOND_NS for second in (85, 155))
    own = [replace(each, uncertainty_ns=50_000) if first <= each.t_ns < end else each for each in own]

    own = [
        replace(each, uncertainty_ns=4000, source=TimeSource.HOLDOVER)
        if START_NS + 385 * SECOND_NS <= each.t_ns < START_NS + 410 * SECOND_NS
        else each
        for each in own
    ]
    measured(tmp_path, {"1": own}, group=False)
    row = tens(tmp_path, "1")
    angles = row.values["angles_deg"]
    assert isinstance(angles, tuple)
    assert [at for at, each in enumerate(angles) if math.isnan(each)] == [1, 2]
    assert (row.uncertainty_ns, row.source) == (4000, TimeSource.HOLDOVER)


def test_unknown_instants_are_null_for_others(folder: Path) -> None:
    row = tens(folder, "2")
    (of_rules,) = rows_of([row])
    for listed in (of_rules["angles_deg"], json.loads(_payload(row))["angles_deg"]):
        assert [at for at, each in enumerate(listed) if each is None] == [3, 4]
        assert all(isinstance(each, float) for at, each in enumerate(listed) if at not in (3, 4))
