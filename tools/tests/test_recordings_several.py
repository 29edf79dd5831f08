"""A file of several recordings: all are taken; one that cannot be read is said, and the exit is 1."""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import click
import h5py
import numpy as np
import pytest
import scipy  # loads scipy.io where it is used
from click.testing import CliRunner

from opq_proto.errors import RecordingError
from opq_recordings.facts import RecordingFacts
from opq_recordings.reading import recordings_in
from opq_recordings.recording import Recording
from opq_tools.exporting.export_command import command as export_command
from opq_tools.exporting.importing import command as import_command
from opq_tools.recordings.analyze.analyze_command import command as analyze
from opq_tools.recordings.classify import command as classify

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


def read_all(path: Path) -> list[Recording]:
    found = recordings_in(path, RecordingFacts())
    assert all(isinstance(each, Recording) for each in found), found
    return found  # type: ignore[return-value]


def test_each_is_a_recording_at_its_own_time(archive: Path) -> None:
    read = read_all(archive)
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
def test_all_are_analysed_and_classified(archive: Path, command: click.Command) -> None:
    result = CliRunner().invoke(command, [str(archive), *VOLTS, "--json"])
    assert result.exit_code == 0, (result.output, result.exception)
    documents = [json.loads(line) for line in result.stdout.splitlines()]
    assert [each["channel"] for each in documents] == ["2024-03-17/event", "2024-03-18/event"]
    assert ["sag" in json.dumps(each.get("events", each.get("class"))) for each in documents] == [False, True]
    text = CliRunner().invoke(command, [str(archive), *VOLTS]).stdout
    assert text.index("recording 1 of 2: 2024-03-17") < text.index("recording 2 of 2") < text.index("sag")
    chosen = CliRunner().invoke(command, [str(archive), *VOLTS, "--channel", "2"])
    assert chosen.exit_code == 0 and "sag" in chosen.output and "recording 1" not in chosen.output


@pytest.mark.parametrize("command", [analyze, classify])
def test_an_unreadable_part_spares_the_others(tmp_path: Path, command: click.Command) -> None:
    records = [without_rate(), record(), record(0.6, START_NS + MINUTE_NS)]
    for at in range(3):  # the first one too
        path = packed(tmp_path / "in" / "a.zip", *records[1 : 1 + at], records[0], *records[1 + at :])
        result = CliRunner().invoke(command, [str(path), *VOLTS, "--json"])
        assert str(result.exception).endswith("a.zip: 1 of its 3 recordings could not be read")
        assert len(result.stdout.splitlines()) == 2 and "its rate is not known" in result.stderr


def without_rate() -> str:
    return "voltage_V\n" + "".join(f"{line.split(',')[1]}\n" for line in record().splitlines()[1:])


def test_a_page_or_a_picture_is_of_one(archive: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(analyze, [str(archive), *VOLTS, "--report", str(tmp_path / "a.html")])
    assert "holds 2 recordings; --plot, --report and --intervals are of one" in str(result.exception)
    assert getattr(result.exception, "exit_code", 0) == 2


def lines_of_folder(folder: Path, out: Path) -> tuple[list[dict[str, Any]], str]:
    result = CliRunner().invoke(analyze, [str(folder), "--jsonl", str(out), *VOLTS])
    said = result.output + (f"\n{result.exception}" if result.exit_code else "")
    return [json.loads(line) for line in out.read_text().splitlines()], said


def test_a_second_folder_run_makes_nothing(archive: Path, tmp_path: Path) -> None:
    for done_before in (0, 2):
        lines, said = lines_of_folder(archive.parent, tmp_path / "lines.jsonl")
        assert [each["channel"] for each in lines] == ["2024-03-17/event", "2024-03-18/event"]
        assert [(each["made_of"]["recording"], each["made_of"]["recordings"]) for each in lines] == [
            (1, 2),
            (2, 2),
        ]
        assert [[one["class"] for one in each["events"]] for each in lines] == [[], ["sag"]]
        assert "2 recordings: 2 analysed" in said and ("of them were done before" in said) == bool(
            done_before
        )
        assert "days.zip 2024-03-18/event" in said


def test_a_shrunk_file_is_analysed_again(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "lines.jsonl"
    lines_of_folder(archive.parent, out)
    packed(archive, record(0.6))
    os.utime(archive, ns=(1, 1))
    assert "1 recordings: 1 analysed" in lines_of_folder(archive.parent, out)[1]
    lines, said = lines_of_folder(archive.parent, out)
    assert len(lines) == 3 and "1 of them were done before" in said


def test_a_cut_line_of_several_remakes_all(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "lines.jsonl"
    lines_of_folder(archive.parent, out)
    whole = out.read_text()
    out.write_text(whole[:-100])
    lines_of_folder(archive.parent, out)
    lines, said = lines_of_folder(archive.parent, out)
    assert "2 of them were done before" in said and len(lines) == 3


def test_an_unreadable_part_ends_with_1(tmp_path: Path) -> None:
    """The part is named in one line; the others are read."""
    path = packed(tmp_path / "in" / "b.zip", record(), without_rate())
    lines, said = lines_of_folder(path.parent, tmp_path / "lines.jsonl")
    assert ["error" in each for each in lines] == [False, True] and "rate is not known" in lines[1]["error"]
    assert said.endswith("1 recordings of files that hold several could not be analysed")


def wave(samples: int, rate_hz: float = RATE_HZ, low: float = 1.0) -> np.ndarray:
    at = np.arange(samples) / rate_hz
    return 325.27 * np.where((at >= 0.1) & (at < 0.18), low, 1.0) * np.sin(2 * np.pi * 50 * at)


def structures(*each: dict[str, object]) -> np.ndarray:
    found = np.zeros((1, len(each)), dtype=[(name, "O") for name in each[0]])
    for k, one in enumerate(each):
        found[0, k] = tuple(one.values())
    return found


def several_arrays(folder: Path) -> dict[str, tuple[str, str]]:
    """File -> the names of its two recordings."""
    first, second = {"v": wave(400), "fs": 1600.0}, {"v": wave(400, 3200.0, 0.6), "fs": 3200.0}
    np.savez(folder / "lengths.npz", v1=wave(400), v2=wave(500, low=0.6), fs=1600.0)
    np.savez(folder / "folders.npz", **{"a/v": wave(400), "b/v": wave(500, low=0.6), "fs": 1600.0})
    scipy.io.savemat(folder / "structures.mat", {"one": first, "two": second})
    scipy.io.savemat(folder / "array.mat", {"event": structures(first, second)})
    with h5py.File(folder / "groups.h5", "w") as file, h5py.File(folder / "starts.h5", "w") as timed:
        for k, rate_hz in enumerate((1600.0, 3200.0)):
            file[f"event_{k}/v"] = wave(400, rate_hz, 1 - 0.4 * k)
            file[f"event_{k}"].attrs["sample_rate"] = rate_hz
            timed[f"event_{k}/v"] = wave(400, low=1 - 0.4 * k)
            timed[f"event_{k}"].attrs.update(fs=1600.0, start=f"2024-03-17T10:0{k}:00Z")
    matlab_7_3(folder / "new.mat")
    return {
        "lengths.npz": ("v1", "v2"),
        "folders.npz": ("a/v", "b/v"),
        "structures.mat": ("one/v", "two/v"),
        "array.mat": ("event(1)/v", "event(2)/v"),
        "new.mat": ("event(1)/v", "event(2)/v"),
        "groups.h5": ("event_0/v", "event_1/v"),
        "starts.h5": ("event_0/v", "event_1/v"),
    }


def matlab_7_3(path: Path) -> None:
    """An array of structures as MATLAB stores it in HDF5: of each field, references to its values."""
    with h5py.File(path, "w", userblock_size=512) as file:
        event, values = file.create_group("event"), file.create_group("#refs#")
        event.attrs["MATLAB_class"] = np.bytes_("struct")
        for name, kind, of in (
            ("v", "double", [wave(400)[None], wave(500, low=0.6)[None]]),
            ("fs", "double", [np.array([[1600.0]])] * 2),
            ("unit", "char", [np.array([[ord("V")]], "u2")] * 2),
        ):
            stored = [values.create_dataset(f"{name}{k}", data=each) for k, each in enumerate(of)]
            for each in stored:
                each.attrs["MATLAB_class"] = np.bytes_(kind)
            event.create_dataset(name, (1, 2), dtype=h5py.ref_dtype)[0] = [each.ref for each in stored]
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM")


def test_unlike_arrays_are_separate_recordings(tmp_path: Path) -> None:
    for name, names in several_arrays(tmp_path).items():
        read = read_all(tmp_path / name)
        assert tuple(each.channel.name for each in read) == names, name
        for each, low in zip(read, (1.0, 0.6), strict=True):
            wanted = wave(each.samples, each.rate_hz, low)
            assert np.allclose(each.volts(0, each.samples), wanted, atol=1e-9), name
        started = [None, None] if name != "starts.h5" else [START_NS, START_NS + MINUTE_NS]
        assert [each.start_ns for each in read] == started, name
    said = lines_of_folder(tmp_path, tmp_path / "lines.jsonl")[1]
    assert "14 recordings: 14 analysed" in said and "in all: 7 sag" in said


def test_arrays_of_one_length_and_rate_are_channels(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", ua=wave(400), ub=wave(400), uc=wave(400), ia=wave(300), fs=1600.0)
    assert len(read_all(tmp_path / "a.npz")) == 1


def test_a_start_above_several_is_that_of_none(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["one/v"], file["two/v"] = wave(400), wave(500)
        file.attrs.update(fs=1600.0, start="2024-03-17T10:00:00Z")
    for each in read_all(tmp_path / "a.h5"):
        assert each.start_ns is None and "its start is stated once" in each.problems[0]


@pytest.mark.parametrize(
    ("stated", "start_ns", "zone"),
    [
        ({"start": "2024-03-17 10:00:00"}, START_NS, False),
        ({"start_ns": np.int64(START_NS + 7)}, START_NS + 7, True),
        ({"t0": np.datetime64("2024-03-17T10:00:00.000000005")}, START_NS + 5, True),
        ({"date": "17.03.2024", "time": "10:00:00 UTC"}, START_NS, True),
        ({"start": "last Sunday"}, None, True),
        ({"t": np.datetime64("2024-03-17T10:00:00", "ns") + np.arange(400) * 625_000}, START_NS, True),
        ({"t": 1_710_669_600 + np.arange(400) / 1600}, START_NS, True),
        ({"t": 1_710_669_600_000_000_000 + np.arange(400) * 625_000}, START_NS, True),
        ({"Tstart": -0.1}, None, True),
    ],
)
def test_the_stated_start_of_arrays_is_read(
    tmp_path: Path, stated: dict[str, Any], start_ns: int | None, zone: bool
) -> None:
    np.savez(tmp_path / "a.npz", u=wave(400), fs=1600.0, **stated)
    found = read_all(tmp_path / "a.npz")[0]
    assert found.start_ns == start_ns and ("time_zone" not in found.assumed) == zone
    assert bool(found.problems) == (stated.get("start") == "last Sunday")


def test_a_gap_in_times_is_one_in_samples(tmp_path: Path) -> None:
    kept = np.delete(np.arange(400), slice(200, 210))
    np.savez(tmp_path / "a.npz", u=wave(400)[kept], t=kept / 1600, fs=1600.0)
    assert [(each.first_sample, each.samples) for each in read_all(tmp_path / "a.npz")[0].gaps] == [(200, 10)]


def test_export_has_all_of_them_at_their_times(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    arguments = ["events", str(archive), "--format", "csv", "--out", str(out)]
    assert CliRunner().invoke(export_command, arguments).exit_code == 0
    assert [each.start_ns for each in read_all(out)] == [START_NS, START_NS + MINUTE_NS]
    no_start = packed(tmp_path / "in" / "some.zip", record(), record(0.6, 0))
    result = CliRunner().invoke(export_command, ["events", str(no_start), "--out", str(tmp_path / "b.zip")])
    assert "its start of 2024-03-18/event is not known" in str(result.exception)
    assert not (tmp_path / "b.zip").exists()


def test_all_are_imported_each_once(archive: Path, tmp_path: Path) -> None:
    arguments = [
        "event",
        str(archive),
        "--box",
        "7",
        *VOLTS,
        "--data-dir",
        str(tmp_path / "data"),
        "--json",
    ]
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


def test_a_failed_import_spares_the_others(tmp_path: Path) -> None:
    path = packed(tmp_path / "in" / "some.zip", record(), record(0.6, 0), record(0.6, START_NS + MINUTE_NS))
    arguments = ["event", str(path), "--box", "7", *VOLTS, "--data-dir", str(tmp_path / "data"), "--json"]
    result = CliRunner().invoke(import_command, arguments)
    assert isinstance(result.exception, RecordingError) and "not imported" in str(result.exception)
    answer = json.loads(result.stdout)
    assert [each["start_ns"] for each in answer["imported"]] == [START_NS, START_NS + MINUTE_NS]
    assert [each["why"] for each in answer["failed"]] == ["its start is not known; give --start"]


NAME = "two\nlines\tand \x1b[31mred.csv"


@pytest.mark.parametrize("command", [analyze, classify])
def test_a_name_with_line_break_stays_one_line(tmp_path: Path, command: click.Command) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / NAME).write_text(record(0.6))
    (folder / f"bad{NAME}").write_text("no numbers\n")
    (folder / "header.csv").write_text(record().replace("voltage_V", '"voltage\tof A_V"'))
    said = CliRunner().invoke(command, [str(folder / NAME)])
    torn = [line for line in (said.stdout + said.stderr).splitlines() if line.startswith("lines")]
    assert said.exit_code == 0 and not torn and "\x1b" not in said.output
    refused = CliRunner().invoke(command, [str(folder / f"bad{NAME}")])
    assert len(str(refused.exception).splitlines()) == 1 and "two\\nlines\\tand" in str(refused.exception)
    lines, table = lines_of_folder(folder, tmp_path / "lines.jsonl")
    assert sorted(Path(each["file"]).name for each in lines) == sorted([NAME, f"bad{NAME}", "header.csv"])
    rows = [line for line in table.splitlines() if "red.csv" in line]
    assert len(rows) == 2 and all("two\\nlines" in row for row in rows) and "\x1b" not in table


def test_names_of_imported_files_are_one_line(tmp_path: Path) -> None:
    path = packed(tmp_path / "in" / f"{NAME}.zip", record(0.6))
    arguments = ["event", str(path), "--box", "7", *VOLTS, "--data-dir", str(tmp_path / "data")]
    result = CliRunner().invoke(import_command, arguments)
    assert result.exit_code == 0 and len(result.stdout.splitlines()) == 1, result.output


def test_an_unreadable_archive_member_is_reported(tmp_path: Path) -> None:
    np.savez(tmp_path / "b.npz", v=wave(400), fs=1600.0)
    path = tmp_path / "a.zip"
    for inner, fault in (
        ("d/broken.csv", "broken.csv: is not a table"),
        ("d/b.npz", "b.npz: is packed within another file"),
        ("d/README.txt", None),
    ):
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("d/e/event.csv", record(0.6))
            file.writestr(inner, (tmp_path / "b.npz").read_bytes() if "npz" in inner else "hello\n")
        found = recordings_in(path, RecordingFacts())
        assert isinstance(found[0], Recording) and "it was left out" in found[0].problems[-1]
        assert [str(each) for each in found[1:] if fault and fault in str(each)] == [
            str(e) for e in found[1:]
        ]
        assert len(found) == (2 if fault else 1)
        result = CliRunner().invoke(analyze, [str(path), *VOLTS, "--json"])
        assert bool(result.exit_code) == bool(fault) and "sag" in result.stdout
        assert "opq-recording-" not in result.output
