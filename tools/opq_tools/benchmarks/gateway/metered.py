"""Metered: a relay on loopback that counts what goes through, so that the uplink's bytes are known."""

import selectors
import socket
import threading
from types import TracebackType

PIECE_BYTES = 1 << 16


class Metered:
    """Relays one port of 127.0.0.1 to another for the `with` block.

    Attributes:
        port: where to connect instead.
        up_bytes, down_bytes: payload of TCP, from and to whoever connected.
    """

    def __init__(self, target_port: int) -> None:
        self.up_bytes = self.down_bytes = 0
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._peers: dict[socket.socket, tuple[socket.socket, bool]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metered", daemon=True)

    def __enter__(self) -> "Metered":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        for each in list(self._peers):
            each.close()
        self._listener.close()
        self._selector.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            for key, _ in self._selector.select(0.1):
                if key.fileobj is self._listener:
                    self._accept()
                elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._peers:
                    self._pass_on(key.fileobj)

    def _accept(self) -> None:
        inner, _ = self._listener.accept()
        try:
            outer = socket.create_connection(("127.0.0.1", self._target_port), 5)
        except OSError:
            inner.close()  # as a broker that is not there
            return
        for each, other, up in ((inner, outer, True), (outer, inner, False)):
            self._peers[each] = (other, up)
            self._selector.register(each, selectors.EVENT_READ)

    def _pass_on(self, source: socket.socket) -> None:
        target, up = self._peers[source]
        try:
            data = source.recv(PIECE_BYTES)
            self._count(len(data), up)
            target.sendall(data)
        except OSError:
            data = b""
        if not data:
            for each in (source, target):
                self._selector.unregister(each)
                del self._peers[each]
                each.close()

    def _count(self, size: int, up: bool) -> None:
        if up:
            self.up_bytes += size
        else:
            self.down_bytes += size
