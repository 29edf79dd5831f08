"""Packed blocks: exact both ways, small, and readable by the programs that follow."""

import json
import struct
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_proto.errors import StoreError
from opq_proto.measurement import packed
from opq_proto.measurement.fields import METRIC_NAMES, STORED, MeasurementField
from opq_proto.measurement.packed import PackedRows, joined, pack, pack_one, packed_rows, unpack, unpack_all
from opq_proto.messages import Measurement, Metric, TimeSource

NOW_MS = 1_765_792_486_013
USUAL = {
    "f": Metric(59.5, 60.5, 60.0),
    "rms": Metric(118.5, 121.25, 120.125),
    "thd": Metric(0.25, 0.5, 0.375),
    "trans": Metric(1.0, 3.0, 2.0),
}
single = st.floats(width=32)
metric = st.builds(Metric, single, single, single) | st.builds(Metric, *3 * (st.floats(),))
whole = st.none() | st.integers(0, 2**40) | st.integers(-(2**63), 2**63 - 1)
measurements = st.builds(
    Measurement,
    box_id=st.just("1"),
    timestamp_ms=st.integers(0, 2**45) | st.integers(-(2**63), 2**63 - 1),
    metrics=st.dictionaries(st.sampled_from(["rms", "f", "thd", "trans", "pst", "h3", "ö\0"]), metric)
    | st.just(USUAL),
    start_ns=whole,
    end_ns=whole,
    uncertainty_ns=whole,
    source=st.sampled_from(TimeSource),
    sequence=whole,
    oldest_sequence=whole,
    backfilled=st.booleans(),
    crossing=st.booleans(),
    clock_id=st.none() | st.integers(1, 3) | st.integers(1, 2**64 - 1),
)


def second(number: int, **changes: Any) -> Measurement:
    at_ms = NOW_MS + 1000 * number
    row = Measurement(
        "1",
        at_ms,
        USUAL,
        at_ms * 10**6 - 10**9 + 17,
        at_ms * 10**6 + 77,
        1500,
        TimeSource.NTP,
        900 + number,
        870,
        clock_id=2**62 + 12345,
    )
    return replace(row, **changes)


def same(first: list[Measurement], second: list[Measurement]) -> bool:
    """Equal, and NaN where the other has it."""
    return [_text(row) for row in first] == [_text(row) for row in second]


def _text(row: Measurement) -> str:
    return repr(replace(row, metrics=dict(sorted(row.metrics.items()))))


@given(st.lists(measurements, min_size=1, max_size=6), st.booleans(), st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_rows_come_back_exactly(rows: list[Measurement], rising: bool, deflated: bool) -> None:
    block = pack(packed_rows(rows), rising, deflated)
    assert same(unpack(block).measurements("1"), rows)
    assert pack(unpack(block), rising, deflated) == block


@given(st.lists(measurements, min_size=1, max_size=6))
@settings(max_examples=200, deadline=None)
def test_single_rows_pack_to_the_same_bytes(rows: list[Measurement]) -> None:
    alone = [pack_one(row) for row in rows]
    assert alone == [pack(packed_rows([row])) for row in rows]
    assert same(unpack_all(alone).measurements("1"), rows)
    parts = joined([unpack(each) for each in alone])
    assert same(parts.measurements(["1"] * len(rows)), rows)
    back = np.arange(len(rows))[::-1]
    assert same(parts.part(back).measurements("1"), rows[::-1])


@given(st.lists(measurements, min_size=1, max_size=6), st.booleans(), st.integers(0, 6), st.integers(0, 6))
@settings(max_examples=100, deadline=None)
def test_a_blocks_run_is_its_rows_run(rows: list[Measurement], rising: bool, a: int, b: int) -> None:
    first, stop = sorted(min(each, len(rows)) for each in (a, b))
    block = pack(packed_rows(rows), rising)
    assert same(unpack(block, first, stop).measurements("1"), rows[first:stop])
    assert same(unpack(block).run(first, stop).measurements("1"), rows[first:stop])


def test_a_damaged_number_of_rows_is_an_error() -> None:
    """It takes no memory for them."""
    block = pack(packed_rows([second(0), second(1)]))
    with pytest.raises(ValueError, match="rows has"):
        unpack(block[:2] + b"\xff\xff\xff\xff" + block[6:])


def test_packing_leaves_the_rows_alone() -> None:
    for rows in ([second(0)], [second(0), second(1, start_ns=None, end_ns=None)]):
        made = packed_rows(rows)
        before = made.table.tobytes()
        pack(made)
        assert made.table.tobytes() == before


def test_a_span_excludes_its_end() -> None:
    rows = packed_rows([second(number) for number in range(5)])
    inside = rows.within(NOW_MS + 1000, NOW_MS + 3000).measurements("1")
    assert [row.sequence for row in inside] == [901, 902]


def drawn(count: int) -> list[Measurement]:
    """Noise in each number, as `opq-tools bench store` draws it."""
    draw = np.random.default_rng(5)
    middle, spread = np.array([60.0, 120.0, 0.02, 1.0]), np.array([0.005, 0.3, 0.001, 0.2])
    values = (middle[:, None] + spread[:, None] * draw.normal(size=(count, 4, 3))).astype(np.float32)
    return [
        second(
            number,
            metrics=dict(zip(METRIC_NAMES, (Metric(*each) for each in row.tolist()), strict=True)),
        )
        for number, row in enumerate(values)
    ]


def test_rows_are_small() -> None:
    """Bytes per row of the five forms before: 40.4 in a block, 48 in a parcel, 94 alone, 263 with remarks."""
    rows = drawn(50)
    assert len(pack(packed_rows(rows))) / 50 < 38.5
    assert len(pack_one(rows[7])) < 94
    flagged = {3: {"flagged": Metric(1.0, 1.0, 1.0)}, 28: {"missing_line_s": Metric(2.5, 2.5, 2.5)}}
    remarked = [replace(row, metrics={**row.metrics, **flagged.get(at, {})}) for at, row in enumerate(rows)]
    assert len(pack(packed_rows(remarked))) / 50 < 41
    crest = [replace(row, metrics={**row.metrics, "crest": row.metrics["rms"]}) for row in rows]
    assert len(pack(packed_rows(crest))) / 50 < 50


def test_a_block_of_a_later_version_is_refused() -> None:
    block = pack_one(second(1))
    for version in (0, packed.VERSION + 1):
        with pytest.raises(StoreError, match=f"version {version}"):
            unpack(bytes([version]) + block[1:])


@pytest.mark.parametrize(
    "rows", [[second(0)], [second(0), second(1, metrics={"pst": Metric(1.0, 1.0, 1.0)})]]
)
def test_a_torn_block_is_an_error(rows: list[Measurement]) -> None:
    block = pack(packed_rows(rows))
    for length in range(len(block)):
        with pytest.raises(
            (ValueError, KeyError, TypeError, IndexError, OverflowError, zlib.error, struct.error)
        ):
            unpack_all([block[:length]])


LATER = MeasurementField(
    name="humidity", wire=1099, kind="whole", dtype="i8", stored=6, words="a field to come"
)


def test_an_older_block_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a program with one more stored field reads of the blocks of this one."""
    rows = [second(0), second(1, sequence=None, metrics={"rms": USUAL["rms"]}), second(2, clock_id=None)]
    blocks = [pack(packed_rows(rows)), *(pack_one(row) for row in rows)]
    fields = (*STORED, LATER)
    columns = packed._columns(fields)
    assert {name: columns.bits[name] for name in packed.BITS} == packed.BITS, "bits never move"
    monkeypatch.setattr(packed, "STORED", fields)
    for name, value in {
        "VERSION": 6,
        "_NOW": columns,
        "ROW": columns.dtype,
        "BITS": columns.bits,
        "_NUMBER_BITS": [columns.bits.get(each, 0) for each in columns.numbers],
    }.items():
        monkeypatch.setattr(packed, name, value)
    packed._of_version.cache_clear()
    try:
        for block, wanted in zip(blocks, (rows, *([row] for row in rows)), strict=True):
            table = unpack(block).table
            assert table.dtype == columns.dtype and not (table["known"] & columns.bits["humidity"]).any()
            assert table["timestamp_ms"].tolist() == [row.timestamp_ms for row in wanted]
            numbered = PackedRows(table).numbered.tolist()
            assert numbered == [row.sequence is not None for row in wanted]
    finally:
        packed._of_version.cache_clear()


def test_a_value_without_column_is_json() -> None:
    double = second(0, metrics={"rms": Metric(0.1, 0.3, 0.2)})
    block = pack(packed_rows([double, second(1)]), deflated=False)
    text = block[block.index(b"[[") :]
    names, others = json.loads(text[: text.rindex(b"]") + 1])
    assert names == [] and others[0][1]["metrics"] == {"rms": [0.1, 0.3, 0.2]}
