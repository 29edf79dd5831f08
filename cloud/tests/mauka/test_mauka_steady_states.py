"""Steady states: which waveforms of one Box show the same one, and when it was over."""

from dataclasses import replace
from itertools import islice, permutations

import pytest
from joining_table import MS, Table

from opq_cloud.mauka.reanalysis.replacing import ReplacedEvent, Replacement, plan_replacement
from opq_cloud.operations.incident_edits import plan_split
from opq_cloud.store.box_place import BoxPlace
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, Finding

PLACES = {
    "1": BoxPlace(place="church", feeder="feeder1", region="island"),
    "2": BoxPlace(place="church", feeder="feeder1", region="island"),
    "3": BoxPlace(place="school", feeder="feeder1", region="island"),
    "10": BoxPlace(place="mill", feeder="feeder2", region="island"),
    "20": BoxPlace(grid="other"),
}


def state(start_s: int, end_s: int, closed: bool, onset_seen: bool, box_id: str = "1") -> Finding:
    return Finding(
        "flicker", box_id, start_s * 1000 * MS, end_s * 1000 * MS, 0, closed=closed, onset_seen=onset_seen
    )


def test_a_continuing_steady_state_is_one_incident() -> None:
    """A steady state that goes on between its waveforms is one incident."""
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
        (state(0, 5, False, True), state(36, 40, False, False)),  # the time without a waveform is too long
        (state(0, 5, False, True), replace(state(30, 40, False, False), kind="noise")),
    ],
)
def test_an_interrupted_steady_state_is_two(before: Finding, after: Finding) -> None:
    """It ended, or nothing was measured meanwhile."""
    table = Table()
    table.put([after])
    table.put([before])
    assert table.incidents() == {frozenset({before}), frozenset({after})}


def test_rising_harmonics_are_another_incident() -> None:
    """What continues after them belongs to it."""
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


def test_a_short_pause_does_not_end_it() -> None:
    """A pause of 3 s does not end a disturbance, nor do the pauses of a telegram."""

    def incidents(kind: str, pause_s: int) -> int:
        table = Table()
        for one in (state(0, 5, True, True), state(5 + pause_s, 20, True, True)):
            table.put([replace(one, kind=kind)])
        return len(table.incidents())

    assert [incidents("flicker", pause_s) for pause_s in (3, 4)] == [1, 2]
    assert [incidents("mains_signalling", pause_s) for pause_s in (10, 11)] == [1, 2]


def test_unkeyed_telegram_pulses_are_one_line() -> None:
    """No waveform shows the keying."""

    def incidents(*lines_hz: float) -> int:
        table = Table()
        for number, line_hz in enumerate(lines_hz):
            pulse = state(6 * number, 6 * number + 1, False, True)
            table.put([replace(pulse, kind="interharmonics", figures=(("interharmonic_hz", line_hz),))])
        return len(table.incidents())

    assert incidents(175.0, 175.01, 174.99) == 1
    assert incidents(175.0, 216.7) == incidents(175.0, 216.7, 216.7) == 2


def test_a_shown_end_separates_parts() -> None:
    first, end, last = state(0, 5, False, True), state(12, 15, True, False), state(30, 36, False, False)
    for order in permutations([first, end, last]):
        table = Table()
        for one in order:
            table.put([one])
        assert table.incidents() == {frozenset({first, end}), frozenset({last})}


def test_hand_placed_parts_take_their_continuation() -> None:
    """Parts of a steady state that were placed by hand stay and take what goes on with them."""
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


def line(box_id: str, start_ms: int, end_ms: int, hz: float = 216.67, percent: float = 2.0) -> Finding:
    """A part of a telegram that ends within the first pulse."""
    figures = (("interharmonic_hz", hz), ("interharmonic_percent_max", percent))
    return Finding(
        "interharmonics",
        box_id,
        start_ms * MS,
        end_ms * MS,
        100,
        closed=False,
        figures=figures,
        because="2 %",
    )


def telegram(box_id: str, start_ms: int, end_ms: int, hz: float = 216.67, percent: float = 2.0) -> Finding:
    figures = (("signal_hz", hz), ("signal_percent", percent))
    return Finding("mains_signalling", box_id, start_ms * MS, end_ms * MS, 100, figures=figures)


def classes(table: Table) -> dict[str, set[str]]:
    """Box -> all that it is called."""
    found: dict[str, set[str]] = {}
    for known in table.known.values():
        found.setdefault(known.finding.box_id, set()).add(known.finding.kind)
    return found


def test_one_state_at_several_boxes_is_one() -> None:
    """One state at several Boxes of a grid is one incident with scope and each end."""
    parts = [replace(state(0, 5 + n, True, True, box_id), start_ns=n * MS) for n, box_id in enumerate(PLACES)]
    for order in islice(permutations(parts), 0, None, 3):
        table = Table(PLACES)
        for one in order:
            table.put([one])
        assert table.incidents() == {frozenset(parts[:4]), frozenset(parts[4:])}, "another grid is apart"
        facts = max(table.facts.values(), key=lambda each: each.boxes)
        assert (facts.boxes, facts.scope, facts.end_ns) == (4, "region", 8000 * MS)
        assert [each.box_id for each in facts.arrivals] == ["1", "2", "3", "10"]


@pytest.mark.parametrize(
    ("later", "incidents"),
    [
        (state(0, 5, True, True, "2"), 1),
        (replace(state(0, 5, True, True, "2"), start_ns=300 * MS), 1),  # as finely as it is detected
        (replace(state(0, 5, True, True, "2"), start_ns=301 * MS), 2),  # it began apart
        (replace(state(0, 5, True, True, "2"), start_ns=301 * MS, uncertainty_ns=MS), 1),
        (replace(state(0, 5, True, True, "2"), uncertainty_ns=UNKNOWN_UNCERTAINTY_NS), 2),
        (state(2, 5, True, False, "2"), 1),  # its waveform begins later, and the other's lasts
        (state(3, 5, True, False, "2"), 2),
        (replace(state(0, 5, True, True, "2"), kind="noise"), 2),
        (state(2, 5, True, False, "1"), 1),  # the same Box
    ],
)
def test_a_different_beginning_or_class_stays_apart(later: Finding, incidents: int) -> None:
    for order in permutations([state(0, 4, True, True), later]):
        table = Table()
        for one in order:
            table.put([one])
        assert len(table.incidents()) == incidents


def test_beginnings_do_not_chain_from_box_to_box() -> None:
    parts = [replace(state(0, 5, True, True, str(n)), start_ns=200 * n * MS) for n in range(5)]
    for order in permutations(parts):
        table = Table()
        for one in order:
            table.put([one])
        assert table.incidents() == {frozenset(parts[:2]), frozenset(parts[2:4]), frozenset(parts[4:])}


def test_a_line_with_keyed_neighbours_is_telegram() -> None:
    """A line with another frequency or beginning is neither in its incident nor named so."""
    keyed = [telegram("1", 0, 6000), telegram("2", 1, 6000)]
    lines = [line("1", 0, 1100), line("3", 0, 1100), line("10", 200, 1100)]
    others = [line("2", 0, 1100, hz=175.0), line("3", 30_000, 31_000)]
    seen = set()
    for order in islice(permutations([*keyed, *lines, *others]), 0, None, 31):
        table = Table(PLACES)
        for number, one in enumerate(order[:2]):
            table.put([one], number)
        table.put(list(order[2:]), 3)
        seen.add(frozenset(table.contents()))
    assert len(seen) == 1
    assert sorted(len({one.box_id for one in group}) for group in table.incidents()) == [1, 1, 4]
    whole = max(table.facts.values(), key=lambda facts: facts.boxes)
    assert (whole.kinds, whole.kind, whole.scope) == (("mains_signalling",), "mains_signalling", "region")
    (third,) = (known for known in table.known.values() if known.finding.box_id == "10")
    assert third.finding.figures == (("signal_hz", 216.67), ("signal_percent", 2.0))
    assert third.finding.because == "2 %; another waveform shows that it is keyed"
    assert not third.finding.closed, "its own end"
    assert classes(table)["2"] == {"mains_signalling", "interharmonics"}, "two lines at one Box"


def test_a_line_returns_to_its_name() -> None:
    """A line has its own name again where no waveform shows the keying any more."""
    table = Table()
    table.put([line("1", 0, 1100), line("2", 0, 1100)], 1)
    table.put([telegram("2", 0, 6000)], 2)
    assert classes(table) == {"1": {"mains_signalling"}, "2": {"mains_signalling"}}
    gone = ReplacedEvent(2, 0, 6000 * MS, ("2",), ())
    plan, _ = plan_replacement(table, Replacement((gone,), frozenset(), True), table.place_of)
    assert plan.removed == (), "the other event still shows a line at Box 2"
    both = [ReplacedEvent(1, 0, 1100 * MS, ("1", "2"), (line("1", 0, 1100), line("2", 0, 1100))), gone]
    plan, _ = plan_replacement(table, Replacement(tuple(both), frozenset(), True), table.place_of)
    table.carry_out(plan)
    assert classes(table) == {"1": {"interharmonics"}, "2": {"interharmonics"}}
    assert table.incidents() == {frozenset({line("1", 0, 1100), line("2", 0, 1100)})}


def test_a_split_state_stays_split() -> None:
    """A person split it; new Boxes join the nearest part."""
    table = Table(PLACES)
    table.put([telegram("1", 0, 6000), telegram("2", 10, 6000), line("3", 10, 1100)])
    (apart,) = (number for number, known in table.known.items() if known.finding.box_id == "1")
    table.carry_out(plan_split(table, 1, [apart], table.place_of))
    table.put([telegram("1", 0, 6000), telegram("2", 10, 6000), line("3", 10, 1100)], 2)
    table.put([line("10", 11, 1100)], 3)
    boxes = sorted(sorted(one.box_id for one in group) for group in table.incidents())
    assert boxes == [["1"], ["10", "2", "3"]]
    assert set().union(*classes(table).values()) == {"mains_signalling"}


def test_a_large_state_grows_unread() -> None:
    """A state of many Boxes grows without being read."""
    table = Table()
    table.put([state(0, 5, True, True, "0")])
    for n in range(1, 300):
        table.put([replace(state(0, 5, True, True, str(n)), start_ns=n % 150 * MS)])
    table.read = 0
    table.put([replace(state(0, 5, True, True, "late"), start_ns=77 * MS)])
    (facts,) = table.facts.values()
    assert facts.boxes == 301
    assert table.read <= 1200, "the onsets, and not all findings"
