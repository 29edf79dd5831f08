"""Faint disturbances are found nearly as well as matched filters find them; weak evidence counts alone."""

import math
from dataclasses import replace

import numpy as np
import pytest

from opq_measure.analysis.occurrence import Occurrence
from opq_measure.classification.by_chance import likely, posterior
from opq_measure.classification.candidates.edge_transients import edge_transient
from opq_measure.classification.candidates.faint_transients import faint_transient
from opq_measure.classification.envelope_flicker import envelope_flicker
from opq_measure.signal import FloatArray

RATE_HZ, PEAK_V, NOISE_V = 12_000.0, 120 * math.sqrt(2), 12.0


def at_s(seconds: float) -> FloatArray:
    return np.arange(round(seconds * RATE_HZ)) / RATE_HZ


def dip(begin_s: float, stop_s: float, left: float, seed: int) -> FloatArray:
    """A second of mains at 20 dB with a dip."""
    inside = (at_s(1.0) >= begin_s) & (at_s(1.0) < stop_s)
    noise = np.random.default_rng(seed).normal(0, NOISE_V, len(inside))
    return PEAK_V * np.sin(2 * np.pi * 60 * at_s(1.0) + 0.7) * np.where(inside, left, 1.0) + noise


def occurrence(kind: str, sigmas: float = math.nan, by_chance: float | None = None) -> Occurrence:
    figures = {} if by_chance is None else {"sigmas": sigmas, "by_chance": by_chance}
    return Occurrence(kind, 0.0, 12_000.0, RATE_HZ, 60.0, 1.0, "", figures, True, True)


def test_five_sigma_flicker_is_mostly_found() -> None:
    rng = np.random.default_rng(7)
    usable, turn = np.ones(200, dtype=np.bool_), 2 * np.pi * 8.8 * np.arange(200) / 100
    found = 0
    for _ in range(60):
        white = rng.normal(0, 23 / math.sqrt(120), 201)
        swing = 1 + 0.0046 * np.sin(turn + rng.uniform(0, 6.28))  # 5 sigma in two seconds
        volts = 230 * swing + (white[1:] + white[:-1]) / 2
        found += envelope_flicker(volts, usable, 230.0, 50.0, 23.0, least_pst=1.15).pst > 1.15
    assert found >= 46, "35 if the spectrum of the noise is taken for flat"


@pytest.mark.parametrize("decay_s", [0.0015, 0.005])
@pytest.mark.parametrize("hz", [857.0, 905.0, 2310.0])
@pytest.mark.parametrize("begin", [12_000, 12_004])
def test_a_ringing_stands_out_with_its_energy(decay_s: float, hz: float, begin: int) -> None:
    after = (np.arange(24_000) - begin) / RATE_HZ
    ring = np.where(after >= 0, np.exp(-np.maximum(after, 0) / decay_s) * np.cos(2 * np.pi * hz * after), 0.0)
    ring *= 8 / np.linalg.norm(ring)
    found = faint_transient(ring, np.ones(24_000, np.bool_), RATE_HZ, 1.0)
    assert found is not None and found.frequency_hz == pytest.approx(hz, abs=40)
    assert 0.92 * 8 < found.sigmas <= 8.01


def test_impulses_at_edges_are_seldom_chance() -> None:
    after = at_s(1.0) - 0.5004
    impulse = np.where(after >= 0, -0.22 * PEAK_V * np.exp(-np.maximum(after, 0.0) / 2e-4), 0.0)
    place = (0.5004 * RATE_HZ, 0.7 * RATE_HZ, False)
    volts = [dip(0.5004, 0.7, 0.6, seed) for seed in range(80)]
    assert sum(edge_transient(each, RATE_HZ, 60.0, *place) is not None for each in volts) <= 2
    found = [edge_transient(each + impulse, RATE_HZ, 60.0, *place) for each in volts]
    assert sum(each is not None and math.isnan(each.frequency_hz) for each in found) >= 52


@pytest.mark.parametrize("stop_s", [0.511, 0.514])
def test_a_transient_at_a_short_dip_is_found(stop_s: float) -> None:
    after = np.maximum(at_s(1.0) - 0.5, 0.0)
    ringing = 0.3 * PEAK_V * np.exp(-after / 0.003) * np.sin(2 * np.pi * 1300 * after)
    place = (0.5 * RATE_HZ - 50, stop_s * RATE_HZ + 60, False)  # where the rms of a cycle is below its limit
    for seed in range(6):
        volts = dip(0.5, stop_s, 0.4, seed)
        assert edge_transient(volts, RATE_HZ, 60.0, *place) is None
        found = edge_transient(volts + ringing, RATE_HZ, 60.0, *place)
        assert found is not None and found.frequency_hz == pytest.approx(1300, abs=100)


@pytest.mark.parametrize("stop_s", [0.514, 0.53])
@pytest.mark.parametrize(("turned", "left"), [(0.0, 0.4), (0.44, 0.4), (0.0, 1.0)])
def test_a_short_dip_with_harmonics_does_not_ring(turned: float, left: float, stop_s: float) -> None:
    """`left` of the harmonics: a far fault takes them with it, loads nearby keep them."""
    inside = (at_s(1.0) >= 0.5) & (at_s(1.0) < stop_s)
    turn = 2 * np.pi * 60 * at_s(1.0) + 0.7 + turned * inside
    harmonics = (0.12 * np.sin(5 * turn + 1) + 0.1 * np.sin(7 * turn + 2)) * np.where(inside, left, 1.0)
    noise = np.random.default_rng(1).normal(0, 1.2, len(turn))
    volts = PEAK_V * (np.sin(turn) * np.where(inside, 0.4, 1.0) + harmonics) + noise
    assert edge_transient(volts, RATE_HZ, 60.0, 5_990, stop_s * RATE_HZ + 10, False) is None


def test_weak_evidence_counts_without_another_explanation() -> None:
    weak, sure = occurrence("flicker", 4.2, 0.004), occurrence("impulsive_transient", 7.0, 1e-9)
    noise, harmonics = occurrence("noise"), occurrence("harmonics")
    step = replace(occurrence("rapid_voltage_change"), open_at_start=False)
    assert likely([weak], 0.1) == [weak] and likely([noise, weak], 0.1) == [noise, weak]
    offset = occurrence("dc_offset")
    assert likely([offset, weak], 0.1) == [offset] and likely([weak, sure], 0.1) == [sure]
    assert likely([harmonics, weak], 0.1) == [harmonics, weak], "an arc furnace has both"
    assert likely([weak], 0.04) == [], "26 dB and better hide little"
    assert likely([step, sure], 0.01) == [step, sure]
    weaker, likelier = occurrence("flicker", 4.0, 0.02), occurrence("oscillatory_transient", 5.6, 0.0008)
    assert likely([weaker], 0.1) == []
    assert likely([harmonics, likelier], 0.1) == [harmonics, likelier] and likely([step, likelier], 0.1) == [
        step
    ]
    assert likely([weak, likelier], 0.1) == [likelier], "two at once would be a coincidence"


def test_sizes_and_noises_balance_at_sigma() -> None:
    """As many sizes as noises lie at the sigma where both are equally probable."""
    assert posterior(4.0, 1 / (3 * 16 * math.log(10)), 1 / 3) == pytest.approx(0.5)
    assert (
        0.5 < posterior(5.5, 0.001, 1 / 3) < posterior(5.5, 0.0001, 1 / 3) < posterior(5.5, 0.0, 0.01) == 1.0
    )
    assert posterior(0.0, 0.6, 1 / 16) < 0.1
