"""Install, describe, replace, roll back, delete: what is refused changes nothing."""

import io
import json
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from plugin_zips import SINK, Whose, manifest, plugin_zip, stored, zipped
from waiting import wait_for

from opq_plugins.policy import Policy
from opq_rules.errors import RuleError
from opq_rules.rule_plugins import RulePlugins

TRUSTED = Policy(trusted=frozenset({"m", "n"}), trial_s=120.0)


@pytest.fixture
def plugins(tmp_path: Path) -> Iterator[RulePlugins]:
    made = RulePlugins(tmp_path / "data", TRUSTED)
    yield made
    made.close()


def inproc(plugins: RulePlugins, version: str = "1.0.0", **more: Any) -> str:
    return stored(plugins.uploads, plugin_zip("m", version, mode="inproc", **more), f"m{version}.zip")


def refusal(run: Any, *arguments: Any, **more: Any) -> str:
    with pytest.raises(RuleError) as told:
        run(*arguments, **more)
    assert told.value.http in (400, 404)
    return str(told.value)


def test_a_sink_is_installed_described_used_and_deleted(plugins: RulePlugins, tmp_path: Path) -> None:
    changes: list[tuple[str, str]] = []
    plugins.on_change = lambda kind, symbol: changes.append((kind, symbol))
    assert plugins.create("sink", "m", inproc(plugins)) is None
    assert plugins.describe("sink", "m") == {"name": "m", "version": "1.0.0"}
    assert plugins.list("sink") == ["m"] and plugins.list("source") == [] and "m" in plugins.types("sink")
    assert plugins.list("package")[0]["sinks"] == ["m"]
    sink, whose = plugins.sink("m")(), Whose()
    sink.configure({"path": str(tmp_path / "out")})
    sink.open(whose)
    sink.collect(whose, [{"a": 1}])
    assert (tmp_path / "out").read_text() == "rule:1/0 1\n"
    assert plugins.status("m")["refCount"] == {"rule": 1}
    assert "used by rule" in refusal(plugins.delete, "sink", "m")
    sink.close(whose)
    plugins.delete("sink", "m")
    assert plugins.list("sink") == [] and not (tmp_path / "data/plugins/m").exists()
    assert changes == [("sink", "m")] * 2
    assert "not found" in refusal(plugins.describe, "sink", "m")


def test_unknown_names_are_404_and_types_are_listed(plugins: RulePlugins) -> None:
    for run in (
        lambda: plugins.describe("sink", "x"),
        lambda: plugins.delete("sink", "x"),
        lambda: plugins.status("x"),
    ):
        with pytest.raises(RuleError) as told:
            run()
        assert (told.value.http, told.value.code) == (404, 1002)
    assert "there are: " in refusal(plugins.sink, "mqttt") and "mqtt" in refusal(plugins.sink, "mqttt")
    assert plugins.describe("sink", "log")["name"] == "log"
    assert plugins.function("no_such") is None


def test_versions_only_go_up_unless_asked(plugins: RulePlugins) -> None:
    plugins.create("sink", "m", inproc(plugins, "1.1.0"))
    assert "installed already" in refusal(plugins.create, "sink", "m", inproc(plugins, "1.1.0"))
    assert "below the installed" in refusal(plugins.create, "sink", "m", inproc(plugins, "1.0.0"))
    replaced = plugins.create("sink", "m", inproc(plugins, "1.0.0"), downgrade=True)
    assert replaced is not None and replaced.as_json()["to"] == "1.0.0"
    assert plugins.rollback("m").as_json() == {
        "name": "m",
        "from": "1.0.0",
        "to": "1.1.0",
        "rules": 0,
        "pause_ms": {"p50": 0.0, "max": 0.0},
    }
    assert "no version before" in refusal(plugins.rollback, "m")


def test_an_unloadable_version_leaves_the_old_one(plugins: RulePlugins, tmp_path: Path) -> None:
    """Also one with other properties."""
    plugins.create("sink", "m", inproc(plugins))
    sink, whose = plugins.sink("m")(), Whose()
    sink.configure({"path": str(tmp_path / "out")})
    sink.open(whose)
    broken = {
        "1.0.1": "import nothing_of_that_name",
        "1.0.2": SINK.replace("self.path =", "raise ValueError('no such path'); self.path ="),
        "1.0.3": SINK.replace("self.taken = state", "raise KeyError('state')"),
        "1.0.4": SINK + "\n    def open(self, context):\n        raise OSError('cannot open')\n",
        "1.0.5": SINK + "\n    def selftest(self):\n        return 'not well'\n",
        "1.0.6": "Sink = 3",
    }
    for version, code in broken.items():
        assert refusal(plugins.create, "sink", "m", inproc(plugins, version, code=code))
        assert plugins.describe("sink", "m")["version"] == "1.0.0"
        sink.collect(whose, [{}])
    assert len((tmp_path / "out").read_text().splitlines()) == len(broken)
    assert list(plugins.status("m")["versions"]) == ["1.0.0"]
    assert [each.name for each in (tmp_path / "data/plugins/m").iterdir()] == ["1.0.0"]
    assert list((tmp_path / "data/plugins/.staging").iterdir()) == []


def test_a_symbol_has_one_owner(plugins: RulePlugins) -> None:
    plugins.create("sink", "m", inproc(plugins))
    two = zipped({"plugin.json": manifest("n", symbols={"sinks": ["m"]}), "sinks/m.py": SINK})
    assert "to plug-in 'm' already" in refusal(plugins.create, "sink", "n", stored(plugins.uploads, two))
    built_in = stored(plugins.uploads, plugin_zip("mqtt"))
    assert "built in" in refusal(plugins.create, "sink", "mqtt", built_in)
    assert "has no source" in refusal(plugins.create, "source", "n", stored(plugins.uploads, plugin_zip("n")))
    function = stored(plugins.uploads, plugin_zip("n", kind="function"))
    assert "no function g" in refusal(plugins.create, "function", "n", function, functions=["g"])
    for name in ("", "../m", "a b", "x" * 65):
        assert "want letters" in refusal(plugins.create, "sink", name, function)


def test_everything_survives_a_restart(tmp_path: Path) -> None:
    first = RulePlugins(tmp_path, TRUSTED)
    first.create("sink", "m", inproc(first, "1.0.0"))
    first.create("sink", "m", inproc(first, "1.0.1"))
    first.close()
    (tmp_path / "plugins/.staging/left/unpacked").mkdir(parents=True)  # what a kill leaves
    (tmp_path / "plugins/m/1.0.2").mkdir()  # renamed, and the switch did not come
    second = RulePlugins(tmp_path, TRUSTED)
    assert second.describe("sink", "m")["version"] == "1.0.1"
    assert list((tmp_path / "plugins/.staging").iterdir()) == []
    second.sink("m")().configure({})
    assert second.create("sink", "m", inproc(second, "1.0.2")) is not None
    second.close()


def test_old_versions_beyond_three_are_removed(plugins: RulePlugins, tmp_path: Path) -> None:
    for number in range(6):
        plugins.create("sink", "m", inproc(plugins, f"1.0.{number}"))
    assert sorted(each.name for each in (tmp_path / "data/plugins/m").iterdir()) == [
        "1.0.3",
        "1.0.4",
        "1.0.5",
    ]
    assert not [name for name in sys.modules if name.startswith("opq_plugin_m@1_0_0")]


def test_untrusted_code_always_gets_a_process(tmp_path: Path) -> None:
    plugins = RulePlugins(tmp_path)
    plugins.create("sink", "m", inproc(plugins))
    assert plugins.status("m")["mode"] == "process" and plugins.status("m")["pid"] > 0
    plugins.close()


def test_an_unloadable_first_version_leaves_no_folder(plugins: RulePlugins, tmp_path: Path) -> None:
    assert "does not load" in refusal(plugins.create, "sink", "m", inproc(plugins, code="Sink ="))
    assert not (tmp_path / "data/plugins/m").exists()


def test_requirements_are_checked_and_wheels_unpacked(plugins: RulePlugins, tmp_path: Path) -> None:
    wheel = zipped(
        {
            "little_library.py": "ANSWER = 42",
            "little_library-1.2.dist-info/METADATA": "Name: little-library",
            "little_library-1.2.data/scripts/run": "no",
        }
    )
    code = SINK.replace("from opq_plugins import sdk", "from opq_plugins import sdk\nimport little_library")

    def url(requires: list[str], own: str = "", **files: bytes) -> str:
        told = manifest("w", requires=requires)
        given = {"plugin.json": told, "sinks/w.py": code, **{f"wheels/{k}.whl": v for k, v in files.items()}}
        return stored(plugins.uploads, zipped(given | ({own: b""} if own else {})))

    assert "not installed" in refusal(plugins.create, "sink", "w", url(["little-library>=1.0"]))
    assert "1.2 is installed" in refusal(plugins.create, "sink", "w", url(["little-library>=1.3"], a=wheel))
    assert "1.2 is installed" in refusal(plugins.create, "sink", "w", url(["little-library>1,<1.2"], a=wheel))
    assert "want a name" in refusal(plugins.create, "sink", "w", url(["git+https://x"]))
    assert "want a name" in refusal(plugins.create, "sink", "w", url(["x @ https://x/x.whl"]))
    assert "not a wheel" in refusal(plugins.create, "sink", "w", url([], a=b"no"))
    evil = zipped({"../../evil.py": ""})
    assert "folder" in refusal(plugins.create, "sink", "w", url([], a=evil))
    for own in ("lib", "lib/own.py"):
        assert "files in lib/" in refusal(plugins.create, "sink", "w", url([], own, a=wheel))
    taken = ["Little.Library ~= 1.1, != 1.1.5", "msgspec", "no-such-thing; python_version < '3'"]
    plugins.create("sink", "w", url(taken, a=wheel))
    plugins.sink("w")().configure({})
    lib = tmp_path / "data/plugins/w/1.0.0/lib"
    assert (lib / "little_library.py").is_file() and not list(lib.rglob("run"))


def test_a_force_deleted_sink_waits(plugins: RulePlugins, tmp_path: Path) -> None:
    """It goes on when it is installed again."""
    plugins.create("sink", "m", inproc(plugins))
    sink, whose = plugins.sink("m")(), Whose()
    sink.configure({"path": str(tmp_path / "out")})
    sink.open(whose)
    plugins.delete("sink", "m", force=True)
    with pytest.raises(ConnectionError, match="not installed"):
        sink.collect(whose, [{}])
    plugins.create("sink", "m", inproc(plugins))
    sink.collect(whose, [{}])
    assert len((tmp_path / "out").read_text().splitlines()) == 1


def test_a_version_failing_its_trial_is_withdrawn(plugins: RulePlugins, tmp_path: Path) -> None:
    plugins.create("sink", "m", inproc(plugins))
    sink, whose = plugins.sink("m")(), Whose()
    sink.configure({"path": str(tmp_path / "out")})
    sink.open(whose)
    bad = SINK.replace("with open(", "raise RuntimeError('bug')\n        with open(")
    plugins.create("sink", "m", inproc(plugins, "2.0.0", code=bad))
    for _ in range(2):
        with pytest.raises(RuntimeError):
            sink.collect(whose, [{}])
    wait_for(lambda: plugins.describe("sink", "m")["version"] == "1.0.0")
    sink.collect(whose, [{}])
    assert "taken back to 1.0.0" in wait_for(lambda: plugins.status("m")["errMsg"])


def test_an_install_script_is_not_run(tmp_path: Path) -> None:
    files = {"plugin.json": manifest("m"), "sinks/m.py": SINK, "install.sh": f"touch {tmp_path}/ran"}
    plugins = RulePlugins(tmp_path / "a")
    plugins.create("sink", "m", stored(plugins.uploads, zipped(files)))
    assert not (tmp_path / "ran").exists() and plugins.list("sink") == ["m"]
    plugins.close()


def test_the_host_needs_no_driver() -> None:
    heavy = "[m for m in ('sqlalchemy', 'lupa') if m in sys.modules]"
    program = f"import sys, opq_plugins.host.plugins; print({heavy})"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=600
    )
    assert json.loads(done.stdout) == []


def test_wheels_are_unpacked_within_a_bound(tmp_path: Path) -> None:
    plugins = RulePlugins(tmp_path, Policy(max_unpacked_bytes=3 << 20))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.bin", bytes(2 << 20))
    wheel = buffer.getvalue()
    files: dict[str, str | bytes] = {"plugin.json": manifest("w"), "sinks/w.py": SINK}
    for names, told in ((("a", "b", "c"), "unpacked it has"), (("a",), "is not a wheel")):
        raw = wheel if len(names) > 1 else wheel[:60] + b"\xff" * 40 + wheel[100:]
        many = files | {f"wheels/{name}.whl": raw for name in names}
        url = stored(plugins.uploads, zipped(many), "w.zip")
        with pytest.raises(RuleError, match=told):
            plugins.create("sink", "w", url)
    assert list((tmp_path / "plugins/.staging").iterdir()) == [] and plugins.list("sink") == []
    plugins.close()


def test_a_dripping_server_blocks_four_places(tmp_path: Path) -> None:
    plugins = RulePlugins(tmp_path, Policy(download_s=30.0))
    told: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x.zip"

        def install() -> None:
            told.append(refusal(plugins.create, "sink", "m", url))

        waiting = [threading.Thread(target=install) for _ in range(4)]
        for thread in waiting:
            thread.start()
        connections = [silent.accept()[0] for _ in waiting]
        assert "4 plug-ins are being fetched" in refusal(plugins.create, "sink", "m", url)
        for connection in connections:
            connection.close()
        for thread in waiting:
            thread.join(240)
    assert len(told) == 4 and not any("being fetched" in each for each in told)
    plugins.close()
