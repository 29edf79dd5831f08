"""Measuring: one thread for all Boxes, from blocks to Measurements, Values and notices.

    reader's thread: accept_blocks, gap, restart, figures -> Inbox per Box
    measuring thread: due Boxes -> cut -> figures_of all their windows at once -> finish
                                -> publish (uplink), Feed (MQTT, C37.118, page), Ledger
    ledger's thread: LedgerWriter -> disk

A round takes the Boxes that have a piece of samples waiting. A piece is a window for one Box and a second for
fifty or more, so that a few Boxes are reported soon and many are measured cheaply.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import methodcaller
from types import MappingProxyType
from typing import TypeVar

import numpy as np

from opq_gateway.blocks import SampleBlock
from opq_gateway.config import Config, GroupSection, box_folder, data_folder
from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.measuring.backlog import SLICE_NS, RingBacklog, backlog_of
from opq_gateway.measuring.box_meter import Job, cut_all
from opq_gateway.measuring.feed import DISTURBANCES, MeasuredFeed, PhasorReport, Values
from opq_gateway.measuring.groups import GroupMeters, WrittenBefore
from opq_gateway.measuring.inbox import StreamRestart
from opq_gateway.measuring.ledger import Ledger, LedgerWriter
from opq_gateway.measuring.measured_box import MeasuredBox
from opq_gateway.measuring.measuring_plan import MeasuringPlan, Outside
from opq_gateway.measuring.phasor_source import PhasorPlan
from opq_gateway.measuring.polyphase import REMEMBERED_NS, PolyphaseNumbers
from opq_gateway.measuring.window_figures import WindowFigures, figures_of
from opq_gateway.ring.ring import Ring
from opq_gateway.ring.segment import Segment
from opq_gateway.ring.segment_catalogue import clock_of
from opq_gateway.uplink.uplink import Uplink
from opq_measure.events.limits import Limits
from opq_measure.synchrophasor.filter import PmuClass
from opq_proto.errors import ConfigError, OpqError
from opq_proto.kit import log
from opq_proto.link.messages import BoxMeasurement, ChannelValue, Crossing, Hello
from opq_proto.measurement.fields import BY_KEY, LAST_HARMONIC, SENDABLE
from opq_proto.messages import Gap, Measurement

MIN_PIECE_S = 0.2
"""Length of a piece with one Box: a window."""
MAX_PIECE_S = 1.0
"""Length of a piece with many Boxes."""
PIECE_S_PER_BOX = 0.02
WAITED_S = 1.0
"""Samples that wait longer are measured even if they are less than a piece, as before a gap or when a Box
stops."""
LONGEST_PAUSE_S = 0.1
PHASOR_PIECE_S = 0.1
"""Length of a piece while phasors are read: at most a tenth of a second late, in addition to the filter's own
delay."""
T = TypeVar("T")
TOGETHER_S = 64.0
"""Seconds of signal measured at once. A second of 64 Boxes takes 30 MB, and more is not faster."""
_Job = tuple[MeasuredBox, Job]


class Measuring:
    """Measures all Boxes; `accept_blocks`, `gap`, `restart`, `figures` in the reader's thread, `set_cycles`
    in any, `run` in one.

    `ledgers` writes what is measured; it has its own `run`, which ends after this one.
    """

    def __init__(
        self,
        publish: Callable[[str, Measurement], None],
        crossing: Callable[[str, Crossing], None],
        feed: MeasuredFeed,
        groups: Sequence[GroupSection] = (),
        places: Mapping[str, Ledger] = MappingProxyType({}),
        backlog: Callable[[str], RingBacklog | None] = lambda _: None,
        piece_s: float | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
        edge: Callable[[str, Measurement], None] = lambda *_: None,
        ring_end: Callable[[str], Segment | None] = lambda _: None,
    ) -> None:
        """
        Args:
            edge: gets the findings of detectors (`edge_<class>`), in the measuring thread. publish: gets
            Measurements, in the measuring thread. crossing: gets the Box's crossings at once, in the reader's
            thread.
            places: ledgers of groups, by name.
            backlog: returns the samples of a Box's ring that were not measured; called at its first hello.
            piece_s: seconds of a Box's samples measured at once; None: chosen by the number of Boxes.
            ring_end: returns where a Box's ring ended at the start.
        """
        self.crossing = crossing
        self.ledgers = LedgerWriter()
        self._feed = feed
        self._places = places
        self._written = {name: WrittenBefore(place) for name, place in places.items()}
        self._groups = GroupMeters(groups, self._of_group, self._unbalanced, places)
        self._outside = Outside(
            publish,
            feed,
            self._groups.accept_window,
            edge,
            backlog,
            partial(_end_block, ring_end),
            self._disturbed,
        )
        self._polyphase = PolyphaseNumbers(groups)
        self._piece_s = piece_s
        self._monotonic_s = monotonic_s
        self._boxes: dict[str, MeasuredBox] = {}
        self._due = threading.Event()
        """Set when the last samples of an early Measurement have come."""
        self._log = log.get(service="gateway")

    def add(
        self, plan: MeasuringPlan, counters: BoxCounters, status: BoxStatus, ledger: Ledger | None
    ) -> None:
        """Adds a Box, before `run`; its nominal values come with its hello."""
        box = MeasuredBox(plan, counters, status, ledger, self._outside)
        box.taken_s = self._monotonic_s()
        if not self._boxes:
            for place in self._places.values():
                self.ledgers.add(counters, place, status)
        if ledger is not None:
            self.ledgers.add(counters, ledger, status)
        self._boxes[plan.box_id] = box

    def accept_block(self, box_id: str, block: SampleBlock) -> None:
        """Takes the next block."""
        self.accept_blocks(box_id, [block])

    def accept_blocks(self, box_id: str, blocks: Sequence[SampleBlock]) -> None:
        """Accepts the next blocks, without a hole between them."""
        box = self._boxes[box_id]
        box.inbox.offer_all(blocks)
        if box.due_in_s() <= 0:
            self._due.set()

    def gap(self, box_id: str, gap: Gap) -> None:
        """Samples are missing after the last block."""
        self._boxes[box_id].inbox.offer(gap)

    def restart(self, box_id: str, hello: Hello) -> None:
        """The Box has started again; the nominal values count for samples that do not state them."""
        self._boxes[box_id].inbox.offer(StreamRestart(hello))

    def figures(self, box_id: str, figures: BoxMeasurement | ChannelValue) -> None:
        """Accepts the Box's figures, or a value of its program."""
        self._boxes[box_id].inbox.offer(figures)

    def set_cycles(self, box_id: str, cycles: int) -> None:
        """Sets the cycles per Measurement, from the next one on."""
        self._boxes[box_id].set_cycles(cycles)

    def run(self, stop: threading.Event) -> None:
        """Measures until `stop`, noticed within LONGEST_PAUSE_S; then measures the waiting samples."""
        while not stop.is_set():
            self._due.clear()
            self.round()
            if not any(box.has_backlog or box.due_in_s() <= 0 for box in self._boxes.values()):
                self._due.wait(min(LONGEST_PAUSE_S, self.piece_s / 2))
        self.round(everything=True)

    @property
    def piece_s(self) -> float:
        """Seconds of samples per piece, at present."""
        if self._piece_s is not None:
            return self._piece_s
        piece_s = min(MAX_PIECE_S, max(MIN_PIECE_S, PIECE_S_PER_BOX * len(self._boxes)))
        return min(piece_s, PHASOR_PIECE_S) if self._feed.wanted(PhasorReport) else piece_s

    def round(self, everything: bool = False) -> None:
        """Measures the Boxes that are due, several together."""
        now_s, piece_s = self._monotonic_s(), self.piece_s
        due = [box for box in self._boxes.values() if everything or _is_due(box, piece_s, now_s)]
        if due:  # also Boxes that soon will be due, so that all are measured together from then on
            due = [box for box in self._boxes.values() if everything or _is_due(box, piece_s / 2, now_s)]
        parts = max(1, round(sum(_waiting_s(box) for box in due) / TOGETHER_S))
        size = max(1, -(-len(due) // parts))
        for first in range(0, len(due), size):
            self._measure(due[first : first + size], now_s)

    def _measure(self, boxes: Sequence[MeasuredBox], now_s: float) -> None:
        jobs: list[_Job] = []
        for box in boxes:
            box.taken_s = now_s
            self._guarded(box, _gather, jobs)
        try:
            cut_all([job.meter for _, job in jobs])
        except ValueError:  # repeated Box by Box, to find the one that fails
            for box, job in jobs:
                self._guarded(box, _cut_alone, job)
        windows = [job.take_steps() for _, job in jobs]
        nominals_v = [job.meter.nominal_v for (_, job), own in zip(jobs, windows, strict=True) for _ in own]
        all_windows = [window for own in windows for window in own]
        carrier_hz = boxes[0].plan.signalling_hz  # one for all Boxes of a gateway
        figures = iter(figures_of(all_windows, nominals_v, carrier_hz))
        for (box, job), own in zip(jobs, windows, strict=True):
            mine = [next(figures) for _ in own]
            self._guarded(box, _finish, job, mine)

    def _guarded(self, box: MeasuredBox, work: Callable[..., None], *arguments: object) -> None:
        """Runs a Box's work; counts and logs an error, and restarts only that Box."""
        try:
            work(box, *arguments)
        except Exception:
            box.counters.add("failures")
            self._log.exception("measuring.failed", box_id=box.plan.box_id)
            box.restart()

    def _of_group(self, values: Values) -> None:
        place = self._places.get(values.box_id)
        if place is not None:
            if self._written[values.box_id].has(values):
                return
            place.append(values)
        self._feed.offer(values)

    def _disturbed(self, values: Values) -> Values:
        """Numbers a disturbance; writes disturbances of other Boxes again if it changes their number."""
        numbered, *changed = self._polyphase.number(values)
        for each in changed:
            box = self._boxes.get(each.box_id)
            if box is not None and box.ledger is not None:
                box.ledger.append(each)
        return numbered

    def restore_numbers(self) -> None:
        """Takes the polyphase numbers of the last hour from the Boxes' ledgers; call it after `add`.

        A ledger that cannot be read is logged and left out, because the gateway measures without it, too.
        """
        boxes = [box for box_id in self._polyphase.box_ids if (box := self._boxes.get(box_id))]
        newest = [end_ns for box in boxes for end_ns in self._read(box, _newest_disturbances)]
        since_ns = max(newest, default=0) - REMEMBERED_NS
        after = methodcaller("disturbances_after", since_ns)
        rows: list[Values] = [row for box in boxes for row in self._read(box, after)] if newest else []
        for row in self._polyphase.restore(rows):
            ledger = self._boxes[row.box_id].ledger
            if ledger is not None:
                ledger.append(row)

    def _read(self, box: MeasuredBox, read: Callable[[Ledger], list[T]]) -> list[T]:
        """What is read from a Box's ledger; empty without a ledger, or where the disk cannot read it."""
        try:
            return [] if box.ledger is None else read(box.ledger)
        except OSError:
            self._log.exception("measuring.failed", box_id=box.plan.box_id)
            return []

    def _unbalanced(self, box_id: str, u2_ratio: float, end_ns: int) -> None:
        box = self._boxes.get(box_id)
        if box is not None:
            box.add_value("unbalance", u2_ratio, end_ns)


def _newest_disturbances(ledger: Ledger) -> list[int]:
    """End of the newest disturbance of each kind."""
    return [end_ns for kind in DISTURBANCES if (end_ns := ledger.newest_ns(kind))]


def _is_due(box: MeasuredBox, piece_s: float, now_s: float) -> bool:
    if box.has_backlog or _waiting_s(box) >= piece_s or box.due_in_s() <= 0:
        return True
    return len(box.inbox) > 0 and now_s - box.taken_s >= WAITED_S


def _waiting_s(box: MeasuredBox) -> float:
    """Seconds of signal that a round has to measure of this Box."""
    return box.inbox.samples / box.status.rate_hz + (SLICE_NS / 1e9 if box.has_backlog else 0.0)


def _gather(box: MeasuredBox, jobs: list[_Job]) -> None:
    jobs += [(box, job) for job in box.gather()]


def _cut_alone(_: MeasuredBox, job: Job) -> None:
    cut_all([job.meter])


def _finish(box: MeasuredBox, job: Job, figures: Sequence[WindowFigures]) -> None:
    box.finish(job, figures)


def measuring_of(
    config: Config,
    statuses: Mapping[str, BoxStatus],
    counters: Mapping[str, BoxCounters],
    uplink: Uplink,
    feed: MeasuredFeed,
    rings: Mapping[str, Ring],
    last_end_ns: Callable[[str], int | None],
) -> Measuring:
    """Builds the Measuring, not started yet; `last_end_ns` returns the time up to which a Box's Measurements
    were queued.

    Raises:
        ConfigError: thresholds that contradict each other, or a group of Boxes that are not configured.
        OpqError: a folder cannot be made.
    """
    wanted = config.measuring
    keep = wanted.windows_hours, wanted.values_days
    try:
        limits = Limits(
            wanted.dip_percent, wanted.swell_percent, wanted.interruption_percent, wanted.hysteresis_percent
        )
    except ValueError as error:
        raise ConfigError(f"measuring: {error}, nothing was started") from error
    section = config.phasors
    phasors = None
    if section.endpoint is not None:
        phasors = PhasorPlan(section.reports_per_s, PmuClass(section.pmu_class))
    unknown = sorted(set(config.uplink.send) - SENDABLE)
    if unknown:
        allowed = f"there are {' '.join(BY_KEY)}, and h2 .. h{LAST_HARMONIC}"
        raise ConfigError(f"uplink.send: {', '.join(unknown)}: not known; {allowed}, nothing was started")
    held = {box_id: ring.segments() for box_id, ring in rings.items()}
    for group in config.group:
        if group.name.isdecimal():
            raise ConfigError(f"group {group.name}: digits alone are a Box's id, nothing was started")
        strangers = sorted(set(group.boxes) - statuses.keys())
        if strangers or len(set(group.boxes)) < 3:
            allowed = (
                f"no [[box]] has id {', '.join(strangers)}" if strangers else "wants three different Boxes"
            )
            raise ConfigError(f"group {group.name}: {allowed}, nothing was started")
    try:
        places = {
            group.name: Ledger(data_folder(config) / f"group-{group.name}", group.name, *keep)
            for group in config.group
        }

        def backlog(box_id: str) -> RingBacklog | None:
            return backlog_of(rings[box_id], held[box_id], partial(last_end_ns, box_id))

        measuring = Measuring(
            uplink.publish,
            uplink.crossing,
            feed,
            config.group,
            places,
            backlog,
            edge=uplink.publish_at_once,
            ring_end=lambda box_id: held[box_id][-1] if held[box_id] else None,
        )
        for box_id, status in statuses.items():
            plan = MeasuringPlan(
                box_id,
                nominal_v=120.0,
                nominal_hz=60.0,
                cycles=config.measurement_cycles,
                send=config.uplink.send,
                limits=limits,
                flicker=wanted.flicker,
                phasors=phasors,
                detectors=wanted.detectors,
                signalling_hz=wanted.signalling_hz,
            )
            folder = box_folder(config, box_id) / "ledger"
            ledger = Ledger(folder, box_id, *keep, wanted.half_cycles_mb * 10**6)
            measuring.add(plan, counters[box_id], status, ledger)
        measuring.restore_numbers()
    except OSError as error:
        raise OpqError(f"gateway: {error.filename} cannot be used: {error.strerror or error}") from error
    return measuring


def _end_block(
    ring_end: Callable[[str], Segment | None], box_id: str, rate_millihz: int
) -> SampleBlock | None:
    """A block without samples at the end of a Box's ring."""
    end = ring_end(box_id)
    if end is None:
        return None
    start_id, v_per_lsb, nominal_v, nominal_hz = end.facts
    return SampleBlock(
        start_id,
        v_per_lsb,
        end.end_sample,
        end.end_ns,
        *clock_of(end),
        rate_millihz,
        np.empty(0, np.int16),
        nominal_v=nominal_v,
        nominal_hz=nominal_hz,
    )
