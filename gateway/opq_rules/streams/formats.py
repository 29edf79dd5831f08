"""One payload -> its records, by FORMAT. Every reader raises only ValueError."""

import csv
import io
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from opq_rules.streams.definition import StreamDefinition
from opq_rules.streams.protobuf import message_class, protobuf_reader
from opq_rules.values.batch import Row

ReadOne = Callable[[bytes], list[Row]]
SELF = "self"
"""Name of the column of FORMAT binary in a schemaless stream."""
MAX_FIELDS = 10_000
"""Fields of one urlencoded payload."""

_decode_json: Callable[[bytes], Any] = msgspec.json.Decoder().decode
decode_object: Callable[[bytes], Row] = msgspec.json.Decoder(dict).decode
"""Decodes a JSON object; anything else raises one of `JSON_ERRORS`."""
JSON_ERRORS = (msgspec.MsgspecError, UnicodeError, RecursionError)


def reader_of(definition: StreamDefinition) -> ReadOne:
    """The reader for the definition's FORMAT."""
    names = None if definition.fields is None else [field.name for field in definition.fields]
    match definition.format:
        case "binary":
            column = names[0] if names else SELF
            return lambda payload: [{column: bytes(payload)}]
        case "delimited":
            return _delimited(definition.delimiter, names)
        case "urlencoded":
            return _urlencoded
        case "protobuf":
            read = protobuf_reader(message_class(definition.schema_id or ""))
            return lambda payload: [read(payload)]
        case _:
            return json_rows


def json_rows(payload: bytes) -> list[Row]:
    """Reads an object, or an array of objects; raises ValueError for anything else."""
    try:
        found = _decode_json(payload)
    except JSON_ERRORS as error:
        raise ValueError(f"not JSON: {error}") from None
    rows = found if type(found) is list else [found]
    for row in rows:
        if type(row) is not dict:
            raise ValueError(f"want an object or an array of objects, not {_kind(row)}")
    return rows


def _delimited(delimiter: str, names: list[str] | None) -> ReadOne:
    """Reads lines of values; columns in the order of the schema, else col0, col1 ... Values stay text."""

    def read(payload: bytes) -> list[Row]:
        text = _text(payload)
        if '"' in text and len(delimiter) == 1:
            try:
                parts = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
            except csv.Error as error:
                raise ValueError(f"not delimited text: {error}") from None
        else:
            lines = text.replace("\r\n", "\n").split("\n")
            parts = [line.split(delimiter) for line in lines if line]
        rows = []
        for values in parts:
            if names is not None and len(values) > len(names):
                raise ValueError(
                    f"{len(values)} values for {len(names)} columns; want {delimiter.join(names)}"
                )
            columns = names if names is not None else [f"col{index}" for index in range(len(values))]
            if values:
                rows.append(dict(zip(columns, values, strict=False)))
        if not rows:
            raise ValueError("the payload is empty; want at least one row")
        return rows

    return read


def _urlencoded(payload: bytes) -> list[Row]:
    """Reads `a=1&b=2`; a repeated name gives an array. Values stay text."""
    text = _text(payload)
    row: Row = {}
    for name, value in parse_qsl(
        text, keep_blank_values=True, strict_parsing=True, max_num_fields=MAX_FIELDS
    ):
        if name not in row:
            row[name] = value
        elif isinstance(row[name], list):
            row[name].append(value)
        else:
            row[name] = [row[name], value]
    return [row]


def _text(payload: bytes) -> str:
    try:
        return bytes(payload).decode()
    except UnicodeError as error:
        raise ValueError(f"not UTF-8 text: {error}") from None


def _kind(value: object) -> str:
    return {str: "a text", list: "an array", type(None): "null", bool: "a boolean"}.get(
        type(value), "a number"
    )
