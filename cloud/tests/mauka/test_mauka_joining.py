"""The joining rule: the same result in any order, and nothing new from a repeat."""

from dataclasses import replace
from itertools import permutations
from random import Random
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from joining_table import MS, Table, sag

from opq_cloud.mauka.joining.clusters import same
from opq_cloud.mauka.joining.onset_rule import REACH_NS, one_onset
from opq_cloud.mauka.measuring.lines import same_line
from opq_cloud.mauka.measuring.sightings import LATE_STEADY_NS, family, kept
from opq_cloud.store.box_place import BoxPlace
from opq_cloud.store.incidents.box_events import is_steady
from opq_cloud.store.incidents.join_plan import (
    FindingOnset,
    KnownFinding,
    incident_of,
    onset,
)
from opq_measure.analysis.lasting_conditions import THD_BEFORE
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, Finding, WaveformAlignment

CYCLE_NS = 20 * MS


LINE_HZ = {"interharmonics": "interharmonic_hz", "mains_signalling": "signal_hz"}
findings = st.builds(
    lambda kind, box_id, start, length, uncertainty, percent, cycles, closed, seen, clock, by, began, hz: (
        replace(
            sag(start, start + length, box_id, uncertainty),
            kind=kind,
            figures=((LINE_HZ[kind], hz),) if kind in LINE_HZ else (),
            residual_percent=percent,
            residual_v=None if percent is None else percent * 1.2,
            duration_cycles=cycles,
            closed=closed,
            onset_seen=seen,
            because=f"{percent}",
            clock_id=clock,
            uncertainty_ns=UNKNOWN_UNCERTAINTY_NS if uncertainty > 1000 else uncertainty * MS,
            alignment=by,
            samples_began_ns=None if box_id in ("1", "4") else began * MS,  # those number no samples
            start_id=-began if box_id in ("2", "4") else None,  # those name their starts
        )
    ),
    st.sampled_from(
        ["sag", "interruption", "undervoltage", "swell", "phase_jump", "harmonics", "harmonics", *LINE_HZ]
    ),
    st.sampled_from(["1", "2", "3", "4"]),
    st.integers(0, 30).map(lambda step: 97 * step) | st.integers(0, 70_000) | st.sampled_from([2000, 4000]),
    st.integers(0, 400) | st.integers(59_000, 61_000) | st.just(2000),
    st.sampled_from([0, 0, 1, 30, 200, 900, UNKNOWN_UNCERTAINTY_NS // MS]),
    st.none() | st.integers(0, 180).map(float),
    st.none() | st.integers(0, 30).map(float),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, None, 7]),
    st.none() | st.sampled_from([1, 5 * MS]).map(lambda ns: WaveformAlignment("1", 0, ns, 0, 9, "compared")),
    st.sampled_from([-900_000, -900_000, -860_000]),
    st.sampled_from([175.0, 175.2, 216.67]),
)
steady = st.builds(
    lambda kind, hz, box_id, start, length, uncertainty, closed, seen, risen: Finding(
        kind,
        box_id,
        start * MS,
        (start + length) * MS,
        uncertainty * MS,
        closed=closed,
        onset_seen=seen,
        figures=((LINE_HZ[kind], hz),) if kind in LINE_HZ else ((THD_BEFORE, 9.0),) if risen else (),
    ),
    st.sampled_from(["harmonics", *LINE_HZ, *LINE_HZ]),
    st.sampled_from([175.0, 175.2, 216.67]),
    st.sampled_from(["1", "2", "3", "4"]),
    st.integers(0, 40).map(lambda step: 97 * step) | st.integers(0, 70_000),
    st.integers(0, 400) | st.integers(5_000, 40_000) | st.just(2000),
    st.sampled_from([0, 0, 1, 30, 900]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([False, False, False, True]),
)
"""Parts of steady states: many that begin close to each other, and go on with each other."""
WITHIN_A_LONGER_PART = [
    sag(0, 59_000, "2", kind="harmonics", onset_seen=False, closed=True, samples_began_ns=-860_000 * MS),
    sag(97, 2_097, "2", kind="harmonics", onset_seen=False, closed=False, samples_began_ns=-900_000 * MS),
]
"""A state that is over, and a part of it by samples of another start, which ends earlier and is open."""
SET_BACK = [
    *[sag(0, 0, "1")] * 5,
    sag(0, 0, "3", samples_began_ns=-900_000 * MS),
    sag(0, 2000, "3", samples_began_ns=-860_000 * MS),
]
"""Two sags of a Box begin at one time, by a clock that was set between them; only the first joins Box 1."""
PLACES = {
    "1": BoxPlace("1", "mill", "feeder1", "valley", latitude=46.5, longitude=7.25),
    "2": BoxPlace("1", "farm", "feeder1", "valley"),
    "3": BoxPlace("1", "town", "feeder2", "hills", latitude=46.75, longitude=7.5),
    "4": BoxPlace("2"),
    "5": BoxPlace("1", "port", "feeder3", "coast", ("hills", "valley")),
}


def test_moved_findings_may_be_a_minute_away() -> None:
    """Box 1's dip joins that of Box 2 a moment before it, while another of Box 1 comes a minute later."""
    table = Table()
    table.put([sag(1, 1, "1")], 1)
    table.put([sag(0, 0, "2"), sag(61_101, 61_101, "1")], 2)
    other = Table()
    other.put([sag(0, 0, "2"), sag(1, 1, "1"), sag(61_101, 61_101, "1")])
    assert table.contents() == other.contents()


def test_a_finding_moved_twice_goes_home() -> None:
    """It is seen again, and moved by another one, in one plan."""
    early, middle, late = (sag(start, start, "3") for start in (291, 358, 1358))
    together, in_parts = Table(), Table()
    together.put([early, middle, replace(late, closed=True)])
    in_parts.put([late, middle])
    in_parts.put([early, replace(late, closed=True)])
    assert in_parts.contents() == together.contents()
    assert frozenset({replace(late, closed=True)}) in in_parts.incidents()


def test_an_unread_first_finding_keeps_its_incident() -> None:
    """An incident whose first finding lies before what is read again stays as it is."""
    table = Table()
    for one in (sag(0, 0), sag(97, 97), sag(6001, 6001), sag(5981, 5981, uncertainty_ms=30)):
        table.put([one])
    assert {len(group) for group in table.incidents()} == {1, 2}


@example(WITHIN_A_LONGER_PART, Random(1))
@example(SET_BACK, Random(1))
@given(st.lists(findings, max_size=10) | st.lists(steady, max_size=12), st.randoms(use_true_random=False))
@settings(max_examples=160, deadline=None)
def test_neither_order_nor_repetition_nor_grouping_matters(items: list[Finding], chance: Any) -> None:
    together, in_parts = Table(PLACES), Table(PLACES)
    with patch("opq_cloud.mauka.joining.incident_facts.ARRIVALS_LISTED", chance.choice([1, 2, 50])):
        if items:
            together.put(items)
        shuffled = [*items, *chance.sample(items, len(items) // 2)]
        chance.shuffle(shuffled)
        while shuffled:
            some = chance.randint(1, 3)
            in_parts.put(shuffled[:some])
            del shuffled[:some]
    assert in_parts.contents() == together.contents()


@pytest.mark.parametrize("named", [False, True], ids=["by their axes", "by their starts"])
@pytest.mark.parametrize("deeper", ["sag", "interruption"])
def test_a_growing_sag_keeps_its_order(deeper: str, named: bool) -> None:
    """Of two sags that a Box has at one time by two starts, the one that grows is the later one at last."""
    before, after = (
        {"samples_began_ns": None if named else began * MS, "start_id": -began if named else None}
        for began in (-900_000, -860_000)
    )
    items = [sag(0, 0, "1"), sag(0, 10, "3", **before), sag(0, 5, "3", **after)]
    items.append(sag(0, 20, "3", kind=deeper, **after))
    together = Table()
    together.put(items)
    for order in permutations(items):
        in_parts = Table()
        for one in order:
            in_parts.put([one])
        assert in_parts.contents() == together.contents()


@given(st.lists(findings, min_size=1, max_size=10) | st.lists(steady, min_size=1, max_size=12))
@settings(max_examples=80, deadline=None)
def test_a_repeat_gives_the_same_answer(items: list[Finding]) -> None:
    """A repeat changes nothing and gets the same answer."""
    table = Table(PLACES)
    table.put(items)
    first = table.answer.stored
    again = table.put(items)
    assert not again.changes
    assert table.answer.stored == first


@given(st.lists(findings, min_size=1, max_size=8) | st.lists(steady, min_size=1, max_size=10))
@settings(max_examples=80, deadline=None)
def test_stored_findings_cover_the_new_ones(items: list[Finding]) -> None:
    """Stored spans are disjoint and cover all that was put."""
    table = Table()
    for item in items:
        table.put([item])
    stored = list(table.known.values())
    for place, one in enumerate(stored):
        for other in stored[place + 1 :]:
            assert not same(one.finding, other.finding)
            if one.incident_id == other.incident_id:
                same_state = one.finding.kind == other.finding.kind and same_line(one.finding, other.finding)
                near = abs(one.finding.start_ns - other.finding.start_ns) <= REACH_NS
                assert same_state if is_steady(one.finding.kind) or is_steady(other.finding.kind) else near
    for number, facts in table.facts.items():
        begun: dict[str, int] = {}
        for known in table.findings_of_incident(number):
            one = known.finding
            begun[one.box_id] = min(one.start_ns, begun.get(one.box_id, one.start_ns))
        assert max(begun.values()) - facts.start_ns <= REACH_NS, "a Box that begins apart stays apart"
    for item in items:
        late_ns = LATE_STEADY_NS if is_steady(item.kind) and not item.onset_seen else CYCLE_NS
        holders = [
            known
            for known in stored
            if known.finding.box_id == item.box_id
            and family(known.finding.kind) == family(item.kind)
            and known.finding.start_ns - late_ns <= item.start_ns
            and item.end_ns <= known.finding.end_ns + CYCLE_NS
        ]
        assert len(holders) >= 1


@given(st.lists(findings, min_size=1, max_size=6), st.lists(findings, min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_kept_sightings_do_not_depend_on_order(some: list[Finding], others: list[Finding]) -> None:
    assert set(kept([*kept(some), *others])) == set(kept([*some, *others]))
    assert kept(kept(some)) == kept(some)


@given(st.lists(findings, max_size=8))
@settings(max_examples=40, deadline=None)
def test_a_duration_never_contradicts_its_span(items: list[Finding]) -> None:
    """At 60 Hz throughout; a cycle at either end is the sharpness of the rule."""
    table = Table()
    for item in items:
        cycles = (item.end_ns - item.start_ns) * 60 / 1e9
        table.put([replace(item, duration_cycles=cycles)])
    for known in table.known.values():
        length = (known.finding.end_ns - known.finding.start_ns) * 60 / 1e9
        assert known.finding.duration_cycles == pytest.approx(length)


def test_the_joining_gap_includes_both_uncertainties() -> None:
    """The gap that still joins is 200 ms plus both uncertainties."""
    left = onset(KnownFinding(1, 1, (1,), sag(0, 100, "1", uncertainty_ms=3)))

    def right(start_ms: int, **more: Any) -> FindingOnset:
        return replace(onset(KnownFinding(2, 2, (1,), sag(start_ms, 9000, "2", uncertainty_ms=4))), **more)

    assert one_onset(left, right(207))
    assert not one_onset(left, right(208))
    assert one_onset(left, right(2000, uncertainty_ns=3000 * MS))
    assert not one_onset(left, right(2001, uncertainty_ns=3000 * MS)), "2 s at most"
    assert not one_onset(left, right(0, uncertainty_ns=UNKNOWN_UNCERTAINTY_NS)), "the order is unknown"
    by_one_clock = replace(left, clock_id=5)
    assert one_onset(by_one_clock, right(220, uncertainty_ns=UNKNOWN_UNCERTAINTY_NS, clock_id=5))
    assert not one_onset(by_one_clock, right(221, uncertainty_ns=UNKNOWN_UNCERTAINTY_NS, clock_id=5))
    assert not one_onset(by_one_clock, right(0, uncertainty_ns=UNKNOWN_UNCERTAINTY_NS, clock_id=6))


def test_a_delayed_frequency_deviation_joins() -> None:
    """A frequency that some Boxes show a second later is one deviation."""

    def incidents(first: str, later: str, apart_ms: int) -> int:
        table = Table()
        table.put([sag(0, 5000, "1", kind=first), sag(apart_ms, 5000, "2", kind=later)])
        return len(table.incidents())

    assert incidents("frequency_deviation", "frequency_deviation", 1200) == 1
    assert incidents("frequency_deviation", "frequency_deviation", 1201) == 2
    assert incidents("frequency_deviation", "sag", 201) == incidents("sag", "frequency_deviation", 201) == 2


def test_overlap_is_no_reason() -> None:
    table = Table()
    table.put([sag(0, 60_000, "1", kind="undervoltage"), sag(3000, 9000, "2", kind="overvoltage")])
    assert len(table.incidents()) == 2


def test_a_dip_does_not_join_lasting_harmonics() -> None:
    table = Table()
    table.put([sag(0, 3_600_000, kind="harmonics"), sag(100, 200)])
    assert len(table.incidents()) == 2


def test_joining_does_not_chain() -> None:
    table = Table()
    table.put([sag(150 * n, 150 * n + 50, str(n)) for n in range(1, 7)])
    spans = sorted(sorted(one.start_ns // MS for one in group) for group in table.incidents())
    assert spans == [[150, 300], [450, 600], [750, 900]]


def test_a_follower_is_compound_or_names_it() -> None:
    """A disturbance within 1 s of another is a compound; within 60 s it names the other."""
    table = Table()
    jump = sag(900, 900, kind="phase_jump")
    table.put([sag(0, 100), jump, sag(1500, 1600), sag(59_000, 59_100), sag(200_000, 200_100)])
    starts = {
        number: sorted(known.finding.start_ns // MS for known in table.findings_of_incident(number))
        for number in table.facts
    }
    assert starts == {1: [0, 900], 2: [1500], 3: [59_000], 4: [200_000]}
    assert [table.facts[number].follows for number in (1, 2, 3, 4)] == [None, 1, 2, None]


def test_a_disturbance_names_its_predecessor() -> None:
    """A disturbance that begins at another's end names it, not a shorter one between."""
    table = Table()
    table.put([sag(0, 15_000), sag(2000, 2010, kind="oscillatory_transient"), sag(4000, 4010, kind="swell")])
    table.put([sag(15_000, 15_000, kind="phase_jump")])
    assert [table.facts[number].follows for number in (1, 2, 3, 4)] == [None, 1, 2, 1]


@pytest.mark.parametrize("beside", [0, 20, 80])
def test_the_end_is_known_at_any_box(beside: int) -> None:
    """A neutral is lost at Boxes 3 and 4, and a fault ends what Box 3 had. Boxes with no past lead."""
    lost = [sag(0, 11_000, "3", kind="swell"), sag(0, 15_000, "4")]
    fault = [sag(11_000, 11_250, box_id) for box_id in ("1", "2", "3")]
    back = [sag(15_000, 15_000, box_id, kind="phase_jump") for box_id in ("3", "4")]
    others = [sag(15_000, 15_200, str(n)) for n in range(10, 10 + beside)]
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)):
        table = Table()
        for each in order:
            table.put([lost, fault, [*back, *others]][each])
        starts = {number: facts.start_ns // MS for number, facts in table.facts.items()}
        follows = {starts[n]: facts.follows and starts[facts.follows] for n, facts in table.facts.items()}
        assert follows == {0: None, 11_000: 0, 15_000: 0}


def test_a_common_moment_joins_no_earlier_disturbance() -> None:
    """A disturbance that begins at many Boxes is not part of an earlier one at one Box."""
    island = sag(0, 0, "9", kind="phase_jump")
    fault = [sag(860, 1350, box_id) for box_id in ("1", "2", "9")]
    cleared = [sag(1350, 1350, box_id, kind="phase_jump") for box_id in ("1", "9")]
    for order in permutations([island, *fault, *cleared]):
        table = Table()
        for finding in order:
            table.put([finding])
        assert table.incidents() == {frozenset({island}), frozenset({*fault, *cleared})}


def test_unknown_moments_leave_a_compound_whole() -> None:
    """A moment that the clocks do not resolve does not divide a compound disturbance."""
    table = Table()
    own = [sag(0, 100, "9", uncertainty_ms=15), sag(860, 900, "9", uncertainty_ms=15)]
    table.put([*own, sag(860, 900, "1", uncertainty_ms=15)])
    assert frozenset(own) in table.incidents()


def test_boxes_of_two_grids_have_two_incidents() -> None:
    table = Table({"2": BoxPlace("island")})
    table.put([sag(0, 100, "1"), sag(0, 100, "2"), sag(1, 100, "3")])
    assert sorted(facts.boxes for facts in table.facts.values()) == [1, 2]


def test_a_late_early_onset_takes_others() -> None:
    table = Table()
    table.put([sag(200, 300, "2")])
    table.put([sag(390, 500, "3")])
    assert len(table.incidents()) == 1
    table.put([sag(0, 100, "1")])
    assert {known.finding.box_id: known.incident_id for known in table.known.values()} == {
        "1": 1,
        "2": 1,
        "3": 2,
    }


def test_a_hand_placed_finding_takes_others() -> None:
    table = Table()
    table.put([sag(0, 100, "1"), sag(900, 1000, "2")])
    assert {known.incident_id for known in table.known.values()} == {1, 2}
    for number, known in list(table.known.items()):  # merged by hand
        table.known[number] = replace(known, incident_id=1, leads=True, by_hand=True)
    table.facts.pop(2)
    table.put([sag(950, 1000, "3")])
    table.put([sag(-100, 0, "4")])
    merged = [known for known in table.known.values() if known.incident_id == 1]
    assert {known.finding.box_id for known in merged} == {"1", "2", "3"}


def test_a_large_incident_grows_unread() -> None:
    """An incident of many Boxes grows without being read."""
    table = Table()
    table.put([sag(0, 100, "0")])
    for n in range(1, 300):
        table.put([sag(n % 150, 400, str(n))])
    table.read = 0
    table.put([sag(77, 400, "late")])
    (facts,) = table.facts.values()
    assert (facts.boxes, len(facts.arrivals)) == (301, 50)
    assert table.read <= 1200, "a number that does not grow with each finding read"


def test_facts_do_not_depend_on_order() -> None:
    """The result for many findings depends on neither their order nor their grouping."""
    places = {str(n): BoxPlace(place=f"p{n % 40}", feeder=f"f{n % 3}" if n % 7 else None) for n in range(230)}
    items = [
        sag(n % 90, 300 + n % 11, str(n), n % 5, residual_percent=30.0 + n % 60, closed=n != 77)
        for n in range(230)
    ]
    said = set()
    for step, turned in ((230, False), (230, True), (101, False), (7, True)):
        table, order = Table(places), items[::-1] if turned else items
        for first in range(0, len(order), step):
            table.put(order[first : first + step])
        (facts,) = table.facts.values()
        said.add(facts)
    assert len(said) == 1 and facts.boxes == 230 and not facts.closed


@pytest.mark.parametrize("reference_ns", [0, UNKNOWN_UNCERTAINTY_NS])
def test_a_box_keeps_its_incident(reference_ns: int) -> None:
    """Clocks are unknown: the first event's waveforms were compared, the completing one has one Box."""
    unknown = {"uncertainty_ns": UNKNOWN_UNCERTAINTY_NS}
    by = WaveformAlignment("1", 40_000, 4_800_000, reference_ns, 77, "by their waveforms")
    if reference_ns:
        shown = {**unknown, "clock_id": 77, "alignment": by}
        first = sag(0, 150, "1", **shown)
    else:
        shown = {"uncertainty_ns": 5 * MS, "alignment": by}
        first = sag(0, 150, "1")
    compared = [first, sag(3, 160, "4", closed=False, **shown)]
    longer = sag(3, 6000, "4", **unknown)
    for order in permutations([compared, [longer], [longer]]):
        table = Table()
        for number, findings_of_event in enumerate(order):
            table.put(findings_of_event, number)
        (incident,) = table.incidents()
        assert {(one.box_id, one.end_ns // MS) for one in incident} == {("1", 150), ("4", 6000)}
        assert max(one.uncertainty_ns for one in incident) == max(one.uncertainty_ns for one in compared)


def test_two_sags_with_poor_clock_stay_two() -> None:
    table = Table()
    table.put([sag(0, 100, uncertainty_ms=4000), sag(130, 200, uncertainty_ms=4000)])
    assert len(table.known) == 2
    assert len(table.incidents()) == 1


def test_a_bridge_joins_two_findings() -> None:
    """A bridge between two stored findings makes them one."""
    table = Table()
    table.put([sag(0, 100)], 1)
    table.put([sag(1300, 1400)], 2)
    plan = table.put([sag(90, 1310)], 3)
    assert (plan.removed, plan.gone) == ((2,), (2,))
    known = table.known[1]
    assert (known.finding_id, known.incident_id, known.event_ids) == (1, 1, (1, 2, 3))
    assert (known.finding.start_ns, known.finding.end_ns) == (0, 1400 * MS)


def test_incidents_are_numbered_in_time_order() -> None:
    """Whatever order they came in."""
    for order in permutations([sag(0, 10), sag(1500, 1510), sag(3000, 3010)]):
        table = Table()
        table.put(list(order))
        numbered = {known.finding.start_ns // MS: known.incident_id for known in table.known.values()}
        assert numbered == {0: 1, 1500: 2, 3000: 3}


def test_scope_follows_from_known_places() -> None:
    def scope(*box_ids: str, kind: str = "sag") -> str | None:
        table = Table(PLACES)
        table.put([sag(0, 100, box_id, kind=kind) for box_id in box_ids])
        return max(table.facts.values(), key=lambda facts: facts.boxes).scope

    assert scope("1") == "local"
    assert scope("1", "2") == "feeder"
    assert scope("1", "3") == "wide_area"
    assert scope("5") == "local", "a location of three regions"
    assert scope("1", "5") == "region" and scope("5", "2", "1") == "region", "the valley has them all"
    assert scope("1", "5", "3") == "wide_area"
    assert scope("4") is None and scope("9", "8") is None
    assert scope("1", "9") == "region" or scope("1", "9") is None


def test_arrivals_name_poor_clocks() -> None:
    table = Table(PLACES)
    table.put([sag(5, 100, "2"), sag(0, 100, "3"), sag(9, 100, "1", uncertainty_ms=500)])
    (facts,) = table.facts.values()
    assert [(each.box_id, each.disciplined) for each in facts.arrivals] == [
        ("3", True),
        ("2", True),
        ("1", False),
    ]
    assert facts.centre == pytest.approx((46.625, 7.375))


def test_an_incident_is_as_bad_as_its_worst() -> None:
    """It is open while one of its findings is."""
    known = [
        KnownFinding(1, 5, (1,), sag(0, 100, "10", residual_percent=85.0)),
        KnownFinding(2, 5, (1, 2), sag(50, 300, "2", residual_percent=60.0, closed=False)),
        KnownFinding(3, 5, (3,), replace(sag(60, 90, "2", residual_percent=120.0), kind="harmonics+swell")),
    ]
    incident = incident_of(known)
    assert incident.kind == "sag"  # of the worst
    assert incident.box_ids == ("2", "10")
    assert incident.event_ids == (1, 2, 3)
    assert (incident.residual_percent, incident.closed) == (60.0, False)
    assert (incident.start_ns, incident.end_ns) == (0, 300 * MS)
