"""The joining rule: the same result in any order, and nothing new from a repeat."""

from dataclasses import replace
from itertools import count, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_cloud.store.join import JoinPlan, KnownFinding, incident_of, join, near, same
from opq_cloud.store.sightings import family, kept, whole
from opq_proto.messages import Finding

MS = 1_000_000
JOIN_NS = 200 * MS
CYCLE_NS = 20 * MS


def sag(start_ms: int, end_ms: int, box_id: str = "1", uncertainty_ms: int = 0, **more: object) -> Finding:
    finding = Finding("sag", box_id, start_ms * MS, end_ms * MS, uncertainty_ms * MS)
    return replace(finding, **more)  # type: ignore[arg-type]


class Table:
    """Findings in memory, written as a plan says."""

    def __init__(self) -> None:
        self.known: dict[int, KnownFinding] = {}
        self._findings, self._incidents = count(1), count(1)

    def put(self, findings: list[Finding], event_id: int = 1) -> JoinPlan:
        plan = join(
            self.known.values(), findings, event_id, JOIN_NS,
            lambda: next(self._findings), lambda: next(self._incidents),
        )  # fmt: skip
        for later, earlier in plan.moved:
            for known in list(self.known.values()):
                if known.incident_id == later:
                    self.known[known.finding_id] = replace(known, incident_id=earlier)
        self.known.update({known.finding_id: known for known in plan.written})
        for gone in plan.removed:
            del self.known[gone]
        return plan

    def incidents(self) -> set[frozenset[Finding]]:
        groups: dict[int, set[Finding]] = {}
        for known in self.known.values():
            groups.setdefault(known.incident_id, set()).add(known.finding)
        return {frozenset(group) for group in groups.values()}


findings = st.builds(
    lambda kind, box_id, start, length, uncertainty, percent, cycles, closed: replace(
        sag(start, start + length, box_id, uncertainty),
        kind=kind,
        residual_percent=percent,
        residual_v=None if percent is None else percent * 1.2,
        duration_cycles=cycles,
        closed=closed,
        because=f"{percent}",
    ),
    st.sampled_from(["sag", "interruption", "undervoltage", "swell", "harmonics"]),
    st.sampled_from(["1", "2", "3"]),
    st.integers(0, 3000),
    st.integers(0, 400) | st.integers(59_000, 61_000),
    st.sampled_from([0, 1, 30, 200]),
    st.none() | st.integers(0, 180).map(float),
    st.none() | st.integers(0, 30).map(float),
    st.booleans(),
)


@given(st.lists(findings, max_size=8), st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_the_order_of_arrival_does_not_matter(items: list[Finding], chance: object) -> None:
    together = Table()
    together.put(items)
    one_by_one = Table()
    shuffled = list(items)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    for item in shuffled:
        one_by_one.put([item])
    assert one_by_one.incidents() == together.incidents()


@given(st.lists(findings, max_size=8))
@settings(max_examples=200, deadline=None)
def test_a_repeat_changes_nothing_and_gets_the_same_answer(items: list[Finding]) -> None:
    table = Table()
    first = table.put(items)
    again = table.put(items)
    assert (again.moved, again.written, again.removed) == ((), (), ())
    assert again.answer == first.answer


@given(st.lists(findings, min_size=1, max_size=8))
@settings(max_examples=200, deadline=None)
def test_what_is_stored_is_apart_and_covers_what_was_put(items: list[Finding]) -> None:
    table = Table()
    for item in items:
        table.put([item])
    stored = list(table.known.values())
    for place, one in enumerate(stored):
        for other in stored[place + 1 :]:
            assert not same(one.finding, other.finding)
            if near(one.finding, other.finding, JOIN_NS):
                assert one.incident_id == other.incident_id
    for item in items:
        holders = [
            known for known in stored
            if known.finding.box_id == item.box_id and family(known.finding.kind) == family(item.kind)
            and known.finding.start_ns - CYCLE_NS <= item.start_ns
            and item.end_ns <= known.finding.end_ns + CYCLE_NS
        ]  # fmt: skip
        assert len(holders) >= 1


@given(st.lists(findings, min_size=1, max_size=6), st.lists(findings, min_size=1, max_size=6))
@settings(max_examples=200, deadline=None)
def test_what_is_left_of_sightings_does_not_depend_on_when_some_were_left_out(
    some: list[Finding], others: list[Finding]
) -> None:
    assert set(kept([*kept(some), *others])) == set(kept([*some, *others]))
    assert kept(kept(some)) == kept(some)


@given(st.lists(findings, max_size=8))
@settings(max_examples=200, deadline=None)
def test_a_duration_never_contradicts_its_span(items: list[Finding]) -> None:
    """At 60 Hz throughout; a cycle at either end is the sharpness of the rule."""
    table = Table()
    for item in items:
        cycles = (item.end_ns - item.start_ns) * 60 / 1e9
        table.put([replace(item, duration_cycles=cycles)])
    for known in table.known.values():
        length = (known.finding.end_ns - known.finding.start_ns) * 60 / 1e9
        assert known.finding.duration_cycles == pytest.approx(length)


def test_the_gap_that_still_joins_is_200_ms_plus_both_uncertainties() -> None:
    left = sag(0, 100, "1", uncertainty_ms=3)
    assert near(left, sag(307, 400, "2", uncertainty_ms=4), JOIN_NS)
    assert not near(left, sag(308, 400, "2", uncertainty_ms=4), JOIN_NS)


def test_two_sags_of_one_box_with_a_poor_clock_stay_two() -> None:
    table = Table()
    table.put([sag(0, 100, uncertainty_ms=4000), sag(130, 200, uncertainty_ms=4000)])
    assert len(table.known) == 2
    assert len(table.incidents()) == 1


def test_a_bridge_between_two_stored_findings_makes_them_one() -> None:
    table = Table()
    table.put([sag(0, 100)], 1)
    table.put([sag(300, 400)], 2)
    plan = table.put([sag(90, 310)], 3)
    assert plan.removed == (2,)
    assert plan.moved == ()
    known = table.known[1]
    assert (known.finding_id, known.incident_id, known.event_ids) == (1, 1, (1, 2, 3))
    assert (known.finding.start_ns, known.finding.end_ns) == (0, 400 * MS)


def test_incidents_get_their_numbers_in_time_order_whatever_the_order_given() -> None:
    for order in permutations([sag(0, 10), sag(1000, 1010), sag(2000, 2010)]):
        table = Table()
        table.put(list(order))
        numbered = {known.finding.start_ns // MS: known.incident_id for known in table.known.values()}
        assert numbered == {0: 1, 1000: 2, 2000: 3}


def test_an_incident_is_as_bad_as_its_worst_finding_and_open_while_one_is() -> None:
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


PART = {
    "kind": "sag", "residual_percent": 70.0, "residual_v": 84.0, "duration_cycles": 60.0,
    "ieee1159": "momentary sag", "itic": "no_damage", "semi_f47": "pass", "because": "the onset",
    "closed": False,
}  # fmt: skip
WHOLE = {
    "kind": "interruption", "residual_percent": 2.0, "residual_v": 2.4, "duration_cycles": 300.0,
    "ieee1159": "temporary interruption", "itic": "no_damage", "semi_f47": "not_applicable",
    "because": "all of it", "closed": True,
}  # fmt: skip


@pytest.mark.parametrize("onset_first", [True, False])
def test_a_dip_seen_open_and_then_whole_is_told_by_the_one_that_saw_all(onset_first: bool) -> None:
    onset = sag(1000, 2000, **PART)
    all_of_it = sag(1001, 6000, **WHOLE)  # its stamps are a millisecond off
    table = Table()
    table.put([onset if onset_first else all_of_it], 1)
    table.put([all_of_it if onset_first else onset], 2)
    (known,) = table.known.values()
    assert (known.finding_id, known.incident_id, known.event_ids) == (1, 1, (1, 2))
    assert known.finding == all_of_it
    assert table.put([onset], 1).written == ()


def test_an_open_end_within_a_cycle_of_the_recovery_does_not_hold_a_dip_open() -> None:
    closed = sag(0, 1500, duration_cycles=90.0)
    table = Table()
    table.put([sag(0, 1508, closed=False, duration_cycles=90.5)])
    table.put([closed])
    assert [known.finding for known in table.known.values()] == [closed]


def test_pieces_that_nobody_saw_whole_get_the_figures_of_their_common_span() -> None:
    first = sag(0, 1000, closed=False, residual_percent=40.0, residual_v=48.0, duration_cycles=50.0,
                ieee1159="momentary sag", itic="no_damage", semi_f47="fail")  # fmt: skip
    last = sag(800, 4000, residual_percent=75.0, residual_v=90.0, duration_cycles=160.0,
               ieee1159="temporary sag", itic="no_damage", semi_f47="not_applicable")  # fmt: skip
    table = Table()
    table.put([first], 1)
    table.put([last], 2)
    (known,) = table.known.values()
    finding = known.finding
    assert (finding.start_ns, finding.end_ns, finding.closed) == (0, 4000 * MS, True)
    assert finding.duration_cycles == pytest.approx(200.0)  # 4 s of 50 Hz
    # 40 % for 4 s: IEEE 1159 momentary to 3 s; ITIC 80 % to 10 s; F47 draws no line beyond 1 s
    verdicts = ("temporary sag", "no_damage", "not_applicable")
    assert (finding.ieee1159, finding.itic, finding.semi_f47) == verdicts
    assert finding.residual_percent == 40.0
    assert finding.because.startswith("put together from 2 overlapping waveforms")
    assert known.pieces == (first, last)


def test_pieces_of_more_than_a_minute_are_an_undervoltage_or_an_interruption() -> None:
    def pieces(kind: str) -> list[Finding]:
        return [sag(0, 40_000, closed=False), replace(sag(35_000, 70_000), kind=kind)]

    assert whole(pieces("sag")).kind == "undervoltage"
    assert whole(pieces("interruption")).kind == "interruption"


def test_a_sag_and_a_swell_at_one_time_stay_two_findings() -> None:
    table = Table()
    table.put([sag(0, 100, closed=False), replace(sag(50, 150), kind="swell")])
    assert sorted(known.finding.kind for known in table.known.values()) == ["sag", "swell"]
