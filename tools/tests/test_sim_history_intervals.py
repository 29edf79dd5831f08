"""Class A of a history: a killed one goes on, a lost network brings rows late, Measurements beside it."""

import threading
from pathlib import Path
from typing import Any

import pytest
from test_sim_history import STREET

from opq_cloud.store import CloudStore, open_store
from opq_sim.fleet.network_outages import NetworkOutages
from opq_sim.fleet.outlets import network_grid
from opq_sim.fleet.virtual_boxes import VirtualBoxes
from opq_sim.power_system.power_scenario import load_power_scenario
from opq_tools.sim.history.history_intervals import HistoryIntervals
from opq_tools.sim.history.history_run import run_history, run_intervals
from opq_tools.sim.history.progress_file import HistoryProgress

START_NS = 1_700_000_400 * 10**9
"""600 s before an even hour."""
IDS = ["1", "2"]
FAULTS = STREET.replace("at_s = 90.0", "at_s = 1500.0").replace("every_s = 120.0", "every_s = 9000.0")
LENGTHS_MS = (600_000, 7_200_000)


class KilledError(Exception):
    """What stands for a kill: nothing is tidied up."""


def history(
    folder: Path, hours: float, kills_s: tuple[float, ...] = (), outages: NetworkOutages | None = None
) -> CloudStore:
    """Class A alone, killed after it stored up to some moments and before this is noted."""
    folder.mkdir()
    path = folder / "street.toml"
    path.write_text(FAULTS)
    progress = HistoryProgress("street", "", len(IDS), hours / 24, 1, START_NS, intervals="alone")
    store = open_store(None, folder)
    for kill_s in (*kills_s, float("inf")):
        class_a = HistoryIntervals(network_grid(load_power_scenario(path), IDS, 1), progress, store, outages)
        real = class_a.store_until

        def store_until(until_s: float, kill_s: float = kill_s, real: Any = real) -> None:
            real(min(until_s, kill_s))
            if until_s >= kill_s:
                raise KilledError

        class_a.store_until = store_until  # type: ignore[method-assign]
        try:
            progress, _ = run_intervals(progress, class_a, folder, threading.Event())
        except KilledError:
            progress = progress.done_to(max(0.0, kill_s - 100.0))
    return store


def content(store: CloudStore) -> dict[object, object]:
    found: dict[object, object] = {}
    for box_id in IDS:
        for length_ms in LENGTHS_MS:
            columns = store.intervals.read(box_id, length_ms, 0, 2**62)
            facts = (columns.start_ns, columns.end_ns, columns.flagged, columns.coverage)
            values = {name: str(value.round(3).tolist()) for name, value in columns.values.items()}
            found[box_id, length_ms] = [each.tolist() for each in facts], values
    found["disturbances"] = store.intervals.disturbances(None, 0, 2**62)
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[object, object]:
    store = history(tmp_path_factory.mktemp("whole") / "of", 6.2)
    found = content(store)
    store.close()
    return found


def test_a_killed_history_has_each_interval_once(tmp_path: Path, whole: dict[object, object]) -> None:
    store = history(tmp_path / "killed", 6.2, (1505.0, 9000.0, 15_000.0, 21_599.0))
    assert content(store) == whole
    store.close()


def test_rows_of_a_lost_network_come_late(tmp_path: Path, whole: dict[object, object]) -> None:
    outages = NetworkOutages(IDS, 3000.0, 4000.0, 5)
    store = history(tmp_path / "late", 6.2, outages=outages)
    assert content(store) == whole
    store.close()


def test_a_history_has_the_intervals_of_its_hours(whole: dict[object, Any]) -> None:
    starts, ends, flagged, coverage = whole["1", 600_000][0]
    assert len(starts) == 38 and starts[0] == START_NS and ends[0] - starts[0] == 600 * 10**9
    assert [at for at, each in enumerate(flagged) if each] == [2, 17, 32, 37], "three faults, and the end"
    assert coverage[:37] == [1.0] * 37 and coverage[37] == pytest.approx(0.2, abs=1e-4)
    two_starts, _, two_flagged, two_coverage = whole["1", 7_200_000][0]
    assert len(two_starts) == 4 and two_flagged == [True, True, True, True]
    assert two_coverage[1] == 1.0
    dips = [each for each in whole["disturbances"] if each.box_id == "1"]
    starts_s = [round((each.start_ns - START_NS) / 1e9) for each in dips]
    assert starts_s == [1500, 10_500, 19_500] and {each.kind for each in dips} == {"dip"}


def test_measurements_and_intervals_are_of_one_supply(tmp_path: Path) -> None:
    """Ten minutes beside their Measurements: the mean of both is the same."""
    path = tmp_path / "street.toml"
    path.write_text(STREET.replace("at_s = 90.0", "at_s = 700.0"))
    scenario = load_power_scenario(path)
    progress = HistoryProgress("street", "", 2, 720 / 86_400, 1, START_NS, intervals="beside")
    store = open_store(None, tmp_path)
    class_a = HistoryIntervals(network_grid(scenario, IDS, 1), progress, store, None)
    boxes = VirtualBoxes(network_grid(scenario, IDS, 1), START_NS)
    run_history(progress, boxes, store, tmp_path, threading.Event(), intervals=class_a)
    for box_id in IDS:
        ten = store.intervals.read(box_id, 600_000, START_NS, START_NS + 600 * 10**9)
        rows = store.measurements(box_id, START_NS // 10**6, START_NS // 10**6 + 600_000)
        for name, metric in (("rms_v", "rms"), ("f_hz", "f"), ("thd_ratio", "thd")):
            mean = sum(row.metrics[metric].average for row in rows) / len(rows)
            assert float(ten.values[name][0]) == pytest.approx(mean, rel=2e-5), name
    found = store.intervals.disturbances(None, 0, 2**62)
    assert {(each.box_id, each.kind) for each in found} == {("1", "dip"), ("2", "dip")}
    assert len(store.events()) == 1, "the same fault, as Makai saw it"
    store.close()
