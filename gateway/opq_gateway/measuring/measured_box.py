"""MeasuredBox: one Box in the measuring thread: its queue, its meter, and where its results go.

inbox, backlog (ring) -> BoxMeter -> uplink, feed, ledger
the Box's own figures -> cross-check, and Measurements where samples are missing
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from operator import attrgetter

from opq_gateway.blocks import SampleBlock
from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.measuring.backlog import RingBacklog
from opq_gateway.measuring.box_figures import CrossCheck, Fallback, OwnChannels
from opq_gateway.measuring.box_interruptions import BoxInterruptions
from opq_gateway.measuring.box_meter import BoxMeter, Job, cut_all
from opq_gateway.measuring.feed import DISTURBANCES, KINDS, DisturbanceNotice, PhasorReport, Values
from opq_gateway.measuring.inbox import Inbox, Item, StreamRestart
from opq_gateway.measuring.ledger import BESIDE_NS, Ledger
from opq_gateway.measuring.measurements import Measured
from opq_gateway.measuring.measuring_plan import MeasuringPlan, Outside, Sinks
from opq_gateway.measuring.window_figures import WindowFigures
from opq_proto.link.messages import BoxMeasurement, ChannelValue, Hello
from opq_proto.messages import Gap, Measurement

BACKLOG_INBOX_S = 300.0
"""Most live samples that wait while samples of the ring are measured: 7 MB."""
VALUE_AHEAD_S = 30.0
"""A value of a channel whose window began this long after the newest samples is wrong."""
TEN_MINUTES_NS = 600 * 10**9
CYCLE_NS = 20_000_000
"""Two runs of the gateway find the end of the same disturbance within this time."""
WINDOW_KINDS = ("window", "half")
"""Kinds whose newest rows show how far the ledger was written; the other kinds cover longer intervals."""


_Stated = tuple[int, float | None, float | None]
_stated_by = attrgetter("start_id", "nominal_v", "nominal_hz")


class MeasuredBox:
    """Measures one Box; `inbox` and `set_cycles` from any thread, the rest from the measuring thread."""

    def __init__(
        self,
        plan: MeasuringPlan,
        counters: BoxCounters,
        status: BoxStatus,
        ledger: Ledger | None,
        outside: Outside,
    ) -> None:
        self.plan = plan
        self.counters = counters
        self.status = status
        self.ledger = ledger
        self.inbox = Inbox(counters)
        self.taken_s = 0.0
        """Time of its last round; written by the measuring thread."""
        self._outside = outside
        self._crosscheck = CrossCheck()
        self._fallback = Fallback()
        self._meter: BoxMeter | None = None
        self._items: deque[Item] = deque()
        self._stated: _Stated | None = None
        """What the present meter's samples state; None before its first samples."""
        self._begun = False
        self._backlog: RingBacklog | None = None
        self._backfilled: RingBacklog | None = None
        """The backlog, also after its end while Measurements of it may still come."""
        self._stored_to_ns: dict[str, int] = {}
        self._published_ns = 0
        """End of the Measurement that was published last."""
        self._channels = OwnChannels(counters)
        self._interruptions = BoxInterruptions(status)
        self._meters = 0
        """Number of the present meter."""

    @property
    def has_backlog(self) -> bool:
        """Whether samples of the ring still wait and the disk keeps up with writing their results."""
        return self._backlog is not None and not (self.ledger is not None and self.ledger.is_behind)

    @property
    def is_prompt(self) -> bool:
        """Whether Measurements are sent before their last windows are tracked; only live ones are."""
        return self.status.prompt and self._backlog is None

    def due_in_s(self) -> float:
        """Seconds until the samples of its next early Measurement are there; infinite without early
        Measurements."""
        due = None if self._meter is None or not self.is_prompt else self._meter.due_sample
        return math.inf if due is None else (due - self.inbox.end_sample) / self.status.rate_hz

    def set_cycles(self, cycles: int) -> None:
        """Sets the cycles per Measurement, from the next one on."""
        self.status.measurement_cycles = cycles
        meter = self._meter
        if meter is not None:
            meter.measurements.cycles = cycles

    def add_value(self, name: str, value: float, since_ns: int) -> None:
        """Adds a value of several Boxes, such as unbalance, to its Measurements."""
        if self._meter is not None:
            self._meter.measurements.add_value(name, value, since_ns)

    def gather(self) -> list[Job]:
        """Hands waiting items to the meters; returns their jobs."""
        jobs: list[Job] = []
        self._items.extend(self.inbox.take_items())
        if self._meter is not None:
            self._meter.measurements.prompt = self.is_prompt
        if self._backlog is not None and self.has_backlog:
            self._measure_backlog(self._backlog, jobs)
        blocks: list[SampleBlock] = []
        while self._items and self._backlog is None:
            item = self._items.popleft()
            if isinstance(item, SampleBlock):
                blocks.append(item)
                continue
            self._measure_blocks(blocks, jobs)
            blocks = []
            self._other(item, jobs)
        self._measure_blocks(blocks, jobs)
        if self._meter is not None:
            jobs.append(Job(self._meter))
        return jobs

    def finish(self, job: Job, figures: Sequence[WindowFigures]) -> None:
        """Continues measuring a job."""
        job.meter.finish(job.steps, iter(figures))
        if job.over:
            job.meter.end(job.following)
        elif self.is_prompt:
            job.meter.finish_early()

    def restart(self) -> None:
        """Begins again after a failure, without the rest of the backlog."""
        self._backlog = None
        self._begin_meter([])

    def _other(self, item: Item, jobs: list[Job]) -> None:
        if isinstance(item, BoxMeasurement):
            self._crosscheck.accept_figures(item)
            self._publish_fallback(self._fallback.accept_figures(item))
            return
        if isinstance(item, ChannelValue):
            ahead = VALUE_AHEAD_S * self.status.rate_hz
            self._channels.accept_value(item, self.inbox.end_sample + ahead)
            return
        if isinstance(item, StreamRestart):
            self._restart(item.hello, jobs)
        elif isinstance(item, Gap) and self._meter is not None:
            self._interruptions.accept_gap(item)
            self._fallback.accept_gap(item)
            self._meter.gap()

    def _measure_blocks(self, blocks: Sequence[SampleBlock], jobs: list[Job]) -> None:
        if self._meter is None:
            self.counters.add("unmeasured_samples", sum(len(block.counts) for block in blocks))
            return
        for stated, part in groupby(blocks, key=_stated_by):
            if stated != self._stated:
                self._begin_samples(stated, jobs)
            self._meter.push_blocks(list(part))

    def _begin_samples(self, stated: "_Stated", jobs: list[Job]) -> None:
        """Starts a new meter for samples of another start or with other nominal values."""
        start_id, nominal_v, nominal_hz = stated
        if nominal_v is not None and nominal_hz is not None:  # otherwise the nominal values of the hello stay
            self.plan = replace(self.plan, nominal_v=nominal_v, nominal_hz=nominal_hz)
        meter = self._meter
        assert meter is not None
        if self._stated is not None or (meter.nominal_v, meter.nominal_hz) != (
            self.plan.nominal_v,
            self.plan.nominal_hz,
        ):
            not_before_ns = meter.measurements.not_before_ns if self._stated is None else None
            meter = self._begin_meter(jobs)
            meter.measurements.not_before_ns = not_before_ns
        self._stated = stated
        meter.measurements.start_id = start_id or None

    def _broken(self, before: SampleBlock, block: SampleBlock) -> None:
        """Notes the gap or clock setting between two blocks that do not follow each other."""
        if self._backlog is not None:
            for gap in self._backlog.gaps_between(before, block):
                self._interruptions.accept_gap(gap)
        self._interruptions.accept_break(self._meters, before, block)

    def _restart(self, hello: Hello, jobs: list[Job]) -> None:
        self._interruptions.restart()
        self._channels = OwnChannels(self.counters, hello.boot_id)  # the last meter keeps the former ones
        self.plan = replace(
            self.plan,
            nominal_v=hello.nominal_v,
            nominal_hz=hello.nominal_hz,
        )
        if not self._begun:
            self._begun = True
            self._begin_backlog(self._begin_meter(jobs), hello)
        else:
            self._begin_meter(jobs)

    def _begin_meter(self, jobs: list[Job]) -> BoxMeter:
        before: SampleBlock | None = None
        last = self._meter
        if last is not None:
            last.gap()
            before = last.newest
        self._crosscheck.restart()
        self._fallback.restart()
        self._stated = None
        self._meters += 1
        self.plan = replace(self.plan, cycles=self.status.measurement_cycles)
        self._meter = BoxMeter(self.plan, self._sinks(self._meters), before)
        if last is not None:
            jobs.append(Job(last, over=True, following=self._meter))
            cut_all([last])  # all of its flicker before the flicker of the next samples
            self._meter.take_flicker(last)
        return self._meter

    def _begin_backlog(self, meter: BoxMeter, hello: Hello) -> None:
        backlog = self._outside.backlog(self.plan.box_id)
        if backlog is None:
            meter.follow(self._outside.ring_end(self.plan.box_id, hello.rate_millihz))
            return
        self._backlog = backlog
        self._backfilled = backlog
        meter.measurements.not_before_ns = backlog.since_ns
        self.inbox.most_s = BACKLOG_INBOX_S
        if self.ledger is not None:
            known = {kind: self.ledger.newest_ns(kind) for kind in KINDS}
            self._stored_to_ns = {kind: end_ns for kind, end_ns in known.items() if end_ns is not None}
            written = [self._stored_to_ns[kind] for kind in WINDOW_KINDS if kind in self._stored_to_ns]
            if written:
                backlog.note_ledger(max(written))
            if (began_ns := self._began_ns(self.ledger, backlog.since_ns)) is not None:
                backlog.note_interval(began_ns)
            tens = () if began_ns is None else self.ledger.two_hours_until(began_ns)
            meter.restore(tens, self.ledger.disturbances_under_way(backlog.since_ns))

    def _began_ns(self, ledger: Ledger, since_ns: int) -> int | None:
        """Start of the ten minutes under way at `since_ns`; None where this Box has no ten-minute values on
        disk.

        They follow the newest ten-minute values on disk. Where these lack windows or flicker, because the
        gateway was killed between the two, they are measured again.
        """
        end_ns = self._stored_to_ns.get("10min")
        if end_ns is None or end_ns > since_ns:
            return None
        parts = [values.values.keys() for values in ledger.read("10min", end_ns - 1, end_ns)]
        whole = any("rms_v" in names for names in parts)
        if self.plan.flicker:
            whole = whole and any("pinst_max" in names for names in parts)
        if not whole:
            end_ns -= TEN_MINUTES_NS
            self._stored_to_ns["10min"] = end_ns
        return end_ns

    def _measure_backlog(self, backlog: RingBacklog, jobs: list[Job]) -> None:
        blocks = backlog.next()
        self.counters.add("backfilled_samples", sum(len(block.counts) for block in blocks))
        self._measure_blocks(blocks, jobs)
        if backlog.done:
            self._backlog = None
            waiting = list(self._items)
            self._items = deque(
                item for item in waiting if not (isinstance(item, SampleBlock) and backlog.covers(item))
            )

    def _sinks(self, meter: int) -> Sinks:
        outside = self._outside
        return Sinks(
            measured=partial(self._measured, meter, self._channels),
            broken=self._broken,
            values=self._values,
            notice=self._notice,
            edge=self._edge,
            window=partial(outside.window, self.plan.box_id),
            phasor=outside.feed.offer,
            phasors_wanted=lambda: self._backlog is None and outside.feed.wanted(PhasorReport),
        )

    def _notice(self, notice: DisturbanceNotice) -> None:
        if self._backlog is None or notice.t_ns >= self._backlog.since_ns - BESIDE_NS:
            self._outside.feed.offer(notice)

    def _edge(self, found: Measurement, limited: int) -> None:
        if self._backlog is not None and (found.start_ns or 0) < self._backlog.since_ns - BESIDE_NS:
            return  # it was found before the gateway's restart
        self.counters.add("edges_found")
        self.counters.set("edges_limited", limited)
        self._outside.edge(
            self.plan.box_id, found if self._backlog is None else replace(found, backfilled=True)
        )

    def _measured(self, meter: int, channels: OwnChannels, measured: Measured) -> None:
        measurement = self._interruptions.with_gaps(measured, meter)
        if own := channels.of_span(measured.end_sample, measurement.start_id):
            measurement = replace(measurement, metrics={**measurement.metrics, **own})
        if self._backfilled is not None:
            if self._backfilled.holds(measurement.start_ns or 0, measurement.end_ns or 0):
                measurement = replace(measurement, backfilled=True)
            elif self._backlog is None:
                self._backfilled = None
                self._stored_to_ns = {}
        self._publish_fallback(self._fallback.accept_measured(measured))
        self._crosscheck.accept_window(measured, measurement.metrics)
        self.counters.set("box_figures_checked", self._crosscheck.checked)
        self.counters.set("box_figures_differ", self._crosscheck.differing)
        self.counters.set("box_figures_refused", self._fallback.refused)
        self.counters.add("measurements")
        self.status.measurement_ms = measurement.timestamp_ms
        self._published_ns = measurement.end_ns or 0
        if not measurement.backfilled:
            measurement = self._interruptions.with_causes(measurement)
        self._outside.publish(self.plan.box_id, measurement)

    def _publish_fallback(self, measurements: Sequence[Measurement]) -> None:
        for measurement in measurements:
            if self.is_prompt and (measurement.end_ns or 0) <= self._published_ns:
                self.counters.add("fallback_late")
                continue
            self.counters.add("fallback_measurements")
            self._outside.publish(self.plan.box_id, measurement)

    def _values(self, values: Values) -> None:
        if self._is_stored(values):
            return
        if values.kind in DISTURBANCES:
            values = self._outside.disturbed(values)
        self.counters.add("values")
        if values.kind != "half":  # half cycles are requested from the ledger
            self._outside.feed.offer(values)
        if self.ledger is not None:
            self.ledger.append(values)

    def _is_stored(self, values: Values) -> bool:
        """Whether the values were written to disk before the gateway's restart.

        Half cycles count as written only if all half cycles of a window were, because windows now begin at
        other times; `read_half_cycles` removes repeated ones. A disturbance that was written while under way
        ends later.
        """
        if values.kind in DISTURBANCES:
            ends_ns = [self._stored_to_ns.get(kind, 0) for kind in DISTURBANCES]
            return values.end_ns <= max(ends_ns) + CYCLE_NS
        kept_ns = self._stored_to_ns.get(values.kind, 0)
        if values.kind == "half":
            return values.end_ns <= kept_ns + BESIDE_NS
        return values.start_ns < kept_ns - BESIDE_NS
