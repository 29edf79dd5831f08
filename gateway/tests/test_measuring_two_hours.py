"""Intervals into which a restart falls: two hours and Plt are completed, and a start makes no second part."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_measuring_backlog import ring_of
from test_measuring_groups import phases
from test_measuring_places import HOUSE, ledger_at, measured
from test_measuring_restart import WAIT_S, written
from test_measuring_thread import HELLO, Bench, blocks_of
from waiting import wait_for

from opq_gateway.measuring.backlog import RingBacklog
from opq_gateway.measuring.feed import Values
from opq_gateway.measuring.ledger import Ledger
from opq_gateway.measuring.measuring_plan import MeasuringPlan
from opq_proto.messages import TimeSource
from opq_sim.box.box import Box
from opq_sim.box.box_host import BoxHost
from opq_sim.mains import mains

SECOND_NS = 10**9
TEN_NS, TWO_NS = 600 * SECOND_NS, 7200 * SECOND_NS
START_NS = 250_000 * TWO_NS
LAST_NS = START_NS + 11 * TEN_NS
RATE_HZ = 2400
SLOW = replace(HELLO, rate_millihz=2_400_000)
PLAN = MeasuringPlan("1", 120.0, 60.0)


def earlier(at: int, start_ns: int = START_NS, box_id: str = "1") -> list[Values]:
    """What a ledger has of ten minutes number `at` of two hours: of the windows, and of flicker."""
    volts = 118.0 + at / 4
    windows: dict[str, float | tuple[float, ...]] = {
        "rms_v": volts,
        "rms_min_v": volts - 1,
        "rms_max_v": volts + 2,
        "urms_min_v": volts - 3,
        "urms_max_v": volts + 3,
        "f_hz": 60.0 + at / 1000,
        "f_min_hz": 59.9,
        "f_max_hz": 60.1,
        "thd_ratio": 0.02,
        "thd_max_ratio": 0.03,
        "under_ratio": (120.0 - min(volts, 120.0)) / 120,
        "over_ratio": (max(volts, 120.0) - 120.0) / 120,
        "harmonics_v": (volts, 0.5, 2.0),
        "coverage_ratio": 1.0,
    }
    flicker: dict[str, float | tuple[float, ...]] = {"pst": 0.3 + at / 20, "pinst_max": 1.0}
    span = start_ns + at * TEN_NS, start_ns + (at + 1) * TEN_NS
    return [Values(box_id, "10min", *span, 100, TimeSource.GPS, False, each) for each in (windows, flicker)]


def with_eleven(folder: Path, start_ns: int = START_NS) -> Ledger:
    ledger = Ledger(folder, "1", 24.0, 30.0)
    for at in range(11):
        for row in earlier(at, start_ns):
            ledger.append(row)
    ledger.flush()
    return ledger


def slow_blocks(seconds: float, start_ns: int, first: int = 0, start_id: int = 5) -> list[Any]:
    """Flickering mains of 119 V."""
    period, _ = mains(10, RATE_HZ, frequency_hz=60.0, voltage_v=119.0)
    t = np.arange(len(period)) / RATE_HZ
    period = period * (1 + 0.005 * np.sign(np.sin(2 * np.pi * 8.8 * t)))
    volts = np.tile(period, int(seconds / 10) + 1)[: round(seconds * RATE_HZ)]
    blocks = blocks_of(volts, start_ns, rate_millihz=2_400_000)
    return [replace(each, first_sample=each.first_sample + first, start_id=start_id) for each in blocks]


def rows_of(ledger: Ledger | None, kind: str, start_ns: int) -> list[Values]:
    assert ledger is not None
    return [each for each in ledger.read(kind, start_ns, start_ns + TWO_NS) if each.start_ns == start_ns]


def test_two_hours_and_plt_are_completed(tmp_path: Path) -> None:
    with_eleven(tmp_path / "ledger")
    blocks = slow_blocks(700, LAST_NS - 40 * SECOND_NS)
    killed_at, ring_end = 12 * 400, 12 * 405  # blocks a second times seconds
    killed = Bench(tmp_path / "killed", PLAN, SLOW).feed(blocks[:killed_at], at_once=120)
    last_ns = killed.measurements[-1].end_ns or 0
    ring = ring_of(tmp_path / "ring", blocks[:ring_end])

    def backlog(box_id: str) -> RingBacklog:
        return RingBacklog(ring, last_ns, ring.segments())

    after = Bench(tmp_path / "ledger", PLAN, SLOW, backlog).feed(blocks[ring_end:], at_once=12).end()
    (last,) = [each for each in rows_of(after.ledger, "10min", LAST_NS) if "rms_v" in each.values]
    (pst,) = [each.values["pst"] for each in rows_of(after.ledger, "10min", LAST_NS) if "pst" in each.values]
    assert last.values["coverage_ratio"] == 1.0 and isinstance(pst, float)
    two, plt = sorted(rows_of(after.ledger, "2h", START_NS), key=lambda each: "plt" in each.values)
    own = last.values["rms_v"]
    assert isinstance(own, float)
    volts = np.array([*(118.0 + at / 4 for at in range(11)), own])
    assert two.values["rms_v"] == pytest.approx(np.sqrt(np.mean(volts**2)), rel=1e-9)
    assert two.values["rms_min_v"] == 117.0 and two.values["rms_max_v"] == pytest.approx(122.5)
    hertz = np.array([*(60.0 + at / 1000 for at in range(11)), last.values["f_hz"]])
    assert two.values["f_hz"] == pytest.approx(float(np.mean(hertz)), rel=1e-12)
    assert (two.values["coverage_ratio"], two.flagged) == (1.0, False)
    assert two.values["under_ratio"] == pytest.approx(
        (120 - np.sqrt(np.mean(np.minimum(volts, 120) ** 2))) / 120, rel=1e-6
    )
    psts = np.array([*(0.3 + at / 20 for at in range(11)), pst])
    assert plt.values == {"plt": pytest.approx(float(np.cbrt(np.mean(psts**3))), rel=1e-9)}


def test_a_start_of_the_box_makes_no_part(tmp_path: Path) -> None:
    first = slow_blocks(300, START_NS)
    second = slow_blocks(320, START_NS + 305 * SECOND_NS, start_id=6)
    bench = Bench(tmp_path / "ledger", PLAN, SLOW).feed(first, at_once=120)
    bench.measuring.restart("1", SLOW)
    bench.feed(second, at_once=120).end()
    windows, flicker = sorted(rows_of(bench.ledger, "10min", START_NS), key=lambda each: "pst" in each.values)
    assert windows.flagged and windows.values["coverage_ratio"] == pytest.approx(595 / 600, abs=2e-3)
    assert windows.values["rms_v"] == pytest.approx(119.0, rel=1e-3)
    assert isinstance(flicker.values["pst"], float) and flicker.values["pst"] > 0.3


def test_other_nominal_values_begin_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "ledger", PLAN, SLOW).feed(
        slow_blocks(30, START_NS + 509 * SECOND_NS), at_once=120
    )
    bench.measuring.restart("1", replace(SLOW, nominal_v=230.0))
    bench.feed(slow_blocks(64, START_NS + 540 * SECOND_NS, start_id=6), at_once=120).end()
    parts = [each for each in rows_of(bench.ledger, "10min", START_NS) if "rms_v" in each.values]
    assert [round(float(each.values["coverage_ratio"]), 2) for each in parts] == [0.05, 0.1]  # type: ignore[arg-type]


def test_two_hours_of_a_group_are_completed(tmp_path: Path) -> None:
    place = ledger_at(tmp_path, HOUSE.name)
    for at in range(11):
        values = {"u2_ratio": 0.02, "u0_ratio": 0.01, "positive_v": 119.0, "clock_ratio": 2e-5}
        angles = {"angle_b_deg": -118.0, "angle_c_deg": 121.0, "coverage_ratio": 1.0}
        span = START_NS + at * TEN_NS, START_NS + (at + 1) * TEN_NS
        place.append(Values(HOUSE.name, "10min", *span, 100, TimeSource.GPS, False, {**values, **angles}))
    place.flush()
    measured(tmp_path, phases(8, (1.0, 0.97, 1.0)), LAST_NS + TEN_NS - 4 * SECOND_NS)
    (last,) = rows_of(place, "10min", LAST_NS)
    covered = last.values["coverage_ratio"]
    assert isinstance(covered, float) and 3.5 < 600 * covered <= 4.0
    (two,) = rows_of(place, "2h", START_NS)
    assert two.flagged and two.values["coverage_ratio"] == pytest.approx((11 + covered) / 12)
    u2 = last.values["u2_ratio"]
    assert isinstance(u2, float)
    mean = np.sqrt((11 * 0.02**2 + covered * u2**2) / (11 + covered))
    assert two.values["u2_ratio"] == pytest.approx(float(mean), rel=1e-9)
    assert two.values["angle_b_deg"] == pytest.approx(-118.0, abs=0.01)


def test_a_real_kill_loses_no_ten_minutes(tmp_path: Path, makai: Any) -> None:
    folder = tmp_path / "gateway" / "box1" / "ledger"
    with BoxHost([Box("1")]) as host:
        start_ns = (host.clock.start_ns // TWO_NS + 12) * TWO_NS  # tomorrow, by the Box's own GPS
        folder.parent.mkdir(parents=True)
        ledger = with_eleven(folder, start_ns)
        path = written(tmp_path, makai, host.ports["1"])
        command = [sys.executable, "-m", "opq_gateway", "run", "--config", str(path)]

        def windows() -> int:
            return sum(1 for each in ledger.read("window", start_ns, start_ns + TWO_NS))

        for begins in (True, False):
            with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
                try:
                    if begins:
                        wait_for(lambda: len(makai.measurements) > 3, WAIT_S)
                        box = host.boxes["1"]
                        since_s = box._next / 12_000
                        at_ns = start_ns + TWO_NS - round((20 + since_s) * 1e9)
                        box.set_clock(at_ns, 100, TimeSource.GPS)
                        wait_for(lambda: windows() > 5, WAIT_S)
                    else:
                        wait_for(lambda: rows_of(ledger, "2h", start_ns), WAIT_S)
                finally:
                    os.kill(process.pid, signal.SIGKILL if begins else signal.SIGTERM)
                    process.wait(240)
    (last,) = [each for each in rows_of(ledger, "10min", start_ns + 11 * TEN_NS) if "rms_v" in each.values]
    (two,) = [each for each in rows_of(ledger, "2h", start_ns) if "rms_v" in each.values]
    covered, own = last.values["coverage_ratio"], last.values["rms_v"]
    assert isinstance(covered, float) and isinstance(own, float) and 0 < covered < 0.1
    assert two.values["coverage_ratio"] == pytest.approx((11 + covered) / 12, rel=1e-9)
    squares = sum((118.0 + at / 4) ** 2 for at in range(11)) + covered * own**2
    assert two.values["rms_v"] == pytest.approx((squares / (11 + covered)) ** 0.5, rel=1e-9)
