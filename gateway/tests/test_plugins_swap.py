"""New versions take over while records flow: none is lost, none doubled, nothing grows.

A chain of three parts of one plug-in: its source feeds its function, that its sink, and each replacement
exchanges all three.
"""

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from plugin_zips import SINK, SOURCE, Whose, manifest, plugin_zip, stored, zipped
from waiting import wait_for

from opq_plugins.host.plugins import Plugins
from opq_plugins.host.worker.remote_source import RemoteSource
from opq_plugins.host.worker.worker_process import WorkerProcess
from opq_plugins.policy import Policy, ProcessLimits
from opq_proto.errors import PluginError

FUNCTION = """
from opq_plugins import sdk


class Function(sdk.Function):
    calls = 0

    def exec(self, args, context):
        self.calls += 1
        return [args[0], self.calls, "VERSION"]

    def export_state(self):
        return self.calls

    def import_state(self, version, state):
        self.calls = state
"""
SINK_OF_CHAIN = """
from opq_plugins import sdk


class Sink(sdk.Sink):
    def configure(self, properties):
        self.path = properties["path"]

    def open(self, context):
        self.file = open(self.path, "a", buffering=1)

    def collect(self, context, data):
        n, calls, version = data[0]["v"]
        self.file.write(f"{n} {calls} {version}\\n")

    def close(self, context):
        self.file.close()
"""


PACED = SOURCE.replace("self.next += 1", "self.next += 1\n            context.wait(0.0002)")


def counts(short: int, slow: int, soak: int, longest_s: int) -> list[Any]:
    """Cases of so many swaps, limited by `longest_s` for each swap and ten minutes for the rest."""
    marks = {short: [], slow: [pytest.mark.slow], soak: [pytest.mark.soak]}
    return [
        pytest.param(swaps, marks=[*each, pytest.mark.timeout(600 + swaps * longest_s)])
        for swaps, each in marks.items()
    ]


@pytest.fixture
def rows() -> Iterator[Path]:
    """Where another user may write: pytest's own folder is closed to it."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "rows"


def version_of(plugins: Plugins, number: int, mode: str, **code: str) -> str:
    version = f"1.0.{number}"
    symbols = {"sources": ["s"], "functions": ["f"], "sinks": ["k"]}
    files = {
        "plugin.json": manifest("chain", version, symbols=symbols, mode=mode),
        "sources/s.py": code.get("source", PACED),
        "functions/f.py": FUNCTION.replace("VERSION", version),
        "sinks/k.py": code.get("sink", SINK_OF_CHAIN),
    }
    return stored(plugins.uploads, zipped(files), "chain.zip")


class Chain(Whose):
    """The engine of one rule: what the source emits goes through the function into the sink."""

    def __init__(self, plugins: Plugins, path: Path) -> None:
        super().__init__()
        self.count = 0
        path.touch(mode=0o666)
        path.chmod(0o666)
        made = plugins.function("f")
        assert made is not None
        self._function, self._sink, self._source = made(), plugins.sink("k")(), plugins.source("s")()
        self._sink.configure({"path": str(path)})
        self._sink.open(self)
        self._source.configure("", {})
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def emit_many(self, messages: Any, meta: Any = None, offset: Any = None, arrived_ms: Any = None) -> bool:
        if self.end.is_set():
            return False
        for row in messages:
            value = self._function.exec([row["n"]], self)
            self._sink.collect(self, [{"v": value}])
            self.count += 1
        return True

    def _run(self) -> None:
        try:
            self._source.open(self)
        except BaseException as error:
            self.failure = error

    def stop(self) -> None:
        self.end.set()
        self._thread.join(240)
        assert not self._thread.is_alive() and self.failure is None, self.failure
        self._source.close(self)
        self._sink.close(self)


def used() -> tuple[int, int, float]:
    """File handles, threads, and resident memory in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    handles = sum(1 for _ in Path("/proc/self/fd").iterdir())
    return handles, threading.active_count(), pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def swapped_under_load(plugins: Plugins, path: Path, mode: str, swaps: int) -> dict[str, Any]:
    plugins.create("package", "chain", version_of(plugins, 0, mode))
    chain = Chain(plugins, path)
    warm = max(5, swaps // 5)
    pauses: list[float] = []
    before = used()
    began_s = time.monotonic()
    for number in range(1, swaps + 1):
        count = chain.count
        wait_for(lambda count=count: chain.count > count or chain.failure)
        replaced = plugins.create("package", "chain", version_of(plugins, number, mode))
        assert replaced is not None and replaced.rules == 1
        pauses.append(replaced.pause_max_ms)
        if number == warm:
            before = used()
    # what served the version before ends by itself, a moment later on a busy machine
    wait_for(lambda: all(now <= then + 2 for now, then in zip(used()[:2], before, strict=False)))
    after = used()
    took_s = time.monotonic() - began_s
    wait_for(lambda count=chain.count: chain.count > count or chain.failure)
    chain.stop()
    lines = [line.split() for line in path.read_text().splitlines()]
    assert [int(n) for n, _, _ in lines] == list(range(chain.count)), "lost, doubled or out of order"
    assert [int(calls) for _, calls, _ in lines] == list(range(1, chain.count + 1)), "state was lost"
    assert lines[-1][2] == f"1.0.{swaps}"
    grown = after[2] - before[2]
    assert grown < 4 + swaps * 0.004, f"memory grew by {grown:.1f} MiB in {swaps - warm} swaps"
    pauses.sort()
    told = {"swaps": swaps, "rows": chain.count, "s": round(took_s, 1), "grown_mib": round(grown, 2)}
    return told | {
        "pause_p50_ms": pauses[len(pauses) // 2],
        "pause_max_ms": pauses[-1],
        "used": (before, after),
    }


@pytest.fixture
def plugins(tmp_path: Path, rows: Path) -> Iterator[Plugins]:
    policy = Policy(
        writable=(rows.parent,),
        trusted=frozenset({"chain"}),
        limits=ProcessLimits(call_s=30.0, function_s=30.0, start_s=60.0),
        drain_s=60.0,
    )
    made = Plugins(tmp_path / "data", policy)
    yield made
    made.close()


@pytest.mark.parametrize("swaps", counts(60, 500, 10_000, longest_s=1))
def test_swaps_in_process_lose_and_double_nothing(plugins: Plugins, rows: Path, swaps: int) -> None:
    print(swapped_under_load(plugins, rows, "inproc", swaps))


@pytest.mark.parametrize("swaps", counts(8, 20, 300, longest_s=20))
def test_swaps_of_a_worker_lose_and_double_nothing(plugins: Plugins, rows: Path, swaps: int) -> None:
    print(swapped_under_load(plugins, rows, "process", swaps))


@pytest.mark.parametrize("mode", ["inproc", "process"])
def test_a_half_failed_swap_is_undone(plugins: Plugins, rows: Path, mode: str) -> None:
    plugins.create("package", "chain", version_of(plugins, 0, mode))
    chain = Chain(plugins, rows)
    wait_for(lambda: chain.count > 10)
    broken_sink = SINK_OF_CHAIN.replace(
        "self.file = open", "raise RuntimeError('not here'); self.file = open"
    )
    broken_source = PACED.replace("self.next = offset", "raise RuntimeError('no way back')")
    for number, code in ((1, {"sink": broken_sink}), (2, {"source": broken_source})):
        with pytest.raises(
            Exception,
            match=r"(not here|no way back)",
        ):
            plugins.create("package", "chain", version_of(plugins, number, mode, **code))
        count = chain.count
        wait_for(lambda count=count: chain.count > count + 10 or chain.failure)
    chain.stop()
    lines = [line.split() for line in rows.read_text().splitlines()]
    assert [int(n) for n, _, _ in lines] == list(range(chain.count))
    assert [int(calls) for _, calls, _ in lines] == list(range(1, chain.count + 1))
    assert lines[-1][2] == "1.0.0"  # a few in between were of the version that was taken back


def test_a_late_stop_spares_the_next_opening(
    plugins: Plugins, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source is opened again after a swap that failed, while its stop is still on its way."""
    stop, stopped = RemoteSource._stop, threading.Event()

    def late(source: RemoteSource, process: WorkerProcess) -> None:
        time.sleep(1.0)
        stop(source, process)
        stopped.set()

    monkeypatch.setattr(RemoteSource, "_stop", late)
    plugins.create("package", "chain", version_of(plugins, 0, "process"))
    chain = Chain(plugins, rows)
    wait_for(lambda: chain.count > 10)
    broken = PACED.replace("self.next = offset", "raise RuntimeError('no way back')")
    with pytest.raises(PluginError, match="no way back"):
        plugins.create("package", "chain", version_of(plugins, 1, "process", source=broken))
    assert stopped.wait(240)
    count = chain.count
    wait_for(lambda: chain.count > count + 10 or chain.failure)
    chain.stop()


DAWDLES = (
    "import time\n"
    + SOURCE.replace("context.stopped", "context.wait(0.001)").replace("return\n", "break\n")
    + "        time.sleep(1)\n"
)
"""It ends a second after it was told to."""


@pytest.mark.parametrize("mode", ["inproc", "process"])
def test_a_source_outlives_a_swap_given_up(tmp_path: Path, mode: str) -> None:
    """It had been told to end, and ended too late for the swap."""
    plugins = Plugins(tmp_path, Policy(trusted=frozenset({"s"}), drain_s=0.2))

    def installed(version: str) -> None:
        raw = plugin_zip("s", version, kind="source", code=DAWDLES, mode=mode)
        plugins.create("source", "s", stored(plugins.uploads, raw))

    try:
        installed("1.0.0")
        source, whose = plugins.source("s")(), Whose()
        source.configure("", {})
        thread = threading.Thread(target=source.open, args=(whose,))
        thread.start()
        wait_for(lambda: len(whose.rows) > 10)
        with pytest.raises(PluginError, match=r"does not end within 0\.2 s"):
            installed("1.0.1")
        count = len(whose.rows)
        wait_for(lambda: len(whose.rows) > count + 10)
        whose.end.set()
        thread.join(240)
        assert not thread.is_alive()
        assert [row["n"] for row in whose.rows] == list(range(len(whose.rows)))
        source.close(whose)
    finally:
        plugins.close()


def test_sinks_of_many_rules_swap_in_one_replacement(plugins: Plugins, rows: Path) -> None:
    def url(number: int) -> str:
        files = {
            "plugin.json": manifest("chain", f"1.0.{number}", symbols={"sinks": ["k"]}),
            "sinks/k.py": SINK,
        }
        return stored(plugins.uploads, zipped(files))

    plugins.create("sink", "chain", url(0))
    held = []
    for number in range(50):
        path = rows.with_name(f"rows{number}")
        path.touch()
        path.chmod(0o666)
        sink, whose = plugins.sink("k")(), Whose(f"rule{number}")
        sink.configure({"path": str(path)})
        sink.open(whose)
        held.append((sink, whose, path))
    replaced = plugins.create("sink", "chain", url(1))
    assert replaced is not None and replaced.rules == 50
    for sink, whose, path in held:
        sink.collect(whose, [{}])
        assert path.read_text() == "rule:1/0 1\n"
        sink.close(whose)
    assert plugins.status("chain")["refCount"] == {}
