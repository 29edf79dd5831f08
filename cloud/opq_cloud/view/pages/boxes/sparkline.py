"""The lines of the last minutes on the front page, as SVG paths; all lines of a page share a scale. Pure.

The scale is in percent of each Box's nominal voltage and includes at least the normal range: a steady voltage
is a flat line, and a deep dip is deeper than a shallow one next to it. live.js draws the same.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from opq_cloud.view.live.recent import window_ms
from opq_cloud.view.pages.drawing.charts import known_metric
from opq_proto.kit.drawing import Axis, bar, line
from opq_proto.messages import Measurement, Metric

SPARK_POINTS = 150
SPARK_WIDTH = 240
"""Units of the viewBox of templates/parts.html."""
SPARK_HEIGHT = 48
SPARK_JOINT_MS = 500.0
"""Windows with a smaller distance are consecutive."""
NORMAL_PERCENT = (90.0, 110.0)
"""Percent of nominal; outside is a dip or a swell (IEC 61000-4-30, 5.4). Every scale spans at least this."""
SHOWN_PERCENT = (0.0, 200.0)
"""No scale extends further; a value beyond lies on the edge."""
SPARK_MARGIN = 0.05
"""Share of the scale that stays free above and below the line."""


@dataclass(frozen=True, slots=True)
class SparkStep:
    """The rms of a Measurement, from `start_ms` to `end_ms`; volts."""

    start_ms: float
    end_ms: int
    metric: Metric

    @property
    def length_ms(self) -> float:
        return self.end_ms - self.start_ms


@dataclass(frozen=True, slots=True)
class SparkScale:
    """Percent of nominal at the lower and the upper edge."""

    bottom: float
    top: float

    @property
    def axis(self) -> Axis:
        return Axis(self.bottom, self.top, SPARK_HEIGHT, is_upright=True)

    def y(self, percent: float) -> float:
        """The distance from the upper edge, 0 to SPARK_HEIGHT."""
        return self.axis.place(percent)


@dataclass(frozen=True, slots=True)
class Sparkline:
    """Two SVG paths, and the range of their values and time."""

    line: str
    band: str
    low_v: float
    high_v: float
    seconds: float


def spark_steps(measurements: Sequence[Measurement]) -> list[SparkStep]:
    """The Measurements with a rms value, each as long as its window."""
    return [
        SparkStep(item.timestamp_ms - window_ms(item), item.timestamp_ms, metric)
        for item in measurements
        if (metric := known_metric(item, "rms"))
    ]


def spark_scale(boxes: Iterable[tuple[Sequence[SparkStep], float]]) -> SparkScale:
    """The scale for all Boxes, from the steps and the nominal voltage in volts of each."""
    low, high = NORMAL_PERCENT
    for steps, nominal_v in boxes:
        for step in steps:
            low = min(low, step.metric.min / nominal_v * 100)
            high = max(high, step.metric.max / nominal_v * 100)
    low, high = max(low, SHOWN_PERCENT[0]), min(high, SHOWN_PERCENT[1])
    margin = (high - low) * SPARK_MARGIN
    return SparkScale(low - margin, high + margin)


def sparkline(steps: Sequence[SparkStep], nominal_v: float, scale: SparkScale) -> Sparkline | None:
    """The rms of the last minutes as SVG paths: the mean as a line, min to max as a band.

    A step is as wide as its window: nothing is drawn where nothing was measured. None for fewer than two
    steps.
    """
    if len(steps) < 2:
        return None
    group = -(-len(steps) // SPARK_POINTS)
    shown = [_widest(steps[k : k + group]) for k in range(0, len(steps), group)]
    first, last = shown[0].start_ms, shown[-1].end_ms

    time = Axis(first, max(last, first + 1), SPARK_WIDTH)

    level, percent = scale.axis, 100 / nominal_v
    means: list[tuple[float, float]] = []
    band: list[str] = []
    end_ms = first
    for step in shown:
        start_ms = max(step.start_ms, end_ms)  # a crossing lies within its window
        metric, begin, end = step.metric, time.place(start_ms), time.place(step.end_ms)
        if start_ms - end_ms >= SPARK_JOINT_MS:
            means.append((math.nan, math.nan))
        mean = level.place(metric.average * percent)
        means += [(begin, mean), (end, mean)]
        band.append(bar(begin, end, level.place(metric.max * percent), level.place(metric.min * percent)))
        end_ms = step.end_ms
    low_v = min(step.metric.min for step in shown)
    high_v = max(step.metric.max for step in shown)
    return Sparkline(line(means), "".join(band), low_v, high_v, (last - first) / 1000)


def _widest(steps: Sequence[SparkStep]) -> SparkStep:
    """One step for a few neighbours: their lowest, highest and mean."""
    metrics = [step.metric for step in steps]
    return SparkStep(
        steps[0].start_ms,
        steps[-1].end_ms,
        Metric(
            min(metric.min for metric in metrics),
            max(metric.max for metric in metrics),
            sum(metric.average for metric in metrics) / len(metrics),
        ),
    )
