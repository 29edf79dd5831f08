"""`opq-tools sim score`: compares stored incidents with the truth of a run."""

import json
from contextlib import closing
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from opq_cloud.store import open_store
from opq_measure.classification.jump_levels import what_happened
from opq_proto.errors import ConfigError
from opq_proto.kit.shared_options import data_dir_option, json_option, mongo_option
from opq_proto.messages import Incident
from opq_sim.score.figures import ScoreFigures, score
from opq_sim.score.records import OPEN_NS, BoxSpan, FoundIncident
from opq_sim.score.truth_file import read_truth
from opq_tools.shared.moment import from_option, to_option
from opq_tools.shared.opened_store import store_place

BEFORE_NS = 60 * 10**9
"""Incidents that began earlier than this before the first true disturbance belong to an earlier run."""
MAX_INCIDENTS = 1_000_000


@click.command("score", short_help="Compare stored incidents with the truth of a run.")
@click.option(
    "--truth", "folder", required=True, type=click.Path(path_type=Path), help="Folder with truth.jsonl."
)
@data_dir_option
@mongo_option
@from_option("Only disturbances and incidents that begin from this time on (UTC).")
@to_option("Only disturbances and incidents that begin before this time (UTC).")
@json_option
def command(
    folder: Path,
    data_dir: Path | None,
    mongo_uri: str | None,
    start_ns: int | None,
    end_ns: int | None,
    as_json: bool,
) -> None:
    """Compare stored incidents with the truth that `sim --truth DIR` wrote.

    Without --from, incidents count from a minute before the first true disturbance on. An invalid line of
    truth.jsonl is reported on stderr and skipped.

    Example: opq-tools sim score --truth /tmp/truth --json
    """
    if data_dir is not None and mongo_uri is not None:
        raise ConfigError("--data-dir and --mongo-uri are both given; the store is one of them")
    truth = read_truth(folder)
    for problem in truth.problems:
        click.echo(f"opq-tools: {problem}", err=True)
    begun_ns = [min(span.start_ns for span in each.boxes.values()) for each in truth.disturbances]
    from_ns = max(0, min(begun_ns, default=0) - BEFORE_NS) if start_ns is None else start_ns
    stored = stored_incidents(*store_place(mongo_uri, data_dir))
    to_ns = OPEN_NS if end_ns is None else end_ns
    counted = [each for each in stored if from_ns <= _onset_ns(each) < to_ns]
    disturbances = [
        each for each, at_ns in zip(truth.disturbances, begun_ns, strict=True) if from_ns <= at_ns < to_ns
    ]
    figures = score(disturbances, counted)
    if as_json:
        notes = {
            "left_out": len(stored) - len(counted),
            "malformed": len(truth.problems),
            "nothing": truth.nothing,
        }
        click.echo(json.dumps({**figures, **notes}, indent=1))
    else:
        _show(figures, truth.nothing)


def stored_incidents(mongo_uri: str | None, data_dir: Path) -> list[FoundIncident]:
    """Every incident of a store.

    Raises:
        StoreError: the store cannot be opened or read.
        ConfigError: the folder has no store; this command does not create one.
    """
    if mongo_uri is None and not any(data_dir.glob("opq.db*")):
        raise ConfigError(f"{data_dir}: no store in it; give --data-dir of the `up` that ran, or --mongo-uri")
    with closing(open_store(mongo_uri, data_dir)) as store:
        return [found_incident(each) for each in store.incidents(limit=MAX_INCIDENTS)]


def found_incident(incident: Incident) -> FoundIncident:
    """A stored incident with its findings by Box."""
    boxes: dict[str, BoxSpan] = {}
    for stored in incident.findings:
        one = stored.finding
        span = BoxSpan(one.kind, one.start_ns, max(one.start_ns, one.end_ns), one.uncertainty_ns)
        boxes[one.box_id] = _together(boxes[one.box_id], span) if one.box_id in boxes else span
    whole = BoxSpan(incident.kind, incident.start_ns, max(incident.start_ns, incident.end_ns))
    for box_id in incident.box_ids:
        boxes.setdefault(box_id, whole)  # an incident may name a Box without a finding
    cause = incident.hypotheses[0].cause if incident.hypotheses else None
    sides = {each.box_id: each.side for each in incident.sides}
    return FoundIncident(
        incident.incident_id,
        what_happened(incident.kind),
        incident.scope,
        boxes,
        incident.follows,
        cause,
        sides,
        incident.centre,
    )


def _together(first: BoxSpan, second: BoxSpan) -> BoxSpan:
    """Joins two findings of one Box in one incident."""
    kinds = sorted({*first.kind.split("+"), *second.kind.split("+")})
    return BoxSpan(
        "+".join(kinds),
        min(first.start_ns, second.start_ns),
        max(first.end_ns, second.end_ns),
        max(first.uncertainty_ns, second.uncertainty_ns),
    )


def _onset_ns(incident: FoundIncident) -> int:
    return min(span.start_ns for span in incident.boxes.values())


def _show(figures: ScoreFigures, nothing: int) -> None:
    console = Console()
    if nothing:
        console.print(f"{nothing} causes left nothing that a Box would name at any Box, and do not count")
    console.print(
        f"{figures['truth']} disturbances: {figures['found']} found, {figures['missed']} missed, "
        f"{figures['split']} split, {figures['wrongly_split']} of them wrongly; "
        f"{figures['incidents']} incidents: {figures['false']} false, "
        f"{figures['joined']} joined, {figures['wrongly_joined']} of them wrongly"
    )
    per_cause, later = figures["incidents_per_cause"], figures["later_parts"]
    if per_cause is not None:
        parts = f", without {later} later parts that name the one before" if later else ""
        console.print(f"incidents per cause: {per_cause:.2f}{parts}")
    error = figures["start_error_ms"]
    if error["median"] is not None:
        sharp_within = _percent(figures["start_error_ms_sharp"]["within_1_ms"])
        console.print(
            f"start error: median {error['median']:g} ms, p99 {error['p99']:g} ms, "
            f"within 1 ms {_percent(error['within_1_ms'])}, without steady states {sharp_within}"
        )
    right, sharp = figures["scope_right"], figures["scope_right_sharp"]
    console.print(f"scope right: {_percent(right)}, without steady states {_percent(sharp)}")
    console.print(f"first cause right: {_percent(figures['cause_right'])}")
    sides = f"upstream or downstream right: {_percent(figures['side_right'])}"
    console.print(f"{sides}, said of {figures['sides']} Boxes")
    off = figures["place_error_km"]
    if off["median"] is not None:
        within = f"90 % within {off['p90']:g} km, of {off['incidents']} incidents"
        console.print(f"place error: median {off['median']:g} km, {within}")
    table = Table("class", "precision", "recall", "f1", "starts within 1 ms", "found as")
    for kind in sorted({*figures["by_class"], *figures["confusion"]}):
        row = figures["by_class"].get(kind, {"precision": None, "recall": None, "f1": None})
        shares = ["-" if value is None else f"{value:.3f}" for value in row.values()]
        seen = figures["confusion"].get(kind, {})
        start = figures["start_error_ms_by_class"].get(kind)
        shares.append("-" if start is None else _percent(start["within_1_ms"]))
        table.add_row(kind, *shares, ", ".join(f"{name} {count}" for name, count in seen.items()))
    console.print(table)


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{share:.0%}"
