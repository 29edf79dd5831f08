"""Scores of made-up truths and stores: what must hold whatever they are, and cases worked out by hand."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_cloud.mauka.joining.onset_rule import FOLLOWS_NS, ONE_DISTURBANCE_NS
from opq_cloud.mauka.measuring.sightings import family
from opq_sim.power_system.disturbance_truth import TRUTH_FILE
from opq_sim.score import records
from opq_sim.score.figures import score
from opq_sim.score.matching import match_incidents
from opq_sim.score.records import OPEN_NS, BoxSpan, FoundIncident, TrueDisturbance
from opq_sim.score.truth_file import FILE_NAME, TruthFileError, read_truth

MS = 10**6
Truths = list[TrueDisturbance]
few = settings(max_examples=15, deadline=None)
KINDS = ("sag", "swell", "interruption", "harmonics", "oscillatory_transient", "harmonics+sag")


@st.composite
def apart(draw: st.DrawFn) -> Truths:
    """Disturbances of up to five Boxes that follow each other more than 2 s apart."""
    found, at_ms = [], 1_000_000
    for number in range(draw(st.integers(1, 8))):
        kind = draw(st.sampled_from(KINDS))
        at_ms += draw(st.integers(2_100, 60_000))
        length_ms = draw(st.integers(0, 1000))
        boxes = draw(st.sets(st.sampled_from("12345"), min_size=1))
        late_ms = {box: draw(st.integers(0, 20)) for box in sorted(boxes)}
        spans = {
            box: BoxSpan(kind, (at_ms + late) * MS, (at_ms + late + length_ms) * MS)
            for box, late in late_ms.items()
        }
        found.append(TrueDisturbance(str(number), kind, draw(st.sampled_from(["local", "feeder"])), spans))
        at_ms += length_ms
    return found


def perfect(truth: Truths) -> list[FoundIncident]:
    return [FoundIncident(n, each.kind, each.scope, each.boxes) for n, each in enumerate(truth, start=1)]


@few
@given(apart())
def test_a_perfect_store_scores_1_throughout(truth: Truths) -> None:
    told = score(truth, perfect(truth))
    assert (told["found"], told["false"], told["split"], told["joined"]) == (len(truth), 0, 0, 0)
    assert (told["recall"], told["precision"], told["scope_right"]) == (1.0, 1.0, 1.0)
    assert told["start_error_ms"] == {"median": 0.0, "p99": 0.0, "within_1_ms": 1.0}
    assert all(row == {"precision": 1.0, "recall": 1.0, "f1": 1.0} for row in told["by_class"].values())
    assert all(set(row) == {kind} for kind, row in told["confusion"].items())


@few
@given(apart(), st.data())
def test_an_incident_less_is_one_found_less(truth: Truths, data: st.DataObject) -> None:
    found = perfect(truth)
    gone = found.pop(data.draw(st.integers(0, len(found) - 1)))
    told = score(truth, found)
    assert told["found"] == len(truth) - 1 and told["false"] == 0
    assert told["recall"] == (len(truth) - 1) / len(truth)
    recall = told["by_class"][gone.kind]["recall"]
    assert recall is not None and recall < 1
    assert told["confusion"][gone.kind]["missed"] == 1


@few
@given(apart(), st.data())
def test_a_doubled_incident_is_a_split(truth: Truths, data: st.DataObject) -> None:
    found = perfect(truth)
    twice = data.draw(st.sampled_from(found))
    told = score(truth, [*found, replace(twice, number=99)])
    assert (told["split"], told["false"], told["joined"], told["found"]) == (1, 0, 0, len(truth))
    assert told["precision"] == 1.0


@few
@given(apart(), st.data())
def test_another_boxs_incident_is_false(truth: Truths, data: st.DataObject) -> None:
    found = perfect(truth)
    one = data.draw(st.sampled_from(found))
    span = next(iter(one.boxes.values()))
    late = replace(span, start_ns=span.start_ns - 10**15, end_ns=span.end_ns - 10**15)
    elsewhere = data.draw(st.sampled_from([{"9": span}, {next(iter(one.boxes)): late}]))
    told = score(truth, [*found, replace(one, number=99, boxes=elsewhere)])
    assert (told["false"], told["found"], told["split"]) == (1, len(truth), 0)
    precision = told["by_class"][one.kind]["precision"]
    assert precision is not None and precision < 1
    assert told["confusion"]["none"] == {one.kind: 1}


@few
@given(apart(), apart(), st.randoms(use_true_random=False))
def test_the_order_of_neither_matters(truth: Truths, other: Truths, chance: random.Random) -> None:
    """Also where disturbances overlap: two runs at once, half of one of them stored."""
    both = [*truth, *(replace(each, number=f"other {each.number}") for each in other)]
    found = [*perfect(truth), *(replace(each, number=100 + each.number) for each in perfect(other)[::2])]
    before = score(both, found)
    chance.shuffle(both)
    chance.shuffle(found)
    assert score(both, found) == before


@few
@given(apart(), apart())
def test_what_is_matched_is_matched_both_ways(truth: Truths, other: Truths) -> None:
    match = match_incidents(truth, perfect(other))
    pairs = {(t, f) for t, each in enumerate(match.of_truth) for f in each}
    assert pairs == {(t, f) for f, each in enumerate(match.of_found) for t in each}


def true(number: str, kind: str, start_ms: float, end_ms: float, *boxes: str) -> TrueDisturbance:
    span = BoxSpan(kind, round(start_ms * MS), round(end_ms * MS))
    return TrueDisturbance(number, kind, "local", dict.fromkeys(boxes, span))


def stored(
    number: int, kind: str, start_ms: float, end_ms: float, *boxes: str, unsure_ms: int = 0
) -> FoundIncident:
    span = BoxSpan(kind, round(start_ms * MS), round(end_ms * MS), unsure_ms * MS)
    return FoundIncident(number, kind, None, dict.fromkeys(boxes, span))


def test_joined_disturbances_are_both_found() -> None:
    truth = [true("a", "sag", 0, 100, "1"), true("b", "sag", 90, 300, "2")]
    told = score(truth, [stored(1, "sag", 1, 300, "1", "2")])
    assert (told["found"], told["joined"], told["split"], told["false"]) == (2, 1, 0, 0)


def test_a_rules_join_is_not_wrong() -> None:
    """A second of one Box, 200 ms of two; what lies further apart ought to be two incidents."""
    for late_ms, boxes, wrongly in ((900, "1", 0), (1100, "1", 1), (150, "2", 0), (900, "2", 1)):
        truth = [true("a", "sag", 0, 3000, "1"), true("b", "sag", late_ms, 3000, boxes)]
        told = score(truth, [stored(1, "sag", 0, 3000, *sorted({"1", boxes}))])
        assert (told["found"], told["joined"], told["wrongly_joined"]) == (2, 1, wrongly)


def test_an_edge_belongs_to_its_end() -> None:
    """The edge at the end of a disturbance is its own for a cycle."""
    truth = [true("a", "sag", 0, 12_000, "1")]
    whole = stored(1, "sag", 0, 12_000, "1")
    for late_ms, false in ((19, 0), (21, 1)):
        told = score(truth, [whole, stored(2, "phase_jump", 12_000 + late_ms, 12_000 + late_ms, "1")])
        assert (told["found"], told["false"]) == (1, false)


def test_a_side_counts_when_both_have_one() -> None:
    span = BoxSpan("sag", 0, 100 * MS, side="upstream")
    fault = TrueDisturbance("a", "sag", "region", {"1": span, "2": span, "3": replace(span, side=None)})
    lamp = replace(true("b", "flicker", 10_000, 30_000, "1", "2"), scope="region")
    dip = replace(stored(1, "sag", 0, 100, "1", "2", "3"), scope="region")
    dip = replace(dip, sides={"1": "upstream", "2": "downstream", "3": "upstream", "9": "upstream"})
    flicker = replace(stored(2, "flicker", 10_000, 30_000, "1"), scope="local")
    told = score([fault, lamp], [dip, flicker])
    assert (told["side_right"], told["sides"]) == (0.5, 2)
    assert (told["scope_right"], told["scope_right_sharp"]) == (0.5, 1.0)
    assert told["start_error_ms"]["within_1_ms"] == 1.0


def test_a_sag_within_harmonics_matches_by_class() -> None:
    truth = [true("a", "harmonics", 0, 600_000, "1"), true("b", "sag", 5000, 5100, "1")]
    told = score(truth, [stored(1, "harmonics", 900, 600_000, "1"), stored(2, "sag", 5004, 5110, "1")])
    assert (told["found"], told["joined"], told["split"]) == (2, 0, 0)
    assert told["start_error_ms"]["median"] == 452.0
    assert told["start_error_ms_sharp"]["median"] == told["start_error_ms_by_class"]["sag"]["median"] == 4.0
    assert told["start_error_ms_by_class"]["harmonics"]["within_1_ms"] == 0.0


def test_the_first_incident_represents_its_disturbance() -> None:
    """Phases that only the breaker makes dead come later, and their incident is as near to the truth."""
    fault = true("a", "interruption", 0, 900, "1", "2", "3")
    late = BoxSpan("interruption", 380 * MS, 900 * MS)
    fault = replace(fault, boxes={**fault.boxes, "4": late, "5": late})
    dead = stored(1, "interruption", 380, 900, "4", "5")
    own = stored(2, "interruption", 0.02, 900, "1", "2")
    jump = stored(3, "phase_jump", 0.01, 0.01, "3")
    for found in ([dead, own, jump], [jump, dead, own]):
        told = score([fault], found)
        assert told["start_error_ms"]["median"] == 0.02


def test_a_causes_parts_name_its_incident() -> None:
    """Two Boxes of one state apart are two, and so is one that has another class at a Box, or is false."""
    lamp, fault = true("a", "mains_signalling", 0, 9000, "1", "2"), true("b", "sag", 20_000, 60_000, "1")
    whole = stored(1, "mains_signalling", 0, 9000, "1", "2")
    dip, again = stored(2, "sag", 20_000, 20_200, "1"), stored(3, "sag", 22_000, 22_200, "1")

    def figures(*found: FoundIncident) -> tuple[float | None, int, int]:
        told = score([lamp, fault], found)
        return told["incidents_per_cause"], told["later_parts"], told["wrongly_split"]

    follows = replace(again, follows=2)
    assert figures(whole, dip, follows) == (1.0, 1, 0)
    assert figures(whole, dip, again) == (1.5, 0, 1)
    each = [stored(number, "mains_signalling", 0, 9000, str(number - 3)) for number in (4, 5)]
    assert figures(*each, dip) == (1.5, 0, 1)
    assert figures(each[0], replace(each[1], kind="interharmonics"), dip) == (1.5, 0, 1)
    assert figures(whole, dip, stored(9, "swell", 90_000, 91_000, "3")) == (1.5, 0, 0)
    assert figures(stored(9, "swell", 90_000, 91_000, "3")) == (None, 0, 0)


def test_a_late_stamped_transient_is_found() -> None:
    """A transient without length is found beside a long one although its stamp is late."""
    truth = [true("a", "flicker", 0, 60_000, "1"), true("b", "impulsive_transient", 5000, 5000, "1")]
    told = score(
        truth, [stored(1, "impulsive_transient", 5003, 5004, "1"), stored(2, "flicker", 100, 60_000, "1")]
    )
    assert (told["found"], told["joined"], told["split"]) == (2, 0, 0)
    assert told["confusion"]["impulsive_transient"] == {"impulsive_transient": 1}


def test_a_wrong_class_is_found_but_unrated() -> None:
    """It counts neither in the recall nor in the precision of the class."""
    told = score([true("a", "sag", 0, 100, "1")], [stored(1, "rapid_voltage_change", 0, 100, "1")])
    assert (told["found"], told["false"], told["recall"]) == (1, 0, 1.0)
    assert told["by_class"]["sag"] == {"precision": None, "recall": 0.0, "f1": 0.0}
    assert told["by_class"]["rapid_voltage_change"] == {"precision": 0.0, "recall": None, "f1": None}
    assert told["confusion"] == {"sag": {"rapid_voltage_change": 1}}


def test_a_restored_neutrals_edge_is_its_own() -> None:
    """The edge where a neutral is back is its own although a fault lasts."""
    truth = [true("a", "sag", 0, 15_000, "1"), true("b", "phase_jump+sag", 12_000, 30_000, "1", "2")]
    fault = stored(2, "phase_jump+sag", 12_000, 30_000, "1", "2")
    back = replace(stored(3, "phase_jump", 15_000, 15_000, "1"), follows=1)
    told = score(truth, [stored(1, "sag", 0, 15_000, "1"), fault, back])
    assert (told["found"], told["split"], told["wrongly_split"]) == (2, 1, 0)


@pytest.mark.parametrize(("at_ms", "found"), [(5000, 1), (90_000, 0)])
def test_a_late_step_is_not_the_unit(at_ms: int, found: int) -> None:
    """A step minutes after a unit was lost does not find that unit."""
    truth = [true("a", "frequency_deviation", 0, 220_000, "1")]
    step = stored(1, "rapid_voltage_change", at_ms, at_ms + 40, "1")
    told = score(truth, [step])
    assert (told["found"], told["missed"], told["false"]) == (found, 1 - found, 1 - found)
    told = score(truth, [step, stored(2, "frequency_deviation", 400, 1600, "1")])
    assert (told["found"], told["false"], told["split"]) == (1, 0, 1)


def test_an_onset_counts_within_2_s() -> None:
    """Within 200 ms and its uncertainty, and never beyond 2 s."""
    truth = [true("a", "sag", 10_000, 10_050, "1")]

    def found(late_ms: int, unsure_ms: int) -> int:
        start_ms = 10_000 + late_ms
        return score(truth, [stored(1, "sag", start_ms, start_ms + 1, "1", unsure_ms=unsure_ms)])["found"]

    assert [found(200, 0), found(201, 0), found(900, 700), found(901, 700)] == [1, 0, 1, 0]
    assert [found(2000, 4294), found(2001, 4294), found(-2000, 4294), found(-2001, 4294)] == [1, 0, 1, 0]


def test_nothing_at_all_has_no_shares() -> None:
    told = score([], [])
    assert (told["recall"], told["precision"], told["scope_right"], told["by_class"]) == (
        None,
        None,
        None,
        {},
    )
    assert told["start_error_ms"] == {"median": None, "p99": None, "within_1_ms": None}


GOOD = {"id": 7, "cause": "fault", "class": "sag", "scope": "feeder", "start_ns": 1000, "end_ns": 2000}
BOX = {
    "class": "sag",
    "residual_percent": 70.0,
    "phase_jump_deg": -3.0,
    "arrival_ns": 1005,
    "side": "downstream",
}


def test_truth_is_read_as_the_contract_has_it(tmp_path: Path) -> None:
    lines = [{**GOOD, "boxes": {"1": BOX, "4": {**BOX, "class": "interruption", "arrival_ns": None}}}]
    lines += [{**GOOD, "id": 8, "end_ns": None, "boxes": {"1": BOX}}, {"class": "none", "file": "x.i16"}]
    (tmp_path / "truth.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    told = read_truth(tmp_path)
    first, second = told.disturbances
    assert (first.number, first.kind, first.scope, first.cause) == ("7", "sag", "feeder", "fault")
    assert first.boxes == {
        "1": BoxSpan("sag", 1005, 2000, side="downstream"),
        "4": BoxSpan("interruption", 1000, 2000, side="downstream"),
    }
    assert second.boxes["1"].end_ns >= OPEN_NS
    assert (told.problems, told.nothing) == ((), 1)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "Expecting"),
        ("[1]", "not an object"),
        (json.dumps({**GOOD, "boxes": {}}), "want an object with one Box"),
        (json.dumps({**GOOD, "boxes": {"1": 5}}), "boxes: '1' is 5"),
        (json.dumps({**GOOD, "boxes": {"1": BOX}, "class": 3}), "class is 3"),
        (json.dumps({**GOOD, "boxes": {"1": BOX}, "start_ns": 1.5}), "start_ns is 1.5"),
        (json.dumps({**GOOD, "boxes": {"1": BOX}, "end_ns": 10}), "before start_ns"),
        ("\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "Expecting"),
        ("[" * 100_000, ""),
    ],
)
def test_a_malformed_line_is_named(line: str, why: str, tmp_path: Path) -> None:
    good = json.dumps({**GOOD, "boxes": {"1": BOX}})
    (tmp_path / "truth.jsonl").write_bytes(f"{good}\n{line}\n{good}\n".encode("latin-1"))
    told = read_truth(tmp_path)
    assert len(told.disturbances) == 2
    [problem] = told.problems
    assert problem.startswith(f"{tmp_path / 'truth.jsonl'}:2: ") and why in problem


def test_the_file_has_its_runs_name() -> None:
    assert FILE_NAME == TRUTH_FILE


def test_without_the_file_there_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(TruthFileError, match=r"truth\.jsonl: No such file"):
        read_truth(tmp_path)


def test_it_joins_as_the_store_does() -> None:
    """The score cannot import the cloud; what both state is held together here."""
    assert records.JOIN_NS == ONE_DISTURBANCE_NS
    assert records.FOLLOWS_NS == FOLLOWS_NS
    kinds = {*records.FAMILIES, *records.FAMILIES.values()}
    together = {(a, b) for a in kinds for b in kinds if family(a) == family(b)}
    same = {(a, b) for a in kinds for b in kinds if BoxSpan(a, 0, 0).families == BoxSpan(b, 0, 0).families}
    assert together == same


def test_a_disturbance_is_judged_by_its_beginning() -> None:
    sag = FoundIncident(1, "sag", "feeder", {"1": BoxSpan("sag", 3_000, 10**9)}, cause="fault")
    end = FoundIncident(2, "phase_jump", "local", {"1": BoxSpan("phase_jump", 10**9, 10**9)}, 1, "load")
    true = TrueDisturbance("1", "sag", "feeder", {"1": BoxSpan("sag", 0, 10**9)}, "fault")
    told = score([true], [end, sag])
    assert (told["cause_right"], told["scope_right"], told["confusion"]) == (1.0, 1.0, {"sag": {"sag": 1}})
    assert told["start_error_ms"]["median"] == 0.003


def test_a_rules_split_is_not_wrong() -> None:
    def at(number: int, kind: str, start_s: int, follows: int | None = None) -> FoundIncident:
        span = BoxSpan(kind, start_s * 10**9, start_s * 10**9 + 10**8)
        return FoundIncident(number, kind, None, {str(number % 2): span}, follows)

    def figures(*found: FoundIncident) -> tuple[int, int]:
        spans = {box_id: BoxSpan("sag", 0, 90 * 10**9) for box_id in ("0", "1")}
        between = {"1": BoxSpan("swell", 20 * 10**9, 21 * 10**9)}
        disturbances = [
            TrueDisturbance("1", "sag", "local", spans),
            TrueDisturbance("2", "swell", "local", between),
        ]
        told = score(disturbances, found)
        return told["split"], told["wrongly_split"]

    assert figures(at(1, "sag", 1), at(2, "sag", 3, follows=1)) == (1, 0)
    assert figures(at(1, "sag", 1), at(2, "sag", 3)) == (1, 1)
    assert figures(at(1, "harmonics", 1), at(2, "harmonics", 1)) == (1, 1)
    other = at(5, "swell", 20, follows=1)  # of another disturbance, between two of the first
    assert figures(at(1, "sag", 1), other, at(3, "sag", 40, follows=5)) == (1, 0)
    assert figures(at(1, "sag", 1), other, at(3, "sag", 80, follows=5)) == (1, 1)  # long after
    assert figures(at(1, "harmonics", 1), at(3, "harmonics", 9)) == (1, 1)
    later = BoxSpan("sag", 5 * 10**8, 10**9)  # of a phase that the breaker makes dead
    true = TrueDisturbance("1", "sag", "local", {"1": BoxSpan("sag", 0, 10**9), "0": later})
    told = score([true], [at(1, "sag", 0), FoundIncident(2, "sag", None, {"0": later})])
    assert (told["split"], told["wrongly_split"]) == (1, 0)
