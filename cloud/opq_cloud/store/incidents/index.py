"""The index of incidents, by which they are searched, sorted and counted, and people's notes on them. Pure.

An entry is made from an incident's facts (`IncidentFacts`) and notes. Both stores have one for each incident,
written with it. A label is a class that a person gave; it replaces the class that analysis found.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import msgspec

from opq_cloud.store.incidents.box_events import naming_event, narrowed
from opq_cloud.store.incidents.join_plan import IncidentFacts
from opq_proto.errors import OpqError
from opq_proto.messages import Incident

NO_AUTHOR = "deleted"
"""Stands for an account that was deleted."""
NOTE_CHARACTERS = 2000
MAX_NOTES = 500
"""Notes of one incident; a further one is refused."""
WORDS_CHARACTERS = 20_000
"""Characters of an incident's notes that are searched."""
DURATIONS_S = (0.02, 0.2, 0.5, 1.0, 5.0, 60.0)
"""Upper limits of the columns of the magnitude-duration plane: EN 50160:2010, table 2 (dips), with a first
column up to 20 ms and a last one for longer durations."""
PERCENTS = (5.0, 40.0, 70.0, 80.0, 90.0, 110.0, 120.0)
"""Upper limits of the plane's rows, percent of nominal: EN 50160:2010, tables 2 and 3."""
PLANE_COLUMNS = len(DURATIONS_S) + 1
PLANE_ROWS = len(PERCENTS) + 1
ORDERS = ("newest", "severe", "long")
WORK_STATES = ("open", "acknowledged")
"""Not yet acknowledged, or acknowledged."""


class IncidentEditError(OpqError):
    """The edit is impossible: there is no such incident, finding or class, or nothing would change."""


@dataclass(frozen=True, slots=True)
class IncidentNote:
    """One note or action of a person on an incident; kept as long as the incident."""

    note_id: int
    incident_id: int
    at_ms: int
    account_id: str
    """The person's account; empty for a command on the store's own machine."""
    kind: str
    """`note`, `label`, `split`, `merge`; of work `acknowledge`, `assign`, `cause`."""
    text: str
    """The text of the note; of a label the class, of `assign` the account. "" takes it back."""

    def as_document(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class IncidentWork:
    """What people do about an incident; made of their notes."""

    state: str | None = None
    """One of WORK_STATES; None for those that the original stored before the first start."""
    assigned_to: str = ""
    """An account; empty where it is not assigned."""
    known_cause: str = ""

    @property
    def tags(self) -> set[str]:
        """Tags by which an incident is found."""
        found = {f"work:{self.state}"} if self.state else set()
        found |= {f"to:{self.assigned_to}"} if self.assigned_to else set()
        return found | ({"cause:known"} if self.known_cause else set())

    def as_change(self) -> dict[str, str | None]:
        """Returns the values for the log of changes, without a name; a cause is stored with the incident."""
        cause = "stated" if self.known_cause else None
        return {"work": self.state, "assigned_to": self.assigned_to or None, "cause": cause}


OPEN = IncidentWork("open")


@dataclass(frozen=True, slots=True)
class SeenMarks:
    """Which incidents an account has seen; the others are new to it."""

    up_to: int = 0
    """Incidents with this number and below are seen."""
    numbers: frozenset[int] = frozenset()
    """Those above that are seen."""
    since_ns: int = 0
    """What began before is not new: the account did not exist."""

    def is_new(self, incident_id: int, start_ns: int) -> bool:
        return incident_id > self.up_to and incident_id not in self.numbers and start_ns >= self.since_ns


@dataclass(frozen=True, slots=True)
class IncidentFilter:
    """Selects incidents; a field that is empty or None selects all."""

    kind: str = ""
    """A class; it matches each part of a combined class."""
    box_id: str = ""
    box_ids: tuple[str, ...] | None = None
    """The incident is at one of these at least, such as the Boxes of a site. With Boxes, class, residual
    voltage, times and field are asked of what was there, and an entry says what was there."""
    stays: tuple[tuple[str, int, int], ...] = ()
    """When the Boxes of `box_ids` were there, as (Box, from, to) in ns: what began at one at another time was
    elsewhere. Empty: always."""
    scope: str = ""
    least_severity: float | None = None
    start_ns: int | None = None
    end_ns: int | None = None
    """The incident overlaps [start_ns, end_ns)."""
    began_ns: int | None = None
    """The incident began at this moment or later."""
    words: str = ""
    """Each of these words is in a note."""
    cell: int | None = None
    """A field of the magnitude-duration plane."""
    order: str = "newest"
    work: str = ""
    """One of WORK_STATES."""
    assigned_to: str = ""
    cause_known: bool = False
    unseen: SeenMarks | None = None
    """The incident is new to the account with these marks."""
    _stays_of: dict[str, list[tuple[int, int]]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )
    """Box -> its `stays`; lists ask for thousands of incidents."""
    named: frozenset[str] = field(init=False, repr=False, compare=False, default=frozenset())
    """`box_ids`, which may be thousands."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "named", frozenset(self.box_ids or ()))
        for box_id, first, last in self.stays:
            self._stays_of.setdefault(box_id, []).append((first, last))

    @property
    def at(self) -> tuple[str, ...] | None:
        """The Boxes of `box_id`, else of `box_ids`; None for any."""
        return (self.box_id,) if self.box_id else self.box_ids

    @property
    def by_severity(self) -> bool:
        """Whether severity decides what is listed, or where."""
        return self.least_severity is not None or self.order == "severe"

    def was_there(self, box_id: str, start_ns: int) -> bool:
        """Whether what began at this moment at a Box is of the filter's Boxes."""
        if self.stays and box_id not in self._stays_of:
            return False
        if self.at is None:
            return True
        if box_id != self.box_id if self.box_id else box_id not in self.named:
            return False
        return not self.stays or any(first <= start_ns < last for first, last in self._stays_of[box_id])

    def shown(self, incident: Incident) -> Incident:
        """Returns an incident as a list of this filter shows it: what it was at its Boxes."""
        if not self.stays:
            return narrowed(incident, self.at)
        found = (each.finding for each in incident.findings)
        return narrowed(
            incident, {each.box_id for each in found if self.was_there(each.box_id, each.start_ns)}
        )

    @property
    def tags(self) -> tuple[str, ...]:
        """Tags that the incident has, the rarer first."""
        wanted = {
            f"to:{self.assigned_to}": self.assigned_to,
            "cause:known": self.cause_known,
            f"work:{self.work}": self.work,
            f"box:{self.box_id}": self.box_id,
            f"class:{self.kind}": self.kind,
        }
        return tuple(tag for tag, given in wanted.items() if given)

    @property
    def by_people(self) -> bool:
        """Whether it chooses by what people wrote, which only those may search who see it."""
        return bool(self.words or self.work or self.assigned_to or self.cause_known or self.unseen)

    @property
    def searched(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(folded(self.words).split()))[:8]


class IndexedIncident(msgspec.Struct, frozen=True):
    """An entry of the index; `kind` is the label where there is one.

    Pages read thousands of them: a Struct is made in less than half of a frozen dataclass's time.
    """

    incident_id: int
    start_ns: int
    end_ns: int
    kind: str
    residual_percent: float | None
    severity: float | None
    scope: str | None
    label: str | None = None
    machine_kind: str | None = None
    """The class that the analyses gave; None for the part that a visitor sees."""
    work: str | None = None
    """The state as it is stored; this and the next two are None for the part that a visitor sees."""
    assigned_to: str | None = None
    known_cause: str | None = None
    length_ns: int = 0
    """The length of the event that names it: of one Box."""

    def fits_work(self, wanted: IncidentFilter) -> bool:
        """As its tags do, without making them: it is asked of each incident that a visitor sees a part of."""
        return (
            (not wanted.work or wanted.work == self.work)
            and (wanted.unseen is None or wanted.unseen.is_new(self.incident_id, self.start_ns))
            and (not wanted.assigned_to or wanted.assigned_to == self.assigned_to)
            and (not wanted.cause_known or bool(self.known_cause))
        )

    def place(self, order: str) -> "IndexPlace":
        """Returns the incident's place in a list in this order."""
        if order == "newest":
            return IndexPlace(self.start_ns, self.incident_id)
        value = self.severity or 0.0 if order == "severe" else float(self.length_ns)
        return IndexPlace(value, self.incident_id)


@dataclass(frozen=True, slots=True)
class IndexPlace:
    """A place in a sorted list, after which the next page begins: the sort value and the incident's number.

    In the order `newest` the value is the start in nanoseconds, an int because a float cannot hold it; for
    events it is the start in milliseconds.
    """

    value: float | int
    number: int

    @property
    def key(self) -> tuple[float | int, int]:
        return self.value, self.number


@dataclass(frozen=True, slots=True)
class IndexProgress:
    """How many numbers of incidents are looked at, of all that were stored before the first start.

    `are_new`: new ones are searched, whose number is not known.
    """

    done: int
    all: int
    are_new: bool = False

    @property
    def percent(self) -> int:
        return 100 * self.done // self.all

    @property
    def words(self) -> str:
        if self.are_new:
            return "new incidents of the original are being indexed; they are not listed or counted yet"
        return (
            "the incidents of before the first start are being indexed, the newest first: "
            f"{self.percent} % are done; older ones are not listed or counted yet"
        )


def tags_of(kind: str) -> tuple[str, ...]:
    """Returns the tags by which a class is found."""
    return tuple(f"class:{part}" for part in kind.split("+"))


def cell_of(residual_percent: float | None, length_ns: int) -> int | None:
    """Returns the field of the plane, row by row from the deepest and shortest; None without a residual."""
    if residual_percent is None:
        return None
    seconds = length_ns / 1e9
    column = sum(seconds > limit for limit in DURATIONS_S)
    row = sum(residual_percent >= limit for limit in PERCENTS)
    return row * PLANE_COLUMNS + column


def folded(text: str) -> str:
    """Returns text in the form that is searched: lower case, no accents, one space between words."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return " ".join("".join(each for each in plain if not unicodedata.combining(each)).split())


def words_of(notes: Iterable[IncidentNote]) -> str:
    """Returns the searched text of an incident's notes: the newest first, so that the oldest are cut."""
    texts = [folded(note.text) for note in notes if note.kind in ("note", "label", "cause")]
    return " ".join(reversed(texts)).replace("_", " ")[:WORDS_CHARACTERS]


def label_of(notes: Sequence[IncidentNote]) -> str | None:
    """Returns the class that a person gave last; None where no person did, or the label was removed."""
    labels = [note.text for note in notes if note.kind == "label"]
    return (labels[-1] or None) if labels else None


def work_of(notes: Iterable[IncidentNote], state: str | None) -> IncidentWork:
    """Returns the work that notes state, the last one of each kind; `state` where they state none."""
    last = {note.kind: note.text for note in notes}
    still_open = "open" if "acknowledge" in last else state
    assigned = last.get("assign", "")
    return IncidentWork(
        "acknowledged" if last.get("acknowledge") else still_open,
        "" if assigned == NO_AUTHOR else assigned,
        last.get("cause", ""),
    )


def named_length_ns(residual_percent: float | None, worst_ns: int, whole_ns: int) -> int:
    """Returns the length that an incident is listed with: of its worst finding, or of all of it where no
    finding has a voltage, as a steady state is seen in pieces."""
    return whole_ns if residual_percent is None else worst_ns


def entry_of_facts(facts: IncidentFacts) -> IndexedIncident:
    return IndexedIncident(
        facts.incident_id,
        facts.start_ns,
        facts.end_ns,
        facts.kind,
        facts.residual_percent,
        facts.severity,
        facts.scope,
        length_ns=named_length_ns(facts.residual_percent, facts.worst[1], facts.end_ns - facts.start_ns),
    )


def entry_of_incident(incident: Incident) -> IndexedIncident:
    """Makes an entry for an incident without facts, as the original stores them."""
    return IndexedIncident(
        incident.incident_id,
        incident.start_ns,
        incident.end_ns,
        incident.machine_kind or incident.kind,
        incident.residual_percent,
        incident.severity,
        incident.scope,
        length_ns=named_length_ns(
            incident.residual_percent,
            naming_event(incident).length_ns,
            incident.end_ns - incident.start_ns,
        ),
    )
