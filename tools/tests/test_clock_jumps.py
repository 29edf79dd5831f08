"""The machine's clock is set while everything runs: each dip is one incident, and old data are never well.

`shifted_clock.c` is preloaded into all processes of `opq-tools up`, with a dip at Boxes 1 and 4 each 20 s.
It takes some four minutes a case; the always-run counterparts are `gateway/tests/test_serial_clock.py` (which
time a sample has after which setting) and `test_health_sentences.py` (what is said of data of another time).
"""

import json
import mmap
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from free_ports import free_offset
from house_under_test import until

YEARS_56_S = int(56 * 365.25 * 86_400)
DIP_EVERY_S = 20.0
NEAR_S = 3.0
"""Greatest distance of an incident's start from the dip's time."""
AFTER_S = 120.0
"""So long the system runs after the last setting."""


@dataclass(frozen=True, slots=True)
class Setting:
    """The clock is off by `by_s` from `at_s` (after everything runs) on; whether it is synchronised then."""

    at_s: float
    by_s: int
    synchronised: bool


class ShiftedSystem:
    """`opq-tools up` whose processes all have the shifted clock."""

    def __init__(self, folder: Path, library: Path, first: Setting) -> None:
        self.folder, self._clock, self.offset = folder / "D", folder / "clock", free_offset()
        self._clock.write_bytes(bytes(16))
        with self._clock.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 16)
        self.set(first)
        self._environment = {
            **os.environ,
            "LD_PRELOAD": str(library),
            "SHIFTED_CLOCK": str(self._clock),
        }
        self._log = (folder / "up.log").open("wb")
        self._up = self._start(
            "up",
            *("--port-offset", str(self.offset), "--replay-every-s", f"{DIP_EVERY_S:g}"),
            stdout=self._log,
            stderr=self._log,
        )
        until(lambda: b"everything runs" in (folder / "up.log").read_bytes(), 240, "everything runs")

    def set(self, setting: Setting) -> None:
        self._map[:] = struct.pack("qq", setting.by_s, setting.synchronised)

    def _start(self, *words: str, **files: Any) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "opq_tools.cli", *words, "--data-dir", str(self.folder)]
        return subprocess.Popen(command, env=self._environment, **files)

    def answer(self, *words: str) -> Any:
        with self._start(*words, "--json", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            output, _ = process.communicate(timeout=240)
        return json.loads(output)

    def dips(self) -> list[float]:
        """Starts of the incidents at Box 1, Unix seconds, in order."""
        found = self.answer("incidents", "show")
        return sorted(each["start_ms"] / 1000 for each in found if "1" in each["box_ids"])

    def end(self) -> None:
        self._up.send_signal(signal.SIGINT)
        try:
            self._up.wait(240)
        finally:
            self._up.kill()
            self._up.wait()
            self._log.close()


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    made = tmp_path_factory.mktemp("clock") / "shifted_clock.so"
    source = Path(__file__).with_name("shifted_clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(made), str(source)], check=True)
    return made


@contextmanager
def system(folder: Path, library: Path, first: Setting) -> Iterator[ShiftedSystem]:
    running = ShiftedSystem(folder, library, first)
    try:
        yield running
    finally:
        running.end()


def back_and_forth(by_s: int, synchronised: bool) -> tuple[Setting, ...]:
    return (
        Setting(0.0, 0, synchronised),
        Setting(25.0, by_s, synchronised),
        Setting(25.0 + 100.0, 0, synchronised),
    )


CASES = {
    **{
        f"{by_s:+d} s, {'' if synchronised else 'not '}synchronised": back_and_forth(by_s, synchronised)
        for by_s in (1, -1, 3600, -3600, YEARS_56_S, -YEARS_56_S)
        for synchronised in (True, False)
    },
    "begins in 1970, then synchronised": (Setting(0.0, -YEARS_56_S, False), Setting(25.0, 0, True)),
}


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("case", CASES)
def test_each_dip_is_one_incident(case: str, tmp_path: Path, library: Path) -> None:
    first, *others = CASES[case]
    with system(tmp_path, library, first) as running:
        begun_s = time.time()
        for setting in others:
            time.sleep(max(0.0, begun_s + setting.at_s - time.time()))
            running.set(setting)
        time.sleep(AFTER_S)
        ended_s = time.time()
        found, status = running.dips(), running.answer("status")
    offsets = {0, *(each.by_s for each in CASES[case])}
    true_s = [min((start - by_s for by_s in offsets), key=lambda at: abs(at - ended_s)) for start in found]
    true_s.sort()
    apart = [later - earlier for earlier, later in pairwise(true_s)]
    print(case, [round(each, 1) for each in found], [round(each, 1) for each in apart], file=sys.stderr)
    assert len(true_s) >= int((ended_s - begun_s) / DIP_EVERY_S) - 2, "a dip has no incident"
    assert all(abs(each - DIP_EVERY_S) < NEAR_S for each in apart), "each dip once, in one of the two times"
    last_ms = max(each["last_seen_ms"] for each in status["boxes"])
    is_of_now = abs(last_ms / 1000 - (ended_s + others[-1].by_s)) < 180
    assert is_of_now or not status["ok"], "data of another time are never well"
