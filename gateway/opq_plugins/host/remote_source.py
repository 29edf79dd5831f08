"""A source whose other half is in a worker; opened again after its last offset when its process was lost."""

import queue
import threading
from typing import Any

from opq_plugins import sdk
from opq_plugins.host.remote import Remote
from opq_plugins.host.source_gate import SourceGate
from opq_plugins.host.supervisor import WorkerSupervisor
from opq_plugins.host.worker_process import WorkerProcess
from opq_plugins.worker.instance import BATCHES_AHEAD
from opq_proto.errors import PluginError

POLL_S = 0.1


class RemoteSource(Remote):
    """`open` runs in the engine's thread and hands on what the worker emits, at most 8 batches ahead."""

    def __init__(self, supervisor: WorkerSupervisor, kind: str, symbol: str) -> None:
        super().__init__(supervisor, kind, symbol)
        self._received: queue.Queue[list[Any]] = queue.Queue()  # bounded by credits: BATCHES_AHEAD batches
        self._offset: Any = None
        self._opened = False
        self._rewound: WorkerProcess | None = None
        self.dropped = 0
        """Texts of errors beyond what the queue holds."""

    def rewind(self, offset: Any) -> None:
        """At once, so that a version which cannot says so before it takes over."""
        self._offset = offset
        if self._opened:
            self._opened, self._process = False, None
        process = self._made()
        self._send(process, "rewind", [offset])
        self._rewound = process

    def open(self, context: sdk.SourceContext) -> None:
        self._context = context
        if self._opened:
            self._process = None  # a source is opened once: the worker makes another
        while not context.stopped:
            try:
                process = self._made()
                self._opened = True
                self._drain()
                offset = None if self._rewound is process else self._offset
                self._rewound = None
                self._send(process, "open", [offset], True)
            except OSError as error:
                context.connected(False, str(error))
                if context.wait(POLL_S):
                    return
                self._supervisor.wait_up(1.0)
                continue
            if self._hand_on(process, context):
                return

    def accept_message(self, message: list[Any]) -> None:
        if message[0] == "tell" and message[2] == "log":
            super().accept_message(message)
            return
        if message[0] == "emit":
            _check_batch(message)
        if self._received.qsize() < 4 * BATCHES_AHEAD or message[0] == "gone":
            self._received.put(message)
        elif message[0] == "emit":
            raise ValueError("a source emits without credit")
        else:
            self.dropped += 1

    def _hand_on(self, process: WorkerProcess, context: sdk.SourceContext) -> bool:
        """True: it has ended, or was stopped; False: its process has gone."""
        stopping = False
        while True:
            if context.stopped and not stopping:
                stopping = True
                self._supervisor.send(process, ["stop", self._number])
                threading.Thread(target=self._stop, args=(process,), daemon=True).start()
            try:
                message = self._received.get(timeout=POLL_S)
            except queue.Empty:
                continue
            match message:
                case ["emit", _, form, rows, meta, offset, arrived_ms]:
                    late = {"late": True} if isinstance(context, SourceGate) else {}
                    if form == "bytes":
                        context.emit_bytes(rows, meta, offset, **late)
                    else:
                        context.emit_many(rows, meta, offset, arrived_ms, **late)
                    if offset is not None:
                        self._offset = offset
                    self._supervisor.send(process, ["credit", self._number, 1])
                case ["tell", _, "error", facts]:
                    context.emit_error(str(facts["text"]))
                case ["tell", _, "connected", facts]:
                    context.connected(bool(facts["up"]), str(facts["why"]))
                case ["tell", _, "ended", facts]:
                    if facts["text"] and not stopping:
                        raise PluginError(str(facts["text"]))
                    return True
                case ["gone", _, why]:
                    context.connected(False, str(why))
                    return stopping

    def _stop(self, process: WorkerProcess) -> None:
        """A source that does not end within a call's time is ended with its process."""
        try:
            limit_s = self._supervisor.limits.call_s
            if not self._supervisor.call(process, self._number, "stop", [limit_s], limit_s + 1.0):
                process.end(f"source {self._symbol} does not end within {limit_s:g} s")
        except (OSError, ValueError, PluginError):
            return

    def _drain(self) -> None:
        while not self._received.empty():
            self._received.get_nowait()


def _check_batch(message: list[Any]) -> None:
    """Rows with names, or bytes; what belongs to each is a list. Raises ValueError."""
    match message:
        case ["emit", _, "rows", list() as rows, meta, _, arrived_ms]:
            good = all(type(row) is dict and all(type(name) is str for name in row) for row in rows)
        case ["emit", _, "bytes", list() as rows, meta, _, arrived_ms]:
            good = all(type(row) is bytes for row in rows)
        case _:
            raise ValueError("a batch that is none")
    if not good:
        raise ValueError("a batch that is none")
    sdk.check_emission(len(rows), meta, arrived_ms)
