"""Sums with lines in two stages, and the steady wave made of them, against a table of all powers.

The plain way, a table and a least squares solver, is slow and beyond doubt: it stands here as the reference,
also for what is found in whole recordings.
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from opq_measure.analysis.analyser import analyze
from opq_measure.classification.class_limits import ClassLimits
from opq_measure.classification.classified_parts import ClassifiedPart
from opq_measure.classification.classifier import parts_in
from opq_measure.classification.measured_signal import MeasuredSignal
from opq_measure.line_sums import line_powers, line_sums, line_wave
from opq_measure.waveform import steady
from opq_sim.data_sets.folder import ALL_CLASSES
from opq_sim.data_sets.labelled import labelled_recording

Floats = NDArray[np.float64]
FIGURES_REL = 0.02
"""Allowed error of a figure: 20 to 30 dB leave more uncertain, and a fit may stop at a fifth of that."""
EDGE_SAMPLES = 5.0
"""An edge where a residual fades into the noise moves more easily than the figures."""


def plain_fit(part: Floats, step: float, orders: int) -> "steady._Fit":
    """`steady._fit` by a table of cosines and sines, its derivative, and a general solver."""
    offsets = np.arange(len(part)) - (len(part) - 1) / 2
    turns = np.exp(1j * step * offsets[:, None] * np.arange(orders + 1))
    basis = np.hstack((turns.real, turns.imag[:, 1:]))
    found = np.linalg.lstsq(basis, part, rcond=None)[0]
    cosines, sines = found[: orders + 1], np.concatenate(([0.0], found[orders + 1 :]))
    left = part - basis @ found
    order = np.arange(orders + 1)
    slope = offsets * (turns.real @ (order * sines) - turns.imag @ (order * cosines))
    seen = np.linalg.lstsq(basis, slope, rcond=None)[0]
    own = slope - basis @ seen
    drift = -np.stack((seen[: orders + 1], np.concatenate(([0.0], seen[orders + 1 :]))))
    gain = float(own @ own)
    return steady._Fit(
        np.stack((cosines, sines)), float(left @ left), float(own @ left) / gain if gain else 0.0, drift, gain
    )


@settings(max_examples=12, deadline=None)
@given(
    size=st.integers(60, 1500),
    orders=st.integers(1, 50),
    step=st.floats(0.005, 0.05),
    seed=st.integers(0, 1000),
)
def test_two_stage_sums_equal_the_table(size: int, orders: int, step: float, seed: int) -> None:
    part = np.random.default_rng(seed).normal(size=size)
    offsets = np.arange(size) - (size - 1) / 2
    table = np.exp(-1j * step * np.outer(np.arange(orders + 1), offsets))
    sums, moments = line_sums(part, step, orders)
    assert np.abs(sums - table @ part).max() < 1e-10 * size
    assert np.abs(moments - table @ (offsets * part)).max() < 1e-10 * size * size
    lines = np.array([1, 1j]) @ np.random.default_rng(seed + 1).normal(size=(2, orders + 1))
    wave = line_wave(lines, step, float(offsets[0]), size)
    assert np.abs(wave - (lines @ table.conj()).real).max() < 1e-10
    assert np.allclose(line_powers(offsets, -step, orders), table.T, rtol=0, atol=1e-10)


@settings(max_examples=12, deadline=None)
@given(
    cycles=st.floats(1.1, 8.0),
    hz=st.floats(45.0, 65.0),
    noise_v=st.sampled_from((0.0, 0.2, 5.0)),
    orders=st.sampled_from((3, 10, 50)),
    off_hz=st.floats(-0.05, 0.05),
    seed=st.integers(0, 1000),
)
def test_the_closed_fit_is_least_squares(
    cycles: float, hz: float, noise_v: float, orders: int, off_hz: float, seed: int
) -> None:
    chance = np.random.default_rng(seed)
    size = math.ceil(cycles * 12_000 / hz)
    orders = min(orders, (size // 2 - 1) // 2, int(10 * cycles))  # as short stretches are fitted
    turn = 2 * math.pi * hz / 12_000 * np.arange(size)
    part = 170 * np.sin(turn + 1.0) + 3 * np.sin(5 * turn) + 2.0 + chance.normal(0, noise_v, size)
    step = 2 * math.pi * (hz + off_hz) / 12_000
    found, plain = steady._fit(part, step, orders), plain_fit(part, step, orders)
    assert np.abs(found.sizes - plain.sizes).max() < 1e-6 * 170
    assert found.rest == pytest.approx(plain.rest, rel=1e-6, abs=1e-9 * size * 170**2)
    assert found.gain == pytest.approx(plain.gain, rel=1e-4)
    assert found.change == pytest.approx(plain.change, rel=1e-4, abs=1e-9 / size)
    assert np.abs(found.drift - plain.drift).max() < 1e-5 * np.abs(plain.drift).max()


def test_a_moved_fit_equals_a_new_one() -> None:
    turn = 2 * math.pi * 50 / 12_000 * np.arange(1440)
    part = 325 * np.sin(turn + 0.4) + 6 * np.sin(7 * turn) + np.random.default_rng(1).normal(0, 1, 1440)
    step = 2 * math.pi * 50.0005 / 12_000
    fit = steady._fit(part, step, 50)
    there = steady._fit(part, step + fit.change, 50)
    assert abs(there.change) < 0.01 * abs(fit.change)
    apart = np.abs(fit.moved().sizes - there.sizes).max()
    assert apart < 0.2 * np.abs(fit.change * fit.drift).max()  # of orders that are noise; 0.03 of sigma
    assert fit.moved().rest == pytest.approx(there.rest, rel=1e-4)


def same_parts_both_ways(
    monkeypatch: pytest.MonkeyPatch, classes: tuple[str, ...], per_class: int, seed: int
) -> int:
    """How many parts were found, with the fit of the core and with the plain one alike."""
    seen = 0
    for kind in classes:
        for hz in (50, 60):
            for index in range(1, per_class + 1):
                made = labelled_recording(kind, hz, index, seed, 30.0, 1)
                volts = made.counts[:120_000] * made.facts["volts_per_lsb"]
                found = parts_of(volts, made.facts["nominal_volts"], float(hz))
                with monkeypatch.context() as plain:
                    plain.setattr(steady, "_fit", plain_fit)
                    wanted = parts_of(volts, made.facts["nominal_volts"], float(hz))
                assert [each.kind for each in found] == [each.kind for each in wanted], (kind, hz, index)
                for one, other in zip(found, wanted, strict=True):
                    assert_alike(one, other)
                seen += len(found)
    return seen


def parts_of(volts: Floats, nominal_v: float, nominal_hz: float) -> tuple[ClassifiedPart, ...]:
    return parts_in(MeasuredSignal(volts, analyze(volts, 12_000.0, nominal_v, nominal_hz)), ClassLimits())


def assert_alike(one: ClassifiedPart, other: ClassifiedPart) -> None:
    assert one.found.start_sample == pytest.approx(other.found.start_sample, abs=EDGE_SAMPLES)
    assert one.found.end_sample == pytest.approx(other.found.end_sample, abs=EDGE_SAMPLES)
    assert one.confidence == pytest.approx(other.confidence, abs=0.01)
    ours, theirs = getattr(one.found, "figures", {}), getattr(other.found, "figures", {})
    assert set(ours) == set(theirs)
    for name in set(ours) - {"energy_v2s", "rise_s", "point_on_wave_degrees"}:
        assert ours[name] == pytest.approx(theirs[name], rel=FIGURES_REL, abs=1e-6, nan_ok=True), name


def test_ringing_and_jumps_match_the_plain_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert same_parts_both_ways(monkeypatch, ("oscillatory_transient", "phase_jump"), 1, 5) >= 4


@pytest.mark.slow
def test_all_classes_match_the_plain_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some hundred recordings, most of them of what is sudden: only that is fitted."""
    sudden = tuple(
        kind for kind in ALL_CLASSES if any(word in kind for word in ("transient", "jump", "sag", "swell"))
    )
    assert sudden
    assert same_parts_both_ways(monkeypatch, sudden, 20, 6) >= 20 * 2 * len(sudden)
    assert same_parts_both_ways(monkeypatch, ALL_CLASSES, 2, 7) > 0
