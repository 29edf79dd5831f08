"""The Box's features hold the golden signals, under sanitizers and however the stream is cut."""

import subprocess

import pytest
from dsp_on_pc import SOURCES
from golden_signals import GOLDEN
from host_library import program

HERE = GOLDEN.parents[2] / "device" / "tests"


@pytest.mark.parametrize("block", [1, 37, 200, 900])
def test_features_hold_every_golden_signal(block: int) -> None:
    golden = program("golden_dsp", [*SOURCES[:-1], HERE / "golden_dsp.c"])
    files = [str(path) for path in sorted(GOLDEN.glob("*.txt"))]
    assert len(files) > 15
    done = subprocess.run(
        [str(golden), str(block), *files], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" off by ") > 40
