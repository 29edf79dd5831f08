"""`opq-tools sim status` and `sim stop`: shows a running `sim` or `up`, ends a running `sim`."""

import json
from pathlib import Path

import click

from opq_proto.kit.command_line import json_option
from opq_sim.box.control import request_control
from opq_tools.sim.command import data_dir_option, ports_dir_option, ports_folder


@click.command("status", short_help="Show the Boxes of a running `sim` or `up`, and what has happened.")
@json_option
@data_dir_option
@ports_dir_option
def command(as_json: bool, data_dir: Path | None, ports_dir: Path | None) -> None:
    """Show the simulated Boxes of a running `sim` or `up`, and what has happened in their network.

    Example: opq-tools sim status --json
    """
    answer = request_control(ports_folder(data_dir, ports_dir), {"do": "status"})
    if as_json:
        click.echo(json.dumps({name: answer[name] for name in ("boxes", "network", "malformed")}))
        return
    for box_id, port in answer["boxes"].items():
        click.echo(f"box {box_id} {port}")
    network = answer["network"]
    if network is not None:
        latest = network["latest"]
        click.echo(f"network: {network['disturbances']} disturbances in {network['reached_s']:.0f} s")
        if latest is not None:
            click.echo(f"the last, {latest['id']}: {latest['words']}")
        if network["refused"]:
            click.echo(f"{network['refused']} causes could not happen when their time came; the log says why")


@click.command("stop", short_help="End a running `sim`.")
@data_dir_option
@ports_dir_option
def stop_command(data_dir: Path | None, ports_dir: Path | None) -> None:
    """End a running `sim` as Ctrl-C does. The Boxes of an `up` are refused: they end with it.

    Example: opq-tools sim stop --ports-dir /tmp/boxes
    """
    folder = ports_folder(data_dir, ports_dir)
    answer = request_control(folder, {"do": "stop"})
    several = len(answer["boxes"]) != 1
    click.echo(f"Box{'es' * several} {', '.join(answer['boxes'])} in {folder} end{'' if several else 's'}")
