"""`opq-tools sim event`: a disturbance in a running `sim` or `up`, at once."""

from pathlib import Path

import click

from opq_hil.box.control import request_control
from opq_hil.mains.on_demand import KINDS
from opq_tools.sim.command import data_dir_option, ports_dir_option, ports_folder


@click.command("event")
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
def command(
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
