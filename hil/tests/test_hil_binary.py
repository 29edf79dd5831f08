"""The firmware that one would flash, in an emulator: every scenario of both suites (opq_hil.suites).

`-m slow` plays those of a minute and more, `-m soak` those of hours, `-k cold_start -m ""` that one alone.
"""

from collections.abc import Mapping
from pathlib import Path

import pytest

from opq_hil.suites.catalogue import SCENARIOS
from opq_hil.suites.digests import WORLDS, read_digests, scenarios
from opq_hil.suites.scenario import Bench, FirmwareScenario, ScenarioVerdict

pytestmark = pytest.mark.timeout(3600)


def marks_of(scenario: FirmwareScenario) -> list[pytest.MarkDecorator]:
    return [
        mark
        for mark, holds in ((pytest.mark.slow, scenario.slow), (pytest.mark.soak, scenario.soak))
        if holds
    ]


ALL = [pytest.param(name, marks=marks_of(scenario), id=name) for name, scenario in SCENARIOS.items()]


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
