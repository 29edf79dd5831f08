"""The index of incidents, and what people say of them: what is searched, sorted and counted. Pure.

An entry is made of what is said of an incident (`IncidentFacts`) and of its notes; both stores keep one for
each incident, written with it. A label is a class that a person gave: it takes the place of the machine's.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from opq_cloud.store.join_plan import IncidentFacts
from opq_proto.errors import OpqError
from opq_proto.messages import Incident

NOTE_KINDS = ("note", "label", "split", "merge")
NO_AUTHOR = "deleted"
"""In the place of an account that is gone."""
NOTE_CHARACTERS = 2000
MOST_NOTES = 500
"""Notes of one incident; a further one is refused."""
WORDS_CHARACTERS = 20_000
"""Characters of all notes of an incident, as they are searched."""
DURATIONS_S = (0.02, 0.2, 0.5, 1.0, 5.0, 60.0)
"""Where a column of the magnitude-duration plane ends: EN 50160:2010, table 2 (dips), with 20 ms before
and what is longer after."""
PERCENTS = (5.0, 40.0, 70.0, 80.0, 90.0, 110.0, 120.0)
"""Where a row of it ends, percent of nominal: EN 50160:2010, tables 2 and 3."""
COLUMNS, ROWS = len(DURATIONS_S) + 1, len(PERCENTS) + 1
ORDERS = ("newest", "severe", "long")


class IncidentEditError(OpqError):
    """What was asked for cannot be: there is no such incident, finding or class, or nothing would change."""


@dataclass(frozen=True, slots=True)
class IncidentNote:
    """One thing that a person said or did to an incident; kept as long as the incident."""

    note_id: int
    incident_id: int
    at_ms: int
    account_id: str
    """Who: empty for a command at the store's own machine."""
    kind: str
    """One of NOTE_KINDS."""
    text: str
    """The text of the note; of a label the class, or "" where it is taken back."""

    def as_document(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class IncidentFilter:
    """Which incidents are asked for; what is empty or None asks for nothing."""

    kind: str = ""
    """A class; of a combination each part counts."""
    box_id: str = ""
    box_ids: tuple[str, ...] | None = None
    """At one of these at least: the Boxes of a region, or those that a visitor may see."""
    scope: str = ""
    least_severity: float | None = None
    start_ns: int | None = None
    end_ns: int | None = None
    """Those that meet [start_ns, end_ns)."""
    words: str = ""
    """Each of these words stands in a note."""
    cell: int | None = None
    """A field of the magnitude-duration plane."""
    order: str = "newest"

    @property
    def at(self) -> tuple[str, ...] | None:
        """The Boxes that are named, None: no matter which; of both fields the narrower."""
        return (self.box_id,) if self.box_id else self.box_ids

    @property
    def tags(self) -> tuple[str, ...]:
        """The rarer first."""
        box = (f"box:{self.box_id}",) if self.box_id else ()
        return (*box, f"class:{self.kind}") if self.kind else box

    @property
    def searched(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(folded(self.words).split()))[:8]


@dataclass(frozen=True, slots=True)
class IndexedIncident:
    """An entry of the index; `kind` is the label where there is one."""

    incident_id: int
    start_ns: int
    end_ns: int
    kind: str
    residual_percent: float | None
    severity: float | None
    scope: str | None
    label: str | None = None

    def place(self, order: str) -> "IndexPlace":
        """Where the incident stands in a list in this order."""
        length_ns = self.end_ns - self.start_ns
        value = {"newest": self.start_ns, "severe": self.severity or 0.0, "long": float(length_ns)}
        return IndexPlace(value[order], self.incident_id)


@dataclass(frozen=True, slots=True)
class IndexPlace:
    """Where the next page of a list begins: the value that it is sorted by, then the incident's number.

    The newest first: the start in nanoseconds, an int because a float cannot hold it; events: milliseconds.
    """

    value: float | int
    number: int

    @property
    def key(self) -> tuple[float | int, int]:
        return self.value, self.number


def tags_of(kind: str) -> tuple[str, ...]:
    """What a class is found by."""
    return tuple(f"class:{part}" for part in kind.split("+"))


def cell_of(residual_percent: float | None, start_ns: int, end_ns: int) -> int | None:
    """The field of the plane, row by row from the deepest and shortest; None: no residual."""
    if residual_percent is None:
        return None
    seconds = (end_ns - start_ns) / 1e9
    column = sum(seconds > limit for limit in DURATIONS_S)
    row = sum(residual_percent >= limit for limit in PERCENTS)
    return row * COLUMNS + column


def folded(text: str) -> str:
    """As it is searched: small letters, no accents, one space between words."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return " ".join("".join(each for each in plain if not unicodedata.combining(each)).split())


def words_of(notes: Iterable[IncidentNote]) -> str:
    """What is searched of the notes of an incident: the newest first, so that they are not cut."""
    texts = [folded(note.text) for note in notes if note.kind in ("note", "label")]
    return " ".join(reversed(texts)).replace("_", " ")[:WORDS_CHARACTERS]


def label_of(notes: Sequence[IncidentNote]) -> str | None:
    """The class that a person gave last; None: nobody did, or it was taken back."""
    labels = [note.text for note in notes if note.kind == "label"]
    return (labels[-1] or None) if labels else None


def entry_of_facts(facts: IncidentFacts) -> IndexedIncident:
    return IndexedIncident(
        facts.incident_id, facts.start_ns, facts.end_ns, facts.kind, facts.residual_percent,
        facts.severity, facts.scope,
    )  # fmt: skip


def entry_of_incident(incident: Incident) -> IndexedIncident:
    """For one of which nothing else is known: stored by a version without facts, or by the original."""
    return IndexedIncident(
        incident.incident_id, incident.start_ns, incident.end_ns, incident.machine_kind or incident.kind,
        incident.residual_percent, incident.severity, incident.scope,
    )  # fmt: skip
