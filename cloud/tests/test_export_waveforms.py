"""Waveform files are read by others: samples, times, gain and provenance come out as they were stored."""

import csv
import io
import json
import tempfile
import wave as wave_file
import zipfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest

from opq_cloud.export.comtrade import (
    DATA_FORMS,
    cfg_text,
    data_form_for,
    leap_second_code,
    rate_text,
    stamp_text,
    time_factor,
    time_quality,
)
from opq_cloud.export.event_files import WAVEFORM_FORMS, event_file
from opq_cloud.export.exported_records import ExportError, WaveformRecord, axis_pieces
from opq_cloud.export.selection import event_records
from opq_cloud.store import open_store
from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.event_record import EventRecord
from opq_cloud.view.api.export_jobs import placed_as_seen
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, Gap, TimeSource, Trigger, Waveform
from opq_proto.wire.half_cycles import HalfCycleRms

if TYPE_CHECKING:
    import comtrade

START_NS = 1_795_000_000_123_456_789
COUNTS = np.arange(-1500, 1500, dtype=np.int16)
WAVE = Waveform("1", START_NS, 250, TimeSource.GPS, 12_000_123, 0.0068, 500, COUNTS)
EVENT = EventRecord(
    17,
    "t",
    START_NS,
    WAVE.end_ns,
    ("1",),
    ("1",),
    {},
    True,
    True,
    "rms below 90 %, Box 1",
    onset_ns=(START_NS + 10**8, START_NS + 2 * 10**8),
)
BOX = BoxRecord("1", "Cellar, left\n", nominal_v=120.0, nominal_hz=60.0, phase="L1")


def recorded(wave: Waveform = WAVE, **box: object) -> WaveformRecord:
    return WaveformRecord(wave, EVENT, replace(BOX, box_id=wave.box_id, **box), "CC-BY-4.0")  # type: ignore[arg-type]


def with_a_gap(samples: int = 2000) -> Waveform:
    return replace(WAVE, gaps=(Gap(first_sample=1500, samples=samples, reason="ring was full"),))


def content(record: WaveformRecord, form: str, data: str = "binary") -> bytes:
    return b"".join(event_file("event-17", [record], form, data).pieces)  # type: ignore[arg-type]


def content_of_all(records: list[WaveformRecord], form: str) -> bytes:
    return b"".join(event_file("event-17", records, form).pieces)  # type: ignore[arg-type]


def comtrade_reader() -> "comtrade.Comtrade":
    import comtrade  # loads pandas: not while tests are found

    return comtrade.Comtrade(use_numpy_arrays=True, use_double_precision=True, ignore_warnings=True)


def read_by_the_comtrade_package(record: WaveformRecord, form: str, data: str) -> "comtrade.Comtrade":
    reader = comtrade_reader()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "record.cff"
        path.write_bytes(content(record, form, data))
        if form == "comtrade":
            with zipfile.ZipFile(path) as archive:
                archive.extractall(folder)
            stem = Path(folder) / record.stem
            reader.load(f"{stem}.cfg", f"{stem}.dat")
        else:
            reader.load(str(path))
    return reader


@pytest.mark.parametrize("form", ["comtrade", "cff"])
@pytest.mark.parametrize("data", DATA_FORMS)
def test_an_independent_reader_gets_equal_samples(form: str, data: str) -> None:
    found = read_by_the_comtrade_package(recorded(), form, data)
    assert np.array_equal(np.round(found.analog[0] / WAVE.v_per_lsb), COUNTS)
    assert np.allclose(found.analog[0], WAVE.volts, rtol=1e-12)
    exact = [(WAVE.time_ns(k) - START_NS) / 1e9 for k in range(len(COUNTS))]
    assert np.max(np.abs(np.asarray(found.time) - exact)) < 1.01e-9
    assert found.start_timestamp.isoformat() == "2026-11-18T11:06:40.123456"  # the package has no nanoseconds
    assert (found.cfg.frequency, found.cfg.analog_channels[0].uu, found.cfg.ft) == (60.0, "V", data.upper())
    assert found.cfg.analog_channels[0].ph == "L1" and found.cfg.time_base == 1e-9
    assert found.trigger_timestamp > found.start_timestamp
    if form == "cff":
        assert "volts_per_lsb=0.0068" in found.inf and "CC-BY-4.0" in found.hdr


@pytest.mark.parametrize("data", DATA_FORMS)
def test_missing_samples_are_missing_where_they_are(data: str) -> None:
    wave = with_a_gap()
    found = read_by_the_comtrade_package(recorded(wave), "cff", data)
    volts = found.analog[0]
    assert len(volts) == 5000 and np.isnan(volts[1000:3000]).all()
    assert np.array_equal(np.round(volts[~np.isnan(volts)] / WAVE.v_per_lsb), COUNTS)
    assert abs(found.time[-1] - (wave.time_ns(4999) - START_NS) / 1e9) < 1.01e-9


def test_each_rows_stamps_are_its_samples() -> None:
    wave = with_a_gap(70_000)
    archive = zipfile.ZipFile(io.BytesIO(content(recorded(wave), "comtrade", "ascii")))
    rows = archive.read("event-17-box-1.dat").decode().splitlines()
    factor = time_factor(recorded(wave))
    for index in (0, 1, 999, 1000, 65_536, 65_537, 72_999):
        number, stamp, _ = rows[index].split(",")
        assert int(number) == index + 1
        assert int(stamp) == (wave.time_ns(index) - START_NS) // factor
    assert factor == 10, "6 s of nanoseconds do not fit 32 bits"


def test_the_configuration_has_time_and_clock_quality() -> None:
    """The configuration says time to the nanosecond and how good the clock is."""
    lines = cfg_text(recorded(), "binary").split("\r\n")
    assert lines[0] == "Cellar; left,Box 1,2013" and lines[1] == "1,1A,0D"
    assert lines[5] == "12000.123,3000"
    assert lines[6] == "18/11/2026,11:06:40.123456789" and lines[7] == "18/11/2026,11:06:40.223456789"
    assert lines[9:12] == ["1", "0,x", "0,0"]


@pytest.mark.parametrize(
    ("source", "uncertainty_ns", "quality"),
    [
        (TimeSource.GPS, 250, "0"),
        (TimeSource.GPS, 5000, "5"),
        (TimeSource.NTP, 1_200_000, "8"),
        (TimeSource.NTP, 1, "1"),
        (TimeSource.HOLDOVER, 1000, "4"),
        (TimeSource.FREE, 10**9, "A"),
        (TimeSource.FREE, 4 * 10**9, "B"),
        (TimeSource.FREE, UNKNOWN_UNCERTAINTY_NS, "F"),
    ],
)
def test_time_quality(source: TimeSource, uncertainty_ns: int, quality: str) -> None:
    assert time_quality(replace(WAVE, source=source, uncertainty_ns=uncertainty_ns)) == quality


def test_a_record_over_junes_end_mentions_leap_seconds() -> None:
    """A record over the end of June leaves open whether it has a leap second."""
    before_ns = 1_782_863_999_900_000_000  # 2026-06-30 23:59:59.9
    assert stamp_text(before_ns) == "30/06/2026,23:59:59.900000000"
    assert leap_second_code(replace(WAVE, start_ns=before_ns)) == 3
    assert leap_second_code(WAVE) == 0


def test_a_missing_like_count_has_32_bits() -> None:
    clipped = recorded(replace(WAVE, counts=np.array([0, -32768, 5], np.int16)))
    assert data_form_for(clipped, "binary") == "binary32"
    found = read_by_the_comtrade_package(clipped, "cff", "binary")
    assert found.cfg.ft == "BINARY32"
    assert np.allclose(found.analog[0], [0, -32768 * 0.0068, 5 * 0.0068])


def test_npy_is_opened_by_numpy_as_a_whole() -> None:
    found = np.load(io.BytesIO(content(recorded(), "npy")))
    assert found["event-17-box-1"].dtype == np.int16 and np.array_equal(found["event-17-box-1"], COUNTS)
    facts = json.loads(found["event-17-box-1.json"])
    assert (facts["volts_per_lsb"], facts["time_source"], facts["uncertainty_ns"]) == (0.0068, "gps", 250)
    assert facts["firmware"] is None and facts["licence"] == "CC-BY-4.0"


def test_wav_is_read_by_the_standard_library() -> None:
    made = content(recorded(with_a_gap()), "wav")
    with wave_file.open(io.BytesIO(made)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 12_000)
        found = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert np.array_equal(found[:1000], COUNTS[:1000]) and np.array_equal(found[3000:], COUNTS[1000:])
    assert not found[1000:3000].any()
    assert b"CC-BY-4.0" in made[:3000] and int.from_bytes(made[4:8], "little") == len(made) - 8


def test_several_boxes_share_a_csv_time_axis() -> None:
    second = replace(WAVE, box_id="=2", start_ns=START_NS - 5000, counts=COUNTS[:3])
    file = event_file("event-17", [recorded(), recorded(second)], "csv", comments=True)
    lines = b"".join(file.pieces).decode().split("\r\n")
    assert any(line == "# because: rms below 90 % - Box 1" for line in lines)
    rows = list(csv.DictReader([line for line in lines if not line.startswith("#")]))
    assert len(rows) == 3003
    assert rows[0]["time_s"] == "0.000005000" and int(rows[0]["time_ns"]) == START_NS
    assert rows[3000]["box_id"] == "'=2", "a spreadsheet calculates nothing"
    assert int(rows[2999]["time_ns"]) == WAVE.time_ns(2999) and rows[2999]["sample"] == "3499"
    assert [int(row["counts"]) for row in rows[:3000]] == COUNTS.tolist()
    assert float(rows[0]["volts"]) == pytest.approx(-10.2)


def test_json_holds_every_box() -> None:
    found = json.loads(b"".join(event_file("e", [recorded(with_a_gap()), recorded()], "json").pieces))
    assert [each["counts"] for each in found["waveforms"]] == [COUNTS.tolist()] * 2
    assert found["waveforms"][0]["gaps"] == [
        {"first_sample": 1500, "samples": 2000, "reason": "ring was full"}
    ]


HALF_CYCLES = HalfCycleRms(
    "1",
    START_NS,
    START_NS + 10**10,
    START_NS + np.array([0, 10**9, 3 * 10**9]),
    np.array([72.5, 71.25, 118.0], np.float32),
    np.array([73.0, 72.0, 119.0], np.float32),
    4,
    900,
    TimeSource.GPS,
)


def test_half_cycles_are_a_table_and_json() -> None:
    long = replace(recorded(), half_cycles=HALF_CYCLES)
    table = b"".join(event_file("event-17", [recorded(), long], "half-cycles").pieces).decode()
    rows = list(csv.DictReader(table.splitlines()))
    assert [int(row["time_ns"]) for row in rows] == HALF_CYCLES.t_ns.tolist()
    assert [float(row["time_s"]) for row in rows] == [0.0, 1.0, 3.0]
    assert [(float(row["least_v"]), float(row["most_v"])) for row in rows][1] == (71.25, 72.0)
    assert {row["half_cycles"] for row in rows} == {"4"} and {row["box_id"] for row in rows} == {"1"}
    plain, told = json.loads(content_of_all([recorded(), long], "json"))["waveforms"]
    assert "half_cycles" not in plain and told["half_cycles"]["least_v"] == [72.5, 71.25, 118.0]
    assert (told["half_cycles"]["every"], told["half_cycles"]["time_source"]) == (4, "gps")
    with pytest.raises(ExportError, match="no half cycles"):
        event_file("event-17", [recorded()], "half-cycles")


@pytest.mark.parametrize("form", ["cff", "wav"])
def test_several_boxes_are_a_zip(form: str) -> None:
    other = replace(WAVE, box_id="../4")
    file = event_file("event-17", [recorded(), recorded(other)], form)  # type: ignore[arg-type]
    archive = zipfile.ZipFile(io.BytesIO(b"".join(file.pieces)))
    assert file.name == f"event-17-{form}.zip"
    assert archive.namelist() == [f"event-17-box-1.{form}", f"event-17-box-_4.{form}"]


def phases(drift_millihz: int = 0, uncertainty_ns: int = 250) -> list[WaveformRecord]:
    """Three Boxes of a site, whose first samples are 0, 2.4 and -1.25 samples later, and one elsewhere."""
    found = []
    for number, (letter, later_ns) in enumerate((("3", 200_000), ("1", 0), ("2", -104_166)), 1):
        wave = replace(
            with_a_gap() if letter == "3" else WAVE,
            box_id=str(number),
            start_ns=START_NS + later_ns,
            rate_millihz=12_000_000 + (drift_millihz if letter == "2" else 0),
            counts=COUNTS + number,
            uncertainty_ns=uncertainty_ns,
        )
        found.append(recorded(wave, site="mill, old", phase=f"L{letter}"))
    return [*found, recorded(replace(WAVE, box_id="9"), site="yard")]


@pytest.mark.parametrize("data", DATA_FORMS)
def test_phases_of_a_site_are_one_record(data: str, tmp_path: Path) -> None:
    """Each sample is in the row that is nearest in time; the skew says the rest."""
    records = phases(drift_millihz=10)
    file = event_file("event-17", records, "comtrade-site", data)  # type: ignore[arg-type]
    archive = zipfile.ZipFile(io.BytesIO(b"".join(file.pieces)))
    stems = dict.fromkeys(name.rpartition(".")[0] for name in archive.namelist())
    assert list(stems) == ["event-17-site-mill__old", "event-17-box-9"]
    archive.extractall(tmp_path)
    reader = comtrade_reader()
    stem = tmp_path / "event-17-site-mill__old"
    reader.load(f"{stem}.cfg", f"{stem}.dat")
    assert reader.station_name == "mill; old"
    channels = reader.cfg.analog_channels
    assert [(each.ph, each.name, each.uu) for each in channels] == [
        ("L1", "Box 2", "V"),
        ("L2", "Box 3", "V"),
        ("L3", "Box 1", "V"),
    ]
    first_ns = START_NS - 83_333 - 1  # a row before that of L1, because L2 begins there
    assert reader.start_timestamp.isoformat()[:26] == "2026-11-18T11:06:40.123373"
    boxes = {each.wave.box_id: each.wave for each in records}
    for channel, volts in zip(channels, reader.analog, strict=True):
        wave = boxes[channel.name.removeprefix("Box ")]
        known = np.flatnonzero(~np.isnan(volts))
        assert np.array_equal(np.round(volts[known] / wave.v_per_lsb), wave.counts)
        position = np.concatenate(
            [np.arange(r.first_sample, r.first_sample + len(r.counts)) for r in wave.runs()]
        )
        taken_ns = np.array([wave.time_ns(int(k) - wave.first_sample) - first_ns for k in position])
        rows_ns = np.asarray(reader.time)[known] * 1e9
        assert np.abs(taken_ns - rows_ns - channel.skew * 1000).max() < 200, "drift of 10 mHz in 0.25 s"
        assert abs(channel.skew) < 42


def test_an_unknown_place_joins_no_site() -> None:
    """A visitor who sees the waveforms of Box 2, and not where it is, gets it as a record of its own."""
    context = SimpleNamespace(visitor=SimpleNamespace(sees_place=lambda box_id, t_ns: box_id != "2"))
    file = event_file("event-17", placed_as_seen(cast(VisitorContext, context), phases()), "comtrade-site")
    archive = zipfile.ZipFile(io.BytesIO(b"".join(file.pieces)))
    stems = dict.fromkeys(name.rpartition(".")[0] for name in archive.namelist())
    assert list(stems) == ["event-17-site-mill__old", "event-17-box-2", "event-17-box-9"]
    (site,) = (archive.read(name).decode() for name in archive.namelist() if name.endswith("old.cfg"))
    assert "Box 1,L3" in site and "Box 2" not in site
    with pytest.raises(ExportError):
        unseen = SimpleNamespace(visitor=SimpleNamespace(sees_place=lambda box_id, t_ns: False))
        event_file("event-17", placed_as_seen(cast(VisitorContext, unseen), phases()), "comtrade-site")


def test_phases_without_common_time_stay_apart() -> None:
    """Rates that drift apart, clocks that do not know the time, and other places have no common record."""
    for records in (phases(1000), phases(0, 600_000), phases(0, UNKNOWN_UNCERTAINTY_NS), phases()[-2:]):
        with pytest.raises(ExportError, match="comtrade has a record of each Box"):
            event_file("event-17", records, "comtrade-site")


@pytest.mark.parametrize("form", [each for each in WAVEFORM_FORMS if each != "comtrade-site"])
def test_the_same_data_give_the_same_bytes(form: str) -> None:
    long = replace(recorded(), half_cycles=HALF_CYCLES)
    assert content(long, form) == content(long, form)


def test_nothing_to_export_is_said() -> None:
    empty = recorded(replace(WAVE, counts=COUNTS[:0]))
    with pytest.raises(ExportError, match="no waveform"):
        event_file("event-1", [empty], "csv")


def test_the_axis_is_whole_and_exact_over_hours() -> None:
    wave = replace(WAVE, counts=COUNTS[:1], gaps=(Gap(501, 40_000_000, "lost"),))
    pieces = list(axis_pieces(wave))
    assert sum(piece.samples for piece in pieces) == 40_000_001
    last = pieces[-1]
    stamps = last.offsets_ns(wave.rate_millihz)
    assert stamps[-1] == wave.time_ns(last.position + last.samples - 1) - START_NS


@pytest.mark.parametrize(
    ("rate_hz", "text"),
    [(12_000.0, "12000"), (1600.0, "1600"), (12_000.25, "12000.25"), (11_999.999, "11999.999"), (0.5, "0.5")],
)
def test_a_whole_rate_has_no_point(rate_hz: float, text: str) -> None:
    """py3comtrade 4.2.4 reads a rate as a whole number."""
    assert rate_text(rate_hz) == text


def test_an_export_has_the_facts_of_then(tmp_path: Path) -> None:
    """The Box is on another phase since, of another nominal voltage, and has another name."""
    with closing(open_store(None, tmp_path)) as store:
        store.put_box(replace(BOX, name="Cellar"))
        event_id = store.open_event(Trigger("token", START_NS, WAVE.end_ns, ("1",), "1", "test"), "test")
        store.put_waveform(event_id, WAVE)
        store.finish_event(event_id)
        moved = BoxRecord("1", "Attic", nominal_v=230.0, phase="L2")
        store.put_box(moved, WAVE.end_ns // 10**6 + 1000)
        (found,) = event_records(store, event_id)
    facts = found.facts()
    assert (facts["phase"], facts["nominal_volts"], facts["nominal_from"]) == ("L1", 120.0, "record")
    assert facts["box_name"] == "Attic", "a name is of now"
    assert ",L1,," in cfg_text(found, "ascii")
