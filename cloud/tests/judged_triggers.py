"""Makai's judge over Measurements, with the default triggers: their onsets, and the events they open."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.config import CloudConfig
from opq_cloud.makai.judging.measurement_judge import MeasurementJudge
from opq_cloud.makai.judging.trigger_plugins import TriggerPlugin
from opq_cloud.makai.judging.triggers_in_use import TriggersInUse
from opq_cloud.makai.openings.openings import EventOpenings
from opq_cloud.makai.triggering_boxes import BoxRegister
from opq_cloud.store import open_store
from opq_plugins.package.built_in import Plugin
from opq_plugins.sdk.modules import TriggerModule
from opq_proto.decision import Decision, Nominal, window_ns
from opq_proto.kit import log
from opq_proto.measurement.batch import Measurements
from opq_proto.measurement.wire import batches_of
from opq_proto.messages import Measurement

PRIMED_WINDOWS = 200
"""Windows before a trial, so that triggers know the usual values (statistical: 120 windows)."""


@dataclass(slots=True)
class JudgedOnsets:
    """Onsets decided in a span: `first`: the first trigger; `all`: trigger -> number of its onsets."""

    first: str | None = None
    all: Counter[str] = field(default_factory=Counter)


def default_triggers() -> TriggersInUse:
    """Loads the triggers that run by default."""
    return TriggersInUse(CloudConfig().triggering_service, ServiceCounters(), log.get())


AT_120 = Nominal(120.0, 60.0)


def batch(row: Measurement, nominal: Nominal = AT_120) -> Measurements:
    """One Measurement as a batch."""
    return batches_of([row], lambda *_: nominal)[0]


def decision_of(
    trigger: TriggerPlugin, row: Measurement, nominal: Nominal, again: bool = False
) -> Decision | None:
    """What the trigger decides on one Measurement; `again`: one that it is shown again."""
    columns = batch(row, nominal)
    return dict(trigger.see_again(columns) if again else trigger.judge(columns)).get(0)


def note_heard(
    boxes: BoxRegister, box_id: str, timestamp_ms: int, span_ns: tuple[int, int] | None = None
) -> None:
    """A Measurement of this window comes; None: a crossing."""
    row = Measurement(box_id, timestamp_ms, {}, *(span_ns or (None, None)), crossing=span_ns is None)
    boxes.note_columns(*batches_of([row], boxes.nominal))


def decisions_of(plugin: Plugin, rows: Iterable[Measurement], nominal: Nominal) -> dict[int, Decision]:
    """Place of a row -> what a built-in trigger decides on it, one after the other."""
    trigger = TriggerModule(plugin.module, plugin.config)
    found = (trigger.judge(batch(row, nominal)) for row in rows)
    return {at: one for at, decisions in enumerate(found) for _, one in decisions}


def onsets(rows: Sequence[Measurement], from_ns: int, to_ns: int, triggers: TriggersInUse) -> JudgedOnsets:
    """Finds the triggers that decide an onset between the two moments, and the first of them.

    They forget what they know. Windows that end before `from_ns` are repeated before the rows: every trigger
    then knows the usual values.
    """
    for trigger in triggers.all:
        trigger.begin_again()
    quiet = [row for row in rows if not row.crossing and _full(row) and window_ns(row)[1] < from_ns][1:]
    found = JudgedOnsets()
    boxes = BoxRegister(CloudConfig().nominal)
    for row in (*earlier_windows(quiet, PRIMED_WINDOWS), *rows):
        nominal = boxes.nominal(row.box_id, row.nominal_v, row.nominal_hz)
        start_ns, end_ns = window_ns(row)
        inside = end_ns > from_ns and start_ns < to_ns
        columns = batch(row, nominal)
        for trigger in triggers.all:
            decision = dict(trigger.judge(columns)).get(0)
            if inside and decision is not None and decision.span_ns is None:
                found.first = found.first or trigger.name
                found.all[trigger.name] += 1
    return found


def _full(row: Measurement) -> bool:
    return {"rms", "f", "thd", "trans"} <= row.metrics.keys()


def earlier_windows(quiet: Sequence[Measurement], count: int) -> Iterable[Measurement]:
    """Repeats the same windows, one after the other, up to the beginning of the first one."""
    if not quiet:
        return
    begin_ns = window_ns(quiet[0])[0]
    length_ns = sum(end - start for start, end in map(window_ns, quiet)) // len(quiet)
    for number in range(count, 0, -1):
        row = quiet[number % len(quiet)]
        start_ns = begin_ns - number * length_ns
        end_ns = start_ns + length_ns
        yield replace(row, start_ns=start_ns, end_ns=end_ns, timestamp_ms=end_ns // 1_000_000)


def judge_without_store(config: CloudConfig) -> MeasurementJudge:
    """A judge for Measurements that open no event: it has no store for an onset."""
    triggers = TriggersInUse(config.triggering_service, ServiceCounters(), log.get())
    boxes = BoxRegister(config.nominal)
    openings = EventOpenings(config.triggering_service, "test", boxes, ServiceCounters())
    return MeasurementJudge(boxes, triggers, openings)


class CountedJudge:
    """The judge with a store of its own, which holds every event that it opens."""

    def __init__(self, folder: Path) -> None:
        config = CloudConfig()
        section, counters = config.triggering_service, ServiceCounters()
        self._now_s = 0.0
        self._store = open_store(None, folder)
        self._boxes = boxes = BoxRegister(config.nominal, lambda: self._now_s)
        triggers = TriggersInUse(section, counters, log.get())
        self._openings = EventOpenings(section, "test", boxes, counters)
        self._openings.begin(self._store, lambda command: True, lambda measurement: None)
        self._judge = MeasurementJudge(boxes, triggers, self._openings, lambda: self._now_s)

    def judge(self, columns: Measurements | None, rows: Sequence[Measurement], now_s: float) -> None:
        """Judges the Measurements of one moment, as a history does; `now_s`: seconds of the run."""
        self._now_s = now_s
        batches: list[Measurements] = [] if columns is None else [columns]
        for each in [*batches, *batches_of(rows, self._boxes.nominal)]:
            self._judge.judge(each)
        self.advance(now_s)

    def advance(self, now_s: float) -> None:
        """Advances the openings, which send requests that are due."""
        self._now_s = now_s
        self._openings.advance(now_s)

    def events(self) -> list[str]:
        """`because` of each event."""
        return [record.because for record in self._store.events(limit=100_000)]

    def close(self) -> None:
        self._store.close()
