"""Payloads to records: each format, each type, and whatever cannot be read is an error that is counted."""

import json
from datetime import UTC, datetime
from itertools import product
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_proto.measurement.wire import measurement_to_wire
from opq_proto.messages import Measurement, Metric
from opq_proto.wire.opq_pb2 import TriggerMessage
from opq_rules.query.planning.select_plan import plan
from opq_rules.query.query import Query
from opq_rules.query.query_run import RuleFacts
from opq_rules.sql.parse import parse
from opq_rules.sql.syntax import Create, Select
from opq_rules.streams.decoding import Decoded, StreamDecoder
from opq_rules.streams.definition import definition_of
from opq_rules.streams.protobuf import MESSAGES, message_class, protobuf_reader
from opq_rules.values.batch import Batch


def decoder(columns: str = "", options: str = "", used: list[str] | None = None) -> StreamDecoder:
    create = parse(f'CREATE STREAM s ({columns}) WITH (DATASOURCE="x"{options and ", " + options})')
    assert isinstance(create, Create)
    return StreamDecoder(definition_of(create), used)


def one(found: Decoded) -> Any:
    assert found.errors == 0, found.why
    (row,) = found.rows
    return row


def test_json_objects_and_arrays_of_objects_become_records() -> None:
    found = decoder().decode([b'{"a":1}', b'[{"a":2},{"a":3.0}]', b"[]", b' {"a":{"b":[null]}} '])
    assert found == ([{"a": 1}, {"a": 2}, {"a": 3.0}, {"a": {"b": [None]}}], None, 0, "")
    assert type(found.rows[0]["a"]) is int and type(found.rows[2]["a"]) is float


def test_integers_of_any_size_stay_whole() -> None:
    assert one(decoder().decode([b'{"a":18446744073709551617}'])) == {"a": 2**64 + 1}


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"5",
        b'"text"',
        b"null",
        b"[1]",
        b'[{"a":1},2]',
        b'{"a":NaN}',
        b"\xff",
        b'{"a":1e999}',
        b'{"a":"\\ud800"}',
        b"{} {}",
        b"[" * 100_000,
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    ],
)
def test_a_wrong_record_is_counted_alone(payload: bytes) -> None:
    found = decoder().decode([b'{"a":1}', payload, b'{"a":2}'], [{"n": 0}, {"n": 1}, {"n": 2}])
    assert found.rows == [{"a": 1}, {"a": 2}] and found.metas == [{"n": 0}, {"n": 2}]
    assert found.errors == 1 and found.why.startswith("s: ") and len(found.why) < 500


def test_metas_follow_their_records() -> None:
    found = decoder().decode([b'[{"a":1},{"a":2}]', b'{"a":3}'], [{"n": 0}, None])
    assert found.metas == [{"n": 0}, {"n": 0}, None]


def test_binary_is_one_column() -> None:
    assert one(decoder(options='FORMAT="binary"').decode([b"\x00\xff"])) == {"self": b"\x00\xff"}
    assert one(decoder("raw BYTEA", 'FORMAT="binary"').decode([b"\x00"])) == {"raw": b"\x00"}


def test_delimited_takes_names_from_the_schema_or_numbers() -> None:
    assert one(decoder(options='FORMAT="delimited"').decode([b"a,1, b"])) == {
        "col0": "a",
        "col1": "1",
        "col2": " b",
    }
    typed = decoder("box STRING, v FLOAT, n BIGINT, ok BOOLEAN", 'FORMAT="delimited", DELIMITER=";"')
    found = typed.decode([b"1003;126.5;-7;true\n1004;1e2;5;FALSE\n", b'"a;b";1;2;true'])
    assert found.rows == [
        {"box": "1003", "v": 126.5, "n": -7, "ok": True},
        {"box": "1004", "v": 100.0, "n": 5, "ok": False},
        {"box": "a;b", "v": 1.0, "n": 2, "ok": True},
    ]
    assert one(typed.decode(["a\u2028b;1;2;true\r\n".encode()]))["box"] == "a\u2028b"
    bad = typed.decode([b"1;2;3;true;5", b"", b"\xff", b'"1;2', b"x;y"])
    assert bad.rows == [] and bad.errors == 5


def test_urlencoded_repeats_become_arrays() -> None:
    found = decoder("v FLOAT", 'FORMAT="urlencoded"').decode([b"v=1.5&name=a+b%21&t=1&t=2&t=3&e="])
    assert one(found) == {"v": 1.5, "name": "a b!", "t": ["1", "2", "3"], "e": ""}
    assert decoder(options='FORMAT="urlencoded"').decode([b"novalue", b"a=%ff%", b"", b"\xff"]).errors >= 2


def test_protobuf_reads_the_frames_of_boxes() -> None:
    frame = measurement_to_wire(
        Measurement(
            "1003", 1765792486013, {"rms": Metric(119.5, 121.25, 120.1)}, start_ns=2**60, nominal_v=120.0
        )
    )
    row = one(decoder(options='FORMAT="protobuf", SCHEMAID="opqbox3.Measurement"').decode([frame]))
    assert row["box_id"] == 1003 and row["timestamp_ms"] == 1765792486013 and row["start_ns"] == 2**60
    assert row["metrics"] == {"rms": {"min": 119.5, "max": 121.25, "average": 120.1}}
    assert row["nominal_v"] == 120.0 and "nominal_hz" not in row and row["time_source"] == "FREE"
    trigger = TriggerMessage(id=3, time=5, frequency=59.98, rms=126.7).SerializeToString()
    old = one(decoder(options='FORMAT="protobuf", SCHEMAID="opq.TriggerMessage"').decode([trigger]))
    assert old == {"id": 3, "time": 5, "frequency": 59.98, "rms": 126.7}
    bad = decoder(options='FORMAT="protobuf", SCHEMAID="opq.TriggerMessage"').decode(
        [b"", trigger[:-2], b"\xff"]
    )
    assert bad.rows == [] and bad.errors == 3


def test_every_built_in_schema_reads_empty_messages() -> None:
    for schema_id in MESSAGES:
        message = message_class(schema_id)
        if message().IsInitialized():
            row = protobuf_reader(message)(message().SerializeToString())
            assert json.dumps({key: value for key, value in row.items() if not isinstance(value, bytes)})


AT = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("BIGINT", 5, 5),
        ("BIGINT", 5.0, 5),
        ("FLOAT", 5, 5.0),
        ("STRING", "x", "x"),
        ("STRING", 4, "4"),
        ("STRING", 1.5, "1.5"),
        ("BOOLEAN", True, True),
        ("BOOLEAN", "False", False),
        ("BOOLEAN", 1, True),
        ("BYTEA", "aGk=", b"hi"),
        ("DATETIME", "2026-01-31T12:00:00Z", AT),
        ("ARRAY(FLOAT)", [1, 2.5, None], [1.0, 2.5, None]),
        ("ARRAY(ARRAY(BIGINT))", [[1.0], []], [[1], []]),
        ("STRUCT(a FLOAT, b BYTEA)", {"a": 1, "c": 1}, {"a": 1.0, "c": 1}),
        ("STRUCT(a FLOAT)", {"A": 1}, {"a": 1.0}),
    ],
)
def test_what_converts_is_converted_strict_or_not(kind: str, value: Any, expected: Any) -> None:
    strict = decoder(f"x {kind}", 'STRICT_VALIDATION="true"')
    for each in (decoder(f"x {kind}"), strict):
        if "b BYTEA" in kind and each is strict:
            continue  # b is missing
        (row,) = each.conform([{"x": value}]).rows
        assert row == {"x": expected} and type(row["x"]) is type(expected)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("BIGINT", 5.5),
        ("BIGINT", True),
        ("BIGINT", "1_0"),
        ("BIGINT", "٣"),
        ("BIGINT", "9" * 5000),
        ("BIGINT", 1e300),
        ("FLOAT", "nan"),
        ("FLOAT", True),
        ("FLOAT", "x"),
        ("FLOAT", 10**400),
        ("BIGINT", "5"),
        ("FLOAT", "5.5"),
        ("STRING", {"a": 1}),
        ("BOOLEAN", "yes"),
        ("BYTEA", "no base64!"),
        ("BYTEA", "ü"),
        ("DATETIME", True),
        ("ARRAY(FLOAT)", ["x"]),
        ("ARRAY(FLOAT)", {"a": 1}),
        ("STRUCT(a FLOAT)", [1]),
        ("STRUCT(a FLOAT)", {"a": "x"}),
        ("STRUCT(a FLOAT)", "{"),
    ],
)
def test_an_unconvertible_value_is_an_error(kind: str, value: Any) -> None:
    for options in ("", 'STRICT_VALIDATION="true"'):
        found = decoder(f"x {kind}", options).conform([{"x": value}], [{}])
        assert (found.rows, found.metas, found.errors) == ([], [], 1)
        assert "column x" in found.why or "column a" in found.why


def test_strict_allows_null_inside_arrays() -> None:
    strict = decoder("x BIGINT, a ARRAY(BIGINT), o STRUCT(b BIGINT)", 'STRICT_VALIDATION="true"')
    row = {"x": 1, "a": None, "o": None}
    assert strict.conform([row]).rows == [row]
    assert strict.conform([row | {"x": None}]).errors == 1
    assert strict.conform([{"x": 1, "o": None}]).why == "s: column a is missing; want array(bigint)"


def test_a_datetime_is_converted_or_stays_without_strict() -> None:
    for value in (1769860800000, "yesterday", 1e300):
        assert decoder("x DATETIME").conform([{"x": value}]).rows == [{"x": value}]
    strict = decoder("x DATETIME", 'STRICT_VALIDATION="true"')
    assert strict.conform([{"x": 1769860800000}]).rows == [{"x": AT}]
    assert strict.conform([{"x": "yesterday"}, {"x": 1e300}]).errors == 2


@pytest.mark.parametrize("options", ["", 'STRICT_VALIDATION="true"'])
def test_a_bigint_beyond_64_bits_is_an_error(options: str) -> None:
    rows = [{"x": 2**63 - 1}, {"x": 2**63}, {"x": -(2**63)}, {"x": -(2**63) - 1}]
    found = decoder("x BIGINT", options).conform(rows, [{}] * 4)
    assert [row["x"] for row in found.rows] == [2**63 - 1, -(2**63)] and found.errors == 2
    assert "9223372036854775809, which does not fit into 64 bits" in found.why


def test_strict_fills_defaults_of_used_columns() -> None:
    columns = "a BIGINT DEFAULT 7, b STRING, c FLOAT"
    strict = 'STRICT_VALIDATION="true"'
    assert one(decoder(columns, strict).conform([{"b": "x", "c": 1}])) == {"a": 7, "b": "x", "c": 1.0}
    assert one(decoder(columns, strict, ["A", "c"]).conform([{"a": None, "c": 1}])) == {"a": 7, "c": 1.0}
    missing = decoder(columns, strict).conform([{"c": 1}])
    assert missing.errors == 1 and missing.why == "s: column b is missing; want string"
    assert one(decoder(columns).conform([{"c": 1}])) == {"c": 1.0}
    assert one(decoder(columns, strict, []).conform([{"c": "?"}])) == {"c": "?"}


def test_names_match_in_any_case() -> None:
    assert one(decoder("Volt FLOAT").conform([{"other": 1, "VOLT": 1}])) == {"other": 1, "Volt": 1.0}


def test_the_records_of_others_are_not_changed() -> None:
    row = {"v": 5, "o": {"a": 1}, "t": [1]}
    copy = json.loads(json.dumps(row))
    found = one(decoder("v FLOAT, o STRUCT(a FLOAT), t ARRAY(FLOAT)").conform([row]))
    assert found == {"v": 5.0, "o": {"a": 1.0}, "t": [1.0]} and row == copy
    right = {"v": 5.0, "t": [1.0]}
    assert decoder("v FLOAT, t ARRAY(FLOAT)").conform([right]).rows[0] is right


FORMATS = [
    'FORMAT="json"',
    'FORMAT="binary"',
    'FORMAT="delimited"',
    'FORMAT="urlencoded"',
    'FORMAT="protobuf", SCHEMAID="opqbox3.Measurement"',
]


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(FORMATS),
    st.booleans(),
    st.lists(st.one_of(st.binary(max_size=60), st.text().map(str.encode))),
)
def test_no_payload_raises(options: str, strict: bool, payloads: list[bytes]) -> None:
    columns = "x BYTEA" if "binary" in options else "x FLOAT, box_id STRING"
    metas = [{"n": index} for index in range(len(payloads))]
    found = decoder(columns, options + (', STRICT_VALIDATION="true"' if strict else "")).decode(
        payloads, metas
    )
    assert found.metas is not None and len(found.rows) == len(found.metas)
    assert all(type(row) is dict for row in found.rows)


JSON_VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from("abcdxABX"), JSON_VALUES), max_size=5), st.booleans())
def test_conforming_twice_changes_nothing_more(rows: list[dict[str, Any]], strict: bool) -> None:
    typed = decoder(
        "a BIGINT, b FLOAT, c ARRAY(STRUCT(a DATETIME)), d STRUCT(a BYTEA), x BOOLEAN",
        'STRICT_VALIDATION="true"' if strict else "",
    )
    once = typed.conform(rows)
    assert len(once.rows) + once.errors == len(rows)
    again = typed.conform(once.rows)
    assert repr(again.rows) == repr(once.rows) and again.errors == 0


EXTREMES = (
    *(
        b"0",
        b"-1",
        b"1e308",
        b"-1e308",
        b"1e-320",
        b"9223372036854775808",
        b"1" + b"0" * 300,
        b"null",
        b"true",
    ),
    *(b'""', b'"\\u0000"', b'"\\u202e"', b"[]", b"[1,[2]]", b'{"a":1e308}', b'"' + b"x" * 100_000 + b'"'),
)
"""What `httppush` and `mqtt` hand on as a value."""


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT v*2 AS a, v+1 AS b, v/3 AS c, v%7 AS d, -v AS e FROM s WHERE v > 5 OR isNull(v)",
        "SELECT sum(v) AS s, avg(v) AS a, max(v) AS m, stddev(v) AS d, collect(v) AS c FROM s "
        "GROUP BY COUNTWINDOW(2)",
        "SELECT v, count(*) AS c FROM s GROUP BY v, TUMBLINGWINDOW(ms, 100)",
        "SELECT percentile_cont(v, 0.5) AS p FROM s GROUP BY SLIDINGWINDOW(ms, 100)",
        "SELECT lag(v) AS l, v FROM s",
        "SELECT v FROM s ORDER BY v",
    ],
)
def test_no_extreme_value_ends_a_query(sql: str) -> None:
    """Neither the query, nor its state on disk, nor what it sends."""
    create, select = parse('CREATE STREAM s () WITH (DATASOURCE="x", TYPE="mock")'), parse(sql)
    assert isinstance(create, Create) and isinstance(select, Select)
    definition = definition_of(create)
    made, found = plan(select, {"s": definition}), StreamDecoder(definition)
    query, again = Query(made, RuleFacts("r")), Query(made, RuleFacts("r"))
    for number, (one, other) in enumerate(product(EXTREMES, EXTREMES)):
        rows = found.decode([b'{"v":' + each + b"}" for each in (one, other)]).rows
        sent = [*query.feed(Batch("s", rows, 60 * number)), *query.advance(60 * number + 30)]
        msgspec.json.encode(sent)
        again.restore(msgspec.json.decode(msgspec.json.encode(query.state())))
