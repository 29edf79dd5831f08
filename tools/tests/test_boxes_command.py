"""`opq-tools boxes`: what it says of a Box is in the store, and in its JSON."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from opq_cloud.makai.measurements.missed_minutes import lost_between
from opq_cloud.makai.measurements.sequence_tracker import LostNumbers
from opq_cloud.store import BoxRecord, open_store
from opq_cloud.store.box_record import BoxLoss
from opq_gateway.measuring.feed import Values
from opq_gateway.measuring.lost_rows import LostRows
from opq_proto.errors import StoreError
from opq_proto.keys.key_files import KeyFolder
from opq_proto.keys.register import KeyRegister
from opq_proto.messages import Measurement, Metric, TimeSource
from opq_tools.boxes.boxes_command import command
from opq_tools.system.status import system_status

CONTRACT = [
    "box_id",
    "name",
    "location",
    "region",
    "feeder",
    "phase",
    "grid",
    "nominal_v",
    "nominal_hz",
    "unplugged",
    "last_seen_ms",
    "site",
]
KEY = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"
"""From RFC 26: a valid Z85 key."""


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(command, [arguments[0], "--data-dir", str(folder), *arguments[1:]])


def rows(folder: Path, *arguments: str) -> Any:
    result = run(folder, *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_name_and_a_place_are_listed(tmp_path: Path) -> None:
    rows(tmp_path, "place", "1", "--lat", "21.31", "--lon", "-157.81", "--region", "oahu")
    said = rows(
        tmp_path,
        "set",
        "1",
        "--name",
        "Cellar",
        "--feeder",
        "f2",
        "--site",
        "mill",
        "--phase",
        "L1",
        "--grid",
        "2",
        "--nominal-v",
        "120",
        "--nominal-hz",
        "60",
    )
    (row,) = rows(tmp_path, "show")
    assert row == said
    assert list(row)[: len(CONTRACT)] == CONTRACT
    assert {key: row[key] for key in CONTRACT} == {
        "box_id": "1",
        "name": "Cellar",
        "location": {"lat": 21.31, "lon": -157.81},
        "region": "oahu",
        "feeder": "f2",
        "phase": "L1",
        "grid": "2",
        "nominal_v": 120.0,
        "nominal_hz": 60.0,
        "unplugged": False,
        "last_seen_ms": None,
        "site": "mill",
    }
    assert "Cellar" in run(tmp_path, "show").stdout
    assert "feeder" in run(tmp_path, "show", "1").stdout


def test_all_regions_of_a_location_are_listed(tmp_path: Path) -> None:
    """A location of the original may be in several."""
    rows(tmp_path, "place", "1", "--location", "mill", "--lat", "21.31", "--lon", "-157.81")
    with closing(open_store(None, tmp_path)) as store:
        for region in ("north", "east"):
            store.put_region(region, "mill")
    (row,) = rows(tmp_path, "show")
    assert {row["region"], *row["further_regions"]} == {"north", "east"}
    for arguments in (("show",), ("show", "1")):
        shown = run(tmp_path, *arguments).stdout
        assert "north" in shown and "east" in shown


def test_a_heard_box_is_listed_with_its_time(tmp_path: Path) -> None:
    store = open_store(None, tmp_path)
    store.append_measurements([Measurement("7", 1_765_792_486_013, {"rms": Metric(1.0, 1.0, 1.0)})])
    store.close()
    (row,) = rows(tmp_path, "show")
    assert (row["box_id"], row["name"], row["last_seen_ms"]) == ("7", "Box 7", 1_765_792_486_013)
    assert (row["location"], row["grid"]) == (None, "1")
    shown = rows(tmp_path, "show", "7")
    assert (shown["time_source"], shown["uncertainty_ns"]) == ("free", None)


def test_several_spaces_of_a_name_are_one(tmp_path: Path) -> None:
    """A page shows them as one: two sites would look equal and not be."""
    row = rows(tmp_path, "set", "1", "--name", " North  wing ", "--site", "a   b")
    assert (row["name"], row["site"]) == ("North wing", "a b")


def test_a_store_held_by_another_process_is_changed(tmp_path: Path) -> None:
    running = open_store(None, tmp_path)
    assert rows(tmp_path, "set", "1", "--name", "Cellar")["name"] == "Cellar"
    box = running.box("1")
    running.close()
    assert box is not None and box.name == "Cellar"


def test_a_box_that_moves_keeps_where_it_stood(tmp_path: Path) -> None:
    first = rows(tmp_path, "place", "1", "--lat", "1", "--lon", "2", "--region", "north")
    assert first["location_slug"] == "box-1"
    assert rows(tmp_path, "place", "1", "--lat", "1", "--lon", "2")["location_archive"] == []
    moved = rows(tmp_path, "place", "1", "--lat", "3", "--lon", "4")
    assert moved["location_slug"] == "box-1-2"
    assert [entry["location"] for entry in moved["location_archive"]] == ["box-1"]
    assert moved["region"] is None
    back = rows(tmp_path, "place", "1", "--location", "box-1")
    assert (back["region"], back["location"]) == ("north", {"lat": 1.0, "lon": 2.0})
    shared = rows(tmp_path, "place", "2", "--location", "box-1")
    assert (shared["region"], shared["location"]) == ("north", {"lat": 1.0, "lon": 2.0})


def test_a_gain_accepts_both_forms(tmp_path: Path) -> None:
    assert rows(tmp_path, "set", "1", "--v-per-lsb", "0.0125")["calibration_constant"] == 80.0
    row = rows(tmp_path, "set", "1", "--calibration-constant", "146")
    assert row["v_per_lsb"] == pytest.approx(1 / 146)
    both = run(tmp_path, "set", "1", "--v-per-lsb", "1", "--calibration-constant", "1")
    assert both.exit_code == 2
    assert "the same value" in both.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["set", "1"], "at least one"),
        (["place", "1", "--lat", "1"], "give both"),
        (["place", "1", "--lat", "91", "--lon", "0"], "not a number from -90 to 90"),
        (["place", "1", "--lat", "nan", "--lon", "0"], "not a number from -90 to 90"),
        (["place", "1", "--location", "nowhere"], "is not known"),
        (["set", "1", "--nominal-v", "0"], "not a number from 1 to"),
        (["set", "1", "--v-per-lsb", "-1"], "not a number from"),
        (["set", "1", "--name", ""], "needs a name"),
        (["set", "1", "--name", "a\nb"], "one line"),
        (["set", "01", "--name", "a"], "box id is '01'"),
        (["set", "2", "--name", "Roof"], "is Box 9's"),
    ],
)
def test_an_impossible_value_is_refused_without_writing(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    rows(tmp_path, "set", "9", "--name", "Roof")
    result = run(tmp_path, *arguments)
    assert result.exit_code == 2, result.output
    assert said in result.output
    assert [row["box_id"] for row in rows(tmp_path, "show")] == ["9"]


def test_an_absent_store_or_box_is_one_line(tmp_path: Path) -> None:
    assert "there is no store" in str(run(tmp_path, "show").exception)
    rows(tmp_path, "set", "9", "--name", "Roof")
    assert "Box 4 is not known; known: 9" in str(run(tmp_path, "show", "4").exception)
    assert "Box 4 is not known" in str(run(tmp_path, "retire", "4").exception)


def test_a_new_store_is_told_once(tmp_path: Path) -> None:
    """A mistyped --data-dir would otherwise look like a change of the system that was meant."""
    first, second = (run(tmp_path / "typo", "set", "1", "--name", name) for name in ("a", "b"))
    assert first.stderr == f"opq-tools: there was no store in {tmp_path / 'typo'}; made a new one\n"
    assert second.stderr == ""


def test_an_unknown_location_makes_no_store(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "typo"):
        result = run(folder, "place", "1", "--location", "yard")
        assert "location 'yard' is not known: give --lat and --lon too, or one of: none" in result.output
    assert not [*tmp_path.iterdir()]


def test_what_was_lost_is_noted_until_seen(tmp_path: Path) -> None:
    rows(tmp_path, "set", "4", "--name", "Attic")
    with closing(open_store(None, tmp_path)) as store:
        start_ms = 1_765_792_486_000
        at = [start_ms + 1000 * number for number in range(1, 11)]
        store.append_measurements([_row("4", at[n - 1], n) for n in (1, 2, 3, 8, 9, 10)])
        lost = lost_between(store, "4", LostNumbers(4, 7, 4))
        assert lost.words.startswith("4 Measurements between 2025-12-15 09:54:49 and 2025-12-15 09:54:54 UTC")
        store.note_lost("4", [lost])
        store.note_lost("5", [lost])
    ledger = tmp_path / "gateway" / "box4" / "ledger"
    ledger.mkdir(parents=True)
    span = {"kind": "10min", "start_ns": 10**18, "end_ns": 10**18 + 6 * 10**11, "rows": 1}
    (ledger / "lost").write_text(json.dumps(span) + "\n")
    said = run(tmp_path, "lost").output
    assert said.count("4 Measurements between") == 2 and "1 value of ten minutes from 2001-09-09" in said
    notes = system_status(tmp_path, 0)["notes"]
    assert [each.partition(":")[0] for each in notes[-3:-1]] == ["Box 4", "Box 5"] and "--seen" in notes[-1]
    assert rows(tmp_path, "show", "5")["name"] == "Box 5"
    assert len(json.loads(run(tmp_path, "lost", "--seen", "--json").stdout)) == 3
    assert run(tmp_path, "lost").stdout == "nothing was lost\n"
    assert not system_status(tmp_path, 0)["notes"] and rows(tmp_path, "show", "4")["name"] == "Attic"


def test_each_box_keeps_its_own_loss(tmp_path: Path) -> None:
    """Two Boxes and a place lost the same span; the cloud knows it of one Box."""
    start_ns, end_ns = 1_733_702_400 * 10**9, 1_733_703_000 * 10**9
    for name in ("box4/ledger", "box5/ledger", "group-attic"):
        (folder := tmp_path / "gateway" / name).mkdir(parents=True)
        ledger = LostRows(folder)
        ledger.add([Values("", "10min", start_ns, end_ns, 0, TimeSource.GPS, False, {})])
        ledger.store()
    with closing(open_store(None, tmp_path)) as store:
        store.put_box(BoxRecord("4", ""))
        store.note_lost("4", [BoxLoss(1, start_ns // 10**6, end_ns // 10**6, "10min")])
    listed = rows(tmp_path, "lost")
    assert [each["box_id"] for each in listed] == ["4", "5", "group-attic"]


def _row(box_id: str, at_ms: int, sequence: int) -> Measurement:
    return Measurement(box_id, at_ms, {"rms": Metric(119.0, 121.0, 120.0)}, sequence=sequence)


def _refused(*_: object) -> None:
    raise StoreError("the disk is full")


def test_a_box_is_deleted_after_a_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows(tmp_path, "set", "4", "--name", "Attic")
    KeyRegister(KeyFolder(tmp_path / "curve")).add("4")
    assert "retire it first" in str(run(tmp_path, "delete", "4", "--yes").exception)
    rows(tmp_path, "retire", "4")
    assert "s ago; delete it in" in str(run(tmp_path, "delete", "4", "--yes").exception)
    monkeypatch.setattr("opq_cloud.operations.box_service.QUIET_S", 0.0)
    asked = run(tmp_path, "delete", "4")
    assert asked.exit_code == 1 and "What stays:" in asked.output and "Aborted" in asked.output
    assert rows(tmp_path, "show", "4")["name"] == "Attic"
    with monkeypatch.context() as failing:
        failing.setattr("opq_tools.boxes.losses.delete_box", _refused)
        assert isinstance(run(tmp_path, "delete", "4", "--yes").exception, StoreError)
    with closing(open_store(None, tmp_path)) as store:
        assert store.people.changes.entries(limit=1)[0].what == "began to delete a Box"
    assert "Box 4 is deleted" in run(tmp_path, "delete", "4", "--yes").output
    assert [each.name for each in (tmp_path / "curve").rglob("*box4*")] == ["opqbox4.deleted"]
    assert "Box 4 is not known" in str(run(tmp_path, "delete", "4", "--yes").exception)


def test_a_retired_box_is_unlisted_and_shut_out(tmp_path: Path) -> None:
    folder = KeyFolder(tmp_path / "curve")
    folder.create(True, ["4"])
    rows(tmp_path, "set", "4", "--name", "Attic")
    row = rows(tmp_path, "retire", "4")
    assert row["unplugged"]
    assert row["retired_ms"] > 1_700_000_000_000
    assert rows(tmp_path, "show") == []
    assert [each["box_id"] for each in rows(tmp_path, "show", "--all")] == ["4"]
    assert [entry.state for entry in KeyRegister(folder).entries()[0]] == ["revoked"]
    shown = run(tmp_path, "show", "4").stdout
    assert "unplugged not stated" in shown and "retired_ms 1" not in shown
    back = rows(tmp_path, "set", "4", "--plugged-in")
    assert (back["unplugged"], back["retired_ms"], back["name"]) == (False, None, "Attic")


ORIGINAL = (
    '{"_id":{"$oid":"5b9f1c"},"box_id":"1000","name":"Box 1000","description":"Lab","unplugged":false,'
    '"calibration_constant":152.1,"location":"uhm","location_start_time_ms":{"$numberLong":"1504216800000"},'
    '"location_archive":[{"location":"manoa","location_start_time_ms":{"$numberLong":"1500000000000"}}],'
    f'"public_key":"{KEY}"}}'
)


@pytest.mark.parametrize("array", [False, True])
def test_the_originals_export_is_taken_over(tmp_path: Path, array: bool) -> None:
    other = '{"box_id": "2", "name": "Box 2", "unplugged": true}'
    (tmp_path / "boxes.json").write_text(f"[{ORIGINAL}, {other}]" if array else f"{ORIGINAL}\n{other}\n")
    (tmp_path / "locations.json").write_text(
        '{"slug": "uhm", "coordinates": [-157.8, 21.3], "description": "UH Manoa"}\n'
    )
    (tmp_path / "regions.json").write_text('{"regionSlug": "oahu", "locationSlug": "uhm"}\n')
    rows(tmp_path, "set", "1000", "--feeder", "f2")
    first, second = rows(
        tmp_path,
        "import",
        str(tmp_path / "boxes.json"),
        "--locations",
        str(tmp_path / "locations.json"),
        "--regions",
        str(tmp_path / "regions.json"),
    )
    assert (first["box_id"], first["unplugged"]) == ("2", True)
    assert (second["name"], second["calibration_constant"], second["feeder"]) == ("Box 1000", 152.1, "f2")
    assert (second["location"], second["region"]) == ({"lat": 21.3, "lon": -157.8}, "oahu")
    assert second["location_start_time_ms"] == 1_504_216_800_000
    assert second["location_archive"] == [{"location": "manoa", "location_start_time_ms": 1_500_000_000_000}]
    assert second["public_key"] == KEY
    assert "without a gain: Boxes 2" in run(tmp_path, "import", str(tmp_path / "boxes.json")).stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no documents"),
        ("{", "is not JSON"),
        ("[1]", "has no documents"),
        ('{"name": "x"}', "has no box_id"),
        ('{"box_id": "x"}', "box id is 'x'"),
        ('{"box_id": "1", "calibration_constant": -5}', "want counts per volt"),
        ('{"box_id": "1", "calibration_constant": NaN}', "want counts per volt"),
        ('{"box_id": "1", "location_start_time_ms": "yesterday"}', "milliseconds"),
        ('{"box_id": "1", "location_archive": 5}', "want a list"),
        ('{"box_id": "1", "public_key": "short"}', "40 characters of Z85"),
        ('{"box_id": "1", "unplugged": "no"}', "true or false"),
        ('{"box_id": "1"}\n{"box_id": "1"}', "are there twice"),
    ],
)
def test_a_wrong_export_imports_nothing(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "boxes.json").write_text(text)
    result = run(tmp_path, "import", str(tmp_path / "boxes.json"))
    assert said in str(result.exception)
    assert not (tmp_path / "opq.db").exists()


def test_an_absent_file_is_one_line(tmp_path: Path) -> None:
    assert "cannot be read" in str(run(tmp_path, "import", str(tmp_path / "none.json")).exception)


def test_an_import_keeps_boxes_absent_from_the_file(tmp_path: Path) -> None:
    store = open_store(None, tmp_path)
    store.put_box(BoxRecord("1", "Cellar", calibration_constant=146.0, nominal_v=230.0))
    store.close()
    (tmp_path / "boxes.json").write_text('{"box_id": "1", "name": "Box one"}')
    (row,) = rows(tmp_path, "import", str(tmp_path / "boxes.json"))
    assert (row["name"], row["calibration_constant"], row["nominal_v"]) == ("Box one", 146.0, 230.0)


def test_changes_to_a_box_are_in_the_log(tmp_path: Path) -> None:
    rows(tmp_path, "place", "1", "--lat", "21.31", "--lon", "-157.81")
    rows(tmp_path, "set", "1", "--feeder", "f2")
    KeyRegister(KeyFolder(tmp_path / "curve")).add("1", KEY.encode())
    rows(tmp_path, "retire", "1")
    store = open_store(None, tmp_path)
    retired, feeder, placed = store.people.changes.entries()
    store.close()
    assert (placed.subject, placed.by, dict(placed.before)) == ("box 1", "command line", {})
    assert placed.after["latitude"] == "21.31"
    assert (dict(feeder.before), dict(feeder.after)) == ({}, {"feeder": "f2"})
    assert retired.after["key"] == "revoked" and retired.after["unplugged"] == "yes"


NAMES = [
    "پست می\u200cرود",
    "Werkstatt \U0001f469\u200d\U0001f527",
    "क\u200dष",
    "Haus \U0001f3f3\ufe0f\u200d\U0001f308",
    "ほうか",
]
REFUSED_NAMES = {
    "a\u202eb": "U+202E RIGHT-TO-LEFT OVERRIDE",
    "\u2066a": "U+2066 LEFT-TO-RIGHT ISOLATE",
    "a\nb": "U+000A",
    "a \u200d b": "U+200D ZERO WIDTH JOINER",
    "\u200ca": "U+200C",
    "a\u200c": "U+200C",
    "a\u200bb": "U+200B",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_joiner_within_a_word_is_allowed(name: str, tmp_path: Path) -> None:
    rows(tmp_path, "set", "1", "--name", name)
    assert rows(tmp_path, "show")[0]["name"] == name


@pytest.mark.parametrize("name", REFUSED_NAMES)
def test_a_forbidden_character_in_a_name_is_named(name: str, tmp_path: Path) -> None:
    result = run(tmp_path, "set", "1", "--name", name)
    assert result.exit_code == 2 and REFUSED_NAMES[name] in result.output
    assert not list(tmp_path.iterdir())
