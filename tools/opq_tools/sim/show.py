"""`opq-tools sim show`: the Boxes of a running `sim` or `up`; with a scenario, its network, events and times.

The diagram comes from `opq_sim.power_system.diagram`.
"""

import json
from pathlib import Path

import click

from opq_proto.errors import ConfigError
from opq_proto.kit.command_line import text_table
from opq_proto.kit.shared_options import data_dir_option, json_option
from opq_sim.box.control import request_control
from opq_sim.mains.scenario import has_network, scenario_path
from opq_sim.power_system.diagram import one_line_diagram
from opq_sim.power_system.power_scenario import PowerScenario, load_power_scenario, power_network
from opq_tools.shared import values
from opq_tools.sim.sim_command import ports_dir_option, ports_folder


@click.command("show", short_help="Show what runs and what has happened, or draw a scenario.")
@click.argument("scenario", metavar="[SCENARIO]", required=False, shell_complete=values.scenarios)
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also draw each cause of the scenario once, into this .png, .svg or .pdf file.",
)
@json_option
@data_dir_option
@ports_dir_option
def command(
    scenario: str | None, plot: Path | None, as_json: bool, data_dir: Path | None, ports_dir: Path | None
) -> None:
    """Show the simulated Boxes of a running `sim` or `up`, and what has happened in their network.

    With SCENARIO, a file or the name of a shipped one: draw its network, with its Boxes and causes.

    \b
    Examples:
      opq-tools sim show --json
      opq-tools sim show village --plot causes.svg
    """
    if scenario is None:
        if plot is not None:
            raise click.UsageError("--plot draws a scenario: name it, such as village")
        _show_running(ports_folder(data_dir, ports_dir), as_json)
        return
    _show_scenario(scenario, plot, as_json)


def _show_running(folder: Path, as_json: bool) -> None:
    answer = request_control(folder, {"do": "status"})
    if as_json:
        click.echo(json.dumps({name: answer[name] for name in ("boxes", "network", "malformed")}))
        return
    click.echo(text_table(("box", "port"), answer["boxes"].items()))
    network = answer["network"]
    if network is not None:
        latest = network["latest"]
        click.echo(f"network: {network['disturbances']} disturbances in {network['reached_s']:.0f} s")
        if latest is not None:
            click.echo(f"the last, {latest['id']}: {latest['words']}")
        if network["refused"]:
            click.echo(f"{network['refused']} causes could not happen when their time came; the log says why")


def _show_scenario(scenario: str, plot: Path | None, as_json: bool) -> None:
    path = scenario_path(scenario)
    if not has_network(path):
        raise ConfigError(f"{path.name} has no network to draw; try village")
    config = load_power_scenario(path)
    marks: dict[str, list[str]] = {}
    for box in config.box:
        marks.setdefault(box.at, []).append(f"Box {box.id} on {box.phase}")
    title, diagram = config.title or path.stem, one_line_diagram(power_network(config), marks)
    if as_json:
        facts = {
            "title": title,
            "boxes": marks,
            "diagram": diagram.splitlines(),
            "events": event_lines(config),
        }
        click.echo(json.dumps(facts))
    else:
        click.echo(f"{title}\n{diagram}" + "\n".join(event_lines(config)))
    if plot is not None:
        from opq_tools.sim.picture import save_picture  # imports matplotlib: only for drawing

        save_picture(plot, config)


def event_lines(scenario: PowerScenario) -> list[str]:
    """Events of a scenario, a line each, in time order; random ones last."""
    lines = []
    for each in sorted(scenario.cause, key=lambda cause: cause.at_s):
        again = f", then every {each.every_s:.10g} s" if each.every_s else ""
        lines.append(f"{each.at_s:7.10g} s  {each.kind} at {each.at}{again}")
    for process in scenario.process:
        low, high = process.hours
        when = "" if (low, high) == (0.0, 24.0) else f", from {low:g} to {high:g} o'clock"
        lines.append(f"{process.per_hour:7g} /h {process.kind} at {' or '.join(process.at)}{when}")
    return lines
