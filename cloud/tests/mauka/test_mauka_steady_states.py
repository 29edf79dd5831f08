"""Steady states: which waveforms of one Box show the same one, and when it was over."""

from dataclasses import replace
from itertools import permutations

import pytest
from joining_table import MS, Table

from opq_proto.messages import Finding


def state(start_s: int, end_s: int, closed: bool, onset_seen: bool, box_id: str = "1") -> Finding:
    return Finding(
        "flicker", box_id, start_s * 1000 * MS, end_s * 1000 * MS, 0, closed=closed, onset_seen=onset_seen
    )


def test_a_steady_state_that_goes_on_between_its_waveforms_is_one_incident() -> None:
    first, second, last = state(0, 5, False, True), state(30, 40, False, False), state(65, 70, True, False)
    other_box = state(30, 40, False, False, "2")
    for order in permutations([first, second, last, other_box]):
        table = Table()
        for one in order:
            table.put([one])
        assert table.incidents() == {frozenset({first, second, last}), frozenset({other_box})}
        (facts,) = (each for each in table.facts.values() if each.start_ns == 0)
        assert (facts.end_ns, facts.closed, facts.boxes) == (70_000 * MS, True, 1)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (state(0, 5, True, True), state(30, 40, False, False)),  # its end was seen
        (state(0, 5, False, True), state(30, 40, False, True)),  # its beginning was
        (state(0, 5, False, True), state(36, 40, False, False)),  # for too long nobody looked
        (state(0, 5, False, True), replace(state(30, 40, False, False), kind="noise")),
    ],
)
def test_a_steady_state_that_ended_or_was_not_looked_at_is_two(before: Finding, after: Finding) -> None:
    table = Table()
    table.put([after])
    table.put([before])
    assert table.incidents() == {frozenset({before}), frozenset({after})}


def test_harmonics_that_rise_above_lasting_ones_are_an_incident_of_their_own() -> None:
    """And what goes on after them goes on with them."""
    lasting = Finding("harmonics", "1", 0, 5000 * MS, 0, closed=False)
    before = replace(lasting, start_ns=12_000 * MS, end_ns=14_000 * MS, closed=True, onset_seen=False)
    risen = replace(
        lasting, start_ns=14_200 * MS, end_ns=16_000 * MS, figures=(("thd_percent_before", 11.0),)
    )
    after = replace(before, start_ns=30_000 * MS, end_ns=31_000 * MS)
    for order in permutations([lasting, before, risen, after]):
        table = Table()
        for one in order:
            table.put([one])
        assert table.incidents() == {frozenset({lasting, before}), frozenset({risen, after})}


def test_a_pause_of_3_s_is_none_nor_are_those_of_a_telegram() -> None:
    def incidents(kind: str, pause_s: int) -> int:
        table = Table()
        for one in (state(0, 5, True, True), state(5 + pause_s, 20, True, True)):
            table.put([replace(one, kind=kind)])
        return len(table.incidents())

    assert [incidents("flicker", pause_s) for pause_s in (3, 4)] == [1, 2]
    assert [incidents("mains_signalling", pause_s) for pause_s in (10, 11)] == [1, 2]


def test_pulses_of_a_telegram_of_which_no_waveform_shows_the_keying_are_one_line() -> None:
    def incidents(*lines_hz: float) -> int:
        table = Table()
        for number, line_hz in enumerate(lines_hz):
            pulse = state(6 * number, 6 * number + 1, False, True)
            table.put([replace(pulse, kind="interharmonics", figures=(("interharmonic_hz", line_hz),))])
        return len(table.incidents())

    assert incidents(175.0, 175.01, 174.99) == 1
    assert incidents(175.0, 216.7) == incidents(175.0, 216.7, 216.7) == 2


def test_a_part_that_shows_an_end_between_two_others_parts_them_again() -> None:
    first, end, last = state(0, 5, False, True), state(12, 15, True, False), state(30, 36, False, False)
    for order in permutations([first, end, last]):
        table = Table()
        for one in order:
            table.put([one])
        assert table.incidents() == {frozenset({first, end}), frozenset({last})}


def test_parts_of_a_steady_state_that_were_placed_by_hand_stay_and_take_what_goes_on_with_them() -> None:
    first, second, third = (state(start, start + 5, False, start == 0) for start in (0, 30, 60))
    table = Table()
    table.put([first, second])
    (one, other) = sorted(table.known.values(), key=lambda known: known.finding.start_ns)
    table.known[other.finding_id] = replace(other, incident_id=7, by_hand=True)
    table.known[one.finding_id] = replace(one, by_hand=True)
    table.facts[7] = table.facts[one.incident_id]
    table.put([third])
    assert table.incidents() == {frozenset({first}), frozenset({second, third})}
    assert {known.incident_id for known in table.known.values()} == {1, 7}
