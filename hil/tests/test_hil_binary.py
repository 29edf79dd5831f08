"""The firmware that one would flash, in an emulator: every scenario of both suites (opq_hil.suites).

Suite A runs once per session, two emulators side by side, before the first of these tests; each test then
tells how its scenario went. `-k cold_start` plays that one alone; `-m soak` the long ones.
"""

from collections.abc import Mapping
from pathlib import Path

import pytest

from opq_hil.backends.backend import Backend
from opq_hil.firmware import Firmware
from opq_hil.suites.catalogue import SCENARIOS, play_all
from opq_hil.suites.scenario import Scenario, Verdict

pytestmark = pytest.mark.timeout(1800)
ALL = [
    pytest.param(name, marks=pytest.mark.soak if scenario.soak else (), id=name)
    for name, scenario in SCENARIOS.items()
]


@pytest.fixture(scope="session")
def verdicts(
    request: pytest.FixtureRequest,
    hil_backend: Backend,
    hil_firmware: Mapping[str, Firmware],
    hil_folder: Path,
) -> Mapping[str, Verdict]:
    """How every scenario of this session went."""
    wanted = [item.callspec.params["name"] for item in request.session.items if of_this_file(item)]
    terminal = request.config.pluginmanager.get_plugin("terminalreporter")

    def told(verdict: Verdict) -> None:
        line = f"hil: {verdict.outcome} {verdict.scenario.name}, {verdict.wall_s:.1f} s"
        if verdict.virtual_s:
            line += f" for {verdict.virtual_s:.0f} s virtual"
        if verdict.outcome == "failed":
            line += f": {verdict.reason}; kept in {verdict.folder}"
        if terminal:
            terminal.write_line(line)

    if terminal:
        terminal.write_line(f"\nhil: {hil_backend.version}")
    scenarios: list[Scenario] = [SCENARIOS[name] for name in dict.fromkeys(wanted)]
    played = play_all(scenarios, hil_backend, hil_firmware, hil_folder, told)
    return {verdict.scenario.name: verdict for verdict in played}


def of_this_file(item: pytest.Item) -> bool:
    return item.path == Path(__file__) and hasattr(item, "callspec") and "name" in item.callspec.params


@pytest.mark.parametrize("name", ALL)
def test_the_binary_shows(name: str, verdicts: Mapping[str, Verdict]) -> None:
    verdict = verdicts[name]
    if verdict.outcome == "skipped":
        pytest.skip(verdict.reason)
    assert verdict.outcome == "passed", f"{verdict.reason}; worlds, logs and reports in {verdict.folder}"
