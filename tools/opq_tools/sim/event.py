"""`opq-tools sim event`: causes a disturbance in a running `sim` or `up` at once."""

from pathlib import Path

import click

from opq_proto.kit.shared_options import data_dir_option
from opq_sim.box.control import SUPPLY_LOST, request_control
from opq_sim.mains.on_demand import KINDS
from opq_sim.power_system.causes.catalogue import CAUSES, CauseValue
from opq_tools.shared import values
from opq_tools.sim.sim_command import ports_dir_option, ports_folder

BOX_KINDS = (*KINDS, SUPPLY_LOST)


@click.command(
    "event",
    short_help="Cause a disturbance now, in a running `sim` or `up`.",
    epilog=f"At a Box: {', '.join(BOX_KINDS)}.\n\nIn a network: {', '.join(CAUSES)}; docs/sim.md has each.",
)
@click.argument("kind", metavar="KIND", type=click.Choice([*BOX_KINDS, *CAUSES]))
@click.option("--box", "box_id", shell_complete=values.boxes, help="Number of the simulated Box to disturb.")
@click.option(
    "--at", help="Place in the network: a bus, a point of a feeder or a transformer, e.g. feeder2/3.1km."
)
@click.option(
    "--depth",
    type=click.FloatRange(0, 10, min_open=True),
    help="Share of nominal that is lost (sag: 0.3 leaves 70 %), added or changed. [typical of KIND]",
)
@click.option(
    "--cycles",
    type=click.FloatRange(0, 36_000, min_open=True),
    help="Duration in cycles of the mains. [typical of KIND]",
)
@click.option(
    "--angle-deg", type=float, help="Angle of the voltage at the start, degrees. [typical of KIND, mostly 0]"
)
@click.option(
    "--hz",
    type=float,
    help="Hz: frequency of a tone, a ringing or flicker, or size of a frequency deviation.",
)
@click.option("--degrees", type=float, help="Size of a phase jump, degrees.")
@click.option("--type", "fault_type", help="Type of a fault: LG, LL, LLG, LLL. [LG]")
@click.option("--clear-ms", type=float, help="Milliseconds until a fault is cleared. [100]")
@click.option(
    "--seconds",
    type=click.FloatRange(0, 1e6, min_open=True),
    help="Seconds for which a Box's supply is lost. [30]",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Another setting of KIND as NAME=VALUE, e.g. kw=90; of supply_lost: battery_s, outlet_dead.",
)
@data_dir_option
@ports_dir_option
def command(
    kind: str,
    box_id: str | None,
    at: str | None,
    depth: float | None,
    cycles: float | None,
    angle_deg: float | None,
    hz: float | None,
    degrees: float | None,
    fault_type: str | None,
    clear_ms: float | None,
    seconds: float | None,
    settings: tuple[str, ...],
    data_dir: Path | None,
    ports_dir: Path | None,
) -> None:
    """Cause a disturbance now, in a running `sim` or `up`: at one Box, of its supply, or in its network.

    \b
    Examples:
      opq-tools sim event sag --box 1 --depth 0.7 --cycles 10
      opq-tools sim event phase_jump --box 1 --degrees -20
      opq-tools sim event fault --at feeder2/3.1km --type LG --clear-ms 120
      opq-tools sim event motor_start --at mill --set kw=90
      opq-tools sim event supply_lost --box 1 --seconds 30 --set battery_s=10
    """
    folder = ports_folder(data_dir, ports_dir)
    numbers = {"depth": depth, "cycles": cycles, "angle_deg": angle_deg, "hz": hz, "degrees": degrees}
    of_cause = {"type": fault_type, "clear_ms": clear_ms, **_settings(settings)}
    given = {name: value for name, value in numbers.items() if value is not None}
    set_of_cause = {name: value for name, value in of_cause.items() if value is not None}
    if kind == SUPPLY_LOST:
        if box_id is None or at is not None or given or fault_type is not None or clear_ms is not None:
            raise click.UsageError(f"{kind} is for one Box: give --box, and either --seconds or --set")
        lost = {} if seconds is None else {"seconds": seconds}
        request = {"do": "event", "box": box_id, "kind": kind, "values": _settings(settings), **lost}
        click.echo(f"box {box_id}: {request_control(folder, request)['words']}")
        return
    if seconds is not None:
        raise click.UsageError(f"--seconds is for {SUPPLY_LOST}; other kinds at a Box take --cycles")
    if kind in CAUSES:
        if at is None or box_id is not None:
            raise click.UsageError(
                f"{kind} happens in a network: give --at, such as --at feeder2/3.1km, no --box"
            )
        request = {"do": "event", "cause": kind, "at": at, "values": {**given, **set_of_cause}}
        click.echo(request_control(folder, request)["words"])
        return
    if box_id is None or at is not None or set_of_cause:
        raise click.UsageError(
            f"{kind} is for one Box: give --box, such as --box 1, and no --at, --type, --clear-ms or --set"
        )
    answer = request_control(folder, {"do": "event", "box": box_id, "kind": kind, **given})
    click.echo(f"box {box_id}: {answer['words']}")


def _settings(pairs: tuple[str, ...]) -> dict[str, CauseValue]:
    found: dict[str, CauseValue] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{pair!r}; want NAME=VALUE, such as kw=90", param_hint="--set")
        found[name] = _value(text)
    return found


def _value(text: str) -> CauseValue:
    if text in ("true", "false"):
        return text == "true"
    try:
        return float(text)
    except ValueError:
        return text
