"""A test that no exception ends, on real runs of pytest."""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CONFTEST = """
from hung_tests import HungTests
def pytest_configure(config):
    config.pluginmanager.register(HungTests(2, grace_s=1))
"""
HANGS = """
import signal, time
import pytest

def hang_for_good():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])  # as C code that does not return
    time.sleep(1000)

@pytest.fixture
def ends_badly():
    yield
    hang_for_good()
"""
WHERE = {
    "in a call": "def test_it(): hang_for_good()",
    "as a fixture ends": "def test_it(ends_badly): pass",
    "as a fixture of a failed test ends": "def test_it(ends_badly): assert False",
}


def pytest_run(folder: Path, test: str, *words: str) -> "subprocess.CompletedProcess[str]":
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_hang.py").write_text(f"{HANGS}\n{test}\n\ndef test_the_next(): pass\n")
    command = [sys.executable, "-m", "pytest", "-v", "-o", f"pythonpath={HERE}", "-p", "no:cacheprovider"]
    return subprocess.run(
        [*command, *words], cwd=folder, capture_output=True, check=False, text=True, timeout=240
    )


@pytest.mark.parametrize("test", WHERE.values(), ids=WHERE)
def test_a_hung_test_ends_with_its_name(tmp_path: Path, test: str) -> None:
    done = pytest_run(tmp_path, test, "-n", "1", "--timeout", "2")
    assert "crashed while running 'test_hang.py::test_it'" in done.stdout
    assert "hang_for_good" in done.stderr  # where it was
    assert "PASSED test_hang.py::test_the_next" in done.stdout and done.returncode == 1


def test_a_tests_own_limit_counts(tmp_path: Path) -> None:
    marked = "".join(
        f"@pytest.mark.timeout({limit})\ndef test_{number}(): time.sleep(4)\n"
        for number, limit in enumerate(("60", "timeout=60", "0"))
    )
    done = pytest_run(tmp_path, marked)
    assert "4 passed" in done.stdout, done.stderr
