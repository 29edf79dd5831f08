"""The timer and the query of analyses of History, and what they find as phenomena in the store."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from markupsafe import Markup
from stored_tenths import put_tenths

from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.mauka.joining.phenomenon_writer import replace_phenomena
from opq_cloud.mauka.running.known.provenance import Provenance
from opq_cloud.mauka.running.streams.history_feed import AGAIN_S, HistoryFeed, histories
from opq_cloud.store import CloudStore
from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.embedded.embedded_store import EmbeddedStore
from opq_cloud.store.event_record import NO_EVENT
from opq_cloud.store.records.incidents.phenomena import StoredPhenomenon
from opq_cloud.store.records.incidents.phenomenon_words import phenomenon_json, words_of
from opq_proto.decision import Nominal
from opq_proto.errors import StoreError
from opq_proto.messages import BoxHistory, Finding, History, HistoryRequest, Phenomenon, Trend

DAY_NS = 86_400 * 10**9
START_NS = 20_000 * DAY_NS
NOW_NS = START_NS + DAY_NS + 1_234 * 10**9
NOMINAL = Nominal(230.0, 50.0)
VOLTS = HistoryRequest(days=1, intervals=("rms_v", "pst"), trends=("dc",), boxes="neighbours")
HOUR_MS = 3_600_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CloudStore]:
    """Boxes 1 and 2 on one phase at a site, 3 on another phase, 4 out of use."""
    with closing(EmbeddedStore(tmp_path / "opq.db")) as opened:
        for box_id, phase in (("1", "L1"), ("2", "a"), ("3", "L2"), ("4", "L1")):
            box = BoxRecord(box_id, f"Box {box_id}", site="mill", phase=phase, nominal_v=120.0)
            box = replace(box, retired_ms=1) if box_id == "4" else box
            percents = [100.0, np.nan, 101.0] if box_id == "1" else [100.0] * 144
            put_tenths(opened, box, START_NS, percents)
        opened.put_trends([Trend("1", START_NS // 10**6 + 23 * HOUR_MS, {"dc": (-1.0, 3.0, 0.5)})])
        yield opened


def test_a_history_has_what_was_asked(store: CloudStore) -> None:
    """Values at each interval of the span, NaN where nothing is stored, and the Boxes on the same phase."""
    one, two, three = histories(store, VOLTS, NOW_NS, NOMINAL)
    assert (one.start_ns, one.end_ns, one.subjects) == (START_NS, START_NS + DAY_NS, ("1",))
    assert [each.box_id for each in one.boxes] == ["1", "2"]
    assert [each.box_id for each in two.boxes] == ["2", "1"] and len(three.boxes) == 1
    box = one.boxes[0]
    assert (box.nominal_v, box.nominal_hz, box.site, box.phase) == (120.0, 50.0, "mill", "L1")
    rms, pst, dc = box.courses
    assert (rms.quantity, rms.length_ms, len(rms.values)) == ("rms_v", 600_000, 144)
    assert rms.values[[0, 2]] == pytest.approx([120.0, 121.2]) and np.isnan(rms.values[3:]).all()
    assert rms.flagged.nonzero()[0].tolist() == [1]
    assert np.isnan(pst.values).all() and len(dc.values) == 24
    assert dc.least is not None and dc.most is not None
    assert (dc.least[23], dc.most[23], dc.values[23]) == (-1.0, 3.0, 0.5) and np.isnan(dc.values[:23]).all()


def test_all_boxes_are_in_one_history(store: CloudStore) -> None:
    (history,) = histories(store, replace(VOLTS, boxes="all"), NOW_NS, NOMINAL)
    assert history.subjects == ("1", "2", "3")
    alone = list(histories(store, replace(VOLTS, boxes="alone"), NOW_NS, NOMINAL))
    assert [[each.box_id for each in one.boxes] for one in alone] == [["1"], ["2"], ["3"]]


def test_a_span_ends_with_its_longest_interval(store: CloudStore) -> None:
    """Trends of a day end with the last whole day."""
    now_ns = NOW_NS + 5 * 3600 * 10**9
    daily = HistoryRequest(days=1, trends=("dc",), trend_ms=86_400_000, boxes="all")
    for request, end_ns in ((daily, START_NS + DAY_NS), (VOLTS, START_NS + DAY_NS + 5 * 3600 * 10**9)):
        assert next(histories(store, request, now_ns, NOMINAL)).end_ns == end_ns


def test_a_former_place_is_not_known(store: CloudStore) -> None:
    """Of a Box that moved at noon nothing before it is given: not to itself, and not to its neighbour."""
    noon_ms = START_NS // 10**6 + 12 * HOUR_MS
    store.put_trends([Trend("2", noon_ms + each * HOUR_MS, {"dc": (0.0, 2.0, 1.0)}) for each in (-1, 0)])
    while store.roll_up(NOW_NS // 10**6):
        pass
    for moved in ({"site": "farm"}, {"phase": "L3"}, {"nominal_v": 230.0}):
        store.put_box(BoxRecord("2", "Box 2", **moved), noon_ms - HOUR_MS)  # type: ignore[arg-type]
    store.put_box(BoxRecord("2", "Box 2", site="mill", phase="a", nominal_v=120.0), noon_ms - 60_000)
    one, two, _ = histories(store, VOLTS, NOW_NS, NOMINAL)
    for box in (one.boxes[1], two.boxes[0]):
        assert (box.box_id, box.since_ns, box.nominal_v) == ("2", (noon_ms - 60_000) * 10**6, 120.0)
        rms, _, dc = box.courses
        assert np.isnan(rms.values[:72]).all() and (rms.values[72:] == 120.0).all()
        assert dc.least is not None and dc.most is not None
        for values in (dc.values, dc.least, dc.most):
            assert np.isnan(values[:12]).all() and not np.isnan(values[12])
    assert one.boxes[0].since_ns == START_NS and one.boxes[0].courses[0].values[0] == 120.0
    store.put_box(BoxRecord("2", "Box 2", site="farm"), START_NS // 10**6 + 24 * HOUR_MS + 1)
    alone = histories(store, VOLTS, NOW_NS, NOMINAL)
    (box,) = next(each for each in alone if each.subjects == ("2",)).boxes
    assert all(np.isnan(each.values).all() for each in box.courses), "it is there for less than an hour"


@pytest.mark.parametrize(
    ("stated", "begins"),
    [
        ({"region": "maui"}, True),
        ({"grid": "2"}, True),
        ({"nominal_hz": 60.0}, True),
        ({"calibration_constant": 150.0}, False),
        ({"unplugged": True}, False),
    ],
)
def test_a_place_begins_a_stay(store: CloudStore, stated: dict[str, object], begins: bool) -> None:
    """A gain does not: intervals come in volts from the gateway."""
    noon_ms = START_NS // 10**6 + 12 * HOUR_MS
    store.put_box(BoxRecord("1", "Box 1", **stated), noon_ms)  # type: ignore[arg-type]
    box = next(histories(store, VOLTS, NOW_NS, NOMINAL)).boxes[0]
    assert box.since_ns == (noon_ms * 10**6 if begins else START_NS)


def test_a_pass_comes_as_often_as_asked(store: CloudStore) -> None:
    clock_s = [0.0]
    feed = HistoryFeed(lambda: store, VOLTS, NOMINAL, 600.0, lambda: clock_s[0], lambda: NOW_NS)
    assert feed.read() is None
    for begins_s in (600.0, 600.0 + VOLTS.every_s):
        clock_s[0] = begins_s
        given = [feed.read() for _ in range(4)]
        assert [each and each.subjects for each in given] == [("1",), ("2",), ("3",), None]
        clock_s[0] += VOLTS.every_s - 1
        assert feed.read() is None


def test_a_pass_begins_again_after_a_failure(store: CloudStore) -> None:
    clock_s, fails = [0.0], [True]

    def opened() -> CloudStore:
        if fails[0]:
            raise StoreError("the disk is full")
        return store

    feed = HistoryFeed(opened, VOLTS, NOMINAL, 0.0, lambda: clock_s[0], lambda: NOW_NS)
    with pytest.raises(StoreError):
        feed.read()
    fails[0] = False
    assert feed.read() is None
    clock_s[0] = AGAIN_S
    assert feed.read() is not None


def test_a_sentence_of_an_analysis_is_escaped() -> None:
    """Pages write the author's words as they are, and know only two names in braces."""
    because = "<b> {start} {end} {0.__class__} {"
    found = StoredPhenomenon("my_step", ("1",), 1, 2, {"because": because})
    assert words_of(found, str) == "<b> 1 2 {0.__class__} {"
    assert words_of(found, lambda at_ms: Markup(f"<time>{at_ms}</time>"), Markup) == (
        "&lt;b&gt; <time>1</time> <time>2</time> {0.__class__} {"
    )
    assert words_of(replace(found, details={}), str) == "my_step of Box 1 from 1 to 2"


def test_phenomena_replace_the_former_ones(store: CloudStore) -> None:
    """A new one is returned once, keeps its number, names the findings of its hour, and goes at last."""
    at_ns = START_NS + 12 * 3600 * 10**9 + 9 * DAY_NS
    sag = Finding("sag", "1", at_ns + 60 * 10**9, at_ns + 61 * 10**9, 1000, residual_percent=50.0)
    put_findings(store, NO_EVENT, [sag])
    history = History(START_NS, START_NS + 30 * DAY_NS, (), ("1", "2"))
    step = Phenomenon(
        "my_step", ("1", "2"), at_ns, at_ns + 3600 * 10**9, "it moved at {start}", "rms_v", 1.5, "%"
    )
    state = Phenomenon("my_state", ("1",), history.start_ns, history.end_ns, "it stays", lasting=True)
    mine = Provenance("mine", "1.0.0", "")
    new = replace_phenomena(store, mine, history, [step, state])
    assert [each.kind for each in new] == ["my_step", "my_state"]
    assert new[0].details["version"] == "1.0.0" and len(new[0].incident_ids) == 1
    assert words_of(new[0]).startswith("it moved at 20") and new[1].lasting
    assert (phenomenon_json(new[0])["size"], phenomenon_json(new[0])["unit"]) == (1.5, "%")
    later = History(START_NS + 5 * DAY_NS, START_NS + 35 * DAY_NS, (), ("1", "2"))
    moved = replace(state, start_ns=later.start_ns, end_ns=later.end_ns)
    assert replace_phenomena(store, replace(mine, version="1.1.0"), later, [step, moved]) == []
    assert replace_phenomena(store, Provenance("other", "1", ""), later, []) == []
    found = store.phenomena(0, 2**50)
    assert {(each.kind, each.details["version"]) for each in found} == {
        ("my_step", "1.1.0"),
        ("my_state", "1.1.0"),
    }
    replace_phenomena(store, mine, later, [])
    assert store.phenomena(0, 2**50) == []


def test_a_move_leaves_what_was_found_before(store: CloudStore) -> None:
    """Also where a neighbour moved; a step from one place to the other goes."""
    move_ns, end_ns = START_NS + 20 * DAY_NS, START_NS + 30 * DAY_NS
    mine, boxes = Provenance("mine", "1.0.0", ""), ("1", "2", "3")
    stays = tuple(BoxHistory(each, 120.0, 50.0, (), since_ns=START_NS) for each in boxes)
    state = Phenomenon("my_state", ("1",), START_NS, move_ns, "it stays", lasting=True)
    found = [
        state,
        Phenomenon("my_step", ("1",), START_NS + 9 * DAY_NS, START_NS + 10 * DAY_NS, "it moved"),
        Phenomenon("my_move", ("1",), move_ns - 1, move_ns, "it moved"),
        Phenomenon("my_step", ("2", "1"), START_NS + 9 * DAY_NS, START_NS + 10 * DAY_NS, "they moved"),
        Phenomenon("my_step", ("3",), START_NS + 9 * DAY_NS, START_NS + 10 * DAY_NS, "it moved"),
    ]
    replace_phenomena(store, mine, History(START_NS, move_ns, stays, boxes), found)
    moved = (replace(stays[0], since_ns=move_ns), *stays[1:])
    again = replace(state, start_ns=move_ns, end_ns=end_ns)
    new = replace_phenomena(store, mine, History(START_NS, end_ns, moved, boxes), [again])
    assert [(each.kind, each.start_ms * 10**6) for each in new] == [("my_state", move_ns)]
    left = [(each.kind, each.box_ids) for each in store.phenomena(0, 2**50)]
    assert left == [("my_state", ("1",)), ("my_step", ("1",)), ("my_step", ("2", "1")), ("my_state", ("1",))]
