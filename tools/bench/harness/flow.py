"""An engine whose source emits ready payloads, and whose sink counts or takes times."""

import gc
import itertools
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from opq_plugins.sdk import Sink, SinkContext, Source, SourceContext
from opq_rules.engine.engine import Engine
from opq_rules.rule_plugins import RulePlugins

BOXES = 16
AT_ONCE = 500
"""Payloads per call, as a broker's client passes on under load."""


def payloads(count: int, seed: int = 1) -> list[bytes]:
    """Measurements of some 70 bytes; 2.3 % are above 126."""
    draw = random.Random(seed)
    return [
        msgspec.json.encode(
            {
                "box": draw.randrange(BOXES),
                "t": 1_765_792_486_013 + k,
                "v": round(draw.gauss(120, 3), 3),
                "f": round(draw.gauss(60, 0.02), 4),
            }
        )
        for k in range(count)
    ]


@dataclass(slots=True)
class PayloadLoad:
    """Load of a source: all payloads `rounds` times, as fast as they are taken."""

    payloads: Sequence[bytes]
    rounds: int
    given: int = 0
    done: bool = False
    began_s: float = 0.0
    began_cpu_s: float = 0.0
    """CPU time at the first payload, when all rules exist."""


class PayloadSource(Source):
    def __init__(self, load: PayloadLoad) -> None:
        self._load = load

    def configure(self, datasource: str, properties: Mapping[str, Any]) -> None:
        return

    def open(self, context: SourceContext) -> None:
        load = self._load
        context.connected(True)
        gc.collect()  # of the imports and rules: 40 ms, as long as 100,000 events
        load.began_s, load.began_cpu_s = time.perf_counter(), time.process_time()
        chunks = [load.payloads[k : k + AT_ONCE] for k in range(0, len(load.payloads), AT_ONCE)]
        for chunk in itertools.chain.from_iterable(itertools.repeat(chunks, load.rounds)):
            if not context.emit_bytes(chunk):
                return
            load.given += len(chunk)
        load.done = True
        context.wait(3600.0)


class CountingSink(Sink):
    """Counts the emissions."""

    def __init__(self, taken: list[int]) -> None:
        self._taken = taken

    def configure(self, properties: Mapping[str, Any]) -> None:
        return

    def collect(self, context: SinkContext, data: Any) -> None:
        self._taken[0] += 1


class BenchTypes(RulePlugins):
    """The toolkit's plug-in types, and those of the benchmark."""

    def __init__(self, data_dir: Path, source: Callable[[], Source], sink: Callable[[], Sink]) -> None:
        super().__init__(data_dir)
        self._made_source, self._made_sink = source, sink

    def source(self, type_name: str) -> Callable[[], Source]:
        return self._made_source if type_name == "bench" else super().source(type_name)

    def sink(self, type_name: str) -> Callable[[], Sink]:
        return self._made_sink if type_name == "bench" else super().sink(type_name)


@contextmanager
def engine(source: Callable[[], Source], sink: Callable[[], Sink]) -> Iterator[Engine]:
    """Runs an engine with a shared stream `s` of the source; its folder is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="opq-bench-rules-") as folder:
        made = Engine(Path(folder), BenchTypes(Path(folder), source, sink))
        made.start()
        made.ready.wait()
        made.execute(
            'CREATE STREAM s () WITH (TYPE="bench", DATASOURCE="x", FORMAT="json", SHARED="true", '
            'BUFFER_FULL_POLICY="block")'
        )
        try:
            yield made
        finally:
            made.stop()


def rule(name: str, sql: str, **options: Any) -> dict[str, Any]:
    """A rule with the benchmark's sink."""
    return {
        "id": name,
        "sql": sql,
        "actions": [{"bench": {}}],
        "options": {"bufferLength": 16_384, **options},
    }


@dataclass(frozen=True, slots=True)
class FlowRun:
    """One run. `cpu_s`: of the whole process, all threads."""

    events: int
    emissions: int
    dropped: int
    wall_s: float
    cpu_s: float


def flowed(rules: Sequence[dict[str, Any]], load: PayloadLoad) -> FlowRun:
    """Runs the whole load through the rules, from the bytes to the sink."""
    taken = [0]
    with engine(lambda: PayloadSource(load), lambda: CountingSink(taken)) as made:
        problems = made.create_rules(rules)
        assert not problems, problems
        while not load.done or not made.settled():
            time.sleep(0.002)
        wall_s, cpu_s = time.perf_counter() - load.began_s, time.process_time() - load.began_cpu_s
        totals = made.views.totals()
        return FlowRun(load.given, taken[0], int(totals["emissions_dropped_total"]), wall_s, cpu_s)
