"""Fuzzed frames under the address and undefined-behaviour sanitizers: none corrupt, every byte counted."""

import subprocess

import pytest
from host_library import program
from test_link_golden import DEVICE, SOURCES


def fuzz(frames: int, seed: int) -> str:
    built = program("link_fuzz", [DEVICE / "tests" / "link_fuzz.c", *SOURCES])
    run = subprocess.run(
        [built, str(frames), str(seed)], capture_output=True, text=True, timeout=600, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_damaged_frames_never_crash() -> None:
    assert " 0 corrupt 0 unaccounted" in fuzz(10_000, 1)


@pytest.mark.soak
def test_many_damaged_frames_never_crash() -> None:
    print(fuzz(100_000, 2))
