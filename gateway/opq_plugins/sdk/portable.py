"""The module that a portable plug-in of eKuiper imports; only the plug-in's import has to change.

    from opq_plugins.sdk.portable import Function, PluginConfig, Sink, Source, plugin
    plugin.start(PluginConfig("pysam", {}, {"print": lambda: PrintSink()}, {}))

Source: docs/reference/rules.md, E.4.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, TypeAlias

from opq_plugins.sdk import Row, SourceContext, Value

Symbols: TypeAlias = Mapping[str, Callable[[], "Source | Sink | Function"]]
"""Symbol -> factory."""


class Source:
    """`configure(datasource, conf)`, `open(ctx)` that emits until it is closed, `close(ctx)`."""

    def configure(self, datasource: str, conf: dict[str, Value]) -> None: ...
    def open(self, ctx: "PortableContext") -> None: ...
    def close(self, ctx: "PortableContext") -> None: ...


class Sink:
    """`configure(conf)`, `open(ctx)`, `collect(ctx, data)`, `close(ctx)`."""

    def configure(self, conf: dict[str, Value]) -> None: ...
    def open(self, ctx: "PortableContext") -> None: ...
    def collect(self, ctx: "PortableContext", data: Value) -> None: ...
    def close(self, ctx: "PortableContext") -> None: ...


class Function:
    """`validate(args)` -> "" or what is wrong, `exec(args, ctx)`, `is_aggregate()`."""

    def validate(self, args: list[Value]) -> str:
        return ""

    def exec(self, args: list[Value], ctx: "PortableContext") -> Value: ...
    def is_aggregate(self) -> bool:
        return False


@dataclass
class PluginConfig:
    name: str
    sources: Symbols = field(default_factory=dict)
    sinks: Symbols = field(default_factory=dict)
    functions: Symbols = field(default_factory=dict)


started: list[PluginConfig] = []
"""Arguments of `plugin.start`, for the worker that runs the executable."""


def start(config: PluginConfig) -> None:
    started.append(config)


plugin = SimpleNamespace(start=start)


class PortableContext:
    """The context with eKuiper's names, around ours."""

    def __init__(self, context: SourceContext) -> None:
        self._context = context
        self.acknowledged: str | None = None
        """The text of ack_error, "" after ack_ok; None: neither was called."""

    def get_rule_id(self) -> str:
        return str(self._context.rule_id)

    def get_op_id(self) -> str:
        return str(self._context.op_id)

    def get_instance_id(self) -> int:
        return int(self._context.instance_id)

    def get_logger(self) -> logging.Logger:
        return logging.getLogger("opq.plugin")

    def emit(self, message: Row, meta: Row | None = None) -> None:
        """Emits a message. SystemExit: the source has to end, and eKuiper's sources loop for ever."""
        if not self._context.emit(message, meta):
            raise SystemExit(0)

    def emit_error(self, error: str) -> None:
        self._context.emit_error(error)

    def ack_ok(self) -> None:
        self.acknowledged = ""

    def ack_error(self, message: str) -> None:
        self.acknowledged = message

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)
