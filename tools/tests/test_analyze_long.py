"""Recordings of hours and of few samples per cycle: what is measured, what is left out, and why."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from analyze_under_test import as_i16, assert_refused, mains, run, told

from opq_recordings.facts import RecordingFacts
from opq_recordings.reading import read_recording

LONG_S = 61.0
SLOW_HZ = 2400.0
MARGIN_V = 0.005
"""Above the 15 ppm of nominal that the median of a long recording may be off."""


@pytest.fixture(scope="module")
def long_recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """61 s with a sag, 40 samples per cycle."""
    t_s = np.arange(round(LONG_S * SLOW_HZ)) / SLOW_HZ
    wave = 120 * math.sqrt(2) * np.sin(2 * np.pi * 60.02 * t_s) * np.where(abs(t_s - 30.0) < 0.1, 0.6, 1.0)
    wave += np.random.default_rng(5).normal(0, 0.2, len(t_s))
    return as_i16(tmp_path_factory.mktemp("long"), wave, rate_hz=SLOW_HZ)


def test_detail_cycles_lists_cycles_beyond_a_minute(long_recording: Path) -> None:
    only = ("--only", "rms,events")
    short, whole = told(long_recording, *only), told(long_recording, *only, "--detail", "cycles")
    assert len(json.dumps(short)) < 30_000
    assert short["cycles"] is None and short["half_cycles"] is None
    for name in ("cycles", "half_cycles"):
        assert short["left_out"].pop(name) == "longer than 60 s; give --detail cycles"
    assert whole["left_out"] == short["left_out"]
    assert len(whole["cycles"]) == pytest.approx(LONG_S * 60.02, abs=2)
    exact, running = whole["rms_v"], short["rms_v"]
    assert running["mean"] == pytest.approx(exact["mean"], rel=1e-12)
    assert (running["min"], running["max"]) == (exact["min"], exact["max"])
    assert running["median"] == pytest.approx(exact["median"], abs=MARGIN_V)
    for name in ("cycles", "half_cycles", "rms_v", "left_out"):
        del short[name], whole[name]
    assert short == whole


def test_a_minute_has_its_cycles(tmp_path: Path) -> None:
    assert len(told(as_i16(tmp_path, mains(1.0)))["cycles"]) == 60


def test_only_leaves_out_quantities_with_a_reason(tmp_path: Path) -> None:
    wave = mains(3.0)
    wave[12_000:13_200] *= 0.6
    path = as_i16(tmp_path, wave)
    whole, part = told(path), told(path, "--only", "rms,frequency,events")
    for name in ("rms_v", "frequency_hz", "frequency_10_s", "cycles", "half_cycles"):
        assert part[name] == whole[name]
    keys = ("class", "start_s", "end_s", "residual_v")
    assert [[each[key] for key in keys] for each in part["events"]] == [
        [each[key] for key in keys] for each in whole["events"] if each["class"] == "sag"
    ]
    for name in (
        "thd_percent",
        "harmonics_percent",
        "interharmonics_percent",
        "flicker",
        "offset_v",
        "noise_v",
    ):
        assert part[name] is None and whole[name] is not None
    assert part["left_out"] == dict.fromkeys(("harmonics", "flicker", "transients"), "not asked for")
    assert told(path, "--only", "frequency")["events"] is None
    shown = run(path, "--only", "frequency").output
    assert "rms, events, harmonics, flicker, transients not measured: not asked for" in shown
    assert "Dips and swells are not measured." in shown


def test_a_quantity_that_is_none_is_wrong_use(tmp_path: Path) -> None:
    assert "--only is 'thd', want some of rms, frequency, events" in assert_refused(
        as_i16(tmp_path, mains()), "--only", "rms,thd"
    )


@pytest.mark.parametrize("nominal_hz", [16.7, 50.0, 60.0, 400.0])
@pytest.mark.parametrize("samples", [8, 12, 16])
def test_few_samples_per_cycle_suffice_for_sags(samples: int, nominal_hz: float, tmp_path: Path) -> None:
    rate_hz, hz = samples * nominal_hz, 1.004 * nominal_hz
    cycle_s, t_s = 1 / nominal_hz, np.arange(round(120 * samples)) / (samples * nominal_hz)
    inside = (t_s >= 50 * cycle_s) & (t_s < 60 * cycle_s)
    wave = 120 * math.sqrt(2) * np.sin(2 * np.pi * hz * t_s + 0.4) * np.where(inside, 0.6, 1.0)
    facts = {"nominal_hz": nominal_hz}
    answer = told(as_i16(tmp_path, wave, rate_hz=rate_hz, **facts))
    assert answer["rms_v"]["median"] == pytest.approx(120, rel=0.002)
    assert answer["frequency_hz"]["mean"] == pytest.approx(hz, rel=1e-5)
    (sag,) = answer["events"]
    assert sag["class"] == "sag" and sag["residual_percent"] == pytest.approx(60, abs=0.3)
    assert sag["start_s"] == pytest.approx(50 * cycle_s, abs=0.15 * cycle_s)
    assert sag["end_s"] == pytest.approx(60 * cycle_s, abs=0.15 * cycle_s)
    reason = f"{samples} samples per cycle, want at least 20"
    assert answer["left_out"] == dict.fromkeys(("harmonics", "flicker", "transients"), reason)
    assert answer["thd_percent"] is None and answer["harmonics_percent"] is None


def test_fewer_than_eight_samples_per_cycle_are_refused(tmp_path: Path) -> None:
    path = as_i16(tmp_path, mains(), rate_hz=400.0, nominal_hz=60.0)
    assert "want at least 8 samples per cycle" in assert_refused(path)


def test_reading_a_long_file_gives_its_memory_back(tmp_path: Path) -> None:
    path = tmp_path / "hours.i16"
    with path.open("wb") as file:
        file.truncate(200 << 20)
    recording = read_recording(path, RecordingFacts(rate_hz=12_000.0, volts_per_lsb=0.01))
    before_kb, most_kb = _resident_kb(), 0
    for piece in recording.pieces():
        assert not piece.volts[-1]
        piece.volts.sum()
        most_kb = max(most_kb, _resident_kb())
    assert most_kb - before_kb < 20_000


def _resident_kb() -> int:
    return 4 * int(Path("/proc/self/statm").read_text().split()[1])
