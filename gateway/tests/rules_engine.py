"""An engine for tests: sources and sinks that the test holds in its hands, beside the real ones."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from opq_plugins.sdk import Context, Function, Sink, SinkContext, Source, SourceContext
from opq_proto.kit.address_guard import AddressGuard, networks_of
from opq_proto.kit.file_roots import FileRoots
from opq_rules.connections.access import Access
from opq_rules.engine.clock import RuleClock, SystemClock
from opq_rules.engine.engine import Engine
from opq_rules.engine.running.source_runner import SourceRunner
from opq_rules.rule_plugins import RulePlugins

EVERYWHERE = Access(FileRoots([Path("/")]), AddressGuard(networks=networks_of(["127.0.0.0/8", "::1"])))
"""Every file, and this machine's addresses, as an operator could allow them."""


class Hand(Source):
    """The test gives what it gives, by `context`."""

    def __init__(self, hands: "Hands") -> None:
        self._hands = hands

    def configure(self, datasource: str, properties: Mapping[str, Any]) -> None:
        if "wrong" in properties:
            raise ValueError("wrong  is not a property")

    def rewind(self, offset: Any) -> None:
        self._hands.rewound.append(offset)

    def open(self, context: SourceContext) -> None:
        if self._hands.broken:
            self._hands.failed += 1
            raise ConnectionError("the source's peer is away")
        context.connected(True)
        self._hands.opened.append(context)
        while not context.wait(240):
            pass
        self._hands.opened.remove(context)


class Live(Hand):
    """As what has no memory: it cannot be rewound."""

    rewind = Source.rewind


class Kept(Sink):
    """Keeps what it gets; `gate` stops it, `refuse` makes it fail."""

    def __init__(self, hands: "Hands") -> None:
        self._hands = hands

    def configure(self, properties: Mapping[str, Any]) -> None:
        self._name = str(properties.get("name", ""))

    def collect(self, context: SinkContext, data: Any) -> None:
        self._hands.waiting += 1
        self._hands.gate.wait(300.0)
        self._hands.waiting -= 1
        if self._hands.refuse:
            raise ConnectionError("the sink's peer is away")
        assert context.row_id.startswith(f"{context.rule_id}:")
        self._hands.got.append((context.row_id, data))

    def close(self, context: Context) -> None:
        self._hands.closed += 1


class Hands(RulePlugins):
    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir, access=EVERYWHERE)
        self.opened: list[SourceContext] = []
        self.rewound: list[Any] = []
        self.broken, self.failed = False, 0
        self.gate = threading.Event()
        self.gate.set()
        self.refuse = False
        self.waiting = 0
        self.got: list[tuple[str, Any]] = []
        self.closed = 0
        self.made_functions: dict[str, Callable[[], Function]] = {}

    def source(self, type_name: str) -> Callable[[], Source]:
        made: dict[str, type[Hand]] = {"hand": Hand, "live": Live}
        return partial(made[type_name], self) if type_name in made else super().source(type_name)

    def sink(self, type_name: str) -> Callable[[], Sink]:
        return (lambda: Kept(self)) if type_name == "kept" else super().sink(type_name)

    def function(self, name: str) -> Callable[[], Function] | None:
        return self.made_functions.get(name)

    def functions(self) -> dict[str, str]:
        return dict.fromkeys(self.made_functions, "test")

    @property
    def contexts(self) -> list[SourceContext]:
        """Contexts of the sources that run; one that was asked to stop may take a while to see it."""
        return [context for context in list(self.opened) if not context.stopped]

    @property
    def rows(self) -> list[Any]:
        """All rows that sinks got."""
        return [row for _, data in self.got for row in data]

    def give(self, rows: Sequence[Mapping[str, Any]], **more: Any) -> None:
        """To every source that runs."""
        for context in self.contexts:
            assert context.emit_many(rows, **more)


@contextmanager
def running(
    folder: Path, hands: Hands | None = None, clock: RuleClock | None = None
) -> Iterator[tuple[Engine, Hands]]:
    hands = hands or Hands(folder)
    engine = Engine(folder, hands, clock)
    engine.start()
    try:
        assert engine.ready.wait(240)
        yield engine, hands
    finally:
        hands.gate.set()
        late = engine.stop()
    assert late == []


def stream(name: str = "s", **options: str) -> str:
    """A statement; of the test's own source where no TYPE is given."""
    said = {"TYPE": "hand", "DATASOURCE": "x", "FORMAT": "json", "SHARED": "true", **options}
    options_text = ", ".join(f'{key}="{value}"' for key, value in said.items())
    return f"CREATE STREAM {name} () WITH ({options_text})"


def rule(name: str, sql: str, **options: Any) -> dict[str, Any]:
    return {"id": name, "sql": sql, "actions": [{"kept": {}}], "options": options}


class Idle:
    """Takes no records: an engine's loop for a source runner that a test holds alone."""

    clock = SystemClock()

    def wake(self, runner: SourceRunner) -> None:
        return
