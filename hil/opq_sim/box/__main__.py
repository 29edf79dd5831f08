"""`python -m opq_sim.box`: many Boxes in one process, each on its own pty."""

import sys
import threading
from pathlib import Path

import click

from opq_proto.errors import OpqError
from opq_proto.kit import log
from opq_proto.kit.ending import stopped_by_signals
from opq_sim.box.box_host import BoxHost
from opq_sim.box.control import serve, truth_written
from opq_sim.box.run_boxes import plan_fleet
from opq_sim.box.wire_faults import HARDWARE

ENDED_BY = "these Boxes run for `opq-tools up`, or by `python -m opq_sim.box`; end that one with Ctrl-C"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--replay",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Recording to play, of any format that analyze reads; repeatable.",
)
@click.option("--scenario", help="Scenario file, or the name of a shipped one.")
@click.option(
    "--sim", "simulated", type=click.IntRange(0, 200), help="So many more Boxes on the scenario's grid."
)
@click.option(
    "--ports-dir",
    type=click.Path(path_type=Path),
    help="Folder for the links box<ID> and the control socket.",
)
@click.option(
    "--replay-every-s", "every_s", type=click.FloatRange(1), help="From play to play (60, or the scenario's)."
)
@click.option(
    "--lead-s", type=click.FloatRange(0.5), help="Steady before the first play (10, or the scenario's)."
)
@click.option(
    "--seed", type=click.IntRange(0), default=1, show_default=True, help="Seed of all random numbers."
)
@click.option(
    "--bad-wire", is_flag=True, help="921,600 baud, reads of 1-64 bytes, 1e-5 of the bytes corrupted."
)
@click.option("--truth", type=click.Path(path_type=Path), help="Folder for the truth of a network's run.")
def main(
    replay: tuple[Path, ...],
    scenario: str | None,
    simulated: int | None,
    ports_dir: Path | None,
    every_s: float | None,
    lead_s: float | None,
    seed: int,
    bad_wire: bool,
    truth: Path | None,
) -> None:
    """Host simulated and replayed Boxes, each on its own pty, until SIGTERM.

    Example: python -m opq_sim.box --scenario lightning_dip --sim 1 --ports-dir /tmp/boxes
    """
    log.configure("boxes")
    stop = threading.Event()
    try:
        with stopped_by_signals(stop):
            boxes = plan_fleet(replay, scenario, simulated, every_s, lead_s, seed).boxes()
            host = BoxHost(boxes, HARDWARE if bad_wire else None, ports_dir)
            with truth_written(host, truth):
                serve(host, ports_dir, stop, ENDED_BY)
    except (OpqError, OSError) as error:
        click.echo(f"boxes: {error}", err=True)
        sys.exit(getattr(error, "exit_code", 1))


if __name__ == "__main__":
    main()
