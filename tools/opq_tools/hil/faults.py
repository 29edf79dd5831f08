"""`opq-tools hil faults`: schedules of faults by seed at a real gateway or cloud, without firmware."""

import json
import sys
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from opq_proto.errors import OpqError
from opq_proto.kit.shared_options import json_option
from opq_tools.hil.playing import made_folder, out_option

if TYPE_CHECKING:
    from opq_sim.faults.runner import Document, SeedLog

FAULT_SUITES = ("gateway-faults", "cloud-faults", "silence-faults", "clock-faults", "restart-faults")


class NoFaultWorldsError(OpqError):
    """The program runs from a wheel, which holds no worlds of faults."""


def shown_suites() -> Mapping[str, str]:
    """Name -> what it shows, of each suite that this installation can play: none from a wheel."""
    if find_spec("opq_sim.faults") is None:
        return {}
    from opq_sim.faults.suites import SUITES

    return {name: suite.shows for name, suite in SUITES.items()}


@click.command("faults")
@click.argument("suite", type=click.Choice(FAULT_SUITES))
@click.option("--seeds", type=click.IntRange(1), default=12, show_default=True, help="Number of seeds.")
@click.option("--first", type=click.IntRange(0), default=1, show_default=True, help="The first seed.")
@click.option(
    "--side-by-side",
    type=click.IntRange(1, 64),
    help="Seeds at once.  [default: cloud-faults 4, gateway-faults 2, else 1]",
)
@click.option(
    "--log",
    "seed_log",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="File for a JSON line per finished seed; seeds in it are not played again.",
)
@out_option
@json_option
def command(
    suite: str,
    seeds: int,
    first: int,
    side_by_side: int | None,
    seed_log: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Play schedules of faults by seed (hil/FAULTS.md). Exit code 1 if one failed.

    Each seed is one schedule: the same seed has the same faults at the same times. A campaign of many seeds
    has a --log, and goes on where it was ended.

    Example: opq-tools hil faults restart-faults --seeds 100 --first 1 --log seeds.jsonl --out faults
    """
    if find_spec("opq_sim.faults") is None:
        raise NoFaultWorldsError(
            "schedules of faults are not part of an installed opq-toolkit; clone the project, "
            "run `tools/run --help` in the clone once, then `.venv/bin/opq-tools hil faults` there"
        )
    from opq_sim.faults.runner import SeedLog

    log = None if seed_log is None else SeedLog(seed_log, suite)
    all_well = _play(suite, range(first, first + seeds), side_by_side, log, made_folder(out), as_json)
    sys.exit(0 if all_well else 1)


def _play(
    name: str, seeds: range, side_by_side: int | None, log: "SeedLog | None", folder: Path, as_json: bool
) -> bool:
    """Runs the schedules of `seeds` that are not in the log; True if every one, old or new, passed."""
    from opq_sim.faults import runner

    begin_s = time.monotonic()
    before = [] if log is None else [log.played[seed] for seed in seeds if seed in log.played]
    if before:
        click.echo(f"{len(before)} of {len(seeds)} seeds are in the log already", err=True)

    def ended(document: "Document") -> None:
        click.echo(runner.line(name, document), err=True)
        if log is not None:
            log.add(document)

    left = [seed for seed in seeds if log is None or seed not in log.played]
    played = runner.play(name, left, folder, ended, side_by_side)
    documents = sorted([*before, *played], key=lambda document: int(document["seed"]))
    all_of_it = {**runner.summarise(name, documents), "elapsed_s": round(time.monotonic() - begin_s, 1)}
    if as_json:
        click.echo(json.dumps({"tally": all_of_it, "schedules": documents}, indent=1))
    for key, value in all_of_it.items():
        click.echo(f"{key:<16} {value}", err=True)
    failed = all_of_it["failed_seeds"]
    if failed:
        again = f"opq-tools hil faults {name} --seeds 1 --first {failed[0]}"
        click.echo(
            f"{len(failed)} of {len(seeds)} failed; what they left is in {folder}. Again: {again}", err=True
        )
    return not failed
