"""`opq-tools analyze FOLDER`: one line for each recording, resumable, by several processes or by Dask."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from analyze_under_test import as_i16, mains, run

from opq_measure.analysis.quantities import GROUPS
from opq_measure.events.limits import Limits
from opq_proto.errors import RecordingError
from opq_recordings.facts import RecordingFacts
from opq_recordings.folder import recordings_of
from opq_tools.recordings.analyze import many
from opq_tools.recordings.analyze.many import Order, analyse_many

ORDER = Order(RecordingFacts(), Limits(), GROUPS)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A dip, a swell in a folder below, a table without numbers, and a file that is not a recording."""
    folder = tmp_path / "archive"
    (folder / "2024").mkdir(parents=True)
    dip, swell = mains(0.5), mains(0.5)
    dip[2400:3600] *= 0.6
    swell[2400:3600] *= 1.3
    as_i16(folder, dip)
    as_i16(folder / "2024", swell)
    (folder / "words.csv").write_text("no numbers here\n")
    (folder / "notes.md").write_text("of the archive")
    return folder


def lines_in(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line, parse_constant=pytest.fail) for line in path.read_text().splitlines()]


def test_a_folder_gives_lines_and_a_table(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    result = run(archive, "--jsonl", out)
    assert result.exit_code == 0, (result.output, result.exception)
    lines = {Path(line["file"]).relative_to(archive): line for line in lines_in(out)}
    assert list(map(str, lines)) == ["mains.i16", "words.csv", "2024/mains.i16"]
    assert [each["class"] for each in lines[Path("mains.i16")]["events"]] == ["sag"]
    assert [each["class"] for each in lines[Path("2024/mains.i16")]["events"]] == ["swell"]
    assert lines[Path("words.csv")]["error"].startswith(
        "is not a table of numbers: line 1 is 'no numbers here'"
    )
    assert lines[Path("mains.i16")]["cycles"] is None and "cycles" in lines[Path("mains.i16")]["left_out"]
    assert "3 recordings: 2 analysed, 1 could not be" in result.stdout
    assert "in all: 1 sag, 1 swell" in result.stdout
    assert "words.csv" in result.stdout.split("could not be read")[1]


def test_the_output_file_is_not_an_input(archive: Path) -> None:
    for _ in range(2):
        assert (
            "3 recordings: 2 analysed, 1 could not be"
            in run(archive, "--jsonl", archive / "out.jsonl").stdout
        )


def test_a_second_run_analyses_only_new_files(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    analyse_many(recordings_of([archive]), ORDER, out, 1, None)
    before = out.read_text()
    lines, kept = analyse_many(recordings_of([archive]), ORDER, out, 1, None)
    assert kept == 3 and out.read_text() == before and len(lines) == 3
    os.utime(archive / "words.csv", ns=(1, 1))
    as_i16(archive / "2024", mains(0.3))
    assert analyse_many(recordings_of([archive]), ORDER, out, 1, None)[1] == 1
    assert analyse_many(recordings_of([archive]), ORDER, out, 1, None)[1] == 3
    other = Order(RecordingFacts(nominal_v=230.0), Limits(), GROUPS)
    assert analyse_many(recordings_of([archive]), other, out, 1, None)[1] == 0


def test_a_cut_line_is_made_again(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    analyse_many(recordings_of([archive]), ORDER, out, 1, None)
    whole = out.read_text()
    out.write_text(whole[:-100])
    assert analyse_many(recordings_of([archive]), ORDER, out, 1, None)[1] == 2
    assert sorted(out.read_text().splitlines()) == sorted(whole.splitlines())


def test_a_file_of_other_lines_is_not_touched(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text('{"a": 1}\n')
    with pytest.raises(RecordingError, match="is not a file of opq-tools analyze --jsonl"):
        analyse_many(recordings_of([archive]), ORDER, out, 1, None)
    assert out.read_text() == '{"a": 1}\n'


def test_several_processes_find_what_one_finds(archive: Path, tmp_path: Path) -> None:
    paths = recordings_of([archive])
    one, _ = analyse_many(paths, ORDER, tmp_path / "one.jsonl", 1, None)
    two, _ = analyse_many(paths, ORDER, tmp_path / "two.jsonl", 2, None)
    assert one == two


def dies_of_words(path: Path, order: Order) -> list[dict[str, Any]]:
    """As `lines_of`, but for one recording the process is killed, as the kernel does without memory."""
    if path.name == "words.csv":
        os.kill(os.getpid(), signal.SIGKILL)
    return many.lines_of(path, order)


@pytest.mark.slow
def test_a_crashing_recording_spares_the_others(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many, "lines_of", dies_of_words)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    lines, _ = analyse_many(recordings_of([archive]), ORDER, tmp_path / "out.jsonl", 2, None)
    assert [line.get("error") for line in lines] == [
        None,
        "its process was lost; is there enough memory for it?",
        None,
    ]


@pytest.mark.parametrize("words", [("--json",), ("--plot", "a.png"), ("--detail", "cycles")])
def test_single_recording_options_are_refused_for_a_folder(words: tuple[str, ...], archive: Path) -> None:
    result = run(archive, *words)
    assert getattr(result.exception, "exit_code", 0) == 2 and "needs one recording" in str(result.exception)


def test_folder_options_are_refused_for_one_recording(archive: Path) -> None:
    result = run(archive / "mains.i16", "--jobs", 2)
    assert getattr(result.exception, "exit_code", 0) == 2 and "need a folder" in str(result.exception)


def test_a_folder_without_a_voltage_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "words.csv").write_text("no numbers\n")
    result = run(tmp_path, "--jsonl", tmp_path / "out.jsonl")
    assert result.exit_code == 1 and "none of its 1 recordings could be analysed" in str(result.exception)
    (tmp_path / "empty").mkdir()
    assert "has no recording below it" in str(run(tmp_path / "empty").exception)


def test_comtrade_is_one_recording_and_facts_are_none(tmp_path: Path) -> None:
    for name in ("a.cfg", "a.dat", "B.CFG", "b.DAT", "c.dat", "d.i16", "d.json", "e.json", ".hidden.csv"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in recordings_of([tmp_path])] == ["B.CFG", "a.cfg", "c.dat", "d.i16", "e.json"]


@pytest.mark.slow
def test_dask_finds_what_one_process_finds(archive: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="Dask is not installed")
    paths = recordings_of([archive])
    one, _ = analyse_many(paths, ORDER, tmp_path / "one.jsonl", 1, None)
    by_dask, _ = analyse_many(paths, ORDER, tmp_path / "two.jsonl", 1, "local:2")
    assert one == by_dask
