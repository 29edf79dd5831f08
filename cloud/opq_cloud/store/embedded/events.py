"""Events and their waveforms in the embedded store.

A waveform is a file in chunks, with a sha256 that is checked whenever it is read.
"""

import hashlib
import json
import sqlite3
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future

from opq_cloud.store.documents import Document
from opq_cloud.store.documents.boxes import box_from_document
from opq_cloud.store.documents.events import (
    by_box,
    counts_to_bytes,
    event_document,
    event_record,
    file_name,
    half_cycles_bytes,
    half_cycles_name,
    half_cycles_of_bytes,
    moved_fields,
    owing_fields,
    waveform_document,
    waveform_from_document,
    waveform_place,
    widened,
)
from opq_cloud.store.documents.sample_requests import (
    REQUESTS_READ,
    WAITING,
    SamplesAnswer,
    StoredSampleRequest,
    answered_request,
    new_requests,
    request_document,
    requests_of,
)
from opq_cloud.store.embedded.schema import EmbeddedPart, next_number
from opq_cloud.store.embedded.sealing import counter
from opq_cloud.store.event_record import EventRecord
from opq_cloud.store.incidents.index import IndexPlace
from opq_cloud.store.waveform_parts import joined_waveform
from opq_cloud.store.waveform_place import WaveformPlace
from opq_proto.errors import StoreError
from opq_proto.messages import Event, Trigger, Waveform
from opq_proto.wire.half_cycles import HalfCycleRms

_LIVE = "SELECT document, finished, analysed FROM events "
CHUNK_BYTES = 255 * 1024
"""The same as GridFS: small enough that no write lock is held long for one chunk."""


class EmbeddedEvents(EmbeddedPart):
    """Rows of `events` and `box_events`; state flags are columns, all else is in the JSON document."""

    def next_event_id(self) -> int:
        return self._database.write(lambda connection: next_number(connection, "event_id"))

    def open_event(self, trigger: Trigger, description: str, event_id: int | None = None) -> int:
        expire_at = int(time.time()) + self._ttls.events

        def job(connection: sqlite3.Connection) -> int:
            known = connection.execute(
                "SELECT event_id FROM events WHERE token = ?", (trigger.token,)
            ).fetchone()
            if known is not None:
                return int(known[0])
            number = _free_number(connection, event_id)
            document = event_document(number, trigger, description, expire_at)
            connection.execute(
                "INSERT INTO events (event_id, token, start_ns, end_ns, expire_at, document) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (number, trigger.token, trigger.start_ns, trigger.end_ns, expire_at, json.dumps(document)),
            )
            return number

        return self._database.write(job)

    def widen_event(
        self, event_id: int, asked_as: Mapping[str, Sequence[str]], not_asked: Mapping[str, int]
    ) -> None:
        def job(connection: sqlite3.Connection) -> None:
            try:
                document = _document(connection, event_id)
            except StoreError:
                return
            changes, owed = widened(document, asked_as, not_asked)
            _replace(connection, event_id, document | changes)
            if owed:
                connection.execute("UPDATE events SET finished = 0 WHERE event_id = ?", (event_id,))

        self._database.write(job)

    def move_event(self, event_id: int, by_ns: int) -> None:
        def job(connection: sqlite3.Connection) -> None:
            document = _document(connection, event_id)
            if "moved_ns" in document:
                return
            changes = moved_fields(document, by_ns)
            _replace(connection, event_id, document | changes)
            connection.execute(
                "UPDATE events SET start_ns = ?, end_ns = ? WHERE event_id = ?",
                (changes["start_ns"], changes["end_ns"], event_id),
            )

        self._database.write(job)

    def request_samples(self, event_id: int, wanted: Sequence[StoredSampleRequest], most_rounds: int) -> int:
        def job(connection: sqlite3.Connection) -> int:
            try:
                document = _document(connection, event_id)
            except StoreError:
                return 0
            new = new_requests(requests_of(document), wanted, most_rounds)
            if new:
                made = {str(number): request_document(each) for number, each in new.items()}
                _replace(connection, event_id, document | {"more": {**document.get("more", {}), **made}})
                change = "UPDATE events SET requests = requests + ? WHERE event_id = ?"
                connection.execute(change, (len(new), event_id))
            return len(new)

        return self._database.write(job)

    def answer_request(self, event_id: int, number: int, answer: SamplesAnswer) -> bool:
        def job(connection: sqlite3.Connection) -> bool:
            try:
                document = _document(connection, event_id)
            except StoreError:
                return False
            request = requests_of(document).get(number)
            if request is None or request.state != WAITING:
                return False
            document["more"][str(number)] = request_document(answered_request(request, answer))
            if answer.spans:
                document |= owing_fields(document, answer.spans)
                connection.execute("UPDATE events SET finished = 0 WHERE event_id = ?", (event_id,))
            _replace(connection, event_id, document)
            connection.execute("UPDATE events SET requests = requests - 1 WHERE event_id = ?", (event_id,))
            return True

        return self._database.write(job)

    def put_waveform(self, event_id: int, wave: Waveform) -> bool:
        return self.begin_waveform(event_id, wave).result()

    def begin_waveform(self, event_id: int, wave: Waveform) -> Future[bool]:
        data = counts_to_bytes(wave)

        def job(connection: sqlite3.Connection) -> bool:
            document = _document(connection, event_id)
            known = wave.box_id in document["boxes_received"]
            held = _stored_waveform(connection, event_id, wave.box_id) if known else None
            whole = wave if held is None else joined_waveform(held, wave)
            if whole is held:
                return False
            described = waveform_document(event_id, whole, box_location(connection, wave.box_id))
            described["stored_ns"] = time.time_ns()
            connection.execute(
                "INSERT OR REPLACE INTO box_events VALUES (?, ?, ?)",
                (event_id, wave.box_id, json.dumps(described)),
            )
            filename = file_name(event_id, wave.box_id)
            if known:
                delete_file(connection, filename)
            metadata: Document = {"event_id": event_id, "box_id": wave.box_id}
            put_file(connection, filename, data if held is None else counts_to_bytes(whole), metadata)
            if not known:
                document["boxes_received"].append(wave.box_id)
            document["missing"].pop(wave.box_id, None)
            document["revision"] = document.get("revision", 0) + 1
            _replace(connection, event_id, document)
            connection.execute("UPDATE events SET analysed = 0 WHERE event_id = ?", (event_id,))
            return True

        return self._database.submit(job)

    def put_half_cycles(self, event_id: int, found: HalfCycleRms) -> bool:
        data, filename = half_cycles_bytes(found), half_cycles_name(event_id, found.box_id)

        def job(connection: sqlite3.Connection) -> bool:
            document = _document(connection, event_id)
            half_cycles = document.setdefault("half_cycles", {})
            if half_cycles.get(found.box_id) == "":
                return False
            half_cycles[found.box_id] = ""
            delete_file(connection, filename)
            put_file(connection, filename, data, {"event_id": event_id, "box_id": found.box_id})
            document["revision"] = document.get("revision", 0) + 1
            _replace(connection, event_id, document)
            connection.execute("UPDATE events SET analysed = 0 WHERE event_id = ?", (event_id,))
            return True

        return self._database.write(job)

    def mark_no_half_cycles(self, event_id: int, box_id: str, why: str) -> None:
        def job(connection: sqlite3.Connection) -> None:
            document = _document(connection, event_id)
            if document.setdefault("half_cycles", {}).get(box_id) != "":
                document["half_cycles"][box_id] = why
                _replace(connection, event_id, document)

        self._database.write(job)

    def half_cycles(self, event_id: int) -> dict[str, HalfCycleRms]:
        found = {}
        with self._database.read() as connection:
            rows = connection.execute("SELECT document FROM events WHERE event_id = ?", (event_id,))
            stored = [json.loads(text).get("half_cycles", {}) for (text,) in rows.fetchall()]
            for box_id in (box_id for each in stored for box_id, why in each.items() if not why):
                data = read_file(connection, half_cycles_name(event_id, box_id))
                found[box_id] = half_cycles_of_bytes(box_id, data)
        return found

    def mark_missing(self, event_id: int, box_id: str, why: str) -> None:
        def job(connection: sqlite3.Connection) -> None:
            document = _document(connection, event_id)
            document["missing"][box_id] = why
            _replace(connection, event_id, document)

        self._database.write(job)

    def finish_event(self, event_id: int) -> bool:
        def job(connection: sqlite3.Connection) -> bool:
            first = _raise_flag(connection, event_id, "finished")
            if first:
                document = _document(connection, event_id)
                _replace(connection, event_id, document | {"finished_ns": time.time_ns()})
            return first

        return self._database.write(job)

    def mark_analysed(self, event_id: int, revision: int | None = None) -> bool:
        def job(connection: sqlite3.Connection) -> bool:
            document = _document(connection, event_id)
            if revision is not None and document.get("revision", 0) != revision:
                return False
            _raise_flag(connection, event_id, "analysed")
            _replace(connection, event_id, document | {"analysed_ns": time.time_ns()})
            return True

        return self._database.write(job)

    def unmark_analysed(self, event_id: int) -> None:
        def job(connection: sqlite3.Connection) -> None:
            document = _document(connection, event_id)
            document["revision"] = document.get("revision", 0) + 1
            _replace(connection, event_id, document)
            connection.execute("UPDATE events SET analysed = 0 WHERE event_id = ?", (event_id,))

        self._database.write(job)

    def unfinished_events(self) -> list[EventRecord]:
        return self._records("WHERE finished = 0 ORDER BY event_id")

    def unanalysed_events(self) -> list[EventRecord]:
        return self._records("WHERE finished = 1 AND analysed = 0 ORDER BY event_id")

    def events_with_requests(self) -> list[EventRecord]:
        return self._records("WHERE requests > 0 ORDER BY event_id LIMIT ?", REQUESTS_READ)

    def event_record(self, event_id: int) -> EventRecord | None:
        return next(iter(self._records("WHERE event_id = ?", event_id)), None)

    def waveform_times(self, event_id: int) -> dict[str, int]:
        with self._database.read() as connection:
            rows = connection.execute("SELECT document FROM box_events WHERE event_id = ?", (event_id,))
            documents = [json.loads(text) for (text,) in rows.fetchall()]
        return {each["box_id"]: int(each["stored_ns"]) for each in documents if "stored_ns" in each}

    def waveform_places(self, box_id: str, event_id: int, limit: int) -> list[WaveformPlace]:
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT document FROM box_events WHERE box_id = ? AND event_id <= ? "
                "ORDER BY event_id DESC LIMIT ?",
                (box_id, event_id, limit),
            )
            return [waveform_place(json.loads(text)) for (text,) in rows]

    def waveform(self, event_id: int, box_id: str) -> Waveform | None:
        with self._database.read() as connection:
            return _stored_waveform(connection, event_id, box_id)

    def events(
        self, start_ns: int | None = None, end_ns: int | None = None, limit: int = 100
    ) -> list[EventRecord]:
        return self._records(
            "WHERE (?1 IS NULL OR end_ns > ?1) AND (?2 IS NULL OR start_ns < ?2) "
            "ORDER BY event_id DESC LIMIT ?3",
            start_ns, end_ns, limit,
        )  # fmt: skip

    def events_by_start(
        self,
        limit: int,
        beyond: IndexPlace | None = None,
        start_ns: int | None = None,
        end_ns: int | None = None,
    ) -> list[EventRecord]:
        below, place = "AND (start_ns / 1000000, event_id) < (?4, ?5) ", beyond.key if beyond else ()
        return self._records(
            "WHERE (?1 IS NULL OR end_ns > ?1) AND (?2 IS NULL OR start_ns < ?2) "
            f"{below if beyond else ''}ORDER BY start_ns / 1000000 DESC, event_id DESC LIMIT ?3",
            start_ns, end_ns, limit, *place,
        )  # fmt: skip

    def _records(self, where: str, *values: float | None) -> list[EventRecord]:
        with self._database.read() as connection:
            return [_record(row) for row in connection.execute(_LIVE + where, values)]

    def event(self, event_id: int) -> Event | None:
        with self._database.read() as connection:
            row = connection.execute(_LIVE + "WHERE event_id = ?", (event_id,)).fetchone()
            if row is None:
                return None
            record = _record(row)
            missing = dict(record.missing)
            waves = []
            stored = connection.execute("SELECT document FROM box_events WHERE event_id = ?", (event_id,))
            for (text,) in stored.fetchall():
                document = json.loads(text)
                try:
                    data = read_file(connection, document["data_fs_filename"])
                except StoreError as error:
                    missing[document["box_id"]] = str(error)
                    continue
                waves.append(_waveform(connection, document, data))
        return Event(record.event_id, record.start_ns, record.end_ns, by_box(waves), missing)


def _free_number(connection: sqlite3.Connection, drawn: int | None) -> int:
    """Returns `drawn` if it came from this store's counter and no event has it, else the next number."""
    if drawn is not None and drawn <= counter(connection, "event_id"):
        taken = connection.execute("SELECT 1 FROM events WHERE event_id = ?", (drawn,)).fetchone()
        if taken is None:
            return drawn
    return next_number(connection, "event_id")


def _stored_waveform(connection: sqlite3.Connection, event_id: int, box_id: str) -> Waveform | None:
    """Returns a Box's stored waveform; None where it cannot be read, so that a new answer replaces it."""
    row = connection.execute(
        "SELECT document FROM box_events WHERE event_id = ? AND box_id = ?", (event_id, box_id)
    ).fetchone()
    if row is None:
        return None
    document = json.loads(row[0])
    try:
        data = read_file(connection, document["data_fs_filename"])
    except StoreError:
        return None
    return _waveform(connection, document, data)


def _waveform(connection: sqlite3.Connection, document: Document, data: bytes) -> Waveform:
    box, constant = None, None
    if document.get("gain_assumed"):
        query = "SELECT document FROM opq_boxes WHERE box_id = ?"
        box = connection.execute(query, (document["box_id"],)).fetchone()
    if box is not None:
        constant = box_from_document(json.loads(box[0])).calibration_constant
    return waveform_from_document(document, data, constant)


def _record(row: tuple[str, int, int]) -> EventRecord:
    return event_record({**json.loads(row[0]), "finished": row[1], "analysed": row[2]})


def _document(connection: sqlite3.Connection, event_id: int) -> Document:
    row = connection.execute("SELECT document FROM events WHERE event_id = ?", (event_id,)).fetchone()
    if row is None:
        raise StoreError(f"event {event_id}: is not in the store; open it first")
    document: Document = json.loads(row[0])
    return document


def _replace(connection: sqlite3.Connection, event_id: int, document: Document) -> None:
    connection.execute("UPDATE events SET document = ? WHERE event_id = ?", (json.dumps(document), event_id))


def _raise_flag(connection: sqlite3.Connection, event_id: int, flag: str) -> bool:
    """Raises a flag of an event; True where it was not raised before."""
    _document(connection, event_id)
    done = connection.execute(f"UPDATE events SET {flag} = 1 WHERE event_id = ? AND {flag} = 0", (event_id,))
    return done.rowcount == 1


def expire_events(connection: sqlite3.Connection, now_s: int, slice_rows: int) -> int:
    """Deletes expired events with their files; returns how many."""
    due = connection.execute("SELECT event_id FROM events WHERE expire_at <= ? LIMIT ?", (now_s, slice_rows))
    gone = [row[0] for row in due]
    for event_id in gone:
        boxes = connection.execute("SELECT box_id FROM box_events WHERE event_id = ?", (event_id,))
        for (box_id,) in boxes.fetchall():
            delete_file(connection, file_name(event_id, box_id))
        for box_id in _document(connection, event_id).get("half_cycles", {}):
            delete_file(connection, half_cycles_name(event_id, box_id))
        connection.execute("DELETE FROM box_events WHERE event_id = ?", (event_id,))
        connection.execute("DELETE FROM events WHERE event_id = ?", (event_id,))
    return len(gone)


def box_location(connection: sqlite3.Connection, box_id: str) -> str:
    """Returns the location of a Box; empty where unknown."""
    return box_locations(connection, (box_id,)).get(box_id, "")


def box_locations(connection: sqlite3.Connection, box_ids: Collection[str]) -> dict[str, str]:
    """Returns Box -> location; empty or absent where unknown."""
    rows = connection.execute(
        "SELECT box_id, json_extract(document, '$.location') FROM opq_boxes "
        "WHERE box_id IN (SELECT value FROM json_each(?))",
        (json.dumps(list(box_ids)),),
    )
    return {str(box_id): location or "" for box_id, location in rows}


def put_file(connection: sqlite3.Connection, filename: str, data: bytes, metadata: Document) -> None:
    """Stores a file under a name that is not in use."""
    digest = hashlib.sha256(data).hexdigest()
    file = connection.execute(
        "INSERT INTO files (filename, length, sha256, metadata) VALUES (?, ?, ?, ?)",
        (filename, len(data), digest, json.dumps(metadata)),
    ).lastrowid
    connection.executemany(
        "INSERT INTO chunks VALUES (?, ?, ?)",
        (
            (file, n, data[offset : offset + CHUNK_BYTES])
            for n, offset in enumerate(range(0, len(data), CHUNK_BYTES))
        ),
    )


def read_file(connection: sqlite3.Connection, filename: str) -> bytes:
    """Returns a file's bytes.

    Raises:
        StoreError: no file has this name, or its bytes differ from those that were written.
    """
    row = connection.execute(
        "SELECT file, length, sha256 FROM files WHERE filename = ?", (filename,)
    ).fetchone()
    if row is None:
        raise StoreError(f"file {filename}: is not in the store")
    file, length, digest = row
    chunks = connection.execute("SELECT data FROM chunks WHERE file = ? ORDER BY n", (file,))
    data = b"".join(chunk for (chunk,) in chunks)
    if len(data) != length or hashlib.sha256(data).hexdigest() != digest:
        raise StoreError(
            f"file {filename}: is damaged ({len(data)} of {length} bytes, sha256 differs); "
            "restore it from a copy of the store"
        )
    return data


def delete_file(connection: sqlite3.Connection, filename: str) -> None:
    connection.execute(
        "DELETE FROM chunks WHERE file = (SELECT file FROM files WHERE filename = ?)", (filename,)
    )
    connection.execute("DELETE FROM files WHERE filename = ?", (filename,))
