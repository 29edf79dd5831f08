"""What is to be sent again, and what an acknowledgement says: pure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opq_gateway.uplink.backlog import (
    MAX_RANGES,
    MAX_REMEMBERED_RUNS,
    CloudAcknowledgement,
    ResendBacklog,
    acknowledgement,
)

ranges = st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda r: (min(r), max(r)))
steps = st.lists(st.tuples(st.sampled_from(("add", "sent", "acknowledged")), ranges), max_size=30)


def due(backlog: ResendBacklog) -> set[int]:
    text = backlog.text()
    pairs = [tuple(map(int, part.split("-"))) for part in text.split(",") if text]
    return {n for first, last in pairs for n in range(first, last + 1)}


@given(steps)
def test_ranges_behave_like_a_set_of_numbers(taken: list[tuple[str, tuple[int, int]]]) -> None:
    backlog, expected = ResendBacklog(), set[int]()
    for what, (first, last) in taken:
        if what == "add":
            backlog.add(first, last)
            expected |= set(range(first, last + 1))
        elif what == "sent":
            backlog.sent(first, last, 0.0)
            expected -= set(range(first, last + 1))
        else:
            backlog.acknowledged(last)
            expected -= set(range(last + 1))
    assert due(backlog) == expected and bool(backlog) == bool(expected)
    restored = ResendBacklog()
    restored.restore(backlog.text())
    assert due(restored) == expected


def test_a_later_stored_one_proves_a_loss() -> None:
    backlog = ResendBacklog(in_flight_s=10.0)
    backlog.sent(5, 5, 0.0)
    backlog.sent(6, 8, 4.0)
    backlog.missed([(4, 10)], 3, 11, 9.9)
    assert due(backlog) == {4, 9, 10} and backlog.lost_s is None
    backlog.missed([(4, 10)], 3, 11, 3600.0)  # an hour late, and nothing sent later is stored
    assert due(backlog) == {4, 9, 10}
    backlog.missed([(4, 6), (8, 10)], 3, 11, 3600.1)  # 7 is stored: 8 may come yet
    assert due(backlog) == {4, 5, 6, 9, 10} and backlog.lost_s == 4.0
    backlog.lost()
    backlog.missed([(4, 10)], 3, 11, 3600.2)
    assert due(backlog) == {4, 5, 6, 7, 8, 9, 10}


def test_resent_ones_are_missing_after_newer_ones() -> None:
    """Old ones sent after new ones are missing only when newer ones are stored."""
    backlog = ResendBacklog(in_flight_s=10.0)
    backlog.add(1, 99)
    backlog.sent(100, 100, 0.0)
    backlog.sent(1, 99, 1.0)
    backlog.missed([(1, 99)], 0, 100, 60.0)  # 100 overtook them
    assert not backlog
    backlog.sent(101, 101, 60.0)
    backlog.missed([(41, 99)], 40, 100, 61.0)
    assert not backlog
    backlog.missed([(41, 99), (102, 102)], 40, 103, 80.0)  # 101 was sent after 41 to 99, and is stored
    assert due(backlog) == {*range(41, 100), 102}


def test_twice_lost_ones_go_a_third_time() -> None:
    backlog = ResendBacklog(in_flight_s=10.0)
    backlog.sent(1, 50, 0.0)
    backlog.sent(10, 19, 100.0)  # again, and lost again
    backlog.sent(51, 51, 120.0)
    backlog.missed([(10, 19)], 9, 50, 130.0)
    assert not backlog
    backlog.missed([(10, 19)], 9, 51, 131.0)
    assert due(backlog) == set(range(10, 20))


def test_a_vague_cloud_misses_after_ten_seconds() -> None:
    backlog = ResendBacklog(in_flight_s=10.0)
    backlog.sent(5, 5, 0.0)
    backlog.sent(6, 8, 4.0)
    backlog.missed([(4, 10)], 3, None, 10.1)
    assert due(backlog) == {4, 5, 9, 10}


def test_remembered_runs_are_bounded() -> None:
    backlog = ResendBacklog(in_flight_s=10.0)
    for number in range(3600):
        backlog.sent(number, number, float(number))
    assert len(backlog._flown) == MAX_REMEMBERED_RUNS
    backlog.missed([(0, 3500)], -1, 3590, 3600.0)
    assert due(backlog) == set(range(3501))


def test_single_numbers_join_into_runs() -> None:
    backlog = ResendBacklog(in_flight_s=10.0)
    for number in range(1000):
        backlog.sent(number, number, number / 100)
    assert len(backlog._flown) <= 11


def test_excess_holes_are_merged() -> None:
    backlog = ResendBacklog()
    holes = [(10 * k, 10 * k) for k in range(MAX_RANGES + 50)]
    backlog.missed(holes, 0, 10**6, 0.0)
    assert {first for first, _ in holes} <= due(backlog)
    assert backlog.text().count(",") < MAX_RANGES


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("17", CloudAcknowledgement(17)),
        ("17,19-23,30-30", CloudAcknowledgement(17, ((19, 23), (30, 30)))),
        ("17,23-19", CloudAcknowledgement(17)),
        ("17,19-23,41-40", CloudAcknowledgement(17, ((19, 23),), 40)),
        ("0", CloudAcknowledgement(0)),
        ("", None),
        ("17,", None),
        ("-1", None),
        ("17,19", None),
        ("17, 19-23", None),
        ("١٧", None),
        ("9999999999999999999", None),
        ("17\n", None),
    ],
)
def test_an_acknowledgement_is_read_or_is_none(text: str, expected: CloudAcknowledgement | None) -> None:
    assert acknowledgement(text) == expected


@given(st.text(max_size=40))
def test_no_text_of_a_cloud_brings_it_down(text: str) -> None:
    acknowledgement(text)
    backlog = ResendBacklog()
    backlog.restore(text)
