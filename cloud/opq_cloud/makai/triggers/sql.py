"""SQL: one statement of the stream rules as a trigger; a row that it gives opens an event.

In: Measurement, as a row of the stream `boxes` (windows) or `crossings` (what a Box reports at once, which
overtakes the window in which it lies), as for rules.  Out: at most one Decision.  State: the statement's
windows. Time is that of the Measurements; those that a Box sends again from its disk are from another time
and ignored. For rules that can be changed while Makai runs: [triggering_service.rules].
"""

from dataclasses import dataclass, field, replace

from opq_measure.written_numbers import significant
from opq_proto.decision import Decision, Nominal
from opq_proto.messages import Measurement
from opq_rules.errors import RuleError
from opq_rules.query.planning.select_plan import QueryPlan, plan
from opq_rules.query.query import Query
from opq_rules.query.query_run import RuleFacts
from opq_rules.sql.parse import parse
from opq_rules.sql.syntax import Create, Select
from opq_rules.streams.definition import StreamDefinition, definition_of
from opq_rules.streams.measurement_columns import MEASUREMENT_COLUMNS, OVERTAKING_KINDS
from opq_rules.streams.measurement_row import kind_of, row_of
from opq_rules.values.batch import Batch

name = "sql"
kind = "trigger"

STREAMS = {"boxes": "opqbox", "crossings": "opqcrossing"}
"""Name in the statement -> type of its source: each has the Measurements of a Box in the order of time."""


@dataclass(frozen=True, slots=True)
class Config:
    """`value`: the column whose value the event states; without one the first number of the row."""

    sql: str = field(
        metadata={
            "help": 'e.g. "SELECT box, thd FROM boxes WHERE thd > 0.08"; boxes has windows alone,'
            " crossings what a Box reports at once"
        }
    )
    value: str = ""

    def __post_init__(self) -> None:
        try:
            planned(self.sql)
        except RuleError as error:
            raise ValueError(f"sql  {error}") from error


def planned(sql: str) -> QueryPlan:
    """Plans the statement. Raises RuleError: no SELECT, or one that cannot run."""
    select = parse(sql)
    if not isinstance(select, Select):
        raise RuleError("want a SELECT")
    return plan(select, {stream: _definition(stream, kind) for stream, kind in STREAMS.items()})


def _definition(stream: str, kind: str) -> StreamDefinition:
    created = parse(f'CREATE STREAM {stream} () WITH (DATASOURCE="*", TYPE="{kind}")')
    assert isinstance(created, Create)
    return replace(definition_of(created), known=MEASUREMENT_COLUMNS)


def begin(config: Config) -> Query | None:
    """Returns None: the statement begins with the first Measurement's time."""
    return None


def decide(
    measurement: Measurement, nominal: Nominal, config: Config, state: Query | None
) -> tuple[Decision | None, Query | None]:
    """Decides on the first row that the statement gives."""
    if measurement.backfilled:
        return None, state
    now_ms = measurement.timestamp_ms
    query = state or Query(planned(config.sql), RuleFacts.of(name, now_ms, {}))
    emissions = query.advance(now_ms)
    stream = "crossings" if kind_of(measurement) in OVERTAKING_KINDS else "boxes"
    if stream in query.plan.streams:
        emissions += query.feed(Batch(stream, [row_of(measurement)], now_ms))
    row = next((row for emission in emissions for row in emission), None)
    return None if row is None else _decision(row, config), query


def problems(state: Query | None) -> tuple[int, str]:
    """Returns how many rows the statement failed on, and the last error: a missing column, or a text where it
    needs a number.
    """
    return (0, "") if state is None else (state.counters.errors, state.counters.last_error)


def _decision(row: dict[str, object], config: Config) -> Decision:
    numbers = {
        key: value
        for key, value in row.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    metric = config.value or next(iter(numbers), "rule")
    value = float(numbers.get(metric, 0.0))
    facts = ", ".join(f"{key} {significant(value)}" for key, value in list(numbers.items())[:4])
    return Decision(metric, value, 0.0, f"{name}: {facts or 'a row'}")
