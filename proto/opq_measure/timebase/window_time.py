"""When a window's values hold, by UTC or, without it, by the Box's own count of samples."""

from dataclasses import dataclass

from opq_measure.timebase.window import Window

CLOCK_SET_NS = 1_000_000
"""A window that by UTC lasts so much longer or shorter than its samples: the clock was set within it."""


@dataclass(slots=True)
class WindowTime:
    """When a window's values hold. `tick`: it begins at a tick of ten minutes; `overlap`: it runs over one.

    Without UTC times count from anywhere, e.g. from sample 0, and `utc` is False. Nobody changes one.
    """

    start_ns: int
    end_ns: int
    tick: bool = False
    overlap: bool = False
    utc: bool = True

    @classmethod
    def of(cls, window: Window) -> "WindowTime":
        """Of a window as `windows` cuts it; without UTC its time counts from the Box's sample 0.

        A clock that was set within the window (a leap second, the first fix) is taken as it is at its end.
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
