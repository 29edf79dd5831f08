"""The stated doubt of a beginning holds for the error that its detection really has."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from opq_measure.classification.classifier import classify
from opq_measure.waveform.hidden_onset import hidden_onset_s

RATE_HZ, PEAK_V = 12_000.0, 230 * math.sqrt(2)
T_S = np.arange(round(1.0 * RATE_HZ)) / RATE_HZ
Floats = NDArray[np.float64]


def mains(kind: str, size: float, begin_s: float, phase: float, decibels: float, seed: int) -> Floats:
    since = np.maximum(T_S - begin_s, 0.0)
    turned = np.radians(size) * (since > 0) if kind == "phase_jump" else 0.0
    volts = PEAK_V * np.sin(2 * np.pi * 50 * T_S + phase + turned)
    if kind == "sag":
        volts = volts * np.where((since > 0) & (since < 0.2), 1 - size, 1.0)
    if kind == "oscillatory_transient":
        volts = volts + size * PEAK_V * np.sin(2 * np.pi * 900 * since) * np.exp(-since / 5e-3)
    noise = np.random.default_rng(seed).normal(0, 230 * 10 ** (-decibels / 20), len(volts))
    return np.asarray(volts + noise)


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        ("sag", 0.15),
        pytest.param("sag", 0.5, marks=pytest.mark.slow),
        ("phase_jump", 10.0),
        ("oscillatory_transient", 0.4),
    ],
)
@pytest.mark.parametrize(
    "decibels", [30.0, pytest.param(40.0, marks=pytest.mark.slow), pytest.param(60.0, marks=pytest.mark.slow)]
)
def test_nine_of_ten_beginnings_lie_within_their_doubt(kind: str, size: float, decibels: float) -> None:
    chance = np.random.default_rng(7)
    held, count = 0, 20
    for seed in range(count):
        begin_s, phase = 0.4 + chance.uniform(0, 0.02), chance.uniform(0, 2 * math.pi)
        volts = mains(kind, size, begin_s, phase, decibels, seed)
        part = next(each for each in classify(volts, RATE_HZ, 230.0, 50.0).parts if kind in each.kind)
        within_s = hidden_onset_s(volts, RATE_HZ, 50.0, part.found.start_sample)
        assert within_s is not None
        held += abs(part.found.start_sample / RATE_HZ - begin_s) <= within_s
    assert held >= 0.9 * count


def test_doubt_grows_from_a_sample_with_noise() -> None:
    """Up to a quarter of a cycle."""
    doubts_s = [
        hidden_onset_s(mains("sag", 0.3, 0.4, 0.3, decibels, 1), RATE_HZ, 50.0, 0.4 * RATE_HZ)
        for decibels in (140.0, 60.0, 40.0, 30.0, 0.0)
    ]
    assert None not in doubts_s
    assert doubts_s == sorted(doubts_s, key=float)  # type: ignore[arg-type]
    assert doubts_s[0] == pytest.approx(1 / RATE_HZ, rel=0.01)
    assert 0.004 < doubts_s[-1] <= 1 / RATE_HZ + 0.005


def test_too_little_signal_beside_it_shows_no_doubt() -> None:
    volts = mains("sag", 0.3, 0.4, 0.3, 60.0, 1)
    assert hidden_onset_s(volts, RATE_HZ, 50.0, 4 * 240.0) is None
    assert hidden_onset_s(volts, RATE_HZ, 50.0, len(volts) - 100.0) is None
    assert hidden_onset_s(volts, RATE_HZ, 50.0, 4.6 * 240.0) is not None
    assert hidden_onset_s(np.zeros(12_000), RATE_HZ, 50.0, 4_800.0) == pytest.approx(1 / RATE_HZ, abs=0.005)
