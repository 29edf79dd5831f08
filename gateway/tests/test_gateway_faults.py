"""What a cabinet does to a gateway: brokers gone, keys refused, plugs pulled, kill -9, garbage."""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_thread import in_thread
from test_gateway_service import was_late
from waiting import wait_for

from opq_gateway import config
from opq_gateway.gateway import Gateway
from opq_gateway.ring.ring import Ring
from opq_hil.suites.gateway_process import Kills, recovery_since_s
from opq_proto.keys.key_files import KeyFolder, read_key_file
from opq_proto.messages import Measurement
from opq_sim.box.box import BLOCK_SAMPLES, Box
from opq_sim.box.box_host import BoxHost
from opq_sim.box.wire_faults import LineFaults
from opq_sim.mains.generator import Generator


def written(folder: Path, makai: Any, ports: dict[str, str]) -> Path:
    lines = [f'data_dir = "{folder}"', 'health_endpoint = "127.0.0.1:0"', "[uplink]"]
    lines += [f'{key} = "{value}"' for key, value in makai.endpoints.items()]
    for box_id, port in ports.items():
        lines += ["[[box]]", f'id = "{box_id}"', f'port = "{port}"']
    path = folder / "gateway.toml"
    path.write_text("\n".join(lines))
    return path


@contextmanager
def running(path: Path) -> Iterator[Gateway]:
    gateway = Gateway(config.load(path))
    with in_thread(gateway.run, until_ready=True):
        yield gateway


def process(path: Path, log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as stderr:
        return subprocess.Popen(
            [sys.executable, "-m", "opq_gateway", "run", "--config", str(path)], stderr=stderr
        )


def test_a_refused_key_works_once_admitted(tmp_path: Path, keys: KeyFolder, peer: Any) -> None:
    """The refusal is reported once."""
    admitted: set[bytes] = set()
    makai = peer(admit=lambda key: key in admitted)
    with BoxHost([Box("1")]) as host, running(written(tmp_path, makai, host.ports)) as gateway:
        wait_for(lambda: gateway.counters["1"]["uplink_refused"] >= 1)
        wait_for(lambda: gateway.counters["1"]["measurements_unheard"] >= 1)
        wait_for(lambda: gateway.statuses["1"].refused)  # counted first
        assert not makai.measurements
        admitted.add(read_key_file(keys.box_public("1")).public)
        wait_for(lambda: makai.measurements)
        assert gateway.statuses["1"].connected and not gateway.statuses["1"].refused


def test_the_uplink_comes_back_after_the_brokers_restart(tmp_path: Path, makai: Any) -> None:
    with BoxHost([Box("1")]) as host, running(written(tmp_path, makai, host.ports)) as gateway:
        wait_for(lambda: makai.measurements)
        makai.stop()
        wait_for(lambda: not gateway.statuses["1"].connected)
        wait_for(lambda: gateway.counters["1"]["measurements_unheard"] >= 1)
        seen = len(makai.measurements)
        makai.start()
        wait_for(lambda: len(makai.measurements) > seen)
        # each is sent or kept: those that were made at once, after a pause, not before they are counted
        wait_for(lambda: abs(made_and_not_sent(gateway)) <= 1)
        counted = gateway.counters["1"].snapshot()
        assert counted["uplink_lost"] >= 1
        assert counted["missing_samples"] == 0 or was_late(host, gateway, "1")


def made_and_not_sent(gateway: Gateway) -> float:
    counted = gateway.counters["1"].snapshot()
    return counted["measurements"] - counted["measurements_sent"] - counted["measurements_unheard"]


def test_a_box_unplugged_and_restarted_continues(tmp_path: Path, makai: Any) -> None:
    port = tmp_path / "ports" / "box1"
    path = written(tmp_path, makai, {"1": str(port)})
    with running(path) as gateway:
        wait_for(lambda: gateway.statuses["1"].serial_problem)
        with BoxHost([Box("1")], ports_dir=port.parent):
            wait_for(lambda: makai.measurements)
        wait_for(lambda: not gateway.statuses["1"].serial_open and gateway.counters["1"]["serial_lost"])
        assert gateway.counters["1"]["serial_lost"] == 1
        seen = len(makai.measurements)
        with BoxHost([Box("1")], ports_dir=port.parent):  # the same boot id: nothing but indices tell
            wait_for(lambda: len(makai.measurements) > seen)
        assert gateway.counters["1"]["failures"] == 0
    ring = Ring(tmp_path / "gateway" / "box1" / "ring", "1", 1.0)
    for wave in ring.read_blocks(0, 2**62):
        expected = Generator(seed=1).counts(wave.first_sample, len(wave.counts))
        assert np.array_equal(wave.counts, expected)


def test_a_box_that_resets_begins_an_axis(tmp_path: Path, makai: Any) -> None:
    host = BoxHost([Box("1")])
    with host, running(written(tmp_path, makai, host.ports)) as gateway:
        wait_for(lambda: makai.measurements)
        host.boxes["1"].reset()
        wait_for(lambda: gateway.counters["1"]["restarts"] == 1)
        seen = len(makai.measurements)
        wait_for(lambda: len(makai.measurements) >= seen + 2)
        assert gateway.counters["1"]["missing_samples"] == 0 or was_late(host, gateway, "1")


def test_new_boxes_that_change_places_are_noticed(tmp_path: Path, makai: Any) -> None:
    boxes = [Box("1"), Box("2")]
    ports = tmp_path / "ports"
    ports.mkdir()
    for box in boxes:
        box.settings.assign("box_id=0")
    with BoxHost(boxes) as host:
        one, two = (ports / name for name in "12")
        one.symlink_to(host.ports["1"])
        two.symlink_to(host.ports["2"])
        with running(written(tmp_path, makai, {"1": str(one), "2": str(two)})) as gateway:
            wait_for(lambda: all(gateway.counters[name]["numbered"] for name in "12"))
            assert [box.settings["box_id"] for box in boxes] == ["1", "2"]
            one.unlink()
            two.rename(one)
            two.symlink_to(host.ports["1"])
            wait_for(lambda: [gateway.statuses[name].foreign_box for name in "12"] == [2, 1])


def test_another_box_on_the_port_is_refused(tmp_path: Path, makai: Any) -> None:
    host = BoxHost([Box("2")])
    with host, running(written(tmp_path, makai, {"1": host.ports["2"]})) as gateway:
        wait_for(lambda: gateway.statuses["1"].foreign_box == 2)
        wait_for(lambda: gateway.counters["1"]["foreign_box"] > 10)
        assert gateway.counters["1"]["samples"] == 0 and not makai.measurements


def test_one_wrong_byte_in_ten_thousand_loses_nothing(tmp_path: Path, makai: Any) -> None:
    host = BoxHost([Box("1")], faults=LineFaults(baud=921_600, chunk_bytes=(1, 64), corruption=1e-4))
    with host, running(written(tmp_path, makai, host.ports)) as gateway:
        wait_for(lambda: gateway.counters["1"]["samples_recovered"] >= 600)
        wait_for(lambda: len(makai.measurements) >= 6)
        counted = gateway.counters["1"].snapshot()
        assert counted["frame_crc_errors"] > 0 and counted["resend_asked"] > 0
        assert counted["missing_samples"] == 0 or was_late(host, gateway, "1")
    ring = Ring(tmp_path / "gateway" / "box1" / "ring", "1", 1.0)
    for wave in ring.read_blocks(0, 2**62):
        assert np.array_equal(wave.counts, Generator(seed=1).counts(wave.first_sample, len(wave.counts)))


def test_kill_9_loses_no_sample_or_sequence(tmp_path: Path, makai: Any) -> None:
    log = tmp_path / "log"
    killed_ns, end_sample, recovery_s = 0, 0, []
    ring = Ring(tmp_path / "gateway" / "box1" / "ring", "1", 1.0)
    with BoxHost([box := Box("1")]) as host:
        path = written(tmp_path, makai, host.ports)
        for _ in range(3):
            seen = len(makai.measurements)
            gateway = process(path, log)
            try:
                wait_for(lambda seen=seen: len(makai.measurements) >= seen + 2)
            finally:
                if killed_ns:
                    recovery_s.append(recovery_since_s(log, "1", end_sample, killed_ns))
                os.kill(gateway.pid, signal.SIGKILL)
                killed_ns = time.monotonic_ns()
                gateway.wait(240)
                newest = ring.newest()
                end_sample = newest.end_sample if newest else 0
        seen = len(makai.measurements)
        gateway = process(path, log)
        try:  # what it missed is here when the newest is measured: they come in order
            wait_for(lambda: len(makai.measurements) >= seen + 2 and is_live(makai.decoded()[-1]))
        finally:
            gateway.terminate()
            assert gateway.wait(240) == 0
            recovery_s.append(recovery_since_s(log, "1", end_sample, killed_ns))
    by_number: dict[int | None, set[tuple[int | None, int | None]]] = {}
    for measurement in makai.decoded():  # what left just before a kill may come again, under its own number
        by_number.setdefault(measurement.sequence, set()).add((measurement.start_ns, measurement.end_ns))
    spans = [by_number[number] for number in sorted(by_number, key=lambda number: number or 0)]
    assert None not in by_number and all(len(span) == 1 for span in spans)
    starts = [span.pop()[0] or 0 for span in spans]
    assert starts == sorted(set(starts))
    blocks = ring.read_blocks(0, 2**62)
    missing = sum(after.first_sample - before.end_sample for before, after in itertools.pairwise(blocks))
    # what came while it was dead was sent again, except what a busy machine requested or served too late
    assert missing <= Kills(tuple(recovery_s)).excused_samples + box.ring.refused * BLOCK_SAMPLES
    for block in blocks:
        assert np.array_equal(block.counts, Generator(seed=1).counts(block.first_sample, len(block.counts)))
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert {"box.hello", "box.sampling", "uplink.connected"} <= {line["event"] for line in lines}
    assert not [line for line in lines if line["level"] in ("error", "critical")]


def is_live(measurement: Measurement) -> bool:
    return measurement.end_ns is not None and time.time_ns() - measurement.end_ns < 2 * 10**9


def test_two_gateways_do_not_share_a_data_folder(tmp_path: Path, makai: Any) -> None:
    path = written(tmp_path, makai, {"1": str(tmp_path / "absent")})
    with running(path):
        second = run_to_end("run", "--config", str(path))
        assert second.returncode == 1
        assert "another gateway uses" in second.stderr and "Traceback" not in second.stderr


def run_to_end(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "opq_gateway", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)


def test_a_wrong_start_is_one_clear_message(tmp_path: Path, keys: KeyFolder, makai: Any) -> None:
    import socket

    path = written(tmp_path, makai, {"1": str(tmp_path / "absent"), "7": "/dev/x"})
    missing = run_to_end("run", "--config", str(path))
    assert missing.returncode == 1 and "Traceback" not in missing.stderr
    assert "opqbox7_secret" in missing.stderr and "opq-tools keygen" in missing.stderr

    path = written(tmp_path, makai, {"1": str(tmp_path / "absent")})
    with socket.create_server(("127.0.0.1", 0)) as busy:
        taken = f"127.0.0.1:{busy.getsockname()[1]}"
        path.write_text(path.read_text().replace("127.0.0.1:0", taken))
        found = run_to_end("--config", str(path))
    assert found.returncode == 1 and taken in found.stderr and "Traceback" not in found.stderr

    path.write_text("ring_hourz = 1\nmeasurement_cycles = 601\n")
    found = run_to_end("run", "--config", str(path))
    assert found.returncode == 2
    for said in ("ring_hourz", 'did you mean "ring_hours"', "measurement_cycles", "1 to 600", "box"):
        assert said in found.stderr
    assert run_to_end("run").returncode == 2
    assert run_to_end("run", "--config", str(tmp_path / "none.toml")).returncode == 2


@pytest.mark.parametrize("what", ["queue", "ring"])
def test_broken_files_of_the_data_folder_stop_nothing(what: str, tmp_path: Path, makai: Any) -> None:
    folder = tmp_path / "gateway" / "box1"
    (folder / "ring").mkdir(parents=True)
    if what == "queue":
        (folder.parent / "queue.sqlite").write_bytes(os.urandom(10_000))
    else:
        (folder / "ring" / "000000000001.seg").write_bytes(os.urandom(10_000))
    with BoxHost([Box("1")]) as host, running(written(tmp_path, makai, host.ports)):
        wait_for(lambda: makai.measurements)
        assert makai.decoded()[0].sequence > 10**12


def test_a_box_over_tcp_is_served_alike(tmp_path: Path, makai: Any) -> None:
    host = BoxHost([Box("1")])
    with host, bridged(host.ports["1"]) as url, running(written(tmp_path, makai, {"1": url})) as gateway:
        wait_for(lambda: len(makai.measurements) >= 2)
        if not was_late(host, gateway, "1"):
            assert gateway.counters["1"]["missing_samples"] == 0
            assert gateway.counters["1"]["frame_crc_errors"] <= 1  # the first may be cut


@contextmanager
def bridged(device: str) -> Iterator[str]:
    """A pty on a TCP port of loopback, for one client."""
    import select
    import socket

    stop = threading.Event()
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(0.1)
    pty = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)

    def serve() -> None:
        client = None
        while not stop.is_set() and client is None:
            try:
                client, _ = server.accept()
            except TimeoutError:
                continue
        while not stop.is_set() and client is not None:
            ready, _, _ = select.select([pty, client], [], [], 0.1)
            if pty in ready:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it has gone; told by recv
                    client.sendall(os.read(pty, 4096))
            if client in ready:
                data = client.recv(4096)
                if not data:
                    break
                os.write(pty, data)
        if client is not None:
            client.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"socket://127.0.0.1:{server.getsockname()[1]}"
    finally:
        stop.set()
        thread.join(240)
        server.close()
        os.close(pty)


def test_a_waiting_gateway_ends_on_request(tmp_path: Path) -> None:
    pipe = tmp_path / "gateway.toml"
    os.mkfifo(pipe)  # as `--config <(…)`, whose writer is late

    def writer() -> int:
        """Its end of the pipe; 0 until the gateway reads the other one."""
        with contextlib.suppress(OSError):
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        return 0

    with process(pipe, tmp_path / "log") as waiting:
        opened = wait_for(writer)
        waiting.terminate()
        assert waiting.wait(240) == 0
        os.close(opened)
