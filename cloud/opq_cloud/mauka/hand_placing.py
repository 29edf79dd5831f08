"""Splits and merges by hand: the plan that a store carries out. Pure.

Each finding of what is split or merged is marked as placed by hand, also those that stay: joining keeps such
where they are (`onset_rule.OnsetScan.keep`), so the next analysis of the same events changes nothing of it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from opq_cloud.mauka.incident_facts import PlaceOf, facts_of
from opq_cloud.mauka.sightings import is_steady
from opq_cloud.store.incident_index import IncidentEditError
from opq_cloud.store.join_plan import JoinPlan, KnownFinding
from opq_cloud.store.store import JoinStore

MOST_MERGED = 50
"""Incidents that one merge joins."""


def plan_split(reader: JoinStore, number: int, finding_ids: Iterable[int], place_of: PlaceOf) -> JoinPlan:
    """These findings of an incident become one of their own.

    Raises:
        IncidentEditError: no such incident or finding, or one of the two would be empty.
    """
    revision = reader.join_revision()
    known, wanted = _findings(reader, number), {*finding_ids}
    strange = sorted(wanted - {one.finding_id for one in known})
    if strange:
        raise IncidentEditError(f"incident {number} has no finding {strange[0]}; reload it and choose again")
    taken = [_placed(one, -1) for one in known if one.finding_id in wanted]
    left = [_placed(one, number) for one in known if one.finding_id not in wanted]
    if not taken or not left:
        raise IncidentEditError(
            f"incident {number} has {len(known)} findings and {len(taken)} were chosen; choose some, not all"
        )
    before = reader.incident_facts(number)
    stays = facts_of(number, left, place_of)
    follows = None if before is None else before.follows
    return JoinPlan(
        revision,
        min(event_id for one in known for event_id in one.event_ids),
        written=(*left, *taken),
        facts=(replace(stays, follows=follows), facts_of(-1, taken, place_of)),
        answer=tuple(taken),
    )


def plan_merge(reader: JoinStore, numbers: Sequence[int], place_of: PlaceOf) -> JoinPlan:
    """These incidents become one, under the lowest of their numbers.

    Raises:
        IncidentEditError: fewer than two or more than MOST_MERGED, or one is not there.
    """
    revision = reader.join_revision()
    every = sorted({*numbers})
    if not 2 <= len(every) <= MOST_MERGED:
        raise IncidentEditError(f"{len(every)} incidents are to be merged; want 2 to {MOST_MERGED}")
    kept = every[0]
    known = [_placed(one, kept) for number in every for one in _findings(reader, number)]
    before = reader.incident_facts(kept)
    follows = None if before is None or before.follows in every else before.follows
    return JoinPlan(
        revision,
        min(event_id for one in known for event_id in one.event_ids),
        written=tuple(known),
        facts=(replace(facts_of(kept, known, place_of), follows=follows),),
        gone=tuple(every[1:]),
        answer=tuple(known),
    )


def _findings(reader: JoinStore, number: int) -> list[KnownFinding]:
    known = reader.findings_of_incident(number)
    if not known:
        raise IncidentEditError(f"there is no incident {number}; it may have been joined with another")
    return known


def _placed(one: KnownFinding, number: int) -> KnownFinding:
    return replace(one, incident_id=number, leads=not is_steady(one.finding.kind), by_hand=True)
