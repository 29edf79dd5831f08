"""Measurements that leave at their window's end: the same numbers, nothing twice, nothing left out."""

from itertools import pairwise

import numpy as np
import pytest
from test_measuring_thread import RATE_HZ, T0_NS, Bench, blocks_of

from opq_proto.messages import Measurement
from opq_sim.mains import MIX_3_PERCENT, mains
from opq_sim.mains.rms_events import Sag

TICK_NS = 600 * 10**9
LATE_NS = 60_000_000
"""Age of the newest fed sample when a Measurement came: the filter's 5 ms and three blocks of 17 ms."""


def told(
    volts: np.ndarray, modes: list[tuple[int, bool]], t0_ns: int = T0_NS
) -> list[tuple[int, Measurement]]:
    """What is measured of blocks that come one by one, each with the UTC of the newest sample then.

    `modes`: from which block on Measurements are wanted promptly, and from which not.
    """
    bench, found = Bench(), []
    for at, block in enumerate(blocks_of(volts, t0_ns)):
        for since, prompt in modes:
            if since == at:
                bench.status.prompt = prompt
        bench.measuring.accept_block("1", block)
        bench.measuring.round()
        found += [(block.time_ns(block.end_sample), each) for each in bench.measurements]
        bench.measurements.clear()
    bench.end()
    return found + [(t0_ns + len(volts) * 10**9 // RATE_HZ, each) for each in bench.measurements]


def gapless(found: list[tuple[int, Measurement]]) -> bool:
    return all(before.end_ns == after.start_ns for (_, before), (_, after) in pairwise(found))


def test_prompt_measurements_equal_the_others() -> None:
    """At steady mains they are prompt and have the numbers of the others."""
    volts, _ = mains(8.0, RATE_HZ, frequency_hz=59.93, harmonics=MIX_3_PERCENT, seed=4)
    late, prompt = told(volts, []), told(volts, [(0, True)])
    assert gapless(prompt) and len(prompt) == len(late)
    # the first waits for the tracker's first window; the last is of the run's end
    assert all(newest_ns - each.end_ns < LATE_NS for newest_ns, each in prompt[:-1])
    assert min(newest_ns - each.end_ns for newest_ns, each in late[:-1]) > 100_000_000
    for (_, one), (_, other) in zip(late[:-1], prompt[:-1], strict=True):
        assert one.end_ns == pytest.approx(other.end_ns, abs=20_000)
        for name, near in (("rms", 2e-5), ("f", 2e-5), ("thd", 2e-3), ("trans", 2e-2)):
            mine, its = one.metrics[name], other.metrics[name]
            assert its.average == pytest.approx(mine.average, rel=near)
            assert its.min == pytest.approx(mine.min, rel=4 * near), name
            assert its.max == pytest.approx(mine.max, rel=4 * near), name


def test_a_sag_is_in_its_measurement_only() -> None:
    for start_s in (3.1, 3.5, 3.93):
        volts, _ = mains(6.0, RATE_HZ, disturbances=[Sag(depth=0.4, start_s=start_s, seconds=0.05)], seed=1)
        found = told(volts, [(0, True)])
        low = [each for _, each in found if each.metrics["rms"].min < 100]
        assert gapless(found) and len(low) in (1, 2)
        assert low[0].metrics["rms"].min == pytest.approx(72.0, abs=0.5)
        assert low[0].start_ns <= T0_NS + start_s * 1e9 + 1e7 and T0_NS + start_s * 1e9 < low[-1].end_ns


def test_every_windows_frequency_is_used_once() -> None:
    volts, _ = mains(8.0, RATE_HZ, frequency_hz=59.9, harmonics=MIX_3_PERCENT, seed=2)
    step = 4 * RATE_HZ  # from here on another frequency: which windows see it is the same
    volts[step:] = mains(4.0, RATE_HZ, frequency_hz=60.3, harmonics={5: 8.0}, seed=2)[0][: len(volts) - step]
    for cycles in (5, 12, 33, 60):
        extremes = []
        for modes in ([], [(0, True)]):
            bench = Bench()
            bench.measuring.set_cycles("1", cycles)
            bench.status.prompt = bool(modes)
            for block in blocks_of(volts):
                bench.measuring.accept_block("1", block)
                bench.measuring.round()
            made = bench.end().measurements
            extremes.append(
                [
                    (
                        min(each.metrics[name].min for each in made if name in each.metrics),
                        max(each.metrics[name].max for each in made if name in each.metrics),
                    )
                    for name in ("f", "thd")
                ]
            )
        assert np.allclose(extremes[0], extremes[1], rtol=1e-6), cycles


def test_ticks_and_modes_lose_or_double_nothing() -> None:
    t0_ns = -(-T0_NS // TICK_NS) * TICK_NS - 4 * 10**9
    volts, _ = mains(12.0, RATE_HZ, frequency_hz=60.02, seed=3)
    whole = told(volts, [], t0_ns)
    for modes in (
        [(0, True)],
        [(0, True), (230, False)],
        [(200, True)],
        [(150, True), (300, False), (420, True)],
    ):
        found = told(volts, modes, t0_ns)
        assert gapless(found), modes
        assert found[0][1].start_ns == pytest.approx(whole[0][1].start_ns, abs=20_000)
        assert found[-1][1].end_ns == pytest.approx(whole[-1][1].end_ns, abs=20_000)
        assert all(each.metrics["rms"].min > 119.9 and each.metrics["rms"].max < 120.1 for _, each in found)


def test_a_gap_ends_a_prompt_measurement() -> None:
    volts, _ = mains(9.0, RATE_HZ, seed=5)
    bench = Bench()
    bench.status.prompt = True
    for at, block in enumerate(blocks_of(volts)):
        if 250 <= at < 260:
            continue
        bench.measuring.accept_block("1", block)
        bench.measuring.round()
    made = bench.end().measurements
    holes = [(after.start_ns or 0) - (before.end_ns or 0) for before, after in pairwise(made)]
    assert all(hole >= 0 for hole in holes)
    assert sorted(holes)[-2] == 0 and max(holes) == pytest.approx(10 * 200 / RATE_HZ * 1e9, abs=35_000_000)
