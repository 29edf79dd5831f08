"""The shipped scenario is held to the published figures of the recordings' README; bad files are refused."""

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from opq_measure.events.disturbances import Limits, find_disturbances
from opq_measure.frequency.per_window import window_frequency_hz
from opq_measure.harmonics.spectrum import window_thd
from opq_proto.errors import ConfigError
from opq_sim.mains.generator import Generator
from opq_sim.mains.scenario import generators, load_scenario

# README of the recordings: per-cycle Vrms over the dip, cycles 57-72 of Box 1 and 53-68 of Box 4
PUBLISHED_V = {
    "1": "122.19 121.90 112.35 106.43 104.38 103.47 102.93 102.41 "
    "102.22 102.36 105.35 107.29 116.49 119.61 120.99 121.92",
    "4": "122.39 121.46 115.38 113.90 113.03 112.44 112.13 111.85 "
    "111.61 111.88 113.16 114.77 119.64 120.87 121.69 122.35",
}


@pytest.fixture(scope="module")
def boxes() -> dict[str, tuple[Generator, np.ndarray]]:
    made = generators(load_scenario())
    return {box_id: (one, one.counts(0, 16 * 12_000) * one.v_per_lsb) for box_id, one in made.items()}


@pytest.mark.parametrize("box_id", ["1", "4"])
def test_half_cycles_give_the_published_rms(box_id: str):
    (planned,) = next(box.event for box in load_scenario().box if box.id == box_id)
    halves = planned.half_cycle_rms_v
    pairs = [math.sqrt((a * a + b * b) / 2) for a, b in zip(halves[::2], halves[1::2], strict=True)]
    assert pairs == pytest.approx([float(text) for text in PUBLISHED_V[box_id].split()], abs=0.01)


def test_box_1_sees_one_sag_at_90_percent(boxes):
    (sag,) = find_disturbances(boxes["1"][1], 12_000.0)
    assert sag.kind == "sag"
    assert sag.residual_v == pytest.approx(102.2, abs=0.1)
    assert sag.residual_percent == pytest.approx(85.2, abs=0.1)
    (planned,) = next(box.event for box in load_scenario().box if box.id == "1")
    below = [level_v < 108.0 for level_v in planned.half_cycle_rms_v]
    assert sag.duration_cycles == pytest.approx(
        sum(below) / 2, abs=0.05
    )  # the event ends where the voltage steps


def test_box_1_sees_the_published_duration(boxes):
    volts = boxes["1"][1]
    windows = np.sqrt(np.convolve(volts**2, np.full(200, 1 / 200), "valid")[::100])
    start = int(np.flatnonzero(windows < 108.0)[0])
    stop = start + int(np.flatnonzero(windows[start:] >= 110.4)[0])
    assert (stop - start) * 100 / 12_000 == pytest.approx(0.150, abs=0.0084)  # half a cycle


def test_box_4_sees_its_sag_at_95_percent(boxes):
    assert find_disturbances(boxes["4"][1], 12_000.0) == ()
    (sag,) = find_disturbances(boxes["4"][1], 12_000.0, limits=Limits(sag_percent=95.0))
    assert sag.residual_v == pytest.approx(111.6, abs=0.1)
    assert sag.duration_s == pytest.approx(0.1417, abs=0.0084)


@pytest.mark.parametrize(("box_id", "thd", "rms_v"), [("1", 0.02985, 122.20), ("4", 0.02722, 122.37)])
def test_the_steady_part_has_published_values(boxes, box_id: str, thd: float, rms_v: float):
    steady = boxes[box_id][1][:108_000]
    assert float(np.mean(window_frequency_hz(steady, 12_000.0))) == pytest.approx(59.98289, abs=0.0015)
    assert float(np.mean(window_thd(steady, 12_000.0))) == pytest.approx(thd, abs=3e-4)
    assert math.sqrt(np.mean(steady**2)) == pytest.approx(rms_v, abs=0.05)


def test_after_the_dip_values_stay_as_published(boxes):
    generator, volts = boxes["1"]
    start = 120_000 + 450  # the list's cycle 57 begins at or just after the play
    after = volts[start + 19 * 200 : start + 52 * 200]  # cycles 76 .. 108
    rms = np.sqrt(np.mean(after.reshape(-1, 200) ** 2, axis=1))
    assert rms.max() == pytest.approx(124.741, abs=0.1)
    assert float(np.mean(window_frequency_hz(after, 12_000.0))) == pytest.approx(60.0645, abs=0.01)
    assert generator.marks(0, len(volts))


def test_both_boxes_dip_at_one_instant():
    made = generators(load_scenario(overrides={"every_s": 12.0}))
    starts = {}
    for box_id, one in made.items():
        volts = (
            np.concatenate([one.counts(at, 12_000) for at in range(0, 36 * 12_000, 12_000)]) * one.v_per_lsb
        )
        found = find_disturbances(volts, 12_000.0, limits=Limits(sag_percent=95.0))
        starts[box_id] = [one.start_s for one in found]
    assert [len(found) for found in starts.values()] == [3, 3]
    for first, second in zip(starts["1"], starts["4"], strict=True):
        assert abs(first - second) < 0.02
    assert all(b - a == pytest.approx(12.0, abs=0.02) for a, b in pairwise(starts["1"]))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("nominal_volt = 120", "nominal_v"),
        ("lead_s = -1", "lead_s"),
        ('[[box]]\nid = "x"', "id"),
        ('[[box]]\nid = "1"\n[[box]]\nid = "1"', "two are the same"),
        ('[[box]]\nid = "1"\n[[box.event]]\nkind = "profile"', "half_cycle_rms_v"),
        ('[[box]]\nid = "1"\n[[box.event]]\nkind = "sag"\ndepth = 3.0', "depth"),
        ("[grid]\nexcursion = [[1.0, 0.1], [0.0, 0.0]]", "rising"),
        ("not toml", "TOML"),
    ],
)
def test_a_wrong_scenario_says_what_and_where(tmp_path: Path, text: str, wanted: str):
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=wanted):
        load_scenario(path)


def test_an_unknown_scenario_names_one_that_exists():
    with pytest.raises(ConfigError, match="lightning_dip"):
        load_scenario("thunder")


def test_the_european_scenario_has_its_sag():
    """65 % of 230 V left for ten cycles of 49.985 Hz at Box 1, 93 % at Box 2, where it is not a sag."""
    made = generators(load_scenario("sag_230v_50hz"))
    assert {(one.nominal_v, one.nominal_hz) for one in made.values()} == {(230.0, 50.0)}
    volts = {box_id: one.counts(0, 12 * 12_000) * one.v_per_lsb for box_id, one in made.items()}
    (sag,) = find_disturbances(volts["1"], 12_000.0, 230.0, 50.0)
    assert (sag.kind, sag.residual_percent) == ("sag", pytest.approx(65.0, abs=0.1))
    assert sag.duration_s == pytest.approx(0.2, abs=0.01)
    assert find_disturbances(volts["2"], 12_000.0, 230.0, 50.0) == ()


def test_a_clipped_steady_voltage_is_refused(tmp_path: Path):
    path = tmp_path / "clipped.toml"
    path.write_text('nominal_v = 230.0\n[[box]]\nid = "1"\nfundamental_v = 230.0\n')
    with pytest.raises(ConfigError, match=r"325 V peak are clipped; want v_per_lsb 0.02 or so"):
        load_scenario(path)
