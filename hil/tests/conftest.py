"""In this repository the HIL tests build what they run: firmware of both boards, once (cached).

Suite A is played once per session, two emulators side by side, before the first test that asks for a verdict:
every scenario that some collected test names in its parameter `scenario`.
"""

from collections.abc import Mapping
from pathlib import Path

import pytest

from opq_hil.backends.backend import Backend
from opq_hil.backends.firmware import NO_FIRMWARE, Firmware
from opq_hil.plugin import firmware_at_bench
from opq_hil.suites.catalogue import SCENARIOS, play_all
from opq_hil.suites.scenario import ScenarioVerdict
from opq_proto.errors import OpqError


@pytest.fixture(scope="session")
def hil_firmware(request: pytest.FixtureRequest) -> Mapping[str, Firmware]:
    """Firmware of both boards, and of that of --hil-board-dir, built from this tree unless --hil-firmware or
    OPQ_FIRMWARE_DIR names some.

    For a board on a bench it is what --hil-firmware names.
    """
    from opq_tools.hil.built_firmware import firmware_for

    try:
        option = request.config.getoption
        return firmware_at_bench(request.config) or firmware_for(
            option("--hil-firmware"), board_dir=option("--hil-board-dir")
        )
    except OpqError as error:
        pytest.skip(f"{NO_FIRMWARE}: {error}")


@pytest.fixture
def made_dip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence in place of the recorded dip, for tests that judge what a board can play and play nothing."""
    (tmp_path / "event_9354_box1.i16").write_bytes(bytes(24_000))
    (tmp_path / "event_9354_box1.json").write_text('{"rate_hz": 12000, "volts_per_lsb": 0.0068}')
    monkeypatch.setenv("OPQ_RECORDINGS", str(tmp_path))


@pytest.fixture(scope="session")
def verdicts(
    request: pytest.FixtureRequest,
    hil_backend: Backend,
    hil_firmware: Mapping[str, Firmware],
    hil_folder: Path,
) -> Mapping[str, ScenarioVerdict]:
    """How every scenario of this session went."""
    # of this folder only: other rooms have parameters of these names, too
    ours = (item for item in request.session.items if item.path.is_relative_to(Path(__file__).parent))
    names = [
        item.callspec.params["scenario"]
        for item in ours
        if isinstance(item, pytest.Function) and "verdicts" in item.fixturenames
    ]
    terminal = request.config.pluginmanager.get_plugin("terminalreporter")

    def say(line: str) -> None:
        if terminal:
            terminal.write_line(f"hil: {line}")

    def report(verdict: ScenarioVerdict) -> None:
        line = f"{verdict.outcome} {verdict.scenario.name}, {verdict.wall_s:.1f} s"
        if verdict.virtual_s:
            line += f" for {verdict.virtual_s:.0f} s virtual"
        if verdict.outcome == "failed":
            line += f": {verdict.reason}; kept in {verdict.folder}"
        say(line)

    say(hil_backend.version)
    scenarios = [SCENARIOS[name] for name in dict.fromkeys(names)]
    played = play_all(scenarios, hil_backend, hil_firmware, hil_folder, report)
    return {verdict.scenario.name: verdict for verdict in played}
