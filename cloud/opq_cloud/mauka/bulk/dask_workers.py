"""DaskWorkers: the executor of runs over many events, at the workers of a Dask scheduler.

Dask gives the calls of a worker that dies to another one. As we use it, its protocol is neither encrypted nor
signed, and it runs any code it receives. Scheduler and workers belong in a separate network.
"""

import logging
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, Future
from concurrent.futures import wait as wait_for_any
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from opq_cloud.mauka.bulk.stored_events import BulkError
from opq_cloud.mauka.running.calls.executor import Answer, Arguments, Executor

if TYPE_CHECKING:
    from distributed import Client
    from distributed import Future as DaskFuture

LOCAL = "local"
CONNECT_S = 10.0
"""Also the wait for a lost scheduler before the run ends."""
CHECK_S = 5.0
"""Interval of checking for workers while a call runs."""
NO_WORKER_S = 60.0
"""Longest time without a worker."""
LOST_CALL_RETRIES = 2
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


class DaskWorkers(Executor):
    """Dask has no time limits: a call that hangs keeps its worker."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    @property
    def workers(self) -> int:
        return sum(self._client.nthreads().values())

    def submit(
        self, limit_s: float | None, function: Callable[[*Arguments], Answer], *arguments: *Arguments
    ) -> "Future[Answer]":
        answer: Future[Answer] = Future()
        given = self._client.submit(function, *arguments, pure=False, retries=LOST_CALL_RETRIES)
        given.add_done_callback(partial(_hand_on, answer))
        return answer

    def wait(self, futures: Collection["Future[Any]"], seconds: float) -> None:
        """
        Raises:
            BulkError: the scheduler was lost, or has had no worker for a while.
        """
        without_s = 0.0
        while futures and without_s < NO_WORKER_S:
            found = wait_for_any(futures, min(seconds, CHECK_S), FIRST_COMPLETED).done
            if any(isinstance(each.exception(), _SchedulerLostError) for each in found):
                address = self._client.scheduler.address
                raise BulkError(f"the Dask scheduler at {address} was lost; start the same command again")
            if found or seconds <= CHECK_S:
                return
            without_s = 0.0 if self._client.nthreads() else without_s + CHECK_S
        if futures:
            raise BulkError(
                f"the Dask scheduler has had no worker for {NO_WORKER_S:g} s;"
                " start some, then the same command again"
            )


class _SchedulerLostError(Exception):
    """The connection broke, which cancels all calls."""


def _hand_on(answer: "Future[Any]", done: "DaskFuture") -> None:
    """Passes on the outcome of Dask's Future, in a thread of Dask."""
    try:
        answer.set_result(done.result())
    except BaseException as error:
        of_call = done.status == "error"  # it was the function that raised, or its workers that were lost
        answer.set_exception(error if of_call else _SchedulerLostError(str(error)))


@contextmanager
def dask_client(scheduler: str) -> Iterator["Client"]:
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
            raise BulkError(f"{scheduler!r} is not a scheduler; want tcp://HOST:PORT, local or local:2")
        workers = int(count) if count else None
        with (
            dask_config.set(QUIET),
            LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                dashboard_address=None,
                host="127.0.0.1",
                security=True,  # keys for this run: whoever connects has Python run as this user
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
