"""`opq-tools hil run gateway-faults`: schedules of faults at a real gateway, by seed."""

import json
import time
from pathlib import Path

import click

from opq_hil.gateway_faults.runner import Document, line, play_all, tally

NAME = "gateway-faults"
SHOWS = "Faults by seed at a real gateway: each sample in ring or gap, each Measurement stored once."


def run(seeds: int, first: int, folder: Path, as_json: bool) -> bool:
    """Play `seeds` schedules from seed `first` on; True when all is accounted for."""
    begin_s = time.monotonic()
    documents = play_all(range(first, first + seeds), folder, _told)
    all_of_it = {**tally(documents), "elapsed_s": round(time.monotonic() - begin_s, 1)}
    if as_json:
        click.echo(json.dumps({"tally": all_of_it, "schedules": documents}, indent=1))
    for name, value in all_of_it.items():
        click.echo(f"{name:<16} {value}", err=True)
    failed = all_of_it["failed_seeds"]
    if failed:
        again = f"opq-tools hil run {NAME} --seeds 1 --first {failed[0]}"
        click.echo(
            f"{len(failed)} of {seeds} failed; what they left is in {folder}. Again: {again}", err=True
        )
    return not failed


def _told(document: Document) -> None:
    click.echo(line(document), err=True)
