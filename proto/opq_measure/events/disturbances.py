"""Every dip, swell and interruption of a signal: a Detector run over all of it.

Source: IEC 61000-4-30:2015, 5.4 and 5.5; names IEEE 1159-2019.
"""

import numpy as np

from opq_measure.events.detector import Detector
from opq_measure.events.disturbance import Disturbance
from opq_measure.events.limits import Limits
from opq_measure.signal import FloatArray, SignalArray
from opq_measure.timebase.cycles import track

__all__ = ["Disturbance", "Limits", "disturbances_in", "find_disturbances"]

HALF_CYCLES_AT_ONCE = 600
"""5 or 6 seconds, enough for fast array operations and little memory even for a day of signal."""


def find_disturbances(
    volts: SignalArray,
    rate_hz: float,
    nominal_v: float = 120.0,
    nominal_hz: float = 60.0,
    limits: Limits | None = None,
) -> tuple[Disturbance, ...]:
    """Every dip, swell and interruption of a signal, in time order.

    Args:
        volts: (n,) volts; DC may stay in.
        nominal_v: Udin, the declared voltage to which `limits` refer.
    Returns:
        Empty when there is none, also for a signal shorter than two cycles.
    Raises:
        ValueError: see `signal.check_signal`; `nominal_v` is not positive.

    Error: see `detector.Detector`.
    """
    detector = Detector(rate_hz, nominal_v, nominal_hz, limits)
    return disturbances_in(detector, volts, track(volts, rate_hz, nominal_hz).edges(2))


def disturbances_in(
    detector: Detector, volts: SignalArray, half_edges: FloatArray
) -> tuple[Disturbance, ...]:
    """What a new detector finds in a whole run with known half-cycle edges; `volts` may be memory-mapped."""
    notices = []
    done = 0
    for first in range(0, len(half_edges), HALF_CYCLES_AT_ONCE):
        edges = half_edges[first : first + HALF_CYCLES_AT_ONCE]
        upto = int(np.ceil(edges[-1])) + 1 if first + len(edges) < len(half_edges) else len(volts)
        notices += detector.push_volts(volts[done:upto], edges)
        done = min(upto, len(volts))
    notices += detector.end()
    return tuple(notice for notice in notices if isinstance(notice, Disturbance))
