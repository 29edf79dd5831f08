"""`opq-tools sim dataset`: writes labelled recordings to a folder, for `analyze`, `classify` and training."""

import threading
from pathlib import Path

import click

from opq_proto.kit.ending import stopped_by_signals
from opq_sim.data_sets.folder import ALL_CLASSES, DataSetPlan, write_data_set
from opq_sim.data_sets.kinds import DataSetError, checked_classes
from opq_tools.shared.progress import shown_progress

MAX_PER_CLASS = 99_999


@click.command("dataset", short_help="Write labelled recordings of every class.")
@click.option(
    "--classes",
    default=",".join(ALL_CLASSES),
    help="Classes, separated by commas; a+b is both at once.  [default: all]",
)
@click.option(
    "--per-class",
    type=click.IntRange(1, MAX_PER_CLASS),
    default=10,
    show_default=True,
    help="Recordings of each class at each frequency.",
)
@click.option(
    "--snr-db",
    type=float,
    default=30.0,
    show_default=True,
    help="Signal-to-noise ratio against the fundamental, dB.",
)
@click.option(
    "--hz", default="50,60", show_default=True, help="Nominal frequency: 50 (230 V), 60 (120 V) or both."
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="Seed of all random numbers; the same seed gives the same bytes.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder for the files, new or empty."
)
def command(classes: str, per_class: int, snr_db: float, hz: str, seed: int, out: Path) -> None:
    """Write labelled recordings: NAME.i16 and NAME.json as `analyze` reads them, and truth.jsonl.

    Magnitudes are random, from the table in docs/sim-data-sets.md. The folder appears when it is complete.

    Example: opq-tools sim dataset --classes sag,harmonics+sag,none --per-class 200 --seed 7 --out sags
    """
    try:
        nominal = tuple(int(each) for each in hz.split(","))
    except ValueError as error:
        raise DataSetError(f"hz is {hz!r}; want 50, 60 or 50,60") from error
    plan = DataSetPlan(checked_classes(classes), per_class, snr_db, nominal, seed)
    stop = threading.Event()
    with stopped_by_signals(stop), shown_progress("recordings", plan.recordings, lines=True) as show:
        report = write_data_set(plan, out, show, stop)
    click.echo(f"{out}: {report.recordings} recordings, {report.samples / 12_000 / 60:.1f} min")
    if report.near_edges:
        click.echo(
            f"opq-tools: {report.near_edges} of {report.samples} samples lie on a rounding edge: with "
            "another mathematical library they may be one count different",
            err=True,
        )
