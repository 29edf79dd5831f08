"""`opq-tools rules backtest`: runs a rule over a recording or stored history, with the query that runs live.

The rule's only stream stands for the Boxes' Measurements; its clock advances from record to record.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import numpy as np

from opq_measure.events.limits import Limits
from opq_proto.kit.command_line import data_dir_option, json_option
from opq_proto.messages import Measurement, Metric
from opq_recordings.reading import read_recording
from opq_recordings.recording import Recording
from opq_rules.batch import Batch, Emission, Row
from opq_rules.engine.definition import options
from opq_rules.errors import RuleError
from opq_rules.measurement_row import row_of
from opq_rules.query.plan import plan
from opq_rules.query.query import Query
from opq_rules.query.run import QueryCounters, RuleFacts
from opq_rules.sql.parse import parse
from opq_rules.sql.syntax import Create, Select
from opq_rules.streams.decoding import StreamDecoder
from opq_rules.streams.definition import definition_of
from opq_tools.input_file import read_input_text
from opq_tools.moment import from_option, to_option
from opq_tools.rules.server import RuleServer, ServerRefusedError, server_command

NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class BacktestRule:
    sql: str
    options: dict[str, Any]


@click.command("backtest", short_help="Show what a rule would have reported for a recording or history.")
@click.argument("rule")
@click.option(
    "-f", "--file", is_flag=True, help="RULE is the path of a file with the rule's JSON or its SELECT."
)
@click.option(
    "--recording",
    "recordings",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A waveform, as `analyze` reads it; repeatable.  [default: stored history]",
)
@click.option("--box", "box_ids", multiple=True, help="Only history of this Box; repeatable.")
@from_option("Only data from this time on (UTC), e.g. 2026-11-20T10:00:00 or now-2h.")
@to_option("Only data before this time (UTC).")
@data_dir_option
@click.option("--mongo-uri", help="URI of the store where it is a MongoDB, e.g. mongodb://host/opq.")
@json_option
@server_command
def command(
    server: RuleServer,
    rule: str,
    file: bool,
    recordings: tuple[Path, ...],
    box_ids: tuple[str, ...],
    start_ns: int | None,
    end_ns: int | None,
    data_dir: Path | None,
    mongo_uri: str | None,
    as_json: bool,
) -> None:
    """Show what a rule would have reported for a recording, or for the cloud's stored history.

    RULE is the id of a rule in a running engine, or a SELECT (then no engine is needed). Columns of its
    stream: box, timestamp_ms, rms, rms_min, rms_max, f, thd ... A recording without a start begins at 0.

    \b
    Example:
      opq-tools rules backtest "SELECT box, rms_min FROM boxes WHERE rms_min < 110" --recording box1.i16
      opq-tools rules backtest deep --from 2026-11-19 --to 2026-11-20
    """
    if start_ns is not None and end_ns is not None and end_ns <= start_ns:
        raise click.UsageError("--to is not after --from")
    wanted = _rule(rule, file, server)
    first = 0 if start_ns is None else start_ns // 1_000_000
    last = 1 << 62 if end_ns is None else end_ns // 1_000_000
    measured: Iterable[Measurement]
    if recordings:
        measured = (each for path in recordings for each in measurements_of(read_recording(path)))
    else:
        measured = _history(box_ids, first, last, data_dir, mongo_uri)
    rows = [row_of(each) for each in measured if first <= each.timestamp_ms < last]
    rows.sort(key=lambda row: int(row["timestamp_ms"]))
    counted = QueryCounters()
    try:
        found = list(fired(wanted, rows, counted))
    except RuleError as error:
        raise ServerRefusedError(str(error)) from error
    if as_json:
        emissions = [{"timestamp_ms": ms, "rows": emission} for ms, emission in found]
        failed = {"late": counted.late, "errors": counted.errors, "last_error": counted.last_error}
        click.echo(json.dumps({"records": len(rows), "emissions": emissions, **failed}))
        return
    for ms, emission in found:
        click.echo(
            f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3]
            + f"  {json.dumps(emission)}"
        )
    text = f"{len(found)} emissions of {len(rows)} records"
    text += f"; {counted.late} were late" if counted.late else ""
    text += f"; {counted.errors} errors, the last: {counted.last_error}" if counted.errors else ""
    click.echo(text, err=True)


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


def measurements_of(recording: Recording) -> Iterator[Measurement]:
    """A Measurement for each 10/12-cycle window, as the gateway makes them."""
    from opq_tools.analyze.measuring import measured, warn_of

    found = measured(recording, Limits())
    warn_of(found)
    analysis = found.analysis
    start_ns = recording.start_ns or 0
    starts = np.append(analysis.window_starts, np.inf)
    for k, first in enumerate(analysis.window_starts):
        own = (analysis.half_starts >= first) & (analysis.half_starts < starts[k + 1])
        cycles = (analysis.cycle_starts >= first) & (analysis.cycle_starts < starts[k + 1])
        if not cycles.any():
            continue
        last = min(starts[k + 1], float(recording.samples))
        begin_ns, end_ns = (start_ns + round(x * NS_PER_S / analysis.rate_hz) for x in (float(first), last))
        metrics = {"rms": _metric(analysis.half_rms_v[own], np.sqrt(np.nanmean(analysis.rms_v[cycles] ** 2)))}
        for name, value in (("f", analysis.window_hz[k]), ("thd", analysis.window_thd[k])):
            if np.isfinite(value):
                metrics[name] = Metric(float(value), float(value), float(value))
        yield Measurement(
            recording.box_id or "1",
            round(end_ns / 1e6),
            metrics,
            start_ns=begin_ns,
            end_ns=end_ns,
            nominal_v=found.nominal.volts,
            nominal_hz=found.nominal.hz,
        )


def _metric(values: Any, average: float) -> Metric:
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (float(average), float(average))
    return Metric(low, high, float(average))


def _history(
    box_ids: tuple[str, ...], first_ms: int, last_ms: int, data_dir: Path | None, mongo_uri: str | None
) -> Iterator[Measurement]:
    from opq_cloud.export.selection import all_measurements
    from opq_cloud.store import FILE_NAME, open_store
    from opq_proto.kit.system_place import find_system
    from opq_tools.export import LATEST_MS

    folder, _ = find_system(data_dir, None)
    if mongo_uri is None and not (folder / FILE_NAME).is_file():
        raise ServerRefusedError(
            f"{folder} has no {FILE_NAME}: want the store's --data-dir, or a --recording"
        )
    store = open_store(mongo_uri, folder)
    try:
        for box_id in box_ids or tuple(store.latest_measurements()):
            yield from all_measurements(store, box_id, first_ms, min(last_ms, LATEST_MS))
    finally:
        store.close()


def _rule(given: str, is_file: bool, server: RuleServer) -> BacktestRule:
    text = read_input_text(given) if is_file else given
    if text.lstrip().upper().startswith("SELECT"):
        return BacktestRule(text, {})
    try:
        body = json.loads(text) if is_file else server.request("GET", f"/rules/{given}")
        return BacktestRule(body["sql"], body.get("options") or {})
    except (ValueError, KeyError, TypeError) as error:
        raise ServerRefusedError(f"{given}: want a rule's JSON with sql, or a SELECT ({error})") from error
