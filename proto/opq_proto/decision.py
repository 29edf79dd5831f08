"""What a trigger gets in addition to a Measurement (an analysis, to an event), and what it returns."""

from dataclasses import dataclass

from opq_proto.messages import Measurement
from opq_proto.time_units import NS_PER_MS as NS_PER_MS

ORIGINAL_WINDOW_MS = 1000
"""60 windows of a nominal 60 Hz cycle: an original Box sends only their end (docs/reference/opq-interop.md
A.3, G.1)."""


@dataclass(frozen=True, slots=True)
class Nominal:
    """Nominal values of a Box, volts and hertz."""

    volts: float
    hz: float


@dataclass(frozen=True, slots=True)
class Decision:
    """Why a Measurement is worth an event: the quantity, its value and the limit that it passed."""

    metric: str
    """Wire key: rms, f, thd or trans."""
    value: float
    limit: float
    because: str
    """One sentence for the event."""
    span_ns: tuple[int, int] | None = None
    """None for an onset, in this window. For a disturbance that is over (or has lasted long enough)
    [start_ns, end_ns) of all windows that show it, requested only where no event has it."""
    since_ns: int | None = None
    """When it began, where `span_ns` is only the end of a long disturbance."""


def window_ns(measurement: Measurement) -> tuple[int, int]:
    """Returns [start_ns, end_ns) of a Measurement's window; for an original Box start is end minus 1 s."""
    end_ns = measurement.end_ns
    if end_ns is None:
        end_ns = measurement.timestamp_ms * NS_PER_MS
    start_ns = measurement.start_ns
    if start_ns is None or start_ns > end_ns:
        start_ns = end_ns - ORIGINAL_WINDOW_MS * NS_PER_MS
    return start_ns, end_ns
