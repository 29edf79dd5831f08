"""`opq-tools incidents`: find, note, label, split and merge, from the command line alone."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click import BadParameter, Context, Option
from click.testing import CliRunner

from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.store import open_store
from opq_proto.messages import Finding
from opq_tools.incidents.incidents_command import command
from opq_tools.shared.moment import moment_ns
from opq_tools.shared.opened_store import store_place

S = 10**9
ZERO_NS = 1_795_000_000 * S


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Incident 1 at Boxes 1 and 4, incident 2 at Box 2 a minute and more later."""
    store = open_store(None, tmp_path)
    one = Finding("sag", "1", ZERO_NS, ZERO_NS + S // 10, 1000, True, residual_v=84.0, residual_percent=70.0)
    four = Finding("sag", "4", ZERO_NS + 10**7, ZERO_NS + S // 10, 1000, True, residual_percent=80.0)
    put_findings(store, 1, [one, four])
    put_findings(store, 2, [Finding("swell", "2", ZERO_NS + 99 * S, ZERO_NS + 100 * S, 1000, True)])
    store.close()
    return tmp_path


def run(folder: Path, *words: str) -> str:
    found = CliRunner().invoke(command, [*words, "--data-dir", str(folder)])
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        return f"error: {found.exception}"
    return found.stdout or found.output


def test_an_incident_shows_order_causes_and_findings(folder: Path) -> None:
    told = json.loads(run(folder, "show", "1", "--json"))
    assert (told["id"], told["class"], told["similar"]) == (1, "sag", [])
    assert [each["box_id"] for each in told["findings"]] == ["1", "4"]
    lines = run(folder, "show", "1").splitlines()
    assert lines[0] == "incident             1: Sag to 70.0\u202f% at Box 1, sag to 80.0\u202f% at Box 4"
    assert " UTC (\u00b1\u202f1.0\u202f\u00b5s), " in lines[1]
    names = [line.split("  ")[0] for line in lines if line[0] != " "]
    assert names == [
        "incident",
        "start",
        "scope",
        "severity",
        "order of arrival",
        "why",
        "found by",
        "events",
        "findings",
    ]
    assert (
        lines[4].endswith("Box 1: first, \u00b1\u202f1.0\u202f\u00b5s") and "10.0\u202fms later" in lines[5]
    )
    run(folder, "note", "--label", "1", "mains_signalling")
    assert "by hand; the analyses say sag" in run(folder, "show", "1")
    assert run(folder, "show", "9").startswith("error: there is no incident 9;")


def test_the_folders_configuration_names_the_store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "config").mkdir()
    config = folder / "config" / "cloud.toml"
    config.write_text(f'data_dir = "{folder}"\n')
    assert json.loads(run(folder, "show", "1", "--json"))["id"] == 1
    config.write_text('[store]\nmongo_uri = "mongodb://127.0.0.1:27117/opq"\n')
    assert store_place(None, folder) == ("mongodb://127.0.0.1:27117/opq", folder)
    assert store_place("mongodb://other/opq", folder) == ("mongodb://other/opq", folder)
    opened = []
    monkeypatch.setattr(
        "opq_tools.shared.opened_store.open_store",
        lambda *place, answer_s: opened.append(place) or exit(7),
    )
    run(folder, "show")
    assert opened == [("mongodb://127.0.0.1:27117/opq", folder)]
    config.write_text("[store\n")
    assert store_place(None, folder) == (None, folder)


def test_the_list_shows_labels_and_analyses(folder: Path) -> None:
    run(folder, "note", "--label", "1", "mains_signalling")
    told = {row["id"]: row for row in json.loads(run(folder, "show", "--json"))}
    assert (told[1]["class"], told[1]["machine_class"]) == ("mains_signalling", "sag")
    assert told[2]["machine_class"] is None


def test_incidents_are_found_by_their_span(folder: Path) -> None:
    middle = datetime.fromtimestamp(ZERO_NS / S + 50, UTC).isoformat()
    for option, number in (("--from", 2), ("--to", 1)):
        assert [each["id"] for each in json.loads(run(folder, "show", option, middle, "--json"))] == [number]
    assert "now-24h" in run(folder, "show", "--from", "yesterday")


def test_a_time_may_be_relative() -> None:
    context, option = Context(command), Option(["--from"])
    found_ns = moment_ns(context, option, "now-90m")
    assert found_ns is not None and 5399 < (time.time_ns() - found_ns) / 1e9 < 5460
    with pytest.raises(BadParameter):
        moment_ns(context, option, "now-999999y")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2016-12-31T23:59:60Z", 1_483_228_800), ("2016-12-31T23:59:60.5+00:00", 1_483_228_800.5)],
)
def test_a_leap_second_joins_the_next_minute(text: str, seconds: float) -> None:
    assert moment_ns(Context(command), Option(["--from"]), text) == seconds * S


@pytest.mark.parametrize("text", ["0001-01-01", "1969-12-31", "2200-01-02", "9999-12-31", "now-99y"])
def test_a_time_beyond_the_store_is_refused(text: str) -> None:
    with pytest.raises(BadParameter, match="between 1970 and 2200"):
        moment_ns(Context(command), Option(["--from"]), text)


def test_what_is_said_and_done_is_found_again(folder: Path) -> None:
    assert [each["id"] for each in json.loads(run(folder, "show", "--json"))] == [2, 1]
    assert run(folder, "note", "1", "the crane again") == "incident 1 has the note\n"
    headings, row = run(folder, "note", "1").splitlines()
    assert headings.split() == ["at", "(UTC)", "by", "what", "text"]
    assert row.endswith("command line  note  the crane again")
    assert "Rapid voltage change" in run(folder, "note", "--label", "1", "rapid_voltage_change")
    assert "(analyses: sag)" in run(folder, "show", "--class", "rapid_voltage_change", "--words", "crane")
    headings, _, row = run(folder, "split", "1", "--box", "4").splitlines()
    assert headings.split() == ["incident", "start", "(UTC)", "what"] and "Box 4" in row
    assert [each["id"] for each in json.loads(run(folder, "show", "--box", "4", "--json"))] == [3]
    merged = run(folder, "merge", "3", "1", "2")
    assert all(f"Box {box_id}" in merged for box_id in (1, 2, 4))
    kinds = [each["kind"] for each in json.loads(run(folder, "note", "1", "--json"))]
    assert kinds == ["note", "label", "split", "split", "merge"]
    assert "the crane again" in run(folder, "note", "1")
    assert "(analyses:" not in run(folder, "note", "--label", "1")
    assert "Swell" in run(folder, "note", "--label", "1", "swell") and "Swell" in run(folder, "show")


def test_work_is_found_by_state_and_person(folder: Path) -> None:
    store = open_store(None, folder)
    ada = store.people.add_account("ada@example.org", "Ada", "researcher", "")
    assert ada is not None
    store.close()
    sent = (
        "work",
        "1",
        "2",
        "--acknowledge",
        "--assign",
        "ada@example.org",
        "--cause",
        "the crane",
        "--json",
    )
    one = {"id": 1, "state": "acknowledged", "assigned_to": "ada@example.org", "known_cause": "the crane"}
    assert json.loads(run(folder, *sent)) == [one, {**one, "id": 2}]
    assert "crane" in run(folder, "work", "2", "--no-acknowledge", "--assign", "")
    chosen = ("--assigned-to", "ada@example.org", "--work", "acknowledged", "--json")
    assert [each["id"] for each in json.loads(run(folder, "show", *chosen))] == [1]
    assert run(folder, "show", "1").splitlines()[-1] == (
        "work                 state: acknowledged; assigned to: ada@example.org; known cause: the crane"
    )
    assert "there is no account bob" in run(folder, "work", "1", "--assign", "bob")
    store = open_store(None, folder)
    last = store.people.changes.entries()[0]
    store.close()
    assert (last.what, last.subject, last.by) == ("worked on an incident", "incident 2", "command line")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["note", "9", "x"], "there is no incident 9"),
        (["split", "1", "--box", "1", "--box", "4"], "choose some, not all"),
        (["merge", "1"], "want 2 to 50"),
        (["note", "--label", "1", "magic"], "'magic' is not a class"),
        (["show", "--class", "magic"], "want sag, swell"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(folder: Path, words: list[str], said: str) -> None:
    assert said in run(folder, *words)
