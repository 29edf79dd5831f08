"""`opq-tools incidents`: its subcommands read and edit the store, whether a cloud runs or not."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import click

from opq_cloud.operations.command_audit import note_command
from opq_cloud.operations.incident_edits import IncidentEditor
from opq_cloud.operations.incident_past import past_of
from opq_cloud.store import CloudStore
from opq_cloud.store.incidents.as_json import finding_json, incident_json
from opq_cloud.store.incidents.index import (
    WORK_STATES,
    IncidentEditError,
    IncidentFilter,
    IncidentNote,
    IncidentWork,
)
from opq_cloud.view.web.words import CLASS_PHRASES, headline
from opq_proto.kit.command_line import CommandGroup, text_table
from opq_proto.kit.plain_text import one_line
from opq_proto.kit.shared_options import json_option
from opq_proto.messages import Incident
from opq_tools.incidents.lines import echo_lines, incident_lines
from opq_tools.shared import values
from opq_tools.shared.moment import from_option, to_option
from opq_tools.shared.opened_store import check_known_boxes, store_command

MAX_LISTED = 10_000
incident_argument = click.argument(
    "incident_id", metavar="ID", type=click.IntRange(1, 2**63 - 1), shell_complete=values.incidents
)
class_type = click.Choice(tuple(CLASS_PHRASES))


@click.group(
    "incidents",
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
)
def command() -> None:
    """Find the store's incidents; show, note, label, split and merge them, and work on them.

    \b
    Examples: opq-tools incidents show --class sag --box 1
              opq-tools incidents show 17
              opq-tools incidents split 17 --box 4
              opq-tools incidents note 17 --label mains_signalling
              opq-tools incidents work 17 18 --acknowledge
    """


@command.command("show", short_help="List incidents, or show one: what, where, why, and before.")
@click.argument(
    "incident_id",
    metavar="[ID]",
    type=click.IntRange(1, 2**63 - 1),
    required=False,
    shell_complete=values.incidents,
)
@click.option(
    "--class",
    "kind",
    type=class_type,
    help="Only incidents of this class, also as part of a combination such as harmonics+sag.",
)
@click.option(
    "--box", "box_id", default="", shell_complete=values.boxes, help="Only incidents that this Box saw."
)
@from_option("Only those that end after this time (UTC), e.g. 2026-11-20 or now-7d.")
@to_option("Only those that begin before this time (UTC).")
@click.option("--work", type=click.Choice(WORK_STATES), help="Only those in this state of work.")
@click.option("--assigned-to", metavar="EMAIL", help="Only those that are assigned to this account.")
@click.option("--words", default="", help="Only incidents whose notes have all these words.")
@click.option(
    "--limit",
    type=click.IntRange(1, MAX_LISTED),
    default=50,
    show_default=True,
    help="Print at most this many.",
)
@json_option
@store_command
def show_incidents(
    store: CloudStore,
    incident_id: int | None,
    kind: str | None,
    box_id: str,
    start_ns: int | None,
    end_ns: int | None,
    work: str | None,
    assigned_to: str | None,
    words: str,
    limit: int,
    as_json: bool,
) -> None:
    """List incidents, newest first; with ID, show its class, reach, order of arrival, causes and past.

    With ID and --json all of it, as /api/v1/incidents/ID.

    \b
    Examples: opq-tools incidents show --class sag --from now-7d --limit 10
              opq-tools incidents show 17
    """
    if incident_id is not None:
        if kind or box_id or words or work or assigned_to or start_ns is not None or end_ns is not None:
            raise click.UsageError("the options that choose from the list go without ID")
        _show_one(store, incident_id, as_json)
        return
    check_known_boxes(store, [box_id])
    wanted = IncidentFilter(
        kind or "",
        box_id,
        start_ns=start_ns,
        end_ns=end_ns,
        words=words,
        work=work or "",
        assigned_to=_account_id(store, assigned_to) if assigned_to else "",
    )
    progress = store.index_progress()  # first: what is indexed after it is listed all the same
    entries = store.find_incidents(wanted, limit)
    found = [wanted.shown(each) for each in store.incidents_of([one.incident_id for one in entries])]
    _echo(found, as_json)
    if not found and not as_json:
        click.echo("no stored incident fits these options")
    if progress is not None:
        click.echo(progress.words, err=True)


def _show_one(store: CloudStore, incident_id: int, as_json: bool) -> None:
    found = _known(store, incident_id)
    past, work = past_of(store, found, UTC, "UTC"), store.incident_work([incident_id])[incident_id]
    named = _named(store, work)
    if as_json:
        findings = [finding_json(each) for each in found.findings]
        row = {
            **incident_json(found),
            "summary": headline(found),
            "findings": findings,
            "work": named,
            **past.as_json(),
        }
        click.echo(json.dumps(row, indent=1))
        return
    for name, lines in incident_lines(found, past):
        echo_lines(name, lines)
    said = [f"{name.replace('_', ' ')}: {text}" for name, text in named.items() if text]
    if work.state == "acknowledged" or len(said) > 1:
        echo_lines("work", ["; ".join(said)])


@command.command("note", short_help="Add a note or a label to an incident, or list its notes and edits.")
@incident_argument
@click.argument("text", required=False)
@click.option(
    "--label",
    "is_label",
    is_flag=True,
    help="TEXT is a class, which replaces the machine's; without TEXT the label is removed.",
)
@json_option
@store_command
def note(store: CloudStore, incident_id: int, text: str | None, is_label: bool, as_json: bool) -> None:
    """Add a note or a label to an incident; without TEXT, list its notes and edits by people, oldest first.

    \b
    Examples: opq-tools incidents note 17 "the crane again"
              opq-tools incidents note 17 --label mains_signalling
              opq-tools incidents note 17
    """
    _known(store, incident_id)
    if is_label:
        IncidentEditor(store).label_incident(incident_id, text or "", CLASS_PHRASES)
        _echo([_known(store, incident_id)], as_json)
        return
    if text is not None:
        IncidentEditor(store).note_incident(incident_id, text)
        if not as_json:
            click.echo(f"incident {incident_id} has the note")
            return
    found = store.notes(incident_id)
    if as_json:
        click.echo(json.dumps([each.as_document() for each in found], indent=1))
        return
    people = {each.account_id: store.people.account(each.account_id) for each in found if each.account_id}
    names = {account_id: found.name for account_id, found in people.items() if found is not None}
    if not found:
        click.echo(f"there are no notes on incident {incident_id}")
        return
    cells = (_note_cells(each, names) for each in found)
    click.echo(text_table(("at (UTC)", "by", "what", "text"), cells))


@command.command("work", short_help="Acknowledge incidents, assign them, or state their known cause.")
@click.argument(
    "incident_ids",
    metavar="ID...",
    type=click.IntRange(1, 2**63 - 1),
    nargs=-1,
    required=True,
    shell_complete=values.incidents,
)
@click.option("--acknowledge/--no-acknowledge", default=None, help="Acknowledge them, or take that back.")
@click.option("--assign", metavar="EMAIL", help="Assign them to this account; an empty text takes it back.")
@click.option("--cause", metavar="TEXT", help="State their known cause; an empty text takes it back.")
@json_option
@store_command
def work(
    store: CloudStore,
    incident_ids: tuple[int, ...],
    acknowledge: bool | None,
    assign: str | None,
    cause: str | None,
    as_json: bool,
) -> None:
    """Acknowledge incidents, assign them to a person, or state their known cause; without options, show that.

    \b
    Examples: opq-tools incidents work 17 18 --acknowledge
              opq-tools incidents work 17 --assign ada@example.org --cause "the crane at the mill"
    """
    editor, found = IncidentEditor(store), [_known(store, number) for number in incident_ids]
    account_id = None if assign is None else _account_id(store, assign)
    for incident in found:
        number = incident.incident_id
        before = store.incident_work([number])[number]
        if account_id is not None:
            editor.assign_incident(number, account_id)
        if cause is not None:
            editor.state_cause(number, cause)
        if acknowledge is not None:
            editor.acknowledge_incident(number, done=acknowledge)
        after = store.incident_work([number])[number]
        if after != before:
            note_command(
                store.people,
                "worked on an incident",
                f"incident {number}",
                before.as_change(),
                after.as_change(),
            )
    known = store.incident_work(incident_ids)
    rows = [{"id": number, **_named(store, each)} for number, each in known.items()]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    cells = (tuple(each or "" for each in row.values()) for row in rows)
    click.echo(text_table(("incident", "state", "assigned to", "known cause"), cells))


def _account_id(store: CloudStore, email: str) -> str:
    found = store.people.account_of(email) if email else None
    if email and found is None:
        raise IncidentEditError(f"there is no account {email}")
    return "" if found is None else found.account_id


def _named(store: CloudStore, work: IncidentWork) -> dict[str, str | None]:
    account = store.people.account(work.assigned_to) if work.assigned_to else None
    assigned = account.email if account is not None else work.assigned_to or None
    return {"state": work.state, "assigned_to": assigned, "known_cause": work.known_cause or None}


@command.command("split", short_help="Split findings off an incident into a new one.")
@incident_argument
@click.option(
    "--box",
    "box_ids",
    multiple=True,
    shell_complete=values.boxes,
    help="Split off all findings of this Box; repeatable.",
)
@click.option(
    "--finding",
    "finding_ids",
    type=click.IntRange(1, 2**63 - 1),
    multiple=True,
    help="Split off the finding with this number; repeatable.",
)
@json_option
@store_command
def split(
    store: CloudStore, incident_id: int, box_ids: tuple[str, ...], finding_ids: tuple[int, ...], as_json: bool
) -> None:
    """Split findings off an incident into a new one; the next analysis does not undo it.

    Example: opq-tools incidents split 17 --box 4
    """
    findings = _known(store, incident_id).findings
    having = dict.fromkeys(each.finding.box_id for each in findings)
    if absent := [box_id for box_id in box_ids if box_id not in having]:
        raise IncidentEditError(
            f"incident {incident_id} has no finding of Box {', '.join(absent)}; it has some of: "
            + ", ".join(having)
        )
    chosen = {*finding_ids, *(each.finding_id for each in findings if each.finding.box_id in box_ids)}
    fresh = IncidentEditor(store).split_incident(incident_id, chosen)
    _echo([_known(store, number) for number in (incident_id, fresh)], as_json)


@command.command("merge", short_help="Merge several incidents into one.")
@click.argument(
    "incident_ids",
    metavar="ID ID...",
    type=click.IntRange(1, 2**63 - 1),
    nargs=-1,
    required=True,
    shell_complete=values.incidents,
)
@json_option
@store_command
def merge(store: CloudStore, incident_ids: tuple[int, ...], as_json: bool) -> None:
    """Merge incidents under the lowest of their numbers; the next analysis does not undo it.

    Example: opq-tools incidents merge 17 18
    """
    merged = IncidentEditor(store).merge_incidents(incident_ids)
    _echo([_known(store, merged)], as_json)


def _echo(incidents: Sequence[Incident], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([incident_json(each) for each in incidents], indent=1))
        return
    if incidents:
        click.echo(text_table(("incident", "start (UTC)", "what"), map(_cells, incidents)))


def _known(store: CloudStore, incident_id: int) -> Incident:
    found = store.incident(incident_id)
    if found is None:
        raise IncidentEditError(
            f"there is no incident {incident_id}; it may have been joined with another (incidents show)"
        )
    return found


def _cells(incident: Incident) -> tuple[object, ...]:
    machine = f" (analyses: {incident.machine_kind})" if incident.machine_kind else ""
    return incident.incident_id, _utc(incident.start_ns // 10**6), f"{headline(incident)}{machine}"


def _note_cells(one: IncidentNote, names: Mapping[str, str]) -> tuple[str, ...]:
    who = names.get(one.account_id, "an account that is gone") if one.account_id else "command line"
    return _utc(one.at_ms), who, one.kind, one_line(one.text) or "(taken back)"


def _utc(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
