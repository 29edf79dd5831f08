"""How much of the firmware's C runs in its tests on a PC, by gcov: all run again, built to count their lines.

What only the chip can run (MicroPython's modules, interrupts, start) is not built for a PC and not counted.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from host_library import DEVICE

LEAST_PERCENT = 94.0
"""Of the lines of all C files of ours that are built for a PC."""
HOST = re.compile(r"^from (host_library|\w+_on_pc) import ", re.M)
"""A test that builds C for the PC, by itself or by one of its helpers."""


def counted(folder: Path) -> dict[str, dict[int, int]]:
    """File below device/ -> line -> how often it ran, in whichever program ran it most."""
    found: dict[str, dict[int, int]] = defaultdict(dict)
    for counters in sorted(folder.glob("*.gcda")):
        command = ["gcov", "--json-format", "--stdout", str(counters)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=600, check=True)
        for source in json.loads(done.stdout)["files"]:
            path = Path(source["file"])
            if path.is_relative_to(DEVICE) and not path.is_relative_to(DEVICE / "tests"):
                lines = found[str(path.relative_to(DEVICE))]
                for line in source["lines"]:
                    number = line["line_number"]
                    lines[number] = max(lines.get(number, 0), line["count"])
    return found


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_tests_run_most_lines_of_the_c(tmp_path: Path) -> None:
    if shutil.which("gcov") is None:
        pytest.skip("gcov is not here: apt install gcc")
    tests = [path for path in (DEVICE / "tests").glob("test_*.py") if HOST.search(path.read_text())]
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *(str(path) for path in tests if path != Path(__file__))],
        env={**os.environ, "OPQ_C_COVERAGE": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=3000,
        check=False,
    )
    # 1: a test failed, as one that needs the speed of the plain build may; it has its verdict there
    assert done.returncode in (0, 1), done.stdout[-3000:]
    files = counted(tmp_path)
    lines = sum(map(len, files.values()))
    missed = {
        name: sorted(number for number, count in rows.items() if not count) for name, rows in files.items()
    }
    run = lines - sum(map(len, missed.values()))
    print(*(f"{name}: {numbers}" for name, numbers in sorted(missed.items()) if numbers), sep="\n")
    assert len(files) > 40
    assert 100.0 * run >= LEAST_PERCENT * lines, f"{run} of {lines} lines ran; never: {missed}"
