"""`rules try`: runs rules on given records under a virtual clock. Pure. Source:
docs/reference/contracts.md."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from opq_rules.engine.definitions.rule_definition import options
from opq_rules.errors import CONFIGURATION, ENCODING, STREAM, RowError, RuleError
from opq_rules.query.planning.joins import Lookup
from opq_rules.query.planning.select_plan import QueryPlan, plan
from opq_rules.query.query import Query
from opq_rules.query.query_run import RuleFacts
from opq_rules.sql.parse import parse, parse_select
from opq_rules.sql.syntax import Create, TextPlace
from opq_rules.streams.decoding import StreamDecoder
from opq_rules.streams.definition import StreamDefinition, definition_of
from opq_rules.values.batch import Batch, Emission, Row, Value
from opq_rules.values.sql_values import compare, put_out

SECOND_MS = 1_000
_KEYS = ("name", "stream_ddl", "tables", "sql", "options", "input")


@dataclass(frozen=True, slots=True)
class Given:
    """One record of a case; `ms`: its time of arrival."""

    stream: str
    ms: int
    row: Row
    meta: Mapping[str, Value] | None


def try_text(text: str | bytes) -> bytes:
    """Reads cases as JSON and returns the answers as JSON. Raises RuleError if `text` is neither a case nor
    an array of cases."""
    try:
        cases = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise RuleError(f"the cases are not JSON: {error}", ENCODING) from None
    return msgspec.json.encode(try_cases(cases))


def try_cases(cases: Value) -> Value:
    """The answer to one case, or the answers to an array of them."""
    if isinstance(cases, list):
        return [try_case(case) for case in cases]
    return try_case(cases)


def try_case(case: Value) -> dict[str, Value]:
    """`{"name", "emissions"}`, or `{"name", "error": {"http", "code", "message", ...}}`.

    Whole numbers are written without a decimal point, even unchanged ones.
    """
    name = case.get("name", "") if isinstance(case, Mapping) else ""
    try:
        return {"name": name, "emissions": put_out(run_case(case))}
    except RuleError as error:
        answer = error.as_json()
        return {"name": name, "error": {"http": error.http, "code": answer.pop("error"), **answer}}


def run_case(case: Value) -> list[Emission]:
    """Runs a case. Raises RuleError for a case or a rule that cannot be run."""
    if not isinstance(case, Mapping):
        raise RuleError("a case is an object with stream_ddl, sql and input", CONFIGURATION)
    unknown = [key for key in case if key not in _KEYS]
    if unknown:
        raise RuleError(f"unknown key {unknown[0]!r} of a case; want {', '.join(_KEYS)}", CONFIGURATION)
    given_options = _typed(case, "options", dict, {})
    end_after_ms = given_options.get("end_ms")
    if end_after_ms is not None and (type(end_after_ms) is not int or end_after_ms < 0):
        raise RuleError(f"options.end_ms is {end_after_ms!r}; want ms from 0 on", CONFIGURATION)
    read = options({key: value for key, value in given_options.items() if key != "end_ms"})
    ddl = case.get("stream_ddl")
    streams = _streams([ddl] if isinstance(ddl, str) else _typed(case, "stream_ddl", list, []))
    tables = _typed(case, "tables", dict, {})
    for table in tables:  # a table without a statement is a scan table
        if table not in streams:
            streams[table] = definition_of(
                Create("table", table, None, (("TYPE", "mock", TextPlace(1, 1)),), "")
            )
    planned = plan(parse_select(_typed(case, "sql", str, "")), streams)
    records = [_record(each, number, streams) for number, each in enumerate(_typed(case, "input", list, []))]
    step_ms = SECOND_MS if end_after_ms is None else 10 * SECOND_MS
    start_ms = records[0].ms // step_ms * step_ms if records else 0
    end_ms = None if end_after_ms is None else start_ms + end_after_ms
    query = _query(planned, RuleFacts.of(str(case.get("name", "")), start_ms, read.for_query()), tables)
    try:
        decoders = {
            name: StreamDecoder(streams[name], _used(planned, streams[name])) for name in planned.streams
        }
    except ValueError as error:  # a SCHEMAID that is not there
        raise RuleError(str(error), CONFIGURATION) from None
    return _run(query, records, decoders, end_ms)


def _used(planned: QueryPlan, definition: StreamDefinition) -> Collection[str] | None:
    read = planned.used[definition.name]
    return read if read is None or definition.timestamp is None else read | {definition.timestamp}


def _run(
    query: Query, records: Sequence[Given], decoders: Mapping[str, StreamDecoder], end_ms: int | None
) -> list[Emission]:
    """Moves the clock from record to record; timers in between run first."""
    out: list[Emission] = []
    for record in records:
        if end_ms is not None and record.ms > end_ms:
            break
        out += query.advance(record.ms)
        decoder = decoders.get(record.stream)
        if decoder is None:
            continue
        decoded = decoder.conform([record.row])
        if decoded.errors:
            out += query.refuse(decoded.why, record.ms)
        else:
            out += query.feed(Batch(record.stream, decoded.rows, record.ms, [record.meta]))
    if end_ms is not None:
        out += query.advance(end_ms)
    return out


def _query(planned: QueryPlan, facts: RuleFacts, tables: Mapping[str, Value]) -> Query:
    lookups: dict[int, Lookup] = {}
    retain: dict[str, int] = {}
    for name, rows in tables.items():
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise RuleError(f"tables.{name}: want a list of rows", CONFIGURATION)
    for origin in planned.origins:
        rows = tables.get(origin.stream, [])
        if origin.kind == "lookup":
            lookups[origin.index] = lookup_in(rows)
        elif origin.kind == "scan" and origin.definition.retain_size is None:
            retain[origin.stream] = max(1, len(rows))
    query = Query(planned, facts, lookups, retain)
    for name, rows in tables.items():
        query.fill(name, rows)
    return query


def lookup_in(rows: Sequence[Row]) -> Lookup:
    """A lookup function over the given rows."""

    def same(row: Row, keys: Sequence[str], values: Sequence[Value]) -> bool:
        try:
            return all(compare("=", row.get(key), value) for key, value in zip(keys, values, strict=True))
        except RowError:
            return False

    def lookup(columns: Sequence[str], keys: Sequence[str], values: Sequence[Value]) -> list[Row]:
        return [row for row in rows if same(row, keys, values)]

    return lookup


def _streams(ddl: Sequence[Value]) -> dict[str, StreamDefinition]:
    found: dict[str, StreamDefinition] = {}
    for text in ddl:
        statement = parse(text) if isinstance(text, str) else None
        if not isinstance(statement, Create):
            raise RuleError(f"stream_ddl holds {str(text)[:60]!r}; want CREATE STREAM or TABLE", STREAM)
        if statement.name in found:
            raise RuleError(f"{statement.what} {statement.name} already exists", STREAM)
        found[statement.name] = definition_of(statement)
    return found


def _record(each: Value, number: int, streams: Mapping[str, Value]) -> Given:
    where = f"input[{number}]"
    if not isinstance(each, Mapping):
        raise RuleError(f"{where}: want an object with stream, ts and data", CONFIGURATION)
    stream = each.get("stream", next(iter(streams)) if len(streams) == 1 else None)
    if stream not in streams:
        raise RuleError(f"{where}.stream is {stream!r}; want one of {', '.join(streams)}", CONFIGURATION)
    ms, row, meta = each.get("ts"), each.get("data"), each.get("meta")
    if type(ms) is not int:
        raise RuleError(f"{where}.ts is {ms!r}; want Unix ms", CONFIGURATION)
    if not isinstance(row, dict):
        raise RuleError(f"{where}.data is {row!r}; want an object", CONFIGURATION)
    if meta is not None and not isinstance(meta, dict):
        raise RuleError(f"{where}.meta is {meta!r}; want an object", CONFIGURATION)
    if meta is None and streams[stream].type == "mock":
        meta = {"topic": "mock"}
    return Given(stream, ms, row, meta)


def _typed(case: Mapping[str, Value], key: str, kind: type, default: Value) -> Value:
    value = case.get(key)
    if value is None:
        value = default
    if not isinstance(value, kind):
        wanted: dict[type, str] = {list: "a list", dict: "an object", str: "text"}
        raise RuleError(f"{key} is {str(value)[:60]!r}; want {wanted[kind]}", CONFIGURATION)
    return value
