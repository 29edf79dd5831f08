"""Cost of events and of joining findings: `mauka_events`, `view.incident_way`, an incident of 10,000 Boxes.

Findings of one disturbance come in a random order, one of each Box, their onsets within 180 ms: all in one
plan; one per plan, as from Boxes that answer late; and 50 per plan, as from an event of 50 Boxes. The
baseline is the cost of a finding while the incident is small; the ratio shows how much more a finding of a
large incident costs.
"""

import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from bench.mauka_events import rows as event_rows
from bench.result import Baseline, BenchCase, BenchResult, case
from bench.view.incident_way import rows as way_rows
from opq_cloud.mauka.joining.finding_writer import FindingWriter
from opq_cloud.store import open_store
from opq_proto.messages import Finding

BOXES = 10_000
"""Boxes of the incident."""
QUICK_BOXES = 400
"""The same in a quick run."""
SEED = 1
START_NS = 1_765_792_486_000_000_000
SPREAD_NS = 180_000_000
LIMIT_MS = 2.0
"""Limit of CPU per finding."""
JOIN_S = 1.0
"""Limit of joining all findings."""
SMALL_STORE = 1_000
EVENT_BOXES = 50


def run(quick: bool) -> BenchResult:
    """Takes about five minutes; `quick`, with 400 Boxes and a few events, less than one."""
    boxes = QUICK_BOXES if quick else BOXES
    counted = min(SMALL_STORE, boxes // 2)
    rows: list[BenchCase] = [*event_rows(quick), *way_rows(quick)]
    click.echo(f"an incident of {boxes} Boxes in one plan ...", err=True)
    (joined_ms,) = _grow(boxes, boxes)
    rows.append(case(f"an incident of {boxes} Boxes, all in one plan", "s", [joined_ms / 1000], limit=JOIN_S))
    for together in (EVENT_BOXES, 1):
        click.echo(f"an incident of {boxes} Boxes, {together} findings a plan ...", err=True)
        spent_ms = list(_grow(boxes, together))
        small, large = _means(spent_ms, together, boxes)
        name = f"a finding that comes, {together} a plan"
        rows.append(case(f"{name}, the last {counted}", "ms", [large], limit=LIMIT_MS))
        rows.append(case(f"{name}, the first {counted}", "ms", [small]))
        whole = sum(spent_ms)
        rows.append(case(f"all {boxes} findings, {together} a plan", "s", [whole / 1000]))
        longest = max(spent_ms)
        why = "a finding earlier than all before"
        rows.append(case(f"the dearest plan, {together} a plan", "ms", [longest], because=why))
    base = rows[-3].value
    return BenchResult(
        tuple(rows),
        Baseline(f"a finding that comes, 1 a plan, the first {counted}", base, "ms"),
        rows[-4].value / base,
    )


def _grow(boxes: int, together: int) -> Iterator[float]:
    """Grows an incident; yields CPU ms of each plan."""
    chance = random.Random(SEED)
    findings = [_finding(str(number + 1), chance.randrange(SPREAD_NS)) for number in range(boxes)]
    with TemporaryDirectory() as folder:
        store = open_store(None, Path(folder))
        try:
            writer = FindingWriter(lambda: store)
            for first in range(0, boxes, together):
                began_s = time.process_time()
                writer.put_findings(first // together + 1, findings[first : first + together])
                yield 1000 * (time.process_time() - began_s)
            assert [len(one.box_ids) for one in store.incidents()] == [boxes]
        finally:
            store.close()


def _means(spent_ms: Sequence[float], together: int, boxes: int) -> tuple[float, float]:
    """Mean CPU per finding of the first and the last SMALL; includes those with a new earliest onset."""
    plans = min(SMALL_STORE, boxes // 2) // together
    return sum(spent_ms[:plans]) / (plans * together), sum(spent_ms[-plans:]) / (plans * together)


def _finding(box_id: str, after_ns: int) -> Finding:
    start_ns = START_NS + after_ns
    return Finding("sag", box_id, start_ns, start_ns + 100_000_000, 1000, residual_percent=70.0)
