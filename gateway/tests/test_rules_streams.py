"""CREATE to a definition: defaults, options that are refused, the forms in which it is told."""

import pytest

from opq_rules.errors import SQL_SYNTAX, STREAM, RuleError
from opq_rules.sql.parse import parse
from opq_rules.sql.syntax import Create
from opq_rules.streams.definition import (
    StreamDefinition,
    as_json,
    as_text,
    check_replacement,
    definition_of,
    detail_json,
    schema_json,
)
from opq_rules.streams.protobuf import MESSAGES, message_class


def defined(text: str) -> StreamDefinition:
    found = parse(text)
    assert isinstance(found, Create)
    return definition_of(found)


def refused(text: str) -> RuleError:
    with pytest.raises(RuleError) as caught:
        defined(text)
    assert caught.value.http == 400
    return caught.value


def test_what_is_not_said_has_the_documented_default() -> None:
    found = defined('CREATE STREAM demo () WITH (DATASOURCE="boxes/+")')
    assert (found.type, found.format, found.conf_key, found.delimiter) == ("mqtt", "json", "default", ",")
    assert (found.kind, found.what, found.fields) == ("stream", "stream", None)
    assert not (found.shared or found.temp or found.strict_validation)
    assert (found.retain_size, found.timestamp, found.buffer_full_policy) == (None, None, None)
    assert found.version == "" and dict(found.extra) == {}


def test_every_option_ignores_case() -> None:
    found = defined(
        "CREATE TABLE t (ID BIGINT, at DATETIME) WITH (datasource='x', Type='sql', format='DELIMITED',"
        " delimiter='\\t', key='id', conf_key='other', extra='{\"a\":{\"b\":1}}', shared='TRUE',"
        " timestamp='AT', timestamp_format='yyyy', strict_validation='true', retain_size='5',"
        " kind='LOOKUP', version='v2', temp='false', buffer_full_policy='dropoldest')"
    )
    assert (found.kind, found.what, found.type, found.format) == ("lookup", "table", "sql", "delimited")
    assert (found.delimiter, found.key, found.conf_key, found.extra) == ("\t", "id", "other", {"a": {"b": 1}})
    assert (found.shared, found.temp, found.strict_validation) == (True, False, True)
    assert (found.timestamp, found.timestamp_format) == ("at", "yyyy")
    assert (found.retain_size, found.version, found.buffer_full_policy) == (5, "v2", "dropOldest")


@pytest.mark.parametrize(
    ("text", "column", "says"),
    [
        ('CREATE STREAM s () WITH (DATASORCE="x")', 26, "unknown option DATASORCE; did you mean DATASOURCE?"),
        ('CREATE STREAM s () WITH (DATASOURCE="x", ODD="y")', 42, "there are DATASOURCE, TYPE, FORMAT"),
        ('CREATE STREAM s () WITH (FORMAT="json")', None, "DATASOURCE is missing"),
        ('CREATE STREAM s () WITH (DATASOURCE="x", FORMAT="jsn")', 42, "'jsn'; want one of json, binary"),
        ('CREATE STREAM s () WITH (DATASOURCE="x", SHARED="yes")', 42, 'want "true" or "false"'),
        ('CREATE STREAM s () WITH (DATASOURCE="x", STRICT_VALIDATION="1")', 42, 'want "true" or "false"'),
        ('CREATE STREAM s () WITH (DATASOURCE="x", RETAIN_SIZE="0")', 42, "a whole number of rows"),
        ('CREATE STREAM s () WITH (DATASOURCE="x", RETAIN_SIZE="²")', 42, "a whole number of rows"),
        ('CREATE STREAM s () WITH (DATASOURCE="x", EXTRA="{")', 42, "a JSON object in text"),
        ('CREATE STREAM s () WITH (DATASOURCE="x", EXTRA="[1]")', 42, "a JSON object in text"),
        ('CREATE STREAM s () WITH (DATASOURCE="x", KIND="scan")', 42, "KIND is an option of tables"),
        ('CREATE TABLE s () WITH (DATASOURCE="x", KIND="held")', 41, "one of scan, lookup"),
        (
            'CREATE TABLE s () WITH (DATASOURCE="x", TYPE="memory", KIND="lookup")',
            None,
            "needs the option KEY",
        ),
        (
            'CREATE STREAM s () WITH (DATASOURCE="x", BUFFER_FULL_POLICY="wait")',
            42,
            "one of block, dropOldest",
        ),
        ('CREATE STREAM s () WITH (DATASOURCE="x", FORMAT="protobuf")', None, "needs the option SCHEMAID"),
        (
            'CREATE STREAM s () WITH (DATASOURCE="x", FORMAT="protobuf", SCHEMAID="B")',
            61,
            "SCHEMAID is 'B'; want schema.Message",
        ),
        ('CREATE STREAM s (a BIGINT) WITH (DATASOURCE="x", TIMESTAMP="ts")', 50, "not among the columns; a"),
        (
            'CREATE STREAM s (a BYTEA) WITH (DATASOURCE="x", TIMESTAMP="a")',
            49,
            "is BYTEA; want BIGINT, FLOAT",
        ),
        ('CREATE STREAM s (a FLOAT) WITH (DATASOURCE="x", FORMAT="binary")', 49, "one column of type BYTEA"),
        ('CREATE STREAM s () WITH (DATASOURCE="x", TYPE="")', 42, "a text that is not empty"),
    ],
)
def test_an_impossible_option_names_its_place(text: str, column: int | None, says: str) -> None:
    error = refused(text)
    assert says in str(error) and error.code == SQL_SYNTAX
    assert error.column == column and (error.line is None) == (column is None)


@pytest.mark.parametrize("name", ["`../x`", "`a b`", "`a.b`", "`ü`", "`/a`", "`a//b`", "a" * 129])
def test_a_name_that_is_no_id_is_refused(name: str) -> None:
    error = refused(f'CREATE STREAM {name} () WITH (DATASOURCE="x")')
    assert error.code == STREAM and "cannot be used" in error.message


def test_names_have_no_slash() -> None:
    with pytest.raises(RuleError, match="found /"):
        defined('CREATE STREAM a/b () WITH (DATASOURCE="x")')
    assert defined('CREATE STREAM s () WITH (TYPE="mock")').datasource == ""


TYPED = (
    "CREATE STREAM demo (id BIGINT, name STRING, tags ARRAY(STRING),"
    " o STRUCT(a FLOAT, b ARRAY(BOOLEAN)), e STRUCT())"
    ' WITH (DATASOURCE="x", SHARED="true", RETAIN_SIZE="3",'
    ' EXTRA=\'{"password":"secret","n":{"Token":"t"}}\')'
)


def test_the_form_of_rest() -> None:
    found = as_json(defined(TYPED))
    assert found == {
        "Name": "demo",
        "StreamFields": [
            {"Name": "id", "FieldType": {"Type": 1}},
            {"Name": "name", "FieldType": {"Type": 3}},
            {"Name": "tags", "FieldType": {"Type": 7, "FieldType": {"Type": 3}}},
            {
                "Name": "o",
                "FieldType": {
                    "Type": 8,
                    "StreamFields": [
                        {"Name": "a", "FieldType": {"Type": 2}},
                        {"Name": "b", "FieldType": {"Type": 7, "FieldType": {"Type": 6}}},
                    ],
                },
            },
            {"Name": "e", "FieldType": {"Type": 8, "StreamFields": []}},
        ],
        "Options": {
            "datasource": "x",
            "shared": True,
            "retain_size": 3,
            "extra": '{"password":"******","n":{"Token":"******"}}',
        },
        "Statement": None,
        "StreamType": 0,
    }
    table = as_json(defined('CREATE TABLE t () WITH (DATASOURCE="x", TYPE="file")'))
    assert (table["StreamType"], table["StreamFields"]) == (1, None)
    assert detail_json(defined(TYPED)) == {"name": "demo", "type": "mqtt", "format": "json"}


def test_the_form_of_the_schema() -> None:
    assert schema_json(defined(TYPED).fields) == {
        "id": {"type": "bigint"},
        "name": {"type": "string"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "o": {
            "type": "struct",
            "properties": {"a": {"type": "float"}, "b": {"type": "array", "items": {"type": "boolean"}}},
        },
        "e": {"type": "struct", "properties": {}},
    }
    assert schema_json(None) == {}


def test_the_form_for_people_hides_passwords() -> None:
    lines = as_text(defined(TYPED)).split("\n")
    assert lines[0] == "Fields" and set(lines[1]) == {"-"}
    assert lines[2:7] == [
        "id\tbigint",
        "name\tstring",
        "tags\tarray(string)",
        "o\tstruct(a float, b array(boolean))",
        "e\tstruct()",
    ]
    assert lines[7:11] == ["", "DATASOURCE: x", "SHARED: true", "RETAIN_SIZE: 3"]
    assert "secret" not in as_text(defined(TYPED))


def test_a_replacement_rises_in_version() -> None:
    def version(options: str, what: str = "STREAM") -> StreamDefinition:
        return defined(f'CREATE {what} s () WITH (DATASOURCE="x"{options})')

    check_replacement(version(""), version(', FORMAT="binary"'))
    check_replacement(version(', VERSION="1"'), version(', VERSION="2"'))
    check_replacement(version(""), version(', VERSION="1"'))
    for old, new in (
        (version(""), version(', SHARED="true"')),
        (version(', TEMP="true"'), version("")),
        (version(', VERSION="2"'), version(', VERSION="1"')),
        (version(', VERSION="2"'), version(', VERSION="2"')),
        (version(', VERSION="2"'), version("")),
        (version(""), version("", "TABLE")),
    ):
        with pytest.raises(RuleError) as caught:
            check_replacement(old, new)
        assert caught.value.code == STREAM


def test_built_in_schemas_are_those_of_boxes() -> None:
    assert {"opqbox3.Measurement", "opq.TriggerMessage", "mauka.Measurement"} <= set(MESSAGES)
    with pytest.raises(ValueError, match=r"unknown schema opq\.No; there are mauka\."):
        message_class("opq.No")
