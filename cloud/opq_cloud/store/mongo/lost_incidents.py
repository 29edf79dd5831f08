"""Counts the incidents that the original lost, because both services numbered the incidents of one store.

The original stores the samples of an incident first, then its document. If the number is in use here, MongoDB
refuses the document (E11000) and the original reports nothing; its file `incident_<number>` stays as the only
trace. An outage has no samples, so a lost one leaves no trace.

A number that an incident of ours has, and none of its findings (it was split off, or its first finding is
gone), is not refused: the original's incident is stored, and is not listed. It is counted too. Neither can be
prevented: the original's service counts in its memory, and each question to it draws a number.
"""

import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice

from bson.objectid import ObjectId
from pymongo.database import Database

from opq_cloud.store.documents import Document
from opq_cloud.store.records.incidents.findings import samples_file

OVERLAP_S = 300.0
"""A file is looked at again for this time: our finding of its number may be stored after it."""
NUMBERS_PER_REQUEST = 500
_PREFIX = samples_file(0).removesuffix("0")


class LostIncidents:
    """Remembers what it has read, so that a further call reads only new files; of one thread at a time."""

    def __init__(self, db: Database[Document]) -> None:
        self._db = db
        self._since_s = 0.0
        self.numbers: set[int] = set()

    def read_new(self, newest_s: float) -> set[int]:
        """Reads what was written since the last call; returns the newly lost ones of the last `newest_s`."""
        now_s = time.time()
        written = {"_id": {"$gte": ObjectId.from_datetime(datetime.fromtimestamp(self._since_s, UTC))}}
        theirs = {"filename": {"$regex": f"^{_PREFIX}"}, "metadata.sha256": {"$exists": False}}
        written_s = {
            number: each["_id"].generation_time.timestamp()
            for each in self._db["fs.files"].find({**written, **theirs}, {"filename": 1})
            for number in _numbers([each])
        }
        fresh = {*self._lost(written_s)} - self.numbers
        self.numbers |= fresh
        self._since_s = max(0.0, now_s - OVERLAP_S)
        return {number for number in fresh if written_s[number] >= now_s - newest_s}

    def _lost(self, numbers: Iterable[int]) -> Iterator[int]:
        """Yields those of these numbers, of files of others, whose finding or incident is ours."""
        left = iter(numbers)
        while some := list(islice(left, NUMBERS_PER_REQUEST)):
            of_finding = {"incident_id": {"$in": some}, "group_id": {"$exists": True}}
            for field, ours in (("incident_id", of_finding), ("group_id", {"group_id": {"$in": some}})):
                for each in self._db.incidents.find(ours, {field: 1}):
                    yield int(each[field])


def _numbers(files: Iterable[Document]) -> Iterator[int]:
    for each in files:
        digits = str(each["filename"]).removeprefix(_PREFIX)
        if digits.isdecimal():
            yield int(digits)
