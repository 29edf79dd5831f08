"""Measurements that come together: the same decisions as one by one, each Box in its order."""

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.makai_settings import TriggeringServiceSection
from opq_cloud.makai.judging.measurement_judge import MeasurementJudge
from opq_cloud.makai.judging.triggers_in_use import TriggersInUse
from opq_cloud.makai.measurements.box_nominals import BoxNominals
from opq_cloud.makai.measurements.measurement_queue import MeasurementQueue
from opq_cloud.makai.measurements.trends import Trends
from opq_cloud.makai.openings.openings import EventOpenings
from opq_cloud.makai.triggering_boxes import BoxRegister
from opq_proto.decision import Decision, Nominal
from opq_proto.errors import ForeignError, FrameError
from opq_proto.kit import log
from opq_proto.measurement.batch import Measurements, joined
from opq_proto.measurement.wire import (
    MeasurementReader,
    NominalOf,
    measurement_from_wire,
    measurement_to_wire,
)
from opq_proto.messages import Measurement, Metric, TimeSource
from opq_proto.wire.frames import topic

S = 10**9
START_NS = 1_765_792_486_000_000_000
NOMINAL = Nominal(120.0, 60.0)


def row(box: int, number: int, percent: float = 100.0, swing: float = 0.01, **changes: Any) -> Measurement:
    end_ns = START_NS + number * S + box
    volts = 1.2 * percent
    metrics = {
        "rms": Metric(volts - 1.2 * swing, volts + 1.2 * swing, volts),
        "f": Metric(59.99, 60.01, 60.0),
        "thd": Metric(0.01, 0.03, 0.02),
        "trans": Metric(0.5, 1.5, 1.0),
    }
    made = Measurement(
        str(box),
        (end_ns + 500_000) // 10**6,
        metrics,
        end_ns - S,
        end_ns,
        1000,
        TimeSource.GPS,
        number,
        1,
        nominal_v=120.0,
        nominal_hz=60.0,
    )
    return replace(made, **changes)


def frames(rows: list[Measurement]) -> list[list[bytes]]:
    return [[topic(each.box_id), measurement_to_wire(each)] for each in rows]


def read(messages: list[list[bytes]], nominal_of: NominalOf) -> tuple[list[Measurements], list[FrameError]]:
    reader = MeasurementReader()
    reader.read(messages)
    return reader.batches(nominal_of), reader.malformed


class Recorded(EventOpenings):
    """What was to be opened, and what was over, in place of doing it."""

    def __init__(self, boxes: BoxRegister) -> None:
        super().__init__(TriggeringServiceSection(), "test", boxes, ServiceCounters())
        self.seen: list[tuple[str, int | None, Decision]] = []

    def open_at_onset(self, measurement: Measurement, decision: Decision, stored: bool) -> bool:
        self.seen.append((measurement.box_id, measurement.sequence, decision))
        return True

    def note_end(self, box_id: str, decision: Decision, now_s: float) -> None:
        self.seen.append((box_id, None, decision))


class Side:
    """A judge and what it decided."""

    def __init__(self) -> None:
        self.boxes = BoxRegister(NOMINAL, lambda: 5.0, lambda: START_NS // 10**6)
        self.triggers = TriggersInUse(TriggeringServiceSection(), ServiceCounters(), log.get())
        self.openings = Recorded(self.boxes)
        self.judge = MeasurementJudge(self.boxes, self.triggers, self.openings, lambda: 5.0)

    def states(self) -> list[Any]:
        found = []
        for plugin in self.triggers.all:
            state = plugin._trigger._state  # type: ignore[attr-defined]
            found.append((state.passed, state.recovered) if hasattr(state, "passed") else state)
        return found


@pytest.mark.parametrize("seed", range(2))
def test_a_batch_is_decided_like_single_messages(seed: int) -> None:
    """Triggers that arrive together are decided like single ones."""
    draw = random.Random(seed)
    together, single = Side(), Side()
    again = 0
    for number in range(25):
        rows = []
        for box in draw.sample(range(1, 13), 12):
            percent = draw.choice([100.0] * 30 + [85.0, 104.0, 112.0, 94.0])
            swing = draw.choice([0.01] * 30 + [1.0, 2.5])
            changes = draw.choice([{}] * 20 + [{"crossing": True}] + [{"backfilled": True}] * 9)
            rows.append(row(box, number, percent, swing, **changes))
        if number % 5 == 4:  # some boxes are behind and send two at once
            rows += [row(box, number + 1) for box in range(1, 4)]
        messages = frames(rows)
        for each in messages:
            single.judge.judge(*read([each], single.boxes.nominal)[0])
        batches, _ = read(messages, together.boxes.nominal)
        again += sum(len(columns) for columns in batches if columns.backfilled)
        for columns in batches:
            together.judge.judge(columns)
        # what is over of a Box is said with no sequence: the order over Boxes is open
        assert sorted(map(repr, together.openings.seen)) == sorted(map(repr, single.openings.seen))
        assert repr(by_key(together.states())) == repr(by_key(single.states()))
    assert again > 20
    assert together.boxes.health() == single.boxes.health()
    assert single.openings.seen


def by_key(found: Any) -> Any:
    """Dictionaries in one order: Boxes came in another one."""
    if isinstance(found, dict):
        return sorted(((repr(key), by_key(value)) for key, value in found.items()), key=lambda pair: pair[0])
    if isinstance(found, (list, tuple)):
        return [by_key(each) for each in found]
    if hasattr(found, "__dataclass_fields__"):
        return [by_key(getattr(found, name)) for name in found.__dataclass_fields__ if name != "changes"]
    return found


def test_a_boxs_measurements_keep_their_order() -> None:
    draw = random.Random(4)
    number = 0
    for turn in range(20):
        rows = []
        for _ in range(draw.randint(1, 60)):
            number += 1
            changes = draw.choice([{}] * 12 + [{"crossing": True}, {"backfilled": True}, {"metrics": {}}])
            rows.append(row(draw.choice([1, 1, 1, 2, 3, 400]), number, **changes))
        messages = frames(rows)
        messages.insert(draw.randrange(len(messages)), [b"0001", b"\xff"])
        messages.append([b"0001"])
        messages.append([b"0002", frames([row(3, 1)])[0][1]])
        batches, malformed = read(messages, BoxRegister(NOMINAL).nominal)
        assert list(map(type, malformed)).count(ForeignError) == 1 and len(malformed) == 3
        found = [each for columns in batches for each in columns.rows()]
        for box_id in ("1", "2", "3", "400"):
            assert [each for each in found if each.box_id == box_id] == [
                measurement_from_wire(body)
                for each, (_, body) in zip(rows, frames(rows), strict=True)
                if each.box_id == box_id
            ], turn
        for columns in batches:
            assert len(set(columns.which.tolist())) == len(columns)


def columns_of(rows: list[Measurement]) -> list[Measurements]:
    return read(frames(rows), BoxRegister(NOMINAL).nominal)[0]


def test_joined_turns_are_taken_apart_again() -> None:
    (first,) = columns_of([row(box, 1) for box in (1, 2, 3)])
    more = [replace(first, sequence=first.sequence + 1), first.part(np.array([2, 0]))]
    again = replace(first, backfilled=True)
    (other,) = columns_of([row(box, 1) for box in (7, 8, 9)])
    parts = [first, *more, again, other]
    whole = joined(parts)
    assert [len(each) for each in whole] == [8, 3, 3] and whole[1] is again and whole[2] is other
    assert whole[0].box_ids == ("1", "2", "3")
    assert [each for part in whole for each in part.rows()] == [
        each for part in parts for each in part.rows()
    ]
    rounds = whole[0].rounds()
    assert [each.which.tolist() for each in rounds] == [[0, 1, 2], [0, 1, 2], [2, 0]]
    assert [each for part in rounds for each in part.rows()] == whole[0].rows()
    assert first.rounds() == [first] and joined([]) == []


def test_what_boxes_say_is_noted_once_from_columns(makai: Any, tmp_path: Any) -> None:
    from opq_cloud.store import open_store

    store = open_store(None, tmp_path)
    nominals = BoxNominals(store)
    (columns,) = columns_of([row(box, 1, nominal_hz=None) for box in range(1, 6)])
    assert [nominals.read(columns), nominals.read(columns)] == [5, 0]
    record = store.box("3")
    assert record is not None and (record.nominal_v, record.nominal_hz) == (120.0, None)
    store.close()


def test_the_queue_is_bounded_and_counts_drops() -> None:
    (columns,) = columns_of([row(box, 1) for box in range(1, 11)])
    queue = MeasurementQueue(25)
    for item in (columns, *columns_of([row(1, 2)]), columns, columns):
        queue.offer(item)
    assert (len(queue), queue.dropped) == (21, 10)
    items = queue.receive(15)
    assert [len(each) for each in items] == [1, 10, 10]
    assert queue.receive(1, 1, 0.001) == [] and len(queue) == 0


def test_a_minute_is_equal_from_batches_and_rows() -> None:
    """Some have further metrics or lack one; those of one turn come in another order."""
    together, single = Trends(), Trends()
    for number in range(70):
        rows = [row(box, number, 100 + box / 8) for box in range(1, 6)]
        if number % 7 == 0:
            rows[0] = replace(rows[0], metrics={**rows[0].metrics, "pst": Metric(0.4, 0.4, 0.4)})
            rows[1] = replace(rows[1], metrics={"rms": rows[1].metrics["rms"]})
        for columns in columns_of(rows):
            together.add(columns, float(number))
        for each in reversed(rows):
            single.add(*columns_of([each]), float(number))
        assert of(together, number) == of(single, number)
    last = of(together, 10**6)
    assert last == of(single, 10**6) and len(last) == 5
    assert {"pst"} < last[0][0].metrics.keys() and "pst" not in last[1][0].metrics


def of(trends: Trends, now_s: float) -> list[Any]:
    return sorted(trends.over(float(now_s)), key=lambda pair: (pair[0].box_id, pair[0].start_ms))
