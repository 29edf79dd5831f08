"""The one narrow interface to the cloud's database, in the project's own nouns.

Two implementations hold it, `embedded.EmbeddedStore` (SQLite, the default) and
`mongo.MongoStore` (the original's collections and fields, opq-interop part D); one contract
suite runs on both. Every write that can be repeated is idempotent: its natural key is said
at the method. Methods may be called from any thread. All raise `StoreError` with one clear
line when the database cannot do what was asked.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from opq_cloud.store.account_records import AccountRecords
from opq_cloud.store.asked_samples import AskedSamples, NsSpan, SamplesAnswer
from opq_cloud.store.histogram import TrendHistogram
from opq_cloud.store.incident_index import IncidentFilter, IncidentNote, IndexedIncident, IndexPlace
from opq_cloud.store.incident_parts import IndexedParts
from opq_cloud.store.join_plan import CarriedOut, FindingOnset, IncidentFacts, JoinPlan, KnownFinding
from opq_cloud.store.makai_documents import BrokerTraffic, MakaiConfig
from opq_proto.half_cycles import HalfCycleRms
from opq_proto.measurement_columns import MeasurementColumns, NumberedColumns
from opq_proto.messages import Event, Incident, Measurement, Trigger, Waveform

QUERY_ROWS = 100_000
"""Measurements that one query returns unless more are asked for."""


@dataclass(frozen=True, slots=True)
class Ttls:
    """How long things are kept: seconds from storing to `expire_at` (opq-interop D.7)."""

    measurements: int = 86_400
    trends: int | None = None
    """None: for ever (minutes for 90 days, then hours)."""
    events: int = 2_592_000
    incidents: int = 31_536_000


@dataclass(frozen=True, slots=True)
class BoxRecord:
    """What is known of a Box (the original's `opq_boxes`); None: not known, and put so, left as it is.

    A text that is put as "" is taken away, but for `name`: that is left as it is, and "Box 7" for a new one.
    """

    box_id: str
    name: str
    location: str | None = None
    """Slug of the place where it stands (`LocationRecord`)."""
    calibration_constant: float | None = None
    """Counts per volt; 1 / v_per_lsb."""
    nominal_v: float | None = None
    """What it is meant to measure, volts; a service has its own default for what is not known."""
    nominal_hz: float | None = None
    unplugged: bool | None = None
    """True: nobody expects to hear it. Not known counts as no."""
    description: str | None = None
    region: str | None = None
    """The Box's own; without one that of its location holds (`box_place.box_place`)."""
    feeder: str | None = None
    phase: str | None = None
    grid: str | None = None
    """Boxes of one grid see one frequency; not known is grid "1" (contracts.md, Findings and incidents)."""
    public_key: str | None = None
    """Z85, the source of the original's allow-list."""
    location_start_time_ms: int | None = None
    location_archive: tuple[tuple[str, int | None], ...] = ()
    """Where it stood before: (location, since when in ms); empty: put so, left as it is."""
    retired_ms: int | None = None
    """When it was taken out of service for good; 0: put so, it is in service again."""


@dataclass(frozen=True, slots=True)
class LocationRecord:
    """A place where Boxes stand (the original's `locations`), in degrees, WGS 84."""

    slug: str
    latitude: float
    longitude: float
    description: str = ""


@dataclass(frozen=True, slots=True)
class EventRecord:
    """An event without its samples."""

    event_id: int
    token: str
    start_ns: int
    end_ns: int
    boxes_triggered: tuple[str, ...]
    boxes_received: tuple[str, ...]
    missing: dict[str, str]
    finished: bool
    analysed: bool
    because: str
    short: dict[str, str] = field(default_factory=dict)
    """Boxes whose waveform does not cover the span, and why; they are in `boxes_received` too."""
    revision: int = 0
    """Rises with everything that is put into it: what was analysed is compared with it."""
    completes: int | None = None
    """The event of the same disturbance's onset: this one is read by ours alone (`EventService`)."""
    opened_by: str = ""
    """The Box that saw it first."""
    asked_as: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Why each Box is asked: reason -> Boxes."""
    not_asked: dict[str, int] = field(default_factory=dict)
    """How many Boxes are not, by reason; `saw`: of those that saw it too."""
    onset_ns: tuple[int, int] | None = None
    """[start, end) of the Measurement that was decided on."""
    decided_ns: int | None = None
    finished_ns: int | None = None
    analysed_ns: int | None = None
    """When (UTC) that was; None: not yet, or by a version that did not say."""
    more: dict[int, AskedSamples] = field(default_factory=dict)
    """What analyses ask for beyond it, by number."""
    owed: dict[str, NsSpan] = field(default_factory=dict)
    """Box -> what it was asked for because of that, where it is not the event's own span."""
    half_cycles_ns: NsSpan | None = None
    """The span whose Urms(1/2) the Boxes are asked for, after a long dip or swell."""
    half_cycles: dict[str, str] = field(default_factory=dict)
    """Box -> why there is none; empty: it is stored (`CloudStore.half_cycles`)."""

    def span_of(self, box_id: str) -> NsSpan:
        """What a Box was asked for last."""
        return self.owed.get(box_id, (self.start_ns, self.end_ns))

    @property
    def original(self) -> bool:
        """An original event service or Mauka wrote it: nobody says when it is complete."""
        return not self.token


PERSON_ASKED = "requested"
"""A reason of `asked_as`: nobody has asked the Box yet; the event service does so at once."""
MAUKA_ASKED = "mauka"
"""Another: Mauka asks the Box itself, and the event service only where Mauka has ended meanwhile."""
TREND_MS = 60_000
"""A trend is over one whole minute, or of a longer level of the pyramid (`pyramid.LEVELS_MS`)."""


@dataclass(frozen=True, slots=True)
class Trend:
    """Minimum, maximum and mean of a Box's metrics over one whole minute, or 10, an hour, a day (UTC)."""

    box_id: str
    start_ms: int
    metrics: dict[str, tuple[float, float, float]]
    """Wire key (`rms`, `f`, `thd`, `trans`) -> min, max, average weighted by time."""
    length_ms: int = TREND_MS
    covered_ms: int | None = None
    """How much time its Measurements cover; above `length_ms` where one began before it. None: not known."""
    histograms: dict[str, TrendHistogram] = field(default_factory=dict)
    """Histograms of its one-minute means, by wire key; a minute has none."""

    @property
    def coverage(self) -> float:
        """0 to 1."""
        return min(1.0, self.time_ms / self.length_ms)

    @property
    def time_ms(self) -> int:
        """What it covers; one of which that is not known counts as whole."""
        return self.length_ms if self.covered_ms is None else self.covered_ms


def box_order(box_id: str) -> tuple[int, str]:
    """A sort key: Box 2 before Box 10."""
    return len(box_id), box_id


class ShownStore(Protocol):
    """What View and exports read: the store, or of it what one visitor may see (`view.accounts.seen`)."""

    def boxes(self) -> list[BoxRecord]: ...

    def box(self, box_id: str) -> BoxRecord | None: ...

    def measurements(
        self, box_id: str, start_ms: int, end_ms: int, limit: int = QUERY_ROWS
    ) -> list[Measurement]:
        """Those of [start_ms, end_ms), in time order."""

    def trend_rows(self, box_id: str, start_ms: int, end_ms: int, length_ms: int) -> list[Trend]:
        """One level of the pyramid: those that begin in [start_ms rounded down to its length, end_ms).

        What is not over yet is made of the shorter levels; what comes late shows after the next `roll_up`.

        Raises:
            ValueError: `length_ms` is not one of `pyramid.LEVELS_MS`.
        """

    def event(self, event_id: int) -> Event | None:
        """With its waveforms, by box id."""

    def event_record(self, event_id: int) -> EventRecord | None: ...

    def half_cycles(self, event_id: int) -> dict[str, HalfCycleRms]:
        """By Box; empty where there are none."""

    def findings_of_boxes(self, box_ids: Collection[str], start_ns: int, end_ns: int) -> list[KnownFinding]:
        """Those of these Boxes whose span meets [start_ns, end_ns], read at once."""

    def incident(self, incident_id: int) -> Incident | None: ...

    def incidents_of(self, incident_ids: Sequence[int]) -> list[Incident]:
        """Those of these that are there, in this order."""

    def find_incidents(
        self, wanted: IncidentFilter, limit: int, beyond: IndexPlace | None = None, back: bool = False
    ) -> list[IndexedIncident]:
        """In the order of the filter, what comes after `beyond`; `back`: what comes before it, nearest first.

        A store of a version before the index enters its incidents at the first call.
        """

    def count_incidents(self, wanted: IncidentFilter, most: int) -> int:
        """How many there are; `most` stands for that many or more."""

    def incident_cells(self, wanted: IncidentFilter) -> dict[int, int]:
        """Field of the magnitude-duration plane (`incident_index.cell_of`) -> incidents in it."""


class JoinStore(Protocol):
    """What joining plans against, and what carries a plan out: the store, or for a dry run `JoinOverlay`."""

    def join_revision(self) -> int:
        """Rises with each plan that changed something: read it before anything that a plan rests on."""

    def findings_of_box(self, box_id: str, start_ns: int, end_ns: int) -> list[KnownFinding]:
        """Those of a Box whose span meets [start_ns, end_ns]."""

    def findings_of_boxes(self, box_ids: Collection[str], start_ns: int, end_ns: int) -> list[KnownFinding]:
        """The same of several Boxes, read at once."""

    def findings_of_incident(self, incident_id: int) -> list[KnownFinding]: ...

    def onsets(self, start_ns: int, end_ns: int, leading: bool = False) -> list[FindingOnset]:
        """Findings that begin in [start_ns, end_ns]; `leading`: without those that are known not to lead."""

    def incident_facts(self, incident_id: int) -> IncidentFacts | None:
        """What was said of it last; None: nothing, or somebody was killed while it was being written."""

    def carry_out(self, plan: JoinPlan) -> CarriedOut | None:
        """Write what a plan says, all or nothing for who plans; None: it was made for another revision.

        Its event is kept as long as its findings. Mauka makes plans (`finding_writer.py`).
        """


class CloudStore(ShownStore, JoinStore, Protocol):
    """See the module's first lines; `close` flushes what is not yet on disk."""

    @property
    def people(self) -> AccountRecords:
        """Accounts, sessions, who may see which Box, and the log of changes."""

    def close(self) -> None: ...

    # Boxes
    def put_box(self, box: BoxRecord) -> None:
        """Upsert by box_id; what is None leaves the stored value.

        Another location than the stored one puts that into `location_archive`.
        """

    def boxes_revision(self) -> int:
        """Another number once a Box, place or region was put or taken away, by whatever process.

        Asked for before they are read; over MongoDB it also changes each 5 s, for the original's services.
        """

    def put_location(self, location: LocationRecord) -> None:
        """Upsert by slug."""

    def remove_location(self, slug: str) -> None:
        """It and the regions that it lies in; Boxes that name it keep the slug."""

    def locations(self) -> dict[str, LocationRecord]:
        """By slug; without those that have no coordinates."""

    def put_region(self, region: str, location: str) -> None:
        """That location lies in that region; idempotent."""

    def regions(self) -> dict[str, tuple[str, ...]]:
        """Slug of a location -> the regions that it lies in, in the order of their names."""

    # Measurements and trends
    def append_measurements(
        self, rows: Iterable[Measurement], columns: Iterable[NumberedColumns] = ()
    ) -> int:
        """Unique by (box_id, sequence), else by (box_id, timestamp_ms); returns how many were new.

        `columns`: more of them, stored together with `rows`.

        Returns once they are on disk (batched by the caller, every 200 ms or 1,000 rows).
        """

    def append_columns(self, columns: MeasurementColumns) -> int:
        """The same of each of these; of a minute or so of its Boxes it costs a tenth."""

    def latest_measurements(self) -> dict[str, Measurement]:
        """The newest of each Box."""

    def last_minutes(self, length_ms: int, limit: int) -> Iterator[list[Measurement]]:
        """For each Box that has any, what lies within `length_ms` before its newest, oldest first.

        The newest `limit` at most, its newest always; in one pass over what waits unsealed.
        """

    def sequences(self, box_id: str, first: int, last: int) -> list[int]:
        """Stored sequence numbers of a Box in [first, last], rising."""

    def highest_sequence(self, box_id: str) -> int | None: ...

    def put_trends(self, trends: Iterable[Trend], location: str | None = None) -> None:
        """Upsert minutes by (box_id, start_ms): an existing one is widened, and its pyramid is due again.

        Without `location` a new one has that of its Box.
        """

    def trends(self, box_id: str, start_ms: int, end_ms: int) -> list[Trend]:
        """Minutes, and hours where no minutes are kept any more."""

    def roll_up(self, now_ms: int, slice_rows: int = 50) -> int:
        """Make a slice of what is due of the pyramids; returns how much it did (0: nothing is due).

        Trends that were there before pyramids were are rolled up too, a stretch after the other, and
        where it was stopped it goes on.
        """

    # Events
    def next_event_id(self) -> int:
        """Whole numbers from 1 that only rise, across restarts, threads and processes."""

    def open_event(self, trigger: Trigger, description: str, event_id: int | None = None) -> int:
        """Idempotent by `trigger.token`: the same token gives the same event id.

        `event_id`: a number that was drawn for it; where another event has it, the next one is taken.
        """

    def widen_event(
        self, event_id: int, asked_as: Mapping[str, Sequence[str]], not_asked: Mapping[str, int]
    ) -> None:
        """More Boxes are asked for it, by reason; `not_asked` is what it says from now on.

        Idempotent by Box. One that is new, or was missing, opens an event that was finished again. An event
        that has expired stays away.
        """

    def request_samples(self, event_id: int, wanted: Sequence[AskedSamples], most_rounds: int) -> int:
        """What analyses ask for beyond the event; how many requests are new.

        Idempotent by Box and span, and by the Boxes whose neighbours are asked; nothing is added beyond
        `most_rounds` (`asked_samples.new_requests`). An event that has expired stays away.
        """

    def events_with_requests(self, limit: int = 100) -> list[EventRecord]:
        """Those with a request that nobody has answered, oldest first."""

    def answer_request(self, event_id: int, number: int, answer: SamplesAnswer) -> bool:
        """Whom Makai asks because of a request: True for the call that answered it.

        Boxes that are asked owe the event their samples, which opens it again where it was finished.
        """

    def put_waveform(self, event_id: int, wave: Waveform) -> bool:
        """Idempotent by (event_id, box_id); True when it brought anything new. On disk when it returns.

        What a Box sends in parts is put together (`waveform_parts.joined`). An event that was analysed
        without this is to be analysed again.
        """

    def put_half_cycles(self, event_id: int, found: HalfCycleRms) -> bool:
        """Urms(1/2) of a Box, once; True when it is new. On disk when it returns.

        An event that was analysed without it is to be analysed again.
        """

    def mark_no_half_cycles(self, event_id: int, box_id: str, why: str) -> None:
        """Note that a Box is not asked for them any more, and why; what is stored stays."""

    def mark_missing(self, event_id: int, box_id: str, why: str) -> None:
        """Marks a Box that has sent something: the event is short of the rest of it.

        The next waveform of that Box takes the mark away.
        """

    def finish_event(self, event_id: int) -> bool:
        """It is to be analysed now: True for the call that finished it; a second one gives False.

        One of an original event service, too, once somebody finds it complete.
        """

    def unfinished_events(self) -> list[EventRecord]: ...

    def unanalysed_events(self) -> list[EventRecord]:
        """Finished ones whose analysis is not marked done, oldest first."""

    def mark_analysed(self, event_id: int, revision: int | None = None) -> bool:
        """Give the record's `revision` of before the waveforms were read: nothing is marked, and the answer
        is False, when more has come since."""

    def unmark_analysed(self, event_id: int) -> None:
        """It is to be analysed again: more has come, by another's hand."""

    def waveform_times(self, event_id: int) -> dict[str, int]:
        """Box -> when (UTC, ns) the last of its samples was stored; without those of older versions."""

    def events(
        self, start_ns: int | None = None, end_ns: int | None = None, limit: int = 100
    ) -> list[EventRecord]:
        """By falling number, what was opened last first: a request for what is past is among these."""

    def events_by_start(
        self,
        limit: int,
        beyond: IndexPlace | None = None,
        start_ns: int | None = None,
        end_ns: int | None = None,
    ) -> list[EventRecord]:
        """The newest first by the millisecond of their start, then by number; as people are shown them."""

    # Findings and incidents
    def next_finding_id(self) -> int:
        """The next number of a finding, as `carry_out` draws them: the original's `incident_id`.

        Above every one that is stored; as `next_event_id`.
        """

    def incidents(
        self, after_id: int = 0, start_ns: int | None = None, end_ns: int | None = None, limit: int = 100
    ) -> list[Incident]:
        """By falling number, what was found last first; only numbers above `after_id`.

        People are shown `find_incidents`, in the order of time.
        """

    # The index of incidents, and what people say of them
    def incident_parts(
        self,
        seen: Collection[str],
        wanted: IncidentFilter,
        beyond: IndexPlace | None = None,
        back: bool = False,
    ) -> Iterator[IndexedParts]:
        """Incidents at these Boxes, each with its rows there: those that by Box and span may fit `wanted`.

        By the start that is seen: the newest first below `beyond`, or with `back` the oldest first above it.
        What is seen of one, and whether that fits, is said by the rows.
        """

    def put_note(self, note: IncidentNote) -> IncidentNote:
        """Keep it under a number of its own; a label changes the class of its incident at once.

        Raises:
            StoreError: there is no such incident, or it has MOST_NOTES.
        """

    def heir(self, incident_id: int) -> int | None:
        """The incident that this one was joined into, and that one into others; None where it was not."""

    def notes(self, incident_id: int) -> list[IncidentNote]:
        """Oldest first; those of incidents that were joined into it too."""

    def notes_of(self, account_id: str) -> list[IncidentNote]:
        """What one account said, oldest first."""

    def forget_author(self, account_id: str) -> None:
        """What one account said stays, under nobody's name (`NO_AUTHOR`)."""

    # Makai's own (opq-interop, D.7)
    def identity(self) -> str:
        """The store's lasting name, 16 hex digits, drawn when it is first asked for; its copy has it too."""

    def makai_config(self) -> MakaiConfig | None:
        """Limits of all Boxes and of single ones; None: nobody has put any. The original's documents too."""

    def put_makai_config(self, config: MakaiConfig | None) -> None:
        """Replace it; None takes it away. A running triggering service follows within 2 s."""

    def put_traffic(self, traffic: BrokerTraffic) -> None:
        """One row of `makai_metrics`; it goes with the Measurements of its time."""

    def traffic(self, start_ms: int, end_ms: int) -> list[BrokerTraffic]:
        """In the order of time; without the original's, which have none."""

    # Retention and size
    def ttls(self) -> Ttls:
        """How long things are kept now: `laha_config`, which anyone may change; read again every 5 s."""

    def put_ttls(self, ttls: Ttls) -> None:
        """Change `laha_config`; every process that holds the store follows within 5 s."""

    def expire(self, now_s: int, slice_rows: int = 1000) -> int:
        """Delete a slice of what `expire_at` says is due; returns how many rows went (0: done)."""

    def counts(self) -> dict[str, int]:
        """Documents per collection name of the original (`measurements`, `trends`, `events`, ...)."""

    def sizes(self) -> dict[str, int]:
        """Bytes with indexes per collection name of the original, as far as the database says them."""
