"""Runs services, each in its thread; contains their exceptions, and starts them again.

The one `except Exception` of the process: it logs the traceback, counts, waits and restarts. An error
that a user can correct (a busy port, a missing key) ends the process when it happens at the
start, with one line.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from opq_cloud.core.backend.waits import PollableEvent
from opq_cloud.core.descriptors import descriptors
from opq_cloud.core.service import (
    CloudService,
    ConnectedService,
    CountingService,
    HealthReport,
    HealthyService,
    StatusService,
)
from opq_cloud.core.service_conditions import ENDED, QUEUES
from opq_proto.errors import OpqError
from opq_proto.kit import log
from opq_proto.kit.backoff import Backoff
from opq_proto.kit.rate_limit import RateLimitedLog
from opq_proto.kit.watchdog import Heartbeats, Notifier, Watchdog

RESTART_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Waits before the first, second, ... restart in a row; the last one stays."""
STEADY_S = 60.0
"""After this time without a fault the waits begin again."""
READY_S = 15.0
JOIN_S = 5.0


@dataclass(slots=True)
class ServiceEntry:
    """One service and its state."""

    service: CloudService
    started_s: float = field(default_factory=time.time)
    up: bool = False
    restarts: int = 0
    last_error: str | None = None

    def health(self) -> HealthReport:
        info = None
        if self.restarts or not self.up:
            info = f"restarts: {self.restarts}" + (f"; last: {self.last_error}" if self.last_error else "")
        counts = self.service.counters if isinstance(self.service, CountingService) else None
        levels = {} if counts is None else counts.levels((*QUEUES, *ENDED))
        return HealthReport(self.service.name, self.up, info=info, levels=levels)

    def parts(self) -> tuple[HealthReport, ...]:
        """Returns the service's reports of its own parts."""
        return tuple(self.service.health()) if isinstance(self.service, HealthyService) else ()


class ServiceBoard:
    """The runner's record of its services, in the order of their start; health reads it."""

    def __init__(
        self,
        unreadable: Callable[[], Mapping[str, int]] = dict,
        store_problem: Callable[[], str | None] = lambda: None,
    ) -> None:
        """Both: see `CloudContext`. The first is counted as of the store, the second makes the whole ill."""
        self._unreadable, self._store_problem = unreadable, store_problem
        self.entries: list[ServiceEntry] = []
        self.note: str | None = None
        """A note for the operator about the whole, even if all services are well."""

    def add(self, service: CloudService) -> ServiceEntry:
        entry = ServiceEntry(service)
        self.entries.append(entry)
        return entry

    def health(self, name: str) -> HealthReport:
        """Returns the whole: ok when every service runs; one subcomponent per service and per part (Box)."""
        parts = {part.name: part for entry in self.entries for part in entry.parts()}
        services = [_worse(entry.health(), parts.pop(entry.service.name, None)) for entry in self.entries]
        if problem := self._store_problem():
            services.append(HealthReport("store", False, info=problem))
        down = [service.name for service in services if not service.ok]
        info = f"not ok: {', '.join(down)}" if down else self.note
        found = (*services, *parts.values())
        return HealthReport(name, not down, info=info, subcomponents=found, levels=descriptors())

    def plugin_status(self) -> list[dict[str, object]]:
        """Returns rows of the original Mauka's `/status`."""
        return [
            dict(row)
            for entry in self.entries
            if isinstance(entry.service, StatusService)
            for row in entry.service.plugin_status()
        ]

    def connections(self) -> dict[str, int]:
        """Returns Box -> connections with its key, over all brokers here."""
        found = Counter[str]()
        for entry in self.entries:
            if isinstance(entry.service, ConnectedService):
                found.update(entry.service.connections())
        return dict(found)

    def counts(self) -> Iterator[tuple[str, str, str, float]]:
        """Yields (service, counter, label, value) of all counters."""
        for entry in self.entries:
            name = entry.service.name
            yield name, "service_up_now", "", float(entry.up)
            yield name, "service_restarts", "", entry.restarts
            if isinstance(entry.service, CountingService):
                for counter, row in entry.service.counters.snapshot().items():
                    for label, value in row.items():
                        yield name, counter, label, value
        for collection, count in self._unreadable().items():
            yield "store", "documents_unreadable", collection, count

    def stages(self) -> Iterator[tuple[str, str, list[int], float]]:
        """Yields (service, stage, cumulative counts, sum in seconds), as `StageTimes.snapshot`."""
        for entry in self.entries:
            if isinstance(entry.service, CountingService):
                for stage, (counts, sum_s) in entry.service.counters.stages.snapshot().items():
                    yield entry.service.name, stage, counts, sum_s


def _worse(thread: HealthReport, own: HealthReport | None) -> HealthReport:
    """Combines the runner's report of a service with the service's own: trouble before a note."""
    if own is None or not thread.ok or (own.ok and thread.info):
        return thread
    return replace(own, levels=thread.levels)


class ServiceRunner:
    """The services of this process."""

    def __init__(self, board: ServiceBoard) -> None:
        self.stop = PollableEvent()
        self.failure: OpqError | None = None
        """The reason why the process ends, if it is not a signal."""
        self._board = board
        self._log = log.get()
        self._unreadable = RateLimitedLog(self._log)
        self._threads: list[threading.Thread] = []
        self._heartbeats = Heartbeats()
        self._notifier = Notifier(service="cloud")

    def start(self, services: Sequence[CloudService]) -> bool:
        """Starts them in order, each when the one before is ready; False when one could not start."""
        for service in services:
            entry = self._board.add(service)
            ready = threading.Event()
            thread = threading.Thread(
                target=self._supervise, args=(entry, ready), name=service.name, daemon=True
            )
            self._threads.append(thread)
            thread.start()
            until = time.monotonic() + READY_S
            while not (ready.wait(0.02) or self.stop.is_set()) and time.monotonic() < until:
                continue
            if self.stop.is_set():
                return False
            self._log.info("service.ready" if ready.is_set() else "service.not_ready", service=service.name)
        self._notifier.ready()
        return True

    def fail(self, error: OpqError) -> None:
        """Ends the process with this error."""
        self.failure = self.failure or error
        self.stop.set()

    def wait(self) -> bool:
        """Waits for a signal, or a service's failure at the start; then ends all. False: some did not end.

        Meanwhile the service manager's watchdog is fed while no service's thread hangs.
        """
        watched = [entry.service.name for entry in self._board.entries]
        Watchdog(self._notifier, self._heartbeats, watched, self._in_words).run(self.stop)
        self._notifier.stopping()
        until = time.monotonic() + JOIN_S
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        left = [thread.name for thread in self._threads if thread.is_alive()]
        if left:
            self._log.error("services.not_ended", services=left, waited_s=JOIN_S)
        return not left

    def _in_words(self) -> str:
        """One line for `systemctl status`."""
        try:
            health = self._board.health("")
        except Exception as error:  # a report must not end the services that it is about
            self._unreadable.exception("health.unreadable")
            return f"health cannot be read: {error!r}"
        return health.info or f"{len(self._board.entries)} services are well"

    def _supervise(self, entry: ServiceEntry, ready: threading.Event) -> None:
        service = entry.service
        restarts = Backoff(RESTART_S, steady_s=STEADY_S)
        beat = self._heartbeats.beat(service.name, self.stop)
        while not beat.is_set():
            began = time.monotonic()
            entry.up = True
            error: Exception | None = None
            try:
                service.run(beat, ready)
            except OpqError as caught:
                error = caught
                if not ready.is_set() and entry.restarts == 0 and not self.stop.is_set():
                    self.fail(caught)
                else:
                    self._log.error("service.failed", service=service.name, error=str(caught))
            except Exception as caught:
                error = caught
                self._log.exception("service.crashed", service=service.name)
            entry.up = False
            if self.stop.is_set():
                return
            entry.last_error = "ended by itself" if error is None else f"{type(error).__name__}: {error}"
            entry.restarts += 1
            pause_s = restarts.record_failure(ran_s=time.monotonic() - began)
            self._log.warning("service.restarting", service=service.name, pause_s=pause_s)
            beat.wait(pause_s)
