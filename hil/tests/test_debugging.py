"""GDB at the firmware in QEMU, by the commands that docs/debugging.md shows."""

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner
from free_ports import free_port
from house_under_test import processes_with, until
from listening_ports import listening_of

from opq_hil.backends.backend import Backend
from opq_hil.backends.boards import BOARDS
from opq_hil.backends.debugging import GDBS, debug_session, launch_document
from opq_hil.backends.firmware import Firmware
from opq_hil.backends.qemu import Qemu
from opq_tools.hil.debug import command

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "debugging.md").read_text(encoding="utf-8")
TIME = "monitor qom-get /machine virtual-ns"


@pytest.mark.slow  # the command below always runs QEMU and GDB
def test_gdb_stops_the_firmware_as_documented(
    tmp_path: Path, hil_backend: Backend, hil_firmware: Mapping[str, Firmware]
) -> None:
    if shutil.which("gdb-multiarch") is None:
        pytest.skip("no GDB for ARM here: apt install gdb-multiarch")
    if not isinstance(hil_backend, Qemu) or hil_backend.binary is None:
        pytest.skip("for QEMU alone")
    place = hil_firmware["opqbox"].image.flash.parent
    [qemu] = re.findall(r"^    (cp build.*\n    \$\(python.*\\\n.*)$", PAGE, re.MULTILINE)
    given = {
        "$(python -m opq_hil.backends.qemu_build)": f"exec {hil_backend.binary.path}",
        "build/firmware/opqbox": str(place),
        "/tmp/flash.bin": str(tmp_path / "flash.bin"),
        "build/gdb": str(tmp_path / "gdb"),
    }
    commands = [*re.findall(r"^    \(gdb\) (.*)$", PAGE, re.MULTILINE), "shell sleep 0.2", TIME, "kill"]
    for text, ours in given.items():
        assert text in qemu
        qemu = qemu.replace(text, ours)
        commands = [command.replace(text, ours) for command in commands]
    words = [word for command in commands for word in ("-ex", command)]
    with (
        (tmp_path / "out").open("w") as out,
        subprocess.Popen(["sh", "-c", qemu], cwd=ROOT, stdout=out, stderr=out) as machine,
    ):
        try:
            until((tmp_path / "gdb").exists, 60, "QEMU listens")
            line = ["gdb-multiarch", "-q", "-batch", "-nx", *words, str(place / "firmware_a.elf")]
            done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
        finally:
            machine.terminate()
    said = done.stdout + done.stderr
    assert done.returncode == 0, said  # it was ended as ordered
    frames = ["Hardware assisted breakpoint 1", "opq_acquire_on_half (", "DMA1_Stream3_IRQHandler ("]
    frames += ["<signal handler called>", "mp_execute_bytecode (", "pyexec_frozen_module (", "main ("]
    places = [said.find(frame) for frame in frames]
    assert -1 not in places and places == sorted(places), said
    first_ns, second_ns = re.findall(r"^(\d{9,})$", said, re.MULTILINE)
    assert first_ns == second_ns, "virtual time stands still while GDB holds the core"


def form_of(order: str) -> bytes:
    """What a browser sends for a form of text/plain with a packet of GDB for QEMU's monitor."""
    packet = f"qRcmd,{order.encode().hex()}"
    body = f"${packet}#{sum(packet.encode()) % 256:02x}=\r\n"
    head = ("POST / HTTP/1.1", "Host: 127.0.0.1", "Origin: http://page.example", "Content-Type: text/plain")
    return "\r\n".join((*head, f"Content-Length: {len(body)}", "", body)).encode()


def test_a_page_reaches_no_monitor(
    tmp_path: Path, hil_backend: Backend, hil_firmware: Mapping[str, Firmware]
) -> None:
    """QEMU's monitor reads and writes the files of its user."""
    if not any(map(shutil.which, GDBS)):
        pytest.skip("no GDB for ARM here: apt install gdb-multiarch")
    if not isinstance(hil_backend, Qemu) or hil_backend.binary is None:
        pytest.skip("for QEMU alone")
    elf, written = hil_firmware["opqbox"].image.flash.parent / "firmware_a.elf", tmp_path / "written"
    session = debug_session("qemu", elf, tmp_path, board=BOARDS["opqbox"], world=None, port=free_port())
    with subprocess.Popen(session.server) as machine:
        try:
            found = until(lambda: listening_of([machine.pid]), 60, "QEMU listens")
            for each in found:
                if each.kind == "tcp":
                    with socket.create_connection(("127.0.0.1", int(each.address)), 60) as browser:
                        browser.sendall(form_of(f'pmemsave 0x08000000 16 "{written}"'))
                        while (answer := browser.recv(4096)) and b"OK#" not in answer:
                            pass
            assert not written.exists() and {each.kind for each in found} == {"unix"}
        finally:
            machine.terminate()


def test_the_command_ends_qemu_and_gdb(
    tmp_path: Path, hil_backend: Backend, hil_firmware: Mapping[str, Firmware]
) -> None:
    if shutil.which("gdb-multiarch") is None:
        pytest.skip("no GDB for ARM here: apt install gdb-multiarch")
    if not isinstance(hil_backend, Qemu) or hil_backend.binary is None:
        pytest.skip("for QEMU alone")
    place = hil_firmware["opqbox"].image.flash.parent
    gdb = ("--", "-batch", "-nx", "-ex", "hbreak opq_acquire_on_half", "-ex", "continue", "-ex", "backtrace")
    line = [sys.executable, "-m", "opq_tools.cli", "hil", "debug", "qemu", "--firmware", str(place.parent)]
    variables = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [*line, *gdb, "-ex", "kill"],
        cwd=ROOT,
        env=variables,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said  # it was ended as ordered
    frames = ["Breakpoint 1, opq_acquire_on_half (", "<signal handler called>", "pyexec_frozen_module ("]
    places = [said.find(frame) for frame in frames]
    assert -1 not in places and places == sorted(places), said
    until(lambda: processes_with(str(tmp_path)) == [], 60, "QEMU has ended")


@pytest.mark.parametrize(
    ("server", "words", "kind"),
    [
        ("openocd", "-c 'bindto 127.0.0.1; gdb_port 3456", "openocd"),
        ("st-util", "st-util -p 3456", "stutil"),
    ],
)
def test_a_probe_prints_commands_and_launch_json(tmp_path: Path, server: str, words: str, kind: str) -> None:
    if not any(map(shutil.which, GDBS)):
        pytest.skip("no GDB for ARM here: apt install gdb-multiarch")
    elf = tmp_path / "firmware_b.elf"
    elf.touch()
    session = debug_session(server, elf, tmp_path, board=BOARDS["disco_f407"], world=None, port=3456)
    assert words in shlex.join(session.server)
    gdb = shlex.join(session.gdb)
    assert str(elf) in gdb and gdb.index("target remote 127.0.0.1:3456") < gdb.index("monitor reset halt")
    [entry] = launch_document(session, elf, Path("STM32F407.svd"))["configurations"]
    assert entry["device"] == "STM32F407VG"
    assert (entry["type"], entry["servertype"], entry["request"]) == ("cortex-debug", kind, "launch")
    assert (entry["executable"], entry["svdFile"]) == (str(elf), "STM32F407.svd")


def test_an_absent_server_names_its_package(
    hil_firmware: Mapping[str, Firmware],
) -> None:
    if not any(map(shutil.which, GDBS)):
        pytest.skip("no GDB for ARM here: apt install gdb-multiarch")
    if shutil.which("st-util"):
        pytest.skip("st-util is installed here")
    place = hil_firmware["opqbox"].image.flash.parent.parent
    result = CliRunner().invoke(command, ["st-util", "--firmware", str(place)])
    assert "no st-util here: apt install stlink-tools" in str(result.exception)
