"""Finds the earlier incidents most similar to an incident, and whether its class recurs at an hour of the day
or after an interval.

Pages, API and `opq-tools incidents show` give the same result. It reads through the interface of View's
visitors, so that a visitor sees only permitted incidents."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

import numpy as np

from opq_cloud.mauka.measuring.sightings import family
from opq_cloud.store.incidents.incident_likeness import Likeness, likeness, traits_of, traits_of_entry
from opq_cloud.store.incidents.index import IncidentFilter, IndexedIncident
from opq_cloud.store.store import ShownStore
from opq_measure.recurrence import DAY_S, DailySpan, RepeatedInterval, daily_span, repeated_interval
from opq_proto.messages import Incident

INCIDENTS_COMPARED = 200
"""The number of newest incidents at the same Boxes that are compared, and of the same class elsewhere."""
READ_WHOLE = 8
SIMILAR_SHOWN = 5
MIN_SIMILARITY = 0.8
BOXES_ASKED = 50
PAST_DAYS = 90
LAST_TIMES = 30
MAX_CHANCE = 0.01
"""Largest chance at which a regularity is mentioned."""
SAME_FEATURE_DISTANCE = 0.1
"""Largest distance of a feature that counts as the same in words."""
ELSEWHERE = frozenset({"another Box"})
_EPOCH = datetime(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class SimilarIncident:
    """An earlier incident, how similar it is, and how it differs in words."""

    incident: Incident
    likeness: Likeness
    because: str


@dataclass(frozen=True, slots=True)
class IncidentPast:
    """`similar`: the most similar first. `alike`: how many of the `compared` earlier ones are this
    similar, by the index. `times`: number of its kind at its Boxes, the base of `daily` and `interval`.
    """

    similar: tuple[SimilarIncident, ...]
    compared: int
    alike: int
    times: int
    daily: DailySpan | None
    interval: RepeatedInterval | None
    zone: str
    """Name of the time zone of `daily`."""

    def as_json(self) -> dict[str, object]:
        """Returns the keys `similar` and `recurrence`; null values are not known."""
        daily, interval = self.daily, self.interval
        return {
            "similar": [
                {
                    "id": each.incident.incident_id,
                    "class": each.incident.kind,
                    "start_ms": round(each.incident.start_ns / 1e6, 3),
                    "residual_percent": each.incident.residual_percent,
                    "alike": round(each.likeness.alike, 4),
                    "distances": {name: round(value, 4) for name, value in each.likeness.distances},
                    "because": each.because,
                }
                for each in self.similar
            ],
            "alike": self.alike,
            "compared": self.compared,
            "recurrence": {
                "times": self.times,
                "daily": None
                if daily is None
                else {
                    "count": daily.count,
                    "of": daily.total,
                    "from": _clock_time(daily.first_s),
                    "to": _clock_time(daily.last_s),
                    "zone": self.zone,
                    "chance": daily.chance,
                },
                "interval": None
                if interval is None
                else {
                    "count": interval.count,
                    "of": interval.total,
                    "seconds": interval.middle_s,
                    "least_s": interval.least_s,
                    "most_s": interval.most_s,
                    "chance": interval.chance,
                },
                "sentences": recurrence_sentences(self),
            },
        }


def past_of(
    store: ShownStore, incident: Incident, zone: tzinfo, zone_name: str, compared: int = INCIDENTS_COMPARED
) -> IncidentPast:
    """Finds the earlier incidents at its Boxes, and those of its class elsewhere.

    Args:
        incident: as the visitor sees it.
        zone: for times of the day.
        compared: how many entries of the index are read, at its Boxes and of its class.
    """
    boxes = tuple(dict.fromkeys([each.finding.box_id for each in incident.findings] or incident.box_ids))
    here = IncidentFilter(
        box_ids=boxes[:BOXES_ASKED],
        start_ns=incident.start_ns - PAST_DAYS * 86_400 * 10**9,
        end_ns=incident.start_ns,
    )
    beside = [each for each in store.find_incidents(here, compared) if _before(each, incident)]
    there = IncidentFilter(kind=incident.kind.split("+")[0], end_ns=incident.start_ns)
    elsewhere = [each for each in store.find_incidents(there, compared) if _before(each, incident)]
    similar, alike, count = _similar(store, incident, beside, elsewhere)
    own = [each for each in beside if _of_family(each.kind, incident.kind)][: LAST_TIMES - 1]
    starts_ns = [incident.start_ns, *(each.start_ns for each in own)]
    local_s = np.array([_local_s(each, zone) for each in starts_ns])
    return IncidentPast(
        similar,
        count,
        alike,
        len(starts_ns),
        daily_span(local_s),
        repeated_interval(np.array(starts_ns) / 1e9),
        zone_name,
    )


def _before(entry: IndexedIncident, incident: Incident) -> bool:
    return entry.incident_id != incident.incident_id and entry.start_ns < incident.start_ns


def _similar(
    store: ShownStore,
    incident: Incident,
    beside: Sequence[IndexedIncident],
    elsewhere: Sequence[IndexedIncident],
) -> tuple[tuple[SimilarIncident, ...], int, int]:
    """Returns the most similar ones; how many are this similar, and the number compared."""
    own = traits_of(incident)
    near = {each.incident_id for each in beside}
    entries = {each.incident_id: each for each in (*elsewhere, *beside)}
    ranked = sorted(
        (
            (likeness(own, traits_of_entry(each, own.box_ids if number in near else ELSEWHERE)).alike, number)
            for number, each in entries.items()
        ),
        reverse=True,
    )
    alike = sum(value >= MIN_SIMILARITY for value, _ in ranked)
    whole = store.incidents_of([number for _, number in ranked[:READ_WHOLE]])
    found = [SimilarIncident(each, like := likeness(own, traits_of(each)), _words(like)) for each in whole]
    kept = sorted(
        (each for each in found if each.likeness.alike >= MIN_SIMILARITY),
        key=lambda each: (-each.likeness.alike, -each.incident.start_ns),
    )
    return tuple(kept[:SIMILAR_SHOWN]), max(alike, len(kept)), len(entries)


def _of_family(one: str, other: str) -> bool:
    return bool({family(part) for part in one.split("+")} & {family(part) for part in other.split("+")})


def _local_s(at_ns: int, zone: tzinfo) -> float:
    """Returns seconds on the local clock since 1970."""
    local = datetime.fromtimestamp(at_ns / 1e9, zone).replace(tzinfo=None)
    return (local - _EPOCH) / timedelta(seconds=1)


def _words(like: Likeness) -> str:
    """Returns e.g. `same class, residual, place; another hour`."""
    same = [name for name, value in like.distances if value <= SAME_FEATURE_DISTANCE]
    other = [name for name, value in like.distances if value > 0.3]
    parts = [f"same {_listed(same)}" if same else "", f"another {_listed(other)}" if other else ""]
    return "; ".join(part for part in parts if part)


def _listed(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def recurrence_sentences(past: IncidentPast) -> list[str]:
    """Returns a sentence for each regularity that is hardly chance: an hour of the day, an interval.

    An interval of one day is left out where an hour of the day is named, because both mean the same.
    """
    found = []
    if past.daily is not None and past.daily.chance <= MAX_CHANCE:
        daily = past.daily
        found.append(
            f"{_of(daily.count, daily.total)} fell between {_clock_time(daily.first_s)} and "
            f"{_clock_time(daily.last_s, up=True)} {past.zone}; by chance {_rarely(daily.chance)}."
        )
    alike = past.interval
    daily_again = (
        bool(found) and alike is not None and abs(alike.middle_s / DAY_S - 1) < SAME_FEATURE_DISTANCE
    )
    if alike is not None and alike.chance <= MAX_CHANCE and not daily_again:
        span = _interval_words(alike.least_s, alike.most_s)
        found.append(
            f"{_of(alike.count, alike.total)} came {span} after the one before; "
            f"by chance {_rarely(alike.chance)}."
        )
    return found


def _clock_time(seconds: float, up: bool = False) -> str:
    """Returns e.g. `06:58`, rounded down or up to the minute."""
    minutes = math.ceil(seconds / 60) if up else math.floor(seconds / 60)
    return f"{minutes // 60 % 24:02d}:{minutes % 60:02d}"


def _of(count: int, total: int) -> str:
    return f"All of the last {total}" if count == total else f"{count} of the last {total}"


def _interval_words(least_s: float, most_s: float) -> str:
    unit, size = ("h", 3600.0) if least_s >= 7200 else ("min", 60.0)
    least, most = f"{least_s / size:.1f}", f"{most_s / size:.1f}"
    return f"{least} {unit}" if least == most else f"{least} to {most} {unit}"


def _rarely(chance: float) -> str:
    """Returns e.g. `at most once in 3,000 such series`."""
    if chance < 1e-6:
        return "less than once in a million such series"
    number = 1 / chance
    digits = 10 ** max(0, math.floor(math.log10(number)) - 1)
    return f"at most once in {math.floor(number / digits) * digits:,} such series"
