"""RemoteFS: the folder that `mpremote mount` has at its end, as /remote. The protocol is mpremote's (MIT).

A client that finds RemoteFS among the names of a session uses it, and does not send its own 4 KB of text, for
whose compilation the Box's heap is small.
"""

import io
import os
import select
import struct
import sys

import machine
import micropython
import vfs
from micropython import const

STAT = const(1)
LIST = const(2)
LIST_NEXT = const(3)
OPEN = const(4)
CLOSE = const(5)
READ = const(6)
READ_LINE = const(7)
WRITE = const(8)
SEEK = const(9)
REMOVE = const(10)
RENAME = const(11)
MAKE_FOLDER = const(12)
REMOVE_FOLDER = const(13)

MARK = const(0x18)
"""Begins a request, and its answer."""
WAIT_MS = const(5000)
ETIMEDOUT = const(110)
PLACE = "/remote"
FLUSH_REQUEST, SEEK_REQUEST, CLOSE_REQUEST, BUFFER_REQUEST = 1, 2, 4, 11
"""Of MicroPython's streams (py/stream.h)."""
BUFFER_BYTES = 249
"""What a module's text is read in; with 7 bytes more it fits whole blocks of the heap."""


class Client:
    """The other end: a request is written, then its answer is read, then `end`."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._poll.register(sys.stdin.buffer, select.POLLIN)

    def request(self, command: int, *parts: "str | bytes | int") -> None:
        """Writes a command with texts (with their length), bytes as they are, and numbers of 8 bits."""
        micropython.kbd_intr(-1)
        write = sys.stdout.buffer.write
        write(bytes((MARK, command)))
        for _ in range(30):
            if self.read(1)[0] == MARK:
                break
        for part in parts:
            if isinstance(part, str):
                data = part.encode()
                write(struct.pack("<i", len(data)))
                write(data)
            elif isinstance(part, int):
                write(struct.pack("b", part))
            else:
                write(part)

    def end(self) -> None:
        micropython.kbd_intr(3)

    def read(self, count: int) -> bytearray:
        data = bytearray(count)
        self.read_into(data)
        return data

    def read_into(self, data: "bytearray | memoryview") -> None:
        if len(data) == 0:
            return
        if not self._poll.poll(WAIT_MS):
            self.end()
            raise OSError(ETIMEDOUT)
        sys.stdin.buffer.readinto(data)

    def small(self) -> int:
        return int(struct.unpack("b", self.read(1))[0])

    def number(self) -> int:
        return int(struct.unpack("<i", self.read(4))[0])

    def data(self) -> bytearray:
        return self.read(self.number())

    def done(self, result: int) -> int:
        """Ends a request whose result is negative where it failed."""
        self.end()
        if result < 0:
            raise OSError(-result)
        return result


class RemoteFile(io.IOBase):
    def __init__(self, client: Client, number: int, is_text: bool) -> None:
        self._client = client
        self._number: int | None = number
        self._is_text = is_text

    def __enter__(self) -> "RemoteFile":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __iter__(self) -> "RemoteFile":
        return self

    def __next__(self) -> "str | bytes":
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def read(self, count: int = -1) -> "str | bytes":
        return self._read(READ, struct.pack("<i", count))

    def readline(self) -> "str | bytes":
        return self._read(READ_LINE, b"")

    def readlines(self) -> "list[str | bytes]":
        return list(self)

    def readinto(self, data: bytearray) -> int:
        self._request(READ, struct.pack("<i", len(data)))
        count = self._client.number()
        self._client.read_into(memoryview(data)[:count])
        self._client.end()
        return count

    def write(self, data: "str | bytes") -> int:
        more = data.encode() if isinstance(data, str) else data
        self._request(WRITE, struct.pack("<i", len(more)), bytes(more))
        return self._client.done(self._client.number())

    def seek(self, offset: int, whence: int = 0) -> int:
        self._request(SEEK, struct.pack("<i", offset), struct.pack("b", whence))
        return self._client.done(self._client.number())

    def flush(self) -> None: ...

    def close(self) -> None:
        if self._number is not None:
            self._request(CLOSE)
            self._client.end()
            self._number = None

    def ioctl(self, request: int, argument: int) -> int:
        if request == BUFFER_REQUEST:
            return BUFFER_BYTES
        if request == SEEK_REQUEST:
            memory = machine.mem32
            memory[argument] = self.seek(memory[argument], memory[argument + 4])
        elif request == CLOSE_REQUEST:
            self.close()
        elif request != FLUSH_REQUEST:
            return -1
        return 0

    def _request(self, command: int, *parts: bytes) -> None:
        assert self._number is not None
        self._client.request(command, self._number, *parts)

    def _read(self, command: int, more: bytes) -> "str | bytes":
        self._request(command, more)
        data = self._client.data()
        self._client.end()
        return str(data, "utf-8") if self._is_text else bytes(data)


class RemoteFS:
    def __init__(self, client: Client) -> None:
        self._client = client
        self._folder = "/"

    def mount(self, read_only: bool, make: bool) -> None: ...

    def umount(self) -> None: ...

    def chdir(self, path: str) -> None:
        path = self._whole(path)
        path = path if path.endswith("/") else path + "/"
        if path != "/":
            self.stat(path)
        self._folder = path

    def getcwd(self) -> str:
        return self._folder

    def stat(self, path: str) -> "tuple[int, ...]":
        client = self._client
        client.request(STAT, self._whole(path))
        result = client.small()
        if result < 0:
            client.done(result)
        mode, size, read_s, written_s, made_s = struct.unpack("<5I", client.read(20))
        client.end()
        return (mode, 0, 0, 0, 0, 0, size, read_s, written_s, made_s)

    def ilistdir(self, path: str) -> "object":
        self._client.request(LIST, self._whole(path))
        self._client.done(self._client.small())
        return self._entries()

    def open(self, path: str, mode: str) -> RemoteFile:
        self._client.request(OPEN, self._whole(path), mode)
        return RemoteFile(self._client, self._client.done(self._client.small()), "b" not in mode)

    def remove(self, path: str) -> None:
        self._change(REMOVE, path)

    def rename(self, former: str, now: str) -> None:
        self._change(RENAME, former, now)

    def mkdir(self, path: str) -> None:
        self._change(MAKE_FOLDER, path)

    def rmdir(self, path: str) -> None:
        self._change(REMOVE_FOLDER, path)

    def _change(self, command: int, *paths: str) -> None:
        self._client.request(command, *(self._whole(path) for path in paths))
        self._client.done(self._client.number())

    def _entries(self) -> "object":
        while True:
            self._client.request(LIST_NEXT)
            name = self._client.data()
            kind = self._client.number() if name else 0
            self._client.end()
            if not name:
                return
            yield (str(name, "utf-8"), kind, 0)

    def _whole(self, path: str) -> str:
        return path if path.startswith("/") else self._folder + path


def session_names() -> "dict[str, object]":
    """Names with which a session begins: what an mpremote client calls for its folder."""
    return {"__name__": "__main__", "RemoteFS": RemoteFS, "__mount": mount, "os": os}


def mount() -> None:
    vfs.mount(RemoteFS(Client()), PLACE)
    os.chdir(PLACE)
