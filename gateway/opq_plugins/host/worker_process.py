"""One process of a worker from start to end: its wire, its heartbeat, what it prints, why it ended."""

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
from opq_plugins.worker.wire import TO_HOST, Heartbeat, OfWorker, Ready, Wire
from opq_proto.rate_limit import TokenBuckets

END_S = 2.0
GONE = "gone"
"""The wire ended, and we did not end it: the process says by its status why."""
PING_S = 1.0
SILENCE_S = 20.0
"""So long without a sign of life, and the process is ended; long, since a gateway's CPU may be busy."""
OUTPUT_BYTES_PER_S = 4 << 20
"""What a plug-in may print; more makes it wait."""
KEPT_BYTES = 16 << 10
UNASKED_PER_S, REPORTS_PER_S = 10.0, 100.0
AT_ONCE = 1_000.0
"""Answers to calls that nobody waits for any more; lines for the log and texts of errors."""
MOST_STATE_BYTES = 16 << 20
"""What one source, sink or function may keep by `put_state`."""
SIGNALS = {6: "SIGABRT", 9: "SIGKILL", 11: "SIGSEGV", 24: "SIGXCPU (its CPU time)", 25: "SIGXFSZ (file size)"}


@dataclass(frozen=True, slots=True)
class PendingCall:
    """What waits for an answer."""

    instance: int
    answer: Future[Value] = field(default_factory=Future)


class PrintedOutput:
    """What a plug-in prints, over all its processes: the last of it is kept, the rest counted.

    `bytes`: all there were. One thread reads, any asks.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self._kept = b""

    @property
    def dropped_bytes(self) -> int:
        return max(0, self.bytes - len(self._kept))

    def tail(self) -> str:
        return self._kept.decode("utf-8", "replace")

    def read(self, pipe: IO[bytes]) -> int:
        """Bytes read; -1: its end."""
        try:
            chunk = os.read(pipe.fileno(), 1 << 16)
        except (BlockingIOError, ValueError):
            return 0
        except OSError:
            return -1
        if not chunk:
            return -1
        self.bytes += len(chunk)
        self._kept = (self._kept + chunk)[-KEPT_BYTES:]
        return len(chunk)


class WorkerLimits:
    """What one plug-in sends, over all its processes. One thread calls it: that which reads the worker."""

    def __init__(self) -> None:
        self.dropped = 0
        """Reports that were not passed on."""
        self._unasked = TokenBuckets(AT_ONCE, UNASKED_PER_S)
        self._reports = TokenBuckets(AT_ONCE, REPORTS_PER_S)
        self._state_bytes: dict[int, dict[str, int]] = {}
        self._encoder = msgspec.msgpack.Encoder()

    def count_unasked(self) -> None:
        """Raises ValueError: it is no accident any more."""
        if not self._unasked.spend(None):
            raise ValueError("answers to calls that nobody made")

    def may_report(self) -> bool:
        may = self._reports.spend(None)
        self.dropped += not may
        return may

    def check_state(self, instance: int, changed: Mapping[str, Value]) -> None:
        """What it put. Raises ValueError: too many bytes in all."""
        held = self._state_bytes.setdefault(instance, {})
        held |= {key: len(key) + len(self._encoder.encode(value)) for key, value in changed.items()}
        if sum(held.values()) > MOST_STATE_BYTES:
            raise ValueError(f"more than {MOST_STATE_BYTES >> 20} MiB of state")

    def forget(self, instance: int) -> None:
        self._state_bytes.pop(instance, None)


@dataclass(frozen=True, slots=True)
class KeeperReport:
    """`refused`: why it was not started; `ended`: why the keeper ended it; `survivors`: left by it."""

    protections: dict[str, str] = field(default_factory=dict)
    refused: str = ""
    ended: str = ""
    code: int | None = None
    survivors: int = 0


class WorkerProcess:
    """The keeper and its worker. `why`: why it has to end; "": it lives."""

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
        """Its handshake."""
        self.heard_s = self.started_s = time.monotonic()
        self.why = ""

    def read_until_end(
        self,
        output: PrintedOutput,
        start_s: float,
        closing: threading.Event,
        accept_message: Callable[["WorkerProcess", OfWorker], None],
    ) -> None:
        """Returns when `why` says why it has to end. `start_s`: until its handshake; whatever
        `accept_message` raises ends the process."""
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
        """Any thread; the keeper kills the worker and all that it started."""
        self.why = self.why or why
        assert self.process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            if self.why != GONE:
                self.process.stdin.write(b"k")  # at once; an end alone lets it end by itself
            self.process.stdin.close()

    def keeper_report(self) -> KeeperReport:
        """What the keeper has reported since; the plug-in has no hand in it."""
        with contextlib.suppress(OSError, ValueError):
            lines = os.read(self._report, 1 << 16).splitlines()
            return msgspec.convert(
                {k: v for line in lines for k, v in json.loads(line).items()}, KeeperReport
            )
        return KeeperReport()

    def close(self) -> KeeperReport:
        """Waits for the keeper and gives its report."""
        self.end("closed")
        try:
            self.process.wait(END_S + 8)
        except subprocess.TimeoutExpired:
            self.process.kill()  # the worker follows: PR_SET_PDEATHSIG
            self.process.wait()
        report = self.keeper_report()
        os.close(self._report)
        self.output.close()
        self.wire.close()
        return report

    def cause(self, report: KeeperReport, said: str) -> str:
        """Why it ended. `report`: what `close` gave; `said`: the last of its output."""
        if report.refused or report.ended:
            return report.refused or report.ended
        code = self.process.returncode if report.code is None else report.code
        why = self.why if self.why and self.why != GONE else f"ended with {_meaning(code)}"
        if not self.ready and (tail := said.strip()):
            why += f"; it said: {tail[-600:]}"
        if report.survivors:
            why += f"; {report.survivors} processes that it had started were ended"
        return why

    def _is_late(self, now_s: float, start_s: float) -> str:
        if not self.ready and now_s - self.started_s > start_s:
            return f"no handshake within {start_s:g} s"
        if now_s - self.heard_s > SILENCE_S + (0 if self.ready else start_s):
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
            self.heard_s = time.monotonic()
        for message in messages:
            try:
                accept_message(self, message)
            except Exception as error:  # whatever it may be that a hostile worker has thought of
                self.why = f"sends garbage: {error}"
                return


def _meaning(code: int | None) -> str:
    if code is None:
        return "an unknown status"
    number = -code if code < 0 else code - 128 if code > 128 else 0
    return f"signal {SIGNALS.get(number, number)}" if number else f"exit code {code}"
