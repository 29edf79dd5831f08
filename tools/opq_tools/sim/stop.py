"""`opq-tools sim stop`: ends a running `sim`. Each command of the group has its own file."""

from pathlib import Path

import click

from opq_proto.kit.shared_options import data_dir_option
from opq_sim.box.control import request_control
from opq_tools.sim.sim_command import ports_dir_option, ports_folder


@click.command("stop", short_help="End a running `sim`.")
@data_dir_option
@ports_dir_option
def command(data_dir: Path | None, ports_dir: Path | None) -> None:
    """End a running `sim` as Ctrl-C does. The Boxes of an `up` are refused: they end with it.

    Example: opq-tools sim stop --ports-dir /tmp/boxes
    """
    folder = ports_folder(data_dir, ports_dir)
    answer = request_control(folder, {"do": "stop"})
    several = len(answer["boxes"]) != 1
    click.echo(f"Box{'es' * several} {', '.join(answer['boxes'])} in {folder} end{'' if several else 's'}")
