"""The parts of `bench sim`: a few Boxes of each depth beside the listener."""

import pytest

from bench.result import BenchCase, case
from bench.sim.figures import history_pace, measured
from bench.sim.fleets import fleet
from bench.sim.stages import SETTLE_ROUNDS, STAGES, stage_costs_ms
from opq_proto.errors import OpqError


@pytest.mark.slow
@pytest.mark.parametrize("samples", [False, True])
def test_a_fleet_costs_something_and_loses_nothing(samples: bool) -> None:
    with fleet(3, 12, samples) as up:
        found = up.cost(3.0, waveforms_per_s=4.0)
    assert found.traffic.boxes == 3 and found.traffic.missing == 0
    assert 0.3 < found.traffic.measurements / (3 * 5 * found.elapsed_s) < 2.0
    assert 0 < found.cpu_s_per_s < 2
    assert 0 < found.boxes_kb < found.memory_kb
    assert found.counts["answers_sent"] >= found.traffic.answers > 0
    assert found.traffic.samples > 0


def test_every_stage_from_sample_to_measurement_costs_something() -> None:
    found = stage_costs_ms(2, SETTLE_ROUNDS + 1, local=True)
    assert tuple(found) == STAGES
    assert all(cost > 0 for cost in found.values())


def test_a_part_that_cannot_be_measured_is_named_and_the_others_stand() -> None:
    def fails(left_s: float) -> list[BenchCase]:
        raise OpqError("the fleet's process does not answer")

    parts = {"(a)": lambda _: [case("a", "ms/s", [1.0])], "(b)": fails}
    rows = measured(parts | {"(c)": lambda left_s: [case("left", "s", [left_s])]}, 50.0)
    assert [row.case for row in rows] == ["a", "left", "parts that were not measured"]
    assert 0 < rows[1].value <= 50
    assert rows[2].value == 1 and rows[2].because == "(b): the fleet's process does not answer"


def test_boxes_that_have_no_time_left_are_not_begun() -> None:
    with pytest.raises(OpqError, match="no time is left"), fleet(3, 12, start_s=0.0):
        pass


@pytest.mark.slow
def test_a_history_of_two_minutes_has_a_pace() -> None:
    assert history_pace(5, 120.0, 60.0) > 0
