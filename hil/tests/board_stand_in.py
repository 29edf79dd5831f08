"""An emulator in real time that stands in for a board on a bench: its port, its relay and its programmer.

Relay and programmer are commands, as at a bench; they reach this process over a socket of the loopback.
"""

import socketserver
import sys
import threading
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path

from opq_hil.backends.backend import Backend, Fixtures, LiveBox
from opq_hil.backends.board import BoardBackend
from opq_hil.backends.firmware import Firmware
from opq_hil.gps.receiver import Gps
from opq_hil.suites.scenario import Bench
from opq_hil.suites.updates import CONFIRM_S, with_programmer
from opq_hil.world.world import NS_PER_S, Sine, World
from opq_sim.box.port import PortLink

COMMAND = """import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as line:
    line.sendall((" ".join(sys.argv[2:]) + "\\n").encode())
    answer = line.makefile().readline().strip()
sys.exit(answer if answer != "done" else 0)
"""
WALL_LIMIT_S = 900.0
HOURS_NS = 6 * 3600 * NS_PER_S


class BoardStandIn:
    """Runs for the `with` block. `bench` is the backend at its port."""

    def __init__(self, emulator: Backend, firmware: Mapping[str, Firmware], folder: Path) -> None:
        folder.mkdir(parents=True)
        self._emulator = emulator
        self._image = firmware["opqbox"].image
        self._folder = folder
        self._flash = folder / "flash.bin"
        # a board in use: without health a fresh image ends in the boot loader's recovery at its third start
        confirmed = Bench(emulator, firmware, folder / "first", WALL_LIMIT_S).prepared(seconds=CONFIRM_S)
        self._flash.write_bytes(confirmed.read_bytes())
        self._port = folder / "port"
        self._lock = threading.RLock()
        self._powered = ExitStack()
        self._box: LiveBox | None = None
        self._before_s = 0.0
        self._starts = 0

    def __enter__(self) -> "BoardStandIn":
        stand_in = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                words = self.rfile.readline().decode().split()
                try:
                    stand_in.execute(words)
                    self.wfile.write(b"done\n")
                except Exception as error:  # its command reports it
                    self.wfile.write(f"{error}\n".encode())

        # one thread for all: an emulator gets SIGTERM when the thread that started it ends
        self._server = socketserver.TCPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        script = self._folder / "fixture.py"
        script.write_text(COMMAND)
        command = f"{sys.executable} {script} {self._server.server_address[1]}"
        self.execute(["power", "on"])
        self.bench = BoardBackend(
            str(self._port), now_s=self.now_s, fixtures=Fixtures(f"{command} power", f"{command} program")
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._powered.close()

    def now_s(self) -> float:
        """The Box's time, which goes on over a cut of its supply."""
        with self._lock:
            return self._before_s + (self._box.now_s() if self._box else 0.0)

    def execute(self, words: list[str]) -> None:
        """Does what the command of a fixture requests."""
        with self._lock:
            match words:
                case ["power", "off"]:
                    self._off()
                case ["power", "on"]:
                    self._on()
                case ["program", path]:
                    self._off()
                    written = with_programmer(self._flash.read_bytes(), Path(path).read_text())
                    self._flash.write_bytes(written)
                    self._on()
                case _:
                    raise ValueError(f"{words}: want power on, power off, or program FILE")

    def _on(self) -> None:
        self._starts += 1
        world = World(HOURS_NS, mains=Sine(), gps=Gps(), seed=self._starts)
        live = self._emulator.live(self._image, world, self._folder, flash=self._flash)
        self._box = self._powered.enter_context(live)
        self._powered.enter_context(closing(PortLink(self._port, self._box.port)))

    def _off(self) -> None:
        self._before_s = self.now_s()
        self._box = None
        self._powered.close()
