"""A gap of an eighth of a cycle is bridged: what is measured beside it is that of the whole wave."""

from pathlib import Path

import numpy as np
import pytest

from opq_analyze.classifying import classified
from opq_analyze.measuring import Measured, measured
from opq_measure.events.limits import Limits
from opq_recordings.bridging import bridged_samples, bridged_volts, filled
from opq_recordings.facts import RecordingFacts
from opq_recordings.reading import read_recording
from opq_recordings.recording import Recording

FILL = Path("../shared/data/faults/hdf5-fill-value/fill.h5")
PEAK_V = 230 * np.sqrt(2)


def wave(rate_hz: float, seconds: float = 0.25, phase: float = 0.0, hz: float = 50.0) -> np.ndarray:
    """A sag to 60 % from 0.10 to 0.18 s."""
    at = np.arange(round(seconds * rate_hz)) / rate_hz
    size = np.where((at >= 0.1) & (at < 0.18), 0.6, 1.0)
    return PEAK_V * size * np.sin(2 * np.pi * hz * at + phase)


def recording(folder: Path, volts: np.ndarray, rate_hz: float) -> Recording:
    np.save(folder / "a.npy", volts)
    return read_recording(folder / "a.npy", RecordingFacts(rate_hz, None, 230.0, 50.0))


def check(found: Measured, rate_hz: float, gap: tuple[int, int]) -> None:
    (sag,) = found.analysis.disturbances
    assert sag.kind == "sag" and not sag.open
    assert sag.start_sample / rate_hz == pytest.approx(0.10, abs=1.1 / rate_hz)
    assert sag.end_sample / rate_hz == pytest.approx(0.18, abs=1.6 / rate_hz)
    assert sag.residual_percent == pytest.approx(60, abs=0.5)
    assert np.allclose(found.analysis.window_hz, 50.0, atol=1e-3)
    assert [(each.first_sample, each.samples) for each in found.analysis.gaps] == [gap]


@pytest.mark.parametrize(("rate_hz", "missing"), [(1600.0, 2), (1600.0, 4), (3200.0, 8), (12_000.0, 30)])
def test_a_gap_anywhere_changes_neither_frequency_nor_sag(
    tmp_path: Path, rate_hz: float, missing: int
) -> None:
    assert missing <= bridged_samples(rate_hz, 50.0)
    for share in (0.12, 0.35, 0.45, 0.5, 0.6, 0.665, 0.75, 0.85):
        volts = wave(rate_hz)
        first = round(share * len(volts))
        volts[first : first + missing] = np.nan
        check(measured(recording(tmp_path, volts, rate_hz), Limits()), rate_hz, (first, missing))


def test_classes_do_not_come_from_a_bridged_gap(tmp_path: Path) -> None:
    volts = wave(1600.0, 1.0)
    volts[400:404] = np.nan
    _, found = classified(recording(tmp_path, volts, 1600.0))
    assert found.kind == "sag"


@pytest.mark.parametrize("missing", [1, 2, 4])
def test_the_filled_wave_is_within_half_a_percent(missing: int) -> None:
    for phase in np.linspace(0, 2 * np.pi, 25):
        whole = wave(1600.0, 0.05, phase)
        volts = whole.copy()
        volts[40 : 40 + missing] = np.nan
        assert np.abs(bridged_volts(volts, 4) - whole).max() < 0.005 * PEAK_V


def test_noise_is_not_made_larger() -> None:
    noise = np.random.default_rng(1).normal(0, 1, (200, 30))
    for each in noise:
        assert np.abs(filled(each[:15], each[15:], 30)).max() < 8


def test_counts_stay_counts_and_few_samples_are_enough() -> None:
    found = filled(np.array([30_000, 32_000], np.int16), np.array([32_000, 30_000], np.int16), 8)
    assert found.dtype == np.int16 and (found == 32_767).any()
    assert np.isnan(bridged_volts(np.array([1.0, np.nan, 2.0]), 1)).sum() == 1
    assert np.isnan(bridged_volts(np.full(9, np.nan), 4)).all()


@pytest.mark.skipif(not FILL.exists(), reason="the inputs of ../shared are not here")
def test_the_sag_before_marked_samples_has_its_end() -> None:
    found = measured(read_recording(FILL, RecordingFacts(None, None, 230.0, 50.0)), Limits())
    check(found, 1600.0, (340, 4))
