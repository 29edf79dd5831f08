"""The clock against a simulated world that knows the truth (clock_world.c): every stamp judged.

The limits are the issue's: locked below 200 ns rms and 1 us; one hour of holdover below 50 us with a
TCXO of 0.1 ppm/K under 5 K, where 3 K were seen before; inside the stated bound in 99.7 % of runs;
never back, never revised, no jump that neither state nor bound owns up to.
"""

import json
import subprocess

import pytest
from clock_on_pc import CLOCK_SOURCES, CMODULES, DEVICE
from host_library import program

TESTS = DEVICE / "tests"
SCENARIOS = (
    *("cold_start", "loss_and_return", "jump_of_300_ms", "glitches", "missing_pulses"),
    *("wrong_labels", "late_labels", "cold_again", "leap_inserted", "leap_deleted"),
    *("off_50_ppm", "temperature_ramp", "holdover_1h_learnt", "holdover_1h_after_20min"),
    *("holdover_1h_unlearnt", "gateway_time_only"),
)
OUTSIDE = 0.003
"""Share of runs that may leave their stated bound: 1 - 99.7 %."""


def world(scenario: str, first_seed: int, seeds: int) -> dict[str, float]:
    """Figures of `seeds` runs under sanitizers."""
    built = program(
        "clock_world", [*CLOCK_SOURCES, TESTS / "clock_world.c"], "-ffp-contract=off", optimise="-O2"
    )
    command = [str(built), scenario, str(first_seed), str(seeds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stderr
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def judge(scenario: str, figures: dict[str, float]) -> None:
    seeds = figures["seeds"]
    assert figures["back"] == 0
    assert figures["revised"] == 0
    assert figures["jumps"] == 0
    assert figures["steps_back"] == 0
    assert (figures["never_locked"] == 0) is (
        scenario != "late_labels"
    )  # of GPS's seconds the gateway has others
    assert figures["unsettled"] == 0
    assert figures["runs_outside"] <= max(OUTSIDE * seeds, 1 if seeds < 1000 else 0)
    if scenario != "gateway_time_only":
        assert figures["worst_rms_ns"] < 200
        assert figures["max_ns"] < 1000
    if scenario in ("holdover_1h_learnt", "holdover_1h_after_20min"):
        assert figures["holdover_p997_ns"] < 50_000
    if scenario == "holdover_1h_learnt":
        assert figures["unlearnt"] == 0


def test_the_world_has_these_scenarios() -> None:
    built = program(
        "clock_world", [*CLOCK_SOURCES, TESTS / "clock_world.c"], "-ffp-contract=off", optimise="-O2"
    )
    done = subprocess.run([str(built)], capture_output=True, text=True, timeout=600, check=True)
    assert tuple(done.stdout.split()) == SCENARIOS


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_some_runs_keep_every_promise(scenario: str) -> None:
    judge(scenario, world(scenario, 1, 60))


@pytest.mark.soak
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_all_runs_keep_every_promise(scenario: str) -> None:
    figures = world(scenario, 1, 2000)
    print(json.dumps(figures))
    judge(scenario, figures)


def test_a_stamp_is_of_one_piece() -> None:
    built = program(
        "clock_threads",
        [CMODULES / "clock" / "timeline.c", TESTS / "clock_threads.c"],
        "-pthread",
        optimise="-O2",
    )
    done = subprocess.run([str(built), "1"], capture_output=True, text=True, timeout=600, check=True)
    reported = json.loads(done.stdout)
    assert reported["published"] > 1000 and reported["read"] - reported["old"] > 1000
    assert reported["torn"] == 0
