"""Phasors of many Boxes by instants: who is waited for, who is late, what a wrong clock does."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opq_gateway.measuring.feed import PhasorReport
from opq_gateway.phasors.alignment import Alignment
from opq_proto.messages import TimeSource

TENTH_NS = 10**8
START_NS = 1_800_000_000 * 10**9


class Line:
    """An alignment of Boxes 1, 2, 3 and what it counted."""

    def __init__(self, wait_s: float = 1.0) -> None:
        self.counted: Counter[tuple[str, str]] = Counter()
        self.alignment = Alignment(["1", "2", "3"], wait_s, self._count)

    def _count(self, name: str, box_id: str) -> None:
        self.counted[name, box_id] += 1

    def push(
        self,
        box_id: str,
        number: float,
        now_s: float,
        source: TimeSource = TimeSource.GPS,
        uncertainty_ns: int = 100,
    ) -> None:
        t_ns = START_NS + round(number * TENTH_NS)
        self.alignment.accept_phasor(
            PhasorReport(box_id, t_ns, 1 + 0j, 60.0, 0.0, uncertainty_ns, source, True), now_s
        )

    def due(self, now_s: float) -> list[tuple[int, str]]:
        return [
            ((instant.t_ns - START_NS) // TENTH_NS, "".join(sorted(instant.phasors)))
            for instant in self.alignment.due(now_s)
        ]


@pytest.fixture
def line() -> Line:
    """Boxes 1 and 2 report; instant 0 has left whole."""
    line = Line()
    line.push("1", -1, 0.0)
    line.push("2", -1, 0.0)
    line.due(0.0)
    line.push("1", 0, 0.1)
    line.push("2", 0, 0.1)
    assert line.due(0.1) == [(0, "12")]
    return line


def test_an_instant_leaves_when_complete(line: Line) -> None:
    line.push("1", 1, 0.2)
    assert line.due(0.2) == [] and line.alignment.next_s() == pytest.approx(1.2)
    line.push("2", 1, 0.3)
    assert line.due(0.3) == [(1, "12")] and line.alignment.next_s() is None


def test_a_late_box_is_waited_for_once(line: Line) -> None:
    line.push("1", 1, 0.2)
    assert line.due(1.1) == []
    assert line.due(1.2) == [(1, "1")]
    line.push("1", 2, 1.3)
    assert line.due(1.3) == [(2, "1")]  # no longer expected
    assert line.counted["phasors_late", "2"] == 0
    line.push("2", 1, 1.4)
    assert line.counted["phasors_late", "2"] == 1
    line.push("1", 3, 1.5)
    assert line.due(1.5) == []  # heard again, so expected again
    line.push("2", 3, 1.6)
    assert line.due(1.6) == [(3, "12")]


def test_instants_leave_in_time_order(line: Line) -> None:
    for number in (3, 1, 2):
        line.push("1", number, 0.2)
    for number in (2, 3):
        line.push("2", number, 0.2)
    assert line.due(0.3) == []
    line.push("2", 1, 0.4)
    assert line.due(0.4) == [(1, "12"), (2, "12"), (3, "12")]


def test_sequential_boxes_join_from_round_two() -> None:
    line = Line()
    for number in range(10):
        line.push("1", number, 0.0)
    assert [boxes for _, boxes in line.due(0.0)] == ["1"] * 10
    for number in range(10):
        line.push("2", number, 0.01)
    for number in range(10, 20):
        line.push("1", number, 1.0)
    assert line.due(1.0) == []
    for number in range(10, 20):
        line.push("2", number, 1.01)
    assert [boxes for _, boxes in line.due(1.01)] == ["12"] * 10


@pytest.mark.parametrize("off", [-36_000, 36_000])
def test_a_box_an_hour_off_is_left_out(line: Line, off: int) -> None:
    for number in range(1, 4):
        line.push("3", number + off, number / 10, TimeSource.FREE, 0xFFFF_FFFF)
        line.push("1", number, number / 10)
        line.push("2", number, number / 10)
        assert line.due(number / 10) == [(number, "12")]
    assert line.counted["phasors_off_axis", "3"] == 3


def test_the_best_clock_carries_the_axis() -> None:
    line = Line()
    line.push("3", 36_000, 0.0, TimeSource.FREE)
    assert line.due(1.0) == [(36_000, "3")]
    line.push("1", 10, 1.1)
    assert line.due(2.2) == [(10, "1")]
    line.push("3", 36_012, 2.3, TimeSource.FREE)
    line.push("1", 12, 2.3)
    assert line.due(2.4) == [(12, "1")]


def test_a_set_back_clock_continues() -> None:
    line = Line()
    line.push("1", 0, 0.0, TimeSource.NTP)
    assert line.due(0.0) == [(0, "1")]
    line.push("1", -36_000, 0.1, TimeSource.NTP)
    assert line.due(0.1) == [(-36_000, "1")]


def test_the_next_best_clock_takes_over() -> None:
    line = Line()
    line.push("1", 0, 0.0)
    line.push("2", 36_000, 0.1, TimeSource.NTP)
    assert line.counted["phasors_off_axis", "2"] == 1
    line.push("2", 36_060, 6.1, TimeSource.NTP)
    assert line.due(7.2)[-1] == (36_060, "2")


def test_an_unconfigured_box_is_left_out(line: Line) -> None:
    line.push("9", 1, 0.2)
    assert line.due(5.0) == []


@given(
    st.lists(
        st.tuples(st.sampled_from("123"), st.integers(0, 20), st.floats(0, 0.5), st.booleans()), max_size=60
    )
)
def test_instants_rise_and_phasors_leave_once(
    pushes: list[tuple[str, int, float, bool]],
) -> None:
    line = Line(wait_s=0.3)
    now_s = 0.0
    left: list[tuple[int, str]] = []
    accepted = set()
    for box_id, number, later_s, look in pushes:
        now_s += later_s
        late = line.counted["phasors_late", box_id]
        line.push(box_id, number, now_s)
        if line.counted["phasors_late", box_id] == late:
            accepted.add((number, box_id))
        if look:
            left += line.due(now_s)
    left += line.due(now_s + 1.0)
    assert [number for number, _ in left] == sorted({number for number, _ in left})
    assert {(number, box_id) for number, boxes in left for box_id in boxes} == accepted
    assert line.alignment.next_s() is None


@given(st.lists(st.tuples(st.sampled_from("123"), st.integers(1, 12), st.integers(0, 9)), max_size=40))
def test_nothing_is_due_right_after_a_look(
    pushed: list[tuple[str, int, int]],
) -> None:
    line = Line()
    now_s = 0.0
    for box_id, number, tenths in pushed:
        now_s += tenths / 10
        line.push(box_id, number, now_s)
        line.due(now_s)
        next_s = line.alignment.next_s()
        assert next_s is None or next_s > now_s
