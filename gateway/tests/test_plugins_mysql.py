"""The sinks of docs/plugins-write.md and docs/examples/mysql-sink against a real MariaDB server."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mariadb_of_ones_own import MariaDb, reason_without, running
from plugin_zips import Whose, manifest, stored, zipped
from waiting import wait_for

from opq_plugins.package.archive import pack
from opq_plugins.policy import Policy, ProcessLimits
from opq_plugins.sdk import PermanentError
from opq_rules.rule_plugins import RulePlugins

DOCS = Path(__file__).resolve().parents[2] / "docs"
EXAMPLE = DOCS / "examples" / "mysql-sink"
pytestmark = pytest.mark.skipif(reason_without() is not None, reason=str(reason_without()))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDb]:
    with running(tmp_path_factory.mktemp("mariadb")) as made:
        yield made


def plugins_for(folder: Path, port: int) -> RulePlugins:
    """`port`: the only one to which they may connect."""
    limits = ProcessLimits(call_s=30.0, function_s=30.0)
    return RulePlugins(folder, Policy(limits=limits, network=(f"tcp:{port}",)))


@pytest.fixture
def plugins(tmp_path: Path, server: MariaDb) -> Iterator[RulePlugins]:
    made = plugins_for(tmp_path / "data", server.port)
    yield made
    made.close()


def sink_of(plugins: RulePlugins, properties: dict[str, Any]) -> tuple[Any, Whose]:
    sink, whose = plugins.sink("mysql")(), Whose()
    sink.configure(properties)
    sink.open(whose)
    return sink, whose


def kept_on(sink: Any, whose: Whose, rows: list[Any]) -> None:
    """Like the engine: what may pass is tried again."""

    def once() -> bool:
        try:
            sink.collect(whose, rows)
        except OSError:
            time.sleep(0.05)
            return False
        return True

    wait_for(once)


def test_the_sink_of_the_guide_stores_rows(server: MariaDb, plugins: RulePlugins) -> None:
    text = (DOCS / "plugins-write.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    properties = next(
        block for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL) if "table" in block
    )
    files = {"sinks/mysql.py": code, "sinks/mysql.json": properties}
    told = manifest("mysql", requires=["pymysql>=1.1"])
    plugins.create("sink", "mysql", stored(plugins.uploads, zipped({"plugin.json": told, **files})))
    server.ask("CREATE TABLE guide (id INT, name VARCHAR(80))")
    sink, whose = sink_of(plugins, {"url": f"root:@tcp(127.0.0.1:{server.port})/opq", "table": "guide"})
    sink.collect(whose, [{"id": 1, "name": "a'); DROP TABLE guide; --"}, {"id": 2, "name": None}])
    assert server.ask("SELECT * FROM guide ORDER BY id") == [(1, "a'); DROP TABLE guide; --"), (2, None)]
    with pytest.raises(ValueError, match="not a name of a table"):
        sink.collect(whose, [{"id`) VALUES (1); --": 1}])
    with pytest.raises(PermanentError, match="Unknown column"):
        sink.collect(whose, [{"id": 3}, {"nothing": 1}])
    sink.collect(whose, [{"id": 4}])
    assert server.ask("SELECT id FROM guide WHERE id > 2") == [(4,)], "of a refused call nothing is stored"
    with pytest.raises(ValueError, match=r"url  missing.*table  missing"):
        plugins.sink("mysql")().configure({})


def test_the_example_stores_each_row_once(server: MariaDb, plugins: RulePlugins) -> None:
    plugins.create("sink", "mysql", stored(plugins.uploads, pack(EXAMPLE)[1]))
    server.ask("CREATE TABLE once (id INT, tags VARCHAR(80), row_id VARCHAR(200) UNIQUE)")
    properties = {
        "url": f"mysql+pymysql://root@127.0.0.1:{server.port}/opq",
        "table": "once",
        "idColumn": "row_id",
    }
    sink, whose = sink_of(plugins, properties)
    for _ in range(2):
        whose.row_ids = ["r:1/0", "r:1/1"]
        sink.collect(whose, [{"id": 1, "tags": [1, 2]}, {"id": 2}])
    assert server.ask("SELECT id, tags, row_id FROM once ORDER BY id") == [
        (1, "[1, 2]", "r:1/0"),
        (2, None, "r:1/1"),
    ]
    whose.row_ids = ["r:2/0"]
    with pytest.raises(PermanentError, match="Unknown column"):
        sink.collect(whose, [{"nothing": 1}])
    for url in ("nowhere", "mysql://h", f"postgres://u@127.0.0.1:{server.port}/opq"):
        with pytest.raises(ValueError, match="url  is not an address"):
            plugins.sink("mysql")().configure({"url": url, "table": "once"})


def test_rows_wait_for_a_server_that_is_away(tmp_path: Path) -> None:
    with (
        running(tmp_path / "away") as server,
        closing(plugins_for(tmp_path / "data", server.port)) as plugins,
    ):
        plugins.create("sink", "mysql", stored(plugins.uploads, pack(EXAMPLE)[1]))
        server.ask("CREATE TABLE away (id INT)")
        sink, whose = sink_of(plugins, {"url": f"root@tcp(127.0.0.1:{server.port})/opq", "table": "away"})
        sink.collect(whose, [{"id": 1}])
        server.stop()
        with pytest.raises(ConnectionError):
            sink.collect(whose, [{"id": 2}])
        server.start()
        kept_on(sink, whose, [{"id": 2}])
        assert server.ask("SELECT id FROM away ORDER BY id") == [(1,), (2,)]


def test_a_new_version_takes_over_mid_stream(server: MariaDb, plugins: RulePlugins) -> None:
    plugins.create("sink", "mysql", stored(plugins.uploads, pack(EXAMPLE)[1]))
    server.ask("CREATE TABLE flow (id INT)")
    sink, whose = sink_of(plugins, {"url": f"root@tcp(127.0.0.1:{server.port})/opq", "table": "flow"})
    end, count = threading.Event(), 0

    def feed() -> None:
        nonlocal count
        while not end.is_set():
            kept_on(sink, whose, [{"id": count}])
            count += 1

    thread = threading.Thread(target=feed)
    thread.start()
    files = {path.relative_to(EXAMPLE).as_posix(): path.read_bytes() for path in EXAMPLE.rglob("*.*")}
    for number in range(1, 6):
        at = count
        wait_for(lambda at=at: count > at + 5)
        files["plugin.json"] = (
            (EXAMPLE / "plugin.json").read_bytes().replace(b"1.0.0", f"1.0.{number}".encode())
        )
        replaced = plugins.create("sink", "mysql", stored(plugins.uploads, zipped(files)))
        assert replaced is not None and replaced.new == f"1.0.{number}" and replaced.rules == 1
    end.set()
    thread.join(240)
    assert [row[0] for row in server.ask("SELECT id FROM flow ORDER BY id")] == list(
        range(count)
    ) and count > 25
