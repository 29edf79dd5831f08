"""A source between its worker and the engine; a new process of it continues after its last offset.

`emit` returns False where the message was not accepted. Once an exchange is requested, only messages that a
worker sent before are accepted.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from opq_plugins import sdk
from opq_plugins.host.worker.remote import Remote
from opq_plugins.host.worker.supervisor import WorkerSupervisor
from opq_plugins.host.worker.worker_process import WorkerProcess
from opq_plugins.sdk import Arrivals, Messages, Metas, Value
from opq_plugins.worker import worker_wire as frames
from opq_plugins.worker.context import BATCHES_AHEAD
from opq_proto.errors import PluginError

SLICE_S = 0.1
"""Seconds of a back-off between two looks whether the source was closed."""
POLL_S = 0.1
"""Seconds between two looks whether the worker ended or the source was closed."""


class SourceGate(sdk.BatchEmitter):
    """A SourceContext around the engine's, one per opening of a source."""

    def __init__(self, context: sdk.SourceContext) -> None:
        self._context = context
        self._ending = threading.Event()
        self.told = False
        """The source has been told to end, and does so, even where `go_on` comes afterwards."""
        self.offset: Value = None

    def end(self) -> None:
        self._ending.set()

    def go_on(self) -> None:
        self._ending.clear()

    def __getattr__(self, name: str) -> Any:
        """Passes on `rule_id`, `log`, `get_state`, `emit_error` and other attributes that it does not
        change."""
        return getattr(self._context, name)

    @property
    def stopped(self) -> bool:
        return self._is_ending() or self._context.stopped

    def wait(self, seconds: float) -> bool:
        end_s = time.monotonic() + seconds
        while not self.stopped:
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                return False
            if self._context.wait(min(left_s, SLICE_S)):
                return True
        return True

    def emit_many(
        self, messages: Messages, meta: Metas = None, offset: Value = None, arrived_ms: Arrivals = None
    ) -> bool:
        if self._is_ending():
            return False
        sdk.check_emission(len(messages), meta, arrived_ms)
        return self._noted(self._context.emit_many(messages, meta, offset, arrived_ms), offset)

    def emit_bytes(self, payloads: Sequence[bytes], meta: Metas = None, offset: Value = None) -> bool:
        if self._is_ending():
            return False
        sdk.check_emission(len(payloads), meta, None)
        return self._noted(self._context.emit_bytes(payloads, meta, offset), offset)

    def deliver(self, batch: frames.Rows | frames.Payloads) -> None:
        """Passes on a batch that a worker has sent and the host has checked; also after `end`."""
        if isinstance(batch, frames.Rows):
            accepted = self._context.emit_many(batch.rows, batch.meta, batch.offset, batch.arrived_ms)
        else:
            accepted = self._context.emit_bytes(batch.payloads, batch.meta, batch.offset)
        self._noted(accepted, batch.offset)

    def _is_ending(self) -> bool:
        if not self._ending.is_set():
            return False
        self.told = True
        return True

    def _noted(self, accepted: bool, offset: Value) -> bool:
        if accepted and offset is not None:
            self.offset = offset
        return accepted


class RemoteSource(Remote):
    """A source in a worker, which may be BATCHES_AHEAD batches ahead; `open` passes on its batches."""

    def __init__(self, supervisor: WorkerSupervisor, kind: str, symbol: str) -> None:
        super().__init__(supervisor, kind, symbol)
        self._received: queue.Queue[frames.OfSource | str] = queue.Queue()
        """Bounded by credits to BATCHES_AHEAD batches. A text: why its process has ended."""
        self._offset: Value = None
        self._opened = False

    def rewind(self, offset: Value) -> None:
        """Calls the worker at once, so that a version that cannot rewind raises before it takes over."""
        self._offset, self._process, self._opened = None, None, False
        process = self._made()
        self._send(process, "rewind", [offset])
        self._offset = offset

    def open(self, gate: SourceGate) -> None:
        self._context = gate
        while not gate.stopped:
            try:
                if self._opened:  # a source is opened only once, so the worker makes another
                    self._process = None
                process = self._made()
                self._opened = True
                while not self._received.empty():
                    self._received.get_nowait()
                self._send(process, "open", [], True)
            except OSError as error:
                gate.connected(False, str(error))
                if gate.wait(POLL_S):
                    return
                self._supervisor.wait_up(1.0)
                continue
            if self._hand_on(process, gate):
                return

    def accept_frame(self, frame: frames.OfSource | frames.LogLine) -> None:
        if isinstance(frame, frames.LogLine):
            super().accept_frame(frame)
            return
        match frame:
            case frames.Rows():
                sdk.check_emission(len(frame.rows), frame.meta, frame.arrived_ms)
            case frames.Payloads():
                sdk.check_emission(len(frame.payloads), frame.meta, None)
        if self._received.qsize() < 4 * BATCHES_AHEAD:
            self._received.put(frame)
        elif not isinstance(frame, frames.Notice):  # errors may come without end, so the rest is dropped
            raise ValueError("a source emits without credit")

    def accept_end(self, why: str) -> None:
        self._received.put(why)

    def _make_again(self, call: Callable[..., Value]) -> None:
        super()._make_again(call)
        if self._offset is not None:
            with contextlib.suppress(NotImplementedError):  # it gives offsets, but cannot go back to one
                call("rewind", [self._offset])

    def _hand_on(self, process: WorkerProcess, gate: SourceGate) -> bool:
        """Passes on frames. True: the source has ended, or was stopped; False: its process has ended."""
        stop = threading.Thread(target=self._stop, args=(process,), daemon=True)
        try:
            return self._pass_frames(process, gate, stop)
        finally:
            if stop.ident is not None:
                stop.join()  # its call has the number that the next opening has, and would end that one

    def _pass_frames(self, process: WorkerProcess, gate: SourceGate, stop: threading.Thread) -> bool:
        stopping = False
        while True:
            if gate.stopped and not stopping:
                stopping = True
                self._supervisor.send(process, frames.InstanceSignal(self._number, "stop"))
                stop.start()
            try:
                frame = self._received.get(timeout=POLL_S)
            except queue.Empty:
                continue
            match frame:
                case frames.Rows() | frames.Payloads():
                    gate.deliver(frame)
                    self._offset = self._offset if frame.offset is None else frame.offset
                    self._supervisor.send(process, frames.InstanceSignal(self._number, "credit"))
                case frames.Notice(_, "error", text):
                    gate.emit_error(text)
                case frames.Notice(_, "ended", text):
                    if text and not stopping:
                        raise PluginError(text)
                    return True
                case frames.Notice(_, what, text):
                    gate.connected(what == "connected", text)
                case str() as why:
                    gate.connected(False, why)
                    return stopping

    def _stop(self, process: WorkerProcess) -> None:
        """Stops the source; ends its process if it does not stop within a call's time."""
        try:
            limit_s = self._supervisor.limits.call_s
            if not self._supervisor.call(process, self._number, "stop", [limit_s], limit_s + 1.0):
                process.end(f"source {self._symbol} does not end within {limit_s:g} s")
        except (OSError, ValueError, PluginError):
            return
