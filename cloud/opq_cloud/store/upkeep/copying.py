"""Copies a whole store into an empty one, of the same or the other kind, over the driver.

Each batch is written before its place is noted in the target, so that an interrupted copy continues there,
and rewriting is harmless. At the end the target is read and compared with the source by number and sum.
Unreadable documents are left out and named. Without a target all is only read.

Events go before their findings: an event that is analysed while it is copied is analysed once more.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any

from opq_cloud.store.documents.makai_documents import IDENTITY, limits_document, settings_document
from opq_cloud.store.documents.readable import READ_ERRORS
from opq_cloud.store.driver import Condition, Documents, Driver, Fields, Table
from opq_cloud.store.records.accounts.account_records import LEASES
from opq_cloud.store.records.incidents.findings import samples_file
from opq_cloud.store.records.tables import (
    BOX_EVENTS,
    BOXES,
    DISTURBANCES,
    DUE,
    EVENTS,
    FACTS,
    HEIRS,
    INCIDENTS,
    INTERVAL_BLOCKS,
    INTERVAL_NUMBERS,
    INTERVALS_DAMAGED,
    INTERVALS_DUE,
    INTERVALS_NEW,
    LOCATIONS,
    MAKAI_CONFIG,
    NOTES,
    PHENOMENA,
    REGIONS,
    RETENTION,
    TRAFFIC,
)
from opq_cloud.store.store import CloudStore, LogPlace
from opq_cloud.store.trends.pyramid import LEVELS_MS
from opq_cloud.store.upkeep.copied_documents import (
    TEXT_FIELDS,
    copied_document,
    document_sum,
    files_of,
    measurement_sum,
    plain_value,
    sum_of,
    trend_sum,
)
from opq_proto.errors import StoreError
from opq_proto.measurement.intervals import TEN_MINUTES_MS
from opq_proto.messages import TREND_MS, Measurement

TABLES = (
    RETENTION,
    BOXES,
    LOCATIONS,
    REGIONS,
    TRAFFIC,
    EVENTS,
    BOX_EVENTS,
    INCIDENTS,
    FACTS,
    HEIRS,
    NOTES,
    DUE,
    INTERVALS_NEW,
    INTERVALS_DAMAGED,
    INTERVALS_DUE,
    INTERVAL_BLOCKS,
    INTERVAL_NUMBERS,
    DISTURBANCES,
    PHENOMENA,
)
NUMBERED = (
    (EVENTS, "event_id"),
    (INCIDENTS, "incident_id"),
    (INCIDENTS, "group_id"),
    (NOTES, "note_id"),
    (PHENOMENA, "phenomena_id"),
)
"""Tables and fields whose numbers a counter of the field's name gives."""
REVISION = "joins"
DOCUMENTS_PER_BATCH = 200
BATCH_ROWS = 2000
WINDOW_ROWS = 20_000
MOST_NAMED = 200
"""Lines about what was left out that are kept; all are counted."""
FILES = "files"
"""What is copied, by the name in the report, beside the tables; the next two likewise."""
MEASUREMENTS = "measurements"
TRENDS = "trends"
SAMPLES = "samples of findings"
"""Files of a MongoDB, which the embedded store does not have."""
NOT_COMPARED = frozenset({DUE.name, SAMPLES})
"""Marks of what is rolled up next; an original has none. Samples are made from events, too."""
MARK = "store-copy"
"""In the target's table of leases: how far the copy is."""
FOR_EVER_S = 2**33
Shown = Callable[[str, int], None]
StoredFile = tuple[str, bytes, Fields, Fields]
"""Name, bytes and metadata of a file, and the document that names it."""


@dataclass
class Copied:
    """What was read of one table, and where reading goes on."""

    count: int = 0
    sum: str = "0"
    """Hexadecimal, of all documents in any order."""
    left: int = 0
    """Documents that could not be read."""
    place: Any = None
    done: bool = False

    def add(self, sums: list[int]) -> None:
        self.count += len(sums)
        self.sum = f"{(int(self.sum, 16) + sum(sums)) % 2**128:x}"


@dataclass
class CopyReport:
    """Table -> what was read of it, and lines about what was left out."""

    copied: dict[str, Copied] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def of(self, name: str) -> Copied:
        return self.copied.setdefault(name, Copied())

    def leave(self, name: str, line: str, documents: int = 1) -> None:
        self.of(name).left += documents
        if len(self.problems) < MOST_NAMED:
            self.problems.append(line)


def copy_store(
    source: CloudStore, target: CloudStore, origin: str, shown: Shown = lambda name, count: None
) -> CopyReport:
    """Copies everything, or goes on with it.

    Args:
        origin: names the source; a copy goes on only with the same one.
        shown: is called with the table and the number of documents so far.
    Raises:
        StoreError: the target has other data, or differs at the end; a database failed.
    """
    copy = _Copy(source, target, shown, samples=target.place[0] is not None)
    copy.begin(origin)
    report = copy.run()
    target.complete_copy()
    stored = read_store(target, shown).copied
    different = [
        f"{name} ({one.count:,} read, {stored[name].count:,} stored)"
        for name, one in report.copied.items()
        if name not in NOT_COMPARED
        and (one.count, one.sum) != (stored[name].count, stored[name].sum)
        and (one.count or name != RETENTION.name)  # a MongoDB has the default
    ]
    if different:
        raise StoreError(f"the copy differs from what was read: {', '.join(different)}; empty it, copy again")
    target.people.documents.remove(LEASES, MARK)
    return report


def read_store(
    source: CloudStore, shown: Shown = lambda name, count: None, samples: bool = False
) -> CopyReport:
    """Reads all that a copy would, and writes nothing.

    `samples`: reads those of findings too, which a copy from a MongoDB into an embedded store leaves out.
    """
    return _Copy(source, None, shown, samples).run()


class _Copy:
    """One run; the report is noted in the target after each batch."""

    def __init__(self, source: CloudStore, target: CloudStore | None, shown: Shown, samples: bool) -> None:
        self._source, self._target, self._shown, self._with_samples = source, target, shown, samples
        self._report = CopyReport()
        self._origin = ""

    def begin(self, origin: str) -> None:
        assert self._target is not None
        mark = self._target.people.documents.get(LEASES, MARK)
        if mark is None:
            if found := [name for name, count in self._target.counts().items() if count]:
                raise StoreError(f"the target has {found[0]} already; copy into an empty store")
            self._target.people.documents.insert(LEASES, MARK, {"from": origin})
        elif mark["from"] != origin:
            raise StoreError(
                f"the target holds a part of a copy of {mark['from']}; empty it, or continue that copy"
            )
        else:
            copied = {name: Copied(**each) for name, each in mark.get("copied", {}).items()}
            self._report = CopyReport(copied, list(mark.get("problems", ())))
        self._origin = origin

    def run(self) -> CopyReport:
        people = self._source.people.documents
        target = self._target
        for table in TABLES:
            self._copy_table(table, self._source.driver, None if target is None else target.driver)
        self._copy_limits()
        if people.driver.exists():
            for name, table in people.tables.items():
                if name != LEASES:
                    to = None if target is None else target.people.documents.driver
                    self._copy_table(table, people.driver, to)
        self._copy_trends()
        self._copy_measurements()
        if target is not None:
            self._copy_numbers(target)
        return self._report

    def _note(self, name: str, place: object, done: bool = False) -> None:
        copied = self._report.of(name)
        copied.place, copied.done = place, done
        self._shown(name, copied.count)
        if self._target is not None:
            mark: Fields = {"from": self._origin, **asdict(self._report)}
            self._target.people.documents.change(LEASES, MARK, lambda before: mark)

    def _copy_limits(self) -> None:
        """Copies limits and settings of triggers, which a MongoDB has in two documents."""
        config, copied = self._source.makai_config(), self._report.of(MAKAI_CONFIG.name)
        if copied.done:
            return
        if config is not None:
            for problem in config.problems:
                self._report.leave(MAKAI_CONFIG.name, f"{MAKAI_CONFIG.name}: {problem}")
            stated = {**limits_document(config), **settings_document(config)}
            copied.add([document_sum(MAKAI_CONFIG, stated)])
            if self._target is not None:
                self._target.put_makai_config(config)
        self._note(MAKAI_CONFIG.name, None, done=True)

    def _copy_table(self, table: Table, source: Driver, target: Driver | None) -> None:
        copied = self._report.of(table.name)
        if copied.done:
            return
        try:
            with source.read() as documents:
                if copied.place is None and (keyless := _keyless(documents, table)):
                    line = f"{table.name}: {keyless} documents have no {table.key[0]} of ours"
                    self._report.leave(table.name, line, keyless)
                ordered = target is not None or table is not BOX_EVENTS  # the original has no index there
                for batch, place in _batches(documents, table, copied.place, ordered):
                    self._copy_batch(documents, table, batch, target)
                    self._note(table.name, place, done=place is None)
        except ValueError as error:  # SQLite's JSON
            line = f"{table.name}: a document is damaged, and those after it were not read ({error})"
            if target is not None:
                raise StoreError(f"{line}; opq-tools store repair leaves it out") from error
            self._report.leave(table.name, line)
        self._note(table.name, None, done=True)

    def _copy_batch(
        self, documents: Documents, table: Table, batch: list[Fields], target: Driver | None
    ) -> None:
        report = self._report
        copied: dict[object, Fields] = {}
        files: list[StoredFile] = []
        for place, document in enumerate(batch):
            name = f"{table.name} {' '.join(str(document.get(each)) for each in table.key)}"
            try:
                new = copied_document(table, document)
                own = list(files_of(table, document))
            except READ_ERRORS as error:
                report.leave(table.name, f"{name}: cannot be read ({type(error).__name__}: {error})")
                continue
            key = tuple(new[each] for each in table.key) or place
            if key in copied:
                report.leave(table.name, f"{name}: another one has the same number")
                continue
            copied[key] = new
            for each in own:
                try:
                    data = documents.read_file(each.names, each.file, each.box_id)
                except StoreError as error:
                    report.leave(FILES, str(error))
                else:
                    files.append((each.name, data, {"event_id": each.event_id, "box_id": each.box_id}, new))
        samples = self._samples(documents, batch, copied) if table is INCIDENTS else []
        if target is not None:
            target.write(partial(_store, table=table, new=list(copied.values()), files=[*files, *samples]))
        report.of(table.name).add([document_sum(table, each) for each in copied.values()])
        for name, stored in ((FILES, files), (SAMPLES, samples)):
            report.of(name).add([sum_of(each.encode() + b"\0" + data) for each, data, *_ in stored])

    def _samples(
        self, documents: Documents, batch: list[Fields], copied: dict[object, Fields]
    ) -> list[StoredFile]:
        """Returns the samples that a MongoDB keeps with findings, whose events may have expired.

        Their documents get the Measurements that are kept in them.
        """
        if not documents.original or not self._with_samples:
            return []
        files: list[StoredFile] = []
        named = {int(each["incident_id"]): each for each in batch if each.get("gridfs_filename")}
        wanted: list[Condition] = [("incident_id", "in", list(named))]
        for row in documents.find(INCIDENTS, wanted, fields=("incident_id", "measurements")):
            number = int(row["incident_id"])
            new, place = copied.get((number,)), named[number].get("samples")
            if new is None:
                continue
            name = samples_file(number)
            try:
                data = documents.read_file([str(named[number]["gridfs_filename"])])
            except StoreError as error:
                self._report.leave(SAMPLES, str(error))
                continue
            kept = {"gridfs_filename": name, "measurements": plain_value(row.get("measurements") or [])}
            new |= kept if place is None else {**kept, "samples": plain_value(place)}
            files.append((name, data, {"incident_id": number}, new))
        return files

    def _copy_trends(self) -> None:
        report, done = self._report.of(TRENDS), self._report.of(TRENDS).place
        if report.done:
            return
        with self._source.driver.read() as documents:
            mark = documents.trends.unmarked(1) is not None  # the original has no longer levels
            for level, length_ms in enumerate(LEVELS_MS):
                for box_id, (first_ms, last_ms) in sorted(documents.trends.spans(length_ms).items()):
                    if done is not None and [level, box_id] <= done:
                        continue
                    for start_ms in range(first_ms, last_ms + 1, window := WINDOW_ROWS * length_ms):
                        self._copy_rows(documents, box_id, length_ms, start_ms, start_ms + window, mark)
                    self._note(TRENDS, [level, box_id])
        self._note(TRENDS, None, done=True)

    def _copy_rows(
        self, documents: Documents, box_id: str, length_ms: int, start_ms: int, end_ms: int, mark: bool
    ) -> None:
        rows = documents.trends.rows(box_id, length_ms, start_ms, end_ms)
        minutes = length_ms == TREND_MS
        places = documents.trends.locations(box_id, start_ms, end_ms) if minutes else {}
        ttl_s = self._source.ttls().trends
        kept_s = FOR_EVER_S if ttl_s is None else ttl_s

        def job(stored: Documents) -> None:
            for each in rows:
                expire_at = each.start_ms // 1000 + kept_s
                if minutes:
                    place = places.get(each.start_ms, "unknown")
                    stored.trends.put_minute(each, place, expire_at, False)
                else:
                    stored.trends.put_row(each, expire_at)
            if minutes and mark:
                first = {"length_ms": TEN_MINUTES_MS, "box_id": box_id, "puts": 1}
                due = {each.start_ms // TEN_MINUTES_MS * TEN_MINUTES_MS for each in rows}
                stored.put(DUE, ({**first, "start_ms": each} for each in due))

        if self._target is not None and rows:
            self._target.driver.write(job)
        self._report.of(TRENDS).add([trend_sum(each, places.get(each.start_ms, "")) for each in rows])

    def _copy_measurements(self) -> None:
        copied = self._report.of(MEASUREMENTS)

        def damaged(line: str) -> None:
            self._report.leave(MEASUREMENTS, line)

        if copied.done:
            return
        batch: list[Measurement] = []
        last: LogPlace = copied.place or ()
        for place, rows in self._source.all_measurements(damaged, last):
            if len(batch) >= BATCH_ROWS and place != last:
                self._copy_rows_of_log(batch)
                self._note(MEASUREMENTS, list(last))
                batch = []
            batch += rows
            last = place
        self._copy_rows_of_log(batch)
        self._note(MEASUREMENTS, None, done=True)

    def _copy_rows_of_log(self, rows: list[Measurement]) -> None:
        unique = {
            (each.box_id, each.sequence, each.sequence is None and each.timestamp_ms): each for each in rows
        }
        if self._target is not None:
            self._target.append_measurements(unique.values())
        copied = self._report.of(MEASUREMENTS)
        copied.add([measurement_sum(each) for each in unique.values()])
        copied.left += len(rows) - len(unique)

    def _copy_numbers(self, target: CloudStore) -> None:
        with self._source.driver.read() as documents:
            names = (REVISION, *(name for _, name in NUMBERED))
            known = {name: documents.number(name) or 0 for name in names}
            identity = documents.number(IDENTITY)

        def job(stored: Documents) -> None:
            for name, number in known.items():
                stored.raise_number(name, number)
            for table, name in NUMBERED:  # the original counts in its documents
                for highest in stored.find(table, sort=(f"-{name}",), limit=1):
                    stored.raise_number(name, int(highest[name]))
            if identity is not None:
                stored.first_number(IDENTITY, identity)

        target.driver.write(job)


def _having_key(table: Table, start: Any = None) -> list[Condition]:
    lowest = "" if table.key[0] in TEXT_FIELDS else -(2**62)
    return [(table.key[0], ">=", lowest if start is None else start)]


def _keyless(documents: Documents, table: Table) -> int:
    """Returns how many documents have no key, or one of another type."""
    if not table.key:
        return 0
    return documents.count(table, (), 2**31 - 1) - documents.count(table, _having_key(table))


def _batches(
    documents: Documents, table: Table, start: Any, ordered: bool
) -> Iterator[tuple[list[Fields], Any]]:
    """Yields documents by the first field of their key, and the value where reading goes on; None: the end.

    Those of one value stand together.
    """
    if not table.key:
        if whole := list(documents.find(table)):  # without any, a MongoDB keeps its default
            yield whole, None
        return
    batch: list[Fields] = []
    found = documents.find(table, _having_key(table, start), sort=table.key[:1] if ordered else ())
    for value, group in groupby(found, key=itemgetter(table.key[0])):
        if len(batch) >= DOCUMENTS_PER_BATCH:
            yield batch, value
            batch = []
        batch += group
    if batch:
        yield batch, None


def _store(stored: Documents, table: Table, new: list[Fields], files: list[StoredFile]) -> None:
    """Stores documents and their files; again, it changes nothing."""
    for name, data, metadata, document in files:
        file = stored.put_file(name, data, metadata)
        if table is BOX_EVENTS and file is not None:
            document["data_fs_id"] = file
        stored.keep_file(name, file)
    if table.key:
        stored.put(table, new)
        return
    stored.remove(table, ())
    for each in new:
        stored.insert(table, each)
