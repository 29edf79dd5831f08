"""How the Box's features behave where the mains do not: interruptions, gaps, clipping, steps, odd blocks."""

import ctypes
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dsp_on_pc import SOURCES, Dsp, features
from host_library import CMODULES, library

RATE_HZ = 12_000


def sine(samples: int, hz: float = 60.0, rms_v: float = 120.0, phase: float = 0.3, first: int = 0) -> Any:
    k = np.arange(first, first + samples)
    return rms_v * np.sqrt(2) / 0.01 * np.sin(2 * np.pi * hz * k / RATE_HZ + phase)


def counts(volts: Any) -> Any:
    return np.rint(volts).clip(-32768, 32767).astype(np.int16)


def test_first_results_come_within_twenty_cycles() -> None:
    """The first half cycle is reported within eight cycles and the first window within twenty."""
    found = features(counts(sine(4000)))
    assert found.half_cycles[0].sample < 8 * 200
    assert found.windows[0].first_sample < 8 * 200
    assert found.windows[0].rms_v == pytest.approx(120.0, rel=1e-5)


@pytest.mark.parametrize("hz", [51.0, 55.0, 65.0, 69.0])
def test_far_from_nominal_results_are_right(hz: float) -> None:
    found = features(counts(sine(6000, hz)))
    assert found.windows[0].f_hz == pytest.approx(hz, abs=2e-4)
    assert found.half_rms_v() == pytest.approx(120.0, rel=1e-4)
    assert np.diff(found.half_edges()) == pytest.approx(RATE_HZ / hz / 2, abs=0.02)


def test_windows_follow_each_other_without_a_hole() -> None:
    found = features(counts(sine(36_000, 59.37)))
    first, samples = found.column("first_sample"), found.column("samples")
    assert len(first) >= 12
    assert np.array_equal(first[1:], (first + samples)[:-1])


@pytest.mark.parametrize("block", [1, 3, 40, 111, 1000])
def test_block_size_changes_no_result(block: int) -> None:
    volts = sine(14_000, 59.9)
    volts[6000:7000] *= 0.7
    usual, other = features(counts(volts)), features(counts(volts), block=block)
    for name in ("first_sample", "samples", "rms_v", "f_hz", "thd"):
        assert other.column(name) == pytest.approx(usual.column(name), rel=1e-4, abs=1e-4), name
    assert len(usual.crossings) == 2
    assert [(c.kind, c.entering, c.sample) for c in other.crossings] == [
        (c.kind, c.entering, c.sample) for c in usual.crossings
    ]


def test_cycles_continue_through_an_interruption() -> None:
    """Through an interruption cycles go on evenly and frequency and thd are unknown."""
    volts = sine(48_000)
    volts[12_000:36_000] = 0.0
    found = features(counts(volts))
    begins = found.half_edges()
    assert np.diff(begins).min() > 50
    assert np.diff(begins).max() < 151
    inside = [w for w in found.windows if w.first_sample > 12_400 and w.first_sample + w.samples < 35_600]
    assert len(inside) >= 8
    assert all(np.isnan(w.f_hz) and np.isnan(w.thd) and w.rms_v == 0.0 for w in inside)
    after = [w for w in found.windows if w.first_sample > 37_000]
    assert after
    assert all(w.f_hz == pytest.approx(60.0, abs=1e-3) for w in after)
    kinds = [(c.kind, c.entering) for c in found.crossings]
    assert kinds == [(1, True), (3, True), (3, False), (1, False)]


def test_returning_mains_are_found_quickly() -> None:
    """Mains that come back at another phase and frequency are found again within six cycles."""
    volts = np.concatenate((sine(8000), np.zeros(3000), sine(12_000, 60.4, phase=2.5)))
    found = features(counts(volts))
    begins, rms_v = found.half_edges(), found.half_rms_v()
    late = (begins > 11_000 + 6 * 200) & (begins < 22_000)
    assert rms_v[late] == pytest.approx(120.0, rel=1e-3)
    assert found.windows[-1].f_hz == pytest.approx(60.4, abs=1e-3)


def test_a_gap_restarts_the_features() -> None:
    dsp = Dsp()
    dsp.push(counts(sine(7000)))
    found = dsp.push(counts(sine(8000, first=7777)), first=7777)
    for window in found.windows:
        first, end = window.first_sample, window.first_sample + window.samples
        assert end <= 7000 or first >= 7777
        assert window.rms_v == pytest.approx(120.0, rel=1e-5)
        assert window.f_hz == pytest.approx(60.0, abs=1e-4)
    assert any(window.first_sample >= 7777 for window in found.windows)
    assert found.crossings == []


def test_a_falling_index_is_a_gap() -> None:
    dsp = Dsp()
    dsp.push(counts(sine(7000)), first=100_000)
    found = dsp.push(counts(sine(7000)), first=0)
    assert any(window.first_sample < 7000 for window in found.windows)


def test_a_gap_in_a_dip_keeps_its_end() -> None:
    volts = sine(24_000)
    volts[6000:18_000] *= 0.5
    dsp = Dsp()
    dsp.push(counts(volts[:9000]))
    found = dsp.push(counts(volts[9100:]), first=9100)
    assert [(c.kind, c.entering) for c in found.crossings] == [(1, True), (1, False)]


def test_a_clipped_window_says_so() -> None:
    dsp = Dsp()
    signal = counts(sine(24_000))
    dsp.push(signal[:8000])
    dsp.push(signal[8000:8200], clipped=True)
    found = dsp.push(signal[8200:])
    clipped = [w for w in found.windows if w.clipped]
    assert 1 <= len(clipped) <= 2
    assert any(w.first_sample <= 8000 < w.first_sample + w.samples for w in clipped)
    assert not found.windows[-1].clipped


def test_a_value_between_limit_and_hysteresis_ends_nothing() -> None:
    volts = sine(30_000)
    volts[6000:12_000] *= 0.85
    volts[12_000:18_000] *= 0.91  # above the limit, below limit + 2 %
    volts[18_000:20_000] *= 0.85
    found = features(counts(volts))
    assert [(c.kind, c.entering) for c in found.crossings] == [(1, True), (1, False)]
    assert found.crossings[1].sample > 19_700


def test_a_limit_of_zero_is_not_watched() -> None:
    volts = sine(14_000)
    volts[6000:9000] *= 0.5
    assert features(counts(volts), limits=(0.0, 1.1, 0.1)).crossings == []


def test_a_crossing_comes_with_its_block() -> None:
    volts = sine(14_000)
    volts[6000:9000] *= 0.5
    found = features(counts(volts), block=40)
    for crossing, known_at in zip(found.crossings, found.known_at, strict=True):
        assert 0 < known_at - (crossing.sample + 200) <= 42


def test_the_measured_rate_moves_the_frequency() -> None:
    dsp = Dsp()
    dsp.rate(12_001.2)
    found = dsp.push(counts(sine(12_000)))
    assert found.windows[-1].f_hz == pytest.approx(60.006, abs=2e-4)


def test_a_falling_frequency_is_followed() -> None:
    t = np.arange(60_000) / RATE_HZ
    hz = 60.0 - t
    volts = 120 * np.sqrt(2) / 0.01 * np.sin(2 * np.pi * (60.0 * t - t**2 / 2))
    found = features(counts(volts))
    for window in found.windows:
        middle = window.first_sample + window.samples / 2
        assert window.f_hz == pytest.approx(float(np.interp(middle / RATE_HZ, t, hz)), abs=0.005)
        assert window.rms_v == pytest.approx(120.0, rel=1e-3)
        assert window.thd < 0.01


def test_full_scale_and_silence_do_no_harm() -> None:
    for signal in (np.full(12_000, 32767), np.full(12_000, -32768), np.zeros(12_000)):
        found = features(signal)
        assert found.windows == []  # no fundamental was ever seen
    square = np.where(sine(24_000) > 0, 32767, -32768)
    found = features(square, nominal_v=240.0)
    assert found.windows[-1].rms_v == pytest.approx(327.675, rel=1e-3)
    assert found.windows[-1].f_hz == pytest.approx(60.0, abs=1e-3)


@pytest.mark.parametrize("seed", range(6))
def test_noise_of_full_scale_does_no_harm(seed: int) -> None:
    noise = np.random.default_rng(seed).integers(-32768, 32768, 24_000)
    found = features(noise, block=173)
    begins = found.half_edges()
    assert len(begins) < 2 or np.diff(begins).min() > 20
    assert found.lost == 0


def test_a_configuration_that_makes_no_sense_is_refused() -> None:
    c = library("dsp", SOURCES)
    c.host_begin.argtypes = [ctypes.c_float] * 6
    good = [60.0, 120.0, 0.01, 0.9, 1.1, 0.1]
    assert c.host_begin(*good) == 0
    for at, bad in (
        (0, 400.0),
        (0, float("nan")),
        (1, 0.0),
        (2, -1.0),
        (2, float("nan")),
        (3, -0.1),
        (4, 10.0),
    ):
        assert c.host_begin(*(bad if k == at else value for k, value in enumerate(good))) == 1


def load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_high_pass_follows_its_design() -> None:
    design = load(CMODULES / "dsp" / "design_high_pass.py")
    assert (CMODULES / "dsp" / "transient_taps.h").read_text(encoding="utf-8") == design.header()
    taps = design.taps()
    assert taps.sum() == 0
    assert np.array_equal(taps, taps[::-1])
    gain = np.abs(np.fft.rfft(taps / 2**15, 1 << 14))
    hz = np.arange(len(gain)) * RATE_HZ / (1 << 14)
    assert 20 * np.log10(gain[(hz > 40) & (hz < 180)].max()) < -57  # fundamental and third order
    assert np.abs(20 * np.log10(gain[hz > 620])).max() < 0.02
