"""`opq-tools analyze --plot FILE`: waveform, rms envelope, harmonics and frequency, drawn by matplotlib."""

from collections import Counter
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from opq_analyze.excerpt import STEADY_SHARE, excerpt, worst
from opq_analyze.measuring import Measured
from opq_measure.analysis.analysed import SignalAnalysis
from opq_measure.events.disturbance import Disturbance
from opq_measure.events.limits import Limits
from opq_measure.signal import FloatArray
from opq_proto.kit.whole_file import whole_file
from opq_proto.visible_text import visible
from opq_recordings.recording import Recording
from opq_tools.recordings.analyze.analysis_report import VERDICTS, missing_fundamental

MAX_POINTS = 2000
"""Points across the picture, about two per pixel; of more values only the extremes are drawn."""
MIN_PERCENT = 1.0
"""Smallest height of the harmonics axis, so that negligible harmonics are not drawn large."""
MIN_HZ = 0.02
"""Smallest height of the frequency axis, so that noise is not drawn large."""
INK = "#1f4e79"
"""Colour of measured values."""
DIP = "#d9822b"
"""Colour of a disturbance of the voltage's size."""
OTHER = "#7b3294"
"""Colour of other events, and of lines between harmonics."""
LIMIT = "#888888"
"""Colour of limits."""
MAX_MARKS = 200
AXES_S = ((2 * 3600.0, 3600.0, "h"), (600.0, 60.0, "min"), (0.0, 1.0, "s"))
"""Rows of (least length in seconds, seconds per unit, unit)."""


def save_figure(path: Path, found: Measured, limits: Limits) -> None:
    """Draws and saves; the file appears whole or not at all.

    Raises:
        FileNotWrittenError: the file cannot be written.
    """
    figure = _figure_of(found, limits)
    figure.suptitle(f"{visible(found.recording.path.name)}: {_summary(found.analysis)}", fontsize="medium")
    try:
        with whole_file(path) as file:
            figure.savefig(file, format=path.suffix[1:].lower(), dpi=110)
    finally:
        plt.close(figure)


def _figure_of(found: Measured, limits: Limits) -> Figure:
    recording, analysis = found.recording, found.analysis
    figure = plt.figure(figsize=(11, 9), layout="constrained")
    grid = figure.add_gridspec(3, 2)
    wave, rms = figure.add_subplot(grid[0, :]), figure.add_subplot(grid[1, :])
    hz, bars = figure.add_subplot(grid[2, 0]), figure.add_subplot(grid[2, 1])
    _draw_wave(wave, recording, analysis)
    _draw_rms(rms, analysis, limits)
    _draw_frequency(hz, analysis)
    _draw_harmonics(bars, analysis)
    return figure


def _draw_wave(axes: Axes, recording: Recording, analysis: SignalAnalysis) -> None:
    first, last = excerpt(analysis, cycles=24.0)
    volts = recording.volts(first, last)
    axes.plot(np.arange(first, last) / analysis.rate_hz, volts, color=INK, linewidth=0.9)
    _mark_events(axes, analysis, 1.0)
    axes.set(ylabel="V", xlabel="s", title="Waveform")
    axes.set_xlim(first / analysis.rate_hz, last / analysis.rate_hz)
    axes.ticklabel_format(axis="x", useOffset=False)
    axes.grid(alpha=0.3)


def _draw_rms(axes: Axes, analysis: SignalAnalysis, limits: Limits) -> None:
    starts, low_v, high_v = analysis.course
    _draw_course(axes, analysis, starts / analysis.rate_hz + 0.5 / analysis.nominal_hz, low_v, high_v)
    percents = [limits.sag_percent, limits.swell_percent]
    if any(each.kind == "interruption" for each in analysis.disturbances):
        percents.append(limits.interruption_percent)
    for percent in percents:
        level_v = percent / 100 * analysis.nominal_v
        axes.axhline(level_v, color=LIMIT, linestyle="--", linewidth=0.8)
        axes.annotate(
            f"{percent:g} %", (1.004, level_v), xycoords=("axes fraction", "data"), va="center", fontsize=8
        )
    low, high = axes.get_ylim()
    middle, half = (low + high) / 2, max((high - low) / 2, STEADY_SHARE * analysis.nominal_v)
    axes.set_ylim(middle - half, middle + half)
    axes.set(ylabel="V", title="Urms(1/2)")


def _draw_frequency(axes: Axes, analysis: SignalAnalysis) -> None:
    middles_s = analysis.window_starts / analysis.rate_hz + 0.1
    found_hz = analysis.window_hz
    _draw_course(axes, analysis, middles_s, found_hz, found_hz, marks=len(middles_s) < MAX_MARKS)
    low, high = axes.get_ylim()
    middle, half = (low + high) / 2, max(high - low, MIN_HZ) / 2
    axes.set_ylim(middle - half, middle + half)
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.set(ylabel="Hz", title="Frequency, 10/12 cycles")


def _draw_course(
    axes: Axes,
    analysis: SignalAnalysis,
    at_s: FloatArray,
    low: FloatArray,
    high: FloatArray,
    marks: bool = False,
) -> None:
    """Draws a line, or for very many values a band from least to most, so that no dip is lost."""
    unit_s, unit = _axis_of(analysis)
    seen = np.isfinite(low)
    at_s, low, high = at_s[seen], low[seen], high[seen]
    if len(low) <= MAX_POINTS and (low == high).all():
        style = {"marker": ".", "markersize": 4} if marks else {"drawstyle": "steps-mid"}
        axes.plot(at_s / unit_s, low, color=INK, linewidth=1.2, **style)
    elif len(low):
        starts = np.linspace(0, len(low), min(len(low), MAX_POINTS), endpoint=False).astype(int)
        low, high = np.minimum.reduceat(low, starts), np.maximum.reduceat(high, starts)
        axes.fill_between(at_s[starts] / unit_s, low, high, color=INK, linewidth=0.7)
    _mark_events(axes, analysis, unit_s)
    axes.set_xlim(0, analysis.duration_s / unit_s)
    axes.set_xlabel(unit)
    axes.grid(alpha=0.3)


def _axis_of(analysis: SignalAnalysis) -> tuple[float, str]:
    """Seconds per unit of the time axis, and the unit."""
    return next((unit_s, unit) for least_s, unit_s, unit in AXES_S if analysis.duration_s >= least_s)


def _draw_harmonics(axes: Axes, analysis: SignalAnalysis) -> None:
    percent, between = (
        100 * np.nan_to_num(analysis.harmonics[1:]),
        100 * np.nan_to_num(analysis.interharmonics),
    )
    axes.bar(np.arange(2, len(percent) + 2), percent, color=INK, label="harmonics")
    axes.bar(np.arange(len(between)) + 0.5, between, width=0.4, color=OTHER, label="between them")
    axes.legend(fontsize=8, frameon=False)
    axes.set(xlabel="order", ylabel="% of the fundamental", xlim=(0, 51), title="Spectrum")
    axes.set_ylim(0, max(MIN_PERCENT, 1.05 * percent.max(), 1.05 * between.max()))
    axes.grid(alpha=0.3, axis="y")


def _mark_events(axes: Axes, analysis: SignalAnalysis, unit_s: float) -> None:
    """Shades the time of each event, with a thin line at its start so that short events are visible."""
    for each in analysis.events[:MAX_MARKS]:
        colour = DIP if isinstance(each, Disturbance) else OTHER
        start = each.start_s / unit_s
        axes.axvspan(start, start + each.duration_s / unit_s, color=colour, alpha=0.15, linewidth=0)
        axes.axvline(start, color=colour, alpha=0.6, linewidth=0.8, zorder=0)


def _summary(analysis: SignalAnalysis) -> str:
    others = Counter(each.kind.replace("_", " ") for each in analysis.occurrences)
    also = ", ".join(f"{count} × {kind}" if count > 1 else kind for kind, count in others.items())
    also = f"\nalso: {also}" if also else ""
    if missing := missing_fundamental(analysis):
        also += f"\n{missing}"
    if not analysis.disturbances:
        return f"no dip, swell or interruption{also}"
    event = worst(analysis.disturbances)
    more = f", and {len(analysis.disturbances) - 1} more" if len(analysis.disturbances) > 1 else ""
    return (
        f"{event.ieee1159 or event.kind} to {event.residual_v:.1f} V ({event.residual_percent:.1f} %) for "
        f"{1000 * event.duration_s:.0f} ms{more}\n"
        f"ITIC: {VERDICTS[event.itic]}, SEMI F47: {VERDICTS[event.semi_f47]}{also}"
    )
