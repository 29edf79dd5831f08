"""The whole way with the real firmware: an emulated Box on a pty, gateway, cloud, incident on the page."""

import json
import time
from pathlib import Path

import pytest
from house_under_test import processes_with, run_up

from opq_hil.backends.backend import Backend
from opq_hil.backends.emulated import DIP_SHARE
from opq_proto.errors import OpqError
from opq_tools.emulator import prepare

pytestmark = pytest.mark.timeout(900)


def test_a_dip_at_the_emulated_box_becomes_a_sag_on_the_page(tmp_path: Path, hil_backend: Backend) -> None:
    try:
        prepare(print)  # outside of the time-out below: at first use it takes minutes
    except OpqError as error:
        pytest.skip(str(error))
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
