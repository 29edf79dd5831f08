"""`opq-tools sim`: simulated Boxes on ptys in the foreground, and disturbances on demand."""

import threading
from pathlib import Path

import click

from opq_hil.box.box import Box
from opq_hil.box.control import request_control, serve
from opq_hil.box.fleet import Fleet, plan_fleet
from opq_hil.box.host import BoxHost
from opq_hil.mains.on_demand import KINDS
from opq_proto import log
from opq_proto.config import default_data_dir
from opq_proto.ending import stopped_by_signals
from opq_proto.errors import ConfigError, OpqError


class SimGroup(click.Group):
    """`sim N …` is `sim run N …`: what is no subcommand starts Boxes."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


def ports_folder(data_dir: Path | None, ports_dir: Path | None) -> Path:
    """Where links and the control socket are: as given, else `ports` in the data folder, as with `up`."""
    return ports_dir or (data_dir or default_data_dir()) / "ports"


data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Data folder of `up`. [${XDG_DATA_HOME:-~/.local/share}/opq]",
)
ports_dir_option = click.option(
    "--ports-dir",
    type=click.Path(path_type=Path),
    help="Folder of ports and control socket. [DATA_DIR/ports]",
)


@click.group("sim", cls=SimGroup)
def command() -> None:
    """Simulated Boxes on a simulated grid, and disturbances on demand.

    \b
    Examples:
      opq-tools sim 3 --scenario lightning_dip
      opq-tools sim event sag --box 1 --depth 0.7 --cycles 10
    """


@command.command("run", short_help="Run N Boxes, each on its own pty, until Ctrl-C.")
@click.argument("boxes", metavar="N", type=click.IntRange(1, 200))
@click.option("--scenario", help="Scenario file, or the name of a shipped one, e.g. lightning_dip.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of all random numbers.")
@data_dir_option
@ports_dir_option
def run(boxes: int, scenario: str | None, seed: int, data_dir: Path | None, ports_dir: Path | None) -> None:
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


@command.command("event")
@click.argument("kind", type=click.Choice(KINDS))
@click.option("--box", "box_id", required=True, help="Which Box; a simulated one.")
@click.option(
    "--depth",
    type=click.FloatRange(0, 10, min_open=True),
    help="Share of the voltage lost (sag: 0.3 leaves 70 %), added, or changed. [a usual one of the kind]",
)
@click.option("--cycles", type=click.FloatRange(0, 36_000, min_open=True), help="How long. [of the kind]")
@click.option("--angle-deg", type=float, help="Point on wave of the start. [of the kind, mostly 0]")
@click.option(
    "--hz", type=float, help="Frequency of a tone, a ringing, flicker; Hz of a frequency deviation."
)
@click.option("--degrees", type=float, help="Of a phase jump.")
@data_dir_option
@ports_dir_option
def event(
    kind: str,
    box_id: str,
    depth: float | None,
    cycles: float | None,
    angle_deg: float | None,
    hz: float | None,
    degrees: float | None,
    data_dir: Path | None,
    ports_dir: Path | None,
) -> None:
    """Disturb one Box of a running `sim` or `up` now.

    \b
    Examples:
      opq-tools sim event sag --box 1 --depth 0.7 --cycles 10
      opq-tools sim event phase_jump --box 1 --degrees -20
    """
    numbers = {"depth": depth, "cycles": cycles, "angle_deg": angle_deg, "hz": hz, "degrees": degrees}
    told = {name: value for name, value in numbers.items() if value is not None}
    request = {"do": "event", "box": box_id, "kind": kind, **told}
    answer = request_control(ports_folder(data_dir, ports_dir), request)
    click.echo(f"box {box_id}: {answer['words']}")


def _first(fleet: Fleet, count: int) -> list[Box]:
    """`count` Boxes: those of the scenario, then plain ones."""
    boxes = fleet.boxes()
    if not boxes:
        raise ConfigError("the scenario has no Boxes; give another")
    return boxes[:count]
