"""Stores with each finding what the original stores: its Measurements, and its samples as a file (D.6)."""

from pymongo import ASCENDING

from opq_cloud.store.documents.events import counts_to_bytes
from opq_cloud.store.driver import Documents, Fields
from opq_cloud.store.incidents.join_plan import KnownFinding
from opq_cloud.store.mongo.server import MongoServer
from opq_cloud.store.records.tables import BOX_EVENTS
from opq_cloud.store.records.waveforms import read_waveform
from opq_proto.errors import StoreError

SLICE_MARGIN_SAMPLES = 12
"""Samples that the original adds on both sides of an incident's slice."""


class MongoFindingCopies:
    """`FindingCopies`: the samples of a finding come from its events."""

    def __init__(self, server: MongoServer) -> None:
        self._db, self._files = server.db, server.fs

    def add(self, documents: Documents, known: KnownFinding, document: Fields) -> None:
        span = {"$gte": document["start_timestamp_ms"], "$lte": document["end_timestamp_ms"]}
        of_box = {"box_id": known.finding.box_id, "timestamp_ms": span}
        rows = self._db.measurements.find(of_box, {"_id": 0}).sort("timestamp_ms", ASCENDING)
        document["measurements"] = list(rows)
        document["gridfs_filename"] = self._put_slice(documents, known)

    def delete(self, documents: Documents, finding_id: int) -> None:
        documents.beat()
        documents.delete_files(_name(finding_id))

    def _put_slice(self, documents: Documents, known: KnownFinding) -> str:
        """Stores the finding's samples, with the original's margin, as a file; returns its name, "" for none.

        Where several events contain the finding, the one with most of it is used.
        """
        finding = known.finding
        where = [("event_id", "in", list(known.event_ids)), ("box_id", "=", finding.box_id)]
        waves = []
        for part in documents.find(BOX_EVENTS, where, sort=("event_id",)):
            try:
                waves.append(read_waveform(documents, part))
            except StoreError:
                continue  # reading the event reports it; the finding is stored without these samples
        if not waves:
            return ""
        wave = max(
            waves, key=lambda one: min(one.end_ns, finding.end_ns) - max(one.start_ns, finding.start_ns)
        )
        per_ns = wave.rate_millihz / 1e12
        first = max(0, round((finding.start_ns - wave.start_ns) * per_ns) - SLICE_MARGIN_SAMPLES)
        last = round((finding.end_ns - wave.start_ns) * per_ns) + SLICE_MARGIN_SAMPLES
        data = counts_to_bytes(wave)[2 * first : 2 * max(last, 0)]
        name = _name(known.finding_id)
        documents.delete_files(name)
        self._files.put(data, filename=name, metadata={"incident_id": known.finding_id})
        return name


def _name(finding_id: int) -> str:
    return f"incident_{finding_id}"
