"""`opq-tools analyze --plot FILE`: waveform, rms envelope and harmonics, drawn by matplotlib."""

import os
import tempfile
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from opq_measure.analysis import Analysis
from opq_measure.disturbances import Limits
from opq_proto.errors import RecordingError
from opq_tools.recordings import Recording
from opq_tools.report import VERDICTS, excerpt, worst

MOST_POINTS = 4000
LEAST_PERCENT = 1.0
"""Height of the harmonics at least; so that nothing is not drawn large."""
INK, DIP, LIMIT = "#1f4e79", "#d9822b", "#888888"


def save_figure(path: Path, recording: Recording, analysis: Analysis, limits: Limits) -> None:
    """Draw and save; the file appears whole or not at all.

    Raises:
        RecordingError: the file cannot be written.
    """
    figure, (wave, rms, bars) = plt.subplots(3, 1, figsize=(10, 9), layout="constrained")
    _draw_wave(wave, recording, analysis)
    _draw_rms(rms, analysis, limits)
    _draw_harmonics(bars, analysis)
    figure.suptitle(f"{recording.path.name}: {_summary(analysis)}")
    try:
        handle, name = tempfile.mkstemp(suffix=path.suffix, prefix=f".{path.stem}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                figure.savefig(file, format=path.suffix[1:].lower(), dpi=110)
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise RecordingError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        plt.close(figure)


def _draw_wave(axes: Axes, recording: Recording, analysis: Analysis) -> None:
    first, last = excerpt(analysis, cycles=24.0)
    volts = np.asarray(recording.samples[first:last], dtype=np.float64) * recording.v_per_lsb
    axes.plot(np.arange(first, last) / analysis.rate_hz, volts, color=INK, linewidth=0.9)
    _mark_events(axes, analysis)
    axes.set(
        ylabel="V", xlabel="s", xlim=(first / analysis.rate_hz, last / analysis.rate_hz), title="Waveform"
    )
    axes.grid(alpha=0.3)


def _draw_rms(axes: Axes, analysis: Analysis, limits: Limits) -> None:
    middles_s = analysis.half_edges[1:-1] / analysis.rate_hz
    step = max(1, len(middles_s) // MOST_POINTS)
    if step == 1:
        axes.plot(middles_s, analysis.half_rms_v, color=INK, linewidth=1.2, drawstyle="steps-mid")
    else:  # the extremes of each step, so that no dip is thinned out
        whole = analysis.half_rms_v[: len(middles_s) // step * step].reshape(-1, step)
        axes.fill_between(
            middles_s[: len(whole) * step : step], whole.min(axis=1), whole.max(axis=1), color=INK
        )
    percents = [limits.sag_percent, limits.swell_percent]
    if any(each.kind == "interruption" for each in analysis.disturbances):
        percents.append(limits.interruption_percent)
    for percent in percents:
        level_v = percent / 100 * analysis.nominal_v
        axes.axhline(level_v, color=LIMIT, linestyle="--", linewidth=0.8)
        axes.annotate(
            f"{percent:g} %", (1.0, level_v), xycoords=("axes fraction", "data"), va="center", fontsize=8
        )
    _mark_events(axes, analysis)
    axes.set(ylabel="V", xlabel="s", xlim=(0, analysis.samples / analysis.rate_hz), title="Urms(1/2)")
    axes.grid(alpha=0.3)


def _draw_harmonics(axes: Axes, analysis: Analysis) -> None:
    percent = 100 * np.nan_to_num(analysis.harmonics[1:])
    axes.bar(np.arange(2, len(percent) + 2), percent, color=INK)
    axes.set(xlabel="order", ylabel="% of the fundamental", xlim=(1, 51), title="Harmonics")
    axes.set_ylim(0, max(LEAST_PERCENT, 1.05 * percent.max()))
    axes.grid(alpha=0.3, axis="y")


def _mark_events(axes: Axes, analysis: Analysis) -> None:
    for each in analysis.disturbances:
        axes.axvspan(each.start_s, each.end_sample / analysis.rate_hz, color=DIP, alpha=0.2, linewidth=0)


def _summary(analysis: Analysis) -> str:
    if not analysis.disturbances:
        return "no dip, swell or interruption"
    event = worst(analysis.disturbances)
    more = f", and {len(analysis.disturbances) - 1} more" if len(analysis.disturbances) > 1 else ""
    return (
        f"{event.ieee1159 or event.kind} to {event.residual_v:.1f} V ({event.residual_percent:.1f} %) for "
        f"{1000 * event.duration_s:.0f} ms{more}\n"
        f"ITIC: {VERDICTS[event.itic]}, SEMI F47: {VERDICTS[event.semi_f47]}"
    )
