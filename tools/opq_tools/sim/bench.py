"""`opq-tools bench NAME`: measures speed and memory, with a baseline from the same run.

The benchmarks are in `tools/bench` of the source tree; an installed wheel does not hold them.
"""

import importlib
import json
from dataclasses import asdict
from pathlib import Path

import click

from opq_proto.errors import OpqError
from opq_proto.kit import log
from opq_proto.kit.command_line import text_table
from opq_proto.kit.shared_options import json_option

FOLDER = Path(__file__).resolve().parents[2] / "bench"
BENCHMARKS = {
    "makai": "Makai in its own processes: CPU a Measurement, latency, memory a connection, handshakes.",
    "gateway": "CPU and memory per Box, ring and codec, uplink's bytes, raw requests.",
    "rules": "Rule engine: events per core through filters, windows, 10,000 rules; bytes per rule; latency.",
    "view": "View over 10^5 incidents, 10,000 Boxes: first byte, whole page, CPU, bytes, beside a bare page.",
    "store": "A Measurement and a class A interval stored: CPU, bytes; any span of a Box to a year.",
    "pipeline": "Latency of each stage over 50 sags; CPU and memory per Box; Mauka's events and joining.",
    "firmware": "The Box in QEMU: load by stage, bytes by module, first sample, GPS lock, update.",
    "measure": "Error and CPU beside pqopen-lib, recordings beside a NumPy read (extra `bench`).",
}
"""Module with `run(quick: bool) -> BenchResult` -> its line in the list."""


class NoBenchmarksError(OpqError):
    """The program runs from a wheel, which holds no benchmarks."""


@click.command("bench")
@click.argument("name", required=False)
@click.option("--list", "list_all", is_flag=True, help="List all benchmarks.")
@click.option("--quick", is_flag=True, help="Make fewer runs, less than a minute.")
@json_option
def command(name: str | None, list_all: bool, quick: bool, as_json: bool) -> None:
    """Run one benchmark and print the result next to its baseline.

    Example: opq-tools bench pipeline --quick --json
    """
    if list_all:
        rows = list(BENCHMARKS.items())
        click.echo(text_table(("name", "what it measures"), rows))
        return
    if name not in BENCHMARKS:
        problem = "name a benchmark" if name is None else f"no benchmark {name!r}"
        raise click.UsageError(f"{problem}; there are: {', '.join(BENCHMARKS)}")
    if not FOLDER.is_dir():
        raise NoBenchmarksError(
            "the benchmarks are not part of an installed opq-toolkit; clone the project, "
            "run `tools/run --help` in the clone once, then `.venv/bin/opq-tools bench` there"
        )
    from bench.harness.result import BenchResult, commit, machine, row_text

    log.configure("bench", "warning")  # what is measured may log; stdout is for the result
    result: BenchResult = importlib.import_module(f"bench.{name}").run(quick)
    if as_json:
        click.echo(json.dumps({"bench": name, "machine": machine(), "commit": commit(), **asdict(result)}))
        return
    for row in result.results:
        click.echo(row_text(row))
    base = result.baseline
    click.echo(f"{'baseline: ' + base.name:<48} {base.value:10.4g} {base.unit}; ratio {result.ratio:.3g}")
