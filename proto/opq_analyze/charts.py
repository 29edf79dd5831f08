"""The charts of one recording as SVG: waveform, rms, frequency and spectrum.

A chart is as wide as its place, on a phone too: places are percents, and lines keep their width. It has no
colours and no script; they are the page's, by the names of the classes, which are those of View.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from opq_analyze.excerpt import STEADY_SHARE, excerpt
from opq_analyze.measuring import Measured
from opq_analyze.phases import Phases
from opq_measure.analysis.analysed import SignalAnalysis
from opq_measure.events.disturbance import Disturbance
from opq_measure.events.limits import Limits
from opq_measure.signal import FloatArray
from opq_proto.kit import drawing
from opq_proto.kit.drawing import HEIGHT, WIDTH, Axis, Tick

COLUMNS = 1000
"""Points across a drawing; if there are more values, only the extremes are drawn, so that peaks stay
visible."""
MOST_SPANS = 200
WAVE_CYCLES = 24.0
MIN_HZ = 0.02
"""Smallest height of an axis of frequency, so that noise is not drawn large."""
MIN_PERCENT = 1.0
"""Smallest height of an axis of harmonics, so that noise is not drawn large."""
AXES_S = ((2 * 3600.0, 3600.0, "h"), (600.0, 60.0, "min"), (0.0, 1.0, "s"))
"""Rows of (least length in seconds, seconds per unit, unit)."""
Band = tuple[FloatArray, FloatArray, FloatArray]
"""Places on the x axis, with the least and the most value there; NaN parts the line."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The values at the edges of a drawing."""

    left: float
    right: float
    bottom: float
    top: float
    unit: str

    @property
    def x(self) -> Axis:
        return Axis(self.left, self.right, WIDTH)

    @property
    def y(self) -> Axis:
        return Axis(self.bottom, self.top, HEIGHT, is_upright=True)


@dataclass(frozen=True, slots=True)
class Chart:
    """One drawing. `traces`: name and path of each line; `bars`: name and path of each kind of bar."""

    title: str
    frame: Frame
    traces: tuple[tuple[str, str], ...] = ()
    bars: tuple[tuple[str, str], ...] = ()
    spans: tuple[tuple[float, float], ...] = ()
    """Events, from and to in units of the x axis."""
    levels: tuple[tuple[float, str], ...] = ()
    """Limits, with their words."""


def charts_of(found: Measured, limits: Limits, phases: Phases | None) -> list[Chart]:
    """The charts that have data."""
    made = [_wave(found), _rms(found, limits, phases), _frequency(found.analysis), _spectrum(found)]
    return [each for each in made if each is not None]


def chart_html(chart: Chart) -> str:
    """The chart as a figure; its words are also in the tables of the page."""
    frame = chart.frame
    plot = [f'<figure class="chart history" role="img" aria-label="{escape(chart.title)}">']
    names = [name for name, _ in (*chart.traces, *chart.bars)]
    keys = "".join(
        f' <span class="named key-{k}">{escape(name)}</span>' for k, name in enumerate(names) if name
    )
    plot.append(f"<figcaption><strong>{escape(chart.title)}</strong>{keys}</figcaption>")
    plot.append('<svg class="history-plot" aria-hidden="true">')
    for first, last in chart.spans:
        left, right = (min(max(frame.x.share(each), 0.0), 1.0) for each in (first, last))
        width = max(100 * (right - left), 0.1)
        plot.append(drawing.span("incident-span", round(100 * left, 3), round(width, 3)))
    y_ticks = frame.y.ticks()
    shown_x = [] if frame.right <= frame.left else frame.x.ticks()
    x_ticks: list[Tick] = [each for each in shown_x if each.percent < 95]
    plot += [drawing.grid(y_ticks), drawing.grid(x_ticks, is_upright=True)]
    levels = [(frame.y.percent(v), words) for v, words in chart.levels if 0 <= frame.y.share(v) <= 1]
    plot += [drawing.level_line("nominal", at) for at, _ in levels]
    paths = [drawing.path(f"trace trace-{k}", path) for k, (_, path) in enumerate(chart.traces)]
    paths += [drawing.path(f"bars bar-{k}", path) for k, (_, path) in enumerate(chart.bars)]
    plot += [drawing.stretched("".join(paths)), drawing.levels(y_ticks)]
    plot += [drawing.level_words(at, text) for at, text in levels]
    plot += ["</svg>", drawing.below(x_ticks, f" {frame.unit}"), "</figure>"]
    return "".join(plot)


def _wave(found: Measured) -> Chart | None:
    recording, analysis = found.recording, found.analysis
    first, last = excerpt(analysis, cycles=WAVE_CYCLES)
    volts = recording.volts(first, last)
    if not np.isfinite(volts).any():
        return None
    at_s = np.arange(first, last) / analysis.rate_hz
    frame = _frame(at_s[0], last / analysis.rate_hz, [volts], 0.0, "s")
    spans = _spans(analysis, 1.0, frame.left, frame.right)
    return Chart("Waveform, V", frame, (("", _line((at_s, volts, volts), frame)),), spans=spans)


def _rms(found: Measured, limits: Limits, phases: Phases | None) -> Chart | None:
    analysis = found.analysis
    shown = [("", analysis)] if phases is None else list(zip(phases.names, phases.analyses, strict=True))
    unit_s, unit = _time_unit(analysis)
    lines: list[tuple[str, Band]] = []
    for name, each in shown:
        starts, low, high = each.course
        lines.append((name, ((starts / each.rate_hz + 0.5 / each.nominal_hz) / unit_s, low, high)))
    values = [each for _, (_, low, high) in lines for each in (low, high)]
    if not any(np.isfinite(each).any() for each in values):
        return None
    frame = _frame(0.0, analysis.duration_s / unit_s, values, 2 * STEADY_SHARE * analysis.nominal_v, unit)
    percents = () if found.nominal.volts is None else (limits.sag_percent, limits.swell_percent)
    return Chart(
        "Urms(1/2), V",
        frame,
        tuple((name, _line(band, frame)) for name, band in lines),
        spans=_spans(analysis, unit_s, frame.left, frame.right),
        levels=tuple((percent / 100 * analysis.nominal_v, f"{percent:g} %") for percent in percents),
    )


def _frequency(analysis: SignalAnalysis) -> Chart | None:
    if not np.isfinite(analysis.window_hz).any():
        return None
    unit_s, unit = _time_unit(analysis)
    at = (analysis.window_starts / analysis.rate_hz + 0.1) / unit_s
    hz = analysis.window_hz
    if len(hz) == 1:  # one value is a line as long as its window
        at, hz = np.array([at[0] - 0.1 / unit_s, at[0] + 0.1 / unit_s]), np.repeat(hz, 2)
    frame = _frame(0.0, analysis.duration_s / unit_s, [hz], MIN_HZ, unit)
    return Chart("Frequency of 10/12 cycles, Hz", frame, (("", _line((at, hz, hz), frame)),))


def _spectrum(found: Measured) -> Chart | None:
    harmonics, between = 100 * found.analysis.harmonics[1:], 100 * found.analysis.interharmonics
    if "harmonics" in found.left_out or not np.isfinite(harmonics).any():
        return None
    harmonics, between = np.nan_to_num(harmonics), np.nan_to_num(between)
    top = 1.05 * max(MIN_PERCENT, float(harmonics.max(initial=0)), float(between.max(initial=0)))
    frame = Frame(0.0, 51.0, 0.0, top, "")
    bars = (
        ("harmonics", _bars(np.arange(2.0, len(harmonics) + 2), harmonics, 0.7, frame)),
        ("between them", _bars(np.arange(0.5, len(between)), between, 0.3, frame)),
    )
    return Chart("Spectrum, % of the fundamental, by order", frame, bars=bars)


def _frame(left: float, right: float, values: Sequence[FloatArray], least_height: float, unit: str) -> Frame:
    """Edges around the values, at least so high."""
    low = min(float(np.nanmin(each)) for each in values if np.isfinite(each).any())
    high = max(float(np.nanmax(each)) for each in values if np.isfinite(each).any())
    middle, half = (low + high) / 2, max(high - low, least_height) / 2
    half = 1.06 * half or abs(middle) * 0.01 or 1.0
    return Frame(float(left), float(right), middle - half, middle + half, unit)


def _line(band: Band, frame: Frame) -> str:
    """The path of a line; of more values than columns, from the least to the most of each column."""
    x, low, high = band
    return drawing.extremes_line(frame.x.places(x), frame.y.places(low), frame.y.places(high), COLUMNS)


def _bars(at: FloatArray, values: FloatArray, width: float, frame: Frame) -> str:
    return "".join(
        drawing.bar(
            frame.x.place(order - width / 2), frame.x.place(order + width / 2), frame.y.place(value), HEIGHT
        )
        for order, value in zip(at.tolist(), values.tolist(), strict=True)
    )


def _spans(
    analysis: SignalAnalysis, unit_s: float, left: float, right: float
) -> tuple[tuple[float, float], ...]:
    """The events between two places, in units of the axis; of dips and swells and what is not within one."""
    found = []
    for each in sorted(analysis.events, key=lambda event: not isinstance(event, Disturbance)):
        first, last = each.start_s / unit_s, (each.start_s + each.duration_s) / unit_s
        if last >= left and first <= right:
            found.append((first, last))
    return tuple(found[:MOST_SPANS])


def _time_unit(analysis: SignalAnalysis) -> tuple[float, str]:
    """Seconds per unit of the time axis, and the unit."""
    return next((unit_s, unit) for least_s, unit_s, unit in AXES_S if analysis.duration_s >= least_s)
