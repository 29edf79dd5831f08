"""Three phases of one file: found by their names, measured together, with one event for the supply."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from analyze_under_test import run, told

RATE_HZ, SECONDS = 1600.0, 2.0
NOMINAL = ("--nominal-volts", "230", "--nominal-hz", "50")


def phase(degrees: float, rms_v: float = 230.0) -> np.ndarray[Any, np.dtype[np.float64]]:
    t_s = np.arange(round(SECONDS * RATE_HZ)) / RATE_HZ
    return rms_v * math.sqrt(2) * np.sin(2 * np.pi * 50.1 * t_s + math.radians(degrees))


def as_csv(folder: Path, **columns: np.ndarray[Any, Any]) -> Path:
    path = folder / "three.csv"
    table = np.column_stack((np.arange(round(SECONDS * RATE_HZ)) / RATE_HZ, *columns.values()))
    header = ",".join(("time_s", *(f"{name} [V]" for name in columns)))
    np.savetxt(path, table, "%.6f", ",", header=header, comments="")
    return path


@pytest.mark.parametrize("names", [("Ua", "Ub", "Uc"), ("VR", "VS", "VT"), ("UL1", "UL2", "UL3")])
def test_a_balanced_supply_has_no_unbalance_and_turns(names: tuple[str, ...], tmp_path: Path) -> None:
    path = as_csv(tmp_path, **{name: phase(-120.0 * k) for k, name in enumerate(names)})
    found = told(path, *NOMINAL)["phases"]
    assert found["channels"] == [f"{name} [V]" for name in names] and found["rotation"] == "abc"
    assert found["rms_v"] == pytest.approx([230.0] * 3, rel=1e-4)
    assert found["angles_degrees"] == pytest.approx([0.0, -120.0, 120.0], abs=0.01)
    assert found["u2_percent"]["max"] < 0.01 and found["u0_percent"]["max"] < 0.01
    assert found["events"] == []


def test_a_weak_phase_unbalances_as_the_components_say(tmp_path: Path) -> None:
    found = told(as_csv(tmp_path, Ua=phase(0, 220.0), Ub=phase(-120), Uc=phase(120)), *NOMINAL)["phases"]
    positive, other = (220 + 2 * 230) / 3, (230 - 220) / 3  # of phasors 220, 230 a², 230 a
    assert found["u2_percent"]["mean"] == pytest.approx(100 * other / positive, abs=0.005)
    assert found["u0_percent"]["mean"] == pytest.approx(100 * other / positive, abs=0.005)


def test_swapped_phases_are_said_to_be(tmp_path: Path) -> None:
    found = told(as_csv(tmp_path, Ua=phase(0), Ub=phase(120), Uc=phase(-120)), *NOMINAL)["phases"]
    assert found["rotation"] == "acb" and found["u2_percent"]["max"] < 0.01


def test_a_two_phase_dip_is_one_event(tmp_path: Path) -> None:
    waves = [phase(-120.0 * k) for k in range(3)]
    waves[1][1600:1760] *= 0.6
    waves[2][1680:1840] *= 0.4
    path = as_csv(tmp_path, Ua=waves[0], Ub=waves[1], Uc=waves[2])
    answer = told(path, *NOMINAL)
    assert [each["class"] for each in answer["events"]] == []  # of Ua, the channel that was taken
    (event,) = answer["phases"]["events"]
    assert (
        event["class"] == "sag" and event["channel"] == "Uc [V]" and event["channels"] == ["Ub [V]", "Uc [V]"]
    )
    assert event["residual_percent"] == pytest.approx(40, abs=0.5)
    assert event["start_s"] == pytest.approx(1.0, abs=0.004)
    assert event["end_s"] == pytest.approx(1.15, abs=0.004)
    page = tmp_path / "page.html"
    shown = run(path, *NOMINAL, "--report", page).output
    text = page.read_text()
    assert "Three phases" in text and "angle, °" in text and "Ub [V], Uc [V]</td>" in text
    assert text.count('<path class="trace trace-2"') == 1  # Urms(1/2) of all three in one chart
    assert "together: sag from" in shown and "Uc [V], seen by Ub [V], Uc [V]" in shown


def test_an_interruption_is_one_of_all_phases(tmp_path: Path) -> None:
    waves = [phase(-120.0 * k) for k in range(3)]
    for wave in waves:
        wave[1600:2000] *= 0.01
    path = as_csv(tmp_path, Ua=waves[0], Ub=waves[1], Uc=waves[2])
    (event,) = told(path, *NOMINAL)["phases"]["events"]
    assert event["class"] == "interruption" and len(event["channels"]) == 3


@pytest.mark.parametrize(
    "names", [("Ua", "Ub"), ("Ua", "Ub", "Ud"), ("left", "middle", "right"), ("Ua", "Ub", "Vc2")]
)
def test_other_channels_are_no_three_phases(names: tuple[str, ...], tmp_path: Path) -> None:
    path = as_csv(tmp_path, **{name: phase(-120.0 * k) for k, name in enumerate(names)})
    answer = told(path, *NOMINAL)
    assert answer["phases"] is None
    assert [each["name"] for each in answer["channels"]] == [f"{name} [V]" for name in names]


def test_a_named_channel_is_measured_alone(tmp_path: Path) -> None:
    path = as_csv(tmp_path, Ua=phase(0), Ub=phase(-120), Uc=phase(120))
    assert told(path, *NOMINAL, "--channel", "Ub [V]")["phases"] is None
