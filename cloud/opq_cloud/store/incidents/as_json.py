"""An incident as JSON with the contract's keys, for pages, tools, the bus and webhooks."""

from collections import Counter
from dataclasses import asdict

from opq_cloud.store.incidents.box_events import naming_event
from opq_cloud.store.incidents.cause_words import cause_sentence
from opq_cloud.store.incidents.witness import hypothesis_document
from opq_proto.messages import (
    UNKNOWN_UNCERTAINTY_NS,
    BoxArrival,
    CauseHypothesis,
    Incident,
    StoredFinding,
)


def incident_json(incident: Incident) -> dict[str, object]:
    """Returns the keys of docs/reference/contracts.md, `up --until-incident` and "Findings and incidents",
    and a few more.

    `duration_ms` is that of the event whose class and residual voltage the incident has, at `worst_box_id`;
    it is null where its end was not seen.
    `end_ms` is null while the incident is open; `end_by_ms` is the latest moment of its end. `cause` is the
    likeliest hypothesis, null without any.
    """
    named = naming_event(incident)
    first_ns = incident.arrivals[0].start_ns if incident.arrivals else 0
    return {
        "id": incident.incident_id,
        "class": incident.kind,
        "box_ids": list(incident.box_ids),
        "start_ms": round(incident.start_ns / 1e6, 3),
        "end_ms": round(incident.end_ns / 1e6, 3) if incident.closed else None,
        "end_by_ms": round(incident.latest_end_ns / 1e6, 3) if incident.closed else None,
        "residual_percent": incident.residual_percent,
        "duration_ms": round(named.length_ns / 1e6, 3) if named.closed else None,
        "worst_box_id": named.box_id,
        "event_ids": list(incident.event_ids),
        "closed": incident.closed,
        "classes": classes_by_box(incident),
        "machine_class": incident.machine_kind,
        "found_by": found_by(incident),
        "scope": incident.scope,
        "cause": None if not incident.hypotheses else cause_json(incident.hypotheses[0]),
        "hypotheses": [hypothesis_document(each) for each in incident.hypotheses],
        "severity": incident.severity,
        "follows": incident.follows,
        "arrivals": [arrival_json(each, first_ns) for each in incident.arrivals],
        "sides": {
            each.box_id: {"side": each.side, "probability": each.probability} for each in incident.sides
        },
        "centre": None
        if incident.centre is None
        else {"lat": round(incident.centre[0], 6), "lon": round(incident.centre[1], 6)},
    }


def cause_json(hypothesis: CauseHypothesis) -> dict[str, object]:
    """Returns the contract's `cause`, with the details of this cause and a plain sentence."""
    return {
        "name": hypothesis.cause,
        "probability": hypothesis.probability,
        "sentence": cause_sentence(hypothesis),
        **dict(hypothesis.details),
    }


def classes_by_box(incident: Incident) -> dict[str, str]:
    """Returns Box -> its classes, joined by "+"."""
    parts: dict[str, set[str]] = {}
    for each in incident.findings:
        parts.setdefault(each.finding.box_id, set()).update(each.finding.kind.split("+"))
    return {box_id: "+".join(sorted(parts[box_id])) for box_id in incident.box_ids if box_id in parts}


def found_by(incident: Incident) -> list[dict[str, object]]:
    """Returns each analysis, version and settings with its number of findings; null where not recorded."""
    sources = Counter(
        (each.finding.analysis, each.finding.analysis_version, each.finding.settings_hash)
        for each in incident.findings
    )
    return [
        {"analysis": name, "version": version, "settings_hash": settings, "findings": count}
        for (name, version, settings), count in sorted(
            sources.items(), key=lambda item: tuple(part or "" for part in item[0])
        )
    ]


def source_words(incident: Incident) -> str:
    """Returns `found_by` as text: "rms_voltage 0.3 (settings 5f3a..., 4 findings); ..."."""
    return "; ".join(
        "not noted"
        if each["analysis"] is None
        else f"{each['analysis']} {each['version']} (settings {each['settings_hash']}, "
        f"{each['findings']} finding{'' if each['findings'] == 1 else 's'})"
        for each in found_by(incident)
    )


def finding_json(item: StoredFinding) -> dict[str, object]:
    """Returns a finding as JSON, without the fields for joining and visibility."""
    facts = asdict(item.finding)
    facts["class"] = facts.pop("kind")
    del facts["onset_seen"], facts["beside"]
    facts["figures"] = dict(item.finding.figures)
    return {"finding_id": item.finding_id, "event_id": item.event_id, **facts}


def arrival_json(arrival: BoxArrival, first_ns: int) -> dict[str, object]:
    """Returns an arrival as JSON.

    `disciplined` is false where the Box's clock is too inaccurate for the order of arrivals. `aligned_to` is
    the Box whose clock the time refers to, within `uncertainty_ms`; null for its own clock, or that of a Box
    that is not seen. `uncertainty_ms` is that of the clock and of the beginning in the waveform, together.
    """
    unknown = arrival.uncertainty_ns >= UNKNOWN_UNCERTAINTY_NS
    return {
        "box_id": arrival.box_id,
        "after_ms": round((arrival.start_ns - first_ns) / 1e6, 6),
        "uncertainty_ms": None if unknown else arrival.uncertainty_ns / 1e6,
        "disciplined": arrival.disciplined,
        "aligned_to": arrival.aligned_to,
    }
