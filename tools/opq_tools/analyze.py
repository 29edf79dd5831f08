"""`opq-tools analyze FILE`: what the measurement core says of a recording.

This is on the way of a 0.8 s answer, so that rich and matplotlib are imported where they are used.
"""

import json
import math
from pathlib import Path

import click

from opq_measure.analysis import analyze
from opq_measure.disturbances import Limits
from opq_proto.errors import OpqError, RecordingError
from opq_tools.recordings import Facts, read_recording

PLOT_SUFFIXES = (".png", ".svg", ".pdf")


class WrongUseError(OpqError):
    """An option that cannot be; nothing was analysed."""

    exit_code = 2


def _positive(_context: click.Context, option: click.Parameter, value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and value > 0):
        raise WrongUseError(f"{option.opts[0]} is {value:g}, want a positive number")
    return value


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
@click.option("--rate-hz", type=float, callback=_positive, help="Samples per second.")
@click.option("--volts-per-lsb", type=float, callback=_positive, help="Gain of int16 counts.")
@click.option("--nominal-volts", type=float, callback=_positive, help="Declared voltage; else 120.")
@click.option("--nominal-hz", type=float, callback=_positive, help="50 or 60; else 60.")
@click.option("--dip-threshold-percent", type=float, default=90.0, show_default=True)
@click.option("--swell-threshold-percent", type=float, default=110.0, show_default=True)
@click.option("--interruption-threshold-percent", type=float, default=10.0, show_default=True)
@click.option("--hysteresis-percent", type=float, default=2.0, show_default=True)
@click.option("--channel", help="COMTRADE: name or number of the analogue channel; else the first voltage.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw into a .png, .svg or .pdf file.")
def command(
    file: Path,
    as_json: bool,
    rate_hz: float | None,
    volts_per_lsb: float | None,
    nominal_volts: float | None,
    nominal_hz: float | None,
    dip_threshold_percent: float,
    swell_threshold_percent: float,
    interruption_threshold_percent: float,
    hysteresis_percent: float,
    channel: str | None,
    plot: Path | None,
) -> None:
    """Rms, frequency, harmonics, flicker, and every dip, swell and interruption of a recording.

    FILE is .i16 (with a .json beside it that says rate_hz and volts_per_lsb, or the flags), .csv, .npy, .wav
    or COMTRADE.

    \b
    Example:
      opq-tools analyze event_9354_box1.i16
      opq-tools analyze mains.csv --nominal-volts 230 --nominal-hz 50 --json
    """
    if plot is not None and plot.suffix.lower() not in PLOT_SUFFIXES:
        raise WrongUseError(f"--plot {plot}: want a name that ends in {', '.join(PLOT_SUFFIXES)}")
    try:
        limits = Limits(
            sag_percent=dip_threshold_percent,
            swell_percent=swell_threshold_percent,
            interruption_percent=interruption_threshold_percent,
            hysteresis_percent=hysteresis_percent,
        )
    except ValueError as error:
        raise WrongUseError(str(error)) from error
    given = Facts(rate_hz, volts_per_lsb, nominal_volts, nominal_hz)
    recording = read_recording(file, given, channel)
    try:
        analysis = analyze(
            recording.samples,
            recording.rate_hz,
            recording.nominal_v,
            recording.nominal_hz,
            limits,
            recording.v_per_lsb,
        )
    except ValueError as error:
        raise RecordingError(f"{file}: {error}") from error
    if plot is not None:
        from opq_tools.figure import save_figure

        save_figure(plot, recording, analysis, limits)
    contract = analysis.contract(str(file))
    if as_json:
        click.echo(json.dumps(contract, allow_nan=False))
        return
    from opq_tools.report import print_report

    print_report(recording, analysis, contract)
    if plot is not None:
        click.echo(f"drawn into {plot}")
