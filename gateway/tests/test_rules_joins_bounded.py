"""A join has a bound: what is above it is an error of the window, and the rule goes on."""

from opq_rules.trying import run_case

DDL = 'CREATE STREAM {} () WITH (TYPE="memory", DATASOURCE="x", FORMAT="json")'


def test_a_large_cross_join_is_an_error() -> None:
    rows = [{"stream": name, "ts": 10, "data": {"v": k}} for name in "abc" for k in range(150)]
    few = [{"stream": name, "ts": 1_500, "data": {"v": 1}} for name in "abc"]
    emissions = run_case(
        {
            "stream_ddl": [DDL.format(name) for name in "abc"],
            "sql": "SELECT count(*) AS n FROM a CROSS JOIN b CROSS JOIN c GROUP BY TUMBLINGWINDOW(ss, 1)",
            "options": {"end_ms": 3_000, "sendError": True},
            "input": [*rows, *few],
        }
    )
    assert "more than 10000000 pairs, or 1000000 rows" in str(emissions[0])
    assert emissions[1:] == [[{"n": 1}]]
