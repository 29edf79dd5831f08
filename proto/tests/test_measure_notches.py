"""Notches of known place, width and depth; none of harmonics, impulses, dips, noise, clipped tops."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from opq_measure.timebase.cycles import track
from opq_measure.waveform.notches import Notching, notching_in

RATE_HZ = 12_000.0
PEAK_V = 120.0 * math.sqrt(2)
SAMPLES = 3600
Floats = NDArray[np.float64]


def phase(hz: float, start: float, samples: int = SAMPLES) -> Floats:
    return 2 * np.pi * hz * np.arange(samples) / RATE_HZ + start


def mains(turn: Floats) -> Floats:
    wave = np.sin(turn)
    for order, share in {3: 0.02, 5: 0.02, 7: 0.0088, 9: 0.005}.items():
        wave = wave + share * np.sin(order * turn + 0.7 * order)
    return PEAK_V * wave


def noise(seed: int, decibels: float = 60.0, samples: int = SAMPLES) -> Floats:
    return np.random.default_rng(seed).normal(scale=120.0 * 10 ** (-decibels / 20), size=samples)


def notched(turn: Floats, per_cycle: int, first_degrees: float, width_degrees: float, depth: float) -> Floats:
    """Each notch takes `depth` of the wave, over `width_degrees` around its middle."""
    apart = 360.0 / per_cycle
    off = (np.degrees(turn) - first_degrees + apart / 2) % apart - apart / 2
    return mains(turn) * np.where(np.abs(off) < width_degrees / 2, 1 - depth, 1.0)


def found_in(volts: Floats, nominal_hz: float = 60.0) -> tuple[Notching, ...]:
    return notching_in(volts, track(volts, RATE_HZ, nominal_hz))


@pytest.mark.parametrize("angle", [0.0, 1.0])
def test_harmonics_in_phase_have_no_edges(angle: float) -> None:
    turn = phase(50.2, 0.3)
    orders = (5, 7, 11, 13, 17, 19, 23, 25, 29, 31)
    pulses = 0.03 * sum(np.sin(order * turn + angle) for order in orders)
    assert found_in(PEAK_V * (np.sin(turn) + pulses) + noise(4), 50.0) == ()


@settings(max_examples=15)
@given(
    hz=st.floats(57.0, 63.0),
    start=st.floats(0, 6.28),
    seed=st.integers(0, 1000),
    middle=st.floats(20.0, 40.0),
    width_us=st.floats(300.0, 800.0),
    depth=st.floats(0.12, 0.9),
)
def test_six_notches_have_depth_width_and_angle(
    hz: float, start: float, seed: int, middle: float, width_us: float, depth: float
) -> None:
    width = width_us * 1e-6 * hz * 360.0
    found = found_in(notched(phase(hz, start), 6, middle, width, depth) + noise(seed))
    assert len(found) >= 1
    for each in found:
        assert each.per_cycle == 6
        assert 0.1 < each.noise_v < 1.5
        for place in each.places:
            true = min((middle + 60.0 * k for k in range(6)), key=lambda at: abs(place.phase_degrees - at))
            low, high = math.radians(true - width / 2), math.radians(true + width / 2)
            area = depth * PEAK_V * abs(math.cos(low) - math.cos(high)) / (2 * math.pi * hz) * 1e6
            assert place.phase_degrees == pytest.approx(true, abs=1.5)
            # a sample, where it falls alike in each cycle (60.00 Hz); the area has it, too, beside the depth
            assert place.width_us == pytest.approx(width_us, abs=84.0)
            assert place.depth_percent == pytest.approx(100 * depth, rel=0.08, abs=0.5)
            assert place.area_v_us == pytest.approx(area, rel=0.08 + 84.0 / width_us)
            assert place.toward_zero and place.share > 0.95
        assert each.area_v_us == pytest.approx(sum(place.area_v_us for place in each.places))
        assert each.deepest.depth_v <= 1.06 * depth * PEAK_V


@pytest.mark.parametrize(
    ("per_cycle", "nominal_hz"), [(1, 60.0), (2, 60.0), (2, 50.0), (4, 50.0), (12, 60.0)]
)
def test_other_numbers_of_notches(per_cycle: int, nominal_hz: float) -> None:
    turn = phase(nominal_hz + 0.13, 0.2)
    (found, *_) = found_in(
        notched(turn, per_cycle, 13.0 if per_cycle > 2 else 70.0, 8.0, 0.5) + noise(3), nominal_hz
    )
    assert found.per_cycle == per_cycle
    assert found.deepest.depth_percent == pytest.approx(50.0, abs=3.0)
    assert found.cycles == round(nominal_hz / 5)
    assert found.duration_s == pytest.approx(found.cycles / (nominal_hz + 0.13), rel=1e-3)


def test_a_notch_below_zero_exceeds_100_percent() -> None:
    (found, *_) = found_in(notched(phase(60.1, 0.0), 2, 60.0, 10.0, 1.4) + noise(1))
    assert found.deepest.depth_percent == pytest.approx(140.0, abs=5.0)


def test_adding_notches_are_reported_as_such() -> None:
    turn = phase(60.1, 0.4)
    (found, *_) = found_in(notched(turn, 2, 50.0, 10.0, -0.3) + noise(1))
    assert not found.deepest.toward_zero
    assert found.deepest.depth_percent == pytest.approx(30.0, abs=2.0)


@pytest.mark.parametrize("hz", [59.8, 60.0, 60.2])
def test_what_is_no_notching(hz: float) -> None:
    turn = phase(hz, 0.3)
    clean = mains(turn) + noise(1)
    assert found_in(clean) == ()
    assert found_in(mains(turn) + noise(2, 40.0)) == ()
    for order, share in ((11, 0.08), (23, 0.05), (25, 0.05), (47, 0.05)):
        assert found_in(clean + share * PEAK_V * np.sin(order * turn)) == ()
    impulses = clean.copy()
    impulses[[800, 1900, 2750]] += 60.0
    assert found_in(impulses) == ()
    assert found_in(clean * np.where(np.arange(SAMPLES) > 1500, 0.5, 1.0)) == ()
    assert found_in(np.clip(clean, -150.0, 150.0)) == ()
    assert found_in(np.floor(clean / 1.74) * 1.74) == ()
    assert found_in(np.zeros(SAMPLES)) == ()
    assert found_in(np.random.default_rng(1).normal(size=SAMPLES)) == ()
    assert found_in(clean[:500]) == ()


def test_notches_that_jump_about_are_not_periodic() -> None:
    random = np.random.default_rng(7)
    volts = mains(phase(60.0, 0.0)) + noise(1)
    for cycle in range(2, 17):
        at = 200 * cycle + int(random.integers(20, 80))
        volts[at : at + 6] *= 0.6
    assert found_in(volts) == ()


def test_the_least_depth_has_to_make_sense() -> None:
    volts = mains(phase(60.0, 0.0))
    with pytest.raises(ValueError, match="between 0 and 1"):
        notching_in(volts, track(volts, RATE_HZ), 0.0)
