"""The signals of C37.118.1's tests in closed form, and their true phasor, frequency and ROCOF.

Time is in seconds from a UTC second; samples lie off the reporting grid, at a rate that is not round.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opq_measure.signal import SignalPiece

Floats = NDArray[np.float64]
EPOCH_NS = 1_700_000_000 * 1_000_000_000
RATE_HZ = 12_000.37
OFF_GRID_NS = 31_234
"""Time from the requested instant to the first sample."""


@dataclass(frozen=True, slots=True)
class PhasorTruth:
    """The phasor (rms and angle as one number), frequency and ROCOF at each requested time."""

    phasor: NDArray[np.complex128]
    frequency_hz: Floats
    rocof_hz_s: Floats


@dataclass(frozen=True, slots=True)
class TestSignal:
    """`size(t) * sqrt(2) * cos(2 pi (nominal_hz t + turns(t)))` plus an added signal.

    `turns(t)` gives the phase against the nominal cosine in turns, and its first and second derivative.
    """

    nominal_hz: float
    size: Callable[[Floats], Floats]
    turns: Callable[[Floats], tuple[Floats, Floats, Floats]]
    added: Callable[[Floats], Floats] | None = None

    def samples(self, start_s: float, stop_s: float) -> SignalPiece:
        """Samples of a converter from `start_s` to `stop_s`."""
        start_ns = EPOCH_NS + round(start_s * 1e9) + OFF_GRID_NS
        count = int((stop_s - start_s) * RATE_HZ)
        t = (start_ns - EPOCH_NS) / 1e9 + np.arange(count) / RATE_HZ
        phase = 2 * np.pi * (self.nominal_hz * t + self.turns(t)[0])
        volts = np.sqrt(2) * self.size(t) * np.cos(phase)
        if self.added is not None:
            volts = volts + np.sqrt(2) * self.added(t)
        return SignalPiece(volts, 0, RATE_HZ, start_ns)

    def truth(self, t: Floats) -> PhasorTruth:
        """The true values at times `t`."""
        turns, slope, bend = self.turns(t)
        return PhasorTruth(self.size(t) * np.exp(2j * np.pi * turns), self.nominal_hz + slope, bend)


def _one(t: Floats) -> Floats:
    return np.ones_like(t)


def steady(nominal_hz: float, hz: float, rms: float = 1.0, turns: float = 0.0) -> TestSignal:
    """A sine."""

    def phase(t: Floats) -> tuple[Floats, Floats, Floats]:
        return turns + (hz - nominal_hz) * t, np.full_like(t, hz - nominal_hz), np.zeros_like(t)

    return TestSignal(nominal_hz, lambda t: np.full_like(t, rms), phase)


def disturbed(nominal_hz: float, hz: float, tone_hz: float, share: float) -> TestSignal:
    """A sine plus a second one: a harmonic, or out-of-band interference."""
    clean = steady(nominal_hz, hz, turns=0.1)
    return TestSignal(
        nominal_hz, clean.size, clean.turns, lambda t: share * np.cos(2 * np.pi * tone_hz * t + 0.7)
    )


def modulated(nominal_hz: float, modulation_hz: float, amplitude: float, phase_rad: float) -> TestSignal:
    """A sine with amplitude modulated by a share and phase by an angle; 5.5.6, equations for kx and ka."""
    w = 2 * np.pi * modulation_hz
    depth = phase_rad / (2 * np.pi)

    def phase(t: Floats) -> tuple[Floats, Floats, Floats]:
        turn = w * t - np.pi
        return depth * np.cos(turn), -depth * w * np.sin(turn), -depth * w * w * np.cos(turn)

    return TestSignal(nominal_hz, lambda t: 1 + amplitude * np.cos(w * t), phase)


def ramp(nominal_hz: float, from_hz: float, to_hz: float, rate_hz_s: float) -> TestSignal:
    """The frequency changes linearly from time 0 on, and is constant before and after."""
    length = abs(to_hz - from_hz) / rate_hz_s
    slope = np.sign(to_hz - from_hz) * rate_hz_s

    def phase(t: Floats) -> tuple[Floats, Floats, Floats]:
        u = np.clip(t, 0.0, length)
        turns = (from_hz - nominal_hz) * t + slope * u * u / 2 + slope * length * np.maximum(t - length, 0.0)
        inside = (t > 0) & (t < length)
        return turns, from_hz - nominal_hz + slope * u, np.where(inside, slope, 0.0)

    return TestSignal(nominal_hz, _one, phase)


def step(nominal_hz: float, at_s: float, amplitude: float, phase_rad: float) -> TestSignal:
    """Amplitude and phase step at `at_s`."""

    def phase(t: Floats) -> tuple[Floats, Floats, Floats]:
        after = np.where(t >= at_s, phase_rad / (2 * np.pi), 0.0)
        return after, np.zeros_like(t), np.zeros_like(t)

    return TestSignal(nominal_hz, lambda t: np.where(t >= at_s, 1 + amplitude, 1.0), phase)
