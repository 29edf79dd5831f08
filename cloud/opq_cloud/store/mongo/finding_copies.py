"""Stores with each finding what the original stores: its Measurements, and its samples as a file (D.6)."""

from dataclasses import replace

from pymongo import ASCENDING

from opq_cloud.store.documents.event_documents import GAIN_MARKS, counts_to_bytes, waveform_document
from opq_cloud.store.driver import Condition, Documents, Fields
from opq_cloud.store.incidents.join_plan import KnownFinding
from opq_cloud.store.mongo.filters import of_boxes
from opq_cloud.store.mongo.mongo_server import MongoServer
from opq_cloud.store.records.events.waveforms import read_waveform
from opq_cloud.store.records.incidents.findings import COPIED_MARGIN_SAMPLES, samples_file
from opq_cloud.store.records.tables import BOX_EVENTS, INCIDENTS
from opq_proto.errors import StoreError

SAMPLES_FIELDS = frozenset(
    {
        "start_ns",
        "uncertainty_ns",
        "time_source",
        "rate_millihz",
        "v_per_lsb",
        "first_sample",
        *GAIN_MARKS,
        "numbered",
    }
)
"""Fields of a waveform that the field `samples` of a finding has: they say what its file holds."""


class MongoFindingCopies:
    """`FindingCopies`: the samples of a finding come from its events.

    A file that was written here has a sha256 in its metadata, which the original does not write. So two files
    of one name show that both services used one number (`lost_incidents`).
    """

    def __init__(self, server: MongoServer) -> None:
        self._db, self._server = server.db, server

    def add(self, known: KnownFinding, document: Fields) -> None:
        span = {"$gte": document["start_timestamp_ms"], "$lte": document["end_timestamp_ms"]}
        of_box = {**of_boxes([known.finding.box_id]), "timestamp_ms": span}
        rows = self._db.measurements.find(of_box, {"_id": 0}).sort("timestamp_ms", ASCENDING)
        document["measurements"] = list(rows)

    def put_samples(self, documents: Documents, known: KnownFinding) -> None:
        """Stores the finding's samples, with the original's margin; without any, the finding names no file.

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
            return
        wave = max(
            waves, key=lambda one: min(one.end_ns, finding.end_ns) - max(one.start_ns, finding.start_ns)
        )
        per_ns = wave.rate_millihz / 1e12
        first = max(0, round((finding.start_ns - wave.start_ns) * per_ns) - COPIED_MARGIN_SAMPLES)
        last = round((finding.end_ns - wave.start_ns) * per_ns) + COPIED_MARGIN_SAMPLES
        last = min(max(last, first), len(wave.counts))
        copied = replace(
            wave,
            start_ns=wave.time_ns(first),
            first_sample=wave.first_sample + first,
            counts=wave.counts[first:last],
            gaps=(),
        )
        data = counts_to_bytes(copied)
        name = samples_file(known.finding_id)
        file = documents.put_file(name, data, {"incident_id": known.finding_id})
        unnamed: list[Condition] = [("incident_id", "=", known.finding_id), ("gridfs_filename", "!=", name)]
        whole = waveform_document(0, copied, "")
        place = {key: whole[key] for key in SAMPLES_FIELDS & whole.keys()}
        named = {"gridfs_filename": name, "samples": place}
        if not documents.set_fields(INCIDENTS, unnamed, named):
            documents.set_fields(INCIDENTS, unnamed[:1], named)
        self._delete_own(name, keep=file)

    def delete(self, documents: Documents, finding_id: int) -> None:
        documents.beat()
        self._delete_own(samples_file(finding_id))

    def _delete_own(self, name: str, keep: object = None) -> None:
        """Deletes the files that were written here."""
        for each in self._db["fs.files"].find({"filename": name, "metadata.sha256": {"$exists": True}}):
            if each["_id"] != keep:
                self._server.delete_files({"_id": each["_id"]})
