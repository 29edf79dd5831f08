"""Words for people: numbers with units, times with uncertainty, one sentence per incident.

Pure functions, in the language of the page; unknown is an en dash, never 0.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import TypeVar

from opq_cloud.store.incidents.join_plan import worst_rank
from opq_cloud.view.languages import N_, _, ngettext
from opq_measure.events.curves import INSTANTANEOUS_CYCLES
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, BoxArrival, Incident, StoredFinding, TimeSource

Said = TypeVar("Said")
Names = Mapping[str, str]
"""Box id -> the name that people gave it."""
NO_NAMES: Names = {}
BOXES_LISTED = 6
"""More Boxes are counted, not listed."""
MIN_CYCLES = 0.1
"""A shorter duration has only its time, because "0.0 cycles" says nothing; so has one above 30 cycles."""
UNKNOWN = "–"
THIN = "\u202f"
"""Narrow no-break space between number and unit."""

CLASS_PHRASES = {
    "sag": N_("sag"),
    "swell": N_("swell"),
    "interruption": N_("interruption"),
    "undervoltage": N_("undervoltage"),
    "overvoltage": N_("overvoltage"),
    "impulsive_transient": N_("impulsive transient"),
    "oscillatory_transient": N_("oscillatory transient"),
    "periodic_notching": N_("periodic notching"),
    "harmonics": N_("harmonics"),
    "interharmonics": N_("interharmonics"),
    "flicker": N_("flicker"),
    "frequency_deviation": N_("frequency deviation"),
    "phase_jump": N_("phase jump"),
    "dc_offset": N_("DC offset"),
    "noise": N_("noise"),
    "rapid_voltage_change": N_("rapid voltage change"),
    "mains_signalling": N_("mains signalling"),
    "unbalance": N_("unbalance"),
    "outage": N_("outage"),
}
"""The classes of contracts.md, `analyze`, as within a sentence."""
DOWNWARD = frozenset({"sag", "interruption", "undervoltage"})
UPWARD = frozenset({"swell", "overvoltage"})

ITIC_WORDS = {
    "no_interruption_in_function": N_("No interruption in function"),
    "no_damage": N_("No damage region: may stop, is not harmed"),
    "prohibited": N_("Prohibited region"),
}
ITIC_SHORT = {
    "no_interruption_in_function": N_("No interruption"),
    "no_damage": N_("May stop working"),
    "prohibited": N_("May be damaged"),
}
"""The consequence for a machine on this supply; the regions' own names are ITIC_WORDS."""
F47_WORDS = {"pass": N_("Pass"), "fail": N_("Fail"), "not_applicable": N_("Not applicable")}
NOT_RATED = N_("not rated")
MONTHS = (
    N_("January"), N_("February"), N_("March"), N_("April"), N_("May"), N_("June"), N_("July"), N_("August"),
    N_("September"), N_("October"), N_("November"), N_("December"),
)  # fmt: skip
SHORT_MONTHS = (
    N_("Jan"), N_("Feb"), N_("Mar"), N_("Apr"), N_("May"), N_("Jun"), N_("Jul"), N_("Aug"), N_("Sep"),
    N_("Oct"), N_("Nov"), N_("Dec"),
)  # fmt: skip
DAYS = (
    N_("Monday"), N_("Tuesday"), N_("Wednesday"), N_("Thursday"), N_("Friday"), N_("Saturday"), N_("Sunday"),
)  # fmt: skip
SHORT_DAYS = (N_("Mon"), N_("Tue"), N_("Wed"), N_("Thu"), N_("Fri"), N_("Sat"), N_("Sun"))
SOURCE_WORDS = {
    TimeSource.GPS: "GPS",
    TimeSource.HOLDOVER: N_("GPS, in holdover"),
    TimeSource.NTP: "NTP",
    TimeSource.FREE: N_("free-running clock"),
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
    phrase = class_phrase(kind)
    return phrase[:1].upper() + phrase[1:]


def class_phrase(kind: str) -> str:
    """`harmonics+sag` -> `harmonics and sag`: `class_words` within a sentence."""
    return listed(_class_part(part) for part in kind.split("+"))


def _class_part(part: str) -> str:
    known = CLASS_PHRASES.get(part)
    return part.replace("_", " ") if known is None else _(known)


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
        return _("an instant")
    if seconds < 0.9995:
        return f"{seconds * 1e3:.{0 if seconds >= 0.0995 else 1}f}{THIN}ms"
    if seconds < 60:
        return f"{seconds:.2f}{THIN}s"
    minutes, rest = divmod(round(seconds), 60)
    return _("%(minutes)s\u202fmin %(rest)s\u202fs", minutes=minutes, rest=rest)


def span(seconds: float) -> str:
    """An approximate length for a line of recent values: `40 s`, `5 min`."""
    return f"{seconds:.0f}{THIN}s" if seconds < 90 else f"{seconds / 60:.0f}{THIN}min"


def cycles(value: float | None) -> str:
    """`9.5 cycles`; empty where it is not known, or where only its time is useful."""
    if value is None or not MIN_CYCLES <= value <= INSTANTANEOUS_CYCLES:
        return ""
    if value == 1:
        return _("1.0 cycle")
    return _("%(number)s cycles", number=f"{value:.1f}")


def month(day: date) -> str:
    """`November 2026`."""
    return _("%(month)s %(year)s", month=_(MONTHS[day.month - 1]), year=day.year)


def long_date(day: date) -> str:
    """`Tuesday, 24 November 2026`."""
    return _(
        "%(weekday)s, %(day)s %(month)s %(year)s",
        weekday=_(DAYS[day.weekday()]), day=day.day, month=_(MONTHS[day.month - 1]), year=day.year,
    )  # fmt: skip


def short_date(day: date) -> str:
    """`24 Nov`."""
    return _("%(day)s %(month)s", day=day.day, month=_(SHORT_MONTHS[day.month - 1]))


def day_of_month(day: date) -> str:
    """`Tue 24`."""
    return _("%(weekday)s %(day)s", weekday=_(SHORT_DAYS[day.weekday()]), day=day.day)


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
        return _("just now")
    if seconds < 60:
        return _("%(age)s ago", age=f"{seconds}{THIN}s")
    if seconds < 3600:
        return _("%(age)s ago", age=f"{seconds // 60}{THIN}min")
    if seconds < 48 * 3600:
        return _("%(age)s ago", age=f"{seconds // 3600}{THIN}h")
    return ngettext("%(num)d day ago", "%(num)d days ago", seconds // 86400)


def age(seconds: int) -> str:
    """An approximate age: `42 s`, `5 min`, `3 h`, `2 days`."""
    if seconds < 90:
        return f"{seconds}{THIN}s"
    if seconds < 90 * 60:
        return f"{seconds // 60}{THIN}min"
    if seconds < 48 * 3600:
        return f"{seconds // 3600}{THIN}h"
    return ngettext("%(num)d day", "%(num)d days", seconds // 86400)


def state(live: bool, age_ms: int, fresh_ms: int, late_ms: int = 0, clock_known: bool = True) -> str:
    """`Live`; `Live, 42 s old`, where a Box sends less often; `Late by 40 s`; `Silent for 5 min`.

    Without a known bound of its clock it may be that the clock is behind: `Late by 40 s, by its clock`.
    """
    if not live:
        return _("Silent for %(age)s", age=age(age_ms // 1000))
    if late_ms:
        late = age(late_ms // 1000)
        return _("Late by %(age)s", age=late) if clock_known else _("Late by %(age)s, by its clock", age=late)
    return _("Live") if age_ms < fresh_ms else _("Live, %(age)s old", age=age(age_ms // 1000))


def reporting(count: int, live: int) -> str:
    """`3 Boxes, all of them reporting.`, `3 Boxes, 2 of them reporting now.`"""
    if live == count:
        return ngettext("%(num)d Box, and it reports.", "%(num)d Boxes, all of them reporting.", count)
    if not live:
        return ngettext(
            "%(num)d Box, none of them reporting now.", "%(num)d Boxes, none of them reporting now.", count
        )
    return ngettext(
        "%(num)d Box, %(live)d of them reporting now.",
        "%(num)d Boxes, %(live)d of them reporting now.",
        count,
        live=live,
    )


def stale(newest_ns: int, now_ns: int) -> tuple[str, str]:
    """The words of a page whose values no longer change: a heading and its consequence; as in `words.js`."""
    old = age(max(0, (now_ns - newest_ns) // 1_000_000_000))
    return (
        _("No Box reports now."),
        _("The newest value is %(age)s old: what stands here is from then.", age=old),
    )


def uncertainty(value_ns: int | None) -> str:
    """`± 1.2 ms`, `± 850 µs`; in words where it is not known."""
    if value_ns is None or value_ns >= UNKNOWN_UNCERTAINTY_NS:
        return _("uncertainty not known")
    for scale, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
        if value_ns >= scale:
            value = value_ns / scale
            return f"±{THIN}{value:.{0 if value >= 9.95 else 1}f}{THIN}{unit}"
    return f"±{THIN}{value_ns}{THIN}ns"


def arrived(arrival: BoxArrival, first_ns: int, may_be_first: bool) -> str:
    """The time after the first arrival, as finely as it is known; `first` for all that may have been it."""
    after_ns = arrival.start_ns - first_ns
    if may_be_first or after_ns == 0:
        return _("first")
    if arrival.uncertainty_ns < 50_000 and after_ns < 1_000_000:
        return _("%(time)s later", time=f"{after_ns / 1000:.0f}{THIN}µs")
    return _("%(time)s later", time=f"{after_ns / 1e6:,.1f}{THIN}ms")


def clock_words(arrival: BoxArrival, is_reference: bool, boxes: int = 1) -> str:
    """The clock by which one or several `boxes` have their place; others were compared with a reference."""
    if arrival.aligned_to not in (None, arrival.box_id):
        return _(", by its waveform beside that of Box %(box)s", box=arrival.aligned_to)
    if is_reference:
        return "" if arrival.disciplined else _("; the waveforms of others are compared with its own")
    if arrival.disciplined:
        return ""
    return ngettext(
        "; its clock is too poor to say who was first",
        "; their clocks are too poor to say who was first",
        boxes,
    )


def source(value: TimeSource) -> str:
    return _(SOURCE_WORDS[value])


def listed(items: Iterable[str]) -> str:
    """`1`, `1 and 4`, `1, 2 and 4`."""
    parts = list(items)
    if len(parts) < 2:
        return "".join(parts)
    return _("%(first)s and %(last)s", first=", ".join(parts[:-1]), last=parts[-1])


def boxes(ids: Sequence[str], names: Names = NO_NAMES) -> str:
    """`Box 1`, `Boxes 1 (Cellar) and 4`; a long list is only counted."""
    if len(ids) > BOXES_LISTED:
        return ngettext("%(num)d Box", "%(num)d Boxes", len(ids))
    each = listed(named(box_id, names) for box_id in ids)
    return ngettext("Box %(each)s", "Boxes %(each)s", len(ids), each=each)


def present_nominal(nominal_v: Iterable[tuple[str, float]], names: Names = NO_NAMES) -> str:
    """Names the Boxes shown by their present nominal voltage, because no finding has one; empty for none."""
    parts = [f"{boxes(ids, names)} ({plain(volts, 'V')})" for ids, volts in alike(nominal_v)]
    if not parts:
        return ""
    return _("By the present nominal voltage, for no finding says another: %(boxes)s.", boxes=listed(parts))


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
    return max(found, key=lambda item: worst_rank(item.finding), default=None)


def headline(incident: Incident, names: Names = NO_NAMES) -> str:
    """`Sag to 85.2 % at Box 1`."""
    where, what = boxes(incident.box_ids, names), class_words(incident.kind)
    level = _level(incident)
    if level is None:
        return _("%(what)s at %(where)s", what=what, where=where)
    return _("%(what)s to %(level)s at %(where)s", what=what, level=level, where=where)


def span_of(incident: Incident) -> str:
    """Its duration: `148 ms`, or `between 1.8 s and 12 s` where its end was not measured."""
    least, most = ((end - incident.start_ns) / 1e9 for end in (incident.end_ns, incident.latest_end_ns))
    if incident.latest_end_ns == incident.end_ns:
        return duration(least)
    return _("between %(least)s and %(most)s", least=duration(least), most=duration(most))


def outline(incident: Incident, names: Names = NO_NAMES) -> str:
    """The text after the class in a list: `to 85.2 % for 148 ms at Box 1`."""
    where = boxes(incident.box_ids, names)
    lasting = span_of(incident)
    if not incident.closed:
        lasting = _("%(time)s so far, without an end", time=lasting)
    level = _level(incident)
    if level is None:
        return _("for %(time)s at %(where)s", time=lasting, where=where)
    return _("to %(level)s for %(time)s at %(where)s", level=level, time=lasting, where=where)


def _level(incident: Incident) -> str | None:
    """The voltage that it fell or rose to; None for a class without one, as where people labelled it so."""
    if incident.residual_percent is None or incident.kind not in DOWNWARD | UPWARD:
        return None
    return number(incident.residual_percent, 1, "%")


def sentence(incident: Incident, nominal_v: float, names: Names = NO_NAMES) -> str:
    """The incident in one sentence, for readers who do not know the word residual."""
    found = worst(incident)
    lasting = _lasting(incident, found)
    if found is None or found.finding.residual_v is None:
        what, where = class_words(incident.kind), boxes(incident.box_ids, names)
        if found is None or not found.finding.because:
            return _("%(what)s at %(where)s, %(time)s.", what=what, where=where, time=lasting)
        return _(
            "%(what)s at %(where)s, %(time)s: %(why)s.",
            what=what, where=where, time=lasting, why=found.finding.because,
        )  # fmt: skip
    finding = found.finding
    level = _(
        "%(volts)s, %(percent)s of the nominal %(nominal)s",
        volts=number(finding.residual_v, 1, "V"),
        percent=number(finding.residual_percent, 1, "%"),
        nominal=plain(nominal_v, "V"),
    )
    places = {"box": named(finding.box_id, names), "level": level, "time": lasting}
    if "interruption" in incident.kind.split("+"):
        moved = _("The voltage at Box %(box)s was lost (down to %(level)s), %(time)s", **places)
    elif finding.kind in UPWARD:
        moved = _("The voltage at Box %(box)s rose to %(level)s, %(time)s", **places)
    else:
        moved = _("The voltage at Box %(box)s fell to %(level)s, %(time)s", **places)
    others = [box_id for box_id in incident.box_ids if box_id != finding.box_id]
    return (
        _("%(sentence)s; %(boxes)s saw it too.", sentence=moved, boxes=boxes(others, names))
        if others
        else f"{moved}."
    )


def has_parts(incident: Incident) -> bool:
    """Whether several findings of one Box, without a residual, are one that lasts from first to last."""
    parts = {(item.finding.box_id, item.finding.kind) for item in incident.findings}
    return len(incident.findings) > len(parts) == 1 and incident.residual_percent is None


def _lasting(incident: Incident, found: StoredFinding | None) -> str:
    if not incident.closed:
        so_far = duration((incident.end_ns - incident.start_ns) / 1e9)
        return _("and had not recovered when the recording ended, %(time)s after it began", time=so_far)
    one = found.finding if found and not has_parts(incident) else None
    first, last = (one.start_ns, one.end_ns) if one else (incident.start_ns, incident.end_ns)
    if incident.latest_end_ns > incident.end_ns:
        return _("for %(time)s", time=span_of(incident))
    length = duration((last - first) / 1e9)
    count = cycles(one.duration_cycles if one else None)
    return (
        _("for %(cycles)s (%(time)s)", cycles=count, time=length) if count else _("for %(time)s", time=length)
    )
