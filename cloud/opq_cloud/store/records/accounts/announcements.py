"""Changes of incidents not made by Mauka's plug-ins, stored until Mauka has published them on its bus.

Pages, commands and re-analyses write to the store, in processes that may have no bus. They put the incidents'
numbers here, and Mauka publishes them (`joining/incident_announcer.py`).

Works on a table of `KeyedDocuments`.
"""

import secrets
import time
from dataclasses import dataclass

from opq_cloud.store.driver import Fields
from opq_cloud.store.incidents.join_plan import CarriedOut
from opq_cloud.store.records.accounts.account_records import INCIDENT_ANNOUNCEMENTS
from opq_cloud.store.records.keyed_documents import KeyedDocuments
from opq_proto.kit import log as logs

log = logs.get(service="store")

BY_ANALYSIS = "analysis"
"""The incident changed because of new findings."""
BY_HAND = "hand"
"""A user changed the incident."""
BY_REANALYSIS = "reanalysis"
"""A stored event was analysed again."""
INCIDENTS_PER_ANNOUNCEMENT = 20
"""Incidents in one announcement, which are read and published together."""
MAX_WAITING = 2000
"""Announcements that may wait (where Mauka does not run); further ones are left out and logged."""
LATEST_KEY = 10**20


@dataclass(frozen=True, slots=True)
class IncidentAnnouncement:
    """Numbers of incidents that one change made, altered or ended."""

    key: str
    by: str
    new: tuple[int, ...] = ()
    changed: tuple[int, ...] = ()
    gone: tuple[int, ...] = ()


class IncidentAnnouncements:
    """Waiting announcements. Any thread may call; methods raise StoreError where the database fails."""

    def __init__(self, documents: KeyedDocuments) -> None:
        self._documents = documents

    def add_changes(self, by: str, done: CarriedOut) -> int:
        """Adds what a plan changed; returns how many incidents were left out because too many wait."""
        named = [
            ("new" if facts.incident_id in done.new_incidents else "changed", facts.incident_id)
            for facts in done.facts
        ]
        return self._add_named(by, named + [("gone", number) for number in done.gone])

    def add_changed(self, by: str, number: int) -> int:
        """Adds one incident of which something other than its findings has changed."""
        return self._add_named(by, [("changed", number)])

    def oldest(self) -> IncidentAnnouncement | None:
        """Returns the announcement that has waited longest; None where none waits."""
        for found in self._documents.newest(INCIDENT_ANNOUNCEMENTS, "", 1):
            numbers = {name: tuple(int(each) for each in found[name]) for name in ("new", "changed", "gone")}
            return IncidentAnnouncement(str(found["key"]), str(found["by"]), **numbers)
        return None

    def remove(self, announcement: IncidentAnnouncement) -> None:
        self._documents.remove(INCIDENT_ANNOUNCEMENTS, announcement.key)

    def _add_named(self, by: str, named: list[tuple[str, int]]) -> int:
        room = MAX_WAITING - len(self._documents.find(INCIDENT_ANNOUNCEMENTS)) if named else 0
        for first in range(0, len(named), INCIDENTS_PER_ANNOUNCEMENT):
            if room <= 0:
                log.error("incident.announcement_left_out", by=by, incidents=len(named) - first)
                return len(named) - first
            room -= 1
            # the oldest has the highest key, because tables are read from the highest key down
            key = f"{LATEST_KEY - time.time_ns():020d}-{secrets.token_hex(4)}"
            fields: Fields = {"key": key, "by": by, "new": [], "changed": [], "gone": []}
            for name, number in named[first : first + INCIDENTS_PER_ANNOUNCEMENT]:
                fields[name].append(number)
            self._documents.insert(INCIDENT_ANNOUNCEMENTS, key, fields)
        return 0
