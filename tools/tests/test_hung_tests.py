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


@pytest.mark.parametrize("test", WHERE.values(), ids=WHERE)
def test_a_hung_test_ends_with_its_name(tmp_path: Path, test: str) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_hang.py").write_text(f"{HANGS}\n{test}\n\ndef test_the_next(): pass\n")
    words = [
        "-m",
        "pytest",
        "-v",
        "-n",
        "1",
        "--timeout",
        "2",
        "-o",
        f"pythonpath={HERE}",
        "-p",
        "no:cacheprovider",
    ]
    done = subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert "crashed while running 'test_hang.py::test_it'" in done.stdout
    assert "hang_for_good" in done.stderr  # where it was
    assert "PASSED test_hang.py::test_the_next" in done.stdout and done.returncode == 1


def test_a_tests_own_limit_counts(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_long.py").write_text(
        "import time, pytest\n@pytest.mark.timeout(60)\ndef test_it(): time.sleep(4)\n"
    )
    words = ["-m", "pytest", "-o", f"pythonpath={HERE}", "-p", "no:cacheprovider"]
    done = subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert "1 passed" in done.stdout, done.stderr
