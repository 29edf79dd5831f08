"""Every figure of `bench triggers`: recall by class, events of a quiet grid, µs of a quiet Measurement.

Recall: a disturbance at the weakest magnitude of docs/sim.md, 60 dB, both frequencies, through the gateway's
own measuring (`trials.py`); found is an onset of any default trigger while it lasts, or within a second.
Events: 100 Boxes of the village without its causes, on each preset of the frequency, in closed form
(`opq_hil.fleet`) at 60 dB, through judge, openings and a store, counted by trigger; and windows of `none`
measured from samples at 60 dB, with the gateway's detectors. Baseline: the judge with `threshold` and
`edge_rule` alone, over the same Measurements.
"""

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from bench.result import Baseline, BenchCase, BenchResult, case
from bench.triggers.judged import CountedJudge, default_triggers, judge_without_store, onsets
from bench.triggers.trials import SIZES, trial
from opq_cloud.config import CloudConfig
from opq_cloud.plugin_entry import PluginEntry
from opq_hil.box.source import SampleSource
from opq_hil.fleet.outlets import FleetGrid, FleetOutlet, network_grid, plain_grid
from opq_hil.fleet.virtual_boxes import VirtualBoxes
from opq_hil.mains.generator import Generator
from opq_hil.mains.scenario import scenario_path
from opq_hil.power_system.power_scenario import SystemFrequencyConfig, load_power_scenario

SNR_DB = 60.0
TRIALS, QUICK_TRIALS = 100, 3
"""Trials of each class and frequency."""
QUIET_H, QUICK_QUIET_H = 24.0, 0.1
"""Quiet hours of each grid."""
QUIET_BOXES = 100
NOT_HERE = "baseline", "edge_rule"
"""Snapshots are no false events; what detectors find is in `_sampled`."""
NONE_SEEN_95 = 3.0
"""Upper bound (95 %) of the expected number where none was seen: the Poisson distribution's -ln(0.05)."""
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
    names = [trigger.name for trigger in default_triggers().all if trigger.name not in NOT_HERE]
    by: Counter[str] = Counter()
    for preset in PRESETS:
        click.echo(f"{preset}: {QUIET_BOXES} quiet Boxes, {hours:g} h ...", err=True)
        found = Counter(map(_trigger_of, _events(_grid(preset), hours)))
        snapshots = found.pop("baseline", 0)
        by += found
        months = QUIET_BOXES * hours / MONTH_H
        name = f"quiet {preset}, {QUIET_BOXES * hours:g} Box-h: events per Box-month"
        why = f"{found.total()} events, {snapshots} snapshots"
        yield case(name, "", [found.total() / months], limit=LIMIT_EVENTS, because=why)
        yield case(f"quiet {preset}: by frequency", "", [found["frequency"] / months], limit=LIMIT_FREQUENCY)
    months *= len(PRESETS)
    for name in names:
        why = "" if by[name] else f"none; at most {NONE_SEEN_95 / months:.2g} (95 %)"
        yield case(f"quiet, all three: {name}, per Box-month", "", [by[name] / months], because=why)


def _trigger_of(because: str) -> str:
    """The trigger that opened an event: `Box 5, threshold: rms ...`, or `baseline: scheduled ...`."""
    return because.partition(":")[0].rpartition(", ")[2]


def _grid(preset: str) -> FleetGrid:
    ids = [str(number + 1) for number in range(QUIET_BOXES)]
    if preset == "plain":
        grid = plain_grid(ids)
        noise_v = 120.0 * 10 ** (-SNR_DB / 20)
        return replace(grid, outlets=tuple(_noisy(outlet, noise_v) for outlet in grid.outlets))
    village = load_power_scenario(scenario_path("village"))
    noise_v = village.nominal_v * 10 ** (-SNR_DB / 20)
    boxes = tuple(replace(box, noise_v=noise_v) for box in village.box)
    system = SystemFrequencyConfig(preset=preset)
    return network_grid(replace(village, cause=(), process=(), hourly=(), frequency=system, box=boxes), ids)


def _noisy(outlet: FleetOutlet, noise_v: float) -> FleetOutlet:
    """The outlet of a plain socket with this much noise, in its samples too."""

    def samples(plain: Callable[[], SampleSource]) -> SampleSource:
        source = plain()
        assert isinstance(source, Generator)
        source.signal = replace(source.signal, noise_v=noise_v)
        return source

    return replace(outlet, noise_v=noise_v, samples=partial(samples, outlet.samples))


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
