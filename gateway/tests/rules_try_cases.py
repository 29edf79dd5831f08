"""Cases for `rule try`: statements of streams, and records some milliseconds after a fixed start."""

from typing import Any

from opq_rules.trying import try_cases

S = 'CREATE STREAM s () WITH (DATASOURCE="s", TYPE="mock", FORMAT="json")'
R = 'CREATE STREAM r () WITH (DATASOURCE="r", TYPE="mock", FORMAT="json")'
EVENT = 'CREATE STREAM s () WITH (DATASOURCE="s", TYPE="mock", TIMESTAMP="t")'
EVENT_R = 'CREATE STREAM r () WITH (DATASOURCE="r", TYPE="mock", TIMESTAMP="t")'
TABLE = 'CREATE TABLE tab () WITH (DATASOURCE="tab", TYPE="mock")'
LOOKUP = 'CREATE TABLE tab () WITH (DATASOURCE="tab", TYPE="memory", KIND="lookup", KEY="id")'
COLLECTED = "collect(v) AS v, window_start() AS a, window_end() AS z"
START = 1_700_000_000_000  # 22:13:20 UTC


def case(
    sql: str,
    *records: tuple[int, dict[str, Any]] | tuple[int, dict[str, Any], str],
    ddl: tuple[str, ...] = (S,),
    tables: dict[str, Any] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """`records`: (ms behind START, data[, stream])."""
    given = [
        {"stream": more[0] if more else "s", "ts": START + ms, "data": data} for ms, data, *more in records
    ]
    found: dict[str, Any] = {
        "name": "it",
        "stream_ddl": list(ddl),
        "sql": sql,
        "options": options,
        "input": given,
    }
    return found | ({"tables": tables} if tables else {})


def emissions(*args: Any, **options: Any) -> Any:
    answer = try_cases(case(*args, **options))
    assert "emissions" in answer, answer
    return answer["emissions"]


def refusal(sql: str, **options: Any) -> dict[str, Any]:
    answer = try_cases(case(sql, **options))
    assert "error" in answer, answer
    found: dict[str, Any] = answer["error"]
    return found


def values(*numbers: float | None, every_ms: int = 100) -> list[tuple[int, dict[str, Any]]]:
    """Records v, 100 ms apart; None leaves v out."""
    return [(i * every_ms, {} if v is None else {"v": v}) for i, v in enumerate(numbers)]


def one(data: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    return (0, data)
