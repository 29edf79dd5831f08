"""The index of incidents, labels and notes, splits and merges by hand: one behaviour of both stores."""

import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.mauka.joining.withdrawal import plan_withdrawal
from opq_cloud.operations.incident_edits import IncidentEditor
from opq_cloud.store import BoxRecord, CloudStore
from opq_cloud.store.box_place import BoxPlace
from opq_cloud.store.embedded.embedded_store import EmbeddedStore
from opq_cloud.store.embedded.statements import count_statement, find_statement
from opq_cloud.store.incidents.index import (
    ORDERS,
    PLANE_COLUMNS,
    IncidentEditError,
    IncidentFilter,
    IncidentNote,
    IncidentWork,
    IndexedIncident,
    IndexPlace,
    cell_of,
    folded,
)
from opq_cloud.store.records.accounts.account_records import Account
from opq_cloud.store.records.accounts.seen_marks import MAX_SEEN, SEEN_INCIDENTS
from opq_cloud.store.records.incidents.incident_index import ENTRY, conditions, order
from opq_cloud.store.records.tables import INDEX
from opq_proto.errors import StoreError
from opq_proto.messages import Finding, Trigger

S = 10**9
ZERO_NS = 1_795_000_000 * S
CLASSES = ("sag", "swell", "harmonics", "outage")


def finding(
    box_id: str, at_s: float, kind: str = "sag", percent: float | None = 70.0, length_s: float = 0.1
) -> Finding:
    start_ns = ZERO_NS + round(at_s * S)
    return Finding(
        kind,
        box_id,
        start_ns,
        start_ns + round(length_s * S),
        1000,
        True,
        residual_percent=percent,
        itic=None if percent is None else "no_interruption_in_function",
    )


def put(store: CloudStore, *findings: Finding) -> list[int]:
    """As one event; the numbers of the incidents that the findings are in."""
    first, last = min(one.start_ns for one in findings), max(one.end_ns for one in findings)
    boxes = tuple({one.box_id: None for one in findings})
    token = f"{first}-{'-'.join(boxes)}-{findings[0].kind}"
    event_id = store.open_event(Trigger(token, first, last, boxes, boxes[0], ""), "")
    return [one.incident_id for one in put_findings(store, event_id, findings)]


def found(store: CloudStore, limit: int = 50, **fields: object) -> list[int]:
    return [one.incident_id for one in store.find_incidents(IncidentFilter(**fields), limit)]  # type: ignore[arg-type]


def page_statement(wanted: IncidentFilter, beyond: IndexPlace | None, back: bool) -> tuple[str, list[object]]:
    key = () if beyond is None else beyond.key
    return find_statement(INDEX, conditions(wanted), order(wanted, back), key, 26, ENTRY)


def counting_statement(wanted: IncidentFilter) -> tuple[str, list[object]]:
    return count_statement(INDEX, conditions(wanted), 1000)


def say(store: CloudStore, number: int, text: str, kind: str = "note", account_id: str = "ada") -> None:
    store.put_note(IncidentNote(0, number, 1000, account_id, kind, text))


def test_incidents_are_found_by_what_they_are(store: CloudStore) -> None:
    store.put_box(BoxRecord("1", "1", location="here"))
    (one,) = put(store, finding("1", 0.0, "sag", 70.0, 0.1))
    (two,) = put(store, finding("2", 100.0, "swell", 115.0, 0.3))
    (three,) = put(store, finding("1", 200.0, "harmonics+sag", 30.0, 2.0))
    (four,) = put(store, finding("3", 300.0, "harmonics", None, 60.0))
    assert found(store) == [four, three, two, one]
    assert found(store, kind="sag") == [three, one]
    assert found(store, kind="harmonics") == [four, three]
    assert found(store, box_id="1") == [three, one]
    assert found(store, box_id="1", kind="harmonics") == [three]
    assert found(store, box_ids=("2", "3")) == [four, two]
    assert found(store, box_ids=()) == []
    assert found(store, scope="local") == [three, one], "one Box of a known place"
    assert found(store, start_ns=ZERO_NS + 150 * S, end_ns=ZERO_NS + 250 * S) == [three]
    assert found(store, cell=cell_of(70.0, S // 10)) == [one]
    assert found(store, kind="outage") == []
    severe = store.find_incidents(IncidentFilter(order="severe"), 10)
    assert [each.severity for each in severe] == sorted((each.severity for each in severe), reverse=True)
    assert one not in found(store, least_severity=severe[0].severity)
    assert found(store, order="long") == [four, three, two, one]
    assert store.count_incidents(IncidentFilter(kind="sag"), 100) == 2
    assert store.count_incidents(IncidentFilter(), 3) == 3
    assert sum(store.incident_cells(IncidentFilter()).values()) == 3
    assert store.incident_cells(IncidentFilter(kind="swell")) == {cell_of(115.0, 3 * S // 10): 1}


def test_the_newest_incident_began_last(store: CloudStore) -> None:
    """Late, backfilled and re-analysed incidents have high numbers and stand where they belong in time."""
    today, hour_ago = put(store, finding("1", 7200.0))[0], put(store, finding("2", 3600.0))[0]
    last_week = put(store, finding("1", 0.0))[0]
    assert found(store) == found(store, kind="sag") == [today, hour_ago, last_week]
    assert found(store, box_id="1") == [today, last_week]
    (grown,) = put(store, finding("1", -90_000.0))
    assert found(store)[-1] == grown
    put(store, replace(finding("1", -90_000.0), start_ns=ZERO_NS - 90_001 * S, end_ns=ZERO_NS - 89_999 * S))
    (first,) = store.find_incidents(IncidentFilter(box_id="1"), 1, IndexPlace(ZERO_NS - 1, 0))
    assert (first.incident_id, first.start_ns) == (grown, ZERO_NS - 90_001 * S), "its tags moved with it"


def test_events_are_ordered_by_start_or_number(
    store: CloudStore,
) -> None:
    """People's events by their start, others by their number."""
    opened = []
    for at_ms in (90_000, 0, 50_000, 50_000):
        start_ns = ZERO_NS + at_ms * 1_000_000
        trigger = Trigger(f"token {len(opened)}", start_ns, start_ns + S, ("1",), "1", "test")
        opened.append(store.open_event(trigger, "test"))
    late, early, middle, same = opened
    assert [each.event_id for each in store.events()] == [same, middle, early, late]
    every = store.events_by_start(9)
    assert [each.event_id for each in every] == [late, same, middle, early]
    walked: list[int] = []
    beyond: IndexPlace | None = None
    while page := store.events_by_start(1, beyond):
        walked += [each.event_id for each in page]
        beyond = IndexPlace(page[-1].start_ns // 1_000_000, page[-1].event_id)
    assert walked == [late, same, middle, early]
    since = store.events_by_start(9, None, ZERO_NS + 2 * S, ZERO_NS + 60 * S)
    assert [each.event_id for each in since] == [same, middle]


@pytest.mark.parametrize("order", ORDERS)
def test_paging_by_key_loses_nothing(store: CloudStore, order: str) -> None:
    """A page goes on by its key forward and back with nothing lost."""
    for k in range(9):
        put(store, finding("1", 100.0 * k, length_s=0.1 * (1 + k % 3)))
    wanted = IncidentFilter(kind="sag", order=order)
    every = store.find_incidents(wanted, 50)
    assert len({each.incident_id for each in every}) == 9
    walked: list[IndexedIncident] = []
    beyond: IndexPlace | None = None
    while page := store.find_incidents(wanted, 4, beyond):
        walked += page
        beyond = page[-1].place(order)
    assert walked == every
    before = store.find_incidents(wanted, 50, every[5].place(order), back=True)
    assert before == every[4::-1]


def test_a_label_outlives_the_next_analysis(store: CloudStore) -> None:
    """A label wins over the machine is searched and outlives the next analysis."""
    first = finding("1", 0.0)
    (number,) = put(store, first)
    say(store, number, "Fault at the Kāne\u02bbohe substation")
    say(store, number, "outage", "label")
    incident = store.incident(number)
    assert incident is not None
    assert (incident.kind, incident.machine_kind) == ("outage", "sag")
    assert store.incidents()[0].kind == "outage"
    assert found(store, kind="outage") == [number]
    assert found(store, kind="sag") == []
    assert found(store, words="KANE SUBSTATION") == [number]
    assert found(store, words="kane nowhere") == []
    put(store, first)
    put(store, finding("1", 0.05, "swell", 130.0, 0.5))
    incident = store.incident(number)
    assert incident is not None
    assert (incident.kind, incident.machine_kind) == ("outage", "swell")
    assert found(store, kind="outage") == [number]
    say(store, number, "", "label")
    incident = store.incident(number)
    assert incident is not None
    assert (incident.kind, incident.machine_kind) == ("swell", None)
    assert found(store, kind="swell") == [number]
    assert [note.kind for note in store.notes(number)] == ["note", "label", "label"]
    assert [note.text for note in store.notes_of("ada")][1] == "outage"
    store.forget_author("ada")
    assert store.notes_of("ada") == []
    assert [note.account_id for note in store.notes(number)] == ["deleted"] * 3
    with pytest.raises(StoreError, match="there is no incident 77"):
        say(store, 77, "nothing")


def test_work_is_found_and_outlives_analysis(store: CloudStore) -> None:
    """Work is found by state, assignee and cause, and outlives the next analysis."""
    account = store.people.add_account("ada@example.org", "Ada", "researcher", "")
    assert account is not None
    ada = account.account_id
    first = finding("1", 0.0)
    (one,), (two,) = put(store, first), put(store, finding("2", 100.0))
    assert found(store, work="open") == [two, one]
    editor = IncidentEditor(store)
    editor.acknowledge_incident(one, ada)
    editor.assign_incident(one, ada)
    editor.state_cause(one, "the  crane\nat the mill", ada)
    put(store, replace(first, end_ns=first.end_ns + S))
    assert store.incident_work([one, two, 99]) == {
        one: IncidentWork("acknowledged", ada, "the crane at the mill"),
        two: IncidentWork("open"),
    }
    assert (found(store, work="open"), found(store, work="acknowledged")) == ([two], [one])
    assert found(store, assigned_to=ada, cause_known=True, kind="sag", box_id="1") == [one]
    assert found(store, words="crane") == [one] and found(store, assigned_to="bob") == []
    assert store.count_incidents(IncidentFilter(work="open"), 9) == 1
    parts = [each.seen() for each in store.incident_parts({"1"}, IncidentFilter(work="acknowledged"))]
    assert [
        (each.work, each.assigned_to) for each in parts if each.fits_work(IncidentFilter(work="open"))
    ] == []
    assert [(each.work, each.assigned_to) for each in parts] == [("acknowledged", ada)]
    editor.acknowledge_incident(one, ada, done=False)
    editor.state_cause(one, "", ada)
    store.forget_author(ada)
    assert store.incident_work([one]) == {one: IncidentWork("open")}
    assert found(store, assigned_to=ada) == [] and found(store, work="open") == [two, one]
    assert ada not in str(store.notes(one))
    with pytest.raises(IncidentEditError, match="no such account"):
        editor.assign_incident(one, "bob")
    with pytest.raises(IncidentEditError, match="want 200 or fewer"):
        editor.state_cause(one, "x" * 201)


def test_incidents_are_seen_by_each_account(store: CloudStore) -> None:
    """An incident is new to one account and seen by another, in whole and in part."""
    people = store.people
    ada, bob = (people.add_account(f"{name}@example.org", name, "viewer", "") for name in ("ada", "bob"))
    assert ada is not None and bob is not None
    ada, bob = (replace(each, created_ms=0) for each in (ada, bob))
    numbers = [put(store, finding("1", 100.0 * place), finding("2", 100.0 * place))[0] for place in range(4)]
    one, two, three, four = numbers
    records = people.seen_marks

    def new(account: Account) -> list[int]:
        wanted = IncidentFilter(unseen=records.of(account.account_id, account.created_ms))
        assert store.count_incidents(wanted, 99) == len(found(store, unseen=wanted.unseen))
        parts = [each.seen() for each in store.incident_parts({"1"}, wanted)]
        assert [each.incident_id for each in parts if each.fits_work(wanted)] == found(
            store, unseen=wanted.unseen
        )
        return found(store, unseen=wanted.unseen)

    assert new(ada) == [four, three, two, one] and store.people.documents.find(SEEN_INCIDENTS) == []
    records.mark(ada.account_id, [three])
    records.mark(ada.account_id, [three, one])
    assert (new(ada), new(bob)) == ([four, two], [four, three, two, one])
    records.mark(bob.account_id, up_to=two)
    assert new(bob) == [four, three]
    records.mark(bob.account_id, [four], up_to=one)
    assert new(bob) == [three], "a mark is not taken back by a lower one"
    began_ns = sorted(each.start_ns for each in store.find_incidents(IncidentFilter(), 9))[3]
    assert new(replace(ada, created_ms=began_ns // 1_000_000 + 1)) == []
    people.delete_account(ada.account_id)
    assert [each["up_to"] for each in people.documents.find(SEEN_INCIDENTS)] == [two]


def test_marks_of_an_account_are_bounded(store: CloudStore) -> None:
    """However many incidents somebody opens, the marks stay few, and what was seen stays seen."""
    records = store.people.seen_marks
    for start in range(1, 2 * MAX_SEEN, 500):
        records.mark("a", range(start * 2, (start + 500) * 2, 2))
        assert len(records.of("a", 0).numbers) <= MAX_SEEN
    marks = records.of("a", 0)
    assert not any(marks.is_new(number * 2, 1) for number in range(1, 2 * MAX_SEEN))
    assert marks.is_new(4 * MAX_SEEN - 1, 1) and not marks.is_new(3, 1), "old ones count as seen"


def test_one_mark_too_many_drops_the_oldest(store: CloudStore) -> None:
    """Only what lies below that one counts as seen; the others stay new."""
    records = store.people.seen_marks
    records.mark("a", range(10, 10 + 2 * MAX_SEEN, 2))
    assert records.of("a", 0).is_new(9, 1) and len(records.of("a", 0).numbers) == MAX_SEEN
    records.mark("a", [10_000])
    marks = records.of("a", 0)
    assert (marks.up_to, len(marks.numbers)) == (10, MAX_SEEN)
    assert not marks.is_new(9, 1) and marks.is_new(11, 1) and not marks.is_new(12, 1)


def test_incidents_seen_in_a_row_need_no_marks(store: CloudStore) -> None:
    records = store.people.seen_marks
    records.mark("a", range(1, 3 * MAX_SEEN))
    records.mark("a", [3 * MAX_SEEN, 3 * MAX_SEEN + 2])
    marks = records.of("a", 0)
    assert (marks.up_to, marks.numbers) == (3 * MAX_SEEN, {3 * MAX_SEEN + 2})


def test_a_split_outlives_the_next_analysis(store: CloudStore, open_again: Callable[[], CloudStore]) -> None:
    together = (finding("1", 0.0), finding("2", 0.02, percent=60.0), finding("4", 0.05))
    number = put(store, *together)[0]
    whole = store.incident(number)
    assert whole is not None and len(whole.findings) == 3
    chosen = [each.finding_id for each in whole.findings if each.finding.box_id == "1"]
    fresh = IncidentEditor(store).split_incident(number, chosen, "ada")
    for _ in range(2):
        split, rest = store.incident(fresh), store.incident(number)
        assert split is not None and rest is not None
        assert (split.box_ids, rest.box_ids) == (("1",), ("2", "4"))
        assert (found(store, box_id="1"), found(store, box_id="4")) == ([fresh], [number])
        assert split.severity is not None and rest.residual_percent == 60.0
        put(store, *together)
        put(open_again(), finding("2", 0.02, percent=60.0, length_s=0.4))
    assert "2 of its" not in store.notes(number)[0].text
    assert [note.kind for note in (*store.notes(number), *store.notes(fresh))] == ["split", "split"]


def test_a_merge_keeps_its_notes_and_labels(store: CloudStore) -> None:
    """A merge stays one and brings what was said."""
    one, other = finding("1", 0.0), finding("2", 40.0, percent=50.0)
    first, second = *put(store, one), *put(store, other)
    say(store, second, "heard a bang")
    kept = IncidentEditor(store).merge_incidents([second, first], "ada")
    assert kept == first
    for _ in range(2):
        merged = store.incident(kept)
        assert merged is not None
        assert (merged.box_ids, merged.residual_percent) == (("1", "2"), 50.0)
        assert store.incident(second) is None
        assert (store.successor(second), store.successor(first), store.successor(99)) == (first, None, None)
        assert found(store) == [kept]
        assert found(store, words="bang") == [kept]
        put(store, one)
        put(store, other)
    assert [note.kind for note in store.notes(kept)] == ["note", "merge"]


def test_what_cannot_be_split_or_merged_is_said(store: CloudStore) -> None:
    number = put(store, finding("1", 0.0), finding("2", 0.01))[0]
    every = [each.finding_id for each in store.incident(number).findings]  # type: ignore[union-attr]
    editor = IncidentEditor(store)
    for call, said in (
        (lambda: editor.split_incident(number, every), "choose some, not all"),
        (lambda: editor.split_incident(number, []), "choose some, not all"),
        (lambda: editor.split_incident(number, [999]), "no finding 999"),
        (lambda: editor.split_incident(99, [1]), "there is no incident 99"),
        (lambda: editor.merge_incidents([number]), "want 2 to 50"),
        (lambda: editor.merge_incidents([number, 99]), "there is no incident 99"),
        (lambda: editor.label_incident(number, "magic", CLASSES), "is not a class"),
        (lambda: editor.note_incident(number, "  "), "want 1 to 2000"),
    ):
        with pytest.raises(IncidentEditError, match=said):
            call()
    assert found(store) == [number]


def test_a_note_is_one_line_without_controls(store: CloudStore) -> None:
    """A note is one line and steers no terminal."""
    number = put(store, finding("1", 0.0))[0]
    IncidentEditor(store).note_incident(number, " the crane\r\nagain\x1b[31m\u202e\x07 ")
    assert [each.text for each in store.notes(number)] == ["the crane again[31m"]


def test_notes_follow_a_merged_incident(store: CloudStore) -> None:
    first, second = *put(store, finding("1", 0.0)), *put(store, finding("2", 0.3))
    assert first != second
    say(store, second, "two of them")
    put(store, finding("2", 0.15, length_s=0.4))
    assert found(store) == [first]
    assert found(store, words="two", box_id="2") == [first]
    assert [note.incident_id for note in store.notes(first)] == [first]
    assert store.successor(second) == first
    (other,) = put(store, finding("3", 40.0))
    kept = IncidentEditor(store).merge_incidents([other, first], "ada")
    assert {store.successor(number) for number in {first, second, other} - {kept}} == {kept}
    while store.expire(int(time.time()) + 400 * 86_400):
        pass
    assert store.successor(second) is None


def test_a_withdrawn_incident_leaves_no_address(store: CloudStore) -> None:
    first, second = *put(store, finding("1", 0.0)), *put(store, finding("2", 0.3))
    put(store, finding("2", 0.15, length_s=0.4))
    assert (found(store), store.successor(second)) == ([first], first)
    for each in (finding("1", 0.0), finding("2", 0.15)):
        assert store.carry_out(plan_withdrawal(store, each, 0, lambda box_id, _t_ns: BoxPlace()))
    assert (found(store), store.successor(second)) == ([], None)


def test_what_expires_leaves_the_index_too(store: CloudStore) -> None:
    (number,) = put(store, finding("1", 0.0))
    say(store, number, "gone soon")
    assert found(store) == [number]
    later_s = int(time.time()) + 400 * 86_400
    while store.expire(later_s):
        pass
    assert found(store) == []
    assert store.notes_of("ada") == []


FILTERS = (
    IncidentFilter(),
    IncidentFilter(kind="sag"),
    IncidentFilter(box_id="1", kind="sag"),
    IncidentFilter(kind="sag", least_severity=5.0, scope="local", words="fault"),
    IncidentFilter(box_id="1", work="open", assigned_to="ada", cause_known=True),
    IncidentFilter(order="severe"),
    IncidentFilter(order="long"),
)


def test_incidents_since_a_moment_are_all_found(
    store: CloudStore,
) -> None:
    """A low number may end late: an old one that lasts, and one that was analysed before its elders."""
    ends_s = (400.0, 10.0, 200.0, 30.0, 300.0, 50.0)
    numbers = [put(store, finding("1", at_s, "sag", 70.0, 1.0))[0] for at_s in ends_s]
    for since_s in (0.0, 40.0, 100.0, 250.0, 390.0, 500.0):
        starts = zip(ends_s, numbers, strict=True)
        late = [one for at_s, one in sorted(starts) if at_s >= since_s]
        since_ns = ZERO_NS + round(since_s * S)
        assert found(store, kind="sag", start_ns=since_ns) == late[::-1]
        assert found(store, start_ns=since_ns) == late[::-1]
        assert store.count_incidents(IncidentFilter(kind="sag", start_ns=since_ns), 50) == len(late)
        cells = store.incident_cells(IncidentFilter(kind="sag", start_ns=since_ns))
        assert sum(cells.values()) == len(late)


def test_a_continuing_incident_did_not_begin_there(store: CloudStore) -> None:
    before, at, late = (
        put(store, finding("1", at_s, "sag", 70.0, 100.0))[0] for at_s in (50.0, 200.0, 400.0)
    )
    start_ns, end_ns = ZERO_NS + 100 * S, ZERO_NS + 400 * S
    assert found(store, start_ns=start_ns, end_ns=end_ns) == [at, before]
    assert found(store, began_ns=start_ns, end_ns=end_ns) == [at]
    assert found(store, kind="sag", began_ns=ZERO_NS + 200 * S) == [late, at]
    assert store.count_incidents(IncidentFilter(began_ns=start_ns), 50) == 2


def test_a_class_is_read_from_its_first(tmp_path: Path) -> None:
    """A class since a moment is read from the first that ends after it."""
    store = EmbeddedStore(tmp_path / "opq.db")
    wanted = IncidentFilter(kind="sag", start_ns=ZERO_NS)
    with sqlite3.connect(tmp_path / "opq.db") as database:
        for text, values in (page_statement(wanted, None, False), counting_statement(wanted)):
            plan = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {text}", values)]
            assert "SEARCH incident_tags USING PRIMARY KEY (tag=? AND start_ns>?)" in plan, plan
            assert any("COVERING INDEX incident_index_by_end (end_ns>?)" in step for step in plan), plan
    database.close()
    store.close()


@pytest.mark.parametrize("wanted", FILTERS, ids=range(len(FILTERS)))
@pytest.mark.parametrize("back", [False, True])
def test_a_page_is_read_without_a_sort(tmp_path: Path, wanted: IncidentFilter, back: bool) -> None:
    store = EmbeddedStore(tmp_path / "opq.db")
    with sqlite3.connect(tmp_path / "opq.db") as database:
        for text, values in (
            page_statement(wanted, IndexPlace(3.0, 17), back),
            counting_statement(wanted),
        ):
            plan = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {text}", values)]
            assert not any("TEMP B-TREE" in step for step in plan), plan
            if wanted.tags:
                assert not any(step.startswith(("SCAN incident", "SCAN u")) for step in plan), plan
    database.close()
    store.close()


def test_words_and_cells_are_what_they_say() -> None:
    assert folded("  Ümläut\tK\u0101ne ") == "umlaut kane"
    assert cell_of(None, S) is None
    assert cell_of(0.0, S // 100) == 0
    assert cell_of(89.9, S // 10) == 4 * PLANE_COLUMNS + 1
    assert cell_of(90.0, S // 10) == 5 * PLANE_COLUMNS + 1
