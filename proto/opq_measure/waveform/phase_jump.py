"""Jumps of the phase: the fundamental continues at another angle than expected.

A jump is the difference of two phases at the instant of the change (`waveform.change`): the phase before,
extrapolated forward at the frequency before, and the phase after, extrapolated back at the frequency after.
So neither a step of the frequency nor one of the amplitude counts as a jump.

Source: IEC 61000-4-30:2015, annex C (phase shift as a characteristic of a dip; clause from memory);
Bollen, Understanding Power Quality Problems, 2000, 4.5 (phase-angle jump: positive when the voltage leads).
"""

import cmath
import math
from collections.abc import Sequence
from dataclasses import dataclass

from opq_measure.signal import SignalArray
from opq_measure.timebase.cycles import Track
from opq_measure.waveform.change import MIN_CHANGE, Change, changes_in
from opq_measure.waveform.steady import Steady

MIN_DEGREES = 3.0
"""Least jump reported by default; distant switching causes smaller ones all day."""

SIGNIFICANT_RATIO = 4.0
"""A jump has to exceed this many of its standard uncertainties, because noise alone has no defined phase."""


@dataclass(frozen=True, slots=True)
class PhaseJump:
    """One jump; `position` in fractional samples of the signal, `time_s` from its sample 0.

    `degrees` is -180 .. 180, positive when the voltage leads after the jump; `amplitude_ratio` is the
    fundamental after divided by that before. Uncertainties are standard ones, for white noise.
    """

    position: float
    time_s: float
    degrees: float
    uncertainty_samples: float
    uncertainty_degrees: float
    amplitude_ratio: float
    hz_before: float
    hz_after: float


def phase_jumps_in(
    volts: SignalArray,
    tracked: Track,
    least_degrees: float = MIN_DEGREES,
    changes: Sequence[Change] | None = None,
) -> tuple[PhaseJump, ...]:
    """Every jump of the phase by `least_degrees` and more, in time order.

    Args:
        volts: (n,) counts or volts, the waveform of an event with some cycles before and after.
        tracked: `cycles.track` of it.
        least_degrees: 1 .. 180.
        changes: `changes_in` of it with a step of `least_step` or less, where they are known already.
    Raises:
        ValueError: `least_degrees` is outside 1 .. 180.

    Error: 0.004 degrees and 0.3 samples rms at 60 dB, 57 to 63 Hz, with 3 % harmonics; 0.011 degrees with a
    dip or a step of frequency, 0.07 when the new wave lasts 0.6 to 4 cycles (test_measure_phase_jump.py).
    """
    if not 1.0 <= least_degrees <= 180.0:
        raise ValueError(f"least_degrees is {least_degrees:g}, want 1 .. 180")
    if changes is None:
        changes = changes_in(volts, tracked, least_step(least_degrees))
    jumps = (phase_jump_of(change) for change in changes)
    return tuple(
        jump
        for jump in jumps
        if abs(jump.degrees) >= max(least_degrees, SIGNIFICANT_RATIO * jump.uncertainty_degrees)
    )


def least_step(least_degrees: float) -> float:
    """The least step of a change to examine: that of half the jump, so that the search misses no jump."""
    return min(2 * math.sin(math.radians(least_degrees) / 4), MIN_CHANGE)


def phase_jump_of(change: Change) -> PhaseJump:
    """The jump in the phase of the fundamental at a change of the wave."""
    before, after = change.before, change.after
    return PhaseJump(
        position=change.position,
        time_s=change.position / before.rate_hz,
        degrees=math.degrees(cmath.phase(change.step)),
        uncertainty_samples=change.uncertainty_samples,
        uncertainty_degrees=math.degrees(_uncertainty_rad(change)),
        amplitude_ratio=abs(change.step),
        hz_before=before.hz,
        hz_after=after.hz,
    )


def _uncertainty_rad(change: Change) -> float:
    moved = (change.after.step_rad - change.before.step_rad) * change.uncertainty_samples
    return math.hypot(_carried_rad(change.before), _carried_rad(change.after), moved)


def _carried_rad(wave: Steady) -> float:
    """Uncertainty of the phase at the end of a fit with free frequency: twice that in its middle.

    Source: Rife and Boorstyn 1974.
    """
    if wave.amplitude <= 0:
        return math.pi
    return min(math.pi, 2 * wave.rest / wave.amplitude * math.sqrt(2 / (wave.stop - wave.start)))
