"""What is stated of a Box holds from a moment until another is stated, in both stores."""

import time
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from opq_cloud.store import BoxRecord, CloudStore, LocationRecord
from opq_cloud.store.box_record import MADE_UP, BoxLoss
from opq_cloud.store.documents.box_documents import box_changes, box_from_document

S_NS = 10**9
FAR_NS = 2 * 10**18


def facts(box: BoxRecord, t_ns: int) -> tuple[object, ...]:
    then = box.at(t_ns)
    return then.site, then.feeder, then.nominal_v, then.is_in_service


def known(store: CloudStore, box_id: str = "1") -> BoxRecord:
    found = store.box(box_id)
    assert found is not None
    return found


def test_a_move_leaves_the_past_where_it_was(store: CloudStore) -> None:
    store.put_box(BoxRecord("1", "Cellar", site="mill", feeder="f1", nominal_v=230.0))
    before_ns = time.time_ns()
    time.sleep(0.002)
    store.put_box(BoxRecord("1", "", site="yard", feeder="f2", nominal_v=400.0))
    box = known(store)
    assert facts(box, 0) == facts(box, before_ns) == ("mill", "f1", 230.0, True)
    assert facts(box, FAR_NS) == ("yard", "f2", 400.0, True) == facts(store.boxes()[0], FAR_NS)
    assert (box.site, box.feeder) == ("yard", "f2")


def test_a_retired_box_was_in_service_before(store: CloudStore) -> None:
    store.put_box(BoxRecord("1", "Cellar", site="mill"))
    store.put_box(BoxRecord("1", "", unplugged=True, retired_ms=5_000))
    store.put_box(BoxRecord("1", "", unplugged=False, retired_ms=0), 9_000)
    box = known(store)
    assert [box.at(each * S_NS).is_in_service for each in (0, 4, 5, 8, 9, 10)] == [
        True,
        True,
        False,
        False,
        True,
        True,
    ]
    assert box.is_in_service


def test_a_given_moment_keeps_later_statements(store: CloudStore) -> None:
    store.put_box(BoxRecord("1", "Cellar", site="mill"))
    store.put_box(BoxRecord("1", "", site="yard"), 9_000)
    store.put_box(BoxRecord("1", "", site="quay"), 5_000)
    box = known(store)
    assert [span.box.site for span in box.spans(0, 20 * S_NS)] == ["mill", "quay", "yard"]
    assert [span.start_ns // S_NS for span in box.spans(2 * S_NS, 20 * S_NS, ("site",))] == [2, 5, 9]
    assert len(box.spans(0, 20 * S_NS, ("feeder",))) == 1
    assert box.site == "yard"


def test_a_first_fact_holds_before_too(store: CloudStore) -> None:
    store.put_box(BoxRecord("1", "Cellar", site="mill"))
    store.put_box(BoxRecord("1", "", phase="L1"), 5_000)
    box = known(store)
    assert (box.at(0).site, box.at(0).phase, box.at(5 * S_NS).phase) == ("mill", None, "L1")


def test_a_record_without_times_holds_from_the_beginning() -> None:
    """As the original has it, whose facts have no time but that of the location."""
    original = {"box_id": "1", "name": "Cellar", "site": "mill", "unplugged": True}
    box = box_from_document(original)
    assert facts(box, 0) == facts(box, 7 * S_NS) == ("mill", None, None, False)
    moved = box_from_document(original | box_changes(original, BoxRecord("1", "", site="yard"), 9_000))
    assert [span.box.site for span in moved.spans(0, FAR_NS, ("site",))] == ["mill", "yard"]
    assert not moved.at(0).is_in_service


def test_what_a_simulation_made_up_is_not_stated() -> None:
    document = box_changes(None, BoxRecord("1", "", "at-2", site="s", phase="a", description=MADE_UP), 1_000)
    document |= box_changes(document, BoxRecord("1", "", site="works", phase="L2"), 2_000)
    document |= box_changes(document, BoxRecord("1", "", site="yard"), 3_000)
    box = box_from_document(document)
    spans = box.spans(0, FAR_NS, ("site", "phase"))
    assert [(span.box.site, span.box.phase) for span in spans] == [("works", "L2"), ("yard", "L2")]
    document |= box_changes(document, BoxRecord("1", "", unplugged=True, retired_ms=5_000), 6_000)
    box = box_from_document(document)
    assert [box.at(each * S_NS).is_in_service for each in (0, 4, 5)] == [True, True, False]


def test_the_originals_view_may_move_a_box_between() -> None:
    """It appends the former location, and knows nothing of our facts."""
    document: dict[str, object] = {}
    document |= box_changes(None, BoxRecord("1", "", "manoa", site="mill"), 1_000)
    document |= box_changes(document, BoxRecord("1", "", site="yard"), 2_000)
    archive = document["location_archive"]
    assert isinstance(archive, list)
    assert all({"location", "location_start_time_ms"} <= entry.keys() for entry in archive)
    document["location_archive"] = [*archive, {"location": "manoa", "location_start_time_ms": 1_000}]
    document |= {"location": "kailua", "location_start_time_ms": 3_000}
    box = box_from_document(document)
    assert [(box.at(each).location, box.at(each).site) for each in (0, 2 * S_NS, 3 * S_NS)] == [
        ("manoa", "mill"),
        ("manoa", "yard"),
        ("kailua", "yard"),
    ]
    assert box.location_archive == (("manoa", 1_000),)


NAMES = ("location", "site", "phase", "feeder", "region", "grid")
statement = st.tuples(
    st.sampled_from(NAMES), st.sampled_from(["a", "b", "c", ""]), st.integers(1, 40) | st.none()
)


@settings(deadline=None)
@given(st.lists(statement, max_size=25))
@example([("location", "a", 1), ("location", "", 1), ("site", "a", 1), ("location", "a", None)])
def test_any_course_comes_back_from_its_document(steps: list[tuple[str, str, int | None]]) -> None:
    """Against a table of moments and values for each fact."""
    document: dict[str, object] = {}
    model: dict[str, dict[int, str]] = {name: {} for name in NAMES}
    for now_ms, (name, value, since_ms) in enumerate(steps, 1000):
        region = box_from_document({"box_id": "1", **document}).region
        here = box_from_document({"box_id": "1", **document}).location or ""
        record = BoxRecord("1", "", **{name: value})  # type: ignore[arg-type]
        document |= box_changes(document or None, record, now_ms, since_ms)
        moves = name == "location" and value != here and region is not None
        for each, stated in [(name, value), *([("region", "")] if moves else [])]:
            values = model[each]
            if since_ms is None and values.get(max(values, default=0), "") == stated:
                continue
            since = since_ms or (now_ms if values else 0)
            model[each] = settled(
                {**({} if since_ms is None and not values else {0: ""}), **values, since: stated}
            )
        box = box_from_document({"box_id": "1", **document})
        for t_ms in (0, 5, 20, 40, now_ms, now_ms + 1):
            for each in NAMES:
                held = [since for since in model[each] if since <= t_ms]
                wanted = model[each][max(held)] if held else ""
                assert (getattr(box.at(t_ms * 10**6), each) or "") == wanted


def settled(values: dict[int, str]) -> dict[int, str]:
    """What is stated as it was already changes nothing."""
    moments = sorted(values)
    found = {
        each: values[each] for before, each in pairwise([-1, *moments]) if values.get(before) != values[each]
    }
    return found if any(found.values()) else {}


@pytest.mark.parametrize("given_ms", [None, 3_000])
def test_what_is_stated_again_changes_nothing(given_ms: int | None) -> None:
    document = box_changes(None, BoxRecord("1", "", site="mill"), 1_000)
    document |= box_changes(document, BoxRecord("1", "", site="yard"), 2_000)
    again = document | box_changes(document, BoxRecord("1", "", site="yard"), 4_000, given_ms)
    assert box_from_document(again) == box_from_document(document)


def test_a_hidden_site_is_in_no_loss() -> None:
    box = BoxRecord("1", "", site="mill", lost=(BoxLoss(3, 0, 600_000, "10min", "mill"),))
    assert "mill" in box.lost[0].words and box.without("feeder").lost == box.lost
    assert "mill" not in box.without("site").lost[0].words


def test_losses_of_a_box_are_noted_at_once(store: CloudStore) -> None:
    """One that is within another is the other."""
    spans = (3, 0, 9), (1, 3, 6), (2, 9, 12)
    first, within, later = (BoxLoss(count, start_ms, end_ms, "10min") for count, start_ms, end_ms in spans)
    store.note_lost("1", [within, first, later])
    assert known(store).lost == (first, later)
    store.note_lost("1", [within])
    assert known(store).lost == (first, later)


def test_facts_stated_once_always_hold(store: CloudStore) -> None:
    """Pages ask 10,000 Boxes where they were: nothing is copied for those that never changed."""
    store.put_location(LocationRecord("cellar", 55.0, 14.7))
    store.put_box(BoxRecord("1", "Cellar", "cellar", site="mill"))
    box = known(store)
    assert box.stated and box.at(0) is box is box.at(FAR_NS)
    assert [(span.start_ns, span.end_ns, span.box) for span in box.spans(5, 9)] == [(5, 9, box)]
    assert box.values_of("site") == ("mill",) and box.values_of("feeder") == ()
