"""Hostile plug-ins: what they send, hold or are called reaches no further than their process or refusal."""

import io
import socket
import threading
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from plugin_zips import FUNCTION, SINK, Whose, manifest, plugin_zip, stored, zipped
from rules_engine import EVERYWHERE
from waiting import wait_for

from opq_plugins.package.fetch import fetch
from opq_plugins.package.manifest import parse_manifest
from opq_plugins.package.properties import MAX_BYTES
from opq_plugins.policy import Policy
from opq_plugins.sdk import MAX_MS
from opq_plugins.worker.python_code import package_name
from opq_proto.errors import PluginError
from opq_rules.engine.engine import Engine
from opq_rules.errors import RuleError
from opq_rules.rule_plugins import RulePlugins

RAW = """
import os, select, stat, struct

import msgspec
from opq_plugins import sdk


def raw(*messages):
    sockets = []
    for number in range(3, 250):
        try:
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                sockets.append(number)
        except OSError:
            continue
    data = b"".join(struct.pack("!I", len(body)) + body for body in map(msgspec.msgpack.encode, messages))
    view = memoryview(data)
    while view:
        select.select([], [sockets[0]], [])
        view = view[os.write(sockets[0], view) :]
"""
LYING = """

class Source(sdk.Source):
    def configure(self, datasource, properties):
        pass

    def open(self, context):
        raw(*(SENT for number in range(1, 60)))
        context.wait(240)
"""
CARELESS = """
from opq_plugins import sdk


class Source(sdk.Source):
    def configure(self, datasource, properties):
        pass

    def open(self, context):
        try:
            context.SENT
        except ValueError as error:
            context.emit({"told": str(error)})
        context.wait(240)
"""


@pytest.fixture
def plugins(tmp_path: Path) -> Iterator[RulePlugins]:
    made = RulePlugins(tmp_path / "data", Policy(trusted=frozenset({"inside"})), access=EVERYWHERE)
    yield made
    made.close()


def install(plugins: RulePlugins, name: str, kind: str, code: str, **more: str) -> None:
    raw = plugin_zip(name, kind=kind, code=code, **more)
    plugins.create(kind, name, stored(plugins.uploads, raw, f"{name}.zip"))


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ("['rows', number, [{'n': 1}], [5], None, None]", "Expected `object | null`, got `int`"),
        ("['rows', number, [{'n': 1}, {'n': 1}], [None], None, None]", "meta: want"),
        ("['payloads', number, [b'{}'], [], None]", "meta: want"),
        ("['rows', number, [{'n': 1}], None, None, ['x']]", "Expected `int`, got `str`"),
        ("['rows', number, [{'n': 1}], None, None, []]", "arrived_ms: want"),
        ("['rows', number, [{'n': 1}], None, None, True]", "got `bool`"),
        ("['rows', number, [{'n': 1}], None, None, 1 << 62]", "arrived_ms: want"),
    ],
)
def test_an_unfit_answer_ends_its_process(plugins: RulePlugins, sent: str, told: str) -> None:
    install(plugins, "s", "source", RAW + LYING.replace("SENT", sent))
    source, whose = plugins.source("s")(), Whose()
    source.configure("", {})
    thread = threading.Thread(target=source.open, args=(whose,))
    thread.start()
    status = wait_for(lambda: (now := plugins.status("s"))["crashes"] and now)
    whose.end.set()
    plugins.delete("source", "s", force=True)
    thread.join(240)
    assert not thread.is_alive() and whose.rows == []
    assert status["last_error"].startswith("sends garbage: ") and told in status["last_error"]


@pytest.mark.parametrize("name", ["inside", "worker"])
@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ("emit_many([{'n': 1}, {'n': 2}], [{'a': 1}])", "meta: want a list, one for each of the 2 messages"),
        ("emit_many([{'n': 1}], None, None, [])", "arrived_ms: want one, or one for each of the 1 messages"),
        (f"emit_many([{{'n': 1}}], None, None, {MAX_MS})", "arrived_ms: want whole milliseconds since 1970"),
        ("emit_bytes([b'x'], ['a'])", "meta: want a dict or None for each message"),
    ],
)
def test_a_failing_source_stops_no_rule(
    tmp_path: Path, plugins: RulePlugins, name: str, sent: str, told: str
) -> None:
    install(plugins, name, "source", CARELESS.replace("SENT", sent), mode="inproc")
    engine = Engine(tmp_path / "engine", plugins)
    engine.start()
    try:
        assert engine.ready.wait(240)
        engine.execute(f'CREATE STREAM s () WITH (TYPE="{name}", DATASOURCE="x", FORMAT="json")')
        path = tmp_path / "rows"
        engine.create_rule({"id": "r", "sql": "SELECT * FROM s", "actions": [{"file": {"path": str(path)}}]})
        wait_for(lambda: path.is_file() and told in path.read_text())
        assert engine.views.rule_status("r")["status"] == "running"
    finally:
        engine.stop()


def test_a_careless_log_line_costs_no_process(plugins: RulePlugins) -> None:
    code = CARELESS.replace("context.SENT", "context.log(5); context.emit({'n': 1}, {2: 'topic'})")
    install(plugins, "s", "source", code)
    source, whose = plugins.source("s")(), Whose()
    source.configure("", {})
    thread = threading.Thread(target=source.open, args=(whose,))
    thread.start()
    wait_for(lambda: whose.rows)
    whose.end.set()
    thread.join(240)
    assert whose.errors == ["log 5"] and plugins.status("s")["crashes"] == 0


def test_a_false_handshake_is_refused(plugins: RulePlugins) -> None:
    lie = "\nraw(['ready', 5, ''])\n"
    with pytest.raises(RuleError, match="sends garbage: Expected `array`"):
        install(plugins, "s", "source", RAW + lie + LYING.replace("SENT", "5"))
    assert plugins.types("source").count("s") == 0


def test_a_functions_case_does_not_matter(plugins: RulePlugins) -> None:
    install(plugins, "first", "function", FUNCTION, symbols={"functions": {"Twice": "functions.first"}})
    with pytest.raises(RuleError, match="function 'tWICE' belongs to plug-in 'first' already"):
        install(plugins, "second", "function", FUNCTION, symbols={"functions": {"tWICE": "functions.second"}})


def test_alike_names_are_other_packages() -> None:
    told = [("x-1", "1.0.0"), ("x_1", "1.0.0"), ("x_1_1", "0.0.0"), ("x", "1.0.0-a.b"), ("x", "1.0.0-a-b")]
    names = {package_name(parse_manifest(manifest(*each).encode())) for each in told}
    assert len(names) == len(told) and not any("." in each for each in names)


def test_a_special_properties_file_is_refused(plugins: RulePlugins) -> None:
    files = {"plugin.json": manifest("m"), "sinks/m.py": SINK, "sinks/m.json": " " * MAX_BYTES + "{}"}
    with pytest.raises(RuleError, match=r"m\.json has more than 256 KiB"):
        plugins.create("sink", "m", stored(plugins.uploads, zipped(files)))
    assert plugins.list("sink") == []


def test_files_in_wheels_are_counted_over_all_wheels(tmp_path: Path) -> None:
    plugins = RulePlugins(tmp_path, Policy(max_files=100))
    files: dict[str, str | bytes] = {"plugin.json": manifest("w"), "sinks/w.py": SINK}
    for wheel in range(3):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for k in range(40):
                archive.writestr(f"x{wheel}/{k}", b"")
        files[f"wheels/w{wheel}.whl"] = buffer.getvalue()
    with pytest.raises(RuleError, match="its wheels have more than 100 files"):
        plugins.create("sink", "w", stored(plugins.uploads, zipped(files)))
    plugins.close()


def test_a_dripping_tls_handshake_is_abandoned(tmp_path: Path) -> None:
    """Each byte comes in time, so that only the time of all of them ends it."""

    def drip() -> None:
        peer, _ = listening.accept()
        with peer, suppress(OSError):
            peer.sendall(bytes.fromhex("16030340000200ffff0303"))  # the head of a record of 16 KiB
            while not given_up.wait(0.05):
                peer.sendall(b"\0")

    given_up = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        url = f"https://127.0.0.1:{listening.getsockname()[1]}/x"
        with pytest.raises(PluginError, match="https://127"):
            fetch(url, tmp_path / "x", Policy(download_s=0.5), [])
        given_up.set()
        thread.join(240)


def test_a_plugin_under_deletion_is_absent(plugins: RulePlugins, monkeypatch: pytest.MonkeyPatch) -> None:
    """The books are closed one after the other, and readers do not wait for an installation."""
    install(plugins, "f", "function", FUNCTION)
    store, symbols = plugins._store, plugins._symbols
    with monkeypatch.context() as patched:
        patched.setattr(store, "versions", lambda name: {})
        with pytest.raises(RuleError, match="not found"):
            plugins.status("f")
    with monkeypatch.context() as patched:
        patched.setattr(plugins, "_owner", lambda kind, name: name)
        patched.setattr(symbols, "manifests", {})
        patched.setattr(store, "currents", lambda: {})
        assert plugins.properties("function", "f") == {}
        with pytest.raises(RuleError, match="not found"):
            plugins.describe("function", "f")
    assert plugins.describe("function", "f") == {"name": "f", "version": "1.0.0"}


def test_a_failing_same_number_keeps_the_old_version(plugins: RulePlugins) -> None:
    for version, code in (("1.0.0", FUNCTION), ("1.0.1", FUNCTION), ("1.0.0", "no Python")):
        raw = plugin_zip("inside", version, "function", code, mode="inproc")
        url = stored(plugins.uploads, raw)
        if code == FUNCTION:
            plugins.create("function", "inside", url)
        else:
            with pytest.raises(RuleError, match="does not load"):
                plugins.create("function", "inside", url, downgrade=True)
    made = plugins.function("inside")
    assert made is not None
    function = made()
    assert function.exec([2], Whose()) == 4
    assert plugins.rollback("inside").new == "1.0.0" and function.exec([2], Whose()) == 4


def test_an_ended_host_starts_nothing(tmp_path: Path) -> None:
    """An upload that had waited for the others would leave its process behind."""
    plugins = RulePlugins(tmp_path)
    url = stored(plugins.uploads, plugin_zip("m"))
    with plugins._changing:
        refused: list[str] = []

        def create() -> None:
            with pytest.raises(RuleError) as error:
                plugins.create("sink", "m", url)
            refused.append(str(error.value))

        late = threading.Thread(target=create)
        late.start()
        plugins._ended = True
    late.join(240)
    active = plugins._running.get("m")
    assert "has ended" in refused[0] and (active is None or active.runtime is None)
    plugins.close()
