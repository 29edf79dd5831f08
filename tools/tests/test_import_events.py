"""`opq-tools import event`: recordings of other instruments become events of a Box, with their own times."""

import json
import math
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from fastapi.testclient import TestClient
from open_view import open_services

from opq_cloud.core.settings.config import CloudConfig
from opq_cloud.mauka.flow.flow_runner import AnalysisRunner
from opq_cloud.mauka.running.known.analysis_entries import analysis_entries
from opq_cloud.mauka.running.known.built_in_analyses import built_in, load_analyses
from opq_cloud.store import BoxRecord, open_store
from opq_cloud.view.app import create_app
from opq_tools.cli import tools
from opq_tools.exporting import recording_parts

START_NS = 1_710_669_600 * 10**9
"""2024-03-17T10:00:00Z."""
RATE_HZ, SAMPLES = 3200, 3200


def comtrade(
    folder: Path, name: str = "relay", nominal_v: float = 230.0, left_out: slice = slice(0, 0)
) -> Path:
    """Three phases and a current; phase A dips to 60 % from 0.4 to 0.5 s."""
    folder.mkdir(parents=True, exist_ok=True)
    t_s = np.arange(SAMPLES) / RATE_HZ
    shifts = (0.0, 2 * math.pi / 3, 4 * math.pi / 3)
    waves = [nominal_v * math.sqrt(2) * np.sin(2 * np.pi * 50 * t_s - each) for each in shifts]
    waves[0][1280:1600] *= 0.6
    columns = [np.rint(wave / nominal_v * 10_000).astype(int) for wave in [*waves, waves[0]]]
    rows = [
        f"{k + 1},{round(k * 1e6 / RATE_HZ)}," + ",".join(str(each[k]) for each in columns)
        for k in range(SAMPLES)
    ]
    del rows[left_out]
    (folder / f"{name}.dat").write_text("\r\n".join(rows))
    channels = "".join(
        f"{k},{name},,,{unit},{nominal_v / 10_000},0,0,-32767,32767,1,1,S\r\n"
        for k, (name, unit) in enumerate((("Ua", "V"), ("Ub", "V"), ("Uc", "V"), ("Ia", "A")), 1)
    )
    path = folder / f"{name}.cfg"
    path.write_text(
        f"S,R,1999\r\n4,4A,0D\r\n{channels}50\r\n1\r\n{RATE_HZ},{SAMPLES}\r\n17/03/2024,10:00:00.000000\r\n"
        "17/03/2024,10:00:00.400000\r\nASCII\r\n1\r\n"
    )
    return path


def run(*words: object) -> Result:
    return CliRunner().invoke(tools, [str(word) for word in words])


def analysed(store: Path, event_id: int) -> None:
    """Mauka's own runner over the store of a cloud that is not running."""
    with closing(open_store(None, store)) as opened:
        analyses = load_analyses(analysis_entries(CloudConfig().mauka, built_in()))
        AnalysisRunner({}, lambda: opened, analyses).analyse_now(event_id)


def imported(store: Path, *words: object) -> dict[str, Any]:
    result = run("import", "event", *words, "--data-dir", store, "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_an_imported_recording_is_analysed_at_its_time(tmp_path: Path) -> None:
    store = tmp_path / "store"
    found = imported(store, comtrade(tmp_path / "archive"), "--box", 7)
    assert found["failed"] == [] and found["imported"][0]["channels"] == {"7": "Ua"}
    event_id = found["imported"][0]["event_id"]
    with closing(open_store(None, store)) as opened:
        record, event, box = opened.event_record(event_id), opened.event(event_id), opened.box("7")
    assert record is not None and event is not None and box is not None
    assert record.start_ns == START_NS and record.finished and not record.analysed
    assert record.because == "imported from relay.cfg (COMTRADE 1999, ascii; Ua of 4 channels)"
    assert (box.nominal_v, box.nominal_hz, box.unplugged) == (230.0, 50.0, True)
    analysed(store, event_id)
    with closing(open_store(None, store)) as opened:
        (incident,) = opened.incidents()
        pages = TestClient(create_app(open_services(opened)))
        shown = [
            pages.get(f"/{each}").text for each in (f"events/{event_id}", f"incidents/{incident.incident_id}")
        ]
    assert all("imported from relay.cfg (COMTRADE 1999, ascii; Ua of 4 channels)" in page for page in shown)
    assert all("2024-03-17" in page for page in shown)
    (sag,) = [each.finding for each in incident.findings if each.finding.kind == "sag"]
    assert incident.event_ids == (event_id,) and sag.box_id == "7"
    assert sag.residual_percent == pytest.approx(60, abs=0.5)
    assert (sag.start_ns - START_NS) / 1e9 == pytest.approx(0.4, abs=0.02)


def test_the_samples_are_those_of_the_recording(tmp_path: Path) -> None:
    store = tmp_path / "store"
    path = comtrade(tmp_path / "archive", left_out=slice(100, 150))
    event_id = imported(store, path, "--box", 7)["imported"][0]["event_id"]
    with closing(open_store(None, store)) as opened:
        wave = opened.waveform(event_id, "7")
    assert wave is not None and wave.rate_millihz == RATE_HZ * 1000
    t_s = np.delete(np.arange(SAMPLES), slice(100, 150)) / RATE_HZ
    known = 230 * math.sqrt(2) * np.sin(2 * np.pi * 50 * t_s)
    known[1230:1550] *= 0.6
    assert np.abs(wave.volts - known).max() < 0.012 + wave.v_per_lsb  # rounded in the file, then to a count
    assert [(gap.first_sample, gap.samples) for gap in wave.gaps] == [(100, 50)]
    assert wave.end_ns == START_NS + 10**9


def test_importing_again_changes_nothing_wherever_the_file_lies(tmp_path: Path) -> None:
    store = tmp_path / "store"
    first = imported(store, comtrade(tmp_path / "a"), "--box", 7)["imported"][0]
    again = imported(store, comtrade(tmp_path / "b"), "--box", 7)["imported"][0]
    assert (first["new"], again["new"]) == (True, False) and again["event_id"] == first["event_id"]
    assert imported(store, tmp_path / "b", "--box", 8)["imported"][0]["event_id"] != first["event_id"]
    with closing(open_store(None, store)) as opened:
        assert len(opened.events()) == 2


def test_three_phases_are_three_boxes_of_one_event(tmp_path: Path) -> None:
    store = tmp_path / "store"
    words = [comtrade(tmp_path / "a"), "--box", "7=Ua", "--box", "8=Ub", "--box", "9=3"]
    (found,) = imported(store, *words)["imported"]
    assert found["channels"] == {"7": "Ua", "8": "Ub", "9": "Uc"}
    with closing(open_store(None, store)) as opened:
        event = opened.event(found["event_id"])
    assert event is not None and [wave.box_id for wave in event.waveforms] == ["7", "8", "9"]


@pytest.mark.parametrize("samples", [8, 16])
def test_a_relays_few_samples_show_its_sag(samples: int, tmp_path: Path) -> None:
    """The relay samples only a few times per cycle."""
    store, path, rate_hz = tmp_path / "store", tmp_path / "relay.csv", 50 * samples
    t_s = np.arange(2 * rate_hz) / rate_hz
    waves = [
        230 * math.sqrt(2) * np.sin(2 * np.pi * (50 * t_s - k / 3)) * np.where(abs(t_s - 1) < 0.1, 0.5, 1)
        for k in range(3)
    ]
    np.savetxt(path, np.column_stack((t_s, *waves)), "%.6f", ",", header="t_s,Ua,Ub,Uc", comments="")
    boxes = [word for k, name in enumerate(("Ua", "Ub", "Uc")) for word in ("--box", f"{k}={name}")]
    start = ("--start", "2024-03-17T10:00:00", "--nominal-volts", 230, "--nominal-hz", 50)
    (found,) = imported(store, path, *boxes, *start)["imported"]
    analysed(store, found["event_id"])
    with closing(open_store(None, store)) as opened:
        record = opened.event_record(found["event_id"])
        findings = [each.finding for incident in opened.incidents() for each in incident.findings]
    assert record is not None and record.analysed
    assert {each.box_id for each in findings if each.kind == "sag"} == {"0", "1", "2"}
    assert all(each.residual_percent == pytest.approx(50, abs=1) for each in findings)
    assert all((each.start_ns - START_NS) / 1e9 == pytest.approx(0.9, abs=0.025) for each in findings)


def test_a_long_recording_becomes_several_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a twentieth of the lengths from which on a recording is long and a state lasting."""
    monkeypatch.setattr(recording_parts, "LONGEST_S", 30.0)
    monkeypatch.setattr(recording_parts, "LASTING_S", 3.0)
    store, rate_hz = tmp_path / "store", 600
    t_s = np.arange(40 * rate_hz) / rate_hz
    volts = 230 * math.sqrt(2) * np.sin(2 * np.pi * 50 * t_s)
    volts[(t_s >= 10) & (t_s < 10.2)] *= 0.5
    volts[(t_s >= 11) & (t_s < 11.2)] *= 0.6  # so near that it is of the same part
    volts[(t_s >= 25) & (t_s < 31)] *= 0.8
    counts = np.rint(volts / 0.02).astype("<i2")
    facts = ("--rate-hz", rate_hz, "--volts-per-lsb", 0.02, "--nominal-volts", 230, "--nominal-hz", 50)
    words = ("--box", 7, *facts, "--start", "2024-03-17T10:00:00")
    path = tmp_path / "day.i16"
    path.write_bytes(counts.tobytes())
    short, long = found = imported(store, path, *words)["imported"]
    assert short["part"] == "8.0 to 13.2 s of 40 s: sag"
    assert long["part"] == "23.0 to 30.0 s of 40 s: sag of 6 s"
    assert imported(store, path, *words)["imported"] == [{**each, "new": False} for each in found]
    with closing(open_store(None, store)) as opened:
        record, wave = opened.event_record(short["event_id"]), opened.waveform(short["event_id"], "7")
        assert len(opened.events()) == 2
    assert record is not None and wave is not None and short["part"] in record.because
    assert abs(record.start_ns - START_NS - 8 * 10**9) < 5 * 10**7 and wave.v_per_lsb == 0.02
    first = round((wave.start_ns - START_NS) * rate_hz / 1e9)
    assert np.array_equal(wave.counts, counts[first : first + len(wave.counts)])
    analysed(store, short["event_id"])
    with closing(open_store(None, store)) as opened:
        (incident,) = opened.incidents()
    assert [each.finding.kind for each in incident.findings] == ["sag", "sag"]
    path.write_bytes(counts[: 8 * rate_hz].tobytes() * 5)
    quiet = imported(store, path, *words)
    assert quiet["imported"] == [] and quiet["without_event"] == [str(path)]


def test_a_folder_import_names_its_failures(tmp_path: Path) -> None:
    store, folder = tmp_path / "store", tmp_path / "archive"
    comtrade(folder)
    comtrade(folder / "2024", "second")
    (folder / "bad.csv").write_text("hello\n")
    comtrade(folder, "feeder", nominal_v=11_000.0)
    (folder / "notes.md").write_text("no recording")
    result = run("import", "event", folder, "--box", 7, "--data-dir", store, "--nominal-volts", 230)
    assert "2 of 4" not in result.output
    assert result.exit_code == 1 and "1 of 4 recordings were not imported" in str(result.exception)
    assert "bad.csv" in result.stderr and result.stdout.count("event ") == 3


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--channel", "Ia"], "is in 'A'"),
        (["--rate-hz", "300"], "has 6 samples per cycle of 50 Hz; want at least 8"),
        (["--box", "8=Ux"], "has no channel 'Ux'"),
        (["--nominal-volts", "400"], "its nominal voltage is 400 V, but that of Box 7 is 230 V"),
    ],
)
def test_another_places_or_non_voltage_file_is_refused(words: list[str], why: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    with closing(open_store(None, store)) as opened:
        opened.put_box(BoxRecord("7", "Box 7", nominal_v=230.0))
    path = comtrade(tmp_path / "archive")
    result = run("import", "event", path, "--box", 7, *words, "--data-dir", store)
    assert result.exit_code == 1 and why in result.stderr, result.output
    with closing(open_store(None, store)) as opened:
        assert opened.events() == []


def test_a_recording_without_a_start_wants_one(tmp_path: Path) -> None:
    path = tmp_path / "scope.csv"
    t_s = np.arange(4000) / 4000
    volts = 325 * np.sin(2 * np.pi * 50 * t_s)
    path.write_text("time_s,volts\n" + "\n".join(f"{t:.6f},{v:.3f}" for t, v in zip(t_s, volts, strict=True)))
    result = run("import", "event", path, "--box", 7, "--data-dir", tmp_path / "store")
    assert result.exit_code == 1 and "its start is not known; give --start" in result.stderr
    assert not (tmp_path / "store").exists(), "what is refused makes no store"
    found = imported(tmp_path / "store", path, "--box", 7, "--start", "2024-03-17T10:00:00Z")
    assert found["imported"][0]["start_ns"] == START_NS
