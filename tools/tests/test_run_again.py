"""conftest.py: a test that fails is run once more, and the summary names it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = """
from pathlib import Path

def test_unsteady():
    seen = Path(__file__).with_name("seen")
    before = seen.exists()
    seen.touch()
    assert before, "the first try"

def test_wrong():
    assert 1 == 2
"""


def test_what_passes_the_second_time_is_named_and_what_fails_twice_has_failed(tmp_path: Path) -> None:
    tests = tmp_path / "test_two.py"
    tests.write_text(TESTS)
    (tmp_path / "conftest.py").write_text((ROOT / "conftest.py").read_text())
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml")]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "--reruns", "1", str(tests)],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert "1 failed, 1 passed, 2 rerun" in done.stdout
    named = [line for line in done.stdout.splitlines() if "::test_unsteady: " in line]
    assert len(named) == 1 and "the first try" in named[0]
