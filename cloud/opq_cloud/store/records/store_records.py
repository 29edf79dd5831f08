"""The whole store except the measurement log, over one driver."""

from abc import abstractmethod
from collections.abc import Callable
from threading import Lock

from opq_cloud.store.documents.retention import UNSET_CLOCK_S
from opq_cloud.store.driver import Documents, Driver, NumberService, Table, Where
from opq_cloud.store.records import tables
from opq_cloud.store.records.accounts.account_records import AccountRecords
from opq_cloud.store.records.boxes.box_deletion import BoxDeletion
from opq_cloud.store.records.boxes.box_records import BoxRecords
from opq_cloud.store.records.boxes.makai_records import MakaiRecords
from opq_cloud.store.records.events.event_records import EventRecords
from opq_cloud.store.records.events.waveforms import WaveformRecords
from opq_cloud.store.records.incidents.findings import FindingRecords
from opq_cloud.store.records.incidents.phenomena import PhenomenonRecords
from opq_cloud.store.records.intervals.interval_records import IntervalRecords
from opq_cloud.store.records.removals import never
from opq_cloud.store.records.tables import BOX_EVENTS, BOXES, EVENTS, INCIDENTS, PHENOMENA
from opq_cloud.store.records.trends import TrendRecords

ASKED_AGAIN_S = 60
"""A sweep of many slices asks a collection again in which nothing was due, after this time."""


class StoreRecords(
    BoxDeletion,
    FindingRecords,
    EventRecords,
    WaveformRecords,
    TrendRecords,
    BoxRecords,
    MakaiRecords,
    PhenomenonRecords,
):
    """`store.CloudStore` but for the measurement log, which the store of each database adds."""

    people: AccountRecords

    def __init__(self, driver: Driver) -> None:
        super().__init__(driver)
        self.intervals = IntervalRecords(driver)
        self._expired: dict[str, int] = {}
        self._expired_lock = Lock()
        self._expiring = Lock()
        """Two threads would both read and remove the same slice."""
        self._without_due: dict[str, int] = {}
        """Collection -> the time up to which the present sweep found nothing due in it; empty between sweeps.

        A call for each slice of another collection would read it again, which FerretDB does row by row.
        """

    def _parts_are_seen(self) -> bool:
        return self.people.any_access()

    def seen_intervals(self, box_id: str) -> IntervalRecords | None:
        return self.intervals

    @property
    def driver(self) -> Driver:
        return self._driver

    def others(self) -> dict[str, int]:
        ours = (each for each in vars(tables).values() if isinstance(each, Table))
        known = {each.collection or each.name for each in ours}
        return self._driver.others(known | self.people.documents.tables.keys())

    @property
    def unreadable(self) -> dict[str, int]:
        return dict(self._driver.readable.unreadable)

    @property
    def numbers(self) -> NumberService:
        return self._driver.numbers

    @property
    def numbers_problem(self) -> str | None:
        return self._driver.foreign_numbers

    def lost_incidents(self) -> int:
        return self._driver.lost_incidents()

    @property
    def problem(self) -> str | None:
        return self._driver.lost_file or self.people.documents.driver.lost_file

    def _renew_undated(self, now_s: int) -> None:
        """Lets what was stored before the machine's clock was set expire as if it were stored now.

        Events are kept as incidents are, because an incident keeps its events.
        """
        before: Where = [("expire_at", "<", UNSET_CLOCK_S)]
        ttls = self._ttls
        kept = (EVENTS, max(ttls.events, ttls.incidents)), (INCIDENTS, ttls.incidents)
        with self._driver.read() as documents:
            due = [(table, ttl_s) for table, ttl_s in kept if documents.count(table, before, 1)]

        def job(documents: Documents) -> None:
            for table, ttl_s in due:
                documents.set_fields(table, before, {"expire_at": now_s + ttl_s})

        if due and now_s >= UNSET_CLOCK_S:
            self._driver.write(job)

    def expire(self, now_s: int, slice_rows: int | None = None, stopped: Callable[[], bool] = never) -> int:
        at_once = self._driver.expired_at_once
        if slice_rows is not None:
            at_once = at_once._replace(rows=slice_rows, events=slice_rows, findings=slice_rows)
        rows = at_once.rows

        def due(works: dict[str, Callable[[], int]]) -> dict[str, Callable[[], int]]:
            return {
                name: work
                for name, work in works.items()
                if not 0 <= now_s - self._without_due.get(name, -ASKED_AGAIN_S) < ASKED_AGAIN_S
            }

        def job(documents: Documents) -> dict[str, int]:
            works: dict[str, Callable[[], int]] = {
                "events": lambda: self._expire_events(documents, now_s, at_once, stopped),
                "incidents": lambda: self._expire_findings(documents, now_s, at_once.findings, stopped),
                "makai_metrics": lambda: self._expire_traffic(documents, now_s, rows),
                "phenomena": lambda: self._expire_phenomena(documents, now_s, rows),
            }
            return {name: 0 if stopped() else work() for name, work in due(works).items()}

        with self._expiring:
            if not self._without_due:
                self._renew_undated(now_s)
            works: dict[str, Callable[[], int]] = {
                "measurements": lambda: self._expire_log(now_s, rows),
                "trends": lambda: self._expire_trends(now_s, rows),
                "intervals": lambda: self.intervals.expire(now_s, rows),
            }
            gone = {name: work() for name, work in due(works).items()}
            gone |= self._driver.write(job)
            if not any(gone.values()):
                self._without_due.clear()
            elif not stopped():
                self._without_due |= {name: now_s for name, count in gone.items() if not count}
        with self._expired_lock:
            self._expired = {name: self._expired.get(name, 0) + count for name, count in gone.items()}
        return sum(gone.values())

    def expired(self) -> dict[str, int]:
        with self._expired_lock:
            return self._expired

    def counts(self) -> dict[str, int]:
        counts = {"measurements": self._count_log()}
        with self._driver.read() as documents:
            counts["trends"] = documents.trends.count()
            for table in (EVENTS, BOX_EVENTS, INCIDENTS, BOXES, PHENOMENA):
                counts[table.name] = documents.count(table)
            return {**counts, "fs.files": documents.count_files()}

    def roll_up(self, now_ms: int, slice_rows: int = 50) -> int:
        made = self._roll_up_trends(now_ms, slice_rows)
        return made or self.intervals.settle(now_ms, slice_rows)

    def sizes(self) -> dict[str, int]:
        counts = self.counts()
        return self._driver.bytes_of({**counts, "fs.chunks": counts["fs.files"]})

    def close(self) -> None:
        self._end_indexing()
        self.people.close()
        self._close_log()
        self._driver.close()

    @abstractmethod
    def _expire_log(self, now_s: int, slice_rows: int) -> int:
        """Deletes a slice of the expired Measurements; returns how many."""

    def _close_log(self) -> None:
        """Ends the background work of the measurement log."""

    @abstractmethod
    def _count_log(self) -> int:
        """Returns the number of Measurements."""
