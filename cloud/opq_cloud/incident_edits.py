"""What people do to incidents: split, merge, label, note; for View's pages and `opq-tools incidents` alike.

It lies beside the rooms, as their services do: it plans with Mauka's pure functions, the store carries the
plan out, and View and the tools know neither. Every change is kept with who made it and when, and announced
for Mauka to publish.
"""

import time
from collections.abc import Callable, Iterable, Sequence

from opq_cloud.mauka.finding_writer import FindingWriter, carry_out_plan
from opq_cloud.mauka.hand_placing import plan_merge, plan_split
from opq_cloud.store.incident_announcements import BY_HAND, IncidentAnnouncements
from opq_cloud.store.incident_index import NOTE_CHARACTERS, IncidentEditError, IncidentNote
from opq_cloud.store.join_plan import CarriedOut, JoinPlan
from opq_cloud.store.store import CloudStore

TRIES_S = 30.0
CLASS_PARTS = 4
"""The most classes that a label joins by `+`."""


class IncidentEditor:
    """One per store; from any thread. All methods raise StoreError, and IncidentEditError with the reason."""

    def __init__(self, store: CloudStore) -> None:
        self._store = store
        self._place_of = FindingWriter(lambda: store).place_of
        self._announcements = IncidentAnnouncements(store.people.documents)

    def split_incident(self, number: int, finding_ids: Iterable[int], account_id: str = "") -> int:
        """These findings become an incident of their own; its number."""
        wanted = tuple(finding_ids)
        done = self._carry_out(lambda: plan_split(self._store, number, wanted, self._place_of))
        fresh = done.new_incidents[0]
        self._note(number, account_id, "split", f"{len(wanted)} of its findings are incident #{fresh} now")
        self._note(fresh, account_id, "split", f"it was a part of incident #{number}")
        return fresh

    def merge_incidents(self, numbers: Sequence[int], account_id: str = "") -> int:
        """They become one; its number, the lowest of theirs."""
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
        strange = [part for part in parts if part not in allowed]
        if strange or len(parts) > CLASS_PARTS:
            raise IncidentEditError(f"{kind[:80]!r} is no class; there are {', '.join(sorted(allowed))}")
        self._note(number, account_id, "label", "+".join(parts))
        self._announcements.put_changed(BY_HAND, number)

    def note_incident(self, number: int, text: str, account_id: str = "") -> None:
        """Add a note to the incident."""
        said = text.strip()
        if not said or len(said) > NOTE_CHARACTERS:
            raise IncidentEditError(f"the note has {len(said)} characters; want 1 to {NOTE_CHARACTERS}")
        self._note(number, account_id, "note", said)

    def _note(self, number: int, account_id: str, kind: str, text: str) -> None:
        at_ms = time.time_ns() // 1_000_000
        self._store.put_note(IncidentNote(0, number, at_ms, account_id, kind, text))

    def _carry_out(self, plan: Callable[[], JoinPlan]) -> CarriedOut:
        done = carry_out_plan(self._store, plan, TRIES_S)
        if done is None:
            raise IncidentEditError(f"others changed the store's findings for {TRIES_S:g} s; try again")
        self._announcements.put(BY_HAND, done)
        return done
