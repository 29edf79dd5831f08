"""A plug-in that attacks, and what its worker keeps it from. Each text is run inside the worker."""

import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from plugin_zips import FUNCTION, Whose, plugin_zip, stored
from waiting import wait_for

from opq_plugins.host.plugins import Plugins
from opq_plugins.host.worker import worker_process
from opq_plugins.policy import Policy, ProcessLimits
from opq_rules.errors import RowError

CODE = """
import ctypes, os, select, socket, stat, struct

import msgspec

LIBC = ctypes.CDLL(None, use_errno=True)


def call(*arguments):
    return 0 if LIBC.syscall(*arguments) >= 0 else -ctypes.get_errno()


def framed(body):
    return struct.pack("!I", len(body)) + body


def raw(data):
    sockets = []
    for number in range(3, 4096):
        try:
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                sockets.append(number)
        except OSError:
            continue
    wire = sockets[0]
    view = memoryview(data)
    while view:
        select.select([], [wire], [])
        view = view[os.write(wire, view) :]


def run(text):
    names = dict(globals())
    try:
        return eval(text, names)
    except SyntaxError:
        exec(text, names)
        return names.get("out")
""" + FUNCTION.replace("return args[0] * 2", "return run(args[0])")
Ask = Callable[[str], Any]


@pytest.fixture(scope="module")
def writable() -> Iterator[Path]:
    """A folder that the plug-in may use; pytest's own folders are closed to other users."""
    with tempfile.TemporaryDirectory(prefix="opq-writable-") as name:
        os.chmod(name, 0o777)  # noqa: PTH101
        yield Path(name)


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory, writable: Path) -> Iterator[Plugins]:
    policy = Policy(limits=ProcessLimits(function_s=60.0), writable=(writable,))
    made = Plugins(tmp_path_factory.mktemp("attacks") / "data", policy)
    made.create("function", "f", stored(made.uploads, plugin_zip("f", kind="function", code=CODE)))
    yield made
    made.close()


@pytest.fixture(scope="module")
def ask(plugins: Plugins) -> Ask:
    made = plugins.function("f")
    assert made is not None
    function = made()
    return lambda text: function.exec([text], Whose())


def on(plugins: Plugins, what: str) -> str:
    """What the status says of a protection; skips where the kernel or a container does not give it."""
    told = str(plugins.status("f")["protections"].get(what, "off"))
    if not told.startswith("on"):
        pytest.skip(f"{what}: {told}")
    return told


def test_files_are_made_below_writable_only(plugins: Plugins, ask: Ask, writable: Path) -> None:
    on(plugins, "files")
    for folder in ("/tmp", "/var/tmp", "/dev/shm", str(plugins.uploads)):
        with pytest.raises(RowError, match="PermissionError"):
            ask(f"open({folder + '/opq-attack'!r}, 'w')")
        assert not Path(folder, "opq-attack").exists()
    assert ask("__import__('tempfile').gettempdir()") == str(writable)
    assert ask("open(os.environ['TMPDIR'] + '/made', 'w').write('x' * 9)") == 9
    assert (writable / "made").read_text() == "x" * 9
    with pytest.raises(RowError, match="Error"):
        ask("os.openpty()")


def test_other_plugins_files_are_unreadable(plugins: Plugins, ask: Ask) -> None:
    on(plugins, "files")
    data = plugins.uploads.parent
    assert data.stat().st_mode & 0o777 == 0o700
    secret = data / "rules.sqlite3"
    secret.write_text("word")
    own = data / "plugins/f/1.0.0"
    assert ask(f"os.listdir({str(own / 'functions')!r})") == ["f.py"]
    for folder in (data, data / "plugins", data / "plugins/f"):
        with pytest.raises(RowError, match="PermissionError"):
            ask(f"os.listdir({str(folder)!r})")
    for text in (f"open({str(secret)!r})", f"open({str(own / 'functions/f.py')!r}, 'w')"):
        with pytest.raises(RowError, match="PermissionError"):
            ask(text)


def test_foreign_sockets_and_processes_are_out_of_reach(plugins: Plugins, ask: Ask) -> None:
    on(plugins, "files")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("\0opq-attack")
        listening.listen(1)
        with pytest.raises(RowError, match="PermissionError"):
            ask("socket.socket(socket.AF_UNIX).connect('\\0opq-attack')")
    for pid in (1, os.getpid(), os.getppid(), plugins.status("f")["pid"]):
        with pytest.raises(RowError, match=r"PermissionError|ProcessLookupError"):
            ask(f"os.kill({pid}, 0)")


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Plugins]:
    """Plug-ins of a test that ends its process."""
    made = Plugins(tmp_path / "data", Policy(limits=ProcessLimits(memory_bytes=300 << 20, function_s=60.0)))
    made.create("function", "f", stored(made.uploads, plugin_zip("f", kind="function", code=CODE)))
    yield made
    made.close()


def ended_by(plugins: Plugins, text: str) -> str:
    """What ended the process; and the next is there."""
    made = plugins.function("f")
    assert made is not None
    function = made()
    with pytest.raises(RowError):
        function.exec([text], Whose())
    status = wait_for(lambda: (told := plugins.status("f"))["crashes"] and told)
    wait_for(lambda: plugins.status("f")["status"] == "running")
    assert function.exec(["1"], Whose()) == 1
    return str(status["last_error"])


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ("struct.pack('!I', 17 << 20)", "a message of 17825792 bytes"),
        ("framed(b'\\x94\\xa6answer\\x01' + b'\\x91' * 200_000 + b'\\xc0\\x80')", "recursion"),
        ("framed(b'\\xdd' + struct.pack('!I', 15 << 20) + b'\\x90' * (15 << 20))", "lists and maps"),
        ("framed(msgspec.msgpack.encode(['heartbeat'])) * 5_000", "answered calls that were not made"),
        ("framed(msgspec.msgpack.encode(['ready', ['x'], '']))", "a second handshake"),
        ("framed(msgspec.msgpack.encode(['log', 1, 'event', 5]))", "Expected `object`, got `int`"),
        ("framed(msgspec.msgpack.encode(['call', 1, 1, 'exec', []]))", "Invalid value 'call'"),
        ("framed(msgspec.msgpack.encode(['answer', 1]))", "of at least length 4"),
    ],
)
def test_a_wrong_message_ends_only_the_process(fresh: Plugins, sent: str, told: str) -> None:
    assert told in ended_by(fresh, f"raw({sent})")


def test_invented_answers_are_values_or_errors(fresh: Plugins) -> None:
    made = fresh.function("f")
    assert made is not None
    function = made()
    for told, want in (("5, {}", 5), ("[[1, 2, 3]], {}", [[1, 2, 3]]), ("None, {}, 'strange', 'x'", None)):
        every = f"b''.join(framed(msgspec.msgpack.encode(['answer', n, {told}])) for n in range(100))"
        if want is not None:
            assert function.exec([f"raw({every})"], Whose()) == want
            continue
        with pytest.raises(RowError, match="f: x"):
            function.exec([f"raw({every})"], Whose())
    assert fresh.status("f")["crashes"] == 0


@pytest.mark.parametrize(
    ("batch", "told"),
    [
        ("[5], None", "got `int`"),
        ("[{1: 2}], None", "got `int`"),
        ("[{'a': 2}], []", "one for each of the 1"),
    ],
)
def test_a_wrong_batch_ends_the_sources_process(tmp_path: Path, batch: str, told: str) -> None:
    code = CODE.replace("class Function(sdk.Function)", "class Other") + (
        "\nclass Source(sdk.Source):\n"
        "    def configure(self, datasource, properties): pass\n"
        "    def open(self, context):\n"
        f"        raw(framed(msgspec.msgpack.encode(['rows', 1, {batch}, None, None])))\n"
        "        context.wait(240)\n"
    )
    made = Plugins(tmp_path / "data")
    made.create("source", "s", stored(made.uploads, plugin_zip("s", kind="source", code=code)))
    source, whose = made.source("s")(), Whose()
    source.configure("", {})
    thread = threading.Thread(target=source.open, args=(whose,))
    thread.start()
    wait_for(lambda: made.status("s")["crashes"])
    assert told in made.status("s")["last_error"] and whose.rows == []
    whose.end.set()
    made.close()
    thread.join(240)
    assert not thread.is_alive()


def test_a_process_lying_about_protections_is_refused(fresh: Plugins) -> None:
    real = fresh.status("f")["protections"]
    lying = CODE + (
        "\nfrom opq_plugins.worker.symbol_instances import WorkerServer as server\n"
        "class Lying(server):\n"
        "    def __init__(self, wire, symbols):\n"
        "        super().__init__(wire, symbols)\n"
        "import gc\n"
        "for each in gc.get_objects():\n"
        "    if isinstance(each, dict) and 'no new privileges' in each: each['magic'] = 'on'\n"
    )
    url = stored(fresh.uploads, plugin_zip("f", "1.0.1", kind="function", code=lying))
    fresh.create("function", "f", url)
    assert fresh.status("f")["protections"] == real


def test_log_lines_beyond_a_rate_are_counted(fresh: Plugins, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process, "REPORTS_PER_S", 0.0)  # else as many more as the machine is slow
    fresh.create("function", "f", stored(fresh.uploads, plugin_zip("f", "1.0.1", kind="function", code=CODE)))
    made = fresh.function("f")
    assert made is not None
    told = "framed(msgspec.msgpack.encode(['log', 1, 'x', {}]))"
    whose = Whose()
    assert made().exec([f"raw({told} * 5_000) or 1"], whose) == 1
    assert (len(whose.errors), fresh.status("f")["tells_dropped"]) == (1_000, 4_000)


def test_processes_together_have_no_more_memory_than_one(fresh: Plugins) -> None:
    text = "\n".join(
        [
            "for _ in range(6):",
            "    if os.fork() == 0:",
            "        held = bytearray(os.urandom(1 << 20) * 80)",
            "        __import__('time').sleep(1000)",
            "__import__('time').sleep(1000)",
        ]
    )
    assert "MiB of 300" in ended_by(fresh, text)
    assert fresh.status("f")["survivors_killed"] >= 3


def test_a_double_forked_child_is_found(fresh: Plugins) -> None:
    text = "\n".join(
        [
            "if os.fork() == 0:",
            "    os.setsid()",
            "    if os.fork() == 0:",
            "        LIBC.prctl(15, b'opq-98761', 0, 0, 0)",  # PR_SET_NAME
            "        __import__('time').sleep(1000)",
            "    os._exit(0)",
            "__import__('time').sleep(0.5)",
            "os._exit(3)",
        ]
    )
    assert "exit code 3" in ended_by(fresh, text)
    assert fresh.status("f")["survivors_killed"] >= 1
    wait_for(lambda: not hidden())  # it dies after it was killed


def hidden() -> list[bytes]:
    """The double-forked processes that live."""
    found = map(read, Path("/proc").glob("[0-9]*/stat"))
    return [each for each in found if b"(opq-98761)" in each and b") Z " not in each]


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


NEW_USER_SPACE = 0x10000000


def test_no_way_makes_a_name_space_of_users(plugins: Plugins, ask: Ask) -> None:
    on(plugins, "system calls")
    machine = os.uname().machine
    clone, unshare = {"x86_64": (56, 272), "aarch64": (220, 97)}[machine]
    assert ask(f"call({clone}, {NEW_USER_SPACE} | 17, 0, 0, 0, 0)") == -1  # EPERM
    assert ask(f"call({unshare}, {NEW_USER_SPACE})") == -1
    flags = f"(ctypes.c_uint64 * 11)({NEW_USER_SPACE}, 0, 0, 0, 17)"
    assert ask(f"call(435, {flags}, 88)") == -38  # ENOSYS, and libraries fall back to clone
    assert ask("__import__('threading').Thread(target=int).start()") is None


def test_address_less_memory_and_new_mounts_are_refused(plugins: Plugins, ask: Ask) -> None:
    on(plugins, "system calls")
    with pytest.raises(RowError, match="PermissionError"):
        ask("os.memfd_create('x')")
    for number in (428, 430, 438):  # open_tree, fsopen, pidfd_getfd
        assert ask(f"call({number}, -100, b'/', 0)") == -1


def test_without_a_named_network_no_socket_opens(plugins: Plugins, ask: Ask) -> None:
    assert plugins.status("f")["protections"]["network"] == "on: none"
    for family in (1, 2, 10, 16, 17, 29, 38, 40, 44):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with pytest.raises(RowError, match=r"PermissionError|Errno 97"):
                ask(f"socket.socket({family}, {kind})")
    with pytest.raises(RowError, match="PermissionError"):
        ask("socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)")
    assert ask("[each.close() for each in socket.socketpair()]") == [None, None]
