"""How the whole suite runs: examples per profile, the wait for the emulator, and the cost of each room.

`tools/test` chooses the profile `ci` and the workers; a plain `pytest` is serial and runs every example.
"""

import contextlib
import gc
import io
import math
import os
import re
import resource
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from hung_tests import HungTests
from hypothesis import settings
from hypothesis.internal.conjecture import providers
from room_costs import RoomCosts, read_shares

from opq_proto.kit import log

EXAMPLES = {"opq": 1.0, "ci": 0.25, "nightly": 2.0}
"""Profile of Hypothesis -> factor on each test's own number of examples."""
USES_EMULATOR = re.compile(r"qemu|hil_bench|hil_backend|verdicts", re.IGNORECASE)
"""What the text of a test file has that runs our emulator, and of some that do not."""
LIMITS_S = {"soak": 3 * 3600, "slow": 1800}
"""Mark -> limit of a test that sets none itself; that of pyproject.toml is for tests of seconds."""
DEAREST_FILES = 60
"""Files in the list of those with the most CPU time."""
_SPENT_S = pytest.StashKey[float]()
_IS_LAST = pytest.StashKey[bool]()
"""Whether the fixtures of the session end with the present test."""

for _name in EXAMPLES:
    # No deadline: a busy machine would exceed it without a fault of the code. CI plays the same examples each
    # time: nothing is run again there, and a new example would fail a change that has nothing to do with it.
    settings.register_profile(_name, deadline=None, print_blob=True, derandomize=_name == "ci")
settings.load_profile("opq")


class LogOfTests(io.TextIOBase):
    """Lines of services into `sys.stderr`, except between two tests, when pytest captures nothing.

    Lines of a module's own stack would then appear among the dots, and belong to no test.
    """

    terminal = sys.__stderr__

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):  # the test that owned this stderr is over
            if sys.stderr is not None and sys.stderr is not self.terminal:
                sys.stderr.write(text)
        return len(text)


_LOG = LogOfTests()


def pytest_configure(config: pytest.Config) -> None:
    _LOG.terminal = None if config.option.capture == "no" else sys.stderr  # not captured yet
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Bill(config), "opq-room-costs")
    if not config.option.usepdb:
        limit_s = config.getini("timeout") if config.option.timeout is None else config.option.timeout
        config.pluginmanager.register(HungTests(float(limit_s)), "opq-hung-tests")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is found lives until the end: the garbage collector, 0.3 s a time by then, leaves it out."""
    if settings.get_current_profile_name() == "ci" and hasattr(providers, "_local_constants"):
        # Hypothesis draws constants from all of our modules that are imported at that moment: which ones a
        # worker has would choose its examples, and to read them takes each worker seconds
        providers._get_local_constants = lambda: providers._local_constants
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def notes_of_tests(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Commands find the systems that this worker's tests started, not those of others on this machine."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


@cache
def uses_emulator(file: Path) -> bool:
    return file.is_file() and USES_EMULATOR.search(file.read_text(encoding="utf-8")) is not None


def emulator_is_being_built() -> bool:
    """Returns True while tools/suite.py builds the emulator beside the tests."""
    built_until = os.environ.get("OPQ_EMULATOR_STEP")
    return built_until is not None and Path(built_until).exists()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Waits for the emulator before a test's time begins; has it log as a service, whatever ran before.

    A command run within a test may leave a level that hides later lines, and structlog's own default
    draws each traceback with rich and every local value: seconds where a value is a long waveform.
    """
    import structlog  # after `log`, which imports structlog without 90 modules of rich

    log.configure("test")
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(_LOG))
    item.config.stash[_IS_LAST] = nextitem is None
    while emulator_is_being_built() and uses_emulator(item.path):
        time.sleep(0.2)
    return (yield)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Scales each test's own number of examples; limits the time of long tests."""
    part = EXAMPLES.get(settings.get_current_profile_name(), 1.0)
    functions = {
        getattr(item.obj, "__func__", item.obj) for item in items if isinstance(item, pytest.Function)
    }
    for function in functions:
        own = getattr(function, "_hypothesis_internal_use_settings", None)
        if own is not None:
            function._hypothesis_internal_use_settings = settings(
                own, max_examples=math.ceil(own.max_examples * part)
            )
    for machine in {item.cls for item in items if isinstance(item, pytest.Function) and item.cls}:
        own = getattr(machine, "settings", None)
        if isinstance(own, settings):  # of a state machine
            machine.settings = settings(own, max_examples=math.ceil(own.max_examples * part))
    limit_long_tests(items)


def limit_long_tests(items: list[pytest.Item]) -> None:
    """Gives tests with a mark for long ones the limit of that mark, where they have none."""
    for item in items:
        names = {mark.name for mark in item.iter_markers()}
        marks = [mark for mark in LIMITS_S if mark in names]
        if marks and "timeout" not in names:
            item.add_marker(pytest.mark.timeout(LIMITS_S[marks[0]]))


def _cpu_s() -> float:
    """CPU time of this process and of its children that have ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> object:
    """Adds to each report the CPU time since the one before, for the process that prints.

    Not what ends with the session, such as a server: a worker's last file would pay for all that used it.
    """
    try:
        report = yield
    except SystemError:
        # CPython 3.11 counts the parser's depth for all threads together: pytest's parsing of the source of a
        # failed test can raise this while another thread parses, and would end the whole run
        report = pytest.TestReport.from_item_and_call(item, call)
    before_s, now_s = item.config.stash.get(_SPENT_S, 0.0), _cpu_s()
    item.config.stash[_SPENT_S] = now_s
    ends_session = call.when == "teardown" and item.config.stash.get(_IS_LAST, False)
    report.cpu_s = now_s - before_s if before_s and not ends_session else 0.0
    return report


def _failed_steps() -> list[str]:
    """Steps of tools/suite.py that have failed so far."""
    record = os.environ.get("OPQ_FAILED_STEPS")
    return Path(record).read_text().splitlines() if record else []


class _Bill:
    """Adds up the cost of each room, and fails the whole run when one exceeds its share."""

    def __init__(self, config: pytest.Config) -> None:
        self._costs = RoomCosts(read_shares(config.rootpath / "pyproject.toml"))
        # shares apply only to the whole suite
        self._whole = config.args_source is config.ArgsSource.TESTPATHS and not config.option.keyword
        self._whole = self._whole and config.option.markexpr in config.getini("addopts")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        cpu_s = getattr(report, "cpu_s", 0.0)
        self._costs.add(report.nodeid, cpu_s, report.duration, report.when == "call")

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if self._whole and exitstatus == pytest.ExitCode.OK and self._costs.excesses():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._whole:
            terminalreporter.section("time of each room")
            for line in self._costs.lines():
                terminalreporter.write_line(line)
            terminalreporter.section("the files with the most CPU time")
            for line in self._costs.dearest_files(DEAREST_FILES):
                terminalreporter.write_line(line)
            for line in self._costs.excesses():
                terminalreporter.write_line(line, red=True)
        if failed := _failed_steps():
            terminalreporter.section(f"FAILED besides the tests: {', '.join(failed)}", red=True)
