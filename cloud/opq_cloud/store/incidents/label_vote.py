"""The class that people's labels suggest for an incident: that of the labelled ones most like it. Pure.

Nearest neighbours have no training run: a label counts from the moment it is given. The class that the
analyses gave is compared, never the label, so an incident can be left out and predicted from the others.
Source: Cover and Hart, "Nearest neighbor pattern classification", IEEE Trans. Information Theory 13 (1967),
21-27. The number of neighbours and the limits were chosen for this project.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from heapq import nlargest

from opq_cloud.store.incidents.index import IndexedIncident
from opq_cloud.store.incidents.likeness import IncidentTraits, likeness, traits_of, traits_of_entry
from opq_proto.messages import Incident

NEIGHBOURS = 5
MIN_LIKENESS = 0.8
MIN_VOTES = 3
"""Number of neighbours with the same label below which nothing is suggested."""


@dataclass(frozen=True, slots=True)
class LabelledTraits:
    """A labelled incident: its features, with the analyses' class, and the class that a person gave it."""

    traits: IncidentTraits
    label: str


def labelled_entry(entry: IndexedIncident, box_ids: frozenset[str]) -> LabelledTraits:
    """Returns the traits of a labelled entry of the index; the caller gives the Boxes."""
    machine = replace(entry, kind=entry.machine_kind or entry.kind)
    return LabelledTraits(traits_of_entry(machine, box_ids), entry.label or entry.kind)


def labelled_incident(incident: Incident) -> LabelledTraits:
    """Returns the traits of a whole labelled incident."""
    machine = replace(incident, kind=incident.machine_kind or incident.kind)
    return LabelledTraits(traits_of(machine), incident.kind)


@dataclass(frozen=True, slots=True)
class SuggestedLabel:
    """A class, and the labelled incidents that have it, of the `compared` most like this one."""

    kind: str
    incident_ids: tuple[int, ...]
    compared: int

    def as_json(self) -> dict[str, object]:
        return {"class": self.kind, "incident_ids": list(self.incident_ids), "compared": self.compared}


def suggested_label(own: IncidentTraits, labelled: Iterable[LabelledTraits]) -> SuggestedLabel | None:
    """Returns the class of most of the nearest neighbours; None if fewer than `MIN_VOTES` agree.

    Args:
        own: features of the incident, with the analyses' class.
        labelled: other incidents; one with the same number is left out.
    """
    ranked = nlargest(
        NEIGHBOURS,
        (
            (alike, each.traits.incident_id, each.label)
            for each in labelled
            if each.traits.incident_id != own.incident_id
            and (alike := likeness(own, each.traits).alike) >= MIN_LIKENESS
        ),
    )
    votes = Counter(label for _alike, _number, label in ranked)
    kind, count = min(votes.items(), key=lambda vote: (-vote[1], vote[0]), default=("", 0))
    if count < MIN_VOTES:
        return None
    return SuggestedLabel(
        kind, tuple(number for _alike, number, label in ranked if label == kind), len(ranked)
    )


def left_out(labelled: Sequence[LabelledTraits]) -> list[SuggestedLabel | None]:
    """Returns what the other labels suggest for each of them (leave one out)."""
    return [suggested_label(each.traits, labelled) for each in labelled]
