"""One stream of the original's simulator for many Boxes, its frames into a FIFO, and its HTTP control."""

import contextlib
import json
import os
import stat
import struct
import threading
import time
from collections import OrderedDict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from opq_proto.errors import OpqError
from opq_proto.kit.http_server import HttpServer, ReplyHandler
from opq_sim.original_sim.state import COUNTS_PER_VOLT, FRAME_SAMPLES, OriginalSim

RATE_MILLIHZ = 12_000_000
FRAME_NS = 200 * 10**9 // 12_000
KEPT_FRAMES = 1200
"""20 s, twice as long as a Box's process may stop."""
LARGEST_BODY = 1 << 20
CONTROL_PORT = 8000
"""The original's port; the FIFO /tmp/opqsim is the original's, too."""


class OriginalSimStream:
    """Frames by number, made once and in order; a `SampleSource` for any number of Boxes, from any thread.

    Attributes:
        lost_frames: frames that were requested after they were dropped; they read as zeros.
        refused: requests that could not be carried out; `sim.ignored` has values that were not accepted.
    """

    rate_millihz = RATE_MILLIHZ
    v_per_lsb = 1 / COUNTS_PER_VOLT
    nominal_v, nominal_hz = 120.0, 60.0
    effective_bits = 16.0
    offset_ns = 0

    def __init__(self) -> None:
        self.sim = OriginalSim()
        self.lost_frames = self.refused = 0
        self._frames: OrderedDict[int, NDArray[np.int16]] = OrderedDict()
        self._next = 0
        self._lock = threading.Lock()

    def accept_request(self, request: object) -> None:
        """As `OriginalSim.accept_request`; it acts from the next unread frame on."""
        with self._lock:
            self.sim.accept_request(request)

    def frame(self, number: int) -> NDArray[np.int16]:
        """(200,) counts of a frame, from 0 on."""
        with self._lock:
            while self._next <= number:
                self._frames[self._next] = self.sim.frame()
                self._next += 1
                if len(self._frames) > KEPT_FRAMES:
                    self._frames.popitem(last=False)
            found = self._frames.get(number)
            if found is None:
                self.lost_frames += 1
                return np.zeros(FRAME_SAMPLES, dtype=np.int16)
            return found

    def counts(self, first: int, count: int) -> NDArray[np.int16]:
        """(count,) samples from `first` on."""
        numbers = range(first // FRAME_SAMPLES, -(-(first + count) // FRAME_SAMPLES))
        whole = np.concatenate([np.empty(0, np.int16), *(self.frame(number) for number in numbers)])
        start = first - FRAME_SAMPLES * (first // FRAME_SAMPLES)
        return np.asarray(whole[start : start + count])

    def marks(self, first: int, count: int) -> tuple[int, ...]:
        """Always empty: the original has no truth."""
        return ()


def sim_frame(counts: NDArray[np.int16], last_gps: int = 0, current: int = 0, flags: int = 0) -> bytes:
    """The 408 bytes of the original's driver and simulator: 200 int16, two uint16, uint32 (G.2)."""
    return counts.astype("<i2").tobytes() + struct.pack("<HHI", last_gps, current, flags)


class OriginalSimControl:
    """HTTP on loopback and, on request, a FIFO, for the `with` block.

    Args:
        port: of the control; 0: any.
        fifo: path for the frames, 60 a second; made if it is missing, and then removed at the end.
    Raises:
        PortBusyError: another process has the port.
        OpqError: `fifo` exists and is not a FIFO, or cannot be made.

    Attributes:
        frames_written: frames that the FIFO took.
        frames_dropped: frames dropped because the FIFO was not read, or too slowly.
    """

    def __init__(self, stream: OriginalSimStream, port: int = CONTROL_PORT, fifo: Path | None = None) -> None:
        self.frames_written = self.frames_dropped = 0
        self._stream, self._fifo = stream, fifo
        self._made_fifo = False
        self._server = HttpServer("sim control", f"127.0.0.1:{port}", _handler(stream))
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port that is bound."""
        return self._server.port

    def __enter__(self) -> "OriginalSimControl":
        try:
            if self._fifo is not None:
                self._make_fifo(self._fifo)
                self._thread = threading.Thread(
                    target=self._write, args=(self._fifo,), name="sim fifo", daemon=True
                )
                self._thread.start()
        except BaseException:
            self._server.server_close()
            raise
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._server.end()
        if self._thread is not None:
            self._thread.join()
        if self._made_fifo and self._fifo is not None:
            self._fifo.unlink(missing_ok=True)

    def _make_fifo(self, path: Path) -> None:
        try:
            os.mkfifo(path, 0o600)
            self._made_fifo = True
        except FileExistsError:
            if not stat.S_ISFIFO(path.lstat().st_mode):
                raise OpqError(f"{path} exists and is not a FIFO; give another --fifo") from None
        except OSError as error:
            raise OpqError(f"{path}: no FIFO can be made: {error.strerror or error}") from error

    def _write(self, path: Path) -> None:
        """Writes a frame each 1/60 s to the FIFO; drops frames without a reader, or with a slow one."""
        begun_ns, number, descriptor = time.monotonic_ns(), 0, -1
        while not self._stop.is_set():
            wait_s = (begun_ns + (number + 1) * FRAME_NS - time.monotonic_ns()) / 1e9
            if wait_s > 0 and self._stop.wait(wait_s):
                break
            if descriptor < 0 and number % 6 == 0:
                with contextlib.suppress(OSError):  # ENXIO: no reader
                    descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
            data = sim_frame(self._stream.frame(number))
            number += 1
            try:
                if descriptor < 0:
                    raise BlockingIOError
                os.write(descriptor, data)  # at most PIPE_BUF: whole or not at all
                self.frames_written += 1
            except BlockingIOError:
                self.frames_dropped += 1
            except OSError:  # the reader closed it
                self.frames_dropped += 1
                os.close(descriptor)
                descriptor = -1
        if descriptor >= 0:
            os.close(descriptor)


def _handler(stream: OriginalSimStream) -> type[ReplyHandler]:
    class SimHandler(ReplyHandler):
        def do_GET(self) -> None:
            self._refuse(200, "want a POST with state, filters or reset")  # as the original: a body says it

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if self.path != "/":
                self._refuse(404, "want a POST to /")
                return
            if not (length.isascii() and length.isdigit()) or int(length[:9]) > LARGEST_BODY:
                self._refuse(400, f"Content-Length is {length[:20]!r}; want 0 to {LARGEST_BODY}")
                return
            try:
                stream.accept_request(json.loads(self.rfile.read(int(length))))
            except (ValueError, RecursionError) as error:  # OriginalSimError is a ValueError
                stream.refused += 1
                self._refuse(400, str(error)[:200])
            else:
                self.send_reply((200, "text/plain", b""))

        def _refuse(self, status: int, why: str) -> None:
            body = json.dumps({"error": why}).encode("utf-8")
            self.send_reply((status, "application/json", body))

    return SimHandler
