"""Ratios to nothing: without mains, stuck or clipped, a recording is that and no disturbance."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from analyze_under_test import RATE_HZ, Floats, as_i16, mains, run, told
from click.testing import CliRunner

from opq_analyze.nominal_values import consistent, nominal_of
from opq_measure.nominal import estimated_hz
from opq_recordings.reading import read_recording
from opq_tools.recordings.classify import command as classify

FLAGS = ("--rate-hz", "12000")
STATED = ("--nominal-volts", "230", "--nominal-hz", "50")
RNG = np.random.default_rng(7)


def sine(length_s: float = 1.0, rms_v: float = 230.0, noise_v: float = 0.05) -> Floats:
    t_s = np.arange(round(length_s * RATE_HZ)) / RATE_HZ
    wave: Floats = rms_v * math.sqrt(2) * np.sin(2 * np.pi * 50 * t_s + 0.3)
    return wave + noise_v * RNG.standard_normal(len(t_s))


def classified(path: Path, *options: str) -> dict[str, Any]:
    done = CliRunner().invoke(classify, [str(path), "--json", *options], catch_exceptions=False)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


NOTHING = {
    "dc": np.full(12_000, 48.0) + 0.01 * RNG.standard_normal(12_000),
    "ripple": 48 + 0.5 * np.sin(2 * np.pi * 100 * np.arange(12_000) / RATE_HZ),
    "hum": 48 + 0.05 * np.sin(2 * np.pi * 50 * np.arange(12_000) / RATE_HZ),
    "white": 50 * RNG.standard_normal(12_000),
}


@pytest.mark.parametrize("options", [(), STATED, ("--nominal-volts", "120", "--nominal-hz", "60")])
@pytest.mark.parametrize("name", NOTHING)
def test_without_mains_nothing_relative_to_it_is_given(
    name: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "a.npy"
    np.save(path, NOTHING[name])
    answer = told(path, *FLAGS, *options)
    assert answer["events"] == [] and [each["kind"] for each in answer["faults"]] == ["no_mains"]
    if name != "hum":
        assert answer["thd_percent"]["mean"] is None and answer["harmonics_percent"][2] is None
    found = classified(path, *FLAGS, *options)
    assert found["class"] == "no_mains" and found["parts"] == []
    assert "no_mains" in run(path, *FLAGS, *options).stderr


@pytest.mark.parametrize("value", [0.0, 325.0])
def test_a_dead_channel_is_stuck(value: float, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.full(12_000, value))
    answer = told(path, *FLAGS, *STATED)
    assert answer["events"] == [] and [each["kind"] for each in answer["faults"]] == ["stuck"]
    assert classified(path, *FLAGS, *STATED)["class"] == "stuck"


def test_a_held_value_of_10_ms_is_removed(tmp_path: Path) -> None:
    volts = sine()
    volts[4800:4920] = volts[4800]
    path = tmp_path / "a.npy"
    np.save(path, volts)
    answer = told(path, *FLAGS, *STATED)
    assert answer["events"] == []
    (fault,) = answer["faults"]
    assert fault["kind"] == "stuck" and fault["start_s"] == pytest.approx(0.4, abs=1e-4)
    assert [(gap["first_sample"], gap["samples"]) for gap in answer["gaps"]] == [(4800, 120)]
    assert classified(path, *FLAGS, *STATED)["class"] == "none"


def test_an_interruption_of_exact_zeros_is_an_interruption(tmp_path: Path) -> None:
    volts = sine(noise_v=0.0)
    volts[4800:7200] = 0.0
    path = tmp_path / "a.npy"
    np.save(path, volts)
    answer = told(path, *FLAGS, *STATED)
    assert [event["class"] for event in answer["events"]] == ["interruption"] and answer["faults"] == []


def test_a_supply_that_is_off_is_an_interruption(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, 0.05 * RNG.standard_normal(12_000))
    answer = told(path, *FLAGS, *STATED)
    assert [event["class"] for event in answer["events"]] == ["interruption"] and answer["faults"] == []


@pytest.mark.parametrize("share", [0.92, 0.7])
@pytest.mark.parametrize("both", [True, False])
def test_a_clipped_wave_is_said(share: float, both: bool, tmp_path: Path) -> None:
    peak_v = 230 * math.sqrt(2)
    volts = np.clip(sine(), -share * peak_v if both else -1e3, share * peak_v)
    path = tmp_path / "a.npy"
    np.save(path, volts)
    (fault,) = told(path, *FLAGS, *STATED)["faults"]
    assert fault["kind"] == "clipped" and f"{share * peak_v:.6g}" in fault["because"]


@pytest.mark.parametrize("bits", [8, 10, 16])
def test_the_rounding_of_a_converter_is_no_clipping(bits: int, tmp_path: Path) -> None:
    step_v = 400 / 2 ** (bits - 1)
    path = tmp_path / "a.npy"
    np.save(path, np.rint(sine(noise_v=0.0) / step_v) * step_v)
    assert told(path, *FLAGS, *STATED)["faults"] == []


def test_a_frequency_against_the_samples_is_refused(tmp_path: Path) -> None:
    wave = np.rint(mains(1.0, hz=60.0) * 100).astype(np.int16)
    rows = "\r\n".join(f"{k + 1},{round(k * 1e6 / RATE_HZ)},{value}" for k, value in enumerate(wave))
    (tmp_path / "relay.dat").write_text(rows)
    path = tmp_path / "relay.cfg"
    path.write_text(
        "S,R,1999\r\n1,1A,0D\r\n1,Ua,A,,V,0.01,0,0,-9,9,1,1,S\r\n50\r\n1\r\n12000,12000\r\n"
        "17/03/2024,10:00:00.0\r\n17/03/2024,10:00:00.0\r\nASCII\r\n1\r\n"
    )
    found = told(path)
    assert found["nominal_hz"] == 60.0 and found["nominal"]["hz_from"] == "estimated"
    assert found["problems"] == ["it states 50 Hz, but its samples are of a mains of 60 Hz"]
    found = told(path, "--nominal-hz", 50)  # a person is believed
    assert found["nominal_hz"] == 50.0 and found["problems"] == []


@pytest.mark.parametrize(("stated_v", "taken"), [(63_510.0, 120.0), (20.0, 120.0), (240.0, 240.0)])
def test_a_voltage_against_the_samples_is_refused(stated_v: float, taken: float, tmp_path: Path) -> None:
    found = read_recording(as_i16(tmp_path, mains(1.0)))
    found = consistent(replace(found, nominal_v=stated_v, volts_of_file=True))
    assert nominal_of(found).volts == taken
    start = f"it states a nominal voltage of {stated_v:g} V"
    said = [each for each in found.problems if each.startswith(start)]
    assert len(said) == (taken != stated_v)


def test_an_estimate_is_as_certain_as_its_voltage(tmp_path: Path) -> None:
    wave = mains(1.0)
    wave[len(wave) // 2 + 1200 :] *= 1.25  # 40 % of the record
    path = as_i16(tmp_path, wave, nominal_volts=None)
    assert told(path)["nominal"]["volts_sureness"] < 0.65


def test_a_frequency_that_wanders_for_minutes_is_recognised() -> None:
    hz = 50 + 0.05 * np.sin(2 * np.pi * np.arange(1 << 17) / 400 / 200)
    assert estimated_hz(230 * np.sin(2 * np.pi * np.cumsum(hz) / 400), 400.0).value == 50.0
    assert estimated_hz(np.random.default_rng(1).normal(size=1 << 17), 400.0).value is None
