"""Cost of a second of a Box from samples to Measurement, stage by stage, under a virtual clock.

Boxes that cannot keep pace with a busy machine say nothing of what they cost; here nobody has to. A stage is
the least of several rounds, in CPU time of this thread, so that other work moves it little. Without sockets.
"""

import time
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from opq_gateway.measuring.box_meter import BoxMeter, Step, cut_all
from opq_gateway.measuring.figures import figures_of
from opq_gateway.measuring.plan import MeasuringPlan, Sinks
from opq_measure.timebase.window import Window
from opq_proto.messages import TimeSource
from opq_sim.box.box_stamps import BoxStamps
from opq_sim.box.source import RunClock, SampleSource
from opq_sim.fleet.outlets import plain_grid
from opq_sim.fleet.sample_crossings import SampleCrossings

STAGES = ("samples", "crossings", "windows", "figures", "measurements")
SETTLE_ROUNDS = 3
"""Rounds in which trackers settle and tables are filled."""


class StagedBox(NamedTuple):
    """The parts of one Box from sample to Measurement."""

    source: SampleSource
    clock: BoxStamps
    crossings: SampleCrossings
    meter: BoxMeter


def stage_costs_ms(boxes: int, rounds: int, local: bool) -> dict[str, float]:
    """CPU ms per Box and second, by STAGES; `boxes` Boxes run together, as in a process.

    Args:
        rounds: seconds of signal; at least one more than SETTLE_ROUNDS.
        local: as a real gateway, which also makes Values and notices; otherwise as a fleet's Box.
    """
    clock = RunClock(0, 1_795_305_600_300_000_000, 100, TimeSource.GPS)
    grid = plain_grid([str(10_001 + number) for number in range(boxes)])
    staged = [_staged(outlet.box_id, outlet.samples(), clock, local) for outlet in grid.outlets]
    costs = [_round_ns(staged, second) for second in range(rounds)][SETTLE_ROUNDS:]
    return {stage: min(cost[at] for cost in costs) / boxes / 1e6 for at, stage in enumerate(STAGES)}


def _round_ns(staged: Sequence[StagedBox], second: int) -> list[int]:
    marks = [time.thread_time_ns()]
    rate = 12_000
    blocks = [each.clock.block(each.source, second * rate, rate) for each in staged]
    marks.append(time.thread_time_ns())
    for each, block in zip(staged, blocks, strict=True):
        each.crossings.crossings_of(block)
    marks.append(time.thread_time_ns())
    for each, block in zip(staged, blocks, strict=True):
        each.meter.push_blocks([block])
    cut_all([each.meter for each in staged])
    steps: list[list[Step]] = [each.meter.steps() for each in staged]
    windows = [[step for step in own if isinstance(step, Window)] for own in steps]
    marks.append(time.thread_time_ns())
    nominals_v = [each.meter.nominal_v for each, own in zip(staged, windows, strict=True) for _ in own]
    figures = iter(figures_of([window for own in windows for window in own], nominals_v))
    marks.append(time.thread_time_ns())
    for each, own_steps, own in zip(staged, steps, windows, strict=True):
        each.meter.finish(own_steps, iter([next(figures) for _ in own]))
    marks.append(time.thread_time_ns())
    return [after - before for before, after in pairwise(marks)]


def _staged(box_id: str, source: SampleSource, clock: RunClock, local: bool) -> StagedBox:
    numbers = source.nominal_v, source.nominal_hz
    plan = MeasuringPlan(box_id, *numbers, flicker=False, detectors=True, local=local)
    sinks = Sinks(
        measured=lambda _: None,
        values=lambda _: None,
        notice=lambda _: None,
        window=lambda *_: None,
        phasor=lambda _: None,
        phasors_wanted=lambda: False,
    )
    crossings = SampleCrossings(source.nominal_v, source.nominal_hz)
    return StagedBox(source, BoxStamps(clock, source), crossings, BoxMeter(plan, sinks))
