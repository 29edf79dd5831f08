"""The store's facts about a Box and its place; most readers of them need no store."""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from opq_cloud.store.stated_facts import (
    BEGINNING_MS,
    FACTS,
    LAST_NS,
    NS_PER_MS,
    PLACE,
    Course,
    StatedFact,
    course_within,
    courses_of,
    facts_at,
    moments_ns,
    stated_of,
)
from opq_cloud.store.stated_starts import StatedStart
from opq_proto.kit.plain_text import composed
from opq_proto.measurement.intervals import lost_words

MADE_UP = "simulated: place, feeder and voltage are made up"
"""Description of a Box whose facts a simulation made up. They do not count as stated: what a person
states first holds from the beginning. The same as opq_sim's PLACE_MADE_UP."""

Stretches = tuple[tuple[int, int], ...]
"""Spans [start_ns, end_ns) in time order."""
COMPOSED = ("name", "location", "description", "region", "feeder", "site", "phase", "grid")
"""Texts by people, which may have a letter such as ü in one character or in two."""


@dataclass(frozen=True, slots=True)
class BoxLoss:
    """What the cloud never got of a Box: Measurements that its gateway held no longer, or values of class A
    that the gateway's disk did not take."""

    count: int
    start_ms: int
    end_ms: int
    """Of Measurements, `start_ms` and `end_ms` are the times of those before and after them."""
    kind: str = ""
    """Kind of the values, as in the gateway's ledger (`10min`); empty: Measurements."""
    place: str = ""
    """The place whose three phases the values are of; empty: of the Box."""

    def is_within(self, other: "BoxLoss") -> bool:
        """Whether the other one, of values of the same kind, has all of it."""
        same = bool(self.kind) and (self.kind, self.place) == (other.kind, other.place)
        return same and other.start_ms <= self.start_ms and self.end_ms <= other.end_ms

    @property
    def words(self) -> str:
        if self.kind:
            what = lost_words(self.kind, self.count, self.start_ms / 1000, self.end_ms / 1000)
            whose = f" of the phases of {self.place}" if self.place else ""
            return f"{what}{whose}, which the disk of its gateway did not take"
        first, last = (
            time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(ms / 1000)) for ms in (self.start_ms, self.end_ms)
        )
        return f"{self.count} Measurements between {first} and {last} UTC, held by its gateway no longer"


@dataclass(frozen=True, slots=True)
class BoxRecord:
    """The facts about a Box (the original's `opq_boxes`): those of now, and in `stated` those of before.

    What was measured is judged and shown by the facts of then: `at` and `spans`. None means unknown; a field
    that is put as None keeps its stored value. A text that is put as "" is removed, except `name`, which then
    keeps its value and is, for example, "Box 7" for a new Box.
    """

    box_id: str
    name: str
    location: str | None = None
    """Slug of its location (`LocationRecord`)."""
    calibration_constant: float | None = None
    """Counts per volt; 1 / v_per_lsb."""
    nominal_v: float | None = None
    """Nominal voltage, volts; where it is unknown, a service uses its own default."""
    nominal_hz: float | None = None
    unplugged: bool | None = None
    """True where it is not expected to send anything; unknown counts as False."""
    description: str | None = None
    region: str | None = None
    """The Box's own region; without it the region of its location holds (`box_place.box_place`)."""
    feeder: str | None = None
    site: str | None = None
    """Boxes of one site are on the phases of one supply, as people state."""
    phase: str | None = None
    grid: str | None = None
    """Boxes of one grid have one frequency; unknown is grid "1" (docs/reference/contracts.md, Findings and
    incidents)."""
    public_key: str | None = None
    """Z85; the original makes its allow-list from it."""
    gateway_id: int | None = None
    """Number of the gateway that sends its Measurements (docs/reference/contracts.md, field 1013)."""
    retired_ms: int | None = None
    """When it was taken out of service for good; where it is put as 0, the Box is in service again."""
    starts: tuple[StatedStart, ...] = ()
    """Its latest starts and what they stated, in order; where it is put empty, the stored value stays."""
    lost: tuple[BoxLoss, ...] = ()
    """The last that were lost, until somebody has seen them; where it is put, nothing of it is stored."""
    stated: tuple[StatedFact, ...] = ()
    """What was stated and since when, in time order, the facts of now included; a fact that is not here holds
    from the beginning. The course of a fact that is put replaces the stored one."""

    def __post_init__(self) -> None:
        for fact in COMPOSED:
            value = getattr(self, fact)
            if value is not None and not value.isascii():
                object.__setattr__(self, fact, composed(value))

    @property
    def is_in_service(self) -> bool:
        """Whether it is expected to send."""
        return not (self.unplugged or self.retired_ms)

    @property
    def location_start_time_ms(self) -> int | None:
        """Since when it is at its location; None: unknown, or from the beginning."""
        course = courses_of(self.stated).get("location", ())
        return course[-1][0] or None if course else None

    @property
    def location_archive(self) -> tuple[tuple[str, int | None], ...]:
        """Former locations: (location, beginning in ms or None)."""
        course = courses_of(self.stated).get("location", ())
        return tuple((location, since_ms or None) for since_ms, location in course[:-1] if location)

    @property
    def is_unchanged(self) -> bool:
        """Whether each fact was stated once: then it always holds."""
        return len({each.name for each in self.stated}) == len(self.stated)

    def at(self, t_ns: int) -> "BoxRecord":
        """The facts that held at a moment; the only question to them for what was measured."""
        return self if self.is_unchanged else self._at(courses_of(self.stated), t_ns)

    def _at(self, courses: Mapping[str, Course], t_ns: int) -> "BoxRecord":
        return replace(self, **facts_at(courses, t_ns), stated=())

    def values_of(self, name: str) -> tuple[Any, ...]:
        """All values that a fact has had, each once, without unknown."""
        own = ((BEGINNING_MS, getattr(self, name)),)
        course = own if self.is_unchanged else courses_of(self.stated).get(name, own)
        return tuple(dict.fromkeys(value for _, value in course if value is not None))

    def without(self, *names: str) -> "BoxRecord":
        """The record without these facts, now and before; without its site, no loss names one."""
        stated = tuple(each for each in self.stated if each.name not in names)
        lost = tuple(replace(each, place="") for each in self.lost) if "site" in names else self.lost
        return replace(self, **dict.fromkeys(names), stated=stated, lost=lost)  # type: ignore[arg-type]

    def spans(self, start_ns: int, end_ns: int, names: Collection[str] = FACTS) -> "tuple[FactSpan, ...]":
        """The spans of [start_ns, end_ns) in each of which these facts stay the same, with the facts."""
        if self.is_unchanged:
            return (FactSpan(start_ns, end_ns, self),)
        courses = courses_of(self.stated)
        edges_ns = [start_ns, *moments_ns(courses, names, start_ns, end_ns), end_ns]
        return tuple(FactSpan(first, last, self._at(courses, first)) for first, last in pairwise(edges_ns))

    def all_spans(self, names: Collection[str] = FACTS) -> "tuple[FactSpan, ...]":
        """The spans of all time in which these facts stay the same."""
        return self.spans(0, LAST_NS, names)

    def place_spans(self) -> "tuple[FactSpan, ...]":
        """The spans of all time in which the Box stays where it is."""
        return self.all_spans(PLACE)

    def within(self, spans: Stretches, place_spans: Stretches) -> "BoxRecord":
        """The record for who reads the Box in these spans, and knows where it was in `place_spans`: outside
        of them its facts are unknown, and it is not in service. A name is of now."""
        stated = courses_of(self.stated)
        courses = {}
        for name in FACTS:
            course = stated.get(name, ((BEGINNING_MS, getattr(self, name)),))
            read = place_spans if name in PLACE else spans
            courses[name] = course_within(course, read, True if name == "unplugged" else None)
        now = {name: course[-1][1] for name, course in courses.items()}
        is_present = bool(spans) and spans[-1][1] == LAST_NS
        own = self if is_present else BoxRecord(self.box_id, f"Box {self.box_id}")
        lost = tuple(
            each
            for each in self.lost
            if any(
                first <= each.start_ms * NS_PER_MS and each.end_ms * NS_PER_MS <= last
                for first, last in spans
            )
        )
        return replace(own, **now, lost=lost, stated=stated_of(courses))

    def without_former_places(self) -> "BoxRecord":
        """The record as if the Box always was where it is now."""
        return replace(self, stated=tuple(each for each in self.stated if each.name not in PLACE))


@dataclass(frozen=True, slots=True)
class BoxHoldings:
    """What is stored of a Box."""

    waveforms: int
    """Events with its samples or half cycles."""
    disturbances: int
    incidents: int
    """Incidents of this Box alone."""
    shared_incidents: int
    """Incidents that other Boxes share, which stay."""
    shared_until_s: int | None
    """When the last of those expires, Unix time; None: there are none."""
    phenomena: int
    """Phenomena of this Box alone."""
    shared_phenomena: int
    """Phenomena that name other Boxes too, which stay."""


@dataclass(frozen=True, slots=True)
class FactSpan:
    """A span [start_ns, end_ns) in which facts of a Box stay the same."""

    start_ns: int
    end_ns: int
    box: BoxRecord
    """Its facts in the span."""


@dataclass(frozen=True, slots=True)
class LocationRecord:
    """A place where Boxes are (the original's `locations`), in degrees, WGS 84."""

    slug: str
    latitude: float
    longitude: float
    description: str = ""


def box_order(box_id: str) -> tuple[int, str]:
    """Returns a sort key that puts Box 2 before Box 10."""
    return len(box_id), box_id
