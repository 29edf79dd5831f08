"""A following host's report is believed while that host runs; a broken report counts as unknown."""

import os
from pathlib import Path

import pytest
from plugin_zips import manifest

from opq_plugins.host.report import FILE, MAX_BYTES, RENEWED_S, STALE_S, FollowerReport
from opq_plugins.package.manifest import parse_manifest

PEAK = parse_manifest(manifest("p", "1.0.1", kind="analysis", symbols={"analyses": ["peak"]}))


def test_a_report_is_renewed_and_withdrawn(tmp_path: Path) -> None:
    now = [0.0]
    writer = FollowerReport(tmp_path, monotonic_s=lambda: now[0])
    writer.write({"peak": "1.0.1"}, {})
    path = tmp_path / FILE
    first = path.stat()
    assert FollowerReport(tmp_path).of(PEAK) == {"running": "1.0.1", "status": "running", "errMsg": ""}
    writer.write({"peak": "1.0.1"}, {})
    assert path.stat().st_ino == first.st_ino, "nothing has changed"
    now[0] += RENEWED_S
    writer.write({"peak": "1.0.1"}, {})
    assert path.stat().st_ino != first.st_ino
    later_s = path.stat().st_mtime + STALE_S + 1
    told = FollowerReport(tmp_path, time_s=lambda: later_s).of(PEAK)
    assert (told["running"], told["status"]) == (None, "installed")
    assert "Mauka has reported nothing for 31 s" in told["errMsg"]
    writer.withdraw()
    writer.withdraw()
    assert "no Mauka follows" in FollowerReport(tmp_path).of(PEAK)["errMsg"]
    assert list(tmp_path.iterdir()) == []
    FollowerReport(tmp_path / "never").write({}, {})
    assert not (tmp_path / "never").exists()


def test_troubles_come_from_plugin_and_analyses(tmp_path: Path) -> None:
    writer = FollowerReport(tmp_path)
    writer.write({"peak": "1.0.0"}, {"other": "x", "p": "taken back", "peak": "rests"})
    told = {"running": "1.0.0", "status": "error", "errMsg": "taken back; rests"}
    assert FollowerReport(tmp_path).of(PEAK) == told
    writer.write({"peak": "1.0.0"}, {})
    assert FollowerReport(tmp_path).of(PEAK)["errMsg"] == "Mauka has not taken it over yet"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff",
        b"[1]",
        b"{}",
        b"[" * 100_000,
        b'{"versions": {}, "troubles": {"p": 1}}',
        b'{"versions": [], "troubles": {}}',
        b" " * (MAX_BYTES + 1) + b'{"versions": {}, "troubles": {}}',
    ],
)
def test_a_broken_report_is_no_more_than_unknown(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / FILE).write_bytes(raw)
    told = FollowerReport(tmp_path).of(PEAK)
    assert (told["running"], told["status"]) == (None, "installed")
    assert told["errMsg"].startswith("whether it runs is not known: follower.json")


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / FILE)
    assert FollowerReport(tmp_path).of(PEAK)["running"] is None
