"""Connections of one loop: each is watched, and one with keys follows the private file when it is replaced.

    another file --> SETTLE_S --> a second connection with it --> it is admitted --> BOTH_S --> the first ends

Until the second is admitted the first one stays, so a key that nobody admits changes nothing. While both are
open a subscriber receives each message twice, and misses none.
"""

import os
import time
from dataclasses import dataclass

import zmq

from opq_cloud.peer_watch import PeerWatch
from opq_cloud.sockets import Socket, connect, connectable
from opq_proto import log
from opq_proto.backend_keys import BackendAddress, backend_address
from opq_proto.errors import KeyFileError
from opq_proto.keys import KeyPair

CHECK_S = 0.5
SETTLE_S = 1.0
"""In this time the binding service has read the new public file."""
BOTH_S = 0.5
"""In this time the subscriptions of the second connection have arrived."""

Mark = tuple[tuple[int, int, int] | None, ...]


@dataclass(slots=True)
class _KeyedConnection:
    socket: Socket
    address: BackendAddress
    endpoint: str
    """The endpoint as it was given to libzmq."""
    keys: tuple[bytes, KeyPair]
    mark: Mark
    """State of the files that `keys` were read from, or of the last files that were checked."""
    watch: PeerWatch
    changed_s: float | None = None
    """When other files were seen."""
    next_keys: tuple[bytes, KeyPair] | None = None
    """Set while there is a second connection."""
    joined_s: float | None = None
    """When the second one was admitted."""

    def follow(self, now_s: float) -> None:
        if self.socket.getsockopt(zmq.TYPE) != zmq.SUB:
            self.socket.getsockopt(zmq.EVENTS)  # else libzmq ends no connection of a socket that only sends
        mark = _mark(self.address)
        if mark != self.mark:
            self.mark, self.changed_s = mark, now_s
            if self.joined_s is None:
                self._end_second()
        if self.next_keys is not None:
            self._exchange(now_s)
        elif self.changed_s is not None and now_s >= self.changed_s + SETTLE_S:
            self.changed_s = None
            self._begin_second()

    def _begin_second(self) -> None:
        try:
            keys = self.address.client_keys()
        except KeyFileError as error:
            log.get().warning("backend.key_not_read", address=self.address.endpoint, error=str(error))
            return
        if keys == self.keys:
            return
        self.next_keys = keys
        server, own = keys
        own.secure(self.socket, server)
        self.socket.connect(_other_spelling(self.endpoint))

    def _exchange(self, now_s: float) -> None:
        assert self.next_keys is not None
        if self.joined_s is None and self.watch.has_met(_other_spelling(self.endpoint)):
            self.joined_s = now_s
        if self.joined_s is None or now_s < self.joined_s + BOTH_S:
            return
        self._end(self.endpoint)
        self.endpoint, self.keys = _other_spelling(self.endpoint), self.next_keys
        self.next_keys = self.joined_s = None
        log.get().info("backend.key_exchanged", address=self.address.endpoint, name=self.address.name)

    def _end_second(self) -> None:
        """Ends the second connection, which was not admitted, because the files have changed again."""
        if self.next_keys is not None:
            self._end(_other_spelling(self.endpoint))
            self.next_keys = self.joined_s = None

    def _end(self, endpoint: str) -> None:
        self.socket.disconnect(endpoint)
        self.watch.forget(endpoint)


class OwnKeys:
    """Belongs to the loop whose sockets it connects; call `follow` in that loop, after reading.

    A subscriber that was polled holds the first frame of its unread messages (libzmq's xsub.cpp). If its
    connection is ended then, libzmq ends the process: between poll and `follow` at least one message must
    be read.
    """

    def __init__(self) -> None:
        self._made: list[_KeyedConnection] = []
        self._watches: list[PeerWatch] = []
        self._next_s = 0.0

    def connect(self, socket: Socket, endpoint: str, key: str) -> None:
        """Connects as `sockets.connect` does; the connection follows its keys."""
        address = backend_address(connectable(endpoint))
        mark = _mark(address)
        watch = PeerWatch(socket, address.endpoint, key)
        self._watches.append(watch)
        connect(socket, endpoint, key)
        if address.folder is not None:
            keys = address.client_keys()
            self._made.append(_KeyedConnection(socket, address, address.endpoint, keys, mark, watch))

    def close(self) -> None:
        """Ends watching; for a context that does not end its sockets itself (`service_context` does)."""
        for watch in self._watches:
            watch.close()
        self._watches.clear()

    @property
    def problem(self) -> str | None:
        """Which connections have no peer, and why; None: all have one. From any thread."""
        return "; ".join(watch.problem for watch in self._watches if watch.problem) or None

    def follow(self) -> None:
        """Replaces connections whose keys were replaced, and watches their peers; most calls do nothing."""
        if self._watches and (now_s := time.monotonic()) >= self._next_s:
            self._next_s = now_s + CHECK_S
            for watch in self._watches:
                watch.read(now_s)
            for each in self._made:
                each.follow(now_s)


def _mark(address: BackendAddress) -> Mark:
    keys = address.keys
    if keys is None:
        return ()
    return tuple(map(_file_mark, (keys.box_secret(address.name), keys.server_public)))


def _file_mark(path: os.PathLike[str]) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - twice a second in each loop
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _other_spelling(endpoint: str) -> str:
    """Returns the same address in another spelling: libzmq needs it for a subscriber's second connection."""
    host, _, port = endpoint.rpartition(":")
    return f"{host}:{port[1:] if port.startswith('0') else '0' + port}"
