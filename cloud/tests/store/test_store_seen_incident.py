"""What a part of an incident, and a whole one at public Boxes, says to who does not see everything. Pure.

Short: one function, of which pages, API, live feed and notifications are made.
"""

import pytest

from opq_cloud.store.incidents import join_plan
from opq_cloud.store.incidents.as_json import incident_json
from opq_cloud.store.incidents.join_plan import KnownFinding
from opq_cloud.store.incidents.severity import severity_of
from opq_cloud.store.records.accounts.account_records import Account, BoxAccess
from opq_cloud.store.records.accounts.seen_incidents import box_sight, incident_at
from opq_proto.messages import CauseEvidence, CauseHypothesis, Finding, Incident, StoredFinding

KITCHEN = "the phases at Box 1, kitchen, show a dip of type D"
CAUSE = CauseHypothesis("fault", 0.9, (CauseEvidence("dip_type", KITCHEN, 2.0),))


def incident_of(*box_ids: str) -> Incident:
    findings = tuple(
        StoredFinding(number, 9, 3, Finding("sag", box_id, 1000, 2000, 10))
        for number, box_id in enumerate(box_ids, 1)
    )
    return Incident(
        9,
        "sag",
        box_ids,
        (3,),
        1000,
        2000,
        True,
        None,
        findings,
        centre=(21.297123, -157.816456),
        hypotheses=(CAUSE,),
    )


def test_a_causes_evidence_hides_unseen_boxes() -> None:
    """The evidence of a cause says nothing of a Box that is not seen."""
    part = incident_at(incident_of("1", "4"), {"4"}.__contains__)
    assert part is not None and part.hypotheses == () and part.centre is None
    assert "kitchen" not in str(incident_json(part)) and incident_json(part)["cause"] is None
    whole = incident_at(incident_of("1", "4"), {"1", "4"}.__contains__)
    assert whole is not None and whole.hypotheses == (CAUSE,)


@pytest.mark.parametrize("seen", ["1", "4", "14"])
def test_a_seen_part_has_its_severity(seen: str) -> None:
    """Facts and findings of a page say one severity, also to who sees a part, and of what has no facts."""
    findings = [
        KnownFinding(number, 1, (1,), Finding("sag", box_id, 0, length_ns, 0, residual_percent=percent))
        for number, box_id, percent, length_ns in ((1, "1", 80.0, 10**8), (2, "4", 20.0, 10**9))
    ]
    part = incident_at(join_plan.incident_of(findings), frozenset(seen).__contains__)
    assert part is not None and part.severity == max(severity_of(each.finding) for each in part.findings)


def test_a_public_boxs_notification_hides_its_place() -> None:
    """A notification about a public Box does not contain its place."""
    ada = Account("a", "ada@example.org", "ada", "viewer", "no-hash", 0)
    sight = box_sight(
        ada, [BoxAccess("1", owner_id="a"), BoxAccess("4", privacy="all"), BoxAccess("7", privacy="region")]
    )
    assert (sight.sees("1"), sight.sees("4"), sight.sees("7")) == (True, True, False)
    for box_ids, centre in ((("1",), True), (("4",), False), (("1", "4"), False)):
        part = incident_at(incident_of(*box_ids), sight.sees, sight.sees_place)
        assert part is not None and (part.centre is not None) == centre
