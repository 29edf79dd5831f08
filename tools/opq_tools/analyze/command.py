"""`opq-tools analyze FILE`: measures a recording with the measurement core.

A recording is read and measured block by block, so that memory holds the results and not hours of samples.
The command should answer in 0.8 s, so rich and matplotlib are imported only where they are used.
"""

import json
import math
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import click
import numpy as np

from opq_measure.analysis.analysed import SignalAnalysis
from opq_measure.analysis.analyser import BLOCK, Analyser
from opq_measure.events.limits import Limits
from opq_measure.signal import SignalPiece
from opq_proto.errors import OpqError, RecordingError
from opq_proto.kit.command_line import json_option
from opq_tools.analyze.recordings import RecordingFacts, RecordingFile, read_recording, utc_ns
from opq_tools.progress import shown_progress

FAR_SHARE = 1.4
"""Ratio of rms to an assumed nominal voltage above which it is doubtful, such as 230 V taken for 120 V."""
PLOT_SUFFIXES = (".png", ".svg", ".pdf")


class StoppedError(OpqError):
    """The user pressed Ctrl-C."""


class AnalyzeUsageError(OpqError):
    """An option is not valid; nothing was analysed."""

    exit_code = 2


def positive_number(_context: click.Context, option: click.Parameter, value: float | None) -> float | None:
    """Returns an option's value; raises AnalyzeUsageError where it is not positive."""
    if value is not None and not (math.isfinite(value) and value > 0):
        raise AnalyzeUsageError(f"{option.opts[0]} is {value:g}, want a positive number")
    return value


def _utc(_context: click.Context, option: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    try:
        return utc_ns(datetime.fromisoformat(value))
    except (ValueError, OverflowError) as error:
        raise AnalyzeUsageError(
            f"{option.opts[0]} is {value!r:.60}, want ISO 8601 in UTC, such as 2026-11-20T16:09:40.25Z"
        ) from error


def recording_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options that state what a recording does not say itself: its rate, gain and nominal values."""
    options = (
        ("--rate-hz", "Sampling rate of the recording, samples per second."),
        ("--volts-per-lsb", "Gain of the recording: volts per int16 count."),
        ("--nominal-volts", "Nominal voltage, V rms.  [default: 120]"),
        ("--nominal-hz", "Nominal frequency, 50 or 60 Hz.  [default: 60]"),
    )
    for name, help_text in reversed(options):
        command = click.option(name, type=float, callback=positive_number, help=help_text)(command)
    return command


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_option
@recording_options
@click.option(
    "--start",
    "start_ns",
    callback=_utc,
    help="Time of the first sample (UTC, ISO 8601), e.g. 2026-11-20T10:00:00.",
)
@click.option("--dip-threshold-percent", type=float, default=90.0, show_default=True, help="Of nominal.")
@click.option("--swell-threshold-percent", type=float, default=110.0, show_default=True, help="Of nominal.")
@click.option(
    "--interruption-threshold-percent", type=float, default=10.0, show_default=True, help="Of nominal."
)
@click.option("--hysteresis-percent", type=float, default=2.0, show_default=True, help="Of nominal.")
@click.option(
    "--channel", help="COMTRADE: name or number of the analogue channel.  [default: the first voltage]"
)
@click.option(
    "--plot", type=click.Path(path_type=Path), help="Also draw the results into this .png, .svg or .pdf file."
)
def command(
    file: Path,
    as_json: bool,
    rate_hz: float | None,
    volts_per_lsb: float | None,
    nominal_volts: float | None,
    nominal_hz: float | None,
    start_ns: int | None,
    dip_threshold_percent: float,
    swell_threshold_percent: float,
    interruption_threshold_percent: float,
    hysteresis_percent: float,
    channel: str | None,
    plot: Path | None,
) -> None:
    """Rms, frequency, harmonics, flicker, and every disturbance of a recording.

    FILE is .i16 (with a .json beside it that says rate_hz and volts_per_lsb, or the flags), .csv, .npy, .wav
    or COMTRADE. With --start, start_ns in the .json, or COMTRADE's own start, ten minutes are those of UTC.

    \b
    Example:
      opq-tools analyze event_9354_box1.i16
      opq-tools analyze mains.csv --nominal-volts 230 --nominal-hz 50 --json
    """
    if plot is not None and plot.suffix.lower() not in PLOT_SUFFIXES:
        raise AnalyzeUsageError(f"--plot {plot}: want a name that ends in {', '.join(PLOT_SUFFIXES)}")
    try:
        limits = Limits(
            sag_percent=dip_threshold_percent,
            swell_percent=swell_threshold_percent,
            interruption_percent=interruption_threshold_percent,
            hysteresis_percent=hysteresis_percent,
        )
    except ValueError as error:
        raise AnalyzeUsageError(str(error)) from error
    given = RecordingFacts(rate_hz, volts_per_lsb, nominal_volts, nominal_hz, start_ns=start_ns)
    try:
        recording = read_recording(file, given, channel)
        analysis = measured(recording, limits)
    except KeyboardInterrupt as error:
        raise StoppedError(f"{file}: stopped before the end, there is no result") from error
    if plot is not None:
        from opq_tools.analyze.figure import save_figure

        save_figure(plot, recording, analysis, limits)
    if as_json:
        _print_json(analysis, str(file))
        return
    from opq_tools.analyze.report import print_report

    print_report(recording, analysis)
    if plot is not None:
        click.echo(f"drawn into {plot}")


def measured(recording: RecordingFile, limits: Limits) -> SignalAnalysis:
    """Measures a whole recording; shows progress on a terminal.

    Raises:
        RecordingError: nothing can be measured with these samples or this rate.
    """
    samples, rate_hz = recording.samples, recording.rate_hz
    whole = SignalPiece(samples, 0, rate_hz, recording.start_ns, recording.v_per_lsb)
    total = len(samples)
    squares = 0.0
    try:
        analyser = Analyser(recording.nominal_v, recording.nominal_hz, limits)
        with shown_progress(f"measuring {recording.path.name}", total) as show:
            for first in range(0, total, BLOCK):
                part = samples[first : first + BLOCK]
                analyser.push_samples(
                    SignalPiece(part, first, rate_hz, whole.time_ns(first), recording.v_per_lsb)
                )
                squares += float(np.square(part, dtype=np.float64).sum())  # only of accepted samples
                show(first + len(part))
        analysis = analyser.end()
    except ValueError as error:
        raise RecordingError(f"{recording.path}: {error}") from error
    rms_v = recording.v_per_lsb * math.sqrt(squares / max(1, total))
    if recording.assumed_nominal and rms_v > FAR_SHARE * recording.nominal_v:
        click.echo(
            f"opq-tools: no nominal voltage for {recording.path.name}: {recording.nominal_v:g} V "
            f"is assumed, but its rms is {rms_v:.0f} V; give --nominal-volts",
            err=True,
        )
    return analysis


def _print_json(analysis: SignalAnalysis, file: str) -> None:
    """Prints the contract's document; long lists are written some thousand rows at a time."""
    click.echo(json.dumps(analysis.summary(file), allow_nan=False)[:-1], nl=False)
    for name, parts in (("cycles", analysis.cycle_rows()), ("half_cycles", analysis.half_cycle_rows())):
        click.echo(f', "{name}": [', nl=False)
        for index, rows in enumerate(parts):
            text = json.dumps(rows, allow_nan=False)[1:-1]
            click.echo(f", {text}" if index else text, nl=False)
        click.echo("]", nl=False)
    click.echo("}")
