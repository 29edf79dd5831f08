"""The firmware that one would flash, in an emulator: every scenario of both suites (opq_hil.suites).

`-k cold_start` plays that one alone; `-m soak` the long ones.
"""

from collections.abc import Mapping

import pytest

from opq_hil.suites.catalogue import SCENARIOS
from opq_hil.suites.scenario import Verdict

pytestmark = pytest.mark.timeout(3600)
ALL = [
    pytest.param(name, marks=pytest.mark.soak if scenario.soak else (), id=name)
    for name, scenario in SCENARIOS.items()
]


@pytest.mark.parametrize("scenario", ALL)
def test_the_binary_shows(scenario: str, verdicts: Mapping[str, Verdict]) -> None:
    verdict = verdicts[scenario]
    if verdict.outcome == "skipped":
        pytest.skip(verdict.reason)
    assert verdict.outcome == "passed", f"{verdict.reason}; worlds, logs and reports in {verdict.folder}"
