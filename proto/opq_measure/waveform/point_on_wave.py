"""Point on wave: the angle of the fundamental at which an event begins or ends.

0 degrees is the rising zero crossing, 90 the positive crest. A dip begins at the angle of the voltage before
it, extrapolated forward, and ends at the angle of the voltage after it, extrapolated back.

Source: IEC 61000-4-11:2020, 3 (phase angle of a dip); CIGRE C4.110, 2010 (point-on-wave characteristics).
"""

import math
from dataclasses import dataclass

from opq_measure.signal import SignalArray
from opq_measure.timebase.cycles import Track
from opq_measure.waveform.change import Change, change_near


@dataclass(frozen=True, slots=True)
class PointOnWave:
    """`position` is in fractional samples, angles are degrees 0 .. 360; the uncertainty is a standard one."""

    position: float
    time_s: float
    degrees_before: float
    """Angle of the fundamental before, extrapolated forward: the one to use for a beginning."""
    degrees_after: float
    """Angle of the fundamental after, extrapolated back: the one to use for an end."""
    uncertainty_degrees: float


def point_on_wave(
    volts: SignalArray, tracked: Track, near: float, first: float = 0.0, stop: float | None = None
) -> PointOnWave | None:
    """The angle at which the wave changes near a position, such as the start or the end of a dip.

    Args:
        near: fractional sample position, accurate to a cycle, e.g. `Disturbance.start_sample`.
        first, stop: positions of the neighbouring changes, e.g. the dip's end where `near` is its start.
    Returns:
        None where too little signal is left on both sides.

    Error: 0.6 degrees rms, the grain of a sample at 12 kS/s (test_measure_phase_jump.py).
    """
    change = change_near(volts, tracked, near, first, stop)
    return None if change is None else point_of(change)


def point_of(change: Change) -> PointOnWave:
    """The angles at a change already found."""
    per_sample = max(change.before.step_rad, change.after.step_rad)
    return PointOnWave(
        position=change.position,
        time_s=change.position / change.before.rate_hz,
        degrees_before=_degrees(change.before.phase_rad(change.position)),
        degrees_after=_degrees(change.after.phase_rad(change.position)),
        uncertainty_degrees=math.degrees(per_sample * change.uncertainty_samples),
    )


def _degrees(phase_rad: float) -> float:
    return math.degrees(phase_rad) % 360.0
