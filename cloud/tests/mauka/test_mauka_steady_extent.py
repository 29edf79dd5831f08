"""How far a steady state reaches: an incident of one Box each, and yet more than one place has it."""

from dataclasses import replace
from itertools import permutations

import pytest

from opq_cloud.mauka.joining.incident_facts import facts_of
from opq_cloud.mauka.joining.steady_extent import with_extent
from opq_cloud.mauka.measuring.sightings import whole
from opq_cloud.store.box_place import BoxPlace
from opq_cloud.store.incidents.join_plan import KnownFinding
from opq_proto.messages import Finding

S = 1_000_000_000
PLACES = {
    "1": BoxPlace(place="church", feeder="feeder1", region="island"),
    "2": BoxPlace(place="church", feeder="feeder1", region="island"),
    "3": BoxPlace(place="school", feeder="feeder1", region="island"),
    "10": BoxPlace(place="mill", feeder="feeder2", region="island"),
    "11": BoxPlace(place="dairy", feeder="feeder2", region="island"),
}


def flicker(box_id: str, start_s: float = 100.0, **more: object) -> Finding:
    finding = Finding("flicker", box_id, round(start_s * S), round((start_s + 3) * S), 100)
    return replace(finding, **more)  # type: ignore[arg-type]


def scope_of(finding: Finding) -> str | None:
    return facts_of(1, [KnownFinding(1, 1, (1,), finding)], PLACES.__getitem__).scope


def scopes(findings: list[Finding]) -> dict[str, str | None]:
    return {one.box_id: scope_of(one) for one in with_extent(findings, PLACES.__getitem__)}


@pytest.mark.parametrize(
    ("boxes", "scope"), [("1", "local"), ("1 2", "local"), ("1 2 3", "feeder"), ("1 3 10 11", "region")]
)
def test_the_scope_of_a_steady_state_is_that_of_all_boxes_that_show_it(boxes: str, scope: str) -> None:
    assert scopes([flicker(box_id) for box_id in boxes.split()]) == dict.fromkeys(boxes.split(), scope)


def test_what_began_at_another_time_or_is_of_another_class_is_another_state() -> None:
    told = scopes([flicker("1"), flicker("3", 101.5), replace(flicker("10"), kind="harmonics")])
    assert set(told.values()) == {"local"}
    lasting = flicker("3", 99.0, onset_seen=False)
    assert scopes([flicker("1", 99.0), lasting])["1"] == "local"
    assert scopes([replace(lasting, box_id="1"), lasting])["1"] == "feeder"


def test_few_boxes_are_named_in_whatever_order_they_come() -> None:
    every = [flicker(box_id) for box_id in PLACES]
    for order in permutations(every):
        named = {one.box_id: one.also_at for one in with_extent(order, PLACES.__getitem__)}
        assert named["1"] == ("3", "10") and named["10"] == ("1",)


def test_a_box_that_was_looked_at_alone_first_has_the_same_scope_in_the_end() -> None:
    alone, *_ = with_extent([flicker("1")], PLACES.__getitem__)
    with_others, *_ = with_extent([flicker("1"), flicker("10")], PLACES.__getitem__)
    for order in permutations([alone, with_others]):
        assert scope_of(whole(order)) == "region"
