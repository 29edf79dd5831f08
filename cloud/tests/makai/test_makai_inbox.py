"""Measurements that come together: the same decisions as one by one, each Box in its order."""

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.makai import TriggeringServiceSection
from opq_cloud.makai.boxes import BoxRegister
from opq_cloud.makai.judging.measurement_judge import MeasurementJudge
from opq_cloud.makai.judging.triggers_in_use import TriggersInUse
from opq_cloud.makai.measurements import measurement_inbox
from opq_cloud.makai.measurements.box_nominals import BoxNominals
from opq_cloud.makai.measurements.measurement_inbox import BoxTable, MeasurementInbox
from opq_cloud.makai.measurements.measurement_queue import MeasurementQueue
from opq_cloud.makai.measurements.trends import Trends
from opq_cloud.makai.openings.openings import EventOpenings
from opq_cloud.store.box_record import BoxRecord
from opq_proto.decision import Decision, Nominal
from opq_proto.kit import log
from opq_proto.messages import Measurement, Metric, TimeSource
from opq_proto.wire import measurement_batch
from opq_proto.wire.frames import measurement_from_wire, measurement_to_wire, topic
from opq_proto.wire.measurement_columns import NumberedColumns, joined_numbered

S = 10**9
START_NS = 1_765_792_486_000_000_000
NOMINAL = Nominal(120.0, 60.0)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dozen Boxes are enough for columns."""
    monkeypatch.setattr(measurement_batch, "MIN_EQUAL_LENGTH", 3)
    monkeypatch.setattr(measurement_inbox, "MIN_BATCH", 1)


pytestmark = pytest.mark.usefixtures("few")


def row(box: int, number: int, percent: float = 100.0, swing: float = 0.01, **changes: Any) -> Measurement:
    end_ns = START_NS + number * S + box
    volts = 1.2 * percent
    metrics = {
        "rms": Metric(volts - 1.2 * swing, volts + 1.2 * swing, volts), "f": Metric(59.99, 60.01, 60.0),
        "thd": Metric(0.01, 0.03, 0.02), "trans": Metric(0.5, 1.5, 1.0),
    }  # fmt: skip
    made = Measurement(
        str(box), (end_ns + 500_000) // 10**6, metrics, end_ns - S, end_ns, 1000, TimeSource.GPS, number, 1,
        nominal_v=120.0, nominal_hz=60.0,
    )  # fmt: skip
    return replace(made, **changes)


def frames(rows: list[Measurement]) -> list[list[bytes]]:
    return [[topic(each.box_id), measurement_to_wire(each)] for each in rows]


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
        self.boxes = BoxRegister(NOMINAL, lambda: 5.0)
        self.triggers = TriggersInUse(TriggeringServiceSection(), ServiceCounters(), log.get())
        self.openings = Recorded(self.boxes)
        self.judge = MeasurementJudge(self.boxes, self.triggers, self.openings, lambda: 5.0)
        self.inbox = MeasurementInbox(self.boxes, lambda: 5.0)

    def states(self) -> list[Any]:
        found = []
        for plugin in self.triggers.all:
            state = plugin._trigger._state  # type: ignore[attr-defined]
            found.append((state.passed, state.recovered) if hasattr(state, "passed") else state)
        return found


@pytest.mark.parametrize("seed", range(2))
def test_what_comes_together_is_decided_as_one_by_one(seed: int) -> None:
    draw = random.Random(seed)
    together, single = Side(), Side()
    passed = again = 0
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
        for _, body in messages:
            single.judge.judge(measurement_from_wire(body))
        read = together.inbox.read(messages)
        passed += sum(map(len, read.rounds))
        again += sum(len(columns) for columns in read.rounds if columns.backfilled)
        for columns in read.rounds:
            together.judge.judge_columns(columns)
        for each in read.rows:
            together.judge.judge(each)
        # what is over of a Box is said with no sequence: the order over Boxes is open
        assert sorted(map(repr, together.openings.seen)) == sorted(map(repr, single.openings.seen))
        assert repr(by_key(together.states())) == repr(by_key(single.states()))
    assert passed > 150 and again > 20, "most of them went as columns"
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


def test_each_boxs_measurements_keep_their_order_and_none_is_lost() -> None:
    draw = random.Random(4)
    inbox = MeasurementInbox(BoxRegister(NOMINAL), iter(range(10**6)).__next__)
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
        read = inbox.read(messages)
        assert len(read.malformed) == 2
        found = [each for columns in read.rounds for each in columns.measurements()] + read.rows
        for box_id in ("1", "2", "3", "400"):
            assert [each for each in found if each.box_id == box_id] == [
                measurement_from_wire(body)
                for each, (_, body) in zip(rows, frames(rows), strict=True)
                if each.box_id == box_id
            ], turn
        for columns in read.rounds:
            assert len(set(columns.which.tolist())) == len(columns)


def test_boxes_follow_what_they_say_and_what_the_store_says() -> None:
    register = BoxRegister(NOMINAL)
    now_s = iter(range(100))
    table = BoxTable(register, lambda: float(next(now_s)))
    numbers, said = np.array([7, 3]), np.array([[0.0, 0.0], [230.0, 50.0]], np.float32)
    assert table.places(numbers, said).tolist() == [-1, -1]
    table.add(numbers, said)
    assert table.places(numbers, said).tolist() == [1, 0]
    assert table.boxes.nominals == (Nominal(230.0, 50.0), NOMINAL)
    register.read_nominals([BoxRecord("7", "", nominal_v=400.0)])
    assert table.places(numbers, said).tolist() == [1, 0]
    assert table.boxes.nominals == (Nominal(230.0, 50.0), Nominal(400.0, 60.0))
    assert table.places(numbers, said[::-1]).tolist() == [-1, -1]


def columns_of(rows: list[Measurement]) -> Iterator[NumberedColumns]:
    inbox = MeasurementInbox(BoxRegister(NOMINAL), iter(range(10**6)).__next__)
    inbox.read(frames(rows))
    read = inbox.read(frames(rows))
    assert not read.rows
    yield from read.rounds


def test_what_many_turns_brought_is_joined_and_taken_apart_again() -> None:
    (first,) = columns_of([row(box, 1) for box in (1, 2, 3)])
    more = [replace(first, sequence=first.sequence + 1), first.part(np.array([2, 0]))]
    again = replace(first, backfilled=True)
    (other,) = columns_of([row(box, 1) for box in (7, 8, 9)])
    parts = [first, *more, again, other]
    joined = joined_numbered(parts)
    assert [len(each) for each in joined] == [8, 3, 3] and joined[1] is again and joined[2] is other
    assert [each for part in joined for each in part.measurements()] == [
        each for part in parts for each in part.measurements()
    ]
    rounds = joined[0].rounds()
    assert [each.which.tolist() for each in rounds] == [[0, 1, 2], [0, 1, 2], [2, 0]]
    assert [each for part in rounds for each in part.measurements()] == joined[0].measurements()
    assert first.rounds() == [first] and joined_numbered([]) == []


def test_what_boxes_say_is_noted_once_from_columns(makai: Any, tmp_path: Any) -> None:
    from opq_cloud.store import open_store

    store = open_store(None, tmp_path)
    nominals = BoxNominals(store)
    (columns,) = columns_of([row(box, 1, nominal_hz=None) for box in range(1, 6)])
    assert [nominals.read_columns(columns), nominals.read_columns(columns)] == [5, 0]
    record = store.box("3")
    assert record is not None and (record.nominal_v, record.nominal_hz) == (120.0, None)
    store.close()


def test_the_queue_is_bounded_in_rows_and_counts_what_it_drops() -> None:
    (columns,) = columns_of([row(box, 1) for box in range(1, 11)])
    queue = MeasurementQueue(25)
    for item in (columns, row(1, 2), columns, columns):
        queue.offer(item)
    assert (len(queue), queue.dropped) == (21, 10)
    items = queue.receive(15)
    assert [len(each) if isinstance(each, NumberedColumns) else 1 for each in items] == [1, 10, 10]
    assert queue.receive(1, 1, 0.001) == [] and len(queue) == 0


def test_few_are_judged_one_by_one_and_many_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    inbox = MeasurementInbox(BoxRegister(NOMINAL), iter(range(10**6)).__next__)
    enough = measurement_inbox.MIN_BATCH
    for _ in range(2):  # Boxes are known from the second turn on
        read = inbox.read(frames([row(box, 1, backfilled=box % 2 == 0) for box in range(1, 2 * enough + 1)]))
    assert not read.rows and [columns.backfilled for columns in read.rounds] == [False, True]
    read = inbox.read(frames([row(box, 2) for box in range(1, enough)]))
    assert not read.rounds and len(read.rows) == enough - 1


def test_minutes_of_columns_and_of_single_ones_are_one_trend() -> None:
    mixed, single = Trends(), Trends()
    for number in range(70):
        rows = [row(box, number, 100 + box / 8) for box in range(1, 6)]
        for columns in columns_of(rows):  # another table of Boxes each time
            if number % 7:
                mixed.add_round(columns, float(number))
            else:
                for each in rows:
                    mixed.add(measurement_from_wire(measurement_to_wire(each)), float(number))
        for each in rows:
            single.add(measurement_from_wire(measurement_to_wire(each)), float(number))
        for found, other in zip(of(mixed, number), of(single, number), strict=True):
            assert (found[0].box_id, found[0].start_ms, found[1]) == (
                other[0].box_id,
                other[0].start_ms,
                other[1],
            )
            assert found[0].covered_ms == other[0].covered_ms
            for metric, three in other[0].metrics.items():
                assert found[0].metrics[metric] == pytest.approx(three, rel=1e-12)
    assert len(of(mixed, 10**6)) == 5


def of(trends: Trends, now_s: float) -> list[Any]:
    return sorted(trends.over(float(now_s)), key=lambda pair: (pair[0].box_id, pair[0].start_ms))
