"""Many trackers in step give the bits of each alone."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_measure.signal import FloatArray
from opq_measure.timebase.in_step import feed_all
from opq_measure.timebase.tracker import Tracker

RATE_HZ = 12_000.0


def recording(seed: int, seconds: float) -> FloatArray:
    """Mains with dips, swells, silence, jumps of phase and frequency, notches, noise, where it comes so."""
    random = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    hz = random.uniform(57.0, 63.0) + np.where(t > random.uniform(0, 2 * seconds), random.uniform(-2, 2), 0.0)
    turns = np.cumsum(hz) / RATE_HZ + random.uniform()
    turns = turns + np.where(t > random.uniform(0, 2 * seconds), random.uniform(-0.5, 0.5), 0.0)
    volts = 170.0 * (np.sin(2 * np.pi * turns) + 0.03 * np.sin(6 * np.pi * turns + 1.0))
    for _ in range(random.integers(3)):
        begin = random.uniform(0, seconds)
        volts[(t > begin) & (t < begin + random.exponential(0.2))] *= random.choice([0.0, 0.4, 1.3])
    noisy: FloatArray = volts + random.normal(scale=random.choice([0.01, 1.0]), size=len(t))
    return noisy


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), largest=st.sampled_from([700, 2400, 9000, 40_000]), many=st.integers(1, 6))
def test_in_step_results_equal_single_ones(seed: int, largest: int, many: int) -> None:
    signals = [recording(seed + at, 3.0) for at in range(many)]
    alone = []
    for signal in signals:
        tracker = Tracker(RATE_HZ, 60.0)
        alone.append((tracker.feed(signal), tracker.finish()))
    trackers = [Tracker(RATE_HZ, 60.0) for _ in signals]
    random = np.random.default_rng(seed)
    cuts = random.integers(1, len(signals[0]), size=len(signals[0]) // largest)
    bounds = sorted({0, len(signals[0]), *cuts.tolist()})
    parts = []
    for first, last in pairwise(bounds):
        parts.append(feed_all(trackers, [signal[first:last] for signal in signals]))
    for at, (fed, finished) in enumerate(alone):
        together = np.concatenate([part[at] for part in parts], axis=1)
        assert together.tobytes() == fed.tobytes()
        assert trackers[at].finish().tobytes() == finished.tobytes()


@pytest.mark.parametrize("nominal_hz", [50.0, 60.0])
def test_steady_mains_go_the_quiet_way(nominal_hz: float, monkeypatch: pytest.MonkeyPatch) -> None:
    t = np.arange(48_000) / RATE_HZ
    trackers = [Tracker(RATE_HZ + 0.37 * at, nominal_hz) for at in range(3)]  # as each measures its own
    volts = [170 * np.sin(2 * np.pi * (nominal_hz + 0.01 * at) * t) for at in range(3)]
    feed_all(trackers, [each[:12_000] for each in volts])
    alone = []
    monkeypatch.setattr(Tracker, "step", alone.append)
    found = feed_all(trackers, [each[12_000:] for each in volts])
    assert not alone and all(hops.shape == (4, 4 * nominal_hz * 3) for hops in found)
