"""`opq-tools export`: what a real store holds, as files of every form."""

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import demo
import numpy as np
import pytest
from click.testing import CliRunner, Result
from command_in_process import run_in_process
from recordings_under_test import cfg_text, comtrade, volts

from opq_cloud.export.event_files import event_file
from opq_cloud.export.exported_records import ExportError
from opq_cloud.export.selection import event_records
from opq_cloud.store import BoxRecord, open_store
from opq_proto.kit.whole_file import FileNotWrittenError, write_whole_file
from opq_proto.messages import Measurement, Metric, TimeSource
from opq_recordings.facts import RecordingFacts
from opq_recordings.reading import read_recording
from opq_tools.exporting.export_command import command

T_MS = 1_795_000_000_000


def measured(box_id: str, number: int, **more: object) -> Measurement:
    end_ns = (T_MS + 1000 * number) * 10**6
    given = {"metrics": {"rms": Metric(119.5, 120.5, 120.0)}, "sequence": number, **more}
    return Measurement(
        box_id, end_ns // 10**6, start_ns=end_ns - 10**9, end_ns=end_ns, source=TimeSource.GPS, **given
    )  # type: ignore[arg-type]


def stored(folder: Path) -> None:
    store = open_store(None, folder)
    store.append_measurements([measured("10", 1), measured("2", 2, crossing=True), measured("2", 1)])
    store.close()


def exported(folder: Path, *options: str) -> str:
    done = CliRunner().invoke(command, ["measurements", "--data-dir", str(folder), *options])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_everything_is_there_by_box_number_and_time(tmp_path: Path) -> None:
    stored(tmp_path)
    rows = json.loads(exported(tmp_path))
    assert [(row["box_id"], row["sequence"]) for row in rows] == [("2", 1), ("2", 2), ("10", 1)]
    assert (
        rows[1]["crossing"]
        and rows[0]["source"] == "gps"
        and rows[0]["end_ns"] - rows[0]["start_ns"] == 10**9
    )
    assert rows[0]["metrics"] == {"rms": {"min": 119.5, "max": 120.5, "average": 120.0}}


def test_a_box_and_a_span_of_time_choose(tmp_path: Path) -> None:
    stored(tmp_path)
    assert [row["box_id"] for row in json.loads(exported(tmp_path, "--box", "10"))] == ["10"]
    assert json.loads(exported(tmp_path, "--to", "2020-01-01")) == []
    store = open_store(None, tmp_path)
    store.put_box(BoxRecord("7", "silent"))
    store.close()
    where = ("--data-dir", str(tmp_path))
    silent = ran("measurements", "--box", "7", *where)
    assert (silent.exit_code, silent.stderr) == (0, "no Measurement is stored of Box 7\n")
    unknown = ran("measurements", "--box", "1" * 5000, *where)  # more digits than Python reads
    assert "is not known; known: 2, 7, 10" in str(unknown.exception)


def test_csv_has_a_column_per_figure(tmp_path: Path) -> None:
    stored(tmp_path)
    rows = list(csv.DictReader(io.StringIO(exported(tmp_path, "--format", "csv"))))
    assert len(rows) == 3 and rows[0]["rms_max"] == "120.5"


def ran(*options: str) -> Result:
    return CliRunner().invoke(command, list(options))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a sag at three Boxes."""
    folder = tmp_path_factory.mktemp("scene")
    store = open_store(None, folder)
    demo.fill(store, T_MS * 10**6, minutes=1)
    store.close()
    return folder


@pytest.mark.parametrize("form", ["cff", "comtrade", "csv", "npy", "wav", "json", "pqdif"])
def test_what_is_exported_is_read_back_equal(form: str, scene: Path, tmp_path: Path) -> None:
    out = (
        tmp_path / f"event.{'pqd' if form == 'pqdif' else form if form in ('csv', 'cff', 'json') else 'zip'}"
    )
    done = ran("events", "1", "--format", form, "--out", str(out), "--data-dir", str(scene))
    assert done.exit_code == 0, done.output
    assert list(tmp_path.iterdir()) == [out], "nothing is left beside it"
    store = open_store(None, scene)
    event = store.event(1)
    store.close()
    assert event is not None and len(event.waveforms) == 3
    if zipfile.is_zipfile(out) != (out.suffix == ".zip"):
        out = out.rename(out.with_suffix(".zip"))
    for number, wave in enumerate(event.waveforms, 1):
        found = read_recording(out, RecordingFacts(channel=str(number)))
        assert (found.rate_hz, found.start_ns) == (wave.rate_hz, wave.start_ns)
        assert found.channel.scale == wave.v_per_lsb and len(found.channels) == 3
        stored = np.concatenate(
            [found.channel.values[run.row : run.row + run.samples] for run in found.channel.runs]
        )
        assert np.array_equal(stored, wave.counts)


RELAY_NS = 1_710_669_600_123_456_789


def relay(folder: Path, names: tuple[str, ...]) -> Path:
    """A COMTRADE of int16 with missing samples, at 3200.125 Hz."""
    rows, rng = 3000, np.random.default_rng(9)
    channels = [f"{k},{name},A,,V,0.0{k}37,0,0,-32767,32767,1,1,S" for k, name in enumerate(names, 1)]
    cfg = cfg_text(
        counts=f"{len(names)},{len(names)}A,0D",
        channels="\r\n".join(channels),
        rates=f"1\r\n3200.125,{rows}",
        start="17/03/2024,10:00:00.123456789",
    )
    table = np.zeros(rows, [("n", "<u4"), ("t", "<u4"), ("values", "<i2", len(names))])
    table["n"] = np.arange(1, rows + 1)
    table["t"] = np.rint(np.arange(rows) * 1e6 / 3200.125)
    table["values"] = rng.integers(-20_000, 20_000, (rows, len(names)))
    table["values"][1000:1100] = -(2**15)
    return comtrade(folder, cfg, table.tobytes())


@pytest.mark.parametrize("names", [("Ua: L1-N",), ("Ua: L1-N", "Напряжение B")])
@pytest.mark.parametrize("form", ["cff", "comtrade", "csv", "npy", "wav", "json", "pqdif"])
def test_a_recording_is_exported_and_read_back_equal(
    form: str, names: tuple[str, ...], tmp_path: Path
) -> None:
    path = relay(tmp_path, names)
    out = tmp_path / f"out.{'pqd' if form == 'pqdif' else form}"
    comments = ["--comments"] if form == "csv" else []
    done = ran("events", str(path), "--format", form, "--out", str(out), *comments)
    assert done.exit_code == 0 and "rounded" not in done.stderr, done.output
    if zipfile.is_zipfile(out):
        out = out.rename(out.with_suffix(".zip"))
    for number, name in enumerate(names, 1):
        given = RecordingFacts(channel=str(number))
        found, wanted = read_recording(out, given), read_recording(path, given)
        assert (found.rate_hz, found.start_ns) == (3200.125, RELAY_NS) == (wanted.rate_hz, wanted.start_ns)
        assert found.channel.scale == wanted.channel.scale and found.nominal_hz == wanted.nominal_hz
        there = [(gap.first_sample, gap.samples) for gap in found.gaps]
        assert there == [(1000, 100)] and found.samples == wanted.samples
        assert np.array_equal(found.volts(0, 3000), wanted.volts(0, 3000), equal_nan=True)
        if form not in ("cff", "comtrade"):  # these are named by their file where there are several
            assert found.channel.name == name


def test_an_export_reports_what_it_drops(tmp_path: Path) -> None:
    path = tmp_path / "scope.csv"
    rows = "\n".join(f"{k / 1600:.6f},{v:.5f}" for k, v in enumerate(volts()))
    path.write_text(f"time_s,volts\n{rows}\n")
    out = tmp_path / "scope.cff"
    words = ("events", str(path), "--format", "cff", "--out", str(out))
    assert "its start is not known; give --start" in str(ran(*words).exception)
    done = ran(*words, "--start", "2024-03-17T10:00:00Z")
    assert done.exit_code == 0 and "are rounded to 9.88 mV" in done.stderr, done.stderr
    found = read_recording(out).volts(0, 400)
    assert np.abs(found - volts()).max() < 0.006
    assert "give --channel" in ran(*words, "--box", "1").output
    assert "for the FILE of a recording" in ran("events", "1", "--unit", "V", "--out", str(out)).output


def test_a_pqdif_event_has_all_boxes(scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "dip.pqd"
    done = ran("events", "1", "--format", "pqdif", "--out", str(out), "--data-dir", str(scene))
    assert done.exit_code == 0 and "a zip" not in done.output
    store = open_store(None, scene)
    whole = b"".join(event_file("event-1", event_records(store, 1), "pqdif").pieces)
    store.close()
    assert out.read_bytes() == whole, "its records are read in test_export_pqdif.py"


def test_an_incident_as_waveforms_and_as_findings(scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "incident.npz"
    whole = ("events", "--incident", "1", "--format", "npy", "--out", str(out), "--data-dir", str(scene))
    assert ran(*whole).exit_code == 0
    assert {"event-1-box-1", "event-1-box-4"} <= set(np.load(out))
    assert ran(*whole, "--box", "4").exit_code == 0
    assert "event-1-box-1" not in np.load(out) and "event-1-box-4" in np.load(out)
    both = ran(*whole, "--box", "4", "--box", "77")
    assert "no waveform of Box 77; it has 1, 2, 4" in str(both.exception)
    one = ("incidents", "--incident", "1", "--findings", "--format", "csv", "--data-dir", str(scene))
    assert "residual_percent" in ran(*one).stdout
    assert "there is no incident 9" in str(
        ran("incidents", "--incident", "9", "--data-dir", str(scene)).exception
    )
    assert "leave --from" in ran(*one, "--box", "1").output


@pytest.mark.parametrize("words", [(), ("1", "--incident", "1")])
def test_waveforms_are_of_one_event_or_one_incident(
    scene: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    done = ran("events", *words, "--out", str(tmp_path / "x.zip"), "--data-dir", str(scene))
    assert done.exit_code == 2 and "want the ID of an event, the FILE" in done.output


def test_exported_incidents_name_their_source(scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "incidents.json"
    options = ("incidents", "--out", str(out), "--data-dir", str(scene), "--licence", "CC0-1.0")
    assert ran(*options).exit_code == 0
    found = json.loads(out.read_text())
    assert found["provenance"]["licence"] == "CC0-1.0" and found["incidents"][0]["class"] == "sag"
    assert json.loads(ran("incidents", "--findings", "--data-dir", str(scene)).stdout)[0]["incident_id"] == 1
    for chosen, count in (("--class", "sag"), 1), (("--class", "swell"), 0), (("--box", "1"), 1):
        assert len(json.loads(ran("incidents", *chosen, "--data-dir", str(scene)).stdout)) == count


def test_an_absent_event_leaves_the_old_file(scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "old.cff"
    out.write_bytes(b"old")
    done = ran("events", "99", "--out", str(out), "--data-dir", str(scene))
    assert isinstance(done.exception, ExportError) and "no event 99" in str(done.exception)
    assert out.read_bytes() == b"old"
    away = ran("events", "1", "--out", str(tmp_path / "no" / "x.zip"), "--data-dir", str(scene))
    assert isinstance(away.exception, FileNotWrittenError)
    done = ran("measurements", "--format", "parquet", "--data-dir", str(scene))
    assert "--out" in str(done.exception)


def test_a_file_that_breaks_off_is_not_there(tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield b"begun"
        raise ExportError("the store went away")

    with pytest.raises(ExportError):
        write_whole_file(tmp_path / "x.csv", broken())
    assert list(tmp_path.iterdir()) == []
    assert write_whole_file(tmp_path / "x.csv", [b"a", b"bc"]) == 3
    assert (tmp_path / "x.csv").read_bytes() == b"abc"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("export", "measurements", "--out", ""), "a file without a name"),
        (("incidents", "show", "--words", "n\udcff"), "'n\\udcff' is not UTF-8 text"),
        (("export", "incidents", "--mongo-uri", "["), "mongo_uri is not an address"),
        (("keys", "add", "1" * 5000), "want rising ids from 1 to 2147483647"),
    ],
)
def test_what_no_store_can_have_is_one_line(tmp_path: Path, words: tuple[str, ...], why: str) -> None:
    open_store(None, tmp_path).close()
    told = run_in_process(*words, "--data-dir", str(tmp_path))
    assert why in told.stderr and len(told.stderr.splitlines()) == 1, told.stderr[-500:]
