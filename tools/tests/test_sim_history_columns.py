"""A history whose quiet seconds go as arrays has what one has whose Measurements are judged one by one."""

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from test_sim_history import STREET

from opq_cloud.store import open_store
from opq_cloud.store.store import CloudStore
from opq_proto.measurement.batch import Measurements
from opq_proto.messages import Measurement
from opq_sim.fleet.outlets import network_grid
from opq_sim.fleet.virtual_boxes import VirtualBoxes
from opq_sim.power_system.power_scenario import load_power_scenario
from opq_tools.sim.history.history_run import run_history
from opq_tools.sim.history.progress_file import HistoryProgress
from opq_tools.sim.history.virtual_cloud import VirtualCloud

START_NS = 1_700_000_000_000_000_000
IDS = ["1", "2", "3"]
SAG = """
[[cause]]
kind = "fault"
at = "line/2km"
at_s = 51.0
values = { type = "LLL", resistance_ohm = 2.0, clear_ms = 120.0 }
[[cause]]
kind = "tap_change"
at = "t1"
at_s = 20.0
values = { steps = 2 }
"""


class JudgedOneByOne(VirtualBoxes):
    """The same Boxes, without arrays."""

    def measured(self, until_s: float) -> tuple[Measurements | None, list[Measurement]]:
        columns, rows = super().measured(until_s)
        return None, [*columns.rows(), *rows] if columns is not None else rows


def street(folder: Path) -> Path:
    path = folder / "street.toml"
    path.write_text(STREET[: STREET.index("[[cause]]")] + SAG)
    return path


def play(kind: type[VirtualBoxes], folder: Path) -> CloudStore:
    """100 s: a tap is changed twice, and a fault is cleared."""
    folder.mkdir()
    scenario = load_power_scenario(street(folder))
    progress = HistoryProgress("street", "", len(IDS), 100 / 86_400, 1, START_NS)
    store = open_store(None, folder)
    run_history(progress, kind(network_grid(scenario, IDS, 1), START_NS, 1), store, folder, threading.Event())
    return store


def test_arrays_and_objects_give_the_same_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one_by_one = 0
    judge = VirtualCloud.accept_measurements

    def counted(cloud: VirtualCloud, rows: Sequence[Measurement], now_s: float) -> None:
        nonlocal one_by_one
        one_by_one += len(rows)
        judge(cloud, rows, now_s)

    monkeypatch.setattr(VirtualCloud, "accept_measurements", counted)
    of_arrays = play(VirtualBoxes, tmp_path / "arrays")
    in_arrays, one_by_one = one_by_one, 0
    of_objects = play(JudgedOneByOne, tmp_path / "objects")
    assert in_arrays < 0.2 * one_by_one
    for box_id in IDS:
        rows = of_objects.measurements(box_id, 0, 2**42)
        assert len(rows) >= 99
        assert of_arrays.measurements(box_id, 0, 2**42) == rows
        trends = of_objects.trends(box_id, 0, 2**42)
        assert len(trends) >= 2
        assert of_arrays.trends(box_id, 0, 2**42) == trends
    events = [
        (each.start_ns, each.end_ns, each.boxes_received, each.because, each.analysed)
        for each in of_objects.events()
    ]
    assert events, "the fault has to open one"
    assert [
        (each.start_ns, each.end_ns, each.boxes_received, each.because, each.analysed)
        for each in of_arrays.events()
    ] == events
    incidents = of_objects.incidents()
    assert incidents and of_arrays.incidents() == incidents
    assert of_arrays.boxes() == of_objects.boxes()
    of_arrays.close()
    of_objects.close()
