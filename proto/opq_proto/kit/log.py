"""Logs: one structlog configuration for every process, on stderr.

Each line carries `event` (a dotted noun.verb), `service`, `level`, `t` (UTC, ISO 8601) and
`monotonic_ns` (system wide on Linux): JSON lines when stderr is not a terminal, else readable ones.
`OPQ_LOG` sets the level (debug, info, warning, error; default info). If stderr is closed or full,
lines are lost and the process continues.
"""

import contextlib
import io
import logging
import os
import sys
import time
from collections.abc import Iterator, MutableMapping
from typing import Any, cast

from opq_proto.kit.bound_logger import BoundLogger as BoundLogger
from opq_proto.kit.rate_limit import RateLimitedLog


@contextlib.contextmanager
def _without(name: str) -> Iterator[None]:
    """Within the block, a module that is not imported yet appears as not installed."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # documented: its import fails
    try:
        yield
    finally:
        del sys.modules[name]


with _without("rich"), _without("greenlet"):  # 11 MB for tracebacks and threads that are not used here
    import structlog

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}


class _Stderr:
    """Writes a line to the current `sys.stderr` in one piece; stops using a broken stderr."""

    def msg(self, line: str) -> None:
        stream = sys.stderr
        if stream is None:
            return
        try:
            stream.write(line + "\n")
            stream.flush()
        except (OSError, ValueError):  # closed, or not read any more: this cannot be reported
            if isinstance(sys.stderr, io.TextIOWrapper):
                sys.stderr = None  # else the interpreter tries again at its end, and fails there

    log = debug = info = warn = warning = msg
    error = critical = exception = fatal = failure = msg


class _Library(logging.Handler):
    """Logs warnings of libraries (uvicorn, zmq, asyncio) as lines of this log.

    Each request of a stranger can cause one, so there is one line per period for each text and exception.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._log = RateLimitedLog(structlog.get_logger())

    def emit(self, record: logging.LogRecord) -> None:
        level = "error" if record.levelno >= logging.ERROR else "warning"
        facts: dict[str, Any] = {"library": record.name, "said": record.getMessage()}
        kind = None
        if record.exc_info:
            facts["exc_info"], kind = record.exc_info, record.exc_info[0]
        getattr(self._log, level)("library.complained", key=(record.name, record.msg, kind), **facts)


def _stamp(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event.setdefault("monotonic_ns", time.monotonic_ns())
    return event


def _for_people(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["timestamp"] = event.pop("t", "")
    event.pop("monotonic_ns", None)
    return event


def _plain(value: Any) -> str:
    """Converts a value without a JSON form: bytes as text, everything else as its repr."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else repr(value)


def _isatty() -> bool:
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except ValueError:
        return False


def configure(service: str, level: str | None = None) -> None:
    """Sets up the process's logs; `service` is the default for lines of loggers without one.

    An unknown level counts as info. Call it before the first line; a second call replaces the settings.
    Warnings of libraries that use `logging` are logged as `library.complained`.
    """
    wanted = (level or os.environ.get("OPQ_LOG") or "info").strip().lower()

    def name_service(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event.setdefault("service", service)
        return event

    renderers: list[Any]
    if _isatty():
        plain = structlog.dev.plain_traceback  # rich's shows every local value, a key too
        renderers = [_for_people, structlog.dev.ConsoleRenderer(exception_formatter=plain)]
    else:
        renderers = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=_plain)]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            name_service,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="t"),
            _stamp,
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS.get(wanted, logging.INFO)),
        logger_factory=lambda *_: _Stderr(),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    if not any(isinstance(handler, _Library) for handler in root.handlers):
        root.addHandler(_Library())


structlog.configure(logger_factory=lambda *_: _Stderr())
"""A command that does not call `configure` logs on stderr too: its stdout is its answer, perhaps JSON."""


def get(**facts: Any) -> BoundLogger:
    """Returns a logger with `facts` bound, e.g. `log.get(service="mauka", box_id="1")`."""
    return cast(BoundLogger, structlog.get_logger(**facts))
