"""A rule over records of the past, with the query that runs live; records move its clock."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from opq_rules.engine.definitions.rule_definition import options
from opq_rules.errors import RuleError
from opq_rules.query.planning.select_plan import plan
from opq_rules.query.query import Query
from opq_rules.query.query_run import QueryCounters, RuleFacts
from opq_rules.sql.parse import parse
from opq_rules.sql.syntax import Create, Select
from opq_rules.streams.decoding import StreamDecoder
from opq_rules.streams.definition import definition_of
from opq_rules.values.batch import Batch, Emission, Row


@dataclass(frozen=True, slots=True)
class BacktestRule:
    sql: str
    options: dict[str, Any]


def fired(rule: BacktestRule, rows: Iterable[Row], counted: QueryCounters) -> Iterator[tuple[int, Emission]]:
    """Yields (Unix ms of the record or timer, emission); `counted` gets the query's counters at the end.

    Raises RuleError: the rule cannot be planned.
    """
    select = parse(rule.sql)
    if not isinstance(select, Select) or select.joins:
        raise RuleError("a backtest takes a SELECT FROM one stream of Measurements")
    stream = select.source.stream
    stream_options = 'DATASOURCE="*", TYPE="opqbox", TIMESTAMP="timestamp_ms"'
    created = parse(f"CREATE STREAM `{stream}` () WITH ({stream_options})")
    assert isinstance(created, Create)
    definition = definition_of(created)
    planned = plan(select, {stream: definition})
    decoder = StreamDecoder(definition)
    query: Query | None = None
    now_ms = 0
    for row in rows:
        now_ms = int(row["timestamp_ms"])
        if query is None:
            query = Query(
                planned, RuleFacts.of("backtest", now_ms // 1000 * 1000, options(rule.options).for_query())
            )
        while query.next_due_ms is not None and query.next_due_ms <= now_ms:
            due_ms = query.next_due_ms
            for emission in query.advance(due_ms):
                yield due_ms, emission
        for emission in query.feed(Batch(stream, decoder.conform([row]).rows, now_ms)):
            yield now_ms, emission
    if query is not None and query.next_due_ms is not None and not query.facts.event_time:
        due_ms = query.next_due_ms  # closes the window of the last record
        for emission in query.advance(due_ms):
            yield due_ms, emission
    if query is not None:
        counted.restore(query.counters.state())
