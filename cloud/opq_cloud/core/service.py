"""The interface of a service of the cloud, and the context that the services of one process share.

A service is a class with its frozen Config and one blocking `run`; the runner gives it a
thread, catches its exceptions, starts it again and reports its health. Rooms of the cloud import
this file and the store, never each other.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import nlargest
from operator import attrgetter
from pathlib import Path
from typing import Protocol, runtime_checkable

from opq_cloud.core.stage_times import StageTimes
from opq_cloud.store.store import CloudStore
from opq_proto.kit.system_record import SystemIdentity
from opq_proto.messages import Measurement, TimeSource
from opq_proto.time_units import HOUR_MS

STALE_S = 20.0
"""The original's health calls a component down after this time without a sign (docs/reference/opq-interop.md
A.11)."""
RETENTION_S = 60.0
RETENTION_PAUSE_S = 0.05
"""Pause between two slices of one pass."""
RETENTION_SHARE_S = 10.0
"""Time that one work of `Retention` takes before the next one's turn."""
EXPIRY_SHARES = 3
"""Shares that the deletion of what expired takes at once: a store of years may have millions of rows."""
MAX_LABELS = 1000
"""Distinct labels kept per counter; a flood of unknown keys must not fill the memory."""


class CloudService(Protocol):
    """A service: one task in one thread."""

    @property
    def name(self) -> str:
        """As in `opq-cloud NAME`, e.g. `triggering-broker`; a part adds `.part`: `mauka.bus`."""

    def run(self, stop: threading.Event, ready: threading.Event | None = None) -> None:
        """Works until `stop` is set (noticed within 0.2 s); sets `ready` when all addresses are bound.

        Opens and closes its own sockets, so that it can be called again after an exception.
        Raises PortBusyError, KeyFileError, ConfigError or StoreError when it cannot start.
        """


class ServiceCounters:
    """Named counts of one service, from any thread; each may be split by one label."""

    def __init__(self) -> None:
        self.stages = StageTimes()
        """Durations of the counted operations."""
        self._lock = threading.Lock()
        self._counts: dict[str, dict[str, float]] = {}

    def add(self, name: str, count: float = 1, label: str = "") -> None:
        """Raises `name` (a noun in snake_case, e.g. `refused`), split by `label` (a Box id, a key)."""
        with self._lock:
            row = self._counts.setdefault(name, {})
            if label not in row and len(row) >= MAX_LABELS:
                label = "other"
            row[label] = row.get(label, 0) + count

    def set(self, name: str, value: float, label: str = "") -> None:
        """Sets a level instead of a count, e.g. connections; the name ends in `_now`."""
        with self._lock:
            row = self._counts.setdefault(name, {})
            if label in row or len(row) < MAX_LABELS:
                row[label] = value

    def total(self, name: str) -> float:
        """Returns the sum over all labels; 0 when nothing was counted."""
        with self._lock:
            return sum(self._counts.get(name, {}).values())

    def levels(self, names: Iterable[str]) -> dict[str, float]:
        """Returns the sums over all labels of those of these that were counted or set."""
        with self._lock:
            return {name: sum(self._counts[name].values()) for name in names if name in self._counts}

    def of(self, name: str, label: str) -> float:
        with self._lock:
            return self._counts.get(name, {}).get(label, 0)

    def snapshot(self) -> dict[str, dict[str, float]]:
        """Returns name -> label (empty for none) -> value."""
        with self._lock:
            return {name: dict(row) for name, row in self._counts.items()}


@dataclass(frozen=True, slots=True)
class HealthReport:
    """One component in the original's health contract (docs/reference/opq-interop.md F.4)."""

    name: str
    ok: bool
    timestamp_s: int = field(default_factory=lambda: int(time.time()))
    info: str | None = None
    subcomponents: tuple["HealthReport", ...] = ()
    received_s: int | None = None
    """Of a Box: when its last Measurement arrived, while `timestamp_s` is when that was measured."""
    levels: Mapping[str, float] = field(default_factory=dict)
    """Lengths of queues and other levels by name, which only health collectors of ours read."""
    note: str = ""
    """What somebody should know though nothing is ill."""
    helps: str = ""
    """What to do, where it is not ok."""

    def as_json(self) -> dict[str, object]:
        received = {} if self.received_s is None else {"received": self.received_s}
        levels = {"levels": dict(self.levels)} if self.levels else {}
        words = {name: text for name, text in (("note", self.note), ("helps", self.helps)) if text}
        return {
            "name": self.name,
            "ok": self.ok,
            "timestamp": self.timestamp_s,
            **received,
            **levels,
            **words,
            "info": self.info,
            "subcomponents": [part.as_json() for part in self.subcomponents] or None,
        }


@runtime_checkable
class CountingService(Protocol):
    """A service whose counters appear in `/metrics`."""

    @property
    def counters(self) -> ServiceCounters: ...


@runtime_checkable
class HealthyService(Protocol):
    """A service with more health reports than whether its thread runs (e.g. of its Boxes)."""

    def health(self) -> Iterable[HealthReport]:
        """Returns its subcomponents now; must not block."""


UNKNOWN = "unknown"
"""In place of a Box id: connections in their handshake, or too many at once to identify."""
REFUSED = "refused"
"""In place of a Box id: connections whose key is not admitted, which are left open."""


@runtime_checkable
class ConnectedService(Protocol):
    """A service with Boxes connected to it."""

    def connections(self) -> dict[str, int]:
        """Box -> connections with its key; UNKNOWN and REFUSED where there are any. From any thread."""


@runtime_checkable
class StatusService(Protocol):
    """Mauka: rows of the original's `/status`."""

    def plugin_status(self) -> list[Mapping[str, object]]:
        """Returns {plugin_name, messages_recv, bytes_recv, last_recv, plugin_state} per plug-in."""


AHEAD_S = 86_400
"""A clock that is ahead of all Measurements with a known time by more is believed after this time."""
BOXES_ASKED = 20
"""Boxes of which trends of a day ago are read, each minute, while the clock is not believed."""


class CloudContext:
    """Shared by the services of one process: the store, opened when first needed."""

    def __init__(
        self,
        open_store: Callable[[], CloudStore],
        private: Sequence[Path] = (),
        system: SystemIdentity | None = None,
        config_files: Sequence[Path] = (),
    ) -> None:
        """`private`: folders with data and keys; `system`: which system answers; the files are for errors."""
        self.private, self.system = tuple(private), system
        self.config_files = tuple(config_files)
        self._open_store = open_store
        self._lock = threading.Lock()
        self._store: CloudStore | None = None

    @property
    def store(self) -> CloudStore:
        """The store. Raises StoreError when it cannot be opened."""
        with self._lock:
            if self._store is None:
                self._store = self._open_store()
            return self._store

    def unreadable(self) -> Mapping[str, int]:
        """Returns `CloudStore.unreadable` of the store; nothing while it is not open."""
        store = self._store  # no lock: health must not wait while it opens
        return {} if store is None else store.unreadable

    def store_problem(self) -> str | None:
        """Returns `CloudStore.problem`; None while the store is not open."""
        store = self._store  # no lock, as above
        return None if store is None else store.problem

    def numbers_problem(self) -> str | None:
        """Returns `CloudStore.numbers_problem`; None while the store is not open."""
        store = self._store  # no lock, as above
        return None if store is None else store.numbers_problem

    def close(self) -> None:
        with self._lock:
            if self._store is not None:
                self._store.close()
                self._store = None


class ExpiryClock:
    """The time up to which data expires: the machine's clock, where Measurements of a known time confirm it.

    A clock that is ahead of them by more than a day may be set wrongly, and would delete all at once. It is
    believed once it has been so for a day, in this process or by the trends of a day ago. Where all
    Measurements have expired, the last ones that were read confirm it, or the newest event and incident.
    """

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._confirmed_s = 0
        """Newest Measurement of a known time that was read last."""
        self._ahead_since_s: float | None = None

    def expiry_s(self, now_s: int, store: CloudStore) -> int:
        """Returns the time for `CloudStore.expire`. Raises StoreError."""
        newest = store.latest_measurements().values()
        known_ms = [each.timestamp_ms for each in newest if each.source is not TimeSource.FREE]
        self._confirmed_s = max(known_ms) // 1000 if known_ms else self._confirmed_s
        confirmed_s = self._confirmed_s
        if not newest and not confirmed_s:
            ends_ns = [each.end_ns for each in store.events(limit=1)]
            ends_ns += [each.end_ns for each in store.incidents(limit=1)]
            confirmed_s = max(ends_ns) // 10**9 if ends_ns else now_s
        if now_s <= confirmed_s + AHEAD_S:
            self._ahead_since_s = None
            return now_s
        at_s = self._monotonic_s()
        self._ahead_since_s = at_s if self._ahead_since_s is None else self._ahead_since_s
        is_believed = at_s - self._ahead_since_s >= AHEAD_S or _was_so_a_day_ago(now_s, store, newest)
        return now_s if is_believed else confirmed_s + AHEAD_S


def _was_so_a_day_ago(now_s: int, store: CloudStore, newest: Iterable[Measurement]) -> bool:
    """Whether the latest Boxes have trends of a day ago: a site without NTP may restart each day."""
    span_ms = (now_s - 2 * AHEAD_S) * 1000, (now_s - AHEAD_S) * 1000
    latest = nlargest(BOXES_ASKED, newest, key=attrgetter("timestamp_ms"))
    return any(store.trend_rows(each.box_id, *span_ms, HOUR_MS) for each in latest)


class Retention:
    """Deletes what expired, indexes and rolls up, each minute and by slices, so that no write waits."""

    name = "retention"

    def __init__(self, shared: CloudContext) -> None:
        self.counters = ServiceCounters()
        self._shared = shared
        self._damaged: str | None = None
        """What is damaged and set aside, in words."""
        self._clock = ExpiryClock()
        """Not of one run: an error of the store starts the service again."""

    def health(self) -> list[HealthReport]:
        """Notes what is damaged in the store."""
        return [HealthReport(self.name, True, info=self._damaged)]

    def run(self, stop: threading.Event, ready: threading.Event | None = None) -> None:
        """Gives each work a share of time in turn: in a store of years, one alone may last for hours."""
        store = self._shared.store
        if ready is not None:
            ready.set()
        works: tuple[tuple[str, int, Callable[[], int]], ...] = (
            ("rows_expired", EXPIRY_SHARES, lambda: store.expire(until, stopped=stop.is_set)),
            ("incidents_indexed", 1, store.index_slice),
            ("trends_rolled_up", 1, lambda: store.roll_up(time.time_ns() // 1_000_000)),
        )
        while True:
            busy = False
            until = self._clock.expiry_s(int(time.time()), store)
            for name, shares, work in works:
                until_s = time.monotonic() + shares * RETENTION_SHARE_S
                while not stop.is_set() and (done := work()):
                    self.counters.add(name, done)
                    stop.wait(RETENTION_PAUSE_S)
                    if time.monotonic() > until_s:
                        busy = True
                        break
            store.follow_original()
            self._damaged = store.intervals.damaged_words()
            if stop.wait(RETENTION_PAUSE_S if busy else RETENTION_S):
                return
