"""`opq-tools analyze FILE`: measures a recording with the measurement core.

A recording is read and measured block by block, so that memory holds the results and not hours of samples.
The command should answer in 0.8 s, so rich and matplotlib are imported only where they are used.
"""

import json
from pathlib import Path

import click

from opq_analyze.measuring import Measured, Wanted
from opq_analyze.phases import phases_of
from opq_measure.analysis.quantities import GROUPS
from opq_measure.events.limits import Limits
from opq_proto.errors import OpqError, RecordingError
from opq_proto.kit.shared_options import json_option
from opq_proto.visible_text import visible
from opq_recordings.facts import RecordingFacts
from opq_recordings.reading import recordings_in
from opq_tools.recordings.analyze.files_beside import SUFFIXES, written_files
from opq_tools.recordings.analyze.many import Order, analyse_many
from opq_tools.recordings.analyze.options import AnalyzeUsageError, recording_options
from opq_tools.recordings.analyze.shown_measuring import (
    check_complete,
    measured_with_progress,
    readable,
    title_of,
    warn_of,
)


class StoppedError(OpqError):
    """The user pressed Ctrl-C."""


def _groups(_context: click.Context, option: click.Parameter, value: str | None) -> tuple[str, ...]:
    names = GROUPS if value is None else tuple(each.strip() for each in value.split(","))
    if unknown := [each for each in names if each not in GROUPS]:
        raise AnalyzeUsageError(f"{option.opts[0]} is {unknown[0]!r:.40}, want some of {', '.join(GROUPS)}")
    return names


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_option
@recording_options
@click.option(
    "--jsonl",
    type=click.Path(path_type=Path, dir_okay=False),
    is_flag=False,
    flag_value=Path("recordings.jsonl"),
    help="With a folder: file for the lines; an ended run continues there.  [default: recordings.jsonl]",
)
@click.option(
    "--jobs", type=click.IntRange(1, 256), help="With a folder: recordings at a time.  [default: 1]"
)
@click.option(
    "--dask",
    "scheduler",
    metavar="ADDRESS",
    help="With a folder: use the workers of a Dask scheduler, tcp://HOST:PORT, which see the same files.",
)
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
@click.option(
    "--dip-threshold-percent", type=float, default=90.0, show_default=True, help="Percent of nominal."
)
@click.option(
    "--swell-threshold-percent", type=float, default=110.0, show_default=True, help="Percent of nominal."
)
@click.option(
    "--interruption-threshold-percent",
    type=float,
    default=10.0,
    show_default=True,
    help="Percent of nominal.",
)
@click.option("--hysteresis-percent", type=float, default=2.0, show_default=True, help="Percent of nominal.")
@click.option(
    "--intervals",
    type=click.Path(path_type=Path),
    help="Also write the values of 150/180 cycles, 10 min and 2 h into this .csv, .parquet, .json or .jsonl.",
)
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    help="Also write a page of the recording into this .html, one file with its charts.",
)
@click.option(
    "--plot", type=click.Path(path_type=Path), help="Also draw the results into this .png, .svg or .pdf file."
)
def command(
    file: Path,
    as_json: bool,
    given: RecordingFacts,
    jsonl: Path | None,
    jobs: int | None,
    scheduler: str | None,
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
    minutes are those of UTC. What is not stated is estimated, and said in the key `assumed`. Of a folder, all
    recordings below it are analysed, one line of JSON each; the table says what was found, and why the others
    could not be read. Several recordings of one file are analysed each, with --json a line each.

    \b
    Example:
      opq-tools analyze archive/ --jsonl archive.jsonl --jobs 2
      opq-tools analyze event_9354_box1.i16
      opq-tools analyze mains.csv --nominal-volts 230 --nominal-hz 50 --json
      opq-tools analyze day.i16 --only rms,frequency,events --intervals day.csv --report day.html
    """
    for name, path in (("--plot", plot), ("--report", report), ("--intervals", intervals)):
        if path is not None and path.suffix.lower() not in SUFFIXES[name]:
            raise AnalyzeUsageError(f"{name} {path}: want a name that ends in {', '.join(SUFFIXES[name])}")
    try:
        limits = Limits(
            sag_percent=dip_threshold_percent,
            swell_percent=swell_threshold_percent,
            interruption_percent=interruption_threshold_percent,
            hysteresis_percent=hysteresis_percent,
        )
    except ValueError as error:
        raise AnalyzeUsageError(str(error)) from error
    if file.is_dir():
        alone = (("--json", as_json), ("--plot", plot), ("--report", report), ("--intervals", intervals))
        if used := [name for name, value in (*alone, ("--detail", detail)) if value]:
            raise AnalyzeUsageError(f"{', '.join(used)} needs one recording; {file} is a folder")
        out = jsonl or Path("recordings.jsonl")
        _analyse_folder(file, Order(given, limits, only), out, jobs or 1, scheduler)
        return
    if jsonl is not None or jobs is not None or scheduler is not None:
        raise AnalyzeUsageError(f"--jsonl, --jobs and --dask need a folder; {file} is a file")
    try:
        wanted = Wanted(only, True if detail == "cycles" else None)
        all_in = recordings_in(file, given)
        recordings = readable(all_in)
        if len(all_in) > 1 and (plot or report or intervals):
            raise AnalyzeUsageError(
                f"{visible(str(file))}: holds {len(all_in)} recordings; --plot, --report and --intervals are "
                "of one, choose it with --channel"
            )
        for number, recording in enumerate(recordings, 1):
            found = measured_with_progress(recording, limits, wanted=wanted)
            phases, no_phases = phases_of(found, given, limits)
            written = list(written_files(found, phases, limits, plot, report, intervals))
            warn_of(found)
            entry = None if phases is None else phases.entry()
            if as_json:
                _print_json(found, str(file), entry, no_phases)
                continue
            from opq_tools.recordings.analyze.analysis_report import print_report

            if len(recordings) > 1:
                click.echo(title_of(number, recordings))
            print_report(found, entry, no_phases)
            for path in written:
                click.echo(f"written: {visible(str(path))}")
    except KeyboardInterrupt as error:
        raise StoppedError(f"{file}: stopped before the end, there is no result") from error
    check_complete(file, all_in)


def _analyse_folder(folder: Path, order: Order, out: Path, jobs: int, scheduler: str | None) -> None:
    """Analyses all recordings below a folder, and prints the table. Raises StoppedError on Ctrl-C."""
    from opq_recordings.folder import recordings_of
    from opq_tools.recordings.analyze.many_report import report_lines

    try:
        paths = [path for path in recordings_of([folder]) if path.resolve() != out.resolve()]
        lines, kept = analyse_many(paths, order, out, jobs, scheduler)
    except KeyboardInterrupt as error:
        raise StoppedError(f"{folder}: stopped; the same command goes on from here, {out}") from error
    for text in report_lines(lines, folder, kept, out):
        click.echo(text)
    click.echo(f"written: {visible(str(out))}")
    if all("error" in line for line in lines):
        raise RecordingError(f"{folder}: none of its {len(lines)} recordings could be analysed")
    if count := sum("error" in line and "recordings" in (line["made_of"] or {}) for line in lines):
        raise RecordingError(f"{folder}: {count} recordings of files that hold several could not be analysed")


def _print_json(found: Measured, file: str, phases: dict[str, object] | None, no_phases: str | None) -> None:
    """Prints the contract's document; long lists are written some thousand rows at a time."""
    analysis = found.analysis
    document = {**found.summary(file), "phases": phases, "phases_because": no_phases}
    click.echo(json.dumps(document, allow_nan=False)[:-1], nl=False)
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
