"""Latency of each stage: buckets, and what `/metrics` and the services make of it."""

import math
from typing import Any

import pytest

from opq_cloud.core.runner import ServiceBoard
from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.stage_times import BOUNDS_S, StageTimes, quantile_s
from opq_cloud.health.health_service import HealthService


def test_a_time_is_in_its_bucket() -> None:
    """It counts in the next larger bound and all above."""
    times = StageTimes()
    times.add("stored", 0.001, 0.0011, 70.0, -5.0)
    times.add_all("stored", [0.3])
    counts, sum_s = times.snapshot()["stored"]
    assert len(counts) == len(BOUNDS_S) + 1
    assert dict(zip(BOUNDS_S, counts, strict=False)) | {0.001: 2, 0.0025: 3, 0.5: 4, 60.0: 4} == dict(
        zip(BOUNDS_S, counts, strict=False)
    )
    assert counts[-1] == 5 and sum_s == pytest.approx(70.3021)
    assert quantile_s(counts, 0.5) == 0.0025 and quantile_s(counts, 0.99) == math.inf
    assert math.isnan(quantile_s([0] * 16, 0.5))


class TimedService:
    """One with a stage, and nothing else to do."""

    name = "timed"

    def __init__(self) -> None:
        self.counters = ServiceCounters()

    def run(self, stop: Any, ready: Any = None) -> None:
        """Never called."""


def test_the_metrics_have_histograms_of_stages() -> None:
    board, service = ServiceBoard(), TimedService()
    board.add(service)
    service.counters.stages.add("stored", 0.2, 0.3)
    text = HealthService("127.0.0.1:0", board, "opq").reply("/metrics")[2].decode()
    assert "# TYPE opq_stage_seconds histogram" in text
    assert 'opq_stage_seconds_bucket{le="0.25",service="timed",stage="stored"} 1.0' in text
    assert 'opq_stage_seconds_bucket{le="+Inf",service="timed",stage="stored"} 2.0' in text
    assert 'opq_stage_seconds_count{service="timed",stage="stored"} 2.0' in text
