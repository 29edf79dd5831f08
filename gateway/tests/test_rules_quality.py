"""Power-quality functions of SQL, on signals whose answers are known in closed form."""

import math
from typing import Any

import numpy as np
import pytest
from sql_evaluation import evaluated

from opq_rules.errors import RowError, RuleError

RATE_HZ = 12_000


def wave(seconds: float, hz: float = 60.0, angle_deg: float = 0.0, rate_hz: float = RATE_HZ) -> list[float]:
    """120 V with 5 % of order 3 and 2 % of order 5; a cosine of `angle_deg` at the first sample."""
    turns = 2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz + math.radians(angle_deg)
    volts = np.cos(turns) + 0.05 * np.cos(3 * turns) + 0.02 * np.sin(5 * turns)
    found: list[float] = (120 * math.sqrt(2) * volts).tolist()
    return found


def test_an_arrays_rms_is_its_samples() -> None:
    volts = wave(0.2)
    wanted = 120 * math.sqrt(1 + 0.05**2 + 0.02**2)
    assert evaluated("rms(w)", {"w": volts}) == pytest.approx(wanted, rel=1e-12)
    assert evaluated("rms(w)", {"w": np.array(volts)}) == pytest.approx(wanted, rel=1e-12)
    assert evaluated("rms(w)", {"w": [3, None, -4]}) == pytest.approx(math.sqrt(12.5))
    assert evaluated("rms(w)", {"w": []}) is None
    assert evaluated("rms(w) > 119", {"w": volts}) is True


@pytest.mark.parametrize("hz", [59.3, 60.0, 60.4])
@pytest.mark.parametrize("seconds", [0.08, 0.2, 1.0])
def test_distortion_is_known_wherever_the_window_begins(hz: float, seconds: float) -> None:
    row = {"w": wave(seconds, hz, angle_deg=37.0)}
    assert evaluated("thd(w)", row) == pytest.approx(math.hypot(0.05, 0.02), abs=1e-5)
    assert evaluated("harmonic(w, 3)", row) == pytest.approx(0.05, abs=1e-5)
    assert evaluated("harmonic(w, 5, 12000, 60)", row) == pytest.approx(0.02, abs=1e-5)
    assert evaluated("harmonic(w, 1)", row) == pytest.approx(1.0)
    orders = evaluated("harmonics(w)", row)
    assert (len(orders), orders[2]) == (50, pytest.approx(0.05, abs=1e-5))


def test_distortion_at_50_hz_and_another_rate() -> None:
    row = {"w": wave(0.2, 50.0, rate_hz=10_000)}
    assert evaluated("thd(w, 10000, 50)", row) == pytest.approx(math.hypot(0.05, 0.02), abs=1e-5)


def test_frequency_is_that_of_the_fundamental() -> None:
    assert evaluated("frequency(w)", {"w": wave(0.5, 59.87)}) == pytest.approx(59.87, abs=1e-6)
    assert evaluated("frequency(w, 12000)", {"w": wave(0.2, 60.2)}) == pytest.approx(60.2, abs=1e-5)


@pytest.mark.parametrize("angle_deg", [-170.0, -30.0, 0.0, 45.0, 120.0])
def test_a_phasor_is_rms_and_angle(angle_deg: float) -> None:
    found = evaluated("phasor(w, 12000, 59.7)", {"w": wave(0.05, 59.7, angle_deg)})
    assert found["magnitude"] == pytest.approx(120.0, rel=1e-9)
    assert found["angle"] == pytest.approx(angle_deg, abs=1e-6)


def test_too_few_samples_have_no_answer() -> None:
    row = {"w": wave(0.05)}
    assert evaluated("thd(w)", row) is None
    assert evaluated("harmonics(w)", row) is None
    assert evaluated("harmonic(w, 3)", row) is None
    assert evaluated("frequency(w)", row) is None
    assert evaluated("phasor(w, 12000, 60)", {"w": wave(0.01)}) is None
    assert evaluated("pst(w, 12000)", {"w": wave(1.0)}) is None
    assert evaluated("thd(missing)", row) is None
    assert evaluated("frequency(w)", {"w": [0.0] * 2_400}) is None


def test_the_standards_fluctuation_has_pst_1() -> None:
    """39 rectangular changes a minute of 1.040 % (120 V, 60 Hz): IEC 61000-4-15:2010, table 5, Pst = 1."""
    rate_hz = 2_400
    seconds = np.arange(605 * rate_hz) / rate_hz
    level = 1 + 0.01040 / 2 * np.sign(np.sin(2 * np.pi * (39 / 60 / 2) * seconds))
    volts = 120 * math.sqrt(2) * level * np.sin(2 * np.pi * 60 * seconds)
    assert evaluated("pst(w, 2400, 120)", {"w": volts}) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("itic(69.9, 0.5)", "no_damage"),
        ("itic(70, 0.5)", "no_interruption_in_function"),
        ("itic(0, 0.02)", "no_interruption_in_function"),
        ("itic(121, 0.4)", "prohibited"),
        ("f47(50, 0.2)", "pass"),
        ("f47(49, 0.2)", "fail"),
        ("f47(70, 0.5)", "pass"),
        ("f47(60, 2)", "not_applicable"),
        ("sag_depth(96, 120)", 20.0),
        ("sag_depth(132, 120)", -10.0),
        ("itic(missing, 1)", None),
        ("sag_depth(missing, 120)", None),
    ],
)
def test_verdicts_are_words_of_the_contracts(text: str, answer: Any) -> None:
    assert evaluated(text) == answer


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("thd(s)", "want an array of numbers"),
        ("thd(mixed)", "want an array of numbers"),
        ("thd(flat, 60)", "samples per cycle"),
        ("harmonic(w, n)", "order 51; want 1 to 50"),
        ("phasor(w, 12000, n * 1000)", "less than half of the rate"),
        ("itic(-1 * n, 1)", "want a number from 0"),
        ("sag_depth(n, n - 51)", "want more than 0"),
    ],
)
def test_an_unanswerable_record_is_an_error(text: str, words: str) -> None:
    row = {"s": "x", "mixed": [1.0, "x"], "flat": [1.0] * 240, "w": wave(0.2), "n": 51}
    with pytest.raises(RowError, match=words):
        evaluated(text, row)


def test_an_unknown_order_is_refused() -> None:
    """When the rule is made."""
    with pytest.raises(RuleError, match="order 51; want 1 to 50"):
        evaluated("harmonic(w, 51)", {"w": []})


def test_units_of_samples_do_not_matter_to_ratios() -> None:
    volts = wave(0.2)
    counts = [round(each * 50) for each in volts]
    assert evaluated("thd(w)", {"w": counts}) == pytest.approx(evaluated("thd(w)", {"w": volts}), abs=1e-4)
