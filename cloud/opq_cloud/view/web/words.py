"""Words for people: numbers with units, times with uncertainty, one sentence per incident.

Pure functions; unknown is an en dash, never 0.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import TypeVar

from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.incidents.box_events import (
    DOWNWARD,
    UPWARD,
    BoxEvent,
    BoxGroup,
    box_events,
    groups_of,
    naming_event,
    other_words,
)
from opq_cloud.store.incidents.box_events import is_steady as is_steady
from opq_cloud.store.incidents.join_plan import worst_rank
from opq_measure.classification.jump_levels import what_happened
from opq_measure.events.curves import INSTANTANEOUS_CYCLES
from opq_measure.written_numbers import significant
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, BoxArrival, Incident, StoredFinding, TimeSource

Said = TypeVar("Said")
Names = Mapping[str, str]
"""Box id -> the name that people gave it."""
NO_NAMES: Names = {}
BOXES_LISTED = 6
"""More Boxes are counted, not listed."""
MIN_CYCLES = 0.1
"""A shorter duration has only its time, because "0.0 cycles" is not informative; so has one above 30 cycles.
"""
UNKNOWN = "–"
THIN = "\u202f"
SEVERITIES = (2, 4, 6, 8)
"""The least severities that pages offer to choose."""
"""Narrow no-break space between number and unit."""

CLASS_PHRASES = {
    "sag": "sag",
    "swell": "swell",
    "interruption": "interruption",
    "undervoltage": "undervoltage",
    "overvoltage": "overvoltage",
    "impulsive_transient": "impulsive transient",
    "oscillatory_transient": "oscillatory transient",
    "periodic_notching": "periodic notching",
    "harmonics": "harmonics",
    "interharmonics": "interharmonics",
    "flicker": "flicker",
    "frequency_deviation": "frequency deviation",
    "phase_jump": "phase jump",
    "dc_offset": "DC offset",
    "noise": "noise",
    "rapid_voltage_change": "rapid voltage change",
    "mains_signalling": "mains signalling",
    "unbalance": "unbalance",
    "outage": "outage",
}
"""The classes of docs/reference/contracts.md, `analyze`, as within a sentence."""
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
NOT_RATED = "not rated"
SHORT_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
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
    text = f"{value:z,.{digits}f}".replace("-", "\u2212").replace(",", THIN)
    return f"{text}{THIN}{unit}" if unit else text


def counted(count: int, one: str, many: str) -> str:
    """`1 Box`, `3 Boxes`."""
    return f"{count} {one if count == 1 else many}"


def plain(value: float, unit: str) -> str:
    """A setting: `120 V`, `59.94 Hz`, without extra digits."""
    return f"{significant(value)}{THIN}{unit}"


def class_words(kind: str) -> str:
    """`harmonics+sag` -> `Harmonics and sag`; an unknown class is shown unchanged."""
    phrase = class_phrase(kind)
    return phrase[:1].upper() + phrase[1:]


def class_phrase(kind: str) -> str:
    """`harmonics+sag` -> `harmonics and sag`: `class_words` within a sentence."""
    return listed(_class_part(part) for part in kind.split("+"))


def _class_part(part: str) -> str:
    known = CLASS_PHRASES.get(part)
    return part.replace("_", " ") if known is None else known


def class_choices() -> dict[str, str]:
    """Class -> its words, for a form."""
    return {kind: class_words(kind) for kind in CLASS_PHRASES}


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
    return f"{minutes}\u202fmin {rest}\u202fs"


def span(seconds: float) -> str:
    """An approximate length for a line of recent values: `40 s`, `5 min`."""
    return f"{seconds:.0f}{THIN}s" if seconds < 90 else f"{seconds / 60:.0f}{THIN}min"


def cycles(value: float | None) -> str:
    """`9.5 cycles`; empty where it is not known, or where only its time is useful."""
    if value is None or not MIN_CYCLES <= value <= INSTANTANEOUS_CYCLES:
        return ""
    if value == 1:
        return "1.0 cycle"
    return f"{value:.1f} cycles"


def day_of_month(day: date) -> str:
    """`Tue 24`, on one line."""
    return f"{SHORT_DAYS[day.weekday()]}\N{NO-BREAK SPACE}{day.day}"


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
    return counted(seconds // 86400, "day ago", "days ago")


def age(seconds: int) -> str:
    """An approximate age: `42 s`, `5 min`, `3 h`, `2 days`."""
    if seconds < 90:
        return f"{seconds}{THIN}s"
    if seconds < 90 * 60:
        return f"{seconds // 60}{THIN}min"
    if seconds < 48 * 3600:
        return f"{seconds // 3600}{THIN}h"
    return counted(seconds // 86400, "day", "days")


def state(live: bool, age_ms: int, fresh_ms: int, late_ms: int = 0, clock_known: bool = True) -> str:
    """How a Box reports, in words: `Live`, `Late by 40 s` or `Silent for 5 min`.

    A Box that sends seldom is `Live, 42 s old`. Where the error of its clock is not known, that clock may be
    behind instead: `Late by 40 s, by its clock`.
    """
    if not live:
        return f"Silent for {age(age_ms // 1000)}"
    if late_ms:
        late = age(late_ms // 1000)
        return f"Late by {late}" if clock_known else f"Late by {late}, by its clock"
    return "Live" if age_ms < fresh_ms else f"Live, {age(age_ms // 1000)} old"


def reporting(count: int, live: int) -> str:
    """`3 Boxes, all of them reporting.`, `3 Boxes, 2 of them reporting now.`"""
    if live == count:
        return counted(count, "Box, and it reports.", "Boxes, all of them reporting.")
    if not live:
        return f"{counted(count, 'Box', 'Boxes')}, none of them reporting now."
    return f"{counted(count, 'Box', 'Boxes')}, {live} of them reporting now."


def stale(newest_ns: int, now_ns: int) -> tuple[str, str]:
    """The words of a page whose values no longer change: a heading and its consequence; as in `words.js`."""
    old = age(max(0, (now_ns - newest_ns) // 1_000_000_000))
    return (
        "No Box reports now.",
        f"The newest value is {old} old: the figures here are from then.",
    )


def uncertainty(value_ns: int | None) -> str:
    """`± 1.2 ms`, `± 850 µs`; in words where it is not known."""
    if value_ns is None or value_ns >= UNKNOWN_UNCERTAINTY_NS:
        return "uncertainty not known"
    for scale, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
        if value_ns >= scale:
            value = value_ns / scale
            return f"±{THIN}{value:.{0 if value >= 9.95 else 1}f}{THIN}{unit}"
    return f"±{THIN}{value_ns}{THIN}ns"


def arrived(arrival: BoxArrival, first_ns: int, may_be_first: bool) -> str:
    """The time after the first arrival, as finely as it is known; `first` for all that may have been it."""
    after_ns = arrival.start_ns - first_ns
    if may_be_first or after_ns == 0:
        return "first"
    if arrival.uncertainty_ns < 50_000 and after_ns < 1_000_000:
        return f"{after_ns / 1000:.0f}{THIN}µs later"
    return f"{after_ns / 1e6:,.1f}{THIN}ms later"


def clock_words(arrival: BoxArrival, is_reference: bool, boxes: int = 1) -> str:
    """The clock by which one or several `boxes` have their place; others were compared with a reference."""
    if arrival.aligned_to not in (None, arrival.box_id):
        return f", by its waveform beside that of Box {arrival.aligned_to}"
    if is_reference:
        return "" if arrival.disciplined else "; the waveforms of others are compared with its own"
    if arrival.disciplined:
        return ""
    whose = "its clock is" if boxes == 1 else "their clocks are"
    return f"; {whose} too poor to say who was first"


def source(value: TimeSource) -> str:
    return SOURCE_WORDS[value]


def listed(items: Iterable[str]) -> str:
    """`1`, `1 and 4`, `1, 2 and 4`."""
    parts = list(items)
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def listed_boxes(incidents: Iterable[Incident]) -> set[str]:
    """The Boxes that a list of these incidents names."""
    found: set[str] = set()
    for each in incidents:
        if len(each.box_ids) <= BOXES_LISTED:
            found.update(each.box_ids)
            continue
        main, others = groups_of(each)
        for group in (main, *others):
            found.update(group.box_ids if len(group.box_ids) <= BOXES_LISTED else ())
    return found


def names_of(records: Iterable[BoxRecord]) -> dict[str, str]:
    """Box id -> name, where people gave one."""
    return {box.box_id: box.name for box in records if is_given(box.box_id, box.name)}


def is_given(box_id: str, name: str) -> bool:
    return name not in ("", box_id, f"Box {box_id}")


def boxes(ids: Sequence[str], names: Names = NO_NAMES) -> str:
    """`Box 1`, `Boxes 1 (Cellar) and 4`; a long list is only counted."""
    if len(ids) > BOXES_LISTED:
        return counted(len(ids), "Box", "Boxes")
    each = listed(named(box_id, names) for box_id in ids)
    return f"{'Box' if len(ids) == 1 else 'Boxes'} {each}"


def stated_nominal(nominal_v: Iterable[tuple[str, float]], names: Names = NO_NAMES) -> str:
    """Names the Boxes shown by the nominal voltage that their records have for then, because no finding has
    one; empty for none."""
    parts = [f"{boxes(ids, names)} ({plain(volts, 'V')})" for ids, volts in alike(nominal_v)]
    if not parts:
        return ""
    return f"By the nominal voltage of then, because no finding states another: {listed(parts)}."


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
    """The finding, of one Box or any, that names the incident or would if it were alone."""
    found = [item for item in incident.findings if box_id in (None, item.finding.box_id)]
    if is_steady(incident.kind):  # at several Boxes, none with a residual
        return max(found, key=_severity_rank, default=None)
    return max(found, key=lambda item: worst_rank(item.finding), default=None)


def _severity_rank(item: StoredFinding) -> tuple[float, tuple[float, int, int, str]]:
    return item.finding.severity or 0.0, worst_rank(item.finding)


def headline(incident: Incident, names: Names = NO_NAMES) -> str:
    """`Sag to 85.2 % at Box 1, rapid voltage change at Box 4`: what the worst Boxes had, then the others."""
    main, others = groups_of(incident)
    level = "" if main.lowest is None else f" to {number(main.lowest, 1, '%')}"
    what = f"{class_words(incident.kind)}{level} at {boxes(main.box_ids, names)}"
    return ", ".join([what, *_others_words(others, names)])


def where(incident: Incident, names: Names = NO_NAMES) -> str:
    """The Boxes that had what the incident is named after: `Box 1`, `Boxes 1 and 2, of 3`."""
    count = len(incident.box_ids)
    alike = incident.box_ids if count == 1 else groups_of(incident)[0].box_ids
    text = boxes(alike, names)
    return text if len(alike) == count else f"{text}, of {count}"


def span_of(incident: Incident) -> str:
    """The length of the event that names it: `148 ms`, `between 1.8 s and 12 s` without a known end."""
    return _length(naming_event(incident))


def lasted(incident: Incident) -> str:
    """`span_of`, or words where its end was not seen."""
    event = naming_event(incident)
    return _length(event) if event.closed else "open at the end"


def shown_length(incident: Incident) -> str:
    """`span_of`, as far as it was seen: `At least 3 min 20 s`."""
    event = naming_event(incident)
    return _length(event) if event.closed else f"At least {_length(event)}"


def cycles_of(incident: Incident) -> str:
    """Its cycles, and at several Boxes the one that had them: `7.9 cycles, at Box 1`."""
    event, found = naming_event(incident), worst(incident)
    if event.latest_end_ns > event.end_ns:
        return "nothing was measured around its end"
    whole = found is not None and found.finding.end_ns - found.finding.start_ns == event.length_ns
    count = cycles(found.finding.duration_cycles) if found is not None and whole else ""
    if len(incident.box_ids) == 1:
        return count
    return ", ".join(filter(None, (count, f"at Box {event.box_id}")))


def _length(event: BoxEvent) -> str:
    least, most = ((end - event.start_ns) / 1e9 for end in (event.end_ns, event.latest_end_ns))
    if event.latest_end_ns == event.end_ns:
        return duration(least)
    return f"between {duration(least)} and {duration(most)}"


def outline(incident: Incident, names: Names = NO_NAMES) -> str:
    """The text after the class in a list: `to 85.2 % for 148 ms at Box 1, rapid voltage change at Box 4`."""
    events = box_events(incident)
    main, others = groups_of(incident, events)
    named = naming_event(incident, events)
    lasting = _length(named)
    if not named.closed:
        lasting = f"{lasting} so far, without an end"
    level = "" if main.lowest is None else f"to {number(main.lowest, 1, '%')} "
    where = f"{level}for {lasting} at {boxes(main.box_ids, names)}"
    return ", ".join([where, *_others_words(others, names)])


def _others_words(others: Sequence[BoxGroup], names: Names) -> list[str]:
    return other_words(
        others,
        class_phrase,
        lambda percent: number(percent, 1, "%"),
        lambda box_ids: boxes(box_ids, names),
    )


def sentence(incident: Incident, nominal_v: float, names: Names = NO_NAMES) -> str:
    """The incident in one sentence, for readers who do not know the word residual."""
    found = worst(incident)
    lasting = _lasting(incident, found)
    if found is None or found.finding.residual_v is None:
        main, others = groups_of(incident)
        what = f"{class_words(incident.kind)} at {boxes(main.box_ids, names)}, {lasting}"
        also = "".join(f"; {each}" for each in _others_words(others, names))
        if found is None or not found.finding.because:
            return f"{what}{also}."
        many = is_steady(incident.kind) and len(main.box_ids) > 1
        most = f", the most at Box {named(found.finding.box_id, names)}" if many else ""
        return f"{what}{most}: {found.finding.because}{also}."
    finding = found.finding
    volts, percent = number(finding.residual_v, 1, "V"), number(finding.residual_percent, 1, "%")
    level = f"{volts}, {percent} of the nominal {plain(nominal_v, 'V')}"
    voltage = f"voltage at Box {named(finding.box_id, names)}"
    jumped = what_happened(finding.kind) != finding.kind
    voltage = f"The phase jumped, and the {voltage}" if jumped else f"The {voltage}"
    if "interruption" in incident.kind.split("+"):
        moved = f"{voltage} was lost (down to {level}), {lasting}"
    elif not UPWARD.isdisjoint(finding.kind.split("+")):
        moved = f"{voltage} rose to {level}, {lasting}"
    else:
        moved = f"{voltage} fell to {level}, {lasting}"
    main, others = groups_of(incident)
    alike = [box_id for box_id in main.box_ids if box_id != finding.box_id]
    same = [f"{boxes(alike, names)} had the same"] if alike else []
    return "; ".join([moved, *same, *_others_words(others, names)]) + "."


def _lasting(incident: Incident, found: StoredFinding | None) -> str:
    event = naming_event(incident)
    length = duration(event.length_ns / 1e9)
    if not event.closed:
        return f"and had not recovered when the recording ended, {length} after it began"
    if event.latest_end_ns > event.end_ns:
        return f"for {_length(event)}"
    whole = found is not None and found.finding.end_ns - found.finding.start_ns == event.length_ns
    count = cycles(found.finding.duration_cycles if found and whole else None)
    return f"for {count} ({length})" if count else f"for {length}"
