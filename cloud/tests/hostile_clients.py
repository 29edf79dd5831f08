"""A cloud as deployed, in a process with few descriptors, and clients that mean it harm."""

import socket as tcp
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from http.client import HTTPException
from pathlib import Path

import psutil
import pytest
import zmq
from free_ports import free_offset

from opq_proto.keys.key_files import KeyFolder, KeyPair, generate, read_secret_file

DESCRIPTORS = 700
START_S = 200.0
BOX_PORTS = {"measurements": 9880, "commands": 8194, "answers": 8196}
"""Ports of Boxes, before the offset."""


class LimitedCloud:
    """`opq-cloud NAME` in its own process, under `ulimit -n`."""

    def __init__(
        self, folder: Path, name: str = "all", descriptors: int = DESCRIPTORS, offset: int | None = None
    ) -> None:
        self.keys, self.offset = KeyFolder(folder / "curve"), offset or free_offset()
        self._folder, self._name, self._descriptors = folder, name, descriptors
        self._log = folder / f"{name}.log"
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "opq_cloud", self._name, "--data-dir", str(self._folder)]
        command += ["--port-offset", str(self.offset)]
        with self._log.open("ab") as log:
            self.child = subprocess.Popen(
                ["sh", "-c", f'ulimit -n {self._descriptors}; exec "$@"', "sh", *command],
                stderr=log,
                stdout=subprocess.DEVNULL,
            )

    @property
    def said(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def close(self) -> None:
        self.child.kill()
        self.child.wait()

    def answer(self, port: int, path: str = "/", timeout_s: float = 240) -> str:
        """What it answers; raises OSError and HTTPException."""
        url = f"http://127.0.0.1:{port + self.offset}{path}"
        with urllib.request.urlopen(url, timeout=timeout_s) as answer:
            return str(answer.read().decode())

    def wait_answer(self, port: int, path: str = "/") -> str:
        """The first answer of an address; fails at once where the process has ended."""
        until_s = time.monotonic() + START_S
        while time.monotonic() < until_s:
            with suppress(OSError, HTTPException):  # also one that is cut short
                return self.answer(port, path)
            assert self.child.poll() is None, self.said[-4000:]
            time.sleep(0.05)
        pytest.fail(f"port {port} does not answer: {self.said[-4000:]}")

    def counted(self, counter: str, port: int = 8911) -> float:
        """The sum of a counter over its labels."""
        lines = self.wait_answer(port, "/metrics").splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"opq_{counter}"))

    def memory_bytes(self) -> int:
        return int(psutil.Process(self.child.pid).memory_info().rss)

    def descriptors(self) -> int:
        return int(psutil.Process(self.child.pid).num_fds())

    def endpoint(self, port: int) -> str:
        return f"tcp://127.0.0.1:{port + self.offset}"

    def pair(self, box_id: str) -> KeyPair:
        return read_secret_file(self.keys.box_secret(box_id))

    @property
    def server(self) -> KeyPair:
        return KeyPair(read_secret_file(self.keys.server_secret).public)


@contextmanager
def curve_socket(
    kind: int, endpoint: str, pair: KeyPair | None, server: KeyPair, heartbeat_ms: int = 0
) -> Iterator[zmq.Socket[bytes]]:
    """A client with a key (None: one that is not admitted), in a context of its own."""
    with unconnected(kind, pair, server) as socket:
        socket.setsockopt(zmq.HEARTBEAT_IVL, heartbeat_ms)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 120_000)  # else as short as the period
        socket.connect(endpoint)
        yield socket


@contextmanager
def unconnected(kind: int, pair: KeyPair | None, server: KeyPair) -> Iterator[zmq.Socket[bytes]]:
    """Such a client, to which a monitor can be given that sees its whole handshake."""
    with zmq.Context() as context, context.socket(kind) as socket:
        socket.linger = 0
        socket.sndhwm = 0  # a SUB drops subscriptions that its own queue has no room for, in silence
        (pair or generate()).secure(socket, server.public)
        yield socket


def send_message(endpoint: str, kind: int, pair: KeyPair, server: KeyPair, frames: Sequence[bytes]) -> None:
    """Sends one message that is too large, and stays until its connection is ended."""
    with unconnected(kind, pair, server) as socket:
        watched = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        socket.connect(endpoint)
        assert watched.poll(240_000), "the handshake has not ended"
        watched.recv_multipart()
        if kind == zmq.XPUB:  # it sends once there is a subscriber
            assert socket.poll(240_000)
        socket.send_multipart(frames, copy=False)
        assert watched.poll(240_000), "the connection is not ended"
        socket.disable_monitor()
        watched.close(linger=0)


class Relay:
    """Passes what clients send on to an address, at most so many bytes, or changed, and its answers."""

    def __init__(
        self, endpoint: str, most_bytes: int | None = None, change: Callable[[bytes], bytes] = bytes
    ) -> None:
        self._listener = tcp.create_server(("127.0.0.1", 0))
        self.endpoint = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        host, port = endpoint.removeprefix("tcp://").split(":")
        self._to, self._most_bytes, self._change = (host, int(port)), most_bytes, change
        self.passed_bytes = 0
        self.ended = threading.Event()
        """Set once the address has ended a connection."""
        self._open: list[tcp.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(tcp.SHUT_RDWR)
        self._listener.close()
        for each in list(self._open):
            with suppress(OSError):
                each.shutdown(tcp.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                with suppress(OSError):
                    server = tcp.create_connection(self._to)
                    self._open += [client, server]
                    threading.Thread(target=self._up, args=(client, server), daemon=True).start()
                    threading.Thread(target=self._down, args=(server, client), daemon=True).start()

    def _up(self, client: tcp.socket, server: tcp.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65_536):
                if self._most_bytes is not None and self.passed_bytes >= self._most_bytes:
                    continue  # the rest of it never comes
                server.sendall(self._change(data))
                self.passed_bytes += len(data)
            server.shutdown(tcp.SHUT_WR)

    def _down(self, server: tcp.socket, client: tcp.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65_536):
                client.sendall(data)
        self.ended.set()
        with suppress(OSError):
            client.shutdown(tcp.SHUT_RDWR)


@contextmanager
def silent_connections(endpoint: str, count: int, again_s: float = 0.5) -> Iterator[None]:
    """Connections that say nothing; those that are ended come again within `again_s`."""
    host, port = endpoint.removeprefix("tcp://").split(":")
    opened: list[tcp.socket] = []
    stop = threading.Event()

    def connect() -> None:
        with suppress(OSError):
            each = tcp.socket()
            each.setblocking(False)
            each.connect_ex((host, int(port)))
            opened.append(each)

    def come_again() -> None:
        while not stop.wait(again_s):
            for each in list(opened):
                with suppress(BlockingIOError):
                    try:
                        ended = each.recv(1000) == b""
                    except ConnectionError:
                        ended = True
                    if ended:
                        opened.remove(each)
                        each.close()
                        connect()

    for _ in range(count):
        connect()
    thread = threading.Thread(target=come_again)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        for each in opened:
            each.close()


@contextmanager
def limited_cloud(folder: Path, name: str = "all", descriptors: int = DESCRIPTORS) -> Iterator[LimitedCloud]:
    KeyFolder(folder / "curve").create(True, ["1", "4", "10"])
    with closing(LimitedCloud(folder, name, descriptors)) as cloud:
        yield cloud
