"""Rapid voltage changes: steps of Urms(1/2) whose figures are known."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from opq_measure.events.detector import Detector
from opq_measure.events.rapid_change import RapidChange, RapidChanges, RapidLimits

Floats = NDArray[np.float64]
LIMITS = RapidLimits(threshold_percent=3.0, hysteresis_percent=1.5)


def changes(
    percent: Floats, limits: RapidLimits = LIMITS, beyond: NDArray[np.bool_] | None = None
) -> list[RapidChange]:
    """The changes in a series of Urms(1/2) in percent, one each 1/100 s: positions are their indices."""
    beyond = np.zeros(len(percent), dtype=np.bool_) if beyond is None else beyond
    whole = RapidChanges(limits, 50.0).push_percent(percent, np.arange(float(len(percent))), beyond)
    for size in (1, 7, 100, 119):
        parts = RapidChanges(limits, 50.0)
        found = []
        for first in range(0, len(percent), size):
            part = slice(first, first + size)
            found += parts.push_percent(percent[part], np.arange(float(len(percent)))[part], beyond[part])
        assert found == whole
    return whole


def steps(*levels: tuple[int, float]) -> Floats:
    return np.concatenate([np.full(count, level) for count, level in levels])


def test_a_step_lasts_no_time() -> None:
    (change,) = changes(steps((200, 100.0), (200, 96.0)))
    assert change.start_sample == 200 and change.end_sample - change.start_sample <= 1
    assert change.steady_change_percent == pytest.approx(
        -4.0, abs=0.05
    )  # the last mean holds one value of before
    assert change.largest_change_percent == pytest.approx(-4.0, abs=1e-9)


def test_an_overshoot_is_the_largest_change() -> None:
    (change,) = changes(steps((200, 100.0), (30, 93.0), (200, 97.0)))
    assert change.start_sample == 200
    assert change.end_sample == pytest.approx(230, abs=1)
    assert change.steady_change_percent == pytest.approx(-3.0, abs=0.05)
    assert change.largest_change_percent == pytest.approx(-7.0, abs=1e-9)


def test_a_spike_has_no_steady_change() -> None:
    (change,) = changes(steps((200, 100.0), (10, 106.0), (200, 100.0)))
    assert change.end_sample - change.start_sample == pytest.approx(10, abs=1)
    assert change.steady_change_percent == pytest.approx(0.0, abs=0.1)
    assert change.largest_change_percent == pytest.approx(6.0, abs=1e-9)


def test_a_change_within_the_threshold_is_none() -> None:
    assert changes(steps((200, 100.0), (200, 97.1))) == []
    assert changes(100 + 0.002 * np.arange(3000)) == []  # 6 % in half a minute
    assert changes(steps((99, 100.0))) == []


def test_the_hysteresis_ends_a_change_later() -> None:
    """After the step the voltage swings by 2 %: within the threshold of 3 %, not by the hysteresis less."""
    swing = 95 + 2 * np.cos(np.pi * np.arange(300))
    percent = np.concatenate((np.full(200, 100.0), swing, np.full(200, 95.0)))
    (late,) = changes(percent)
    assert late.end_sample == pytest.approx(500, abs=2)
    (early,) = changes(percent, RapidLimits(3.0, 0.0))
    assert early.end_sample < 210


def test_a_dip_or_swell_replaces_the_change() -> None:
    percent = steps((200, 100.0), (10, 85.0), (200, 96.0))
    assert len(changes(percent)) == 1
    assert changes(percent, beyond=percent < 90) == []
    # the one after is its own change
    assert len(changes(steps((200, 100.0), (10, 85.0), (200, 96.0), (200, 100.0)), beyond=None)) == 2


def test_the_detector_finds_a_rapid_change() -> None:
    rate_hz = 6000.0
    t = np.arange(round(9 * rate_hz)) / rate_hz
    share = np.where((t > 3) & (t < 6), 0.95, 1.0) * np.where((t > 8) & (t < 8.2), 0.5, 1.0)
    volts = 230 * math.sqrt(2) * np.sin(2 * np.pi * 50 * t) * share
    detector = Detector(rate_hz, 230.0, 50.0, rapid_change=LIMITS)
    notices = detector.push_volts(volts, np.arange(0, len(volts) - 1, 60.0)) + detector.end()
    down, up = (each for each in notices if isinstance(each, RapidChange))
    assert down.start_sample / rate_hz == pytest.approx(3.0, abs=0.01)
    assert up.start_sample / rate_hz == pytest.approx(6.0, abs=0.01)
    assert down.steady_change_percent == pytest.approx(-5.0, abs=0.1)
    assert up.largest_change_percent == pytest.approx(5.0, abs=0.1)


@pytest.mark.parametrize(("threshold", "hysteresis"), [(0.0, 0.0), (math.nan, 1.0), (3.0, 3.0), (3.0, -1.0)])
def test_limits_that_cannot_hold_are_refused(threshold: float, hysteresis: float) -> None:
    with pytest.raises(ValueError, match="percent is"):
        RapidLimits(threshold, hysteresis)
