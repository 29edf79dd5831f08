"""The Box's features against opq_measure: the errors stated in cmodules/dsp/README.md hold.

Both get the same counts; opq_measure gets the whole signal at once, the Box one block after the other.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dsp_on_pc import Found, features
from golden_signals import golden_signals

from opq_measure.harmonics.spectrum import thd_ratio
from opq_measure.rms import energies, half_cycle_rms_v
from opq_measure.timebase.cycles import track
from opq_measure.waveform.high_pass import high_pass

RECORDINGS = Path(__file__).resolve().parents[3] / "shared" / "data" / "recordings"
STEADY = [
    signal
    for signal in golden_signals()
    if signal.gap is None and signal.name not in ("dip", "swell", "interruption", "no_mains", "ringing")
]


@dataclass
class Differences:
    """The largest of each over all windows or half cycles: Hz, ratios, shares of nominal, samples."""

    f_hz: float = 0.0
    thd: float = 0.0
    rms: float = 0.0
    trans: float = 0.0
    half_rms: float = 0.0
    edge: float = 0.0


def differences(
    found: Found, counts: Any, nominal_hz: float, nominal_v: float, v_per_lsb: float
) -> Differences:
    tracked = track(counts, 12_000.0, nominal_hz)
    edges = tracked.edges(2)
    cycles = round(0.2 * nominal_hz)
    fast = np.abs(high_pass(counts, 12_000.0))
    largest = Differences()
    for window in found.windows:
        at = int(np.argmin(np.abs(edges - window.first_sample)))
        start, stop = edges[at], edges[at + 2 * cycles]
        energy = energies(counts, np.array([start, stop]))[0]
        rms_v = np.sqrt(energy / (stop - start)) * v_per_lsb
        begin = window.first_sample - 62
        trans_v = fast[begin : begin + window.samples].max() * v_per_lsb
        largest.f_hz = max(largest.f_hz, abs(window.f_hz - tracked.frequency_hz(start, stop)))
        largest.thd = max(largest.thd, abs(window.thd - thd_ratio(counts, start, stop, cycles)))
        largest.rms = max(largest.rms, abs(window.rms_v - rms_v) / nominal_v)
        largest.trans = max(largest.trans, abs(window.trans_v - trans_v) / nominal_v)
    theirs = half_cycle_rms_v(counts, edges) * v_per_lsb
    for begin, rms_v in zip(found.half_edges(), found.half_rms_v(), strict=True):
        at = int(np.argmin(np.abs(edges - begin)))
        largest.edge = max(largest.edge, float(abs(edges[at] - begin)))
        if at < len(theirs):
            largest.half_rms = max(largest.half_rms, abs(theirs[at] - rms_v) / nominal_v)
    return largest


@pytest.mark.parametrize("signal", STEADY, ids=lambda signal: signal.name)
def test_a_steady_signal_equals_opq_measures(signal: Any) -> None:
    config = {
        "nominal_hz": signal.nominal_hz,
        "nominal_v": signal.nominal_v,
        "v_per_lsb": signal.v_per_lsb,
    }
    found = features(signal.counts, **config)
    assert len(found.windows) >= 4
    off = differences(found, signal.counts, **config)
    assert off.f_hz < 5e-5
    assert off.thd < 1e-4
    assert off.rms < 1e-5
    assert off.trans < 2e-4
    assert off.half_rms < 2e-5
    assert off.edge < 0.01


def recording(name: str) -> tuple[Any, float]:
    path = RECORDINGS / f"{name}.i16"
    if not path.exists():
        pytest.skip("the real recordings are not here (../shared/data/recordings)")
    facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    return np.fromfile(path, "<i2"), facts["volts_per_lsb"]


@pytest.mark.parametrize("name", ["event_9354_box1", "event_9354_box4"])
def test_a_real_dip_equals_opq_measures(name: str) -> None:
    counts, v_per_lsb = recording(name)
    found = features(counts, v_per_lsb=v_per_lsb)
    off = differences(found, counts, 60.0, 120.0, v_per_lsb)
    assert off.f_hz < 0.001
    assert off.thd < 0.001
    assert off.rms < 3e-4
    assert off.trans < 2e-4
    assert off.half_rms < 0.005  # while the phase steps: edges are predicted over two cycles
    assert off.edge < 1.5


def test_the_real_dip_is_reported_promptly() -> None:
    """The real dip has its residual and duration and is reported within a block of its cycle."""
    counts, v_per_lsb = recording("event_9354_box1")
    found = features(counts, v_per_lsb=v_per_lsb)
    assert [(crossing.kind, crossing.entering) for crossing in found.crossings] == [(1, True), (1, False)]
    assert found.half_rms_v().min() / 120 == pytest.approx(0.8515, abs=0.0010)  # README of the recordings
    entering, leaving = found.crossings
    duration_ms = (leaving.sample - entering.sample) / 12
    assert duration_ms == pytest.approx(150.0, abs=8.5)  # renewed each half cycle
    for crossing, known_at in zip(found.crossings, found.known_at, strict=True):
        assert known_at - (crossing.sample + 200) <= 200 + 2  # of the cycle's end


def test_a_shallow_dip_reports_no_crossing() -> None:
    counts, v_per_lsb = recording("event_9354_box4")
    found = features(counts, v_per_lsb=v_per_lsb)
    assert found.crossings == []
    assert found.half_rms_v().min() == pytest.approx(111.6, abs=0.1)
