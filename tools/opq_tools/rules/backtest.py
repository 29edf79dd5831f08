"""`opq-tools rules backtest`: runs a rule over a recording or stored history, with the query that runs live.

The rule's only stream stands for the Boxes' Measurements; its clock advances from record to record.
"""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import click

from opq_proto.errors import RecordingError
from opq_proto.kit.shared_options import data_dir_option, json_option, mongo_option
from opq_proto.messages import Measurement
from opq_recordings.facts import RecordingFacts
from opq_recordings.reading import recordings_in
from opq_recordings.recording import Recording
from opq_rules.errors import RuleError
from opq_rules.query.query_run import QueryCounters
from opq_rules.streams.measurement_row import row_of
from opq_tools.recordings.analyze.options import recording_options
from opq_tools.rules.past_measurements import history, measurements_of
from opq_tools.rules.rule_replay import BacktestRule, fired
from opq_tools.shared import values
from opq_tools.shared.input_file import read_input_text
from opq_tools.shared.moment import from_option, to_option
from opq_tools.shared.rule_server import RuleServer, ServerRefusedError, server_command


@click.command("backtest", short_help="Show what a rule would have reported for a recording or history.")
@click.argument("rule", shell_complete=values.rules)
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
@recording_options
@click.option(
    "--box",
    "box_ids",
    multiple=True,
    shell_complete=values.boxes,
    help="Only history of this Box; repeatable.",
)
@from_option("Only data from this time on (UTC), e.g. 2026-11-20T10:00:00 or now-2h.")
@to_option("Only data before this time (UTC).")
@data_dir_option
@mongo_option
@json_option
@server_command
def command(
    server: RuleServer,
    rule: str,
    file: bool,
    recordings: tuple[Path, ...],
    given: RecordingFacts,
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
      opq-tools rules backtest "SELECT rms FROM boxes" --recording day.wav --volts-per-lsb 0.0078
      opq-tools rules backtest deep --from 2026-11-19 --to 2026-11-20
    """
    if given != RecordingFacts() and not recordings:
        raise click.UsageError("the options of a recording, such as --rate-hz, need --recording")
    if start_ns is not None and end_ns is not None and end_ns <= start_ns:
        raise click.UsageError("--to is not after --from")
    wanted = _rule(rule, file, server)
    first = 0 if start_ns is None else start_ns // 1_000_000
    last = 1 << 62 if end_ns is None else end_ns // 1_000_000
    measured: Iterable[Measurement]
    if recordings:
        read = (recording for path in recordings for recording in _all_in(path, given))
        measured = (each for recording in read for each in measurements_of(recording))
    else:
        measured = history(box_ids, first, last, data_dir, mongo_uri)
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


def _all_in(path: Path, given: RecordingFacts) -> Iterator[Recording]:
    """All recordings of a file. Raises RecordingError where one cannot be read."""
    for each in recordings_in(path, given):
        if isinstance(each, RecordingError):
            raise each
        yield each


def _rule(given: str, is_file: bool, server: RuleServer) -> BacktestRule:
    text = read_input_text(given) if is_file else given
    if text.lstrip().upper().startswith("SELECT"):
        return BacktestRule(text, {})
    try:
        body = json.loads(text) if is_file else server.request("GET", f"/rules/{given}")
        return BacktestRule(body["sql"], body.get("options") or {})
    except (ValueError, KeyError, TypeError) as error:
        raise ServerRefusedError(f"{given}: want a rule's JSON with sql, or a SELECT ({error})") from error
