"""The waveforms of an incident's Boxes: the most affected first in full, the others as small pictures.

The page draws the first DRAWN Boxes in full. All small pictures have the same axes. A small picture shows the
half-cycle rms, or the waveform where the class has no residual voltage.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from opq_cloud.judged_nominal import JudgedNominals
from opq_cloud.store.event_record import EventRecord
from opq_cloud.view import charts, words
from opq_cloud.view.context import ShownBox, ViewContext, label
from opq_cloud.view.half_cycle_lines import whole_line
from opq_cloud.view.languages import _
from opq_proto.half_cycles import HalfCycleRms
from opq_proto.messages import Event, Gap, Incident, Waveform

DRAWN = 3
"""Boxes with charts of their own; each requests its samples, and has a table of its half cycles."""
BOXES_SHOWN = 24
SHOWN_PERCENT = 1.0
"""A curve that comes this near to a finding's residual shows it."""
TABLE_ROWS = 120
TABLE_MARGIN_MS = 60.0
SMALL_WIDTH, SMALL_HEIGHT = 200.0, 60.0
"""The viewBox of a small picture."""
SMALL_POINTS = 200
SMALL_MARGIN_MS, SMALL_MARGIN = 40.0, 0.3
"""Time before and after the incident: at least this long, and at least this share of it."""
SMALL_LOWEST, SMALL_HIGHEST = 85.0, 115.0
"""Percent of nominal that small pictures span at least."""


@dataclass(frozen=True, slots=True)
class SmallPicture:
    """An SVG path and the lines of nominal and of the incident's start and end, in the viewBox's units."""

    path: str
    nominal_y: float
    start_x: float
    end_x: float


@dataclass(frozen=True, slots=True)
class Panel:
    """One Box's waveform on the page."""

    event_id: int
    box_id: str
    label: str
    nominal_v: float
    peak_v: float
    """Half the height of the chart, the same for all Boxes."""
    caption: str
    low_words: str
    low_v: float | None
    high_v: float | None
    gaps: tuple[str, ...]
    rows: tuple[charts.HalfCycle, ...]
    """Empty for a small picture."""
    picture: SmallPicture | None = None
    """None for a Box that is drawn in full."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """A Box's waveform, measured once."""

    event_id: int
    wave: Waveform
    nominal_v: float
    nominal_hz: float
    label: str
    envelope: charts.ChartLine
    extremes: charts.Extremes
    between: bool = False
    """Whether its envelope continues between the ends of a long disturbance, as its gateway recorded it."""

    @property
    def deviation(self) -> float:
        """The largest deviation of its Urms(1/2) from nominal, as a share of it; 0 where none is known."""
        known = [volts for volts in (self.extremes.low_v, self.extremes.high_v) if volts is not None]
        return max((abs(volts / self.nominal_v - 1) for volts in known), default=0.0)


def incident_panels(
    context: ViewContext,
    incident: Incident,
    events: Sequence[Event],
    judged: JudgedNominals,
    draw_all: bool = False,
) -> list[Panel]:
    """The Boxes of the incident first, then the others requested, each group most disturbed first.

    Args:
        judged: the nominal voltage by which each Box was judged.
        draw_all: draws all Boxes in full, instead of the first DRAWN.
    """
    candidates: dict[str, list[tuple[int, Waveform]]] = {}
    halves: dict[str, tuple[int, HalfCycleRms]] = {}
    for event in events:
        for wave in event.waveforms:
            candidates.setdefault(wave.box_id, []).append((event.event_id, wave))
        halves |= {box_id: (event.event_id, each) for box_id, each in context.half_cycles(event.event_id)}
    order = [box_id for box_id in incident.box_ids if box_id in candidates]
    order += [box_id for box_id in candidates if box_id not in incident.box_ids]
    seen = [
        _drawn(context.judged_box(box_id, judged), incident, candidates[box_id], halves.get(box_id))
        for box_id in order[:BOXES_SHOWN]
    ]
    seen.sort(key=lambda one: (one.wave.box_id not in incident.box_ids, -one.deviation))
    peaks_v = [float(abs(one.wave.volts).max()) for one in seen if len(one.wave.counts)]
    peak_v = max([1.0, *peaks_v]) * 1.08
    limits = _small_limits(seen)
    return [
        _panel(incident, one, peak_v, None if draw_all or row < DRAWN else limits)
        for row, one in enumerate(seen)
    ]


def _drawn(
    record: ShownBox,
    incident: Incident,
    candidates: Sequence[tuple[int, Waveform]],
    half: tuple[int, HalfCycleRms] | None,
) -> _Seen:
    """Chooses the waveform that shows the Box's finding, or of several the one with most of the incident.

    `half`: for a long disturbance, the event with its half cycles, and these; that event is drawn.
    """
    found = []
    for event_id, wave in candidates:
        envelope = charts.envelope_line(wave, incident.start_ns, record.nominal_hz)
        between = half is not None and half[0] == event_id
        if half is not None and between:
            envelope = whole_line([envelope], half[1], incident.start_ns)
        extremes = charts.extremes(envelope)
        facts = record.nominal_v, record.nominal_hz, label(record)
        found.append(_Seen(event_id, wave, *facts, envelope, extremes, between))
    if len(found) == 1:
        return found[0]
    worst = words.worst(incident, record.box_id)
    residual = None if worst is None else worst.finding.residual_percent

    def rank(one: _Seen) -> tuple[bool, bool, int, int]:
        volts = [each for each in (one.extremes.low_v, one.extremes.high_v) if each is not None]
        percents = [each / one.nominal_v * 100 for each in volts]
        shows = residual is None or any(abs(percent - residual) < SHOWN_PERCENT for percent in percents)
        return one.between, shows, shared_ns(one.wave, incident), -one.event_id

    return max(found, key=rank)


def shared_ns(part: Waveform | EventRecord, incident: Incident) -> int:
    """How much of the incident lies in the part; a negative value is the time between them."""
    return min(part.end_ns, incident.end_ns) - max(part.start_ns, incident.start_ns)


def _panel(incident: Incident, one: _Seen, peak_v: float, small: tuple[float, float] | None) -> Panel:
    wave, low_v = one.wave, one.extremes.low_v
    length_ms = (incident.end_ns - incident.start_ns) / 1e6
    low_percent = None if low_v is None else low_v / one.nominal_v * 100
    return Panel(
        event_id=one.event_id,
        box_id=wave.box_id,
        label=one.label,
        nominal_v=one.nominal_v,
        peak_v=peak_v,
        caption=_caption(one),
        low_words=_(
            "lowest %(volts)s, %(percent)s",
            volts=words.number(low_v, 1, "V"),
            percent=words.number(low_percent, 1, "%"),
        ),
        low_v=low_v,
        high_v=one.extremes.high_v,
        gaps=tuple(_gap(gap, wave) for gap in wave.gaps),
        rows=()
        if small is not None
        else charts.half_cycle_table(
            wave, incident.start_ns, one.nominal_hz, -TABLE_MARGIN_MS, length_ms + TABLE_MARGIN_MS, TABLE_ROWS
        ),
        picture=None if small is None else _small_picture(incident, one, peak_v, small),
    )


def _caption(one: _Seen) -> str:
    wave = one.wave
    caption = _(
        "%(time)s at %(rate)s, time by %(source)s, %(uncertainty)s",
        time=words.duration(len(wave.counts) * 1000 / wave.rate_millihz),
        rate=f"{wave.rate_millihz / 1e6:.5g}{words.THIN}kS/s",
        source=words.source(wave.source),
        uncertainty=words.uncertainty(wave.uncertainty_ns),
    )
    if not one.between:
        return caption
    return _("%(caption)s; half-cycle rms between its ends as its gateway kept it", caption=caption)


def _small_limits(seen: Sequence[_Seen]) -> tuple[float, float]:
    """Percent of nominal at the bottom and the top of all small pictures."""
    lows = [one.extremes.low_v / one.nominal_v * 100 for one in seen if one.extremes.low_v is not None]
    highs = [one.extremes.high_v / one.nominal_v * 100 for one in seen if one.extremes.high_v is not None]
    return min([SMALL_LOWEST, *lows]), max([SMALL_HIGHEST, *highs])


def _small_picture(
    incident: Incident, one: _Seen, peak_v: float, limits: tuple[float, float]
) -> SmallPicture:
    length_ms = (incident.end_ns - incident.start_ns) / 1e6
    margin_ms = max(SMALL_MARGIN_MS, SMALL_MARGIN * length_ms)
    first_ms, last_ms = -margin_ms, length_ms + margin_ms
    if incident.residual_percent is None:
        line = charts.waveform_line(one.wave, incident.start_ns, first_ms, last_ms, SMALL_POINTS)
        low, high = -peak_v, peak_v
        nominal_y = SMALL_HEIGHT / 2
    else:
        low, high = (limit / 100 * one.nominal_v for limit in limits)
        inside = (one.envelope.t_ms >= first_ms) & (one.envelope.t_ms <= last_ms)
        line = charts.ChartLine(one.envelope.t_ms[inside], one.envelope.values[inside])
        nominal_y = (high - one.nominal_v) / (high - low) * SMALL_HEIGHT

    def x(t_ms: float) -> float:
        return round((t_ms - first_ms) / (last_ms - first_ms) * SMALL_WIDTH, 1)

    return SmallPicture(_path(line, x, low, high), round(nominal_y, 1), x(0.0), x(length_ms))


def _path(line: charts.ChartLine, x: Callable[[float], float], low: float, high: float) -> str:
    """An SVG path that breaks where the line does."""
    parts: list[str] = []
    broken = True
    for t_ms, value in zip(line.t_ms.tolist(), line.values.tolist(), strict=True):
        if not math.isfinite(value):
            broken = True
            continue
        y = min(max((high - value) / (high - low), 0.0), 1.0) * SMALL_HEIGHT
        parts.append(f"{'M' if broken else 'L'}{x(t_ms):g} {y:.1f}")
        broken = False
    return "".join(parts)


def _gap(gap: Gap, wave: Waveform) -> str:
    why = gap.reason or _("no reason given")
    return _(
        "%(samples)s samples from sample %(first_sample)s are missing: %(why)s.",
        samples=gap.samples,
        first_sample=gap.first_sample,
        why=why,
    )
