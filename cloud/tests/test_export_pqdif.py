"""PQDIF is read as the format's description has it, by a reader of this file's own."""

import json
import struct
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import demo
import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_cloud.export import pqdif
from opq_cloud.export.event_files import event_file
from opq_cloud.export.exported_records import ExportError, WaveformRecord
from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.event_record import EventRecord
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, Gap, TimeSource, Waveform

START_NS = 1_795_000_000_123_456_789
"""2026-11-18 11:06:40.123456789 UTC: 46,344 days after 1899-12-30."""
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
    opened_by="1",
)
BOX = BoxRecord("1", "Küche, left\n", nominal_v=120.0, nominal_hz=60.0, phase="L2")

SIZES = {3: 4, 10: 1, 21: 2, 32: 4, 40: 4, 41: 8, 50: 12, 60: 16}
"""Bytes of a value by its physical type."""
NAMES = {
    "89738606-f1c3-11cf-9d89-0080c72e70a3": "container",
    "89738619-f1c3-11cf-9d89-0080c72e70a3": "data source",
    "b48d858c-f5f5-11cf-9d89-0080c72e70a3": "monitor settings",
    "8973861a-f1c3-11cf-9d89-0080c72e70a3": "observation",
    "89738607-f1c3-11cf-9d89-0080c72e70a3": "version",
    "89738608-f1c3-11cf-9d89-0080c72e70a3": "file name",
    "89738609-f1c3-11cf-9d89-0080c72e70a3": "creation",
    "8973860d-f1c3-11cf-9d89-0080c72e70a3": "title",
    "89738611-f1c3-11cf-9d89-0080c72e70a3": "comments",
    "89738615-f1c3-11cf-9d89-0080c72e70a3": "copyright",
    "8973861b-f1c3-11cf-9d89-0080c72e70a3": "compression style",
    "8973861c-f1c3-11cf-9d89-0080c72e70a3": "compression algorithm",
    "b48d8581-f5f5-11cf-9d89-0080c72e70a3": "source type",
    "b48d8585-f5f5-11cf-9d89-0080c72e70a3": "serial number",
    "b48d8587-f5f5-11cf-9d89-0080c72e70a3": "source name",
    "b48d858d-f5f5-11cf-9d89-0080c72e70a3": "channels",
    "b48d858e-f5f5-11cf-9d89-0080c72e70a3": "channel",
    "b48d8590-f5f5-11cf-9d89-0080c72e70a3": "channel name",
    "b48d8591-f5f5-11cf-9d89-0080c72e70a3": "phase",
    "b48d8592-f5f5-11cf-9d89-0080c72e70a3": "quantity type",
    "c690e872-f755-11cf-9d89-0080c72e70a3": "quantity measured",
    "b48d8598-f5f5-11cf-9d89-0080c72e70a3": "series",
    "b48d859a-f5f5-11cf-9d89-0080c72e70a3": "one series",
    "b48d859c-f5f5-11cf-9d89-0080c72e70a3": "value type",
    "b48d859b-f5f5-11cf-9d89-0080c72e70a3": "units",
    "b48d85a1-f5f5-11cf-9d89-0080c72e70a3": "storage",
    "0fa118c3-cb4a-11d2-b30b-fe25cb9a1760": "nominal frequency",
    "62f28180-f9c4-11cf-9d89-0080c72e70a3": "use calibration",
    "b48d858f-f5f5-11cf-9d89-0080c72e70a3": "channel index",
    "3d786f8a-f76e-11cf-9d89-0080c72e70a3": "observation name",
    "3d786f8c-f76e-11cf-9d89-0080c72e70a3": "start",
    "3d786f8d-f76e-11cf-9d89-0080c72e70a3": "trigger",
    "3d786f8e-f76e-11cf-9d89-0080c72e70a3": "triggered",
    "3d786f91-f76e-11cf-9d89-0080c72e70a3": "channels",
    "3d786f92-f76e-11cf-9d89-0080c72e70a3": "channel",
    "3d786f93-f76e-11cf-9d89-0080c72e70a3": "series",
    "3d786f94-f76e-11cf-9d89-0080c72e70a3": "one series",
    "3d786f95-f76e-11cf-9d89-0080c72e70a3": "base",
    "3d786f96-f76e-11cf-9d89-0080c72e70a3": "scale",
    "3d786f97-f76e-11cf-9d89-0080c72e70a3": "offset",
    "3d786f99-f76e-11cf-9d89-0080c72e70a3": "values",
}
Tree = dict[str, Any]


@dataclass(frozen=True)
class FoundRecord:
    kind: str
    tree: Tree


def read_pqdif(file: bytes) -> list[FoundRecord]:
    """Every record, by the links; the file is used up to its last byte, each byte of a body once."""
    found: list[FoundRecord] = []
    at, packed = 0, False
    while True:
        assert file[at : at + 16] == bytes.fromhex("4014114a9fe4cf11990050514449 4600"), at
        kind = UUID(bytes_le=file[at + 16 : at + 32])
        header_bytes, body_bytes, next_at, checksum = struct.unpack_from("<iiiI", file, at + 32)
        assert header_bytes == 64 and file[at + 48 : at + 64] == bytes(16)
        body = file[at + 64 : at + 64 + body_bytes]
        assert len(body) == body_bytes and zlib.adler32(body) == checksum
        plain = zlib.decompress(body) if packed else body
        used: list[tuple[int, int]] = []
        tree = read_collection(plain, 0, used)
        assert_used_once(used, len(plain))
        found.append(FoundRecord(NAMES[str(kind)], tree))
        packed = packed or (tree.get("compression style"), tree.get("compression algorithm")) == (2, 1)
        if next_at == 0:
            assert at + 64 + body_bytes == len(file)
            return found
        assert next_at == at + 64 + body_bytes
        at = next_at


def read_collection(body: bytes, at: int, used: list[tuple[int, int]]) -> Tree:
    """Values by name; several of one name are a list, and so is each "channel" and "one series"."""
    (count,) = struct.unpack_from("<i", body, at)
    used.append((at, at + 4 + 28 * count))
    tree: Tree = {}
    for entry in range(at + 4, at + 4 + 28 * count, 28):
        tag = str(UUID(bytes_le=body[entry : entry + 16]))
        kind, physical, embedded, reserved = body[entry + 16 : entry + 20]
        link, size = struct.unpack_from("<ii", body, entry + 20)
        assert reserved == 0 and (embedded or (link % 4, size % 4) == (0, 0))
        value: object
        if kind == 1:
            assert not embedded and size == 4 + 28 * struct.unpack_from("<i", body, link)[0]
            value = read_collection(body, link, used)
        elif kind == 2:
            bytes_needed = SIZES[physical]
            assert embedded == (bytes_needed <= 8)
            if not embedded:
                assert size == bytes_needed
                used.append((link, link + size))
            value = plain_value(physical, body[entry + 20 :] if embedded else body[link:])
        else:
            assert kind == 3 and not embedded
            (length,) = struct.unpack_from("<i", body, link)
            end = link + 4 + length * SIZES[physical]
            assert size == (end - link + 3) // 4 * 4 and not any(body[end : link + size])
            used.append((link, link + size))
            value = plain_values(physical, body[link + 4 : end])
        name = NAMES.get(tag, tag)
        if name in ("channel", "one series"):
            tree.setdefault(name, []).append(value)
        else:
            assert name not in tree, name
            tree[name] = value
    return tree


def plain_value(physical: int, raw: bytes) -> object:
    if physical == 50:
        return struct.unpack_from("<Id", raw)
    if physical == 60:
        return str(UUID(bytes_le=raw[:16]))
    return struct.unpack_from({3: "<I", 32: "<I", 41: "<d"}[physical], raw)[0]


def plain_values(physical: int, raw: bytes) -> object:
    if physical == 10:
        assert raw.endswith(b"\0") and b"\0" not in raw[:-1]
        return raw[:-1].decode("ascii")
    return np.frombuffer(raw, {21: "<i2", 32: "<u4", 41: "<f8"}[physical])


def assert_used_once(used: Sequence[tuple[int, int]], size: int) -> None:
    at = 0
    for start, end in sorted(used):
        assert start == at, f"byte {at} is used by nothing, or twice"
        at = end
    assert at == size


def content(*records: WaveformRecord) -> bytes:
    return b"".join(event_file("event-17", records, "pqdif").pieces)


def of_kind(file: bytes, kind: str) -> list[Tree]:
    return [each.tree for each in read_pqdif(file) if each.kind == kind]


def recorded(wave: Waveform = WAVE, event: EventRecord = EVENT, **box: object) -> WaveformRecord:
    return WaveformRecord(wave, event, replace(BOX, box_id=wave.box_id, **box), "CC-BY-4.0")  # type: ignore[arg-type]


def samples_of(observation: Tree) -> tuple[Tree, Tree]:
    """Series of times, series of values."""
    (channel,) = observation["channels"]["channel"]
    times, values = channel["series"]["one series"]
    return times, values


def t_ns_of(stamp: tuple[int, float]) -> int:
    days, seconds = stamp
    return (days - 25_569) * 86_400 * 10**9 + round(seconds * 1e9)


def test_the_first_bytes_are_those_of_the_description() -> None:
    file = content(recorded())
    assert file[:16].hex() == "4014114a9fe4cf119900505144494600", "4a111440-e49f-11cf-9900-505144494600"
    assert file[16:32].hex() == "06867389c3f1cf119d890080c72e70a3", "the container's tag"
    assert file[32:36] == b"\x40\0\0\0" and file[48:64] == bytes(16)
    first_entry = "07867389c3f1cf119d890080c72e70a303200000"
    """Version: a vector (3) of unsigned integers of 4 bytes (32), not embedded."""
    assert file[68:88].hex() == first_entry
    link, size = struct.unpack("<ii", file[88:96])
    assert file[64 + link : 64 + link + size] == struct.pack("<iIIII", 4, 1, 5, 1, 5) and size == 20


def test_a_waveform_is_read_as_it_was_stored() -> None:
    file = content(recorded())
    assert [each.kind for each in read_pqdif(file)] == [
        "container",
        "data source",
        "monitor settings",
        "observation",
    ]
    (observation,) = of_kind(file, "observation")
    times, values = samples_of(observation)
    assert np.array_equal(values["values"], COUNTS) and values["values"].dtype == np.int16
    volts = values["values"] * values["scale"] + values["offset"]
    assert np.array_equal(volts, WAVE.volts), "to the last bit"
    assert times["values"].tolist() == [1.0, 3000.0, 1000 / 12_000_123], "one rate: so many, so far apart"
    assert abs(2999 * times["values"][2] * 1e9 - (WAVE.time_ns(2999) - START_NS)) <= 1
    assert observation["start"] == (46_344, 40_000.123456789) and values["base"] == 120.0
    assert observation["triggered"] == (46_344, 40_000.223456789) and observation["trigger"] == 1


def test_a_data_source_describes_its_channels() -> None:
    file = content(recorded())
    (source,) = of_kind(file, "data source")
    assert (source["source name"], source["serial number"]) == ("Kuche, left", "1")
    (channel,) = source["channels"]["channel"]
    assert (channel["channel name"], channel["phase"], channel["quantity measured"]) == ("Voltage L2", 2, 1)
    assert channel["quantity type"] == "67f6af80-f753-11cf-9d89-0080c72e70a3", "a waveform"
    times, values = channel["series"]["one series"]
    assert (times["value type"], times["units"]) == ("c690e862-f755-11cf-9d89-0080c72e70a3", 2), "seconds"
    assert (values["value type"], values["units"]) == ("67f6af97-f753-11cf-9d89-0080c72e70a3", 6), "volts"
    assert (times["storage"], values["storage"]) == (4, 3), "by increment; values, scaled"
    (settings_,) = of_kind(file, "monitor settings")
    assert settings_["nominal frequency"] == 60.0 and settings_["use calibration"] == 0


def test_the_container_says_where_the_data_come_from() -> None:
    unsure = recorded(replace(WAVE, uncertainty_ns=UNKNOWN_UNCERTAINTY_NS))
    (container,) = of_kind(content(unsure), "container")
    (facts,) = json.loads(container["comments"])
    assert facts == unsure.facts() and facts["box_name"] == "Küche, left\n", "also what ASCII cannot"
    assert facts["uncertainty_ns"] is None and facts["volts_per_lsb"] == 0.0068
    assert container["title"] == "Event 17: rms below 90 %, Box 1" and container["copyright"] == "CC-BY-4.0"
    assert container["file name"] == "event-17.pqd"
    assert t_ns_of(container["creation"]) == WAVE.end_ns, "the time of its newest sample"


def test_each_box_is_a_data_source() -> None:
    """So that each has its own start, rate, gain and nominal values."""
    other = replace(WAVE, box_id="4", start_ns=START_NS + 7, rate_millihz=11_999_000, v_per_lsb=0.013)
    later = replace(EVENT, event_id=18, because="rms above 110 %, Box 4", onset_ns=None)
    file = content(
        recorded(replace(WAVE, start_ns=START_NS + 10**10), later),
        recorded(other, nominal_v=None, nominal_hz=None, phase="the blue one"),
        recorded(),
    )
    kinds = [each.kind for each in read_pqdif(file)[1:]]
    a_box = ["data source", "monitor settings", "observation"]
    assert kinds == [*a_box, "observation", *a_box]
    first, second = of_kind(file, "data source")
    assert [each["serial number"] for each in (first, second)] == ["1", "4"]
    (channel,) = second["channels"]["channel"]
    assert (channel["channel name"], channel["phase"]) == ("Voltage the blue one", 0)
    assert "nominal frequency" not in of_kind(file, "monitor settings")[1], "unknown is absent"
    one, two, three = of_kind(file, "observation")
    assert [t_ns_of(each["start"]) - START_NS for each in (one, two, three)] == [0, 10**10, 7]
    assert two["observation name"] == "Event 18, Box 1: rms above 110 %, Box 4"
    assert "triggered" not in two and (two["trigger"], three["trigger"]) == (3, 3), "external"
    times, values = samples_of(three)
    assert (times["values"][2], values["scale"]) == (1000 / 11_999_000, 0.013) and "base" not in values


def test_a_gap_parts_a_waveform() -> None:
    wave = replace(WAVE, gaps=(Gap(first_sample=1500, samples=2000, reason="ring was full"),))
    first, second = of_kind(content(recorded(wave)), "observation")
    assert np.array_equal(samples_of(first)[1]["values"], COUNTS[:1000])
    assert np.array_equal(samples_of(second)[1]["values"], COUNTS[1000:])
    assert (t_ns_of(first["start"]), t_ns_of(second["start"])) == (START_NS, wave.time_ns(3000))
    assert second["observation name"] == "Event 17, Box 1 (2 of 2): rms below 90 %, Box 1"


def test_a_file_beyond_its_links_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = len(content(recorded()))
    monkeypatch.setattr(pqdif, "LONGEST_FILE", whole - 1)
    with pytest.raises(ExportError, match="2 GiB"):
        content(recorded())


@given(st.integers(0, 4_102_444_800 * 10**9))
def test_a_time_keeps_its_nanosecond(t_ns: int) -> None:
    days, seconds = struct.unpack("<Id", pqdif.timestamp_bytes(t_ns))
    assert t_ns_of((days, seconds)) == t_ns and 0 <= seconds < 86_400


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 300), min_size=1, max_size=4),
    holes=st.lists(st.integers(1, 50), min_size=4, max_size=4),
    name=st.text(max_size=40),
    because=st.text(max_size=40),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_length_any_gap_any_name(
    lengths: list[int], holes: list[int], name: str, because: str, seed: int
) -> None:
    counts = np.random.default_rng(seed).integers(-(2**15), 2**15, sum(lengths)).astype(np.int16)
    gaps, at = [], WAVE.first_sample
    for length, hole in zip(lengths[:-1], holes, strict=False):
        gaps.append(Gap(at + length, hole, "lost"))
        at += length + hole
    wave = replace(WAVE, counts=counts, gaps=tuple(gaps))
    file = content(recorded(wave, replace(EVENT, because=because), name=name))
    parts = [samples_of(each)[1]["values"] for each in of_kind(file, "observation")]
    assert [len(part) for part in parts] == lengths and np.array_equal(np.concatenate(parts), counts)
    (facts,) = json.loads(of_kind(file, "container")[0]["comments"])
    assert facts["box_name"] == name and facts["because"] == because


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[demo.Scene]:
    """An open View over a store with a dip at three Boxes."""
    running = demo.Scene(tmp_path, poll_s=30.0)
    demo.fill(running.store, time.time_ns(), minutes=1)
    with running:
        yield running


def test_the_page_links_to_its_file(scene: demo.Scene) -> None:
    """The page leads to the file of what the store holds."""
    page = httpx.get(f"{scene.url}/incidents/1", timeout=240).text
    address = "/api/v1/incidents/1/export?format=pqdif"
    assert f'href="{address}" download>PQDIF<' in page
    assert 'export?format=pqdif" download>PQDIF<' in httpx.get(f"{scene.url}/events/1", timeout=240).text
    answer = httpx.get(scene.url + address, timeout=240)
    assert answer.headers["content-disposition"] == 'attachment; filename="incident-1.pqd"'
    sources = [each["serial number"] for each in of_kind(answer.content, "data source")]
    event = scene.store.event(1)
    assert event is not None and sorted(sources) == ["1", "2", "4"]
    found = of_kind(answer.content, "observation")
    waves = {wave.box_id: wave for wave in event.waveforms}
    for box_id, observation in zip(sources, found, strict=True):
        _, values = samples_of(observation)
        wave = waves[box_id]
        assert np.array_equal(values["values"], wave.counts) and values["scale"] == wave.v_per_lsb
        assert t_ns_of(observation["start"]) == wave.start_ns
    one = httpx.get(f"{scene.url}/api/v1/events/1/export?format=pqdif&box=4", timeout=240)
    assert [each["serial number"] for each in of_kind(one.content, "data source")] == ["4"]
