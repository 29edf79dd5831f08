"""A connection of libzmq by its number, which may be another file's by now."""

import os
import socket as tcp
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest
from waiting import wait_for

from opq_cloud.core.backend import inflow
from opq_cloud.core.backend.inflow import Inflow, MessageLimits
from opq_cloud.core.backend.tcp_connections import remote_address, shut_down
from opq_cloud.core.service import ServiceCounters


def test_a_number_reused_by_a_file_is_released(tmp_path: Path) -> None:
    """Hostile connections otherwise leave a descriptor each time that their number was reused."""
    with (tmp_path / "file").open("w") as file:
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        for _ in range(10):
            assert remote_address(file.fileno()) is None
            assert not shut_down(file.fileno(), ("127.0.0.1", 1))
        assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


READ = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT * FROM t'); c.close()"


def test_reused_numbers_keep_the_stores_locks(tmp_path: Path) -> None:
    """Without its lock the next program that reads the file deletes the write-ahead log in use."""
    path = tmp_path / "opq.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as store:
        store.execute("PRAGMA journal_mode=WAL")
        store.execute("CREATE TABLE t (x)")
        numbers = [int(each.name) for each in Path("/proc/self/fd").iterdir() if is_file(each, path)]
        assert numbers
        for number in numbers:
            assert remote_address(number) is None
            assert not shut_down(number, ("127.0.0.1", 1))
        store.execute("INSERT INTO t VALUES (1)")
        subprocess.run([sys.executable, "-c", READ, str(path)], check=True, timeout=240)
        assert Path(f"{path}-wal").exists()
        store.execute("INSERT INTO t VALUES (2)")
    with closing(sqlite3.connect(path)) as again:
        assert again.execute("SELECT count(*) FROM t").fetchone() == (2,)


def is_file(descriptor: Path, path: Path) -> bool:
    with suppress(OSError):
        return descriptor.readlink() == path
    return False


def test_memory_is_read_while_a_connection_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle service pays nothing; one at a Unix socket, where the kernel counts no bytes, neither."""
    read: list[bytes] = []

    def read_bytes(statm: bytes) -> int:
        read.append(statm)
        return 0

    monkeypatch.setattr(inflow, "_private_bytes", read_bytes)
    watch = inflow.InflowWatch()
    monkeypatch.setattr(inflow, "WATCH", watch)
    limits = MessageLimits(2**20, 100)
    with closing(Inflow("boxes", ServiceCounters(), limits, lambda _: None, curve=False)) as boxes:
        ends = tcp.socketpair()
        boxes.open(ends[0].fileno(), None)
        wait_for(lambda: bool(read))
        time.sleep(0.5)  # what is running ends
        before = len(read)
        time.sleep(0.5)
        assert len(read) == before
        with (
            tcp.create_server(("127.0.0.1", 0)) as server,
            tcp.create_connection(server.getsockname()) as client,
        ):
            accepted, address = server.accept()
            boxes.open(accepted.fileno(), address)
            wait_for(lambda: len(read) > before + 3)
            boxes.remove(accepted.fileno())
            accepted.close()
            client.close()
        for each in ends:
            each.close()
