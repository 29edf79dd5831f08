"""Plug-ins in Lua and in C, in the real worker."""

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from judging_plugins import measured
from plugin_zips import Whose, manifest, stored, zipped
from waiting import wait_for

from opq_plugins.host.plugins import Plugins
from opq_plugins.host.worker import remote
from opq_plugins.policy import Policy, ProcessLimits
from opq_plugins.sdk import RowError
from opq_proto.decision import Decision, Nominal
from opq_proto.errors import PluginError

HEADER = Path(__file__).parents[1] / "opq_plugins/sdk/opq_plugin.h"


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plugins]:
    """A slow machine is not a trigger that hangs."""
    for name in ("DECIDE_S", "BEGIN_S"):
        monkeypatch.setattr(remote, name, 60.0)
    made = Plugins(
        tmp_path / "data",
        Policy(
            limits=ProcessLimits(
                call_s=60.0, function_s=60.0, lua_instructions=1_000_000, lua_memory_bytes=8 << 20
            )
        ),
    )
    yield made
    made.close()


def function_of(plugins: Plugins, name: str) -> Any:
    made = plugins.function(name)
    assert made is not None
    return made()


def source_gives(plugins: Plugins, name: str, count: int, **properties: Any) -> list[Any]:
    source, whose = plugins.source(name)(), Whose()
    source.configure("box", properties)
    thread = threading.Thread(target=source.open, args=(whose,))
    thread.start()
    wait_for(lambda: len(whose.rows) >= count)
    whose.end.set()
    thread.join(240)
    assert not thread.is_alive()
    source.close(whose)
    return whose.rows[:count]


LUA = """
local most, seen = 0, 0
function configure(conf) if conf.refuse then error("refuse  is not taken") end; most = conf.most or 0 end
function decide(measurement, nominal)
  local what = measurement.box_id
  if what == "fine" then
    print("printed"); return {metric = "rms", value = 2, limit = most, because = nominal.volts .. " V"}
  end
  if what == "seen" then
    seen = seen + 1; return {metric = "rms", value = seen, limit = most, because = "seen"}
  end
  if what == "loop" then while true do end end
  if what == "catch" then while true do pcall(function() while true do end end) end end
  if what == "memory" then local t = {} for i = 1, 1e9 do t[i] = ("x"):rep(1000) .. i end end
  if what == "names" then error(tostring(io) .. tostring(python) .. tostring(require) .. tostring(debug)) end
  if what == "function" then return print end
end
"""


def seen_twice(trigger: Any) -> list[float]:
    row = replace(measured(230.0), box_id="seen")
    return [trigger.decide(row, Nominal(230.0, 50.0)).value for _ in range(2)]


def test_lua_is_bounded_in_memory_instructions_and_names(plugins: Plugins) -> None:
    files = {"plugin.json": manifest("l", kind="trigger", language="lua"), "triggers/l.lua": LUA}
    plugins.create("trigger", "l", stored(plugins.uploads, zipped(files)))
    trigger, nominal = plugins.trigger("l")(), Nominal(230.0, 50.0)
    with pytest.raises(ValueError, match="refuse"):
        plugins.trigger("l")().configure({"refuse": True})
    trigger.configure({"most": 1})
    measurement = replace(measured(230.0), box_id="fine")
    assert trigger.decide(measurement, nominal) == Decision("rms", 2.0, 1.0, "230.0 V")
    for what, text in (
        ("loop", "instructions"),
        ("catch", "instructions"),
        ("memory", "memory"),
        ("names", "nil" * 4),
        ("function", "want"),
    ):
        with pytest.raises((ValueError, PluginError), match=text):
            trigger.decide(replace(measurement, box_id=what), nominal)
    assert trigger.decide(replace(measurement, box_id="other"), nominal) is None
    assert seen_twice(trigger) == [1, 2] and not trigger.forget_box("7")  # all of its memory
    assert seen_twice(trigger) == [1, 2]
    wait_for(lambda: "printed" in plugins.status("l")["output_tail"])
    assert plugins.status("l")["crashes"] == 0


def test_unloadable_lua_names_its_line(plugins: Plugins) -> None:
    told = manifest("l", kind="trigger", language="lua")
    files = {"plugin.json": told, "triggers/l.lua": "function f(\n)) end"}
    with pytest.raises(PluginError, match=r"l/l does not load: .*2"):
        plugins.create("trigger", "l", stored(plugins.uploads, zipped(files)))


@pytest.mark.parametrize("kind", ["source", "sink", "function", "analysis"])
def test_only_triggers_are_in_lua(plugins: Plugins, kind: str) -> None:
    url = stored(plugins.uploads, zipped({"plugin.json": manifest("l", kind=kind, language="lua")}))
    with pytest.raises(PluginError, match=f"only a trigger can; write it .* plugin new {kind} l"):
        plugins.create(kind, "l", url)


C = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "opq_plugin.h"
int32_t opq_plugin_api(void) { return OPQ_PLUGIN_API; }
void *opq_open(const char *kind, const char *symbol, const char *properties, char *error, size_t error_size) {
    (void)kind; (void)symbol;
    if (strstr(properties, "wrong")) { snprintf(error, error_size, "wrong  is not taken"); return NULL; }
    return calloc(1, sizeof(int));
}
int32_t opq_sink_collect(void *instance, const char *data, size_t size, const char *row_id,
                         char *error, size_t error_size) {
    (void)size; (void)instance;
    if (strstr(data, "again")) { snprintf(error, error_size, "no line to %s", row_id); return OPQ_AGAIN; }
    if (strstr(data, "bad")) { snprintf(error, error_size, "bad row"); return OPQ_BAD; }
    if (strstr(data, "die")) abort();
    return OPQ_OK;
}
int64_t opq_function_exec(void *instance, const char *arguments, size_t size, char *answer,
                          size_t answer_size) {
    (void)instance; (void)size;
    if (strstr(arguments, "null")) { snprintf(answer, answer_size, "null is not taken"); return -1; }
    return snprintf(answer, answer_size, "{\"got\": %s}", arguments);
}
int64_t opq_source_next(void *instance, char *message, size_t message_size, int32_t timeout_ms) {
    (void)timeout_ms;
    return snprintf(message, message_size, "[{\"n\": %d}]", (*(int *)instance)++);
}
int64_t opq_trigger_decide(void *instance, const char *seen, size_t size, char *decision,
                           size_t decision_size) {
    (void)seen; (void)size;
    return snprintf(decision, decision_size,
                    "{\"metric\": \"rms\", \"value\": %d, \"limit\": 0, \"because\": \"seen\"}",
                    ++*(int *)instance);
}
void opq_close(void *instance) { free(instance); }
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_a_library_behind_the_c_abi(plugins: Plugins, tmp_path: Path) -> None:
    (tmp_path / "c.c").write_text(C)
    command = [
        "cc",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-shared",
        "-fPIC",
        "-I",
        str(HEADER.parent),
        "-o",
        "libc1.so",
        "c.c",
    ]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=240)
    library = (tmp_path / "libc1.so").read_bytes()
    symbols = {"functions": ["c"], "sinks": ["c"], "sources": ["c"], "triggers": ["c"]}
    told = manifest("c", language="c", executable="libc1.so", symbols=symbols)
    plugins.create(
        "package", "c", stored(plugins.uploads, zipped({"plugin.json": told, "libc1.so": library}))
    )
    whose = Whose()
    assert function_of(plugins, "c").exec([1, "a"], whose) == {"got": [1, "a"]}
    with pytest.raises(RowError, match="null is not taken"):
        function_of(plugins, "c").exec([None], whose)
    sink = plugins.sink("c")()
    with pytest.raises(ValueError, match="wrong"):
        plugins.sink("c")().configure({"wrong": 1})
    sink.configure({})
    sink.open(whose)
    sink.collect(whose, [{"fine": 1}])
    with pytest.raises(ConnectionError, match="no line to rule:1/0"):
        sink.collect(whose, [{"v": "again"}])
    with pytest.raises(ValueError, match="bad row"):
        sink.collect(whose, [{"v": "bad"}])
    with pytest.raises(ConnectionError, match="SIGABRT"):
        sink.collect(whose, [{"v": "die"}])
    assert source_gives(plugins, "c", 3) == [{"n": 0}, {"n": 1}, {"n": 2}]
    trigger = plugins.trigger("c")()
    trigger.configure({})
    assert seen_twice(trigger) == [1, 2] and not trigger.forget_box("7")  # all of its memory
    assert seen_twice(trigger) == [1, 2]
    other = zipped({"plugin.json": manifest("d", language="c", executable="../libc1.so")})
    with pytest.raises(PluginError, match="not in the plug-in"):
        plugins.create("sink", "d", stored(plugins.uploads, other))


def test_a_portable_plugin_is_refused_with_advice(plugins: Plugins) -> None:
    told = json.dumps({"version": "1.0.0", "language": "python", "executable": "p.py", "sinks": ["x"]})
    url = stored(plugins.uploads, zipped({"p.json": told, "p.py": "plugin.start(...)"}))
    with pytest.raises(PluginError, match="portable plug-in of eKuiper, which is not read; derive"):
        plugins.create("package", "p", url)
    assert plugins.list("package") == []
