"""Every figure of `bench triggers`: recall by class, events of a quiet grid, µs of a quiet Measurement.

Recall: a disturbance at the weakest magnitude of docs/sim.md, 60 dB, both frequencies, through the gateway's
own measuring (`trials.py`); found is an onset of any default trigger while it lasts, or within a second.
Events: 12 Boxes of the village without its causes, on each preset of the frequency, in closed form
(`opq_hil.fleet`, noise as its outlets have it), through judge, openings and a store; and windows of `none`
measured from samples at 60 dB, which have the noise's true extremes. Baseline: the judge with `threshold`
and `edge_rule` alone, over the same Measurements.
"""

import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from bench.result import Baseline, BenchCase, BenchResult, case
from bench.triggers.judged import CountedJudge, default_triggers, judge_without_store, onsets
from bench.triggers.trials import SIZES, trial
from opq_cloud.config import CloudConfig, PluginEntry
from opq_hil.fleet.outlets import FleetGrid, network_grid, plain_grid
from opq_hil.fleet.virtual_boxes import VirtualBoxes
from opq_hil.mains.scenario import scenario_path
from opq_hil.power_system.power_scenario import SystemFrequencyConfig, load_power_scenario

SNR_DB = 60.0
TRIALS, QUICK_TRIALS = 100, 3
"""Trials of each class and frequency."""
QUIET_H, QUICK_QUIET_H = 20.0, 0.5
"""Quiet hours of each grid."""
QUIET_BOXES = 12
SAMPLED, QUICK_SAMPLED = 12, 1
SAMPLED_S, QUICK_SAMPLED_S = 300.0, 150.0
"""Number of recordings without a disturbance at each frequency, and the length of each."""
COST_S, QUICK_COST_S = 600, 120
MONTH_H = 720.0
LIMIT_US, LIMIT_EVENTS, LIMIT_FREQUENCY = 15.0, 3.0, 1.0
START_NS = 1_735_689_600 * 10**9
STEP_S = 1.0
PRESETS = ("plain", "continental_50", "island")


def run(quick: bool) -> BenchResult:
    """Takes about 25 minutes; `quick` under one."""
    rows = list(_recall(QUICK_TRIALS if quick else TRIALS))
    rows += _quiet(QUICK_QUIET_H if quick else QUIET_H)
    rows.append(_sampled(*((QUICK_SAMPLED, QUICK_SAMPLED_S) if quick else (SAMPLED, SAMPLED_S))))
    before_us, after_us = _cost(QUICK_COST_S if quick else COST_S)
    rows.append(case("a quiet Measurement: all triggers", "us", after_us, limit=LIMIT_US))
    base = statistics.median(before_us)
    return BenchResult(
        tuple(rows),
        Baseline("a quiet Measurement: threshold and edge_rule", base, "us"),
        statistics.median(after_us) / base,
    )


def _recall(trials: int) -> Iterator[BenchCase]:
    triggers = default_triggers()
    for kind in SIZES:
        click.echo(f"{kind}: {2 * trials} trials ...", err=True)
        first: list[str | None] = []
        for hz in (50, 60):
            for index in range(trials):
                rows, from_ns, to_ns = trial(kind, hz, index, SNR_DB, START_NS)
                first.append(onsets(rows, from_ns, to_ns + 10**9, triggers).first)
        found = [float(each is not None) for each in first]
        names = sorted({each for each in first if each is not None}, key=first.count, reverse=True)
        by = ", ".join(f"{name} {first.count(name)}" for name in names)
        yield case(f"recall: {kind}", "", found, value=sum(found) / len(found), because=by)


def _quiet(hours: float) -> Iterator[BenchCase]:
    for preset in PRESETS:
        click.echo(f"{preset}: {QUIET_BOXES} quiet Boxes, {hours:g} h ...", err=True)
        events = _events(_grid(preset), hours)
        months = QUIET_BOXES * hours / MONTH_H
        by = [each for each in events if "baseline" not in each]
        f = sum("frequency" in each for each in by)
        name = f"quiet {preset}, {QUIET_BOXES * hours:g} Box-h: events per Box-month"
        why = f"{len(by)} events, {len(events) - len(by)} snapshots"
        yield case(name, "", [len(by) / months], limit=LIMIT_EVENTS, because=why)
        yield case(f"quiet {preset}: by frequency", "", [f / months], limit=LIMIT_FREQUENCY)


def _grid(preset: str) -> FleetGrid:
    ids = [str(number + 1) for number in range(QUIET_BOXES)]
    if preset == "plain":
        return plain_grid(ids)
    village = load_power_scenario(scenario_path("village"))
    system = SystemFrequencyConfig(preset=preset)
    return network_grid(replace(village, cause=(), process=(), hourly=(), frequency=system), ids)


def _events(grid: FleetGrid, hours: float) -> list[str]:
    """`because` of each event."""
    boxes = VirtualBoxes(grid, START_NS)
    with TemporaryDirectory() as folder:
        judge = CountedJudge(Path(folder))
        at_s = 0.0
        while at_s < hours * 3600:
            at_s += STEP_S
            judge.judge(*boxes.measured(at_s), at_s)
        judge.advance(at_s + 3600)
        found = judge.events()
        judge.close()
    return found


def _sampled(trials: int, seconds: float) -> BenchCase:
    """Onsets in windows without a disturbance, measured from samples."""
    triggers, windows, found = default_triggers(), 0, 0
    for hz in (50, 60):
        for index in range(trials):
            rows, _, _ = trial("none", hz, index, SNR_DB, START_NS, seconds)
            windows += len(rows)
            found += sum(onsets(rows, 0, 1 << 62, triggers).all.values())
    months = windows / 3600 / MONTH_H
    name = f"nothing, {windows} windows from samples: onsets"
    return case(name, "", [float(found)], because=f"{months:.2g} Box-months")


def _cost(seconds: int) -> tuple[list[float], list[float]]:
    """µs for each ten seconds of 20 quiet Boxes: with the two baseline triggers, and with all."""
    config = CloudConfig()
    section = config.triggering_service
    two = replace(section, plugins=(PluginEntry(name="threshold"), PluginEntry(name="edge_rule")))
    judges = [judge_without_store(replace(config, triggering_service=each)) for each in (two, section)]
    costs: tuple[list[float], list[float]] = ([], [])
    boxes = VirtualBoxes(plain_grid([str(number + 1) for number in range(20)]), START_NS)
    for at_s in range(10, seconds + 1, 10):
        columns, _ = boxes.measured(float(at_s))
        rows = [] if columns is None else columns.measurements()
        for judge, cost in zip(judges, costs, strict=True):
            began_s = time.process_time()
            for row in rows:
                judge.judge(row)
            cost.append((time.process_time() - began_s) / len(rows) * 1e6)
    warm = len(costs[0]) // 4
    return costs[0][warm:], costs[1][warm:]
