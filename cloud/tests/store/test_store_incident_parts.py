"""Rows by incident and Box: what a visitor sees of the list is what all findings, filtered, would say."""

import random
import sqlite3
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.operations.incident_edits import IncidentEditor
from opq_cloud.store import BoxRecord, CloudStore
from opq_cloud.store.documents.readable import ReadableDocuments
from opq_cloud.store.embedded.embedded_driver import SqliteDocuments
from opq_cloud.store.embedded.embedded_store import EmbeddedStore
from opq_cloud.store.incidents.index import (
    IncidentFilter,
    IncidentNote,
    IndexedIncident,
    IndexPlace,
    cell_of,
    entry_of_incident,
)
from opq_cloud.store.mongo.mongo_driver import MongoDocuments
from opq_cloud.store.records.accounts.account_records import Account
from opq_cloud.store.records.accounts.rights import Standing, Way
from opq_cloud.store.records.accounts.seen_incidents import incident_at
from opq_cloud.store.records.incidents.incident_parts import ROW_FIELDS, row_conditions, row_order
from opq_cloud.store.records.tables import INDEX, PARTS
from opq_cloud.view.pages.visible.seen_store import SeenStore, seen_lists
from opq_cloud.view.web.visitors import Visitor
from opq_proto.messages import Finding, Incident, Trigger

S = 10**9
ZERO_NS = 1_795_000_000 * S
KINDS = (
    ("sag", 70.0),
    ("sag", 85.0),
    ("swell", 115.0),
    ("interruption", 3.0),
    ("harmonics", None),
    ("sag", None),
)
"""Two are exactly as far from nominal: the index names an incident as its page does there too."""
SIGHTS = (("1",), ("2", "3"), ("1", "2", "4"), ("1", "2", "3", "4", "5"), ("9",))


def finding(
    box_id: str, at_s: float, kind: str = "sag", percent: float | None = 70.0, length_s: float = 0.1
) -> Finding:
    start_ns = ZERO_NS + round(at_s * S)
    end_ns = start_ns + round(length_s * S)
    return Finding(kind, box_id, start_ns, end_ns, 1000, True, residual_percent=percent)


def put(store: CloudStore, *findings: Finding) -> list[int]:
    """As one event; the numbers of the incidents that the findings are in."""
    first, last = min(one.start_ns for one in findings), max(one.end_ns for one in findings)
    boxes = tuple({one.box_id: None for one in findings})
    token = f"{first}-{last}-{'-'.join(boxes)}-{findings[0].kind}"
    event_id = store.open_event(Trigger(token, first, last, boxes, boxes[0], ""), "")
    return [one.incident_id for one in put_findings(store, event_id, findings)]


def disturb(store: CloudStore, seed: int) -> None:
    """Incidents of one to five Boxes, some of which grow, are split, merged, labelled or noted."""
    chance = random.Random(seed)
    numbers: list[int] = []
    for k in chance.sample(range(9), 9):  # in whatever order they are numbered
        boxes = chance.sample(("1", "2", "3", "4", "5"), chance.randrange(1, 5))
        found = []
        for box_id in boxes:
            kind, percent = chance.choice(KINDS)
            at_s = 40.0 * k + chance.choice((0.0, 0.0, 0.05))
            found.append(finding(box_id, at_s, kind, percent, chance.choice((0.1, 0.1, 0.4, 2.0))))
        numbers += put(store, *found)
        if chance.random() < 0.4:  # the same again, one longer: they are seen better, and a Box joins
            put(store, replace(found[0], end_ns=found[0].end_ns + S), finding("5", 40.0 * k, "swell", 120.0))
    editor = IncidentEditor(store)
    known = [each for number in dict.fromkeys(numbers) if (each := store.incident(number)) is not None]
    wide = [each for each in known if len({one.finding.box_id for one in each.findings}) > 1]
    if len(wide) > 1:
        editor.split_incident(wide[0].incident_id, [wide[0].findings[0].finding_id])
        other = known[0] if wide[-1] != known[0] else known[-1]
        editor.merge_incidents([wide[-1].incident_id, other.incident_id])
    for one, kind, text in ((known[1], "label", "outage"), (known[2], "note", "bang")):
        if store.incident(one.incident_id) is not None:
            store.put_note(IncidentNote(0, one.incident_id, 1000, "", kind, text))


@pytest.mark.parametrize("length_s", [0.1, 0.4, 0.05])
def test_tie_is_named_alike_by_index_and_page(store: CloudStore, length_s: float) -> None:
    """At an exact tie the index names an incident as its page does."""
    dip, swell = finding("1", 0, "sag", 85.0), finding("2", 0, "swell", 115.0, length_s)
    (number, _) = put(store, dip, swell)
    incident = store.incident(number)
    (entry,) = store.find_incidents(IncidentFilter(), 10)
    assert incident is not None
    named = ("sag", 85.0) if length_s < 0.1 else ("swell", 115.0)  # the longer one; at once, the later Box
    assert (incident.kind, incident.residual_percent) == (entry.kind, entry.residual_percent) == named


Said = dict[int, str]


def expected(
    every: list[Incident], said: Said, seen: frozenset[str], wanted: IncidentFilter
) -> list[IndexedIncident]:
    """Every incident, read whole, cut to what is seen, and filtered."""
    found = []
    for whole in every:
        part = incident_at(whole, seen.__contains__)
        if part is None:
            continue
        work = "open" if len(part.box_ids) == len(whole.box_ids) else None
        there = wanted.shown(part)
        severity = whole.severity if work is not None else None  # a part's is read where it is asked for
        one = msgspec.structs.replace(
            entry_of_incident(there),
            kind=there.kind,
            work=work,
            severity=there.severity if wanted.by_severity else severity,
            scope=part.scope,
        )
        fits = (
            (not wanted.kind or wanted.kind in one.kind.split("+"))
            and (not wanted.box_id or wanted.box_id in part.box_ids)
            and (wanted.box_ids is None or bool({*part.box_ids} & {*wanted.box_ids}))
            and any(wanted.was_there(each.finding.box_id, each.finding.start_ns) for each in part.findings)
            and (not wanted.scope or one.scope == wanted.scope)
            and (wanted.least_severity is None or (one.severity or -1.0) >= wanted.least_severity)
            and (wanted.start_ns is None or one.end_ns > wanted.start_ns)
            and (wanted.end_ns is None or one.start_ns < wanted.end_ns)
            and (wanted.began_ns is None or one.start_ns >= wanted.began_ns)
            and wanted.cell in (None, cell_of(one.residual_percent, one.length_ns))
            and (
                not wanted.words
                or (part.box_ids == whole.box_ids and wanted.words in said[whole.incident_id])
            )
        )
        if fits:
            found.append(one)
    return sorted(found, key=lambda one: (one.place(wanted.order).value, one.incident_id), reverse=True)


FILTERS = (
    IncidentFilter(),
    IncidentFilter(kind="sag"),
    IncidentFilter(kind="outage"),
    IncidentFilter(box_id="2"),
    IncidentFilter(box_ids=("1", "9")),
    IncidentFilter(scope="local"),
    IncidentFilter(least_severity=2.0),
    IncidentFilter(start_ns=ZERO_NS + 100 * S, end_ns=ZERO_NS + 241 * S),
    IncidentFilter(began_ns=ZERO_NS + 100 * S, end_ns=ZERO_NS + 241 * S),
    IncidentFilter(box_id="2", began_ns=ZERO_NS + 100 * S),
    IncidentFilter(words="bang"),
    IncidentFilter(box_id="2", words="bang"),
    IncidentFilter(box_id="3", kind="sag"),
    IncidentFilter(box_ids=("2", "3"), kind="swell", order="long"),
    IncidentFilter(box_id="1", cell=cell_of(70.0, S // 10)),
    IncidentFilter(box_ids=("1", "4"), order="severe"),
    IncidentFilter(box_id="2", least_severity=2.0),
    IncidentFilter(
        box_ids=("1", "2"),
        stays=(("1", 0, ZERO_NS + 100 * S), ("2", ZERO_NS + 100 * S, 2**62)),
    ),
    IncidentFilter(cell=cell_of(70.0, S // 10)),
    IncidentFilter(order="severe"),
    IncidentFilter(order="long", kind="sag"),
)


def seen_in(boxes: Collection[str]) -> Callable[[str, int], bool]:
    return lambda box_id, _: box_id in boxes


def compare(store: CloudStore, sights: Sequence[tuple[str, ...]] = SIGHTS) -> None:
    account = Account("a", "a@example.org", "A", "viewer", "", 0)
    every = store.incidents(limit=1000)
    said = {one.incident_id: " ".join(note.text for note in store.notes(one.incident_id)) for one in every}
    in_part = 0
    for boxes in sights:
        kept = seen_lists() if len(boxes) % 2 else None
        seen = SeenStore(store, Visitor(account=account, full=frozenset(boxes)), kept)
        whole = [one.incident_id for one in every if {*one.box_ids} <= {*boxes}]
        assert store.seen_whole([one.incident_id for one in every], seen_in(boxes)) == whole
        in_part += sum(0 < len({*one.box_ids} & {*boxes}) < len(one.box_ids) for one in every)
        for wanted in FILTERS:
            right = expected(every, said, frozenset(boxes), wanted)
            assert seen.find_incidents(wanted, 100) == right, (boxes, wanted)
            assert seen.count_incidents(wanted, 100) == len(right)
            cells = [cell_of(one.residual_percent, one.length_ns) for one in right]
            assert seen.incident_cells(wanted) == {c: cells.count(c) for c in cells if c is not None}
            if len(right) > 2:
                place = right[1].place(wanted.order)
                assert seen.find_incidents(wanted, 2, place) == right[2:4]
                assert seen.find_incidents(wanted, 9, place, back=True) == right[:1]
    assert in_part > 1
    for wanted in FILTERS:  # for who sees every Box
        right = expected(every, said, frozenset("12345"), wanted)
        plain = [
            msgspec.structs.replace(each, label=None, machine_kind=None)
            for each in store.find_incidents(wanted, 100)
        ]
        assert plain == right, wanted
        assert store.count_incidents(wanted, 100) == len(right)
        if len(right) > 2:
            place = right[1].place(wanted.order)
            after = [each.incident_id for each in store.find_incidents(wanted, 2, place)]
            assert after == [each.incident_id for each in right[2:4]], wanted
            (before,) = store.find_incidents(wanted, 1, place, back=True)
            assert before.incident_id == right[0].incident_id, wanted


def test_a_visible_part_equals_a_filter_of_all(store: CloudStore) -> None:
    store.put_box(BoxRecord("1", "1", location="here"))
    disturb(store, 22)
    compare(store, SIGHTS if isinstance(store, EmbeddedStore) else SIGHTS[2:3])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20, 40))
def test_it_holds_for_other_histories(tmp_path: Path, seed: int) -> None:
    with closing(EmbeddedStore(tmp_path / "opq.db")) as store:
        disturb(store, seed)
        compare(store)


def test_a_kill_before_the_revision_heals_itself(store: CloudStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """MongoDB has written the index then, and the revision that others compare is as before."""
    if store.driver.__class__.__name__ == "SqliteDriver":
        pytest.skip("a job is one transaction")
    now_s = [1000.0]
    kept = seen_lists(lambda: now_s[0])
    visitor = Visitor(full=frozenset({"1", "2"}))
    seen = SeenStore(store, visitor, kept)
    put(store, finding("1", 0.0))
    assert seen.count_incidents(IncidentFilter(), 100) == 1
    plain = MongoDocuments.raise_number

    class Killed(BaseException):
        pass

    def killed(self: MongoDocuments, name: str, value: int | None = None) -> None:
        if name == "incident_index_revision":
            raise Killed
        plain(self, name, value)

    with monkeypatch.context() as patch:
        patch.setattr(MongoDocuments, "raise_number", killed)
        with pytest.raises(Killed):
            put(store, finding("2", 3600.0))
    assert store.count_incidents(IncidentFilter(), 100) == 2
    assert seen.count_incidents(IncidentFilter(), 100) == 1, "what the index's revision still stands for"
    now_s[0] += 61
    assert seen.count_incidents(IncidentFilter(), 100) == 2


def test_each_change_raises_the_revision(store: CloudStore) -> None:
    """Each change of an incident or of people's work raises the index's revision, a read does not."""
    revisions = [store.index_revision()]

    def rose() -> bool:
        revisions.append(store.index_revision())
        return revisions[-1] > revisions[-2]

    (number, _) = put(store, finding("1", 0.0), finding("2", 0.0))
    assert rose()
    store.find_incidents(IncidentFilter(), 9)
    assert not rose()
    put(store, finding("3", 0.0))  # joins it
    assert rose()
    editor = IncidentEditor(store)
    editor.label_incident(number, "swell", ("swell",))
    assert rose()
    editor.state_cause(number, "the crane")
    assert rose()
    incident = store.incident(number)
    assert incident is not None
    editor.split_incident(number, [incident.findings[0].finding_id])
    assert rose()
    store.put_box(BoxRecord("1", "1"))
    assert not rose()
    while store.expire(int(time.time()) + 400 * 86_400):
        pass
    assert rose()


def test_what_expires_leaves_no_row(store: CloudStore) -> None:
    put(store, finding("1", 0.0), finding("2", 0.0))
    seen = SeenStore(store, Visitor(full=frozenset({"1"})))
    assert seen.count_incidents(IncidentFilter(), 9) == 1
    while store.expire(int(time.time()) + 400 * 86_400):
        pass
    assert seen.count_incidents(IncidentFilter(), 9) == 0
    assert list(store.incident_parts(["1", "2"], IncidentFilter())) == []


@pytest.mark.parametrize("seed", [3, 5, 8])
def test_growing_counts_and_tags_stay_right(tmp_path: Path, seed: int) -> None:
    """Counts and tags that grow with the store equal its content."""
    with closing(EmbeddedStore(tmp_path / "opq.db")) as store:
        disturb(store, seed)
        put(store, finding("7", -0.02))  # earlier than all: the first incident begins with it
    with closing(sqlite3.connect(tmp_path / "opq.db")) as database:
        rows = database.execute(
            "SELECT i.boxes, (SELECT count(*) FROM incident_boxes b WHERE b.group_id = i.group_id), "
            "(SELECT count(DISTINCT box_id) FROM incidents f WHERE f.group_id = i.group_id), "
            "(SELECT count(*) FROM incident_tags t WHERE t.group_id = i.group_id AND tag LIKE 'box:%' "
            "AND t.start_ns = i.start_ns) FROM incident_index i"
        ).fetchall()
    assert len(rows) > 4 and all(len({*row}) == 1 for row in rows), rows
    assert max(row[0] for row in rows) > 2


def test_who_sees_everything_gets_the_stores_own_answers(store: CloudStore) -> None:
    put(store, finding("1", 0.0))
    put(store, finding("2", 90.0, "swell", 115.0))
    seen = SeenStore(store, Visitor(standing=Standing("open", Way.TOKEN, ("read",)), everything=True))
    assert seen.find_incidents(IncidentFilter(), 9) == store.find_incidents(IncidentFilter(), 9)
    assert seen.count_incidents(IncidentFilter(kind="sag"), 9) == 1


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("boxes", [1, 500])
def test_rows_are_read_without_a_sort(tmp_path: Path, boxes: int, back: bool) -> None:
    with closing(EmbeddedStore(tmp_path / "opq.db")):
        pass
    with closing(sqlite3.connect(tmp_path / "opq.db")) as database:
        seen = [str(number) for number in range(boxes)]
        wanted = IncidentFilter(box_id="0" if boxes == 1 else "", start_ns=3)
        where = row_conditions(seen, wanted, IndexPlace(9, 7), back)
        parts = [("incident_id", "in", [1, 2]), ("box_id", "in", seen)]
        statements: list[str] = []
        database.set_trace_callback(statements.append)
        documents = SqliteDocuments(database, ReadableDocuments())
        for _ in documents.find(PARTS, where, sort=row_order(back), fields=ROW_FIELDS):
            pass
        for table, wanted_rows in ((PARTS, parts), (INDEX, parts[:1])):
            assert list(documents.find(table, wanted_rows)) == []
        database.set_trace_callback(None)
        plan = [row[3] for text in statements for row in database.execute(f"EXPLAIN QUERY PLAN {text}")]
    name = "box (box_id=? AND start_ns>?" if boxes == 1 else "start (start_ns>?"
    covering = f"SEARCH incident_boxes USING COVERING INDEX incident_boxes_by_{name}"
    assert any(covering in step for step in plan), plan
    assert not any(step.startswith("SCAN incident") for step in plan), plan
    assert not any("TEMP B-TREE" in step for step in plan), plan
