"""The sandbox under the filter of the unit that we recommend, beside a data folder that is open to all."""

import ctypes
import errno
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import unit_filter
import zmq
from free_ports import free_offset

from opq_cloud.core.backend.addresses import placed
from opq_cloud.core.settings.config import CloudConfig
from opq_plugins.policy import ProcessLimits
from opq_plugins.sandbox import landlock, system_calls
from opq_plugins.sandbox.call_table import CALLS
from opq_proto.keys.backend_keys import backend_address
from opq_proto.kit import ports as default_ports

UNIT = unit_filter.UNIT.read_text()
USER = 60_717 if os.geteuid() == 0 else None
"""A user of no account; None: this test has no root, and the server has its user."""
needs_filter = pytest.mark.skipif(
    unit_filter.reason_without() is not None, reason=str(unit_filter.reason_without())
)
needs_landlock = pytest.mark.skipif(bool(landlock.why_not()), reason=landlock.why_not() or "it is here")
FILES = {
    "curve/private_keys/opqbox1_secret": "the Box's secret",
    "setup-password": "the set-up password",
    "gateway.toml": "the configuration",
    "ring/1/0001.raw": "a waveform",
    "gateway/ledger.sqlite3": "the ledger",
    "rules/other_token": "a token",
    "rules/uploads/other.zip": "another package",
}


class Server:
    """A rule engine in its own process, and the plug-in in it; it ends with the `with`."""

    def __init__(
        self,
        data: Path,
        unit: str = "",
        uid: int | None = USER,
        names: tuple[str, ...] = ("f",),
        **policy: Any,
    ) -> None:
        facts = {"data": str(data), "uid": uid, "unit": unit, "policy": policy, "names": names}
        program = Path(__file__).with_name("sandbox_server.py")
        self._process = subprocess.Popen(
            [sys.executable, str(program), json.dumps(facts)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
        )
        assert self._process.stdout is not None
        self.answer: dict[str, Any] = {}
        if line := self._process.stdout.readline():
            self.answer = json.loads(line)

    def __enter__(self) -> "Server":
        return self

    def run(self, text: str) -> list[Any]:
        """["gave", value] or ["refused", error] of a text that the plug-in has run."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(text) + "\n")
        self._process.stdin.flush()
        answer: list[Any] = json.loads(self._process.stdout.readline())
        return answer

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(240)
        self._process.stdout.close()


@pytest.fixture
def data() -> Iterator[Path]:
    """A data folder outside of a home, with mode 0755, of the server's user."""
    with tempfile.TemporaryDirectory(prefix="opq-data-", dir="/var/tmp") as name:
        whole = Path(name)
        (whole / "curve/public_keys").mkdir(parents=True)
        for place, text in FILES.items():
            (whole / place).parent.mkdir(parents=True, exist_ok=True)
            (whole / place).write_text(text)
        for path in (whole, *whole.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
            if USER is not None:
                os.chown(path, USER, USER)
        yield whole


def attacks(data: Path, answer: dict[str, Any]) -> dict[str, str]:
    """What is tried -> the text; each must be refused."""
    port, pid = answer["port"], answer["pid"]
    found = {f"reads {name}": f"open({str(data / name)!r}).read()" for name in FILES}
    for folder in ("", "curve/private_keys", "ring/1", "rules", "rules/plugins"):
        found[f"lists D/{folder}"] = f"os.listdir({str(data / folder)!r})"
    key = str(data / "curve/private_keys/opqbox1_secret")
    found |= {
        "reads the engine's token": f"open({str(data / 'rules/rest_token')!r}).read()",
        "admits a Box": f"open({str(data / 'curve/public_keys/opqbox9')!r}, 'w')",
        "changes the ledger": f"open({str(data / 'gateway/ledger.sqlite3')!r}, 'r+')",
        "cuts the ring": f"os.truncate({str(data / 'ring/1/0001.raw')!r}, 0)",
        "removes the ring": f"os.unlink({str(data / 'ring/1/0001.raw')!r})",
        "renames the ring": f"os.rename({str(data / 'ring')!r}, {str(data / 'gone')!r})",
        "links to a key": f"os.link({key!r}, {str(data / 'rules/key')!r})",
        "opens a key to all": f"os.chmod({key!r}, 0o666)",
        "closes the folder": f"os.chmod({str(data)!r}, 0)",
        "makes a file old": f"os.utime({key!r}, (0, 0))",
        "reads /etc/shadow": "open('/etc/shadow').read()",
        "reads the machine's id": "open('/etc/machine-id').read()",
        "lists home": "os.listdir('/home')",
        "lists /root": "os.listdir('/root')",
        "writes to /tmp": "open('/tmp/opq-attack', 'w')",
        "writes to its own code": "open(__file__, 'a')",
        "reads the server's environment": f"open('/proc/{pid}/environ').read()",
        "opens the server's memory": f"open('/proc/{pid}/mem', 'rb+')",
        "asks the engine": f"socket.create_connection(('127.0.0.1', {port}), 5)",
        "asks the engine without connect": f"socket.socket().sendto(b'x', 0x20000000, ('127.0.0.1', {port}))",
        "listens": "socket.create_server(('127.0.0.1', 0))",
        "sends a datagram": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "asks D-Bus": "socket.socket(socket.AF_UNIX).connect('/run/dbus/system_bus_socket')",
        "runs a program": "subprocess.run(['/bin/true'])",
        "runs the interpreter": "subprocess.run([__import__('sys').executable, '-c', ''])",
        "stops the server": f"os.kill({pid}, signal.SIGSTOP)",
        "slows the server": f"os.sched_setscheduler({pid}, os.SCHED_IDLE, os.sched_param(0))",
        "binds the server to a core": f"os.sched_setaffinity({pid}, {{0}})",
        "puts the server last": f"os.setpriority(os.PRIO_PROCESS, {pid}, 19)",
        "limits the server": f"__import__('resource').prlimit({pid}, 7, (3, 3))",
        "watches anything": "libc('inotify_init1', 0)",
        "watches by fanotify": "libc('fanotify_init', 0, 0)",
        "watches the server's end": f"os.pidfd_open({pid})",
        "lists its descriptors": "os.listdir('/proc/self/fd')",
        "enters D": f"os.chdir({str(data)!r})",
        "enters D by its handle": f"os.fchdir(os.open({str(data)!r}, os.O_PATH))",
        "reads attributes": f"os.listxattr({key!r})",
        "measures the disk": f"os.statvfs({str(data)!r})",
        "names a file by number": f"libc('name_to_handle_at', -100, {key.encode()!r}, 0, 0, 0)",
        "flushes all disks": "libc('syncfs', 0)",
        "changes its personality": "libc('personality', 0x40000)",
        "outlives its parent": "libc('prctl', 1, 0)",
        "lets others trace it": "libc('prctl', 0x59616D61, -1)",
        "signals by a pipe": f"__import__('fcntl').fcntl(os.pipe()[0], 8, {pid})",
        "is notified of opens": "__import__('fcntl').fcntl(os.open(__file__, os.O_RDONLY), 1024, 0)",
        "is notified of changes": "__import__('fcntl').fcntl(os.open('/usr', os.O_RDONLY), 1026, 2)",
    }
    for folder in ("/", "/etc", "/root", str(data), str(data / "curve/private_keys"), str(data / "ring/1")):
        found[f"watches {folder}"] = f"libc('inotify_add_watch', 3, {folder.encode()!r}, 0xFFF)"
    return found


def judged(server: Server, data: Path) -> None:
    """Every attack is refused, nothing has changed, and what a plug-in needs works."""
    tried = {what: server.run(text) for what, text in attacks(data, server.answer).items()}
    assert {what: result for what, result in tried.items() if result[0] != "refused"} == {}
    wrong = re.compile(r"PermissionError|BlockingIOError|ProcessLookupError")
    assert {what: result for what, result in tried.items() if not wrong.search(result[1])} == {}
    assert {place: (data / place).read_text() for place in FILES} == FILES
    assert data.stat().st_mode & 0o777 == 0o755 and not list((data / "curve/public_keys").iterdir())
    works = {
        "6 * 7": 42,
        "open(__file__).readline()": "\n",
        "int(__import__('numpy').arange(3).sum())": 3,
        "str(__import__('zoneinfo').ZoneInfo('Europe/Berlin'))": "Europe/Berlin",
        "LIBC.prctl(39, 0, 0, 0, 0)": 1,  # PR_GET_NO_NEW_PRIVS
        "open('/dev/null', 'w').write('x')": 1,
        "len(os.urandom(4))": 4,
        "(lambda zmq: zmq.Context().socket(zmq.REQ).context.destroy())(__import__('zmq'))": None,
    }
    assert {text: server.run(text) for text in works} == {
        text: ["gave", want] for text, want in works.items()
    }


@needs_filter
@needs_landlock
def test_the_units_filter_shields_the_gateway(data: Path) -> None:
    with Server(data, UNIT) as server:
        judged(server, data)
        protections = server.answer["status"]["protections"]
        assert not [what for what, state in protections.items() if not state.startswith(("on", "uid"))]


@needs_landlock
@pytest.mark.skipif(USER is None, reason="needs root: otherwise the unit's test has the same user")
def test_a_root_servers_plugin_sees_no_data_folder(data: Path) -> None:
    with Server(data, uid=None) as server:
        judged(server, data)


@needs_filter
def test_without_landlock_unsigned_plugins_are_refused(data: Path) -> None:
    calls = "SystemCallFilter=landlock_create_ruleset landlock_add_rule landlock_restrict_self\n"
    assert calls in UNIT
    former = UNIT.replace(calls, "SystemCallFilter=~@sandbox\n" if "@sandbox" in groups() else "")
    with Server(data, former, names=("f", "g"), trusted=["g"]) as server:
        refused = server.answer["refused"]["f"]
        assert refused.startswith(
            "plug-in f is not started: no key of `keys` has signed it, and this machine"
        )
        assert "files: off: a filter of system calls forbids Landlock; a systemd unit allows it by" in refused
        assert refused.endswith("have it signed by such a key, or name it in `trusted`")
        assert server.answer["count"] == 1
        states = server.answer["status"]["protections"]
        assert states["files"].startswith("off: a filter of system calls forbids Landlock")
        assert states["no new privileges"] == states["limits"] == "on"
        assert states["system calls"].startswith("on") and server.run("6 * 7") == ["gave", 42]
    with Server(data, former, names=("g",)) as server:  # installed, but its signer is no longer trusted
        status, health = server.answer["status"], server.answer["health"]
        assert (status["status"], status["errMsg"]) == ("error", server.answer["refused"]["g"])
        assert [(part["name"], part["info"]) for part in health["subcomponents"]] == [
            ("plug-in g", status["errMsg"])
        ]
        assert not health["ok"] and server.answer["count"] == 1


def groups() -> str:
    shown = subprocess.run(["systemd-analyze", "syscall-filter"], capture_output=True, text=True, check=True)
    return shown.stdout


NETWORK = """
import json, os, socket, sys, threading

from opq_plugins.policy import ProcessLimits
from opq_plugins.sandbox import landlock
from opq_plugins.worker import __main__ as worker

facts, version, texts = json.loads(sys.argv[1])
here = landlock.version()
landlock.version = lambda: min(here, version)
protections = worker._confine(facts)
found = {}
for name, text in texts.items():
    try:
        found[name] = repr(eval(text))
    except OSError as error:
        found[name] = f"{type(error).__name__} {error.errno}"
print(json.dumps([protections, found]))
"""


def confined(tmp_path: Path, version: int, network: list[str], texts: dict[str, str]) -> Any:
    """(protections, text -> its value or error) of a process that is confined as a worker.

    `version`: the newest of Landlock that it uses.
    """
    facts = {
        "folder": str(tmp_path),
        "readable": [],
        "writable": [],
        "network": network,
        "limits": asdict(ProcessLimits()),
        "uid": 61_717,
    }
    program = [sys.executable, "-P", "-c", NETWORK, json.dumps([facts, version, texts])]
    ended = subprocess.run(program, capture_output=True, text=True, check=False, cwd="/")
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.fixture
def ports() -> Iterator[list[int]]:
    """Two ports where somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        yield [each.getsockname()[1] for each in (first, second)]


def ways(ports: list[int]) -> dict[str, str]:
    return {
        "named": f"socket.create_connection(('127.0.0.1', {ports[0]}), 5) and 'connected'",
        "other": f"socket.create_connection(('127.0.0.1', {ports[1]}), 5) and 'connected'",
        "fast": f"socket.socket().sendto(b'x', 0x20000000, ('127.0.0.1', {ports[1]}))",
        "multipath": "socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)",
        "datagram": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM) and 'made'",
        "listens": "socket.create_server(('127.0.0.1', 0)) and 'listens'",
        "file": "socket.socket(socket.AF_UNIX)",
    }


REFUSED = "PermissionError"


@needs_landlock
def test_only_the_policys_tcp_ports_are_open(tmp_path: Path, ports: list[int]) -> None:
    if landlock.version() < landlock.TCP_VERSION:
        pytest.skip("this kernel limits no TCP ports: Linux 6.7")
    states, found = confined(tmp_path, 99, [f"tcp:{ports[0]}"], ways(ports))
    assert states["network"] == f"on: tcp:{ports[0]}" and found.pop("named") == "'connected'"
    assert {name for name, result in found.items() if not result.startswith(REFUSED)} == set()
    states, found = confined(tmp_path, 99, ["udp", f"listen:{ports[0]}"], ways(ports))
    assert found["datagram"] == "'made'" and found["other"].startswith(REFUSED)


@needs_landlock
def test_a_plug_in_commands_no_box(tmp_path: Path) -> None:
    """With the port of commands in its policy: our broker's address is a socket that it cannot open."""
    tmp_path.chmod(0o755)
    (tmp_path / "plug-in").mkdir()
    commands = backend_address(placed(CloudConfig(), tmp_path).acquisition_broker.request_endpoint)
    port = default_ports.with_offset("command_backend", free_offset())
    path = commands.endpoint.removeprefix("ipc://")
    with zmq.Context() as context, context.socket(zmq.PULL) as broker:
        commands.bind(broker)
        for version in (3, 99):
            attempts = {
                "port": f"socket.create_connection(('127.0.0.1', {port}), 5)",
                "socket": f"socket.socket(socket.AF_UNIX).connect({path!r})",
                "pair": f"socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(b'x', {path!r})",
                "file": f"open({path!r}, 'wb').write(b'x')",
                "folder": f"os.listdir({str(tmp_path / 'sockets')!r})",
            }
            _, found = confined(tmp_path / "plug-in", version, [f"tcp:{port}"], attempts)
            assert found.pop("port") == f"ConnectionRefusedError {errno.ECONNREFUSED}", "none listens"
            assert {name for name, each in found.items() if not each.startswith(REFUSED)} == set(), found
        assert not broker.poll(200)


@needs_landlock
def test_a_kernel_without_port_limits_says_so(tmp_path: Path, ports: list[int]) -> None:
    states, found = confined(tmp_path, 3, [f"tcp:{ports[0]}"], ways(ports))
    assert states["network"].endswith("every TCP port is open, because Linux limits them from 6.7 on")
    assert found["named"] == found["other"] == "'connected'" and found["datagram"].startswith(REFUSED)
    states, found = confined(tmp_path, 3, [], ways(ports))
    assert states["network"] == "on: none"
    assert {name for name, result in found.items() if not result.startswith(REFUSED)} == set()


@needs_landlock
@pytest.mark.parametrize("version", [1, 2, 3, 4, 5, 99])
def test_the_filter_closes_older_landlocks_gaps(tmp_path: Path, version: int) -> None:
    own = tmp_path / "own"
    own.write_text("code")
    for folder in (tmp_path, own):
        folder.chmod(0o777)
    texts = {
        "cuts by name": f"os.truncate({str(own)!r}, 0)",
        "cuts as it reads": f"os.open({str(own)!r}, os.O_RDONLY | os.O_TRUNC)",
        "signals": f"os.kill({os.getpid()}, 0)",
        "signals a thread": f"__import__('ctypes').CDLL(None).tgkill({os.getpid()}, {os.getpid()}, 0)",
        "reads": f"open({str(own)!r}).read()",
        "signals itself": "os.kill(os.getpid(), 0)",
    }
    states, found = confined(tmp_path, version, [], texts)
    assert [what for what, state in states.items() if state.startswith("off")] == []
    assert (
        found["reads"] == "'code'" and found["signals itself"] == "None" and found["signals a thread"] == "-1"
    )
    assert {found[name] for name in ("cuts by name", "cuts as it reads", "signals")} == {"PermissionError 1"}


def test_without_landlock_the_protections_say_what_it_needs(tmp_path: Path) -> None:
    states, _ = confined(tmp_path, 0, [], {})
    assert states["files"].startswith("off: ")


def test_a_plugin_gets_no_path_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a data folder in an environment nor where it was started is given."""
    for name in ("bin", "lib", "var/curve", "var/rules/plugins/f/1.0.0", "room/opq_room", "x/site-packages"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "room/opq_room/__init__.py").touch()
    (tmp_path / "home/.ssh").mkdir(parents=True)
    own = tmp_path / "var/rules/plugins/f/1.0.0"
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path / "lib"))
    started_in = [str(tmp_path / name) for name in ("var", "home", "room", "x/site-packages")]
    monkeypatch.setattr(sys, "path", [*started_in, str(tmp_path / "nowhere.zip")])
    given = [path.relative_to(tmp_path).as_posix() for path in landlock.interpreter_without(own)]
    assert sorted({*given} - {"home", "room", "x"}) == ["bin", "lib", "x/site-packages"]
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "lib"))
    given = [path.relative_to(tmp_path).as_posix() for path in landlock.interpreter_without(own)]
    assert sorted({*given}) == ["lib", "room", "x/site-packages"]


@needs_filter
@pytest.mark.parametrize("machine", system_calls.AUDIT)
def test_system_call_numbers_equal_libseccomps(machine: str) -> None:
    """Calls that it does not know are newer than it: 2.5.4 knows those of Linux 6.0."""
    resolve = unit_filter.library().seccomp_syscall_resolve_name_arch
    ours = {name: at for group in CALLS for name, at in group.numbers(machine).items()}
    arch = ctypes.c_uint32(system_calls.AUDIT[machine])
    theirs = {name: int(resolve(arch, name.encode())) for name in ours}
    wrong = {name: (ours[name], at) for name, at in theirs.items() if at >= 0 and at != ours[name]}
    unknown = {name for name, at in theirs.items() if at < 0 and not name.startswith(("ARM_", "up", "ure"))}
    assert wrong == {} and all(ours[name] > 440 for name in unknown)
    lacking = {name for group in CALLS for name in group.names()} - {*ours}
    assert [name for name in lacking if resolve(arch, name.encode()) >= 0] == []
