"""The firmware on QEMU as distributions have it (`-M netduinoplus2`), with a socket as its USART1.

No boot loader: the chip starts from the first two words of flash, which are slot A's here. Real time.
"""

import fcntl
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import MappingProxyType

import pytest

from opq_hil.backends.debian_source import cache_folder
from opq_hil.world.capture import TimedMessage
from opq_proto import link
from opq_proto.errors import OpqError
from opq_proto.link_messages import LinkMessage

MACHINE = "netduinoplus2"
MAKEFILE = Path(__file__).resolve().parents[1] / "stock_qemu" / "firmware.mk"
SLOT_A = 0x20000
VECTORS = SLOT_A + 0x200
STRAP = 0xE0000
"""hil/stock_qemu/line.c: 0 here is the REPL's jumper."""
FLASH_BYTES = 1 << 20
PATIENCE = 6.0
"""Waits end at six times what an idle machine needs at most."""


def stock_qemu() -> Path:
    """The machine's own QEMU; skips where it is not, or lacks the chip."""
    found = shutil.which("qemu-system-arm")
    if found is None:
        pytest.skip("no qemu-system-arm here: apt install qemu-system-arm")
    machines = subprocess.run((found, "-M", "help"), capture_output=True, text=True, check=True).stdout
    if f"\n{MACHINE} " not in machines:
        pytest.skip(f"{found} has no machine {MACHINE}")
    return Path(found)


@cache
def stock_firmware() -> bytes:
    """Slot A's image, linked once more for that machine: the Box's objects are built first, if need be."""
    try:
        from opq_tools.built_firmware import firmware_for
        from opq_tools.firmware import build, toolchain

        named = os.environ.pop("OPQ_FIRMWARE_DIR", None)  # a folder that was named has no objects
        try:
            firmware_for(boards=("opqbox",))
            tools = toolchain.find_toolchain()
        finally:
            if named is not None:
                os.environ["OPQ_FIRMWARE_DIR"] = named
    except OpqError as problem:
        pytest.skip(str(problem))
    folder = cache_folder() / "firmware" / "opqbox"
    version = (folder / "obj/genhdr/opq_version.h").read_text().split('"')[1]
    # the copy that the objects were made of: a checkout's own files may be newer, and all would be compiled
    port = folder / "device" / "port"
    command = (
        tools.make, "-C", str(port), "-f", str(MAKEFILE), "BOARD=opqbox", f"VERSION={version}",
        f"MICROPYTHON={tools.micropython.path}", f"BUILD={folder / 'obj'}",
    )  # fmt: skip
    foreign = ("CFLAGS", "LDFLAGS", "MAKEFLAGS")
    environment = {
        **{name: value for name, value in os.environ.items() if name not in foreign},
        "MICROPY_MPYCROSS": str(tools.mpy_cross),
        "SOURCE_DATE_EPOCH": build.EPOCH,  # or the Box's own objects would be built anew
        "LC_ALL": "C",
    }
    with (folder / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return (folder / "stock/firmware.bin").read_bytes()


def flash_image(*, jumper: bool, more: Mapping[int, bytes]) -> bytes:
    """Erased but for slot A, its first two words where the chip starts, the REPL's jumper, and `more`."""
    body = stock_firmware()
    flash = bytearray(b"\xff" * FLASH_BYTES)
    flash[VECTORS : VECTORS + len(body)] = body
    flash[0:8] = body[0:8]  # stack and Reset_Handler (PM0214 2.3.4), as the boot loader would set them
    if jumper:
        flash[STRAP : STRAP + 4] = bytes(4)
    for place, data in more.items():
        flash[place : place + len(data)] = data
    return bytes(flash)


class StockBox:
    """A running one. `data` is all that it sent, as it is; `received` its messages."""

    def __init__(self, line: socket.socket, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        self.data = b""
        self.received: list[TimedMessage] = []
        self._line = line
        self._decoder = link.Decoder()
        self._sequence = 0
        self._began_ns = time.monotonic_ns()

    def read(self, until: Callable[[], bool], timeout_s: float) -> None:
        """Take in what comes until something is true; fails when it never is."""
        end = time.monotonic() + PATIENCE * timeout_s
        while not until():
            self._line.settimeout(max(0.01, end - time.monotonic()))
            try:
                data = self._line.recv(65536)
            except TimeoutError:
                data = b""
            if not data:
                last = self.data[-400:]
                raise AssertionError(
                    f"not within {timeout_s:g} s; QEMU {self.process.poll()}; it sent {last!r}"
                )
            now_ns = time.monotonic_ns() - self._began_ns
            self.data += data
            self.received += [
                TimedMessage(now_ns, number, message) for number, message in self._decoder.feed(data)
            ]

    def tell(self, message: LinkMessage) -> None:
        """One frame into the Box."""
        self.write(b"\0" + link.encode(message, self._sequence))
        self._sequence += 1

    def write(self, data: bytes) -> None:
        """Bytes as they are."""
        self._line.sendall(data)

    def wait_for(
        self, such: Callable[[LinkMessage], bool], timeout_s: float = 10, *, since: int = 0
    ) -> LinkMessage:
        """The first message that is such."""
        at = since

        def found() -> bool:
            nonlocal at
            while at < len(self.received) and not such(self.received[at].message):
                at += 1
            return at < len(self.received)

        self.read(found, timeout_s)
        return self.received[at].message

    def type(self, data: bytes, answer: bytes, timeout_s: float = 10) -> bytes:
        """Bytes in; what came out up to and with `answer`."""
        begin = len(self.data)
        self.write(data)
        self.read(lambda: answer in self.data[begin:], timeout_s)
        return self.data[begin : self.data.index(answer, begin) + len(answer)]

    def raw_mode(self, timeout_s: float = 10) -> None:
        self.read(lambda: b">>> " in self.data, timeout_s)
        self.type(b"\x01", b"raw REPL; CTRL-B to exit\r\n>")

    def run(self, statement: str, timeout_s: float = 10) -> str:
        """What a statement printed, its traceback too (MicroPython's raw mode)."""
        output = self.type(statement.encode() + b"\x04", b"\x04>", timeout_s)
        return output.removeprefix(b"OK").replace(b"\x04", b"").removesuffix(b">").decode()


@contextmanager
def stock_box(
    folder: Path, *, jumper: bool, more: Mapping[int, bytes] = MappingProxyType({})
) -> Iterator[StockBox]:
    """Started; ended with the block. `more`: bytes at offsets of flash."""
    qemu = stock_qemu()
    flash = folder / "flash.bin"
    flash.write_bytes(flash_image(jumper=jumper, more=more))
    ours, theirs = socket.socketpair()
    command = (
        str(qemu), "-M", MACHINE, "-display", "none", "-monitor", "none", "-nodefaults",
        "-chardev", f"socket,id=usart1,fd={theirs.fileno()}", "-serial", "chardev:usart1",
        "-kernel", str(flash), "-d", "guest_errors", "-D", str(folder / "qemu.log"),
    )  # fmt: skip
    process = subprocess.Popen(
        command, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    theirs.close()
    try:
        yield StockBox(ours, process)
    finally:
        ours.close()  # first: one that waits for us to read does not hear the signal
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)
