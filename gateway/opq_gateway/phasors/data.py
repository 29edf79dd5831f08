"""Data frames: one instant of all PMUs.

Source: IEEE C37.118.2-2011, table 5: per PMU STAT, phasor (magnitude, angle), FREQ, DFREQ; here all in
floating point, so FREQ is Hz (not a deviation) and DFREQ Hz/s. Fill is NaN, as the standard wants.
"""

import cmath
import math
import struct
from collections.abc import Sequence

from opq_gateway.measuring.values import Phasor
from opq_gateway.phasors.configuration import Stream
from opq_gateway.phasors.frames import Frame, Kind, Stamp
from opq_gateway.phasors.quality import CLOCK_FAILED, Standing, message_quality, stat

PMU = struct.Struct(">Hffff")
FILL = (math.nan,) * 4


def data(stream: Stream, t_ns: int, reports: Sequence[tuple[Phasor | None, Standing]]) -> Frame:
    """The frame of the report instant `t_ns`.

    Args:
        reports: one per station of the stream, in its order; None: absent or too late.
    """
    body = b"".join(PMU.pack(stat(standing), *_numbers(phasor, standing)) for phasor, standing in reports)
    there = [standing for _, standing in reports if standing.there]
    quality = max(
        (message_quality(standing.in_sync, standing.uncertainty_ns) for standing in there),
        default=CLOCK_FAILED,
    )
    seconds, fraction = stream.instant(t_ns)
    return Frame(Kind.DATA, stream.id_code, Stamp(seconds, fraction, quality), body)


def _numbers(phasor: Phasor | None, standing: Standing) -> tuple[float, ...]:
    """Rms volts, rad, Hz, Hz/s."""
    if phasor is None or not standing.there:
        return FILL
    size_v, angle_rad = cmath.polar(phasor.phasor_v)
    return size_v, angle_rad, phasor.frequency_hz, phasor.rocof_hz_per_s
