"""Incidents that people labelled, with the analyses' results: for training and for scores.

The label is the truth here. Each part of a combination counts separately.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from opq_cloud.store.incidents.index import IncidentFilter
from opq_cloud.store.incidents.label_vote import labelled_incident, left_out
from opq_cloud.store.store import CloudStore
from opq_proto.messages import Incident

PAGE = 1000
LEFT_OUT = 1000
"""Labels that are compared with each other, the newest ones: a million comparisons."""


@dataclass(frozen=True, slots=True)
class ClassScore:
    """Numbers of incidents that people labelled as one class, that the analyses named so, and of both."""

    labelled: int
    named: int
    both: int

    @property
    def precision(self) -> float | None:
        return self.both / self.named if self.named else None

    @property
    def recall(self) -> float | None:
        return self.both / self.labelled if self.labelled else None

    @property
    def f1(self) -> float | None:
        every = self.labelled + self.named
        return 2 * self.both / every if every else None

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "precision": self.precision, "recall": self.recall, "f1": self.f1}


def labelled_incidents(store: CloudStore) -> Iterator[Incident]:
    """Yields labelled incidents, newest first; `kind` is the label, `machine_kind` the analyses' class."""
    wanted, beyond = IncidentFilter(labelled=True), None
    while page := store.find_incidents(wanted, PAGE, beyond):
        yield from store.incidents_of([entry.incident_id for entry in page])
        beyond = page[-1].place(wanted.order)


def class_scores(pairs: Iterable[tuple[str, str]]) -> Mapping[str, ClassScore]:
    """How well labels and classes agree, by class, for (label, the analyses' class) of each incident."""
    labelled, named, both = Counter[str](), Counter[str](), Counter[str]()
    for label, machine in pairs:
        truth, answer = {*label.split("+")}, {*machine.split("+")}
        labelled.update(truth)
        named.update(answer)
        both.update(truth & answer)
    return {kind: ClassScore(labelled[kind], named[kind], both[kind]) for kind in sorted(labelled | named)}


def learned_classes(labelled: Sequence[Incident]) -> list[tuple[str, str]]:
    """Returns (label, the class by the other labels) of the newest incidents, each left out in turn.

    Where the other labels suggest nothing it is the analyses' class, as on the page of an incident.
    """
    newest = [labelled_incident(each) for each in labelled[:LEFT_OUT]]
    machine = ("+".join(sorted(each.traits.kinds)) for each in newest)
    return [
        (each.label, kind if found is None else found.kind)
        for each, found, kind in zip(newest, left_out(newest), machine, strict=True)
    ]


def label_row(incident: Incident) -> dict[str, object]:
    """Returns one labelled incident, with the figures of its findings, as training data."""
    return {
        "incident_id": incident.incident_id,
        "label": incident.kind,
        "machine_class": incident.machine_kind,
        "event_ids": list(incident.event_ids),
        "box_ids": list(incident.box_ids),
        "start_ns": incident.start_ns,
        "end_ns": incident.end_ns,
        "findings": [
            {
                "finding_id": one.finding_id,
                "box_id": one.finding.box_id,
                "class": one.finding.kind,
                "start_ns": one.finding.start_ns,
                "end_ns": one.finding.end_ns,
                "residual_percent": one.finding.residual_percent,
                "duration_cycles": one.finding.duration_cycles,
                "confidence": one.finding.confidence,
                "figures": dict(one.finding.figures),
                "analysis": one.finding.analysis,
                "analysis_version": one.finding.analysis_version,
                "settings_hash": one.finding.settings_hash,
            }
            for one in incident.findings
        ],
    }
