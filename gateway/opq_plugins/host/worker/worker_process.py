"""One process of a worker from start to end: its wire, its heartbeat, its output, the reason why it ended."""

import contextlib
import json
import os
import select
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import IO

import msgspec

from opq_plugins.sdk import Value
from opq_plugins.worker.worker_wire import TO_HOST, Heartbeat, OfWorker, Ready, Wire
from opq_proto.kit.rate_limit import TokenBuckets

END_S = 2.0
KEEPER_S = 60.0
"""For the keeper's end: a fork bomb leaves it little of a full machine, and without it the bomb goes on."""
GONE = "gone"
"""The wire ended unexpectedly; the exit status of the process gives the reason."""
PING_S = 1.0
SILENCE_S = 20.0
"""A process is ended after this time without a frame. It is long, because a gateway's CPU may be busy."""
OUTPUT_BYTES_PER_S = 4 << 20
"""Bytes that a plug-in may print each second; it has to wait with more."""
TAIL_BYTES = 16 << 10
UNREQUESTED_PER_S = 10.0
"""Answers per second to calls that are over; a plug-in that sends more is ended."""
REPORTS_PER_S = 100.0
"""Log lines and error texts per second that are passed on."""
MESSAGE_BURST = 1_000.0
"""Burst allowed at once: of answers to calls that are over, and of log lines and error texts."""
MAX_STATE_BYTES = 16 << 20
"""Bytes that one source, sink or function may store by `put_state`."""
SIGNALS = {6: "SIGABRT", 9: "SIGKILL", 11: "SIGSEGV", 24: "SIGXCPU (its CPU time)", 25: "SIGXFSZ (file size)"}


@dataclass(frozen=True, slots=True)
class PendingCall:
    """A call that waits for its answer."""

    instance: int
    guarded: bool = False
    """Whether its caller pauses itself where the process ends during the call."""
    answer: Future[Value] = field(default_factory=Future)


class PrintedOutput:
    """The output of a plug-in across all its processes: its end is kept, the rest only counted.

    `bytes`: the total. One thread calls `read`, any thread may use the rest.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self._tail = b""

    @property
    def dropped_bytes(self) -> int:
        return max(0, self.bytes - len(self._tail))

    def tail(self) -> str:
        return self._tail.decode("utf-8", "replace")

    def read(self, pipe: IO[bytes]) -> int:
        """Reads once; returns the bytes read, -1 at the end."""
        try:
            chunk = os.read(pipe.fileno(), 1 << 16)
        except (BlockingIOError, ValueError):
            return 0
        except OSError:
            return -1
        if not chunk:
            return -1
        self.bytes += len(chunk)
        self._tail = (self._tail + chunk)[-TAIL_BYTES:]
        return len(chunk)


class WorkerLimits:
    """Limits of what one plug-in sends, across its processes. Used by the one thread that reads it."""

    def __init__(self) -> None:
        self.dropped = 0
        """Reports that were not passed on."""
        self._unrequested = TokenBuckets(MESSAGE_BURST, UNREQUESTED_PER_S)
        self._reports = TokenBuckets(MESSAGE_BURST, REPORTS_PER_S)
        self._state_bytes: dict[int, dict[str, int]] = {}
        self._encoder = msgspec.msgpack.Encoder()

    def count_unasked(self) -> None:
        """Counts an unrequested frame. Raises ValueError where there are too many to be an accident."""
        if not self._unrequested.spend(None):
            raise ValueError("the plug-in answered calls that were not made")

    def may_report(self) -> bool:
        may = self._reports.spend(None)
        self.dropped += not may
        return may

    def check_state(self, instance: int, changed: Mapping[str, Value]) -> None:
        """Checks new state of an instance. Raises ValueError: too many bytes in all."""
        held = self._state_bytes.setdefault(instance, {})
        held |= {key: len(key) + len(self._encoder.encode(value)) for key, value in changed.items()}
        if sum(held.values()) > MAX_STATE_BYTES:
            raise ValueError(f"more than {MAX_STATE_BYTES >> 20} MiB of state")

    def remove(self, instance: int) -> None:
        self._state_bytes.pop(instance, None)


@dataclass(frozen=True, slots=True)
class KeeperReport:
    """`unconfined`: why no worker was started; `ended`: why it was ended; `survivors`: what it left."""

    protections: dict[str, str] = field(default_factory=dict)
    unconfined: str = ""
    ended: str = ""
    code: int | None = None
    survivors: int = 0


class WorkerProcess:
    """The keeper and its worker. `why`: the reason to end it; "" while it runs."""

    def __init__(self, command: list[str], environment: dict[str, str], facts: Mapping[str, object]) -> None:
        ours, theirs = socket.socketpair()
        self._report, report = os.pipe()
        with theirs:
            self.process = subprocess.Popen(
                [*command, str(theirs.fileno()), str(report)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs.fileno(), report),
                env=environment,
                cwd="/",
                start_new_session=True,
            )
        os.close(report)
        os.set_blocking(self._report, False)
        assert self.process.stdin is not None and self.process.stdout is not None
        self.output = self.process.stdout
        os.set_blocking(self.output.fileno(), False)
        with contextlib.suppress(OSError):
            self.process.stdin.write(json.dumps(facts).encode() + b"\n")
            self.process.stdin.flush()
        self.wire = Wire(ours, TO_HOST)
        self.calls: dict[int, PendingCall] = {}
        self.ready: Ready | None = None
        """Its handshake, once it has arrived."""
        self.received_s = self.started_s = time.monotonic()
        self.why = ""

    def read_until_end(
        self,
        output: PrintedOutput,
        start_s: float,
        closing: threading.Event,
        accept_message: Callable[["WorkerProcess", OfWorker], None],
    ) -> None:
        """Reads its frames and output until `why` has a reason to end it.

        Args:
            start_s: limit for the handshake.
            accept_message: gets each frame; whatever it raises ends the process.
        """
        poll = select.poll()
        poll.register(self.wire.fileno(), select.POLLIN)
        output_open, listening, next_output_s, pinged_s = True, False, 0.0, time.monotonic()
        while not self.why:
            now_s = time.monotonic()
            if closing.is_set():
                self.why = "closed"
                return
            if now_s - pinged_s >= PING_S and self.ready:
                pinged_s = now_s
                with contextlib.suppress(OSError):
                    self.wire.send(Heartbeat(), 0.0)
            if late := self._is_late(now_s, start_s):
                self.why = self.why or late
                return
            if output_open and now_s >= next_output_s and not listening:
                poll.register(self.output.fileno(), select.POLLIN)
                listening = True
            ready = {fd for fd, _ in poll.poll(250 if listening or not output_open else 20)}
            if listening and self.output.fileno() in ready:
                poll.unregister(self.output.fileno())
                listening = False
                read = output.read(self.output)
                output_open = read >= 0
                next_output_s = now_s + max(0.02, read / OUTPUT_BYTES_PER_S)
            if self.wire.fileno() in ready:
                self._read_wire(accept_message)

    def end(self, why: str) -> None:
        """Ends it; callable from any thread. The keeper kills the worker and all that it started."""
        self.why = self.why or why
        assert self.process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            if self.why != GONE:
                self.process.stdin.write(b"k")  # at once; a closed stdin lets the worker end by itself
            self.process.stdin.close()

    def keeper_report(self) -> KeeperReport:
        """What the keeper has reported since the last call; the plug-in cannot influence it."""
        with contextlib.suppress(OSError, ValueError):
            lines = os.read(self._report, 1 << 16).splitlines()
            return msgspec.convert(
                {k: v for line in lines for k, v in json.loads(line).items()}, KeeperReport
            )
        return KeeperReport()

    def close(self) -> KeeperReport:
        """Waits for the keeper's end and returns its report."""
        self.end("closed")
        try:
            self.process.wait(KEEPER_S)
        except subprocess.TimeoutExpired:
            self.process.kill()  # the worker follows: PR_SET_PDEATHSIG
            self.process.wait()
        report = self.keeper_report()
        os.close(self._report)
        self.output.close()
        self.wire.close()
        return report

    def cause(self, report: KeeperReport, output_end: str) -> str:
        """The reason why it ended. `report`: from `close`; `output_end`: the end of its output."""
        if report.unconfined or report.ended:
            return report.unconfined or report.ended
        code = self.process.returncode if report.code is None else report.code
        why = self.why if self.why and self.why != GONE else f"ended with {_meaning(code)}"
        if not self.ready and (tail := output_end.strip()):
            why += f"; its output: {tail[-600:]}"
        if report.survivors:
            why += f"; {report.survivors} processes that it had started were ended"
        return why

    def _is_late(self, now_s: float, start_s: float) -> str:
        if not self.ready and now_s - self.started_s > start_s:
            return f"no handshake within {start_s:g} s"
        if now_s - self.received_s > SILENCE_S + (0 if self.ready else start_s):
            return f"no sign of life for {SILENCE_S:g} s"
        return ""

    def _read_wire(self, accept_message: Callable[["WorkerProcess", OfWorker], None]) -> None:
        try:
            messages = self.wire.receive_ready()
        except ValueError as error:
            self.why = f"sends garbage: {error}"
            return
        except OSError:
            self.why = self.why or GONE
            return
        if messages:
            self.received_s = time.monotonic()
        for message in messages:
            try:
                accept_message(self, message)
            except Exception as error:  # a hostile worker may cause any error
                self.why = f"sends garbage: {error}"
                return


def _meaning(code: int | None) -> str:
    if code is None:
        return "an unknown status"
    number = -code if code < 0 else code - 128 if code > 128 else 0
    return f"signal {SIGNALS.get(number, number)}" if number else f"exit code {code}"
