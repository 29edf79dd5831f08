"""Bulk: stored events through the same pure analyses, on the workers of an executor.

Workers read the store for themselves and return findings; the caller writes them. So a worker that dies has
written nothing, and another one gets its events. At most a few calls per worker are under way at once,
however many events there are.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

from opq_cloud.mauka.running.calls.analysis_tasks import AnalysisSetup
from opq_cloud.mauka.running.calls.event_analysis import EventResult, analyse_stored
from opq_cloud.mauka.running.calls.executor import Executor, NeighbourLostError
from opq_cloud.store import CloudStore, open_store
from opq_plugins.sdk.modules import Analysis
from opq_proto.decision import Nominal
from opq_proto.errors import OpqError

EVENTS_PER_CALL = 8
"""Limit per call: a call to Dask costs 5 ms of CPU here and 4 ms at its worker, whatever it contains."""
CALLS_PER_WORKER = 3
"""Calls under way at once: one is analysed, the others are in transit."""
WAIT_S = 60.0


class BulkError(OpqError):
    """Raised when a run cannot continue: no scheduler, no workers, or an analysis that cannot run in bulk."""


@dataclass(frozen=True, slots=True)
class BulkWork:
    """Everything that a worker needs to know; the same for all events of a run.

    Attributes:
        data_dir: folder of an embedded store, a path that is the same for every worker.
        ordered, present_nominal: as in `analyse_stored`.
    """

    mongo_uri: str | None
    data_dir: str
    setup: AnalysisSetup
    nominal: Nominal
    ordered: bool = False
    present_nominal: bool = False

    @classmethod
    def of(
        cls,
        mongo_uri: str | None,
        data_dir: Path,
        entries: Sequence[tuple[str, Mapping[str, object]]],
        nominal: Nominal,
        ordered: bool = False,
        present_nominal: bool = False,
    ) -> "BulkWork":
        setup = AnalysisSetup.of(entries)
        return cls(mongo_uri, str(data_dir.absolute()), setup, nominal, ordered, present_nominal)


@lru_cache(maxsize=2)
def _opened(work: BulkWork) -> tuple[CloudStore, tuple[Analysis, ...]]:
    """Opens store and analyses, once per worker process."""
    analyses = work.setup.loaded().analyses
    if remembering := [one.name for one in analyses if one.begin is not None]:
        raise BulkError(f"analysis {remembering[0]!r} remembers what came before; it cannot run in bulk")
    return open_store(work.mongo_uri, Path(work.data_dir)), analyses


def analyse_events(work: BulkWork, event_ids: Sequence[int]) -> list[EventResult]:
    """Reads and analyses these events; runs in a worker."""
    store, analyses = _opened(work)
    return list(analyse_stored(store, event_ids, analyses, work.nominal, work.ordered, work.present_nominal))


def analyse_in_bulk(executor: Executor, work: BulkWork, event_ids: Sequence[int]) -> Iterator[EventResult]:
    """Analyses stored events in the executor's workers; yields each event's result once, as it comes.

    Raises:
        BulkError: the workers were lost, and there are no others.
    """
    most = CALLS_PER_WORKER * max(1, executor.workers)
    events = max(1, min(EVENTS_PER_CALL, len(event_ids) // (2 * most)))  # a few events are divided evenly
    ahead = iter([event_ids[n : n + events] for n in range(0, len(event_ids), events)])
    under_way: dict[Future[list[EventResult]], Sequence[int]] = {}

    def submit(calls: Iterable[Sequence[int]]) -> None:
        for call in calls:
            under_way[executor.submit(None, analyse_events, work, tuple(call))] = call

    submit(islice(ahead, most))
    while under_way:
        executor.wait(under_way, WAIT_S)
        for future in [each for each in under_way if each.done()]:
            call = under_way.pop(future)
            if isinstance(future.exception(), NeighbourLostError):
                submit([call])
                continue
            submit(islice(ahead, 1))
            yield from _results(future, call)


def _results(future: "Future[list[EventResult]]", call: Sequence[int]) -> list[EventResult]:
    """Returns what the worker returned for the call's events, or for each of them why it has failed."""
    if (error := future.exception()) is None:
        return future.result()
    why = f"{type(error).__name__}: {error}"
    return [EventResult(event_id, (), (), {"worker": why}) for event_id in call]
