"""Words for people: numbers with units, times with uncertainty, one sentence per incident.

Pure functions; unknown is an en dash, never 0.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from opq_measure.events.curves import INSTANTANEOUS_CYCLES
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, BoxArrival, Incident, StoredFinding, TimeSource

Said = TypeVar("Said")
Names = Mapping[str, str]
"""Box id -> the name that people gave it."""
NO_NAMES: Names = {}
BOXES_LISTED = 6
"""More Boxes are counted, not listed."""
LEAST_CYCLES = 0.1
"""A shorter duration has only its time, because "0.0 cycles" says nothing; so has one above 30 cycles."""
UNKNOWN = "–"
THIN = "\u202f"
"""Narrow no-break space between number and unit."""

CLASS_WORDS = {
    "sag": "Sag",
    "swell": "Swell",
    "interruption": "Interruption",
    "undervoltage": "Undervoltage",
    "overvoltage": "Overvoltage",
    "impulsive_transient": "Impulsive transient",
    "oscillatory_transient": "Oscillatory transient",
    "periodic_notching": "Periodic notching",
    "harmonics": "Harmonics",
    "interharmonics": "Interharmonics",
    "flicker": "Flicker",
    "frequency_deviation": "Frequency deviation",
    "phase_jump": "Phase jump",
    "dc_offset": "DC offset",
    "noise": "Noise",
    "rapid_voltage_change": "Rapid voltage change",
    "mains_signalling": "Mains signalling",
    "unbalance": "Unbalance",
    "outage": "Outage",
}
"""The classes of contracts.md, `analyze`."""
DOWNWARD = frozenset({"sag", "interruption", "undervoltage"})
UPWARD = frozenset({"swell", "overvoltage"})

ITIC_WORDS = {
    "no_interruption_in_function": "No interruption in function",
    "no_damage": "No damage region: may stop, is not harmed",
    "prohibited": "Prohibited region",
}
ITIC_SHORT = {
    "no_interruption_in_function": "No interruption",
    "no_damage": "May stop working",
    "prohibited": "May be damaged",
}
"""The consequence for a machine on this supply; the regions' own names are ITIC_WORDS."""
F47_WORDS = {"pass": "Pass", "fail": "Fail", "not_applicable": "Not applicable"}
SOURCE_WORDS = {
    TimeSource.GPS: "GPS",
    TimeSource.HOLDOVER: "GPS, in holdover",
    TimeSource.NTP: "NTP",
    TimeSource.FREE: "free-running clock",
}


def number(value: float | None, digits: int, unit: str = "") -> str:
    """`122.14 V`; an en dash for None and values that are not finite."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    text = f"{value:,.{digits}f}".replace("-", "\u2212").replace(",", THIN)
    return f"{text}{THIN}{unit}" if unit else text


def plain(value: float, unit: str) -> str:
    """A setting: `120 V`, `59.94 Hz`, without extra digits."""
    return f"{value:g}{THIN}{unit}"


def class_words(kind: str) -> str:
    """`harmonics+sag` -> `Harmonics and sag`; an unknown class is shown unchanged."""
    parts = [CLASS_WORDS.get(part, part.replace("_", " ").capitalize()) for part in kind.split("+")]
    return " and ".join([parts[0], *(part if part.isupper() else _lower(part) for part in parts[1:])])


def class_phrase(kind: str) -> str:
    """`harmonics+sag` -> `harmonics and sag`: `class_words` within a sentence."""
    return _lower(class_words(kind))


def _lower(text: str) -> str:
    return text if text.startswith("DC") else text[:1].lower() + text[1:]


def class_tone(kind: str) -> str:
    """The colour family of a class: `down`, `out`, `up`, `other` (CSS and charts)."""
    parts = set(kind.split("+"))
    if "interruption" in parts:
        return "out"
    if parts & DOWNWARD:
        return "down"
    return "up" if parts & UPWARD else "other"


def duration(seconds: float) -> str:
    """`150 ms`, `2.34 s`, `3 min 20 s`; a phase jump has no length and is `an instant`."""
    if seconds == 0:
        return "an instant"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.{0 if seconds >= 0.0995 else 1}f}{THIN}ms"
    if seconds < 60:
        return f"{seconds:.2f}{THIN}s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}{THIN}min {rest}{THIN}s"


def span(seconds: float) -> str:
    """An approximate length for a line of recent values: `40 s`, `5 min`."""
    return f"{seconds:.0f}{THIN}s" if seconds < 90 else f"{seconds / 60:.0f}{THIN}min"


def cycles(value: float | None) -> str:
    """`9.5 cycles`; empty where it is not known, or where only its time is useful."""
    if value is None or not LEAST_CYCLES <= value <= INSTANTANEOUS_CYCLES:
        return ""
    return f"{value:.1f} cycle" + ("" if value == 1 else "s")


def utc(t_ns: int, digits: int = 3) -> str:
    """`2026-11-20 08:13:22.123`; with 0 to 6 digits of the second, cut, not rounded."""
    text = datetime.fromtimestamp(t_ns // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return f"{text}.{t_ns % 1_000_000_000:09d}"[: 19 + (digits + 1 if digits else 0)]


def utc_attribute(t_ns: int) -> str:
    """For `<time datetime>`: ISO 8601 with Z."""
    return utc(t_ns).replace(" ", "T") + "Z"


def clock(t_ns: int) -> str:
    """The time of day: `08:13:22`."""
    return utc(t_ns, 0)[11:]


def ago(t_ns: int, now_ns: int) -> str:
    """`just now`, `40 s ago`, `3 min ago`, `5 h ago`, `2 days ago`."""
    seconds = (now_ns - t_ns) // 1_000_000_000
    if seconds < 5:
        return "just now"
    if seconds < 60:
        return f"{seconds}{THIN}s ago"
    if seconds < 3600:
        return f"{seconds // 60}{THIN}min ago"
    if seconds < 48 * 3600:
        return f"{seconds // 3600}{THIN}h ago"
    return f"{seconds // 86400} days ago"


def age(seconds: int) -> str:
    """An approximate age: `42 s`, `5 min`, `3 h`, `2 days`."""
    if seconds < 90:
        return f"{seconds}{THIN}s"
    if seconds < 90 * 60:
        return f"{seconds // 60}{THIN}min"
    return f"{seconds // 3600}{THIN}h" if seconds < 48 * 3600 else f"{seconds // 86400} days"


def state(live: bool, age_ms: int, fresh_ms: int) -> str:
    """`Live`; `Live, 42 s old`, where a Box sends less often; `Silent for 5 min`."""
    if not live:
        return f"Silent for {age(age_ms // 1000)}"
    return "Live" if age_ms < fresh_ms else f"Live, {age(age_ms // 1000)} old"


def reporting(count: int, live: int) -> str:
    """`3 Boxes, all of them reporting.`, `3 Boxes, 2 of them reporting now.`"""
    boxes_words = f"{count} Box" + ("" if count == 1 else "es")
    if live == count:
        return f"{boxes_words}, {'and it reports' if count == 1 else 'all of them reporting'}."
    return f"{boxes_words}, {live or 'none'} of them reporting now."


def stale(newest_ns: int, now_ns: int) -> tuple[str, str]:
    """The words of a page whose values no longer change: a heading and its consequence; as in `words.js`."""
    old = age(max(0, (now_ns - newest_ns) // 1_000_000_000))
    return "No Box reports now.", f"The newest value is {old} old: what stands here is from then."


def uncertainty(value_ns: int | None) -> str:
    """`± 1.2 ms`, `± 850 µs`; in words where it is not known."""
    if value_ns is None or value_ns >= UNKNOWN_UNCERTAINTY_NS:
        return "uncertainty not known"
    for scale, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
        if value_ns >= scale:
            value = value_ns / scale
            return f"±{THIN}{value:.{0 if value >= 9.95 else 1}f}{THIN}{unit}"
    return f"±{THIN}{value_ns}{THIN}ns"


def clock_words(arrival: BoxArrival, is_reference: bool) -> str:
    """The clock that gives a Box its place in the order; `is_reference`: others were compared with it."""
    if arrival.aligned_to not in (None, arrival.box_id):
        return f", by its waveform beside that of Box {arrival.aligned_to}"
    if is_reference:
        return "" if arrival.disciplined else "; the waveforms of others are compared with its own"
    return "" if arrival.disciplined else "; its clock is too poor to say who was first"


def source(value: TimeSource) -> str:
    return SOURCE_WORDS[value]


def listed(items: Iterable[str]) -> str:
    """`1`, `1 and 4`, `1, 2 and 4`."""
    parts = list(items)
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1]))) if parts else ""


def boxes(ids: Sequence[str], names: Names = NO_NAMES) -> str:
    """`Box 1`, `Boxes 1 (Cellar) and 4`; a long list is only counted."""
    if len(ids) > BOXES_LISTED:
        return f"{len(ids)} Boxes"
    return ("Box " if len(ids) == 1 else "Boxes ") + listed(named(box_id, names) for box_id in ids)


def present_nominal(nominal_v: Iterable[tuple[str, float]], names: Names = NO_NAMES) -> str:
    """Names the Boxes shown by their present nominal voltage, because no finding has one; empty for none."""
    parts = [f"{boxes(ids, names)} ({plain(volts, 'V')})" for ids, volts in alike(nominal_v)]
    return f"By the present nominal voltage, for no finding says another: {listed(parts)}." if parts else ""


def alike(statements: Iterable[tuple[str, Said]]) -> list[tuple[list[str], Said]]:
    """Groups Boxes with the same value, in their order; the smallest group comes first."""
    groups: dict[Said, list[str]] = {}
    for box_id, what in statements:
        groups.setdefault(what, []).append(box_id)
    return sorted(((box_ids, what) for what, box_ids in groups.items()), key=lambda pair: len(pair[0]))


def named(box_id: str, names: Names) -> str:
    """`1`, or with the name that people gave it, `1 (Cellar)`."""
    return f"{box_id} ({names[box_id]})" if box_id in names else box_id


def worst(incident: Incident, box_id: str | None = None) -> StoredFinding | None:
    """The finding (of one Box) furthest from nominal; without residuals one of the incident's class."""
    found = [item for item in incident.findings if box_id in (None, item.finding.box_id)]
    with_residual = [item for item in found if item.finding.residual_percent is not None]
    if not with_residual:
        same_class = [item for item in found if item.finding.kind == incident.kind]
        return next(iter(same_class or found), None)
    return max(with_residual, key=lambda item: abs((item.finding.residual_percent or 100.0) - 100.0))


def headline(incident: Incident, names: Names = NO_NAMES) -> str:
    """`Sag to 85.2 % at Box 1`."""
    text = class_words(incident.kind)
    if incident.residual_percent is not None:
        text += f" to {number(incident.residual_percent, 1, '%')}"
    return f"{text} at {boxes(incident.box_ids, names)}"


def outline(incident: Incident, names: Names = NO_NAMES) -> str:
    """The text after the class in a list: `to 85.2 % for 148 ms at Box 1`."""
    level = (
        f"to {number(incident.residual_percent, 1, '%')} " if incident.residual_percent is not None else ""
    )
    length = incident.end_ns - incident.start_ns
    lasting = f"for {duration(length / 1e9)}{'' if incident.closed else ' so far, without an end'}"
    return f"{level}{lasting} at {boxes(incident.box_ids, names)}"


def sentence(incident: Incident, nominal_v: float, names: Names = NO_NAMES) -> str:
    """The incident in one sentence, for readers who do not know the word residual."""
    found = worst(incident)
    where = boxes(incident.box_ids, names)
    lasting = _lasting(incident, found)
    if found is None or found.finding.residual_v is None:
        why = f": {found.finding.because}" if found is not None and found.finding.because else ""
        return f"{class_words(incident.kind)} at {where}, {lasting}{why}."
    finding = found.finding
    level = (
        f"{number(finding.residual_v, 1, 'V')}, {number(finding.residual_percent, 1, '%')} of the "
        f"nominal {plain(nominal_v, 'V')}"
    )
    if "interruption" in incident.kind.split("+"):
        moved = f"was lost (down to {level})"
    elif finding.kind in UPWARD:
        moved = f"rose to {level}"
    else:
        moved = f"fell to {level}"
    place = f"Box {named(finding.box_id, names)}"
    others = [box_id for box_id in incident.box_ids if box_id != finding.box_id]
    also = f"; {boxes(others, names)} saw it too" if others else ""
    return f"The voltage at {place} {moved}, {lasting}{also}."


def has_parts(incident: Incident) -> bool:
    """Whether several findings of one Box, without a residual, are one that lasts from first to last."""
    parts = {(item.finding.box_id, item.finding.kind) for item in incident.findings}
    return len(incident.findings) > len(parts) == 1 and incident.residual_percent is None


def _lasting(incident: Incident, found: StoredFinding | None) -> str:
    if not incident.closed:
        so_far = duration((incident.end_ns - incident.start_ns) / 1e9)
        return f"and had not recovered when the recording ended, {so_far} after it began"
    one = found.finding if found and not has_parts(incident) else None
    first, last = (one.start_ns, one.end_ns) if one else (incident.start_ns, incident.end_ns)
    length = duration((last - first) / 1e9)
    count = cycles(one.duration_cycles if one else None)
    return f"for {count} ({length})" if count else f"for {length}"
