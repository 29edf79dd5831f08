"""A plug-in in its worker: what it may do wrong is contained, counted, and shown in the status."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from plugin_zips import FUNCTION, SINK, SOURCE, Whose, plugin_zip, stored
from waiting import wait_for

from opq_plugins.host import failure_guard
from opq_plugins.host.plugins import Plugins
from opq_plugins.host.worker import supervisor
from opq_plugins.host.worker.runtime import ProcessRuntime
from opq_plugins.policy import Policy, ProcessLimits
from opq_plugins.sdk import RowError
from opq_proto.errors import PluginError

PATIENT = ProcessLimits(call_s=60.0, function_s=60.0, processes=64, memory_bytes=400 << 20)
"""A machine that stops for two seconds is not a plug-in that hangs."""
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: another user")


@pytest.fixture
def plugins(tmp_path: Path) -> Iterator[Plugins]:
    made = Plugins(tmp_path / "data", Policy(limits=PATIENT))
    yield made
    made.close()


@contextmanager
def hurried(plugins: Plugins, name: str) -> Iterator[None]:
    """Only a call that hangs has so little time: on a starved machine others take as long."""
    runtime = plugins._running[name].runtime
    assert isinstance(runtime, ProcessRuntime)
    runtime.supervisor.limits = replace(PATIENT, call_s=2.0)
    try:
        yield
    finally:
        runtime.supervisor.limits = PATIENT


def sink_that(plugins: Plugins, does: str, name: str = "m") -> Any:
    """A sink whose `collect` does this first when a row has `bad`."""
    code = SINK.replace(
        "        with open(", f"        if data[0].get('bad'):\n            {does}\n        with open("
    )
    plugins.create("sink", name, stored(plugins.uploads, plugin_zip(name, code=code)))
    sink = plugins.sink(name)()
    sink.configure({"path": "/dev/null"})
    sink.open(Whose())
    return sink


def taken(sink: Any, row: dict[str, Any], row_id: str = "rule:1/0") -> None:
    """Like the engine: an OSError is tried again."""
    whose = Whose()
    whose.row_ids = [row_id]

    def once() -> bool:
        try:
            sink.collect(whose, [row])
        except OSError:
            time.sleep(0.02)
            return False
        return True

    wait_for(once)


def test_a_row_that_ends_the_process_is_refused(plugins: Plugins) -> None:
    """The next row is taken."""
    sink = sink_that(plugins, "import os; os._exit(7)")
    with pytest.raises(PluginError, match="refused: it ended the plug-in's process 3 times"):
        taken(sink, {"bad": 1}, "rule:1/0")
    taken(sink, {"bad": 0}, "rule:2/0")
    status = plugins.status("m")
    assert status["crashes"] == 3 and "exit code 7" in status["last_error"] and status["status"] == "running"


def test_a_segmentation_fault_is_named(plugins: Plugins) -> None:
    sink = sink_that(plugins, "import ctypes; ctypes.string_at(0)")
    with pytest.raises(PluginError):
        taken(sink, {"bad": 1})
    taken(sink, {"bad": 0}, "rule:2/0")
    assert "SIGSEGV" in plugins.status("m")["last_error"]


def test_a_hanging_call_is_ended(plugins: Plugins) -> None:
    sink = sink_that(plugins, "import time; time.sleep(1000)")
    with hurried(plugins, "m"), pytest.raises(TimeoutError, match="collect took longer than 2 s"):
        sink.collect(Whose(), [{"bad": 1}])
    taken(sink, {"bad": 0}, "rule:2/0")
    assert "collect took longer" in plugins.status("m")["last_error"]


def test_ten_gigabytes_are_not_had(plugins: Plugins) -> None:
    sink = sink_that(plugins, "bytearray(10 << 30)")
    with pytest.raises(PluginError, match="MemoryError"):
        sink.collect(Whose(), [{"bad": 1}])
    sink.collect(Whose(), [{"bad": 0}])
    assert plugins.status("m")["crashes"] == 0


def test_a_flood_on_stdout_is_bounded_and_counted(plugins: Plugins) -> None:
    """In lines shorter than PIPE_BUF: of a longer one, a process that is stopped meanwhile writes a part."""
    sink = sink_that(plugins, "[print('x' * 1023) for _ in range(3 << 10)]")
    taken(sink, {"bad": 1})
    status = wait_for(lambda: (told := plugins.status("m"))["output_bytes"] >= 3 << 20 and told)
    assert len(status["output_tail"]) <= 2000 and status["output_dropped_bytes"] > 2 << 20


def test_a_fork_bomb_hits_its_limit(plugins: Plugins) -> None:
    bomb = "exec('import os\\nwhile True:\\n try: os.fork()\\n except OSError: pass')"
    sink = sink_that(
        plugins, bomb, "bomb"
    )  # the limit counts all processes of its user, whom its name decides
    uid = int(plugins.status("bomb")["protections"]["user"].split()[1].rstrip(","))
    before = processes_of(uid)
    with hurried(plugins, "bomb"), pytest.raises(TimeoutError):
        sink.collect(Whose(), [{"bad": 1}])
    killed = wait_for(lambda: plugins.status("bomb")["survivors_killed"])
    assert 10 <= killed <= 200  # the limit is 64 at once; some are caught while they fork
    taken(sink, {"bad": 0}, "rule:2/0")
    wait_for(lambda: processes_of(uid) == before)
    plugins.close()
    wait_for(lambda: processes_of(uid) < before)


def processes_of(uid: int) -> int:
    count = 0
    for path in Path("/proc").glob("[0-9]*"):
        try:
            count += (
                path.stat().st_uid == uid and "Z" not in (path / "stat").read_text().rpartition(")")[2][:3]
            )
        except OSError:
            continue
    return count


@root_only
def test_a_worker_has_given_up_its_rights(plugins: Plugins, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("word")
    secret.chmod(0o600)
    code = FUNCTION.replace("return args[0] * 2", "return eval(args[0], {'os': __import__('os')})")
    plugins.create("function", "f", stored(plugins.uploads, plugin_zip("f", kind="function", code=code)))
    made = plugins.function("F")
    assert made is not None
    function = made()

    def ask(text: str) -> Any:
        return function.exec([text], Whose())

    assert ask("os.getuid()") == ask("os.geteuid()") >= 61184 and ask("os.getgroups()") == []
    on = plugins.status("f")["protections"]
    for text in (f"open({str(secret)!r}).read()", "os.listdir('/proc')", "open('/proc/self/status')"):
        with pytest.raises(RowError, match="PermissionError"):
            ask(text)
    with pytest.raises(RowError, match="PermissionError"):
        ask("os.setuid(0)")
    assert ask("__import__('ctypes').CDLL(None).prctl(39, 0, 0, 0, 0)") == 1  # PR_GET_NO_NEW_PRIVS
    assert ask("__import__('ctypes').CDLL(None).prctl(21, 0, 0, 0, 0)") == 2  # PR_GET_SECCOMP: a filter
    assert ask("__import__('ctypes').CDLL(None).unshare(0x10000000)") == -1
    assert "OPQ_" not in str(ask("[k for k in os.environ if 'TOKEN' in k]"))
    assert on["limits"] == on["no new privileges"] == "on"
    assert on["user"].startswith("uid ") and on["network"] == "on: none"
    assert on["system calls"].startswith("on") and on["files"].startswith("on: Landlock")


@pytest.mark.skipif(os.geteuid() == 0, reason="runs as root; the other way is tested then")
def test_without_root_other_protections_remain(plugins: Plugins) -> None:
    sink_that(plugins, "pass")
    told = plugins.status("m")["protections"]
    assert told["user"] == f"uid {os.geteuid()}, as the server"
    assert not [what for what, state in told.items() if state.startswith("off")]


def test_a_plugin_ending_at_start_is_not_installed(plugins: Plugins) -> None:
    for number, (code, told) in enumerate(
        {
            "import os; print('no licence'); os._exit(4)": "no licence",
            "raise SystemExit('stop')": "SystemExit",
            "1 / 0": "ZeroDivisionError",
            "x = (": "SyntaxError",
            "": "has no class Sink",
        }.items()
    ):
        url = stored(plugins.uploads, plugin_zip("m", f"1.0.{number}", code=code))
        with pytest.raises(PluginError, match=told):
            plugins.create("sink", "m", url)
    assert plugins.list("sink") == []


def test_a_plugin_hanging_at_start_is_abandoned(tmp_path: Path) -> None:
    plugins = Plugins(tmp_path, Policy(limits=ProcessLimits(start_s=2.0)))
    url = stored(plugins.uploads, plugin_zip("m", code="import time; time.sleep(1000)"))
    with pytest.raises(PluginError, match="no handshake within 2 s"):
        plugins.create("sink", "m", url)
    plugins.close()


def test_wrong_types_are_errors_of_the_record(plugins: Plugins) -> None:
    code = FUNCTION.replace(
        "return args[0] * 2", "return {'set': {1}, 'object': object(), 'big': 1 << 70, 'ok': [1]}[args[0]]"
    )
    plugins.create("function", "f", stored(plugins.uploads, plugin_zip("f", kind="function", code=code)))
    made = plugins.function("f")
    assert made is not None
    function = made()
    assert function.exec(["ok"], Whose()) == [1]
    for wrong in ("set", "object", "big", "none"):
        with pytest.raises(RowError):
            function.exec([wrong], Whose())
    assert function.exec(["ok"], Whose()) == [1] and plugins.status("f")["crashes"] == 0
    source = SOURCE.replace('context.emit({"n": self.next}', "context.emit(7")
    plugins.create("source", "s", stored(plugins.uploads, plugin_zip("s", kind="source", code=source)))
    bad = plugins.source("s")()
    bad.configure("", {})
    with pytest.raises(PluginError, match="emitted a int; want a mapping"):
        bad.open(Whose())


def test_a_source_continues_after_its_process_died(plugins: Plugins) -> None:
    import threading

    plugins.create("source", "s", stored(plugins.uploads, plugin_zip("s", kind="source")))
    source, whose = plugins.source("s")(), Whose()
    source.configure("", {})
    thread = threading.Thread(target=source.open, args=(whose,))
    thread.start()
    for life in (1, 2):
        count = len(whose.rows)
        wait_for(lambda count=count: len(whose.rows) > count + 100)
        if life == 1:
            os.kill(plugins.status("s")["pid"], signal.SIGKILL)
            wait_for(lambda: plugins.status("s")["crashes"] == 1)
    whose.end.set()
    thread.join(240)
    assert not thread.is_alive()
    assert [row["n"] for row in whose.rows] == list(range(len(whose.rows))) and plugins.status("s")[
        "crashes"
    ] == 1


def test_a_function_continues_after_a_crash(plugins: Plugins) -> None:
    """A bad row is an error."""
    code = FUNCTION.replace(
        "return args", "__import__('os')._exit(3) if args[0] < 0 else None\n        return args"
    )
    plugins.create("function", "f", stored(plugins.uploads, plugin_zip("f", kind="function", code=code)))
    made = plugins.function("f")
    assert made is not None
    function = made()
    assert function.exec([1], Whose()) == 2
    os.kill(plugins.status("f")["pid"], signal.SIGKILL)
    wait_for(lambda: plugins.status("f")["crashes"] == 1)

    def again(value: int) -> bool:
        try:
            return bool(function.exec([value], Whose()) == 2 * value)
        except RowError:
            return False  # its process is not back within a second

    wait_for(lambda: again(2))
    with pytest.raises(RowError, match="exit code 3"):
        function.exec([-1], Whose())
    wait_for(lambda: again(3))


def test_a_hanging_function_stops_rules_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failure_guard, "PAUSES_S", (0.0, 3000.0))
    plugins = Plugins(tmp_path, Policy(limits=ProcessLimits(function_s=0.3)))
    code = FUNCTION.replace("return args", "__import__('time').sleep(args[0])\n        return args")
    plugins.create("function", "f", stored(plugins.uploads, plugin_zip("f", kind="function", code=code)))
    made = plugins.function("f")
    assert made is not None
    function = made()
    for _ in range(2):
        with pytest.raises(RowError, match=r"exec took longer than 0\.3 s"):
            function.exec([1000], Whose())
        wait_for(lambda: plugins.status("f")["status"] == "running")
    for _ in range(1000):
        with pytest.raises(RowError, match=r"not called for another .* exec took longer"):
            function.exec([1000], Whose())
    assert plugins.status("f")["crashes"] == 2
    plugins.close()


def test_a_functions_rules_fail_alone(plugins: Plugins, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule whose rows end the function's process is paused; another rule goes on calling the function."""
    monkeypatch.setattr(failure_guard, "PAUSES_S", (0.0, 3000.0))
    monkeypatch.setattr(supervisor, "PAUSES_S", (0.0, 3000.0))
    code = FUNCTION.replace(
        "return args", "__import__('os')._exit(3) if args[0] < 0 else None\n        return args"
    )
    plugins.create("function", "f", stored(plugins.uploads, plugin_zip("f", kind="function", code=code)))
    made = plugins.function("f")
    assert made is not None
    function, bad, good = made(), Whose("bad"), Whose("good")

    def good_answers() -> bool:
        with suppress(RowError):  # its process is not back within a second
            return bool(function.exec([2], good) == 4)
        return False

    for _ in range(2):
        wait_for(good_answers)
        with pytest.raises(RowError, match="exit code 3"):
            function.exec([-1], bad)
    with pytest.raises(RowError, match="not called for another"):
        function.exec([-1], bad)
    wait_for(good_answers)


def test_one_boxs_rows_pause_that_box() -> None:
    """Good rows of others between them change nothing; five Boxes pause the rule, and no other rule."""
    now_s = 0.0
    circuits = failure_guard.RuleCircuits(lambda: now_s)
    for _ in range(2):
        circuits.record_failure("rule", "1")
        circuits.record_success("rule", "2")
    assert circuits.wait_s("rule", "1") == 1.0 and circuits.tripped("rule", "1")
    assert circuits.wait_s("rule", "2") == circuits.wait_s("other", "1") == 0.0
    assert not circuits.tripped("rule", "2")
    for box in ("3", "4", "5", "6", "7"):
        circuits.record_failure("rule", box)
    assert circuits.wait_s("rule", "2") == 1.0 and circuits.wait_s("other", "2") == 0.0
    circuits.record_success("rule", "2")
    assert circuits.tripped("rule", "2"), "they go on failing"
    now_s = 2 * failure_guard.STEADY_S
    circuits.record_success("rule", "2")
    assert not circuits.tripped("rule", "2") and circuits.tripped("rule", "1")
    circuits.record_success("rule", "1")
    assert not circuits.tripped("rule", "1")
    for _ in range(2):
        circuits.record_failure("rule", "")
    assert circuits.wait_s("rule", "2") == 1.0, "a row of no Box, or of several"
    for number in range(2 * failure_guard.CIRCUITS_KEPT):
        circuits.record_failure("rule", f"box {number}")
    assert len(circuits._failed) == failure_guard.CIRCUITS_KEPT


def test_an_open_circuit_waits_longer_each_time() -> None:
    now_s = 0.0
    of = failure_guard.Circuit(lambda: now_s)
    of.record_failure()
    assert (of.wait_s(), of.tripped) == (0.0, False)
    of.record_success()
    waited = []
    for _ in range(9):
        of.record_failure()
        waited.append(of.wait_s())
        now_s += waited[-1]
        assert of.wait_s() == 0.0
    assert waited == [0.0, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 60.0, 60.0]
    assert of.refused == 8
    of.record_success()
    assert not of.tripped


def test_two_versions_do_not_end_each_others_processes(plugins: Plugins) -> None:
    sink = sink_that(plugins, "pass")
    for number in range(1, 4):
        plugins.create("sink", "m", stored(plugins.uploads, plugin_zip("m", f"1.0.{number}")))
        sink.collect(Whose(), [{}])  # the old one, and what it had started, is gone by now
    assert plugins.status("m")["crashes"] == 0 and plugins.status("m")["status"] == "running"


def test_a_plugins_state_is_its_rules(plugins: Plugins) -> None:
    code = SINK.replace(
        "        with open(",
        "        context.put_state('n', (context.get_state('n') or 0) + 1)\n        with open(",
    )
    plugins.create("sink", "m", stored(plugins.uploads, plugin_zip("m", code=code)))
    sink, whose = plugins.sink("m")(), Whose()
    whose.state["n"] = 41
    sink.configure({})
    sink.open(whose)
    sink.collect(whose, [{}])
    assert whose.state == {"n": 42}


def test_no_worker_outlives_a_killed_server(tmp_path: Path) -> None:
    url = stored(tmp_path / "uploads", plugin_zip("m", code="import time\n" + SINK))
    program = (
        "import sys, time; from pathlib import Path; from opq_plugins.host.plugins import Plugins\n"
        "plugins = Plugins(Path(sys.argv[1])); plugins.create('sink', 'm', sys.argv[2])\n"
        "print(plugins.status('m')['pid'], flush=True); time.sleep(100)"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path), url], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    keeper = int(server.stdout.readline())
    children = Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()
    server.kill()
    server.wait()
    server.stdout.close()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() and alive(pid) for pid in (keeper, *children)))


def alive(pid: Any) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:3]
    except OSError:
        return False
