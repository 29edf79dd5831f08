"""`opq-tools logs`: lines of files that rotate, of plain tracebacks, and of a real journal."""

import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from command_in_process import run_in_process

from opq_cloud.store import BoxRecord, open_store
from opq_proto.keys.key_files import KeyFolder
from opq_proto.kit import log
from opq_tools.shared import opened_store
from opq_tools.system.logs import logs_command
from opq_tools.system.logs.line import LineFilter, line_words
from opq_tools.system.logs.sources import LogFiles, LogsError, journal_lines
from opq_tools.up.children import LogFile

REMOTE = Path("/usr/lib/systemd/systemd-journal-remote")
T = "2026-11-26T13:10:{:02d}.000000Z"


def line(second: int, event: str, **facts: object) -> bytes:
    return json.dumps({"event": event, "level": "info", **facts, "t": T.format(second)}).encode() + b"\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Logs of two services, in one a traceback that nothing of ours wrote."""
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "cloud.log").write_bytes(
        line(1, "event.finished", service="event-service", boxes=["1", "12"])
        + line(4, "incident.stored", service="mauka", box_ids=["4"])
        + b"Traceback (most recent call last):\nValueError: no\n"
        + line(6, "thread.failed", service="view", level="error", exception="Traceback …\nKeyError: 'x'")
    )
    (tmp_path / "log" / "gateway.log").write_bytes(
        line(2, "box.connected", service="gateway", box_id="1") + line(5, "uplink.lost", level="warning")
    )
    return tmp_path


def shown(folder: Path, *words: str) -> list[str]:
    return run_in_process("logs", "--data-dir", str(folder), *words).stdout.splitlines()


def test_lines_of_all_services_are_in_time_order(folder: Path) -> None:
    lines = shown(folder)
    assert (
        lines[0] == '2026-11-26 13:10:01.000  event-service       info     event.finished  boxes=["1", "12"]'
    )
    events = ["event.finished", "box.connected", "incident.stored", "Traceback (most", "ValueError: no"]
    found = [next((name for name in events if name in each), "") for each in lines]
    assert found[:5] == events and "uplink.lost" in lines[5]
    assert lines[7:] == ["    Traceback …", "    KeyError: 'x'"]
    assert [json.loads(each)["source"] for each in shown(folder, "--json", "--lines", "2")] == [
        "gateway",
        "cloud",
    ]


@pytest.mark.parametrize(
    ("words", "events"),
    [
        (["--box", "1"], ["event.finished", "box.connected"]),
        (["--box", "4"], ["incident.stored"]),
        (["--service", "gateway"], ["box.connected", "uplink.lost"]),
        (["--service", "mauka", "--service", "view"], ["incident.stored", "thread.failed"]),
        (["--level", "warning"], ["text", "text", "uplink.lost", "thread.failed"]),
        (["--from", "2026-11-26T13:10:05"], ["uplink.lost", "thread.failed"]),
        (["--lines", "1"], ["thread.failed"]),
    ],
)
def test_lines_are_chosen(folder: Path, words: list[str], events: list[str]) -> None:
    assert [json.loads(each).get("event", "text") for each in shown(folder, "--json", *words)] == events


def test_a_folder_without_logs_says_where_it_looked(tmp_path: Path) -> None:
    assert (
        f"there is no log in {tmp_path / 'log'}" in run_in_process("logs", "--data-dir", str(tmp_path)).stderr
    )


def test_a_rotating_file_is_followed(
    tmp_path: Path,
) -> None:
    written = LogFile(tmp_path / "log" / "cloud.log", limit_bytes=1_000)
    for number in range(10):
        assert written.write(line(number, "a.b", number=number))
    files = LogFiles(tmp_path)
    seen = [each.facts["number"] for each in files.lines()]
    for number in range(10, 60):  # less than one rotation between two looks
        assert written.write(line(number, "a.b", number=number))
        if number % 4 == 0:
            seen += [each.facts["number"] for each in files.lines()]
    file = (tmp_path / "log" / "cloud.log").open("ab", buffering=0)
    whole = line(59, "a.b", number=60)
    file.write(whole[:20])
    seen += [each.facts["number"] for each in files.lines()]
    assert seen == list(range(60)) and (tmp_path / "log" / "cloud.old").exists()
    file.write(whole[20:])
    assert [each.facts["number"] for each in files.lines()] == [60]
    files.close(), file.close(), written.close()


def test_follow_prints_what_comes_until_ctrl_c(folder: Path) -> None:
    words = ["logs", "--follow", "--lines", "1", "--data-dir", str(folder)]
    code = f"import sys; sys.argv[1:] = {words!r}; from opq_tools.cli import main; main()"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    giving_up = threading.Timer(60, process.kill)
    giving_up.start()
    assert process.stdout is not None
    try:
        assert "thread.failed" in process.stdout.readline()
        with (folder / "log" / "gateway.log").open("ab") as file:
            file.write(line(9, "box.lost", box_id="1"))
        assert any("box.lost" in each for each in process.stdout)
        process.send_signal(2)
        assert process.wait(240) == 0
    finally:
        giving_up.cancel()
        process.kill()


@pytest.mark.skipif(
    not REMOTE.exists() or shutil.which("journalctl") is None,
    reason="no systemd-journal-remote (Debian's package)",
)
def test_our_units_lines_of_a_real_journal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("mauka")
    try:
        raise ValueError("torn")
    except ValueError:
        log.get().exception("analysis.failed", box_id="7")
    ours = capsys.readouterr().err.strip()
    entries = [
        ("opq-cloud@mauka.service", ours),
        ("ssh.service", "not ours"),
        ("opq-gateway.service", line(3, "box.connected", box_id="1").decode().strip()),
    ]
    export = "".join(
        f"__REALTIME_TIMESTAMP={1_795_000_000_000_000 + number}\n__MONOTONIC_TIMESTAMP={number}\n"
        f"_BOOT_ID=0123456789abcdef0123456789abcdef\n_SYSTEMD_UNIT={unit}\nMESSAGE={text}\n\n"
        for number, (unit, text) in enumerate(entries)
    )
    journal = tmp_path / "system.journal"
    subprocess.run([str(REMOTE), "--output", str(journal), "-"], input=export.encode(), check=True)
    found = list(journal_lines("", 0, follow=False, directory=tmp_path))
    assert [(each.source, each.facts["event"]) for each in found] == [
        ("mauka", "analysis.failed"),
        ("gateway", "box.connected"),
    ]
    assert "ValueError: torn" in line_words(found[0]) and LineFilter(box_id="7").wants(found[0])
    assert [each.source for each in journal_lines("", 1, follow=False, directory=tmp_path)] == ["gateway"]
    with pytest.raises(LogsError, match="journalctl"):
        list(journal_lines("", 0, follow=False, directory=tmp_path / "nowhere"))


def test_a_known_box_without_lines_is_none(folder: Path) -> None:
    """By its key, or by the store; then the error is the store's."""
    keys = KeyFolder(folder / "curve")
    keys.create(server=False, box_ids=["9"])
    store = open_store(None, folder)
    store.put_box(BoxRecord("8", "Cellar"))
    store.close()
    for box_id, code in (("9", 0), ("8", 0), ("77", 1)):
        told = run_in_process("logs", "--data-dir", str(folder), "--box", box_id)
        assert (told.returncode, told.stdout) == (code, ""), told.stderr
    assert "Box 77 is not known; known: 1, 4, 8, 9, 12" in told.stderr


def test_an_unknown_box_of_a_journal(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs_command, "runs_by_systemd", lambda: True)
    monkeypatch.setattr(logs_command, "find_system", lambda *_: (folder, 0))
    monkeypatch.setattr(opened_store, "find_system", lambda *_: (folder, 0))
    monkeypatch.setattr(logs_command, "journal_lines", lambda *_, **__: LogFiles(folder).lines())
    for box_id, code in (("77", 1), ("4", 0)):
        told = run_in_process("logs", "--box", box_id, "--level", "error")
        assert (told.returncode, told.stdout) == (code, "")
        assert ("names Box 77; those named are 1, 12, 4" in told.stderr) == bool(code)


def test_an_unnamed_box_is_an_error(folder: Path) -> None:
    for box_id, code in (("77", 1), ("4", 0)):
        told = run_in_process("logs", "--data-dir", str(folder), "--box", box_id, "--level", "error")
        assert (told.returncode, told.stdout) == (code, "")
        assert ("names Box 77; those named are 1, 12, 4" in told.stderr) == bool(code)
