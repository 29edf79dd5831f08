"""The whole way with the real firmware: an emulated Box on a pty, gateway, cloud, incident on the page."""

import itertools
import os
import signal
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from house_under_test import House, get_incident, house, until

from opq_cloud.store import open_store
from opq_gateway.ring.ring import Ring
from opq_hil.backends.backend import Backend
from opq_hil.backends.emulated import DIP_SHARE
from opq_hil.backends.firmware import NO_FIRMWARE
from opq_hil.suites.gateway_process import UNREAD_EMULATED_S, Kills, longest_s, recovery_since_s
from opq_proto.errors import OpqError
from opq_sim.faults.evidence import dips_percent
from opq_tools.hil.built_firmware import prepare

pytestmark = pytest.mark.timeout(900)


def _prepared() -> None:
    try:
        prepare(print)  # outside of the time-outs below: at first use it takes minutes
    except OpqError as error:
        pytest.skip(f"{NO_FIRMWARE}: {error}")


def test_an_emulated_box_is_measured(tmp_path: Path, hil_backend: Backend) -> None:
    """The firmware's samples come as far as the store; the dip, half a minute later, is slow."""
    _prepared()
    with house(tmp_path, "--box", "qemu:1") as up:
        found_v = until(lambda: stored_v(up), 200, "a Measurement of the emulated Box")
    assert found_v == pytest.approx(120.0, rel=0.05)


def stored_v(up: House) -> float | None:
    """The newest rms of Box 1; None before the first Measurement."""
    with closing(open_store(None, up.data_dir)) as store:
        rows = store.measurements("1", 0, 2**53, 10_000)
    return rows[-1].metrics["rms"].average if rows else None


@pytest.mark.slow
def test_an_emulated_dip_survives_a_killed_gateway(tmp_path: Path, hil_backend: Backend) -> None:
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
        killed(up, 1)


SHIFTED_CLOCK = """
import sys, time
def shifted(clock, by):
    return lambda: clock() + by
if any("opq_gateway" in word for word in sys.orig_argv):
    time.time, time.time_ns = shifted(time.time, {by_s}), shifted(time.time_ns, round({by_s} * 10**9))
"""
"""The gateway's clock alone is wrong, as on a machine without a battery clock."""


@pytest.mark.slow
@pytest.mark.parametrize("ahead_s", [-10_800.0, 10.6, 3600.0, -4.2])
def test_a_gps_lock_causes_no_false_incident(
    tmp_path: Path, hil_backend: Backend, monkeypatch: pytest.MonkeyPatch, ahead_s: float
) -> None:
    """The GPS locks after 20 s, the first dip comes after 30 s."""
    _prepared()
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(SHIFTED_CLOCK.format(by_s=ahead_s))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "clock"))
    with house(tmp_path / "house", "--box", "qemu:1") as up:
        incident = until(lambda: first_that_is_over(up), 300, "the incident is on the page, and over")
        assert (incident["class"], incident["box_ids"]) == ("sag", ["1"])
        assert incident["residual_percent"] == pytest.approx(100 * DIP_SHARE, abs=0.1)
        assert abs(incident["start_ms"] / 1000 - time.time()) < 300, "in the time of the GPS"
        with closing(open_store(None, up.data_dir)) as store:
            rows = store.measurements("1", 0, 2**53, 10_000)
            (set_s,) = [row.metrics["clock_set_s"].average for row in rows if "clock_set_s" in row.metrics]
            assert set_s == pytest.approx(-ahead_s, abs=60.0), "an emulator lags"
            assert [each.kind for each in store.incidents()] == ["sag"]
            (record,) = store.events()
            event = store.event(record.event_id)
        assert event is not None and record.short == {} and "silence" not in record.because
        (wave,) = event.waveforms
        assert len(wave.counts) >= (record.end_ns - record.start_ns) * wave.rate_millihz // 10**12
        assert wave.gaps == () and dips_percent(wave.volts) == pytest.approx((100 * DIP_SHARE,), abs=0.5)
        assert not [line for line in up.lines if "fallen silent" in line or "started again" in line]


@pytest.mark.soak
@pytest.mark.timeout(longest_s(100))
def test_a_hundred_gateway_kills_lose_no_sample(tmp_path: Path, hil_backend: Backend) -> None:
    _prepared()
    with house(tmp_path, "--box", "qemu:1") as up:
        up.wait_for("the page is up")
        killed(up, 100)


def first_that_is_over(up: House) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = get_incident(up.view, 1)
    except OSError:  # no page yet, or no incident
        return None
    return found if found["closed"] else None


def killed(up: House, kills: int) -> None:
    """Kill the gateway so often and hold its ring to it that no sample is missing that the Box still had.

    What waits behind a later hole is written when the house ends, the hole given up: it does not count.
    """
    ring = Ring(up.data_dir / "gateway" / "box1" / "ring", "1", 24.0)

    def end_sample() -> int:
        newest = ring.newest()
        return 0 if newest is None else newest.end_sample

    end, recovery_s = 0, list[float]()
    for _ in range(kills):
        # `up` starts what ran less than 5 s later and later: 7 s of the Box from kill to kill
        until(lambda least=end + 84_000 if end else 1: end_sample() >= least, 40, "samples before the kill")
        os.kill(up.pid_of("opq_gateway"), signal.SIGKILL)
        killed_ns, end = time.monotonic_ns(), end_sample()
        # 2.7 times as many samples as are new pass the line: after three seconds of them it has caught up
        until(lambda end=end: end_sample() > end + 36_000, 40, "samples after the kill")
        recovery_s.append(recovery_since_s(up.data_dir / "log" / "gateway.log", "1", end, killed_ns))
    end = end_sample()
    blocks = [block for block in ring.read_blocks(0, 2**62) if block.end_sample <= end]
    missing = sum(after.first_sample - before.end_sample for before, after in itertools.pairwise(blocks))
    samples = sum(len(block.counts) for block in blocks)
    print(f"{kills} kills: {missing} of {samples} samples lost; {recovery_s} s")
    assert missing <= Kills(tuple(recovery_s), UNREAD_EMULATED_S).excused_samples, (
        f"the Box was asked again after {recovery_s} s"
    )
