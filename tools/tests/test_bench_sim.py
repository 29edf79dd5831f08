"""The parts of `bench sim`: a few Boxes of each depth beside the listener."""

import pytest

from bench.sim.fleets import fleet
from bench.sim.stages import SETTLE_ROUNDS, STAGES, stage_costs_ms


@pytest.mark.slow
@pytest.mark.parametrize("samples", [False, True])
def test_a_fleet_costs_something_and_loses_nothing(samples: bool) -> None:
    with fleet(3, 12, samples) as up:
        found = up.cost(3.0, waveforms_per_s=4.0)
    assert found.heard.boxes == 3 and found.heard.missing == 0
    assert 0.3 < found.heard.measurements / (3 * 5 * found.elapsed_s) < 2.0
    assert 0 < found.cpu_s_per_s < 2
    assert 0 < found.base_kb < found.memory_kb
    assert found.counts["answers_sent"] >= found.heard.answers > 0
    assert found.heard.samples > 0


def test_every_stage_from_sample_to_measurement_costs_something() -> None:
    found = stage_costs_ms(2, SETTLE_ROUNDS + 1, local=True)
    assert tuple(found) == STAGES
    assert all(cost > 0 for cost in found.values())
