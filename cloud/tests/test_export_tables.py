"""Tables as files: nothing a spreadsheet calculates, nothing lost between pages, a page in memory."""

import csv
import io
import json
import math
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path

import demo
import pyarrow.csv
import pyarrow.parquet
import pytest

from opq_cloud.export.exported_records import ExportError
from opq_cloud.export.selection import (
    all_incidents,
    all_measurements,
    event_records,
    finding_table,
    incident_records,
    incident_table,
    measurement_table,
)
from opq_cloud.export.tables import (
    FORM_WORDS,
    ROWS_AT_ONCE,
    ExportTable,
    JsonRow,
    TableColumn,
    TableForm,
    comment_lines,
    guarded,
    table_pieces,
)
from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.store import CloudStore, open_store
from opq_cloud.store.documents.findings import incident_document, shown_from_document
from opq_cloud.store.documents.readable import READ_ERRORS
from opq_cloud.store.incidents.index import IncidentFilter, IndexProgress
from opq_cloud.store.incidents.join_plan import KnownFinding, incident_of
from opq_cloud.view.pages.visible.seen_store import SeenStore
from opq_cloud.view.web.visitors import Visitor
from opq_proto.messages import Finding, Measurement, Metric

T_MS = 1_795_000_000_000


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudStore]:
    """The sag of the default scenario at three Boxes, and a few Measurements."""
    found = open_store(None, tmp_path_factory.mktemp("export"))
    demo.fill(found, T_MS * 10**6, minutes=1)
    odd = Measurement("9", T_MS, {"rms": Metric(1.0, float("inf"), 2.0), "=cmd()": Metric(1.0, 1.0, 1.0)})
    found.append_measurements([odd])
    yield found
    found.close()


def written(table: ExportTable, form: TableForm, bare: bool = False) -> bytes:
    return b"".join(table_pieces(table, form, bare))


def csv_rows(data: bytes) -> list[dict[str, str]]:
    lines = [line for line in data.decode().splitlines() if not line.startswith(("#", '"#'))]
    return list(csv.DictReader(lines))


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1+1", "-1 -A1", "@SUM(A1)", "\t=1", "  =1", "＝1", "\r=1"])
def test_a_formula_stays_text_in_a_spreadsheet(text: str) -> None:
    assert guarded(text) == f"'{text}"


def test_an_outage_has_event_minus_one_in_csv() -> None:
    ids = TableColumn("event_ids", "text")
    table = ExportTable("t", (ids,), [{"event_ids": [-1]}, {"event_ids": [-1, 7]}], {})
    assert [row["event_ids"] for row in csv_rows(written(table, "csv"))] == ["-1", "-1 7"]


def test_other_texts_and_numbers_are_as_they_are() -> None:
    table = ExportTable(
        "t",
        (TableColumn("a", "number"), TableColumn("b", "text"), TableColumn("c", "text")),
        [{"a": -1.5, "b": "a=b", "c": "=HYPERLINK(1)"}, {"a": float("nan"), "b": None}],
        {"name": "=x\n,=y"},
    )
    assert csv_rows(written(table, "csv")) == [
        {"a": "-1.5", "b": "a=b", "c": "'=HYPERLINK(1)"},
        {"a": "", "b": "", "c": ""},
    ]
    comments = comment_lines(table.facts | {"why": 'a "b"; c', "boxes": ["1", "2"]}).decode()
    assert comments == "# name: =x - =y\r\n# why: a b - c\r\n# boxes: [1 2]\r\n", (
        "one cell each, never quoted"
    )
    assert json.loads(written(table, "json"))["t"][1] == {"a": None, "b": None}


def test_a_csv_is_read_as_it_is() -> None:
    """A reader that is not ours finds the head in the first line, and a time in its columns."""
    columns = (
        TableColumn("start_ns", "whole"),
        TableColumn("end_ms", "number"),
        TableColumn("class", "text"),
    )
    rows = [
        {"start_ns": 1_795_000_000_123_999_999, "end_ms": 1_795_000_001_500.25, "class": "sag"},
        {"start_ns": -1, "end_ms": None, "class": "sag"},
        {"start_ns": 10**30, "end_ms": float("nan"), "class": "sag"},
    ]
    table = ExportTable("t", columns, rows[:2], {"software": "s"})
    read = pyarrow.csv.read_csv(io.BytesIO(written(table, "csv")))
    assert read.column_names == ["start_utc", "start_ns", "end_utc", "end_ms", "class"]
    assert pyarrow.types.is_timestamp(read.schema.field("start_utc").type)
    texts = csv_rows(written(replace(table, rows=rows), "csv"))
    assert [each["start_utc"] for each in texts] == ["2026-11-18 11:06:40.123", "1969-12-31 23:59:59.999", ""]
    assert [each["end_utc"] for each in texts] == ["2026-11-18 11:06:41.500", "", ""]
    told = b"".join(table_pieces(replace(table, rows=rows), "csv", comments=True))
    assert told.startswith(b"# software: s\r\nstart_utc,start_ns")


@pytest.mark.parametrize("form", ["csv", "json"])
def test_rows_are_read_as_they_are_written(form: TableForm) -> None:
    drawn = 0

    def rows() -> Iterator[JsonRow]:
        nonlocal drawn
        for drawn in range(1, 10 * ROWS_AT_ONCE + 1):
            yield {"a": drawn}

    pieces = table_pieces(ExportTable("t", (TableColumn("a", "whole"),), rows(), {}), form, bare=True)
    for _ in range(2):
        next(pieces)
    assert drawn <= 2 * ROWS_AT_ONCE
    for _ in pieces:
        pass
    assert drawn == 10 * ROWS_AT_ONCE


def test_what_has_one_value_is_one_column(tmp_path: Path) -> None:
    """A flagged Measurement, and one after a gap: their rare metrics are named, and are not quantities."""
    one = Metric(1.0, 1.0, 1.0)
    rms = {"rms": Metric(119.0, 121.0, 120.0)}
    store = open_store(None, tmp_path)
    store.append_measurements(
        [
            Measurement("1", T_MS, rms, sequence=1),
            Measurement("1", T_MS + 1000, {**rms, "flagged": one, "missing_line_s": one}, sequence=2),
        ]
    )
    table = measurement_table(store, ["1"], 0, 4 * 10**12)
    rows = csv_rows(written(table, "csv"))
    store.close()
    assert [row["flagged"] for row in rows] == ["", "1.0"]
    names = list(rows[0])
    assert names[-5:] == ["rms_min", "rms_max", "rms_average", "flagged", "missing_line_s"]


def test_measurements_are_the_same_in_all_forms(store: CloudStore) -> None:
    def asked(form: TableForm) -> bytes:
        return written(measurement_table(store, ["1", "9"], 0, 4 * 10**12, "CC0-1.0"), form)

    found, rows = json.loads(asked("json")), csv_rows(asked("csv"))
    parquet = pyarrow.parquet.read_table(io.BytesIO(asked("parquet")))
    assert len(rows) == len(found["measurements"]) == parquet.num_rows == 61
    assert found["provenance"]["licence"] == "CC0-1.0"
    assert json.loads(parquet.schema.metadata[b"opq.licence"]) == "CC0-1.0"
    first = found["measurements"][0]
    assert (
        float(rows[0]["rms_average"])
        == first["metrics"]["rms"]["average"]
        == parquet["rms_average"][0].as_py()
    )
    assert int(rows[0]["start_ns"]) == first["start_ns"] == parquet["start_ns"][0].as_py()
    assert rows[0]["source"] == "ntp" and rows[0]["uncertainty_ns"] == "1200000"
    odd = found["measurements"][-1]
    assert odd["metrics"]["rms"]["max"] is None and parquet["rms_max"][-1].as_py() is None
    assert "'=cmd()_min" in rows[0], "a name of a metric is a stranger's too"


def test_pages_lose_and_double_nothing(store: CloudStore) -> None:
    whole = store.measurements("1", 0, 4 * 10**12)
    assert list(all_measurements(store, "1", 0, 4 * 10**12, page_rows=7)) == whole
    with pytest.raises(ExportError, match="1 Measurements in the one ms"):
        list(all_measurements(store, "1", 0, 4 * 10**12, page_rows=1))


def test_incidents_and_findings(store: CloudStore) -> None:
    table = incident_table(all_incidents(store))
    row = csv_rows(written(table, "csv"))[0]
    assert (row["id"], row["class"], row["box_ids"], row["event_ids"]) == ("1", "sag", "1", "1")
    findings = json.loads(written(finding_table(all_incidents(store)), "json"))["findings"]
    assert {each["box_id"] for each in findings} == {"1"} and findings[0]["figures"] == {}
    assert pyarrow.parquet.read_table(
        io.BytesIO(written(finding_table(all_incidents(store)), "parquet"))
    ).num_rows == len(findings)
    assert list(all_incidents(store, IncidentFilter(end_ns=10**9))) == []
    assert list(all_incidents(store, IncidentFilter(start_ns=2 * T_MS * 10**6))) == []
    assert len(list(all_incidents(store, IncidentFilter(start_ns=10**9, end_ns=T_MS * 10**6)))) == 1


ODD = (None, "much", "80", True, 5, -1, 1e30, math.nan, math.inf, [], ["x"], {}, {"a": 1}, 2**62, b"0")


def test_no_odd_field_ends_an_export(store: CloudStore) -> None:
    """A finding that has any other value in one field is unreadable, or is in each file."""
    (incident,) = all_incidents(store)
    finding = incident.findings[0].finding
    ours = incident_document(KnownFinding(1, 1, (1,), finding), 0)
    theirs = dict(islice(ours.items(), [*ours].index("group_id")))  # the fields of the original come first
    for document in (ours, theirs):
        for name in document:
            found = []
            for odd in ODD:
                with suppress(*READ_ERRORS):
                    found.append(incident_of([shown_from_document({**document, name: odd})]))
            for form in FORM_WORDS:
                for table in (finding_table, incident_table):
                    assert written(table(found), form), name


def test_a_table_says_how_much_is_indexed() -> None:
    whole, part = (finding_table([], progress=each) for each in (None, IndexProgress(5, 20)))
    assert b"indexed_percent" not in written(whole, "json")
    assert json.loads(written(part, "json"))["provenance"]["indexed_percent"] == 25
    read = pyarrow.parquet.read_table(io.BytesIO(written(part, "parquet")))
    assert read.schema.metadata[b"opq.indexed_percent"] == b"25"


def test_the_index_gives_the_same_incidents_in_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(None, tmp_path)
    demo.fill(store, T_MS * 10**6, minutes=1)
    for number in (5, 2, 3, 1, 4):
        at_ns = (T_MS + number * 60_000) * 10**6
        put_findings(store, 1, [Finding("swell", str(number), at_ns, at_ns + 10**8, 1000, closed=True)])
    every = list(all_incidents(store))
    monkeypatch.setattr("opq_cloud.export.selection.INDEX_ROWS", 2)
    assert (
        len(every) >= 6
        and list(all_incidents(store, IncidentFilter(order="severe", end_ns=4 * 10**18))) == every
    )
    assert [each.start_ns for each in every] == sorted(each.start_ns for each in every)
    third = (T_MS + 3 * 60_000) * 10**6
    at_third = IncidentFilter(start_ns=third, end_ns=third + 1)
    assert [each.box_ids for each in all_incidents(store, at_third)] == [("3",)]
    seen = SeenStore(store, Visitor(full=frozenset(("2", "3"))))
    assert [each.box_ids for each in all_incidents(seen)][-2:] == [("2",), ("3",)]
    store.close()


def test_waveforms_of_events_and_incidents_are_exported(store: CloudStore) -> None:
    assert [each.wave.box_id for each in event_records(store, 1)] == ["1", "2", "4"]
    assert [each.wave.box_id for each in event_records(store, 1, ["4"])] == ["4"]
    incident = store.incident(1)
    assert incident is not None
    stems = [each.stem for each in incident_records(store, incident)]
    assert stems == ["event-1-box-1", "event-1-box-2", "event-1-box-4"]
    with pytest.raises(ExportError, match="incident 1 has more than 1000 samples"):
        incident_records(store, incident, most_samples=1000)
    with pytest.raises(ExportError, match="no event 99"):
        event_records(store, 99)
    with pytest.raises(ExportError, match="no waveform of Box 7; it has 1, 2, 4"):
        event_records(store, 1, ["7"])


def test_parquet_without_pyarrow_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ExportError, match=r"pip install 'opq-toolkit\[parquet\]'"):
        table_pieces(ExportTable("t", (), (), {}), "parquet")


def test_an_empty_table_is_a_table() -> None:
    table = ExportTable("t", (TableColumn("a", "whole"),), (), {"licence": None})
    assert written(table, "csv", bare=True) == b"a\r\n"
    assert json.loads(written(table, "json")) == {"provenance": {"licence": None}, "t": []}
    assert json.loads(written(table, "json", bare=True)) == []
    assert pyarrow.parquet.read_table(io.BytesIO(written(table, "parquet"))).column_names == ["a"]
