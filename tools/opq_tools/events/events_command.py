"""`opq-tools events`: its subcommands read the store, whether a cloud runs or not."""

import json
import time
from collections.abc import Iterable
from datetime import UTC
from typing import Any

import click

from opq_cloud.operations.incident_past import past_of
from opq_cloud.store import CloudStore
from opq_cloud.store.event_record import EventRecord
from opq_cloud.store.incidents.as_json import cause_json, found_by, source_words
from opq_cloud.store.incidents.cause_words import cause_sentence
from opq_cloud.store.sample_requests import request_json
from opq_proto.errors import OpqError
from opq_proto.kit.command_line import CommandGroup, text_table
from opq_proto.kit.shared_options import json_option
from opq_proto.messages import Incident
from opq_tools.events.trace import step_rows, traced_steps
from opq_tools.incidents.lines import echo_lines, past_lines
from opq_tools.shared import values
from opq_tools.shared.moment import from_option, to_option
from opq_tools.shared.opened_store import check_known_boxes, store_command

MAX_EVENTS = 10_000
EVENTS_SEARCHED = 1000
"""Events read to find those that complete one, and incidents read to find those that it is part of."""
BOXES_NAMED = 12


class EventNotKnownError(OpqError):
    """The store has no such event."""


@click.group(
    "events",
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
)
def command() -> None:
    """Events: which Boxes were asked, why, and how long each step took.

    \b
    Examples: opq-tools events show --from 2026-11-20
              opq-tools events show 17 --trace
    """


@command.command("show", short_help="List events, or show one: its Boxes, answers, incidents, causes.")
@click.argument(
    "event_id",
    metavar="[ID]",
    type=click.IntRange(1, 2**63 - 1),
    required=False,
    shell_complete=values.events,
)
@click.option("--box", "box_id", shell_complete=values.boxes, help="Only events that asked this Box.")
@from_option("Only those that end after this time (UTC), e.g. 2026-11-20 or now-7d.")
@to_option("Only those that begin before this time (UTC).")
@click.option(
    "--limit",
    type=click.IntRange(1, MAX_EVENTS),
    default=50,
    show_default=True,
    help="Print at most this many.",
)
@click.option(
    "--trace",
    is_flag=True,
    help="With ID: show its steps, from the limit crossing to the incident, with the time of each.",
)
@json_option
@store_command
def show_events(
    store: CloudStore,
    event_id: int | None,
    box_id: str | None,
    start_ns: int | None,
    end_ns: int | None,
    limit: int,
    trace: bool,
    as_json: bool,
) -> None:
    """List events, newest first; with ID, show which Boxes it asked and why, which answered, its incidents.

    Times of --trace count from the end of the Measurement that crossed the limit.

    \b
    Examples: opq-tools events show --box 1 --limit 10
              opq-tools events show 17 --trace
    """
    if event_id is None:
        if trace:
            raise click.UsageError("--trace needs the ID of an event")
        _list(store, box_id, start_ns, end_ns, limit, as_json)
        return
    if box_id is not None or start_ns is not None or end_ns is not None:
        raise click.UsageError("--box, --from and --to choose from the list; they go without ID")
    record = _record(store, event_id)
    if trace:
        _show_trace(store, record, as_json)
    else:
        _show_one(store, record, as_json)


def _list(
    store: CloudStore, box_id: str | None, start_ns: int | None, end_ns: int | None, limit: int, as_json: bool
) -> None:
    found = store.events_by_start(MAX_EVENTS if box_id else limit, None, start_ns, end_ns)
    rows = [event_row(record) for record in found if box_id is None or box_id in record.boxes_triggered]
    if box_id is not None and not rows:
        check_known_boxes(store, [box_id])
    if as_json:
        click.echo(json.dumps(rows[:limit], indent=1))
        return
    if not rows:
        click.echo("no stored event fits these options")
        return
    click.echo(text_table(COLUMNS, map(_cells, rows[:limit])))


def _show_one(store: CloudStore, record: EventRecord, as_json: bool) -> None:
    incidents = _incidents_of(store, record)
    pasts = {each.incident_id: past_of(store, each, UTC, "UTC") for each in incidents}
    row = event_row(record) | {
        "incident_ids": [incident.incident_id for incident in incidents],
        "causes": {
            str(incident.incident_id): [cause_json(each) for each in incident.hypotheses]
            for incident in incidents
            if incident.hypotheses
        },
        "found_by": {str(incident.incident_id): found_by(incident) for incident in incidents},
        "before": {str(number): past.as_json() for number, past in pasts.items()},
    }
    if as_json:
        click.echo(json.dumps(row, indent=1))
        return
    for name, text in _event_words(record, [incident.incident_id for incident in incidents]):
        echo_lines(name, [text])
    for incident in incidents:
        number = incident.incident_id
        echo_lines(f"why {number}", [cause_sentence(each) for each in incident.hypotheses])
        echo_lines(f"found by {number}", [source_words(incident)])
        echo_lines(f"before {number}", past_lines(pasts[number]))


def _show_trace(store: CloudStore, record: EventRecord, as_json: bool) -> None:
    near = store.events(record.start_ns, None, EVENTS_SEARCHED)
    completed_by = sorted(
        (each for each in near if each.completes == record.event_id), key=lambda each: each.event_id
    )
    incidents = _incidents_of(store, record)
    rows = step_rows(
        record, traced_steps(record, store.waveform_times(record.event_id), incidents, completed_by)
    )
    if as_json:
        document = {"event_id": record.event_id, "completes": record.completes, "steps": rows}
        click.echo(json.dumps(document, indent=1))
        return
    click.echo(text_table(COLUMNS, [_cells(event_row(record))]) + "\n")
    cells = []
    for row in rows:
        after = "" if row["after_ms"] is None else f"{row['after_ms']:+.1f} ms"
        box = "" if row["box_id"] is None else f"Box {row['box_id']}: "
        cells.append((after, row["step"], f"{box}{row['what'].replace('_', ' ')}"))
    click.echo(text_table(("after", "step", "what"), cells))


def event_row(record: EventRecord) -> dict[str, Any]:
    """An event as JSON; unknown is null."""
    return {
        "event_id": record.event_id,
        "start_ms": record.start_ns / 1e6,
        "end_ms": record.end_ns / 1e6,
        "opened_by": record.opened_by or None,
        "because": record.because,
        "completes": record.completes,
        "boxes_triggered": list(record.boxes_triggered),
        "boxes_received": list(record.boxes_received),
        "asked_as": {reason: list(boxes) for reason, boxes in record.asked_as.items()},
        "not_asked": record.not_asked,
        "requests": [request_json(each) for each in record.more.values()],
        "missing": record.missing,
        "short": record.short,
        "finished": record.finished,
        "analysed": record.analysed,
    }


def _event_words(record: EventRecord, incident_ids: list[int]) -> list[tuple[str, str]]:
    """Name and text of each known fact of an event, for a person; unknown facts are left out."""
    requested, received = record.boxes_triggered, record.boxes_received
    reasons = "; ".join(f"{why}: {', '.join(ids)}" for why, ids in record.asked_as.items())
    rows = [
        ("event", str(record.event_id)),
        ("start", f"{_when(record.start_ns)}, {(record.end_ns - record.start_ns) / 1e9:.3g} s"),
        ("why", record.because),
        ("completes", "" if record.completes is None else f"event {record.completes}"),
        (
            "asked",
            f"{len(requested)} Boxes: {', '.join(requested)}"
            if len(requested) > 1
            else f"Box {requested[0]}"
            if requested
            else "the event names no Box",
        ),
        ("asked because", reasons),
        ("not asked", "; ".join(f"{why}: {count}" for why, count in record.not_asked.items())),
        ("answered", f"{len(received)} of {len(requested)}"),
        *(("missing", f"Box {box_id}: {why}") for box_id, why in record.missing.items()),
        *(("short", f"Box {box_id}: {why}") for box_id, why in record.short.items()),
        *(
            ("more samples", f"{each.analysis}: {each.because}; {each.answer_words}")
            for each in record.more.values()
        ),
        ("state", "analysed" if record.analysed else "finished" if record.finished else "open"),
        ("incidents", ", ".join(map(str, incident_ids))),
    ]
    return [(name, text.replace("_", " ")) for name, text in rows if text]


def _record(store: CloudStore, event_id: int) -> EventRecord:
    record = store.event_record(event_id)
    if record is None:
        newest = next(iter(store.events(limit=1)), None)
        known = "there is none yet" if newest is None else f"the newest is {newest.event_id}"
        raise EventNotKnownError(f"event {event_id} is not in the store; {known}")
    return record


def _incidents_of(store: CloudStore, record: EventRecord) -> list[Incident]:
    near: Iterable[Incident] = store.incidents(
        start_ns=record.start_ns, end_ns=record.end_ns, limit=EVENTS_SEARCHED
    )
    return sorted(
        (each for each in near if record.event_id in each.event_ids), key=lambda each: each.incident_id
    )


COLUMNS = ("event", "start (UTC)", "length", "state", "answered", "why")


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    seconds = (row["end_ms"] - row["start_ms"]) / 1000
    state = "analysed" if row["analysed"] else "finished" if row["finished"] else "open"
    requested, received = row["boxes_triggered"], row["boxes_received"]
    boxes = ", ".join(requested[:BOXES_NAMED]) + (", ..." if len(requested) > BOXES_NAMED else "")
    return (
        row["event_id"],
        _when(row["start_ms"] * 10**6).removesuffix(" UTC"),
        f"{seconds:.3g} s",
        state,
        f"{len(received)} of {len(requested)} Boxes ({boxes})",
        row["because"],
    )


def _when(t_ns: float) -> str:
    """Formats a time: `2026-11-20 08:13:22 UTC`."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(t_ns / 1e9))
