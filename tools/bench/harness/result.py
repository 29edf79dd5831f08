"""Result of a benchmark: figures with their spread, a baseline from the same run, the machine."""

import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class BenchCase:
    """One figure: the value to quote and the spread of its runs.

    `limit`: the largest allowed value, None if there is no limit. `peer`: the same figure of the peer named
    in the baseline, None if it has none. `because`: why the value is worse than one of them.
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
    """The value to compare the figures with, measured in the same run."""

    name: str
    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class BenchResult:
    """Result of a benchmark; `ratio` is that of the case named by the baseline."""

    results: tuple[BenchCase, ...]
    baseline: Baseline
    ratio: float


def case(
    name: str,
    unit: str,
    values: Sequence[float],
    value: float | None = None,
    limit: float | None = None,
    peer: float | None = None,
    because: str = "",
) -> BenchCase:
    """A case of several runs; its value is the median unless another one is given."""
    median = statistics.median(values)
    quoted = median if value is None else value
    return BenchCase(name, quoted, unit, median, min(values), max(values), len(values), limit, peer, because)


def named(name: str, row: BenchCase) -> BenchCase:
    """The same row under another name."""
    return replace(row, case=name)


def machine() -> dict[str, Any]:
    """Facts of the machine that measured."""
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
    """The commit of the running checkout; None outside a checkout."""
    git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short=12", "HEAD"]
    try:
        answer = subprocess.run(git, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def row_text(row: BenchCase) -> str:
    """One row for a terminal."""
    parts = [f"min {row.min:.4g}, max {row.max:.4g}, {row.runs} runs"] if row.runs > 1 else []
    if row.limit is not None:
        parts.append(f"{'within' if row.value <= row.limit else 'BEYOND'} {row.limit:.4g}")
    if row.peer is not None:
        parts.append(f"peer {row.peer:.4g}")
    if row.because:
        parts.append(row.because)
    return f"{row.case:<48} {row.value:10.4g} {row.unit:<14} ({'; '.join(parts)})"


def percentile(values: Sequence[float], share: float) -> float:
    """The value that a `share` of all values does not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-len(ordered) * round(share * 1000) // 1000) - 1))]


def cpu_of(do: Callable[[], Found]) -> tuple[float, Found]:
    """CPU seconds of this process during the call, and its result."""
    began = time.process_time()
    found = do()
    return max(time.process_time() - began, 1e-9), found
