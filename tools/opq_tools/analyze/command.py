"""`opq-tools analyze FILE`: measures a recording with the measurement core.

A recording is read and measured block by block, so that memory holds the results and not hours of samples.
The command should answer in 0.8 s, so rich and matplotlib are imported only where they are used.
"""

import functools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from opq_measure.analysis.quantities import GROUPS
from opq_measure.events.limits import Limits
from opq_proto.errors import OpqError
from opq_proto.kit.command_line import json_option
from opq_recordings.facts import RecordingFacts
from opq_recordings.moments import iso_ns
from opq_recordings.reading import read_recording
from opq_recordings.units import known_units, unit_scale
from opq_tools.analyze.measuring import Measured, Wanted, measured, warn_of

PLOT_SUFFIXES, REPORT_SUFFIXES = (".png", ".svg", ".pdf"), (".html", ".htm")
INTERVAL_SUFFIXES = (".csv", ".parquet", ".json", ".jsonl")


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
    found = iso_ns(value)
    if found is None or found.t_ns is None:
        raise AnalyzeUsageError(
            f"{option.opts[0]} is {value!r:.60}, want ISO 8601 in UTC, such as 2026-11-20T16:09:40.25Z"
        )
    return found.t_ns


def _unit(_context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    if value is not None and ((found := unit_scale(value)) is None or found[0] != "voltage"):
        raise AnalyzeUsageError(f"{option.opts[0]} is {value!r:.40}, want {known_units()}")
    return value


def _groups(_context: click.Context, option: click.Parameter, value: str | None) -> tuple[str, ...]:
    names = GROUPS if value is None else tuple(each.strip() for each in value.split(","))
    if unknown := [each for each in names if each not in GROUPS]:
        raise AnalyzeUsageError(f"{option.opts[0]} is {unknown[0]!r:.40}, want some of {', '.join(GROUPS)}")
    return names


def recording_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options that state what a recording does not say itself, and passes them as one `given`."""
    numbers = (
        ("--rate-hz", "Sampling rate of the recording, samples per second."),
        ("--volts-per-lsb", "Gain of the recording: volts per count."),
        ("--nominal-volts", "Nominal voltage, V rms.  [default: estimated from the samples]"),
        ("--nominal-hz", "Nominal frequency, Hz.  [default: estimated from the samples]"),
    )

    @functools.wraps(command)
    def with_facts(
        *arguments: Any,
        rate_hz: float | None,
        volts_per_lsb: float | None,
        nominal_volts: float | None,
        nominal_hz: float | None,
        first_sample_ns: int | None,
        unit: str | None,
        side: str | None,
        channel: str | None,
        **others: Any,
    ) -> None:
        given = RecordingFacts(
            rate_hz,
            volts_per_lsb,
            nominal_volts,
            nominal_hz,
            start_ns=first_sample_ns,
            unit=unit,
            side=side,
            channel=channel,
        )
        command(*arguments, given=given, **others)

    decorated: Callable[..., None] = with_facts
    for option in (
        click.option(
            "--channel",
            help="Name or number of the channel; of an export, the Box.  [default: the first voltage]",
        ),
        click.option(
            "--side",
            type=click.Choice(["primary", "secondary"]),
            help="Side of the transformer to convert to, by the ratio in the file.  [default: as recorded]",
        ),
        click.option("--unit", callback=_unit, help="Unit of the channel's values, e.g. kV."),
        click.option(
            "--start",
            "first_sample_ns",
            callback=_utc,
            help="Time of the first sample (UTC, ISO 8601), e.g. 2026-11-20T10:00:00.",
        ),
        *(
            click.option(name, type=float, callback=positive_number, help=help_text)
            for name, help_text in reversed(numbers)
        ),
    ):
        decorated = option(decorated)
    return decorated


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_option
@recording_options
@click.option(
    "--only",
    callback=_groups,
    help=f"Measure only these, by commas, which is faster: {', '.join(GROUPS)}.  [default: all]",
)
@click.option(
    "--detail",
    type=click.Choice(["cycles"]),
    help="Also list every cycle of a recording of more than 60 s (--json).",
)
@click.option("--dip-threshold-percent", type=float, default=90.0, show_default=True, help="Of nominal.")
@click.option("--swell-threshold-percent", type=float, default=110.0, show_default=True, help="Of nominal.")
@click.option(
    "--interruption-threshold-percent", type=float, default=10.0, show_default=True, help="Of nominal."
)
@click.option("--hysteresis-percent", type=float, default=2.0, show_default=True, help="Of nominal.")
@click.option(
    "--intervals",
    type=click.Path(path_type=Path),
    help="Also write the values of 150/180 cycles, 10 min and 2 h into this .csv, .parquet, .json or .jsonl.",
)
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    help="Also write a page of the recording into this .html, one file with its picture.",
)
@click.option(
    "--plot", type=click.Path(path_type=Path), help="Also draw the results into this .png, .svg or .pdf file."
)
def command(
    file: Path,
    as_json: bool,
    given: RecordingFacts,
    only: tuple[str, ...],
    detail: str | None,
    dip_threshold_percent: float,
    swell_threshold_percent: float,
    interruption_threshold_percent: float,
    hysteresis_percent: float,
    intervals: Path | None,
    report: Path | None,
    plot: Path | None,
) -> None:
    """Rms, frequency, harmonics, flicker, and every disturbance of a recording.

    FILE is COMTRADE, PQDIF, CSV, WAV, FLAC, .npy, JSON, or .i16 (with a .json beside it that says rate_hz
    and volts_per_lsb, or the flags). With --start, start_ns in the .json, or the file's own start, ten
    minutes are those of UTC. What is not stated is estimated, and said in the key `assumed`.

    \b
    Example:
      opq-tools analyze event_9354_box1.i16
      opq-tools analyze mains.csv --nominal-volts 230 --nominal-hz 50 --json
      opq-tools analyze day.i16 --only rms,frequency,events --intervals day.csv --report day.html
    """
    for name, path, suffixes in (
        ("--plot", plot, PLOT_SUFFIXES),
        ("--report", report, REPORT_SUFFIXES),
        ("--intervals", intervals, INTERVAL_SUFFIXES),
    ):
        if path is not None and path.suffix.lower() not in suffixes:
            raise AnalyzeUsageError(f"{name} {path}: want a name that ends in {', '.join(suffixes)}")
    try:
        limits = Limits(
            sag_percent=dip_threshold_percent,
            swell_percent=swell_threshold_percent,
            interruption_percent=interruption_threshold_percent,
            hysteresis_percent=hysteresis_percent,
        )
    except ValueError as error:
        raise AnalyzeUsageError(str(error)) from error
    try:
        wanted = Wanted(only, True if detail == "cycles" else None)
        found = measured(read_recording(file, given), limits, wanted=wanted)
    except KeyboardInterrupt as error:
        raise StoppedError(f"{file}: stopped before the end, there is no result") from error
    if plot is not None:
        from opq_tools.analyze.figure import save_figure

        save_figure(plot, found, limits)
    if report is not None:
        from opq_tools.analyze.page import write_page

        write_page(report, found, limits)
    if intervals is not None:
        from opq_tools.analyze.intervals import write_intervals

        write_intervals(intervals, found)
    warn_of(found)
    if as_json:
        _print_json(found, str(file))
        return
    from opq_tools.analyze.report import print_report

    print_report(found)
    for path in (plot, report, intervals):
        if path is not None:
            click.echo(f"written: {path}")


def _print_json(found: Measured, file: str) -> None:
    """Prints the contract's document; long lists are written some thousand rows at a time."""
    analysis = found.analysis
    click.echo(json.dumps(found.summary(file), allow_nan=False)[:-1], nl=False)
    for name, parts in (
        ("aggregates", analysis.aggregate_rows()),
        ("cycles", analysis.cycle_rows()),
        ("half_cycles", analysis.half_cycle_rows()),
    ):
        if name in found.left_out:
            click.echo(f', "{name}": null', nl=False)
            continue
        click.echo(f', "{name}": [', nl=False)
        for index, rows in enumerate(parts):
            text = json.dumps(rows, allow_nan=False)[1:-1]
            click.echo(f", {text}" if index else text, nl=False)
        click.echo("]", nl=False)
    click.echo("}")
