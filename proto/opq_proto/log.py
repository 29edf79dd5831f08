"""Logs: one structlog configuration for every process, on stderr.

Each line carries `event` (a dotted noun.verb), `service`, `level`, `t` (UTC, ISO 8601) and
`monotonic_ns` (system wide on Linux): JSON lines when stderr is no terminal, else readable ones.
`OPQ_LOG` sets the level (debug, info, warning, error; default info). A stderr that is closed or
full loses lines, never the process.
"""

import logging
import os
import sys
import time
from collections.abc import MutableMapping
from typing import Any, Protocol, cast

import structlog

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}


class Log(Protocol):
    """What services use of a structlog logger; facts are keys with units."""

    def debug(self, event: str, **facts: Any) -> None: ...

    def info(self, event: str, **facts: Any) -> None: ...

    def warning(self, event: str, **facts: Any) -> None: ...

    def error(self, event: str, **facts: Any) -> None: ...

    def exception(self, event: str, **facts: Any) -> None: ...

    def bind(self, **facts: Any) -> "Log": ...


class _Stderr:
    """Writes a line to the current `sys.stderr` in one piece; a broken one is ignored."""

    def msg(self, line: str) -> None:
        stream = sys.stderr
        if stream is None:
            return
        try:
            stream.write(line + "\n")
            stream.flush()
        except (OSError, ValueError):
            return  # closed, full or a broken pipe: there is nowhere left to say so

    log = debug = info = warn = warning = msg
    error = critical = exception = fatal = failure = msg


def _stamp(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event.setdefault("monotonic_ns", time.monotonic_ns())
    return event


def _plain(value: Any) -> str:
    """JSON for what JSON does not know: bytes as text, everything else as its repr."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else repr(value)


def _isatty() -> bool:
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except ValueError:
        return False


def configure(service: str, level: str | None = None) -> None:
    """Set up the process's logs; `service` is the default for lines of loggers without one.

    An unknown level counts as info. Call once per process, before the first line.
    """
    wanted = (level or os.environ.get("OPQ_LOG") or "info").strip().lower()

    def name_service(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event.setdefault("service", service)
        return event

    renderers: list[Any]
    if _isatty():
        renderers = [structlog.dev.ConsoleRenderer()]
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


def get(**facts: Any) -> Log:
    """A logger with `facts` bound, e.g. `log.get(service="mauka", box_id="1")`."""
    return cast(Log, structlog.get_logger(**facts))
