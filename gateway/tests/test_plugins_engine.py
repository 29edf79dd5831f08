"""Plug-ins in rules of a real engine: a source, a function and a sink, replaced while the rule runs."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from plugin_zips import FUNCTION, SOURCE, Whose, manifest, stored, zipped
from waiting import wait_for

from opq_plugins.policy import Policy, ProcessLimits
from opq_proto.errors import PluginError
from opq_rules.engine.engine import Engine
from opq_rules.errors import RuleError
from opq_rules.rule_plugins import RulePlugins

SLOW_SOURCE = SOURCE.replace("not context.stopped", "not context.wait(0.0005)")
SINK = """
import json

from opq_plugins import sdk


class Sink(sdk.Sink):
    def configure(self, properties):
        self.path = properties["path"]

    def collect(self, context, data):
        with open(self.path, "a") as file:
            for row in data:
                file.write(json.dumps({**row, "version": "VERSION"}) + "\\n")
"""


def version_of(plugins: RulePlugins, number: int) -> str:
    symbols = {"sources": ["counter"], "functions": ["twice"], "sinks": ["lines"]}
    files = {
        "plugin.json": manifest("three", f"1.0.{number}", symbols=symbols),
        "sources/counter.py": SLOW_SOURCE,
        "functions/twice.py": FUNCTION,
        "sinks/lines.py": SINK.replace("VERSION", f"1.0.{number}"),
        "sinks/lines.json": '{"properties": {"path": {"type": "string", "required": true}}}',
    }
    return stored(plugins.uploads, zipped(files), f"{number}.zip")


@pytest.fixture
def plugins(tmp_path: Path, rows: Path) -> Iterator[RulePlugins]:
    limits = ProcessLimits(call_s=30.0, function_s=30.0)
    made = RulePlugins(tmp_path / "data", Policy(limits=limits, writable=(rows.parent,)))
    yield made
    made.close()


@pytest.fixture
def rows() -> Iterator[Path]:
    """Where another user may write: pytest's own folder is closed to it."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / "rows"
        path.touch()
        path.chmod(0o666)
        yield path


@pytest.mark.parametrize("qos", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_plugin_rule_survives_replacements(
    tmp_path: Path, plugins: RulePlugins, rows: Path, qos: int
) -> None:
    plugins.create("package", "three", version_of(plugins, 0))
    engine = Engine(tmp_path / "engine", plugins)
    plugins.used_by, plugins.on_change = engine.users_of, engine.plugin_changed
    engine.start()
    try:
        assert engine.ready.wait(240)
        engine.execute('CREATE STREAM s () WITH (TYPE="counter", DATASOURCE="x", FORMAT="json")')
        actions = [{"lines": {"path": str(rows)}}]
        sql = "SELECT n, twice(n) AS d FROM s WHERE n >= 0"
        engine.create_rule({"id": "r", "sql": sql, "actions": actions, "options": {"qos": qos}})
        for number in range(1, 4):
            before = rows.stat().st_size
            wait_for(lambda before=before: rows.stat().st_size > before)
            replaced = plugins.create("package", "three", version_of(plugins, number))
            assert replaced is not None and replaced.new == f"1.0.{number}"
        wait_for(lambda: "1.0.3" in rows.read_text())
        with pytest.raises(RuleError, match="used by"):
            plugins.delete("package", "three")
        with pytest.raises(RuleError, match="path  missing"):
            engine.create_rule({"id": "q", "sql": sql, "actions": [{"lines": {}}]})
        with pytest.raises(RuleError, match="want one argument"):
            engine.create_rule({"id": "q", "sql": "SELECT twice(n, 1) FROM s", "actions": actions})
        engine.delete_rule("r")
    finally:
        engine.stop()
    got = [json.loads(line) for line in rows.read_text().splitlines()]
    assert [row["n"] for row in got] == list(range(len(got))) and all(row["d"] == 2 * row["n"] for row in got)
    versions = [row["version"] for row in got]
    assert versions == sorted(versions) and set(versions) == {f"1.0.{k}" for k in range(4)}


def test_a_rule_reports_its_deleted_plugin(tmp_path: Path, plugins: RulePlugins, rows: Path) -> None:
    plugins.create("package", "three", version_of(plugins, 0))
    engine = Engine(tmp_path / "engine", plugins)
    plugins.used_by, plugins.on_change = engine.users_of, engine.plugin_changed
    engine.start()
    try:
        assert engine.ready.wait(240)
        engine.execute('CREATE STREAM s () WITH (TYPE="counter", DATASOURCE="x", FORMAT="json")')
        actions = [{"lines": {"path": str(rows)}}]
        engine.create_rule({"id": "r", "sql": "SELECT twice(n) AS d FROM s", "actions": actions})
        wait_for(lambda: rows.stat().st_size)
        assert engine.views.rule_status("r")["degraded"] == ""
        plugins.delete("package", "three", force=True)
        status = engine.views.rule_status("r")
        assert status["status"] == "running"
        for missing in ("source counter", "sink lines", "function twice"):
            assert f"{missing}: its plug-in is not installed" in status["degraded"]
        plugins.create("package", "three", version_of(plugins, 1))
        wait_for(lambda: "1.0.1" in rows.read_text())
        wait_for(lambda: engine.views.rule_status("r")["degraded"] == "")
    finally:
        engine.stop()


ALIVE = """
import gc

from opq_plugins import sdk


class Function(sdk.Function):
    def validate(self, args):
        return ""

    def exec(self, args, context):
        gc.collect()
        return sum(type(each).__name__ == "Sink" for each in gc.get_objects())
"""
PICKY = """
from opq_plugins import sdk


class Sink(sdk.Sink):
    def configure(self, properties):
        if properties["table"] == "a b":
            raise ValueError("table  is 'a b'")
        self.table = properties["table"]

    def collect(self, context, data):
        pass
"""


def test_viewing_a_plugin_leaves_nothing(tmp_path: Path, plugins: RulePlugins) -> None:
    def picky(number: int) -> str:
        files = {
            "plugin.json": manifest(
                "p", f"1.0.{number}", symbols={"sinks": ["picky"], "functions": ["alive"]}
            ),
            "sinks/picky.py": PICKY,
            "functions/alive.py": ALIVE,
        }
        return stored(plugins.uploads, zipped(files), f"p{number}.zip")

    plugins.create("package", "p", picky(0))
    engine = Engine(tmp_path / "engine", plugins)
    plugins.used_by, plugins.on_change = engine.users_of, engine.plugin_changed
    engine.start()
    alive = plugins.function("alive")
    assert alive is not None
    try:
        assert engine.ready.wait(240)
        engine.execute('CREATE STREAM s () WITH (TYPE="memory", DATASOURCE="x")')
        for number in range(3):
            body = {"id": "q", "sql": "SELECT * FROM s", "actions": [{"picky": {"table": f"t{number}"}}]}
            engine.validate(body)
        for wrong, told in (("a b", "table  is 'a b'"), (None, "KeyError")):
            properties = {} if wrong is None else {"table": wrong}
            with pytest.raises((RuleError, PluginError), match=told):
                engine.create_rule({"id": "q", "sql": "SELECT * FROM s", "actions": [{"picky": properties}]})
        assert alive().exec([], Whose()) == 0
        engine.create_rule({"id": "r", "sql": "SELECT * FROM s", "actions": [{"picky": {"table": "t"}}]})
        assert plugins.status("p")["refCount"] == {"r": 1}  # before its first emission
        refused = plugins.sink("picky")()
        with pytest.raises(ValueError, match="a b"):
            refused.configure({"table": "a b"})
        replaced = plugins.create("package", "p", picky(1))
        assert replaced is not None and replaced.new == "1.0.1"
        refused.configure({"table": "t"})
    finally:
        engine.stop()


SHUT = """
from opq_plugins import sdk


class Sink(sdk.Sink):
    def configure(self, properties):
        pass

    def open(self, context):
        raise PermissionError("shut")

    def collect(self, context, data):
        pass
"""


def test_a_deleted_rule_holds_no_plugin(tmp_path: Path, plugins: RulePlugins) -> None:
    files = {
        "plugin.json": manifest("p", "1.0.0", symbols={"sinks": ["shut"], "functions": ["twice"]}),
        "sinks/shut.py": SHUT,
        "functions/twice.py": FUNCTION,
    }
    plugins.create("package", "p", stored(plugins.uploads, zipped(files), "p.zip"))
    engine = Engine(tmp_path / "engine", plugins)
    plugins.used_by, plugins.on_change = engine.users_of, engine.plugin_changed
    engine.start()
    try:
        assert engine.ready.wait(240)
        engine.execute('CREATE STREAM s () WITH (TYPE="memory", DATASOURCE="x")')
        engine.create_rule({"id": "r", "sql": "SELECT twice(n) AS d FROM s", "actions": [{"shut": {}}]})
        engine.topics.publish("x", [{"n": 1}])
        wait_for(lambda: "shut" in engine.views.rule_status("r")["degraded"])
        with pytest.raises(RuleError, match="used by r"):
            plugins.delete("package", "p")
        engine.delete_rule("r")
        assert plugins.status("p")["refCount"] == {}
        plugins.delete("package", "p")
    finally:
        engine.stop()


def test_a_rule_waits_for_its_missing_plugin(tmp_path: Path, plugins: RulePlugins, rows: Path) -> None:
    def started() -> Engine:
        engine = Engine(tmp_path / "engine", plugins)
        plugins.used_by, plugins.on_change = engine.users_of, engine.plugin_changed
        engine.start()
        assert engine.ready.wait(240)
        return engine

    plugins.create("package", "three", version_of(plugins, 0))
    engine = started()
    engine.execute('CREATE STREAM s () WITH (TYPE="counter", DATASOURCE="x", FORMAT="json")')
    actions = [{"lines": {"path": str(rows)}}]
    engine.create_rule({"id": "r", "sql": "SELECT twice(n) AS d FROM s", "actions": actions})
    assert engine.stop() == []
    plugins.used_by, plugins.on_change = lambda *_: (), lambda *_: None
    plugins.delete("package", "three", force=True)
    rows.write_text("")
    engine = started()
    try:
        status = engine.views.rule_status("r")
        assert status["status"] == "stopped by error" and status["message"]
        plugins.create("package", "three", version_of(plugins, 1))
        wait_for(lambda: engine.views.rule_status("r")["status"] == "running")
        wait_for(lambda: "1.0.1" in rows.read_text())
    finally:
        engine.stop()
