"""A serial server of RFC 2217, by pyserial's PortManager, before a pty whose modem lines it writes down."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import serial
from serial.rfc2217 import PortManager

POLL_S = 0.005


class ServedPort(serial.Serial):
    """A port with lines, which a pty has not."""

    cts = dsr = ri = cd = True

    def __init__(self, path: str) -> None:
        self.lines: list[tuple[str, bool]] = []
        super().__init__(path, timeout=0)
        self.lines.clear()

    def _update_dtr_state(self) -> None:
        self.lines.append(("dtr", self.dtr))

    def _update_rts_state(self) -> None:
        self.lines.append(("rts", self.rts))


class _Connection:
    """What PortManager needs of a connection."""

    def __init__(self, peer: socket.socket) -> None:
        self._peer, self._lock = peer, threading.Lock()

    def write(self, data: bytes) -> None:
        with self._lock, contextlib.suppress(OSError):
            self._peer.sendall(data)


@contextmanager
def served(path: str) -> Iterator[tuple[str, ServedPort]]:
    """The address of a server for a port, and the port; one client after another."""
    ended = threading.Event()
    port = ServedPort(path)

    def serve(peer: socket.socket) -> None:
        connection = _Connection(peer)
        manager: Any = PortManager(port, connection)
        peer.settimeout(POLL_S)
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                came = peer.recv(4096)
                if not came:
                    return
                port.write(b"".join(manager.filter(came)))
            data = port.read(4096)
            if data:
                connection.write(b"".join(manager.escape(data)))

    def accept() -> None:
        while not ended.is_set():
            with contextlib.suppress(OSError):
                peer, _ = server.accept()
                with peer:
                    serve(peer)

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"rfc2217://127.0.0.1:{server.getsockname()[1]}?timeout=60", port
        finally:
            ended.set()
            thread.join(240)
            port.close()
