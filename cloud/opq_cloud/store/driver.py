"""The interface of a database for the store: tables of documents, numbers and files; `tables.py` has the
tables.

All records but the measurement log are written once, over this interface. It has two implementations: SQLite
(`embedded_driver.py`) runs a job of several steps in one transaction; MongoDB (`mongo_driver.py`) runs it
step by step. So each step is atomic by itself, and their order allows a kill between them: the same job, run
again, completes them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar

from opq_cloud.store.documents.readable import ReadableDocuments
from opq_proto.messages import Trend

T = TypeVar("T")
Fields = dict[str, Any]
"""A document: JSON values by field name."""
Key = tuple[Any, ...]
Changed = Callable[[Fields | None], Fields | None]
"""Makes the new document from the stored one (None: there is none); None changes nothing.

It may be called several times. It must not change what it is given, below the document's own fields.
"""


@dataclass(frozen=True, eq=False, slots=True)
class Table:
    """A table of SQLite and a collection of MongoDB with the same documents."""

    name: str
    key: tuple[str, ...] = ()
    """Fields that name a document; without any, the table has one document, or rows that are only added."""
    collection: str = ""
    """The collection's name where it is not the table's."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Field -> SQLite's column; all fields are in the JSON column `document` too."""
    ahead: tuple[str, ...] = ()
    """Fields whose column counts: it is changed without the JSON."""
    derived: Mapping[str, str] = field(default_factory=dict)
    """Field -> column that SQLite makes of the JSON, or an expression that an index has."""
    in_columns: bool = False
    """Whether all fields are columns, and there is no JSON column."""
    values: tuple[str, str, str] | None = None
    """A field that is a set of texts, SQLite's table of (text, sort field, key), and the sort field."""
    listed: tuple[str, str] | None = None
    """A field that is a list, and SQLite's table of (item, key), an index for `has` that triggers keep."""
    id_field: str = ""
    """The field that is `_id` in MongoDB."""
    identity: Callable[[Fields], object] | None = None
    """Makes `_id` of a document of this project; the original's have another one."""
    remembered: bool = False
    """Whether SQLite's texts are remembered with their documents: all are read often, few of them change."""
    indexed: tuple[str, ...] = ()
    """Fields whose indexes MongoDB makes with the first document; `email` is unique."""
    large: tuple[str, ...] = ()
    """Fields that are not read."""
    kept: tuple[str, ...] = ()
    """Fields that keep their value in MongoDB when the document is put again; people fill them."""
    wide: bool = False
    """Whether all whole numbers have 64 bits in MongoDB."""
    foreign_boxes: bool = False
    """Whether other programs write documents too, in which a Box may be a number instead of a text."""
    versioned: bool = True
    """Whether each change of a document raises its `_revision` in MongoDB; the original's have none."""


@dataclass(frozen=True, slots=True)
class EarliestStart:
    """The earliest `start_ns` of documents that end after a moment, as the value of a condition.

    A hint, without which a search reads the rows of all years; 0 where too many documents end after it.
    """

    table: Table
    after_ns: int


Condition = tuple[str, str, Any]
"""Field, operator and value; all conditions of a search hold.

Operators: `=`, `!=` (also for None), `<`, `<=`, `>`, `>=`, `in` (a list; an index serves the first one),
`not in` (a list), `has` (of a set of texts: one text), `has any` (one of several), `contains` (a part
of a text).
"""
Where = Sequence[Condition]


TrendPlace = tuple[str, int]
"""Box and start of a minute."""


class TrendRows(Protocol):
    """Rows of trends, which each database stores in its own form; steps of a job, like those of `Documents`.

    TTLs (`ttl_s`) and `expire_at` are for the database that needs them: the one or the other.
    """

    def rows(self, box_id: str, length_ms: int, start_ms: int, end_ms: int) -> list[Trend]:
        """Returns rows of a level that begin in [start_ms, end_ms), in the order of time.

        Minutes may have been merged into hours, which are returned with them.
        """

    def put_minute(self, row: Trend, location: str, expire_at: int, widen: bool) -> bool:
        """Puts a minute, or widens the stored one by it; returns whether there was one.

        Without `widen`, it replaces the minute, unless that is part of an hour by now.
        """

    def put_row(self, row: Trend, expire_at: int) -> None:
        """Puts a row of a longer level, in place of the stored one."""

    def settled_hour(self, box_id: str, start_ms: int) -> list[Trend]:
        """Moves the minutes of an hour to where they stay; returns the hour they were merged into, if any."""

    def merge_hour(self, box_id: str, start_ms: int) -> object:
        """Merges the minutes of an hour into one row, where minutes are not kept for ever."""

    def sweep_settled(self) -> None:
        """Removes a slice of the minutes that were moved."""

    def unmarked(self, limit: int) -> tuple[list[TrendPlace], object] | None:
        """Returns the next minutes whose roll-up is not marked as due, and what `note_marked` notes of them.

        None: all are marked.
        """

    def note_marked(self, last: object) -> None:
        """Notes up to where minutes are marked; None: all are."""

    def expire_minutes(self, now_s: int, ttl_s: int | None, minutes_s: int | None, limit: int) -> int:
        """Removes a slice of expired minutes, or merges into hours those older than `minutes_s`.

        Returns how many are gone. None: they are not removed, or not merged.
        """

    def old_rows(self, now_s: int, ttl_s: int | None, minutes_s: int | None, limit: int) -> list[object]:
        """Returns what names expired rows of longer levels, for `remove_rows`."""

    def remove_rows(self, old: Sequence[object]) -> int: ...

    def remove_box(self, box_id: str, limit: int) -> int:
        """Removes a slice of a Box's rows of all levels; returns how many, 0 where none are left."""

    def count(self) -> int:
        """Returns the number of minutes."""

    def spans(self, length_ms: int) -> dict[str, tuple[int, int]]:
        """Returns Box -> start of its first and of its last row of a level; reads the whole table."""

    def locations(self, box_id: str, start_ms: int, end_ms: int) -> dict[int, str]:
        """Returns start -> location of the minutes that begin in [start_ms, end_ms)."""


class Documents(Protocol):
    """The steps of a job; each is atomic over threads and processes.

    Attributes:
        atomic: whether others see all steps of a job, or none.
        original: whether programs of the original may have written documents too.
    """

    atomic: bool
    original: bool

    @property
    def trends(self) -> TrendRows: ...

    def get(self, table: Table, *key: object) -> Fields | None: ...

    def find(
        self,
        table: Table,
        where: Where = (),
        *,
        sort: Sequence[str] = (),
        beyond: Key = (),
        limit: int | None = None,
        fields: Sequence[str] = (),
        batch: int | None = None,
    ) -> Iterator[Fields]:
        """Yields documents, while they are read.

        Args:
            sort: fields; all rise, or all fall where the first begins with `-`.
            beyond: values of the sort fields, after which the documents begin.
            fields: those that are needed; others may be missing.
            batch: documents that a server sends at once; it sends many more by default.
        """

    def count(self, table: Table, where: Where = (), most: int | None = None) -> int:
        """Returns the number of documents; `most` stands for that many or more."""

    def tally(self, table: Table, where: Where, field: str) -> dict[Any, int]:
        """Returns value of a field -> number of documents, without those that have no value."""

    def distinct(self, table: Table, field: str, above: int, limit: int) -> list[int]:
        """Returns the next whole numbers of an indexed field above `above`, rising."""

    def insert(self, table: Table, document: Fields) -> bool:
        """Inserts a document; False, with nothing stored, where the key or a unique field exists."""

    def put(self, table: Table, documents: Iterable[Fields]) -> None:
        """Inserts documents, or replaces those with the same key."""

    def add(self, table: Table, documents: Sequence[Fields]) -> int:
        """Inserts those documents whose key is not there, by one request; returns how many."""

    def change(self, table: Table, key: Key, changed: Changed) -> bool:
        """Replaces a document by what `changed` returns for it, or inserts that; False: nothing changed."""

    def set_fields(self, table: Table, where: Where, values: Mapping[str, Any]) -> int:
        """Sets fields of all documents that fit; returns how many fit. This is a compare-and-set."""

    def add_values(self, table: Table, key: object, texts: Iterable[str]) -> None:
        """Adds to the set of texts of a document, where the document exists."""

    def remove_values(self, table: Table, key: object, texts: Iterable[str]) -> None: ...

    def remove(self, table: Table, where: Where, limit: int | None = None) -> int:
        """Removes all documents that fit, or `limit` of them; returns how many."""

    def take(self, table: Table, *key: object) -> Fields | None:
        """Removes a document and returns it; where several callers remove it, one gets it."""

    def number(self, name: str) -> int | None:
        """Returns the value of a counter."""

    def next_numbers(self, name: str, count: int = 1) -> list[int]:
        """Returns the next values of a counter, from 1, rising over processes and restarts.

        They are above the numbers that other programs have stored.
        """

    def note_taken(self, number: int) -> None:
        """Notes that another program has stored a finding with a number that was given here."""

    def raise_number(self, name: str, value: int | None = None) -> None:
        """Sets a counter to at least `value`, or raises it by one."""

    def first_number(self, name: str, drawn: int) -> int:
        """Returns the value of a counter; sets it to `drawn` if it has none."""

    def put_file(self, name: str, data: bytes, metadata: Fields) -> object:
        """Stores a file; returns what names it until `keep_file`. Readers may still see an older one."""

    def keep_file(self, name: str, file: object) -> None:
        """Deletes the other files of this name."""

    def drop_file(self, file: object) -> None:
        """Deletes a file that was put and that no document names."""

    def read_file(self, names: Sequence[str], file: object = None, box_id: str = "") -> bytes:
        """Reads a whole stored file.

        Args:
            names: where it may be stored; the first that has a file counts. The embedded store writes under
                the first alone.
            file: its id, where it is known: that file is read, and `names` are not looked at.
            box_id: a file that says it belongs to another Box does not count.
        Raises:
            StoreError: there is none, or its bytes differ from those that were written.
        """

    def delete_files(self, names: Iterable[str]) -> None: ...

    def count_files(self) -> int: ...

    def beat(self) -> None:
        """Renews the lock that `exclusive` took, so that a long job keeps it; does nothing without a lock."""


class NumberService(Protocol):
    """Who gives the numbers of findings and incidents; a service of the original may, in its database."""

    def await_service(self) -> None:
        """Lets every process wait with its numbers until one of the other methods has stated the service."""

    def number_here(self, bound_s: float, asked: bool) -> bool:
        """States that the store's counter gives the numbers; False: it is not certain yet.

        Args:
            bound_s: since when (s, UTC) the address for numbers is ours.
            asked: whether a plug-in of the original has drawn a number there.
        """

    def number_at(self, address: str) -> int | None:
        """States that the service at an address gives the numbers; None: no other program numbers this store.

        Returns a number that it gave. Raises StoreError: it does not answer, or numbers another store.
        """

    def restate(self) -> None:
        """States the service again, where this process has stated it and processes wait again."""


class ExpirySlice(NamedTuple):
    """How many expired documents, with their files, are removed at once."""

    rows: int
    """Of a table without files."""
    events: int
    files: int
    """Files of these events; of one event all."""
    findings: int


class Driver(Protocol):
    """An open database; from any thread. Every failure is a StoreError with one line."""

    original: bool
    """As `Documents.original`: known without a transaction."""

    @property
    def expired_at_once(self) -> ExpirySlice: ...

    @property
    def readable(self) -> ReadableDocuments: ...

    @property
    def read_only(self) -> bool:
        """Whether nothing can be written, because the file system is mounted read-only."""

    @property
    def lost_file(self) -> str | None:
        """What happened to the open database's file; None if it is unchanged, or not a file."""

    @property
    def numbers(self) -> NumberService: ...

    @property
    def foreign_numbers(self) -> str | None:
        """Whether another service numbers incidents too, and what to change; None: it does not."""

    def lost_incidents(self) -> int:
        """Returns how many incidents another service has lost, because both used their numbers."""

    def others(self, known: Iterable[str]) -> dict[str, int]:
        """Returns collection -> documents of those that are not `known` and that the driver does not make."""

    def bytes_of(self, counts: Mapping[str, int]) -> dict[str, int]:
        """Returns bytes of those of these collections whose size is known.

        MongoDB's include indexes; SQLite's do not, and follow from the newest rows and `counts`.
        """

    def read(self) -> AbstractContextManager[Documents]:
        """Returns the documents for reading; with SQLite all reads see one state of the file."""

    def write(self, job: Callable[[Documents], T]) -> T:
        """Runs a job and returns its result, which is on disk then. The job may be run several times."""

    def submit(self, job: Callable[[Documents], T]) -> Future[T]:
        """Begins to do the same, in the order of the calls; those that wait together may share a commit."""

    def exclusive(self, name: str, job: Callable[[Documents], T | None]) -> T | None:
        """Runs a job that one of all processes runs at a time; None where it lost that right meanwhile."""

    def close(self) -> None: ...
