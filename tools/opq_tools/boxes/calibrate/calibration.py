"""Calibration: gain, offset and phase from a span of a Box's samples and a reference reading. Pure.

    offset_lsb   taken off every count           the counts' mean over whole cycles
    gain         on the converter's V per LSB    reference over the measured rms of the alternating part
    phase_ns     delay of the front end          (reference angle - measured angle) / (360 degrees * f)

Rms, cycles and frequency are defined in opq_measure. An angle is the phase of the fundamental as a cosine at
a whole second of UTC (IEC/IEEE 60255-118-1:2018, 5.2); it needs a source locked to GPS, at whole Hz.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opq_measure.frequency.per_window import cycles_per_window
from opq_measure.rms import cycle_rms_v
from opq_measure.timebase.cycles import track
from opq_proto.errors import OpqError
from opq_proto.link.messages import FLAG_CLIPPED, Hello, Samples
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, TimeSource

STEADY_SHARE = 0.002
"""Most (largest - smallest) / mean rms of the 10/12-cycle windows of a usable reference."""
GAIN = (0.5, 2.0)
"""Range that the Box accepts; outside it, the divider is not the board's."""
NO_SIGNAL_SHARE = 0.1
"""A reading below this share of the reference is not a signal; else it may be off by a factor of GAIN."""
WHOLE_HZ = 0.002
"""Most deviation from a whole number of Hz for a source that is locked to GPS."""
ANGLE_UNCERTAINTY_NS = 20_000
"""Most uncertainty of the Box's time for an angle: 0.4 degrees at 60 Hz."""


class CalibrationError(OpqError):
    """The calibration failed and nothing was changed; the text says what to do."""


@dataclass(frozen=True, slots=True)
class CalibrationReading:
    """Measurement of a span of samples, with the Box's present gain."""

    seconds: float
    rms_v: float
    """Rms of the alternating part: mean of the 10/12-cycle windows."""
    spread_v: float
    """Largest minus smallest rms of a window."""
    offset_lsb: float
    f_hz: float
    angle_deg: float | None
    """Angle at whole seconds of UTC; None where the Box's time or the source does not allow one."""


@dataclass(frozen=True, slots=True)
class Correction:
    """Values of the settings."""

    gain: float
    offset_lsb: float
    phase_ns: float


def read(blocks: Sequence[Samples], hello: Hello) -> CalibrationReading:
    """Checks and measures consecutive blocks without a gap.

    Raises:
        CalibrationError: blocks are clipped, or there is no steady mains voltage.
    """
    clipped = sum(bool(block.flags & FLAG_CLIPPED) for block in blocks)
    if clipped:
        raise CalibrationError(
            f"{clipped} of {len(blocks)} blocks are clipped: the voltage is beyond the converter's range"
        )
    counts = np.concatenate([block.counts for block in blocks]).astype(np.float64)
    rate_hz = blocks[-1].rate_millihz / 1000
    tracked = track(counts, rate_hz, float(hello.nominal_hz))
    edges = tracked.edges(1)
    if len(edges) < 2 * cycles_per_window(hello.nominal_hz):
        raise CalibrationError("no mains voltage is seen: fewer than two windows of whole cycles")
    first, last = round(float(edges[0])), round(float(edges[-1]))
    offset_lsb = float(np.mean(counts[first:last]))
    bounds = edges[:: cycles_per_window(hello.nominal_hz)]
    windows_v = cycle_rms_v((counts - offset_lsb) * hello.v_per_lsb, bounds)
    f_hz = tracked.frequency_hz(edges[0], edges[-1])
    rms_v, spread_v = float(windows_v.mean()), float(np.ptp(windows_v))
    if not spread_v <= STEADY_SHARE * rms_v:
        raise CalibrationError(
            f"the voltage is not steady: {windows_v.min():.2f} V to {windows_v.max():.2f} V within "
            f"{len(counts) / rate_hz:.0f} s; want less than {STEADY_SHARE:.1%} of change"
        )
    angle_deg = _angle_deg(blocks, counts - offset_lsb, rate_hz, f_hz)
    return CalibrationReading(len(counts) / rate_hz, rms_v, spread_v, offset_lsb, f_hz, angle_deg)


def correct(
    now: Correction, reading: CalibrationReading, reference_v: float, reference_angle_deg: float | None
) -> Correction:
    """The settings with which the Box would have read the reference.

    Raises:
        CalibrationError: the difference is too large for a calibration, or the phase cannot be measured.
    """
    if reading.rms_v < NO_SIGNAL_SHARE * reference_v:
        raise CalibrationError(
            f"the Box reads {reading.rms_v:.2f} V while the reference reads {reference_v:g} V: "
            "is the reference on the Box's terminals?"
        )
    gain = now.gain * reference_v / reading.rms_v
    if not GAIN[0] <= gain <= GAIN[1]:
        raise CalibrationError(
            f"the gain would be {gain:.3f}, and the Box takes {GAIN[0]:g} to {GAIN[1]:g}: "
            "divider, board or reference are wrong; check them"
        )
    phase_ns = now.phase_ns
    if reference_angle_deg is not None:
        if reading.angle_deg is None:
            raise CalibrationError(
                "the phase cannot be calibrated: the Box needs GPS time, and the source a whole number of Hz"
            )
        behind_deg = (reference_angle_deg - reading.angle_deg + 180.0) % 360.0 - 180.0
        phase_ns += behind_deg / 360.0 / reading.f_hz * 1e9
    return Correction(gain, now.offset_lsb + reading.offset_lsb, phase_ns)


def _angle_deg(
    blocks: Sequence[Samples], volts: NDArray[np.float64], rate_hz: float, f_hz: float
) -> float | None:
    """Angle of the fundamental at whole seconds, by least squares over all samples."""
    sources = {block.source for block in blocks}
    uncertain_ns = max(block.uncertainty_ns for block in blocks)
    known = sources <= {TimeSource.GPS, TimeSource.HOLDOVER} and uncertain_ns != UNKNOWN_UNCERTAINTY_NS
    whole_hz = round(f_hz)
    if not known or uncertain_ns > ANGLE_UNCERTAINTY_NS or abs(f_hz - whole_hz) > WHOLE_HZ:
        return None
    cycles = round(len(volts) / rate_hz * whole_hz) - 1
    used = round(cycles * rate_hz / whole_hz)  # whole cycles: harmonics and offset do not leak in
    seconds = (blocks[0].t_ns % 10**9) / 1e9 + np.arange(used) / rate_hz
    phasor = complex(np.mean(volts[:used] * np.exp(-2j * np.pi * whole_hz * seconds)))
    return float(np.degrees(np.angle(phasor)))
