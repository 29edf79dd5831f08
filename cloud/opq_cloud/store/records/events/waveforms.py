"""Waveforms of events and Urms(1/2), as the original's documents and files (D.4, D.5).

A waveform is stored in three steps: its file, its document, and the event's lists. If the process is killed
between them, putting the waveform again completes them. A file has a sha256, checked whenever it is read.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from itertools import accumulate

from opq_cloud.store.documents import text_of
from opq_cloud.store.documents.box_documents import box_from_document
from opq_cloud.store.documents.event_documents import (
    GAIN_MARKS,
    by_box,
    counts_to_bytes,
    event_record,
    file_name,
    half_cycles_bytes,
    half_cycles_name,
    half_cycles_of_bytes,
    start_of,
    waveform_document,
    waveform_from_document,
    waveform_place,
)
from opq_cloud.store.documents.readable import READ_ERRORS
from opq_cloud.store.driver import Documents, ExpirySlice, Fields, Where
from opq_cloud.store.records.events.event_records import changed_event, no_event, require_event, with_new_data
from opq_cloud.store.records.part import StorePart
from opq_cloud.store.records.removals import complete_removals, remove_whole
from opq_cloud.store.records.tables import BOX_EVENTS, BOXES, EVENTS
from opq_cloud.store.waveform_parts import joined_waveform
from opq_cloud.store.waveform_place import WaveformPlace
from opq_proto.errors import StoreError
from opq_proto.messages import Event, Waveform
from opq_proto.wire.half_cycles import HalfCycleRms

DELETED = "the Box was deleted"
"""Why an event lacks samples and half cycles, which an answer under way does not bring back."""


class WaveformRecords(StorePart):
    """What Boxes answered to events."""

    def put_waveform(self, event_id: int, wave: Waveform) -> bool:
        return self.begin_waveform(event_id, wave).result()

    def begin_waveform(self, event_id: int, wave: Waveform) -> Future[bool]:
        data = counts_to_bytes(wave)
        return self._driver.submit(lambda documents: _put_waveform(documents, event_id, wave, data))

    def mark_missing(self, event_id: int, box_id: str, why: str) -> None:
        def changed(document: Fields) -> Fields:
            return {**document, "missing": {**document.get("missing", {}), box_id: why}}

        self._driver.write(lambda documents: changed_event(documents, event_id, changed))

    def waveform_times(self, event_id: int) -> dict[str, int]:
        with self._driver.read() as documents:
            parts = documents.find(BOX_EVENTS, [("event_id", "=", event_id)])
            return {str(part["box_id"]): int(part["stored_ns"]) for part in parts if "stored_ns" in part}

    def waveform_places(self, box_id: str, event_id: int, limit: int) -> list[WaveformPlace]:
        where = [("box_id", "=", box_id), ("event_id", "<=", event_id)]
        with self._driver.read() as documents:
            found = documents.find(BOX_EVENTS, where, sort=("-event_id",), limit=limit)
            return self._read_all(BOX_EVENTS, waveform_place, found)

    def waveform(self, event_id: int, box_id: str) -> Waveform | None:
        with self._driver.read() as documents:
            part = documents.get(BOX_EVENTS, event_id, box_id)
            if part is None:
                return None
            try:
                return read_waveform(documents, part)
            except StoreError:
                return None
            except READ_ERRORS as error:
                self._driver.readable.note(BOX_EVENTS.name, part, error)
                return None

    def event(self, event_id: int) -> Event | None:
        with self._driver.read() as documents:
            found = documents.get(EVENTS, event_id)
            records = self._read_all(EVENTS, event_record, [] if found is None else [found])
            if not records:
                return None
            missing, waves = dict(records[0].missing), []
            for part in list(documents.find(BOX_EVENTS, [("event_id", "=", event_id)])):
                try:
                    waves.append(read_waveform(documents, part))
                except StoreError as error:
                    missing[text_of(part.get("box_id"))] = str(error)
                except READ_ERRORS as error:
                    self._driver.readable.note(BOX_EVENTS.name, part, error)
                    missing[text_of(part.get("box_id"))] = "its document in box_events cannot be read"
        return Event(records[0].event_id, records[0].start_ns, records[0].end_ns, by_box(waves), missing)

    def put_half_cycles(self, event_id: int, found: HalfCycleRms) -> bool:
        data, box_id = half_cycles_bytes(found), found.box_id

        def changed(document: Fields) -> Fields | None:
            known = document.get("half_cycles", {})
            if known.get(box_id) in ("", DELETED):
                return None
            return with_new_data({**document, "half_cycles": {**known, box_id: ""}})

        def job(documents: Documents) -> bool:
            event = documents.get(EVENTS, event_id)
            if event is None:
                raise no_event(event_id)
            if changed(event) is None:
                return False
            name = half_cycles_name(event_id, box_id)
            file = documents.put_file(name, data, {"event_id": event_id, "box_id": box_id})
            if changed_event(documents, event_id, changed):
                documents.keep_file(name, file)
                return True
            documents.drop_file(file)  # another process was faster
            return False

        return self._driver.write(job)

    def mark_no_half_cycles(self, event_id: int, box_id: str, why: str) -> None:
        def changed(document: Fields) -> Fields | None:
            known = document.get("half_cycles", {})
            return None if box_id in known else {**document, "half_cycles": {**known, box_id: why}}

        self._driver.write(lambda documents: changed_event(documents, event_id, changed))

    def half_cycles(self, event_id: int) -> dict[str, HalfCycleRms]:
        with self._driver.read() as documents:
            event = documents.get(EVENTS, event_id) or {}
            stored = [box_id for box_id, why in event.get("half_cycles", {}).items() if not why]
            return {
                box_id: half_cycles_of_bytes(
                    box_id, documents.read_file([half_cycles_name(event_id, box_id)], box_id=box_id)
                )
                for box_id in stored
            }

    def _expire_events(
        self, documents: Documents, now_s: int, at_once: ExpirySlice, stopped: Callable[[], bool]
    ) -> int:
        """Deletes expired events with their files; returns how many."""
        complete_removals(documents, EVENTS, _clear_events, stopped)
        expired: Where = [("expire_at", "<=", now_s)]
        due = list(documents.find(EVENTS, expired, limit=at_once.events, fields=("event_id", "half_cycles")))
        if not due:
            return 0
        files = {
            event["event_id"]: [
                half_cycles_name(event["event_id"], box_id) for box_id in event.get("half_cycles", {})
            ]
            for event in due
        }
        for part in documents.find(BOX_EVENTS, [("event_id", "in", list(files))]):
            files[part["event_id"]].append(file_names(part)[0])
        totals = accumulate(len(names) for names in files.values())
        rows = [
            {"event_id": event_id, "files": names}
            for (event_id, names), total in zip(files.items(), totals, strict=True)
            if total <= max(at_once.files, len(names))
        ]
        return remove_whole(documents, EVENTS, rows, now_s, _clear_events, stopped)


def _clear_events(documents: Documents, gone: Sequence[Fields]) -> Iterator[None]:
    """Removes the files and parts of events that are gone."""
    documents.delete_files([name for each in gone for name in each["files"]])
    yield
    documents.remove(BOX_EVENTS, [("event_id", "in", [each["event_id"] for each in gone])])


def read_waveform(documents: Documents, part: Fields) -> Waveform:
    """Returns the waveform of a document of `box_events`, also of one that the original wrote.

    Raises:
        StoreError: the file is missing or empty, or its bytes are damaged.
    """
    box_id, names = text_of(part["box_id"]), file_names(part)
    data = documents.read_file(names, part.get("data_fs_id"), box_id)
    # the original stores one if a Box has no samples of the span (docs/reference/opq-interop.md H.14)
    if not data:
        raise StoreError(f"file {names[0]}: has no samples")
    if len(data) % 2:
        raise StoreError(f"file {names[0]}: has an odd number of bytes")
    constant = None
    if part.get("v_per_lsb") is None or any(map(part.get, GAIN_MARKS)):
        box = documents.get(BOXES, box_id)
        constant = None if box is None else box_from_document(box).at(start_of(part)).calibration_constant
    return waveform_from_document(part, data, constant)


def _put_waveform(documents: Documents, event_id: int, wave: Waveform, data: bytes) -> bool:
    if not documents.atomic:  # else all is undone where there is no event
        require_event(documents, event_id)
    if not wave.numbered and wave.start_id is None:  # only the order of arrival is known of its start
        starts = (documents.get(EVENTS, event_id) or {}).get("starts", {})
        wave = replace(wave, start_id=starts.get(wave.box_id))
    new = None
    while new is None:  # another process may put a part at the same time
        new = _put_part(documents, event_id, wave, data)

    def changed(event: Fields) -> Fields | None:
        received, missing = event.get("boxes_received", []), event.get("missing", {})
        known = wave.box_id in received
        if known and not new:
            return None
        return with_new_data(event) | {
            "boxes_received": received if known else [*received, wave.box_id],
            "missing": {box_id: why for box_id, why in missing.items() if box_id != wave.box_id},
        }

    changed_event(documents, event_id, changed)
    return new


def _put_part(documents: Documents, event_id: int, wave: Waveform, data: bytes) -> bool | None:
    """Stores file and document; False where they bring nothing new, None where another process was faster."""
    part = documents.get(BOX_EVENTS, event_id, wave.box_id)
    whole = wave
    if part is not None:
        try:
            held = read_waveform(documents, part)
        except StoreError:
            pass  # replaces an unreadable one
        else:
            whole = joined_waveform(held, wave)
            if whole is held:
                return False
    name = file_name(event_id, wave.box_id)
    own = {"event_id": event_id, "box_id": wave.box_id}
    file = documents.put_file(name, data if whole is wave else counts_to_bytes(whole), own)
    box = documents.get(BOXES, wave.box_id) or {}
    described = waveform_document(event_id, whole, str(box.get("location") or ""))
    described |= {"stored_ns": time.time_ns(), **({} if file is None else {"data_fs_id": file})}

    def changed(now: Fields | None) -> Fields | None:
        if now is None or part is None or now.get("data_fs_id") != part.get("data_fs_id"):
            return None
        return {name: value for name, value in now.items() if name not in GAIN_MARKS} | described

    if part is None:
        stored = documents.insert(BOX_EVENTS, described)
    else:
        stored = documents.change(BOX_EVENTS, (event_id, wave.box_id), changed)
    if stored:
        documents.keep_file(name, file)
        return True
    documents.drop_file(file)
    return None


def file_names(part: Fields) -> list[str]:
    """Returns all names that the original's writers use for the file of a part (D.5)."""
    event_id = int(part["event_id"])
    names = part.get("data_fs_filename"), file_name(event_id, text_of(part["box_id"])), f"event_{event_id}"
    return list(dict.fromkeys(str(name) for name in names if name))
