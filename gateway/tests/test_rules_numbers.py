"""Whole numbers of JSON: floats where no column is declared, and written without a point."""

import json
from typing import Any

import pytest

from opq_rules.delivery.template import compiled
from opq_rules.delivery.transform import encoded
from opq_rules.json_numbers import EXACT, as_floats, json_bytes, read_rows
from opq_rules.query.trying import try_text
from opq_rules.sql.parse import parse
from opq_rules.sql.syntax import Create
from opq_rules.streams.decoding import StreamDecoder
from opq_rules.streams.definition import definition_of

BARE = 'CREATE STREAM s () WITH (DATASOURCE="s", TYPE="mock")'
DECLARED = 'CREATE STREAM s (a BIGINT, b BIGINT) WITH (DATASOURCE="s", TYPE="mock")'
NS = 1_765_792_486_010_000_123


def rows(select: str, *records: dict[str, Any], ddl: str = BARE) -> Any:
    """As they are written: 5 is an int, 5.0 a float."""
    given = [{"ts": ms, "data": data} for ms, data in enumerate(records)]
    answer = json.loads(try_text(json.dumps({"stream_ddl": ddl, "sql": select, "input": given})))
    assert "emissions" in answer, answer
    return [row for emission in answer["emissions"] for row in emission]


def test_a_quotient_of_whole_numbers_is_not_cut() -> None:
    assert repr(rows("SELECT (a - b) / b * 100 AS p FROM s", {"a": 126, "b": 120})) == "[{'p': 5}]"
    halves = rows("SELECT rms / 2 AS r FROM s", {"rms": 121}, {"rms": 121.5}, {"rms": 122})
    assert repr(halves) == "[{'r': 60.5}, {'r': 60.75}, {'r': 61}]"


def test_an_average_of_whole_numbers_is_not_cut() -> None:
    values = [{"v": v} for v in (119, 120, 120, 120)]
    assert rows("SELECT avg(v) AS a, sum(v) AS b FROM s GROUP BY COUNTWINDOW(4)", *values) == [
        {"a": 119.75, "b": 479}
    ]


def test_columns_that_are_declared_bigint_are_cut() -> None:
    select = "SELECT a / b AS q, (a - b) / b * 100 AS p FROM s"
    found = rows(select, {"a": 126, "b": 120}, ddl=DECLARED)
    assert found == [{"q": 1, "p": 0}]
    assert rows("SELECT 7 / 2 AS q FROM s", {}) == [{"q": 3}]  # literals are bigint


def test_what_is_nested_and_what_is_parsed_are_floats_too() -> None:
    record = {"o": {"k": [1, {"n": 3}]}, "t": '{"x": 7}'}
    select = "SELECT o->k[0] / 2 AS a, o->k[1]->n / 2 AS b, parse_json(t)->x / 2 AS c FROM s"
    assert rows(select, record) == [{"a": 0.5, "b": 1.5, "c": 3.5}]


@pytest.mark.parametrize(
    ("select", "answer"),
    [
        ("bitand(i, 6)", 4),
        ("i & 6", 4),
        ("i % 3", 2),
        ("tags[i - 5]", "a"),
        ("tags[:i - 4]", ["a"]),
        ("substring(t, i - 4)", "bc"),
        ("cast(i, 'string')", "5"),
        ("cast(i, 'bigint') / 2", 2),
        ("concat('box ', i)", "box 5"),
        ("dec2hex(i)", "0x5"),
        ("chr(i + 60)", "A"),
        ("to_json(o)", '{"n":5}'),
        ("CASE i WHEN 5 THEN 1 END", 1),
        ("i IN (4, 5)", True),
    ],
)
def test_a_float_without_a_fraction_serves_where_a_whole_number_is_wanted(select: str, answer: Any) -> None:
    record = {"i": 5, "tags": ["a", "b"], "t": "abc", "o": {"n": 5}}
    assert repr(rows(f"SELECT {select} AS r FROM s", record)) == repr([{"r": answer}])


def test_a_time_in_ns_keeps_its_last_digits() -> None:
    found = rows("SELECT t_ns, t_ns - u_ns AS d FROM s", {"t_ns": NS, "u_ns": NS - 7})
    assert found == [{"t_ns": NS, "d": 7}]
    for value in (EXACT, -EXACT):
        assert type(as_floats(value)) is float and type(as_floats(value * 2)) is int


@pytest.mark.parametrize("row", [{"t": NS, "v": 1}, {"t": -NS}, {"t": [NS], "v": 1}, {"v": 1, "t": 3}])
def test_payloads_are_read_as_their_records_are(row: dict[str, Any]) -> None:
    for text in (json.dumps(row).encode(), json.dumps(row, indent=1).encode()):
        (found,) = read_rows([text])
        assert repr(found) == repr(as_floats(row))


def test_what_is_nested_deep_in_a_payload_is_read_as_well() -> None:
    (found,) = read_rows([b'{"a":[[[[[{"b":[1,{"c":2}]}]]]]],"n":null,"t":true}'])
    assert repr(found) == repr({"a": [[[[[{"b": [1.0, {"c": 2.0}]}]]]]], "n": None, "t": True})


def decoder(ddl: str, **more: Any) -> StreamDecoder:
    statement = parse(ddl)
    assert isinstance(statement, Create)
    return StreamDecoder(definition_of(statement), **more)


@pytest.mark.parametrize("kind", ["memory", "opqbox", "opqwave"])
def test_our_own_sources_give_their_own_kinds(kind: str) -> None:
    ddl = f'CREATE STREAM s () WITH (DATASOURCE="1", TYPE="{kind}")'
    row = {"box": "1", "end_ms": 5, "rms": 120.0}
    assert repr(decoder(ddl).conform([row]).rows) == repr([row])
    told = {"end_ms": 5, "rms": 120}  # a trial's record is JSON
    wanted = {"end_ms": 5.0 if kind == "memory" else 5, "rms": 120.0}
    assert repr(decoder(ddl, from_json=True).conform([told]).rows) == repr([wanted])


def test_undeclared_columns_of_a_declared_stream_are_floats_and_the_record_stays() -> None:
    given = {"a": 1, "c": 2, "o": {"k": 3}}
    found = decoder(DECLARED).conform([given]).rows
    assert repr(found) == repr([{"a": 1, "c": 2.0, "o": {"k": 3.0}}]) and given["c"] is not found[0]["c"]
    payload = decoder(DECLARED).decode([json.dumps(given).encode()]).rows
    assert repr(payload) == repr(found)


def test_whole_results_are_written_without_a_point() -> None:
    row = {"a": 5.0, "b": [1.0, 2.5], "c": {"k": -0.0}, "d": "x.0,", "e": 1e15, "f": None, "g": True}
    written = b'{"a":5,"b":[1,2.5],"c":{"k":0},"d":"x.0,","e":1000000000000000,"f":null,"g":true}'
    assert json_bytes(row) == encoded(row) == written
    assert json_bytes(5.0) == b"5" and json_bytes([0.5]) == b"[0.5]"
    assert (
        compiled("{{.a}} {{json .b}} {{ row.a }} {{ row | tojson }}")(row)
        == f"5 [1,2.5] 5 {written.decode()}"
    )
