"""Two disturbances at once in noise of 30 dB: a record has both classes and no third.

Notches, swings and levels are those of the integral model (Igual, Medrano, Arcega and Mantescu, ICHQP 2018);
an impulse falls to half in 50 us (IEC 60060-1: 1.2/50). `without_notches` measures what is beside notches.
"""

import math

import numpy as np
import pytest
from class_tables import PAIR_SEEDS, pair_answers, whole
from numpy.typing import NDArray
from pair_signals import NOISE_DB, pair_signal

from opq_measure.classification.classified_parts import Classification
from opq_measure.classification.classifier import classify

Floats = NDArray[np.float64]
NOMINAL_V = 230.0
NOISE_PU = 10 ** (-NOISE_DB / 20)
LEAST_WHOLE = 0.95
"""Least share of the pairs of a seed whose answer has both classes and no third."""


def record(rate_hz: float, level: float, cycles: tuple[float, float], swing: float = 0.0) -> Floats:
    """20 cycles of 50 Hz in per unit; within `cycles` at another level; `swing` of 16 Hz."""
    at = np.arange(round(0.4 * rate_hz)) / rate_hz
    size = np.where((at * 50 >= cycles[0]) & (at * 50 < cycles[1]), level, 1.0)
    return np.sin(2 * np.pi * 50 * at + 0.7) * size * (1 + swing * np.sin(2 * np.pi * 16 * at))


def notched(wave: Floats, rate_hz: float, per_cycle: int, depth: float = 0.3, width: float = 0.04) -> Floats:
    """With notches of this share of a cycle, and of the voltage; none lies at a zero crossing."""
    turns = np.arange(len(wave)) * 50 / rate_hz + 0.7 / (2 * np.pi)
    inside = np.mod(turns - 0.06, 1 / per_cycle) < width
    size = np.abs(wave) / np.maximum(np.abs(np.sin(2 * np.pi * turns)), 1e-9)
    return wave - depth * size * np.sign(wave) * inside


def notched_from(cycle: float, wave: Floats, rate_hz: float) -> Floats:
    return np.where(np.arange(len(wave)) * 50 / rate_hz < cycle, wave, notched(wave, rate_hz, 6))


def classified(wave: Floats, rate_hz: float, seed: int = 1, noise_pu: float = NOISE_PU) -> Classification:
    noise = noise_pu * np.random.default_rng(seed).standard_normal(len(wave))
    return classify(NOMINAL_V * (math.sqrt(2) * wave + noise), rate_hz, NOMINAL_V, 50.0)


def kind_of(wave: Floats, rate_hz: float, seed: int = 1) -> str:
    return classified(wave, rate_hz, seed).kind


@pytest.mark.parametrize(("level", "kind"), [(0.5, "sag"), (1.4, "swell")])
@pytest.mark.parametrize("rate_hz", [6400.0, 25_600.0])
def test_notches_beside_a_level_are_notches(level: float, kind: str, rate_hz: float) -> None:
    wave = notched(record(rate_hz, level, (5.3, 14.2)), rate_hz, 6)
    assert kind_of(wave, rate_hz) == "+".join(sorted((kind, "periodic_notching")))


def test_notches_beside_an_interruption_are_notches() -> None:
    wave = notched(record(10_000.0, 0.02, (5.3, 14.2)), 10_000.0, 2)
    assert kind_of(wave, 10_000.0) == "interruption+periodic_notching"


def test_flicker_beside_notches_is_seen() -> None:
    wave = notched(record(10_000.0, 1.0, (0, 0), 0.06), 10_000.0, 4)
    assert kind_of(wave, 10_000.0) == "flicker+periodic_notching"


def test_flicker_beside_notches_at_3200_hz_is_seen() -> None:
    """The fit of the wave leaves a third place, which most cycles do not have."""
    wave = notched(record(3200.0, 1.0, (0, 0), 0.1), 3200.0, 2)
    assert kind_of(wave, 3200.0) == "flicker+periodic_notching"


@pytest.mark.parametrize(
    ("pair", "rate_hz", "cycles", "index"),
    [
        (("harmonics", "notch"), 3200.0, 10, 0),  # the fit of the wave beside harmonics shows no notch
        (("harmonics", "notch"), 6400.0, 10, 1),
        (("notch", "ringing"), 3200.0, 10, 0),  # it shows a place too many
        (("sag", "notch"), 6400.0, 10, 0),
        (("sag", "notch"), 12_800.0, 20, 1),
        (("interruption", "notch"), 3200.0, 20, 1),
    ],
)
def test_notches_of_few_or_alike_cycles_are_seen(
    pair: tuple[str, str], rate_hz: float, cycles: int, index: int
) -> None:
    signal = pair_signal(pair, rate_hz, cycles, index, 1)
    found = classify(signal.volts, rate_hz, signal.nominal_v, signal.nominal_hz)
    assert signal.apart is None and found.kind == signal.label


@pytest.mark.slow
@pytest.mark.parametrize("seed", PAIR_SEEDS)
def test_most_pairs_have_both_classes(seed: int) -> None:
    answers = pair_answers(seed)
    print(whole(answers))
    assert sum(each.truth == each.found for each in answers) >= LEAST_WHOLE * len(answers)


def test_impulse_beside_notches_is_seen() -> None:
    wave = notched(record(10_000.0, 1.0, (0, 0)), 10_000.0, 2)
    wave[2047:2051] += 0.6 * np.exp(-np.arange(4) / 10_000.0 / 72e-6)
    assert kind_of(wave, 10_000.0) == "impulsive_transient+periodic_notching"


@pytest.mark.parametrize("seed", [1, 3])
def test_short_impulse_in_a_level_stays_short(seed: int) -> None:
    """Beside it a single sample of noise beyond three sigma made it as long as a dip, and it was dropped."""
    wave = record(25_600.0, 0.55, (0.2, 11.8))
    wave[5776:5790] += 0.6 * np.exp(-np.arange(14) / 25_600.0 / 72e-6)
    assert kind_of(wave, 25_600.0, seed) == "impulsive_transient+sag"


def test_voltage_shorter_than_a_cycle_does_not_ring() -> None:
    """Scaled from what an interruption leaves, noise was its wave."""
    wave = record(10_000.0, 0.02, (0.8, 19.6))
    assert kind_of(wave, 10_000.0) == "interruption"
    wave[2592:2596] += 0.4 * np.exp(-np.arange(4) / 10_000.0 / 72e-6)
    assert kind_of(wave, 10_000.0) == "impulsive_transient+interruption"


def test_one_ringing_is_no_notch_of_every_cycle() -> None:
    wave = record(3200.0, 1.0, (0, 0))
    after = np.arange(110) / 3200.0
    wave[1100:1210] += 0.17 * np.exp(-after / 0.02) * np.sin(2 * np.pi * 855 * after)
    assert "periodic_notching" not in kind_of(wave, 3200.0)


def ringing(rate_hz: float) -> Floats:
    """20 cycles with a ringing of 40 % and 700 Hz from 3.2 cycles on."""
    wave = record(rate_hz, 1.0, (0, 0))
    first = round(3.2 * rate_hz / 50)
    after = np.arange(len(wave) - first) / rate_hz
    wave[first:] += 0.4 * np.exp(-after / 0.012) * np.sin(2 * np.pi * 700 * after)
    return wave


@pytest.mark.parametrize("cycle", [2.7, 3.7, 5.2])
def test_impulse_before_or_within_ringing_is_seen(cycle: float) -> None:
    """Both are one stretch above the noise, which had one name."""
    wave, first = ringing(12_800.0), round(cycle * 256)
    wave[first : first + 4] += 0.7 * np.exp(-np.arange(4) / 12_800.0 / 72e-6)
    assert kind_of(wave, 12_800.0) == "impulsive_transient+oscillatory_transient"


def test_ringing_that_breaks_off_has_no_impulse() -> None:
    wave, stop = ringing(12_800.0), round(4.2 * 256)
    wave[stop:] = record(12_800.0, 1.0, (0, 0))[stop:]
    assert kind_of(wave, 12_800.0) == "oscillatory_transient"


@pytest.mark.parametrize(("level", "kind"), [(0.35, "sag"), (0.02, "interruption")])
def test_six_notches_at_3200_hz_are_notches(level: float, kind: str) -> None:
    """Their 15 samples and the edges beside them fill half of a cycle, and the harmonics fitted all of it."""
    wave = notched(record(3200.0, level, (4.3, 16.2)), 3200.0, 6)
    assert kind_of(wave, 3200.0) == "+".join(sorted((kind, "periodic_notching")))


def test_notches_of_one_sample_beside_ringing_are_seen() -> None:
    """The noise of a single cycle hides half of such a notch now and then, that of most cycles does not."""
    bare = record(3200.0, 1.0, (0, 0))
    wave = ringing(3200.0) - bare + notched(bare, 3200.0, 4, 0.25, 0.02)
    assert kind_of(wave, 3200.0) == "oscillatory_transient+periodic_notching"


@pytest.mark.parametrize(
    ("level", "shares", "kind"),
    [
        (1.0, {17: 0.03, 19: 0.02}, "none"),
        (1.0, {23: 0.03, 25: 0.03}, "none"),
        (0.5, {17: 0.03, 19: 0.02}, "sag"),
    ],
)
def test_high_harmonics_are_no_notches(level: float, shares: dict[int, float], kind: str) -> None:
    """Six pulses a cycle explain both of them, but not that there is no 11th and no 13th."""
    wave = record(10_000.0, level, (5.3, 14.2))
    turns = np.arange(len(wave)) * 50 / 10_000.0
    size = np.where((turns >= 5.3) & (turns < 14.2), level, 1.0)
    for order, share in shares.items():
        wave += size * share * np.sin(2 * np.pi * order * turns + 0.7 * order)
    assert kind_of(wave, 10_000.0) == kind


def in_phase(rate_hz: float, share: float, cycles: int, angle: float) -> Floats:
    """The 5th to 25th harmonic of a converter, all of one size and at one angle: pulses without edges."""
    turned = 2 * np.pi * 50 * np.arange(round(cycles * rate_hz / 50)) / rate_hz
    orders = (5, 7, 11, 13, 17, 19, 23, 25)
    return np.asarray(np.sin(turned) + share * sum(np.sin(order * turned + angle) for order in orders))


@pytest.mark.parametrize(("share", "kind"), [(0.02, "none"), (0.04, "harmonics")])
@pytest.mark.parametrize("rate_hz", [6400.0, 12_800.0])
@pytest.mark.parametrize("cycles", [10, 50])
def test_harmonics_in_phase_are_no_notches(share: float, kind: str, rate_hz: float, cycles: int) -> None:
    wave = in_phase(rate_hz, share, cycles, math.pi / 2)
    assert classified(wave, rate_hz, noise_pu=0.01).kind == kind


def notches_per_cycle(wave: Floats, rate_hz: float) -> float:
    """Of a record that has nothing but notches."""
    found = classified(wave, rate_hz)
    assert found.kind == "periodic_notching"
    return dict(found.parts[0].found.figures)["notches_per_cycle"]


@pytest.mark.parametrize("firing_degrees", [20.0, 75.0])
def test_bridge_from_phase_to_neutral_has_four_notches(firing_degrees: float) -> None:
    """At 60, 120, 60 and 120 degrees: two of the six commutations are between the other phases."""
    wave = record(10_000.0, 1.0, (0, 0))
    degrees = np.degrees(2 * np.pi * np.arange(len(wave)) * 50 / 10_000.0 + 0.7)
    for start, lag in ((30, 240), (150, 120), (210, 120), (330, 240)):
        other = np.sin(np.radians(degrees - lag))
        is_inside = np.mod(degrees - start - firing_degrees, 360) < 10.0
        wave = np.where(is_inside, wave + 0.3 * (other - wave), wave)
    assert notches_per_cycle(wave, 10_000.0) == 4


def test_twelve_notches_are_notches_alone() -> None:
    turns = np.arange(4000) * 50 / 10_000.0 + 0.7 / (2 * np.pi)
    wave = record(10_000.0, 1.0, (0, 0)) * np.where(np.mod(turns - 0.03, 1 / 12) < 0.015, 0.7, 1.0)
    assert notches_per_cycle(wave, 10_000.0) == 12


def test_notches_at_unequal_distances_are_notches_alone() -> None:
    turns = np.mod(np.arange(4000) * 50 / 10_000.0 + 0.7 / (2 * np.pi), 1.0)
    is_inside = (np.abs(turns - 0.2) < 0.02) | (np.abs(turns - 0.3) < 0.02)
    assert notches_per_cycle(record(10_000.0, 1.0, (0, 0)) * np.where(is_inside, 0.7, 1.0), 10_000.0) == 2


def test_two_notches_at_32_samples_are_notches() -> None:
    assert notches_per_cycle(notched(record(1600.0, 1.0, (0, 0)), 1600.0, 2), 1600.0) == 2


def test_impulse_in_a_notch_is_seen() -> None:
    wave = notched(record(10_000.0, 1.0, (0, 0)), 10_000.0, 2)
    wave[1407:1409] += 0.8
    assert kind_of(wave, 10_000.0) == "impulsive_transient+periodic_notching"


def test_notches_from_the_middle_on_are_seen() -> None:
    """In the median cycle of a record that has them for half of its time there is none."""
    wave = notched_from(10.0, record(6400.0, 1.0, (0, 0)), 6400.0)
    found = classified(wave, 6400.0, noise_pu=0.01)
    assert found.kind == "periodic_notching"
    assert found.parts[0].found.start_sample == pytest.approx(10.115 * 128, abs=3)


@pytest.mark.parametrize(("cycle", "first"), [(0.0, 0.0), (4.0, 4.115 * 128)])
def test_notches_beside_dip_do_not_begin_with_it(cycle: float, first: float) -> None:
    wave = notched_from(cycle, record(6400.0, 0.4, (10.3, 19.0)), 6400.0)
    notching = next(each for each in classified(wave, 6400.0).parts if each.kind == "periodic_notching")
    assert notching.found.start_sample == pytest.approx(first, abs=3)
    assert notching.found.open_at_start == (first == 0.0)


def test_record_shorter_than_a_wave_is_unknown() -> None:
    """No piece of it has a wave, and so no cycle can have notches."""
    assert kind_of(record(6400.0, 1.0, (0, 0))[:115], 6400.0) == "unknown"
