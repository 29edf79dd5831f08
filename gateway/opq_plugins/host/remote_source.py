"""A source whose other half is in a worker; opened again behind its last offset when its process was lost."""

import queue
import threading
from collections.abc import Mapping
from typing import Any

from opq_plugins import sdk
from opq_plugins.host.gate import Gate
from opq_plugins.host.life import Life
from opq_plugins.host.process import PluginProcess
from opq_plugins.host.remote import Remote
from opq_plugins.sdk.emission import check_emission
from opq_plugins.worker.worker_context import BATCHES_AHEAD
from opq_proto.errors import PluginError

POLL_S = 0.1


class RemoteSource(Remote, sdk.Source):
    """`open` runs in the engine's thread and hands on what the worker emits, at most 8 batches ahead."""

    kind = "source"

    def __init__(self, process: PluginProcess, symbol: str) -> None:
        super().__init__(process, symbol)
        self._heard: queue.Queue[list[Any]] = queue.Queue()  # bounded by credits: BATCHES_AHEAD batches
        self._offset: Any = None
        self._opened = False
        self._rewound: Life | None = None
        self.untold = 0
        """Texts of errors beyond what the queue holds."""

    def configure(self, datasource: str, properties: Mapping[str, Any]) -> None:
        self._datasource, self._properties = datasource, dict(properties)
        self._make_first()

    def rewind(self, offset: Any) -> None:
        """At once, so that a version which cannot says so before it takes over."""
        self._offset = offset
        if self._opened:
            self._opened, self._life = False, None
        life = self._make()
        self._process.call(life, self._number, "rewind", offset)
        self._rewound = life

    def open(self, context: sdk.SourceContext) -> None:
        self._context = context
        if self._opened:
            self._life = None  # a source is opened once: the worker makes another
        while not context.stopped:
            try:
                life = self._make()
                self._opened = True
                self._drain()
                offset = None if self._rewound is life else self._offset
                self._rewound = None
                body = [*self._whose(), offset]
                self._process.call(life, self._number, "open", body, self._process.limits.start_s)
            except OSError as error:
                context.connected(False, str(error))
                if context.wait(POLL_S):
                    return
                self._process.wait_up(1.0)
                continue
            if self._hand_on(life, context):
                return

    def close(self, context: sdk.Context) -> None:
        self.release()

    def heard(self, message: list[Any]) -> None:
        if message[0] == "tell" and message[2] == "log":
            super().heard(message)
            return
        if message[0] == "emit":
            _check_batch(message)
        if self._heard.qsize() < 4 * BATCHES_AHEAD or message[0] == "gone":
            self._heard.put(message)
        elif message[0] == "emit":
            raise ValueError("a source emits without credit")
        else:
            self.untold += 1

    def _hand_on(self, life: Life, context: sdk.SourceContext) -> bool:
        """True: it has ended, or was stopped; False: its process has gone."""
        stopping = False
        while True:
            if context.stopped and not stopping:
                stopping = True
                self._process.tell(life, ["stop", self._number])
                threading.Thread(target=self._stop, args=(life,), daemon=True).start()
            try:
                message = self._heard.get(timeout=POLL_S)
            except queue.Empty:
                continue
            match message:
                case ["emit", _, form, rows, meta, offset, arrived_ms]:
                    late = {"late": True} if isinstance(context, Gate) else {}
                    if form == "bytes":
                        context.emit_bytes(rows, meta, offset, **late)
                    else:
                        context.emit_many(rows, meta, offset, arrived_ms, **late)
                    if offset is not None:
                        self._offset = offset
                    self._process.tell(life, ["credit", self._number, 1])
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

    def _stop(self, life: Life) -> None:
        """A source that does not end within a call's time is ended with its process."""
        try:
            limit_s = self._process.limits.call_s
            if not self._process.call(life, self._number, "stop", limit_s, limit_s + 1.0):
                life.end(f"source {self._symbol} does not end within {limit_s:g} s")
        except (OSError, ValueError, PluginError):
            return

    def _drain(self) -> None:
        while not self._heard.empty():
            self._heard.get_nowait()


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
    check_emission(len(rows), meta, arrived_ms)
