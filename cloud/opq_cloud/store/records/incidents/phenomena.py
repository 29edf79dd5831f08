"""Phenomena: what lasted or changed over weeks, in the original's form (docs/reference/opq-interop.md, D.7).

Those of other programs are left as they are; ours name their `analysis` in `phenomena_type`.
"""

import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from opq_cloud.store.driver import Condition, Documents, Fields
from opq_cloud.store.records.part import NUMBERS_BEGIN_S, StorePart, expires
from opq_cloud.store.records.tables import PHENOMENA

SAME_MS = 2 * 86_400_000
"""Two analyses put one change at most so far apart."""
EDGE_MS = 3 * 86_400_000
"""What began so soon after the start of a span may no longer be found in it."""
RANDOM_BITS = 24
"""Random bits of a number; until 2042 it has 53 bits at most, which every reader of JSON holds exactly."""
NO_MOVES: Mapping[str, int] = {}
"""Beginnings of stays for a caller that knows none."""
LASTING = "periodic"
"""The original's type of which a Box has one at a time."""


@dataclass(frozen=True, slots=True)
class StoredPhenomenon:
    """What lasted or changed."""

    kind: str
    """`phenomena_type.type`."""
    box_ids: tuple[str, ...]
    start_ms: int
    end_ms: int
    details: Mapping[str, Any]
    """Further keys of `phenomena_type`: of ours `analysis`, `version`, `because`, perhaps `quantity`, `size`,
    `unit` and `lasting`, and figures."""
    event_ids: tuple[int, ...] = ()
    incident_ids: tuple[int, ...] = ()
    phenomenon_id: int | None = None
    updated_ms: int = field(default=0, compare=False)

    @property
    def lasting(self) -> bool:
        """Whether it is a state: one of its kind, Boxes and quantity, whose span moves on."""
        return self.kind == LASTING or self.details.get("lasting") is True


class PhenomenonRecords(StorePart):
    """`phenomena`."""

    def phenomena(self, start_ms: int, end_ms: int, box_id: str = "") -> list[StoredPhenomenon]:
        with self._driver.read() as documents:
            found = self._read_all(PHENOMENA, _phenomenon, _overlapping(documents, start_ms, end_ms, box_id))
        return sorted(found, key=lambda each: (each.start_ms, each.phenomenon_id or 0))

    def replace_phenomena(
        self,
        analysis: str,
        box_id: str,
        start_ms: int,
        end_ms: int,
        found: Sequence[StoredPhenomenon],
        since_ms: Mapping[str, int] = NO_MOVES,
    ) -> list[StoredPhenomenon]:
        def job(documents: Documents) -> list[StoredPhenomenon]:
            stored = self._read_all(PHENOMENA, _phenomenon, _overlapping(documents, start_ms, end_ms, box_id))
            known = [
                each
                for each in stored
                if _is_own(each, analysis, box_id) and not _is_of_former_stay(each, since_ms)
            ]
            new = []
            for each in found:
                same = next((old for old in known if _is_same(old, each)), None)
                if same is None:
                    number = self._new_number(documents)
                    new.append(replace(each, phenomenon_id=number))
                else:
                    known.remove(same)
                    number = same.phenomenon_id or 0
                documents.put(PHENOMENA, [_document(each, number, expires(self._ttls.incidents))])
            for old in known:
                moved = any(start_ms < since_ms.get(each, 0) for each in old.box_ids)
                if old.lasting or moved or old.start_ms >= start_ms + EDGE_MS:
                    documents.remove(PHENOMENA, [("phenomena_id", "=", old.phenomenon_id)])
            return new

        return self._driver.write(job)

    def _new_number(self, documents: Documents) -> int:
        """Returns a number; once somebody sees only some Boxes, the second and RANDOM_BITS that are random.

        A pass of an analysis finds those of all Boxes within a second, so that numbers in turn would count
        hidden ones between two visible ones.
        """
        if not self._numbers_come_from_clock():
            return self._draw_numbers(documents, "phenomena_id")[0]
        second = int(self.now_s()) - NUMBERS_BEGIN_S
        while True:
            number = second << RANDOM_BITS | secrets.randbelow(1 << RANDOM_BITS)
            if not list(documents.find(PHENOMENA, [("phenomena_id", "=", number)], limit=1)):
                return number

    def _expire_phenomena(self, documents: Documents, now_s: int, slice_rows: int) -> int:
        return documents.remove(PHENOMENA, [("expire_at", "<=", now_s)], slice_rows)


def _overlapping(documents: Documents, start_ms: int, end_ms: int, box_id: str = "") -> Iterable[Fields]:
    where: list[Condition] = [("end_ts_ms", ">=", start_ms), ("start_ts_ms", "<", end_ms)]
    return documents.find(PHENOMENA, [*where, ("affected_opq_boxes", "has", box_id)] if box_id else where)


def _is_own(stored: StoredPhenomenon, analysis: str, box_id: str) -> bool:
    return stored.details.get("analysis") == analysis and stored.box_ids[:1] == (box_id,)


def _is_of_former_stay(stored: StoredPhenomenon, since_ms: Mapping[str, int]) -> bool:
    """Whether it was over when one of its Boxes came to where it is now; a step at that moment is not a
    finding of a place."""
    stay_ms = max(since_ms.get(each, 0) for each in stored.box_ids)
    return stored.end_ms < stay_ms or (stored.lasting and stored.end_ms == stay_ms)


def _is_same(old: StoredPhenomenon, new: StoredPhenomenon) -> bool:
    named = (old.kind, old.box_ids, old.details.get("quantity")) == (
        new.kind,
        new.box_ids,
        new.details.get("quantity"),
    )
    return named and (new.lasting or abs(old.start_ms - new.start_ms) <= SAME_MS)


def _document(found: StoredPhenomenon, number: int, expire_at: int) -> Fields:
    return {
        "phenomena_id": number,
        "phenomena_type": {**found.details, "type": found.kind},
        "affected_opq_boxes": list(found.box_ids),
        "related_event_ids": list(found.event_ids),
        "related_incident_ids": list(found.incident_ids),
        "start_ts_ms": found.start_ms,
        "end_ts_ms": found.end_ms,
        "updated_ts_ms": time.time_ns() // 1_000_000,
        "expire_at": expire_at,
    }


def _phenomenon(document: Fields) -> StoredPhenomenon:
    details = dict(document["phenomena_type"])
    return StoredPhenomenon(
        str(details.pop("type")),
        tuple(str(each) for each in document["affected_opq_boxes"]),
        int(document["start_ts_ms"]),
        int(document["end_ts_ms"]),
        details,
        tuple(int(each) for each in document.get("related_event_ids") or ()),
        tuple(int(each) for each in document.get("related_incident_ids") or ()),
        int(document["phenomena_id"]),
        int(document.get("updated_ts_ms") or 0),
    )
