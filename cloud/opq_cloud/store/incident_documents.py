"""A finding as one document of the original's `incidents` collection (D.6), and back."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from opq_cloud.store.join import Known
from opq_proto.messages import Finding

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
}
"""Class of a finding -> word of the original; `frequency_deviation` has two, others UNDEFINED."""

_KINDS = {word: kind for kind, word in CLASSIFICATIONS.items()} | {
    "FREQUENCY_SAG": "frequency_deviation",
    "FREQUENCY_SWELL": "frequency_deviation",
}
HALF_CYCLE_MS = 8.33
"""The original's limit: at or below it a duration has no IEEE 1159 word."""


def classifications(finding: Finding) -> list[str]:
    """The original's words for each part of a class, `harmonics+sag` having two."""
    words = []
    for part in finding.kind.split("+"):
        if part == "frequency_deviation" and finding.residual_percent is not None:
            words.append("FREQUENCY_SAG" if finding.residual_percent < 100.0 else "FREQUENCY_SWELL")
        else:
            words.append(CLASSIFICATIONS.get(part, "UNDEFINED"))
    return words


def ieee_duration(duration_ms: float) -> str:
    """The original's word for a duration (D.6)."""
    if duration_ms <= HALF_CYCLE_MS:
        return "UNDEFINED"
    for limit_ms, word in ((500.0, "INSTANTANEOUS"), (3000.0, "MOMENTARY"), (60_000.0, "TEMPORARY")):
        if duration_ms <= limit_ms:
            return word
    return "SUSTAINED"


def deviation_from_nominal(finding: Finding) -> float:
    """Volts between nominal and the residual; -1 (the original's word for none) without one."""
    if finding.residual_v is None or not finding.residual_percent:
        return -1.0
    return abs(finding.residual_v - finding.residual_v * 100.0 / finding.residual_percent)


def _to_ms(t_ns: int) -> float:
    """Whole and part apart: nanoseconds since 1970 are beyond the 53 bits of a double."""
    return t_ns // 1_000_000 + t_ns % 1_000_000 / 1e6


def _to_ns(t_ms: float) -> int:
    whole = int(t_ms)
    return whole * 1_000_000 + round((t_ms - whole) * 1e6)


def incident_document(known: Known, expire_at: int, location: str = "") -> dict[str, Any]:
    """Without `measurements` and `gridfs_filename`, which the caller may fill."""
    finding = known.finding
    return {
        "incident_id": known.finding_id, "event_id": min(known.event_ids), "box_id": finding.box_id,
        "start_timestamp_ms": _to_ms(finding.start_ns), "end_timestamp_ms": _to_ms(finding.end_ns),
        "location": location, "measurement_type": finding.measurement_type,
        "deviation_from_nominal": deviation_from_nominal(finding), "measurements": [],
        "gridfs_filename": "", "classifications": classifications(finding),
        "ieee_duration": ieee_duration((finding.end_ns - finding.start_ns) / 1e6),
        "annotations": [], "metadata": {}, "expire_at": expire_at,
        "group_id": known.incident_id, "class": finding.kind,
        "start_ns": finding.start_ns, "end_ns": finding.end_ns,
        "uncertainty_ns": finding.uncertainty_ns, "event_ids": list(known.event_ids),
        "closed": finding.closed, "residual_v": finding.residual_v,
        "residual_percent": finding.residual_percent, "duration_cycles": finding.duration_cycles,
        "ieee1159": finding.ieee1159, "itic": finding.itic, "semi_f47": finding.semi_f47,
        "confidence": finding.confidence, "because": finding.because,
        "pieces": [asdict(piece) for piece in known.pieces],
    }  # fmt: skip


def known_from_document(document: Mapping[str, Any]) -> Known:
    """Also of an incident that the original stored: it is an incident of its own, under its number."""
    start_ns = int(document.get("start_ns", _to_ns(document["start_timestamp_ms"])))
    end_ns = int(document.get("end_ns", _to_ns(document["end_timestamp_ms"])))
    ongoing = "end_ns" not in document and float(document["end_timestamp_ms"]) < 0
    words = document.get("classifications") or ["UNDEFINED"]
    kinds = {_KINDS.get(str(word), str(word).lower()) for word in words}
    number = int(document["incident_id"])
    event_id = int(document.get("event_id", -1))
    return Known(
        finding_id=number,
        incident_id=int(document.get("group_id", number)),
        event_ids=tuple(int(e) for e in document.get("event_ids", (event_id,))),
        finding=Finding(
            kind=str(document.get("class", "+".join(sorted(kinds)))),
            box_id=str(document["box_id"]),
            start_ns=start_ns,
            end_ns=start_ns if ongoing else end_ns,
            uncertainty_ns=int(document.get("uncertainty_ns", 0)),
            closed=bool(document.get("closed", not ongoing)),
            residual_v=document.get("residual_v"),
            residual_percent=document.get("residual_percent"),
            duration_cycles=document.get("duration_cycles"),
            ieee1159=document.get("ieee1159"),
            itic=document.get("itic"),
            semi_f47=document.get("semi_f47"),
            confidence=document.get("confidence"),
            because=str(document.get("because", "")),
            measurement_type=str(document.get("measurement_type", "VOLTAGE")),
        ),
        pieces=tuple(Finding(**piece) for piece in document.get("pieces", ())),
    )
