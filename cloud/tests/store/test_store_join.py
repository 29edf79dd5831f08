"""The joining rule: the same result in any order, and nothing new from a repeat."""

from dataclasses import replace
from itertools import count, permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from opq_cloud.store.join import Known, Plan, incident_of, join, near, same, widened
from opq_proto.messages import Finding

MS = 1_000_000
JOIN_NS = 200 * MS


def sag(start_ms: int, end_ms: int, box_id: str = "1", uncertainty_ms: int = 0, **more: object) -> Finding:
    finding = Finding("sag", box_id, start_ms * MS, end_ms * MS, uncertainty_ms * MS)
    return replace(finding, **more)  # type: ignore[arg-type]


class Table:
    """Findings in memory, written as a plan says."""

    def __init__(self) -> None:
        self.known: dict[int, Known] = {}
        self._findings, self._incidents = count(1), count(1)

    def put(self, findings: list[Finding], event_id: int = 1) -> Plan:
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
    st.sampled_from(["sag", "swell"]),
    st.sampled_from(["1", "2", "3"]),
    st.integers(0, 3000),
    st.integers(0, 400),
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
            if known.finding.box_id == item.box_id and known.finding.kind == item.kind
            and known.finding.start_ns <= item.start_ns and item.end_ns <= known.finding.end_ns
        ]  # fmt: skip
        assert holders


@given(findings, findings, findings)
@settings(max_examples=300, deadline=None)
def test_widening_is_symmetric_associative_and_idempotent(one: Finding, two: Finding, three: Finding) -> None:
    two, three = (replace(other, box_id=one.box_id, kind=one.kind) for other in (two, three))
    assert widened(one, two) == widened(two, one)
    assert widened(one, one) == one
    assert widened(widened(one, two), three) == widened(one, widened(two, three))


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
    assert table.known[1] == Known(1, 1, (1, 2, 3), sag(0, 400))


def test_incidents_get_their_numbers_in_time_order_whatever_the_order_given() -> None:
    for order in permutations([sag(0, 10), sag(1000, 1010), sag(2000, 2010)]):
        table = Table()
        table.put(list(order))
        numbered = {known.finding.start_ns // MS: known.incident_id for known in table.known.values()}
        assert numbered == {0: 1, 1000: 2, 2000: 3}


def test_an_incident_is_as_bad_as_its_worst_finding_and_open_while_one_is() -> None:
    known = [
        Known(1, 5, (1,), sag(0, 100, "10", residual_percent=85.0)),
        Known(2, 5, (1, 2), sag(50, 300, "2", residual_percent=60.0, closed=False)),
        Known(3, 5, (3,), replace(sag(60, 90, "2", residual_percent=120.0), kind="harmonics+swell")),
    ]
    incident = incident_of(known)
    assert incident.kind == "harmonics+sag+swell"
    assert incident.box_ids == ("2", "10")
    assert incident.event_ids == (1, 2, 3)
    assert (incident.residual_percent, incident.closed) == (60.0, False)
    assert (incident.start_ns, incident.end_ns) == (0, 300 * MS)
