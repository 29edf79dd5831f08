"""What a source gave, as batches: nothing lost, in order, each row with its own time and meta."""

from typing import Any
from unittest.mock import Mock

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from rules_engine import Idle

from opq_plugins.sdk import Source
from opq_rules.engine.running import stream_input
from opq_rules.engine.running.rule import QueryUnit
from opq_rules.engine.running.source_runner import SourceEntry, SourceRunner
from opq_rules.engine.running.stream_input import StreamInput
from opq_rules.sql.parse import parse
from opq_rules.sql.syntax import Create
from opq_rules.streams.decoding import StreamDecoder
from opq_rules.streams.definition import definition_of

COUNTS = st.one_of(
    st.integers(0, 4), st.integers(stream_input.MAX_BATCH_RECORDS - 2, 3 * stream_input.MAX_BATCH_RECORDS)
)
KINDS = st.tuples(COUNTS, st.booleans(), st.booleans(), st.booleans(), st.integers(0, 1))


def unheard(*_: Any) -> None:
    """No rule wants errors sent."""


def of_stream(direct: bool = False) -> StreamInput:
    statement = parse('CREATE STREAM s () WITH (DATASOURCE="x", FORMAT="json")')
    assert isinstance(statement, Create)
    feed = SourceRunner("s", "", Source, 1024, False, Idle())
    return StreamInput(feed, "feed s", StreamDecoder(definition_of(statement)), direct, None)


def entry(first: int, count: int, coded: bool, told: bool, own_times: bool, ms: int) -> SourceEntry:
    """Row k has `k`, meta k, and arrives at `ms` or at its own time."""
    rows: list[Any] = [{"k": k} for k in range(first, first + count)]
    meta = [{"m": row["k"]} for row in rows] if told else None
    arrived = [1_000 + row["k"] for row in rows] if own_times and not coded else ms
    if coded:
        return SourceEntry(None, [msgspec.json.encode(row) for row in rows], count, meta, arrived, None)
    return SourceEntry(rows, None, count, meta, arrived, None)


@settings(max_examples=60)
@given(st.lists(KINDS, max_size=8))
def test_rows_keep_order_time_and_meta(
    kinds: list[tuple[int, bool, bool, bool, int]],
) -> None:
    entries: list[SourceEntry] = []
    wanted: list[tuple[int, int, Any]] = []
    for kind in kinds:
        made = entry(len(wanted), *kind)
        entries.append(made)
        for k in range(made.count):
            ms = made.arrived_ms if isinstance(made.arrived_ms, int) else made.arrived_ms[k]
            wanted.append((len(wanted), ms, made.meta and made.meta[k]))
    got: list[tuple[int, int, Any]] = []
    for batch in of_stream().batches(entries, unheard):
        count = len(batch.rows)
        assert 0 < count <= stream_input.MAX_BATCH_RECORDS
        times = [batch.arrived_ms] * count if isinstance(batch.arrived_ms, int) else batch.arrived_ms
        metas = batch.meta or [None] * count
        got += [(row["k"], ms, meta) for row, ms, meta in zip(batch.rows, times, metas, strict=True)]
    assert got == wanted


def test_few_payloads_of_each_call_make_one_batch() -> None:
    """As an MQTT client gives them."""
    entries = [entry(k, 1, True, True, False, 5) for k in range(2 * stream_input.MAX_BATCH_RECORDS)]
    assert [len(batch.rows) for batch in of_stream().batches(entries, unheard)] == [
        stream_input.MAX_BATCH_RECORDS,
        stream_input.MAX_BATCH_RECORDS,
    ]


def test_wrong_payloads_cost_their_batch_nothing() -> None:
    payloads = [b'{"k": 1}', b"[1]", b'[{"k": 2}, {"k": 3}]', b"{", b'{"k": 4}']
    made = of_stream()
    (batch,) = made.batches([SourceEntry(None, payloads, 5, [{"m": m} for m in range(5)], 7, None)], unheard)
    assert [row["k"] for row in batch.rows] == [1, 2, 3, 4]
    assert batch.meta is not None and [meta and meta["m"] for meta in batch.meta] == [0, 2, 2, 4]
    assert made.runner.errors == 2


def test_a_qos_1_memory_topic_is_bounded() -> None:
    """Rules that feed each other fill it faster than the engine empties it."""
    made, unit = of_stream(direct=True), Mock(spec=QueryUnit)
    made.enter(unit, (), durable=True)
    thousand = [{"k": 1}] * 1000
    for _ in range(stream_input.MAX_DURABLE_TOPIC_RECORDS // 1000):
        made.runner.emit_many(thousand)
    assert (made.runner.waiting, made.runner.dropped) == (stream_input.MAX_DURABLE_TOPIC_RECORDS, 0)
    made.runner.emit_many(thousand)
    assert (made.runner.waiting, made.runner.dropped) == (stream_input.MAX_DURABLE_TOPIC_RECORDS, 1000)
