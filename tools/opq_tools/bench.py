"""`opq-tools bench NAME`: measure speed and memory, beside a baseline of the same run."""

import importlib
import json
import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

BENCHMARKS = {
    "measure": (
        "opq_tools.benchmarks.measure.figures",
        "Frequency, rms, harmonics, dips: error and CPU beside pqopen-lib (extra `bench`).",
    ),
    "pipeline": (
        "opq_tools.benchmarks.pipeline",
        "Latency of each stage over 50 injected sags; CPU and memory per Box.",
    ),
    "firmware": (
        "opq_tools.benchmarks.firmware",
        "Instructions per block of each stage, flash and RAM, link, time to flash; emulated, not silicon.",
    ),
    "class_a": (
        "opq_tools.benchmarks.class_a.verdicts",
        "Error at the test points and influence quantities of 61000-4-30 class A, beside each limit.",
    ),
    "flicker": (
        "opq_tools.benchmarks.flicker.figures",
        "Pinst and Pst at the tables and performance tests of 61000-4-15, four lamps; CPU, beside a peer.",
    ),
    "gateway": (
        "opq_tools.benchmarks.gateway.figures",
        "CPU and memory per Box, ring and codec, uplink's bytes, raw requests, crossing to request.",
    ),
    "compression": (
        "opq_tools.benchmarks.compression.figures",
        "Bits per sample of the ring's codec beside the noise's entropy, FLAC, zstd, lzma (extra `bench`).",
    ),
    "phasor": (
        "opq_tools.benchmarks.phasor.figures",
        "TVE, FE and RFE of synchrophasors in the tests of C37.118.1, class P and M, beside each limit.",
    ),
    "rules": (
        "opq_tools.benchmarks.rules.figures",
        "Rule engine: events per core through filters, windows, 10,000 rules; bytes per rule; latency.",
    ),
}
"""Name -> the module with `run(quick: bool) -> Result`, and its line in the list."""


@dataclass(frozen=True, slots=True)
class Case:
    """One figure: the value to quote and the spread of the runs behind it.

    `limit`: what it may be at most; `peer`: the same figure of the peer named in the baseline; `because`: why
    it is not as good as one of them. None and empty where there is none.
    """

    case: str
    value: float
    unit: str
    median: float
    min: float
    max: float
    runs: int
    limit: float | None = None
    peer: float | None = None
    because: str = ""


@dataclass(frozen=True, slots=True)
class Baseline:
    """What the figures are held against, measured in the same run."""

    name: str
    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class Result:
    """What a benchmark gives; `ratio` is said of the case that the baseline's name tells."""

    results: tuple[Case, ...]
    baseline: Baseline
    ratio: float


def case(name: str, unit: str, values: Sequence[float], value: float | None = None) -> Case:
    """A case of several runs; its value is the median unless another one is given."""
    median = statistics.median(values)
    return Case(name, median if value is None else value, unit, median, min(values), max(values), len(values))


def machine() -> dict[str, Any]:
    """The machine that measured."""
    cpu = platform.processor() or "unknown"
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
                break
    except OSError:
        cpu = cpu or "unknown"
    return {"cpu": cpu, "cores": os.cpu_count(), "python": platform.python_version()}


def commit() -> str | None:
    """The commit of the checkout that runs; None outside one."""
    git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short=12", "HEAD"]
    try:
        answer = subprocess.run(git, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def row_text(row: Case) -> str:
    """One row for a terminal."""
    parts = [f"min {row.min:.4g}, max {row.max:.4g}, {row.runs} runs"] if row.runs > 1 else []
    if row.limit is not None:
        parts.append(f"{'within' if row.value <= row.limit else 'BEYOND'} {row.limit:.4g}")
    if row.peer is not None:
        parts.append(f"peer {row.peer:.4g}")
    if row.because:
        parts.append(row.because)
    return f"{row.case:<48} {row.value:10.4g} {row.unit:<14} ({'; '.join(parts)})"


@click.command("bench")
@click.argument("name", required=False)
@click.option("--list", "list_all", is_flag=True, help="Name all benchmarks.")
@click.option("--quick", is_flag=True, help="Fewer runs, under a minute.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def command(name: str | None, list_all: bool, quick: bool, as_json: bool) -> None:
    """Measure one thing and print it beside its baseline.

    Example: opq-tools bench pipeline --quick --json
    """
    if list_all:
        for known, (_, line) in BENCHMARKS.items():
            click.echo(f"{known:<12} {line}")
        return
    if name not in BENCHMARKS:
        asked = "name a benchmark" if name is None else f"no benchmark {name!r}"
        raise click.UsageError(f"{asked}; there are: {', '.join(BENCHMARKS)}")
    result: Result = importlib.import_module(BENCHMARKS[name][0]).run(quick)
    if as_json:
        click.echo(json.dumps({"bench": name, "machine": machine(), "commit": commit(), **asdict(result)}))
        return
    for row in result.results:
        click.echo(row_text(row))
    base = result.baseline
    click.echo(f"{'baseline: ' + base.name:<48} {base.value:10.4g} {base.unit}; ratio {result.ratio:.3g}")
