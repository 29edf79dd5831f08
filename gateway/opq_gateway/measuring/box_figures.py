"""What a Box says of a window: its own figures and the values of its program.

The figures make the Measurement where samples are missing, and check ours elsewhere.

The Box's microcontroller has other windows, other filters and wider tolerances. So where samples are missing,
a figure counts only for the missing part of its window (Fallback). Only a large difference from ours counts
(CrossCheck), as from a wrong gain, a lost byte or broken firmware. What the Box does not know is absent.
Figures whose span overlaps samples that the Box lost are refused. Values of the channels of its program are
metrics of the Measurement (OwnChannels). Pure; one Box.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from math import inf
from statistics import fmean
from typing import Protocol

from opq_gateway.blocks import boot_id_of
from opq_gateway.counters import BoxCounters
from opq_gateway.measuring.measurements import Measured
from opq_gateway.ring.lost import GAP_REASONS
from opq_proto.link.messages import BoxMeasurement, ChannelValue
from opq_proto.measurement.continuity import FLAGGED, TOUCHES_GAP, GapReason, single
from opq_proto.measurement.own_channels import CHANNELS, kept_key
from opq_proto.messages import Gap, Measurement, Metric

WAITING_FIGURES = 64
"""Most figures that wait until a gap is known: a minute."""
MIN_SHARE = 0.5
"""Share of the Box's window that must be missing: a figure means little for a small part of its window."""


class Fallback:
    """Makes Measurements for gaps from the figures beside them; all on one axis of sample indices."""

    def __init__(self) -> None:
        self.refused = 0
        """Number of figures whose span overlaps samples that the Box lost."""
        self._figures: deque[BoxMeasurement] = deque(maxlen=WAITING_FIGURES)
        self._not_sampled: deque[Gap] = deque(maxlen=WAITING_FIGURES)
        self._before: Measured | None = None
        self._hole: tuple[Measured, Measured] | None = None

    def accept_figures(self, figures: BoxMeasurement) -> list[Measurement]:
        """Accepts the Box's figures, which may come after the gap that they cover."""
        self._figures.append(figures)
        return self._filled()

    def accept_gap(self, gap: Gap) -> None:
        """Accepts a gap; a span that the Box did not sample has no figures."""
        if GAP_REASONS.get(gap.reason) is GapReason.OVERRUN:
            self._not_sampled.append(gap)

    def accept_measured(self, measured: Measured) -> list[Measurement]:
        """Accepts a Measurement of samples, which ends the hole after the previous Measurement."""
        before, self._before = self._before, measured
        if before is not None and measured.first_sample > before.end_sample + 1:
            self._hole = before, measured
        elif self._hole is not None and measured.end_sample > self._hole[1].end_sample + self._reach():
            self._hole = None  # no more figures come for this hole
        return self._filled()

    def restart(self) -> None:
        """Sample indices begin again."""
        self._figures.clear()
        self._not_sampled.clear()
        self._before = self._hole = None

    def _reach(self) -> float:
        return 4.0 * max((each.samples for each in self._figures), default=0)

    def _crosses_hole(self, figures: BoxMeasurement) -> bool:
        end = figures.first_sample + figures.samples
        return any(
            gap.first_sample < end and figures.first_sample < gap.first_sample + gap.samples
            for gap in self._not_sampled
        )

    def _filled(self) -> list[Measurement]:
        if self._hole is None:
            return []
        found = []
        before, after = self._hole
        for figures in list(self._figures):
            if self._crosses_hole(figures):
                self._figures.remove(figures)
                self.refused += 1
                continue
            first = max(float(figures.first_sample), before.end_sample)
            end = min(float(figures.first_sample + figures.samples), after.first_sample)
            if figures.first_sample + figures.samples <= before.end_sample:
                self._figures.remove(figures)
            elif figures.samples and end - first >= MIN_SHARE * figures.samples:
                self._figures.remove(figures)
                found.append(_measurement(figures, before, after, first, end))
        return [each for each in found if len(each.metrics) > 1]


def _measurement(
    figures: BoxMeasurement, before: Measured, after: Measured, first: float, end: float
) -> Measurement:
    """A Measurement of the Box's figures, with times interpolated between the Measurements on both sides."""
    start_ns, stop_ns = before.measurement.end_ns or 0, after.measurement.start_ns or 0
    per_sample = (stop_ns - start_ns) / (after.first_sample - before.end_sample)
    values = {"rms": figures.rms_v, "f": figures.f_hz, "thd": figures.thd, "trans": figures.trans_v}
    uncertainties = [each.measurement.uncertainty_ns or 0 for each in (before, after)]
    end_ns = start_ns + round((end - before.end_sample) * per_sample)
    return replace(
        before.measurement,
        timestamp_ms=(end_ns + 500_000) // 1_000_000,
        metrics={
            **{name: single(value) for name, value in values.items() if value is not None},
            FLAGGED: single(TOUCHES_GAP),
        },
        start_ns=start_ns + round((first - before.end_sample) * per_sample),
        end_ns=end_ns,
        uncertainty_ns=max(uncertainties),
        source=min(before.measurement.source, after.measurement.source),
        first_sample=int(first),
        samples=int(end) - int(first),
    )


WAITING_VALUES = 256
"""Most values of a channel that wait for a Measurement: of four a window, 12 s."""
SILENT_MEASUREMENTS = 60
"""A channel without a value for so many Measurements makes room for another one."""


class OwnChannels:
    """Values of the channels of a Box's program in one start, each until a Measurement carries it."""

    def __init__(self, counters: BoxCounters, boot_id: int = 0) -> None:
        self._counters = counters
        self._boot_id = boot_id_of(boot_id)
        self._values: dict[str, deque[ChannelValue]] = {}
        self._silent: dict[str, int] = {}

    def accept_value(self, value: ChannelValue, before_sample: float = inf) -> None:
        """Accepts a value whose window began before a sample: a later one would wait, and keep its place."""
        key = None if value.value is None else kept_key(value.name, value.unit, value.value)
        has_place = key in self._values or len(self._values) < CHANNELS
        if key is None or not has_place or value.first_sample >= before_sample:
            self._counters.add("own_values_dropped")
            return
        waiting = self._values.setdefault(key, deque())
        self._silent[key] = 0
        if len(waiting) >= WAITING_VALUES:
            waiting.popleft()
            self._counters.add("own_values_dropped")
        waiting.append(value)
        self._counters.add("own_values")

    def of_span(self, end_sample: float, start_id: int | None = None) -> dict[str, Metric]:
        """The metrics of a Measurement up to this sample, with what came too late for the one before.

        One of another start, as of the ring, has none.
        """
        if start_id is not None and boot_id_of(start_id) != self._boot_id:
            return {}
        found = {}
        for key, waiting in list(self._values.items()):
            values = []
            while waiting and waiting[0].first_sample < end_sample:
                values.append(waiting.popleft().value or 0.0)
            if values:
                found[key] = Metric(min(values), max(values), fmean(values))
            elif not waiting:
                self._silent[key] += 1
                if self._silent[key] >= SILENT_MEASUREMENTS:
                    del self._values[key], self._silent[key]
        return found


RMS_SHARE = 0.02
"""Twice the class S limit of IEC 61000-4-30:2015, 5.2.1 (1 % of the declared voltage)."""
FREQUENCY_HZ = 0.1
"""Twice the class S limit of IEC 61000-4-30:2015, 5.1.2 (50 mHz)."""
THD_RATIO = 0.02
WINDOWS_CHECKED = 16


class Spanned(Protocol):
    """A span of samples on the Box's axis."""

    @property
    def first_sample(self) -> float: ...

    @property
    def end_sample(self) -> float: ...


class CrossCheck:
    """Compares the Box's figures with our windows; `checked` and `differing` count the results."""

    def __init__(self) -> None:
        self.checked = 0
        self.differing = 0
        self._ours: deque[tuple[float, float, Mapping[str, Metric]]] = deque(maxlen=WINDOWS_CHECKED)
        self._theirs: deque[BoxMeasurement] = deque(maxlen=WINDOWS_CHECKED)

    def accept_window(self, window: Spanned, metrics: Mapping[str, Metric]) -> None:
        """Accepts one of our windows with its metrics."""
        self._ours.append((window.first_sample, window.end_sample, metrics))
        self._compare()

    def accept_figures(self, figures: BoxMeasurement) -> None:
        """Accepts the Box's figures, which may come before or after ours."""
        self._theirs.append(figures)
        self._compare()

    def restart(self) -> None:
        """Sample indices begin again."""
        self._ours.clear()
        self._theirs.clear()

    def _compare(self) -> None:
        if not self._ours:
            return
        seen_to = self._ours[-1][1]
        while self._theirs and self._theirs[0].first_sample + self._theirs[0].samples <= seen_to:
            figures = self._theirs.popleft()
            first, end = figures.first_sample, figures.first_sample + figures.samples
            spans = [m for a, b, m in self._ours if a < end and b > first]
            if spans and self._ours[0][0] <= first:
                self.checked += 1
                self.differing += _differs(figures, spans)


def _differs(figures: BoxMeasurement, spans: list[Mapping[str, Metric]]) -> bool:
    for key, value, relative, absolute in (
        ("rms", figures.rms_v, RMS_SHARE, 0.0),
        ("f", figures.f_hz, 0.0, FREQUENCY_HZ),
        ("thd", figures.thd, 0.0, THD_RATIO),
    ):
        known = [metrics[key] for metrics in spans if key in metrics]
        if value is None or not known:
            continue
        low = min(metric.min for metric in known)
        high = max(metric.max for metric in known)
        slack = relative * high + absolute
        if not low - slack <= value <= high + slack:
            return True
    return False
