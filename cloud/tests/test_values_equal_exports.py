"""Lowest and highest values of `/past`, reports, indices and sites equal the exported rows, recounted here.

Always run, on six hours of one site with values at random. The slow test_pages_equal_exports.py has a network
with incidents.
"""

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import past_scene as past
import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient
from open_view import open_services

from opq_cloud.store import BoxRecord, open_store
from opq_cloud.view.app import create_app
from opq_proto.messages import Interval
from opq_tools.exporting.class_a import intervals

FIRST_MS, HOURS, WEEK = 1_794_960_000_000, 6, "2026-W47"  # Wednesday, 2026-11-18
NOW_NS = 1_795_500_000 * 10**9
BOXES, TEN_S_MS, TEN_NS = ("1", "2", "3"), 10_000, 600 * 10**9
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten minutes, some flagged or missing; 10 s in some of them; two hours; u2 of the site."""
    made, random = tmp_path_factory.mktemp("values"), np.random.default_rng(74)
    with_store = open_store(None, made)
    for number, box_id in enumerate(BOXES):
        record = BoxRecord(box_id, "", site="mill", phase=f"L{number + 1}", nominal_v=230.0, nominal_hz=50.0)
        with_store.put_box(record, 0)
        drawn: list[tuple[int, Interval]] = []
        for at_ms in range(FIRST_MS, FIRST_MS + HOURS * 3_600_000, past.TEN_MS):
            flagged, hertz = bool(random.random() < 0.1), 50 + 0.05 * random.standard_normal()
            values = {
                "rms_v": 230 + 9 * random.standard_normal(),
                "rms_min_v": 190.0,
                "rms_max_v": 270.0,
                "thd_ratio": 0.02 + 0.02 * random.random() + 0.1 * flagged,
                "thd_max_ratio": 0.2,
                "pst": 0.3 + random.random() + 3 * flagged,
                "f_hz": hertz,
                "f_min_hz": hertz - 0.05 * random.random() - flagged,
                "f_max_hz": hertz + 0.05 * random.random(),
            }
            drawn.append((at_ms, Interval(past.TEN_MS, flagged, 1.0, values)))
            seconds = range(at_ms, at_ms + past.TEN_MS, TEN_S_MS) if random.random() < 0.6 else ()
            for second_ms in seconds:
                own = {"f_hz": 50 + 0.06 * random.standard_normal()}
                drawn.append((second_ms, Interval(TEN_S_MS, bool(random.random() < 0.01), 1.0, own)))
        for at_ms in range(FIRST_MS, FIRST_MS + HOURS * 3_600_000, past.TWO_HOURS_MS):
            drawn.append((at_ms, Interval(past.TWO_HOURS_MS, False, None, {"plt": random.random()})))
        if number == 0:
            for at_ms in range(FIRST_MS, FIRST_MS + HOURS * 3_600_000, past.TEN_MS):
                values = {"u2_ratio": 0.02 * random.random(), "u0_ratio": 0.01, "clock_ratio": 1e-5}
                flagged = bool(random.random() < 0.1)
                drawn.append((at_ms, Interval(past.TEN_MS, flagged, 1.0, values, "mill")))
        rows = [past.row_of(box_id, at_ms, place + 1, each) for place, (at_ms, each) in enumerate(drawn)]
        with_store.intervals.append(sorted(rows, key=lambda row: row.timestamp_ms))
    with_store.close()
    return made


def exported(folder: Path, length: str, box_id: str) -> Rows:
    words = ["--length", length, "--box", box_id, "--format", "jsonl", "--data-dir", str(folder)]
    done = CliRunner().invoke(intervals, [*words, "--out", str(folder / "rows.jsonl")])
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def view(folder: Path) -> Iterator[TestClient]:
    with_store = open_store(None, folder)
    with TestClient(create_app(open_services(with_store, now_ns=lambda: NOW_NS))) as client:
        yield client
    with_store.close()


def clean(rows: Rows) -> Rows:
    return [row for row in rows if not row["flagged"]]


def ends(rows: Rows, name: str, scale: float = 1.0) -> tuple[float, float]:
    values = [scale * row[name] for row in clean(rows) if row.get(name) is not None]
    return min(values), max(values)


def frequency(tens: Rows, seconds: Rows) -> tuple[float, float, list[float]]:
    """Lowest, highest and each change: sixty clean 10 s state ten minutes, else its windows do."""
    by_ten: dict[int, Rows] = {}
    for row in clean(seconds):
        by_ten.setdefault(row["start_ns"] // TEN_NS, []).append(row)
    windows = {row["start_ns"] // TEN_NS: row for row in clean(tens)}
    stated: Rows = []
    for place in sorted({*by_ten, *windows}):
        own = by_ten.get(place, [])
        stated += own if len(own) == 60 or place not in windows else [windows[place]]
    lows, highs = ([row.get(name) or row["f_hz"] for row in stated] for name in ("f_min_hz", "f_max_hz"))
    changes = []
    for one, after in pairwise(stated):
        length, longer = one["end_ns"] - one["start_ns"], after["end_ns"] - after["start_ns"]
        if abs(2 * (after["start_ns"] - one["end_ns"])) <= longer:
            apart_s = (after["start_ns"] - one["start_ns"] + (longer - length) / 2) / 1e9
            changes.append((after["f_hz"] - one["f_hz"]) / apart_s)
    return min(lows), max(highs), changes


def drawn_ends(page: str) -> list[tuple[float, float]]:
    table = page.partition('<table class="compact past-figures">')[2].partition("</table>")[0]
    cells = [re.findall(r"<td[^>]*>([^<]*)</td>", row) for row in table.split("<tr>")]
    read = [
        [float(each[at].replace("\N{MINUS SIGN}", "-")) for at in (0, 6)] for each in cells if len(each) == 9
    ]
    return [(low, high) for low, high in read]


def assert_near(found: Sequence[float], wanted: Sequence[float], digits: int) -> None:
    assert found == pytest.approx(wanted, abs=0.51 * 10**-digits)


@pytest.mark.parametrize("box_id", BOXES)
@pytest.mark.parametrize("source", ["", "&source=a"])
def test_past_has_the_extremes_of_exports(folder: Path, view: TestClient, box_id: str, source: str) -> None:
    tens = exported(folder, "10min", box_id)
    low, high, changes = frequency(tens, exported(folder, "10s", box_id))
    wanted = (
        (ends(tens, "rms_v"), 2),
        ((low, high), 3),
        (ends(tens, "thd_ratio", 100.0), 2),
        (ends(tens, "pst"), 3),
        (ends(exported(folder, "2h", box_id), "plt"), 3),
        ((min(changes), max(changes)), 4),
    )
    names = "rms_v,f_hz,thd_percent,pst,plt,rocof"
    for first, last in (("2026-11-18", "2026-11-19"), ("2026-09-01", "2026-11-24")):
        page = view.get(f"/past?box={box_id}&y=V&q={names}&from={first}&to={last}{source}").text
        found = drawn_ends(page)
        assert len(found) == len(wanted)
        for shown, (own, digits) in zip(found, wanted, strict=True):
            assert_near(shown, own, digits)


def test_reports_have_the_extremes_of_exports(folder: Path, view: TestClient) -> None:
    """A week of a site, as JSON and CSV, and the indices of each Box."""
    asked = f"/api/v1/reports/week?place=site:mill&week={WEEK}&zone=UTC"
    report = view.get(asked).json()
    table = list(csv.DictReader(io.StringIO(view.get(f"{asked}&format=csv").text)))
    tens = {box_id: exported(folder, "10min", box_id) for box_id in (*BOXES, "mill")}
    scales = {
        "voltage": ("rms_v", 100 / 230),
        "THD": ("thd_ratio", 100.0),
        "unbalance u2": ("u2_ratio", 100.0),
    }
    compared = 0
    for row, line in zip(report["rows"], table, strict=True):
        if row["quantity"] in scales:
            name, scale = scales[row["quantity"]]
            own = tens[row["box_id"] or "mill"]
            assert (row["lowest"], row["highest"]) == pytest.approx(ends(own, name, scale), abs=1e-5)
            assert (row["count"], int(line["count"])) == (len(clean(own)),) * 2
            assert (float(line["lowest"]), float(line["highest"])) == (row["lowest"], row["highest"])
            compared += 1
    assert compared == 3 * 3 + 1
    (low, high), digits = ends(tens["mill"], "u2_ratio", 100.0), 2
    page = view.get("/past?of=site:mill&q=unbalance_percent&from=2026-11-18&to=2026-11-19").text
    assert_near(drawn_ends(page)[0], (low, high), digits)
    for box_id in BOXES:
        lowest, _, changes = frequency(tens[box_id], exported(folder, "10s", box_id))
        asked = f"/api/v1/reports/indices?span={WEEK}&zone=UTC&place=box:{box_id}"
        index = view.get(asked).json()["frequency"]
        assert index["nadir_hz"] == pytest.approx(lowest, abs=1e-5)
        assert index["steepest_hz_per_s"] == pytest.approx(max(changes, key=abs), rel=1e-4)


def test_a_site_shows_the_newest_exported_row(folder: Path, view: TestClient) -> None:
    site = view.get("/api/v1/sites/mill").json()
    for phase in site["phases"]:
        newest = exported(folder, "10min", phase["box_id"])[-1]
        assert newest["start_ns"] == site["start_ns"]
        assert (phase["rms_v"], phase["thd_ratio"]) == pytest.approx((newest["rms_v"], newest["thd_ratio"]))
    assert site["u2_ratio"] == pytest.approx(exported(folder, "10min", "mill")[-1]["u2_ratio"])
