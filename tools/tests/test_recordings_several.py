"""A file of several recordings: all are taken, or what is left out is said and the exit is 1."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from opq_proto.errors import RecordingError
from opq_recordings.facts import RecordingFacts
from opq_recordings.reading import recordings_in
from opq_tools.analyze.command import command as analyze
from opq_tools.classify import command as classify
from opq_tools.import_events import command as import_command

RATE_HZ, SAMPLES = 1600, 400
START_NS = 1_710_669_600_000_000_000
MINUTE_NS = 60 * 10**9
VOLTS = ("--nominal-volts", "230", "--nominal-hz", "50")


def record(low: float = 1.0, start_ns: int = START_NS) -> str:
    at = np.arange(SAMPLES) / RATE_HZ
    size = np.where((at >= 0.1) & (at < 0.18), low, 1.0)
    volts = 325.27 * size * np.sin(2 * np.pi * 50 * at)
    rows = (f"{start_ns // 10**9 + second:.6f},{value:.4f}" for second, value in zip(at, volts, strict=True))
    return "time_s,voltage_V\n" + "\n".join(rows) + "\n"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Two days of one recorder: undisturbed, and a sag a minute later."""
    return packed(tmp_path / "in" / "days.zip", record(), record(0.6, START_NS + MINUTE_NS))


def packed(path: Path, *records: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as file:
        for day, text in enumerate(records, 17):
            file.writestr(f"2024-03-{day}/event.csv", text)
    return path


def test_each_is_a_recording_at_its_own_time(archive: Path) -> None:
    read = recordings_in(archive, RecordingFacts())
    assert [each.channel.name for each in read] == ["2024-03-17/event", "2024-03-18/event"]
    assert [each.start_ns for each in read] == [START_NS, START_NS + MINUTE_NS]
    assert not any(each.others or each.problems for each in read)


def test_one_start_is_not_that_of_several(archive: Path) -> None:
    with pytest.raises(RecordingError, match="holds 2 recordings, and one start is given"):
        recordings_in(archive, RecordingFacts(start_ns=START_NS))


def test_channels_whose_times_overlap_are_beside_each_other(tmp_path: Path) -> None:
    path = packed(tmp_path / "in" / "boxes.zip", record(), record(0.6, START_NS + 0))
    assert len(recordings_in(path, RecordingFacts())) == 1
    result = CliRunner().invoke(classify, [str(path), *VOLTS])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("command", [analyze, classify])
def test_what_is_left_out_is_said(archive: Path, command: object) -> None:
    result = CliRunner().invoke(command, [str(archive), *VOLTS, "--json"])  # type: ignore[arg-type]
    assert isinstance(result.exception, RecordingError) and result.exception.exit_code == 1
    assert "1 of 2 recordings were left out" in str(result.exception)
    assert any("2024-03-18/event left out" in each for each in json.loads(result.stdout)["problems"])
    chosen = CliRunner().invoke(command, [str(archive), *VOLTS, "--channel", "2"])  # type: ignore[arg-type]
    assert chosen.exit_code == 0 and "sag" in chosen.output


def test_a_folder_with_it_says_so(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "lines.jsonl"
    result = CliRunner().invoke(analyze, [str(archive.parent), "--jsonl", str(out), *VOLTS])
    assert isinstance(result.exception, RecordingError) and "one of several" in str(result.exception)
    assert json.loads(out.read_text())["left_out"]["recordings"] == "2024-03-18/event"


def test_all_are_imported_each_once(archive: Path, tmp_path: Path) -> None:
    arguments = [
        "event", str(archive), "--box", "7", *VOLTS, "--data-dir", str(tmp_path / "data"), "--json",
    ]  # fmt: skip
    for new in (True, False):
        result = CliRunner().invoke(import_command, arguments)
        assert result.exit_code == 0, (result.output, result.exception)
        found = json.loads(result.stdout)["imported"]
        assert [each["start_ns"] for each in found] == [START_NS, START_NS + MINUTE_NS]
        assert [each["new"] for each in found] == [new, new]


def test_boxes_of_several_recordings_name_their_channels(archive: Path, tmp_path: Path) -> None:
    arguments = ["event", str(archive), "--box", "7", "--box", "8", "--data-dir", str(tmp_path / "data")]
    result = CliRunner().invoke(import_command, [*arguments, *VOLTS])
    assert isinstance(result.exception, RecordingError)
    assert "name the channel of each --box" in result.output
