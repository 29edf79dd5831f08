"""The interface to the cloud's database, in the project's own nouns.

It has two implementations, `EmbeddedStore` (SQLite, the default) and `MongoStore` (the original's
collections and fields, docs/reference/opq-interop.md part D); one contract suite tests both. Writes that can
be repeated are idempotent; the method's docstring names the natural key. Methods may be called from any
thread. All raise `StoreError` with one clear line where the database fails or the request is impossible.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol

from opq_cloud.store.box_record import BoxHoldings, BoxLoss, BoxRecord, LocationRecord
from opq_cloud.store.documents.makai_documents import BrokerTraffic, MakaiConfig
from opq_cloud.store.documents.retention import Ttls
from opq_cloud.store.driver import Driver, NumberService
from opq_cloud.store.event_record import EventRecord
from opq_cloud.store.incidents.index import (
    IncidentFilter,
    IncidentNote,
    IncidentWork,
    IndexedIncident,
    IndexPlace,
    IndexProgress,
)
from opq_cloud.store.incidents.join_plan import (
    CarriedOut,
    FindingOnset,
    IncidentFacts,
    JoinPlan,
    KnownFinding,
)
from opq_cloud.store.incidents.parts_seen import IndexedParts, SeesThen
from opq_cloud.store.records.accounts.account_records import AccountRecords
from opq_cloud.store.records.intervals.long_term import LongTermStore, SeenIntervals
from opq_cloud.store.sample_requests import SamplesAnswer, StoredSampleRequest
from opq_cloud.store.waveform_place import WaveformPlace
from opq_proto.measurement.batch import Measurements
from opq_proto.messages import Event, Incident, Measurement, Trend, Trigger, Waveform
from opq_proto.wire.half_cycles import HalfCycleRms

QUERY_ROWS = 100_000
"""Most Measurements that one query returns, unless its `limit` is higher."""

LogPlace = Sequence[Any]
"""The place where reading all Measurements continues; JSON that only the store that made it can read."""


StorePlace = tuple[str | None, Path, bool]
"""The arguments of `open_store`."""


class ShownStore(SeenIntervals, Protocol):
    """The interface for View and exports: the store, or the part that one visitor may see (View's
    `SeenStore`).
    """

    def boxes(self) -> list[BoxRecord]: ...

    def box(self, box_id: str) -> BoxRecord | None: ...

    def measurements(
        self, box_id: str, start_ms: int, end_ms: int, limit: int = QUERY_ROWS
    ) -> list[Measurement]:
        """Returns the Measurements in [start_ms, end_ms), in time order."""

    def trend_rows(self, box_id: str, start_ms: int, end_ms: int, length_ms: int) -> list[Trend]:
        """Returns rows of one level of the pyramid that begin in [start_ms rounded down to its length,
        end_ms).

        The last three rows before `end_ms` that are not rolled up yet are made from the shorter levels, so
        `end_ms` is at most the present; late data appears after the next `roll_up`.

        Raises:
            ValueError: `length_ms` is not one of `pyramid.LEVELS_MS`.
        """

    def event(self, event_id: int) -> Event | None:
        """Returns an event and its waveforms, sorted by Box id; None where no event has this number."""

    def event_record(self, event_id: int) -> EventRecord | None: ...

    def half_cycles(self, event_id: int) -> dict[str, HalfCycleRms]:
        """Returns Box -> Urms(1/2); empty where there are none."""

    def findings_of_boxes(self, box_ids: Collection[str], start_ns: int, end_ns: int) -> list[KnownFinding]:
        """Returns the findings of these Boxes that overlap [start_ns, end_ns], in one read."""

    def incident(self, incident_id: int) -> Incident | None: ...

    def incidents_of(self, incident_ids: Sequence[int]) -> list[Incident]:
        """Returns these incidents, in this order, without those that do not exist."""

    def find_incidents(
        self, wanted: IncidentFilter, limit: int, beyond: IndexPlace | None = None, back: bool = False
    ) -> list[IndexedIncident]:
        """Returns incidents in the filter's order after `beyond`; with `back` those before it, nearest first.

        With Boxes in the filter, each says what was at them: `box_events.narrowed` makes the incident of it.
        A copied store is indexed at the first call.
        """

    def count_incidents(self, wanted: IncidentFilter, most: int) -> int:
        """Returns the number of incidents; `most` means that many or more."""

    def incident_cells(self, wanted: IncidentFilter) -> dict[int, int]:
        """Returns field of the magnitude-duration plane (`index.cell_of`) -> number of incidents."""


class JoinStore(Protocol):
    """The interface for joining: the findings that it reads, and the call that carries a plan out."""

    def join_revision(self) -> int:
        """Returns a number that rises with each plan that changes something; read it before other data."""

    def findings_of_box(self, box_id: str, start_ns: int, end_ns: int) -> list[KnownFinding]:
        """Returns the findings of a Box that overlap [start_ns, end_ns]."""

    def findings_of_boxes(self, box_ids: Collection[str], start_ns: int, end_ns: int) -> list[KnownFinding]:
        """Returns the findings of several Boxes that overlap [start_ns, end_ns], in one read."""

    def findings_of_incident(self, incident_id: int) -> list[KnownFinding]: ...

    def onsets(self, start_ns: int, end_ns: int, leading: bool = False) -> list[FindingOnset]:
        """Returns findings that begin in [start_ns, end_ns]; `leading` omits those known not to lead."""

    def incident_facts(self, incident_id: int) -> IncidentFacts | None:
        """Returns the last facts; None where there are none, or a process was killed while writing them."""

    def carry_out(self, plan: JoinPlan) -> CarriedOut | None:
        """Writes a plan, all or nothing for the caller; None where it was made for another revision.

        Its event is kept as long as its findings. Mauka makes plans (`joining/finding_writer.py`).
        """


class CloudStore(ShownStore, JoinStore, LongTermStore, Protocol):
    """The whole store, as the module's docstring describes; `close` writes what is not yet on disk."""

    @property
    def place(self) -> StorePlace:
        """Where it is, for another process that opens it by `open_store(*place)`."""

    @property
    def people(self) -> AccountRecords:
        """Accounts, sessions, who may see which Box, and the log of changes."""

    @property
    def unreadable(self) -> Mapping[str, int]:
        """Documents of others left out because they could not be read: collection -> how often; a copy."""

    @property
    def numbers(self) -> NumberService:
        """Who gives the numbers of findings and incidents."""

    @property
    def numbers_problem(self) -> str | None:
        """Whether another service numbers incidents too, and what to change; None: it does not."""

    def index_slice(self) -> int:
        """Indexes some of the original's incidents, the newest first; returns how many, 0 where all are."""

    def index_progress(self) -> IndexProgress | None:
        """Returns how far the index of the original's incidents is; None where it is complete."""

    def follow_original(self) -> int:
        """Follows what the original changed and deleted of indexed incidents; returns how many changed."""

    def trends_wait(self, now_ms: int) -> bool:
        """Whether trends of former days are not in the longer levels yet, so that long spans show a part."""

    def copied_samples(self, incident: Incident) -> list[Waveform]:
        """Returns the samples that are kept with an incident's findings, as in the original's files.

        Only a MongoDB has them; they stay after their event has expired.
        """

    def lost_incidents(self) -> int:
        """Returns how many incidents the original has lost because their numbers are ours.

        It counts those that left a trace. `numbers_problem` reports new ones, and the next numbers are left
        to the original.
        """

    @property
    def problem(self) -> str | None:
        """What happened to the store's file while it is open; None: nothing, or it is not a file."""

    def close(self) -> None: ...

    # Whole copies and checks (`upkeep/`)
    @property
    def driver(self) -> Driver:
        """The tables of everything but Measurements."""

    def all_measurements(
        self, damaged: Callable[[str], None], after: LogPlace = (), box_id: str | None = None
    ) -> Iterator[tuple[LogPlace, list[Measurement]]]:
        """Yields all Measurements, or those of one Box, some at a time, with the place after them.

        `damaged` is called with a line for what cannot be read, which is left out.
        """

    def others(self) -> dict[str, int]:
        """Returns collection -> documents of those that a copy does not have: only the original uses them."""

    def complete_copy(self) -> None:
        """Makes what is not copied because it follows from the rest: the index of incidents, and in MongoDB
        the original's copies of samples with each finding."""

    # Boxes
    def put_box(self, box: BoxRecord, since_ms: int | None = None) -> None:
        """Inserts or updates by box_id; a field that is None keeps its stored value.

        Facts that change hold from `since_ms` on, until what is stated for a later moment. Without it they
        hold from now on, and what was never stated before also for the time before.
        """

    def note_lost(self, box_id: str, lost: Sequence[BoxLoss]) -> None:
        """Adds Measurements of a Box that were lost to its record."""

    def forget_lost(self, box_id: str) -> None:
        """Removes what was lost from the record of a Box: somebody has seen it."""

    def box_holdings(self, box_id: str) -> BoxHoldings:
        """Returns what is stored of a Box, for a question before it is deleted."""

    def delete_box(self, box_id: str) -> None:
        """Deletes a Box and its data, but for incidents that other Boxes share; it must not send any more.

        Raises StoreError; then a repeat deletes the rest.
        """

    def boxes_revision(self) -> int:
        """Returns a number that changes when any process puts or removes a Box, location or region.

        Read it before these. With MongoDB it also changes every 5 s, because the original's services may
        write.
        """

    def put_location(self, location: LocationRecord) -> None:
        """Inserts or updates by slug."""

    def remove_location(self, slug: str) -> None:
        """Removes a location and its entries in regions; Boxes that name it keep the slug."""

    def locations(self) -> dict[str, LocationRecord]:
        """Returns slug -> location, without those that have no coordinates."""

    def put_region(self, region: str, location: str) -> None:
        """Puts a location into a region; idempotent."""

    def regions(self) -> dict[str, tuple[str, ...]]:
        """Returns slug of a location -> its regions, sorted by name."""

    # Measurements and trends
    def append_measurements(self, rows: Iterable[Measurement], columns: Iterable[Measurements] = ()) -> int:
        """Appends rows, unique by (box_id, sequence), else by (box_id, timestamp_ms); returns how many were
        new.

        `columns` are further Measurements, stored together with `rows`. Returns once all are on disk; the
        caller makes batches, every 200 ms or 1,000 rows.
        """

    def append_columns(self, columns: Measurements) -> int:
        """Appends these Measurements likewise; for a minute or so of its Boxes it costs a tenth."""

    def latest_measurements(self) -> dict[str, Measurement]:
        """Returns Box -> the Measurement that was written last: by sequence number, where it has one.

        After a clock was set back that is not the one with the latest time.
        """

    def newest_ms(self) -> int | None:
        """Returns when the newest Measurement of all Boxes was measured, UTC ms; None: none is stored."""

    def last_minutes(self, length_ms: int, limit: int) -> Iterator[list[Measurement]]:
        """Yields for each Box its Measurements of the last `length_ms` before its newest, oldest first.

        At most the newest `limit`, always including the newest; reads the unsealed rows in one pass.
        """

    def sequences(self, box_id: str, first: int, last: int) -> list[int]:
        """Returns the stored sequence numbers of a Box in [first, last], rising: without those of intervals
        and disturbances, which `intervals` has."""

    def highest_sequence(self, box_id: str) -> int | None:
        """Returns the highest of them; None without any."""

    def put_trends(self, trends: Iterable[Trend], location: str | None = None) -> set[tuple[str, int]]:
        """Inserts minutes, or widens existing ones, by (box_id, start_ms); their roll-up is then due again.

        Without `location` a new minute has the location of its Box. Returns the key of each that existed.
        """

    def replace_trends(self, trends: Iterable[Trend]) -> None:
        """Writes minutes as they are, narrower than the stored ones or not; their roll-up is then due again.

        For minutes that are made again of all their Measurements. One that is part of a stored hour by now
        stays as it is there.
        """

    def put_trend_rows(self, rows: Iterable[Trend]) -> None:
        """Puts rows of longer levels, as another store has them, where the stored one covers less time."""

    def trends(self, box_id: str, start_ms: int, end_ms: int) -> list[Trend]:
        """Returns minutes, and hours where minutes are no longer kept."""

    def roll_up(self, now_ms: int, slice_rows: int = 50) -> int:
        """Makes a slice of the due rows of the pyramids, and of the blocks of intervals; returns how many.

        0: nothing is due.

        Trends stored by a version without roll-ups are rolled up too, in steps; after a stop it continues
        there.
        """

    # Events
    def next_event_id(self) -> int:
        """Returns the next whole number from 1, rising across restarts, threads and processes.

        Once somebody sees only some Boxes, it is the present second since 2025, or the next free one.
        """

    def open_event(self, trigger: Trigger, description: str, event_id: int | None = None) -> int:
        """Opens an event and returns its id. Idempotent: the same `trigger.token` gives the same event id.

        `event_id` is a number already drawn for it; if another event has that, the next one is taken.
        """

    def widen_event(
        self,
        event_id: int,
        asked_as: Mapping[str, Sequence[str]],
        not_asked: Mapping[str, int],
        starts: Mapping[str, int] | None = None,
    ) -> None:
        """Adds Boxes that are asked, by reason, with their starts, and replaces `not_asked`.

        Idempotent by Box. A Box that is new, or was missing, opens a finished event again. An expired event
        is not made again.
        """

    def move_event(self, event_id: int, by_ns: int) -> None:
        """Moves the times of an event: the clock of the Box that opened it was set by `by_ns` since. Once."""

    def request_samples(self, event_id: int, wanted: Sequence[StoredSampleRequest], most_rounds: int) -> int:
        """Adds requests of analyses for more samples; returns how many are new.

        Idempotent by Box and span, and by the Boxes whose neighbours are asked; nothing is added beyond
        `most_rounds` (`sample_requests.new_requests`). An expired event is not made again.
        """

    def events_with_requests(self) -> list[EventRecord]:
        """Returns events with an unanswered request, oldest first, at most REQUESTS_READ."""

    def answer_request(self, event_id: int, number: int, answer: SamplesAnswer) -> bool:
        """Stores which Boxes Makai asks because of a request; True for the call that answered it.

        Boxes that are asked owe the event their samples, so a finished event is opened again.
        """

    def put_waveform(self, event_id: int, wave: Waveform) -> bool:
        """Stores a Box's waveform, on disk when it returns; True where it brought anything new.

        Idempotent by (event_id, box_id). Parts that a Box sends are joined
        (`waveform_parts.joined_waveform`). An event that was analysed without it has to be analysed again.
        """

    def begin_waveform(self, event_id: int, wave: Waveform) -> Future[bool]:
        """Begins to do the same, in the order of the calls; those that wait together may share a commit."""

    def put_half_cycles(self, event_id: int, found: HalfCycleRms) -> bool:
        """Stores Urms(1/2) of a Box once, on disk when it returns; True where it is new.

        An event that was analysed without it has to be analysed again.
        """

    def mark_no_half_cycles(self, event_id: int, box_id: str, why: str) -> None:
        """Stores why a Box is not asked for Urms(1/2) any more; stored values and a first reason stay."""

    def mark_missing(self, event_id: int, box_id: str, why: str) -> None:
        """Stores why a Box's samples, or a part of them, are missing; its next waveform removes the mark."""

    def finish_event(self, event_id: int) -> bool:
        """Finishes an event, so that it is analysed; True for the call that did, False for a second one.

        An event of an original event service is finished too, once a caller finds it complete.
        """

    def unfinished_events(self) -> list[EventRecord]: ...

    def unanalysed_events(self) -> list[EventRecord]:
        """Returns finished events whose analysis is not marked as done, oldest first."""

    def mark_analysed(self, event_id: int, revision: int | None = None) -> bool:
        """Marks an event as analysed; False, without a mark, where its revision is not `revision` any more.

        `revision` is the record's, from before the waveforms were read.
        """

    def unmark_analysed(self, event_id: int) -> None:
        """Removes the mark and raises the revision, so that an event with new data is analysed again."""

    def waveform_times(self, event_id: int) -> dict[str, int]:
        """Returns Box -> when (UTC, ns) the last of its samples was stored, where that is known."""

    def waveform_places(self, box_id: str, event_id: int, limit: int) -> list[WaveformPlace]:
        """Returns where the newest waveforms of a Box lie in events up to this number, newest event first."""

    def waveform(self, event_id: int, box_id: str) -> Waveform | None:
        """Returns the waveform of a Box in an event; None if none is stored, or what is stored is damaged."""

    def events(
        self, start_ns: int | None = None, end_ns: int | None = None, limit: int = 100
    ) -> list[EventRecord]:
        """Returns events by falling number, the last opened first, whatever time they are about."""

    def events_by_start(
        self,
        limit: int,
        beyond: IndexPlace | None = None,
        start_ns: int | None = None,
        end_ns: int | None = None,
    ) -> list[EventRecord]:
        """Returns events by the millisecond of their start, newest first, then by number; used for pages."""

    # Findings and incidents
    def next_finding_id(self) -> int:
        """Returns the next number of a finding (the original's `incident_id`), from `carry_out`'s counter.

        It is above every stored one, and rises as `next_event_id` does.
        """

    def incidents(
        self, after_id: int = 0, start_ns: int | None = None, end_ns: int | None = None, limit: int = 100
    ) -> list[Incident]:
        """Returns incidents by falling number, the last found first; only numbers above `after_id`.

        Pages use `find_incidents`, in the order of time.
        """

    # The index of incidents, and people's notes
    def index_revision(self) -> int:
        """Returns a number that rises after each change of an incident, a label or the work on one.

        Read it before what is kept under it. An incident that an original Mauka stores counts once it is
        indexed.
        """

    def incident_parts(
        self,
        seen: Collection[str] | None,
        wanted: IncidentFilter,
        beyond: IndexPlace | None = None,
        back: bool = False,
        sees: SeesThen | None = None,
    ) -> Iterator[IndexedParts]:
        """Yields incidents at these Boxes that may fit `wanted` by Box and span, each with its rows there.

        Without Boxes (None) the reader sees every Box, and each has its rows at the Boxes of `wanted`. With
        `sees`, a row counts only if that accepts its Box and start.

        They are sorted by their seen start: the newest first below `beyond`, or with `back` the oldest first
        above it. `IndexedParts` gives what is seen of one, and whether that fits.
        """

    def put_note(self, note: IncidentNote) -> IncidentNote:
        """Stores a note under a new number; a label changes the class of its incident at once.

        Raises:
            StoreError: there is no such incident, or it has MAX_NOTES.
        """

    def successor(self, incident_id: int) -> int | None:
        """Returns the incident that an incident was joined into, at last; None where it was not joined."""

    def seen_whole(self, numbers: Sequence[int], sees: SeesThen) -> list[int]:
        """Returns those of these incidents of which `sees` accepts every Box, with its beginning there."""

    def incident_work(self, numbers: Sequence[int]) -> dict[int, IncidentWork]:
        """Returns incident -> what people do about it, for those that exist."""

    def notes(self, incident_id: int) -> list[IncidentNote]:
        """Returns an incident's notes, oldest first, with those of incidents that were joined into it."""

    def notes_of(self, account_id: str) -> list[IncidentNote]:
        """Returns the notes of one account, oldest first."""

    def forget_author(self, account_id: str) -> None:
        """Removes an account's name from its notes (`NO_AUTHOR`); the notes stay."""

    # Makai's own (docs/reference/opq-interop.md, D.7)
    def identity(self) -> str:
        """Returns the store's permanent name, 16 hex digits, drawn at the first call; a copy has it too."""

    def makai_config(self) -> MakaiConfig | None:
        """Returns the limits of all Boxes and of single ones, the original's too; None where none is set."""

    def put_makai_config(self, config: MakaiConfig | None) -> None:
        """Replaces the limits; None removes them. A running triggering service follows within 2 s."""

    def put_traffic(self, traffic: BrokerTraffic) -> None:
        """Stores a row of `makai_metrics`; it expires with the Measurements of its time."""

    def traffic(self, start_ms: int, end_ms: int) -> list[BrokerTraffic]:
        """Returns rows in the order of time, without the original's, which have no time."""

    # Retention and size
    def ttls(self) -> Ttls:
        """Returns the present TTLs from `laha_config`, which other programs may change too."""

    def put_ttls(self, ttls: Ttls) -> None:
        """Changes `laha_config`; every process that has the store open follows within 5 s."""

    def keep_minutes(self, days: int) -> None:
        """Sets how long one-minute trends stay minutes where trends have no TTL; 0: for ever.

        The embedded store then makes hours of them; in MongoDB they stay minutes in any case. Ten-minute
        rows are kept as long, and for 400 days at least.
        """

    def expire(self, now_s: int, slice_rows: int | None = None, stopped: Callable[[], bool] = ...) -> int:
        """Deletes a slice of the expired rows, by `expire_at`; returns how many (0 where none are left).

        Args:
            slice_rows: most rows of a table; by default as many as the database removes well at once.
            stopped: whether to break off between two statements; a further call completes the slice.
        """

    def expired(self) -> dict[str, int]:
        """Returns how many rows `expire` has deleted since the store was opened here, by collection.

        Minutes that became part of an hour count as trends. Other processes are not included.
        """

    def counts(self) -> dict[str, int]:
        """Returns the number of documents by the original's collection (`measurements`, `trends`, ...)."""

    def sizes(self) -> dict[str, int]:
        """Returns bytes by the original's collection: `Driver.bytes_of`."""
