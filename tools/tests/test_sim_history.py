"""`sim history`: faults of a network become incidents in a store, stopped and gone on, with their truth."""

import json
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from command_in_process import run_in_process

from opq_cloud.store import BoxRecord, open_store
from opq_proto.messages import Measurement
from opq_sim.fleet.network_outages import NetworkOutages
from opq_sim.fleet.outlets import network_grid, plain_grid
from opq_sim.fleet.truth_witness import TruthWitness
from opq_sim.fleet.virtual_boxes import VirtualBoxes
from opq_sim.power_system.power_scenario import load_power_scenario
from opq_sim.score.figures import score
from opq_sim.score.truth_file import read_truth
from opq_tools.shared.data_folder import in_use_by_this
from opq_tools.sim.history.history_run import measured_to_s, run_history
from opq_tools.sim.history.progress_file import HistoryProgress, read_progress
from opq_tools.sim.score import stored_incidents

STREET = """
title = "a street and its fault"
nominal_v = 230.0
nominal_hz = 50.0
[network]
supply = { bus = "mv", short_circuit_mva = 100.0 }
bus = [{ id = "mv", nominal_kv = 20.0 }, { id = "street", nominal_kv = 0.4 }]
feeder = [{ id = "line", from_bus = "mv", km = 4.0 }]
transformer = [{ id = "t1", from_bus = "line/4km", to_bus = "street", rating_kva = 250.0 }]
load = [{ bus = "street", kw = 80.0, kvar = 20.0 }]
[[box]]
id = "1"
at = "street"
[[box]]
id = "2"
at = "street"
phase = "b"
[[cause]]
kind = "fault"
at = "line/2km"
at_s = 90.0
every_s = 120.0
values = { type = "LLL", resistance_ohm = 2.0, clear_ms = 120.0 }
"""
SAME_EDGE_NS = 100_000
"""Where closed forms and samples take turns, the edge of a cycle differs by what noise does to it."""
DAYS = 0.004  # 345.6 s: faults at 90, 210 and 330 s
END = "2026-11-20T12:00:00"


def words_of(folder: Path, *options: str) -> list[str]:
    scenario = folder / "street.toml"
    scenario.write_text(STREET)
    of_street = ["--scenario", str(scenario), "--days", str(DAYS), "--end", END]
    return ["sim", "history", *of_street, "--into", str(folder / "data"), "--json", *options]


def history(folder: Path, *options: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "opq_tools.cli", *words_of(folder, *options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def scored(folder: Path) -> dict[str, object]:
    where = ["--truth", str(folder / "truth"), "--data-dir", str(folder / "data")]
    done = run_in_process("sim", "score", *where, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def regular_rows(folder: Path) -> list[list[Measurement]]:
    """The rows of each Box, without crossings."""
    store = open_store(None, folder)
    try:
        return [[row for row in store.measurements(box_id, 0, 2**42) if not row.crossing] for box_id in "12"]
    finally:
        store.close()


@pytest.mark.slow
def test_a_resumed_history_finds_network_faults(tmp_path: Path) -> None:
    """The history was killed and continued."""
    killed = history(tmp_path, "--truth", str(tmp_path / "truth"))
    until_s = time.monotonic() + 240
    while (now := read_progress(tmp_path / "data")) is None or now.done_s < 120:
        assert time.monotonic() < until_s and killed.poll() is None, killed.communicate()
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    out, errors = history(tmp_path, "--truth", str(tmp_path / "truth")).communicate()
    report = json.loads(out)
    assert report["finished"], errors
    assert (report["boxes"], report["events"]) == (2, 3)
    assert report["findings"] >= 6  # a disturbance has several, such as the phase jump of a fault
    assert report["to"] == f"{END}.000+00:00"
    for rows in regular_rows(tmp_path / "data"):
        assert len(rows) == pytest.approx(345, abs=1)
        gaps_ns = [(after.start_ns or 0) - (before.end_ns or 0) for before, after in pairwise(rows)]
        assert max(map(abs, gaps_ns)) < SAME_EDGE_NS, gaps_ns
    found = scored(tmp_path)
    assert (found["truth"], found["found"], found["false"], found["split"]) == (3, 3, 0, 0)
    again = run_in_process(*words_of(tmp_path))
    assert json.loads(again.stdout)["events"] == 3  # it is finished, nothing is done again
    other = run_in_process(*words_of(tmp_path, "--seed", "2"))
    assert other.returncode == 2
    assert "holds a history of seed 1, not 2" in other.stderr


def test_a_folder_with_another_store_is_refused(tmp_path: Path) -> None:
    open_store(None, tmp_path / "data").close()
    refused = run_in_process(*words_of(tmp_path))
    assert refused.returncode == 2
    assert "has a store already" in refused.stderr


def test_a_busy_history_folder_is_refused(tmp_path: Path) -> None:
    with in_use_by_this(tmp_path / "data"):
        refused = run_in_process(*words_of(tmp_path))
    assert refused.returncode == 1
    assert f"another `opq-tools up` or `sim history` works in {tmp_path / 'data'}" in refused.stderr
    assert not (tmp_path / "data" / "history.json").exists()


def test_a_resumed_history_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    """After a kill it continues to the same Measurements."""
    start_ns = 1_700_000_000_000_000_000
    ids = ["1", "2", "3"]

    def played(folder: Path, stops_s: tuple[float, ...]) -> list[tuple[str, int | None, int]]:
        folder.mkdir()
        progress = HistoryProgress(None, "", len(ids), 300 / 86_400, 1, start_ns)
        store = open_store(None, folder)
        for stop_s in (*stops_s, progress.length_s):
            stop = threading.Event()
            made = VirtualBoxes(plain_grid(ids), start_ns, 1, measured_to_s(progress, store))

            def end_at(now: HistoryProgress, stop_s: float = stop_s, stop: threading.Event = stop) -> None:
                if now.done_s >= stop_s:
                    stop.set()

            progress, _ = run_history(progress, made, store, folder, stop, end_at)
        rows = [
            (row.box_id, row.start_ns, row.timestamp_ms)
            for box_id in ids
            for row in store.measurements(box_id, 0, 2**42)
        ]
        store.close()
        return rows

    whole = played(tmp_path / "whole", ())
    assert played(tmp_path / "parts", (60.0, 180.0)) == whole
    for box_id in ids:
        starts = [start for box, start, _ in whole if box == box_id]
        assert len(starts) == pytest.approx(300, abs=2)


SUPPLIES = """
nominal_v = 11547.0
[network]
supply = { bus = "mv", short_circuit_mva = 100.0 }
bus = [{ id = "mv", nominal_kv = 20.0 }]
feeder = [{ id = "line", from_bus = "mv", km = 4.0 }, { id = "lane", from_bus = "mv", km = 2.0 }]
[[box]]
id = "1"
at = "line/4km"
supply = { lost = [[30.0, 45.0]], battery_s = 600.0, outlet_dead = true }
[[box]]
id = "2"
at = "line/4km"
supply = { lost = [[30.0, 45.0]], outlet_dead = true }
[[box]]
id = "3"
at = "lane/2km"
supply = { lost = [[100.0, 40.0]], battery_s = 5.0 }
[[box]]
id = "4"
at = "lane/2km"
"""


def test_lost_supplies_differ_from_lost_networks(tmp_path: Path) -> None:
    """Boxes 1 and 2 lose their mains; Box 3 its adaptor alone; the network of Box 4 is out for 75 s."""
    path, ids = tmp_path / "supplies.toml", ["1", "2", "3", "4"]
    path.write_text(SUPPLIES)
    start_ns = 1_700_000_000_000_000_000
    progress = HistoryProgress(str(path), "", 4, 180 / 86_400, 8, start_ns, 80.0, 60.0)
    outages = NetworkOutages(ids, progress.outage_every_s, progress.outage_s, progress.seed)
    made = VirtualBoxes(network_grid(load_power_scenario(path), ids), start_ns, outages=outages)
    with (
        closing(open_store(None, tmp_path)) as store,
        closing(TruthWitness(path, ids, 1, tmp_path, start_ns)) as truth,
    ):
        for box_id, feeder in zip(ids, ("line", "line", "lane", "lane"), strict=True):
            store.put_box(BoxRecord(box_id, box_id, location=feeder, feeder=feeder, nominal_v=11547.0))
        run_history(progress, made, store, tmp_path, threading.Event(), lambda now: truth.advance(now.done_s))
        late = {
            row.box_id for box_id in ids for row in store.measurements(box_id, 0, 2**42) if row.backfilled
        }
    found = stored_incidents(None, tmp_path)
    figures = score(read_truth(tmp_path).disturbances, found)
    assert (figures["truth"], figures["found"], figures["false"], figures["split"]) == (1, 1, 0, 0)
    assert figures["cause_right"] == figures["scope_right"] == 1.0
    assert late == {"3", "4"} and [set(each.boxes) for each in found] == [{"1", "2"}]
