"""Parts of a world of faults: cables, networks, processes, ports and databases that fail on request."""

import os
import socket
import sqlite3
import time
from pathlib import Path

import pytest

from opq_proto.kit import ports
from opq_sim.faults.parts.cabled_boxes import Cable
from opq_sim.faults.parts.database_lock import DatabaseLock
from opq_sim.faults.parts.fork_server import ForkServer
from opq_sim.faults.parts.free_ports import OFFSETS, free_offset, held_ports
from opq_sim.faults.parts.played_service import ServiceProcess, longest_recovery_s
from opq_sim.faults.parts.stepped_clock import put_step_ns
from opq_sim.faults.parts.wire import FaultyRelay


def test_port_offsets_never_overlap() -> None:
    taken = [port + offset for offset in OFFSETS for port in ports.PORTS.values()]
    assert len(set(taken)) == len(taken)


def test_a_cable_returns_as_another_pty(tmp_path: Path) -> None:
    cable = Cable(tmp_path / "box1")
    cable.send(b"unplugged")
    assert not (tmp_path / "box1").is_symlink() and cable.unplugged_bytes == 9
    cable.plug()
    assert (tmp_path / "box1").exists()
    cable.unplug()
    assert not (tmp_path / "box1").is_symlink() and cable.receive() == b""


def test_a_cut_wire_refuses_and_a_silent_delays() -> None:
    near, far = (offset + 9880 for offset in free_offset(3))
    with socket.create_server(("127.0.0.1", far)) as server, FaultyRelay({"a": far}, {"a": near}, 1) as wire:
        client = socket.create_connection(("127.0.0.1", near), 60)
        peer, _ = server.accept()
        client.settimeout(60)
        peer.sendall(b"one")
        assert client.recv(9) == b"one"
        wire.silent = True
        time.sleep(0.05)
        peer.sendall(b"two")
        client.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.recv(9)
        wire.silent = False
        client.settimeout(60)
        assert client.recv(9) == b"two"
        wire.cut = True
        with pytest.raises(ConnectionResetError):
            client.recv(9)
        until_s = time.monotonic() + 240
        with pytest.raises(OSError):
            while time.monotonic() < until_s:
                socket.create_connection(("127.0.0.1", near), 60).close()
                time.sleep(0.02)
        client.close()
        peer.close()


def test_a_lossy_wire_is_late_and_loses_nothing() -> None:
    near, far = (offset + 9880 for offset in free_offset(4))
    data = bytes(range(256)) * 40
    with socket.create_server(("127.0.0.1", far)) as server, FaultyRelay({"a": far}, {"a": near}, 1) as wire:
        wire.lossy = True
        with socket.create_connection(("127.0.0.1", near), 60) as client:
            peer, _ = server.accept()
            client.sendall(data)
            peer.settimeout(60)
            arrived = b""
            while len(arrived) < len(data):
                arrived += peer.recv(65536)
            peer.close()
        assert arrived == data and wire.lost > 0


def test_a_restarted_service_reports_its_pause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_step_ns(tmp_path / "clock", 0)
    (tmp_path / "talks.py").write_text(
        "import sys, time\n"
        'print(\'{"event": "serial.opened", "box_id": "1"}\', \'last words\', sep=\'\\n\', file=sys.stderr)\n'
        "time.sleep(60)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    with ForkServer(()) as server:
        service = ServiceProcess("talks", ["talks"], tmp_path / "clock", tmp_path / "log", server)
        service.start()
        until_s = time.monotonic() + 240
        while not service.last_words and time.monotonic() < until_s:
            time.sleep(0.02)
        service.kill()
        assert service.last_words == "last words" and service.recovery_s("1") > 0
        service.start()
        service.kill()
    assert (service.starts, service.recovery_s("2") > 0, service.complaints) == (2, True, [])


def test_an_unwritten_answer_was_not_asked() -> None:
    changes = [(4.5, "12", False), (7.1, "12", True), (8.1, "", False), (9.6, "12", True)]
    assert longest_recovery_s(changes, {}, "12", 20.0) == pytest.approx(2.6)
    assert longest_recovery_s(changes, {(8.1, "12"): 8.0}, "12", 20.0) == pytest.approx(2.6)
    assert longest_recovery_s(changes, {(8.1, "12"): 4.5}, "12", 20.0) == pytest.approx(5.1)
    assert longest_recovery_s(changes, {(8.1, "12"): 4.5}, "1", 20.0) == pytest.approx(11.9)


def test_a_worlds_ports_are_reserved() -> None:
    """They are busy for others, and free for the world's own services."""
    (offset,) = free_offset(5, 1)
    port = ports.with_offset("triggering_box", offset)
    with held_ports([offset]):
        with socket.socket() as other, pytest.raises(OSError):
            other.bind(("127.0.0.1", port))
        with socket.create_server(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port), 60):
            pass
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))


def test_a_claimed_offset_is_not_given_again() -> None:
    (offset,) = free_offset(6, 1)
    assert offset not in free_offset(6, 3), "although nothing listens there yet"


def test_a_locked_store_refuses_and_slow_delays(tmp_path: Path) -> None:
    path = tmp_path / "opq.db"
    file = sqlite3.connect(path, timeout=0.0, isolation_level=None)
    file.execute("PRAGMA journal_mode = WAL")
    file.execute("CREATE TABLE rows (n)")

    def refused() -> bool:
        try:
            file.execute("INSERT INTO rows VALUES (1)")
        except sqlite3.OperationalError:
            return True
        return False

    def until(wanted: bool) -> None:
        until_s = time.monotonic() + 240
        while refused() is not wanted:
            assert time.monotonic() < until_s
            time.sleep(0.005)

    with DatabaseLock(path) as lock:
        lock.locked = True
        until(True)
        assert file.execute("SELECT count(*) FROM rows").fetchone()[0] >= 0  # readers go on
        lock.locked = False
        until(False)
        lock.slow = True
        until(True)
        until(False)
        until(True)
    until(False)
    assert lock.held_s > 0
    file.close()
