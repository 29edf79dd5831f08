"""PQDIF of other writers, and JSON of the original: what is stated is read, what is missing is said."""

import json
import struct
import zlib
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from recordings_under_test import GAIN, RATE_HZ, ROWS, START_NS, assert_same, counts, read, volts

from opq_cloud.export.pqdif import Element, collection_bytes, timestamp_bytes
from opq_proto.errors import RecordingError
from opq_recordings.pqdif_tags import (
    COLLECTION,
    GUID,
    HEADER,
    REAL8,
    SCALAR,
    SIGNATURE,
    TIMESTAMP,
    UINT4,
    VECTOR,
    Meaning,
    Tag,
)

REAL4 = 40


def collection(tag: UUID, *members: Element) -> Element:
    return Element(tag, COLLECTION, members=members)


def uint4(tag: UUID, value: int) -> Element:
    return Element(tag, SCALAR, UINT4, struct.pack("<I", value))


def real8(tag: UUID, value: float) -> Element:
    return Element(tag, SCALAR, REAL8, struct.pack("<d", value))


def guid(tag: UUID, value: UUID) -> Element:
    return Element(tag, SCALAR, GUID, value.bytes_le)


def text(tag: UUID, value: str) -> Element:
    return Element(tag, VECTOR, 10, struct.pack("<i", len(value) + 1) + value.encode() + b"\0")


def vector(tag: UUID, physical: int, values: np.ndarray) -> Element:
    return Element(tag, VECTOR, physical, struct.pack("<i", len(values)) + values.tobytes())


def channel(name: str, measured: int, units: int, kind: UUID, method: int = 3) -> Element:
    def series(value_type: UUID, unit: int, method: int) -> Element:
        return collection(
            Tag.SERIES_DEFINITION,
            guid(Tag.VALUE_TYPE, value_type),
            uint4(Tag.QUANTITY_UNITS, unit),
            uint4(Tag.STORAGE_METHOD, method),
        )

    return collection(
        Tag.CHANNEL_DEFINITION,
        text(Tag.CHANNEL_NAME, name),
        uint4(Tag.PHASE, 1),
        guid(Tag.QUANTITY_TYPE, kind),
        uint4(Tag.QUANTITY_MEASURED, measured),
        collection(Tag.SERIES_DEFINITIONS, series(Meaning.TIME, 2, 1), series(Meaning.VALUE, units, method)),
    )


def foreign_pqdif(
    compressed: bool = True,
    waveform: UUID = Meaning.WAVEFORM,
    left_out: slice = slice(0, 0),
    events: int = 1,
    settings: tuple[Element, ...] = (),
    scale: float = 1.0,
    method: int = 3,
) -> bytes:
    """A current and a voltage with times as values, which the voltage shares with the current, as floats."""
    times_s = np.delete(np.arange(ROWS) / RATE_HZ, left_out)
    series = [
        collection(Tag.SERIES_INSTANCE, vector(Tag.SERIES_VALUES, REAL8, times_s)),
        collection(Tag.SERIES_INSTANCE, uint4(Tag.SHARED_CHANNEL, 0), uint4(Tag.SHARED_SERIES, 0)),
    ]
    values = np.delete(volts(), left_out).astype("<f4")

    def instance(index: int, time: Element, scale: float) -> Element:
        value = collection(
            Tag.SERIES_INSTANCE,
            real8(Tag.SERIES_SCALE, scale),
            real8(Tag.SERIES_OFFSET, 0.0),
            vector(Tag.SERIES_VALUES, REAL4, values),
        )
        return collection(
            Tag.CHANNEL_INSTANCE,
            uint4(Tag.CHANNEL_INDEX, index),
            collection(Tag.SERIES_INSTANCES, time, value),
        )

    records = (
        collection(
            Tag.CONTAINER,
            uint4(Tag.COMPRESSION_STYLE, 2 * compressed),
            uint4(Tag.COMPRESSION_ALGORITHM, 1),
        ),
        collection(
            Tag.DATA_SOURCE,
            text(Tag.SOURCE_NAME, "meter"),
            text(Tag.TIME_ZONE, "UTC"),
            collection(
                Tag.CHANNEL_DEFINITIONS,
                channel("I A", 2, 7, waveform),
                channel("V A", 1, 6, waveform, method),
            ),
        ),
        *([collection(Tag.MONITOR_SETTINGS, *settings)] if settings else []),
        *(
            collection(
                Tag.OBSERVATION,
                text(Tag.OBSERVATION_NAME, "dip"),
                Element(Tag.TIME_START, SCALAR, TIMESTAMP, timestamp_bytes(START_NS + k * 60 * 10**9)),
                collection(
                    Tag.CHANNEL_INSTANCES,
                    instance(0, series[0], 0.01),
                    instance(1, series[1], scale),
                ),
            )
            for k in range(events)
        ),
    )
    whole = b""
    for k, tree in enumerate(records):
        body = collection_bytes(tree.members)
        body = zlib.compress(body) if k and compressed else body
        end = len(whole) + HEADER.size + len(body)
        following = end if k < len(records) - 1 else 0
        whole += (
            HEADER.pack(
                SIGNATURE.bytes_le, tree.tag.bytes_le, HEADER.size, len(body), following, zlib.adler32(body)
            )
            + body
        )
    return whole


@pytest.mark.parametrize("compressed", [True, False])
def test_pqdif_of_another_writer_is_read(compressed: bool, tmp_path: Path) -> None:
    path = tmp_path / "meter.pqd"
    path.write_bytes(foreign_pqdif(compressed))
    found = read(path)
    assert_same(found)
    assert found.start_ns == START_NS and found.assumed == {}
    assert [(each.name, each.unit, each.phase) for each in found.channels] == [
        ("I A", "A", "AN"),
        ("V A", "V", "AN"),
    ]
    with pytest.raises(RecordingError, match="'I A' is in 'A'"):
        read(path, channel="I A")


@pytest.mark.parametrize(("uses", "side", "factor"), [(1, "primary", 100.0), (0, "secondary", 1.0)])
def test_a_flagged_transducer_ratio_is_applied(tmp_path: Path, uses: int, side: str, factor: float) -> None:
    ratio = collection(
        Tag.CHANNEL_SETTING,
        uint4(Tag.CHANNEL_INDEX, 1),
        real8(Tag.SYSTEM_SIDE_RATIO, 11_000.0),
        real8(Tag.MONITOR_SIDE_RATIO, 110.0),
    )
    settings = (uint4(Tag.USE_TRANSDUCER, uses), collection(Tag.CHANNEL_SETTINGS, ratio))
    path = tmp_path / "meter.pqd"
    path.write_bytes(foreign_pqdif(settings=settings))
    found = read(path)
    assert np.allclose(found.volts(0, found.samples), factor * volts(), rtol=1e-6)
    assert found.provenance()["channels"][1] == {  # type: ignore[index]
        "name": "V A",
        "unit": "V",
        "phase": "AN",
        "quantity": "voltage",
        "side": side,
        "ratio": 100.0,
    }
    other = read(path, side="primary")
    assert np.allclose(other.volts(0, other.samples), 100.0 * volts(), rtol=1e-6)


def test_an_unflagged_scale_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "meter.pqd"
    path.write_bytes(foreign_pqdif(scale=0.01, method=1))
    found = read(path)
    assert np.allclose(found.volts(0, found.samples), volts(), rtol=1e-6)
    assert [each for each in found.problems if "does not say scaled" in each]


def test_the_channels_of_several_events_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "meter.pqd"
    path.write_bytes(foreign_pqdif(events=3))
    assert [each.name for each in read(path).channels][1::2] == [
        "V A (1 of 3)",
        "V A (2 of 3)",
        "V A (3 of 3)",
    ]
    assert read(path, channel="V A (3 of 3)").start_ns == START_NS + 120 * 10**9


def test_times_that_jump_are_a_gap(tmp_path: Path) -> None:
    path = tmp_path / "meter.pqd"
    path.write_bytes(foreign_pqdif(left_out=slice(100, 150)))
    found = read(path)
    assert [(gap.first_sample, gap.samples) for gap in found.gaps] == [(100, 50)] and found.samples == ROWS


def test_what_is_no_waveform_is_said(tmp_path: Path) -> None:
    path = tmp_path / "meter.pqd"
    path.write_bytes(foreign_pqdif(waveform=Meaning.VALUE))
    with pytest.raises(RecordingError, match="has no waveform; it has 2 channels of other kinds"):
        read(path)
    path.write_bytes(b"hello" * 100)
    with pytest.raises(RecordingError, match="begins with other bytes than PQDIF"):
        read(path)
    path.write_bytes(foreign_pqdif()[:-300])
    with pytest.raises(RecordingError, match="is cut short"):
        read(path)


DOCUMENTS = {
    "plain": {
        "rate_hz": 1600,
        "volts_per_lsb": GAIN,
        "counts": counts().tolist(),
        "start": "2024-03-17T10:00:00Z",
    },
    "volts": {"sample_rate": 1600, "volts": volts().tolist(), "start_ns": START_NS},
    "mongo": {
        "event_id": {"$numberInt": "9354"},
        "box_id": "1001",
        "calibration_constant": {"$numberDouble": "50.0"},
        "sample_rate_hz": 1600,
        "event_start_timestamp_ms": {"$numberLong": str(START_NS // 10**6)},
        "data": [{"$numberInt": str(each)} for each in counts().tolist()],
    },
    "frames": {
        "fs": 1600,
        "calibration": 50.0,
        "timestamp_ms": START_NS // 10**6,
        "datapoints": counts().reshape(10, 40).tolist(),
    },
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_json_of_both_forms_is_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(DOCUMENTS[name]))
    found = read(path)
    assert_same(found)
    assert found.start_ns == START_NS
    path.write_text("\n".join(json.dumps(each) for each in (DOCUMENTS[name], DOCUMENTS["plain"])))
    assert len(read(path, channel="2").channels) == 2


def test_a_mongo_document_names_its_samples(tmp_path: Path) -> None:
    facts = {
        "event_id": 7,
        "box_id": "3",
        "event_start_timestamp_ms": 1_710_669_600_000,
        "calibration_constant": 50.0,
    }
    path = tmp_path / "box_events.json"
    path.write_text(json.dumps({**facts, "data_fs_filename": "event_7_3"}))
    with pytest.raises(RecordingError, match="'event_7_3'; put that file beside it"):
        read(path)
    (tmp_path / "event_7_3").write_bytes(counts().tobytes())
    found = read(path)
    assert found.assumed == {"rate_hz": 12_000.0} and found.box_id == "3"
    assert np.allclose(found.volts(0, ROWS), counts() * 0.02)
    assert np.array_equal(
        read(tmp_path / "event_7_3", rate_hz=12e3, volts_per_lsb=1.0).volts(0, ROWS), counts()
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "is not JSON: line 1"),
        ("{}", "has no list of numbers under"),
        ('{"counts": [1, "x"]}', r"counts\[1\] is 'x'"),
        ('{"rate_hz": 1600, "volts_per_lsb": 0.02}', "name that file"),
        ('{"counts": [1, 2]}', "rate is not known"),
    ],
)
def test_json_without_samples_is_refused(text: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(RecordingError, match=why):
        read(path)


def test_an_overlong_last_record_is_read(tmp_path: Path) -> None:
    content = bytearray(foreign_pqdif())
    at = 0
    while (following := HEADER.unpack_from(content, at)[4]) > 0:
        at = following
    struct.pack_into("<i", content, at + 40, len(content))  # after signature, type and two sizes
    (tmp_path / "a.pqd").write_bytes(content)
    found = read(tmp_path / "a.pqd")
    assert found.samples == ROWS and "leads to the end of the file" in found.problems[0]
    struct.pack_into("<i", content, at + 40, len(content) + 1)
    (tmp_path / "a.pqd").write_bytes(content)
    with pytest.raises(RecordingError, match="leads to byte"):
        read(tmp_path / "a.pqd")
