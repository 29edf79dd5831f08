"""Stands in for Renode as it was seen to behave, and is never kinder.

Its robot server has two methods, does one thing at a time, and records the commands. With port 0 it takes
the first free one from 49152 on and writes the number into its temporary folder, once it listens. When it was
given a port that is taken, it ends with 0 and without a word. With --console it ends so, too, at the end of
its standard input; without, a core spins, for which it refuses to start. Its pty is not raw (Renode copies
the terminal settings of its standard input, and /dev/null has none) and stays open at both ends; writes to it
block, and with them virtual time. At SIGTERM it waits for the world, for ever when that is blocked. Virtual
time begins slowly and goes at half of real time. The Box in it is the simulated one, which answers to a
setting after the erase of a sector.

OPQ_STAND_IN names a folder; files in it: `refuses` holds a word, commands with it fail; `hangs` a word,
commands with it never end and SIGTERM does nothing; `speed`, `start_s` numbers. With `takes_port` another
program takes the port (with 0: the first) just before it listens; with `no_port` none is free; with
`everywhere` it listens on all addresses, as Renode always does. It writes `commands.jsonl`,
`environment.json`, `port` and `taken`.
"""

import contextlib
import json
import os
import re
import signal
import socket
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from xmlrpc.server import SimpleXMLRPCServer

FOLDER = Path(os.environ["OPQ_STAND_IN"])
REPORT = {"end": "end", "virtual_ns": 1, "spi2": {"conversions": 12000}, "unmodelled": [], "violations": []}
NS = 10**9
STEP_NS = 5_000_000
COLD_NS, COLD = 250_000_000, 2
"""The beginning costs a multiple, as by tiered compilation."""
SAMPLING_NS = 170_000_000
ERASE_NS = 1_300_000_000


def number_in_file(name: str, default: float) -> float:
    path = FOLDER / name
    return float(path.read_text()) if path.exists() else default


SPEED = number_in_file("speed", 0.5)


class Wire:
    """What the simulated Box takes for its port."""

    waiting_bytes = lost_bytes = 0

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def send(self, frame: bytes) -> None:
        self.frames.append(frame)

    def flush(self, now_ns: int) -> None:
        """Bytes leave in `World`."""


class World:
    """Virtual time, in its own thread once it was started."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.running = False
        self.master = self.slave = -1
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def open_pty(self, link: Path) -> None:
        self.master, self.slave = os.openpty()
        settings = termios.tcgetattr(self.slave)
        settings[0], settings[1] = termios.ICRNL | termios.IXON, termios.OPOST | termios.ONLCR
        settings[3] = termios.ECHO | termios.ICANON | termios.ISIG
        termios.tcsetattr(self.slave, termios.TCSANOW, settings)
        link.symlink_to(os.ttyname(self.slave))
        threading.Thread(target=self._listen, daemon=True).start()

    def start(self) -> None:
        from opq_proto.link import frames as link
        from opq_proto.link.messages import Command, Operation
        from opq_proto.messages import TimeSource
        from opq_sim.box.box import Box  # here: --version is asked for often
        from opq_sim.box.source import RunClock

        self._is_put = lambda data: any(
            isinstance(found, Command) and found.operation is Operation.PUT_SETTING
            for _, found in link.Decoder().feed(data)
        )
        self._incoming: list[bytes] = []
        self._wire = Wire()
        self._box = Box("1", measurements=False)
        self._box.start(self._wire, RunClock(SAMPLING_NS, 0, 0xFFFF_FFFF, TimeSource.FREE))  # type: ignore[arg-type]
        self.running = True
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Wait for the step that is being done: for ever, when it is blocked."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self.running = False

    def _listen(self) -> None:
        while True:
            data = os.read(self.master, 4096)
            if self.running:
                self._incoming.append(data)

    def _run(self) -> None:
        busy_until_ns, waiting = 0, b""
        while not self._stop.is_set():
            time.sleep(STEP_NS / NS / SPEED * (COLD if self.now_ns < COLD_NS else 1))
            self.now_ns += STEP_NS
            if self.now_ns < SAMPLING_NS:
                self._incoming.clear()
                continue
            self._box.tick(self.now_ns)
            while self._wire.frames:
                frame = self._wire.frames.pop(0)
                for at in range(0, len(frame), 32):  # Renode writes each byte by itself
                    os.write(self.master, frame[at : at + 32])
            if not waiting and self._incoming:
                waiting = self._incoming.pop(0)
                busy_until_ns = self.now_ns + (ERASE_NS if self._is_put(waiting) else 0)
            if waiting and self.now_ns >= busy_until_ns:
                self._box.receive(waiting)
                waiting = b""


world = World()
log: list[Path] = []


def flush_log() -> None:
    """Renode's is flushed every 5 s, and when it ends."""
    for path in log:
        path.write_text("[WARNING] sysbus: ReadByte from non existing peripheral at 0x40014000.\n")


def run_keyword(name: str, arguments: list[str]) -> dict[str, Any]:
    """ExecuteCommand alone."""
    text = arguments[0]
    if "GetTimeSourceInfo" in text:
        return _done(text)
    with (FOLDER / "commands.jsonl").open("a") as log:
        log.write(json.dumps([name, *arguments]) + "\n")
    for what in ("refuses", "hangs"):
        path = FOLDER / what
        if path.exists() and path.read_text() in text:
            if what == "hangs":
                threading.Event().wait()
            return _failed(f"There was an error executing command '{text}'")
    return _done(text)


def _failed(error: str) -> dict[str, Any]:
    return {"status": "FAIL", "error": error, "traceback": ""}


def _done(text: str) -> dict[str, Any]:
    answer = ""
    if text.startswith("logFile @"):
        log.append(Path(text[9:]))
    elif found := re.fullmatch(r'emulation RunFor "([\d.]+)"', text):
        if world.running:
            return _failed("This action is not available when emulation is already started")
        time.sleep(float(found[1]) / SPEED)
        world.now_ns += round(float(found[1]) * NS)
    elif found := re.fullmatch(r'emulation CreateUartPtyTerminal "gateway" "(.*)" true', text):
        world.open_pty(Path(found[1]))
    elif text == "start":
        world.start()
    elif text == "pause":
        world.stop()
    elif text == "emulation GetTimeSourceInfo":
        seconds, ns = divmod(world.now_ns, NS)
        clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{ns:09}"
        answer = f"Elapsed Virtual Time: {clock}\nElapsed Host Time: 00:00:09.000000000\nState: Idle"
    elif found := re.fullmatch(r'sysbus\.world Save "(.*)"', text):
        place = Path(found[1])
        (place / "report.json").write_text(json.dumps({**REPORT, "virtual_ns": world.now_ns}))
        (place / "uart1.log").write_text("44332 01020300\n")
        (place / "flash.bin").write_bytes(b"\xff" * 16)
    elif text == "sysbus.world Ended":
        answer = "\n"
    elif not text.startswith(("$", "include @", "connector Connect sysbus.usart1 gateway")):
        return _failed(f"No such command or device: {text}")
    return {"status": "PASS", "return": answer}


def listen(wanted: int) -> SimpleXMLRPCServer | None:
    """The server at a port, or with 0 at the first free one, whose number is in a file then."""
    if (FOLDER / "no_port").exists():
        return None
    ports: Iterable[int] = (wanted,) if wanted else range(49152, 65536)
    address = "0.0.0.0" if (FOLDER / "everywhere").exists() else "127.0.0.1"
    others: list[socket.socket] = []
    for port in ports:
        if (FOLDER / "takes_port").exists() and not others:
            with contextlib.suppress(OSError):
                others.append(socket.create_server((address, port)))
                with (FOLDER / "taken").open("a") as taken:
                    taken.write(f"{port}\n")
        with contextlib.suppress(OSError):
            server = SimpleXMLRPCServer((address, port), logRequests=False, allow_none=True)
            place = Path(tempfile.gettempdir()) / f"renode-{os.getpid()}"
            place.mkdir()
            (place / "robot_port").write_text(str(port))
            (FOLDER / "port").write_text(str(port))
            return server
    return None


def main() -> None:
    if "--version" in sys.argv:
        print("Renode v0.0 (stand-in)")
        return
    (FOLDER / "environment.json").write_text(json.dumps(dict(os.environ)))
    if "--console" not in sys.argv:
        sys.exit("a core spins: want --console and an open input")
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    deaf = (FOLDER / "hangs").exists()
    signal.signal(
        signal.SIGTERM, signal.SIG_IGN if deaf else lambda *_: (world.stop(), flush_log(), os._exit(0))
    )
    time.sleep(number_in_file("start_s", 0.3))
    if "--robot-server-port" not in sys.argv:  # of `hil debug`: GDB's server, for one client
        (port,) = re.findall(r"StartGdbServer (\d+)", " ".join(sys.argv))
        with socket.create_server(("127.0.0.1", int(port))) as gdb:
            client, _ = gdb.accept()
            client.recv(1)
        threading.Event().wait()
    server = listen(int(sys.argv[sys.argv.index("--robot-server-port") + 1]))
    if server is None:
        return
    server.register_function(run_keyword, "run_keyword")
    server.register_function(
        lambda: threading.Thread(target=server.shutdown).start() or True, "stop_remote_server"
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()  # signals come to the main thread, as .NET has one for them
    thread.join()
    flush_log()


if __name__ == "__main__":
    main()
