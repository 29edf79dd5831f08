"""Unbalance of a Sim week at a site of three Boxes equals what the truth's three phasors say."""

import cmath
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from opq_cloud.reports.as_json import report_json
from opq_cloud.reports.fleet_reading import read_fleet
from opq_cloud.reports.limit_table import limit_table
from opq_cloud.reports.place_reading import PlaceChoice
from opq_cloud.reports.week import week_of
from opq_cloud.store import open_store
from opq_proto.decision import Nominal

S = 10**9
TEN_NS, MINUTE_NS = 600 * S, 60 * S
WEEK = "2026-W41"
BEGIN_NS = 1_791_158_400 * S
"""Monday, 2026-10-05 in UTC."""
TURN = cmath.exp(2j * math.pi / 3)
WORKSHOP = """
title = "a furnace between two phases, twice"
nominal_v = 230.0
nominal_hz = 50.0
grid = { frequency_hz = 50.0, wander_hz = 0.02, wander_s = 700.0 }
box = [
  { id = "1", at = "workshop", phase = "a", clock = { source = "gps" } },
  { id = "2", at = "workshop", phase = "b", clock = { source = "gps" } },
  { id = "3", at = "workshop", phase = "c", clock = { source = "gps" } },
]
[network]
supply = { bus = "mv", short_circuit_mva = 120.0 }
bus = [{ id = "mv", nominal_kv = 20.0 }, { id = "workshop", nominal_kv = 0.4 }]
feeder = [{ id = "line", from_bus = "mv", km = 6.0 }]
transformer = [{ id = "t1", from_bus = "line/6km", to_bus = "workshop", rating_kva = 160.0 }]
load = [{ bus = "workshop", kw = 45.0, kvar = 10.0 }]
[[cause]]
kind = "uneven_load"
at = "workshop"
at_s = 100000.0
values = { kw = 110.0, phases = "ab", seconds = 33333.0 }
[[cause]]
kind = "uneven_load"
at = "workshop"
at_s = 300100.0
values = { kw = 60.0, phases = "bc", seconds = 20000.0 }
"""


def u2_ratio(phasors: list[complex]) -> float:
    """Negative over positive sequence (IEC 61000-4-30, 5.7.1)."""
    a, b, c = phasors
    forward, backward = abs(a + TURN * b + TURN**2 * c), abs(a + TURN**2 * b + TURN * c)
    return min(forward, backward) / max(forward, backward)


def expected_u2(lines: list[dict[str, Any]]) -> list[tuple[int, float]]:
    """(start, u2) of each ten minutes: the root of the mean of squares at ten instants."""
    by_box = {box_id: [each for each in lines if each["box"] == box_id] for box_id in "123"}
    found = []
    for start_ns in range(BEGIN_NS, BEGIN_NS + 7 * 86_400 * S, TEN_NS):
        squares = []
        for at_ns in range(start_ns + MINUTE_NS // 2, start_ns + TEN_NS, MINUTE_NS):
            phasors = [
                span["harmonics_v"][0] * cmath.exp(1j * math.radians(span["angle_deg"]))
                for own in by_box.values()
                for span in own
                if span["start_ns"] <= at_ns < span["end_ns"]
            ]
            squares.append(u2_ratio(phasors) ** 2)
        found.append((start_ns, 100 * math.sqrt(sum(squares) / len(squares))))
    return found


@pytest.mark.slow  # test_sim_month.py always holds a history to its truth
def test_unbalance_of_a_week_equals_the_truth(tmp_path: Path) -> None:
    path = tmp_path / "workshop.toml"
    path.write_text(WORKSHOP)
    words = ["--scenario", str(path), "--days", "7", "--end", "2026-10-12T00:00", "--intervals", "alone"]
    folders = ["--into", str(tmp_path / "data"), "--truth", str(tmp_path / "truth")]
    subprocess.run(
        [sys.executable, "-m", "opq_tools.cli", "sim", "history", *words, *folders],
        capture_output=True,
        check=True,
    )
    truth = [json.loads(line) for line in (tmp_path / "truth" / "steady.jsonl").read_text().splitlines()]
    wanted = expected_u2(truth)
    store = open_store(None, tmp_path / "data")
    site = store.boxes()[0].site
    assert site == "workshop-workshop" and {box.site for box in store.boxes()} == {site}
    chosen = limit_table("en50160"), week_of(WEEK, "UTC", 0), PlaceChoice("site", site)
    found = report_json(read_fleet(store, *chosen, Nominal(230.0, 50.0)).reports[0])
    store.close()
    row = next(each for each in found["rows"] if each["quantity"] == "unbalance u2")
    outside = [start_ns for start_ns, percent in wanted if percent > 2.0]
    ranked = sorted(percent for _, percent in wanted)
    assert (row["count"], row["outside"], row["coverage_percent"]) == (1008, len(outside), 100.0)
    assert (row["first_outside_ns"], row["last_outside_ns"]) == (outside[0], outside[-1])
    assert row["verdict"] == ("pass" if len(outside) <= 50 else "fail") == "fail"
    assert row["value"] == pytest.approx(ranked[math.ceil(0.95 * 1008) - 1], abs=2e-3)
    assert row["lowest"] == pytest.approx(ranked[0], abs=2e-3)
    assert row["highest"] == pytest.approx(ranked[-1], abs=2e-3)
    assert found["events"] == [] and [each["phase"] for each in found["boxes"]] == ["a", "b", "c"]
