"""The class of a signal: one of each kind, several at once, nothing, and what cannot be said."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from opq_measure.analysis.analyser import analyze
from opq_measure.classification.class_limits import ClassLimits
from opq_measure.classification.classifier import classify
from opq_measure.classification.envelope_flicker import envelope_pst
from opq_measure.classification.faint_transients import faint_transient
from opq_measure.classification.measured_signal import MeasuredSignal

RATE_HZ, PEAK_V = 12_000.0, 120 * math.sqrt(2)
Floats = NDArray[np.float64]


def at_s(seconds: float) -> Floats:
    return np.arange(round(seconds * RATE_HZ)) / RATE_HZ


def mains(seconds: float, hz: float = 60.0, noise_db: float = 40.0, seed: int = 1) -> Floats:
    noise = np.random.default_rng(seed).normal(0, 120 * 10 ** (-noise_db / 20), round(seconds * RATE_HZ))
    return PEAK_V * np.sin(2 * np.pi * hz * at_s(seconds) + 0.7) + noise


def during(seconds: float, start_s: float, stop_s: float) -> NDArray[np.bool_]:
    return (at_s(seconds) >= start_s) & (at_s(seconds) < stop_s)


def test_a_sag_has_its_reasons_as_data_and_as_a_sentence() -> None:
    found = classify(mains(1.0) * np.where(during(1.0, 0.4, 0.55), 0.713, 1.0), RATE_HZ)
    (part,) = found.parts
    assert (found.kind, part.kind) == ("sag", "sag")
    assert part.found.start_s == pytest.approx(0.4, abs=0.01)
    reasons = {each.name: each for each in part.reasons}
    assert reasons["residual_percent"].value == pytest.approx(71.3, abs=0.3)
    assert (reasons["residual_percent"].limit, reasons["residual_percent"].unit) == (90.0, "%")
    assert part.because.startswith("residual 71.") and " cycles" in part.because
    assert 0.9 < part.confidence <= 1.0 and 0 < part.severity < 7


def test_classes_at_once_are_joined_in_alphabetical_order() -> None:
    volts = mains(1.0) + 0.12 * PEAK_V * np.sin(2 * np.pi * 300 * at_s(1.0))
    found = classify(volts * np.where(during(1.0, 0.4, 0.6), 0.5, 1.0), RATE_HZ)
    assert found.kind == "harmonics+sag"
    assert found.severity == max(part.severity for part in found.parts)
    assert found.confidence <= min(part.confidence for part in found.parts)


def test_nothing_and_what_cannot_be_said_are_answers() -> None:
    nothing = classify(mains(1.0), RATE_HZ)
    assert (nothing.kind, nothing.parts, nothing.severity) == ("none", (), 0.0)
    assert {"lowest_percent", "noise_percent"} <= {each.name for each in nothing.reasons}
    short = classify(mains(0.02), RATE_HZ)
    assert (short.kind, short.severity) == ("unknown", None) and "two cycles" in short.because


def test_a_frequency_off_nominal_throughout_is_a_deviation() -> None:
    (part,) = classify(mains(0.8, 57.0), RATE_HZ).parts
    assert (part.kind, part.found.start_s, part.found.open) == ("frequency_deviation", 0.0, True)


def test_flicker_of_a_second_and_a_half_is_seen_in_the_envelope() -> None:
    swing = 1 + 0.5 * 3 * 0.321 / 100 * np.sin(2 * np.pi * 8.8 * at_s(1.5))  # Pinst 9
    analysis = analyze(mains(1.5, noise_db=50.0) * swing, RATE_HZ)
    clear = MeasuredSignal(np.empty(0), analysis).clear_of(analysis.half_starts)
    pst, hz = envelope_pst(analysis.half_rms_v, clear, 120.0, 60.0)
    assert pst == pytest.approx(3 * 0.714, rel=0.05) and hz == pytest.approx(8.8, abs=0.7)
    assert classify(mains(1.5) * swing, RATE_HZ).kind == "flicker"


def test_notches_are_seen_in_the_mean_cycle_and_are_no_harmonics() -> None:
    phase = 60 * at_s(1.0) + 0.7 / (2 * np.pi)
    inside = np.zeros(len(phase), bool)
    for middle in np.arange(6) / 6 + 0.08:
        inside |= np.abs((phase - middle + 0.5) % 1 - 0.5) < 0.014
    found = classify(mains(1.0, noise_db=22.0) * np.where(inside, 0.7, 1.0), RATE_HZ)
    kinds = set(found.kind.split("+")) - {"noise"}
    assert kinds == {"periodic_notching"}


def test_ringing_that_no_sample_shows_is_found_by_its_energy_and_noise_is_not() -> None:
    noise = np.random.default_rng(3).normal(0, 1.0, 24_000)
    after = np.maximum(0.0, at_s(2.0) - 1.0)
    ring = np.where(after > 0, 2.8 * np.exp(-after / 0.003) * np.sin(2 * np.pi * 900 * after), 0.0)
    everywhere = np.ones(24_000, bool)
    assert faint_transient(noise, everywhere, RATE_HZ) is None
    found = faint_transient(noise + ring, everywhere, RATE_HZ)
    assert found is not None and found.frequency_hz == pytest.approx(900, abs=60)
    assert found.start == pytest.approx(12_000, abs=40)
    calm = during(2.0, 0.0, 0.9)
    assert faint_transient(noise + ring, calm, RATE_HZ) is None


def test_a_change_without_a_steady_second_after_it_counts_where_it_is_asked_for() -> None:
    volts = mains(1.2) * np.where(at_s(1.2) < 0.7, 1.0, 0.93)
    found = classify(volts, RATE_HZ)
    assert found.kind == "rapid_voltage_change" and found.parts[0].found.open
    assert classify(volts, RATE_HZ, limits=ClassLimits(short_changes=False)).kind == "none"  # nor flicker


def test_a_part_is_one_json_object() -> None:
    entry = classify(mains(1.0) + 4.0, RATE_HZ).entry("f")
    assert entry["class"] == "dc_offset" and entry["file"] == "f"
    (part,) = entry["parts"] if isinstance(entry["parts"], list) else ()
    assert part["end_s"] is None and part["reasons"][0] == {
        "name": "dc_percent", "value": pytest.approx(100 * 4 / 120, rel=0.02), "unit": "%", "limit": 1.5,
    }  # fmt: skip
