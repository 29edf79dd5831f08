"""History and phenomena between host and worker: the same on both sides, and checked."""

from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from opq_plugins.package.built_in import problems_of
from opq_plugins.sdk import nouns
from opq_plugins.sdk.nouns import BatchResult, ItemBatch, from_plain, result_from, to_plain
from opq_proto.messages import (
    BoxHistory,
    Course,
    Event,
    Finding,
    History,
    HistoryRequest,
    Message,
    Phenomenon,
)

VALUES = np.array([1.5, np.nan, -2.0])
COURSE = Course("rms_v", 600_000, 0, VALUES, np.array([False, True, False]), least=VALUES - 1)
HISTORY = History(
    0, 10**12, (BoxHistory("1", 120.0, 60.0, (COURSE,), phase="L1"), BoxHistory("2", 120.0, 60.0, ())), ("1",)
)
FOUND = Phenomenon("step", ("1", "2"), 5, 6, "it moved", "rms_v", 1.25, "V", details={"parts": [1, 2]})


def test_a_history_is_the_same_in_the_worker() -> None:
    batch = from_plain(to_plain(ItemBatch.of("History", [HISTORY])), ItemBatch)
    (history,) = batch.items
    assert isinstance(history, History)
    (course,) = history.boxes[0].courses
    np.testing.assert_array_equal(course.values, VALUES)
    np.testing.assert_array_equal(course.flagged, COURSE.flagged)
    assert course.least is not None and course.most is None
    assert (course.values.dtype, course.flagged.dtype) == (np.float64, np.bool_)
    assert (history.boxes[0].phase, history.subjects) == ("L1", ("1",))


def test_phenomena_come_back_as_given() -> None:
    result = result_from(to_plain(BatchResult(phenomena=[FOUND])), ItemBatch.of("History", [HISTORY]))
    assert result.phenomena == [FOUND]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": "a step"}, "letters, digits"),
        ({"because": " "}, "without because"),
        ({"box_ids": ()}, "want a subject of the history first"),
        ({"box_ids": ("2", "1")}, "want a subject of the history first"),
        ({"box_ids": ("1", "3")}, "Boxes of the history only"),
        ({"start_ns": 7}, "ends 1 ns before its start"),
        ({"start_ns": 0.5}, "phenomenon with start_ns 0.5; want a whole number"),
        ({"size": float("nan")}, "size nan"),
        ({"unit": "V" * 65}, "unit of 65 characters"),
        ({"start_ns": 2 * 10**12, "end_ns": 2 * 10**12}, "want one in its history"),
        ({"start_ns": 10**12, "end_ns": 10**12}, "want one in its history"),
        ({"details": {"type": "x"}}, "'type' in details"),
        ({"details": {"size": "large"}}, "'size' in details"),
        ({"details": {"unit": 5}}, "unit 5 in details"),
        ({"details": {"a": float("nan")}}, "not JSON"),
        ({"details": {"a": "x" * 65_536}}, "at most 65536"),
    ],
)
def test_a_phenomenon_out_of_bounds_is_refused(change: dict[str, object], says: str) -> None:
    with pytest.raises((TypeError, ValueError), match=says):
        nouns.checked_phenomena([replace(FOUND, **change)], [HISTORY])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"every_s": 1.0}, "want 60 to 34560000"),
        ({"days": 0}, "want 1 to 400"),
        ({"boxes": "some"}, "alone, neighbours, all"),
        ({"interval_ms": 1}, "3000, 10000, 600000, 7200000"),
        ({"trend_ms": 1}, "60000, 600000, 3600000, 86400000"),
        ({"intervals": ("harmonics_v",)}, "such as rms_v and f_hz"),
        ({"trends": ("a b",)}, "such as rms and dc"),
        ({"trends": ("rms",) * 33}, "more than 32 quantities"),
        ({"interval_ms": 3000, "boxes": "all"}, "want fewer days or quantities, or longer intervals"),
    ],
)
def test_a_request_out_of_bounds_is_refused(change: dict[str, object], says: str) -> None:
    request = HistoryRequest(intervals=("rms_v",))
    assert nouns.history_request_from(to_plain(request)) == request
    with pytest.raises(ValueError, match=says):
        nouns.checked_history_request(replace(request, **change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("takes", "gives", "reads", "says"),
    [
        (History, Phenomenon, True, ""),
        (History, Finding, True, ""),
        (History, Message, True, ""),
        (History, Phenomenon, False, "it has no `reads`"),
        (Event, Finding, True, "it has `reads`"),
        (Event, Phenomenon, False, "an analysis of History gives Phenomena"),
    ],
)
def test_history_gives_phenomena(takes: type, gives: type, reads: bool, says: str) -> None:
    module = ModuleType("mine")
    module.__dict__.update(takes=takes, gives=gives, Config=object, analyse=list)
    if reads:
        module.__dict__["reads"] = HistoryRequest
    problems = problems_of(module, "analysis", "mine")
    assert (says in "; ".join(problems)) if says else problems == []
