"""The group `sim`: one module per subcommand; this one has their shared options."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from opq_proto.kit.system_place import find_system
from opq_tools.lazy_group import LazyGroup
from opq_tools.shared import values

Decorated = TypeVar("Decorated", bound=Callable[..., object])
PLACES = {
    "run": ("sim.run", "Run N Boxes, each on its own pty, until Ctrl-C."),
    "event": ("sim.event", "Disturb a Box, or the network, of a running `sim` or `up` now."),
    "show": ("sim.show", "Show what runs and what has happened, or draw a scenario."),
    "stop": ("sim.stop", "End a running `sim`."),
    "score": ("sim.score", "Compare stored incidents with the truth of a run."),
    "history": ("sim.history.history_command", "Simulate days of a grid within minutes, into a store."),
    "fleet": ("sim.fleet", "Thousands of Boxes straight on CURVE, without serial lines."),
    "dataset": ("sim.dataset", "Write labelled recordings of every class."),
}
"""Subcommand -> (module that has the `command`, its line in the list)."""


class SimGroup(LazyGroup):
    """Reads `sim N …` as `sim run N …`: a first word that is not a subcommand starts Boxes."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.list_commands(ctx) and args[0] not in ("-h", "--help"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


def ports_folder(data_dir: Path | None, ports_dir: Path | None) -> Path:
    """Folder of links and control socket of a running `sim` or `up`: given, or `ports` in the data folder."""
    return ports_dir or find_system(data_dir, None)[0] / "ports"


ports_dir_option = click.option(
    "--ports-dir",
    type=click.Path(path_type=Path),
    help="Folder of the simulated ports and the control socket. [DATA_DIR/ports]",
)


def scenario_option(text: str) -> Callable[[Decorated], Decorated]:
    """The option `--scenario`; `text` is its help."""
    return click.option("--scenario", shell_complete=values.scenarios, help=text)


def outage_options(function: Decorated) -> Decorated:
    """Adds `--outage-every-s` and `--outage-s`, for network outages of each Box."""
    every = click.option(
        "--outage-every-s",
        type=click.FloatRange(0),
        default=0.0,
        help="Mean seconds between two network outages of a Box. [none]",
    )
    length = click.FloatRange(0, min_open=True)
    lasts = click.option(
        "--outage-s",
        type=length,
        default=60.0,
        show_default=True,
        help="Mean length of these outages, seconds.",
    )
    return every(lasts(function))


@click.group("sim", cls=SimGroup, places=PLACES)
def command() -> None:
    """Simulated Boxes on a simulated grid, and disturbances on demand.

    \b
    Examples:
      opq-tools sim 3 --scenario lightning_dip
      opq-tools sim event sag --box 1 --depth 0.7 --cycles 10
    """
