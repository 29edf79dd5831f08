"""The whole way with the real firmware: an emulated Box on a pty, gateway, cloud, incident on the page."""

import itertools
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from house_under_test import House, get_json, house, until

from opq_gateway.ring.ring import Ring
from opq_gateway.ring.segment import Segment
from opq_hil.backends.backend import Backend
from opq_hil.backends.emulated import DIP_SHARE
from opq_hil.suites.gateway_process import USUALLY_BEHIND_S, Kills, asked_again_ns
from opq_proto.errors import OpqError
from opq_tools.built_firmware import prepare

pytestmark = pytest.mark.timeout(900)


def _prepared() -> None:
    try:
        prepare(print)  # outside of the time-outs below: at first use it takes minutes
    except OpqError as error:
        pytest.skip(str(error))


def test_a_dip_at_the_emulated_box_is_a_sag_on_the_page_and_a_killed_gateway_loses_no_sample(
    tmp_path: Path, hil_backend: Backend
) -> None:
    """One house for both: an emulated Box takes half a core, and half a minute to its first dip."""
    _prepared()
    before_s = time.time()
    with house(tmp_path, "--box", "qemu:1") as up:
        # a dip comes each minute of the Box, and an emulator on a busy machine plays a minute in three
        incident = until(lambda: first_that_is_over(up), 200, "the incident is on the page, and over")
        assert (incident["class"], incident["box_ids"]) == ("sag", ["1"])
        assert incident["residual_percent"] == pytest.approx(100 * DIP_SHARE, abs=0.1)
        # 10 cycles of 60 Hz; each end may fall anywhere in a window that is renewed each half cycle
        assert incident["end_ms"] - incident["start_ms"] == pytest.approx(10_000 / 60, abs=2 * 8.4)
        # stamped by the emulated GPS, which began with this machine's time
        assert before_s + 25 < incident["start_ms"] / 1000 < time.time()
        end, deaf_s = killed(up)
    blocks = [block for block in ring_of(up).read_blocks(0, 2**62) if block.end_sample <= end]
    missing = sum(after.first_sample - before.end_sample for before, after in itertools.pairwise(blocks))
    assert missing <= Kills(deaf_s).excused_samples, f"the Box was asked again after {deaf_s} s"


def first_that_is_over(up: House) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = get_json(f"{up.view}/api/incidents/1")
    except OSError:  # no page yet, or no incident
        return None
    return found if found["closed"] else None


def ring_of(up: House) -> Ring:
    return Ring(up.data_dir / "gateway" / "box1" / "ring", "1", 24.0)


def killed(up: House) -> tuple[int, tuple[float, ...]]:
    """Up to which sample the ring goes then, and how old the newest one on disk was when the Box was asked
    again. A gateway that is behind when it is killed asks for what is older. Three kills in a row are
    `live_killed` of opq_hil.suites (slow).

    What waits behind a later hole is written when the house ends, the hole given up.
    """

    def newest() -> Segment:
        found = ring_of(up).newest()
        assert found is not None
        return found

    before = newest()
    os.kill(up.pid_of("opq_gateway"), signal.SIGKILL)
    killed_ns, killed_s = time.monotonic_ns(), time.time()
    behind_s = max(0.0, killed_s - newest().end_ns / 1e9 - USUALLY_BEHIND_S)
    # 2.7 times as many samples as are new pass the line: after three seconds of them it has caught up
    until(lambda: newest().end_sample > before.end_sample + 36_000, 40, "samples after the kill")
    asked_ns = asked_again_ns(up.data_dir / "log" / "gateway.log", "1", killed_ns)
    return newest().end_sample, ((asked_ns - killed_ns) / 1e9 + behind_s,)
