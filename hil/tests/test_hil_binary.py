"""The firmware that one would flash, in an emulator: every scenario of both suites (opq_hil.suites).

By default those of EVERY_RUN; `-m slow` plays the others, `-m soak` those of hours, and
`-k cold_start -m ""` that one alone.
"""

from collections.abc import Mapping
from pathlib import Path

import pytest

from opq_hil.suites.catalogue import EVERY_RUN, SCENARIOS
from opq_hil.suites.digests import WORLDS, read_digests, scenarios
from opq_hil.suites.scenario import Bench, ScenarioVerdict

pytestmark = pytest.mark.timeout(3600)


def mark_of(name: str) -> tuple[pytest.MarkDecorator, ...]:
    if name in EVERY_RUN:
        return ()
    return (pytest.mark.soak if SCENARIOS[name].soak else pytest.mark.slow,)


ALL = [pytest.param(name, marks=mark_of(name), id=name) for name in SCENARIOS]


def test_what_every_run_plays_are_scenarios_that_are_no_soaks() -> None:
    assert not any(SCENARIOS[name].soak for name in EVERY_RUN)


@pytest.mark.parametrize("scenario", ALL)
def test_the_binary_shows(scenario: str, verdicts: Mapping[str, ScenarioVerdict]) -> None:
    verdict = verdicts[scenario]
    if verdict.outcome == "skipped":
        pytest.skip(verdict.reason)
    assert verdict.outcome == "passed", f"{verdict.reason}; worlds, logs and reports in {verdict.folder}"


DIGESTS = Path(__file__).parents[1] / "digests" / "qemu.json"
QUICK_WORLD = "line_noise"


@pytest.mark.parametrize(
    "world", [pytest.param(name, marks=[] if name == QUICK_WORLD else [pytest.mark.slow]) for name in WORLDS]
)
def test_a_short_world_comes_to_what_was_kept(world: str, hil_bench: Bench) -> None:
    (scenario,) = scenarios([world], read_digests(DIGESTS)["worlds"], {})
    scenario.play(hil_bench)
