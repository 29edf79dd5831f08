"""`opq-tools sim fleet`: runs thousands of Boxes directly on CURVE, without serial lines."""

import json
import threading
from pathlib import Path

import click

from opq_proto.errors import ConfigError
from opq_proto.kit import log
from opq_proto.kit.ending import stopped_by_signals
from opq_proto.kit.shared_options import data_dir_option, json_option, port_offset_option
from opq_proto.kit.system_place import find_system
from opq_sim.fleet.fleet_run import Counts, FleetSpec, run_fleet
from opq_sim.mains.scenario import has_network, scenario_path
from opq_tools.sim.sim_command import outage_options, scenario_option

SHOWN_FIGURES = (
    "standing",
    "made",
    "sent",
    "unheard",
    "backfilled",
    "held",
    "expired",
    "not_held",
    "answers_sent",
    "answers_dropped",
    "lost",
)
BOXES_PER_PROCESS = 1700
"""Boxes in closed form that one process serves."""
SAMPLED_PER_PROCESS = 200
"""Boxes with samples that one process serves."""


@click.command("fleet", short_help="Run up to thousands of Boxes, connected directly to the brokers.")
@click.option("--boxes", type=click.IntRange(1, 100_000), required=True, help="Number of Boxes.")
@click.option(
    "--first-box",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Number of the first Box; the others follow.",
)
@click.option(
    "--processes",
    type=click.IntRange(1, 64),
    help="Number of processes. [one per 1700 Boxes, with --samples one per 200]",
)
@click.option(
    "--rate",
    type=click.FloatRange(0.1, 60),
    default=1.0,
    show_default=True,
    help="Measurements per second of each Box.",
)
@scenario_option("Scenario file with a network, or the name of a shipped one. [an undisturbed grid]")
@click.option(
    "--truth", type=click.Path(path_type=Path), help="Folder for the true disturbances (truth.jsonl)."
)
@click.option(
    "--samples",
    is_flag=True,
    help="Make samples and measure them with the gateway's code; some hundred Boxes per core.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Host of the brokers.")
@port_offset_option
@click.option(
    "--nominal-v",
    type=click.FloatRange(10, 1000),
    default=120.0,
    show_default=True,
    help="Nominal voltage, V rms.",
)
@click.option(
    "--nominal-hz",
    type=click.Choice(["50", "60"]),
    default="60",
    show_default=True,
    help="Nominal frequency of the grid, Hz.",
)
@outage_options
@click.option(
    "--queue-mb",
    type=click.IntRange(1),
    default=4000,
    show_default=True,
    help="Disk space for Measurements that are not acknowledged, MB.",
)
@click.option(
    "--for-s", type=click.FloatRange(0, min_open=True), help="End after this many seconds. [at Ctrl-C]"
)
@click.option(
    "--seed", type=click.IntRange(0), default=1, show_default=True, help="Seed of all random numbers."
)
@json_option
@data_dir_option
def command(
    boxes: int,
    first_box: int,
    processes: int | None,
    rate: float,
    scenario: str | None,
    truth: Path | None,
    samples: bool,
    host: str,
    port_offset: int | None,
    nominal_v: float,
    nominal_hz: str,
    outage_every_s: float,
    outage_s: float,
    queue_mb: int,
    for_s: float | None,
    seed: int,
    as_json: bool,
    data_dir: Path | None,
) -> None:
    """Run Boxes that send their Measurements straight to the brokers, each under its own key, until Ctrl-C.

    Keys are those of DATA_DIR/curve (`opq-tools keygen`). Measurements that the cloud has not acknowledged
    wait in DATA_DIR/fleet. Progress is a line on stderr each 10 s.

    \b
    Examples:
      opq-tools keygen --out D/curve --server --boxes 1-1000
      opq-tools sim fleet --boxes 1000 --data-dir D
      opq-tools sim fleet --boxes 300 --data-dir D --scenario village --truth D/truth
    """
    log.configure("boxes", "warning")
    if samples and outage_every_s:
        raise click.UsageError("network outages are drawn for Boxes in closed form; leave out --samples")
    path = None if scenario is None else scenario_path(scenario)
    if path is not None and not has_network(path):
        raise ConfigError(f"{path.name} has no network; a fleet needs a scenario with a table [network]")
    per_process = SAMPLED_PER_PROCESS if samples else BOXES_PER_PROCESS
    folder, offset = find_system(data_dir, port_offset)
    spec = FleetSpec(
        data_dir=str(folder.absolute()),
        boxes=boxes,
        first_box=first_box,
        processes=processes or -(-boxes // per_process),
        rate_per_s=rate,
        port_offset=offset,
        host=host,
        scenario=None if path is None else str(path.absolute()),
        nominal_v=nominal_v,
        nominal_hz=float(nominal_hz),
        seed=seed,
        outage_every_s=outage_every_s,
        outage_s=outage_s,
        queue_mb=queue_mb,
        samples=samples,
    )

    def report(counts: Counts) -> None:
        click.echo(" ".join(f"{name} {counts.get(name, 0):g}" for name in SHOWN_FIGURES), err=True)

    stop = threading.Event()
    with stopped_by_signals(stop):
        if for_s is not None:
            timer = threading.Timer(for_s, stop.set)
            timer.daemon = True
            timer.start()
        counts = run_fleet(spec, stop, report, truth)
    if as_json:
        click.echo(json.dumps(counts))
    else:
        report(counts)
