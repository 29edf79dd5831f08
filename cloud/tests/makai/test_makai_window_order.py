"""A Box's windows are judged in the order of their samples' time; a missing one is waited for."""

import random
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judged_triggers import AT_120, batch

from opq_cloud.core.service import ServiceCounters
from opq_cloud.makai.judging.window_order import MAX_WAITING, WAIT_S, WindowOrder
from opq_proto.measurement.batch import Measurements
from opq_proto.measurement.wire import batches_of
from opq_proto.messages import Measurement, Metric

S, MS = 10**9, 10**6
START_NS = 1_795_000_000 * S


def window(k: float, box_id: str = "1", original: bool = False, **fields: Any) -> Measurement:
    end_ns = START_NS + round((k + 1) * S)
    span: dict[str, Any] = {} if original else {"start_ns": end_ns - S, "end_ns": end_ns}
    return Measurement(box_id, end_ns // MS, {"rms": Metric(119.0, 121.0, 120.0)}, **span, **fields)


class Order(WindowOrder):
    """One Measurement comes at a time."""

    def __init__(self, counters: ServiceCounters) -> None:
        super().__init__(counters, lambda *_: AT_120)

    def one(self, row: Measurement, now_s: float) -> list[Measurement]:
        return rows_of(self.accept(batch(row), now_s))

    def late(self, now_s: float) -> list[Measurement]:
        return rows_of(self.due(now_s))


def rows_of(batches: list[Measurements]) -> list[Measurement]:
    return [row for columns in batches for row in columns.rows()]


def judged(order: WindowOrder, arrivals: Iterable[tuple[float, Measurement]]) -> list[tuple[str, int]]:
    """Box and second of each window, in the order in which they are judged."""
    found: list[Measurement] = []
    for at_s, row in sorted(arrivals, key=lambda each: each[0]):
        found += order.late(at_s)
        found += order.one(row, at_s)
    found += order.late(float("inf"))
    return [(row.box_id, round((row.timestamp_ms * MS - START_NS) / S)) for row in found]


@given(st.randoms(use_true_random=False), st.booleans(), st.booleans(), st.sampled_from([1, 3]))
@settings(max_examples=50, deadline=None)
def test_windows_within_the_bound_are_judged_in_order(
    chance: random.Random, original: bool, numbered: bool, apart: int
) -> None:
    """`apart`: seconds from one window to the next; an original Box does not state their length."""
    rows = [
        window(apart * k, box_id, original, sequence=500 + k if numbered else None)
        for k in range(12)
        for box_id in ("1", "2")
    ]
    late_s = [
        0.0 if k < 6 else chance.uniform(0, WAIT_S - 0.01) for k in range(len(rows))
    ]  # not before the first
    arrivals = [
        (apart * (at // 2) + late, row) for at, (late, row) in enumerate(zip(late_s, rows, strict=True))
    ]
    found = judged(order := Order(counters := ServiceCounters()), arrivals)
    for box_id in ("1", "2"):
        assert [second for each, second in found if each == box_id] == [apart * k + 1 for k in range(12)]
    assert counters.total("windows_late") == 0 and not list(order.late(float("inf")))


def test_a_lost_window_is_awaited_once() -> None:
    """The next Measurement does not wait; a lost one is awaited once."""
    order = Order(counters := ServiceCounters())
    assert [order.one(window(k), 0.0) for k in range(3)] == [[window(0)], [window(1)], [window(2)]]
    assert order.one(window(5), 1.0) == [] and order.one(window(4), 1.5) == []
    assert list(order.late(1.0 + WAIT_S - 0.01)) == []
    assert list(order.late(1.0 + WAIT_S)) == [window(4), window(5)]
    assert order.one(window(6), 4.0) == [window(6)]
    assert order.one(window(3), 4.1) == [window(3)] and counters.of("windows_late", "1") == 1
    assert order.one(window(7), 5.0) == [window(7)]


def test_a_sample_hole_is_not_a_number_hole() -> None:
    order = Order(ServiceCounters())
    for k, number in ((0, 7), (40, 8), (41, 9)):
        assert order.one(window(k, sequence=number), 0.0)
    assert order.one(window(43, sequence=11), 1.0) == []
    assert [each.sequence for each in order.one(window(42, sequence=10), 1.1)] == [10, 11]


def test_crossings_and_repeats_do_not_wait() -> None:
    order = Order(ServiceCounters())
    order.one(window(0, sequence=1), 0.0)
    crossing, again = window(9, sequence=9, crossing=True), window(5, sequence=5, backfilled=True)
    assert order.one(crossing, 0.1) == [crossing] and order.one(again, 0.1) == [again]


@pytest.mark.parametrize("numbered", [True, False])
def test_clock_steps_and_new_numbers_do_not_wait(numbered: bool) -> None:
    """The clock is set back, or the numbers begin again."""
    order = Order(counters := ServiceCounters())
    for k, second in enumerate((100, 101, 40, 41, 42)):
        assert order.one(window(second, sequence=k if numbered else None), 0.0)
    assert order.one(window(43, sequence=0 if numbered else None), 0.0)
    assert counters.total("windows_late") == 0


def test_what_waits_is_bounded() -> None:
    order = Order(ServiceCounters())
    order.one(window(0), 0.0)
    found = [order.one(window(10 + 2 * k), 0.0) for k in range(MAX_WAITING + 1)]
    assert [len(each) for each in found if each] == [MAX_WAITING + 1]


def test_followers_in_a_batch_are_judged_at_once() -> None:
    """Other Measurements wait."""
    rows = [window(k, box_id, sequence=100 + k) for box_id in ("1", "2", "3", "4") for k in (0, 1, 3)]

    def columns(*chosen: Measurement) -> Measurements:
        return batches_of(chosen, lambda *_: AT_120)[0]

    order = Order(ServiceCounters())
    assert rows_of(order.accept(columns(*rows[::3]), 0.0)) == rows[::3]
    late = replace(rows[10], sequence=105)
    assert rows_of(order.accept(columns(rows[1], rows[4], rows[8], late), 0.0)) == [rows[1], rows[4]]
    assert order.one(rows[2], 0.0) == [] and order.one(rows[5], 0.0) == []
    assert order.one(window(2, "3", sequence=102), 0.1) == [], "number 101 is still missing"
    assert [row.sequence for row in order.one(rows[7], 0.2)] == [101, 102, 103]


def test_sequence_holes_are_counted_by_box() -> None:
    """Once they are certain."""
    counters = ServiceCounters()
    order = Order(counters)
    for number in (10, 11, 15, 16):
        order.one(window(number, sequence=number), 0.0)
    assert counters.total("sequence_holes") == 0, "12 to 14 may be late"
    assert [row.sequence for row in order.late(WAIT_S)] == [15, 16]
    assert counters.of("sequence_holes", "1") == 3
