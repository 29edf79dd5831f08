"""Clean mains have no events: wandering frequency, noise of 40 dB, 5 % of harmonics, drifting voltage."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from opq_measure.events.detector import Detector, Notice
from opq_measure.events.disturbances import find_disturbances
from opq_measure.events.rapid_change import RapidLimits
from opq_measure.timebase.tracker import Tracker

RATE_HZ = 12_000.0
BLOCK_S = 10
ORDERS = (2, 3, 5, 7, 9, 11, 13)
PARTS = np.array((0.5, 2.5, 3.0, 2.0, 1.5, 1.5, 1.0)) / 100
PARTS *= 0.05 / math.sqrt(float(PARTS @ PARTS))
Floats = NDArray[np.float64]


def clean_mains(nominal_hz: float, seconds: int, seed: int, nominal_v: float) -> Iterator[Floats]:
    """Blocks of 10 s. The frequency walks by 10 mHz a second, drawn back in minutes, and swings by 0.5 Hz
    over ten minutes; the voltage moves by 5 % over half an hour.
    """
    random = np.random.default_rng(seed)
    angles = random.uniform(0, 2 * np.pi, len(ORDERS))
    off_hz = turn_rad = 0.0
    for first_s in range(0, seconds, BLOCK_S):
        t = first_s + np.arange(BLOCK_S * round(RATE_HZ)) / RATE_HZ
        walk = random.normal(0, 0.01, BLOCK_S + 1)
        walk[0] = off_hz
        nodes = [off_hz := 0.99 * off_hz + step for step in walk[1:]]
        hz = np.interp(t - first_s, np.arange(BLOCK_S + 1), [walk[0], *nodes])
        hz += nominal_hz + 0.5 * np.sin(2 * np.pi * t / 600)
        turn = turn_rad + 2 * np.pi * np.cumsum(hz) / RATE_HZ
        turn_rad = float(turn[-1])
        volts = np.sin(turn)
        for order, part, angle in zip(ORDERS, PARTS, angles, strict=True):
            volts += part * np.sin(order * turn + angle)
        volts *= math.sqrt(2) * nominal_v * (1 + 0.05 * np.sin(2 * np.pi * t / 1800))
        yield volts + random.normal(0, nominal_v / 100, len(t))


def events_of(nominal_hz: float, seconds: int, seed: int) -> list[Notice]:
    nominal_v = 120.0 if nominal_hz == 60 else 230.0
    tracker = Tracker(RATE_HZ, nominal_hz)
    fixed, sliding = (
        Detector(RATE_HZ, nominal_v, nominal_hz, sliding=kind, rapid_change=RapidLimits(3.3, 1.65))
        for kind in (False, True)
    )
    found: list[Notice] = []
    for volts in clean_mains(nominal_hz, seconds, seed, nominal_v):
        edges = tracker.push_volts(volts).edges(2)
        found += fixed.push_volts(volts, edges) + sliding.push_volts(volts, edges)
    return found + fixed.end() + sliding.end()


@pytest.mark.parametrize("nominal_hz", [50.0, 60.0])
def test_three_minutes_of_clean_mains_have_no_event(nominal_hz: float) -> None:
    assert events_of(nominal_hz, 180, seed=4) == []


@pytest.mark.soak
@pytest.mark.parametrize("nominal_hz", [50.0, 60.0])
def test_an_hour_of_clean_mains_has_no_event(nominal_hz: float) -> None:
    assert events_of(nominal_hz, 3600, seed=1) == []


@pytest.mark.parametrize(("nominal_hz", "hz"), [(50.0, 42.5), (50.0, 57.5), (60.0, 51.0), (60.0, 69.0)])
def test_mains_far_off_nominal_have_no_event(nominal_hz: float, hz: float) -> None:
    t = np.arange(round(4 * RATE_HZ)) / RATE_HZ
    volts = 120 * math.sqrt(2) * (np.sin(2 * np.pi * hz * t) + 0.05 * np.sin(10 * np.pi * hz * t))
    volts += np.random.default_rng(2).normal(0, 1.2, len(t))
    assert find_disturbances(volts, RATE_HZ, 120.0, nominal_hz) == ()


@pytest.mark.parametrize("degrees", [-35, -20, 20, 35])
def test_a_phase_jump_alone_is_no_event(degrees: float) -> None:
    """The energy of a cycle across it is off by sin(jump) / pi at most; of 36 degrees the rms by 10 %."""
    t = np.arange(round(2 * RATE_HZ)) / RATE_HZ
    for jump_s in 1 + np.arange(12) / 720:
        turn = 2 * np.pi * 60 * t + np.where(t >= jump_s, math.radians(degrees), 0)
        assert find_disturbances(120 * math.sqrt(2) * np.sin(turn), RATE_HZ) == ()
