"""Which incidents each account has seen, as a mail reader knows which messages were read.

One document per account, whatever the number of incidents: a number up to which all are seen, and at most
MAX_SEEN numbers above it. With one more, the lowest goes: incidents up to it that were never opened count as
seen from then on. Numbers without a gap above the first need no mark.
"""

from collections.abc import Iterable

from opq_cloud.store.driver import Fields
from opq_cloud.store.incidents.index import SeenMarks
from opq_cloud.store.records.keyed_documents import KeyedDocuments

SEEN_INCIDENTS = "opq_seen_incidents"
MAX_SEEN = 1000


class SeenMarkRecords:
    """From any thread; every method raises StoreError where the database fails."""

    def __init__(self, documents: KeyedDocuments) -> None:
        self._documents = documents

    def of(self, account_id: str, created_ms: int) -> SeenMarks:
        """The marks of an account that was made at this time."""
        found = self._documents.get(SEEN_INCIDENTS, account_id) or {}
        numbers = frozenset(map(int, found.get("numbers", ())))
        return SeenMarks(int(found.get("up_to", 0)), numbers, created_ms * 1_000_000)

    def mark(self, account_id: str, numbers: Iterable[int] = (), up_to: int = 0) -> None:
        """Marks incidents as seen, and with `up_to` all up to this number."""
        seen = sorted(numbers)
        new = _marked({}, seen, up_to)
        if not self._documents.insert(SEEN_INCIDENTS, account_id, new):
            self._documents.change(SEEN_INCIDENTS, account_id, lambda before: _marked(before, seen, up_to))


def _marked(before: Fields, seen: Iterable[int], up_to: int) -> Fields:
    limit = max(up_to, int(before.get("up_to", 0)))
    numbers = sorted({*map(int, before.get("numbers", ())), *seen})
    numbers = [number for number in numbers if number > limit]
    while numbers and numbers[0] == limit + 1:
        limit = numbers.pop(0)
    if len(numbers) > MAX_SEEN:
        limit, numbers = numbers[-MAX_SEEN - 1], numbers[-MAX_SEEN:]
    return {"up_to": limit, "numbers": numbers}
