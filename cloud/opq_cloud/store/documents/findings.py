"""Converts findings to documents of the original's `incidents` collection (docs/reference/opq-interop.md,
D.6) and back.

The original's fields keep name and meaning; what the original does not have is in added fields. The embedded
store has the same documents in a JSON column.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any

from opq_cloud.store.documents import (
    Document,
    box_id_of,
    known_number,
    known_text,
    known_whole,
    texts_of,
    time_of,
    whole_of,
)
from opq_cloud.store.documents.original_incidents import annotations, stated_incident
from opq_cloud.store.incidents.join_plan import KnownFinding
from opq_cloud.store.incidents.severity import severity_of
from opq_proto.messages import (
    UNKNOWN_UNCERTAINTY_NS,
    Finding,
    WaveformAlignment,
)
from opq_proto.time_units import NS_PER_MS

CLASSIFICATIONS = {
    "sag": "VOLTAGE_SAG",
    "swell": "VOLTAGE_SWELL",
    "interruption": "VOLTAGE_INTERRUPTION",
    "undervoltage": "UNDERVOLTAGE",
    "overvoltage": "OVERVOLTAGE",
    "harmonics": "EXCESSIVE_THD",
    "impulsive_transient": "IMPULSIVE_TRANSIENT",
    "oscillatory_transient": "OSCILLATORY_TRANSIENT",
    "periodic_notching": "PERIODIC_NOTCHING",
    "outage": "OUTAGE",
}
"""Class of a finding -> the original's word; `frequency_deviation` has two, other classes UNDEFINED."""
ITIC_CLASSIFICATIONS = {"prohibited": "ITIC_PROHIBITED", "no_damage": "ITIC_NO_DAMAGE"}
F47_CLASSIFICATIONS = {"fail": "SEMI_F47_VIOLATION"}
"""Verdicts that the original's readers expect among the classifications."""

COMPAT_TRANSIENTS = {
    "Peak_Voltage": "IMPULSIVE_TRANSIENT",
    "Num_Cycles": "ARCING_TRANSIENT",
    "p_value": "OSCILLATORY_TRANSIENT",
    "amplitude": "PERIODIC_NOTCHING",
    "period": "PERIODIC_NOTCHING",
    "num_extra_zero_crossings": "MULTIPLE_ZERO_CROSSING_TRANSIENT",
}
"""Figure of a transient with `compat` -> the original's word; other transients have none of these."""
COMPAT_METADATA = (
    *COMPAT_TRANSIENTS,
    "Rise_Time",
    "Decay_Time",
    "Start_Index",
    "Peak_Index",
    "End_Index",
    "Frequency",
)
_WHOLE = ("Num_Cycles", "num_extra_zero_crossings", "Start_Index", "Peak_Index", "End_Index")

HALF_CYCLE_MS = 8.33
"""The original's limit: a duration at or below it has no IEEE 1159 word."""


def classifications(finding: Finding) -> list[str]:
    """Returns the original's words for each part of a class (`harmonics+sag` has two) and for verdicts."""
    metadata = compat_metadata(finding)
    if compat := [word for name, word in COMPAT_TRANSIENTS.items() if name in metadata]:
        return list(dict.fromkeys(compat))
    words = []
    for part in finding.kind.split("+"):
        if part == "frequency_deviation" and (below := _lies_below(finding)) is not None:
            words.append("FREQUENCY_SAG" if below else "FREQUENCY_SWELL")
        else:
            words.append(CLASSIFICATIONS.get(part, "UNDEFINED"))
    words = [word for word in words if word != "UNDEFINED"] or words
    verdicts = (ITIC_CLASSIFICATIONS.get(finding.itic or ""), F47_CLASSIFICATIONS.get(finding.semi_f47 or ""))
    return words + [word for word in verdicts if word is not None]


def _lies_below(finding: Finding) -> bool | None:
    """Whether the frequency is below nominal; None where the finding does not say."""
    if finding.residual_percent is not None:
        return finding.residual_percent < 100.0
    deviation_hz = dict(finding.figures).get("deviation_hz")
    return None if deviation_hz is None else deviation_hz < 0


def ieee_duration(duration_ms: float) -> str:
    """Returns the original's word for a duration (D.6)."""
    if duration_ms <= HALF_CYCLE_MS:
        return "UNDEFINED"
    for limit_ms, word in ((500.0, "INSTANTANEOUS"), (3000.0, "MOMENTARY"), (60_000.0, "TEMPORARY")):
        if duration_ms <= limit_ms:
            return word
    return "SUSTAINED"


def deviation_from_nominal(finding: Finding) -> float:
    """Returns volts from nominal to residual, a transient's peak volts or hertz below nominal; else -1."""
    figures = dict(finding.figures)
    if "peak_v" in figures and (
        finding.kind.endswith("_transient") or finding.measurement_type == "TRANSIENT"
    ):
        return abs(figures["peak_v"])
    if finding.kind == "frequency_deviation" and "deviation_hz" in figures:
        return -figures["deviation_hz"]
    if finding.residual_v is None or not finding.residual_percent:
        return -1.0
    return abs(finding.residual_v - finding.residual_v * 100.0 / finding.residual_percent)


def compat_metadata(finding: Finding) -> Document:
    """Returns what the original stores as `metadata` of a transient; empty for other findings."""
    if finding.measurement_type != "TRANSIENT" or finding.analysis not in (None, "transient"):
        return {}
    found: Document = {name: value for name, value in finding.figures if name in COMPAT_METADATA}
    for name in _WHOLE:
        if name in found:
            found[name] = int(found[name])
    if "Peak_Voltage" in found:
        found["Polarity"] = "Positive" if found["Peak_Voltage"] >= 0 else "Negative"
    return found


def _to_ms(t_ns: int) -> float:
    """Converts whole and fraction separately: nanoseconds since 1970 exceed the 53 bits of a double."""
    return t_ns // NS_PER_MS + t_ns % NS_PER_MS / NS_PER_MS


def _to_ns(t_ms: float) -> int:
    whole = int(t_ms)
    return whole * NS_PER_MS + round((t_ms - whole) * NS_PER_MS)


def _time_ns(document: Document, side: str) -> int:
    """Returns the start or end; an incident of the original has it in milliseconds alone."""
    found = document.get(f"{side}_ns")
    return time_of(_to_ns(document[f"{side}_timestamp_ms"]) if found is None else found)


START_FIELDS = ("incident_id", "box_id", "start_ns", "start_timestamp_ms")
"""What says which finding a document is, whoever wrote it."""


def start_if_known(document: Document) -> int | None:
    """Returns when a finding begins; None where its document does not say so as a time."""
    try:
        return _time_ns(document, "start")
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _event_id(document: Document) -> int:
    """Returns the event; -1, the original's number for no event, where the field is not a number."""
    try:
        return whole_of(document.get("event_id", -1))
    except (TypeError, ValueError, OverflowError):
        return -1


def incident_document(known: KnownFinding, expire_at: int, location: str = "") -> Document:
    """Returns a finding's document; the caller may fill its empty `measurements` and `gridfs_filename`."""
    finding = known.finding
    return {
        "incident_id": known.finding_id,
        "event_id": min(known.event_ids),
        "box_id": finding.box_id,
        "start_timestamp_ms": _to_ms(finding.start_ns),
        "end_timestamp_ms": _to_ms(finding.end_ns),
        "location": location,
        "measurement_type": finding.measurement_type,
        "deviation_from_nominal": deviation_from_nominal(finding),
        "measurements": [],
        "gridfs_filename": "",
        "classifications": classifications(finding),
        "ieee_duration": ieee_duration((finding.end_ns - finding.start_ns) / 1e6),
        "annotations": [],
        "metadata": compat_metadata(finding),
        "expire_at": expire_at,
        "group_id": known.incident_id,
        "class": finding.kind,
        "start_ns": finding.start_ns,
        "end_ns": finding.end_ns,
        "uncertainty_ns": finding.uncertainty_ns,
        "event_ids": list(known.event_ids),
        "closed": finding.closed,
        "onset_seen": finding.onset_seen,
        "residual_v": finding.residual_v,
        "residual_percent": finding.residual_percent,
        "duration_cycles": finding.duration_cycles,
        "ieee1159": finding.ieee1159,
        "itic": finding.itic,
        "semi_f47": finding.semi_f47,
        "confidence": finding.confidence,
        "because": finding.because,
        "figures": dict(finding.figures),
        "pieces": [{**asdict(piece), "figures": dict(piece.figures)} for piece in known.pieces],
        "clock_id": finding.clock_id,
        "leads": known.leads,
        "by_hand": known.by_hand,
        "analysis": finding.analysis,
        "analysis_version": finding.analysis_version,
        "settings_hash": finding.settings_hash,
        "severity": severity_of(finding),
        "alignment": None if finding.alignment is None else asdict(finding.alignment),
        "beside": list(finding.beside),
        "samples_began_ns": finding.samples_began_ns,
        "start_id": finding.start_id,
    }


def known_from_document(document: Document) -> KnownFinding:
    """Reads a finding; an incident of the original becomes an incident of its own, with its number."""
    start_ns, end_ns = _time_ns(document, "start"), _time_ns(document, "end")
    ongoing = "end_ns" not in document and float(document["end_timestamp_ms"]) < 0
    severity = document.get("severity")  # absent where the original wrote it
    number = whole_of(document["incident_id"])
    event_id = _event_id(document)
    if "class" not in document:
        stated = stated_incident(document)
        document = {**stated._asdict(), "residual_percent": stated.residual_percent, **document}
        document |= {"class": stated.kind, "figures": dict(stated.figures)}
    finding = Finding(
        kind=str(document["class"]),
        box_id=box_id_of(document),
        start_ns=start_ns,
        end_ns=start_ns if ongoing else end_ns,
        uncertainty_ns=whole_of(document.get("uncertainty_ns", UNKNOWN_UNCERTAINTY_NS)),
        closed=bool(document.get("closed", not ongoing)),
        residual_v=known_number(document.get("residual_v")),
        residual_percent=known_number(document.get("residual_percent")),
        duration_cycles=known_number(document.get("duration_cycles")),
        ieee1159=known_text(document.get("ieee1159")),
        itic=known_text(document.get("itic")),
        semi_f47=known_text(document.get("semi_f47")),
        confidence=known_number(document.get("confidence")),
        because=known_text(document.get("because")) or "",
        measurement_type=str(document.get("measurement_type") or "VOLTAGE"),
        figures=_pairs(document.get("figures", {}).items()),
        clock_id=known_whole(document.get("clock_id")),
        analysis=known_text(document.get("analysis")),
        analysis_version=known_text(document.get("analysis_version")),
        settings_hash=known_text(document.get("settings_hash")),
        alignment=_alignment(document),
        onset_seen=bool(document.get("onset_seen", True)),
        beside=tuple(texts_of(document.get("beside"))),
        samples_began_ns=known_whole(document.get("samples_began_ns")),
        start_id=known_whole(document.get("start_id")),
        severity=None if severity is None else float(severity),
    )
    return KnownFinding(
        finding_id=number,
        incident_id=whole_of(document.get("group_id", number)),
        event_ids=tuple(map(whole_of, document.get("event_ids") or (event_id,))),
        finding=replace(finding, severity=severity_of(finding)) if severity is None else finding,
        pieces=tuple(
            Finding(
                **{
                    **piece,
                    "figures": _pairs(piece.get("figures", {}).items()),
                    "alignment": _alignment(piece),
                    "beside": tuple(piece.get("beside", ())),
                }
            )
            for piece in document.get("pieces", ())
        ),
        leads=document.get("leads"),
        by_hand=bool(document.get("by_hand", False)),
    )


def shown_from_document(document: Document) -> KnownFinding:
    """Reads a finding with what people wrote on it; a finding of ours is stored without that."""
    known = known_from_document(document)
    said = known.finding.because
    notes = [each for each in annotations(document) if each not in said]
    if not notes:
        return known
    because = "; ".join([*([said] if said else ()), *notes])
    return replace(known, finding=replace(known.finding, because=because))


def _alignment(document: Document) -> WaveformAlignment | None:
    fields = document.get("alignment")
    return None if fields is None else WaveformAlignment(**fields)


def _pairs(figures: Iterable[Sequence[Any]]) -> tuple[tuple[str, float], ...]:
    return tuple((str(name), float(value)) for name, value in figures if isinstance(value, int | float))
