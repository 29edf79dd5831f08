"""What an analysis found in a History, into the store."""

from collections.abc import Sequence
from typing import Any

from opq_cloud.mauka.running.known.provenance import Provenance
from opq_cloud.store.records.incidents.phenomena import StoredPhenomenon
from opq_cloud.store.store import CloudStore
from opq_proto.messages import History, Phenomenon

RELATED_NS = 86_400 * 10**9
"""The findings in the span of a phenomenon are named where it is shorter; of a month they would be all."""


def replace_phenomena(
    store: CloudStore, provenance: Provenance, history: History, found: Sequence[Phenomenon]
) -> list[StoredPhenomenon]:
    """Stores what an analysis found of the subjects of a History; returns the new ones. Raises StoreError.

    What it found there before and no longer finds is removed, but not what it found of a Box's former place.
    """
    new: list[StoredPhenomenon] = []
    since_ms = {each.box_id: each.since_ns // 1_000_000 for each in history.boxes}
    for box_id in history.subjects:
        rows = [_stored(store, provenance, each) for each in found if each.box_ids[0] == box_id]
        span = history.start_ns // 1_000_000, history.end_ns // 1_000_000
        new += store.replace_phenomena(provenance.analysis, box_id, *span, rows, since_ms)
    return new


def _stored(store: CloudStore, provenance: Provenance, found: Phenomenon) -> StoredPhenomenon:
    own: dict[str, Any] = {"analysis": provenance.analysis, "version": provenance.version}
    own["because"] = found.because
    if found.quantity:
        own["quantity"] = found.quantity
    if found.size is not None:
        own |= {"size": found.size, "unit": found.unit}
    if found.lasting:
        own["lasting"] = True
    related = []
    if not found.lasting and found.end_ns - found.start_ns < RELATED_NS:
        related = store.findings_of_box(found.box_ids[0], found.start_ns, found.end_ns)
    return StoredPhenomenon(
        found.kind,
        found.box_ids,
        found.start_ns // 1_000_000,
        found.end_ns // 1_000_000,
        {**found.details, **own},
        tuple(sorted({number for each in related for number in each.event_ids})),
        tuple(each.finding_id for each in related),
    )
