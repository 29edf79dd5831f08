"""The Renode backend and the robot runner, against a stand-in that behaves as Renode was seen to behave.

With a real Renode (RENODE, or on PATH) and OPQ_FIRMWARE_DIR the last test boots the Box in it.
"""

import contextlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import psutil
import pytest
from free_ports import free_port

from opq_hil.backends import debugging, pty_relay, renode, renode_robot
from opq_hil.backends.backend import (
    BackendError,
    EmulatorClock,
    Image,
    LiveBox,
    StandsStillError,
    WallLimitError,
)
from opq_hil.backends.boards import BOARDS
from opq_hil.backends.firmware import Firmware
from opq_hil.backends.processes import end_group
from opq_hil.backends.renode import Renode, seconds
from opq_hil.suites.sampling import nothing_missed
from opq_hil.suites.scenario import Bench
from opq_hil.world.line import BenchLine
from opq_hil.world.strategy import reach
from opq_hil.world.world import NS_PER_S, World
from opq_proto.link.messages import Operation, Samples, Status
from opq_tools.hil import debug

STAND_IN = Path(__file__).with_name("stand_in_renode.py")
LONG = World(3600 * NS_PER_S, gps=None)
LATE_S = 240
"""A wait that is longer has failed; none of these is for a fact that takes more than two seconds."""


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a stand-in; no process of it is left afterwards."""
    program = tmp_path / "renode"  # as Renode's own: a script that waits for another process
    program.write_text(f'#!/bin/sh\n{sys.executable} {STAND_IN} "$@"\n')
    program.chmod(0o755)
    (tmp_path / "flash.bin").write_bytes(b"\xff")
    monkeypatch.setenv("RENODE", str(program))
    monkeypatch.setenv("OPQ_STAND_IN", str(tmp_path))
    monkeypatch.setattr(renode, "ANSWER_LIMIT_S", 240.0)
    monkeypatch.setattr(renode, "END_ANSWER_LIMIT_S", 240.0)
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    yield tmp_path
    until(lambda: processes_of(tmp_path) == [], "no process is left")  # what was killed takes a moment to go


def processes_of(bench: Path) -> list[psutil.Process]:
    """The script, and the stand-in behind it: whatever runs in the folder of a run."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cwd().startswith(f"{bench}/"):
                found.append(process)
    return found


def alive(pid: int) -> bool:
    """No zombie either: there may be no process to reap it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def commands(bench: Path) -> list[str]:
    return [json.loads(line)[1] for line in (bench / "commands.jsonl").read_text().splitlines()]


def commands_so_far(bench: Path) -> list[str]:
    return commands(bench) if (bench / "commands.jsonl").exists() else []


def image(bench: Path) -> Image:
    return Image(BOARDS["opqbox"], bench / "flash.bin")


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + LATE_S
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def live_box(bench: Path) -> contextlib.AbstractContextManager[LiveBox]:
    return Renode().live(image(bench), LONG, bench / "run")


def test_a_world_plays_in_slices(bench: Path) -> None:
    (bench / "speed").write_text("50")
    run = Renode().run(image(bench), World(2 * NS_PER_S + 7, gps=None), bench / "run", wall_limit_s=300)
    log, world, flash, include, *played = commands(bench)
    assert log == f"logFile @{bench}/run/renode.log"
    assert world == f"$world=@{bench}/run/world.txt" and flash == f"$firmware=@{bench}/flash.bin"
    assert include.startswith("include @") and include.endswith("/hil/renode/box.resc")
    steps = [command for command in played if "RunFor" in command]
    assert steps == [f'emulation RunFor "{each}"' for each in ("1.000000000", "1.000000000", "0.000000007")]
    assert played[-1] == f'sysbus.world Save "{bench}/run"'
    assert run.capture.data == b"\1\2\3\0" and run.ended == "end"
    assert run.report["unmodelled"] == [{"address": "0x40014000", "block": "", "times": 1}]
    assert run.flash == bench / "run" / "flash.bin"


def test_two_runs_share_the_machines_ports(bench: Path) -> None:
    """Renode ends with 0 and prints nothing when its port is taken between our look and its start."""
    (bench / "takes_port").touch()
    (bench / "speed").write_text("50")
    world = World(NS_PER_S // 2, gps=None)
    with ThreadPoolExecutor(2) as pool:
        folders = [bench / "run1", bench / "run2"]
        runs = list(pool.map(lambda at: Renode().run(image(bench), world, at, wall_limit_s=300), folders))
    assert [run.ended for run in runs] == ["end", "end"]
    assert len((bench / "taken").read_text().splitlines()) == 2
    assert list(bench.glob("opq-renode-*")) == []  # each run's own temporary folder


def test_a_silent_renode_is_reported(bench: Path) -> None:
    """It ended with 0 and printed nothing; the report has the reason."""
    (bench / "no_port").touch()
    reason = r"ended with 0 before its robot server listened; see .*/run/renode.out. .* no port from 49152 on"
    with pytest.raises(BackendError, match=reason):
        Renode().run(image(bench), LONG, bench / "run", wall_limit_s=300)


def test_connections_wait_for_renode(bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection to a local port without a listener may become one with itself, and hold the port."""
    (bench / "start_s").write_text("1")
    (bench / "speed").write_text("50")
    connected = []

    def connect(address: tuple[str, int], *rest: Any, **options: Any) -> socket.socket:
        listens = [each.laddr.port for each in psutil.net_connections("tcp") if each.status == "LISTEN"]
        connected.append((address[1], address[1] in listens))
        return found(address, *rest, **options)

    found = socket.create_connection
    monkeypatch.setattr(socket, "create_connection", connect)
    Renode().run(image(bench), World(1, gps=None), bench / "run", wall_limit_s=300)
    assert connected and all(port >= 49152 and listens for port, listens in connected), connected


def test_a_network_namespace_hides_renodes_server(bench: Path) -> None:
    """The command of hil/renode/README.md; the stand-in listens on all addresses, as Renode does."""
    page = (renode.SCRIPT.parent / "README.md").read_text(encoding="utf-8")
    [shown] = re.findall(r"^    (unshare .*) opq-tools hil run --backend renode", page, re.MULTILINE)
    closed = shlex.split(shown)
    if subprocess.run([*closed, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no network namespaces for this user, or no unshare or ip here")
    (bench / "everywhere").touch()
    (bench / "speed").write_text("4")
    firmware = bench / "firmware" / "opqbox" / "flash.bin"
    firmware.parent.mkdir(parents=True)
    firmware.touch()
    words = ["hil", "run", "--backend", "renode", f"--firmware={firmware.parents[1]}", "--out", bench / "out"]
    program = "from opq_tools.cli import main; main()"
    line = [*closed, sys.executable, "-c", program, *words, "live_commands"]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as run:
        until(lambda: "start" in commands_so_far(bench), "a Box is live")
        [stand_in] = [each for each in processes_of(bench) if "stand_in" in each.cmdline()[1]]
        inside = Path(f"/proc/{stand_in.pid}/net/tcp").read_text()
        outside = Path("/proc/self/net/tcp").read_text()
        assert run.stderr is not None
        first, *others = run.stderr.read().splitlines()
    [path] = bench.glob("port")
    every = f" 00000000:{int(path.read_text()):04X} "
    assert every in inside and every not in outside
    assert first.startswith("backend: Renode v0.0 (stand-in); Renode's robot server listens on all addresses")
    assert "live_commands" in others[0] and "backend failed" not in others[0]


def test_renodes_refusal_keeps_its_words(bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(renode.TIERED, raising=False)
    (bench / "refuses").write_text("include")
    with pytest.raises(BackendError, match="There was an error executing command"):
        Renode().run(image(bench), World(NS_PER_S, gps=None), bench / "run", wall_limit_s=300)
    assert json.loads((bench / "environment.json").read_text())[renode.TIERED] == "0"
    assert renode.environment(60 * NS_PER_S) == dict(os.environ)  # a long run is compiled again while it runs
    monkeypatch.setenv(renode.TIERED, "1")  # by the user
    assert renode.environment(NS_PER_S) == dict(os.environ)


def test_a_slow_run_reports_its_progress(bench: Path) -> None:
    (bench / "speed").write_text("20")
    problem = r"^Renode ran longer than 1.5 s: [\d.]+ of 3600 s virtual, [\d.]+ x real time; see .*/run$"
    with pytest.raises(WallLimitError, match=problem):
        Renode().run(image(bench), LONG, bench / "run", wall_limit_s=1.5)


def test_real_time_limits_are_six_qemus(bench: Path) -> None:
    (bench / "hangs").write_text("RunFor")  # and ignores SIGTERM
    firmware = {"opqbox": Firmware(image(bench), bench / "update")}
    with pytest.raises(WallLimitError, match=r"longer than 1.5 s: 0.000 of 3600 s virtual, 0.00 x real time"):
        Bench(Renode(), firmware, bench / "bench", 0.25).run(LONG)
    assert Renode().wall_factor == 6.0


def test_a_live_box_is_our_raw_pty(bench: Path) -> None:
    """Renode's own pty is raw before anything is sent."""
    with live_box(bench) as box:
        terminal = bench / "run" / "usart1"
        ours = Path(box.port)
        assert ours != terminal.readlink() and ours.is_char_device()
        for path in (ours, terminal):
            with path.open("rb", buffering=0) as port:
                iflag, oflag, _, lflag, *_ = termios.tcgetattr(port)
                assert (iflag, oflag, lflag) == (0, 0, 0), path
    *_, create, connect, start, pause, save = commands(bench)
    assert create == f'emulation CreateUartPtyTerminal "gateway" "{terminal}" true'
    assert connect == "connector Connect sysbus.usart1 gateway"
    assert (start, pause, save) == ("start", "pause", f'sysbus.world Save "{bench}/run"')


def test_without_relay_an_unread_pty_blocks(
    bench: Path,
) -> None:
    (bench / "speed").write_text("2")
    with (
        pytest.raises(StandsStillError, match=r"virtual time has stopped at [\d.]+ s, for \d+ s now"),
        renode._session(bench / "run", LONG, bench / "flash.bin") as session,
    ):
        session.run_command(f'emulation CreateUartPtyTerminal "gateway" "{bench}/run/usart1" true')
        with (bench / "run" / "usart1").open("rb", buffering=0) as port:
            pty_relay.set_raw(port.fileno())
        session.run_command("start")
        clock = EmulatorClock(session.read_virtual_s, still_limit_s=3.0)
        with contextlib.suppress(StandsStillError):
            until(lambda: clock() > 3600, "the world stops")
        for process in processes_of(bench):
            if "stand_in" in " ".join(process.cmdline()):
                process.terminate()
        time.sleep(0.2)
        assert any("stand_in" in " ".join(process.cmdline()) for process in processes_of(bench))
        until(lambda: clock() > 3600, "it says so again")


GDB = """import socket, sys, time
while True:
    try:
        line = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
        break
    except ConnectionRefusedError:
        time.sleep(0.05)
line.sendall(b"+")
"""


def test_gdbs_server_lives_until_gdb_ends(bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its input stays open: at the end of it Renode ends, and GDB finds nothing."""
    port = free_port()
    (bench / "run").mkdir()
    monkeypatch.setattr(debugging, "_gdb", lambda *_: (sys.executable, "-c", GDB, str(port)))
    session = debugging.debug_session(
        "renode", bench / "firmware_a.elf", bench / "run", board=BOARDS["opqbox"], world=None, port=port
    )
    assert debug._run(session) == 0


def test_without_reader_bytes_are_counted(bench: Path) -> None:
    (bench / "speed").write_text("3")
    with live_box(bench) as box:
        until(lambda: box.now_s() > 2.2, "two seconds without a reader: twice what a pty holds")
        counters = dict(box.counters())
    assert counters["dropped_bytes"] == counters["from_box_bytes"] > 40_000
    relay = json.loads((bench / "run" / "report.json").read_text())["relay"]
    assert relay["dropped_bytes"] >= counters["dropped_bytes"] and relay["to_box_bytes"] == 0


def test_a_restarted_gateway_reads_on(bench: Path) -> None:
    (bench / "speed").write_text("2")
    program = "import sys; port = open(sys.argv[1], 'rb', 0); print(port.read(1) != b'', flush=True)"
    reads = f"{program}\nwhile True: port.read(9999)"
    with live_box(bench) as box:
        for _ in range(2):
            line = [sys.executable, "-I", "-S", "-c", reads, str(box.port)]
            with subprocess.Popen(line, stdout=subprocess.PIPE) as gateway:
                assert gateway.stdout is not None and gateway.stdout.readline() == b"True\n"
                gateway.send_signal(signal.SIGKILL)
            before = box.counters()["dropped_bytes"]
            until(lambda before=before: box.counters()["dropped_bytes"] > before + 5000, "bytes are lost")
        with BenchLine(box.port, box.now_s) as again:
            first = again.wait_for(Samples, 60).first_sample
            assert again.wait_for(Samples, 60).first_sample > first


def test_commands_and_states_wait_in_the_boxs_time(bench: Path) -> None:
    # cold, 0.5 x real time, an answer after an erase of 1.3 s: 2.6 s of ours, more than a command's 2 s
    with live_box(bench) as box, BenchLine(box.port, box.now_s) as line:
        reach(line, "sampling", 60)
        began_s, began = box.now_s(), time.monotonic()
        assert line.send_command(Operation.PUT_SETTING, "nominal_hz=50").status is Status.DONE
        assert box.now_s() - began_s > 1.0 and time.monotonic() - began > 2.0
        line.send_command(Operation.RESET)
        reach(line, "sampling", 60)


def test_a_hung_live_renode_is_one_error(bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renode, "END_ANSWER_LIMIT_S", 1.0)
    (bench / "hangs").write_text("pause")
    with pytest.raises(BackendError, match="Renode: pause: no answer within 1 s"), live_box(bench):
        pass
    (bench / "run" / "usart1").unlink()
    with pytest.raises(KeyError, match="first"), live_box(bench):  # what went wrong first says more
        raise KeyError("first")


def test_a_stubborn_process_is_killed_with_children() -> None:
    ignores = "trap '' TERM; sleep 1000 & echo $!; wait; sleep 1000"
    with subprocess.Popen(["/bin/sh", "-c", ignores], stdout=subprocess.PIPE, start_new_session=True) as it:
        assert it.stdout is not None
        child = int(it.stdout.readline())
        end_group(it, limit_s=0.2)
        assert it.returncode == -signal.SIGKILL
    until(lambda: not alive(child), "what it started ends too")


def test_whoever_is_killed_takes_renode_along(bench: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from opq_hil.backends.backend import Image; "
        "from opq_hil.backends.boards import BOARDS; "
        "from opq_hil.backends.renode import Renode; from opq_hil.world.world import World\n"
        "folder = Path(sys.argv[1])\n"
        "with Renode().live(Image(BOARDS['opqbox'], folder / 'flash.bin'), World(10**12, gps=None), "
        "folder / 'run'): print('live', flush=True); time.sleep(100)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(bench)], stdout=subprocess.PIPE) as user:
        assert user.stdout is not None and user.stdout.readline() == b"live\n"
        assert len(processes_of(bench)) == 2
        user.kill()
    until(lambda: processes_of(bench) == [], "no process is left")


def test_ups_emulated_box_ends_with_its_world(bench: Path) -> None:
    (bench / "speed").write_text("1")
    options = {
        "backend": "renode",
        "box-id": 1,
        "flash": bench / "flash.bin",
        "port": bench / "ports" / "box1",
    }
    words = [f"--{name}={value}" for name, value in {**options, "folder": bench / "f", "lead-s": 0.4}.items()]
    program = "from opq_hil.backends import emulated; emulated.LONGEST_NS = 12 * 10**8; emulated.main()"
    line = [sys.executable, "-c", program, *words]
    done = subprocess.run(line, capture_output=True, text=True, timeout=300, check=True)
    events = [json.loads(text) for text in done.stderr.splitlines()]
    started, *others = events
    assert (started["event"], started["emulator"]) == ("box.started", "Renode v0.0 (stand-in)")
    assert {each["event"] for each in others} == {"box.event_sent", "box.bytes_dropped"}
    assert not (bench / "ports" / "box1").is_symlink()


def test_no_renode_is_a_reason_and_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RENODE", "/nonexistent/renode")
    assert "no Renode here" in (Renode().why_not(None) or "")
    assert Renode().version == "no Renode"


def test_a_folder_with_a_space_is_refused(bench: Path) -> None:
    with pytest.raises(BackendError, match="space"):
        Renode().run(image(bench), World(NS_PER_S, gps=None), bench / "a run", wall_limit_s=300)


@pytest.mark.parametrize(
    ("ns", "text"), [(0, "0.000000000"), (1, "0.000000001"), (3600 * NS_PER_S, "3600.000000000")]
)
def test_times_are_digits_a_dot_and_digits(ns: int, text: str) -> None:
    assert seconds(ns) == text


def test_the_robot_runner_leaves_out_soaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = renode_robot.command(Path("renode-test"), Path("/f"), Path("/r"), ["boot"])
    assert line[1].endswith("hil/renode/robot/boot.robot") and "--exclude" in line
    assert "OPQ_FIRMWARE_DIR:/f" in line
    assert "--exclude" not in renode_robot.command(Path("x"), Path("/f"), Path("/r"), ["soak"], ["soak"])
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("RENODE", raising=False)
    assert renode_robot.main([]) == renode_robot.NO_RENODE
    assert "no renode-test here" in capsys.readouterr().err


def test_robot_results_have_an_ignored_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "renode-test").write_text('#!/bin/sh\nwhile [ "$1" != -r ]; do shift; done; mkdir "$2"\n')
    (tmp_path / "renode-test").chmod(0o755)
    flash = tmp_path / "firmware" / "opqbox" / "flash.bin"
    flash.parent.mkdir(parents=True)
    flash.touch()
    monkeypatch.setenv("RENODE", str(tmp_path / "renode"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    firmware = f"--firmware={tmp_path / 'firmware'}"
    assert renode_robot.main([firmware, "prompt"]) == 0
    assert renode_robot.main([firmware, "--out", str(tmp_path / "out"), "prompt"]) == 0
    [made] = (tmp_path / "here").iterdir()
    ignore = (Path(__file__).parents[2] / ".gitignore").read_text().splitlines()
    assert any(fnmatch(f"{made.name}/", line) for line in ignore) and (tmp_path / "out").is_dir()


def test_the_box_samples_in_the_real_renode(tmp_path: Path) -> None:
    if renode.find_renode() is None:
        pytest.skip(Renode().why_not(None) or "no Renode")
    built = os.environ.get("OPQ_FIRMWARE_DIR")
    if built is None:
        pytest.skip("no built firmware: opq-tools firmware build, then OPQ_FIRMWARE_DIR")
    firmware = Image(BOARDS["opqbox"], Path(built) / "opqbox" / "flash.bin")
    run = Renode().run(firmware, World(8 * NS_PER_S), tmp_path / "run", wall_limit_s=500)
    nothing_missed(run.capture, since_s=5.0, end_s=8.0)
