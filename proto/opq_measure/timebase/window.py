"""A window: whole cycles of one run of samples, with context."""

from dataclasses import dataclass

from opq_measure.signal import FloatArray
from opq_measure.timebase.phase import Track


@dataclass(slots=True)
class Window:
    """Whole cycles of one run, with context. Positions are fractional samples in `volts`.

    Not `frozen`: that costs 2 us to make. Nobody changes one.
    """

    index: int
    """Of the run, from 0."""
    first_sample: int
    """Index of `volts[0]` on the Box's axis."""
    volts: FloatArray
    """(n,) the window and 3 cycles or more on both sides, less at the ends of the run."""
    edges: FloatArray
    """(cycles + 1,) cycle edges; the window is edges[0] .. edges[-1]."""
    half_edges: FloatArray
    """(2 cycles + 1,) half-cycle edges."""
    half_before: float
    """The half-cycle edge before the start, so that Urms(1/2) goes on over the joint; NaN for a run's first
    window and behind a tick, where it begins anew."""
    next_half: float
    """The half-cycle edge after the end, so that Urms(1/2) goes on over the joint; NaN at the run's end."""
    rate_hz: float
    nominal_hz: float
    start_ns: int | None
    end_ns: int | None
    """UTC of the first and last edge; None when the time is not known."""
    frequency_hz: float
    """Slope of the phase over the window; NaN when it is not `known`."""
    known: bool
    """The fundamental was seen in at least half of the window."""
    tick: bool
    """The first behind a 10-minute tick."""
    overlap: bool
    """Runs over a 10-minute tick; complete, and overlapped by the next (4-30:2015, 4.5)."""
    track: Track
    """The fundamental over all of `volts`."""
