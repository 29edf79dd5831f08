"""`opq-tools sim history`: the command."""

import json
import shlex
import sys
import threading
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click

from opq_cloud.store import FILE_NAME as STORE_NAME
from opq_cloud.store import open_store
from opq_proto.errors import ConfigError
from opq_proto.kit import log
from opq_proto.kit.ending import stopped_by_signals
from opq_proto.kit.shared_options import json_option
from opq_sim.fleet.truth_witness import TruthWitness
from opq_sim.mains.scenario import scenario_path
from opq_tools.shared.data_folder import in_use_by_this
from opq_tools.shared.moment import moment_ns
from opq_tools.shared.progress import shown_progress
from opq_tools.sim.history.history_boxes import (
    box_ids_of,
    put_boxes,
    wanted_history,
)
from opq_tools.sim.history.history_run import HistoryFigures, play
from opq_tools.sim.history.progress_file import HistoryProgress, read_progress, resumed, write_progress
from opq_tools.sim.sim_command import outage_options, scenario_option

MAX_DAYS = 3650


@click.command("history", short_help="Simulate days of a grid within minutes, into a store.")
@scenario_option("Scenario file with a network, or the name of a shipped one. [undisturbed]")
@click.option(
    "--days",
    type=click.FloatRange(0, MAX_DAYS, min_open=True),
    required=True,
    help="Length of the history, days.",
)
@click.option(
    "--boxes", type=click.IntRange(1, 10_000), help="Number of Boxes. [those of the scenario, else 3]"
)
@click.option(
    "--into",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Data folder for the store; `up --data-dir` opens it.",
)
@click.option("--end", "end_ns", callback=moment_ns, metavar="TIME", help="End of the history (UTC). [now]")
@click.option(
    "--seed", type=click.IntRange(0), default=1, show_default=True, help="Seed of all random numbers."
)
@outage_options
@click.option(
    "--truth",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the true disturbances (truth.jsonl).",
)
@click.option(
    "--intervals",
    type=click.Choice(["beside", "alone", "none"]),
    default="beside",
    show_default=True,
    help="Class A: intervals and disturbances beside the Measurements; alone, a month in a minute; or none.",
)
@json_option
def command(
    scenario: str | None,
    days: float,
    boxes: int | None,
    folder: Path,
    end_ns: int | None,
    seed: int,
    outage_every_s: float,
    outage_s: float,
    truth: Path | None,
    intervals: str,
    as_json: bool,
) -> None:
    """Simulate days of a grid within minutes, from disturbances to incidents, under a virtual clock.

    Grid and Boxes are those of `sim fleet`, triggers and analyses those of the cloud, with their default
    settings. After Ctrl-C or a kill, the same command continues where it stopped. `up --data-dir` opens
    the folder afterwards; Measurements are kept there for a day from now on, trends and incidents longer.

    Example: opq-tools sim history --scenario village --days 1 --into /tmp/village --truth /tmp/truth
    """
    log.configure("history", "warning")
    path = None if scenario is None else scenario_path(scenario)
    wanted = replace(
        wanted_history(path, scenario, boxes, days, seed, end_ns),
        outage_every_s=outage_every_s,
        outage_s=outage_s,
        intervals=intervals,
    )
    with in_use_by_this(folder, "--into"):
        progress, figures, counts = _run(path, wanted, folder, end_ns is not None, truth)
    _report(progress, figures, counts, folder, as_json)


def _run(
    path: Path | None, wanted: HistoryProgress, folder: Path, end_given: bool, truth: Path | None
) -> tuple[HistoryProgress, HistoryFigures, dict[str, int]]:
    """Begins or resumes a history in its folder; returns its progress, figures and the store's counts."""
    known = read_progress(folder)
    if known is None and (folder / STORE_NAME).exists():
        raise ConfigError(f"--into: {folder} has a store already; give an empty folder")
    progress = wanted if known is None else resumed(known, wanted, end_given)
    write_progress(folder, progress)
    stop = threading.Event()
    store = open_store(None, folder)
    try:
        if path is not None:
            put_boxes(store, path, progress)
        with ExitStack() as opened:
            witness = None
            if truth is not None:  # from the beginning, also for a resumed history
                ids = box_ids_of(progress)
                witness = opened.enter_context(
                    closing(
                        TruthWitness(
                            path, ids, progress.seed, truth, progress.start_ns, progress.intervals == "alone"
                        )
                    )
                )
            opened.enter_context(stopped_by_signals(stop))
            what = f"{progress.days:g} days of {progress.boxes} Boxes, seconds"
            show = opened.enter_context(shown_progress(what, round(progress.length_s), lines=True))

            def note(now: HistoryProgress) -> None:
                show(round(now.done_s))
                if witness is not None:
                    witness.advance(now.done_s)

            progress, figures = play(path, progress, store, folder, stop, note)
        counts = {**store.counts(), **store.intervals.counts()}
    finally:
        store.close()
    return progress, figures, counts


def _report(
    progress: HistoryProgress, figures: HistoryFigures, counts: dict[str, int], folder: Path, as_json: bool
) -> None:
    pace = figures.box_hours_per_cpu_minute
    if as_json:
        click.echo(
            json.dumps(
                {
                    "into": str(folder),
                    "scenario": progress.scenario,
                    "boxes": progress.boxes,
                    "from": _utc(progress.start_ns),
                    "to": _utc(progress.start_ns + round(progress.done_s * 1e9)),
                    "finished": progress.finished,
                    "measurements": counts["measurements"],
                    "events": counts["events"],
                    "findings": counts["incidents"],
                    "disturbances": counts["disturbances"],
                    "cpu_s": round(figures.cpu_s, 3),
                    "box_hours": round(figures.box_hours, 3),
                    "box_hours_per_cpu_minute": None if pace is None else round(pace, 1),
                },
                indent=1,
            )
        )
    else:
        done = f"{progress.done_s / 86_400:.3g} of {progress.days:g} days of {progress.boxes} Boxes"
        found = f"{counts['events']} events, {counts['incidents']} findings"
        click.echo(f"{done}: {counts['measurements']} Measurements, {found}")
        played = [] if progress.scenario is None else ["--scenario", progress.scenario]
        up = shlex.join(["opq-tools", "up", *played, "--data-dir", str(folder)])
        after = up if progress.finished else "the same command goes on"
        click.echo(f"{figures.cpu_s:.1f} s of CPU; {after}", err=not progress.finished)
    if not progress.finished:
        sys.exit(1)


def _utc(ns: int) -> str:
    return datetime.fromtimestamp(ns / 1e9, UTC).isoformat(timespec="milliseconds")
