"""The Boxes of an incident's page: the voltage of each, and small pictures of those not drawn in full.

The most affected Boxes are drawn as Examine draws them (`examine/event_page.py`). All small pictures have
the same axes: they show the half-cycle rms, or the waveform where the class has no residual voltage.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from opq_cloud.store.event_record import EventRecord
from opq_cloud.view.pages.examine import signal_figures
from opq_cloud.view.pages.examine.event_page import ExaminePages
from opq_cloud.view.pages.examine.half_cycle_lines import lines_with_ledger
from opq_cloud.view.pages.examine.signal_reading import EventSignals, judged_nominals
from opq_cloud.view.pages.visible.shown_box import ShownBox
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web import words
from opq_proto.kit.drawing import Axis, line
from opq_proto.messages import Gap, Incident, Waveform

BOXES_SHOWN = 24
SMALL_WIDTH = 200.0
"""Units of the viewBox of a small picture."""
SMALL_HEIGHT = 60.0
SMALL_POINTS = 200
SMALL_MARGIN_MS = 40.0
"""Time before and after the incident in a small picture, at least."""
SMALL_MARGIN_SHARE = 0.3
"""The same as a share of the incident; the longer of both counts."""
SMALL_LOWEST_PERCENT = 85.0
"""Lower end of the scale of small pictures, or lower; percent of nominal."""
SMALL_HIGHEST_PERCENT = 115.0
"""Upper end of the scale, or higher."""


@dataclass(frozen=True, slots=True)
class SmallPicture:
    """An SVG path and the lines of nominal and of the incident's start and end, in the viewBox's units."""

    path: str
    nominal_y: float
    start_x: float
    end_x: float


@dataclass(frozen=True, slots=True)
class Panel:
    """One Box's voltage on the page."""

    box_id: str
    label: str
    nominal_v: float
    low_words: str
    low_v: float | None
    high_v: float | None
    gaps: tuple[str, ...]
    picture: SmallPicture | None = None
    """None for a Box that is drawn in full."""

    @property
    def deviation(self) -> float:
        """The largest deviation of its Urms(1/2) from nominal, as a share of it; 0 where none is known."""
        known = signal_figures.known((self.low_v, self.high_v))
        return max((abs(volts / self.nominal_v - 1) for volts in known), default=0.0)


@dataclass(frozen=True, slots=True)
class DrawnIncident:
    """The charts of the page, and what they are made of."""

    charts: Mapping[str, object]
    found: EventSignals
    series: Mapping[str, int]
    panels: Sequence[Panel]

    @classmethod
    def of(cls, incident: Incident, examine: ExaminePages) -> "DrawnIncident":
        charts, found, series = examine.embedded(incident, BOXES_SHOWN)
        return cls(charts, found, series, incident_panels(incident, found, series))

    @classmethod
    def without_charts(cls, context: VisitorContext, incident: Incident) -> "DrawnIncident":
        none = EventSignals((), (), {}, {}, 0, judged_nominals(context, incident))
        return cls({}, none, {}, ())


def incident_panels(incident: Incident, found: EventSignals, full: Iterable[str]) -> list[Panel]:
    """The Boxes of the incident first, then the others requested, each group most disturbed first.

    Args:
        found: all Boxes of the page.
        full: those that are drawn in full.
    """
    drawn = {*full}
    ranges = {box.box_id: _range_v(found, box.box_id) for box in found.shown}
    limits = _small_limits(found.shown, ranges)
    panels = [
        _panel(incident, found, box, ranges[box.box_id], None if box.box_id in drawn else limits)
        for box in found.shown
    ]
    return sorted(panels, key=lambda one: (one.box_id not in incident.box_ids, -one.deviation))


def shared_ns(part: Waveform | EventRecord, incident: Incident) -> int:
    """How much of the incident lies in the part; a negative value is the time between them."""
    return min(part.end_ns, incident.end_ns) - max(part.start_ns, incident.start_ns)


def _range_v(found: EventSignals, box_id: str) -> tuple[float | None, float | None]:
    """The lowest and highest Urms(1/2) of all samples of a Box, and of its gateway's half cycles."""
    parts: list[NDArray[Any]] = [run.rms_v for run in found.signals[box_id].runs]
    parts += [each for half in found.halves.get(box_id, ()) for each in (half.least_v, half.most_v)]
    parts = [part for part in parts if len(part)]
    if not parts:
        return None, None
    return min(float(part.min()) for part in parts), max(float(part.max()) for part in parts)


def _panel(
    incident: Incident,
    found: EventSignals,
    box: ShownBox,
    range_v: tuple[float | None, float | None],
    small: tuple[float, float] | None,
) -> Panel:
    low_v, high_v = range_v
    low_percent = None if low_v is None else low_v / box.nominal_v * 100
    return Panel(
        box_id=box.box_id,
        label=box.label,
        nominal_v=box.nominal_v,
        low_words=f"lowest {words.number(low_v, 1, 'V')}, {words.number(low_percent, 1, '%')}",
        low_v=low_v,
        high_v=high_v,
        gaps=tuple(_gap(gap) for gap in found.signals[box.box_id].gaps),
        picture=None if small is None else _small_picture(incident, found, box, small),
    )


def _small_limits(
    boxes: Iterable[ShownBox], ranges: dict[str, tuple[float | None, float | None]]
) -> tuple[float, float]:
    """Percent of nominal at the bottom and the top of all small pictures."""
    percents = [
        volts / box.nominal_v * 100 for box in boxes for volts in ranges[box.box_id] if volts is not None
    ]
    return min([SMALL_LOWEST_PERCENT, *percents]), max([SMALL_HIGHEST_PERCENT, *percents])


def _small_picture(
    incident: Incident, found: EventSignals, box: ShownBox, limits: tuple[float, float]
) -> SmallPicture:
    length_ms = (incident.end_ns - incident.start_ns) / 1e6
    margin_ms = max(SMALL_MARGIN_MS, SMALL_MARGIN_SHARE * length_ms)
    first_ms, last_ms = span = -margin_ms, length_ms + margin_ms
    signal, origin_ns = found.signals[box.box_id], incident.start_ns
    if incident.residual_percent is None:
        lines = signal_figures.wave_lines(signal, *span, origin_ns, SMALL_POINTS)
        high = max([1.0, *(float(abs(line.values).max()) for line in lines)]) * 1.08
        low, nominal_y = -high, SMALL_HEIGHT / 2
    else:
        low, high = (limit / 100 * box.nominal_v for limit in limits)
        lines = signal_figures.rms_lines(signal, *span, origin_ns, SMALL_POINTS)
        lines = lines_with_ledger(lines, found.halves.get(box.box_id, ()), span, origin_ns)
        nominal_y = (high - box.nominal_v) / (high - low) * SMALL_HEIGHT
    x, y = Axis(first_ms, last_ms, SMALL_WIDTH), Axis(low, high, SMALL_HEIGHT, is_upright=True)
    path = "".join(
        line(
            (x.place(t_ms), y.place(value) if math.isfinite(value) else math.nan)
            for t_ms, value in zip(each.t_ms.tolist(), each.values.tolist(), strict=True)
        )
        for each in lines
    )
    return SmallPicture(path, round(nominal_y, 1), round(x.place(0.0), 1), round(x.place(length_ms), 1))


def _gap(gap: Gap) -> str:
    why = gap.reason or "no reason given"
    return f"{gap.samples} samples from sample {gap.first_sample} are missing: {why}."
