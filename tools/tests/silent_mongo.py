"""A MongoDB that accepts connections and does not answer, or answers the first greeting alone."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import bson

GREETING = {
    "isWritablePrimary": True,
    "ismaster": True,
    "maxBsonObjectSize": 1 << 24,
    "maxMessageSizeBytes": 48_000_000,
    "maxWriteBatchSize": 100_000,
    "minWireVersion": 0,
    "maxWireVersion": 21,
    "ok": 1.0,
}
OP_QUERY, OP_REPLY, OP_MSG = 2004, 1, 2013


@contextmanager
def silent_mongo(greets: bool) -> Iterator[str]:
    """Yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        open_lines: list[socket.socket] = []

        def accept() -> None:
            with suppress(OSError):
                while True:
                    line, _ = listener.accept()
                    open_lines.append(line)
                    if greets:
                        threading.Thread(target=_greet, args=(line,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield f"mongodb://127.0.0.1:{listener.getsockname()[1]}/opq"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for line in open_lines:
                with suppress(OSError):
                    line.shutdown(socket.SHUT_RDWR)
                line.close()


def _greet(line: socket.socket) -> None:
    """Answers each `hello`, and nothing else."""
    with suppress(OSError, struct.error):
        while True:
            length, number, _, code = struct.unpack("<iiii", line.recv(16, socket.MSG_WAITALL))
            body = line.recv(length - 16, socket.MSG_WAITALL)
            at = body.index(b"\0", 4) + 9 if code == OP_QUERY else 5  # behind the name and two numbers
            if not {"hello", "ismaster"} & {name.lower() for name in bson.decode(body[at:])}:
                continue
            head = struct.pack("<iqii", 8, 0, 0, 1) if code == OP_QUERY else bytes(5)
            answer = head + bson.encode(GREETING)
            kind = OP_REPLY if code == OP_QUERY else OP_MSG
            line.sendall(struct.pack("<iiii", 16 + len(answer), 1, number, kind) + answer)
