"""An incident as lines of a terminal: what happened, where, in which order, why, and what came before."""

from collections.abc import Sequence

import click

from opq_cloud.operations.incident_past import IncidentPast, recurrence_sentences
from opq_cloud.store.incidents.as_json import source_words
from opq_cloud.store.incidents.cause_words import cause_sentence
from opq_cloud.store.incidents.severity import severity_of
from opq_cloud.view.web.words import (
    F47_WORDS,
    ITIC_WORDS,
    class_phrase,
    duration,
    headline,
    span_of,
    uncertainty,
    utc,
    worst,
)
from opq_proto.kit.plain_text import one_line
from opq_proto.messages import Incident, StoredFinding

FINDINGS_SHOWN = 12
NAME_WIDTH = 20


def echo_lines(name: str, lines: Sequence[str]) -> None:
    """Prints lines under one name, which stands before the first."""
    for number, line in enumerate(lines):
        click.echo(f"{'' if number else name:<{NAME_WIDTH}} {line}")


def incident_lines(incident: Incident, past: IncidentPast) -> list[tuple[str, list[str]]]:
    """(name, lines) of each known fact of an incident, the most important first."""
    # the pages bring FastAPI, a third of the command's start; lists of incidents need none of it
    from opq_cloud.view.pages.incidents.facts_table import facts_of_whole

    lasts = span_of(incident)
    doubt = "".join(f" ({uncertainty(each.finding.uncertainty_ns)})" for each in incident.findings[:1])
    found = sorted(incident.findings, key=lambda each: -severity_of(each.finding))
    more = len(found) - FINDINGS_SHOWN
    rows = [
        ("incident", [f"{incident.incident_id}: {headline(incident)}"]),
        ("labelled", [f"by hand; the analyses say {incident.machine_kind}"] if incident.machine_kind else []),
        (
            "start",
            [f"{utc(incident.start_ns, 6)} UTC{doubt}, {lasts}{'' if incident.closed else ' and longer'}"],
        ),
        ("verdicts", _verdicts(incident)),
        *((name.lower(), lines) for name, lines in facts_of_whole(incident)),
        ("follows", [] if incident.follows is None else [f"incident {incident.follows}"]),
        ("why", [cause_sentence(each) for each in incident.hypotheses]),
        ("before", past_lines(past)),
        ("found by", source_words(incident).split("; ")),
        ("events", [", ".join(map(str, incident.event_ids))] if incident.event_ids else []),
        ("findings", [_finding_line(each) for each in found[:FINDINGS_SHOWN]]),
        ("", [f"and {more} more; --json has all"] if more > 0 else []),
    ]
    return [(name, lines) for name, lines in rows if lines]


def past_lines(past: IncidentPast) -> list[str]:
    """Lines about recurrence and the most similar incidents."""
    similar = [
        f"incident {each.incident.incident_id} ({class_phrase(each.incident.kind)}), "
        f"{utc(each.incident.start_ns, 0)} UTC: alike by {each.likeness.alike:.0%}, {each.because}"
        for each in past.similar
    ]
    return [*recurrence_sentences(past), *similar]


def _verdicts(incident: Incident) -> list[str]:
    """By ITIC and SEMI F47, of the finding that names the incident; empty where it has none."""
    named = worst(incident)
    if named is None or named.finding.itic is None:
        return []
    itic = ITIC_WORDS.get(named.finding.itic, named.finding.itic)
    f47 = F47_WORDS.get(named.finding.semi_f47 or "", "not rated")
    return [f"ITIC: {itic}; SEMI F47: {f47}"]


def _finding_line(item: StoredFinding) -> str:
    one = item.finding
    sure = "" if one.confidence is None else f" ({one.confidence:.0%})"
    length = duration((one.end_ns - one.start_ns) / 1e9)
    lasts = f" for {length}{'' if one.closed else ' and longer'}" if one.end_ns > one.start_ns else ""
    return f"Box {one.box_id}: {class_phrase(one.kind)}{sure}{lasts}: {one_line(one.because)}"
