"""The parts of `bench makai`, and all of it with few Boxes."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from judged_triggers import batch, judge_without_store

from bench import makai
from bench.harness.box_load import STEADY_VALUES, steady
from bench.harness.makai_processes import BENCH_FOLDER, ProcessFigures, stage_quantile_s
from opq_cloud.core.settings.config import CloudConfig
from opq_cloud.core.stage_times import BOUNDS_S
from opq_proto.measurement.wire import bodies_of, measurement_from_wire
from opq_sim.faults.parts.free_ports import free_offset

END_NS = 1_735_689_600 * 10**9


def test_the_load_triggers_nothing() -> None:
    judge = judge_without_store(CloudConfig())
    for second in range(200):
        end_ns = np.array([END_NS + second * 10**9])
        values = STEADY_VALUES[np.newaxis].astype(np.float32)
        (body,) = bodies_of(steady(("1000",), np.array([0]), end_ns - 10**9, end_ns, values))
        measurement = measurement_from_wire(body)
        assert measurement.metrics["rms"].average == 120.0 and measurement.metrics["f"].average == 60.0
        assert not judge.judge(batch(measurement)).any(), "an onset would fail: there is no store"


def test_a_stage_spans_two_moments() -> None:
    def at(*counts: float) -> ProcessFigures:
        return ProcessFigures(0.0, 0.0, {}, {"stored": [*counts, *[counts[-1]] * (len(BOUNDS_S) - 1)]})

    assert stage_quantile_s(at(90.0, 100.0), at(90.0, 101.0), "stored", 0.99) == BOUNDS_S[1]


STARTING = """
import pathlib, sys, time
from bench.harness.makai_processes import MakaiProcesses
made = MakaiProcesses(pathlib.Path(sys.argv[1]), 1, int(sys.argv[2]))
print(*made.pids.values(), flush=True)
time.sleep(600)
"""


@pytest.mark.slow
def test_services_end_with_a_bench_that_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTING, str(tmp_path), str(free_offset(0, 1)[0])],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(BENCH_FOLDER)},
    ) as bench:
        assert bench.stdout is not None
        services = [psutil.Process(int(pid)) for pid in bench.stdout.readline().split()]
        bench.kill()
    assert len(services) == 3
    _, left = psutil.wait_procs(services, 30)
    assert not left


@pytest.mark.slow
def test_all_of_it_with_few_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(makai, "QUICK_BOXES", (4,))
    monkeypatch.setattr(makai, "BARE_BOXES", 4)
    result = makai.run(quick=True)
    rows = {row.case: row for row in result.results}
    assert rows["4 Boxes at 6/s: Makai in all"].value > 0 and result.baseline.value > 0
    assert rows["4 Boxes: crossing to its command, p99"].runs == 4
