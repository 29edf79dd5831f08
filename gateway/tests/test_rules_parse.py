"""SQL to a tree: every clause as it is documented, every error with its place and what is allowed."""

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rules_sql_text import expression_sql, parse_expression

from opq_rules.errors import SQL_SYNTAX, RuleError
from opq_rules.sql.parse import parse
from opq_rules.sql.syntax import (
    BinaryOperation,
    CaseExpression,
    Column,
    Create,
    ElementAt,
    FunctionCall,
    Literal,
    MemberOf,
    Named,
    Select,
    Show,
    Slice,
    Star,
    Statement,
    TextPlace,
    Unary,
)
from opq_rules.sql.tokens import MAX_CHARS


def select(text: str) -> Select:
    found = parse(text)
    assert isinstance(found, Select)
    return found


def create(text: str) -> Create:
    found = parse(text)
    assert isinstance(found, Create)
    return found


def refused(text: str) -> RuleError:
    with pytest.raises(RuleError) as caught:
        parse(text)
    assert caught.value.code == SQL_SYNTAX and caught.value.http == 400
    return caught.value


def test_a_filter_rule_is_read_with_places() -> None:
    found = select("SELECT box, v\nFROM demo\nWHERE v > 126.5")
    assert [item.text for item in found.items] == ["box", "v"]
    assert found.source.name == "demo" and found.source.at == TextPlace(2, 6)
    assert found.where == BinaryOperation(
        ">", Column("v", None, TextPlace(3, 7)), Literal(126.5, 0, TextPlace(3, 11)), TextPlace(3, 9)
    )
    assert found.window is None and found.limit is None


@pytest.mark.parametrize(
    ("text", "grouped"),
    [
        ("a OR b AND c", "a OR (b AND c)"),
        ("NOT a = b AND c", "(NOT (a = b)) AND c"),
        ("a + b * c - d", "(a + (b * c)) - d"),
        ("a & b + c | d ^ e", "(((a & b) + c) | d) ^ e"),
        ("-a[0] * b", "(-(a[0])) * b"),
        ("a % 2 = 0 OR b", "((a % 2) = 0) OR b"),
        ("a BETWEEN 1 + 1 AND 5 AND b", "(a BETWEEN (1 + 1) AND 5) AND b"),
        ("a NOT LIKE 'x%' OR b", "(a NOT LIKE 'x%') OR b"),
        ("a NOT IN (1, 2) AND b IN tags", "(a NOT IN (1, 2)) AND (b IN tags)"),
        ("NOT NOT a", "NOT (NOT a)"),
        ("- -5", "-(-5)"),
    ],
)
def test_operators_bind_as_documented(text: str, grouped: str) -> None:
    assert expression_sql(parse_expression(text)) == expression_sql(parse_expression(grouped))


def test_the_writer_puts_parentheses_only_where_needed() -> None:
    assert expression_sql(parse_expression("(a + b) * (c)")) == "(a + b) * c"
    assert expression_sql(parse_expression("((a OR b)) AND (c = (1))")) == "(a OR b) AND c = 1"


def test_a_dotted_name_is_a_column_first() -> None:
    """Of a known stream; otherwise it is a member."""
    found = select("SELECT d.x, a.b.c, d.e->f FROM demo AS d")
    column, member, deep = (item.expression for item in found.items)
    assert isinstance(column, Column) and (column.stream, column.name) == ("d", "x")
    assert isinstance(member, MemberOf) and isinstance(member.of, MemberOf) and member.name == "c"
    assert isinstance(deep, MemberOf) and isinstance(deep.of, Column) and deep.of.stream == "d"


def test_an_alias_keeps_the_streams_name() -> None:
    own, star = (item.expression for item in select("SELECT demo.x, demo.* FROM demo AS d").items)
    assert isinstance(own, Column) and own.stream == "d"
    assert isinstance(star, Star) and star.stream == "d"
    twice = select("SELECT s.x FROM s AS a CROSS JOIN s AS b").items[0].expression
    assert isinstance(twice, MemberOf)
    taken = select("SELECT s.x FROM s AS t CROSS JOIN t AS s").items[0].expression
    assert isinstance(taken, Column) and taken.stream == "s"


def test_arrays_are_indexed_and_sliced_with_open_ends() -> None:
    assert isinstance(parse_expression("a[-1]"), ElementAt)
    ends = [parse_expression(text) for text in ("a[1:2]", "a[:2]", "a[1:]", "a[:]", "a[n - 1:n]")]
    assert all(isinstance(each, Slice) for each in ends)
    assert [(each.start is None, each.end is None) for each in ends if isinstance(each, Slice)] == [
        (False, False),
        (True, False),
        (False, True),
        (True, True),
        (False, False),
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("1.0", 1.0),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("18446744073709551615", 2**64 - 1),
        ("TRUE", True),
        ("false", False),
        ("null", None),
        ("'it''s'", "it's"),
        (r"'it\'s'", "it's"),
        (r'"say \"a\""', 'say "a"'),
        (r"'{\"a\":1}'", r"{\"a\":1}"),
        (r"'10\%'", r"10\%"),
        (r"'a\\b\n'", "a\\b\n"),
        ("'Σ /* no comment */ -- none'", "Σ /* no comment */ -- none"),
    ],
)
def test_a_literal_says_its_value(text: str, value: Any) -> None:
    found = parse_expression(text)
    assert isinstance(found, Literal)
    assert found.value == value and type(found.value) is type(value)


def test_whole_and_fractional_numbers_stay_apart() -> None:
    whole, fraction = parse_expression("7"), parse_expression("7.0")
    assert isinstance(whole, Literal) and type(whole.value) is int
    assert isinstance(fraction, Literal) and type(fraction.value) is float


def test_a_minus_binds_after_a_comparison() -> None:
    behind = parse_expression("v > - 5")
    assert (
        isinstance(behind, BinaryOperation) and isinstance(behind.right, Literal) and behind.right.value == -5
    )
    elsewhere = parse_expression("v - 5 > w")
    assert (
        isinstance(elsewhere, BinaryOperation)
        and isinstance(elsewhere.left, BinaryOperation)
        and elsewhere.left.operator == "-"
    )
    assert isinstance(parse_expression("-5"), Unary)


def test_comments_are_blanks() -> None:
    plain = select("SELECT a FROM s WHERE a > 1")
    commented = select("SELECT /* b, */ a -- c\nFROM s /**/ WHERE a > /* - */ 1 -- end")
    assert commented.items[0].text == plain.items[0].text
    assert expression_sql(commented.where or Star(None, (), (), TextPlace(1, 1))) == "a > 1"


def test_items_have_aliases_and_may_be_invisible() -> None:
    items = select("SELECT a AS `x y`, a + 1 AS b INVISIBLE, count(*) INVISIBLE FROM s").items
    assert [(item.alias, item.invisible, item.text) for item in items] == [
        ("x y", False, "a"),
        ("b", True, "a + 1"),
        (None, True, "count(*)"),
    ]


def test_a_star_leaves_out_and_replaces() -> None:
    found = select("SELECT * EXCEPT(a, `b c`) REPLACE(v * 2 AS v), s.* FROM s").items
    first, second = found[0].expression, found[1].expression
    assert isinstance(first, Star) and first.leave_out == ("a", "b c") and first.replace[0][1] == "v"
    assert isinstance(second, Star) and second.stream == "s"


def test_calls_keep_name_filter_and_over() -> None:
    found = parse_expression("Lag(v, 1) OVER (PARTITION BY box, phase WHEN v > 0)")
    assert isinstance(found, FunctionCall) and (found.name, found.written) == ("lag", "Lag")
    assert found.over is not None and len(found.over.partition_by) == 2 and found.over.when is not None
    counted = parse_expression("count(*) FILTER (WHERE v > 0)")
    assert (
        isinstance(counted, FunctionCall)
        and isinstance(counted.arguments[0], Star)
        and counted.filter is not None
    )


def test_case_has_both_forms() -> None:
    searched, compared = (
        parse_expression("CASE WHEN a THEN 1 ELSE 2 END"),
        parse_expression("CASE a WHEN 1 THEN 'x' WHEN 2 THEN 'y' END"),
    )
    assert isinstance(searched, CaseExpression) and searched.of is None and searched.otherwise is not None
    assert isinstance(compared, CaseExpression) and len(compared.whens) == 2 and compared.otherwise is None


def test_reserved_words_work_in_backticks() -> None:
    found = select("SELECT `from`, a->end, limit, filter, right FROM s")
    assert isinstance(found.items[0].expression, Column) and found.items[0].expression.name == "from"
    assert isinstance(found.items[1].expression, MemberOf) and found.items[1].expression.name == "end"
    assert [item.text for item in found.items[2:]] == ["limit", "filter", "right"]


def test_joins_of_every_kind() -> None:
    found = select(
        "SELECT * FROM demo AS a INNER JOIN b ON a.i = b.i LEFT JOIN c ON a.i = c.i"
        " RIGHT JOIN d ON a.i = d.i FULL JOIN e ON a.i = e.i"
        " CROSS JOIN f JOIN `g h` ON TRUE GROUP BY TUMBLINGWINDOW(ss, 1)"
    )
    assert found.source.stream == "demo" and found.source.name == "a"
    assert [(join.kind, join.source.name) for join in found.joins] == [
        ("INNER", "b"),
        ("LEFT", "c"),
        ("RIGHT", "d"),
        ("FULL", "e"),
        ("CROSS", "f"),
        ("INNER", "g h"),
    ]
    on = found.joins[0].on
    assert isinstance(on, BinaryOperation) and isinstance(on.left, Column) and on.left.stream == "a"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("TUMBLINGWINDOW(ss, 10)", {"kind": "tumbling", "length_ms": 10_000, "unit": "SS"}),
        ("tumblingwindow(DD, 2)", {"kind": "tumbling", "length_ms": 172_800_000, "unit": "DD"}),
        ("HOPPINGWINDOW(mi, 2, 1)", {"kind": "hopping", "length_ms": 120_000, "hop_ms": 60_000}),
        ("SLIDINGWINDOW(ms, 500)", {"kind": "sliding", "length_ms": 500, "delay_ms": 0}),
        ("SLIDINGWINDOW(hh, 1, 2)", {"kind": "sliding", "length_ms": 3_600_000, "delay_ms": 7_200_000}),
        ("SESSIONWINDOW(ss, 10, 2)", {"kind": "session", "length_ms": 10_000, "timeout_ms": 2_000}),
        ("COUNTWINDOW(5)", {"kind": "count", "count": 5, "every": 5}),
        ("COUNTWINDOW(5, 2)", {"kind": "count", "count": 5, "every": 2}),
        ("CYCLEWINDOW(12)", {"kind": "cycle", "count": 12}),
    ],
)
def test_windows(text: str, expected: dict[str, Any]) -> None:
    found = select(f"SELECT count(*) FROM s GROUP BY box, {text}, phase")
    assert len(found.group_by) == 2 and found.window is not None
    assert {key: getattr(found.window, key) for key in expected} == expected


def test_windows_take_filter_over_and_state_conditions() -> None:
    sliding = select(
        "SELECT a FROM s GROUP BY SLIDINGWINDOW(ss, 1) FILTER(WHERE a > 1) OVER(WHEN a > 2)"
    ).window
    assert sliding is not None and sliding.filter is not None and sliding.when is not None
    state = select("SELECT a FROM s GROUP BY STATEWINDOW(a > 1, a < 1) OVER (PARTITION BY k)").window
    assert (
        state is not None
        and state.begin is not None
        and state.end is not None
        and len(state.partition_by) == 1
    )
    one = select("SELECT a FROM s GROUP BY STATEWINDOW(a > 1)").window
    assert one is not None and one.begin is not None and one.end is None


def test_the_rest_of_select() -> None:
    found = select("SELECT a FROM s GROUP BY b HAVING count(*) > 1 ORDER BY a DESC, b ASC, c LIMIT 3;")
    assert [key.descending for key in found.order_by] == [True, False, False]
    assert found.limit == 3 and found.having is not None


def test_create_reads_columns_options_and_trailing_commas() -> None:
    found = create(
        "CREATE STREAM demo (id BIGINT DEFAULT -5, name string DEFAULT 'x', f FLOAT DEFAULT 1,"
        " ok BOOLEAN DEFAULT true, at DATETIME, raw BYTEA, tags ARRAY(STRING),"
        " o STRUCT(a BIGINT, deep STRUCT(b ARRAY(FLOAT)),),)"
        " WITH (datasource='boxes/+', FORMAT=\"json\", RETAIN_SIZE=5, STRICT_VALIDATION=TRUE,)"
    )
    assert found.fields is not None
    assert [field.type.name for field in found.fields] == [
        *("bigint", "string", "float", "boolean", "datetime", "bytea", "array", "struct")
    ]
    assert [field.default for field in found.fields[:4]] == [-5, "x", 1.0, True]
    assert type(found.fields[2].default) is float
    assert found.fields[6].type.of is not None and found.fields[6].type.of.name == "string"
    assert [option[:2] for option in found.options] == [
        ("DATASOURCE", "boxes/+"),
        ("FORMAT", "json"),
        ("RETAIN_SIZE", "5"),
        ("STRICT_VALIDATION", "true"),
    ]


@pytest.mark.parametrize("columns", ["()", "", "( )"])
def test_a_stream_without_columns_is_schemaless(columns: str) -> None:
    assert create(f'CREATE TABLE t {columns} WITH (DATASOURCE="x")').fields is None


def test_the_small_statements() -> None:
    expected: dict[str, Statement] = {
        "show streams": Show("streams"),
        "SHOW TABLES;": Show("tables"),
        "DESCRIBE STREAM demo": Named("describe", "stream", "demo"),
        "DROP TABLE `t 1`": Named("drop", "table", "t 1"),
        "EXPLAIN STREAM s": Named("explain", "stream", "s"),
    }
    assert {text: parse(text) for text in expected} == expected


@pytest.mark.parametrize(
    ("text", "line", "column", "says"),
    [
        ("", 1, 1, "found the end, want SELECT, CREATE"),
        ("SELEC a FROM s", 1, 1, "did you mean SELECT"),
        ("SELECT a FORM s", 1, 10, "did you mean FROM for FORM"),
        ("SELECT a FROM s WHERE a LIKE 'x' ESCAPE '!'", 1, 34, "ESCAPE is not supported; a backslash"),
        ("SELECT a\nFROM s\nWHERE a >", 3, 10, "found the end, want a column"),
        ("SELECT a FROM s WHRE a", 1, 17, "did you mean WHERE"),
        ("SELECT a,, b FROM s", 1, 10, "found ,, want a column"),
        ("SELECT a b FROM s", 1, 10, "found b, want an operator, a comma, AS"),
        ("SELECT * AS x FROM s", 1, 10, "* cannot be followed by AS"),
        ("SELECT * + 1 FROM s", 1, 10, "found +, want"),
        ("SELECT a + * FROM s", 1, 12, "write * alone"),
        ("SELECT t.* FROM s", 1, 8, "t is not a stream of FROM"),
        ("SELECT a FROM", 1, 14, "found the end, want the name of a stream"),
        ("SELECT a FROM 'demo'", 1, 15, "quotes make a text"),
        ("SELECT order FROM s", 1, 8, "found order, want a column"),
        ("SELECT a AS order FROM s", 1, 13, "ORDER is reserved; write it in backticks to use it as a name"),
        ("SELECT a FROM s x", 1, 17, "found x, want AS, JOIN"),
        ("SELECT a FROM s, t", 1, 16, "found a comma, want JOIN"),
        ("SELECT a FROM s CROSS JOIN t ON a = b", 1, 30, "ON cannot follow CROSS JOIN"),
        ("SELECT a FROM s INNER JOIN t", 1, 29, "ON after INNER JOIN"),
        ("SELECT a FROM s INNER JOIN s ON TRUE", 1, 28, "s is there twice"),
        ("SELECT a FROM s LIMIT -1", 1, 23, "a whole number of at least 0"),
        ("SELECT a FROM s LIMIT 1.5", 1, 23, "found 1.5"),
        ("SELECT f(a FROM s", 1, 12, "found FROM, want an operator, a comma or )"),
        ("SELECT (a FROM s", 1, 11, "found FROM, want an operator or )"),
        ("SELECT CASE a END FROM s", 1, 15, "a CASE has at least one"),
        ("SELECT a FROM s WHERE a IN ()", 1, 29, "found ), want a column"),
        ("SELECT a FROM s WHERE a IN -0", 1, 28, "( and values, or a column that is an array"),
        ("SELECT a FROM s WHERE a IN 'x'", 1, 28, "( and values, or a column that is an array"),
        ("SELECT a FROM s WHERE a NOT b", 1, 29, "IN, BETWEEN or LIKE after NOT"),
        ("SELECT a FROM s WHERE a BETWEEN 1", 1, 34, "AND; it is BETWEEN low AND high"),
        ("SELECT a[] FROM s", 1, 10, "found ], want a column"),
        ("SELECT a-> FROM s WHERE", 1, 17, "found s, want"),
        ("SELECT a FROM s; SELECT b FROM s", 1, 18, "a second statement"),
        ("SELECT 'abc FROM s", 1, 8, "a text was begun and not closed"),
        ("SELECT a FROM s /* x", 1, 17, "a comment was begun and not closed"),
        ("SELECT `a FROM s", 1, 8, "a name in backticks was begun"),
        ("SELECT 1a FROM s", 1, 8, "a name begins with a letter"),
        ("SELECT a FROM s WHERE b = $1", 1, 27, "found '$'"),
        ("SELECT 99999999999999999999 FROM s", 1, 8, "at most 64 bits"),
        ("SELECT 1e999 FROM s", 1, 8, "a float holds at most"),
        ("SELECT a FROM s GROUP BY TUMBLINGWINDOW('ss', 10)", 1, 41, "write units bare, without quotes"),
        ("SELECT a FROM s GROUP BY TUMBLINGWINDOW(days, 1)", 1, 41, "want a unit: DD, HH, MI, SS or MS"),
        ("SELECT a FROM s GROUP BY TUMBLINGWINDOW(ss, 0)", 1, 45, "at least 1"),
        ("SELECT a FROM s GROUP BY TUMBLINGWINDOW(ss, 1, 2)", 1, 46, "TUMBLINGWINDOW(unit, length)"),
        ("SELECT a FROM s GROUP BY TUMBLINGWINDOW(ss)", 1, 43, "and the length"),
        ("SELECT a FROM s GROUP BY HOPPINGWINDOW(ss, 1)", 1, 45, "and the hop"),
        (
            "SELECT a FROM s GROUP BY SLIDINGWINDOW(ss, 1, 2, 3)",
            1,
            48,
            "SLIDINGWINDOW(unit, length [, delay])",
        ),
        ("SELECT a FROM s GROUP BY SESSIONWINDOW(ss, 1)", 1, 45, "and the timeout"),
        ("SELECT a FROM s GROUP BY COUNTWINDOW(3, 5)", 1, 41, "found 5, want at most 3"),
        ("SELECT a FROM s GROUP BY COUNTWINDOW(n)", 1, 38, "a whole number"),
        ("SELECT a FROM s GROUP BY STATEWINDOW()", 1, 38, "a condition"),
        ("SELECT a FROM s GROUP BY CYCLEWINDOW(11)", 1, 38, "want 10, 12, 150, 180 cycles"),
        ("SELECT a FROM s GROUP BY COUNTWINDOW(3), COUNTWINDOW(4)", 1, 42, "a second window"),
        ("SELECT a FROM s GROUP BY COUNTWINDOW(3) OVER (WHEN a)", 1, 41, "only after SLIDINGWINDOW"),
        (
            "SELECT a FROM s GROUP BY SLIDINGWINDOW(ss, 3) OVER (PARTITION BY a)",
            1,
            47,
            "only after STATEWINDOW",
        ),
        ("SELECT TUMBLINGWINDOW(ss, 10) FROM s", 1, 8, "TUMBLINGWINDOW is allowed only in GROUP BY"),
        ("SELECT a FROM s WHERE 1 + COUNTWINDOW(3) > 1", 1, 27, "COUNTWINDOW is allowed only in GROUP BY"),
        ("CREATE VIEW v", 1, 8, "want STREAM or TABLE"),
        ('CREATE STREAM s (a INT) WITH (A="b")', 1, 20, "BIGINT, FLOAT, STRING"),
        ('CREATE STREAM s (a STRNG) WITH (A="b")', 1, 20, "did you mean STRING"),
        ('CREATE STREAM s (a ARRAY) WITH (A="b")', 1, 25, "ARRAY(FLOAT)"),
        ('CREATE STREAM s (a BIGINT, A FLOAT) WITH (A="b")', 1, 28, "column A is there twice"),
        ('CREATE STREAM s (a BIGINT DEFAULT "x") WITH (A="b")', 1, 35, "a BIGINT constant after DEFAULT"),
        ('CREATE STREAM s (a BIGINT DEFAULT 1.5) WITH (A="b")', 1, 35, "a BIGINT constant"),
        ('CREATE STREAM s (a BOOLEAN DEFAULT -true) WITH (A="b")', 1, 37, "a BOOLEAN constant"),
        ('CREATE STREAM s (a BYTEA DEFAULT "x") WITH (A="b")', 1, 34, "takes no DEFAULT"),
        ("CREATE STREAM s (a BIGINT", 1, 26, "DEFAULT, a comma or )"),
        ("CREATE STREAM s (a BIGINT)", 1, 27, "WITH"),
        ("CREATE STREAM s () WITH (A=b)", 1, 28, "a text in quotes"),
        ('CREATE STREAM s () WITH (A "b")', 1, 28, '= after A; it is A="value"'),
        ('CREATE STREAM s () WITH (A="b", a="c")', 1, 33, "option A is there twice"),
        ("SHOW RULES", 1, 6, "STREAMS or TABLES"),
        ("DROP STREAM", 1, 12, "the name of the stream"),
        ("SELECT a FROM demo/x", 1, 19, "a stream's name has letters"),
    ],
)
def test_an_error_names_place_found_and_allowed(text: str, line: int, column: int, says: str) -> None:
    error = refused(text)
    assert says in str(error)
    assert (error.line, error.column) == (line, column)


def test_a_word_is_not_told_to_mean_itself() -> None:
    assert refused("SELECT * EXCEPT a FROM s").hint is None


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("SELECT a FROM s UNION SELECT b FROM t", "UNION"),
        ("SELECT a FROM s INTERSECT SELECT b FROM t", "INTERSECT"),
        ("INSERT INTO t VALUES (1)", "INSERT"),
        ("UPDATE t SET a = 1", "UPDATE"),
        ("delete from t", "DELETE"),
        ("ALTER STREAM s", "ALTER"),
        ("WITH a AS (SELECT b FROM s) SELECT b FROM a", "WITH"),
        ("SELECT DISTINCT a FROM s", "DISTINCT"),
        ("SELECT DISTINCT * FROM s", "DISTINCT"),
        ("SELECT sum(DISTINCT a) FROM s", "DISTINCT"),
        ("SELECT a FROM (SELECT b FROM s)", "a SELECT within a SELECT"),
        ("SELECT a FROM s WHERE a IN (SELECT b FROM t)", "a SELECT within a SELECT"),
        ("SELECT (SELECT a FROM t) FROM s", "a SELECT within a SELECT"),
        ("SELECT a FROM s WHERE a IS NULL", "IS"),
        ("SELECT a FROM s LIMIT 1 OFFSET 2", "OFFSET"),
        ("SELECT CAST(a AS int) FROM s", "CAST"),
        ("SELECT a FROM s WHERE a == 1", "=="),
        ("SELECT a FROM s WHERE a && b", "&&"),
        ("SELECT a FROM s WHERE !a", "!"),
        ("SELECT a FROM s JOIN t USING (b)", "USING"),
    ],
)
def test_foreign_sql_is_refused_with_the_way(text: str, word: str) -> None:
    error = refused(text)
    assert error.message.startswith(word) and "is not supported" in error.message
    assert error.hint and error.line == 1


def test_depth_and_length_are_bounded_by_an_error() -> None:
    for text in (
        "(" * 5000 + "1" + ")" * 5000,
        "- " * 5000 + "1",
        "NOT " * 5000 + "a",
        "f(" * 5000,
    ):
        assert "nested" in refused(f"SELECT {text} FROM s").message
    assert "operators deep" in refused("SELECT " + "a + " * 5000 + "a FROM s").message
    assert "operators deep" in refused("SELECT a" + "[0]" * 5000 + " FROM s").message
    wide = ", ".join(f"a{index}" for index in range(5000))
    assert len(select(f"SELECT {wide} FROM s").items) == 5000
    assert "characters" in refused("SELECT '" + "x" * MAX_CHARS + "' FROM s").message
    nested = "ARRAY(" * 1000 + "FLOAT" + ")" * 1000
    assert "nested" in refused(f"CREATE STREAM s (a {nested}) WITH ()").message


def test_no_text_takes_quadratic_time() -> None:
    """The longest texts, of pieces that a scanner may begin again and again; tests have a time limit."""
    for piece in (
        "/*",
        "'\\",
        "`",
        "\\'",
        '""',
        "-- ",
        "> ",
        "> - ",
        "FROM a ",
        "a.",
        "a(",
        "[",
        "NOT ",
        "\n",
    ):
        with pytest.raises(RuleError):
            parse("SELECT " + piece * (MAX_CHARS // len(piece) - 10))
    distinct = " ".join(f"FROM a{index}" for index in range(9_000))
    with pytest.raises(RuleError):
        parse("SELECT " + distinct)


PIECES = """
    SELECT FROM WHERE GROUP BY HAVING ORDER LIMIT JOIN INNER LEFT CROSS ON AND OR NOT IN LIKE BETWEEN CASE
    WHEN THEN ELSE END AS INVISIBLE EXCEPT REPLACE FILTER OVER PARTITION CREATE STREAM TABLE WITH DEFAULT
    ARRAY STRUCT BIGINT TUMBLINGWINDOW COUNTWINDOW STATEWINDOW ss a b s demo count ( ) [ ] , . -> : ;
    * + - / % & | ^ = != < <= > >= 1 2.5 'x' "y" `z` TRUE NULL SHOW STREAMS DROP DESCRIBE /* */ -- ' " ` \\
"""
WORDS = st.sampled_from([*PIECES.split(), "\n"])


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.text(max_size=200), st.lists(WORDS, max_size=60).map(" ".join)))
@example("SELECT \ud800 FROM s")
@example("SELECT a FROM s WHERE a > '\ud800'")
@example("SELECT \0 FROM s")
def test_any_text_gives_only_rule_errors(text: str) -> None:
    try:
        parse(text)
    except RuleError as error:
        assert error.code == SQL_SYNTAX
        lines = text.split("\n")
        if error.line is not None and error.column is not None:
            assert 1 <= error.line <= len(lines)
            assert 1 <= error.column <= len(lines[error.line - 1]) + 1


@pytest.mark.parametrize(
    "condition",
    [
        "v != NULL", "v = null", "NULL <> v", "v <= (NULL)", "v IN (1, NULL)", "v NOT IN (NULL)",
        "v LIKE NULL", "v BETWEEN NULL AND 3", "v NOT BETWEEN 1 AND NULL", "n > 3 AND NOT (v = NULL)",
        "CASE v WHEN NULL THEN 1 ELSE 2 END = 1",
    ],
)  # fmt: skip
def test_a_comparison_with_null_is_refused(condition: str) -> None:
    for text in (f"SELECT n FROM d WHERE {condition}", f"SELECT {condition} AS c FROM d"):
        with pytest.raises(RuleError, match="with NULL is never true") as found:
            parse(text)
        assert found.value.hint == "write isNull(x) or NOT isNull(x)"


def test_null_is_a_value_elsewhere() -> None:
    for text in ("coalesce(a, NULL)", "CASE WHEN isNull(v) THEN NULL ELSE v END", "isNull(NULL)", "v + NULL"):
        select(f"SELECT {text} AS c FROM d")
