"""Re-analysis: stored events analysed again; the changes are carried out or only shown.

Events that share findings are replaced together, in one plan. Events whose analysis fails stay as they
were. The same analyses with the same settings change nothing, so a re-analysis that was interrupted can be
repeated.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from opq_cloud.mauka.joining.finding_writer import FindingWriter, carry_out_plan
from opq_cloud.mauka.reanalysis.replacing import (
    ReplacedEvent,
    Replacement,
    findings_of_events,
    plan_replacement,
)
from opq_cloud.mauka.running.calls.event_analysis import EventResult
from opq_cloud.store.event_record import EventRecord
from opq_cloud.store.incidents.join_plan import (
    CarriedOut,
    GivenNumbers,
    IncidentFacts,
    JoinPlan,
    KnownFinding,
    carried_out,
    worst_of,
)
from opq_cloud.store.records.accounts.announcements import BY_REANALYSIS, IncidentAnnouncements
from opq_cloud.store.store import CloudStore
from opq_proto.errors import StoreError
from opq_proto.messages import Finding

ORIGIN = ("analysis", "analysis_version", "settings_hash")
FIRST_NUMBER = 2**62
"""A dry run numbers new findings and incidents from here on; no store has such numbers."""
Members = Mapping[int, Mapping[int, KnownFinding]]
"""Incident -> its findings by their numbers."""
COMPARED = tuple(each.name for each in fields(Finding) if each.name not in ORIGIN)


@dataclass(frozen=True, slots=True)
class FindingChange:
    """`change`: added, gone, class, figures, or origin (only the analysis). None: it does not exist."""

    change: str
    box_id: str
    finding_id: int
    before: KnownFinding | None
    after: KnownFinding | None


@dataclass(frozen=True, slots=True)
class IncidentChange:
    """`change`: added, gone, class, findings, or facts (such as scope and cause). `before` and `after` are
    classes."""

    change: str
    incident_id: int
    before: str | None
    after: str | None
    label: str | None = None


@dataclass(slots=True)
class ReanalysisReport:
    """What a re-analysis changes, or would change.

    Attributes:
        skipped: event -> why it was not analysed again.
        failed: event -> analysis and its error; nothing of these events is changed.
        not_run: installed analysis -> why it does not run here; its earlier findings stay.
    """

    events: int = 0
    unchanged: int = 0
    """Number of findings."""
    findings: list[FindingChange] = field(default_factory=list)
    incidents: list[IncidentChange] = field(default_factory=list)
    kept: list[KnownFinding] = field(default_factory=list)
    """Not found again; they stay because a person labelled or placed them."""
    skipped: dict[int, str] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    not_run: dict[str, str] = field(default_factory=dict)
    earlier: list[Mapping[str, Any]] = field(default_factory=list)
    """Changes of the parts of this run that ended before, as JSON (`report_json.py`)."""

    def add(self, more: "ReanalysisReport") -> None:
        """Adds the changes of another group."""
        self.events += more.events
        self.unchanged += more.unchanged
        self.findings += more.findings
        self.incidents += more.incidents
        self.kept += more.kept
        self.skipped |= more.skipped
        self.failed |= more.failed

    def counts(self) -> dict[str, int]:
        """Returns the number of findings for each change."""
        found = dict.fromkeys(("added", "gone", "class", "figures", "origin"), 0)
        for one in self.findings:
            found[one.change] += 1
        return found


def events_to_replace(
    store: CloudStore, start_ns: int | None, end_ns: int | None, limit: int, report: ReanalysisReport
) -> list[list[EventRecord]]:
    """The analysed events of a span, each with those that share findings with it, in the order of time."""
    groups: list[list[EventRecord]] = []
    seen: set[int] = set()
    for record in sorted(store.events(start_ns, end_ns, limit), key=lambda each: each.start_ns):
        if record.event_id in seen:
            continue
        group = _group_of(store, record)
        seen.update(each.event_id for each in group)
        waiting = [each for each in group if not each.analysed]
        for each in waiting:
            report.skipped[each.event_id] = "is not analysed yet"
        if waiting:
            report.skipped.update(
                {each.event_id: "shares findings with one that is not analysed yet" for each in group}
                | {each.event_id: report.skipped[each.event_id] for each in waiting}
            )
        else:
            groups.append(group)
    return groups


def _group_of(store: CloudStore, first: EventRecord) -> list[EventRecord]:
    """It and all events that share findings with it, directly or over others; without deleted ones."""
    group, fresh = {first.event_id: first}, [first]
    while fresh:
        known, _ = findings_of_events(store, [_span(each) for each in fresh])
        numbers = {number for one in known.values() for number in one.event_ids} - group.keys()
        found = [store.event_record(number) for number in sorted(numbers)]
        fresh = [each for each in found if each is not None]
        group |= {each.event_id: each for each in fresh}
    return sorted(group.values(), key=lambda each: (each.start_ns, each.event_id))


def _span(record: EventRecord) -> ReplacedEvent:
    return ReplacedEvent(record.event_id, record.start_ns, record.end_ns, record.boxes_received, ())


class Reanalysis:
    """One run over groups of events.

    Args:
        analyses: names of those that run.
        unnamed: they also replace findings that do not name their analysis.
        dry_run: the store stays as it is; each group is planned on its own.
    """

    def __init__(
        self,
        store: CloudStore,
        analyses: frozenset[str],
        unnamed: bool,
        report: ReanalysisReport,
        dry_run: bool,
    ) -> None:
        self._store, self._analyses, self._unnamed, self._report = store, analyses, unnamed, report
        self._dry_run = dry_run
        self._writer = FindingWriter(lambda: store)
        self._announcements = None if dry_run else IncidentAnnouncements(store.people.documents)

    def replace_groups(
        self,
        groups: Sequence[Sequence[EventRecord]],
        results: Iterable[EventResult],
        on_progress: Callable[[int], None] = lambda done: None,
        on_replaced: Callable[[Sequence[int], ReanalysisReport], None] = lambda event_ids, changes: None,
    ) -> None:
        """Replaces each group when all its results are there, in the order of the groups.

        Args:
            on_progress: gets the number of analysed events.
            on_replaced: gets the events of a group and the changes, once the store has the new findings.
        Raises:
            StoreError: the database refuses, or others write without a pause.
        """
        got: dict[int, EventResult] = {}
        waiting = list(reversed(groups))
        for done, result in enumerate(results, start=1):
            got[result.event_id] = result
            on_progress(done)
            while waiting and all(each.event_id in got for each in waiting[-1]):
                group = waiting.pop()
                whole, self._report = self._report, ReanalysisReport()
                try:
                    if self._replace(group, [got.pop(each.event_id) for each in group]):
                        on_replaced([each.event_id for each in group], self._report)
                finally:
                    whole.add(self._report)
                    self._report = whole

    def _replace(self, group: Sequence[EventRecord], results: Sequence[EventResult]) -> bool:
        """Replaces a group; returns whether that was possible."""
        self._report.events += len(group)
        failed = {
            each.event_id: "; ".join(f"{n}: {why}" for n, why in each.failed.items()) for each in results
        }
        failed = {event_id: why for event_id, why in failed.items() if why}
        if failed:
            self._report.failed |= failed
            return False
        spans = [_span(each) for each in group]
        before, _ = findings_of_events(self._store, spans)
        clocks = {one.finding.box_id: one.finding.clock_id for one in before.values() if one.finding.clock_id}
        events = tuple(
            replace(
                span,
                box_ids=result.box_ids,
                findings=tuple(self._with_clock(one, clocks) for one in result.findings),
            )
            for span, result in zip(spans, results, strict=True)
        )
        numbers = {one.incident_id for one in before.values()}
        labels = {number: label for number in numbers if (label := _label(self._store, number))}
        replacement = Replacement(events, self._analyses, self._unnamed, frozenset(labels))
        kept: list[KnownFinding] = []
        plans: list[JoinPlan] = []

        def plan() -> JoinPlan:
            if any(_has_changed(self._store, each) for each in group):
                raise _EventChangedError
            made, kept[:] = plan_replacement(self._store, replacement, self._writer.place_of)
            plans.append(made)
            was.clear()
            for number in {*(one.incident_id for one in made.facts if one.incident_id > 0), *made.gone}:
                was[number] = self._members(number)
                was_said[number] = self._store.incident_facts(number)
            return made

        was: dict[int, dict[int, KnownFinding]] = {}
        was_said: dict[int, IncidentFacts | None] = {}
        try:
            done = _as_carried_out(plan()) if self._dry_run else carry_out_plan(self._store, plan)
        except _EventChangedError:
            self._report.events -= len(group)
            self._report.skipped |= {each.event_id: "has changed since it was read" for each in group}
            return False
        if done is None:
            raise StoreError(
                f"event {group[0].event_id}: others changed the store's findings without a pause"
            )
        if self._announcements is not None:
            self._announcements.add_changes(BY_REANALYSIS, done)
        self._report.kept += kept
        if self._dry_run:
            now = _members_after(plans[-1], was)
        else:
            now = {one.incident_id: self._members(one.incident_id) for one in done.facts}
        self._note(plans[-1], done, before, was, now, labels, was_said)
        return True

    def _with_clock(self, one: Finding, clocks: Mapping[str, int | None]) -> Finding:
        """Adds the Box's clock; Measurements that named it may be gone, but the earlier findings have it."""
        stamped = self._writer.with_clock(one)
        if stamped.clock_id is None and clocks.get(one.box_id):
            return replace(stamped, clock_id=clocks[one.box_id])
        return stamped

    def _note(
        self,
        plan: JoinPlan,
        done: CarriedOut,
        before: Mapping[int, KnownFinding],
        was: Members,
        now: Members,
        labels: Mapping[int, str],
        was_said: Mapping[int, IncidentFacts | None],
    ) -> None:
        report = self._report
        old = {**before, **{n: one for members in was.values() for n, one in members.items()}}
        new = {n: one for members in now.values() for n, one in members.items()}
        removed, written = {*plan.removed}, {n: one for n, one in new.items() if one != old.get(n)}
        for number in sorted(removed):
            one = old[number]
            report.findings.append(FindingChange("gone", one.finding.box_id, number, one, None))
        for number, one in sorted(written.items()):
            change = _finding_change(old.get(number), one)
            if change:
                report.findings.append(
                    FindingChange(change, one.finding.box_id, number, old.get(number), one)
                )
        report.unchanged += sum(number not in removed and number not in written for number in before)
        for incident_id in done.gone:
            kind = (
                worst_of([one.finding for one in was[incident_id].values()]).kind
                if was[incident_id]
                else None
            )
            report.incidents.append(IncidentChange("gone", incident_id, kind, None, labels.get(incident_id)))
        for facts in done.facts:
            members = was.get(facts.incident_id)
            kind = worst_of([one.finding for one in members.values()]).kind if members else None
            label = labels.get(facts.incident_id)
            if kind is None:
                report.incidents.append(IncidentChange("added", facts.incident_id, None, facts.kind, label))
            elif kind != facts.kind:
                report.incidents.append(IncidentChange("class", facts.incident_id, kind, facts.kind, label))
            elif members is not None and members.keys() != now[facts.incident_id].keys():
                report.incidents.append(IncidentChange("findings", facts.incident_id, kind, kind, label))
            elif facts != was_said.get(facts.incident_id):
                report.incidents.append(IncidentChange("facts", facts.incident_id, kind, kind, label))

    def _members(self, number: int) -> dict[int, KnownFinding]:
        return {one.finding_id: one for one in self._store.findings_of_incident(number)}


def _numbers_of(plan: JoinPlan) -> GivenNumbers:
    """The numbers of a dry run in place of those that a store would give."""
    return GivenNumbers(
        range(FIRST_NUMBER, FIRST_NUMBER + plan.new_findings()),
        range(FIRST_NUMBER, FIRST_NUMBER + plan.new_incidents()),
    )


def _as_carried_out(plan: JoinPlan) -> CarriedOut:
    """What a store would answer that has carried the plan out."""
    return carried_out(plan, _numbers_of(plan))


def _members_after(plan: JoinPlan, was: Members) -> Members:
    """The findings of each incident that the plan changes, as they would be after it.

    A plan moves findings only of incidents that it contains facts about; `was` has these.
    """
    numbers = _numbers_of(plan)
    known = {number: one for members in was.values() for number, one in members.items()}
    for move in plan.moved:
        place = numbers.incident(move.incident_id)
        known[move.finding_id] = replace(known[move.finding_id], incident_id=place, leads=move.leads)
    known |= {one.finding_id: one for one in map(numbers.known, plan.written)}
    found: dict[int, dict[int, KnownFinding]] = {numbers.facts(one).incident_id: {} for one in plan.facts}
    for number, one in known.items():
        if number not in plan.removed:
            found.setdefault(one.incident_id, {})[number] = one
    return found


class _EventChangedError(Exception):
    """More samples have come since an event was read: its new findings do not cover them."""


def _has_changed(store: CloudStore, read: EventRecord) -> bool:
    now = store.event_record(read.event_id)
    return now is None or now.revision != read.revision


def _finding_change(before: KnownFinding | None, after: KnownFinding) -> str:
    if before is None:
        return "added"
    was, now = before.finding, after.finding
    if was.kind != now.kind:
        return "class"
    if any(getattr(was, name) != getattr(now, name) for name in COMPARED):
        return "figures"
    return "origin" if any(getattr(was, name) != getattr(now, name) for name in ORIGIN) else ""


def _label(store: CloudStore, number: int) -> str | None:
    """Returns the class that a person gave an incident; None: no person did."""
    incident = store.incident(number)
    return None if incident is None or incident.machine_kind is None else incident.kind
