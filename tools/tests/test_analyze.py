"""`opq-tools analyze` as a user calls it: the contract's document and its figures."""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from analyze_under_test import FLAGS, RATE_HZ, as_i16, mains, run, told
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_measure.analysis.analyser import analyze
from opq_proto.errors import OpqError

RECORDINGS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "recordings"
WITHOUT = "the real recordings are not here (they carry no licence, so the project does not ship them)"
real = pytest.mark.skipif(not RECORDINGS.is_dir(), reason=WITHOUT)


def test_the_document_has_every_key_of_the_contract(tmp_path: Path) -> None:
    volts = mains()
    volts[9000:11000] *= 0.7
    path = as_i16(tmp_path, volts)
    answer = told(path)
    assert answer["file"] == str(path)
    assert (answer["rate_hz"], answer["samples"], answer["duration_s"]) == (12000.0, 24000, 2.0)
    assert (answer["nominal_volts"], answer["nominal_hz"]) == (120.0, 60.0)
    assert set(answer["frequency_hz"]) == {"mean", "min", "max", "std"}
    assert set(answer["rms_v"]) == {"mean", "min", "median", "max"}
    assert set(answer["thd_percent"]) == {"mean", "max"}
    assert len(answer["harmonics_percent"]) == 50 and answer["harmonics_percent"][0] == 100.0
    assert answer["flicker"] == {"pinst_max": None, "pst": None}
    assert len(answer["cycles"]) in (119, 120)
    assert set(answer["cycles"][0]) == {"index", "start_s", "rms_v", "frequency_hz"}
    assert len(answer["half_cycles"]) in (238, 239)
    assert set(answer["half_cycles"][0]) == {"index", "start_s", "rms_v"}
    (event,) = answer["events"]
    wanted = {
        "class",
        "ieee1159",
        "start_s",
        "end_s",
        "open",
        "duration_cycles",
        "residual_v",
        "residual_percent",
        "itic",
        "semi_f47",
        "confidence",
    }
    assert wanted <= set(event)
    assert (event["class"], event["ieee1159"], event["open"]) == ("sag", "instantaneous sag", False)
    assert (event["itic"], event["semi_f47"]) == ("no_interruption_in_function", "pass")
    assert event["start_s"] == pytest.approx(0.75, abs=0.5 / 60)
    assert event["end_s"] == pytest.approx(11 / 12, abs=0.5 / 60)
    assert event["duration_cycles"] == pytest.approx(10.0, abs=0.5)
    assert event["residual_percent"] == pytest.approx(70.0 * math.sqrt(1 + 0.03**2 + 0.04**2), abs=0.1)


def test_steady_figures_are_not_those_of_the_dip(tmp_path: Path) -> None:
    volts = mains(4.0)
    volts[24000:26000] *= 0.5
    answer = told(as_i16(tmp_path, volts))
    assert answer["thd_percent"]["max"] == pytest.approx(5.0, abs=0.05)
    assert answer["frequency_hz"]["std"] < 1e-3


def test_an_open_event_ends_nowhere(tmp_path: Path) -> None:
    volts = mains()
    volts[20000:] = 0.0
    (event,) = told(as_i16(tmp_path, volts))["events"]
    assert event["class"] == "interruption" and event["open"] is True and event["end_s"] is None


def test_what_is_unknown_is_null(tmp_path: Path) -> None:
    answer = told(as_i16(tmp_path, np.zeros(12000)))
    assert answer["thd_percent"] == {"mean": None, "max": None}
    assert answer["frequency_hz"]["mean"] is None
    assert answer["harmonics_percent"] == [None] * 50
    assert {cycle["frequency_hz"] for cycle in answer["cycles"]} == {None}
    short = told(as_i16(tmp_path, mains(0.01)))
    assert short["cycles"] == [] and short["events"] == [] and short["rms_v"]["mean"] is None
    assert run(as_i16(tmp_path, mains(0.01))).exit_code == 0
    assert run(as_i16(tmp_path, np.zeros(1))).exit_code == 0


@settings(max_examples=40, deadline=None)
@given(
    nominal=st.sampled_from([50.0, 60.0]),
    deviation=st.floats(0.9, 1.1),
    rms_v=st.floats(80.0, 400.0),
    phase=st.floats(0.0, 2 * math.pi),
    decibels=st.floats(75.0, 100.0),
    seed=st.integers(0, 2**31),
)
def test_figures_of_a_clean_signal(
    nominal: float, deviation: float, rms_v: float, phase: float, decibels: float, seed: int
) -> None:
    """The figures the issue asks for: 1 mHz, 0.02 %, 0.05 percentage points."""
    volts = mains(1.0, nominal * deviation, rms_v, phase)
    volts += np.random.default_rng(seed).normal(scale=rms_v * 10 ** (-decibels / 20), size=len(volts))
    answer: Any = analyze(volts, RATE_HZ, rms_v, nominal).contract("x")
    assert answer["frequency_hz"]["mean"] == pytest.approx(nominal * deviation, abs=1e-3)
    true_v = rms_v * math.sqrt(1 + 0.03**2 + 0.04**2)
    for name in ("mean", "min", "median", "max"):
        assert answer["rms_v"][name] == pytest.approx(true_v, rel=2e-4)
    for cycle in answer["half_cycles"]:
        assert cycle["rms_v"] == pytest.approx(true_v, rel=2e-4)
    assert answer["thd_percent"]["mean"] == pytest.approx(5.0, abs=0.05)
    assert {event["class"] for event in answer["events"]} <= {"frequency_deviation"}
    if abs(deviation - 1) < 0.0099:
        assert answer["events"] == []
    elif 0.0101 < abs(deviation - 1) < 0.079:  # throughout; further off it is another nominal
        assert [event["start_s"] for event in answer["events"]] == [0.0]


CLASSES = {
    "sag",
    "swell",
    "interruption",
    "undervoltage",
    "overvoltage",
    "impulsive_transient",
    "oscillatory_transient",
    "periodic_notching",
    "harmonics",
    "interharmonics",
    "flicker",
    "frequency_deviation",
    "phase_jump",
    "dc_offset",
    "noise",
    "rapid_voltage_change",
    "mains_signalling",
}
"""The classes that the contract has."""


def test_dc_and_noise_are_figures_and_no_events(tmp_path: Path) -> None:
    noise = np.random.default_rng(7).normal(scale=1.2, size=72_000)
    answer = told(as_i16(tmp_path, mains(6.0) + 3.0 + noise))
    assert answer["events"] == []
    assert answer["offset_v"] == pytest.approx(3.0, abs=0.02)
    assert answer["noise_v"] == pytest.approx(1.2, rel=0.05)


def test_the_readme_names_the_classes_that_are_events() -> None:
    readme = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
    part = readme.partition("| class in `events`")[2].partition("\n## ")[0]
    rows = "".join(line.split("|")[1] for line in part.splitlines()[2:] if line.startswith("|"))
    assert set(re.findall(r"`(\w+)`", rows)) == CLASSES - {"dc_offset", "noise"}
    assert "**`dc_offset` and `noise` are never events here**" in part
    assert f"reports {len(CLASSES) - 2} of the contract's {len(CLASSES)} classes" in readme


# options


def test_flags_come_before_the_facts_beside_the_file(tmp_path: Path) -> None:
    answer = told(as_i16(tmp_path, mains()), "--volts-per-lsb", "0.0136", "--nominal-volts", "240")
    assert answer["rms_v"]["median"] == pytest.approx(240.3, abs=0.1)
    assert answer["nominal_volts"] == 240.0 and answer["events"] == []


@pytest.mark.parametrize(
    ("rms_v", "hz", "nominal_v"),
    [
        (230.0, 50.0, 230.0),
        (118.0, 60.0, 120.0),
        (57.5, 50.0, 57.7),
        (482.0, 60.0, 480.0),
        (19_800.0, 50.0, 20e3),
    ],
)
def test_unstated_nominal_values_are_estimated_and_reported(
    rms_v: float, hz: float, nominal_v: float, tmp_path: Path
) -> None:
    path = tmp_path / "mains.csv"
    np.savetxt(path, mains(0.5, rms_v=rms_v, hz=hz))
    answer = told(path, *FLAGS[:2])
    assert (answer["nominal_volts"], answer["nominal_hz"]) == (nominal_v, hz)
    assert answer["assumed"].items() >= {"nominal_volts": nominal_v, "nominal_hz": hz}.items()
    assert answer["nominal"]["volts_from"] == answer["nominal"]["hz_from"] == "estimated"
    assert 0.3 < answer["nominal"]["volts_sureness"] <= 1.0
    assert "swell" not in [event["class"] for event in answer["events"]]
    assert f"{nominal_v:g} V is assumed" in run(path, *FLAGS[:2]).stderr
    assert run(path, *FLAGS[:2], "--nominal-volts", "230", "--nominal-hz", "50", "--unit", "V").stderr == ""


def test_an_unusual_voltage_gets_no_rms_verdict(tmp_path: Path) -> None:
    path = tmp_path / "mains.csv"
    volts = mains(1.0, rms_v=80.0)
    volts[4000:6000] *= 0.5
    np.savetxt(path, volts)
    answer = told(path, *FLAGS[:2])
    assert answer["nominal_volts"] is None and answer["nominal"]["volts_from"] == "unknown"
    assert [event["class"] for event in answer["events"] if event["residual_percent"] is not None] == []
    assert answer["rms_v"]["median"] == pytest.approx(80.1, abs=0.1)
    assert "give --nominal-volts" in run(path, *FLAGS[:2]).stderr
    stated = told(path, *FLAGS[:2], "--nominal-volts", "80")
    assert [event["class"] for event in stated["events"]] == ["sag"]


def test_thresholds_are_those_asked_for(tmp_path: Path) -> None:
    volts = mains()
    volts[6000:8000] *= 0.93
    volts[12000:14000] *= 1.06
    path = as_i16(tmp_path, volts)
    assert told(path)["events"] == []
    found = told(
        path, "--dip-threshold-percent", 95, "--swell-threshold-percent", 105, "--hysteresis-percent", 1
    )
    assert [event["class"] for event in found["events"]] == ["sag", "swell"]
    volts[6000:8000] *= 0.2
    (event,) = told(as_i16(tmp_path, volts), "--interruption-threshold-percent", 25)["events"]
    assert event["class"] == "interruption"


@pytest.mark.parametrize(
    "flags",
    [
        ["--dip-threshold-percent", "120"],
        ["--dip-threshold-percent", "nan"],
        ["--interruption-threshold-percent", "95"],
        ["--swell-threshold-percent", "80"],
        ["--hysteresis-percent", "-1"],
        ["--hysteresis-percent", "50"],
        ["--rate-hz", "0"],
        ["--rate-hz", "inf"],
        ["--nominal-volts", "-3"],
        ["--volts-per-lsb", "many"],
        ["--plot", "drawing.bmp"],
        ["--plot", "drawing"],
    ],
)
def test_impossible_options_are_wrong_use(flags: list[str], tmp_path: Path) -> None:
    result = run(as_i16(tmp_path, mains()), *flags)
    code = result.exception.exit_code if isinstance(result.exception, OpqError) else result.exit_code
    assert code == 2


# the real recordings: figures of their README


@real
def test_only_box_1_has_the_dip() -> None:
    box1, box4 = (told(RECORDINGS / f"event_9354_box{box}.i16") for box in (1, 4))
    (dip,) = box1["events"]
    assert dip["class"] == "sag" and dip["ieee1159"] == "instantaneous sag"
    assert dip["residual_v"] == pytest.approx(102.18, rel=0.01)
    assert dip["end_s"] - dip["start_s"] == pytest.approx(0.150, abs=0.5 / 60)
    assert dip["start_s"] == pytest.approx(12000 / 12000, abs=1 / 60)
    assert box4["events"] == []


@real
def test_at_95_percent_both_boxes_have_it() -> None:
    for box, residual_v, duration_s in ((1, 102.183, 0.1667), (4, 111.599, 0.1417)):
        (dip,) = told(RECORDINGS / f"event_9354_box{box}.i16", "--dip-threshold-percent", 95)["events"]
        assert dip["residual_v"] == pytest.approx(residual_v, rel=0.01)
        assert dip["end_s"] - dip["start_s"] == pytest.approx(duration_s, abs=0.5 / 60)


@real
def test_the_steady_figures_are_those_of_the_readme() -> None:
    for box, median_v, minimum_v, maximum_v, before_hz, thd, third, fifth in (
        (1, 122.207, 102.225, 124.741, 59.98289, 2.985, 1.98, 1.99),
        (4, 122.373, 111.613, 124.402, 59.98286, 2.722, 2.33, 0.49),
    ):
        path = RECORDINGS / f"event_9354_box{box}.i16"
        answer = told(path)
        assert answer["rms_v"]["median"] == pytest.approx(median_v, rel=3e-4)
        assert answer["rms_v"]["min"] == pytest.approx(minimum_v, rel=2e-3)
        assert answer["rms_v"]["max"] == pytest.approx(maximum_v, rel=2e-3)
        counts = np.fromfile(path, "<i2")[:10_000]
        gain = {1: 0.0068, 4: 0.0069}[box]
        before: Any = analyze(counts, RATE_HZ, 120.0, 60.0, v_per_lsb=gain).contract("before")
        assert before["frequency_hz"]["mean"] == pytest.approx(before_hz, abs=1e-3)
        assert before["thd_percent"]["mean"] == pytest.approx(thd, abs=0.05)
        assert before["harmonics_percent"][2] == pytest.approx(third, abs=0.02)
        assert before["harmonics_percent"][4] == pytest.approx(fifth, abs=0.1)
