"""A plug-in as a shared library with the C ABI of `opq_plugin.h`, called by ctypes in the worker."""

import ctypes
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from opq_plugins import sdk
from opq_plugins.package.manifest import PackageManifest, file_of_plugin
from opq_plugins.sdk import API_VERSION, Row, Value
from opq_proto.errors import PluginError

ERROR_BYTES = 4096
ANSWER_BYTES = 1 << 20
DECISION_BYTES = 1 << 14
OK = 0
"""Status that a function of the library returns: the answer is written."""
AGAIN = 1
"""Status that a function of the library returns: nothing yet, call again."""
WAIT_MS = 200

Library = Any
"""ctypes.CDLL; its functions are found by name."""


class LibrarySymbol:
    """One instance: the handle from `opq_open`."""

    kind = ""

    def __init__(self, library: Library, symbol: str) -> None:
        self._library, self._symbol = library, symbol
        self._handle: int | None = None

    def configure(self, properties: Row) -> None:
        error = ctypes.create_string_buffer(ERROR_BYTES)
        names = self.kind.encode(), self._symbol.encode()
        self._handle = self._library.opq_open(*names, json.dumps(properties).encode(), error, ERROR_BYTES)
        if not self._handle:
            raise ValueError(_text(error) or f"{self._symbol}: opq_open gave NULL and no reason")

    def open(self, context: sdk.Context) -> None:
        return

    def close(self, context: sdk.Context) -> None:
        self._release()

    def _release(self) -> None:
        if self._handle and hasattr(self._library, "opq_close"):
            self._library.opq_close(self._handle)
        self._handle = None


class LibrarySink(LibrarySymbol):
    kind = "sink"

    def collect(self, context: sdk.SinkContext, data: Value) -> None:
        raw = data if isinstance(data, bytes) else json.dumps(data).encode()
        error, row_id = ctypes.create_string_buffer(ERROR_BYTES), context.row_id.encode()
        status = self._library.opq_sink_collect(self._handle, raw, len(raw), row_id, error, ERROR_BYTES)
        if status == AGAIN:
            raise ConnectionError(_text(error) or "try again")
        if status != OK:
            raise ValueError(_text(error) or f"opq_sink_collect gave {status}")


class LibraryFunction(LibrarySymbol):
    kind = "function"

    def __init__(self, library: Library, symbol: str) -> None:
        super().__init__(library, symbol)
        self.configure({})
        self._answer = ctypes.create_string_buffer(ANSWER_BYTES)

    def validate(self, args: Sequence[Value]) -> str:
        return ""

    def exec(self, args: Sequence[Value], context: sdk.Context) -> Value:
        raw = json.dumps(list(args)).encode()
        size = self._library.opq_function_exec(self._handle, raw, len(raw), self._answer, ANSWER_BYTES)
        if size < 0:
            raise ValueError(_text(self._answer) or f"opq_function_exec gave {size}")
        return _json(self._answer, size, "opq_function_exec")

    def is_aggregate(self) -> bool:
        return False


class LibrarySource(LibrarySymbol):
    kind = "source"

    def configure(self, datasource: str, properties: Row) -> None:  # type: ignore[override]
        super().configure({"datasource": datasource, **properties})

    def open(self, context: sdk.SourceContext) -> None:  # type: ignore[override]
        message = ctypes.create_string_buffer(ANSWER_BYTES)
        while not context.stopped:
            size = self._library.opq_source_next(self._handle, message, ANSWER_BYTES, WAIT_MS)
            if size < 0:
                context.emit_error(_text(message) or f"opq_source_next gave {size}")
                context.wait(1.0)
            elif size:
                rows = _json(message, size, "opq_source_next")
                context.emit_many(rows if isinstance(rows, list) else [rows])


class LibraryTrigger(LibrarySymbol):
    """A trigger. Measurement and Nominal are plain values, and so is its decision, which the host checks."""

    kind = "trigger"

    def __init__(self, library: Library, symbol: str) -> None:
        super().__init__(library, symbol)
        self._settings: Row = {}
        self._decision = ctypes.create_string_buffer(DECISION_BYTES)

    def configure(self, properties: Row) -> None:
        self._settings = dict(properties)
        super().configure(self._settings)

    def decide(self, measurement: Value, nominal: Value) -> Value:
        if not self._handle:
            self.configure(self._settings)
        raw = json.dumps({"measurement": measurement, "nominal": nominal}).encode()
        size = self._library.opq_trigger_decide(self._handle, raw, len(raw), self._decision, DECISION_BYTES)
        if size < 0:
            raise ValueError(_text(self._decision) or f"opq_trigger_decide gave {size}")
        return _json(self._decision, size, "opq_trigger_decide") if size else None

    def forget(self) -> None:
        self._release()

    def forget_box(self, box_id: str) -> bool:
        """Drops all memory, because a library's is its own."""
        self.forget()
        return False

    def import_state(self, version: str, data: Value) -> bool:
        """Does not take a state over; it begins again."""
        return False


KINDS: dict[str, tuple[Callable[[Library, str], LibrarySymbol], str]] = {
    "sink": (LibrarySink, "opq_sink_collect"),
    "function": (LibraryFunction, "opq_function_exec"),
    "source": (LibrarySource, "opq_source_next"),
    "trigger": (LibraryTrigger, "opq_trigger_decide"),
}


def load_library(
    folder: Path, manifest: PackageManifest, limits: Mapping[str, int]
) -> dict[tuple[str, str], Callable[[], LibrarySymbol]]:
    """(kind, name) -> factory. Raises PluginError."""
    path = file_of_plugin(folder, manifest.executable)
    if path is None:
        raise PluginError(f"{manifest.name}: executable {manifest.executable!r} is not in the plug-in")
    try:
        library: Library = ctypes.CDLL(str(path))
        api = library.opq_plugin_api()
        library.opq_open.restype = ctypes.c_void_p
    except (OSError, AttributeError) as error:
        raise PluginError(f"{manifest.name}: {manifest.executable} does not load: {error}") from None
    if api != API_VERSION:
        raise PluginError(f"{manifest.name}: built for plug-in API {api}; this host speaks {API_VERSION}")
    pointer, text, size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
    library.opq_open.argtypes = [text, text, text, text, size]
    arguments: dict[str, list[type]] = {
        "opq_sink_collect": [pointer, text, size, text, text, size],
        "opq_function_exec": [pointer, text, size, text, size],
        "opq_source_next": [pointer, text, size, ctypes.c_int32],
        "opq_trigger_decide": [pointer, text, size, text, size],
        "opq_close": [pointer],
    }
    for name, types in arguments.items():
        if hasattr(library, name):
            function = getattr(library, name)
            function.argtypes = types
            function.restype = ctypes.c_int32 if name == "opq_sink_collect" else ctypes.c_int64
    found: dict[tuple[str, str], Callable[[], LibrarySymbol]] = {}
    for kind, symbol in manifest.symbols:
        made, needed = KINDS.get(kind, (None, ""))
        if made is None or not hasattr(library, needed):
            raise PluginError(
                f"{manifest.name}: {kind} {symbol!r} needs {needed or 'Python'}; it is not there"
            )
        found[kind, symbol] = lambda made=made, symbol=symbol: made(library, symbol)  # type: ignore[misc]
    return found


def _text(buffer: ctypes.Array[ctypes.c_char]) -> str:
    return bytes(buffer.value).decode("utf-8", "replace")


def _json(buffer: ctypes.Array[ctypes.c_char], size: int, what: str) -> Value:
    if size > len(buffer):
        raise ValueError(f"{what} returned {size} bytes; there is room for {len(buffer)}")
    try:
        return json.loads(buffer.raw[:size])
    except ValueError:
        raise ValueError(f"{what} wrote no JSON") from None
