"""The panels of an event's page: paths, marks and rows for each of its Boxes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from opq_cloud.store.unknown_gain import gain_command
from opq_cloud.view.pages.drawing.charts import ChartLine
from opq_cloud.view.pages.examine import drawing, signal_figures
from opq_cloud.view.pages.examine.address import PANELS, ExamineAddress
from opq_cloud.view.pages.examine.half_cycle_lines import ledger_spans_ms, lines_with_ledger
from opq_cloud.view.pages.examine.signal_reading import EventSignals, measured_between
from opq_cloud.view.pages.examine.signals import BoxSignal
from opq_cloud.view.pages.visible.shown_box import ShownBox
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web import words
from opq_measure.events.disturbances import Limits
from opq_proto.kit.drawing import Tick
from opq_proto.messages import DISCIPLINED_NS, UNKNOWN_UNCERTAINTY_NS, Incident, TimeSource

MAX_SERIES = 6
GAPS_NAMED = 4
MIN_GAP_MS = 50.0
"""Measurements do not fill a shorter stretch without a waveform, because they are longer."""
MIN_V = 0.02
"""Least height of a chart of voltages, as a share of nominal, so that noise does not fill it."""
MIN_HZ = 0.02
"""Least height of a chart of frequencies, in hertz."""
Lines = Callable[[BoxSignal, float, float, int, int], list[ChartLine]]
LINES: dict[str, Lines] = {
    "wave": signal_figures.wave_lines,
    "missing": signal_figures.missing_lines,
    "residual": signal_figures.residual_lines,
    "rms": signal_figures.rms_lines,
    "frequency": signal_figures.frequency_lines,
}
HINTS = {
    "wave": "The voltage at the outlet, as sampled.",
    "rms": "Urms(1/2): the rms of one cycle, renewed every half cycle (IEC 61000-4-30, 5.4).",
    "missing": "The waveform less the wave of the six cycles before the incident, carried on for 120 cycles.",
    "residual": "The waveform less its own tracked fundamental: harmonics, transients and noise stay.",
    "frequency": "Of each cycle of the tracked fundamental; none where the phase steps, as a dip begins.",
}


@dataclass(frozen=True, slots=True)
class ShownClock:
    """The quality of a Box's clock."""

    words: str
    disciplined: bool
    uncertainty_ms: float | None


@dataclass(frozen=True, slots=True)
class Trace:
    """One Box in a chart."""

    box_id: str
    label: str
    series: int
    path: str
    bars: str = ""


@dataclass(frozen=True, slots=True)
class LimitLine:
    """A limit: percent from the top, its words, its tone."""

    percent: float
    words: str
    tone: str


@dataclass(frozen=True, slots=True)
class Lane:
    """One chart: of a Box, or of several on one scale."""

    name: str
    traces: tuple[Trace, ...]
    y_ticks: tuple[Tick, ...]
    unit: str
    gaps: tuple[drawing.DrawnSpan, ...] = ()
    doubts: tuple[drawing.DrawnSpan, ...] = ()
    """The span of possible times of the Box's onset."""
    levels: tuple[LimitLine, ...] = ()
    clock: ShownClock | None = None
    empty: str = ""
    """Why nothing is drawn."""


@dataclass(frozen=True, slots=True)
class TimePanel:
    """Charts of one kind, on the time axis."""

    name: str
    title: str
    hint: str
    lanes: tuple[Lane, ...] = field(default=())


class PanelMaker:
    """Makes the panels of one page request."""

    def __init__(
        self, context: VisitorContext, incident: Incident, address: ExamineAddress, found: EventSignals
    ) -> None:
        self._context, self._incident, self._address, self._found = context, incident, address, found
        self._origin_ns = incident.start_ns
        self._span = (address.start_ms, address.end_ms)
        air = address.length_ms * drawing.BESIDE_SHARE
        self._drawn = (address.start_ms - air, address.end_ms + air)
        self.series = {box.box_id: row % MAX_SERIES for row, box in enumerate(found.shown)}
        self.clocks = {box.box_id: self._clock(box.box_id) for box in found.shown}
        arrivals = {each.box_id: each for each in incident.arrivals}
        self._onsets_ms = {
            box_id: (arrivals[box_id].start_ns - incident.start_ns) / 1e6 if box_id in arrivals else None
            for box_id in self.series
        }

    def unknown_gains(self) -> list[tuple[str, str]]:
        """The Boxes whose volts are not known, and the command that states their gain."""
        return [
            (self._context.box(box_id).label, gain_command(box_id))
            for box_id, signal in self._found.signals.items()
            if any(not run.wave.gain_known for run in signal.runs)
        ]

    def lanes_of(self, name: str) -> TimePanel:
        """One chart per Box on one scale in shares of nominal: waveform, missing voltage, residual."""
        title, hint = _title(name)
        lines = {box.box_id: self._lines(name, box) for box in self._found.shown}
        per_unit = {
            box.box_id: self._per_unit(lines[box.box_id], 1.0 / box.nominal_v) for box in self._found.shown
        }
        scale = drawing.scale_of((line for each in per_unit.values() for line in each), MIN_V, even=True)
        lanes = []
        for box in self._found.shown:
            clock = self.clocks[box.box_id]
            if scale is None or not per_unit[box.box_id]:
                why = "No waveform of this stretch is stored."
                if name == "missing":
                    why = "No steady wave before the incident is stored, or this stretch is too far from it."
                lanes.append(Lane(box.label, (), (), "", self._gaps(box), (), (), clock, why))
                continue
            factor, unit = self._unit(box)
            path = drawing.trace(per_unit[box.box_id], scale, *self._span)
            lanes.append(
                Lane(
                    box.label,
                    (Trace(box.box_id, box.label, self.series[box.box_id], path),),
                    scale.ticks(factor),
                    unit,
                    self._gaps(box),
                    self._doubt(box),
                    (),
                    clock,
                )
            )
        return TimePanel(name, title, hint, tuple(lanes))

    def together(self, name: str) -> TimePanel:
        """All Boxes in one chart: Urms(1/2), with what is known between waveforms, or frequency."""
        is_rms = name == "rms"
        shown = self._found.shown
        lines = {
            box.box_id: self._per_unit(self._lines(name, box), 1.0 / box.nominal_v if is_rms else 1.0)
            for box in shown
        }
        rows = {box.box_id: self._between(box) if is_rms else [] for box in shown}
        every = [line for each in lines.values() for line in each]
        extremes = [value for each in rows.values() for row in each for value in row[2:]]
        limits = Limits()
        always = [limits.sag_percent / 100, limits.swell_percent / 100] if is_rms else []
        nominal = shown[0] if shown else None
        if not is_rms and nominal is not None:
            always = [nominal.nominal_hz]
        scale = drawing.scale_of(every, MIN_V if is_rms else MIN_HZ, [*always, *extremes])
        if scale is None and extremes:
            scale = drawing.Scale(min(*always, *extremes) - 0.02, max(*always, *extremes) + 0.02)
        title, hint = _title(name)
        if scale is None or nominal is None:
            lane = Lane(title, (), (), "", empty="No waveform of this stretch is stored.")
            return TimePanel(name, title, hint, (lane,))
        traces = tuple(
            Trace(
                box.box_id,
                box.label,
                self.series[box.box_id],
                drawing.trace(lines[box.box_id], scale, *self._span),
                drawing.bars(rows[box.box_id], scale, *self._span),
            )
            for box in shown
        )
        factor, unit = self._unit(nominal) if is_rms else (1.0, "Hz")
        levels = (
            (
                ("sag", limits.sag_percent, "down"),
                ("swell", limits.swell_percent, "up"),
                ("interruption", limits.interruption_percent, "out"),
            )
            if is_rms
            else ()
        )
        within = tuple(
            LimitLine(
                scale.percent(percent / 100), f"{words.class_phrase(kind)} {words.plain(percent, '%')}", tone
            )
            for kind, percent, tone in levels
            if scale.low < percent / 100 < scale.high
        )
        measured = bool(rows[nominal.box_id] or self._found.halves.get(nominal.box_id))
        gaps = tuple(replace(gap, measured=measured) for gap in self._gaps(nominal))
        gaps = gaps if len(shown) == 1 or is_rms else ()
        if is_rms and self._found.halves:
            hint += " Between two waveforms: the half cycles that the Box's gateway has kept."
        if any(rows.values()) and is_rms and self._found.halves:
            hint += " Where it has none: its Measurements, lowest to highest."
        elif any(rows.values()):
            hint += " Between two waveforms: the Box's Measurements, lowest to highest."
        lane = Lane(title, traces, scale.ticks(factor), unit, gaps, (), within)
        return TimePanel(name, title, hint, (lane,))

    def spectrograms(self) -> TimePanel:
        """Orders 2 to 25 in percent of nominal, by shades."""
        lanes = []
        for box in self._found.shown:
            columns = signal_figures.spectrogram(
                self._found.signals[box.box_id], box.nominal_v, *self._span, self._origin_ns
            )
            traces = tuple(
                Trace(box.box_id, box.label, shade, path)
                for shade, path in drawing.shades(columns, *self._span)
            )
            rows = signal_figures.ORDERS_SHOWN - 1
            ticks = tuple(
                Tick(round((1 - (order - 1.5) / rows) * 100, 2), str(order))
                for order in (3, 7, 11, 15, 19, 23)
            )
            empty = "" if columns else "No 0.2 s without a gap is stored around this stretch."
            clock = self.clocks[box.box_id]
            lanes.append(Lane(box.label, traces, ticks, "order", self._gaps(box), clock=clock, empty=empty))
        levels = ", ".join(f"{level:g}" for level in drawing.LEVEL_PERCENTS)
        hint = (
            f"Subgroups of orders 2 to {signal_figures.ORDERS_SHOWN} in 0.2 s (IEC 61000-4-7); darker from "
            f"{levels} % of nominal."
        )
        return TimePanel("spectrogram", "Spectrogram", hint, tuple(lanes))

    def _lines(self, name: str, box: ShownBox) -> list[ChartLine]:
        points = round(drawing.POINTS * (1 + 2 * drawing.BESIDE_SHARE))
        signal = self._found.signals[box.box_id]
        lines = LINES[name](signal, *self._drawn, self._origin_ns, points)
        if name != "rms":
            return lines
        halves = self._found.halves.get(box.box_id, ())
        return lines_with_ledger(lines, halves, self._drawn, self._origin_ns)

    @staticmethod
    def _per_unit(lines: Sequence[ChartLine], factor: float) -> list[ChartLine]:
        return [ChartLine(line.t_ms, line.values * factor, line.reduced) for line in lines]

    def _unit(self, box: ShownBox) -> tuple[float, str]:
        """The displayed value of nominal, and its unit."""
        return {"V": (box.nominal_v, "V"), "pu": (1.0, "pu"), "percent": (100.0, "%")}[self._address.unit]

    def _clock(self, box_id: str) -> ShownClock:
        runs = self._found.signals[box_id].runs
        if not runs:
            return ShownClock("no waveform", True, None)
        worst = max((run.wave for run in runs), key=lambda wave: wave.uncertainty_ns)
        unknown = worst.uncertainty_ns >= UNKNOWN_UNCERTAINTY_NS
        poor = worst.uncertainty_ns > DISCIPLINED_NS or worst.source is TimeSource.FREE
        text = f"time by {words.source(worst.source)}, {words.uncertainty(worst.uncertainty_ns)}"
        return ShownClock(text, not poor, None if unknown else worst.uncertainty_ns / 1e6)

    def _doubt(self, box: ShownBox) -> tuple[drawing.DrawnSpan, ...]:
        """The uncertainty of the Box's time around its onset, or cursor A; all of the axis where unknown."""
        clock = self.clocks[box.box_id]
        onset_ms = self._onsets_ms[box.box_id]
        about_ms = self._address.a_ms if onset_ms is None else onset_ms
        if clock.uncertainty_ms is None:
            return (drawing.drawn_span(*self._drawn, self._span, "time not known"),)
        first, last = about_ms - clock.uncertainty_ms, about_ms + clock.uncertainty_ms
        if last < self._drawn[0] or first > self._drawn[1]:
            return ()
        return (
            drawing.drawn_span(first, last, self._span, "start here" if onset_ms is not None else "A here"),
        )

    def _gaps(self, box: ShownBox) -> tuple[drawing.DrawnSpan, ...]:
        """The stretches without samples; those between two waveforms have words."""
        signal = self._found.signals[box.box_id]
        runs = signal.runs
        begin = min([self._drawn[0], *(run.first_ms(self._origin_ns) for run in runs[:1])])
        stop = max([self._drawn[1], *(run.last_ms(self._origin_ns) for run in runs[-1:])])
        found = []
        for first, last in signal.gaps_ms(begin, stop, self._origin_ns):
            if last <= self._drawn[0] or first >= self._drawn[1]:
                continue
            inside = begin < first and last < stop
            name = f"{words.duration((last - first) / 1000.0)} without a waveform" if inside else ""
            found.append(drawing.drawn_span(first, last, self._span, name))
        return tuple(found)

    def _between(self, box: ShownBox) -> list[tuple[float, float, float, float]]:
        """Measurements, per unit of nominal, where there is neither a waveform nor a half cycle."""
        signal = self._found.signals[box.box_id]
        gaps = signal.gaps_ms(*self._drawn, self._origin_ns)
        for half in self._found.halves.get(box.box_id, ()):
            for span in ledger_spans_ms(half, self._origin_ns):
                gaps = [part for gap in gaps for part in _outside(gap, span)]
        gaps = [(first, last) for first, last in gaps if last - first >= MIN_GAP_MS]
        rows = []
        for first, last in sorted(gaps, key=lambda gap: gap[0] - gap[1])[:GAPS_NAMED]:
            measured = measured_between(self._context, box.box_id, first, last, self._origin_ns)
            rows += [
                (begin, stop, low / box.nominal_v, high / box.nominal_v)
                for begin, stop, low, high in measured
            ]
        return [row for row in rows if math.isfinite(row[2]) and math.isfinite(row[3])]


def _outside(gap: tuple[float, float], span: tuple[float, float]) -> list[tuple[float, float]]:
    """The parts of a gap before and after a span."""
    before, after = (gap[0], min(gap[1], span[0])), (max(gap[0], span[1]), gap[1])
    return [part for part in (before, after) if part[1] > part[0]]


def _title(name: str) -> tuple[str, str]:
    return PANELS[name], HINTS.get(name, "")
