"""StreamDefinition: the meaning of a CREATE STREAM or TABLE, checked as a whole; the options in WITH (...);
and how it is shown to people and by REST. Source: docs/reference/rules.md, A.2, B and C.1.
"""

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

import msgspec

from opq_rules.connections.secrets import without_secrets
from opq_rules.errors import SQL_SYNTAX, STREAM, RuleError
from opq_rules.sql.syntax import ColumnType, Create, Field, TextPlace, Type
from opq_rules.streams.columns import KnownColumns
from opq_rules.streams.measurement_columns import WHOLE_COLUMNS
from opq_rules.values.batch import JsonObject
from opq_rules.values.types import of_column

FORMATS = ("json", "binary", "delimited", "urlencoded", "protobuf")
DEFAULT_TYPE = "mqtt"
"""TYPE of a stream that names none, as in eKuiper."""
DEFAULT_FORMAT = "json"
"""FORMAT of a stream that names none."""
DEFAULT_CONF_KEY = "default"
"""CONF_KEY of a stream that names none."""
WITHOUT_DATASOURCE = frozenset({"mock", "simulator", "httppush", "file"})
"""Source types that need no DATASOURCE."""


def _refused(message: str, at: TextPlace | None, hint: str | None = None) -> RuleError:
    line, column = (at.line, at.column) if at is not None else (None, None)
    return RuleError(message, SQL_SYNTAX, line=line, column=column, hint=hint)


def _text(value: str) -> str:
    if not value:
        raise ValueError("a text that is not empty")
    return value


def _any_text(value: str) -> str:
    return value


def _flag(value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise ValueError('"true" or "false"')
    return value.lower() == "true"


def _rows(value: str) -> int:
    if not value.isascii() or not value.isdigit() or len(value) > 9 or int(value) < 1:
        raise ValueError("a whole number of rows, from 1 to 999_999_999")
    return int(value)


def _one_of(*choices: str) -> Callable[[str], str]:
    by_lower = {choice.lower(): choice for choice in choices}

    def check(value: str) -> str:
        if value.lower() not in by_lower:
            raise ValueError(f"one of {', '.join(choices)}")
        return by_lower[value.lower()]

    return check


def _properties(value: str) -> Mapping[str, object]:
    try:
        found = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ValueError(f"a JSON object in text ({error})") from None
    if not isinstance(found, dict):
        raise ValueError("a JSON object in text")
    return found


def _option(name: str, read: Callable[[str], object], default: object = None) -> Any:
    """A field set in WITH (...). `read`: gives its value, or raises ValueError with what is wanted."""
    return field(default=default, metadata={"option": name, "read": read})


StreamKind = Literal["stream", "scan", "lookup"]
_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}(?:/[A-Za-z0-9_-]{1,128}){0,15}")
BOX_SOURCES = frozenset({"opqbox", "opqcrossing", "opqsilence", "opqwave", "recording"})
"""Source types whose columns are known."""
_TIMES = ("bigint", "float", "datetime", "string")
"""Types that a column of event time can have."""


@dataclass(frozen=True, slots=True)
class StreamDefinition:
    """`kind`: a stream, or a table that is kept (scan) or queried (lookup). `fields` None: schemaless.

    `written`: the options of the statement, names in lower case, values as read; `text`: the statement.
    """

    name: str
    kind: StreamKind
    fields: tuple[Field, ...] | None
    written: Mapping[str, object]
    text: str
    datasource: str = _option("DATASOURCE", _any_text, "")
    type: str = _option("TYPE", _text, DEFAULT_TYPE)
    format: str = _option("FORMAT", _one_of(*FORMATS), DEFAULT_FORMAT)
    schema_id: str | None = _option("SCHEMAID", _text)
    delimiter: str = _option("DELIMITER", _text, ",")
    key: str | None = _option("KEY", _text)
    conf_key: str = _option("CONF_KEY", _text, DEFAULT_CONF_KEY)
    extra: Mapping[str, object] = field(
        default_factory=dict, metadata={"option": "EXTRA", "read": _properties}
    )
    shared: bool = _option("SHARED", _flag, False)
    timestamp: str | None = _option("TIMESTAMP", _text)
    timestamp_format: str | None = _option("TIMESTAMP_FORMAT", _text)
    strict_validation: bool = _option("STRICT_VALIDATION", _flag, False)
    retain_size: int | None = _option("RETAIN_SIZE", _rows)
    """Rows that a scan table keeps; None: not given, which means 1, or all of a source that ends."""
    version: str = _option("VERSION", _any_text, "")
    temp: bool = _option("TEMP", _flag, False)
    buffer_full_policy: Literal["block", "dropOldest"] | None = _option(
        "BUFFER_FULL_POLICY", _one_of("block", "dropOldest")
    )

    known: KnownColumns | None = None
    """The columns that its source can have, where `fields` is None; None: any."""

    @property
    def whole_columns(self) -> frozenset[str] | None:
        """Undeclared columns that are BIGINT; None: all that contain whole numbers."""
        if self.format == "protobuf":  # its schema declares the types
            return None
        return WHOLE_COLUMNS if self.type in BOX_SOURCES else frozenset()

    @property
    def what(self) -> Literal["stream", "table"]:
        return "stream" if self.kind == "stream" else "table"


_FIELDS = {each.metadata["option"].lower(): each for each in fields(StreamDefinition) if each.metadata}
OPTIONS: dict[str, Callable[[str], object]] = {
    **{name.upper(): each.metadata["read"] for name, each in _FIELDS.items()},
    "KIND": _one_of("scan", "lookup"),
}
"""Name -> function that reads its value, or raises ValueError with what is wanted."""


def read_options(create: Create) -> JsonObject:
    """The checked options, by name in lower case. Raises RuleError with the option's place."""
    found: JsonObject = {}
    for name, value, at in create.options:
        reader = OPTIONS.get(name)
        if reader is None:
            near = difflib.get_close_matches(name, OPTIONS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(OPTIONS)}"
            raise _refused(f"unknown option {name}", at, hint)
        try:
            found[name.lower()] = reader(value)
        except ValueError as error:
            raise _refused(f"option {name} is {value[:80]!r}; want {error}", at) from None
    return found


def definition_of(create: Create) -> StreamDefinition:
    """Raises RuleError: an unknown option, a wrong value, options that do not fit together."""
    if not _NAME.fullmatch(create.name):
        wanted = "want 1 to 128 letters, digits, '_' or '-'"
        raise RuleError(f"{create.what} id {create.name[:128]!r} cannot be used: {wanted}", STREAM)
    found = read_options(create)
    places = {name.lower(): at for name, _, at in create.options}
    kind: StreamKind = "stream"
    if create.what == "table":
        kind = found.get("kind", "scan")
    values = {_FIELDS[name].name: value for name, value in found.items() if name in _FIELDS}
    values["timestamp"] = _timestamp(create, found, places)
    definition = StreamDefinition(create.name, kind, create.fields, found, create.text, **values)
    _go_together(definition, places)
    return definition


def check_replacement(old: StreamDefinition, new: StreamDefinition) -> None:
    """Raises RuleError where `new` cannot replace `old`."""
    if (old.name, old.what) != (new.name, new.what):
        raise RuleError(f"{old.what} {old.name} cannot be replaced by {new.what} {new.name}", STREAM)
    for name, before, after in (("SHARED", old.shared, new.shared), ("TEMP", old.temp, new.temp)):
        if before != after:
            change = f"{name} cannot change from {str(before).lower()} to {str(after).lower()}"
            raise RuleError(f"{old.what} {old.name}: {change}", STREAM, hint="drop it and create it again")
    if old.version and new.version <= old.version:
        wanted = f"VERSION is {new.version!r}; want a greater one than {old.version!r}"
        raise RuleError(f"{old.what} {old.name}: {wanted}", STREAM)


def _timestamp(create: Create, found: Mapping[str, object], places: Mapping[str, TextPlace]) -> str | None:
    """The column of event time, with its name as declared."""
    name = found.get("timestamp")
    if not isinstance(name, str):
        return None
    if create.fields is None:
        return name
    column = next((field for field in create.fields if field.name.lower() == name.lower()), None)
    if column is None:
        known = ", ".join(field.name for field in create.fields)
        raise _refused(f"TIMESTAMP column {name} is not among the columns", places["timestamp"], known)
    if column.type.name not in _TIMES:
        raise _refused(
            f"TIMESTAMP column {name} is {column.type.name.upper()}; want {', '.join(_TIMES).upper()}",
            places["timestamp"],
        )
    return column.name


def _go_together(found: StreamDefinition, places: Mapping[str, TextPlace]) -> None:
    if "datasource" not in found.written and found.type not in WITHOUT_DATASOURCE:
        raise _refused("option DATASOURCE is missing", None, f"it says where {found.type} finds {found.name}")
    if found.kind == "stream" and "kind" in found.written:
        raise _refused("KIND is an option of tables; leave it out for a stream", places["kind"])
    if found.kind == "lookup" and found.type == "memory" and found.key is None:
        raise _refused("a lookup table of TYPE memory needs the option KEY", None)
    if found.format == "protobuf":
        if found.schema_id is None:
            raise _refused("FORMAT protobuf needs the option SCHEMAID", None, "as schema.Message")
        if "." not in found.schema_id.strip("."):
            raise _refused(f"SCHEMAID is {found.schema_id!r}; want schema.Message", places["schemaid"])
    if found.format == "binary" and found.fields is not None and _binary_column(found.fields) is None:
        raise _refused("FORMAT binary wants one column of type BYTEA, or none", places["format"])


def _binary_column(fields: tuple[Field, ...]) -> str | None:
    return fields[0].name if len(fields) == 1 and fields[0].type.name == "bytea" else None


TYPE_NUMBERS: dict[str, int] = {name: number for number, name in enumerate(get_args(ColumnType), start=1)}
"""Numbers in the order of `ColumnType`, which is eKuiper's: 1 bigint to 8 struct."""
_RULE = "-" * 80


def as_json(found: StreamDefinition) -> JsonObject:
    """The answer of GET /streams/{name}."""
    return {
        "Name": found.name,
        "StreamFields": None if found.fields is None else [_field(field) for field in found.fields],
        "Options": {name: _shown(value) for name, value in found.written.items()},
        "Statement": None,
        "StreamType": 0 if found.kind == "stream" else 1,
    }


def detail_json(found: StreamDefinition) -> JsonObject:
    """One entry of GET /streamdetails."""
    return {"name": found.name, "type": found.type, "format": found.format}


def schema_json(fields: tuple[Field, ...] | None) -> JsonObject:
    """The answer of GET /streams/{name}/schema; {} where nothing is declared."""
    return {field.name: of_column(field.type).as_json() for field in fields or ()}


def as_text(found: StreamDefinition) -> str:
    """The text of `describe stream`: columns, then options."""
    fields = [f"{field.name}\t{type_text(field.type)}" for field in found.fields or ()]
    options = [f"{name.upper()}: {_plain(_shown(value))}" for name, value in found.written.items()]
    return "\n".join(["Fields", _RULE, *fields, "", *options, ""])


def type_text(kind: Type) -> str:
    """The type as text: `array(struct(a bigint))`."""
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


def _shown(value: object) -> object:
    """EXTRA as JSON text with its passwords hidden; other values unchanged."""
    return msgspec.json.encode(without_secrets(value)).decode() if isinstance(value, dict) else value


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
