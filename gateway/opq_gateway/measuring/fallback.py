"""Fallback: where samples are missing, the Box's own figures make the Measurement.

The Box computes on windows of its own, with wider tolerance; so each figure speaks only for the part of its
window that is missing here. What it does not know is absent. Pure; one Box.
"""

from collections import deque
from dataclasses import replace

from opq_gateway.measuring.measurements import Measured
from opq_proto.link_messages import BoxMeasurement
from opq_proto.messages import Measurement, Metric

KEPT = 64
"""Figures that wait for a gap to be known, a minute."""
LEAST_SHARE = 0.5
"""Of the Box's window that must be missing: a figure says little of a small part of what it is of."""


class Fallback:
    """Measurements and figures in, those of gaps out; all on one axis of sample indices."""

    def __init__(self) -> None:
        self._figures: deque[BoxMeasurement] = deque(maxlen=KEPT)
        self._before: Measured | None = None
        self._hole: tuple[Measured, Measured] | None = None

    def figures(self, figures: BoxMeasurement) -> list[Measurement]:
        """The Box's own; they may come behind the gap that they are of."""
        self._figures.append(figures)
        return self._filled()

    def ours(self, measured: Measured) -> list[Measurement]:
        """A Measurement of samples; it ends the hole behind the one before."""
        before, self._before = self._before, measured
        if before is not None and measured.first_sample > before.end_sample + 1:
            self._hole = before, measured
        elif self._hole is not None and measured.end_sample > self._hole[1].end_sample + self._reach():
            self._hole = None  # no figures of it come any more
        return self._filled()

    def restart(self) -> None:
        """Sample indices begin anew."""
        self._figures.clear()
        self._before = self._hole = None

    def _reach(self) -> float:
        return 4.0 * max((each.samples for each in self._figures), default=0)

    def _filled(self) -> list[Measurement]:
        if self._hole is None:
            return []
        found = []
        before, after = self._hole
        for figures in list(self._figures):
            first = max(float(figures.first_sample), before.end_sample)
            end = min(float(figures.first_sample + figures.samples), after.first_sample)
            if figures.first_sample + figures.samples <= before.end_sample:
                self._figures.remove(figures)
            elif figures.samples and end - first >= LEAST_SHARE * figures.samples:
                self._figures.remove(figures)
                found.append(_measurement(figures, before, after, first, end))
        return [each for each in found if each.metrics]


def _measurement(
    figures: BoxMeasurement, before: Measured, after: Measured, first: float, end: float
) -> Measurement:
    """Times between those of the Measurements on both sides."""
    start_ns, stop_ns = before.measurement.end_ns or 0, after.measurement.start_ns or 0
    per_sample = (stop_ns - start_ns) / (after.first_sample - before.end_sample)
    told = {"rms": figures.rms_v, "f": figures.f_hz, "thd": figures.thd, "trans": figures.trans_v}
    uncertainties = [each.measurement.uncertainty_ns or 0 for each in (before, after)]
    end_ns = start_ns + round((end - before.end_sample) * per_sample)
    return replace(
        before.measurement,
        timestamp_ms=(end_ns + 500_000) // 1_000_000,
        metrics={name: Metric(value, value, value) for name, value in told.items() if value is not None},
        start_ns=start_ns + round((first - before.end_sample) * per_sample),
        end_ns=end_ns,
        uncertainty_ns=max(uncertainties),
        source=min(before.measurement.source, after.measurement.source),
    )
