"""The whole way with the real firmware: an emulated Box on a pty, gateway, cloud, incident on the page."""

import itertools
import json
import os
import signal
import time
from pathlib import Path

import pytest
from house_under_test import house, processes_with, run_up, until

from opq_gateway.ring.ring import Ring
from opq_hil.backends.backend import Backend
from opq_hil.backends.emulated import DIP_SHARE
from opq_hil.suites.gateway_process import Kills, asked_again_ns
from opq_proto.errors import OpqError
from opq_tools.built_firmware import prepare

pytestmark = pytest.mark.timeout(900)


def _prepared() -> None:
    try:
        prepare(print)  # outside of the time-outs below: at first use it takes minutes
    except OpqError as error:
        pytest.skip(str(error))


def test_a_killed_gateway_loses_no_sample_of_the_emulated_box(tmp_path: Path, hil_backend: Backend) -> None:
    _prepared()
    folder = tmp_path / "gateway" / "box1" / "ring"

    def end_sample() -> int:
        newest = Ring(folder, "1", 24.0).newest() if folder.exists() else None
        return 0 if newest is None else newest.end_sample

    with house(tmp_path, "--box", "qemu:1") as up:
        until(lambda: end_sample() > 24_000, 90, "two seconds of samples")
        deaf_s = []
        for _ in range(2):
            before = end_sample()
            os.kill(up.pid_of("opq_gateway"), signal.SIGKILL)
            killed_ns = time.monotonic_ns()
            until(lambda before=before: end_sample() > before + 12_000, 40, "samples after the kill")
            asked_ns = asked_again_ns(tmp_path / "log" / "gateway.log", "1", killed_ns)
            deaf_s.append((asked_ns - killed_ns) / 1e9)
        end = end_sample()  # what waits behind a later hole is written when the house ends, the hole given up
    blocks = [block for block in Ring(folder, "1", 24.0).read_blocks(0, 2**62) if block.end_sample <= end]
    missing = sum(after.first_sample - before.end_sample for before, after in itertools.pairwise(blocks))
    assert missing <= Kills(tuple(deaf_s)).excused_samples, f"the Box was asked again after {deaf_s} s"


def test_a_dip_at_the_emulated_box_becomes_a_sag_on_the_page(tmp_path: Path, hil_backend: Backend) -> None:
    _prepared()
    before_s = time.time()
    words = ("--box", "qemu:1", "--until-incident", "--json", "--timeout-s", "200")
    done = run_up(tmp_path, *words, timeout_s=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    incident = found["incident"]
    assert (incident["class"], incident["box_ids"], found["boxes"]) == ("sag", ["1"], 1)
    assert incident["residual_percent"] == pytest.approx(100 * DIP_SHARE, abs=0.1)
    # 10 cycles of 60 Hz; each end may fall anywhere in a window that is renewed each half cycle
    assert incident["end_ms"] - incident["start_ms"] == pytest.approx(10_000 / 60, abs=2 * 8.4)
    # stamped by the emulated GPS, which began with this machine's time
    assert before_s + 25 < incident["start_ms"] / 1000 < time.time()
    assert processes_with(str(tmp_path)) == []
