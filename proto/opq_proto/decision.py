"""What a trigger gets beside a Measurement (an analysis, beside an event), and what it answers."""

from dataclasses import dataclass

from opq_proto.messages import Measurement

NS_PER_MS = 1_000_000
ORIGINAL_WINDOW_MS = 1000
"""60 windows of a nominal 60 Hz cycle: an original Box sends only the end (opq-interop A.3, G.1)."""


@dataclass(frozen=True, slots=True)
class Nominal:
    """What a Box is meant to measure, volts and hertz."""

    volts: float
    hz: float


@dataclass(frozen=True, slots=True)
class Decision:
    """A measurement is worth looking at: which quantity, its value and the limit it passed."""

    metric: str
    """Wire key: rms, f, thd or trans."""
    value: float
    limit: float
    because: str
    """One sentence, for the event."""
    span_ns: tuple[int, int] | None = None
    """Where a disturbance is over (or has lasted long enough), [start_ns, end_ns) of all windows that
    show it: no onset, and asked for only where no event has it. None: an onset, in this window."""
    since_ns: int | None = None
    """When it began, where `span_ns` is the end of a long disturbance alone."""


def window_ns(measurement: Measurement) -> tuple[int, int]:
    """[start_ns, end_ns) of its window; an original Box's start is its end minus 1 s."""
    end_ns = measurement.end_ns
    if end_ns is None:
        end_ns = measurement.timestamp_ms * NS_PER_MS
    start_ns = measurement.start_ns
    if start_ns is None or start_ns > end_ns:
        start_ns = end_ns - ORIGINAL_WINDOW_MS * NS_PER_MS
    return start_ns, end_ns
