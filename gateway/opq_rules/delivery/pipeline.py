"""Pipeline: one action of one rule, on its sink's thread.

It batches, transforms and sends. After an OSError of the sink the parcel is stored, everything after it
waits, and all is sent again in order. The same happens when a sink cannot be opened, whatever it raises,
because the parcel is not the cause. Any other error drops the parcel, because sending it again would not
help: its rows go to the dead-letter file. After a PermanentError of several rows each row is sent by itself,
so that only the bad row is dropped.

RefusedParcels: parcels that a sink could not take, in order, first in memory, then on disk. A kill does not
lose parcels on disk, because each is a row of SQLite, written before it counts as stored.
"""

import sqlite3
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from opq_plugins.sdk import Context, PermanentError, Sink
from opq_proto.kit.sqlite_file import SqliteFile
from opq_rules.delivery.dead_letters import DeadLetters
from opq_rules.delivery.transform import SinkProperties, transformer
from opq_rules.values.batch import Emission, Row

_MIGRATIONS = ("CREATE TABLE kept (n INTEGER PRIMARY KEY, parcel BLOB NOT NULL)",)
_APPLICATION_ID = int.from_bytes(b"opqp")


@dataclass(slots=True)
class Parcel:
    """Rows for one call of the sink, before the transform, with the id of each row and of each emission.

    Parcels are never changed; the class is not frozen because making one would take twice as long.
    """

    rows: list[Row]
    row_ids: tuple[str, ...]
    emission_ids: tuple[str, ...]
    single: bool = False


class RefusedParcels:
    """A queue of Parcels that survives a restart. Used by one thread.

    `path` None: memory only. While there is a parcel on disk, new ones go there too, so that order is kept.
    """

    def __init__(self, path: Path | None, memory_limit: int, disk_limit: int) -> None:
        self.lost = 0
        self._memory: deque[Parcel] = deque()
        self._memory_limit, self._disk_limit = max(1, memory_limit), disk_limit
        self._disk: SqliteFile | None = None
        self._on_disk = 0
        if path is not None and disk_limit > 0:
            self._disk = SqliteFile(path, _MIGRATIONS, application_id=_APPLICATION_ID, synchronous="NORMAL")
            self._on_disk = int(self._disk.query("SELECT COUNT(*) FROM kept")[0][0])

    def __len__(self) -> int:
        return len(self._memory) + self._on_disk

    def add(self, parcel: Parcel) -> tuple[str, ...]:
        """Adds a parcel at the end; returns the ids of emissions that were dropped for it, or ()."""
        if self._disk is not None and (self._on_disk or len(self._memory) >= self._memory_limit):
            self._disk.execute("INSERT INTO kept (parcel) VALUES (?)", (msgspec.msgpack.encode(parcel),))
            self._on_disk += 1
            if self._on_disk <= self._disk_limit:
                return ()
            oldest = self.first()
            self.drop_first()
            self.lost += 1
            return oldest.emission_ids if oldest else ()
        self._memory.append(parcel)
        if self._disk is None and len(self._memory) > self._memory_limit:
            self.lost += 1
            return self._memory.popleft().emission_ids
        return ()

    def first(self) -> Parcel | None:
        if self._memory:
            return self._memory[0]
        if self._disk is None or not self._on_disk:
            return None
        found = self._disk.query_row("SELECT parcel FROM kept ORDER BY n LIMIT 1")
        return msgspec.msgpack.decode(found[0], type=Parcel) if found else None

    def drop_first(self) -> None:
        if self._memory:
            self._memory.popleft()
        elif self._disk is not None and self._on_disk:
            self._disk.execute("DELETE FROM kept WHERE n = (SELECT MIN(n) FROM kept)")
            self._on_disk -= 1

    def clear(self) -> None:
        self._memory.clear()
        if self._disk is not None:
            self._disk.execute("DELETE FROM kept")
            self._on_disk = 0

    def close(self) -> Sequence[str]:
        """Moves parcels from memory to disk, before those on disk; returns the ids of emissions that cannot
        be stored."""
        if self._disk is None:
            return [each for parcel in self._memory for each in parcel.emission_ids]
        first = self._disk.query("SELECT MIN(n) FROM kept")[0][0]
        below = (first if first is not None else 1) - len(self._memory)
        self._disk.execute_many(
            "INSERT INTO kept VALUES (?, ?)",
            [(n, msgspec.msgpack.encode(parcel)) for n, parcel in enumerate(self._memory, start=below)],
        )
        self._memory.clear()
        self._disk.close()
        return []


LONGEST_WAIT_S = 30.0
"""Longest time between two tries of a sink that does not answer."""

LOG_PERIOD_S = 60.0
"""Shortest time between two log lines about dropped parcels; each one is counted."""


@dataclass(slots=True)
class SinkCounters:
    """The counters of one action, shown in the rule's status."""

    emissions_out: int = 0
    exceptions_total: int = 0
    lost_total: int = 0
    last_exception: str = ""
    last_exception_time: int = 0
    connection_status: int = 0
    dead_letters_total: int = 0
    """Rows in the dead-letter file."""


@dataclass(slots=True)
class SinkSending:
    """A rule's context, with the ids of the rows being sent. It is the sink's `SinkContext`."""

    of: Context
    row_ids: Sequence[str] = ()
    op_id: str = field(init=False)
    instance_id: int = field(init=False)

    def __post_init__(self) -> None:
        self.op_id, self.instance_id = self.of.op_id, self.of.instance_id

    @property
    def rule_id(self) -> str:
        """The rule of the present emission; rules may share a sink."""
        return self.row_id.rpartition(":")[0] or self.of.rule_id

    @property
    def row_id(self) -> str:
        return self.row_ids[0] if self.row_ids else ""

    def log(self, event: str, **facts: object) -> None:
        self.of.log(event, **facts)

    def get_state(self, key: str) -> object:
        return self.of.get_state(key)

    def put_state(self, key: str, value: object) -> None:
        self.of.put_state(key, value)


class Pipeline:
    """Sends emissions of one action. `done(ids)`: these emissions were sent, dropped or lost.

    `refused` holds what the sink refuses; the caller sets its limits. `send` and `tick` are called by one
    thread; neither raises an error of the sink.
    """

    def __init__(
        self,
        sink: Sink,
        context: Context,
        properties: SinkProperties,
        refused: RefusedParcels,
        done: Callable[[Sequence[str]], None],
        monotonic_s: Callable[[], float] = time.monotonic,
        dead_letters: DeadLetters | None = None,
    ) -> None:
        self.counters = SinkCounters()
        self._sink, self._properties, self._refused, self._done = sink, properties, refused, done
        self._sending = SinkSending(context)
        self._dead_letters = dead_letters
        self._split: tuple[tuple[str, ...], int] = ((), 0)
        """The rows of a parcel that is sent one by one, and how many of them are done."""
        self._transform = transformer(properties)
        self._batching = properties.batchSize > 1 or properties.lingerInterval > 0
        self._now_s = monotonic_s
        self._rows: list[Row] = []
        self._row_ids: list[str] = []
        self._ids: list[str] = []
        self._linger_until_s: float | None = None
        self._failed_in_row = 0
        self._again_at_s: float | None = 0.0 if len(refused) else None
        self._is_open = False
        self._logged_at_s: float | None = None

    @property
    def waiting(self) -> int:
        """Parcels that the sink has not taken yet."""
        return len(self._refused)

    @property
    def due_s(self) -> float | None:
        """Monotonic time at which `tick` has something to do."""
        times = [each for each in (self._linger_until_s, self._again_at_s) if each is not None]
        return min(times) if times else None

    @property
    def own_counts(self) -> dict[str, int]:
        """The sink's own counters by name: its attribute `counts`."""
        return dict(getattr(self._sink, "counts", {}))

    def send(self, emission: Emission, emission_id: str) -> None:
        if not emission and self._properties.omitIfEmpty:
            self._done((emission_id,))
            return
        row_ids = [f"{emission_id}/{k}" for k in range(len(emission))]
        if not self._batching:
            self._hand_on(list(emission), row_ids, (emission_id,))
            return
        self._rows += emission
        self._row_ids += row_ids
        self._ids.append(emission_id)
        size = self._properties.batchSize
        if size > 1 and len(self._rows) >= size:
            self._flush()
        elif self._linger_until_s is None and self._properties.lingerInterval > 0:
            self._linger_until_s = self._now_s() + self._properties.lingerInterval / 1000

    def tick(self) -> None:
        """Sends a batch that has waited long enough, or refused parcels, if due."""
        now_s = self._now_s()
        if self._linger_until_s is not None and now_s >= self._linger_until_s:
            self._flush()
        if self._again_at_s is not None and now_s >= self._again_at_s:
            self._send_refused()

    def close(self) -> None:
        """Tries the last batch once; refused parcels go to disk if there is a cache."""
        self._flush()
        if self._refused and self._properties.cleanCacheAtStop:
            self._refused.clear()
        self.counters.lost_total += len(self._refused.close())
        self._end_sink()

    def _end_sink(self) -> None:
        if self._is_open:
            self._is_open = False
            self._sink.close(self._sending)
        else:  # it never opened, so there is nothing to close
            discard(self._sink)

    def _flush(self) -> None:
        rows, row_ids, ids = self._rows, self._row_ids, tuple(self._ids)
        self._rows, self._row_ids, self._ids, self._linger_until_s = [], [], [], None
        if ids:
            self._hand_on(rows, row_ids, ids)

    def _hand_on(self, rows: list[Row], row_ids: Sequence[str], ids: tuple[str, ...]) -> None:
        if self._properties.sendSingle and rows:
            last = len(rows) - 1
            for k, (row, row_id) in enumerate(zip(rows, row_ids, strict=True)):
                self._offer(Parcel([row], (row_id,), ids if k == last else (), single=True))
        else:
            self._offer(Parcel(rows, tuple(row_ids), ids))

    def _offer(self, parcel: Parcel) -> None:
        if len(self._refused) or not self._sent(parcel):
            self._refuse(parcel)
        else:
            self._done(parcel.emission_ids)

    def _refuse(self, parcel: Parcel) -> None:
        try:
            lost = self._refused.add(parcel)
        except sqlite3.Error as error:  # the cache's own disk is full or broken
            self._failed(error)
            lost = parcel.emission_ids
        if lost:
            self.counters.lost_total += 1
            self._done(lost)
        if self._again_at_s is None:
            self._again_at_s = self._now_s() + self._properties.retryInterval / 1000

    def _send_refused(self) -> None:
        while (parcel := self._refused.first()) is not None:
            if not self._sent(self._marked(parcel)):
                wait_s = min(
                    self._properties.retryInterval / 1000 * 2 ** min(self._failed_in_row, 10), LONGEST_WAIT_S
                )
                self._again_at_s = self._now_s() + wait_s
                return
            self._refused.drop_first()
            self._done(parcel.emission_ids)
            if self._properties.resendInterval and len(self._refused):
                self._again_at_s = self._now_s() + self._properties.resendInterval / 1000
                return
        self._again_at_s = None

    def _marked(self, parcel: Parcel) -> Parcel:
        """The parcel with the field that marks late rows, where one is configured."""
        field = self._properties.resendIndicatorField
        return replace(parcel, rows=[{**row, field: True} for row in parcel.rows]) if field else parcel

    def _sent(self, parcel: Parcel) -> bool:
        """Sends a parcel. False: the sink cannot be reached, and the parcel has to be sent again."""
        self._sending.row_ids = parcel.row_ids
        try:
            if not self._is_open:
                self._sink.open(self._sending)
                self._is_open = True
        except Exception as error:  # code of a plug-in
            return self._out_of_reach(error)
        if self._split[0] and self._split[0] == parcel.row_ids:
            return self._sent_one_by_one(parcel)
        try:
            data = self._transform(parcel.rows[0] if parcel.single else parcel.rows)
            self._sink.collect(self._sending, data)
        except OSError as error:
            return self._out_of_reach(error)
        except Exception as error:  # code of a plug-in, any data; the parcel is dropped, the rule continues
            if isinstance(error, PermanentError) and len(parcel.rows) > 1:
                return self._sent_one_by_one(parcel)
            self._failed(error)
            self.counters.lost_total += 1
            self._bury(parcel)
            self._log_dropped()
            return True
        if self.counters.connection_status < 0:
            self._log("sink.connected", waiting=len(self._refused))
        self.counters.emissions_out += len(parcel.emission_ids)
        self.counters.connection_status = 1
        self._failed_in_row = 0
        return True

    def _sent_one_by_one(self, parcel: Parcel) -> bool:
        """Sends the rows of a parcel one by one; a parcel that was partly sent continues after its last sent
        row."""
        done = self._split[1] if self._split[0] == parcel.row_ids else 0
        last = len(parcel.rows) - 1
        for k in range(done, last + 1):
            ids = parcel.emission_ids if k == last else ()
            if not self._sent(Parcel([parcel.rows[k]], (parcel.row_ids[k],), ids)):
                self._split = parcel.row_ids, k
                return False
        self._split = (), 0
        return True

    def _bury(self, parcel: Parcel) -> None:
        if self._dead_letters is None:
            return
        try:
            self._dead_letters.add(
                self._sending.rule_id, parcel.rows, parcel.row_ids, self.counters.last_exception
            )
        except OSError as error:
            self._failed(error)
            return
        self.counters.dead_letters_total += len(parcel.rows)

    def _out_of_reach(self, error: Exception) -> bool:
        """Records the failure; returns whether the parcel was given up."""
        self._failed(error)
        if self.counters.connection_status >= 0:
            self._log("sink.lost", why=self.counters.last_exception)
        self.counters.connection_status = -1
        self._failed_in_row += 1
        return self._given_up()

    def _given_up(self) -> bool:
        """Whether `retryCount` without a cache is used up, so that the parcel is dropped (the older way)."""
        if self._properties.enableCache or not self._properties.retryCount:
            return False
        if self._failed_in_row <= self._properties.retryCount:
            return False
        self._failed_in_row = 0
        self.counters.lost_total += 1
        return True

    def _log_dropped(self) -> None:
        now_s = self._now_s()
        if self._logged_at_s is None or now_s - self._logged_at_s >= LOG_PERIOD_S:
            self._logged_at_s = now_s
            self._log("sink.dropped", why=self.counters.last_exception, lost_total=self.counters.lost_total)

    def _log(self, event: str, **facts: object) -> None:
        self._sending.log(event, rule_id=self._sending.rule_id, **facts)

    def _failed(self, error: Exception) -> None:
        self.counters.exceptions_total += 1
        self.counters.last_exception = f"{type(error).__name__}: {error}"[:500]
        self.counters.last_exception_time = time.time_ns() // 1_000_000


def discard(made: object) -> None:
    """Releases a source or sink that was never opened; a plug-in's process frees its part."""
    forget = getattr(made, "discard", None)
    if callable(forget):
        forget()
