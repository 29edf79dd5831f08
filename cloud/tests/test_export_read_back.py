"""Every export is read back equal: counts, gain, rate, nanoseconds, gaps and names, of 1 and of 12 Boxes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from opq_cloud.export.event_files import event_file
from opq_cloud.export.exported_records import WaveformRecord
from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.event_record import EventRecord
from opq_proto.messages import Gap, TimeSource, Waveform
from opq_recordings.facts import RecordingFacts
from opq_recordings.reading import read_recording
from opq_recordings.recording import gaps_of

START_NS = 1_795_000_000_123_456_789
RNG = np.random.default_rng(5)
GAPS = {
    "none": (),
    "one": (Gap(800, 777, "line"),),
    "two": (Gap(600, 1, "line"), Gap(1000, 1_400, "gateway")),
}
FORMS = {
    "cff": [("binary", ".cff"), ("ascii", ".cff"), ("binary32", ".cff"), ("float32", ".cff")],
    "comtrade": [("binary", ".zip"), ("ascii", ".zip")],
    "csv": [("", ".csv")],
    "npy": [("", ".npz")],
    "wav": [("", ".wav")],
    "json": [("", ".json")],
    "pqdif": [("", ".pqd")],
}


def record(number: int, gaps: tuple[Gap, ...]) -> WaveformRecord:
    counts = RNG.integers(-20_000, 20_000, 1000 + number, dtype=np.int16)
    wave = Waveform(
        str(number),
        START_NS + 1_000_003 * number,
        250,
        TimeSource.GPS,
        12_000_123 + number,
        0.0068 + number / 3e5,
        500,
        counts,
        gaps,
    )
    event = EventRecord(
        17, "t", START_NS, wave.end_ns, ("1",), ("1",), {}, True, True, "rms below 90 %, Box 1"
    )
    return WaveformRecord(
        wave, event, BoxRecord(str(number), "Cellar, left", nominal_v=120.0, nominal_hz=60.0)
    )


@pytest.mark.parametrize("boxes", [1, 12])
@pytest.mark.parametrize("gaps", GAPS)
@pytest.mark.parametrize(
    ("form", "data", "suffix"), [(form, *each) for form in FORMS for each in FORMS[form]]
)
def test_an_export_is_read_back_equal(
    form: str, data: str, suffix: str, gaps: str, boxes: int, tmp_path: Path
) -> None:
    records = [record(number, GAPS[gaps]) for number in range(1, boxes + 1)]
    packed = boxes > 1 and form in ("cff", "wav")
    path = tmp_path / f"event{'.zip' if packed else suffix}"
    file = event_file("event-17", records, form, data or "binary", True)  # type: ignore[arg-type]
    path.write_bytes(b"".join(file.pieces))
    for each in records[:1] + records[1:][-1:]:  # the first and the last
        wave = each.wave
        found = read_recording(path, RecordingFacts(channel=wave.box_id if boxes > 1 else None))
        assert len(found.channels) == boxes and found.problems == ()
        assert (found.rate_hz, found.start_ns) == (wave.rate_hz, wave.start_ns)
        assert found.channel.scale == wave.v_per_lsb and found.channel.offset == 0.0
        wanted = [(gap.first_sample - wave.first_sample, gap.samples) for gap in wave.gaps]
        there = gaps_of(found.channel.runs, found.channel.samples)
        assert [(gap.first_sample, gap.samples) for gap in there] == wanted
        parts = [found.channel.values[run.row : run.row + run.samples] for run in found.channel.runs]
        assert np.array_equal(np.concatenate(parts), wave.counts)
        assert found.samples == each.samples and found.nominal_hz == 60.0


def test_the_lowest_count_survives_in_16_bits(tmp_path: Path) -> None:
    whole = record(1, ())
    counts = whole.wave.counts.copy()
    counts[7] = -(2**15)
    path = tmp_path / "event.cff"
    clipped = replace(whole, wave=replace(whole.wave, counts=counts))
    path.write_bytes(b"".join(event_file("event-17", [clipped], "cff").pieces))
    assert np.array_equal(read_recording(path).channel.values, counts)


@pytest.mark.parametrize("gaps", GAPS)
def test_a_csv_begins_with_its_names(gaps: str, tmp_path: Path) -> None:
    """Comments are written on request; without them start, rate and gain are those of the rows."""
    records = [record(number, GAPS[gaps]) for number in (1, 2)]
    path = tmp_path / "event.csv"
    path.write_bytes(b"".join(event_file("event-17", records, "csv").pieces))
    assert path.read_text().startswith("box_id,time_ns,time_s,sample,counts,volts")
    found = read_recording(path, RecordingFacts(channel="2"))
    wave = records[1].wave
    assert found.channel.scale == pytest.approx(wave.v_per_lsb, rel=1e-8) and found.problems == ()
    assert found.rate_hz == pytest.approx(wave.rate_hz, abs=0.001) and found.start_ns == wave.start_ns
    assert np.array_equal(found.channel.values[: len(wave.counts)], wave.counts)
    assert (found.nominal_v, found.nominal_hz) == (None, None), "as docs/recordings.md says"
