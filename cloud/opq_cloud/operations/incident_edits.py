"""Edits of incidents by people, for View's pages and `opq-tools incidents`: split, merge, label, note.

Outside the rooms, because it makes a pure plan that the store carries out. Every change is kept with its
author and time, and announced for Mauka to publish.

Each finding of a split or merged incident is marked as placed by hand, also those that stay: joining keeps
these where they are (`onset_rule.OnsetScan.keep`), so the next analysis of the same events changes none of
them.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from opq_cloud.mauka.joining.finding_writer import FindingWriter, carry_out_plan
from opq_cloud.mauka.joining.incident_facts import PlaceOf, facts_of
from opq_cloud.store.incidents.box_events import is_steady
from opq_cloud.store.incidents.index import NOTE_CHARACTERS, IncidentEditError, IncidentNote
from opq_cloud.store.incidents.join_plan import CarriedOut, JoinPlan, KnownFinding
from opq_cloud.store.records.accounts.account_records import Account, BoxAccess
from opq_cloud.store.records.accounts.announcements import BY_HAND, IncidentAnnouncements
from opq_cloud.store.records.accounts.rights import Action, Relation, Way, may
from opq_cloud.store.records.accounts.seen_incidents import box_starts_ns
from opq_cloud.store.store import CloudStore, JoinStore
from opq_proto.kit.plain_text import one_line

TRIES_S = 30.0
CLASS_PARTS = 4
"""Most classes in one label, joined by `+`."""
CAUSE_CHARACTERS = 200


def may_edit(account: Account, accesses: Mapping[str, BoxAccess], starts_ns: Mapping[str, int]) -> bool:
    """Whether the account, signed in, may edit an incident that began at these Boxes at these moments."""
    known = [
        accesses.get(box_id, BoxAccess(box_id)).relation_to(account.account_id, start_ns)
        for box_id, start_ns in starts_ns.items()
    ]
    return may(account.standing(Way.SESSION), Action.EDIT_INCIDENT, min(known, default=Relation.NONE))


class IncidentEditor:
    """One per store; from any thread. All methods raise StoreError, and IncidentEditError with the reason."""

    def __init__(self, store: CloudStore) -> None:
        self._store = store
        self._place_of = FindingWriter(lambda: store).place_of
        self._announcements = IncidentAnnouncements(store.people.documents)

    def split_incident(self, number: int, finding_ids: Iterable[int], account_id: str = "") -> int:
        """Makes a new incident of these findings; returns its number."""
        wanted = tuple(finding_ids)
        done = self._carry_out(lambda: plan_split(self._store, number, wanted, self._place_of))
        fresh = done.new_incidents[0]
        self._note(number, account_id, "split", f"{len(wanted)} of its findings are incident #{fresh} now")
        self._note(fresh, account_id, "split", f"it was a part of incident #{number}")
        return fresh

    def merge_incidents(self, numbers: Sequence[int], account_id: str = "") -> int:
        """Make one incident of several; returns its number, the lowest of them."""
        self._carry_out(lambda: plan_merge(self._store, numbers, self._place_of))
        kept, *gone = sorted({*numbers})
        names = ", ".join(f"#{number}" for number in gone)
        self._note(kept, account_id, "merge", f"{names} {'is' if len(gone) == 1 else 'are'} part of it now")
        return kept

    def label_incident(self, number: int, kind: str, classes: Iterable[str], account_id: str = "") -> None:
        """Give the incident a class by hand; it replaces the class that Mauka found.

        Args:
            kind: a class, or several joined by `+`; an empty text removes the label.
        Raises:
            IncidentEditError: `kind` holds a word that is not in `classes`.
        """
        allowed = {*classes}
        parts = sorted({*kind.split("+")}) if kind else []
        unknown = [part for part in parts if part not in allowed]
        if unknown or len(parts) > CLASS_PARTS:
            raise IncidentEditError(f"{kind[:80]!r} is not a class; there are {', '.join(sorted(allowed))}")
        self._note(number, account_id, "label", "+".join(parts))
        self._announcements.add_changed(BY_HAND, number)

    def note_incident(self, number: int, text: str, account_id: str = "") -> None:
        """Add a note to the incident, as one line."""
        words = one_line(text)
        if not words or len(words) > NOTE_CHARACTERS:
            raise IncidentEditError(f"the note has {len(words)} characters; want 1 to {NOTE_CHARACTERS}")
        self._note(number, account_id, "note", words)

    def acknowledge_incident(self, number: int, account_id: str = "", done: bool = True) -> None:
        """Acknowledge the incident: somebody has taken note of it; not `done` takes that back."""
        self._note(number, account_id, "acknowledge", "acknowledged" if done else "")

    def assign_incident(self, number: int, assigned_to: str, account_id: str = "") -> None:
        """Assign the incident to an account; an empty text takes the assignment back.

        Raises:
            IncidentEditError: the account may not edit the incident.
        """
        people, incident = self._store.people, self._store.incident(number)
        if assigned_to and incident is not None:
            account = people.account(assigned_to)
            if account is None or not may_edit(account, people.accesses(), box_starts_ns(incident)):
                raise IncidentEditError("there is no such account that may edit this incident")
        self._note(number, account_id, "assign", assigned_to)

    def state_cause(self, number: int, text: str, account_id: str = "") -> None:
        """State the known cause of the incident, as one line; an empty text takes it back."""
        words = one_line(text)
        if len(words) > CAUSE_CHARACTERS:
            raise IncidentEditError(
                f"the cause has {len(words)} characters; want {CAUSE_CHARACTERS} or fewer"
            )
        self._note(number, account_id, "cause", words)

    def _note(self, number: int, account_id: str, kind: str, text: str) -> None:
        at_ms = time.time_ns() // 1_000_000
        self._store.put_note(IncidentNote(0, number, at_ms, account_id, kind, text))

    def _carry_out(self, plan: Callable[[], JoinPlan]) -> CarriedOut:
        done = carry_out_plan(self._store, plan, TRIES_S)
        if done is None:
            raise IncidentEditError(f"others changed the store's findings for {TRIES_S:g} s; try again")
        self._announcements.add_changes(BY_HAND, done)
        return done


MAX_MERGED = 50
"""Most incidents in one merge."""


def plan_split(reader: JoinStore, number: int, finding_ids: Iterable[int], place_of: PlaceOf) -> JoinPlan:
    """Plans a new incident from these findings of an incident.

    Raises:
        IncidentEditError: no such incident or finding, or one of the two would be empty.
    """
    revision = reader.join_revision()
    known, wanted = _findings(reader, number), {*finding_ids}
    unknown = sorted(wanted - {one.finding_id for one in known})
    if unknown:
        raise IncidentEditError(f"incident {number} has no finding {unknown[0]}; reload it and choose again")
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
    """Plans to make one incident of these, under the lowest of their numbers.

    Raises:
        IncidentEditError: fewer than two or more than MAX_MERGED, or one is not there.
    """
    revision = reader.join_revision()
    every = sorted({*numbers})
    if not 2 <= len(every) <= MAX_MERGED:
        raise IncidentEditError(f"{len(every)} incidents are to be merged; want 2 to {MAX_MERGED}")
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
