"""`opq-tools sim N`: runs simulated Boxes on ptys in the foreground."""

import threading
from pathlib import Path

import click

from opq_proto.errors import ConfigError, OpqError
from opq_proto.kit import log
from opq_proto.kit.ending import stopped_by_signals
from opq_proto.kit.shared_options import new_data_dir_option, port_offset_option
from opq_proto.kit.system_place import default_data_dir, find_system
from opq_sim.box.box import Box
from opq_sim.box.box_host import BoxHost
from opq_sim.box.control import EventHost, serve, truth_written
from opq_sim.box.run_boxes import Fleet, plan_fleet
from opq_sim.foreign.generations import foreign_host, key_folder
from opq_tools.sim.sim_command import ports_dir_option, scenario_option


@click.command("run", short_help="Run N Boxes, each on its own pty, until Ctrl-C.")
@click.argument("boxes", metavar="N", type=click.IntRange(1, 200))
@scenario_option("Scenario file, or the name of a shipped one, e.g. lightning_dip.")
@click.option(
    "--seed", type=click.IntRange(0), default=1, show_default=True, help="Seed of all random numbers."
)
@click.option(
    "--foreign",
    type=click.Choice(["cur", "leg"]),
    help="Act as Boxes of the original's Rust (cur) or C++ (leg) generation, "
    "connected to DATA_DIR's brokers; no ptys.",
)
@click.option(
    "--first-id",
    type=click.IntRange(0),
    help="With --foreign: number of the first Box. [as without --foreign]",
)
@port_offset_option
@click.option(
    "--truth",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder for the true disturbances (truth.jsonl), of a scenario that has a network.",
)
@new_data_dir_option
@ports_dir_option
def command(
    boxes: int,
    scenario: str | None,
    seed: int,
    foreign: str | None,
    first_id: int | None,
    port_offset: int | None,
    truth: Path | None,
    data_dir: Path | None,
    ports_dir: Path | None,
) -> None:
    """Run N Boxes, each on its own pty, until Ctrl-C: first those of the scenario, then undisturbed ones.

    Prints one line per Box, `box ID PATH`; PATH speaks the serial link of a Box.

    \b
    Examples:
      opq-tools sim 3 --scenario lightning_dip
      opq-tools sim 2 --foreign cur --first-id 101     # beside a running `up`
    """
    if foreign is None and (first_id is not None or port_offset is not None):
        raise ConfigError(
            "--first-id and --port-offset are for Boxes of the original; give --foreign cur or leg"
        )
    log.configure("boxes", "warning")
    folder = ports_dir or (data_dir or default_data_dir()) / "ports"
    hosted = _first(plan_fleet(scenario=scenario, sim=boxes, seed=seed, truth=truth), boxes)
    if foreign is not None:
        data, offset = find_system(data_dir, port_offset)
        place = ports_dir or data / "foreign"  # `up` has its own in `ports`
        run_foreign(foreign, hosted, first_id, data, offset, place, truth)
        return
    host = BoxHost(hosted, ports_dir=folder)

    def show() -> None:
        for box in hosted:
            click.echo(f"box {box.box_id} {folder / f'box{box.box_id}'}")

    host.on_open = show
    _play(host, folder, truth)


def _first(fleet: Fleet, count: int) -> list[Box]:
    """The first `count` Boxes: those of the scenario, then plain ones."""
    boxes = fleet.boxes()
    if not boxes:
        raise ConfigError("the scenario has no Boxes; give another")
    return boxes[:count]


MAX_NUMBER = 2**31 - 1


def run_foreign(
    generation: str,
    hosted: list[Box],
    first_id: int | None,
    data_dir: Path,
    port_offset: int,
    folder: Path,
    truth: Path | None,
) -> None:
    """Runs until Ctrl-C; the control socket for `sim event` is in `folder`, the truth in `truth`.

    Raises:
        ConfigError: an id or a port is out of range.
        OpqError: keys are missing or unusable, or other Boxes run in `folder`.
    """
    log.configure("foreign-boxes", "warning")
    sources = {box.box_id: box.source for box in hosted}
    if first_id is not None:
        if first_id + len(hosted) - 1 > MAX_NUMBER:
            raise ConfigError(f"--first-id is {first_id}; the last Box would be beyond {MAX_NUMBER}")
        sources = {str(first_id + number): source for number, source in enumerate(sources.values())}
    try:
        host = foreign_host(generation, sources, key_folder(data_dir), port_offset)
    except ValueError as error:
        raise ConfigError(str(error)) from error

    def report() -> None:
        for box_id, place in host.ports.items():
            click.echo(f"box {box_id} {generation} {place}")

    host.on_open = report
    _play(host, folder, truth)


def _play(host: EventHost, folder: Path, truth: Path | None) -> None:
    """Hosts Boxes until Ctrl-C."""
    stop = threading.Event()
    try:
        with stopped_by_signals(stop), truth_written(host, truth):
            serve(host, folder, stop)
    except OSError as error:
        raise OpqError(f"boxes: {error.filename or folder}: {error.strerror or error}") from error
