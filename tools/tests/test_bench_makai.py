"""The parts of `bench makai`, and all of it with few Boxes."""

import numpy as np
import pytest

from bench.makai import figures
from bench.makai.box_load import STEADY
from bench.makai.makai_processes import ProcessFigures, stage_quantile_s
from bench.triggers.judged import judge_without_store
from opq_cloud.config import CloudConfig
from opq_cloud.stage_times import BOUNDS_S
from opq_hil.fleet.measurement_rows import MeasurementRows
from opq_proto.messages import TimeSource
from opq_proto.wire import measurement_from_wire

END_NS = 1_735_689_600 * 10**9


def test_the_load_is_steady_mains_of_which_no_trigger_asks() -> None:
    rows = MeasurementRows(["1000"], np.full(1, 120.0), np.full(1, 60.0), 1000, TimeSource.GPS)
    judge = judge_without_store(CloudConfig())
    for second in range(200):
        end_ns = np.array([END_NS + second * 10**9])
        (body,) = rows.bodies(np.array([0]), end_ns - 10**9, end_ns, STEADY[np.newaxis])
        measurement = measurement_from_wire(body)
        assert measurement.metrics["rms"].average == 120.0 and measurement.metrics["f"].average == 60.0
        assert not judge.judge(measurement), "an onset would fail: there is no store"


def test_a_stage_is_that_of_the_span_between_two_moments() -> None:
    def at(*counts: float) -> ProcessFigures:
        return ProcessFigures(0.0, 0.0, {}, {"stored": [*counts, *[counts[-1]] * (len(BOUNDS_S) - 1)]})

    assert stage_quantile_s(at(90.0, 100.0), at(90.0, 101.0), "stored", 0.99) == BOUNDS_S[1]


@pytest.mark.slow
def test_all_of_it_with_few_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "QUICK_BOXES", (4,))
    monkeypatch.setattr(figures, "BARE_BOXES", 4)
    result = figures.run(quick=True)
    rows = {row.case: row for row in result.results}
    assert rows["4 Boxes at 6/s: Makai in all"].value > 0 and result.baseline.value > 0
    assert rows["4 Boxes: crossing to its command, p99"].runs == 4
