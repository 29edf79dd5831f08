"""pytest plug-in: HIL scenarios in any tests. Load it with `-p opq_hil.plugin`.

pytest --hil-backend board --hil-port /dev/ttyUSB0 --hil-firmware DIR

def test_my_idea(hil_bench):
    run = hil_bench.run(World(10 * NS_PER_S))  # opq_hil.world.world
    assert when(run.capture.received, "sampling") < 2 * NS_PER_S  # opq_hil.world.strategy

def test_my_broker(foreign_boxes):
    foreign_boxes("cur", {"1": Generator(seed=1)}, KeyFolder(data_dir / "curve"), port_offset=100)
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from opq_hil.backends.backend import BACKENDS, Backend, BackendError, Fixtures, backend
from opq_hil.backends.boards import BOARDS, FILE, Board, read_own_board
from opq_hil.backends.firmware import (
    NO_FIRMWARE,
    VARIABLE,
    Firmware,
    FirmwareError,
    flashed_firmware,
    read_firmware,
)
from opq_hil.backends.qemu import ABSENT
from opq_hil.suites.scenario import Bench
from opq_proto.errors import ConfigError

if TYPE_CHECKING:  # loaded by the tests that use them
    from opq_proto.keys.key_files import KeyFolder
    from opq_sim.box.source import SampleSource
    from opq_sim.foreign.host import ForeignEndpoints, ForeignHost

WALL_LIMIT_S = 900.0
_absent = pytest.StashKey[str]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("hil", "OPQ Box: hardware in the loop")
    group.addoption(
        "--hil-backend", default="qemu", choices=sorted(BACKENDS), help="What runs the firmware. [qemu]"
    )
    group.addoption("--hil-port", default="", help="Serial port of the board, for --hil-backend board.")
    group.addoption("--hil-power-command", default="", help="Relay of its supply; called with on or off.")
    group.addoption("--hil-program-command", default="", help="Programmer at it; called with a .hex file.")
    group.addoption("--hil-board", choices=list(BOARDS), help="Which it is. [opqbox]")
    group.addoption("--hil-board-dir", type=Path, help=f"Folder of a board of your own, with its {FILE}.")
    group.addoption(
        "--hil-firmware", type=Path, help=f"Folder of built boards. [${VARIABLE}, build/firmware]"
    )
    group.addoption(
        "--hil-required",
        action="store_true",
        help="Fail if a test is skipped because firmware or emulator is not here.",
    )
    group.addoption("--hil-keep", type=Path, help="Folder for worlds, logs and reports. [pytest's own]")


def pytest_configure(config: pytest.Config) -> None:
    """Refuses a wrong --hil-board-dir before the first test."""
    own = config.getoption("--hil-board-dir")
    if own is None:
        return
    if config.getoption("--hil-board"):
        raise pytest.UsageError("give --hil-board, for our boards, or --hil-board-dir, for another")
    try:
        read_own_board(own)
    except ConfigError as error:
        raise pytest.UsageError(f"--hil-board-dir: {error}") from None


@pytest.fixture(scope="session")
def hil_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder in which runs leave their world, log and report."""
    folder = request.config.getoption("--hil-keep")
    return folder.absolute() if folder else tmp_path_factory.mktemp("hil")


@pytest.fixture(scope="session")
def hil_backend(request: pytest.FixtureRequest) -> Backend:
    """The chosen backend; the test is skipped, with the reason, where it cannot run."""
    try:
        options = request.config.getoption
        fixtures = Fixtures(options("--hil-power-command"), options("--hil-program-command"))
        name, own = options("--hil-backend"), options("--hil-board-dir")
        only = _board(request.config).name if own or name == "board" else ""
        return backend(name, options("--hil-port"), only, fixtures)
    except BackendError as error:
        request.config.stash[_absent] = str(error)
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def hil_firmware(request: pytest.FixtureRequest) -> Mapping[str, Firmware]:
    """Built firmware by board; the test is skipped if there is none. Override this fixture to build it."""
    try:
        return firmware_at_bench(request.config) or read_firmware(request.config.getoption("--hil-firmware"))
    except FirmwareError as error:
        pytest.skip(f"{NO_FIRMWARE}: {error}")


def firmware_at_bench(config: pytest.Config) -> Mapping[str, Firmware]:
    """The build that --hil-firmware names for a board on a bench; empty where an emulator plays.

    Raises:
        FirmwareError: the board is not in that folder.
    """
    board = _board(config)
    if config.getoption("--hil-backend") != "board":
        return {}
    return {board.name: flashed_firmware(config.getoption("--hil-firmware"), board)}


def _board(config: pytest.Config) -> Board:
    own = config.getoption("--hil-board-dir")
    return read_own_board(own) if own else BOARDS[config.getoption("--hil-board") or "opqbox"]


@pytest.fixture
def hil_bench(
    request: pytest.FixtureRequest,
    hil_backend: Backend,
    hil_firmware: Mapping[str, Firmware],
    hil_folder: Path,
) -> Bench:
    """A bench with a folder of the test's own; a failing test shows it."""
    folder = hil_folder / request.node.name
    print(f"HIL: {hil_backend.version}; worlds, logs and reports in {folder}")  # shown when the test fails
    return Bench(hil_backend, hil_firmware, folder, WALL_LIMIT_S)


class ForeignBoxes(Protocol):
    """The value of the fixture `foreign_boxes`."""

    def __call__(
        self,
        generation: str,
        sources: Mapping[str, "SampleSource"],
        keys: "KeyFolder",
        port_offset: int = 0,
        endpoints: "ForeignEndpoints | None" = None,
    ) -> "ForeignHost": ...


@pytest.fixture
def foreign_boxes() -> Iterator[ForeignBoxes]:
    """Boxes of the original (generation `cur` or `leg`) on CURVE, until the test ends.

    foreign_boxes("cur", {"1": Generator(seed=1)}, KeyFolder(data_dir / "curve"), port_offset=100)
    """
    from opq_sim.foreign.generations import foreign_host  # 0.13 s of CPU: not for each run of pytest

    with ExitStack() as running:
        yield lambda *args, **named: running.enter_context(foreign_host(*args, **named))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Reports what did not run for want of emulator or firmware, since a skip is easily overlooked."""
    why = config.stash.get(_absent, "")
    absent = _not_run(terminalreporter, why)
    if not why and not absent:
        return
    terminalreporter.section("THE FIRMWARE DID NOT RUN", red=True)
    terminalreporter.write_line(why or f"{ABSENT}, or {NO_FIRMWARE}")
    for report in absent:
        whole_file = report.longrepr[0] if isinstance(report.longrepr, tuple) else ""
        terminalreporter.write_line(f"not run: {report.nodeid or whole_file}")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """With --hil-required, a run in which such tests were skipped has failed."""
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    if terminal is None or exitstatus != pytest.ExitCode.OK or not session.config.getoption("--hil-required"):
        return
    if _not_run(terminal, session.config.stash.get(_absent, "")):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _not_run(terminal: pytest.TerminalReporter, why: str) -> list[pytest.TestReport]:
    """The tests that were skipped for want of an emulator or firmware."""
    reasons = (why, ABSENT, NO_FIRMWARE) if why else (ABSENT, NO_FIRMWARE)
    skipped = terminal.stats.get("skipped", [])
    return [report for report in skipped if any(reason in str(report.longrepr) for reason in reasons)]
