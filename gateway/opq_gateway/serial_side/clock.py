"""Clock: the time of a block, as the Box told it; the system's where the Box has none.

The Box stamps its samples, and the gateway passes the stamps on. Only a Box that says that it
does not know the time (source FREE, uncertainty unknown) and shows it (a minute or more off) is
anchored: the first block of a run ends now by the system's clock, later ones follow by sample
index and rate, so that jitter of the serial line and steps of the system's clock never show.
Decided once per run of sample indices. Pure: the caller hands in the clocks.
"""

from collections.abc import Callable
from dataclasses import dataclass

from opq_proto.clock import ClockState
from opq_proto.link_messages import Samples
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, TimeSource

ARRIVAL_NS = 50_000_000
"""Bound assumed from a block's last sample to here: 5 ms on a 921,600-baud line, 4 ms of collecting,
the rest for a busy machine to schedule this process."""
DRIFT_PPB = 50_000
"""Assumed of an undisciplined crystal over temperature: 50 ppm."""
PLAUSIBLE_NS = 60_000_000_000
"""A FREE stamp this near to the system's clock was set by somebody: it is kept, so that Boxes that
share a clock stay on one time axis (arrival here would add its jitter to each)."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """UTC of a block's first sample."""

    t_ns: int
    uncertainty_ns: int
    source: TimeSource


class Anchor:
    """Gives each block of one run of sample indices its time."""

    def __init__(self, now_ns: Callable[[], int], system_clock: Callable[[], ClockState]) -> None:
        self._now_ns = now_ns
        self._system_clock = system_clock
        self._anchor: tuple[int, Stamp] | None = None
        self._believed = False
        self.steps = 0
        self.last_step_ns = 0
        self.step_reason = ""

    def stamp(self, samples: Samples) -> Stamp:
        """The Box's own time; where it has none, by the anchor."""
        told = samples.source != TimeSource.FREE or samples.uncertainty_ns != UNKNOWN_UNCERTAINTY_NS
        if self._anchor is None and not told and not self._believed:
            self._believed = abs(samples.t_ns - self._now_ns()) < PLAUSIBLE_NS
        if told or self._believed:
            return Stamp(samples.t_ns, samples.uncertainty_ns, samples.source)
        if self._anchor is None:
            length_ns = len(samples.counts) * 10**12 // samples.rate_millihz
            clock = self._system_clock()
            bound_ns = min(clock.uncertainty_ns + ARRIVAL_NS, UNKNOWN_UNCERTAINTY_NS)
            first = Stamp(self._now_ns() - length_ns, bound_ns, clock.source)
            self._anchor = (samples.first_sample, first)
        sample, at = self._anchor
        elapsed_ns = (samples.first_sample - sample) * 10**12 // samples.rate_millihz
        drift_ns = abs(elapsed_ns) * DRIFT_PPB // 10**9
        return Stamp(
            at.t_ns + elapsed_ns, min(at.uncertainty_ns + drift_ns, UNKNOWN_UNCERTAINTY_NS), at.source
        )
