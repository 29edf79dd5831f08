"""Frames between host and worker: MessagePack arrays that begin with their tag; their length precedes them.

A frame without the fields of its type, or with wrong types, is refused: the host does not trust a worker.
"""

import select
import socket
import struct
import threading
import time
from typing import Generic, Literal, TypeVar

import msgspec

from opq_plugins.sdk import Value

LENGTH = struct.Struct("!I")
MAX_MESSAGE_BYTES = 64 << 20
MAX_OF_WORKER_BYTES = 16 << 20
"""The host's limit for one frame, because a worker is not trusted."""
READ_BYTES = 1 << 18
MAX_CONTAINERS = 500_000
"""Most lists and maps in one frame; a batch of 2,000 rows has 250 in each row."""
MAX_VALUES = 4_000_000
"""Most values in one frame that may have more containers than that."""
_CONTAINERS = bytes([*range(0x80, 0xA0), 0xDC, 0xDD, 0xDE, 0xDF])
_OTHERS = bytes(set(range(256)) - set(_CONTAINERS))
_SIZES = {0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_FIXED_EXTENSIONS = {0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17}
_LENGTHS = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4, 0xC7: 1, 0xC8: 2, 0xC9: 4}
_EXTENSIONS = (0xC7, 0xC8, 0xC9)
_COUNTS = {0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}


class WireFrame(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """`number`: of a call or question, for its answer; `instance`: the source, sink or other symbol."""


class Caller(WireFrame):
    """The rule and operator of a call, and the ids of its rows."""

    rule_id: str
    op_id: str
    instance_id: int
    row_ids: list[str]


class Call(WireFrame, tag="call"):
    number: int
    instance: int
    method: str
    arguments: list[Value]
    caller: Caller | None = None


class Heartbeat(WireFrame, tag="heartbeat"):
    """Sent by the host, and sent back by the worker."""


class StoredState(WireFrame, tag="kept"):
    """Answers a StateQuestion."""

    number: int
    value: Value


class InstanceSignal(WireFrame, tag="signal"):
    """To a source: emit one more batch, or end. To any instance: it is not needed any more."""

    instance: int
    what: Literal["credit", "stop", "forget"]


class Ready(WireFrame, tag="ready"):
    """The handshake. `replaying`: sources that can go back to an offset; `error`: why it cannot work."""

    replaying: list[str] = []
    error: str = ""


class Answer(WireFrame, tag="answer"):
    """`state`: values that the call has put; `failure`: "", a key of the supervisor's FAILURES, "other"."""

    number: int
    value: Value
    state: dict[str, Value]
    failure: str = ""
    text: str = ""


class Rows(WireFrame, tag="rows"):
    instance: int
    rows: list[dict[str, Value]]
    meta: list[dict[str, Value] | None] | None
    offset: Value
    arrived_ms: int | list[int] | None


class Payloads(WireFrame, tag="payloads"):
    """Payloads as they were received by the source, not decoded."""

    instance: int
    payloads: list[bytes]
    meta: list[dict[str, Value] | None] | None
    offset: Value


class LogLine(WireFrame, tag="log"):
    instance: int
    event: str
    facts: dict[str, Value]


NoticeKind = Literal["error", "connected", "disconnected", "ended"]


class Notice(WireFrame, tag="notice"):
    """A source's report. `text`: the error, why it is disconnected, or what its `open` raised."""

    instance: int
    what: NoticeKind
    text: str


class StateQuestion(WireFrame, tag="state"):
    """Requests the engine's stored value for `key`."""

    number: int
    instance: int
    key: str


OfSource = Rows | Payloads | Notice
OfHost = Call | Heartbeat | StoredState | InstanceSignal
OfWorker = Ready | Heartbeat | Answer | LogLine | StateQuestion | OfSource
TO_WORKER: msgspec.msgpack.Decoder[OfHost] = msgspec.msgpack.Decoder(OfHost)
TO_HOST: msgspec.msgpack.Decoder[OfWorker] = msgspec.msgpack.Decoder(OfWorker)
Incoming = TypeVar("Incoming")


class Wire(Generic[Incoming]):
    """One end. Any thread sends; one thread receives. ConnectionError when the other end is closed."""

    def __init__(self, end: socket.socket, decoder: msgspec.msgpack.Decoder[Incoming]) -> None:
        """`decoder`: TO_HOST or TO_WORKER."""
        self._of_host = decoder is TO_HOST
        limits = MAX_MESSAGE_BYTES, MAX_OF_WORKER_BYTES
        self._most_out, self._most_in = limits if self._of_host else limits[::-1]
        end.setblocking(False)
        self._end = end
        self._sending = threading.Lock()
        self._in = bytearray()
        self._encoder, self._decoder = msgspec.msgpack.Encoder(), decoder

    def fileno(self) -> int:
        return self._end.fileno()

    def send(self, frame: WireFrame, timeout_s: float | None = None) -> None:
        """Raises TypeError: MessagePack has no form for a value; TimeoutError: the other end is full."""
        body = self._encoder.encode(frame)
        if len(body) > self._most_out:
            raise TypeError(f"a message of {len(body)} bytes; the limit is {self._most_out}")
        view = memoryview(LENGTH.pack(len(body)) + body)
        end_s = None if timeout_s is None else time.monotonic() + timeout_s
        if not self._sending.acquire(timeout=-1 if timeout_s is None else timeout_s):
            raise TimeoutError("the other end reads nothing")
        try:
            while view:
                try:
                    view = view[self._end.send(view) :]
                except BlockingIOError:
                    left_ms = None if end_s is None else max(0.0, end_s - time.monotonic()) * 1e3
                    poll = select.poll()
                    poll.register(self._end, select.POLLOUT)
                    if not poll.poll(left_ms):
                        # half a message may have been sent, so this wire cannot be used any more
                        raise TimeoutError("the other end reads nothing") from None
        finally:
            self._sending.release()

    def receive_ready(self) -> list[Incoming]:
        """Returns every complete frame. Raises ConnectionError at the end, ValueError for garbage."""
        try:
            chunk = self._end.recv(READ_BYTES)
        except BlockingIOError:
            return []
        if not chunk:
            raise ConnectionResetError("the other end has closed the connection")
        self._in += chunk
        found, at = [], 0
        while len(self._in) - at >= LENGTH.size:
            (size,) = LENGTH.unpack_from(self._in, at)
            if size > self._most_in:
                raise ValueError(f"a message of {size} bytes; the limit is {self._most_in}")
            if len(self._in) - at - LENGTH.size < size:
                break
            at += LENGTH.size
            body = bytes(memoryview(self._in)[at : at + size])
            if self._of_host:
                check_containers(body)
            try:
                found.append(self._decoder.decode(body))
            except (RecursionError, MemoryError) as error:
                raise ValueError(str(error)) from None
            at += size
        if at:
            del self._in[:at]
        return found

    def receive(self) -> list[Incoming]:
        """Waits until there are frames."""
        while True:
            poll = select.poll()
            poll.register(self._end, select.POLLIN)
            poll.poll()
            if found := self.receive_ready():
                return found

    def close(self) -> None:
        self._end.close()


def check_containers(body: bytes) -> None:
    """Raises ValueError where there are more lists and maps than any message has.

    One byte of MessagePack may be an empty list, which takes 64 in memory: 16 MiB of them take a gigabyte.
    """
    if len(body) <= MAX_CONTAINERS or len(body.translate(None, _OTHERS)) <= MAX_CONTAINERS:
        return  # fewer bytes may be containers than are allowed
    at = containers = values = 0
    end = len(body)
    while at < end:
        byte = body[at]
        at += 1
        values += 1
        if 0xA0 <= byte < 0xC0:
            at += byte & 0x1F
        elif 0x80 <= byte < 0xA0 or byte in _COUNTS:
            containers += 1
            at += _COUNTS.get(byte, 0)
        elif byte in _LENGTHS:
            width = _LENGTHS[byte]
            at += width + int.from_bytes(body[at : at + width], "big") + (byte in _EXTENSIONS)
        else:
            at += _SIZES.get(byte) or _FIXED_EXTENSIONS.get(byte, 0)
        if containers > MAX_CONTAINERS or values > MAX_VALUES:
            raise ValueError(f"a message of more than {MAX_CONTAINERS} lists and maps")
