"""`opq-tools sim N`: simulated Boxes on ptys in the foreground."""

import threading
from pathlib import Path

import click

from opq_hil.box.box import Box
from opq_hil.box.control import serve
from opq_hil.box.fleet import Fleet, plan_fleet
from opq_hil.box.host import BoxHost
from opq_proto import log
from opq_proto.ending import stopped_by_signals
from opq_proto.errors import ConfigError, OpqError
from opq_tools.sim.command import data_dir_option, ports_dir_option, ports_folder


@click.command("run", short_help="Run N Boxes, each on its own pty, until Ctrl-C.")
@click.argument("boxes", metavar="N", type=click.IntRange(1, 200))
@click.option("--scenario", help="Scenario file, or the name of a shipped one, e.g. lightning_dip.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of all random numbers.")
@data_dir_option
@ports_dir_option
def command(
    boxes: int, scenario: str | None, seed: int, data_dir: Path | None, ports_dir: Path | None
) -> None:
    """Run N Boxes, each on its own pty, until Ctrl-C: the scenario's first, then undisturbed ones.

    Prints one line per Box, `box ID PATH`; PATH speaks the serial link of a Box.

    Example: opq-tools sim 3 --scenario lightning_dip
    """
    log.configure("boxes", "warning")
    folder = ports_folder(data_dir, ports_dir)
    hosted = _first(plan_fleet(scenario=scenario, sim=boxes, seed=seed), boxes)
    host = BoxHost(hosted, ports_dir=folder)

    def tell() -> None:
        for box in hosted:
            click.echo(f"box {box.box_id} {folder / f'box{box.box_id}'}")

    host.on_open = tell
    stop = threading.Event()
    try:
        with stopped_by_signals(stop):
            serve(host, folder, stop)
    except OSError as error:
        raise OpqError(f"boxes: {error.filename or folder}: {error.strerror or error}") from error


def _first(fleet: Fleet, count: int) -> list[Box]:
    """`count` Boxes: those of the scenario, then plain ones."""
    boxes = fleet.boxes()
    if not boxes:
        raise ConfigError("the scenario has no Boxes; give another")
    return boxes[:count]
