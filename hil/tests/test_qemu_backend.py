"""The QEMU backend: worlds played, a Box on a pty, and what is reported when QEMU cannot go on."""

import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import serial
from qemu_bare import compiler, our_qemu

from opq_hil.backends import qemu_build
from opq_hil.backends.backend import (
    READ_S,
    BackendError,
    EmulatorClock,
    Image,
    StandsStillError,
    WallLimitError,
)
from opq_hil.backends.boards import BOARDS
from opq_hil.backends.build_step import BuildError
from opq_hil.backends.debian_source import SourceError
from opq_hil.backends.packages import NAMES, install_line
from opq_hil.backends.qemu import Qemu, QmpClock
from opq_hil.backends.qemu_build import QemuBinary
from opq_hil.world.world import NS_PER_S, PowerScript, World
from opq_proto.errors import OpqError

QUIET = {"mains": None, "gps": None}


@pytest.fixture(scope="module")
def backend() -> Qemu:
    our_qemu()
    return Qemu(quiet=True)


@pytest.fixture
def image(tmp_path: Path) -> Image:
    elf = compiler(tmp_path)("echo")
    objcopy = shutil.which("arm-none-eabi-objcopy") or "arm-none-eabi-objcopy"
    subprocess.run([objcopy, "-O", "binary", str(elf), str(tmp_path / "echo.bin")], check=True)
    return Image(BOARDS["opqbox"], tmp_path / "echo.bin")


def test_a_world_is_played_to_its_end(backend: Qemu, image: Image, tmp_path: Path) -> None:
    world = World(NS_PER_S // 10, messages=((NS_PER_S // 20, b"Hello"), (NS_PER_S // 25, b"first ")), **QUIET)
    run = backend.run(image, world, tmp_path / "run", wall_limit_s=300)
    assert run.capture.data == b"first Hello"
    assert (run.ended, run.report["virtual_ns"]) == ("end", pytest.approx(NS_PER_S // 10, abs=10))
    # in: start, six bytes of 10 bits of 91 clocks of 84 MHz; out: the same, one byte later, and the interrupt
    last_ns = NS_PER_S // 25 + 7 * 10 * 91 * 250 // 21
    assert run.capture.log[0][0] == pytest.approx(last_ns, abs=1000)
    assert run.flash is not None
    assert run.flash.stat().st_size == 1 << 20
    assert backend.why_not(world) is None
    assert "opqbox" in backend.version


def test_the_same_world_gives_the_same_bytes(backend: Qemu, image: Image, tmp_path: Path) -> None:
    world = World(NS_PER_S // 10, messages=((NS_PER_S // 20, bytes(range(256)) * 4),), **QUIET)
    runs = [backend.run(image, world, tmp_path / str(n), wall_limit_s=300) for n in range(3)]
    assert len({run.capture.log for run in runs}) == 1
    assert len({json.dumps(run.report) for run in runs}) == 1


def test_a_cut_ends_the_run(backend: Qemu, image: Image, tmp_path: Path) -> None:
    world = World(NS_PER_S, power=PowerScript(cut_ns=NS_PER_S // 50), **QUIET)
    run = backend.run(image, world, tmp_path / "run", wall_limit_s=300)
    assert (run.ended, run.report["virtual_ns"]) == ("cut", pytest.approx(NS_PER_S // 50, abs=10))


@pytest.fixture
def busy(tmp_path: Path) -> Image:
    """Never sleeps, so that virtual time cannot be skipped: an hour of it takes many minutes."""
    reset = 0x0800_0009  # Thumb: `b .`
    words = (0x2000_1000, reset, 0xE7FE_E7FE)
    (tmp_path / "busy.bin").write_bytes(b"".join(word.to_bytes(4, "little") for word in words))
    return Image(BOARDS["opqbox"], tmp_path / "busy.bin")


def test_a_run_that_lasts_too_long_is_stopped(backend: Qemu, busy: Image, tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(
        WallLimitError, match=r"longer than 1 s: [\d.]+ of 3600 s virtual, [\d.]+ x real time"
    ):
        backend.run(busy, World(3600 * NS_PER_S, **QUIET), tmp_path / "run", wall_limit_s=1)
    assert time.monotonic() - began < 60


def test_an_interrupted_run_is_not_a_verdict(backend: Qemu, busy: Image, tmp_path: Path) -> None:
    def ours(process: psutil.Process) -> bool:
        return any(f"world={tmp_path}" in word for word in process.cmdline())

    def end() -> None:
        while not (found := list(filter(ours, psutil.Process().children(recursive=True)))):
            time.sleep(0.05)
        time.sleep(2.0)
        for process in found:
            process.terminate()

    killer = threading.Thread(target=end)
    killer.start()
    with pytest.raises(BackendError, match=r"ended (from outside|with -15)"):  # -15: it had not begun yet
        backend.run(busy, World(3600 * NS_PER_S, **QUIET), tmp_path / "run", wall_limit_s=600)
    killer.join(600)


def test_a_bad_world_is_reported_with_its_line(backend: Qemu, image: Image, tmp_path: Path) -> None:
    world = World(NS_PER_S, pins=(("Z9", 0, True),), **QUIET)
    with pytest.raises(BackendError, match=r"world.txt:2: pin: 'Z9'"):
        backend.run(image, world, tmp_path / "run", wall_limit_s=300)


def test_an_image_larger_than_the_chip_is_refused(backend: Qemu, tmp_path: Path) -> None:
    (tmp_path / "big.bin").write_bytes(bytes((1 << 20) + 1))
    with pytest.raises(BackendError, match="larger than the chip"):
        backend.run(
            Image(BOARDS["opqbox"], tmp_path / "big.bin"), World(NS_PER_S), tmp_path / "run", wall_limit_s=300
        )


def test_a_live_box_keeps_wall_time(backend: Qemu, image: Image, tmp_path: Path) -> None:
    """It answers on its pty."""
    text = bytes(range(1, 256)) * 8
    with (
        backend.live(image, World(3600 * NS_PER_S, **QUIET), tmp_path / "run") as box,
        serial.Serial(str(box.port), 921_600, timeout=0.5) as port,
    ):
        opened_s = box.now_s()
        time.sleep(0.3)
        began = time.monotonic()
        port.write(text)
        received = b""
        while len(received) < len(text) and time.monotonic() - began < 120:
            received += port.read(len(text) - len(received))
        took_s = time.monotonic() - began
        while box.now_s() == opened_s:  # raises when it stops
            time.sleep(0.05)
        assert 0 <= opened_s < box.now_s() < took_s + 120
    assert received == text
    assert took_s > 0.8 * len(text) * 10 / 921_600  # no faster than the line
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["end"] == "stopped"
    assert report["usart1"]["overruns"] == report["usart1"]["lost"] == 0


def test_a_late_live_box_catches_up_slowly(backend: Qemu, image: Image, tmp_path: Path) -> None:
    """By a quarter of the time at most."""
    with backend.live(image, World(3600 * NS_PER_S, **QUIET), tmp_path / "run") as box:
        (qemu,) = (
            child
            for child in psutil.Process().children(recursive=True)
            if child.name().startswith("qemu-system") and str(tmp_path) in " ".join(child.cmdline())
        )
        began_s, first_s = time.monotonic(), box.now_s()
        qemu.suspend()
        stopped_s = time.monotonic()
        time.sleep(3)
        began_s += time.monotonic() - stopped_s
        qemu.resume()
        while (now_s := box.now_s()) < first_s + 1.0:
            time.sleep(0.05)
        ran_s = time.monotonic() - began_s
    assert now_s - first_s <= 1.25 * ran_s + 2 * 0.2  # two sprints of 0.2 s, in part outside


def test_qemus_time_is_read_between_events() -> None:
    """An older machine is reported."""
    ours, qemus = socket.socketpair()
    with ours, qemus:
        clock = QmpClock(ours)
        event = b'{"event": "RESET"}\n'
        qemus.sendall(b'{"QMP": {}}\n{"return": {}}\n' + event + b'{"return": 1500000000}\n')
        assert clock.read_s() == 1.5
        requests = [json.loads(line) for line in qemus.recv(9999).splitlines()]
        assert [each["execute"] for each in requests] == ["qmp_capabilities", "qom-get"]
        qemus.sendall(b'{"error": {"desc": "Property \'machine.virtual-ns\' not found"}}\n')
        with pytest.raises(BackendError, match=r"virtual-ns' not found.*build it again"):
            clock.read_s()
        qemus.close()
        with pytest.raises(BackendError, match="QEMU does not report its time: "):
            clock.read_s()


def test_only_a_long_stop_is_an_error() -> None:
    times = iter([1.0, 1.0, 2.0, *[2.0] * 99])
    clock = EmulatorClock(lambda: next(times), still_limit_s=3 * READ_S)
    assert clock() == clock() == 1.0  # the second is not asked for
    with pytest.raises(StandsStillError, match=r"has stopped at 2\.000 s"):
        while True:
            clock()
            time.sleep(READ_S / 2)
    assert next(times) == 2.0  # the 2.0 after two of 1.0 did not count as a stop


def test_a_live_box_ends_when_nobody_listens(backend: Qemu, image: Image, tmp_path: Path) -> None:
    world = World(3600 * NS_PER_S, **(QUIET | {"messages": ((NS_PER_S // 50, bytes(1000)),)}))
    with backend.live(image, world, tmp_path / "run") as box:
        while box.now_s() < 0.2:
            time.sleep(0.05)
    assert (tmp_path / "run" / "report.json").exists()


def test_a_foreign_binary_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = tmp_path / "qemu-system-arm"
    stand_in.write_text(
        '#!/bin/sh\n[ "$1" = -M ] && echo "netduino  A board" || echo "QEMU emulator version 9.9"\n'
    )
    stand_in.chmod(0o755)
    monkeypatch.setenv("OPQ_QEMU", str(stand_in))
    want = f"our QEMU is not here: OPQ_QEMU={stand_in} is QEMU 9.9, without our machine opqbox"
    assert Qemu(quiet=True).why_not(World(NS_PER_S)) == want
    monkeypatch.setenv("OPQ_QEMU", str(tmp_path / "nothing"))
    absent = Qemu(quiet=True)
    assert "nothing does not run" in (absent.why_not(None) or "")
    assert (absent.binary, absent.version) == (None, "no QEMU")


def test_an_impossible_build_keeps_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searches = []

    def refuses(*arguments: object, **options: object) -> QemuBinary:
        searches.append(1)
        raise BuildError("programs for building QEMU are missing: sudo apt install flex")

    monkeypatch.setattr(qemu_build, "make", refuses)
    monkeypatch.delenv("OPQ_QEMU", raising=False)
    backend = Qemu(quiet=True)
    assert (backend.why_not(None) or "").endswith("sudo apt install flex")
    with pytest.raises(BackendError, match=r"our QEMU is not here: .*sudo apt install flex"):
        backend.run(
            Image(BOARDS["opqbox"], tmp_path / "echo.bin"), World(NS_PER_S), tmp_path, wall_limit_s=1.0
        )
    assert len(searches) == 1


def test_missing_tools_are_one_apt_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None if name in ("ninja", "flex") else f"/bin/{name}")
    monkeypatch.setattr(subprocess, "run", lambda *command, **how: subprocess.CompletedProcess(command, 0))
    with pytest.raises(BuildError, match=r"sudo apt install ninja-build flex$"):
        qemu_build._check_tools()


@pytest.mark.parametrize(
    ("manager", "line"),
    [("dnf", "sudo dnf install gcc ninja-build glib2-devel"), ("brew", "brew install ninja glib")],
)
def test_fedora_and_macos_have_their_names(monkeypatch: pytest.MonkeyPatch, manager: str, line: str) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: name if name == manager else None)
    assert install_line("gcc", "ninja-build", "libglib2.0-dev") == line
    packages = {*qemu_build.PROGRAMS.values(), *qemu_build.LIBRARIES.values(), *qemu_build.HEADERS.values()}
    assert packages <= set(NAMES)


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (qemu_build.MissingToolError("sudo apt install flex"), 1),
        (SourceError("no mirror"), 1),
        (BuildError("QEMU does not build: bus.c:7: error: no such field"), 3),
    ],
)
def test_the_exit_code_names_the_builds_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], problem: OpqError, code: int
) -> None:
    def fails(*arguments: object, **options: object) -> QemuBinary:
        raise problem

    monkeypatch.delenv("OPQ_QEMU", raising=False)
    monkeypatch.setattr(qemu_build, "make", fails)
    monkeypatch.setattr(sys, "argv", ["qemu_build"])
    assert qemu_build.main() == code
    assert str(problem) in capsys.readouterr().err


def test_only_changed_files_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, ours = tmp_path / "work", tmp_path / "ours"
    shutil.copytree(qemu_build.OUR_SOURCES, ours)
    monkeypatch.setattr(qemu_build, "OUR_SOURCES", ours)
    for folder in ("hw", "pc-bios", "configs/devices/arm-softmmu"):
        (work / folder).mkdir(parents=True)
    (work / "hw" / "Kconfig").write_text("source xen/Kconfig\n")
    (work / "hw" / "meson.build").write_text("subdir('xtensa')\n")
    (work / "pc-bios" / "meson.build").write_text("if unpack_edk2_blobs\n  x\nendif\n")
    qemu_build._add_ours(work)
    assert (work / "hw" / "Kconfig").read_text() == "source xen/Kconfig\nsource opq/Kconfig\n"
    assert (work / "hw" / "meson.build").read_text() == "subdir('xtensa')\nsubdir('opq')\n"
    assert "and false" in (work / "pc-bios" / "meson.build").read_text()
    put = {path.name: path.stat().st_mtime_ns for path in (work / "hw" / "opq").iterdir()}
    listed = (ours / "meson.build").read_text()
    assert {name for name in put if name.endswith(".c")} == {name for name in put if f"'{name}'" in listed}
    (ours / "gpio.c").write_text("// changed\n")
    (ours / "spi.c").unlink()
    qemu_build._put_ours(work)
    now = {path.name: path.stat().st_mtime_ns for path in (work / "hw" / "opq").iterdir()}
    assert set(put) - set(now) == {"spi.c"}
    assert {name for name in now if now[name] != put[name]} == {"gpio.c"}


def test_every_file_of_ours_says_its_licence() -> None:
    for path in qemu_build._our_files():
        if path.suffix != ".mak":
            assert "SPDX-License-Identifier: GPL-2.0-or-later" in path.read_text(), path.name
