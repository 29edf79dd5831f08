"""The services' sockets: opened with limits, bound with a helpful error text, read in bursts."""

import errno
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import zmq

from opq_proto.errors import ConfigError, PortBusyError
from opq_proto.keys.backend_keys import backend_address
from opq_proto.kit.zmq_addresses import connectable
from opq_proto.kit.zmq_inbox import EVENTS, POLLIN, copy_received

Socket = zmq.Socket[bytes]
Context = zmq.Context[Socket]

LINGER_MS = 200
"""Time for messages that are still queued when a service ends."""
POLL_MS = 200
"""A loop checks its stop event at least this often; each look costs an idle process 0.1 to 0.2 ms."""
RESTING_POLL_MS = 600
"""The same after RESTING_AFTER_S without anything on its sockets. A key that is revoked ends its connection
within a second, with the 0.4 s in which the folder's change is noticed.
"""
RESTING_AFTER_S = 10.0
MESSAGES_PER_TURN = 1000
"""Messages read from one socket before the others get their turn."""
LARGEST_FRAME_BYTES = 2**20
"""A peer that sends a longer frame is disconnected; a Cycle has some 1.4 kB, an answer's header with a
gap for each of its 7200 Cycles less than 0.5 MB."""
LARGEST_TOPIC_BYTES = 1024
"""The same limit where peers only subscribe: libzmq keeps each byte of a topic in a node of its own."""
ZAP_DOMAIN = "opq"


class PollPace:
    """How long a loop waits for its sockets; one owner."""

    def __init__(self) -> None:
        self._came_s = time.monotonic()

    def wait_ms(self, came: bool) -> int:
        """Returns the next wait. `came`: whether anything was on the sockets since the last call."""
        now_s = time.monotonic()
        if came:
            self._came_s = now_s
        return RESTING_POLL_MS if now_s > self._came_s + RESTING_AFTER_S else POLL_MS


@contextmanager
def service_context() -> Iterator[Context]:
    """Yields a separate context for the service, ended after its sockets."""
    context: Context = zmq.Context()
    context.set(zmq.MAX_SOCKETS, 4096)
    copy_received(context)
    try:
        yield context
    finally:
        context.destroy()  # its monitors are still open


def open_socket(context: Context, kind: int, **options: int) -> Socket:
    """Opens a socket with bounded linger and frames; options by their ZeroMQ name, e.g. `sndhwm=1000`."""
    socket = context.socket(kind)
    socket.setsockopt(zmq.LINGER, LINGER_MS)
    publishes = kind in (zmq.PUB, zmq.XPUB)
    socket.setsockopt(zmq.MAXMSGSIZE, LARGEST_TOPIC_BYTES if publishes else LARGEST_FRAME_BYTES)
    for name, value in options.items():
        socket.setsockopt(getattr(zmq, name.upper()), value)
    return socket


def open_monitor(context: Context, socket: Socket, name: str, events: int) -> Socket:
    """Opens a monitor of the connections of `socket`, before it is bound; `name` is unique here."""
    address = f"inproc://monitor-{name}"
    socket.monitor(address, events)
    monitor = context.socket(zmq.PAIR)
    monitor.setsockopt(zmq.RCVHWM, 0)  # a full one would stop libzmq's I/O thread
    monitor.setsockopt(zmq.LINGER, 0)
    monitor.connect(address)
    return monitor


def bind(socket: Socket, endpoint: str, service: str, key: str) -> None:
    """Binds; `key` is the configuration's name of the address.

    An address with keys admits no client unless a `BackendAdmission` answers in the socket's context.
    Raises:
        PortBusyError: the address is in use, or not allowed.
        ConfigError: it is not an address.
        KeyFileError: it has keys, and the server's is not there.
    """
    address = backend_address(endpoint)
    endpoint = address.endpoint
    try:
        address.bind(socket)
    except (zmq.ZMQError, OSError) as error:
        if error.errno in (errno.EADDRINUSE, errno.EACCES, errno.EPERM, errno.EADDRNOTAVAIL):
            raise PortBusyError(
                f"{service} cannot bind {endpoint}: {error.strerror}; end the program that uses it, "
                f"set {key}, or use --port-offset"
            ) from error
        raise ConfigError(
            f"{key} is {endpoint!r}: {error.strerror}; want e.g. tcp://127.0.0.1:9880"
        ) from error


def connect(socket: Socket, endpoint: str, key: str) -> None:
    """Connects, with the keys that the address names.

    Raises:
        ConfigError: it is not an address.
        KeyFileError: it has keys, and ours or the server's is not there.
    """
    address = backend_address(connectable(endpoint))
    try:
        address.connect(socket)
    except zmq.ZMQError as error:
        raise ConfigError(
            f"{key} is {endpoint!r}: {error.strerror}; want e.g. tcp://127.0.0.1:9881"
        ) from error


def beyond_loopback(endpoint: str) -> bool:
    """Returns True if other machines may reach a socket bound there."""
    host = endpoint.removeprefix("tcp://").rpartition(":")[0].strip("[]")
    return endpoint.startswith("tcp://") and not (host.startswith("127.") or host in ("localhost", "::1"))


def has_message(socket: Socket) -> bool:
    """Returns True if a message waits."""
    return bool(int(socket.get(EVENTS)) & POLLIN)


class Receipt(Protocol):
    """Notes each message that was received, as `Inflow` does."""

    def deliver(self, first: zmq.Frame, size_bytes: int, frames: int) -> None: ...


def receive(
    socket: Socket, limit: int, receipt: Receipt | None = None
) -> Iterator[tuple[zmq.Frame, list[bytes]]]:
    """Yields at most `limit` waiting messages: the first frame with its metadata, and all frames as bytes.

    Frame by frame, because recv_multipart(copy=False) costs four times as much (1.0 and 4.2 us).
    """
    if not has_message(socket):  # cheaper than the exception of an empty socket
        return
    for _ in range(limit):
        try:
            first = socket.recv(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return
        frames = [first.bytes]
        more: int | bool = first.more
        while more:
            frames.append(socket.recv())
            more = socket.getsockopt(zmq.RCVMORE)  # type: ignore[assignment]
        if receipt is not None:
            receipt.deliver(first, sum(map(len, frames)), len(frames))
        yield first, frames


def send_past_full(socket: Socket, frames: Sequence[bytes]) -> None:
    """Sends on an XPUB socket with XPUB_NODROP that has a full subscriber: the others get the message."""
    socket.setsockopt(zmq.XPUB_NODROP, 0)
    try:
        socket.send_multipart(frames, zmq.NOBLOCK)
    finally:
        socket.setsockopt(zmq.XPUB_NODROP, 1)
