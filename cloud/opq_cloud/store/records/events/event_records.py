"""Events, as the original's documents (docs/reference/opq-interop.md, D.3), and what analyses request.

Their waveforms are in `waveforms.py`.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice

from opq_cloud.store.documents.event_documents import (
    event_document,
    event_record,
    meets,
    moved_fields,
    owing_fields,
    widened,
)
from opq_cloud.store.driver import Documents, Fields, Where
from opq_cloud.store.event_record import EventRecord
from opq_cloud.store.incidents.index import IndexPlace
from opq_cloud.store.records.part import StorePart, expires
from opq_cloud.store.records.tables import EVENTS
from opq_cloud.store.sample_requests import (
    REQUESTS_READ,
    WAITING,
    SamplesAnswer,
    StoredSampleRequest,
    answered_request,
    new_requests,
    request_document,
    requests_of,
)
from opq_proto.errors import StoreError
from opq_proto.messages import Trigger
from opq_proto.time_units import NS_PER_MS

_START_MS = "target_event_start_timestamp_ms"
_END_MS = "target_event_end_timestamp_ms"


class EventRecords(StorePart):
    """Events without their samples."""

    def next_event_id(self) -> int:
        return self._driver.write(lambda documents: self._draw_numbers(documents, "event_id")[0])

    def open_event(self, trigger: Trigger, description: str, event_id: int | None = None) -> int:
        expire_at = expires(self._ttls.events)

        def job(documents: Documents) -> int:
            drawn = event_id
            while True:
                same = documents.find(EVENTS, [("token", "=", trigger.token)], limit=1, fields=("event_id",))
                for known in same:
                    return int(known["event_id"])
                if drawn is None or drawn > (documents.number("event_id") or 0):
                    drawn = self._draw_numbers(documents, "event_id")[0]
                if documents.insert(EVENTS, event_document(drawn, trigger, description, expire_at)):
                    return drawn
                drawn = None  # another process opened it, or another event has the number

        return self._driver.write(job)

    def widen_event(
        self,
        event_id: int,
        asked_as: Mapping[str, Sequence[str]],
        not_asked: Mapping[str, int],
        starts: Mapping[str, int] | None = None,
    ) -> None:
        def changed(document: Fields | None) -> Fields | None:
            if document is None:
                return None
            changes, owed = widened(document, asked_as, not_asked)
            if starts:
                changes["starts"] = document.get("starts", {}) | dict(starts)
            return document | changes | ({"finished": False} if owed else {})

        self._driver.write(lambda documents: documents.change(EVENTS, (event_id,), changed))

    def move_event(self, event_id: int, by_ns: int) -> None:
        def changed(document: Fields) -> Fields | None:
            return None if "moved_ns" in document else document | moved_fields(document, by_ns)

        self._driver.write(lambda documents: changed_event(documents, event_id, changed))

    def request_samples(self, event_id: int, wanted: Sequence[StoredSampleRequest], most_rounds: int) -> int:
        new: dict[int, StoredSampleRequest] = {}

        def changed(document: Fields | None) -> Fields | None:
            nonlocal new
            if document is None:
                return None
            new = new_requests(requests_of(document), wanted, most_rounds)
            made = {str(number): request_document(each) for number, each in new.items()}
            waiting = int(document.get("requests") or 0) + len(new)
            return (
                {**document, "more": {**document.get("more", {}), **made}, "requests": waiting}
                if new
                else None
            )

        changes = self._driver.write(lambda documents: documents.change(EVENTS, (event_id,), changed))
        return len(new) if changes else 0

    def events_with_requests(self) -> list[EventRecord]:
        return self._found_events([("requests", ">", 0)], limit=REQUESTS_READ)

    def answer_request(self, event_id: int, number: int, answer: SamplesAnswer) -> bool:
        def changed(document: Fields | None) -> Fields | None:
            request = None if document is None else requests_of(document).get(number)
            if document is None or request is None or request.state != WAITING:
                return None
            answered = {str(number): request_document(answered_request(request, answer))}
            more = {"more": {**document["more"], **answered}, "requests": int(document["requests"]) - 1}
            if answer.spans:
                more |= {**owing_fields(document, answer.spans), "finished": False}
            return document | more

        return self._driver.write(lambda documents: documents.change(EVENTS, (event_id,), changed))

    def finish_event(self, event_id: int) -> bool:
        def changed(document: Fields) -> Fields | None:
            if document.get("finished"):
                return None
            analysed = bool(document.get("analysed", False))  # an event of the original has no such field
            return {**document, "finished": True, "analysed": analysed, "finished_ns": time.time_ns()}

        return self._driver.write(lambda documents: changed_event(documents, event_id, changed))

    def mark_analysed(self, event_id: int, revision: int | None = None) -> bool:
        def changed(document: Fields) -> Fields | None:
            if revision is not None and int(document.get("revision") or 0) != revision:
                return None
            return {**document, "analysed": True, "analysed_ns": time.time_ns()}

        return self._driver.write(lambda documents: changed_event(documents, event_id, changed))

    def unmark_analysed(self, event_id: int) -> None:
        self._driver.write(lambda documents: changed_event(documents, event_id, with_new_data))

    def unfinished_events(self) -> list[EventRecord]:
        return self._found_events([("finished", "=", False)])

    def unanalysed_events(self) -> list[EventRecord]:
        return self._found_events([("finished", "=", True), ("analysed", "=", False)])

    def event_record(self, event_id: int) -> EventRecord | None:
        with self._driver.read() as documents:
            found = documents.get(EVENTS, event_id)
        return next(iter(self._read_all(EVENTS, event_record, [] if found is None else [found])), None)

    def events(
        self, start_ns: int | None = None, end_ns: int | None = None, limit: int = 100
    ) -> list[EventRecord]:
        return self._events_of_span(start_ns, end_ns, limit, ("-event_id",), None)

    def events_by_start(
        self,
        limit: int,
        beyond: IndexPlace | None = None,
        start_ns: int | None = None,
        end_ns: int | None = None,
    ) -> list[EventRecord]:
        return self._events_of_span(start_ns, end_ns, limit, (f"-{_START_MS}", "-event_id"), beyond)

    def _found_events(self, where: Where, limit: int | None = None) -> list[EventRecord]:
        with self._driver.read() as documents:
            found = documents.find(EVENTS, where, sort=("event_id",), limit=limit)
            return self._read_all(EVENTS, event_record, found)

    def _events_of_span(
        self,
        start_ns: int | None,
        end_ns: int | None,
        limit: int,
        sort: tuple[str, ...],
        beyond: IndexPlace | None,
    ) -> list[EventRecord]:
        """Selects by the original's milliseconds, which every event has, then by nanoseconds."""
        where = [
            (field, operator, limit_ns // NS_PER_MS)
            for field, operator, limit_ns in ((_END_MS, ">=", start_ns), (_START_MS, "<=", end_ns))
            if limit_ns is not None
        ]
        place = () if beyond is None else (int(beyond.value), beyond.number)
        most = limit if not where else None
        with self._driver.read() as documents:
            found = documents.find(EVENTS, where, sort=sort, beyond=place, limit=most)
            records = self._driver.readable.read_all(EVENTS.name, event_record, found)
            return list(islice((each for each in records if meets(each, start_ns, end_ns)), limit))


def changed_event(documents: Documents, event_id: int, changed: Callable[[Fields], Fields | None]) -> bool:
    """Changes an event. Raises StoreError: there is no such event."""

    def change(document: Fields | None) -> Fields | None:
        if document is None:
            raise no_event(event_id)
        return changed(document)

    return documents.change(EVENTS, (event_id,), change)


def with_new_data(document: Fields) -> Fields:
    """Returns an event that has to be analysed again."""
    return {**document, "revision": int(document.get("revision") or 0) + 1, "analysed": False}


def require_event(documents: Documents, event_id: int) -> None:
    """Raises StoreError: there is no such event."""
    if not list(documents.find(EVENTS, [("event_id", "=", event_id)], limit=1, fields=("event_id",))):
        raise no_event(event_id)


def no_event(event_id: int) -> StoreError:
    return StoreError(f"event {event_id}: is not in the store; open it first")
