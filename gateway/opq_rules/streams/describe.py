"""A definition told: to people, to REST. Forms of eKuiper (reference/rules.md, A.2 and B)."""

from typing import get_args

import msgspec

from opq_rules.batch import JsonObject
from opq_rules.secrets import without_secrets
from opq_rules.sql.syntax import ColumnType, Field, Type
from opq_rules.streams.definition import StreamDefinition

TYPE_NUMBERS: dict[str, int] = {name: number for number, name in enumerate(get_args(ColumnType), start=1)}
"""The order of `ColumnType` is eKuiper's: 1 bigint to 8 struct."""
_RULE = "-" * 80


def as_json(found: StreamDefinition) -> JsonObject:
    """Of GET /streams/{name}."""
    return {
        "Name": found.name,
        "StreamFields": None if found.fields is None else [_field(field) for field in found.fields],
        "Options": {name: _shown(value) for name, value in found.written.items()},
        "Statement": None,
        "StreamType": 0 if found.kind == "stream" else 1,
    }


def detail_json(found: StreamDefinition) -> JsonObject:
    """One of GET /streamdetails."""
    return {"name": found.name, "type": found.type, "format": found.format}


def schema_json(fields: tuple[Field, ...] | None) -> JsonObject:
    """Of GET /streams/{name}/schema; {} where nothing is declared."""
    return {field.name: _schema(field.type) for field in fields or ()}


def as_text(found: StreamDefinition) -> str:
    """Of `describe stream`: columns, then options."""
    fields = [f"{field.name}\t{type_text(field.type)}" for field in found.fields or ()]
    options = [f"{name.upper()}: {_plain(_shown(value))}" for name, value in found.written.items()]
    return "\n".join(["Fields", _RULE, *fields, "", *options, ""])


def type_text(kind: Type) -> str:
    """`array(struct(a bigint))`."""
    if kind.name == "array" and kind.of is not None:
        return f"array({type_text(kind.of)})"
    if kind.name == "struct":
        return f"struct({', '.join(f'{field.name} {type_text(field.type)}' for field in kind.fields)})"
    return kind.name


def _field(field: Field) -> JsonObject:
    return {"Name": field.name, "FieldType": _type(field.type)}


def _type(kind: Type) -> JsonObject:
    found: JsonObject = {"Type": TYPE_NUMBERS[kind.name]}
    if kind.of is not None:
        found["FieldType"] = _type(kind.of)
    if kind.name == "struct":
        found["StreamFields"] = [_field(field) for field in kind.fields]
    return found


def _schema(kind: Type) -> JsonObject:
    found: JsonObject = {"type": kind.name}
    if kind.of is not None:
        found["items"] = _schema(kind.of)
    if kind.name == "struct":
        found["properties"] = schema_json(kind.fields)
    return found


def _shown(value: object) -> object:
    """EXTRA as the text that it is, its passwords hidden."""
    return msgspec.json.encode(without_secrets(value)).decode() if isinstance(value, dict) else value


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
