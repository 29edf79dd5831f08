"""Short records, and those without noise: what a fault recorder or a simulation writes.

Each signal is a formula; its class follows from the definition of docs/classes.md.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from opq_measure.classification.bursts import one_sided
from opq_measure.classification.classifier import classify
from opq_measure.classification.pieces import Pieces
from opq_measure.classification.swing import amplitude_course, swing_in

RATE_HZ, PEAK_V = 10_000.0, 230 * math.sqrt(2)
Floats = NDArray[np.float64]


def times(seconds: float) -> Floats:
    return np.arange(round(seconds * RATE_HZ)) / RATE_HZ


def wave(t_s: Floats, hz: float = 50.0, thd: float = 0.0, angle: float = 0.4) -> Floats:
    turned = 2 * np.pi * hz * t_s + angle
    return np.asarray(PEAK_V * (np.sin(turned) + thd * np.sin(5 * turned + 1.0)))


def dip(t_s: Floats, start_s: float, stop_s: float, left: float) -> Floats:
    return np.where((t_s >= start_s) & (t_s < stop_s), left, 1.0)


def rounded(volts: Floats, step_v: float = 0.01) -> Floats:
    return np.asarray(np.rint(volts / step_v) * step_v)


def kind(volts: Floats) -> str:
    return classify(volts, RATE_HZ, 230.0, 50.0).kind


@pytest.mark.parametrize("step_v", [0.0, 1e-6])
@pytest.mark.parametrize(("left", "expected"), [(0.6, "sag"), (1.3, "swell"), (0.0, "interruption")])
def test_a_level_without_noise_has_its_class(left: float, expected: str, step_v: float) -> None:
    t_s = times(0.4)
    volts = wave(t_s) * dip(t_s, 0.1503, 0.2304, left)
    assert kind(rounded(volts, step_v) if step_v else volts) == expected


@pytest.mark.parametrize(
    ("expected", "volts"),
    [
        ("harmonics+sag", lambda t_s: 0.84 * wave(t_s, thd=0.14)),
        ("frequency_deviation+sag", lambda t_s: 0.84 * wave(t_s, 48.4)),
        ("dc_offset+swell", lambda t_s: wave(t_s) + 0.6 * 230),
        ("interharmonics+swell", lambda t_s: 1.15 * (wave(t_s) + 0.03 * wave(t_s, 180.0))),
    ],
)
def test_a_constant_level_hides_nothing_lasting(expected: str, volts: Callable[[Floats], Floats]) -> None:
    assert kind(rounded(volts(times(0.6)))) == expected


@pytest.mark.parametrize("seconds", [0.25, 0.33])
def test_a_dip_hides_nothing_that_lasts_beside_it(seconds: float) -> None:
    t_s = times(seconds)
    level = dip(t_s, 0.083, 0.131, 0.5)
    assert kind(rounded(wave(t_s, thd=0.14) * level)) == "harmonics+sag"
    assert kind(rounded(wave(t_s, 48.4) * level)) == "frequency_deviation+sag"


def test_a_fifth_of_a_second_shows_harmonics() -> None:
    t_s = times(0.2)
    for angle in np.linspace(0, 2 * math.pi, 3, endpoint=False).tolist():
        assert kind(rounded(wave(t_s, 48.1, angle=angle))) == "frequency_deviation"
        distorted = rounded(wave(t_s, 49.2, thd=0.19, angle=angle))
        assert kind(distorted) == "frequency_deviation+harmonics"


@pytest.mark.parametrize(("percent", "hz", "seconds"), [(6, 9, 1.0), (8, 12, 0.7), (5, 20, 0.3)])
def test_some_swings_of_the_amplitude_are_flicker(percent: float, hz: float, seconds: float) -> None:
    t_s = times(seconds)
    assert kind(rounded(wave(t_s) * (1 + percent / 100 * np.sin(2 * np.pi * hz * t_s)))) == "flicker"


def ringing(t_s: Floats, start_s: float, size: float, hz: float, decay_s: float) -> Floats:
    since = t_s - start_s
    inside = (since >= 0) & (since < 0.02)
    swing = np.exp(-np.maximum(since, 0) / decay_s) * np.sin(2 * np.pi * hz * since)
    return np.asarray(size * PEAK_V * np.where(inside, swing, 0.0))


@pytest.mark.parametrize("seconds", [0.2, 0.25, 0.35])
def test_a_ringing_is_not_a_level_or_line(seconds: float) -> None:
    t_s = times(seconds)
    assert kind(rounded(wave(t_s) + ringing(t_s, 0.09, 0.5, 520.0, 0.015))) == "oscillatory_transient"
    large = rounded(wave(t_s) + ringing(t_s, 0.09, 0.8, 700.0, 0.03))
    assert kind(large) == "oscillatory_transient+swell"


@pytest.mark.parametrize("seconds", [0.3, 1.0])
def test_a_half_millisecond_impulse_is_an_impulse(seconds: float) -> None:
    t_s = times(seconds)
    since = np.maximum(t_s - 0.152, 0.0)
    shape = np.exp(-since / 5e-4) - np.exp(-since / 2e-5)
    assert kind(rounded(wave(t_s) + 0.4 * PEAK_V * shape)) == "impulsive_transient"


def test_a_dip_between_zero_crossings_is_not_jump() -> None:
    t_s = times(0.2)
    assert kind(rounded(wave(t_s, angle=0.0) * dip(t_s, 0.15, 0.18, 0.35))) == "sag"


def test_a_short_record_names_its_limits() -> None:
    confidences = [classify(rounded(wave(times(each))), RATE_HZ, 230.0, 50.0) for each in (0.15, 0.3, 0.6)]
    assert [each.kind for each in confidences] == ["none"] * 3
    assert "too short for" in confidences[0].because and "flicker" in confidences[0].because
    assert confidences[0].confidence < confidences[1].confidence < 0.9 < confidences[2].confidence


def test_a_dip_has_three_waves() -> None:
    t_s = times(0.4)
    volts = wave(t_s, 49.7, thd=0.1) * dip(t_s, 0.1503, 0.2304, 0.6)
    pieces = Pieces(volts, RATE_HZ, 50.0, [1490.0, 2320.0])
    assert [round(each.amplitude / PEAK_V, 3) for each in pieces.steady] == [1.0, 0.6, 1.0]
    assert [each.hz for each in pieces.steady] == pytest.approx([49.7] * 3, abs=1e-3)
    assert np.nanmax(np.abs(pieces.residual)) < 1e-3 * PEAK_V
    assert not any(pieces.swings)


def test_a_ringing_stays_in_the_residual() -> None:
    t_s = times(0.3)
    ring = ringing(t_s, 0.12, 0.5, 620.0, 0.01)
    noise = np.random.default_rng(3).normal(0, 0.02 * PEAK_V, len(t_s))
    pieces = Pieces(wave(t_s) + ring + noise, RATE_HZ, 50.0, [])
    inside = slice(1200, 1400)
    assert np.linalg.norm(pieces.residual[inside] - ring[inside] - noise[inside]) < 0.15 * np.linalg.norm(
        ring
    )


def test_a_swing_has_size_and_frequency() -> None:
    t_s = times(0.4)
    step_rad = 2 * math.pi * 50 / RATE_HZ

    def swing_of(volts: Floats) -> tuple[float, float] | None:
        found = swing_in(amplitude_course(volts, 0, len(volts), step_rad), 50.0, RATE_HZ)
        return None if found is None else (found.hz, abs(found.size))

    found = swing_of(wave(t_s) * (1 + 0.07 * np.sin(2 * np.pi * 18 * t_s)))
    assert found is not None and found == pytest.approx((18, 0.07), rel=0.05)
    assert swing_of(wave(t_s) * dip(t_s, 0.2, 1.0, 0.93)) is None
    assert swing_of(wave(t_s)) is None


def test_a_broken_ramp_is_one_sided() -> None:
    """A ringing is not."""
    ramp = np.arange(12.0)
    ring = np.exp(-np.arange(60) / 30) * np.sin(2 * np.pi * np.arange(60) / 15)
    assert one_sided(ramp, RATE_HZ) > 0.95 * float(ramp @ ramp)
    assert one_sided(ring, RATE_HZ) < 0.5 * float(ring @ ring)


def noisy(volts: Floats, seed: int) -> Floats:
    return volts + 230 * 10**-1.5 * np.random.default_rng(seed).standard_normal(len(volts))


def test_half_a_cycle_is_not_another_frequency() -> None:
    t_s = times(0.2)
    volts = noisy(wave(t_s, angle=0.0) * dip(t_s, 0.012, 0.04, 0.0), 0)
    pieces = Pieces(volts, RATE_HZ, 50.0, [430.0])  # an edge found late: the fit before it went to 36 Hz
    assert all(abs(each.hz - 50) < 1 for each in pieces.fitted)


@pytest.mark.parametrize(
    ("level", "from_s", "to_s", "hz"), [(-0.5, 0.06, 0.115, 20.0), (0.7, 0.12, 0.15, 23.0)]
)
def test_a_short_level_swings_as_its_record(level: float, from_s: float, to_s: float, hz: float) -> None:
    """The swing is of as many volts in the level, so its share there is another."""
    t_s = times(0.4)
    swings = 1 + 0.08 * np.sin(2 * np.pi * hz * t_s)
    inside = (t_s >= from_s) & (t_s < to_s)
    volts = noisy(wave(t_s, angle=0.0) * (swings + level * inside), 1)
    pieces = Pieces(volts, RATE_HZ, 50.0, [from_s * RATE_HZ, to_s * RATE_HZ])
    share = {each.start: swing for each, swing in zip(pieces.fitted, pieces.swings, strict=True)}
    within = share[next(start for start in share if start > from_s * RATE_HZ)]
    assert within is not None and abs(within.size) == pytest.approx(0.08 / (1 + level), rel=0.05)
    assert kind(volts) == f"flicker+{'swell' if level > 0 else 'sag'}"


def test_a_swings_ends_are_not_another_level() -> None:
    t_s = times(0.4)
    volts = noisy(wave(t_s, angle=0.0) * (1 + 0.082 * np.sin(2 * np.pi * 11 * t_s)), 3)
    assert [(each.start, each.stop) for each in Pieces(volts, RATE_HZ, 50.0, []).fitted] == [(0, 4000)]
    assert kind(volts) == "flicker"


def test_a_level_of_few_cycles_swings_throughout() -> None:
    """Its swing is that of the longest piece; each cycle of the level is at another level without it."""
    t_s = times(1.0)
    swings = 1 + 0.08 * np.sin(2 * np.pi * 16 * t_s)
    volts = noisy(wave(t_s, 48.5, thd=0.15) * dip(t_s, 0.15, 0.2, 1.8) * swings, 2)
    inside = [each for each in Pieces(volts, RATE_HZ, 48.5, [1500.0, 2000.0]).fitted if each.start >= 1500]
    assert inside[0].start < 1520 and inside[0].stop > 1975
    assert kind(volts) == "flicker+frequency_deviation+harmonics+swell"


def test_voltage_before_a_short_dip_is_a_piece() -> None:
    """It has the shape of the dip's wave of three cycles, at twice the size and with 20 samples a cycle."""
    at = np.arange(76)
    volts = np.sin(2 * np.pi * at / 20 + 0.4) * np.where(at < 16, 1.0, 0.5)
    first = Pieces(volts, 1000.0, 50.0, [16.0]).fitted[0]
    assert first.start == 0 and first.amplitude == pytest.approx(1.0, abs=0.01)


def test_a_short_pieces_edge_follows_the_record() -> None:
    """The edge of a piece too short for a wave is found by that of the record."""
    t_s = times(1.0)
    volts = noisy(wave(t_s, thd=0.15) * dip(t_s, 0.03, 0.065, 1.9), 1)
    first = Pieces(volts, RATE_HZ, 50.0, [247.0, 650.0]).fitted[0]  # where Urms(1/2) passes its limit
    assert abs(first.stop - 300) < 20
    assert kind(volts) == "harmonics+swell"


@pytest.mark.parametrize("level", [0.3, 1.7])
def test_a_ringing_in_a_level_is_not_noise(level: float) -> None:
    t_s = times(1.0)
    within = dip(t_s, 0.15, 0.21, level)
    rings = 0.7 * PEAK_V * np.exp(-(t_s - 0.15) / 0.038) * np.sin(2 * np.pi * 600 * (t_s - 0.15))
    volts = noisy(wave(t_s, 51.0) * within + np.where(within != 1, rings, 0.0), 1)
    assert kind(volts) == f"frequency_deviation+oscillatory_transient+{'swell' if level > 1 else 'sag'}"


def test_a_fading_impulse_is_not_a_slow_swing() -> None:
    """A later peak of the noise makes the stretch longer than the impulse."""
    t_s = times(1.0)
    after_s = t_s - 0.6
    impulse = np.where(after_s >= 0, -0.5 * PEAK_V * np.exp(-np.maximum(after_s, 0) / 0.00035), 0.0)
    volts = noisy(wave(t_s) + impulse, 1)
    volts[round(0.612 * RATE_HZ)] += 45.0
    assert kind(volts) == "impulsive_transient"


def test_noise_of_a_residual_is_not_a_swing() -> None:
    t_s = times(1.4)
    for seed in range(4):
        volts = noisy(wave(t_s) * dip(t_s, 0.178, 0.3, 0.26), seed)
        assert Pieces(volts, RATE_HZ, 50.0, [1780.0, 3000.0]).swings == (None, None, None)


def test_a_high_harmonic_does_not_ring() -> None:
    t_s = times(1.2)
    distorted = wave(t_s, thd=0.1) + 0.04 * PEAK_V * np.sin(13 * (100 * np.pi * t_s + 0.4))
    assert kind(noisy(distorted * dip(t_s, 0.478, 0.536, 1.7), 1)) == "harmonics+swell"
