"""Who rests after an installed analysis failed: a Box, an event, or the analysis as a whole."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from opq_cloud.mauka.running.calls.analysis_rests import FIRST_REST_S, REST_FACTOR, AnalysisRests
from opq_cloud.mauka.running.installed import installed_analyses
from opq_plugins.host.failure_guard import BOXES_KEPT, MANY_BOXES, STEADY_S
from opq_plugins.sdk.modules import DEFAULT_NOMINAL
from opq_plugins.worker_errors import WorkerAbsentError, WorkerEndedError


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_box_rests_alone_and_longer_each_time(clock: Clock) -> None:
    rests = AnalysisRests(clock)
    for rest_s in FIRST_REST_S[:3]:
        rests.record_failure("Box 1", 0.1, "exit code 3")
        assert rests.rest_of(["Box 2", "Box 1"]) == (pytest.approx(rest_s), "exit code 3")
        assert rests.rest_s == 0 and rests.rest_of(["Box 2", "event 7"])[0] == 0
        rests.record_success(["Box 2"])
        clock.now_s += rest_s
    assert rests.rest_of(["Box 1"])[0] == 0 and rests.why == "Box 1: exit code 3"
    rests.record_success(["Box 1"])
    assert rests.why == ""
    rests.record_failure("Box 1", 0.1, "again")
    assert rests.rest_of(["Box 1"])[0] == pytest.approx(FIRST_REST_S[0])


def test_what_hangs_gets_a_fifth_of_time(clock: Clock) -> None:
    rests = AnalysisRests(clock)
    for calls in (1, 2, 3):
        rests.record_failure("Box 1", 60.0, "took longer than 60 s")
        assert rests.rest_of(["Box 1"])[0] == pytest.approx(REST_FACTOR * 60.0 * calls)


def test_many_boxes_rest_the_analysis(clock: Clock) -> None:
    """So does a process that was not there before the call; an answer ends that rest's row."""
    rests = AnalysisRests(clock)
    for number in range(MANY_BOXES - 1):
        rests.record_failure(f"Box {number}", 10.0, "hangs")
    assert rests.rest_s == 0
    rests.record_failure("event 9", 10.0, "hangs")
    assert rests.rest_s == pytest.approx(REST_FACTOR * 10.0 * MANY_BOXES) and rests.why == "hangs"
    clock.now_s += rests.rest_s
    assert rests.rest_of(["Box 0"])[0] == 0
    rests.record_success(["Box 0"])
    assert rests.why == "" and rests.rest_s == 0
    rests.record_failure("", 0.0, "not running")
    assert rests.rest_s == pytest.approx(FIRST_REST_S[0])
    rests.clear()
    assert rests.rest_s == 0


def test_failures_far_apart_are_not_many(clock: Clock) -> None:
    rests = AnalysisRests(clock)
    for number in range(3 * MANY_BOXES):
        rests.record_failure(f"Box {number}", 0.0, "crashes")
        clock.now_s += STEADY_S
    assert rests.rest_s == 0


def test_few_rests_are_remembered(clock: Clock) -> None:
    rests = AnalysisRests(clock)
    for number in range(2 * BOXES_KEPT):
        rests.record_failure(f"Box {number}", 0.0, "crashes")
        clock.now_s += STEADY_S
    assert len(rests._of) == BOXES_KEPT


@pytest.mark.parametrize(
    ("error", "rests", "trouble"),
    [
        (WorkerEndedError("exit code 3"), "Box 1", "Box 1: exit code 3"),
        (WorkerAbsentError("not running"), "all", "not running"),
        (FileNotFoundError("tariffs.csv"), "", "FileNotFoundError: tariffs.csv"),
    ],
)
def test_an_own_oserror_rests_nothing(
    error: OSError, rests: str, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installed_analyses, "SLOW_S", 1e9)

    def analyse(*arguments: object) -> None:
        raise error

    plugin: Any = SimpleNamespace(analyse=analyse, wait_up=lambda seconds: None)
    event: Any = SimpleNamespace(
        event_id=7, waveforms=[SimpleNamespace(box_id="1", counts=np.zeros(4, np.int16))]
    )
    analysis = installed_analyses.InstalledAnalysis("marks", plugin, {})
    with pytest.raises(type(error)):
        analysis.findings_in(event, DEFAULT_NOMINAL, {})
    assert analysis.trouble == trouble
    assert analysis.has_rests is (rests == "Box 1") and bool(analysis._rests._whole.why) is (rests == "all")
