"""`opq-tools sim show`: prints a scenario: its network as a one-line diagram, its events and their times.

The diagram comes from `opq_sim.power_system.diagram`.
"""

from pathlib import Path

import click

from opq_proto.errors import ConfigError
from opq_sim.mains.scenario import scenario_path
from opq_sim.power_system.diagram import one_line_diagram
from opq_sim.power_system.power_scenario import PowerScenario, has_network, load_power_scenario, power_network


@click.command("show", short_help="Draw the network of a scenario, and its causes.")
@click.argument("scenario", metavar="F")
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also draw each cause once, into this .png, .svg or .pdf file.",
)
def command(scenario: str, plot: Path | None) -> None:
    """Draw the network of a scenario file, or of a shipped one by its name, with its Boxes.

    \b
    Examples:
      opq-tools sim show village
      opq-tools sim show village --plot causes.svg
    """
    path = scenario_path(scenario)
    if not has_network(path):
        raise ConfigError(f"{path.name} has no network to draw; try village")
    config = load_power_scenario(path)
    click.echo(config.title or path.stem)
    marks: dict[str, list[str]] = {}
    for box in config.box:
        marks.setdefault(box.at, []).append(f"Box {box.id} on {box.phase}")
    click.echo(one_line_diagram(power_network(config), marks), nl=False)
    for line in event_lines(config):
        click.echo(line)
    if plot is not None:
        from opq_tools.sim.picture import save_picture  # imports matplotlib: only for drawing

        save_picture(plot, config)


def event_lines(scenario: PowerScenario) -> list[str]:
    """Events of a scenario, a line each, in time order; random ones last."""
    lines = []
    for each in sorted(scenario.cause, key=lambda cause: cause.at_s):
        again = f", then every {each.every_s:g} s" if each.every_s else ""
        lines.append(f"{each.at_s:7g} s  {each.kind} at {each.at}{again}")
    for process in scenario.process:
        low, high = process.hours
        when = "" if (low, high) == (0.0, 24.0) else f", from {low:g} to {high:g} o'clock"
        lines.append(f"{process.per_hour:7g} /h {process.kind} at {' or '.join(process.at)}{when}")
    return lines
