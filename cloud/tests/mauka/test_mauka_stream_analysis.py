"""What happens to the items of an analysis whose process ends in them, or is not there."""

from collections.abc import Callable
from queue import Queue
from types import SimpleNamespace
from typing import cast

import pytest

from opq_cloud.mauka.running.installed.installed_analyses import InstalledAnalysis
from opq_cloud.mauka.running.streams.stream_analysis import ITEM_TRIES, StreamAnalysis, StreamResult
from opq_plugins.sdk.modules import DEFAULT_NOMINAL
from opq_plugins.sdk.nouns import BatchResult, ItemBatch
from opq_plugins.worker_errors import WorkerAbsentError, WorkerEndedError, WorkerTimeoutError
from opq_proto.decision import Nominal
from opq_proto.messages import Finding


def analysis_of(results_of: Callable[[ItemBatch, Nominal], BatchResult]) -> InstalledAnalysis:
    analysis = SimpleNamespace(
        name="echo", nouns=("Finding", "Finding"), rest_s=0.0, has_rests=False, provenance=None
    )
    analysis.results_of = results_of
    return cast(InstalledAnalysis, analysis)


@pytest.mark.parametrize(
    ("error", "left_out"),
    [
        (WorkerEndedError("exit code 3"), True),
        (WorkerTimeoutError("took longer than 5 s"), True),
        (WorkerAbsentError("not running"), False),
    ],
)
def test_only_what_ends_a_process_is_left_out(error: OSError, left_out: bool) -> None:
    """However often there is no process, the item waits."""
    results: Queue[StreamResult] = Queue()
    failures = [error] * (2 * ITEM_TRIES)

    def results_of(batch: ItemBatch, nominal: Nominal) -> BatchResult:
        if failures:
            raise failures.pop()
        return BatchResult(list(batch.findings))

    running = StreamAnalysis(analysis_of(results_of), lambda _: DEFAULT_NOMINAL, results)
    running._analyse(DEFAULT_NOMINAL, [Finding("sag", "1", 0, 1, 0)])
    found = list(results.queue)
    assert [each.given_up for each in found] == ([0] * (ITEM_TRIES - 1) + [1] if left_out else [0] * 7)
    assert len(found[-1].result.findings) == (0 if left_out else 1)


def test_an_own_oserror_loses_its_item_alone() -> None:
    results: Queue[StreamResult] = Queue()
    failures = [ConnectionRefusedError("tariffs.example refuses the connection")] * 7

    def results_of(batch: ItemBatch, nominal: Nominal) -> BatchResult:
        if failures and any(each.box_id == "1" for each in batch.findings):
            raise failures.pop()
        return BatchResult(list(batch.findings))

    running = StreamAnalysis(analysis_of(results_of), lambda _: DEFAULT_NOMINAL, results)
    running._analyse(DEFAULT_NOMINAL, [Finding("sag", box_id, 0, 1, 0) for box_id in "123"])
    found = list(results.queue)
    assert [each.result.failed for each in found] == [1, 0, 0] and "refuses" in found[0].result.error
