"""For atheris: bytes as SQL, as its shape, and as payloads. Run by test_rules_fuzzing.py where atheris is."""

import sys

import atheris

with atheris.instrument_imports():
    from rules_sql_text import sql

    from opq_rules.errors import RuleError
    from opq_rules.sql.parse import parse, shape
    from opq_rules.sql.syntax import Create, Select
    from opq_rules.streams.decoding import StreamDecoder
    from opq_rules.streams.definition import definition_of

BEGINNINGS = ("", "SELECT ", "SELECT a FROM s WHERE ", "SELECT * FROM s GROUP BY ", "CREATE STREAM s (a ")
COLUMNS = '(a BIGINT, b STRUCT(c ARRAY(DATETIME)), d BYTEA) WITH (DATASOURCE="x", STRICT_VALIDATION="true"'


def decoder(options: str) -> StreamDecoder:
    create = parse(f"CREATE STREAM s {COLUMNS}{options})")
    assert isinstance(create, Create)
    return StreamDecoder(definition_of(create))


DECODERS = [
    decoder(options)
    for options in (
        "",
        ', FORMAT="delimited"',
        ', FORMAT="urlencoded"',
        ', FORMAT="protobuf", SCHEMAID="opqbox3.Measurement"',
    )
]


def one(raw: bytes) -> None:
    for each in DECODERS:
        each.decode([raw])
    text = BEGINNINGS[raw[0] % len(BEGINNINGS)] + raw[1:].decode(errors="replace") if raw else ""
    try:
        lifted = shape(text)
        tree = parse(text)
        if isinstance(tree, Create):
            definition_of(tree)
    except RuleError:
        return
    written = sql(tree)
    assert sql(parse(written)) == written, (text, written)
    if isinstance(tree, Select):
        assert shape(text.replace("\n", " \n")).literals == lifted.literals or "'" in text or '"' in text


atheris.Setup(sys.argv, one)
atheris.Fuzz()
