"""Measuring: one thread for all Boxes, from blocks to Measurements, Values and Told.

    reader's thread: push, gap, restart, figures -> Inbox per Box
    measuring thread: due Boxes -> BoxMeter.cut -> figures_of all their windows at once -> BoxMeter.finish
                                -> publish (uplink), Feed (MQTT, C37.118, page), Ledger (disk)

A round takes the Boxes of which a piece of samples waits: a tenth of a second of one Box, a second of a
hundred or more, so that few Boxes are told soon and many are measured cheaply.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType

from opq_gateway.blocks import Block
from opq_gateway.config import Group
from opq_gateway.counters import Counters
from opq_gateway.measuring.box_meter import BoxMeter, Plan, Sinks, Step
from opq_gateway.measuring.crosscheck import CrossCheck
from opq_gateway.measuring.feed import Feed
from opq_gateway.measuring.figures import Figures, figures_of
from opq_gateway.measuring.groups import Groups
from opq_gateway.measuring.inbox import Inbox, Restart
from opq_gateway.measuring.ledger import Ledger
from opq_gateway.measuring.measurements import Measured
from opq_gateway.measuring.values import Phasor, Values
from opq_gateway.status import Status
from opq_measure.timebase.window import Window
from opq_proto import log
from opq_proto.link_messages import BoxMeasurement, Crossing, Hello
from opq_proto.messages import Gap, Measurement, TimeSource

LEAST_PIECE_S, MOST_PIECE_S = 0.1, 1.0
PIECE_S_PER_BOX = 0.01
WAITED_S = 1.0
"""What waits longer is measured even if it is less than a piece: a Box that stopped, a gap."""
FLUSH_S = 1.0
"""Of values to the disk."""
TELL_S = 10.0


@dataclass(slots=True)
class _Line:
    """What measuring keeps of one Box."""

    plan: Plan
    counters: Counters
    status: Status
    ledger: Ledger | None
    inbox: Inbox
    crosscheck: CrossCheck
    meter: BoxMeter | None = None
    taken_s: float = 0.0
    told_s: float = -TELL_S


@dataclass(slots=True)
class _Job:
    """Steps of one meter in a round."""

    line: _Line
    meter: BoxMeter
    steps: list[Step]
    over: bool = False

    @property
    def windows(self) -> list[Window]:
        return [step for step in self.steps if isinstance(step, Window)]


class Measuring:
    """`push`, `gap`, `restart`, `figures` from the reader's thread, `set_cycles` from any; `run` in one."""

    def __init__(
        self,
        publish: Callable[[str, Measurement], None],
        crossing: Callable[[str, Crossing], None],
        feed: Feed,
        groups: Sequence[Group] = (),
        places: Mapping[str, Ledger] = MappingProxyType({}),
        piece_s: float | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            publish: takes Measurements, in the measuring thread.
            crossing: takes what the Box saw itself, in the reader's thread, at once.
            places: ledgers of groups, by name.
            piece_s: samples of a Box that are measured at once; without a value by the number of Boxes.
        """
        self._publish = publish
        self.crossing = crossing
        self._feed = feed
        self._places = places
        self._groups = Groups(groups, self._of_group, self._unbalanced)
        self._piece_s = piece_s
        self._monotonic_s = monotonic_s
        self._lines: dict[str, _Line] = {}
        self._flushed_s = monotonic_s()
        self._log = log.get(service="gateway")

    def add(self, plan: Plan, counters: Counters, status: Status, ledger: Ledger | None) -> None:
        """A Box, before `run`; its nominal values come with its hello."""
        crosscheck = CrossCheck()
        line = _Line(plan, counters, status, ledger, Inbox(counters), crosscheck)
        line.taken_s = self._monotonic_s()
        self._lines[plan.box_id] = line

    def push(self, box_id: str, block: Block) -> None:
        """The block that follows."""
        self._lines[box_id].inbox.offer(block)

    def gap(self, box_id: str, gap: Gap) -> None:
        """Samples are missing behind the last block."""
        self._lines[box_id].inbox.offer(gap)

    def restart(self, box_id: str, hello: Hello) -> None:
        """Sample indices begin anew, with these nominal values."""
        self._lines[box_id].inbox.offer(Restart(hello))

    def figures(self, box_id: str, figures: BoxMeasurement) -> None:
        """The Box's own figures."""
        self._lines[box_id].inbox.offer(figures)

    def set_cycles(self, box_id: str, cycles: int) -> None:
        """Cycles per Measurement, from the next on."""
        line = self._lines[box_id]
        line.status.measurement_cycles = cycles
        meter = line.meter
        if meter is not None:
            meter.measurements.cycles = cycles

    def run(self, stop: threading.Event) -> None:
        """Measure until `stop`; then what waits still is."""
        while not stop.is_set():
            self.round()
            stop.wait(min(0.1, self.piece_s / 4))
        self.round(everything=True)

    @property
    def piece_s(self) -> float:
        """Seconds of samples per piece now."""
        if self._piece_s is not None:
            return self._piece_s
        return min(MOST_PIECE_S, max(LEAST_PIECE_S, PIECE_S_PER_BOX * len(self._lines)))

    def round(self, everything: bool = False) -> None:
        """Measure the Boxes that are due, all together."""
        now_s = self._monotonic_s()
        jobs: list[_Job] = []
        for line in self._lines.values():
            if everything or self._is_due(line, now_s):
                line.taken_s = now_s
                self._guarded(line, self._cut, jobs)
        figures = iter(figures_of([window for job in jobs for window in job.windows]))
        for job in jobs:
            mine = [next(figures) for _ in job.windows]
            self._guarded(job.line, self._finish, job, mine)
        if everything or now_s - self._flushed_s >= FLUSH_S:
            self._flushed_s = now_s
            self._flush()

    def _guarded(self, line: _Line, work: Callable[..., None], *arguments: object) -> None:
        """What one Box's samples make fail is counted, told, and begins anew; the others go on."""
        try:
            work(line, *arguments)
        except Exception:
            line.counters.add("failures")
            self._log.exception("measuring.failed", box_id=line.plan.box_id)
            line.meter = BoxMeter(line.plan, self._sinks(line))

    def _is_due(self, line: _Line, now_s: float) -> bool:
        hello = line.status.hello
        rate_hz = 12_000.0 if hello is None else hello.rate_millihz / 1000
        if line.inbox.samples >= self.piece_s * rate_hz:
            return True
        return len(line.inbox) > 0 and now_s - line.taken_s >= WAITED_S

    def _cut(self, line: _Line, jobs: list[_Job]) -> None:
        blocks: list[Block] = []
        for item in line.inbox.take():
            if isinstance(item, Block):
                blocks.append(item)
                continue
            self._push(line, blocks)
            blocks = []
            if isinstance(item, BoxMeasurement):
                line.crosscheck.theirs(item)
                continue
            if line.meter is not None:
                line.meter.gap()
            if isinstance(item, Restart):
                self._restart(line, item.hello, jobs)
        self._push(line, blocks)
        if line.meter is not None:
            jobs.append(_Job(line, line.meter, line.meter.cut()))

    def _push(self, line: _Line, blocks: Sequence[Block]) -> None:
        if not blocks:
            return
        if line.meter is None:
            line.counters.add("unmeasured_samples", sum(len(block.counts) for block in blocks))
        else:
            line.meter.push(blocks)

    def _restart(self, line: _Line, hello: Hello, jobs: list[_Job]) -> None:
        if line.meter is not None:
            jobs.append(_Job(line, line.meter, line.meter.cut(), over=True))
        line.crosscheck.restart()
        cycles = line.status.measurement_cycles
        line.plan = replace(line.plan, nominal_v=hello.nominal_v, nominal_hz=hello.nominal_hz, cycles=cycles)
        line.meter = BoxMeter(line.plan, self._sinks(line))

    def _finish(self, line: _Line, job: _Job, figures: Sequence[Figures]) -> None:
        job.meter.finish(job.steps, iter(figures))
        if job.over:
            job.meter.end()

    def _sinks(self, line: _Line) -> Sinks:
        return Sinks(
            measured=partial(self._measured, line),
            values=partial(self._values, line),
            told=self._feed.offer,
            phasor=self._feed.offer,
            phasors_wanted=partial(self._feed.wanted, Phasor),
            window=partial(self._window, line.plan.box_id),
        )

    def _measured(self, line: _Line, measured: Measured) -> None:
        measurement = measured.measurement
        line.crosscheck.ours(measured, measurement.metrics)
        line.counters.set("box_figures_checked", line.crosscheck.checked)
        line.counters.set("box_figures_differ", line.crosscheck.differing)
        line.counters.add("measurements")
        line.status.measurement_ms = measurement.timestamp_ms
        self._publish(line.plan.box_id, measurement)

    def _values(self, line: _Line, values: Values) -> None:
        line.counters.add("values")
        self._feed.offer(values)
        if line.ledger is not None:
            line.ledger.append(values)

    def _window(self, box_id: str, window: Window, uncertainty_ns: int, source: TimeSource) -> None:
        self._groups.push(box_id, window, uncertainty_ns, source)

    def _of_group(self, values: Values) -> None:
        self._feed.offer(values)
        place = self._places.get(values.box_id)
        if place is not None:
            place.append(values)

    def _unbalanced(self, box_id: str, u2_ratio: float, end_ns: int) -> None:
        line = self._lines.get(box_id)
        if line is not None and line.meter is not None:
            line.meter.measurements.beside("unbalance", u2_ratio, end_ns)

    def _flush(self) -> None:
        """Values to the disk; what it does not take is lost, counted and told."""
        ledgers = [(line, line.ledger) for line in self._lines.values() if line.ledger is not None]
        first = next(iter(self._lines.values()), None)
        if first is not None:
            ledgers += [(first, ledger) for ledger in self._places.values()]
        for line, ledger in ledgers:
            try:
                ledger.flush()
            except OSError as error:
                line.counters.add("ledger_failed")
                now_s = self._monotonic_s()
                if now_s - line.told_s >= TELL_S:
                    line.told_s = now_s
                    reason = error.strerror or str(error)
                    self._log.error("ledger.failed", box_id=line.plan.box_id, reason=reason)
