"""Withdrawal: a plan that removes a wrong finding; `planning.py` only adds. Pure."""

from dataclasses import replace

from opq_cloud.mauka.joining.incident_facts import PlaceOf, facts_of
from opq_cloud.mauka.joining.onset_rule import onset_key
from opq_cloud.store.incidents.box_events import is_steady
from opq_cloud.store.incidents.join_plan import FindingMove, JoinPlan, KnownFinding, onset
from opq_cloud.store.store import JoinStore
from opq_proto.messages import Finding


def plan_withdrawal(reader: JoinStore, finding: Finding, event_id: int, place_of: PlaceOf) -> JoinPlan:
    """Plans the removal of a finding, such as an outage that turned out to be a lost network.

    The finding has this class, Box and beginning; one that people placed by hand stays. The rest of its
    incident stays one incident, led by the finding that now begins first.
    """
    revision = reader.join_revision()
    known = [
        one
        for one in reader.findings_of_box(finding.box_id, finding.start_ns, finding.start_ns)
        if (one.finding.kind, one.finding.start_ns) == (finding.kind, finding.start_ns) and not one.by_hand
    ]
    if not known:
        return JoinPlan(revision, event_id)
    gone, number = known[0], known[0].incident_id
    rest = [one for one in reader.findings_of_incident(number) if one.finding_id != gone.finding_id]
    if not rest:
        return JoinPlan(revision, event_id, removed=(gone.finding_id,), gone=(number,))
    before = reader.incident_facts(number)
    facts = replace(facts_of(number, rest, place_of), follows=None if before is None else before.follows)
    return JoinPlan(revision, event_id, moved=_led_again(rest), removed=(gone.finding_id,), facts=(facts,))


def _led_again(rest: list[KnownFinding]) -> tuple[FindingMove, ...]:
    """Makes the earliest of the remaining findings the leading one, if none of them leads the incident."""
    sharp = [one for one in rest if not is_steady(one.finding.kind)]
    if not sharp or any(one.leads for one in sharp):
        return ()
    first = min(sharp, key=lambda one: onset_key(onset(one)))
    return (FindingMove(first.finding_id, first.incident_id, leads=True),)
