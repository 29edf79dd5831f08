"""Bulk: stored events through the same pure analyses, on the workers of a Dask scheduler.

Workers read the store for themselves and return findings; the caller writes them. So a worker that dies has
written nothing, and Dask gives its events to another one. At most a few calls per worker are under way at
once, however many events there are.

Dask's protocol is neither encrypted nor signed as we use it, and runs what it is given: scheduler and workers
belong in a network of their own.
"""

import json
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from opq_cloud.mauka.running.built_in_analyses import load_analyses
from opq_cloud.mauka.running.event_analysis import EventResult, analyse_stored
from opq_cloud.store import CloudStore, open_store
from opq_plugins.sdk.modules import Analysis
from opq_proto.decision import Nominal
from opq_proto.errors import OpqError

if TYPE_CHECKING:
    from distributed import Client, Future

LOCAL = "local"
EVENTS_PER_CALL = 8
"""Limit per call: a call costs 5 ms of CPU at the caller and 4 ms at its worker, whatever it contains."""
CALLS_PER_WORKER = 3
"""Calls under way at once: one is analysed, the others are in transit."""
CONNECT_S = 10.0
"""Also how long a run waits for a lost scheduler before it ends."""
CHECK_S, NO_WORKER_S = 5.0, 60.0
"""A call may take minutes; so often it is checked whether there are workers, and they may be gone so long."""
RETRIES = 2
"""Further tries of a call whose worker was lost."""


QUIET = {
    "distributed.worker.profile.enabled": False,
    "distributed.worker.memory.monitor-interval": "1s",
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.tick.cycle": "5s",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.admin.system-monitor.gil.enabled": False,
}
"""Settings for our own workers. By default Dask samples every thread 100 times a second, its own delay 50
times, its memory ten times. That costs CPU per second, so an event cost more CPU the busier the machine was.
"""


class BulkError(OpqError):
    """Raised when the scheduler cannot be reached, has no workers, or Dask is not installed."""


@dataclass(frozen=True, slots=True)
class BulkWork:
    """Everything that a worker needs to know; the same for all events of a run.

    Attributes:
        data_dir: folder of an embedded store, a path that is the same for every worker.
        entries: (analysis, its settings as JSON); empty: all built-in ones.
        ordered: as in `analyse_stored`.
    """

    mongo_uri: str | None
    data_dir: str
    entries: tuple[tuple[str, str], ...]
    nominal: Nominal
    ordered: bool = False

    @classmethod
    def of(
        cls,
        mongo_uri: str | None,
        data_dir: Path,
        entries: Sequence[tuple[str, Mapping[str, object]]],
        nominal: Nominal,
        ordered: bool = False,
    ) -> "BulkWork":
        made = tuple((name, json.dumps(dict(settings), sort_keys=True)) for name, settings in entries)
        return cls(mongo_uri, str(data_dir.absolute()), made, nominal, ordered)

    def chosen(self) -> list[tuple[str, dict[str, object]]]:
        """Returns (name, settings) of each analysis."""
        return [(name, json.loads(settings)) for name, settings in self.entries]


@lru_cache(maxsize=2)
def _opened(work: BulkWork) -> tuple[CloudStore, list[Analysis]]:
    """Opens store and analyses, once per worker process."""
    analyses = load_analyses(work.chosen())
    if remembering := [one.name for one in analyses if one.begin is not None]:
        raise BulkError(f"analysis {remembering[0]!r} remembers what came before; it cannot run in bulk")
    return open_store(work.mongo_uri, Path(work.data_dir)), analyses


def analyse_events(work: BulkWork, event_ids: Sequence[int]) -> list[EventResult]:
    """Reads and analyses these events; runs in a worker."""
    store, analyses = _opened(work)
    return list(analyse_stored(store, event_ids, analyses, work.nominal, work.ordered))


def analyse_in_bulk(client: "Client", work: BulkWork, event_ids: Sequence[int]) -> Iterator[EventResult]:
    """Yields the result of each event once, in the order of arrival.

    Raises:
        BulkError: the scheduler was lost, or there are no workers any more.
    """
    scheduler = client.scheduler.address
    most = CALLS_PER_WORKER * max(1, sum(client.nthreads().values()))
    events = max(1, min(EVENTS_PER_CALL, len(event_ids) // (2 * most)))  # a few events are divided evenly
    ahead = iter([event_ids[n : n + events] for n in range(0, len(event_ids), events)])
    under_way: dict[Future, Sequence[int]] = {}

    def submit(calls: Iterable[Sequence[int]]) -> None:
        for call in calls:
            under_way[client.submit(analyse_events, work, tuple(call), pure=False, retries=RETRIES)] = call

    submit(islice(ahead, most))
    try:
        while under_way:
            for future in _first_done(client, under_way):
                results = _results(future, under_way.pop(future))
                future.release()
                submit(islice(ahead, 1))
                yield from results
    except (CancelledError, OSError) as error:  # all calls are cancelled when the connection breaks
        raise BulkError(
            f"the Dask scheduler at {scheduler} was lost; start the same command again"
        ) from error


def _first_done(client: "Client", under_way: Collection["Future"]) -> "set[Future]":
    """Waits for the first calls that are done.

    Raises:
        BulkError: the scheduler has had no worker for a while.
        CancelledError, OSError: it was lost.
    """
    from distributed import wait

    without_s = 0.0
    while without_s < NO_WORKER_S:
        with suppress(TimeoutError):
            return set(wait([*under_way], timeout=CHECK_S, return_when="FIRST_COMPLETED").done)
        without_s = 0.0 if client.nthreads() else without_s + CHECK_S
    raise BulkError(
        f"the Dask scheduler has had no worker for {NO_WORKER_S:g} s; start some, then the same command again"
    )


def _results(future: "Future", call: Sequence[int]) -> list[EventResult]:
    """Returns what the worker returned for the call's events, or for each of them why it has failed."""
    if future.status == "finished":
        return list(future.result())
    why = f"{type(future.exception()).__name__}: {future.exception()}"
    return [EventResult(event_id, (), (), {"worker": why}) for event_id in call]


@contextmanager
def bulk_client(scheduler: str) -> Iterator["Client"]:
    """Opens a client of `tcp://HOST:PORT`; for `local` or `local:N` it starts a scheduler and N processes.

    Raises:
        BulkError: no scheduler answers there, it has no workers, or Dask is not installed.
    """
    try:
        from dask import config as dask_config
        from distributed import Client, LocalCluster
    except ModuleNotFoundError as error:
        raise BulkError(
            f"this needs {error.name}, which is not installed: pip install 'opq-toolkit[bulk]'"
        ) from error
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # BulkError reports a lost scheduler
    name, _, count = scheduler.partition(":")
    if name == LOCAL:
        if count and not (count.isdecimal() and int(count) > 0):
            raise BulkError(f"{scheduler!r} is no scheduler; want tcp://HOST:PORT, local or local:2")
        workers = int(count) if count else None
        with (
            dask_config.set(QUIET),
            LocalCluster(
                n_workers=workers, threads_per_worker=1, dashboard_address=None, host="127.0.0.1"
            ) as cluster,
            Client(cluster) as client,
        ):
            yield client
        return
    try:
        client = Client(scheduler, timeout=CONNECT_S)
    except (OSError, ValueError) as error:
        raise BulkError(f"no Dask scheduler answers at {scheduler}: {error}") from error
    with client:
        if not client.nthreads():
            raise BulkError(
                f"the Dask scheduler at {scheduler} has no workers; start dask worker {scheduler}"
            )
        yield client


@contextmanager
def bulk_analysis(
    scheduler: str, work: BulkWork
) -> Iterator[Callable[[Sequence[int]], Iterator[EventResult]]]:
    """Yields a function from event ids to their results."""
    with bulk_client(scheduler) as client:
        yield lambda event_ids: analyse_in_bulk(client, work, event_ids)
