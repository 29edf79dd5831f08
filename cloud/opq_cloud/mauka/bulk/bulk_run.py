"""Bulk runs: waiting events of the store analysed by many workers, and written as the live path does it.

Findings are written in the order of the events, so that the store gets the same content, with the same
numbers, as from one process alone. An event is marked when its findings are stored, so that an interrupted
run continues when it is started again.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial

from opq_cloud.core.settings.config import CloudConfig
from opq_cloud.core.settings.mauka import AnalysisWorkersSection
from opq_cloud.mauka.bulk.dask_workers import DaskWorkers, dask_client
from opq_cloud.mauka.bulk.stored_events import BulkWork, analyse_in_bulk
from opq_cloud.mauka.joining.finding_writer import FindingWriter
from opq_cloud.mauka.running.calls.event_analysis import EventResult
from opq_cloud.mauka.running.calls.executor import Executor, WorkerProcesses
from opq_cloud.mauka.running.known.analysis_entries import analysis_entries
from opq_cloud.mauka.running.known.built_in_analyses import built_in
from opq_cloud.store import CloudStore, open_store
from opq_proto.kit import log as logs
from opq_proto.kit.system_place import default_data_dir

log = logs.get(service="mauka")

PROGRESS_S = 5.0
Analyse = Callable[[Sequence[int]], Iterator[EventResult]]


def in_order(event_ids: Iterable[int], results: Iterable[EventResult]) -> Iterator[EventResult]:
    """Yields the results in the order of `event_ids`; holds back those that come before their turn."""
    early: dict[int, EventResult] = {}
    wanted = iter(event_ids)
    expected = next(wanted, None)
    for result in results:
        early[result.event_id] = result
        while expected in early:
            yield early.pop(expected)
            expected = next(wanted, None)


def analyse_waiting(
    store: CloudStore, analyse: Analyse, on_progress: Callable[[int, int], None] = lambda done, of: None
) -> tuple[int, int]:
    """Analyses every finished event that is not analysed yet; returns how many succeeded, how many failed.

    Raises:
        StoreError: the database refuses.
    """
    records = store.unanalysed_events()
    revisions = {each.event_id: each.revision for each in records}
    writer = FindingWriter(lambda: store)
    failed = 0
    for done, result in enumerate(in_order(revisions, analyse(list(revisions))), start=1):
        writer.put_result(result)
        if result.failed:
            failed += 1
            log.warning("bulk.event_failed", event_id=result.event_id, failed=dict(result.failed))
        else:
            store.mark_analysed(result.event_id, revisions[result.event_id])
        on_progress(done, len(revisions))
    return len(revisions) - failed, failed


@contextmanager
def chosen_executor(scheduler: str | None, section: AnalysisWorkersSection) -> Iterator[Executor]:
    """Yields the executor of a run: processes of this machine, or the workers of a scheduler.

    Raises:
        BulkError: no scheduler answers there, it has no workers, or Dask is not installed.
    """
    if scheduler is not None:
        with dask_client(scheduler) as client:
            yield DaskWorkers(client)
        return
    with closing(WorkerProcesses(section.count, section.memory_mb << 20)) as processes:
        yield processes


def run_waiting(config: CloudConfig, scheduler: str) -> int:
    """Runs `opq-cloud mauka --scheduler`: analyses waiting events with progress; returns the exit code.

    Raises:
        OpqError: the scheduler or the store cannot be reached, or an analysis is invalid.
    """
    data_dir = config.store.data_dir or config.data_dir or default_data_dir()
    own = built_in()
    entries = [each for each in analysis_entries(config.mauka, own) if each[0] in own]
    work = BulkWork.of(config.store.mongo_uri, data_dir, entries, config.nominal, ordered=True)
    began_s = reported_s = time.monotonic()

    def progress(done: int, of: int) -> None:
        nonlocal reported_s
        if time.monotonic() - reported_s >= PROGRESS_S:
            reported_s = time.monotonic()
            log.info("bulk.progress", done=done, of=of, seconds=round(reported_s - began_s, 1))

    with (
        closing(open_store(config.store.mongo_uri, data_dir)) as store,
        chosen_executor(scheduler, config.mauka.workers) as executor,
    ):
        done, failed = analyse_waiting(store, partial(analyse_in_bulk, executor, work), progress)
    print(f"{done} events analysed, {failed} failed, in {time.monotonic() - began_s:.1f} s", file=sys.stderr)
    return 1 if failed else 0
