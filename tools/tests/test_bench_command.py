"""`opq-tools bench`: its result alone is on stdout, whatever the measured code logs."""

import json
import os
import sys
import time
from types import ModuleType

import pytest
from click.testing import CliRunner

from bench.harness.own_processes import cpu_s
from bench.harness.result import Baseline, BenchResult, case, percentile
from opq_proto.kit import log
from opq_tools.sim import bench


def _measured_code_that_logs(quick: bool) -> BenchResult:
    log.get(service="mauka").info("event.analysed", event_id=1)
    log.get(service="mauka").warning("event.lost", event_id=2)
    return BenchResult((case("one event", "ms", [2.0]),), Baseline("none", 2.0, "ms"), 1.0)


def test_json_is_one_document_on_stdout_beside_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("bench.logs")
    module.run = _measured_code_that_logs  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(bench.BENCHMARKS, "logs", "Logs.")
    ran = CliRunner().invoke(bench.command, ["logs", "--quick", "--json"])
    assert ran.exit_code == 0
    assert json.loads(ran.stdout)["results"][0]["case"] == "one event"
    assert "event.lost" in ran.stderr and "event.analysed" not in ran.stderr


def test_the_clock_of_a_process_is_its_cpu() -> None:
    """It counts all threads, as the process's own clock does, in nanoseconds."""
    before_s = time.process_time()
    found_s = cpu_s(os.getpid())
    assert before_s <= found_s <= time.process_time()


def test_a_percentile_is_by_the_nearest_rank() -> None:
    values = list(range(1, 1001))
    assert [percentile(values, share) for share in (0.5, 0.99, 0.999, 1.0)] == [500, 990, 999, 1000]
    assert percentile([7.0], 0.999) == 7.0
