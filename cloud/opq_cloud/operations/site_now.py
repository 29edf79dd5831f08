"""What is known of a site now: its phases side by side, as phasors, their unbalance, its polyphase events.

A site is a place with one to three phases and neutral, one Box each; people state it in the Boxes' records.
Angles and u2 are those of the site's intervals (`phases_together`), as certain as the clocks of its Boxes.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Protocol

import numpy as np

from opq_cloud.store.box_place import phase_letter
from opq_cloud.store.box_record import BoxRecord, box_order
from opq_cloud.store.intervals.phases_together import PHASES, site_intervals
from opq_cloud.store.intervals.served_phases import (
    members_of_sites,
    phases_of,
    read_served,
    service_spans,
)
from opq_cloud.store.site_key import may_name_intervals
from opq_measure.aggregation.instants import MOST_CLOCK_PERCENT
from opq_measure.aggregation.unbalance import magnitude_unbalance_percent
from opq_measure.aggregation.wiring import wiring_of
from opq_measure.events.polyphase import ChannelEvent, GroupEvent, group_events
from opq_proto.measurement.intervals import TEN_MINUTES_MS, TEN_MINUTES_NS, Disturbance, IntervalColumns

BACK_NS = 30 * 86_400 * 10**9
"""How far back events are listed."""
KINDS = {"dip": "sag", "swell": "swell", "interruption": "interruption"}
CLASSES = {name: kind for kind, name in KINDS.items()} | {"undervoltage": "dip", "overvoltage": "swell"}
SITES_CHECKED = 100
"""Sites whose connection is looked at for the administrator; each takes some milliseconds."""
MOST_ANGLE_DEG = 10.0
"""An angle that is less certain than this is not known."""


class IntervalReader(Protocol):
    """The store's intervals."""

    def newest_ns(self, box_id: str, length_ms: int) -> int | None: ...

    def read(
        self, box_id: str, length_ms: int, start_ns: int, end_ns: int, names: Collection[str] | None = None
    ) -> IntervalColumns: ...

    def disturbances(self, box_id: str | None, start_ns: int, end_ns: int) -> list[Disturbance]: ...


@dataclass(frozen=True, slots=True)
class PhaseNow:
    """The newest ten minutes of one Box, as far as they are those of the site's newest; NaN: not known."""

    box_id: str
    name: str
    phase: str | None
    """a, b or c; None: not stated."""
    nominal_v: float
    rms_v: float = math.nan
    fundamental_v: float = math.nan
    thd_ratio: float = math.nan
    angle_deg: float = math.nan
    """Of its fundamental, against phase a."""

    @property
    def tip(self) -> tuple[float, float] | None:
        """End of its phasor, phase a upward, 1 for nominal, y downward; None where it is not known."""
        turn, length = math.radians(90 + self.angle_deg), self.fundamental_v / self.nominal_v
        found = length * math.cos(turn), -length * math.sin(turn)
        return found if math.isfinite(found[0]) else None


@dataclass(frozen=True, slots=True)
class SiteNow:
    """One site; NaN: not known."""

    name: str
    phases: tuple[PhaseNow, ...]
    start_ns: int | None
    """Beginning of the newest ten minutes of its Boxes; None: none are stored."""
    flagged: bool
    u2_ratio: float
    u0_ratio: float
    clock_ratio: float
    """Standard uncertainty of u2 and u0 by the three clocks."""
    angle_doubt_deg: float
    """Largest standard uncertainty of an angle by the clocks."""
    magnitudes_percent: float
    """Largest deviation of the three rms values from their mean."""
    wiring: str = ""
    """How its phases are connected otherwise than stated; u2 and u0 are then not known."""

    @property
    def clocks_are_poor(self) -> bool:
        """Whether the clocks are known, and leave too much of u2."""
        return 100 * self.clock_ratio > MOST_CLOCK_PERCENT


def sites_of(records: Iterable[BoxRecord]) -> dict[str, tuple[BoxRecord, ...]]:
    """Site -> its Boxes in the order of their phases; without retired ones."""
    found: dict[str, list[BoxRecord]] = {}
    stated = [each for each in records if each.site and not each.retired_ms]
    for each in sorted(stated, key=lambda box: (phase_letter(box.phase) or "z", box_order(box.box_id))):
        found.setdefault(each.site or "", []).append(each)
    return {site: tuple(found[site]) for site in sorted(found)}


@dataclass(frozen=True, slots=True)
class TogetherNow:
    """The newest ten minutes of a site's Boxes."""

    start_ns: int
    u2_ratio: float | None
    """None: not known, or clocks or connections leave too much of it."""
    wiring: str
    """How its phases are connected otherwise than stated; empty: they are not, as far as is known."""


def newest_together(
    intervals: IntervalReader, name: str, boxes: Sequence[BoxRecord], members: Iterable[BoxRecord]
) -> TogetherNow | None:
    """The newest ten minutes of a site with these Boxes; `members`: also those that were there before.

    None without any ten minutes.
    """
    start_ns = _newest_ns(intervals, name, boxes, True)
    if start_ns is None:
        return None
    found = _row(site_intervals(intervals, name, members, start_ns, start_ns + 1))
    wrong = wiring_of(found.get("angle_b_deg", math.nan), found.get("angle_c_deg", math.nan))
    box_of = {letter: f"Box {each.box_id}" for each in boxes if (letter := phase_letter(each.phase))}
    if wrong is not None and len(box_of) == len(PHASES):
        return TogetherNow(start_ns, None, wrong.words(box_of))
    is_poor = wrong is not None or 100 * found.get("clock_ratio", 0.0) > MOST_CLOCK_PERCENT
    return TogetherNow(start_ns, None if is_poor else found.get("u2_ratio"), "")


def sites_together(
    intervals: IntervalReader, records: Sequence[BoxRecord]
) -> Iterator[tuple[str, tuple[BoxRecord, ...], TogetherNow | None]]:
    """Yields each site with its Boxes and their newest ten minutes."""
    members = members_of_sites(records)
    for name, boxes in sites_of(records).items():
        yield name, boxes, newest_together(intervals, name, boxes, members[name])


def wrong_wirings(intervals: IntervalReader, records: Sequence[BoxRecord]) -> dict[str, str]:
    """Site -> how its phases are connected otherwise than stated, of the first SITES_CHECKED."""
    checked = islice(sites_together(intervals, records), SITES_CHECKED)
    return {name: newest.wiring for name, _, newest in checked if newest is not None and newest.wiring}


def _newest_ns(
    intervals: IntervalReader, name: str, records: Sequence[BoxRecord], together: bool
) -> int | None:
    """Start of the newest ten minutes that the Boxes have, of all of them where they are not far apart."""
    starts = [intervals.newest_ns(each.box_id, TEN_MINUTES_MS) for each in records]
    newest = [each for each in starts if each is not None]
    start_ns = max(newest, default=None)
    if start_ns is not None and len(newest) == len(starts) and start_ns - min(newest) <= TEN_MINUTES_NS:
        start_ns = min(newest)  # the gateways report one after the other
    group_ns = intervals.newest_ns(name, TEN_MINUTES_MS) if together and may_name_intervals(name) else None
    if start_ns is not None and group_ns is not None and 0 <= start_ns - group_ns <= TEN_MINUTES_NS:
        return group_ns  # the Boxes' newest come a moment before those of their group
    return start_ns


def site_now(
    intervals: IntervalReader,
    name: str,
    records: Sequence[BoxRecord],
    nominal_v: float,
    together: bool = True,
    members: Sequence[BoxRecord] | None = None,
) -> SiteNow:
    """Reads what is known of a site.

    `records`: in the order of its phases. `nominal_v`: of a Box without its own. `together`: whether also
    what its phases gave together, which is not for those who see only some of them. `members`: also Boxes
    that were there before; None: these.
    """
    members = records if members is None else members
    start_ns = _newest_ns(intervals, name, records, together)
    group: Mapping[str, float] = {}
    rows: list[Mapping[str, float]] = [{} for _ in records]
    if start_ns is not None:
        rows = [_row(intervals.read(each.box_id, TEN_MINUTES_MS, start_ns, start_ns + 1)) for each in records]
        if together:
            group = _row(site_intervals(intervals, name, members, start_ns, start_ns + 1))
    doubt_deg = math.degrees(3 * group.get("clock_ratio", math.nan))
    known = doubt_deg <= MOST_ANGLE_DEG and "angle_b_deg" in group
    angles = {"a": 0.0, "b": group.get("angle_b_deg", math.nan), "c": group.get("angle_c_deg", math.nan)}
    phases = []
    for record, row in zip(records, rows, strict=True):
        phase = phase_letter(record.phase)
        phases.append(
            PhaseNow(
                record.box_id,
                record.name,
                phase,
                record.nominal_v or nominal_v,
                row.get("rms_v", math.nan),
                row.get("harmonics_v", math.nan),
                row.get("thd_ratio", math.nan),
                angles.get(phase or "", math.nan) if known else math.nan,
            )
        )
    box_of = {each.phase: f"Box {each.box_id}" for each in phases if each.phase}
    wrong = wiring_of(angles["b"], angles["c"]) if known and {"a", "b", "c"} <= box_of.keys() else None
    if wrong is not None:
        group = {key: value for key, value in group.items() if key not in ("u2_ratio", "u0_ratio")}
    of_phase = {each.phase: each.rms_v for each in phases if each.phase and math.isfinite(each.rms_v)}
    volts = np.array([*of_phase.values()] or [math.nan])
    return SiteNow(
        name,
        tuple(phases),
        start_ns,
        any(row.get("flagged") for row in (*rows, group)),
        group.get("u2_ratio", math.nan),
        group.get("u0_ratio", math.nan),
        group.get("clock_ratio", math.nan),
        doubt_deg,
        float(magnitude_unbalance_percent(volts)) if len(volts) == 3 else math.nan,
        "" if wrong is None else wrong.words(box_of),
    )


def site_events(
    intervals: IntervalReader,
    name: str,
    members: Sequence[BoxRecord],
    nominal_v: float,
    start_ns: int,
    end_ns: int,
) -> tuple[GroupEvent, ...]:
    """Events of the phases together that begin in [start_ns, end_ns), by IEC 61000-4-30, 5.4.3; the newest
    first. A phase has the events of the Boxes that served it then, by the nominal voltage of then."""
    phases = phases_of(service_spans(members, start_ns, end_ns, lambda box: box.site == name))
    events, boxes = [], {}
    for phase in phases:
        for each in (
            found for box_id in phase.box_ids for found in intervals.disturbances(box_id, start_ns, end_ns)
        ):
            span = phase.span_of(each.box_id, each.start_ns)
            if each.kind in KINDS and span is not None:
                percent = 100 * each.residual_v / (span.box.nominal_v or nominal_v)
                channel = phase.box_ids[-1]
                boxes[channel, each.start_ns] = each.box_id
                events.append(
                    ChannelEvent(
                        channel, KINDS[each.kind], each.start_ns, each.end_ns, percent, each.polyphase_group
                    )
                )
    by_channel = {phase.box_ids[-1]: phase for phase in phases}

    def measured(channel: str, t_ns: int) -> bool:
        phase = by_channel[channel]
        return len(phase.box_ids) < 2 or bool(
            len(read_served(intervals, phase, TEN_MINUTES_MS, t_ns - TEN_MINUTES_NS, t_ns + 1, ()).start_ns)
        )

    def of_then(joined: GroupEvent) -> GroupEvent:
        """With the Boxes that measured it, not those that serve the phases now."""
        own = [
            event
            for event in events
            if joined.start_ns <= event.start_ns <= (joined.end_ns or event.start_ns)
        ]
        names = {event.channel: boxes[event.channel, event.start_ns] for event in own}
        return replace(
            joined,
            channel=names.get(joined.channel, joined.channel),
            channels=tuple(names.get(each, each) for each in joined.channels),
        )

    joined = group_events(events, list(by_channel), measured) if phases else ()
    return tuple(of_then(each) for each in joined[::-1])


def _row(columns: IntervalColumns) -> dict[str, float]:
    """The known values of one interval: of harmonics the first; empty without an interval."""
    if not len(columns.start_ns):
        return {}
    first = {name: float(np.ravel(value[0])[0]) for name, value in columns.values.items()}
    return {name: value for name, value in first.items() if math.isfinite(value)} | {
        "flagged": float(columns.flagged[0])
    }


def site_json(site: SiteNow, events: Iterable[GroupEvent]) -> dict[str, Any]:
    """A site and its events in the keys of the API; null: not known."""
    return {
        "name": site.name,
        "box_ids": [each.box_id for each in site.phases],
        "start_ns": site.start_ns,
        "flagged": site.flagged,
        "wiring": site.wiring or None,
        "phases": [
            {
                "box_id": each.box_id,
                "name": each.name,
                "phase": each.phase,
                **{
                    key: _known(getattr(each, key))
                    for key in ("nominal_v", "rms_v", "fundamental_v", "thd_ratio", "angle_deg")
                },
            }
            for each in site.phases
        ],
        **{
            key: _known(getattr(site, key))
            for key in ("u2_ratio", "u0_ratio", "clock_ratio", "angle_doubt_deg", "magnitudes_percent")
        },
        "events": [
            {
                "class": CLASSES[each.kind],
                "start_ns": each.start_ns,
                "end_ns": each.end_ns,
                "residual_percent": _known(each.residual_percent),
                "worst_box_id": each.channel,
                "box_ids": list(each.channels),
            }
            for each in events
        ],
    }


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
