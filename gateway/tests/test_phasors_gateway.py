"""The stream of a real gateway: two simulated Boxes on ptys, one grid, read by the independent client."""

import cmath
import math
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from free_ports import free_port
from pmu_client import Client, Config, Reading, data_of

from opq_proto.keys.key_files import KeyFolder
from opq_proto.messages import TimeSource
from opq_sim.box.box import Box
from opq_sim.box.box_host import BoxHost
from opq_sim.box.port import PtyPort
from opq_sim.box.source import RunClock
from opq_sim.mains.generator import Generator, MainsSignal
from opq_sim.mains.grid import Grid

LAG_CYCLES, SHARE = 0.19, 0.95
"""By how much Box 4 lags Box 1, and its share of Box 1's voltage."""
GRID = Grid(59.97, wander_hz=0.02, wander_s=11.0, phase_cycles=0.4)
WANTED = 25


class GpsBox(Box):
    """Stamps as a Box that is locked to GPS."""

    def start(self, port: PtyPort, clock: RunClock) -> None:
        super().start(port, replace(clock, source=TimeSource.GPS, uncertainty_ns=100))


def boxes() -> list[Box]:
    lagging = replace(GRID, phase_cycles=GRID.phase_cycles - LAG_CYCLES)
    return [
        GpsBox("1", Generator(MainsSignal(fundamental_v=120.0), GRID, seed=1)),
        GpsBox("4", Generator(MainsSignal(fundamental_v=120.0 * SHARE), lagging, seed=4)),
    ]


def test_a_real_gateways_boxes_share_an_axis(tmp_path: Path, keys: KeyFolder) -> None:
    """TVE within 1 % of the simulated truth, and the angle between the Boxes."""
    keys.create(False, ["4"])
    port = free_port()
    with BoxHost(boxes()) as host:
        config = tmp_path / "gateway.toml"
        config.write_text(
            f'data_dir = "{tmp_path}"\nhealth_endpoint = "127.0.0.1:0"\n'
            + "\n".join(f'[[box]]\nid = "{box_id}"\nport = "{path}"' for box_id, path in host.ports.items())
            + f'\n[phasors]\nendpoint = "127.0.0.1:{port}"\nreports_per_s = 20\n'
            + '[uplink]\ntrigger_endpoint = "ipc:///nowhere/t"\n'
        )
        command = [sys.executable, "-m", "opq_gateway", "run", "--config", str(config)]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as gateway:
            try:
                read = _read(port)
            finally:
                gateway.send_signal(signal.SIGTERM)
                gateway.wait(240)
        start_ns = host.boxes["1"].clock.start_ns
    worst = {"1": 0.0, "4": 0.0}
    for at, (one, four) in read.items():
        for box_id, reading in (("1", one), ("4", four)):
            true = _truth(box_id, at - start_ns / 1e9, at)
            worst[box_id] = max(worst[box_id], abs(reading.phasors[0] - true) / abs(true))
            assert not reading.unsynchronised and reading.quality <= 2
        between = four.phasors[0] / one.phasors[0]
        assert cmath.phase(between) == pytest.approx(-2 * math.pi * LAG_CYCLES, abs=0.01)
        assert abs(between) == pytest.approx(SHARE, rel=0.01)
    assert max(worst.values()) < 0.01, worst
    print(f"worst TVE {worst}")


def _read(port: int) -> dict[float, list[Reading]]:
    """Frames in which both are there, by UTC seconds."""
    client = _connected(port)
    with client:
        config: Config = client.config()
        client.ask(2)
        found: dict[float, list[Reading]] = {}
        for _ in range(20 * 60):
            message = client.await_kind("data")
            readings = data_of(message, config)
            if not any(reading.error for reading in readings):
                found[message.time_s(config)] = readings
            if len(found) == WANTED:
                return found
    raise AssertionError(f"only {len(found)} frames with both Boxes")


def _connected(port: int) -> Client:

    until = time.monotonic() + 240
    while True:
        try:
            return Client(port, 7734)
        except OSError:
            assert time.monotonic() < until, "the stream's port does not open"
            time.sleep(0.05)


def _truth(box_id: str, since_s: float, time_s: float) -> complex:
    lag, share = (0.0, 1.0) if box_id == "1" else (LAG_CYCLES, SHARE)
    turns = GRID.cycles_at(since_s) - lag - 0.25 - 60.0 * (time_s % 1.0)
    return cmath.rect(120.0 * share, 2 * math.pi * turns)
