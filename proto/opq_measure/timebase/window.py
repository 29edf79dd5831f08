"""A window: whole cycles of one run of samples, with context."""

from dataclasses import dataclass

from opq_measure.signal import FloatArray
from opq_measure.timebase.phase import Track


@dataclass(slots=True)
class Window:
    """Whole cycles of one run, with context. Positions are fractional samples in `volts`.

    Not `frozen`, because that costs 2 us for each; it is not changed after it is made.
    """

    index: int
    """Its number within the run, from 0."""
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
    window and after a tick, where it begins again."""
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
    """The first window after a 10-minute tick."""
    overlap: bool
    """The window runs over a 10-minute tick; it is complete, and the next overlaps it (4-30:2015, 4.5)."""
    track: Track
    """The fundamental over all of `volts`."""


CLOCK_SET_NS = 1_000_000
"""Difference of a window's lengths by UTC and by its samples above which the clock was set within it."""


@dataclass(slots=True)
class WindowTime:
    """When a window's values hold. `tick`: it begins at a tick of ten minutes; `overlap`: it runs over one.

    Without UTC, times count from any origin, e.g. from sample 0, and `utc` is False. Not changed after it is
    made.
    """

    start_ns: int
    end_ns: int
    tick: bool = False
    overlap: bool = False
    utc: bool = True

    @classmethod
    def of(cls, window: Window) -> "WindowTime":
        """The time of a window as `windows` cuts it; without UTC its time counts from the Box's sample 0.

        If the clock was set within the window (a leap second, the first fix), the start is computed from the
        end.
        """
        if window.start_ns is not None and window.end_ns is not None:
            lasts_ns = round(float(window.edges[-1] - window.edges[0]) * 1e9 / window.rate_hz)
            set_ns = window.end_ns - window.start_ns - lasts_ns
            start_ns = window.start_ns if abs(set_ns) <= CLOCK_SET_NS else window.end_ns - lasts_ns
            return cls(start_ns, window.end_ns, window.tick, window.overlap)
        start_ns, end_ns = (
            round((window.first_sample + float(edge)) * 1e9 / window.rate_hz)
            for edge in (window.edges[0], window.edges[-1])
        )
        return cls(start_ns, end_ns, utc=False)
