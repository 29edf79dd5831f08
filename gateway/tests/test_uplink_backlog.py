"""What is to be sent again, and what an acknowledgement says: pure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opq_gateway.uplink.backlog import MOST_RANGES, CloudAcknowledgement, ResendBacklog, acknowledgement

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


def test_what_is_in_flight_is_not_taken_as_missing() -> None:
    backlog = ResendBacklog(in_flight_s=10.0)
    backlog.sent(5, 5, 0.0)
    backlog.sent(6, 8, 4.0)
    backlog.missed([(4, 10)], 9.9)
    assert due(backlog) == {4, 9, 10}
    backlog.missed([(4, 10)], 10.1)
    assert due(backlog) == {4, 5, 9, 10}
    backlog.lost()
    backlog.missed([(4, 10)], 10.2)
    assert due(backlog) == {4, 5, 6, 7, 8, 9, 10}


def test_numbers_sent_one_by_one_are_remembered_as_one_run_for_a_second() -> None:
    backlog = ResendBacklog(in_flight_s=10.0)
    for number in range(1000):
        backlog.sent(number, number, number / 100)
    assert len(backlog._flown) <= 11


def test_too_many_holes_become_fewer_and_none_is_forgotten() -> None:
    backlog = ResendBacklog()
    holes = [(10 * k, 10 * k) for k in range(MOST_RANGES + 50)]
    backlog.missed(holes, 0.0)
    assert {first for first, _ in holes} <= due(backlog)
    assert backlog.text().count(",") < MOST_RANGES


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("17", CloudAcknowledgement(17)),
        ("17,19-23,30-30", CloudAcknowledgement(17, ((19, 23), (30, 30)))),
        ("17,23-19", CloudAcknowledgement(17)),
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
